/* SPDX-License-Identifier: MIT */
#include "sync/apply.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/landing.h"
#include "sync/follow.h"
#include "sync/land.h"
#include "sync/plan.h"
#include "util/acl.h"
#include "util/log.h"
#include "util/util.h"

struct applier {
	struct volume *v;
	struct shipment *s;
	uint8_t *state;      /* of links[i] */
	struct map dir_link; /* directory inode -> index + 1 of the accepted record that places it */
	struct map became;   /* inode that somebody holds here -> the primary's, with which it is one now */
	struct map placed;   /* if there is one: child -> index + 1 of the last record that places it, */
	size_t *placed_too;  /* and of each the one before */
	bool again;
	int rc;              /* of letting others in */
	bool strict;         /* at the primary: nothing may be in the way, own rows do not count */
};
enum { LINK_ACCEPTED, LINK_DIRTY, LINK_BLOCKED };

/* What the tree will say of a link once all accepted records have landed. parent 0: gone. -ENOENT: never heard of it.
 */
struct pos {
	uint64_t parent, child;
	const char *name;
	uint16_t name_len;
	struct dentry d; /* backs `name` when it comes from the tree */
};

static bool accepted(const struct applier *a, uint64_t link, size_t *i)
{
	return shipment_find_link(a->s, link, i) && a->state[*i] == LINK_ACCEPTED;
}

static int planned(const struct applier *a, uint64_t link, struct pos *p)
{
	struct ship_link room;
	size_t i;
	int rc;

	if (accepted(a, link, &i)) {
		const struct ship_link *l = shipment_link_at(a->s, i, &room);

		p->parent = l->parent;
		p->child = l->child;
		p->name = l->name;
		p->name_len = l->name_len;
		return 0;
	}
	rc = tree_link_get(a->v, link, &p->d);
	if (rc == 0) {
		p->parent = p->d.parent;
		p->child = p->d.child;
		p->name = p->d.name;
		p->name_len = p->d.name_len;
	}
	return rc;
}

static int first_link(void *ctx, const struct dentry *d)
{
	*(uint64_t *)ctx = d->link;
	return 1;
}

/* The planned parent of a directory; 0 when it will have no place. */
static uint64_t planned_parent(const struct applier *a, uint64_t dir)
{
	struct ship_link room;
	struct pos p;
	uint64_t i, link = 0;

	if (map_get(&a->dir_link, dir, &i) && a->state[i - 1] == LINK_ACCEPTED)
		return shipment_link_at(a->s, i - 1, &room)->parent;
	tree_links_of(a->v, dir, first_link, &link);
	return link && planned(a, link, &p) == 0 ? p.parent : 0;
}

static bool is_root(uint64_t ino)
{
	return ino == INO_ROOT || ino == INO_HIDDEN;
}

/* Will dir hang below the root, not passing through `not_below`? The moves of both sides together may make loops: one
 * is noticed after about two rounds (R. Brent's way: a mark that is set again after 1, 2, 4 … steps), so this ends. */
static bool dir_reachable(const struct applier *a, uint64_t dir, uint64_t not_below)
{
	uint64_t mark = dir;
	unsigned mark_again = 1;

	for (unsigned depth = 1; !is_root(dir); depth++) {
		if (dir == 0 || dir == not_below)
			return false;
		dir = planned_parent(a, dir);
		if (dir == mark)
			return false;
		if (depth == mark_again) {
			mark = dir;
			mark_again *= 2;
		}
	}
	return true;
}

/* Does our change set have it, and has the primary not answered it yet? */
static bool is_ours(const struct shipment *s, int rc, const struct change_row *row)
{
	return rc == 0 && row->grp > s->begin.seen;
}

struct count {
	const struct applier *a;
	uint64_t dir, child;
	bool found;
};

static int child_stays(void *ctx, const struct dentry *d)
{
	struct count *c = ctx;
	struct ship_link room;
	size_t i;

	c->found = !accepted(c->a, d->link, &i) || shipment_link_at(c->a->s, i, &room)->parent == c->dir;
	return c->found;
}

/* And leads to the same file still: it may become another one's, as what the file was one with goes on there. */
static int link_stays(void *ctx, const struct dentry *d)
{
	struct count *c = ctx;
	const struct ship_link *l;
	struct ship_link room;
	size_t i;

	if (!accepted(c->a, d->link, &i))
		return c->found = true;
	l = shipment_link_at(c->a->s, i, &room);
	return c->found = l->parent != 0 && l->child == c->child;
}

