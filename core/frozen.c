/* SPDX-License-Identifier: MIT */
#include "core/frozen.h"

#include "core/internal.h"
#include "db/change_rows.h"
#include "db/note_rows.h"
#include "util/util.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Read under the lock in one go: one to two milliseconds. */
#define STEP_ROWS 4096u
/* A table is read as a whole, if more than this share of it is frozen: to find a row by its group and put it into its
 * place costs five times as much as to pass one by. */
#define WHOLE_SHARE 8u

/* The first four as enum change_table has them. */
enum part { INODES, LINKS, XATTRS, RANGES, CONFLICTS, LINEAGES, PARTS };
_Static_assert(INODES == (enum part)CHANGE_INODES && LINKS == (enum part)CHANGE_LINKS &&
               XATTRS == (enum part)CHANGE_XATTRS && RANGES == (enum part)CHANGE_RANGES, "parts begin with the tables");

struct row {
	uint64_t id, sub; /* inode or link; an inode's `what`, a range's offset */
	char *key;        /* of an xattr, else NULL */
	uint64_t len_bytes; /* of a range */
	struct change_row at;
};

/* Rows with the first one, by key, at the top. */
struct heap {
	struct row *rows;
	size_t n, cap;
};

struct frozen {
	struct volume *v;
	uint64_t after, upto;
	struct frozen_reader reader;
	struct map gone; /* inodes whose ranges were left over when it began: they count as none (core/leftover.h) */
	int rc;

	enum part part; /* the one that is being read; those before it are */
	/*
	 * NOT_BEGUN --by key----> WALK: the table in its order, and in between what was put by
	 *           '-by group--> FIND: what is in the groups, all of it put by
	 * Either --the table is through--> DRAIN: what is left of what was put by --> the next part
	 */
	enum { NOT_BEGUN, WALK, FIND, DRAIN } how;
	struct change_place place; /* the table is read up to here */
	char key[XATTR_NAME_MAX_BYTES + 1];
	size_t left; /* of this step */
	size_t n;    /* rows that the table gave in it */
	struct heap by[RANGES + 1];
};

/* What a walk is ended with when the step is over; no errno. */
#define STEP_IS_OVER 1

/* ---- what is put by ---- */

static int compare_keys(const char *a, const char *b)
{
	return a == b ? 0 : strcmp(a ? a : "", b ? b : "");
}

static int compare(const struct row *a, uint64_t id, uint64_t sub, const char *key)
{
	if (a->id != id)
		return a->id < id ? -1 : 1;
	if (a->sub != sub)
		return a->sub < sub ? -1 : 1;
	return compare_keys(a->key, key);
}

static bool comes_before(const struct row *a, const struct row *b)
{
	return compare(a, b->id, b->sub, b->key) < 0;
}

static void swap(struct row *a, struct row *b)
{
	struct row c = *a;

	*a = *b;
	*b = c;
}

static void heap_push(struct heap *h, const struct row *r)
{
	size_t i = h->n++;

	if (h->n > h->cap) {
		h->cap = h->cap ? 2 * h->cap : 64;
		h->rows = xrealloc(h->rows, h->cap * sizeof(*h->rows));
	}
	h->rows[i] = *r;
	if (r->key)
		h->rows[i].key = xstrdup(r->key);
	for (; i > 0 && comes_before(&h->rows[i], &h->rows[(i - 1) / 2]); i = (i - 1) / 2)
		swap(&h->rows[i], &h->rows[(i - 1) / 2]);
}

/* The caller frees its key. */
static struct row heap_pop(struct heap *h)
{
	struct row first = h->rows[0];
	size_t i = 0, child;

	h->rows[0] = h->rows[--h->n];
	while ((child = 2 * i + 1) < h->n) {
		if (child + 1 < h->n && comes_before(&h->rows[child + 1], &h->rows[child]))
			child++;
		if (!comes_before(&h->rows[child], &h->rows[i]))
			break;
		swap(&h->rows[i], &h->rows[child]);
		i = child;
	}
	return first;
}

