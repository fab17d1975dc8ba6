/* SPDX-License-Identifier: MIT */
#include "sync/merge.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/changes.h"
#include "core/data.h"
#include "core/landing.h"
#include "sync/apply.h"
#include "sync/follow.h"
#include "sync/merge_ready.h"
#include "sync/merge_state.h"
#include "sync/plan.h"
#include "util/log.h"
#include "util/util.h"

/* ---- fast-forward ---------------------------------------------------------------------------------------------------
 */

static const struct {
	uint32_t field;
	enum entity what;
} field_map[] = {
	{ REC_CONTENT, ENT_CONTENT }, { REC_MODE, ENT_MODE }, { REC_OWNER, ENT_OWNER }, { REC_TIMES, ENT_TIMES }
};

static bool has_lineage(struct volume *v, enum lineage_class c, uint64_t id)
{
	struct lineage lin;

	return id && lineage_get(v, c, id, &lin) == 0;
}

bool p_changed_inode(struct volume *v, uint64_t ino, enum entity what, uint64_t seen)
{
	struct change_row row;

	return (changes_get(v, ino, what, &row) == 0 && row.grp > seen) ||
	       (changes_get(v, ino, ENT_NEW, &row) == 0 && row.grp > seen);
}

struct xattr_walk {
	struct volume *v;
	uint64_t ino, seen;
};

static int changed_xattr(void *ctx, const char *key, const void *value, size_t len_bytes)
{
	struct xattr_walk *w = ctx;
	struct change_row row;

	(void)value;
	(void)len_bytes;
	return changes_get_xattr(w->v, w->ino, key, &row) == 0 && row.grp > w->seen;
}

bool p_changed_xattrs(struct volume *v, uint64_t ino, uint64_t seen)
{
	struct xattr_walk w = { v, ino, seen };

	return tree_xattrs(v, ino, changed_xattr, &w) == 1;
}

static int changed_user_xattr(void *ctx, const char *key, const void *value, size_t len_bytes)
{
	return xattr_is_of_users(key) && changed_xattr(ctx, key, value, len_bytes);
}

bool p_changed_content(struct volume *v, uint64_t ino, uint64_t seen)
{
	struct xattr_walk w = { v, ino, seen };

	return p_changed_inode(v, ino, ENT_CONTENT, seen) || tree_xattrs(v, ino, changed_user_xattr, &w) == 1;
}

static bool inode_conflicts(struct volume *v, const struct rec_inode *r)
{
	struct change_row rows[ENT_ASK + 1];
	struct inode in;
	unsigned changed;

	if (tree_inode_get(v, r->ino, &in) != 0)
		return !(r->fields & REC_NEW);
	changed = changes_of_inode(v, r->ino, rows);
	for (size_t i = 0; changed && i < ARRAY_LEN(field_map); i++) {
		uint64_t seen = rec_seen(r, field_map[i].field);

		/* That the bytes changed here counts whatever is told. */
		if (!(r->fields & field_map[i].field) && field_map[i].what != ENT_CONTENT)
			continue;
		if (((changed & 1u << field_map[i].what) && rows[field_map[i].what].grp > seen) ||
		    ((changed & 1u << ENT_NEW) && rows[ENT_NEW].grp > seen))
			return true;
	}
	return false;
}

static bool inode_known(struct volume *v, const struct shipment *s, uint64_t ino)
{
	struct rec_inode room;
	const struct rec_inode *r = shipment_look(s, ino, &room);
	struct inode in;

	return (r && (r->fields & REC_NEW)) ||
	       (tree_inode_get(v, ino, &in) == 0 && (in.nlink > 0 || ino <= INO_HIDDEN));
}

/* The lowest `seen` of all its records. */
uint64_t merge_lowest_seen(const struct shipment *s)
{
	struct rec_inode *r = xmalloc(sizeof(*r));
	uint64_t low = s->begin.seen;
	struct ship_link l;
	struct ship_xattr x;

	for (size_t i = 0; i < s->n_links; i++)
		low = MIN(low, shipment_link_at(s, i, &l)->seen);
	for (size_t i = 0; i < s->n_inodes; i++)
		low = MIN(low, rec_seen(shipment_inode_at(s, i, r), REC_CONTENT));
	for (size_t i = 0; i < s->n_xattrs; i++)
		low = MIN(low, shipment_xattr_at(s, i, &x)->seen);
	free(r);
	return low;
}

