/* SPDX-License-Identifier: MIT */
/* Carrying out what the resolver decided, and noting what a person may want to know. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/landing.h"
#include "sync/follow.h"
#include "sync/merge_state.h"
#include "sync/name_fold.h"
#include "util/acl.h"
#include "util/log.h"
#include "util/util.h"

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

struct norm_inode *merge_bytes_record(struct merger *m, uint64_t ino)
{
	uint64_t at;

	return ino && map_get(&m->ni_by_bytes, ino, &at) ? &m->ni[at - 1] : NULL;
}

/* ---- what the resolver asks
 * -------------------------------------------------------------------------------------------- */

static bool op_same_file(void *ctx, uint64_t ino_p, uint64_t ino_s)
{
	struct merger *m = ctx;
	const struct rec_inode *r = shipment_inode(m->s, ino_s);

	return r && (r->fields & REC_NEW) && content_same_file(m->v, m->s, ino_p, r);
}

static bool op_name_taken(void *ctx, uint64_t parent, const char *name, size_t name_len)
{
	struct merger *m = ctx;
	struct dentry d;

	if (parent == INO_ROOT && name_len == strlen(HIDDEN_NAME) && memcmp(name, HIDDEN_NAME, name_len) == 0)
		return true;
	if (m->s->is_part && landing_gives_name(m->v, parent, name, name_len))
		return true;
	return tree_lookup(m->v, parent, name, name_len, &d) == 0 && !map_get(&m->link_at, d.link, NULL);
}

static int name_of(void *ctx, const struct dentry *d)
{
	*(struct dentry *)ctx = *d;
	return 1;
}

int merge_decide(struct merger *m, struct norm_inode *n)
{
	struct dentry d = { .name = "" };
	char *path = merge_path(m->v, n->cc.ino);
	int rc;

	tree_links_of(m->v, n->cc.ino, name_of, &d);
	n->cc.name = d.name;
	n->cc.path = path;
	n->cc.jobs = m->names->driver.run ? m->jobs : NULL;
	rc = policy_find(m->v, path, &n->cc.policy);
	if (rc == 0)
		rc = content_decide(&n->cc);
	n->cc.name = "";
	n->cc.path = NULL;
	free(path);
	n->has_case = rc == 0;
	log_debug("merge", "content of %#llx seen %llu: %d, verdict %d: %s (sizes %llu | %llu %llu)",
		  (unsigned long long)n->cc.ino, (unsigned long long)n->cc.seen, rc, n->cc.verdict,
		  n->cc.rule ? n->cc.rule : "", (unsigned long long)n->cc.base_size,
		  (unsigned long long)n->cc.ours_size, (unsigned long long)n->cc.theirs_size);
	return rc;
}

static int decide(struct merger *m, struct norm_inode *n)
{
	int rc;

	n->open_case = true;
	rc = content_open(&n->cc, m->v, m->s, n->rec, n->bytes_ino, n->seen_bytes,
			  n->aliased || n->redirected_bytes ? &n->lin : NULL, "");
	return rc ? rc : merge_decide(m, n);
}

static bool op_equal(void *ctx, uint64_t ino)
{
	struct merger *m = ctx;
	struct norm_inode *n = merge_bytes_record(m, ino);
	struct content_case c;
	bool equal;

	if (!n || !(n->rec->fields & REC_CONTENT) || !S_ISREG(n->rec->mode))
		return false;
	equal = content_open(&c, m->v, m->s, n->rec, n->bytes_ino, n->seen_bytes,
			     n->aliased || n->redirected_bytes ? &n->lin : NULL, "") == 0 &&
		content_same(&c) == 1;
	content_close(&c);
	return equal;
}

static enum rs_content op_content(void *ctx, uint64_t ino)
{
	struct merger *m = ctx;
	struct norm_inode *n = merge_bytes_record(m, ino);

	if (m->prefer && !merge_input_inode(m, ino)->late)
		return merge_prefer_content(m, ino);
	if (!n || !(n->rec->fields & REC_CONTENT) || !S_ISREG(n->rec->mode))
		return RS_CONTENT_EQUAL;
	n->asked = true;
	if (!n->has_case) {
		int rc = decide(m, n);

		if (rc < 0) {
			m->failed = m->failed ? m->failed : rc;
			return RS_CONTENT_KEEP_BOTH;
		}
	}
	return n->cc.verdict;
}

/* ---- inodes
 * ------------------------------------------------------------------------------------------------------------- */

/* A directory of which not even history is left: made anew, so that what is in it has a place. */
static int make_dir(struct merger *m, uint64_t ino)
{
	struct inode *in = xcalloc(1, sizeof(*in));
	int rc;

	in->ino = ino;
	in->mode = S_IFDIR | 0755;
	in->shrunk_to = UINT64_MAX;
	in->nlink = 2;
	in->atime_ns = in->mtime_ns = in->ctime_ns = (int64_t)m->now_ms * 1000000;
	rc = tree_inode_put(m->v, in);
	free(in);
	return rc ? rc : changes_touch_whole(m->v, ino);
}

/* Whoever gets the mode of `from` gets its access ACL too. */
int merge_take_acl(struct volume *v, uint64_t from, struct view view, uint64_t to, enum origin origin)
{
	uint8_t acl[ACL_MAX_BYTES];
	ssize_t len = tree_xattr_get_view(v, from, ACL_ACCESS_KEY, view, acl, sizeof(acl));
	int rc;

	if (len <= 0)
		return len == -ENODATA ? 0 : (int)len;
	rc = tree_xattr_put(v, to, ACL_ACCESS_KEY, acl, (size_t)len, origin);
	return rc ? rc : changes_touch_xattr(v, to, ACL_ACCESS_KEY);
}

struct xattr_copy {
	struct xattr_copy *next;
	char *key;
	size_t len;
	char value[];
};

static int collect_xattr(void *ctx, const char *key, const void *value, size_t len_bytes)
{
	struct xattr_copy **head = ctx, *x;

	if (strcmp(key, ACL_ACCESS_KEY) == 0)
		return 0; /* it goes with the mode */
	x = xmalloc(sizeof(*x) + len_bytes + 1);
	x->next = *head;
	x->key = xstrdup(key);
	x->len = len_bytes;
	memcpy(x->value, value, len_bytes);
	*head = x;
	return 0;
}

int merge_copy_xattrs(struct merger *m, uint64_t from, uint64_t to)
{
	struct xattr_copy *list = NULL;
	int rc = tree_xattrs(m->v, from, collect_xattr, &list);

	while (list) {
		struct xattr_copy *x = list;

		list = x->next;
		if (rc == 0)
			rc = tree_xattr_put(m->v, to, x->key, x->value, x->len, ORIGIN_LOCAL);
		free(x->key);
		free(x);
	}
	return rc;
}

/*
 * What an alias had swallowed, as one of its own again: with the bytes that it has there, and the attributes that the
 * two share. The secondary gets it whole.
 */
static int make_apart(struct merger *m, const struct apart *a)
{
	const struct lineage *l = &a->base;
	struct view then = { .kind = VIEW_AT, .group = l->grp };
	struct inode *in = xmalloc(sizeof(*in));
	uint64_t size, at;
	int rc = tree_inode_view(m->v, l->dst, then, in);

	if (rc == -ENOENT)
		rc = tree_inode_get(m->v, l->dst, in);
	if (rc < 0) {
		free(in);
		return rc;
	}
	size = S_ISREG(in->mode) ? in->size_bytes : 0;
	in->ino = l->src;
	in->nlink = S_ISDIR(in->mode) ? 2 : 0;
	if (size)
		in->size_bytes = 0;
	in->origin = in->corigin = ORIGIN_PEER;
	in->cborn = group_number(m->v);
	rc = tree_inode_put(m->v, in);
	free(in);
	if (rc == 0 && size)
		rc = content_copy(m->v, l->dst, then, size, l->src, ORIGIN_PEER);
	if (rc == 0)
		rc = merge_copy_xattrs(m, a->attrs_of, l->src);
	if (rc == 0)
		rc = merge_take_acl(m->v, a->attrs_of, then, l->src, ORIGIN_PEER);
	if (rc == 0 && map_get(&m->ni_by_ino, l->src, &at))
		m->ni[at - 1].made_again = true; /* its bytes are not all here yet */
	return rc ? rc : changes_touch_whole(m->v, l->src);
}

static const struct apart *find_made_apart(struct merger *m, uint64_t ino)
{
	for (size_t i = 0; i < m->n_apart; i++)
		if (m->apart[i].base.src == ino)
			return &m->apart[i];
	return NULL;
}

