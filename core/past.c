/* SPDX-License-Identifier: MIT */
#include "core/past.h"

#include "core/blocks.h"
#include "core/listing.h"
#include "db/dentry_rows.h"
#include "db/meta_rows.h"
#include "db/xattr_rows.h"
#include "util/log.h"
#include "util/util.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define IN_BLOCK(off) ((size_t)((off) & (BLOCK_BYTES - 1)))

struct past {
	struct volume *v;
	uint64_t group;
};

/* ---- the pin ---- */

static int pin_take(struct volume *v, uint64_t group)
{
	size_t i = v->n_pins;

	while (i > 0 && v->pins[i - 1].group > group)
		i--;
	if (i > 0 && v->pins[i - 1].group == group) {
		v->pins[i - 1].users++;
		return 0;
	}
	if (v->n_pins == PAST_GROUPS_MAX)
		return -EMFILE;
	memmove(&v->pins[i + 1], &v->pins[i], (v->n_pins - i) * sizeof(*v->pins));
	v->pins[i] = (struct pin){ .group = group, .users = 1 };
	v->n_pins++;
	return 0;
}

/* True if it was the last user of a group that acknowledgements have left behind: something may be freed. */
static bool pin_drop(struct volume *v, uint64_t group)
{
	size_t i = 0;

	while (v->pins[i].group != group)
		i++;
	if (--v->pins[i].users > 0)
		return false;
	memmove(&v->pins[i], &v->pins[i + 1], (v->n_pins - i - 1) * sizeof(*v->pins));
	v->n_pins--;
	return group < v->info.acked;
}

static int open_group(struct volume *v, uint64_t group, struct past **out)
{
	int rc = pin_take(v, group);

	if (rc)
		return rc;
	*out = xcalloc(1, sizeof(**out));
	**out = (struct past){ v, group };
	return 0;
}

static int check_baseline(const struct volume *v, struct err *err)
{
	if (v->info.role == ROLE_NONE)
		return err_set(err, -ENODATA, "%s has no baseline: it has no peer (twinfs invite)", v->dir);
	if (v->info.acked == 0)
		return err_set(err, -ENODATA, "%s has no baseline yet: the peer has not confirmed anything so far",
			       v->dir);
	return 0;
}

int past_open(struct volume *v, struct past **out, struct err *err)
{
	int rc;

	volume_lock(v);
	rc = check_baseline(v, err);
	if (!rc) {
		rc = open_group(v, v->info.acked, out);
		if (rc)
			err_set(err, rc,
				"%u baselines of %s are being read already; unmount one or let a command end",
				PAST_GROUPS_MAX, v->dir);
	}
	volume_unlock(v);
	return rc;
}

int past_open_sent(struct volume *v, uint64_t group, struct past **out)
{
	int rc;

	volume_lock(v);
	rc = group >= v->info.acked && group <= MIN(v->info.cut, v->info.committed) ? open_group(v, group, out)
										      : -ENODATA;
	volume_unlock(v);
	return rc;
}

int past_open_known(struct volume *v, uint64_t applied, uint64_t known, struct past **out)
{
	int rc = volume_commit(v);

	if (rc)
		return rc;
	volume_lock(v);
	if (v->info.applied != applied || group_waits(v) || changes_any_after(v, known)) {
		rc = -EAGAIN;
	} else {
		history_cut(v, v->info.committed);
		rc = open_group(v, v->info.committed, out);
	}
	volume_unlock(v);
	return rc;
}

void past_close(struct past *p)
{
	struct volume *v = p ? p->v : NULL;

	if (!p)
		return;
	volume_lock(v);
	if (pin_drop(v, p->group)) {
		history_again(v);
		if (group_open(v) == 0) { /* read-only after a fault: then when that is over */
			group_keep(v);
			if (history_trim(v, leftover_at_once(v)))
				log_warn("%s: what the baseline of group %llu held could not be freed", v->dir,
				         (unsigned long long)p->group);
			leftover_start(v);
		}
	}
	volume_unlock(v);
	free(p);
}

uint64_t past_group(const struct past *p)
{
	return p->group;
}

struct volume *past_volume(const struct past *p)
{
	return p->v;
}

uint64_t past_time_ms(struct past *p)
{
	uint64_t at_ms = 0;

	volume_lock(p->v);
	if (group_row_time(p->v->db, p->group, &at_ms))
		at_ms = 0;
	volume_unlock(p->v);
	return at_ms;
}

/* ---- inodes and names; lock held ---- */

static struct view view_of(const struct past *p)
{
	return (struct view){ .kind = VIEW_AT, .group = p->group };
}

