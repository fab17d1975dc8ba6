/* SPDX-License-Identifier: MIT */
/* Inodes and links as rows with history. */
#include "core/internal.h"

#include "core/frozen.h"
#include "core/leftover.h"
#include "db/change_rows.h"
#include "db/dentry_rows.h"
#include "db/inode_rows.h"
#include "db/xattr_rows.h"
#include "util/util.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

uint64_t id_peek(struct volume *v)
{
	return (uint64_t)v->info.slot << ID_SLOT_SHIFT | v->next_id;
}

uint64_t id_new(struct volume *v)
{
	uint64_t id = id_peek(v);

	/* 2^48 ids last for 89 years of a hundred thousand a second. */
	v->next_id++;
	assert(v->next_id >> ID_SLOT_SHIFT == 0);
	return id;
}

/* ---- inodes ---- */

int tree_inode_get(struct volume *v, uint64_t ino, struct inode *out)
{
	if ((v->peer_apply || v->watch.looking) && volume_is_orphan(v, ino))
		return -ENOENT;
	return inode_row_get(v->db, ino, out);
}

static int insert(struct volume *v, const struct inode *in, uint32_t nlink)
{
	struct inode row = *in;
	int rc = leftover_ranges_settle(v, in->ino);

	if (rc)
		return rc;
	row.born = v->info.group_open;
	row.nlink = nlink;
	group_mark(v);
	group_touch(v, in->ino);
	if (v->peer_apply)
		map_put(&v->noticed, in->ino, 1);
	return inode_row_insert(v->db, &row);
}

int tree_inode_insert(struct volume *v, const struct inode *in)
{
	return insert(v, in, 0);
}

int tree_inode_insert_linked(struct volume *v, const struct inode *in)
{
	return insert(v, in, S_ISDIR(in->mode) ? 2 : 1);
}

int tree_inode_put(struct volume *v, const struct inode *in)
{
	struct inode row = *in;
	uint64_t born;
	enum origin origin;
	int rc;

	row.born = v->info.group_open;
	group_mark(v);
	group_touch(v, in->ino);
	if (v->peer_apply) {
		rc = tree_orphan_end(v, in->ino);
		if (rc)
			return rc;
	}
	rc = inode_row_update(v->db, &row, row.born);
	if (rc == 0) {
		rc = inode_row_life(v->db, in->ino, &born, &origin);
		if (rc == -ENOENT)
			return tree_inode_insert(v, in);
		if (!rc && history_wanted(v, born, origin))
			rc = inode_row_archive(v->db, in->ino, row.born);
		if (!rc)
			rc = inode_row_update(v->db, &row, 0);
	}
	notice_inode(v, in->ino);
	return rc < 0 ? rc : 0;
}

int tree_touch_dir(struct volume *v, uint64_t dir, int64_t now_ns)
{
	struct inode in;
	int rc = inode_row_touch(v->db, dir, v->info.group_open, now_ns);

	group_touch(v, dir);
	if (rc == 0) {
		rc = inode_row_get(v->db, dir, &in);
		if (!rc) {
			in.mtime_ns = in.ctime_ns = now_ns;
			in.origin = ORIGIN_LOCAL;
			rc = tree_inode_put(v, &in);
		}
	}
	return rc < 0 ? rc : changes_touch(v, dir, ENT_TIMES);
}

int tree_set_ctime(struct volume *v, uint64_t ino, int64_t now_ns)
{
	group_mark(v);
	return inode_row_set_ctime(v->db, ino, now_ns);
}

static bool is_dir(struct volume *v, uint64_t ino, int *rc)
{
	uint32_t mode;

	*rc = inode_row_mode(v->db, ino, &mode);
	return S_ISDIR(mode);
}

/* ---- links ---- */

int tree_lookup(struct volume *v, uint64_t parent, const char *name, size_t name_len, struct dentry *out)
{
	return dentry_row_find(v->db, parent, name, name_len, out);
}

int tree_link_get(struct volume *v, uint64_t link, struct dentry *out)
{
	return dentry_row_get(v->db, link, out);
}

/* A detached link's row has parent 0 and a name that says where it was, for the link counts: LINK/PARENT in hex ('/' is
 * in no real name). */
static size_t detached_name(char *out, uint64_t link, uint64_t parent)
{
	return (size_t)snprintf(out, NAME_MAX_BYTES, "%016" PRIx64 "/%016" PRIx64, link, parent);
}

