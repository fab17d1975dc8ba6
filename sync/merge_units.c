/* SPDX-License-Identifier: MIT */
/* Units (sync/resolver_units.c) between the volume and the resolver: what of them goes into its input, and how the
 * secondary's whole version of one is made. Whether there is any at all: merge_glance.c. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "sync/merge_state.h"
#include "util/log.h"
#include "util/util.h"

/* ---- the way up at the primary -------------------------------------------------------------------------------------
 */

static int first_link(void *ctx, const struct dentry *d)
{
	*(struct dentry *)ctx = *d;
	return 1;
}

static bool link_above(struct volume *v, struct view then, uint64_t dir, struct dentry *d)
{
	return tree_first_link(v, dir, d) || tree_links_of_view(v, dir, then, first_link, d) == 1;
}

/* ---- which directories of the input are units ----------------------------------------------------------------------
 */

static const struct rs_link *link_to(struct merger *m, const struct map *dir_link, uint64_t dir)
{
	uint64_t at;

	return map_get(dir_link, dir, &at) ? &m->links[at - 1] : NULL;
}

static const struct rs_pos *their_pos(const struct rs_link *l)
{
	return l->s.present ? &l->s : l->b.present ? &l->b : &l->p;
}

/* "/a/b" of a directory in the input, as the secondary has it. */
static char *their_path(struct merger *m, const struct map *dir_link, uint64_t dir)
{
	char *path = xstrdup("");

	for (unsigned depth = 0; dir > INO_HIDDEN && depth < PATH_DEPTH_MAX; depth++) {
		const struct rs_link *l = link_to(m, dir_link, dir);
		char *longer;

		if (!l || !their_pos(l)->present)
			break;
		longer = xasprintf("/%.*s%s", (int)their_pos(l)->name_len, their_pos(l)->name, path);
		free(path);
		path = longer;
		dir = their_pos(l)->parent;
	}
	return path;
}

static bool pos_is_unit(struct merger *m, const struct map *dir_link, const struct rs_pos *at, bool ours)
{
	bool want_path = policy_units_want_path(m->units);
	char *path = !at->present || !want_path ? NULL
		     : ours                     ? merge_path(m->v, at->parent)
						: their_path(m, dir_link, at->parent);
	bool unit = at->present && units_is_name(m->units, path ? path : "", at->name, at->name_len);

	free(path);
	return unit;
}

static bool is_unit_link(struct merger *m, const struct map *dir_link, const struct rs_link *l)
{
	return pos_is_unit(m, dir_link, &l->p, true) || pos_is_unit(m, dir_link, &l->s, false) ||
	       (!l->p.present && !l->s.present && pos_is_unit(m, dir_link, &l->b, false));
}

/* A directory in which something was changed. */
static bool may_be_unit(struct merger *m, const struct map *dir_link, const struct rs_link *l)
{
	if (!l->child || map_get(&m->too_large, l->child, NULL))
		return false;
	if (!map_get(&m->parents, l->child, NULL)) {
		if (!m->near || !is_unit_link(m, dir_link, l) || !merge_near_holds_ours(m, l))
			return false;
		map_put(&m->parents, l->child, 1);
	}
	return true;
}

static bool mark_units(struct merger *m, struct map *dir_link)
{
	bool any = false;

	for (size_t i = 0; i < m->n_links; i++)
		if (m->links[i].child && map_get(&m->parents, m->links[i].child, NULL))
			map_put(dir_link, m->links[i].child, i + 1);
	for (size_t i = 0; i < m->n_links; i++) {
		struct rs_link *l = &m->links[i];

		merge_breathe(m);
		if (!may_be_unit(m, dir_link, l))
			continue;
		l->unit = is_unit_link(m, dir_link, l);
		any |= l->unit;
	}
	return any;
}

/* ---- those that both changed come whole ----------------------------------------------------------------------------
 */

/* The outermost unit above, in the secondary's tree or in ours; 0: none. */
static uint64_t unit_above(struct merger *m, const struct map *dir_link, uint64_t dir, bool ours)
{
	uint64_t found = 0;

	for (unsigned depth = 0; dir > INO_HIDDEN && depth < PATH_DEPTH_MAX; depth++) {
		const struct rs_link *l = link_to(m, dir_link, dir);
		const struct rs_pos *at;

		if (!l)
			break;
		at = ours && l->p.present ? &l->p : their_pos(l);
		if (l->unit)
			found = dir;
		if (!at->present)
			break;
		dir = at->parent;
	}
	return found;
}