static int count_one(void *ctx, const struct dentry *d)
{
	(void)d;
	++*(uint32_t *)ctx;
	return 0;
}

static int attr_at(struct past *p, uint64_t ino, struct attr *out)
{
	struct inode in;
	uint32_t links = 0;
	int rc = tree_inode_view(p->v, ino, view_of(p), &in);

	if (!rc && !S_ISDIR(in.mode))
		rc = dentry_rows_of_child_at(p->v->db, ino, p->group, count_one, &links);
	if (rc)
		return rc;
	attr_fill(p->v, &in, out);
	out->nlink = S_ISDIR(in.mode) ? 1 : links;
	out->blocks_512 = S_ISREG(in.mode) ? (in.size_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * (BLOCK_BYTES / 512) : 0;
	return 0;
}

static int is_dir_at(struct past *p, uint64_t ino)
{
	struct inode in;
	int rc = tree_inode_view(p->v, ino, view_of(p), &in);

	return rc ? rc : S_ISDIR(in.mode) ? 0 : -ENOTDIR;
}

static int take_parent(void *ctx, const struct dentry *d)
{
	*(uint64_t *)ctx = d->parent;
	return 1;
}

static uint64_t parent_at(struct past *p, uint64_t dir)
{
	uint64_t parent = INO_ROOT;

	if (dir > INO_HIDDEN && dentry_rows_of_child_at(p->v->db, dir, p->group, take_parent, &parent) != 1)
		parent = dir;
	return parent;
}

static int child_at(struct past *p, uint64_t parent, const char *name, uint64_t *ino)
{
	struct dentry d;
	int rc = is_dir_at(p, parent);

	if (rc)
		return rc;
	if (strlen(name) > NAME_MAX_BYTES)
		return -ENAMETOOLONG;
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
		*ino = name[1] ? parent_at(p, parent) : parent;
		return 0;
	}
	if (parent == INO_ROOT && strcmp(name, HIDDEN_NAME) == 0) {
		*ino = INO_HIDDEN;
		return 0;
	}
	rc = dentry_row_find_at(p->v->db, parent, name, strlen(name), p->group, &d);
	if (!rc)
		*ino = d.child;
	return rc;
}

int past_getattr(struct past *p, uint64_t ino, struct attr *out)
{
	int rc;

	volume_lock(p->v);
	rc = attr_at(p, ino, out);
	volume_unlock(p->v);
	return rc;
}

int past_lookup(struct past *p, uint64_t parent, const char *name, struct attr *out)
{
	uint64_t ino;
	int rc;

	volume_lock(p->v);
	rc = child_at(p, parent, name, &ino);
	if (!rc)
		rc = attr_at(p, ino, out);
	volume_unlock(p->v);
	return rc;
}

int past_find(struct past *p, const char *path, struct attr *out)
{
	int rc = past_getattr(p, INO_ROOT, out);

	while (!rc) {
		char name[NAME_MAX_BYTES + 1];
		size_t len;

		path += strspn(path, "/");
		len = strcspn(path, "/");
		if (len == 0)
			break;
		if (len > NAME_MAX_BYTES)
			return -ENAMETOOLONG;
		memcpy(name, path, len);
		name[len] = '\0';
		rc = past_lookup(p, out->ino, name, out);
		path += len;
	}
	return rc;
}

ssize_t past_readlink(struct past *p, uint64_t ino, char *buf, size_t cap_bytes)
{
	struct inode in;
	ssize_t n;

	volume_lock(p->v);
	n = tree_inode_view(p->v, ino, view_of(p), &in);
	volume_unlock(p->v);
	if (n)
		return n;
	if (!S_ISLNK(in.mode))
		return -EINVAL;
	n = (ssize_t)MIN((size_t)in.target_len, cap_bytes);
	memcpy(buf, in.target, (size_t)n);
	return n;
}

/* ---- listings ---- */

static int read_batch(void *from, uint64_t dir, uint64_t after, struct listing *l)
{
	struct past *p = from;
	int rc;

	volume_lock(p->v);
	rc = is_dir_at(p, dir);
	if (!rc)
		rc = dentry_rows_of_parent_at(p->v->db, dir, p->group, after, listing_add, l);
	for (size_t i = 0; rc >= 0 && i < l->n; i++)
		rc = attr_at(p, l->entries[i].child, &l->attrs[i]);
	volume_unlock(p->v);
	return MIN(rc, 0);
}

