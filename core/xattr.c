/* SPDX-License-Identifier: MIT */
/* Extended attributes: the rows with history, and the filesystem's calls. */
#include "core/internal.h"
#include "core/landing.h"

#include "db/inode_rows.h"
#include "db/xattr_rows.h"
#include "util/util.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

/* The kernel hands lists out in a buffer of at most 64 KiB. */
#define XATTR_LIST_MAX_BYTES 65536u

struct copy {
	void *buf;
	size_t cap_bytes, len_bytes;
};

static int copy_value(void *ctx, const char *key, const void *value, size_t len_bytes)
{
	struct copy *c = ctx;

	(void)key;
	c->len_bytes = len_bytes;
	if (c->cap_bytes == 0)
		return 0;
	if (len_bytes > c->cap_bytes)
		return -ERANGE;
	memcpy(c->buf, value, len_bytes);
	return 0;
}

ssize_t tree_xattr_get_view(struct volume *v, uint64_t ino, const char *key, struct view view, void *buf,
			    size_t cap_bytes)
{
	struct copy c = { buf, cap_bytes, 0 };
	int rc;

	switch (view.kind) {
	case VIEW_AT:
		rc = xattr_row_at(v->db, ino, key, view.group, copy_value, &c);
		break;
	case VIEW_PEER:
		rc = xattr_row_peer(v->db, ino, key, view.group, copy_value, &c);
		break;
	default:
		rc = xattr_row_get(v->db, ino, key, copy_value, &c);
	}
	return rc == -ENOENT ? -ENODATA : rc ? rc : (ssize_t)c.len_bytes;
}

ssize_t tree_xattr_get(struct volume *v, uint64_t ino, const char *key, void *buf, size_t cap_bytes)
{
	return tree_xattr_get_view(v, ino, key, (struct view){ .kind = VIEW_NOW }, buf, cap_bytes);
}

int tree_xattr_put(struct volume *v, uint64_t ino, const char *key, const void *value, size_t len_bytes,
		   enum origin origin)
{
	uint64_t born;
	enum origin old;
	int rc = xattr_row_life(v->db, ino, key, &born, &old);

	assert(strlen(key) <= XATTR_NAME_MAX_BYTES && len_bytes <= XATTR_VALUE_MAX_BYTES);
	if (rc == -ENOENT && !value)
		return -ENODATA;
	if (rc && rc != -ENOENT)
		return rc;
	group_mark(v);
	if (!rc && born < v->info.group_open && history_wanted(v, born, old))
		rc = xattr_row_archive(v->db, ino, key, v->info.group_open);
	if (rc && rc != -ENOENT)
		return rc;
	notice_inode(v, ino);
	return value ? xattr_row_put(v->db, ino, key, value, len_bytes, v->info.group_open, origin)
	             : xattr_row_delete(v->db, ino, key);
}

int tree_xattrs(struct volume *v, uint64_t ino, tree_xattr_fn fn, void *ctx)
{
	return xattr_rows(v->db, ino, fn, ctx);
}

/* ---- the filesystem's calls ---- */

/* As ext4 has it: four namespaces, and none of them is a key. */
static int check_key(const char *key)
{
	static const char *const spaces[] = { "user.", "trusted.", "security." };

	if (key[0] == '\0')
		return -EINVAL;
	if (strlen(key) > XATTR_NAME_MAX_BYTES)
		return -ERANGE;
	if (acl_is_key(key))
		return 0;
	for (size_t i = 0; i < ARRAY_LEN(spaces); i++)
		if (strncmp(key, spaces[i], strlen(spaces[i])) == 0)
			return key[strlen(spaces[i])] ? 0 : -EINVAL;
	return -EOPNOTSUPP;
}

static int check_call(struct volume *v, uint64_t ino, const char *key)
{
	uint32_t mode;

	int rc = key ? check_key(key) : 0;

	if (!rc)
		rc = landing_need_inode(v, ino);
	return rc ? rc : inode_row_mode(v->db, ino, &mode);
}

ssize_t volume_getxattr(struct volume *v, uint64_t ino, const char *key, void *buf, size_t cap_bytes)
{
	ssize_t n;

	landing_lock_inode(v, ino); /* what failed fails again below */
	n = check_call(v, ino, key);
	if (!n)
		n = tree_xattr_get(v, ino, key, buf, cap_bytes);
	volume_unlock(v);
	return n;
}

