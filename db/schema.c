/* SPDX-License-Identifier: MIT */
#include "db/schema.h"

#include "util/log.h"
#include "util/util.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Since version 2. */
#define LEFTOVER_TABLE \
	"CREATE TABLE leftover(ino INTEGER PRIMARY KEY, floor INTEGER, grp INTEGER, origin INTEGER);"

/* Since version 6; db/logged_rows.h. */
#define LOGGED_TABLE "CREATE TABLE logged(slot INTEGER PRIMARY KEY, bytes BLOB);"

/* Since version 7; core/aside.h. In blocks. */
#define ASIDE_TABLE \
	"CREATE TABLE aside(ino INTEGER, off INTEGER, len INTEGER, PRIMARY KEY(ino, off)) WITHOUT ROWID;"

/* Since version 9; db/landing_rows.h. */
#define LANDING_TABLES \
	"CREATE TABLE landing_inode(ino INTEGER PRIMARY KEY, fields INTEGER, mode INTEGER, uid INTEGER, gid INTEGER," \
	" rdev INTEGER, size INTEGER, shrunk_to INTEGER, atime INTEGER, mtime INTEGER, ctime INTEGER, target BLOB);" \
	"CREATE TABLE landing_link(link INTEGER PRIMARY KEY, parent INTEGER, child INTEGER, from_parent INTEGER," \
	" turn INTEGER, name BLOB);" \
	"CREATE INDEX landing_link_name ON landing_link(parent, name);" \
	"CREATE INDEX landing_link_from ON landing_link(from_parent);" \
	"CREATE INDEX landing_link_child ON landing_link(child);" \
	"CREATE TABLE landing_xattr(ino INTEGER, key TEXT, value BLOB, PRIMARY KEY(ino, key)) WITHOUT ROWID;" \
	"CREATE TABLE landing_extent(ino INTEGER, off INTEGER, len INTEGER, phys INTEGER, sums BLOB," \
	" PRIMARY KEY(ino, off)) WITHOUT ROWID;"

/* Since version 11: which of the peer's ids live on as this one? */
#define LINEAGE_INDEX "CREATE INDEX lineage_dst ON lineage(dst);"

/* Since version 4: of what waits for a person, which file is it about? */
#define CONFLICT_INDEXES \
	"CREATE INDEX conflict_open ON conflict(ino) WHERE resolved = 0;" \
	"CREATE INDEX conflict_open0 ON conflict(ino0) WHERE resolved = 0;" \
	"CREATE INDEX conflict_open1 ON conflict(ino1) WHERE resolved = 0;"

/*
 * Columns that every version has: born (group of this version), origin (0 this side, 1 the peer). old_* holds
 * superseded versions with died (group that superseded it): a version lived for born <= g < died. Extents count in
 * blocks of 4 KiB, change_extent in bytes. NULL in shrunk_to: never shrunk.
 */
