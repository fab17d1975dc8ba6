/* SPDX-License-Identifier: MIT */
#include "core/data_private.h"

#include "core/aside.h"
#include "util/util.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define IN_BLOCK(off) ((size_t)((off) & (BLOCK_BYTES - 1)))
#define NOW ((struct view){ VIEW_NOW, 0 })

static int inode_in_view(struct volume *v, uint64_t ino, struct view view, struct inode *in)
{
	return view.kind == VIEW_NOW ? tree_inode_get(v, ino, in) : tree_inode_view(v, ino, view, in);
}

static int read_blocks(struct volume *v, uint64_t ino, struct view view, uint8_t *p, uint64_t off, uint64_t end)
{
	int rc = 0;

	while (!rc && off < end) {
		struct block_ref refs[STEP_BLOCKS + 1];
		uint64_t first = off >> BLOCK_SHIFT;
		size_t len = (size_t)MIN(end - off, STEP_BYTES), bad = 0;

		rc = blocks_map(v, ino, view, first, (IN_BLOCK(off) + len + BLOCK_BYTES - 1) >> BLOCK_SHIFT, refs);
		if (rc)
			return rc;
		rc = blocks_fetch(v->data->image, refs, IN_BLOCK(off), p, len, &bad);
		if (rc)
			rc = blocks_complain(v, ino, first + bad, &refs[bad], rc);
		off += len;
		p += len;
	}
	return rc;
}

int data_read(struct volume *v, uint64_t ino, struct view view, void *buf, size_t len_bytes, uint64_t off)
{
	struct inode in;
	int rc = inode_in_view(v, ino, view, &in);
	uint8_t *p = buf;

	if (rc)
		return rc;
	uint64_t end = off < in.size_bytes ? MIN(in.size_bytes, off + len_bytes) : off;

	memset(p + (end - off), 0, len_bytes - (size_t)(end - off));
	return read_blocks(v, ino, view, p, off, end);
}

int data_read_beyond(struct volume *v, uint64_t ino, struct view view, void *buf, size_t len_bytes, uint64_t off)
{
	struct inode in;
	int rc = inode_in_view(v, ino, view, &in);

	return rc ? rc : read_blocks(v, ino, view, buf, off, off + len_bytes);
}

void data_touch_inode(struct volume *v, struct inode *in, uint64_t end_bytes, enum origin origin)
{
	if (end_bytes > in->size_bytes)
		leftover_settle(v, in->ino); /* only the database can refuse it, and then no group is made of this */
	in->size_bytes = MAX(in->size_bytes, end_bytes);
	in->cborn = group_number(v);
	in->corigin = origin;
	if (origin == ORIGIN_LOCAL) /* the peer's bytes alone do not make our attributes its own */
		in->origin = ORIGIN_LOCAL;
	group_mark(v);
	notice_inode(v, in->ino);
}

/* One step: at most STEP_BLOCKS blocks are touched. What lies behind the end of the file is zero: a write that reaches
 * that far needs nothing of its last block, damaged as it may be. -EBADE: a block that it needs a part of cannot be
 * read, nothing was written. */
static int write_plain(struct volume *v, const struct inode *in, const uint8_t *buf, size_t len, uint64_t off,
                      enum origin origin)
{
	uint64_t ino = in->ino;
	uint64_t first = off >> BLOCK_SHIFT, end = off + len;
	size_t n = (size_t)(((end + BLOCK_BYTES - 1) >> BLOCK_SHIFT) - first);

	if (!IN_BLOCK(off) && !IN_BLOCK(end))
		return blocks_write(v, ino, first, n, buf, origin, SPACE_ORDINARY);
	uint8_t *whole = xmalloc(n << BLOCK_SHIFT);
	bool last = IN_BLOCK(end) && end < in->size_bytes, first_too = IN_BLOCK(off) || (last && n == 1);
	int rc = 0;

	memset(whole + ((n - 1) << BLOCK_SHIFT), 0, BLOCK_BYTES);
	if (first_too)
		rc = blocks_read_one(v, ino, NOW, first, whole);
	if (!rc && last && n > 1)
		rc = blocks_read_one(v, ino, NOW, first + n - 1, whole + ((n - 1) << BLOCK_SHIFT));
	if (rc == -EIO) {
		rc = -EBADE;
	} else if (!rc) {
		memcpy(whole + IN_BLOCK(off), buf, len);
		rc = blocks_write(v, ino, first, n, whole, origin, SPACE_ORDINARY);
	}
	free(whole);
	return rc;
}

