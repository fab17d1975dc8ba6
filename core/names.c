/* SPDX-License-Identifier: MIT */
/* The filesystem's calls on names. Each checks everything first, then changes: a refused call has changed nothing. */
#include "core/internal.h"
#include "core/landing.h"
#include "core/listing.h"

#include "db/dentry_rows.h"
#include "util/util.h"

#include <assert.h>
#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Longer than any path that a program can use; ends walks through a damaged tree. */
#define PATH_MAX_BYTES 65536u

static bool is_hidden_name(uint64_t parent, const char *name)
{
	return parent == INO_ROOT && strcmp(name, HIDDEN_NAME) == 0;
}

static bool is_dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static int check_name(const char *name)
{
	size_t n = strnlen(name, NAME_MAX_BYTES + 1);

	if (n > NAME_MAX_BYTES)
		return -ENAMETOOLONG;
	return n == 0 ? -ENOENT : strchr(name, '/') ? -EINVAL : 0;
}

static int get_dir(struct volume *v, uint64_t ino, struct inode *out)
{
	int rc = tree_inode_get(v, ino, out);

	return rc ? rc : S_ISDIR(out->mode) ? 0 : -ENOTDIR;
}

/* The directory of a call that puts a name into it. */
static int get_dir_to_fill(struct volume *v, uint64_t ino, struct inode *out)
{
	int rc = get_dir(v, ino, out);

	if (!rc && out->nlink == 0)
		rc = -ENOENT;
	if (!rc && ino == INO_HIDDEN)
		rc = -EPERM;
	return rc ? rc : volume_room(v);
}

static int stop_at_row(void *ctx, const struct conflict *c)
{
	(void)ctx;
	(void)c;
	return 1;
}

bool names_wait(struct volume *v, uint64_t ino)
{
	if (!v->landing || !conflicts_any(v) || conflict_open_of(v, ino, stop_at_row, NULL) == 0)
		return false;
	volume_unlock(v);
	volume_lock(v);
	return !v->landing; /* a volume that failed waits for nobody, and refuses what comes next */
}

/* Before anything is looked at, as what is carried out for it is committed. */
static int need_name(struct volume *v, uint64_t parent, const char *name)
{
	return is_dots(name) ? landing_need_inode(v, parent) : landing_need_name(v, parent, name);
}

static int find_entry(struct volume *v, uint64_t parent, const char *name, struct dentry *d)
{
	return tree_lookup(v, parent, name, strlen(name), d);
}

/* ---- lookup ---- */

static int lookup_ino(struct volume *v, uint64_t parent, const char *name, uint64_t *ino)
{
	struct dentry d;
	int rc;

	if (strcmp(name, ".") == 0) {
		*ino = parent;
		return 0;
	}
	if (strcmp(name, "..") == 0) {
		*ino = tree_parent_of_dir(v, parent);
		return *ino ? 0 : -ENOENT;
	}
	if (is_hidden_name(parent, name)) {
		*ino = INO_HIDDEN;
		return 0;
	}
	rc = find_entry(v, parent, name, &d);
	*ino = rc ? 0 : d.child;
	return rc;
}

/* Of something that has a name: if that leads nowhere it is damage, not absence. */
static int child_attr(struct volume *v, uint64_t ino, struct attr *out)
{
	int rc = attr_get(v, ino, out);

	return rc == -ENOENT ? db_damaged(v->db, "inode %llu has a name but does not exist", (unsigned long long)ino)
	                     : rc;
}

int volume_lookup(struct volume *v, uint64_t parent, const char *name, struct attr *out)
{
	struct inode dir;
	uint64_t ino = 0;
	int rc = check_name(name);

	if (rc)
		return rc;
	rc = landing_lock_inode(v, parent);
	if (!rc)
		rc = need_name(v, parent, name);
	if (!rc)
		rc = get_dir(v, parent, &dir);
	if (!rc)
		rc = lookup_ino(v, parent, name, &ino);
	if (!rc && is_dots(name))
		rc = landing_need_inode(v, ino);
	if (!rc)
		rc = child_attr(v, ino, out);
	volume_unlock(v);
	return rc;
}

