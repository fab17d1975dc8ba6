/* SPDX-License-Identifier: MIT */
/* Conflicts as people see and settle them. What settling changes is made as by a program that works on the volume, but
 * does not come through the mount: the kernel is told of it here. */
#include "core/internal.h"

#include "db/note_rows.h"
#include "util/acl.h"
#include "util/conflict_name.h"
#include "util/util.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Names tried for a file that is put beside another one. */
#define NAMES_MAX 1000u

void conflict_release(struct conflict *c)
{
	free(c->rule);
	free(c->path);
	free(c->now);
	free(c->base_path);
	for (int i = 0; i < 2; i++) {
		free(c->version[i].path);
		free(c->version[i].value);
	}
}

/* ---- the list ---- */

struct list {
	struct conflict *rows;
	size_t n, cap;
};

static char *copy_or_null(const char *text)
{
	return text ? xstrdup(text) : NULL;
}

static int add_row(void *ctx, const struct conflict *c)
{
	struct list *l = ctx;
	struct conflict *row;

	if (l->n == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 16;
		l->rows = xrealloc(l->rows, l->cap * sizeof(*l->rows));
	}
	row = &l->rows[l->n++];
	*row = *c;
	row->rule = xstrdup(c->rule ? c->rule : "");
	row->path = xstrdup(c->path ? c->path : "");
	row->now = row->base_path = NULL;
	for (int i = 0; i < 2; i++) {
		row->version[i].path = copy_or_null(c->version[i].path);
		row->version[i].value = copy_or_null(c->version[i].value);
	}
	return 0;
}

static void free_list(struct list *l)
{
	for (size_t i = 0; i < l->n; i++)
		conflict_release(&l->rows[i]);
	free(l->rows);
}

static void set_path(struct volume *v, uint64_t ino, char **path)
{
	free(*path);
	*path = ino ? path_of(v, ino) : NULL;
}

/* Where everything is now; nowhere what is gone. */
static void update_paths(struct volume *v, struct conflict *c)
{
	set_path(v, c->ino, &c->now);
	set_path(v, c->base, &c->base_path);
	for (int i = 0; i < 2; i++) {
		set_path(v, c->version[i].ino, &c->version[i].path);
		if (!c->version[i].path)
			c->version[i].ino = 0;
	}
}

static int load(struct volume *v, struct list *l)
{
	int rc = conflict_rows_all(v->db, add_row, l);

	for (size_t i = 0; !rc && i < l->n; i++)
		update_paths(v, &l->rows[i]);
	return rc;
}

bool conflicts_any(struct volume *v)
{
	const struct db_numbers *n = db_numbers(v->db);

	return n->kept_both + n->merged > 0;
}

int conflict_open_of(struct volume *v, uint64_t ino, conflict_fn fn, void *ctx)
{
	return conflict_rows_open_of(v->db, ino, fn, ctx);
}

int volume_conflicts(struct volume *v, struct conflict **out, size_t *n)
{
	struct list l = { 0 };
	int rc;

	volume_lock(v);
	rc = load(v, &l);
	volume_unlock(v);
	if (rc) {
		free_list(&l);
		return rc;
	}
	*out = l.rows;
	*n = l.n;
	return 0;
}

static bool same_path(const char *a, const char *b)
{
	return a && b && strcmp(a + strspn(a, "/"), b + strspn(b, "/")) == 0;
}

bool conflict_is_about(const struct conflict *c, const char *which)
{
	char id[24];

	snprintf(id, sizeof(id), "%" PRIu64, c->id);
	return same_path(c->path, which) || same_path(c->now, which) || same_path(c->version[0].path, which) ||
	       same_path(c->version[1].path, which) || same_path(c->base_path, which) || same_path(id, which);
}

bool conflict_waits(const struct conflict *c)
{
	return !c->resolved && strcmp(c->outcome, "kept-both") == 0;
}

int conflict_side(const struct volume_info *info, const struct conflict *c)
{
	for (int i = 0; i < 2; i++)
		if (strcmp(c->version[i].node, info->node_name) == 0 &&
		    strcmp(c->version[!i].node, info->node_name) != 0)
			return i;
	return info->role == ROLE_SECONDARY ? 1 : 0;
}

