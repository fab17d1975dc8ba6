/* SPDX-License-Identifier: MIT */
#include "db/change_rows.h"

#include <errno.h>
#include <string.h>

/* grp and seen of a row, in two columns that follow each other, and the id that it is about. */
static int check(struct db *db, sqlite3_stmt *s, int grp_col, uint64_t id)
{
	if (db_cols_int(s, grp_col, 2) && db_col_within(s, grp_col, GROUP_LIMIT) &&
	    db_col_within(s, grp_col + 1, GROUP_LIMIT) && id < ID_LIMIT)
		return 0;
	return db_damaged(db, "impossible row of the change set about %lld", (long long)id);
}

static bool key_sane(const char *key, int len)
{
	return key && len >= 1 && len <= 255 && strlen(key) == (size_t)len;
}

static void bind_or_null(sqlite3_stmt *s, int index, uint64_t value)
{
	if (value != UINT64_MAX)
		DB_BIND_INTS(s, index, value);
}

static uint64_t col_or_max(sqlite3_stmt *s, int col)
{
	return sqlite3_column_type(s, col) == SQLITE_NULL ? UINT64_MAX : db_col_u64(s, col);
}

/* ---- field groups of inodes ---- */

int change_inode_put(struct db *db, uint64_t ino, enum entity what, uint64_t grp, uint64_t seen, uint64_t shrunk_to)
{
	sqlite3_stmt *s = db_stmt(db, "INSERT INTO change_inode(ino, what, grp, seen, shrunk_to, shrunk_grp)"
	                              " VALUES(?1, ?2, ?3, ?4, ?5, iif(?5 IS NULL, 0, ?3))"
	                              " ON CONFLICT(ino, what) DO UPDATE SET grp = ?3,"
	                              " shrunk_grp = iif(?5 IS NULL, shrunk_grp, ?3),"
	                              " shrunk_to = min(ifnull(shrunk_to, ?5), ifnull(?5, shrunk_to))");

	DB_BIND_INTS(s, 1, ino, what, grp, seen);
	bind_or_null(s, 5, shrunk_to);
	return db_run(db, s);
}

int change_inode_raise(struct db *db, uint64_t ino, enum entity what, uint64_t after, uint64_t grp)
{
	int rc = DB_RUN(db, "UPDATE change_inode SET grp = ?3 WHERE ino = ?1 AND what = ?2 AND grp > ?4", ino, what,
			grp, after);

	return rc ? rc : db_changes(db) > 0;
}

int change_inode_get(struct db *db, uint64_t ino, enum entity what, struct change_row *out)
{
	sqlite3_stmt *s = db_stmt(
		db, "SELECT grp, seen, shrunk_to, shrunk_grp FROM change_inode WHERE ino = ?1 AND what = ?2");
	int rc;

	DB_BIND_INTS(s, 1, ino, what);
	rc = db_step(db, s);
	if (rc != 1)
		return rc < 0 ? rc : -ENOENT;
	*out = (struct change_row){ .grp = db_col_u64(s, 0), .seen = db_col_u64(s, 1), .shrunk_to = col_or_max(s, 2),
	                             .shrunk_grp = db_col_u64(s, 3) };
	rc = check(db, s, 0, ino);
	db_done(s);
	return rc;
}

int change_inode_drop(struct db *db, uint64_t ino, enum entity what)
{
	return DB_RUN(db, "DELETE FROM change_inode WHERE ino = ?1 AND what = ?2", ino, what);
}

int change_inodes(struct db *db, uint64_t after, uint64_t upto, change_inode_fn fn, void *ctx)
{
	sqlite3_stmt *s = db_stmt(
		db, "SELECT ino, what, grp, seen, shrunk_to, shrunk_grp FROM change_inode WHERE grp > ?1 AND grp <= ?2"
		    " ORDER BY ino, what");
	int rc;

	DB_BIND_INTS(s, 1, after, upto);
	while ((rc = db_step(db, s)) == 1) {
		struct change_row row = { .grp = db_col_u64(s, 2),
					  .seen = db_col_u64(s, 3),
					  .shrunk_to = col_or_max(s, 4),
					  .shrunk_grp = db_col_u64(s, 5) };

		rc = check(db, s, 2, db_col_u64(s, 0));
		if (rc == 0 && db_col_u64(s, 1) > ENT_ASK)
			rc = db_damaged(db, "impossible row of the change set about %llu",
			                (unsigned long long)db_col_u64(s, 0));
		if (rc == 0)
			rc = fn(ctx, db_col_u64(s, 0), (enum entity)db_col_u64(s, 1), &row);
		if (rc != 0) {
			db_done(s);
			break;
		}
	}
	return rc;
}

