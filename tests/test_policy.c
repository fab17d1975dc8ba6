/* SPDX-License-Identifier: MIT */
/* Policies: patterns and texts, and what they make of files that both sides changed (two engines on two stores). */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "core/policy.h"
#include "tests/pair_fixture.h"

/* ---- patterns and words ---- */

static const struct match_case {
	const char *pattern, *path;
	bool matches;
} match_cases[] = {
	{ "*.ini", "/a/b/x.ini", true },
	{ "*.ini", "/x.ini.bak", false },
	{ "x?.c", "/d/x1.c", true },
	{ "/photos/x.raw", "/photos/x.raw", true },
	{ "photos/x.raw", "/photos/x.raw", true },
	{ "photos/x.raw", "/old/photos/x.raw", false },
	{ "photos/", "/photos/2020/a.jpg", true },
	{ "photos/", "/photos", false },
	{ "photos/*", "/photos/2020/a.jpg", true },
	{ "/*.txt", "/d/e.txt", true },
	{ "[ab].txt", "/b.txt", true },
	{ "\\*", "/*", true },
	{ "*", "/anything/at all", true },
};

START_TEST(a_pattern_matches_names_or_paths)
{
	const struct match_case *c = &match_cases[_i];

	ck_assert_msg(policy_matches(c->pattern, c->path) == c->matches, "%s on %s", c->pattern, c->path);
}
END_TEST

START_TEST(words_that_are_no_policy_are_refused_and_the_message_names_those_there_are)
{
	static const char *const bad[] = { "", "Text", "text ", "command", "command ", "newer" };
	enum policy_kind kind;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct err err = ERR_INIT;

		ck_assert_int_eq(policy_parse(bad[i], &kind, &err), -EINVAL);
		ck_assert_ptr_nonnull(strstr(err.text, "keep-both"));
	}
	ck_assert_int_eq(policy_parse("command  sort -m", &kind, NULL), 0);
	ck_assert_int_eq(kind, POLICY_COMMAND);
	ck_assert_str_eq(policy_command("command  sort -m"), "sort -m");
}
END_TEST

/* ---- two sides ---- */

static void set(int i, const char *pattern, const char *policy)
{
	struct err err = ERR_INIT;

	ck_assert_msg(volume_policy_set(px[i].v, pattern, policy, &err) == 0, "%s", err.text);
}

static struct volume_info info_of(int i)
{
	struct volume_info info;

	volume_info(px[i].v, &info);
	return info;
}

/* Unsettled rows: kept twice, and merged with the versions still there; the same on both sides. */
static void expect_rows(uint64_t kept, uint64_t merged)
{
	for (int i = 0; i < 2; i++) {
		ck_assert_uint_eq(info_of(i).conflicts_open, kept);
		ck_assert_uint_eq(info_of(i).conflicts_merged, merged);
	}
}

static void common_file(const char *name, const char *text)
{
	px_put(0, name, text);
	px_meet();
	px_down();
}

START_TEST(a_policy_set_on_either_side_holds_on_both)
{
	struct policy *list;
	size_t n;

	set(_i, "*.x", "text");
	set(_i, "*.y", "extents");
	px_meet();
	set(!_i, "*.y", NULL);
	px_meet();
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(volume_policies(px[i].v, &list, &n), 0);
		ck_assert_uint_eq(n, 1);
		ck_assert_str_eq(list[0].pattern, "*.x");
		ck_assert_str_eq(list[0].text, "text");
		free(list);
	}
}
END_TEST

START_TEST(the_longest_pattern_counts_whatever_the_order)
{
	struct policy p;

	set(0, _i ? "*" : "notes.txt", _i ? "newest" : "text");
	set(0, _i ? "notes.txt" : "*", _i ? "text" : "newest");
	volume_lock(px[0].v);
	ck_assert_int_eq(policy_find(px[0].v, "/d/notes.txt", &p), 0);
	ck_assert_int_eq(p.kind, POLICY_TEXT);
	ck_assert_int_eq(policy_find(px[0].v, "/d/other", &p), 0);
	ck_assert_int_eq(p.kind, POLICY_NEWEST);
	volume_unlock(px[0].v);
}
END_TEST

