/* SPDX-License-Identifier: MIT */
/*
 * The database's log is moved into the database by a thread of its own (core/log_thread.h). What a power cut leaves of
 * that: tests/test_power.c.
 */
#include <errno.h>
#include <sys/wait.h>

#include "core/fsck.h"
#include "tests/data_fixture.h"
#include "tests/disk.h"

#define LOG_PAGES 64u
#define PAGE_OF_LOG_BYTES 4120u

static char dir[256];
static struct volume *vol;

static void open_store(void)
{
	struct volume_options opt = { .commit_aside = true, .log_pages = LOG_PAGES };
	struct err err = ERR_INIT;

	ck_assert_msg(volume_open(dir, &opt, &vol, &err) == 0, "%s", err_text(&err));
}

static void setup(void)
{
	const char *base = getenv("TMPDIR");
	struct err err = ERR_INIT;

	if (!base)
		base = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";
	snprintf(dir, sizeof(dir), "%s/twinfs-log-XXXXXX", base);
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
	disk_fail(NULL);
	disk_unwatch();
	disk_clear(dir);
	ck_assert_int_eq(rmdir(dir), 0);
}

static void make(int first, int end)
{
	static const struct cred cred = { .uid = 0 };
	struct attr a;
	char name[16];

	for (int i = first; i < end; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		ck_assert_int_eq(volume_create(vol, INO_ROOT, name, S_IFREG | 0600, 0, NULL, &cred, &a), 0);
	}
}

static void expect(int end)
{
	struct attr a;
	char name[16];

	for (int i = 0; i < end; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		ck_assert_msg(volume_lookup(vol, INO_ROOT, name, &a) == 0, "%s", name);
	}
}

static void found(void *ctx, const char *text)
{
	(void)ctx;
	ck_abort_msg("fsck: %s", text);
}

static void crash_and_look(int end)
{
	static const struct fsck_options opt = { .found = found };
	struct fsck_result r;
	struct err err = ERR_INIT;

	volume_crash(vol);
	vol = NULL;
	ck_assert_msg(fsck_store(dir, &opt, &r, &err) == 0, "%s", err_text(&err));
	open_store();
	expect(end);
}

/* Writes to the database itself since event `from`. */
static size_t database_writes(size_t from)
{
	size_t n = 0;

	for (size_t i = from; i < disk_events(); i++) {
		char text[128];

		disk_event_text(i, text, sizeof(text));
		n += strncmp(text, "write", 5) == 0 && strstr(text, "twinfs.db") && !strstr(text, "-wal");
	}
	return n;
}

static unsigned left(void)
{
	volume_lock(vol);
	unsigned n = db_log_left(vol->db);

	volume_unlock(vol);
	return n;
}

/* The thread has done what it can, at the latest after some seconds. */
static unsigned left_in_the_end(unsigned enough)
{
	for (int i = 0; i < 5000 && left() > enough; i++)
		usleep(1000);
	return left();
}

START_TEST(a_commit_leaves_the_log_to_the_thread)
{
	size_t from;

	make(0, 3000);
	from = disk_events();
	volume_lock(vol);
	ck_assert_int_eq(group_commit_locked(vol), 0);
	ck_assert_uint_gt(db_log_left(vol->db), LOG_PAGES);
	ck_assert_uint_eq(database_writes(from), 0);
	volume_unlock(vol);
	ck_assert_uint_eq(left_in_the_end(0), 0);
	ck_assert_uint_gt(database_writes(from), LOG_PAGES);
	crash_and_look(3000);
}
END_TEST

START_TEST(without_it_the_commit_moves_the_log)
{
	size_t from;

	volume_crash(vol);
	ck_assert_int_eq(volume_open(dir, &(struct volume_options){ .log_pages = LOG_PAGES }, &vol, NULL), 0);
	make(0, 3000);
	from = disk_events();
	ck_assert_int_eq(volume_commit(vol), 0);
	ck_assert_uint_gt(database_writes(from), LOG_PAGES);
	ck_assert_uint_eq(left(), 0);
}
END_TEST

/* All of them are moved while a group is open, or nearly: it is up to the commits that the log begins anew. */
START_TEST(the_log_begins_anew_however_closely_commits_follow_each_other)
{
	char *path = xasprintf("%s/twinfs.db-wal", dir);
	struct stat st;

	for (int i = 0; i < 2000; i++) {
		make(i, i + 1);
		ck_assert_int_eq(volume_commit(vol), 0);
	}
	ck_assert_int_eq(stat(path, &st), 0);
	/* Each is six pages and more. With the zeros that are put ahead. */
	ck_assert_int_lt(st.st_size, 2000 * 6 * PAGE_OF_LOG_BYTES / 4);
	free(path);
	crash_and_look(2000);
}
END_TEST

START_TEST(a_database_that_takes_no_writes_fails_no_commit)
{
	int n = 0;

	disk_fail(&(struct disk_fault){ .calls = DISK_WRITE, .file = "twinfs.db", .nth = 1, .times = 0, .error = EIO });
	do { /* so long that commits try it, too */
		make(n, n + 50);
		n += 50;
		ck_assert_int_eq(volume_commit(vol), 0);
	} while (left() <= 8 * LOG_PAGES);
	disk_fail(NULL);
	make(n, n + 1);
	ck_assert_int_eq(volume_commit(vol), 0);
	ck_assert_uint_le(left_in_the_end(1), 1);
	crash_and_look(n + 1);
}
END_TEST

/* In a process that knows nothing of what SQLite holds in this one. */
static int look_from_outside(const char *path, int go_on)
{
	sqlite3 *other = NULL;
	char one;

	if (read(go_on, &one, 1) != 1 || sqlite3_open_v2(path, &other, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK)
		return 2;
	return sqlite3_exec(other, "SELECT count(*) FROM inode", NULL, NULL, NULL) == SQLITE_BUSY ? 0 : 1;
}

START_TEST(the_database_is_nobody_else_s_meanwhile)
{
	char *path = xasprintf("%s/twinfs.db", dir);
	int go_on[2], status;
	pid_t pid;

	volume_crash(vol);
	vol = NULL;
	ck_assert_int_eq(pipe(go_on), 0);
	pid = fork();
	if (pid == 0)
		_exit(look_from_outside(path, go_on[0]));
	open_store();
	make(0, 3000);
	ck_assert_int_eq(volume_commit(vol), 0);
	ck_assert_uint_eq(left_in_the_end(0), 0);
	ck_assert_int_eq(write(go_on[1], "1", 1), 1);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	close(go_on[0]);
	close(go_on[1]);
	free(path);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("log_thread");
	TCase *tc = tcase_create("log_thread");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_commit_leaves_the_log_to_the_thread);
	tcase_add_test(tc, without_it_the_commit_moves_the_log);
	tcase_add_test(tc, the_log_begins_anew_however_closely_commits_follow_each_other);
	tcase_add_test(tc, a_database_that_takes_no_writes_fails_no_commit);
	tcase_add_test(tc, the_database_is_nobody_else_s_meanwhile);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