uint64_t units_known_since(struct merger *m, uint64_t seen)
{
	struct volume_ids ids;

	volume_ids(m->v, &ids);
	return MAX(seen, ids.acked);
}

static void note_touched(struct merger *m, struct map *touched, uint64_t unit, uint64_t seen)
{
	uint64_t low;

	if (unit)
		seen = MAX(seen, merge_copy_seen(m, unit));
	if (unit && (!map_get(touched, unit, &low) || seen + 1 < low))
		map_put(touched, unit, seen + 1); /* 0 is a group too, but no value of ours */
}

static void touched_at(struct merger *m, const struct map *dir_link, struct map *touched, uint64_t dir, uint64_t seen)
{
	seen = MAX(units_known_since(m, seen), m->back);
	note_touched(m, touched, unit_above(m, dir_link, dir, false), seen);
	note_touched(m, touched, unit_above(m, dir_link, dir, true), seen);
}

/* Units in which the secondary changed something, with the lowest group of ours that it had seen then. */
static void theirs_touched(struct merger *m, const struct map *dir_link, struct map *touched)
{
	struct map written = MAP_INIT; /* inode -> seen + 1 */
	uint64_t seen;

	for (size_t i = 0; i < m->n_ni; i++)
		if ((m->ni[i].rec->fields & REC_CONTENT) && !S_ISDIR(m->ni[i].rec->mode))
			map_put(&written, m->ni[i].ino, m->ni[i].seen_bytes + 1);
	for (size_t i = 0; i < m->s->n_xattrs; i++) {
		const struct ship_xattr *x = &m->s->xattrs[i];
		uint64_t ino = merge_their_inode(m, x->ino, x->seen, NULL);

		if (xattr_is_of_users(x->key) && !map_get(&written, ino, NULL))
			map_put(&written, ino, x->seen + 1);
	}
	for (size_t i = 0; i < m->n_links; i++) {
		const struct rs_link *l = &m->links[i];
		const struct rs_pos *at[] = { &l->b, &l->p, &l->s };
		bool moved = !merge_same_pos(&l->b, &l->s);
		uint64_t rec;

		merge_breathe(m);
		for (size_t k = 0; k < ARRAY_LEN(at); k++) {
			if (!at[k]->present)
				continue;
			if (l->child && map_get(&written, l->child, &seen))
				touched_at(m, dir_link, touched, at[k]->parent, seen - 1);
			if (moved && map_get(&m->nl_by_link, l->id, &rec) && !m->nl[rec - 1].report)
				touched_at(m, dir_link, touched, at[k]->parent, m->nl[rec - 1].seen);
		}
	}
	map_release(&written);
}

struct id_list {
	uint64_t *id;
	size_t n, cap;
};

static void list_id(struct id_list *l, uint64_t id)
{
	if (l->n == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 64;
		l->id = xrealloc(l->id, l->cap * sizeof(*l->id));
	}
	l->id[l->n++] = id;
}

struct ours_walk {
	struct merger *m;
	struct map *touched; /* by the secondary: unit -> seen + 1 */
	struct map *both;    /* unit -> seen + 1 */
	struct id_list inodes, links;
	struct view then;
	struct map above[2]; /* directory -> 1 + the unit above in our tree, in the secondary's; 1: none */
};

/* Where the secondary has the directory; where we have it if it has it nowhere: there it is back. */
static uint64_t their_parent(struct merger *m, const struct dentry *d)
{
	struct peer_link note;
	uint64_t at;

	if (map_get(&m->link_at, d->link, &at))
		return m->links[at - 1].s.present ? m->links[at - 1].s.parent : d->parent;
	if (peer_link_get(m->v, d->link, &note) == 0 && note.at.born > m->s->begin.seen && note.at.parent)
		return merge_alias(m, note.at.parent, NULL);
	return d->parent;
}

/* The unit above, of what is gone, as it was. Only those that the secondary touched count. */
static uint64_t unit_over(struct ours_walk *w, uint64_t dir, bool theirs)
{
	uint64_t found = 0, from = dir, known;

	if (map_get(&w->above[theirs], dir, &known))
		return known - 1;
	for (unsigned depth = 0; dir > INO_HIDDEN && depth < PATH_DEPTH_MAX; depth++) {
		struct dentry d;

		if (map_get(w->touched, dir, NULL))
			found = dir;
		if (!link_above(w->m->v, w->then, dir, &d))
			break;
		dir = theirs ? their_parent(w->m, &d) : d.parent;
	}
	map_put(&w->above[theirs], from, found + 1);
	return found;
}

