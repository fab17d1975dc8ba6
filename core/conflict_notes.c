/* SPDX-License-Identifier: MIT */
/* What one reconciliation noted besides versions: a mode, an owner, a place, a deletion. Settled from the beginning,
 * but a person, or a side that is preferred, can have it the other way. */
#include "core/conflicts_private.h"

#include "db/note_rows.h"
#include "util/acl.h"
#include "util/util.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- a person wants it the other way ---- */

bool conflict_is_note(const struct conflict *c)
{
	return conflict_is_kind(c, "attribute") || conflict_is_kind(c, "move") || conflict_is_kind(c, "delete");
}

struct noted_attribute conflict_noted(const char *value)
{
	struct noted_attribute n = { .what = NOTED_OWNER };
	int end = 0;

	if (sscanf(value, "%u:%u%n", &n.uid, &n.gid, &end) == 2 && !value[end])
		return n;
	end = 0;
	if (sscanf(value, "%o%n", &n.mode, &end) == 1 && n.mode <= 07777 && (!value[end] || value[end] == ' '))
		return (struct noted_attribute){
			.what = NOTED_MODE, .mode = n.mode, .acl = value[end] ? value + end + 1 : NULL
		};
	return (struct noted_attribute){ .what = NOTED_ACL, .acl = value };
}

/* text as acl_text gives it; "none" and "default:none": there was no such ACL. The bytes, -1: none; or -EINVAL. */
static ssize_t acl_of_note(const char *text, uint8_t acl[ACL_MAX_BYTES], const char **key)
{
	bool is_default = strcmp(text, "default:none") == 0, none = is_default || strcmp(text, "none") == 0;
	size_t len = 0;
	int rc = none ? 0 : acl_parse(text, acl, &len, &is_default);

	*key = is_default ? ACL_DEFAULT_KEY : ACL_ACCESS_KEY;
	return rc ? rc : none ? -1 : (ssize_t)len;
}

static int note_acl(struct volume *v, uint64_t ino, const char *text)
{
	uint8_t acl[ACL_MAX_BYTES];
	const char *key;
	ssize_t len = acl_of_note(text, acl, &key);

	if (len == -EINVAL)
		return -EINVAL;
	return len < 0 ? volume_removexattr(v, ino, key) : volume_setxattr(v, ino, key, acl, (size_t)len, 0);
}

static int note_attribute(struct volume *v, const struct conflict *c, const char *value)
{
	const struct noted_attribute n = conflict_noted(value);
	struct attr a = { .uid = n.uid, .gid = n.gid, .mode = n.mode };
	int rc;

	if (n.what == NOTED_OWNER)
		return volume_setattr(v, c->ino, SET_UID | SET_GID, &a, &a);
	if (n.what == NOTED_ACL)
		return note_acl(v, c->ino, n.acl);
	rc = n.acl ? 0 : note_acl(v, c->ino, "none");
	if (!rc)
		rc = volume_setattr(v, c->ino, SET_MODE, &a, &a);
	return rc || !n.acl ? rc : note_acl(v, c->ino, n.acl);
}

/* The directory of "/a/b/c", and where its last name begins; 0: it is not there. Takes the lock by itself. */
static uint64_t dir_of(struct volume *v, const char *path, const char **name)
{
	char part[NAME_MAX_BYTES + 1];
	struct attr a = { .ino = INO_ROOT };
	int rc = 0;

	for (path += strspn(path, "/"); !rc && strchr(path, '/'); path += strspn(path, "/")) {
		size_t len = strcspn(path, "/");

		snprintf(part, sizeof(part), "%.*s", (int)MIN(len, sizeof(part) - 1), path);
		rc = volume_lookup(v, a.ino, part, &a);
		path += len;
	}
	*name = path;
	return rc || !*path ? 0 : a.ino;
}

static void fill_dentry(struct dentry *d, uint64_t parent, const char *name, uint64_t child)
{
	*d = (struct dentry){ .parent = parent, .child = child };
	d->name_len = (uint8_t)snprintf(d->name, sizeof(d->name), "%.*s", (int)NAME_MAX_BYTES, name);
}

static int note_move(struct volume *v, const struct conflict *c, const char *value, struct err *err)
{
	const char *name, *name_now = NULL;
	uint64_t dir, dir_now;
	struct dentry d;
	int rc;

	if (conflict_same_path(value, c->now) || !c->now)
		return 0;
	dir = dir_of(v, value, &name);
	dir_now = dir_of(v, c->now, &name_now);
	rc = dir && dir_now ? volume_rename(v, dir_now, name_now, dir, name, RENAME_NOREPLACE) : -ENOENT;
	if (rc)
		return err_set(err, rc, "%s cannot go to %s: %s; move it by hand", c->now, value, strerror(-rc));
	volume_lock(v);
	fill_dentry(&d, dir_now, name_now, c->ino);
	conflict_tell_name(v, &d);
	fill_dentry(&d, dir, name, c->ino);
	conflict_tell_name(v, &d);
	volume_unlock(v);
	return 0;
}

static int note_delete(struct volume *v, const struct conflict *c, const char *value, struct err *err)
{
	const char *name;
	struct dentry d;
	struct attr a;
	int rc = 0;

	for (char *path = NULL; !rc && strcmp(value, "deleted") == 0; free(path)) {
		uint64_t dir;

		path = volume_path(v, c->ino); /* one name after the other */
		dir = path ? dir_of(v, path, &name) : 0;
		if (!dir || volume_getattr(v, c->ino, &a)) {
			free(path);
			return 0;
		}
		rc = S_ISDIR(a.mode) ? volume_rmdir(v, dir, name) : volume_unlink(v, dir, name);
		if (rc)
			err_set(err, rc, "cannot remove %s: %s; do it by hand", path, strerror(-rc));
		volume_lock(v);
		fill_dentry(&d, dir, name, c->ino);
		conflict_tell_name(v, &d);
		volume_unlock(v);
	}
	return rc;
}

