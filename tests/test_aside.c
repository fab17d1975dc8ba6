/* SPDX-License-Identifier: MIT */
/* Room that fallocate sets aside: who may use it, who counts it, and when it is given up. */
#include "tests/volume_fixture.h"

#include "core/aside.h"
#include "core/fsck.h"
#include "util/util.h"

#include <linux/falloc.h>

#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define KEEP FALLOC_FL_KEEP_SIZE
#define ZERO FALLOC_FL_ZERO_RANGE
#define MIB (1u << 20)

static uint8_t bytes[2 * MIB];

static void setup(void)
{
	fx_setup_primary();
	memset(bytes, 7, sizeof(bytes));
}

static void limit(uint64_t size_bytes)
{
	struct err err = ERR_INIT;

	ck_assert_msg(volume_resize(fx, size_bytes, &err) == 0, "%s", err.text);
}

/* Until nothing is left for it. */
static void fill_up(const char *name)
{
	uint64_t f = fx_file(INO_ROOT, name), off = 0;

	for (size_t piece = MIB; piece >= BLOCK_BYTES; piece /= 2)
		while (volume_write(fx, f, bytes, piece, off, 0, NULL) > 0)
			off += piece;
	ck_assert_int_eq(volume_write(fx, f, bytes, 1, off, 0, NULL), -ENOSPC);
}

static uint64_t blocks_of(uint64_t ino)
{
	struct attr a;

	ck_assert_int_eq(volume_getattr(fx, ino, &a), 0);
	return a.blocks_512 / (BLOCK_BYTES / 512);
}

static uint64_t used_blocks(void)
{
	struct volume_space s;

	volume_space(fx, &s);
	return s.used_bytes / BLOCK_BYTES;
}

static void truncate_to(uint64_t ino, uint64_t size_bytes)
{
	const struct attr in = { .size_bytes = size_bytes };
	struct attr a;

	ck_assert_int_eq(volume_setattr(fx, ino, SET_SIZE, &in, &a), 0);
}

static void say(void *ctx, const char *text)
{
	(void)ctx;
	ck_abort_msg("fsck: %s", text);
}

static void fsck_is_clean(void)
{
	static const struct fsck_options opt = { .found = say };
	struct fsck_result r;
	struct err err = ERR_INIT;

	ck_assert_int_eq(volume_close(fx), 0);
	fx = NULL;
	ck_assert_msg(fsck_store(fx_dir, &opt, &r, &err) == 0 && r.findings == 0, "%s", err.text);
}

START_TEST(what_is_set_aside_can_be_written_when_the_store_is_full)
{
	uint64_t f = fx_file(INO_ROOT, "f");
	struct attr a;

	limit(8 * MIB);
	ck_assert_int_eq(volume_fallocate(fx, f, _i ? KEEP : 0, 5000, 3 * MIB), 0);
	ck_assert_int_eq(volume_getattr(fx, f, &a), 0);
	ck_assert_uint_eq(a.size_bytes, _i ? 0 : 5000 + 3 * MIB);
	fill_up("other");
	ck_assert_int_eq(volume_write(fx, f, bytes, 1, 0, 0, NULL), -ENOSPC); /* before it */
	ck_assert_int_eq(volume_write(fx, f, bytes, 1, 5000 + 2 * MIB, 0, NULL), 1);
	ck_assert_int_eq(volume_write(fx, f, bytes, MIB, 8192, 0, NULL), MIB);
	ck_assert_int_eq(volume_commit(fx), 0);
	ck_assert_int_eq(volume_write(fx, f, bytes, 1, 5000, 0, NULL), 1);
	ck_assert_int_eq(volume_write(fx, f, bytes, MIB - 8192, 8192 + MIB, 0, NULL), MIB - 8192);
	ck_assert_int_eq(volume_write(fx, f, bytes, MIB, 2 * MIB + 8192, 0, NULL), MIB);
	ck_assert_int_eq(volume_write(fx, f, bytes, 1, 4 * MIB, 0, NULL), -ENOSPC); /* behind it */
	fx_reopen();
	f = fx_ino(INO_ROOT, "f");
	ck_assert_int_eq(volume_write(fx, f, bytes, 1, 2 * MIB, 0, NULL), 1); /* the last of it */
	ck_assert_uint_eq(blocks_of(f), 3 * MIB / BLOCK_BYTES + 1);
	fsck_is_clean();
}
END_TEST