/* Do both change something in units? Two changes of different files in one are a conflict (docs/merging.md). */
static bool meets_in_units(struct volume *v, const struct shipment *s)
{
	return changes_any_after(v, merge_lowest_seen(s)) && (units_touched(v, s) || families_touched(v, s));
}

struct link_walk {
	struct volume *v;
	uint64_t low;
};

static int changed_link(void *ctx, const struct dentry *d)
{
	struct link_walk *w = ctx;
	struct change_row row;

	return changes_get_link(w->v, d->link, &row) == 0 && row.grp > w->low;
}

/* Did we give the file a name, or move or remove one, that the secondary does not know of? */
bool links_changed(struct volume *v, uint64_t ino, uint64_t low)
{
	struct link_walk w = { v, low };

	return tree_links_of(v, ino, changed_link, &w) != 0 || tree_link_ended_after(v, ino, low);
}

/* Each change of a name changes the times of its directory. */
static bool names_changed(struct volume *v, uint64_t dir, uint64_t low)
{
	return p_changed_inode(v, dir, ENT_TIMES, low);
}

static int stop_at_note(void *ctx, const struct lineage *l)
{
	(void)ctx;
	(void)l;
	return 1;
}

static bool has_name(struct volume *v, uint64_t ino)
{
	struct inode in;

	return tree_inode_get(v, ino, &in) == 0 && in.nlink > 0;
}

/* Is each inode that is mentioned somewhere, here or by the shipment? What only we removed is not. */
static bool all_have_names(struct volume *v, const struct shipment *s)
{
	struct map placed = MAP_INIT;
	bool all = true;

	for (size_t i = 0; i < s->n_links; i++)
		if (s->links[i].parent)
			map_put(&placed, s->links[i].child, 1);
	for (size_t i = 0; all && i < s->n_inodes; i++) {
		uint64_t ino = s->inodes[i]->ino;

		all = ino <= INO_HIDDEN || map_get(&placed, ino, NULL) || has_name(v, ino);
	}
	map_release(&placed);
	return all;
}

/*
 * We changed names that the secondary does not know of. Does the shipment keep clear of them? It does if no name in a
 * directory in which it changes one was changed here, and no name of a file that it mentions: then none is taken, or
 * equal but for case, nothing was saved anew, and no two removals add up. What is left is for apply_check: what
 * becomes of directories that are moved or removed.
 */
static bool keeps_clear(struct volume *v, const struct shipment *s, uint64_t low)
{
	struct peer_link note;
	struct dentry d;

	if (lineage_each(v, LINEAGE_LINK, stop_at_note, NULL) != 0 || !all_have_names(v, s))
		return false;
	for (size_t i = 0; i < s->n_links; i++) {
		const struct ship_link *l = &s->links[i];

		if (peer_link_get(v, l->link, &note) != -ENOENT || links_changed(v, l->child, low) ||
		    (l->parent && names_changed(v, l->parent, low)) ||
		    (tree_link_get(v, l->link, &d) == 0 &&
		     (names_changed(v, d.parent, low) || links_changed(v, d.child, low))))
			return false;
		landing_breathe(v);
	}
	for (size_t i = 0; i < s->n_inodes; i++, landing_breathe(v))
		if (links_changed(v, s->inodes[i]->ino, low))
			return false;
	for (size_t i = 0; i < s->n_xattrs; i++, landing_breathe(v))
		if (links_changed(v, s->xattrs[i].ino, low))
			return false;
	return true;
}

struct notes {
	bool any;           /* of what became of the secondary's things */
	struct map more_of; /* files of which it has a name that was discarded here */
};

static int list_child(void *ctx, uint64_t child)
{
	map_put(ctx, child, 1);
	return 0;
}

static int notes_load(struct volume *v, struct notes *n)
{
	*n = (struct notes){ .any = lineage_each(v, LINEAGE_LINK, stop_at_note, NULL) != 0 ||
				    lineage_each(v, LINEAGE_INODE, stop_at_note, NULL) != 0 };
	return peer_links_gone(v, list_child, &n->more_of);
}