/* The secondary changed the bytes of a file as it knew it: that is what its changes go on top of. */
static int revive_bytes(struct merger *m, const struct norm_inode *n)
{
	struct content_case c;
	int rc = content_open(&c, m->v, m->s, n->rec, n->ino, n->seen_bytes, NULL, "");

	if (rc == 0 && S_ISREG(n->rec->mode))
		rc = content_copy(m->v, c.base_ino, c.base, c.theirs_whole ? 0 : c.base_size, n->ino, ORIGIN_LOCAL);
	content_close(&c);
	return rc;
}

/*
 * Bring back what we deleted, as it was last here. If the secondary changed its bytes, as it knew them. It gets the
 * whole, so that both are the same whatever it has.
 */
static int revive(struct merger *m, uint64_t ino)
{
	struct norm_inode *n = NULL;
	struct view last;
	uint64_t at;
	int rc = tree_inode_last(m->v, ino, &last);

	if (rc == 0)
		rc = tree_inode_revive(m->v, ino, last);
	if (rc < 0)
		return rc;
	if (map_get(&m->ni_by_ino, ino, &at)) {
		m->ni[at - 1].revived = true;
		if ((m->ni[at - 1].rec->fields & REC_CONTENT) && !m->ni[at - 1].redirected_bytes)
			n = &m->ni[at - 1];
	}
	if (!n) {
		rc = units_as_theirs(m, ino);
		return rc ? rc : changes_touch_whole(m->v, ino);
	}
	n->made_again = true; /* its bytes are not all here yet */
	return revive_bytes(m, n);
}

/* It comes whole. If we had it and deleted it, what we sent of it before may still be on its way. */
static int make_again(struct merger *m, const struct rec_inode *r)
{
	struct view last;
	uint64_t at;
	int rc = tree_inode_last(m->v, r->ino, &last);

	if (rc == 0 && map_get(&m->ni_by_ino, r->ino, &at))
		m->ni[at - 1].made_again = true;
	return rc == 0 || rc == -ENOENT ? land_new(m->v, r) : rc;
}

/* Before links are placed, every child must be there. -ENOENT: not even history has it. */
int merge_ensure_inode(struct merger *m, uint64_t ino)
{
	const struct rec_inode *r = shipment_inode(m->s, ino);
	const struct rs_inode *n = merge_input_inode(m, ino);
	struct inode *in = xmalloc(sizeof(*in));
	int rc = tree_inode_get(m->v, ino, in);

	free(in);
	if (rc != -ENOENT)
		return rc;
	if (r && (r->fields & REC_NEW))
		return make_again(m, r);
	if (find_made_apart(m, ino))
		return make_apart(m, find_made_apart(m, ino));
	rc = revive(m, ino);
	if (rc == -ENOENT && n && S_ISDIR(n->type))
		rc = make_dir(m, ino);
	return rc;
}

/* ---- links
 * -------------------------------------------------------------------------------------------------------------- */

struct plan {
	struct placement *list;
	size_t n;
	uint64_t *touch; /* links to enter into our change set */
	size_t n_touch;
};

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
static bool ends_are_left(struct merger *m)
{
	uint64_t link, how;
	size_t it = 0;

	while (map_next(&m->s->planned_ends, &it, &link, &how))
		if (how != 2)
			return false;
	return true;
}

static int plan_link(struct merger *m, struct plan *p, const struct rs_link_out *out)
{
	uint64_t at;
	const struct rs_link *in;
	struct norm_link *rec = NULL;
	bool ours, theirs, left;
	int rc;

	if (!map_get(&m->link_at, out->id, &at))
		return -EUCLEAN;
	in = &m->links[at - 1];
	if (map_get(&m->nl_by_link, out->id, &at))
		rec = &m->nl[at - 1];
	ours = map_get(&m->p_changed, out->id, NULL);
	/* The outcome is what the secondary has, under the very ids. */
	theirs = rec && says_so(rec, &out->pos) && out->child == in->child && !rec->alias_of &&
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
	if (!merge_same_pos(&out->pos, &in->p) || out->child != in->child)
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
	    !merge_same_pos(&out->pos, &in->p))
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
static int renew_base(struct merger *m, uint64_t src)
{
	struct lineage base;
	struct inode in;

	if (lineage_get(m->v, LINEAGE_BASE, src, &base) < 0 || base.kind != 'b' ||
	    tree_inode_get(m->v, base.dst, &in) < 0 || in.nlink == 0 || in.cborn > base.grp)
		return 0;
	base.grp = group_number(m->v);
	return lineage_put(m->v, &base);
}

/* What the secondary calls by an id of its own it has by that id still: the alias is good until it has seen this. */
static int keep_alias(struct merger *m, enum lineage_class c, uint64_t src)
{
	struct lineage lin;
	int rc;

	if (lineage_get(m->v, c, src, &lin) < 0 || lin.kind == 'c')
		return 0;
	lin.grp = group_number(m->v);
	rc = lineage_put(m->v, &lin);
	return rc || c != LINEAGE_INODE ? rc : renew_base(m, src);
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
			rc = keep_alias(m, LINEAGE_LINK, n->alias_of);
		if (rc == 0 && n->raw_parent && n->raw_child != n->child)
			rc = keep_alias(m, LINEAGE_INODE, n->raw_child);
		if (rc == 0 && n->raw_parent != n->parent)
			rc = keep_alias(m, LINEAGE_INODE, n->raw_parent);
		if (rc == 0 && n->family)
			rc = keep_alias(m, LINEAGE_NAME, n->family);
	}
	for (size_t i = 0; rc == 0 && i < m->n_ni; i++)
		if (m->ni[i].aliased)
			rc = keep_alias(m, LINEAGE_INODE, m->ni[i].rec->ino);
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
static int touch_aliases(struct merger *m)
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

	if (!out->pos.present || !n || !map_get(&m->nl_by_link, out->id, &at))
		return false;
	rec = &m->nl[at - 1];
	return rec->parent ? rec->report && rec->raw_child != out->child : !n->in_s || rec->lacks;
}

static int send_what_it_lacks(struct merger *m, const struct rs_result *r)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < r->n_links; i++)
		if (may_lack(m, &r->links[i]))
			rc = changes_touch_whole(m->v, r->links[i].child);
	return rc;
}

/* ---- copies
 * ------------------------------------------------------------------------------------------------------------- */

struct made_copy {
	uint64_t of, ino, link;
};

/* The secondary's access ACL of a file, as its mode is: the bytes, 0: it has none. From when it had set the mode on it
 * took no ACL of ours. */
static ssize_t their_acl(struct merger *m, const struct norm_inode *n, uint8_t acl[ACL_MAX_BYTES])
{
	const struct ship_xattr *x = shipment_xattr(m->s, n->rec->ino, ACL_ACCESS_KEY);
	const bool own = (n->rec->fields & (REC_MODE | REC_NEW)) == REC_MODE;
	const struct view seen = { .kind = VIEW_PEER,
				   .group = own ? rec_seen(n->rec, REC_MODE) : m->s->begin.seen };
	ssize_t len;

	if (x) {
		len = (ssize_t)x->value_len; /* 0: removed */
		memcpy(acl, x->value ? (const void *)x->value : "", x->value_len);
	} else {
		len = tree_xattr_get_view(m->v, n->ino, ACL_ACCESS_KEY, seen, acl, ACL_MAX_BYTES);
	}
	if (len > 0)
		acl_set_mode(acl, (size_t)len, n->rec->mode);
	return len == -ENODATA ? 0 : len;
}

/* For the copy of its version: without it the mode's group bits, which are the ACL's mask, would let the group do what
 * the ACL denied it. */
int merge_copy_acl(struct merger *m, const struct norm_inode *n, uint64_t to)
{
	uint8_t acl[ACL_MAX_BYTES];
	ssize_t len = their_acl(m, n, acl);

	return len <= 0 ? (int)len : tree_xattr_put(m->v, to, ACL_ACCESS_KEY, acl, (size_t)len, ORIGIN_LOCAL);
}

/* Of what the record says. (There may be two of one file: the secondary has what is an alias here, and ours.) */
static int make_copy(struct merger *m, struct norm_inode *n, const struct rs_copy *c, struct made_copy *made,
		     struct placement *place)
{
	struct inode *in = xcalloc(1, sizeof(*in));
	int rc = n ? tree_inode_get(m->v, c->ino, in) : -EUCLEAN;

	if (rc == 0) {
		*made = (struct made_copy){ .of = c->ino, .ino = id_new(m->v), .link = id_new(m->v) };
		in->ino = made->ino;
		in->nlink = 0;
		in->size_bytes = 0;
		in->mode = n->rec->mode;
		in->uid = n->rec->uid;
		in->gid = n->rec->gid;
		in->atime_ns = n->rec->atime_ns;
		in->mtime_ns = n->rec->mtime_ns;
		in->origin = in->corigin = ORIGIN_LOCAL;
		in->cborn = group_number(m->v);
		rc = tree_inode_put(m->v, in);
	}
	if (rc == 0)
		rc = merge_copy_acl(m, n, made->ino);
	if (rc == 0)
		rc = content_land_copy(&n->cc, made->ino);
	*place = (struct placement){ .link = made->link,
				     .child = made->ino,
				     .parent = c->parent,
				     .name = c->name,
				     .name_len = c->name_len,
				     .origin = ORIGIN_LOCAL };
	free(in);
	return rc;
}

