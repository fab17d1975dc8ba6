/* SPDX-License-Identifier: MIT */
/* The corners of the resolver that small trees do not come to: what no peer of ours would send, long and odd conflict
 * names, more of a kind than a first allocation holds. `make check-coverage` tells which branches no test takes. */
#include "tests/tap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "sync/resolver_work.h"
#include "util/util.h"

#define AT(dir, text) { .present = true, .parent = (dir), .name = (text), .name_len = sizeof(text) - 1 }

static enum rs_content answer;

static enum rs_content content(void *ctx, uint64_t ino)
{
	(void)ctx;
	(void)ino;
	return answer;
}

static bool same_file(void *ctx, uint64_t p, uint64_t s)
{
	(void)ctx;
	(void)p;
	(void)s;
	return true;
}

/* 1 is the root, 3 and 4 are directories, 5 and 6 files, each where the links say. */
static struct rs_input input(struct rs_link *links, size_t n_links)
{
	static struct rs_inode n[5];

	n[0] = (struct rs_inode){ .ino = 1, .type = S_IFDIR };
	n[1] = (struct rs_inode){ .ino = 3, .type = S_IFDIR };
	n[2] = (struct rs_inode){ .ino = 4, .type = S_IFDIR };
	n[3] = (struct rs_inode){ .ino = 5, .type = S_IFREG };
	n[4] = (struct rs_inode){ .ino = 6, .type = S_IFREG };
	return (struct rs_input){ .links = links, .n_links = n_links, .inodes = n, .n_inodes = ARRAY_LEN(n),
		.node_p = "p", .node_s = "s", .root = 1, .ops = { .content = content, .same_file = same_file } };
}

static int outcome(struct rs_input *in)
{
	struct rs_result r;
	int rc = resolve(in, &r);

	resolve_release(&r);
	return rc;
}

static char *first_letter(const char *name, size_t name_len, size_t *out_len)
{
	*out_len = MIN(name_len, 1);
	return xstrndup(name, *out_len);
}

/* The secondary has ours by now, but had not when it gave its own; without that it knew of both. */
START_TEST(a_name_that_was_not_seen_when_one_like_it_was_given_is_noted)
{
	struct rs_link l[] = { { .id = 7, .child = 5, .b = AT(1, "same"), .p = AT(1, "same"), .s = AT(1, "same"),
				 .p_unseen = _i == 1 },
			       { .id = 8, .child = 6, .s = AT(1, "sAME") } };
	struct rs_input in = input(l, 2);
	struct rs_result r;

	in.ops.fold = first_letter;
	ck_assert_int_eq(resolve(&in, &r), 0);
	ck_assert_uint_eq(r.n_notes, _i == 1);
	ck_assert(r.n_notes == 0 || (r.notes[0].ino == 5 && r.notes[0].other_ino == 6));
	resolve_release(&r);
}
END_TEST

/* ---- what is refused */

static struct rs_link one_link(uint64_t id, uint64_t child, uint64_t parent, const char *name, size_t len)
{
	return (struct rs_link){ .id = id, .child = child,
		.s = { .present = true, .parent = parent, .name = name, .name_len = (uint16_t)len } };
}

START_TEST(numbers_that_nothing_has_are_refused)
{
	static const char long_name[256] = "x";
	struct rs_link l[] = { one_link(0, 5, 1, "x", 1), one_link(8, 0, 1, "x", 1), one_link(8, 5, 0, "x", 1),
		one_link(8, 5, 1, long_name, sizeof(long_name)) };

	for (size_t i = 0; i < ARRAY_LEN(l); i++) {
		struct rs_input in = input(&l[i], 1);

		ck_assert_int_eq(outcome(&in), -EUCLEAN);
	}
}
END_TEST

START_TEST(an_inode_without_a_number_or_twice_is_refused)
{
	struct rs_input in = input(NULL, 0);

	in.inodes[2].ino = 0;
	ck_assert_int_eq(outcome(&in), -EUCLEAN);
	in = input(NULL, 0);
	in.inodes[2].ino = 3;
	ck_assert_int_eq(outcome(&in), -EUCLEAN);
}
END_TEST

START_TEST(more_than_an_index_can_count_is_refused)
{
	struct rs_input in = input(NULL, 0);

	in.n_links = UINT32_MAX / 2;
	ck_assert_int_eq(outcome(&in), -EUCLEAN);
	in = input(NULL, 0);
	in.n_inodes = UINT32_MAX / 2;
	ck_assert_int_eq(outcome(&in), -EUCLEAN);
}
END_TEST

static const struct {
	bool in_p, in_s, p_content, s_content;
	int want;
} without_links[] = {
	{ true, true, true, true, -EUCLEAN },
	{ false, true, true, true, 0 }, { true, false, true, true, 0 },
	{ true, true, false, true, 0 }, { true, true, true, false, 0 },
};

