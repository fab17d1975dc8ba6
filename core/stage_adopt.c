/* SPDX-License-Identifier: MIT */
/*
 * What is staged becomes a file's: at once, in a group (stage_adopt and stage_settle), or by a plan that lands it bit
 * by bit (core/landing.h), which has the blocks as soon as it holds.
 */
#include "core/stage_private.h"

#include "util/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- at once ---- */

/* The blocks stay held until stage_settle, so that they are not lost if the group is. They hold something else than
 * what core/logged.h may know of them. */
static int adopt_runs(struct stage *s, struct stage_file *f, uint64_t dst, enum origin origin)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < f->n_runs; i++) {
		const struct stage_run *r = &f->runs[i];
		struct block_run run = { r->phys, r->len };

		rc = r->phys ? blocks_adopt(s->v, dst, r->off, r->len, &run, r->sums, origin)
			     : blocks_drop(s->v, dst, r->off, r->off + r->len, origin);
	}
	if (f->n_runs > 0)
		logged_want_flush(&s->v->data->logged);
	return rc;
}

/* What the peer has below the parts; fn NULL: what the file has. */
struct below {
	stage_below_fn fn;
	void *ctx;
};

/* The peer's version of the block, if it is another than ours, which comes over it. */
static int put_below(struct stage *s, const struct stage_file *f, uint64_t dst, size_t first, size_t end,
		     const struct below *below, const uint8_t *ours, bool *differs)
{
	uint64_t block = f->parts[first].off >> BLOCK_SHIFT;
	uint8_t data[BLOCK_BYTES];
	int rc = below->fn(below->ctx, data, block << BLOCK_SHIFT);

	*differs = true;
	if (rc == -EIO)
		return blocks_lose(s->v, dst, block, ORIGIN_PEER);
	for (size_t i = first; !rc && i < end; i++)
		rc = stage_part_read(s, &f->parts[i], data + IN_BLOCK(f->parts[i].off));
	*differs = rc || memcmp(data, ours, BLOCK_BYTES) != 0;
	return rc || !*differs ? rc : blocks_write(s->v, dst, block, 1, data, ORIGIN_PEER, SPACE_RESERVE);
}

/* Parts [first, end), all of one block. */
static int adopt_block(struct stage *s, const struct stage_file *f, uint64_t dst, size_t first, size_t end,
		       enum origin origin, const struct below *below)
{
	uint64_t block = f->parts[first].off >> BLOCK_SHIFT;
	uint8_t data[BLOCK_BYTES];
	bool differs = false;
	int rc = blocks_read_one(s->v, dst, (struct view){ VIEW_NOW, 0 }, block, data);

	if (rc == -EIO)
		return blocks_lose(s->v, dst, block, origin);
	for (size_t i = first; !rc && i < end; i++)
		rc = stage_part_read(s, &f->parts[i], data + IN_BLOCK(f->parts[i].off));
	if (!rc && below->fn)
		rc = put_below(s, f, dst, first, end, below, data, &differs);
	return rc ? rc : blocks_write(s->v, dst, block, 1, data, differs ? ORIGIN_LOCAL : origin, SPACE_RESERVE);
}

static int adopt_parts(struct stage *s, const struct stage_file *f, uint64_t dst, enum origin origin,
		       const struct below *below)
{
	int rc = 0;

	for (size_t i = 0, end; !rc && i < f->n_parts; i = end) {
		for (end = i + 1; end < f->n_parts; end++)
			if (f->parts[end].off >> BLOCK_SHIFT != f->parts[i].off >> BLOCK_SHIFT)
				break;
		rc = adopt_block(s, f, dst, i, end, origin, below);
	}
	return rc;
}

static int adopt(struct stage *s, uint64_t src_ino, uint64_t dst_ino, enum origin origin, const struct below *below)
{
	struct stage_file *f = stage_file_of(s, src_ino, false);
	struct inode in;

	if (!f)
		return 0;
	if (s->losses != image_losses(s->v->data->image))
		return -EIO;
	int rc = tree_inode_get(s->v, dst_ino, &in);

	if (!rc)
		rc = adopt_runs(s, f, dst_ino, origin);
	if (!rc)
		rc = adopt_parts(s, f, dst_ino, origin, below);
	if (rc)
		return rc;
	data_touch_inode(s->v, &in, f->end_bytes, origin);
	map_del(&s->files, src_ino);
	map_put(&s->adopted, src_ino, (uintptr_t)f);
	return tree_inode_put(s->v, &in);
}

int stage_adopt(struct stage *s, uint64_t src_ino, uint64_t dst_ino, enum origin origin)
{
	return adopt(s, src_ino, dst_ino, origin, &(struct below){ NULL, NULL });
}

int stage_adopt_merged(struct stage *s, uint64_t src_ino, uint64_t dst_ino, stage_below_fn below, void *ctx)
{
	return adopt(s, src_ino, dst_ino, ORIGIN_PEER, &(struct below){ below, ctx });
}

void stage_settle(struct stage *s, bool landed)
{
	uint64_t ino, value;
	size_t it = 0;

	while (map_next(&s->adopted, &it, &ino, &value)) {
		struct stage_file *f = (struct stage_file *)(uintptr_t)value;

		if (landed)
			stage_file_free(f);
		else
			map_put(&s->files, ino, value);
	}
	map_clear(&s->adopted);
}

/* ---- landing bit by bit ---- */

void stage_plan(struct stage *s, uint64_t ino, bool planned)
{
	uint64_t value;
	size_t row;

	if (map_get(&s->files, ino, &value))
		((struct stage_file *)(uintptr_t)value)->planned = planned;
	else if (stage_packed_find(s, ino, &row))
		s->packed.state[row] = planned ? STAGE_ROW_PLANNED : 0;
}

void stage_give_up_plan(struct stage *s)
{
	uint64_t ino, value;
	size_t it = 0;

	while (map_next(&s->files, &it, &ino, &value))
		((struct stage_file *)(uintptr_t)value)->planned = false;
	for (size_t i = 0; i < s->packed.rows.n; i++)
		s->packed.state[i] &= (uint8_t)~STAGE_ROW_PLANNED;
	stage_drop_kept(s);
}

/* Without their blocks, which are the plan's. */
static void forget_planned(struct stage *s)
{
	struct map left = MAP_INIT;
	uint64_t ino, value;
	size_t it = 0;

	while (map_next(&s->files, &it, &ino, &value)) {
		struct stage_file *f = (struct stage_file *)(uintptr_t)value;

		if (f->planned)
			stage_file_free(f);
		else
			map_put(&left, ino, value);
	}
	map_release(&s->files);
	s->files = left;
	for (size_t i = 0; i < s->packed.rows.n; i++)
		if (s->packed.state[i] & STAGE_ROW_PLANNED)
			s->packed.state[i] = STAGE_ROW_LEFT;
}

void stage_taken(struct stage *s, const struct map *but)
{
	size_t left = 0;

	forget_planned(s);
	for (size_t i = 0; i < s->n_kept; i++)
		if (map_get(but, s->kept[i], NULL))
			s->kept[left++] = s->kept[i];
	s->n_kept = left;
}
