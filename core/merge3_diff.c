/* SPDX-License-Identifier: MIT */
#include "core/merge3_diff.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "util/util.h"

/* Half the edits in one stretch, beyond which we give up: nobody wants a line merge of two texts with so little in
 * common. */
#define MAX_COST 2048
/* How far around a line that is everywhere we look for lines that are nowhere else, and how many of these it takes. */
#define NEAR_LINES 100
#define NOWHERE_SHARE 4
#define EVERYWHERE_MAX 1024

struct side {
	const struct diff_file *f;
	uint8_t *changed;       /* n + 2, the first is a guard: changed[i + 1] belongs to line i */
	uint32_t *kept, *kept_cls; /* the lines compared at all, and what they are */
	uint32_t n_kept;
};

struct differ {
	struct side a, b;
	int32_t *fwd, *bwd; /* furthest line of a reached on each diagonal; index 0 is far enough below the middle */
	uint64_t *work;
};

/* ---- lines not worth comparing */

static uint32_t about_sqrt(uint32_t n)
{
	uint32_t r = 1;

	for (; n > 0; n >>= 2)
		r <<= 1;
	return r;
}

enum hits { NOWHERE, SOMEWHERE, EVERYWHERE }; /* in the other file */

/* Walk away from line i in one direction while lines are nowhere or everywhere; count both. */
static void count_near(const uint8_t *hits, int64_t i, int64_t stop, int64_t step, uint32_t *nowhere,
	uint32_t *everywhere)
{
	for (i += step; i != stop && hits[i] != SOMEWHERE; i += step) {
		*nowhere += hits[i] == NOWHERE;
		*everywhere += hits[i] == EVERYWHERE;
	}
}

/* A line that is everywhere (a brace, an empty line) amid lines that are nowhere would only tie unrelated places
 * together. */
static bool is_noise(const uint8_t *hits, int64_t i, int64_t first, int64_t last)
{
	uint32_t nowhere_up = 0, nowhere_down = 0, everywhere = 2;

	count_near(hits, i, MAX(first, i - NEAR_LINES) - 1, -1, &nowhere_up, &everywhere);
	if (nowhere_up == 0)
		return false;
	count_near(hits, i, MIN(last, i + NEAR_LINES) + 1, 1, &nowhere_down, &everywhere);
	if (nowhere_down == 0)
		return false;
	return everywhere * NOWHERE_SHARE < everywhere + nowhere_up + nowhere_down;
}

static int keep_lines(struct side *s, const struct diff_file *other, uint32_t first, uint32_t end)
{
	uint32_t limit = MIN(about_sqrt(s->f->n), EVERYWHERE_MAX);
	uint8_t *hits = malloc((size_t)s->f->n + 1);

	if (!hits)
		return -ENOMEM;
	for (uint32_t i = first; i < end; i++) {
		uint32_t n = other->count[s->f->cls[i]];

		hits[i] = n == 0 ? NOWHERE : n >= limit ? EVERYWHERE : SOMEWHERE;
	}
	for (uint32_t i = first; i < end; i++) {
		if (hits[i] == SOMEWHERE || (hits[i] == EVERYWHERE && !is_noise(hits, i, first, (int64_t)end - 1))) {
			s->kept[s->n_kept] = i;
			s->kept_cls[s->n_kept++] = s->f->cls[i];
		} else {
			s->changed[i + 1] = 1;
		}
	}
	free(hits);
	return 0;
}

/* ---- Myers */

struct box { /* of kept lines: [a0, a1) against [b0, b1) */
	int64_t a0, a1, b0, b1;
};

/*
 * Walk from both corners of the box, one edit more in each round, until the two meet: there the box is divided.
 * Diagonal d is a - b. Both ends' diagonals are kept around their own corner's, so MAX_COST bounds the arrays.
 */