START_TEST(unsetting_what_is_not_set_says_so)
{
	struct err err = ERR_INIT;

	ck_assert_int_eq(volume_policy_set(px[0].v, "*.none", NULL, &err), -ENOENT);
	ck_assert_ptr_nonnull(strstr(err.text, "*.none"));
	ck_assert_int_eq(volume_policy_set(px[0].v, "", "text", &err), -EINVAL);
}
END_TEST

START_TEST(keep_both_keeps_texts_twice_that_lines_would_have_merged)
{
	set(_i, "*.txt", "keep-both");
	common_file("f.txt", "1\n2\n3\n4\n5\n6\n7\n8\n");
	px_put(0, "f.txt", "A\n2\n3\n4\n5\n6\n7\n8\n");
	px_put(1, "f.txt", "1\n2\n3\n4\n5\n6\n7\nB\n");
	px_meet();
	px_expect("f.txt", "A\n2\n3\n4\n5\n6\n7\n8\n");
	px_expect(px_find(0, "", "f.conflict-birch-"), "1\n2\n3\n4\n5\n6\n7\nB\n");
	expect_rows(1, 0);
}
END_TEST

START_TEST(text_merges_by_lines_what_looks_like_something_else)
{
	set(_i, "f.odd", "text");
	common_file("f.odd", "SQLite format 3\n2\n3\n4\n5\n6\n7\n8\n");
	px_put(0, "f.odd", "SQLite format 3\nA\n3\n4\n5\n6\n7\n8\n");
	px_put(1, "f.odd", "SQLite format 3\n2\n3\n4\n5\n6\n7\nB\n");
	px_meet();
	px_expect("f.odd", "SQLite format 3\nA\n3\n4\n5\n6\n7\nB\n");
	expect_rows(0, 1);
}
END_TEST

START_TEST(extents_takes_changed_bytes_of_a_text_from_both)
{
	set(_i, "/f.txt", "extents");
	common_file("f.txt", "one line of text only\n");
	px_write(0, "f.txt", "ONE", 3, 0);
	px_write(1, "f.txt", "ONLY", 4, 17);
	px_meet();
	px_expect("f.txt", "ONE line of text ONLY\n");
}
END_TEST

START_TEST(append_puts_both_additions_in_one_file_and_keeps_both_if_a_side_did_more)
{
	set(_i, "journal", "append");
	common_file("journal", "start\n");
	px_append(0, "journal", "alder\n");
	px_append(1, "journal", "birch\n");
	px_meet();
	px_expect("journal", "start\nalder\nbirch\n");
	expect_rows(0, 1);
	px_down();
	px_append(0, "journal", "more\n");
	px_put(1, "journal", "anew\n");
	px_meet();
	px_expect("journal", "start\nalder\nbirch\nmore\n");
	px_expect(px_find(1, "", "journal.conflict-birch-"), "anew\n");
}
END_TEST

static void write_at_time(int i, const char *name, const char *text, time_t mtime)
{
	struct attr a = { .mtime = { .tv_sec = mtime } };

	px_put(i, name, text);
	px_set(i, name, SET_MTIME, a);
}

/* A version that a policy did not choose can still be had. */
static void take_other(const char *path, int keep, const char *text)
{
	struct err err = ERR_INIT;

	ck_assert_msg(volume_conflict_resolve(px[0].v, path, keep, &err) == 0, "%s", err.text);
	px_meet();
	px_expect(path + 1, text);
	expect_rows(0, 0);
	ck_assert_uint_eq(px_count(0, ".twinfs"), 0);
}

START_TEST(newest_takes_the_version_written_last_and_sets_the_other_aside)
{
	int winner = _i;

	set(0, "*", "newest");
	common_file("f", "base\n");
	write_at_time(winner, "f", "the newer, longer version\n", 2000);
	write_at_time(!winner, "f", "older\n", 1000);
	px_meet();
	px_expect("f", "the newer, longer version\n");
	ck_assert_uint_eq(px_count(0, ""), 1);
	expect_rows(0, 1);
	ck_assert_int_eq(px_stat(0, "f").mtime.tv_sec, 2000);
	take_other("/f", winner ? 0 : 1, "older\n");
}
END_TEST

