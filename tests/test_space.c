/* SPDX-License-Identifier: MIT */
/* A host that is full or fails, and what the volume does about it; limits of size; room given back. */
#include "tests/volume_fixture.h"

#include <signal.h>
#include <sys/resource.h>

/* Files of this process cannot grow beyond the limit: as on a disk that is full or broken. */
static void limit_file_size(rlim_t limit_bytes)
{
	struct rlimit limit = { limit_bytes, RLIM_INFINITY };

	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static struct notices {
	size_t n_entry, n_everything;
	char name[16];
} seen;

static void see_notices(void *ctx, const struct notice *list, size_t n)
{
	(void)ctx;
	for (size_t i = 0; i < n; i++) {
		seen.n_entry += list[i].kind == NOTICE_ENTRY;
		seen.n_everything += list[i].kind == NOTICE_EVERYTHING;
		if (list[i].kind == NOTICE_ENTRY)
			snprintf(seen.name, sizeof(seen.name), "%.15s", list[i].name);
	}
}

/* Some files, a change of `f`, and no way to commit them. */
static void lose_a_group(uint64_t f)
{
	char name[16];

	for (int i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "%d", i);
		fx_file(INO_ROOT, name);
	}
	fx_write(f, "two");
	limit_file_size(4096);
	ck_assert_int_eq(volume_commit(fx), -ENOSPC);
}

static uint64_t one_durable_file(void)
{
	uint64_t f = fx_file(INO_ROOT, "f");

	volume_ref(fx, f);
	fx_write(f, "one");
	ck_assert_int_eq(volume_commit(fx), 0);
	return f;
}

START_TEST(a_failed_commit_leaves_the_last_group_and_refuses_changes_while_the_host_fails)
{
	struct volume_info info;
	struct attr a, set = { .mode = 0600 };
	uint64_t f = one_durable_file();
	int code;
	char *why;

	lose_a_group(f);
	why = volume_fault(fx, &code);
	ck_assert_int_eq(code, -ENOSPC);
	ck_assert_ptr_nonnull(strstr(why, "commit failed"));
	free(why);
	volume_info(fx, &info);
	ck_assert(info.read_only);
	ck_assert_uint_eq(info.losses, 1);
	ck_assert_uint_eq(info.committed, 1);
	ck_assert_int_eq(volume_recover(fx), -ENOSPC);
	ck_assert_int_eq(volume_create(fx, INO_ROOT, "new", S_IFREG, 0, NULL, &fx_cred, &a), -ENOSPC);
	ck_assert_int_eq(volume_setattr(fx, f, SET_MODE, &set, &a), -ENOSPC);
	ck_assert_int_eq(volume_commit(fx), -ENOSPC);
	fx_expect(f, "one");
	ck_assert_uint_eq(fx_ino(INO_ROOT, "0"), 0);

	ck_assert_int_eq(volume_close(fx), -ENOSPC);
	limit_file_size(RLIM_INFINITY);
	fx_open();
	fx_expect(f, "one");
	ck_assert_uint_eq(fx_ino(INO_ROOT, "0"), 0);
	fx_file(INO_ROOT, "0");
	ck_assert_int_eq(volume_commit(fx), 0);
}
END_TEST

START_TEST(a_volume_goes_on_by_itself_when_the_host_is_well_again)
{
	struct volume_info info;
	uint64_t f = one_durable_file(), g;
	char *why;

	lose_a_group(f);
	limit_file_size(RLIM_INFINITY);
	ck_assert_int_eq(volume_recover(fx), 0);
	why = volume_fault(fx, NULL);
	ck_assert_ptr_null(why);
	fx_expect(f, "one");
	g = fx_file(INO_ROOT, "g");
	fx_write(g, "three");
	ck_assert_int_eq(volume_commit(fx), 0);
	fx_file(INO_ROOT, "never");
	fx_reopen_after_crash();
	volume_info(fx, &info);
	ck_assert_uint_eq(info.committed, 2);
	fx_expect(f, "one");
	fx_expect(fx_ino(INO_ROOT, "g"), "three");
	ck_assert_uint_eq(fx_ino(INO_ROOT, "0"), 0);
	ck_assert_uint_eq(fx_ino(INO_ROOT, "never"), 0);
}
END_TEST

START_TEST(a_crash_after_a_failed_commit_does_not_bring_the_lost_group_back)
{
	uint64_t f = one_durable_file();

	lose_a_group(f);
	limit_file_size(RLIM_INFINITY);
	ck_assert_int_eq(volume_recover(fx), 0);
	fx_reopen_after_crash();
	fx_expect(fx_ino(INO_ROOT, "f"), "one");
	ck_assert_uint_eq(fx_ino(INO_ROOT, "0"), 0);
}
END_TEST

