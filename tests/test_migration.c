/* SPDX-License-Identifier: MIT */
/*
 * Stores of the formats that earlier versions wrote. They are made here by the statements of then, which never change:
 * a directory, a file with an old version, links, and notes of what a peer has.
 */
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/resource.h>

#include "core/fsck.h"
#include "core/image.h"
#include "db/schema.h"
#include "tests/volume_fixture.h"

/* ---- what all of them had ---- */

static const char tables[] =
	"CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID;"
	"CREATE TABLE state(one INTEGER PRIMARY KEY CHECK(one = 1), committed INTEGER, next_id INTEGER, acked INTEGER,"
	" applied INTEGER);"
	"CREATE TABLE groups(n INTEGER PRIMARY KEY, id INTEGER NOT NULL, at_ms INTEGER NOT NULL);"
	"CREATE TABLE inode(ino INTEGER PRIMARY KEY, mode INTEGER, uid INTEGER, gid INTEGER, rdev INTEGER,"
	" size INTEGER, nlink INTEGER, atime INTEGER, mtime INTEGER, ctime INTEGER, target BLOB, born INTEGER,"
	" origin INTEGER, cborn INTEGER, corigin INTEGER);"
	"CREATE TABLE old_inode(ino INTEGER, mode INTEGER, uid INTEGER, gid INTEGER, rdev INTEGER, size INTEGER,"
	" nlink INTEGER, atime INTEGER, mtime INTEGER, ctime INTEGER, target BLOB, born INTEGER, origin INTEGER,"
	" cborn INTEGER, corigin INTEGER, died INTEGER, PRIMARY KEY(ino, died)) WITHOUT ROWID;"
	"CREATE INDEX old_inode_died ON old_inode(died);"
	"CREATE TABLE orphan(ino INTEGER PRIMARY KEY);"
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
	"CREATE TABLE extent(ino INTEGER, off INTEGER, len INTEGER, phys INTEGER, born INTEGER, origin INTEGER,"
	" sums BLOB, PRIMARY KEY(ino, off)) WITHOUT ROWID;"
	"CREATE TABLE old_extent(ino INTEGER, off INTEGER, len INTEGER, phys INTEGER, born INTEGER, origin INTEGER,"
	" sums BLOB, died INTEGER, PRIMARY KEY(ino, off, born, died)) WITHOUT ROWID;"
	"CREATE INDEX old_extent_died ON old_extent(died);"
	"CREATE TABLE change_inode(ino INTEGER, what INTEGER, grp INTEGER, seen INTEGER, shrunk_to INTEGER,"
	" shrunk_grp INTEGER NOT NULL DEFAULT 0, PRIMARY KEY(ino, what)) WITHOUT ROWID;"
	"CREATE INDEX change_inode_grp ON change_inode(grp);"
	"CREATE TABLE change_xattr(ino INTEGER, key TEXT, grp INTEGER, seen INTEGER, PRIMARY KEY(ino, key))"
	" WITHOUT ROWID;"
	"CREATE INDEX change_xattr_grp ON change_xattr(grp);"
	"CREATE TABLE change_dentry(link INTEGER PRIMARY KEY, child INTEGER, grp INTEGER, seen INTEGER, fresh INTEGER);"
	"CREATE INDEX change_dentry_grp ON change_dentry(grp);"
	"CREATE TABLE change_extent(ino INTEGER, off INTEGER, len INTEGER, grp INTEGER, PRIMARY KEY(ino, off))"
	" WITHOUT ROWID;"
	"CREATE INDEX change_extent_grp ON change_extent(grp);"
	"CREATE TABLE lineage(is_link INTEGER, src INTEGER, dst INTEGER, grp INTEGER, kind INTEGER,"
	" PRIMARY KEY(is_link, src)) WITHOUT ROWID;"
	"CREATE TABLE conflict(id INTEGER PRIMARY KEY, grp INTEGER, kind TEXT, outcome TEXT, rule TEXT, path TEXT,"
	" ino INTEGER, when_ms INTEGER, node0 TEXT, path0 TEXT, ino0 INTEGER, written0_ms INTEGER, node1 TEXT,"
	" path1 TEXT, ino1 INTEGER, written1_ms INTEGER, resolved INTEGER);"
	"CREATE INDEX conflict_grp ON conflict(grp);";

