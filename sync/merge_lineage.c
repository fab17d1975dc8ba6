/* SPDX-License-Identifier: MIT */
/*
 * What the secondary calls by ids of its own (aliases), and what it calls by ours but means otherwise: when a unit that
 * both changed was made two, all that the secondary did to it before it heard of that is about the copy, which is its
 * own whole. A note for each clone in the copy says so (struct lineage, 'u' and 'n'), good for what it did knowing less
 * than the group in which the copy was made.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "sync/merge_state.h"
#include "util/log.h"
#include "util/util.h"

/* ---- aliases -------------------------------------------------------------------------------------------------------
 */

uint64_t merge_alias(struct merger *m, uint64_t ino, struct lineage *lin)
{
	struct lineage l;

	for (int hop = 0; hop < 8 && ino > INO_HIDDEN; hop++) {
		if (lineage_get(m->v, LINEAGE_INODE, ino, &l) < 0 || l.kind != 'a')
			break;
		if (lin)
			*lin = l;
		ino = l.dst;
	}
	return ino;
}

bool merge_link_alias(struct merger *m, uint64_t link, struct lineage *lin)
{
	return lineage_get(m->v, LINEAGE_LINK, link, lin) == 0 && lin->kind == 'l';
}

/* ---- copies of units -----------------------------------------------------------------------------------------------
 */

static int list_copy(void *ctx, const struct lineage *l)
{
	struct merger *m = ctx;
	uint64_t known = 0;

	if (l->kind == 'u' || l->kind == 'c') {
		map_get(&m->own_bytes, l->dst, &known);
		map_put(&m->own_bytes, l->dst, MAX(known, lineage_known(l)));
	}
	if (m->names->no_copies)
		return 0;
	if (l->kind == 'u')
		map_put(&m->of_inode, l->dst, l->src);
	else if (l->kind == 'n')
		map_put(&m->of_link, l->dst, l->src);
	return 0;
}

int merge_lineage_load(struct merger *m)
{
	int rc = 0;

	/* A person's word is about what is where now. */
	if (m->prefer)
		return 0;
	rc = lineage_each(m->v, LINEAGE_INODE, list_copy, m);
	if (rc || m->names->no_copies)
		return rc;
	rc = lineage_each(m->v, LINEAGE_LINK, list_copy, m);
	return rc ? rc : families_load(m);
}

static bool is_of_copy(struct merger *m, uint64_t ino)
{
	return ino && map_get(&m->of_inode, ino, NULL);
}

int merge_copies_meant(struct merger *m)
{
	bool itself = false; /* it names what is in a copy by the copy's own ids */

	if (map_count(&m->of_inode) == 0)
		return 0;
	for (size_t i = 0; i < m->n_nl; i++) {
		const struct norm_link *n = &m->nl[i];

		if (n->report)
			continue;
		m->by_copies |= n->in_copy || n->family || (n->parent != n->raw_parent && is_of_copy(m, n->parent));
		itself |= is_of_copy(m, n->raw_child) || is_of_copy(m, n->raw_parent);
	}
	for (size_t i = 0; i < m->n_ni; i++) {
		m->by_copies |= m->ni[i].in_copy && !m->ni[i].by_name;
		itself |= (m->ni[i].rec->fields & (REC_CONTENT | REC_NEW)) && is_of_copy(m, m->ni[i].rec->ino);
	}
	for (size_t i = 0; i < m->s->n_xattrs; i++) {
		struct lineage lin = { .kind = 0 };

		merge_their_inode(m, m->s->xattrs[i].ino, m->s->xattrs[i].seen, &lin);
		m->by_copies |= lin.kind == 'u' && m->s->xattrs[i].seen < lin.since;
		itself |= is_of_copy(m, m->s->xattrs[i].ino);
	}
	return m->by_copies && itself ? -EUCLEAN : 0;
}

