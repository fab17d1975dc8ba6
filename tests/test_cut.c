/* SPDX-License-Identifier: MIT */
/* A shipment is the state between two groups, whatever is done while its rows are copied, one at a time; what is done
 * then is in the next one. And a cut that comes to no end leaves nothing behind. */
#include "tests/pair_fixture.h"

static unsigned pauses, when;

static void setup(void)
{
	px_step_rows = 1;
	px_by_hand = false;
	px_meanwhile = NULL;
	pauses = 0;
	px_setup();
}

/* What is acknowledged is dropped bit by bit, too. */
static void meet(void)
{
	px_meanwhile = NULL;
	px_meet_landed();
}

static const char *const files[] = { "written", "over", "cut", "cut twice", "removed", "moved", "a", "b", "attrs",
	                             "held", "linked", "from" };

/* Both have it. */
static void make(int i)
{
	px_mkdir(i, "dir");
	px_mkdir(i, "gone");
	for (size_t k = 0; k < ARRAY_LEN(files); k++)
		px_put(i, files[k], "what both have had from the beginning");
	px_setxattr(i, "attrs", "user.old", "value");
	meet();
}

static const struct attr shorter = { .size_bytes = 20 }, shortest = { .size_bytes = 5 }, mode = { .mode = 0600 };

/* What is cut. */
static void change(int i)
{
	for (size_t k = 0; k < ARRAY_LEN(files); k++)
		px_append(i, files[k], ", and more");
	px_set(i, "cut twice", SET_SIZE, shorter);
	px_setxattr(i, "attrs", "user.k", "value");
	px_setxattr(i, "attrs", "user.old", "other");
	px_link(i, "written", "dir/link");
	px_mkdir(i, "dir/new");
	px_put(i, "dir/new/file", "new");
	px_put(i, "made", "made");
	px_rmdir(i, "gone");
}

/* All that can be done to that, in the order of this list; false: that was all. */
static bool undo(int i, unsigned step)
{
	switch (step) {
	case 0: px_put(i, "written", "later"); break;
	case 1: px_unlink(i, "removed"); break;
	case 2: px_rename(i, "moved", "dir/moved on"); break;
	case 3:
		ck_assert_int_eq(volume_rename(px[i].v, INO_ROOT, "a", INO_ROOT, "b", RENAME_EXCHANGE), 0);
		break;
	case 4: px_setxattr(i, "attrs", "user.k", "later"); break;
	case 5:
		ck_assert_int_eq(volume_removexattr(px[i].v, px_at(i, "attrs"), "user.old"), 0);
		break;
	case 6: px_set(i, "attrs", SET_MODE, mode); break;
	case 7: px_unlink(i, "held"); break;
	case 8: px_put(i, "new", "new"); break;
	case 9: px_set(i, "cut", SET_SIZE, shortest); break;
	case 10: px_set(i, "cut twice", SET_SIZE, shortest); break;
	case 11: px_rename(i, "from", "over"); break;
	case 12: px_link(i, "linked", "dir/another"); break;
	case 13: px_unlink(i, "made"); break;
	case 14: px_rename(i, "dir/new/file", "file"); break;
	case 15: px_rmdir(i, "dir/new"); break;
	case 16: px_append(i, "file", ", and more"); break;
	case 17: px_mkdir(i, "gone"); break;
	case 18: px_rename(i, "dir", "gone/dir"); break;
	case 19: volume_commit(px[i].v); break;
	default: return false;
	}
	return true;
}

static int undo_all_at_once(int i)
{
	if (pauses++ == when)
		for (unsigned step = 0; undo(i, step);)
			step++;
	return 0;
}

static int undo_one_by_one(int i)
{
	if (pauses++ >= when)
		undo(i, pauses - 1 - when);
	return 0;
}

static void say_same(const char *there, const char *then)
{
	size_t same = 0;

	while (there[same] && there[same] == then[same])
		same++;
	while (same > 0 && then[same - 1] != '\n')
		same--;
	ck_assert_msg(strcmp(there, then) == 0, "it was\n%.400s\nand is there\n%.400s", then + same, there + same);
}

/* The shipment makes what was, and the next one what is. */
static void cut_while(int i, int (*meanwhile)(int i))
{
	char *then, *there;
	uint64_t held;

	make(i);
	change(i);
	held = px_at(i, "held");
	volume_ref(px[i].v, held);
	then = px_dump(i);
	px_meanwhile = meanwhile;
	px_say(i);
	ck_assert_uint_gt(pauses, 55); /* as many as it has rows: none is left out of the loop */
	px_meanwhile = NULL;
	px_hear(i);
	volume_settle(px[!i].v); /* what lands there is carried out */
	there = px_dump(!i);
	say_same(there, then);
	free(then);
	free(there);
	volume_unref(px[i].v, held, 1);
	for (unsigned step = pauses - MIN(pauses, when); meanwhile == undo_one_by_one && undo(i, step);)
		step++;
	meet();
	ck_assert_uint_eq(px_at(!i, "held"), 0);
	px_expect("written", "later");
	px_expect("cut twice", "what ");
	px_expect("over", "what both have had from the beginning, and more");
	px_expect("file", "new, and more");
	ck_assert_uint_ne(px_at(!i, "gone/dir/another"), 0);
}

START_TEST(what_is_done_at_any_moment_of_a_cut_is_in_the_next_one)
{
	when = (unsigned)_i;
	cut_while(_i % 2, undo_all_at_once);
}
END_TEST

START_TEST(what_is_done_all_along_a_cut_is_in_the_next_one)
{
	when = (unsigned)_i * 3;
	cut_while(_i % 2, undo_one_by_one);
}
END_TEST

static int undo_and_give_up(int i)
{
	if (pauses++ < when)
		return 0;
	for (unsigned step = 0; undo(i, step);)
		step++;
	return -ECANCELED;
}

/* Killed with a cut half made, or a cut that fails: what it would have had is in the next one. */
START_TEST(a_cut_that_comes_to_no_end_loses_nothing)
{
	int i = _i % 2;
	bool crash = _i / 2 % 2;
	struct err err = ERR_INIT;
	int rc = 0;

	make(i);
	change(i);
	when = (unsigned)_i * 2;
	px_meanwhile = undo_and_give_up;
	for (unsigned look = 0; look < 3 && rc == 0; look++) {
		px_now_ms += 50;
		rc = engine_tick(px[i].e, px_now_ms, &err);
	}
	ck_assert_int_eq(rc, -ECANCELED);
	px_meanwhile = NULL;
	px_put(i, "after", "after"); /* nothing is frozen any more */
	px_append(i, "written", "st");
	ck_assert_int_eq(volume_commit(px[i].v), 0);
	if (crash)
		px_crash(i);
	else
		px_down();
	meet();
	px_expect("written", "laterst");
	px_expect("after", "after");
	px_expect("file", "new, and more");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cut");
	TCase *tc = tcase_create("cut");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, setup, px_teardown);
	tcase_add_loop_test(tc, what_is_done_at_any_moment_of_a_cut_is_in_the_next_one, 0, 56);
	tcase_add_loop_test(tc, what_is_done_all_along_a_cut_is_in_the_next_one, 0, 14);
	tcase_add_loop_test(tc, a_cut_that_comes_to_no_end_loses_nothing, 0, 28);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