static int any_xattr(void *ctx, const char *key, const void *value, size_t len_bytes)
{
	struct count *c = ctx;
	struct change_row row;

	(void)value;
	(void)len_bytes;
	c->found = is_ours(c->a->s, changes_get_xattr(c->a->v, c->child, key, &row), &row);
	return c->found;
}

/* Would taking this link away lose what was changed here: entries of a directory, bytes of a file? */
static bool removal_loses(const struct applier *a, const struct ship_link *l)
{
	struct count c = { .a = a, .dir = l->child, .child = l->child };
	struct inode in;
	struct change_row row;

	tree_children(a->v, l->child, child_stays, &c);
	if (c.found || a->strict)
		return c.found;
	if (tree_inode_get(a->v, l->child, &in) == 0 && S_ISDIR(in.mode))
		return false; /* empty, and its attributes alone bring no directory back */
	tree_links_of(a->v, l->child, link_stays, &c);
	if (c.found)
		return false; /* it lives on under another name */
	if (is_ours(a->s, changes_get(a->v, l->child, ENT_CONTENT, &row), &row))
		return true;
	tree_xattrs(a->v, l->child, any_xattr, &c);
	return c.found;
}

static bool child_known(const struct applier *a, const struct ship_link *l, uint32_t *mode)
{
	struct rec_inode room;
	const struct rec_inode *r = shipment_look(a->s, l->child, &room);
	struct inode in;

	if (r && (r->fields & REC_NEW)) {
		*mode = r->mode;
		return true;
	}
	if (tree_inode_get(a->v, l->child, &in) < 0)
		return false;
	*mode = in.mode;
	return true;
}

static int other_link(void *ctx, const struct dentry *d)
{
	struct count *c = ctx;
	struct ship_link room;
	size_t i;

	/* c->dir holds the link that is allowed */
	c->found = d->link != c->dir &&
		   (!accepted(c->a, d->link, &i) || shipment_link_at(c->a->s, i, &room)->parent != 0);
	return c->found;
}

/* A directory has one place: neither a link of the tree nor another record may hold it elsewhere. */
static bool second_place(const struct applier *a, const struct ship_link *l)
{
	struct count c = { .a = a, .dir = l->link };
	struct ship_link room;
	uint64_t i;

	tree_links_of(a->v, l->child, other_link, &c);
	if (c.found)
		return true;
	return map_get(&a->dir_link, l->child, &i) && shipment_link_at(a->s, i - 1, &room)->link != l->link;
}

/* What holds names must be a directory. */
static bool parent_is_dir(const struct applier *a, uint64_t parent)
{
	struct rec_inode room;
	const struct rec_inode *r = shipment_look(a->s, parent, &room);
	struct inode in;

	if (r && (r->fields & REC_NEW))
		return S_ISDIR(r->mode);
	return tree_inode_get(a->v, parent, &in) == 0 && S_ISDIR(in.mode);
}

static bool name_free(const struct applier *a, const struct ship_link *l)
{
	struct ship_link room;
	struct dentry d;
	size_t i;

	if (tree_lookup(a->v, l->parent, l->name, l->name_len, &d) < 0 || d.link == l->link)
		return true;
	if (!accepted(a, d.link, &i))
		return false;
	const struct ship_link *o = shipment_link_at(a->s, i, &room);

	return o->parent != l->parent || o->name_len != l->name_len || memcmp(o->name, l->name, l->name_len) != 0;
}

/* Will the inode have a name here? */
static bool will_be_here(const struct applier *a, uint64_t ino)
{
	struct count c = { .a = a, .child = ino };
	uint64_t i = 0;

	tree_links_of(a->v, ino, link_stays, &c);
	map_get(&a->placed, ino, &i);
	for (; i && !c.found; i = a->placed_too[i - 1])
		c.found = a->state[i - 1] == LINK_ACCEPTED;
	return c.found;
}

static void find_placed(struct applier *a)
{
	const struct shipment *s = a->s;
	struct ship_link room;
	uint64_t before;

	if (map_count(&a->became) == 0)
		return;
	a->placed_too = xcalloc(s->n_links + 1, sizeof(*a->placed_too));
	for (size_t i = 0; i < s->n_links; i++) {
		const struct ship_link *l = shipment_link_at(s, i, &room);

		if (l->parent) {
			a->placed_too[i] = map_get(&a->placed, l->child, &before) ? (size_t)before : 0;
			map_put(&a->placed, l->child, i + 1);
		}
	}
}