/* What the secondary has something in; and files that it has by a name. */
static void list_used(struct merger *m, struct map *used)
{
	struct map said = MAP_INIT;

	for (size_t i = 0; i < m->n_nl; i++)
		if (m->nl[i].in_copy)
			map_put(&said, m->nl[i].alias_of, 1);
	for (size_t i = 0; i < m->n_links; i++) {
		const struct rs_link *l = &m->links[i];

		if (!l->s.present)
			continue;
		map_put(used, l->s.parent, 1);
		if (!map_get(&m->parents, l->child, NULL) && !map_get(&said, l->id, NULL))
			map_put(used, l->child, 1);
	}
	map_release(&said);
}

/* It does not have it, or said so, and still means something in it, or by it: it is as it is here, and it gets it. */
static void is_there_too(struct merger *m, struct rs_link *l, struct map *used)
{
	struct norm_link *rec = merge_record_of_link(m, l->id);

	if (rec)
		rec->lacks = true;
	l->b = l->s = l->p;
	map_put(used, l->s.parent, 1);
}

/*
 * It wrote to what it calls by our id, and means ours by that, though the name that it has it by is in a copy here (it
 * moved it there, or has taken our bytes of it since). So it has ours, which stays by our names; or its bytes would be
 * put over ours, or nowhere.
 */
static void keep_what_it_wrote(struct merger *m, struct map *used)
{
	struct map wrote = MAP_INIT;

	for (size_t i = 0; i < m->n_ni; i++)
		if ((m->ni[i].rec->fields & REC_CONTENT) && m->ni[i].bytes_ino == m->ni[i].rec->ino &&
		    !map_get(used, m->ni[i].ino, NULL))
			map_put(&wrote, m->ni[i].ino, 1);
	for (size_t i = 0; map_count(&wrote) > 0 && i < m->n_links; i++) {
		struct rs_link *l = &m->links[i];

		if (l->p.present && !l->s.present && map_get(&wrote, l->child, NULL))
			is_there_too(m, l, used);
	}
	map_release(&wrote);
}

/*
 * What it removed from a unit goes from its copy, but for two things. It may have heard of the copy meanwhile and have
 * it, with what we put into it since, or be about to: a directory that holds something for it stays. And it may have
 * the file by a name elsewhere, where it is ours here: its bytes stay.
 */
void merge_keep_in_copies(struct merger *m)
{
	struct map used = MAP_INIT;
	uint64_t at;
	bool again = map_count(&m->of_inode) > 0;

	if (again)
		list_used(m, &used);
	for (size_t i = 0; again && i < m->n_nl; i++) {
		struct rs_link *l = m->nl[i].in_copy && map_get(&m->link_at, m->nl[i].link, &at) ? &m->links[at - 1]
												   : NULL;

		if (l && !l->s.present && l->p.present && !map_get(&m->parents, l->child, NULL) &&
		    map_get(&used, m->nl[i].raw_child, NULL))
			is_there_too(m, l, &used);
	}
	if (again)
		keep_what_it_wrote(m, &used);
	while (again) {
		again = false;
		for (size_t i = 0; i < m->n_links; i++) {
			struct rs_link *l = &m->links[i];

			if (l->s.present || !l->p.present || !l->child || !map_get(&m->parents, l->child, NULL) ||
			    !map_get(&used, l->child, NULL))
				continue;
			is_there_too(m, l, &used);
			again = true;
		}
	}
	map_release(&used);
}

/* It is a note of a copy, and what the secondary did knowing our groups up to `seen` was about that. */
static bool is_about_copy(struct merger *m, enum lineage_class c, uint64_t src, uint64_t seen, struct lineage *lin)
{
	return map_count(&m->of_inode) > 0 && lineage_get(m->v, c, src, lin) == 0 &&
	       (lin->kind == 'u' || lin->kind == 'n') && seen < lin->since;
}

struct its_name {
	struct merger *m;
	uint64_t ino; /* by its own id */
};

/* Does it have its own file by this link, as it says, or as it said and has not heard otherwise? *seen: as of what. */
static bool has_its_own_by(const struct its_name *n, uint64_t link, uint64_t *seen)
{
	const struct ship_link *l = shipment_link(n->m->s, link);
	struct peer_link note;

	if (l) {
		*seen = l->seen;
		return l->parent != 0 && l->child == n->ino;
	}
	if (peer_link_get(n->m->v, link, &note) < 0 || note.at.born <= n->m->s->begin.seen)
		return false;
	*seen = note.seen;
	return note.at.parent != 0 && note.at.child == n->ino;
}

