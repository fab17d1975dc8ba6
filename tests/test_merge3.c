/* SPDX-License-Identifier: MIT */
/* The line merge against small cases and, for many random ones, against git merge-file (TWINFS_MERGES: how many); and
 * what libmagic tells about contents. */
#include "tests/tap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/merge3.h"
#include "util/util.h"

/* ---- by table */

static const struct {
	const char *base, *ours, *theirs, *want; /* NULL: overlap */
} cases[] = {
	{ "a\nb\nc\n", "a\nb\nc\n", "a\nb\nc\n", "a\nb\nc\n" },
	{ "a\nb\nc\n", "A\nb\nc\n", "a\nb\nc\n", "A\nb\nc\n" },
	{ "a\nb\nc\n", "a\nb\nc\n", "a\nb\nC\n", "a\nb\nC\n" },
	{ "a\nb\nc\n", "A\nb\nc\n", "a\nb\nC\n", "A\nb\nC\n" },
	{ "a\nb\nc\n", "A\nb\nc\n", "a\nB\nc\n", NULL }, /* side by side */
	{ "a\nb\nc\n", "a\nX\nc\n", "a\nY\nc\n", NULL },
	{ "a\nb\nc\n", "a\nX\nc\n", "a\nX\nc\n", "a\nX\nc\n" },
	{ "a\nb\nc\nd\n", "X\nb\nc\nd\n", "X\nb\nc\nY\n", "X\nb\nc\nY\n" },
	{ "a\nb\nc\n", "b\nc\n", "a\nb\n", "b\n" },
	{ "a\nb\n", "a\nb\nc\n", "a\nb\nd\n", NULL }, /* both at the end */
	{ "a\nb\n", "x\na\nb\n", "a\nb\ny\n", "x\na\nb\ny\n" },
	{ "", "a\n", "a\n", "a\n" },
	{ "", "a\n", "b\n", NULL },
	{ "", "", "b\n", "b\n" },
	{ "a\n", "", "a\n", "" },
	{ "a\n", "", "b\n", NULL },
	{ "a\nb\nc", "A\nb\nc", "a\nb\nC", "A\nb\nC" },
	{ "a\nb\nc", "A\nb\nc", "a\nb\nc\n", "A\nb\nc\n" },
	{ "a\r\nb\r\nc\r\n", "A\r\nb\r\nc\r\n", "a\r\nb\r\nC\r\n", "A\r\nb\r\nC\r\n" },
};

START_TEST(changes_apart_are_both_taken_and_changes_that_touch_are_an_overlap)
{
	struct buf out;
	int rc;

	buf_init(&out, 1 << 20);
	ck_assert_int_eq(buf_append(&out, "before", 6), 0);
	rc = merge3_text(cases[_i].base, strlen(cases[_i].base), cases[_i].ours, strlen(cases[_i].ours),
		cases[_i].theirs,
			 strlen(cases[_i].theirs), &out);
	ck_assert_int_eq(rc, cases[_i].want == NULL);
	ck_assert_int_eq(buf_append(&out, "", 1), 0);
	ck_assert(memcmp(out.data, "before", 6) == 0);
	ck_assert_str_eq((char *)out.data + 6, cases[_i].want ? cases[_i].want : "");
	buf_release(&out);
}
END_TEST

/* ---- against git */

#define LINES 200

struct doc {
	uint32_t line[LINES], n;
	bool open_end; /* no newline behind the last line */
};

static unsigned seed;

static uint32_t pick(uint32_t n)
{
	return (uint32_t)rand_r(&seed) % n;
}

/* style 0: as in a program: most lines differ, braces and empty lines recur; else an alphabet of that many lines. */
static uint32_t new_line(uint32_t style)
{
	return style == 0 ? (pick(3) ? 100 + pick(100000) : pick(3)) : pick(style);
}

static void insert_line(struct doc *d, uint32_t at, uint32_t line)
{
	if (d->n == LINES)
		return;
	memmove(d->line + at + 1, d->line + at, (d->n - at) * sizeof(d->line[0]));
	d->line[at] = line;
	d->n++;
}

static void delete_line(struct doc *d, uint32_t at)
{
	memmove(d->line + at, d->line + at + 1, (--d->n - at) * sizeof(d->line[0]));
}

