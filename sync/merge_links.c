/* SPDX-License-Identifier: MIT */
/* Where the names go, what both have to be told of that, and how long their aliases last. */
#include <errno.h>
#include <string.h>

#include "core/landing.h"
#include "sync/merge_land.h"
#include "util/log.h"
#include "util/util.h"

/* It is as the record says there, until it has seen group `until` of ours. */
int merge_remember_theirs(struct merger *m, const struct norm_link *rec, uint64_t until)
{
	struct peer_link note = { .at = { .link = rec->alias_of ? rec->alias_of : rec->link,
					  .parent = rec->raw_parent,
					  .child = rec->raw_child,
					  .born = until,
					  .name_len = (uint8_t)rec->name_len },
				  .seen = rec->raw_seen };

	memcpy(note.at.name, rec->name, rec->name_len);
	return peer_link_put(m->v, &note);
}

/* It has what we have: nothing is owed, unless something later of ours is on its way to it. */
static int has_ours(struct merger *m, const struct norm_link *rec)
{
	struct change_row row;
	int rc = changes_get_link(m->v, rec->link, &row);

	if (rc == 0 && row.grp > m->s->begin.seen)
		return merge_remember_theirs(m, rec, row.grp);
	rc = peer_link_drop(m->v, rec->link);
	return rc ? rc : changes_drop_link(m->v, rec->link);
}

/*
 * The link stays as the secondary has it, but its file was forgotten here. The secondary keeps both, as it is not told
 * to remove the link any more, and sends them as if they were new.
 */
int merge_ask_for(struct merger *m, uint64_t link, uint64_t ino, const struct norm_link *rec)
{
	struct peer_link note;
	int rc = rec ? merge_remember_theirs(m, rec, group_number(m->v)) : peer_link_get(m->v, link, &note);

	if (rc == 0 && !rec) {
		note.at.born = group_number(m->v);
		rc = peer_link_put(m->v, &note);
	}
	if (rc == 0 || rc == -ENOENT)
		rc = changes_drop_link(m->v, link);
	log_debug("merge", "inode %#llx: its history is gone, asking for it", (unsigned long long)ino);
	return rc ? rc : changes_ask(m->v, ino);
}

/* Its own words: what it is believed to have may be ours instead (believe_records_only). */
static bool says_so(const struct norm_link *rec, const struct rs_pos *at)
{
	return merge_same_pos(at, &(struct rs_pos){ .present = rec->parent != 0, .parent = rec->parent,
		.name = rec->name, .name_len = rec->name_len });
}

/* A part's directory that the plan removes, when it has been emptied: it does if that is the outcome. */
static int leave_end(struct merger *m, const struct rs_link_out *out, bool theirs, bool *left)
{
	*left = false;
	if (!map_get(&m->s->planned_ends, out->id, NULL))
		return 0;
	map_put(&m->s->planned_ends, out->id, 2);
	*left = theirs && !out->pos.present;
	return *left ? 0 : landing_leave_link(m->v, out->id);
}

/* What the plan does to a directory was decided here, too. */
bool merge_ends_are_left(struct merger *m)
{
	uint64_t link, how;
	size_t it = 0;

	while (map_next(&m->s->planned_ends, &it, &link, &how))
		if (how != 2)
			return false;
	return true;
}

