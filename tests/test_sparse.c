/* SPDX-License-Identifier: MIT */
/* Files of every size, with few bytes in them, against a model: now and at old groups, changed here and by the peer. */
#include "tests/data_fixture.h"
#include "tests/sparse_model.h"

#define SNAPSHOTS 4

static struct store st;

/* ---- what the peer's shipments do ---- */

static void peer_write(uint64_t ino, struct sparse *m)
{
	uint8_t buf[SPARSE_WRITE_MAX];
	uint64_t len, off = sparse_place(m, buf, &len);

	if (!len)
		return;
	ck_assert_int_eq(data_write(st.v, ino, buf, len, off, ORIGIN_PEER), 0);
	sparse_write(m, off, buf, len);
}

static void peer_hole(uint64_t ino, struct sparse *m)
{
	uint64_t off = some_off(m), len = 1 + magnitude(m, FILE_MAX_BYTES - off);

	ck_assert_int_eq(data_punch(st.v, ino, off, len, ORIGIN_PEER), 0);
	sparse_zero(m, off, len);
}

static void peer_resize(uint64_t ino, struct sparse *m)
{
	uint64_t size = some_off(m);

	ck_assert_int_eq(data_truncate(st.v, ino, size, ORIGIN_PEER), 0);
	sparse_resize(m, size);
}

static void peer_step(uint64_t ino, struct sparse *m, uint64_t group)
{
	ck_assert_int_eq(volume_commit(st.v), 0);
	ck_assert_int_eq(volume_apply_begin(st.v), 0);
	switch (chance_below(&m->seed, 8)) {
	case 0: peer_resize(ino, m); break;
	case 1: case 2: case 3: peer_hole(ino, m); break;
	default: peer_write(ino, m);
	}
	ck_assert_int_eq(volume_apply_commit(st.v, group), 0);
}

static void setup(void)
{
	store_make(&st, 0);
}

static void teardown(void)
{
	store_remove(&st);
}

START_TEST(a_file_of_any_size_matches_a_model_now_and_at_old_groups)
{
	struct sparse now = sparse_new((uint64_t)_i + 4711), past[SNAPSHOTS];
	uint64_t ino, group[SNAPSHOTS] = { 0 };

	ck_assert_int_eq(volume_close(st.v), 0);
	st.at_once_rows = _i % 2 ? 3 : 0; /* what was cut off is dropped bit by bit */
	store_reopen(&st);
	store_pair(&st);
	ino = store_file(&st, "f");
	for (size_t k = 0; k < SNAPSHOTS; k++) {
		past[k] = sparse_new(0);
		for (unsigned i = 0; i < 60; i++) {
			if (chance_below(&now.seed, 4) == 0)
				peer_step(ino, &now, k * 100 + i + 1);
			else
				sparse_step(st.v, ino, &now);
			sparse_expect(st.v, ino, (struct view){ VIEW_NOW, 0 }, &now);
		}
		group[k] = store_cut(&st);
		sparse_assign(&past[k], &now);
		for (size_t j = 0; j <= k; j++)
			sparse_expect(st.v, ino, (struct view){ VIEW_AT, group[j] }, &past[j]);
		if (chance_below(&now.seed, 2)) {
			ck_assert_int_eq(volume_close(st.v), 0);
			store_reopen(&st);
		}
	}
	store_check_owners(&st);
	for (size_t k = 0; k < SNAPSHOTS; k++)
		free(past[k].cells);
	free(now.cells);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("sparse");
	TCase *tc = tcase_create("sparse");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, a_file_of_any_size_matches_a_model_now_and_at_old_groups, 0, 24);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
