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
	key = (uint32_t)(key ^ key >> 32);
	return key ? key : 1;
}

void split_here(const struct split *sp, size_t i, struct split_here *out)
{
	uint64_t n[4];

	rows_get(&sp->here, i, n, NULL);
	*out = (struct split_here){ .child = n[0], .parent = n[1], .key = n[2], .is_dir = n[3] != 0 };
}

/* ---- chains: of what has one id or key, the last that was added comes first ---- */

static void chains_open(struct split_chains *c, size_t n_links, bool twice)
{
	size_t size = 16;

	while (size < n_links)
		size *= 2;
	c->mask = (uint32_t)(size - 1);
	c->first = xcalloc(size, sizeof(*c->first));
	c->next = xcalloc((twice ? 2 : 1) * n_links + 1, sizeof(*c->next));
}

static uint32_t *chain_of(const struct split_chains *c, uint64_t of)
{
	return &c->first[of * UINT64_C(0x9e3779b97f4a7c15) >> 32 & c->mask];
}

static void chain(struct split_chains *c, uint64_t of, size_t entry)
{
	uint32_t *first = chain_of(c, of);

	c->next[entry] = *first;
	*first = (uint32_t)entry + 1;
}

static void chains_release(struct split_chains *c)
{
	free(c->first);
	free(c->next);
}

static size_t link_of(const struct split *sp, uint64_t e)
{
	return (size_t)(e - 1) % sp->s->n_links;
}

static bool is_here(const struct split *sp, uint64_t e)
{
	return e > sp->s->n_links;
}

static uint64_t child_at(const struct split *sp, uint64_t e)
{
	struct ship_link room;
	struct split_here here;

	if (!is_here(sp, e))
		return shipment_link_at(sp->s, link_of(sp, e), &room)->child;
	split_here(sp, link_of(sp, e), &here);
	return here.child;
}

static uint64_t wanted_key(const struct ship_link *l)
{
	return l->parent ? key_of(l->parent, l->name, l->name_len) : 0;
}

static uint64_t key_at(const struct split *sp, uint64_t e)
{
	struct ship_link room;
	struct split_here here;

	if (!is_here(sp, e))
		return wanted_key(shipment_link_at(sp->s, link_of(sp, e), &room));
	split_here(sp, link_of(sp, e), &here);
	return here.key;
}

static uint64_t dir_at(const struct split *sp, uint64_t e)
{
	struct ship_link room;

	return shipment_link_at(sp->s, link_of(sp, e), &room)->parent;
}

/* The entry itself, or the next of its chain that is of `of`; 0: there is none. */
static uint64_t seek(const struct split *sp, const struct split_chains *c, uint64_t e, uint64_t of,
		     uint64_t (*at)(const struct split *sp, uint64_t e))
{
	while (e && at(sp, e) != of)
		e = c->next[e - 1];
	return e;
}

/* e 0: the first one; else the one after that. */
static uint64_t next_of_child(const struct split *sp, uint64_t child, uint64_t e)
{
	e = !child ? 0 : e ? sp->by_child.next[e - 1] : *chain_of(&sp->by_child, child);
	return seek(sp, &sp->by_child, e, child, child_at);
}

static uint64_t next_of_key(const struct split *sp, uint64_t key, uint64_t e)
{
	e = !key ? 0 : e ? sp->by_key.next[e - 1] : *chain_of(&sp->by_key, key);
	return seek(sp, &sp->by_key, e, key, key_at);
}

static uint64_t next_in_dir(const struct split *sp, uint64_t dir, uint64_t e)
{
	e = !dir ? 0 : e ? sp->in_dir.next[e - 1] : *chain_of(&sp->in_dir, dir);
	return seek(sp, &sp->in_dir, e, dir, dir_at);
}

/* ---- all links ---- */

static int look_here(struct split *sp, const struct ship_link *l, struct split_here *here)
{
	struct inode in;
	struct dentry d;
	int rc = tree_link_get(sp->v, l->link, &d);

	*here = (struct split_here){ .child = 0 };
	if (rc)
		return rc == -ENOENT ? 0 : rc;
	*here = (struct split_here){ .child = d.child,
				     .parent = d.parent,
				     .key = key_of(d.parent, d.name, d.name_len),
				     .is_dir = tree_inode_get(sp->v, d.child, &in) == 0 && S_ISDIR(in.mode) };
	sp->moves_dirs |= l->parent && here->is_dir;
	return 0;
}

