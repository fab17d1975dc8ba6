/* SPDX-License-Identifier: MIT */
/*
 * stage: what a shipment brings for the bytes of files, put on the image before there is a group for it.
 *
 * Each block of a staged file is in exactly one state:
 *   none     nothing is staged for it
 *   whole    in a run: a held block of the image with its checksum, or (phys 0) a hole
 *   partial  some byte ranges of it are known ("parts"); what lies between them is the file's own at the time of
 *   adoption
 * Bytes of parts are packed one after the other into a log: blocks of the image too, but for the last LOG_TAIL_BYTES,
 * which are still in memory. So memory is bounded by 32 bytes a part and 8 a block, whatever the size of the shipment.
 *
 * The blocks are held (core/data_store.h) until stage_adopt makes them born, or stage_free gives them back.
 *
 * Files of which all has come are packed while a large shipment arrives (stage_packed.c). stage_adopt.c is the way out
 * of the stage, stage_saved.c what of it is kept for a run after this one.
 */
#include "core/stage_private.h"

#include "util/util.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define LOG_TAIL_BLOCKS 16u
#define LOG_TAIL_BYTES ((size_t)LOG_TAIL_BLOCKS * BLOCK_BYTES)
/* Runs are merged up to this length: 4 MiB, an array of checksums of 8 KiB. */
#define RUN_MAX_BLOCKS 1024u

/* ---- growing sorted arrays ---- */

static void *make_gap(void *array, size_t *n, size_t *cap, size_t at, size_t gap, size_t size)
{
	if (*n + gap > *cap) {
		*cap = MAX(*cap * 2, *n + gap + 4);
		array = xrealloc(array, *cap * size);
	}
	memmove((char *)array + (at + gap) * size, (char *)array + at * size, (*n - at) * size);
	*n += gap;
	return array;
}

static void close_gap(void *array, size_t *n, size_t at, size_t gap, size_t size)
{
	if (gap == 0)
		return;
	memmove((char *)array + at * size, (char *)array + (at + gap) * size, (*n - at - gap) * size);
	*n -= gap;
}