/* ---- xattrs ---- */

int change_xattr_put(struct db *db, uint64_t ino, const char *key, uint64_t grp, uint64_t seen)
{
	sqlite3_stmt *s = db_stmt(db, "INSERT INTO change_xattr(ino, grp, seen, key) VALUES(?1,?2,?3,?4)"
	                              " ON CONFLICT(ino, key) DO UPDATE SET grp = ?2");

	DB_BIND_INTS(s, 1, ino, grp, seen);
	db_bind_text(s, 4, key);
	return db_run(db, s);
}

int change_xattr_get(struct db *db, uint64_t ino, const char *key, struct change_row *out)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT grp, seen FROM change_xattr WHERE ino = ?1 AND key = ?2");
	int rc;

	DB_BIND_INTS(s, 1, ino);
	db_bind_text(s, 2, key);
	rc = db_step(db, s);
	if (rc != 1)
		return rc < 0 ? rc : -ENOENT;
	*out = (struct change_row){ .grp = db_col_u64(s, 0), .seen = db_col_u64(s, 1), .shrunk_to = UINT64_MAX };
	rc = check(db, s, 0, ino);
	db_done(s);
	return rc;
}

int change_xattr_drop(struct db *db, uint64_t ino, const char *key)
{
	sqlite3_stmt *s = db_stmt(db, "DELETE FROM change_xattr WHERE ino = ?1 AND key = ?2");

	DB_BIND_INTS(s, 1, ino);
	db_bind_text(s, 2, key);
	return db_run(db, s);
}

int change_xattrs(struct db *db, uint64_t after, uint64_t upto, change_xattr_fn fn, void *ctx)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT ino, key, grp, seen FROM change_xattr WHERE grp > ?1 AND grp <= ?2"
	                              " ORDER BY ino, key");
	int rc;

	DB_BIND_INTS(s, 1, after, upto);
	while ((rc = db_step(db, s)) == 1) {
		struct change_row row = { .grp = db_col_u64(s, 2), .seen = db_col_u64(s, 3), .shrunk_to = UINT64_MAX };

		const char *key = (const char *)sqlite3_column_text(s, 1);

		rc = check(db, s, 2, db_col_u64(s, 0));
		if (rc == 0 && !key_sane(key, sqlite3_column_bytes(s, 1)))
			rc = db_damaged(db, "impossible attribute in the change set of inode %llu",
			                (unsigned long long)db_col_u64(s, 0));
		if (rc == 0)
			rc = fn(ctx, db_col_u64(s, 0), key, &row);
		if (rc != 0) {
			db_done(s);
			break;
		}
	}
	return rc;
}

/* ---- links ---- */

int change_link_put(struct db *db, uint64_t link, uint64_t child, uint64_t grp, uint64_t seen, uint64_t fresh)
{
	return DB_RUN(db,
		      "INSERT INTO change_dentry(link, child, grp, seen, fresh) VALUES(?1, ?2, ?3,"
		      " ?4, ?5)"
		      " ON CONFLICT(link) DO UPDATE SET grp = ?3, child = ?2, fresh = max(fresh, 0)",
		      link, child, grp, seen, fresh);
}

int change_link_mark_skipped(struct db *db, uint64_t link)
{
	return DB_RUN(db, "UPDATE change_dentry SET fresh = -1 WHERE link = ?1", link);
}

int change_link_taken(struct db *db, uint64_t link, uint64_t grp, uint64_t seen)
{
	return DB_RUN(db, "UPDATE change_dentry SET grp = ?2, seen = ?3 WHERE link = ?1", link, grp, seen);
}