START_TEST(primary_takes_the_primarys_version_and_sets_the_other_aside)
{
	set(1, "*", "primary");
	common_file("f", "base\n");
	write_at_time(0, "f", "alder\n", 1000);
	write_at_time(1, "f", "birch, later and longer\n", 2000);
	px_meet();
	px_expect("f", "alder\n");
	ck_assert_uint_eq(px_count(0, ""), 1);
	expect_rows(0, 1);
	take_other("/f", _i, _i ? "birch, later and longer\n" : "alder\n");
}
END_TEST

START_TEST(what_the_secondary_writes_on_top_of_a_version_set_aside_is_not_lost)
{
	set(0, "*", "primary");
	common_file("f.txt", "1\n2\n3\n4\n5\n6\n");
	px_put(0, "f.txt", "P\n2\n3\n4\n5\n6\n");
	px_put(1, "f.txt", "1\n2\n3\n4\n5\nS\n");
	px_meet();
	px_down();
	px_put(1, "f.txt", "P\n2\n3\n4\n5\n6\nafter it\n");
	px_meet();
	px_expect("f.txt", "P\n2\n3\n4\n5\n6\nafter it\n");
}
END_TEST

/* ---- commands ---- */

struct fake_command {
	unsigned runs;
	int rc;
	void (*meanwhile)(void);
	char base[64], ours[64], theirs[64], command[64], path[64];
};
static struct fake_command fake;

static void slurp(const char *dir, const char *name, char *out, size_t cap)
{
	char *file = xasprintf("%s/%s", dir, name);
	FILE *f = fopen(file, "r");
	size_t n;

	ck_assert_ptr_nonnull(f);
	n = fread(out, 1, cap - 1, f);
	out[n] = '\0';
	fclose(f);
	free(file);
}

/* Prints "merged: OURS+THEIRS" unless it is to fail. */
static int fake_run(void *ctx, const char *command, const char *dir, const char *path, struct err *err)
{
	struct fake_command *c = ctx;
	char *file = xasprintf("%s/merged", dir);
	FILE *f;

	c->runs++;
	slurp(dir, "base", c->base, sizeof(c->base));
	slurp(dir, "ours", c->ours, sizeof(c->ours));
	slurp(dir, "theirs", c->theirs, sizeof(c->theirs));
	snprintf(c->command, sizeof(c->command), "%s", command);
	snprintf(c->path, sizeof(c->path), "%s", path);
	if (c->meanwhile)
		c->meanwhile();
	if (c->rc == 0) {
		f = fopen(file, "w");
		fprintf(f, "merged: %s+%s", c->ours, c->theirs);
		fclose(f);
	}
	free(file);
	return c->rc ? err_set(err, c->rc, "it exited with 1") : 0;
}

static void expect_copy_in_d(const char *text)
{
	char path[300];

	snprintf(path, sizeof(path), "d/%s", px_find(0, "d", "f.conflict-birch-"));
	px_expect(path, text);
}

static void command_pair(int set_on)
{
	static const struct driver driver = { .run = fake_run, .ctx = &fake };

	engine_set_driver(px[0].e, &driver);
	set(set_on, "/d/*", "command mymerge --fast");
	px_mkdir(0, "d");
	common_file("d/f", "base");
	px_put(0, "d/f", "P");
	px_put(1, "d/f", "S");
}

START_TEST(a_command_gets_the_three_versions_and_its_output_is_the_merge)
{
	command_pair(0);
	px_meet();
	px_expect("d/f", "merged: P+S");
	ck_assert_uint_eq(fake.runs, 1);
	ck_assert_str_eq(fake.base, "base");
	ck_assert_str_eq(fake.ours, "P");
	ck_assert_str_eq(fake.theirs, "S");
	ck_assert_str_eq(fake.command, "mymerge --fast");
	ck_assert_str_eq(fake.path, "/d/f");
	expect_rows(0, 1);
	take_other("/d/f", 1, "S");
}
END_TEST

