/* SPDX-License-Identifier: MIT */
/* What is done on a side while its engine cuts or lands a large shipment, some rows at a time. */
#include "core/internal.h"
#include "core/landing.h"
#include "db/landing_rows.h"
#include "tests/pair_fixture.h"

static void setup(void)
{
	px_step_rows = 1;
	px_by_hand = false;
	px_meanwhile = NULL;
	px_setup();
}

static void setup_by_hand(void)
{
	px_step_rows = 1;
	px_by_hand = true;
	px_meanwhile = NULL;
	px_setup();
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
	px_meet_landed();
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
	px_meet_landed();
	ck_assert_uint_eq(px_at(!_i, "held"), 0);
	px_expect("written", "later");
}
END_TEST

/* ---- the landing: it holds at once, and is carried out when somebody looks */

static void together(int from)
{
	static const char *const files[] = { "written", "cut", "removed", "moved", "a", "b", "c", "attrs", "over",
		                             "hard", "one" };

	px_mkdir(from, "dir");
	px_mkdir(from, "gone");
	px_mkdir(from, "gone/deep");
	px_put(from, "gone/deep/file", "gone");
	px_mkdir(from, "up");
	px_mkdir(from, "up/down");
	px_mkdir(from, "emptied");
	px_put(from, "emptied/file", "stays");
	for (size_t k = 0; k < ARRAY_LEN(files); k++)
		px_put(from, files[k], files[k]);
	px_setxattr(from, "attrs", "user.k", "value");
	px_link(from, "one", "two");
	px_meet_landed();
}

/* One of each: written, cut, made longer, made, linked, moved, exchanged, shifted, saved over another, removed with its
 * directory, turned inside out, emptied into a new one of its name, with other attributes; and a file of which one
 * name takes the place of the other. */
static void change(int from)
{
	static const struct attr mode = { .mode = 0600 }, size = { .size_bytes = 2 };
	struct attr a;

	px_put(from, "written", "written anew");
	px_set(from, "cut", SET_SIZE, size);
	px_append(from, "hard", " and more");
	px_mkdir(from, "new");
	px_mkdir(from, "new/in");
	px_put(from, "new/in/file", "new");
	ck_assert_int_eq(volume_create(px[from].v, px_at(from, "new"), "soft", S_IFLNK | 0777, 0, "in/file", &px_cred,
				       &a), 0);
	px_link(from, "hard", "new/in/hard");
	px_unlink(from, "hard");
	px_unlink(from, "removed");
	px_rename(from, "moved", "new/in/moved");
	px_rename(from, "a", "t");
	px_rename(from, "b", "a");
	px_rename(from, "c", "b");
	px_rename(from, "t", "c");
	px_put(from, "over.tmp", "saved");
	px_rename(from, "over.tmp", "over");
	px_setxattr(from, "attrs", "user.k", "later");
	px_setxattr(from, "attrs", "user.l", "more");
	px_set(from, "attrs", SET_MODE, mode);
	px_unlink(from, "gone/deep/file");
	px_rmdir(from, "gone/deep");
	px_rmdir(from, "gone");
	px_rename(from, "up/down", "down");
	px_rename(from, "up", "down/up");
	px_mkdir(from, "emptied.new");
	px_rename(from, "emptied/file", "emptied.new/file");
	px_rmdir(from, "emptied");
	px_rename(from, "emptied.new", "emptied");
	px_unlink(from, "two");
	px_rename(from, "one", "two");
	px_put(from, "two", "one anew");
}

static char *tree_of(int i)
{
	struct buf to;

	buf_init(&to, 4u << 20);
	px_dump_dir(i, INO_ROOT, "", &to);
	ck_assert_int_eq(buf_append(&to, "", 1), 0);
	return (char *)to.data;
}

static void same_trees(void)
{
	char *a = tree_of(0), *b = tree_of(1);

	ck_assert_msg(strcmp(a, b) == 0, "the sides differ\n--- alder\n%s--- birch\n%s", a, b);
	free(a);
	free(b);
}

static void send_changes(int from)
{
	together(from);
	change(from);
	px_send(from);
}

START_TEST(who_walks_the_tree_sees_all_of_a_landing_though_nothing_is_carried_out)
{
	send_changes(_i);
	same_trees();
	px_meet_landed();
}
END_TEST