static bool is_kind(const struct conflict *c, const char *kind)
{
	return strcmp(c->kind, kind) == 0;
}

/* ---- the parts of settling; lock held, group open ---- */

static void tell(struct volume *v, int kind, uint64_t ino, const struct dentry *d)
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

static void tell_name(struct volume *v, const struct dentry *d)
{
	tell(v, NOTICE_ENTRY, 0, d);
	tell(v, NOTICE_INODE, d->parent, NULL);
	tell(v, NOTICE_INODE, d->child, NULL);
}

static bool lowest_link(struct volume *v, uint64_t ino, struct dentry *out)
{
	return ino != 0 && tree_first_link(v, ino, out);
}

static bool is_aside(struct volume *v, uint64_t ino)
{
	struct dentry d;

	return lowest_link(v, ino, &d) && d.parent == INO_HIDDEN;
}

static uint32_t type_of(struct volume *v, uint64_t ino)
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

	if (!lowest_link(v, ino, &d) || type_of(v, ino) == S_IFDIR)
		return 0;
	rc = names_unlink(v, &d);
	if (!rc)
		tell_name(v, &d);
	return rc;
}

/* What was kept only to look back: files under .twinfs. */
static int drop_kept(struct volume *v, const struct conflict *c)
{
	const uint64_t list[] = { c->base, c->version[0].ino, c->version[1].ino };
	int rc = 0;

	for (size_t i = 0; !rc && i < ARRAY_LEN(list); i++)
		if (is_aside(v, list[i]))
			rc = remove_version(v, list[i]);
	return rc;
}

static int put_row(struct volume *v, struct conflict *c)
{
	return conflict_put(v, c);
}

static int finish(struct volume *v, struct conflict *c)
{
	int rc = drop_kept(v, c);

	c->resolved = true;
	return rc ? rc : put_row(v, c);
}

/*
 * Somebody wants this file (symbolic link, ...) as it is. If the other side, not knowing that, takes it away or puts
 * another version in its place, both come out of it. A directory is there as long as something in it is.
 */
static int claim(struct volume *v, uint64_t ino)
{
	uint32_t type = type_of(v, ino);

	return type && type != S_IFDIR && !is_aside(v, ino) ? changes_touch(v, ino, ENT_CONTENT) : 0;
}

struct keys {
	char *key[256];
	size_t n;
	const char *prefix;
};

static int list_key(void *ctx, const char *key, const void *value, size_t len_bytes)
{
	struct keys *k = ctx;

	(void)value;
	(void)len_bytes;
	if (k->n < ARRAY_LEN(k->key) && strncmp(key, k->prefix, strlen(k->prefix)) == 0)
		k->key[k->n++] = xstrdup(key);
	return 0;
}

static void free_keys(struct keys *k)
{
	for (size_t i = 0; i < k->n; i++)
		free(k->key[i]);
}

static int set_key(struct volume *v, uint64_t ino, const char *key, const void *value, ssize_t len)
{
	int rc = tree_xattr_put(v, ino, key, len < 0 ? NULL : value, len < 0 ? 0 : (size_t)len, ORIGIN_LOCAL);

	if (rc == -ENODATA)
		return 0;
	return rc ? rc : changes_touch_xattr(v, ino, key);
}

