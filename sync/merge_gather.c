/* SPDX-License-Identifier: MIT */
/* Gathering: from the volume, its change set, its history and the shipment to the resolver's three states. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/landing.h"
#include "sync/merge_state.h"
#include "util/acl.h"
#include "util/util.h"

void *merge_grow(void *array, size_t n, size_t *cap, size_t size_bytes)
{
	if (n < *cap)
		return array;
	*cap = *cap ? *cap * 2 : 32;
	return xrealloc(array, *cap * size_bytes);
}

void *merge_keep(struct merger *m, void *mem)
{
	m->arena = merge_grow(m->arena, m->n_arena, &m->cap_arena, sizeof(*m->arena));
	m->arena[m->n_arena++] = mem;
	return mem;
}

bool merge_same_pos(const struct rs_pos *a, const struct rs_pos *b)
{
	return a->present == b->present && (!a->present || (a->parent == b->parent && a->name_len == b->name_len &&
							    memcmp(a->name, b->name, a->name_len) == 0));
}

struct rs_inode *merge_input_inode(struct merger *m, uint64_t ino)
{
	uint64_t at;

	return ino && map_get(&m->inode_at, ino, &at) ? &m->inodes[at - 1] : NULL;
}

char *merge_path(struct volume *v, uint64_t ino)
{
	char *path = xstrdup("");

	for (unsigned depth = 0; ino != INO_ROOT && depth < 4096; depth++) {
		struct dentry d;
		char *longer;

		if (ino == INO_HIDDEN) {
			longer = xasprintf("/%s%s", HIDDEN_NAME, path);
			free(path);
			return longer;
		}
		if (!tree_first_link(v, ino, &d)) {
			free(path);
			return xstrdup("?");
		}
		longer = xasprintf("/%.*s%s", (int)d.name_len, d.name, path);
		free(path);
		path = longer;
		ino = d.parent;
	}
	if (!*path) {
		free(path);
		path = xstrdup("/");
	}
	return path;
}

int merge_their_link(struct merger *m, uint64_t link, struct dentry *d, bool *ours)
{
	struct view view = { .kind = VIEW_PEER, .group = m->s->begin.seen };
	struct peer_link note;
	int rc = peer_link_get(m->v, link, &note);

	if (rc == 0 && note.at.born > m->s->begin.seen) {
		*d = note.at;
		return d->parent ? 0 : -ENOENT;
	}
	if (ours)
		*ours = true;
	return rc == 0 || rc == -ENOENT ? tree_link_view(m->v, link, view, d) : rc;
}

/* Where it had the link before it changed it. It said so itself if its row is still the one it told us of before. */
static int their_base(struct merger *m, const struct norm_link *rec, struct dentry *d, bool *ours)
{
	struct view view = { .kind = VIEW_PEER, .group = rec->raw_seen };
	uint64_t link = rec->alias_of ? rec->alias_of : rec->link;
	struct peer_link note;
	int rc = peer_link_get(m->v, link, &note);

	if (rc == 0 && note.seen == rec->raw_seen) {
		*d = note.at;
		return d->parent ? 0 : -ENOENT;
	}
	*ours = true;
	return rc == 0 || rc == -ENOENT ? tree_link_view(m->v, link, view, d) : rc;
}

uint64_t merge_equal_since(struct merger *m, uint64_t src, uint64_t dst)
{
	struct lineage base;

	return lineage_get(m->v, LINEAGE_BASE, src, &base) == 0 && base.kind == 'b' && base.dst == dst ? base.grp : 0;
}

/* ---- the three states -----------------------------------------------------------------------------------------------
 */

struct rs_pos merge_pos(struct merger *m, const struct dentry *d)
{
	return (struct rs_pos){ .present = true,
				.parent = merge_alias(m, d->parent, NULL),
				.name_len = d->name_len,
				.name = merge_keep(m, xstrndup(d->name, d->name_len)) };
}

bool merge_comes_whole(struct merger *m, uint64_t ino)
{
	const struct rec_inode *r = shipment_inode(m->s, ino);

	return r && (r->fields & REC_NEW);
}