START_TEST(a_file_that_both_changed_comes_with_its_links)
{
	struct rs_input in = input(NULL, 0);
	struct rs_inode *n = &in.inodes[3];

	n->in_p = without_links[_i].in_p;
	n->in_s = without_links[_i].in_s;
	n->p_content = without_links[_i].p_content;
	n->s_content = without_links[_i].s_content;
	ck_assert_int_eq(outcome(&in), without_links[_i].want);
}
END_TEST

START_TEST(a_number_that_is_a_clones_is_refused)
{
	struct rs_link l = one_link(RS_CLONE | 1, 5, 1, "x", 1);
	struct rs_input in = input(&l, 1);

	ck_assert_int_eq(outcome(&in), -EUCLEAN);
}
END_TEST

/* ---- links */

START_TEST(a_link_that_each_side_has_elsewhere_and_the_base_not_at_all_is_where_the_primary_has_it)
{
	struct rs_link l = { .id = 8, .child = 5, .p = AT(1, "here"), .s = AT(1, "there") };
	struct rs_input in = input(&l, 1);
	struct rs_result r;

	ck_assert_int_eq(resolve(&in, &r), 0);
	ck_assert_uint_eq(r.links[0].pos.name_len, 4);
	ck_assert_uint_eq(r.n_notes, 1);
	ck_assert_str_eq(r.notes[0].kind, "move");
	resolve_release(&r);
}
END_TEST

/* A file and a directory that the peer had deleted and hears of again: new to it, and not to people. */
START_TEST(what_returns_is_noted_once_whatever_names_it_has)
{
	struct rs_link l[] = { { .id = 8, .child = 5, .p = AT(1, "one"), .returns = true },
		{ .id = 9, .child = 5, .p = AT(1, "two"), .returns = true },
		{ .id = 10, .child = 3, .p = AT(1, "dir"), .returns = true },
		{ .id = 11, .child = 6, .p = AT(1, "new") },
		{ .id = 12, .child = 6, .p = AT(1, "new, too"), .returns = true },
		{ .id = 13, .child = 7, .s = AT(1, "changed"), .returns = true } };
	static const struct {
		uint64_t link;
		const char *rule;
	} noted[] = { { 8, "each side removed another" }, { 10, "the directory was deleted" },
		{ 12, "each side removed another" }, { 13, "deleted on one side, changed or moved" } };
	struct rs_input in = input(l, ARRAY_LEN(l));
	struct rs_inode n[6];
	struct rs_result r;

	memcpy(n, in.inodes, 5 * sizeof(*n));
	n[5] = (struct rs_inode){ .ino = 7, .type = S_IFREG };
	in.inodes = n;
	in.n_inodes = ARRAY_LEN(n);
	for (int without = 0; without < 2; without++) {
		resolver_test_without = without ? RULE_RETURN_NOTED : RULE_NONE;
		ck_assert_int_eq(resolve(&in, &r), 0);
		resolver_test_without = RULE_NONE;
		ck_assert_uint_eq(r.n_notes, without ? 0 : ARRAY_LEN(noted));
		for (size_t i = 0; i < r.n_notes; i++) {
			ck_assert_str_eq(r.notes[i].kind, "delete");
			ck_assert_uint_eq(r.notes[i].link, noted[i].link);
			ck_assert_ptr_eq(strstr(r.notes[i].rule, noted[i].rule), r.notes[i].rule);
		}
		resolve_release(&r);
	}
}
END_TEST

/* ---- two of one name */

static const struct {
	const char *name;
	struct rs_inode five, six;
	struct rs_link other; /* beside 8, which is the primary's "f", and 9, which is the secondary's */
	size_t n_aliases;
} fusing[] = {
	{ "both new", { 0 }, { 0 }, { 0 }, 1 },
	{ "the primary's was known", { .in_b = true }, { 0 }, { 0 }, 0 },
	{ "the secondary's was known", { 0 }, { .in_b = true }, { 0 }, 0 },
	{ "the secondary has the primary's, too", { 0 }, { 0 }, { .id = 7, .child = 5, .s = AT(1, "g") }, 0 },
	{ "the primary has the secondary's, too", { 0 }, { 0 }, { .id = 7, .child = 6, .p = AT(1, "g") }, 0 },
};

START_TEST(only_two_new_files_become_one)
{
	struct rs_link l[] = { { .id = 8, .child = 5, .p = AT(1, "f") }, { .id = 9, .child = 6, .s = AT(1, "f") },
		fusing[_i].other };
	struct rs_input in = input(l, fusing[_i].other.id ? 3 : 2);
	struct rs_result r;

	in.inodes[3].in_b = fusing[_i].five.in_b;
	in.inodes[4].in_b = fusing[_i].six.in_b;
	ck_assert_int_eq(resolve(&in, &r), 0);
	ck_assert_msg(r.n_aliases == 2 * fusing[_i].n_aliases, "%s: %zu aliases", fusing[_i].name, r.n_aliases);
	resolve_release(&r);
}
END_TEST