int merge_plan_link(struct merger *m, struct plan *p, const struct rs_link_out *out)
{
	uint64_t at;
	const struct rs_link *in;
	struct norm_link *rec = NULL;
	bool ours, theirs, left, given = map_get(&m->given_back, out->id, NULL);
	int rc;

	if (!map_get(&m->link_at, out->id, &at))
		return -EUCLEAN;
	in = &m->links[at - 1];
	if (map_get(&m->nl_by_link, out->id, &at))
		rec = &m->nl[at - 1];
	ours = map_get(&m->p_changed, out->id, NULL);
	/* The outcome is what the secondary has, under the very ids. */
	theirs = rec && !given && says_so(rec, &out->pos) && out->child == in->child && !rec->alias_of &&
		 (!out->pos.present || rec->child == out->child) && rec->parent == rec->raw_parent &&
		 rec->child == rec->raw_child && !rec->lacks;
	if (theirs && rec->report && merge_same_pos(&out->pos, &in->p))
		return has_ours(m, rec);
	theirs = theirs && !rec->report && !ours;
	rc = leave_end(m, out, theirs, &left);
	if (rc == 0 && left)
		return peer_link_drop(m->v, out->id);
	if (rc == 0 && out->pos.present)
		rc = merge_ensure_inode(m, out->child);
	if (rc == -ENOENT)
		return merge_ask_for(m, out->id, out->child, rec);
	if (rc < 0)
		return rc;
	if (!merge_same_pos(&out->pos, &in->p) || out->child != in->child || given)
		p->list[p->n++] = (struct placement){ .link = out->id,
						      .child = in->child,
						      .parent = out->pos.present ? out->pos.parent : 0,
						      .name = out->pos.name,
						      .name_len = out->pos.name_len,
						      .origin = theirs ? ORIGIN_PEER : ORIGIN_LOCAL };
	if (theirs) {
		rc = peer_link_drop(m->v, out->id);
		return rc ? rc : changes_drop_link(m->v, out->id);
	}
	if (rec)
		rc = merge_remember_theirs(m, rec, group_number(m->v));
	if (rc < 0)
		return rc;
	if ((rec && (ours || rec->report || rec->alias_of || rec->lacks || !says_so(rec, &out->pos) ||
		     (out->pos.present && rec->raw_child != out->child))) ||
	    !merge_same_pos(&out->pos, &in->p) || given)
		p->touch[p->n_touch++] = out->id;
	return 0;
}

int merge_touch_link(struct merger *m, uint64_t link)
{
	uint64_t at, child = 0;
	struct dentry d;
	bool here = tree_link_get(m->v, link, &d) == 0;

	if (here)
		child = d.child;
	else if (map_get(&m->nl_by_link, link, &at))
		child = m->nl[at - 1].alias_of ? m->nl[at - 1].child /* ours has another id there */
					       : m->nl[at - 1].raw_child;
	else if (map_get(&m->link_at, link, &at))
		child = m->links[at - 1].child;
	return changes_touch_link(m->v, link, child, false, !here);
}

static int resend_link(struct merger *m, const struct norm_link *n)
{
	struct lineage lin = { .dst = n->link, .grp = group_number(m->v), .kind = 'l' };
	struct dentry d;
	int rc = merge_touch_link(m, n->link);

	if (rc == 0)
		rc = merge_remember_theirs(m, n, group_number(m->v));

	if (rc == 0 && lineage_source(m->v, LINEAGE_LINK, n->link, &lin.src) == 0)
		rc = lineage_put(m->v, &lin);
	if (rc < 0 || tree_link_get(m->v, n->link, &d) < 0)
		return rc;
	/* The alias of the inode lasts as long as that of its link. */
	lin.kind = 'a';
	lin.dst = d.child;
	if (lineage_source(m->v, LINEAGE_INODE, d.child, &lin.src) == 0)
		rc = lineage_put(m->v, &lin);
	return rc ? rc : changes_touch_whole(m->v, d.child);
}

/* As long as the alias: what holds its bytes holds them still, if nobody changed that. */
int merge_renew_base(struct merger *m, uint64_t src)
{
	struct lineage base;
	struct inode in;

	if (lineage_get(m->v, LINEAGE_BASE, src, &base) < 0 || base.kind != 'b' ||
	    tree_inode_get(m->v, base.dst, &in) < 0 || in.nlink == 0 || in.cborn > base.grp)
		return 0;
	base.grp = group_number(m->v);
	return lineage_put(m->v, &base);
}

/* An alias of a link of what an inode is one with. */
static int renew_link_of(void *ctx, const struct dentry *d)
{
	struct merger *m = ctx;
	uint64_t src;

	return lineage_source(m->v, LINEAGE_LINK, d->link, &src) == 0 ? merge_renew_note(m, LINEAGE_LINK, src) : 0;
}

int merge_renew_note(struct merger *m, enum lineage_class c, uint64_t src)
{
	struct lineage lin;
	int rc;

	if (lineage_get(m->v, c, src, &lin) < 0 || lin.kind == 'c')
		return 0;
	if (lin.kind == 'u')
		lin.known = lineage_known(&lin);
	lin.grp = group_number(m->v);
	rc = lineage_put(m->v, &lin);
	/* Neither ends before the other: then one name would be the secondary's own again, and what it leads to not. */
	if (rc == 0 && lin.kind == 'a')
		rc = tree_links_of(m->v, lin.dst, renew_link_of, m);
	return rc || c != LINEAGE_INODE ? rc : merge_renew_base(m, src);
}