/* Somebody works in what is one with another now, and the other is not here: it stays until both can be done at
 * once. */
static bool removal_strands(const struct applier *a, uint64_t child)
{
	uint64_t to;

	return map_get(&a->became, child, &to) && !will_be_here(a, to);
}

static bool blocked(const struct applier *a, const struct ship_link *l)
{
	struct dentry d;
	bool here = tree_link_get(a->v, l->link, &d) == 0;
	struct ship_link old = { .link = l->link, .child = here ? d.child : 0 };
	uint32_t mode;

	/* What goes is what the link leads to here, whatever the peer calls it. */
	if (!l->parent)
		return here && (removal_loses(a, &old) || removal_strands(a, d.child));
	if (!child_known(a, l, &mode))
		return true;
	if (here && d.child != l->child && removal_loses(a, &old))
		return true; /* it shall lead to another file, and this one has changes */
	if (!parent_is_dir(a, l->parent) || (S_ISDIR(mode) && second_place(a, l)))
		return true;
	if (!dir_reachable(a, l->parent, S_ISDIR(mode) ? l->child : 0))
		return true;
	return !name_free(a, l);
}

/* Block what cannot be, then what cannot be because of that, until nothing changes. It only ever grows, so it ends. */
static void settle(struct applier *a)
{
	struct change_row row;
	struct ship_link room;

	for (size_t i = 0; i < a->s->n_links; i++) {
		const struct ship_link *l = shipment_link_at(a->s, i, &room);
		uint32_t mode;

		a->rc = a->rc ? a->rc : landing_breathe(a->v);
		if (!a->strict && is_ours(a->s, changes_get_link(a->v, l->link, &row), &row) && !row.skipped)
			a->state[i] = LINK_DIRTY;
		else if (l->parent && child_known(a, l, &mode) && S_ISDIR(mode))
			map_put(&a->dir_link, l->child, i + 1);
	}
	do {
		a->again = false;
		for (size_t i = 0; i < a->s->n_links && !a->rc; i++, a->rc = landing_breathe(a->v))
			if (a->state[i] == LINK_ACCEPTED && blocked(a, shipment_link_at(a->s, i, &room))) {
				a->state[i] = LINK_BLOCKED;
				a->again = true;
			}
	} while (a->again);
}

/*
 * The primary gets the file as if it were new. If that is on its way already it is not said again: each time would be
 * another change that the primary's answer to the one before does not know, and could cross those answers for ever.
 */
static int keep_whole(struct applier *a, uint64_t ino)
{
	struct change_row row;

	return changes_get(a->v, ino, ENT_NEW, &row) == 0 ? 0 : changes_touch_taken(a->v, ino, a->s->begin.to);
}

/*
 * Enter a blocked link into our own change set as it is here. What the primary removed and we keep is entered whole:
 * the primary may have forgotten it by the time it hears of that.
 */
static int keep_blocked(struct applier *a, const struct ship_link *l)
{
	struct dentry d;
	bool here = tree_link_get(a->v, l->link, &d) == 0;
	int rc = changes_touch_skipped(a->v, l->link, here ? d.child : l->child, !here);

	return rc || !here || l->parent ? rc : keep_whole(a, d.child);
}

static int link_is_known(void *ctx, const struct dentry *d)
{
	struct count *c = ctx;
	struct change_row row;

	c->found = changes_get_link(c->a->v, d->link, &row) < 0 || row.skipped;
	return c->found;
}

/*
 * A link of it was removed there, and what holds it here are links that the primary has not heard of: so it may have
 * deleted the file, and not even have sent the last of its bytes.
 */
static int keep_held(struct applier *a, const struct ship_link *l)
{
	struct count c = { .a = a };
	struct inode in;

	if (tree_inode_get(a->v, l->child, &in) < 0 || in.nlink == 0)
		return 0;
	tree_links_of(a->v, l->child, link_is_known, &c);
	return c.found ? 0 : keep_whole(a, l->child);
}

/* Removed there, and moved or removed here: what we moved stays, and what we gave another name may stay by that. The
 * primary may have forgotten its bytes by then. */
static int keep_changed(struct applier *a, const struct ship_link *l)
{
	struct dentry d;

	return tree_link_get(a->v, l->link, &d) < 0 ? keep_held(a, l) : keep_whole(a, d.child);
}