static void heap_release(struct heap *h)
{
	for (size_t i = 0; i < h->n; i++)
		free(h->rows[i].key);
	free(h->rows);
	*h = (struct heap){ .n = 0 };
}

/* ---- begin and end ---- */

struct frozen *frozen_begin(struct volume *v, uint64_t after, uint64_t upto, const struct frozen_reader *reader)
{
	struct frozen *f = xcalloc(1, sizeof(*f));
	uint64_t ino, value;
	size_t it = 0;

	assert(!v->frozen && !v->landing);
	assert(upto == v->info.committed && upto <= v->info.cut && !v->group_wrote);
	f->v = v;
	f->after = MAX(after, db_numbers(v->db)->forgotten);
	f->upto = upto;
	f->reader = *reader;
	while (map_next(&v->ranges_gone, &it, &ino, &value))
		map_put(&f->gone, ino, 1);
	v->frozen = f;
	return f;
}

void frozen_end(struct frozen *f)
{
	if (!f)
		return;
	assert(f->v->frozen == f);
	f->v->frozen = NULL;
	for (size_t i = 0; i < ARRAY_LEN(f->by); i++)
		heap_release(&f->by[i]);
	map_release(&f->gone);
	free(f);
}

size_t frozen_put_by(const struct frozen *f)
{
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(f->by); i++)
		n += f->by[i].n;
	return n;
}

void frozen_spoil(struct volume *v)
{
	if (v->frozen && !v->frozen->rc)
		v->frozen->rc = -EIO;
}

/* ---- reading ---- */

static bool is_frozen(const struct frozen *f, uint64_t grp)
{
	return grp > f->after && grp <= f->upto;
}

static int tell(struct frozen *f, const struct row *r)
{
	const struct frozen_reader *to = &f->reader;

	f->left--;
	switch (f->part) {
	case INODES: return to->inode(to->ctx, r->id, (enum entity)r->sub, &r->at);
	case LINKS: return to->link(to->ctx, r->id, &r->at);
	case XATTRS: return to->xattr(to->ctx, r->id, r->key, &r->at);
	default: return to->range(to->ctx, r->id, r->sub, r->len_bytes, r->at.grp);
	}
}

static int tell_first(struct frozen *f)
{
	struct row r = heap_pop(&f->by[f->part]);
	int rc = tell(f, &r);

	free(r.key);
	return rc;
}

/* The table is read up to this row. What is left of a range when another is written into it begins behind its
 * beginning, but before its end: it was read with it. */
static void go_behind(struct frozen *f, const struct row *r)
{
	f->place.grp = r->at.grp;
	f->place.id = r->id;
	f->place.sub = f->part == RANGES ? r->sub + r->len_bytes - 1 : r->sub;
	if (f->part == XATTRS)
		snprintf(f->key, sizeof(f->key), "%s", r->key);
}

/* The table's next row. */
static int take(struct frozen *f, const struct row *r)
{
	struct heap *by = &f->by[f->part];
	bool gone = f->part == RANGES && map_get(&f->gone, r->id, NULL), wanted = is_frozen(f, r->at.grp) && !gone;
	int rc = 0;

	while (rc == 0 && f->how == WALK && by->n > 0 && comes_before(&by->rows[0], r))
		rc = f->left == 0 ? STEP_IS_OVER : tell_first(f);
	if (rc == 0 && f->left == 0)
		rc = STEP_IS_OVER;
	if (rc)
		return rc;
	f->n++;
	go_behind(f, r);
	if (wanted && f->how == WALK)
		return tell(f, r);
	f->left--;
	if (wanted)
		heap_push(by, r);
	return 0;
}

static int take_inode(void *ctx, uint64_t ino, enum entity what, const struct change_row *row)
{
	return take(ctx, &(struct row){ .id = ino, .sub = what, .at = *row });
}

static int take_link(void *ctx, uint64_t link, const struct change_row *row)
{
	return take(ctx, &(struct row){ .id = link, .at = *row });
}

