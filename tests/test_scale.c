/* SPDX-License-Identifier: MIT */
/* What a call costs does not grow with the tree. Counted in steps of the database's virtual machine, not in time. */
#include "tests/data_fixture.h"

#include <sqlite3.h>

#define SMALL 100u
#define LARGE 5000u

static struct store st;
static uint64_t dir, scattered;

static void teardown(void)
{
	store_remove(&st);
}

static uint64_t make(uint64_t parent, const char *name, uint32_t mode)
{
	const struct cred cred = { .uid = 0 };
	struct attr attr;

	ck_assert_int_eq(volume_create(st.v, parent, name, mode, 0, NULL, &cred, &attr), 0);
	return attr.ino;
}

static void put_block(uint64_t index)
{
	uint8_t block[BLOCK_BYTES] = { 1 };

	ck_assert_int_eq(volume_write(st.v, scattered, block, sizeof(block), index << BLOCK_SHIFT, 0, NULL),
	                 BLOCK_BYTES);
}

/* n files in one directory, and a file of n rows: backwards, so that no block joins the one before it. */
static void fill(unsigned n)
{
	store_make(&st, 0);
	store_pair(&st);
	st.v->opt.group_max_bytes = UINT64_C(1) << 40;
	dir = make(INO_ROOT, "dir", S_IFDIR | 0755);
	scattered = make(INO_ROOT, "scattered", S_IFREG | 0644);
	for (unsigned i = n; i-- > 0;) {
		char name[16];

		snprintf(name, sizeof(name), "%u", i);
		make(dir, name, S_IFREG | 0644);
		put_block(i);
	}
	store_cut(&st);
}

/* Steps since the last call. */
static uint64_t steps(void)
{
	uint64_t sum = 0;

	volume_lock(st.v);
	for (sqlite3_stmt *s = NULL; (s = sqlite3_next_stmt(db_handle(st.v->db), s));)
		sum += (uint64_t)sqlite3_stmt_status(s, SQLITE_STMTSTATUS_VM_STEP, 1);
	volume_unlock(st.v);
	return sum;
}

static void op_lookup(unsigned n)
{
	struct attr attr;
	char name[16];

	snprintf(name, sizeof(name), "%u", n / 2);
	ck_assert_int_eq(volume_lookup(st.v, dir, name, &attr), 0);
}

static void op_create_and_commit(unsigned n)
{
	(void)n;
	make(dir, "one more", S_IFREG | 0644);
	ck_assert_int_eq(volume_commit(st.v), 0);
}

static void op_write_and_commit(unsigned n)
{
	put_block(n / 2);
	ck_assert_int_eq(volume_commit(st.v), 0);
}

static void op_read(unsigned n)
{
	uint8_t block[BLOCK_BYTES];

	ck_assert_int_eq(volume_read(st.v, scattered, block, sizeof(block), (uint64_t)(n - 1) << BLOCK_SHIFT),
	                 BLOCK_BYTES);
}

static void op_statfs(unsigned n)
{
	struct statvfs vfs;

	(void)n;
	ck_assert_int_eq(volume_statfs(st.v, &vfs), 0);
}

static void op_unlink(unsigned n)
{
	char name[16];

	snprintf(name, sizeof(name), "%u", n / 3);
	ck_assert_int_eq(volume_unlink(st.v, dir, name), 0);
}

static const struct {
	const char *name;
	void (*run)(unsigned n);
} op[] = {
	{ "lookup", op_lookup },
	{ "create and commit", op_create_and_commit },
	{ "write and commit", op_write_and_commit },
	{ "read", op_read },
	{ "statfs", op_statfs },
	{ "unlink", op_unlink },
};

static void cost(unsigned n, uint64_t out[ARRAY_LEN(op)])
{
	fill(n);
	for (size_t i = 0; i < ARRAY_LEN(op); i++) {
		steps();
		op[i].run(n);
		out[i] = steps();
	}
}

