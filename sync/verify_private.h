/* SPDX-License-Identifier: MIT */
/* verify_private: the mailbox between verify.c (the engine's thread) and verify_run.c (who asks). */
#ifndef TWINFS_SYNC_VERIFY_PRIVATE_H
#define TWINFS_SYNC_VERIFY_PRIVATE_H

#include <pthread.h>

#include "sync/verify.h"

struct verify {
	struct volume *v;
	void (*kick)(void *ctx);
	void *kick_ctx;

	pthread_mutex_t lock;
	pthread_cond_t came; /* for who asks; monotonic clock */
	/* under lock: of the run of this side; 0: there is none */
	uint64_t run;
	enum {
		ASK_NONE,
		ASK_WANTED, ASK_CUT, ASK_MARKED, /* as in verify.h */
		ASK_BUSY,                        /* the peer said so: who asks wants it again, a little later */
		ASK_AT,                          /* the pin waits to be taken */
		ASK_TAKEN,                       /* questions and answers, one after the other */
		ASK_BROKEN,                      /* the connection ended */
	} state;
	struct past *pin;
	uint64_t group, seen, peer_group;
	bool asks, answered;
	struct rec_verify question, answer;
	struct digest_item items[VERIFY_MAX_ITEMS]; /* of the answer */

	/* the engine's thread alone */
	struct buf out;
	uint64_t served_run; /* of the peer's run */
	struct past *served;
	uint64_t served_at_ms;
	struct digest_item own[VERIFY_MAX_ITEMS];
};

#endif
