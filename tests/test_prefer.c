/* SPDX-License-Identifier: MIT */
/*
 * One side's state is preferred (twinfs resume --prefer): both end with its tree exactly, and what the other side had
 * made or changed can be had on both. Each test runs for either side kept (k; d is the one discarded) and the word
 * given on either side (_i & 1).
 */
#include "tests/pair_fixture.h"

#include "sync/prefer.h"

static const char lines[] = "one\ntwo\nthree\nfour\nfive\n";

#define KEPT (_i >> 1)

/* What was done until now was done while apart: it is in groups that HELLO counts, as the link sees to. */
static void give(int on, int keep)
{
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(volume_commit(px[i].v), 0);
	ck_assert_int_eq(prefer_give(px[on].v, keep ? ROLE_SECONDARY : ROLE_PRIMARY), 0);
}

/* The tree that people see, with all attributes. */
static char *tree(int i)
{
	struct buf to;
	struct attr a;

	buf_init(&to, 4u << 20);
	ck_assert_int_eq(volume_getattr(px[i].v, INO_ROOT, &a), 0);
	buf_printf(&to, "/ mode %o own %u:%u nlink %u mtime %lld", a.mode, a.uid, a.gid, a.nlink,
		   (long long)a.mtime.tv_sec);
	px_dump_file(i, INO_ROOT, &a, &to);
	px_dump_dir(i, INO_ROOT, "", &to);
	ck_assert_int_eq(buf_append(&to, "", 1), 0);
	return (char *)to.data;
}

static void expect_tree(int i, char *want)
{
	char *got = tree(i);

	ck_assert_msg(strcmp(got, want) == 0, "side %d has\n%sand not\n%s", i, got, want);
	free(got);
	free(want);
}

/* ".twinfs/discarded-NODE-.../path"; the name is the same on both sides. */
static const char *kept_at(int d, const char *path)
{
	static char at[4][600];
	static unsigned n;
	char prefix[80];
	const char *top;

	snprintf(prefix, sizeof(prefix), "discarded-%s-", d ? "birch" : "alder");
	top = px_find(0, HIDDEN_NAME, prefix);
	snprintf(at[n % 4], sizeof(at[0]), HIDDEN_NAME "/%s%s%s", top[0] ? top : "nothing", path[0] ? "/" : "", path);
	return at[n++ % 4];
}

static void common(void)
{
	px_put(0, "f.txt", lines);
	px_put(0, "e", "both have it\n");
	px_put(0, "m", "moved by both\n");
	px_mkdir(0, "d");
	px_put(0, "d/g", "inside\n");
	px_mkdir(0, "d/sub");
	px_put(0, "d/sub/deep", "deep\n");
	px_put(0, "gone", "removed by the one that stays\n");
	px_put(0, "attr", "of attributes\n");
	px_link(0, "e", "e2");
	px_meet();
	px_down();
}

static void expect_row(int k, bool open)
{
	struct conflict *c;
	size_t n;

	for (int i = 0; i < 2; i++) {
		struct volume_info info;

		volume_info(px[i].v, &info);
		ck_assert_uint_eq(info.conflicts_open, 0); /* nobody waits for anything */
		ck_assert_uint_eq(info.conflicts_merged, open);
		ck_assert_int_eq(volume_conflicts(px[i].v, &c, &n), 0);
		ck_assert_uint_ge(n, 1);
		ck_assert_str_eq(c->kind, "content"); /* the first one; what was undone is told after it */
		ck_assert_str_eq(c->outcome, k ? "secondary" : "primary");
		ck_assert_int_eq(c->resolved, !open);
		if (open)
			ck_assert_ptr_nonnull(strstr(c->version[!k].path, "/.twinfs/discarded-"));
		for (size_t row = 1; row < n; row++) {
			ck_assert(strcmp(c[row].kind, "move") == 0 || strcmp(c[row].kind, "delete") == 0 ||
				  strcmp(c[row].kind, "attribute") == 0);
			ck_assert_ptr_nonnull(strstr(c[row].rule, k ? "alder had " : "birch had "));
			ck_assert(c[row].resolved);
			conflict_release(&c[row]);
		}
		conflict_release(c);
		free(c);
	}
}

/* What was undone of the discarded side: one row says so, on both sides. value NULL: none does. */
static void is_told(const char *kind, const char *path, const char *value)
{
	for (int i = 0; i < 2; i++) {
		struct conflict *c;
		unsigned found = 0;
		size_t n;

		ck_assert_int_eq(volume_conflicts(px[i].v, &c, &n), 0);
		for (size_t k = 0; k < n; k++) {
			bool primary_stays = strcmp(c[k].outcome, "primary") == 0;
			const char *there = c[k].version[primary_stays].value;

			if (strcmp(c[k].kind, kind) == 0 && strcmp(c[k].path, path) == 0) {
				found++;
				ck_assert(value && there && strcmp(there, value) == 0);
				ck_assert_str_eq(c[k].version[!primary_stays].value, path);
			}
			conflict_release(&c[k]);
		}
		free(c);
		ck_assert_msg(found == (value != NULL), "side %d: %s of %s is told %u times", i, kind, path, found);
	}
}

