/* SPDX-License-Identifier: MIT */
/* file: the filesystem's calls on the bytes of files (volume.h): the lock, the open group, the change set and times. */
#include "core/data_private.h"
#include "core/landing.h"

#include "core/aside.h"
#include "util/util.h"

#include <assert.h>
#include <errno.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define IN_BLOCK(off) ((size_t)((off) & (BLOCK_BYTES - 1)))
/* From this length on the image is written outside the lock; below it taking the lock twice costs more than it
 * gives. */
#define BIG_WRITE_BYTES (64u << 10)
#define CAPABILITY_XATTR "security.capability"

static int file_get(struct volume *v, uint64_t ino, struct inode *in)
{
	int rc = landing_need_inode(v, ino);

	if (!rc)
		rc = tree_inode_get(v, ino, in);
	if (rc)
		return rc;
	return S_ISREG(in->mode) ? 0 : S_ISDIR(in->mode) ? -EISDIR : -EINVAL;
}

/* ---- read ---- */

/* Up to STEP_BYTES. A block may be rewritten or reused between the map and the read: what does not match is read
 * again under the lock, where nothing moves; only then it is damage. */
static ssize_t read_step(struct volume *v, uint64_t ino, uint8_t *buf, size_t len, uint64_t off)
{
	struct block_ref refs[STEP_BLOCKS + 1];
	struct inode in;

	volume_lock_now(v);
	int rc = file_get(v, ino, &in);

	len = rc == 0 && off < in.size_bytes ? (size_t)MIN(len, in.size_bytes - off) : 0;
	if (len)
		rc = blocks_map(v, ino, (struct view){ VIEW_NOW, 0 }, off >> BLOCK_SHIFT,
		                (IN_BLOCK(off) + len + BLOCK_BYTES - 1) >> BLOCK_SHIFT, refs);
	volume_unlock(v);
	if (rc || len == 0)
		return rc;
	rc = blocks_fetch(v->data->image, refs, IN_BLOCK(off), buf, len, NULL);
	if (rc == -EBADMSG || rc == -EIO) { /* -EIO: for the log, and a disk may have a second thought */
		volume_lock_now(v);
		rc = data_read(v, ino, (struct view){ VIEW_NOW, 0 }, buf, len, off);
		volume_unlock(v);
	}
	return rc ? rc : (ssize_t)len;
}

/* The same; who meets a damaged block waits a moment for the peer, which may have its bytes. */
static ssize_t read_healing(struct volume *v, uint64_t ino, uint8_t *buf, size_t len, uint64_t off)
{
	const uint64_t first = off >> BLOCK_SHIFT, end = (off + len + BLOCK_BYTES - 1) >> BLOCK_SHIFT;
	const uint64_t until_ms = clock_mono_ms() + DAMAGE_WAIT_MS;
	uint64_t now_ms = until_ms - DAMAGE_WAIT_MS;
	ssize_t n;

	while ((n = read_step(v, ino, buf, len, off)) == -EIO && now_ms < until_ms &&
	       damage_wait(v, ino, first, end, true, (unsigned)(until_ms - now_ms)) == 1)
		now_ms = clock_mono_ms();
	return n;
}

ssize_t volume_read(struct volume *v, uint64_t ino, void *buf, size_t len_bytes, uint64_t off)
{
	size_t done = 0;

	while (done < len_bytes) {
		size_t len = MIN(len_bytes - done, (size_t)STEP_BYTES);
		ssize_t n = read_healing(v, ino, (uint8_t *)buf + done, len, off + done);

		if (n < 0)
			return n;
		done += (size_t)n;
		if ((size_t)n < len)
			break;
	}
	return (ssize_t)done;
}

/* ---- write ---- */

struct write {
	uint64_t ino, off;
	const uint8_t *buf;
	size_t len;
	unsigned flags;
};