/* By turns where we have it and where the secondary does. */
static int ours_in(void *ctx, const struct dentry *d)
{
	struct ours_walk *w = ctx;

	list_id(&w->links, d->parent);
	list_id(&w->links, their_parent(w->m, d));
	return 0;
}

static int list_inode(void *ctx, uint64_t ino, enum entity what, const struct change_row *row)
{
	struct ours_walk *w = ctx;

	(void)row;
	if (what == ENT_NEW || what == ENT_CONTENT)
		list_id(&w->inodes, ino);
	return 0;
}

static int list_xattr(void *ctx, uint64_t ino, const char *key, const struct change_row *row)
{
	(void)row;
	if (xattr_is_of_users(key))
		list_id(&((struct ours_walk *)ctx)->inodes, ino);
	return 0;
}

static int list_link(void *ctx, uint64_t link, const struct change_row *row)
{
	(void)row;
	list_id(&((struct ours_walk *)ctx)->links, link);
	return 0;
}

/* Did we change it after group `seen` of ours? */
static void ours_touched(struct ours_walk *w, uint64_t unit, uint64_t grp, bool *is_in)
{
	uint64_t seen;

	if (!unit || !map_get(w->touched, unit, &seen) || grp <= seen - 1)
		return;
	map_put(w->both, unit, seen);
	*is_in = true;
}

/* The same of what either side has above a name. */
static void ours_touched_over(struct ours_walk *w, const struct dentry *d, uint64_t grp, bool *is_in)
{
	ours_touched(w, unit_over(w, d->parent, false), grp, is_in);
	ours_touched(w, unit_over(w, their_parent(w->m, d), true), grp, is_in);
}

static int look_at_our_links(struct ours_walk *w)
{
	struct merger *m = w->m;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < w->links.n; i++) {
		uint64_t link = w->links.id[i];
		struct change_row row;
		struct dentry d;
		bool is_in = false;

		if (changes_get_link(m->v, link, &row) < 0)
			continue;
		/* Sent again to whom had changed its own of that name. */
		if (merge_has_copy(m, link) && tree_link_get(m->v, link, &d) == 0)
			row.grp = MIN(row.grp, d.born);
		ours_touched(w, row.child, row.grp, &is_in); /* the unit itself was moved */
		if (tree_link_get(m->v, link, &d) == 0)
			ours_touched_over(w, &d, row.grp, &is_in);
		if (tree_link_view(m->v, link, w->then, &d) == 0)
			ours_touched_over(w, &d, row.grp, &is_in);
		if (is_in)
			rc = merge_add_link(m, link);
	}
	return rc;
}

static int look_at_our_inodes(struct ours_walk *w)
{
	struct merger *m = w->m;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < w->inodes.n; i++) {
		uint64_t ino = w->inodes.id[i];
		bool is_in = false;
		uint64_t seen;

		w->links.n = 0;
		rc = tree_links_of(m->v, ino, ours_in, w);
		for (size_t k = 0; rc == 0 && k < w->links.n; k++) {
			uint64_t unit = unit_over(w, w->links.id[k], k % 2);

			if (unit && map_get(w->touched, unit, &seen) && merge_changed_content(m, ino, seen - 1))
				ours_touched(w, unit, GROUP_MAX, &is_in);
		}
		if (rc == 0 && is_in)
			rc = merge_add_inode(m, ino);
	}
	return rc;
}

/* Which of the touched units we changed too, in a way the secondary did not know of. */
static int find_both(struct merger *m, struct map *touched, struct map *both)
{
	struct ours_walk w = { .m = m, .touched = touched, .both = both };
	uint64_t unit, seen, low = GROUP_MAX;
	size_t it = 0;
	int rc;

	while (map_next(touched, &it, &unit, &seen))
		low = MIN(low, seen - 1);
	w.then = (struct view){ .kind = VIEW_PEER, .group = low };
	rc = changes_links(m->v, low, GROUP_MAX, list_link, &w);
	if (rc == 0)
		rc = look_at_our_links(&w);
	if (rc == 0)
		rc = changes_inodes(m->v, low, GROUP_MAX, list_inode, &w);
	if (rc == 0)
		rc = changes_xattrs(m->v, low, GROUP_MAX, list_xattr, &w);
	if (rc == 0)
		rc = look_at_our_inodes(&w);
	free(w.inodes.id);
	free(w.links.id);
	map_release(&w.above[0]);
	map_release(&w.above[1]);
	return rc;
}