START_TEST(both_have_the_tree_of_the_side_preferred_and_all_that_the_other_had)
{
	int k = KEPT, d = !k;
	struct attr when = { .mtime = { .tv_sec = 12345 }, .mode = S_IFREG | 0600 };
	char *want;

	common();
	/* the one that stays */
	px_put(k, "f.txt", "one\nTWO\nthree\nfour\nfive\n");
	px_unlink(k, "gone");
	px_mkdir(k, "new");
	px_put(k, "new/k", "kept\n");
	px_put(k, "both", "kept\n");
	px_rename(k, "m", "new/m");
	px_set(k, "attr", SET_MODE, (struct attr){ .mode = S_IFREG | 0640 });
	px_setxattr(k, "attr", "user.k", "kept");
	px_rename(k, "d/sub", "new/sub");
	/* the one that goes */
	px_put(d, "f.txt", "one\ntwo\nthree\nfour\nFIVE\n");
	px_put(d, "d/g", "changed\n");
	px_put(d, "gone", "changed and deleted\n");
	px_unlink(d, "e");
	px_put(d, "both", "discarded\n");
	px_mkdir(d, "own");
	px_mkdir(d, "own/dir");
	px_put(d, "own/dir/x", "own\n");
	px_put(d, "d/sub/y", "beside deep\n");
	px_rename(d, "m", "own/m");
	px_append(d, "own/m", "and written\n");
	px_set(d, "attr", SET_MODE | SET_MTIME, when);
	px_setxattr(d, "attr", "user.k", "discarded");
	px_setxattr(d, "attr", "user.d", "discarded");
	px_set(d, "d", SET_MODE, (struct attr){ .mode = S_IFDIR | 0700 });
	px_make(d, "link", S_IFLNK | 0777);
	px_link(d, "e2", "own/hard");
	want = tree(k);

	give(_i & 1, k);
	px_meet();
	expect_tree(0, xstrdup(want));
	expect_tree(1, want);
	expect_row(k, true);
	px_expect(kept_at(d, "f.txt"), "one\ntwo\nthree\nfour\nFIVE\n");
	px_expect(kept_at(d, "d/g"), "changed\n");
	px_expect(kept_at(d, "gone"), "changed and deleted\n");
	px_expect(kept_at(d, "both"), "discarded\n");
	px_expect(kept_at(d, "own/dir/x"), "own\n");
	px_expect(kept_at(d, "d/sub/y"), "beside deep\n");
	px_expect(kept_at(d, "own/m"), "moved by both\nand written\n");
	px_expect(kept_at(d, "attr"), "of attributes\n");
	ck_assert_str_eq(px_xattr(0, kept_at(d, "attr"), "user.d"), "discarded");
	ck_assert_uint_ne(px_at(0, kept_at(d, "link")), 0);
	px_gone(kept_at(d, "e"));
	px_gone(kept_at(d, "own/hard"));
	for (int i = 0; i < 2; i++) {
		ck_assert_uint_eq(prefer_given(px[i].v).id, 0);
		ck_assert_uint_eq(volume_kept_bytes(px[i].v), 118); /* of the eight files */
	}
}
END_TEST

START_TEST(deletions_and_moves_alone_are_undone_and_leave_nothing)
{
	int k = KEPT, d = !k;
	char *want;

	common();
	px_unlink(d, "e");
	px_unlink(d, "e2");
	px_rename(d, "d/sub", "elsewhere");
	px_unlink(d, "d/g");
	px_rmdir(d, "d");
	px_rename(d, "m", "f.txt"); /* over it */
	want = tree(k);
	give(_i & 1, k);
	px_meet();
	expect_tree(0, xstrdup(want));
	expect_tree(1, want);
	expect_row(k, false);
	ck_assert_uint_eq(px_count(0, HIDDEN_NAME), 0);
	is_told("delete", "/e", "deleted");
	is_told("delete", "/e2", "deleted");
	is_told("delete", "/d", "deleted");
	is_told("move", "/d/sub", "/elsewhere");
	is_told("move", "/m", "/f.txt");
	is_told("delete", "/d/g", NULL); /* it went with its directory */
	is_told("delete", "/f.txt", NULL); /* another one took its place */
}
END_TEST

START_TEST(what_was_undone_can_be_done_after_all)
{
	int k = KEPT, d = !k;
	struct err err = ERR_INIT;

	common();
	px_unlink(d, "gone");
	px_unlink(d, "e"); /* one of two names: the other one is no matter of that */
	px_rename(d, "m", "n");
	give(_i & 1, k);
	px_meet();
	px_expect("gone", "removed by the one that stays\n");
	ck_assert_msg(volume_conflict_resolve(px[k].v, "/gone", 1, &err) == 0, "%s", err_text(&err));
	ck_assert_msg(volume_conflict_resolve(px[k].v, "/m", 1, &err) == 0, "%s", err_text(&err));
	volume_conflict_resolve(px[k].v, "/e", 1, &err);
	px_meet();
	px_gone("gone");
	px_gone("m");
	px_expect("n", "moved by both\n");
	px_expect("e", "both have it\n");
	px_expect("e2", "both have it\n");
}
END_TEST

/* More than are told one by one: the tree is as it is to be all the same. */
START_TEST(of_very_many_removals_a_thousand_are_told)
{
	struct conflict *c;
	char name[32];
	size_t n;

	for (int i = 0; i < 1100; i++) {
		snprintf(name, sizeof(name), "n%04d", i);
		px_put(0, name, "x");
	}
	px_put(0, "f.txt", lines);
	px_settle();
	px_down();
	for (int i = 0; i < 1100; i++) {
		snprintf(name, sizeof(name), "n%04d", i);
		px_unlink(1, name);
	}
	px_unlink(1, "f.txt");
	give(_i & 1, 0);
	px_settle();
	for (int i = 0; i < 2; i++) {
		ck_assert_uint_ne(px_at(i, "n0000"), 0);
		ck_assert_uint_ne(px_at(i, "n1099"), 0);
		ck_assert_uint_ne(px_at(i, "f.txt"), 0);
		ck_assert_int_eq(volume_conflicts(px[i].v, &c, &n), 0);
		ck_assert_uint_eq(n, 1001);
		for (size_t k = 0; k < n; k++)
			conflict_release(&c[k]);
		free(c);
	}
}
END_TEST

static void save(int i, const char *name, const char *text)
{
	px_put(i, "tmp#", text);
	px_rename(i, "tmp#", name);
}

