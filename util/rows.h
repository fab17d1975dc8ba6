/* SPDX-License-Identifier: MIT */
/*
 * rows: a long list of rows that takes little memory. A row is a few numbers and some bytes. Sixty-four of them are one
 * piece: of each number only how far it is from that of the piece's first row, and nothing if it is the same. So a row
 * can be had by its place in the list at the cost of stepping over a few others of its piece.
 *
 * Rows are only added, at the end. The bytes of one stay where they are until the next is added. One thread at a time.
 * Owned by whoever declared it.
 */
#ifndef TWINFS_UTIL_ROWS_H
#define TWINFS_UTIL_ROWS_H

#include <stddef.h>
#include <stdint.h>

#define ROWS_MAX_NUMBERS 16u

struct rows_piece;
struct rows {
	unsigned n_numbers; /* of a row, at most ROWS_MAX_NUMBERS; set by the owner before the first one */
	size_t n;
	struct rows_piece *pieces; /* the last one is in `open` until it is full */
	size_t n_pieces, cap_pieces;
	uint8_t *open;
	size_t open_bytes, cap_bytes;
};

/* Numbers that differ from row to row should come first: a row takes one byte less if it differs in those alone. */
void rows_add(struct rows *r, const uint64_t *numbers, const void *bytes, size_t len_bytes);
/* The i-th, i < n. Returns its bytes; len_bytes may be NULL. */
const uint8_t *rows_get(const struct rows *r, size_t i, uint64_t *numbers, size_t *len_bytes);
/* If rows ascend by their first number: the first one of which that is not below `least`; n: there is none. */
size_t rows_find(const struct rows *r, uint64_t least);
void rows_release(struct rows *r); /* empty, with its n_numbers */

#endif
