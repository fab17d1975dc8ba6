/* SPDX-License-Identifier: MIT */
/*
 * One byte of a closed store that the disk changed, wherever it is: fsck says in which page, frame or file, and who
 * opens the store and reads gets what was written or an error. TWINFS_FLIPS: so many offsets in each page;
 * TWINFS_SEED: others.
 */
#include <fcntl.h>

#include "core/fsck.h"
#include "core/tree.h"
#include "tests/chance.h"
#include "tests/store_sql.h"
#include "tests/volume_fixture.h"
#include "util/buf.h"

#define FILES 240
#define KEPT(i) ((i) % 3 != 0) /* the others are removed: their pages become free */
#define VALUE_BYTES 6000       /* more than a page has room for */
#define FILE_BYTES (2 * BLOCK_BYTES + 100)

static struct buf said;
static uint64_t seed;

/* ---- the store ---- */

static char value_byte(int i, size_t at)
{
	return (char)((i * 7 + (int)at * 13 + (int)(at / 100)) | 1);
}

static void fill_value(int i, char *out, size_t len_bytes)
{
	for (size_t at = 0; at < len_bytes; at++)
		out[at] = value_byte(i, at);
}

static void populate(void)
{
	static char value[FILE_BYTES];
	char name[32];

	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "file-%d", i);
		uint64_t ino = fx_file(INO_ROOT, name);

		fill_value(i, value, sizeof(value));
		if (i % 8 == 0)
			ck_assert_int_eq(volume_setxattr(fx, ino, "user.long", value, VALUE_BYTES, 0), 0);
		if (i % 4 == 1)
			ck_assert_int_gt(volume_write(fx, ino, value, FILE_BYTES, 0, 0, NULL), 0);
	}
	fx_cut();
	for (int i = 0; i < FILES; i++)
		if (!KEPT(i)) {
			snprintf(name, sizeof(name), "file-%d", i);
			ck_assert_int_eq(volume_unlink(fx, INO_ROOT, name), 0);
		}
	ck_assert_int_eq(volume_commit(fx), 0);
}

static void setup(void)
{
	const char *from = getenv("TWINFS_SEED");

	seed = from ? strtoull(from, NULL, 10) : 1;
	buf_init(&said, 64u << 20);
	fx_setup();
	populate();
	ck_assert_int_eq(volume_close(fx), 0);
	fx = NULL;
}

static void teardown(void)
{
	buf_release(&said);
	fx_teardown();
}

static size_t times(void)
{
	const char *more = getenv("TWINFS_FLIPS");

	return more ? strtoull(more, NULL, 10) : 1;
}

/* ---- bytes of its files ---- */

static int open_file(const char *name, int flags)
{
	char path[300];

	snprintf(path, sizeof(path), "%s/%s", fx_dir, name);
	return open(path, flags | O_CLOEXEC);
}

static size_t size_of(const char *name)
{
	int fd = open_file(name, O_RDONLY);
	struct stat st;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fstat(fd, &st), 0);
	close(fd);
	return (size_t)st.st_size;
}

/* The same again puts it back. */
static void flip(const char *name, size_t at, uint8_t bits)
{
	int fd = open_file(name, O_RDWR);
	uint8_t byte;

	ck_assert_int_eq(pread(fd, &byte, 1, (off_t)at), 1);
	byte ^= bits;
	ck_assert_int_eq(pwrite(fd, &byte, 1, (off_t)at), 1);
	close(fd);
}

static uint8_t some_bits(void)
{
	return chance(&seed) % 2 ? (uint8_t)(1u << chance(&seed) % 8) : (uint8_t)(1 + chance(&seed) % 255);
}

static void load(const char *name, struct buf *out)
{
	size_t len = size_of(name);
	uint8_t *data = xmalloc(len);
	int fd = open_file(name, O_RDONLY);

	ck_assert_int_eq(read(fd, data, len), (ssize_t)len);
	close(fd);
	buf_reset(out);
	buf_append(out, data, len);
	free(data);
}

static void put_back(const char *name, const struct buf *bytes)
{
	int fd = open_file(name, O_WRONLY | O_TRUNC | O_CREAT);

	ck_assert_int_eq(write(fd, bytes->data, bytes->len_bytes), (ssize_t)bytes->len_bytes);
	close(fd);
}