/* What each change of content entails for the inode: times, privileges, the change set. Stores it. */
static int content_changed(struct volume *v, struct inode *in, unsigned flags)
{
	bool mode_changed = false;
	int rc = 0;

	in->mtime_ns = in->ctime_ns = clock_real_ns();
	if (flags & WRITE_KILL_SUIDGID) {
		uint32_t kill = S_ISUID | ((in->mode & S_IXGRP) || (flags & WRITE_KILL_SGID) ? S_ISGID : 0);

		mode_changed = in->mode & kill;
		in->mode &= ~kill;
		if (tree_xattr_get(v, in->ino, CAPABILITY_XATTR, NULL, 0) >= 0) {
			rc = tree_xattr_put(v, in->ino, CAPABILITY_XATTR, NULL, 0, ORIGIN_LOCAL);
			if (!rc && in->nlink)
				rc = changes_touch_xattr(v, in->ino, CAPABILITY_XATTR);
		}
	}
	if (!rc)
		rc = tree_inode_put(v, in);
	if (!rc && in->nlink)
		rc = changes_touch(v, in->ino, ENT_TIMES);
	if (!rc && in->nlink && mode_changed)
		rc = changes_touch(v, in->ino, ENT_MODE);
	return rc;
}

static int finish_write(struct volume *v, struct inode *in, const struct write *w)
{
	int rc = content_changed(v, in, w->flags);

	if (!rc && in->nlink)
		rc = changes_touch_range(v, in->ino, w->off, w->len);
	return rc;
}

/* Lock held. */
static int write_locked(struct volume *v, struct write *w)
{
	struct inode in;
	int rc = file_get(v, w->ino, &in);

	if (!rc)
		rc = group_open(v);
	if (rc)
		return rc;
	if (w->flags & WRITE_APPEND)
		w->off = in.size_bytes;
	rc = data_write_inode(v, &in, w->buf, w->len, w->off, ORIGIN_LOCAL);
	return rc ? rc : finish_write(v, &in, w);
}

static int write_small(struct volume *v, struct write *w)
{
	volume_lock_now(v);
	int rc = write_locked(v, w);

	volume_leave(v);
	return rc;
}

/* A write on its way to new blocks: all blocks that it touches, the partial ones at its ends included. */
struct big {
	uint64_t first;
	size_t n, n_runs;
	uint64_t losses;      /* image_losses before the first byte */
	struct block_run runs[STEP_BLOCKS + 1];
	uint64_t sums[STEP_BLOCKS + 1];
};

static int big_prepare(struct volume *v, struct write *w, struct big *b)
{
	struct extent_list rows = EXTENT_LIST_INIT;
	struct inode in;
	uint64_t goal = 0;
	int rc = file_get(v, w->ino, &in);

	if (!rc)
		rc = group_open(v); /* a volume that takes no writes says so before the image is touched */
	if (rc)
		return rc;
	if (aside_of(v, w->ino)) /* room that is claimed stays claimed until the rows are there */
		return -EAGAIN;
	if (w->flags & WRITE_APPEND)
		w->off = in.size_bytes;
	if (w->off > FILE_MAX_BYTES || w->len > FILE_MAX_BYTES - w->off)
		return -EFBIG;
	b->losses = image_losses(v->data->image);
	b->first = w->off >> BLOCK_SHIFT;
	b->n = (size_t)(((w->off + w->len + BLOCK_BYTES - 1) >> BLOCK_SHIFT) - b->first);
	assert(b->n <= STEP_BLOCKS + 1);
	if (b->first)
		rc = extent_rows_list(v->db, w->ino, b->first - 1, b->first, &rows);
	if (!rc && rows.n)
		goal = rows.rows[0].phys + (b->first - rows.rows[0].off);
	extent_list_release(&rows);
	return rc ? rc : store_alloc(v, b->n, goal, 0, SPACE_ORDINARY, b->runs, &b->n_runs);
}

/* Image block of the i-th block of the write, and how many follow it there. */
static uint64_t big_phys(const struct big *b, size_t i, size_t *follow)
{
	const struct block_run *run = b->runs;

	for (; i >= run->len; run++)
		i -= (size_t)run->len;
	*follow = (size_t)run->len - i;
	return run->phys + i;
}

