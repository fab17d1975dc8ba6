/* SPDX-License-Identifier: MIT */
#include "db/change_rows.h"

#include "util/util.h"

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

/* Rows of groups up to this one are acknowledged, and wait for being dropped: they count as gone. */
static uint64_t forgotten(struct db *db)
{
	return db_numbers(db)->forgotten;
}

/*
 * To walk rows of groups (after, upto] in the order of their key, either the index of groups is read and what it finds
 * is sorted, in memory, or the whole table is read in its order. The latter if many are in the groups, compared to the
 * table: a row that is found by the index and sorted takes 1.3 us and some 60 bytes, one of the whole table 0.3 us.
 */
#define SORT_MAX_ROWS UINT64_C(1024)
#define WHOLE_SHARE 4u

bool change_rows_many(struct db *db, enum change_table t, uint64_t after, uint64_t upto, unsigned share)
{
#define COUNT_IN(table) \
	"SELECT count(*) FROM (SELECT 1 FROM " table " WHERE grp > ?1 AND grp <= ?2 LIMIT ?3)"
	static const char *const count[] = { [CHANGE_INODES] = COUNT_IN("change_inode"),
		                             [CHANGE_LINKS] = COUNT_IN("change_dentry"),
		                             [CHANGE_XATTRS] = COUNT_IN("change_xattr"),
		                             [CHANGE_RANGES] = COUNT_IN("change_extent") };
	const struct db_numbers *numbers = db_numbers(db);
	uint64_t in_table = t == CHANGE_LINKS ? numbers->links : t == CHANGE_XATTRS ? numbers->xattrs : numbers->inodes;
	uint64_t n = 0, enough = MAX(in_table / share, SORT_MAX_ROWS);

	/* A failure is the walk's own. */
	return DB_GET(db, count[t], &n, after, upto, enough) == 1 && n == enough;
}

/* The plus keeps SQLite from the index. */
#define WHOLE " WHERE +grp > ?1 AND +grp <= ?2"
#define BY_GROUP " WHERE grp > ?1 AND grp <= ?2"

static sqlite3_stmt *behind(struct db *db, const char *by_key, const char *by_group, const struct change_place *place,
                            uint64_t upto, size_t max_rows)
{
	sqlite3_stmt *s = db_stmt(db, place->by_group ? by_group : by_key);

	DB_BIND_INTS(s, 1, place->grp, place->id, place->sub, upto, max_rows);
	return s;
}

/* ---- field groups of inodes ---- */

/* ino has got its first row, or lost its last: n is 1 or -1, `what` the row that came or went. */
static int count_inode(struct db *db, uint64_t ino, uint64_t what, int64_t n)
{
	uint64_t any = 0;
	int rc = DB_GET(db, "SELECT EXISTS(SELECT 1 FROM change_inode WHERE ino = ?1 AND what <> ?2)", &any, ino, what);

	if (rc == 1 && !any)
		db_count(&db_numbers(db)->inodes, n);
	return rc < 0 ? rc : 0;
}

/* That the file was cut is acknowledged with the group in which it was, as its ranges are; the row may stay. */
#define SHRINK_LIVES "shrunk_grp > ?6"

int change_inode_put(struct db *db, uint64_t ino, enum entity what, uint64_t grp, uint64_t seen, uint64_t shrunk_to)
{
	sqlite3_stmt *s = db_stmt(db, "INSERT OR IGNORE INTO change_inode(ino, what, grp, seen, shrunk_to, shrunk_grp)"
	                              " VALUES(?1, ?2, ?3, ?4, ?5, iif(?5 IS NULL, 0, ?3))");
	int rc;

	DB_BIND_INTS(s, 1, ino, what, grp, seen);
	bind_or_null(s, 5, shrunk_to);
	rc = db_run(db, s);
	if (rc || db_changes(db) > 0)
		return rc ? rc : count_inode(db, ino, what, 1);
	s = db_stmt(db, "UPDATE change_inode SET grp = ?3, seen = iif(grp > ?6, seen, ?4),"
	                " shrunk_grp = CASE WHEN ?5 IS NOT NULL THEN ?3 WHEN " SHRINK_LIVES " THEN shrunk_grp"
	                " ELSE 0 END, shrunk_to = CASE WHEN " SHRINK_LIVES " THEN min(ifnull(shrunk_to, ?5),"
	                " ifnull(?5, shrunk_to)) ELSE ?5 END WHERE ino = ?1 AND what = ?2");
	DB_BIND_INTS(s, 1, ino, what, grp, seen);
	bind_or_null(s, 5, shrunk_to);
	DB_BIND_INTS(s, 6, forgotten(db));
	return db_run(db, s);
}