/* ---- looking ---- */

static void found(void *ctx, const char *text)
{
	(void)ctx;
	buf_append(&said, text, strlen(text));
	buf_append(&said, "\n", 1);
}

/* What fsck says, errors too; r->findings is more than 0 with either. */
static struct fsck_result check(bool tables_only)
{
	const struct fsck_options opt = { .found = found, .tables_only = tables_only };
	struct fsck_result r;
	struct err err = ERR_INIT;

	buf_reset(&said);
	if (fsck_store(fx_dir, &opt, &r, &err) != 0) {
		ck_assert_str_ne(err.text, "");
		found(NULL, err.text);
		r.findings++;
	}
	buf_append(&said, "", 1);
	return r;
}

static void expect(const char *part, const char *after)
{
	ck_assert_msg(strstr((const char *)said.data, part) != NULL, "after %s '%s' is not in:\n%s", after, part,
	              said.data);
}

static void expect_whole(const char *after)
{
	struct fsck_result r = check(false);

	ck_assert_msg(r.findings == 0 && !r.without_page_sums, "after %s:\n%s", after, said.data);
}

/* All that can be read is what was written. */
static void read_all(void)
{
	char name[32], want[FILE_BYTES], got[FILE_BYTES];
	struct attr a;

	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "file-%d", i);
		int rc = volume_lookup(fx, INO_ROOT, name, &a);

		if (rc == -ENOENT)
			ck_assert_msg(!KEPT(i), "%s is gone", name);
		if (rc)
			continue;
		ck_assert_msg(KEPT(i), "%s is back", name);
		fill_value(i, want, sizeof(want));
		ssize_t n = volume_getxattr(fx, a.ino, "user.long", got, sizeof(got));

		if (n == -ENODATA)
			ck_assert_msg(i % 8 != 0, "%s has lost its attribute", name);
		ck_assert_msg(n < 0 || (n == VALUE_BYTES && memcmp(got, want, VALUE_BYTES) == 0), "%s: %zd", name, n);
		n = volume_read(fx, a.ino, got, sizeof(got), 0);
		ck_assert_msg(n < 0 || (n == (i % 4 == 1 ? FILE_BYTES : 0) && memcmp(got, want, (size_t)n) == 0),
		              "%s: %zd", name, n);
	}
}

/* Refused with a text, or as far as it answers right. */
static void use(void)
{
	struct volume_options opt = { .fast_unsafe = true };
	struct err err = ERR_INIT;

	if (volume_open(fx_dir, &opt, &fx, &err) != 0) {
		ck_assert_str_ne(err.text, "");
		fx = NULL;
		return;
	}
	read_all();
	volume_close(fx);
	fx = NULL;
}

/* ---- the database ---- */

START_TEST(an_untouched_store_has_no_findings)
{
	expect_whole("nothing");
	fx_open();
	read_all();
}
END_TEST

START_TEST(a_byte_of_any_page_is_found_and_the_page_is_named)
{
	size_t pages = size_of("twinfs.db") / DB_PAGE_BYTES;
	char what[80];

	ck_assert_uint_gt(pages, 80);
	for (size_t n = 1; n <= pages * times(); n++) {
		size_t page = (n - 1) % pages, at = page * DB_PAGE_BYTES + chance_below(&seed, DB_PAGE_BYTES);
		uint8_t bits = some_bits();

		flip("twinfs.db", at, bits);
		snprintf(what, sizeof(what), "byte %zu ^ %u", at, bits);
		ck_assert_msg(check(true).findings > 0, "%s is not found", what);
		char *named = xasprintf("twinfs.db, page %zu: not what was written", page + 1);

		expect(named, what);
		free(named);
		flip("twinfs.db", at, bits);
	}
	expect_whole("all of it was put back");
}
END_TEST