int change_link_blind(struct db *db, uint64_t link, uint64_t child)
{
	return DB_RUN(db,
		      "UPDATE change_dentry SET seen = min(seen,"
		      " ifnull((SELECT min(seen) FROM change_inode WHERE ino = ?2 AND what <= 1), seen),"
		      " ifnull((SELECT min(seen) FROM change_xattr WHERE ino = ?2), seen)) WHERE link = ?1",
		      link, child);
}

int change_link_get(struct db *db, uint64_t link, struct change_row *out)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT grp, seen, child, fresh < 0 FROM change_dentry WHERE link = ?1");
	int rc;

	DB_BIND_INTS(s, 1, link);
	rc = db_step(db, s);
	if (rc != 1)
		return rc < 0 ? rc : -ENOENT;
	*out = (struct change_row){ .grp = db_col_u64(s, 0), .seen = db_col_u64(s, 1), .shrunk_to = UINT64_MAX,
	                            .child = db_col_u64(s, 2), .skipped = db_col_u64(s, 3) != 0 };
	rc = check(db, s, 0, out->child);
	db_done(s);
	return rc;
}

int change_link_drop(struct db *db, uint64_t link)
{
	return DB_RUN(db, "DELETE FROM change_dentry WHERE link = ?1", link);
}

int change_link_drop_fresh(struct db *db, uint64_t link, uint64_t cut)
{
	int rc = DB_RUN(db, "DELETE FROM change_dentry WHERE link = ?1 AND fresh > ?2", link, cut);

	return rc ? rc : db_changes(db) > 0;
}

int change_links(struct db *db, uint64_t after, uint64_t upto, change_link_fn fn, void *ctx)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT link, grp, seen, child, fresh < 0 FROM change_dentry"
	                              " WHERE grp > ?1 AND grp <= ?2"
	                              " ORDER BY link");
	int rc;

	DB_BIND_INTS(s, 1, after, upto);
	while ((rc = db_step(db, s)) == 1) {
		struct change_row row = { .grp = db_col_u64(s, 1), .seen = db_col_u64(s, 2), .shrunk_to = UINT64_MAX,
		                          .child = db_col_u64(s, 3),
		                          .skipped = db_col_u64(s, 4) != 0 };

		rc = check(db, s, 1, row.child);
		if (rc == 0)
			rc = fn(ctx, db_col_u64(s, 0), &row);
		if (rc != 0) {
			db_done(s);
			break;
		}
	}
	return rc;
}

/* ---- byte ranges ---- */

struct range {
	uint64_t off, end, grp;
};

static int range_read(struct db *db, sqlite3_stmt *s, uint64_t ino, struct range *out)
{
	uint64_t off = db_col_u64(s, 0), len = db_col_u64(s, 1);

	*out = (struct range){ off, off + len, db_col_u64(s, 2) };
	if (db_cols_int(s, 0, 3) && off <= SIZE_MAX_BYTES && len >= 1 && len <= SIZE_MAX_BYTES - off &&
	    out->grp <= GROUP_LIMIT)
		return 0;
	return db_damaged(db, "impossible range in the change set of inode %llu at %lld", (unsigned long long)ino,
	                  (long long)off);
}

/* The first range of ino with end >= from, ascending: 1, 0 none, or negative. Ranges do not overlap, so ends ascend
 * with offsets. */
static int first_reaching(struct db *db, uint64_t ino, uint64_t from, struct range *out)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT off, len, grp FROM change_extent WHERE ino = ?1 AND off <= ?2"
	                              " ORDER BY off DESC LIMIT 1");
	int rc;

	/* The last one that starts before `from` may reach it; one that starts at or before it is that one. */
	DB_BIND_INTS(s, 1, ino, from > 0 ? from - 1 : 0);
	rc = db_step(db, s);
	if (rc == 1) {
		int damaged = range_read(db, s, ino, out);

		db_done(s);
		if (damaged)
			return damaged;
		if (out->end >= from)
			return 1;
	}
	if (rc < 0)
		return rc;
	s = db_stmt(db, "SELECT off, len, grp FROM change_extent WHERE ino = ?1 AND off >= ?2 ORDER BY off LIMIT 1");
	DB_BIND_INTS(s, 1, ino, from);
	rc = db_step(db, s);
	if (rc == 1) {
		int damaged = range_read(db, s, ino, out);

		db_done(s);
		if (damaged)
			return damaged;
	}
	return rc;
}

