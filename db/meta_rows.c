/* SPDX-License-Identifier: MIT */
#include "db/meta_rows.h"

#include "util/util.h"

#include <errno.h>

#define NUMBERS "forgotten, links, inodes, xattrs, range_bytes, kept_both, merged"

int state_row_get(struct db *db, struct store_state *out)
{
	sqlite3_stmt *s =
		db_stmt(db, "SELECT committed, next_id, acked, applied, " NUMBERS ", flushed FROM state WHERE one = 1");
	int rc = db_step(db, s);

	if (rc != 1)
		return rc < 0 ? rc : -ENOENT;
	*out = (struct store_state){ db_col_u64(s, 0), db_col_u64(s, 1), db_col_u64(s, 2), db_col_u64(s, 3),
		                     db_col_u64(s, 11) };
	*db_numbers(db) = (struct db_numbers){ .forgotten = db_col_u64(s, 4),
		                               .links = db_col_u64(s, 5),
		                               .inodes = db_col_u64(s, 6),
		                               .xattrs = db_col_u64(s, 7),
		                               .range_bytes = db_col_u64(s, 8),
		                               .kept_both = db_col_u64(s, 9),
		                               .merged = db_col_u64(s, 10) };
	db_done(s);
	return 0;
}

int state_row_put(struct db *db, const struct store_state *in)
{
	const struct db_numbers *n = db_numbers(db);

	return DB_RUN(db,
	              "INSERT OR REPLACE INTO state(one, committed, next_id, acked, applied, " NUMBERS ", flushed)"
	              " VALUES(1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
	              in->committed, in->next_id, in->acked, in->applied, n->forgotten, n->links, n->inodes, n->xattrs,
	              n->range_bytes, n->kept_both, n->merged, in->flushed);
}

char *meta_row_get(struct db *db, const char *key)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT value FROM meta WHERE key = ?1");
	char *value = NULL;

	db_bind_text(s, 1, key);
	if (db_step(db, s) == 1) {
		const char *text = (const char *)sqlite3_column_text(s, 0);

		value = text ? xstrdup(text) : NULL;
		db_done(s);
	}
	return value;
}

int meta_row_put(struct db *db, const char *key, const char *value)
{
	sqlite3_stmt *s = value ? db_stmt(db, "INSERT OR REPLACE INTO meta(key, value) VALUES(?1, ?2)")
	                        : db_stmt(db, "DELETE FROM meta WHERE key = ?1");

	db_bind_text(s, 1, key);
	if (value)
		db_bind_text(s, 2, value);
	return db_run(db, s);
}

int group_row_put(struct db *db, uint64_t n, uint64_t id, uint64_t at_ms)
{
	return DB_RUN(db, "INSERT INTO groups(n, id, at_ms) VALUES(?1, ?2, ?3)", n, id, at_ms);
}

int group_row_id(struct db *db, uint64_t n, uint64_t *id)
{
	int rc = DB_GET(db, "SELECT id FROM groups WHERE n = ?1", id, n);

	return rc == 1 ? 0 : rc < 0 ? rc : -ENOENT;
}

int group_row_time(struct db *db, uint64_t n, uint64_t *at_ms)
{
	int rc = DB_GET(db, "SELECT at_ms FROM groups WHERE n >= ?1 ORDER BY n LIMIT 1", at_ms, n);

	return rc == 1 ? 0 : rc < 0 ? rc : -ENOENT;
}

int group_row_forget(struct db *db, uint64_t below, size_t max_rows)
{
	int rc = DB_RUN(db,
	                "DELETE FROM groups WHERE n < min(?1, (SELECT min(n) FROM groups) + ?2)", below, max_rows);

	return rc ? rc : db_changes(db) > 0;
}