static const char SCHEMA[] =
	"CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
	/* one row, rewritten by each commit */
	"CREATE TABLE state(one INTEGER PRIMARY KEY CHECK(one = 1), committed INTEGER, next_id INTEGER, acked INTEGER,"
	" applied INTEGER, forgotten INTEGER NOT NULL DEFAULT 0, links INTEGER NOT NULL DEFAULT 0,"
	" inodes INTEGER NOT NULL DEFAULT 0, xattrs INTEGER NOT NULL DEFAULT 0, range_bytes INTEGER NOT NULL DEFAULT 0,"
	" kept_both INTEGER NOT NULL DEFAULT 0, merged INTEGER NOT NULL DEFAULT 0,"
	" flushed INTEGER NOT NULL DEFAULT 0);"
	LOGGED_TABLE
	"CREATE TABLE groups(n INTEGER PRIMARY KEY, id INTEGER NOT NULL, at_ms INTEGER NOT NULL);"

	"CREATE TABLE inode(ino INTEGER PRIMARY KEY, mode INTEGER, uid INTEGER, gid INTEGER, rdev INTEGER, size "
	"INTEGER,"
	" nlink INTEGER, atime INTEGER, mtime INTEGER, ctime INTEGER, target BLOB, born INTEGER, origin INTEGER,"
	" cborn INTEGER, corigin INTEGER);"
	"CREATE TABLE old_inode(ino INTEGER, mode INTEGER, uid INTEGER, gid INTEGER, rdev INTEGER, size INTEGER,"
	" nlink INTEGER, atime INTEGER, mtime INTEGER, ctime INTEGER, target BLOB, born INTEGER, origin INTEGER,"
	" cborn INTEGER, corigin INTEGER, died INTEGER, PRIMARY KEY(ino, died)) WITHOUT ROWID;"
	"CREATE INDEX old_inode_died ON old_inode(died);"
	/* inodes without a link that the kernel still holds */
	"CREATE TABLE orphan(ino INTEGER PRIMARY KEY);"

	/* extent rows of ino from block floor on that ended in group grp and wait for being dropped */
	LEFTOVER_TABLE
	ASIDE_TABLE

	"CREATE TABLE dentry(link INTEGER PRIMARY KEY, parent INTEGER, name BLOB, child INTEGER, born INTEGER,"
	" origin INTEGER);"
	"CREATE UNIQUE INDEX dentry_name ON dentry(parent, name);"
	"CREATE INDEX dentry_parent ON dentry(parent);"
	"CREATE INDEX dentry_child ON dentry(child);"
	"CREATE TABLE old_dentry(link INTEGER, parent INTEGER, name BLOB, child INTEGER, born INTEGER, origin INTEGER,"
	" died INTEGER, PRIMARY KEY(link, died)) WITHOUT ROWID;"
	"CREATE INDEX old_dentry_child ON old_dentry(child);"
	"CREATE INDEX old_dentry_parent ON old_dentry(parent);"
	"CREATE INDEX old_dentry_died ON old_dentry(died);"

	"CREATE TABLE xattr(ino INTEGER, key TEXT, value BLOB, born INTEGER, origin INTEGER, PRIMARY KEY(ino, key))"
	" WITHOUT ROWID;"
	"CREATE TABLE old_xattr(ino INTEGER, key TEXT, value BLOB, born INTEGER, origin INTEGER, died INTEGER,"
	" PRIMARY KEY(ino, key, died)) WITHOUT ROWID;"
	"CREATE INDEX old_xattr_died ON old_xattr(died);"

	"CREATE TABLE extent(ino INTEGER, off INTEGER, len INTEGER, phys INTEGER, born INTEGER, origin INTEGER, sums "
	"BLOB,"
	" PRIMARY KEY(ino, off)) WITHOUT ROWID;"
	/* born before died in the key as in the row: SQLite 3.40's quick_check complains of NULLs if their orders
	   differ */
	"CREATE TABLE old_extent(ino INTEGER, off INTEGER, len INTEGER, phys INTEGER, born INTEGER, origin INTEGER,"
	" sums BLOB, died INTEGER, PRIMARY KEY(ino, off, born, died)) WITHOUT ROWID;"
	"CREATE INDEX old_extent_died ON old_extent(died);"

	"CREATE TABLE change_inode(ino INTEGER, what INTEGER, grp INTEGER, seen INTEGER, shrunk_to INTEGER,"
	" shrunk_grp INTEGER NOT NULL DEFAULT 0,"
	" PRIMARY KEY(ino, what)) WITHOUT ROWID;"
	"CREATE INDEX change_inode_grp ON change_inode(grp);"
	"CREATE TABLE change_xattr(ino INTEGER, key TEXT, grp INTEGER, seen INTEGER, PRIMARY KEY(ino, key)) WITHOUT "
	"ROWID;"
	"CREATE INDEX change_xattr_grp ON change_xattr(grp);"
	/* fresh: group in which the link was made here, 0 if it was there before; -1: row.skipped; -2: and row.told */
	"CREATE TABLE change_dentry(link INTEGER PRIMARY KEY, child INTEGER, grp INTEGER, seen INTEGER, fresh INTEGER);"
	"CREATE INDEX change_dentry_grp ON change_dentry(grp);"
	"CREATE TABLE change_extent(ino INTEGER, off INTEGER, len INTEGER, grp INTEGER, PRIMARY KEY(ino, off))"
	" WITHOUT ROWID;"
	"CREATE INDEX change_extent_grp ON change_extent(grp);"

	"CREATE TABLE peer_link(link INTEGER PRIMARY KEY, parent INTEGER, child INTEGER, grp INTEGER, name BLOB,"
	" seen INTEGER NOT NULL DEFAULT 0);"
	/* is_link: enum lineage_class */
	"CREATE TABLE lineage(is_link INTEGER, src INTEGER, dst INTEGER, grp INTEGER, kind INTEGER,"
	" since INTEGER NOT NULL DEFAULT 0, known INTEGER NOT NULL DEFAULT 0, PRIMARY KEY(is_link, src)) WITHOUT "
	"ROWID;"
	"CREATE TABLE conflict(id INTEGER PRIMARY KEY, grp INTEGER, kind TEXT, outcome TEXT, rule TEXT, path TEXT,"
	" ino INTEGER, when_ms INTEGER, node0 TEXT, path0 TEXT, ino0 INTEGER, written0_ms INTEGER, node1 TEXT, path1 "
	"TEXT,"
	" ino1 INTEGER, written1_ms INTEGER, resolved INTEGER, base INTEGER NOT NULL DEFAULT 0, value0 TEXT,"
	" value1 TEXT);"
	"CREATE INDEX conflict_grp ON conflict(grp);"
	CONFLICT_INDEXES LANDING_TABLES LINEAGE_INDEX;

