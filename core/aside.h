/* SPDX-License-Identifier: MIT */
/*
 * aside: room that fallocate sets aside. Private to core/ (lock held; an open group where it changes something).
 *
 * What it is
 *   For each block of the promised ranges that a file has nothing at, table `aside` holds a claim to one block of the
 *   store, any one: no place on the image is taken, nothing is read or sent, the block stays a hole to all. store_room
 *   counts the claims as used to all but who writes there. A block that is written, made a hole or cut off gives its
 *   claim up, in the same group; a range that has rows in `extent` never has one.
 *   Claims are this side's own: the peer has its own disk, and is told nothing.
 *
 * What it promises
 *   The first write of each such block does not fail for want of room in the store, nor because of other files of the
 *   store if the host's disk is what is short. Whatever else is on that disk may still take the room, and to write over
 *   what is there already needs a free block as ever.
 */
#ifndef TWINFS_CORE_ASIDE_H
#define TWINFS_CORE_ASIDE_H

#include "core/data_store.h"

/* What the tables say: at the opening, and after a rollback. */
int aside_load(struct volume *v);
uint64_t aside_total(const struct volume *v);            /* blocks */
uint64_t aside_of(const struct volume *v, uint64_t ino); /* blocks; cheap */
/* Blocks of [first, end) that have a claim. Cheap for files without any. */
int aside_count(struct volume *v, uint64_t ino, uint64_t first, uint64_t end, uint64_t *blocks);
/* A claim for each block of [*first, end) that the file has nothing at, in at most max_holes holes; *first: where it
 * stopped. -ENOSPC: what comes before *first has its claims. SPACE_ASKED: they are given though there may be no room
 * yet. */
int aside_put(struct volume *v, uint64_t ino, uint64_t *first, uint64_t end, size_t max_holes, enum space space);
/* The claims of [first, end) are given up. end may be UINT64_MAX. */
int aside_drop(struct volume *v, uint64_t ino, uint64_t first, uint64_t end);

#endif
