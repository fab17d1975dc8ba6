/* SPDX-License-Identifier: MIT */
/* Units: what belongs together is kept whole, through two engines. Side 0 is the primary. */
#include "tests/pair_fixture.h"

#include "core/policy.h"
#include "sync/prefer.h"

/* "name=text" of all that is below, sorted, in one string; the last four stay valid. */
static void text_of(int i, uint64_t dir, const char *path, struct buf *to)
{
	struct px_list *l = xmalloc(sizeof(*l));

	px_list(i, dir, l);
	for (size_t k = 0; k < l->n; k++) {
		char *sub = xasprintf("%s%s", path, l->e[k].name);
		struct attr a;

		ck_assert_int_eq(volume_getattr(px[i].v, l->e[k].ino, &a), 0);
		if (S_ISDIR(a.mode)) {
			char *below = xasprintf("%s/", sub);

			text_of(i, l->e[k].ino, below, to);
			free(below);
		} else {
			buf_printf(to, "%s=%s ", sub, px_bytes(i, l->e[k].ino, NULL));
		}
		free(sub);
	}
	free(l);
}

static const char *below(int i, const char *path)
{
	static char ring[4][4096];
	static unsigned at;
	char *out = ring[at++ % 4];
	struct buf b;

	ck_assert_msg(px_at(i, path) != 0, "side %d has no %s", i, path);
	buf_init(&b, sizeof(ring[0]));
	text_of(i, px_at(i, path), "", &b);
	snprintf(out, sizeof(ring[0]), "%.*s", (int)b.len_bytes, b.data ? (const char *)b.data : "");
	buf_release(&b);
	return out;
}

/* Both sides have this in the directory. */
static void has(const char *path, const char *want)
{
	for (int i = 0; i < 2; i++)
		ck_assert_msg(strcmp(below(i, path), want) == 0, "side %d: %s is '%s', not '%s'", i, path,
			      below(i, path), want);
}

static const char *copy_of(const char *dir)
{
	const char *name = px_find(0, dir, ".git.conflict-birch-");

	ck_assert_msg(name[0] != '\0', "there is no copy in '%s'", dir);
	return name;
}

static size_t conflicts(const char *kind, const char *outcome)
{
	struct conflict *c;
	size_t n, count = 0;

	ck_assert_int_eq(volume_conflicts(px[0].v, &c, &n), 0);
	for (size_t k = 0; k < n; k++) {
		count += strcmp(c[k].kind, kind) == 0 && strcmp(c[k].outcome, outcome) == 0;
		conflict_release(&c[k]);
	}
	free(c);
	return count;
}

static void together(void)
{
	px_mkdir(0, ".git");
	px_put(0, ".git/HEAD", "main");
	px_mkdir(0, ".git/o");
	px_put(0, ".git/o/1", "one");
	px_put(0, ".git/o/2", "two");
	px_meet();
}

#define BASE "HEAD=main o/1=one o/2=two "

START_TEST(what_both_changed_is_two_whole_ones)
{
	together();
	px_put(0, ".git/HEAD", "alder");
	px_put(0, ".git/o/a", "new");
	px_put(1, ".git/refs", "birch");
	px_put(1, ".git/o/b", "new");
	px_unlink(1, ".git/o/2");
	px_meet();
	has(".git", "HEAD=alder o/1=one o/2=two o/a=new ");
	has(copy_of(""), "HEAD=main o/1=one o/b=new refs=birch ");
	ck_assert_uint_eq(px_count(0, ""), 2);
	ck_assert_uint_eq(conflicts("content", "kept-both"), 1);
}
END_TEST

START_TEST(one_file_that_both_wrote_is_in_both)
{
	together();
	px_put(0, ".git/HEAD", "alder");
	px_put(1, ".git/HEAD", "birch");
	px_set(1, ".git/HEAD", SET_MODE, (struct attr){ .mode = 0600 });
	px_unlink(0, ".git/o/1");
	px_meet();
	has(".git", "HEAD=alder o/2=two ");
	has(copy_of(""), "HEAD=birch o/1=one o/2=two ");
	ck_assert_uint_eq(px_stat(0, ".git/HEAD").mode & 0777, 0644);
	ck_assert_uint_eq(conflicts("content", "kept-both"), 1);
}
END_TEST

START_TEST(what_one_side_changed_is_taken_as_it_is)
{
	together();
	px_put(_i, ".git/HEAD", "changed");
	px_unlink(_i, ".git/o/1");
	px_put(!_i, "other", "x");
	px_meet();
	has(".git", "HEAD=changed o/2=two ");
	ck_assert_uint_eq(px_count(0, ""), 2);
	ck_assert_uint_eq(conflicts("content", "kept-both"), 0);
}
END_TEST

START_TEST(the_same_on_both_sides_is_no_conflict)
{
	together();
	for (int i = 0; i < 2; i++) {
		px_put(i, ".git/HEAD", "same");
		px_put(i, ".git/o/3", "three");
		px_unlink(i, ".git/o/1");
	}
	px_meet();
	has(".git", "HEAD=same o/2=two o/3=three ");
	ck_assert_uint_eq(px_count(0, ""), 1);
	ck_assert_uint_eq(conflicts("content", "kept-both"), 0);
}
END_TEST

static void remove_all(int i)
{
	px_unlink(i, ".git/o/1");
	px_unlink(i, ".git/o/2");
	px_rmdir(i, ".git/o");
	px_unlink(i, ".git/HEAD");
	px_rmdir(i, ".git");
}

START_TEST(removed_on_one_side_and_changed_on_the_other_it_is_there_whole)
{
	together();
	remove_all(_i);
	px_put(!_i, ".git/o/1", "changed");
	px_put(!_i, ".git/new", "new");
	px_meet();
	has(".git", "HEAD=main new=new o/1=changed o/2=two ");
	ck_assert_uint_eq(px_count(0, ""), 1);
	ck_assert_uint_eq(conflicts("delete", "restored"), 1);
}
END_TEST

START_TEST(what_was_changed_before_it_was_removed_comes_back_as_the_other_has_it)
{
	together();
	px_put(_i, ".git/o/2", "changed");
	volume_commit(px[_i].v);
	remove_all(_i);
	px_put(!_i, ".git/HEAD", "kept");
	px_meet();
	has(".git", "HEAD=kept o/1=one o/2=two ");
}
END_TEST

START_TEST(made_on_both_sides_it_is_two)
{
	px_put(0, "f", "x");
	px_meet();
	for (int i = 0; i < 2; i++) {
		px_mkdir(i, ".git");
		px_put(i, ".git/HEAD", "main");
		px_mkdir(i, ".git/o");
		px_put(i, ".git/o/1", i ? "birch" : "alder");
	}
	px_put(1, ".git/o/2", "two");
	px_meet();
	has(".git", "HEAD=main o/1=alder ");
	has(copy_of(""), "HEAD=main o/1=birch o/2=two ");
	ck_assert_uint_eq(conflicts("name", "kept-both"), 1);
}
END_TEST

START_TEST(made_the_same_on_both_sides_it_is_one)
{
	px_put(0, "f", "x");
	px_meet();
	for (int i = 0; i < 2; i++) {
		px_mkdir(i, ".git");
		px_put(i, ".git/HEAD", "main");
	}
	px_meet();
	has(".git", "HEAD=main ");
	ck_assert_uint_eq(px_count(0, ""), 2);
}
END_TEST

START_TEST(one_that_was_moved_has_its_copy_beside_it)
{
	together();
	px_mkdir(0, "d");
	px_meet();
	px_rename(_i, ".git", "d/.git");
	px_put(0, _i ? ".git/HEAD" : "d/.git/HEAD", "alder");
	px_put(1, _i ? "d/.git/HEAD" : ".git/HEAD", "birch");
	px_meet();
	has("d/.git", "HEAD=alder o/1=one o/2=two ");
	ck_assert_uint_eq(px_count(0, ""), 1);
	ck_assert_uint_eq(px_count(0, "d"), 2);
	ck_assert_ptr_nonnull(strstr(below(1, "d"), "HEAD=birch"));
}
END_TEST

START_TEST(hard_links_in_it_are_links_in_the_copy_and_those_to_outside_stay)
{
	together();
	px_link(0, ".git/o/1", ".git/o/1b");
	px_link(0, ".git/o/2", "outside");
	px_meet();
	px_put(0, ".git/HEAD", "alder");
	px_put(1, ".git/o/1", "birch");
	px_put(1, ".git/o/2", "birch");
	px_meet();
	has(".git", "HEAD=alder o/1=one o/1b=one o/2=two ");
	has(copy_of(""), "HEAD=main o/1=birch o/1b=birch o/2=birch ");
	px_expect("outside", "two");
	ck_assert_uint_eq(px_stat(1, ".git/o/1").nlink, 2);
	ck_assert_uint_eq(px_stat(1, "outside").nlink, 2);
}
END_TEST