static int list_child(void *ctx, const struct dentry *d)
{
	struct id_list *l = ctx;

	list_id(l, d->link);
	list_id(l, d->child);
	return 0;
}

/* What neither has here nor as a change was removed by the secondary, and taken before. */
static bool is_known(struct merger *m, uint64_t link)
{
	struct peer_link note;
	struct change_row row;
	struct dentry d;

	if (tree_link_get(m->v, link, &d) == 0 || map_get(&m->nl_by_link, link, NULL))
		return true;
	/* Told again to whom had removed it. */
	if (peer_link_get(m->v, link, &note) == 0 && note.at.parent == 0)
		return false;
	return changes_get_link(m->v, link, &row) == 0;
}

/* The records that put something into a directory: in each the first, and the next one of each. */
struct put_in {
	struct map first; /* directory -> index + 1 */
	size_t *next;
};

static void put_in_open(struct put_in *p, const struct merger *m)
{
	*p = (struct put_in){ .first = MAP_INIT, .next = xcalloc(m->n_nl + 1, sizeof(*p->next)) };
	for (size_t i = 0; i < m->n_nl; i++) {
		uint64_t before = 0;

		if (m->nl[i].parent == 0)
			continue;
		map_get(&p->first, m->nl[i].parent, &before);
		p->next[i] = before;
		map_put(&p->first, m->nl[i].parent, i + 1);
	}
}

static void put_in_close(struct put_in *p)
{
	map_release(&p->first);
	free(p->next);
}

static void list_put_in(const struct put_in *p, const struct merger *m, uint64_t dir, struct id_list *found)
{
	uint64_t i = 0;

	for (map_get(&p->first, dir, &i); i; i = p->next[i - 1]) {
		list_id(found, m->nl[i - 1].link);
		list_id(found, m->nl[i - 1].child);
	}
}

/* All that is in it here, or was there as of what the secondary knew, or was put there by it: of a directory also what
 * we did in it where it was. */
static int add_whole(struct merger *m, const struct put_in *put_in, uint64_t unit, uint64_t seen)
{
	struct view then = { .kind = VIEW_PEER, .group = seen };
	struct id_list dirs = { 0 }, found = { 0 };
	size_t n = 0;
	int rc = 0;

	list_id(&dirs, unit);
	map_put(&m->member, unit, seen + 1);
	for (size_t i = 0; rc == 0 && i < dirs.n; i++) {
		found.n = 0;
		rc = tree_children(m->v, dirs.id[i], list_child, &found);
		if (rc == 0)
			rc = tree_children_view(m->v, dirs.id[i], then, list_child, &found);
		list_put_in(put_in, m, dirs.id[i], &found);
		for (size_t k = 0; rc == 0 && k < found.n; k += 2) {
			uint64_t child = found.id[k + 1], at;

			if (!is_known(m, found.id[k]))
				continue;
			rc = merge_add_link(m, found.id[k]);
			/* Only the past knows where it led. */
			if (map_get(&m->link_at, found.id[k], &at) && m->links[at - 1].child == 0)
				m->links[at - 1].child = child;
			if (map_get(&m->member, child, NULL))
				continue;
			map_put(&m->member, child, seen + 1);
			list_id(&dirs, child); /* of a file there are no children */
			if (++n > UNIT_MAX_NAMES)
				rc = -E2BIG;
		}
	}
	free(dirs.id);
	free(found.id);
	return rc;
}

/*
 * What the secondary has of a link of such a unit of which it says nothing: as of what it knew when it changed
 * something in the unit. It may have taken more of ours since, but that is not what it made its changes to.
 */
static int as_it_knew(struct merger *m, struct rs_link *l, uint64_t seen)
{
	struct view then = { .kind = VIEW_PEER, .group = seen };
	uint64_t at;
	struct dentry d;
	int rc;

	if (map_get(&m->nl_by_link, l->id, &at) || seen >= m->s->begin.seen)
		return 0;
	if (map_get(&m->ni_by_ino, l->child, &at) && (m->ni[at - 1].rec->fields & REC_CONTENT))
		return 0; /* it wrote to it, so it had it */
	rc = tree_link_view(m->v, l->id, then, &d);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	/* What it took into the unit since is in it: the names outside are as of now. */
	if (rc == -ENOENT)
		l->b = l->s = (struct rs_pos){ 0 };
	else if (map_get(&m->member, d.parent, NULL))
		l->b = l->s = merge_pos(m, &d);
	return 0;
}