/* A directory that only one side's names make a unit: by its path, on that side. */
START_TEST(a_directory_that_is_a_unit_on_one_side_alone_is_no_other)
{
	for (int unit = 0; unit < 3; unit++) {
		struct rs_link l[] = {
			{ .id = 10, .child = 3, .p = AT(1, "d"), .unit = unit == 1 },
			{ .id = 11, .child = 4, .s = AT(1, "d"), .unit = unit == 2 },
			{ .id = 12, .child = 5, .p = AT(3, "f") },
		};
		struct rs_input in = input(l, 3);
		struct rs_result r;

		ck_assert_int_eq(resolve(&in, &r), 0);
		ck_assert_uint_eq(r.n_aliases, unit ? 0 : 2);
		ck_assert_uint_eq(r.n_notes, unit ? 1 : 0);
		resolve_release(&r);
	}
}
END_TEST

/* A file has a name in each of two units, and each side removes it from another one. */
START_TEST(a_name_comes_back_into_a_unit_where_there_is_no_other_place)
{
	struct rs_link l[] = {
		{ .id = 10, .child = 3, .b = AT(1, "u"), .p = AT(1, "u"), .s = AT(1, "u"), .unit = true },
		{ .id = 11, .child = 4, .b = AT(1, "v"), .p = AT(1, "v"), .s = AT(1, "v"), .unit = true },
		{ .id = 12, .child = 5, .b = AT(3, "f"), .p = AT(3, "f") },
		{ .id = 13, .child = 5, .b = AT(4, "f"), .s = AT(4, "f") },
	};
	struct rs_input in = input(l, 4);
	struct rs_result r;

	ck_assert_int_eq(resolve(&in, &r), 0);
	ck_assert(r.links[2].pos.present && !r.links[3].pos.present);
	resolve_release(&r);
}
END_TEST

/* What both changed in a unit is equal only if it is a file whose bytes are. */
static const struct {
	uint32_t type;
	bool can_compare;
	size_t n_clones;
} equal_in_unit[] = { { S_IFREG, true, 0 }, { S_IFREG, false, 2 }, { S_IFLNK, true, 2 } };

static bool always(void *ctx, uint64_t ino)
{
	(void)ctx;
	(void)ino;
	return true;
}

START_TEST(what_cannot_be_compared_is_not_the_same)
{
	struct rs_link l[] = {
		{ .id = 10, .child = 3, .b = AT(1, "u"), .p = AT(1, "u"), .s = AT(1, "u"), .unit = true },
		{ .id = 12, .child = 5, .b = AT(3, "f"), .p = AT(3, "f"), .s = AT(3, "f") },
	};
	struct rs_input in = input(l, 2);
	struct rs_result r;

	in.inodes[3].type = equal_in_unit[_i].type;
	in.inodes[3].p_content = in.inodes[3].s_content = true;
	in.ops.equal = equal_in_unit[_i].can_compare ? always : NULL;
	answer = RS_CONTENT_EQUAL;
	ck_assert_int_eq(resolve(&in, &r), 0);
	ck_assert_uint_eq(r.n_clones, equal_in_unit[_i].n_clones);
	resolve_release(&r);
}
END_TEST

/* The secondary is told to have changed a file of a unit that it has nowhere: there is no version of it to be kept. */
START_TEST(a_version_without_a_name_is_put_nowhere)
{
	struct rs_link l[] = {
		{ .id = 10, .child = 3, .b = AT(1, "u"), .p = AT(1, "u"), .s = AT(1, "u"), .unit = true },
		{ .id = 12, .child = 5, .b = AT(3, "f"), .p = AT(3, "f") },
		{ .id = 13, .child = 6, .p = AT(3, "g") },
	};
	struct rs_input in = input(l, 3);
	struct rs_result r;

	in.inodes[3].s_content = true;
	ck_assert_int_eq(resolve(&in, &r), 0);
	ck_assert_uint_eq(r.n_clones, 1); /* the unit's */
	ck_assert_uint_eq(r.n_clone_links, 1);
	resolve_release(&r);
}
END_TEST

/* Two directories of one name in a unit are the same if both are new, each on its side alone. */
static const struct {
	struct rs_link other; /* beside 11, which is the primary's "d" in the unit, and 12, which is the secondary's */
	size_t n_clones;
} dirs_in_unit[] = {
	{ { 0 }, 0 },
	{ { .id = 11, .child = 5, .p = AT(3, "d"), .s = AT(1, "g") }, 2 },
	{ { .id = 12, .child = 6, .p = AT(1, "g"), .s = AT(3, "d") }, 2 },
};

