/* SPDX-License-Identifier: MIT */
#include "node/baseline_mounts.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fuse/front.h"
#include "node/words.h"
#include "util/log.h"
#include "util/util.h"

struct slot {
	struct baseline_mounts *b;
	enum { SLOT_FREE, SLOT_STARTING, SLOT_SERVING, SLOT_DONE } state; /* DONE: the thread wants to be joined */
	struct front *front;
	struct past *past;
	uint64_t since_ms;
	pthread_t thread;
};

struct baseline_mounts {
	struct volume *v;
	pthread_mutex_t lock; /* protects the slots and `stopping` */
	bool stopping;
	struct slot slots[BASELINE_MOUNTS_MAX];
};

struct baseline_mounts *baseline_mounts_new(struct volume *v)
{
	struct baseline_mounts *b = xcalloc(1, sizeof(*b));

	b->v = v;
	pthread_mutex_init(&b->lock, NULL);
	for (size_t i = 0; i < BASELINE_MOUNTS_MAX; i++)
		b->slots[i].b = b;
	return b;
}

/* What it held is free before anybody can see that it is over. */
static void *serve(void *arg)
{
	struct slot *s = arg;
	struct front *front = s->front;
	char *where = xstrdup(front_mountpoint(front));
	int rc;

	log_thread_name("baseline");
	rc = front_run(front);
	if (rc)
		log_warn("the baseline's mount at %s broke: %s", where, strerror(-rc));
	pthread_mutex_lock(&s->b->lock);
	s->front = NULL; /* nobody may stop it any more */
	pthread_mutex_unlock(&s->b->lock);
	front_free(front);
	past_close(s->past);
	log_info("the baseline is unmounted from %s", where);
	free(where);
	pthread_mutex_lock(&s->b->lock);
	s->state = SLOT_DONE;
	pthread_mutex_unlock(&s->b->lock);
	return NULL;
}

/* A free slot, now SLOT_STARTING; NULL with a text. */
static struct slot *slot_take(struct baseline_mounts *b, struct err *err)
{
	struct slot *found = NULL;

	pthread_mutex_lock(&b->lock);
	for (size_t i = 0; i < BASELINE_MOUNTS_MAX && !b->stopping; i++) {
		struct slot *s = &b->slots[i];

		if (s->state == SLOT_DONE) {
			pthread_join(s->thread, NULL); /* it has nothing left to do */
			s->state = SLOT_FREE;
		}
		if (s->state == SLOT_FREE && !found)
			found = s;
	}
	if (found)
		found->state = SLOT_STARTING;
	else if (b->stopping)
		err_set(err, -ESHUTDOWN, "%s is being unmounted", volume_dir(b->v));
	else
		err_set(err, -EBUSY, "%d baselines of %s are mounted already; unmount one of them first",
		        BASELINE_MOUNTS_MAX, volume_dir(b->v));
	pthread_mutex_unlock(&b->lock);
	return found;
}

static int slot_mount(struct slot *s, const char *mountpoint, const char *options, struct err *err)
{
	struct front_options opt = { .mountpoint = mountpoint, .fsname = volume_dir(s->b->v), .options = options };
	int rc = past_open(s->b->v, &s->past, err);

	if (rc)
		return rc;
	opt.past = s->past;
	rc = front_mount(s->b->v, &opt, &s->front, err);
	if (rc) {
		past_close(s->past);
		s->front = NULL;
	}
	return rc;
}

int baseline_mounts_add(struct baseline_mounts *b, const char *mountpoint, const char *options, uint64_t *group,
                        struct err *err)
{
	struct slot *s = slot_take(b, err);
	int rc;

	if (!s)
		return err->code;
	rc = slot_mount(s, mountpoint, options, err);
	pthread_mutex_lock(&b->lock);
	if (!rc) {
		*group = past_group(s->past);
		s->since_ms = clock_real_ms();
		if (b->stopping)
			front_stop(s->front);
		rc = -pthread_create(&s->thread, NULL, serve, s);
		if (rc) {
			err_set(err, rc, "cannot start a thread: %s", strerror(-rc));
			front_free(s->front);
			past_close(s->past);
			s->front = NULL;
		}
	}
	s->state = rc ? SLOT_FREE : SLOT_SERVING;
	pthread_mutex_unlock(&b->lock);
	if (!rc)
		log_info("the baseline of group %llu is mounted at %s", (unsigned long long)*group, mountpoint);
	return rc;
}

json_t *baseline_mounts_list(struct baseline_mounts *b)
{
	json_t *list = json_array();

	pthread_mutex_lock(&b->lock);
	for (size_t i = 0; i < BASELINE_MOUNTS_MAX; i++) {
		const struct slot *s = &b->slots[i];

		if (s->state == SLOT_SERVING && s->front)
			json_array_append_new(list, json_pack("{s:o, s:I, s:o}", "mountpoint",
			                                      words_path(front_mountpoint(s->front)), "group",
			                                      (json_int_t)past_group(s->past), "since",
			                                      words_time(s->since_ms)));
	}
	pthread_mutex_unlock(&b->lock);
	return list;
}

/* True while one is just being mounted. */
static bool stop_each(struct baseline_mounts *b)
{
	bool starting = false;

	pthread_mutex_lock(&b->lock);
	b->stopping = true;
	for (size_t i = 0; i < BASELINE_MOUNTS_MAX; i++) {
		if (b->slots[i].state == SLOT_SERVING && b->slots[i].front)
			front_stop(b->slots[i].front);
		starting |= b->slots[i].state == SLOT_STARTING;
	}
	pthread_mutex_unlock(&b->lock);
	return starting;
}

void baseline_mounts_stop(struct baseline_mounts *b)
{
	const struct timespec step = { .tv_nsec = 20000000 };

	while (stop_each(b))
		nanosleep(&step, NULL);
	for (size_t i = 0; i < BASELINE_MOUNTS_MAX; i++) {
		struct slot *s = &b->slots[i];
		bool ran;

		pthread_mutex_lock(&b->lock);
		ran = s->state != SLOT_FREE;
		pthread_mutex_unlock(&b->lock);
		if (ran)
			pthread_join(s->thread, NULL);
		s->state = SLOT_FREE;
	}
}

void baseline_mounts_free(struct baseline_mounts *b)
{
	if (!b)
		return;
	pthread_mutex_destroy(&b->lock);
	free(b);
}