/* Last, when all that could be taken was taken: what is kept is sent as it is then. */
static int keep_the_rest(struct applier *a)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < a->s->n_links; i++) {
		const struct ship_link *l = &a->s->links[i];

		if (a->state[i] != LINK_ACCEPTED)
			log_debug("apply", "link %#llx -> %#llx in %#llx as %s: %s", (unsigned long long)l->link,
				  (unsigned long long)l->child, (unsigned long long)l->parent, l->name,
				  a->state[i] == LINK_DIRTY ? "changed here" : "cannot be placed");

		if (a->state[i] == LINK_BLOCKED)
			rc = keep_blocked(a, l);
		else if (a->state[i] == LINK_DIRTY && !l->parent)
			rc = keep_changed(a, l);
		else if (!l->parent)
			rc = keep_held(a, l);
	}
	return rc;
}

static int land_accepted(struct applier *a, struct placement **list, size_t *n)
{
	struct shipment *s = a->s;
	int rc = 0;

	*list = xcalloc(s->n_links + 1, sizeof(**list));
	*n = 0;
	for (size_t i = 0; rc == 0 && i < s->n_links; i++) {
		struct ship_link *l = &s->links[i];
		const struct rec_inode *r;

		if (a->state[i] != LINK_ACCEPTED)
			continue;
		r = shipment_inode(s, l->child);
		rc = changes_skipped_taken(a->v, l->link, s->begin.to);
		if (rc == 0 && l->parent && r && (r->fields & REC_NEW))
			rc = land_new(a->v, r);
		(*list)[(*n)++] = (struct placement){ .link = l->link,
						      .child = l->child,
						      .parent = l->parent,
						      .name = l->name,
						      .name_len = l->name_len,
						      .origin = ORIGIN_PEER };
	}
	return rc ? rc : land_links(a->v, *list, *n);
}

/* What of the record is not locally changed. */
static uint32_t clean_fields(struct volume *v, const struct shipment *s, const struct rec_inode *r)
{
	static const struct {
		uint32_t field;
		enum entity what;
	} map[] = {
		{ REC_CONTENT, ENT_CONTENT }, { REC_MODE, ENT_MODE }, { REC_OWNER, ENT_OWNER }, { REC_TIMES, ENT_TIMES }
	};
	struct change_row rows[ENT_ASK + 1];
	unsigned changed = changes_of_inode(v, r->ino, rows);
	uint32_t fields = r->fields;

	for (unsigned what = ENT_NEW; what <= ENT_TIMES; what++)
		if ((changed & 1u << what) && !is_ours(s, 0, &rows[what]))
			changed &= ~(1u << what);

	if (changed & 1u << ENT_NEW)
		return 0; /* made here and not acknowledged: all of it is ours until the primary has answered */
	for (size_t i = 0; i < ARRAY_LEN(map); i++)
		if (changed & 1u << map[i].what)
			fields &= ~map[i].field;
	return fields;
}

struct stray {
	struct applier *a;
	uint64_t ino;
	char *key[256];
	size_t n;
};

static int is_stray(void *ctx, const char *key, const void *value, size_t len_bytes)
{
	struct stray *k = ctx;
	struct change_row row;

	(void)value;
	(void)len_bytes;
	if (shipment_xattr(k->a->s, k->ino, key))
		return 0;
	if (changes_get_xattr(k->a->v, k->ino, key, &row) < 0 && k->n < ARRAY_LEN(k->key))
		k->key[k->n++] = xstrdup(key);
	return 0;
}

/* An inode that came whole has just the attributes that came with it; what we have besides is from before. */
static int drop_stray_xattrs(struct applier *a, uint64_t ino)
{
	struct stray *k = xcalloc(1, sizeof(*k));
	int rc;

	k->a = a;
	k->ino = ino;
	rc = tree_xattrs(a->v, ino, is_stray, k);
	for (size_t i = 0; i < k->n; i++) {
		if (rc == 0)
			rc = tree_xattr_put(a->v, ino, k->key[i], NULL, 0, ORIGIN_PEER);
		free(k->key[i]);
	}
	free(k);
	return rc;
}

/* An access ACL is one thing with the mode: it waits for the primary's answer as the mode does. */
static bool mode_is_unsettled(struct volume *v, const struct shipment *s, const struct ship_xattr *x)
{
	struct change_row row;

	return strcmp(x->key, ACL_ACCESS_KEY) == 0 &&
	       (is_ours(s, changes_get(v, x->ino, ENT_MODE, &row), &row) ||
		is_ours(s, changes_get(v, x->ino, ENT_NEW, &row), &row));
}