/* The directory whose link count the link is part of. */
static uint64_t counted_parent(const struct dentry *d)
{
	const char *slash = d->parent == 0 ? strchr(d->name, '/') : NULL;

	return slash ? strtoull(slash + 1, NULL, 16) : d->parent;
}

static int archive_link(struct volume *v, const struct dentry *d)
{
	if (d->born == v->info.group_open || d->parent == 0 || !history_wanted(v, d->born, (enum origin)d->origin))
		return 0;
	return dentry_row_archive(v->db, d->link, v->info.group_open);
}

static int count_moved_dir(struct volume *v, uint64_t from, uint64_t to)
{
	int rc = 0;

	if (from == to)
		return 0;
	if (from)
		rc = inode_row_add_nlink(v->db, from, -1);
	return !rc && to ? inode_row_add_nlink(v->db, to, 1) : rc;
}

static void fill_place(struct volume *v, struct dentry *d, uint64_t parent, const char *name, size_t name_len,
                       enum origin origin)
{
	d->parent = parent;
	d->born = v->info.group_open;
	d->origin = (uint8_t)origin;
	d->name_len = (uint8_t)name_len;
	memcpy(d->name, name, name_len);
	d->name[name_len] = '\0';
}

static int orphan_forget(struct volume *v, uint64_t ino)
{
	if (!volume_is_orphan(v, ino))
		return 0;
	map_del(&v->orphans, ino);
	if (map_get(&v->orphans_new, ino, NULL)) {
		map_del(&v->orphans_new, ino);
		return 0;
	}
	return orphan_row_drop(v->db, ino);
}

static int link_insert(struct volume *v, struct dentry *d, bool dir)
{
	int rc = dentry_row_insert(v->db, d);

	if (!rc)
		rc = inode_row_add_nlink(v->db, d->child, dir ? 2 : 1);
	if (!rc && dir)
		rc = inode_row_add_nlink(v->db, d->parent, 1);
	if (!rc)
		rc = orphan_forget(v, d->child);
	if (!rc)
		rc = leftover_ranges_settle(v, d->child);
	notice_inode(v, d->child); /* st_nlink */
	return rc;
}

static int link_move(struct volume *v, struct dentry *d, uint64_t parent, const char *name, size_t name_len, bool dir,
                     enum origin origin)
{
	uint64_t counted = counted_parent(d);
	bool parent_changed = d->parent != parent;
	int rc = archive_link(v, d);

	if (d->parent != 0)
		notice_entry(v, d->parent, d->name, d->name_len);
	fill_place(v, d, parent, name, name_len, origin);
	if (!rc)
		rc = dentry_row_move(v->db, d, parent_changed);
	return !rc && dir ? count_moved_dir(v, counted, parent) : rc;
}

int tree_link_put(struct volume *v, uint64_t link, uint64_t parent, const char *name, size_t name_len, uint64_t child,
                  enum origin origin)
{
	struct dentry d, other;
	bool dir;
	int rc;

	assert(parent != 0 && name_len >= 1 && name_len <= NAME_MAX_BYTES);
	if (parent == INO_ROOT && name_len == strlen(HIDDEN_NAME) && memcmp(name, HIDDEN_NAME, name_len) == 0)
		return -EEXIST;
	rc = dentry_row_find(v->db, parent, name, name_len, &other);
	if (rc != -ENOENT && (rc || other.link != link))
		return rc ? rc : -EEXIST;
	dir = is_dir(v, child, &rc);
	if (rc)
		return rc;
	rc = dentry_row_get(v->db, link, &d);
	if ((rc && rc != -ENOENT) || (!rc && d.child != child))
		return rc ? rc : -EINVAL;

	group_mark(v);
	if (rc == -ENOENT) {
		d.link = link;
		d.child = child;
		fill_place(v, &d, parent, name, name_len, origin);
		rc = link_insert(v, &d, dir);
	} else {
		rc = link_move(v, &d, parent, name, name_len, dir, origin);
	}
	group_name(v, parent, name, name_len);
	notice_entry(v, parent, name, name_len);
	return rc;
}

static int insert_local(struct volume *v, struct dentry *d, uint64_t parent, const char *name)
{
	int rc;

	fill_place(v, d, parent, name, strlen(name), ORIGIN_LOCAL);
	group_mark(v);
	rc = dentry_row_insert(v->db, d);
	group_name(v, parent, d->name, d->name_len);
	notice_entry(v, parent, d->name, d->name_len);
	return rc;
}