int merge_note_base(struct merger *m, uint64_t src, uint64_t dst)
{
	return lineage_put(m->v,
			   &(struct lineage){ .src = src, .dst = dst, .grp = group_number(m->v), .kind = 'b' });
}

struct own_link {
	struct volume *v;
	uint64_t src;
};

static int find_own_link(void *ctx, const struct dentry *d)
{
	struct own_link *l = ctx;

	return lineage_source(l->v, LINEAGE_LINK, d->link, &l->src) == 0;
}

/*
 * What the secondary has there by an id of its own is the copy from now on: what it does to that, it does to the copy.
 * (Of a file that it knows by the same id as we do, only bytes that it wrote without knowing of the copy go there.)
 */
static int alias_copy(struct merger *m, const struct made_copy *c, struct lineage *lin)
{
	struct own_link own = { .v = m->v };
	struct lineage link = { .dst = c->link, .grp = lin->grp, .kind = 'l' };

	lin->kind = 'a';
	if (tree_links_of(m->v, c->of, find_own_link, &own) != 1)
		return 0;
	link.src = own.src;
	return lineage_put(m->v, &link);
}

static int record_copy(struct merger *m, const struct norm_inode *n, const struct made_copy *c)
{
	struct lineage lin = { .src = n->rec->ino, .dst = c->ino, .grp = group_number(m->v), .kind = 'c' };
	int rc = changes_touch_whole(m->v, c->ino);

	if (rc == 0)
		rc = changes_touch_link(m->v, c->link, c->ino, true, false);
	if (n->in_copy)
		lin = (struct lineage){ lin.src, lin.dst, lin.grp, 'u', n->lin.since };
	else if (rc == 0 && n->aliased)
		rc = alias_copy(m, c, &lin);
	if (rc == 0)
		rc = lineage_put(m->v, &lin);
	return rc ? rc : merge_note_base(m, lin.src, lin.dst);
}

/* ---- contents and attributes
 * ---------------------------------------------------------------------------------------------- */

/* The bytes of a record whose file the secondary calls by another id than we do: it has them elsewhere, so all goes
 * back as ours. */
static int land_redirected(struct merger *m, struct norm_inode *n)
{
	struct content_case c;
	int rc = content_open(&c, m->v, m->s, n->rec, n->bytes_ino, n->seen_bytes, &n->lin, "");
	struct inode *in = xmalloc(sizeof(*in));

	if (rc == 0)
		rc = content_send_back(&c);
	if (rc == 0 && n->rec->shrunk_to != UINT64_MAX)
		rc = changes_touch_shrink(m->v, n->bytes_ino, n->rec->shrunk_to);
	if (rc == 0)
		rc = land_content(m->v, m->s, n->rec, n->bytes_ino, ORIGIN_LOCAL);
	if (rc == 0)
		rc = changes_touch_range(m->v, n->bytes_ino, 0, n->rec->size_bytes);
	if (rc == 0)
		rc = tree_inode_get(m->v, n->bytes_ino, in);
	if (rc == 0) {
		in->mtime_ns = n->rec->mtime_ns;
		in->origin = ORIGIN_LOCAL;
		rc = tree_inode_put(m->v, in);
	}
	if (rc == 0)
		rc = changes_touch(m->v, n->bytes_ino, ENT_TIMES);
	content_close(&c);
	free(in);
	return rc;
}

/*
 * What a conflict keeps under .twinfs for looking back (the base; versions whose bytes are all in the merged file)
 * takes room here and is sent to the secondary. So it is only kept of files up to KEEP_FILE_MAX_BYTES, which texts
 * have, up to KEEP_SHIPMENT_MAX_BYTES for all that one shipment brings, and while a file takes no more than a sixteenth
 * of the room that is left.
 */
#define KEEP_FILE_MAX_BYTES (UINT64_C(8) << 20)
#define KEEP_SHIPMENT_MAX_BYTES (UINT64_C(256) << 20)

static bool worth_keeping(struct merger *m, uint64_t size_bytes)
{
	if (size_bytes > KEEP_FILE_MAX_BYTES || m->kept_bytes + size_bytes > KEEP_SHIPMENT_MAX_BYTES ||
	    size_bytes > data_room(m->v) / 16)
		return false;
	m->kept_bytes += size_bytes;
	return true;
}

enum aside { ASIDE_OURS, ASIDE_THEIRS, ASIDE_BASE };

/* "ID-NODE-NAME", and "ID.base-NAME"; of a long NAME the end, which says what it is. malloc'd. */
static char *aside_name(struct merger *m, struct norm_inode *n, enum aside what)
{
	const char *node = what == ASIDE_THEIRS ? m->names->peer : m->names->self, *name;
	struct dentry d = { .name = "" };

	tree_links_of(m->v, n->bytes_ino, name_of, &d);
	name = d.name + (d.name_len > 180 ? d.name_len - 180 : 0);
	while (((unsigned char)*name & 0xc0) == 0x80)
		name++; /* not within a character */
	if (what == ASIDE_BASE)
		return xasprintf("%llu.base-%s", (unsigned long long)n->note_id, name);
	return xasprintf("%llu-%s-%s", (unsigned long long)n->note_id, node, name);
}

static int fill_aside(struct merger *m, struct norm_inode *n, enum aside what, uint64_t ino)
{
	struct view now = { .kind = VIEW_NOW };

	switch (what) {
	case ASIDE_OURS: return content_copy(m->v, n->cc.ino, now, n->cc.ours_size, ino, ORIGIN_LOCAL);
	case ASIDE_THEIRS: return content_land_copy(&n->cc, ino);
	case ASIDE_BASE: return content_land_base(&n->cc, ino);
	}
	return -EINVAL;
}

static int64_t base_mtime_ns(struct merger *m, struct norm_inode *n)
{
	struct inode *in = xmalloc(sizeof(*in));
	int64_t ns = tree_inode_view(m->v, n->cc.base_ino, n->cc.base, in) == 0 ? in->mtime_ns : 0;

	free(in);
	return ns;
}

/* A version, whole, under .twinfs, not to be written to: until it is dismissed, and theirs as the base of what the
 * secondary sends next. */
static int set_aside(struct merger *m, struct norm_inode *n, enum aside what, uint64_t *ino)
{
	struct inode *in = xmalloc(sizeof(*in));
	struct placement place = { .link = id_new(m->v), .parent = INO_HIDDEN, .origin = ORIGIN_LOCAL };
	char *name;
	int rc = tree_inode_get(m->v, n->cc.ino, in);

	n->note_id = n->note_id ? n->note_id : id_new(m->v);
	*ino = place.child = in->ino = id_new(m->v);
	name = aside_name(m, n, what);
	place.name = name;
	place.name_len = (uint16_t)strlen(name);
	in->nlink = 0;
	in->size_bytes = 0;
	in->mode &= ~(uint32_t)0222;
	in->origin = in->corigin = ORIGIN_LOCAL;
	in->cborn = group_number(m->v);
	if (what == ASIDE_THEIRS)
		in->mtime_ns = n->rec->mtime_ns;
	else if (what == ASIDE_BASE)
		in->mtime_ns = base_mtime_ns(m, n);
	if (rc == 0)
		rc = tree_inode_put(m->v, in);
	if (rc == 0)
		rc = fill_aside(m, n, what, *ino);
	if (rc == 0)
		rc = land_links(m->v, &place, 1);
	if (rc == 0)
		rc = changes_touch_whole(m->v, *ino);
	if (rc == 0)
		rc = changes_touch_link(m->v, place.link, *ino, true, false);
	free(name);
	free(in);
	return rc;
}

/* Before anything lands in the file. A base that cannot be read any more is none. */
static int keep_base(struct merger *m, struct norm_inode *n)
{
	if (!n->cc.had_base || !content_has_base(&n->cc) || !worth_keeping(m, n->cc.base_size))
		return 0;
	return set_aside(m, n, ASIDE_BASE, &n->kept_base);
}

