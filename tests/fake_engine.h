/* SPDX-License-Identifier: MIT */
/*
 * fake_engine: engine.h and the volume functions that the link uses, without a volume: for tests of the link. A
 * `struct volume` here is a script: what the engine has to send, and how it behaves. It sends `to_send` bytes as DATA
 * frames with a pattern and checks the pattern of those that come; it acknowledges what it has received by SKIP frames.
 */
#ifndef TWINFS_TESTS_FAKE_ENGINE_H
#define TWINFS_TESTS_FAKE_ENGINE_H

#include <stdatomic.h>

#include "sync/engine.h"

struct volume {
	/* the script */
	_Atomic uint64_t to_send;      /* bytes, in all connections together */
	_Atomic int receive_fails;     /* -errno for the next HELLO */
	_Atomic unsigned receive_ms;   /* how long each DATA frame takes to apply */
	atomic_bool never_settles;
	_Atomic uint64_t free_bytes, wanted_bytes; /* DATA is refused while there is less room than it wants */
	/* the record */
	_Atomic uint64_t received, sent, acked_by_peer;
	atomic_uint wrong, ups, downs, commits, hurries;
	/* the callback that the link has set */
	void (*dirty)(void *ctx);
	void *dirty_ctx;
};

/* A group becomes open. */
void fake_write(struct volume *v, uint64_t bytes);

#endif