START_TEST(only_two_new_directories_in_a_unit_are_the_same)
{
	struct rs_link l[] = {
		{ .id = 10, .child = 3, .b = AT(1, "u"), .p = AT(1, "u"), .s = AT(1, "u"), .unit = true },
		{ .id = 11, .child = 5, .p = AT(3, "d") },
		{ .id = 12, .child = 6, .s = AT(3, "d") },
	};
	struct rs_input in = input(l, 3);
	struct rs_result r;

	if (dirs_in_unit[_i].other.id)
		l[dirs_in_unit[_i].other.id - 10] = dirs_in_unit[_i].other;
	in.inodes[3].type = in.inodes[4].type = S_IFDIR;
	ck_assert_int_eq(resolve(&in, &r), 0);
	ck_assert_msg(r.n_clones == dirs_in_unit[_i].n_clones, "%d: %zu clones", _i, r.n_clones);
	resolve_release(&r);
}
END_TEST

/* A hundred directories in a unit that both changed, and in two that both made: beyond what first allocations hold. */
START_TEST(there_may_be_much_in_a_unit)
{
	enum { MANY = 100 };
	struct rs_link *l = xcalloc(5 * MANY + 7, sizeof(*l));
	struct rs_inode *n = xcalloc(5 * MANY + 8, sizeof(*n));
	char names[MANY][8];
	struct rs_input in = { .links = l, .inodes = n, .node_p = "p", .node_s = "s", .root = 1 };
	const struct rs_pos u = AT(1, "u"), v = AT(1, "v"), w = AT(1, "w"), one = AT(10, "one"), two = AT(10, "two");
	struct rs_result r;

	n[in.n_inodes++] = (struct rs_inode){ .ino = 1, .type = S_IFDIR };
	l[in.n_links++] = (struct rs_link){ .id = 10, .child = 10, .b = u, .p = u, .s = u, .unit = true };
	l[in.n_links++] = (struct rs_link){ .id = 11, .child = 11, .p = v, .unit = true };
	l[in.n_links++] = (struct rs_link){ .id = 12, .child = 12, .s = v, .unit = true };
	l[in.n_links++] = (struct rs_link){ .id = 13, .child = 13, .p = w, .unit = true };
	l[in.n_links++] = (struct rs_link){ .id = 14, .child = 14, .s = w, .unit = true };
	l[in.n_links++] = (struct rs_link){ .id = 15, .child = 15, .p = one };
	l[in.n_links++] = (struct rs_link){ .id = 16, .child = 16, .s = two };
	for (uint64_t i = 0; i < MANY; i++) {
		struct rs_pos at = { .present = true, .name = names[i] };

		at.name_len = (uint16_t)snprintf(names[i], sizeof(names[i]), "%u", (unsigned)i);
		for (uint64_t dir = 10; dir < 15; dir++) {
			uint64_t id = 100 * dir + i;

			at.parent = dir;
			l[in.n_links++] = (struct rs_link){ .id = id, .child = id };
			if (dir == 10)
				l[in.n_links - 1].b = at;
			if (dir != 12 && dir != 14)
				l[in.n_links - 1].p = at;
			if (dir != 11 && dir != 13)
				l[in.n_links - 1].s = at;
		}
	}
	for (size_t i = 0; i < in.n_links; i++)
		n[in.n_inodes++] = (struct rs_inode){ .ino = l[i].child, .type = S_IFDIR };
	ck_assert_int_eq(resolve(&in, &r), 0);
	ck_assert_uint_eq(r.n_clones, 1 + MANY);
	ck_assert_uint_eq(r.n_aliases, 2 * 2 * (1 + MANY)); /* v and w became one each, with what is in them */
	ck_assert_uint_eq(r.n_notes, 1);
	resolve_release(&r);
	free(l);
	free(n);
}
END_TEST

/* ---- contents */

static const struct {
	enum rs_content answer;
	const char *outcome; /* of the note */
	size_t n_copies;
} contents[] = {
	{ RS_CONTENT_PRIMARY, "primary", 0 }, { RS_CONTENT_SECONDARY, "secondary", 0 },
	{ RS_CONTENT_MERGED, "merged", 0 }, { RS_CONTENT_KEEP_BOTH, "kept-both", 1 },
};

START_TEST(what_became_of_a_content_is_noted)
{
	struct rs_link l = { .id = 8, .child = 5, .b = AT(1, "f"), .p = AT(1, "f"), .s = AT(1, "f") };
	struct rs_input in = input(&l, 1);
	struct rs_result r;

	in.inodes[3].p_content = in.inodes[3].s_content = true;
	answer = contents[_i].answer;
	ck_assert_int_eq(resolve(&in, &r), 0);
	ck_assert_uint_eq(r.n_notes, 1);
	ck_assert_str_eq(r.notes[0].kind, "content");
	ck_assert_str_eq(r.notes[0].outcome, contents[_i].outcome);
	ck_assert_uint_eq(r.n_copies, contents[_i].n_copies);
	resolve_release(&r);
}
END_TEST