static int read_dots(struct past *p, uint64_t dir, uint64_t after, volume_dirent_fn fn, void *ctx, bool *more)
{
	static const char *const names[] = { ".", ".." };
	struct attr attr;
	int rc = 0;

	*more = true;
	for (uint64_t i = after; !rc && *more && i < ARRAY_LEN(names); i++) {
		rc = past_lookup(p, dir, names[i], &attr);
		*more = rc == 0 && fn(ctx, names[i], strlen(names[i]), i + 1, &attr);
	}
	return rc;
}

int past_readdir(struct past *p, uint64_t dir, uint64_t after, volume_dirent_fn fn, void *ctx)
{
	bool more;
	int rc = read_dots(p, dir, after, fn, ctx, &more);

	return rc || !more ? rc : listing_each(read_batch, p, dir, after, fn, ctx);
}

/* ---- bytes ---- */

static int file_at(struct past *p, uint64_t ino, struct inode *in)
{
	int rc = tree_inode_view(p->v, ino, view_of(p), in);

	if (rc)
		return rc;
	return S_ISREG(in->mode) ? 0 : S_ISDIR(in->mode) ? -EISDIR : -EINVAL;
}

/* Up to STEP_BYTES. */
static ssize_t read_step(struct past *p, uint64_t ino, uint8_t *buf, size_t len, uint64_t off)
{
	struct block_ref refs[STEP_BLOCKS + 1];
	struct inode in;
	size_t bad = 0;
	int rc;

	volume_lock(p->v);
	rc = file_at(p, ino, &in);
	len = rc == 0 && off < in.size_bytes ? (size_t)MIN(len, in.size_bytes - off) : 0;
	if (len)
		rc = blocks_map(p->v, ino, view_of(p), off >> BLOCK_SHIFT,
		                (IN_BLOCK(off) + len + BLOCK_BYTES - 1) >> BLOCK_SHIFT, refs);
	volume_unlock(p->v);
	if (rc || len == 0)
		return rc;
	rc = blocks_fetch(p->v->data->image, refs, IN_BLOCK(off), buf, len, &bad);
	if (rc) { /* nobody moves these blocks: it is damage */
		volume_lock(p->v);
		rc = blocks_complain(p->v, ino, (off >> BLOCK_SHIFT) + bad, &refs[bad], rc);
		volume_unlock(p->v);
	}
	return rc ? rc : (ssize_t)len;
}

ssize_t past_read(struct past *p, uint64_t ino, void *buf, size_t len_bytes, uint64_t off)
{
	size_t done = 0;

	while (done < len_bytes) {
		size_t len = MIN(len_bytes - done, (size_t)STEP_BYTES);
		ssize_t n = read_step(p, ino, (uint8_t *)buf + done, len, off + done);

		if (n < 0)
			return n;
		done += (size_t)n;
		if ((size_t)n < len)
			break;
	}
	return (ssize_t)done;
}

int64_t past_seek(struct past *p, uint64_t ino, uint64_t off, int whence)
{
	struct inode in;
	int64_t rc;

	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return -EINVAL;
	volume_lock(p->v);
	rc = file_at(p, ino, &in);
	if (!rc)
		rc = data_seek(p->v, ino, view_of(p), off, whence == SEEK_HOLE);
	volume_unlock(p->v);
	return rc;
}

/* ---- xattrs ---- */

ssize_t past_getxattr(struct past *p, uint64_t ino, const char *key, void *buf, size_t cap_bytes)
{
	struct inode in;
	ssize_t n;

	volume_lock(p->v);
	n = tree_inode_view(p->v, ino, view_of(p), &in);
	if (!n)
		n = tree_xattr_get_view(p->v, ino, key, view_of(p), buf, cap_bytes);
	volume_unlock(p->v);
	return n;
}

struct key_list {
	char *buf;
	size_t cap_bytes, len_bytes;
};

static int add_key(void *ctx, const char *key, const void *value, size_t len_bytes)
{
	struct key_list *l = ctx;
	size_t n = strlen(key) + 1;

	(void)value;
	(void)len_bytes;
	if (l->cap_bytes > 0 && l->len_bytes + n > l->cap_bytes)
		return -ERANGE;
	if (l->cap_bytes > 0)
		memcpy(l->buf + l->len_bytes, key, n);
	l->len_bytes += n;
	return 0;
}

ssize_t past_listxattr(struct past *p, uint64_t ino, char *buf, size_t cap_bytes)
{
	struct key_list l = { buf, cap_bytes, 0 };
	struct inode in;
	int rc;

	volume_lock(p->v);
	rc = tree_inode_view(p->v, ino, view_of(p), &in);
	if (!rc)
		rc = xattr_rows_at(p->v->db, ino, p->group, add_key, &l);
	volume_unlock(p->v);
	return rc ? rc : (ssize_t)l.len_bytes;
}
