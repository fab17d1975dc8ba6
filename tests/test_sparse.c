/* SPDX-License-Identifier: MIT */
/*
 * Files of any size up to the largest, with few bytes in them, against a model that holds just these: lengths and
 * offsets are of every order of magnitude, often at or beside a power of two, the first byte or what is there already.
 * Whatever works in windows or steps shows here if it takes one too many.
 */
#include "tests/data_fixture.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

#define CELLS_MAX 1500 /* blocks of a model that may hold bytes */
#define WRITE_MAX ((size_t)3 * BLOCK_BYTES)
#define SNAPSHOTS 4

struct cell {
	uint64_t block;
	uint8_t data[BLOCK_BYTES];
};

struct sparse {
	struct cell *cells; /* by block */
	size_t n;
	uint64_t size;
};

static struct store st;
static uint64_t seed;

/* ---- the model ---- */

static size_t cell_at(const struct sparse *m, uint64_t block) /* the first one >= block */
{
	size_t i = 0;

	while (i < m->n && m->cells[i].block < block)
		i++;
	return i;
}

static struct cell *cell_make(struct sparse *m, uint64_t block)
{
	size_t i = cell_at(m, block);

	if (i < m->n && m->cells[i].block == block)
		return &m->cells[i];
	ck_assert_uint_lt(m->n, CELLS_MAX);
	memmove(m->cells + i + 1, m->cells + i, (m->n - i) * sizeof(*m->cells));
	m->n++;
	m->cells[i].block = block;
	memset(m->cells[i].data, 0, BLOCK_BYTES);
	return &m->cells[i];
}

static void sparse_write(struct sparse *m, uint64_t off, const uint8_t *buf, uint64_t len)
{
	for (uint64_t at = off; at < off + len;) {
		size_t in = at % BLOCK_BYTES, n = (size_t)MIN(BLOCK_BYTES - in, off + len - at);

		memcpy(cell_make(m, at >> BLOCK_SHIFT)->data + in, buf + (at - off), n);
		at += n;
	}
	m->size = MAX(m->size, off + len);
}

static void sparse_zero(struct sparse *m, uint64_t off, uint64_t len)
{
	size_t kept = 0;

	for (size_t i = 0; i < m->n; i++) {
		uint64_t start = m->cells[i].block << BLOCK_SHIFT, from = MAX(off, start);
		uint64_t to = MIN(off + len, start + BLOCK_BYTES);

		if (from < to)
			memset(m->cells[i].data + (from - start), 0, to - from);
		if (from < to && to - from == BLOCK_BYTES)
			continue;
		if (kept != i)
			m->cells[kept] = m->cells[i];
		kept++;
	}
	m->n = kept;
}

static void sparse_resize(struct sparse *m, uint64_t size)
{
	if (size < m->size)
		sparse_zero(m, size, FILE_MAX_BYTES + BLOCK_BYTES - size);
	m->size = size;
}

static void sparse_copy(struct sparse *m, uint64_t from, uint64_t to, uint64_t len)
{
	struct sparse old = { xmalloc(CELLS_MAX * sizeof(*old.cells)), m->n, m->size };

	memcpy(old.cells, m->cells, m->n * sizeof(*m->cells));
	sparse_zero(m, to, len);
	for (size_t i = 0; i < old.n; i++) {
		uint64_t start = old.cells[i].block << BLOCK_SHIFT, first = MAX(from, start);
		uint64_t end = MIN(from + len, start + BLOCK_BYTES);

		if (first < end)
			sparse_write(m, to + (first - from), old.cells[i].data + (first - start), end - first);
	}
	m->size = MAX(m->size, to + len);
	free(old.cells);
}

static void sparse_assign(struct sparse *to, const struct sparse *from)
{
	memcpy(to->cells, from->cells, from->n * sizeof(*from->cells));
	to->n = from->n;
	to->size = from->size;
}

static void sparse_get(const struct sparse *m, uint64_t block, uint8_t *out)
{
	size_t i = cell_at(m, block);

	memset(out, 0, BLOCK_BYTES);
	if (i < m->n && m->cells[i].block == block)
		memcpy(out, m->cells[i].data, BLOCK_BYTES);
}