static bool add_sizes(void *ctx, const char *name, size_t len, uint64_t cookie, const struct attr *attr)
{
	(void)name;
	(void)len;
	(void)cookie;
	*(uint64_t *)ctx += S_ISREG(attr->mode) ? attr->size_bytes : 0;
	return true;
}

START_TEST(a_listing_has_the_attributes_that_the_landing_brings)
{
	uint64_t there = 0, here = 0;

	send_changes(_i);
	ck_assert_int_eq(volume_readdir(px[_i].v, INO_ROOT, 0, add_sizes, &there), 0);
	ck_assert_int_eq(volume_readdir(px[!_i].v, INO_ROOT, 0, add_sizes, &here), 0);
	ck_assert_uint_eq(here, there);
	px_meet_landed();
}
END_TEST

/* By whom each thing is looked at first. */
static const struct first {
	const char *path, *content;
} firsts[] = {
	{ "new/in/moved", "moved" }, { "new/in/hard", "hard and more" }, { "a", "b" }, { "b", "c" }, { "c", "a" },
	{ "over", "saved" }, { "written", "written anew" }, { "cut", "cu" }, { "new/in/file", "new" },
	{ "removed", NULL }, { "moved", NULL }, { "gone", NULL }, { "gone/deep/file", NULL }, { "up", NULL },
	{ "over.tmp", NULL }, { "hard", NULL }, { "t", NULL }, { "emptied/file", "stays" },
	{ "two", "one anew" }, { "one", NULL },
};

START_TEST(a_name_that_is_looked_up_first_is_what_the_landing_makes_of_it)
{
	const struct first *f = &firsts[_i / 2];
	uint64_t ino;

	send_changes(_i % 2);
	ino = px_at(_i % 2 == 0, f->path);
	if (f->content)
		ck_assert_str_eq(px_bytes(_i % 2 == 0, ino, NULL), f->content);
	else
		ck_assert_uint_eq(ino, 0);
	same_trees();
	px_meet_landed();
}
END_TEST

/* Who holds an inode asks by its number. */
START_TEST(an_inode_that_is_held_is_what_the_landing_makes_of_it)
{
	static const char *const paths[] = { "written", "attrs", "moved", "removed", "up", "hard", "emptied" };
	int to = !(_i % 2);
	const char *path = paths[_i / 2];
	struct attr a;
	uint64_t ino;
	char key[64];

	together(!to);
	ino = px_at(to, path);
	volume_ref(px[to].v, ino);
	change(!to);
	px_send(!to);
	if (strcmp(path, "written") == 0)
		ck_assert_str_eq(px_bytes(to, ino, NULL), "written anew");
	if (strcmp(path, "moved") == 0)
		ck_assert_int_eq(volume_listxattr(px[to].v, ino, key, sizeof(key)), 0);
	ck_assert_int_eq(volume_getattr(px[to].v, ino, &a), 0);
	if (strcmp(path, "attrs") == 0) {
		ck_assert_uint_eq(a.mode & 07777, 0600);
		ck_assert_int_eq(volume_getxattr(px[to].v, ino, "user.l", key, sizeof(key)), 4);
	}
	if (strcmp(path, "removed") == 0) {
		ck_assert_uint_eq(a.nlink, 0);
		ck_assert_str_eq(px_bytes(to, ino, NULL), "removed");
	}
	volume_unref(px[to].v, ino, 1);
	same_trees();
	px_meet_landed();
}
END_TEST

/* What people do right after it, before anything is carried out. */
static void act(int i, int what)
{
	static const struct attr mode = { .mode = 0640 };

	switch (what) {
	case 0: px_append(i, "written", "!"); break;
	case 1: px_put(i, "gone", "a file now"); break;
	case 2: px_rename(i, "new", "dir/new"); break;
	case 3: px_rename(i, "a", "over"); break;
	case 4: px_unlink(i, "new/in/hard"); break;
	case 5: px_set(i, "attrs", SET_MODE, mode); break;
	case 6: px_rename(i, "down", "new/down"); break;
	case 7: px_setxattr(i, "attrs", "user.k", "last"); break;
	case 8: px_link(i, "new/in/file", "dir/link"); break;
	case 9: px_put(i, "removed", "anew"); break;
	case 10: px_put(i, "new/in/moved", "on"); break;
	default: px_mkdir(i, "down/up/dir"); break;
	}
}

