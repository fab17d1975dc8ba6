/* SPDX-License-Identifier: MIT */
#include "db/dentry_rows.h"

#include <errno.h>
#include <string.h>

#define COLS "link, parent, name, child, born, origin"

/* Parent 0 is a link on its way elsewhere: it has a '/' in its name, as no other has (core/tree.c). */
static bool name_sane(const char *name, size_t len, bool detached)
{
	if (!name || len == 0 || len > NAME_MAX_BYTES || memchr(name, '\0', len))
		return false;
	return (memchr(name, '/', len) != NULL) == detached && !(len <= 2 && memcmp(name, "..", len) == 0);
}

static bool row_sane(sqlite3_stmt *s)
{
	return db_cols_int(s, 0, 2) && db_cols_int(s, 3, 3) && db_col_u64(s, 0) - 1 < ID_LIMIT - 1 &&
	       db_col_within(s, 1, ID_LIMIT - 1) && db_col_u64(s, 3) - 1 < ID_LIMIT - 1 &&
	       db_col_u64(s, 1) != db_col_u64(s, 3) && db_col_within(s, 4, GROUP_LIMIT) && db_col_within(s, 5, 1) &&
	       sqlite3_column_type(s, 2) == SQLITE_BLOB &&
	       name_sane(sqlite3_column_blob(s, 2), (size_t)sqlite3_column_bytes(s, 2), db_col_u64(s, 1) == 0);
}

static int read_row(struct db *db, sqlite3_stmt *s, struct dentry *out)
{
	size_t len = (size_t)sqlite3_column_bytes(s, 2);
	const void *name = sqlite3_column_blob(s, 2);

	if (!row_sane(s))
		return db_damaged(db, "impossible row of link %lld in directory %lld", sqlite3_column_int64(s, 0),
		                  sqlite3_column_int64(s, 1));
	out->link = db_col_u64(s, 0);
	out->parent = db_col_u64(s, 1);
	out->name_len = (uint8_t)len;
	memcpy(out->name, name, len);
	out->name[len] = '\0';
	out->child = db_col_u64(s, 3);
	out->born = db_col_u64(s, 4);
	out->origin = (uint8_t)db_col_u64(s, 5);
	return 0;
}

static int get_one(struct db *db, sqlite3_stmt *s, struct dentry *out)
{
	int rc = db_step(db, s);

	if (rc != 1)
		return rc < 0 ? rc : -ENOENT;
	rc = read_row(db, s, out);
	db_done(s);
	return rc;
}

int dentry_row_get(struct db *db, uint64_t link, struct dentry *out)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT " COLS " FROM dentry WHERE link = ?1");

	DB_BIND_INTS(s, 1, link);
	return get_one(db, s, out);
}

int dentry_row_find(struct db *db, uint64_t parent, const char *name, size_t name_len, struct dentry *out)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT " COLS " FROM dentry WHERE parent = ?1 AND name = ?2");

	DB_BIND_INTS(s, 1, parent);
	db_bind_blob(s, 2, name, name_len);
	return get_one(db, s, out);
}

int dentry_row_insert(struct db *db, const struct dentry *d)
{
	sqlite3_stmt *s = db_stmt(
		db, "INSERT INTO dentry(link, parent, child, born, origin, name) VALUES(?1,?2,?3,?4,?5,?6)");

	DB_BIND_INTS(s, 1, d->link, d->parent, d->child, d->born, d->origin);
	db_bind_blob(s, 6, d->name, d->name_len);
	return db_run(db, s);
}

int dentry_row_move(struct db *db, const struct dentry *d, bool parent_changed)
{
	sqlite3_stmt *s =
		parent_changed
			? db_stmt(db,
				  "UPDATE dentry SET born = ?2, origin = ?3, name = ?4, parent = ?5 WHERE link = ?1")
			: db_stmt(db, "UPDATE dentry SET born = ?2, origin = ?3, name = ?4 WHERE link = ?1");

	DB_BIND_INTS(s, 1, d->link, d->born, d->origin);
	db_bind_blob(s, 4, d->name, d->name_len);
	if (parent_changed)
		DB_BIND_INTS(s, 5, d->parent);
	return db_run(db, s);
}