/* A program is told of a damaged block in its way. Of what comes from the peer the part of it is lost with the rest, or
 * the peer's changes would never get in. */
static int write_step(struct volume *v, const struct inode *in, const uint8_t *buf, size_t len, uint64_t off,
                      enum origin origin)
{
	int rc = write_plain(v, in, buf, len, off, origin);

	if (rc != -EBADE || !v->peer_apply)
		return rc == -EBADE ? -EIO : rc;
	for (size_t done = 0, n; done < len; done += n) {
		n = MIN(len - done, BLOCK_BYTES - IN_BLOCK(off + done));
		rc = write_plain(v, in, buf + done, n, off + done, origin);
		if (rc == -EBADE)
			rc = blocks_lose(v, in->ino, (off + done) >> BLOCK_SHIFT, origin);
		if (rc)
			return rc;
	}
	return 0;
}

/* For a write in several steps: refused before the first. */
static int room_for_all(struct volume *v, uint64_t ino, uint64_t off, uint64_t len_bytes)
{
	uint64_t first = off >> BLOCK_SHIFT, end = (off + len_bytes + BLOCK_BYTES - 1) >> BLOCK_SHIFT, claims;
	int rc = aside_count(v, ino, first, end, &claims);

	return rc ? rc : store_room(v, end - first, claims, SPACE_ORDINARY);
}

int data_write_inode(struct volume *v, struct inode *in, const void *buf, size_t len_bytes, uint64_t off,
                     enum origin origin)
{
	const uint8_t *p = buf;
	int rc;

	if (len_bytes == 0)
		return 0;
	if (off > FILE_MAX_BYTES || len_bytes > FILE_MAX_BYTES - off)
		return -EFBIG;
	rc = len_bytes > STEP_BYTES ? room_for_all(v, in->ino, off, len_bytes) : 0;
	for (uint64_t at = off, left = len_bytes; !rc && left;) {
		size_t len = (size_t)MIN(left, STEP_BYTES - IN_BLOCK(at));

		rc = write_step(v, in, p, len, at, origin);
		p += len;
		at += len;
		left -= len;
	}
	if (!rc)
		data_touch_inode(v, in, off + len_bytes, origin);
	return rc;
}

int data_write(struct volume *v, uint64_t ino, const void *buf, size_t len_bytes, uint64_t off, enum origin origin)
{
	struct inode in;
	int rc = tree_inode_get(v, ino, &in);

	if (!rc)
		rc = data_write_inode(v, &in, buf, len_bytes, off, origin);
	return rc ? rc : tree_inode_put(v, &in);
}

bool data_disk_answers(struct volume *v)
{
	return image_answers(v->data->image);
}

int data_lose(struct volume *v, uint64_t ino, uint64_t off, uint64_t len_bytes, enum origin origin)
{
	struct inode in;
	int rc = tree_inode_get(v, ino, &in);

	if (rc || len_bytes == 0)
		return rc;
	if (off > FILE_MAX_BYTES || len_bytes > FILE_MAX_BYTES - off)
		return -EFBIG;
	for (uint64_t b = off >> BLOCK_SHIFT; !rc && b << BLOCK_SHIFT < off + len_bytes; b++)
		rc = blocks_lose(v, ino, b, origin);
	if (rc)
		return rc;
	data_touch_inode(v, &in, off + len_bytes, origin);
	return tree_inode_put(v, &in);
}

/* Zero bytes [from, to) of one block; a hole stays one, and so does a block that nobody can read. Found damaged only
 * now it is refused to a program; what comes from the peer must not wait for it. */
static int zero_in_block(struct volume *v, uint64_t ino, uint64_t block, size_t from, size_t to, enum origin origin)
{
	uint8_t data[BLOCK_BYTES];
	struct block_ref ref;
	int rc = blocks_map(v, ino, NOW, block, 1, &ref);

	if (rc || ref.phys == 0 || from == to || ref.sum == block_sum_lost())
		return rc;
	rc = blocks_read_one(v, ino, NOW, block, data);
	if (rc == -EIO && v->peer_apply)
		return blocks_lose(v, ino, block, origin);
	if (rc)
		return rc;
	size_t i = from;

	while (i < to && data[i] == 0)
		i++;
	if (i == to)
		return 0;
	memset(data + from, 0, to - from);
	return blocks_write(v, ino, block, 1, data, origin, SPACE_RESERVE);
}