/* ---- create ---- */

static int check_new_name(struct volume *v, uint64_t parent, const char *name, struct inode *dir)
{
	struct dentry d;
	int rc = check_name(name);

	if (!rc)
		rc = need_name(v, parent, name);
	if (!rc)
		rc = get_dir_to_fill(v, parent, dir);
	if (rc)
		return rc;
	if (is_dots(name) || is_hidden_name(parent, name))
		return -EEXIST;
	rc = find_entry(v, parent, name, &d);
	return rc == -ENOENT ? 0 : rc ? rc : -EEXIST;
}

static int check_kind(uint32_t mode, const char *target)
{
	size_t n = target ? strlen(target) : 0;

	switch (mode & S_IFMT) {
	case S_IFLNK:
		return n == 0 ? -ENOENT : n > SYMLINK_MAX_BYTES ? -ENAMETOOLONG : 0;
	case S_IFREG:
	case S_IFDIR:
	case S_IFIFO:
	case S_IFSOCK:
	case S_IFCHR:
	case S_IFBLK:
		return 0;
	default:
		return -EINVAL;
	}
}

static void fill_new(struct volume *v, struct inode *in, const struct inode *dir, uint32_t mode, uint32_t rdev,
                     const char *target, const struct cred *cred)
{
	*in = (struct inode){
		.ino = id_new(v), .mode = mode, .uid = cred->uid, .gid = cred->gid, .shrunk_to = UINT64_MAX
	};
	if (S_ISCHR(mode) || S_ISBLK(mode))
		in->rdev = rdev;
	if (dir->mode & S_ISGID) {
		in->gid = dir->gid;
		if (S_ISDIR(mode))
			in->mode |= S_ISGID;
	}
	if (S_ISLNK(mode)) {
		in->target_len = (uint16_t)strlen(target);
		in->size_bytes = in->target_len;
		memcpy(in->target, target, in->target_len + 1u);
	}
	in->atime_ns = in->mtime_ns = in->ctime_ns = clock_real_ns();
	in->cborn = group_number(v);
	in->origin = in->corigin = ORIGIN_LOCAL;
}

int names_add(struct volume *v, uint64_t parent, const char *name, uint64_t ino, int64_t now_ns)
{
	uint64_t link = id_new(v);
	int rc = tree_link_more(v, link, parent, name, ino, now_ns);

	if (!rc)
		rc = changes_touch_link(v, link, ino, true, false);
	return rc ? rc : tree_touch_dir(v, parent, now_ns);
}

static int insert_new(struct volume *v, const struct inode *dir, struct inode *in, uint32_t umask)
{
	uint8_t acl[ACL_MAX_BYTES];
	size_t len_bytes;
	int rc = xattr_acl_inherit(v, dir, in, umask, acl, &len_bytes);

	if (!rc)
		rc = tree_inode_insert_linked(v, in);
	if (!rc)
		rc = changes_touch_new(v, in->ino);
	return rc ? rc : xattr_acl_give(v, dir, in, acl, len_bytes);
}

/* The inode and its name, which is free. */
static int put_new(struct volume *v, uint64_t parent, const struct inode *dir, const char *name, struct inode *in,
                   uint32_t umask)
{
	uint64_t link;
	int rc = insert_new(v, dir, in, umask);

	if (rc)
		return rc;
	link = id_new(v);
	rc = tree_link_first(v, link, parent, name, in->ino, S_ISDIR(in->mode));
	if (!rc)
		rc = changes_touch_link(v, link, in->ino, true, false);
	return rc ? rc : tree_touch_dir(v, parent, in->mtime_ns);
}