/* But if we have something else at the file's name it may have been saved anew here; its bytes bring it back if not. */
static bool is_replaced(struct merger *m, const struct rs_link *l, uint64_t child)
{
	const struct rec_inode *r = shipment_inode(m->s, child);
	struct dentry d;

	return S_ISREG(r->mode) && (r->fields & REC_CONTENT) && l->b.present &&
	       tree_lookup(m->v, l->b.parent, l->b.name, l->b.name_len, &d) == 0;
}

static int not_removed(void *ctx, const struct dentry *d)
{
	struct merger *m = ctx;
	struct norm_link *rec = merge_record_of_link(m, d->link);

	return !rec || rec->parent != 0 || rec->report;
}

/* In the copy of a unit: did we remove a name of what the copy's file is of, another one than the secondary, that this
 * does not know of? */
static bool removed_another(struct merger *m, const struct norm_link *rec)
{
	struct change_row row;
	uint64_t link;

	for (bool more = map_get(&m->gone_link, rec->raw_child, &link); more;
	     more = map_get(&m->gone_next, link, &link)) {
		const struct ship_link *its = shipment_link(m->s, link);

		if (link != rec->alias_of && (!its || its->parent != 0 || its->report) &&
		    changes_get_link(m->v, link, &row) == 0 && row.grp > rec->raw_seen)
			return true;
	}
	return false;
}

/*
 * The secondary removed this link and we another of the same file, neither knowing of the other. If none is left,
 * nobody removed the last name that he saw.
 */
static bool removals_add_up(struct merger *m, const struct norm_link *rec)
{
	uint64_t grp;
	bool both = rec->in_copy ? removed_another(m, rec)
				 : map_get(&m->gone_grp, rec->child, &grp) && grp > rec->seen;

	return both && tree_links_of(m->v, rec->child, not_removed, m) == 0;
}

/* What is in the copy of a unit is as the secondary has it, whatever it calls it, until we change it ourselves. */
static bool is_its_copy(struct merger *m, const struct rs_link *l)
{
	uint64_t known = merge_known_in_copy(m, l->id, &l->p);
	const struct norm_inode *rec;
	struct change_row row;
	struct dentry d;

	if (known <= m->s->begin.seen)
		return false;
	/* It wrote to that itself: it has it still, though it had removed its own by then. */
	if (!l->p.present && l->child && (rec = merge_record_of_inode(m, l->child)) && !rec->in_copy &&
	    (rec->rec->fields & REC_CONTENT))
		return false;
	if (l->p.present)
		return tree_link_get(m->v, l->id, &d) == 0 && d.born <= known;
	return changes_get_link(m->v, l->id, &row) == 0 && row.grp <= known;
}

/* What it has of the link, and had before it changed it; d is scratch. */
static int add_theirs(struct merger *m, struct rs_link *l, struct norm_link *rec, struct dentry *d)
{
	uint64_t src = 0, seen = rec ? rec->raw_seen : m->s->begin.seen;
	bool ours = false; /* it is as we said: not in the copy of a unit, though the directory may be one to it */
	struct lineage lin;
	int rc;

	if (rec && rec->report) {
		rc = -ENOENT; /* it has not changed it: see below */
	} else if (rec) {
		rc = their_base(m, rec, d, &ours);
		ours = ours && !rec->alias_of;
	} else if (merge_link_of_copy(m, l->id, seen, &lin)) {
		rc = merge_their_link(m, lin.src, d, NULL);
	} else if (merge_link_in_copy(m, l->id, seen, &lin)) {
		rc = -ENOENT; /* what it has by this id is in the copy */
	} else if (merge_has_copy(m, l->id)) { /* what it said of it was about that */
		rc = tree_link_view(m->v, l->id, (struct view){ .kind = VIEW_PEER, .group = seen }, d);
		ours = true;
	} else {
		rc = lineage_source(m->v, LINEAGE_LINK, l->id, &src);
		rc = rc == 0 || rc == -ENOENT ? merge_their_link(m, src ? src : l->id, d, &ours) : rc;
		ours = ours && !src;
	}
	if (rc < 0 && rc != -ENOENT)
		return rc;
	l->b = rc != 0 ? (struct rs_pos){ 0 } : ours ? merge_pos(m, d) : merge_their_pos(m, d, seen);
	if (rc == 0 && !l->p.present && !rec)
		l->child = ours ? merge_alias(m, d->child, NULL) : merge_their_inode(m, d->child, seen, NULL);
	if (is_its_copy(m, l) && (!l->p.present || l->p.parent == l->b.parent || merge_in_copy(m, l->p.parent) ||
				  merge_is_where_told(m, l)))
		l->b = l->p;
	l->s = l->b;
	if (rec && rec->lacks)
		return 0;
	/* It could not be put into the copy there: that is where it belongs all the same, and where it goes again. */
	if (rec && rec->report && l->p.present && merge_known_in_copy(m, l->id, &l->p)) {
		rec->lacks = true;
		l->b = l->s = l->p;
		return 0;
	}
	if (rec)
		l->s = (struct rs_pos){
			.present = rec->parent != 0, .parent = rec->parent, .name = rec->name, .name_len = rec->name_len
		};
	if (rec && rec->report)
		l->b = l->s;
	return 0;
}