/* Of the copy's file: a name that it gave to its own, or what came of one that both had when it moved that. */
static int leads_to_its_own(void *ctx, const struct dentry *d)
{
	const struct its_name *n = ctx;
	struct lineage lin;
	uint64_t src, seen;

	return has_its_own_by(n, d->link, &seen) ||
	       (map_get(&n->m->of_link, d->link, &src) && has_its_own_by(n, src, &seen) &&
		is_about_copy(n->m, LINEAGE_LINK, src, seen, &lin) && lin.dst == d->link);
}

/* Does it have this link of the file that is ours? */
static int is_there_as_ours(void *ctx, const struct dentry *d)
{
	const struct its_name *n = ctx;
	struct view view = { .kind = VIEW_PEER, .group = n->m->s->begin.seen };
	const struct ship_link *l = shipment_link(n->m->s, d->link);
	struct peer_link note;
	struct dentry its;

	if (l)
		return l->parent != 0;
	if (peer_link_get(n->m->v, d->link, &note) == 0 && note.at.born > n->m->s->begin.seen)
		return note.at.parent != 0;
	return tree_link_view(n->m->v, d->link, view, &its) == 0;
}

/* Neither do we have the file, nor, under a word, the secondary by a name that leads to it here. */
static bool is_ours_no_more(struct merger *m, uint64_t ino)
{
	struct its_name n = { .m = m, .ino = ino };
	struct inode in;

	return tree_inode_get(m->v, ino, &in) == -ENOENT ||
	       (m->prefer && tree_links_of(m->v, ino, is_there_as_ours, &n) == 0);
}

/*
 * It has heard of the copy, or a person's word is about what is where now, and we do not have the file any more; but a
 * name that it gave to its own before leads to the copy's here, and it does not know of that: what it writes by that
 * name goes there. That says nothing of what it means by other ids, and holds whatever those are taken to mean.
 */
static bool is_named_in_copy(struct merger *m, uint64_t ino, struct lineage *lin)
{
	struct its_name n = { .m = m, .ino = ino };

	return (map_count(&m->of_inode) > 0 || m->names->no_copies || m->prefer) &&
	       lineage_get(m->v, LINEAGE_INODE, ino, lin) == 0 && lin->kind == 'u' &&
	       is_ours_no_more(m, ino) && tree_links_of(m->v, lin->dst, leads_to_its_own, &n) == 1;
}

uint64_t merge_their_inode(struct merger *m, uint64_t ino, uint64_t seen, struct lineage *lin)
{
	struct lineage l;

	if (is_about_copy(m, LINEAGE_INODE, ino, seen, &l) || is_named_in_copy(m, ino, &l)) {
		if (lin)
			*lin = l;
		return l.dst;
	}
	return merge_alias(m, ino, lin);
}

bool merge_link_in_copy(struct merger *m, uint64_t link, uint64_t seen, struct lineage *lin)
{
	return is_about_copy(m, LINEAGE_LINK, link, seen, lin);
}

bool merge_link_of_copy(struct merger *m, uint64_t link, uint64_t seen, struct lineage *lin)
{
	uint64_t src;

	return map_get(&m->of_link, link, &src) && is_about_copy(m, LINEAGE_LINK, src, seen, lin) && lin->dst == link;
}

struct rs_pos merge_their_pos(struct merger *m, const struct dentry *d, uint64_t seen)
{
	struct rs_pos pos = { .present = true, .parent = merge_their_inode(m, d->parent, seen, NULL),
			      .name_len = d->name_len, .name = merge_keep(m, xstrndup(d->name, d->name_len)) };

	families_their_name(m, &pos, seen);
	return pos;
}

bool merge_is_where_told(struct merger *m, const struct rs_link *l)
{
	struct peer_link note;
	struct lineage lin;
	uint64_t src;
	struct rs_pos at;

	if (!l->p.present || !map_get(&m->of_link, l->id, &src) || peer_link_get(m->v, src, &note) < 0 ||
	    note.at.born <= m->s->begin.seen || note.at.parent == 0 ||
	    !merge_link_of_copy(m, l->id, note.seen, &lin))
		return false;
	at = merge_their_pos(m, &note.at, note.seen);
	return merge_same_pos(&at, &l->p);
}

