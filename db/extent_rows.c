/* SPDX-License-Identifier: MIT */
#include "db/extent_rows.h"

#include "util/util.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ORIGIN_BIT 1u
#define KILLED_BY_PEER_BIT 2u

void extent_list_release(struct extent_list *l)
{
	free(l->rows);
	*l = (struct extent_list)EXTENT_LIST_INIT;
}

static struct extent *list_add(struct extent_list *l)
{
	if (l->n == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 4;
		l->rows = xrealloc(l->rows, l->cap * sizeof(*l->rows));
	}
	return &l->rows[l->n++];
}

void extent_clip(struct extent *e, uint64_t first, uint64_t end)
{
	assert(first >= e->off && end <= extent_end(e) && first < end);
	uint64_t skip = first - e->off;

	if (skip)
		memmove(e->sums, e->sums + skip, (size_t)(end - first) * sizeof(e->sums[0]));
	e->phys += skip;
	e->off = first;
	e->len = (uint32_t)(end - first);
}

static bool row_sane(sqlite3_stmt *s, bool old)
{
	uint64_t len = db_col_u64(s, 1), flags = old ? ORIGIN_BIT | KILLED_BY_PEER_BIT : ORIGIN_BIT;

	return db_cols_int(s, 0, 5) && len >= 1 && len <= EXTENT_MAX_BLOCKS &&
	       db_col_within(s, 0, EXTENT_BLOCK_LIMIT - 1) && db_col_u64(s, 2) - 1 < EXTENT_BLOCK_LIMIT - 1 &&
	       db_col_within(s, 3, GROUP_LIMIT) && db_col_within(s, 4, flags) &&
	       sqlite3_column_type(s, 5) == SQLITE_BLOB &&
	       (uint64_t)sqlite3_column_bytes(s, 5) == len * sizeof(uint64_t) &&
	       (!old || (db_cols_int(s, 6, 1) && db_col_u64(s, 6) - 1 < GROUP_LIMIT));
}

/* Columns: off, len, phys, born, origin, sums[, died]. False: no such row can be. */
static bool row_decode(sqlite3_stmt *s, bool old, struct extent *e)
{
	uint64_t len = db_col_u64(s, 1), flags = db_col_u64(s, 4);
	const void *sums = sqlite3_column_blob(s, 5);

	e->off = db_col_u64(s, 0);
	e->phys = db_col_u64(s, 2);
	e->born = db_col_u64(s, 3);
	e->died = old ? db_col_u64(s, 6) : 0;
	e->origin = flags & ORIGIN_BIT;
	e->killed_by_peer = flags & KILLED_BY_PEER_BIT;
	if (!row_sane(s, old))
		return false;
	e->len = (uint32_t)len;
	memcpy(e->sums, sums, len * sizeof(e->sums[0]));
	return true;
}

static int row_read(struct db *db, sqlite3_stmt *s, uint64_t ino, bool old, struct extent *e)
{
	if (row_decode(s, old, e))
		return 0;
	return db_damaged(db, "impossible %sextent of inode %llu at block %lld", old ? "old " : "",
	                  (unsigned long long)ino, (long long)e->off);
}

static int list_from(struct db *db, sqlite3_stmt *s, uint64_t ino, uint64_t below, uint64_t first, uint64_t end,
                     bool old, struct extent_list *out)
{
	int rc;

	DB_BIND_INTS(s, 1, ino, below, end);
	while ((rc = db_step(db, s)) > 0) {
		struct extent *e = list_add(out);

		rc = row_read(db, s, ino, old, e);
		if (!rc && !old && out->n > 1 && extent_end(e - 1) > e->off)
			rc = db_damaged(db, "extents of inode %llu overlap at block %llu", (unsigned long long)ino,
			                (unsigned long long)e->off);
		if (rc) {
			out->n--;
			db_done(s);
			return rc;
		}
		if (extent_end(e) <= first)
			out->n--;
	}
	return rc;
}

/* Current rows do not overlap: of those that start at or before `first` only the last can reach it. Looked for alone,
 * as there may be one for each block before it; and often it has all that is wanted. */
