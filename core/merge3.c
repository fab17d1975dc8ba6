/* SPDX-License-Identifier: MIT */
/*
 * Lines become numbers (equal lines, equal numbers); each side is compared with the base (merge3_diff.c); then the
 * two lists of changes are walked together. Changes of the two sides with no unchanged line between them overlap,
 * unless they are the same.
 */
#include "core/merge3.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/merge3_diff.h"
#include "util/util.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/* ---- lines */

struct text {
	const char *bytes;
	uint32_t *start; /* n + 1 offsets */
	struct diff_file f;
};

struct classes { /* open addressing; a slot holds line class + 1 */
	uint32_t *slot, *line_at, *line_len;
	const char **text;
	size_t cap;
	uint32_t n, room;
};

static uint32_t count_lines(const char *s, size_t len)
{
	uint32_t n = 0;

	for (const char *p = s, *end = s + len; p < end; n++) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));

		p = nl ? nl + 1 : end;
	}
	return n;
}

static uint32_t class_of(struct classes *c, const char *text, uint32_t at, uint32_t len)
{
	size_t i = XXH3_64bits(text + at, len) & (c->cap - 1);

	for (; c->slot[i] != 0; i = (i + 1) & (c->cap - 1)) {
		uint32_t k = c->slot[i] - 1;

		if (c->line_len[k] == len && memcmp(c->text[k] + c->line_at[k], text + at, len) == 0)
			return k;
	}
	c->text[c->n] = text;
	c->line_at[c->n] = at;
	c->line_len[c->n] = len;
	c->slot[i] = ++c->n;
	return c->n - 1;
}

static int classes_init(struct classes *c, uint32_t n_lines)
{
	for (c->cap = 16; c->cap < (size_t)n_lines * 2; c->cap *= 2)
		;
	c->room = n_lines + 1;
	c->slot = calloc(c->cap, sizeof(*c->slot));
	c->line_at = malloc(c->room * sizeof(*c->line_at));
	c->line_len = malloc(c->room * sizeof(*c->line_len));
	c->text = malloc(c->room * sizeof(*c->text));
	return c->slot && c->line_at && c->line_len && c->text ? 0 : -ENOMEM;
}

static void classes_release(struct classes *c)
{
	free(c->slot);
	free(c->line_at);
	free(c->line_len);
	free(c->text);
}

static int text_init(struct text *t, const void *bytes, size_t len)
{
	uint32_t n = count_lines(bytes, len);

	t->bytes = bytes;
	t->f.n = n;
	t->start = malloc(((size_t)n + 1) * sizeof(*t->start));
	t->f.cls = malloc(((size_t)n + 1) * sizeof(*t->f.cls));
	if (!t->start || !t->f.cls)
		return -ENOMEM;
	t->start[0] = 0;
	for (uint32_t i = 0; i < n; i++) {
		const char *from = t->bytes + t->start[i], *nl = memchr(from, '\n', len - t->start[i]);

		t->start[i + 1] = nl ? (uint32_t)(nl + 1 - t->bytes) : (uint32_t)len;
	}
	return 0;
}

static int text_classify(struct text *t, struct classes *c, uint32_t n_max)
{
	for (uint32_t i = 0; i < t->f.n; i++)
		t->f.cls[i] = class_of(c, t->bytes, t->start[i], t->start[i + 1] - t->start[i]);
	t->f.count = calloc((size_t)n_max + 1, sizeof(*t->f.count));
	if (!t->f.count)
		return -ENOMEM;
	for (uint32_t i = 0; i < t->f.n; i++)
		t->f.count[t->f.cls[i]]++;
	return 0;
}

static void text_release(struct text *t)
{
	free(t->start);
	free(t->f.cls);
	free(t->f.count);
}

/* ---- two lists of changes into one */

enum take { TAKE_CONFLICT, TAKE_OURS, TAKE_THEIRS };

struct part { /* a stretch that changed: of ours [i1, i1 + n1), of theirs [i2, i2 + n2) */
	enum take take;
	uint32_t i1, n1, i2, n2;
};
struct parts {
	struct part *p;
	size_t n;
};

/* A part that touches the one before it is one with it, and then it depends on both sides. */
static void parts_add(struct parts *x, enum take take, uint32_t i1, uint32_t n1, uint32_t i2, uint32_t n2)
{
	struct part *last = x->n > 0 ? &x->p[x->n - 1] : NULL;

	if (last && (i1 <= last->i1 + last->n1 || i2 <= last->i2 + last->n2)) {
		if (take != last->take)
			last->take = TAKE_CONFLICT;
		last->n1 = i1 + n1 - last->i1;
		last->n2 = i2 + n2 - last->i2;
		return;
	}
	x->p[x->n++] = (struct part){ .take = take, .i1 = i1, .n1 = n1, .i2 = i2, .n2 = n2 };
}

static bool same_lines(const struct diff_file *a, uint32_t at_a, uint32_t n_a, const struct diff_file *b, uint32_t at_b,
	uint32_t n_b)
{
	return n_a == n_b && memcmp(a->cls + at_a, b->cls + at_b, n_a * sizeof(*a->cls)) == 0;
}

