/* SPDX-License-Identifier: MIT */
/*
 * Data that both sides changed while apart, by table, in both roles: what is merged by ranges, what is an overlap, and
 * how long the result is. Then the same of what the secondary does next, before it has heard of the merge: what counts
 * is what it had, not what the merge made of that. The versions are made once more in memory, and compared byte by
 * byte.
 */
#include "tests/pair_fixture.h"

enum { BASE_BYTES = 40960, MOST_BYTES = 131072 };

enum kind { END, WRITE, VALUE, SAME, SIZE, PUNCH, ZERO };
struct op { /* WRITE: bytes of the side's own, VALUE: of them the first three as they were, SAME: bytes that are the
	     * same for both; SIZE: len is the size */
	enum kind kind;
	uint64_t off, len;
};
#define W(off, len) { WRITE, off, len }
#define V(off, len) { VALUE, off, len }
#define SAME_BYTES(off, len) { SAME, off, len }
#define T(size) { SIZE, 0, size }
#define PUNCHED(off, len) { PUNCH, off, len }
#define ZEROED(off, len) { ZERO, off, len }

enum outcome {
	EQUAL, /* nothing to decide, and no row */
	MERGED,
	KEPT,  /* the primary's in place, the secondary's beside it */
};

static const struct row {
	const char *name;
	struct op x[3], y[3];
	enum outcome outcome;
	uint64_t x_size, y_size; /* of what is merged, when x, when y is the primary */
} rows[] = {
	{ "the same bytes written", { SAME_BYTES(100, 50) }, { SAME_BYTES(100, 50) }, EQUAL, 0, 0 },
	{ "the same bytes at the end", { SAME_BYTES(40960, 50) }, { SAME_BYTES(40960, 50) }, EQUAL, 0, 0 },
	{ "the same cut", { T(10000) }, { T(10000) }, EQUAL, 0, 0 },
	{ "the same growth", { T(60000) }, { T(60000) }, EQUAL, 0, 0 },
	{ "the same range punched and zeroed", { PUNCHED(5000, 9000) }, { ZEROED(5000, 9000) }, EQUAL, 0, 0 },
	{ "cut to nothing and written as it was cut", { T(0), SAME_BYTES(0, 50) }, { SAME_BYTES(0, 50), T(50) }, EQUAL,
		0, 0 },
	{ "different blocks", { W(100, 50) }, { W(20000, 50) }, MERGED, 40960, 40960 },
	{ "one block, different bytes", { W(100, 50) }, { W(200, 50) }, MERGED, 40960, 40960 },
	{ "bytes that touch", { W(100, 50) }, { W(150, 50) }, MERGED, 40960, 40960 },
	{ "bytes in between", { W(100, 50), W(300, 50) }, { W(200, 50), W(400, 50) }, MERGED, 40960, 40960 },
	{ "one byte in common", { W(100, 51) }, { W(150, 50) }, KEPT, 0, 0 },
	{ "of a value written anew only bytes that are as they were", { V(149, 16) }, { W(120, 32) }, KEPT, 0, 0 },
	{ "one inside the other", { W(100, 5000) }, { W(200, 50) }, KEPT, 0, 0 },
	{ "some in common, some not", { W(100, 50), W(300, 50) }, { W(300, 50), W(30000, 50) }, KEPT, 0, 0 },
	{ "the first byte and the last", { W(0, 1) }, { W(40959, 1) }, MERGED, 40960, 40960 },
	{ "cut/written in the part that is left", { T(10000) }, { W(100, 50) }, MERGED, 10000, 10000 },
	{ "cut/written to the last byte that is left", { T(10000) }, { W(9950, 50) }, MERGED, 10000, 10000 },
	{ "cut/written in the part cut off", { T(10000) }, { W(20000, 50) }, KEPT, 0, 0 },
	{ "cut/written across the cut", { T(10000) }, { W(9990, 50) }, KEPT, 0, 0 },
	{ "cut and grown again/written in the part cut off", { T(10000), T(40960) }, { W(20000, 50) }, KEPT, 0, 0 },
	{ "cut and grown again/written in the part left", { T(10000), T(40960) }, { W(100, 50) }, MERGED, 40960,
		40960 },
	{ "cut to nothing and written anew/written", { T(0), W(0, 40960) }, { W(20000, 50) }, KEPT, 0, 0 },
	{ "cut/cut shorter", { T(20000) }, { T(10000) }, MERGED, 20000, 10000 },
	{ "cut/cut to nothing", { T(20000) }, { T(0) }, MERGED, 20000, 0 },
	{ "cut and written in the part left/cut shorter", { W(100, 50), T(20000) }, { T(10000) }, MERGED, 20000,
		10000 },
	{ "cut/cut shorter and written on", { T(20000) }, { T(10000), W(10000, 50) }, KEPT, 0, 0 },
	{ "cut/appended", { T(10000) }, { W(40960, 50) }, KEPT, 0, 0 },
	{ "cut/written far beyond the end", { T(10000) }, { W(90000, 50) }, KEPT, 0, 0 },
	{ "cut/grown", { T(10000) }, { T(60000) }, KEPT, 0, 0 },
	{ "grown/written below the old end", { T(60000) }, { W(100, 50) }, MERGED, 60000, 60000 },
	{ "grown/written below the new end", { T(60000) }, { W(50000, 50) }, MERGED, 60000, 60000 },
	{ "grown/written beyond the new end", { T(60000) }, { W(90000, 50) }, MERGED, 90050, 90050 },
	{ "grown/grown further", { T(60000) }, { T(80000) }, MERGED, 80000, 80000 },
	{ "appended/written below", { W(40960, 50) }, { W(100, 50) }, MERGED, 41010, 41010 },
	{ "appended/appended", { W(40960, 50) }, { W(40960, 20) }, KEPT, 0, 0 },
	{ "appended/written further on", { W(40960, 50) }, { W(50000, 50) }, MERGED, 50050, 50050 },
	{ "punched/written in the hole", { PUNCHED(5000, 9000) }, { W(6000, 50) }, KEPT, 0, 0 },
	{ "punched/written elsewhere", { PUNCHED(5000, 9000) }, { W(100, 50) }, MERGED, 40960, 40960 },
	{ "punched/punched in part the same", { PUNCHED(4096, 8192) }, { PUNCHED(8192, 8192) }, KEPT, 0, 0 },
	{ "punched/cut before the hole", { PUNCHED(20000, 5000) }, { T(10000) }, KEPT, 0, 0 },
	{ "zeroed/written in it", { ZEROED(5000, 9000) }, { W(6000, 50) }, KEPT, 0, 0 },
	{ "zeroed/written elsewhere", { ZEROED(5000, 9000) }, { W(100, 50) }, MERGED, 40960, 40960 },
};