static void database(int i, const char *path, const char *word)
{
	char page[512] = "SQLite format 3";

	snprintf(page + 16, sizeof(page) - 16, "%s", word);
	if (!px_at(i, path))
		px_make(i, path, S_IFREG | 0644);
	px_write(i, path, page, sizeof(page), 0);
}

/* The rows about attributes, the same on both sides: "what the primary had, what the secondary had;". */
static const char *attributes_told(void)
{
	static char told[2][200];

	for (int i = 0; i < 2; i++) {
		struct conflict *c;
		size_t n, len = 0;

		told[i][0] = '\0';
		ck_assert_int_eq(volume_conflicts(px[i].v, &c, &n), 0);
		for (size_t k = 0; k < n; k++) {
			if (strcmp(c[k].kind, "attribute") == 0 && c[k].resolved)
				len += (size_t)snprintf(told[i] + len, sizeof(told[i]) - len, "%s, %s;",
							c[k].version[0].value, c[k].version[1].value ?: "-");
			conflict_release(&c[k]);
		}
		free(c);
	}
	ck_assert_str_eq(told[0], told[1]);
	return told[0];
}

/* A mode or an owner that is undone is in no file: a row tells it, and by that it can be had after all. 20: the
 * secondary had taken what the primary sent, and left alone what it had changed, when the connection broke. */
START_TEST(a_mode_and_an_owner_that_are_undone_can_be_had_after_all)
{
	static const struct {
		struct attr kept, gone; /* a mode or an owner of 0: not set */
		const char *told[2];    /* the primary stays, the secondary does */
	} cases[] = {
		{ { .mode = 0 }, { .mode = 0600 }, { "0644, 0600;", "0600, -;" } },
		{ { .mode = 0640 }, { .mode = 0600 }, { "0640, 0600;", "0600, -;" } },
		{ { .mode = 0600 }, { .mode = 0600 }, { "", "0600, -;" } },
		{ { .uid = 0 }, { .uid = 7, .gid = 8 }, { "0:0, 7:8;", "7:8, -;" } },
		{ { .uid = 5, .gid = 8 }, { .uid = 7, .gid = 8 }, { "5:8, 7:8;", "7:8, -;" } },
	};
	const struct attr *kept = &cases[_i % 20 >> 2].kept, *gone = &cases[_i % 20 >> 2].gone;
	int k = KEPT & 1, d = !k;
	struct err err = ERR_INIT;
	struct attr a;

	px_put(0, "f", "of attributes\n");
	px_set(0, "f", SET_UID | SET_GID, (struct attr){ .uid = 0 });
	px_meet();
	px_down();
	for (int i = 0; i < 2; i++) {
		const struct attr *to = i == k ? kept : gone;

		if (to->mode)
			px_set(i, "f", SET_MODE, *to);
		if (to->uid)
			px_set(i, "f", SET_UID | SET_GID, *to);
	}
	px_put(0, "more", "to be sent\n");
	if (_i >= 20) {
		px_hello();
		px_send(0);
		px_down();
	}
	give(_i & 1, k);
	px_meet();
	if (_i >= 20 && k == 1 && kept->mode == (_i % 20 >> 2 == 2 ? gone->mode : 0) && kept->uid == 0)
		ck_assert_str_eq(attributes_told(), ""); /* it had it from the primary, or had set the same */
	else
		ck_assert_str_eq(attributes_told(), cases[_i % 20 >> 2].told[k]);
	if (*attributes_told())
		ck_assert_msg(volume_conflict_resolve(px[1].v, "f", d == 1 ? 0 : 1, &err) == 0, "%s", err.text);
	px_meet();
	ck_assert_int_eq(volume_getattr(px[0].v, px_at(0, "f"), &a), 0);
	ck_assert_uint_eq(a.mode & 07777, gone->mode ? gone->mode : 0644);
	ck_assert_uint_eq(a.uid, gone->uid);
	px_same();
}
END_TEST

/* What it removed of a file's xattrs is removed, whatever the other did to the file: nothing; to the xattr; to the
 * bytes; another one; it deleted it; it gave it another name. */
START_TEST(an_xattr_that_the_side_preferred_removed_is_gone)
{
	int k = KEPT & 1, d = !k;
	char *want;

	px_put(0, "f", "of attributes\n");
	px_setxattr(0, "f", "user.k", "value");
	px_setxattr(0, "f", "user.other", "stays");
	px_meet();
	px_down();
	ck_assert_int_eq(volume_removexattr(px[k].v, px_at(k, "f"), "user.k"), 0);
	switch (_i >> 2) {
	case 1: px_setxattr(d, "f", "user.k", "other"); break;
	case 2: px_put(d, "f", "written\n"); break;
	case 3: px_setxattr(d, "f", "user.new", "n"); break;
	case 4: px_unlink(d, "f"); break;
	case 5: px_rename(d, "f", "g"); break;
	case 6:
		px_put(d, "f", "written\n");
		px_setxattr(d, "f", "user.k", "other");
		break;
	default: break;
	}
	want = tree(k);
	give(_i & 1, k);
	px_meet();
	expect_tree(0, xstrdup(want));
	expect_tree(1, want);
}
END_TEST

/* What one side set, or removed (4), before it deleted the file of which it changed nothing else: in one group, or in
 * groups of their own. */
