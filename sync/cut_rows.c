/* SPDX-License-Identifier: MIT */
#include "sync/cut_rows.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "util/number.h"
#include "util/util.h"

/* ---- numbers ---- */

static uint8_t *room(struct packed *p, size_t len_bytes)
{
	if (p->cap_bytes - p->len_bytes < len_bytes) {
		p->cap_bytes = MAX(p->cap_bytes + p->cap_bytes / 2, p->len_bytes + len_bytes + 64);
		p->data = xrealloc(p->data, p->cap_bytes);
	}
	return p->data + p->len_bytes;
}

static void put(struct packed *p, uint64_t n)
{
	p->len_bytes += number_put(room(p, NUMBER_MAX_BYTES), n);
}

static uint64_t get(const struct packed *p, struct cut_at *at)
{
	const uint8_t *byte = p->data + at->at;
	uint64_t n = number_get(&byte);

	at->at = (size_t)(byte - p->data);
	assert(at->at <= p->len_bytes);
	return n;
}

/* How far it is from the last one, to either side. */
static void put_near(struct packed *p, uint64_t n, uint64_t *last)
{
	put(p, number_near(n, *last));
	*last = n;
}

static uint64_t get_near(const struct packed *p, struct cut_at *at, uint64_t *last)
{
	return *last = number_from(get(p, at), *last);
}

/* ---- rows ---- */

/* But for `child`. */
static void put_row(struct packed *p, const struct change_row *row)
{
	put(p, row->grp);
	put(p, row->seen);
	put(p, row->shrunk_grp);
	if (row->shrunk_grp)
		put(p, row->shrunk_to);
}

static void get_row(const struct packed *p, struct cut_at *at, struct change_row *row)
{
	*row = (struct change_row){ .grp = get(p, at), .shrunk_to = UINT64_MAX };
	row->seen = get(p, at);
	row->shrunk_grp = get(p, at);
	if (row->shrunk_grp)
		row->shrunk_to = get(p, at);
}

static void put_inode(struct cut_rows *r)
{
	struct packed *p = &r->inodes;

	if (!r->coming.which)
		return;
	put_near(p, r->coming.ino, &p->last);
	put(p, r->coming.which);
	for (unsigned what = 0; what <= ENT_ASK; what++)
		if (r->coming.which & 1u << what)
			put_row(p, &r->coming.row[what]);
	p->n++;
	r->coming.which = 0;
}

static int copy_inode(void *ctx, uint64_t ino, enum entity what, const struct change_row *row)
{
	struct cut_rows *r = ctx;

	if (r->coming.ino != ino)
		put_inode(r);
	r->coming.ino = ino;
	r->coming.which |= 1u << what;
	r->coming.row[what] = *row;
	return 0;
}

static int copy_link(void *ctx, uint64_t link, const struct change_row *row)
{
	struct packed *p = &((struct cut_rows *)ctx)->links;

	put_near(p, link, &p->last);
	put_near(p, row->child, &p->last_b);
	put_row(p, row);
	put(p, row->skipped);
	p->n++;
	return 0;
}

static int copy_xattr(void *ctx, uint64_t ino, const char *key, const struct change_row *row)
{
	struct packed *p = &((struct cut_rows *)ctx)->xattrs;
	size_t len_bytes = strlen(key) + 1;

	put_near(p, ino, &p->last);
	put_row(p, row);
	memcpy(room(p, len_bytes), key, len_bytes);
	p->len_bytes += len_bytes;
	p->n++;
	return 0;
}

void cut_put_range(struct packed *p, const struct cut_range *r)
{
	if (r->ino != p->last)
		p->last_b = 0;
	put_near(p, r->ino, &p->last);
	put_near(p, r->off, &p->last_b);
	put(p, r->len_bytes);
	put(p, r->grp);
	p->last_b += r->len_bytes;
	p->n++;
}

static int copy_range(void *ctx, uint64_t ino, uint64_t off, uint64_t len_bytes, uint64_t grp)
{
	cut_put_range(&((struct cut_rows *)ctx)->ranges, &(struct cut_range){ ino, off, len_bytes, grp });
	return 0;
}

/* ---- notes ---- */

static void *grow(void *array, size_t n, size_t *cap, size_t size_bytes)
{
	if (n < *cap)
		return array;
	*cap = *cap ? *cap * 2 : 16;
	return xrealloc(array, *cap * size_bytes);
}