START_TEST(what_a_call_costs_does_not_grow_with_the_tree)
{
	uint64_t small[ARRAY_LEN(op)], large[ARRAY_LEN(op)];

	cost(SMALL, small);
	teardown();
	st = (struct store){ .v = NULL };
	cost(LARGE, large);
	for (size_t i = 0; i < ARRAY_LEN(op); i++)
		ck_assert_msg(large[i] <= small[i] + small[i] / 4 + 20, "%s: %llu steps instead of %llu", op[i].name,
		              (unsigned long long)large[i], (unsigned long long)small[i]);
}
END_TEST

START_TEST(a_read_in_a_scattered_file_does_not_step_over_its_neighbours)
{
	fill(LARGE);
	op_read(LARGE / 2);
	steps();
	op_read(LARGE / 2);
	ck_assert_uint_lt(steps(), 100);
}
END_TEST

/* A truncation drops a bounded part; the rest goes by itself, and a crash does not bring it back. */
START_TEST(a_long_truncation_is_left_over_and_survives_a_crash)
{
	struct attr in = { .size_bytes = 0 }, out;
	uint8_t block[BLOCK_BYTES];

	st.drop_at_once_rows = 100;
	fill(LARGE);
	st.v->opt.drop_at_once_rows = 100;
	steps();
	ck_assert_int_eq(volume_setattr(st.v, scattered, SET_SIZE, &in, &out), 0);
	ck_assert_uint_eq(out.blocks_512, 0);
	ck_assert_int_eq(volume_commit(st.v), 0);
	volume_crash(st.v);
	store_reopen(&st);
	store_settle(&st);
	ck_assert_int_eq(volume_getattr(st.v, scattered, &out), 0);
	ck_assert_uint_eq(out.size_bytes, 0);
	put_block(LARGE); /* it grows: what was there reads as zeros */
	for (unsigned i = 0; i < LARGE; i++) {
		ck_assert_int_eq(volume_read(st.v, scattered, block, sizeof(block), (uint64_t)i << BLOCK_SHIFT),
		                 BLOCK_BYTES);
		ck_assert_uint_eq(block[0], 0);
	}
	store_check_owners(&st);
}
END_TEST

START_TEST(a_removed_file_is_dropped_bit_by_bit)
{
	fill(LARGE);
	st.v->opt.drop_at_once_rows = 100;
	ck_assert_int_eq(volume_unlink(st.v, INO_ROOT, "scattered"), 0);
	volume_lock(st.v);
	ck_assert_uint_eq(map_count(&st.v->leftovers), 1);
	volume_unlock(st.v);
	store_check_owners(&st);
	volume_lock(st.v);
	/* the peer has seen it, so its bytes are history now */
	ck_assert_uint_eq(st.v->data->old_blocks, LARGE);
	volume_unlock(st.v);
}
END_TEST

static int count_link(void *ctx, const struct dentry *d)
{
	(void)d;
	++*(unsigned *)ctx;
	return 0;
}

START_TEST(many_orphans_of_the_last_run_do_not_hold_up_opening)
{
	unsigned left = 0;

	fill(LARGE);
	for (unsigned i = 0; i < LARGE; i++) {
		struct attr attr;
		char name[16];

		snprintf(name, sizeof(name), "%u", i);
		ck_assert_int_eq(volume_lookup(st.v, dir, name, &attr), 0);
		volume_ref(st.v, attr.ino); /* open */
		ck_assert_int_eq(volume_unlink(st.v, dir, name), 0);
	}
	ck_assert_int_eq(volume_commit(st.v), 0);
	volume_crash(st.v);
	store_reopen(&st);
	store_settle(&st);
	volume_lock(st.v);
	ck_assert_uint_eq(map_count(&st.v->orphans), 0);
	ck_assert_int_eq(tree_children(st.v, dir, count_link, &left), 0);
	ck_assert_uint_eq(left, 0);
	volume_unlock(st.v);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("scale");
	TCase *tc = tcase_create("scale");

	tcase_add_checked_fixture(tc, NULL, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, what_a_call_costs_does_not_grow_with_the_tree);
	tcase_add_test(tc, a_read_in_a_scattered_file_does_not_step_over_its_neighbours);
	tcase_add_test(tc, a_long_truncation_is_left_over_and_survives_a_crash);
	tcase_add_test(tc, a_removed_file_is_dropped_bit_by_bit);
	tcase_add_test(tc, many_orphans_of_the_last_run_do_not_hold_up_opening);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