int tree_link_first(struct volume *v, uint64_t link, uint64_t parent, const char *name, uint64_t child, bool dir)
{
	struct dentry d = { .link = link, .child = child };
	int rc = insert_local(v, &d, parent, name);

	return !rc && dir ? inode_row_add_nlink(v->db, parent, 1) : rc;
}

int tree_link_more(struct volume *v, uint64_t link, uint64_t parent, const char *name, uint64_t child, int64_t now_ns)
{
	struct dentry d = { .link = link, .child = child };
	int rc = insert_local(v, &d, parent, name);

	if (!rc)
		rc = inode_row_relink(v->db, child, 1, now_ns);
	notice_inode(v, child); /* st_nlink */
	return rc ? rc : orphan_forget(v, child);
}

/* The name of d is gone. That its file is gone too the kernel believes at once (it has no links left then, and who
 * watches it by inotify is told so): only if it is true. */
static void notice_drop(struct volume *v, const struct dentry *d, bool dir)
{
	struct inode in;

	if (v->peer_apply && !dir && tree_inode_get(v, d->child, &in) == 0 && in.nlink > 0)
		notice_entry(v, d->parent, d->name, d->name_len);
	else
		notice_delete(v, d->parent, d->child, d->name, d->name_len);
}

int tree_link_drop(struct volume *v, uint64_t link)
{
	struct dentry d;
	bool dir;
	int rc = dentry_row_get(v->db, link, &d);

	if (rc)
		return rc;
	dir = is_dir(v, d.child, &rc);
	if (rc)
		return rc;
	group_mark(v);
	rc = archive_link(v, &d);
	if (!rc)
		rc = dentry_row_delete(v->db, link);
	if (!rc)
		rc = inode_row_add_nlink(v->db, d.child, dir ? -2 : -1);
	if (!rc && dir)
		rc = inode_row_add_nlink(v->db, counted_parent(&d), -1);
	if (d.parent != 0)
		notice_drop(v, &d, dir);
	notice_inode(v, d.child);
	return rc;
}

/* The last name of what nobody holds: it goes with it, and history has it as it was. */
static bool is_end(struct volume *v, uint64_t ino, int names)
{
	struct inode in;

	return !map_get(&v->refs, ino, NULL) && inode_row_get(v->db, ino, &in) == 0 && in.nlink <= (unsigned)names;
}

int tree_link_drop_row(struct volume *v, const struct dentry *d, int64_t now_ns)
{
	int rc, names;
	bool dir = is_dir(v, d->child, &rc);

	assert(d->parent != 0);
	if (rc)
		return rc;
	names = dir ? 2 : 1;
	group_mark(v);
	rc = archive_link(v, d);
	if (!rc)
		rc = dentry_row_delete(v->db, d->link);
	if (!rc)
		rc = is_end(v, d->child, names) ? inode_row_add_nlink(v->db, d->child, -names)
						: inode_row_relink(v->db, d->child, -names, now_ns);
	if (!rc && dir)
		rc = inode_row_add_nlink(v->db, d->parent, -1);
	notice_drop(v, d, dir);
	notice_inode(v, d->child);
	return rc;
}

int tree_link_detach(struct volume *v, uint64_t link)
{
	struct dentry d;
	char name[NAME_MAX_BYTES + 1];
	size_t len;
	int rc = dentry_row_get(v->db, link, &d);

	if (rc || d.parent == 0)
		return rc;
	group_mark(v);
	rc = archive_link(v, &d);
	notice_entry(v, d.parent, d.name, d.name_len);
	len = detached_name(name, link, d.parent);
	fill_place(v, &d, 0, name, len, (enum origin)d.origin);
	return rc ? rc : dentry_row_move(v->db, &d, true);
}

int tree_links_of(struct volume *v, uint64_t ino, tree_dentry_fn fn, void *ctx)
{
	return dentry_rows_of_child(v->db, ino, fn, ctx);
}

static int take_link(void *ctx, const struct dentry *d)
{
	*(struct dentry *)ctx = *d;
	return 1;
}

bool tree_first_link(struct volume *v, uint64_t ino, struct dentry *d)
{
	return tree_links_of(v, ino, take_link, d) == 1;
}