START_TEST(what_is_done_right_after_a_landing_is_done_to_its_outcome)
{
	int to = !(_i % 2);
	char *there, *after;

	send_changes(!to);
	act(to, _i / 2);
	there = tree_of(to);
	px_meet_landed();
	after = tree_of(!to);
	ck_assert_str_eq(after, there);
	free(after);
	free(there);
}
END_TEST

START_TEST(a_crash_goes_on_with_what_of_a_landing_was_not_carried_out)
{
	int to = !(_i % 2), looked = _i / 2;
	static const struct fsck_options fsck = { .found = px_damage };
	struct fsck_result whole;
	struct err err = ERR_INIT;
	char name[32];

	send_changes(!to);
	for (int k = 0; k < looked; k++)
		px_at(to, firsts[k * 3].path);
	px_down();
	engine_free(px[to].e);
	volume_crash(px[to].v);
	ck_assert_msg(fsck_store(px[to].dir, &fsck, &whole, &err) == 0, "fsck: %s", err.text);
	px_open(to);
	/* New blocks are not those that wait for being part of a file. */
	for (int k = 0; k < 10; k++) {
		snprintf(name, sizeof(name), "dir/more%d", k);
		px_put(to, name, "in a block of its own");
	}
	px_meet_landed();
	px_expect("written", "written anew");
	px_expect("new/in/file", "new");
}
END_TEST

static char *px_before;
static unsigned px_looks;

static int look_meanwhile(int i)
{
	char *now = tree_of(i);

	px_looks++;
	ck_assert_str_eq(now, px_before);
	free(now);
	return 0;
}

START_TEST(nobody_sees_a_part_while_it_is_judged_and_written_down)
{
	together(_i);
	change(_i);
	px_say(_i);
	px_before = tree_of(!_i);
	px_looks = 0;
	px_meanwhile = look_meanwhile;
	px_hear(_i);
	px_meanwhile = NULL;
	free(px_before);
	ck_assert_uint_gt(px_looks, 20);
	same_trees();
	px_meet_landed();
}
END_TEST

static int px_what, px_when;

static int act_meanwhile(int i)
{
	static const struct attr mode = { .mode = 0640 };

	if (px_when-- != 0)
		return 0;
	switch (px_what) {
	case 0: px_append(i, "written", "!"); break;
	case 1: px_put(i, "new", "a file of that name"); break;
	case 2: px_put(i, "gone/deep/kept", "kept"); break;
	case 3: px_rename(i, "dir", "up/down/dir"); break;
	case 4: px_append(i, "removed", " not"); break;
	case 5: px_set(i, "attrs", SET_MODE, mode); break;
	case 6: px_rename(i, "over", "dir/over"); break;
	case 7: px_unlink(i, "moved"); break;
	case 8: px_put(i, "dir/beside", "beside"); break;
	case 9: px_rename(i, "up/down", "dir/down"); break;
	default: px_put(i, "t", "t"); break;
	}
	return 0;
}

START_TEST(what_is_changed_while_it_is_judged_is_taken_into_account)
{
	int to = !(_i % 2), what = _i / 2 % 11;

	together(!to);
	change(!to);
	px_say(!to);
	px_what = what;
	px_when = _i / 22 * 14;
	px_meanwhile = act_meanwhile;
	px_hear(!to);
	px_meanwhile = NULL;
	ck_assert_int_lt(px_when, 0);
	px_meet_landed();
	/* Whatever became of it: nothing that was written is gone. */
	if (what == 2)
		px_expect("gone/deep/kept", "kept");
	if (what == 8)
		px_expect("dir/beside", "beside");
	if (what == 4)
		px_expect("removed", "removed not");
	if (what == 10)
		px_expect("t", "t");
}
END_TEST

/* ---- a merge that is worked out ahead */

static unsigned n_let_in, n_done;