START_TEST(an_xattr_of_what_comes_back_is_as_the_side_preferred_has_it)
{
	int k = KEPT & 1, d = !k;

	px_put(0, "f", lines);
	px_setxattr(0, "f", "user.k", "kept");
	px_meet();
	px_down();
	if (_i & 4)
		ck_assert_int_eq(volume_removexattr(px[d].v, px_at(d, "f"), "user.k"), 0);
	else
		px_setxattr(d, "f", "user.k", "discarded");
	if (_i & 8)
		ck_assert_int_eq(volume_commit(px[d].v), 0);
	px_unlink(d, "f");
	ck_assert_int_eq(volume_commit(px[d].v), 0);
	give(_i & 1, k);
	px_meet();
	for (int i = 0; i < 2; i++)
		ck_assert_str_eq(px_xattr(i, "f", "user.k"), "kept");
}
END_TEST

/* What the other changed of a file before it deleted it does not count either. */
START_TEST(a_file_that_comes_back_is_as_the_side_preferred_has_it)
{
	int k = KEPT, d = !k;
	char *want;

	px_put(0, "f", lines);
	px_setxattr(0, "f", "user.k", "value");
	px_setxattr(0, "f", "user.other", "both");
	px_meet();
	px_down();
	px_setxattr(d, "f", "user.k", "changed");
	px_setxattr(d, "f", "user.new", "new");
	ck_assert_int_eq(volume_removexattr(px[d].v, px_at(d, "f"), "user.other"), 0);
	px_append(d, "f", "six\n");
	px_set(d, "f", SET_MODE | SET_MTIME, (struct attr){ .mode = 0600, .mtime = { .tv_sec = 1 } });
	ck_assert_int_eq(volume_commit(px[d].v), 0);
	px_unlink(d, "f");
	want = tree(k);
	give(_i & 1, k);
	px_meet();
	expect_tree(0, xstrdup(want));
	expect_tree(1, want);
}
END_TEST

/* A conflict of it was known to both, and is settled as the file goes. */
START_TEST(a_merged_file_that_comes_back_is_as_the_side_preferred_has_it)
{
	int k = KEPT, d = !k;
	char *want;

	px_put(0, "f.txt", lines);
	px_meet();
	px_down();
	px_put(0, "f.txt", "ONE\ntwo\nthree\nfour\nfive\n");
	px_put(1, "f.txt", "one\ntwo\nthree\nfour\nFIVE\n");
	px_meet();
	px_down();
	px_unlink(d, "f.txt");
	want = tree(k);
	give(_i & 1, k);
	px_meet();
	expect_tree(0, xstrdup(want));
	expect_tree(1, want);
}
END_TEST

/* Saves are not merged, a .git directory or a database is not copied: the side's tree is taken as it is. */
START_TEST(what_is_saved_anew_and_what_belongs_together_is_taken_as_the_side_has_it)
{
	int k = KEPT, d = !k;
	char *want;

	px_put(0, "f.txt", lines);
	px_put(0, "g.txt", lines);
	px_put(0, "h.txt", lines);
	px_mkdir(0, ".git");
	px_put(0, ".git/HEAD", "main");
	px_put(0, ".git/index", "base");
	database(0, "app.db", "base");
	px_put(0, "app.db-wal", "log");
	px_meet();
	px_down();
	save(k, "f.txt", "one\nTWO\nthree\nfour\nfive\n");
	save(d, "f.txt", "one\ntwo\nthree\nfour\nFIVE\n");
	save(k, "g.txt", "one\nTWO\nthree\nfour\nfive\n");
	px_put(d, "g.txt", "one\ntwo\nthree\nfour\nFIVE\n");
	px_put(k, "h.txt", "one\nTWO\nthree\nfour\nfive\n");
	save(d, "h.txt", "one\ntwo\nthree\nfour\nFIVE\n");
	px_put(k, ".git/HEAD", "kept");
	px_put(d, ".git/index", "discarded");
	px_put(d, ".git/new", "new");
	database(k, "app.db", "kept");
	px_put(d, "app.db-wal", "discarded");
	want = tree(k);
	give(_i & 1, k);
	px_meet();
	expect_tree(0, xstrdup(want));
	expect_tree(1, want);
	expect_row(k, true);
	for (const char *const *name = (const char *const[]){ "f.txt", "g.txt", "h.txt", NULL }; *name; name++)
		px_expect(kept_at(d, *name), "one\ntwo\nthree\nfour\nFIVE\n");
	px_expect(kept_at(d, ".git/index"), "discarded");
	px_expect(kept_at(d, ".git/new"), "new");
	px_gone(kept_at(d, ".git/HEAD"));
	px_expect(kept_at(d, "app.db-wal"), "discarded");
	px_gone(kept_at(d, "app.db"));
	ck_assert_uint_eq(px_count(0, kept_at(d, "")), 5);
}
END_TEST

START_TEST(the_word_is_good_for_one_reconciliation)
{
	int k = KEPT, d = !k;

	common();
	px_put(d, "f.txt", "discarded\n");
	give(_i & 1, k);
	px_meet();
	px_expect("f.txt", lines);
	px_put(d, "f.txt", "ordinary\n");
	px_meet();
	px_expect("f.txt", "ordinary\n");
	px_down();
	px_put(d, "f.txt", "once more\n");
	px_put(k, "other", "x");
	px_meet();
	px_expect("f.txt", "once more\n");
	expect_row(k, true);
}
END_TEST

