/* SPDX-License-Identifier: MIT */
/* Conflicts that somebody settles without asking us: versions are files, which can be removed, renamed and saved. */
#include "core/conflicts_private.h"

#include "db/note_rows.h"
#include "util/util.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static uint64_t find_path(struct volume *v, const char *path)
{
	uint64_t ino = INO_ROOT;

	for (path += strspn(path, "/"); *path; path += strspn(path, "/")) {
		size_t len = strcspn(path, "/");
		struct dentry d;

		if (len > NAME_MAX_BYTES || tree_lookup(v, ino, path, len, &d) != 0)
			return 0;
		ino = d.child;
		path += len;
	}
	return ino == INO_ROOT ? 0 : ino;
}

/* The file that has the name now. */
static uint64_t successor(struct volume *v, const struct conflict *c, uint64_t gone, const struct dentry *was)
{
	struct dentry d;

	if (was && tree_lookup(v, was->parent, was->name, was->name_len, &d) == 0)
		return d.child;
	for (int i = 0; i < 2; i++)
		if (c->version[i].ino == gone && c->version[i].path)
			return find_path(v, c->version[i].path);
	return find_path(v, c->path);
}

/* An editor saved the file under its name anew: then that is what the conflict is about. */
static bool follow(struct volume *v, struct conflict *c, uint64_t gone, const struct dentry *was)
{
	uint64_t now = successor(v, c, gone, was);

	if (!now || now == c->ino || now == c->version[0].ino || now == c->version[1].ino ||
	    conflict_type_of(v, now) != S_IFREG)
		return false;
	for (int i = 0; i < 2; i++)
		if (c->version[i].ino == gone)
			c->version[i].ino = now;
	if (c->ino == gone)
		c->ino = now;
	return true;
}

int conflict_lost(struct volume *v, uint64_t ino, const struct dentry *was)
{
	struct conflict_list l = { 0 };
	struct inode in;
	int rc;

	if (!conflicts_any(v) || (tree_inode_get(v, ino, &in) == 0 && in.nlink > 0))
		return 0;
	rc = conflict_rows_open_of(v->db, ino, conflict_list_add, &l);
	for (size_t i = 0; !rc && i < l.n; i++)
		rc = follow(v, &l.rows[i], ino, was) ? conflict_put(v, &l.rows[i]) : conflict_finish(v, &l.rows[i]);
	conflict_list_free(&l);
	return rc;
}

int conflict_key_gone(struct volume *v, uint64_t ino, const char *key)
{
	struct conflict_keys k = { .prefix = CONFLICT_XATTR };
	struct conflict_list l = { 0 };
	int rc;

	if (strncmp(key, CONFLICT_XATTR, strlen(CONFLICT_XATTR)) != 0 || !conflicts_any(v))
		return 0;
	rc = tree_xattrs(v, ino, conflict_list_key, &k);
	if (!rc && k.n == 0)
		rc = conflict_rows_open_of(v->db, ino, conflict_list_add, &l);
	for (size_t i = 0; !rc && i < l.n; i++)
		if (conflict_is_kind(&l.rows[i], "xattr"))
			rc = conflict_finish(v, &l.rows[i]);
	conflict_free_keys(&k);
	conflict_list_free(&l);
	return rc;
}