START_TEST(a_pattern_makes_a_unit_of_any_directory)
{
	struct err err = ERR_INIT;

	px_mkdir(0, "lib");
	px_put(0, "lib/a", "1");
	px_put(0, "lib/b", "1");
	ck_assert_int_eq(volume_policy_set(px[0].v, _i ? "/lib" : "l?b", "unit", &err), 0);
	px_meet();
	px_put(0, "lib/a", "alder");
	px_put(1, "lib/b", "birch");
	px_meet();
	has("lib", "a=alder b=1 ");
	has(px_find(0, "", "lib.conflict-birch-"), "a=1 b=birch ");
}
END_TEST

START_TEST(git_gets_another_policy_and_is_a_directory_like_any_other)
{
	struct err err = ERR_INIT;

	together();
	ck_assert_int_eq(volume_policy_set(px[0].v, ".git", "keep-both", &err), 0);
	px_meet();
	px_put(0, ".git/HEAD", "alder");
	px_put(1, ".git/o/1", "birch");
	px_meet();
	has(".git", "HEAD=alder o/1=birch o/2=two ");
}
END_TEST

START_TEST(a_unit_in_a_unit_goes_with_the_outer_one)
{
	struct err err = ERR_INIT;

	ck_assert_int_eq(volume_policy_set(px[0].v, "lib", "unit", &err), 0);
	px_mkdir(0, "lib");
	px_mkdir(0, "lib/.git");
	px_put(0, "lib/.git/HEAD", "1");
	px_put(0, "lib/.git/x", "1");
	px_meet();
	px_put(0, "lib/f", "alder");
	px_put(1, "lib/.git/HEAD", "birch");
	px_meet();
	has("lib", ".git/HEAD=1 .git/x=1 f=alder ");
	has(px_find(0, "", "lib.conflict-birch-"), ".git/HEAD=birch .git/x=1 ");
}
END_TEST

START_TEST(what_both_took_out_and_put_in_is_where_they_put_it)
{
	together();
	px_put(0, "f", "f");
	px_meet();
	px_put(0, ".git/HEAD", "alder");
	px_rename(1, ".git/o/1", "taken");
	px_rename(1, "f", ".git/f");
	px_meet();
	has(".git", "HEAD=alder o/1=one o/2=two ");
	has(copy_of(""), "HEAD=main f=f o/2=two ");
	px_expect("taken", "one");
	px_gone("f");
}
END_TEST

START_TEST(a_conflict_in_the_copy_is_another_copy)
{
	together();
	px_put(0, ".git/HEAD", "alder");
	px_put(1, ".git/HEAD", "birch");
	px_meet();
	char *copy = xstrdup(copy_of("")), *head = xasprintf("%s/HEAD", copy), *one = xasprintf("%s/o/1", copy);

	px_put(0, head, "alder 2");
	px_put(1, one, "birch 2");
	px_meet();
	has(copy, "HEAD=alder 2 o/1=one o/2=two ");
	ck_assert_uint_eq(px_count(0, ""), 3);
	free(copy);
	free(head);
	free(one);
}
END_TEST

/* 0: this side's, 1: the other's, 2: both; asked on side _i / 3. */
START_TEST(an_xattr_that_both_set_in_it_is_each_sides_own)
{
	together();
	px_setxattr(0, ".git/HEAD", "user.k", "alder");
	px_put(0, ".git/HEAD", "alder");
	px_setxattr(1, ".git/HEAD", "user.k", "birch");
	px_put(1, ".git/HEAD", "birch");
	px_say(0);
	px_say(1);
	px_hear(0);
	px_meet();
	for (int i = 0; i < 2; i++) {
		char *copy = xasprintf("%s/HEAD", copy_of(""));

		ck_assert_str_eq(px_xattr(i, ".git/HEAD", "user.k"), "alder");
		ck_assert_str_eq(px_xattr(i, copy, "user.k"), "birch");
		free(copy);
	}
}
END_TEST

/* It is a change of the unit, whichever side set it and however else the other changed the unit. 2: the secondary wrote
 * to another file of it, too: what it set is in the copy all the same. */
START_TEST(an_xattr_that_one_side_set_in_it_is_a_change_of_it)
{
	bool ours = _i == 1;
	char *copy;

	together();
	px_put(!ours ? 0 : 1, ".git/new", "new");
	px_setxattr(ours ? 0 : 1, ".git/HEAD", "user.k", "v");
	if (_i == 2)
		px_put(1, ".git/other", "birch");
	px_meet();
	copy = xasprintf("%s/HEAD", copy_of(""));
	for (int i = 0; i < 2; i++) {
		ck_assert_ptr_eq(px_xattr(i, ours ? copy : ".git/HEAD", "user.k"), NULL);
		ck_assert_pstr_eq(px_xattr(i, ours ? ".git/HEAD" : copy, "user.k"), "v");
	}
	free(copy);
}
END_TEST

/*
 * The secondary changes something again that it began to change before it took the directory that we put into the unit;
 * of where that was then there is no history any more. 1: what it calls .git is no unit here.
 */
START_TEST(what_the_secondary_took_before_is_in_its_copy)
{
	struct err err = ERR_INIT;

	together();
	px_mkdir(0, "d");
	px_put(0, "d/f", "f");
	px_put(0, "x", "x");
	px_meet();
	px_rename(1, "x", "y");
	px_rename(0, "d", ".git/d");
	px_say(1);
	px_say(0);
	px_hear(0);
	px_hear(1);
	px_put(1, "z", "z");
	px_send(1);
	px_down();
	px_unlink(0, ".git/o/1");
	px_put(0, ".git/o/1", "new");
	px_put(0, ".git/HEAD", "alder");
	if (_i)
		px_rename(0, ".git", "g");
	px_rename(1, "y", ".git/y");
	px_up();
	px_talk(0);
	while (px_next(0))
		ck_assert_msg(px_deliver(0, &err) == 0, "%s", err_text(&err));
	px_say(1);
	while (px_next(1))
		ck_assert_msg(px_deliver(1, &err) == 0, "%s", err_text(&err));
	px_meet();
	has(_i ? "g" : ".git", "HEAD=alder d/f=f o/1=new o/2=two ");
	has(_i ? px_find(0, "", "g.conflict-birch-") : copy_of(""), "HEAD=main d/f=f o/1=one o/2=two y=x ");
	ck_assert_uint_eq(px_count(0, ""), 3);
}
END_TEST

START_TEST(one_of_two_is_taken_or_both_stay)
{
	struct err err = ERR_INIT;
	int side = _i / 3, keep = _i % 3;
	bool made = _i >= 6;

	side %= 2;
	if (!made)
		together();
	for (int i = 0; i < 2; i++) {
		if (made)
			px_mkdir(i, ".git");
		px_put(i, ".git/HEAD", i ? "birch" : "alder");
	}
	px_meet();
	ck_assert_msg(volume_conflict_resolve(px[side].v, "/.git", keep, &err) == 0, "%s", err_text(&err));
	px_meet();
	if (keep < 2) {
		ck_assert_uint_eq(px_count(0, ""), 1);
		ck_assert_ptr_nonnull(strstr(below(1, ".git"), (side ^ keep) == 0 ? "HEAD=alder" : "HEAD=birch"));
	} else {
		ck_assert_uint_eq(px_count(0, ""), 2);
	}
	for (int i = 0; i < 2; i++) {
		struct volume_info info;

		volume_info(px[i].v, &info);
		ck_assert_uint_eq(info.conflicts_open, 0);
	}
}
END_TEST

/* What the secondary takes of the primary's after it changed the unit, and before the primary has heard of that, is not
 * in its copy: neither names nor bytes. */
START_TEST(what_it_took_of_ours_after_it_changed_the_unit_is_not_in_the_copy)
{
	together();
	px_down();
	px_put(0, ".git/HEAD", "alder");
	px_setxattr(0, ".git/o/1", "user.k", "alder");
	px_put(0, ".git/o/a", "new");
	px_put(1, ".git/refs", "birch");
	px_hello();
	px_send(0);
	if (_i)
		px_append(1, ".git/refs", "+");
	px_send(1);
	px_meet();
	has(".git", "HEAD=alder o/1=one o/2=two o/a=new ");
	has(copy_of(""), _i ? "HEAD=main o/1=one o/2=two refs=birch+ " : "HEAD=main o/1=one o/2=two refs=birch ");
	for (int i = 0; i < 2; i++) {
		char *one = xasprintf("%s/o/1", copy_of(""));

		ck_assert_str_eq(px_xattr(i, ".git/o/1", "user.k"), "alder");
		ck_assert_ptr_null(px_xattr(i, one, "user.k"));
		free(one);
	}
}
END_TEST