/* Format 1, and what made 2 of it. */
static const char format_1[] =
	"CREATE TABLE peer_link(link INTEGER PRIMARY KEY, parent INTEGER, child INTEGER, grp INTEGER, name BLOB);";
static const char format_2[] =
	"CREATE TABLE leftover(ino INTEGER PRIMARY KEY, floor INTEGER, grp INTEGER, origin INTEGER);";
/* What made 3 of 2, rows and all. */
static const char format_3[] =
	"ALTER TABLE peer_link ADD COLUMN seen INTEGER NOT NULL DEFAULT 0;"
	"UPDATE lineage SET is_link = 2 WHERE kind IN (98, 115);";
/* What made 4 of 3. */
static const char format_4[] =
	"ALTER TABLE conflict ADD COLUMN base INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE conflict ADD COLUMN value0 TEXT;"
	"ALTER TABLE conflict ADD COLUMN value1 TEXT;"
	"CREATE INDEX conflict_open ON conflict(ino) WHERE resolved = 0;"
	"CREATE INDEX conflict_open0 ON conflict(ino0) WHERE resolved = 0;"
	"CREATE INDEX conflict_open1 ON conflict(ino1) WHERE resolved = 0;";

/* What made 5 of 4. */
static const char format_5[] =
	"ALTER TABLE state ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE state ADD COLUMN links INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE state ADD COLUMN inodes INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE state ADD COLUMN xattrs INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE state ADD COLUMN range_bytes INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE state ADD COLUMN kept_both INTEGER NOT NULL DEFAULT 0;"
	"ALTER TABLE state ADD COLUMN merged INTEGER NOT NULL DEFAULT 0;"
	"UPDATE state SET inodes = 1, range_bytes = 8196, kept_both = 1;";

/* What made 6 of 5. */
static const char format_6[] =
	"ALTER TABLE state ADD COLUMN flushed INTEGER NOT NULL DEFAULT 0;"
	"UPDATE state SET flushed = committed;"
	"CREATE TABLE logged(slot INTEGER PRIMARY KEY, bytes BLOB);";

/* What made 7 of 6. */
static const char format_7[] =
	"CREATE TABLE aside(ino INTEGER, off INTEGER, len INTEGER, PRIMARY KEY(ino, off)) WITHOUT ROWID;";

/* What made 8 of 7. */
static const char format_8[] = "ALTER TABLE lineage ADD COLUMN since INTEGER NOT NULL DEFAULT 0;";
/* In which a conflict copy's note said there how much the peer has of it. */
static const char format_8_rows[] = "INSERT INTO lineage VALUES(0, %llu, %llu, 3, 99, 2);";

/* What made 9 of 8. */
static const char format_9[] =
	"CREATE TABLE landing_inode(ino INTEGER PRIMARY KEY, fields INTEGER, mode INTEGER, uid INTEGER, gid INTEGER,"
	" rdev INTEGER, size INTEGER, shrunk_to INTEGER, atime INTEGER, mtime INTEGER, ctime INTEGER, target BLOB);"
	"CREATE TABLE landing_link(link INTEGER PRIMARY KEY, parent INTEGER, child INTEGER, from_parent INTEGER,"
	" turn INTEGER, name BLOB);"
	"CREATE INDEX landing_link_name ON landing_link(parent, name);"
	"CREATE INDEX landing_link_from ON landing_link(from_parent);"
	"CREATE INDEX landing_link_child ON landing_link(child);"
	"CREATE TABLE landing_xattr(ino INTEGER, key TEXT, value BLOB, PRIMARY KEY(ino, key)) WITHOUT ROWID;"
	"CREATE TABLE landing_extent(ino INTEGER, off INTEGER, len INTEGER, phys INTEGER, sums BLOB,"
	" PRIMARY KEY(ino, off)) WITHOUT ROWID;";

