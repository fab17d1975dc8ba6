/* SPDX-License-Identifier: MIT */
/* Who holds a file at the secondary while the primary decides what becomes of it: a held inode as the kernel has one
 * of each file that a program has open. */
#include "tests/pair_fixture.h"

#define HELD_MAX 4u

static uint64_t held[2][HELD_MAX];
static size_t n_held[2];

static void on_notice(void *ctx, const struct notice *list, size_t n)
{
	int side = (int)(intptr_t)ctx;

	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < n_held[side] && list[i].kind == NOTICE_MOVED; k++)
			if (held[side][k] == list[i].ino)
				held[side][k] = list[i].to;
}

static void watch(int side)
{
	volume_set_notice(px[side].v, on_notice, NULL, (void *)(intptr_t)side);
}

static void setup(void)
{
	px_setup();
	watch(0);
	watch(1);
	n_held[0] = n_held[1] = 0;
}

static size_t hold(int side, const char *path)
{
	uint64_t ino = px_at(side, path);

	ck_assert_msg(ino != 0, "side %d has no %s", side, path);
	ck_assert_uint_lt(n_held[side], HELD_MAX);
	volume_ref(px[side].v, ino);
	held[side][n_held[side]] = ino;
	return n_held[side]++;
}

static void appends(int side, size_t h, const char *text)
{
	ck_assert_int_eq(volume_write(px[side].v, held[side][h], text, strlen(text), 0, WRITE_APPEND, NULL),
			 (int)strlen(text));
}

static void holds(int side, size_t h, const char *path)
{
	ck_assert_msg(held[side][h] == px_at(side, path), "side %d: what is held is not %s but %s", side, path,
		      volume_path(px[side].v, held[side][h]) ? "another one" : "without a name");
}

/* Whichever of two it is that became one, or are two again. */
static void has_a_name(int side, size_t h)
{
	char *path = volume_path(px[side].v, held[side][h]);

	ck_assert_msg(path && strncmp(path, "/" HIDDEN_NAME, strlen("/" HIDDEN_NAME)) != 0, "side %d: it is %s", side,
		      path ? path : "nowhere");
	free(path);
}

static void release_all(void)
{
	for (int i = 0; i < 2; i++)
		while (n_held[i] > 0)
			volume_unref(px[i].v, held[i][--n_held[i]], 1);
}

static void teardown(void)
{
	release_all();
	px_teardown();
}

static void together(const char *path, const char *text)
{
	px_put(0, path, text);
	px_meet();
	px_down();
}

static const char *copy(void)
{
	const char *name = px_find(1, "", "f.conflict-birch");

	ck_assert_msg(*name, "there is no copy");
	return name;
}

/* ---- one file, two versions ---- */

START_TEST(who_holds_the_file_writes_on_in_the_copy_of_its_version)
{
	size_t h;

	together("f.txt", "one\n");
	px_put(0, "f.txt", "alder\n");
	px_put(1, "f.txt", "birch\n");
	h = hold(1, "f.txt");
	px_meet();
	holds(1, h, copy());
	appends(1, h, "more\n");
	px_meet();
	appends(1, h, "and more\n");
	px_meet();
	px_expect("f.txt", "alder\n");
	px_expect(copy(), "birch\nmore\nand more\n");
	ck_assert_uint_eq(px_count(0, ""), 2);
}
END_TEST

/* What it writes before this side has heard of the outcome: the primary redirects that, and only then it follows. */
START_TEST(what_is_written_before_the_outcome_is_known_is_in_the_copy_too)
{
	size_t h;

	together("f.txt", "one\n");
	px_put(0, "f.txt", "alder\n");
	px_put(1, "f.txt", "birch\n");
	h = hold(1, "f.txt");
	px_hello();
	px_send(1);
	appends(1, h, "2\n");
	if (_i)
		px_say(1); /* it crosses the outcome */
	px_send(0);
	holds(1, h, "f.txt");
	appends(1, h, "3\n");
	if (_i)
		px_hear(1);
	px_send(1);
	appends(1, h, "4\n");
	px_meet();
	holds(1, h, copy());
	appends(1, h, "5\n");
	px_meet();
	px_expect("f.txt", "alder\n");
	px_expect(copy(), "birch\n2\n3\n4\n5\n");
}
END_TEST

/* The copy gets what the holder wrote late, at the primary; and here, from somebody else, something that the primary
 * does not know of: that goes to a copy of the copy, and the holder does not go with it. */
START_TEST(who_waits_for_what_it_wrote_late_goes_to_the_copy_that_has_it)
{
	char first[256];
	size_t h;

	together("f.txt", "one\n");
	px_put(0, "f.txt", "alder\n");
	px_put(1, "f.txt", "birch\n");
	h = hold(1, "f.txt");
	px_hello();
	px_send(1);
	appends(1, h, "late\n");
	px_send(0);
	holds(1, h, "f.txt");
	snprintf(first, sizeof(first), "%s", copy());
	px_send(1);
	px_append(1, first, "by another one\n");
	px_meet();
	px_expect("f.txt", "alder\n");
	px_expect(first, "birch\nlate\n");
	holds(1, h, first);
	ck_assert_uint_eq(px_count(0, ""), 3);
	appends(1, h, "later\n");
	px_meet();
	px_expect(first, "birch\nlate\nlater\n");
}
END_TEST

