/* SPDX-License-Identifier: MIT */
/* Extended attributes: the rows with history, and the filesystem's calls. */
#include "core/internal.h"

#include "db/inode_rows.h"
#include "db/xattr_rows.h"
#include "util/util.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
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

static int check_call(struct volume *v, uint64_t ino, const char *key)
{
	uint32_t mode;

	if (key && key[0] == '\0')
		return -EINVAL;
	if (key && strlen(key) > XATTR_NAME_MAX_BYTES)
		return -ERANGE;
	return inode_row_mode(v->db, ino, &mode);
}

ssize_t volume_getxattr(struct volume *v, uint64_t ino, const char *key, void *buf, size_t cap_bytes)
{
	ssize_t n;

	volume_lock(v);
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

int volume_setxattr(struct volume *v, uint64_t ino, const char *key, const void *value, size_t len_bytes, int flags)
{
	int rc;

	volume_lock(v);
	rc = check_set(v, ino, key, len_bytes, flags);
	if (!rc)
		rc = group_open(v);
	if (!rc) {
		v->group_new_bytes += len_bytes;
		rc = put_recorded(v, ino, key, len_bytes > 0 ? value : "", len_bytes);
	}
	volume_leave(v);
	return rc;
}

int volume_removexattr(struct volume *v, uint64_t ino, const char *key)
{
	uint64_t born;
	enum origin origin;
	int rc;

	volume_lock(v);
	rc = check_call(v, ino, key);
	if (!rc) {
		rc = xattr_row_life(v->db, ino, key, &born, &origin);
		rc = rc == -ENOENT ? -ENODATA : rc;
	}
	if (!rc)
		rc = group_open(v);
	if (!rc)
		rc = put_recorded(v, ino, key, NULL, 0);
	volume_unlock(v);
	return rc;
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

	volume_lock(v);
	rc = check_call(v, ino, NULL);
	if (!rc)
		rc = tree_xattrs(v, ino, add_key, &c);
	volume_unlock(v);
	return rc ? rc : (ssize_t)c.len_bytes;
}