static void edit(struct doc *d, uint32_t style)
{
	uint32_t at = pick(d->n + 1), n = 1 + pick(4), from = pick(d->n + 1);

	switch (pick(6)) {
	case 0:
	case 1:
		while (n-- > 0)
			insert_line(d, at, new_line(style));
		break;
	case 2:
		while (n-- > 0 && at < d->n)
			delete_line(d, at);
		break;
	case 3: /* a stretch copied elsewhere */
		for (; n > 0 && from < d->n; n--)
			insert_line(d, at, d->line[from]);
		break;
	case 4:
		d->open_end = !pick(4);
		break;
	default:
		for (; n > 0 && at < d->n; n--)
			d->line[at++] = new_line(style);
	}
}

static void make_docs(struct doc doc[3])
{
	uint32_t style = pick(3) ? 0 : 2 + pick(5), n = pick(4) ? pick(40) : pick(150), both = pick(3), edits;
	struct doc same;

	doc[0].n = 0;
	doc[0].open_end = !pick(5);
	while (n-- > 0)
		insert_line(&doc[0], doc[0].n, new_line(style));
	same = doc[0];
	while (both-- > 0)
		edit(&same, style);
	for (int i = 1; i < 3; i++) {
		doc[i] = pick(2) ? doc[0] : same;
		for (edits = 1 + pick(4); edits > 0; edits--)
			edit(&doc[i], style);
	}
}

static void render(const struct doc *d, struct buf *out)
{
	buf_init(out, 1 << 20);
	for (uint32_t i = 0; i < d->n; i++) {
		static const char *const often[] = { "}", "", "\treturn 0;" };
		const char *end = i + 1 == d->n && d->open_end ? "" : "\n";

		if (d->line[i] < 3)
			buf_printf(out, "%s%s", often[d->line[i]], end);
		else
			buf_printf(out, "\tline(%u);%s", d->line[i], end);
	}
	buf_append(out, "", 0);
}

static void write_file(const char *dir, const char *name, const struct buf *b)
{
	char *path = xasprintf("%s/%s", dir, name);
	FILE *f = fopen(path, "w");

	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(b->data, 1, b->len_bytes, f), b->len_bytes);
	ck_assert_int_eq(fclose(f), 0);
	free(path);
}

/* What git says: 0 clean, else conflicts. */
static int git_merge(const char *dir, const struct buf text[3], struct buf *out)
{
	char *cmd = xasprintf("cd %s && git merge-file -p ours base theirs", dir), chunk[4096];
	FILE *p;
	size_t n;
	int status;

	write_file(dir, "base", &text[0]);
	write_file(dir, "ours", &text[1]);
	write_file(dir, "theirs", &text[2]);
	p = popen(cmd, "r");
	ck_assert_ptr_nonnull(p);
	buf_init(out, 1 << 20);
	while ((n = fread(chunk, 1, sizeof(chunk), p)) > 0)
		buf_append(out, chunk, n);
	status = pclose(p);
	free(cmd);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) < 128, "git merge-file failed");
	return WEXITSTATUS(status);
}

static bool have_git(void)
{
	return system("git merge-file -h >/dev/null 2>&1") == 129 << 8;
}

START_TEST(random_merges_come_out_as_git_s)
{
	char dir[] = "/tmp/test_merge3.XXXXXX";
	unsigned clean = 0, n = getenv("TWINFS_MERGES") ? (unsigned)strtoul(getenv("TWINFS_MERGES"), NULL, 10) : 1000;
	struct doc doc[3];

	if (!have_git()) {
		printf("# skipped: no git merge-file to compare with\n");
		return;
	}
	ck_assert_ptr_nonnull(mkdtemp(dir));
	for (unsigned i = 0; i < n; i++) {
		struct buf text[3], git, own;
		int theirs, rc;

		seed = i + 1;
		make_docs(doc);
		for (int k = 0; k < 3; k++)
			render(&doc[k], &text[k]);
		theirs = git_merge(dir, text, &git);
		buf_init(&own, 1 << 20);
		rc = merge3_text(text[0].data, text[0].len_bytes, text[1].data, text[1].len_bytes, text[2].data,
			text[2].len_bytes, &own);
		ck_assert_msg(rc == (theirs != 0), "seed %u: git says %d, we say %d", i, theirs, rc);
		if (rc == 0)
			ck_assert_msg(own.len_bytes == git.len_bytes && (own.len_bytes == 0 ||
				      memcmp(own.data, git.data, own.len_bytes) == 0),
				      "seed %u: clean, but not git's result", i);
		clean += rc == 0;
		for (int k = 0; k < 3; k++)
			buf_release(&text[k]);
		buf_release(&git);
		buf_release(&own);
	}
	printf("# %u of %u merges were clean\n", clean, n);
	ck_assert_uint_gt(clean, n / 10);
	ck_assert_uint_lt(clean, n - n / 10);
	for (const char *const *name = (const char *const[]){ "base", "ours", "theirs", NULL }; *name; name++) {
		char *path = xasprintf("%s/%s", dir, *name);

		unlink(path);
		free(path);
	}
	rmdir(dir);
}
END_TEST

