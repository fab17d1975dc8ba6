/* SPDX-License-Identifier: MIT */
/* number: a number in as few bytes as it needs, seven bits a byte, low ones first. */
#ifndef TWINFS_UTIL_NUMBER_H
#define TWINFS_UTIL_NUMBER_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#define NUMBER_MAX_BYTES 10u

/* Returns how many bytes of `to` (NUMBER_MAX_BYTES) it took. */
static inline size_t number_put(uint8_t *to, uint64_t n)
{
	size_t i = 0;

	for (; n >= 0x80; n >>= 7)
		to[i++] = (uint8_t)(n | 0x80);
	to[i++] = (uint8_t)n;
	return i;
}

/* The one that begins at *at, which moves behind it. What is read is our own: that it is whole is asserted. */
static inline uint64_t number_get(const uint8_t **at)
{
	uint64_t n = 0;
	unsigned shift = 0;
	uint8_t byte;

	do {
		assert(shift < 64);
		byte = *(*at)++;
		n |= (uint64_t)(byte & 0x7f) << shift;
		shift += 7;
	} while (byte & 0x80);
	return n;
}

/* How far n is from `from`, to either side, as a number that is small if that is near; and back. */
static inline uint64_t number_near(uint64_t n, uint64_t from)
{
	uint64_t by = n - from;

	return by << 1 ^ (0 - (by >> 63));
}
static inline uint64_t number_from(uint64_t near, uint64_t from)
{
	return from + (near >> 1 ^ (0 - (near & 1)));
}

#endif
