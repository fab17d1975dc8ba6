/* SPDX-License-Identifier: MIT */
/*
 * posix: what the programs of tests/posix share. They run in a directory of any filesystem, link nothing of twinfs and
 * print TAP; run on ext4 they say what Linux does, on a mount of twinfs whether we do the same.
 */
#ifndef TWINFS_TESTS_POSIX_H
#define TWINFS_TESTS_POSIX_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A row runs in a process of its own: the first thing that is not as it should be ends it. */
#define WANT(cond)                                                                                                     \
	do {                                                                                                           \
		if (!(cond)) {                                                                                         \
			printf("# %s:%d: not so: %s (errno %d %s)\n", __FILE__, __LINE__, #cond, errno,                \
			       strerror(errno));                                                                       \
			fflush(NULL);                                                                                  \
			_exit(1);                                                                                      \
		}                                                                                                      \
	} while (0)

/* The call fails with this error. */
#define REFUSED(error, call)                                                                                           \
	do {                                                                                                           \
		long refused_rc_;                                                                                      \
		errno = 0;                                                                                             \
		refused_rc_ = (long)(call);                                                                            \
		if (refused_rc_ != -1 || errno != (error)) {                                                           \
			printf("# %s:%d: %s: got %ld, errno %d (%s), want %s\n", __FILE__, __LINE__, #call,            \
			       refused_rc_, errno, strerror(errno), #error);                                           \
			fflush(NULL);                                                                                  \
			_exit(1);                                                                                      \
		}                                                                                                      \
	} while (0)

/* A small generator of its own, so that a seed means the same everywhere. */
static inline uint64_t rnd_next(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static inline uint64_t rnd_below(uint64_t *state, uint64_t n)
{
	return n ? rnd_next(state) % n : 0;
}

#endif