/* Everything that can be refused, before anything is changed. */
static int check_set(struct volume *v, uint64_t ino, const char *key, size_t len_bytes, int flags)
{
	uint64_t born, list = 0;
	enum origin origin;
	bool exists;
	int rc = check_call(v, ino, key);

	if (rc)
		return rc;
	if (len_bytes > XATTR_VALUE_MAX_BYTES)
		return -E2BIG;
	rc = xattr_row_life(v->db, ino, key, &born, &origin);
	if (rc && rc != -ENOENT)
		return rc;
	exists = rc == 0;
	if (exists && (flags & XATTR_CREATE))
		return -EEXIST;
	if (!exists && (flags & XATTR_REPLACE))
		return -ENODATA;
	rc = exists ? 0 : xattr_rows_list_bytes(v->db, ino, &list);
	if (!rc && list + strlen(key) + 1 > XATTR_LIST_MAX_BYTES)
		rc = -ENOSPC;
	return rc ? rc : volume_room(v);
}

static int put_recorded(struct volume *v, uint64_t ino, const char *key, const void *value, size_t len_bytes)
{
	int rc = tree_xattr_put(v, ino, key, value, len_bytes, ORIGIN_LOCAL);

	if (!rc)
		rc = tree_set_ctime(v, ino, clock_real_ns());
	return rc ? rc : changes_touch_xattr(v, ino, key);
}

/* ---- ACLs ---- */

static int check_acl(struct volume *v, uint64_t ino, const char *key, const void *value, size_t len_bytes)
{
	uint32_t mode;
	int rc = inode_row_mode(v->db, ino, &mode);

	if (rc)
		return rc;
	if (S_ISLNK(mode))
		return -EOPNOTSUPP;
	if (strcmp(key, ACL_DEFAULT_KEY) == 0 && !S_ISDIR(mode))
		return -EACCES;
	return acl_check(value, len_bytes);
}

/* Whoever changes the access ACL has changed the mode too, whatever its bits: they are one thing for a merge. */
static int put_access(struct volume *v, uint64_t ino, const void *value, size_t len_bytes, bool kill_sgid)
{
	struct inode in;
	int rc = tree_inode_get(v, ino, &in);

	if (rc)
		return rc;
	in.mode = acl_mode(value, len_bytes, in.mode);
	if (kill_sgid)
		in.mode &= ~(uint32_t)S_ISGID;
	in.origin = ORIGIN_LOCAL;
	rc = tree_inode_put(v, &in);
	if (!rc)
		rc = changes_touch(v, ino, ENT_MODE);
	if (rc)
		return rc;
	if (!acl_is_minimal(value, len_bytes))
		return put_recorded(v, ino, ACL_ACCESS_KEY, value, len_bytes);
	rc = put_recorded(v, ino, ACL_ACCESS_KEY, NULL, 0);
	return rc == -ENODATA ? tree_set_ctime(v, ino, clock_real_ns()) : rc;
}

/* Directories and files with default or access ACLs are few; the buffer is on the stack of few calls. */
static ssize_t get_acl(struct volume *v, uint64_t ino, const char *key, uint8_t acl[ACL_MAX_BYTES])
{
	ssize_t n = tree_xattr_get(v, ino, key, acl, ACL_MAX_BYTES);

	if (n == -ENODATA || n == -ERANGE)
		return 0;
	return n > 0 && acl_check(acl, (size_t)n) != 0 ? 0 : n;
}

int xattr_acl_chmod(struct volume *v, const struct inode *in)
{
	uint8_t acl[ACL_MAX_BYTES];
	ssize_t n = S_ISLNK(in->mode) ? 0 : get_acl(v, in->ino, ACL_ACCESS_KEY, acl);
	int rc;

	if (n <= 0)
		return (int)n;
	acl_set_mode(acl, (size_t)n, in->mode);
	rc = tree_xattr_put(v, in->ino, ACL_ACCESS_KEY, acl, (size_t)n, ORIGIN_LOCAL);
	return rc ? rc : changes_touch_xattr(v, in->ino, ACL_ACCESS_KEY);
}

