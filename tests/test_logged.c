/* SPDX-License-Identifier: MIT */
/*
 * Small groups are durable with one flush, of the database's log, and their bytes reach the image later or at the next
 * open (core/logged.h). What a power cut leaves of them: tests/test_power.c.
 */
#include <fcntl.h>

#include "core/fsck.h"
#include "tests/data_fixture.h"
#include "tests/disk.h"
#include "tests/store_sql.h"

static char dir[256];
static struct volume *vol;

static void open_store(void)
{
	struct err err = ERR_INIT;

	ck_assert_msg(volume_open(dir, NULL, &vol, &err) == 0, "%s", err_text(&err));
}

static void setup(void)
{
	const char *base = getenv("TMPDIR");
	struct err err = ERR_INIT;

	if (!base)
		base = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";
	snprintf(dir, sizeof(dir), "%s/twinfs-logged-XXXXXX", base);
	ck_assert_ptr_nonnull(mkdtemp(dir));
	disk_watch(dir);
	ck_assert_msg(volume_format(dir, VOLUME_ID, "a", 1, 0, &err) == 0, "%s", err_text(&err));
	open_store();
}

static void teardown(void)
{
	if (vol)
		volume_crash(vol);
	vol = NULL;
	disk_unwatch();
	disk_clear(dir);
	ck_assert_int_eq(rmdir(dir), 0);
}

static void close_store(void)
{
	ck_assert_int_eq(volume_close(vol), 0);
	vol = NULL;
}

static uint64_t make(const char *name)
{
	static const struct cred cred = { .uid = 0 };
	struct attr a;

	ck_assert_int_eq(volume_create(vol, INO_ROOT, name, S_IFREG | 0600, 0, NULL, &cred, &a), 0);
	return a.ino;
}

static uint64_t find(const char *name)
{
	struct attr a;

	ck_assert_int_eq(volume_lookup(vol, INO_ROOT, name, &a), 0);
	return a.ino;
}

/* Blocks [first, first + n) of the file get this byte, and are durable. */
static void put(uint64_t ino, uint8_t byte, uint64_t first, size_t n)
{
	uint8_t *bytes = xmalloc(n * BLOCK_BYTES);

	memset(bytes, byte, n * BLOCK_BYTES);
	ck_assert_int_eq(volume_write(vol, ino, bytes, n * BLOCK_BYTES, first * BLOCK_BYTES, 0, NULL),
	                 (ssize_t)(n * BLOCK_BYTES));
	ck_assert_int_eq(volume_commit(vol), 0);
	free(bytes);
}

static void expect(uint64_t ino, uint8_t byte, uint64_t first, size_t n)
{
	uint8_t block[BLOCK_BYTES], want[BLOCK_BYTES];

	memset(want, byte, sizeof(want));
	for (uint64_t b = first; b < first + n; b++) {
		ck_assert_int_eq(volume_read(vol, ino, block, sizeof(block), b * BLOCK_BYTES), (ssize_t)sizeof(block));
		ck_assert_msg(memcmp(block, want, sizeof(block)) == 0, "block %llu", (unsigned long long)b);
	}
}

/* Flushes of a file since event `from`. */
static unsigned flushes(const char *file, size_t from)
{
	unsigned n = 0;

	for (size_t i = from; i < disk_events(); i++) {
		char text[128];

		disk_event_text(i, text, sizeof(text));
		n += disk_event_is_sync(i) && strstr(text, file);
	}
	return n;
}

/* The host forgets all that was written to the image behind its header, as if it had never been flushed. */
static void lose_image(void)
{
	char *path = xasprintf("%s/image", dir);

	ck_assert_int_eq(truncate(path, BLOCK_BYTES), 0);
	free(path);
}

static void found(void *ctx, const char *text)
{
	(void)ctx;
	ck_abort_msg("fsck: %s", text);
}

static void fsck(void)
{
	static const struct fsck_options opt = { .found = found };
	struct fsck_result r;
	struct err err = ERR_INIT;

	ck_assert_msg(fsck_store(dir, &opt, &r, &err) == 0, "%s", err_text(&err));
}