START_TEST(the_next_fsync_of_a_file_tells_once_that_changes_were_lost)
{
	uint64_t f = one_durable_file(), quiet = fx_file(INO_ROOT, "quiet");

	volume_ref(fx, quiet);
	ck_assert_int_eq(volume_commit(fx), 0);
	lose_a_group(f);
	limit_file_size(RLIM_INFINITY);
	ck_assert_int_eq(volume_recover(fx), 0);
	ck_assert_int_eq(volume_commit(fx), 0);
	ck_assert_int_eq(volume_lost(fx, f), -ENOSPC);
	ck_assert_int_eq(volume_lost(fx, f), 0);
	ck_assert_int_eq(volume_lost(fx, quiet), 0);
}
END_TEST

START_TEST(the_kernel_is_told_to_forget_a_lost_group)
{
	uint64_t f = one_durable_file();

	seen = (struct notices){ 0 };
	volume_set_notice(fx, see_notices, NULL, NULL);
	lose_a_group(f);
	limit_file_size(RLIM_INFINITY);
	ck_assert_uint_eq(seen.n_everything, 1);
	ck_assert_uint_eq(seen.n_entry, 500);
	ck_assert_str_eq(seen.name, "499");
	volume_set_notice(fx, NULL, NULL, NULL);
}
END_TEST

START_TEST(a_peers_group_that_cannot_be_committed_loses_nothing_of_ours)
{
	struct volume_info info;
	uint64_t f;

	fx_pair(ROLE_SECONDARY);
	f = one_durable_file();
	seen = (struct notices){ 0 };
	volume_set_notice(fx, see_notices, NULL, NULL);
	ck_assert_int_eq(volume_apply_begin(fx), 0);
	for (int i = 0; i < 3000; i++) {
		char key[16];

		snprintf(key, sizeof(key), "k%d", i);
		ck_assert_int_eq(setting_put(fx, key, "a value of some length, so that pages are filled"), 0);
	}
	limit_file_size(4096);
	ck_assert_int_eq(volume_apply_commit(fx, 7), -ENOSPC);
	limit_file_size(RLIM_INFINITY);
	ck_assert_int_eq(volume_recover(fx), 0);
	volume_info(fx, &info);
	ck_assert_uint_eq(info.losses, 0);
	ck_assert_uint_eq(info.applied, 0);
	ck_assert_uint_eq(seen.n_everything, 0);
	ck_assert_int_eq(volume_lost(fx, f), 0);
	ck_assert_ptr_null(volume_setting_get(fx, "k1"));
	volume_set_notice(fx, NULL, NULL, NULL);
}
END_TEST

START_TEST(an_unlinked_file_let_go_in_a_lost_group_is_gone_after_all)
{
	uint64_t f = one_durable_file();
	struct attr a;

	ck_assert_int_eq(volume_unlink(fx, INO_ROOT, "f"), 0);
	ck_assert_int_eq(volume_commit(fx), 0);
	for (int i = 0; i < 500; i++) {
		char name[16];

		snprintf(name, sizeof(name), "%d", i);
		fx_file(INO_ROOT, name);
	}
	volume_unref(fx, f, 1);
	limit_file_size(4096);
	ck_assert_int_eq(volume_commit(fx), -ENOSPC);
	limit_file_size(RLIM_INFINITY);
	ck_assert_int_eq(volume_getattr(fx, f, &a), 0);
	ck_assert_int_eq(volume_recover(fx), 0);
	ck_assert_int_eq(volume_commit(fx), 0);
	ck_assert_int_eq(volume_getattr(fx, f, &a), -ENOENT);
}
END_TEST

START_TEST(a_store_that_was_moved_takes_no_changes_until_it_is_back)
{
	char moved[300], *why;
	uint64_t f = one_durable_file();
	struct attr a;

	snprintf(moved, sizeof(moved), "%s.moved", fx_dir);
	ck_assert_int_eq(volume_recover(fx), 0);
	fx_write(f, "two");
	ck_assert_int_eq(rename(fx_dir, moved), 0);
	ck_assert_int_eq(volume_recover(fx), -EIO);
	why = volume_fault(fx, NULL);
	ck_assert_ptr_nonnull(strstr(why, "no longer there"));
	free(why);
	ck_assert_int_eq(volume_create(fx, INO_ROOT, "new", S_IFREG, 0, NULL, &fx_cred, &a), -EIO);
	fx_expect(f, "two");
	ck_assert_int_eq(rename(moved, fx_dir), 0);
	ck_assert_int_eq(volume_recover(fx), 0);
	fx_file(INO_ROOT, "new");
	ck_assert_int_eq(volume_commit(fx), 0);
	fx_expect(f, "two");
}
END_TEST