int change_inode_put_new(struct db *db, uint64_t ino, uint64_t grp, uint64_t seen)
{
	int rc = DB_RUN(db, "INSERT OR IGNORE INTO change_inode(ino, what, grp, seen) VALUES(?1, ?2, ?3, ?4)", ino,
			ENT_NEW, grp, seen);

	if (!rc && db_changes(db) > 0)
		db_count(&db_numbers(db)->inodes, 1);
	return rc;
}

int change_inode_raise(struct db *db, uint64_t ino, enum entity what, uint64_t after, uint64_t grp)
{
	int rc = DB_RUN(db, "UPDATE change_inode SET grp = ?3 WHERE ino = ?1 AND what = ?2 AND grp > ?4", ino, what,
	                grp, MAX(after, forgotten(db)));

	return rc ? rc : db_changes(db) > 0;
}

/* Columns grp, seen, shrunk_to, shrunk_grp from `col` on. */
static struct change_row inode_row(struct db *db, sqlite3_stmt *s, int col)
{
	struct change_row row = { .grp = db_col_u64(s, col), .seen = db_col_u64(s, col + 1),
		                  .shrunk_to = col_or_max(s, col + 2), .shrunk_grp = db_col_u64(s, col + 3) };

	if (row.shrunk_grp <= forgotten(db)) {
		row.shrunk_to = UINT64_MAX;
		row.shrunk_grp = 0;
	}
	return row;
}

int change_inode_get(struct db *db, uint64_t ino, enum entity what, struct change_row *out)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT grp, seen, shrunk_to, shrunk_grp FROM change_inode"
	                              " WHERE ino = ?1 AND what = ?2 AND grp > ?3");
	int rc;

	DB_BIND_INTS(s, 1, ino, what, forgotten(db));
	rc = db_step(db, s);
	if (rc != 1)
		return rc < 0 ? rc : -ENOENT;
	*out = inode_row(db, s, 0);
	rc = check(db, s, 0, ino);
	db_done(s);
	return rc;
}

int change_inode_rows(struct db *db, uint64_t ino, struct change_row rows[ENT_ASK + 1], unsigned *which)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT grp, seen, shrunk_to, shrunk_grp, what FROM change_inode"
	                              " WHERE ino = ?1 AND grp > ?2");
	int rc;

	*which = 0;
	DB_BIND_INTS(s, 1, ino, forgotten(db));
	while ((rc = db_step(db, s)) == 1) {
		uint64_t what = db_col_u64(s, 4);

		if (what > ENT_ASK) {
			db_done(s);
			return db_damaged(db, "impossible row in the change set of inode %llu",
			                  (unsigned long long)ino);
		}
		rows[what] = inode_row(db, s, 0);
		*which |= 1u << what;
	}
	return rc;
}

int change_inode_drop(struct db *db, uint64_t ino, enum entity what)
{
	int rc = DB_RUN(db, "DELETE FROM change_inode WHERE ino = ?1 AND what = ?2", ino, what);

	return rc || db_changes(db) == 0 ? rc : count_inode(db, ino, what, -1);
}

#define INODES "SELECT ino, what, grp, seen, shrunk_to, shrunk_grp FROM change_inode"