/* What it took into the unit and we removed since is no member: neither have we it there, nor had the secondary. */
static bool is_in_member(struct merger *m, const struct rs_link *l, uint64_t *seen)
{
	return l->child && (map_get(&m->member, l->child, seen) ||
			    (l->s.present && !l->p.present && map_get(&m->member, l->s.parent, seen)));
}

int units_gather(struct merger *m)
{
	struct map dir_link = MAP_INIT, touched = MAP_INIT, both = MAP_INIT;
	struct put_in put_in;
	uint64_t unit, seen;
	size_t it = 0;
	bool any;
	int rc = m->names->no_units || m->prefer ? 0 : policy_units_load(m->v, &m->units);

	if (!m->units)
		return rc;
	any = rc == 0 && mark_units(m, &dir_link);
	if (any && m->near && !m->all_of_ours) {
		rc = merge_near_add_all(m);
		if (rc == 0)
			rc = merge_close_upwards(m);
		map_clear(&dir_link);
		mark_units(m, &dir_link);
	}
	if (rc == 0 && any)
		theirs_touched(m, &dir_link, &touched);
	if (rc == 0 && map_count(&touched) > 0)
		rc = find_both(m, &touched, &both);
	put_in_open(&put_in, m);
	while (rc == 0 && map_next(&both, &it, &unit, &seen)) {
		rc = add_whole(m, &put_in, unit, seen - 1);
		if (rc != -E2BIG)
			continue;
		log_warn("a unit (inode %#llx) has more than %u names: it is merged file by file",
			 (unsigned long long)unit, UNIT_MAX_NAMES);
		map_put(&m->too_large, unit, 1);
		rc = 0;
	}
	put_in_close(&put_in);
	if (rc == 0)
		rc = families_gather(m);
	for (size_t i = 0; rc == 0 && i < m->n_links; i++)
		if (is_in_member(m, &m->links[i], &seen) && !map_get(&both, m->links[i].child, NULL))
			rc = as_it_knew(m, &m->links[i], seen - 1);
	map_release(&dir_link);
	dir_link = (struct map)MAP_INIT;
	if (rc == 0)
		rc = merge_close_upwards(m);
	if (rc == 0)
		mark_units(m, &dir_link); /* what was added is marked too */
	map_release(&dir_link);
	map_release(&touched);
	map_release(&both);
	return rc;
}

void units_fill_inode(struct merger *m, struct rs_inode *n)
{
	uint64_t seen;

	if (map_get(&m->member, n->ino, &seen) && n->in_p)
		n->p_content = n->p_content || !n->in_b || merge_changed_content(m, n->ino, seen - 1);
}

/* ---- the copies ----------------------------------------------------------------------------------------------------
 */

static uint64_t real_id(const struct merger *m, uint64_t id)
{
	return id >= RS_CLONE ? m->clone_ino[id & ~RS_CLONE] : id;
}

void units_name(struct merger *m, struct rs_result *r)
{
	uint64_t most = 0;

	for (size_t i = 0; i < r->n_clones; i++)
		most = MAX(most, r->clones[i].id & ~RS_CLONE);
	m->clone_ino = xcalloc(most + 1, sizeof(*m->clone_ino));
	for (size_t i = 0; i < r->n_clones; i++)
		m->clone_ino[r->clones[i].id & ~RS_CLONE] = id_new(m->v);
	for (size_t i = 0; i < r->n_clones; i++)
		r->clones[i].id = real_id(m, r->clones[i].id);
	/* What is not there may be of a copy that is none any more (families_put_back). */
	for (size_t i = 0; i < r->n_links; i++)
		if (r->links[i].pos.present)
			r->links[i].pos.parent = real_id(m, r->links[i].pos.parent);
	for (size_t i = 0; i < r->n_clone_links; i++) {
		if (!r->clone_links[i].pos.present)
			continue;
		r->clone_links[i].child = real_id(m, r->clone_links[i].child);
		r->clone_links[i].pos.parent = real_id(m, r->clone_links[i].pos.parent);
	}
	for (size_t i = 0; i < r->n_copies; i++)
		r->copies[i].parent = real_id(m, r->copies[i].parent);
	for (size_t i = 0; i < r->n_notes; i++) {
		r->notes[i].ino = real_id(m, r->notes[i].ino);
		r->notes[i].other_ino = real_id(m, r->notes[i].other_ino);
	}
	for (size_t i = 0; i < m->n_family_copies; i++)
		m->family_copies[i].at.parent = real_id(m, m->family_copies[i].at.parent);
	for (size_t i = 0; i < r->n_kept; i++)
		map_put(&m->kept, r->kept[i], 1);
}

