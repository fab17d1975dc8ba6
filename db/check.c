/* SPDX-License-Identifier: MIT */
#include "db/check.h"

#include "db/extent_rows.h"
#include "db/logged_rows.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/*
 * Columns of each query: the inode (0: none), and which row. Conditions are written so that a value of a wrong type, or
 * NULL, breaks them too: "x IS NOT TRUE" where x is what must hold.
 */
#define INT(column) "typeof(" column ") = 'integer'"
#define COMMITTED "(SELECT committed FROM state)"
/* Tidying up what nobody holds any more is stored without making a group: it counts as of the next one. */
#define NEXT "(SELECT committed + 1 FROM state)"
/* Rows of the change set up to here count as gone. */
#define FORGOTTEN "(SELECT forgotten FROM state)"
/* What is forgotten may be of a peer before this one. */
#define SEEN "seen >= 0 AND (seen <= (SELECT applied FROM state) OR grp <= " FORGOTTEN ")"
/* SLOT << 48 | counter; 1 and 2 are the root and .twinfs; of our own slot only what was handed out. */
#define ID_LEGAL(column)                                                                                          \
	"(" INT(column) " AND (" column " IN (1, 2) OR (" column " >> 48 BETWEEN 1 AND 4095 AND (" column " >> 48 <> " \
	"(SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'slot') OR " column " & 281474976710655 < "        \
	"(SELECT next_id FROM state)))))"
#define IS_DIR(mode) "(" mode " & 61440 = 16384)"
#define LINK_ROW "'link ' || link"
#define EXTENT_ROW "'block ' || off"
#define BYTE_LIMIT "9007199254740992"

