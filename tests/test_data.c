/* SPDX-License-Identifier: MIT */
#include "core/aside.h"
#include "core/scrub.h"
#include "tests/data_fixture.h"
#include "tests/store_sql.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>

#define FILES 4
#define FILE_MAX ((size_t)3 << 20)
#define SNAPSHOTS 5

static struct store st;

static void setup(void)
{
	store_make(&st, 0);
}

static void teardown(void)
{
	store_remove(&st);
}

static void put(uint64_t ino, const void *buf, size_t len, uint64_t off)
{
	ck_assert_int_eq(volume_write(st.v, ino, buf, len, off, 0, NULL), (ssize_t)len);
}

static int set_size(uint64_t ino, uint64_t size)
{
	struct attr in = { .size_bytes = size }, out;

	return volume_setattr(st.v, ino, SET_SIZE, &in, &out);
}

static size_t count_rows(uint64_t ino)
{
	struct extent_list rows = EXTENT_LIST_INIT;

	volume_lock(st.v);
	ck_assert_int_eq(extent_rows_list(st.v->db, ino, 0, EXTENT_BLOCK_LIMIT, &rows), 0);
	volume_unlock(st.v);
	size_t n = rows.n;

	extent_list_release(&rows);
	return n;
}

static uint64_t used_blocks(void)
{
	volume_lock(st.v);
	uint64_t n = freemap_count_used(st.v->data->map);

	volume_unlock(st.v);
	return n;
}

/* ---- against a model ---- */

struct world {
	uint64_t ino[FILES], seed;
	struct model now[FILES], safe[FILES]; /* safe: as of the last commit */
	struct snapshot {
		uint64_t group;
		struct model file[FILES];
	} past[SNAPSHOTS];
	size_t n_past;
	uint8_t *buf;
};

static void remember(struct model *to, const struct model *from)
{
	for (size_t i = 0; i < FILES; i++) {
		model_free(&to[i]);
		to[i] = model_copy(&from[i]);
	}
}

static void world_write(struct world *w, size_t i)
{
	size_t off = chance_off(&w->seed, FILE_MAX), len = chance_len(&w->seed, (size_t)2 << 20);
	bool append = chance_below(&w->seed, 4) == 0;
	uint64_t at = 0;

	if (append)
		off = w->now[i].len;
	if (off + len > FILE_MAX)
		return;
	chance_bytes(&w->seed, w->buf, len);
	ck_assert_int_eq(volume_write(st.v, w->ino[i], w->buf, len, append ? 12345 : off, append ? WRITE_APPEND : 0,
	                              &at), (ssize_t)len);
	ck_assert_uint_eq(at, off);
	model_write(&w->now[i], off, w->buf, len);
}

static void world_punch(struct world *w, size_t i)
{
	size_t off = chance_off(&w->seed, FILE_MAX), len = chance_len(&w->seed, (size_t)1 << 20);
	bool keep = chance_below(&w->seed, 3) > 0;

	ck_assert_int_eq(volume_fallocate(st.v, w->ino[i], keep ? FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
	                                                        : FALLOC_FL_ZERO_RANGE, off, len), 0);
	if (!keep && off + len > w->now[i].len)
		model_resize(&w->now[i], off + len);
	model_zero(&w->now[i], off, len);
}

static void world_read(struct world *w, size_t i)
{
	const struct model *m = &w->now[i];
	size_t off = chance_off(&w->seed, FILE_MAX), len = chance_len(&w->seed, (size_t)2 << 20);
	size_t want = off < m->len ? MIN(len, m->len - off) : 0;

	ck_assert_int_eq(volume_read(st.v, w->ino[i], w->buf, len, off), (ssize_t)want);
	expect_same(m, w->buf, off, want, "read");
}

static void world_check(struct world *w)
{
	for (size_t i = 0; i < FILES; i++) {
		struct attr attr;
		uint64_t blocks;

		expect_content(&st, w->ino[i], &w->now[i]);
		for (size_t k = 0; k < w->n_past; k++)
			expect_view(&st, w->ino[i], (struct view){ VIEW_AT, w->past[k].group }, &w->past[k].file[i]);
		ck_assert_int_eq(volume_getattr(st.v, w->ino[i], &attr), 0);
		volume_lock(st.v);
		ck_assert_int_eq(extent_rows_count_blocks(st.v->db, w->ino[i],
		                                          leftover_floor(st.v, w->ino[i]), &blocks), 0);
		blocks += aside_of(st.v, w->ino[i]); /* by ZERO_RANGE */
		volume_unlock(st.v);
		ck_assert_uint_eq(attr.blocks_512, blocks * 8);
	}
}

static void world_snapshot(struct world *w)
{
	if (w->n_past == SNAPSHOTS) { /* the peer has the two oldest */
		volume_lock(st.v);
		ck_assert_int_eq(group_open(st.v), 0);
		ck_assert_int_eq(history_purge(st.v, w->past[1].group), 0);
		volume_unlock(st.v);
		for (size_t i = 0; i < FILES; i++)
			model_free(&w->past[0].file[i]);
		memmove(w->past, w->past + 1, (SNAPSHOTS - 1) * sizeof(w->past[0]));
		memset(&w->past[--w->n_past], 0, sizeof(w->past[0]));
	}
	struct snapshot *s = &w->past[w->n_past];

	s->group = store_cut(&st);
	if (w->n_past && w->past[w->n_past - 1].group == s->group)
		return;
	remember(s->file, w->now);
	remember(w->safe, w->now);
	w->n_past++;
}