/* Is it taken whatever else comes? As far as the names of others go: keeps_clear. */
static bool link_is_clear(struct volume *v, const struct shipment *s, const struct ship_link *l,
			  const struct notes *notes)
{
	struct change_row row;
	struct dentry d;

	if (l->report || (changes_get_link(v, l->link, &row) == 0 && row.grp > l->seen))
		return false;
	if (notes->any && (has_lineage(v, LINEAGE_LINK, l->link) || has_lineage(v, LINEAGE_INODE, l->child) ||
			   has_lineage(v, LINEAGE_INODE, l->parent)))
		return false;
	/* It removes one name of the file, having another one in mind: no last one. */
	if (!l->parent && map_get(&notes->more_of, l->child, NULL))
		return false;
	/* Removed or moved there, written here: something may come back, or is to be noted. */
	if ((!l->parent || tree_link_get(v, l->link, &d) == 0) && p_changed_content(v, l->child, l->seen))
		return false;
	/* Deleted here, kept there: there is something to bring back. */
	return !l->parent || (inode_known(v, s, l->child) && inode_known(v, s, l->parent));
}

static bool inode_is_clear(struct volume *v, const struct rec_inode *r, const struct notes *notes)
{
	return !(notes->any && has_lineage(v, LINEAGE_INODE, r->ino)) && !inode_conflicts(v, r);
}

static bool xattr_is_clear(struct volume *v, const struct ship_xattr *x, const struct notes *notes)
{
	struct change_row row;

	/* Where all of it is on its way as we have it, the secondary loses the xattrs that do not come with it. */
	return !(notes->any && has_lineage(v, LINEAGE_INODE, x->ino)) &&
	       !(changes_get_xattr(v, x->ino, x->key, &row) == 0 && row.grp > x->seen) &&
	       !(changes_get(v, x->ino, ENT_NEW, &row) == 0 && row.grp > x->seen);
}

static bool is_fast_forward(struct volume *v, const struct shipment *s)
{
	struct notes notes;
	bool fast = notes_load(v, &notes) == 0;

	for (size_t i = 0; fast && i < s->n_links; i++, landing_breathe(v))
		fast = link_is_clear(v, s, &s->links[i], &notes);
	for (size_t i = 0; fast && i < s->n_inodes; i++, landing_breathe(v))
		fast = inode_is_clear(v, s->inodes[i], &notes);
	for (size_t i = 0; fast && i < s->n_xattrs; i++, landing_breathe(v))
		fast = xattr_is_clear(v, &s->xattrs[i], &notes);
	map_release(&notes.more_of);
	return fast;
}

int take_inode(struct volume *v, const struct shipment *s, const struct rec_inode *r, uint64_t ino, uint32_t fields)
{
	struct change_row rows[ENT_ASK + 1];
	struct inode in;
	unsigned changed = fields ? changes_of_inode(v, ino, rows) : 0;
	int rc = 0;

	if (fields & REC_CONTENT)
		rc = land_content(v, s, r, ino, ORIGIN_PEER);
	/* What it sends next goes on top of this, however much we change meanwhile. (A version that was only claimed to
	 * be wanted brings nothing.) */
	if (rc == 0 && (fields & REC_CONTENT) && S_ISREG(r->mode) && tree_inode_get(v, ino, &in) == 0 &&
	    in.cborn == group_number(v))
		rc = lineage_put(v, &(struct lineage){ .src = ino, .dst = ino, .grp = group_number(v), .kind = 'b' });
	if (rc == 0)
		rc = land_attrs(v, r, ino, fields, ORIGIN_PEER);
	for (size_t i = 0; rc == 0 && i < ARRAY_LEN(field_map); i++)
		if ((fields & field_map[i].field) && (changed & 1u << field_map[i].what))
			rc = changes_drop(v, ino, field_map[i].what);
	return rc;
}

static int has_link(void *ctx, const struct dentry *d)
{
	(void)ctx;
	(void)d;
	return 1;
}

