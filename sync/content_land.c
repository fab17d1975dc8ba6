/* SPDX-License-Identifier: MIT */
/* What was decided, carried out in the file itself, and entered into the change set so that the secondary gets it. */
#include "sync/content_private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/changes.h"
#include "core/data.h"
#include "util/util.h"

/* What is kept of blocks that history forgets (see keep_below) is written with the lock held. */
#define KEEP_BELOW_MAX_BYTES (64u << 20)

static int touch_again(void *ctx, uint64_t off, uint64_t len_bytes)
{
	struct content_case *c = ctx;

	return changes_touch_range(c->v, c->ino, off, len_bytes);
}

/* Everything of it was written anew: the secondary gets all of it. */
static int touch_all(struct content_case *c, uint64_t size_bytes)
{
	int rc = changes_touch_shrink(c->v, c->ino, 0);

	return rc || size_bytes == 0 ? rc : changes_touch_range(c->v, c->ino, 0, size_bytes);
}

/* We told the secondary all of it anew; how long it was then is not known any more. */
static bool is_told_anew(const struct content_case *c)
{
	struct change_row row;

	return changes_get(c->v, c->ino, ENT_NEW, &row) == 0 && row.grp > c->seen;
}

int content_send_back(struct content_case *c)
{
	struct range_list ours = { 0 };
	uint64_t shrunk, low = c->rec->shrunk_to;
	int rc = content_our_ranges(c, &ours, &shrunk);

	if (rc == 0)
		rc = changes_touch(c->v, c->ino, ENT_CONTENT);
	if (rc == 0 && shrunk != UINT64_MAX)
		rc = changes_touch_shrink(c->v, c->ino, shrunk);
	for (size_t i = 0; rc == 0 && i < ours.n; i++)
		rc = changes_touch_range(c->v, c->ino, ours.r[i].off, ours.r[i].end - ours.r[i].off);
	if (rc == 0 && c->s->stage)
		rc = stage_ranges(c->s->stage, c->rec->ino, touch_again, c);
	/* What the secondary cut off is still in ours, and the other way round. */
	low = MIN(low, c->theirs_size);
	if (rc == 0 && low < c->ours_size)
		rc = changes_touch_range(c->v, c->ino, low, c->ours_size - low);
	if (rc == 0 && is_told_anew(c))
		rc = touch_all(c, c->ours_size);
	free(ours.r);
	return rc;
}

static int touch_times(struct content_case *c)
{
	struct inode *in = xmalloc(sizeof(*in));
	int rc = tree_inode_get(c->v, c->ino, in);

	if (rc == 0) {
		in->mtime_ns = MAX(in->mtime_ns, c->rec->mtime_ns);
		in->ctime_ns = MAX(in->ctime_ns, c->rec->ctime_ns);
		in->origin = ORIGIN_LOCAL;
		rc = tree_inode_put(c->v, in);
	}
	free(in);
	return rc ? rc : changes_touch(c->v, c->ino, ENT_TIMES);
}

static int land_whole(struct content_case *c)
{
	int rc = data_truncate(c->v, c->ino, 0, ORIGIN_LOCAL);

	if (rc == 0 && c->merged->len_bytes)
		rc = data_write(c->v, c->ino, c->merged->data, c->merged->len_bytes, 0, ORIGIN_LOCAL);
	return rc ? rc : touch_all(c, c->merged->len_bytes);
}

static int land_append(struct content_case *c)
{
	int rc = content_send_back(c);

	if (rc == 0)
		rc = content_copy_theirs(c, c->base_size, c->theirs_size, c->ino, c->ours_size);
	return rc ? rc : changes_touch_range(c->v, c->ino, c->ours_size, c->theirs_size - c->base_size);
}

/*
 * A block as the secondary has it, and at once, over it, as we have it, if that is another. So the peer's view is what
 * it has, whatever versions there were.
 */
static int put_both(struct content_case *c, const uint8_t *theirs, const uint8_t *ours, uint64_t off, size_t n)
{
	static const uint8_t zeros[BLOCK_BYTES];
	int rc = data_write(c->v, c->ino, theirs, n, off, ORIGIN_PEER);

	if (rc < 0 || memcmp(theirs, ours, n) == 0)
		return rc;
	if (memcmp(ours, zeros, n) == 0) /* it may be a hole, or behind our end */
		return data_punch(c->v, c->ino, off, n, ORIGIN_LOCAL);
	return data_write(c->v, c->ino, ours, n, off, ORIGIN_LOCAL);
}

