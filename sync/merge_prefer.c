/* SPDX-License-Identifier: MIT */
/*
 * Carrying out a person's word (prefer.h). The secondary's state is discarded: our tree stays as it is, the records
 * go aside and are answered with what we have. Ours is discarded: the links land where the secondary has them, as ever,
 * and here the rest of what we changed is taken back. What goes aside is in .twinfs/discarded-NODE-DATE/ under the path
 * that it had: a link that only the discarded side has is moved there (no byte is copied), of a file that stays a copy
 * is made.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "sync/merge_land.h"
#include "util/util.h"

bool merge_stays_ours(struct merger *m, uint64_t ino)
{
	const struct rs_inode *n = merge_prefers(m) == RS_PREFER_P ? merge_input_inode(m, ino) : NULL;

	return n && n->in_p && !n->late;
}

/* ---- did the other side change it? */

static int open_case(struct merger *m, struct norm_inode *n)
{
	int rc;

	if (n->open_case)
		return 0;
	n->open_case = true;
	rc = content_open(&n->cc, m->v, m->s, n->rec, n->bytes_ino, n->seen_bytes,
			  n->aliased || n->redirected_bytes ? &n->lin : NULL, "");
	if (rc == 0)
		rc = content_same(&n->cc);
	if (rc < 0)
		return rc;
	n->has_case = n->preferred = true;
	n->cc.verdict = rc == 1				      ? RS_CONTENT_EQUAL
			: merge_prefers(m) == RS_PREFER_P ? RS_CONTENT_PRIMARY
							      : RS_CONTENT_SECONDARY;
	return 0;
}

static bool has_content(const struct norm_inode *n)
{
	return n && (n->rec->fields & REC_CONTENT) && S_ISREG(n->rec->mode);
}

static int is_user_key(void *ctx, const char *key, const void *value, size_t len_bytes)
{
	(void)ctx;
	(void)value;
	(void)len_bytes;
	return xattr_is_of_users(key);
}

/*
 * What was taken back or brought back when the word was taken counts as changed by us. But what was ours went aside
 * then, and the bytes are those that the secondary had when it wrote to the file or removed it: there is nothing more
 * to keep.
 */
static bool is_taken_back(struct merger *m, uint64_t ino)
{
	const struct norm_inode *n = merge_bytes_record(m, ino);
	uint64_t from, size, seen;
	struct view view;

	if (merge_prefers(m) != RS_PREFER_S || m->prefer->pending || (n && (n->aliased || n->redirected_bytes)))
		return false;
	if (has_content(n))
		seen = n->seen_bytes;
	else if (!map_get(&m->bytes_seen, ino, &seen))
		return false;
	return content_known(m->v, ino, seen, &from, &view, &size) == 0 &&
	       content_is(m->v, ino, from, view, size) == 1;
}

enum rs_content merge_prefer_content(struct merger *m, uint64_t ino)
{
	struct norm_inode *n = merge_bytes_record(m, ino);
	uint64_t from, size;
	struct view view;

	if (has_content(n)) {
		if (open_case(m, n) < 0)
			return RS_CONTENT_KEEP_BOTH;
		if (n->cc.verdict != RS_CONTENT_EQUAL)
			return is_taken_back(m, ino) ? RS_CONTENT_EQUAL : RS_CONTENT_KEEP_BOTH;
	} else if (merge_prefers(m) == RS_PREFER_S &&
		   content_known(m->v, ino, m->s->begin.seen, &from, &view, &size) == 0 &&
		   content_is(m->v, ino, from, view, size) != 1) {
		return RS_CONTENT_KEEP_BOTH;
	}
	/* The same bytes; its user xattrs may be what was changed. */
	if (merge_prefers(m) == RS_PREFER_P)
		return shipment_xattr(m->s, ino, NULL) ? RS_CONTENT_KEEP_BOTH : RS_CONTENT_EQUAL;
	return tree_xattrs(m->v, ino, is_user_key, NULL) == 1 ? RS_CONTENT_KEEP_BOTH : RS_CONTENT_EQUAL;
}

/* ---- where it goes */

static const struct rs_pos *discarded_pos(const struct merger *m, const struct rs_link *l)
{
	return merge_prefers(m) == RS_PREFER_P ? &l->s : &l->p;
}