/* At the primary somebody wrote to the copy too: it has both, and the holder comes to it. */
START_TEST(who_waits_for_what_it_wrote_late_goes_to_the_copy_in_which_it_was_merged)
{
	const char *at;
	size_t h;

	together("f.txt", "one\n");
	px_put(0, "f.txt", "alder\n");
	px_put(1, "f.txt", "1\n2\n3\n4\nbirch\n");
	h = hold(1, "f.txt");
	px_hello();
	px_send(1);
	px_say(0);
	px_write(0, px_find(0, "", "f.conflict-birch"), "A", 1, 0);
	appends(1, h, "late\n");
	px_send(1);
	px_hear(0);
	holds(1, h, "f.txt");
	px_meet();
	at = copy();
	px_expect(at, "A\n2\n3\n4\nbirch\nlate\n");
	holds(1, h, at);
	appends(1, h, "later\n");
	px_meet();
	px_expect(at, "A\n2\n3\n4\nbirch\nlate\nlater\n");
}
END_TEST

/* Saved anew here; the bytes of its own are in a copy, but it left alone what it was told of that, as it wrote on. */
START_TEST(who_wrote_late_to_what_was_saved_here_goes_to_the_copy_that_has_it)
{
	size_t h;

	together("f.txt", "one\n");
	px_put(0, "tmp", "alder\n");
	px_rename(0, "tmp", "f.txt");
	px_set(1, "f.txt", SET_MODE, (struct attr){ .mode = 0600 });
	h = hold(1, "f.txt");
	px_hello();
	px_send(1); /* it is ours by now */
	appends(1, h, "birch\n");
	px_send(0);
	px_send(1); /* and has a copy */
	px_say(0);
	appends(1, h, "late\n");
	px_send(1); /* which has that, too */
	px_hear(0);
	px_meet();
	px_expect("f.txt", "alder\n");
	px_expect(copy(), "one\nbirch\nlate\n");
	ck_assert_uint_eq(px_count(0, ""), 2);
	holds(1, h, copy());
	appends(1, h, "later\n");
	px_meet();
	px_expect(copy(), "one\nbirch\nlate\nlater\n");
}
END_TEST

/* The same, and by then this side has heard of the copy: it goes on with its own until it hears that it is in it. */
START_TEST(what_it_wrote_having_heard_of_the_copy_is_merged_there_too)
{
	static const char *const before[] = { "1\n2\n3\n4\n", "\x8f\x01\x9e\n1\n2\n3\n4\n" };
	char want[80];
	const char *at;
	size_t h;

	together("f.txt", before[_i % 2]);
	px_write(0, "f.txt", "a", 1, 0);
	px_write(1, "f.txt", "b", 1, 0);
	h = hold(1, "f.txt");
	px_hello();
	px_send(1);
	px_say(0);
	appends(1, h, "late\n");
	px_say(1);
	px_hear(0);
	holds(1, h, "f.txt");
	if (_i < 2)
		px_write(0, px_find(0, "", "f.conflict-birch"), "A", 1, strlen(before[_i % 2]) - 4);
	px_hear(1);
	if (_i >= 2)
		px_write(0, px_find(0, "", "f.conflict-birch"), "A", 1, strlen(before[_i % 2]) - 4);
	appends(1, h, "later\n");
	px_send(1);
	px_meet();
	at = copy();
	snprintf(want, sizeof(want), "b%sA\n4\nlate\nlater\n", _i % 2 ? "\x01\x9e\n1\n2\n" : "\n2\n");
	px_expect(at, want);
	holds(1, h, at);
}
END_TEST

/* It keeps a name of the file that the primary removed, and tells the file whole for that: as the primary's, which it
 * is by then. */
START_TEST(who_holds_a_file_that_is_kept_for_another_name_goes_to_the_copy)
{
	size_t h;

	px_put(0, "f.txt", "one\n");
	px_link(0, "f.txt", "g");
	px_meet();
	px_down();
	px_put(0, "f.txt", "alder\n");
	px_put(1, "f.txt", "birch\n");
	h = hold(1, "f.txt");
	px_hello();
	px_send(1);
	px_unlink(0, "g");
	px_say(0);
	px_rename(1, "g", "h");
	px_hear(0);
	px_meet();
	holds(1, h, copy());
	px_expect("f.txt", "alder\n");
	px_expect("h", "alder\n");
	px_expect(copy(), "birch\n");
}
END_TEST

/* By the time this side hears of the copy the primary has removed the file: the copy is what is left. */
START_TEST(who_holds_a_file_that_the_primary_removed_after_all_goes_to_the_copy)
{
	size_t h;

	together("f.txt", "one\n");
	px_put(0, "f.txt", "alder\n");
	px_put(1, "f.txt", "birch\n");
	h = hold(1, "f.txt");
	px_hello();
	px_send(1);
	px_unlink(0, "f.txt");
	px_meet();
	holds(1, h, copy());
	appends(1, h, "more\n");
	px_meet();
	px_gone("f.txt");
	px_expect(copy(), "birch\nmore\n");
}
END_TEST

START_TEST(a_cut_before_the_outcome_arrives_changes_nothing)
{
	size_t h;

	together("f.txt", "one\n");
	px_put(0, "f.txt", "alder\n");
	px_put(1, "f.txt", "birch\n");
	h = hold(1, "f.txt");
	px_hello();
	px_send(1);
	px_say(0);
	px_down();
	if (_i) { /* what is known of it is in the primary's store */
		px_up();
		px_crash(0);
		watch(0);
	}
	holds(1, h, "f.txt");
	px_meet();
	holds(1, h, copy());
	appends(1, h, "more\n");
	px_meet();
	px_expect(copy(), "birch\nmore\n");
}
END_TEST