/* The blocks that the write covers wholly. No lock. */
static int big_write_middle(struct volume *v, const struct write *w, struct big *b)
{
	size_t i = IN_BLOCK(w->off) ? 1 : 0, end = b->n - (IN_BLOCK(w->off + w->len) ? 1 : 0), n;
	const uint8_t *p = w->buf + (i ? BLOCK_BYTES - IN_BLOCK(w->off) : 0);
	int rc = 0;

	for (; !rc && i < end; i += n, p += n << BLOCK_SHIFT) {
		uint64_t phys = big_phys(b, i, &n);

		n = MIN(n, end - i);
		for (size_t k = 0; k < n; k++)
			b->sums[i + k] = block_sum(p + (k << BLOCK_SHIFT));
		rc = image_write(v->data->image, phys, 0, p, n << BLOCK_SHIFT);
	}
	return rc;
}

/* One block at an end of the write: what the file has there, with our bytes over it (all that is up to its end, or it
 * need not be read). Lock held. */
static int big_write_edge(struct volume *v, const struct inode *in, const struct write *w, struct big *b, size_t i)
{
	uint8_t data[BLOCK_BYTES];
	uint64_t start = (b->first + i) << BLOCK_SHIFT;
	uint64_t from = MAX(start, w->off), to = MIN(start + BLOCK_BYTES, w->off + w->len);
	size_t follow;
	int rc = 0;

	memset(data, 0, sizeof(data));
	if (from > start || to < MIN(start + BLOCK_BYTES, in->size_bytes))
		rc = blocks_read_one(v, w->ino, (struct view){ VIEW_NOW, 0 }, b->first + i, data);
	if (rc)
		return rc;
	memcpy(data + (from - start), w->buf + (from - w->off), (size_t)(to - from));
	b->sums[i] = block_sum(data);
	return image_write(v->data->image, big_phys(b, i, &follow), 0, data, BLOCK_BYTES);
}

/* Lock held. On error the blocks are held still, but for *taken. */
static int big_finish(struct volume *v, struct write *w, struct big *b, bool *taken)
{
	struct inode in;
	int rc = file_get(v, w->ino, &in); /* it may be gone */

	if (!rc)
		rc = group_open(v);
	if (!rc && b->losses != image_losses(v->data->image))
		rc = -EIO; /* a flush failed meanwhile: what is on the image of this write is anyone's guess */
	if (!rc && (w->flags & WRITE_APPEND) && in.size_bytes != w->off)
		rc = -EAGAIN;
	if (!rc && IN_BLOCK(w->off))
		rc = big_write_edge(v, &in, w, b, 0);
	if (!rc && IN_BLOCK(w->off + w->len))
		rc = big_write_edge(v, &in, w, b, b->n - 1);
	if (rc)
		return rc;
	*taken = true;
	rc = blocks_replace(v, w->ino, b->first, b->n, b->runs, b->n_runs, b->sums, ORIGIN_LOCAL, NULL);
	if (rc)
		return rc;
	data_touch_inode(v, &in, w->off + w->len, ORIGIN_LOCAL);
	return finish_write(v, &in, w);
}

static int write_big(struct volume *v, struct write *w)
{
	struct big b = { .n_runs = 0 };
	bool taken = false;

	volume_lock_now(v);
	int rc = big_prepare(v, w, &b);

	volume_unlock(v);
	if (rc)
		return rc == -EAGAIN ? write_small(v, w) : rc;
	rc = big_write_middle(v, w, &b);
	volume_lock_now(v);
	if (!rc)
		rc = big_finish(v, w, &b, &taken);
	if (!taken)
		store_release(v, b.runs, b.n_runs);
	if (rc == -EAGAIN) /* somebody else appended meanwhile */
		rc = write_locked(v, w);
	volume_leave(v);
	return rc;
}

