/* SPDX-License-Identifier: MIT */
/* Rows of the change set, packed at a cut, come out as they were; few of many groups, and many at once. */
#include "sync/cut_rows.h"

#include "tests/volume_fixture.h"

#define ODD_INO (UINT64_C(3) << ID_SLOT_SHIFT | 77)
/* Of a table of which more is read than sorted: db/change_rows.c */
#define MANY 70000u

static uint64_t copy(uint64_t from, struct cut_rows *r)
{
	uint64_t to = fx_cut();

	volume_lock(fx);
	ck_assert_int_eq(cut_rows_begin(fx, from, to, r), 0);
	volume_unlock(fx);
	ck_assert_int_eq(cut_rows_rest(r), 0);
	return to;
}

START_TEST(numbers_far_apart_and_near_come_out_as_they_went_in)
{
	static const struct cut_range in[] = {
		{ 2, 0, 1, 1 },
		{ 2, 1, FILE_MAX_BYTES - 1, GROUP_MAX },
		{ ODD_INO, FILE_MAX_BYTES - 1, 1, 0 },
		{ ODD_INO + 1, 4096, 128, 5 },
		{ ODD_INO + 1, 8192, 127, UINT64_C(1) << 62 },
		{ 7, 3, 16384, 4 }, /* back */
	};
	struct packed p = { .n = 0 };
	struct cut_at at = { 0 };
	struct cut_range out;

	for (size_t i = 0; i < ARRAY_LEN(in); i++)
		cut_put_range(&p, &in[i]);
	for (size_t i = 0; i < ARRAY_LEN(in); i++) {
		ck_assert(cut_next_range(&p, &at, &out));
		ck_assert_mem_eq(&out, &in[i], sizeof(out));
	}
	ck_assert(!cut_next_range(&p, &at, &out));
	free(p.data);
}
END_TEST

START_TEST(each_row_has_what_the_change_set_says)
{
	struct attr a, set = { .mode = 0600, .size_bytes = 10 };
	struct cut_at inodes = { 0 }, links = { 0 }, xattrs = { 0 }, ranges = { 0 };
	struct cut_inode in;
	struct cut_link link;
	struct cut_xattr xattr;
	struct cut_range range;
	struct change_row row;
	struct cut_rows r;
	uint64_t from, to, f = fx_file(INO_ROOT, "f");

	fx_write(f, "twelve bytes");
	from = fx_cut();
	ck_assert_int_eq(volume_setattr(fx, f, SET_MODE | SET_SIZE, &set, &a), 0);
	ck_assert_int_eq(volume_setxattr(fx, f, "user.a", "1", 1, 0), 0);
	ck_assert_int_eq(volume_setxattr(fx, f, "user.longer", "2", 1, 0), 0);
	ck_assert_int_eq(volume_write(fx, f, "xyz", 3, 100, 0, NULL), 3);
	ck_assert_int_eq(volume_link(fx, f, INO_ROOT, "g", &a), 0);
	to = copy(from, &r);

	while (cut_next_inode(&r, &inodes, &in) && in.ino != f)
		;
	ck_assert_uint_eq(in.ino, f);
	ck_assert(in.which & 1u << ENT_CONTENT && in.which & 1u << ENT_MODE && !(in.which & 1u << ENT_NEW));
	volume_lock(fx);
	ck_assert_int_eq(changes_get(fx, f, ENT_CONTENT, &row), 0);
	volume_unlock(fx);
	ck_assert_uint_eq(row.shrunk_to, 10);
	ck_assert_uint_eq(in.row[ENT_CONTENT].shrunk_to, 10);
	ck_assert_uint_eq(in.row[ENT_CONTENT].shrunk_grp, row.shrunk_grp);
	ck_assert_uint_eq(in.row[ENT_CONTENT].grp, row.grp);
	ck_assert_uint_eq(in.row[ENT_CONTENT].seen, row.seen);
	ck_assert_uint_eq(in.row[ENT_MODE].shrunk_to, UINT64_MAX);

	ck_assert(cut_next_link(&r, &links, &link));
	ck_assert_uint_eq(link.link, fx_link_id(INO_ROOT, "g"));
	ck_assert_uint_eq(link.row.child, f);
	ck_assert_uint_eq(link.row.grp, to);
	ck_assert(!cut_next_link(&r, &links, &link));

	ck_assert(cut_next_xattr(&r, &xattrs, &xattr));
	ck_assert_str_eq(xattr.key, "user.a");
	ck_assert(cut_next_xattr(&r, &xattrs, &xattr));
	ck_assert_str_eq(xattr.key, "user.longer");
	ck_assert_uint_eq(xattr.ino, f);
	ck_assert(!cut_next_xattr(&r, &xattrs, &xattr));

	ck_assert(cut_next_range(&r.ranges, &ranges, &range));
	ck_assert_uint_eq(range.ino, f);
	ck_assert_uint_eq(range.off, 100);
	ck_assert_uint_eq(range.len_bytes, 3);
	ck_assert_uint_eq(range.grp, to);
	ck_assert(!cut_next_range(&r.ranges, &ranges, &range));
	cut_rows_release(&r);
}
END_TEST

/* All rows of what is new, whichever way the database goes to find them; and small. */
START_TEST(many_rows_come_in_order_and_are_small)
{
	struct cut_at links = { 0 }, inodes = { 0 }, ranges = { 0 };
	uint64_t first = 0, from, n = 0, before = 0;
	struct cut_inode in;
	struct cut_link link;
	struct cut_range range;
	struct cut_rows r;

	fx_file(INO_ROOT, "old");
	from = fx_cut();
	volume_lock(fx);
	ck_assert_int_eq(group_open(fx), 0);
	for (unsigned i = 0; i < MANY; i++) {
		uint64_t ino = id_new(fx), id = id_new(fx);

		first = first ? first : ino;
		ck_assert_int_eq(changes_touch(fx, ino, ENT_NEW), 0);
		ck_assert_int_eq(changes_touch_range(fx, ino, 0, 5000), 0);
		ck_assert_int_eq(changes_touch_link(fx, id, ino, true, false), 0);
	}
	volume_unlock(fx);
	copy(from, &r);
	ck_assert_uint_eq(r.inodes.n, MANY);
	ck_assert_uint_eq(r.links.n, MANY);
	ck_assert_uint_eq(r.ranges.n, MANY);
	ck_assert_uint_lt(r.inodes.len_bytes + r.links.len_bytes + r.ranges.len_bytes, 40 * MANY);
	for (; cut_next_inode(&r, &inodes, &in); n++) {
		ck_assert_uint_eq(in.ino, first + 2 * n);
		ck_assert_uint_eq(in.which, 1u << ENT_NEW | 1u << ENT_CONTENT);
		ck_assert(cut_next_link(&r, &links, &link));
		ck_assert_uint_eq(link.link, in.ino + 1);
		ck_assert_uint_eq(link.row.child, in.ino);
		ck_assert(cut_next_range(&r.ranges, &ranges, &range));
		ck_assert_uint_eq(range.ino, in.ino);
		ck_assert_uint_gt(in.ino, before);
		before = in.ino;
	}
	ck_assert_uint_eq(n, MANY);
	cut_rows_release(&r);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cut_rows");
	TCase *tc = tcase_create("cut_rows");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, fx_setup_primary, fx_teardown);
	tcase_add_test(tc, numbers_far_apart_and_near_come_out_as_they_went_in);
	tcase_add_test(tc, each_row_has_what_the_change_set_says);
	tcase_add_test(tc, many_rows_come_in_order_and_are_small);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