uint64_t merge_copy_seen(struct merger *m, uint64_t ino)
{
	struct lineage lin;
	uint64_t src;

	return map_get(&m->of_inode, ino, &src) && lineage_get(m->v, LINEAGE_INODE, src, &lin) == 0 && lin.dst == ino
		       ? lin.grp
		       : 0;
}

bool merge_has_copy(struct merger *m, uint64_t link)
{
	struct lineage lin;

	return map_count(&m->of_link) > 0 && lineage_get(m->v, LINEAGE_LINK, link, &lin) == 0 && lin.kind == 'n';
}

/* The copy that the directory is (in), the outermost; 0: none. */
static uint64_t copy_above(struct merger *m, uint64_t dir)
{
	uint64_t found = 0, from = dir, known;
	struct dentry d;

	if (map_get(&m->copy_of_dir, dir, &known))
		return known - 1;
	for (unsigned depth = 0; dir > INO_HIDDEN && depth < PATH_DEPTH_MAX; depth++) {
		if (map_get(&m->of_inode, dir, NULL))
			found = dir;
		if (!tree_first_link(m->v, dir, &d))
			break;
		dir = d.parent;
	}
	map_put(&m->copy_of_dir, from, found + 1);
	return found;
}

bool merge_changed_content(struct merger *m, uint64_t ino, uint64_t seen)
{
	struct lineage lin;
	struct inode in;
	uint64_t src;

	/* What it holds in a copy is the secondary's, as of the last that landed there. */
	if (map_get(&m->of_inode, ino, &src) && lineage_get(m->v, LINEAGE_INODE, src, &lin) == 0 && lin.dst == ino)
		seen = MAX(seen, lineage_known(&lin));
	if (!p_changed_content(m->v, ino, seen))
		return false;
	/* It was sent again to whom had written to its own of that name: that alone is no change. */
	return map_count(&m->of_inode) == 0 || lineage_get(m->v, LINEAGE_INODE, ino, &lin) < 0 || lin.kind != 'u' ||
	       tree_inode_get(m->v, ino, &in) < 0 || in.cborn > seen;
}

bool merge_in_copy(struct merger *m, uint64_t dir)
{
	return copy_above(m, dir) != 0;
}

uint64_t merge_known_in_copy(struct merger *m, uint64_t link, const struct rs_pos *pos)
{
	uint64_t src, copy, own = 0, known = 0;
	struct lineage lin;

	if (map_count(&m->of_inode) == 0)
		return 0;
	if (map_get(&m->of_link, link, &src) && lineage_get(m->v, LINEAGE_LINK, src, &lin) == 0 && lin.dst == link)
		own = lin.grp;
	if (!pos->present || families_copy_at(m, pos->parent, pos->name, pos->name_len, &known))
		return MAX(own, known);
	copy = copy_above(m, pos->parent);
	return MAX(own, copy ? merge_copy_seen(m, copy) : 0);
}

uint64_t merge_unit_seen(const struct merger *m, uint64_t ino)
{
	uint64_t known;

	return map_get(&m->member, ino, &known) ? MIN(m->s->begin.seen, known - 1) : m->s->begin.seen;
}

/* What it wrote to its own, and was put into this file, it has, whatever it had heard of this file by then. */
static uint64_t unit_seen_bytes(const struct merger *m, uint64_t ino)
{
	uint64_t known = 0;

	map_get(&m->own_bytes, ino, &known);
	return MAX(known, merge_unit_seen(m, ino));
}