int data_zero_tail(struct volume *v, uint64_t ino, uint64_t size_bytes, enum origin origin)
{
	if (!IN_BLOCK(size_bytes))
		return 0;
	return zero_in_block(v, ino, size_bytes >> BLOCK_SHIFT, IN_BLOCK(size_bytes), BLOCK_BYTES, origin);
}

int data_truncate(struct volume *v, uint64_t ino, uint64_t size_bytes, enum origin origin)
{
	struct inode in;
	int rc = tree_inode_get(v, ino, &in);

	if (rc)
		return rc;
	if (size_bytes > FILE_MAX_BYTES)
		return -EFBIG;
	if (size_bytes == in.size_bytes)
		return 0; /* and whoever made the content last stays its author */
	if (size_bytes < in.size_bytes) {
		rc = data_zero_tail(v, ino, size_bytes, origin); /* the only part that can be refused: first */
		if (!rc)
			rc = blocks_drop_tail(v, ino, (size_bytes + BLOCK_BYTES - 1) >> BLOCK_SHIFT, origin);
	}
	if (!rc && size_bytes > in.size_bytes)
		rc = leftover_settle(v, ino);
	if (rc)
		return rc;
	in.size_bytes = size_bytes;
	data_touch_inode(v, &in, size_bytes, origin);
	return tree_inode_put(v, &in);
}

int data_punch_inode(struct volume *v, struct inode *in, uint64_t off, uint64_t len_bytes, enum origin origin)
{
	uint64_t end = len_bytes > FILE_MAX_BYTES || off > FILE_MAX_BYTES ? FILE_MAX_BYTES : off + len_bytes;
	/* whole blocks: [first, last) */
	uint64_t first = (off + BLOCK_BYTES - 1) >> BLOCK_SHIFT, last = end >> BLOCK_SHIFT;
	int rc = 0;

	if (off >= end)
		return 0;
	if (first > last) /* within one block */
		rc = zero_in_block(v, in->ino, last, IN_BLOCK(off), IN_BLOCK(end), origin);
	else {
		if (IN_BLOCK(off))
			rc = zero_in_block(v, in->ino, first - 1, IN_BLOCK(off), BLOCK_BYTES, origin);
		if (!rc && IN_BLOCK(end))
			rc = zero_in_block(v, in->ino, last, 0, IN_BLOCK(end), origin);
		if (!rc && first < last)
			rc = blocks_drop(v, in->ino, first, last, origin);
	}
	/* Of two blocks that are zeroed in part there may have been room for one alone: it is changed. */
	if (!rc || rc == -ENOSPC)
		data_touch_inode(v, in, 0, origin);
	return rc;
}

int data_punch(struct volume *v, uint64_t ino, uint64_t off, uint64_t len_bytes, enum origin origin)
{
	struct inode in;
	int rc = tree_inode_get(v, ino, &in);

	if (!rc)
		rc = data_punch_inode(v, &in, off, len_bytes, origin);
	return rc ? rc : tree_inode_put(v, &in);
}

/* ---- seek ---- */

/* The next block >= from that may be mapped in the view: 1, or 0 if there is none. */
static int next_row(struct volume *v, uint64_t ino, struct view view, uint64_t from, uint64_t *block)
{
	uint64_t now = 0, old = 0;
	int rc = extent_rows_next(v->db, ino, from, false, &now), rc_old = 0;

	if (rc >= 0 && view.kind != VIEW_NOW)
		rc_old = extent_rows_next(v->db, ino, from, true, &old);
	if (rc < 0 || rc_old < 0)
		return MIN(rc, rc_old);
	*block = rc && rc_old ? MIN(now, old) : rc ? now : old;
	return rc || rc_old;
}

int data_next(struct volume *v, uint64_t ino, struct view view, uint64_t off, uint64_t *next)
{
	uint64_t block = 0;
	int rc = next_row(v, ino, view, off >> BLOCK_SHIFT, &block);

	*next = rc > 0 ? MAX(off, block << BLOCK_SHIFT) : UINT64_MAX;
	return MIN(rc, 0);
}

