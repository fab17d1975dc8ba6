/* SPDX-License-Identifier: MIT */
#include "db/change_set.h"

#include "db/change_rows.h"
#include "db/inode_rows.h"
#include "util/util.h"

static uint64_t forgotten(struct db *db)
{
	return db_numbers(db)->forgotten;
}

int change_set_any_after(struct db *db, uint64_t after)
{
	uint64_t any = 0;
	int rc = DB_GET(db,
			"SELECT EXISTS(SELECT 1 FROM change_inode WHERE grp > ?1) OR"
			" EXISTS(SELECT 1 FROM change_dentry WHERE grp > ?1) OR EXISTS(SELECT 1 FROM change_xattr "
			"WHERE grp > ?1)"
			" OR EXISTS(SELECT 1 FROM conflict WHERE grp > ?1)",
			&any, MAX(after, forgotten(db)));

	return rc < 0 ? rc : any != 0;
}

/* ---- what is forgotten ---- */

void change_set_forget(struct db *db, uint64_t upto)
{
	struct db_numbers *n = db_numbers(db);

	n->forgotten = MAX(n->forgotten, upto);
}

int change_set_any_forgotten(struct db *db)
{
	uint64_t any = 0;
	int rc = DB_GET(db,
	                "SELECT EXISTS(SELECT 1 FROM change_inode WHERE grp <= ?1)"
	                " OR EXISTS(SELECT 1 FROM change_dentry WHERE grp <= ?1)"
	                " OR EXISTS(SELECT 1 FROM change_xattr WHERE grp <= ?1)"
	                " OR EXISTS(SELECT 1 FROM change_extent WHERE grp <= ?1)"
	                " OR EXISTS(SELECT 1 FROM conflict WHERE grp BETWEEN 1 AND ?1)",
	                &any, forgotten(db));

	return rc < 0 ? rc : any != 0;
}

/* Keys of rows that are about to be dropped, so many at a time. */
#define DROP_BATCH 256u

struct batch {
	uint64_t a[DROP_BATCH], b[DROP_BATCH], len[DROP_BATCH];
	size_t n;
};

/* The rows of `s`, which binds the last forgotten group and how many. Columns: up to three numbers. */
static int batch_read(struct db *db, sqlite3_stmt *s, size_t max_rows, struct batch *out)
{
	int rc;

	out->n = 0;
	DB_BIND_INTS(s, 1, forgotten(db), MIN(max_rows, DROP_BATCH));
	while ((rc = db_step(db, s)) == 1) {
		out->a[out->n] = db_col_u64(s, 0);
		out->b[out->n] = db_col_u64(s, 1);
		out->len[out->n++] = db_col_u64(s, 2);
	}
	return rc;
}

static int drop_inodes(struct db *db, size_t max_rows, size_t *n)
{
	struct batch b;
	int rc = batch_read(db, db_stmt(db, "SELECT ino, what, 0 FROM change_inode WHERE grp <= ?1 LIMIT ?2"), max_rows,
	                    &b);

	for (size_t i = 0; !rc && i < b.n; i++)
		rc = change_inode_drop(db, b.a[i], (enum entity)b.b[i]);
	*n = b.n;
	return rc;
}

static int drop_ranges(struct db *db, size_t max_rows, size_t *n)
{
	struct batch b;
	int rc = batch_read(db, db_stmt(db, "SELECT ino, off, len FROM change_extent WHERE grp <= ?1 LIMIT ?2"),
	                    max_rows, &b);

	for (size_t i = 0; !rc && i < b.n; i++)
		rc = DB_RUN(db, "DELETE FROM change_extent WHERE ino = ?1 AND off = ?2", b.a[i], b.b[i]);
	for (size_t i = 0; !rc && i < b.n; i++)
		db_count(&db_numbers(db)->range_bytes, -(int64_t)b.len[i]);
	*n = b.n;
	return rc;
}

static int drop_links(struct db *db, size_t max_rows, size_t *n)
{
	int rc = DB_RUN(db,
	                "DELETE FROM change_dentry WHERE link IN (SELECT link FROM change_dentry WHERE grp <= ?1"
	                " LIMIT ?2)",
	                forgotten(db), MIN(max_rows, DROP_BATCH));

	*n = rc ? 0 : db_changes(db);
	db_count(&db_numbers(db)->links, -(int64_t)*n);
	return rc;
}

static int drop_xattrs(struct db *db, size_t max_rows, size_t *n)
{
	int rc = DB_RUN(db,
	                "DELETE FROM change_xattr WHERE (ino, key) IN (SELECT ino, key FROM change_xattr"
	                " WHERE grp <= ?1 LIMIT ?2)",
	                forgotten(db), MIN(max_rows, DROP_BATCH));

	*n = rc ? 0 : db_changes(db);
	db_count(&db_numbers(db)->xattrs, -(int64_t)*n);
	return rc;
}