/* On the primary: when others have been let in so often since that began. */
static int change_meanwhile(int i)
{
	static const struct attr mode = { .mode = 0640 };

	if (i != 0 || !px[i].v->watch.marked)
		return 0;
	n_let_in++;
	if (px_when-- > 0)
		return 0;
	/* What can be done again is, each time from then on. */
	if (px_when < -1 && px_what > 1)
		return 0;
	n_done++;
	switch (px_what) {
	case 0: px_append(i, "tree/f1", "+"); break;
	case 1: px_append(i, "both", "late\n"); break;
	case 2: px_unlink(i, "tree/sub/f3"); break;
	case 3: px_put(i, "tree/theirs", "ours"); break;
	case 4: px_put(i, "tree/Theirs", "ours"); break;
	case 5: px_rename(i, "tree", "other/tree"); break;
	case 6: px_set(i, "tree/f4", SET_MODE, mode); break;
	case 7: px_rename(i, "tree/f2", "tree/sub/f2"); break;
	case 8: px_put(i, "gone/kept", "kept"); break;
	case 9: px_rename(i, "gone", "tree/gone"); break;
	case 10: px_setxattr(i, "tree/f5", "user.k", "v"); break;
	case 11: px_put(i, "other/far away", "far away"); break;
	default: break;
	}
	return 0;
}

/* Both make the same tree, but for one name, and write to one text; the secondary removes a directory. */
static void make_the_same(void)
{
	static const char *const lines[] = { "alder\n2\n3\n4\n5\n", "1\n2\nbirch\n4\n5\n" };
	char name[32];

	px_put(0, "both", "1\n2\n3\n4\n5\n");
	px_mkdir(0, "other");
	px_mkdir(0, "gone");
	px_meet_landed();
	px_down();
	for (int i = 0; i < 2; i++) {
		px_mkdir(i, "tree");
		px_mkdir(i, "tree/sub");
		for (int k = 0; k < 8; k++) {
			snprintf(name, sizeof(name), k % 2 ? "tree/f%d" : "tree/sub/f%d", k);
			px_put(i, name, name);
		}
		px_put(i, "tree/f2", "f2");
		px_put(i, "tree/sub/f3", "f3");
		px_put(i, "tree/f4", "f4");
		px_put(i, "both", lines[i]);
	}
	px_put(1, "tree/theirs", "theirs");
	px_rmdir(1, "gone");
	volume_commit(px[0].v);
	volume_commit(px[1].v);
}

static uint64_t size_of(const char *path)
{
	struct attr a;

	ck_assert_int_eq(volume_getattr(px[0].v, px_at(0, path), &a), 0);
	return a.size_bytes;
}

#define MEANWHILE 12

START_TEST(what_is_changed_while_a_merge_is_worked_out_is_taken_into_account)
{
	char *tree;

	make_the_same();
	px_what = _i % MEANWHILE;
	px_when = _i / MEANWHILE * 90;
	n_let_in = n_done = 0;
	px_meanwhile = change_meanwhile;
	px_meet_landed();
	px_meanwhile = NULL;
	ck_assert_int_lt(px_when, 0);
	ck_assert_uint_gt(n_let_in, 100);
	tree = tree_of(0);
	ck_assert(strstr(tree, "alder") && strstr(tree, "birch") && strstr(tree, "theirs"));
	ck_assert(px_what != 0 || size_of("tree/f1") == strlen("tree/f1") + n_done);
	ck_assert(px_what != 1 || size_of("both") == strlen("alder\n2\nbirch\n4\n5\n") + n_done * strlen("late\n"));
	ck_assert((px_what != 3 && px_what != 4) || strstr(tree, "ours"));
	ck_assert(px_what != 8 || strstr(tree, "kept"));
	free(tree);
	if (px_what == 5)
		px_expect("other/tree/f1", "tree/f1");
	if (px_what == 11)
		px_expect("other/far away", "far away");
}
END_TEST

static unsigned broken_at, broken_steps;
static int broken_side;

static int break_off(int i)
{
	return i == broken_side && broken_steps++ == broken_at ? -EIO : 0;
}

/* All of the shipment arrives, and the receiver is broken off; what it said. */
static int hear_broken_off(int from)
{
	struct err err = ERR_INIT;
	int rc = 0;

	if (!px_is_up)
		px_hello();
	px_say(from);
	broken_side = !from;
	broken_steps = 0;
	px_meanwhile = break_off;
	while (rc == 0 && px_next(from))
		rc = px_deliver(from, &err);
	px_meanwhile = NULL;
	return rc;
}