/* Among them those that say whether there are sums, how long pages are, and which format this is. */
START_TEST(each_byte_of_the_header_is_found_and_refused)
{
	struct err err = ERR_INIT;

	for (size_t at = 0; at < 100; at++)
		for (int way = 0; way < 2; way++) {
			uint8_t bits = way ? 0xff : (uint8_t)(1u << chance(&seed) % 8);

			flip("twinfs.db", at, bits);
			ck_assert_uint_gt(check(true).findings, 0);
			expect("twinfs.db, page 1: not what was written", "a byte of the header");
			ck_assert_msg(volume_open(fx_dir, NULL, &fx, &err) == -EUCLEAN, "byte %zu: %s", at, err.text);
			ck_assert_msg(strstr(err.text, "damaged") != NULL, "byte %zu: %s", at, err.text);
			flip("twinfs.db", at, bits);
		}
	expect_whole("all of it was put back");
}
END_TEST

START_TEST(what_is_read_of_a_damaged_database_is_right_or_an_error)
{
	struct buf before;

	buf_init(&before, 64u << 20);
	load("twinfs.db", &before);
	size_t pages = before.len_bytes / DB_PAGE_BYTES;

	for (size_t page = 0; page < pages; page++) {
		flip("twinfs.db", page * DB_PAGE_BYTES + chance_below(&seed, DB_PAGE_BYTES), some_bits());
		use();
		put_back("twinfs.db", &before);
	}
	buf_release(&before);
	expect_whole("all of it was put back");
}
END_TEST

/* Sums that are right, each for another place. */
START_TEST(a_page_in_another_s_place_is_found)
{
	uint8_t a[DB_PAGE_BYTES], b[DB_PAGE_BYTES];
	size_t pages = size_of("twinfs.db") / DB_PAGE_BYTES;
	int fd = open_file("twinfs.db", O_RDWR);
	off_t at_a = (off_t)(pages / 2) * DB_PAGE_BYTES, at_b = (off_t)(pages / 2 + 3) * DB_PAGE_BYTES;
	char *named = xasprintf("page %zu: not what was written", pages / 2 + 1);

	ck_assert(pread(fd, a, sizeof(a), at_a) == (ssize_t)sizeof(a));
	ck_assert(pread(fd, b, sizeof(b), at_b) == (ssize_t)sizeof(b));
	ck_assert(pwrite(fd, a, sizeof(a), at_b) == (ssize_t)sizeof(a));
	ck_assert(pwrite(fd, b, sizeof(b), at_a) == (ssize_t)sizeof(b));
	close(fd);
	ck_assert_uint_ge(check(true).findings, 2);
	expect(named, "two pages changed places");
	free(named);
	use();
}
END_TEST

static uint64_t number(const char *sql)
{
	char path[300];
	sqlite3 *db;
	sqlite3_stmt *s;
	uint64_t n;

	snprintf(path, sizeof(path), "%s/twinfs.db", fx_dir);
	ck_assert_int_eq(store_sql_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_step(s), SQLITE_ROW);
	n = (uint64_t)sqlite3_column_int64(s, 0);
	sqlite3_finalize(s);
	ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
	return n;
}

START_TEST(of_a_free_page_it_is_said_that_it_is_free)
{
	size_t pages = size_of("twinfs.db") / DB_PAGE_BYTES;
	uint64_t free_pages, told = 0;

	number("PRAGMA wal_checkpoint"); /* so that the file has them all */
	free_pages = number("PRAGMA freelist_count");
	ck_assert_uint_gt(free_pages, 3);
	for (size_t page = 0; page < pages; page++) {
		flip("twinfs.db", page * DB_PAGE_BYTES + 99, 4);
		ck_assert_uint_gt(check(true).findings, 0);
		told += strstr((const char *)said.data, "it is free, and nothing is lost with it") != NULL;
		flip("twinfs.db", page * DB_PAGE_BYTES + 99, 4);
	}
	ck_assert_uint_eq(told, free_pages);
}
END_TEST

/* So many rows that nobody reads all of them at each opening. */
#define MANY 130000
static const char many[] =
	"BEGIN; WITH RECURSIVE c(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM c WHERE x < 130000) INSERT INTO inode "
	"SELECT (1 << 48) + 1000000 + x, 33188, 0, 0, 0, 0, 1, 0, 0, 0, NULL, 1, 0, 1, 0 FROM c;"
	"WITH RECURSIVE c(x) AS (VALUES(1) UNION ALL SELECT x + 1 FROM c WHERE x < 130000) INSERT INTO dentry "
	"SELECT (1 << 48) + 2000000 + x, 1, CAST('one-of-many-' || x AS BLOB), (1 << 48) + 1000000 + x, 1, 0 FROM c;"
	"UPDATE state SET next_id = 3000000; COMMIT;";