/* ---- chance ---- */

/* Any order of magnitude; half of the time whole blocks, and now and then just beside. */
static uint64_t magnitude(uint64_t max)
{
	uint64_t n = (UINT64_C(1) << chance_below(&seed, 54)) + chance_below(&seed, 4) * BLOCK_BYTES;

	switch (chance_below(&seed, 4)) {
	case 0: n = (n | 1) * (1 + chance_below(&seed, 7)); break;
	case 1: n -= MIN(n, BLOCK_BYTES); break;
	case 2: n += chance_below(&seed, 3) - 1; break;
	default: break;
	}
	return n % max;
}

static uint64_t some_off(const struct sparse *m)
{
	switch (chance_below(&seed, 6)) {
	case 0: return 0;
	case 1: return MIN(m->size, FILE_MAX_BYTES - 1);
	case 2: case 3:
		if (m->n) {
			uint64_t b = m->cells[chance_below(&seed, m->n)].block << BLOCK_SHIFT;
			size_t skew = chance_below(&seed, 2) ? 0 : chance_below(&seed, 2 * BLOCK_BYTES);

			return MIN(b + skew, FILE_MAX_BYTES - 1);
		} /* fallthrough */
	default: return magnitude(FILE_MAX_BYTES);
	}
}

/* ---- the file beside it ---- */

static void do_write(uint64_t ino, struct sparse *m, bool peer)
{
	uint8_t buf[WRITE_MAX];
	uint64_t off = some_off(m), len = 1 + chance_below(&seed, WRITE_MAX);

	len = MIN(len, FILE_MAX_BYTES - off);
	if (m->n + len / BLOCK_BYTES + 2 > CELLS_MAX / 2)
		return;
	chance_bytes(&seed, buf, len);
	if (peer)
		ck_assert_int_eq(data_write(st.v, ino, buf, len, off, ORIGIN_PEER), 0);
	else
		ck_assert_int_eq(volume_write(st.v, ino, buf, len, off, 0, NULL), (ssize_t)len);
	sparse_write(m, off, buf, len);
}

static void do_hole(uint64_t ino, struct sparse *m, bool peer)
{
	uint64_t off = some_off(m), len = 1 + magnitude(FILE_MAX_BYTES - off);
	bool grows = !peer && chance_below(&seed, 4) == 0;

	if (peer)
		ck_assert_int_eq(data_punch(st.v, ino, off, len, ORIGIN_PEER), 0);
	else
		ck_assert_int_eq(volume_fallocate(st.v, ino, grows ? FALLOC_FL_ZERO_RANGE
		                                                   : FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		                                  off, len), 0);
	sparse_zero(m, off, len);
	if (grows)
		m->size = MAX(m->size, off + len);
}

static void do_resize(uint64_t ino, struct sparse *m, bool peer)
{
	uint64_t size = some_off(m);
	struct attr in = { .size_bytes = size }, out;

	if (peer)
		ck_assert_int_eq(data_truncate(st.v, ino, size, ORIGIN_PEER), 0);
	else
		ck_assert_int_eq(volume_setattr(st.v, ino, SET_SIZE, &in, &out), 0);
	sparse_resize(m, size);
}

static void do_copy(uint64_t ino, struct sparse *m)
{
	uint64_t from = some_off(m), to = some_off(m), len = 1 + magnitude(FILE_MAX_BYTES - MAX(from, to));

	if (from >= m->size)
		return;
	len = MIN(len, m->size - from);
	if ((from < to + len && to < from + len) || m->n > CELLS_MAX / 4)
		return;
	ssize_t n = volume_copy(st.v, ino, from, ino, to, len);

	ck_assert_int_gt(n, 0);
	ck_assert_uint_le((uint64_t)n, len);
	sparse_copy(m, from, to, (uint64_t)n);
}

static void step(uint64_t ino, struct sparse *m, bool peer)
{
	switch (chance_below(&seed, peer ? 8 : 10)) {
	case 0: do_resize(ino, m, peer); break;
	case 1: case 2: case 3: do_hole(ino, m, peer); break;
	case 8: case 9: do_copy(ino, m); break;
	default: do_write(ino, m, peer);
	}
}