/* ---- bounds */

START_TEST(a_text_that_is_too_large_is_refused)
{
	size_t len = MERGE3_MAX_BYTES + 1;
	char *big = xmalloc(len);
	struct buf out;

	memset(big, '\n', len);
	buf_init(&out, 1 << 20);
	ck_assert_int_eq(merge3_text("", 0, big, len, "", 0, &out), -EFBIG);
	ck_assert_uint_eq(out.len_bytes, 0);
	buf_release(&out);
	free(big);
}
END_TEST

START_TEST(a_text_of_the_largest_size_is_merged)
{
	size_t len = MERGE3_MAX_BYTES;
	char *base = xmalloc(len), *ours = xmalloc(len), *theirs = xmalloc(len);
	struct buf out;

	for (size_t i = 0; i < len; i++) /* lines of three bytes and an end, mostly different */
		base[i] = i % 4 == 3 ? '\n' : (char)('0' + (i / 4 >> (i % 4 * 6) & 63));
	memcpy(ours, base, len);
	memcpy(theirs, base, len);
	ours[1000] = theirs[len - 1000] = '~';
	buf_init(&out, MERGE3_MAX_BYTES);
	ck_assert_int_eq(merge3_text(base, len, ours, len, theirs, len, &out), 0);
	ck_assert_uint_eq(out.len_bytes, len);
	ck_assert(out.data[1000] == '~' && out.data[len - 1000] == '~');
	buf_release(&out);
	free(base);
	free(ours);
	free(theirs);
}
END_TEST

START_TEST(too_many_differences_end_in_bounded_time)
{
	size_t n = 400000;
	char *base = xmalloc(n * 2), *ours = xmalloc(n * 2);
	uint64_t from = clock_mono_ms();
	struct buf out;

	seed = 1;
	for (size_t i = 0; i < n; i++) { /* few different lines in two random orders: the worst there is */
		base[2 * i] = (char)('a' + pick(20));
		ours[2 * i] = (char)('a' + pick(20));
		base[2 * i + 1] = ours[2 * i + 1] = '\n';
	}
	buf_init(&out, MERGE3_MAX_BYTES);
	ck_assert_int_eq(merge3_text(base, n * 2, ours, n * 2, base, n * 2, &out), -EFBIG);
	ck_assert_uint_eq(out.len_bytes, 0);
	ck_assert_uint_lt(clock_mono_ms() - from, 20000);
	buf_release(&out);
	free(base);
	free(ours);
}
END_TEST

/* ---- kinds */