int dentry_row_delete(struct db *db, uint64_t link)
{
	return DB_RUN(db, "DELETE FROM dentry WHERE link = ?1", link);
}

int dentry_row_archive(struct db *db, uint64_t link, uint64_t died)
{
	return DB_RUN(db, "INSERT INTO old_dentry(" COLS ", died) SELECT " COLS ", ?2 FROM dentry WHERE link = ?1",
		      link, died);
}

static int walk(struct db *db, sqlite3_stmt *s, dentry_row_fn fn, void *ctx)
{
	struct dentry d;
	int rc;

	while ((rc = db_step(db, s)) == 1) {
		rc = read_row(db, s, &d);
		if (rc == 0)
			rc = fn(ctx, &d);
		if (rc != 0) {
			db_done(s);
			break;
		}
	}
	return rc;
}

int dentry_rows_of_child(struct db *db, uint64_t child, dentry_row_fn fn, void *ctx)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT " COLS " FROM dentry WHERE child = ?1 ORDER BY link");

	DB_BIND_INTS(s, 1, child);
	return walk(db, s, fn, ctx);
}

int dentry_rows_of_parent(struct db *db, uint64_t parent, uint64_t after, dentry_row_fn fn, void *ctx)
{
	sqlite3_stmt *s = db_stmt(db,
				  "SELECT " COLS " FROM dentry INDEXED BY dentry_parent WHERE parent = ?1 AND link > ?2"
				  " ORDER BY link");

	DB_BIND_INTS(s, 1, parent, after);
	return walk(db, s, fn, ctx);
}

int dentry_row_parent(struct db *db, uint64_t child, uint64_t *parent)
{
	int rc = DB_GET(db, "SELECT parent FROM dentry WHERE child = ?1 ORDER BY link LIMIT 1", parent, child);

	if (rc == 1 && (*parent >= ID_LIMIT || *parent == child))
		return db_damaged(db, "impossible parent of directory %llu", (unsigned long long)child);
	return rc == 1 ? 0 : rc < 0 ? rc : -ENOENT;
}

int dentry_rows_count(struct db *db, uint64_t most, uint64_t *n)
{
	int rc = DB_GET(db, "SELECT count(*) FROM (SELECT 1 FROM dentry LIMIT ?1)", n, most);

	return rc < 0 ? rc : 0;
}

bool dentry_rows_any(struct db *db, uint64_t parent)
{
	uint64_t one;

	return DB_GET(db, "SELECT 1 FROM dentry WHERE parent = ?1 LIMIT 1", &one, parent) != 0;
}

int dentry_row_at(struct db *db, uint64_t link, uint64_t group, struct dentry *out)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT " COLS " FROM dentry WHERE link = ?1 AND born <= ?2 UNION ALL"
				      " SELECT " COLS
				      " FROM old_dentry WHERE link = ?1 AND born <= ?2 AND died > ?2 LIMIT 1");

	DB_BIND_INTS(s, 1, link, group);
	return get_one(db, s, out);
}

int dentry_rows_ids(struct db *db, uint64_t after, uint64_t *list, size_t max)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT link FROM dentry WHERE link > ?1 UNION SELECT link FROM old_dentry"
				      " WHERE link > ?1 ORDER BY 1 LIMIT ?2");

	DB_BIND_INTS(s, 1, after, max);
	return db_list_u64(db, s, list, max);
}

int dentry_row_find_at(struct db *db, uint64_t parent, const char *name, size_t name_len, uint64_t group,
		       struct dentry *out)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT " COLS " FROM dentry WHERE parent = ?1 AND name = ?3 AND born <= ?2"
				      " UNION ALL SELECT " COLS " FROM old_dentry WHERE parent = ?1 AND name = ?3"
				      " AND born <= ?2 AND died > ?2 LIMIT 1");

	DB_BIND_INTS(s, 1, parent, group);
	db_bind_blob(s, 3, name, name_len);
	return get_one(db, s, out);
}