static int land_inodes(struct applier *a)
{
	struct shipment *s = a->s;
	struct inode in;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < s->n_inodes; i++) {
		const struct rec_inode *r = s->inodes[i];
		uint32_t fields;

		if (tree_inode_get(a->v, r->ino, &in) < 0)
			continue; /* gone here, or all its links are blocked: the primary will hear of that */
		fields = clean_fields(a->v, s, r);
		if (fields & REC_CONTENT)
			rc = land_content(a->v, s, r, r->ino, ORIGIN_PEER);
		if (rc == 0)
			rc = land_attrs(a->v, r, r->ino, fields, ORIGIN_PEER);
		if (rc == 0 && (r->fields & REC_NEW) && !S_ISLNK(r->mode))
			rc = drop_stray_xattrs(a, r->ino);
	}
	for (size_t i = 0; rc == 0 && i < s->n_xattrs; i++) {
		struct ship_xattr *x = &s->xattrs[i];
		struct change_row row;

		if (changes_get_xattr(a->v, x->ino, x->key, &row) == 0 || mode_is_unsettled(a->v, s, x) ||
		    tree_inode_get(a->v, x->ino, &in) < 0)
			continue;
		rc = land_xattr(a->v, x, x->ino);
	}
	return rc;
}

int apply_fits(struct volume *v, struct shipment *s, uint8_t **fits)
{
	struct applier a = { .v = v, .s = s, .strict = true };

	a.state = xcalloc(s->n_links + 1, 1);
	settle(&a);
	for (size_t i = 0; i < s->n_links; i++)
		a.state[i] = a.state[i] == LINK_ACCEPTED;
	*fits = a.state;
	map_release(&a.dir_link);
	return a.rc;
}

int apply_check(struct volume *v, struct shipment *s)
{
	uint8_t *fits;
	int rc = apply_fits(v, s, &fits);

	for (size_t i = 0; rc == 0 && i < s->n_links; i++)
		if (!fits[i])
			rc = -EBADMSG;
	free(fits);
	return rc;
}

static void applier_open(struct applier *a, struct volume *v, struct shipment *s)
{
	*a = (struct applier){ .v = v, .s = s };
	a->state = xcalloc(s->n_links + 1, 1);
	for (size_t i = 0; i < s->n_lineages; i++)
		if (s->lineages[i].kind == 'a' && tree_is_held(v, s->lineages[i].src))
			map_put(&a->became, s->lineages[i].src, s->lineages[i].dst);
	find_placed(a);
}

static void applier_release(struct applier *a)
{
	free(a->state);
	map_release(&a->dir_link);
	map_release(&a->became);
	map_release(&a->placed);
	free(a->placed_too);
}

/* Of a part: is of each link decided what was decided when all of them were looked at? NULL: it is all of them. */
static bool as_expected(const struct applier *a, const struct map *expected)
{
	for (size_t i = 0; expected && i < a->s->n_links; i++) {
		uint64_t state = LINK_ACCEPTED;

		map_get(expected, a->s->links[i].link, &state);
		if (state != a->state[i])
			return false;
	}
	return true;
}

/* -EAGAIN: not as expected, a map of those that are not accepted. */
static int apply_locked(struct volume *v, struct shipment *s, const struct map *expected)
{
	struct applier a;
	struct placement *list = NULL;
	size_t n = 0;
	int rc;

	follow_before_purge(v, s);
	rc = changes_purge(v, s->begin.seen);
	if (rc == 0)
		rc = lineage_purge(v, s->begin.seen); /* of when we were the primary */
	if (rc == 0)
		rc = history_purge(v, s->begin.seen);
	applier_open(&a, v, s);
	if (rc == 0) {
		settle(&a);
		rc = as_expected(&a, expected) ? land_accepted(&a, &list, &n) : -EAGAIN;
	}
	if (rc == 0)
		rc = land_inodes(&a);
	if (rc == 0)
		rc = keep_the_rest(&a);
	if (rc == 0)
		rc = land_asks(v, s);
	if (rc == 0)
		rc = follow_shipment(v, s);
	if (rc == 0)
		rc = land_reap(v, list, n);
	for (size_t i = 0; rc == 0 && i < s->n_conflicts; i++)
		rc = conflict_take(v, &s->conflicts[i], s->begin.seen);
	if (rc == 0)
		rc = s->begin.to > s->begin.from ? land_applied(v, &s->begin) : 0;
	free(list);
	applier_release(&a);
	return rc;
}