/* Is the directory .twinfs or below it? */
bool merge_dir_is_hidden(struct merger *m, uint64_t dir)
{
	uint64_t known, at = dir;

	if (dir <= INO_HIDDEN)
		return dir == INO_HIDDEN;
	if (map_get(&m->hidden_dir, dir, &known))
		return known == 2;
	for (unsigned depth = 0; at > INO_HIDDEN && depth < 4096; depth++)
		at = tree_parent_of_dir(m->v, at);
	map_put(&m->hidden_dir, dir, at == INO_HIDDEN ? 2 : 1);
	return at == INO_HIDDEN;
}

static bool in_hidden(struct merger *m, const struct rs_pos *at)
{
	return at->present && merge_dir_is_hidden(m, at->parent);
}

bool merge_is_hidden(struct merger *m, uint64_t ino)
{
	uint64_t where;

	return map_get(&m->hidden, ino, &where) && where == 1;
}

/*
 * No word is about what merges and earlier words have put into .twinfs. But one side may not have heard of that, and
 * have it where it was, or may have taken it out of there: of such a link the word is good.
 */
static bool is_under_word(struct merger *m, const struct rs_link *l)
{
	bool below = in_hidden(m, &l->p) || in_hidden(m, &l->s) || in_hidden(m, &l->b);
	bool elsewhere = (l->p.present && !in_hidden(m, &l->p)) || (l->s.present && !in_hidden(m, &l->s));
	uint64_t where = 0;

	map_get(&m->hidden, l->child, &where);
	map_put(&m->hidden, l->child, where | (below ? 1u : 0u) | (elsewhere ? 2u : 0u));
	return elsewhere || !below;
}

/* Did the secondary have this link of ours, or we one of its, before one of us changed it? */
static bool was_known(struct merger *m, const struct norm_link *rec)
{
	const struct view view = { .kind = VIEW_PEER, .group = rec->raw_seen };
	struct dentry d;

	return tree_link_view(m->v, rec->link, view, &d) == 0;
}

/* Once there was an error it comes again, so not everybody has to look. */
int merge_breathe(struct merger *m)
{
	return m->ahead ? landing_breathe(m->v) : 0;
}

int merge_add_link(struct merger *m, uint64_t link)
{
	struct norm_link *rec;
	struct rs_link *l;
	struct change_row row;
	struct lineage lin;
	struct dentry d;
	bool changed;
	int rc;

	if (merge_link_alias(m, link, &lin))
		link = lin.dst; /* the secondary's id of it is no link of its own */
	if (map_get(&m->link_at, link, NULL))
		return 0;
	rec = merge_record_of_link(m, link);
	m->links = merge_grow(m->links, m->n_links, &m->cap_links, sizeof(*m->links));
	l = &m->links[m->n_links++];
	*l = (struct rs_link){ .id = link, .child = rec ? rec->child : 0 };
	map_put(&m->link_at, link, m->n_links);
	rc = tree_link_get(m->v, link, &d);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	if (rc == 0) {
		l->p = merge_pos(m, &d);
		l->child = merge_child_apart(m, rec, &d);
		if (l->child != d.child)
			map_put(&m->given_back, link, GIVEN_ITS_OWN);
	}
	rc = changes_get_link(m->v, link, &row);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	changed = rc == 0;
	if (rc == 0 && !l->child)
		l->child = row.child;
	if (rc == 0 && row.grp > (rec && !rec->report ? rec->seen : m->s->begin.seen))
		map_put(&m->p_changed, link, 1);
	rc = add_theirs(m, l, rec, &d);
	if (rc < 0)
		return rc;
	if (m->ahead && !l->child)
		return -EBUSY; /* it was there when it was listed */
	/* Deleted here, and the secondary sends it whole because it keeps it: to us it is as good as new. */
	if (rec && rec->parent && !l->p.present && merge_comes_whole(m, rec->raw_child) &&
	    (m->prefer || !is_replaced(m, l, rec->raw_child))) {
		l->b = (struct rs_pos){ 0 };
		l->returns = changed && was_known(m, rec);
	}
	if (rec && rec->parent == 0 && !rec->report && l->p.present && removals_add_up(m, rec)) {
		l->b = l->s = (struct rs_pos){ 0 }; /* ours stays, as if it were new to the secondary */
		l->returns = true;
	}
	if ((m->prefer || m->back) && !is_under_word(m, l))
		l->late = m->prefer != NULL;
	else if (merge_prefers(m) == RS_PREFER_S && changed)
		l->late = row.grp > m->prefer->ours_upto;
	return 0;
}

