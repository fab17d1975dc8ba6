/* SPDX-License-Identifier: MIT */
/* The resolver when a person said whose state counts: cases by table in both roles, and laws over random histories. */
#include "tests/tap.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "sync/resolver_work.h"
#include "tests/tree_model.h"
#include "util/util.h"

/* d/ d/f=2 tokens e=1 h1=h2 (one file) s/ s/t/ s/t/deep */
static void base_tree(struct tm_tree *t)
{
	tm_init(t);
	tm_add(t, 10, S_IFDIR, 10, TM_ROOT, "d", 0);
	tm_add(t, 11, S_IFREG, 11, 10, "f", 2);
	tm_add(t, 12, S_IFREG, 12, TM_ROOT, "e", 1);
	tm_add(t, 13, S_IFREG, 13, TM_ROOT, "h1", 1);
	tm_add_link(t, 23, TM_ROOT, "h2", 13);
	tm_add(t, 14, S_IFDIR, 14, TM_ROOT, "s", 0);
	tm_add(t, 15, S_IFDIR, 15, 14, "t", 0);
	tm_add(t, 16, S_IFREG, 16, 15, "deep", 1);
}

/* Operations by id; what a side makes first has the ids of its counter, so names are what the table goes by. */
#define CREATE(dir, n) { .kind = TM_CREATE, .a = dir, .name = n }
#define MKDIR(dir, n) { .kind = TM_MKDIR, .a = dir, .name = n }
#define SYMLINK(dir, n) { .kind = TM_SYMLINK, .a = dir, .name = n }
#define RM(link) { .kind = TM_UNLINK, .a = link }
#define RMTREE(link) { .kind = TM_RMTREE, .a = link }
#define MV(link, dir, n) { .kind = TM_RENAME, .a = link, .b = dir, .name = n }
#define WRITE(ino) { .kind = TM_WRITE, .a = ino }
#define LINK(ino, dir, n) { .kind = TM_LINK, .a = ino, .b = dir, .name = n }
#define CHMOD(ino) { .kind = TM_CHMOD, .a = ino }
#define XATTR(ino) { .kind = TM_XATTR, .a = ino }
#define CHOWN(ino) { .kind = TM_CHOWN, .a = ino }
#define TOUCH(ino) { .kind = TM_TOUCH, .a = ino }

static const struct row {
	const char *name;
	struct tm_op kept[3], other[3];
	const char *asides;
} rows[] = {
	{ "nothing", { { 0 } }, { { 0 } }, "" },
	{ "a new file", { { 0 } }, { CREATE(10, "x") }, "d/x" },
	{ "a new symlink", { { 0 } }, { SYMLINK(10, "x") }, "d/x" },
	{ "new files of both with one name", { CREATE(10, "x") }, { CREATE(10, "x") }, "d/x" },
	{ "written", { { 0 } }, { WRITE(11) }, "d/f=" },
	{ "written by both", { WRITE(11) }, { WRITE(11) }, "d/f=" },
	{ "written, and deleted by the one that stays", { RM(11) }, { WRITE(11) }, "d/f" },
	{ "written, and moved by the one that stays", { MV(11, TM_ROOT, "x") }, { WRITE(11) }, "d/f=" },
	{ "written and moved", { { 0 } }, { WRITE(11), MV(11, TM_ROOT, "x") }, "x=" },
	{ "moved", { { 0 } }, { MV(11, TM_ROOT, "x") }, "" },
	{ "moved, and deleted by the one that stays", { RM(11) }, { MV(11, TM_ROOT, "x") }, "" },
	{ "deleted", { { 0 } }, { RM(11) }, "" },
	{ "deleted, and written by the one that stays", { WRITE(11) }, { RM(11) }, "" },
	{ "moved over another", { { 0 } }, { RM(12), MV(11, TM_ROOT, "e") }, "" },
	{ "each moves a directory into the other's", { MV(10, 14, "d") }, { MV(14, 10, "s") }, "" },
	{ "a directory removed", { { 0 } }, { RMTREE(14) }, "" },
	{ "a directory removed in which the other wrote", { RMTREE(14) }, { WRITE(16) }, "s/t/deep" },
	{ "made in a directory that the one that stays removed", { RMTREE(14) }, { CREATE(15, "x") }, "s/t/x" },
	{ "a directory moved that the one that stays removed", { RMTREE(14) }, { MV(14, 10, "x") }, "" },
	{ "one more name", { { 0 } }, { LINK(13, 10, "x") }, "" },
	{ "one name less", { { 0 } }, { RM(13) }, "" },
	{ "a file of two names written", { { 0 } }, { WRITE(13) }, "h1=" },
	{ "each removes another name", { RM(13) }, { RM(23) }, "" },
	{ "saved anew by both", { RM(11), CREATE(10, "f") }, { RM(11), CREATE(10, "f") }, "d/f" },
	{ "saved anew, and written by the one that stays", { WRITE(11) }, { RM(11), CREATE(10, "f") }, "d/f" },
	{ "written, and saved anew by the one that stays", { RM(11), CREATE(10, "f") }, { WRITE(11) }, "d/f" },
	{ "mode", { { 0 } }, { CHMOD(11) }, "" },
	{ "mode of both", { CHMOD(11) }, { CHMOD(11) }, "" },
	{ "owner of both", { CHOWN(11) }, { CHOWN(11) }, "" },
	{ "times of both", { TOUCH(11) }, { TOUCH(11) }, "" },
	{ "an xattr", { { 0 } }, { XATTR(11) }, "d/f=" },
	{ "an xattr of both", { XATTR(11) }, { XATTR(11) }, "d/f=" },
};

