/* SPDX-License-Identifier: MIT */
/*
 * The rules of docs/protocol.md, one by one: what crosses what on its way. Each of these was found by the simulation,
 * and lost something, or ended with two trees or with a pair that refused each other, before its rule was there.
 */
#include "tests/pair_fixture.h"

static const char text[] = "one\ntwo\nthree\n";

/* The connection breaks and comes back; whoever waited for an answer need not any more. */
static void reconnect(void)
{
	struct err err = ERR_INIT;

	px_down();
	px_up();
	for (int i = 0; i < 2; i++)
		px_talk(i);
	for (int i = 0; i < 2; i++)
		ck_assert_msg(px_deliver(i, &err) == 0, "%s", err_text(&err));
}

/* How many files in the root of side 0 have this text. */
static unsigned files_with(const char *want)
{
	struct px_list *l = xmalloc(sizeof(*l));
	unsigned n = 0;

	px_list(0, INO_ROOT, l);
	for (size_t k = 0; k < l->n; k++) {
		struct attr a;

		ck_assert_int_eq(volume_getattr(px[0].v, l->e[k].ino, &a), 0);
		n += S_ISREG(a.mode) && strcmp(px_bytes(0, l->e[k].ino, NULL), want) == 0;
	}
	free(l);
	return n;
}

static void together(void)
{
	px_put(0, "f.txt", text);
	px_meet();
}

/* ---- links: the primary knows where the secondary has each
 * ----------------------------------------------------------------------------------------------------------------- */

START_TEST(a_directory_of_two_is_known_by_its_own_id_as_long_as_the_secondary_moves_it)
{
	together();
	px_mkdir(0, "j");
	px_mkdir(1, "j");
	px_send(1); /* the two become one */
	px_rmdir(0, "j");
	px_rename(1, "j", "f");
	px_send(0); /* it is told that its own is gone, and has moved it */
	px_send(1);
	px_rename(1, "f", "b");
	px_send(1);
	px_meet();
	ck_assert(px_at(0, "b") && S_ISDIR(px_stat(0, "b").mode));
}
END_TEST

/* "c" of both is one here, and ours is on its way to the secondary under its former name. */
static void two_become_one(void)
{
	together();
	px_put(0, "z", "same\n");
	px_say(0);
	px_rename(0, "z", "c");
	px_put(1, "c", "same\n");
	px_send(1);
}

START_TEST(two_that_became_one_and_that_the_secondary_has_both_are_two_again)
{
	two_become_one();
	px_hear(0);         /* but the secondary has ours already, under its former name */
	px_put(1, "other", "x");
	px_send(1);
	reconnect();
	px_rename(1, "c", "d");
	px_send(1);         /* what the primary has forgotten it asks for */
	px_meet();
	px_expect("d", "same\n");
}
END_TEST

/* It is the file that is two again, not the one name of it by which the primary finds out. */
START_TEST(a_second_name_of_one_of_two_leads_to_that_when_they_are_two_again)
{
	two_become_one();
	px_link(1, "c", "e");
	px_send(1); /* a name of ours, then */
	px_hear(0); /* but the secondary has ours already, under its former name */
	px_unlink(1, "c");
	px_append(1, "e", "birch\n");
	px_send(1);
	px_meet();
	px_expect("e", "same\nbirch\n");
	px_expect("c", "same\n");
}
END_TEST

/* The same, and that name is all by which the primary still has its own, which it wrote to. */
START_TEST(what_has_its_last_name_by_one_of_two_keeps_one_when_they_are_two_again)
{
	two_become_one();
	px_link(1, "c", "e");
	px_send(1);
	px_unlink(0, "c");
	px_append(0, "e", "alder\n");
	px_hear(0);
	px_unlink(1, "c");
	px_append(1, "e", "birch\n");
	px_send(1);
	px_meet();
	ck_assert_uint_eq(files_with("same\nbirch\n"), 1);
	ck_assert_uint_eq(files_with("same\nalder\n"), 1);
}
END_TEST