struct version {
	uint8_t p[MOST_BYTES], touched[MOST_BYTES];
	uint64_t size, cut_at; /* UINT64_MAX: not cut */
};

/* No known format to libmagic. */
static void base_version(struct version *v)
{
	uint32_t x = 1;

	memset(v, 0, sizeof(*v));
	v->size = BASE_BYTES;
	v->cut_at = UINT64_MAX;
	for (size_t i = 0; i < BASE_BYTES; i++) {
		x = x * 1664525 + 1013904223;
		v->p[i] = (uint8_t)(x >> 24);
	}
	memcpy(v->p, "\x00\x01\xfe\xff", 4);
}

static void put(struct version *v, uint64_t off, uint64_t len, int byte)
{
	memset(v->p + off, byte, len);
	memset(v->touched + off, 1, len);
	v->size = MAX(v->size, off + len);
}

/* On side i, and in memory. Each round of them writes bytes that no other does. */
static void carry_out(int i, struct version *v, const struct op ops[3], int round)
{
	uint64_t ino = px_at(i, "x.bin");
	uint8_t *bytes = xmalloc(MOST_BYTES);

	for (int k = 0; k < 3 && ops[k].kind != END; k++) {
		const struct op *o = &ops[k];
		int byte = o->kind == SAME ? 0xaa : o->kind == WRITE || o->kind == VALUE ? 0xb0 + 0x10 * round + i : 0;
		int rc = 0;
		struct attr a = { .size_bytes = o->len };

		memset(bytes, byte, MOST_BYTES);
		switch (o->kind) {
		case SIZE:
			memset(v->p + o->len, 0, MOST_BYTES - o->len);
			if (o->len < v->size)
				v->cut_at = MIN(v->cut_at, o->len);
			v->size = o->len;
			rc = volume_setattr(px[i].v, ino, SET_SIZE, &a, NULL);
			break;
		case PUNCH:
		case ZERO:
			put(v, o->off, o->len, 0);
			rc = volume_fallocate(px[i].v, ino, o->kind == PUNCH
				? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE : FALLOC_FL_ZERO_RANGE, o->off, o->len);
			break;
		default:
			memcpy(bytes, v->p + o->off, o->kind == VALUE ? 3 : 0);
			put(v, o->off, o->len, byte);
			memcpy(v->p + o->off, bytes, o->kind == VALUE ? 3 : 0);
			px_write(i, "x.bin", bytes, o->len, o->off);
		}
		ck_assert_int_eq(rc, 0);
	}
	free(bytes);
}

