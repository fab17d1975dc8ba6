/* SPDX-License-Identifier: MIT */
/*
 * The host fails the store: each kind of call in turn, the first one, the second, … (tests/disk.h), once or for good.
 * Whatever happens, the process lives, a program gets the right bytes or an error, and when the host is well again the
 * store is whole, as of the last group whose commit succeeded (or of the one whose commit failed last: its outcome is
 * not known, as with fsync(2)).
 */
#include "core/fsck.h"
#include "tests/data_fixture.h"
#include "tests/disk.h"
#include "tests/volume_text.h"

#define FILE_BYTES 50000u
/* More calls than the script makes of one kind. */
#define CALLS_MAX 100000u

static char dir[256];
static struct volume *vol;
static char *last_durable, *in_doubt;
static char label[160]; /* the fault, for messages */

static const struct fault_case {
	const char *name;
	struct disk_fault fault;
} cases[] = {
	{ "image: reads fail", { .calls = DISK_READ, .file = "image", .error = EIO } },
	{ "image: writes fail", { .calls = DISK_WRITE, .file = "image", .error = EIO } },
	{ "image: full", { .calls = DISK_WRITE, .file = "image", .error = ENOSPC } },
	{ "image: full in the middle", { .calls = DISK_WRITE, .file = "image", .error = ENOSPC, .short_bytes = 1000 } },
	{ "image: flushes fail", { .calls = DISK_SYNC, .file = "image", .error = EIO } },
	{ "image: cannot be opened", { .calls = DISK_OPEN, .file = "image", .error = EMFILE } },
	{ "database: reads fail", { .calls = DISK_READ, .file = "twinfs.db", .error = EIO } },
	{ "database: writes fail", { .calls = DISK_WRITE, .file = "twinfs.db", .error = EIO } },
	{ "database: full", { .calls = DISK_WRITE, .file = "twinfs.db", .error = ENOSPC } },
	{ "database: flushes fail", { .calls = DISK_SYNC, .file = "twinfs.db", .error = EIO } },
	{ "log: reads fail", { .calls = DISK_READ, .file = "-wal", .error = EIO } },
	{ "log: writes fail", { .calls = DISK_WRITE, .file = "-wal", .error = EIO } },
	{ "log: full", { .calls = DISK_WRITE, .file = "-wal", .error = ENOSPC } },
	{ "log: full in the middle", { .calls = DISK_WRITE, .file = "-wal", .error = ENOSPC, .short_bytes = 100 } },
	{ "log: read-only host", { .calls = DISK_WRITE | DISK_SYNC, .file = "-wal", .error = EROFS } },
	{ "log: flushes fail", { .calls = DISK_SYNC, .file = "-wal", .error = EIO } },
	{ "log: cannot be made", { .calls = DISK_OPEN | DISK_NAME, .file = "-wal", .error = EACCES } },
	{ "all: disk gone", { .calls = DISK_READ | DISK_WRITE | DISK_SYNC | DISK_OPEN | DISK_SIZE, .error = EIO } },
};

/* ---- the script ---- */

static void keep(char **where, char *text)
{
	free(*where);
	*where = text;
}

static char *state(void)
{
	char *text;

	disk_pause(true);
	text = volume_text(vol);
	disk_pause(false);
	return text;
}

static bool reads_fail;

/* What a program may be told: not success, and not what is not so. What SQLite cannot read it may call damaged. */
static bool refused(ssize_t rc)
{
	return rc == -EIO || rc == -ENOSPC || rc == -EROFS || (rc == -EUCLEAN && reads_fail);
}

static void expect(ssize_t rc)
{
	ck_assert_msg(rc >= 0 || refused(rc) || rc == -ENOENT, "%s: a call returns %zd", label, rc);
}