/* MIGRATION[i] turns version i + 1 into i + 2. */
static const char *const MIGRATION[SCHEMA_VERSION] = {
	LEFTOVER_TABLE,
	"ALTER TABLE peer_link ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;"
	"UPDATE lineage SET is_link = 2 WHERE kind IN (98, 115);", /* 'b' 's' */
	"ALTER TABLE conflict ADD COLUMN base INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE conflict ADD COLUMN value0 TEXT;"
	"ALTER TABLE conflict ADD COLUMN value1 TEXT;"
	CONFLICT_INDEXES,
	"ALTER TABLE state ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE state ADD COLUMN links INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE state ADD COLUMN inodes INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE state ADD COLUMN xattrs INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE state ADD COLUMN range_bytes INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE state ADD COLUMN kept_both INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE state ADD COLUMN merged INTEGER NOT NULL DEFAULT 0;"
	"UPDATE state SET links = (SELECT count(*) FROM change_dentry),"
	" inodes = (SELECT count(DISTINCT ino) FROM change_inode),"
	" xattrs = (SELECT count(*) FROM change_xattr),"
	" range_bytes = (SELECT ifnull(sum(len), 0) FROM change_extent),"
	" kept_both = (SELECT count(*) FROM conflict WHERE NOT resolved AND outcome = 'kept-both'),"
	" merged = (SELECT count(*) FROM conflict WHERE NOT resolved AND outcome <> 'kept-both');",
	"ALTER TABLE state ADD COLUMN flushed INTEGER NOT NULL DEFAULT 0;"
	"UPDATE state SET flushed = committed;"
	LOGGED_TABLE,
	ASIDE_TABLE,
	"ALTER TABLE lineage ADD COLUMN since INTEGER NOT NULL DEFAULT 0;",
	LANDING_TABLES,
	"ALTER TABLE lineage ADD COLUMN known INTEGER NOT NULL DEFAULT 0;"
	"UPDATE lineage SET known = since, since = 0 WHERE kind = 99;", /* 'c' */
	LINEAGE_INDEX,
	"", /* the pages may have sums, which an earlier program would leave wrong: db/page_sums.h */
	NULL,
};

static int set_version(struct db *db)
{
	char sql[96];

	snprintf(sql, sizeof(sql), "PRAGMA application_id = %d; PRAGMA user_version = %d;", SCHEMA_APPLICATION_ID,
	         SCHEMA_VERSION);
	return db_exec(db, sql);
}

int schema_create(struct db *db)
{
	int rc = db_exec(db, SCHEMA);

	return rc ? rc : set_version(db);
}

static int migrate(struct db *db, uint64_t from, struct err *err)
{
	int rc = db_begin(db);

	for (uint64_t version = from; !rc && version < SCHEMA_VERSION; version++)
		rc = db_exec(db, MIGRATION[version - 1]);
	if (!rc)
		rc = set_version(db);
	if (!rc)
		rc = db_commit(db);
	if (rc) {
		db_rollback(db);
		return err_set(err, rc, "cannot migrate the store from format %u to %u; nothing was changed",
			       (unsigned)from, SCHEMA_VERSION);
	}
	return 0;
}

/* A scan of everything is worth its time (0.2 s at this size) only while the file is small; a damaged page is reported
 * when it is met. */
