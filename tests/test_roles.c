/* SPDX-License-Identifier: MIT */
/* Two engines, and the roles change: whatever was on its way, nothing is lost, and both end equal. */
#include "sync/roles.h"
#include "tests/pair_fixture.h"

static struct volume_info info_of(int i)
{
	struct volume_info info;

	volume_info(px[i].v, &info);
	return info;
}

static void take_over(int i)
{
	struct err err = ERR_INIT;

	px_down();
	ck_assert_int_eq(volume_commit(px[i].v), 0);
	ck_assert_msg(roles_take_over(px[i].v, &err) == 0, "%s", err_text(&err));
}

/* The new primary's HELLO arrives: the old one is the secondary now, and the connection begins anew. */
static void old_primary_hears(int old)
{
	struct err err = ERR_INIT;

	px_up();
	px_talk(0);
	px_talk(1);
	ck_assert_int_eq(px_deliver(old, &err), 0); /* HELLO of the old generation: it is waited for */
	ck_assert_int_eq(px_deliver(!old, &err), -EAGAIN);
	ck_assert_ptr_nonnull(strstr(err.text, "has become the primary"));
	px_down();
}

/* Both sides know each other, and have said nothing else. */
static void say_hello(void)
{
	struct err err = ERR_INIT;

	px_up();
	for (int i = 0; i < 2; i++)
		ck_assert_int_gt(engine_pull(px[i].e, &px[i].out, 1, &err), 0);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(px_deliver(i, &err), 0);
}

static void expect_roles(int primary, uint64_t generation)
{
	for (int i = 0; i < 2; i++) {
		struct volume_info info = info_of(i);

		ck_assert_int_eq(info.role, i == primary ? ROLE_PRIMARY : ROLE_SECONDARY);
		ck_assert_uint_eq(info.generation, generation);
	}
}

START_TEST(the_old_primary_goes_on_as_the_secondary)
{
	px_put(0, "a", "one\n");
	px_meet();
	take_over(1);
	old_primary_hears(0);
	expect_roles(1, 2);
	/* The new one decides. */
	px_put(0, "b", "of alder\n");
	px_put(1, "b", "of birch\n");
	px_unlink(0, "a");
	px_meet();
	px_expect("b", "of birch\n");
	px_expect(px_find(0, "", "b.conflict-alder"), "of alder\n");
	px_gone("a");
	take_over(0);
	old_primary_hears(1);
	expect_roles(0, 3);
	px_meet();
}
END_TEST

/* What the primary sent, and the secondary left alone as it had a change of its own, nobody else will look at. */
START_TEST(what_was_left_alone_is_not_lost)
{
	px_put(0, "a", "one\n");
	px_meet();
	px_down();
	px_put(0, "a", "of alder, and long\n");
	px_put(1, "a", "of birch\n");
	ck_assert_int_eq(volume_commit(px[1].v), 0);
	say_hello();
	px_send(0); /* birch has it, and says nothing */
	take_over(1);
	old_primary_hears(0);
	px_meet();
	px_expect("a", "of birch\n");
	px_expect(px_find(0, "", "a.conflict-alder"), "of alder, and long\n");
}
END_TEST

/* And what it took, and changed then, was not changed without knowing of that. */
START_TEST(what_was_taken_and_changed_then_is_no_conflict)
{
	px_put(0, "kept", "one\n");
	px_put(0, "gone", "one\n");
	px_meet();
	px_put(0, "new", "of alder, and long\n");
	px_put(0, "kept", "two\n");
	px_mkdir(0, "dir");
	px_unlink(0, "gone");
	px_send(0);
	px_put(1, "new", "of birch\n");
	px_put(1, "kept", "three\n");
	px_rename(1, "dir", "moved");
	px_put(1, "gone", "again\n");
	take_over(1);
	old_primary_hears(0);
	px_meet();
	px_expect("new", "of birch\n");
	px_expect("kept", "three\n");
	px_expect("gone", "again\n");
	px_gone("dir");
	ck_assert_uint_ne(px_at(0, "moved"), 0);
	ck_assert_uint_eq(px_count(0, ""), 4);
	ck_assert_uint_eq(info_of(1).conflicts_open, 0);
}
END_TEST

