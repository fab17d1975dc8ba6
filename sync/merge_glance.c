/* SPDX-License-Identifier: MIT */
/*
 * Does a shipment touch a unit at all, in our tree or in the secondary's? What does not can be taken as it is, or be
 * landed bit by bit; what does is merged as a whole. So whatever merge_units.c takes for a unit is one here as well.
 */
#include <stdlib.h>
#include <string.h>

#include "core/landing.h"
#include "sync/merge_state.h"
#include "sync/split.h"
#include "util/conflict_name.h"
#include "util/util.h"

bool units_is_name(const struct policy_units *u, const char *dir_path, const char *name, size_t len)
{
	char plain[256];
	char *path;
	bool yes;

	conflict_original(name, len, plain);
	if (!policy_units_want_path(u))
		return policy_is_unit(u, plain);
	path = xasprintf("%s/%s", strcmp(dir_path, "/") == 0 ? "" : dir_path, plain);
	yes = policy_is_unit(u, path);
	free(path);
	return yes;
}

struct glance {
	struct volume *v;
	const struct shipment *s;
	const struct policy_units *units;
	const struct split *split; /* of a large shipment: it knows; NULL: */
	struct view then;    /* what the secondary has, but for what it tells now */
	bool own;            /* we changed names since */
	struct map dir_link; /* directory -> index + 1 of the shipment's link to it */
	struct map looked[2]; /* directories, in our tree and in the secondary's: 1: in no unit; 2: a unit, or in one */
};

/* What the shipment says of where the secondary has the directory, NULL: nothing. */
static const struct ship_link *told_link(struct glance *g, uint64_t dir, struct ship_link *room)
{
	uint64_t at = 0;

	if (g->split)
		at = split_place_of(g->split, dir);
	else
		map_get(&g->dir_link, dir, &at);
	return at ? shipment_link_at(g->s, at - 1, room) : NULL;
}

static int first_link(void *ctx, const struct dentry *d)
{
	*(struct dentry *)ctx = *d;
	return 1;
}

/* Where the secondary has the directory, if it says nothing of that now: as it told, or as it knows it of us. */
static bool their_link(struct glance *g, uint64_t dir, struct dentry *d)
{
	struct peer_link note;
	struct change_row row;

	if (!tree_first_link(g->v, dir, d))
		return tree_links_of_view(g->v, dir, g->then, first_link, d) == 1;
	if (changes_get_link(g->v, d->link, &row) < 0 || row.grp <= g->then.group)
		return true;
	if (peer_link_get(g->v, d->link, &note) < 0 || note.at.born <= g->then.group)
		return tree_link_view(g->v, d->link, g->then, d) == 0;
	*d = note.at;
	return d->parent != 0;
}

/* "/a/b" of a directory as the secondary has it. */
static char *their_path(struct glance *g, uint64_t dir)
{
	char *path = xstrdup("");

	for (unsigned depth = 0; dir > INO_HIDDEN && depth < PATH_DEPTH_MAX; depth++) {
		struct ship_link room;
		const struct ship_link *l = told_link(g, dir, &room);
		struct dentry d = { .parent = 0 };
		char *longer;

		if (!l && !their_link(g, dir, &d))
			break;
		longer = xasprintf("/%.*s%s", l ? (int)l->name_len : (int)d.name_len, l ? l->name : d.name, path);
		free(path);
		path = longer;
		dir = l ? l->parent : d.parent;
	}
	return path;
}

static bool is_named_so(struct glance *g, uint64_t parent, bool theirs, const char *name, size_t len)
{
	char *path = NULL;
	bool unit;

	if (parent <= INO_HIDDEN && parent != INO_ROOT)
		return false;
	if (policy_units_want_path(g->units))
		path = theirs ? their_path(g, parent) : merge_path(g->v, parent);
	unit = units_is_name(g->units, path ? path : "", name, len);
	free(path);
	return unit;
}

/* The directory that dir is in, in our tree if it is there, or in the secondary's; *unit: it is called like a unit in
 * either. 0: it is in none. */
static uint64_t next_above(struct glance *g, uint64_t dir, bool theirs, bool *unit)
{
	struct ship_link room;
	const struct ship_link *told = told_link(g, dir, &room);
	struct dentry d = { .parent = 0 };
	uint64_t ours = 0, its = told ? told->parent : 0;

	*unit = told && is_named_so(g, told->parent, true, told->name, told->name_len);
	if (tree_first_link(g->v, dir, &d)) {
		ours = d.parent;
		*unit = *unit || is_named_so(g, d.parent, false, d.name, d.name_len);
	}
	if (!told && g->own && their_link(g, dir, &d)) {
		its = d.parent;
		*unit = *unit || is_named_so(g, d.parent, true, d.name, d.name_len);
	}
	return theirs ? (its ? its : ours) : ours ? ours : its;
}