static const struct {
	const char *name, *head;
	size_t len;
	enum content_kind want;
} kinds[] = {
#define KIND(name, head, kind) { name, head, sizeof(head) - 1, kind }
	KIND("notes.txt", "Some words, as people write them.\nAnd more of them.\n", CONTENT_TEXT),
	KIND("notes", "Grüße aus der Küche.\nBis bald.\n", CONTENT_TEXT),
	KIND("main.c", "#include <stdio.h>\nint main(void)\n{\n\treturn 0;\n}\n", CONTENT_TEXT),
	KIND("run.sh", "#!/bin/sh\necho hello\n", CONTENT_TEXT),
	KIND("a.json", "{\"a\": 1,\n \"b\": [1, 2, 3],\n \"c\": {\"d\": null}}\n", CONTENT_TEXT),
	KIND("a.xml", "<?xml version=\"1.0\"?>\n<a>\n<b/>\n</a>\n", CONTENT_TEXT),
	KIND("a.svg", "<?xml version=\"1.0\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\">\n</svg>\n", CONTENT_TEXT),
	KIND("web.log", "one line of a log\nanother line of it\n", CONTENT_LOG),
	KIND("WEB.LOG", "one line of a log\nanother line of it\n", CONTENT_LOG),
	KIND("log", "one line of a log\nanother line of it\n", CONTENT_TEXT),
	KIND(".log", "one line of a log\nanother line of it\n", CONTENT_TEXT),
	KIND("a.ps", "%!PS-Adobe-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n", CONTENT_STRUCTURED),
	KIND("control.txt", "wo\001rds\n\002and more\003\n\004\005\006\016\017\n", CONTENT_DATA),
	KIND("empty", "", CONTENT_DATA),
	KIND("empty.log", "", CONTENT_LOG),
	KIND("raw.bin", "\x01\x92\xf3\x00\x04\xa5\xe6\x07\xfe\xdc\x00\xba", CONTENT_DATA),
	KIND("raw.log", "\x01\x92\xf3\x00\x04\xa5\xe6\x07\xfe\xdc\x00\xba", CONTENT_LOG),
	KIND("a.zip",
	"PK\x03\x04\x14\x00\x00\x00\x08\x00\xd6\x8dv](x\x8b\xc8\x0c\x00\x00\x00\xf4\x01\x00\x00\x01\x00\x00\x00z"
	     "\xcbH\xcd\xc9\xc9\xcf\x18""E\xa1\x88\x00PK\x01\x02\x14\x03\x14\x00\x00\x00\x08\x00", CONTENT_STRUCTURED),
	KIND("a.gz", "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b\x04\x00", CONTENT_STRUCTURED),
	KIND("gz.log", "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x4b\x04\x00", CONTENT_STRUCTURED),
	KIND("a.png", "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00",
	CONTENT_STRUCTURED),
	KIND("a.pdf", "%PDF-1.4\n%\xe2\xe3\xcf\xd3\n1 0 obj\n", CONTENT_STRUCTURED),
	KIND("a.db",
	"SQLite format 3\x00\x10\x00\x01\x01\x00\x40\x20\x20\x00\x00\x00\x02\x00\x00\x00\x02\x00\x00\x00\x00",
	     CONTENT_STRUCTURED),
	KIND("a.txt", "\xff\xfeW\x00o\x00r\x00""d\x00s\x00\n\x00m\x00o\x00r\x00""e\x00\n\x00", CONTENT_STRUCTURED),
};

START_TEST(the_kind_of_content_is_told_by_its_bytes)
{
	ck_assert_int_eq(content_kind(kinds[_i].name, kinds[_i].head, kinds[_i].len), kinds[_i].want);
}
END_TEST

START_TEST(without_a_database_text_is_text_and_nothing_else_is_merged)
{
	static const char half[] = "word \xe2\x82"; /* ends in the middle of a character */

	setenv("MAGIC", "/nonexistent/magic", 1);
	ck_assert_int_eq(content_kind("a", "words\n", 6), CONTENT_TEXT);
	ck_assert_int_eq(content_kind("a.log", "words\n", 6), CONTENT_LOG);
	ck_assert_int_eq(content_kind("a", half, sizeof(half) - 1), CONTENT_TEXT);
	ck_assert_int_eq(content_kind("a", "wo\0rds", 6), CONTENT_STRUCTURED);
	ck_assert_int_eq(content_kind("a", "\xff\xfe", 2), CONTENT_STRUCTURED);
	ck_assert_int_eq(content_kind("a", "\xc0\x80", 2), CONTENT_STRUCTURED);
	ck_assert_int_eq(content_kind("a", "", 0), CONTENT_DATA);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("merge3");
	TCase *tc = tcase_create("merge3");

	tcase_set_timeout(tc, 300);
	tcase_add_loop_test(tc, changes_apart_are_both_taken_and_changes_that_touch_are_an_overlap, 0,
		(int)ARRAY_LEN(cases));
	tcase_add_test(tc, random_merges_come_out_as_git_s);
	tcase_add_test(tc, a_text_that_is_too_large_is_refused);
	tcase_add_test(tc, a_text_of_the_largest_size_is_merged);
	tcase_add_test(tc, too_many_differences_end_in_bounded_time);
	suite_add_tcase(s, tc);
	tc = tcase_create("kind");
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, the_kind_of_content_is_told_by_its_bytes, 0, (int)ARRAY_LEN(kinds));
	if (!getenv("CK_FORK")) /* it must be the first in its process that asks */
		tcase_add_test(tc, without_a_database_text_is_text_and_nothing_else_is_merged);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