/* Of data merged by ranges both sides' bytes are in place; the versions are for taking it apart. */
static int land_merged(struct merger *m, struct norm_inode *n)
{
	struct lineage lin = { .src = n->rec->ino,
			       .grp = group_number(m->v),
			       .kind = 's',
			       .dst = n->cc.theirs_size };
	bool needed = n->cc.merged_whole || n->cc.append || n->cc.merged_file || n->cc.ours_whole ||
		      n->cc.theirs_whole;
	int rc = 0;

	if (needed || worth_keeping(m, n->cc.ours_size + n->cc.theirs_size)) {
		rc = set_aside(m, n, ASIDE_OURS, &n->kept_ours);
		if (rc == 0)
			rc = set_aside(m, n, ASIDE_THEIRS, &n->kept_theirs);
	}
	if (needed) {
		lin.kind = 'b';
		lin.dst = n->kept_theirs;
	}
	n->cc.ino = n->bytes_ino; /* it is another one if it follows */
	if (rc == 0)
		rc = content_land_merged(&n->cc);
	return rc ? rc : lineage_put(m->v, &lin);
}

/* The policy named the version: the other is set aside, and the secondary's is the base of what it sends next. */
static int land_chosen(struct merger *m, struct norm_inode *n)
{
	struct lineage lin = { .src = n->rec->ino, .grp = group_number(m->v), .kind = 'b' };
	bool theirs = n->cc.verdict == RS_CONTENT_SECONDARY;
	int rc = theirs ? set_aside(m, n, ASIDE_OURS, &n->kept_ours) : 0;

	if (rc == 0)
		rc = set_aside(m, n, ASIDE_THEIRS, &n->kept_theirs);
	lin.dst = n->kept_theirs;
	if (rc == 0)
		rc = theirs ? content_land_theirs(&n->cc, n->kept_theirs) : content_send_back(&n->cc);
	return rc ? rc : lineage_put(m->v, &lin);
}

/* Both have the same bytes, but the secondary left alone what is on its way to it: it gets them once more. */
int merge_land_equal(struct merger *m, struct norm_inode *n)
{
	bool differ = n->cc.one_sided && !n->cc.taken; /* what it has is the base still, until it has seen this */
	int rc = n->cc.taken ? content_take_theirs(&n->cc) : content_send_back(&n->cc);

	if (rc < 0)
		return rc;
	return differ ? renew_base(m, n->rec->ino) : merge_note_base(m, n->rec->ino, n->bytes_ino);
}

/* What content_decide said, in bytes_ino. */
static int land_case(struct merger *m, struct norm_inode *n)
{
	int rc = n->cc.verdict != RS_CONTENT_EQUAL ? keep_base(m, n) : 0;

	if (rc < 0)
		return rc;
	switch (n->cc.verdict) {
	case RS_CONTENT_EQUAL: return merge_land_equal(m, n);
	case RS_CONTENT_MERGED: return land_merged(m, n);
	case RS_CONTENT_PRIMARY:
	case RS_CONTENT_SECONDARY: return land_chosen(m, n);
	case RS_CONTENT_KEEP_BOTH: return content_send_back(&n->cc); /* theirs went to a copy */
	}
	return 0;
}

static int put_note(struct merger *m, const struct rs_note *n, const struct norm_inode *rec,
		    const struct made_copy *copies, size_t n_copies);

/* The resolver was not asked about this one, so it has no note of it. copy: of the secondary's version; NULL: none. */
static int note_case(struct merger *m, const struct norm_inode *n, const struct made_copy *copy)
{
	struct rs_note note = { .kind = "content", .outcome = "merged", .rule = n->cc.rule, .ino = n->bytes_ino };

	if (n->cc.verdict == RS_CONTENT_PRIMARY)
		note.outcome = "primary";
	else if (n->cc.verdict == RS_CONTENT_SECONDARY)
		note.outcome = "secondary";
	else if (n->cc.verdict == RS_CONTENT_KEEP_BOTH)
		note.outcome = "kept-both";
	return n->cc.verdict == RS_CONTENT_EQUAL ? 0 : put_note(m, &note, n, copy, copy != NULL);
}

/* What else the secondary has of this file, by our id, has landed already. */
static bool is_second(struct merger *m, const struct norm_inode *n)
{
	const struct norm_inode *first = merge_bytes_record(m, n->bytes_ino);

	return first && first != n && (first->rec->fields & REC_CONTENT);
}

/* Redirected bytes: ours (the copy) may have been changed here too; or just now, by what the secondary wrote to it. */
static int land_bytes_elsewhere(struct merger *m, struct norm_inode *n)
{
	struct lineage lin = {
		.src = n->rec->ino, .dst = n->bytes_ino, .grp = group_number(m->v),
		.kind = n->in_copy ? 'u' : n->aliased ? 'a' : 'c', .since = n->in_copy ? n->lin.since : 0
	};
	bool second = is_second(m, n), changed = second || p_changed_content(m->v, n->bytes_ino, n->seen_bytes);
	struct lineage now;
	int rc;

	if (second && n->open_case && !n->saved) { /* it was decided before the other landed */
		content_close(&n->cc);
		n->open_case = n->has_case = n->asked = false;
	}
	rc = changed && !n->has_case ? decide(m, n) : 0;

	if (rc == 0 && n->has_case && n->preferred && n->cc.verdict == RS_CONTENT_SECONDARY) {
		rc = content_take_theirs(&n->cc); /* a person's word, and no conflict to be noted */
		if (rc == 0)
			rc = merge_note_base(m, n->rec->ino, n->bytes_ino);
	} else if (rc == 0 && (n->has_case || changed) && !n->cc.ours_is_base) {
		if (n->cc.verdict == RS_CONTENT_KEEP_BOTH)
			return n->asked ? land_case(m, n) : -EAGAIN; /* the caller makes a copy of its own */
		rc = land_case(m, n);
		if (rc == 0 && !n->asked && !n->saved)
			rc = note_case(m, n, NULL);
	} else if (rc == 0) {
		rc = land_redirected(m, n);
		if (rc == 0)
			rc = merge_note_base(m, n->rec->ino, n->bytes_ino);
	}
	/* Just now its unit has got a copy: what it goes on with is in that, and no more in the copy of the file. */
	if (rc == 0 && n->redirected_bytes && lineage_get(m->v, LINEAGE_INODE, lin.src, &now) == 0 && now.kind == 'u')
		return 0;
	return rc ? rc : lineage_put(m->v, &lin);
}

int merge_resend_original(struct merger *m, struct norm_inode *n)
{
	struct content_case c;
	int rc = content_open(&c, m->v, m->s, n->rec, n->rec->ino, rec_seen(n->rec, REC_CONTENT), NULL, "");

	if (rc == 0)
		rc = content_send_back(&c);
	if (rc == 0)
		rc = changes_touch(m->v, n->rec->ino, ENT_TIMES);
	content_close(&c);
	return rc;
}

static int extra_copy(struct merger *m, struct norm_inode *n)
{
	struct dentry d;
	struct made_copy made;
	struct placement place;
	char name[256];
	struct rs_copy c = { .ino = n->bytes_ino };
	unsigned tries = 1;
	int rc;

	if (tree_links_of(m->v, n->bytes_ino, name_of, &d) != 1)
		return n->in_copy ? -EUCLEAN : 0;
	do {
		c.name_len = (uint16_t)conflict_name(d.name, d.name_len, m->names->peer,
						     (uint64_t)(n->rec->mtime_ns / 1000000), tries++, name);
	} while (tree_lookup(m->v, d.parent, name, c.name_len, &(struct dentry){ 0 }) == 0 ||
		 (m->s->is_part && landing_gives_name(m->v, d.parent, name, c.name_len)));
	c.parent = d.parent;
	c.name = name;
	rc = make_copy(m, n, &c, &made, &place);
	if (rc == 0)
		rc = land_links(m->v, &place, 1);
	if (rc == 0)
		rc = record_copy(m, n, &made);
	return rc ? rc : note_case(m, n, &made);
}

static int land_beside(struct merger *m, struct norm_inode *n)
{
	int rc;

	if (!(n->rec->fields & REC_CONTENT) || !S_ISREG(n->rec->mode))
		return 0;
	n->open_case = true;
	rc = content_open(&n->cc, m->v, m->s, n->rec, n->bytes_ino, n->seen_bytes, &n->lin, "");
	n->cc.verdict = RS_CONTENT_KEEP_BOTH;
	n->cc.rule = "it was changed in the unit and in the copy of that";
	return rc ? rc : extra_copy(m, n);
}

static int land_bytes(struct merger *m, struct norm_inode *n)
{
	int rc;

	if ((!(n->rec->fields & REC_CONTENT) && !(n->saved && n->has_case)) || !S_ISREG(n->rec->mode))
		return 0;
	if (merge_stays_ours(m, n->ino))
		return merge_keep_ours(m, n);
	if (n->fused || (n->saved && !n->has_case))
		return 0; /* equal files that became one; or only ours has bytes of its own */
	if (n->redirected_bytes || n->aliased) {
		/* First, while the staged ranges are still there to be asked for. */
		rc = n->redirected_bytes ? merge_resend_original(m, n) : 0;
		if (rc == 0)
			rc = land_bytes_elsewhere(m, n);
		return rc == -EAGAIN ? extra_copy(m, n) : rc;
	}
	if (!n->has_case || n->cc.ours_is_base) {
		rc = take_inode(m->v, m->s, n->rec, n->ino, REC_CONTENT);
		return rc;
	}
	if (merge_prefers(m) == RS_PREFER_S && n->cc.verdict == RS_CONTENT_SECONDARY && n->preferred)
		return merge_take_theirs(m, n);
	rc = land_case(m, n);
	return rc || !n->follows ? rc : note_case(m, n, NULL);
}

