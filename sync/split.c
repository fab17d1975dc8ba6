/* SPDX-License-Identifier: MIT */
#include "sync/split.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/landing.h"
#include "core/tree.h"
#include "sync/merge_state.h"
#include "sync/name_fold.h"
#include "util/util.h"

/* ---- what hangs together -------------------------------------------------------------------------------------------
 */

/* Of the names that people take for the same, and of those of one database. Two others may have one key: then the part
 * is larger than it needs to be. */
static uint64_t key_of(uint64_t dir, const char *name, size_t name_len)
{
	uint64_t key = UINT64_C(1469598103934665603) ^ dir;
	size_t len;
	char *folded = name_fold(name, families_stem(name, name_len), &len);

	for (size_t i = 0; i < len; i++)
		key = (key ^ (uint8_t)folded[i]) * UINT64_C(1099511628211);
	free(folded);
	return key ? key : 1;
}

/* Entry e becomes the first of the chain of `of`. */
static void chain(struct map *firsts, uint64_t *next, uint64_t of, size_t e)
{
	if (!of)
		return;
	map_get(firsts, of, &next[e]);
	map_put(firsts, of, e + 1);
}

static uint64_t first_of(const struct map *firsts, uint64_t of)
{
	uint64_t e = 0;

	if (of)
		map_get(firsts, of, &e);
	return e;
}

static int open_link(struct split *sp, size_t i)
{
	const struct ship_link *l = &sp->s->links[i];
	struct inode in;
	struct dentry d;
	int rc = tree_link_get(sp->v, l->link, &d);

	if (rc && rc != -ENOENT)
		return rc;
	if (rc == 0) {
		sp->child[i] = d.child;
		sp->parent[i] = d.parent;
		sp->key[2 * i + 1] = key_of(d.parent, d.name, d.name_len);
		sp->is_dir[i] = tree_inode_get(sp->v, d.child, &in) == 0 && S_ISDIR(in.mode);
		sp->moves_dirs |= l->parent && sp->is_dir[i];
	}
	if (l->parent)
		sp->key[2 * i] = key_of(l->parent, l->name, l->name_len);
	chain(&sp->by_child, sp->next_of_child, l->child, 2 * i);
	if (sp->child[i] != l->child)
		chain(&sp->by_child, sp->next_of_child, sp->child[i], 2 * i + 1);
	for (size_t e = 2 * i; e < 2 * i + 2; e++)
		chain(&sp->by_key, sp->next_of_key, sp->key[e], e);
	chain(&sp->in_dir, sp->next_in, l->parent, i);
	return landing_breathe(sp->v);
}

int split_open(struct split *sp, struct volume *v, struct shipment *s, bool ends)
{
	size_t n = s->n_links + 1;

	*sp = (struct split){ .v = v, .s = s, .ends = ends };
	sp->child = xcalloc(n, sizeof(*sp->child));
	sp->parent = xcalloc(n, sizeof(*sp->parent));
	sp->is_dir = xcalloc(n, sizeof(*sp->is_dir));
	sp->key = xcalloc(2 * n, sizeof(*sp->key));
	sp->next_of_child = xcalloc(2 * n, sizeof(*sp->next_of_child));
	sp->next_of_key = xcalloc(2 * n, sizeof(*sp->next_of_key));
	sp->next_in = xcalloc(n, sizeof(*sp->next_in));
	for (size_t i = 0; sp->rc == 0 && i < s->n_links; i++)
		sp->rc = open_link(sp, i);
	return sp->rc;
}

void split_release(struct split *sp)
{
	free(sp->child);
	free(sp->parent);
	free(sp->is_dir);
	free(sp->key);
	free(sp->next_of_child);
	free(sp->next_of_key);
	free(sp->next_in);
	free(sp->queue);
	free(sp->late_inodes);
	map_release(&sp->by_child);
	map_release(&sp->by_key);
	map_release(&sp->in_dir);
	map_release(&sp->in);
	map_release(&sp->above);
}

/* ---- the part grows ------------------------------------------------------------------------------------------------
 */

static bool mentions(const struct split *sp, uint64_t ino)
{
	return first_of(&sp->by_child, ino) || shipment_inode(sp->s, ino) || map_get(&sp->s->xattr_by_ino, ino, NULL);
}

bool split_fills(const struct split *sp, uint64_t dir)
{
	return first_of(&sp->in_dir, dir) != 0;
}

static void push(uint64_t **list, size_t *n, size_t *cap, uint64_t ino)
{
	if (*n == *cap) {
		*cap = *cap ? 2 * *cap : 64;
		*list = xrealloc(*list, *cap * sizeof(**list));
	}
	(*list)[(*n)++] = ino;
}