static int write_one(struct volume *v, struct write *w)
{
	return w->len == 0 ? 0 : w->len >= BIG_WRITE_BYTES ? write_big(v, w) : write_small(v, w);
}

ssize_t volume_write(struct volume *v, uint64_t ino, const void *buf, size_t len_bytes, uint64_t off, unsigned flags,
                     uint64_t *at)
{
	struct write w = { .ino = ino, .off = off, .buf = buf, .flags = flags };
	size_t done = 0;

	do { /* the kernel sends at most one step; more than that is not atomic */
		w.len = MIN(len_bytes - done, (size_t)STEP_BYTES);
		int rc = write_one(v, &w);

		if (rc == -ENOSPC && data_store_reclaim(v))
			rc = write_one(v, &w);

		if (rc)
			return rc;
		if (done == 0 && at)
			*at = w.off;
		done += w.len;
		w.buf += w.len;
		w.off += w.len;
	} while (done < len_bytes);
	return (ssize_t)len_bytes;
}

/* ---- fallocate, copy, seek ---- */

#define DROPS (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)

struct alloc {
	uint64_t ino, off, len;
	int mode;
	bool aside; /* room is set aside for what is a hole after it */
};

/* The block behind its last. */
static uint64_t alloc_end(const struct alloc *a)
{
	return (a->off + a->len + BLOCK_BYTES - 1) >> BLOCK_SHIFT;
}

/* What had room before keeps it. That of the blocks that go now is free when the group is durable, or only when nobody
 * needs the old version any more. */
static int drop_range(struct volume *v, struct inode *in, const struct alloc *a)
{
	uint64_t end = a->off + a->len, block = a->off >> BLOCK_SHIFT;
	int dropped = data_punch_inode(v, in, a->off, a->len, ORIGIN_LOCAL), rc = dropped == -ENOSPC ? 0 : dropped;

	if (!dropped && a->aside)
		rc = aside_put(v, a->ino, &block, alloc_end(a), SIZE_MAX, SPACE_ASKED);
	/* What had no room may have been changed in part. */
	if (!rc)
		rc = content_changed(v, in, 0);
	if (!rc && in->nlink && a->off < in->size_bytes)
		rc = changes_touch_range(v, in->ino, a->off, MIN(end, in->size_bytes) - a->off);
	return rc ? rc : dropped;
}

static int grow(struct volume *v, struct inode *in, uint64_t end)
{
	data_touch_inode(v, in, end, ORIGIN_LOCAL);
	int rc = content_changed(v, in, 0);

	return rc || !in->nlink ? rc : changes_touch(v, in->ino, ENT_CONTENT);
}

/* The file, with a group open to change it in. */
static int alloc_begin(struct volume *v, const struct alloc *a, struct inode *in)
{
	int rc = file_get(v, a->ino, in);

	return rc ? rc : group_open(v);
}

/* Lock held, but for moments between two steps: in a file with many holes. *in is read again then. */
static int set_aside(struct volume *v, const struct alloc *a, struct inode *in)
{
	uint64_t block = a->off >> BLOCK_SHIFT, end = alloc_end(a);
	int rc = aside_put(v, a->ino, &block, end, volume_step_rows(v), SPACE_ORDINARY);

	group_touch(v, a->ino);
	while (!rc && block < end) {
		volume_leave(v);
		volume_pause(v);
		volume_lock_now(v);
		rc = alloc_begin(v, a, in);
		if (!rc)
			rc = aside_put(v, a->ino, &block, end, volume_step_rows(v), SPACE_ORDINARY);
	}
	return rc;
}

static int alloc_once(struct volume *v, const struct alloc *a)
{
	struct inode in;

	volume_lock_now(v);
	int rc = alloc_begin(v, a, &in);

	if (!rc && a->aside)
		rc = set_aside(v, a, &in);
	if (!rc && (a->mode & DROPS))
		rc = drop_range(v, &in, a);
	if (!rc && !(a->mode & FALLOC_FL_KEEP_SIZE) && a->off + a->len > in.size_bytes)
		rc = grow(v, &in, a->off + a->len);
	volume_leave(v);
	return rc;
}