static void world_step(struct world *w, bool snapshots)
{
	size_t i = chance_below(&w->seed, FILES);

	switch (chance_below(&w->seed, 24)) {
	case 0: case 1: case 2: {
		size_t size = chance_off(&w->seed, FILE_MAX);

		ck_assert_int_eq(set_size(w->ino[i], size), 0);
		model_resize(&w->now[i], size);
		break;
	}
	case 3: case 4: case 5:
		world_punch(w, i);
		break;
	case 6: case 7: case 8:
		world_read(w, i);
		break;
	case 9: case 10:
		if (snapshots)
			world_snapshot(w);
		break;
	case 11: case 12:
		ck_assert_int_eq(volume_commit(st.v), 0);
		remember(w->safe, w->now);
		break;
	case 13:
		if (chance_below(&w->seed, 4))
			break;
		volume_crash(st.v);
		store_reopen(&st);
		remember(w->now, w->safe);
		store_check_owners(&st);
		world_check(w);
		break;
	default:
		world_write(w, i);
	}
}

static void world_run(uint64_t seed, bool paired)
{
	struct world w = { .seed = seed, .buf = xmalloc((size_t)4 << 20) };

	st.v->opt.group_max_bytes = UINT64_C(1) << 40; /* commits when we say so */
	if (paired)
		store_pair(&st);
	for (size_t i = 0; i < FILES; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%zu", i);
		w.ino[i] = store_file(&st, name);
	}
	ck_assert_int_eq(volume_commit(st.v), 0);
	remember(w.safe, w.now);
	for (int step = 0; step < 400; step++)
		world_step(&w, paired);
	world_check(&w);
	store_check_owners(&st);
	ck_assert_int_eq(volume_close(st.v), 0);
	store_reopen(&st);
	st.v->opt.group_max_bytes = UINT64_C(1) << 40;
	store_check_owners(&st);
	world_check(&w);
	for (size_t i = 0; i < FILES; i++) {
		model_free(&w.now[i]);
		model_free(&w.safe[i]);
		for (size_t k = 0; k < SNAPSHOTS; k++)
			model_free(&w.past[k].file[i]);
	}
	free(w.buf);
}

/* In every other run truncations leave over nearly everything. */
static void leave_over(int i)
{
	st.at_once_rows = i % 2 ? 1 : 0;
	st.v->opt.at_once_rows = st.at_once_rows;
}

START_TEST(a_lone_volume_matches_a_model_through_crashes)
{
	leave_over(_i);
	world_run((uint64_t)_i + 1, false);
}
END_TEST

START_TEST(a_paired_volume_matches_a_model_now_and_at_old_groups)
{
	leave_over(_i);
	world_run((uint64_t)_i + 1000, true);
}
END_TEST

/*
 * The peer writes whole blocks through apply, we write anything in between; its view at s is what was there at s and
 * its own writes since.
 */
START_TEST(the_peers_view_has_its_own_writes_and_ours_up_to_s)
{
	uint64_t seed = (uint64_t)_i + 77, ino, s;
	uint8_t *buf = xmalloc(FILE_MAX);
	struct model peer, got = { 0 };

	store_pair(&st);
	ino = store_file(&st, "f");
	for (int i = 0; i < 30; i++) {
		size_t off = chance_off(&seed, FILE_MAX / 4), len = chance_len(&seed, 1 << 18);

		chance_bytes(&seed, buf, len);
		put(ino, buf, len, off);
		if (i % 7 == 0)
			store_cut(&st);
	}
	s = store_cut(&st);
	struct attr attr;

	ck_assert_int_eq(volume_getattr(st.v, ino, &attr), 0);
	model_resize(&got, attr.size_bytes);
	ck_assert_int_eq(volume_read(st.v, ino, got.data, got.len, 0), (ssize_t)got.len);
	peer = model_copy(&got);
	for (int i = 0; i < 120; i++) {
		size_t block = chance_below(&seed, FILE_MAX / BLOCK_BYTES / 4), n = 1 + chance_below(&seed, 40);

		chance_bytes(&seed, buf, n * BLOCK_BYTES);
		if (chance_below(&seed, 3)) { /* ours */
			size_t len = chance_len(&seed, 1 << 18);

			if (chance_below(&seed, 3) == 0)
				ck_assert_int_eq(volume_fallocate(st.v, ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				                                  block * BLOCK_BYTES, len), 0);
			else
				put(ino, buf, MIN(len, n * BLOCK_BYTES),
				    block * BLOCK_BYTES + chance_below(&seed, 4096));
			if (chance_below(&seed, 4) == 0)
				store_cut(&st);
			continue;
		}
		ck_assert_int_eq(volume_apply_begin(st.v), 0);
		if (chance_below(&seed, 3) == 0) {
			ck_assert_int_eq(data_punch(st.v, ino, block * BLOCK_BYTES, n * BLOCK_BYTES, ORIGIN_PEER), 0);
			model_zero(&peer, block * BLOCK_BYTES, n * BLOCK_BYTES);
		} else {
			ck_assert_int_eq(data_write(st.v, ino, buf, n * BLOCK_BYTES, block * BLOCK_BYTES,
			                            ORIGIN_PEER), 0);
			model_write(&peer, block * BLOCK_BYTES, buf, n * BLOCK_BYTES);
		}
		bool grew = peer.len > got.len; /* its size in this group would be lost with the merge's own */

		if (chance_below(&seed, 3) == 0 && !grew) /* a merge writes over it at once */
			ck_assert_int_eq(data_write(st.v, ino, "merged", 6, block * BLOCK_BYTES + 9, ORIGIN_LOCAL), 0);
		if (chance_below(&seed, 6) == 0) {
			volume_apply_abort(st.v);
			model_free(&peer);
			peer = model_copy(&got);
		} else {
			ck_assert_int_eq(volume_apply_commit(st.v, (uint64_t)i + 1), 0);
		}
		expect_view(&st, ino, (struct view){ VIEW_PEER, s }, &peer);
		model_free(&got);
		got = model_copy(&peer);
	}
	ck_assert_int_eq(volume_commit(st.v), 0);
	store_check_owners(&st);
	model_free(&peer);
	model_free(&got);
	free(buf);
}
END_TEST

