/* SPDX-License-Identifier: MIT */
/*
 * link_private: what link.c (the functions that others call, the state that people see) and link_thread.c (the link's
 * thread) share.
 *
 * The link's thread moves frames between the engine and the channel, commits while apart, and says what state all this
 * is in. The sockets are the channel's (one more thread, see channel.h): however long the engine takes here, the peer
 * hears our heartbeats.
 *
 * mode: what people want.
 *
 *   RUN ──pause──► DRAIN ──settled, or time is up──► LEAVE ──peer closed, or 1 s──► DOWN ──resume──► RUN
 *                    └────────────── no connection ─────────────────────────────────►┘
 *
 * Lock: link.lock, held for moments, never while calling the engine, the volume or who listens for changes; the
 * channel's lock may be taken under it. Fields without a word about it are the link thread's own.
 */
#ifndef TWINFS_SYNC_LINK_PRIVATE_H
#define TWINFS_SYNC_LINK_PRIVATE_H

#include <pthread.h>

#include "sync/channel.h"
#include "sync/link.h"
#include "sync/record.h"

/* What we keep ready for the channel; more would only age there. */
#define OUT_TARGET_BYTES (1u << 20)
#define PULL_BYTES (256u << 10)
/* Waiting for the first connection is called connecting so long, and disconnected after that. */
#define CONNECTING_MS 5000u

enum mode { MODE_RUN, MODE_DRAIN, MODE_LEAVE, MODE_DOWN };

struct link {
	struct volume *v;
	struct engine *engine;
	struct channel *channel;
	unsigned commit_interval_ms;
	bool dials;
	void (*changed_fn)(void *ctx);
	void *changed_ctx;
	pthread_t thread;

	pthread_mutex_t lock;
	pthread_cond_t wake;     /* for the link's thread; monotonic clock */
	pthread_cond_t changed;  /* for those who wait for it */
	/* under lock */
	bool event, dirty, stop, paired;
	bool restart;            /* resumed: forget old failures */
	/* Paused by ourselves (pause_reason says it): for what the peer deleted, which waits for a person; or for the
	 * room that its changes need, which ends by itself. */
	enum { HELD_NOT, HELD_DELETIONS, HELD_ROOM } held;
	bool confirm_deletions;  /* resumed with a person's word that it is meant */
	enum mode mode;
	char pause_reason[256];
	uint64_t drain_until_ms;
	int drain_result;
	unsigned waiters;
	uint64_t asked, answered; /* link_wait_synced: questions, and up to which one `unsettled` answers */
	const char *unsettled;   /* what keeps it from being settled; "" when it is, NULL without a stream */
	struct link_status st;   /* engine and byte counts are filled in when asked for */

	/* the connection as this thread sees it */
	bool up;
	uint64_t id;
	uint64_t taken_bytes, told_bytes, confirmed_bytes;
	struct buf in, out;
	int hold;                /* HELD_*: the engine holds a shipment back: leave, for hold_reason */
	char hold_reason[256];
	struct room_wait {       /* HELD_ROOM */
		uint64_t group;          /* our last one when there was no room: once it is out, only waiting helps */
		uint64_t need_bytes;     /* as much must be free */
		uint64_t look_ms, try_ms, every_ms;
		bool over;               /* try again */
	} room;
	bool closing;            /* goodbye is said: nothing more goes to or comes from the engine */

	/* what happened so far */
	uint64_t failures;       /* of the channel, looked at */
	bool failed, peer_paused, needs_person, no_room;
	char last_error[512], peer_reason[300], peer_name[40];
	uint64_t connecting_since_ms;
	uint64_t commit_at_ms;   /* UINT64_MAX: nothing is dirty */
	bool commit_failed;
};

/* Under lock. */
bool link_is_settled(const struct link *l);
/* Under lock: bring l->st up to date. True: tell whoever listens (link_announce). */
bool link_derive(struct link *l, const struct engine_status *es, uint64_t now_ms);
/* Without the lock; st is a copy. */
void link_announce(const struct link *l, const struct link_status *st);

void *link_main(void *arg);
void link_on_event(void *ctx); /* the channel's callback */
void link_on_dirty(void *ctx); /* the volume's callback */

#endif
