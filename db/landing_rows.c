/* SPDX-License-Identifier: MIT */
#include "db/landing_rows.h"

#include "db/meta_rows.h"
#include "util/util.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define KEY_MAX_BYTES 255
#define VALUE_MAX_BYTES 65536
#define HOLDS_KEY "landing"

static int only(int rc)
{
	return rc == 1 ? 0 : rc < 0 ? rc : -ENOENT;
}

/* ---- inodes ---- */

int landing_inode_put(struct db *db, const struct landing_inode *in)
{
	sqlite3_stmt *s = db_stmt(db, "INSERT OR REPLACE INTO landing_inode(ino, fields, mode, uid, gid, rdev, size,"
				      " shrunk_to, atime, mtime, ctime, target) VALUES(?,?,?,?,?,?,?,?,?,?,?,?)");

	DB_BIND_INTS(s, 1, in->ino, in->fields, in->mode, in->uid, in->gid, in->rdev, in->size_bytes, in->shrunk_to,
		     (uint64_t)in->atime_ns, (uint64_t)in->mtime_ns, (uint64_t)in->ctime_ns);
	db_bind_blob(s, 12, in->target_len ? in->target : NULL, in->target_len);
	return db_run(db, s);
}

static bool inode_sane(sqlite3_stmt *s)
{
	return db_cols_int(s, 0, 10) && db_col_within(s, 0, UINT32_MAX) && db_col_within(s, 1, UINT32_MAX) &&
	       db_col_within(s, 2, UINT32_MAX) && db_col_within(s, 3, UINT32_MAX) && db_col_within(s, 4, UINT32_MAX) &&
	       db_col_within(s, 5, SIZE_MAX_BYTES) &&
	       (db_col_within(s, 6, SIZE_MAX_BYTES) || db_col_u64(s, 6) == UINT64_MAX) &&
	       sqlite3_column_bytes(s, 10) <= (int)SYMLINK_MAX_BYTES;
}

int landing_inode_get(struct db *db, uint64_t ino, struct landing_inode *out)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT fields, mode, uid, gid, rdev, size, shrunk_to, atime, mtime, ctime,"
				      " target FROM landing_inode WHERE ino = ?1");
	int rc;

	DB_BIND_INTS(s, 1, ino);
	rc = db_step(db, s);
	if (rc != 1)
		return only(rc);
	if (inode_sane(s)) {
		const void *target = sqlite3_column_blob(s, 10);

		*out = (struct landing_inode){ .ino = ino,
					       .fields = (uint32_t)db_col_u64(s, 0),
					       .mode = (uint32_t)db_col_u64(s, 1),
					       .uid = (uint32_t)db_col_u64(s, 2),
					       .gid = (uint32_t)db_col_u64(s, 3),
					       .rdev = (uint32_t)db_col_u64(s, 4),
					       .size_bytes = db_col_u64(s, 5),
					       .shrunk_to = db_col_u64(s, 6),
					       .atime_ns = (int64_t)db_col_u64(s, 7),
					       .mtime_ns = (int64_t)db_col_u64(s, 8),
					       .ctime_ns = (int64_t)db_col_u64(s, 9),
					       .target_len = (uint16_t)sqlite3_column_bytes(s, 10) };
		if (target)
			memcpy(out->target, target, out->target_len);
		rc = 0;
	} else {
		rc = db_damaged(db, "impossible row of inode %llu in landing_inode", (unsigned long long)ino);
	}
	db_done(s);
	return rc;
}

int landing_inode_drop(struct db *db, uint64_t ino)
{
	return DB_RUN(db, "DELETE FROM landing_inode WHERE ino = ?1", ino);
}

/* ---- links ---- */

int landing_link_put(struct db *db, const struct landing_link *l)
{
	sqlite3_stmt *s = db_stmt(db, "INSERT OR REPLACE INTO landing_link(link, parent, child, from_parent, turn,"
				      " name) VALUES(?,?,?,?,?,?)");

	DB_BIND_INTS(s, 1, l->link, l->parent, l->child, l->from_parent, l->turn);
	db_bind_blob(s, 6, l->parent ? l->name : NULL, l->name_len);
	return db_run(db, s);
}

/* Columns: link, parent, child, name. */
static int read_link_row(struct db *db, sqlite3_stmt *s, struct landing_link *out)
{
	int len = sqlite3_column_bytes(s, 3);
	bool sane = db_cols_int(s, 0, 3) && db_col_u64(s, 0) - 1 < ID_LIMIT - 1 && db_col_within(s, 1, ID_LIMIT - 1) &&
		    db_col_u64(s, 2) - 1 < ID_LIMIT - 1 && len <= (int)NAME_MAX_BYTES &&
		    (len > 0) == (db_col_u64(s, 1) > 0);

	out->link = db_col_u64(s, 0);
	out->parent = db_col_u64(s, 1);
	out->child = db_col_u64(s, 2);
	if (!sane)
		return db_damaged(db, "impossible row of link %lld in landing_link", (long long)out->link);
	out->from_parent = 0;
	out->turn = 0;
	out->name_len = (uint8_t)len;
	if (len)
		memcpy(out->name, sqlite3_column_blob(s, 3), (size_t)len);
	out->name[len] = '\0';
	return 0;
}

