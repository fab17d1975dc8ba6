/* SPDX-License-Identifier: MIT */
/*
 * scrub: core/scrub.h for people: one at a time of a store, with progress and rate, and what the last one found and
 * could not heal, which is kept in the store. In the thread of whoever asked for it: it ends when they hang up or the
 * store is unmounted, and leaves no trace then.
 */
#ifndef TWINFS_NODE_SCRUB_H
#define TWINFS_NODE_SCRUB_H

#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>

#include "core/scrub.h"
#include "util/err.h"

/* Of a running mount: what its one scrub has done so far. */
struct scrub_state {
	pthread_mutex_t lock; /* innermost */
	bool running;
	uint64_t started_ms; /* monotonic */
	struct scrub_progress progress;
};
#define SCRUB_STATE_INIT { .lock = PTHREAD_MUTEX_INITIALIZER }

/* "scrub" of the status: when the last one that came to its end did so, and how many blocks it found damaged; while one
 * runs also bytes_done, bytes_total, bytes_per_s, eta_s. state NULL: not mounted. */
json_t *scrub_object(struct volume *v, struct scrub_state *state);

/* say: once a second, for people; false: stop. Of a mounted store (state not NULL) half of the time is left to others,
 * and the disk serves them first. Adds to reply "blocks" (looked at), "found" (how many were damaged), "healed" (of
 * these, from the peer) and "list" (path or null, inode, offset, history, unreadable, healed; the first hundred).
 * -EBUSY: one runs already. -ECANCELED. */
int scrub_run(struct volume *v, struct scrub_state *state, bool (*say)(void *ctx, const char *text), void *ctx,
              json_t *reply, struct err *err);

#endif