/* At each moment in which others are let in: nothing of it is there, the error is told and no other, and what comes
 * next lands. */
START_TEST(what_is_broken_off_while_it_is_judged_and_written_down_changes_nothing)
{
	int to = !_i, rc = -EIO;
	char *then, *now;

	together(!to);
	change(!to);
	then = tree_of(to);
	for (broken_at = 0; rc != 0; broken_at++) {
		rc = hear_broken_off(!to);
		ck_assert_int_eq(rc, broken_steps > broken_at ? -EIO : 0);
		if (rc == 0)
			break;
		now = tree_of(to);
		ck_assert_str_eq(now, then);
		free(now);
		px_down();
	}
	free(then);
	ck_assert_uint_gt(broken_at, 20);
	same_trees();
	px_meet_landed();
}
END_TEST

/* A name that each of many in a row gives up for the next, and a directory of many. */
START_TEST(names_shifted_by_one_are_carried_out_from_any_of_them)
{
	char from[16], to[16];

	for (int k = 0; k < 20; k++) {
		snprintf(from, sizeof(from), "n%02d", k);
		px_put(_i % 2, from, from);
	}
	px_meet_landed();
	for (int k = 20; k-- > 0;) {
		snprintf(from, sizeof(from), "n%02d", k);
		snprintf(to, sizeof(to), "n%02d", k + 1);
		px_rename(_i % 2, from, to);
	}
	px_send(_i % 2);
	snprintf(to, sizeof(to), "n%02d", 1 + _i);
	snprintf(from, sizeof(from), "n%02d", _i);
	ck_assert_str_eq(px_bytes(!(_i % 2), px_at(!(_i % 2), to), NULL), from);
	same_trees();
	px_meet_landed();
}
END_TEST

static bool has_row(int i, uint64_t link)
{
	struct change_row row;
	int rc;

	volume_lock(px[i].v);
	rc = changes_get_link(px[i].v, link, &row);
	volume_unlock(px[i].v);
	ck_assert(rc == -ENOENT || (rc == 0 && row.skipped));
	return rc == 0;
}

/* Its place could not be given to it here at first, and that was not told yet. Now it goes to another one, as what is
 * looked up first wants its name: there is nothing to be told any more. */
START_TEST(a_link_that_gives_up_its_name_is_taken_as_one_that_is_looked_up)
{
	struct dentry d;

	px_put(0, "a", "a");
	px_put(0, "b", "b");
	px_meet_landed();
	volume_lock(px[1].v);
	ck_assert_int_eq(tree_lookup(px[1].v, INO_ROOT, "a", 1, &d), 0);
	volume_unlock(px[1].v);
	px_put(1, "x", "in its way");
	px_rename(0, "a", "x");
	px_send(0);
	ck_assert(has_row(1, d.link));
	px_rename(0, "x", "y");
	px_rename(0, "b", "a");
	px_send(0);
	ck_assert_str_eq(px_bytes(1, px_at(1, _i ? "a" : "y"), NULL), _i ? "b" : "a");
	ck_assert(!has_row(1, d.link));
	px_meet_landed();
	px_expect("a", "b");
	px_expect("x", "in its way");
	px_expect("y", "a");
}
END_TEST

/* ---- a directory that goes with very much in it */

#define MANY 200

/* "tree", with many files in it or below it, is removed, and another one made in its place. */
static void replace_tree(int from, bool flat)
{
	char name[32];

	px_mkdir(from, "tree");
	px_mkdir(from, "tree/sub");
	for (int k = 0; k < MANY; k++) {
		snprintf(name, sizeof(name), flat ? "tree/f%d" : "tree/sub/f%d", k);
		px_put(from, name, name);
	}
	px_meet_landed();
	for (int k = 0; k < MANY; k++) {
		snprintf(name, sizeof(name), flat ? "tree/f%d" : "tree/sub/f%d", k);
		px_unlink(from, name);
	}
	px_rmdir(from, "tree/sub");
	px_rmdir(from, "tree");
	px_mkdir(from, "tree");
	px_put(from, "tree/new", "new");
}