static int clone_bytes(struct merger *m, const struct norm_inode *n, uint64_t of, uint64_t to)
{
	struct content_case c;
	struct inode *in;
	struct view view;
	uint64_t from;
	int rc;

	if (n && (n->rec->fields & REC_CONTENT)) {
		rc = content_open(&c, m->v, m->s, n->rec, of, n->seen_bytes, n->aliased ? &n->lin : NULL, "");
		if (rc == 0)
			rc = content_land_copy(&c, to);
		return rc ? rc : lineage_put(m->v, &(struct lineage){ .src = n->rec->ino, .dst = to,
			.grp = group_number(m->v), .kind = 'b' });
	}
	in = xmalloc(sizeof(*in));
	from = merge_their_version(m, of, &view);
	rc = content_view(m->v, from, view, in);
	if (rc == -ENOENT) { /* not even history has what it had: then it is as here */
		view = (struct view){ .kind = VIEW_NOW };
		from = of;
		rc = tree_inode_get(m->v, of, in);
	}
	if (rc == 0)
		rc = content_copy(m->v, from, view, in->size_bytes, to, ORIGIN_LOCAL);
	free(in);
	return rc;
}

/* Where its bytes are elsewhere its attributes are not; and those that landed in its copy since it knew the bytes there
 * are its own. */
static void their_attrs(struct merger *m, uint64_t ino, struct view *view)
{
	if (merge_their_version(m, ino, view) != ino)
		*view = (struct view){ .kind = VIEW_PEER, .group = m->s->begin.seen };
	else
		view->group = view->kind == VIEW_AT ? merge_copy_seen(m, ino) : merge_unit_seen(m, ino);
}

struct key_list {
	struct merger *m;
	char **key;
	size_t n, cap;
};

static void list_one_key(struct key_list *l, const char *key)
{
	if (l->n == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 8;
		l->key = xrealloc(l->key, l->cap * sizeof(*l->key));
	}
	l->key[l->n++] = xstrdup(key);
}

static int list_key(void *ctx, const char *key, const void *value, size_t len_bytes)
{
	(void)value;
	(void)len_bytes;
	list_one_key(ctx, key);
	return 0;
}

/* Those that it sent, and of ours those that it knew, with the values that it knew. */
static int clone_xattrs(struct merger *m, const struct norm_inode *n, uint64_t of, uint64_t to)
{
	struct view seen;
	struct key_list l = { .m = m };
	uint8_t *value = xmalloc(XATTR_VALUE_MAX_BYTES);
	int rc = tree_xattrs(m->v, of, list_key, &l);

	their_attrs(m, of, &seen);
	for (size_t i = 0; rc == 0 && i < l.n; i++) {
		ssize_t len = tree_xattr_get_view(m->v, of, l.key[i], seen, value, XATTR_VALUE_MAX_BYTES);

		if (len >= 0)
			rc = tree_xattr_put(m->v, to, l.key[i], value, (size_t)len, ORIGIN_LOCAL);
		else if (len != -ENODATA)
			rc = (int)len;
	}
	for (size_t i = 0; rc == 0 && i < m->s->n_xattrs; i++) {
		const struct ship_xattr *x = &m->s->xattrs[i];

		if (!(n && x->ino == n->rec->ino) && merge_their_inode(m, x->ino, x->seen, NULL) != of)
			continue;
		rc = tree_xattr_put(m->v, to, x->key, x->value, x->value ? x->value_len : 0, ORIGIN_LOCAL);
		rc = rc == -ENODATA ? 0 : rc;
	}
	for (size_t i = 0; i < l.n; i++)
		free(l.key[i]);
	free(l.key);
	free(value);
	return rc;
}

