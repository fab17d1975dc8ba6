/* SPDX-License-Identifier: MIT */
/* internal: what the files of node/ share about a running mount. Nobody outside node/ includes this. */
#ifndef TWINFS_NODE_INTERNAL_H
#define TWINFS_NODE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "fuse/front.h"
#include "node/control.h"
#include "node/node.h"
#include "node/scrub.h"
#include "node/seen.h"
#include "node/verify.h"
#include "sync/link.h"

/* How long a planned link-down may take to ship what is pending. What is not through by then goes later. */
#define DRAIN_MS 10000u

struct node {
	struct volume *volume;
	struct identity *identity;
	struct front *front;
	struct past *past;          /* what the front shows if it is the baseline alone that is mounted */
	struct baseline_mounts *baselines;
	struct watch *watch;
	struct control *control;
	const char *mountpoint;
	/* Held for reading by whoever calls the link, for writing by whoever replaces it. Never taken in the link's own
	 * thread. */
	pthread_rwlock_t link_lock;
	struct link *link;          /* NULL after the end of serving */
	pthread_t keeper;
	atomic_bool leaving;        /* serving is over, or about to be */
	atomic_bool pin_changed;    /* set in the link's thread by a pairing; the keeper tells the link */
	struct scrub_state scrub;
	struct verify_state verify;
	struct seen seen;           /* the keeper's, and whose turn it is when that has ended */
	atomic_ullong paused_until_ms; /* wall clock; 0: no end */
};

/* Wakes the keeper: something above has changed. Any thread. */
void node_kick(struct node *n);

/* Of the link, in words of requests. Each takes link_lock itself. */
void node_link_status(struct node *n, struct link_status *out);
int node_relisten(struct node *n, struct err *err);
/* Become the primary. in_step: the peer had everything of ours, and we of it, when we left it. */
int node_promote(struct node *n, bool *in_step, struct err *err);
/* *peer: who it was; malloc'd. */
int node_forget_peer(struct node *n, char **peer, struct err *err);
int node_wait_synced(struct node *n, struct control_client *client, unsigned timeout_ms, struct err *err);
/* drained: all was shipped and acknowledged before the link went down. */
int node_pause(struct node *n, const char *reason, uint64_t until_ms, bool *drained, struct err *err);
/* deleting: what the peer deleted meanwhile may go, however much it is. keep: whose state counts, in words of requests
 * (local, peer; NULL: both are merged, and an earlier word is taken back; "": as was said before). */
int node_resume(struct node *n, bool deleting, const char *keep, struct err *err);

#endif