static void commit(void)
{
	char *now = state();
	int rc = volume_commit(vol);

	ck_assert_msg(rc == 0 || refused(rc), "%s: commit returns %d", label, rc);
	if (rc && strcmp(now, last_durable) == 0)
		free(now); /* it takes no changes */
	else
		keep(rc ? &in_doubt : &last_durable, now);
	if (!rc)
		keep(&in_doubt, NULL);
	if (rc) { /* what is seen now is what was durable before */
		now = state();
		ck_assert_msg(strcmp(now, last_durable) == 0, "%s: after a failed commit:\n%s\nnot\n%s", label, now,
		              last_durable);
		free(now);
	}
}

static void put(const char *name, uint8_t byte, uint64_t off)
{
	static const struct cred cred = { .uid = 0 };
	static uint8_t bytes[FILE_BYTES];
	struct attr a;
	int rc = volume_lookup(vol, INO_ROOT, name, &a);

	if (rc == -ENOENT)
		rc = volume_create(vol, INO_ROOT, name, S_IFREG | 0600, 0, NULL, &cred, &a);
	expect(rc);
	memset(bytes, byte, sizeof(bytes));
	if (rc == 0)
		expect(volume_write(vol, a.ino, bytes, sizeof(bytes), off, 0, NULL));
}

/* The bytes that any put may have left there, or an error. */
static void look(const char *name)
{
	static uint8_t bytes[4 * FILE_BYTES];
	struct attr a;
	int rc = volume_lookup(vol, INO_ROOT, name, &a);
	ssize_t n;

	expect(rc);
	n = rc ? rc : volume_read(vol, a.ino, bytes, sizeof(bytes), 0);
	expect(n);
	for (ssize_t i = 0; i < n; i++)
		ck_assert_msg(bytes[i] == 0 || (bytes[i] >= 'a' && bytes[i] <= 'e'), "%s: byte %zd is %u", label, i,
		              bytes[i]);
}

/* What is found at an open is the last durable group, or the one in doubt; from then on no other. */
static void take_state(void)
{
	char *text = state();

	ck_assert_msg(strcmp(text, last_durable) == 0 || (in_doubt && strcmp(text, in_doubt) == 0),
	              "%s: found\n%s\nnot\n%s\nnor\n%s", label, text, last_durable, in_doubt ? in_doubt : "-");
	keep(&last_durable, text);
	keep(&in_doubt, NULL);
}

static int reopen(void)
{
	struct err err = ERR_INIT;
	int rc;

	if (vol)
		expect(volume_close(vol));
	vol = NULL;
	rc = volume_open(dir, NULL, &vol, &err);
	if (rc)
		ck_assert_msg(err.code == rc && *err.text, "%s: no reason", label);
	else
		take_state();
	return rc;
}

static void script(void)
{
	struct attr small = { .size_bytes = 1000 }, a;

	if (reopen() != 0)
		return;
	put("one", 'a', 0);
	put("two", 'b', 3 * FILE_BYTES / 2);
	commit();
	put("one", 'c', 777);
	look("one");
	commit();
	expect(volume_rename(vol, INO_ROOT, "two", INO_ROOT, "one", 0));
	commit();
	if (volume_lookup(vol, INO_ROOT, "one", &a) == 0)
		expect(volume_setattr(vol, a.ino, SET_SIZE, &small, &a));
	put("three", 'd', 0);
	look("one");
	commit();
	if (reopen() != 0)
		return;
	look("three");
	put("three", 'e', 5000);
	expect(volume_unlink(vol, INO_ROOT, "one"));
	commit();
}

/* ---- the check ---- */

static void found(void *ctx, const char *text)
{
	(void)ctx;
	ck_abort_msg("%s: fsck: %s", label, text);
}

/* The host is well again. */
static void check_after(void)
{
	static const struct fsck_options opt = { .found = found };
	struct fsck_result r;
	struct err err = ERR_INIT;

	disk_fail(NULL);
	if (vol)
		volume_crash(vol);
	vol = NULL;
	ck_assert_msg(fsck_store(dir, &opt, &r, &err) == 0, "%s: %s", label, err_text(&err));
	ck_assert_msg(volume_open(dir, NULL, &vol, &err) == 0, "%s: %s", label, err_text(&err));
	take_state();
	put("after", 'a', 0);
	ck_assert_msg(volume_commit(vol) == 0, "%s: it does not go on", label);
	ck_assert_int_eq(volume_close(vol), 0);
	vol = NULL;
}