static int open_link(struct split *sp, size_t i)
{
	const size_t as_here = sp->s->n_links + i;
	struct ship_link room;
	const struct ship_link *l = shipment_link_at(sp->s, i, &room);
	struct split_here here;
	int rc = look_here(sp, l, &here);

	if (rc)
		return rc;
	rows_add(&sp->here, (const uint64_t[]){ here.child, here.parent, here.key, here.is_dir }, NULL, 0);
	chain(&sp->by_child, l->child, i);
	if (here.child && here.child != l->child)
		chain(&sp->by_child, here.child, as_here);
	if (l->parent) {
		chain(&sp->by_key, wanted_key(l), i);
		chain(&sp->in_dir, l->parent, i);
	}
	if (here.key)
		chain(&sp->by_key, here.key, as_here);
	return landing_breathe(sp->v);
}

int split_open(struct split *sp, struct volume *v, struct shipment *s, bool ends)
{
	*sp = (struct split){ .v = v, .s = s, .ends = ends, .here = { .n_numbers = 4 } };
	chains_open(&sp->by_child, s->n_links, true);
	chains_open(&sp->by_key, s->n_links, true);
	chains_open(&sp->in_dir, s->n_links, false);
	for (size_t i = 0; sp->rc == 0 && i < s->n_links; i++)
		sp->rc = open_link(sp, i);
	return sp->rc;
}

void split_release(struct split *sp)
{
	rows_release(&sp->here);
	chains_release(&sp->by_child);
	chains_release(&sp->by_key);
	chains_release(&sp->in_dir);
	free(sp->queue);
	free(sp->late_inodes);
	map_release(&sp->in);
	map_release(&sp->above);
}

size_t split_place_of(const struct split *sp, uint64_t ino)
{
	struct ship_link room;

	for (uint64_t e = next_of_child(sp, ino, 0); e; e = next_of_child(sp, ino, e))
		if (!is_here(sp, e) && shipment_link_at(sp->s, link_of(sp, e), &room)->parent)
			return link_of(sp, e) + 1;
	return 0;
}

/* ---- the part grows ------------------------------------------------------------------------------------------------
 */

static bool mentions(const struct split *sp, uint64_t ino)
{
	return next_of_child(sp, ino, 0) || shipment_find_inode(sp->s, ino, NULL) ||
	       shipment_xattr_before(sp->s, ino, 0);
}

