/* SPDX-License-Identifier: MIT */
#include "sync/told.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "core/tree.h"
#include "util/log.h"
#include "util/util.h"

struct piece {
	struct staged_range at;
	uint64_t group;
};

struct told {
	struct volume *v;
	uint64_t from;
	uint32_t due; /* still to come */
	struct piece *pieces; /* by inode and offset when all have come */
	size_t n_pieces, cap_pieces;
};

struct told *told_new(struct volume *v, uint64_t from, uint32_t due)
{
	struct told *t = xcalloc(1, sizeof(*t));

	t->v = v;
	t->from = from;
	t->due = due;
	return t;
}

void told_free(struct told *t)
{
	if (!t)
		return;
	free(t->pieces);
	free(t);
}

/* A group that the peer can have been sent, and that was not made anew in a store that was put back. */
static bool group_is_ours(struct told *t, uint64_t group, uint64_t id)
{
	struct volume_ids ids;
	uint64_t our_id = 0;
	int rc;

	volume_lock_now(t->v);
	volume_ids(t->v, &ids);
	rc = group_id(t->v, group, &our_id);
	volume_unlock(t->v);
	return rc == 0 && our_id == id && group > t->from && group <= ids.committed;
}

static int by_place(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	if (x->at.ino != y->at.ino)
		return x->at.ino < y->at.ino ? -1 : 1;
	return x->at.off < y->at.off ? -1 : x->at.off > y->at.off;
}

int told_add(struct told *t, const struct rec_staged *r, struct err *err)
{
	if (r->n > t->due)
		return err_set(err, -EBADMSG, "the peer says it has more staged than it said: dropping the connection");
	t->due -= r->n;
	if (group_is_ours(t, r->group, r->id)) {
		if (t->n_pieces + r->n > t->cap_pieces) {
			t->cap_pieces = MAX(2 * t->cap_pieces, t->n_pieces + r->n);
			t->pieces = xrealloc(t->pieces, t->cap_pieces * sizeof(*t->pieces));
		}
		for (unsigned i = 0; i < r->n; i++)
			t->pieces[t->n_pieces++] = (struct piece){ .at = r->ranges[i], .group = r->group };
	} else {
		log_info("the peer has bytes staged as of group %llu, which is none of ours: they go again",
			 (unsigned long long)r->group);
	}
	if (t->due == 0 && t->n_pieces)
		qsort(t->pieces, t->n_pieces, sizeof(*t->pieces), by_place);
	return 0;
}

bool told_all(const struct told *t)
{
	return !t || t->due == 0;
}

/* The first piece of this inode that ends behind off, or of a later one. (If pieces overlap, as only a peer that breaks
 * the rules can make them, one that does may be missed: then its bytes go again.) */
static size_t find(const struct told *t, uint64_t ino, uint64_t off)
{
	size_t lo = 0, hi = t->n_pieces;

	assert(t->due == 0);
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct staged_range *at = &t->pieces[mid].at;

		if (at->ino < ino || (at->ino == ino && at->off + at->len_bytes <= off))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

bool told_file(const struct told *t, uint64_t ino, uint64_t *group)
{
	size_t i = t ? find(t, ino, 0) : 0;

	if (!t || i == t->n_pieces || t->pieces[i].at.ino != ino)
		return false;
	*group = t->pieces[i].group;
	/* A file is as of one group; if a peer says two, the earlier one promises less. */
	for (; i < t->n_pieces && t->pieces[i].at.ino == ino; i++)
		*group = MIN(*group, t->pieces[i].group);
	return true;
}

bool told_missing(const struct told *t, uint64_t ino, uint64_t off, uint64_t len_bytes, told_piece_fn fn, void *ctx)
{
	uint64_t end = off + len_bytes;
	bool any = false;

	for (size_t i = find(t, ino, off); i < t->n_pieces && t->pieces[i].at.ino == ino && off < end; i++) {
		uint64_t from = t->pieces[i].at.off, to = from + t->pieces[i].at.len_bytes;

		if (to <= off || from >= end)
			continue;
		any = true;
		if (from > off)
			fn(ctx, ino, off, from - off);
		off = MAX(off, to);
	}
	if (off < end)
		fn(ctx, ino, off, end - off);
	return any;
}
