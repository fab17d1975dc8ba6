/* SPDX-License-Identifier: MIT */
/*
 * data_store: which blocks of the image belong to whom while a group is open. Private to core/ (with core/blocks.h).
 *
 * A block is in one of these states:
 *   free     may be handed out
 *   held     handed out by store_alloc, not in any row: a write in flight or a staged piece. Free again after a crash.
 *   born     in a row that the open group wrote (store_born)
 *   owned    in a row of a committed group
 *   freed    no row has it any more, but the committed group still does (store_free); free when the open group commits
 *
 *   free -> held -> born -> owned -> freed -> free           commit:   born -> owned, freed -> free
 *             |       '--------------> freed                 rollback: born -> free, freed -> what it was
 *             '-> free (store_release)
 *
 * Everything here wants the volume's lock, except the I/O through `image`, which needs none.
 */
#ifndef TWINFS_CORE_DATA_STORE_H
#define TWINFS_CORE_DATA_STORE_H

#include "core/freemap.h"
#include "core/image.h"
#include "core/internal.h"
#include "core/logged.h"

struct block_run {
	uint64_t phys, len;
};

#define STORE_RECENT 64u

struct data_store {
	struct image *image;
	struct freemap *map;
	struct group_move { /* what the open group did to blocks, in order */
		uint64_t phys, len;
		bool born;
	} *moves;
	size_t n_moves, cap_moves;
	uint64_t old_blocks, old_blocks_committed; /* blocks in old_extent */
	uint64_t reserve_blocks;                   /* of the limit; for the peer's changes and for giving space back */
	uint64_t host_budget_blocks;               /* to be handed out before looking at the host's free space again */
	bool host_short;                           /* it had no room when it was looked at last */
	struct map inode_blocks;                   /* cache: ino -> blocks in extent, plus 1 */
	uint64_t freed_ms;                         /* when blocks became free last; the monotonic clock */
	/* Runs that became free last; [recent_first, recent_end), i is at i % STORE_RECENT. Hints: others may have them
	 * by now. */
	struct block_run recent[STORE_RECENT];
	uint64_t recent_first, recent_end;
	uint64_t recent_taken;                     /* blocks, by the open group */
	struct map aside;                          /* core/aside.h: ino -> blocks; */
	uint64_t aside_blocks;                     /* and all of them */
	bool aside_moved;                          /* by the open group */
	struct logged logged;
};

/* May the reserve be touched: no for a local write, yes for the peer's changes and for what sets space free. ASKED: the
 * caller has asked store_room, and let nobody in since. */
enum space { SPACE_ORDINARY, SPACE_RESERVE, SPACE_ASKED };

/* Is there room for so many more blocks, of which some have a claim (core/aside.h)? 0 or -ENOSPC. */
int store_room(struct volume *v, uint64_t blocks, uint64_t claims, enum space space);
/* Without the lock, when a write got -ENOSPC: commit if that frees blocks, and give free ones back to the host if that
 * is what is short. True: try again. */
bool data_store_reclaim(struct volume *v);
/* n blocks in as few runs as can be had: held. runs: room for n of them. goal, window: freemap_alloc. -ENOSPC:
 * nothing is held. */
int store_alloc(struct volume *v, uint64_t n, uint64_t goal, uint64_t window, enum space space, struct block_run *runs,
                size_t *n_runs);
/* The same for a few blocks that take the place of others: if it can be, blocks that became free a moment ago. The host
 * has room on its disk for these already, so that a flush writes them and nothing about them (half the time for an
 * fsync); and a file that is written over and over stays where it is. */
int store_alloc_again(struct volume *v, uint64_t n, uint64_t goal, enum space space, struct block_run *runs,
                      size_t *n_runs);
void store_release(struct volume *v, const struct block_run *runs, size_t n_runs);
void store_born(struct volume *v, uint64_t phys, uint64_t len, const uint64_t *sums);
/* Blocks that are born were written over. */
void store_changed(struct volume *v, uint64_t phys, uint64_t len, const uint64_t *sums);
void store_free(struct volume *v, uint64_t phys, uint64_t len);
/* The caller moved blocks into old_extent (or, negative, out of it); to or from extent of ino. */
void store_count_old(struct volume *v, int64_t blocks);
void store_count_inode(struct volume *v, uint64_t ino, int64_t blocks);

#endif
