/* SPDX-License-Identifier: MIT */
/*
 * verify: sync/verify.h for people: one comparison at a time of a mount with its peer, with progress, and what the last
 * one found, which is kept in the store. In the thread of whoever asked for it: it ends when they hang up, the
 * connection ends or the store is unmounted, and leaves no trace then.
 */
#ifndef TWINFS_NODE_VERIFY_H
#define TWINFS_NODE_VERIFY_H

#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "node/control.h"
#include "util/err.h"

struct node;
struct volume;

/* Of a running mount: how far its one comparison is. */
struct verify_state {
	pthread_mutex_t lock; /* innermost */
	bool running;
	uint64_t started_ms; /* monotonic */
	uint64_t done, total; /* inodes and names; total is about right */
};
#define VERIFY_STATE_INIT { .lock = PTHREAD_MUTEX_INITIALIZER }

/* "verify" of the status: when the last one that came to its end did so, and what it found; while one runs also done,
 * total, eta_s (-1: not known). state NULL: not mounted. */
json_t *verify_object(struct volume *v, struct verify_state *state);

/* Adds to reply "group", "peer_group", "inodes", "names", "differences" and "list" (path or null, what). -errno with a
 * text. */
int verify_ask(struct node *n, struct control_client *client, json_t *reply, struct err *err);

#endif
