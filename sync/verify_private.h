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
	uint64_t ended; /* the one before: what the peer still offers for it is not wanted */
	enum {
		ASK_NONE,
		ASK_MOMENT, /* as in verify.h */
		ASK_AT,
		ASK_TAKEN,  /* questions and answers, one after the other */
		ASK_BROKEN, /* the connection ended */
	} state;
	bool again;         /* in MOMENT: a mark of ours is wanted */
	struct past *pin;   /* AT: to be taken */
	uint64_t peer_group;
	bool asks, answered;
	struct rec_verify question, answer;
	struct digest_item items[VERIFY_MAX_ITEMS]; /* of the answer */

	/* the engine's thread alone */
	struct mark {
		uint64_t run; /* 0: none */
		enum { MARK_WANTED, MARK_CUT, MARK_MARKED } state;
		uint64_t group, seen;
		struct past *pin;
	} mine, offered; /* of our run, and of the peer's */
	struct buf out;
	uint64_t served_run; /* of the peer's run */
	struct past *served;
	uint64_t served_at_ms;
	struct digest_item own[VERIFY_MAX_ITEMS];
};

#endif
