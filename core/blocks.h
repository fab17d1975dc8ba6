/* SPDX-License-Identifier: MIT */
/*
 * blocks: whole blocks of files: from file blocks to image blocks (in any view), reading with verification, and the
 * one way in which new blocks take the place of old ones. Private to core/: data.c, stage.c and file.c stand on it.
 *
 * The volume's lock is held by the caller, except for blocks_fetch. Functions that change want an open group. When one
 * fails, nothing was changed, unless a statement of the database failed (db.h: then the group cannot be committed any
 * more).
 */
#ifndef TWINFS_CORE_BLOCKS_H
#define TWINFS_CORE_BLOCKS_H

#include "core/data_store.h"
#include "core/leftover.h"
#include "db/extent_rows.h"

/* Blocks handled in one step: 1 MiB, the largest request that the kernel sends; keeps the arrays on the stack. */
#define STEP_BLOCKS 256u
#define STEP_BYTES (STEP_BLOCKS * BLOCK_BYTES)
/* A file that is appended to in small pieces gets windows of so many blocks when it cannot go on where it ended. */
#define APPEND_WINDOW_BLOCKS 16u

/* Rows that a truncation or removal drops before it leaves the rest over: some 10 ms under the lock. */
#define DROP_AT_ONCE_ROWS 2048u

struct block_ref {
	uint64_t phys, sum; /* phys 0: a hole */
};

/* Blocks [first, first + n) of ino in the view, n <= STEP_BLOCKS + 1. */
int blocks_map(struct volume *v, uint64_t ino, struct view view, uint64_t first, size_t n, struct block_ref *refs);
/* Which row each block is taken from: pick[i] indexes rows, -1 is a hole. rows: current ones (died 0) first, then
 * old ones. */
int blocks_pick(struct volume *v, uint64_t ino, struct view view, uint64_t first, size_t n, struct extent_list *rows,
                int32_t *pick);

/* Read [skip, skip + len) of the bytes of these blocks, verified. Without the lock: -EBADMSG may mean that a block
 * was rewritten or reused meanwhile, so map and fetch once more under it. bad (may be NULL): index of the block that
 * failed. */
int blocks_fetch(struct image *im, const struct block_ref *refs, size_t skip_bytes, void *buf, size_t len_bytes,
                 size_t *bad);
/* One block of ino, for read-modify-write. -EIO (logged) if it is damaged: it must not get a new checksum. */
int blocks_read_one(struct volume *v, uint64_t ino, struct view view, uint64_t block, void *buf);
/* Log that a block cannot be had, with the file's path, and have it healed if it can be (core/damage.h); code is what
 * blocks_fetch returned. Returns -EIO. */
int blocks_complain(struct volume *v, uint64_t ino, uint64_t block, const struct block_ref *ref, int code);

/* Put held blocks (written already, sums given one a block, len in all = n) in place of [first, first + n); they
 * are born by it, even if it fails (which only the database can make it do).
 * rows: what extent_rows_list gave for [first - 1, first + n), or NULL: looked up here. */
int blocks_replace(struct volume *v, uint64_t ino, uint64_t first, uint64_t n, const struct block_run *runs,
                   size_t n_runs, const uint64_t *sums, enum origin origin, const struct extent_list *rows);
/* The same with one run that a committed group has already, in a landing's plan: if the open group is rolled back it is
 * the plan's again. */
int blocks_adopt(struct volume *v, uint64_t ino, uint64_t first, uint64_t n, const struct block_run *run,
                 const uint64_t *sums, enum origin origin);
/* Write whole blocks, n <= STEP_BLOCKS: in place where the open group made them, else to new blocks. -ENOSPC, -EIO. */
int blocks_write(struct volume *v, uint64_t ino, uint64_t first, size_t n, const uint8_t *data, enum origin origin,
                 enum space space);
/* The block's bytes are lost: in its place comes one that no reader gets (-EIO) until all of it is written anew. -EIO:
 * the disk gives nothing at all just now, so nothing is known to be lost. */
int blocks_lose(struct volume *v, uint64_t ino, uint64_t block, enum origin origin);
/* A checksum that a block of zeros does not have. */
uint64_t block_sum_lost(void);
/* Make [first, end) a hole. end may be UINT64_MAX. */
int blocks_drop(struct volume *v, uint64_t ino, uint64_t first, uint64_t end, enum origin by);
/* The same up to the end of the file, which ends there now. What would take long is left over (core/leftover.h). */
int blocks_drop_tail(struct volume *v, uint64_t ino, uint64_t first, enum origin by);
/* Some more of what was left over; l->floor rises, to LEFTOVER_NONE at the end. */
int blocks_drop_leftover(struct volume *v, struct leftover *l, size_t max_rows);

#endif
