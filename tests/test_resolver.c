/* SPDX-License-Identifier: MIT */
/* The resolver: every namespace and content case by table, in both roles; laws over all pairs of operations and over
 * random histories; and a proof that each rule is needed, by leaving it out. TWINFS_SOAK_S: run random histories for so
 * long. */
#include "tests/tap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "sync/resolver_work.h"
#include "tests/resolver_table.h"
#include "tests/tree_model.h"
#include "util/util.h"

/* ---- cases by table */

/*
 * The base of the table. Contents are tokens: inode * 10 + number; what x and y write is x1, x2, ... and y1, y2, ...
 *
 *	a/  a/f=220.221  b/  b/h2=230  c/  c/d/  c/d/deep=200  c/keep=250  f=210.211  h1=230 (one file)  doc=240  l->260
 *	u/  u/one=280  u/s/  u/s/two=290: u is a unit
 *	un/  un/ui/  un/ui/three=300  un/four=310  un/h4=320 (one file)  h3=320: a unit in a unit
 *	e/
 */
static void table_base(struct tm_tree *t)
{
	tm_init(t);
	tm_add(t, 10, S_IFDIR, 10, TM_ROOT, "a", 0);
	tm_add(t, 11, S_IFDIR, 11, TM_ROOT, "b", 0);
	tm_add(t, 12, S_IFDIR, 12, TM_ROOT, "c", 0);
	tm_add(t, 13, S_IFDIR, 13, 12, "d", 0);
	tm_add(t, 20, S_IFREG, 20, 13, "deep", 1);
	tm_add(t, 21, S_IFREG, 21, TM_ROOT, "f", 2);
	tm_add(t, 22, S_IFREG, 22, 10, "f", 2);
	tm_add(t, 23, S_IFREG, 23, TM_ROOT, "h1", 1);
	tm_add_link(t, 27, 11, "h2", 23);
	tm_add(t, 24, S_IFREG, 24, TM_ROOT, "doc", 1);
	tm_add(t, 25, S_IFREG, 25, 12, "keep", 1);
	tm_add(t, 26, S_IFLNK, 26, TM_ROOT, "l", 1);
	tm_add(t, 14, S_IFDIR, 14, TM_ROOT, "u", 0);
	tm_add(t, 15, S_IFDIR, 15, 14, "s", 0);
	tm_add(t, 28, S_IFREG, 28, 14, "one", 1);
	tm_add(t, 29, S_IFREG, 29, 15, "two", 1);
	tm_add(t, 16, S_IFDIR, 16, TM_ROOT, "e", 0);
	tm_add(t, 17, S_IFDIR, 17, TM_ROOT, "un", 0);
	tm_add(t, 18, S_IFDIR, 18, 17, "ui", 0);
	tm_add(t, 30, S_IFREG, 30, 18, "three", 1);
	tm_add(t, 31, S_IFREG, 31, 17, "four", 1);
	tm_add(t, 32, S_IFREG, 32, TM_ROOT, "h3", 1);
	tm_add_link(t, 33, 17, "h4", 32);
}

/* Where the paths of the table begin. */
static uint64_t top = TM_ROOT;

static uint64_t walk(const struct tm_tree *t, const char *path, size_t len)
{
	uint64_t dir = top;

	while (len > 0) {
		char name[TM_NAME];
		size_t n = 0;
		const struct tm_link *l;

		while (n < len && path[n] != '/')
			n++;
		snprintf(name, sizeof(name), "%.*s", (int)n, path);
		l = tm_child(t, dir, name);
		ck_assert_msg(l != NULL, "the table names %s, which is not there", path);
		dir = l->child;
		path += MIN(n + 1, len);
		len -= MIN(n + 1, len);
	}
	return dir;
}

static uint64_t dir_of(const struct tm_tree *t, const char *path, char name[TM_NAME])
{
	const char *slash = strrchr(path, '/');

	snprintf(name, TM_NAME, "%s", slash ? slash + 1 : path);
	return walk(t, path, slash ? (size_t)(slash - path) : 0);
}

static uint64_t link_at(const struct tm_tree *t, const char *path)
{
	char name[TM_NAME];
	uint64_t dir = dir_of(t, path, name);
	const struct tm_link *l = tm_child(t, dir, name);

	ck_assert_msg(l != NULL, "the table names %s, which is not there", path);
	return l->id;
}

static const char *t_name(const struct tm_tree *t, uint64_t link)
{
	return tm_link(t, link)->name;
}

