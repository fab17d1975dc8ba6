/* SPDX-License-Identifier: MIT */
/*
 * kept: what has been staged of a shipment of the peer's that broke off, so that it need not come again. Its metadata
 * is not kept: that comes again, as it is by then.
 *
 * What makes it right: each file is marked with the group of the peer's as of which its bytes are (stage_mark). All of
 * it was shipped to a receiver that had applied kept_from, so it is good only as long as that is what is applied. The
 * peer is told which bytes are here and as of which group (STAGED frames); it leaves out those that it has not changed
 * since, says with the file's record that it does so (REC_STAGED), and sends all others, on top (sync/told.h).
 *
 * Bounds: KEPT_MAX_RANGES of which the peer is told; and no more bytes than are free besides. Owned by the engine; one
 * thread, without the volume's lock. It outlives the program as far as it was noted (stage_save) while it arrived.
 */
#ifndef TWINFS_SYNC_KEPT_H
#define TWINFS_SYNC_KEPT_H

#include "sync/shipment.h"

/* 6 MiB of frames; one range is a file or a piece of one. */
#define KEPT_MAX_RANGES (UINT32_C(1) << 18)

/* What the shipment has staged, together with what `old` (NULL: nothing) holds still. Both are used up: s->stage is
 * NULL afterwards. NULL: less than least_bytes, or no room to keep it. */
struct kept *kept_new(struct shipment *s, struct kept *old, uint64_t least_bytes);
/* What an earlier run of the program has noted, of a shipment on top of group `from`; NULL: nothing. */
struct kept *kept_load(struct volume *v, uint64_t from);
void kept_free(struct kept *k); /* NULL is fine. What is noted stays (stage_forget) */
uint64_t kept_from(const struct kept *k); /* the group of the peer's that was applied */
uint64_t kept_bytes(const struct kept *k);
/* How many ranges the peer will be told of; begins to tell. */
uint32_t kept_tell_begin(struct kept *k);
/* Append STAGED frames until about want_bytes are there. 1: that was the last; 0: there are more; -errno. */
int kept_tell(struct kept *k, struct buf *out, size_t want_bytes);
/* The file's bytes belong to a shipment that arrives: as stage_take. */
int kept_give(struct kept *k, struct stage *to, uint64_t ino);

#endif
