/* SPDX-License-Identifier: MIT */
/* fsck finds what is broken in a store, says where, and changes nothing; a whole store has no findings. */
#include <fcntl.h>

#include "core/fsck.h"
#include "tests/store_sql.h"
#include "tests/volume_fixture.h"
#include "util/buf.h"

static struct buf said; /* the findings, a line each */

static void found(void *ctx, const char *text)
{
	(void)ctx;
	buf_append(&said, text, strlen(text));
	buf_append(&said, "\n", 1);
}

static struct fsck_result check(void)
{
	static const struct fsck_options opt = { .found = found };
	struct fsck_result r;
	struct err err = ERR_INIT;

	buf_reset(&said);
	ck_assert_msg(fsck_store(fx_dir, &opt, &r, &err) == 0, "%s", err.text);
	buf_append(&said, "", 1);
	return r;
}

static void expect_finding(const char *part)
{
	struct fsck_result r = check();

	ck_assert_uint_gt(r.findings, 0);
	ck_assert_msg(strstr((const char *)said.data, part) != NULL, "'%s' is not in:\n%s", part, said.data);
}

static void sql(const char *text)
{
	char path[300], *error = NULL;
	sqlite3 *db;

	snprintf(path, sizeof(path), "%s/twinfs.db", fx_dir);
	ck_assert_int_eq(store_sql_open(path, &db), SQLITE_OK);
	ck_assert_msg(sqlite3_exec(db, text, NULL, NULL, &error) == SQLITE_OK, "%s: %s", text, error);
	ck_assert_int_gt(sqlite3_total_changes(db), 0);
	ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
}

/* With history (d/f was written again after it had left this machine) and a change set. */
static uint64_t dir, file;

static void populate(void)
{
	static char block[3 * BLOCK_BYTES];

	buf_init(&said, 16u << 20);
	fx_setup_primary();
	dir = fx_mkdir(INO_ROOT, "d");
	fx_mkdir(dir, "sub");
	file = fx_file(dir, "f");
	memset(block, 'x', sizeof(block));
	ck_assert_int_gt(volume_write(fx, file, block, sizeof(block), 0, 0, NULL), 0);
	fx_make(INO_ROOT, "soft", S_IFLNK | 0777);
	ck_assert_int_eq(volume_link(fx, file, INO_ROOT, "hard", &(struct attr){ 0 }), 0);
	ck_assert_int_eq(volume_setxattr(fx, file, "user.k", "v", 1, 0), 0);
	fx_cut();
	ck_assert_int_gt(volume_write(fx, file, "y", 1, BLOCK_BYTES, 0, NULL), 0);
	ck_assert_int_eq(volume_setxattr(fx, file, "user.k", "w", 1, 0), 0);
	ck_assert_int_eq(volume_rename(fx, dir, "sub", INO_ROOT, "sub", 0), 0);
	ck_assert_int_eq(volume_close(fx), 0);
	fx = NULL;
}

static void teardown(void)
{
	buf_release(&said);
	fx_teardown();
}

START_TEST(a_whole_store_with_history_has_no_findings)
{
	struct fsck_result r = check();

	ck_assert_msg(r.findings == 0, "%s", said.data);
	ck_assert_uint_eq(r.inodes, 6);
	ck_assert_uint_eq(r.blocks, 4); /* three of now, one of before */
}
END_TEST