START_TEST(a_copy_beside_a_file_in_a_directory_that_became_another_is_in_that_one)
{
	struct rs_link l[] = {
		{ .id = 10, .child = 3, .p = AT(1, "new") }, { .id = 11, .child = 4, .s = AT(1, "new") },
		{ .id = 12, .child = 5, .b = AT(1, "f"), .p = AT(1, "f"), .s = AT(4, "f") },
	};
	struct rs_input in = input(l, 3);
	struct rs_result r;

	in.inodes[3].p_content = in.inodes[3].s_content = true;
	answer = RS_CONTENT_KEEP_BOTH;
	ck_assert_int_eq(resolve(&in, &r), 0);
	ck_assert_uint_eq(r.n_copies, 1);
	ck_assert_uint_eq(r.copies[0].parent, 3);
	resolve_release(&r);
}
END_TEST

/* Forty files that both changed, and forty directories of one name. */
START_TEST(there_may_be_many_of_a_kind)
{
	enum { MANY = 40 };
	struct rs_link l[3 * MANY];
	struct rs_inode n[3 * MANY + 1];
	char names[2 * MANY][8];
	struct rs_input in = { .links = l, .inodes = n, .node_p = "p", .node_s = "s", .root = 1,
		.ops = { .content = content } };
	struct rs_result r;

	n[in.n_inodes++] = (struct rs_inode){ .ino = 1, .type = S_IFDIR };
	for (uint64_t i = 0; i < MANY; i++) {
		struct rs_pos f = { .present = true, .parent = 1, .name = names[i] }, d = f;

		f.name_len = (uint16_t)snprintf(names[i], sizeof(names[i]), "f%u", (unsigned)i);
		d.name = names[MANY + i];
		d.name_len = (uint16_t)snprintf(names[MANY + i], sizeof(names[i]), "d%u", (unsigned)i);
		n[in.n_inodes++] = (struct rs_inode){ .ino = 100 + i, .type = S_IFREG, .p_content = true,
			.s_content = true };
		l[in.n_links++] = (struct rs_link){ .id = 100 + i, .child = 100 + i, .b = f, .p = f, .s = f };
		n[in.n_inodes++] = (struct rs_inode){ .ino = 200 + i, .type = S_IFDIR };
		l[in.n_links++] = (struct rs_link){ .id = 200 + i, .child = 200 + i, .p = d };
		n[in.n_inodes++] = (struct rs_inode){ .ino = 300 + i, .type = S_IFDIR };
		l[in.n_links++] = (struct rs_link){ .id = 300 + i, .child = 300 + i, .s = d };
	}
	answer = RS_CONTENT_KEEP_BOTH;
	ck_assert_int_eq(resolve(&in, &r), 0);
	ck_assert_uint_eq(r.n_copies, MANY);
	ck_assert_uint_eq(r.n_aliases, 2 * MANY);
	resolve_release(&r);
}
END_TEST

/* ---- attributes */

START_TEST(attributes_count_where_both_sides_have_the_inode_and_it_stays_itself)
{
	/* 3 and 4 become one; only P has 5, only S has 6; both removed 7, which had two links. */
	struct rs_link l[] = {
		{ .id = 10, .child = 3, .p = AT(1, "new") }, { .id = 11, .child = 4, .s = AT(1, "new") },
		{ .id = 12, .child = 5, .p = AT(1, "five") }, { .id = 13, .child = 6, .s = AT(1, "six") },
		{ .id = 14, .child = 7, .b = AT(1, "seven") },
	};
	const struct rs_attr a[] = { { .ino = 3, .field = RS_MODE }, { .ino = 4, .field = RS_MODE },
		{ .ino = 5, .field = RS_MODE }, { .ino = 6, .field = RS_MODE }, { .ino = 7, .field = RS_MODE },
		{ .ino = 1, .field = RS_MODE }, { .ino = 1, .field = RS_MODE } };
	struct rs_input in = input(l, ARRAY_LEN(l));
	struct rs_inode n[6];
	struct rs_result r;

	memcpy(n, in.inodes, 5 * sizeof(n[0]));
	n[5] = (struct rs_inode){ .ino = 7, .type = S_IFREG, .in_b = true };
	in.inodes = n;
	in.n_inodes = 6;
	in.attrs = a;
	in.n_attrs = ARRAY_LEN(a);
	ck_assert_int_eq(resolve(&in, &r), 0);
	ck_assert_uint_eq(r.n_attrs, 2); /* the root's */
	ck_assert_uint_ge(r.attrs[0].input, 5);
	ck_assert_uint_ge(r.attrs[1].input, 5);
	resolve_release(&r);
}
END_TEST