/* ---- single behaviours ---- */

START_TEST(small_sequential_writes_make_few_rows)
{
	uint64_t ino = store_file(&st, "f");
	uint8_t block[BLOCK_BYTES];

	memset(block, 7, sizeof(block));
	for (uint64_t i = 0; i < 640; i++)
		put(ino, block, sizeof(block), i * BLOCK_BYTES);
	ck_assert_uint_eq(count_rows(ino), 640 / EXTENT_MAX_BLOCKS);
}
END_TEST

START_TEST(two_files_growing_in_turns_get_few_rows)
{
	uint64_t a = store_file(&st, "a"), b = store_file(&st, "b");
	uint8_t block[BLOCK_BYTES];

	memset(block, 7, sizeof(block));
	for (uint64_t i = 0; i < 640; i++) {
		put(a, block, sizeof(block), i * BLOCK_BYTES);
		put(b, block, sizeof(block), i * BLOCK_BYTES);
	}
	ck_assert_uint_le(count_rows(a), 640 / 16 + 4);
}
END_TEST

START_TEST(writing_again_in_a_group_takes_no_new_block)
{
	uint64_t ino = store_file(&st, "f");
	uint8_t block[BLOCK_BYTES] = { 1 };

	put(ino, block, sizeof(block), 0);
	uint64_t used = used_blocks();

	for (int i = 0; i < 10; i++)
		put(ino, block, 100, (uint64_t)i * 10);
	ck_assert_uint_eq(used_blocks(), used);
	ck_assert_int_eq(volume_commit(st.v), 0);
	put(ino, block, 100, 0);
	ck_assert_uint_eq(used_blocks(), used + 1);
	ck_assert_int_eq(volume_commit(st.v), 0);
	ck_assert_uint_eq(used_blocks(), used);
}
END_TEST

static uint64_t phys_of(uint64_t ino, uint64_t block)
{
	struct block_ref ref;

	volume_lock(st.v);
	ck_assert_int_eq(blocks_map(st.v, ino, (struct view){ VIEW_NOW, 0 }, block, 1, &ref), 0);
	volume_unlock(st.v);
	return ref.phys;
}

/* Much else is free, too. */
START_TEST(a_block_that_is_written_over_and_over_stays_in_two_places)
{
	uint64_t ino = store_file(&st, "f"), other = store_file(&st, "g"), place[2] = { 0, 0 };
	uint8_t *buf = xcalloc(1, 1 << 20);

	put(other, buf, 1 << 20, 0);
	ck_assert_int_eq(volume_commit(st.v), 0);
	ck_assert_int_eq(volume_unlink(st.v, INO_ROOT, "g"), 0);
	put(ino, buf, 3 * BLOCK_BYTES, 0);
	ck_assert_int_eq(volume_commit(st.v), 0);
	for (unsigned i = 0; i < 300; i++) {
		memset(buf, 1 + (int)i % 250, BLOCK_BYTES);
		put(ino, buf, BLOCK_BYTES, BLOCK_BYTES);
		ck_assert_int_eq(volume_commit(st.v), 0);
		if (i >= 200 && i < 202)
			place[i % 2] = phys_of(ino, 1);
		if (i >= 202)
			ck_assert_uint_eq(phys_of(ino, 1), place[i % 2]);
	}
	ck_assert_uint_ne(place[0], place[1]);
	store_check_owners(&st);
	free(buf);
}
END_TEST

START_TEST(growing_after_a_truncate_shows_zeros)
{
	uint64_t ino = store_file(&st, "f");
	struct model m = { 0 };
	uint8_t buf[10000];

	memset(buf, 9, sizeof(buf));
	put(ino, buf, sizeof(buf), 0);
	ck_assert_int_eq(set_size(ino, 5000), 0);
	ck_assert_int_eq(set_size(ino, 20000), 0);
	model_write(&m, 0, buf, 5000);
	model_resize(&m, 20000);
	expect_content(&st, ino, &m);
	model_free(&m);
}
END_TEST