START_TEST(the_word_outlives_a_crash_at_any_time_and_is_carried_out_once)
{
	/* After how many deliveries who is killed; the last ones are after the end. */
	for (unsigned at = 0; at < 40; at += 1 + at / 12) {
		int k = KEPT, d = !k;
		struct err err = ERR_INIT;
		unsigned n = 0;

		if (at > 0) {
			px_teardown();
			px_setup();
		}
		common();
		px_put(d, "f.txt", "discarded\n");
		px_put(d, "fresh", "discarded too\n");
		px_put(k, "f.txt", "kept\n");
		px_unlink(k, "gone");
		for (int i = 0; i < 2; i++)
			ck_assert_int_eq(volume_commit(px[i].v), 0);
		give(_i & 1, k);
		px_up();
		for (unsigned idle = 0; n < at && idle < 3; idle++) {
			px_now_ms += 50;
			for (int i = 0; i < 2; i++)
				px_talk(i);
			for (int i = 0; i < 2; i++)
				for (; n < at && px_next(i); n++, idle = 0)
					ck_assert_msg(px_deliver(i, &err) == 0, "%s", err_text(&err));
		}
		px_crash((int)(at / 2) % 2);
		px_settle();
		px_same();
		px_expect("f.txt", "kept\n");
		px_expect(kept_at(d, "f.txt"), "discarded\n");
		px_expect(kept_at(d, "fresh"), "discarded too\n");
		px_gone("fresh");
		px_gone("gone");
		expect_row(k, true);
		px_put(d, "f.txt", "later\n");
		px_meet();
		px_expect("f.txt", "later\n");
		px_down();
	}
}
END_TEST

/* Deliver until the primary has heard HELLO: what is changed after that is changed after the word. */
static void shake_hands(void)
{
	struct err err = ERR_INIT;

	px_up();
	for (int i = 0; i < 2; i++) {
		ssize_t n = engine_pull(px[i].e, &px[i].out, 1, &err);

		ck_assert_int_gt(n, 0);
		ck_assert_uint_eq(px_next(i), FRAME_HELLO);
	}
	for (int i = 0; i < 2; i++)
		ck_assert_msg(px_deliver(i, &err) == 0, "%s", err_text(&err));
}

START_TEST(what_the_primary_does_after_the_word_is_merged_as_ever)
{
	common();
	px_put(0, "f.txt", "discarded\n");
	px_put(1, "e", "kept\n");
	px_put(1, "fresh", "kept\n");
	give(_i & 1, 1);
	shake_hands();
	px_expect("f.txt", lines);
	px_put(0, "later", "late\n");
	px_put(0, "d/g", "late\n");
	px_put(0, "fresh", "late\n"); /* it does not know of the other one yet */
	px_meet();
	px_expect("later", "late\n");
	px_expect("d/g", "late\n");
	px_expect("e", "kept\n");
	px_expect("fresh", "late\n");
	px_expect(px_find(0, "", "fresh.conflict-birch"), "kept\n");
	px_expect(kept_at(0, "f.txt"), "discarded\n");
}
END_TEST

START_TEST(what_the_primary_deletes_after_the_word_comes_back_if_the_other_changed_it)
{
	common();
	px_put(0, "e", "discarded\n");
	px_put(1, "f.txt", "kept\n");
	give(_i & 1, 1);
	shake_hands();
	px_unlink(0, "f.txt");
	px_unlink(0, "attr");
	px_meet();
	px_expect("f.txt", "kept\n");
	px_gone("attr");
}
END_TEST

START_TEST(what_the_secondary_does_after_its_changes_were_cut_is_merged_as_ever)
{
	common();
	px_put(1, "f.txt", "discarded\n");
	px_mkdir(1, "own");
	px_put(1, "own/x", "discarded\n");
	give(_i & 1, 0);
	shake_hands();
	px_now_ms += 50;
	px_talk(1);
	px_put(1, "later", "late\n");
	px_put(1, "own/y", "late\n");
	px_meet();
	px_expect("f.txt", lines);
	px_expect("later", "late\n");
	px_expect(kept_at(1, "f.txt"), "discarded\n");
	px_expect(kept_at(1, "own/x"), "discarded\n");
}
END_TEST

/* Until the secondary has heard of it, it tells of such a file by an id of its own. */
START_TEST(what_was_written_to_an_equal_file_that_became_one_goes_aside_once)
{
	int k = _i / 4, gone = _i / 2 % 2;
	struct err err = ERR_INIT;
	char *want;

	common();
	px_put(0, "same", "same\n");
	px_put(1, "same", "same\n");
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(volume_commit(px[i].v), 0);
	shake_hands();
	px_now_ms += 50;
	px_talk(1);
	while (px_next(1))
		ck_assert_msg(px_deliver(1, &err) == 0, "%s", err_text(&err));
	px_down();
	if (gone)
		px_unlink(0, "same");
	px_append(1, "same", "more\n");
	want = tree(k);
	give(_i & 1, k);
	px_meet();
	if (k == 0) {
		expect_row(k, true);
		expect_tree(0, xstrdup(want));
		expect_tree(1, want);
		px_expect(kept_at(1, "same"), "same\nmore\n");
		ck_assert_uint_eq(px_count(0, kept_at(1, "")), 1);
	} else {
		px_expect("same", "same\nmore\n");
		free(want);
	}
}
END_TEST

/* The secondary has not heard that its version is in a conflict copy, and goes on writing. */
START_TEST(a_conflict_that_the_secondary_has_not_heard_of_is_under_the_word_too)
{
	int k = _i / 2 % 2;
	struct err err = ERR_INIT;
	char *want;

	common();
	px_put(0, "f.txt", "one\nALDER\nthree\nfour\nfive\n");
	px_put(1, "f.txt", "one\nBIRCH\nthree\nfour\nfive\n");
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(volume_commit(px[i].v), 0);
	shake_hands();
	px_now_ms += 50;
	px_talk(1);
	while (px_next(1))
		ck_assert_msg(px_deliver(1, &err) == 0, "%s", err_text(&err));
	px_down();
	px_append(1, "f.txt", "more\n");
	give(_i & 1, k);
	if (_i / 4) { /* it goes on when the word is taken already */
		shake_hands();
		px_append(1, "f.txt", "still more\n");
	}
	want = tree(k);
	px_meet();
	expect_tree(0, xstrdup(want));
	expect_tree(1, want);
}
END_TEST

static void saves(int i, const char *path, const char *text)
{
	px_put(i, "tmp#", text);
	px_rename(i, "tmp#", path);
}