uint64_t merge_their_version(struct merger *m, uint64_t ino, struct view *view)
{
	struct lineage lin;
	uint64_t src;

	*view = (struct view){ .kind = VIEW_PEER, .group = unit_seen_bytes(m, ino) };
	if (map_get(&m->of_inode, ino, &src) && lineage_get(m->v, LINEAGE_INODE, src, &lin) == 0 && lin.dst == ino &&
	    (m->by_copies || m->s->begin.seen < lin.since))
		*view = (struct view){ .kind = VIEW_AT, .group = lineage_known(&lin) };
	else if (map_count(&m->of_inode) > 0 && lineage_get(m->v, LINEAGE_INODE, ino, &lin) == 0 && lin.kind == 'u')
		; /* a note about its bytes is about the copy */
	else if (lineage_get(m->v, LINEAGE_BASE, ino, &lin) == 0 && lin.grp > m->s->begin.seen && lin.kind == 'b') {
		*view = (struct view){ .kind = VIEW_AT, .group = lin.grp };
		return lin.dst;
	}
	return ino;
}

int merge_extend_copy(struct merger *m, uint64_t dir)
{
	struct dentry d;
	uint64_t src;
	int rc = 0;

	for (unsigned depth = 0; rc == 0 && dir > INO_HIDDEN && depth < PATH_DEPTH_MAX; depth++) {
		if (map_get(&m->of_inode, dir, &src))
			rc = merge_renew_note(m, LINEAGE_INODE, src);
		if (!tree_first_link(m->v, dir, &d))
			break;
		dir = d.parent;
	}
	return rc;
}

int merge_extend_copy_of(struct merger *m, uint64_t ino)
{
	uint64_t src, family;
	struct dentry d;
	int rc = 0;

	if (ino && map_get(&m->of_inode, ino, &src))
		rc = merge_renew_note(m, LINEAGE_INODE, src);
	if (rc || !tree_first_link(m->v, ino, &d))
		return rc;
	family = families_copy_at(m, d.parent, d.name, d.name_len, NULL);
	if (family)
		rc = merge_renew_note(m, LINEAGE_NAME, family);
	return rc ? rc : merge_extend_copy(m, d.parent);
}

static int put_note(struct merger *m, char kind, uint64_t src, uint64_t dst, uint64_t since)
{
	log_debug("merge", "note %c: %#llx is %#llx in the copy, for what is known less than %llu", kind,
		  (unsigned long long)src, (unsigned long long)dst, (unsigned long long)since);
	return lineage_put(m->v, &(struct lineage){ .src = src, .dst = dst, .grp = group_number(m->v), .kind = kind,
		.since = since });
}

/* Does the shipment say that it wrote to the file's bytes of that group of ours? */
static bool has_written(struct merger *m, uint64_t ino, uint64_t group)
{
	uint64_t at;

	return map_get(&m->ni_by_ino, ino, &at) && (m->ni[at - 1].rec->fields & REC_CONTENT) &&
	       m->ni[at - 1].seen_bytes >= group;
}

int merge_note_copy(struct merger *m, char kind, uint64_t of, uint64_t dst)
{
	const struct map *sources = kind == 'u' ? &m->of_inode : &m->of_link;
	enum lineage_class c = kind == 'u' ? LINEAGE_INODE : LINEAGE_LINK;
	struct lineage lin;
	uint64_t src, since = group_number(m->v);
	struct inode *in;

	/* The copy is one of a copy. It was made of what the secondary calls by the ids of the first, and by no other:
	 * what it has in the copy of which this is one it has by those (merge_copies_meant). */
	if (m->by_copies && map_get(sources, of, &src) && lineage_get(m->v, c, src, &lin) == 0) {
		of = src;
		since = lin.since;
	}
	if (m->by_copies && map_get(&m->noted, of, NULL))
		return -EUCLEAN; /* there would be two for what it means by one id */
	map_put(&m->noted, of, 1);
	if (since < group_number(m->v))
		return put_note(m, kind, of, dst, since);
	/* Bytes of ours that it takes, or has taken, before it hears of the copy: what it writes to them then is about
	 * ours. But if it has written to them already, what it has there is in the copy. */
	in = xmalloc(sizeof(*in));
	if (kind == 'u' && map_get(&m->member, of, NULL) && tree_inode_get(m->v, of, in) == 0 && S_ISREG(in->mode) &&
	    in->corigin == ORIGIN_LOCAL && in->cborn > unit_seen_bytes(m, of) && !has_written(m, of, in->cborn))
		since = MIN(since, in->cborn);
	free(in);
	return put_note(m, kind, of, dst, since);
}
