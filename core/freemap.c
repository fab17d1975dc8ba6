/* SPDX-License-Identifier: MIT */
#include "core/freemap.h"

#include "util/util.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WORD_BITS 64u
#define ZONE_BLOCKS 4096u
#define ZONE_WORDS (ZONE_BLOCKS / WORD_BITS)
/* How far one allocation looks for a run of full length: 64 zones are 1 GiB of image and at most 4096 words. */
#define SCAN_ZONES 64u
/* And how many runs it looks at: in a fragmented image the zones above would take 200 us. */
#define SCAN_RUNS 512u
/* A shorter run than wanted is taken below `end` from this length on; below it growing is better, if possible. */
#define GOOD_RUN_BLOCKS 16u

enum { STALE_SHORT = 1, STALE = 2 }; /* the former: but for short runs */

struct freemap {
	uint64_t limit, bound, end, used; /* used: with block 0 */
	uint64_t cursor;
	uint64_t *bits;            /* 1: in use */
	uint16_t *zone_free;       /* free blocks of each zone, those beyond `end` counted too */
	uint8_t *stale;            /* of each zone: STALE: not looked through since something in it became free */
	uint64_t zones;            /* allocated; covers [0, zones * ZONE_BLOCKS) */
	uint64_t sweep;            /* freemap_stale goes on here; the zone around it is no longer marked */
};

static void cover(struct freemap *f, uint64_t end)
{
	uint64_t zones = (end + ZONE_BLOCKS - 1) / ZONE_BLOCKS;

	if (zones <= f->zones)
		return;
	zones = MAX(zones, f->zones + f->zones / 4);
	f->bits = xrealloc(f->bits, zones * ZONE_WORDS * sizeof(uint64_t));
	f->zone_free = xrealloc(f->zone_free, zones * sizeof(uint16_t));
	f->stale = xrealloc(f->stale, zones);
	memset(f->stale + f->zones, 0, zones - f->zones);
	memset(f->bits + f->zones * ZONE_WORDS, 0, (zones - f->zones) * ZONE_WORDS * sizeof(uint64_t));
	for (uint64_t z = f->zones; z < zones; z++)
		f->zone_free[z] = ZONE_BLOCKS;
	f->zones = zones;
}

struct freemap *freemap_new(uint64_t limit_blocks)
{
	struct freemap *f = xcalloc(1, sizeof(*f));

	f->limit = f->bound = MAX(limit_blocks, 1);
	f->cursor = 1;
	int rc = freemap_claim(f, 0, 1);

	assert(rc == 0);
	(void)rc;
	return f;
}

void freemap_delete(struct freemap *f)
{
	if (!f)
		return;
	free(f->bits);
	free(f->zone_free);
	free(f->stale);
	free(f);
}

void freemap_set_limit(struct freemap *f, uint64_t limit_blocks, uint64_t bound_blocks)
{
	f->limit = MAX(limit_blocks, 1);
	f->bound = MAX(MAX(f->limit, bound_blocks), f->end);
}

bool freemap_used(const struct freemap *f, uint64_t phys)
{
	return phys < f->end && (f->bits[phys / WORD_BITS] >> (phys % WORD_BITS) & 1);
}

/* First block >= from whose bit is `used`, or end. */
static uint64_t find(const struct freemap *f, uint64_t from, uint64_t end, bool used)
{
	while (from < end) {
		uint64_t word = f->bits[from / WORD_BITS];

		word = (used ? word : ~word) >> (from % WORD_BITS);
		if (word)
			return MIN(from + (uint64_t)__builtin_ctzll(word), end);
		from = (from / WORD_BITS + 1) * WORD_BITS;
	}
	return end;
}