START_TEST(a_directory_that_is_two_again_has_all_its_attributes)
{
	together();
	px_mkdir(0, "z");
	px_say(0);
	px_rename(0, "z", "c");
	px_mkdir(1, "c");
	px_setxattr(1, "c", "user.k", "birch");
	px_send(1);
	px_hear(0);
	px_rename(1, "c", "d");
	px_send(1);
	px_meet();
	for (int i = 0; i < 2; i++)
		ck_assert_str_eq(px_xattr(i, "d", "user.k"), "birch");
}
END_TEST

/*
 * Two new directories became one, and the secondary removed its own before ours reached it. With that ours is removed
 * too; but it is what the link leads to that goes, and the secondary may have put something in it meanwhile.
 */
START_TEST(one_of_two_is_not_removed_as_the_other_if_something_is_in_it)
{
	together();
	px_mkdir(0, "d");
	px_say(0);
	px_mkdir(1, "d");
	px_send(1); /* the two become one */
	px_rmdir(1, "d");
	px_send(1); /* ours is removed with it */
	px_hear(0); /* and is only now there */
	ck_assert(px_at(0, "d") == 0 && px_at(1, "d") != 0);
	px_put(1, "d/f", "birch\n");
	px_meet();
	px_expect("d/f", "birch\n");
}
END_TEST

START_TEST(one_of_two_files_is_not_removed_as_the_other_if_it_was_written)
{
	together();
	px_put(0, "g", "same\n");
	px_say(0);
	px_put(1, "g", "same\n");
	px_send(1); /* the two become one */
	px_unlink(1, "g");
	px_send(1); /* ours is removed with it */
	px_hear(0);
	ck_assert(px_at(0, "g") == 0 && px_at(1, "g") != 0);
	px_put(1, "g", "birch\n");
	px_meet();
	px_expect("g", "birch\n");
}
END_TEST

START_TEST(what_is_told_as_skipped_and_taken_after_all_is_told_again)
{
	together();
	px_mkdir(0, "j");
	px_meet();
	px_rename(0, "j", "d");
	px_rmdir(1, "j");
	px_say(1);
	px_mkdir(1, "d");
	px_put(1, "d/g", "inside\n");
	px_send(0);
	px_hear(1);
	px_send(1);
	reconnect();
	px_rename(1, "d/g", "b");
	px_say(1);
	px_send(0);
	px_hear(1);
	px_meet();
	px_expect("b", "inside\n");
}
END_TEST

/* ---- bytes: what comes back is sent whole
 * ----------------------------------------------------------------------------------------------------------------- */

static void data_file(void)
{
	static char data[8192];

	for (size_t k = 0; k < sizeof(data); k++)
		data[k] = (char)(k * 7 % 251);
	px_make(0, "x.bin", S_IFREG | 0644);
	px_write(0, "x.bin", data, sizeof(data), 0);
	px_meet();
}

START_TEST(a_file_brought_back_is_the_same_on_both_sides_though_a_merge_was_on_its_way)
{
	data_file();
	px_write(0, "x.bin", "\1ALDER\2", 7, 0);
	px_write(1, "x.bin", "\1BIRCH\2", 7, 6000);
	px_send(1); /* both changes are in it, and go to the secondary */
	px_unlink(0, "x.bin");
	px_write(1, "x.bin", "\1again\2", 7, 7000);
	px_send(1);
	px_meet(); /* compares them */
	ck_assert_uint_ne(px_at(0, "x.bin"), 0);
}
END_TEST

START_TEST(a_version_told_as_a_whole_was_changed_when_its_first_change_was)
{
	together();
	px_link(0, "f.txt", "second");
	px_meet();
	px_set(1, "f.txt", SET_SIZE, (struct attr){ .size_bytes = 0 });
	px_rename(1, "f.txt", "moved");
	px_append(0, "f.txt", "alder\n");
	px_send(0);
	px_unlink(0, "f.txt");
	px_send(0);
	px_meet();
	ck_assert_uint_ge(files_with("one\ntwo\nthree\nalder\n"), 1);
}
END_TEST

START_TEST(a_file_held_by_a_link_that_the_primary_has_not_heard_of_is_told_as_a_whole)
{
	together();
	px_link(1, "f.txt", "held");
	px_append(0, "f.txt", "never sent\n");
	px_unlink(0, "f.txt");
	px_send(0);
	px_append(1, "held", "birch\n");
	px_meet();
	px_expect("held", "one\ntwo\nthree\nbirch\n");
}
END_TEST