#define QUICK_CHECK_MAX_PAGES 4096

#define DAMAGED \
	"the store's database is damaged; restore it from a copy, or join again to fetch everything from the peer"

static int quick_check(struct db *db)
{
	uint64_t pages = 0;
	sqlite3_stmt *s;
	int rc = DB_GET(db, "PRAGMA page_count", &pages, 0);

	if (rc < 0 || pages > QUICK_CHECK_MAX_PAGES)
		return rc < 0 ? rc : 0;
	s = db_stmt(db, "PRAGMA quick_check(1)");
	rc = db_step(db, s);
	if (rc == 1)
		rc = sqlite3_stricmp((const char *)sqlite3_column_text(s, 0), "ok") == 0 ? 0 : -EUCLEAN;
	db_done(s);
	return rc;
}

/* What the tables are: names and columns, and the indices. It must be the same as of an empty database made anew. */
static const char SHAPE[] = "SELECT m.name, p.name, p.pk FROM sqlite_schema m, pragma_table_info(m.name) p"
                            " WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%'"
                            " UNION ALL SELECT tbl_name, name, -1 FROM sqlite_schema"
                            " WHERE type = 'index' AND sql NOT NULL"
                            " UNION ALL SELECT name, type, -2 FROM sqlite_schema WHERE type NOT IN ('table', 'index')"
                            " ORDER BY 1, 2, 3";

static bool same_shape(sqlite3_stmt *a, sqlite3_stmt *b)
{
	int rc_a, rc_b;

	while ((rc_a = sqlite3_step(a)) == SQLITE_ROW && (rc_b = sqlite3_step(b)) == SQLITE_ROW)
		for (int col = 0; col < 3; col++)
			if (sqlite3_stricmp((const char *)sqlite3_column_text(a, col),
			                    (const char *)sqlite3_column_text(b, col)) != 0)
				return false;
	return rc_a == SQLITE_DONE && sqlite3_step(b) == SQLITE_DONE;
}

/* The schema as SQLite keeps it, in words; NULL if it cannot be read. To be freed. */
static char *schema_words(sqlite3 *handle)
{
	sqlite3_stmt *s = NULL;
	char *words = NULL;

	if (sqlite3_prepare_v2(handle,
	                       "SELECT group_concat(type || ' ' || name || ' ' || sql, ';') FROM"
	                       " (SELECT * FROM sqlite_schema WHERE name NOT LIKE 'sqlite%' ORDER BY name)",
	                       -1, &s, NULL) == SQLITE_OK &&
	    sqlite3_step(s) == SQLITE_ROW && sqlite3_column_text(s, 0))
		words = xstrdup((const char *)sqlite3_column_text(s, 0));
	sqlite3_finalize(s);
	return words;
}

static sqlite3 *open_empty(void)
{
	sqlite3 *fresh = NULL;

	if (sqlite3_open(":memory:", &fresh) == SQLITE_OK && sqlite3_exec(fresh, SCHEMA, NULL, NULL, NULL) == SQLITE_OK)
		return fresh;
	sqlite3_close(fresh);
	return NULL;
}

/* Of an empty database, once for a process: to make one takes longer than all else that opening a small store does. */
static pthread_once_t fresh_once = PTHREAD_ONCE_INIT;
static char *fresh_words;

static void make_fresh_words(void)
{
	sqlite3 *fresh = open_empty();

	if (fresh)
		fresh_words = schema_words(fresh);
	sqlite3_close(fresh);
}

static bool has_fresh_words(struct db *db)
{
	char *words;
	bool same;

	pthread_once(&fresh_once, make_fresh_words);
	words = schema_words(db_handle(db));
	same = words && fresh_words && strcmp(words, fresh_words) == 0;
	free(words);
	return same;
}

/* A page of the schema that was damaged shows here, not in the middle of an operation. One that was migrated has the
 * same shape in other words. */
static int check_shape(struct db *db)
{
	sqlite3 *fresh;
	sqlite3_stmt *a = NULL, *b = NULL;
	bool same;

	if (has_fresh_words(db))
		return 0;
	fresh = open_empty();
	same = fresh && sqlite3_prepare_v2(fresh, SHAPE, -1, &a, NULL) == SQLITE_OK &&
	       sqlite3_prepare_v2(db_handle(db), SHAPE, -1, &b, NULL) == SQLITE_OK && same_shape(b, a);
	sqlite3_finalize(a);
	sqlite3_finalize(b);
	sqlite3_close(fresh);
	return same ? 0 : -EUCLEAN;
}