/* "VERB PATH [ARG]": the verbs of enum tm_kind. */
static struct tm_op op_of(const struct tm_tree *t, const char *verb, const char *path, const char *arg)
{
	static const char *const verbs[] = { "create", "mkdir", "symlink", "rm", "rmtree", "save", "mv", "exchange",
		"write", "append",
		"trunc", "link", "chmod", "xattr", "backup", "lnbackup", "chown", "touch", "xattr2", "fifo", "socket",
		"device", "put" };
	struct tm_op op = { .kind = TM_CREATE };

	while (op.kind <= TM_PUT && strcmp(verbs[op.kind], verb) != 0)
		op.kind++;
	ck_assert_msg(op.kind <= TM_PUT, "no such verb: %s", verb);
	switch (op.kind) {
	case TM_CREATE:
	case TM_MKDIR:
	case TM_SYMLINK:
	case TM_FIFO:
	case TM_SOCKET:
	case TM_DEVICE:
		op.a = dir_of(t, path, op.name);
		op.k = (uint32_t)strtoul(arg, NULL, 10);
		break;
	case TM_RENAME:
		op.b = dir_of(t, arg, op.name);
		op.a = link_at(t, path);
		break;
	case TM_EXCHANGE:
		op.b = link_at(t, arg);
		op.a = link_at(t, path);
		break;
	case TM_LINK:
		op.b = dir_of(t, arg, op.name);
		op.a = walk(t, path, strlen(path));
		break;
	case TM_UNLINK:
	case TM_RMTREE:
	case TM_SAVE:
		op.a = link_at(t, path);
		op.k = (uint32_t)strtoul(arg, NULL, 10);
		break;
	case TM_BACKUP:
	case TM_LNBACKUP:
		op.a = link_at(t, path);
		op.k = (uint32_t)strtoul(arg, NULL, 10);
		snprintf(op.name, sizeof(op.name), "%.60s~", t_name(t, op.a));
		break;
	default:
		op.a = walk(t, path, strlen(path));
		op.k = (uint32_t)strtoul(arg, NULL, 10);
	}
	return op;
}

static void run_script(struct tm_side *s, const char *script)
{
	char *text = xstrdup(script), *save = NULL;

	for (char *line = strtok_r(text, ";", &save); line; line = strtok_r(NULL, ";", &save)) {
		char verb[16] = "", path[64] = "", arg[64] = "";
		struct tm_op op;

		ck_assert_int_ge(sscanf(line, "%15s %63s %63s", verb, path, arg), 2);
		op = op_of(&s->t, verb, path, arg);
		tm_apply(s, &op);
	}
	free(text);
}

/* The number of rows that do not come out as written; prints them if `show`. */
static int run_rows(bool show)
{
	static struct tm_tree base, m;
	static struct tm_side x, y;
	int failed = 0;

	table_base(&base);
	for (size_t i = 0; i < ARRAY_LEN(rows) * 2; i++) {
		const struct row *r = &rows[i / 2];
		bool x_first = i % 2 == 0;
		struct tm_merge_opts o = { .node_p = x_first ? "x" : "y", .node_s = x_first ? "y" : "x" };
		const char *tree = x_first ? r->x_first : r->y_first, *notes = x_first ? r->x_notes : r->y_notes, *law;
		char got[1024] = "", got_notes[512] = "";

		x = (struct tm_side){ .t = base, .side = 1 };
		y = (struct tm_side){ .t = base, .side = 2 };
		run_script(&x, r->x);
		run_script(&y, r->y);
		law = tm_law_broken(&base, x_first ? &x.t : &y.t, x_first ? &y.t : &x.t, (unsigned)i + 1);
		if (law == NULL && tm_merge(&base, x_first ? &x.t : &y.t, x_first ? &y.t : &x.t, &o, &m, got_notes,
			sizeof(got_notes)) == 0)
			tm_diff(&base, &m, TM_ROOT, got, sizeof(got));
		if (law == NULL && strcmp(got, tree) == 0 && strcmp(got_notes, notes) == 0)
			continue;
		failed++;
		if (show)
			printf("# ROW %s (%s first)\n# got  \"%s\", \"%s\"\n# want \"%s\", \"%s\"\n# law: %s\n",
				r->name,
			       x_first ? "x" : "y", got, got_notes, tree, notes, law ? law : "fine");
	}
	return failed;
}

START_TEST(each_case_of_the_table_comes_out_as_written_in_both_roles)
{
	ck_assert_int_eq(run_rows(true), 0);
}
END_TEST