static int walk_inodes(struct db *db, sqlite3_stmt *s, change_inode_fn fn, void *ctx)
{
	int rc;

	while ((rc = db_step(db, s)) == 1) {
		struct change_row row = inode_row(db, s, 2);

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

int change_inodes(struct db *db, uint64_t after, uint64_t upto, change_inode_fn fn, void *ctx)
{
	sqlite3_stmt *s;

	after = MAX(after, forgotten(db));
	s = change_rows_many(db, CHANGE_INODES, after, upto, WHOLE_SHARE)
		    ? db_stmt(db, INODES WHOLE " ORDER BY ino, what")
		    : db_stmt(db, INODES BY_GROUP " ORDER BY ino, what");
	DB_BIND_INTS(s, 1, after, upto);
	return walk_inodes(db, s, fn, ctx);
}

int change_inodes_behind(struct db *db, const struct change_place *place, uint64_t upto, size_t max_rows,
                         change_inode_fn fn, void *ctx)
{
	return walk_inodes(db,
	                   behind(db, INODES " WHERE (ino, what) > (?2, ?3) ORDER BY ino, what LIMIT ?5",
	                          INODES " WHERE (grp, ino, what) > (?1, ?2, ?3) AND grp <= ?4"
	                                 " ORDER BY grp, ino, what LIMIT ?5",
	                          place, upto, max_rows),
	                   fn, ctx);
}

/* ---- xattrs ---- */

int change_xattr_put(struct db *db, uint64_t ino, const char *key, uint64_t grp, uint64_t seen)
{
	sqlite3_stmt *s = db_stmt(db, "INSERT OR IGNORE INTO change_xattr(ino, grp, seen, key) VALUES(?1,?2,?3,?4)");
	int rc;

	DB_BIND_INTS(s, 1, ino, grp, seen);
	db_bind_text(s, 4, key);
	rc = db_run(db, s);
	if (rc || db_changes(db) > 0) {
		db_count(&db_numbers(db)->xattrs, !rc);
		return rc;
	}
	s = db_stmt(db, "UPDATE change_xattr SET grp = ?2, seen = iif(grp > ?5, seen, ?3) WHERE ino = ?1 AND key = ?4");
	DB_BIND_INTS(s, 1, ino, grp, seen);
	db_bind_text(s, 4, key);
	DB_BIND_INTS(s, 5, forgotten(db));
	return db_run(db, s);
}

int change_xattr_get(struct db *db, uint64_t ino, const char *key, struct change_row *out)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT grp, seen FROM change_xattr WHERE ino = ?1 AND key = ?2 AND grp > ?3");
	int rc;

	DB_BIND_INTS(s, 1, ino);
	db_bind_text(s, 2, key);
	DB_BIND_INTS(s, 3, forgotten(db));
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
	int rc;

	DB_BIND_INTS(s, 1, ino);
	db_bind_text(s, 2, key);
	rc = db_run(db, s);
	if (!rc)
		db_count(&db_numbers(db)->xattrs, -(int64_t)db_changes(db));
	return rc;
}

#define XATTRS "SELECT ino, key, grp, seen FROM change_xattr"

static int walk_xattrs(struct db *db, sqlite3_stmt *s, change_xattr_fn fn, void *ctx)
{
	int rc;

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

int change_xattrs(struct db *db, uint64_t after, uint64_t upto, change_xattr_fn fn, void *ctx)
{
	sqlite3_stmt *s;

	after = MAX(after, forgotten(db));
	s = change_rows_many(db, CHANGE_XATTRS, after, upto, WHOLE_SHARE)
		    ? db_stmt(db, XATTRS WHOLE " ORDER BY ino, key")
		    : db_stmt(db, XATTRS BY_GROUP " ORDER BY ino, key");
	DB_BIND_INTS(s, 1, after, upto);
	return walk_xattrs(db, s, fn, ctx);
}

int change_xattrs_behind(struct db *db, const struct change_place *place, uint64_t upto, size_t max_rows,
                         change_xattr_fn fn, void *ctx)
{
	sqlite3_stmt *s = behind(db, XATTRS " WHERE (ino, key) > (?2, ?6) ORDER BY ino, key LIMIT ?5",
	                         XATTRS " WHERE (grp, ino, key) > (?1, ?2, ?6) AND grp <= ?4"
	                                " ORDER BY grp, ino, key LIMIT ?5",
	                         place, upto, max_rows);

	db_bind_text(s, 6, place->key);
	return walk_xattrs(db, s, fn, ctx);
}

int change_xattrs_of(struct db *db, uint64_t ino, change_xattr_fn fn, void *ctx)
{
	sqlite3_stmt *s = db_stmt(db, XATTRS " WHERE ino = ?1 AND grp > ?2 ORDER BY key");

	DB_BIND_INTS(s, 1, ino, forgotten(db));
	return walk_xattrs(db, s, fn, ctx);
}

/* ---- links ---- */

int change_link_put(struct db *db, uint64_t link, uint64_t child, uint64_t grp, uint64_t seen, uint64_t fresh)
{
	int rc = DB_RUN(db,
	                "INSERT OR IGNORE INTO change_dentry(link, child, grp, seen, fresh) VALUES(?1, ?2, ?3, ?4, ?5)",
	                link, child, grp, seen, fresh);

	if (rc || db_changes(db) > 0) {
		db_count(&db_numbers(db)->links, !rc);
		return rc;
	}
	return DB_RUN(db,
	              "UPDATE change_dentry SET grp = ?3, child = ?2, seen = iif(grp > ?6, seen, ?4),"
	              " fresh = iif(grp > ?6, max(fresh, 0), ?5) WHERE link = ?1",
	              link, child, grp, seen, fresh, forgotten(db));
}

int change_link_mark_skipped(struct db *db, uint64_t link, bool told)
{
	return DB_RUN(db, "UPDATE change_dentry SET fresh = iif(?2, -2, -1) WHERE link = ?1", link, told);
}

int change_link_taken(struct db *db, uint64_t link, uint64_t grp, uint64_t seen)
{
	return DB_RUN(db, "UPDATE change_dentry SET grp = ?2, seen = ?3, fresh = iif(fresh < 0, -2, fresh)"
	                  " WHERE link = ?1", link, grp, seen);
}

int change_link_blind(struct db *db, uint64_t link, uint64_t child)
{
	return DB_RUN(db,
		      "UPDATE change_dentry SET seen = min(seen,"
		      " ifnull((SELECT min(seen) FROM change_inode WHERE ino = ?2 AND what <= 1 AND grp > ?3), seen),"
		      " ifnull((SELECT min(seen) FROM change_xattr WHERE ino = ?2 AND grp > ?3), seen))"
		      " WHERE link = ?1",
		      link, child, forgotten(db));
}

int change_link_get(struct db *db, uint64_t link, struct change_row *out)
{
	sqlite3_stmt *s =
		db_stmt(db, "SELECT grp, seen, child, fresh < 0, fresh = -2 FROM change_dentry"
		            " WHERE link = ?1 AND grp > ?2");
	int rc;

	DB_BIND_INTS(s, 1, link, forgotten(db));
	rc = db_step(db, s);
	if (rc != 1)
		return rc < 0 ? rc : -ENOENT;
	*out = (struct change_row){ .grp = db_col_u64(s, 0), .seen = db_col_u64(s, 1), .shrunk_to = UINT64_MAX,
	                            .child = db_col_u64(s, 2), .skipped = db_col_u64(s, 3) != 0,
	                            .told = db_col_u64(s, 4) != 0 };
	rc = check(db, s, 0, out->child);
	db_done(s);
	return rc;
}

int change_link_drop(struct db *db, uint64_t link)
{
	int rc = DB_RUN(db, "DELETE FROM change_dentry WHERE link = ?1", link);

	if (!rc)
		db_count(&db_numbers(db)->links, -(int64_t)db_changes(db));
	return rc;
}

int change_link_drop_fresh(struct db *db, uint64_t link, uint64_t cut)
{
	int rc = DB_RUN(db, "DELETE FROM change_dentry WHERE link = ?1 AND fresh > ?2 AND grp > ?3", link, cut,
	                forgotten(db));

	if (!rc)
		db_count(&db_numbers(db)->links, -(int64_t)db_changes(db));
	return rc ? rc : db_changes(db) > 0;
}

#define LINKS "SELECT link, grp, seen, child, fresh < 0 FROM change_dentry"

static int walk_links(struct db *db, sqlite3_stmt *s, change_link_fn fn, void *ctx)
{
	int rc;

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

int change_links(struct db *db, uint64_t after, uint64_t upto, change_link_fn fn, void *ctx)
{
	sqlite3_stmt *s;

	after = MAX(after, forgotten(db));
	s = change_rows_many(db, CHANGE_LINKS, after, upto, WHOLE_SHARE)
		    ? db_stmt(db, LINKS WHOLE " ORDER BY link")
		    : db_stmt(db, LINKS BY_GROUP " ORDER BY link");
	DB_BIND_INTS(s, 1, after, upto);
	return walk_links(db, s, fn, ctx);
}

int change_links_behind(struct db *db, const struct change_place *place, uint64_t upto, size_t max_rows,
                        change_link_fn fn, void *ctx)
{
	return walk_links(db,
	                  behind(db, LINKS " WHERE link > ?2 ORDER BY link LIMIT ?5",
	                         LINKS " WHERE (grp, link) > (?1, ?2) AND grp <= ?4 ORDER BY grp, link LIMIT ?5",
	                         place, upto, max_rows),
	                  fn, ctx);
}

/* Where the link of a row is, in columns 5 to 8. */
static int now_read(struct db *db, sqlite3_stmt *s, uint64_t link, struct dentry *d)
{
	int len = sqlite3_column_bytes(s, 8);
	const void *name = sqlite3_column_blob(s, 8);

	if (!db_cols_int(s, 5, 3) || !db_col_within(s, 5, ID_LIMIT - 1) || !db_col_within(s, 6, GROUP_LIMIT) ||
	    !db_col_within(s, 7, 1) || !name || len < 1 || len > (int)NAME_MAX_BYTES)
		return db_damaged(db, "impossible row of link %llu", (unsigned long long)link);
	*d = (struct dentry){ .link = link, .parent = db_col_u64(s, 5), .born = db_col_u64(s, 6),
		.origin = (uint8_t)db_col_u64(s, 7), .name_len = (uint8_t)len };
	memcpy(d->name, name, (size_t)len);
	return 0;
}

static int walk_links_now(struct db *db, sqlite3_stmt *s, uint64_t *last, change_link_now_fn fn, void *ctx)
{
	int rc;

	while ((rc = db_step(db, s)) == 1) {
		uint64_t link = *last = db_col_u64(s, 0);
		bool here = sqlite3_column_type(s, 5) != SQLITE_NULL;
		struct change_row row = { .grp = db_col_u64(s, 1), .seen = db_col_u64(s, 2), .shrunk_to = UINT64_MAX,
		                          .child = db_col_u64(s, 3), .skipped = db_col_u64(s, 4) != 0 };
		struct dentry now;

		rc = check(db, s, 1, row.child);
		if (rc == 0 && here)
			rc = now_read(db, s, link, &now);
		if (rc == 0)
			rc = fn(ctx, link, &row, here ? &now : NULL);
		if (rc != 0) {
			db_done(s);
			break;
		}
	}
	return rc;
}

#define LINKS_NOW \
	"SELECT c.link, grp, seen, c.child, fresh < 0, parent, born, origin, name" \
	" FROM change_dentry c LEFT JOIN dentry d ON d.link = c.link"

int change_links_now(struct db *db, uint64_t after, change_link_now_fn fn, void *ctx)
{
	sqlite3_stmt *s;
	uint64_t last;

	after = MAX(after, forgotten(db));
	s = change_rows_many(db, CHANGE_LINKS, after, GROUP_LIMIT, WHOLE_SHARE)
		    ? db_stmt(db, LINKS_NOW WHOLE)
		    : db_stmt(db, LINKS_NOW BY_GROUP);
	DB_BIND_INTS(s, 1, after, GROUP_LIMIT);
	return walk_links_now(db, s, &last, fn, ctx);
}

int change_links_now_behind(struct db *db, uint64_t *link, size_t max_rows, change_link_now_fn fn, void *ctx)
{
	sqlite3_stmt *s = db_stmt(db, LINKS_NOW " WHERE +grp > ?1 AND c.link > ?2 ORDER BY c.link LIMIT ?3");

	DB_BIND_INTS(s, 1, forgotten(db), *link, max_rows);
	return walk_links_now(db, s, link, fn, ctx);
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
	db_count(&db_numbers(db)->range_bytes, (int64_t)(end - off));
	return DB_RUN(db, "INSERT OR REPLACE INTO change_extent(ino, off, len, grp) VALUES(?1, ?2, ?3, ?4)", ino, off,
	              end - off, grp);
}

static int range_delete(struct db *db, uint64_t ino, const struct range *r)
{
	db_count(&db_numbers(db)->range_bytes, -(int64_t)(r->end - r->off));
	return DB_RUN(db, "DELETE FROM change_extent WHERE ino = ?1 AND off = ?2", ino, r->off);
}

static int range_shorten(struct db *db, uint64_t ino, const struct range *r, uint64_t end)
{
	db_count(&db_numbers(db)->range_bytes, -(int64_t)(r->end - end));
	return DB_RUN(db, "UPDATE change_extent SET len = ?3 WHERE ino = ?1 AND off = ?2", ino, r->off, end - r->off);
}

/* Take [off, end) out of r, which overlaps it. */
static int range_carve(struct db *db, uint64_t ino, const struct range *r, uint64_t off, uint64_t end)
{
	int rc = r->off < off ? range_shorten(db, ino, r, off) : range_delete(db, ino, r);

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
			rc = range_delete(db, ino, &r);
		} else if (r.off < end && r.end > off) {
			rc = range_carve(db, ino, &r, off, end);
		}
		if (rc < 0)
			break;
	}
	return rc < 0 ? rc : range_insert(db, ino, off, end, grp);
}

/* Delete all ranges of ino that begin at `off` or behind it. */
static int ranges_delete_from(struct db *db, uint64_t ino, uint64_t off)
{
	uint64_t sum = 0;
	int rc = DB_GET(db, "SELECT ifnull(sum(len), 0) FROM change_extent WHERE ino = ?1 AND off >= ?2", &sum, ino,
	                off);

	if (rc < 0 || sum == 0) /* none is empty */
		return MIN(rc, 0);
	db_count(&db_numbers(db)->range_bytes, -(int64_t)sum);
	return DB_RUN(db, "DELETE FROM change_extent WHERE ino = ?1 AND off >= ?2", ino, off);
}

int change_range_cut(struct db *db, uint64_t ino, uint64_t size_bytes)
{
	struct range r;
	int rc = ranges_delete_from(db, ino, size_bytes);

	if (!rc)
		rc = first_reaching(db, ino, size_bytes, &r);
	return rc == 1 && r.end > size_bytes ? range_shorten(db, ino, &r, size_bytes) : MIN(rc, 0);
}

int change_range_drop(struct db *db, uint64_t ino)
{
	return ranges_delete_from(db, ino, 0);
}

/* s: off, len, grp, ino. */
static int walk_ranges(struct db *db, sqlite3_stmt *s, change_range_fn fn, void *ctx)
{
	int rc;

	while ((rc = db_step(db, s)) == 1) {
		uint64_t ino = db_col_u64(s, 3);
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

int change_ranges(struct db *db, uint64_t ino, uint64_t after, uint64_t upto, change_range_fn fn, void *ctx)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT off, len, grp, ino FROM change_extent WHERE ino = ?1 AND grp > ?2 AND"
	                              " grp <= ?3 ORDER BY off");

	DB_BIND_INTS(s, 1, ino, MAX(after, forgotten(db)), upto);
	return walk_ranges(db, s, fn, ctx);
}

#define RANGES "SELECT off, len, grp, ino FROM change_extent"

int change_ranges_behind(struct db *db, const struct change_place *place, uint64_t upto, size_t max_rows,
                         change_range_fn fn, void *ctx)
{
	return walk_ranges(db,
	                   behind(db, RANGES " WHERE (ino, off) > (?2, ?3) ORDER BY ino, off LIMIT ?5",
	                          RANGES " WHERE (grp, ino, off) > (?1, ?2, ?3) AND grp <= ?4"
	                                 " ORDER BY grp, ino, off LIMIT ?5",
	                          place, upto, max_rows),
	                   fn, ctx);
}

int change_ranges_over(struct db *db, uint64_t ino, uint64_t off, uint64_t end, size_t max_rows, change_range_fn fn,
                       void *ctx)
{
	sqlite3_stmt *s = db_stmt(db, RANGES " WHERE ino = ?1 AND off < ?3 AND off + len > ?2 AND off >= ifnull("
	                                     "(SELECT max(off) FROM change_extent WHERE ino = ?1 AND off <= ?2), 0)"
	                                     " ORDER BY off LIMIT ?4");

	DB_BIND_INTS(s, 1, ino, off, MIN(end, SIZE_MAX_BYTES), MIN(max_rows, (size_t)INT32_MAX));
	return walk_ranges(db, s, fn, ctx);
}

int change_links_any(struct db *db, uint64_t after, bool *any)
{
	uint64_t n = 0;
	int rc = DB_GET(db, "SELECT EXISTS(SELECT 1 FROM change_dentry WHERE grp > ?1)", &n,
	                MAX(after, forgotten(db)));

	*any = n != 0;
	return rc < 0 ? rc : 0;
}

int change_ranges_drop(struct db *db, uint64_t ino, size_t max_rows)
{
	sqlite3_stmt *s = db_stmt(db, "SELECT off, len FROM change_extent WHERE ino = ?1 ORDER BY off LIMIT ?2");
	uint64_t last = 0, sum = 0;
	size_t n = 0;
	int rc;

	DB_BIND_INTS(s, 1, ino, MIN(max_rows, (size_t)INT32_MAX));
	for (; (rc = db_step(db, s)) == 1; n++) {
		last = db_col_u64(s, 0);
		sum += db_col_u64(s, 1);
	}
	if (rc < 0 || n == 0)
		return rc;
	db_count(&db_numbers(db)->range_bytes, -(int64_t)sum);
	rc = DB_RUN(db, "DELETE FROM change_extent WHERE ino = ?1 AND off <= ?2", ino, last);
	return rc ? rc : n >= max_rows;
}

int change_rows_forget_inode(struct db *db, uint64_t ino, size_t max_ranges)
{
	int rc = DB_RUN(db, "DELETE FROM change_inode WHERE ino = ?1 AND what != ?2", ino, ENT_ASK);

	if (!rc && db_changes(db) > 0)
		rc = count_inode(db, ino, ENT_NEW, -1); /* unless it is asked for */
	if (!rc)
		rc = DB_RUN(db, "DELETE FROM change_xattr WHERE ino = ?1", ino);
	if (!rc)
		db_count(&db_numbers(db)->xattrs, -(int64_t)db_changes(db));
	return rc ? rc : change_ranges_drop(db, ino, max_ranges);
}