static void put_many(void)
{
	char path[300];
	sqlite3 *db;

	snprintf(path, sizeof(path), "%s/twinfs.db", fx_dir);
	ck_assert_int_eq(store_sql_open(path, &db), SQLITE_OK);
	ck_assert_msg(sqlite3_exec(db, many, NULL, NULL, NULL) == SQLITE_OK, "%s", sqlite3_errmsg(db));
	ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
	ck_assert_uint_gt(size_of("twinfs.db"), 17u << 20);
}

/* How many of the names cannot be looked up, and one of them. */
static unsigned look_up_many(char bad[32])
{
	unsigned failed = 0;
	struct attr a;
	char name[32];

	for (int i = 1; i <= MANY; i++) {
		snprintf(name, sizeof(name), "one-of-many-%d", i);
		int rc = volume_lookup(fx, INO_ROOT, name, &a);

		ck_assert_msg(rc == 0 || rc == -EUCLEAN, "%s: %d", name, rc);
		if (rc) {
			memcpy(bad, name, sizeof(name));
			failed++;
		}
	}
	return failed;
}

START_TEST(what_is_on_a_damaged_page_fails_and_nothing_else_does)
{
	char bad[32] = "";
	uint32_t page;
	int code;

	put_many();
	expect_whole("rows were put in");
	page = (uint32_t)(size_of("twinfs.db") / DB_PAGE_BYTES / 3); /* of inodes, as these were put in first */
	fx_open();
	ck_assert_uint_eq(look_up_many(bad), 0);
	ck_assert_uint_eq(volume_damaged_page(fx), 0);
	ck_assert_int_eq(volume_close(fx), 0);
	flip("twinfs.db", (size_t)(page - 1) * DB_PAGE_BYTES + 1000, 1);
	fx_open();
	unsigned failed = look_up_many(bad);

	ck_assert_msg(failed > 0 && failed < 1000, "%u", failed);
	ck_assert_uint_eq(volume_damaged_page(fx), page);
	free(volume_fault(fx, &code));
	ck_assert_int_eq(code, 0);
	read_all();
	uint64_t ino = fx_file(INO_ROOT, "new");

	ck_assert_int_eq(volume_commit(fx), 0);
	/* What a change needs of it ends the group, and the store takes no more of them. */
	ck_assert_int_eq(volume_write(fx, ino, "x", 1, 0, 0, NULL), 1);
	ck_assert_int_lt(volume_unlink(fx, INO_ROOT, bad), 0);
	ck_assert_int_eq(volume_commit(fx), -EIO);
	free(volume_fault(fx, &code));
	ck_assert_int_eq(code, -EUCLEAN);
	read_all();
	volume_close(fx);
	fx = NULL;
}
END_TEST

/* SQLite ends the transaction in which a page cannot be read. Who does not look at that, and writes on, must not make
 * his changes durable one by one. */
START_TEST(nothing_is_written_behind_a_page_that_could_not_be_read)
{
	char bad[32] = "", *text;
	struct dentry d;
	uint32_t page;

	put_many();
	page = (uint32_t)(size_of("twinfs.db") / DB_PAGE_BYTES / 3);
	flip("twinfs.db", (size_t)(page - 1) * DB_PAGE_BYTES + 1000, 1);
	fx_open();
	ck_assert_uint_gt(look_up_many(bad), 0);
	volume_lock(fx);
	ck_assert_int_eq(group_open(fx), 0);
	ck_assert_int_eq(setting_put(fx, "before", "1"), 0);
	struct inode in;

	ck_assert(tree_lookup(fx, INO_ROOT, bad, strlen(bad), &d) < 0 || tree_inode_get(fx, d.child, &in) < 0);
	ck_assert_int_lt(setting_put(fx, "after", "1"), 0);
	volume_unlock(fx);
	ck_assert_int_lt(volume_commit(fx), 0);
	volume_close(fx);
	fx_open();
	for (int i = 0; i < 2; i++) {
		text = volume_setting_get(fx, i ? "after" : "before");
		ck_assert_ptr_null(text);
	}
	volume_close(fx);
	fx = NULL;
}
END_TEST