/* The smallest stretch that holds both changes, in each side's lines. */
static void add_conflict(struct parts *x, const struct diff_change *a, const struct diff_change *b)
{
	uint32_t from = MIN(a->base, b->base), to = MAX(a->base + a->n_base, b->base + b->n_base);
	uint32_t i1 = a->side - (a->base - from), i2 = b->side - (b->base - from);
	uint32_t end1 = a->side + a->n_side + (to - a->base - a->n_base),
		end2 = b->side + b->n_side + (to - b->base - b->n_base);

	parts_add(x, TAKE_CONFLICT, i1, end1 - i1, i2, end2 - i2);
}

static void walk_both(struct parts *x, const struct diff_file *ours, const struct diff_changes *a,
	const struct diff_file *theirs,
		      const struct diff_changes *b)
{
	int64_t shift_a = 0, shift_b = 0; /* a side's line minus the base's, behind the changes walked over */
	size_t i = 0, k = 0;

	while (i < a->n || k < b->n) {
		const struct diff_change *p = i < a->n ? &a->c[i] : NULL, *q = k < b->n ? &b->c[k] : NULL;
		uint32_t end_p, end_q;

		if (p && (!q || p->base + p->n_base < q->base)) {
			uint32_t at = (uint32_t)(p->base + shift_b);

			parts_add(x, TAKE_OURS, p->side, p->n_side, at, p->n_base);
			shift_a = (int64_t)p->side + p->n_side - p->base - p->n_base;
			i++;
			continue;
		}
		if (q && (!p || q->base + q->n_base < p->base)) {
			uint32_t at = (uint32_t)(q->base + shift_a);

			parts_add(x, TAKE_THEIRS, at, q->n_base, q->side, q->n_side);
			shift_b = (int64_t)q->side + q->n_side - q->base - q->n_base;
			k++;
			continue;
		}
		assert(p && q);
		if (p->base != q->base || p->n_base != q->n_base || !same_lines(ours, p->side, p->n_side, theirs,
			q->side, q->n_side))
			add_conflict(x, p, q);
		end_p = p->base + p->n_base;
		end_q = q->base + q->n_base;
		if (end_p >= end_q) {
			shift_b = (int64_t)q->side + q->n_side - end_q;
			k++;
		}
		if (end_q >= end_p) {
			shift_a = (int64_t)p->side + p->n_side - end_p;
			i++;
		}
	}
}

static int put_lines(struct buf *out, const struct text *t, uint32_t from, uint32_t n)
{
	return n == 0 ? 0 : buf_append(out, t->bytes + t->start[from], t->start[from + n] - t->start[from]);
}

static int write_merged(struct buf *out, const struct parts *x, const struct text *ours, const struct text *theirs)
{
	size_t len_before = out->len_bytes;
	uint32_t at = 0;
	int rc = 0;

	for (size_t i = 0; i < x->n; i++)
		if (x->p[i].take == TAKE_CONFLICT && !same_lines(&ours->f, x->p[i].i1, x->p[i].n1, &theirs->f,
			x->p[i].i2, x->p[i].n2))
			return 1;
	for (size_t i = 0; i < x->n && rc >= 0; i++) {
		const struct part *p = &x->p[i];

		if (p->take != TAKE_THEIRS)
			continue; /* ours is what is copied between */
		rc = put_lines(out, ours, at, p->i1 - at);
		if (rc >= 0)
			rc = put_lines(out, theirs, p->i2, p->n2);
		at = p->i1 + p->n1;
	}
	if (rc >= 0)
		rc = put_lines(out, ours, at, ours->f.n - at);
	if (rc < 0)
		out->len_bytes = len_before;
	return rc < 0 ? rc : 0;
}

/* base, ours, theirs */
static int merge_texts(struct text t[3], struct buf *out)
{
	struct diff_changes a = { 0 }, b = { 0 };
	struct parts x = { 0 };
	uint64_t work = DIFF_MAX_WORK;
	int rc = diff_lines(&t[0].f, &t[1].f, &work, &a);

	if (rc == 0)
		rc = diff_lines(&t[0].f, &t[2].f, &work, &b);
	if (rc == 0) {
		x.p = malloc((a.n + b.n + 1) * sizeof(*x.p));
		rc = x.p ? 0 : -ENOMEM;
	}
	if (rc == 0) {
		walk_both(&x, &t[1].f, &a, &t[2].f, &b);
		rc = write_merged(out, &x, &t[1], &t[2]);
	}
	free(x.p);
	free(a.c);
	free(b.c);
	return rc;
}

int merge3_text(const void *base, size_t base_len, const void *ours, size_t ours_len, const void *theirs,
	size_t theirs_len,
		struct buf *out)
{
	struct text t[3] = { 0 };
	struct classes c = { 0 };
	uint32_t n = 0;
	int rc = 0;

	if (base_len > MERGE3_MAX_BYTES || ours_len > MERGE3_MAX_BYTES || theirs_len > MERGE3_MAX_BYTES)
		return -EFBIG;
	if (text_init(&t[0], base, base_len) < 0 || text_init(&t[1], ours, ours_len) < 0 ||
	    text_init(&t[2], theirs, theirs_len) < 0)
		rc = -ENOMEM;
	for (int i = 0; i < 3; i++)
		n += t[i].f.n;
	if (rc == 0)
		rc = classes_init(&c, n);
	for (int i = 0; i < 3 && rc == 0; i++)
		rc = text_classify(&t[i], &c, n);
	if (rc == 0)
		rc = merge_texts(t, out);
	classes_release(&c);
	for (int i = 0; i < 3; i++)
		text_release(&t[i]);
	return rc;
}