static void make_store(void)
{
	const char *base = getenv("TMPDIR");
	struct err err = ERR_INIT;

	if (!base)
		base = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";
	snprintf(dir, sizeof(dir), "%s/twinfs-faults-XXXXXX", base);
	ck_assert_ptr_nonnull(mkdtemp(dir));
	disk_watch(dir);
	ck_assert_msg(volume_format(dir, VOLUME_ID, "a", 1, 0, &err) == 0, "%s", err_text(&err));
	ck_assert_int_eq(volume_open(dir, NULL, &vol, &err), 0);
	keep(&last_durable, state());
	keep(&in_doubt, NULL);
	ck_assert_int_eq(volume_close(vol), 0);
	vol = NULL;
}

static void remove_store(void)
{
	disk_unwatch();
	disk_clear(dir);
	ck_assert_int_eq(rmdir(dir), 0);
}

/* False: the script does not make so many such calls. */
static bool run(const struct fault_case *c, uint64_t nth, bool for_good)
{
	struct disk_fault fault = c->fault;
	bool met;

	snprintf(label, sizeof(label), "%s, call %llu, %s", c->name, (unsigned long long)nth,
	         for_good ? "for good" : "once");
	reads_fail = fault.calls & DISK_READ;
	fault.nth = nth;
	fault.times = for_good ? 0 : fault.short_bytes ? 2 : 1;
	make_store();
	disk_fail(&fault);
	script();
	met = disk_calls() >= nth;
	check_after();
	remove_store();
	return met;
}

/* Each of the first calls, then ever fewer. */
START_TEST(a_host_that_fails_costs_no_more_than_what_was_not_committed)
{
	const struct fault_case *c = &cases[_i];
	uint64_t nth = 1, n_met = 0;
	bool all = getenv("TWINFS_SOAK_S") != NULL;

	for (; nth < CALLS_MAX; nth += all || nth < 5 ? 1 : nth * 2 / 3) {
		bool once = run(c, nth, false), for_good = run(c, nth, true);

		if (!once && !for_good)
			break;
		n_met++;
	}
	ck_assert_uint_gt(n_met, 0);
}
END_TEST

/* What the host's calls fail with, and what programs are told. */
static const struct {
	int error, code;
	const char *words;
} comings[] = {
	{ EROFS, -EROFS, "read-only" }, { ESTALE, -EIO, "errors" }, { EIO, -EIO, "errors" },
	{ ENOSPC, -ENOSPC, "full" },    { EDQUOT, -ENOSPC, "full" }, { ENODEV, -EIO, "errors" },
};

/* The same open volume, all the time. */
START_TEST(a_host_that_fails_and_is_well_again_now_and_then_costs_what_was_not_committed_each_time)
{
	const struct disk_fault fault = { .calls = DISK_WRITE | DISK_SYNC | DISK_SIZE, .nth = 1,
		                          .error = comings[_i].error };

	snprintf(label, sizeof(label), "%s comes and goes", strerror(comings[_i].error));
	make_store();
	ck_assert_int_eq(reopen(), 0);
	for (int round = 0; round < 4; round++) {
		struct volume_info info;
		char *why, *now;
		int code = 0;

		put("one", (uint8_t)('a' + round), (uint64_t)round * 777);
		commit();
		disk_fail(&fault);
		put("two", 'd', 0);
		put("one", 'e', 0);
		expect(volume_unlink(vol, INO_ROOT, "one"));
		commit();
		ck_assert_int_eq(volume_commit(vol), comings[_i].code);
		volume_info(vol, &info);
		why = volume_fault(vol, &code);
		ck_assert_msg(info.read_only && code == comings[_i].code && why && strstr(why, comings[_i].words),
			      "%s: %d %s", label, code, why ? why : "no fault");
		free(why);
		look("one");
		ck_assert_int_eq(volume_recover(vol), comings[_i].code); /* not yet */
		disk_fail(NULL);
		ck_assert_int_eq(volume_recover(vol), 0);
		now = state();
		ck_assert_str_eq(now, last_durable);
		free(now);
		volume_info(vol, &info);
		ck_assert(!info.read_only && !volume_fault(vol, NULL));
		keep(&in_doubt, NULL); /* a commit that failed is not found later: the volume has gone on */
	}
	check_after();
	remove_store();
}
END_TEST

