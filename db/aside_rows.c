/* SPDX-License-Identifier: MIT */
#include "db/aside_rows.h"

#include "db/extent_rows.h"
#include "util/util.h"

struct range {
	uint64_t first, end;
};

/* The last row that begins below that block: 1, or 0 and an empty range. */
static int last_below(struct db *db, uint64_t ino, uint64_t below, struct range *out)
{
	sqlite3_stmt *s =
		db_stmt(db, "SELECT off, off + len FROM aside WHERE ino = ? AND off < ? ORDER BY off DESC LIMIT 1");

	*out = (struct range){ 0, 0 };
	DB_BIND_INTS(s, 1, ino, below);
	int rc = db_step(db, s);

	if (rc > 0) {
		*out = (struct range){ db_col_u64(s, 0), db_col_u64(s, 1) };
		db_done(s);
	}
	return rc;
}

/* What of the row that begins before `first` reaches into what follows, and the sum of what begins there. */
static int look(struct db *db, uint64_t ino, uint64_t first, uint64_t end, struct range *head, uint64_t *blocks)
{
	int rc = last_below(db, ino, first, head);

	*blocks = 0;
	if (rc >= 0)
		rc = DB_GET(db, "SELECT sum(min(off + len, ?) - off) FROM aside WHERE ino = ? AND off >= ? AND off < ?",
		            blocks, end, ino, first, end);
	if (rc >= 0 && head->end > first)
		*blocks += MIN(head->end, end) - first;
	return MIN(rc, 0);
}

int aside_rows_count(struct db *db, uint64_t ino, uint64_t first, uint64_t end, uint64_t *blocks)
{
	struct range head;

	return look(db, ino, first, MIN(end, EXTENT_BLOCK_LIMIT), &head, blocks);
}

int aside_rows_cut(struct db *db, uint64_t ino, uint64_t first, uint64_t end, uint64_t *blocks)
{
	struct range head, tail = { 0, 0 };

	end = MIN(end, EXTENT_BLOCK_LIMIT);
	int rc = look(db, ino, first, end, &head, blocks);

	if (!rc && *blocks)
		rc = MIN(last_below(db, ino, end, &tail), 0);
	if (rc || *blocks == 0)
		return rc;
	rc = DB_RUN(db, "DELETE FROM aside WHERE ino = ? AND off >= ? AND off < ?", ino, first, end);
	if (!rc && head.end > first)
		rc = aside_row_put(db, ino, head.first, first);
	if (!rc && tail.end > end)
		rc = aside_row_put(db, ino, end, tail.end);
	return rc;
}

int aside_row_put(struct db *db, uint64_t ino, uint64_t first, uint64_t end)
{
	return DB_RUN(db, "INSERT OR REPLACE INTO aside(ino, off, len) VALUES(?, ?, ?)", ino, first, end - first);
}

int aside_rows_sums(struct db *db, void (*fn)(void *ctx, uint64_t ino, uint64_t blocks), void *ctx)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT ino, sum(len) FROM aside GROUP BY ino");
	int rc;

	while ((rc = db_step(db, s)) == 1) {
		if (!db_cols_int(s, 0, 2) || db_col_u64(s, 0) - 1 >= ID_LIMIT - 1 ||
		    db_col_u64(s, 1) - 1 >= EXTENT_BLOCK_LIMIT) {
			rc = db_damaged(db, "impossible claim of inode %lld", (long long)db_col_u64(s, 0));
			db_done(s);
			break;
		}
		fn(ctx, db_col_u64(s, 0), db_col_u64(s, 1));
	}
	return rc;
}