/* Nor are they in what the secondary put into it, though that was no part of the unit where the primary wrote to it. */
START_TEST(what_the_primary_did_to_what_the_secondary_put_in_is_not_in_the_copy)
{
	px_put(0, "f", "f");
	px_mkdir(0, "d");
	px_mkdir(0, "d/e");
	px_put(0, "d/e/g", "g");
	together();
	px_down();
	px_append(0, "f", "+");
	px_append(0, "d/e/g", "+");
	px_put(0, "d/e/new", "alder");
	px_put(0, ".git/o/a", "new");
	px_put(1, ".git/refs", "birch");
	px_rename(1, "f", ".git/f");
	px_rename(1, "d", ".git/d");
	if (_i) { /* it has what the primary did before that has heard of it */
		px_hello();
		px_send(0);
		px_send(1);
	}
	px_meet();
	has(".git", "HEAD=main o/1=one o/2=two o/a=new ");
	has(copy_of(""), "HEAD=main d/e/g=g f=f o/1=one o/2=two refs=birch ");
	px_expect("f", "f+");
	has("d", "e/g=g+ e/new=alder ");
}
END_TEST

START_TEST(what_the_secondary_did_to_what_the_primary_put_in_is_where_it_was)
{
	px_put(0, "f", "f");
	px_mkdir(0, "d");
	px_mkdir(0, "d/e");
	px_put(0, "d/e/g", "g");
	together();
	px_down();
	px_append(1, "f", "+");
	px_append(1, "d/e/g", "+");
	px_put(1, "d/e/new", "birch");
	px_put(1, ".git/refs", "birch");
	px_put(0, ".git/o/a", "new");
	px_rename(0, "f", ".git/f");
	px_rename(0, "d", ".git/d");
	px_meet();
	has(".git", "HEAD=main d/e/g=g f=f o/1=one o/2=two o/a=new ");
	has(copy_of(""), "HEAD=main o/1=one o/2=two refs=birch ");
	has("d", "e/g=g+ e/new=birch ");
}
END_TEST

/* The same if that is all that the other did. */
START_TEST(what_one_side_put_in_and_the_other_changed_where_it_was_is_in_both_places)
{
	const int in = _i % 2, other = !in;

	px_put(0, "f", "f");
	px_mkdir(0, "d");
	px_mkdir(0, "d/e");
	px_put(0, "d/e/g", "g");
	together();
	px_down();
	if (_i / 2 == 0)
		px_put(other, "d/e/new", "theirs");
	else if (_i / 2 == 1)
		px_put(other, "d/e/g", "theirs");
	else
		px_put(other, "f", "theirs");
	px_rename(in, "f", ".git/f");
	px_rename(in, "d", ".git/d");
	px_meet();
	has(".git", in == 0 ? "HEAD=main d/e/g=g f=f o/1=one o/2=two " : BASE);
	has(copy_of(""), in == 1 ? "HEAD=main d/e/g=g f=f o/1=one o/2=two " : BASE);
	if (_i / 2 == 2)
		px_expect("f", "theirs");
	else
		has("d", _i / 2 ? "e/g=theirs " : "e/g=g e/new=theirs ");
}
END_TEST

/* The secondary put a directory into what it had made in one that it took out of the unit: that goes to the copy, but
 * the directory, in which the primary did something, stays. What both said of it before either heard of the other is
 * alike. */
START_TEST(what_both_set_on_what_stays_though_it_was_put_into_what_was_taken_out_is_alike)
{
	px_mkdir(0, "d");
	px_put(0, "d/f", "x");
	px_mkdir(0, ".git");
	px_mkdir(0, ".git/k");
	px_meet();
	px_down();
	px_mkdir(0, "d/alder");
	px_put(0, "d/f", "alder");
	px_rename(1, "d/f", ".git/f");
	px_rename(1, ".git/k", "k");
	px_mkdir(1, "k/new");
	px_rename(1, "d", "k/new/d");
	for (int i = 0; i < 2; i++) {
		const char *d = i ? "k/new/d" : "d";

		if (_i / 2 == 1)
			px_set(i, d, SET_MODE, (struct attr){ .mode = i ? 0750 : 0700 });
		if (_i / 2 == 2)
			px_setxattr(i, d, "trusted.of", i ? "birch" : "alder");
	}
	px_hello();
	if (_i % 2 == 1)
		px_send(1);
	px_meet();
	ck_assert_uint_ne(px_at(0, "d/alder"), 0);
	has(copy_of(""), "f=x ");
}
END_TEST

/* Who puts it in removes a directory in it, in which the other does something: that is where it was, with all that the
 * other has there. */
START_TEST(what_one_side_removed_of_what_it_put_in_is_where_the_other_changed_it)
{
	const int in = _i % 2, other = !in;
	char want[80];

	px_mkdir(0, "d");
	px_mkdir(0, "d/e");
	px_put(0, "d/e/g", "g");
	px_put(0, "d/e/k", "k");
	px_put(0, "d/x", "x");
	together();
	px_down();
	if (_i / 2 == 2)
		px_rename(other, "d/e/g", "d/e/new");
	else
		px_put(other, _i / 2 ? "d/e/g" : "d/e/new", "theirs");
	px_rename(in, "d", ".git/d");
	px_unlink(in, ".git/d/e/g");
	px_unlink(in, ".git/d/e/k");
	px_rmdir(in, ".git/d/e");
	px_meet();
	has(".git", in == 0 ? "HEAD=main d/x=x o/1=one o/2=two " : BASE);
	has(copy_of(""), in == 1 ? "HEAD=main d/x=x o/1=one o/2=two " : BASE);
	snprintf(want, sizeof(want), "%se/k=k %sx=x ", _i / 2 == 2 ? "" : _i / 2 ? "e/g=theirs " : "e/g=g ",
		 _i / 2 == 2 ? "e/new=g " : _i / 2 ? "" : "e/new=theirs ");
	has("d", want);
}
END_TEST

/* The same where it makes the unit of a directory that both had. */
START_TEST(what_one_side_removed_of_what_it_put_into_a_unit_it_made_is_not_mixed_with_the_others)
{
	const int in = _i;

	px_mkdir(0, "u");
	px_put(0, "u/f", "f");
	px_mkdir(0, "d");
	px_mkdir(0, "d/e");
	px_put(0, "d/x", "x");
	px_meet();
	px_down();
	px_put(!in, "d/e/new", "theirs");
	px_rename(in, "u", ".git");
	px_put(in, ".git/own", "own");
	px_rename(in, "d", ".git/d");
	px_rmdir(in, ".git/d/e");
	px_meet();
	has("d", "e/new=theirs x=x ");
	has(in == 0 ? ".git" : copy_of(""), "d/x=x f=f own=own ");
	has(in == 1 ? ".git" : copy_of(""), "f=f ");
}
END_TEST

/* ---- what the secondary does before it hears of the outcome --------------------------------------------------------
 */

/* Both change the unit apart, and the primary has judged. crossing: something of the primary's is on its way. */
static void judged(bool crossing)
{
	together();
	px_down();
	px_put(0, ".git/HEAD", "alder");
	px_put(0, ".git/o/a", "new");
	px_put(1, ".git/refs", "birch");
	px_hello();
	if (crossing)
		px_say(0);
	px_send(1);
}

/* "alder in it" and the like: somewhere on both sides, as the end of a file. */
static void is_somewhere(const char *text)
{
	char *want = xasprintf("=%s ", text);

	for (int i = 0; i < 2; i++)
		ck_assert_msg(strstr(below(i, ""), want) != NULL, "side %d has no '%s': %s", i, text, below(i, ""));
	free(want);
}

#define OURS "HEAD=alder o/1=one o/2=two o/a=new "

static void hear_all(int i)
{
	while (px_next(i))
		px_hear(i);
}

/* Twice: the second time it has heard of the copy, but not of what became of the first. What it makes then is made in
 * what it sees in place. */