/* What the old primary had decided is not decided again. */
START_TEST(what_was_decided_stays_so)
{
	px_put(0, "a", "one\n");
	px_meet();
	px_down();
	px_put(0, "a", "of alder, and long\n");
	px_put(1, "a", "of birch\n");
	ck_assert_int_eq(volume_commit(px[1].v), 0);
	say_hello();
	px_send(1); /* alder has decided, and says nothing */
	ck_assert_str_ne(px_find(0, "", "a.conflict-birch"), "");
	take_over(1);
	old_primary_hears(0);
	px_meet();
	px_expect("a", "of alder, and long\n");
	px_expect(px_find(0, "", "a.conflict"), "of birch\n"); /* the only one */
	ck_assert_uint_eq(info_of(1).conflicts_open, 1);
}
END_TEST

static uint64_t opened; /* by somebody at birch, so many steps after it began to look at what alder sent */
static int steps_left;

static int open_it(int i)
{
	if (i != 1 || opened || steps_left-- > 0)
		return 0;
	opened = px_at(1, "a");
	volume_ref(px[1].v, opened);
	return 0;
}

static void on_moved(void *ctx, const struct notice *list, size_t n)
{
	(void)ctx;
	for (size_t i = 0; i < n; i++)
		if (list[i].kind == NOTICE_MOVED && list[i].ino == opened)
			opened = list[i].to;
}

/* A large shipment is landed by a plan; who opens a file that he has to follow, when that is about to hold, follows. */
START_TEST(who_opens_a_file_while_the_new_primary_hears_what_became_of_it_follows)
{
	char name[16];

	opened = 0;
	steps_left = 8 * _i;
	px_put(0, "a", "one\n");
	px_meet();
	px_down();
	px_put(0, "a", "of alder, and long\n");
	px_put(1, "a", "of birch\n");
	for (int k = 0; k < 20; k++) {
		snprintf(name, sizeof(name), "f%d", k);
		px_put(0, name, "much else\n");
	}
	ck_assert_int_eq(volume_commit(px[1].v), 0);
	say_hello();
	px_send(1);
	take_over(1);
	old_primary_hears(0);
	volume_set_notice(px[1].v, on_moved, NULL, NULL);
	px_meanwhile = open_it;
	px_settle();
	px_meanwhile = NULL;
	for (int i = 0; i < 2; i++)
		volume_settle(px[i].v); /* what is acknowledged is dropped bit by bit */
	px_same();
	if (!opened) /* so many steps there were not */
		return;
	ck_assert_msg(opened == px_at(1, px_find(1, "", "a.conflict-birch")), "who opened it has another file");
	volume_unref(px[1].v, opened, 1);
}
END_TEST

START_TEST(a_crash_between_the_two_commits_changes_nothing)
{
	px_put(0, "a", "one\n");
	px_meet();
	px_put(0, "b", "of alder\n");
	px_put(1, "c", "of birch\n");
	take_over(1);
	px_crash(1);
	ck_assert_int_eq(info_of(0).role, ROLE_PRIMARY);
	px_put(0, "d", "still primary\n");
	ck_assert_int_eq(volume_commit(px[0].v), 0);
	old_primary_hears(0);
	px_crash(0);
	px_crash(1);
	expect_roles(1, 2);
	px_meet();
	px_expect("b", "of alder\n");
	px_expect("c", "of birch\n");
	px_expect("d", "still primary\n");
}
END_TEST