/* %llu: the file's inode number, once at most */
static const struct damage {
	const char *sql, *finding;
} damages[] = {
	{ "UPDATE state SET acked = committed + 5", "state, state: not so: there is one row of counters" },
	{ "DELETE FROM state", "state, state" },
	{ "UPDATE state SET forgotten = committed + 1", "what is acknowledged of the change set was committed" },
	{ "UPDATE state SET flushed = committed + 1", "what is durable on the image was committed" },
	{ "UPDATE logged SET slot = 128 WHERE slot = 0", "logged, slot 128" },
	{ "UPDATE logged SET bytes = x'00' WHERE slot = 0", "a slot is one of 128 and has its length" },
	{ "UPDATE logged SET bytes = zeroblob(4120) WHERE slot = 0", "logged, slot 0: not what was written" },
	{ "UPDATE state SET links = links + 1", "its sums are those of the change set and of the conflicts" },
	{ "UPDATE state SET inodes = 0", "state, inodes 0, counted" },
	{ "DELETE FROM change_xattr", "state, xattrs 1, counted 0" },
	{ "UPDATE change_extent SET len = len - 1", "state, bytes " },
	{ "UPDATE state SET kept_both = 3", "state, kept-both 3, counted 0" },
	{ "UPDATE state SET merged = 1", "state, merged 1, counted 0" },
	{ "DELETE FROM meta WHERE key = 'node_id'", "meta, meta: not so: the store says what it is" },
	{ "UPDATE groups SET id = 0 WHERE n = 1", "groups, group 1" },
	{ "UPDATE inode SET ino = 99 WHERE ino = %llu", "inode 99: inode, inode: not so: its number is one" },
	{ "UPDATE inode SET ino = ino + 1000000 WHERE ino = %llu", "its number is one that was handed out" },
	{ "UPDATE inode SET mode = 'text' WHERE ino = %llu", "/d/f (inode " },
	{ "UPDATE inode SET mode = 420 WHERE ino = %llu", "its type is one there is" },
	{ "UPDATE inode SET size = -1 WHERE ino = %llu", "its size is possible" },
	{ "UPDATE inode SET size = NULL WHERE ino = %llu", "its size is possible" },
	{ "UPDATE inode SET born = 1000 WHERE ino = %llu", "in groups that were committed" },
	{ "UPDATE inode SET target = NULL WHERE target NOT NULL", "/soft (inode " },
	{ "UPDATE inode SET target = x'61' WHERE ino = %llu", "a symbolic link has a target, and nothing else has" },
	{ "DELETE FROM inode WHERE ino = 2", "the root and .twinfs are directories" },
	{ "UPDATE inode SET nlink = 3 WHERE ino = %llu", "3 counted, 2 names" },
	{ "UPDATE inode SET nlink = 9 WHERE ino = 1", "/ (inode 1): inode, 9 counted: not so: the number of links" },
	{ "DELETE FROM dentry WHERE child = %llu", "what has no name is held open" },
	{ "INSERT INTO orphan VALUES(%llu)", "orphan, orphan" },
	{ "INSERT INTO orphan VALUES(5)", "orphan, orphan" },
	{ "UPDATE dentry SET link = 77 WHERE name = x'66'", "dentry, link 77" },
	{ "UPDATE dentry SET name = x'612f62' WHERE name = x'66'", "no '/' and no NUL" },
	{ "UPDATE dentry SET name = x'610062' WHERE name = x'66'", "no '/' and no NUL" },
	{ "UPDATE dentry SET name = x'2e2e' WHERE name = x'66'", "is not '.' or '..'" },
	{ "UPDATE dentry SET name = '' WHERE name = x'66'", "a name has 1 to 255 bytes" },
	{ "UPDATE dentry SET name = zeroblob(300) WHERE name = x'66'", "a name has 1 to 255 bytes" },
	{ "UPDATE dentry SET parent = 12345 WHERE name = x'66'", "a name is in a directory that is there" },
	{ "UPDATE dentry SET parent = %llu WHERE name = x'736f6674'", "a name is in a directory that is there" },
	{ "DELETE FROM inode WHERE ino = %llu", "a name is of an inode that is there" },
	{ "UPDATE dentry SET child = 1 WHERE name = x'736f6674'", "and not of the root" },
	{ "UPDATE dentry SET born = 77 WHERE name = x'66'", "it was made in a group that was committed" },
	{ "INSERT INTO dentry SELECT link + 1000, parent, x'7a', child, born, origin FROM dentry WHERE name = x'64'",
	  "a directory has one name" },
	{ "UPDATE dentry SET parent = child WHERE name = x'64'", "every directory is below the root" },
	{ "UPDATE dentry SET parent = (SELECT child FROM dentry WHERE name = x'737562') WHERE name = x'64';"
	  "UPDATE dentry SET parent = (SELECT child FROM dentry WHERE name = x'64') WHERE name = x'737562'",
	  "every directory is below the root" },
	{ "UPDATE xattr SET ino = 12345", "xattr, key user.k" },
	{ "UPDATE xattr SET value = zeroblob(65537)", "its key and value have a possible length" },
	{ "UPDATE xattr SET value = NULL", "its key and value have a possible length" },
	{ "INSERT INTO aside VALUES(12345, 9, 1)", "room is set aside for possible blocks of a file that is there" },
	{ "INSERT INTO aside VALUES(1, 9, 1)", "room is set aside for possible blocks of a file that is there" },
	{ "INSERT INTO aside VALUES(%llu, 9, 17592186044416)",
	  "aside, block 9: not so: room is set aside for possible blocks" },
	{ "INSERT INTO aside SELECT column1, 9 + ino, 2 FROM (VALUES (%llu)) JOIN inode ON ino <= 2",
	  "aside, block 11: not so: it ends before the next one of its file begins" },
	{ "INSERT INTO aside VALUES(%llu, 2, 5)", "room is set aside where the file has nothing" },
	{ "UPDATE extent SET ino = 1", "it is of a file that is there" },
	{ "UPDATE extent SET len = 65", "its place is possible and it has a checksum for each block" },
	{ "UPDATE extent SET len = 0", "its place is possible" },
	{ "UPDATE extent SET phys = 0", "its place is possible" },
	{ "UPDATE extent SET phys = -4", "its place is possible" },
	{ "UPDATE extent SET off = off + 17592186044416", "its place is possible" },
	{ "UPDATE extent SET sums = x'00'", "it has a checksum for each block" },
	{ "UPDATE extent SET sums = NULL", "it has a checksum for each block" },
	{ "UPDATE extent SET len = 2, sums = zeroblob(16) WHERE off = 0", "it ends before the next one" },
	{ "UPDATE extent SET phys = 1000000", "is beyond the image's end" },
	{ "UPDATE extent SET phys = (SELECT phys FROM old_extent)", "of the image has another owner too" },
	{ "UPDATE extent SET sums = zeroblob(8 * len) WHERE off = 0", "/d/f (inode " },
	{ "UPDATE extent SET sums = zeroblob(8 * len) WHERE off = 1",
	  "1 of 1 blocks are not what was written, from byte 4096" },
	{ "UPDATE old_extent SET sums = zeroblob(8 * len)", "old_extent, block 1: 1 of 1 blocks are not" },
	{ "UPDATE old_extent SET died = born", "an old version lived from one group to a later one, its place" },
	{ "UPDATE old_inode SET died = died + 1000", "old_inode, died 100" },
	{ "UPDATE old_dentry SET name = ''", "old_dentry, link" },
	{ "UPDATE old_xattr SET born = 1000", "old_xattr, key user.k" },
	{ "UPDATE change_inode SET grp = 1000", "change_inode, what" },
	{ "UPDATE change_inode SET ino = 12345 WHERE ino = %llu", "change_inode, what" },
	{ "INSERT INTO change_inode(ino, what, grp, seen) VALUES(1, 9, 1, 0)", "change_inode, what 9" },
	{ "UPDATE change_inode SET shrunk_to = -1 WHERE what = 1", "the size that a file was cut to is possible" },
	{ "UPDATE change_xattr SET seen = 55", "change_xattr, key user.k" },
	{ "UPDATE change_dentry SET seen = -1", "change_dentry, link" },
	{ "UPDATE change_extent SET len = -1", "a changed range is of a file that is there" },
	{ "INSERT INTO change_extent SELECT ino, off - 2, 5, grp FROM change_extent", "a changed range ends" },
	{ "INSERT INTO peer_link(link, parent, child, grp, name) VALUES(5, 1, 5, 1, NULL)", "peer_link, link 5" },
	{ "INSERT INTO lineage(is_link, src, dst, grp, kind) VALUES(0, 5, 6, 1, 0)", "lineage, source 5" },
	{ "INSERT INTO conflict(id, kind, outcome, resolved) VALUES(9, 'war', 'merged', 0)", "conflict, conflict 9" },
	{ "UPDATE dentry SET parent = 2 WHERE link = (SELECT max(link) FROM dentry WHERE child NOT IN (SELECT ino FROM "
	  "inode WHERE mode & 61440 = 16384))", "what is in .twinfs is kept by a conflict, or goes when a" },
	{ "DELETE FROM xattr; DROP TABLE xattr", "xattr, cannot be checked: no such table" },
};