/* ---- bit by bit ---- */

static bool is_taken(struct volume *v, const struct shipment *s, const struct ship_xattr *x)
{
	struct change_row row;

	return !is_ours(s, changes_get_xattr(v, x->ino, x->key, &row), &row) && !mode_is_unsettled(v, s, x);
}

struct applying {
	struct map expected; /* links that are not accepted: as what */
	bool still;
};

/* Its file lives on here by links of which some are ours alone, perhaps: keep_held. */
static bool may_be_held(struct volume *v, const struct ship_link *l)
{
	struct inode in;

	return !l->parent && tree_inode_get(v, l->child, &in) == 0 && !S_ISDIR(in.mode) && in.nlink > 1;
}

static int add_holders(void *ctx, uint64_t from, uint64_t to)
{
	struct plan *p = ctx;

	split_add(&p->split, from, false);
	split_add(&p->split, to, false);
	return 0;
}

/* Who holds something that is something else now follows in the group in which that happens. */
static void add_moves(struct plan *p)
{
	for (size_t i = 0; i < p->s->n_lineages; i++)
		if (follow_concerns(p->v, p->s, &p->s->lineages[i]))
			add_holders(p, p->s->lineages[i].src, p->s->lineages[i].dst);
	tree_holders_each_waiting(p->v, add_holders, p);
}

/* All that is not simply taken. */
static int judge(struct plan *p)
{
	struct applying *ap = p->ctx;
	struct shipment *s = p->s;
	struct ship_link room;
	struct applier a;
	int rc;

	map_clear(&ap->expected);
	applier_open(&a, p->v, s);
	settle(&a);
	rc = a.rc;
	for (size_t i = 0; rc == 0 && i < s->n_links; i++) {
		const struct ship_link *l = shipment_link_at(s, i, &room);

		if (a.state[i] != LINK_ACCEPTED)
			map_put(&ap->expected, l->link, a.state[i]);
		if (a.state[i] != LINK_ACCEPTED || may_be_held(p->v, l))
			split_add_link(&p->split, i);
		rc = landing_breathe(p->v);
	}
	for (size_t i = 0; i < s->n_asks; i++)
		split_add(&p->split, s->asks[i], false);
	add_moves(p);
	applier_release(&a);
	return rc;
}

/* Somebody opened a file meanwhile that he has to follow. */
static void meet(struct plan *p, const struct map *inodes, const struct map *links)
{
	(void)inodes;
	(void)links;
	add_moves(p);
}

static int prepare(struct plan *p)
{
	struct applying *ap = p->ctx;

	return follow_hold_still(p->v, p->s, &ap->still);
}

static int hold(struct plan *p, struct shipment *part)
{
	struct applying *ap = p->ctx;
	int rc;

	if (!ap->still && follow_any(p->v, p->s))
		return -EINPROGRESS; /* since just now */
	rc = apply_locked(p->v, part, &ap->expected);
	return rc == -EBADMSG || rc == -EEXIST || rc == -ENOTDIR ? -ENOTSUP : rc;
}

int apply_shipment(struct volume *v, struct shipment *s, struct err *err)
{
	struct applying ap = { .still = false };
	int rc = s->stage ? stage_sync(s->stage) : 0;

	if (rc == 0)
		rc = plan_land(&(struct plan){ .v = v, .s = s, .ctx = &ap, .judge = judge, .meet = meet,
					       .prepare = prepare, .hold = hold, .fields = clean_fields,
					       .takes = is_taken, .exact = true });
	map_release(&ap.expected);
	if (rc > 0)
		return 0;
	if (rc == 0)
		rc = follow_hold_still(v, s, NULL);
	if (rc == 0)
		rc = volume_apply_begin(v);
	if (rc == 0)
		rc = land_end(v, s, apply_locked(v, s, NULL));
	if (rc == -EBADMSG || rc == -EEXIST || rc == -ENOTDIR)
		return err_set(err, -EBADMSG,
			       "the peer's shipment up to its group %llu makes no valid tree here: refused; nothing "
			       "was changed",
			       (unsigned long long)s->begin.to);
	if (rc < 0)
		return err_set(
			err, rc,
			"cannot apply the peer's changes in %s: %s; nothing was changed, they will be sent again",
			volume_dir(v), strerror(-rc));
	return 0;
}