/* The copies of units in which something lands. */
static int keep_copies(struct merger *m)
{
	int rc = 0;

	if (map_count(&m->of_inode) == 0)
		return 0;
	for (size_t i = 0; rc == 0 && i < m->n_nl; i++) {
		const struct norm_link *n = &m->nl[i];
		uint64_t at;

		if (n->parent != n->raw_parent)
			rc = merge_extend_copy(m, n->parent);
		if (rc == 0 && n->in_copy && map_get(&m->link_at, n->link, &at) && m->links[at - 1].p.present)
			rc = merge_extend_copy(m, m->links[at - 1].p.parent);
		if (rc == 0 && (n->in_copy || n->family))
			rc = merge_extend_copy_of(m, n->child);
	}
	for (size_t i = 0; rc == 0 && i < m->n_ni; i++)
		if (m->ni[i].in_copy)
			rc = merge_extend_copy_of(m, m->ni[i].ino);
	for (size_t i = 0; rc == 0 && i < m->s->n_xattrs; i++) {
		const struct ship_xattr *x = &m->s->xattrs[i];

		rc = merge_extend_copy_of(m, merge_their_inode(m, x->ino, x->seen, NULL));
	}
	return rc;
}

static int keep_aliases(struct merger *m)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < m->n_nl; i++) {
		const struct norm_link *n = &m->nl[i];

		if ((n->raw_parent || n->in_copy) && n->alias_of)
			rc = merge_renew_note(m, LINEAGE_LINK, n->alias_of);
		if (rc == 0 && n->raw_parent && n->raw_child != n->child)
			rc = merge_renew_note(m, LINEAGE_INODE, n->raw_child);
		if (rc == 0 && n->raw_parent != n->parent)
			rc = merge_renew_note(m, LINEAGE_INODE, n->raw_parent);
		if (rc == 0 && n->family)
			rc = merge_renew_note(m, LINEAGE_NAME, n->family);
	}
	for (size_t i = 0; rc == 0 && i < m->n_ni; i++)
		if (m->ni[i].aliased)
			rc = merge_renew_note(m, LINEAGE_INODE, m->ni[i].rec->ino);
	return rc ? rc : keep_copies(m);
}

/* A link of a unit, of which the secondary has had only what is in the copy: it gets ours, and the file if that went
 * with it. */
static int resend_ours(struct merger *m, const struct norm_link *n)
{
	struct dentry d;
	bool here = tree_link_get(m->v, n->alias_of, &d) == 0;
	int rc = changes_touch_link(m->v, n->alias_of, here ? d.child : n->raw_child, false, !here);

	return rc || !here || n->raw_parent ? rc : changes_touch_whole(m->v, d.child);
}

/* The secondary must be told of its own ids that it will not find here; and of files that it removed and that stay. */
int merge_touch_aliases(struct merger *m)
{
	int rc = keep_aliases(m);

	for (size_t i = 0; rc == 0 && i < m->n_nl; i++) {
		if (m->nl[i].in_copy)
			rc = resend_ours(m, &m->nl[i]);
		else if (m->nl[i].alias_of)
			rc = changes_touch_link(m->v, m->nl[i].alias_of, m->nl[i].raw_child, false, true);
		else if (m->nl[i].missing)
			rc = resend_link(m, &m->nl[i]);
	}
	return rc;
}

/* Where the secondary says that it has no such link, or could not place ours there and has a file of its own: it may
 * never have had ours, as none of its links could be placed. */
static bool may_lack(struct merger *m, const struct rs_link_out *out)
{
	const struct rs_inode *n = merge_input_inode(m, out->child);
	const struct norm_link *rec;
	uint64_t at;

	if (out->pos.present && map_get(&m->given_back, out->id, &at) && at == GIVEN_OURS)
		return true;
	if (!out->pos.present || !n || !map_get(&m->nl_by_link, out->id, &at))
		return false;
	rec = &m->nl[at - 1];
	return rec->parent ? rec->report && rec->raw_child != out->child : !n->in_s || rec->lacks;
}

int merge_send_what_it_lacks(struct merger *m, const struct rs_result *r)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < r->n_links; i++)
		if (may_lack(m, &r->links[i]))
			rc = changes_touch_whole(m->v, r->links[i].child);
	return rc;
}