static int link_id(void *ctx, const struct dentry *d)
{
	return merge_add_link(ctx, d->link);
}

/* All links of an inode: those it has, and those our change set says are gone. */
static int add_links_of(struct merger *m, uint64_t ino)
{
	uint64_t link;
	int rc = tree_links_of(m->v, ino, link_id, m);

	for (bool more = map_get(&m->gone_link, ino, &link); rc == 0 && more;
	     more = map_get(&m->gone_next, link, &link))
		rc = merge_add_link(m, link);
	return rc;
}

int merge_add_inode(struct merger *m, uint64_t ino)
{
	if (ino == 0 || map_get(&m->inode_at, ino, NULL))
		return 0;
	m->inodes = merge_grow(m->inodes, m->n_inodes, &m->cap_inodes, sizeof(*m->inodes));
	m->inodes[m->n_inodes++] = (struct rs_inode){ .ino = ino };
	map_put(&m->inode_at, ino, m->n_inodes);
	return add_links_of(m, ino);
}

static int add_parent(struct merger *m, const struct rs_pos *at)
{
	if (!at->present)
		return 0;
	map_put(&m->parents, at->parent, 1);
	return merge_add_inode(m, at->parent);
}

/* Everything that is reachable upwards, in any of the states, from what is there already. */
int merge_close_upwards(struct merger *m)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < m->n_links; i++) {
		rc = merge_add_inode(m, m->links[i].child);
		if (rc == 0)
			rc = add_parent(m, &m->links[i].b);
		if (rc == 0)
			rc = add_parent(m, &m->links[i].p);
		if (rc == 0)
			rc = add_parent(m, &m->links[i].s);
		if (rc == 0)
			rc = merge_near_of_link(m, i);
		if (rc == 0)
			rc = merge_breathe(m);
	}
	return rc;
}

void merge_presence(struct merger *m)
{
	for (size_t i = 0; i < m->n_inodes; i++)
		if (m->inodes[i].ino > INO_HIDDEN)
			m->inodes[i].in_b = m->inodes[i].in_p = m->inodes[i].in_s = false;
	for (size_t i = 0; i < m->n_links; i++) {
		const struct rs_link *l = &m->links[i];
		uint64_t at;

		merge_breathe(m);
		if (!map_get(&m->inode_at, l->child, &at))
			continue;
		m->inodes[at - 1].in_b |= l->b.present;
		m->inodes[at - 1].in_p |= l->p.present;
		m->inodes[at - 1].in_s |= l->s.present;
	}
}

/* What a word took back of ours is as the secondary has it, and so counts as seen; not what it was not about. */
static uint64_t or_taken_back(struct merger *m, uint64_t ino, uint64_t seen)
{
	return m->back > seen && !merge_is_hidden(m, ino) ? m->back : seen;
}

static bool tells_bytes(const struct norm_inode *n)
{
	return n && (n->rec->fields & REC_CONTENT) && !n->redirected_bytes;
}

/* Not even history has it. What is apart again is made as what had swallowed it; and whatever holds links is a
 * directory. */