int xattr_acl_inherit(struct volume *v, const struct inode *dir, struct inode *in, uint32_t umask,
		      uint8_t acl[ACL_MAX_BYTES], size_t *len_bytes)
{
	ssize_t n = S_ISLNK(in->mode) ? 0 : get_acl(v, dir->ino, ACL_DEFAULT_KEY, acl);

	*len_bytes = 0;
	if (n < 0)
		return (int)n;
	if (n == 0) {
		if (!S_ISLNK(in->mode))
			in->mode &= ~(umask & 0777);
		return 0;
	}
	in->mode = acl_inherit(acl, (size_t)n, in->mode);
	*len_bytes = (size_t)n;
	return 0;
}

static int give_xattr(struct volume *v, uint64_t ino, const char *key, const void *value, size_t len_bytes)
{
	int rc = tree_xattr_put(v, ino, key, value, len_bytes, ORIGIN_LOCAL);

	return rc ? rc : changes_touch_xattr(v, ino, key);
}

int xattr_acl_give(struct volume *v, const struct inode *dir, const struct inode *in, const uint8_t *acl,
		   size_t len_bytes)
{
	uint8_t from_dir[ACL_MAX_BYTES];
	ssize_t n;
	int rc = 0;

	if (len_bytes == 0)
		return 0;
	if (!acl_is_minimal(acl, len_bytes))
		rc = give_xattr(v, in->ino, ACL_ACCESS_KEY, acl, len_bytes);
	if (rc || !S_ISDIR(in->mode))
		return rc;
	n = get_acl(v, dir->ino, ACL_DEFAULT_KEY, from_dir);
	return n <= 0 ? (int)n : give_xattr(v, in->ino, ACL_DEFAULT_KEY, from_dir, (size_t)n);
}

int volume_setxattr(struct volume *v, uint64_t ino, const char *key, const void *value, size_t len_bytes, int flags)
{
	int rc;

	landing_lock_inode(v, ino); /* what failed fails again below */
	rc = check_set(v, ino, key, len_bytes, flags);
	if (!rc && acl_is_key(key))
		rc = check_acl(v, ino, key, value, len_bytes);
	if (!rc)
		rc = group_open(v);
	if (!rc) {
		v->group_new_bytes += len_bytes;
		if (strcmp(key, ACL_ACCESS_KEY) == 0)
			rc = put_access(v, ino, value, len_bytes, flags & SETXATTR_KILL_SGID);
		else
			rc = put_recorded(v, ino, key, len_bytes > 0 ? value : "", len_bytes);
	}
	volume_leave(v);
	return rc;
}

static int remove_recorded(struct volume *v, uint64_t ino, const char *key)
{
	int rc = put_recorded(v, ino, key, NULL, 0);

	/* One thing with the mode, see put_access. */
	return rc || strcmp(key, ACL_ACCESS_KEY) != 0 ? rc : changes_touch(v, ino, ENT_MODE);
}

int volume_removexattr(struct volume *v, uint64_t ino, const char *key)
{
	uint64_t born;
	enum origin origin;
	int rc;

	landing_lock_inode(v, ino); /* what failed fails again below */
	do
		rc = check_call(v, ino, key);
	while (!rc && strncmp(key, CONFLICT_XATTR, strlen(CONFLICT_XATTR)) == 0 && names_wait(v, ino));
	if (!rc) {
		rc = xattr_row_life(v->db, ino, key, &born, &origin);
		rc = rc == -ENOENT ? -ENODATA : rc;
	}
	if (!rc)
		rc = group_open(v);
	if (!rc)
		rc = remove_recorded(v, ino, key);
	if (!rc)
		rc = conflict_key_gone(v, ino, key);
	volume_leave(v);
	return rc == -ENODATA && acl_is_key(key) ? 0 : rc;
}

static int add_key(void *ctx, const char *key, const void *value, size_t len_bytes)
{
	struct copy *c = ctx;
	size_t n = strlen(key) + 1;

	(void)value;
	(void)len_bytes;
	if (c->cap_bytes > 0) {
		if (c->len_bytes + n > c->cap_bytes)
			return -ERANGE;
		memcpy((char *)c->buf + c->len_bytes, key, n);
	}
	c->len_bytes += n;
	return 0;
}

ssize_t volume_listxattr(struct volume *v, uint64_t ino, char *buf, size_t cap_bytes)
{
	struct copy c = { buf, cap_bytes, 0 };
	int rc;

	landing_lock_inode(v, ino); /* what failed fails again below */
	rc = check_call(v, ino, NULL);
	if (!rc)
		rc = tree_xattrs(v, ino, add_key, &c);
	volume_unlock(v);
	return rc ? rc : (ssize_t)c.len_bytes;
}