/* `name` in the directory, or, if that is taken, "name-2" and so on. */
static size_t free_name(struct merger *m, uint64_t dir, const char *name, size_t len, char out[NAME_MAX_BYTES + 1])
{
	struct dentry d;
	unsigned n = 1;

	memcpy(out, name, len);
	while (tree_lookup(m->v, dir, out, len, &d) == 0) {
		char tail[16];
		size_t tail_len = (size_t)snprintf(tail, sizeof(tail), "-%u", ++n);

		len = MIN(len, NAME_MAX_BYTES - sizeof(tail));
		memcpy(out + len, tail, tail_len);
		len += tail_len;
	}
	out[len] = '\0';
	return len;
}

static int place(struct merger *m, uint64_t link, uint64_t parent, const char *name, size_t len, uint64_t child)
{
	char text[NAME_MAX_BYTES + 1];

	len = free_name(m, parent, name, len, text);
	return tree_link_put(m->v, link, parent, text, len, child, ORIGIN_LOCAL);
}

/* A new inode of ours, with the attributes that are in `in`, under a new link. */
static int make(struct merger *m, struct inode *in, uint64_t parent, const char *name, size_t len, uint64_t *ino)
{
	uint64_t link = id_new(m->v);
	int rc;

	*ino = in->ino = id_new(m->v);
	in->nlink = S_ISDIR(in->mode) ? 2 : 0;
	in->size_bytes = 0;
	in->shrunk_to = UINT64_MAX;
	in->origin = in->corigin = ORIGIN_LOCAL;
	in->cborn = group_number(m->v);
	rc = tree_inode_put(m->v, in);
	if (rc == 0)
		rc = place(m, link, parent, name, len, *ino);
	if (rc == 0)
		rc = changes_touch_link(m->v, link, *ino, true, false);
	return rc ? rc : changes_touch_whole(m->v, *ino);
}

/* A directory of those above things aside: whoever may not look into the one it stands for may not look into it. */
int merge_make_dir_like(struct merger *m, uint64_t like, uint64_t parent, const char *name, size_t len, uint64_t *ino)
{
	const struct rec_inode *r = shipment_inode(m->s, like);
	struct inode *in = xcalloc(1, sizeof(*in));
	bool here = tree_inode_get(m->v, like, in) == 0;
	int rc;

	if (!here) {
		in->mode = r && S_ISDIR(r->mode) ? r->mode : S_IFDIR | 0700;
		in->uid = r ? r->uid : 0;
		in->gid = r ? r->gid : 0;
		in->atime_ns = in->mtime_ns = in->ctime_ns = (int64_t)m->now_ms * 1000000;
	}
	rc = make(m, in, parent, name, len, ino);
	if (rc == 0 && here)
		rc = merge_take_acl(m->v, like, (struct view){ .kind = VIEW_NOW }, *ino, ORIGIN_LOCAL);
	free(in);
	return rc;
}

/* .twinfs/discarded-NODE-DATE, made when the first thing goes there; and the note that people see leads to it. */
static int top_dir(struct merger *m, uint64_t *ino)
{
	const char *node = merge_prefers(m) == RS_PREFER_P ? m->names->peer : m->names->self;
	time_t t = (time_t)(m->prefer->when_ms / 1000);
	char name[NAME_MAX_BYTES + 1], stamp[24];
	struct inode in;
	struct tm tm;
	int rc;

	*ino = m->prefer->top;
	if (*ino && tree_inode_get(m->v, *ino, &in) == 0 && in.nlink > 0)
		return 0;
	gmtime_r(&t, &tm);
	strftime(stamp, sizeof(stamp), "%Y%m%d-%H%M%S", &tm);
	snprintf(name, sizeof(name), "discarded-%.32s-%s", node, stamp);
	rc = merge_make_dir_like(m, INO_ROOT, INO_HIDDEN, name, strlen(name), ino);
	m->prefer->top = *ino;
	return rc ? rc : prefer_note(m->v, m->prefer, m->names->self, m->names->peer);
}

static const struct rs_link *link_of_dir(struct merger *m, uint64_t dir)
{
	uint64_t at;

	return map_get(&m->dir_link, dir, &at) ? &m->links[at - 1] : NULL;
}

/* Where that goes which the discarded side has in the directory: into the directory itself if it goes aside, else into
 * one made for it. */
