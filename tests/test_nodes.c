/* SPDX-License-Identifier: MIT */
/* The kernel's numbers of inodes: against a model that keeps each node's inode in a list. And the gate. */
#include "tests/tap.h"

#include "core/volume.h"
#include "fuse/gate.h"
#include "fuse/nodes.h"
#include "util/util.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define X (UINT64_C(1) << 48 | 10)
#define Y (UINT64_C(2) << 48 | 20)
#define Z (UINT64_C(2) << 48 | 30)
#define NUMBER(ino, count) ((ino) | UINT64_C(count) << 60)

static struct nodes nodes;

static void setup(void)
{
	nodes_init(&nodes);
}

static void teardown(void)
{
	nodes_release(&nodes);
}

static uint64_t add(uint64_t ino)
{
	bool first;

	return nodes_add(&nodes, ino, 0, &first);
}

START_TEST(a_node_has_the_number_of_its_inode)
{
	bool first;

	ck_assert_uint_eq(nodes_add(&nodes, X, 0, &first), X);
	ck_assert(first);
	ck_assert_uint_eq(nodes_add(&nodes, X, 0, &first), X);
	ck_assert(!first);
	ck_assert_uint_eq(nodes_inode(&nodes, X), X);
	ck_assert(nodes_know(&nodes, X) && !nodes_know(&nodes, Y) && nodes_know(&nodes, INO_ROOT));
	ck_assert(!nodes_shared(&nodes, X));
	ck_assert_uint_eq(nodes_drop(&nodes, X, 1), 0);
	ck_assert_uint_eq(nodes_drop(&nodes, X, 1), X);
	ck_assert(!nodes_know(&nodes, X));
	ck_assert_uint_eq(nodes_drop(&nodes, X, 1), 0);
}
END_TEST

START_TEST(who_held_the_old_inode_has_the_new_one_and_the_old_one_another_number)
{
	add(X);
	nodes_move(&nodes, X, Y);
	ck_assert_uint_eq(nodes_inode(&nodes, X), Y);
	ck_assert(!nodes_know(&nodes, X) && nodes_know(&nodes, Y));
	ck_assert_uint_eq(add(Y), X); /* one node for all who have Y */
	ck_assert(!nodes_shared(&nodes, Y));
	ck_assert_uint_eq(add(X), NUMBER(X, 1));
	ck_assert_uint_eq(nodes_inode(&nodes, NUMBER(X, 1)), X);
	/* Forgotten, all is as it was; but for what the kernel knows still. */
	ck_assert_uint_eq(nodes_drop(&nodes, X, 2), Y);
	ck_assert_uint_eq(nodes_inode(&nodes, X), X);
	ck_assert_uint_eq(add(Y), Y);
	ck_assert_uint_eq(add(X), NUMBER(X, 1));
	ck_assert_uint_eq(nodes_drop(&nodes, NUMBER(X, 1), 2), X);
	ck_assert_uint_eq(add(X), X);
	/* A number that the kernel has forgotten, and an NFS client has not. */
	ck_assert_uint_eq(nodes_inode(&nodes, NUMBER(X, 1)), X);
}
END_TEST

START_TEST(an_inode_that_others_knew_already_has_two_nodes)
{
	uint64_t *list;
	size_t n;

	add(X);
	add(Y);
	nodes_move(&nodes, X, Y);
	ck_assert(nodes_shared(&nodes, Y));
	ck_assert_uint_eq(add(Y), Y);
	list = nodes_of(&nodes, Y, &n);
	ck_assert_uint_eq(n, 2);
	ck_assert(list[0] == Y && list[1] == X);
	free(list);
	ck_assert_uint_eq(nodes_drop(&nodes, Y, 2), Y);
	ck_assert(!nodes_shared(&nodes, Y) && nodes_know(&nodes, Y));
	ck_assert_uint_eq(add(Y), X);
}
END_TEST

START_TEST(a_number_is_handed_out_that_was_asked_for)
{
	bool first;

	add(X);
	nodes_move(&nodes, X, Y);
	ck_assert_uint_eq(add(X), NUMBER(X, 1));
	ck_assert_uint_eq(nodes_add(&nodes, X, NUMBER(X, 5), &first), NUMBER(X, 5));
	ck_assert(first && nodes_shared(&nodes, X));
	ck_assert_uint_eq(nodes_drop(&nodes, NUMBER(X, 1), 1), X);
	ck_assert_uint_eq(add(X), NUMBER(X, 5));
}
END_TEST

START_TEST(twenty_generations_of_one_file_are_open)
{
	uint64_t node[20];

	for (uint64_t i = 0; i < 20; i++) {
		node[i] = add(X);
		nodes_move(&nodes, X, Y + i);
	}
	for (uint64_t i = 0; i < 20; i++) {
		ck_assert_uint_eq(nodes_inode(&nodes, node[i]), Y + i);
		for (uint64_t k = 0; k < i; k++)
			ck_assert_uint_ne(node[i], node[k]);
		ck_assert_uint_eq(nodes_drop(&nodes, node[i], 1), Y + i);
	}
	ck_assert_uint_eq(add(X), X);
	ck_assert(!atomic_load(&nodes.any)); /* and it costs nothing any more */
}
END_TEST