static void fill_unknown(struct merger *m, struct rs_inode *n)
{
	struct inode in;

	n->type = map_get(&m->parents, n->ino, NULL) ? S_IFDIR : S_IFREG;
	for (size_t i = 0; i < m->n_apart; i++)
		if (m->apart[i].base.src == n->ino && tree_inode_get(m->v, m->apart[i].attrs_of, &in) == 0) {
			n->type = in.mode & S_IFMT;
			n->p_written_ms = (uint64_t)(in.mtime_ns / 1000000);
		}
}

static int fill_inode(struct merger *m, struct rs_inode *n, const struct map *bytes_seen)
{
	struct norm_inode *rec = merge_record_of_inode(m, n->ino);
	struct inode *in = xmalloc(sizeof(*in));
	uint64_t seen = m->s->begin.seen;
	int rc = tree_inode_get(m->v, n->ino, in);
	bool own;

	if (n->ino <= INO_HIDDEN)
		n->in_b = n->in_p = n->in_s = true;
	if (tells_bytes(rec))
		seen = rec->seen_bytes;
	else
		map_get(bytes_seen, n->ino, &seen);
	seen = or_taken_back(m, n->ino, seen);
	if (rc == 0) {
		n->type = in->mode & S_IFMT;
		n->p_written_ms = (uint64_t)(in->mtime_ns / 1000000);
		/* What it did to the copy itself, having heard of it, it did to what it has there: what it wrote to its
		 * own meanwhile, and was put into the copy, it may not have there yet. */
		own = map_get(&m->said_itself, n->ino, NULL) ||
		      (rec && (rec->rec->fields & REC_CONTENT) && !rec->in_copy && map_get(&m->of_inode, n->ino, NULL));
		n->p_content = n->in_p && (!n->in_b || (own ? p_changed_content(m->v, n->ino, seen)
							    : merge_changed_content(m, n->ino, seen)));
	} else if (rc == -ENOENT) {
		struct view last;

		rc = tree_inode_last(m->v, n->ino, &last);
		if (rc == 0)
			rc = tree_inode_view(m->v, n->ino, last, in);
		if (rc == 0)
			n->type = in->mode & S_IFMT;
		else if (rc == -ENOENT)
			rc = 0, fill_unknown(m, n);
	}
	n->s_written_ms = n->p_written_ms;
	if (rec) {
		n->type = rec->rec->mode & S_IFMT;
		n->s_written_ms = (uint64_t)(rec->rec->mtime_ns / 1000000);
		n->s_content = tells_bytes(rec) || tells_bytes(merge_bytes_record(m, n->ino));
	}
	if (n->in_s && (!n->in_b || shipment_xattr(m->s, n->ino, NULL)))
		n->s_content = true;
	n->p_attrs = rc == 0 &&
		     (p_changed_inode(m->v, n->ino, ENT_MODE, seen) || p_changed_inode(m->v, n->ino, ENT_OWNER, seen) ||
		      p_changed_xattrs(m->v, n->ino, seen));
	n->s_attrs = (rec && (rec->rec->fields & (REC_MODE | REC_OWNER))) || map_get(&m->s->xattr_by_ino, n->ino, NULL);
	if (m->prefer)
		n->late = merge_is_hidden(m, n->ino) ||
			  (merge_prefers(m) == RS_PREFER_S && p_changed_content(m->v, n->ino, m->prefer->ours_upto));
	free(in);
	return rc;
}

void merge_add_attr(struct merger *m, struct rs_attr attr, struct attr_case which)
{
	if (m->n_attrs == m->cap_attrs) {
		m->cap_attrs = m->cap_attrs ? m->cap_attrs * 2 : 32;
		m->attrs = xrealloc(m->attrs, m->cap_attrs * sizeof(*m->attrs));
		m->attr_cases = xrealloc(m->attr_cases, m->cap_attrs * sizeof(*m->attr_cases));
	}
	m->attrs[m->n_attrs] = attr;
	m->attr_cases[m->n_attrs++] = which;
	if (which.is_xattr)
		m->xattr_in_conflict[which.norm] = 1;
	else
		m->ni[which.norm].in_conflict |= which.field;
}