static int mirror(struct merger *m, uint64_t dir, uint64_t *out)
{
	struct chain {
		const struct rs_pos *at;
		uint64_t dir;
	} *chain = NULL;
	size_t n = 0, cap = 0;
	int rc = 0;

	*out = 0;
	for (; *out == 0; dir = chain[n++].at->parent) {
		const struct rs_link *l = NULL;

		if (map_get(&m->aside_dir, dir, out))
			break;
		l = dir > INO_HIDDEN ? link_of_dir(m, dir) : NULL;
		if (!l || n > m->n_links) {
			rc = top_dir(m, out);
			break;
		}
		if (n == cap) {
			cap = cap ? cap * 2 : 16;
			chain = xrealloc(chain, cap * sizeof(*chain));
		}
		chain[n] = (struct chain){ .at = discarded_pos(m, l), .dir = dir };
	}
	while (rc == 0 && n-- > 0) {
		const struct rs_pos *at = chain[n].at;
		struct dentry d;
		struct inode in;
		uint64_t parent = *out;

		/* An earlier shipment under the same word may have made it. */
		if (tree_lookup(m->v, parent, at->name, at->name_len, &d) == 0 &&
		    tree_inode_get(m->v, d.child, &in) == 0 && S_ISDIR(in.mode))
			*out = d.child;
		else
			rc = merge_make_dir_like(m, chain[n].dir, parent, at->name, at->name_len, out);
		map_put(&m->aside_dir, chain[n].dir, *out);
	}
	free(chain);
	return rc;
}

/* ---- things go there */

static int copy_their_xattrs(struct merger *m, const struct norm_inode *n, uint64_t src, uint64_t to)
{
	int rc = n ? merge_copy_acl(m, n, to) : 0;

	for (size_t i = 0; rc == 0 && i < m->s->n_xattrs; i++) {
		const struct ship_xattr *x = &m->s->xattrs[i];

		if (x->ino == src && x->value && !acl_is_key(x->key))
			rc = tree_xattr_put(m->v, to, x->key, x->value, x->value_len, ORIGIN_LOCAL);
	}
	return rc;
}

/* The secondary's version of a file, whole. */
static int copy_theirs(struct merger *m, struct norm_inode *n, uint64_t ino, uint64_t parent, const char *name,
		       size_t len, uint64_t *copy)
{
	struct inode *in = xcalloc(1, sizeof(*in));
	uint64_t from, size;
	struct view view;
	int rc = tree_inode_get(m->v, ino, in);

	if (rc == 0 && n) {
		in->mode = n->rec->mode;
		in->uid = n->rec->uid;
		in->gid = n->rec->gid;
		in->atime_ns = n->rec->atime_ns;
		in->mtime_ns = n->rec->mtime_ns;
	}
	if (rc == 0)
		rc = make(m, in, parent, name, len, copy);
	if (rc == 0 && has_content(n)) {
		rc = content_land_copy(&n->cc, *copy);
	} else if (rc == 0) { /* only its xattrs were changed */
		rc = content_known(m->v, ino, m->s->begin.seen, &from, &view, &size);
		if (rc == 0)
			rc = content_copy(m->v, from, view, size, *copy, ORIGIN_LOCAL);
		rc = rc == -ENOENT ? 0 : rc;
	}
	if (rc == 0)
		rc = copy_their_xattrs(m, n, n ? n->rec->ino : ino, *copy);
	free(in);
	return rc ? rc : changes_touch_whole(m->v, *copy);
}

/* Our version of a file, whole. */
static int copy_ours(struct merger *m, uint64_t ino, uint64_t parent, const char *name, size_t len)
{
	const struct view now = { .kind = VIEW_NOW };
	struct inode *in = xcalloc(1, sizeof(*in));
	uint64_t copy = 0, size;
	int rc = tree_inode_get(m->v, ino, in);

	size = in->size_bytes;
	if (rc == 0)
		rc = make(m, in, parent, name, len, &copy);
	if (rc == 0)
		rc = content_copy(m->v, ino, now, size, copy, ORIGIN_LOCAL);
	if (rc == 0)
		rc = merge_copy_xattrs(m, ino, copy);
	if (rc == 0)
		rc = merge_take_acl(m->v, ino, now, copy, ORIGIN_LOCAL);
	free(in);
	return rc ? rc : changes_touch_whole(m->v, copy);
}

