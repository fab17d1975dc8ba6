/* SPDX-License-Identifier: MIT */
/*
 * What had become one here, a file of the secondary's and one of ours, and is two again: as the secondary turned out to
 * have both, or as a person said that its state counts. The aliases go, and the names lead to whose they are.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "sync/merge_state.h"
#include "util/util.h"

/*
 * A link of ours swallowed one of the secondary's as an alias. That ends when its own is gone there, as it was told;
 * and when it has both, as it moved its own away and took ours as well: then they are two again. But not before it says
 * something of its own: until then it may be told yet that the two are one.
 */
struct fused {
	struct merger *m;
	struct lineage *list, *over; /* to be taken apart; to be forgotten */
	size_t n, cap, n_over, cap_over;
	struct map said; /* what the shipment says something of, by what it is or by what is in it */
	struct map named; /* files of which it gives a place */
	bool said_listed;
};

static void list_said(struct fused *f)
{
	const struct shipment *s = f->m->s;

	for (size_t i = 0; i < s->n_links; i++) {
		if (s->links[i].parent) {
			map_put(&f->said, s->links[i].parent, 1);
			map_put(&f->named, s->links[i].child, 1);
		}
		if (s->links[i].child)
			map_put(&f->said, s->links[i].child, 1);
	}
	for (size_t i = 0; i < s->n_inodes; i++)
		if (s->inodes[i]->fields & ~(uint32_t)REC_TIMES)
			map_put(&f->said, s->inodes[i]->ino, 1);
	for (size_t i = 0; i < s->n_xattrs; i++)
		map_put(&f->said, s->xattrs[i].ino, 1);
	f->said_listed = true;
}

static bool says_something_of(struct fused *f, uint64_t ino)
{
	if (!f->said_listed)
		list_said(f);
	return ino && map_get(&f->said, ino, NULL);
}

/* It removed this name of its own, and has another one of the file: that is one with ours still. */
static bool goes_by_another(struct fused *f, const struct ship_link *own)
{
	if (!own || own->parent || own->report)
		return false;
	if (!f->said_listed)
		list_said(f);
	return map_get(&f->named, own->child, NULL);
}

static int judge_alias(void *ctx, const struct lineage *l)
{
	struct fused *f = ctx;
	const struct ship_link *own = shipment_link(f->m->s, l->src), *ours = shipment_link(f->m->s, l->dst);
	struct dentry d, its = { .child = 0 };
	bool has_own = own || merge_their_link(f->m, l->src, &its, NULL) == 0;
	bool has_ours = ours ? ours->parent != 0 || !ours->report : merge_their_link(f->m, l->dst, &d, NULL) == 0;

	if (l->kind != 'l')
		return 0;
	if (!has_own || goes_by_another(f, own)) {
		f->over = merge_grow(f->over, f->n_over, &f->cap_over, sizeof(*f->over));
		f->over[f->n_over++] = *l;
	} else if (has_ours && (own || says_something_of(f, its.child))) {
		f->list = merge_grow(f->list, f->n, &f->cap, sizeof(*f->list));
		f->list[f->n++] = *l;
	}
	return 0;
}

static void add_apart(struct merger *m, const struct apart *a)
{
	m->apart = merge_grow(m->apart, m->n_apart, &m->cap_apart, sizeof(*m->apart));
	m->apart[m->n_apart++] = *a;
}

static int take_apart(struct merger *m, const struct lineage *link)
{
	const struct ship_link *own = shipment_link(m->s, link->src);
	struct lineage ino, base;
	struct dentry d = { .child = 0 };
	int rc = own ? 0 : merge_their_link(m, link->src, &d, NULL);

	if (rc == 0)
		rc = lineage_get(m->v, LINEAGE_INODE, own ? own->child : d.child, &ino);
	if (rc == 0 && ino.kind == 'a') {
		if (lineage_get(m->v, LINEAGE_BASE, ino.src, &base) < 0 || base.kind != 'b')
			base = ino;
		add_apart(m, &(struct apart){ .base = base, .attrs_of = ino.dst });
		rc = lineage_drop(m->v, LINEAGE_INODE, ino.src);
	}
	if (rc == -ENOENT)
		rc = 0;
	return rc ? rc : lineage_drop(m->v, LINEAGE_LINK, link->src);
}

int merge_take_all_apart(struct merger *m)
{
	struct fused f = { .m = m, .said = MAP_INIT, .named = MAP_INIT };
	int rc = lineage_each(m->v, LINEAGE_LINK, judge_alias, &f);

	for (size_t i = 0; rc == 0 && i < f.n; i++) {
		m->links_apart = merge_grow(m->links_apart, m->n_links_apart, &m->cap_links_apart,
					    sizeof(*m->links_apart));
		m->links_apart[m->n_links_apart++] = f.list[i].src;
		rc = take_apart(m, &f.list[i]);
	}
	for (size_t i = 0; rc == 0 && i < f.n_over; i++)
		rc = lineage_drop(m->v, LINEAGE_LINK, f.over[i].src);
	free(f.list);
	free(f.over);
	map_release(&f.said);
	map_release(&f.named);
	return rc;
}