static void run(struct tm_side *s, const struct tm_tree *base, unsigned side, const struct tm_op ops[3])
{
	*s = (struct tm_side){ .t = *base, .side = side };
	for (int i = 0; i < 3 && ops[i].a; i++)
		tm_apply(s, &ops[i]);
}

/* NULL, or what is wrong. */
static const char *row_wrong(const struct row *row, bool kept_is_p)
{
	static struct tm_tree base;
	static struct tm_side kept, other;
	static char asides[512];
	const char *bad;

	base_tree(&base);
	run(&kept, &base, 1, row->kept);
	run(&other, &base, 2, row->other);
	bad = tm_prefer_broken(&base, &kept.t, &other.t, &other.t, kept_is_p, 1, asides, sizeof(asides));
	return bad ? bad : strcmp(asides, row->asides) != 0 ? asides : NULL;
}

START_TEST(each_case_comes_out_as_written_whoever_is_primary)
{
	const char *bad = row_wrong(&rows[_i / 2], _i % 2 == 0);

	ck_assert_msg(bad == NULL, "%s: %s", rows[_i / 2].name, bad);
}
END_TEST

/* A rule left out is seen by the table, or by what random histories must keep. */
static const struct {
	const char *name;
	enum rw_rule rule;
	bool by_laws;
} rules[] = {
	{ "links are where the side has them", RULE_PREFER_LINK, false },
	{ "what the side has not stays away", RULE_PREFER_GONE, false },
	{ "attributes are the side's", RULE_PREFER_ATTR, false },
	{ "what the other made goes aside", RULE_ASIDE_LINK, false },
	{ "what the other wrote goes aside", RULE_ASIDE_COPY, false },
	{ "what was changed after the word is merged", RULE_LATE, true },
};

/* What the other side made after the word is in the result. */
static const char *late_wrong(void)
{
	static struct tm_tree base;
	static struct tm_side kept, other;
	char asides[64];
	const char *bad;

	base_tree(&base);
	run(&kept, &base, 1, (struct tm_op[3]){ WRITE(11) });
	run(&other, &base, 2, (struct tm_op[3]){ CREATE(10, "x") });
	bad = tm_prefer_broken(&base, &kept.t, &base, &other.t, true, 1, asides, sizeof(asides));
	return bad ? bad : asides[0] ? "it is aside" : NULL;
}

START_TEST(a_rule_left_out_is_seen)
{
	unsigned wrong = 0;

	ck_assert_msg(late_wrong() == NULL, "made after the word: %s", late_wrong());
	resolver_test_without = rules[_i].rule;
	for (size_t i = 0; i < 2 * ARRAY_LEN(rows); i++)
		wrong += row_wrong(&rows[i / 2], i % 2 == 0) != NULL;
	if (rules[_i].by_laws)
		wrong = late_wrong() != NULL;
	resolver_test_without = RULE_NONE;
	printf("# without \"%s\" %u rows fail\n", rules[_i].name, wrong);
	ck_assert_msg(wrong > 0, "%s: nothing needs it", rules[_i].name);
}
END_TEST

/* Beyond what a first allocation holds. */
START_TEST(many_things_go_aside)
{
	static struct tm_tree base;
	static struct tm_side kept, other;
	char asides[1024];
	const char *bad;

	base_tree(&base);
	kept = (struct tm_side){ .t = base, .side = 1 };
	other = (struct tm_side){ .t = base, .side = 2 };
	for (int i = 0; i < 20; i++) {
		struct tm_op op = CREATE(10, "");

		snprintf(op.name, sizeof(op.name), "n%d", i);
		tm_apply(&other, &op);
	}
	bad = tm_prefer_broken(&base, &kept.t, &other.t, &other.t, _i == 0, 1, asides, sizeof(asides));
	ck_assert_msg(bad == NULL, "%s", bad);
	ck_assert_ptr_nonnull(strstr(asides, "d/n19"));
}
END_TEST