START_TEST(what_the_secondary_goes_on_with_is_in_the_copy_that_was_made_for_it)
{
	judged(_i % 2);
	px_say(0);
	for (int n = 0; n < 1 + _i / 2; n++) {
		px_put(1, ".git/HEAD", n ? "birch 2" : "birch 1");
		px_put(1, n ? ".git/o/known" : ".git/o/new", "1");
		if (n == 0) {
			px_append(1, ".git/refs", "+");
			px_unlink(1, ".git/o/1");
			px_mkdir(1, ".git/d");
			px_rename(1, ".git/o/2", ".git/d/2");
			px_set(1, ".git/HEAD", SET_MODE, (struct attr){ .mode = 0600 });
			px_setxattr(1, ".git/HEAD", "user.k", "birch");
		} else {
			px_rename(1, ".git/o/new", ".git/o/newer");
		}
		px_send(1);
		hear_all(0);
	}
	px_meet();
	has(".git", _i / 2 ? OURS "o/known=1 " : OURS);
	has(copy_of(""), _i / 2 ? "HEAD=birch 2 d/2=two o/newer=1 refs=birch+ "
				: "HEAD=birch 1 d/2=two o/new=1 refs=birch+ ");
	ck_assert_uint_eq(px_count(0, ""), 2);
	ck_assert_uint_eq(conflicts("content", "kept-both"), 1);
	for (int i = 0; i < 2; i++) {
		char *head = xasprintf("%s/HEAD", copy_of(""));

		ck_assert_uint_eq(px_stat(i, head).mode & 07777, 0600);
		ck_assert_uint_eq(px_stat(i, ".git/HEAD").mode & 07777, 0644);
		ck_assert_str_eq(px_xattr(i, head, "user.k"), "birch");
		ck_assert_ptr_null(px_xattr(i, ".git/HEAD", "user.k"));
		free(head);
	}
}
END_TEST

/* It takes ours that was on its way, and has not heard of the copy: names that are new to it are ours in place. 1: and
 * it moves one of them; 2: and we do. */
START_TEST(what_it_takes_of_ours_before_it_hears_is_not_in_the_copy)
{
	judged(true);
	px_hear(0);
	px_append(1, ".git/refs", "+");
	if (_i)
		px_rename(_i == 1, ".git/o/a", ".git/o/b");
	px_send(1);
	px_meet();
	ck_assert_uint_eq(px_count(0, ""), 2);
	if (_i != 1) {
		has(".git", _i ? "HEAD=alder o/1=one o/2=two o/b=new " : OURS);
		has(copy_of(""), "HEAD=main o/1=one o/2=two refs=birch+ ");
	} else {
		is_somewhere("new");
		is_somewhere("birch+");
	}
}
END_TEST

/* When it has heard, what it does is done to what it sees in place. */
START_TEST(what_it_does_when_it_has_heard_is_done_in_place)
{
	judged(_i);
	px_append(1, ".git/refs", "+");
	px_settle();
	px_put(1, ".git/HEAD", "later");
	px_put(1, ".git/o/later", "1");
	px_meet();
	has(".git", "HEAD=later o/1=one o/2=two o/a=new o/later=1 ");
	has(copy_of(""), "HEAD=main o/1=one o/2=two refs=birch+ ");
	ck_assert_uint_eq(px_count(0, ""), 2);
}
END_TEST

/* The secondary moves the whole of it, takes something out, puts something in, or removes it. */
START_TEST(what_it_moves_out_of_it_or_into_it_goes_with_the_copy)
{
	px_put(0, "f", "f");
	judged(_i % 2);
	px_rename(1, ".git/o/1", "taken");
	px_rename(1, "f", ".git/f");
	px_append(1, "taken", "+");
	if (_i / 2) {
		px_mkdir(1, "d");
		px_rename(1, ".git", "d/.git");
	}
	px_send(1);
	px_meet();
	has(".git", OURS);
	has(_i / 2 ? "d/.git" : copy_of(""), "HEAD=main f=f o/2=two refs=birch ");
	px_expect("taken", "one+");
	px_gone("f");
}
END_TEST

START_TEST(what_it_removes_is_gone_with_the_copy)
{
	judged(_i % 2);
	px_unlink(1, ".git/refs");
	remove_all(1);
	px_send(1);
	px_meet();
	has(".git", OURS);
	ck_assert_uint_eq(px_count(0, ""), 1);
}
END_TEST

/* The primary changes the copy meanwhile: then both have changed that, and there are three. */
START_TEST(a_copy_that_the_primary_changed_meanwhile_stays_as_it_has_it)
{
	char *copy, *head;

	judged(false);
	copy = xstrdup(copy_of(""));
	head = xasprintf("%s/HEAD", copy);
	px_put(0, head, "alder in it");
	px_append(1, ".git/refs", "+");
	px_append(1, ".git/HEAD", "+");
	px_append(1, ".git/o/2", "+");
	px_send(1);
	px_meet();
	has(".git", OURS);
	has(copy, "HEAD=alder in it o/1=one o/2=two refs=birch ");
	ck_assert_uint_eq(px_count(0, ""), 3);
	for (int i = 0; i < 2; i++) { /* whichever of the two copies it is */
		ck_assert_ptr_nonnull(strstr(below(i, ""), "/HEAD=main+ "));
		ck_assert_ptr_nonnull(strstr(below(i, ""), "/refs=birch+ "));
		ck_assert_ptr_nonnull(strstr(below(i, ""), "/o/2=two+ "));
	}
	free(copy);
	free(head);
}
END_TEST

/* It has heard of the copy, but not of what it wrote to its own since, and was put there. */
START_TEST(what_it_removes_from_the_copy_is_what_it_has_there)
{
	char *head;

	judged(false);
	head = xasprintf("%s/HEAD", copy_of(""));
	px_say(0);
	px_put(1, ".git/HEAD", "birch");
	px_send(1);
	hear_all(0);
	px_unlink(1, head);
	px_send(1);
	px_meet();
	is_somewhere("birch");
	has(".git", OURS);
	free(head);
}
END_TEST

/* The primary changes the copy; the secondary goes on in its own, and then, having heard of the copy, in that. */
START_TEST(what_it_writes_to_its_own_and_to_the_copy_is_two)
{
	char *head;

	judged(false);
	head = xasprintf("%s/HEAD", copy_of(""));
	px_say(0);
	px_put(1, ".git/HEAD", "birch, and all of it");
	px_put(0, head, "alder in it");
	px_send(1);
	hear_all(0);
	px_put(1, head, "birch in it");
	px_send(1);
	px_meet();
	is_somewhere("alder in it");
	is_somewhere("birch in it");
	is_somewhere("birch, and all of it");
	has(".git", OURS);
	free(head);
}
END_TEST

/* In one shipment: what it did before it heard of the copy, and after; and the primary went on in both. */
START_TEST(what_it_wrote_before_and_after_it_heard_is_there)
{
	char *head;

	judged(false);
	head = xasprintf("%s/HEAD", copy_of(""));
	px_put(1, ".git/o/1", "birch before");
	px_say(0);
	hear_all(0);
	px_put(1, _i ? ".git/o/1" : ".git/o/2", "birch after");
	px_put(0, head, "alder in it");
	px_put(0, ".git/HEAD", "alder again");
	px_send(1);
	px_meet();
	is_somewhere("alder in it");
	is_somewhere("alder again");
	is_somewhere("birch after");
	if (_i == 0)
		is_somewhere("birch before");
	free(head);
}
END_TEST

/* A directory that the secondary moves into the unit is in the copy as it is here, with what the primary wrote. */
START_TEST(what_the_primary_wrote_is_not_written_over_in_the_copy)
{
	px_mkdir(0, "d");
	px_put(0, "d/f", "f");
	together();
	px_down();
	px_put(0, ".git/HEAD", "alder");
	px_put(0, "d/f", "alder in d");
	px_rename(1, "d", ".git/d");
	px_hello();
	px_send(1);
	px_put(1, ".git/d/f", "birch in d");
	px_send(1);
	px_meet();
	is_somewhere("alder in d");
	is_somewhere("birch in d");
}
END_TEST

/* It wrote to ours of the unit, and goes on: all of that is in the copy, and ours is in place at both. */
START_TEST(what_it_writes_again_to_ours_that_it_had_taken_is_in_the_copy)
{
	together();
	px_down();
	px_put(0, ".git/HEAD", "alder");
	px_put(1, ".git/refs", "birch");
	px_hello();
	px_send(0);
	px_append(1, ".git/HEAD", "+birch");
	px_send(1);
	px_append(1, ".git/HEAD", "+more");
	px_send(1);
	px_meet();
	has(".git", "HEAD=alder o/1=one o/2=two ");
	has(copy_of(""), "HEAD=alder+birch+more o/1=one o/2=two refs=birch ");
	ck_assert_uint_eq(px_count(0, ""), 2);
}
END_TEST