/* ---- two cases at once */

/* The base of the table in a directory. Tokens are the same in all of them. */
static void add_table_base(struct tm_tree *t, uint64_t dir, const char *name, uint64_t shift)
{
	static struct tm_tree one;

	table_base(&one);
	tm_add(t, dir, S_IFDIR, dir, TM_ROOT, name, 0);
	for (uint32_t i = 0; i < one.n_inodes; i++) {
		struct tm_inode *n = &t->inodes[t->n_inodes];

		if (one.inodes[i].ino == TM_ROOT)
			continue;
		*n = one.inodes[i];
		n->ino += shift;
		t->n_inodes++;
	}
	for (uint32_t i = 0; i < one.n_links; i++) {
		const struct tm_link *l = &one.links[i];

		tm_add_link(t, l->id + shift, l->parent == TM_ROOT ? dir : l->parent + shift, l->name,
			l->child + shift);
	}
}

static int word_cmp(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_words(char *text)
{
	char *copy = xstrdup(text), *save = NULL, *words[32];
	size_t n = 0, at = 0;

	for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
		words[n++] = w;
	text[0] = '\0';
	if (n > 0)
		qsort(words, n, sizeof(words[0]), word_cmp);
	for (size_t i = 0; i < n; i++)
		at += (size_t)sprintf(text + at, "%s%s", i ? " " : "", words[i]);
	free(copy);
}

/* While a unit is in conflict no save is merged: docs/merging.md. */
static bool disturb(const struct row *a, const struct row *b)
{
	return strncmp(a->name, "unit", 4) == 0 &&
	       (strstr(b->x, "save") || strstr(b->y, "save") || strstr(b->x, "backup") || strstr(b->y, "backup"));
}

static void combine(const struct tm_tree *base, const struct row *a, const struct row *b, bool x_first)
{
	static struct tm_side x, y;
	static struct tm_tree m;
	const struct row *r[] = { a, b };
	struct tm_merge_opts o = { .node_p = x_first ? "x" : "y", .node_s = x_first ? "y" : "x" };
	char got[1024], notes[512], want[512];

	x = (struct tm_side){ .t = *base, .side = 1 };
	y = (struct tm_side){ .t = *base, .side = 2 };
	for (uint64_t k = 0; k < 2; k++) {
		top = 2 + k;
		x.n = y.n = 100 * (uint32_t)k;
		run_script(&x, r[k]->x);
		run_script(&y, r[k]->y);
	}
	top = TM_ROOT;
	ck_assert_int_eq(tm_merge(base, x_first ? &x.t : &y.t, x_first ? &y.t : &x.t, &o, &m, notes, sizeof(notes)), 0);
	for (uint64_t k = 0; k < 2; k++) {
		const char *tree = x_first ? r[k]->x_first : r[k]->y_first;

		tm_diff(base, &m, 2 + k, got, sizeof(got));
		ck_assert_msg(strcmp(got, tree) == 0, "%s, beside %s (%s first): \"%s\", not \"%s\"", r[k]->name,
			r[!k]->name, o.node_p, got, tree);
	}
	snprintf(want, sizeof(want), "%s %s", x_first ? a->x_notes : a->y_notes, x_first ? b->x_notes : b->y_notes);
	sort_words(want);
	sort_words(notes);
	ck_assert_msg(strcmp(notes, want) == 0, "%s and %s (%s first): \"%s\", not \"%s\"", a->name, b->name,
		o.node_p, notes, want);
}

/* A share of all pairs: what happens in one directory is nothing to what happens in another. */
START_TEST(each_case_comes_out_as_written_beside_others)
{
	static struct tm_tree base;
	enum { SHARE = 17 };
	size_t n = ARRAY_LEN(rows), tried = 0;

	tm_init(&base);
	add_table_base(&base, 2, "first", 100);
	add_table_base(&base, 3, "second", 200);
	for (size_t i = (size_t)_i; i < n * n; i += SHARE) {
		const struct row *a = &rows[i / n], *b = &rows[i % n];

		if (disturb(a, b) || disturb(b, a))
			continue;
		combine(&base, a, b, tried++ % 2 == 0);
	}
	ck_assert_uint_gt(tried, n);
}
END_TEST

/* ---- laws */

static void run_random(struct tm_side *s, unsigned n_ops, unsigned *seed)
{
	static struct tm_op ops[TM_OPS];

	for (unsigned i = 0; i < n_ops; i++) {
		uint32_t n = tm_ops(&s->t, ops);

		tm_apply(s, &ops[(unsigned)rand_r(seed) % n]);
	}
}

static const char *seed_breaks(unsigned at, bool all, bool units)
{
	static struct tm_tree base;
	static struct tm_side p, s;
	unsigned seed = at + 1;

	if (units)
		tm_unit_base(&base, (unsigned)rand_r(&seed) % 2);
	else
		tm_small_base(&base, (unsigned)rand_r(&seed) % 3);
	p = (struct tm_side){ .t = base, .side = 1 };
	s = (struct tm_side){ .t = base, .side = 2 };
	run_random(&p, 1 + (unsigned)rand_r(&seed) % 5, &seed);
	run_random(&s, 1 + (unsigned)rand_r(&seed) % 5, &seed);
	return tm_law_broken(&base, &p.t, &s.t, all ? at + 1 : 0);
}

START_TEST(every_pair_of_operations_keeps_the_laws)
{
	static struct tm_tree base;
	static struct tm_side p, s;
	static struct tm_op ops[TM_OPS];
	unsigned kind = (unsigned)_i, pairs = 0;
	uint32_t n;

	if (kind < 3)
		tm_small_base(&base, kind);
	else
		tm_unit_base(&base, kind - 3);
	n = tm_ops(&base, ops);
	for (uint32_t i = 0; i < n; i++) {
		p = (struct tm_side){ .t = base, .side = 1 };
		tm_apply(&p, &ops[i]);
		for (uint32_t k = 0; k < n; k++) {
			const char *bad;

			s = (struct tm_side){ .t = base, .side = 2 };
			tm_apply(&s, &ops[k]);
			bad = tm_law_broken(&base, &p.t, &s.t, (i + k) % 8 == 0 ? i + 1 : 0);
			ck_assert_msg(bad == NULL, "base %u, operations %u and %u: %s", kind, i, k, bad);
			pairs++;
		}
	}
	ck_assert_uint_gt(pairs, 5000);
}
END_TEST

START_TEST(random_histories_keep_the_laws)
{
	const char *soak = getenv("TWINFS_SOAK_S");
	uint64_t until = soak ? clock_mono_ms() + strtoull(soak, NULL, 10) * 1000 : 0;

	for (unsigned i = 0; i < 20000 || clock_mono_ms() < until; i++) {
		const char *bad = seed_breaks(i, true, i % 2);

		ck_assert_msg(bad == NULL, "seed %u: %s", i, bad);
	}
}
END_TEST

START_TEST(one_side_alone_is_taken_as_it_is)
{
	static struct tm_tree base, m;
	static struct tm_side x;
	struct tm_merge_opts o = { .node_p = "p", .node_s = "s" };
	char notes[64];

	for (unsigned i = 0; i < 3000; i++) {
		unsigned seed = i + 1;

		tm_small_base(&base, (unsigned)rand_r(&seed) % 3);
		x = (struct tm_side){ .t = base, .side = 1 };
		run_random(&x, (unsigned)rand_r(&seed) % 6, &seed);
		for (int k = 0; k < 3; k++) {
			ck_assert_int_eq(tm_merge(&base, k == 1 ? &base : &x.t, k == 0 ? &base : &x.t, &o, &m, notes,
				sizeof(notes)), 0);
			ck_assert_msg(tm_equal(&m, &x.t), "seed %u: not what the one side has (%d)", i, k);
			ck_assert_msg(notes[0] == '\0', "seed %u: a note about nothing: %s (%d)", i, notes, k);
		}
	}
}
END_TEST

/* ---- each rule is needed */

/* Those of a file that returns are in test_resolver_edges.c, those of a side that is preferred in
 * test_resolver_prefer.c. */
static const struct {
	const char *name;
	enum rw_rule rule;
	enum { TABLE, LAWS, UNIT_LAWS } seen_by; /* LAWS: the tree is bad or bytes are lost, whatever a table says */
} rules[] = {
	{ "a move stays though the other side deleted", RULE_MOVE_STAYS, LAWS },
	{ "each removed another name: they come back", RULE_BOTH_UNLINKED, LAWS },
	{ "what was changed comes back", RULE_CHANGED_COMES_BACK, LAWS },
	{ "a moved directory stays whole", RULE_MOVED_DIR_WHOLE, LAWS },
	{ "parents come back", RULE_PARENTS, LAWS },
	{ "loops are broken", RULE_LOOPS, LAWS },
	{ "of two of one name one gets another", RULE_ONE_NAME, LAWS },
	{ "two new directories become one", RULE_SAME_DIR, TABLE },
	{ "two new equal files become one", RULE_SAME_FILE, TABLE },
	{ "two links of one file become one", RULE_SAME_LINK, TABLE },
	{ "names that are alike are noted", RULE_ALIKE, TABLE },
	{ "contents of both are merged or both kept", RULE_CONTENT, LAWS },
	{ "attributes of both are decided and noted", RULE_ATTR, TABLE },
	{ "a write that is under another name is noted", RULE_WRITE_FOLLOWS, TABLE },
	{ "a save is a change of the file", RULE_SAVES, TABLE },
	{ "a save follows a file that the other side moved", RULE_SAVE_FOLLOWS, TABLE },
	{ "a unit is kept whole", RULE_UNITS, UNIT_LAWS },
	{ "a unit that is removed and changed comes back whole", RULE_UNIT_WHOLE, UNIT_LAWS },
	{ "a unit that is the same on both sides is one", RULE_UNIT_SAME, TABLE },
	{ "of a unit in a unit the outermost counts", RULE_UNIT_OUTERMOST, TABLE },
	{ "what was written outside of a unit that has it too is kept", RULE_UNIT_BESIDE, UNIT_LAWS },
	{ "what is back in a unit is done in it", RULE_UNIT_BACK, TABLE },
	{ "what a side has elsewhere and changed is its own there", RULE_UNIT_APART, UNIT_LAWS },
	{ "a name outside that the secondary gave to a file of a unit means its version", RULE_UNIT_NAMES, TABLE },
	{ "a unit that one side makes of what the other changed is whole", RULE_UNIT_MADE, TABLE },
	{ "no name comes back into a unit that is to be as a side has it", RULE_NOT_INTO_UNIT, TABLE },
};

START_TEST(a_rule_left_out_is_seen)
{
	unsigned broken = 0;
	int table;

	resolver_test_without = rules[_i].rule;
	table = run_rows(false);
	for (unsigned i = 0; rules[_i].seen_by != TABLE && i < 4000; i++)
		broken += seed_breaks(i, false, rules[_i].seen_by == UNIT_LAWS) != NULL;
	resolver_test_without = RULE_NONE;
	printf("# without \"%s\" %d rows of the table fail, %u of 4000 histories break a law\n", rules[_i].name, table,
		broken);
	ck_assert_msg(table > 0, "%s: the table does not need it", rules[_i].name);
	if (rules[_i].seen_by != TABLE)
		ck_assert_msg(broken > 0, "%s: no law needs it", rules[_i].name);
}
END_TEST

/* ---- names */

static const struct {
	const char *name, *node;
	unsigned n;
	const char *want;
} conflict_names[] = {
	{ "report.txt", "attic", 1, "report.conflict-attic-20260131-123456.txt" },
	{ "report.txt", "attic", 2, "report.conflict-attic-20260131-123456-2.txt" },
	{ "Makefile", "attic", 1, "Makefile.conflict-attic-20260131-123456" },
	{ "Makefile", "attic", 3, "Makefile.conflict-attic-20260131-123456-3" },
	{ ".bashrc", "attic", 1, ".bashrc.conflict-attic-20260131-123456" },
	{ ".a.conf", "attic", 1, ".a.conflict-attic-20260131-123456.conf" },
	{ "a.tar.gz", "attic", 1, "a.tar.conflict-attic-20260131-123456.gz" },
	{ "odd.", "attic", 1, "odd..conflict-attic-20260131-123456" },
	{ "report.conflict-cellar-20250101-000000.txt", "attic", 1, "report.conflict-attic-20260131-123456.txt" },
	{ "report.conflict-cellar-20250101-000000-7.txt", "attic", 2, "report.conflict-attic-20260131-123456-2.txt" },
	{ "Makefile.conflict-pc.example.org-20250101-000000", "attic", 1, "Makefile.conflict-attic-20260131-123456" },
	{ "a.conflict-of-interest.txt", "attic", 1, "a.conflict-of-interest.conflict-attic-20260131-123456.txt" },
};

START_TEST(a_conflict_name_tells_who_and_when_and_is_not_stacked)
{
	char out[256];
	size_t n = conflict_name(conflict_names[_i].name, strlen(conflict_names[_i].name), conflict_names[_i].node,
				 UINT64_C(1769862896789), conflict_names[_i].n, out);

	ck_assert_str_eq(out, conflict_names[_i].want);
	ck_assert_uint_eq(n, strlen(out));
}
END_TEST

START_TEST(a_long_name_is_cut_at_a_character)
{
	char name[256], out[256];
	size_t n;

	for (size_t i = 0; i + 1 < 255; i += 2)
		memcpy(name + i, "\xc3\xa4", 2);
	memcpy(name + 250, ".txt", 5);
	for (unsigned k = 1; k < 12; k += 10) { /* an odd and an even number of bytes to cut */
		n = conflict_name(name, 254, "attic", 1000, k, out);
		ck_assert_uint_le(n, 255);
		ck_assert_uint_ge(n, 254);
		ck_assert_ptr_nonnull(strstr(out, "\xa4.conflict-attic-19700101-000001"));
		ck_assert_str_eq(out + n - 4, ".txt");
	}
	memset(name, 0x80, 255); /* no UTF-8 at all */
	n = conflict_name(name, 255, "attic", UINT64_MAX, 1, out);
	ck_assert_uint_le(n, 255);
	ck_assert_uint_ge(n, 252);
	memset(name, 'x', 255);
	name[1] = '.';
	ck_assert_uint_eq(conflict_name(name, 255, "attic", 0, 1, out), 255);
}
END_TEST

/* ---- other parts of the contract */

static bool first_two_taken(void *ctx, uint64_t parent, const char *name, size_t len)
{
	(void)ctx;
	return parent == 1 && memmem(name, len, "-3", 2) == NULL;
}

static enum rs_content keep_both(void *ctx, uint64_t ino)
{
	(void)ctx;
	(void)ino;
	return RS_CONTENT_KEEP_BOTH;
}

#define AT(dir, text) { .present = true, .parent = (dir), .name = (text), .name_len = sizeof(text) - 1 }

START_TEST(a_name_in_use_outside_the_input_is_not_taken)
{
	struct rs_link l = { .id = 5, .child = 5, .b = AT(1, "f"), .p = AT(1, "f"), .s = AT(1, "f") };
	struct rs_inode n[] = { { .ino = 1, .type = S_IFDIR }, { .ino = 5, .type = S_IFREG, .in_b = true, .in_p = true,
		.in_s = true,
		.p_content = true, .s_content = true } };
	struct rs_input in = { .links = &l, .n_links = 1, .inodes = n, .n_inodes = 2, .node_p = "p", .node_s = "s",
		.root = 1,
		.ops = { .content = keep_both, .name_taken = first_two_taken } };
	struct rs_result r;

	ck_assert_int_eq(resolve(&in, &r), 0);
	ck_assert_uint_eq(r.n_copies, 1);
	ck_assert_uint_eq(r.copies[0].ino, 5);
	ck_assert_uint_eq(r.copies[0].parent, 1);
	ck_assert_str_eq(r.copies[0].name, "f.conflict-s-19700101-000000-3");
	resolve_release(&r);
}
END_TEST

START_TEST(attributes_of_both_are_the_primary_s_but_the_later_times)
{
	struct rs_inode n[] = { { .ino = 1, .type = S_IFDIR }, { .ino = 5, .type = S_IFREG, .in_b = true, .in_p = true,
		.in_s = true } };
	const struct rs_attr a[] = {
		{ .ino = 5, .field = RS_XATTR, .key = "user.b" }, { .ino = 5, .field = RS_XATTR, .key = "user.a",
			.equal = true },
		{ .ino = 5, .field = RS_TIMES }, { .ino = 1, .field = RS_TIMES, .p_later = true },
		{ .ino = 5, .field = RS_OWNER }, { .ino = 5, .field = RS_MODE }, { .ino = 77, .field = RS_MODE },
		{ .ino = 5, .field = RS_XATTR, .key = "system.posix_acl_access" },
		{ .ino = 5, .field = RS_XATTR, .key = "system.posix_acl_default" },
	};
	struct rs_input in = { .inodes = n, .n_inodes = 2, .attrs = a, .n_attrs = ARRAY_LEN(a), .node_p = "p",
		.node_s = "s", .root = 1 };
	const struct rs_attr_out want[] = { { 3, true, false, false }, { 5, true, true, false }, { 4, true, true,
		false },
		{ 2, false, false, false }, { 7, true, true, false }, { 8, true, true, false },
		{ 1, true, false, false },
		{ 0, true, true, true } };
	struct rs_result r;

	ck_assert_int_eq(resolve(&in, &r), 0);
	ck_assert_uint_eq(r.n_attrs, ARRAY_LEN(want));
	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		ck_assert_uint_eq(r.attrs[i].input, want[i].input);
		ck_assert_int_eq(r.attrs[i].take_p, want[i].take_p);
		ck_assert_int_eq(r.attrs[i].note, want[i].note);
		ck_assert_int_eq(r.attrs[i].keep_other, want[i].keep_other);
	}
	ck_assert_uint_eq(r.n_notes, 5);
	resolve_release(&r);
}
END_TEST