/* ---- at random, against a list -------------------------------------------------------------------- */

#define INODES 6u
#define HELD_MAX 64u

static struct held {
	uint64_t node, ino, count;
} held[HELD_MAX];
static size_t n_held;

static uint64_t some_inode(void)
{
	return Z + (uint64_t)rand() % INODES;
}

static struct held *find(uint64_t node)
{
	for (size_t i = 0; i < n_held; i++)
		if (held[i].node == node)
			return &held[i];
	return NULL;
}

static void model_add(uint64_t ino)
{
	bool first;
	uint64_t node = nodes_add(&nodes, ino, 0, &first);
	struct held *h = find(node);

	ck_assert(first == (h == NULL));
	if (!h) {
		ck_assert_uint_lt(n_held, HELD_MAX);
		h = &held[n_held++];
		*h = (struct held){ .node = node, .ino = ino };
	}
	ck_assert_uint_eq(h->ino, ino);
	h->count++;
}

static void model_drop(size_t i)
{
	uint64_t n = 1 + (uint64_t)rand() % held[i].count;

	ck_assert_uint_eq(nodes_drop(&nodes, held[i].node, n), n == held[i].count ? held[i].ino : 0);
	held[i].count -= n;
	if (held[i].count == 0)
		held[i] = held[--n_held];
}

static void model_check(void)
{
	for (uint64_t ino = Z; ino < Z + INODES; ino++) {
		size_t n, want = 0;
		uint64_t *list = nodes_of(&nodes, ino, &n);

		for (size_t i = 0; i < n_held; i++)
			want += held[i].ino == ino;
		ck_assert_uint_eq(n, want);
		for (size_t i = 0; i < n; i++)
			ck_assert(find(list[i]) && find(list[i])->ino == ino);
		ck_assert(nodes_know(&nodes, ino) == (n > 0));
		ck_assert(nodes_shared(&nodes, ino) == (n > 1));
		free(list);
	}
	for (size_t i = 0; i < n_held; i++)
		ck_assert_uint_eq(nodes_inode(&nodes, held[i].node), held[i].ino);
}

START_TEST(whatever_moves_each_node_leads_where_it_was_moved_to)
{
	srand(1);
	for (unsigned round = 0; round < 20000; round++) {
		uint64_t from = some_inode(), to = some_inode();
		int what = rand() % 8;

		if (what < 3 && n_held < HELD_MAX) {
			model_add(from);
		} else if (what < 6 && n_held > 0) {
			model_drop((size_t)rand() % n_held);
		} else if (from != to) {
			nodes_move(&nodes, from, to);
			for (size_t i = 0; i < n_held; i++)
				if (held[i].ino == from)
					held[i].ino = to;
		}
		model_check();
	}
	while (n_held > 0)
		model_drop(0);
	ck_assert(!atomic_load(&nodes.any));
	ck_assert_uint_eq(map_count(&nodes.counts) + map_count(&nodes.next), 0);
}
END_TEST

/* ---- the gate ------------------------------------------------------------------------------------- */

static struct gate gate;
static unsigned inside_now; /* on purpose without a lock: whoever closed the gate is alone with it */
static pthread_mutex_t inside_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_bool enough;

static void *passes(void *arg)
{
	(void)arg;
	while (!atomic_load(&enough)) {
		gate_enter(&gate);
		pthread_mutex_lock(&inside_lock);
		inside_now++;
		pthread_mutex_unlock(&inside_lock);
		sched_yield();
		pthread_mutex_lock(&inside_lock);
		inside_now--;
		pthread_mutex_unlock(&inside_lock);
		gate_leave(&gate);
	}
	return NULL;
}

START_TEST(nobody_is_inside_while_the_gate_is_closed)
{
	pthread_t thread[3];

	gate_init(&gate);
	for (unsigned i = 0; i < ARRAY_LEN(thread); i++)
		ck_assert_int_eq(pthread_create(&thread[i], NULL, passes, NULL), 0);
	for (unsigned i = 0; i < 2000; i++) {
		gate_close(&gate);
		ck_assert_uint_eq(inside_now, 0);
		sched_yield();
		ck_assert_uint_eq(inside_now, 0);
		gate_open(&gate);
	}
	atomic_store(&enough, true);
	for (unsigned i = 0; i < ARRAY_LEN(thread); i++)
		ck_assert_int_eq(pthread_join(thread[i], NULL), 0);
	gate_release(&gate);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("nodes");
	TCase *tc = tcase_create("nodes");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_node_has_the_number_of_its_inode);
	tcase_add_test(tc, who_held_the_old_inode_has_the_new_one_and_the_old_one_another_number);
	tcase_add_test(tc, an_inode_that_others_knew_already_has_two_nodes);
	tcase_add_test(tc, a_number_is_handed_out_that_was_asked_for);
	tcase_add_test(tc, twenty_generations_of_one_file_are_open);
	tcase_add_test(tc, whatever_moves_each_node_leads_where_it_was_moved_to);
	tcase_add_test(tc, nobody_is_inside_while_the_gate_is_closed);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