/* ---- space ---- */

static void fill(uint64_t ino, size_t mib)
{
	char *buf = xcalloc(1, 1 << 20);

	memset(buf, 7, 1 << 20);
	for (size_t i = 0; i < mib; i++)
		ck_assert_int_eq(volume_write(fx, ino, buf, 1 << 20, i << 20, 0, NULL), 1 << 20);
	free(buf);
}

START_TEST(a_limit_can_be_set_and_lifted_and_is_kept)
{
	struct volume_space s;
	struct err err = ERR_INIT;

	ck_assert_int_eq(volume_resize(fx, 8 << 20, &err), 0);
	volume_space(fx, &s);
	ck_assert_uint_eq(s.total_bytes, 8 << 20);
	fx_reopen();
	volume_space(fx, &s);
	ck_assert_uint_eq(s.size_bytes, 8 << 20);
	ck_assert_int_eq(volume_resize(fx, 0, &err), 0);
	volume_space(fx, &s);
	ck_assert_uint_eq(s.size_bytes, 0);
	ck_assert_uint_gt(s.avail_bytes, 8 << 20);
}
END_TEST

START_TEST(growing_makes_room_at_once)
{
	struct err err = ERR_INIT;
	uint64_t f = fx_file(INO_ROOT, "f");
	char *buf = xcalloc(1, 1 << 20);

	ck_assert_int_eq(volume_resize(fx, 4 << 20, &err), 0);
	fill(f, 3);
	ck_assert_int_eq(volume_write(fx, f, buf, 1 << 20, 3 << 20, 0, NULL), -ENOSPC);
	ck_assert_int_eq(volume_resize(fx, 8 << 20, &err), 0);
	ck_assert_int_eq(volume_write(fx, f, buf, 1 << 20, 3 << 20, 0, NULL), 1 << 20);
	free(buf);
}
END_TEST

START_TEST(shrinking_below_what_is_used_is_refused_with_the_figures)
{
	struct err err = ERR_INIT;

	fill(fx_file(INO_ROOT, "f"), 3);
	ck_assert_int_eq(volume_resize(fx, 2 << 20, &err), -ENOSPC);
	ck_assert_ptr_nonnull(strstr(err.text, "3145728 are in use"));
	ck_assert_int_eq(volume_resize(fx, 100, &err), -EINVAL);
	ck_assert_int_eq(volume_resize(fx, 3 << 20, &err), 0);
}
END_TEST

START_TEST(blocks_beyond_the_new_end_stay_and_count)
{
	struct err err = ERR_INIT;
	struct volume_space s;
	uint64_t low = fx_file(INO_ROOT, "low"), high = fx_file(INO_ROOT, "high"), again;
	char *buf = xcalloc(1, 1 << 20);

	fill(low, 8);
	fill(high, 2);
	ck_assert_int_eq(volume_commit(fx), 0);
	ck_assert_int_eq(volume_unlink(fx, INO_ROOT, "low"), 0);
	ck_assert_int_eq(volume_commit(fx), 0);
	ck_assert_int_eq(volume_resize(fx, 4 << 20, &err), 0);
	fx_reopen();
	high = fx_ino(INO_ROOT, "high");
	ck_assert_int_eq(volume_read(fx, high, buf, 1 << 20, 1 << 20), 1 << 20);
	ck_assert_int_eq(buf[99], 7);
	again = fx_file(INO_ROOT, "again");
	fill(again, 1);
	ck_assert_int_eq(volume_write(fx, again, buf, 1 << 20, 1 << 20, 0, NULL), -ENOSPC); /* 1 % is kept back */
	volume_space(fx, &s);
	ck_assert_uint_eq(s.used_bytes, 3 << 20);
	ck_assert_uint_eq(s.total_bytes, 4 << 20);
	free(buf);
}
END_TEST

START_TEST(a_store_is_made_with_a_sane_size)
{
	struct err err = ERR_INIT;

	ck_assert_int_eq(volume_format("/", "00000000-0000-4000-8000-000000000001", "a", 1, 4096, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "the least is 1M"));
}
END_TEST