/* Its file had become one with the primary's: it is itself again. */
START_TEST(a_save_that_was_merged_and_the_secondary_has_not_heard_of_is_its_own_under_the_word)
{
	const int late = _i & 1;
	char *want;

	common();
	switch (_i / 2) {
	case 0: /* moved here, saved there */
		px_rename(0, "f.txt", "moved");
		saves(1, "f.txt", "one\ntwo\nthree\nfour\nBIRCH\n");
		px_set(1, "f.txt", SET_MODE, (struct attr){ .mode = 0600 });
		break;
	case 1: /* saved here, moved and written there */
		saves(0, "f.txt", "ALDER\ntwo\nthree\nfour\nfive\n");
		px_set(0, "f.txt", SET_MODE, (struct attr){ .mode = 0640 });
		px_rename(1, "f.txt", "moved");
		px_append(1, "moved", "BIRCH\n");
		px_set(1, "moved", SET_MODE, (struct attr){ .mode = 0600 });
		px_setxattr(1, "moved", "user.k", "birch");
		break;
	case 2: /* saved on both sides */
		saves(0, "f.txt", "ALDER\ntwo\nthree\nfour\nfive\n");
		saves(1, "f.txt", "one\ntwo\nthree\nfour\nBIRCH\n");
		px_link(1, "f.txt", "d/l");
		break;
	case 3: /* the same was made on both */
	case 4: /* and has another name since */
		px_put(0, "new", "new\n");
		px_put(1, "new", "new\n");
		break;
	default: ck_abort();
	}
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(volume_commit(px[i].v), 0);
	shake_hands();
	px_send(1);
	if (_i / 2 == 4) {
		px_link(1, "new", "d/l");
		px_send(1);
	}
	px_down();
	if (_i / 2 == 4)
		px_append(1, "d/l", "late\n");
	if (late && _i / 2 < 3)
		px_append(1, _i / 2 == 1 ? "moved" : "f.txt", "late\n");
	/* Its times of the root, told before, may have been later than ours or not: that is not what this is about. */
	px_set(1, "", SET_MTIME, (struct attr){ .mtime = { .tv_sec = 1800000000 } });
	give(late, 1);
	want = tree(1);
	px_meet();
	expect_tree(0, xstrdup(want));
	expect_tree(1, want);
}
END_TEST

/* The secondary's changes arrive, what became of them does not: the connection breaks. Where the primary's attribute
 * stood against it the secondary goes on with its own. */
START_TEST(what_both_touched_just_before_the_connection_broke_is_as_the_side_has_it)
{
	int k = _i / 2 % 2;
	struct err err = ERR_INIT;
	char *want;

	common();
	px_put(0, "data", "");
	px_write(0, "data", "0123456789", 10, 20000);
	px_put(0, "text", lines);
	px_meet();
	px_down();
	for (int i = 0; i < 2; i++) {
		px_set(i, "attr", SET_MODE, (struct attr){ .mode = i ? 0600 : 0640 });
		px_set(i, "f.txt", SET_UID | SET_GID, (struct attr){ .uid = 5 + (unsigned)i, .gid = 7 + (unsigned)i });
		px_setxattr(i, "e", "user.tag", i ? "birch" : "alder");
		px_set(i, "d", SET_MODE, (struct attr){ .mode = i ? 0700 : 0711 });
		px_write(i, "data", i ? "birch" : "alder", 5, i ? 5000 : 4100); /* in one block */
		px_write(i, "data", i ? "birch" : "alder", 5, i ? 9000 : 13000);
		px_put(i, "text", i ? "one\ntwo\nthree\nfour\nBIRCH\n" : "ALDER\ntwo\nthree\nfour\nfive\n");
		ck_assert_int_eq(volume_commit(px[i].v), 0);
	}
	shake_hands();
	px_now_ms += 50;
	px_talk(1);
	while (px_next(1))
		ck_assert_msg(px_deliver(1, &err) == 0, "%s", err_text(&err));
	px_down();
	if (_i / 4) { /* it goes on with what it has */
		px_set(1, "attr", SET_MODE, (struct attr){ .mode = 0666 });
		px_setxattr(1, "e", "user.tag", "birch again");
		px_write(1, "data", "more", 4, 17000);
		px_append(1, "text", "more\n");
	}
	give(_i & 1, k);
	want = tree(k);
	px_meet();
	expect_tree(0, xstrdup(want));
	expect_tree(1, want);
}
END_TEST

START_TEST(contradicting_words_are_refused_until_one_is_taken_back)
{
	struct err err = ERR_INIT;
	char *before[2];

	common();
	px_put(0, "f.txt", "alder\n");
	px_put(1, "f.txt", "birch\n");
	for (int i = 0; i < 2; i++)
		before[i] = tree(i);
	give(0, 0);
	give(1, 1);
	px_up();
	for (int i = 0; i < 2; i++)
		px_talk(i);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(px_deliver(i, &err), -EPERM);
		ck_assert_ptr_nonnull(strstr(err_text(&err), "--prefer"));
	}
	px_down();
	for (int i = 0; i < 2; i++)
		expect_tree(i, before[i]);
	ck_assert_int_eq(prefer_give(px[_i & 1].v, ROLE_NONE), 0);
	px_meet();
	px_expect("f.txt", _i & 1 ? "alder\n" : "birch\n");
	expect_row(_i & 1 ? 0 : 1, true);
}
END_TEST

START_TEST(deleting_everything_is_undone_by_preferring_the_other_side)
{
	int k = KEPT, d = !k;
	char name[32], *want;

	common();
	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "d/n%03d", i);
		px_put(0, name, "x");
	}
	/* px_meet would list more than the fixture has room for */
	px_settle();
	px_down();
	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "d/n%03d", i);
		px_unlink(d, name);
	}
	want = xasprintf("%u", px_stat(k, "d").nlink);
	give(_i & 1, k);
	px_settle();
	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "d/n%03d", i);
		px_expect(name, "x");
	}
	free(want);
}
END_TEST