START_TEST(who_is_no_secondary_does_not_take_over)
{
	struct err err = ERR_INIT;

	ck_assert_int_eq(roles_take_over(px[0].v, &err), -EEXIST);
	ck_assert_ptr_nonnull(strstr(err.text, "primary already"));
	expect_roles(0, 1);
}
END_TEST

static void setup_in_steps(void)
{
	px_step_rows = 1;
	px_meanwhile = NULL;
	px_setup();
}

/* The new primary had written to its file, was told of the conflict, and had the first of that acknowledged: what it
 * had before is not in its history any more, and the other's version is whole all the same. */
START_TEST(the_version_of_the_old_primary_is_whole_though_what_it_was_before_is_forgotten)
{
	static const char *const before[] = { "1\n2\n3\n4\n", "\x8f\x01\x9e\n1\n2\n3\n4\n" };
	char want[2][80];

	px_put(0, "a", before[_i]);
	px_meet();
	px_down();
	px_write(0, "a", "P", 1, 0);
	px_write(1, "a", "S", 1, 0);
	ck_assert_int_eq(volume_commit(px[1].v), 0);
	say_hello();
	px_send(1);
	px_append(1, "a", "more\n");
	px_send(0);
	take_over(1);
	old_primary_hears(0);
	px_meet();
	snprintf(want[0], sizeof(want[0]), "P%s", before[_i] + 1);
	snprintf(want[1], sizeof(want[1]), "S%smore\n", before[_i] + 1);
	px_expect("a", want[1]);
	px_expect(px_find(0, "", "a.conflict-alder"), want[0]);
}
END_TEST

/* The old primary had put its own in place, and what the new one had into a copy; that does not know, and goes on with
 * its own: that is not put on top of the other's. */
START_TEST(what_the_new_primary_goes_on_with_is_not_mixed_with_what_was_put_in_its_place)
{
	static const char before[] = "\x8f\x01\x9e\n1\n2\n3\n4\n";
	char want[2][80];

	px_put(0, "a", before);
	px_meet();
	px_down();
	px_write(0, "a", "P", 1, 0);
	px_write(1, "a", "S", 1, 0);
	ck_assert_int_eq(volume_commit(px[1].v), 0);
	say_hello();
	px_send(1);
	if (_i == 0)
		px_append(1, "a", "more\n");
	take_over(1);
	old_primary_hears(0);
	if (_i == 1)
		px_append(1, "a", "more\n");
	px_meet();
	snprintf(want[0], sizeof(want[0]), "P%s", before + 1);
	snprintf(want[1], sizeof(want[1]), "S%smore\n", before + 1);
	px_expect("a", want[1]);
	px_expect(px_find(0, "", "a.conflict-alder"), want[0]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("roles");
	TCase *tc = tcase_create("roles"), *steps = tcase_create("in steps");

	tcase_add_checked_fixture(tc, px_setup, px_teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, the_old_primary_goes_on_as_the_secondary);
	tcase_add_test(tc, what_was_left_alone_is_not_lost);
	tcase_add_test(tc, what_was_taken_and_changed_then_is_no_conflict);
	tcase_add_test(tc, what_was_decided_stays_so);
	tcase_add_test(tc, a_crash_between_the_two_commits_changes_nothing);
	tcase_add_test(tc, who_is_no_secondary_does_not_take_over);
	tcase_add_loop_test(tc, the_version_of_the_old_primary_is_whole_though_what_it_was_before_is_forgotten, 0, 2);
	tcase_add_loop_test(tc, what_the_new_primary_goes_on_with_is_not_mixed_with_what_was_put_in_its_place, 0, 2);
	suite_add_tcase(s, tc);
	tcase_add_checked_fixture(steps, setup_in_steps, px_teardown);
	tcase_set_timeout(steps, 20);
	tcase_add_loop_test(steps, who_opens_a_file_while_the_new_primary_hears_what_became_of_it_follows, 0, 24);
	suite_add_tcase(s, steps);
	return tap_main(s);
}