static int copy_keys(struct volume *v, uint64_t from, uint64_t to)
{
	struct keys k = { .prefix = "" };
	uint8_t *value = xmalloc(XATTR_VALUE_MAX_BYTES);
	int rc = tree_xattrs(v, from, list_key, &k);

	if (!rc)
		rc = set_key(v, to, ACL_ACCESS_KEY, NULL, -1); /* the mode is about to be another */
	for (size_t i = 0; !rc && i < k.n; i++) {
		ssize_t len = tree_xattr_get(v, from, k.key[i], value, XATTR_VALUE_MAX_BYTES);

		rc = len < 0 ? (int)len : set_key(v, to, k.key[i], value, len);
	}
	free_keys(&k);
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
		tell_name(v, d);
	if (!rc)
		tell_name(v, &to);
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
		tell_name(v, &d);
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
	if (is_kind(c, "content"))
		rc = dress(v, c->ino, version);
	if (!rc && merged && written_since(v, c)) {
		rc = put_beside(v, c, &over, &over, 2);
		if (!rc)
			rc = names_move(v, &from, over.parent, over.name, over.name_len);
	} else if (!rc) {
		rc = conflict_move_beside(v, &from, &over) ?: names_replace(v, &from, &over);
		if (!rc && is_kind(c, "content"))
			rc = bring_names(v, c->ino, version);
	}
	if (!rc) {
		tell_name(v, &from);
		tell_name(v, &over);
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
	tell_name(v, &from);
	tell_name(v, &gone);
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
	tell_name(v, &from);
	tell_name(v, &gone);
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
	if (other && (type_of(v, wanted) == S_IFDIR || type_of(v, other) == S_IFDIR))
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

/* "user.twinfs.conflict.KEY" -> the key it is the other value of. */
static void key_of(struct volume *v, uint64_t ino, const char *kept, char *out, size_t cap)
{
	snprintf(out, cap, "user.%s", kept + strlen(CONFLICT_XATTR));
	if (tree_xattr_get(v, ino, out, NULL, 0) < 0 && strchr(kept + strlen(CONFLICT_XATTR), '.'))
		snprintf(out, cap, "%s", kept + strlen(CONFLICT_XATTR));
	if (strncmp(out, "user.", 5) != 0 && strncmp(out, "trusted.", 8) != 0 && strncmp(out, "security.", 9) != 0)
		snprintf(out, cap, "user.%s", kept + strlen(CONFLICT_XATTR));
}

/* The primary's values are in place, the secondary's beside them. */
static int keep_xattrs(struct volume *v, const struct conflict *c, int which)
{
	struct keys k = { .prefix = CONFLICT_XATTR };
	uint8_t *value = xmalloc(XATTR_VALUE_MAX_BYTES);
	int rc = tree_xattrs(v, c->ino, list_key, &k);

	for (size_t i = 0; !rc && i < k.n; i++) {
		char key[XATTR_NAME_MAX_BYTES + 1];
		ssize_t len = tree_xattr_get(v, c->ino, k.key[i], value, XATTR_VALUE_MAX_BYTES);

		key_of(v, c->ino, k.key[i], key, sizeof(key));
		if (len < 0)
			rc = (int)len;
		else if (which == 1)
			rc = set_key(v, c->ino, key, value, len);
		if (!rc)
			rc = set_key(v, c->ino, k.key[i], NULL, -1);
	}
	free_keys(&k);
	free(value);
	tell(v, NOTICE_INODE, c->ino, NULL);
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
static void tell_choice(struct conflict *c, int which)
{
	char *what = xasprintf("%s's was taken by hand", c->version[which].node);

	tell_since(c, what);
	free(what);
	if (!is_kind(c, "delete"))
		snprintf(c->outcome, sizeof(c->outcome), which ? "secondary" : "primary");
}

static int settle(struct volume *v, struct conflict *c, int keep, struct err *err)
{
	int local = conflict_side(&v->info, c), which = keep == 0 ? local : !local;
	bool merged = strcmp(c->outcome, "kept-both") != 0;
	int rc = group_open(v);

	if (!rc && keep != 2 && is_kind(c, "xattr")) {
		rc = keep_xattrs(v, c, which);
		tell_choice(c, which);
	} else if (!rc && keep != 2 && (is_kind(c, "content") || is_kind(c, "name"))) {
		rc = keep_version(v, c, which, err);
	} else if (!rc && keep == 2 && !merged) {
		rc = claim(v, c->version[0].ino) ?: claim(v, c->version[1].ino);
	}
	if (!rc)
		rc = finish(v, c);
	return rc && !err->code ? err_set(err, rc, "cannot settle %s: %s", c->path, strerror(-rc)) : rc;
}

/* ---- notes: a mode, an owner, a place, a deletion. They are settled from the beginning, but can be changed. ---- */

static bool is_note(const struct conflict *c)
{
	return is_kind(c, "attribute") || is_kind(c, "move") || is_kind(c, "delete");
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

	if (same_path(value, c->now) || !c->now)
		return 0;
	dir = dir_of(v, value, &name);
	dir_now = dir_of(v, c->now, &name_now);
	rc = dir && dir_now ? volume_rename(v, dir_now, name_now, dir, name, RENAME_NOREPLACE) : -ENOENT;
	if (rc)
		return err_set(err, rc, "%s cannot go to %s: %s; move it by hand", c->now, value, strerror(-rc));
	volume_lock(v);
	fill_dentry(&d, dir_now, name_now, c->ino);
	tell_name(v, &d);
	fill_dentry(&d, dir, name, c->ino);
	tell_name(v, &d);
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
		tell_name(v, &d);
		volume_unlock(v);
	}
	return rc;
}

static int note_choice(struct volume *v, struct conflict *c, int which)
{
	int rc;

	tell_choice(c, which);
	volume_lock(v);
	rc = group_open(v);
	if (!rc)
		rc = put_row(v, c);
	tell(v, NOTICE_INODE, c->ino, NULL);
	volume_unlock(v);
	return rc;
}

/* Without the lock: these are calls as programs make them. 1: there was something to be set. */
static int set_note(struct volume *v, struct conflict *c, int keep, struct err *err)
{
	int local = conflict_side(&v->info, c), which = keep == 0 ? local : !local, rc;
	const char *value = c->version[which].value;

	if (keep == 2 || !value || !c->now)
		return keep == 2;
	if (is_kind(c, "move"))
		rc = note_move(v, c, value, err);
	else if (is_kind(c, "delete"))
		rc = note_delete(v, c, value, err);
	else
		rc = note_attribute(v, c, value);
	if (!rc)
		rc = note_choice(v, c, which);
	if (rc && !err->code)
		err_set(err, rc, "cannot set %s of %s to %s: %s", c->kind, c->now, value, strerror(-rc));
	return rc ? rc : 1;
}

/* ---- what people ask for ---- */

static int none_at(const char *which, struct err *err)
{
	return err_set(err, -ENOENT, "no conflict of %s is known (twinfs conflicts lists them)", which);
}

/* What one reconciliation noted of this file besides its versions, in the list. */
static int set_notes(struct volume *v, struct list *l, const char *which, int keep, bool *done, struct err *err)
{
	uint64_t last_ms = 0;
	int rc = 0;

	for (size_t i = 0; i < l->n; i++)
		if (conflict_is_about(&l->rows[i], which) && (!*done || !l->rows[i].resolved))
			last_ms = MAX(last_ms, l->rows[i].when_ms);
	for (size_t i = 0; rc >= 0 && i < l->n; i++) {
		struct conflict *c = &l->rows[i];

		if (!is_note(c) || !conflict_is_about(c, which) || c->when_ms != last_ms)
			continue;
		rc = set_note(v, c, keep, err);
		*done |= rc == 1;
	}
	return MIN(rc, 0);
}

int volume_conflict_resolve(struct volume *v, const char *which, int keep, struct err *err)
{
	struct list l = { 0 };
	bool about = false, open = false, done;
	int rc;

	if (keep < 0 || keep > 2)
		return err_set(err, -EINVAL, "keep local, peer or both");
	volume_lock(v);
	rc = load(v, &l);
	volume_unlock(v);
	for (size_t i = 0; !rc && i < l.n; i++) {
		about |= conflict_is_about(&l.rows[i], which);
		open |= conflict_is_about(&l.rows[i], which) && !l.rows[i].resolved;
	}
	done = open;
	if (!rc && about)
		rc = set_notes(v, &l, which, keep, &done, err);
	volume_lock(v);
	for (size_t i = 0; !rc && i < l.n; i++) {
		/* What one settled may have moved what the next is about. */
		if (l.rows[i].resolved || !conflict_is_about(&l.rows[i], which))
			continue;
		update_paths(v, &l.rows[i]);
		rc = settle(v, &l.rows[i], keep, err);
	}
	volume_unlock(v);
	for (size_t i = 0; !rc && !done && i < l.n; i++) /* settled before: said twice is fine */
		done = conflict_is_about(&l.rows[i], which) && !is_note(&l.rows[i]);
	free_list(&l);
	if (rc)
		return err->code ? rc : err_set(err, rc, "cannot settle %s: %s", which, strerror(-rc));
	if (!about)
		return none_at(which, err);
	return done ? 0 : err_set(err, -ENOENT, "%s: what that side had is not known any more", which);
}

int volume_conflict_dismiss(struct volume *v, const char *which, uint64_t before_ms, size_t *n, struct err *err)
{
	struct list l = { 0 };
	bool about = false, waits = false;
	int rc;

	*n = 0;
	volume_lock(v);
	rc = load(v, &l);
	for (size_t i = 0; !rc && i < l.n; i++) {
		struct conflict *c = &l.rows[i];

		if (which && !conflict_is_about(c, which))
			continue;
		about = true;
		waits |= conflict_waits(c);
		if (c->resolved || conflict_waits(c) || (before_ms && c->when_ms >= before_ms))
			continue;
		rc = group_open(v);
		if (!rc)
			rc = finish(v, c);
		*n += rc == 0;
	}
	volume_unlock(v);
	free_list(&l);
	if (rc)
		return err_set(err, rc, "cannot dismiss what is kept of merges: %s", strerror(-rc));
	if (which && !about)
		return none_at(which, err);
	if (which && *n == 0 && waits)
		return err_set(err, -EINVAL,
		               "%s was not merged, both versions are kept: settle it with --resolve PATH --keep "
		               "local|peer|both", which);
	return 0;
}

/* The primary's version in place, the secondary's beside it, as if they had never been merged. */
static int split(struct volume *v, struct conflict *c)
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
			tell_name(v, &other);
			tell_name(v, &at);
		}
	} else if (!rc && ours != c->ino) {
		rc = put_in_place(v, c, ours);
	}
	if (rc)
		return rc;
	c->ino = ours;
	snprintf(c->outcome, sizeof(c->outcome), "kept-both");
	tell_since(c, "taken apart by hand");
	update_paths(v, c);
	return put_row(v, c);
}