static void set(struct freemap *f, uint64_t phys, uint64_t len, bool used)
{
	uint64_t done;

	for (; len; phys += done, len -= done) {
		uint64_t bit = phys % WORD_BITS, mask;

		done = MIN(len, WORD_BITS - bit);
		mask = (done == WORD_BITS ? UINT64_MAX : (UINT64_C(1) << done) - 1) << bit;
		uint64_t *word = &f->bits[phys / WORD_BITS];

		assert((*word & mask) == (used ? 0 : mask));
		*word ^= mask;
		if (used) {
			f->zone_free[phys / ZONE_BLOCKS] -= (uint16_t)done;
			f->used += done;
		} else {
			f->zone_free[phys / ZONE_BLOCKS] += (uint16_t)done;
			f->used -= done;
		}
	}
}

static void take(struct freemap *f, uint64_t phys, uint64_t len)
{
	cover(f, phys + len);
	f->end = MAX(f->end, phys + len);
	set(f, phys, len, true);
}

bool freemap_take(struct freemap *f, uint64_t phys, uint64_t len)
{
	if (phys > f->bound || len > f->bound - phys)
		return false;
	if (phys < f->end && find(f, phys, MIN(phys + len, f->end), true) < MIN(phys + len, f->end))
		return false;
	take(f, phys, len);
	return true;
}

int freemap_claim(struct freemap *f, uint64_t phys, uint64_t len)
{
	return freemap_take(f, phys, len) ? 0 : -EUCLEAN;
}

void freemap_put_back(struct freemap *f, uint64_t phys, uint64_t len)
{
	assert(phys && len && phys + len <= f->end);
	set(f, phys, len, false);
}

void freemap_release(struct freemap *f, uint64_t phys, uint64_t len)
{
	freemap_put_back(f, phys, len);
	for (uint64_t zone = phys / ZONE_BLOCKS; zone <= (phys + len - 1) / ZONE_BLOCKS; zone++)
		f->stale[zone] = STALE;
}

void freemap_suspect(struct freemap *f, uint64_t end_blocks)
{
	cover(f, end_blocks);
	f->end = MAX(f->end, MIN(end_blocks, f->bound));
	for (uint64_t zone = 0; zone * ZONE_BLOCKS < f->end; zone++)
		f->stale[zone] = f->zone_free[zone] > 0 ? STALE : 0;
}

/* From f->sweep on, within its zone: a run of least..most blocks; 0: there is none. */
static uint64_t sweep_zone(struct freemap *f, uint64_t stop, uint64_t least, uint64_t most, uint64_t *phys)
{
	uint64_t len;

	for (; (*phys = find(f, f->sweep, stop, false)) < stop; f->sweep = *phys + len) {
		len = find(f, *phys, MIN(stop, *phys + most), true) - *phys;
		if (len < least)
			continue;
		f->sweep = *phys + len;
		return len;
	}
	f->sweep = stop;
	return 0;
}

bool freemap_stale(struct freemap *f, uint64_t least, uint64_t most, uint64_t *phys, uint64_t *len)
{
	uint64_t zones = (f->end + ZONE_BLOCKS - 1) / ZONE_BLOCKS;
	unsigned seen = 0;

	*len = 0;
	for (uint64_t looked = 0; most > 0 && looked <= zones + 1; looked++) {
		uint64_t stop = MIN((f->sweep / ZONE_BLOCKS + 1) * ZONE_BLOCKS, f->end);
		bool inside = f->sweep % ZONE_BLOCKS != 0;

		if (f->sweep >= f->end) { /* around */
			f->sweep = 0;
			continue;
		}
		uint8_t *stale = &f->stale[f->sweep / ZONE_BLOCKS];

		if (!inside && *stale < (least > 1 ? STALE : STALE_SHORT)) {
			f->sweep = stop;
			continue;
		}
		if (seen++ == SCAN_ZONES)
			return true;
		if (!inside) /* what becomes free from now on marks it again */
			*stale = least > 1 ? STALE_SHORT : 0;
		*len = sweep_zone(f, stop, least, most, phys);
		if (*len) {
			set(f, *phys, *len, true);
			return true;
		}
	}
	return false;
}

bool freemap_give(struct freemap *f, uint64_t phys, uint64_t len)
{
	if (!phys || phys > f->end || len > f->end - phys || find(f, phys, phys + len, false) < phys + len)
		return false;
	freemap_release(f, phys, len);
	return true;
}