START_TEST(a_file_made_again_of_what_the_secondary_sent_is_sent_back_as_a_whole)
{
	together();
	px_unlink(0, "f.txt");
	px_rename(1, "f.txt", "m");
	px_append(1, "m", "birch\n");
	px_say(0); /* the removal */
	px_send(1);
	ck_assert_uint_ne(px_at(0, "m"), 0);
	px_setxattr(0, "m", "user.k", "alder");
	px_say(0); /* the file, whole, with the attribute */
	px_unlink(0, "m");
	px_hear(0);
	px_send(1); /* the secondary keeps it, whole */
	px_hear(0);
	px_meet();
	px_expect("m", "one\ntwo\nthree\nbirch\n");
}
END_TEST

START_TEST(what_the_secondary_writes_on_when_it_has_the_copy_goes_into_the_copy)
{
	together();
	px_put(0, "f.txt", "alder\n");
	px_put(1, "f.txt", "birch\n");
	px_send(1); /* both are kept: its version is in a copy */
	px_append(1, "f.txt", "more\n");
	px_send(0); /* it takes the copy, and has not sent the rest */
	px_meet();
	px_expect("f.txt", "alder\n");
	px_expect(px_find(0, "", "f.conflict-birch"), "birch\nmore\n"); /* the only one */
}
END_TEST

START_TEST(a_copy_that_somebody_touched_gets_nothing_more)
{
	const char *copy;

	together();
	px_put(0, "f.txt", "alder\n");
	px_put(1, "f.txt", "birch\n");
	px_send(1);
	px_append(1, "f.txt", "more\n");
	px_send(0);
	copy = px_find(0, "", "f.conflict-birch");
	px_append(_i, copy, "by hand\n");
	px_meet();
	px_expect("f.txt", "alder\n");
	ck_assert_uint_eq(files_with("birch\nby hand\n"), 1);
	ck_assert_uint_eq(files_with("birch\nmore\n"), 1);
}
END_TEST

/* ---- loops ---- */

/* Looks at the names of something: a walk up the tree is one for each directory at least. */
static uint64_t steps, steps_max; /* 0: any number */

int __real_tree_links_of(struct volume *v, uint64_t child, tree_dentry_fn fn, void *ctx);
int __wrap_tree_links_of(struct volume *v, uint64_t child, tree_dentry_fn fn, void *ctx);

/* Linked with --wrap. */
int __wrap_tree_links_of(struct volume *v, uint64_t child, tree_dentry_fn fn, void *ctx)
{
	steps++;
	ck_assert_msg(!steps_max || steps <= steps_max, "more than %llu steps", (unsigned long long)steps_max);
	return __real_tree_links_of(v, child, fn, ctx);
}

static const char *__attribute__((format(printf, 1, 2))) path_of(const char *format, ...)
{
	static char paths[4][100];
	static unsigned next;
	char *path = paths[next++ % 4];
	va_list ap;

	va_start(ap, format);
	vsnprintf(path, sizeof(paths[0]), format, ap);
	va_end(ap);
	return path;
}

START_TEST(a_loop_that_the_moves_of_both_would_make_costs_steps_as_there_are_directories)
{
	enum { LOOPS = 12, DIRS = 6 * LOOPS };

	for (unsigned n = 0; n < LOOPS; n++) {
		px_mkdir(0, path_of("x%u", n)); /* looked at first: it will hang on the loop, not be in it */
		px_mkdir(0, path_of("a%u", n));
		px_mkdir(0, path_of("a%u/deep", n));
		px_mkdir(0, path_of("a%u/deep/er", n));
		px_mkdir(0, path_of("b%u", n));
		px_mkdir(0, path_of("c%u", n));
	}
	px_meet();
	for (unsigned n = 0; n < LOOPS; n++) { /* a below b below c below a */
		px_rename(0, path_of("a%u", n), path_of("b%u/a", n));
		px_rename(0, path_of("x%u", n), path_of("b%u/a/x", n));
		px_rename(1, path_of("b%u", n), path_of("c%u/b", n));
		px_rename(1, path_of("c%u", n), path_of("a%u/deep/er/c", n));
		px_put(1, path_of("a%u/deep/f", n), "of the secondary\n");
		px_put(0, path_of("b%u/a/deep/g", n), "of the primary\n");
	}
	px_say(0);
	px_say(1);
	steps = 0;
	steps_max = 100 * DIRS;
	px_hear(0);
	px_hear(1);
	px_meet();
	ck_assert_uint_gt(steps, DIRS);
	for (unsigned n = 0; n < LOOPS; n++) {
		px_expect(path_of("b%u/a/deep/g", n), "of the primary\n");
		px_expect(path_of("b%u/a/deep/f", n), "of the secondary\n");
	}
}
END_TEST