/* It took it out of the unit when it had not heard of the copy; by then it is as the primary has it, and is removed. */
START_TEST(what_it_removes_when_it_has_ours_in_it_is_not_what_it_wrote)
{
	judged(false);
	px_put(1, ".git/o/1", "birch one");
	px_send(1);
	px_say(0);
	px_rename(1, ".git/o/1", "x");
	hear_all(0);
	px_send(1);
	px_unlink(1, "x");
	px_send(1);
	px_meet();
	is_somewhere("birch one");
}
END_TEST

/* Its name is one in the copy, but the bytes that it had taken are ours, and we wrote to them too; and ours is no unit
 * any more. */
START_TEST(what_both_write_to_ours_of_which_it_has_the_name_in_the_copy_is_there)
{
	judged(true);
	px_hear(0);
	px_rename(1, ".git/HEAD", ".git/H");
	px_append(1, ".git/H", "+birch");
	px_rename(0, ".git", "d");
	px_append(0, "d/HEAD", "+more");
	px_send(1);
	px_meet();
	ck_assert_msg(strstr(below(0, ""), "+birch") != NULL, "%s", below(0, ""));
	ck_assert_msg(strstr(below(0, ""), "+more") != NULL, "%s", below(0, ""));
}
END_TEST

/* The primary took it from the copy, as the secondary had removed its own; that then writes to the copy. */
START_TEST(what_it_writes_to_what_it_had_removed_from_its_own_is_there)
{
	char *one;

	judged(false);
	one = xasprintf("%s/o/1", copy_of(""));
	px_say(0);
	px_unlink(1, ".git/o/1");
	px_send(1);
	hear_all(0);
	px_append(1, one, "+birch");
	px_send(1);
	px_meet();
	is_somewhere("one+birch");
	has(".git", OURS);
	free(one);
}
END_TEST

/* It has its own bytes still in the file that it removes: ours are on their way. */
START_TEST(what_it_removes_in_place_before_it_has_ours_is_back)
{
	judged(false);
	px_say(0);
	px_put(1, ".git/HEAD", "birch");
	px_send(1);
	hear_all(0);
	px_send(1);
	px_unlink(1, ".git/HEAD");
	px_say(0);
	hear_all(0);
	px_send(1);
	px_meet();
	is_somewhere("birch");
	has(".git", OURS);
}
END_TEST

/* A file in conflict, of which it has not heard, that it makes a part of a unit: of that it has ours too, but for the
 * bytes. */
START_TEST(what_it_sets_on_a_file_in_conflict_that_it_puts_into_a_unit_is_each_sides_own)
{
	px_mkdir(0, "w");
	px_put(0, "w/f", "base");
	px_put(0, "w/g", "g");
	px_meet();
	px_down();
	px_put(0, "w/f", "alder");
	px_put(1, "w/f", "birch");
	px_hello();
	px_send(1);
	px_append(1, "w/f", "+");
	px_set(1, "w/f", SET_MODE, (struct attr){ .mode = 0600 });
	px_rename(1, "w", ".git");
	px_append(1, ".git/g", "+");
	px_append(0, "w/g", "-");
	px_send(1);
	px_meet();
	is_somewhere("birch+");
	is_somewhere("alder");
}
END_TEST

/* A name outside that it gave to a file of the unit and that is the copy's here: it has another file by it. 3: in the
 * same shipment it goes on in the copy, of which it has heard. */
START_TEST(what_it_linked_to_outside_before_it_heard_is_one_file)
{
	char *head;

	judged(false);
	head = xasprintf("%s-2/HEAD", copy_of("")); /* it has one more by then */
	px_unlink(0, ".git/o/2");
	px_say(0);
	px_link(1, ".git/o/2", "outside");
	px_unlink(1, ".git/o/2");
	px_send(1);
	hear_all(0);
	if (_i >= 2) {
		px_say(0);
		hear_all(0);
	}
	if (_i)
		px_append(1, "outside", "+birch");
	if (_i == 3)
		px_append(1, head, "+birch");
	px_meet();
	px_expect("outside", _i ? "two+birch" : "two");
	if (_i == 3)
		is_somewhere("main+birch");
	has(".git", "HEAD=alder o/1=one o/a=new ");
	free(head);
}
END_TEST

/* Its second name of a file is in the copy alone, and it is told that ours has it no more; but it wrote by it
 * meanwhile, and keeps it until that is answered. It is not put into ours. */
START_TEST(what_it_keeps_for_bytes_that_are_in_the_copy_is_not_put_in_place)
{
	together();
	px_down();
	px_put(0, ".git/HEAD", "alder");
	px_put(1, ".git/refs", "birch");
	px_link(1, ".git/o/1", ".git/o/l");
	px_hello();
	px_send(1);
	px_say(0);
	px_unlink(1, ".git/o/1");
	px_append(1, ".git/o/l", "+birch");
	px_say(1);
	hear_all(0);
	px_hear(1);
	px_send(1);
	px_meet();
	has(".git", "HEAD=alder o/1=one o/2=two ");
	has(copy_of(""), "HEAD=main o/2=two o/l=one+birch refs=birch ");
	ck_assert_uint_eq(px_count(0, ""), 2);
	ck_assert_uint_eq(conflicts("content", "kept-both"), 1);
}
END_TEST

/* It removes the name in the unit of a file that it has by another name, which the primary removed meanwhile: neither
 * removed the last name that it saw. 1: it hears of that before it says so; 2: it removed the other one as well. */
START_TEST(what_it_wrote_to_a_file_of_which_each_removed_another_name_is_there)
{
	px_mkdir(0, ".git");
	px_put(0, ".git/f", "base");
	px_link(0, ".git/f", "x");
	px_meet();
	px_down();
	px_rename(0, ".git/f", "y");
	px_unlink(0, "x");
	px_append(1, "x", " birch");
	px_hello();
	px_send(1);
	px_unlink(1, ".git/f");
	if (_i == 2)
		px_unlink(1, "x");
	if (_i == 1)
		px_send(0);
	px_meet();
	px_expect("y", "base");
	px_gone("x");
	if (_i < 2)
		is_somewhere("base birch");
	else
		ck_assert_msg(strstr(below(0, ""), "base birch") == NULL, "%s", below(0, ""));
}
END_TEST

/* The same, and a person says whose state counts (1: the secondary's); 2: it has heard of the copy; 4: it gives it
 * another name as well; 8: ours is still there. */
START_TEST(what_it_writes_by_a_name_of_the_copy_is_kept_whoever_is_preferred)
{
	judged(false);
	if (!(_i & 8))
		px_unlink(0, ".git/o/2");
	px_say(0);
	px_link(1, ".git/o/2", "outside");
	px_unlink(1, ".git/o/2");
	px_send(1);
	hear_all(0);
	if (_i & 2) {
		px_say(0);
		hear_all(0);
	}
	px_down();
	px_append(1, "outside", "+birch");
	if (_i & 4)
		px_rename(1, "outside", "elsewhere");
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(volume_commit(px[i].v), 0);
	ck_assert_int_eq(prefer_give(px[_i & 1].v, _i & 1 ? ROLE_SECONDARY : ROLE_PRIMARY), 0);
	px_meet();
	if (_i & 1)
		px_expect(_i & 4 ? "elsewhere" : "outside", "two+birch");
	for (int i = 0; i < 2; i++)
		ck_assert_msg(strstr(below(i, ""), "=two+birch ") || strstr(below(i, HIDDEN_NAME), "=two+birch "),
			      "side %d: %s in .twinfs: %s", i, below(i, ""), below(i, HIDDEN_NAME));
}
END_TEST

/* In the copy the primary has set it as well: then there is one more. It is no xattr of what is in place. */
START_TEST(what_it_sets_on_its_own_is_not_set_in_place)
{
	const char *path = _i ? ".git/o" : ".git/HEAD";
	char *in_copy;

	judged(false);
	in_copy = xasprintf("%s%s", copy_of(""), path + strlen(".git"));
	px_setxattr(0, in_copy, "user.k", "alder");
	px_setxattr(1, path, "user.k", "birch");
	px_put(1, ".git/o/b", "birch");
	px_send(1);
	px_meet();
	for (int i = 0; i < 2; i++)
		ck_assert_ptr_null(px_xattr(i, path, "user.k"));
	free(in_copy);
}
END_TEST

/* What it writes on top of what it took of ours after it had changed the unit is in the copy, and so is what comes on
 * top of that. */
START_TEST(what_it_writes_to_bytes_of_ours_is_in_the_copy_to_the_end)
{
	together();
	px_put(1, ".git/refs", "birch");
	px_put(0, ".git/HEAD", "alder");
	px_send(0);
	px_append(1, ".git/HEAD", "+1");
	px_send(1);
	px_append(1, ".git/HEAD", "+2");
	px_send(1);
	px_meet();
	has(".git", "HEAD=alder o/1=one o/2=two ");
	has(copy_of(""), "HEAD=alder+1+2 o/1=one o/2=two refs=birch ");
}
END_TEST