static int copy_aside(struct merger *m, const struct rs_aside *a)
{
	struct norm_inode *n = merge_bytes_record(m, a->ino);
	uint64_t parent, copy = 0;
	int rc = mirror(m, a->parent, &parent);

	if (rc == 0 && merge_prefers(m) == RS_PREFER_S)
		return copy_ours(m, a->ino, parent, a->name, a->name_len);
	if (rc == 0)
		rc = copy_theirs(m, n, a->ino, parent, a->name, a->name_len, &copy);
	if (!has_content(n))
		return rc;
	n->is_aside = true;
	/* What it writes on is not for the copy, but on top of what is in it. */
	return rc == 0 ? merge_note_base(m, n->rec->ino, copy) : rc;
}

static int link_aside(struct merger *m, const struct rs_aside *a)
{
	const struct rs_inode *n = merge_input_inode(m, a->ino);
	struct norm_link *rec = NULL;
	uint64_t parent, at;
	struct dentry d;
	int rc = mirror(m, a->parent, &parent);

	if (map_get(&m->nl_by_link, a->link, &at))
		rec = &m->nl[at - 1];
	if (rc == 0 && (tree_link_get(m->v, a->link, &d) < 0 || d.parent != parent || d.name_len != a->name_len ||
			memcmp(d.name, a->name, d.name_len) != 0))
		rc = place(m, a->link, parent, a->name, a->name_len, a->ino);
	if (rc == 0 && rec)
		rc = merge_remember_theirs(m, rec, group_number(m->v));
	/* The secondary has no such file, or has none any more. */
	if (rc == 0 && n && !n->in_s)
		rc = changes_touch_whole(m->v, a->ino);
	return rc ? rc : merge_touch_link(m, a->link);
}

/* Its name in the tree may be wanted by what stays; what is in a directory that goes aside goes with it. */
static int out_of_the_way(struct merger *m, const struct rs_aside *a)
{
	char name[20];
	struct dentry d;
	uint64_t top;
	int rc;

	if (map_get(&m->aside_dir, a->parent, NULL) || tree_link_get(m->v, a->link, &d) < 0)
		return 0;
	rc = top_dir(m, &top);
	snprintf(name, sizeof(name), "%llx", (unsigned long long)a->link);
	return rc ? rc : place(m, a->link, top, name, strlen(name), a->ino);
}

/* Each side removed another one of its names: nobody removed the last one that he saw. */
static bool is_of_two_removals(struct merger *m, const struct rs_aside *a)
{
	uint64_t at;

	return map_get(&m->link_at, a->link, &at) && m->links[at - 1].returns && m->links[at - 1].p.present;
}

int merge_begin_aside(struct merger *m, const struct rs_result *r)
{
	uint64_t how;
	int rc = 0;

	for (size_t i = 0; m->prefer && i < m->n_links; i++)
		if (discarded_pos(m, &m->links[i])->present)
			map_put(&m->dir_link, m->links[i].child, i + 1);
	for (size_t i = 0; rc == 0 && i < r->n_asides; i++) {
		const struct rs_aside *a = &r->asides[i];
		const struct rs_inode *n = merge_input_inode(m, a->ino);
		uint64_t at;

		if (a->link == 0 || (is_taken_back(m, a->ino) && !is_of_two_removals(m, a)))
			continue;
		rc = merge_ensure_inode(m, a->ino);
		if (rc == -ENOENT) { /* not even history has it: the secondary keeps it, and sends it anew */
			rc = merge_ask_for(m, a->link, a->ino,
					   map_get(&m->nl_by_link, a->link, &at) ? &m->nl[at - 1] : NULL);
			map_put(&m->aside_link, a->link, 2);
		} else if (rc == 0) {
			map_put(&m->aside_link, a->link, 1);
			if (n && S_ISDIR(n->type))
				map_put(&m->aside_dir, a->ino, a->ino);
		}
	}
	for (size_t i = 0; rc == 0 && i < r->n_asides; i++)
		if (r->asides[i].link && map_get(&m->aside_link, r->asides[i].link, &how) && how == 1)
			rc = out_of_the_way(m, &r->asides[i]);
	return rc;
}