START_TEST(a_new_directory_of_both_becomes_one_with_what_is_in_it)
{
	struct rs_link l[] = {
		{ .id = 20, .child = 20, .s = AT(1, "d") }, { .id = 21, .child = 21, .s = AT(20, "mine") },
		{ .id = 10, .child = 10, .p = AT(1, "d") },
	};
	struct rs_inode n[] = { { .ino = 20, .type = S_IFDIR, .in_s = true }, { .ino = 21, .type = S_IFREG,
		.in_s = true },
		{ .ino = 10, .type = S_IFDIR, .in_p = true }, { .ino = 1, .type = S_IFDIR } };
	struct rs_input in = { .links = l, .n_links = 3, .inodes = n, .n_inodes = 4, .node_p = "p", .node_s = "s",
		.root = 1 };
	struct rs_result r;

	ck_assert_int_eq(resolve(&in, &r), 0);
	ck_assert_uint_eq(r.n_aliases, 2);
	ck_assert(r.aliases[0].src == 20 && r.aliases[0].dst == 10 && !r.aliases[0].is_link);
	ck_assert(r.aliases[1].src == 20 && r.aliases[1].dst == 10 && r.aliases[1].is_link);
	ck_assert_uint_eq(r.n_links, 3);
	ck_assert(r.links[0].id == 10 && r.links[0].pos.present);
	ck_assert(r.links[1].id == 20 && !r.links[1].pos.present && r.links[1].child == 10);
	ck_assert(r.links[2].id == 21 && r.links[2].pos.present && r.links[2].pos.parent == 10);
	ck_assert_uint_eq(r.n_notes, 0);
	resolve_release(&r);
}
END_TEST

