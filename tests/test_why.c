/* SPDX-License-Identifier: MIT */
/* The sentences of twinfs why, for each kind of note and each way a path can stand. */
#include "node/why.h"
#include "tests/volume_fixture.h"

static json_t *reply;

static const char *why(const char *path)
{
	struct err err = ERR_INIT;

	json_decref(reply);
	reply = json_object();
	ck_assert_msg(why_path(fx, path, reply, &err) == 0, "%s", err.text);
	return json_string_value(json_object_get(reply, "text"));
}

static void teardown(void)
{
	json_decref(reply);
	reply = NULL;
	fx_teardown();
}

#define SAYS(path, words) \
	ck_assert_msg(strstr(why(path), words) != NULL, "%s: \"%s\", nothing about \"%s\"", path, why(path), words)

static void expect_state(const char *path, const char *state)
{
	why(path);
	ck_assert_str_eq(json_string_value(json_object_get(reply, "state")), state);
}

/* All there is becomes the baseline. */
static void in_step(void)
{
	uint64_t g = fx_cut();

	ck_assert_int_eq(volume_apply_begin(fx), 0);
	ck_assert_int_eq(changes_purge(fx, g), 0);
	ck_assert_int_eq(history_purge(fx, g), 0);
	ck_assert_int_eq(volume_apply_commit(fx, 1), 0);
}

struct note {
	const char *kind, *outcome, *rule;
	const char *copy; /* name of the secondary's version, or NULL */
	const char *words;
};

#define AT "2026-01-02T03:04:05Z"

static const struct note notes[] = {
	{ "content", "merged", "R1", "aside",
	  "/f was changed on both sides; they were merged at " AT " (R1); beta's whole version is /aside. "
	  "It is the same on both sides" },
	{ "content", "kept-both", "R2", "copy",
	  "both versions were kept at " AT " (R2): here is alpha's, "
	  "beta's is /copy; it waits for you (twinfs conflicts). It is the same on both sides" },
	{ "content", "kept-both", "R2", NULL, "here is alpha's, the other's file is gone by now" },
	{ "content", "secondary", "R3", "aside",
	  "at " AT " the secondary's version was taken (R3); beta's "
	  "whole version is /aside" },
	{ "name", "kept-both", "R4", "other",
	  "both sides gave the name /f to different things: here is alpha's; the other "
	  "was renamed to /other at " AT ", because the name was taken" },
	{ "name", "merged", "R8", "F",
	  "/f is alpha's and /F is beta's (R8, at " AT "). It is the same on both sides" },
	{ "delete", "restored", "R5", NULL,
	  "/f came back at " AT " (R5)" },
	{ "move", "primary", "R6", NULL,
	  "/f was changed on both sides, which was settled at " AT " (R6)" },
	{ "attribute", "primary", "R7", NULL, "settled at " AT " (R7)" },
};

static void put_note(const struct note *n, uint64_t ino, uint64_t copy)
{
	char rule[8], path[] = "/f", copy_path[32];
	struct conflict c = { .rule = rule, .path = path, .ino = ino, .when_ms = UINT64_C(1767323045000) };

	snprintf(rule, sizeof(rule), "%s", n->rule);
	snprintf(c.kind, sizeof(c.kind), "%s", n->kind);
	snprintf(c.outcome, sizeof(c.outcome), "%s", n->outcome);
	snprintf(copy_path, sizeof(copy_path), "/%s", n->copy ?: "was-removed");
	c.version[0] = (struct conflict_version){ .node = "alpha", .path = path, .ino = ino };
	c.version[1] = (struct conflict_version){ .node = "beta", .path = copy_path, .ino = copy };
	c.resolved = strcmp(n->outcome, "kept-both") != 0;
	volume_lock(fx);
	ck_assert_int_eq(group_open(fx), 0);
	ck_assert_int_eq(conflict_put(fx, &c), 0);
	volume_unlock(fx);
}

START_TEST(each_note_has_its_sentence)
{
	const struct note *n = &notes[_i];
	uint64_t f = fx_file(INO_ROOT, "f"), copy = n->copy ? fx_file(INO_ROOT, n->copy) : UINT64_C(99999);

	put_note(n, f, copy);
	in_step();
	SAYS("/f", n->words);
	SAYS("f", n->rule[1] == '4' ? "because" : n->rule);
	ck_assert_str_eq(json_string_value(json_object_get(json_object_get(reply, "last"), "role")), "original");
	if (n->copy && strcmp(n->kind, "name") != 0)
		SAYS(n->copy, "is the version that beta had of /f, which both sides changed (");
	if (n->copy && strcmp(n->outcome, "merged") == 0 && strcmp(n->kind, "name") == 0)
		SAYS(n->copy, n->words);
	else if (n->copy && strcmp(n->kind, "name") == 0)
		SAYS(n->copy, "is beta's; it was renamed at 2026-01-02T03:04:05Z, because the name /f was taken");
}
END_TEST