START_TEST(a_database_that_was_cut_is_found)
{
	size_t len = size_of("twinfs.db");
	struct buf before;

	buf_init(&before, 64u << 20);
	load("twinfs.db", &before);
	for (size_t i = 1; i < 24; i++) {
		size_t at = i < 12 ? len - i * 777 : chance_below(&seed, len);
		char path[300];

		snprintf(path, sizeof(path), "%s/twinfs.db", fx_dir);
		ck_assert_int_eq(truncate(path, (off_t)at), 0);
		ck_assert_uint_gt(check(true).findings, 0);
		if (at >= DB_PAGE_BYTES)
			expect("missing: the file was cut", "it was cut");
		use();
		put_back("twinfs.db", &before);
	}
	buf_release(&before);
	expect_whole("all of it was put back");
}
END_TEST

/* ---- the image ---- */

START_TEST(a_byte_of_any_block_that_is_owned_is_found)
{
	uint64_t owned = check(false).blocks, told = 0;
	size_t blocks = size_of("image") / BLOCK_BYTES;

	ck_assert_uint_gt(owned, 30);
	for (size_t block = 0; block < blocks; block++) {
		size_t at = block * BLOCK_BYTES + chance_below(&seed, BLOCK_BYTES);
		uint8_t bits = some_bits();

		flip("image", at, bits);
		told += check(false).findings > 0;
		flip("image", at, bits);
	}
	ck_assert_uint_eq(told, owned + 1); /* the first has no owner, and is checked too */
	expect_whole("all of it was put back");
}
END_TEST

/* ---- the log ---- */

#define FRAME_BYTES (24 + DB_PAGE_BYTES)

/* Three commits that are in the log alone, each of `fsync`'s kind. The end of each in *frames. */
static void leave_a_log(size_t frames[3])
{
	char name[16];

	fx_open();
	for (int i = 0; i < 3; i++) {
		snprintf(name, sizeof(name), "late-%d", i);
		fx_file(INO_ROOT, name);
		ck_assert_int_eq(volume_commit(fx), 0);
	}
	volume_crash(fx);
	fx = NULL;
	int fd = open_file("twinfs.db-wal", O_RDONLY);
	size_t commits = 0, n = 0;
	uint8_t head[24];

	frames[0] = frames[1] = frames[2] = 0;
	while (pread(fd, head, sizeof(head), (off_t)(32 + n * FRAME_BYTES)) == (ssize_t)sizeof(head) &&
	       (head[0] | head[1] | head[2] | head[3])) {
		n++;
		if (head[4] | head[5] | head[6] | head[7]) {
			commits++;
			frames[0] = frames[1];
			frames[1] = frames[2];
			frames[2] = n;
		}
	}
	close(fd);
	ck_assert_uint_ge(commits, 3);
}

static size_t in_frame(size_t number, size_t at)
{
	return 32 + (number - 1) * FRAME_BYTES + at;
}

/* Commits that had been durable are gone for SQLite, without a word. */
START_TEST(a_byte_of_the_log_behind_which_commits_are_lost_is_found)
{
	size_t ends[3];

	leave_a_log(ends);
	expect_whole("a crash");
	for (size_t frame = 1; frame <= ends[0]; frame++) {
		size_t at = in_frame(frame, chance_below(&seed, FRAME_BYTES));
		uint8_t bits = some_bits();
		char *named = xasprintf("twinfs.db-wal, frame %zu: not what was written", frame);

		flip("twinfs.db-wal", at, bits);
		ck_assert_uint_gt(check(true).findings, 0);
		expect(named, "a byte of a frame");
		flip("twinfs.db-wal", at, bits);
		free(named);
	}
	for (size_t at = 0; at < 32; at++) {
		flip("twinfs.db-wal", at, 8);
		ck_assert_uint_gt(check(true).findings, 0);
		expect("twinfs.db-wal, its head: not what was written", "a byte of the head");
		flip("twinfs.db-wal", at, 8);
	}
	expect_whole("all of it was put back");
}
END_TEST