/* One word for the three: who changed the mode of a file after the word counts for its owner and times too. */
static bool is_late_attr(struct merger *m, uint64_t ino, const struct rec_inode *r)
{
	uint64_t upto = m->prefer ? m->prefer->ours_upto : 0;

	if (!m->prefer || merge_is_hidden(m, ino))
		return m->prefer != NULL;
	return merge_prefers(m) == RS_PREFER_S &&
	       (((r->fields & REC_MODE) && p_changed_inode(m->v, ino, ENT_MODE, upto)) ||
		((r->fields & REC_OWNER) && p_changed_inode(m->v, ino, ENT_OWNER, upto)) ||
		((r->fields & REC_TIMES) && p_changed_inode(m->v, ino, ENT_TIMES, upto)));
}

static void gather_attrs(struct merger *m, size_t i)
{
	const struct norm_inode *n = &m->ni[i];
	const struct rec_inode *r = n->rec;
	uint64_t floor = or_taken_back(m, n->ino, n->aliased ? n->lin.grp : 0);
	struct inode *in = xmalloc(sizeof(*in));

	if (tree_inode_get(m->v, n->ino, in) == 0) {
		struct rs_attr a = { .ino = n->ino, .late = is_late_attr(m, n->ino, r) };

		a.field = RS_MODE;
		a.equal = in->mode == r->mode;
		if ((r->fields & REC_MODE) &&
		    p_changed_inode(m->v, n->ino, ENT_MODE, MAX(floor, rec_seen(r, REC_MODE))))
			merge_add_attr(m, a, (struct attr_case){ .norm = i, .field = REC_MODE });
		a.field = RS_OWNER;
		a.equal = in->uid == r->uid && in->gid == r->gid;
		if ((r->fields & REC_OWNER) &&
		    p_changed_inode(m->v, n->ino, ENT_OWNER, MAX(floor, rec_seen(r, REC_OWNER))))
			merge_add_attr(m, a, (struct attr_case){ .norm = i, .field = REC_OWNER });
		a.field = RS_TIMES;
		a.equal = in->mtime_ns == r->mtime_ns && in->atime_ns == r->atime_ns;
		a.p_later = in->mtime_ns >= r->mtime_ns;
		if ((r->fields & REC_TIMES) &&
		    p_changed_inode(m->v, n->ino, ENT_TIMES, MAX(floor, rec_seen(r, REC_TIMES))))
			merge_add_attr(m, a, (struct attr_case){ .norm = i, .field = REC_TIMES });
	}
	free(in);
}

/* An access ACL and the mode are one thing: who wins the one wins the other. */
static bool goes_with_mode(struct merger *m, const struct ship_xattr *x, uint64_t ino)
{
	uint64_t at;

	return strcmp(x->key, ACL_ACCESS_KEY) == 0 && map_get(&m->ni_by_ino, ino, &at) &&
	       (m->ni[at - 1].in_conflict & REC_MODE);
}

static void gather_xattr(struct merger *m, size_t i)
{
	const struct ship_xattr *x = &m->s->xattrs[i];
	struct lineage lin = { .kind = 0 };
	uint64_t ino = merge_their_inode(m, x->ino, x->seen, &lin);
	uint64_t seen = or_taken_back(m, ino, lin.kind == 'u' ? MAX(x->seen, lin.grp) : x->seen);
	struct change_row row;
	bool known = changes_get_xattr(m->v, ino, x->key, &row) == 0;
	uint8_t *value;
	ssize_t n;

	if ((!known || row.grp <= seen) && !goes_with_mode(m, x, ino))
		return;
	value = xmalloc(XATTR_VALUE_MAX_BYTES);
	n = tree_xattr_get(m->v, ino, x->key, value, XATTR_VALUE_MAX_BYTES);
	merge_add_attr(m,
		 (struct rs_attr){ .ino = ino,
				   .field = RS_XATTR,
				   .key = x->key,
				   .late = m->prefer && (merge_is_hidden(m, ino) ||
							 (merge_prefers(m) == RS_PREFER_S && known &&
							  row.grp > m->prefer->ours_upto)),
				   .equal = n == -ENODATA ? !x->value
							  : x->value && (size_t)n == x->value_len &&
								    memcmp(value, x->value, x->value_len) == 0 },
		 (struct attr_case){ .norm = i, .is_xattr = true });
	free(value);
}

