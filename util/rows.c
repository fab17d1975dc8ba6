/* SPDX-License-Identifier: MIT */
#include "util/rows.h"

#include "util/number.h"
#include "util/util.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/*
 * A piece is the numbers of its first row, where in it every eighth row begins (uint32_t each), and its rows. A row:
 * how many bytes follow, which numbers differ from the first row's (a bit each), how far each of these is from that,
 * and the bytes.
 */
#define ROWS_PER_PIECE 64u
#define ROWS_PER_STEP 8u
#define STEPS_BYTES (ROWS_PER_PIECE / ROWS_PER_STEP * sizeof(uint32_t))
#define HEAD_MAX_BYTES ((ROWS_MAX_NUMBERS + 1) * NUMBER_MAX_BYTES)

struct rows_piece {
	uint64_t first; /* number of its first row, to find it without a look at that */
	uint8_t *data;  /* NULL: rows.open */
};

/* ---- adding ---- */

static uint8_t *room(struct rows *r, size_t len_bytes)
{
	if (r->cap_bytes - r->open_bytes < len_bytes) {
		r->cap_bytes = MAX(2 * r->cap_bytes, r->open_bytes + len_bytes + 1024);
		r->open = xrealloc(r->open, r->cap_bytes);
	}
	return r->open + r->open_bytes;
}

static void begin_piece(struct rows *r, const uint64_t *numbers)
{
	size_t first_bytes = r->n_numbers * sizeof(*numbers);

	assert(r->open_bytes == 0);
	if (r->n_pieces == r->cap_pieces) {
		r->cap_pieces = r->cap_pieces ? 2 * r->cap_pieces : 4;
		r->pieces = xrealloc(r->pieces, r->cap_pieces * sizeof(*r->pieces));
	}
	r->pieces[r->n_pieces++] = (struct rows_piece){ .first = numbers[0] };
	memcpy(room(r, first_bytes + STEPS_BYTES), numbers, first_bytes);
	r->open_bytes = first_bytes + STEPS_BYTES;
}

static void note_step(struct rows *r)
{
	uint32_t begins = (uint32_t)r->open_bytes;
	size_t step = r->n % ROWS_PER_PIECE / ROWS_PER_STEP;

	memcpy(r->open + r->n_numbers * sizeof(uint64_t) + step * sizeof(begins), &begins, sizeof(begins));
}

/* It is full: it gets memory of just its size, and `open` is for the next one. */
static void end_piece(struct rows *r)
{
	struct rows_piece *p = &r->pieces[r->n_pieces - 1];

	p->data = xmalloc(r->open_bytes);
	memcpy(p->data, r->open, r->open_bytes);
	r->open_bytes = 0;
}

/* Which differ, and how far each is from the first row's. */
static size_t put_head(uint8_t *to, const uint64_t *numbers, const uint64_t *first, unsigned n)
{
	uint64_t differ = 0;
	size_t len;

	for (unsigned k = 0; k < n; k++)
		differ |= (uint64_t)(numbers[k] != first[k]) << k;
	len = number_put(to, differ);
	for (unsigned k = 0; k < n; k++)
		if (differ & UINT64_C(1) << k)
			len += number_put(to + len, number_near(numbers[k], first[k]));
	return len;
}

void rows_add(struct rows *r, const uint64_t *numbers, const void *bytes, size_t len_bytes)
{
	uint64_t first[ROWS_MAX_NUMBERS];
	uint8_t head[HEAD_MAX_BYTES], *to;
	size_t head_bytes;

	assert(r->n_numbers > 0 && r->n_numbers <= ROWS_MAX_NUMBERS);
	if (r->n % ROWS_PER_PIECE == 0)
		begin_piece(r, numbers);
	if (r->n % ROWS_PER_STEP == 0)
		note_step(r);
	memcpy(first, r->open, r->n_numbers * sizeof(*first));
	head_bytes = put_head(head, numbers, first, r->n_numbers);
	to = room(r, NUMBER_MAX_BYTES + head_bytes + len_bytes);
	to += number_put(to, head_bytes + len_bytes);
	memcpy(to, head, head_bytes);
	if (len_bytes > 0)
		memcpy(to + head_bytes, bytes, len_bytes);
	r->open_bytes = (size_t)(to - r->open) + head_bytes + len_bytes;
	if (++r->n % ROWS_PER_PIECE == 0)
		end_piece(r);
}

/* ---- reading ---- */

static const uint8_t *data_of(const struct rows *r, size_t piece)
{
	return r->pieces[piece].data ? r->pieces[piece].data : r->open;
}

static const uint8_t *next_row(const uint8_t *row)
{
	uint64_t len = number_get(&row);

	return row + len;
}

static const uint8_t *row_at(const struct rows *r, size_t i)
{
	const uint8_t *data = data_of(r, i / ROWS_PER_PIECE);
	size_t step = i % ROWS_PER_PIECE / ROWS_PER_STEP;
	uint32_t begins;

	memcpy(&begins, data + r->n_numbers * sizeof(uint64_t) + step * sizeof(begins), sizeof(begins));
	data += begins;
	for (size_t k = i % ROWS_PER_STEP; k > 0; k--)
		data = next_row(data);
	return data;
}

const uint8_t *rows_get(const struct rows *r, size_t i, uint64_t *numbers, size_t *len_bytes)
{
	const uint8_t *at, *end;
	uint64_t len, differ;

	assert(i < r->n);
	at = row_at(r, i);
	memcpy(numbers, data_of(r, i / ROWS_PER_PIECE), r->n_numbers * sizeof(*numbers));
	len = number_get(&at);
	end = at + len;
	for (differ = number_get(&at); differ; differ &= differ - 1) {
		unsigned k = (unsigned)__builtin_ctzll(differ);

		numbers[k] = number_from(number_get(&at), numbers[k]);
	}
	if (len_bytes)
		*len_bytes = (size_t)(end - at);
	return at;
}

static uint64_t first_number(const uint8_t *row, uint64_t of_piece)
{
	number_get(&row);
	return number_get(&row) & 1 ? number_from(number_get(&row), of_piece) : of_piece;
}

/* The piece begins below `least`; the first one of it that is not, or what comes after it. */
static size_t find_in(const struct rows *r, size_t piece, uint64_t least)
{
	const uint64_t first = r->pieces[piece].first;
	size_t i = piece * ROWS_PER_PIECE, end = MIN(i + ROWS_PER_PIECE, r->n);
	const uint8_t *row;

	while (i + ROWS_PER_STEP < end && first_number(row_at(r, i + ROWS_PER_STEP), first) < least)
		i += ROWS_PER_STEP;
	for (row = row_at(r, i); i < end && first_number(row, first) < least; i++)
		row = i + 1 < end ? next_row(row) : row;
	return i;
}

size_t rows_find(const struct rows *r, uint64_t least)
{
	size_t lo = 0, hi = r->n_pieces;

	/* The last piece that begins below it: those before are below it altogether, those after are not. */
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (r->pieces[mid].first < least)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo == 0 ? 0 : find_in(r, lo - 1, least);
}

void rows_release(struct rows *r)
{
	for (size_t i = 0; i < r->n_pieces; i++)
		free(r->pieces[i].data);
	free(r->pieces);
	free(r->open);
	*r = (struct rows){ .n_numbers = r->n_numbers };
}
