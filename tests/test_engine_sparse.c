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

/* There is room for one block: one end of the range is zeroed, and the other is not, as both are told. */
START_TEST(a_range_zeroed_at_one_end_for_want_of_room_is_told)
{
	const int holes = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	static char bytes[2 * BLOCK_BYTES], now[2 * BLOCK_BYTES];
	struct err err = ERR_INIT;
	struct volume_space space;
	struct volume_ids ids;
	struct inode in;
	uint64_t f = px_make(0, "f", S_IFREG | 0644);
	char *fill;

	memset(bytes, 'x', sizeof(bytes));
	px_write(0, "f", bytes, sizeof(bytes), 0);
	px_meet();
	ck_assert_msg(volume_resize(px[1].v, 1 << 20, &err) == 0, "%s", err.text);
	volume_space(px[1].v, &space);
	fill = xmalloc(space.avail_bytes);
	memset(fill, 'y', space.avail_bytes);
	px_make(1, "fill", S_IFREG | 0644);
	px_write(1, "fill", fill, space.avail_bytes, 0);
	free(fill);
	px_meet();
	px_down();
	/* What sets space free may use more of it: each of these does, and the other side has the block as it was. */
	for (uint64_t block = 0; volume_space(px[1].v, &space), space.free_bytes > BLOCK_BYTES; block++)
		ck_assert_int_eq(volume_fallocate(px[1].v, px_at(1, "fill"), holes, block * BLOCK_BYTES, 1), 0);
	ck_assert_uint_eq(space.free_bytes, BLOCK_BYTES);
	ck_assert_int_eq(volume_fallocate(px[1].v, f, holes, 1000, 6000), -ENOSPC);
	memset(bytes + 1000, 0, BLOCK_BYTES - 1000);
	ck_assert_int_eq(volume_read(px[1].v, f, now, sizeof(now), 0), (int)sizeof(now));
	ck_assert_mem_eq(now, bytes, sizeof(now));
	volume_lock(px[1].v);
	volume_ids(px[1].v, &ids);
	ck_assert_int_eq(tree_inode_get(px[1].v, f, &in), 0);
	volume_unlock(px[1].v);
	ck_assert_uint_gt(in.cborn, ids.committed);
	px_meet();
	ck_assert_int_eq(volume_read(px[0].v, f, now, sizeof(now), 0), (int)sizeof(now));
	ck_assert_mem_eq(now, bytes, sizeof(now));
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
	tcase_add_test(tc, a_range_zeroed_at_one_end_for_want_of_room_is_told);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