int extent_rows_list(struct db *db, uint64_t ino, uint64_t first, uint64_t end, struct extent_list *out)
{
	size_t n = out->n;
	int rc = list_from(db,
	                   db_stmt(db, "SELECT off, len, phys, born, origin, sums FROM extent WHERE ino = ?1"
	                               " AND off <= ?2 AND off < ?3 ORDER BY off DESC LIMIT 1"),
	                   ino, first, first, end, false, out);

	if (rc || first + 1 >= end || (out->n > n && extent_end(&out->rows[n]) >= end))
		return rc;
	return list_from(db,
	                 db_stmt(db, "SELECT off, len, phys, born, origin, sums FROM extent"
	                             " WHERE ino = ?1 AND off > ?2 AND off < ?3 ORDER BY off"),
	                 ino, first, first, end, false, out);
}

/* Where a row that reaches `block` may start. */
static uint64_t reach_from(uint64_t block)
{
	return block >= EXTENT_MAX_BLOCKS ? block - EXTENT_MAX_BLOCKS + 1 : 0;
}

int extent_rows_list_old(struct db *db, uint64_t ino, uint64_t first, uint64_t end, struct extent_list *out)
{
	return list_from(db,
	                 db_stmt(db, "SELECT off, len, phys, born, origin, sums, died FROM old_extent"
	                             " WHERE ino = ?1 AND off >= ?2 AND off < ?3 ORDER BY off, born, died"),
	                 ino, reach_from(first), first, end, true, out);
}

int extent_rows_next(struct db *db, uint64_t ino, uint64_t from, bool old, uint64_t *block)
{
	sqlite3_stmt *s = old ? db_stmt(db, "SELECT off FROM old_extent WHERE ino = ? AND off >= ? AND off + len > ?"
	                                    " ORDER BY off LIMIT 1")
	                      : db_stmt(db, "SELECT off FROM extent WHERE ino = ? AND off >= ? AND off + len > ?"
	                                    " ORDER BY off LIMIT 1");

	DB_BIND_INTS(s, 1, ino, reach_from(from), from);
	int rc = db_step(db, s);

	if (rc > 0) {
		uint64_t off = db_col_u64(s, 0);

		db_done(s);
		if (off >= EXTENT_BLOCK_LIMIT) /* who walks from block to block would never arrive */
			return db_damaged(db, "impossible %sextent of inode %llu at block %lld", old ? "old " : "",
			                  (unsigned long long)ino, (long long)off);
		*block = MAX(from, off);
	}
	return rc;
}

int extent_rows_gap(struct db *db, uint64_t ino, uint64_t from, uint64_t *block)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT off, off + len FROM extent"
	                              " WHERE ino = ? AND off >= ? AND off + len > ? ORDER BY off");
	int rc;

	DB_BIND_INTS(s, 1, ino, reach_from(from), from);
	while ((rc = db_step(db, s)) > 0 && db_col_u64(s, 0) <= from)
		from = db_col_u64(s, 1);
	if (rc > 0)
		db_done(s);
	*block = from;
	return MIN(rc, 0);
}

static void bind_row(sqlite3_stmt *s, uint64_t ino, const struct extent *e)
{
	uint64_t flags = e->origin | (e->killed_by_peer ? KILLED_BY_PEER_BIT : 0);

	assert(e->len >= 1 && e->len <= EXTENT_MAX_BLOCKS && e->phys && e->origin <= ORIGIN_BIT);
	DB_BIND_INTS(s, 1, ino, e->off, e->len, e->phys, e->born, flags);
	db_bind_blob(s, 7, e->sums, e->len * sizeof(e->sums[0]));
}

int extent_rows_put(struct db *db, uint64_t ino, const struct extent *e)
{
	sqlite3_stmt *s = db_stmt(db, "INSERT OR REPLACE INTO extent(ino, off, len, phys, born, origin, sums)"
	                              " VALUES(?, ?, ?, ?, ?, ?, ?)");

	assert(!e->killed_by_peer);
	bind_row(s, ino, e);
	return db_run(db, s);
}

int extent_rows_del(struct db *db, uint64_t ino, uint64_t off)
{
	return DB_RUN(db, "DELETE FROM extent WHERE ino = ? AND off = ?", ino, off);
}

int extent_rows_put_old(struct db *db, uint64_t ino, const struct extent *e)
{
	sqlite3_stmt *s = db_stmt(db, "INSERT INTO old_extent(ino, off, len, phys, born, origin, sums, died)"
	                              " VALUES(?, ?, ?, ?, ?, ?, ?, ?)");

	assert(e->died);
	bind_row(s, ino, e);
	DB_BIND_INTS(s, 8, e->died);
	return db_run(db, s);
}