int volume_create(struct volume *v, uint64_t parent, const char *name, uint32_t mode, uint32_t rdev, const char *target,
                  const struct cred *cred, struct attr *out)
{
	struct inode dir, in;
	int rc = check_kind(mode, target);

	if (rc)
		return rc;
	rc = landing_lock_inode(v, parent);
	if (!rc)
		rc = check_new_name(v, parent, name, &dir);
	if (!rc)
		rc = group_open(v);
	if (!rc) {
		fill_new(v, &in, &dir, mode, rdev, target, cred);
		rc = put_new(v, parent, &dir, name, &in, cred->umask);
	}
	if (!rc) {
		in.nlink = S_ISDIR(mode) ? 2 : 1;
		attr_fill(v, &in, out);
	}
	volume_leave(v);
	return rc;
}

int volume_link(struct volume *v, uint64_t ino, uint64_t parent, const char *name, struct attr *out)
{
	struct inode dir, in;
	int64_t now = clock_real_ns();
	int rc;

	rc = landing_lock_inode(v, parent);
	if (!rc)
		rc = landing_need_inode(v, ino);
	if (!rc)
		rc = check_new_name(v, parent, name, &dir);
	if (!rc)
		rc = tree_inode_get(v, ino, &in);
	if (!rc && S_ISDIR(in.mode))
		rc = -EPERM;
	if (!rc && in.nlink == 0)
		rc = -ENOENT;
	if (!rc)
		rc = group_open(v);
	if (!rc)
		rc = names_add(v, parent, name, ino, now);
	if (!rc)
		rc = attr_get(v, ino, out);
	volume_leave(v);
	return rc;
}

/* ---- unlink ---- */

int names_unlink(struct volume *v, const struct dentry *d)
{
	int64_t now = clock_real_ns();
	int rc = tree_link_drop_row(v, d, now);

	if (!rc)
		rc = changes_touch_link(v, d->link, d->child, false, true);
	if (!rc)
		rc = tree_touch_dir(v, d->parent, now);
	holders_stay(v, d->child);
	return rc ? rc : tree_reap(v, d->child);
}

static int check_unlink(struct volume *v, uint64_t parent, const char *name, struct dentry *d)
{
	struct inode dir, in;
	int rc = check_name(name);

	if (!rc)
		rc = need_name(v, parent, name);
	if (!rc)
		rc = get_dir(v, parent, &dir);
	if (rc)
		return rc;
	if (is_dots(name) || is_hidden_name(parent, name))
		return -EISDIR;
	rc = find_entry(v, parent, name, d);
	if (!rc)
		rc = tree_inode_get(v, d->child, &in);
	return rc ? rc : S_ISDIR(in.mode) ? -EISDIR : 0;
}

int volume_unlink(struct volume *v, uint64_t parent, const char *name)
{
	struct dentry d;
	int rc;

	rc = landing_lock_inode(v, parent);
	if (!rc)
		do
			rc = check_unlink(v, parent, name, &d);
		while (!rc && names_wait(v, d.child));
	if (!rc)
		rc = group_open(v);
	if (!rc)
		rc = names_unlink(v, &d);
	if (!rc)
		rc = conflict_lost(v, d.child, &d);
	volume_leave(v);
	return rc;
}

static int check_rmdir(struct volume *v, uint64_t parent, const char *name, struct dentry *d)
{
	struct inode dir, in;
	int rc = check_name(name);

	if (!rc)
		rc = need_name(v, parent, name);
	if (!rc)
		rc = get_dir(v, parent, &dir);
	if (rc)
		return rc;
	if (is_dots(name))
		return strcmp(name, ".") == 0 ? -EINVAL : -ENOTEMPTY;
	if (is_hidden_name(parent, name))
		return -EBUSY;
	rc = find_entry(v, parent, name, d);
	if (!rc)
		rc = get_dir(v, d->child, &in);
	return rc ? rc : tree_is_empty_dir(v, d->child) ? 0 : -ENOTEMPTY;
}

