/* SPDX-License-Identifier: MIT */
#include "core/aside.h"

#include "core/blocks.h"
#include "core/internal.h"
#include "db/aside_rows.h"
#include "util/util.h"

static void load_one(void *ctx, uint64_t ino, uint64_t blocks)
{
	struct data_store *d = ctx;

	map_put(&d->aside, ino, blocks);
	d->aside_blocks += blocks;
}

int aside_load(struct volume *v)
{
	map_clear(&v->data->aside);
	v->data->aside_blocks = 0;
	v->data->aside_moved = false;
	return aside_rows_sums(v->db, load_one, v->data);
}

uint64_t aside_total(const struct volume *v)
{
	return v->data->aside_blocks;
}

uint64_t aside_of(const struct volume *v, uint64_t ino)
{
	uint64_t blocks = 0;

	if (map_count(&v->data->aside) > 0)
		map_get(&v->data->aside, ino, &blocks);
	return blocks;
}

static void account(struct volume *v, uint64_t ino, uint64_t more, uint64_t less)
{
	uint64_t blocks = aside_of(v, ino) + more - less;

	v->data->aside_blocks += more - less;
	v->data->aside_moved = true;
	if (blocks)
		map_put(&v->data->aside, ino, blocks);
	else
		map_del(&v->data->aside, ino);
	group_keep(v);
}

int aside_count(struct volume *v, uint64_t ino, uint64_t first, uint64_t end, uint64_t *blocks)
{
	*blocks = 0;
	return aside_of(v, ino) ? aside_rows_count(v->db, ino, first, end, blocks) : 0;
}

/* One row for a hole of the file, those that were in it included. */
static int put_hole(struct volume *v, uint64_t ino, uint64_t first, uint64_t end, enum space space)
{
	uint64_t had;
	int rc = aside_count(v, ino, first, end, &had);

	if (rc || had == end - first)
		return rc;
	if (space != SPACE_ASKED)
		rc = store_room(v, end - first - had, 0, space);
	if (!rc)
		rc = aside_rows_cut(v->db, ino, first, end, &had);
	if (!rc)
		rc = aside_row_put(v->db, ino, first, end);
	if (!rc)
		account(v, ino, end - first, had);
	return rc;
}

int aside_put(struct volume *v, uint64_t ino, uint64_t *first, uint64_t end, size_t max_holes, enum space space)
{
	int rc = leftover_settle(v, ino);

	for (size_t i = 0; !rc && i < max_holes && *first < end; i++) {
		uint64_t hole, next = end;

		rc = extent_rows_gap(v->db, ino, *first, &hole);
		if (rc || hole >= end) {
			*first = rc ? *first : end;
			break;
		}
		rc = MIN(extent_rows_next(v->db, ino, hole, false, &next), 0);
		if (!rc)
			rc = put_hole(v, ino, hole, MIN(next, end), space);
		if (!rc)
			*first = MIN(next, end);
	}
	return rc;
}

int aside_drop(struct volume *v, uint64_t ino, uint64_t first, uint64_t end)
{
	uint64_t had = 0;
	int rc = aside_of(v, ino) ? aside_rows_cut(v->db, ino, first, end, &had) : 0;

	if (!rc && had)
		account(v, ino, 0, had);
	return rc;
}
