/* SPDX-License-Identifier: MIT */
/*
 * ahead: what a merge wants to know of bytes and nobody needs the volume for: of what kind they are, which libmagic
 * says, and what becomes of three texts by lines. For one shipment.
 *
 * Both take long, and whoever merges holds the volume's lock. So an answer that is not there yet is noted, with the
 * bytes that it is about; the merge goes on as if both versions were to be kept, to find all that it wants to know,
 * and is given up. ahead_run works the answers out, without the lock, and the merge is done again. An answer follows
 * from the bytes alone, and is found by them: it stays good whatever is changed meanwhile.
 *
 * Bounds: one round notes AHEAD_NOTED_MAX_BYTES; what is more is noted in the next one. After AHEAD_ROUNDS_MAX rounds
 * (somebody keeps writing to what is merged, or it is gigabytes) it is worked out at once, by who asks.
 * Threads: the engine's.
 */
#ifndef TWINFS_SYNC_AHEAD_H
#define TWINFS_SYNC_AHEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/merge3.h"
#include "util/map.h"

#define AHEAD_NOTED_MAX_BYTES ((size_t)64 << 20)
#define AHEAD_ROUNDS_MAX 8u

struct ahead {
	bool at_once;              /* nothing is noted: for who does not come again */
	struct ahead_answer **list;
	size_t n, cap, n_done;     /* list[n_done...]: noted in this round */
	struct map at;             /* half of the bytes' hash -> index + 1 */
	uint64_t seed;
	size_t noted_bytes;
	bool more;                 /* than could be noted */
	unsigned rounds;
};

#define AHEAD_NOT_YET (-EINPROGRESS)

/* content_kind. 0, or AHEAD_NOT_YET: then *kind is not set. */
int ahead_kind(struct ahead *a, const char *name, const void *head, size_t len_bytes, enum content_kind *kind);
/* merge3_text, of the three one behind the other at `texts`: what that says, or AHEAD_NOT_YET. 0: *merged is the
 * result, and lives as long as `a`. */
int ahead_text(struct ahead *a, const void *texts, const size_t len_bytes[3], const struct buf **merged);

/* Was anything asked for that is not known? */
bool ahead_waits(const struct ahead *a);
/* Work it out. Without the volume's lock. */
void ahead_run(struct ahead *a);
void ahead_release(struct ahead *a);

#endif