START_TEST(a_new_directory_goes_aside_as_a_whole_but_for_what_is_made_in_it_later)
{
	static struct tm_tree base, then;
	static struct tm_side kept, other;
	char asides[512];
	const char *bad;
	uint64_t dir;

	base_tree(&base);
	kept = (struct tm_side){ .t = base, .side = 1 };
	other = (struct tm_side){ .t = base, .side = 2 };
	tm_apply(&other, &(struct tm_op)MKDIR(10, "x"));
	dir = tm_child(&other.t, 10, "x")->child;
	tm_apply(&other, &(struct tm_op)CREATE(dir, "a"));
	tm_apply(&other, &(struct tm_op)MV(12, dir, "e"));
	bad = tm_prefer_broken(&base, &kept.t, &other.t, &other.t, _i == 0, 1, asides, sizeof(asides));
	ck_assert_msg(bad == NULL, "%s", bad);
	ck_assert_str_eq(asides, "d/x d/x/a");
	then = other.t;
	tm_apply(&other, &(struct tm_op)CREATE(dir, "b"));
	bad = tm_prefer_broken(&base, &kept.t, &then, &other.t, _i == 0, 1, asides, sizeof(asides));
	ck_assert_msg(bad == NULL, "%s", bad);
	ck_assert_str_eq(asides, "d/x/a");
}
END_TEST

/* u/ is a unit (tm_unit_base): each side changes another file of it. */
START_TEST(a_unit_is_a_directory_like_any_other)
{
	static struct tm_tree base;
	static struct tm_side kept, other;
	char asides[512];
	const char *bad;

	tm_unit_base(&base, 0);
	kept = (struct tm_side){ .t = base, .side = 1 };
	other = (struct tm_side){ .t = base, .side = 2 };
	tm_apply(&kept, &(struct tm_op)WRITE(13));
	tm_apply(&other, &(struct tm_op)WRITE(15));
	tm_apply(&other, &(struct tm_op)CREATE(12, "n"));
	bad = tm_prefer_broken(&base, &kept.t, &other.t, &other.t, _i == 0, 1, asides, sizeof(asides));
	ck_assert_msg(bad == NULL, "%s", bad);
	ck_assert_str_eq(asides, "u/a/f= u/n");
}
END_TEST

static void some_ops(struct tm_side *s, unsigned most, unsigned *seed)
{
	static struct tm_op ops[TM_OPS];

	for (unsigned n = (unsigned)rand_r(seed) % most; n > 0; n--) {
		uint32_t can = tm_ops(&s->t, ops);

		tm_apply(s, &ops[(unsigned)rand_r(seed) % can]);
	}
}

START_TEST(random_histories_keep_the_laws)
{
	static struct tm_tree base, then;
	static struct tm_side kept, other;

	base_tree(&base);
	if (_i >= 2)
		tm_unit_base(&base, 2);
	for (unsigned i = 0; i < 20000; i++) {
		unsigned seed = i + 1;
		const char *bad;

		kept = (struct tm_side){ .t = base, .side = 1 };
		other = (struct tm_side){ .t = base, .side = 2 };
		some_ops(&kept, 6, &seed);
		some_ops(&other, 6, &seed);
		then = other.t;
		if (_i % 2 == 1)
			some_ops(&other, 4, &seed);
		bad = tm_prefer_broken(&base, &kept.t, &then, &other.t, i % 2, i, NULL, 0);
		ck_assert_msg(bad == NULL, "seed %u: %s", i, bad);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("resolver prefer");
	TCase *tc = tcase_create("prefer");

	tcase_set_timeout(tc, 120);
	tcase_add_loop_test(tc, each_case_comes_out_as_written_whoever_is_primary, 0, 2 * (int)ARRAY_LEN(rows));
	tcase_add_loop_test(tc, a_rule_left_out_is_seen, 0, (int)ARRAY_LEN(rules));
	tcase_add_loop_test(tc, many_things_go_aside, 0, 2);
	tcase_add_loop_test(tc, a_new_directory_goes_aside_as_a_whole_but_for_what_is_made_in_it_later, 0, 2);
	tcase_add_loop_test(tc, a_unit_is_a_directory_like_any_other, 0, 2);
	tcase_add_loop_test(tc, random_histories_keep_the_laws, 0, 4);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