/* ---- saves */

/* A file of the base at one name, each side's new one there. */
static void saved_by_both(struct rs_link l[3], struct rs_inode n[3], uint64_t id, const char *name)
{
	struct rs_pos at = { .present = true, .parent = 1, .name = name, .name_len = (uint16_t)strlen(name) };

	l[0] = (struct rs_link){ .id = id, .child = id, .b = at };
	l[1] = (struct rs_link){ .id = id + 1, .child = id + 1, .p = at };
	l[2] = (struct rs_link){ .id = id + 2, .child = id + 2, .s = at };
	for (uint64_t i = 0; i < 3; i++)
		n[i] = (struct rs_inode){ .ino = id + i, .type = S_IFREG };
}

START_TEST(there_may_be_many_saves)
{
	struct rs_link l[3 * 40];
	struct rs_inode n[3 * 40 + 1];
	char names[40][8];
	struct rs_input in = { .links = l, .n_links = ARRAY_LEN(l), .inodes = n, .n_inodes = ARRAY_LEN(n), .root = 1 };
	struct rs_save *saves;
	struct rs_result r;
	size_t n_saves;

	for (size_t i = 0; i < 40; i++) {
		snprintf(names[i], sizeof(names[i]), "f%zu", i);
		saved_by_both(&l[3 * i], &n[3 * i], 10 + 3 * i, names[i]);
	}
	n[ARRAY_LEN(n) - 1] = (struct rs_inode){ .ino = 1, .type = S_IFDIR };
	ck_assert_int_eq(resolve_saves(&in, &saves, &n_saves), 0);
	ck_assert_uint_eq(n_saves, 40);
	for (size_t i = 0; i < n_saves; i++)
		saves[i].verdict = i % 2 ? RS_CONTENT_MERGED : RS_CONTENT_KEEP_BOTH;
	in.saves = saves;
	in.n_saves = n_saves;
	ck_assert_int_eq(resolve(&in, &r), 0);
	ck_assert_uint_eq(r.n_aliases, 40); /* inode and link of each that became one */
	ck_assert_uint_eq(r.n_notes, 40);
	resolve_release(&r);
	free(saves);
}
END_TEST

/* The base may be of several moments: two files of it at one name, or what both sides have and it has not. */
START_TEST(a_file_is_one_side_of_one_save_at_most)
{
	struct rs_link l[] = { { .id = 10, .child = 5, .b = AT(1, "f") }, { .id = 11, .child = 6, .b = AT(1, "f") },
		{ .id = 20, .child = 20, .p = AT(1, "f") }, { .id = 21, .child = 21, .s = AT(1, "f") } };
	struct rs_link moved[] = { { .id = 10, .child = 5, .b = AT(1, "f"), .p = AT(1, "g") },
		{ .id = 11, .child = 6, .b = AT(1, "f"), .p = AT(1, "h") },
		{ .id = 21, .child = 21, .s = AT(1, "f") } };
	struct rs_link same[] = { { .id = 10, .child = 5, .b = AT(1, "f") },
		{ .id = 20, .child = 20, .p = AT(1, "f"), .s = AT(1, "f") } };
	struct rs_inode n[] = { { .ino = 1, .type = S_IFDIR }, { .ino = 5, .type = S_IFREG },
		{ .ino = 6, .type = S_IFREG }, { .ino = 20, .type = S_IFREG }, { .ino = 21, .type = S_IFREG } };
	struct rs_input in = { .links = l, .n_links = ARRAY_LEN(l), .inodes = n, .n_inodes = ARRAY_LEN(n), .root = 1 };
	struct rs_save *saves;
	size_t n_saves;

	ck_assert_int_eq(resolve_saves(&in, &saves, &n_saves), 0);
	ck_assert_uint_eq(n_saves, 1);
	ck_assert_uint_eq(saves[0].link_b, 10);
	free(saves);
	n[3].in_b = true; /* a new link to what was there before */
	ck_assert_int_eq(resolve_saves(&in, &saves, &n_saves), 0);
	ck_assert_uint_eq(n_saves, 0);
	free(saves);
	n[3].in_b = false;
	in.links = moved;
	in.n_links = ARRAY_LEN(moved);
	ck_assert_int_eq(resolve_saves(&in, &saves, &n_saves), 0);
	ck_assert_uint_eq(n_saves, 1);
	free(saves);
	in.links = same;
	in.n_links = ARRAY_LEN(same);
	ck_assert_int_eq(resolve_saves(&in, &saves, &n_saves), 0);
	ck_assert_uint_eq(n_saves, 0);
	free(saves);
}
END_TEST

/* The primary has at the name what the secondary had before and hears of again: no save of what the secondary put there
 * meanwhile, so it is not taken into that. */