START_TEST(who_comes_after_the_outcome_has_the_primarys)
{
	size_t h, later;

	together("f.txt", "one\n");
	px_put(0, "f.txt", "alder\n");
	px_put(1, "f.txt", "birch\n");
	h = hold(1, "f.txt");
	px_settle();
	later = hold(1, "f.txt");
	appends(1, h, "mine\n");
	appends(1, later, "theirs\n");
	px_meet();
	holds(1, h, copy());
	holds(1, later, "f.txt");
	px_expect("f.txt", "alder\ntheirs\n");
	px_expect(copy(), "birch\nmine\n");
}
END_TEST

/* What is large lands bit by bit, but not what somebody has to follow. */
START_TEST(the_outcome_comes_with_much_else)
{
	char name[32];
	size_t h;

	together("f.txt", "one\n");
	px_mkdir(0, "d");
	for (int i = 0; i < 1200; i++) {
		snprintf(name, sizeof(name), "d/%d", i);
		px_make(0, name, S_IFREG | 0644);
	}
	px_put(0, "f.txt", "alder\n");
	px_put(1, "f.txt", "birch\n");
	h = hold(1, "f.txt");
	px_settle();
	holds(1, h, copy());
	appends(1, h, "more\n");
	px_settle();
	px_expect("f.txt", "alder\n");
	px_expect(copy(), "birch\nmore\n");
	ck_assert_uint_ne(px_at(1, "d/1199"), 0);
}
END_TEST

START_TEST(the_primary_moves_nobody)
{
	size_t h;

	together("f.txt", "one\n");
	px_put(0, "f.txt", "alder\n");
	px_put(1, "f.txt", "birch\n");
	px_put(0, "same", "same");
	px_put(1, "same", "same");
	h = hold(0, "f.txt");
	hold(0, "same");
	px_meet();
	holds(0, h, "f.txt");
	holds(0, h + 1, "same");
}
END_TEST

START_TEST(what_was_merged_in_place_is_held_still)
{
	size_t h;

	together("f.txt", "1\n2\n3\n4\n5\n6\n7\n8\n9\n");
	px_put(0, "f.txt", "alder\n2\n3\n4\n5\n6\n7\n8\n9\n");
	px_put(1, "f.txt", "1\n2\n3\n4\n5\n6\n7\n8\nbirch\n");
	h = hold(1, "f.txt");
	px_meet();
	holds(1, h, "f.txt");
	appends(1, h, "more\n");
	px_meet();
	px_expect("f.txt", "alder\n2\n3\n4\n5\n6\n7\n8\nbirch\nmore\n");
	ck_assert_uint_eq(px_count(0, ""), 1);
}
END_TEST

START_TEST(a_conflict_on_the_copy_moves_its_holder_once_more)
{
	char first[NAME_MAX_BYTES + 1];
	size_t h;

	together("f.txt", "one\n");
	px_put(0, "f.txt", "alder\n");
	px_put(1, "f.txt", "birch\n");
	h = hold(1, "f.txt");
	px_meet();
	px_down();
	snprintf(first, sizeof(first), "%s", copy());
	px_put(0, first, "alder too\n");
	appends(1, h, "more\n");
	px_meet();
	ck_assert_uint_ne(held[1][h], px_at(1, first));
	ck_assert_str_eq(px_bytes(1, held[1][h], NULL), "birch\nmore\n");
	appends(1, h, "and more\n");
	px_meet();
	px_expect("f.txt", "alder\n");
	px_expect(first, "alder too\n");
	ck_assert_uint_eq(px_count(0, ""), 3);
}
END_TEST

/* ---- a unit of which the secondary's is in a copy ---- */

/* The copy of one, or of its database; with what is behind it. */
static const char *in_copy(const char *prefix, const char *rest)
{
	static char path[2 * NAME_MAX_BYTES];
	const char *name = px_find(1, "", prefix);

	ck_assert_msg(*name, "there is no copy");
	snprintf(path, sizeof(path), "%s%s", name, rest);
	return path;
}