static const struct rule {
	const char *table, *rule, *sql;
} rules[] = {
	{ "state", "there is one row of counters that fit each other",
	  "SELECT 0, 'state' WHERE (SELECT count(*) FROM state WHERE " INT("committed") " AND " INT("next_id")
	  " AND " INT("acked") " AND " INT("applied") " AND acked BETWEEN 0 AND committed AND applied >= 0 "
	  "AND next_id BETWEEN 1 AND 281474976710655) <> 1" },
	{ "state", "what is acknowledged of the change set was committed",
	  "SELECT 0, 'up to group ' || forgotten FROM state WHERE (" INT("forgotten") " AND forgotten BETWEEN 0 AND "
	  "committed) IS NOT TRUE" },
	{ "state", "what is durable on the image was committed",
	  "SELECT 0, 'up to group ' || flushed FROM state WHERE (" INT("flushed") " AND flushed BETWEEN 0 AND "
	  "committed) IS NOT TRUE" },
	{ "logged", "a slot is one of 128 and has its length",
	  "SELECT 0, 'slot ' || slot FROM logged WHERE (slot BETWEEN 0 AND 127 AND typeof(bytes) = 'blob' AND "
	  "length(bytes) = 4120) IS NOT TRUE" },
	{ "state", "its sums are those of the change set and of the conflicts",
	  "SELECT 0, column1 || ' ' || ifnull(column2, '?') || ', counted ' || column3 FROM (VALUES "
	  "('links', (SELECT links FROM state), (SELECT count(*) FROM change_dentry)), "
	  "('inodes', (SELECT inodes FROM state), (SELECT count(DISTINCT ino) FROM change_inode)), "
	  "('xattrs', (SELECT xattrs FROM state), (SELECT count(*) FROM change_xattr)), "
	  "('bytes', (SELECT range_bytes FROM state), (SELECT ifnull(sum(len), 0) FROM change_extent)), "
	  "('kept-both', (SELECT kept_both FROM state), (SELECT count(*) FROM conflict WHERE NOT resolved AND "
	  "outcome = 'kept-both')), "
	  "('merged', (SELECT merged FROM state), (SELECT count(*) FROM conflict WHERE NOT resolved AND outcome <> "
	  "'kept-both'))) WHERE column2 IS NOT column3" },
	{ "meta", "the store says what it is (volume_id, node_id, node_name, slot)",
	  "SELECT 0, 'meta' WHERE (SELECT count(*) FROM meta WHERE (key = 'volume_id' AND length(value) = "
	  "36) OR (key = 'node_id' AND length(value) = 32) OR (key = 'node_name' AND length(value) BETWEEN 1 "
	  "AND 32) OR (key = 'slot' AND CAST(value AS INTEGER) BETWEEN 1 AND 4095)) <> 4" },
	{ "groups", "a group has a number that was committed, and an id",
	  "SELECT 0, 'group ' || n FROM groups WHERE (n BETWEEN 1 AND " COMMITTED " AND " INT("id") " AND id "
	  "<> 0) IS NOT TRUE" },
	{ "inode", "its number is one that was handed out",
	  "SELECT ino, 'inode' FROM inode WHERE " ID_LEGAL("ino") " IS NOT TRUE" },
	{ "inode", "its attributes are numbers, its type is one there is, its size is possible",
	  "SELECT ino, 'inode' FROM inode WHERE (" INT("mode") " AND " INT("uid") " AND " INT("gid") " AND "
	  INT("rdev") " AND " INT("atime") " AND " INT("mtime") " AND " INT("ctime") " AND mode & 61440 IN "
	  "(4096, 8192, 16384, 24576, 32768, 40960, 49152) AND mode < 65536 AND " INT("size") " AND size "
	  "BETWEEN 0 AND " BYTE_LIMIT " AND origin IN (0, 1) AND corigin IN (0, 1) AND " INT("nlink") " AND "
	  "nlink >= 0) IS NOT TRUE" },
	{ "inode", "it was made and changed in groups that were committed",
	  "SELECT ino, 'born ' || ifnull(born, '?') || ', content ' || ifnull(cborn, '?') FROM inode WHERE ("
	  INT("born") " AND " INT("cborn") " AND born BETWEEN 0 AND " COMMITTED " AND cborn BETWEEN 0 AND "
	  COMMITTED ") IS NOT TRUE" },
	{ "inode", "a symbolic link has a target, and nothing else has",
	  "SELECT ino, 'inode' FROM inode WHERE CASE WHEN mode & 61440 = 40960 THEN (typeof(target) = 'blob' "
	  "AND length(target) BETWEEN 1 AND 4095) ELSE ifnull(length(target), 0) = 0 END IS NOT TRUE" },
	{ "inode", "the root and .twinfs are directories",
	  "SELECT column1, 'inode' FROM (VALUES (1), (2)) WHERE NOT EXISTS (SELECT 1 FROM inode WHERE ino = "
	  "column1 AND " IS_DIR("mode") ")" },
	{ "inode", "the number of links is the number of its names",
	  "SELECT ino, nlink || ' counted, ' || (SELECT count(*) FROM dentry WHERE child = ino) || ' names' "
	  "FROM inode WHERE NOT " IS_DIR("mode") " AND nlink <> (SELECT count(*) FROM dentry WHERE child = "
	  "ino)" },
	{ "inode", "the number of links of a directory is 2 and its subdirectories",
	  "SELECT ino, nlink || ' counted' FROM inode AS i WHERE " IS_DIR("mode") " AND (ino <= 2 OR EXISTS "
	  "(SELECT 1 FROM dentry WHERE child = ino)) AND nlink <> 2 + (SELECT count(*) FROM dentry AS d JOIN "
	  "inode AS c ON c.ino = d.child WHERE d.parent = i.ino AND " IS_DIR("c.mode") ")" },
	{ "inode", "what has no name is held open by somebody, or was when the store was closed",
	  "SELECT ino, 'inode' FROM inode WHERE ino > 2 AND NOT EXISTS (SELECT 1 FROM dentry WHERE child = "
	  "ino) AND NOT EXISTS (SELECT 1 FROM orphan WHERE orphan.ino = inode.ino)" },
	{ "orphan", "what is listed as held open without a name is there and has none",
	  "SELECT ino, 'orphan' FROM orphan WHERE ino IS NULL OR EXISTS (SELECT 1 FROM dentry WHERE child = "
	  "ino) OR NOT EXISTS (SELECT 1 FROM inode WHERE inode.ino = orphan.ino)" },
	{ "dentry", "the number of a link is one that was handed out",
	  "SELECT child, " LINK_ROW " FROM dentry WHERE (link > 2 AND " ID_LEGAL("link") ") IS NOT TRUE" },
	{ "dentry", "a name has 1 to 255 bytes, no '/' and no NUL, and is not '.' or '..'",
	  "SELECT child, " LINK_ROW " FROM dentry WHERE (typeof(name) = 'blob' AND length(name) BETWEEN 1 "
	  "AND 255 AND instr(name, x'2f') = 0 AND instr(name, x'00') = 0 AND name NOT IN (x'2e', x'2e2e') "
	  "AND NOT (parent = 1 AND name = x'2e7477696e6673')) IS NOT TRUE" },
	{ "dentry", "a name is in a directory that is there",
	  "SELECT child, " LINK_ROW " || ', in inode ' || ifnull(parent, '?') FROM dentry WHERE NOT EXISTS "
	  "(SELECT 1 FROM inode WHERE ino = parent AND " IS_DIR("mode") ")" },
	{ "dentry", "a name is of an inode that is there, and not of the root",
	  "SELECT child, " LINK_ROW " FROM dentry WHERE (child > 2) IS NOT TRUE OR NOT EXISTS (SELECT 1 FROM "
	  "inode WHERE ino = child)" },
	{ "dentry", "it was made in a group that was committed",
	  "SELECT child, " LINK_ROW " FROM dentry WHERE (" INT("born") " AND born BETWEEN 0 AND " COMMITTED
	  " AND origin IN (0, 1)) IS NOT TRUE" },
	{ "dentry", "a directory has one name",
	  "SELECT child, count(*) || ' names' FROM dentry JOIN inode ON ino = child WHERE " IS_DIR("mode") " "
	  "GROUP BY child HAVING count(*) > 1" },
	{ "dentry", "every directory is below the root or .twinfs",
	  "WITH RECURSIVE below(ino) AS (VALUES (1), (2) UNION SELECT d.child FROM below JOIN dentry AS d ON "
	  "d.parent = below.ino JOIN inode AS i ON i.ino = d.child WHERE " IS_DIR("i.mode") ") SELECT child, "
	  LINK_ROW " FROM dentry JOIN inode ON ino = child WHERE " IS_DIR("mode") " AND child NOT IN (SELECT "
	  "ino FROM below)" },
	{ "xattr", "it is of an inode that is there, its key and value have a possible length",
	  "SELECT ino, 'key ' || ifnull(key, '?') FROM xattr WHERE (EXISTS (SELECT 1 FROM inode WHERE "
	  "inode.ino = xattr.ino) AND typeof(key) = 'text' AND length(CAST(key AS BLOB)) BETWEEN 1 AND 255 "
	  "AND typeof(value) IN ('blob', 'text') AND length(CAST(value AS BLOB)) <= 65536 AND born BETWEEN 0 "
	  "AND " COMMITTED " AND origin IN (0, 1)) IS NOT TRUE" },
	{ "extent", "it is of a file that is there, or left over of one",
	  "SELECT ino, " EXTENT_ROW " FROM extent WHERE NOT EXISTS (SELECT 1 FROM inode WHERE inode.ino = "
	  "extent.ino AND mode & 61440 = 32768) AND NOT EXISTS (SELECT 1 FROM leftover AS l WHERE l.ino = "
	  "extent.ino AND l.floor <= extent.off)" },
	{ "leftover", "it begins at a possible block and ended in a group",
	  "SELECT ino, 'from block ' || floor FROM leftover WHERE (" INT("floor") " AND floor BETWEEN 0 AND "
	  "17592186044416 AND " INT("grp") " AND grp BETWEEN 1 AND " NEXT " AND origin IN (0, 1)) IS NOT TRUE" },
	{ "aside", "room is set aside for possible blocks of a file that is there",
	  "SELECT ino, " EXTENT_ROW " FROM aside WHERE (" INT("off") " AND " INT("len") " AND off >= 0 AND len >= 1 "
	  "AND off < 17592186044416 AND len <= 17592186044416 - off AND EXISTS (SELECT 1 FROM inode WHERE inode.ino = "
	  "aside.ino AND mode & 61440 = 32768)) IS NOT TRUE" },
	{ "aside", "it ends before the next one of its file begins",
	  "SELECT ino, " EXTENT_ROW " FROM (SELECT ino, off, lag(off + len) OVER (PARTITION BY ino ORDER BY "
	  "off) AS before FROM aside) WHERE before > off" },
	{ "aside", "room is set aside where the file has nothing",
	  "SELECT ino, " EXTENT_ROW " FROM aside AS a WHERE EXISTS (SELECT 1 FROM extent AS e WHERE e.ino = a.ino AND "
	  "e.off BETWEEN a.off - 63 AND a.off + a.len - 1 AND e.off + e.len > a.off)" },
	{ "extent", "its place is possible and it has a checksum for each block",
	  "SELECT ino, " EXTENT_ROW " FROM extent WHERE (" INT("off") " AND " INT("len") " AND " INT("phys")
	  " AND off >= 0 AND len BETWEEN 1 AND 64 AND phys >= 1 AND off < 17592186044416 AND phys < "
	  "17592186044416 AND typeof(sums) = 'blob' AND length(sums) = 8 * len AND born BETWEEN 0 AND "
	  COMMITTED " AND origin IN (0, 1)) IS NOT TRUE" },
	{ "extent", "it ends before the next one of its file begins",
	  "SELECT ino, " EXTENT_ROW " FROM (SELECT ino, off, lag(off + len) OVER (PARTITION BY ino ORDER BY "
	  "off) AS before FROM extent) WHERE before > off" },
	{ "old_inode", "an old version lived from one group to a later one",
	  "SELECT ino, 'died ' || died FROM old_inode WHERE (" INT("born") " AND " INT("died") " AND born >= "
	  "0 AND born < died AND died <= " NEXT " AND origin IN (0, 1)) IS NOT TRUE" },
	{ "old_dentry", "an old version lived from one group to a later one, and has a name",
	  "SELECT child, " LINK_ROW " FROM old_dentry WHERE (" INT("born") " AND " INT("died") " AND born >= "
	  "0 AND born < died AND died <= " NEXT " AND " INT("parent") " AND " INT("child") " AND "
	  "typeof(name) = 'blob' AND length(name) BETWEEN 1 AND 255) IS NOT TRUE" },
	{ "old_xattr", "an old version lived from one group to a later one, and has a key and a value",
	  "SELECT ino, 'key ' || ifnull(key, '?') FROM old_xattr WHERE (" INT("born") " AND " INT("died") " "
	  "AND born >= 0 AND born < died AND died <= " NEXT " AND typeof(key) = 'text' AND length(CAST(key "
	  "AS BLOB)) BETWEEN 1 AND 255 AND length(CAST(value AS BLOB)) <= 65536) IS NOT TRUE" },
	{ "landing_inode", "it is numbers",
	  "SELECT ino, 'inode' FROM landing_inode WHERE (" ID_LEGAL("ino") " AND " INT("fields") " AND " INT("mode")
	  " AND " INT("uid") " AND " INT("gid") " AND " INT("rdev") " AND " INT("size") " AND " INT("shrunk_to")
	  " AND " INT("atime") " AND " INT("mtime") " AND " INT("ctime") " AND size BETWEEN 0 AND " BYTE_LIMIT
	  ") IS NOT TRUE" },
	{ "landing_link", "it leads from a directory and a name to a child, or nowhere",
	  "SELECT child, " LINK_ROW " FROM landing_link WHERE (" INT("link") " AND " INT("parent") " AND "
	  INT("child") " AND " INT("from_parent") " AND turn IN (0, 1, 2) AND CASE WHEN parent > 0 THEN "
	  "(typeof(name) = 'blob' AND length(name) BETWEEN 1 AND 255) ELSE parent = 0 AND name IS NULL END) IS NOT "
	  "TRUE" },
	{ "landing_extent", "it is blocks with a checksum each, or a hole",
	  "SELECT ino, " EXTENT_ROW " FROM landing_extent WHERE (" INT("ino") " AND " INT("off") " AND " INT("len")
	  " AND " INT("phys") " AND off >= 0 AND len > 0 AND CASE WHEN phys > 0 THEN (len <= 64 AND typeof(sums) = "
	  "'blob' AND length(sums) = 8 * len) ELSE phys = 0 END) IS NOT TRUE" },
	/* The peer's may end in the group in which it came: it is a base of merges all the same. */
	{ "old_extent",
	  "an old version lived from one group to a later one, its place is possible, it has its checksums",
	  "SELECT ino, " EXTENT_ROW " FROM old_extent WHERE (" INT("born") " AND " INT("died") " AND born >= "
	  "0 AND (born < died OR (born = died AND origin % 2 = 1)) AND died <= " NEXT " AND " INT("off") " AND "
	  INT("len") " AND " INT("phys") " AND off >= 0 AND len "
	  "BETWEEN 1 AND 64 AND phys >= 1 AND off < 17592186044416 AND phys < "
	  "17592186044416 AND typeof(sums) = 'blob' AND length(sums) = 8 * len AND origin BETWEEN 0 AND 3) "
	  "IS NOT TRUE" },
	/* what 5: the peer is asked for an inode that is not here */
	{ "change_inode", "a change is of an inode that is there, in a group that was committed",
	  "SELECT ino, 'what ' || what FROM change_inode WHERE (what BETWEEN 0 AND 5 AND grp BETWEEN 1 AND "
	  COMMITTED " AND " SEEN " AND (what = 5 OR grp <= " FORGOTTEN
	  " OR EXISTS (SELECT 1 FROM inode WHERE inode.ino = change_inode.ino))) IS NOT TRUE" },
	{ "change_inode", "the size that a file was cut to is possible",
	  "SELECT ino, 'what ' || what FROM change_inode WHERE (shrunk_to IS NULL OR (" INT("shrunk_to") " "
	  "AND shrunk_to BETWEEN 0 AND " BYTE_LIMIT ")) IS NOT TRUE" },
	{ "change_xattr", "a change is of an inode that is there, in a group that was committed",
	  "SELECT ino, 'key ' || ifnull(key, '?') FROM change_xattr WHERE (typeof(key) = 'text' AND grp "
	  "BETWEEN 1 AND " COMMITTED " AND " SEEN " AND (grp <= " FORGOTTEN
	  " OR EXISTS (SELECT 1 FROM inode WHERE inode.ino = change_xattr.ino))) IS NOT TRUE" },
	{ "change_dentry", "a change is of a link that has a legal number, in a group that was committed",
	  "SELECT ifnull(child, 0), " LINK_ROW " FROM change_dentry WHERE (" ID_LEGAL("link") " AND grp "
	  "BETWEEN 1 AND " COMMITTED " AND " SEEN ") IS NOT TRUE" },
	{ "change_extent", "a changed range is of a file that is there, within what a file can be",
	  "SELECT ino, 'byte ' || off FROM change_extent WHERE (" INT("off") " AND " INT("len") " AND off >= "
	  "0 AND len > 0 AND off + len <= " BYTE_LIMIT " AND grp BETWEEN 1 AND " COMMITTED " AND (grp <= " FORGOTTEN
	  " OR EXISTS (SELECT 1 FROM inode WHERE inode.ino = change_extent.ino)"
	  " OR instr(ifnull((SELECT value FROM meta WHERE key = 'ranges_gone'), ''), ' ' || ino || ' ') > 0))"
	  " IS NOT TRUE" },
	{ "change_extent", "a changed range ends before the next one of its file begins",
	  "SELECT ino, 'byte ' || off FROM (SELECT ino, off, lag(off + len) OVER (PARTITION BY ino ORDER BY "
	  "off) AS before FROM change_extent) WHERE before > off" },
	{ "peer_link", "a note about the peer's place of a link is of a committed group and names a place",
	  "SELECT child, " LINK_ROW " FROM peer_link WHERE (grp BETWEEN 0 AND " COMMITTED " AND (parent = 0 "
	  "OR (typeof(name) = 'blob' AND length(name) BETWEEN 1 AND 255))) IS NOT TRUE" },
	{ "lineage", "a note about what became of something is of a committed group and of a kind there is",
	  "SELECT src, 'source ' || src FROM lineage WHERE (grp BETWEEN 0 AND " COMMITTED " AND kind IN (97, "
	  "98, 99, 102, 108, 109, 110, 115, 117) AND since BETWEEN 0 AND grp) IS NOT TRUE" },
	{ "conflict", "a conflict has a kind and an outcome that there are",
	  "SELECT ifnull(ino, 0), 'conflict ' || id FROM conflict WHERE (kind IN ('content', 'name', 'move', "
	  "'delete', 'attribute', 'xattr') AND outcome IN ('kept-both', 'merged', 'primary', 'secondary', "
	  "'restored') AND resolved IN (0, 1)) IS NOT TRUE" },
	{ "dentry", "what is in .twinfs is kept by a conflict, or goes when a landing has emptied it",
	  "SELECT child, " LINK_ROW " FROM dentry WHERE parent = 2 AND child NOT IN (SELECT ino0 FROM conflict WHERE "
	  "ino0 IS NOT NULL UNION SELECT ino1 FROM conflict WHERE ino1 IS NOT NULL UNION SELECT base FROM conflict) "
	  "AND link NOT IN (SELECT link FROM landing_link WHERE from_parent = 2 AND parent = 0)" },
};