int merge_add_links_apart(struct merger *m)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < m->n_links_apart; i++) {
		uint64_t link = m->links_apart[i], at;

		if (merge_record_of_link(m, link))
			continue;
		rc = merge_add_link(m, link);
		if (rc == 0 && map_get(&m->link_at, link, &at))
			m->links[at - 1].b = (struct rs_pos){ 0 };
	}
	return rc;
}

/*
 * Under a word the secondary's file is itself, with its bytes and attributes and no others, whatever it became one with
 * here. That is not known here as a whole, so the secondary sends it (merge_ask_for). Not so a directory: what the
 * secondary has in it is known by the one that it became.
 */
static int is_its_own_file(void *ctx, const struct lineage *l)
{
	struct fused *f = ctx;
	struct inode in;

	if (l->kind != 'a' || tree_inode_get(f->m->v, l->dst, &in) < 0 || S_ISDIR(in.mode))
		return 0;
	f->over = merge_grow(f->over, f->n_over, &f->cap_over, sizeof(*f->over));
	f->over[f->n_over++] = *l;
	return 0;
}

static int is_its_own_link(void *ctx, const struct lineage *l)
{
	struct fused *f = ctx;
	struct dentry d;

	if (l->kind != 'l' || merge_their_link(f->m, l->src, &d, NULL) < 0 ||
	    lineage_get(f->m->v, LINEAGE_INODE, d.child, &(struct lineage){ 0 }) == 0)
		return 0;
	f->list = merge_grow(f->list, f->n, &f->cap, sizeof(*f->list));
	f->list[f->n++] = *l;
	return 0;
}

int merge_give_back_its_own(struct merger *m, struct lineage **links, size_t *n_links)
{
	struct fused f = { .m = m };
	int rc = lineage_each(m->v, LINEAGE_INODE, is_its_own_file, &f);

	for (size_t i = 0; rc == 0 && i < f.n_over; i++) {
		map_put(&m->its_own, f.over[i].src, 1);
		add_apart(m, &(struct apart){ .base = f.over[i], .attrs_of = f.over[i].dst });
		rc = lineage_drop(m->v, LINEAGE_INODE, f.over[i].src);
	}
	if (rc == 0)
		rc = lineage_each(m->v, LINEAGE_LINK, is_its_own_link, &f);
	for (size_t i = 0; rc == 0 && i < f.n; i++)
		rc = lineage_drop(m->v, LINEAGE_LINK, f.list[i].src);
	free(f.over);
	*links = f.list;
	*n_links = f.n;
	return rc;
}

uint64_t merge_child_apart(struct merger *m, const struct norm_link *rec, const struct dentry *d)
{
	struct dentry there = { .child = 0 };
	struct change_row asked;
	size_t i = 0;

	/* It was asked for, as it was not known here any more. */
	if (rec && rec->parent && merge_comes_whole(m, rec->raw_child) &&
	    changes_get(m->v, rec->raw_child, ENT_ASK, &asked) == 0)
		return rec->raw_child;
	while (i < m->n_apart && m->apart[i].attrs_of != d->child)
		i++;
	if (i == m->n_apart)
		return d->child;
	if (rec)
		there.child = rec->parent ? rec->raw_child : 0;
	else if (merge_their_link(m, d->link, &there, NULL) < 0)
		return d->child;
	for (; i < m->n_apart; i++)
		if (m->apart[i].attrs_of == d->child && m->apart[i].base.src == there.child)
			return there.child;
	return d->child;
}

/* The names of what had swallowed one of the secondary's. */
struct names_apart {
	struct merger *m;
	uint64_t last;  /* one that is given back */
	bool others;    /* and it has others */
};

static int add_name_apart(void *ctx, const struct dentry *d)
{
	struct names_apart *a = ctx;

	if (merge_child_apart(a->m, merge_record_of_link(a->m, d->link), d) == d->child) {
		a->others = true;
		return 0;
	}
	a->last = d->link;
	return merge_add_link(a->m, d->link);
}

/* It has no other name than one that leads to the secondary's again: what we wrote to it gets a name of its own. */
static int keep_ours_apart(struct merger *m, struct apart *a, uint64_t link)
{
	struct rs_link ours = { .child = a->attrs_of };
	uint64_t at;

	if (!map_get(&m->link_at, link, &at))
		return -EUCLEAN;
	if (!a->name_of_ours)
		a->name_of_ours = id_new(m->v);
	ours.id = a->name_of_ours;
	ours.p = m->links[at - 1].p;
	ours.late = m->links[at - 1].late;
	m->links[at - 1].b = m->links[at - 1].p = (struct rs_pos){ 0 };
	m->links = merge_grow(m->links, m->n_links, &m->cap_links, sizeof(*m->links));
	m->links[m->n_links++] = ours;
	map_put(&m->link_at, ours.id, m->n_links);
	map_put(&m->given_back, ours.id, GIVEN_OURS);
	return 0;
}

int merge_add_names_apart(struct merger *m)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < m->n_apart; i++) {
		struct names_apart a = { .m = m };
		uint64_t ino = m->apart[i].attrs_of;

		rc = tree_links_of(m->v, ino, add_name_apart, &a);
		if (rc == 0 && a.last && !a.others && p_changed_content(m->v, ino, m->s->begin.seen))
			rc = keep_ours_apart(m, &m->apart[i], a.last);
	}
	return rc;
}
