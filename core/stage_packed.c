/* SPDX-License-Identifier: MIT */
#include "core/stage_private.h"

#include "core/landing.h"
#include "util/number.h"
#include "util/util.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* A row's numbers. PHYS and ADDR: of its first run that is no hole, its first part. Its bytes: the runs, each with its
 * checksums, then the parts, each with its own. */
enum { R_INO, R_ADDR, R_PHYS, R_END, R_PIECES, R_GROUP, R_ID, R_SAVED_BLOCKS, R_SAVED_BYTES, R_NUMBERS };

#define PIECE_MAX_BYTES (3 * NUMBER_MAX_BYTES)
#define ROW_MAX_BYTES (2 * STAGE_PACK_PIECES * PIECE_MAX_BYTES + (STAGE_PACK_PIECES + STAGE_PACK_BLOCKS) * 8)

/* ---- a file as bytes ---- */

static uint64_t first_phys(const struct stage_file *f)
{
	for (size_t i = 0; i < f->n_runs; i++)
		if (f->runs[i].phys)
			return f->runs[i].phys;
	return 0;
}

static size_t put_sums(uint8_t *to, const uint64_t *sums, size_t n)
{
	memcpy(to, sums, n * sizeof(*sums));
	return n * sizeof(*sums);
}

static size_t put_pieces(uint8_t *to, const struct stage_file *f, uint64_t phys, uint64_t addr)
{
	size_t n = 0;

	for (size_t i = 0; i < f->n_runs; i++) {
		const struct stage_run *r = &f->runs[i];

		n += number_put(to + n, r->off);
		n += number_put(to + n, r->len);
		n += number_put(to + n, r->phys ? number_near(r->phys, phys) + 1 : 0);
		if (r->phys)
			n += put_sums(to + n, r->sums, (size_t)r->len);
	}
	for (size_t i = 0; i < f->n_parts; i++) {
		const struct stage_part *p = &f->parts[i];

		n += number_put(to + n, p->off);
		n += number_put(to + n, p->len);
		n += number_put(to + n, number_near(p->addr, addr));
		n += put_sums(to + n, &p->sum, 1);
	}
	return n;
}

static const uint8_t *get_sums(const uint8_t *at, uint64_t *sums, size_t n)
{
	memcpy(sums, at, n * sizeof(*sums));
	return at + n * sizeof(*sums);
}

static void get_pieces(const uint8_t *at, struct stage_room *room, uint64_t phys, uint64_t addr)
{
	uint64_t *sums = room->sums;

	for (size_t i = 0; i < room->file.n_runs; i++) {
		struct stage_run *r = &room->runs[i];
		uint64_t near;

		*r = (struct stage_run){ .off = number_get(&at) };
		r->len = number_get(&at);
		near = number_get(&at);
		if (!near)
			continue;
		r->phys = number_from(near - 1, phys);
		r->sums = sums;
		at = get_sums(at, sums, (size_t)r->len);
		sums += r->len;
	}
	for (size_t i = 0; i < room->file.n_parts; i++) {
		struct stage_part *p = &room->parts[i];

		p->off = number_get(&at);
		p->len = (uint32_t)number_get(&at);
		p->addr = number_from(number_get(&at), addr);
		at = get_sums(at, &p->sum, 1);
	}
}

/* ---- rows ---- */

static bool is_packable(const struct stage *s, const struct stage_file *f)
{
	uint64_t blocks = 0;

	for (size_t i = 0; i < f->n_runs && f->n_runs <= STAGE_PACK_PIECES; i++)
		blocks += f->runs[i].phys ? f->runs[i].len : 0;
	return f->ino > s->packed.last_ino && f->n_runs <= STAGE_PACK_PIECES && f->n_parts <= STAGE_PACK_PIECES &&
	       blocks <= STAGE_PACK_BLOCKS && !f->planned;
}

static void add_state(struct stage_packed *p)
{
	if (p->rows.n > p->cap_state) {
		p->cap_state = MAX(2 * p->cap_state, 1024);
		p->state = xrealloc(p->state, p->cap_state);
	}
	p->state[p->rows.n - 1] = 0;
}