/* ---- what must hold ---- */

static void expect_block(uint64_t ino, struct view view, const struct sparse *m, uint64_t block)
{
	uint8_t got[BLOCK_BYTES], want[BLOCK_BYTES];

	sparse_get(m, block, want);
	ck_assert_int_eq(data_read(st.v, ino, view, got, BLOCK_BYTES, block << BLOCK_SHIFT), 0);
	for (size_t i = 0; i < BLOCK_BYTES; i++)
		if (got[i] != want[i])
			ck_abort_msg("view %d: byte %llu is %u, not %u", view.kind,
			             (unsigned long long)((block << BLOCK_SHIFT) + i), got[i], want[i]);
}

/* All that either has, in the view. Where it says that it has data and the model has none, it has zeros. */
static void expect_sparse(uint64_t ino, struct view view, const struct sparse *m)
{
	size_t visited = 0;
	struct inode in;

	volume_lock(st.v);
	ck_assert_int_eq(tree_inode_view(st.v, ino, view, &in), 0);
	ck_assert_uint_eq(in.size_bytes, m->size);
	for (size_t i = 0; i < m->n; i++)
		if (m->cells[i].block << BLOCK_SHIFT < m->size)
			expect_block(ino, view, m, m->cells[i].block);
	for (int64_t at = 0, stop; (at = data_seek(st.v, ino, view, (uint64_t)at, false)) >= 0; at = stop) {
		stop = data_seek(st.v, ino, view, (uint64_t)at, true);
		ck_assert_int_gt(stop, at);
		for (uint64_t b = (uint64_t)at >> BLOCK_SHIFT; b << BLOCK_SHIFT < (uint64_t)stop; b++) {
			ck_assert_uint_lt(++visited, 2 * CELLS_MAX);
			expect_block(ino, view, m, b);
		}
	}
	volume_unlock(st.v);
}

static void setup(void)
{
	store_make(&st, 0);
}

static void teardown(void)
{
	store_remove(&st);
}

static struct sparse sparse_new(void)
{
	return (struct sparse){ xmalloc(CELLS_MAX * sizeof(struct cell)), 0, 0 };
}

START_TEST(a_file_of_any_size_matches_a_model_now_and_at_old_groups)
{
	struct sparse now = sparse_new(), past[SNAPSHOTS];
	uint64_t ino, group[SNAPSHOTS] = { 0 };

	seed = (uint64_t)_i + 4711;
	ck_assert_int_eq(volume_close(st.v), 0);
	st.at_once_rows = _i % 2 ? 3 : 0; /* what was cut off is dropped bit by bit */
	store_reopen(&st);
	store_pair(&st);
	ino = store_file(&st, "f");
	for (size_t k = 0; k < SNAPSHOTS; k++) {
		past[k] = sparse_new();
		for (int i = 0; i < 60; i++) {
			bool peer = chance_below(&seed, 4) == 0;

			if (peer) {
				ck_assert_int_eq(volume_commit(st.v), 0);
				ck_assert_int_eq(volume_apply_begin(st.v), 0);
				step(ino, &now, true);
				ck_assert_int_eq(volume_apply_commit(st.v, k * 100 + (uint64_t)i + 1), 0);
			} else {
				step(ino, &now, false);
			}
			expect_sparse(ino, (struct view){ VIEW_NOW, 0 }, &now);
		}
		group[k] = store_cut(&st);
		sparse_assign(&past[k], &now);
		for (size_t j = 0; j <= k; j++)
			expect_sparse(ino, (struct view){ VIEW_AT, group[j] }, &past[j]);
		if (chance_below(&seed, 2)) {
			ck_assert_int_eq(volume_close(st.v), 0);
			store_reopen(&st);
		}
	}
	store_check_owners(&st);
	for (size_t k = 0; k < SNAPSHOTS; k++)
		free(past[k].cells);
	free(now.cells);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("sparse");
	TCase *tc = tcase_create("sparse");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, a_file_of_any_size_matches_a_model_now_and_at_old_groups, 0, 24);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
