/* SPDX-License-Identifier: MIT */
/*
 * A person's word (twinfs resume --prefer) and one for the other side behind it, before the secondary has heard what
 * came of the first. What the first one left to be asked for is asked for, whatever the second one does with the file.
 */
#include "sync/prefer.h"
#include "tests/pair_fixture.h"

static void give(int on, int keep)
{
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(volume_commit(px[i].v), 0);
	ck_assert_int_eq(prefer_give(px[on].v, keep ? ROLE_SECONDARY : ROLE_PRIMARY), 0);
}

static void save(int i, const char *path, const char *text)
{
	px_put(i, "tmp#", text);
	px_rename(i, "tmp#", path);
}

/*
 * Both have f. Ours was saved anew and theirs moved, so they were one file; by the first word theirs is itself again,
 * of which there is nothing here. That is asked for, and before anybody hears of it the second word comes.
 */
static void the_secondary_s_file_is_asked_for(void)
{
	px_put(0, "f", "one\ntwo\n");
	px_meet();
	px_down();
	save(0, "f", "one\ntwo\nalder\n");
	px_rename(1, "f", "moved");
	px_hello();
	px_send(1);
	px_down();
	give(0, 1);
	px_hello();
	ck_assert_uint_eq(px_at(0, "moved"), 0);
	px_down();
}

/* By another name of the secondary's, which the second word discards, the file is here before the answer. */
START_TEST(a_file_that_came_by_another_name_is_asked_for_still)
{
	the_secondary_s_file_is_asked_for();
	px_link(1, "moved", "more");
	if (_i & 1)
		px_append(1, "moved", "birch\n");
	give(_i / 2, 0);
	px_meet();
	px_expect("moved", _i & 1 ? "one\ntwo\nbirch\n" : "one\ntwo\n");
	px_gone("more");
}
END_TEST

/* The same, and it is removed here, so that the answer is all that there is of it. */
START_TEST(a_file_that_came_by_another_name_and_went_is_asked_for_still)
{
	const char *top;
	char *path;

	the_secondary_s_file_is_asked_for();
	px_link(1, "moved", "more");
	give(_i, 0);
	px_hello();
	px_send(1);
	top = px_find(0, HIDDEN_NAME, "discarded-birch-");
	path = xasprintf(HIDDEN_NAME "/%s/more", top);
	ck_assert_uint_ne(px_at(0, path), 0);
	px_unlink(0, path);
	free(path);
	px_meet();
	px_expect("moved", "one\ntwo\n");
	px_gone("more");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("prefer twice");
	TCase *tc = tcase_create("asked for");

	tcase_add_checked_fixture(tc, px_setup, px_teardown);
	tcase_add_loop_test(tc, a_file_that_came_by_another_name_is_asked_for_still, 0, 4);
	tcase_add_loop_test(tc, a_file_that_came_by_another_name_and_went_is_asked_for_still, 0, 2);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