/* A conflict stays when the peer has it; only its mark as a change goes. */
static int unmark_conflicts(struct db *db, size_t max_rows, size_t *n)
{
	int rc = DB_RUN(db,
	                "UPDATE conflict SET grp = 0 WHERE id IN (SELECT id FROM conflict WHERE grp BETWEEN 1 AND ?1"
	                " LIMIT ?2)",
	                forgotten(db), MIN(max_rows, DROP_BATCH));

	*n = rc ? 0 : db_changes(db);
	return rc;
}

int change_set_drop(struct db *db, size_t max_rows)
{
	static int (*const step[])(struct db *db, size_t max_rows,
	                           size_t *n) = { drop_inodes, drop_links, drop_xattrs, drop_ranges, unmark_conflicts };
	int rc = 0;

	for (size_t i = 0, n; !rc && i < ARRAY_LEN(step); i++)
		while (!rc && max_rows > 0 && (rc = step[i](db, max_rows, &n)) == 0 && n > 0)
			max_rows -= MIN(max_rows, n);
	return rc ? rc : max_rows == 0;
}

/* ---- the whole tree ---- */

/* The row behind the next max_rows ones of table, or none: then `last`. */
static int next_of(struct db *db, sqlite3_stmt *s, uint64_t from, size_t max_rows, uint64_t *next)
{
	int rc;

	DB_BIND_INTS(s, 1, from, max_rows);
	rc = db_step(db, s);
	*next = rc == 1 ? db_col_u64(s, 0) : ID_LIMIT;
	if (rc == 1)
		db_done(s);
	return MIN(rc, 0);
}

/* How many inodes of [from, end) have rows, and the bytes of their ranges. */
static int sums_of(struct db *db, uint64_t from, uint64_t end, uint64_t *inodes, uint64_t *bytes)
{
	int rc = DB_GET(db, "SELECT count(DISTINCT ino) FROM change_inode WHERE ino >= ?1 AND ino < ?2", inodes, from,
	                end);

	if (rc >= 0)
		rc = DB_GET(db, "SELECT ifnull(sum(len), 0) FROM change_extent WHERE ino >= ?1 AND ino < ?2", bytes,
		            from, end);
	return MIN(rc, 0);
}

/* 32768 is S_IFREG, 61440 S_IFMT */
#define LINKED " FROM inode WHERE ino >= ?2 AND ino < ?3 AND nlink > 0"
#define LINKED_FILE LINKED " AND mode & 61440 = 32768 AND size > 0"

static int enter_inodes(struct db *db, uint64_t grp, uint64_t from, uint64_t end)
{
	struct db_numbers *n = db_numbers(db);
	uint64_t inodes = 0, bytes = 0, inodes_then = 0, bytes_then = 0;
	int rc = sums_of(db, from, end, &inodes, &bytes);

	if (!rc)
		rc = DB_RUN(db,
		            "INSERT OR IGNORE INTO change_inode(ino, what, grp, seen) SELECT ino, 0, ?1, 0" LINKED, grp,
		            from, end);
	if (!rc)
		rc = DB_RUN(db,
		            "INSERT OR IGNORE INTO change_inode(ino, what, grp, seen) SELECT ino, 1, ?1, 0" LINKED_FILE,
		            grp, from, end);
	if (!rc) /* of what was written since the entering began */
		rc = DB_RUN(db, "DELETE FROM change_extent WHERE ino >= ?1 AND ino < ?2", from, end);
	if (!rc)
		rc = DB_RUN(db, "INSERT INTO change_extent(ino, off, len, grp) SELECT ino, 0, size, ?1" LINKED_FILE,
		            grp, from, end);
	if (!rc)
		rc = sums_of(db, from, end, &inodes_then, &bytes_then);
	if (!rc) {
		db_count(&n->inodes, (int64_t)(inodes_then - inodes));
		db_count(&n->range_bytes, (int64_t)(bytes_then - bytes));
	}
	return rc;
}

static int enter_xattrs(struct db *db, uint64_t grp, uint64_t from, uint64_t end)
{
	int rc = DB_RUN(db,
	                "INSERT OR IGNORE INTO change_xattr(ino, key, grp, seen) SELECT x.ino, x.key, ?1, 0"
	                " FROM xattr x JOIN inode i ON i.ino = x.ino"
	                " WHERE x.ino >= ?2 AND x.ino < ?3 AND i.nlink > 0",
	                grp, from, end);

	if (!rc)
		db_count(&db_numbers(db)->xattrs, (int64_t)db_changes(db));
	return rc;
}

static int enter_links(struct db *db, uint64_t grp, uint64_t from, uint64_t end)
{
	int rc = DB_RUN(db,
	                "INSERT OR IGNORE INTO change_dentry(link, child, grp, seen, fresh)"
	                " SELECT link, child, ?1, 0, ?1 FROM dentry WHERE link >= ?2 AND link < ?3",
	                grp, from, end);

	if (!rc)
		db_count(&db_numbers(db)->links, (int64_t)db_changes(db));
	return rc;
}

