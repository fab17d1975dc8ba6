/* SPDX-License-Identifier: MIT */
#include "node/events.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "node/words.h"
#include "util/util.h"

/* How soon a follower that has hung up is noticed while nothing happens. */
#define LOOK_MS 250
/* How long a follower that reads slowly is waited for at the end. */
#define END_MS 1000

struct events {
	pthread_mutex_t lock; /* protects all below, but not what the events say: that never changes */
	pthread_cond_t changed; /* one was added, a follower has left, or it is the end */
	json_t *ring[EVENTS_KEPT];
	uint64_t n; /* added so far; number i is at ring[i % EVENTS_KEPT] */
	unsigned followers;
	bool ended;
};

struct events *events_new(void)
{
	struct events *e = xcalloc(1, sizeof(*e));

	pthread_mutex_init(&e->lock, NULL);
	cond_init_mono(&e->changed);
	return e;
}

void events_free(struct events *e)
{
	if (!e)
		return;
	for (size_t i = 0; i < EVENTS_KEPT; i++)
		json_decref(e->ring[i]);
	pthread_cond_destroy(&e->changed);
	pthread_mutex_destroy(&e->lock);
	free(e);
}

static void stamp(json_t *event)
{
	json_object_set_new(event, "time", words_time(clock_real_ms()));
}

void events_add(struct events *e, json_t *event)
{
	json_t *old;

	if (!event)
		return;
	stamp(event);
	pthread_mutex_lock(&e->lock);
	old = e->ring[e->n % EVENTS_KEPT];
	e->ring[e->n++ % EVENTS_KEPT] = event;
	pthread_cond_broadcast(&e->changed);
	pthread_mutex_unlock(&e->lock);
	json_decref(old);
}

bool events_followed(struct events *e)
{
	bool any;

	pthread_mutex_lock(&e->lock);
	any = e->followers > 0;
	pthread_mutex_unlock(&e->lock);
	return any;
}

static void wait_a_moment(struct events *e)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += LOOK_MS * 1000000L;
	until.tv_sec += until.tv_nsec / NS_PER_S;
	until.tv_nsec %= NS_PER_S;
	pthread_cond_timedwait(&e->changed, &e->lock, &until);
}

void events_end(struct events *e)
{
	uint64_t until_ms = clock_mono_ms() + END_MS;

	pthread_mutex_lock(&e->lock);
	e->ended = true;
	pthread_cond_broadcast(&e->changed);
	while (e->followers > 0 && clock_mono_ms() < until_ms)
		wait_a_moment(e);
	pthread_mutex_unlock(&e->lock);
}

/* The event number *next, or one that says how many were lost before it; NULL: none yet. *end: there will be none. */
static json_t *take(struct events *e, uint64_t *next, bool *end)
{
	json_t *event = NULL;
	uint64_t lost;

	pthread_mutex_lock(&e->lock);
	if (*next == e->n && !e->ended)
		wait_a_moment(e);
	lost = e->n - *next > EVENTS_KEPT ? e->n - EVENTS_KEPT - *next : 0;
	*end = *next == e->n && e->ended;
	if (!lost && *next < e->n)
		event = json_incref(e->ring[(*next)++ % EVENTS_KEPT]);
	pthread_mutex_unlock(&e->lock);
	if (lost) {
		*next += lost;
		event = json_pack("{s:s, s:I, s:s}", "event", "lost", "count", (json_int_t)lost, "text",
		                  "some events were lost: they came faster than they were read");
		stamp(event);
	}
	return event;
}

static int follower_add(struct events *e, uint64_t *next, struct err *err)
{
	int rc = 0;

	pthread_mutex_lock(&e->lock);
	if (e->followers == EVENTS_FOLLOWERS_MAX)
		rc = err_set(err, -EBUSY, "%d followers are there already; end one of them first",
		             EVENTS_FOLLOWERS_MAX);
	else
		e->followers++;
	*next = e->n;
	pthread_mutex_unlock(&e->lock);
	return rc;
}

static int hand_out(struct control_client *client, json_t *event)
{
	int rc = event ? control_send(client, event) : 0;

	json_decref(event);
	return rc;
}

int events_follow(struct events *e, struct control_client *client, json_t *first, struct err *err)
{
	uint64_t next;
	bool end = false;
	int rc = control_hold(client, err);

	if (!rc)
		rc = follower_add(e, &next, err);
	if (rc) {
		json_decref(first);
		return rc;
	}
	if (first)
		stamp(first);
	rc = hand_out(client, first);
	while (!rc && !end && !control_gone(client))
		rc = hand_out(client, take(e, &next, &end));
	pthread_mutex_lock(&e->lock);
	e->followers--;
	pthread_cond_broadcast(&e->changed);
	pthread_mutex_unlock(&e->lock);
	return 0; /* a follower that has gone is no failure */
}