static int range_insert(struct db *db, uint64_t ino, uint64_t off, uint64_t end, uint64_t grp)
{
	return DB_RUN(db, "INSERT OR REPLACE INTO change_extent(ino, off, len, grp) VALUES(?1, ?2, ?3, ?4)", ino, off,
	              end - off, grp);
}

static int range_delete(struct db *db, uint64_t ino, uint64_t off)
{
	return DB_RUN(db, "DELETE FROM change_extent WHERE ino = ?1 AND off = ?2", ino, off);
}

/* Take [off, end) out of r, which overlaps it. */
static int range_carve(struct db *db, uint64_t ino, const struct range *r, uint64_t off, uint64_t end)
{
	int rc = r->off < off ? range_insert(db, ino, r->off, off, r->grp) : range_delete(db, ino, r->off);

	if (!rc && r->end > end)
		rc = range_insert(db, ino, end, r->end, r->grp);
	return rc;
}

int change_range_put(struct db *db, uint64_t ino, uint64_t off, uint64_t len_bytes, uint64_t grp)
{
	uint64_t from = off, end = off + len_bytes;
	struct range r;
	int rc;

	if (len_bytes == 0)
		return 0;
	while ((rc = first_reaching(db, ino, from, &r)) == 1 && r.off <= end) {
		from = r.end + 1; /* the next round's lower bound: behind this one */
		if (r.grp == grp) {
			if (r.off <= off && r.end >= end)
				return 0;
			off = r.off < off ? r.off : off;
			end = r.end > end ? r.end : end;
			rc = range_delete(db, ino, r.off);
		} else if (r.off < end && r.end > off) {
			rc = range_carve(db, ino, &r, off, end);
		}
		if (rc < 0)
			break;
	}
	return rc < 0 ? rc : range_insert(db, ino, off, end, grp);
}

int change_range_cut(struct db *db, uint64_t ino, uint64_t size_bytes)
{
	int rc = DB_RUN(db, "DELETE FROM change_extent WHERE ino = ?1 AND off >= ?2", ino, size_bytes);

	if (!rc)
		rc = DB_RUN(db, "UPDATE change_extent SET len = ?2 - off WHERE ino = ?1 AND off + len > ?2", ino,
			    size_bytes);
	return rc;
}

int change_range_drop(struct db *db, uint64_t ino)
{
	return DB_RUN(db, "DELETE FROM change_extent WHERE ino = ?1", ino);
}

int change_ranges(struct db *db, uint64_t ino, uint64_t after, uint64_t upto, change_range_fn fn, void *ctx)
{
	sqlite3_stmt *s = db_stmt(db,
				  "SELECT off, len, grp FROM change_extent WHERE ino = ?1 AND grp > ?2 AND grp <= ?3"
				  " ORDER BY off");
	int rc;

	DB_BIND_INTS(s, 1, ino, after, upto);
	while ((rc = db_step(db, s)) == 1) {
		struct range r;

		rc = range_read(db, s, ino, &r);
		if (rc == 0)
			rc = fn(ctx, ino, r.off, r.end - r.off, r.grp);
		if (rc != 0) {
			db_done(s);
			break;
		}
	}
	return rc;
}

/* ---- all together ---- */

int change_rows_forget_inode(struct db *db, uint64_t ino)
{
	int rc = DB_RUN(db, "DELETE FROM change_inode WHERE ino = ?1", ino);

	if (!rc)
		rc = DB_RUN(db, "DELETE FROM change_xattr WHERE ino = ?1", ino);
	return rc ? rc : change_range_drop(db, ino);
}

int change_rows_purge(struct db *db, uint64_t upto)
{
	int rc = DB_RUN(db, "DELETE FROM change_inode WHERE grp <= ?1", upto);

	/* A file changed again since: that it was cut is acknowledged all the same, as its ranges are. */
	if (!rc)
		rc = DB_RUN(db,
			    "UPDATE change_inode SET shrunk_to = NULL, shrunk_grp = 0 WHERE shrunk_grp > 0 AND "
			    "shrunk_grp <= ?1",
			    upto);
	if (!rc)
		rc = DB_RUN(db, "DELETE FROM change_xattr WHERE grp <= ?1", upto);
	if (!rc)
		rc = DB_RUN(db, "DELETE FROM change_dentry WHERE grp <= ?1", upto);
	if (!rc)
		rc = DB_RUN(db, "DELETE FROM change_extent WHERE grp <= ?1", upto);
	/* A conflict row stays when the peer has it; only its mark as a change goes. */
	return rc ? rc : DB_RUN(db, "UPDATE conflict SET grp = 0 WHERE grp > 0 AND grp <= ?1", upto);
}