/* It takes our bytes before it hears of the copy, and gives the file another name, which is the copy's here: what it
 * then writes goes on top of ours. Odd: by another link; 2: we write to it as well; 4: what is in place is no unit any
 * more. */
START_TEST(what_it_writes_to_bytes_of_ours_by_a_name_in_the_copy_is_in_place)
{
	judged(true);
	px_hear(0);
	if (_i % 2) {
		px_link(1, ".git/HEAD", ".git/o/H");
		px_unlink(1, ".git/HEAD");
	} else {
		px_rename(1, ".git/HEAD", ".git/o/H");
	}
	px_append(1, ".git/o/H", "+birch");
	if (_i & 2)
		px_append(0, ".git/HEAD", " again");
	if (_i & 4)
		px_rename(0, ".git", "plain");
	px_send(1);
	px_meet();
	is_somewhere("alder+birch");
	if (_i & 2)
		is_somewhere("alder again");
}
END_TEST

/* It moved a file out before it heard, so that is the copy's, and writes to it when it has heard that ours is gone.
 * Odd: in two shipments. */
START_TEST(what_it_writes_to_what_it_moved_out_is_there_though_ours_is_gone)
{
	judged(false);
	px_rename(1, ".git/o/1", "taken");
	px_unlink(0, ".git/o/1");
	px_send(0);
	hear_all(0);
	px_append(1, "taken", "+1");
	px_send(1);
	if (_i) {
		px_append(1, "taken", "+2");
		px_send(1);
	}
	px_meet();
	has(".git", "HEAD=alder o/2=two o/a=new ");
	has(copy_of(""), "HEAD=main o/2=two refs=birch ");
	px_expect("taken", _i ? "one+1+2" : "one+1");
}
END_TEST

/* What it wrote late comes together with what it did in the copy itself, when it has the primary's in the unit: of its
 * unit as it was there is only the copy, so it is a file beside that and no copy of what both wrote. */
START_TEST(what_it_wrote_late_is_beside_the_copy_in_which_it_goes_on)
{
	struct px_list *list = xmalloc(sizeof(*list));
	char *name;

	together();
	px_down();
	px_put(0, ".git/HEAD", "alder");
	px_append(1, ".git/o/1", "+birch");
	px_hello();
	px_send(1);
	px_append(1, ".git/o/1", "+late");
	px_say(1);
	px_send(0);
	px_hear(1);
	px_mkdir(1, "other");
	px_send(1);
	px_append(1, ".git/o/1", "+later");
	name = xasprintf("%s/o/mine", copy_of(""));
	px_put(1, name, "mine");
	px_send(0);
	px_send(1);
	px_meet();
	has(".git", "HEAD=alder o/1=one o/2=two ");
	is_somewhere("one+birch+late+later");
	is_somewhere("mine");
	free(name);
	px_list(0, INO_ROOT, list);
	for (size_t i = 0; i < list->n; i++)
		ck_assert_msg(!strstr(below(0, list->e[i].name), "HEAD=alder") ||
			      !strstr(below(0, list->e[i].name), "birch"), "%s is mixed", list->e[i].name);
	free(list);
}
END_TEST

/*
 * The primary gave the unit a name that is none of one, or took a directory (2) or a file (4) out of it, and the
 * secondary wrote to a file that is in a unit with it alone. Odd: a large shipment, most of which is landed bit by bit.
 */
START_TEST(what_is_in_a_unit_with_the_secondary_alone_is_changed_in_that)
{
	static const char *const ours[] = { "HEAD=main new=alder o/1=one o/2=two ", "HEAD=main ",
					    "HEAD=main o/2=two " };
	const char *copy;

	together();
	px_down();
	switch (_i / 2) {
	case 0:
		px_rename(0, ".git", "plain");
		px_put(0, "plain/new", "alder");
		break;
	case 1: px_rename(0, ".git/o", "o"); break;
	default: px_rename(0, ".git/o/1", "one"); break;
	}
	px_append(1, ".git/o/1", "+birch");
	for (int i = 0; _i % 2 && i < 5; i++)
		px_put(1, &"a\0b\0c\0d\0e"[2 * i], "x");
	px_meet_landed();
	copy = px_find(0, "", _i / 2 ? ".git.conflict-birch-" : "plain.conflict-birch-");
	ck_assert_msg(copy[0] != '\0', "there is no copy");
	has(copy, "HEAD=main o/1=one+birch o/2=two ");
	has(_i / 2 ? ".git" : "plain", ours[_i / 2]);
	if (_i / 2)
		px_expect(_i / 2 == 1 ? "o/1" : "one", "one");
}
END_TEST

/* The same of one that has its policy by a path, and of which a directory above got another name. */
START_TEST(what_is_in_a_unit_by_its_path_with_the_secondary_alone_is_changed_in_that)
{
	struct err err = ERR_INIT;

	ck_assert_int_eq(volume_policy_set(px[0].v, "/a/lib", "unit", &err), 0);
	px_mkdir(0, "a");
	px_mkdir(0, "a/lib");
	px_put(0, "a/lib/f", "one");
	px_meet();
	px_down();
	px_rename(0, "a", "b");
	px_put(0, "b/lib/new", "alder");
	px_append(1, "a/lib/f", "+birch");
	for (int i = 0; _i && i < 5; i++)
		px_put(1, &"c\0d\0e\0f\0g"[2 * i], "x");
	px_meet_landed();
	has("b/lib", "f=one new=alder ");
	ck_assert_uint_eq(px_count(0, "b"), 2);
}
END_TEST

/* The secondary moved a directory into what is a unit with the primary alone, which moved it elsewhere, and wrote in
 * it: that is in a unit by where the one has it and by what the other calls that. */
START_TEST(what_is_in_a_unit_by_what_both_say_of_it_is_changed_in_that)
{
	px_mkdir(0, "u");
	px_put(0, "u/b", "b");
	px_mkdir(0, "d");
	px_put(0, "d/f", "one");
	px_meet();
	px_down();
	px_rename(0, "u", ".git");
	px_put(0, ".git/new", "alder");
	px_rename(0, "d", "e");
	px_rename(1, "d", "u/d");
	px_append(1, "u/d/f", "+birch");
	for (int i = 0; _i && i < 5; i++)
		px_put(1, &"c\0e\0f\0g\0h"[2 * i], "x");
	px_meet_landed();
	has(".git", "b=b new=alder ");
	has(copy_of(""), "b=b d/f=one+birch ");
	has("e", "f=one ");
}
END_TEST

static void setup_in_steps(void)
{
	px_step_rows = 4; /* from so many records on a shipment is a large one */
	px_setup();
}

static void teardown_in_steps(void)
{
	px_teardown();
	px_step_rows = 0;
}

/* It made a unit and put a file into it that we changed where it was, so it is two; and in the unit we save it anew
 * (odd: remove it), and remove ours, before the secondary, which writes on, hears of that. */
START_TEST(what_it_writes_to_what_it_put_in_is_there_though_we_have_another_in_its_place)
{
	px_put(0, "f", "f");
	px_meet();
	px_down();
	px_append(0, "f", "alder");
	px_mkdir(1, ".git");
	px_put(1, ".git/HEAD", "main");
	px_rename(1, "f", ".git/f");
	px_hello();
	px_send(1);
	if (_i) {
		px_unlink(0, ".git/f");
	} else {
		px_put(0, "tmp#", "other");
		px_rename(0, "tmp#", ".git/f");
	}
	px_unlink(0, "f");
	px_append(1, ".git/f", "+birch");
	px_send(1);
	px_meet();
	is_somewhere("f+birch");
}
END_TEST

/* The primary put another file at the name of one that both removed; what the secondary knew when it wrote to that is
 * not what it had removed. */
START_TEST(what_both_removed_from_it_is_not_in_the_way)
{
	px_put(0, "d", "d");
	px_put(0, "y", "y");
	together();
	px_down();
	px_put(0, ".git/HEAD", "alder");
	px_rename(0, "y", ".git/o/2");
	px_link(0, "d", ".git/g");
	px_unlink(1, ".git/o/2");
	px_put(1, ".git/refs", "birch");
	px_hello();
	px_send(1);
	px_put(1, "y", "birch in y");
	px_put(1, "d", "birch in d");
	px_say(0);
	hear_all(0);
	px_meet();
	is_somewhere("birch in y");
	is_somewhere("birch in d");
	has(".git", "HEAD=alder g=d o/1=one o/2=y ");
}
END_TEST