int volume_conflict_split(struct volume *v, const char *which, struct err *err)
{
	struct list l = { 0 };
	bool about = false, done = false;
	int rc;

	volume_lock(v);
	rc = load(v, &l);
	for (size_t i = l.n; !rc && !done && i-- > 0;) { /* the newest */
		struct conflict *c = &l.rows[i];

		if (!conflict_is_about(c, which))
			continue;
		about = true;
		if (c->resolved || conflict_waits(c) || !is_kind(c, "content") || !c->version[0].ino ||
		    !c->version[1].ino)
			continue;
		rc = split(v, c);
		done = rc == 0;
	}
	volume_unlock(v);
	free_list(&l);
	if (rc)
		return err_set(err, rc, "cannot take %s apart: %s", which, strerror(-rc));
	if (!about)
		return none_at(which, err);
	return done ? 0
	            : err_set(err, -ENODATA, "%s: there is no merge whose two versions are still kept", which);
}

/* ---- one side is preferred ---- */

/* Lock held, group open. As note_acl. */
static int give_acl(struct volume *v, uint64_t ino, const char *text)
{
	uint8_t acl[ACL_MAX_BYTES];
	const char *key;
	ssize_t len = acl_of_note(text, acl, &key);

	return len == -EINVAL ? -EINVAL : set_key(v, ino, key, acl, len);
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
		return keep_xattrs(v, c, 1);
	snprintf(key, sizeof(key), "%.*s", (int)MIN(len - tail, sizeof(key) - 1), value);
	return set_key(v, c->ino, key, NULL, -1);
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
	bool xattr = is_kind(c, "xattr");
	int rc = group_open(v);

	if (!rc && is_kind(c, "content"))
		return give_time(v, c);
	if (!rc)
		rc = xattr ? give_xattr(v, c) : give_attribute(v, c->ino, c->version[1].value);
	if (rc == -ENOENT || rc == -EINVAL)
		return 0; /* it is not there any more; or a version of this program that wrote other words */
	free(c->rule);
	c->rule = xasprintf("resumed with --prefer: %s's stays after all", c->version[1].node);
	snprintf(c->outcome, sizeof(c->outcome), "secondary");
	c->resolved = true;
	return rc ? rc : put_row(v, c);
}