int change_rows_any_after(struct db *db, uint64_t after)
{
	uint64_t any = 0;
	int rc = DB_GET(db,
			"SELECT EXISTS(SELECT 1 FROM change_inode WHERE grp > ?1) OR"
			" EXISTS(SELECT 1 FROM change_dentry WHERE grp > ?1) OR EXISTS(SELECT 1 FROM change_xattr "
			"WHERE grp > ?1)"
			" OR EXISTS(SELECT 1 FROM conflict WHERE grp > ?1)",
			&any, after);

	return rc < 0 ? rc : any != 0;
}

int change_rows_enter_all(struct db *db, uint64_t grp, bool primary, uint64_t first_own)
{
	static const char *const SQL_NEW = "INSERT OR REPLACE INTO change_inode(ino, what, grp, seen, shrunk_to)"
	                                   " SELECT ino, 0, ?1, 0, NULL FROM inode WHERE ino >= ?2 AND nlink > 0";
	/* 32768 is S_IFREG, 61440 S_IFMT */
	static const char *const SQL_CONTENT = "INSERT OR REPLACE INTO change_inode(ino, what, grp, seen, shrunk_to)"
	                                       " SELECT ino, 1, ?1, 0, NULL FROM inode WHERE ino >= ?2 AND nlink > 0"
	                                       " AND mode & 61440 = 32768 AND size > 0";
	int rc = DB_RUN(db, SQL_NEW, grp, first_own);

	if (!rc)
		rc = DB_RUN(db, SQL_CONTENT, grp, first_own);
	if (!rc)
		rc = DB_RUN(
			db,
			"INSERT OR REPLACE INTO change_extent(ino, off, len, grp) SELECT ino, 0, size, ?1 FROM inode"
			" WHERE ino >= ?2 AND nlink > 0 AND mode & 61440 = 32768 AND size > 0",
			grp, first_own);
	if (!rc)
		rc = DB_RUN(db,
			    "INSERT OR REPLACE INTO change_xattr(ino, key, grp, seen) SELECT x.ino, x.key, ?1, 0 FROM "
			    "xattr x"
			    " JOIN inode i ON i.ino = x.ino WHERE i.nlink > 0",
			    grp);
	if (!rc)
		rc = DB_RUN(db, "INSERT OR REPLACE INTO change_dentry(link, child, grp, seen, fresh)"
		            " SELECT link, child, ?1, 0, ?1 FROM dentry", grp);
	if (!rc && primary)
		rc = DB_RUN(db,
			    "INSERT OR REPLACE INTO change_inode(ino, what, grp, seen, shrunk_to) SELECT ino, w, ?1, "
			    "0, NULL"
			    " FROM inode, (SELECT 2 AS w UNION ALL SELECT 3 UNION ALL SELECT 4) WHERE ino < ?2",
			    grp, first_own);
	return rc;
}

int change_rows_totals(struct db *db, struct change_totals *out)
{
	sqlite3_stmt *s = db_stmt(
		db, "SELECT max((SELECT count(*) FROM change_dentry),"
		    " (SELECT count(DISTINCT ino) FROM change_inode)) + (SELECT count(*) FROM change_xattr),"
		    " (SELECT ifnull(sum(len), 0) FROM change_extent),"
		    " (SELECT min(g) FROM (SELECT min(grp) AS g FROM change_inode UNION ALL"
		    " SELECT min(grp) FROM change_dentry UNION ALL SELECT min(grp) FROM change_xattr))");
	int rc = db_step(db, s);

	if (rc != 1)
		return rc < 0 ? rc : -EIO;
	out->entries = db_col_u64(s, 0);
	out->range_bytes = db_col_u64(s, 1);
	out->oldest_grp = db_col_u64(s, 2);
	db_done(s);
	return 0;
}