/* What made 10 of 9. */
static const char format_10[] = "ALTER TABLE lineage ADD COLUMN known INTEGER NOT NULL DEFAULT 0;"
				"UPDATE lineage SET known = since, since = 0 WHERE kind = 99;";

/* What made 11 of 10. */
static const char format_11[] = "CREATE INDEX lineage_dst ON lineage(dst);";

#define OWN(n) ((UINT64_C(1) << ID_SLOT_SHIFT) | (n))
#define DIR_INO OWN(1)
#define FILE_INO OWN(2)
#define SOFT_INO OWN(3)
#define PEER_INO (UINT64_C(2) << ID_SLOT_SHIFT | 9)

/* The directory "d" with the file "f" (its first version is kept for the peer) and the symbolic link "soft"; "hard" in
 * the root is the file too. The peer has acknowledged group 2 of 3. %N$llu: argument N. */
static const char rows[] =
	"INSERT INTO meta VALUES('volume_id', '00000000-0000-4000-8000-000000000001'), ('node_name', 'alpha'),"
	" ('node_id', '00112233445566778899aabbccddeeff'), ('slot', '1'), ('size_bytes', '0'), ('role', '1'),"
	" ('generation', '1'), ('setting.peer_slot', '2'), ('setting.peer_node_id', 'peer'),"
	" ('setting.peer_name', 'beta'), ('setting.kept', 'as it was');"
	"INSERT INTO state VALUES(1, 3, 20, 2, 4);"
	"INSERT INTO groups VALUES(2, 22, 1000), (3, 33, 2000);"
	"INSERT INTO inode VALUES(1, 16877, 0, 0, 0, 0, 3, 1, 2, 3, NULL, 0, 0, 0, 0);"
	"INSERT INTO inode VALUES(2, 16877, 0, 0, 0, 0, 2, 1, 2, 3, NULL, 0, 0, 0, 0);"
	"INSERT INTO inode VALUES(%1$llu, 16877, 7, 8, 0, 0, 2, 1, 2, 3, NULL, 2, 0, 2, 0);"
	"INSERT INTO inode VALUES(%2$llu, 33188, 7, 8, 0, 8196, 2, 1, 5000000000, 3, NULL, 3, 0, 3, 0);"
	"INSERT INTO inode VALUES(%3$llu, 41471, 7, 8, 0, 6, 1, 1, 2, 3, x'746172676574', 2, 0, 2, 0);"
	"INSERT INTO old_inode VALUES(%2$llu, 33188, 7, 8, 0, 4096, 2, 1, 2, 3, NULL, 2, 0, 2, 0, 3);"
	"INSERT INTO dentry VALUES(%4$llu, 1, x'64', %1$llu, 2, 0), (%5$llu, %1$llu, x'66', %2$llu, 2, 0),"
	" (%6$llu, %1$llu, x'736f6674', %3$llu, 2, 0), (%7$llu, 1, x'68617264', %2$llu, 2, 0);"
	"INSERT INTO xattr VALUES(%2$llu, 'user.k', x'76', 2, 0);"
	"INSERT INTO change_inode VALUES(%2$llu, 1, 3, 4, NULL, 0);"
	"INSERT INTO change_extent VALUES(%2$llu, 0, 8196, 3);"
	"INSERT INTO peer_link(link, parent, child, grp, name) VALUES(%5$llu, 1, %2$llu, 3, x'67');"
	"INSERT INTO lineage VALUES(0, %8$llu, %2$llu, 3, 98), (1, %8$llu, %7$llu, 3, 108);"
	"INSERT INTO conflict VALUES(%9$llu, 3, 'content', 'kept-both', 'a rule', '/d/f', %2$llu, 1000, 'alpha',"
	" '/d/f', %2$llu, 900, 'beta', '/hard', %2$llu, 950, 0);";

static uint8_t block[4][BLOCK_BYTES]; /* [0] is unused: block 0 of the image is its header */