/* How many of these inodes is something still to be done to? */
static unsigned still_planned(int i, const uint64_t *inodes)
{
	unsigned n = 0;
	bool any;

	volume_lock_now(px[i].v);
	for (int k = 0; k < MANY; k++) {
		ck_assert_int_eq(landing_rows_about(px[i].v->db, inodes[k], &any), 0);
		n += any;
	}
	volume_unlock(px[i].v);
	return n;
}

static bool is_listed(void *ctx, const char *name, size_t len, uint64_t cookie, const struct attr *attr)
{
	(void)cookie;
	(void)attr;
	if (len > 8 && memcmp(name, "landing-", 8) == 0)
		*(bool *)ctx = true;
	return true;
}

static void crash_and_check(int i)
{
	static const struct fsck_options fsck = { .found = px_damage };
	struct fsck_result whole;
	struct err err = ERR_INIT;

	px_down();
	engine_free(px[i].e);
	volume_crash(px[i].v);
	ck_assert_msg(fsck_store(px[i].dir, &fsck, &whole, &err) == 0, "fsck: %s", err.text);
	px_open(i);
}

/* What is done first: the name is looked up, the directory that it is in listed, a step of the thread that carries out,
 * or what goes is looked into; or the program is killed. */
START_TEST(nobody_who_wants_the_name_of_a_directory_waits_for_all_that_goes_with_it)
{
	int to = !(_i % 2), what = _i / 4;
	bool flat = _i % 4 / 2, listed = false;
	uint64_t inodes[MANY], dir;
	struct attr a;
	char name[32];

	replace_tree(!to, flat);
	dir = px_at(to, "tree");
	volume_ref(px[to].v, dir);
	for (int k = 0; k < MANY; k++) {
		snprintf(name, sizeof(name), flat ? "tree/f%d" : "tree/sub/f%d", k);
		inodes[k] = px_at(to, name);
		ck_assert_uint_ne(inodes[k], 0);
	}
	px_send(!to);
	ck_assert_uint_eq(still_planned(to, inodes), MANY);
	if (what == 0)
		ck_assert_uint_ne(px_at(to, "tree/new"), 0);
	else if (what == 1)
		ck_assert_int_eq(volume_readdir(px[to].v, INO_ROOT, 0, is_listed, &listed), 0);
	else if (what == 2)
		landing_step(px[to].v);
	else if (what == 3)
		ck_assert_int_eq(volume_lookup(px[to].v, dir, "sub", &a), -ENOENT);
	if (what < 3 || (what == 3 && !flat))
		ck_assert_uint_ge(still_planned(to, inodes), MANY / 2);
	if (what == 4) {
		crash_and_check(to);
	} else {
		/* Set aside it is as good as gone, and who looks there sees nothing. */
		ck_assert_int_eq(volume_readdir(px[to].v, INO_HIDDEN, 0, is_listed, &listed), 0);
		ck_assert(!listed);
		ck_assert_int_eq(volume_getattr(px[to].v, dir, &a), 0);
		ck_assert_uint_eq(a.nlink, 0);
		ck_assert_int_eq(volume_create(px[to].v, dir, "x", S_IFREG | 0644, 0, NULL, &px_cred, &a), -ENOENT);
		volume_unref(px[to].v, dir, 1);
	}
	same_trees();
	px_meet_landed();
}
END_TEST

static unsigned n_others;

static int count_others(int i)
{
	(void)i;
	n_others++;
	return 0;
}

static int touch(int i, int what, uint64_t dir, uint64_t other)
{
	static const struct attr mode = { .mode = 0700 };
	char buf[8];
	struct attr a;

	switch (what) {
	case 0: return volume_setattr(px[i].v, dir, SET_MODE, &mode, &a);
	case 1: return volume_unlink(px[i].v, dir, "f1");
	case 2: return volume_rmdir(px[i].v, dir, "f1");
	case 3: return volume_rename(px[i].v, dir, "f1", INO_ROOT, "here", 0);
	case 4: return volume_rename(px[i].v, INO_ROOT, "other", dir, "there", 0);
	case 5: return volume_link(px[i].v, other, dir, "there", &a);
	case 6: return volume_setxattr(px[i].v, dir, "user.k", "v", 1, 0);
	default: return (int)volume_getxattr(px[i].v, dir, "user.k", buf, sizeof(buf));
	}
}