void stage_pack(struct stage *s, uint64_t ino)
{
	struct stage_packed *p = &s->packed;
	struct stage_file *f;
	uint8_t bytes[ROW_MAX_BYTES];
	uint64_t value, n[R_NUMBERS];

	if (map_count(&s->files) < landing_least(s->v) || !map_get(&s->files, ino, &value))
		return;
	f = (struct stage_file *)(uintptr_t)value;
	if (!is_packable(s, f))
		return;
	n[R_INO] = ino;
	n[R_ADDR] = f->n_parts ? f->parts[0].addr : 0;
	n[R_PHYS] = first_phys(f);
	n[R_END] = f->end_bytes;
	n[R_PIECES] = f->n_runs << 8 | f->n_parts;
	n[R_GROUP] = f->mark_group;
	n[R_ID] = f->mark_id;
	n[R_SAVED_BLOCKS] = f->saved_blocks;
	n[R_SAVED_BYTES] = f->saved_bytes;
	p->rows.n_numbers = R_NUMBERS;
	p->last_ino = ino;
	rows_add(&p->rows, n, bytes, put_pieces(bytes, f, n[R_PHYS], n[R_ADDR]));
	add_state(p);
	map_del(&s->files, ino);
	stage_file_free(f);
}

bool stage_packed_find(const struct stage *s, uint64_t ino, size_t *i)
{
	const struct stage_packed *p = &s->packed;
	uint64_t n[R_NUMBERS];

	if (ino > p->last_ino)
		return false;
	*i = rows_find(&p->rows, ino);
	if (p->state[*i] & STAGE_ROW_LEFT)
		return false;
	rows_get(&p->rows, *i, n, NULL);
	return n[R_INO] == ino;
}

/* It was complete when it was packed; so what was saved after that is all of it. */
static void note_saved(struct stage_file *f)
{
	if (f->n_runs)
		f->saved_blocks = f->runs[f->n_runs - 1].off + f->runs[f->n_runs - 1].len;
	if (f->n_parts)
		f->saved_bytes = f->parts[f->n_parts - 1].off + f->parts[f->n_parts - 1].len;
}

const struct stage_file *stage_packed_at(const struct stage *s, size_t i, struct stage_room *room)
{
	const struct stage_packed *p = &s->packed;
	uint64_t n[R_NUMBERS];
	const uint8_t *bytes;

	if (p->state[i] & STAGE_ROW_LEFT)
		return NULL;
	bytes = rows_get(&p->rows, i, n, NULL);
	room->file = (struct stage_file){ .ino = n[R_INO],
					  .end_bytes = n[R_END],
					  .mark_group = n[R_GROUP],
					  .mark_id = n[R_ID],
					  .runs = room->runs,
					  .n_runs = (size_t)n[R_PIECES] >> 8,
					  .parts = room->parts,
					  .n_parts = (size_t)n[R_PIECES] & 0xff,
					  .saved_blocks = n[R_SAVED_BLOCKS],
					  .saved_bytes = n[R_SAVED_BYTES],
					  .planned = p->state[i] & STAGE_ROW_PLANNED };
	get_pieces(bytes, room, n[R_PHYS], n[R_ADDR]);
	if (i < p->n_saved)
		note_saved(&room->file);
	return &room->file;
}

static void *copy_of(const void *data, size_t n, size_t size_bytes)
{
	return n ? memcpy(xmalloc(n * size_bytes), data, n * size_bytes) : NULL;
}

struct stage_file *stage_unpack(struct stage *s, size_t i)
{
	struct stage_room room;
	struct stage_file *f = xmalloc(sizeof(*f));

	*f = *stage_packed_at(s, i, &room);
	f->runs = copy_of(room.runs, f->n_runs, sizeof(*f->runs));
	f->parts = copy_of(room.parts, f->n_parts, sizeof(*f->parts));
	f->cap_runs = f->n_runs;
	f->cap_parts = f->n_parts;
	for (size_t k = 0; k < f->n_runs; k++)
		if (f->runs[k].phys)
			f->runs[k].sums = copy_of(f->runs[k].sums, (size_t)f->runs[k].len, sizeof(uint64_t));
	s->packed.state[i] = STAGE_ROW_LEFT;
	map_put(&s->files, f->ino, (uintptr_t)f);
	return f;
}