/* Longest free run (up to want) of [from, to), full zones skipped, looking at SCAN_ZONES zones that have room. */
static uint64_t scan(const struct freemap *f, uint64_t from, uint64_t to, uint64_t want, uint64_t *phys)
{
	uint64_t best = 0;
	unsigned zones_seen = 0, runs_seen = 0;

	while (from < to && best < want && zones_seen < SCAN_ZONES && runs_seen < SCAN_RUNS) {
		uint64_t zone = from / ZONE_BLOCKS, zone_end = MIN((zone + 1) * ZONE_BLOCKS, to);

		if (f->zone_free[zone] == 0) {
			from = zone_end;
			continue;
		}
		zones_seen++;
		while (from < zone_end && best < want && runs_seen++ < SCAN_RUNS) {
			uint64_t start = find(f, from, zone_end, false);
			/* a run may reach into the next zone */
			uint64_t stop = start < zone_end ? find(f, start, MIN(start + want, to), true) : start;

			if (stop - start > best) {
				best = stop - start;
				*phys = start;
			}
			from = MAX(stop, start + 1);
		}
	}
	return best;
}

static uint64_t take_at(struct freemap *f, uint64_t phys, uint64_t len, uint64_t window)
{
	take(f, phys, len);
	f->cursor = phys + MAX(len, window);
	return len;
}

static uint64_t alloc_at_goal(struct freemap *f, uint64_t want, uint64_t goal)
{
	uint64_t len = 0;

	if (goal == 0 || goal >= f->bound)
		return 0;
	if (goal >= f->end) /* beyond: only when it goes on exactly at the end, or in a window left there */
		len = MIN(want, f->bound - goal);
	else
		len = find(f, goal, MIN(goal + want, f->end), true) - goal;
	if (len == 0 || (goal < f->end && len < want && len < GOOD_RUN_BLOCKS))
		return 0;
	take(f, goal, len);
	if (f->cursor >= goal && f->cursor < goal + len)
		f->cursor = goal + len;
	return len;
}

uint64_t freemap_alloc(struct freemap *f, uint64_t want, uint64_t goal, uint64_t window, uint64_t *phys)
{
	uint64_t at = 0, len, wide = MAX(want, window);

	assert(want);
	want = MIN(want, freemap_count_free(f));
	if (want == 0)
		return 0;
	len = alloc_at_goal(f, want, goal);
	if (len) {
		*phys = goal;
		return len;
	}
	if (f->end > f->used) { /* there is room below the end */
		uint64_t from = f->cursor < f->end ? f->cursor : 1;

		len = scan(f, from, f->end, wide, &at);
		if (len < wide && from > 1) {
			uint64_t at2 = 0, len2 = scan(f, 1, MIN(from + wide, f->end), wide, &at2);

			if (len2 > len) {
				len = len2;
				at = at2;
			}
		}
	}
	uint64_t grow = f->bound - MAX(f->end, MIN(f->cursor, f->bound));

	if (len < want && len < GOOD_RUN_BLOCKS && grow > 0) {
		at = MAX(f->end, f->cursor);
		len = grow;
	}
	if (len == 0 && f->bound > f->end) { /* a window was left behind at the very end */
		at = f->end;
		len = f->bound - f->end;
	}
	if (len == 0) /* the last few, wherever they are */
		for (uint64_t z = 0; len == 0 && z < f->zones; z++)
			len = scan(f, z * ZONE_BLOCKS, MIN((z + 1) * ZONE_BLOCKS, f->end), want, &at);
	if (len == 0)
		return 0;
	*phys = at;
	return take_at(f, at, MIN(len, want), MIN(len, wide));
}

uint64_t freemap_count_used(const struct freemap *f)
{
	return f->used - 1;
}

uint64_t freemap_count_free(const struct freemap *f)
{
	return f->limit > f->used ? f->limit - f->used : 0;
}

uint64_t freemap_end(const struct freemap *f)
{
	return f->end;
}