int volume_fallocate(struct volume *v, uint64_t ino, int mode, uint64_t off, uint64_t len_bytes)
{
	const struct alloc a = { ino, off, len_bytes, mode, !(mode & FALLOC_FL_PUNCH_HOLE) };

	switch (mode) {
	case 0:
	case FALLOC_FL_KEEP_SIZE:
	case FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE:
	case FALLOC_FL_ZERO_RANGE:
	case FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE:
		break;
	default:
		return -EOPNOTSUPP;
	}
	if (len_bytes == 0)
		return -EINVAL;
	if (off > FILE_MAX_BYTES || len_bytes > FILE_MAX_BYTES - off)
		return -EFBIG;
	int rc = alloc_once(v, &a);

	return rc == -ENOSPC && a.aside && data_store_reclaim(v) ? alloc_once(v, &a) : rc;
}

/* Zeros, of which the file grows, without room for anything else. */
static int make_hole(struct volume *v, uint64_t ino, uint64_t off, uint64_t len_bytes)
{
	if (off > FILE_MAX_BYTES || len_bytes > FILE_MAX_BYTES - off)
		return -EFBIG;
	return alloc_once(v, &(struct alloc){ ino, off, len_bytes, FALLOC_FL_ZERO_RANGE, false });
}

/* How far the file goes on in the same way from off, at most *len: 1 a hole, 0 data, or -errno. *len 0: it ends. */
static int run_at(struct volume *v, uint64_t ino, uint64_t off, uint64_t *len)
{
	struct inode in;
	bool hole = false;

	volume_lock_now(v);
	int rc = file_get(v, ino, &in);

	*len = rc == 0 && off < in.size_bytes ? MIN(*len, in.size_bytes - off) : 0;
	if (*len)
		rc = data_run(v, ino, (struct view){ VIEW_NOW, 0 }, off, *len, &hole, len);
	volume_unlock(v);
	return rc ? rc : hole;
}

static ssize_t copy_step(struct volume *v, uint64_t from, uint64_t off_from, uint64_t to, uint64_t off_to, uint64_t len,
                         uint8_t *buf, uint64_t *budget)
{
	int hole = run_at(v, from, off_from, &len);
	ssize_t n;

	if (hole < 0 || len == 0)
		return hole < 0 ? hole : 0;
	if (hole) {
		int rc = make_hole(v, to, off_to, len);

		return rc ? rc : (ssize_t)len;
	}
	n = volume_read(v, from, buf, (size_t)MIN(MIN(len, STEP_BYTES), *budget), off_from);
	*budget -= n > 0 ? (uint64_t)n : 0;
	return n > 0 ? volume_write(v, to, buf, (size_t)n, off_to, 0, NULL) : n;
}

ssize_t volume_copy(struct volume *v, uint64_t from, uint64_t off_from, uint64_t to, uint64_t off_to,
                    uint64_t len_bytes)
{
	uint64_t done = 0, budget = VOLUME_COPY_MAX_BYTES;
	ssize_t n = 1;
	uint8_t *buf;

	if (off_from > FILE_MAX_BYTES || off_to > FILE_MAX_BYTES)
		return -EFBIG;
	buf = xmalloc(STEP_BYTES);
	while (done < len_bytes && n > 0) {
		n = copy_step(v, from, off_from + done, to, off_to + done, len_bytes - done, buf, &budget);
		done += n > 0 ? (uint64_t)n : 0;
	}
	free(buf);
	return done ? (ssize_t)done : n > 0 ? 0 : n;
}

int64_t volume_seek(struct volume *v, uint64_t ino, uint64_t off, int whence)
{
	struct inode in;

	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return -EINVAL;
	volume_lock_now(v);
	int64_t rc = file_get(v, ino, &in);

	if (!rc)
		rc = data_seek(v, ino, (struct view){ VIEW_NOW, 0 }, off, whence == SEEK_HOLE);
	volume_unlock(v);
	return rc;
}
