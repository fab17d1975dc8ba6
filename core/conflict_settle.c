/* SPDX-License-Identifier: MIT */
/* Settling one conflict that has versions. What it changes is made as by a program that works on the volume, but does
 * not come through the mount: the kernel is told of it here. */
#include "core/conflicts_private.h"

#include "util/conflict_name.h"
#include "util/util.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Names tried for a file that is put beside another one. */
#define NAMES_MAX 1000u

/* ---- the parts of settling; lock held, group open ---- */

void conflict_tell(struct volume *v, int kind, uint64_t ino, const struct dentry *d)
{
	struct notice n = { .ino = ino };

	if (!v->notice_fn || v->peer_apply) /* then the tree tells */
		return;
	n.kind = kind;
	if (d) {
		n.parent = d->parent;
		n.name_len_bytes = d->name_len;
		memcpy(n.name, d->name, (size_t)d->name_len + 1);
	}
	v->notice_fn(v->notice_ctx, &n, 1);
}

void conflict_tell_name(struct volume *v, const struct dentry *d)
{
	conflict_tell(v, NOTICE_ENTRY, 0, d);
	conflict_tell(v, NOTICE_INODE, d->parent, NULL);
	conflict_tell(v, NOTICE_INODE, d->child, NULL);
}

static bool lowest_link(struct volume *v, uint64_t ino, struct dentry *out)
{
	return ino != 0 && tree_first_link(v, ino, out);
}

bool conflict_is_aside(struct volume *v, uint64_t ino)
{
	struct dentry d;

	return lowest_link(v, ino, &d) && d.parent == INO_HIDDEN;
}

uint32_t conflict_type_of(struct volume *v, uint64_t ino)
{
	struct inode in;

	return ino && tree_inode_get(v, ino, &in) == 0 ? in.mode & S_IFMT : 0;
}

/* Take the file away that holds a version nobody wants: the one name that the merge gave it. Directories stay: they
 * hold other files. */
static int remove_version(struct volume *v, uint64_t ino)
{
	struct dentry d;
	int rc;

	if (!lowest_link(v, ino, &d) || conflict_type_of(v, ino) == S_IFDIR)
		return 0;
	rc = names_unlink(v, &d);
	if (!rc)
		conflict_tell_name(v, &d);
	return rc;
}

/* What was kept only to look back: files under .twinfs. */
static int drop_kept(struct volume *v, const struct conflict *c)
{
	const uint64_t list[] = { c->base, c->version[0].ino, c->version[1].ino };
	int rc = 0;

	for (size_t i = 0; !rc && i < ARRAY_LEN(list); i++)
		if (conflict_is_aside(v, list[i]))
			rc = remove_version(v, list[i]);
	return rc;
}

int conflict_finish(struct volume *v, struct conflict *c)
{
	int rc = drop_kept(v, c);

	c->resolved = true;
	return rc ? rc : conflict_put(v, c);
}

/*
 * Somebody wants this file (symbolic link, ...) as it is. If the other side, not knowing that, takes it away or puts
 * another version in its place, both come out of it. A directory is there as long as something in it is.
 */
static int claim(struct volume *v, uint64_t ino)
{
	uint32_t type = conflict_type_of(v, ino);

	return type && type != S_IFDIR && !conflict_is_aside(v, ino) ? changes_touch(v, ino, ENT_CONTENT) : 0;
}

int conflict_list_key(void *ctx, const char *key, const void *value, size_t len_bytes)
{
	struct conflict_keys *k = ctx;

	(void)value;
	(void)len_bytes;
	if (k->n < ARRAY_LEN(k->key) && strncmp(key, k->prefix, strlen(k->prefix)) == 0)
		k->key[k->n++] = xstrdup(key);
	return 0;
}

void conflict_free_keys(struct conflict_keys *k)
{
	for (size_t i = 0; i < k->n; i++)
		free(k->key[i]);
}