START_TEST(a_small_commit_is_one_flush_and_a_large_one_flushes_the_image_too)
{
	uint64_t ino = make("f");
	size_t from;

	put(ino, 'a', 0, 1);
	from = disk_events();
	put(ino, 'b', 0, LOGGED_GROUP_BLOCKS);
	ck_assert_uint_eq(flushes("image", from), 0);
	ck_assert_uint_eq(flushes("twinfs.db-wal", from), 1);
	from = disk_events();
	put(ino, 'c', 0, LOGGED_GROUP_BLOCKS + 1);
	ck_assert_uint_eq(flushes("image", from), 1);
	from = disk_events();
	make("g"); /* no bytes at all */
	ck_assert_int_eq(volume_commit(vol), 0);
	ck_assert_uint_eq(flushes("image", from), 0);
}
END_TEST

/* Of a group that writes much and keeps little, what it keeps counts, and what it wrote last. */
START_TEST(what_a_group_writes_over_itself_is_logged_as_it_was_in_the_end)
{
	uint8_t bytes[3 * BLOCK_BYTES];
	uint64_t ino = make("f");

	for (int i = 0; i < 8; i++) {
		memset(bytes, 'a' + i, sizeof(bytes));
		ck_assert_int_eq(volume_write(vol, ino, bytes, sizeof(bytes), 0, 0, NULL), (ssize_t)sizeof(bytes));
		ck_assert_int_eq(volume_setattr(vol, ino, SET_SIZE, &(struct attr){ 0 }, &(struct attr){ 0 }), 0);
	}
	put(ino, 'x', 0, 3);
	volume_crash(vol);
	lose_image();
	open_store();
	expect(find("f"), 'x', 0, 3);
}
END_TEST

START_TEST(what_only_the_log_has_is_found_by_the_next_open_and_by_fsck)
{
	uint64_t ino = make("f");

	put(ino, 'a', 0, 3);
	put(ino, 'b', 1, 1); /* the block of before is free now, and may be taken again */
	put(ino, 'c', 7, 2);
	put(ino, 'd', 1, 1);
	volume_crash(vol);
	lose_image();
	fsck();
	for (int i = 0; i < 2; i++) { /* what an open has mended may be lost again as long as nothing was committed */
		open_store();
		ino = find("f");
		expect(ino, 'a', 0, 1);
		expect(ino, 'd', 1, 1);
		expect(ino, 'a', 2, 1);
		expect(ino, 'c', 7, 2);
		volume_crash(vol);
	}
	open_store();
	put(find("f"), 'e', 0, 1);
	close_store();
	fsck();
}
END_TEST

START_TEST(when_the_slots_are_used_up_the_image_is_flushed_and_they_begin_anew)
{
	uint64_t ino = make("f");
	size_t from = disk_events();
	unsigned n = 0;

	for (; flushes("image", from) == 0; n++) {
		ck_assert_uint_le(n, LOGGED_SLOTS + 1);
		put(ino, (uint8_t)n, n, 1);
	}
	ck_assert_uint_eq(n, LOGGED_SLOTS + 1);
	from = disk_events();
	put(ino, 'z', 1000, 1);
	ck_assert_uint_eq(flushes("image", from), 0);
	volume_crash(vol);
	open_store();
	ino = find("f");
	for (unsigned i = 0; i < n; i++)
		expect(ino, (uint8_t)i, i, 1);
	expect(ino, 'z', 1000, 1);
}
END_TEST