static int find_middle(struct differ *x, const struct box *box, int64_t *mid_a, int64_t *mid_b)
{
	const uint32_t *a = x->a.kept_cls, *b = x->b.kept_cls;
	const int64_t d_min = box->a0 - box->b1, d_max = box->a1 - box->b0, f_mid = box->a0 - box->b0,
		b_mid = box->a1 - box->b1;
	int64_t f_min = f_mid, f_max = f_mid, b_min = b_mid, b_max = b_mid;
	int32_t *fwd = x->fwd + MAX_COST + 2, *bwd = x->bwd + MAX_COST + 2;
	const bool odd = (f_mid - b_mid) & 1;
#define FWD(d) fwd[(d) - f_mid]
#define BWD(d) bwd[(d) - b_mid]

	FWD(f_mid) = (int32_t)box->a0;
	BWD(b_mid) = (int32_t)box->a1;
	for (int cost = 1; cost <= MAX_COST; cost++) {
		if (f_min > d_min)
			FWD(--f_min - 1) = -1;
		else
			++f_min;
		if (f_max < d_max)
			FWD(++f_max + 1) = -1;
		else
			--f_max;
		for (int64_t d = f_max; d >= f_min; d -= 2) {
			int64_t i = FWD(d - 1) >= FWD(d + 1) ? FWD(d - 1) + 1 : FWD(d + 1), from = i, k = i - d;

			for (; i < box->a1 && k < box->b1 && a[i] == b[k]; i++)
				k++;
			FWD(d) = (int32_t)i;
			*x->work -= MIN(*x->work, (uint64_t)(i - from) + 1);
			if (odd && b_min <= d && d <= b_max && BWD(d) <= i) {
				*mid_a = i;
				*mid_b = k;
				return 0;
			}
		}
		if (b_min > d_min)
			BWD(--b_min - 1) = INT32_MAX;
		else
			++b_min;
		if (b_max < d_max)
			BWD(++b_max + 1) = INT32_MAX;
		else
			--b_max;
		for (int64_t d = b_max; d >= b_min; d -= 2) {
			int64_t i = BWD(d - 1) < BWD(d + 1) ? BWD(d - 1) : BWD(d + 1) - 1, from = i, k = i - d;

			for (; i > box->a0 && k > box->b0 && a[i - 1] == b[k - 1]; i--)
				k--;
			BWD(d) = (int32_t)i;
			*x->work -= MIN(*x->work, (uint64_t)(from - i) + 1);
			if (!odd && f_min <= d && d <= f_max && i <= FWD(d)) {
				*mid_a = i;
				*mid_b = k;
				return 0;
			}
		}
		if (*x->work == 0)
			break;
	}
	return -EFBIG;
#undef FWD
#undef BWD
}

/* Depth: each level has fewer edits than the one above, and the first one has at most 2 * MAX_COST. */
static int compare_box(struct differ *x, struct box box)
{
	struct box rest;
	int64_t mid_a, mid_b;
	int rc;

	while (box.a0 < box.a1 && box.b0 < box.b1 && x->a.kept_cls[box.a0] == x->b.kept_cls[box.b0]) {
		box.a0++;
		box.b0++;
	}
	while (box.a0 < box.a1 && box.b0 < box.b1 && x->a.kept_cls[box.a1 - 1] == x->b.kept_cls[box.b1 - 1]) {
		box.a1--;
		box.b1--;
	}
	if (box.a0 == box.a1 || box.b0 == box.b1) {
		for (int64_t i = box.a0; i < box.a1; i++)
			x->a.changed[x->a.kept[i] + 1] = 1;
		for (int64_t i = box.b0; i < box.b1; i++)
			x->b.changed[x->b.kept[i] + 1] = 1;
		return 0;
	}
	rc = find_middle(x, &box, &mid_a, &mid_b);
	if (rc < 0)
		return rc;
	rest = (struct box){ mid_a, box.a1, mid_b, box.b1 };
	box.a1 = mid_a;
	box.b1 = mid_b;
	rc = compare_box(x, box);
	return rc < 0 ? rc : compare_box(x, rest);
}

/* ---- sliding */

/* A run of changed lines, maybe empty, between two unchanged ones; the n-th of both files belong together. */
struct group {
	uint32_t start, end;
};

static bool is_changed(const struct side *s, int64_t line)
{
	return s->changed[line + 1];
}

static void set_changed(struct side *s, uint32_t line, bool changed)
{
	s->changed[line + 1] = changed;
}

static bool group_next(const struct side *s, struct group *g)
{
	if (g->end == s->f->n)
		return false;
	g->start = g->end = g->end + 1;
	while (g->end < s->f->n && is_changed(s, g->end))
		g->end++;
	return true;
}

static void group_previous(const struct side *s, struct group *g)
{
	g->start = g->end = g->start - 1;
	while (is_changed(s, (int64_t)g->start - 1))
		g->start--;
}

static void group_first(const struct side *s, struct group *g)
{
	g->start = g->end = 0;
	while (g->end < s->f->n && is_changed(s, g->end))
		g->end++;
}

static bool slide_down(struct side *s, struct group *g)
{
	if (g->end >= s->f->n || s->f->cls[g->start] != s->f->cls[g->end])
		return false;
	set_changed(s, g->start++, false);
	set_changed(s, g->end++, true);
	while (g->end < s->f->n && is_changed(s, g->end))
		g->end++;
	return true;
}