START_TEST(what_the_preferred_side_deleted_is_still_held_until_it_is_confirmed)
{
	int k = KEPT, d = !k;
	struct err err = ERR_INIT;
	char name[32];
	int rc = 0;

	common();
	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "d/n%03d", i);
		px_put(0, name, "x");
	}
	px_settle();
	px_down();
	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "d/n%03d", i);
		px_unlink(k, name);
	}
	px_put(d, "f.txt", "discarded\n");
	give(_i & 1, k);
	px_up();
	for (unsigned idle = 0; rc == 0 && idle < 3; idle++) {
		px_now_ms += 50;
		for (int i = 0; i < 2; i++)
			px_talk(i);
		for (int i = 0; i < 2 && rc == 0; i++)
			for (; rc == 0 && px_next(i); idle = 0)
				rc = px_deliver(i, &err);
	}
	ck_assert_int_eq(rc, -ECANCELED);
	ck_assert_uint_ne(px_at(d, "d/n000"), 0);
	px_down();
	engine_confirm_deletions(px[d].e);
	px_settle();
	px_gone("d/n000");
	px_expect("f.txt", lines);
	px_expect(kept_at(d, "f.txt"), "discarded\n");
}
END_TEST

START_TEST(versions_set_aside_before_are_not_touched)
{
	int k = KEPT, d = !k;

	common();
	px_put(0, "f.txt", "ONE\ntwo\nthree\nfour\nfive\n");
	px_put(1, "f.txt", "one\ntwo\nthree\nfour\nFIVE\n");
	px_meet(); /* merged, both are kept aside */
	ck_assert_uint_eq(px_count(0, HIDDEN_NAME), 3); /* and the base */
	px_down();
	px_put(d, "f.txt", "discarded\n");
	give(_i & 1, k);
	px_meet();
	px_expect("f.txt", "ONE\ntwo\nthree\nfour\nFIVE\n");
	ck_assert_uint_eq(px_count(0, HIDDEN_NAME), 4);
	/* and once more: the directory of the first word stays where it is */
	px_down();
	px_put(d, "d/g", "discarded again\n");
	px_unlink(d, kept_at(d, "f.txt"));
	give(_i & 1, k);
	px_meet();
	ck_assert_uint_ge(px_count(0, HIDDEN_NAME), 3);
	px_expect("d/g", "inside\n");
}
END_TEST

/* What the secondary did is heard; it hears nothing of what became of that. */
static void only_the_secondary_speaks(void)
{
	struct err err = ERR_INIT;

	px_now_ms += 50;
	px_talk(1);
	while (px_next(1))
		ck_assert_msg(px_deliver(1, &err) == 0, "%s", err_text(&err));
}

/* Its own name of the file is discarded; not knowing that it removes the other one. 2: by another file put there. */
START_TEST(a_file_is_not_gone_with_a_name_that_was_discarded_and_one_that_was_removed)
{
	common();
	px_link(1, "f.txt", "d/own");
	give(_i & 1, 0);
	shake_hands();
	only_the_secondary_speaks();
	if (_i & 2)
		px_rename(1, "attr", "f.txt");
	else
		px_unlink(1, "f.txt");
	px_meet();
	px_expect("f.txt", lines);
	if (_i & 2)
		px_expect(px_find(0, "", "f.conflict-"), "of attributes\n");
}
END_TEST

/* The same; but it hears of it, as it removed it before it knew, and then its own state is to count: what it has is
 * gone there by two removals that did not know of each other. */
START_TEST(what_two_removals_took_is_kept_when_the_secondary_is_preferred_then)
{
	struct err err = ERR_INIT;

	common();
	px_link(1, "f.txt", "d/own");
	px_put(0, "d/own", "the primary's\n");
	give(_i & 1, 0);
	shake_hands();
	only_the_secondary_speaks();
	px_unlink(1, "f.txt");
	px_now_ms += 50;
	px_talk(0);
	while (px_next(0))
		ck_assert_msg(px_deliver(0, &err) == 0, "%s", err_text(&err));
	px_down();
	give(_i & 1, 1);
	px_meet();
	px_gone("f.txt");
	px_expect(kept_at(0, "f.txt"), lines);
}
END_TEST

/* Where the secondary has not heard of the first word it has things where they were, as it made them, and that is what
 * counts. 2: it gave what was discarded one more name since. */
START_TEST(a_second_word_for_the_other_side_brings_back_what_the_first_one_discarded)
{
	common();
	px_mkdir(1, "own");
	px_put(1, "own/fresh", "fresh\n");
	save(1, "f.txt", "saved\n");
	px_append(1, "e", "more\n");
	px_rename(1, "m", "own/m");
	px_put(0, "d/g", "the primary's\n");
	give(_i & 1, 0);
	shake_hands();
	only_the_secondary_speaks();
	ck_assert_uint_eq(px_at(0, "own"), 0);
	px_down();
	if (_i & 2)
		px_link(1, "own/fresh", "d/again");
	give(_i & 1, 1);
	px_meet();
	px_expect("own/fresh", "fresh\n");
	px_expect("f.txt", "saved\n");
	px_expect("e", "both have it\nmore\n");
	px_expect("e2", "both have it\nmore\n");
	px_expect("own/m", "moved by both\n");
	px_expect("d/g", "inside\n");
	if (_i & 2)
		px_expect("d/again", "fresh\n");
	px_gone("m");
}
END_TEST