START_TEST(it_counts_as_used_and_is_given_back)
{
	uint64_t f = fx_file(INO_ROOT, "f"), before = used_blocks();
	struct err err = ERR_INIT;

	ck_assert_int_eq(volume_fallocate(fx, f, KEEP, 0, 2 * MIB), 0);
	ck_assert_int_eq(volume_fallocate(fx, f, 0, MIB, MIB / 2), 0); /* there is some already */
	ck_assert_uint_eq(used_blocks(), before + 512);
	ck_assert_uint_eq(blocks_of(f), 512);
	ck_assert_int_eq(volume_resize(fx, MIB, &err), -ENOSPC);
	ck_assert_int_eq(volume_seek(fx, f, 0, SEEK_DATA), -ENXIO);
	ck_assert_int_eq(volume_fallocate(fx, f, PUNCH, BLOCK_BYTES, 2 * BLOCK_BYTES), 0);
	ck_assert_uint_eq(blocks_of(f), 510);
	truncate_to(f, 3 * MIB / 2); /* it has that size: what is behind it goes all the same */
	ck_assert_uint_eq(blocks_of(f), 382);
	truncate_to(f, 6 * BLOCK_BYTES - 1);
	ck_assert_uint_eq(blocks_of(f), 4);
	ck_assert_int_eq(volume_fallocate(fx, f, ZERO, 0, MIB), 0);
	ck_assert_uint_eq(blocks_of(f), 256);
	ck_assert_uint_eq(used_blocks(), before + 256);
	ck_assert_int_eq(volume_unlink(fx, INO_ROOT, "f"), 0);
	ck_assert_int_eq(volume_commit(fx), 0);
	ck_assert_uint_eq(used_blocks(), before);
	fsck_is_clean();
}
END_TEST

START_TEST(more_than_there_is_is_refused_and_nothing_is_set_aside)
{
	uint64_t f = fx_file(INO_ROOT, "f"), before;

	limit(4 * MIB);
	before = used_blocks();
	ck_assert_int_eq(volume_fallocate(fx, f, 0, 0, 5 * MIB), -ENOSPC);
	ck_assert_uint_eq(used_blocks(), before);
	ck_assert_uint_eq(blocks_of(f), 0);
	fill_up("other");
	ck_assert_int_eq(volume_fallocate(fx, f, 0, 0, 1), -ENOSPC);
	ck_assert_int_eq(volume_unlink(fx, INO_ROOT, "other"), 0); /* room that is free when the group is durable */
	ck_assert_int_eq(volume_fallocate(fx, f, 0, 0, 3 * MIB), 0);
}
END_TEST

START_TEST(a_crash_leaves_what_was_committed_of_it)
{
	uint64_t f = fx_file(INO_ROOT, "f");

	ck_assert_int_eq(volume_fallocate(fx, f, KEEP, 0, MIB), 0);
	ck_assert_int_eq(volume_commit(fx), 0);
	ck_assert_int_eq(volume_write(fx, f, bytes, MIB / 2, 0, 0, NULL), MIB / 2);
	ck_assert_int_eq(volume_fallocate(fx, f, KEEP, MIB, MIB), 0);
	ck_assert_uint_eq(blocks_of(f), 512);
	fx_reopen_after_crash();
	f = fx_ino(INO_ROOT, "f");
	ck_assert_uint_eq(blocks_of(f), 256);
	ck_assert_uint_eq(used_blocks(), 256);
	fsck_is_clean();
}
END_TEST