int conflict_set_key(struct volume *v, uint64_t ino, const char *key, const void *value, ssize_t len)
{
	int rc = tree_xattr_put(v, ino, key, len < 0 ? NULL : value, len < 0 ? 0 : (size_t)len, ORIGIN_LOCAL);

	if (rc == -ENODATA)
		return 0;
	return rc ? rc : changes_touch_xattr(v, ino, key);
}

static int copy_keys(struct volume *v, uint64_t from, uint64_t to)
{
	struct conflict_keys k = { .prefix = "" };
	uint8_t *value = xmalloc(XATTR_VALUE_MAX_BYTES);
	int rc = tree_xattrs(v, from, conflict_list_key, &k);

	if (!rc)
		rc = conflict_set_key(v, to, ACL_ACCESS_KEY, NULL, -1); /* the mode is about to be another */
	for (size_t i = 0; !rc && i < k.n; i++) {
		ssize_t len = tree_xattr_get(v, from, k.key[i], value, XATTR_VALUE_MAX_BYTES);

		rc = len < 0 ? (int)len : conflict_set_key(v, to, k.key[i], value, len);
	}
	conflict_free_keys(&k);
	free(value);
	return rc;
}

/* A version is bytes alone; what else there is to the file is merged by itself, and is at the one in place. */
static int dress(struct volume *v, uint64_t from, uint64_t to)
{
	struct inode in, as;
	int rc = tree_inode_get(v, from, &as);

	if (!rc)
		rc = tree_inode_get(v, to, &in);
	if (rc || !S_ISREG(in.mode) || !S_ISREG(as.mode))
		return rc;
	in.mode = as.mode;
	in.uid = as.uid;
	in.gid = as.gid;
	in.origin = ORIGIN_LOCAL;
	rc = tree_inode_put(v, &in);
	if (!rc)
		rc = changes_touch(v, to, ENT_MODE);
	if (!rc)
		rc = changes_touch(v, to, ENT_OWNER);
	return rc ? rc : copy_keys(v, from, to);
}

/* Was it written to since the merge? Merging gave it the time of one of the two versions. */
static bool written_since(struct volume *v, const struct conflict *c)
{
	struct inode in;

	return tree_inode_get(v, c->ino, &in) == 0 && S_ISREG(in.mode) &&
	       (uint64_t)(in.mtime_ns / 1000000) != c->version[0].written_ms &&
	       (uint64_t)(in.mtime_ns / 1000000) != c->version[1].written_ms;
}

/* Move a link to a free name beside `at`: a conflict name of version[which], or NAME.merged where which is 2. */
static int put_beside(struct volume *v, const struct conflict *c, const struct dentry *d, const struct dentry *at,
                      int which)
{
	struct dentry to = { .parent = at->parent, .child = d->child }, taken;
	int rc = 0;

	for (unsigned n = 1; n <= NAMES_MAX && rc != -ENOENT; n++) {
		size_t len;

		if (which < 2) {
			len = conflict_name(at->name, at->name_len, c->version[which].node,
			                    c->version[which].written_ms, n, to.name);
		} else {
			char tail[24];
			int tail_len = n > 1 ? snprintf(tail, sizeof(tail), ".merged-%u", n)
			                     : snprintf(tail, sizeof(tail), ".merged");

			len = MIN((size_t)at->name_len, (size_t)NAME_MAX_BYTES - (size_t)tail_len);
			while (len > 1 && len < at->name_len && ((unsigned char)at->name[len] & 0xc0) == 0x80)
				len--; /* not within a character */
			len = (size_t)snprintf(to.name, sizeof(to.name), "%.*s%s", (int)len, at->name, tail);
		}
		to.name_len = (uint8_t)len;
		rc = tree_lookup(v, to.parent, to.name, len, &taken);
	}
	if (rc != -ENOENT)
		return rc ? rc : -EEXIST;
	rc = names_move(v, d, to.parent, to.name, to.name_len);
	if (!rc)
		conflict_tell_name(v, d);
	if (!rc)
		conflict_tell_name(v, &to);
	return rc;
}