int merge_put_aside(struct merger *m, const struct rs_result *r)
{
	uint64_t how;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < r->n_asides; i++) {
		if (r->asides[i].link == 0)
			rc = copy_aside(m, &r->asides[i]);
		else if (map_get(&m->aside_link, r->asides[i].link, &how) && how == 1)
			rc = link_aside(m, &r->asides[i]);
	}
	return rc;
}

/* ---- the secondary's bytes of files that stay ours */

/* What it wrote belongs to another file by now (a conflict copy of its version, or what its file became), and it does
 * not know that yet. */
static int keep_redirected(struct merger *m, struct norm_inode *n)
{
	uint64_t parent = INO_ROOT, copy = 0;
	const char *name = "unknown";
	size_t len = strlen(name);
	int rc = n->redirected_bytes ? merge_resend_original(m, n) : 0;

	if (rc || n->is_aside)
		return rc;
	for (size_t i = 0; i < m->n_links; i++)
		if (m->links[i].child == n->ino && m->links[i].s.present) {
			parent = m->links[i].s.parent;
			name = m->links[i].s.name;
			len = m->links[i].s.name_len;
		}
	rc = mirror(m, parent, &parent);
	if (rc == 0)
		rc = copy_theirs(m, n, n->bytes_ino, parent, name, len, &copy);
	return rc ? rc : merge_note_base(m, n->rec->ino, copy);
}

int merge_keep_ours(struct merger *m, struct norm_inode *n)
{
	int rc = open_case(m, n);

	if (rc < 0)
		return rc;
	if (n->cc.verdict == RS_CONTENT_EQUAL)
		return merge_land_equal(m, n);
	if (n->redirected_bytes || n->aliased)
		rc = keep_redirected(m, n);
	return rc ? rc : content_send_back(&n->cc);
}

/* ---- what we changed is taken back */

int merge_take_theirs(struct merger *m, struct norm_inode *n)
{
	struct content_case *c = &n->cc;
	uint64_t from = c->base_ino, size = c->base_size;
	struct view view = c->base;
	int rc = content_send_back(c); /* first: it asks for what is staged */

	if (rc == 0 && c->mixed) /* a version that is kept may tell */
		rc = content_known(m->v, n->ino, rec_seen(n->rec, REC_CONTENT), &from, &view, &size);
	if (rc == 0)
		rc = content_copy(m->v, from, view, c->theirs_whole ? 0 : size, n->ino, ORIGIN_LOCAL);
	if (rc == 0)
		rc = land_content(m->v, m->s, n->rec, n->ino, ORIGIN_PEER);
	return rc ? rc : merge_note_base(m, n->rec->ino, n->ino);
}

static bool ours_since(struct merger *m, uint64_t ino, enum entity what)
{
	return p_changed_inode(m->v, ino, what, m->s->begin.seen) &&
	       !p_changed_inode(m->v, ino, what, m->prefer->ours_upto);
}

static int take_attrs_back(struct merger *m, uint64_t ino, uint32_t sent)
{
	const struct view known = { .kind = VIEW_PEER, .group = m->s->begin.seen };
	struct inode *in = xmalloc(2 * sizeof(*in)), *was = in + 1;
	bool mode = !(sent & REC_MODE) && ours_since(m, ino, ENT_MODE);
	bool owner = !(sent & REC_OWNER) && ours_since(m, ino, ENT_OWNER);
	bool times = !(sent & REC_TIMES) && ours_since(m, ino, ENT_TIMES);
	int rc = !mode && !owner && !times ? -ENOENT : tree_inode_get(m->v, ino, in);

	if (rc == 0)
		rc = tree_inode_view(m->v, ino, known, was);
	if (rc == 0) { /* what was taken back before is no change of now */
		mode = mode && in->mode != was->mode;
		owner = owner && (in->uid != was->uid || in->gid != was->gid);
		times = times && (in->atime_ns != was->atime_ns || in->mtime_ns != was->mtime_ns);
		rc = merge_tell_ours_undone(m, in, (mode ? REC_MODE : 0) | (owner ? REC_OWNER : 0));
	}
	if (rc == 0) {
		if (mode)
			in->mode = was->mode;
		if (owner) {
			in->uid = was->uid;
			in->gid = was->gid;
		}
		if (times) {
			in->atime_ns = was->atime_ns;
			in->mtime_ns = was->mtime_ns;
		}
		in->origin = ORIGIN_LOCAL;
		rc = tree_inode_put(m->v, in);
	}
	if (rc == 0 && mode)
		rc = changes_touch(m->v, ino, ENT_MODE);
	if (rc == 0 && owner)
		rc = changes_touch(m->v, ino, ENT_OWNER);
	if (rc == 0 && times)
		rc = changes_touch(m->v, ino, ENT_TIMES);
	free(in);
	return rc == -ENOENT ? 0 : rc;
}

