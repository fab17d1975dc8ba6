/* SPDX-License-Identifier: MIT */
#include "fuse/nodes.h"

#include <assert.h>
#include <stdlib.h>

#include "core/volume.h"
#include "util/util.h"

#define COUNT_SHIFT 60 /* ID_LIMIT */
#define COUNT_SPARE UINT64_C(15) /* of numbers that say nothing: who has as many generations of one file open */

_Static_assert(ID_LIMIT == UINT64_C(1) << COUNT_SHIFT, "inode numbers end where the count begins");

void nodes_init(struct nodes *n)
{
	*n = (struct nodes){ .spare = 0 };
	pthread_mutex_init(&n->lock, NULL);
}

void nodes_release(struct nodes *n)
{
	map_release(&n->counts);
	map_release(&n->leads);
	map_release(&n->first);
	map_release(&n->next);
	pthread_mutex_destroy(&n->lock);
}

/* ---- lock held ------------------------------------------------------------------------------------ */

static void note_any(struct nodes *n)
{
	atomic_store(&n->any, map_count(&n->leads) + map_count(&n->first) > 0);
}

/* By its number alone. */
static uint64_t inode_in(uint64_t node)
{
	return node >> COUNT_SHIFT == COUNT_SPARE ? node : node & (ID_LIMIT - 1);
}

static uint64_t lead(const struct nodes *n, uint64_t node)
{
	uint64_t ino;

	return map_get(&n->leads, node, &ino) ? ino : inode_in(node);
}

static void set_lead(struct nodes *n, uint64_t node, uint64_t ino)
{
	if (inode_in(node) == ino)
		map_del(&n->leads, node);
	else
		map_put(&n->leads, node, ino);
}

static bool known_by_own_number(const struct nodes *n, uint64_t ino)
{
	return map_get(&n->counts, ino, NULL) && !map_get(&n->leads, ino, NULL);
}

/* The first of a list of nodes, each the next of the one before. 0: none. */
static uint64_t first_of(const struct nodes *n, uint64_t ino)
{
	uint64_t node = 0;

	if (!map_get(&n->first, ino, &node) && known_by_own_number(n, ino))
		node = ino;
	return node;
}

static uint64_t next_of(const struct nodes *n, uint64_t node)
{
	uint64_t next = 0;

	map_get(&n->next, node, &next);
	return next;
}

/* `list` leads to ino too; `at` (0: nothing) is the first of what did so before. */
static void attach(struct nodes *n, uint64_t ino, uint64_t at, uint64_t list)
{
	if (at == 0) {
		if (list != ino || next_of(n, list))
			map_put(&n->first, ino, list);
		return;
	}
	map_put(&n->first, ino, at);
	while (next_of(n, at))
		at = next_of(n, at);
	map_put(&n->next, at, list);
}

static void detach(struct nodes *n, uint64_t ino, uint64_t node)
{
	uint64_t at, next = next_of(n, node);

	map_del(&n->next, node);
	if (!map_get(&n->first, ino, &at))
		return;
	if (at == node) {
		map_put(&n->first, ino, next);
		at = next;
	} else {
		while (next_of(n, at) != node)
			at = next_of(n, at);
		if (next)
			map_put(&n->next, at, next);
		else
			map_del(&n->next, at);
		map_get(&n->first, ino, &at);
	}
	if (at == 0 || (at == ino && next_of(n, at) == 0))
		map_del(&n->first, ino);
}

/* A number for an inode that the kernel does not know: its own, unless that leads elsewhere. */
static uint64_t new_number(struct nodes *n, uint64_t ino)
{
	uint64_t node;

	for (uint64_t k = 0; k < COUNT_SPARE; k++)
		if (!map_get(&n->leads, ino | k << COUNT_SHIFT, NULL))
			return ino | k << COUNT_SHIFT;
	node = COUNT_SPARE << COUNT_SHIFT | ++n->spare;
	map_put(&n->leads, node, ino);
	return node;
}