START_TEST(holes_and_data_are_found)
{
	uint64_t ino = store_file(&st, "f");
	uint8_t block[BLOCK_BYTES] = { 1 };

	put(ino, block, sizeof(block), 100 * BLOCK_BYTES);
	put(ino, block, 10, 300 * BLOCK_BYTES);
	ck_assert_int_eq(volume_seek(st.v, ino, 0, SEEK_DATA), 100 * BLOCK_BYTES);
	ck_assert_int_eq(volume_seek(st.v, ino, 0, SEEK_HOLE), 0);
	ck_assert_int_eq(volume_seek(st.v, ino, 100 * BLOCK_BYTES + 5, SEEK_DATA), 100 * BLOCK_BYTES + 5);
	ck_assert_int_eq(volume_seek(st.v, ino, 100 * BLOCK_BYTES + 5, SEEK_HOLE), 101 * BLOCK_BYTES);
	ck_assert_int_eq(volume_seek(st.v, ino, 101 * BLOCK_BYTES, SEEK_DATA), 300 * BLOCK_BYTES);
	ck_assert_int_eq(volume_seek(st.v, ino, 300 * BLOCK_BYTES, SEEK_HOLE), 300 * BLOCK_BYTES + 10);
	ck_assert_int_eq(volume_seek(st.v, ino, 300 * BLOCK_BYTES + 10, SEEK_DATA), -ENXIO);
	ck_assert_int_eq(volume_seek(st.v, ino, 300 * BLOCK_BYTES + 10, SEEK_HOLE), -ENXIO);
	ck_assert_int_eq(set_size(ino, 1000 * BLOCK_BYTES), 0);
	ck_assert_int_eq(volume_seek(st.v, ino, 301 * BLOCK_BYTES, SEEK_DATA), -ENXIO);
}
END_TEST

/* A table of holes (first block, blocks) in a file of HOLED blocks: what is beside them stays. */
START_TEST(a_hole_takes_no_byte_outside_of_it)
{
	enum { HOLED = 4200 }; /* more than are dropped at a time */
	static const struct {
		uint64_t first, n;
	} holes[] = { { 0, 1 }, { 0, 3 }, { 1, 1 }, { 0, 4095 }, { 0, 4096 }, { 0, 4097 }, { 1, 4096 }, { 4097, 7 },
		      { 4199, 1 } };
	const struct {
		uint64_t first, n;
		bool by_peer;
	} h = { holes[_i / 2].first, holes[_i / 2].n, _i % 2 };
	size_t len = (size_t)HOLED * BLOCK_BYTES;
	uint64_t ino = store_file(&st, "f"), seed = (uint64_t)_i;
	struct model m = { 0 };
	uint8_t *buf = xmalloc(len);

	chance_bytes(&seed, buf, len);
	put(ino, buf, len, 0);
	model_write(&m, 0, buf, len);
	if (h.by_peer) {
		ck_assert_int_eq(volume_commit(st.v), 0);
		ck_assert_int_eq(volume_apply_begin(st.v), 0);
		ck_assert_int_eq(data_punch(st.v, ino, h.first * BLOCK_BYTES, h.n * BLOCK_BYTES, ORIGIN_PEER), 0);
		ck_assert_int_eq(volume_apply_commit(st.v, 1), 0);
	} else
		ck_assert_int_eq(volume_fallocate(st.v, ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		                                  h.first * BLOCK_BYTES, h.n * BLOCK_BYTES), 0);
	model_zero(&m, h.first * BLOCK_BYTES, h.n * BLOCK_BYTES);
	expect_content(&st, ino, &m);
	model_free(&m);
	free(buf);
}
END_TEST

START_TEST(seek_in_an_old_group_sees_its_holes)
{
	uint8_t *buf = xcalloc(1, 1000 * BLOCK_BYTES);
	struct view then = { VIEW_AT, 0 };
	uint64_t ino;

	store_pair(&st);
	ino = store_file(&st, "f");
	put(ino, buf, 1000 * BLOCK_BYTES, 5000 * BLOCK_BYTES);
	then.group = store_cut(&st);
	put(ino, buf, 100 * BLOCK_BYTES, 0);
	ck_assert_int_eq(volume_fallocate(st.v, ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4000 * BLOCK_BYTES,
	                                  1500 * BLOCK_BYTES), 0);
	volume_lock(st.v);
	ck_assert_int_eq(data_seek(st.v, ino, then, 0, false), 5000 * BLOCK_BYTES);
	ck_assert_int_eq(data_seek(st.v, ino, then, 0, true), 0);
	ck_assert_int_eq(data_seek(st.v, ino, then, 5000 * BLOCK_BYTES, true), 6000 * BLOCK_BYTES);
	ck_assert_int_eq(data_seek(st.v, ino, then, 6000 * BLOCK_BYTES, false), -ENXIO);
	volume_unlock(st.v);
	free(buf);
}
END_TEST