static int refused(struct rs_link *links, size_t n_links)
{
	struct rs_inode n[] = { { .ino = 1, .type = S_IFDIR }, { .ino = 3, .type = S_IFDIR }, { .ino = 4,
		.type = S_IFDIR },
		{ .ino = 5, .type = S_IFREG } };
	struct rs_input in = { .links = links, .n_links = n_links, .inodes = n, .n_inodes = 4, .node_p = "p",
		.node_s = "s", .root = 1 };
	struct rs_result r;
	int rc = resolve(&in, &r);

	resolve_release(&r);
	return rc;
}

START_TEST(an_input_that_is_no_tree_is_refused)
{
	struct rs_link two_places[] = { { .id = 8, .child = 3, .p = AT(1, "x") }, { .id = 9, .child = 3, .p = AT(1,
		"y") } };
	struct rs_link loop[] = { { .id = 8, .child = 3, .s = AT(4, "x") }, { .id = 9, .child = 4, .s = AT(3, "y") } };
	struct rs_link twice[] = { { .id = 8, .child = 3, .p = AT(1, "x") }, { .id = 9, .child = 5, .p = AT(1, "x") } };
	struct rs_link in_file[] = { { .id = 8, .child = 3, .p = AT(5, "x") }, { .id = 9, .child = 5, .p = AT(1,
		"x") } };
	struct rs_link no_parent[] = { { .id = 8, .child = 3, .s = AT(99, "x") } };
	struct rs_link gone_parent[] = { { .id = 8, .child = 3, .s = AT(4, "x") }, { .id = 9, .child = 4, .p = AT(1,
		"y") } };
	struct rs_link no_child[] = { { .id = 8, .child = 99, .s = AT(1, "x") } };
	struct rs_link no_name[] = { { .id = 8, .child = 5, .s = AT(1, "") } };
	struct rs_link same_id[] = { { .id = 8, .child = 5, .s = AT(1, "x") }, { .id = 8, .child = 5, .s = AT(1,
		"y") } };
	struct rs_link root_inside[] = { { .id = 8, .child = 1, .s = AT(3, "x") } };
	struct rs_link good[] = { { .id = 8, .child = 3, .s = AT(1, "x") }, { .id = 9, .child = 5, .s = AT(3, "y") } };

	ck_assert_int_eq(refused(two_places, 2), -EUCLEAN);
	ck_assert_int_eq(refused(loop, 2), -EUCLEAN);
	ck_assert_int_eq(refused(twice, 2), -EUCLEAN);
	ck_assert_int_eq(refused(in_file, 2), -EUCLEAN);
	ck_assert_int_eq(refused(no_parent, 1), -EUCLEAN);
	ck_assert_int_eq(refused(gone_parent, 2), -EUCLEAN);
	ck_assert_int_eq(refused(no_child, 1), -EUCLEAN);
	ck_assert_int_eq(refused(no_name, 1), -EUCLEAN);
	ck_assert_int_eq(refused(same_id, 2), -EUCLEAN);
	ck_assert_int_eq(refused(root_inside, 1), -EUCLEAN);
	ck_assert_int_eq(refused(good, 2), 0);
}
END_TEST