static int fast_forward(struct volume *v, struct shipment *s)
{
	struct placement *list = xcalloc(s->n_links + 1, sizeof(*list));
	struct inode in;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < s->n_inodes; i++)
		if (s->inodes[i]->fields & REC_NEW)
			rc = land_new(v, s->inodes[i]);
	for (size_t i = 0; rc == 0 && i < s->n_links; i++) {
		const struct ship_link *l = &s->links[i];

		list[i] = (struct placement){ .link = l->link,
					      .child = l->child,
					      .parent = l->parent,
					      .name = l->name,
					      .name_len = l->name_len,
					      .origin = ORIGIN_PEER };
		rc = changes_drop_link(v, l->link);
	}
	if (rc == 0)
		rc = land_links(v, list, s->n_links);
	for (size_t i = 0; rc == 0 && i < s->n_inodes; i++)
		rc = take_inode(v, s, s->inodes[i], s->inodes[i]->ino, s->inodes[i]->fields);
	for (size_t i = 0; rc == 0 && i < s->n_xattrs; i++) {
		if (tree_inode_get(v, s->xattrs[i].ino, &in) < 0)
			continue;
		rc = land_xattr(v, &s->xattrs[i], s->xattrs[i].ino);
		if (rc == 0)
			rc = changes_drop_xattr(v, s->xattrs[i].ino, s->xattrs[i].key);
	}
	if (rc == 0)
		rc = follow_shipment(v, s);
	if (rc == 0)
		rc = land_reap(v, list, s->n_links);
	/* A new inode whose link came and went within the shipment's range. */
	for (size_t i = 0; rc == 0 && i < s->n_inodes; i++)
		if (tree_inode_get(v, s->inodes[i]->ino, &in) == 0 && in.ino > INO_HIDDEN &&
		    tree_links_of(v, in.ino, has_link, NULL) == 0)
			rc = S_ISDIR(in.mode) ? -EBADMSG : tree_reap(v, in.ino);
	free(list);
	return rc;
}

/* ---- the whole
 * ------------------------------------------------------------------------------------------------------- */

/* 1: the shipment is taken as it is; 0: it is not; -EBADMSG: it should, and makes no valid tree. */
static int may_fast_forward(struct volume *v, struct shipment *s, const struct prefer *word)
{
	uint64_t low = merge_lowest_seen(s);
	bool own = changes_any_link_after(v, low);

	if (word && (word->word.keep == ROLE_PRIMARY || word->pending || own))
		return 0;
	if (!is_fast_forward(v, s) || (own && !keeps_clear(v, s, low)))
		return 0;
	if (!word && meets_in_units(v, s)) /* a side that is preferred is taken as it is */
		return 0;
	return apply_check(v, s) == 0 ? 1 : own ? 0 : -EBADMSG;
}

bool merge_is_fast(struct volume *v, struct shipment *s)
{
	return may_fast_forward(v, s, NULL) != 0;
}

static bool has_records(const struct shipment *s)
{
	return shipment_records(s) > 0;
}

/* ready: the three states were looked at before, and what came of that stands; or NULL. */
static int merge_locked(struct volume *v, struct shipment *s, const struct merge_names *names,
			struct merge_work *work, uint64_t now_ms, struct merge_ready *ready)
{
	struct prefer word;
	bool in_force = prefer_in_force(v, &word), under = in_force && s->begin.from < word.upto;
	int rc = 0, fast;
	uint64_t back;