/* What the secondary writes to it is not for the conflict copy that has its version, but for the file. */
static int forget_copy(struct merger *m, uint64_t ino)
{
	struct lineage lin;

	if (lineage_get(m->v, LINEAGE_INODE, ino, &lin) < 0 || lin.kind != 'c' || lin.grp > m->prefer->ours_upto)
		return 0;
	return lineage_drop(m->v, LINEAGE_INODE, ino);
}

static int take_inode_back(struct merger *m, const struct rs_inode *n)
{
	const struct norm_inode *rec = merge_bytes_record(m, n->ino);
	struct inode in;
	uint64_t at;
	uint32_t sent = map_get(&m->ni_by_ino, n->ino, &at) ? m->ni[at - 1].rec->fields : 0;
	int rc = 0;

	if (!n->in_s || merge_is_hidden(m, n->ino) || tree_inode_get(m->v, n->ino, &in) < 0)
		return 0;
	if (!n->late)
		rc = forget_copy(m, n->ino);
	if (rc < 0)
		return rc;
	/* What was deleted here is back as it was here last. */
	if (S_ISREG(in.mode) && !n->late && !has_content(rec) && (!n->in_p || ours_since(m, n->ino, ENT_CONTENT))) {
		rc = content_take_back(m->v, n->ino, m->s->begin.seen);
		if (rc < 0)
			return rc;
	}
	return take_attrs_back(m, n->ino, sent);
}

struct key_list {
	struct merger *m;
	bool other; /* the keys in which a conflict kept the secondary's value, or all but these */
	uint64_t ino; /* list_had */
	struct key {
		struct key *next;
		uint64_t ino;
		char key[];
	} *head;
};

static void list_key_of(struct key_list *l, uint64_t ino, const char *key)
{
	struct key *k;

	if ((strncmp(key, CONFLICT_XATTR, strlen(CONFLICT_XATTR)) == 0) != l->other ||
	    shipment_xattr(l->m->s, ino, key))
		return;
	k = xmalloc(sizeof(*k) + strlen(key) + 1);
	k->next = l->head;
	k->ino = ino;
	memcpy(k->key, key, strlen(key) + 1);
	l->head = k;
}

static int list_changed(void *ctx, uint64_t ino, const char *key, const struct change_row *row)
{
	struct key_list *l = ctx;
	const struct rs_inode *n = merge_input_inode(l->m, ino);

	if (row->grp <= l->m->prefer->ours_upto && n && n->in_s && !merge_is_hidden(l->m, ino))
		list_key_of(l, ino, key);
	return 0;
}

static int list_had(void *ctx, const char *key, const void *value, size_t len_bytes)
{
	struct key_list *l = ctx;

	(void)value;
	(void)len_bytes;
	list_key_of(l, l->ino, key);
	return 0;
}

/* What we deleted is back, and no row is left of what we changed of it before. */
static int list_of_deleted(struct key_list *l)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < l->m->n_inodes; i++) {
		const struct rs_inode *n = &l->m->inodes[i];

		l->ino = n->ino;
		if (n->in_s && !n->in_p && !n->late && !merge_is_hidden(l->m, n->ino))
			rc = tree_xattrs_ever(l->m->v, n->ino, list_had, l);
	}
	return rc;
}

/* len < 0: it has none. */
static bool has_value(struct volume *v, uint64_t ino, const char *key, const uint8_t *value, ssize_t len)
{
	uint8_t *now = xmalloc(XATTR_VALUE_MAX_BYTES);
	ssize_t n = tree_xattr_get(v, ino, key, now, XATTR_VALUE_MAX_BYTES);
	bool same = len < 0 ? n == -ENODATA : n == len && memcmp(now, value, (size_t)len) == 0;

	free(now);
	return same;
}