START_TEST(runs_of_an_old_group_cover_its_data_and_its_holes)
{
	uint8_t *buf = xcalloc(1, 1000 * BLOCK_BYTES);
	struct view then = { VIEW_AT, 0 };
	uint64_t ino, run, n_runs = 0, data_bytes = 0, first_data = 0, size = 1100 * BLOCK_BYTES + 10;
	bool hole;

	store_pair(&st);
	ino = store_file(&st, "f");
	put(ino, buf, 1000 * BLOCK_BYTES, 100 * BLOCK_BYTES);
	put(ino, buf, 10, 1100 * BLOCK_BYTES);
	then.group = store_cut(&st);
	put(ino, buf, 1000 * BLOCK_BYTES, 0);
	ck_assert_int_eq(set_size(ino, 5), 0);
	volume_lock(st.v);
	for (uint64_t off = 0; off < size + 5000; off += run) {
		ck_assert_int_eq(data_run(st.v, ino, then, off, size + 5000 - off, &hole, &run), 0);
		ck_assert_uint_gt(run, 0);
		ck_assert_uint_lt(n_runs++, 20);
		if (!hole && data_bytes == 0)
			first_data = off;
		data_bytes += hole ? 0 : run;
	}
	ck_assert_uint_eq(first_data, 100 * BLOCK_BYTES);
	ck_assert_uint_eq(data_bytes, 1000 * BLOCK_BYTES + 10);
	ck_assert_int_eq(data_run(st.v, ino, then, 100 * BLOCK_BYTES + 7, 5, &hole, &run), 0);
	ck_assert(!hole && run == 5);
	volume_unlock(st.v);
	free(buf);
}
END_TEST

static void flip_byte(uint64_t ino, uint64_t block, size_t at)
{
	struct block_ref ref;
	char path[300];
	uint8_t byte;

	volume_lock(st.v);
	ck_assert_int_eq(blocks_map(st.v, ino, (struct view){ VIEW_NOW, 0 }, block, 1, &ref), 0);
	volume_unlock(st.v);
	snprintf(path, sizeof(path), "%s/image", st.dir);
	int fd = open(path, O_RDWR);
	off_t off = (off_t)(ref.phys * BLOCK_BYTES + at);

	ck_assert_int_eq(pread(fd, &byte, 1, off), 1);
	byte ^= 4;
	ck_assert_int_eq(pwrite(fd, &byte, 1, off), 1);
	close(fd);
}

START_TEST(a_flipped_byte_is_an_error_and_never_wrong_data)
{
	uint64_t ino = store_file(&st, "f");
	uint8_t *buf = xcalloc(1, 100 * BLOCK_BYTES);

	put(ino, buf, 100 * BLOCK_BYTES, 0);
	ck_assert_int_eq(volume_commit(st.v), 0);
	flip_byte(ino, 50, 99);
	ck_assert_int_eq(volume_read(st.v, ino, buf, 100 * BLOCK_BYTES, 0), -EIO);
	ck_assert_int_eq(volume_read(st.v, ino, buf, 10, 50 * BLOCK_BYTES), -EIO);
	ck_assert_int_eq(volume_read(st.v, ino, buf, 50 * BLOCK_BYTES, 0), 50 * BLOCK_BYTES);
	/* writing a part of the block would seal the damage */
	ck_assert_int_eq(volume_write(st.v, ino, "x", 1, 50 * BLOCK_BYTES + 9, 0, NULL), -EIO);
	ck_assert_int_eq(volume_write(st.v, ino, buf, 20 * BLOCK_BYTES, 50 * BLOCK_BYTES + 9, 0, NULL), -EIO);
	put(ino, buf, BLOCK_BYTES, 50 * BLOCK_BYTES);
	ck_assert_int_eq(volume_read(st.v, ino, buf, 100 * BLOCK_BYTES, 0), 100 * BLOCK_BYTES);
	free(buf);
}
END_TEST

/* Of the last block only what lies before the end of the file is the file's. */
START_TEST(a_damaged_last_block_is_mended_by_a_write_up_to_the_end)
{
	static const size_t lens[] = { 100, 90000 }; /* a small write and a big one */
	uint8_t *buf = xcalloc(1, 100 * BLOCK_BYTES);

	for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
		uint64_t ino = store_file(&st, i ? "big" : "small");
		size_t len = lens[i], last = len / BLOCK_BYTES;

		put(ino, buf, len, 0);
		ck_assert_int_eq(volume_commit(st.v), 0);
		flip_byte(ino, last, 5);
		ck_assert_int_eq(volume_write(st.v, ino, buf, len - 1, 0, 0, NULL), -EIO);
		put(ino, buf, len, 0);
		ck_assert_int_eq(volume_read(st.v, ino, buf, 2 * len, 0), (ssize_t)len);
		/* and behind it there are zeros still */
		ck_assert_int_eq(volume_setattr(st.v, ino, SET_SIZE, &(struct attr){ .size_bytes = len + 9 }, NULL), 0);
		ck_assert_int_eq(volume_read(st.v, ino, buf, 9, len), 9);
		for (int k = 0; k < 9; k++)
			ck_assert_uint_eq(buf[k], 0);
	}
	free(buf);
}
END_TEST