/* The rows of both sides about the path; they must be the same number. */
static unsigned rows_about(const char *path, const char *kind, const char *outcome)
{
	unsigned found[2] = { 0 };

	for (int i = 0; i < 2; i++) {
		struct conflict *c;
		size_t n;

		ck_assert_int_eq(volume_conflicts(px[i].v, &c, &n), 0);
		for (size_t k = 0; k < n; k++) {
			found[i] += strcmp(c[k].path, path) == 0 && strcmp(c[k].kind, kind) == 0 &&
				    strcmp(c[k].outcome, outcome) == 0;
			conflict_release(&c[k]);
		}
		free(c);
	}
	ck_assert_uint_eq(found[0], found[1]);
	return found[0];
}

/* _i: who is heard first. The secondary keeps what it hears was deleted, and tells so: that is a change then, too. */
START_TEST(what_comes_back_is_noted_whoever_is_heard_first)
{
	px_put(0, "f.txt", text);
	px_put(0, "m.txt", text);
	px_mkdir(0, "d");
	px_put(0, "d/in", text);
	px_meet();
	px_unlink(0, "f.txt");
	px_unlink(0, "m.txt");
	px_unlink(0, "d/in");
	px_rmdir(0, "d");
	px_append(1, "f.txt", "birch\n");
	px_rename(1, "m.txt", "moved.txt");
	px_put(1, "d/new", "birch\n");
	px_send(_i);
	px_meet();
	px_expect("f.txt", "one\ntwo\nthree\nbirch\n");
	px_expect("moved.txt", text);
	px_expect("d/new", "birch\n");
	px_gone("d/in");
	ck_assert_uint_eq(rows_about("/f.txt", "delete", "restored"), 1);
	ck_assert_uint_eq(rows_about("/moved.txt", "delete", "restored"), 1);
	ck_assert_uint_eq(rows_about("/d", "delete", "restored"), 1);
}
END_TEST

START_TEST(names_that_people_take_for_the_same_are_noted_and_both_stay)
{
	struct volume_info info;

	px_put(0, "old", text);
	px_mkdir(0, "d");
	px_meet();
	px_put(0, "README", "alder\n");
	px_put(1, "ReadMe", "birch\n");
	px_put(0, "d/caf\xc3\xa9", "alder\n");
	px_put(1, "d/cafe\xcc\x81", "birch\n");
	px_put(0, "STRASSE", "alder\n");
	px_put(1, "stra\xc3\x9f""e", "birch\n");
	px_put(0, "one", "both by one side\n");
	px_put(0, "ONE", "both by one side\n");
	px_put(_i, "OLD", "the other was there before\n");
	px_put(0, "\xff\x41", "no UTF-8\n");
	px_put(1, "\xff\x61", "no UTF-8\n");
	px_meet();
	px_expect("README", "alder\n");
	px_expect("ReadMe", "birch\n");
	ck_assert_uint_eq(rows_about("/README", "name", "merged"), 1);
	ck_assert_uint_eq(rows_about("/d/caf\xc3\xa9", "name", "merged"), 1);
	ck_assert_uint_eq(rows_about("/STRASSE", "name", "merged"), 1);
	ck_assert_uint_eq(rows_about("/one", "name", "merged") + rows_about("/ONE", "name", "merged") +
				  rows_about("/OLD", "name", "merged") + rows_about("/old", "name", "merged") +
				  rows_about("/\xff\x41", "name", "merged"), 0);
	volume_info(px[_i].v, &info);
	ck_assert_uint_eq(info.conflicts_open, 0);
	ck_assert_uint_eq(info.conflicts_merged, 0);
}
END_TEST