static enum entity entity_of(uint32_t field)
{
	return field == REC_MODE ? ENT_MODE : field == REC_OWNER ? ENT_OWNER : ENT_TIMES;
}

/* The bytes that its times label are not in place. */
static bool bytes_stay_ours(const struct norm_inode *n)
{
	return n->has_case && n->cc.verdict != RS_CONTENT_EQUAL &&
	       !(n->preferred && n->cc.verdict == RS_CONTENT_SECONDARY);
}

/* It is back with the secondary's mode: so not with the ACL that we gave it before we deleted it. */
static int take_their_acl(struct merger *m, const struct norm_inode *n)
{
	int rc = tree_xattr_put(m->v, n->ino, ACL_ACCESS_KEY, NULL, 0, ORIGIN_LOCAL);

	return rc && rc != -ENODATA ? rc : merge_copy_acl(m, n, n->ino);
}

/* Fields that only the secondary changed. */
static int land_free_attrs(struct merger *m, size_t i)
{
	struct norm_inode *n = &m->ni[i];
	uint32_t fields = n->rec->fields & (REC_MODE | REC_OWNER | REC_TIMES);
	bool bytes_are_ours = bytes_stay_ours(n);

	fields &= ~n->in_conflict;
	if (merge_stays_ours(m, n->ino)) {
		int rc = 0;

		for (uint32_t f = REC_MODE; rc == 0 && f <= REC_TIMES; f <<= 1)
			if (fields & f)
				rc = changes_touch(m->v, n->ino, entity_of(f));
		return rc;
	}
	if ((fields & REC_TIMES) && (n->redirected_bytes || bytes_are_ours)) {
		int rc = changes_touch(m->v, n->ino,
				       ENT_TIMES); /* theirs label bytes that went elsewhere: it gets ours */

		if (rc < 0)
			return rc;
		fields &= ~(uint32_t)REC_TIMES;
	}
	if (n->saved || (n->aliased && (n->rec->fields & REC_NEW)))
		return 0;
	if (n->revived && (fields & REC_MODE)) {
		int rc = take_their_acl(m, n);

		if (rc < 0)
			return rc;
	}
	if (n->aliased)
		for (uint32_t f = REC_MODE; f <= REC_TIMES; f <<= 1)
			if (fields & f) {
				int rc = changes_touch(m->v, n->ino, entity_of(f));

				if (rc < 0)
					return rc;
			}
	return n->aliased ? land_attrs(m->v, n->rec, n->ino, fields, ORIGIN_LOCAL)
			  : take_inode(m->v, m->s, n->rec, n->ino, fields);
}

static int land_attr_case(struct merger *m, const struct rs_attr_out *o)
{
	const struct attr_case *ac = &m->attr_cases[o->input];
	struct norm_inode *n = &m->ni[ac->norm];
	bool take_p = o->take_p;
	int rc = 0;

	if (n->redirected_bytes || (bytes_stay_ours(n) && ac->field == REC_TIMES))
		take_p = take_p || ac->field == REC_TIMES;
	if (!take_p)
		rc = land_attrs(m->v, n->rec, n->ino, ac->field, ORIGIN_LOCAL);
	if (rc == 0 && ac->field == REC_MODE) /* it took no ACL of ours while its mode was unsettled */
		rc = changes_touch_xattr(m->v, n->ino, ACL_ACCESS_KEY);
	return rc ? rc : changes_touch(m->v, n->ino, entity_of(ac->field));
}

static int land_xattr_case(struct merger *m, const struct rs_attr_out *o)
{
	const struct ship_xattr *x = &m->s->xattrs[m->attr_cases[o->input].norm];
	uint64_t ino = m->attrs[o->input].ino;
	char key[XATTR_NAME_MAX_BYTES + 1];
	const char *bare = strncmp(x->key, "user.", 5) == 0 ? x->key + 5 : x->key;
	int rc = changes_touch_xattr(m->v, ino, x->key);

	if (rc == 0 && !o->take_p)
		return land_xattr(m->v, x, ino);
	if (rc < 0 || !o->keep_other || !x->value)
		return rc;
	if ((size_t)snprintf(key, sizeof(key), CONFLICT_XATTR "%s", bare) >= sizeof(key))
		return 0; /* the name has no room for the prefix; the note names both sides */
	rc = tree_xattr_put(m->v, ino, key, x->value, x->value_len, ORIGIN_LOCAL);
	return rc ? rc : changes_touch_xattr(m->v, ino, key);
}

/* Will the secondary get this inode whole? Then what it sent itself goes with it. */
static bool sent_whole(struct merger *m, uint64_t ino)
{
	struct change_row row;

	return changes_get(m->v, ino, ENT_NEW, &row) == 0 && row.grp > m->s->begin.seen;
}

/* The access ACL of something new that became one with ours: the mode is ours, so is the ACL. */
static bool is_ours_with_mode(struct merger *m, const struct ship_xattr *x)
{
	const struct rec_inode *r = shipment_inode(m->s, x->ino);

	return strcmp(x->key, ACL_ACCESS_KEY) == 0 && r && (r->fields & REC_NEW);
}

/* Mode and ACL may have come from two sides: by what each changed since different bases (of a save, of what was removed
 * and is back). Then the mode is set as by chmod, so what it denies is denied. */
int merge_let_acl_agree(struct merger *m, uint64_t ino)
{
	struct inode *in = xmalloc(sizeof(*in));
	uint8_t acl[ACL_MAX_BYTES];
	int rc = tree_inode_get(m->v, ino, in);
	uint32_t mode = in->mode;
	ssize_t len;

	free(in);
	if (rc < 0 || S_ISLNK(mode))
		return rc == -ENOENT ? 0 : rc;
	len = tree_xattr_get(m->v, ino, ACL_ACCESS_KEY, acl, sizeof(acl));
	if (len <= 0)
		return len == -ENODATA ? 0 : (int)len;
	if (acl_check(acl, (size_t)len) != 0 || acl_mode(acl, (size_t)len, mode) == mode)
		return 0;
	acl_set_mode(acl, (size_t)len, mode);
	rc = tree_xattr_put(m->v, ino, ACL_ACCESS_KEY, acl, (size_t)len, ORIGIN_LOCAL);
	return rc ? rc : changes_touch_xattr(m->v, ino, ACL_ACCESS_KEY);
}

static int let_acls_agree(struct merger *m)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < m->n_ni; i++)
		rc = merge_let_acl_agree(m, m->ni[i].ino);
	for (size_t i = 0; rc == 0 && i < m->n_saves; i++)
		rc = merge_let_acl_agree(m, m->saves[i].ino_p);
	for (size_t i = 0; rc == 0 && i < m->s->n_xattrs; i++)
		if (strcmp(m->s->xattrs[i].key, ACL_ACCESS_KEY) == 0)
			rc = merge_let_acl_agree(m, m->s->xattrs[i].ino);
	return rc;
}

/*
 * Of an inode in a unit of which the secondary has only the copy, as far as names go, the resolver says nothing: ours
 * stays, and it gets that.
 */
static int resend_undecided(struct merger *m, const struct rs_result *r)
{
	uint8_t *said = xcalloc(m->n_attrs + 1, 1);
	struct inode in;
	int rc = 0;

	for (size_t i = 0; i < r->n_attrs; i++)
		said[r->attrs[i].input] = 1;
	for (size_t i = 0; rc == 0 && i < m->n_attrs && map_count(&m->of_inode) > 0; i++) {
		const struct attr_case *ac = &m->attr_cases[i];
		uint64_t ino = m->attrs[i].ino;

		if (said[i] || tree_inode_get(m->v, ino, &in) < 0)
			continue;
		rc = ac->is_xattr ? changes_touch_xattr(m->v, ino, m->s->xattrs[ac->norm].key)
				  : changes_touch(m->v, ino, entity_of(ac->field));
	}
	free(said);
	return rc;
}