START_TEST(a_file_full_of_holes_gets_room_for_each_of_them)
{
	static const struct volume_options bit_by_bit = { .fast_unsafe = true, .at_once_rows = 3 };
	struct err err = ERR_INIT;
	uint64_t f;

	ck_assert_int_eq(volume_close(fx), 0);
	ck_assert_int_eq(volume_open(fx_dir, &bit_by_bit, &fx, &err), 0);
	f = fx_file(INO_ROOT, "f");
	for (uint64_t b = 0; b < 100; b += 2)
		ck_assert_int_eq(volume_write(fx, f, "x", 1, b << BLOCK_SHIFT, 0, NULL), 1);
	ck_assert_int_eq(volume_fallocate(fx, f, 0, 0, 101 << BLOCK_SHIFT), 0);
	ck_assert_uint_eq(blocks_of(f), 101);
	ck_assert_int_eq(volume_fallocate(fx, f, PUNCH, 0, 101 << BLOCK_SHIFT), 0);
	ck_assert_uint_eq(blocks_of(f), 0);
	fsck_is_clean();
}
END_TEST

/* ---- whatever happens to a file ---- */

#define SPAN 400u /* blocks */
enum { HOLE, ASIDE, DATA };

static struct model {
	uint8_t is[SPAN];
	uint64_t size_bytes;
} model;

static uint64_t seed;

static uint64_t chance(uint64_t n)
{
	seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
	return (seed >> 33) % n;
}

static uint64_t model_blocks(void)
{
	uint64_t n = 0;

	for (size_t b = 0; b < SPAN; b++)
		n += model.is[b] != HOLE;
	return n;
}

static void model_set(uint64_t off, uint64_t len, uint8_t is)
{
	for (uint64_t b = off >> BLOCK_SHIFT; b << BLOCK_SHIFT < off + len; b++)
		if (is == DATA || model.is[b] == HOLE)
			model.is[b] = is;
}

static void model_drop(uint64_t off, uint64_t len)
{
	for (uint64_t b = (off + BLOCK_BYTES - 1) >> BLOCK_SHIFT; (b + 1) << BLOCK_SHIFT <= off + len; b++)
		model.is[b] = HOLE;
}

static void model_truncate(uint64_t size_bytes)
{
	if (size_bytes < model.size_bytes)
		model_drop(size_bytes, SPAN * BLOCK_BYTES - size_bytes);
	model.size_bytes = size_bytes;
}

static bool all_aside(uint64_t off, uint64_t len)
{
	bool all = true;

	for (uint64_t b = off >> BLOCK_SHIFT; b << BLOCK_SHIFT < off + len; b++)
		all = all && model.is[b] == ASIDE;
	return all;
}

static void random_write(uint64_t f, uint64_t off, uint64_t len)
{
	ssize_t n = volume_write(fx, f, bytes, len, off, 0, NULL);

	if (n < 0) {
		ck_assert_int_eq(n, -ENOSPC);
		ck_assert_msg(!all_aside(off, len), "room was set aside for %llu+%llu", (unsigned long long)off,
		              (unsigned long long)len);
		return;
	}
	model_set(off, len, DATA);
	model.size_bytes = MAX(model.size_bytes, off + len);
}

static void random_allocate(uint64_t f, int mode, uint64_t off, uint64_t len)
{
	uint64_t before = blocks_of(f);
	int rc = volume_fallocate(fx, f, mode, off, len);

	if (rc) {
		ck_assert_int_eq(rc, -ENOSPC);
		/* it may have got room for a part */
		for (uint64_t b = off >> BLOCK_SHIFT; b << BLOCK_SHIFT < off + len; b++) {
			if (model_blocks() == blocks_of(f))
				break;
			model.is[b] = model.is[b] == HOLE ? ASIDE : model.is[b];
		}
		ck_assert(before <= blocks_of(f) && mode != PUNCH);
		return;
	}
	if (mode & (FALLOC_FL_PUNCH_HOLE | ZERO))
		model_drop(off, len);
	if (!(mode & FALLOC_FL_PUNCH_HOLE))
		model_set(off, len, ASIDE);
	if (!(mode & KEEP))
		model.size_bytes = MAX(model.size_bytes, off + len);
}

