/* SPDX-License-Identifier: MIT */
#include "db/xattr_rows.h"

#include <errno.h>
#include <string.h>

/* The kernel's limits: XATTR_NAME_MAX_BYTES and XATTR_VALUE_MAX_BYTES of core/volume.h. */
#define KEY_MAX_BYTES 255
#define VALUE_MAX_BYTES 65536

static bool row_sane(sqlite3_stmt *s)
{
	int value = sqlite3_column_type(s, 1), key_len;
	const char *key;

	if (sqlite3_column_type(s, 0) != SQLITE_TEXT || (value != SQLITE_BLOB && value != SQLITE_NULL))
		return false;
	key = (const char *)sqlite3_column_text(s, 0);
	key_len = sqlite3_column_bytes(s, 0);
	return key && key_len >= 1 && key_len <= KEY_MAX_BYTES && !memchr(key, '\0', (size_t)key_len) &&
	       sqlite3_column_bytes(s, 1) <= VALUE_MAX_BYTES;
}

/* Columns 0 and 1 of a row are key and value. An empty value gives a pointer that is not NULL. */
static int give(struct db *db, sqlite3_stmt *s, xattr_row_fn fn, void *ctx)
{
	const void *value = sqlite3_column_blob(s, 1);
	int len = sqlite3_column_bytes(s, 1);

	if (!row_sane(s))
		return db_damaged(db, "impossible extended attribute");
	return fn(ctx, (const char *)sqlite3_column_text(s, 0), value ? value : "", (size_t)len);
}

static int give_one(struct db *db, sqlite3_stmt *s, xattr_row_fn fn, void *ctx)
{
	int rc = db_step(db, s);

	if (rc != 1)
		return rc < 0 ? rc : -ENOENT;
	rc = give(db, s, fn, ctx);
	db_done(s);
	return rc;
}

int xattr_row_get(struct db *db, uint64_t ino, const char *key, xattr_row_fn fn, void *ctx)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT key, value FROM xattr WHERE ino = ?1 AND key = ?2");

	DB_BIND_INTS(s, 1, ino);
	db_bind_text(s, 2, key);
	return give_one(db, s, fn, ctx);
}

int xattr_row_life(struct db *db, uint64_t ino, const char *key, uint64_t *born, enum origin *origin)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT born, origin FROM xattr WHERE ino = ?1 AND key = ?2");
	int rc;

	DB_BIND_INTS(s, 1, ino);
	db_bind_text(s, 2, key);
	rc = db_step(db, s);
	if (rc != 1)
		return rc < 0 ? rc : -ENOENT;
	bool sane = db_cols_int(s, 0, 2) && db_col_within(s, 0, GROUP_LIMIT) && db_col_within(s, 1, 1);

	*born = db_col_u64(s, 0);
	*origin = (enum origin)db_col_u64(s, 1);
	db_done(s);
	return sane ? 0 : db_damaged(db, "impossible extended attribute of inode %llu", (unsigned long long)ino);
}

int xattr_row_put(struct db *db, uint64_t ino, const char *key, const void *value, size_t len_bytes, uint64_t born,
                  enum origin origin)
{
	sqlite3_stmt *s = db_stmt(db,
				  "INSERT OR REPLACE INTO xattr(ino, born, origin, key, value) VALUES(?1,?2,?3,?4,?5)");

	DB_BIND_INTS(s, 1, ino, born, origin);
	db_bind_text(s, 4, key);
	db_bind_blob(s, 5, len_bytes > 0 ? value : "", len_bytes);
	return db_run(db, s);
}

int xattr_row_delete(struct db *db, uint64_t ino, const char *key)
{
	sqlite3_stmt *s = db_stmt(db, "DELETE FROM xattr WHERE ino = ?1 AND key = ?2");

	DB_BIND_INTS(s, 1, ino);
	db_bind_text(s, 2, key);
	return db_run(db, s);
}

int xattr_row_archive(struct db *db, uint64_t ino, const char *key, uint64_t died)
{
	sqlite3_stmt *s = db_stmt(db,
				  "INSERT INTO old_xattr(ino, key, value, born, origin, died)"
				  " SELECT ino, key, value, born, origin, ?2 FROM xattr WHERE ino = ?1 AND key = ?3");

	DB_BIND_INTS(s, 1, ino, died);
	db_bind_text(s, 3, key);
	return db_run(db, s);
}