static const char *in(const char *dir, const char *name)
{
	static char path[3 * NAME_MAX_BYTES];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

/*
 * Only a name makes the copy of the unit, and before it wrote it had taken what we wrote: that is in ours, and not in
 * the copies, neither the first nor the one of that. 1: by the name in the unit. 2: that it is in ours is answered
 * before there is a copy of the copy.
 */
START_TEST(who_wrote_to_ours_in_a_unit_stays_there)
{
	size_t h;

	px_mkdir(0, ".git");
	px_put(0, ".git/b", "b\n");
	px_put(0, "f", "one\n");
	px_meet();
	px_down();
	px_link(1, "f", ".git/f");
	px_put(0, ".git/new", "new\n");
	px_append(0, "f", "alder\n");
	px_hello();
	px_send(0);
	h = hold(1, _i % 2 ? ".git/f" : "f");
	px_send(1);
	appends(1, h, "birch\n");
	if (_i / 2)
		px_say(1);
	px_rename(1, _i / 2 ? ".git/b" : ".git/f", ".git/g");
	px_send(0);
	holds(1, h, "f");
	if (_i / 2) {
		px_hear(1);
		px_send(0);
	}
	px_put(0, in_copy(".git.conflict-birch", "/new"), "alder\n");
	px_send(1);
	px_meet();
	px_expect("f", "one\nalder\nbirch\n");
	holds(1, h, "f");
	appends(1, h, "more\n");
	px_meet();
	px_expect("f", "one\nalder\nbirch\nmore\n");
	ck_assert_uint_eq(px_count(0, ""), 4);
}
END_TEST

/*
 * What it wrote late went to the copy of its file, or of its unit; before it heard of that it changed something beside
 * that copy, as we did. Of both there is one copy more, and the late bytes are in that, too: it goes to it.
 */
START_TEST(who_wrote_late_goes_to_a_copy_of_the_copy_that_has_it)
{
	bool unit = _i / 2;
	const char *dir = unit ? ".git" : "d", *was;
	char path[2 * NAME_MAX_BYTES];
	size_t h;

	px_mkdir(0, dir);
	px_put(0, in(dir, "b"), "b\n");
	px_put(0, in(dir, "f"), "one\n");
	px_meet();
	px_down();
	px_put(0, in(dir, "f"), "alder\n");
	px_put(1, in(dir, "f"), "birch\n");
	h = hold(1, in(dir, "f"));
	px_hello();
	px_send(1);
	appends(1, h, "late\n");
	px_send(0);
	px_say(1);
	was = unit ? px_find(1, "", ".git.conflict-birch") : dir;
	snprintf(path, sizeof(path), "%s", was);
	px_append(1, in(path, "b"), "birch\n");
	px_say(1);
	px_hear(1);
	if (!unit) {
		px_rename(0, "d", ".git");
		strcpy(path, ".git");
	}
	px_put(0, in(path, "new"), "new\n");
	if (_i % 2)
		px_say(0);
	px_hear(1);
	if (_i % 2)
		px_hear(0);
	px_meet();
	ck_assert_str_eq(px_bytes(1, held[1][h], NULL), "birch\nlate\n");
	has_a_name(1, h);
	appends(1, h, "more\n");
	px_meet();
	ck_assert_str_eq(px_bytes(0, held[1][h], NULL), "birch\nlate\nmore\n");
}
END_TEST

/* What both changed, what only it did, and what nobody did. */
START_TEST(who_has_files_of_a_unit_open_goes_on_in_its_copy)
{
	static const char *const names[] = { ".git/both", ".git/birch", ".git/none" };
	size_t h[3], late;

	px_mkdir(0, ".git");
	for (int i = 0; i < 3; i++)
		px_put(0, names[i], "one\n");
	px_meet();
	px_down();
	px_put(0, ".git/both", "alder\n");
	px_put(1, ".git/both", "birch\n");
	px_put(1, ".git/birch", "birch\n");
	for (int i = 0; i < 3; i++)
		h[i] = hold(1, names[i]);
	px_hello();
	px_send(1);
	for (int i = 0; i < 3 && _i > 0; i++)
		appends(1, h[i], "late\n");
	if (_i > 1)
		px_say(1); /* it crosses the outcome */
	px_send(0);
	for (int i = 0; i < 3 && _i > 0; i++) {
		holds(1, h[i], names[i]);
		appends(1, h[i], "later\n");
	}
	if (_i > 1)
		px_hear(1);
	px_meet();
	late = hold(1, ".git/none");
	for (int i = 0; i < 3; i++)
		holds(1, h[i], in_copy(".git.conflict-", names[i] + 4));
	for (int i = 0; i < 3; i++)
		appends(1, h[i], "and more\n");
	px_meet();
	holds(1, late, ".git/none");
	px_expect(".git/both", "alder\n");
	px_expect(".git/birch", "one\n");
	px_expect(".git/none", "one\n");
	px_expect(in_copy(".git.conflict-", "/both"), _i ? "birch\nlate\nlater\nand more\n" : "birch\nand more\n");
	px_expect(in_copy(".git.conflict-", "/birch"), _i ? "birch\nlate\nlater\nand more\n" : "birch\nand more\n");
	px_expect(in_copy(".git.conflict-", "/none"), _i ? "one\nlate\nlater\nand more\n" : "one\nand more\n");
	ck_assert_uint_eq(px_count(0, ""), 2);
}
END_TEST

/* What it wrote late is in one more copy where the primary wrote to the first, and it comes to that. */
START_TEST(who_wrote_late_in_a_unit_of_which_the_copy_was_changed_goes_to_the_next)
{
	char path[2 * NAME_MAX_BYTES];
	size_t h;

	px_mkdir(0, ".git");
	px_put(0, ".git/f", "1\n2\n3\n4\n");
	px_meet();
	px_down();
	px_write(0, ".git/f", "a", 1, 0);
	px_write(1, ".git/f", "b", 1, 0);
	h = hold(1, ".git/f");
	px_hello();
	px_send(1);
	if (_i)
		appends(1, h, "late\n");
	else
		ck_assert_int_eq(volume_write(px[1].v, held[1][h], "b", 1, 0, 0, NULL), 1);
	px_say(0);
	snprintf(path, sizeof(path), "%s/f", px_find(0, "", ".git.conflict-"));
	px_write(0, path, "C", 1, 4);
	px_send(1);
	px_hear(0);
	holds(1, h, ".git/f");
	px_meet();
	ck_assert_uint_ne(held[1][h], px_at(1, path));
	ck_assert_uint_ne(held[1][h], px_at(1, ".git/f"));
	appends(1, h, "later\n");
	px_meet();
	px_expect(path, "b\n2\nC\n4\n");
	px_expect(".git/f", "a\n2\n3\n4\n");
	ck_assert_str_eq(px_bytes(0, held[1][h], NULL), _i ? "b\n2\n3\n4\nlate\nlater\n" : "b\n2\n3\n4\nlater\n");
}
END_TEST

/* The primary gave the unit another name: the copy is none then, and what it wrote late is merged into a file there. It
 * goes on with its own until it hears that. */
START_TEST(who_wrote_late_in_a_unit_goes_to_the_copy_in_which_it_was_merged)
{
	static const char *const before[] = { "1\n2\n3\n4\n", "\x8f\x01\x9e\n1\n2\n3\n4\n" };
	const char *const start = before[_i % 2];
	char path[2 * NAME_MAX_BYTES], want[80];
	size_t h;

	px_mkdir(0, ".git");
	px_put(0, ".git/f", start);
	px_meet();
	px_down();
	px_rename(0, ".git", "g");
	px_write(0, "g/f", "a", 1, 0);
	px_write(1, ".git/f", "b", 1, 0);
	h = hold(1, ".git/f");
	px_hello();
	px_send(1);
	appends(1, h, "late\n");
	px_say(0);
	snprintf(path, sizeof(path), "%s/f", px_find(0, "", "g.conflict-"));
	px_write(0, path, "A", 1, strlen(start) - 4);
	px_send(1);
	px_hear(0);
	holds(1, h, "g/f");
	for (int k = 0; k < _i / 2; k++) { /* each time it has heard of the one before */
		appends(1, h, "later\n");
		px_say(1);
		px_send(0);
		holds(1, h, "g/f");
		px_hear(1);
	}
	px_meet();
	snprintf(want, sizeof(want), "b%sA\n4\nlate\n%s", _i % 2 ? "\x01\x9e\n1\n2\n" : "\n2\n",
		 &"later\nlater\nlater\n"[6 * (3 - _i / 2)]);
	px_expect(path, want);
	holds(1, h, path);
	snprintf(want, sizeof(want), "a%s", start + 1);
	px_expect("g/f", want);
	ck_assert_uint_eq(px_count(0, ""), 2);
	appends(1, h, "more\n");
	px_meet();
	px_expect("g/f", want);
}
END_TEST

/* What else it does to the file meanwhile says nothing of what it knows of the copy's bytes. */
START_TEST(who_changed_the_mode_late_in_a_unit_knows_nothing_of_what_is_in_its_copy)
{
	char path[2 * NAME_MAX_BYTES];
	size_t h;

	px_mkdir(0, ".git");
	px_put(0, ".git/f", "1\n2\n3\n4\n");
	px_meet();
	px_down();
	px_rename(0, ".git", "g");
	px_write(0, "g/f", "a", 1, 0);
	px_write(1, ".git/f", "b", 1, 0);
	h = hold(1, ".git/f");
	px_hello();
	px_send(1);
	snprintf(path, sizeof(path), "%s/f", px_find(0, "", "g.conflict-"));
	px_write(0, path, "A", 1, 4);
	if (_i)
		px_set(1, ".git/f", SET_MODE, (struct attr){ .mode = 0600 });
	else
		px_setxattr(1, ".git/f", "user.k", "v");
	px_send(1);
	ck_assert_int_eq(volume_write(px[1].v, held[1][h], "B", 1, 4, 0, NULL), 1);
	px_meet();
	px_expect("g/f", "a\n2\n3\n4\n");
	ck_assert(px_is_below(0, INO_ROOT, "b\n2\nA\n4\n"));
	ck_assert_str_eq(px_bytes(1, held[1][h], NULL), "b\n2\nB\n4\n");
	appends(1, h, "more\n");
	px_meet();
	px_expect("g/f", "a\n2\n3\n4\n");
}
END_TEST

/* A program that has a database open has all files of it in its copy. */
START_TEST(who_has_a_database_open_goes_on_in_its_copy)
{
	static const char *const names[] = { "a.db", "a.db-wal" };
	size_t h[2];

	px_make(0, "a.db", S_IFREG | 0644);
	px_write(0, "a.db", "SQLite format 3", 16, 0);
	px_make(0, "a.db-wal", S_IFREG | 0644);
	px_meet();
	px_down();
	for (int i = 0; i < 2; i++)
		for (int k = 0; k < 2; k++)
			px_append(i, names[k], i ? "birch" : "alder");
	for (int k = 0; k < 2; k++)
		h[k] = hold(1, names[k]);
	px_hello();
	px_send(1);
	if (_i)
		appends(1, h[1], "+late");
	px_meet();
	for (int k = 0; k < 2; k++) {
		char *path = volume_path(px[1].v, held[1][h[k]]);

		appends(1, h[k], "+more");
		ck_assert_ptr_nonnull(strstr(path, "/a.conflict-birch-"));
		ck_assert_int_eq(strstr(path, "-wal") != NULL, k);
		free(path);
	}
	px_meet();
	px_expect("a.db-wal", "alder");
	ck_assert_str_eq(px_bytes(0, held[1][h[1]], NULL), _i ? "birch+late+more" : "birch+more");
	ck_assert_mem_eq(px_bytes(0, held[1][h[0]], NULL) + 16, "birch+more", 10);
}
END_TEST

/* ---- two that become one ---- */

START_TEST(of_two_equal_files_the_holder_of_one_has_the_one)
{
	size_t h;

	together("before", "before");
	px_put(0, "f.txt", "same\n");
	px_put(1, "f.txt", "same\n");
	h = hold(1, "f.txt");
	if (_i) { /* it writes on before it hears that they are one */
		px_hello();
		px_send(1);
		appends(1, h, "early\n");
	}
	px_meet();
	holds(1, h, "f.txt");
	appends(1, h, "more\n");
	px_meet();
	px_expect("f.txt", _i ? "same\nearly\nmore\n" : "same\nmore\n");
	ck_assert_uint_eq(px_count(0, ""), 2);
}
END_TEST

/* Its rename crosses the word that it is one with the other's; then what it told because it kept its own crosses the
 * answer to the rename. */
START_TEST(who_holds_what_became_one_follows_though_it_was_renamed_meanwhile)
{
	bool dir = _i % 2, more = _i / 2;
	size_t h;

	together("before", "before");
	for (int i = 0; i < 2; i++)
		if (dir)
			px_mkdir(i, "h");
		else
			px_put(i, "h", "same\n");
	h = hold(1, "h");
	px_hello();
	px_send(1);
	px_rename(1, "h", "g");
	px_say(0);
	px_send(1);
	px_hear(0);
	if (dir && more)
		px_put(1, "g/in", "i\n");
	else if (more)
		appends(1, h, "early\n");
	px_send(1);
	px_send(0);
	px_meet();
	has_a_name(1, h);
	if (dir && more)
		ck_assert(px_is_below(0, INO_ROOT, "i\n"));
	if (!dir) {
		appends(1, h, "late\n");
		px_meet();
		ck_assert(px_is_below(0, INO_ROOT, more ? "same\nearly\nlate\n" : "same\nlate\n"));
	}
}
END_TEST

/* It could not give ours that name, as its own has it, and says so when the two were one already: it has both. 2: its
 * own has something in it, or more bytes, by then. */
START_TEST(who_holds_one_of_two_of_which_the_secondary_has_both_has_a_place)
{
	bool dir = _i % 2, more = _i / 2;
	size_t h;

	together("before", "before");
	px_hello();
	for (int i = 0; i < 2; i++) {
		if (dir)
			px_mkdir(i, i ? "a" : "h");
		else
			px_put(i, i ? "a" : "h", "same\n");
		px_say(i);
	}
	h = hold(1, "a");
	px_rename(0, "h", "a");
	px_say(0);
	px_hear(1);
	px_hear(0);
	px_hear(0);
	if (dir && more)
		px_put(1, "a/in", "i\n");
	else if (more)
		appends(1, h, "early\n");
	px_send(1);
	px_meet();
	has_a_name(1, h);
	if (!more) { /* nor are there two, then */
		holds(1, h, "a");
		ck_assert_uint_eq(px_count(0, ""), 2);
	}
	if (dir && more)
		ck_assert(px_is_below(0, INO_ROOT, "i\n"));
	if (!dir) {
		appends(1, h, "late\n");
		px_meet();
		ck_assert(px_is_below(0, INO_ROOT, more ? "same\nearly\nlate\n" : "same\nlate\n"));
	}
}
END_TEST

/* The primary hears of what is in it, and not of its name, while the answer to its first rename is on its way. */
START_TEST(who_is_in_a_directory_that_became_one_follows_though_something_was_in_it)
{
	size_t h;

	together("before", "before");
	px_mkdir(0, "h");
	px_mkdir(1, "h");
	h = hold(1, "h");
	px_hello();
	px_send(1);
	px_rename(1, "h", "g");
	px_say(0);
	px_send(1);
	px_say(0);
	px_put(1, "g/in", "i\n"); /* so its own cannot go */
	px_hear(0);
	px_say(1);
	px_hear(0);
	px_hear(1);
	px_put(1, "other", "o\n");
	px_send(1);
	px_meet();
	has_a_name(1, h);
	ck_assert(px_is_below(0, INO_ROOT, "i\n"));
}
END_TEST

START_TEST(an_unlinked_file_follows_nobody)
{
	size_t h;

	together("before", "before");
	px_put(0, "f.txt", "same\n");
	px_put(1, "f.txt", "same\n");
	h = hold(1, "f.txt");
	px_hello();
	px_send(1);
	px_unlink(1, "f.txt");
	px_meet();
	appends(1, h, "more\n");
	ck_assert_str_eq(px_bytes(1, held[1][h], NULL), "same\nmore\n");
	px_settle();
	ck_assert_uint_ne(held[1][h], px_at(1, "f.txt"));
}
END_TEST

START_TEST(who_works_in_a_new_directory_works_on_when_it_is_one_with_the_other)
{
	struct attr a;
	size_t h;

	together("before", "before");
	px_mkdir(0, "d");
	px_put(0, "d/alder", "alder");
	px_mkdir(1, "d");
	px_put(1, "d/birch", "birch");
	h = hold(1, "d");
	px_hello();
	if (_i > 0) /* what each has crosses */
		px_say(0);
	if (_i > 1)
		px_say(1);
	if (_i == 3)
		px_put(1, "d/late", "late");
	if (_i == 4) { /* the outcome comes before the primary has heard that its own could not be placed */
		px_hear(0);
		px_hear(1);
		px_say(0);
		px_say(1);
		px_hear(0);
		px_hear(1);
		px_send(0);
	}
	px_meet();
	holds(1, h, "d");
	ck_assert_int_eq(volume_create(px[1].v, held[1][h], "new", S_IFREG | 0644, 0, NULL, &px_cred, &a), 0);
	px_meet();
	px_expect("d/new", "");
	px_expect("d/birch", "birch");
}
END_TEST

/* ---- saved anew ---- */

static void save(int side, const char *path, const char *text)
{
	px_put(side, "new~", text);
	px_rename(side, "new~", path);
}

START_TEST(who_holds_what_was_saved_has_the_merged_file)
{
	size_t old, new;

	together("f.txt", "1\n2\n3\n4\n5\n6\n7\n8\n9\n");
	old = hold(1, "f.txt");
	save(0, "f.txt", "alder\n2\n3\n4\n5\n6\n7\n8\n9\n");
	save(1, "f.txt", "1\n2\n3\n4\n5\n6\n7\n8\nbirch\n");
	new = hold(1, "f.txt");
	px_meet();
	holds(1, new, "f.txt");
	appends(1, new, "more\n");
	appends(1, old, "nowhere\n"); /* this side itself replaced it */
	px_meet();
	px_expect("f.txt", "alder\n2\n3\n4\n5\n6\n7\n8\nbirch\nmore\n");
	ck_assert_uint_eq(px_count(0, ""), 1);
}
END_TEST

/* A program here writes to the file in place, and the other side saves it anew. */
START_TEST(who_wrote_in_place_what_the_primary_saved_has_the_merged_file)
{
	size_t h;

	together("f.txt", "1\n2\n3\n4\n5\n6\n7\n8\n9\n");
	h = hold(1, "f.txt");
	save(0, "f.txt", "alder\n2\n3\n4\n5\n6\n7\n8\n9\n");
	appends(1, h, "birch\n");
	px_meet();
	holds(1, h, "f.txt");
	appends(1, h, "more\n");
	px_meet();
	px_expect("f.txt", "alder\n2\n3\n4\n5\n6\n7\n8\n9\nbirch\nmore\n");
	ck_assert_uint_eq(px_count(0, ""), 1);
}
END_TEST

/* As when a program on this machine saves it: what is open has no name any more. */
START_TEST(who_only_reads_what_the_other_side_saves_has_the_old_one)
{
	size_t h[2];

	together("f.txt", "old\n");
	h[0] = hold(0, "f.txt");
	h[1] = hold(1, "f.txt");
	save(_i, "f.txt", "new\n");
	px_meet();
	for (int i = 0; i < 2; i++)
		ck_assert_str_eq(px_bytes(i, held[i][h[i]], NULL), "old\n");
	px_expect("f.txt", "new\n");
}
END_TEST

/* A file of this side has the name that the primary gave to the copy, which it did not know. The name. */
static const char *copy_in_the_way(size_t *h)
{
	static char name[NAME_MAX_BYTES + 1];

	together("f.txt", "one\n");
	px_put(0, "f.txt", "alder\n");
	px_put(1, "f.txt", "birch\n");
	*h = hold(1, "f.txt");
	px_hello();
	px_send(1);
	px_say(0);
	snprintf(name, sizeof(name), "%s", px_find(0, "", "f.conflict-birch"));
	ck_assert_msg(*name, "there is no copy");
	px_put(1, name, "in its way\n");
	px_hear(0);
	return name;
}

START_TEST(who_holds_a_file_whose_copy_cannot_be_placed_yet_follows_when_it_can)
{
	size_t h;
	const char *name = copy_in_the_way(&h);

	ck_assert_str_eq(px_bytes(1, px_at(1, name), NULL), "in its way\n");
	px_meet();
	ck_assert_str_eq(px_bytes(1, held[1][h], NULL), "birch\n");
	appends(1, h, "more\n");
	px_meet();
	px_expect("f.txt", "alder\n");
}
END_TEST

START_TEST(who_opens_the_file_when_the_one_who_had_to_follow_is_gone_stays)
{
	size_t h;

	copy_in_the_way(&h);
	volume_unref(px[1].v, held[1][h], 1);
	volume_ref(px[1].v, held[1][h]);
	px_meet();
	holds(1, h, "f.txt");
	ck_assert_str_eq(px_bytes(1, held[1][h], NULL), "alder\n");
}
END_TEST

/* ---- an apply that comes to nothing ---- */

static int stillness;

static void on_still(void *ctx, bool still)
{
	(void)ctx;
	stillness += still ? 1 : -1;
}

static void begin_apply(void)
{
	volume_hold_still(px[1].v);
	ck_assert_int_eq(stillness, 1);
	ck_assert_int_eq(volume_apply_begin(px[1].v), 0);
}

static bool is_held(uint64_t ino)
{
	bool yes;

	volume_lock(px[1].v);
	yes = tree_is_held(px[1].v, ino);
	volume_unlock(px[1].v);
	return yes;
}

/* Those who waited wait on, and those who were moved are where they were. */
START_TEST(an_apply_that_is_given_up_moves_nobody)
{
	struct volume_info info;
	uint64_t f, g;
	size_t h;

	together("f.txt", "one\n");
	together("g", "two\n");
	f = px_at(1, "f.txt");
	g = px_at(1, "g");
	stillness = 0;
	volume_set_still(px[1].v, on_still, NULL);
	volume_info(px[1].v, &info);
	h = hold(1, "f.txt");
	for (int i = 0; i < 2; i++) { /* asked for at once, or having waited */
		begin_apply();
		if (i == 0)
			ck_assert_int_eq(tree_holders_move(px[1].v, f, g), 0);
		tree_holders_wait(px[1].v, f, g);
		if (i == 1)
			ck_assert_int_eq(tree_holders_arrive(px[1].v), 0);
		ck_assert(tree_is_held(px[1].v, g) && !tree_is_held(px[1].v, f));
		volume_apply_abort(px[1].v);
		ck_assert_int_eq(stillness, 0);
		ck_assert(is_held(f) && !is_held(g));
		holds(1, h, "f.txt");
	}
	begin_apply();
	ck_assert(tree_holders_waiting(px[1].v));
	ck_assert_int_eq(tree_holders_arrive(px[1].v), 0);
	ck_assert_int_eq(volume_apply_commit(px[1].v, info.applied), 0);
	ck_assert_int_eq(stillness, 0);
	holds(1, h, "g");
	ck_assert(!is_held(f) && is_held(g));
	volume_lock(px[1].v);
	ck_assert(!tree_holders_waiting(px[1].v));
	volume_unlock(px[1].v);
	volume_set_still(px[1].v, NULL, NULL);
}
END_TEST

static unsigned steps, fails_at;

static int fail_once(int i)
{
	return i == 1 && steps++ == fails_at ? -EIO : 0;
}

/* Wherever the engine fails at what moves a holder: it is done as a whole when it comes again. */
START_TEST(who_waits_while_an_apply_fails_follows_with_the_next)
{
	struct err err = ERR_INIT;
	int rc = 0;
	size_t h;

	px_put(0, "f.txt", "one\n");
	px_meet_landed();
	px_down();
	px_put(0, "f.txt", "alder\n");
	px_put(1, "f.txt", "birch\n");
	h = hold(1, "f.txt");
	stillness = 0;
	volume_set_still(px[1].v, on_still, NULL);
	px_hello();
	px_send(1);
	px_say(0);
	steps = 0;
	fails_at = (unsigned)_i;
	px_meanwhile = fail_once;
	while (rc == 0 && px_next(0))
		rc = px_deliver(0, &err);
	px_meanwhile = NULL;
	ck_assert_int_eq(rc, steps > fails_at ? -EIO : 0);
	ck_assert_int_eq(stillness, 0);
	holds(1, h, rc ? "f.txt" : copy());
	if (rc)
		ck_assert_str_eq(px_bytes(1, px_at(1, "f.txt"), NULL), "birch\n");
	px_down();
	px_meet_landed();
	ck_assert_int_eq(stillness, 0);
	volume_set_still(px[1].v, NULL, NULL);
	holds(1, h, copy());
	appends(1, h, "more\n");
	px_meet_landed();
	px_expect(copy(), "birch\nmore\n");
}
END_TEST

static void setup_in_steps(void)
{
	px_step_rows = 1;
	setup();
}

int main(void)
{
	Suite *s = suite_create("engine, open files");
	TCase *tc = tcase_create("open");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, who_holds_the_file_writes_on_in_the_copy_of_its_version);
	tcase_add_loop_test(tc, what_is_written_before_the_outcome_is_known_is_in_the_copy_too, 0, 2);
	tcase_add_test(tc, who_waits_for_what_it_wrote_late_goes_to_the_copy_that_has_it);
	tcase_add_test(tc, who_wrote_late_to_what_was_saved_here_goes_to_the_copy_that_has_it);
	tcase_add_test(tc, who_waits_for_what_it_wrote_late_goes_to_the_copy_in_which_it_was_merged);
	tcase_add_loop_test(tc, what_it_wrote_having_heard_of_the_copy_is_merged_there_too, 0, 4);
	tcase_add_test(tc, who_holds_a_file_that_is_kept_for_another_name_goes_to_the_copy);
	tcase_add_test(tc, who_holds_a_file_that_the_primary_removed_after_all_goes_to_the_copy);
	tcase_add_loop_test(tc, a_cut_before_the_outcome_arrives_changes_nothing, 0, 2);
	tcase_add_test(tc, who_comes_after_the_outcome_has_the_primarys);
	tcase_add_test(tc, who_holds_a_file_whose_copy_cannot_be_placed_yet_follows_when_it_can);
	tcase_add_test(tc, who_opens_the_file_when_the_one_who_had_to_follow_is_gone_stays);
	tcase_add_test(tc, the_outcome_comes_with_much_else);
	tcase_add_test(tc, the_primary_moves_nobody);
	tcase_add_test(tc, what_was_merged_in_place_is_held_still);
	tcase_add_test(tc, a_conflict_on_the_copy_moves_its_holder_once_more);
	tcase_add_loop_test(tc, who_wrote_to_ours_in_a_unit_stays_there, 0, 4);
	tcase_add_loop_test(tc, who_wrote_late_goes_to_a_copy_of_the_copy_that_has_it, 0, 4);
	tcase_add_loop_test(tc, who_has_files_of_a_unit_open_goes_on_in_its_copy, 0, 3);
	tcase_add_loop_test(tc, who_wrote_late_in_a_unit_of_which_the_copy_was_changed_goes_to_the_next, 0, 2);
	tcase_add_loop_test(tc, who_wrote_late_in_a_unit_goes_to_the_copy_in_which_it_was_merged, 0, 8);
	tcase_add_loop_test(tc, who_changed_the_mode_late_in_a_unit_knows_nothing_of_what_is_in_its_copy, 0, 2);
	tcase_add_loop_test(tc, who_has_a_database_open_goes_on_in_its_copy, 0, 2);
	tcase_add_loop_test(tc, of_two_equal_files_the_holder_of_one_has_the_one, 0, 2);
	tcase_add_loop_test(tc, who_holds_what_became_one_follows_though_it_was_renamed_meanwhile, 0, 4);
	tcase_add_loop_test(tc, who_holds_one_of_two_of_which_the_secondary_has_both_has_a_place, 0, 4);
	tcase_add_test(tc, who_is_in_a_directory_that_became_one_follows_though_something_was_in_it);
	tcase_add_test(tc, an_unlinked_file_follows_nobody);
	tcase_add_loop_test(tc, who_works_in_a_new_directory_works_on_when_it_is_one_with_the_other, 0, 5);
	tcase_add_test(tc, who_holds_what_was_saved_has_the_merged_file);
	tcase_add_test(tc, who_wrote_in_place_what_the_primary_saved_has_the_merged_file);
	tcase_add_loop_test(tc, who_only_reads_what_the_other_side_saves_has_the_old_one, 0, 2);
	tcase_add_test(tc, an_apply_that_is_given_up_moves_nobody);
	suite_add_tcase(s, tc);
	tc = tcase_create("steps");
	tcase_add_checked_fixture(tc, setup_in_steps, teardown);
	tcase_add_loop_test(tc, who_waits_while_an_apply_fails_follows_with_the_next, 0, 16);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
