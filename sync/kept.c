/* SPDX-License-Identifier: MIT */
#include "sync/kept.h"

#include <errno.h>
#include <stdlib.h>

#include "util/log.h"
#include "util/util.h"

struct range {
	uint64_t group, id;
	struct staged_range at;
};

struct kept {
	struct volume *v;
	uint64_t from;
	struct stage *stage;
	struct range *ranges; /* by group, inode, offset */
	size_t n_ranges, cap_ranges, n_told;
};

/* ---- keeping ---- */

struct inodes {
	uint64_t *ino;
	size_t n, cap;
};

static int list_inode(void *ctx, uint64_t ino, uint64_t group, uint64_t id)
{
	struct inodes *l = ctx;

	(void)group;
	(void)id;
	if (l->n == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 64;
		l->ino = xrealloc(l->ino, l->cap * sizeof(*l->ino));
	}
	l->ino[l->n++] = ino;
	return 0;
}

static int has_file(void *ctx, uint64_t off, uint64_t len_bytes)
{
	(void)ctx;
	(void)off;
	(void)len_bytes;
	return 1;
}

/* The newer one may have taken over some of the files already. */
static int take_the_rest(struct stage *to, struct stage *from)
{
	struct inodes l = { .n = 0 };
	int rc = stage_files(from, list_inode, &l);

	for (size_t i = 0; rc == 0 && i < l.n; i++)
		if (stage_ranges(to, l.ino[i], has_file, NULL) == 0)
			rc = stage_take(to, from, l.ino[i]);
	free(l.ino);
	return rc;
}

static bool has_room(struct volume *v, uint64_t bytes)
{
	struct volume_space space;

	volume_space(v, &space);
	return bytes <= space.avail_bytes;
}

struct kept *kept_new(struct shipment *s, struct kept *old, uint64_t least_bytes)
{
	struct kept *k = xcalloc(1, sizeof(*k));

	k->v = s->v;
	k->from = s->begin.from;
	k->stage = s->stage;
	s->stage = NULL;
	if (old && old->from == k->from) {
		if (!k->stage) {
			k->stage = old->stage;
			old->stage = NULL;
		} else if (take_the_rest(k->stage, old->stage) < 0) {
			log_info("what was staged before the connection broke cannot be kept: it will come again");
		}
	}
	kept_free(old);
	if (!k->stage || stage_bytes(k->stage) < least_bytes || !has_room(k->v, stage_bytes(k->stage))) {
		kept_free(k);
		return NULL;
	}
	return k;
}

struct kept *kept_load(struct volume *v, uint64_t from)
{
	struct stage *stage = stage_load(v, from);
	struct kept *k;

	if (!stage)
		return NULL;
	k = xcalloc(1, sizeof(*k));
	k->v = v;
	k->from = from;
	k->stage = stage;
	return k;
}

void kept_free(struct kept *k)
{
	if (!k)
		return;
	if (k->stage)
		stage_free(k->stage);
	free(k->ranges);
	free(k);
}

uint64_t kept_from(const struct kept *k)
{
	return k->from;
}

uint64_t kept_bytes(const struct kept *k)
{
	return stage_bytes(k->stage);
}

int kept_give(struct kept *k, struct stage *to, uint64_t ino)
{
	return stage_take(to, k->stage, ino);
}

/* ---- telling ---- */

struct listing {
	struct kept *k;
	struct range cur;
};

static int list_range(void *ctx, uint64_t off, uint64_t len_bytes)
{
	struct listing *l = ctx;
	struct kept *k = l->k;

	if (k->n_ranges == KEPT_MAX_RANGES)
		return 1;
	if (k->n_ranges == k->cap_ranges) {
		k->cap_ranges = k->cap_ranges ? 2 * k->cap_ranges : 64;
		k->ranges = xrealloc(k->ranges, k->cap_ranges * sizeof(*k->ranges));
	}
	l->cur.at.off = off;
	l->cur.at.len_bytes = len_bytes;
	k->ranges[k->n_ranges++] = l->cur;
	return 0;
}

static int list_file(void *ctx, uint64_t ino, uint64_t group, uint64_t id)
{
	struct listing *l = ctx;

	l->cur.group = group;
	l->cur.id = id;
	l->cur.at.ino = ino;
	return stage_ranges(l->k->stage, ino, list_range, l);
}

static int by_place(const void *a, const void *b)
{
	const struct range *x = a, *y = b;

	if (x->group != y->group)
		return x->group < y->group ? -1 : 1;
	if (x->at.ino != y->at.ino)
		return x->at.ino < y->at.ino ? -1 : 1;
	return x->at.off < y->at.off ? -1 : x->at.off > y->at.off;
}

uint32_t kept_tell_begin(struct kept *k)
{
	struct listing l = { .k = k };

	k->n_ranges = k->n_told = 0;
	stage_files(k->stage, list_file, &l);
	if (k->n_ranges)
		qsort(k->ranges, k->n_ranges, sizeof(*k->ranges), by_place);
	return (uint32_t)k->n_ranges;
}

/* As many as are as of one group and fit into a frame. */
static int tell_some(struct kept *k, struct buf *out)
{
	const struct range *first = &k->ranges[k->n_told];
	struct staged_range list[STAGED_MAX_RANGES];
	struct frame f = { .type = FRAME_STAGED, .staged = { .group = first->group, .id = first->id, .ranges = list } };

	while (k->n_told < k->n_ranges && f.staged.n < STAGED_MAX_RANGES && k->ranges[k->n_told].group == first->group)
		list[f.staged.n++] = k->ranges[k->n_told++].at;
	return frame_encode(out, &f);
}

int kept_tell(struct kept *k, struct buf *out, size_t want_bytes)
{
	size_t start = out->len_bytes;
	int rc = 0;

	while (rc == 0 && k->n_told < k->n_ranges && out->len_bytes - start < want_bytes)
		rc = tell_some(k, out);
	return rc < 0 ? rc : k->n_told == k->n_ranges;
}
