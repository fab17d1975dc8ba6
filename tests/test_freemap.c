/* SPDX-License-Identifier: MIT */
#include "core/freemap.h"
#include "tests/tap.h"
#include "util/util.h"

#include <errno.h>
#include <stdlib.h>

START_TEST(block_zero_is_never_given)
{
	struct freemap *f = freemap_new(100);
	uint64_t phys;

	ck_assert(freemap_used(f, 0));
	ck_assert_uint_eq(freemap_alloc(f, 1, 0, 0, &phys), 1);
	ck_assert_uint_ge(phys, 1);
	freemap_delete(f);
}
END_TEST

START_TEST(a_block_owned_twice_is_refused)
{
	struct freemap *f = freemap_new(1000);

	ck_assert_int_eq(freemap_claim(f, 10, 5), 0);
	ck_assert_int_eq(freemap_claim(f, 14, 5), -EUCLEAN);
	ck_assert_int_eq(freemap_claim(f, 15, 5), 0);
	ck_assert_int_eq(freemap_claim(f, 0, 1), -EUCLEAN);
	ck_assert_int_eq(freemap_claim(f, 999, 2), -EUCLEAN);
	ck_assert_uint_eq(freemap_count_used(f), 10);
	freemap_delete(f);
}
END_TEST

START_TEST(a_long_run_is_given_whole_while_there_is_one)
{
	struct freemap *f = freemap_new(100000);
	uint64_t phys;

	ck_assert_uint_eq(freemap_alloc(f, 256, 0, 0, &phys), 256);
	ck_assert_uint_eq(freemap_alloc(f, 5000, 0, 0, &phys), 5000);
	freemap_release(f, phys, 5000);
	ck_assert_uint_eq(freemap_alloc(f, 4500, 0, 0, &phys), 4500);
	freemap_delete(f);
}
END_TEST

START_TEST(the_goal_is_taken_when_free)
{
	struct freemap *f = freemap_new(1000);
	uint64_t a, b, c;

	freemap_alloc(f, 4, 0, 0, &a);
	freemap_alloc(f, 4, 0, 0, &b);
	freemap_release(f, b, 4);
	ck_assert_uint_eq(freemap_alloc(f, 2, a + 4, 0, &c), 2);
	ck_assert_uint_eq(c, a + 4);
	freemap_delete(f);
}
END_TEST

/* Two files appended to in turns, a block at a time. */
START_TEST(a_window_keeps_two_growing_files_in_runs)
{
	struct freemap *f = freemap_new(100000);
	uint64_t next[2] = { 0, 0 }, breaks = 0;

	for (int i = 0; i < 2000; i++) {
		uint64_t *goal = &next[i % 2], phys;

		ck_assert_uint_eq(freemap_alloc(f, 1, *goal, *goal ? 16 : 0, &phys), 1);
		breaks += phys != *goal;
		*goal = phys + 1;
	}
	ck_assert_uint_le(breaks, 2000 / 16 + 8);
	freemap_delete(f);
}
END_TEST

START_TEST(every_last_block_can_be_had)
{
	struct freemap *f = freemap_new(20001);
	uint64_t phys, seed = 7, left = 20000;

	while (left) {
		uint64_t want = 1 + seed % 300, got;

		seed = seed * 6364136223846793005u + 1442695040888963407u;
		got = freemap_alloc(f, MIN(want, left), seed % 3 ? 0 : seed % 20001, seed % 2 ? 16 : 0, &phys);
		ck_assert_msg(got, "%llu blocks left and none given", (unsigned long long)left);
		left -= got;
	}
	ck_assert_uint_eq(freemap_count_free(f), 0);
	ck_assert_uint_eq(freemap_alloc(f, 1, 0, 0, &phys), 0);
	for (uint64_t b = 1; b <= 20000; b++)
		if (b % 7 == 0)
			freemap_release(f, b, 1);
	for (left = freemap_count_free(f); left; left--)
		ck_assert_uint_eq(freemap_alloc(f, 5, 0, 0, &phys), 1);
	freemap_delete(f);
}
END_TEST

/* Against an array of bytes. */
START_TEST(runs_given_were_free_and_counts_hold)
{
	enum { BLOCKS = 30000 };
	struct freemap *f = freemap_new(BLOCKS);
	uint8_t *used = xcalloc(BLOCKS, 1);
	uint64_t seed = 42, count = 0, twice = 0;

	for (int i = 0; i < 20000; i++) {
		uint64_t phys, len;

		seed = seed * 6364136223846793005u + 1442695040888963407u;
		if (seed >> 62) {
			len = freemap_alloc(f, 1 + (seed >> 20) % 256, (seed >> 30) % BLOCKS, 0, &phys);
			ck_assert_uint_le(phys + len, BLOCKS);
			for (uint64_t b = phys; b < phys + len; b++)
				twice += used[b]++;
			count += len;
		}
		phys = 1 + (seed >> 33) % (BLOCKS - 300);
		for (len = 0; len < 200 && used[phys + len]; len++)
			used[phys + len]--;
		if (len)
			freemap_release(f, phys, len);
		count -= len;
		ck_assert_uint_eq(freemap_count_used(f), count);
	}
	for (uint64_t b = 1; b < BLOCKS; b++)
		twice += freemap_used(f, b) != used[b];
	ck_assert_uint_eq(twice, 0);
	free(used);
	freemap_delete(f);
}
END_TEST

