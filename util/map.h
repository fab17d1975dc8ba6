/* SPDX-License-Identifier: MIT */
/*
 * map: open-addressing hash map from a 64-bit key (never 0) to a 64-bit value. Values may hold pointers (cast through
 * uintptr_t); the map owns no pointees.
 * One thread at a time. Memory failure aborts: the maps are bounded by what their owner bounds.
 */
#ifndef TWINFS_UTIL_MAP_H
#define TWINFS_UTIL_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct map_slot {
	uint64_t key, value;
};
struct map {
	struct map_slot *slots;
	size_t cap, live; /* cap: power of two or 0; live: entries */
};

#define MAP_INIT { 0 }

void map_release(struct map *m);
void map_clear(struct map *m);
/* value may be NULL. */
bool map_get(const struct map *m, uint64_t key, uint64_t *value);
void map_put(struct map *m, uint64_t key, uint64_t value);
bool map_del(struct map *m, uint64_t key);
size_t map_count(const struct map *m);
/* Iterate in no particular order: start with *it = 0; false at the end. The map must not change meanwhile. */
bool map_next(const struct map *m, size_t *it, uint64_t *key, uint64_t *value);

#endif