START_TEST(each_broken_rule_is_found_and_the_row_is_named)
{
	const struct damage *d = &damages[_i];
	char text[512];

	snprintf(text, sizeof(text), d->sql, (unsigned long long)file);
	sql(text);
	expect_finding(d->finding);
}
END_TEST

static void in_store(const char *name, char path[300])
{
	snprintf(path, 300, "%s/%s", fx_dir, name);
}

START_TEST(a_flipped_bit_in_the_image_is_found_with_its_file)
{
	char path[300];
	uint8_t byte;
	int fd;

	in_store("image", path);
	fd = open(path, O_RDWR);
	ck_assert_int_eq(pread(fd, &byte, 1, 3 * BLOCK_BYTES + 77), 1);
	byte ^= 0x10;
	ck_assert_int_eq(pwrite(fd, &byte, 1, 3 * BLOCK_BYTES + 77), 1);
	close(fd);
	expect_finding("blocks are not what was written");
	ck_assert_ptr_nonnull(strstr((const char *)said.data, "/d/f (inode "));
}
END_TEST

START_TEST(an_image_cut_short_or_gone_is_found)
{
	char path[300];

	in_store("image", path);
	ck_assert_int_eq(truncate(path, _i ? BLOCK_BYTES : 0), 0);
	expect_finding(_i ? "is beyond the image's end" : "image: ");
	ck_assert_int_eq(unlink(path), 0);
	expect_finding("image: cannot open");
}
END_TEST