	/* First: what the secondary has settled by removing a file is not to be settled by us as well. */
	for (size_t i = 0; rc == 0 && i < s->n_conflicts; i++)
		rc = conflict_take(v, &s->conflicts[i], s->begin.seen);
	if (rc || ((s->is_part ? !has_records(s) : shipment_is_empty(s)) && !(under && word.pending)))
		;
	else if (ready)
		rc = merge_carry_out(&ready->m, &ready->r);
	else if (names->names_stay) /* not even a word counts for names that make no tree */
		rc = merge_three_way(v, s, names, work, now_ms, NULL);
	else if ((fast = may_fast_forward(v, s, under ? &word : NULL)) != 0)
		rc = fast < 0 ? fast : fast_forward(v, s);
	else
		rc = merge_three_way(v, s, names, work, now_ms, under ? &word : NULL);
	if (rc == 0) /* the secondary asks for what it had to ask for as the primary */
		rc = land_asks(v, s);
	if (under)
		word.pending = 0;
	if (rc == 0 && in_force)
		rc = prefer_put(v, s->begin.to >= word.upto ? NULL : &word);
	/* Only now, after the records were looked at: what the secondary had seen at its cut is settled. */
	if (rc == 0)
		rc = changes_purge(v, s->begin.seen);
	back = rc == 0 ? prefer_taken_back(v) : 0;
	if (back && back <= merge_lowest_seen(s)) /* what it did before it heard of that is told in this, or was */
		rc = prefer_put_taken_back(v, 0);
	if (rc == 0)
		rc = lineage_purge(v, s->begin.seen);
	if (rc == 0)
		rc = history_purge(v, s->begin.seen);
	return rc == 0 && s->begin.to > s->begin.from ? land_applied(v, &s->begin) : rc;
}

/* ---- bit by bit ---- */

static uint32_t all_fields(struct volume *v, const struct shipment *s, const struct rec_inode *r)
{
	(void)v;
	(void)s;
	return r->fields;
}

/* So often it is worked out anew, as what was changed meanwhile met it; then it is under the lock. */
#define VOIDS_MAX 3u

/* What the judge knows, and what hold needs. */
struct merging {
	const struct merge_names *names;
	struct merge_work *work;
	uint64_t now_ms;
	struct map whole; /* what is in units, or beside databases */
	struct merge_ready ready;
	unsigned voids; /* how often it was worked out ahead in vain */
};

static int stop_at_copy(void *ctx, const struct lineage *l)
{
	(void)ctx;
	return l->kind == 'u' || l->kind == 'f';
}

/* What it says may be about the copy of a unit, or about the unit: that is decided for all of it together. */
static bool has_copies_of_units(struct volume *v)
{
	return lineage_each(v, LINEAGE_INODE, stop_at_copy, NULL) != 0 ||
	       lineage_each(v, LINEAGE_NAME, stop_at_copy, NULL) != 0;
}

static int stop_at_row(void *ctx, const struct conflict *c)
{
	(void)ctx;
	(void)c;
	return 1;
}

/* A note about it, or about what it became; a conflict that waits, which it may settle, and with it other files. */
static bool is_noted(struct volume *v, uint64_t ino, bool notes, bool conflicts)
{
	uint64_t src;

	return (notes && (has_lineage(v, LINEAGE_INODE, ino) || lineage_source(v, LINEAGE_INODE, ino, &src) == 0)) ||
	       (conflicts && conflict_open_of(v, ino, stop_at_row, NULL) != 0);
}

struct judging {
	struct plan *p;
	uint64_t low;
	struct notes notes;
	bool conflicts, own;
};

static bool link_meets(struct judging *j, const struct ship_link *l)
{
	struct volume *v = j->p->v;
	struct peer_link note;
	struct dentry d;
	uint64_t src;

	if (!link_is_clear(v, j->p->s, l, &j->notes) || is_noted(v, l->child, j->notes.any, j->conflicts) ||
	    (j->notes.any && lineage_source(v, LINEAGE_LINK, l->link, &src) == 0))
		return true;
	if (peer_link_get(v, l->link, &note) != -ENOENT || (j->own && links_changed(v, l->child, j->low)))
		return true;
	return j->own && tree_link_get(v, l->link, &d) == 0 && d.child != l->child && links_changed(v, d.child, j->low);
}

static int judge_links(struct judging *j)
{
	struct plan *p = j->p;
	struct ship_link room;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < p->s->n_links; i++) {
		const struct ship_link *l = shipment_link_at(p->s, i, &room);

		if (link_meets(j, l))
			split_add_link(&p->split, i);
		/* By this name there may be one of ours, as the directory is another one here. */
		if (j->notes.any && has_lineage(p->v, LINEAGE_INODE, l->parent))
			split_add_new_dir(&p->split, l->child);
		rc = landing_breathe(p->v);
	}
	return rc;
}