/* Both versions of what is to be put as both. What cannot be read of one makes the peer's view one that is not exact:
 * false. */
static bool read_both(struct content_case *c, uint8_t *theirs, uint8_t *ours, uint64_t off, size_t n, uint64_t end)
{
	if (content_read_base(c, theirs, n, off, MIN(end, content_base_end(c))) == 0 &&
	    data_read(c->v, c->ino, view_now, ours, n, off) == 0)
		return true;
	c->since = 0;
	return false;
}

/* One that history is about to forget. */
static int keep_block(struct content_case *c, uint64_t off)
{
	uint8_t theirs[BLOCK_BYTES], ours[BLOCK_BYTES];

	return read_both(c, theirs, ours, off, BLOCK_BYTES, UINT64_MAX) ? put_both(c, theirs, ours, off, BLOCK_BYTES)
									 : 0;
}

/*
 * The secondary was told of some of what we changed, and has left it alone: history is about to forget what it has in
 * these places, as it acknowledges that with this shipment. It is put into the peer's view anew. All else that we
 * changed is in history until it has heard of the merge. Too much of it, or a block that cannot be read: the view is
 * not exact.
 */
static int keep_below(struct content_case *c)
{
	const uint64_t upto = c->s->begin.seen;
	const struct view had = { VIEW_PEER, c->since - 1 }, then = { VIEW_PEER, upto };
	uint64_t left = MIN(KEEP_BELOW_MAX_BYTES, data_room(c->v) / 16), shrunk;
	struct range_list ours = { 0 };
	int rc;

	assert(c->since == 0 || content_is_its_own(c));
	if (c->since == 0 || upto < c->since)
		return 0;
	rc = content_our_ranges(c, &ours, &shrunk);
	content_range_add(&ours, shrunk, c->base_size);
	for (size_t i = 0; i < ours.n; i++) {
		uint64_t off = ours.r[i].off - ours.r[i].off % BLOCK_BYTES, end = ours.r[i].end;

		while (rc == 0 && c->since && (rc = data_differ(c->v, c->ino, had, then, off, end, &off)) == 0 &&
		       off < end) {
			if (left < BLOCK_BYTES)
				c->since = 0;
			else
				rc = keep_block(c, off);
			left -= MIN(left, BLOCK_BYTES);
			off += BLOCK_BYTES;
		}
	}
	free(ours.r);
	if (c->since)
		c->since = upto + 1;
	return rc;
}

/*
 * The bytes that the secondary cut off. Of the block in which the cut is it has what it had before, and we have ours:
 * two versions, as stage_adopt_merged makes them.
 */
static int land_cut(struct content_case *c, uint64_t cut, uint64_t end, enum origin origin)
{
	uint8_t theirs[BLOCK_BYTES], ours[BLOCK_BYTES];
	uint64_t off = cut - cut % BLOCK_BYTES;
	size_t n = (size_t)MIN(BLOCK_BYTES, end - off), keep = (size_t)(cut - off);

	if (origin == ORIGIN_PEER && keep && read_both(c, theirs, ours, off, n, cut)) {
		int rc;

		memset(ours + keep, 0, n - keep);
		rc = put_both(c, theirs, ours, off, n);
		if (rc < 0)
			return rc;
		cut = MIN(off + BLOCK_BYTES, end);
	}
	return data_punch(c->v, c->ino, cut, end - cut, origin);
}

static int read_below(void *ctx, void *block, uint64_t off)
{
	const struct content_case *c = ctx;

	return content_read_base(c, block, BLOCK_BYTES, off, content_base_end(c));
}

static int land_staged(struct content_case *c, enum origin origin)
{
	if (!c->s->stage)
		return 0;
	return origin == ORIGIN_PEER ? stage_adopt_merged(c->s->stage, c->rec->ino, c->ino, read_below, c)
				     : stage_adopt(c->s->stage, c->rec->ino, c->ino, origin);
}

static int land_ranges(struct content_case *c)
{
	/* Authored by the peer: so its later changes find their base here. Not what it has in another file. */
	enum origin origin = c->rec->ino == c->ino ? ORIGIN_PEER : ORIGIN_LOCAL;
	uint64_t cut = c->their_cut, end = MIN(c->base_size, c->ours_size);
	int rc = keep_below(c);

	if (rc == 0)
		rc = content_send_back(c);
	if (rc == 0 && cut < end) {
		rc = land_cut(c, cut, end, origin);
		if (rc == 0)
			rc = changes_touch_range(c->v, c->ino, cut, end - cut);
	}
	if (rc == 0)
		rc = land_staged(c, origin);
	if (rc == 0)
		rc = data_truncate(c->v, c->ino, c->merged_size, ORIGIN_LOCAL);
	if (rc == 0 && c->merged_size < c->ours_size)
		rc = changes_touch_shrink(c->v, c->ino, c->merged_size);
	return rc ? rc : changes_touch(c->v, c->ino, ENT_CONTENT);
}