/* 200,000 links in one directory and a chain of 20,000 directories: looking at all pairs would take minutes. */
START_TEST(time_grows_with_the_input_not_its_square)
{
	const size_t wide = 200000, deep = 20000, n = wide + deep;
	struct rs_link *l = xcalloc(n, sizeof(*l));
	struct rs_inode *nodes = xcalloc(n + 1, sizeof(*nodes));
	char (*text)[16] = xcalloc(n, sizeof(*text));
	struct rs_input in = { .links = l, .n_links = n, .inodes = nodes, .n_inodes = n + 1, .node_p = "p",
		.node_s = "s", .root = 1 };
	struct rs_result r;
	uint64_t from = clock_mono_ms(), took;

	nodes[n] = (struct rs_inode){ .ino = 1, .type = S_IFDIR };
	for (size_t i = 0; i < n; i++) {
		bool in_chain = i >= wide;
		struct rs_pos at = { .present = true, .parent = in_chain && i > wide ? 10 + i - 1 : 1,
			.name = text[i] };

		/* wide: both made each name, so half of them need another one; deep: P removed all, S made the last */
		at.name_len = (uint16_t)snprintf(text[i], sizeof(text[i]), "%zu", in_chain ? i : i / 2);
		l[i] = (struct rs_link){ .id = 10 + i, .child = 10 + i };
		nodes[i] = (struct rs_inode){ .ino = 10 + i, .type = in_chain ? S_IFDIR : S_IFREG, .in_b = in_chain };
		l[i].s = in_chain || i % 2 ? at : (struct rs_pos){ .present = false };
		l[i].p = !in_chain && i % 2 == 0 ? at : (struct rs_pos){ .present = false };
		l[i].b = in_chain && i + 1 < n ? at : (struct rs_pos){ .present = false };
		nodes[i].in_b = l[i].b.present;
	}
	ck_assert_int_eq(resolve(&in, &r), 0);
	took = clock_mono_ms() - from;
	ck_assert_uint_eq(r.n_own, wide / 2);
	ck_assert_uint_eq(r.n_notes, wide / 2 + deep - 1);
	for (size_t i = 0; i < r.n_links; i++)
		ck_assert(r.links[i].pos.present);
	ck_assert_msg(took < 20000, "%llu ms", (unsigned long long)took);
	resolve_release(&r);
	free(l);
	free(nodes);
	free(text);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("resolver");
	TCase *tc = tcase_create("cases");

	tcase_set_timeout(tc, getenv("TWINFS_SOAK_S") ? 0 : 600);
	tcase_add_test(tc, each_case_of_the_table_comes_out_as_written_in_both_roles);
	tcase_add_loop_test(tc, each_case_comes_out_as_written_beside_others, 0, 1);
	tcase_add_loop_test(tc, every_pair_of_operations_keeps_the_laws, 0, 6);
	tcase_add_test(tc, random_histories_keep_the_laws);
	tcase_add_test(tc, one_side_alone_is_taken_as_it_is);
	tcase_add_loop_test(tc, a_rule_left_out_is_seen, 0, (int)ARRAY_LEN(rules));
	tcase_add_loop_test(tc, a_conflict_name_tells_who_and_when_and_is_not_stacked, 0,
		(int)ARRAY_LEN(conflict_names));
	tcase_add_test(tc, a_long_name_is_cut_at_a_character);
	tcase_add_test(tc, a_name_in_use_outside_the_input_is_not_taken);
	tcase_add_test(tc, attributes_of_both_are_the_primary_s_but_the_later_times);
	tcase_add_test(tc, a_new_directory_of_both_becomes_one_with_what_is_in_it);
	tcase_add_test(tc, an_input_that_is_no_tree_is_refused);
	tcase_add_test(tc, time_grows_with_the_input_not_its_square);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