START_TEST(what_returns_is_no_save)
{
	struct rs_link l[3];
	struct rs_inode n[4] = { { .ino = 1, .type = S_IFDIR } };
	struct rs_input in = { .links = l, .n_links = 3, .inodes = n, .n_inodes = 4, .root = 1 };
	struct rs_save *saves;
	size_t n_saves;

	for (int without = 0; without < 2; without++) {
		saved_by_both(l, &n[1], 10, "f");
		l[1].returns = true;
		resolver_test_without = without ? RULE_NO_SAVE_RETURNS : RULE_NONE;
		ck_assert_int_eq(resolve_saves(&in, &saves, &n_saves), 0);
		resolver_test_without = RULE_NONE;
		ck_assert_uint_eq(n_saves, without);
		free(saves);
	}
}
END_TEST

/* Which units the input must hold whole, and while there are any nothing is merged as a save. 20 is in the unit 10. */
static const struct {
	const char *what;
	bool p, s, p_file, s_file; /* who has the unit, who has the file in it */
	size_t want;
	bool made; /* the file is not in the base */
} units_rows[] = {
	{ "one side changed it", true, true, true, false, 0, false },
	{ "both changed it", true, true, false, false, 1, false },
	{ "the primary removed what the secondary did not change", false, true, false, true, 0, false },
	{ "the secondary removed what the primary did not change", true, false, true, false, 0, false },
	{ "the primary removed what the secondary changed", false, true, false, false, 1, false },
	{ "the secondary removed what the primary changed", true, false, false, false, 1, false },
	{ "both removed it", false, false, false, false, 0, false },
	{ "the primary put the first thing into it, the secondary removed it", true, false, true, false, 1, true },
	{ "the secondary put the first thing into it, the primary removed it", false, true, false, true, 1, true },
	{ "one side put the first thing into it", true, true, true, false, 0, true },
};

static bool units_row_holds(size_t row)
{
	struct rs_link l[] = { { .id = 11, .child = 10, .b = AT(1, ".git"), .unit = true },
		{ .id = 21, .child = 20, .b = AT(10, "f") } };
	struct rs_inode n[] = { { .ino = 1, .type = S_IFDIR }, { .ino = 10, .type = S_IFDIR },
		{ .ino = 20, .type = S_IFREG } };
	struct rs_input in = { .links = l, .n_links = 2, .inodes = n, .n_inodes = 3, .root = 1 };
	uint64_t *units;
	size_t n_units;

	for (size_t i = 0; i < 2; i++) {
		bool p = i ? units_rows[row].p_file : units_rows[row].p;
		bool s = i ? units_rows[row].s_file : units_rows[row].s;

		l[i].p = p ? l[i].b : (struct rs_pos){ .present = false };
		l[i].s = s ? l[i].b : (struct rs_pos){ .present = false };
	}
	if (units_rows[row].made)
		l[1].b = (struct rs_pos){ .present = false };
	n_units = resolve_units(&in, &units);
	free(units);
	return n_units == units_rows[row].want;
}

START_TEST(a_unit_that_one_side_removed_is_of_both_if_the_other_changed_it)
{
	ck_assert_msg(units_row_holds(_i), "%s", units_rows[_i].what);
}
END_TEST

START_TEST(that_a_unit_is_of_both_is_seen_when_it_is_left_out)
{
	unsigned wrong = 0;

	resolver_test_without = RULE_UNIT_UNTOUCHED;
	for (size_t i = 0; i < ARRAY_LEN(units_rows); i++)
		wrong += !units_row_holds(i);
	resolver_test_without = RULE_NONE;
	ck_assert_uint_gt(wrong, 0);
}
END_TEST

START_TEST(an_input_that_is_no_tree_has_no_saves_and_no_units)
{
	struct rs_link l[] = { { .id = 10, .child = 99, .p = AT(1, "f") } };
	struct rs_input in = input(l, 1);
	struct rs_save *saves;
	size_t n_saves;

	uint64_t *units;

	ck_assert_int_eq(resolve_saves(&in, &saves, &n_saves), -EUCLEAN);
	ck_assert_uint_eq(n_saves, 0);
	free(saves);
	ck_assert_uint_eq(resolve_units(&in, &units), 0);
	free(units);
}
END_TEST

/* ---- conflict names */

#define LONG_EXT "abcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghijabcdefghij"