static int judge_inodes(struct judging *j)
{
	struct plan *p = j->p;
	struct rec_inode *room = xmalloc(sizeof(*room));
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < p->s->n_inodes; i++) {
		const struct rec_inode *r = shipment_inode_at(p->s, i, room);

		if (!inode_is_clear(p->v, r, &j->notes) || is_noted(p->v, r->ino, j->notes.any, j->conflicts) ||
		    (j->own && links_changed(p->v, r->ino, j->low)) ||
		    (r->ino > INO_HIDDEN && !split_place_of(&p->split, r->ino) && !has_name(p->v, r->ino)))
			split_add(&p->split, r->ino, false);
		rc = landing_breathe(p->v);
	}
	free(room);
	return rc;
}

static int judge_xattrs(struct judging *j)
{
	struct plan *p = j->p;
	struct ship_xattr room;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < p->s->n_xattrs; i++) {
		const struct ship_xattr *x = shipment_xattr_at(p->s, i, &room);

		if (!xattr_is_clear(p->v, x, &j->notes) || is_noted(p->v, x->ino, j->notes.any, j->conflicts) ||
		    (j->own && links_changed(p->v, x->ino, j->low)))
			split_add(&p->split, x->ino, false);
		rc = landing_breathe(p->v);
	}
	return rc;
}

struct our_links {
	uint64_t *link;
	size_t n, cap;
};

static int list_link(void *ctx, uint64_t link, const struct change_row *row)
{
	struct our_links *l = ctx;

	(void)row;
	if (l->n == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 64;
		l->link = xrealloc(l->link, l->cap * sizeof(*l->link));
	}
	l->link[l->n++] = link;
	return 0;
}

/* The names that we gave, gave up or removed, and the secondary does not know of. */
static int judge_our_names(struct judging *j)
{
	struct volume *v = j->p->v;
	struct split *sp = &j->p->split;
	struct our_links ours = { .n = 0 };
	struct dentry d;
	int rc = changes_links(v, j->low, GROUP_MAX, list_link, &ours);

	for (size_t i = 0; rc == 0 && i < ours.n; i++) {
		if (tree_link_get(v, ours.link[i], &d) == 0) {
			split_add_name(sp, d.parent, d.name, d.name_len);
			split_add_above(sp, d.parent);
		}
		if (tree_link_view(v, ours.link[i], (struct view){ .kind = VIEW_PEER, .group = j->low }, &d) == 0)
			split_add_name(sp, d.parent, d.name, d.name_len);
		rc = landing_breathe(v);
	}
	free(ours.link);
	return rc;
}

static void add_whole(struct plan *p)
{
	struct merging *m = p->ctx;
	uint64_t ino, value;
	size_t it = 0;

	while (map_next(&m->whole, &it, &ino, &value))
		split_add(&p->split, ino, false);
}

/*
 * What of it is taken whatever is changed here meanwhile, as long as that keeps clear of it? More is asked than by
 * may_fast_forward: what is not known to be needed yet may be so in a moment.
 */
static int judge_all(struct plan *p)
{
	struct judging j = { .p = p, .low = merge_lowest_seen(p->s), .conflicts = conflicts_any(p->v) };
	struct merging *m = p->ctx;
	struct prefer word;
	uint8_t *fits = NULL;
	int rc;

	if (p->s->n_asks > 0 || follow_any(p->v, p->s) || prefer_in_force(p->v, &word) || has_copies_of_units(p->v))
		return -ENOTSUP;
	j.own = changes_any_link_after(p->v, j.low);
	map_clear(&m->whole);
	rc = notes_load(p->v, &j.notes);
	if (rc == 0)
		rc = units_list(p->v, &p->split, &m->whole);
	if (rc == 0)
		rc = families_list(p->v, p->s, &m->whole);
	if (rc == 0 && changes_any_after(p->v, j.low))
		add_whole(p);
	if (rc == 0)
		rc = judge_links(&j);
	if (rc == 0)
		rc = judge_inodes(&j);
	if (rc == 0)
		rc = judge_xattrs(&j);
	if (rc == 0 && j.own)
		rc = judge_our_names(&j);
	if (rc == 0)
		rc = apply_fits(p->v, p->s, &fits);
	for (size_t i = 0; rc == 0 && i < p->s->n_links; i++)
		if (!fits[i])
			split_add_link(&p->split, i);
	free(fits);
	map_release(&j.notes.more_of);
	return rc;
}