START_TEST(who_opens_such_a_store_is_told)
{
	struct volume_info info;
	size_t ends[3];

	leave_a_log(ends);
	flip("twinfs.db-wal", in_frame(ends[0], 500), 16);
	fx_open();
	volume_info(fx, &info);
	ck_assert_uint_eq(info.commits_lost, 2);
	ck_assert_uint_eq(fx_ino(INO_ROOT, "late-1"), 0);
	ck_assert_uint_eq(fx_ino(INO_ROOT, "late-2"), 0);
	read_all();
	fx_file(INO_ROOT, "afterwards");
	fx_reopen();
	volume_info(fx, &info);
	ck_assert_uint_eq(info.commits_lost, 0);
	ck_assert_uint_ne(fx_ino(INO_ROOT, "afterwards"), 0);
	ck_assert_int_eq(volume_close(fx), 0);
	fx = NULL;
	expect_whole("it went on");
}
END_TEST

/* While the log is open: its last commit is a value of which each byte is `byte`, in pages of its own. */
static uint64_t value_in_log(struct volume_options *opt, uint8_t byte)
{
	struct err err = ERR_INIT;
	uint8_t value[VALUE_BYTES];

	ck_assert_msg(volume_open(fx_dir, opt, &fx, &err) == 0, "%s", err.text);
	uint64_t ino = fx_file(INO_ROOT, "late");

	ck_assert_int_eq(volume_commit(fx), 0);
	memset(value, byte, sizeof(value));
	ck_assert_int_eq(volume_setxattr(fx, ino, "user.late", value, sizeof(value), 0), 0);
	ck_assert_int_eq(volume_commit(fx), 0);
	return ino;
}

/* A byte in the midst of a run of `byte` in the log. */
static void flip_in_log(uint8_t byte)
{
	struct buf log;
	size_t run = 0, at;

	buf_init(&log, 64u << 20);
	load("twinfs.db-wal", &log);
	for (at = 0; at < log.len_bytes && run < 3000; at++)
		run = log.data[at] == byte ? run + 1 : 0;
	ck_assert_uint_eq(run, 3000);
	flip("twinfs.db-wal", at - 1000, 2);
	buf_release(&log);
}

/* It would get a sum there by which it is right. */
START_TEST(a_byte_of_the_log_that_changes_while_it_is_open_is_not_moved_into_the_database)
{
	struct volume_options opt = { .fast_unsafe = true };
	uint8_t value[VALUE_BYTES];
	ssize_t n;

	value_in_log(&opt, 'v');
	flip_in_log('v');
	volume_close(fx);
	fx_open();
	n = volume_getxattr(fx, fx_ino(INO_ROOT, "late"), "user.late", value, sizeof(value));
	for (ssize_t i = 0; i < n; i++)
		ck_assert_uint_eq(value[i], 'v');
	ck_assert_int_eq(n, -ENODATA); /* the last commit of a log that is not whole */
	read_all();
	ck_assert_int_eq(volume_close(fx), 0);
	fx = NULL;
	expect_whole("it went on");
}
END_TEST

START_TEST(a_log_that_cannot_be_moved_lets_the_store_take_no_more_changes)
{
	struct volume_options opt = { .fast_unsafe = true, .commit_aside = true, .log_pages = 300 };
	uint64_t ino = value_in_log(&opt, 'w'), until_ms = clock_mono_ms() + 20000;
	char name[32];
	int code = 0;

	flip_in_log('w');
	for (int i = 0; code == 0 && clock_mono_ms() < until_ms; i++) {
		snprintf(name, sizeof(name), "user.n%d", i % 100);
		volume_setxattr(fx, ino, name, name, sizeof(name), 0);
		volume_commit(fx);
		free(volume_fault(fx, &code));
	}
	ck_assert_int_eq(code, -EUCLEAN);
	ck_assert_uint_ne(volume_damaged_page(fx), 0);
	ck_assert_int_lt(volume_setxattr(fx, ino, "user.last", "x", 1, 0), 0);
	read_all();
	volume_close(fx);
	fx = NULL;
	use();
}
END_TEST

