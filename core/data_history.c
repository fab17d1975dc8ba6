/* SPDX-License-Identifier: MIT */
/* The parts of data that move whole extents between the current table, history and the free map. */
#include "core/data_private.h"

#include "core/aside.h"
#include "util/util.h"

#include <errno.h>
#include <string.h>

int data_reap(struct volume *v, uint64_t ino)
{
	int rc = blocks_drop_tail(v, ino, 0, ORIGIN_LOCAL);

	map_del(&v->data->inode_blocks, ino);
	return rc;
}

void data_old_gone(struct volume *v, uint64_t phys, uint64_t len)
{
	store_free(v, phys, len);
	store_count_old(v, -(int64_t)len);
}

/* Blocks [first, end) of the old row become current again; what is left of the row stays in history. */
static int move_back(struct volume *v, uint64_t ino, const struct extent *old, uint64_t first, uint64_t end)
{
	struct extent part = *old;

	extent_clip(&part, first, end);
	part.died = 0;
	part.killed_by_peer = false;
	store_count_old(v, -(int64_t)part.len);
	store_count_inode(v, ino, part.len);
	int rc = aside_drop(v, ino, first, end);

	return rc ? rc : extent_rows_put(v->db, ino, &part);
}

static int keep_old(struct volume *v, uint64_t ino, const struct extent *old, uint64_t first, uint64_t end)
{
	struct extent part = *old;

	extent_clip(&part, first, end);
	return extent_rows_put_old(v->db, ino, &part);
}

/* Row i of the list was picked for some blocks of [first, first + n). */
static int revive_row(struct volume *v, uint64_t ino, const struct extent *old, int32_t i, uint64_t first, size_t n,
                      const int32_t *pick)
{
	int rc = extent_rows_del_old(v->db, ino, old);
	uint64_t stop;

	for (uint64_t b = old->off; !rc && b < extent_end(old); b = stop) {
		bool inside = b >= first && b < first + n, picked = inside && pick[b - first] == i;

		for (stop = b + 1; stop < extent_end(old); stop++) {
			bool in = stop >= first && stop < first + n;

			if ((in && pick[stop - first] == i) != picked)
				break;
		}
		rc = picked ? move_back(v, ino, old, b, stop) : keep_old(v, ino, old, b, stop);
	}
	return rc;
}

static int revive_step(struct volume *v, uint64_t ino, struct view view, uint64_t first, size_t n)
{
	struct extent_list rows = EXTENT_LIST_INIT;
	int32_t pick[STEP_BLOCKS];
	int rc = blocks_pick(v, ino, view, first, n, &rows, pick);

	for (size_t i = 0; !rc && i < rows.n; i++) {
		bool picked = false;

		for (size_t b = 0; b < n && !picked; b++)
			picked = pick[b] == (int32_t)i;
		if (picked && rows.rows[i].died) /* else revived by the step before */
			rc = revive_row(v, ino, &rows.rows[i], (int32_t)i, first, n, pick);
	}
	extent_list_release(&rows);
	return rc;
}

int data_revive(struct volume *v, uint64_t ino, struct view view)
{
	struct inode in;
	int rc = tree_inode_get(v, ino, &in);
	uint64_t block = 0;

	if (rc == -ENOENT)
		rc = tree_inode_view(v, ino, view, &in);
	if (rc)
		return rc;
	uint64_t end = (in.size_bytes + BLOCK_BYTES - 1) >> BLOCK_SHIFT;

	group_mark(v);
	rc = leftover_settle(v, ino);
	if (rc)
		return rc;
	while ((rc = extent_rows_next(v->db, ino, block, true, &block)) > 0 && block < end) {
		size_t n = (size_t)MIN(end - block, STEP_BLOCKS);

		rc = revive_step(v, ino, view, block, n);
		if (rc)
			return rc;
		block += n;
	}
	return rc < 0 ? rc : data_zero_tail(v, ino, in.size_bytes, ORIGIN_LOCAL);
}