static int one_link(struct db *db, sqlite3_stmt *s, struct landing_link *out)
{
	int rc = db_step(db, s);

	if (rc != 1)
		return only(rc);
	rc = read_link_row(db, s, out);
	db_done(s);
	return rc;
}

int landing_link_get(struct db *db, uint64_t link, struct landing_link *out)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT link, parent, child, name FROM landing_link WHERE link = ?1");

	DB_BIND_INTS(s, 1, link);
	return one_link(db, s, out);
}

int landing_link_of(struct db *db, uint64_t child, struct landing_link *out)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT link, parent, child, name FROM landing_link WHERE child = ?1 LIMIT 1");

	DB_BIND_INTS(s, 1, child);
	return one_link(db, s, out);
}

int landing_link_drop(struct db *db, uint64_t link)
{
	return DB_RUN(db, "DELETE FROM landing_link WHERE link = ?1", link);
}

int landing_link_named(struct db *db, uint64_t parent, const char *name, size_t name_len, uint64_t *child)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT child FROM landing_link WHERE parent = ?1 AND name = ?2");
	int rc;

	DB_BIND_INTS(s, 1, parent);
	db_bind_blob(s, 2, name, name_len);
	rc = db_step(db, s);
	if (rc != 1)
		return only(rc);
	*child = db_col_u64(s, 0);
	db_done(s);
	return 0;
}

int landing_link_from(struct db *db, uint64_t parent, uint64_t *child)
{
	return only(DB_GET(db, "SELECT child FROM landing_link WHERE from_parent = ?1 LIMIT 1", child, parent));
}

int landing_link_into(struct db *db, uint64_t parent, uint64_t *child)
{
	return only(DB_GET(db, "SELECT child FROM landing_link WHERE parent = ?1 LIMIT 1", child, parent));
}

/* ---- xattrs ---- */

int landing_xattr_put(struct db *db, uint64_t ino, const char *key, const void *value, size_t len_bytes)
{
	sqlite3_stmt *s = db_stmt(db, "INSERT OR REPLACE INTO landing_xattr(ino, key, value) VALUES(?1,?2,?3)");

	DB_BIND_INTS(s, 1, ino);
	db_bind_text(s, 2, key);
	db_bind_blob(s, 3, value, len_bytes);
	return db_run(db, s);
}

int landing_xattr_next(struct db *db, uint64_t ino, const char *after, struct landing_xattr *out)
{
	sqlite3_stmt *s = db_stmt(
		db, "SELECT key, value FROM landing_xattr WHERE ino = ?1 AND key > ?2 ORDER BY key LIMIT 1");
	int rc, key_len;

	DB_BIND_INTS(s, 1, ino);
	db_bind_text(s, 2, after);
	rc = db_step(db, s);
	if (rc != 1)
		return only(rc);
	const char *key = (const char *)sqlite3_column_text(s, 0);

	key_len = sqlite3_column_bytes(s, 0);
	out->len_bytes = (size_t)sqlite3_column_bytes(s, 1);
	if (key && key_len >= 1 && key_len <= KEY_MAX_BYTES && out->len_bytes <= VALUE_MAX_BYTES) {
		out->key = xstrdup(key);
		out->value = NULL;
		if (sqlite3_column_type(s, 1) != SQLITE_NULL) {
			out->value = xmalloc(out->len_bytes + 1);
			if (out->len_bytes)
				memcpy(out->value, sqlite3_column_blob(s, 1), out->len_bytes);
		}
		rc = 0;
	} else {
		rc = db_damaged(db, "impossible row of inode %llu in landing_xattr", (unsigned long long)ino);
	}
	db_done(s);
	return rc;
}

int landing_xattr_has(struct db *db, uint64_t ino, const char *key, bool *has)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT 1 FROM landing_xattr WHERE ino = ?1 AND key = ?2");
	int rc;

	DB_BIND_INTS(s, 1, ino);
	db_bind_text(s, 2, key);
	rc = db_step(db, s);
	*has = rc == 1;
	if (rc == 1)
		db_done(s);
	return MIN(rc, 0);
}

int landing_xattrs_drop(struct db *db, uint64_t ino)
{
	return DB_RUN(db, "DELETE FROM landing_xattr WHERE ino = ?1", ino);
}

/* ---- bytes ---- */

int landing_run_put(struct db *db, uint64_t ino, const struct landing_run *r)
{
	sqlite3_stmt *s = db_stmt(db, "INSERT INTO landing_extent(ino, off, len, phys, sums) VALUES(?,?,?,?,?)");

	assert(r->len >= 1 && (!r->phys || r->len <= EXTENT_MAX_BLOCKS));
	DB_BIND_INTS(s, 1, ino, r->off, r->len, r->phys);
	db_bind_blob(s, 5, r->phys ? r->sums : NULL, r->phys ? r->len * sizeof(r->sums[0]) : 0);
	return db_run(db, s);
}