static bool above_is_unit_in(struct glance *g, uint64_t dir, bool theirs)
{
	uint64_t from = dir, at = dir, known = 1;
	struct map *looked = &g->looked[theirs];
	bool unit = false;

	for (unsigned depth = 0; at > INO_HIDDEN && depth < PATH_DEPTH_MAX && !unit; depth++) {
		if (map_get(looked, at, &known))
			break;
		at = next_above(g, at, theirs, &unit);
	}
	known = unit ? 2 : known;
	for (unsigned depth = 0; from > INO_HIDDEN && depth < PATH_DEPTH_MAX; depth++) {
		if (map_get(looked, from, NULL))
			break;
		map_put(looked, from, known);
		from = next_above(g, from, theirs, &unit);
		if (unit)
			break;
	}
	return known == 2;
}

static bool above_is_unit(struct glance *g, uint64_t dir)
{
	return above_is_unit_in(g, dir, false) || above_is_unit_in(g, dir, true);
}

static int parent_is_unit(void *ctx, const struct dentry *d)
{
	return above_is_unit(ctx, d->parent);
}

/* By a name that we have, or that the secondary has. */
static bool inode_is_in_unit(struct glance *g, uint64_t ino)
{
	return tree_links_of(g->v, ino, parent_is_unit, g) == 1 ||
	       (g->own && links_changed(g->v, ino, g->then.group) &&
		tree_links_of_view(g->v, ino, g->then, parent_is_unit, g) == 1);
}

/* We moved or removed it there, and the secondary does not know of that. */
static bool link_was_in_unit(struct glance *g, uint64_t link)
{
	struct change_row row;
	struct dentry d;

	return g->own && changes_get_link(g->v, link, &row) == 0 && row.grp > g->then.group &&
	       tree_link_view(g->v, link, g->then, &d) == 0 && above_is_unit(g, d.parent);
}

static bool link_is_in_unit(struct glance *g, const struct ship_link *l)
{
	struct dentry d;

	return above_is_unit(g, l->parent) ||
	       (tree_link_get(g->v, l->link, &d) == 0 && above_is_unit(g, d.parent)) || link_was_in_unit(g, l->link);
}

static bool xattr_is_in_unit(struct glance *g, const struct ship_xattr *x)
{
	return xattr_is_of_users(x->key) && inode_is_in_unit(g, x->ino);
}

static int glance_begin(struct glance *g, struct policy_units **units)
{
	int rc = policy_units_load(g->v, units);

	g->units = rc < 0 ? NULL : *units;
	g->then = (struct view){ .kind = VIEW_PEER, .group = g->s->begin.seen };
	g->own = changes_any_link_after(g->v, g->then.group);
	for (size_t i = 0; rc == 0 && !g->split && i < g->s->n_links; i++)
		if (g->s->links[i].parent)
			map_put(&g->dir_link, g->s->links[i].child, i + 1);
	return rc;
}

static void glance_end(struct glance *g, struct policy_units *units)
{
	map_release(&g->dir_link);
	map_release(&g->looked[0]);
	map_release(&g->looked[1]);
	policy_units_free(units);
}

bool units_touched(struct volume *v, const struct shipment *s)
{
	struct glance g = { .v = v, .s = s };
	struct policy_units *units;
	bool found = false;

	if (glance_begin(&g, &units) < 0)
		return true; /* the three-way merge will tell what failed */
	for (size_t i = 0; i < s->n_links && !found; i++)
		found = link_is_in_unit(&g, &s->links[i]);
	for (size_t i = 0; i < s->n_inodes && !found; i++)
		found = inode_is_in_unit(&g, s->inodes[i]->ino);
	for (size_t i = 0; i < s->n_xattrs && !found; i++)
		found = xattr_is_in_unit(&g, &s->xattrs[i]);
	glance_end(&g, units);
	return found;
}

int units_list(struct volume *v, const struct split *split, struct map *inodes)
{
	const struct shipment *s = split->s;
	struct glance g = { .v = v, .s = s, .split = split };
	struct rec_inode *room = xmalloc(sizeof(*room));
	struct policy_units *units = NULL;
	struct ship_xattr xattr_room;
	struct ship_link link_room;
	int rc = glance_begin(&g, &units);

	for (size_t i = 0; rc == 0 && i < s->n_links; i++) {
		const struct ship_link *l = shipment_link_at(s, i, &link_room);

		if (link_is_in_unit(&g, l))
			map_put(inodes, l->child, 1);
		rc = landing_breathe(v);
	}
	for (size_t i = 0; rc == 0 && i < s->n_inodes; i++) {
		uint64_t ino = shipment_inode_at(s, i, room)->ino;

		if (inode_is_in_unit(&g, ino))
			map_put(inodes, ino, 1);
		rc = landing_breathe(v);
	}
	for (size_t i = 0; rc == 0 && i < s->n_xattrs; i++) {
		const struct ship_xattr *x = shipment_xattr_at(s, i, &xattr_room);

		if (xattr_is_in_unit(&g, x))
			map_put(inodes, x->ino, 1);
		rc = landing_breathe(v);
	}
	free(room);
	glance_end(&g, units);
	return rc;
}
