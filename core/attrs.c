/* SPDX-License-Identifier: MIT */
/* Attributes as the filesystem sees them, and lookup counts. */
#include "core/aside.h"
#include "core/internal.h"
#include "core/landing.h"

#include "util/util.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

static struct timespec from_ns(int64_t ns)
{
	int64_t s = ns / NS_PER_S, rest = ns % NS_PER_S;

	if (rest < 0) {
		s--;
		rest += NS_PER_S;
	}
	return (struct timespec){ .tv_sec = s, .tv_nsec = rest };
}

static int64_t to_ns(const struct timespec *t)
{
	int64_t ns;

	if (__builtin_mul_overflow((int64_t)t->tv_sec, NS_PER_S, &ns) ||
	    __builtin_add_overflow(ns, (int64_t)t->tv_nsec, &ns))
		return t->tv_sec < 0 ? INT64_MIN : INT64_MAX;
	return ns;
}

void attr_fill(struct volume *v, const struct inode *in, struct attr *out)
{
	*out = (struct attr){ .ino = in->ino, .size_bytes = in->size_bytes, .mode = in->mode, .nlink = in->nlink,
	                      .uid = in->uid, .gid = in->gid, .rdev = in->rdev };
	if (S_ISREG(in->mode))
		out->blocks_512 = data_blocks_512(v, in->ino);
	else if (S_ISDIR(in->mode))
		out->size_bytes = BLOCK_BYTES;
	out->atime = from_ns(in->atime_ns);
	out->mtime = from_ns(in->mtime_ns);
	out->ctime = from_ns(in->ctime_ns);
}

int attr_get(struct volume *v, uint64_t ino, struct attr *out)
{
	struct inode in;
	int rc = tree_inode_get(v, ino, &in);

	if (!rc)
		attr_fill(v, &in, out);
	return rc;
}

int volume_getattr(struct volume *v, uint64_t ino, struct attr *out)
{
	int rc;

	rc = landing_lock_inode(v, ino);
	if (!rc)
		rc = attr_get(v, ino, out);
	volume_unlock(v);
	return rc;
}

/* ---- setattr ---- */

static int check_size(const struct volume *v, const struct inode *in, const struct attr *want)
{
	(void)v;
	if (S_ISDIR(in->mode))
		return -EISDIR;
	if (!S_ISREG(in->mode))
		return -EINVAL;
	return want->size_bytes > FILE_MAX_BYTES ? -EFBIG : 0;
}

/* Sets the size and records it; the rest of the row is the caller's, who reads it anew. */
static int set_size(struct volume *v, const struct inode *in, uint64_t size_bytes)
{
	int rc;

	if (size_bytes == in->size_bytes) /* what fallocate got behind the end is given back all the same */
		return aside_drop(v, in->ino, (size_bytes + BLOCK_BYTES - 1) >> BLOCK_SHIFT, UINT64_MAX);
	rc = data_truncate(v, in->ino, size_bytes, ORIGIN_LOCAL);
	if (rc)
		return rc;
	return size_bytes < in->size_bytes ? changes_touch_shrink(v, in->ino, size_bytes)
	                                   : changes_touch(v, in->ino, ENT_CONTENT);
}

static int kill_capability(struct volume *v, uint64_t ino)
{
	int rc = tree_xattr_put(v, ino, "security.capability", NULL, 0, ORIGIN_LOCAL);

	return rc == -ENODATA ? 0 : rc ? rc : changes_touch_xattr(v, ino, "security.capability");
}

/* Returns a set of 1 << ENT_*. */
static unsigned change_row_of(struct inode *in, unsigned set, const struct attr *want, int64_t now_ns)
{
	struct inode old = *in;
	unsigned touched = 0;

	if (set & SET_MODE)
		in->mode = (in->mode & S_IFMT) | (want->mode & 07777);
	if (set & SET_UID)
		in->uid = want->uid;
	if (set & SET_GID)
		in->gid = want->gid;
	if ((set & SET_KILL_SUIDGID) && !S_ISDIR(in->mode)) {
		in->mode &= ~(uint32_t)S_ISUID;
		if ((in->mode & S_IXGRP) || (set & SET_KILL_SGID))
			in->mode &= ~(uint32_t)S_ISGID;
	}
	if (set & (SET_ATIME | SET_ATIME_NOW))
		in->atime_ns = set & SET_ATIME_NOW ? now_ns : to_ns(&want->atime);
	if (set & (SET_MTIME | SET_MTIME_NOW))
		in->mtime_ns = set & SET_MTIME_NOW ? now_ns : to_ns(&want->mtime);
	else if (set & SET_SIZE)
		in->mtime_ns = now_ns;
	in->ctime_ns = set & SET_CTIME ? to_ns(&want->ctime) : now_ns;
	if (in->mode != old.mode)
		touched |= 1u << ENT_MODE;
	if (in->uid != old.uid || in->gid != old.gid)
		touched |= 1u << ENT_OWNER;
	if (in->atime_ns != old.atime_ns || in->mtime_ns != old.mtime_ns)
		touched |= 1u << ENT_TIMES;
	return touched;
}

static int apply_setattr(struct volume *v, struct inode *in, unsigned set, const struct attr *want)
{
	unsigned touched;
	int rc = group_open(v);

	if (!rc && (set & SET_SIZE)) {
		rc = set_size(v, in, want->size_bytes);
		if (!rc)
			rc = tree_inode_get(v, in->ino, in);
	}
	if (!rc && (set & SET_KILL_SUIDGID) && S_ISREG(in->mode))
		rc = kill_capability(v, in->ino);
	if (rc)
		return rc;
	touched = change_row_of(in, set, want, clock_real_ns());
	in->origin = ORIGIN_LOCAL;
	/* Nothing but ctime: no version of its own. */
	rc = touched ? tree_inode_put(v, in) : tree_set_ctime(v, in->ino, in->ctime_ns);
	for (unsigned what = ENT_MODE; !rc && what <= ENT_TIMES; what++)
		if (touched & 1u << what)
			rc = changes_touch(v, in->ino, (enum entity)what);
	return rc || !(touched & 1u << ENT_MODE) ? rc : xattr_acl_chmod(v, in);
}

int volume_setattr(struct volume *v, uint64_t ino, unsigned set, const struct attr *in, struct attr *out)
{
	struct inode row;
	int rc;

	rc = landing_lock_inode(v, ino);
	if (!rc)
		rc = tree_inode_get(v, ino, &row);
	if (!rc && (set & SET_SIZE))
		rc = check_size(v, &row, in);
	if (!rc)
		rc = apply_setattr(v, &row, set, in);
	if (!rc && out)
		rc = attr_get(v, ino, out);
	volume_leave(v);
	return rc;
}