static void expect_version(const char *path, const struct version *v, const char *what)
{
	for (int i = 0; i < 2; i++) {
		uint8_t *got = xmalloc(MOST_BYTES);
		ssize_t n = volume_read(px[i].v, px_at(i, path), got, MOST_BYTES, 0);

		ck_assert_msg(px_stat(i, path).size_bytes == v->size && n == (ssize_t)MIN(v->size, MOST_BYTES),
			      "%s, side %d: %s has %zd bytes, not %llu", what, i, path, n, (unsigned long long)v->size);
		for (size_t k = 0; k < (size_t)n; k++)
			if (got[k] != v->p[k])
				ck_abort_msg("%s, side %d: byte %zu of %s is %#x, not %#x", what, i, k, path, got[k],
					     v->p[k]);
		free(got);
	}
}

/* Each byte is that of the side that touched it; where nobody did it is as it was. Of two cuts the primary's counts. */
static void merge_versions(const struct version *p, const struct version *s, uint64_t size, struct version *out)
{
	base_version(out);
	for (size_t i = 0; i < MIN(size, MOST_BYTES); i++)
		if (p->touched[i] || s->touched[i])
			out->p[i] = p->touched[i] ? p->p[i] : s->p[i];
		else if (p->cut_at <= i || (p->cut_at == UINT64_MAX && s->cut_at <= i))
			out->p[i] = 0;
	out->size = size;
}

static void expect_rows(const struct row *r)
{
	struct volume_info info;

	for (int i = 0; i < 2; i++) {
		volume_info(px[i].v, &info);
		ck_assert_msg(info.conflicts_open == (r->outcome == KEPT) &&
			      info.conflicts_merged == (r->outcome == MERGED), "%s, side %d: %llu open, %llu merged",
			      r->name, i, (unsigned long long)info.conflicts_open,
			      (unsigned long long)info.conflicts_merged);
	}
}

START_TEST(each_case_comes_out_as_written_whoever_is_primary)
{
	const struct row *r = &rows[_i / 2];
	bool x_first = _i % 2 == 0;
	struct version *v = xmalloc(3 * sizeof(*v));

	base_version(&v[0]);
	px_make(0, "x.bin", S_IFREG | 0644);
	px_write(0, "x.bin", v[0].p, BASE_BYTES, 0);
	v[1] = v[0];
	px_meet();
	px_down();
	carry_out(0, &v[0], x_first ? r->x : r->y, 0);
	carry_out(1, &v[1], x_first ? r->y : r->x, 0);
	px_meet();
	expect_rows(r);
	if (r->outcome == MERGED)
		merge_versions(&v[0], &v[1], x_first ? r->x_size : r->y_size, &v[2]);
	expect_version("x.bin", r->outcome == MERGED ? &v[2] : &v[0], r->name);
	if (r->outcome == KEPT)
		expect_version(px_find(0, "", "x.conflict-birch-"), &v[1], r->name);
	ck_assert_uint_eq(px_count(0, ""), r->outcome == KEPT ? 2 : 1);
	free(v);
}
END_TEST