int xattr_rows_archive(struct db *db, uint64_t ino, uint64_t cut, uint64_t died)
{
	return DB_RUN(
		db,
		"INSERT INTO old_xattr(ino, key, value, born, origin, died) SELECT ino, key, value, born, origin, ?2"
		" FROM xattr WHERE ino = ?1 AND born < ?2 AND (born <= ?3 OR origin = 1)",
		ino, died, cut);
}

int xattr_rows_delete(struct db *db, uint64_t ino)
{
	return DB_RUN(db, "DELETE FROM xattr WHERE ino = ?1", ino);
}

int xattr_rows_list_bytes(struct db *db, uint64_t ino, uint64_t *bytes)
{
	int rc = DB_GET(db, "SELECT ifnull(sum(length(CAST(key AS BLOB)) + 1), 0) FROM xattr WHERE ino = ?1", bytes,
			ino);

	return rc == 1 ? 0 : rc < 0 ? rc : -EIO;
}

static int walk(struct db *db, sqlite3_stmt *s, xattr_row_fn fn, void *ctx)
{
	int rc;

	while ((rc = db_step(db, s)) == 1) {
		rc = give(db, s, fn, ctx);
		if (rc != 0) {
			db_done(s);
			break;
		}
	}
	return rc;
}

int xattr_rows(struct db *db, uint64_t ino, xattr_row_fn fn, void *ctx)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT key, value FROM xattr WHERE ino = ?1 ORDER BY key");

	DB_BIND_INTS(s, 1, ino);
	return walk(db, s, fn, ctx);
}

int xattr_row_at(struct db *db, uint64_t ino, const char *key, uint64_t group, xattr_row_fn fn, void *ctx)
{
	sqlite3_stmt *s = db_stmt(db,
				  "SELECT key, value FROM xattr WHERE ino = ?1 AND key = ?3 AND born <= ?2 UNION ALL"
				  " SELECT key, value FROM old_xattr WHERE ino = ?1 AND key = ?3 AND born <= ?2"
				  " AND died > ?2 LIMIT 1");

	DB_BIND_INTS(s, 1, ino, group);
	db_bind_text(s, 3, key);
	return give_one(db, s, fn, ctx);
}

int xattr_rows_at(struct db *db, uint64_t ino, uint64_t group, xattr_row_fn fn, void *ctx)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT key, value FROM xattr WHERE ino = ?1 AND born <= ?2 UNION ALL"
				      " SELECT key, value FROM old_xattr WHERE ino = ?1 AND born <= ?2 AND died > ?2"
				      " ORDER BY key");

	DB_BIND_INTS(s, 1, ino, group);
	return walk(db, s, fn, ctx);
}

int xattr_row_peer(struct db *db, uint64_t ino, const char *key, uint64_t seen, xattr_row_fn fn, void *ctx)
{
	sqlite3_stmt *s = db_stmt(
		db, "SELECT key, value, died FROM (SELECT key, value, born, origin, 0 AS died FROM xattr"
		    " WHERE ino = ?1 AND key = ?3 UNION ALL SELECT key, value, born, origin, died FROM old_xattr"
		    " WHERE ino = ?1 AND key = ?3) WHERE born <= ?2 OR origin = 1 ORDER BY born DESC LIMIT 1");
	uint64_t died;
	int rc;

	DB_BIND_INTS(s, 1, ino, seen);
	db_bind_text(s, 3, key);
	rc = db_step(db, s);
	if (rc != 1)
		return rc < 0 ? rc : -ENOENT;
	died = db_col_u64(s, 2);
	rc = died != 0 && died <= seen ? -ENOENT : give(db, s, fn, ctx);
	db_done(s);
	return rc;
}

int xattr_rows_ever(struct db *db, uint64_t ino, xattr_row_fn fn, void *ctx)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT key, NULL FROM xattr WHERE ino = ?1 UNION SELECT key, NULL FROM old_xattr"
	                              " WHERE ino = ?1 ORDER BY key");

	DB_BIND_INTS(s, 1, ino);
	return walk(db, s, fn, ctx);
}