struct scrubbed {
	char path[2][64];
	uint64_t off[2];
	bool history[2];
	unsigned n, stop_after;
};

static void scrub_note(void *ctx, const struct scrub_found *f)
{
	struct scrubbed *s = ctx;

	ck_assert_uint_lt(s->n, 2);
	snprintf(s->path[s->n], sizeof(s->path[0]), "%s", f->path ? f->path : "");
	s->off[s->n] = f->off;
	s->history[s->n++] = f->history;
	free(f->path);
}

static bool scrub_step(void *ctx, const struct scrub_progress *p)
{
	struct scrubbed *s = ctx;

	ck_assert_uint_le(p->done_blocks, p->total_blocks);
	return s->stop_after == 0 || --s->stop_after > 0;
}

START_TEST(a_scrub_names_each_damaged_block_of_files_and_of_their_history)
{
	struct scrubbed seen = { .n = 0 };
	struct scrub_options opt = { scrub_note, scrub_step, &seen };
	struct scrub_progress p;
	uint8_t *buf = xcalloc(1, 200 * BLOCK_BYTES);
	uint64_t ino;

	store_pair(&st);
	ino = store_file(&st, "f");
	put(ino, buf, 200 * BLOCK_BYTES, 0);
	store_cut(&st);
	ck_assert_int_eq(volume_scrub(st.v, &opt, &p), 0);
	ck_assert_uint_eq(p.found, 0);
	ck_assert_uint_eq(p.done_blocks, 200);
	flip_byte(ino, 3, 9);
	put(ino, buf, BLOCK_BYTES, 3 * BLOCK_BYTES); /* the damaged one is history now */
	flip_byte(ino, 150, 9);
	ck_assert_int_eq(volume_scrub(st.v, &opt, &p), 0);
	ck_assert_uint_eq(p.found, 2);
	ck_assert_uint_eq(p.done_blocks, 201);
	for (int i = 0; i < 2; i++) {
		ck_assert_str_eq(seen.path[i], "/f");
		ck_assert_uint_eq(seen.off[i], (i ? 3 : 150) * BLOCK_BYTES);
		ck_assert_int_eq(seen.history[i], i);
	}
	seen = (struct scrubbed){ .stop_after = 2 };
	ck_assert_int_eq(volume_scrub(st.v, &opt, &p), -ECANCELED);
	free(buf);
}
END_TEST

START_TEST(a_full_store_refuses_the_write_and_keeps_the_file)
{
	struct store big = st;
	uint8_t *buf = xmalloc(1 << 20);
	struct model m = { 0 };
	ssize_t n = 0;

	store_make(&st, 8 << 20);
	uint64_t ino = store_file(&st, "f"), off = 0;

	memset(buf, 5, 1 << 20);
	while ((n = volume_write(st.v, ino, buf, 1000000, off, 0, NULL)) > 0) {
		model_write(&m, off, buf, 1000000);
		off += 1000000;
	}
	ck_assert_int_eq(n, -ENOSPC);
	ck_assert_uint_ge(off, 6000000);
	expect_content(&st, ino, &m);
	ck_assert_int_eq(volume_commit(st.v), 0);
	store_check_owners(&st);
	ck_assert_int_eq(volume_write(st.v, ino, buf, 1000000, 0, 0, NULL), -ENOSPC); /* copy-on-write wants room too */
	expect_content(&st, ino, &m);
	ck_assert_int_eq(set_size(ino, 100), 0); /* giving space back always works */
	ck_assert_int_eq(volume_commit(st.v), 0);
	put(ino, buf, 1000000, 0);
	ck_assert_int_eq(volume_commit(st.v), 0);
	store_check_owners(&st);
	model_free(&m);
	free(buf);
	store_remove(&st);
	st = big;
}
END_TEST

START_TEST(blocks_of_a_deleted_file_are_free_after_the_commit)
{
	uint64_t ino = store_file(&st, "f"), before = used_blocks();
	uint8_t *buf = xcalloc(1, 1 << 20);

	put(ino, buf, 1 << 20, 0);
	ck_assert_int_eq(volume_commit(st.v), 0);
	ck_assert_uint_eq(used_blocks(), before + 256);
	ck_assert_int_eq(volume_unlink(st.v, INO_ROOT, "f"), 0);
	ck_assert_uint_eq(used_blocks(), before + 256);
	ck_assert_int_eq(volume_commit(st.v), 0);
	ck_assert_uint_eq(used_blocks(), before);
	free(buf);
}
END_TEST