/* ---- what the secondary does next */

enum next {
	GOES_ON,   /* it has heard nothing */
	RENAMED,   /* and here the file has a name by which it is merged line by line */
	SAVED,     /* and here the file was saved anew, with other bytes changed */
	HEARD,     /* it has heard of something else that was done here before it said the first */
	HEARD_RENAMED,
	HEARD_SAVED,
	HEARD_BACK, /* and what was written here is as it was before, since then */
};

static const struct next_row {
	const char *name;
	struct op p[3], s[3], s2[3]; /* p: of the primary, s and s2: of the secondary */
	enum next next;
	enum outcome outcome;        /* of s2 */
	uint64_t size;               /* of what is merged; 0: the base's */
	bool any_size;               /* sizes are not what it is about: a large file, too */
} next_rows[] = {
	{ "over ours, in another block", { W(100, 50) }, { W(20000, 50) }, { W(120, 50) }, GOES_ON, KEPT, 0, true },
	{ "over ours, in one block", { W(100, 50) }, { W(200, 50) }, { W(120, 50) }, GOES_ON, KEPT, 0, true },
	{ "over ours, in one block, lines", { W(100, 50) }, { W(200, 50) }, { W(120, 50) }, RENAMED, KEPT, 0, true },
	{ "over ours, in another block, lines", { W(100, 50) }, { W(20000, 50) }, { W(120, 50) }, RENAMED, KEPT, 0,
		true },
	{ "over ours, in one block, saved", { W(100, 50) }, { W(200, 50) }, { W(120, 50) }, SAVED, KEPT, 0, true },
	{ "over ours, in another block, saved", { W(100, 50) }, { W(20000, 50) }, { W(120, 50) }, SAVED, KEPT, 0,
		true },
	{ "over ours, whole blocks", { W(4096, 8192) }, { W(20480, 8192) }, { W(8192, 4096) }, GOES_ON, KEPT, 0, true },
	{ "over ours, in one block, heard of others", { W(100, 50) }, { W(200, 50) }, { W(120, 50) }, HEARD, KEPT, 0,
		true },
	{ "over ours, in one block, lines, heard of others", { W(100, 50) }, { W(200, 50) }, { W(120, 50) },
		HEARD_RENAMED, KEPT, 0, true },
	{ "over ours, in one block, saved, heard of others", { W(100, 50) }, { W(200, 50) }, { W(120, 50) },
		HEARD_SAVED, KEPT, 0, true },
	{ "over ours, which is gone again", { W(100, 50) }, { W(20000, 50) }, { W(120, 50) }, HEARD_BACK, MERGED, 0,
		true },
	{ "over its own", { W(100, 50) }, { W(200, 50) }, { W(210, 50) }, GOES_ON, MERGED, 0, true },
	{ "over its own, heard of others", { W(100, 50) }, { W(200, 50) }, { W(210, 50) }, HEARD, MERGED, 0, true },
	{ "over its own, whole blocks", { W(4096, 8192) }, { W(20480, 8192) }, { W(24576, 8192) }, GOES_ON, MERGED, 0,
		true },
	{ "elsewhere", { W(100, 50) }, { W(200, 50) }, { W(300, 50) }, GOES_ON, MERGED, 0, true },
	{ "its own and ours", { W(100, 50) }, { W(200, 50) }, { W(200, 50), W(149, 1) }, GOES_ON, KEPT, 0, true },
	{ "its own, to be zeros", { W(100, 50) }, { W(200, 50) }, { ZEROED(150, 100) }, GOES_ON, MERGED, 0, true },
	{ "a hole over ours", { W(4196, 50) }, { W(5000, 50) }, { PUNCHED(4096, 4096) }, GOES_ON, KEPT, 0, true },
	{ "a hole over its own", { W(100, 50) }, { W(5000, 50) }, { PUNCHED(4096, 4096) }, GOES_ON, MERGED, 0, true },
	{ "on behind its own end", { W(100, 50) }, { W(40960, 50) }, { W(41010, 50) }, GOES_ON, MERGED, 41060, false },
	{ "its own end once more", { W(40900, 50) }, { W(40960, 50) }, { W(40980, 80) }, GOES_ON, MERGED, 41060,
		false },
	{ "over ours, its end is another", { W(40900, 50) }, { W(40960, 50) }, { W(40940, 30) }, GOES_ON, KEPT, 0,
		false },
	{ "over ours that it has not", { W(40960, 50) }, { W(100, 50) }, { W(40960, 20) }, GOES_ON, KEPT, 0, false },
	{ "grown by bytes and by size", { W(100, 50) }, { W(40960, 50), T(60000) }, { W(120, 50) }, GOES_ON, KEPT, 0,
		false },
	{ "cut, grown by bytes and by size", { W(9000, 50) }, { T(10000), W(41000, 50), T(60000) }, { W(9020, 50) },
		GOES_ON, KEPT, 0, false },
	{ "cut in the block of ours", { W(9000, 50) }, { T(10000) }, { W(9020, 50) }, GOES_ON, KEPT, 0, false },
	{ "cut in the block of ours, lines", { W(9000, 50) }, { T(10000) }, { W(9020, 50) }, RENAMED, KEPT, 0, false },
	{ "cut, and then shorter", { W(9000, 50) }, { T(30000) }, { T(10000) }, GOES_ON, MERGED, 10000, false },
	{ "cut, and then into ours", { W(9000, 50) }, { T(30000) }, { T(9010) }, GOES_ON, KEPT, 0, false },
	{ "cut behind its own", { W(100, 50) }, { W(20000, 50) }, { T(20010) }, GOES_ON, MERGED, 20010, false },
	{ "cut by us, its own once more", { T(10000) }, { W(100, 50) }, { W(110, 50) }, GOES_ON, MERGED, 10000, false },
	{ "cut by us, over what is gone", { T(10000) }, { W(9900, 50) }, { W(9990, 50) }, GOES_ON, KEPT, 0, false },
};