static const struct {
	const char *name, *node;
	unsigned n;
	const char *want;
} odd_names[] = {
	/* what only looks like a conflict name */
	{ "a.conflict-pc-2025010x-000000.b", "pc", 1, "a.conflict-pc-2025010x-000000.conflict-pc-20260131-123456.b" },
	{ "a.conflict-pc-2025010/-000000.b", "pc", 1, "a.conflict-pc-2025010/-000000.conflict-pc-20260131-123456.b" },
	{ "a.conflict-pc-20250101x000000.b", "pc", 1, "a.conflict-pc-20250101x000000.conflict-pc-20260131-123456.b" },
	{ "a.conflict-pc-20250101-00x000.b", "pc", 1, "a.conflict-pc-20250101-00x000.conflict-pc-20260131-123456.b" },
	{ "a.conflict-pc-20250101-000000-.b", "pc", 1, "a.conflict-pc-20250101-000000-.conflict-pc-20260131-123456.b" },
	{ "a.conflict-pc-20250101-000000-2x", "pc", 1, "a.conflict-pc-20260131-123456.conflict-pc-20250101-000000-2x" },
	{ "a.conflict-pc-20250101-000000-2+", "pc", 1, "a.conflict-pc-20260131-123456.conflict-pc-20250101-000000-2+" },
	{ "a.conflict-pc-20250101-000000_b", "pc", 1, "a.conflict-pc-20260131-123456.conflict-pc-20250101-000000_b" },
	{ "a.conflict-pc-20250101-000000.b.c", "pc", 1,
		"a.conflict-pc-20250101-000000.b.conflict-pc-20260131-123456.c" },
	/* what is one, to the end */
	{ "a.conflict-pc-20250101-000000-12", "pc", 1, "a.conflict-pc-20260131-123456" },
	{ "a.conflict-pc-20250101-000000." LONG_EXT, "pc", 1, "a.conflict-pc-20260131-123456" },
	/* nodes without a fit name */
	{ "a.b", NULL, 1, "a.conflict-peer-20260131-123456.b" },
	{ "a.b", "", 1, "a.conflict-peer-20260131-123456.b" },
	{ "a.b", "x/y", 1, "a.conflict-x_y-20260131-123456.b" },
};

START_TEST(odd_names_get_conflict_names_too)
{
	char out[256];

	conflict_name(odd_names[_i].name, strlen(odd_names[_i].name), odd_names[_i].node, UINT64_C(1769862896789),
		odd_names[_i].n, out);
	ck_assert_str_eq(out, odd_names[_i].want);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("resolver_edges");
	TCase *tc = tcase_create("edges");

	tcase_add_loop_test(tc, a_name_that_was_not_seen_when_one_like_it_was_given_is_noted, 0, 2);
	tcase_add_test(tc, numbers_that_nothing_has_are_refused);
	tcase_add_test(tc, an_inode_without_a_number_or_twice_is_refused);
	tcase_add_test(tc, more_than_an_index_can_count_is_refused);
	tcase_add_loop_test(tc, a_file_that_both_changed_comes_with_its_links, 0, (int)ARRAY_LEN(without_links));
	tcase_add_test(tc, a_number_that_is_a_clones_is_refused);
	tcase_add_test(tc, what_returns_is_noted_once_whatever_names_it_has);
	tcase_add_test(tc, a_link_that_each_side_has_elsewhere_and_the_base_not_at_all_is_where_the_primary_has_it);
	tcase_add_loop_test(tc, only_two_new_files_become_one, 0, (int)ARRAY_LEN(fusing));
	tcase_add_test(tc, a_directory_that_is_a_unit_on_one_side_alone_is_no_other);
	tcase_add_test(tc, a_name_comes_back_into_a_unit_where_there_is_no_other_place);
	tcase_add_loop_test(tc, what_cannot_be_compared_is_not_the_same, 0, (int)ARRAY_LEN(equal_in_unit));
	tcase_add_loop_test(tc, only_two_new_directories_in_a_unit_are_the_same, 0, (int)ARRAY_LEN(dirs_in_unit));
	tcase_add_test(tc, a_version_without_a_name_is_put_nowhere);
	tcase_add_test(tc, there_may_be_much_in_a_unit);
	tcase_add_loop_test(tc, what_became_of_a_content_is_noted, 0, (int)ARRAY_LEN(contents));
	tcase_add_test(tc, a_copy_beside_a_file_in_a_directory_that_became_another_is_in_that_one);
	tcase_add_test(tc, there_may_be_many_of_a_kind);
	tcase_add_test(tc, attributes_count_where_both_sides_have_the_inode_and_it_stays_itself);
	tcase_add_test(tc, there_may_be_many_saves);
	tcase_add_test(tc, a_file_is_one_side_of_one_save_at_most);
	tcase_add_test(tc, what_returns_is_no_save);
	tcase_add_loop_test(tc, a_unit_that_one_side_removed_is_of_both_if_the_other_changed_it, 0,
			    (int)ARRAY_LEN(units_rows));
	tcase_add_test(tc, that_a_unit_is_of_both_is_seen_when_it_is_left_out);
	tcase_add_test(tc, an_input_that_is_no_tree_has_no_saves_and_no_units);
	tcase_add_loop_test(tc, odd_names_get_conflict_names_too, 0, (int)ARRAY_LEN(odd_names));
	suite_add_tcase(s, tc);
	return tap_main(s);
}