static bool slide_up(struct side *s, struct group *g)
{
	if (g->start == 0 || s->f->cls[g->start - 1] != s->f->cls[g->end - 1])
		return false;
	set_changed(s, --g->start, true);
	set_changed(s, --g->end, false);
	while (is_changed(s, (int64_t)g->start - 1))
		g->start--;
	return true;
}

/* Slide a group as far up and then down as it goes, joining those it meets. Returns whether it can slide at all;
 * `meets`: on its way down it stood beside a group of the other file. */
static bool slide_fully(struct side *s, struct side *other, struct group *g, struct group *og, bool *meets)
{
	uint32_t size, highest;

	do {
		size = g->end - g->start;
		*meets = false;
		while (slide_up(s, g))
			group_previous(other, og);
		highest = g->end;
		*meets = og->end > og->start;
		while (slide_down(s, g)) {
			group_next(other, og);
			*meets |= og->end > og->start;
		}
	} while (size != g->end - g->start);
	return g->end != highest;
}

/* Give each group of changed lines that can slide a definite place: beside the last group of the other file that
 * it can stand beside, otherwise as far down as it goes. */
static void settle_groups(struct side *s, struct side *other)
{
	struct group g, og;

	group_first(s, &g);
	group_first(other, &og);
	do {
		bool meets;

		if (g.start == g.end || !slide_fully(s, other, &g, &og, &meets) || !meets)
			continue;
		while (og.start == og.end) {
			slide_up(s, &g);
			group_previous(other, &og);
		}
	} while (group_next(s, &g) && group_next(other, &og));
}

/* ---- the whole */

static int side_init(struct side *s, const struct diff_file *f)
{
	s->f = f;
	s->changed = calloc((size_t)f->n + 2, 1);
	s->kept = malloc(((size_t)f->n + 1) * sizeof(*s->kept));
	s->kept_cls = malloc(((size_t)f->n + 1) * sizeof(*s->kept_cls));
	return s->changed && s->kept && s->kept_cls ? 0 : -ENOMEM;
}

static void side_release(struct side *s)
{
	free(s->changed);
	free(s->kept);
	free(s->kept_cls);
}

static int compare(struct differ *x)
{
	const struct diff_file *a = x->a.f, *b = x->b.f;
	uint32_t top = 0, end_a = a->n, end_b = b->n;
	int rc;

	while (top < end_a && top < end_b && a->cls[top] == b->cls[top])
		top++;
	while (end_a > top && end_b > top && a->cls[end_a - 1] == b->cls[end_b - 1]) {
		end_a--;
		end_b--;
	}
	rc = keep_lines(&x->a, b, top, end_a);
	if (rc == 0)
		rc = keep_lines(&x->b, a, top, end_b);
	if (rc == 0)
		rc = compare_box(x, (struct box){ 0, x->a.n_kept, 0, x->b.n_kept });
	if (rc < 0)
		return rc;
	settle_groups(&x->a, &x->b);
	settle_groups(&x->b, &x->a);
	return 0;
}

static int list_changes(const struct differ *x, struct diff_changes *out)
{
	struct group g, og;
	size_t n = 0;

	for (int fill = 0; fill < 2; fill++) {
		group_first(&x->a, &g);
		group_first(&x->b, &og);
		n = 0;
		do {
			if (g.end == g.start && og.end == og.start)
				continue;
			if (fill)
				out->c[n] = (struct diff_change){ g.start, g.end - g.start, og.start,
					og.end - og.start };
			n++;
		} while (group_next(&x->a, &g) && group_next(&x->b, &og));
		if (!fill)
			out->c = malloc((n + 1) * sizeof(*out->c));
		if (!out->c)
			return -ENOMEM;
	}
	out->n = n;
	return 0;
}

int diff_lines(const struct diff_file *base, const struct diff_file *side, uint64_t *work, struct diff_changes *out)
{
	struct differ x = { .work = work };
	int rc = 0;

	*out = (struct diff_changes){ 0 };
	x.fwd = malloc((2 * MAX_COST + 6) * sizeof(*x.fwd));
	x.bwd = malloc((2 * MAX_COST + 6) * sizeof(*x.bwd));
	if (side_init(&x.a, base) < 0 || side_init(&x.b, side) < 0 || !x.fwd || !x.bwd)
		rc = -ENOMEM;
	if (rc == 0)
		rc = compare(&x);
	if (rc == 0)
		rc = list_changes(&x, out);
	side_release(&x.a);
	side_release(&x.b);
	free(x.fwd);
	free(x.bwd);
	return rc;
}
