/* SPDX-License-Identifier: MIT */
#include "util/map.h"

#include "util/util.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/*
 * Linear probing, at most three quarters full; key 0 marks a free slot. Deleting moves later entries of the same
 * probe run back, so there are no tombstones and lookups stay short however long the map lives.
 */
#define FIRST_CAP 16

static size_t home(const struct map *m, uint64_t key)
{
	/* The finaliser of splitmix64: inode numbers are dense, and their low bits alone would cluster. */
	key ^= key >> 30;
	key *= UINT64_C(0xbf58476d1ce4e5b9);
	key ^= key >> 27;
	key *= UINT64_C(0x94d049bb133111eb);
	key ^= key >> 31;
	return (size_t)key & (m->cap - 1);
}

/* The slot that holds key, or the free one where it belongs. */
static size_t find(const struct map *m, uint64_t key)
{
	size_t i = home(m, key);

	while (m->slots[i].key != 0 && m->slots[i].key != key)
		i = (i + 1) & (m->cap - 1);
	return i;
}

static void grow(struct map *m)
{
	struct map old = *m;

	m->cap = old.cap ? old.cap * 2 : FIRST_CAP;
	m->slots = xcalloc(m->cap, sizeof(*m->slots));
	for (size_t i = 0; i < old.cap; i++)
		if (old.slots[i].key != 0)
			m->slots[find(m, old.slots[i].key)] = old.slots[i];
	free(old.slots);
}

void map_release(struct map *m)
{
	free(m->slots);
	*m = (struct map)MAP_INIT;
}

void map_clear(struct map *m)
{
	if (m->cap > 0)
		memset(m->slots, 0, m->cap * sizeof(*m->slots));
	m->live = 0;
}

bool map_get(const struct map *m, uint64_t key, uint64_t *value)
{
	size_t i;

	assert(key != 0);
	if (m->live == 0)
		return false;
	i = find(m, key);
	if (m->slots[i].key == 0)
		return false;
	if (value)
		*value = m->slots[i].value;
	return true;
}

void map_put(struct map *m, uint64_t key, uint64_t value)
{
	size_t i;

	assert(key != 0);
	if ((m->live + 1) * 4 > m->cap * 3)
		grow(m);
	i = find(m, key);
	m->live += m->slots[i].key == 0;
	m->slots[i] = (struct map_slot){ key, value };
}

bool map_del(struct map *m, uint64_t key)
{
	size_t hole, i, mask = m->cap - 1;

	assert(key != 0);
	if (m->live == 0)
		return false;
	hole = find(m, key);
	if (m->slots[hole].key == 0)
		return false;
	for (i = (hole + 1) & mask; m->slots[i].key != 0; i = (i + 1) & mask) {
		size_t want = home(m, m->slots[i].key);

		/* It may move into the hole only if the hole is not before its home. */
		if (((i - want) & mask) >= ((i - hole) & mask)) {
			m->slots[hole] = m->slots[i];
			hole = i;
		}
	}
	m->slots[hole] = (struct map_slot){ 0, 0 };
	m->live--;
	return true;
}

size_t map_count(const struct map *m)
{
	return m->live;
}

bool map_next(const struct map *m, size_t *it, uint64_t *key, uint64_t *value)
{
	for (size_t i = *it; i < m->cap; i++) {
		if (m->slots[i].key == 0)
			continue;
		*key = m->slots[i].key;
		if (value)
			*value = m->slots[i].value;
		*it = i + 1;
		return true;
	}
	*it = m->cap;
	return false;
}