/* A block of the secondary's that comes and is cut off by the merge is a version for one group, and the store whole. */
START_TEST(a_merge_may_cut_off_in_one_group_what_came_in_it)
{
	static uint8_t data[6272];
	struct attr a = { .size_bytes = 3632 };

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 % 31 + (i % 3) * 128);
	px_make(0, "f", S_IFREG | 0644);
	px_write(0, "f", data, sizeof(data), 0);
	px_meet();
	px_down();
	px_write(0, "f", "alder's bytes...", 16, 2800);
	px_write(1, "f", data, 48, 6272);
	px_set(1, "f", SET_SIZE, a);
	px_hello();
	px_send(1);
	ck_assert_uint_eq(px_stat(0, "f").size_bytes, 3632);
}
END_TEST

/* The primary emptied a file and removed it, and the other side gave it one more name: it is back as the primary had it
 * last (that is known, as a merge was on top of it), also where it grows again. */
START_TEST(what_was_cut_before_it_was_removed_is_cut_when_it_comes_back)
{
	px_put(0, "f", "0123456789");
	px_put(0, "g", "g");
	px_meet();
	px_down();
	px_set(0, "f", SET_SIZE, (struct attr){ .size_bytes = 0 });
	px_put(1, "other", "o");
	px_link(1, "f", "x");
	px_hello();
	px_send(1);
	px_put(1, "more", "m");
	px_rename(0, "g", "f");
	px_unlink(0, "x");
	px_link(1, "f", "y");
	px_send(1);
	ck_assert_str_eq(px_bytes(0, px_at(0, "y"), NULL), "");
	px_set(0, "y", SET_SIZE, (struct attr){ .size_bytes = 4 });
	px_meet();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("engine rules");
	TCase *links = tcase_create("links"), *bytes = tcase_create("bytes");

	tcase_add_checked_fixture(links, px_setup, px_teardown);
	tcase_add_test(links, a_directory_of_two_is_known_by_its_own_id_as_long_as_the_secondary_moves_it);
	tcase_add_test(links, two_that_became_one_and_that_the_secondary_has_both_are_two_again);
	tcase_add_test(links, a_second_name_of_one_of_two_leads_to_that_when_they_are_two_again);
	tcase_add_test(links, what_has_its_last_name_by_one_of_two_keeps_one_when_they_are_two_again);
	tcase_add_test(links, a_directory_that_is_two_again_has_all_its_attributes);
	tcase_add_test(links, one_of_two_is_not_removed_as_the_other_if_something_is_in_it);
	tcase_add_test(links, one_of_two_files_is_not_removed_as_the_other_if_it_was_written);
	tcase_add_test(links, what_is_told_as_skipped_and_taken_after_all_is_told_again);
	tcase_add_test(links, a_loop_that_the_moves_of_both_would_make_costs_steps_as_there_are_directories);
	tcase_set_timeout(links, 30);
	suite_add_tcase(s, links);
	tcase_add_checked_fixture(bytes, px_setup, px_teardown);
	tcase_add_test(bytes, what_was_cut_before_it_was_removed_is_cut_when_it_comes_back);
	tcase_add_test(bytes, a_file_brought_back_is_the_same_on_both_sides_though_a_merge_was_on_its_way);
	tcase_add_test(bytes, a_version_told_as_a_whole_was_changed_when_its_first_change_was);
	tcase_add_test(bytes, a_file_held_by_a_link_that_the_primary_has_not_heard_of_is_told_as_a_whole);
	tcase_add_test(bytes, a_file_made_again_of_what_the_secondary_sent_is_sent_back_as_a_whole);
	tcase_add_test(bytes, what_the_secondary_writes_on_when_it_has_the_copy_goes_into_the_copy);
	tcase_add_test(bytes, a_merge_may_cut_off_in_one_group_what_came_in_it);
	tcase_add_loop_test(bytes, a_copy_that_somebody_touched_gets_nothing_more, 0, 2);
	tcase_add_loop_test(bytes, what_comes_back_is_noted_whoever_is_heard_first, 0, 2);
	tcase_add_loop_test(bytes, names_that_people_take_for_the_same_are_noted_and_both_stay, 0, 2);
	suite_add_tcase(s, bytes);
	return tap_main(s);
}