static bool run_sane(sqlite3_stmt *s)
{
	uint64_t off = db_col_u64(s, 0), len = db_col_u64(s, 1), phys = db_col_u64(s, 2);

	if (!db_cols_int(s, 0, 3) || off >= EXTENT_BLOCK_LIMIT || len < 1 || len > EXTENT_BLOCK_LIMIT - off)
		return false;
	return !phys || (phys < EXTENT_BLOCK_LIMIT && len <= EXTENT_MAX_BLOCKS &&
			 sqlite3_column_type(s, 3) == SQLITE_BLOB &&
			 (uint64_t)sqlite3_column_bytes(s, 3) == len * sizeof(uint64_t));
}

/* Columns: off, len, phys, sums. */
static int read_run(struct db *db, sqlite3_stmt *s, uint64_t ino, struct landing_run *out)
{
	if (!run_sane(s))
		return db_damaged(db, "impossible row of inode %llu in landing_extent", (unsigned long long)ino);
	out->off = db_col_u64(s, 0);
	out->len = db_col_u64(s, 1);
	out->phys = db_col_u64(s, 2);
	if (out->phys)
		memcpy(out->sums, sqlite3_column_blob(s, 3), (size_t)out->len * sizeof(out->sums[0]));
	return 0;
}

int landing_run_get(struct db *db, uint64_t ino, struct landing_run *out)
{
	sqlite3_stmt *s = db_stmt(
		db, "SELECT off, len, phys, sums FROM landing_extent WHERE ino = ?1 ORDER BY off LIMIT 1");
	int rc;

	DB_BIND_INTS(s, 1, ino);
	rc = db_step(db, s);
	if (rc != 1)
		return only(rc);
	rc = read_run(db, s, ino, out);
	db_done(s);
	return rc;
}

int landing_run_drop(struct db *db, uint64_t ino, uint64_t off)
{
	return DB_RUN(db, "DELETE FROM landing_extent WHERE ino = ?1 AND off = ?2", ino, off);
}

int landing_runs_each(struct db *db, landing_run_fn fn, void *ctx)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT off, len, phys, sums, ino FROM landing_extent WHERE phys > 0");
	struct landing_run r;
	int rc;

	while ((rc = db_step(db, s)) > 0) {
		rc = read_run(db, s, db_col_u64(s, 4), &r);
		if (!rc)
			rc = fn(ctx, db_col_u64(s, 4), &r);
		if (rc) {
			db_done(s);
			return rc;
		}
	}
	return rc;
}

/* ---- the plan ---- */

int landing_rows_about(struct db *db, uint64_t ino, bool *any)
{
	uint64_t one;
	int rc = DB_GET(db, "SELECT 1 WHERE EXISTS(SELECT 1 FROM landing_inode WHERE ino = ?1)"
			    " OR EXISTS(SELECT 1 FROM landing_link WHERE child = ?1)"
			    " OR EXISTS(SELECT 1 FROM landing_xattr WHERE ino = ?1)", &one, ino);

	*any = rc == 1;
	return MIN(rc, 0);
}

static int next_link(struct db *db, struct landing_pos *pos, uint64_t *ino)
{
	sqlite3_stmt *s = pos->turn == 2 ? db_stmt(db, "SELECT child, link FROM landing_link WHERE link < ?1"
						       " AND turn = ?2 ORDER BY link DESC LIMIT 1")
					 : db_stmt(db, "SELECT child, link FROM landing_link WHERE link > ?1"
						       " AND turn = ?2 ORDER BY link LIMIT 1");
	int rc;

	DB_BIND_INTS(s, 1, pos->link, pos->turn);
	rc = db_step(db, s);
	if (rc == 1) {
		*ino = db_col_u64(s, 0);
		pos->link = db_col_u64(s, 1);
		db_done(s);
	}
	return rc;
}

int landing_rows_next(struct db *db, struct landing_pos *pos, uint64_t *ino)
{
	int rc = 0;

	while (pos->turn <= 2 && (rc = next_link(db, pos, ino)) == 0) {
		pos->turn++;
		pos->link = pos->turn == 2 ? ID_LIMIT : 0;
	}
	if (rc == 0)
		rc = DB_GET(db, "SELECT ino FROM landing_inode LIMIT 1", ino, 0);
	if (rc == 0)
		rc = DB_GET(db, "SELECT ino FROM landing_xattr LIMIT 1", ino, 0);
	return only(rc);
}

int landing_rows_clear(struct db *db)
{
	return db_exec(db, "DELETE FROM landing_link; DELETE FROM landing_inode; DELETE FROM landing_xattr;"
			   " DELETE FROM landing_extent;");
}

bool landing_rows_hold(struct db *db)
{
	char *holds = meta_row_get(db, HOLDS_KEY);

	free(holds);
	return holds != NULL;
}

int landing_rows_set_hold(struct db *db, bool holds)
{
	return meta_row_put(db, HOLDS_KEY, holds ? "1" : NULL);
}