START_TEST(what_became_free_is_found_once)
{
	struct freemap *f = freemap_new(100000);
	uint64_t phys, a, sum = 0, len;

	ck_assert_uint_eq(freemap_alloc(f, 20000, 0, 0, &a), 20000);
	ck_assert(!freemap_stale(f, 1, 100, &phys, &len));
	for (uint64_t i = 0; i < 20000; i += 10)
		freemap_release(f, a + i, 3);
	while (freemap_stale(f, 1, 2, &phys, &len)) {
		ck_assert_uint_le(len, 2);
		ck_assert(freemap_used(f, phys) && freemap_used(f, phys + len - 1));
		freemap_put_back(f, phys, len);
		sum += len;
		ck_assert_uint_le(sum, 6000);
	}
	ck_assert_uint_eq(sum, 6000);
	freemap_release(f, a + 15005, 1);
	for (sum = 0; freemap_stale(f, 1, 100, &phys, &len); sum += len)
		freemap_put_back(f, phys, len);
	ck_assert_uint_ge(sum, 1);
	ck_assert_uint_le(sum, 4096); /* its zone, no other */
	freemap_delete(f);
}
END_TEST

static uint64_t sweep(struct freemap *f, uint64_t least)
{
	uint64_t phys, len, sum = 0;

	while (freemap_stale(f, least, 1000, &phys, &len)) {
		if (!len)
			continue;
		ck_assert_uint_ge(len, least);
		freemap_put_back(f, phys, len);
		sum += len;
	}
	return sum;
}

START_TEST(short_runs_are_left_until_they_are_asked_for)
{
	const uint64_t zones = 200, all = zones * 4096;
	struct freemap *f = freemap_new(all + 1);
	uint64_t a;

	ck_assert_uint_eq(freemap_alloc(f, all, 0, 0, &a), all);
	for (uint64_t i = 10; i < all; i += 4096)
		freemap_release(f, a + i, 3);
	for (uint64_t i = 2000; i < all; i += 4096)
		freemap_release(f, a + i, 100);
	ck_assert_uint_eq(sweep(f, 16), zones * 100);
	ck_assert_uint_eq(sweep(f, 16), 0);
	ck_assert_uint_ge(sweep(f, 1), zones * 3);
	ck_assert_uint_eq(sweep(f, 1), 0);
	freemap_release(f, a + 13, 13); /* grown long */
	ck_assert_uint_ge(sweep(f, 16), 16);
	freemap_delete(f);
}
END_TEST

START_TEST(a_lower_limit_counts_what_is_used_wherever_it_is)
{
	struct freemap *f = freemap_new(1000);
	uint64_t phys, a;

	ck_assert_uint_eq(freemap_alloc(f, 600, 0, 0, &a), 600);
	freemap_release(f, a, 300); /* the upper half stays */
	freemap_set_limit(f, 401, 0);
	ck_assert_uint_eq(freemap_count_free(f), 100);
	ck_assert_uint_eq(freemap_alloc(f, 200, 0, 0, &phys), 100);
	ck_assert_uint_eq(freemap_alloc(f, 1, 0, 0, &phys), 0);
	freemap_set_limit(f, 100, 0);
	ck_assert_uint_eq(freemap_count_free(f), 0);
	ck_assert_uint_eq(freemap_alloc(f, 1, 0, 0, &phys), 0);
	freemap_set_limit(f, 2000, 0);
	ck_assert_uint_eq(freemap_count_free(f), 2000 - 401);
	freemap_delete(f);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("freemap");
	TCase *tc = tcase_create("freemap");

	tcase_add_test(tc, block_zero_is_never_given);
	tcase_add_test(tc, a_block_owned_twice_is_refused);
	tcase_add_test(tc, a_long_run_is_given_whole_while_there_is_one);
	tcase_add_test(tc, the_goal_is_taken_when_free);
	tcase_add_test(tc, a_window_keeps_two_growing_files_in_runs);
	tcase_add_test(tc, every_last_block_can_be_had);
	tcase_add_test(tc, runs_given_were_free_and_counts_hold);
	tcase_add_test(tc, what_became_free_is_found_once);
	tcase_add_test(tc, short_runs_are_left_until_they_are_asked_for);
	tcase_add_test(tc, a_lower_limit_counts_what_is_used_wherever_it_is);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