void split_add(struct split *sp, uint64_t ino, bool whole)
{
	uint64_t has = 0;

	if (!ino || (!mentions(sp, ino) && !whole))
		return;
	map_get(&sp->in, ino, &has);
	if (has > (whole ? 1u : 0u))
		return;
	map_put(&sp->in, ino, whole ? 2 : 1);
	push(&sp->queue, &sp->n_queue, &sp->cap_queue, ino);
	if (sp->late && !has)
		push(&sp->late_inodes, &sp->n_late, &sp->cap_late, ino);
}

void split_add_link(struct split *sp, const struct ship_link *l)
{
	split_add(sp, l->child, false);
	split_add(sp, sp->child[l - sp->s->links], false);
}

static bool is_new_dir(const struct split *sp, uint64_t ino)
{
	const struct rec_inode *r = shipment_inode(sp->s, ino);

	return r && (r->fields & REC_NEW) && S_ISDIR(r->mode);
}

void split_add_new_dir(struct split *sp, uint64_t ino)
{
	if (is_new_dir(sp, ino))
		split_add(sp, ino, true);
}

/* whole: new directories with what is in them. */
static void add_of_key(struct split *sp, uint64_t key, bool whole)
{
	for (uint64_t e = first_of(&sp->by_key, key); e; e = sp->next_of_key[e - 1]) {
		const struct ship_link *l = &sp->s->links[(e - 1) / 2];

		split_add(sp, l->child, whole && is_new_dir(sp, l->child));
		split_add(sp, sp->child[(e - 1) / 2], false);
	}
}

void split_add_name(struct split *sp, uint64_t dir, const char *name, size_t name_len)
{
	add_of_key(sp, key_of(dir, name, name_len), true);
}

/* Of a directory the shipment says where it shall be, or that it goes; it is none of the part for what is in it alone
 * where nobody removes it with the part. */
static bool stays_out(struct split *sp, uint64_t dir)
{
	uint64_t e = first_of(&sp->by_child, dir);

	if (sp->ends || sp->s->links[(e - 1) / 2].parent)
		return false;
	if (sp->late)
		sp->rc = sp->rc ? sp->rc : -EAGAIN;
	return true;
}

void split_add_above(struct split *sp, uint64_t dir)
{
	while (dir > INO_HIDDEN && !map_get(&sp->above, dir, NULL)) {
		map_put(&sp->above, dir, 1);
		if (first_of(&sp->by_child, dir)) {
			if (!stays_out(sp, dir))
				split_add(sp, dir, false); /* and what is above that when its turn comes */
			return;
		}
		dir = tree_parent_of_dir(sp->v, dir);
	}
}

/* What both had: we may have moved it away from there. */
static void add_above_before(struct split *sp, uint64_t link, uint64_t seen)
{
	struct dentry d;

	if (tree_link_view(sp->v, link, (struct view){ .kind = VIEW_PEER, .group = seen }, &d) == 0)
		split_add_above(sp, d.parent);
}

static int add_above_link(void *ctx, const struct dentry *d)
{
	struct split *sp = ctx;

	split_add_above(sp, d->parent);
	add_above_before(sp, d->link, sp->s->begin.seen);
	return 0;
}

static void follow(struct split *sp, uint64_t ino)
{
	uint64_t how = 0;

	for (uint64_t e = first_of(&sp->by_child, ino); e; e = sp->next_of_child[e - 1]) {
		size_t i = (e - 1) / 2;
		const struct ship_link *l = &sp->s->links[i];

		split_add_link(sp, l);
		add_of_key(sp, sp->key[2 * i], false);
		add_of_key(sp, sp->key[2 * i + 1], false);
		split_add_above(sp, l->parent);
		split_add_above(sp, sp->parent[i]);
		add_above_before(sp, l->link, l->seen);
	}
	tree_links_of(sp->v, ino, add_above_link, sp);
	map_get(&sp->in, ino, &how);
	for (uint64_t e = how == 2 ? first_of(&sp->in_dir, ino) : 0; e; e = sp->next_in[e - 1]) {
		const struct ship_link *l = &sp->s->links[e - 1];

		split_add_link(sp, l);
		split_add_new_dir(sp, l->child);
	}
}

int split_close(struct split *sp)
{
	while (sp->rc == 0 && sp->n_queue > 0) {
		follow(sp, sp->queue[--sp->n_queue]);
		if (sp->rc == 0 && !sp->late)
			sp->rc = landing_breathe(sp->v);
	}
	return sp->rc;
}

/* ---- the part ------------------------------------------------------------------------------------------------------
 */

bool split_has(const struct split *sp, uint64_t ino)
{
	return ino && map_get(&sp->in, ino, NULL);
}

bool split_has_link(const struct split *sp, size_t i)
{
	return split_has(sp, sp->s->links[i].child) || split_has(sp, sp->child[i]);
}

