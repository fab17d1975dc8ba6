/* SPDX-License-Identifier: MIT */
/* What either side changed, as ranges: as the changes and the stage have them, or found by comparing. */
#include "sync/content_private.h"

#include <stdlib.h>

#include "core/changes.h"
#include "util/util.h"

void content_range_add(struct range_list *l, uint64_t off, uint64_t end)
{
	if (off >= end)
		return;
	if (l->n == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 64;
		l->r = xrealloc(l->r, l->cap * sizeof(*l->r));
	}
	l->r[l->n++] = (struct range){ off, end };
}

int content_add_ours(void *ctx, uint64_t ino, uint64_t off, uint64_t len_bytes, uint64_t grp)
{
	(void)ino;
	(void)grp;
	content_range_add(ctx, off, off + len_bytes);
	return 0;
}

int content_add_theirs(void *ctx, uint64_t off, uint64_t len_bytes)
{
	content_range_add(ctx, off, off + len_bytes);
	return 0;
}

static int by_off(const void *a, const void *b)
{
	const struct range *x = a, *y = b;

	return x->off < y->off ? -1 : x->off > y->off;
}

bool content_overlap(struct range_list *a, struct range_list *b, overlap_fn fn, void *ctx)
{
	size_t i = 0, j = 0;

	if (a->n == 0 || b->n == 0)
		return false;
	qsort(a->r, a->n, sizeof(*a->r), by_off);
	qsort(b->r, b->n, sizeof(*b->r), by_off);
	while (i < a->n && j < b->n) {
		uint64_t off = MAX(a->r[i].off, b->r[j].off), end = MIN(a->r[i].end, b->r[j].end);

		if (off < end && (!fn || fn(ctx, &a->r[i], off, end)))
			return true;
		if (a->r[i].end < b->r[j].end)
			i++;
		else
			j++;
	}
	return false;
}

int content_whole_span(const struct content_case *c, enum driver_file which, struct range *out)
{
	uint64_t size = which == DRIVER_OURS ? c->ours_size : c->theirs_size, common = MIN(size, c->base_size);
	uint8_t *a = xmalloc(2 * (size_t)PIECE_BYTES), *b = a + PIECE_BYTES;
	unsigned both = OF_BASE | (which == DRIVER_OURS ? OF_OURS : OF_THEIRS);
	int rc = 0, more = 0;
	size_t n;

	*out = (struct range){ .off = common, .end = common };
	for (uint64_t off = 0; rc == 0 && (more = content_next_piece(c, both, &off, common, &n)) > 0; off += n) {
		rc = content_read_version(c, DRIVER_BASE, a, n, off);
		if (rc == 0)
			rc = content_read_version(c, which, b, n, off);
		for (size_t i = 0; rc == 0 && i < n; i++)
			if (a[i] != b[i]) {
				out->off = MIN(out->off, off + i);
				out->end = off + i + 1;
			}
	}
	rc = MIN(rc, more);
	if (size != c->base_size)
		out->end = MAX(size, c->base_size);
	if (out->off > out->end)
		out->off = out->end;
	free(a);
	return rc;
}

int content_add_span(const struct content_case *c, enum driver_file which, struct range_list *l)
{
	struct range r;
	int rc = content_whole_span(c, which, &r);

	if (rc == 0)
		content_range_add(l, r.off, r.end);
	return rc;
}

int content_their_ranges(const struct content_case *c, struct range_list *l)
{
	if (c->theirs_whole)
		return content_add_span(c, DRIVER_THEIRS, l);
	return c->s->stage ? stage_ranges(c->s->stage, c->rec->ino, content_add_theirs, l) : 0;
}

int content_our_ranges(const struct content_case *c, struct range_list *l, uint64_t *shrunk_to)
{
	struct change_row row;
	int rc = changes_get(c->v, c->ino, ENT_CONTENT, &row);

	*shrunk_to = rc == 0 ? row.shrunk_to : UINT64_MAX;
	/* Of a file that was deleted here after it was cut, and that came back, no row tells of the cut. */
	if (c->ours_size < c->base_size)
		*shrunk_to = MIN(*shrunk_to, c->ours_size);
	return changes_ranges(c->v, c->ino, c->seen, GROUP_MAX, content_add_ours, l);
}