/* Nobody waits for a commit aside: its failure is the next fsync's, once. */
START_TEST(a_commit_aside_that_fails_is_told_by_the_next_fsync)
{
	struct volume_options opt = { .commit_aside = true, .group_max_bytes = FILE_BYTES - 2 * BLOCK_BYTES };
	struct disk_fault flush = { .calls = DISK_SYNC, .file = "image", .nth = 1, .error = EIO };
	static const uint8_t bytes[2 * FILE_BYTES]; /* too many for the log: core/logged.h */
	struct volume_info info;
	struct err err = ERR_INIT;
	struct attr a;

	snprintf(label, sizeof(label), "aside");
	make_store();
	ck_assert_int_eq(volume_open(dir, &opt, &vol, &err), 0);
	put("one", 'a', 0);
	commit();
	ck_assert_int_eq(volume_lookup(vol, INO_ROOT, "one", &a), 0);
	volume_ref(vol, a.ino);
	disk_fail(&flush);
	expect(volume_write(vol, a.ino, bytes, sizeof(bytes), 0, 0, NULL));
	do {
		volume_info(vol, &info);
		usleep(1000);
	} while (info.losses == 0);
	ck_assert_int_eq(volume_lost(vol, a.ino), -EIO);
	ck_assert_int_eq(volume_lost(vol, a.ino), 0);
	char *now = state();

	ck_assert_str_eq(now, last_durable);
	free(now);
	check_after();
	remove_store();
}
END_TEST

START_TEST(a_format_that_fails_anywhere_can_be_done_again)
{
	struct disk_fault fault = { .calls = DISK_READ | DISK_WRITE | DISK_SYNC | DISK_OPEN | DISK_SIZE | DISK_NAME,
		                    .error = EIO };
	bool met = true;

	for (fault.nth = 1; met; fault.nth += fault.nth < 16 ? 1 : fault.nth / 8) {
		for (fault.times = 0; fault.times < 2; fault.times++) {
			struct err err = ERR_INIT;
			int rc;

			make_store();
			volume_unmake(dir);
			disk_fail(&fault);
			rc = volume_format(dir, VOLUME_ID, "a", 1, 0, &err);
			met = disk_calls() >= fault.nth;
			disk_fail(NULL);
			if (rc) {
				ck_assert_msg(*err.text, "call %llu: no reason", (unsigned long long)fault.nth);
				err = (struct err)ERR_INIT;
				rc = volume_format(dir, VOLUME_ID, "a", 1, 0, &err);
			}
			/* -EEXIST: only the last flush failed, and what was put in place could not be taken back */
			ck_assert_msg(rc == 0 || (rc == -EEXIST && fault.times == 0), "call %llu: %s",
			              (unsigned long long)fault.nth, err_text(&err));
			snprintf(label, sizeof(label), "format, call %llu", (unsigned long long)fault.nth);
			check_after();
			remove_store();
		}
	}
	ck_assert_uint_gt(fault.nth, 20);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("faults");
	TCase *tc = tcase_create("faults");

	tcase_set_timeout(tc, getenv("TWINFS_SOAK_S") ? 3600 : 120);
	tcase_add_loop_test(tc, a_host_that_fails_costs_no_more_than_what_was_not_committed, 0, (int)ARRAY_LEN(cases));
	tcase_add_loop_test(tc, a_host_that_fails_and_is_well_again_now_and_then_costs_what_was_not_committed_each_time,
			    0, (int)ARRAY_LEN(comings));
	tcase_add_test(tc, a_commit_aside_that_fails_is_told_by_the_next_fsync);
	tcase_add_test(tc, a_format_that_fails_anywhere_can_be_done_again);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
