/* SPDX-License-Identifier: MIT */
/* The bytes of the three versions, read as they are wanted, and whether two of them are the same. */
#include "sync/content_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/data.h"
#include "util/util.h"

uint64_t content_base_end(const struct content_case *c)
{
	return c->theirs_whole ? 0 : MIN(MIN(c->base_size, c->rec->shrunk_to), c->theirs_size);
}

int content_read_base(const struct content_case *c, void *buf, size_t len, uint64_t off, uint64_t end)
{
	size_t n = off >= end ? 0 : (size_t)MIN(len, end - off);

	memset((char *)buf + n, 0, len - n);
	return n ? data_read_beyond(c->v, c->base_ino, c->base, buf, n, off) : 0;
}

static int overlay(const struct content_case *c, void *buf, size_t len, uint64_t off)
{
	return c->s->stage ? stage_overlay(c->s->stage, c->rec->ino, buf, len, off) : 0;
}

/* At most a block. If its base cannot be read, that does no harm as long as the secondary wrote all of it: what it sent
 * then comes out the same over whatever is below. */
static int theirs_in_block(const struct content_case *c, uint8_t *buf, size_t len, uint64_t off)
{
	uint8_t other[BLOCK_BYTES];
	int rc = content_read_base(c, buf, len, off, content_base_end(c));

	if (rc != -EIO)
		return rc ? rc : overlay(c, buf, len, off);
	memset(buf, 0, len);
	memset(other, 0xff, len);
	rc = overlay(c, buf, len, off);
	if (rc == 0)
		rc = overlay(c, other, len, off);
	return rc == 0 && memcmp(buf, other, len) != 0 ? -EIO : rc;
}

int content_theirs(const struct content_case *c, void *buf, size_t len_bytes, uint64_t off)
{
	int rc = content_read_base(c, buf, len_bytes, off, content_base_end(c));

	if (rc != -EIO)
		return rc ? rc : overlay(c, buf, len_bytes, off);
	rc = 0;
	for (size_t done = 0, n; rc == 0 && done < len_bytes; done += n) {
		n = MIN(len_bytes - done, BLOCK_BYTES - (off + done) % BLOCK_BYTES);
		rc = theirs_in_block(c, (uint8_t *)buf + done, n, off + done);
	}
	return rc;
}

int content_next_theirs(const struct content_case *c, uint64_t off, uint64_t *next)
{
	int rc = 0;

	*next = UINT64_MAX;
	if (off < content_base_end(c))
		rc = data_next(c->v, c->base_ino, c->base, off, next);
	if (rc == 0 && c->s->stage)
		*next = MIN(*next, stage_next(c->s->stage, c->rec->ino, off));
	return rc;
}

int content_next_piece(const struct content_case *c, unsigned which, uint64_t *off, uint64_t end, size_t *n)
{
	uint64_t base = UINT64_MAX, ours = UINT64_MAX, theirs = UINT64_MAX;
	int rc = 0;

	if (*off < end && (which & OF_BASE) && *off < c->base_size)
		rc = data_next(c->v, c->base_ino, c->base, *off, &base);
	if (rc == 0 && *off < end && (which & OF_OURS))
		rc = data_next(c->v, c->ino, view_now, *off, &ours);
	if (rc == 0 && *off < end && (which & OF_THEIRS))
		rc = content_next_theirs(c, *off, &theirs);
	if (rc < 0)
		return rc;
	*off = MIN(end, MIN(base, MIN(ours, theirs)));
	*n = (size_t)MIN(PIECE_BYTES, end - *off);
	return *n > 0;
}

int content_read_version(const struct content_case *c, enum driver_file which, void *buf, size_t len, uint64_t off)
{
	if (which == DRIVER_BASE)
		return content_read_base(c, buf, len, off, c->base_size);
	if (which == DRIVER_OURS)
		return data_read(c->v, c->ino, view_now, buf, len, off);
	return content_theirs(c, buf, len, off);
}

/* Not to be known counts as not the same. */
int content_same(const struct content_case *c)
{
	uint8_t *a, *b;
	size_t n;
	int rc = 1, more = 0;

	if (c->ours_size != c->theirs_size)
		return 0;
	a = xmalloc(2 * (size_t)PIECE_BYTES);
	b = a + PIECE_BYTES;
	for (uint64_t off = 0, end = c->ours_size;
	     rc == 1 && (more = content_next_piece(c, OF_OURS | OF_THEIRS, &off, end, &n)) > 0; off += n) {
		rc = data_read(c->v, c->ino, view_now, a, n, off);
		if (rc == 0)
			rc = content_theirs(c, b, n, off);
		if (rc == 0)
			rc = memcmp(a, b, n) == 0;
	}
	free(a);
	rc = rc == 1 && more < 0 ? more : rc;
	return rc == -EIO ? 0 : rc;
}

bool content_has_base(const struct content_case *c)
{
	uint8_t *piece = xmalloc(PIECE_BYTES);
	int rc = c->mixed ? -ENODATA : 0, more = 0;
	size_t n;

	for (uint64_t off = 0; rc == 0 && (more = content_next_piece(c, OF_BASE, &off, c->base_size, &n)) > 0; off += n)
		rc = content_read_base(c, piece, n, off, c->base_size);
	free(piece);
	return rc == 0 && more == 0;
}

int content_is(struct volume *v, uint64_t ino, uint64_t from, struct view view, uint64_t size_bytes)
{
	struct inode *in = xmalloc(sizeof(*in));
	uint8_t *a = xmalloc(2 * (size_t)PIECE_BYTES), *b = a + PIECE_BYTES;
	int rc = tree_inode_get(v, ino, in);
	bool same = rc == 0 && in->size_bytes == size_bytes;

	for (uint64_t off = 0; rc == 0 && same && off < size_bytes; off += PIECE_BYTES) {
		uint64_t its = 0, now = 0;

		rc = data_next(v, from, view, off, &its);
		if (rc == 0)
			rc = data_next(v, ino, view_now, off, &now);
		off = MIN(size_bytes, MIN(its, now));
		size_t n = (size_t)MIN(PIECE_BYTES, size_bytes - off);

		if (rc < 0 || n == 0)
			break;
		rc = data_read_beyond(v, from, view, a, n, off);
		if (rc == 0)
			rc = data_read(v, ino, view_now, b, n, off);
		same = rc == 0 && memcmp(a, b, n) == 0;
	}
	free(a);
	free(in);
	return rc ? rc : same;
}