START_TEST(pages_of_zeros_in_the_database_are_found)
{
	static const char zeros[4096];
	char path[300];
	int fd;

	in_store("twinfs.db", path);
	fd = open(path, O_RDWR);
	ck_assert_int_eq(pwrite(fd, zeros, sizeof(zeros), 4096 * (2 + _i)), (int)sizeof(zeros));
	close(fd);
	ck_assert_uint_gt(check().findings, 0);
}
END_TEST

START_TEST(what_is_no_store_is_refused)
{
	static const struct fsck_options opt = { .found = found };
	struct fsck_result r;
	struct err err = ERR_INIT;
	char path[300];
	int fd;

	ck_assert_int_eq(fsck_store("/nonexistent", &opt, &r, &err), -ENOENT);
	in_store("twinfs.db", path);
	fd = open(path, O_RDWR | O_TRUNC);
	ck_assert_int_eq(write(fd, "nothing", 7), 7);
	close(fd);
	ck_assert_int_eq(fsck_store(fx_dir, &opt, &r, &err), -EUCLEAN);
}
END_TEST

START_TEST(a_store_in_use_is_refused)
{
	static const struct fsck_options opt = { .found = found };
	struct fsck_result r;
	struct err err = ERR_INIT;

	fx_open();
	ck_assert_int_eq(fsck_store(fx_dir, &opt, &r, &err), -EBUSY);
	ck_assert_ptr_nonnull(strstr(err.text, "unmount it first"));
}
END_TEST

/* The bytes of a file of the store, and when it was written last. */
static void snapshot(const char *name, struct buf *out)
{
	char path[300], part[4096];
	struct stat st;
	ssize_t n;
	int fd;

	in_store(name, path);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return;
	ck_assert_int_eq(fstat(fd, &st), 0);
	buf_append(out, &st.st_mtim, sizeof(st.st_mtim));
	while ((n = read(fd, part, sizeof(part))) > 0)
		buf_append(out, part, (size_t)n);
	close(fd);
}

START_TEST(it_reads_what_the_log_holds_and_changes_no_file)
{
	static const char *const files[] = { "twinfs.db", "twinfs.db-wal", "image", "lock" };
	struct buf before, after;
	struct fsck_result r;

	buf_init(&before, 64u << 20);
	buf_init(&after, 64u << 20);
	fx_open();
	fx_file(INO_ROOT, "late");
	ck_assert_int_eq(volume_commit(fx), 0);
	volume_crash(fx);
	fx = NULL;
	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		snapshot(files[i], &before);
	r = check();
	ck_assert_msg(r.findings == 0, "%s", said.data);
	ck_assert_uint_eq(r.inodes, 7);
	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		snapshot(files[i], &after);
	ck_assert_uint_eq(before.len_bytes, after.len_bytes);
	ck_assert(memcmp(before.data, after.data, before.len_bytes) == 0);
	buf_release(&before);
	buf_release(&after);
	fx_open();
	ck_assert_uint_ne(fx_ino(INO_ROOT, "late"), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fsck");
	TCase *t = tcase_create("fsck");

	tcase_add_checked_fixture(t, populate, teardown);
	tcase_add_test(t, a_whole_store_with_history_has_no_findings);
	tcase_add_loop_test(t, each_broken_rule_is_found_and_the_row_is_named, 0, ARRAY_LEN(damages));
	tcase_add_test(t, a_flipped_bit_in_the_image_is_found_with_its_file);
	tcase_add_loop_test(t, an_image_cut_short_or_gone_is_found, 0, 2);
	tcase_add_loop_test(t, pages_of_zeros_in_the_database_are_found, 0, 8);
	tcase_add_test(t, what_is_no_store_is_refused);
	tcase_add_test(t, a_store_in_use_is_refused);
	tcase_add_test(t, it_reads_what_the_log_holds_and_changes_no_file);
	suite_add_tcase(s, t);
	return tap_main(s);
}
