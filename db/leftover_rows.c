/* SPDX-License-Identifier: MIT */
#include "db/leftover_rows.h"

int leftover_row_put(struct db *db, const struct leftover *l)
{
	return DB_RUN(db, "INSERT OR REPLACE INTO leftover(ino, floor, grp, origin) VALUES(?, ?, ?, ?)", l->ino,
	              l->floor, l->group, l->by);
}

int leftover_row_drop(struct db *db, uint64_t ino)
{
	return DB_RUN(db, "DELETE FROM leftover WHERE ino = ?", ino);
}

int leftover_rows(struct db *db, void (*fn)(void *ctx, const struct leftover *l), void *ctx)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT ino, floor, grp, origin FROM leftover");
	int rc;

	while ((rc = db_step(db, s)) == 1) {
		const struct leftover l = { .ino = db_col_u64(s, 0), .floor = db_col_u64(s, 1),
		                            .group = db_col_u64(s, 2),
		                            .by = db_col_u64(s, 3) ? ORIGIN_PEER : ORIGIN_LOCAL };

		fn(ctx, &l);
	}
	return rc;
}