/* The conflict was about a file, whatever names it has: those that lead to the old version lead to this one. */
static int bring_names(struct volume *v, uint64_t old, uint64_t version)
{
	int64_t now = clock_real_ns();
	struct dentry d;
	int rc = 0;

	while (!rc && lowest_link(v, old, &d)) {
		rc = names_unlink(v, &d);
		if (!rc)
			rc = names_add(v, d.parent, d.name, version, now);
		conflict_tell_name(v, &d);
	}
	return rc;
}

/* The version takes the place of the file that is there. */
static int put_in_place(struct volume *v, const struct conflict *c, uint64_t version)
{
	bool merged = strcmp(c->outcome, "kept-both") != 0;
	struct dentry from, over;
	int rc = 0;

	if (!lowest_link(v, version, &from) || !lowest_link(v, c->ino, &over))
		return -ENOENT;
	if (conflict_is_kind(c, "content"))
		rc = dress(v, c->ino, version);
	if (!rc && merged && written_since(v, c)) {
		rc = put_beside(v, c, &over, &over, 2);
		if (!rc)
			rc = names_move(v, &from, over.parent, over.name, over.name_len);
	} else if (!rc) {
		rc = conflict_move_beside(v, &from, &over) ?: names_replace(v, &from, &over);
		if (!rc && conflict_is_kind(c, "content"))
			rc = bring_names(v, c->ino, version);
	}
	if (!rc) {
		conflict_tell_name(v, &from);
		conflict_tell_name(v, &over);
	}
	return rc;
}

/* ---- settling one ---- */

/* The wanted unit goes to the path of the conflict, and the other goes with all that is in it. */
static int keep_unit(struct volume *v, struct conflict *c, int which)
{
	uint64_t wanted = c->version[which].ino, other = c->version[!which].ino;
	struct dentry from, gone;
	int rc;

	if (!lowest_link(v, wanted, &from) || !lowest_link(v, other, &gone))
		return -ENOENT;
	rc = conflict_empty_dir(v, other);
	if (!rc)
		rc = other == c->ino ? names_replace(v, &from, &gone) : names_unlink(v, &gone);
	c->ino = wanted;
	conflict_tell_name(v, &from);
	conflict_tell_name(v, &gone);
	return rc;
}

static int found_one(void *ctx, const struct dentry *d)
{
	(void)ctx;
	(void)d;
	return 1;
}

static bool is_inside(struct volume *v, uint64_t dir, uint64_t above)
{
	struct dentry d;

	while (dir != above && lowest_link(v, dir, &d))
		dir = d.parent;
	return dir == above;
}

/*
 * One of the two is a directory, and no unit: what is in it is more than the versions that there was a choice of, so it
 * stays beside, under a conflict name, unless it is empty. The wanted one gets the name.
 */
static int keep_directory_or(struct volume *v, struct conflict *c, int which, struct err *err)
{
	uint64_t wanted = c->version[which].ino, other = c->version[!which].ino;
	bool in_place = other == c->ino, stays = tree_children(v, other, found_one, NULL) == 1;
	struct dentry from, gone;
	int rc = 0;

	if (!lowest_link(v, wanted, &from) || !lowest_link(v, other, &gone))
		return -ENOENT;
	if (in_place && is_inside(v, gone.parent, wanted))
		return err_set(err, -EINVAL,
			       "%s is inside the directory that is to have its name; move it, or use --keep both",
			       c->now ? c->now : c->path);
	if (in_place && stays)
		rc = put_beside(v, c, &gone, &gone, !which);
	else if (!stays)
		rc = names_unlink(v, &gone);
	if (!rc && in_place)
		rc = names_move(v, &from, gone.parent, gone.name, gone.name_len);
	c->ino = wanted;
	conflict_tell_name(v, &from);
	conflict_tell_name(v, &gone);
	return rc ? rc : claim(v, wanted);
}