static int own_inodes(struct db *db, uint64_t from, uint64_t end)
{
	int rc = inode_rows_own(db, from, end);

	if (!rc)
		rc = DB_RUN(db, "UPDATE xattr SET origin = 0 WHERE ino >= ?1 AND ino < ?2 AND origin <> 0", from, end);
	return rc ? rc
	          : DB_RUN(db, "UPDATE extent SET origin = 0 WHERE ino >= ?1 AND ino < ?2 AND origin <> 0", from, end);
}

int change_set_enter(struct db *db, uint64_t grp, uint64_t first_own, size_t max_rows, struct enter_pos *pos)
{
	uint64_t end;
	int rc;

	if (pos->ino < ID_LIMIT) {
		rc = next_of(db, db_stmt(db, "SELECT ino FROM inode WHERE ino >= ?1 ORDER BY ino LIMIT 1 OFFSET ?2"),
		             pos->ino, max_rows, &end);
		if (!rc && end > first_own)
			rc = enter_inodes(db, grp, MAX(pos->ino, first_own), end);
		if (!rc)
			rc = enter_xattrs(db, grp, pos->ino, end);
		if (!rc && pos->peer_before)
			rc = own_inodes(db, pos->ino, end);
		pos->ino = end;
		return rc ? rc : 1;
	}
	rc = next_of(db, db_stmt(db, "SELECT link FROM dentry WHERE link >= ?1 ORDER BY link LIMIT 1 OFFSET ?2"),
	             pos->link, max_rows, &end);
	if (!rc)
		rc = enter_links(db, grp, pos->link, end);
	if (!rc && pos->peer_before)
		rc = DB_RUN(db, "UPDATE dentry SET origin = 0 WHERE link >= ?1 AND link < ?2 AND origin <> 0",
		            pos->link, end);
	pos->link = end;
	return rc ? rc : end < ID_LIMIT;
}

int change_set_enter_attrs(struct db *db, uint64_t grp, uint64_t end)
{
	int rc = 0;

	for (uint64_t ino = 1; !rc && ino < end; ino++)
		for (enum entity what = ENT_MODE; !rc && what <= ENT_TIMES; what++)
			rc = change_inode_put(db, ino, what, grp, 0, UINT64_MAX);
	return rc;
}

/* ---- the roles change ---- */

int change_set_raise(struct db *db, uint64_t upto, uint64_t grp)
{
	uint64_t after = forgotten(db);
	int rc = DB_RUN(db,
	                "UPDATE change_inode SET shrunk_grp = iif(shrunk_grp > ?1, ?3, shrunk_grp), grp = ?3"
	                " WHERE grp > ?1 AND grp <= ?2",
	                after, upto, grp);

	/* The cut of a file whose row was changed again since. */
	if (!rc)
		rc = DB_RUN(db,
		            "UPDATE change_inode SET shrunk_grp = ?3 WHERE grp > ?2 AND shrunk_grp > ?1"
		            " AND shrunk_grp <= ?2",
		            after, upto, grp);
	if (!rc)
		rc = DB_RUN(db, "UPDATE change_xattr SET grp = ?3 WHERE grp > ?1 AND grp <= ?2", after, upto, grp);
	if (!rc)
		rc = DB_RUN(db, "UPDATE change_dentry SET grp = ?3 WHERE grp > ?1 AND grp <= ?2", after, upto, grp);
	if (!rc)
		rc = DB_RUN(db, "UPDATE change_extent SET grp = ?3 WHERE grp > ?1 AND grp <= ?2", after, upto, grp);
	return rc ? rc : DB_RUN(db, "UPDATE conflict SET grp = ?3 WHERE grp > ?1 AND grp <= ?2", after, upto, grp);
}

int change_set_own_reports(struct db *db)
{
	return DB_RUN(db, "UPDATE change_dentry SET fresh = 0 WHERE fresh < 0");
}

/* ---- totals ---- */

int change_set_totals(struct db *db, struct change_totals *out)
{
	const struct db_numbers *n = db_numbers(db);
	int any = change_set_any_after(db, 0);

	*out = (struct change_totals){ .entries = 0 };
	if (any <= 0)
		return any;
	out->entries = MAX(n->links, n->inodes) + n->xattrs;
	out->range_bytes = n->range_bytes;
	return MIN(DB_GET(db,
	                  "SELECT min(g) FROM (SELECT min(grp) AS g FROM change_inode WHERE grp > ?1 UNION ALL"
	                  " SELECT min(grp) FROM change_dentry WHERE grp > ?1 UNION ALL"
	                  " SELECT min(grp) FROM change_xattr WHERE grp > ?1)",
	                  &out->oldest_grp, forgotten(db)), 0);
}