START_TEST(a_revived_file_has_the_bytes_of_its_group)
{
	uint8_t *buf = xmalloc(FILE_MAX);
	uint64_t seed = (uint64_t)_i + 5, ino, group;
	struct model m = { 0 };

	store_pair(&st);
	ino = store_file(&st, "f");
	for (int i = 0; i < 12; i++) {
		size_t off = chance_off(&seed, FILE_MAX / 2), len = chance_len(&seed, 1 << 20);

		chance_bytes(&seed, buf, len);
		put(ino, buf, len, off);
		model_write(&m, off, buf, len);
		if (i % 4 == 0)
			store_cut(&st);
	}
	group = store_cut(&st);
	for (int i = 0; i < 12; i++) {
		put(ino, buf, chance_len(&seed, 1 << 18), chance_off(&seed, FILE_MAX));
		if (i % 4 == 0)
			store_cut(&st);
	}
	ck_assert_int_eq(volume_unlink(st.v, INO_ROOT, "f"), 0);
	store_cut(&st);
	volume_lock(st.v);
	ck_assert_int_eq(group_open(st.v), 0);
	ck_assert_int_eq(tree_inode_revive(st.v, ino, (struct view){ VIEW_AT, group }), 0);
	ck_assert_int_eq(tree_link_put(st.v, id_new(st.v), INO_ROOT, "again", 5, ino, ORIGIN_LOCAL), 0);
	volume_unlock(st.v);
	ck_assert_int_eq(volume_commit(st.v), 0);
	expect_content(&st, ino, &m);
	store_check_owners(&st);
	volume_crash(st.v);
	store_reopen(&st);
	expect_content(&st, ino, &m);
	store_check_owners(&st);
	model_free(&m);
	free(buf);
}
END_TEST

START_TEST(purged_history_gives_its_blocks_back)
{
	uint8_t *buf = xcalloc(1, 1 << 20);
	struct data_usage usage;
	uint64_t ino, group;

	store_pair(&st);
	ino = store_file(&st, "f");
	put(ino, buf, 1 << 20, 0);
	store_cut(&st);
	put(ino, buf, 1 << 20, 0);
	group = store_cut(&st);
	data_usage(st.v, &usage);
	ck_assert_uint_eq(usage.history_bytes, 1 << 20);
	volume_lock(st.v);
	ck_assert_int_eq(group_open(st.v), 0);
	ck_assert_int_eq(history_purge(st.v, group), 0);
	volume_unlock(st.v);
	ck_assert_int_eq(volume_commit(st.v), 0);
	data_usage(st.v, &usage);
	ck_assert_uint_eq(usage.history_bytes, 0);
	ck_assert_uint_eq(usage.used_bytes, 1 << 20);
	free(buf);
}
END_TEST

START_TEST(a_write_by_a_stranger_takes_setuid_away)
{
	uint64_t ino = store_file(&st, "f");
	struct attr attr = { .mode = S_IFREG | 06755 }, out;

	ck_assert_int_eq(volume_setattr(st.v, ino, SET_MODE, &attr, &out), 0);
	put(ino, "x", 1, 0);
	ck_assert_int_eq(volume_getattr(st.v, ino, &out), 0);
	ck_assert_uint_eq(out.mode & 07777, 06755);
	ck_assert_int_eq(volume_write(st.v, ino, "y", 1, 0, WRITE_KILL_SUIDGID, NULL), 1);
	ck_assert_int_eq(volume_getattr(st.v, ino, &out), 0);
	ck_assert_uint_eq(out.mode & 07777, 0755);
}
END_TEST

START_TEST(an_unlinked_open_file_takes_writes_and_records_no_change)
{
	uint64_t ino, committed;
	struct change_row row;
	uint8_t buf[5000] = { 3 };

	store_pair(&st);
	ino = store_file(&st, "f");
	volume_ref(st.v, ino);
	committed = store_cut(&st);
	ck_assert_int_eq(volume_unlink(st.v, INO_ROOT, "f"), 0);
	put(ino, buf, sizeof(buf), 100);
	volume_lock(st.v);
	ck_assert(changes_get(st.v, ino, ENT_CONTENT, &row) == -ENOENT || row.grp <= committed);
	volume_unlock(st.v);
	volume_unref(st.v, ino, 1);
	ck_assert_int_eq(volume_commit(st.v), 0);
	store_check_owners(&st);
}
END_TEST

static struct racer {
	uint64_t ino;
	bool reader;
	int failures;
} racer[3];

static void *race(void *arg)
{
	struct racer *r = arg;
	uint64_t seed = (uintptr_t)r;
	uint8_t *buf = xmalloc(1 << 20);

	for (int i = 0; i < 300; i++) {
		size_t len = chance_len(&seed, 1 << 20), off = chance_off(&seed, 1 << 20);

		memset(buf, 1 + i % 200, len);
		ssize_t n = r->reader ? volume_read(st.v, r->ino, buf, len, off)
		                      : volume_write(st.v, r->ino, buf, len, off, 0, NULL);

		r->failures += n < 0;
		if (i % 16 == 0)
			r->failures += volume_commit(st.v) != 0;
	}
	free(buf);
	return NULL;
}