/* The wanted version goes to the path of the conflict, and the others' files go. */
static int keep_version(struct volume *v, struct conflict *c, int which, struct err *err)
{
	uint64_t wanted = c->version[which].ino, other = c->version[!which].ino, was = c->ino;
	struct dentry gone;
	int rc = 0;

	if (wanted == 0)
		return err_set(err, -ENOENT,
			       "%s: that version was not kept; use --keep both to leave the file as it is", c->path);
	if (conflict_is_about_unit(v, c))
		return keep_unit(v, c, which);
	if (other && (conflict_type_of(v, wanted) == S_IFDIR || conflict_type_of(v, other) == S_IFDIR))
		return keep_directory_or(v, c, which, err);
	if (c->ino && c->ino != wanted && c->now) {
		rc = put_in_place(v, c, wanted);
		c->ino = wanted;
	}
	/* What had the name has it no more; if it was the name that clashed, others that it has are its own. */
	if (!rc && other && other != wanted && other != was && lowest_link(v, other, &gone))
		rc = conflict_move_beside(v, NULL, &gone) ?: remove_version(v, other);
	if (!rc)
		rc = claim(v, wanted);
	return rc;
}

/* The row tells what a person has done since, in place of what was done earlier. */
static void tell_since(struct conflict *c, const char *what)
{
	const char *earlier = strstr(c->rule, "; then ");
	int keep = (int)(earlier ? (size_t)(earlier - c->rule) : strlen(c->rule));
	char *rule = xasprintf("%.*s; then %s", keep, c->rule, what);

	free(c->rule);
	c->rule = rule;
}

/* Of what has one place, where the two sides' differ: `which` is in it now. */
void conflict_tell_choice(struct conflict *c, int which)
{
	char *what = xasprintf("%s's was taken by hand", c->version[which].node);

	tell_since(c, what);
	free(what);
	if (!conflict_is_kind(c, "delete"))
		snprintf(c->outcome, sizeof(c->outcome), which ? "secondary" : "primary");
}

int conflict_settle(struct volume *v, struct conflict *c, int keep, struct err *err)
{
	int local = conflict_side(&v->info, c), which = keep == 0 ? local : !local;
	bool merged = strcmp(c->outcome, "kept-both") != 0;
	int rc = group_open(v);

	if (!rc && keep != 2 && conflict_is_kind(c, "xattr")) {
		rc = conflict_keep_xattrs(v, c, which);
		if (rc == -ENODATA)
			err_set(err, rc,
				"%s: the other value is not kept any longer; set what you want, and say --keep both",
				c->now ? c->now : c->path);
		conflict_tell_choice(c, which);
	} else if (!rc && keep != 2 && (conflict_is_kind(c, "content") || conflict_is_kind(c, "name"))) {
		rc = keep_version(v, c, which, err);
	} else if (!rc && keep == 2 && !merged) {
		rc = claim(v, c->version[0].ino) ?: claim(v, c->version[1].ino);
	}
	if (!rc)
		rc = conflict_finish(v, c);
	return rc && !err->code ? err_set(err, rc, "cannot settle %s: %s", c->path, strerror(-rc)) : rc;
}

/* The primary's version in place, the secondary's beside it, as if they had never been merged. */
int conflict_take_apart(struct volume *v, struct conflict *c)
{
	uint64_t ours = c->version[0].ino, theirs = c->version[1].ino;
	struct dentry at, other;
	int rc = group_open(v);

	if (rc || !lowest_link(v, c->ino, &at) || !lowest_link(v, theirs, &other))
		return rc ? rc : -ENOENT;
	if (theirs != c->ino)
		rc = dress(v, c->ino, theirs);
	if (!rc)
		rc = put_beside(v, c, &other, &at, 1);
	if (!rc && theirs == c->ino) { /* the name is free */
		rc = lowest_link(v, ours, &other) ? dress(v, theirs, ours) : -ENOENT;
		if (!rc)
			rc = names_move(v, &other, at.parent, at.name, at.name_len);
		if (!rc) {
			conflict_tell_name(v, &other);
			conflict_tell_name(v, &at);
		}
	} else if (!rc && ours != c->ino) {
		rc = put_in_place(v, c, ours);
	}
	if (rc)
		return rc;
	c->ino = ours;
	snprintf(c->outcome, sizeof(c->outcome), "kept-both");
	tell_since(c, "taken apart by hand");
	conflict_update_paths(v, c);
	return conflict_put(v, c);
}