int conflicts_give_way(struct volume *v, uint64_t after, uint64_t upto,
                       bool (*wanted)(void *ctx, const struct conflict *c), void *ctx)
{
	struct list l = { 0 };
	int rc = conflict_rows(v->db, after, upto, add_row, &l);

	for (size_t i = 0; !rc && i < l.n; i++) {
		struct conflict *c = &l.rows[i];
		bool noted = is_kind(c, "attribute") || is_kind(c, "xattr") ? c->version[1].value != NULL
		             : is_kind(c, "content") && strcmp(c->outcome, "merged") == 0;

		if (noted && c->ino && wanted(ctx, c))
			rc = give_way(v, c);
	}
	free_list(&l);
	return rc;
}

uint64_t conflict_kept_version(struct volume *v, uint64_t ino, uint64_t after)
{
	struct list l = { 0 };
	uint64_t kept = 0, grp;
	bool resolved;

	if (conflict_rows_open_of(v->db, ino, add_row, &l) == 0)
		for (size_t i = 0; i < l.n; i++) { /* the newest */
			const struct conflict *c = &l.rows[i];

			if (c->ino == ino && is_kind(c, "content") && is_aside(v, c->version[1].ino) &&
			    conflict_row_state(v->db, c->id, &grp, &resolved) == 0 && grp > after)
				kept = c->version[1].ino;
		}
	free_list(&l);
	return kept;
}