/* The primary removed it twice: what the secondary put in had brought it back. Of the second time the secondary did not
 * know when it told that it keeps it. */
START_TEST(what_is_kept_where_it_was_removed_again_is_there_whole)
{
	px_mkdir(0, ".git");
	px_meet();
	px_down();
	px_rmdir(0, ".git");
	px_put(1, ".git/refs", "birch");
	px_hello();
	px_say(0);
	px_send(1);
	hear_all(0);
	px_unlink(0, ".git/refs");
	px_rmdir(0, ".git");
	px_send(1);
	px_meet();
	has(".git", "refs=birch ");
}
END_TEST

/* The primary took it into a directory that the secondary took into it: the copy is placed in what the secondary has
 * nowhere by then. And both made another one, of which it is asked whether they are the same. */
START_TEST(where_each_holds_the_other_and_both_made_another_one_all_is_there)
{
	px_mkdir(0, "g");
	px_put(0, "g/j", "j");
	px_mkdir(0, "g/f");
	px_mkdir(0, "b");
	px_put(0, "b/h", "h");
	px_meet();
	px_down();
	px_rename(0, "g", "b/.git");
	px_put(0, "b/.git/j", "alder");
	px_mkdir(0, ".git");
	px_put(0, ".git/own", "alder's");
	px_rename(1, "g/f", "g/.git");
	px_rename(1, "b", _i ? "g/.git/b" : "g/b");
	px_put(1, "g/.git/f", "birch");
	px_put(1, "g/j", "birch in j");
	px_mkdir(1, ".git");
	px_put(1, ".git/own", "birch's");
	px_meet();
	is_somewhere("alder");
	is_somewhere("birch");
	is_somewhere("birch in j");
	is_somewhere("alder's");
	is_somewhere("birch's");
	is_somewhere("h");
}
END_TEST

/* ---- databases ----------------------------------------------------------------------------------------------------
 */

/* A file that begins as a database does, with a word in it. */
static void database(int i, const char *path, const char *word)
{
	char page[512] = "SQLite format 3";

	snprintf(page + 16, sizeof(page) - 16, "%s", word);
	if (!px_at(i, path))
		px_make(i, path, S_IFREG | 0644);
	px_write(i, path, page, sizeof(page), 0);
}

static const char *word_in(int i, const char *path)
{
	ck_assert_msg(px_at(i, path) != 0, "side %d has no %s", i, path);
	return px_bytes(i, px_at(i, path), NULL) + 16;
}

/* Both sides have the database with this word, and this beside it; NULL: nothing. */
static void database_is(const char *path, const char *word, const char *wal)
{
	char *side = xasprintf("%s-wal", path);

	for (int i = 0; i < 2; i++) {
		ck_assert_str_eq(word_in(i, path), word);
		ck_assert_int_eq(px_at(i, side) != 0, wal != NULL);
		if (wal)
			ck_assert_str_eq(px_bytes(i, px_at(i, side), NULL), wal);
	}
	free(side);
}

/* The database of the secondary, without "-wal" and the like. */
static const char *database_copy(void)
{
	static char name[NAME_MAX_BYTES + 1];
	struct px_list *l = xmalloc(sizeof(*l));

	name[0] = '\0';
	px_list(0, INO_ROOT, l);
	for (size_t k = 0; k < l->n; k++)
		if (strncmp(l->e[k].name, "app.conflict-birch-", 19) == 0 && !strchr(strstr(l->e[k].name, ".db"), '-'))
			snprintf(name, sizeof(name), "%s", l->e[k].name);
	free(l);
	ck_assert_msg(name[0] != '\0', "there is no copy");
	return name;
}

START_TEST(a_database_and_its_log_are_two_whole_ones)
{
	database(0, "app.db", "base");
	px_put(0, "app.db-wal", "log");
	px_put(0, "app.db-shm", "shared");
	px_meet();
	if (_i == 0) { /* each another file of it */
		database(0, "app.db", "alder");
		px_put(1, "app.db-wal", "birch");
	} else if (_i == 1) {
		database(1, "app.db", "birch");
		px_put(0, "app.db-wal", "alder");
	} else {
		database(0, "app.db", "alder");
		px_unlink(1, "app.db-wal");
		px_unlink(1, "app.db-shm");
		database(1, "app.db", "birch");
	}
	px_meet();
	database_is("app.db", _i == 1 ? "base" : "alder", _i == 1 ? "alder" : "log");
	database_is(database_copy(), _i == 0 ? "base" : "birch", _i == 0 ? "birch" : _i == 1 ? "log" : NULL);
	ck_assert_uint_eq(px_count(0, ""), _i == 2 ? 4 : 6);
	ck_assert_uint_eq(conflicts("content", "kept-both"), 1);
}
END_TEST

START_TEST(a_database_made_on_both_sides_is_two)
{
	px_put(0, "f", "x");
	px_meet();
	for (int i = 0; i < 2; i++)
		database(i, "app.db", i ? "birch" : "alder");
	px_put(1, "app.db-wal", "birch");
	px_meet();
	database_is("app.db", "alder", NULL);
	database_is(database_copy(), "birch", "birch");
}
END_TEST

START_TEST(a_database_changed_on_one_side_is_as_that_has_it)
{
	database(0, "app.db", "base");
	px_meet();
	database(_i, "app.db", "new");
	px_put(_i, "app.db-wal", "log");
	px_put(!_i, "f", "x");
	px_meet();
	database_is("app.db", "new", "log");
	ck_assert_uint_eq(px_count(0, ""), 3);
}
END_TEST

START_TEST(a_database_removed_on_one_side_and_changed_on_the_other_is_there_whole)
{
	database(0, "app.db", "base");
	px_put(0, "app.db-wal", "log");
	px_meet();
	px_unlink(_i, "app.db");
	px_unlink(_i, "app.db-wal");
	database(!_i, "app.db", "changed");
	px_meet();
	database_is("app.db", "changed", "log");
	ck_assert_uint_eq(px_count(0, ""), 2);
}
END_TEST

/* The secondary, where it was closed, does something to the database alone; what the primary wrote is in the log: one
 * that it made, or that both had. */
START_TEST(what_the_primary_wrote_to_its_log_is_with_a_database_taken_away)
{
	static const unsigned files[] = { 2, 3, 3, 3, 4, 4 };

	database(0, "app.db", "base");
	if (_i >= 3)
		px_put(0, "app.db-wal", "log");
	px_meet();
	px_put(0, "app.db-wal", "alder");
	if (_i % 3 == 0)
		px_unlink(1, "app.db");
	else if (_i % 3 == 1)
		px_rename(1, "app.db", "x.db");
	else
		px_setxattr(1, "app.db", "user.key", "birch");
	px_meet();
	database_is("app.db", "base", "alder");
	if (_i % 3 == 1)
		database_is("x.db", "base", NULL);
	else if (_i % 3 == 2)
		database_is(database_copy(), "base", _i >= 3 ? "log" : NULL);
	ck_assert_uint_eq(px_count(0, ""), files[_i]);
}
END_TEST

START_TEST(files_that_are_no_database_are_none_though_they_are_called_so)
{
	px_put(0, "app.db", "text");
	px_put(0, "app.db-wal", "log");
	px_meet();
	px_put(0, "app.db", "alder");
	px_put(1, "app.db-wal", "birch");
	px_meet();
	px_expect("app.db", "alder");
	px_expect("app.db-wal", "birch");
	ck_assert_uint_eq(px_count(0, ""), 2);
}
END_TEST

START_TEST(of_two_databases_one_is_taken_with_its_log)
{
	struct err err = ERR_INIT;

	database(0, "app.db", "base");
	px_meet();
	for (int i = 0; i < 2; i++) {
		database(i, "app.db", i ? "birch" : "alder");
		px_put(i, "app.db-wal", i ? "birch" : "alder");
	}
	px_unlink(0, "app.db-wal");
	px_meet();
	database_is("app.db", "alder", NULL);
	ck_assert_msg(volume_conflict_resolve(px[1].v, "/app.db", _i, &err) == 0, "%s", err_text(&err));
	px_meet();
	database_is("app.db", _i == 0 ? "birch" : "alder", _i == 0 ? "birch" : NULL);
	ck_assert_uint_eq(px_count(0, ""), _i == 0 ? 2 : 1);
}
END_TEST