static int copy_conflict(void *ctx, const struct conflict *c)
{
	struct cut_rows *r = ctx;
	struct conflict copy = *c;

	copy.rule = xstrdup(c->rule ? c->rule : "");
	copy.path = xstrdup(c->path ? c->path : "");
	for (int i = 0; i < 2; i++) {
		copy.version[i].path = c->version[i].path ? xstrdup(c->version[i].path) : NULL;
		copy.version[i].value = c->version[i].value ? xstrdup(c->version[i].value) : NULL;
	}
	r->conflicts = grow(r->conflicts, r->n_conflicts, &r->cap_conflicts, sizeof(*r->conflicts));
	r->conflicts[r->n_conflicts++] = copy;
	return 0;
}

static int copy_lineage(void *ctx, const struct lineage *l)
{
	struct cut_rows *r = ctx;

	if (l->kind != 'a' && l->kind != 'c' && l->kind != 'u')
		return 0;
	r->lineages = grow(r->lineages, r->n_lineages, &r->cap_lineages, sizeof(*r->lineages));
	r->lineages[r->n_lineages++] = (struct rec_lineage){ .src = l->src, .dst = l->dst, .kind = l->kind,
							     .since = l->kind == 'u' ? l->since : 0 };
	return 0;
}

static int by_id(const void *a, const void *b)
{
	const struct conflict *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

/* ---- the cut ---- */

/* Some more of them. Lock held. */
static int copy_some(struct cut_rows *r)
{
	int rc = frozen_read(r->frozen);

	if (rc == 1)
		return 1;
	put_inode(r);
	frozen_end(r->frozen);
	r->frozen = NULL;
	return rc;
}

int cut_rows_begin(struct volume *v, uint64_t from, uint64_t to, struct cut_rows *out)
{
	const struct frozen_reader reader = { copy_inode,    copy_link,    copy_xattr, copy_range,
		                              copy_conflict, copy_lineage, out };

	*out = (struct cut_rows){ .v = v };
	out->frozen = frozen_begin(v, from, to, &reader);
	return MIN(copy_some(out), 0);
}

int cut_rows_rest(struct cut_rows *r)
{
	int rc = 0;

	while (rc >= 0 && r->frozen) {
		rc = volume_pause(r->v);
		if (rc < 0)
			break;
		volume_lock(r->v);
		rc = copy_some(r);
		volume_unlock(r->v);
	}
	if (rc >= 0 && r->n_conflicts > 1)
		qsort(r->conflicts, r->n_conflicts, sizeof(*r->conflicts), by_id);
	return MIN(rc, 0);
}

void cut_rows_release(struct cut_rows *r)
{
	if (r->frozen) { /* it was given up */
		volume_lock_now(r->v);
		frozen_end(r->frozen);
		volume_unlock(r->v);
	}
	for (size_t i = 0; i < r->n_conflicts; i++)
		conflict_release(&r->conflicts[i]);
	free(r->conflicts);
	free(r->lineages);
	free(r->inodes.data);
	free(r->links.data);
	free(r->xattrs.data);
	free(r->ranges.data);
	*r = (struct cut_rows){ .v = r->v };
}

/* ---- reading ---- */

bool cut_next_inode(const struct cut_rows *r, struct cut_at *at, struct cut_inode *out)
{
	const struct packed *p = &r->inodes;

	if (at->at == p->len_bytes)
		return false;
	out->ino = get_near(p, at, &at->last);
	out->which = (unsigned)get(p, at);
	for (unsigned what = 0; what <= ENT_ASK; what++)
		if (out->which & 1u << what)
			get_row(p, at, &out->row[what]);
		else
			out->row[what] = (struct change_row){ .shrunk_to = UINT64_MAX };
	return true;
}

bool cut_next_link(const struct cut_rows *r, struct cut_at *at, struct cut_link *out)
{
	const struct packed *p = &r->links;
	uint64_t child;

	if (at->at == p->len_bytes)
		return false;
	out->link = get_near(p, at, &at->last);
	child = get_near(p, at, &at->last_b);
	get_row(p, at, &out->row);
	out->row.child = child;
	out->row.skipped = get(p, at) != 0;
	return true;
}

bool cut_next_xattr(const struct cut_rows *r, struct cut_at *at, struct cut_xattr *out)
{
	const struct packed *p = &r->xattrs;

	if (at->at == p->len_bytes)
		return false;
	out->ino = get_near(p, at, &at->last);
	get_row(p, at, &out->row);
	out->key = (const char *)p->data + at->at;
	at->at += strlen(out->key) + 1;
	assert(at->at <= p->len_bytes);
	return true;
}

bool cut_next_range(const struct packed *p, struct cut_at *at, struct cut_range *out)
{
	uint64_t before = at->last;

	if (at->at == p->len_bytes)
		return false;
	out->ino = get_near(p, at, &at->last);
	if (out->ino != before)
		at->last_b = 0;
	out->off = get_near(p, at, &at->last_b);
	out->len_bytes = get(p, at);
	out->grp = get(p, at);
	at->last_b += out->len_bytes;
	return true;
}
