/* SPDX-License-Identifier: MIT */
/*
 * extent_rows: the tables extent and old_extent as typed rows.
 *
 * A row maps `len` blocks of a file from block `off` on to the image's blocks from `phys` on, with a checksum a block.
 * A row has at most EXTENT_MAX_BLOCKS blocks: with 64 a row is about 550 bytes, fits into the leaf of a 4 KiB page
 * without an overflow page, and splitting it (which every small overwrite does) stays cheap. Rows of one inode in
 * `extent` never overlap. A block of the image belongs to exactly one row of both tables together.
 *
 * In old_extent `origin` carries one bit more than in extent: whether the peer was the one who superseded the version.
 *
 * Errors as db.h; rows of a damaged database that cannot be, or that overlap, are db_damaged.
 */
#ifndef TWINFS_DB_EXTENT_ROWS_H
#define TWINFS_DB_EXTENT_ROWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "db/db.h"
#include "db/rows.h"

#define EXTENT_MAX_BLOCKS 64u
/* Block indices, in files and on the image alike, are below this: sums of two never overflow. */
#define EXTENT_BLOCK_LIMIT (UINT64_C(1) << 44)

struct extent {
	uint64_t off, phys;  /* blocks */
	uint64_t born, died; /* groups; died 0: a current row */
	uint32_t len;        /* blocks, 1..EXTENT_MAX_BLOCKS */
	uint8_t origin;
	bool killed_by_peer; /* old rows only */
	uint64_t sums[EXTENT_MAX_BLOCKS];
};

struct extent_list {
	struct extent *rows;
	size_t n, cap;
};
#define EXTENT_LIST_INIT { NULL, 0, 0 }
void extent_list_release(struct extent_list *l);

/* Append the rows of ino that overlap blocks [first, end), ascending by off (old rows: by off, born, died). */
int extent_rows_list(struct db *db, uint64_t ino, uint64_t first, uint64_t end, struct extent_list *out);
int extent_rows_list_old(struct db *db, uint64_t ino, uint64_t first, uint64_t end, struct extent_list *out);
/* The lowest block >= from that a row (an old row) of ino maps: 1 and *block, or 0. */
int extent_rows_next(struct db *db, uint64_t ino, uint64_t from, bool old, uint64_t *block);
/* The lowest block >= from that no row of ino maps. */
int extent_rows_gap(struct db *db, uint64_t ino, uint64_t from, uint64_t *block);

/* inserts, or replaces the row that starts at e->off */
int extent_rows_put(struct db *db, uint64_t ino, const struct extent *e);
int extent_rows_del(struct db *db, uint64_t ino, uint64_t off);
int extent_rows_put_old(struct db *db, uint64_t ino, const struct extent *e);
int extent_rows_del_old(struct db *db, uint64_t ino, const struct extent *e);

/* of the rows that start below that block */
int extent_rows_count_blocks(struct db *db, uint64_t ino, uint64_t below, uint64_t *blocks);

/* Every row of a table, in no order that matters; only phys and len are given. fn: 0 goes on. */
typedef int (*extent_run_fn)(void *ctx, uint64_t phys, uint64_t len);
int extent_rows_each_run(struct db *db, bool old, extent_run_fn fn, void *ctx);
/* Every row of a table in order of inode and off; rows that cannot be are left out. fn: 0 goes on. */
typedef int (*extent_row_fn)(void *ctx, uint64_t ino, const struct extent *e, bool old);
int extent_rows_each(struct db *db, bool old, extent_row_fn fn, void *ctx);
/* Blocks in both tables; 0 if they cannot be read. */
uint64_t extent_rows_total_blocks(struct db *db);
/* Rows of one table in the order of their keys, a few at a time: the first `cap` behind *pos (start with zeros), which
 * moves on to the last of them. *n 0: the end. Between two calls the table may change. */
struct extent_pos {
	uint64_t ino, off, born, died;
};
struct extent_at {
	uint64_t ino;
	struct extent e;
};
int extent_rows_after(struct db *db, bool old, struct extent_pos *pos, struct extent_at *out, size_t cap, size_t *n);

/* Keep blocks [first, end) of the row, which must be a non-empty part of it. */
void extent_clip(struct extent *e, uint64_t first, uint64_t end);
static inline uint64_t extent_end(const struct extent *e)
{
	return e->off + e->len;
}

#endif