enum { LARGE_BYTES = 9 << 20, GOES_ON_KINDS = 2 };

/* What the primary does meanwhile; the name of the file then. */
static const char *meanwhile(enum next next, struct version *v)
{
	uint8_t *all = xmalloc(LARGE_BYTES);
	uint64_t size = px_stat(0, "x.bin").size_bytes;

	if (next == RENAMED || next == HEARD_RENAMED)
		px_rename(0, "x.bin", "x.log");
	if (next == SAVED || next == HEARD_SAVED) {
		ck_assert_int_eq(volume_read(px[0].v, px_at(0, "x.bin"), all, size, 0), (int)size);
		memset(all + 30000, 0xee, 50);
		put(v, 30000, 50, 0xee);
		px_make(0, "x.new", S_IFREG | 0644);
		px_write(0, "x.new", all, size, 0);
		px_rename(0, "x.new", "x.bin");
	}
	free(all);
	return next == RENAMED || next == HEARD_RENAMED ? "x.log" : "x.bin";
}

static bool is_heard(enum next next)
{
	return next >= HEARD;
}

/* The first 50 bytes that the primary wrote are as they were. */
static void write_back(const struct next_row *r, struct version *v, struct version *was)
{
	const uint64_t off = r->p[0].off;

	base_version(was);
	px_write(0, "x.bin", was->p + off, 50, off);
	memcpy(v->p + off, was->p + off, 50);
	memset(v->touched + off, 0, 50);
}

