/* SPDX-License-Identifier: MIT */
#include "db/old_rows.h"

#include "db/extent_rows.h"
#include "util/util.h"

#include <stdio.h>
#include <string.h>

/*
 * Columns of `next`: died, id, off, born, key, phys, len. Parameters: died, id, off, born and key of the last one
 * (those that the key of the table has), the last group, how many. Each is answered by the index on died, which has the
 * rest of the key behind it. `del`: died, id, off, born, key.
 */
static sqlite3_stmt *next_stmt(struct db *db, unsigned table)
{
	switch (table) {
	case 0:
		return db_stmt(db, "SELECT died, ino, 0, born, NULL, 0, 0 FROM old_inode WHERE (died, ino) > (?1, ?2)"
		                   " AND died <= ?6 ORDER BY died, ino LIMIT ?7");
	case 1:
		return db_stmt(db, "SELECT died, link, 0, born, NULL, 0, 0 FROM old_dentry WHERE (died, link) >"
		                   " (?1, ?2) AND died <= ?6 ORDER BY died, link LIMIT ?7");
	case 2:
		return db_stmt(db, "SELECT died, ino, 0, born, key, 0, 0 FROM old_xattr WHERE (died, ino, key) >"
		                   " (?1, ?2, ?5) AND died <= ?6 ORDER BY died, ino, key LIMIT ?7");
	default:
		return db_stmt(db, "SELECT died, ino, off, born, NULL, phys, len FROM old_extent WHERE"
		                   " (died, ino, off, born) > (?1, ?2, ?3, ?4) AND died <= ?6"
		                   " ORDER BY died, ino, off, born LIMIT ?7");
	}
}

static sqlite3_stmt *del_stmt(struct db *db, unsigned table)
{
	switch (table) {
	case 0: return db_stmt(db, "DELETE FROM old_inode WHERE ino = ?2 AND died = ?1");
	case 1: return db_stmt(db, "DELETE FROM old_dentry WHERE link = ?2 AND died = ?1");
	case 2: return db_stmt(db, "DELETE FROM old_xattr WHERE ino = ?2 AND key = ?5 AND died = ?1");
	default:
		return db_stmt(db, "DELETE FROM old_extent WHERE ino = ?2 AND off = ?3 AND born = ?4 AND died = ?1");
	}
}

struct old_row {
	struct old_pos at;
	uint64_t phys, len;
};

/* Few, as one is deleted while the next is already here, and they are on the stack. */
#define BATCH 32u

static int row_read(struct db *db, sqlite3_stmt *s, unsigned table, struct old_row *out)
{
	const char *key = (const char *)sqlite3_column_text(s, 4);

	*out = (struct old_row){ .at = { .died = db_col_u64(s, 0), .id = db_col_u64(s, 1), .off = db_col_u64(s, 2),
		                         .born = db_col_u64(s, 3) },
		                 .phys = db_col_u64(s, 5), .len = db_col_u64(s, 6) };
	snprintf(out->at.key, sizeof(out->at.key), "%s", key ? key : "");
	if (db_cols_int(s, 0, 4) && db_cols_int(s, 5, 2) && (!key || strlen(key) < sizeof(out->at.key)) &&
	    (table != 3 || (out->phys - 1 < EXTENT_BLOCK_LIMIT - 1 && out->len - 1 < EXTENT_MAX_BLOCKS)))
		return 0;
	return db_damaged(db, "impossible old version of %lld", (long long)out->at.id);
}

static void bind_pos(sqlite3_stmt *s, const struct old_pos *at)
{
	int n = sqlite3_bind_parameter_count(s);

	if (n >= 1)
		DB_BIND_INTS(s, 1, at->died);
	if (n >= 2)
		DB_BIND_INTS(s, 2, at->id);
	if (n >= 3)
		DB_BIND_INTS(s, 3, at->off);
	if (n >= 4)
		DB_BIND_INTS(s, 4, at->born);
	if (n >= 5)
		db_bind_text(s, 5, at->key);
}

static int batch_read(struct db *db, unsigned table, const struct old_pos *after, uint64_t upto, size_t max_rows,
                      struct old_row *rows, size_t *n)
{
	sqlite3_stmt *s = next_stmt(db, table);
	int rc;

	*n = 0;
	bind_pos(s, after);
	DB_BIND_INTS(s, 6, upto, max_rows);
	while ((rc = db_step(db, s)) == 1) {
		rc = row_read(db, s, table, &rows[*n]);
		if (rc) {
			db_done(s);
			return rc;
		}
		++*n;
	}
	return rc;
}

static int drop(struct db *db, unsigned table, const struct old_drop *what, const struct old_row *row)
{
	sqlite3_stmt *s;
	int rc;

	if (what->held(what->ctx, row->at.born, row->at.died))
		return 0;
	s = del_stmt(db, table);
	bind_pos(s, &row->at);
	rc = db_run(db, s);
	if (!rc && row->len)
		what->freed(what->ctx, row->phys, row->len);
	return rc;
}

int old_rows_drop(struct db *db, const struct old_drop *what, size_t max_rows, struct old_pos pos[OLD_TABLES])
{
	struct old_row rows[BATCH];
	int rc = 0;

	for (unsigned table = 0; !rc && table < OLD_TABLES; table++) {
		size_t n = 1;

		while (!rc && n > 0 && max_rows > 0) {
			rc = batch_read(db, table, &pos[table], what->upto, MIN(max_rows, BATCH), rows, &n);
			for (size_t i = 0; !rc && i < n; i++) {
				rc = drop(db, table, what, &rows[i]);
				pos[table] = rows[i].at;
			}
			max_rows -= n;
		}
	}
	return rc ? rc : max_rows == 0;
}

int old_rows_any(struct db *db, uint64_t upto)
{
	uint64_t any = 0;
	int rc = DB_GET(db,
	                "SELECT EXISTS(SELECT 1 FROM old_inode WHERE died <= ?1)"
	                " OR EXISTS(SELECT 1 FROM old_dentry WHERE died <= ?1)"
	                " OR EXISTS(SELECT 1 FROM old_xattr WHERE died <= ?1)"
	                " OR EXISTS(SELECT 1 FROM old_extent WHERE died <= ?1)",
	                &any, upto);

	return rc < 0 ? rc : any != 0;
}