static int land_attributes(struct merger *m, const struct rs_result *r)
{
	struct inode in;
	int rc = resend_undecided(m, r);

	for (size_t i = 0; rc == 0 && i < m->n_ni; i++)
		if (!m->ni[i].beside && !units_kept(m, m->ni[i].ino) &&
		    tree_inode_get(m->v, m->ni[i].ino, &in) == 0)
			rc = land_free_attrs(m, i);
	for (size_t i = 0; rc == 0 && i < m->s->n_xattrs; i++) {
		const struct ship_xattr *x = &m->s->xattrs[i];
		struct lineage lin = { .kind = 0 };
		uint64_t ino = merge_their_inode(m, x->ino, x->seen, &lin);
		bool alias = ino != x->ino;

		/* Of what the copy of a unit has instead the resolver says nothing. */
		if (tree_inode_get(m->v, ino, &in) < 0 || (m->xattr_in_conflict[i] && !units_kept(m, ino)))
			continue;
		if (merge_stays_ours(m, ino)) {
			rc = changes_touch_xattr(m->v, ino, x->key);
			continue;
		}
		if (!units_kept(m, ino) && (!alias || !is_ours_with_mode(m, x)))
			rc = land_xattr(m->v, x, ino);
		if (rc == 0 && lin.kind == 'u' && tree_inode_get(m->v, x->ino, &in) == 0)
			rc = changes_touch_xattr(m->v, x->ino, x->key);
		if (rc == 0)
			rc = alias || units_kept(m, ino) || sent_whole(m, ino) ? changes_touch_xattr(m->v, ino, x->key)
							 : changes_drop_xattr(m->v, ino, x->key);
	}
	for (size_t i = 0; rc == 0 && i < r->n_attrs; i++) {
		if (tree_inode_get(m->v, m->attrs[r->attrs[i].input].ino, &in) < 0)
			continue;
		rc = m->attr_cases[r->attrs[i].input].is_xattr ? land_xattr_case(m, &r->attrs[i])
							       : land_attr_case(m, &r->attrs[i]);
	}
	return rc;
}

/* ---- notes
 * ---------------------------------------------------------------------------------------------------------------- */