/* First run that ends after block b. */
static size_t run_at(const struct stage_file *f, uint64_t b)
{
	size_t lo = 0, hi = f->n_runs;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (f->runs[mid].off + f->runs[mid].len > b)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

/* First part that ends after byte off. */
static size_t part_at(const struct stage_file *f, uint64_t off)
{
	size_t lo = 0, hi = f->n_parts;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (f->parts[mid].off + f->parts[mid].len > off)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

/* ---- the log of partial bytes ---- */

static int log_flush(struct stage *s)
{
	struct block_run runs[LOG_TAIL_BLOCKS];
	size_t n_runs, n = (s->tail_len + BLOCK_BYTES - 1) >> BLOCK_SHIFT;
	const uint8_t *p = s->tail;

	volume_lock_now(s->v);
	int rc = store_alloc(s->v, n, 0, 0, SPACE_RESERVE, runs, &n_runs);

	volume_unlock(s->v);
	if (rc)
		return rc;
	for (size_t i = 0; !rc && i < n_runs; i++) {
		rc = image_write(s->v->data->image, runs[i].phys, 0, p, runs[i].len << BLOCK_SHIFT);
		p += runs[i].len << BLOCK_SHIFT;
	}
	if (rc) {
		volume_lock_now(s->v);
		store_release(s->v, runs, n_runs);
		volume_unlock(s->v);
		return rc;
	}
	for (size_t i = 0; i < n_runs; i++) {
		size_t at = s->n_log;

		s->log = make_gap(s->log, &s->n_log, &s->cap_log, at, (size_t)runs[i].len, sizeof(*s->log));
		for (uint64_t k = 0; k < runs[i].len; k++)
			s->log[at + k] = runs[i].phys + k;
	}
	s->tail_len = 0;
	return 0;
}

static int log_append(struct stage *s, const void *bytes, size_t len, uint64_t *addr)
{
	int rc = s->tail_len + len > LOG_TAIL_BYTES ? log_flush(s) : 0;

	if (rc)
		return rc;
	if (!s->tail)
		s->tail = xcalloc(1, LOG_TAIL_BYTES);
	memcpy(s->tail + s->tail_len, bytes, len);
	*addr = ((uint64_t)s->n_log << BLOCK_SHIFT) + s->tail_len;
	s->tail_len += len;
	return 0;
}

int stage_part_read(struct stage *s, const struct stage_part *p, uint8_t *buf)
{
	uint64_t flushed = (uint64_t)s->n_log << BLOCK_SHIFT;
	int rc = 0;

	if (p->addr >= flushed) {
		memcpy(buf, s->tail + (p->addr - flushed), p->len);
	} else {
		size_t first = MIN(p->len, BLOCK_BYTES - IN_BLOCK(p->addr));

		rc = image_read(s->v->data->image, s->log[p->addr >> BLOCK_SHIFT], IN_BLOCK(p->addr), buf, first);
		if (!rc && first < p->len)
			rc = image_read(s->v->data->image, s->log[(p->addr >> BLOCK_SHIFT) + 1], 0, buf + first,
			                p->len - first);
	}
	return rc ? rc : XXH3_64bits(buf, p->len) == p->sum ? 0 : -EIO;
}

/* ---- taking out ---- */

static void release_run(struct stage *s, uint64_t phys, uint64_t len)
{
	struct block_run run = { phys, len };

	if (!phys || !len)
		return;
	volume_lock_now(s->v);
	store_release(s->v, &run, 1);
	volume_unlock(s->v);
}

static struct stage_run run_part(const struct stage_run *r, uint64_t first, uint64_t end)
{
	struct stage_run part = { first, end - first, r->phys ? r->phys + (first - r->off) : 0, NULL };

	if (r->phys) {
		part.sums = xmalloc((size_t)part.len * sizeof(*part.sums));
		memcpy(part.sums, r->sums + (first - r->off), (size_t)part.len * sizeof(*part.sums));
	}
	return part;
}

/* Blocks [first, end) are in no run afterwards. */
static void carve_runs(struct stage *s, struct stage_file *f, uint64_t first, uint64_t end)
{
	size_t i = run_at(f, first);

	while (i < f->n_runs && f->runs[i].off < end) {
		struct stage_run r = f->runs[i];
		uint64_t lo = MAX(r.off, first), hi = MIN(r.off + r.len, end);

		close_gap(f->runs, &f->n_runs, i, 1, sizeof(*f->runs));
		if (r.off < lo) {
			f->runs = make_gap(f->runs, &f->n_runs, &f->cap_runs, i, 1, sizeof(*f->runs));
			f->runs[i++] = run_part(&r, r.off, lo);
		}
		if (hi < r.off + r.len) {
			f->runs = make_gap(f->runs, &f->n_runs, &f->cap_runs, i, 1, sizeof(*f->runs));
			f->runs[i++] = run_part(&r, hi, r.off + r.len);
		}
		if (r.phys)
			release_run(s, r.phys + (lo - r.off), hi - lo);
		free(r.sums);
	}
}

/* No part within blocks [first, end) afterwards (the log keeps the bytes until the end: they are few). */
static void drop_parts(struct stage_file *f, uint64_t first, uint64_t end)
{
	size_t i = part_at(f, first << BLOCK_SHIFT), n = part_at(f, end << BLOCK_SHIFT) - i;

	close_gap(f->parts, &f->n_parts, i, n, sizeof(*f->parts));
}

/* ---- putting in ---- */

static void insert_run(struct stage_file *f, struct stage_run r)
{
	size_t i = run_at(f, r.off);
	struct stage_run *left = i ? &f->runs[i - 1] : NULL;

	if (left && left->off + left->len == r.off && !left->phys == !r.phys &&
	    (!r.phys || (left->phys + left->len == r.phys && left->len + r.len <= RUN_MAX_BLOCKS))) {
		if (r.phys) {
			left->sums = xrealloc(left->sums, (size_t)(left->len + r.len) * sizeof(*r.sums));
			memcpy(left->sums + left->len, r.sums, (size_t)r.len * sizeof(*r.sums));
			free(r.sums);
		}
		left->len += r.len;
		return;
	}
	f->runs = make_gap(f->runs, &f->n_runs, &f->cap_runs, i, 1, sizeof(*f->runs));
	f->runs[i] = r;
}

void stage_put_run(struct stage *s, struct stage_file *f, struct stage_run r)
{
	carve_runs(s, f, r.off, r.off + r.len);
	drop_parts(f, r.off, r.off + r.len);
	f->end_bytes = MAX(f->end_bytes, (r.off + r.len) << BLOCK_SHIFT);
	s->bytes += r.phys ? r.len << BLOCK_SHIFT : 0;
	insert_run(f, r);
}

/* n <= STEP_BLOCKS whole blocks. */
static int put_whole(struct stage *s, struct stage_file *f, uint64_t first, size_t n, const uint8_t *data)
{
	struct block_run *runs = xmalloc(n * sizeof(*runs));
	size_t i = run_at(f, first), n_runs;
	const struct stage_run *left = i ? &f->runs[i - 1] : NULL;
	uint64_t goal = left && left->phys && left->off + left->len == first ? left->phys + left->len : 0;
	const uint8_t *p = data;

	volume_lock_now(s->v);
	int rc = store_alloc(s->v, n, goal, 0, SPACE_RESERVE, runs, &n_runs);

	volume_unlock(s->v);
	for (i = 0; !rc && i < n_runs; i++) {
		rc = image_write(s->v->data->image, runs[i].phys, 0, p, runs[i].len << BLOCK_SHIFT);
		p += runs[i].len << BLOCK_SHIFT;
	}
	if (rc) {
		for (i = 0; i < n_runs; i++)
			release_run(s, runs[i].phys, runs[i].len);
		free(runs);
		return rc;
	}
	carve_runs(s, f, first, first + n);
	drop_parts(f, first, first + n);
	for (i = 0; i < n_runs; i++) {
		struct stage_run r = { first, runs[i].len, runs[i].phys, NULL };

		r.sums = xmalloc((size_t)r.len * sizeof(*r.sums));

		for (uint64_t k = 0; k < r.len; k++, data += BLOCK_BYTES)
			r.sums[k] = block_sum(data);
		first += r.len;
		insert_run(f, r);
	}
	free(runs);
	return 0;
}

/* Bytes for a block that is whole already. */
static int put_into_run(struct stage *s, struct stage_file *f, struct stage_run *r, uint64_t off, const uint8_t *buf,
                        size_t len)
{
	uint64_t block = off >> BLOCK_SHIFT, at = block - r->off;
	uint8_t data[BLOCK_BYTES];

	if (!r->phys) {
		memset(data, 0, sizeof(data));
		memcpy(data + IN_BLOCK(off), buf, len);
		return put_whole(s, f, block, 1, data);
	}
	struct block_ref ref = { r->phys + at, r->sums[at] };
	int rc = blocks_fetch(s->v->data->image, &ref, 0, data, BLOCK_BYTES, NULL);

	if (rc)
		return -EIO;
	memcpy(data + IN_BLOCK(off), buf, len);
	r->sums[at] = block_sum(data);
	return image_write(s->v->data->image, ref.phys, 0, data, BLOCK_BYTES);
}

static int insert_part(struct stage *s, struct stage_file *f, uint64_t off, const uint8_t *buf, size_t len)
{
	struct stage_part p = { .off = off, .len = (uint32_t)len, .sum = XXH3_64bits(buf, len) };
	int rc = log_append(s, buf, len, &p.addr);

	if (rc)
		return rc;
	size_t i = part_at(f, off);

	f->parts = make_gap(f->parts, &f->n_parts, &f->cap_parts, i, 1, sizeof(*f->parts));
	f->parts[i] = p;
	return 0;
}

/* Take [off, off + len) out of the parts; what a part has outside of it is put anew. */
static int carve_parts(struct stage *s, struct stage_file *f, uint64_t off, size_t len)
{
	uint8_t bytes[BLOCK_BYTES];
	uint64_t end = off + len;
	size_t i;

	while ((i = part_at(f, off)) < f->n_parts && f->parts[i].off < end) {
		struct stage_part p = f->parts[i];
		uint64_t p_end = p.off + p.len;
		int rc = p.off < off || p_end > end ? stage_part_read(s, &p, bytes) : 0;

		if (rc)
			return rc;
		close_gap(f->parts, &f->n_parts, i, 1, sizeof(*f->parts));
		if (p.off < off)
			rc = insert_part(s, f, p.off, bytes, (size_t)(off - p.off));
		if (!rc && p_end > end)
			rc = insert_part(s, f, end, bytes + (end - p.off), (size_t)(p_end - end));
		if (rc)
			return rc;
	}
	return 0;
}

/* If the parts of the block cover all of it they become a whole block. */
static int complete_block(struct stage *s, struct stage_file *f, uint64_t block)
{
	size_t first = part_at(f, block << BLOCK_SHIFT), end = part_at(f, (block + 1) << BLOCK_SHIFT), sum = 0;
	uint8_t data[BLOCK_BYTES];

	for (size_t i = first; i < end; i++)
		sum += f->parts[i].len;
	if (sum < BLOCK_BYTES)
		return 0;
	for (size_t i = first; i < end; i++) {
		int rc = stage_part_read(s, &f->parts[i], data + IN_BLOCK(f->parts[i].off));

		if (rc)
			return rc;
	}
	return put_whole(s, f, block, 1, data);
}

/* Bytes within one block, less than all of it. */
static int put_partial(struct stage *s, struct stage_file *f, uint64_t off, const uint8_t *buf, size_t len)
{
	uint64_t block = off >> BLOCK_SHIFT;
	size_t i = run_at(f, block);
	int rc;

	if (i < f->n_runs && f->runs[i].off <= block)
		return put_into_run(s, f, &f->runs[i], off, buf, len);
	rc = carve_parts(s, f, off, len);
	if (!rc)
		rc = insert_part(s, f, off, buf, len);
	return rc ? rc : complete_block(s, f, block);
}

/* Something comes of the file; so of the one before, most likely, all has come. */
static void go_on_to(struct stage *s, uint64_t ino)
{
	if (s->current && s->current != ino)
		stage_pack(s, s->current);
	s->current = ino;
}

struct stage_file *stage_file_of(struct stage *s, uint64_t ino, bool create)
{
	uint64_t value;
	size_t row;

	if (create)
		go_on_to(s, ino);
	if (map_get(&s->files, ino, &value))
		return (struct stage_file *)(uintptr_t)value;
	if (stage_packed_find(s, ino, &row))
		return stage_unpack(s, row);
	if (!create)
		return NULL;
	struct stage_file *f = xcalloc(1, sizeof(*f));

	f->ino = ino;
	f->mark_group = s->mark_group;
	f->mark_id = s->mark_id;
	map_put(&s->files, ino, (uintptr_t)f);
	return f;
}

const struct stage_file *stage_look(struct stage *s, uint64_t ino, struct stage_room *room)
{
	uint64_t value;
	size_t row;

	if (map_get(&s->files, ino, &value))
		return (const struct stage_file *)(uintptr_t)value;
	return stage_packed_find(s, ino, &row) ? stage_packed_at(s, row, room) : NULL;
}

int stage_put(struct stage *s, uint64_t ino, uint64_t off, const void *buf, size_t len_bytes)
{
	const uint8_t *p = buf;
	int rc = 0;

	if (off > FILE_MAX_BYTES || len_bytes > FILE_MAX_BYTES - off)
		return -EFBIG;
	if (len_bytes == 0)
		return 0;
	struct stage_file *f = stage_file_of(s, ino, true);

	f->end_bytes = MAX(f->end_bytes, off + len_bytes);
	s->bytes += len_bytes;
	while (!rc && len_bytes) {
		size_t n = MIN(len_bytes >> BLOCK_SHIFT, STEP_BLOCKS), len = n << BLOCK_SHIFT;

		if (IN_BLOCK(off) || n == 0) {
			len = MIN(len_bytes, BLOCK_BYTES - IN_BLOCK(off));
			rc = put_partial(s, f, off, p, len);
		} else {
			rc = put_whole(s, f, off >> BLOCK_SHIFT, n, p);
		}
		off += len;
		p += len;
		len_bytes -= len;
	}
	return rc;
}

int stage_put_hole(struct stage *s, uint64_t ino, uint64_t off, uint64_t len_bytes)
{
	static const uint8_t zeros[BLOCK_BYTES];

	if (off > FILE_MAX_BYTES || len_bytes > FILE_MAX_BYTES - off)
		return -EFBIG;
	if (len_bytes == 0)
		return 0;
	uint64_t end = off + len_bytes, first = (off + BLOCK_BYTES - 1) >> BLOCK_SHIFT, last = end >> BLOCK_SHIFT;
	struct stage_file *f = stage_file_of(s, ino, true);
	int rc = 0;

	f->end_bytes = MAX(f->end_bytes, end);
	if (first > last)
		return put_partial(s, f, off, zeros, (size_t)len_bytes);
	if (IN_BLOCK(off))
		rc = put_partial(s, f, off, zeros, BLOCK_BYTES - IN_BLOCK(off));
	if (!rc && IN_BLOCK(end))
		rc = put_partial(s, f, last << BLOCK_SHIFT, zeros, IN_BLOCK(end));
	if (!rc && first < last) {
		carve_runs(s, f, first, last);
		drop_parts(f, first, last);
		insert_run(f, (struct stage_run){ first, last - first, 0, NULL });
	}
	return rc;
}

int stage_put_lost(struct stage *s, uint64_t ino, uint64_t off, uint64_t len_bytes)
{
	static const uint8_t zeros[BLOCK_BYTES];

	if (off > FILE_MAX_BYTES || len_bytes > FILE_MAX_BYTES - off)
		return -EFBIG;
	if (len_bytes == 0)
		return 0;
	struct stage_file *f = stage_file_of(s, ino, true);
	uint64_t end = (off + len_bytes + BLOCK_BYTES - 1) >> BLOCK_SHIFT;
	int rc = 0;

	f->end_bytes = MAX(f->end_bytes, off + len_bytes);
	for (uint64_t block = off >> BLOCK_SHIFT; !rc && block < end; block++) {
		rc = put_whole(s, f, block, 1, zeros);
		if (!rc) {
			struct stage_run *r = &f->runs[run_at(f, block)];

			r->sums[block - r->off] = block_sum_lost();
		}
	}
	return rc;
}

int stage_sync(struct stage *s)
{
	int rc = data_store_sync(s->v);

	image_stream_drop(s->v->data->image);
	if (!rc)
		return s->losses == image_losses(s->v->data->image) ? 0 : -EIO;
	/* What else was written since the last good flush is in doubt as well. */
	volume_lock_now(s->v);
	rc = group_fault(s->v, rc, "a flush of the image failed");
	volume_unlock(s->v);
	return rc;
}

uint64_t stage_bytes(const struct stage *s)
{
	return s->bytes;
}

/* ---- what it holds ---- */

void stage_file_free(struct stage_file *f)
{
	for (size_t i = 0; i < f->n_runs; i++)
		free(f->runs[i].sums);
	free(f->runs);
	free(f->parts);
	free(f);
}

/* Its blocks are free. */
static void release_file(struct stage *s, const struct stage_file *f)
{
	for (size_t i = 0; i < f->n_runs; i++)
		release_run(s, f->runs[i].phys, f->runs[i].len);
}

int stage_keep_block(struct stage *s, const uint8_t *data, struct block_run *run)
{
	uint64_t goal = s->n_kept ? s->kept[s->n_kept - 1] + 1 : 0;
	size_t n_runs;
	int rc = store_alloc(s->v, 1, goal, 0, SPACE_RESERVE, run, &n_runs);

	if (rc)
		return rc;
	s->kept = make_gap(s->kept, &s->n_kept, &s->cap_kept, s->n_kept, 1, sizeof(*s->kept));
	s->kept[s->n_kept - 1] = run->phys;
	return image_write(s->v->data->image, run->phys, 0, data, BLOCK_BYTES);
}

void stage_drop_kept(struct stage *s)
{
	while (s->n_kept > 0)
		release_run(s, s->kept[--s->n_kept], 1);
}

/* ---- looking ---- */

/* The bytes of a run that fall into [off, off + len). */
static int overlay_run(struct stage *s, const struct stage_run *r, uint8_t *buf, uint64_t off, size_t len)
{
	uint64_t from = MAX(off, r->off << BLOCK_SHIFT), to = MIN(off + len, (r->off + r->len) << BLOCK_SHIFT);

	while (from < to) {
		size_t step = (size_t)MIN(to - from, BLOCK_BYTES - IN_BLOCK(from));
		uint64_t at = (from >> BLOCK_SHIFT) - r->off;
		struct block_ref ref = { r->phys ? r->phys + at : 0, r->phys ? r->sums[at] : 0 };
		int rc = blocks_fetch(s->v->data->image, &ref, IN_BLOCK(from), buf + (from - off), step, NULL);

		if (rc)
			return -EIO;
		from += step;
	}
	return 0;
}

int stage_overlay(struct stage *s, uint64_t ino, void *buf, size_t len_bytes, uint64_t off)
{
	struct stage_room room;
	const struct stage_file *f = stage_look(s, ino, &room);
	uint64_t end = off + len_bytes;
	uint8_t bytes[BLOCK_BYTES];
	int rc = 0;

	if (!f || len_bytes == 0)
		return 0;
	for (size_t i = run_at(f, off >> BLOCK_SHIFT); !rc && i < f->n_runs && f->runs[i].off << BLOCK_SHIFT < end; i++)
		rc = overlay_run(s, &f->runs[i], buf, off, len_bytes);
	for (size_t i = part_at(f, off); !rc && i < f->n_parts && f->parts[i].off < end; i++) {
		const struct stage_part *p = &f->parts[i];
		uint64_t from = MAX(p->off, off), to = MIN(p->off + p->len, end);

		rc = stage_part_read(s, p, bytes);
		if (!rc)
			memcpy((uint8_t *)buf + (from - off), bytes + (from - p->off), (size_t)(to - from));
	}
	return rc;
}

uint64_t stage_next(struct stage *s, uint64_t ino, uint64_t off)
{
	struct stage_room room;
	const struct stage_file *f = stage_look(s, ino, &room);
	uint64_t next = UINT64_MAX;

	for (size_t i = f ? run_at(f, off >> BLOCK_SHIFT) : 0; f && i < f->n_runs && next == UINT64_MAX; i++)
		if (f->runs[i].phys)
			next = f->runs[i].off << BLOCK_SHIFT;
	size_t i = f ? part_at(f, off) : 0;

	if (f && i < f->n_parts)
		next = MIN(next, f->parts[i].off);
	return next == UINT64_MAX ? next : MAX(next, off);
}

int stage_ranges(struct stage *s, uint64_t ino, stage_range_fn fn, void *ctx)
{
	struct stage_room room;
	const struct stage_file *f = stage_look(s, ino, &room);
	uint64_t from = 0, to = 0;
	size_t r = 0, p = 0;
	int rc = 0;

	while (f && !rc && (r < f->n_runs || p < f->n_parts)) {
		bool is_run = p == f->n_parts || (r < f->n_runs && f->runs[r].off << BLOCK_SHIFT < f->parts[p].off);
		uint64_t off = is_run ? f->runs[r].off << BLOCK_SHIFT : f->parts[p].off;
		uint64_t len = is_run ? f->runs[r].len << BLOCK_SHIFT : f->parts[p].len;

		r += is_run;
		p += !is_run;
		if (off != to) {
			if (to > from)
				rc = fn(ctx, from, to - from);
			from = off;
		}
		to = off + len;
	}
	if (!rc && to > from)
		rc = fn(ctx, from, to - from);
	return rc;
}

/* ---- from one to another ---- */

void stage_mark(struct stage *s, uint64_t group, uint64_t id)
{
	s->mark_group = group;
	s->mark_id = id;
}

static uint64_t file_bytes(const struct stage_file *f)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < f->n_runs; i++)
		sum += f->runs[i].phys ? f->runs[i].len << BLOCK_SHIFT : 0;
	for (size_t i = 0; i < f->n_parts; i++)
		sum += f->parts[i].len;
	return sum;
}

