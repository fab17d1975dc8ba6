/* SPDX-License-Identifier: MIT */
/*
 * told: which bytes of ours the peer has staged of a shipment that broke off, as it told us after HELLO; so that the
 * next shipment leaves them out. The other half of sync/kept.h.
 *
 * A byte may be left out if it is there and has not changed since the group as of which it is there. Who asks knows
 * that from the change set: its range's grp is not later. What is there as of a group that is none of ours is not
 * listened to.
 *
 * Owned by the engine; one thread.
 */
#ifndef TWINFS_SYNC_TOLD_H
#define TWINFS_SYNC_TOLD_H

#include "sync/record.h"

/* `due` ranges will come, on top of what the peer has applied: our groups up to `from`. */
struct told *told_new(struct volume *v, uint64_t from, uint32_t due);
void told_free(struct told *t); /* NULL is fine */
/* -EBADMSG: more than were announced. Takes the volume's lock. */
int told_add(struct told *t, const struct rec_staged *r, struct err *err);
bool told_all(const struct told *t); /* they have all come; NULL: there are none to come */
/* Something of the file is there: *group as of which. */
bool told_file(const struct told *t, uint64_t ino, uint64_t *group);
/* fn for each piece of the range that is not there, ascending. True: some of it is. */
typedef int (*told_piece_fn)(void *ctx, uint64_t ino, uint64_t off, uint64_t len_bytes);
bool told_missing(const struct told *t, uint64_t ino, uint64_t off, uint64_t len_bytes, told_piece_fn fn, void *ctx);

#endif
