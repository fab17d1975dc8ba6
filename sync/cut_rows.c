/* SPDX-License-Identifier: MIT */
#include "sync/cut_rows.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "util/util.h"

#define NUMBER_MAX_BYTES 10u

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
	uint8_t *to = room(p, NUMBER_MAX_BYTES);
	size_t i = 0;

	for (; n >= 0x80; n >>= 7)
		to[i++] = (uint8_t)(n | 0x80);
	to[i++] = (uint8_t)n;
	p->len_bytes += i;
}

static uint64_t get(const struct packed *p, struct cut_at *at)
{
	uint64_t n = 0;
	unsigned shift = 0;
	uint8_t byte;

	do {
		assert(at->at < p->len_bytes && shift < 64);
		byte = p->data[at->at++];
		n |= (uint64_t)(byte & 0x7f) << shift;
		shift += 7;
	} while (byte & 0x80);
	return n;
}

/* How far it is from the last one, to either side. */
static void put_near(struct packed *p, uint64_t n, uint64_t *last)
{
	uint64_t by = n - *last;

	put(p, by << 1 ^ (0 - (by >> 63)));
	*last = n;
}

static uint64_t get_near(const struct packed *p, struct cut_at *at, uint64_t *last)
{
	uint64_t n = get(p, at);

	*last += n >> 1 ^ (0 - (n & 1));
	return *last;
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

struct copy {
	struct cut_rows *out;
	struct cut_inode inode; /* whose rows are coming; which 0: none */
};

static void put_inode(struct copy *c)
{
	struct packed *p = &c->out->inodes;

	if (!c->inode.which)
		return;
	put_near(p, c->inode.ino, &p->last);
	put(p, c->inode.which);
	for (unsigned what = 0; what <= ENT_ASK; what++)
		if (c->inode.which & 1u << what)
			put_row(p, &c->inode.row[what]);
	p->n++;
	c->inode.which = 0;
}

static int copy_inode(void *ctx, uint64_t ino, enum entity what, const struct change_row *row)
{
	struct copy *c = ctx;

	if (c->inode.ino != ino)
		put_inode(c);
	c->inode.ino = ino;
	c->inode.which |= 1u << what;
	c->inode.row[what] = *row;
	return 0;
}

static int copy_link(void *ctx, uint64_t link, const struct change_row *row)
{
	struct packed *p = &((struct copy *)ctx)->out->links;

	put_near(p, link, &p->last);
	put_near(p, row->child, &p->last_b);
	put_row(p, row);
	put(p, row->skipped);
	p->n++;
	return 0;
}

static int copy_xattr(void *ctx, uint64_t ino, const char *key, const struct change_row *row)
{
	struct packed *p = &((struct copy *)ctx)->out->xattrs;
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
	cut_put_range(&((struct copy *)ctx)->out->ranges, &(struct cut_range){ ino, off, len_bytes, grp });
	return 0;
}

int cut_rows_copy(struct volume *v, uint64_t from, uint64_t to, struct cut_rows *out)
{
	struct copy c = { .out = out };
	int rc = changes_inodes(v, from, to, copy_inode, &c);

	put_inode(&c);
	if (rc == 0)
		rc = changes_links(v, from, to, copy_link, &c);
	if (rc == 0)
		rc = changes_xattrs(v, from, to, copy_xattr, &c);
	return rc ? rc : changes_all_ranges(v, from, to, copy_range, &c);
}

void cut_rows_release(struct cut_rows *r)
{
	free(r->inodes.data);
	free(r->links.data);
	free(r->xattrs.data);
	free(r->ranges.data);
	*r = (struct cut_rows){ .inodes = { .n = 0 } };
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