START_TEST(a_base_and_what_is_settled_have_their_sentences)
{
	char rule[] = "R", path[] = "/f", mode0[] = "0644", mode1[] = "0600";
	uint64_t f = fx_file(INO_ROOT, "f"), base = fx_file(INO_ROOT, "before"), g = fx_file(INO_ROOT, "g");
	struct conflict c = { .kind = "content", .outcome = "kept-both", .rule = rule, .path = path, .ino = f,
	                      .base = base, .resolved = true, .when_ms = UINT64_C(1767323045000) };

	c.version[0] = (struct conflict_version){ .node = "alpha", .path = path, .ino = f };
	volume_lock(fx);
	ck_assert_int_eq(group_open(fx), 0);
	ck_assert_int_eq(conflict_put(fx, &c), 0);
	snprintf(c.kind, sizeof(c.kind), "attribute");
	c.id = c.base = 0;
	c.ino = g;
	path[1] = 'g';
	c.version[0] = (struct conflict_version){ .node = "alpha", .ino = g, .value = mode0 };
	c.version[1] = (struct conflict_version){ .node = "beta", .value = mode1 };
	ck_assert_int_eq(conflict_put(fx, &c), 0);
	volume_unlock(fx);
	in_step();
	SAYS("f", "; that is settled");
	SAYS("before", "before is what both sides had of /f before both changed it (R, at " AT ")");
	SAYS("g", "(R); alpha had 0644, beta had 0600");
}
END_TEST

START_TEST(the_newest_note_counts_and_follows_a_rename)
{
	uint64_t f = fx_file(INO_ROOT, "f");

	put_note(&notes[7], f, 0);
	put_note(&notes[6], f, 0);
	in_step();
	SAYS("f", "came back");
	ck_assert_int_eq(volume_rename(fx, INO_ROOT, "f", INO_ROOT, "g", 0), 0);
	SAYS("g", "g came back");
	SAYS("g", "It was changed here (names), which the peer has not confirmed yet");
	SAYS("f", "It was moved to /g, which the peer has not confirmed yet");
	expect_state("f", "moved");
}
END_TEST

static void put_row(struct conflict *c)
{
	c->when_ms = UINT64_C(1767323045000);
	volume_lock(fx);
	ck_assert_int_eq(group_open(fx), 0);
	ck_assert_int_eq(conflict_put(fx, c), 0);
	volume_unlock(fx);
}

START_TEST(a_place_that_one_side_had_leads_to_where_it_is)
{
	char rule[] = "R", path[] = "/f", ours[] = "/f", theirs[] = "/d/g";
	uint64_t f = fx_file(INO_ROOT, "f");
	struct conflict c = { .kind = "move", .outcome = "primary", .rule = rule, .path = path, .ino = f };

	c.version[0] = (struct conflict_version){ .node = "alpha", .path = path, .ino = f, .value = ours };
	c.version[1] = (struct conflict_version){ .node = "beta", .value = theirs };
	put_row(&c);
	in_step();
	SAYS("d/g", "/f was changed on both sides, which was settled at " AT " (R); alpha had /f, beta had /d/g. "
		    "d/g is not here any more");
	ck_assert_int_eq(volume_unlink(fx, INO_ROOT, "f"), 0);
	SAYS("d/g", "nothing is known of it");
}
END_TEST

/* Into .twinfs, where people cannot put anything. */
static void hide(const char *name)
{
	struct dentry d;

	volume_lock(fx);
	ck_assert_int_eq(group_open(fx), 0);
	ck_assert_int_eq(tree_lookup(fx, INO_ROOT, name, strlen(name), &d), 0);
	ck_assert_int_eq(tree_link_put(fx, d.link, INO_HIDDEN, name, strlen(name), d.child, ORIGIN_LOCAL), 0);
	volume_unlock(fx);
}