static void put_image(void)
{
	char path[300];
	struct err err = ERR_INIT;
	struct image *im;

	snprintf(path, sizeof(path), "%s/image", fx_dir);
	ck_assert_int_eq(image_format(path, &err), 0);
	ck_assert_int_eq(image_open(path, false, &im, &err), 0);
	memset(block[1], 'o', BLOCK_BYTES); /* of the old version */
	memset(block[2], 'n', BLOCK_BYTES);
	memset(block[3], 0, BLOCK_BYTES);
	memcpy(block[3], "tail", 4);
	for (uint64_t b = 1; b <= 3; b++)
		ck_assert_int_eq(image_write(im, b, 0, block[b], BLOCK_BYTES), 0);
	ck_assert_int_eq(image_sync(im), 0);
	image_close(im);
}

static void run(sqlite3 *db, const char *text)
{
	char *error = NULL;

	ck_assert_msg(sqlite3_exec(db, text, NULL, NULL, &error) == SQLITE_OK, "%s: %s", text, error);
}

static void put_extent(sqlite3 *db, const char *table, uint64_t off, uint64_t phys, int born, const char *died)
{
	uint64_t sum = block_sum(block[phys]);
	char *sql = xasprintf("INSERT INTO %s VALUES(%llu, %llu, 1, %llu, %d, 0, ?1%s)", table,
			      (unsigned long long)FILE_INO, (unsigned long long)off, (unsigned long long)phys, born,
			      died);
	sqlite3_stmt *s;

	ck_assert_int_eq(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
	sqlite3_bind_blob(s, 1, &sum, sizeof(sum), SQLITE_TRANSIENT);
	ck_assert_int_eq(sqlite3_step(s), SQLITE_DONE);
	sqlite3_finalize(s);
	free(sql);
}

static sqlite3 *open_db(void)
{
	char path[300];
	sqlite3 *db;

	snprintf(path, sizeof(path), "%s/twinfs.db", fx_dir);
	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	return db;
}

static void make_store(int format)
{
	const char *tmp = getenv("TMPDIR");
	char *text = xasprintf(rows, (unsigned long long)DIR_INO, (unsigned long long)FILE_INO,
			       (unsigned long long)SOFT_INO, (unsigned long long)OWN(10), (unsigned long long)OWN(11),
			       (unsigned long long)OWN(12), (unsigned long long)OWN(13), (unsigned long long)PEER_INO,
			       (unsigned long long)OWN(14));
	sqlite3 *db;

	snprintf(fx_dir, sizeof(fx_dir), "%s/twinfs-test-XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(fx_dir));
	put_image();
	db = open_db();
	run(db, "PRAGMA journal_mode = WAL;");
	run(db, tables);
	run(db, format_1);
	if (format >= 2)
		run(db, format_2);
	run(db, text);
	if (format >= 3)
		run(db, format_3);
	if (format >= 4)
		run(db, format_4);
	if (format >= 5)
		run(db, format_5);
	if (format >= 6)
		run(db, format_6);
	if (format >= 7)
		run(db, format_7);
	if (format >= 8) {
		run(db, format_8);
		free(text);
		text = xasprintf(format_8_rows, (unsigned long long)PEER_INO, (unsigned long long)FILE_INO);
		run(db, text);
	}
	if (format >= 9)
		run(db, format_9);
	if (format >= 10)
		run(db, format_10);
	if (format >= 11)
		run(db, format_11);
	put_extent(db, "extent", 0, 2, 3, "");
	put_extent(db, "extent", 2, 3, 3, "");
	put_extent(db, "old_extent", 0, 1, 2, ", 3");
	free(text);
	text = xasprintf("PRAGMA application_id = %d; PRAGMA user_version = %d;", SCHEMA_APPLICATION_ID, format);
	run(db, text);
	free(text);
	ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}

static void damage(void *ctx, const char *text)
{
	(void)ctx;
	ck_abort_msg("fsck: %s", text);
}

static void fsck_is_clean(void)
{
	static const struct fsck_options opt = { .found = damage };
	struct fsck_result r;
	struct err err = ERR_INIT;

	ck_assert_msg(fsck_store(fx_dir, &opt, &r, &err) == 0 && r.findings == 0, "%s", err.text);
	ck_assert_uint_eq(r.blocks, 3);
	ck_assert(!r.without_page_sums);
}

static void expect_content(void)
{
	uint64_t d = fx_ino(INO_ROOT, "d"), f = fx_ino(d, "f");
	char buf[3 * BLOCK_BYTES], target[SYMLINK_MAX_BYTES];
	struct attr a;
	char *kept;

	ck_assert_uint_eq(d, DIR_INO);
	ck_assert_uint_eq(f, FILE_INO);
	ck_assert_uint_eq(fx_ino(INO_ROOT, "hard"), FILE_INO);
	ck_assert_int_eq(volume_getattr(fx, f, &a), 0);
	ck_assert(a.mode == (S_IFREG | 0644) && a.uid == 7 && a.gid == 8 && a.nlink == 2 && a.mtime.tv_sec == 5);
	ck_assert_int_eq(volume_read(fx, f, buf, sizeof(buf), 0), 2 * BLOCK_BYTES + 4);
	ck_assert(memcmp(buf, block[2], BLOCK_BYTES) == 0 && buf[BLOCK_BYTES] == 0 &&
		  memcmp(buf + 2 * BLOCK_BYTES, "tail", 4) == 0);
	ck_assert_int_eq(volume_readlink(fx, fx_ino(d, "soft"), target, sizeof(target)), 6);
	ck_assert_int_eq(volume_getxattr(fx, f, "user.k", buf, sizeof(buf)), 1);
	kept = volume_setting_get(fx, "kept");
	ck_assert_str_eq(kept, "as it was");
	free(kept);
}

/* What was known of the peer is known still, by the words of now. */
static void expect_notes(int format)
{
	struct view then = { .kind = VIEW_AT, .group = 2 };
	struct change_row row;
	struct peer_link note;
	struct lineage lin;
	struct volume_info info;
	uint8_t old[BLOCK_BYTES];

	volume_info(fx, &info);
	ck_assert(info.pending_entries >= 1 && info.pending_bytes >= 2 * BLOCK_BYTES + 4 &&
		  info.pending_oldest_ms == 2000);
	ck_assert(info.role == ROLE_PRIMARY && info.committed == 3 && info.acked == 2 && info.applied == 4 &&
		  info.slot == 1 && info.generation == 1 && info.conflicts_open == 1);
	volume_lock(fx);
	ck_assert_int_eq(data_read(fx, FILE_INO, then, old, sizeof(old), 0), 0);
	ck_assert(memcmp(old, block[1], sizeof(old)) == 0);
	ck_assert_int_eq(changes_get(fx, FILE_INO, ENT_CONTENT, &row), 0);
	ck_assert(row.grp == 3 && row.seen == 4);
	ck_assert_int_eq(peer_link_get(fx, OWN(11), &note), 0);
	ck_assert(note.at.parent == INO_ROOT && note.at.child == FILE_INO && note.at.name[0] == 'g' && note.seen == 0);
	ck_assert_int_eq(lineage_get(fx, LINEAGE_BASE, PEER_INO, &lin), 0);
	ck_assert(lin.kind == 'b' && lin.dst == FILE_INO);
	ck_assert_int_eq(lineage_get(fx, LINEAGE_INODE, PEER_INO, &lin), format >= 8 ? 0 : -ENOENT);
	ck_assert(format < 8 || (lin.kind == 'c' && lin.grp == 3 && lin.since == 0 && lineage_known(&lin) == 2));
	ck_assert_int_eq(lineage_get(fx, LINEAGE_LINK, PEER_INO, &lin), 0);
	ck_assert(lin.kind == 'l' && lin.dst == OWN(13));
	volume_unlock(fx);
}

START_TEST(a_store_of_a_former_format_is_opened_with_all_that_is_in_it)
{
	make_store(_i);
	fx_open();
	expect_content();
	expect_notes(_i);
	/* It is used like one made today. */
	fx_write(fx_ino(INO_ROOT, "hard"), "new");
	fx_file(fx_ino(INO_ROOT, "d"), "g");
	ck_assert_int_eq(volume_unlink(fx, INO_ROOT, "hard"), 0);
	fx_reopen_after_crash();
	expect_content();
	expect_notes(_i);
	ck_assert_int_eq(volume_close(fx), 0);
	fx = NULL;
	fsck_is_clean();
}
END_TEST

static int format_on_disk(void)
{
	sqlite3 *db = open_db();
	sqlite3_stmt *s;
	int format;

	ck_assert_int_eq(sqlite3_prepare_v2(db, "PRAGMA user_version", -1, &s, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_step(s), SQLITE_ROW);
	format = sqlite3_column_int(s, 0);
	sqlite3_finalize(s);
	ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
	return format;
}

START_TEST(looking_at_it_changes_nothing_and_says_what_does)
{
	static const struct fsck_options opt = { .found = damage };
	struct fsck_result r;
	struct err err = ERR_INIT;

	make_store(_i);
	ck_assert_int_ne(fsck_store(fx_dir, &opt, &r, &err), 0);
	ck_assert_msg(strstr(err.text, "format"), "%s", err.text);
	ck_assert_int_eq(format_on_disk(), _i);
	fx_open();
	expect_content();
	ck_assert_int_eq(volume_close(fx), 0);
	fx = NULL;
	ck_assert_int_eq(format_on_disk(), SCHEMA_VERSION);
}
END_TEST

START_TEST(one_that_cannot_be_migrated_is_refused_and_stays_as_it_was)
{
	struct err err = ERR_INIT;
	sqlite3 *db;

	make_store(_i);
	db = open_db();
	run(db, "ALTER TABLE peer_link ADD COLUMN seen TEXT;"); /* in the way of the last step */
	ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
	ck_assert_int_lt(volume_open(fx_dir, NULL, &fx, &err), 0);
	ck_assert_msg(strstr(err.text, "nothing was changed"), "%s", err.text);
	ck_assert_int_eq(format_on_disk(), _i);
	db = open_db();
	run(db, "ALTER TABLE peer_link DROP COLUMN seen;");
	ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
	fx_open();
	expect_content();
	expect_notes(_i);
}
END_TEST

static bool is_without_page_sums(void)
{
	static const struct fsck_options opt = { .found = damage };
	struct fsck_result r;
	struct err err = ERR_INIT;

	ck_assert_msg(fsck_store(fx_dir, &opt, &r, &err) == 0 && r.findings == 0, "%s", err.text);
	return r.without_page_sums;
}

/* Where there is no room to write all pages anew the store is used as it is, and fsck says so. */
START_TEST(a_database_without_page_sums_is_used_and_gets_them_when_there_is_room)
{
	struct rlimit before, little = { .rlim_cur = 64 << 10 };
	char *text = xasprintf("PRAGMA user_version = %d", SCHEMA_VERSION);
	sqlite3 *db;

	make_store(SCHEMA_VERSION - 1);
	db = open_db();
	run(db, text);
	ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
	free(text);
	ck_assert(is_without_page_sums());
	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
	little.rlim_max = before.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &little), 0);
	fx_open();
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
	expect_content();
	fx_file(INO_ROOT, "late");
	ck_assert_int_eq(volume_close(fx), 0);
	fx = NULL;
	ck_assert(is_without_page_sums());
	fx_open();
	expect_content();
	ck_assert_uint_ne(fx_ino(INO_ROOT, "late"), 0);
	ck_assert_int_eq(volume_close(fx), 0);
	fx = NULL;
	ck_assert(!is_without_page_sums());
}
END_TEST

int main(void)
{
	Suite *s = suite_create("migration");
	TCase *tc = tcase_create("migration");

	tcase_add_checked_fixture(tc, NULL, fx_teardown);
	suite_add_tcase(s, tc);
	tcase_add_loop_test(tc, a_store_of_a_former_format_is_opened_with_all_that_is_in_it, 1, SCHEMA_VERSION);
	tcase_add_loop_test(tc, looking_at_it_changes_nothing_and_says_what_does, 1, SCHEMA_VERSION);
	tcase_add_loop_test(tc, one_that_cannot_be_migrated_is_refused_and_stays_as_it_was, 1, 3);
	tcase_add_test(tc, a_database_without_page_sums_is_used_and_gets_them_when_there_is_room);
	return tap_main(s);
}
