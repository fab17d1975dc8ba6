/* SPDX-License-Identifier: MIT */
/* What is done on a side while its engine cuts or lands a large shipment, some rows at a time. */
#include "tests/pair_fixture.h"

static void setup(void)
{
	px_step_rows = 1;
	px_meanwhile = NULL;
	px_setup();
}

/* What is acknowledged is dropped bit by bit, too. */
static void meet(void)
{
	px_settle();
	for (int i = 0; i < 2; i++)
		volume_settle(px[i].v);
	px_same();
}

/* ---- the cut */

static unsigned steps;

/* Whatever can be done to what is being cut. */
static void undo_one(int i)
{
	static const struct attr mode = { .mode = 0600 };

	switch (steps++) {
	case 0: px_put(i, "written", "later"); break;
	case 1: px_unlink(i, "removed"); break;
	case 2: px_rename(i, "moved", "dir/moved on"); break;
	case 3: px_rename(i, "a", "b"); break;
	case 4: px_setxattr(i, "attrs", "user.k", "later"); break;
	case 5: px_set(i, "attrs", SET_MODE, mode); break;
	case 6: px_unlink(i, "held"); break;
	case 7: volume_commit(px[i].v); break;
	case 8: px_put(i, "new", "new"); break;
	default: break;
	}
}

static int undo_all(int i)
{
	undo_one(i);
	undo_one(i);
	return 0;
}

START_TEST(a_cut_is_as_of_one_moment_whatever_is_done_while_it_is_looked_up)
{
	static const char *const files[] = { "written", "removed", "moved", "a", "b", "attrs", "held" };
	char *then, *there;
	uint64_t held;

	px_mkdir(_i, "dir");
	for (size_t k = 0; k < ARRAY_LEN(files); k++)
		px_put(_i, files[k], files[k]);
	meet();
	for (size_t k = 0; k < ARRAY_LEN(files); k++)
		px_append(_i, files[k], " and more");
	px_setxattr(_i, "attrs", "user.k", "value");
	px_link(_i, "written", "dir/link");
	held = px_at(_i, "held");
	volume_ref(px[_i].v, held);
	then = px_dump(_i);
	steps = 0;
	px_meanwhile = undo_all;
	px_say(_i);
	ck_assert_uint_gt(steps, 8);
	px_meanwhile = NULL;
	px_hear(_i);
	there = px_dump(!_i);
	ck_assert_str_eq(there, then);
	free(then);
	free(there);
	volume_unref(px[_i].v, held, 1);
	meet();
	ck_assert_uint_eq(px_at(!_i, "held"), 0);
	px_expect("written", "later");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("landing");
	TCase *cut = tcase_create("cut");

	tcase_add_checked_fixture(cut, setup, px_teardown);
	tcase_add_loop_test(cut, a_cut_is_as_of_one_moment_whatever_is_done_while_it_is_looked_up, 0, 2);
	suite_add_tcase(s, cut);
	return tap_main(s);
}
