/* SPDX-License-Identifier: MIT */
/*
 * outbox: one shipment of ours, from the cut until its last frame is pulled. The rows of the change set are frozen at
 * the cut and copied bit by bit (cut_rows.h: some 30 bytes for each new file, the only memory that grows with the
 * shipment); what they name, and bytes, are read while they are sent, as of the group of the cut (VIEW_AT), which
 * history keeps until it is acknowledged. Owned by the engine; one thread.
 */
#ifndef TWINFS_SYNC_OUTBOX_H
#define TWINFS_SYNC_OUTBOX_H

#include "core/tree.h"
#include "sync/record.h"
#include "sync/told.h"

struct outbox;

/*
 * Take everything changed in groups (from, committed]. The volume's open group is committed by it; what others change
 * from then on, also before it returns, is not in it. The lock is held for moments only. The result may be empty (no
 * records): an acknowledgement. *out is NULL on error. told (may be NULL): what the peer has staged of an earlier
 * shipment from the same group on; it is left out. The outbox takes it, but for an error.
 */
int outbox_cut(struct volume *v, uint64_t from, struct told *told, struct outbox **out, struct err *err);
void outbox_free(struct outbox *o);

const struct rec_ship_begin *outbox_begin(const struct outbox *o);
/* Flags of the header, before the first pull. */
void outbox_set_flags(struct outbox *o, uint8_t flags);
bool outbox_is_empty(const struct outbox *o);
/* Append whole frames until about want_bytes are there. 1: the last frame (SHIP_END) is out; 0: more to come; -errno:
 * reading failed. */
int outbox_pull(struct outbox *o, struct buf *to, size_t want_bytes, struct err *err);
/* How far it is out: bytes of files, of begin's data_bytes; and rows, of begin's entries. Both may end somewhat below:
 * what became of the rows is found when they are sent. */
uint64_t outbox_sent_bytes(const struct outbox *o);
uint64_t outbox_sent_entries(const struct outbox *o);

#endif
