/* SPDX-License-Identifier: MIT */
/* History: which old versions are kept, what the tree looked like, and how something comes back from it. */
#include "core/internal.h"

#include "core/leftover.h"
#include "db/dentry_rows.h"
#include "db/inode_rows.h"
#include "db/meta_rows.h"
#include "db/xattr_rows.h"
#include "util/util.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool history_wanted(const struct volume *v, uint64_t born, enum origin origin)
{
	return v->info.role != ROLE_NONE && (born <= v->info.cut || origin == ORIGIN_PEER) &&
	       v->info.group_open > v->info.acked;
}

int tree_inode_view(struct volume *v, uint64_t ino, struct view view, struct inode *out)
{
	switch (view.kind) {
	case VIEW_AT:
		return inode_row_at(v->db, ino, view.group, out);
	case VIEW_PEER:
		return inode_row_peer(v->db, ino, view.group, out);
	default:
		return tree_inode_get(v, ino, out);
	}
}

int tree_link_view(struct volume *v, uint64_t link, struct view view, struct dentry *out)
{
	switch (view.kind) {
	case VIEW_AT:
		return dentry_row_at(v->db, link, view.group, out);
	case VIEW_PEER:
		return dentry_row_peer(v->db, link, view.group, out);
	default:
		return dentry_row_get(v->db, link, out);
	}
}

int tree_inode_last(struct volume *v, uint64_t ino, struct view *view)
{
	uint64_t died;
	int rc = v->watch.looking && volume_is_orphan(v, ino) ? -EBUSY : tree_orphan_end(v, ino);

	if (rc == 0)
		rc = inode_row_died(v->db, ino, &died);
	if (rc == 0 && died <= v->info.acked)
		rc = -ENOENT; /* only a pin holds it */
	if (rc == 0)
		*view = (struct view){ .kind = VIEW_AT, .group = died - 1 };
	return rc;
}

struct view_walk {
	struct volume *v;
	struct view view;
	uint64_t child, parent; /* 0: any */
	tree_dentry_fn fn;
	void *ctx;
};

static int view_link(void *ctx, uint64_t link)
{
	struct view_walk *w = ctx;
	struct dentry d;
	int rc = tree_link_view(w->v, link, w->view, &d);

	if (rc == -ENOENT || (!rc && w->child && d.child != w->child) || (!rc && w->parent && d.parent != w->parent))
		return 0;
	return rc ? rc : w->fn(w->ctx, &d);
}

int tree_links_of_view(struct volume *v, uint64_t ino, struct view view, tree_dentry_fn fn, void *ctx)
{
	struct view_walk w = { v, view, ino, 0, fn, ctx };

	return dentry_rows_ever_child(v->db, ino, view_link, &w);
}

bool tree_link_ended_after(struct volume *v, uint64_t ino, uint64_t group)
{
	bool any;

	return dentry_rows_ended_after(v->db, ino, group, &any) < 0 || any;
}

int tree_left_dir(struct volume *v, uint64_t dir, uint64_t group, tree_dentry_fn fn, void *ctx)
{
	return dentry_rows_left(v->db, dir, group, fn, ctx);
}

int tree_children_view(struct volume *v, uint64_t dir, struct view view, tree_dentry_fn fn, void *ctx)
{
	struct view_walk w = { v, view, 0, dir, fn, ctx };

	return dentry_rows_ever_parent(v->db, dir, view_link, &w);
}

int tree_xattrs_ever(struct volume *v, uint64_t ino, tree_xattr_fn fn, void *ctx)
{
	return xattr_rows_ever(v->db, ino, fn, ctx);
}

struct revival {
	struct volume *v;
	uint64_t ino;
	struct view view;
	enum origin origin;
	char **keys;
	size_t n;
	const char *key;
};

static int collect_key(void *ctx, const char *key, const void *value, size_t len_bytes)
{
	struct revival *r = ctx;

	(void)value;
	(void)len_bytes;
	r->keys = xrealloc(r->keys, (r->n + 1) * sizeof(*r->keys));
	r->keys[r->n++] = xstrdup(key);
	return 0;
}

static int revive_value(void *ctx, const char *key, const void *value, size_t len_bytes)
{
	struct revival *r = ctx;

	return xattr_row_put(r->v->db, r->ino, key, value, len_bytes, r->v->info.group_open, r->origin);
}

static int revive_xattrs(struct revival *r)
{
	int rc = xattr_rows_ever(r->v->db, r->ino, collect_key, r);

	for (size_t i = 0; i < r->n; i++) {
		if (!rc)
			rc = r->view.kind == VIEW_PEER
			         ? xattr_row_peer(r->v->db, r->ino, r->keys[i], r->view.group, revive_value, r)
			         : xattr_row_at(r->v->db, r->ino, r->keys[i], r->view.group, revive_value, r);
		if (rc == -ENOENT)
			rc = 0;
		free(r->keys[i]);
	}
	free(r->keys);
	return rc;
}

int tree_inode_revive(struct volume *v, uint64_t ino, struct view view)
{
	struct inode in;
	struct revival r = { .v = v, .ino = ino, .view = view };
	uint64_t born;
	enum origin origin;
	int rc = tree_orphan_end(v, ino);

	if (rc == 0)
		rc = inode_row_life(v->db, ino, &born, &origin);
	if (rc != -ENOENT)
		return rc ? rc : -EEXIST;
	if (view.kind == VIEW_NOW)
		return -ENOENT;
	rc = tree_inode_view(v, ino, view, &in);
	if (rc)
		return rc;
	r.origin = (enum origin)in.origin;
	rc = tree_inode_insert(v, &in);
	if (!rc)
		rc = revive_xattrs(&r);
	return rc ? rc : data_revive(v, ino, view);
}

static bool is_pinned(void *ctx, uint64_t born, uint64_t died)
{
	const struct volume *v = ctx;

	for (size_t i = 0; i < v->n_pins; i++)
		if (born <= v->pins[i].group && v->pins[i].group < died)
			return true;
	return false;
}

static void free_old(void *ctx, uint64_t phys, uint64_t len)
{
	data_old_gone(ctx, phys, len);
}

uint64_t history_needless(const struct volume *v)
{
	return v->info.role == ROLE_NONE ? v->info.committed : v->info.acked;
}

int history_trim(struct volume *v, size_t max_rows)
{
	const struct old_drop what = { history_needless(v), is_pinned, free_old, v };
	int rc = old_rows_drop(v->db, &what, max_rows, v->history_at);

	if (rc == 0 && v->info.acked > GROUP_IDS_KEPT)
		rc = group_row_forget(v->db, v->info.acked - GROUP_IDS_KEPT, max_rows);
	v->history_left = rc == 1;
	return MIN(rc, 0);
}

void history_again(struct volume *v)
{
	memset(v->history_at, 0, sizeof(v->history_at));
	v->history_left = true;
}

int history_purge(struct volume *v, uint64_t acked)
{
	int rc;

	acked = MIN(acked, v->info.committed);
	if (acked <= v->info.acked)
		return 0;
	rc = group_open(v);
	if (rc)
		return rc;
	group_keep(v);
	v->info.acked = acked;
	rc = history_trim(v, leftover_at_once(v));
	leftover_start(v);
	return rc;
}

void history_cut(struct volume *v, uint64_t n)
{
	v->info.cut = MAX(v->info.cut, n);
}

int group_id(struct volume *v, uint64_t n, uint64_t *id)
{
	if (n == 0) {
		*id = 0;
		return 0;
	}
	return n > v->info.committed ? -ENOENT : group_row_id(v->db, n, id);
}
