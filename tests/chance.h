/* SPDX-License-Identifier: MIT */
/* chance: numbers and bytes that look random and are the same on every machine, from a seed that the caller keeps. */
#ifndef TWINFS_TESTS_CHANCE_H
#define TWINFS_TESTS_CHANCE_H

#include <stddef.h>
#include <stdint.h>

static inline uint64_t chance(uint64_t *seed)
{
	*seed += UINT64_C(0x9e3779b97f4a7c15);
	uint64_t z = *seed;

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static inline size_t chance_below(uint64_t *seed, size_t n)
{
	return (size_t)(chance(seed) % n);
}

static inline void chance_bytes(uint64_t *seed, uint8_t *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(chance(seed) | 1); /* no zeros: a hole in the wrong place shows */
}

#endif