/* What was taken back of the primary's is no change of it: the secondary, which was preferred, goes on with its own. */
START_TEST(what_was_taken_back_does_not_stand_against_what_comes_next)
{
	common();
	px_put(0, "gone", "the primary's\n");
	px_set(0, "attr", SET_MODE, (struct attr){ .mode = S_IFREG | 0640 });
	px_setxattr(0, "attr", "user.k", "alder");
	give(_i & 1, 1);
	shake_hands();
	only_the_secondary_speaks();
	px_unlink(1, "gone");
	px_set(1, "attr", SET_MODE, (struct attr){ .mode = S_IFREG | 0600 });
	px_setxattr(1, "attr", "user.k", "birch");
	px_meet();
	px_gone("gone");
	for (int i = 0; i < 2; i++) {
		ck_assert_uint_eq(px_stat(i, "attr").mode & 07777, 0600);
		ck_assert_str_eq(px_xattr(i, "attr", "user.k"), "birch");
	}
}
END_TEST

/* No word is about what is in .twinfs; but of what people see one side's is taken whole, names into it as well. */
START_TEST(what_the_other_side_took_out_of_twinfs_is_back_there)
{
	int k = KEPT, d = !k;
	struct px_list *l = xmalloc(sizeof(*l));
	char *want, *kept = NULL;

	common();
	px_put(0, "f.txt", "ONE\ntwo\nthree\nfour\nfive\n");
	px_put(1, "f.txt", "one\ntwo\nthree\nfour\nFIVE\n");
	px_meet(); /* merged, both are kept aside */
	px_down();
	px_list(d, px_at(d, HIDDEN_NAME), l);
	for (size_t i = 0; i < l->n && !kept; i++)
		if (strstr(l->e[i].name, "birch"))
			kept = xasprintf(HIDDEN_NAME "/%s", l->e[i].name);
	free(l);
	ck_assert_ptr_nonnull(kept);
	px_link(d, kept, "both");
	px_rename(d, kept, "d/g");
	px_set(k, "f.txt", SET_MTIME, (struct attr){ .mtime = { .tv_sec = 5 } });
	want = tree(k);
	give(_i & 1, k);
	px_meet();
	expect_tree(0, xstrdup(want));
	expect_tree(1, want);
	free(kept);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("prefer");
	TCase *tc = tcase_create("prefer");

	tcase_add_checked_fixture(tc, px_setup, px_teardown);
	tcase_set_timeout(tc, 180);
	tcase_add_loop_test(tc, both_have_the_tree_of_the_side_preferred_and_all_that_the_other_had, 0, 4);
	tcase_add_loop_test(tc, deletions_and_moves_alone_are_undone_and_leave_nothing, 0, 4);
	tcase_add_loop_test(tc, what_was_undone_can_be_done_after_all, 0, 4);
	tcase_add_loop_test(tc, of_very_many_removals_a_thousand_are_told, 0, 1);
	tcase_add_loop_test(tc, an_xattr_of_what_comes_back_is_as_the_side_preferred_has_it, 0, 16);
	tcase_add_loop_test(tc, a_file_that_comes_back_is_as_the_side_preferred_has_it, 0, 4);
	tcase_add_loop_test(tc, a_merged_file_that_comes_back_is_as_the_side_preferred_has_it, 0, 4);
	tcase_add_loop_test(tc, an_xattr_that_the_side_preferred_removed_is_gone, 0, 28);
	tcase_add_loop_test(tc, a_mode_and_an_owner_that_are_undone_can_be_had_after_all, 0, 40);
	tcase_add_loop_test(tc, what_is_saved_anew_and_what_belongs_together_is_taken_as_the_side_has_it, 0, 4);
	tcase_add_loop_test(tc, the_word_is_good_for_one_reconciliation, 0, 4);
	tcase_add_loop_test(tc, the_word_outlives_a_crash_at_any_time_and_is_carried_out_once, 0, 4);
	tcase_add_loop_test(tc, what_the_primary_does_after_the_word_is_merged_as_ever, 0, 2);
	tcase_add_loop_test(tc, what_the_primary_deletes_after_the_word_comes_back_if_the_other_changed_it, 0, 2);
	tcase_add_loop_test(tc, what_the_secondary_does_after_its_changes_were_cut_is_merged_as_ever, 0, 2);
	tcase_add_loop_test(tc, what_was_written_to_an_equal_file_that_became_one_goes_aside_once, 0, 8);
	tcase_add_loop_test(tc, a_conflict_that_the_secondary_has_not_heard_of_is_under_the_word_too, 0, 8);
	tcase_add_loop_test(tc, a_save_that_was_merged_and_the_secondary_has_not_heard_of_is_its_own_under_the_word, 0,
			    10);
	tcase_add_loop_test(tc, what_both_touched_just_before_the_connection_broke_is_as_the_side_has_it, 0, 8);
	tcase_add_loop_test(tc, contradicting_words_are_refused_until_one_is_taken_back, 0, 2);
	tcase_add_loop_test(tc, deleting_everything_is_undone_by_preferring_the_other_side, 0, 4);
	tcase_add_loop_test(tc, what_the_preferred_side_deleted_is_still_held_until_it_is_confirmed, 0, 4);
	tcase_add_loop_test(tc, versions_set_aside_before_are_not_touched, 0, 4);
	tcase_add_loop_test(tc, a_file_is_not_gone_with_a_name_that_was_discarded_and_one_that_was_removed, 0, 4);
	tcase_add_loop_test(tc, what_two_removals_took_is_kept_when_the_secondary_is_preferred_then, 0, 2);
	tcase_add_loop_test(tc, a_second_word_for_the_other_side_brings_back_what_the_first_one_discarded, 0, 4);
	tcase_add_loop_test(tc, what_was_taken_back_does_not_stand_against_what_comes_next, 0, 2);
	tcase_add_loop_test(tc, what_the_other_side_took_out_of_twinfs_is_back_there, 0, 4);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
