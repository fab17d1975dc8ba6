/* SPDX-License-Identifier: MIT */
#include "core/logged.h"

#include "core/blocks.h"
#include "util/util.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include <xxhash.h>

/* ---- one slot ---- */

struct slot {
	uint64_t sum, group, phys; /* little-endian, as all of the image (core/image.c) */
	uint8_t data[BLOCK_BYTES];
};
_Static_assert(sizeof(struct slot) == LOGGED_ROW_BYTES, "a slot is what a row holds");

static uint64_t slot_sum(const struct slot *s)
{
	return XXH3_64bits(&s->group, sizeof(*s) - offsetof(struct slot, group));
}

/* 1: whole. 0: there is none. */
static int slot_get(struct db *db, uint64_t n, struct slot *s)
{
	int rc = logged_row_get(db, n, (uint8_t *)s);

	return rc <= 0 ? rc : s->sum == slot_sum(s) && s->phys - 1 < EXTENT_BLOCK_LIMIT - 1 ? 1 : -EUCLEAN;
}

int logged_load(struct db *db, uint64_t flushed, uint64_t committed, struct map *live)
{
	uint64_t before = flushed;
	struct slot s;
	int rc = 1;

	/* Later groups are in the first slots; the first that is not of one ends them, or was damaged. */
	for (uint64_t n = 0; n < LOGGED_SLOTS && (rc = slot_get(db, n, &s)) == 1; n++) {
		if (s.group <= flushed || s.group > committed || s.group < before)
			break;
		before = s.group;
		map_put(live, s.phys, n + 1);
	}
	return rc == -EUCLEAN ? 0 : MIN(rc, 0);
}

int logged_read(struct db *db, uint64_t slot, uint8_t *block)
{
	struct slot s;
	int rc = slot_get(db, slot, &s);

	if (rc == 1)
		memcpy(block, s.data, BLOCK_BYTES);
	return rc == 1 ? 0 : rc ? rc : -EUCLEAN;
}

uint64_t logged_end_blocks(const struct map *live)
{
	uint64_t phys, slot, end = 0;
	size_t it = 0;

	while (map_next(live, &it, &phys, &slot))
		end = MAX(end, phys + 1);
	return end;
}

bool logged_has_beyond(const struct map *live, uint64_t phys, uint64_t len, uint64_t image_blocks)
{
	for (uint64_t b = MAX(phys, image_blocks); b < phys + len; b++)
		if (!map_get(live, b, NULL))
			return false;
	return true;
}

uint64_t logged_damage(struct db *db)
{
	struct slot s;
	uint64_t n = 0;

	while (n < LOGGED_SLOTS && slot_get(db, n, &s) >= 0)
		n++;
	return n;
}

/* ---- the open group ---- */

void logged_born(struct logged *l, uint64_t phys, uint64_t len, const uint64_t *sums)
{
	for (uint64_t i = 0; i < len && !l->many; i++) {
		/* a block that is lost on purpose has no bytes that fit its checksum */
		l->many = l->n_fresh == LOGGED_GROUP_BLOCKS || sums[i] == block_sum_lost();
		if (l->many)
			return;
		l->fresh[l->n_fresh].phys = phys + i;
		l->fresh[l->n_fresh++].sum = sums[i];
	}
}

void logged_changed(struct logged *l, uint64_t phys, uint64_t len, const uint64_t *sums)
{
	for (unsigned i = 0; i < l->n_fresh; i++)
		if (l->fresh[i].phys - phys < len)
			l->fresh[i].sum = sums[l->fresh[i].phys - phys];
}

void logged_freed(struct logged *l, uint64_t phys, uint64_t len)
{
	for (unsigned i = 0; i < l->n_fresh;)
		if (l->fresh[i].phys - phys < len)
			l->fresh[i] = l->fresh[--l->n_fresh];
		else
			i++;
}

void logged_want_flush(struct logged *l)
{
	l->many = true;
}

/* ---- its commit ---- */

bool logged_suffices(struct volume *v)
{
	const struct logged *l = &v->data->logged;

	return !l->many && (!l->n_fresh || l->used + l->n_fresh <= LOGGED_SLOTS) && !image_is_failed(v->data->image);
}

/* -EBADMSG: the host has lost the bytes already. */
static int put_one(struct volume *v, uint64_t n, uint64_t phys, uint64_t sum)
{
	struct logged *l = &v->data->logged;
	struct slot s = { .group = n, .phys = phys };
	int rc = image_read(v->data->image, phys, 0, s.data, BLOCK_BYTES);

	if (rc || block_sum(s.data) != sum)
		return -EBADMSG;
	s.sum = slot_sum(&s);
	rc = logged_row_put(v->db, l->used + l->n_put, (const uint8_t *)&s);
	l->n_put += rc == 0;
	return rc;
}

int logged_settle(struct volume *v, uint64_t n)
{
	struct logged *l = &v->data->logged;
	int rc = 0;

	l->n_put = 0;
	l->flushing = l->flushed;
	if (logged_suffices(v)) {
		for (unsigned i = 0; !rc && i < l->n_fresh; i++)
			rc = put_one(v, n, l->fresh[i].phys, l->fresh[i].sum);
		if (rc != -EBADMSG)
			return rc;
	}
	l->n_put = 0;
	l->flushing = n;
	return data_store_sync(v); /* which says what the host has lost */
}

void logged_committed(struct logged *l)
{
	if (l->flushing > l->flushed) {
		map_clear(&l->live);
		l->used = 0;
	}
	l->flushed = l->flushing;
	for (unsigned i = 0; i < l->n_put; i++)
		map_put(&l->live, l->fresh[i].phys, ++l->used);
	logged_rolled_back(l);
}

void logged_rolled_back(struct logged *l)
{
	l->n_fresh = l->n_put = 0;
	l->many = false;
	l->flushing = l->flushed;
}

void logged_gone(struct logged *l, uint64_t phys, uint64_t len)
{
	uint64_t block, slot;
	size_t it = 0;

	if (len <= map_count(&l->live)) {
		for (uint64_t i = 0; i < len; i++)
			map_del(&l->live, phys + i);
		return;
	}
	while (map_next(&l->live, &it, &block, &slot))
		if (block - phys < len) {
			map_del(&l->live, block);
			it = 0;
		}
}

/* ---- back to the image ---- */

int logged_restore(struct volume *v)
{
	const struct logged *l = &v->data->logged;
	uint64_t phys, slot;
	uint8_t block[BLOCK_BYTES];
	size_t it = 0;
	int rc = 0;

	while (!rc && map_next(&l->live, &it, &phys, &slot)) {
		if (!freemap_used(v->data->map, phys))
			continue;
		rc = logged_read(v->db, slot - 1, block);
		if (!rc)
			rc = image_write(v->data->image, phys, 0, block, BLOCK_BYTES);
	}
	return rc;
}

void logged_are_flushed(struct volume *v)
{
	struct logged *l = &v->data->logged;

	l->flushed = v->info.committed;
	l->used = 0;
	map_clear(&l->live);
	logged_rolled_back(l);
}

void logged_end(struct volume *v)
{
	struct logged *l = &v->data->logged;

	volume_lock_now(v);
	v->tidying = true;
	if (map_count(&l->live) > 0 && group_open(v) == 0) {
		group_keep(v);
		l->many = true;
	}
	v->tidying = false;
	volume_unlock(v);
}

void logged_release(struct logged *l)
{
	map_release(&l->live);
}
