/* SPDX-License-Identifier: MIT */
/* The resolver over histories of up to two operations on either side of a small tree: all is tried, nothing drawn. One
 * operation against one is in tests/test_resolver.c; here are two against one, one against two (so both roles), and a
 * share of two against two. As a part of `make check` a share of it all, evenly spread; as a part of `make soak`
 * (TWINFS_SOAK_S is set) all of two against one. */
#include "tests/tap.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/tree_model.h"
#include "util/util.h"

/* Every which one is tried. Primes, so that a share walks through all operations and not always the same ones. */
enum { SHARE = 53, SHARE_OF_TWO = 20011, SHARE_OF_TWO_SOAK = 401 };

struct history {
	struct tm_op ops[2];
	uint32_t n_ops;
};

/* What one side can have done; the single operations come first. A list for each side, as a second operation may be
 * done to what the first one made, and the ids of that are the side's own. */
struct histories {
	struct history *at;
	size_t n, n_single, cap;
	uint32_t side;
};

static struct tm_tree base;

static void after(const struct histories *h, size_t at, struct tm_side *s)
{
	*s = (struct tm_side){ .t = base, .side = h->side };
	for (uint32_t i = 0; i < h->at[at].n_ops; i++)
		tm_apply(s, &h->at[at].ops[i]);
}

static void add(struct histories *h, const struct tm_op *first, const struct tm_op *second)
{
	struct history *new;

	if (h->n == h->cap) {
		h->cap = h->cap ? 2 * h->cap : 4096;
		h->at = xrealloc(h->at, h->cap * sizeof(*h->at));
	}
	new = &h->at[h->n++];
	*new = (struct history){ .ops[0] = *first, .n_ops = second ? 2 : 1 };
	if (second)
		new->ops[1] = *second;
}

static void list(struct histories *h)
{
	static struct tm_op first[TM_OPS], second[TM_OPS];
	static struct tm_side s;

	h->n_single = tm_ops(&base, first);
	for (size_t i = 0; i < h->n_single; i++)
		add(h, &first[i], NULL);
	for (size_t i = 0; i < h->n_single; i++) {
		uint32_t n_second;

		after(h, i, &s);
		n_second = tm_ops(&s.t, second);
		for (uint32_t k = 0; k < n_second; k++)
			add(h, &first[i], &second[k]);
	}
}

/* Each step-th of all pairs of the primary's [p0, p1) and the secondary's [s0, s1). Returns how many. */
static size_t merge_pairs(const struct histories *p, size_t p0, size_t p1, const struct histories *s, size_t s0,
	size_t s1, size_t step)
{
	static struct tm_side x, y;
	size_t n_s = s1 - s0, total = (p1 - p0) * n_s, merges = 0, loaded = SIZE_MAX;

	for (size_t i = 0; i < total; i += step, merges++) {
		size_t at_p = p0 + i / n_s, at_s = s0 + i % n_s;
		const char *bad;

		if (at_p != loaded)
			after(p, at_p, &x);
		loaded = at_p;
		after(s, at_s, &y);
		bad = tm_law_broken(&base, &x.t, &y.t, merges % 8 == 0 ? (unsigned)i + 1 : 0);
		ck_assert_msg(bad == NULL, "history %zu of the primary, %zu of the secondary: %s", at_p, at_s, bad);
	}
	return merges;
}

START_TEST(every_history_of_two_operations_keeps_the_laws)
{
	bool soak = getenv("TWINFS_SOAK_S") != NULL;
	struct histories p = { .side = 1 }, s = { .side = 2 };
	size_t share = soak ? 1 : SHARE, merges;

	tm_small_base(&base, (unsigned)_i);
	list(&p);
	list(&s);
	merges = merge_pairs(&p, p.n_single, p.n, &s, 0, s.n_single, share);
	merges += merge_pairs(&p, 0, p.n_single, &s, s.n_single, s.n, share);
	merges += merge_pairs(&p, p.n_single, p.n, &s, s.n_single, s.n, soak ? SHARE_OF_TWO_SOAK : SHARE_OF_TWO);
	printf("# base %d: %zu histories of each side, %zu merges\n", _i, p.n, merges);
	ck_assert_uint_gt(merges, 40000);
	free(p.at);
	free(s.at);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("exhaust_resolver");
	TCase *tc = tcase_create("pairs");

	tcase_set_timeout(tc, 0);
	tcase_add_loop_test(tc, every_history_of_two_operations_keeps_the_laws, 0, 3);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