int dentry_rows_of_parent_at(struct db *db, uint64_t parent, uint64_t group, uint64_t after, dentry_row_fn fn,
			     void *ctx)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT " COLS " FROM dentry INDEXED BY dentry_parent WHERE parent = ?1"
				      " AND link > ?3 AND born <= ?2 UNION ALL SELECT " COLS
				      " FROM old_dentry INDEXED BY old_dentry_parent WHERE parent = ?1 AND link > ?3"
				      " AND born <= ?2 AND died > ?2 ORDER BY link");

	DB_BIND_INTS(s, 1, parent, group, after);
	return walk(db, s, fn, ctx);
}

int dentry_rows_of_child_at(struct db *db, uint64_t child, uint64_t group, dentry_row_fn fn, void *ctx)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT " COLS " FROM dentry WHERE child = ?1 AND born <= ?2 UNION ALL SELECT "
				      COLS " FROM old_dentry WHERE child = ?1 AND born <= ?2 AND died > ?2"
				      " ORDER BY link");

	DB_BIND_INTS(s, 1, child, group);
	return walk(db, s, fn, ctx);
}

int dentry_rows_ended_after(struct db *db, uint64_t child, uint64_t group, bool *any)
{
	uint64_t n = 0;
	int rc = DB_GET(db, "SELECT EXISTS(SELECT 1 FROM old_dentry WHERE child = ?1 AND died > ?2)", &n, child, group);

	*any = n != 0;
	return rc < 0 ? rc : 0;
}

int dentry_rows_left(struct db *db, uint64_t parent, uint64_t group, dentry_row_fn fn, void *ctx)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT " COLS " FROM old_dentry INDEXED BY old_dentry_parent WHERE parent = ?1"
				      " AND died > ?2");

	DB_BIND_INTS(s, 1, parent, group);
	return walk(db, s, fn, ctx);
}

int dentry_row_peer(struct db *db, uint64_t link, uint64_t seen, struct dentry *out)
{
	sqlite3_stmt *s = db_stmt(db,
				  "SELECT " COLS ", died FROM (SELECT " COLS ", 0 AS died FROM dentry WHERE link = ?1"
				  " UNION ALL SELECT " COLS ", died FROM old_dentry WHERE link = ?1)"
				  " WHERE born <= ?2 OR origin = 1 ORDER BY born DESC LIMIT 1");
	uint64_t died;
	int rc;

	DB_BIND_INTS(s, 1, link, seen);
	rc = db_step(db, s);
	if (rc != 1)
		return rc < 0 ? rc : -ENOENT;
	rc = read_row(db, s, out);
	died = db_col_u64(s, 6);
	db_done(s);
	if (rc)
		return rc;
	/* As for inodes: the peer knew of nothing later, so it knew it deleted. */
	return died != 0 && died <= seen ? -ENOENT : 0;
}

static int walk_ids(struct db *db, sqlite3_stmt *s, link_id_fn fn, void *ctx)
{
	int rc;

	while ((rc = db_step(db, s)) == 1) {
		rc = fn(ctx, db_col_u64(s, 0));
		if (rc != 0) {
			db_done(s);
			break;
		}
	}
	return rc;
}

int dentry_rows_each(struct db *db, link_id_fn fn, void *ctx)
{
	return walk_ids(db, db_stmt(db, "SELECT link FROM dentry"), fn, ctx);
}

int dentry_rows_ever_child(struct db *db, uint64_t child, link_id_fn fn, void *ctx)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT link FROM dentry WHERE child = ?1 UNION SELECT link FROM old_dentry"
	                              " WHERE child = ?1 ORDER BY link");

	DB_BIND_INTS(s, 1, child);
	return walk_ids(db, s, fn, ctx);
}

int dentry_rows_ever_parent(struct db *db, uint64_t parent, link_id_fn fn, void *ctx)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT link FROM dentry WHERE parent = ?1 UNION SELECT link FROM old_dentry"
	                              " WHERE parent = ?1 ORDER BY link");

	DB_BIND_INTS(s, 1, parent);
	return walk_ids(db, s, fn, ctx);
}