/* What the peer did to the file gets here. */
static void peer_does(uint64_t f, uint64_t off, uint64_t len)
{
	int rc, what = (int)chance(3);

	ck_assert_int_eq(volume_apply_begin(fx), 0);
	if (what == 0)
		rc = data_write(fx, f, bytes, len, off, ORIGIN_PEER);
	else if (what == 1)
		rc = data_punch(fx, f, off, len, ORIGIN_PEER);
	else
		rc = data_truncate(fx, f, off, ORIGIN_PEER);
	if (rc) {
		ck_assert(rc == -ENOSPC && (what != 0 || !all_aside(off, len)));
		volume_apply_abort(fx);
		return;
	}
	ck_assert_int_eq(volume_apply_commit(fx, 0), 0);
	if (what == 0) {
		model_set(off, len, DATA);
		model.size_bytes = MAX(model.size_bytes, off + len);
	} else if (what == 1) {
		model_drop(off, len);
	} else {
		model_truncate(off);
	}
}

static void crash_after_a_change(uint64_t f, uint64_t off, uint64_t len)
{
	struct model before = model;

	ck_assert_int_eq(volume_commit(fx), 0);
	if (chance(2))
		random_write(f, off, len);
	else
		random_allocate(f, chance(2) ? KEEP : PUNCH, off, len);
	fx_reopen_after_crash();
	model = before;
}

static void random_step(uint64_t f, uint64_t other)
{
	static const int modes[] = { 0, KEEP, PUNCH, ZERO, ZERO | KEEP };
	uint64_t off = chance(SPAN * BLOCK_BYTES), len = 1 + chance(chance(3) ? 20000 : 900000);

	if (chance(3) == 0)
		off -= off % BLOCK_BYTES;
	len = MIN(len, SPAN * BLOCK_BYTES - off);
	switch (chance(14)) {
	case 0 ... 3:
		random_allocate(f, modes[chance(ARRAY_LEN(modes))], off, len);
		break;
	case 4 ... 7:
		random_write(f, off, len);
		break;
	case 8:
		truncate_to(f, off);
		model_truncate(off);
		break;
	case 9:
		peer_does(f, off, len);
		break;
	case 10: /* others take what they can get, or give it back */
		if (chance(3) == 0)
			truncate_to(other, 0);
		for (uint64_t at = 0; volume_write(fx, other, bytes, 65536, at, 0, NULL) > 0; at += 65536)
			;
		break;
	case 11:
		if (chance(4) == 0)
			fx_cut();
		ck_assert_int_eq(volume_commit(fx), 0);
		break;
	case 12:
		crash_after_a_change(f, off, len);
		break;
	default: /* grows by nothing but its length */
		if (off > model.size_bytes) {
			truncate_to(f, off);
			model.size_bytes = off;
		}
		break;
	}
}

START_TEST(whatever_happens_to_a_file_each_block_is_a_hole_or_data_or_has_its_room)
{
	uint64_t f = fx_file(INO_ROOT, "f"), other = fx_file(INO_ROOT, "other");

	seed = (uint64_t)_i + 1;
	limit(6 * MIB);
	model = (struct model){ .size_bytes = 0 };
	for (int i = 0; i < 150; i++) {
		random_step(f, other);
		ck_assert_msg(blocks_of(f) == model_blocks(), "step %d: %llu blocks, not %llu", i,
		              (unsigned long long)blocks_of(f), (unsigned long long)model_blocks());
	}
	fsck_is_clean();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("aside");
	TCase *tc = tcase_create("aside");

	tcase_add_checked_fixture(tc, setup, fx_teardown);
	tcase_set_timeout(tc, 120);
	suite_add_tcase(s, tc);
	tcase_add_loop_test(tc, what_is_set_aside_can_be_written_when_the_store_is_full, 0, 2);
	tcase_add_test(tc, it_counts_as_used_and_is_given_back);
	tcase_add_test(tc, more_than_there_is_is_refused_and_nothing_is_set_aside);
	tcase_add_test(tc, a_crash_leaves_what_was_committed_of_it);
	tcase_add_test(tc, a_file_full_of_holes_gets_room_for_each_of_them);
	tcase_add_loop_test(tc, whatever_happens_to_a_file_each_block_is_a_hole_or_data_or_has_its_room, 0, 40);
	return tap_main(s);
}
