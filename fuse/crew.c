/* SPDX-License-Identifier: MIT */
#include "fuse/crew.h"

#include <assert.h>
#include <poll.h>
#include <sched.h>
#include <time.h>

#include "util/util.h"

/* 2^7 - 1 sleeps without asking at the most: in vain it takes less than a hundredth of the time then. */
#define IN_VAIN_MAX 7u

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

static bool many_cpus(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) != 0 || CPU_COUNT(&set) > 1;
}

void crew_init(struct crew *c, unsigned watch_us)
{
	*c = (struct crew){ .watch_us = watch_us, .may_ask = many_cpus(), .free = true };
	pthread_mutex_init(&c->lock, NULL);
	cond_init_mono(&c->watch);
	cond_init_mono(&c->reserve);
}

void crew_release(struct crew *c)
{
	pthread_cond_destroy(&c->reserve);
	pthread_cond_destroy(&c->watch);
	pthread_mutex_destroy(&c->lock);
}

/* ---- those that sleep; lock held ----------------------------------------------------------------- */

static void sleep_for(struct crew *c)
{
	uint64_t until = now_ns() + (uint64_t)c->watch_us * 1000;
	struct timespec t = { .tv_sec = (time_t)(until / NS_PER_S), .tv_nsec = (long)(until % NS_PER_S) };

	pthread_cond_timedwait(&c->watch, &c->lock, &t);
}

/* Each side first says what it does and then looks at the other (all in one order): so a request that comes now either
 * is seen here, or wakes us. */
static void sleep_till_request(struct crew *c, uint64_t seen)
{
	atomic_store(&c->asleep, true);
	while (atomic_load(&c->asleep) && atomic_load(&c->turn) == seen && !c->free && !c->ended)
		pthread_cond_wait(&c->watch, &c->lock);
	atomic_store(&c->asleep, false);
}

/* True: the turn is taken from one that has handled the same request all the while. */
static bool watch(struct crew *c)
{
	uint64_t seen = atomic_load(&c->turn);

	while (!c->free && !c->ended) {
		sleep_for(c);
		uint64_t now = atomic_load(&c->turn);

		if (now == seen && now % 2 == 0) {
			sleep_till_request(c, seen);
			now = atomic_load(&c->turn);
		} else if (now == seen && atomic_compare_exchange_strong(&c->turn, &now, now + 1)) {
			return true;
		}
		seen = now;
	}
	return false;
}

bool crew_join(struct crew *c)
{
	bool mine = false;

	pthread_mutex_lock(&c->lock);
	while (!mine && !c->ended) {
		if (c->free) {
			c->free = false;
			mine = true;
		} else if (c->watched) {
			pthread_cond_wait(&c->reserve, &c->lock);
		} else {
			c->watched = true;
			mine = watch(c);
			c->watched = false;
		}
	}
	if (!c->watched)
		pthread_cond_signal(&c->reserve);
	mine = mine && !c->ended;
	pthread_mutex_unlock(&c->lock);
	return mine;
}

/* ---- whose turn it is ---------------------------------------------------------------------------- */

void crew_ask(struct crew *c, int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	uint64_t until;

	if (!c->may_ask)
		return;
	if (c->sleeps_left > 0) {
		c->sleeps_left--;
		return;
	}
	until = now_ns() + (uint64_t)CREW_ASK_US * 1000;
	do {
		if (poll(&p, 1, 0) != 0) {
			c->asked_in_vain = 0;
			return;
		}
	} while (now_ns() < until);
	c->asked_in_vain = MIN(c->asked_in_vain + 1, IN_VAIN_MAX);
	c->sleeps_left = (1u << c->asked_in_vain) - 1;
}

void crew_took(struct crew *c, struct crew_hand *h)
{
	h->turn = atomic_fetch_add(&c->turn, 1) + 1;
	assert(h->turn % 2 == 1);
	if (!atomic_load(&c->asleep))
		return;
	pthread_mutex_lock(&c->lock);
	atomic_store(&c->asleep, false);
	pthread_cond_signal(&c->watch);
	pthread_mutex_unlock(&c->lock);
}

void crew_pass(struct crew *c, const struct crew_hand *h)
{
	uint64_t mine = h->turn;

	if (!atomic_compare_exchange_strong(&c->turn, &mine, mine + 1))
		return; /* it was passed or taken */
	pthread_mutex_lock(&c->lock);
	c->free = true;
	pthread_cond_signal(&c->watch);
	pthread_mutex_unlock(&c->lock);
}

bool crew_done(struct crew *c, const struct crew_hand *h)
{
	uint64_t mine = h->turn;

	return atomic_compare_exchange_strong(&c->turn, &mine, mine + 1);
}

void crew_end(struct crew *c)
{
	pthread_mutex_lock(&c->lock);
	c->ended = true;
	pthread_cond_broadcast(&c->watch);
	pthread_cond_broadcast(&c->reserve);
	pthread_mutex_unlock(&c->lock);
}