/* Something was changed in a unit, or beside a database, of which the shipment changes something as well, perhaps. */
static void meet(struct plan *p, const struct map *inodes, const struct map *links)
{
	const struct merging *m = p->ctx;

	if (map_count(&m->whole) > 0 && map_count(inodes) + map_count(links) > 0)
		add_whole(p);
}

/* What the outcome would be makes no valid tree, or hangs on something that is not here. */
static bool is_no_tree(int rc)
{
	return rc == -ENOENT || rc == -EBADMSG || rc == -EEXIST || rc == -ENOTDIR || rc == -EUCLEAN;
}

static int hold(struct plan *p, struct shipment *part)
{
	struct merging *m = p->ctx;
	struct volume_ids ids;
	bool stands;
	int rc;

	if (follow_any(p->v, p->s))
		return -ENOTSUP; /* somebody opened meanwhile what he has to follow: as a whole, nobody on his way */
	stands = merge_ready_stands(&m->ready, part, map_count(&m->whole) > 0);
	if (m->ready.is && !stands && ++m->voids <= VOIDS_MAX)
		return -EINPROGRESS;
	rc = merge_locked(p->v, part, m->names, m->work, m->now_ms, stands ? &m->ready : NULL);
	/* As in merge_group. */
	volume_ids(p->v, &ids);
	if (rc == 0 && has_records(part))
		history_cut(p->v, ids.committed + 1);
	if (rc == -EAGAIN)
		return -EINPROGRESS;
	return is_no_tree(rc) ? -ENOTSUP : rc;
}

bool merge_work_waits(const struct merge_work *work)
{
	return driver_jobs_waiting(&work->jobs) || ahead_waits(&work->ahead);
}

void merge_work_do(struct merge_work *work)
{
	if (driver_jobs_waiting(&work->jobs))
		driver_jobs_run(&work->jobs);
	if (ahead_waits(&work->ahead))
		ahead_run(&work->ahead);
}

static void work_release(struct merge_work *work)
{
	driver_jobs_release(&work->jobs);
	ahead_release(&work->ahead);
}

static int prepare(struct plan *p)
{
	struct merging *m = p->ctx;
	int rc;

	do {
		merge_work_do(m->work);
		rc = merge_ready_make(&m->ready, p->v, p->part, m->names, m->work, m->now_ms);
	} while (rc == -EAGAIN || (rc == -EBUSY && ++m->voids <= VOIDS_MAX));
	return rc == -EBUSY ? 0 : rc;
}

static void done(struct plan *p)
{
	struct merging *m = p->ctx;

	merge_ready_drop(&m->ready);
}

static int merge_group(struct volume *v, struct shipment *s, const struct merge_names *names, struct merge_work *work,
		       uint64_t now_ms)
{
	struct volume_ids ids;
	int rc = follow_hold_still(v, s, NULL);

	if (rc == 0)
		rc = volume_apply_begin(v);
	if (rc == 0) {
		rc = merge_locked(v, s, names, work, now_ms, NULL);
		/* What this group holds may be a base that the secondary's next shipment is measured against. */
		if (rc == 0 && !shipment_is_empty(s)) {
			volume_ids(v, &ids);
			history_cut(v, ids.committed + 1);
		}
		rc = land_end(v, s, rc);
	}
	return rc;
}

/* One try; pending: what we changed is taken back later. */
static int take_word(struct volume *v, struct shipment *s, const struct rec_hello *h, const struct prefer_word *word,
		     const struct merge_names *names, uint64_t now_ms, bool pending)
{
	struct merge_work work = { .jobs.driver = &names->driver, .ahead.at_once = true };
	struct volume_ids ids;
	struct prefer p;
	int rc = follow_hold_still(v, s, NULL);

	if (rc == 0)
		rc = volume_apply_begin(v);
	if (rc < 0)
		return rc;
	volume_ids(v, &ids);
	rc = prefer_take(v, h, word, &p);
	p.pending = pending;
	if (rc == 0)
		rc = prefer_note(v, &p, names->self, names->peer);
	if (rc == 0 && word->keep == ROLE_SECONDARY && !pending)
		rc = merge_three_way(v, s, names, &work, now_ms, &p);
	if (rc == 0 && word->keep == ROLE_SECONDARY && !pending)
		rc = prefer_put_taken_back(v, group_number(v));
	if (rc == 0)
		rc = prefer_put(v, p.upto > ids.applied ? &p : NULL);
	/* What the secondary sends next is measured against this. */
	history_cut(v, ids.committed + 1);
	if (rc == 0)
		rc = volume_apply_commit(v, ids.applied);
	else
		volume_apply_abort(v);
	work_release(&work);
	return rc;
}