START_TEST(a_command_that_fails_keeps_both)
{
	fake.rc = -ECANCELED;
	command_pair(0);
	px_meet();
	px_expect("d/f", "P");
	expect_copy_in_d("S");
	ck_assert_uint_eq(fake.runs, 1);
}
END_TEST

START_TEST(a_command_that_only_the_peer_set_is_not_run_here)
{
	command_pair(1);
	px_meet();
	ck_assert_uint_eq(fake.runs, 0);
	px_expect("d/f", "P");
	expect_copy_in_d("S");
}
END_TEST

static void write_meanwhile(void)
{
	char text[16];

	snprintf(text, sizeof(text), "P%u", fake.runs);
	px_put(0, "d/f", text);
}

static void write_once(void)
{
	if (fake.runs == 1)
		write_meanwhile();
}

START_TEST(a_command_runs_again_when_the_file_changed_under_it)
{
	fake.meanwhile = write_once;
	command_pair(0);
	px_meet();
	px_expect("d/f", "merged: P1+S");
	ck_assert_uint_eq(fake.runs, 2);
}
END_TEST

START_TEST(a_file_that_never_rests_is_kept_twice_after_a_few_rounds)
{
	fake.meanwhile = write_meanwhile;
	command_pair(0);
	px_meet();
	ck_assert_uint_eq(fake.runs, DRIVER_ROUNDS_MAX);
	px_expect("d/f", "P3");
	expect_copy_in_d("S");
}
END_TEST

START_TEST(without_anyone_to_run_commands_both_are_kept)
{
	command_pair(0);
	engine_set_driver(px[0].e, &(const struct driver){ .run = NULL });
	px_meet();
	px_expect("d/f", "P");
	expect_copy_in_d("S");
}
END_TEST

static void setup(void)
{
	fake = (struct fake_command){ .runs = 0 };
	px_setup();
}

int main(void)
{
	Suite *s = suite_create("policy");
	TCase *t = tcase_create("words"), *p = tcase_create("pair");

	tcase_add_loop_test(t, a_pattern_matches_names_or_paths, 0, sizeof(match_cases) / sizeof(*match_cases));
	tcase_add_test(t, words_that_are_no_policy_are_refused_and_the_message_names_those_there_are);
	suite_add_tcase(s, t);
	tcase_add_checked_fixture(p, setup, px_teardown);
	tcase_add_loop_test(p, a_policy_set_on_either_side_holds_on_both, 0, 2);
	tcase_add_loop_test(p, the_longest_pattern_counts_whatever_the_order, 0, 2);
	tcase_add_test(p, unsetting_what_is_not_set_says_so);
	tcase_add_loop_test(p, keep_both_keeps_texts_twice_that_lines_would_have_merged, 0, 2);
	tcase_add_loop_test(p, text_merges_by_lines_what_looks_like_something_else, 0, 2);
	tcase_add_loop_test(p, extents_takes_changed_bytes_of_a_text_from_both, 0, 2);
	tcase_add_loop_test(p, append_puts_both_additions_in_one_file_and_keeps_both_if_a_side_did_more, 0, 2);
	tcase_add_loop_test(p, newest_takes_the_version_written_last_and_sets_the_other_aside, 0, 2);
	tcase_add_loop_test(p, primary_takes_the_primarys_version_and_sets_the_other_aside, 0, 2);
	tcase_add_test(p, what_the_secondary_writes_on_top_of_a_version_set_aside_is_not_lost);
	tcase_add_test(p, a_command_gets_the_three_versions_and_its_output_is_the_merge);
	tcase_add_test(p, a_command_that_fails_keeps_both);
	tcase_add_test(p, a_command_that_only_the_peer_set_is_not_run_here);
	tcase_add_test(p, a_command_runs_again_when_the_file_changed_under_it);
	tcase_add_test(p, a_file_that_never_rests_is_kept_twice_after_a_few_rounds);
	tcase_add_test(p, without_anyone_to_run_commands_both_are_kept);
	suite_add_tcase(s, p);
	return tap_main(s);
}