/* The lock, when all that is in the directory of that name is as it shall be, and the one that it is in. */
static void lock_entry_dir(struct volume *v, uint64_t parent, const char *name)
{
	struct dentry d;
	bool is_dir;

	for (;;) {
		landing_lock_inode(v, parent);
		is_dir = v->landing && check_name(name) == 0 && need_name(v, parent, name) == 0 &&
			 find_entry(v, parent, name, &d) == 0;
		if (!is_dir || landing_dir_is_ready(v, d.child))
			return; /* what could not be carried out is found anew by the caller */
		volume_unlock(v);
		if (landing_lock_dir(v, d.child) != 0)
			return;
		volume_unlock(v);
	}
}

int volume_rmdir(struct volume *v, uint64_t parent, const char *name)
{
	struct dentry d;
	int rc;

	lock_entry_dir(v, parent, name);
	rc = check_rmdir(v, parent, name, &d);
	if (!rc)
		rc = group_open(v);
	if (!rc)
		rc = names_unlink(v, &d);
	volume_leave(v);
	return rc;
}

/* ---- rename ---- */

struct rename {
	uint64_t parent, newparent;
	const char *name, *newname;
	unsigned flags;
	struct dentry from, over;
	struct inode from_in, over_in;
	bool has_over;
};

/* Is `ino` the directory `dir` or above it? Also true where a damaged tree goes round: what was seen at a power of two
 * comes again. */
static bool is_above(struct volume *v, uint64_t ino, uint64_t dir)
{
	uint64_t mark = 0;

	for (uint64_t depth = 1;; depth++) {
		if (dir == ino)
			return true;
		if (dir == INO_ROOT || dir == 0)
			return false;
		if (dir == mark || landing_need_inode(v, dir) != 0)
			return true;
		if ((depth & (depth - 1)) == 0)
			mark = dir;
		dir = tree_parent_of_dir(v, dir);
	}
}