/* ---- for the rest of fuse/ ------------------------------------------------------------------------ */

uint64_t nodes_inode(struct nodes *n, uint64_t node)
{
	uint64_t ino;

	if (!atomic_load(&n->any))
		return inode_in(node);
	pthread_mutex_lock(&n->lock);
	ino = lead(n, node);
	pthread_mutex_unlock(&n->lock);
	return ino;
}

uint64_t nodes_add(struct nodes *n, uint64_t ino, uint64_t as, bool *first)
{
	uint64_t node = as, count = 0, at;

	*first = false;
	if (ino == INO_ROOT)
		return ino;
	pthread_mutex_lock(&n->lock);
	assert(as == 0 || lead(n, as) == ino);
	at = first_of(n, ino);
	if (node == 0)
		node = at ? at : new_number(n, ino);
	*first = !map_get(&n->counts, node, &count);
	if (*first)
		attach(n, ino, at, node);
	map_put(&n->counts, node, count + 1);
	note_any(n);
	pthread_mutex_unlock(&n->lock);
	return node;
}

uint64_t nodes_drop(struct nodes *n, uint64_t node, uint64_t count)
{
	uint64_t have = 0, ino = 0;

	if (node == INO_ROOT)
		return 0;
	pthread_mutex_lock(&n->lock);
	map_get(&n->counts, node, &have);
	if (have > count) {
		map_put(&n->counts, node, have - count);
	} else if (have > 0) {
		ino = lead(n, node);
		detach(n, ino, node);
		map_del(&n->leads, node);
		map_del(&n->counts, node);
		note_any(n);
	}
	pthread_mutex_unlock(&n->lock);
	return ino;
}

bool nodes_know(struct nodes *n, uint64_t ino)
{
	bool know;

	pthread_mutex_lock(&n->lock);
	know = ino == INO_ROOT || first_of(n, ino) != 0;
	pthread_mutex_unlock(&n->lock);
	return know;
}

bool nodes_shared(struct nodes *n, uint64_t ino)
{
	bool shared;

	if (!atomic_load(&n->any))
		return false;
	pthread_mutex_lock(&n->lock);
	ino = first_of(n, ino);
	shared = ino && next_of(n, ino) != 0;
	pthread_mutex_unlock(&n->lock);
	return shared;
}

uint64_t *nodes_of(struct nodes *n, uint64_t ino, size_t *count)
{
	uint64_t *list, node;
	size_t i = 0;

	*count = 0;
	pthread_mutex_lock(&n->lock);
	node = ino == INO_ROOT ? ino : first_of(n, ino);
	for (uint64_t at = node; at; at = next_of(n, at))
		++*count;
	list = xmalloc((*count + 1) * sizeof(*list));
	for (uint64_t at = node; at; at = next_of(n, at))
		list[i++] = at;
	pthread_mutex_unlock(&n->lock);
	return list;
}

uint64_t *nodes_list(struct nodes *n, size_t *count)
{
	uint64_t *list, node, value;
	size_t it = 0;

	pthread_mutex_lock(&n->lock);
	list = xmalloc((map_count(&n->counts) + 1) * sizeof(*list));
	list[0] = INO_ROOT;
	for (*count = 1; map_next(&n->counts, &it, &node, &value); ++*count)
		list[*count] = lead(n, node);
	pthread_mutex_unlock(&n->lock);
	return list;
}

void nodes_move(struct nodes *n, uint64_t from, uint64_t to)
{
	uint64_t list, had;

	assert(from > INO_HIDDEN && to > INO_HIDDEN && from != to);
	pthread_mutex_lock(&n->lock);
	list = first_of(n, from);
	had = first_of(n, to);
	map_del(&n->first, from);
	for (uint64_t at = list; at; at = next_of(n, at))
		set_lead(n, at, to);
	if (list)
		attach(n, to, had, list);
	note_any(n);
	pthread_mutex_unlock(&n->lock);
}