/* As land_ranges, where the secondary has these bytes in another file. */
static int land_span(struct content_case *c)
{
	struct range_list theirs = { 0 };
	uint8_t *piece = xmalloc(PIECE_BYTES);
	uint64_t cut = c->their_cut, end = MIN(c->base_size, c->ours_size);
	int rc = content_their_ranges(c, &theirs);
	size_t n;

	if (rc == 0 && cut < end)
		rc = data_punch(c->v, c->ino, cut, end - cut, ORIGIN_LOCAL);
	for (size_t i = 0; rc == 0 && i < theirs.n; i++) {
		uint64_t stop = MIN(theirs.r[i].end, c->theirs_size);

		for (uint64_t off = theirs.r[i].off;
		     rc == 0 && (rc = content_next_piece(c, OF_OURS | OF_THEIRS, &off, stop, &n)) > 0; off += n) {
			rc = content_theirs(c, piece, n, off);
			if (rc == 0)
				rc = data_write(c->v, c->ino, piece, n, off, ORIGIN_LOCAL);
		}
	}
	if (rc == 0)
		rc = data_truncate(c->v, c->ino, c->merged_size, ORIGIN_LOCAL);
	free(theirs.r);
	free(piece);
	return rc ? rc : touch_all(c, c->merged_size);
}

int content_take_theirs(struct content_case *c)
{
	int rc = data_truncate(c->v, c->ino, 0, ORIGIN_LOCAL);

	if (rc == 0)
		rc = content_land_copy(c, c->ino);
	if (rc == 0)
		rc = touch_all(c, c->theirs_size);
	return rc ? rc : touch_times(c);
}

static int land_file(struct content_case *c)
{
	uint8_t *piece = xmalloc(PIECE_BYTES);
	uint64_t at = 0;
	ssize_t n;
	int rc = data_truncate(c->v, c->ino, 0, ORIGIN_LOCAL);

	while (rc == 0 && (n = driver_read(c->merged_file, piece, PIECE_BYTES, at)) != 0) {
		rc = n < 0 ? (int)n : data_write(c->v, c->ino, piece, (size_t)n, at, ORIGIN_LOCAL);
		at += n > 0 ? (uint64_t)n : 0;
	}
	free(piece);
	return rc ? rc : touch_all(c, at);
}

int content_land_theirs(struct content_case *c, uint64_t copy)
{
	int rc = content_copy(c->v, copy, view_now, c->theirs_size, c->ino, ORIGIN_LOCAL);

	if (rc == 0)
		rc = touch_all(c, c->theirs_size);
	return rc ? rc : touch_times(c);
}

int content_land_merged(struct content_case *c)
{
	int rc;

	if (c->merged_file)
		rc = land_file(c);
	else if (c->merged_whole)
		rc = land_whole(c);
	else if (c->append)
		rc = land_append(c);
	else if (c->ours_whole || c->theirs_whole)
		rc = land_span(c);
	else
		rc = land_ranges(c);
	return rc ? rc : touch_times(c);
}

int content_take_back(struct volume *v, uint64_t ino, uint64_t seen)
{
	struct range_list ours = { 0 };
	struct change_row row;
	uint64_t from, size;
	struct view view;
	int rc = content_known(v, ino, seen, &from, &view, &size);

	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	if (content_is(v, ino, from, view, size) == 1)
		return 0; /* that was done before: no change of now */
	rc = changes_ranges(v, ino, seen, GROUP_MAX, content_add_ours, &ours);
	/* What was cut off here is back: a cut that the secondary took already is told by no range. */
	if (changes_get(v, ino, ENT_CONTENT, &row) == 0)
		content_range_add(&ours, row.shrunk_to, size);
	if (rc == 0)
		rc = content_copy(v, from, view, size, ino, ORIGIN_LOCAL);
	if (rc == 0)
		rc = changes_touch(v, ino, ENT_CONTENT);
	for (size_t i = 0; rc == 0 && i < ours.n; i++)
		rc = changes_touch_range(v, ino, ours.r[i].off, ours.r[i].end - ours.r[i].off);
	free(ours.r);
	return rc;
}