START_TEST(a_store_that_was_closed_has_all_of_it_on_the_image)
{
	char *path = xasprintf("%s/twinfs.db", dir);
	uint64_t ino = make("f");
	sqlite3 *db;

	put(ino, 'a', 0, 4);
	close_store();
	ck_assert_int_eq(store_sql_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(db, "DELETE FROM logged", NULL, NULL, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_changes(db), 4);
	ck_assert_int_eq(sqlite3_close(db), SQLITE_OK);
	free(path);
	open_store();
	expect(find("f"), 'a', 0, 4);
}
END_TEST

/* A flush that fails may have dropped what earlier commits, which were told to be durable, gave the image. */
START_TEST(what_the_host_dropped_in_a_flush_that_failed_is_written_again)
{
	struct disk_fault fault = { .calls = DISK_SYNC, .file = "image", .nth = 1, .times = 1, .error = EIO };
	uint64_t ino = make("f");
	struct volume_info info;

	put(ino, 'a', 0, 4);
	put(ino, 'b', 2, 1);
	disk_fail(&fault);
	uint8_t *bytes = xcalloc(40, BLOCK_BYTES);

	ck_assert_int_gt(volume_write(vol, ino, bytes, (size_t)40 * BLOCK_BYTES, 100 * BLOCK_BYTES, 0, NULL), 0);
	free(bytes);
	ck_assert_int_eq(volume_commit(vol), -EIO);
	lose_image();
	ck_assert_int_eq(volume_recover(vol), 0);
	volume_info(vol, &info);
	ck_assert(!info.read_only);
	expect(ino, 'a', 0, 2);
	expect(ino, 'b', 2, 1);
	expect(ino, 'a', 3, 1);
	put(ino, 'c', 0, 1);
	close_store();
	fsck();
}
END_TEST

/* Before that, small groups must not go on as if the image were well. */
START_TEST(after_a_flush_that_failed_a_small_commit_fails_too)
{
	struct disk_fault fault = { .calls = DISK_SYNC, .file = "image", .nth = 1, .times = 1, .error = EIO };
	uint64_t ino = make("f");
	uint8_t block[BLOCK_BYTES] = { 1 };

	put(ino, 'a', 0, 1);
	ck_assert_int_gt(volume_write(vol, ino, block, sizeof(block), 0, 0, NULL), 0);
	disk_fail(&fault);
	ck_assert_int_lt(data_store_sync(vol), 0); /* of somebody who stages */
	ck_assert_int_eq(volume_commit(vol), -EIO);
	ck_assert_int_eq(volume_recover(vol), 0);
	expect(ino, 'a', 0, 1);
}
END_TEST

/* The host has lost a block between the write and the commit: nobody is told that it is durable. */
START_TEST(a_block_that_cannot_be_read_back_is_not_logged)
{
	uint64_t ino = make("f");
	uint8_t block[BLOCK_BYTES] = { 1 };
	size_t from;

	ck_assert_int_eq(volume_commit(vol), 0);
	ck_assert_int_gt(volume_write(vol, ino, block, sizeof(block), 0, 0, NULL), 0);
	lose_image();
	from = disk_events();
	volume_commit(vol);
	ck_assert_uint_eq(flushes("image", from), 1); /* which would say so, on a disk */
	volume_crash(vol);
	vol = NULL;
}
END_TEST

/* A sector that was being written when power was lost may hold anything; the log has the page still. */
START_TEST(a_first_page_that_was_being_written_in_a_checkpoint_is_taken_from_the_log)
{
	char *path = xasprintf("%s/twinfs.db", dir);
	uint8_t rubbish[512];
	char name[16];

	for (int i = 0; i < 300; i++) { /* the database grows, which is in its first page */
		snprintf(name, sizeof(name), "f%d", i);
		make(name);
	}
	ck_assert_int_eq(volume_commit(vol), 0);
	volume_crash(vol);
	vol = NULL;
	memset(rubbish, 0xa5, sizeof(rubbish));
	int fd = open(path, O_WRONLY);

	ck_assert_int_eq(pwrite(fd, rubbish, sizeof(rubbish), 0), (int)sizeof(rubbish));
	close(fd);
	free(path);
	fsck();
	open_store();
	ck_assert_uint_ne(find("f299"), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("logged");
	TCase *tc = tcase_create("logged");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_small_commit_is_one_flush_and_a_large_one_flushes_the_image_too);
	tcase_add_test(tc, what_a_group_writes_over_itself_is_logged_as_it_was_in_the_end);
	tcase_add_test(tc, what_only_the_log_has_is_found_by_the_next_open_and_by_fsck);
	tcase_add_test(tc, when_the_slots_are_used_up_the_image_is_flushed_and_they_begin_anew);
	tcase_add_test(tc, a_store_that_was_closed_has_all_of_it_on_the_image);
	tcase_add_test(tc, what_the_host_dropped_in_a_flush_that_failed_is_written_again);
	tcase_add_test(tc, after_a_flush_that_failed_a_small_commit_fails_too);
	tcase_add_test(tc, a_block_that_cannot_be_read_back_is_not_logged);
	tcase_add_test(tc, a_first_page_that_was_being_written_in_a_checkpoint_is_taken_from_the_log);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
