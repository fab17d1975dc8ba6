/* SPDX-License-Identifier: MIT */
/* A whole version, or its tail, into a file: what is there already is not written, and holes stay holes. */
#include "sync/content_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/data.h"
#include "util/log.h"
#include "util/util.h"

struct copying {
	struct volume *v;
	int (*read)(const void *ctx, void *buf, size_t len_bytes, uint64_t off);
	int (*next)(const void *ctx, uint64_t off, uint64_t *next); /* where it may have bytes again */
	const void *ctx;
	uint64_t to;
	enum origin origin;
	uint64_t lost_bytes;
};

/* What the file has already is not written: that spares blocks, and leaves holes where there are zeros. */
static int copy_readable(struct copying *c, const uint8_t *piece, uint8_t *have, size_t n, uint64_t at)
{
	int rc = data_read(c->v, c->to, view_now, have, n, at);

	if (rc == 0 && memcmp(piece, have, n) == 0)
		return 0;
	return rc == 0 || rc == -EIO ? data_write(c->v, c->to, piece, n, at, c->origin) : rc;
}

/* What cannot be read of a version is lost in its copy too: a merge that waited for it would wait for ever. */
static int copy_in_blocks(struct copying *c, uint8_t *piece, uint8_t *have, size_t len, uint64_t off, uint64_t at)
{
	int rc = 0;

	for (size_t done = 0, n; rc == 0 && done < len; done += n) {
		n = MIN(len - done, BLOCK_BYTES - (off + done) % BLOCK_BYTES);
		rc = c->read(c->ctx, piece, n, off + done);
		if (rc == 0) {
			rc = copy_readable(c, piece, have, n, at + done);
		} else if (rc == -EIO) {
			c->lost_bytes += n;
			rc = data_lose(c->v, c->to, at + done, n, c->origin);
		}
	}
	return rc;
}

/* How far neither the version from off on nor the file from `at` on has any bytes. */
static int hole_in_both(struct copying *c, uint64_t off, uint64_t at, uint64_t *len_bytes)
{
	uint64_t from = 0, to = 0;
	int rc = c->next(c->ctx, off, &from);

	if (rc == 0)
		rc = data_next(c->v, c->to, view_now, at, &to);
	*len_bytes = rc == 0 ? MIN(from - off, to - at) : 0;
	return rc;
}

/* Bytes [off, end) of the version to `at` of the file, which then ends behind them. */
static int copy_version(struct copying *c, uint64_t off, uint64_t end, uint64_t at)
{
	uint8_t *piece = xmalloc(2 * (size_t)PIECE_BYTES), *have = piece + PIECE_BYTES;
	int rc = 0;

	while (rc == 0 && off < end) {
		uint64_t hole = 0;

		rc = hole_in_both(c, off, at, &hole);
		hole = MIN(hole, end - off);
		off += hole;
		at += hole;
		if (rc < 0 || off == end)
			break;
		size_t n = (size_t)MIN(PIECE_BYTES, end - off);

		rc = c->read(c->ctx, piece, n, off);
		if (rc == 0)
			rc = copy_readable(c, piece, have, n, at);
		else if (rc == -EIO)
			rc = copy_in_blocks(c, piece, have, n, off, at);
		off += n;
		at += n;
	}
	free(piece);
	if (rc == 0 && c->lost_bytes)
		log_error("inode %#llx is made of a version of which the disk here has lost %llu bytes: nobody can "
			  "read them there until they are written anew", (unsigned long long)c->to,
			  (unsigned long long)c->lost_bytes);
	return rc ? rc : data_truncate(c->v, c->to, at, c->origin);
}

static int read_theirs(const void *ctx, void *buf, size_t len_bytes, uint64_t off)
{
	return content_theirs(ctx, buf, len_bytes, off);
}

static int next_of_theirs(const void *ctx, uint64_t off, uint64_t *next)
{
	return content_next_theirs(ctx, off, next);
}

struct viewed {
	struct volume *v;
	uint64_t ino;
	struct view view;
};

static int read_viewed(const void *ctx, void *buf, size_t len_bytes, uint64_t off)
{
	const struct viewed *w = ctx;

	return data_read_beyond(w->v, w->ino, w->view, buf, len_bytes, off);
}

static int next_viewed(const void *ctx, uint64_t off, uint64_t *next)
{
	const struct viewed *w = ctx;

	return data_next(w->v, w->ino, w->view, off, next);
}

int content_copy_theirs(const struct content_case *c, uint64_t off, uint64_t end, uint64_t to, uint64_t at)
{
	struct copying job = {
		.v = c->v, .read = read_theirs, .next = next_of_theirs, .ctx = c, .to = to, .origin = ORIGIN_LOCAL
	};

	return copy_version(&job, off, end, at);
}

int content_land_copy(struct content_case *c, uint64_t copy)
{
	return content_copy_theirs(c, 0, c->theirs_size, copy, 0);
}

int content_copy(struct volume *v, uint64_t from, struct view view, uint64_t size_bytes, uint64_t to,
		 enum origin origin)
{
	const struct viewed w = { v, from, view };
	struct copying job = {
		.v = v, .read = read_viewed, .next = next_viewed, .ctx = &w, .to = to, .origin = origin
	};

	return copy_version(&job, 0, size_bytes, 0);
}

int content_land_base(struct content_case *c, uint64_t copy)
{
	return content_copy(c->v, c->base_ino, c->base, c->base_size, copy, ORIGIN_LOCAL);
}