static int take_xattrs_back(struct merger *m, bool other)
{
	const struct view known = { .kind = VIEW_PEER, .group = m->s->begin.seen };
	struct key_list l = { .m = m, .other = other };
	uint8_t *value = xmalloc(XATTR_VALUE_MAX_BYTES);
	int rc = changes_xattrs(m->v, m->s->begin.seen, GROUP_MAX, list_changed, &l);

	if (rc == 0)
		rc = list_of_deleted(&l);
	while (l.head) {
		struct key *k = l.head;
		ssize_t n = rc ? rc : tree_xattr_get_view(m->v, k->ino, k->key, known, value, XATTR_VALUE_MAX_BYTES);
		struct inode in;

		if (rc == 0 && n < 0 && n != -ENODATA)
			rc = (int)n;
		if (rc == 0 && tree_inode_get(m->v, k->ino, &in) == 0 &&
		    !has_value(m->v, k->ino, k->key, value, n)) {
			rc = tree_xattr_put(m->v, k->ino, k->key, n < 0 ? NULL : value, n < 0 ? 0 : (size_t)n,
					    ORIGIN_LOCAL);
			if (rc == 0 || rc == -ENODATA)
				rc = changes_touch_xattr(m->v, k->ino, k->key);
		}
		l.head = k->next;
		free(k);
	}
	free(value);
	return rc;
}

/* It has heard of the conflict, which was settled here since: a version that is kept for that was here then. */
static bool was_heard(struct merger *m, const struct conflict *c)
{
	const struct view known = { .kind = VIEW_AT, .group = m->s->begin.seen };
	uint64_t ino = c->version[1].ino;
	struct inode *in = xmalloc(sizeof(*in));
	bool heard = ino && ino != c->ino && tree_inode_view(m->v, ino, known, in) == 0;

	free(in);
	return heard;
}

/*
 * The secondary's attribute arrived before the word and ours stood against it, of which it has not heard: it has its
 * own still, and does not send it again. What it had is in the note.
 */
static bool is_as_noted(void *ctx, const struct conflict *c)
{
	struct merger *m = ctx;
	const struct rs_inode *n = merge_input_inode(m, c->ino);
	const char *value = c->version[1].value;
	uint64_t at;
	uint32_t sent = map_get(&m->ni_by_ino, c->ino, &at) ? m->ni[at - 1].rec->fields : 0;
	char key[XATTR_NAME_MAX_BYTES + 1];
	struct noted_attribute a;

	if (!n || !n->in_s || merge_is_hidden(m, c->ino))
		return false;
	if (strcmp(c->kind, "content") == 0)
		return !n->late && !(sent & (REC_CONTENT | REC_TIMES)) && !was_heard(m, c);
	if (strcmp(c->kind, "xattr") == 0) {
		snprintf(key, sizeof(key), "%.*s", (int)MIN(strcspn(value, "=, "), sizeof(key) - 1), value);
		return !shipment_xattr(m->s, c->ino, key);
	}
	a = conflict_noted(value);
	if (a.what == NOTED_OWNER)
		return !(sent & REC_OWNER);
	if (a.what == NOTED_ACL && strncmp(a.acl, "default:", 8) == 0)
		return !shipment_xattr(m->s, c->ino, ACL_DEFAULT_KEY);
	return !(sent & REC_MODE) && !shipment_xattr(m->s, c->ino, ACL_ACCESS_KEY);
}

int merge_take_back(struct merger *m)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < m->n_inodes; i++)
		rc = take_inode_back(m, &m->inodes[i]);
	if (rc == 0)
		rc = take_xattrs_back(m, false);
	if (rc == 0)
		rc = conflicts_give_way(m->v, m->s->begin.seen, m->prefer->ours_upto, is_as_noted, m);
	if (rc == 0)
		rc = take_xattrs_back(m, true);
	/* An ACL that the secondary removed, or left alone as it had set the mode, may have come back. */
	for (size_t i = 0; rc == 0 && i < m->n_inodes; i++)
		if (m->inodes[i].in_s && !merge_is_hidden(m, m->inodes[i].ino))
			rc = merge_let_acl_agree(m, m->inodes[i].ino);
	return rc;
}
