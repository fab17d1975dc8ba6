/* SPDX-License-Identifier: MIT */
/*
 * crew: whose turn it is to take the next request from the kernel. One worker takes and handles them, one after the
 * other, and the rest sleep: two that take turns wake each other for each request and stand in each other's way, which
 * costs more than a short request does.
 *
 * What takes long does not hold up the others. The turn goes to one that sleeps
 * - at once, when the handler says that it will take long (crew_pass): it waits for the disk, or for somebody;
 * - else when one request has been handled for long: among those that sleep one watches, and takes the turn after
 *   watch_us at the least and twice that at the most (and what the machine takes to run it). It watches only while
 *   requests come, and sleeps for good when there was none for watch_us.
 * A worker that lost its turn sleeps when it has finished. So with n workers n - 1 requests may be stuck.
 *
 * Being woken takes longer than many a request. So whose turn it is asks /dev/fuse for CREW_ASK_US before it sleeps
 * there, if that pays: when nothing came the next sleeps are without it, twice as many each time, up to 127; when
 * something did it asks each time again. Where the process has one CPU nobody asks: who would send a request could not
 * run.
 *
 * An idle crew uses no CPU: everyone sleeps without limit. Asking happens after work alone.
 *
 * A worker's loop: crew_join, then as long as it is its turn: crew_ask, read, crew_took, handle, crew_done.
 */
#ifndef TWINFS_FUSE_CREW_H
#define TWINFS_FUSE_CREW_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define CREW_ASK_US 25u

struct crew {
	unsigned watch_us;
	bool may_ask;           /* there is more than one CPU */
	/* Odd: a request is being handled by whose turn it is. Whoever makes it even has the turn from then on. */
	_Atomic uint64_t turn;
	atomic_bool asleep;     /* who watches is to be woken by the next request */
	/* Of whose turn it is: */
	unsigned asked_in_vain; /* so many times in a row */
	unsigned sleeps_left;   /* before it asks again */

	pthread_mutex_t lock;   /* protects all below */
	pthread_cond_t watch;   /* for who watches: the turn is free, a request came after none did, it is over */
	pthread_cond_t reserve; /* for the others: nobody watches, it is over */
	bool free;              /* the turn is nobody's */
	bool watched;
	bool ended;
};

/* A worker's own. */
struct crew_hand {
	uint64_t turn; /* as it was when the request at hand was taken */
};

void crew_init(struct crew *c, unsigned watch_us);
void crew_release(struct crew *c);
/* Sleeps until it is the caller's turn. False: it is over. Not to be cancelled meanwhile. */
bool crew_join(struct crew *c);
/* Before a read of fd that may sleep. */
void crew_ask(struct crew *c, int fd);
/* A request was read, and is to be handled. */
void crew_took(struct crew *c, struct crew_hand *h);
/* By a handler: it will take long. As often as one likes. */
void crew_pass(struct crew *c, const struct crew_hand *h);
/* It was handled. True: it is still the caller's turn; else it is to join again. */
bool crew_done(struct crew *c, const struct crew_hand *h);
/* Nobody gets a turn any more; who has it keeps it. Any thread. */
void crew_end(struct crew *c);

#endif