static int take_xattr(void *ctx, uint64_t ino, const char *key, const struct change_row *row)
{
	return take(ctx, &(struct row){ .id = ino, .key = (char *)(uintptr_t)key, .at = *row });
}

static int take_range(void *ctx, uint64_t ino, uint64_t off, uint64_t len_bytes, uint64_t grp)
{
	return take(ctx, &(struct row){ .id = ino, .sub = off, .len_bytes = len_bytes, .at.grp = grp });
}

/* Rows of one group come in order of id. */
static int take_conflict(void *ctx, const struct conflict *c)
{
	struct frozen *f = ctx;
	bool resolved;
	int rc = conflict_row_state(f->v->db, c->id, &f->place.grp, &resolved);

	f->place.id = c->id;
	f->n++;
	f->left--;
	return rc ? rc : f->reader.conflict(f->reader.ctx, c);
}

/* An alias that was renewed since is one of before, too: who holds what it is of must hear of it with what takes that
 * away. */
static bool is_told(const struct frozen *f, const struct lineage *l)
{
	return is_frozen(f, l->grp) || (l->kind == 'a' && l->grp > f->upto);
}

static int take_lineage(void *ctx, const struct lineage *l)
{
	struct frozen *f = ctx;

	f->place.id = l->src;
	f->n++;
	f->left--;
	return is_told(f, l) ? f->reader.lineage(f->reader.ctx, l) : 0;
}

static int read_table(struct frozen *f)
{
	struct db *db = f->v->db;

	switch (f->part) {
	case INODES: return change_inodes_behind(db, &f->place, f->upto, f->left, take_inode, f);
	case LINKS: return change_links_behind(db, &f->place, f->upto, f->left, take_link, f);
	case XATTRS: return change_xattrs_behind(db, &f->place, f->upto, f->left, take_xattr, f);
	case RANGES: return change_ranges_behind(db, &f->place, f->upto, f->left, take_range, f);
	case CONFLICTS:
		return conflict_rows_behind(db, f->place.grp, f->place.id, f->upto, f->left, take_conflict, f);
	default: return lineage_rows_behind(db, LINEAGE_INODE, f->place.id, f->left, take_lineage, f);
	}
}

static void begin_part(struct frozen *f)
{
	bool by_key = f->part == LINEAGES ||
	              (f->part <= RANGES && change_rows_many(f->v->db, (enum change_table)f->part, f->after, f->upto,
	                                                     WHOLE_SHARE));

	f->how = by_key ? WALK : FIND;
	f->key[0] = '\0';
	f->place = (struct change_place){ .by_group = !by_key, .key = f->key };
	if (!by_key) { /* behind all rows of the group before */
		f->place.grp = f->after;
		f->place.id = f->place.sub = INT64_MAX;
	}
}

/* Some of the part at hand; the next one, if nothing is left of it. */
static int read_some(struct frozen *f)
{
	size_t asked = f->left;
	int rc = 0;

	if (f->how == NOT_BEGUN)
		begin_part(f);
	if (f->how != DRAIN) {
		f->n = 0;
		rc = read_table(f);
		if (rc == 0 && f->n < asked)
			f->how = DRAIN;
	}
	while (rc == 0 && f->how == DRAIN && f->left > 0 && f->part <= RANGES && f->by[f->part].n > 0)
		rc = tell_first(f);
	if (rc == 0 && f->how == DRAIN && (f->part > RANGES || f->by[f->part].n == 0)) {
		f->part++;
		f->how = NOT_BEGUN;
	}
	return rc == STEP_IS_OVER ? 0 : rc;
}

int frozen_read(struct frozen *f)
{
	f->left = f->v->opt.at_once_rows ? f->v->opt.at_once_rows : STEP_ROWS;
	while (!f->rc && f->left > 0 && f->part < PARTS)
		f->rc = read_some(f);
	return f->rc ? f->rc : f->part < PARTS;
}