static uint64_t host_bytes(void)
{
	char path[300];
	struct stat st;

	snprintf(path, sizeof(path), "%s/image", fx_dir);
	ck_assert_int_eq(stat(path, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

START_TEST(many_small_files_that_are_removed_go_back_to_the_hosts_disk)
{
	char name[16], data[8192];
	uint64_t before, full, after;

	memset(data, 1, sizeof(data));
	before = host_bytes();
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "%d", i);
		uint64_t ino = fx_file(INO_ROOT, name);

		ck_assert_int_eq(volume_write(fx, ino, data, sizeof(data), 0, 0, NULL), sizeof(data));
	}
	ck_assert_int_eq(volume_commit(fx), 0);
	full = host_bytes();
	ck_assert_uint_ge(full, before + 1000 * sizeof(data));
	for (int i = 0; i < 1000; i++) /* every second one: nothing but short runs */
		if (i % 2) {
			snprintf(name, sizeof(name), "%d", i);
			ck_assert_int_eq(volume_unlink(fx, INO_ROOT, name), 0);
		}
	ck_assert_int_eq(volume_commit(fx), 0);
	fx_reopen(); /* what is to be given back is found out anew; and nothing was freed a moment ago */
	while (volume_tidy(fx, 1000))
		;
	after = host_bytes();
	ck_assert_uint_le(after, full - 480 * sizeof(data));
	for (int i = 0; i < 1000; i += 2) {
		char buf[sizeof(data)];

		snprintf(name, sizeof(name), "%d", i);
		ck_assert_int_eq(volume_read(fx, fx_ino(INO_ROOT, name), buf, sizeof(buf), 0), sizeof(buf));
		ck_assert_mem_eq(buf, data, sizeof(buf));
	}
}
END_TEST

static uint64_t used_bytes(void)
{
	struct volume_info info;

	volume_info(fx, &info);
	return info.used_bytes;
}

/* The thread that drops what is left over ends with a failure; it must not stay away. */
START_TEST(what_is_left_over_of_a_long_truncation_goes_also_after_a_failure_of_the_host)
{
	const struct volume_options bit_by_bit = { .at_once_rows = 1 };
	const struct attr empty = { .size_bytes = 0 };
	struct attr a;
	struct err err = ERR_INIT;
	uint64_t f;

	ck_assert_int_eq(volume_close(fx), 0);
	ck_assert_int_eq(volume_open(fx_dir, &bit_by_bit, &fx, &err), 0);
	f = fx_file(INO_ROOT, "f");
	for (uint64_t block = 0; block < 20000; block += 2)
		ck_assert_int_eq(volume_write(fx, f, "x", 1, block << BLOCK_SHIFT, 0, NULL), 1);
	ck_assert_int_eq(volume_commit(fx), 0);
	ck_assert_int_eq(volume_setattr(fx, f, SET_SIZE, &empty, &a), 0);
	ck_assert_int_eq(volume_commit(fx), 0);
	lose_a_group(fx_file(INO_ROOT, "g"));
	ck_assert_uint_gt(used_bytes(), 0);
	usleep(100000); /* it ends meanwhile */
	limit_file_size(RLIM_INFINITY);
	ck_assert_int_eq(volume_recover(fx), 0);
	for (int i = 0; used_bytes() > 0 && i < 1000; i++) {
		usleep(10000);
		ck_assert_int_eq(volume_commit(fx), 0); /* what a group freed is free when it is durable */
	}
	ck_assert_uint_eq(used_bytes(), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("space");
	TCase *tc = tcase_create("space");

	tcase_add_checked_fixture(tc, fx_setup, fx_teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, a_failed_commit_leaves_the_last_group_and_refuses_changes_while_the_host_fails);
	tcase_add_test(tc, a_volume_goes_on_by_itself_when_the_host_is_well_again);
	tcase_add_test(tc, a_crash_after_a_failed_commit_does_not_bring_the_lost_group_back);
	tcase_add_test(tc, the_next_fsync_of_a_file_tells_once_that_changes_were_lost);
	tcase_add_test(tc, the_kernel_is_told_to_forget_a_lost_group);
	tcase_add_test(tc, a_peers_group_that_cannot_be_committed_loses_nothing_of_ours);
	tcase_add_test(tc, an_unlinked_file_let_go_in_a_lost_group_is_gone_after_all);
	tcase_add_test(tc, a_store_that_was_moved_takes_no_changes_until_it_is_back);
	tcase_add_test(tc, a_limit_can_be_set_and_lifted_and_is_kept);
	tcase_add_test(tc, growing_makes_room_at_once);
	tcase_add_test(tc, shrinking_below_what_is_used_is_refused_with_the_figures);
	tcase_add_test(tc, blocks_beyond_the_new_end_stay_and_count);
	tcase_add_test(tc, a_store_is_made_with_a_sane_size);
	tcase_add_test(tc, many_small_files_that_are_removed_go_back_to_the_hosts_disk);
	tcase_add_test(tc, what_is_left_over_of_a_long_truncation_goes_also_after_a_failure_of_the_host);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