int tree_children(struct volume *v, uint64_t dir, tree_dentry_fn fn, void *ctx)
{
	return dentry_rows_of_parent(v->db, dir, 0, fn, ctx);
}

int tree_count_links(struct volume *v, uint64_t most, uint64_t *n)
{
	return dentry_rows_count(v->db, most, n);
}

int tree_each_link(struct volume *v, int (*fn)(void *ctx, uint64_t link), void *ctx)
{
	return dentry_rows_each(v->db, fn, ctx);
}

bool tree_is_empty_dir(struct volume *v, uint64_t dir)
{
	return !dentry_rows_any(v->db, dir);
}

uint64_t tree_parent_of_dir(struct volume *v, uint64_t dir)
{
	uint64_t parent = 0;

	if (dir == INO_ROOT || dir == INO_HIDDEN)
		return INO_ROOT;
	return dentry_row_parent(v->db, dir, &parent) == 0 ? parent : 0;
}

/* ---- the end of an inode ---- */

/* kept: the inode goes into history, and may come back from there as it was last: then with all that it had, as a value
 * makes no version of the inode. */
static int reap_xattrs(struct volume *v, uint64_t ino, bool kept)
{
	uint64_t upto = kept ? GROUP_MAX : v->info.cut;
	int rc = v->info.role == ROLE_NONE ? 0 : xattr_rows_archive(v->db, ino, upto, v->info.group_open);

	return rc ? rc : xattr_rows_delete(v->db, ino);
}

static int forget_changes(struct volume *v, uint64_t ino)
{
	int rc;

	changes_forget_inode_cache(v, ino);
	frozen_keep_whole(v, ino, leftover_at_once(v));
	rc = changes_recorded(v) ? change_rows_forget_inode(v->db, ino, leftover_at_once(v)) : 0;
	return rc == 1 ? leftover_ranges_put(v, ino) : rc;
}

/* Unlinked but still open: it lives on for those who hold it, and is nothing to the peer. */
static int make_orphan(struct volume *v, uint64_t ino)
{
	if (volume_is_orphan(v, ino))
		return 0;
	map_put(&v->orphans, ino, 1);
	map_put(&v->orphans_new, ino, 1);
	return forget_changes(v, ino);
}

int orphans_store(struct volume *v)
{
	uint64_t ino, value;
	size_t it = 0;
	int rc = 0;

	while (!rc && map_next(&v->orphans_new, &it, &ino, &value))
		rc = orphan_row_put(v->db, ino);
	if (!rc)
		map_clear(&v->orphans_new);
	return rc;
}

static int purge(struct volume *v, const struct inode *in)
{
	uint64_t ino = in->ino;
	bool orphan = volume_is_orphan(v, ino);
	bool kept = in->born < v->info.group_open &&
		    history_wanted(v, in->born, in->origin || in->corigin ? ORIGIN_PEER : ORIGIN_LOCAL);
	int rc = 0;

	if (S_ISDIR(in->mode) && !tree_is_empty_dir(v, ino))
		return db_damaged(v->db, "directory %llu has entries but no name", (unsigned long long)ino);
	if (kept)
		rc = inode_row_archive(v->db, ino, v->info.group_open);
	if (!rc)
		rc = inode_row_delete(v->db, ino);
	if (!rc)
		rc = reap_xattrs(v, ino, kept);
	if (!rc && S_ISREG(in->mode))
		rc = data_reap(v, ino);
	if (!rc)
		rc = orphan_forget(v, ino);
	return rc || orphan ? rc : forget_changes(v, ino); /* of an orphan they were when it became one */
}

int tree_reap(struct volume *v, uint64_t ino)
{
	struct inode in;
	int rc = inode_row_get(v->db, ino, &in);

	if (rc == -ENOENT || ino <= INO_HIDDEN || (!rc && in.nlink > 0))
		return 0;
	if (rc)
		return rc;
	group_keep(v);
	return map_get(&v->refs, ino, NULL) ? make_orphan(v, ino) : purge(v, &in);
}

int tree_orphan_end(struct volume *v, uint64_t ino)
{
	struct inode in;
	int rc;

	if (!volume_is_orphan(v, ino))
		return 0;
	rc = inode_row_get(v->db, ino, &in);
	if (rc)
		return rc;
	notice_inode(v, ino); /* the kernel knows it, so what comes instead is news to it */
	group_keep(v);
	return purge(v, &in);
}