/* Whatever he does with a directory that he has open, and that goes with very much in it. */
START_TEST(others_are_let_in_while_all_goes_that_is_in_a_directory_that_somebody_holds)
{
	int to = !(_i % 2), what = _i / 2, rc;
	uint64_t dir, other;

	px_put(to, "other", "other");
	other = px_at(to, "other");
	replace_tree(!to, true);
	dir = px_at(to, "tree");
	volume_ref(px[to].v, dir);
	px_send(!to);
	n_others = 0;
	px_meanwhile = count_others;
	rc = touch(to, what, dir, other);
	px_meanwhile = NULL;
	ck_assert_uint_ge(n_others, MANY / 100);
	if (what >= 1 && what <= 5)
		ck_assert_int_eq(rc, -ENOENT);
	volume_unref(px[to].v, dir, 1);
	same_trees();
	px_meet_landed();
	px_expect("other", "other");
}
END_TEST

START_TEST(a_crash_finds_what_was_set_aside_and_drops_it)
{
	int to = !(_i % 2);
	bool flat = _i / 2;

	replace_tree(!to, flat);
	px_send(!to);
	ck_assert_uint_ne(px_at(to, "tree/new"), 0);
	ck_assert(landing_holds(px[to].v));
	crash_and_check(to);
	ck_assert(landing_holds(px[to].v));
	same_trees();
	px_meet_landed();
	px_expect("tree/new", "new");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("landing");
	TCase *cut = tcase_create("cut");

	tcase_add_checked_fixture(cut, setup, px_teardown);
	tcase_add_loop_test(cut, a_cut_is_as_of_one_moment_whatever_is_done_while_it_is_looked_up, 0, 2);
	suite_add_tcase(s, cut);
	TCase *landing = tcase_create("landing");

	tcase_add_checked_fixture(landing, setup_by_hand, px_teardown);
	tcase_add_loop_test(landing, who_walks_the_tree_sees_all_of_a_landing_though_nothing_is_carried_out, 0, 2);
	tcase_add_loop_test(landing, a_listing_has_the_attributes_that_the_landing_brings, 0, 2);
	tcase_add_loop_test(landing, a_name_that_is_looked_up_first_is_what_the_landing_makes_of_it, 0,
			    2 * (int)ARRAY_LEN(firsts));
	tcase_add_loop_test(landing, an_inode_that_is_held_is_what_the_landing_makes_of_it, 0, 14);
	tcase_add_loop_test(landing, what_is_done_right_after_a_landing_is_done_to_its_outcome, 0, 24);
	tcase_add_loop_test(landing, a_crash_goes_on_with_what_of_a_landing_was_not_carried_out, 0, 10);
	tcase_add_loop_test(landing, nobody_sees_a_part_while_it_is_judged_and_written_down, 0, 2);
	tcase_add_loop_test(landing, what_is_changed_while_it_is_judged_is_taken_into_account, 0, 66);
	tcase_add_loop_test(landing, what_is_changed_while_a_merge_is_worked_out_is_taken_into_account, 0,
			    4 * MEANWHILE);
	tcase_add_loop_test(landing, names_shifted_by_one_are_carried_out_from_any_of_them, 0, 20);
	tcase_add_loop_test(landing, a_link_that_gives_up_its_name_is_taken_as_one_that_is_looked_up, 0, 2);
	tcase_add_loop_test(landing, nobody_who_wants_the_name_of_a_directory_waits_for_all_that_goes_with_it, 0, 20);
	tcase_add_loop_test(landing, others_are_let_in_while_all_goes_that_is_in_a_directory_that_somebody_holds, 0,
			    16);
	tcase_add_loop_test(landing, a_crash_finds_what_was_set_aside_and_drops_it, 0, 4);
	suite_add_tcase(s, landing);
	landing = tcase_create("broken off");
	tcase_add_checked_fixture(landing, setup_by_hand, px_teardown);
	tcase_set_timeout(landing, 60);
	tcase_add_loop_test(landing, what_is_broken_off_while_it_is_judged_and_written_down_changes_nothing, 0, 2);
	suite_add_tcase(s, landing);
	return tap_main(s);
}
