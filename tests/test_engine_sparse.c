/* SPDX-License-Identifier: MIT */
/* Files of every size, with few bytes in them, between two engines: what arrives, and what both sides changed. */
#include "core/policy.h"
#include "tests/pair_fixture.h"
#include "tests/sparse_model.h"

#define NOW ((struct view){ VIEW_NOW, 0 })

static void expect_on_both(uint64_t ino, const struct sparse *m)
{
	for (int i = 0; i < 2; i++)
		sparse_expect(px[i].v, ino, NOW, m);
}

static void nothing_kept(void)
{
	for (int i = 0; i < 2; i++) {
		struct volume_info info;

		volume_info(px[i].v, &info);
		ck_assert_uint_eq(info.pending_entries, 0);
		ck_assert_uint_eq(info.history_bytes, 0);
		ck_assert_uint_eq(info.conflicts_open, 0);
	}
}

/* Sides take turns, in step, apart and after crashes; one at a time, so that nothing is to be merged. */
START_TEST(a_file_of_any_size_arrives_as_it_is)
{
	struct sparse m = sparse_new((uint64_t)_i + 99);
	uint64_t ino = px_make(_i % 2, "f", S_IFREG | 0644);

	px_settle();
	for (int round = 0; round < 8; round++) {
		int side = (int)chance_below(&m.seed, 2);
		bool apart = chance_below(&m.seed, 2);

		if (apart)
			px_down();
		for (size_t n = 1 + chance_below(&m.seed, 12); n > 0; n--) {
			sparse_step(px[side].v, ino, &m);
			if (!apart && chance_below(&m.seed, 3) == 0)
				px_round();
		}
		ck_assert_int_eq(volume_commit(px[side].v), 0);
		if (chance_below(&m.seed, 4) == 0)
			px_crash((int)chance_below(&m.seed, 2));
		px_settle();
		expect_on_both(ino, &m);
	}
	nothing_kept();
	free(m.cells);
}
END_TEST

/* Each side in a part of its own, the border anywhere. */
START_TEST(what_both_sides_did_in_parts_of_one_huge_file_is_merged)
{
	struct sparse m = sparse_new((uint64_t)_i + 7);
	uint64_t ino = px_make(0, "f.bin", S_IFREG | 0644), border;
	struct attr a = { .size_bytes = FILE_MAX_BYTES }, out;
	struct err err = ERR_INIT;

	/* Chance may make it look like a format of its own. */
	ck_assert_int_eq(volume_policy_set(px[0].v, "*.bin", "extents", &err), 0);
	ck_assert_int_eq(volume_setattr(px[0].v, ino, SET_SIZE, &a, &out), 0);
	m.size = FILE_MAX_BYTES;
	for (int n = 0; n < 20; n++)
		sparse_do_write(px[0].v, ino, &m);
	px_settle();
	for (int round = 0; round < 4; round++) {
		border = 1 + magnitude(&m, FILE_MAX_BYTES - 1);
		px_down();
		for (int n = 0; n < 16; n++) {
			int side = (int)chance_below(&m.seed, 2);

			m.floor = side ? border : 0;
			m.ceiling = side ? FILE_MAX_BYTES : border;
			sparse_step(px[side].v, ino, &m);
		}
		px_settle();
		expect_on_both(ino, &m);
	}
	nothing_kept();
	free(m.cells);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("engine_sparse");
	TCase *tc = tcase_create("engine_sparse");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, px_setup, px_teardown);
	tcase_add_loop_test(tc, a_file_of_any_size_arrives_as_it_is, 0, 16);
	tcase_add_loop_test(tc, what_both_sides_did_in_parts_of_one_huge_file_is_merged, 0, 16);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