int extent_rows_del_old(struct db *db, uint64_t ino, const struct extent *e)
{
	return DB_RUN(db, "DELETE FROM old_extent WHERE ino = ? AND off = ? AND died = ? AND born = ?", ino, e->off,
	              e->died, e->born);
}

int extent_rows_count_blocks(struct db *db, uint64_t ino, uint64_t below, uint64_t *blocks)
{
	*blocks = 0;
	int rc = DB_GET(db, "SELECT sum(len) FROM extent WHERE ino = ? AND off < ?", blocks, ino, below);

	return rc < 0 ? rc : 0;
}

static int each_run(struct db *db, sqlite3_stmt *s, extent_run_fn fn, void *ctx)
{
	int rc;

	while ((rc = db_step(db, s)) > 0) {
		uint64_t phys = db_col_u64(s, 0), len = db_col_u64(s, 1);

		bool sane = db_cols_int(s, 0, 2) && phys - 1 < EXTENT_BLOCK_LIMIT - 1 && len - 1 < EXTENT_MAX_BLOCKS;

		rc = sane ? fn(ctx, phys, len) : -EUCLEAN;
		if (rc) {
			db_done(s);
			return rc;
		}
	}
	return rc;
}

int extent_rows_each_run(struct db *db, bool old, extent_run_fn fn, void *ctx)
{
	sqlite3_stmt *s = old ? db_stmt(db, "SELECT phys, len FROM old_extent")
	                      : db_stmt(db, "SELECT phys, len FROM extent");

	return each_run(db, s, fn, ctx);
}

int extent_rows_after(struct db *db, bool old, struct extent_pos *pos, struct extent_at *out, size_t cap, size_t *n)
{
	sqlite3_stmt *s = old ? db_stmt(db, "SELECT off, len, phys, born, origin, sums, died, ino FROM old_extent"
	                                    " WHERE (ino, off, born, died) > (?1, ?2, ?3, ?4)"
	                                    " ORDER BY ino, off, born, died LIMIT ?5")
	                      : db_stmt(db, "SELECT off, len, phys, born, origin, sums, 0, ino FROM extent"
	                                    " WHERE (ino, off) > (?1, ?2) ORDER BY ino, off LIMIT ?5");
	int rc;

	*n = 0;
	DB_BIND_INTS(s, 1, pos->ino, pos->off, pos->born, pos->died, cap);
	while ((rc = db_step(db, s)) > 0) {
		struct extent_at *at = &out[*n];

		at->ino = db_col_u64(s, 7);
		rc = at->ino - 1 < ID_LIMIT - 1 && db_cols_int(s, 7, 1)
		             ? row_read(db, s, at->ino, old, &at->e)
		             : db_damaged(db, "extent of the impossible inode %lld", (long long)at->ino);
		if (rc) {
			db_done(s);
			break;
		}
		*pos = (struct extent_pos){ at->ino, at->e.off, at->e.born, at->e.died };
		++*n;
	}
	return rc;
}

int extent_rows_each(struct db *db, bool old, extent_row_fn fn, void *ctx)
{
	sqlite3_stmt *s = old ? db_stmt(db, "SELECT off, len, phys, born, origin, sums, died, ino FROM old_extent"
	                                    " ORDER BY ino, off, born, died")
	                      : db_stmt(db, "SELECT off, len, phys, born, origin, sums, 0, ino FROM extent"
	                                    " ORDER BY ino, off");
	struct extent e;
	int rc, stop = 0;

	while (!stop && (rc = db_step(db, s)) == 1)
		if (row_decode(s, old, &e))
			stop = fn(ctx, db_col_u64(s, 7), &e, old);
	if (stop)
		db_done(s);
	return stop ? stop : rc;
}

uint64_t extent_rows_total_blocks(struct db *db)
{
	uint64_t n = 0, m = 0;

	if (DB_GET(db, "SELECT ifnull(sum(len), 0) FROM extent", &n, 0) < 0 ||
	    DB_GET(db, "SELECT ifnull(sum(len), 0) FROM old_extent", &m, 0) < 0)
		return 0;
	return n + m;
}