/* ---- what is settled is history ---- */

/* Who asks `why` asks about lately; a few more cost nothing. */
#define SETTLED_OLD_MAX 1000u
#define SETTLED_OLD_MS (UINT64_C(30) * 24 * 60 * 60 * 1000)
/* One reconciliation may note very many (chmod -R on both sides), each with what the other side had, and nowhere else
 * is that kept. But a list of them is read whole into memory, half a kilobyte each. */
#define SETTLED_MAX 100000u

/* Each side for itself: which rows are that old both sides know alike. Some at a time, but more than are added. */
int conflicts_tidy(struct volume *v)
{
	const uint64_t at_once = 4 * CONFLICTS_TIDY_EVERY, before_ms = clock_real_ms() - SETTLED_OLD_MS;
	uint64_t n;
	int rc = conflict_rows_settled(v->db, &n);

	v->conflicts_put = 0;
	if (!rc && n > SETTLED_OLD_MAX)
		rc = conflict_rows_drop(v->db, MIN(n - SETTLED_OLD_MAX, at_once), before_ms);
	if (!rc)
		rc = conflict_rows_settled(v->db, &n);
	if (!rc && n > SETTLED_MAX)
		rc = conflict_rows_drop(v->db, MIN(n - SETTLED_MAX, at_once), UINT64_MAX >> 1);
	return rc;
}

/* ---- by hand ---- */

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
	    type_of(v, now) != S_IFREG)
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
	struct list l = { 0 };
	struct inode in;
	int rc;

	if (!conflicts_any(v) || (tree_inode_get(v, ino, &in) == 0 && in.nlink > 0))
		return 0;
	rc = conflict_rows_open_of(v->db, ino, add_row, &l);
	for (size_t i = 0; !rc && i < l.n; i++)
		rc = follow(v, &l.rows[i], ino, was) ? put_row(v, &l.rows[i]) : finish(v, &l.rows[i]);
	free_list(&l);
	return rc;
}

int conflict_key_gone(struct volume *v, uint64_t ino, const char *key)
{
	struct keys k = { .prefix = CONFLICT_XATTR };
	struct list l = { 0 };
	int rc;

	if (strncmp(key, CONFLICT_XATTR, strlen(CONFLICT_XATTR)) != 0 || !conflicts_any(v))
		return 0;
	rc = tree_xattrs(v, ino, list_key, &k);
	if (!rc && k.n == 0)
		rc = conflict_rows_open_of(v->db, ino, add_row, &l);
	for (size_t i = 0; !rc && i < l.n; i++)
		if (is_kind(&l.rows[i], "xattr"))
			rc = finish(v, &l.rows[i]);
	free_keys(&k);
	free_list(&l);
	return rc;
}
