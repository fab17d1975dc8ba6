/* SPDX-License-Identifier: MIT */
/* Power is lost while a store is made, key and all: what is left is a whole store, or is cleared away by the next try.
 */
#include "tests/disk.h"
#include "tests/tap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "node/store.h"
#include "sync/identity.h"
#include "util/util.h"

#define LUCKS 3u /* ways in which each cut falls out */

static char work[256], cut[256];

static void make_dir(char *out, size_t cap_bytes)
{
	const char *base = getenv("TMPDIR");

	if (!base)
		base = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";
	snprintf(out, cap_bytes, "%s/twinfs-making-XXXXXX", base);
	ck_assert_ptr_nonnull(mkdtemp(out));
}

static int make_store(const char *dir, struct err *err)
{
	bool made_dir;

	return store_make(&(struct store_spec){ .dir = dir, .name = "a", .slot = 1 }, &made_dir, err);
}

static bool is_whole(struct err *err)
{
	struct identity *id;
	struct volume *v;

	if (store_open(cut, &v, err) != 0)
		return false;
	ck_assert_int_eq(volume_close(v), 0);
	if (identity_load(cut, &id, err) != 0)
		return false;
	identity_free(id);
	return true;
}

/* False: a cut left what is neither whole nor in nobody's way; then err tells. n_whole stores were there, n_again had
 * to be made again. */
static bool try_all(size_t *n_whole, size_t *n_again, struct err *err)
{
	size_t end = disk_events();

	*n_whole = *n_again = 0;
	for (size_t n = 0; n <= end; n++)
		for (uint64_t luck = 0; luck < LUCKS; luck++) {
			int rc;

			disk_power_cut(n, n * LUCKS + luck, cut);
			rc = make_store(cut, err);
			*n_whole += rc == -EEXIST;
			*n_again += rc == 0;
			if ((rc != 0 && rc != -EEXIST) || !is_whole(err)) {
				err_prefix(err, "cut before event %zu of %zu", n, end);
				return false;
			}
		}
	return true;
}

START_TEST(a_store_is_made_whole_or_can_be_made_again)
{
	struct err err = ERR_INIT;
	size_t n_whole, n_again;

	make_dir(work, sizeof(work));
	make_dir(cut, sizeof(cut));
	disk_watch(work);
	ck_assert_msg(make_store(work, &err) == 0, "%s", err_text(&err));
	ck_assert_msg(try_all(&n_whole, &n_again, &err), "%s", err_text(&err));
	ck_assert_uint_gt(n_whole, 2);
	ck_assert_uint_gt(n_again, 8);
	disk_power_cut(disk_events(), 0, cut);
	ck_assert_msg(store_is(cut), "a store that was made is there");
	disk_unwatch();
	disk_clear(work);
	disk_clear(cut);
	ck_assert(rmdir(work) == 0 && rmdir(cut) == 0);
}
END_TEST

/* The rules are needed. */
START_TEST(flushes_that_are_left_out_are_noticed)
{
	static const char *const files[] = { "/", "image", "node.key", "node.crt", "twinfs.db" };
	struct err err = ERR_INIT;
	size_t n_whole, n_again;

	make_dir(work, sizeof(work));
	make_dir(cut, sizeof(cut));
	disk_watch(work);
	ck_assert_msg(make_store(work, &err) == 0, "%s", err_text(&err));
	disk_lies(files[_i], 0);
	ck_assert_msg(!try_all(&n_whole, &n_again, &err), "%s", files[_i]);
	disk_unwatch();
	disk_clear(work);
	disk_clear(cut);
	ck_assert(rmdir(work) == 0 && rmdir(cut) == 0);
}
END_TEST

START_TEST(a_store_that_is_unmade_goes_whole_or_can_be_made_again)
{
	struct err err = ERR_INIT;
	size_t n_whole, n_again;

	make_dir(work, sizeof(work));
	make_dir(cut, sizeof(cut));
	ck_assert_msg(make_store(work, &err) == 0, "%s", err_text(&err));
	disk_watch(work);
	store_unmake(work, false);
	ck_assert_msg(try_all(&n_whole, &n_again, &err), "%s", err_text(&err));
	ck_assert_uint_gt(n_whole, 0);
	ck_assert_uint_gt(n_again, 8);
	disk_unwatch();
	disk_clear(cut);
	ck_assert(rmdir(work) == 0 && rmdir(cut) == 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("making");
	TCase *tc = tcase_create("making");

	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, a_store_is_made_whole_or_can_be_made_again);
	tcase_add_loop_test(tc, flushes_that_are_left_out_are_noticed, 0, 5);
	tcase_add_test(tc, a_store_that_is_unmade_goes_whole_or_can_be_made_again);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