/* Whoever removes or moves a link of a file has seen its bytes so far. */
static void note_seen(struct merger *m, const struct norm_link *n)
{
	uint64_t seen = n->in_copy ? n->seen : n->raw_seen, lowest;

	if (!n->in_copy && map_get(&m->of_inode, n->child, NULL))
		map_put(&m->said_itself, n->child, 1);
	if (n->raw_child != n->child && !n->in_copy)
		seen = MAX(seen, merge_equal_since(m, n->raw_child, n->child));
	if (!map_get(&m->bytes_seen, n->child, &lowest) || seen < lowest)
		map_put(&m->bytes_seen, n->child, seen);
}

void merge_index(struct merger *m)
{
	for (size_t i = 0; i < m->n_links; i++)
		map_put(&m->link_at, m->links[i].id, i + 1);
	for (size_t i = 0; i < m->n_inodes; i++)
		map_put(&m->inode_at, m->inodes[i].ino, i + 1);
}

static int add_our_inode(void *ctx, uint64_t ino, enum entity what, const struct change_row *row)
{
	struct inode in;

	(void)row;
	if (what == ENT_ASK || tree_inode_get(((struct merger *)ctx)->v, ino, &in) < 0)
		return 0;
	return merge_add_inode(ctx, ino);
}

static int add_our_xattr(void *ctx, uint64_t ino, const char *key, const struct change_row *row)
{
	(void)key;
	return add_our_inode(ctx, ino, ENT_CONTENT, row);
}

/* A link of ours where the secondary, not seeing it there, has put one: it does not have it, then. */
static int add_in_the_way(struct merger *m, const struct norm_link *n, uint64_t link)
{
	int rc = merge_add_link(m, link);
	struct rs_link *l;
	uint64_t at;

	if (rc || link == n->link || !map_get(&m->link_at, link, &at))
		return rc;
	l = &m->links[at - 1];
	if (merge_same_pos(&l->s, &l->p) && !merge_record_of_link(m, link))
		l->b = l->s = (struct rs_pos){ 0 };
	return 0;
}

static int stop_at_note(void *ctx, const struct lineage *l)
{
	(void)ctx;
	(void)l;
	return 1;
}

/* It is here by the names that both know. */
static bool keeps_its_names(struct merger *m, uint64_t ino)
{
	struct inode in;

	return ino <= INO_HIDDEN || (tree_inode_get(m->v, ino, &in) == 0 && in.nlink > 0 &&
				     !links_changed(m->v, ino, m->low));
}

/*
 * Do the names that only we changed matter? Not if the secondary tells of bytes and attributes alone, of what has its
 * names on both sides: then they are what the resolver would make of them, and there may be a hundred thousand.
 */
static bool names_matter(struct merger *m)
{
	bool matter = m->prefer || m->s->n_links > 0 || lineage_each(m->v, LINEAGE_LINK, stop_at_note, NULL) != 0 ||
		      lineage_each(m->v, LINEAGE_NAME, stop_at_note, NULL) != 0;

	for (size_t i = 0; i < m->n_ni && !matter; i++)
		matter = m->ni[i].aliased || m->ni[i].redirected_bytes || !keeps_its_names(m, m->ni[i].ino);
	for (size_t i = 0; i < m->s->n_xattrs && !matter; i++)
		matter = !keeps_its_names(m, m->s->xattrs[i].ino);
	return matter || units_touched(m->v, m->s) || families_touched(m->v, m->s);
}