static int judge_version(uint64_t app, uint64_t version, struct err *err)
{
	if (app != SCHEMA_APPLICATION_ID || version == 0)
		return err_set(err, -EINVAL, "twinfs.db is not a twinfs database");
	if (version > SCHEMA_VERSION)
		return err_set(err, -EPROTONOSUPPORT,
		               "the store has the newer format %u, this program knows up to %u; update twinfs",
		               (unsigned)version, SCHEMA_VERSION);
	return 0;
}

#define HEADER_BYTES 100

static uint64_t be32(const uint8_t *p)
{
	return (uint64_t)p[0] << 24 | (uint64_t)p[1] << 16 | (uint64_t)p[2] << 8 | p[3];
}

/* Does a log of SQLite's lie beside the database? */
static bool has_log(const char *path)
{
	char *log = xasprintf("%s-wal", path);
	FILE *f = fopen(log, "rbe");
	uint8_t head[4];
	bool is = f && fread(head, 1, sizeof(head), f) == sizeof(head) && (be32(head) & ~UINT64_C(1)) == 0x377f0682;

	if (f)
		fclose(f);
	free(log);
	return is;
}

/* https://www.sqlite.org/fileformat2.html: user_version is at 60, application_id at 68 of the first page. */
int schema_probe(const char *path, struct err *err)
{
	uint8_t page[DB_PAGE_BYTES];
	struct stat st;
	size_t n;
	FILE *f;

	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) /* opening a pipe could wait for ever */
		return err_set(err, -EUCLEAN, "%s is no file; restore it from a copy, or join again", path);
	f = fopen(path, "rbe");
	if (!f)
		return err_set(err, -errno, "cannot open %s: %s", path, strerror(errno));
	n = fread(page, 1, sizeof(page), f);
	fclose(f);
	/* A cut in a checkpoint? Then the log has it. */
	if (n < HEADER_BYTES || memcmp(page, "SQLite format 3", 16) != 0 ||
	    (n == sizeof(page) && page_sums_first_page_has(page) && !page_sum_is_right(page, 1)))
		return has_log(path) ? 0 : err_set(err, -EUCLEAN, DAMAGED);
	return judge_version(be32(page + 68), be32(page + 60), err);
}

/* A mount must not take a minute: a database of more than 1 GiB, of some five million files, stays without sums. That
 * of a million files takes two seconds. */
#define ADD_SUMS_MAX_PAGES 262144u
/* The log and a file of SQLite's hold it once each meanwhile; and others go on. */
#define ADD_SUMS_SPARE_BYTES (UINT64_C(64) << 20)

static void add_page_sums(struct db *db)
{
	uint64_t pages = 0;

	if (DB_GET(db, "PRAGMA page_count", &pages, 0) != 1 || pages > ADD_SUMS_MAX_PAGES)
		return;
	if (db_host_free(db) < 3 * pages * 4096 + ADD_SUMS_SPARE_BYTES) {
		log_warn("the database was made before its pages had checksums, and its disk has no room to write it "
			 "anew with them: it stays without, and is tried again at the next opening");
		return;
	}
	log_info("the database was made before its pages had checksums, and is written anew with them");
	if (db_add_page_sums(db) != 0)
		log_warn("that failed: it stays without, and is tried again at the next opening");
}

int schema_check(struct db *db, struct err *err)
{
	uint64_t app = 0, version = 0;
	int rc = DB_GET(db, "PRAGMA application_id", &app, 0);

	if (rc >= 0)
		rc = DB_GET(db, "PRAGMA user_version", &version, 0);
	if (rc < 0)
		return err_set(err, rc, DAMAGED);
	rc = judge_version(app, version, err);
	if (rc)
		return rc;
	if (quick_check(db) < 0)
		return err_set(err, -EUCLEAN, DAMAGED);
	rc = version < SCHEMA_VERSION ? migrate(db, version, err) : 0;
	if (!rc && check_shape(db) < 0)
		return err_set(err, -EUCLEAN, DAMAGED);
	if (!rc && !db_has_page_sums(db))
		add_page_sums(db);
	return rc;
}