START_TEST(what_was_discarded_is_told_of_where_it_was_and_where_it_is)
{
	uint64_t top = fx_mkdir(INO_ROOT, "discarded-beta-1"), dir = fx_mkdir(top, "d");
	char rule[] = "R", path[] = "/" HIDDEN_NAME "/discarded-beta-1";
	struct conflict c = { .kind = "content", .outcome = "primary", .rule = rule, .path = path, .ino = top };

	fx_file(dir, "f");
	fx_file(dir, "new");
	dir = fx_mkdir(INO_ROOT, "d");
	fx_file(dir, "f");
	fx_file(dir, "untouched");
	hide("discarded-beta-1");
	c.version[0] = (struct conflict_version){ .node = "alpha" };
	c.version[1] = (struct conflict_version){ .node = "beta", .path = path, .ino = top };
	put_row(&c);
	in_step();
	SAYS("/d/f", "what beta had changed of /d/f was discarded at " AT ", when both were resumed with --prefer, "
	             "and is kept as /.twinfs/discarded-beta-1/d/f (twinfs conflicts puts it back, or drops it). "
	             "/d/f is the same on both sides");
	SAYS("d/new", "what beta had changed of /d/new was discarded");
	SAYS("d/new", "d/new is not here any more");
	SAYS("/d/untouched", "no conflict of it is known");
	SAYS("/.twinfs/discarded-beta-1/d/new", "is what beta had of /d/new; it was discarded at " AT);
	ck_assert_str_eq(json_string_value(json_object_get(json_object_get(reply, "last"), "role")), "copy");
	SAYS("/.twinfs/discarded-beta-1", "is what beta had of all; it was");
	SAYS("/", "/ is the same on both sides; no conflict");
}
END_TEST

/* Names that the side discarded had moved or removed: they stay, and nothing of it is kept. */
START_TEST(what_a_word_undid_is_told)
{
	uint64_t d = fx_mkdir(INO_ROOT, "d"), f = fx_file(d, "f"), g = fx_file(INO_ROOT, "g");
	char moved[] = "resumed with --prefer: beta had moved it",
	     gone[] = "resumed with --prefer: beta had deleted it",
	     name[] = "resumed with --prefer: alpha had removed this name of it", at_d[] = "/d", at_g[] = "/g",
	     at_h[] = "/h", deleted[] = "deleted";
	struct conflict c = { .kind = "delete", .outcome = "primary", .rule = gone, .path = at_d, .ino = d,
			      .resolved = true };

	fx_file(INO_ROOT, "h");
	c.version[0] = (struct conflict_version){ .node = "alpha", .ino = d, .value = at_d };
	c.version[1] = (struct conflict_version){ .node = "beta", .value = deleted };
	put_row(&c);
	c = (struct conflict){ .kind = "move", .outcome = "primary", .rule = moved, .path = at_g, .ino = g,
			       .resolved = true };
	c.version[0] = (struct conflict_version){ .node = "alpha", .ino = g, .value = at_g };
	c.version[1] = (struct conflict_version){ .node = "beta", .value = xstrdup("/elsewhere") };
	put_row(&c);
	free(c.version[1].value);
	c = (struct conflict){ .kind = "delete", .outcome = "secondary", .rule = name, .path = at_h, .resolved = true };
	c.version[0] = (struct conflict_version){ .node = "alpha" };
	c.version[1] = (struct conflict_version){ .node = "beta" };
	put_row(&c);
	in_step();
	SAYS("/d", "/d was deleted on beta; that was discarded at " AT ", as alpha was preferred (resumed with "
		   "--prefer): it stays. It is the same on both sides");
	SAYS("/d/f", "/d/f is in /d; /d was deleted on beta; that was discarded at " AT ", as alpha was preferred "
		     "(resumed with --prefer): it stays. /d/f is the same on both sides");
	SAYS("/g", "/g was moved to /elsewhere on beta; that was discarded at " AT ", as alpha was preferred");
	SAYS("/elsewhere", "/g was moved to /elsewhere on beta; that was discarded at " AT);
	SAYS("/h", "/h was deleted on alpha; that was discarded at " AT ", as beta was preferred");
	ck_assert_int_eq(volume_rename(fx, d, "f", INO_ROOT, "f", 0), 0);
	SAYS("/f", "/f was changed here (names)");
	ck_assert_uint_ne(f, 0);
}
END_TEST

START_TEST(a_file_in_a_unit_tells_of_the_unit)
{
	uint64_t unit = fx_mkdir(INO_ROOT, "lib"), copy = fx_mkdir(INO_ROOT, "copy");
	char rule[] = "R", path[] = "/lib", at[] = "/copy";
	struct conflict c = { .kind = "content", .outcome = "kept-both", .rule = rule, .path = path, .ino = unit };

	fx_file(unit, "f");
	fx_file(copy, "f");
	fx_file(INO_ROOT, "library");
	c.version[0] = (struct conflict_version){ .node = "alpha", .path = path, .ino = unit };
	c.version[1] = (struct conflict_version){ .node = "beta", .path = at, .ino = copy };
	put_row(&c);
	in_step();
	SAYS("/lib/f", "/lib/f is in /lib, which is kept as a whole; /lib was changed on both sides and both "
	               "versions were kept at " AT " (R): here is alpha's, beta's is /copy; it waits for you (twinfs "
	               "conflicts). /lib/f is the same on both sides");
	SAYS("/copy/f", "/copy/f is in /copy, which is kept as a whole; /copy is the version that beta had of /lib");
	SAYS("/library", "no conflict of it is known");
}
END_TEST