bool split_fills(const struct split *sp, uint64_t dir)
{
	return next_in_dir(sp, dir, 0) != 0;
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

void split_add_link(struct split *sp, size_t i)
{
	struct ship_link room;
	struct split_here here;

	split_here(sp, i, &here);
	split_add(sp, shipment_link_at(sp->s, i, &room)->child, false);
	split_add(sp, here.child, false);
}

static bool is_new_dir(const struct split *sp, uint64_t ino)
{
	struct rec_inode room;
	const struct rec_inode *r = shipment_look(sp->s, ino, &room);

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
	struct ship_link room;
	struct split_here here;

	for (uint64_t e = next_of_key(sp, key, 0); e; e = next_of_key(sp, key, e)) {
		const struct ship_link *l = shipment_link_at(sp->s, link_of(sp, e), &room);

		split_here(sp, link_of(sp, e), &here);
		split_add(sp, l->child, whole && is_new_dir(sp, l->child));
		split_add(sp, here.child, false);
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
	uint64_t e = next_of_child(sp, dir, 0);
	struct ship_link room;

	if (sp->ends || shipment_link_at(sp->s, link_of(sp, e), &room)->parent)
		return false;
	if (sp->late)
		sp->rc = sp->rc ? sp->rc : -EAGAIN;
	return true;
}

void split_add_above(struct split *sp, uint64_t dir)
{
	while (dir > INO_HIDDEN && !map_get(&sp->above, dir, NULL)) {
		map_put(&sp->above, dir, 1);
		if (next_of_child(sp, dir, 0)) {
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
	struct ship_link room;
	struct split_here here;
	uint64_t how = 0;

	for (uint64_t e = next_of_child(sp, ino, 0); e; e = next_of_child(sp, ino, e)) {
		const struct ship_link *l = shipment_link_at(sp->s, link_of(sp, e), &room);

		split_here(sp, link_of(sp, e), &here);
		split_add_link(sp, link_of(sp, e));
		add_of_key(sp, wanted_key(l), false);
		/* It may stay, and a new directory that wants its name become one with it. */
		add_of_key(sp, here.key, here.is_dir);
		split_add_above(sp, l->parent);
		split_add_above(sp, here.parent);
		add_above_before(sp, l->link, l->seen);
	}
	tree_links_of(sp->v, ino, add_above_link, sp);
	map_get(&sp->in, ino, &how);
	for (uint64_t e = how == 2 ? next_in_dir(sp, ino, 0) : 0; e; e = next_in_dir(sp, ino, e)) {
		split_add_link(sp, link_of(sp, e));
		split_add_new_dir(sp, shipment_link_at(sp->s, link_of(sp, e), &room)->child);
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
	struct ship_link room;
	struct split_here here;

	if (map_count(&sp->in) == 0) /* as it mostly is */
		return false;
	split_here(sp, i, &here);
	return split_has(sp, shipment_link_at(sp->s, i, &room)->child) || split_has(sp, here.child);
}

bool split_ends_link(const struct split *sp, size_t i)
{
	struct ship_link room;
	struct split_here here;

	if (!sp->ends || !split_has_link(sp, i))
		return false;
	split_here(sp, i, &here);
	return here.is_dir && !shipment_link_at(sp->s, i, &room)->parent;
}

static size_t count_of(const struct split *sp, uint64_t ino)
{
	size_t n = shipment_find_inode(sp->s, ino, NULL);

	for (uint64_t e = next_of_child(sp, ino, 0); e; e = next_of_child(sp, ino, e))
		n++;
	for (size_t at = shipment_xattr_before(sp->s, ino, 0); at; at = shipment_xattr_before(sp->s, ino, at))
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

static void add_inode(struct shipment *part, const struct rec_inode *r)
{
	size_t size = offsetof(struct rec_inode, target) + r->target_len + 1;

	if (map_get(&part->by_ino, r->ino, NULL))
		return;
	part->inodes[part->n_inodes] = xmalloc(size);
	memcpy(part->inodes[part->n_inodes++], r, size);
	map_put(&part->by_ino, r->ino, part->n_inodes);
}

static void add_link(const struct split *sp, struct shipment *part, size_t i)
{
	struct ship_link room;
	const struct ship_link *l = shipment_link_at(sp->s, i, &room);

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
	inodes->n += shipment_find_inode(sp->s, ino, &inodes->at[inodes->n]);
	for (uint64_t e = next_of_child(sp, ino, 0); e; e = next_of_child(sp, ino, e))
		links->at[links->n++] = link_of(sp, e);
	for (size_t at = shipment_xattr_before(sp->s, ino, 0); at; at = shipment_xattr_before(sp->s, ino, at))
		xattrs->at[xattrs->n++] = at - 1;
}

struct shipment *split_part(const struct split *sp)
{
	size_t n = split_count(sp) + 1, it = 0;
	struct list inodes = { xcalloc(n, sizeof(size_t)), 0 }, links = { xcalloc(n, sizeof(size_t)), 0 },
		    xattrs = { xcalloc(n, sizeof(size_t)), 0 };
	struct shipment *part = xcalloc(1, sizeof(*part));
	struct rec_inode *r = xmalloc(sizeof(*r));
	struct ship_xattr x;
	uint64_t ino, how;

	*part = *sp->s; /* conflicts, asks, lineages, bytes */
	part->is_part = true;
	part->packed = false;
	ship_rows_init(&part->rows);
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
		add_inode(part, shipment_inode_at(sp->s, inodes.at[i], r));
	for (size_t i = 0; i < links.n; i++)
		add_link(sp, part, links.at[i]);
	for (size_t i = 0; i < xattrs.n; i++)
		add_xattr(part, shipment_xattr_at(sp->s, xattrs.at[i], &x));
	free(inodes.at);
	free(links.at);
	free(xattrs.at);
	free(r);
	return part;
}

void split_part_free(struct shipment *part)
{
	if (!part)
		return;
	for (size_t i = 0; i < part->n_inodes; i++)
		free(part->inodes[i]);
	free(part->inodes);
	free(part->links);
	free(part->xattrs);
	map_release(&part->by_ino);
	map_release(&part->by_link);
	map_release(&part->xattr_by_ino);
	map_release(&part->planned_ends);
	free(part);
}