/* The second time the volume commits by itself, too. */
START_TEST(racing_writers_and_readers_see_no_damage)
{
	uint64_t ino = store_file(&st, "f");
	pthread_t thread[ARRAY_LEN(racer)];

	st.v->opt.commit_aside = _i == 1;
	st.v->opt.group_max_bytes = _i == 1 ? 2 << 20 : 0;
	for (size_t i = 0; i < ARRAY_LEN(racer); i++) {
		racer[i] = (struct racer){ ino, i == 0, 0 };
		ck_assert_int_eq(pthread_create(&thread[i], NULL, race, &racer[i]), 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(racer); i++) {
		pthread_join(thread[i], NULL);
		ck_assert_int_eq(racer[i].failures, 0);
	}
	ck_assert_int_eq(volume_commit(st.v), 0);
	store_check_owners(&st);
}
END_TEST

static uint64_t committed(void)
{
	struct volume_info info;

	volume_info(st.v, &info);
	return info.committed;
}

START_TEST(a_full_group_is_committed_aside_and_never_gets_much_larger)
{
	const uint64_t limit = 1 << 20, step = 128 << 10;
	uint64_t ino = store_file(&st, "f"), first, most = 0;
	uint8_t *buf = xcalloc(1, step);

	ck_assert_int_eq(volume_commit(st.v), 0);
	first = committed();
	st.v->opt.commit_aside = true;
	st.v->opt.group_max_bytes = limit;
	for (uint64_t i = 0; i < 64; i++) {
		put(ino, buf, step, i * step);
		volume_lock(st.v);
		most = MAX(most, st.v->group_new_bytes);
		volume_unlock(st.v);
	}
	ck_assert_uint_le(most, 2 * limit + step);
	for (uint64_t i = 0; i < limit / step; i++) /* the last one is full, too */
		put(ino, buf, step, i * step);
	while (committed() < first + 4) /* who fills it has not committed: 9 MiB are four groups of 2 MiB at least */
		usleep(1000);
	volume_crash(st.v);
	store_reopen(&st);
	ck_assert_uint_ge(committed(), first + 4);
	store_check_owners(&st);
	free(buf);
}
END_TEST

static void expect_refused(void)
{
	struct volume_options opt = { .fast_unsafe = true };
	struct err err = ERR_INIT;

	ck_assert_int_eq(volume_open(st.dir, &opt, &st.v, &err), -EUCLEAN);
	ck_assert_str_ne(err_text(&err), "");
	st.v = NULL;
}

static void damage(const char *sql)
{
	char path[300];
	sqlite3 *db;

	ck_assert_int_eq(volume_close(st.v), 0);
	snprintf(path, sizeof(path), "%s/twinfs.db", st.dir);
	ck_assert_int_eq(store_sql_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

START_TEST(a_block_with_two_owners_is_refused_at_open)
{
	uint8_t block[BLOCK_BYTES] = { 1 };

	put(store_file(&st, "f"), block, sizeof(block), 0);
	damage("INSERT INTO extent SELECT ino, off + 7, len, phys, born, origin, sums FROM extent");
	expect_refused();
}
END_TEST

START_TEST(an_image_that_was_cut_off_is_refused_at_open)
{
	uint8_t *buf = xcalloc(1, 1 << 20);
	char path[300];

	put(store_file(&st, "f"), buf, 1 << 20, 0);
	ck_assert_int_eq(volume_close(st.v), 0);
	snprintf(path, sizeof(path), "%s/image", st.dir);
	ck_assert_int_eq(truncate(path, 500000), 0);
	expect_refused();
	free(buf);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("data");
	TCase *tc = tcase_create("data");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, a_lone_volume_matches_a_model_through_crashes, 0, 4);
	tcase_add_loop_test(tc, a_paired_volume_matches_a_model_now_and_at_old_groups, 0, 6);
	tcase_add_loop_test(tc, the_peers_view_has_its_own_writes_and_ours_up_to_s, 0, 6);
	tcase_add_test(tc, small_sequential_writes_make_few_rows);
	tcase_add_test(tc, two_files_growing_in_turns_get_few_rows);
	tcase_add_test(tc, writing_again_in_a_group_takes_no_new_block);
	tcase_add_test(tc, a_block_that_is_written_over_and_over_stays_in_two_places);
	tcase_add_test(tc, growing_after_a_truncate_shows_zeros);
	tcase_add_test(tc, holes_and_data_are_found);
	tcase_add_loop_test(tc, a_hole_takes_no_byte_outside_of_it, 0, 2 * 9);
	tcase_add_test(tc, seek_in_an_old_group_sees_its_holes);
	tcase_add_test(tc, runs_of_an_old_group_cover_its_data_and_its_holes);
	tcase_add_test(tc, a_flipped_byte_is_an_error_and_never_wrong_data);
	tcase_add_test(tc, a_damaged_last_block_is_mended_by_a_write_up_to_the_end);
	tcase_add_test(tc, a_scrub_names_each_damaged_block_of_files_and_of_their_history);
	tcase_add_test(tc, a_full_store_refuses_the_write_and_keeps_the_file);
	tcase_add_test(tc, blocks_of_a_deleted_file_are_free_after_the_commit);
	tcase_add_loop_test(tc, a_revived_file_has_the_bytes_of_its_group, 0, 4);
	tcase_add_test(tc, purged_history_gives_its_blocks_back);
	tcase_add_test(tc, a_write_by_a_stranger_takes_setuid_away);
	tcase_add_test(tc, an_unlinked_open_file_takes_writes_and_records_no_change);
	tcase_add_loop_test(tc, racing_writers_and_readers_see_no_damage, 0, 2);
	tcase_add_test(tc, a_full_group_is_committed_aside_and_never_gets_much_larger);
	tcase_add_test(tc, a_block_with_two_owners_is_refused_at_open);
	tcase_add_test(tc, an_image_that_was_cut_off_is_refused_at_open);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