static int last_of(void *ctx, const struct dentry *d)
{
	*(struct dentry *)ctx = *d;
	return 1;
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
		if (tree_links_of(v, ino, last_of, &d) != 1) {
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

static void fill_version(struct merger *m, struct conflict_version *ver, const char *node, uint64_t ino,
			 uint64_t written_ms)
{
	snprintf(ver->node, sizeof(ver->node), "%s", node);
	ver->ino = ino;
	ver->path = ino ? merge_path(m->v, ino) : NULL;
	ver->written_ms = written_ms;
}

static int is_other_key(void *ctx, const char *key, const void *value, size_t len_bytes)
{
	(void)ctx;
	(void)value;
	(void)len_bytes;
	return strncmp(key, CONFLICT_XATTR, strlen(CONFLICT_XATTR)) == 0;
}

static char *place_text(struct merger *m, const struct rs_pos *p)
{
	char *dir = p->present ? merge_path(m->v, p->parent) : NULL, *path;

	if (!dir)
		return xstrdup("deleted");
	path = xasprintf("%s/%.*s", dir[1] ? dir : "", (int)p->name_len, p->name);
	free(dir);
	return path;
}

/* A mode, and the access ACL that goes with it: len 0: none. */
static char *mode_text(uint32_t mode, const uint8_t *acl, ssize_t len)
{
	char *list = len > 0 && acl_check(acl, (size_t)len) == 0 ? acl_text(acl, (size_t)len, false) : NULL, *text;

	text = list ? xasprintf("%04o %s", mode & 07777, list) : xasprintf("%04o", mode & 07777);
	free(list);
	return text;
}

/* Can all of it be shown in a line? Values of programs are often no text. */
static bool is_short_text(const uint8_t *value, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (value[i] < 0x20 || value[i] > 0x7e)
			return false;
	return len <= 200;
}

/* len < 0: there is none. */
static char *xattr_text(const char *key, const uint8_t *value, ssize_t len)
{
	bool is_default = strcmp(key, ACL_DEFAULT_KEY) == 0;

	if (acl_is_key(key))
		return len > 0 && acl_check(value, (size_t)len) == 0 ? acl_text(value, (size_t)len, is_default)
								      : xstrdup(is_default ? "default:none" : "none");
	if (len < 0)
		return xasprintf("%s removed", key);
	if (is_short_text(value, (size_t)len))
		return xasprintf("%s=%.*s", key, (int)len, (const char *)value);
	return xasprintf("%s, %zd bytes", key, len);
}

static void fill_attribute(struct merger *m, const struct rs_note *n, struct conflict *c)
{
	const struct attr_case *ac = &m->attr_cases[n->attr];
	struct inode *in = xcalloc(1, sizeof(*in));
	uint8_t *value = xmalloc(XATTR_VALUE_MAX_BYTES), acl[ACL_MAX_BYTES];
	struct conflict_version *p = &c->version[0], *s = &c->version[1];
	bool here = tree_inode_get(m->v, n->ino, in) == 0;
	ssize_t len;

	if (here && ac->is_xattr) {
		const struct ship_xattr *x = &m->s->xattrs[ac->norm];

		len = tree_xattr_get(m->v, n->ino, x->key, value, XATTR_VALUE_MAX_BYTES);
		p->value = xattr_text(x->key, value, len);
		s->value = xattr_text(x->key, x->value, x->value ? (ssize_t)x->value_len : -1);
		if (!acl_is_key(x->key) && (len < 0 || !x->value)) {
			free(c->rule);
			c->rule = xstrdup(x->value ? "an xattr was removed on one side and set on the other: the "
						     "primary's removal stays, the value is in "
						     "user.twinfs.conflict.KEY"
						   : "an xattr was set on one side and removed on the other: the "
						     "primary's value stays");
		}
	} else if (here && ac->field == REC_MODE) {
		const struct norm_inode *theirs = &m->ni[ac->norm];

		len = tree_xattr_get(m->v, n->ino, ACL_ACCESS_KEY, acl, sizeof(acl));
		p->value = mode_text(in->mode, acl, len);
		len = their_acl(m, theirs, acl);
		s->value = mode_text(theirs->rec->mode, acl, len);
	} else if (here && ac->field == REC_OWNER) {
		const struct rec_inode *r = m->ni[ac->norm].rec;

		p->value = xasprintf("%u:%u", in->uid, in->gid);
		s->value = xasprintf("%u:%u", r->uid, r->gid);
	}
	free(value);
	free(in);
}

static bool same_place(const struct rs_pos *a, const struct rs_pos *b)
{
	return a->present == b->present && a->parent == b->parent && a->name_len == b->name_len &&
	       memcmp(a->name, b->name, a->name_len) == 0;
}

/* What each side had where that is not a file of its own: for whoever wants the other one after all. */
static void fill_values(struct merger *m, const struct rs_note *n, struct conflict *c)
{
	const struct rs_inode *node = merge_input_inode(m, n->ino);
	uint64_t at;

	if (strcmp(n->kind, "attribute") == 0 || strcmp(n->kind, "xattr") == 0) {
		fill_attribute(m, n, c);
	} else if ((strcmp(n->kind, "move") == 0 || strcmp(n->kind, "delete") == 0) && n->link &&
		   n->other_ino == 0 && map_get(&m->link_at, n->link, &at)) {
		const struct rs_link *l = &m->links[at - 1];
		bool deletion = strcmp(n->kind, "delete") == 0, whole = node && node->in_p && node->in_s;

		for (int i = 0; i < 2; i++) {
			const struct rs_pos *p = i ? &l->s : &l->p;

			if (deletion && whole)
				continue; /* each removed another name of it: neither had deleted the file */
			/* Who has it where it was has changed it. */
			c->version[i].value = deletion && p->present && same_place(&l->b, p) ? xstrdup("changed")
											    : place_text(m, p);
		}
	}
}

/* The mode's note, which comes first, speaks of the access ACL too. */
static bool is_told_with_mode(struct merger *m, const struct rs_note *notes, size_t i)
{
	const struct rs_attr *a;

	if (strcmp(notes[i].kind, "attribute") != 0)
		return false;
	a = &m->attrs[notes[i].attr];
	if (a->field != RS_XATTR || strcmp(a->key, ACL_ACCESS_KEY) != 0)
		return false;
	while (i-- > 0 && notes[i].ino == a->ino)
		if (strcmp(notes[i].kind, "attribute") == 0 && m->attrs[notes[i].attr].field == RS_MODE)
			return true;
	return false;
}

/* rec: of a note about content, the record that it is about. */
static int put_note(struct merger *m, const struct rs_note *n, const struct norm_inode *rec,
		    const struct made_copy *copies, size_t n_copies)
{
	const struct rs_inode *in = merge_input_inode(m, n->ino), *other = merge_input_inode(m, n->other_ino);
	bool content = strcmp(n->kind, "content") == 0;
	struct conflict c = { .id = rec && rec->note_id ? rec->note_id : id_new(m->v),
			      .ino = n->ino, .when_ms = m->now_ms, .base = rec ? rec->kept_base : 0 };
	uint64_t theirs = n->other_ino, ours = n->ino;
	bool aside = rec && rec->kept_theirs;
	struct inode kept;
	int rc;

	for (size_t i = 0; i < n_copies && content; i++)
		if (copies[i].of == n->ino)
			theirs = copies[i].ino;
	snprintf(c.kind, sizeof(c.kind), "%s", n->kind);
	snprintf(c.outcome, sizeof(c.outcome), "%s", n->outcome);
	c.rule = xstrdup(rec && rec->has_case && rec->cc.rule ? rec->cc.rule : n->rule);
	c.path = merge_path(m->v, n->ino);
	if (aside) {
		ours = rec->kept_ours ? rec->kept_ours : n->ino;
		theirs = rec->kept_theirs;
	}
	/* What leaves nothing to choose from is settled. */
	c.resolved = strcmp(n->outcome, "kept-both") != 0 && !aside &&
		     !(strcmp(n->kind, "xattr") == 0 && tree_xattrs(m->v, n->ino, is_other_key, NULL) == 1);
	fill_version(m, &c.version[0], m->names->self, ours,
		     rec && rec->follows && tree_inode_get(m->v, ours, &kept) == 0 /* the input's is the new file */
			     ? (uint64_t)(kept.mtime_ns / 1000000)
		     : in ? in->p_written_ms
			  : m->now_ms);
	fill_version(m, &c.version[1], m->names->peer, theirs,
		     other ? (rs_bytes_are_p(other) ? other->p_written_ms : other->s_written_ms)
		     : rec ? (uint64_t)(rec->rec->mtime_ns / 1000000) /* of a save, the input's is ours */
		     : in  ? in->s_written_ms
			   : m->now_ms);
	fill_values(m, n, &c);
	rc = conflict_put(m->v, &c);
	conflict_release(&c);
	return rc;
}

static int put_resolvers_note(struct merger *m, const struct rs_note *n, const struct made_copy *copies,
			      size_t n_copies)
{
	return put_note(m, n, strcmp(n->kind, "content") == 0 ? merge_bytes_record(m, n->ino) : NULL, copies, n_copies);
}

/* ---- all of it
 * --------------------------------------------------------------------------------------------------------------- */

static bool is_save(struct merger *m, uint64_t ino)
{
	for (size_t i = 0; i < m->n_saves; i++)
		if (m->saves[i].ino_s == ino && m->saves[i].verdict != RS_CONTENT_KEEP_BOTH)
			return true;
	return false;
}

/* What was an alias of src itself is one of dst now. */
static int note_alias(struct merger *m, const struct rs_alias *a)
{
	enum lineage_class c = a->is_link ? LINEAGE_LINK : LINEAGE_INODE;
	struct lineage lin = {
		.src = a->src, .dst = a->dst, .grp = group_number(m->v), .kind = a->is_link ? 'l' : 'a'
	};
	uint64_t older;
	int rc;

	/* The secondary has it by that id, if it has one of its own for it. */
	if (lineage_source(m->v, c, a->src, &older) == 0)
		lin.src = older;
	rc = lineage_put(m->v, &lin);
	/* What it has there is ours; but of a file saved anew it is what landing its bytes says. */
	return rc || a->is_link || is_save(m, a->src) ? rc : merge_note_base(m, lin.src, lin.dst);
}

static int land_names(struct merger *m, struct rs_result *r, struct plan *p, struct made_copy *copies)
{
	int rc = units_make_clones(m, r, p->list, &p->n);

	for (size_t i = 0; rc == 0 && i < r->n_copies; i++)
		rc = make_copy(m, merge_bytes_record(m, r->copies[i].ino), &r->copies[i], &copies[i], &p->list[p->n++]);
	if (rc == 0)
		rc = merge_begin_aside(m, r);
	for (size_t i = 0; rc == 0 && i < r->n_links; i++)
		if (!map_get(&m->aside_link, r->links[i].id, NULL))
			rc = plan_link(m, p, &r->links[i]);
	if (rc == 0 && !ends_are_left(m))
		rc = -EUCLEAN;
	if (rc == 0)
		rc = land_links(m->v, p->list, p->n);
	if (rc == 0)
		rc = merge_put_aside(m, r);
	for (size_t i = 0; rc == 0 && i < p->n_touch; i++)
		rc = merge_touch_link(m, p->touch[i]);
	for (size_t i = 0; rc == 0 && i < r->n_aliases; i++)
		rc = note_alias(m, &r->aliases[i]);
	return rc ? rc : touch_aliases(m);
}

/* Inodes that a fresh alias swallowed have no row here; their records are of no more use. */
static void drop_aliased_records(struct merger *m, const struct rs_result *r)
{
	for (size_t i = 0; i < r->n_aliases; i++) {
		struct norm_inode *n = r->aliases[i].is_link ? NULL : merge_bytes_record(m, r->aliases[i].src);

		if (!n)
			continue;
		n->aliased = true;
		n->fused = !n->saved;
		n->ino = n->bytes_ino = r->aliases[i].dst;
		map_put(&m->ni_by_bytes, n->bytes_ino, (uint64_t)(n - m->ni) + 1);
	}
}

/* Does the secondary say that it could not place something of ours? */
static bool is_skip_report(struct merger *m, const struct norm_link *n)
{
	uint64_t at;

	return n->missing || (n->report && map_get(&m->link_at, n->link, &at) &&
			      !merge_same_pos(&m->links[at - 1].p, &m->links[at - 1].s));
}

static int list_in_flight(void *ctx, uint64_t link, const struct change_row *row)
{
	struct map *list = ctx;

	map_put(list, link, row->child);
	return 0;
}

/*
 * What it could not place may hang together with what is on its way to it just now. Each half alone makes no valid tree
 * there, so both are sent again, together; or the halves would cross the reports of the other half for ever.
 */
static int send_together(struct merger *m)
{
	struct map list = MAP_INIT;
	struct change_row row;
	uint64_t link, child;
	size_t it = 0;
	bool any = false;
	int rc = 0;

	for (size_t i = 0; i < m->n_nl && !any; i++)
		any = is_skip_report(m, &m->nl[i]);
	if (any)
		rc = changes_links(m->v, m->s->begin.seen, GROUP_MAX, list_in_flight, &list);
	while (rc == 0 && map_next(&list, &it, &link, &child)) {
		struct dentry d;
		bool here = tree_link_get(m->v, link, &d) == 0;

		rc = changes_touch_link(m->v, link, here ? d.child : child, false, !here);
		if (rc == 0 && here && changes_get(m->v, d.child, ENT_NEW, &row) == 0)
			rc = changes_touch_whole(m->v, d.child);
	}
	map_release(&list);
	return rc;
}

/* What the secondary did to its own is in the copy, and of ours, which it left alone, it gets what differs. */
static int resend_unit_file(struct merger *m, struct norm_inode *n)
{
	uint32_t fields = n->rec->fields & REC_NEW ? UINT32_MAX : n->rec->fields;
	struct inode in;
	int rc = 0;

	if (tree_inode_get(m->v, n->rec->ino, &in) < 0)
		return 0;
	if ((fields & REC_CONTENT) && S_ISREG(n->rec->mode))
		rc = merge_resend_original(m, n);
	for (uint32_t f = REC_MODE; rc == 0 && f <= REC_TIMES; f <<= 1)
		if (fields & f)
			rc = changes_touch(m->v, n->rec->ino, entity_of(f));
	return rc;
}

/*
 * Nothing that the secondary wrote may be left out because of what its ids are taken to mean: of a file that stays as
 * it is here there has to be a clone. If not, the ids mean what they say.
 */
static int all_has_a_place(struct merger *m, const struct rs_result *r)
{
	struct map cloned = MAP_INIT;
	int rc = 0;

	if (map_count(&m->of_inode) == 0)
		return 0;
	for (size_t i = 0; i < r->n_clones; i++)
		map_put(&cloned, r->clones[i].of, 1);
	for (size_t i = 0; rc == 0 && i < m->n_ni; i++) {
		const struct norm_inode *n = &m->ni[i];

		if ((n->rec->fields & REC_CONTENT) && !n->beside && !n->redirected_bytes && units_kept(m, n->ino) &&
		    !map_get(&cloned, n->ino, NULL))
			rc = -EUCLEAN;
	}
	map_release(&cloned);
	return rc;
}

static int land_record(struct merger *m, struct norm_inode *n)
{
	struct inode in;
	int rc = n->in_copy ? resend_unit_file(m, n) : 0; /* while the staged ranges are there to be asked for */

	if (rc < 0)
		return rc;
	if (n->beside)
		return land_beside(m, n);
	if (units_kept(m, n->ino) && !n->redirected_bytes)
		return units_send_back(m, n);
	if (units_kept(m, n->ino)) /* its bytes are in a copy of the file */
		rc = units_send_back_attrs(m, n);
	if (rc < 0)
		return rc;
	if (tree_inode_get(m->v, n->bytes_ino, &in) == 0)
		return land_bytes(m, n);
	return n->in_copy && (n->rec->fields & REC_CONTENT) ? -EUCLEAN : 0;
}

int merge_land(struct merger *m, struct rs_result *r)
{
	struct plan p = { .list = xcalloc(r->n_links + r->n_copies + r->n_clone_links + 1, sizeof(*p.list)),
			  .touch = xcalloc(r->n_links + 1, sizeof(*p.touch)) };
	struct made_copy *copies = xcalloc(r->n_copies + 1, sizeof(*copies));
	int rc = all_has_a_place(m, r);

	if (rc == 0)
		rc = merge_saves_follow(m, r);
	if (rc == 0)
		rc = land_names(m, r, &p, copies);
	drop_aliased_records(m, r);
	for (size_t i = 0; rc == 0 && i < m->n_follows; i++) /* before that lands in the backups */
		rc = land_bytes(m, &m->follows[i]);
	/* What it calls by an id of its own comes last: what it has by ours may be the same file here. */
	for (size_t i = 0; rc == 0 && i < 2 * m->n_ni; i++) {
		struct norm_inode *n = &m->ni[i % m->n_ni];

		if ((n->aliased || n->redirected_bytes) != (i >= m->n_ni))
			continue;
		rc = land_record(m, n);
	}
	for (size_t i = 0; rc == 0 && i < r->n_copies; i++)
		rc = record_copy(m, merge_bytes_record(m, copies[i].of), &copies[i]);
	if (rc == 0)
		rc = land_attributes(m, r);
	if (rc == 0)
		rc = merge_saves_land(m);
	if (rc == 0 && merge_prefers(m) == RS_PREFER_S)
		rc = merge_take_back(m);
	if (rc == 0)
		rc = let_acls_agree(m);
	for (size_t i = 0; rc == 0 && i < m->n_ni; i++)
		if (m->ni[i].made_again)
			rc = changes_touch_whole(m->v, m->ni[i].ino);
	if (rc == 0)
		rc = send_what_it_lacks(m, r);
	if (rc == 0)
		rc = send_together(m);
	for (size_t i = 0; rc == 0 && i < r->n_notes; i++)
		rc = is_told_with_mode(m, r->notes, i) ? 0 : put_resolvers_note(m, &r->notes[i], copies, r->n_copies);
	if (rc == 0)
		rc = follow_shipment(m->v, m->s);
	if (rc == 0)
		rc = land_reap(m->v, p.list, p.n);
	free(p.list);
	free(p.touch);
	free(copies);
	return rc;
}

static void show_pos(const char *which, const struct rs_pos *p)
{
	if (p->present)
		log_debug("merge", "    %s: in %#llx as %.*s", which, (unsigned long long)p->parent, (int)p->name_len,
			  p->name);
}

static void show_input(const struct merger *m)
{
	for (size_t i = 0; i < m->n_links && log_debug_on("merge"); i++) {
		log_debug("merge", "link %#llx -> %#llx", (unsigned long long)m->links[i].id,
			  (unsigned long long)m->links[i].child);
		show_pos("b", &m->links[i].b);
		show_pos("p", &m->links[i].p);
		show_pos("s", &m->links[i].s);
	}
}

/*
 * What we believe the secondary to have made no valid tree together with what it says: it had skipped or taken
 * something that we do not know of yet. Then only its own words count: of all it does not mention it is taken to have
 * what we have, and gets that again. moves_too: nor are its moves believed (they would close a loop): names stay where
 * they are here, no content depends on that.
 */
static int believe_records_only(struct merger *m, bool moves_too)
{
	int rc = 0;

	for (size_t i = 0; i < m->n_links; i++) {
		struct rs_link *l = &m->links[i];
		uint64_t at;

		map_put(&m->link_at, l->id, i + 1);
		if (!l->p.present || (map_get(&m->nl_by_link, l->id, &at) && (!moves_too || !l->s.present)))
			continue;
		/* What holds nothing and is new to it breaks no tree: it would be in its copy of a unit. */
		if (l->b.present || l->s.present || map_get(&m->parents, l->child, NULL))
			l->b = l->s = l->p;
		if (rc == 0 && (moves_too || map_get(&m->p_changed, l->id, NULL)))
			rc = changes_touch_link(m->v, l->id, l->child, false, false);
	}
	merge_index(m);
	merge_presence(m);
	return rc;
}

static int resolve_shown(struct merger *m, struct rs_input *in, struct rs_result *r)
{
	bool own = families_show(m, in); /* none if a side is preferred: no units are loaded */
	uint64_t *units;
	size_t n_units = resolve_units(in, &units);
	int rc;

	free(units);
	/* While there are units to be kept whole nothing is merged because it was saved: it may be in one. */
	m->in_units = own || n_units > 0;
	if (m->in_units) {
		m->n_saves = in->n_saves = 0;
		in->saves = NULL;
		in->attrs = m->attrs;
		in->n_attrs = m->n_attrs;
		rc = 0;
	} else {
		rc = merge_saves_find(m, in);
	}
	rc = rc ? rc : resolve(in, r);

	if (rc == 0 && own) {
		rc = families_put_back(m, in, r);
		if (rc < 0)
			resolve_release(r);
	}
	if (own) {
		free(in->links);
		free(in->inodes);
	}
	return rc;
}

int merge_three_way(struct volume *v, struct shipment *s, const struct merge_names *names, struct driver_jobs *jobs,
		    uint64_t now_ms, struct prefer *prefer)
{
	struct merger m = { .v = v, .s = s, .names = names, .jobs = jobs, .now_ms = now_ms, .prefer = prefer };
	struct rs_result r = { 0 };
	int rc = merge_gather(&m);

	log_debug("merge", "shipment (%llu, %llu] seen %llu: %zu inodes, %zu links", (unsigned long long)s->begin.from,
		  (unsigned long long)s->begin.to, (unsigned long long)s->begin.seen, s->n_inodes, s->n_links);
	for (size_t i = 0; i < s->n_links; i++)
		log_debug("merge", "record: link %llx child %llx in %llx as %s seen %llu",
			  (unsigned long long)s->links[i].link, (unsigned long long)s->links[i].child,
			  (unsigned long long)s->links[i].parent, s->links[i].name,
			  (unsigned long long)s->links[i].seen);

	for (size_t i = 0; i < s->n_inodes; i++)
		log_debug("merge", "record: inode %llx fields %#x seen %llu size %llu cut to %lld",
			  (unsigned long long)s->inodes[i]->ino, s->inodes[i]->fields,
			  (unsigned long long)rec_seen(s->inodes[i], REC_CONTENT),
			  (unsigned long long)s->inodes[i]->size_bytes, (long long)s->inodes[i]->shrunk_to);

	if (rc == 0) {
		struct rs_input in = { .attrs = m.attrs,
				       .n_attrs = m.n_attrs,
				       .node_p = names->self,
				       .node_s = names->peer,
				       .root = INO_ROOT,
				       .prefer = merge_prefers(&m),
				       .ops = { .ctx = &m,
						.same_file = op_same_file,
						.content = op_content,
						.equal = op_equal,
						.name_taken = op_name_taken,
						.fold = name_fold } };

		rc = resolve_shown(&m, &in, &r);
		for (int moves_too = 0; rc == -EUCLEAN && moves_too < 2 && !s->is_part; moves_too++) {
			log_debug("merge", "no valid tree: the secondary's records alone count%s",
				  moves_too ? ", and none of its moves" : "");
			rc = believe_records_only(&m, moves_too);
			if (rc == 0)
				rc = resolve_shown(&m, &in, &r);
		}
		if (rc < 0)
			show_input(&m);
		log_debug("merge", "resolve of %zu links, %zu inodes: %d", m.n_links, m.n_inodes, rc);
		for (size_t i = 0; rc == 0 && i < r.n_links; i++)
			log_debug("merge", "link %llx -> child %llx in %llx as %.*s", (unsigned long long)r.links[i].id,
				  (unsigned long long)r.links[i].child, (unsigned long long)r.links[i].pos.parent,
				  (int)r.links[i].pos.name_len, r.links[i].pos.name ? r.links[i].pos.name : "");
	}
	if (rc == 0)
		rc = m.failed;
	if (rc == 0 && driver_jobs_waiting(jobs))
		rc = -EAGAIN;
	if (rc == 0) {
		/* The resolver sorted our arrays: find things in them again. */
		merge_index(&m);
		units_name(&m, &r);
		rc = merge_land(&m, &r);
		log_debug("merge", "landing it: %d", rc);
		if (rc < 0)
			show_input(&m);
	}
	resolve_release(&r);
	merge_release(&m);
	return rc;
}