/* It is its own version that it gave another name, outside: that name is not left to the primary's. */
START_TEST(a_second_name_of_what_was_moved_out_of_a_unit_goes_with_it)
{
	px_mkdir(0, ".git");
	px_put(0, ".git/f", "base");
	px_put(0, ".git/g", "g");
	px_meet();
	px_down();
	px_write(0, ".git/g", "G", 1, 0);
	px_rename(1, ".git/f", "x");
	px_link(1, "x", "y");
	px_append(1, "y", " birch");
	px_hello();
	px_send(1);
	if (_i)
		px_unlink(1, "x"); /* it has that in the other one */
	px_meet();
	px_expect("y", "base birch");
	if (!_i)
		ck_assert_uint_eq(px_at(0, "x"), px_at(0, "y"));
	px_expect(".git/f", "base");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("units");
	TCase *tc = tcase_create("directories"), *on = tcase_create("going on"), *db = tcase_create("databases"),
	      *st = tcase_create("in steps");

	tcase_add_checked_fixture(tc, px_setup, px_teardown);
	tcase_add_loop_test(tc, a_second_name_of_what_was_moved_out_of_a_unit_goes_with_it, 0, 2);
	tcase_add_test(tc, what_both_changed_is_two_whole_ones);
	tcase_add_test(tc, one_file_that_both_wrote_is_in_both);
	tcase_add_loop_test(tc, what_one_side_changed_is_taken_as_it_is, 0, 2);
	tcase_add_test(tc, the_same_on_both_sides_is_no_conflict);
	tcase_add_loop_test(tc, removed_on_one_side_and_changed_on_the_other_it_is_there_whole, 0, 2);
	tcase_add_loop_test(tc, what_was_changed_before_it_was_removed_comes_back_as_the_other_has_it, 0, 2);
	tcase_add_test(tc, made_on_both_sides_it_is_two);
	tcase_add_test(tc, made_the_same_on_both_sides_it_is_one);
	tcase_add_loop_test(tc, one_that_was_moved_has_its_copy_beside_it, 0, 2);
	tcase_add_test(tc, hard_links_in_it_are_links_in_the_copy_and_those_to_outside_stay);
	tcase_add_loop_test(tc, a_pattern_makes_a_unit_of_any_directory, 0, 2);
	tcase_add_test(tc, git_gets_another_policy_and_is_a_directory_like_any_other);
	tcase_add_test(tc, a_unit_in_a_unit_goes_with_the_outer_one);
	tcase_add_test(tc, what_both_took_out_and_put_in_is_where_they_put_it);
	tcase_add_test(tc, a_conflict_in_the_copy_is_another_copy);
	tcase_add_test(tc, an_xattr_that_both_set_in_it_is_each_sides_own);
	tcase_add_loop_test(tc, an_xattr_that_one_side_set_in_it_is_a_change_of_it, 0, 3);
	tcase_add_loop_test(tc, what_the_secondary_took_before_is_in_its_copy, 0, 2);
	tcase_add_loop_test(tc, one_of_two_is_taken_or_both_stay, 0, 9);
	tcase_add_loop_test(tc, what_it_took_of_ours_after_it_changed_the_unit_is_not_in_the_copy, 0, 2);
	tcase_add_loop_test(tc, what_the_primary_did_to_what_the_secondary_put_in_is_not_in_the_copy, 0, 2);
	tcase_add_test(tc, what_the_secondary_did_to_what_the_primary_put_in_is_where_it_was);
	tcase_add_loop_test(tc, what_one_side_put_in_and_the_other_changed_where_it_was_is_in_both_places, 0, 6);
	tcase_add_loop_test(tc, what_both_set_on_what_stays_though_it_was_put_into_what_was_taken_out_is_alike, 0, 6);
	tcase_add_loop_test(tc, what_one_side_removed_of_what_it_put_in_is_where_the_other_changed_it, 0, 6);
	tcase_add_loop_test(tc, what_one_side_removed_of_what_it_put_into_a_unit_it_made_is_not_mixed_with_the_others,
			    0, 2);
	suite_add_tcase(s, tc);
	tcase_add_checked_fixture(on, px_setup, px_teardown);
	tcase_add_loop_test(on, what_the_secondary_goes_on_with_is_in_the_copy_that_was_made_for_it, 0, 4);
	tcase_add_loop_test(on, what_it_takes_of_ours_before_it_hears_is_not_in_the_copy, 0, 3);
	tcase_add_loop_test(on, what_it_does_when_it_has_heard_is_done_in_place, 0, 2);
	tcase_add_loop_test(on, what_it_moves_out_of_it_or_into_it_goes_with_the_copy, 0, 4);
	tcase_add_loop_test(on, what_it_removes_is_gone_with_the_copy, 0, 2);
	tcase_add_test(on, a_copy_that_the_primary_changed_meanwhile_stays_as_it_has_it);
	tcase_add_test(on, what_it_removes_from_the_copy_is_what_it_has_there);
	tcase_add_test(on, what_it_writes_to_its_own_and_to_the_copy_is_two);
	tcase_add_loop_test(on, what_it_wrote_before_and_after_it_heard_is_there, 0, 2);
	tcase_add_test(on, what_the_primary_wrote_is_not_written_over_in_the_copy);
	tcase_add_test(on, what_it_writes_again_to_ours_that_it_had_taken_is_in_the_copy);
	tcase_add_test(on, what_it_removes_when_it_has_ours_in_it_is_not_what_it_wrote);
	tcase_add_test(on, what_both_write_to_ours_of_which_it_has_the_name_in_the_copy_is_there);
	tcase_add_test(on, what_it_writes_to_what_it_had_removed_from_its_own_is_there);
	tcase_add_test(on, what_it_removes_in_place_before_it_has_ours_is_back);
	tcase_add_test(on, what_it_sets_on_a_file_in_conflict_that_it_puts_into_a_unit_is_each_sides_own);
	tcase_add_loop_test(on, what_it_linked_to_outside_before_it_heard_is_one_file, 0, 4);
	tcase_add_loop_test(on, what_it_wrote_to_a_file_of_which_each_removed_another_name_is_there, 0, 3);
	tcase_add_test(on, what_it_keeps_for_bytes_that_are_in_the_copy_is_not_put_in_place);
	tcase_add_loop_test(on, what_it_writes_by_a_name_of_the_copy_is_kept_whoever_is_preferred, 0, 16);
	tcase_add_loop_test(on, what_it_sets_on_its_own_is_not_set_in_place, 0, 2);
	tcase_add_test(on, what_it_writes_to_bytes_of_ours_is_in_the_copy_to_the_end);
	tcase_add_loop_test(on, what_it_writes_to_bytes_of_ours_by_a_name_in_the_copy_is_in_place, 0, 8);
	tcase_add_loop_test(on, what_it_writes_to_what_it_moved_out_is_there_though_ours_is_gone, 0, 2);
	tcase_add_loop_test(on, what_it_writes_to_what_it_put_in_is_there_though_we_have_another_in_its_place, 0, 2);
	tcase_add_test(on, what_both_removed_from_it_is_not_in_the_way);
	tcase_add_test(on, what_is_kept_where_it_was_removed_again_is_there_whole);
	tcase_add_loop_test(on, where_each_holds_the_other_and_both_made_another_one_all_is_there, 0, 2);
	tcase_add_test(on, what_it_wrote_late_is_beside_the_copy_in_which_it_goes_on);
	suite_add_tcase(s, on);
	tcase_add_checked_fixture(db, px_setup, px_teardown);
	tcase_add_loop_test(db, a_database_and_its_log_are_two_whole_ones, 0, 3);
	tcase_add_test(db, a_database_made_on_both_sides_is_two);
	tcase_add_loop_test(db, a_database_changed_on_one_side_is_as_that_has_it, 0, 2);
	tcase_add_loop_test(db, a_database_removed_on_one_side_and_changed_on_the_other_is_there_whole, 0, 2);
	tcase_add_loop_test(db, what_the_primary_wrote_to_its_log_is_with_a_database_taken_away, 0, 6);
	tcase_add_test(db, files_that_are_no_database_are_none_though_they_are_called_so);
	tcase_add_loop_test(db, of_two_databases_one_is_taken_with_its_log, 0, 2);
	suite_add_tcase(s, db);
	tcase_add_checked_fixture(st, setup_in_steps, teardown_in_steps);
	tcase_add_loop_test(st, what_is_in_a_unit_with_the_secondary_alone_is_changed_in_that, 0, 6);
	tcase_add_loop_test(st, what_is_in_a_unit_by_its_path_with_the_secondary_alone_is_changed_in_that, 0, 2);
	tcase_add_loop_test(st, what_is_in_a_unit_by_what_both_say_of_it_is_changed_in_that, 0, 2);
	suite_add_tcase(s, st);
	return tap_main(s);
}