static int make_clone(struct merger *m, const struct rs_clone *c)
{
	struct inode *in = xmalloc(sizeof(*in));
	const struct norm_inode *n = NULL;
	struct view seen;
	uint64_t at;
	int rc;

	their_attrs(m, c->of, &seen);
	rc = tree_inode_view(m->v, c->of, seen, in);

	if (rc == -ENOENT)
		rc = tree_inode_get(m->v, c->of, in);
	if (map_get(&m->ni_by_ino, c->of, &at))
		n = &m->ni[at - 1];
	if (rc == 0) {
		in->ino = c->id;
		in->nlink = 0;
		if (S_ISREG(in->mode))
			in->size_bytes = 0;
		in->origin = in->corigin = ORIGIN_LOCAL;
		in->cborn = group_number(m->v);
		rc = tree_inode_put(m->v, in);
	}
	if (rc == 0 && S_ISREG(in->mode))
		rc = clone_bytes(m, n, c->of, c->id);
	if (rc == 0)
		rc = clone_xattrs(m, n, c->of, c->id);
	if (rc == 0 && n)
		rc = land_attrs(m->v, n->rec, c->id, n->rec->fields, ORIGIN_LOCAL);
	free(in);
	if (rc == 0)
		rc = merge_note_copy(m, 'u', c->of, c->id);
	return rc ? rc : changes_touch_whole(m->v, c->id);
}

int units_make_clones(struct merger *m, const struct rs_result *r, struct placement *list, size_t *n)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < r->n_clones; i++)
		rc = make_clone(m, &r->clones[i]);
	for (size_t i = 0; rc == 0 && i < r->n_clone_links; i++) {
		const struct rs_clone_link *l = &r->clone_links[i];

		if (!l->pos.present)
			continue;
		list[*n] = (struct placement){ .link = id_new(m->v),
					       .child = l->child,
					       .parent = l->pos.parent,
					       .name = l->pos.name,
					       .name_len = l->pos.name_len,
					       .origin = ORIGIN_LOCAL };
		rc = changes_touch_link(m->v, list[*n].link, l->child, true, false);
		if (rc == 0 && l->of)
			rc = merge_note_copy(m, 'n', l->of, list[*n].link);
		(*n)++;
	}
	return rc ? rc : families_note_copies(m, r, list, *n);
}

bool units_kept(const struct merger *m, uint64_t ino)
{
	return map_get(&m->kept, ino, NULL);
}

int units_send_back_attrs(struct merger *m, const struct norm_inode *n)
{
	static const struct {
		uint32_t field;
		enum entity what;
	} map[] = { { REC_MODE, ENT_MODE }, { REC_OWNER, ENT_OWNER }, { REC_TIMES, ENT_TIMES } };
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < ARRAY_LEN(map); i++)
		if (n->rec->fields & (map[i].field | REC_CONTENT))
			rc = changes_touch(m->v, n->ino, map[i].what);
	return rc;
}

int units_send_back(struct merger *m, const struct norm_inode *n)
{
	struct content_case c;
	int rc = 0;

	if (n->rec->fields & REC_NEW)
		return changes_touch_whole(m->v, n->ino);
	if ((n->rec->fields & REC_CONTENT) && S_ISREG(n->rec->mode)) {
		rc = content_open(&c, m->v, m->s, n->rec, n->ino, n->seen_bytes, n->aliased ? &n->lin : NULL, "");
		if (rc == 0)
			rc = content_send_back(&c);
	}
	return rc ? rc : units_send_back_attrs(m, n);
}

/*
 * A file that we changed and then removed with its unit comes back in what is the secondary's unit: as that has it, not
 * as it was here last.
 */
int units_as_theirs(struct merger *m, uint64_t ino)
{
	struct inode *in = xmalloc(sizeof(*in));
	uint64_t seen, from;
	struct view view;
	int rc = 0;

	if (map_get(&m->member, ino, &seen) && tree_inode_get(m->v, ino, in) == 0 && S_ISREG(in->mode)) {
		from = merge_their_version(m, ino, &view);
		rc = content_view(m->v, from, view, in);
		if (rc == 0)
			rc = content_copy(m->v, from, view, in->size_bytes, ino, ORIGIN_LOCAL);
		rc = rc == -ENOENT ? 0 : rc;
	}
	free(in);
	return rc;
}

void units_release(struct merger *m)
{
	policy_units_free(m->units);
	free(m->clone_ino);
	map_release(&m->member);
	map_release(&m->too_large);
	map_release(&m->kept);
}