/* ---- before a row is changed ---- */

static bool is_read(const struct frozen *f, enum part part, const struct row *r)
{
	const struct change_place *at = &f->place;

	if (part != f->part || f->how == NOT_BEGUN)
		return part < f->part;
	if (f->how == DRAIN)
		return true;
	if (at->by_group && r->at.grp != at->grp)
		return r->at.grp < at->grp;
	return compare(r, at->id, at->sub, part == XATTRS ? f->key : NULL) <= 0;
}

/* No row of this part has to be put by (any more). */
static bool needs_none(const struct volume *v, enum part part)
{
	const struct frozen *f = v->frozen;

	return !f || f->rc || part < f->part || (part == f->part && f->how == DRAIN);
}

static void keep(struct frozen *f, enum part part, const struct row *r)
{
	if (is_frozen(f, r->at.grp) && !is_read(f, part, r))
		heap_push(&f->by[part], r);
}

void frozen_keep_inode(struct volume *v, uint64_t ino, enum entity what)
{
	struct row r = { .id = ino, .sub = what };

	if (!needs_none(v, INODES) && change_inode_get(v->db, ino, what, &r.at) == 0)
		keep(v->frozen, INODES, &r);
}

void frozen_keep_xattr(struct volume *v, uint64_t ino, const char *key)
{
	struct row r = { .id = ino, .key = (char *)(uintptr_t)key };

	if (!needs_none(v, XATTRS) && change_xattr_get(v->db, ino, key, &r.at) == 0)
		keep(v->frozen, XATTRS, &r);
}

void frozen_keep_link(struct volume *v, uint64_t link)
{
	struct row r = { .id = link };

	if (!needs_none(v, LINKS) && change_link_get(v->db, link, &r.at) == 0)
		keep(v->frozen, LINKS, &r);
}

struct piece {
	struct frozen *f;
	uint64_t off, end;
};

static int keep_range(void *ctx, uint64_t ino, uint64_t off, uint64_t len_bytes, uint64_t grp)
{
	const struct piece *p = ctx;
	uint64_t from = MAX(off, p->off), end = MIN(off + len_bytes, p->end);

	keep(p->f, RANGES, &(struct row){ .id = ino, .sub = from, .len_bytes = end - from, .at.grp = grp });
	return 0;
}

void frozen_keep_ranges(struct volume *v, uint64_t ino, uint64_t off, uint64_t end, size_t max_rows)
{
	struct piece p = { v->frozen, off, end };

	if (!needs_none(v, RANGES) && !map_get(&v->frozen->gone, ino, NULL))
		change_ranges_over(v->db, ino, off, end, max_rows, keep_range, &p);
}

static int keep_xattr(void *ctx, uint64_t ino, const char *key, const struct change_row *row)
{
	keep(ctx, XATTRS, &(struct row){ .id = ino, .key = (char *)(uintptr_t)key, .at = *row });
	return 0;
}

void frozen_keep_whole(struct volume *v, uint64_t ino, size_t max_ranges)
{
	if (!v->frozen)
		return;
	for (enum entity what = ENT_NEW; what < ENT_ASK; what++)
		frozen_keep_inode(v, ino, what);
	if (!needs_none(v, XATTRS))
		change_xattrs_of(v->db, ino, keep_xattr, v->frozen);
	frozen_keep_ranges(v, ino, 0, FILE_MAX_BYTES, max_ranges);
}

void frozen_keep_conflict(struct volume *v, uint64_t id)
{
	struct frozen *f = v->frozen;
	struct row r = { .id = id };
	bool resolved;
	int rc;

	if (needs_none(v, CONFLICTS) || conflict_row_state(v->db, id, &r.at.grp, &resolved) != 0 ||
	    !is_frozen(f, r.at.grp) || is_read(f, CONFLICTS, &r))
		return;
	rc = conflict_row_get(v->db, id, f->reader.conflict, f->reader.ctx);
	if (rc && !f->rc)
		f->rc = rc;
}