/* Blocks of runs change hands as they are; bytes of parts move from log to log. */
int stage_take(struct stage *to, struct stage *from, uint64_t ino)
{
	struct stage_file *f = stage_file_of(from, ino, false);
	uint8_t bytes[BLOCK_BYTES];
	int rc = 0;

	if (!f)
		return -ENOENT;
	go_on_to(to, ino);
	assert(!stage_file_of(to, ino, false));
	if (from->losses != image_losses(from->v->data->image))
		rc = -EIO;
	for (size_t i = 0; !rc && i < f->n_parts; i++) {
		rc = stage_part_read(from, &f->parts[i], bytes);
		if (!rc)
			rc = log_append(to, bytes, f->parts[i].len, &f->parts[i].addr);
	}
	map_del(&from->files, ino);
	if (rc) {
		release_file(from, f);
		stage_file_free(f);
		return rc;
	}
	from->bytes -= MIN(from->bytes, file_bytes(f));
	to->bytes += file_bytes(f);
	map_put(&to->files, ino, (uintptr_t)f);
	return 0;
}

int stage_files(struct stage *s, stage_file_fn fn, void *ctx)
{
	struct stage_room room;
	const struct stage_file *f;
	uint64_t ino, value;
	size_t it = 0;
	int rc = 0;

	while (!rc && map_next(&s->files, &it, &ino, &value)) {
		f = (const struct stage_file *)(uintptr_t)value;
		rc = fn(ctx, ino, f->mark_group, f->mark_id);
	}
	for (size_t i = 0; !rc && i < s->packed.rows.n; i++)
		if ((f = stage_packed_at(s, i, &room)))
			rc = fn(ctx, f->ino, f->mark_group, f->mark_id);
	return rc;
}

/* ---- life ---- */

struct stage *stage_new(struct volume *v)
{
	struct stage *s = xcalloc(1, sizeof(*s));

	s->v = v;
	s->losses = image_losses(v->data->image);
	s->save_fd = -1;
	return s;
}

void stage_free(struct stage *s)
{
	struct stage_room room;
	size_t it = 0;
	uint64_t ino, value;

	if (!s)
		return;
	assert(map_count(&s->adopted) == 0); /* whose are its blocks? */
	while (map_next(&s->files, &it, &ino, &value)) {
		release_file(s, (struct stage_file *)(uintptr_t)value);
		stage_file_free((struct stage_file *)(uintptr_t)value);
	}
	for (size_t i = 0; i < s->packed.rows.n; i++) {
		const struct stage_file *f = stage_packed_at(s, i, &room);

		if (f)
			release_file(s, f);
	}
	rows_release(&s->packed.rows);
	free(s->packed.state);
	for (size_t i = 0; i < s->n_log; i++)
		release_run(s, s->log[i], 1);
	stage_drop_kept(s);
	if (s->save_fd >= 0)
		close(s->save_fd);
	map_release(&s->files);
	map_release(&s->adopted);
	free(s->log);
	free(s->kept);
	free(s->tail);
	free(s);
}