static void begin_next(const struct next_row *r, bool large, struct version *v)
{
	struct attr a = { .size_bytes = LARGE_BYTES };

	base_version(&v[0]);
	px_make(0, "x.bin", S_IFREG | 0644);
	px_write(0, "x.bin", v[0].p, BASE_BYTES, 0);
	if (large) {
		px_set(0, "x.bin", SET_SIZE, a);
		v[0].size = LARGE_BYTES;
	}
	v[1] = v[0];
	px_meet();
	px_down();
	carry_out(0, &v[0], r->p, 0);
	carry_out(1, &v[1], r->s, 0);
}

/* Test number _i: the row, and whether the file is too large for its versions to be kept. */
START_TEST(what_the_secondary_does_next_is_on_top_of_what_it_has)
{
	const struct next_row *r = &next_rows[_i / GOES_ON_KINDS];
	bool large = _i % GOES_ON_KINDS;
	struct version *v = xmalloc(3 * sizeof(*v));
	const char *name, *copy;

	if (large && !r->any_size) {
		free(v);
		return;
	}
	begin_next(r, large, v);
	px_hello();
	if (is_heard(r->next)) { /* of ours as well: but its own stand against them */
		px_put(0, "other", "something else\n");
		px_send(0);
	}
	if (r->next == HEARD_BACK)
		write_back(r, &v[0], &v[2]);
	px_send(1);
	merge_versions(&v[0], &v[1], px_stat(0, "x.bin").size_bytes, &v[2]);
	carry_out(1, &v[1], r->s2, 1);
	name = meanwhile(r->next, &v[2]);
	px_send(1);
	px_meet();
	copy = px_find(0, "", "x.conflict-birch-");
	ck_assert_msg((*copy != '\0') == (r->outcome == KEPT), "%s: '%s' is there", r->name, copy);
	if (r->outcome == KEPT) {
		expect_version(copy, &v[1], r->name);
	} else {
		merge_versions(&v[0], &v[1], r->size ? r->size : v[1].size, &v[2]);
	}
	expect_version(name, &v[2], r->name);
	free(v);
}
END_TEST

/* What was cut and then deleted here comes back for a name that the secondary gave it: cut, whatever it does next. */
START_TEST(a_cut_counts_though_the_file_was_deleted_after_it)
{
	static const struct op cut[3] = { T(10000) }, on[2][3] = { { W(40960, 50) }, { W(100, 50) } };
	struct version *v = xmalloc(3 * sizeof(*v));
	const char *copy;

	base_version(&v[0]);
	px_make(0, "x.bin", S_IFREG | 0644);
	px_write(0, "x.bin", v[0].p, BASE_BYTES, 0);
	v[1] = v[0];
	px_meet();
	carry_out(0, &v[0], cut, 0);
	px_say(0); /* so there is history of it */
	px_unlink(0, "x.bin");
	px_link(1, "x.bin", "y.bin");
	px_send(1);
	ck_assert_uint_eq(px_stat(0, "y.bin").size_bytes, 10000);
	carry_out(1, &v[1], on[_i], 1);
	px_meet();
	copy = px_find(0, "", "y.conflict-birch-");
	if (_i == 0) {
		ck_assert_str_ne(copy, "");
		expect_version(copy, &v[1], "the secondary's");
	} else {
		ck_assert_str_eq(copy, "");
		merge_versions(&v[0], &v[1], 10000, &v[2]);
		v[0] = v[2];
	}
	expect_version("y.bin", &v[0], "ours");
	free(v);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ranges");
	TCase *tc = tcase_create("table");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, px_setup, px_teardown);
	tcase_add_loop_test(tc, each_case_comes_out_as_written_whoever_is_primary, 0, 2 * (int)ARRAY_LEN(rows));
	suite_add_tcase(s, tc);
	tc = tcase_create("next");
	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, px_setup, px_teardown);
	tcase_add_loop_test(tc, what_the_secondary_does_next_is_on_top_of_what_it_has, 0,
			    GOES_ON_KINDS * (int)ARRAY_LEN(next_rows));
	tcase_add_loop_test(tc, a_cut_counts_though_the_file_was_deleted_after_it, 0, 2);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