int merge_gather(struct merger *m)
{
	struct lineage *own = NULL;
	size_t n_own = 0;
	bool names;
	/* Without records (merge_prefer) what it could not place is not told yet: its aliases are not judged. */
	int rc = shipment_is_empty(m->s) ? 0 : merge_take_all_apart(m);

	m->xattr_in_conflict = xcalloc(m->s->n_xattrs + 1, 1);
	if (rc == 0 && merge_prefers(m) == RS_PREFER_S)
		rc = merge_give_back_its_own(m, &own, &n_own);
	if (rc == 0)
		rc = merge_lineage_load(m);
	merge_normalize_links(m);
	merge_normalize_inodes(m);
	if (rc == 0)
		rc = merge_copies_meant(m);
	names = rc == 0 && names_matter(m);
	if (rc == 0 && names)
		rc = merge_near_begin(m);
	for (size_t i = 0; rc == 0 && i < m->n_nl; i++)
		if (!m->nl[i].report)
			note_seen(m, &m->nl[i]);
	for (size_t i = 0; rc == 0 && i < m->n_nl; i++) {
		const struct norm_link *n = &m->nl[i];
		struct dentry d;

		rc = merge_add_link(m, n->link);
		if (rc == 0 && n->in_copy)
			rc = merge_add_inode(m, n->raw_child);
		/* Where the secondary does not see it there may be something that neither changed. */
		if (rc == 0 && (n->parent != n->raw_parent || n->family) &&
		    tree_lookup(m->v, n->parent, n->name, n->name_len, &d) == 0)
			rc = add_in_the_way(m, n, d.link);
		if (rc == 0)
			rc = merge_breathe(m);
	}
	for (size_t i = 0; rc == 0 && i < n_own; i++) {
		rc = merge_add_link(m, own[i].src);
		if (rc == 0)
			rc = merge_add_link(m, own[i].dst);
	}
	free(own);
	if (rc == 0)
		rc = merge_add_links_apart(m);
	if (rc == 0)
		rc = merge_add_names_apart(m);
	if (rc == 0 && names)
		rc = merge_near_add(m);
	for (size_t i = 0; rc == 0 && i < m->n_ni; i++)
		rc = merge_add_inode(m, m->ni[i].ino);
	for (size_t i = 0; rc == 0 && i < m->s->n_xattrs; i++)
		rc = merge_add_inode(m, merge_their_inode(m, m->s->xattrs[i].ino, m->s->xattrs[i].seen, NULL));
	/* What only we changed is of interest if that shall be taken back. */
	if (rc == 0 && merge_prefers(m) == RS_PREFER_S)
		rc = changes_inodes(m->v, m->s->begin.seen, GROUP_MAX, add_our_inode, m);
	if (rc == 0 && merge_prefers(m) == RS_PREFER_S)
		rc = changes_xattrs(m->v, m->s->begin.seen, GROUP_MAX, add_our_xattr, m);
	if (rc == 0)
		rc = merge_close_upwards(m);
	if (rc == 0)
		rc = units_gather(m);
	if (rc == 0)
		rc = merge_is_one_state(m);
	if (rc == 0)
		merge_keep_in_copies(m);
	if (rc == 0)
		merge_presence(m);
	for (size_t i = 0; rc == 0 && i < m->n_inodes; i++) {
		rc = fill_inode(m, &m->inodes[i], &m->bytes_seen);
		units_fill_inode(m, &m->inodes[i]);
		if (rc == 0)
			rc = merge_breathe(m);
	}
	for (size_t i = 0; rc == 0 && i < m->n_ni; i++, rc = merge_breathe(m))
		if (!m->ni[i].beside)
			gather_attrs(m, i);
	for (size_t i = 0; rc == 0 && i < m->s->n_xattrs; i++, rc = merge_breathe(m))
		gather_xattr(m, i);
	return rc;
}

void merge_release(struct merger *m)
{
	merge_saves_release(m);
	free(m->follows);
	for (size_t i = 0; i < m->n_arena; i++)
		free(m->arena[i]);
	free(m->arena);
	units_release(m);
	merge_near_release(m);
	free(m->apart);
	free(m->links_apart);
	map_release(&m->its_own);
	map_release(&m->given_back);
	free(m->nl);
	free(m->ni);
	free(m->links);
	free(m->inodes);
	free(m->attrs);
	free(m->attr_cases);
	free(m->xattr_in_conflict);
	map_release(&m->nl_by_link);
	map_release(&m->ni_by_ino);
	map_release(&m->ni_by_bytes);
	free(m->family_copies);
	map_release(&m->of_family);
	map_release(&m->copy_of_dir);
	map_release(&m->own_bytes);
	map_release(&m->of_inode);
	map_release(&m->of_link);
	map_release(&m->said_itself);
	map_release(&m->noted);
	map_release(&m->gone_link);
	map_release(&m->gone_next);
	map_release(&m->link_at);
	map_release(&m->inode_at);
	map_release(&m->parents);
	map_release(&m->gone_grp);
	map_release(&m->bytes_seen);
	map_release(&m->p_changed);
	map_release(&m->hidden_dir);
	map_release(&m->hidden);
	map_release(&m->aside_dir);
	map_release(&m->aside_link);
	map_release(&m->dir_link);
}
