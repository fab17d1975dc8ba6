/* SPDX-License-Identifier: MIT */
/*
 * sparse_model: a file of any size up to the largest, with few bytes in it, and a model that holds just these. Random
 * steps do the same to both: lengths and offsets are of every order of magnitude, often at or beside a power of two,
 * the first byte or what is there already. Whatever works in windows or steps shows here if it takes one too many.
 */
#ifndef TWINFS_TESTS_SPARSE_MODEL_H
#define TWINFS_TESTS_SPARSE_MODEL_H

#include "core/blocks.h"
#include "tests/chance.h"
#include "tests/tap.h"
#include "util/util.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>

#define CELLS_MAX 1500 /* blocks of a model that may hold bytes */
#define SPARSE_WRITE_MAX ((size_t)3 * BLOCK_BYTES)

struct sparse {
	struct cell {
		uint64_t block;
		uint8_t data[BLOCK_BYTES];
	} *cells; /* by block */
	size_t n;
	uint64_t size;
	uint64_t floor, ceiling; /* steps change bytes in between; a size only if it is all of a file */
	uint64_t seed;
};

/* ---- the model ---- */

static inline struct sparse sparse_new(uint64_t seed)
{
	struct cell *cells = xmalloc(CELLS_MAX * sizeof(*cells));

	return (struct sparse){ .cells = cells, .ceiling = FILE_MAX_BYTES, .seed = seed };
}

static inline size_t cell_at(const struct sparse *m, uint64_t block) /* the first one >= block */
{
	size_t i = 0;

	while (i < m->n && m->cells[i].block < block)
		i++;
	return i;
}

static inline struct cell *cell_make(struct sparse *m, uint64_t block)
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

static inline void sparse_write(struct sparse *m, uint64_t off, const uint8_t *buf, uint64_t len)
{
	for (uint64_t at = off; at < off + len;) {
		size_t in = at % BLOCK_BYTES, n = (size_t)MIN(BLOCK_BYTES - in, off + len - at);

		memcpy(cell_make(m, at >> BLOCK_SHIFT)->data + in, buf + (at - off), n);
		at += n;
	}
	m->size = MAX(m->size, off + len);
}

static inline void sparse_zero(struct sparse *m, uint64_t off, uint64_t len)
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

static inline void sparse_resize(struct sparse *m, uint64_t size)
{
	if (size < m->size)
		sparse_zero(m, size, FILE_MAX_BYTES + BLOCK_BYTES - size);
	m->size = size;
}