int data_differ(struct volume *v, uint64_t ino, struct view a, struct view b, uint64_t off, uint64_t end,
                uint64_t *next)
{
	struct block_ref x[STEP_BLOCKS], y[STEP_BLOCKS];
	uint64_t block = off >> BLOCK_SHIFT, last = (end + BLOCK_BYTES - 1) >> BLOCK_SHIFT;

	*next = end;
	while (block < last) {
		uint64_t in_a = 0, in_b = 0;
		int rc_a = next_row(v, ino, a, block, &in_a), rc_b = next_row(v, ino, b, block, &in_b), rc;

		if (rc_a <= 0 && rc_b <= 0)
			return MIN(rc_a, rc_b);
		block = rc_a > 0 && rc_b > 0 ? MIN(in_a, in_b) : rc_a > 0 ? in_a : in_b;
		size_t n = (size_t)MIN(last > block ? last - block : 0, STEP_BLOCKS);

		if (n == 0)
			return 0;
		rc = blocks_map(v, ino, a, block, n, x);
		if (!rc)
			rc = blocks_map(v, ino, b, block, n, y);
		for (size_t i = 0; !rc && i < n; i++)
			if (x[i].phys != y[i].phys) {
				*next = MAX(off, (block + i) << BLOCK_SHIFT);
				return 0;
			}
		if (rc)
			return rc;
		block += n;
	}
	return 0;
}

/* First block >= from, below end, that is a hole (or is not): 1 and *block. 0: none. */
static int seek_in_view(struct volume *v, uint64_t ino, struct view view, uint64_t from, uint64_t end, bool hole,
                        uint64_t *block)
{
	struct block_ref refs[STEP_BLOCKS];
	int rc;

	while (from < end) {
		uint64_t mapped = 0;

		rc = next_row(v, ino, view, from, &mapped);
		if (rc < 0)
			return rc;
		if (hole && (rc == 0 || mapped > from)) {
			*block = from;
			return 1;
		}
		if (rc == 0)
			return 0;
		from = mapped;
		size_t n = (size_t)MIN(end > from ? end - from : 0, STEP_BLOCKS);

		rc = n ? blocks_map(v, ino, view, from, n, refs) : 0;
		if (rc)
			return rc;
		for (size_t i = 0; i < n; i++, from++)
			if ((refs[i].phys == 0) == hole) {
				*block = from;
				return 1;
			}
	}
	return 0;
}

int data_run(struct volume *v, uint64_t ino, struct view view, uint64_t off, uint64_t len_bytes, bool *hole,
             uint64_t *run_bytes)
{
	struct block_ref refs[STEP_BLOCKS];
	struct inode in;
	uint64_t mapped = 0;
	size_t n, same = 1;
	int rc = inode_in_view(v, ino, view, &in);

	*hole = true;
	*run_bytes = len_bytes;
	if (rc || off >= in.size_bytes)
		return rc;
	uint64_t from = off >> BLOCK_SHIFT, stop = MIN(off + len_bytes, in.size_bytes);
	uint64_t end = (stop + BLOCK_BYTES - 1) >> BLOCK_SHIFT;

	rc = next_row(v, ino, view, from, &mapped);
	if (rc <= 0 || mapped >= end)
		return MIN(rc, 0);
	if (mapped > from) {
		*run_bytes = (mapped << BLOCK_SHIFT) - off;
		return 0;
	}
	n = (size_t)MIN(end - from, STEP_BLOCKS);
	rc = blocks_map(v, ino, view, from, n, refs);
	if (rc)
		return rc;
	*hole = refs[0].phys == 0;
	while (same < n && (refs[same].phys == 0) == *hole)
		same++;
	*run_bytes = MIN(stop, (from + same) << BLOCK_SHIFT) - off;
	return 0;
}

int64_t data_seek(struct volume *v, uint64_t ino, struct view view, uint64_t off, bool hole)
{
	struct inode in;
	uint64_t block = 0;
	int rc = inode_in_view(v, ino, view, &in);

	if (rc)
		return rc;
	if (off >= in.size_bytes)
		return -ENXIO;
	uint64_t from = off >> BLOCK_SHIFT, end = (in.size_bytes + BLOCK_BYTES - 1) >> BLOCK_SHIFT;

	if (hole && view.kind == VIEW_NOW)
		rc = extent_rows_gap(v->db, ino, from, &block) ?: 1;
	else
		rc = seek_in_view(v, ino, view, from, end, hole, &block);
	if (rc < 0)
		return rc;
	if (rc == 0)
		return hole ? (int64_t)in.size_bytes : -ENXIO;
	uint64_t at = MAX(off, block << BLOCK_SHIFT);

	return at < in.size_bytes ? (int64_t)at : hole ? (int64_t)in.size_bytes : -ENXIO;
}