int merge_prefer(struct volume *v, const struct rec_hello *h, const struct prefer_word *word,
		 const struct merge_names *names, uint64_t now_ms, struct err *err)
{
	struct rec_ship_begin begin = { .seen = h->applied };
	struct volume_info info;
	struct shipment *s;
	int rc;

	volume_info(v, &info);
	begin.from = begin.to = info.applied;
	s = shipment_new(v, &begin, NULL); /* nothing came yet: an empty one, of what it has seen */
	rc = take_word(v, s, h, word, names, now_ms, false);
	/* What it could not place of ours it will tell. If its tree is not known without, that is waited for. */
	if (is_no_tree(rc) && h->committed > info.applied)
		rc = take_word(v, s, h, word, names, now_ms, true);
	shipment_free(s);
	return rc == 0 ? 0
		       : err_set(err, rc, "cannot discard what was changed in %s: %s; nothing was changed",
				 volume_dir(v), strerror(-rc));
}

static int merge_group_with_work(struct volume *v, struct shipment *s, const struct merge_names *names,
				 struct merge_work *work, uint64_t now_ms)
{
	int rc = merge_group(v, s, names, work, now_ms);

	while (rc == -EAGAIN && merge_work_waits(work)) {
		merge_work_do(work);
		rc = merge_group(v, s, names, work, now_ms);
	}
	return rc;
}

void merge_warn_by_file(void)
{
	log_warn("a unit that both sides changed cannot be kept whole: it is merged file by file");
}

int merge_shipment(struct volume *v, struct shipment *s, const struct merge_names *names, uint64_t now_ms,
		   struct err *err)
{
	struct merge_work work = { .jobs.driver = &names->driver };
	struct merge_names plain = *names;
	struct merging m = { .names = names, .work = &work, .now_ms = now_ms };
	int rc = s->stage ? stage_sync(s->stage) : 0;

	if (rc == 0)
		rc = plan_land(&(struct plan){ .v = v, .s = s, .ctx = &m, .judge = judge_all, .meet = meet,
					       .prepare = prepare, .done = done, .hold = hold, .fields = all_fields,
					       .ends = true });
	map_release(&m.whole);
	if (rc > 0) {
		work_release(&work);
		return 0;
	}
	if (rc == 0)
		rc = merge_group_with_work(v, s, names, &work, now_ms);
	/* What the secondary did in a unit before it heard of the copy may fit there no more: one more copy, then. */
	if (is_no_tree(rc)) {
		log_debug("merge", "what was done before the copy was heard of is not taken to be about it");
		plain.no_copies = true;
		rc = merge_group_with_work(v, s, &plain, &work, now_ms);
	}
	/* Units moved into each other by both sides, and the like: better merged file by file than not at all. */
	if (is_no_tree(rc)) {
		plain.no_units = true;
		rc = merge_group_with_work(v, s, &plain, &work, now_ms);
		if (rc == 0)
			merge_warn_by_file();
	}
	if (is_no_tree(rc)) {
		plain.names_stay = true;
		rc = merge_group_with_work(v, s, &plain, &work, now_ms);
	}
	work_release(&work);
	if (is_no_tree(rc))
		return err_set(err, -EBADMSG,
			       "the peer's shipment up to its group %llu makes no valid tree here: refused; nothing "
			       "was changed",
			       (unsigned long long)s->begin.to);
	if (rc < 0)
		return err_set(
			err, rc,
			"cannot merge the peer's changes in %s: %s; nothing was changed, they will be sent again",
			volume_dir(v), strerror(-rc));
	return 0;
}