_Static_assert(EXTENT_MAX_BLOCKS == 64, "the rules about extents say 64");
_Static_assert(LOGGED_SLOTS == 128 && LOGGED_ROW_BYTES == 4120, "the rule about slots says so");

/* SQLite's own look at its pages and indices comes first: what follows relies on them. */
#define PAGE_CHECK_FINDINGS 100

static int report(db_finding_fn fn, void *ctx, const char *table, const char *rule, uint64_t ino, const char *row)
{
	return fn(ctx, &(struct db_finding){ .table = table, .rule = rule, .ino = ino, .row = row });
}

/* A query that cannot be run to its end says something about the store too. */
static int impossible(struct db *db, db_finding_fn fn, void *ctx, const char *table, const char *rule)
{
	char text[320];

	if (sqlite3_extended_errcode(db_handle(db)) == SQLITE_IOERR_DATA)
		snprintf(text, sizeof(text), "cannot be checked: page %u is not what was written",
		         (unsigned)page_sums_damaged(db_handle(db)));
	else
		snprintf(text, sizeof(text), "cannot be checked: %s", sqlite3_errmsg(db_handle(db)));
	db_failure_clear(db);
	return report(fn, ctx, table, rule, 0, text);
}

static int check_pages(struct db *db, db_finding_fn fn, void *ctx)
{
	sqlite3_stmt *s = db_stmt(db, "PRAGMA integrity_check(100)");
	int rc, stop = 0;

	_Static_assert(PAGE_CHECK_FINDINGS == 100, "the pragma says 100");
	while (!stop && (rc = db_step(db, s)) == 1) {
		const char *text = (const char *)sqlite3_column_text(s, 0);

		if (text && strcmp(text, "ok") != 0)
			stop = report(fn, ctx, "database", "SQLite finds its pages and indices whole", 0, text);
	}
	if (stop)
		db_done(s);
	else if (rc < 0)
		stop = impossible(db, fn, ctx, "database", "SQLite finds its pages and indices whole");
	return stop;
}

static int check_rule(struct db *db, const struct rule *r, db_finding_fn fn, void *ctx)
{
	sqlite3_stmt *s = db_stmt(db, r->sql);
	int rc, stop = 0;

	while (!stop && (rc = db_step(db, s)) == 1) {
		const char *row = (const char *)sqlite3_column_text(s, 1);

		stop = report(fn, ctx, r->table, r->rule, db_col_u64(s, 0), row ? row : "?");
	}
	if (stop)
		db_done(s);
	else if (rc < 0)
		stop = impossible(db, fn, ctx, r->table, r->rule);
	return stop;
}

size_t db_check_steps(void)
{
	return 1 + sizeof(rules) / sizeof(rules[0]);
}

int db_check(struct db *db, db_finding_fn fn, db_step_fn step, void *ctx)
{
	int rc = check_pages(db, fn, ctx);

	for (size_t i = 0; !rc && i < sizeof(rules) / sizeof(rules[0]); i++) {
		rc = step ? step(ctx, i + 1) : 0;
		if (!rc)
			rc = check_rule(db, &rules[i], fn, ctx);
	}
	return rc;
}