bool split_ends_link(const struct split *sp, size_t i)
{
	return sp->ends && !sp->s->links[i].parent && sp->is_dir[i] && split_has_link(sp, i);
}

static size_t count_of(const struct split *sp, uint64_t ino)
{
	size_t n = shipment_inode(sp->s, ino) != NULL;
	uint64_t at;

	for (uint64_t e = first_of(&sp->by_child, ino); e; e = sp->next_of_child[e - 1])
		n++;
	if (map_get(&sp->s->xattr_by_ino, ino, &at))
		for (; at; at = sp->s->xattrs[at - 1].next)
			n++;
	return n;
}

size_t split_count(const struct split *sp)
{
	uint64_t ino, how;
	size_t it = 0, n = 0;

	while (map_next(&sp->in, &it, &ino, &how))
		n += count_of(sp, ino);
	return n;
}

static void add_inode(struct shipment *part, struct rec_inode *r)
{
	if (r && !map_get(&part->by_ino, r->ino, NULL)) {
		part->inodes[part->n_inodes++] = r;
		map_put(&part->by_ino, r->ino, part->n_inodes);
	}
}

static void add_link(const struct split *sp, struct shipment *part, size_t i)
{
	const struct ship_link *l = &sp->s->links[i];

	if (map_get(&part->by_link, l->link, NULL))
		return;
	part->links[part->n_links++] = *l;
	map_put(&part->by_link, l->link, part->n_links);
	if (split_ends_link(sp, i))
		map_put(&part->planned_ends, l->link, 1);
}

static void add_xattr(struct shipment *part, const struct ship_xattr *x)
{
	struct ship_xattr *out = &part->xattrs[part->n_xattrs++];

	*out = *x;
	out->next = 0;
	map_get(&part->xattr_by_ino, x->ino, &out->next);
	map_put(&part->xattr_by_ino, x->ino, part->n_xattrs);
}

static int by_index(const void *a, const void *b)
{
	size_t x = *(const size_t *)a, y = *(const size_t *)b;

	return x < y ? -1 : x > y;
}

/* In the order of the whole one. */
struct list {
	size_t *at, n;
};

static void list_sort(struct list *l)
{
	if (l->n > 0)
		qsort(l->at, l->n, sizeof(*l->at), by_index);
}

static void list_of(const struct split *sp, uint64_t ino, struct list *inodes, struct list *links, struct list *xattrs)
{
	uint64_t at;

	if (map_get(&sp->s->by_ino, ino, &at))
		inodes->at[inodes->n++] = (size_t)at - 1;
	for (uint64_t e = first_of(&sp->by_child, ino); e; e = sp->next_of_child[e - 1])
		links->at[links->n++] = (size_t)(e - 1) / 2;
	if (map_get(&sp->s->xattr_by_ino, ino, &at))
		for (; at; at = sp->s->xattrs[at - 1].next)
			xattrs->at[xattrs->n++] = (size_t)at - 1;
}

struct shipment *split_part(const struct split *sp)
{
	size_t n = split_count(sp) + 1, it = 0;
	struct list inodes = { xcalloc(n, sizeof(size_t)), 0 }, links = { xcalloc(n, sizeof(size_t)), 0 },
		    xattrs = { xcalloc(n, sizeof(size_t)), 0 };
	struct shipment *part = xcalloc(1, sizeof(*part));
	uint64_t ino, how;

	*part = *sp->s; /* conflicts, asks, lineages, bytes */
	part->is_part = true;
	part->by_ino = part->by_link = part->xattr_by_ino = part->planned_ends = (struct map)MAP_INIT;
	part->n_inodes = part->n_links = part->n_xattrs = 0;
	while (map_next(&sp->in, &it, &ino, &how))
		list_of(sp, ino, &inodes, &links, &xattrs);
	list_sort(&inodes);
	list_sort(&links);
	list_sort(&xattrs);
	part->inodes = xcalloc(inodes.n + 1, sizeof(*part->inodes));
	part->links = xcalloc(links.n + 1, sizeof(*part->links));
	part->xattrs = xcalloc(xattrs.n + 1, sizeof(*part->xattrs));
	for (size_t i = 0; i < inodes.n; i++)
		add_inode(part, sp->s->inodes[inodes.at[i]]);
	for (size_t i = 0; i < links.n; i++)
		add_link(sp, part, links.at[i]);
	for (size_t i = 0; i < xattrs.n; i++)
		add_xattr(part, &sp->s->xattrs[xattrs.at[i]]);
	free(inodes.at);
	free(links.at);
	free(xattrs.at);
	return part;
}

void split_part_free(struct shipment *part)
{
	if (!part)
		return;
	free(part->inodes);
	free(part->links);
	free(part->xattrs);
	map_release(&part->by_ino);
	map_release(&part->by_link);
	map_release(&part->xattr_by_ino);
	map_release(&part->planned_ends);
	free(part);
}