static int check_places(struct volume *v, const struct rename *r)
{
	struct inode dir;
	int rc;

	if ((r->flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE)) ||
	    r->flags == (RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	rc = check_name(r->name);
	if (!rc)
		rc = check_name(r->newname);
	if (!rc)
		rc = need_name(v, r->parent, r->name);
	if (!rc)
		rc = need_name(v, r->newparent, r->newname);
	if (!rc)
		rc = get_dir(v, r->parent, &dir);
	if (!rc)
		rc = get_dir(v, r->newparent, &dir);
	if (rc)
		return rc;
	if (dir.nlink == 0)
		return -ENOENT;
	if (is_dots(r->name) || is_dots(r->newname) || is_hidden_name(r->parent, r->name) ||
	    is_hidden_name(r->newparent, r->newname))
		return r->flags & RENAME_NOREPLACE && !is_dots(r->name) && !is_hidden_name(r->parent, r->name) ? -EEXIST
													       : -EBUSY;
	/* Out of .twinfs is how a version set aside is taken back; nothing goes in. */
	if (r->newparent == INO_HIDDEN || (r->parent == INO_HIDDEN && (r->flags & RENAME_EXCHANGE)))
		return -EPERM;
	return 0;
}

static int load_rename(struct volume *v, struct rename *r)
{
	int rc = find_entry(v, r->parent, r->name, &r->from);

	if (!rc)
		rc = tree_inode_get(v, r->from.child, &r->from_in);
	if (rc)
		return rc;
	rc = find_entry(v, r->newparent, r->newname, &r->over);
	r->has_over = rc == 0;
	if (rc == -ENOENT)
		return r->flags & RENAME_EXCHANGE ? -ENOENT : 0;
	if (rc || (r->flags & RENAME_NOREPLACE))
		return rc ? rc : -EEXIST;
	return tree_inode_get(v, r->over.child, &r->over_in);
}

static int check_kinds(struct volume *v, const struct rename *r)
{
	bool from_dir = S_ISDIR(r->from_in.mode), over_dir = r->has_over && S_ISDIR(r->over_in.mode);

	if (from_dir && is_above(v, r->from.child, r->newparent))
		return -EINVAL;
	if (r->flags & RENAME_EXCHANGE)
		return over_dir && is_above(v, r->over.child, r->parent) ? -EINVAL : 0;
	if (!r->has_over)
		return 0;
	if (from_dir && !over_dir)
		return -ENOTDIR;
	if (!from_dir && over_dir)
		return -EISDIR;
	return over_dir && !tree_is_empty_dir(v, r->over.child) ? -ENOTEMPTY : 0;
}

static int move_link(struct volume *v, const struct dentry *d, uint64_t parent, const char *name, size_t name_len,
		     int64_t now)
{
	int rc = tree_link_put(v, d->link, parent, name, name_len, d->child, ORIGIN_LOCAL);

	if (!rc)
		rc = changes_touch_link(v, d->link, d->child, false, false);
	return rc ? rc : tree_set_ctime(v, d->child, now);
}

static int touch_dirs(struct volume *v, uint64_t a, uint64_t b, int64_t now)
{
	int rc = tree_touch_dir(v, a, now);

	return rc || a == b ? rc : tree_touch_dir(v, b, now);
}

int names_replace(struct volume *v, const struct dentry *from, const struct dentry *over)
{
	int64_t now = clock_real_ns();
	int rc = names_unlink(v, over);

	if (!rc)
		rc = move_link(v, from, over->parent, over->name, over->name_len, now);
	return rc ? rc : touch_dirs(v, from->parent, over->parent, now);
}

int names_move(struct volume *v, const struct dentry *d, uint64_t parent, const char *name, size_t name_len)
{
	int64_t now = clock_real_ns();
	int rc = move_link(v, d, parent, name, name_len, now);

	return rc ? rc : touch_dirs(v, d->parent, parent, now);
}

static int do_exchange(struct volume *v, const struct rename *r, int64_t now)
{
	int rc = tree_link_detach(v, r->from.link);

	if (!rc)
		rc = move_link(v, &r->over, r->from.parent, r->from.name, r->from.name_len, now);
	if (!rc)
		rc = move_link(v, &r->from, r->over.parent, r->over.name, r->over.name_len, now);
	return rc ? rc : touch_dirs(v, r->parent, r->newparent, now);
}

static int do_rename(struct volume *v, const struct rename *r)
{
	int rc = group_open(v);

	if (rc)
		return rc;
	if (r->flags & RENAME_EXCHANGE)
		return do_exchange(v, r, clock_real_ns());
	if (!r->has_over)
		return names_move(v, &r->from, r->newparent, r->newname, strlen(r->newname));
	rc = names_replace(v, &r->from, &r->over);
	return rc ? rc : conflict_lost(v, r->over.child, &r->over);
}

int volume_rename(struct volume *v, uint64_t parent, const char *name, uint64_t newparent, const char *newname,
                  unsigned flags)
{
	struct rename r = {
		.parent = parent, .newparent = newparent, .name = name, .newname = newname, .flags = flags
	};
	int rc;

	if (parent != newparent) { /* it may go with very much in it; what cannot be carried out is found anew below */
		landing_lock_inode(v, parent);
		volume_unlock(v);
	}
	lock_entry_dir(v, newparent, newname);
	do {
		rc = check_places(v, &r);
		if (!rc)
			rc = load_rename(v, &r);
	} while (!rc && r.has_over && names_wait(v, r.over.child));
	/* Two names of one file: POSIX wants nothing done. */
	if (!rc && !(r.has_over && r.over.child == r.from.child)) {
		rc = check_kinds(v, &r);
		if (!rc)
			rc = do_rename(v, &r);
	}
	volume_leave(v);
	return rc;
}

/* ---- reading ---- */

ssize_t volume_readlink(struct volume *v, uint64_t ino, char *buf, size_t cap_bytes)
{
	struct inode in;
	ssize_t n;

	volume_lock_now(v);
	n = landing_need_inode(v, ino);
	if (!n)
		n = tree_inode_get(v, ino, &in);
	volume_unlock(v);
	if (n)
		return n;
	if (!S_ISLNK(in.mode))
		return -EINVAL;
	n = (ssize_t)MIN((size_t)in.target_len, cap_bytes);
	memcpy(buf, in.target, (size_t)n);
	return n;
}

static int read_batch(void *from, uint64_t dir, uint64_t after, struct listing *l)
{
	struct volume *v = from;
	uint64_t children[LISTING_BATCH];
	int rc = landing_lock_dir(v, dir);

	if (!rc)
		rc = dentry_rows_of_parent(v->db, dir, after, listing_add, l);
	for (size_t i = 0; i < l->n; i++)
		children[i] = l->entries[i].child;
	if (rc >= 0)
		rc = landing_need_inodes(v, children, l->n);
	for (size_t i = 0; rc >= 0 && i < l->n; i++)
		rc = child_attr(v, l->entries[i].child, &l->attrs[i]);
	volume_unlock(v);
	return MIN(rc, 0);
}

static int read_dots(struct volume *v, uint64_t dir, uint64_t after, volume_dirent_fn fn, void *ctx, bool *more)
{
	struct attr attr;
	struct inode in;
	uint64_t parent;
	int rc;

	rc = landing_lock_inode(v, dir);
	if (!rc)
		rc = get_dir(v, dir, &in);
	parent = rc ? 0 : tree_parent_of_dir(v, dir);
	volume_unlock(v);
	*more = rc == 0;
	if (*more && after < 1) {
		rc = volume_getattr(v, dir, &attr);
		*more = rc == 0 && fn(ctx, ".", 1, 1, &attr);
	}
	if (*more && after < 2) {
		/* A directory that was removed has no parent; ".." then says itself, as on other filesystems. */
		rc = volume_getattr(v, parent ? parent : dir, &attr);
		*more = rc == 0 && fn(ctx, "..", 2, 2, &attr);
	}
	return rc;
}

int volume_readdir(struct volume *v, uint64_t dir, uint64_t after, volume_dirent_fn fn, void *ctx)
{
	bool more;
	int rc = read_dots(v, dir, after, fn, ctx, &more);

	return rc || !more ? rc : listing_each(read_batch, v, dir, after, fn, ctx);
}

/* ---- paths ---- */

char *path_of(struct volume *v, uint64_t ino)
{
	char *path = xstrdup("");

	while (ino != INO_ROOT) {
		struct dentry d = { .parent = INO_ROOT, .name = HIDDEN_NAME };
		char *longer;

		if (strlen(path) > PATH_MAX_BYTES || landing_need_inode(v, ino) != 0 ||
		    (ino != INO_HIDDEN && !tree_first_link(v, ino, &d)) || d.parent == 0) {
			free(path);
			return NULL;
		}
		longer = xasprintf("/%s%s", d.name, path);
		free(path);
		path = longer;
		ino = d.parent;
	}
	if (path[0] == '\0') {
		free(path);
		path = xstrdup("/");
	}
	return path;
}

char *volume_path(struct volume *v, uint64_t ino)
{
	char *path;

	volume_lock_now(v);
	path = path_of(v, ino);
	volume_unlock(v);
	return path;
}

uint64_t volume_parent(struct volume *v, uint64_t ino)
{
	struct dentry d = { .parent = 0 };

	volume_lock_now(v);
	if (landing_need_inode(v, ino) != 0 || !tree_first_link(v, ino, &d))
		d.parent = 0;
	volume_unlock(v);
	return d.parent;
}