static int note_choice(struct volume *v, struct conflict *c, int which)
{
	int rc;

	conflict_tell_choice(c, which);
	volume_lock(v);
	rc = group_open(v);
	if (!rc)
		rc = conflict_put(v, c);
	conflict_tell(v, NOTICE_INODE, c->ino, NULL);
	volume_unlock(v);
	return rc;
}

/* Without the lock: these are calls as programs make them. 1: there was something to be set. */
int conflict_set_note(struct volume *v, struct conflict *c, int keep, struct err *err)
{
	int local = conflict_side(&v->info, c), which = keep == 0 ? local : !local, rc;
	const char *value = c->version[which].value;

	if (keep == 2 || !value || !c->now)
		return keep == 2;
	if (conflict_is_kind(c, "move"))
		rc = note_move(v, c, value, err);
	else if (conflict_is_kind(c, "delete"))
		rc = note_delete(v, c, value, err);
	else
		rc = note_attribute(v, c, value);
	if (!rc)
		rc = note_choice(v, c, which);
	if (rc && !err->code)
		err_set(err, rc, "cannot set %s of %s to %s: %s", c->kind, c->now, value, strerror(-rc));
	return rc ? rc : 1;
}

/* ---- one side is preferred ---- */

/* Lock held, group open. As note_acl. */
static int give_acl(struct volume *v, uint64_t ino, const char *text)
{
	uint8_t acl[ACL_MAX_BYTES];
	const char *key;
	ssize_t len = acl_of_note(text, acl, &key);

	return len == -EINVAL ? -EINVAL : conflict_set_key(v, ino, key, acl, len);
}

static int give_attribute(struct volume *v, uint64_t ino, const char *value)
{
	const struct noted_attribute n = conflict_noted(value);
	struct inode in;
	int rc = tree_inode_get(v, ino, &in);

	if (rc || n.what == NOTED_ACL)
		return rc ? rc : give_acl(v, ino, n.acl);
	in.origin = ORIGIN_LOCAL;
	if (n.what == NOTED_OWNER) {
		in.uid = n.uid;
		in.gid = n.gid;
		return tree_inode_put(v, &in) ?: changes_touch(v, ino, ENT_OWNER);
	}
	in.mode = (in.mode & S_IFMT) | n.mode;
	rc = tree_inode_put(v, &in) ?: changes_touch(v, ino, ENT_MODE);
	return rc ? rc : give_acl(v, ino, n.acl ?: "none");
}

/* "KEY removed" is all that is left of a value that is none. */
static int give_xattr(struct volume *v, const struct conflict *c)
{
	static const char removed[] = " removed";
	const char *value = c->version[1].value;
	size_t len = strlen(value), tail = sizeof(removed) - 1;
	char key[XATTR_NAME_MAX_BYTES + 1];

	if (len <= tail || strcmp(value + len - tail, removed) != 0)
		return conflict_keep_xattrs(v, c, 1);
	snprintf(key, sizeof(key), "%.*s", (int)MIN(len - tail, sizeof(key) - 1), value);
	return conflict_set_key(v, c->ino, key, NULL, -1);
}

/* Of a merge the time alone: its bytes are the caller's, and both versions stay as they are. */
static int give_time(struct volume *v, const struct conflict *c)
{
	struct inode in, theirs;
	int rc = tree_inode_get(v, c->ino, &in);

	if (rc)
		return rc == -ENOENT ? 0 : rc;
	in.mtime_ns = (int64_t)c->version[1].written_ms * 1000000;
	if (tree_inode_get(v, c->version[1].ino, &theirs) == 0)
		in.mtime_ns = theirs.mtime_ns; /* exactly */
	in.origin = ORIGIN_LOCAL;
	return tree_inode_put(v, &in) ?: changes_touch(v, c->ino, ENT_TIMES);
}

static int give_way(struct volume *v, struct conflict *c)
{
	bool xattr = conflict_is_kind(c, "xattr");
	int rc = group_open(v);

	if (!rc && conflict_is_kind(c, "content"))
		return give_time(v, c);
	if (!rc)
		rc = xattr ? give_xattr(v, c) : give_attribute(v, c->ino, c->version[1].value);
	if (rc == -ENOENT || rc == -EINVAL || rc == -ENODATA)
		return 0; /* it is not there any more; or a version of this program that wrote other words */
	free(c->rule);
	c->rule = xasprintf("resumed with --prefer: %s's stays after all", c->version[1].node);
	snprintf(c->outcome, sizeof(c->outcome), "secondary");
	c->resolved = true;
	return rc ? rc : conflict_put(v, c);
}

int conflicts_give_way(struct volume *v, uint64_t after, uint64_t upto,
                       bool (*wanted)(void *ctx, const struct conflict *c), void *ctx)
{
	struct conflict_list l = { 0 };
	int rc = conflict_rows(v->db, after, upto, conflict_list_add, &l);

	for (size_t i = 0; !rc && i < l.n; i++) {
		struct conflict *c = &l.rows[i];
		bool noted = conflict_is_kind(c, "attribute") || conflict_is_kind(c, "xattr")
		             ? c->version[1].value != NULL
		             : conflict_is_kind(c, "content") && strcmp(c->outcome, "merged") == 0;

		if (noted && c->ino && wanted(ctx, c))
			rc = give_way(v, c);
	}
	conflict_list_free(&l);
	return rc;
}