static inline void sparse_copy(struct sparse *m, uint64_t from, uint64_t to, uint64_t len)
{
	struct sparse old = *m;

	old.cells = xmalloc(CELLS_MAX * sizeof(*old.cells));
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

static inline void sparse_assign(struct sparse *to, const struct sparse *from)
{
	memcpy(to->cells, from->cells, from->n * sizeof(*from->cells));
	to->n = from->n;
	to->size = from->size;
}

static inline void sparse_get(const struct sparse *m, uint64_t block, uint8_t *out)
{
	size_t i = cell_at(m, block);

	memset(out, 0, BLOCK_BYTES);
	if (i < m->n && m->cells[i].block == block)
		memcpy(out, m->cells[i].data, BLOCK_BYTES);
}

/* ---- chance ---- */

/* Any order of magnitude; half of the time whole blocks, and now and then just beside. */
static inline uint64_t magnitude(struct sparse *m, uint64_t max)
{
	uint64_t n = (UINT64_C(1) << chance_below(&m->seed, 54)) + chance_below(&m->seed, 4) * BLOCK_BYTES;

	switch (chance_below(&m->seed, 4)) {
	case 0: n = (n | 1) * (1 + chance_below(&m->seed, 7)); break;
	case 1: n -= MIN(n, BLOCK_BYTES); break;
	case 2: n += chance_below(&m->seed, 3) - 1; break;
	default: break;
	}
	return n % max;
}

static inline uint64_t some_off(struct sparse *m)
{
	uint64_t off;

	switch (chance_below(&m->seed, 6)) {
	case 0: off = m->floor; break;
	case 1: off = m->size; break;
	case 2: case 3:
		off = m->n ? m->cells[chance_below(&m->seed, m->n)].block << BLOCK_SHIFT : 0;
		off += chance_below(&m->seed, 2) ? 0 : chance_below(&m->seed, 2 * BLOCK_BYTES);
		break;
	default: off = magnitude(m, m->ceiling); break;
	}
	return MAX(m->floor, MIN(off, m->ceiling - 1));
}

/* ---- the file beside it: what programs do ---- */

static inline bool sparse_is_whole(const struct sparse *m)
{
	return m->floor == 0 && m->ceiling == FILE_MAX_BYTES;
}

/* Where something may be written; 0: no more. */
static inline uint64_t sparse_place(struct sparse *m, uint8_t *buf, uint64_t *len)
{
	uint64_t off = some_off(m), want = 1 + chance_below(&m->seed, SPARSE_WRITE_MAX);

	*len = MIN(want, m->ceiling - off);
	if (m->n + *len / BLOCK_BYTES + 2 > CELLS_MAX / 2)
		*len = 0;
	chance_bytes(&m->seed, buf, *len);
	return off;
}

static inline void sparse_do_write(struct volume *v, uint64_t ino, struct sparse *m)
{
	uint8_t buf[SPARSE_WRITE_MAX];
	uint64_t len, off = sparse_place(m, buf, &len);

	if (!len)
		return;
	ck_assert_int_eq(volume_write(v, ino, buf, len, off, 0, NULL), (ssize_t)len);
	sparse_write(m, off, buf, len);
}

static inline void sparse_do_hole(struct volume *v, uint64_t ino, struct sparse *m)
{
	uint64_t off = some_off(m), len = 1 + magnitude(m, m->ceiling - off);
	bool grows = sparse_is_whole(m) && chance_below(&m->seed, 4) == 0;

	ck_assert_int_eq(volume_fallocate(v, ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, off, len), 0);
	sparse_zero(m, off, len);
	if (grows && off + len > m->size) {
		struct attr in = { .size_bytes = off + len }, out;

		ck_assert_int_eq(volume_setattr(v, ino, SET_SIZE, &in, &out), 0);
		m->size = off + len;
	}
}

static inline void sparse_do_resize(struct volume *v, uint64_t ino, struct sparse *m)
{
	uint64_t size = some_off(m);
	struct attr in = { .size_bytes = size }, out;

	if (!sparse_is_whole(m))
		return;
	ck_assert_int_eq(volume_setattr(v, ino, SET_SIZE, &in, &out), 0);
	sparse_resize(m, size);
}

static inline void sparse_do_copy(struct volume *v, uint64_t ino, struct sparse *m)
{
	uint64_t from = some_off(m), to = some_off(m), len = 1 + magnitude(m, m->ceiling - MAX(from, to));

	if (from >= m->size)
		return;
	len = MIN(len, m->size - from);
	if ((from < to + len && to < from + len) || m->n > CELLS_MAX / 4)
		return;
	ssize_t n = volume_copy(v, ino, from, ino, to, len);

	ck_assert_int_gt(n, 0);
	ck_assert_uint_le((uint64_t)n, len);
	sparse_copy(m, from, to, (uint64_t)n);
}

static inline void sparse_step(struct volume *v, uint64_t ino, struct sparse *m)
{
	switch (chance_below(&m->seed, 10)) {
	case 0: sparse_do_resize(v, ino, m); break;
	case 1: case 2: case 3: sparse_do_hole(v, ino, m); break;
	case 8: case 9: sparse_do_copy(v, ino, m); break;
	default: sparse_do_write(v, ino, m);
	}
}

/* ---- what must hold ---- */

static inline void expect_block(struct volume *v, uint64_t ino, struct view view, const struct sparse *m,
                                uint64_t block)
{
	uint8_t got[BLOCK_BYTES], want[BLOCK_BYTES];

	sparse_get(m, block, want);
	ck_assert_int_eq(data_read(v, ino, view, got, BLOCK_BYTES, block << BLOCK_SHIFT), 0);
	for (size_t i = 0; i < BLOCK_BYTES; i++)
		if (got[i] != want[i])
			ck_abort_msg("view %d: byte %llu is %u, not %u", view.kind,
			             (unsigned long long)((block << BLOCK_SHIFT) + i), got[i], want[i]);
}

/* All that either has, in the view. Where it says that it has data and the model has none, it has zeros. */
static inline void sparse_expect(struct volume *v, uint64_t ino, struct view view, const struct sparse *m)
{
	size_t visited = 0;
	struct inode in;

	volume_lock(v);
	ck_assert_int_eq(tree_inode_view(v, ino, view, &in), 0);
	ck_assert_uint_eq(in.size_bytes, m->size);
	for (size_t i = 0; i < m->n; i++)
		if (m->cells[i].block << BLOCK_SHIFT < m->size)
			expect_block(v, ino, view, m, m->cells[i].block);
	for (int64_t at = 0, stop; (at = data_seek(v, ino, view, (uint64_t)at, false)) >= 0; at = stop) {
		stop = data_seek(v, ino, view, (uint64_t)at, true);
		ck_assert_int_gt(stop, at);
		for (uint64_t b = (uint64_t)at >> BLOCK_SHIFT; b << BLOCK_SHIFT < (uint64_t)stop; b++) {
			ck_assert_uint_lt(++visited, 2 * CELLS_MAX);
			expect_block(v, ino, view, m, b);
		}
	}
	volume_unlock(v);
}

#endif