START_TEST(all_that_one_reconciliation_did_is_told_and_what_waits_first)
{
	char rule[] = "the mode", path[] = "/f", mode0[] = "0644", mode1[] = "0600";
	uint64_t f = fx_file(INO_ROOT, "f"), copy = fx_file(INO_ROOT, "copy");
	struct conflict c = { .kind = "attribute", .outcome = "primary", .rule = rule, .path = path, .ino = f,
	                      .resolved = true };

	put_note(&notes[1], f, copy);
	c.version[0] = (struct conflict_version){ .node = "alpha", .ino = f, .value = mode0 };
	c.version[1] = (struct conflict_version){ .node = "beta", .value = mode1 };
	put_row(&c);
	in_step();
	SAYS("f", "beta's is /copy; it waits for you (twinfs conflicts); also, the mode; alpha had 0644, beta had "
	          "0600. It is");
	/* A later one counts, but what waits is not forgotten. */
	c.id = 0;
	c.when_ms += 1000;
	volume_lock(fx);
	ck_assert_int_eq(group_open(fx), 0);
	ck_assert_int_eq(conflict_put(fx, &c), 0);
	volume_unlock(fx);
	SAYS("f", "f was changed on both sides, which was settled at 2026-01-02T03:04:06Z (the mode)");
	SAYS("f", "; an earlier conflict of it waits for you too");
}
END_TEST

START_TEST(a_path_without_a_note_is_told_how_it_stands)
{
	struct attr a = { .mode = 0600 };
	uint64_t f = fx_file(INO_ROOT, "f"), g = fx_file(INO_ROOT, "g");

	fx_file(INO_ROOT, "h");
	in_step();
	expect_state("f", "identical");
	SAYS("f", "f is the same on both sides; no conflict of it is known");
	fx_write(f, "new");
	ck_assert_int_eq(volume_setxattr(fx, f, "user.x", "1", 1, 0), 0);
	SAYS("f", "f was changed here (content, attributes, xattrs), which the peer has not confirmed yet");
	ck_assert_int_eq(volume_setattr(fx, g, SET_MODE, &a, &a), 0);
	SAYS("g", "g was changed here (attributes)");
	expect_state("g", "pending");
	ck_assert_int_eq(volume_unlink(fx, INO_ROOT, "h"), 0);
	SAYS("h", "h was deleted here, which the peer has not confirmed yet; the baseline has it");
	expect_state("h", "deleted");
	SAYS("f/below", "nothing is known of it");
	expect_state("none", "unknown");
	ck_assert_ptr_nonnull(json_object_get(reply, "last"));
}
END_TEST

START_TEST(without_a_peer_there_is_one_side)
{
	fx_file(INO_ROOT, "f");
	expect_state("f", "alone");
	expect_state("none", "unknown");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("why");
	TCase *tc = tcase_create("why"), *alone = tcase_create("alone");

	tcase_add_checked_fixture(tc, fx_setup_primary, teardown);
	tcase_add_loop_test(tc, each_note_has_its_sentence, 0, (int)ARRAY_LEN(notes));
	tcase_add_test(tc, a_base_and_what_is_settled_have_their_sentences);
	tcase_add_test(tc, the_newest_note_counts_and_follows_a_rename);
	tcase_add_test(tc, a_place_that_one_side_had_leads_to_where_it_is);
	tcase_add_test(tc, what_was_discarded_is_told_of_where_it_was_and_where_it_is);
	tcase_add_test(tc, what_a_word_undid_is_told);
	tcase_add_test(tc, a_file_in_a_unit_tells_of_the_unit);
	tcase_add_test(tc, all_that_one_reconciliation_did_is_told_and_what_waits_first);
	tcase_add_test(tc, a_path_without_a_note_is_told_how_it_stands);
	tcase_add_checked_fixture(alone, fx_setup, teardown);
	tcase_add_test(alone, without_a_peer_there_is_one_side);
	suite_add_tcase(s, tc);
	suite_add_tcase(s, alone);
	return tap_main(s);
}