/* What a power cut may leave is no damage: the last commit torn, or missing. */
START_TEST(a_log_of_which_the_last_commit_is_torn_is_whole)
{
	size_t ends[3];

	leave_a_log(ends);
	for (size_t frame = ends[1] + 1; frame <= ends[2]; frame++) {
		size_t at = in_frame(frame, chance_below(&seed, FRAME_BYTES));

		flip("twinfs.db-wal", at, 1);
		expect_whole("the last commit was torn");
		flip("twinfs.db-wal", at, 1);
	}
	flip("twinfs.db-wal", in_frame(ends[2], 5000 - DB_PAGE_BYTES), 1);
	fx_open();
	ck_assert_uint_ne(fx_ino(INO_ROOT, "late-1"), 0);
	read_all();
}
END_TEST

/* All of the log is in the database: its head may be torn, as it is when a log begins anew. */
START_TEST(a_log_that_is_moved_needs_no_head)
{
	size_t ends[3];
	char path[300];
	sqlite3 *db;

	leave_a_log(ends);
	snprintf(path, sizeof(path), "%s/twinfs.db", fx_dir);
	ck_assert_int_eq(store_sql_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_db_config(db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(db, "PRAGMA wal_checkpoint(PASSIVE)", NULL, NULL, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
	ck_assert_uint_gt(size_of("twinfs.db-wal"), 0);
	flip("twinfs.db-wal", 17, 8);
	expect_whole("the head of a log that is moved was torn");
	fx_open();
	ck_assert_uint_ne(fx_ino(INO_ROOT, "late-2"), 0);
}
END_TEST

/* The page is in the log, and it is that which counts: a checkpoint may have been cut in the other. */
START_TEST(a_page_that_the_log_has_may_be_torn_in_the_database)
{
	size_t ends[3];
	uint8_t head[4];
	int fd;

	leave_a_log(ends);
	fd = open_file("twinfs.db-wal", O_RDONLY);
	for (size_t frame = 1; frame <= ends[2]; frame++) {
		ck_assert(pread(fd, head, sizeof(head), (off_t)in_frame(frame, 0)) == (ssize_t)sizeof(head));
		size_t page = (size_t)head[2] << 8 | head[3];

		if (page * DB_PAGE_BYTES <= size_of("twinfs.db"))
			flip("twinfs.db", (page - 1) * DB_PAGE_BYTES + chance_below(&seed, DB_PAGE_BYTES), 0xff);
	}
	close(fd);
	expect_whole("a cut in a checkpoint");
	fx_open();
	ck_assert_uint_ne(fx_ino(INO_ROOT, "late-2"), 0);
	read_all();
	ck_assert_int_eq(volume_close(fx), 0);
	fx = NULL;
	expect_whole("it was opened and closed");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("flips");
	TCase *tc = tcase_create("flips");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, getenv("TWINFS_FLIPS") ? 0 : 60);
	tcase_add_test(tc, an_untouched_store_has_no_findings);
	tcase_add_test(tc, a_byte_of_any_page_is_found_and_the_page_is_named);
	tcase_add_test(tc, each_byte_of_the_header_is_found_and_refused);
	tcase_add_test(tc, what_is_read_of_a_damaged_database_is_right_or_an_error);
	tcase_add_test(tc, a_page_in_another_s_place_is_found);
	tcase_add_test(tc, of_a_free_page_it_is_said_that_it_is_free);
	tcase_add_test(tc, what_is_on_a_damaged_page_fails_and_nothing_else_does);
	tcase_add_test(tc, nothing_is_written_behind_a_page_that_could_not_be_read);
	tcase_add_test(tc, a_database_that_was_cut_is_found);
	tcase_add_test(tc, a_byte_of_any_block_that_is_owned_is_found);
	tcase_add_test(tc, a_byte_of_the_log_behind_which_commits_are_lost_is_found);
	tcase_add_test(tc, who_opens_such_a_store_is_told);
	tcase_add_test(tc, a_byte_of_the_log_that_changes_while_it_is_open_is_not_moved_into_the_database);
	tcase_add_test(tc, a_log_that_cannot_be_moved_lets_the_store_take_no_more_changes);
	tcase_add_test(tc, a_log_of_which_the_last_commit_is_torn_is_whole);
	tcase_add_test(tc, a_log_that_is_moved_needs_no_head);
	tcase_add_test(tc, a_page_that_the_log_has_may_be_torn_in_the_database);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
