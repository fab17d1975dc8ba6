/* SPDX-License-Identifier: MIT */
/*
 * The syncer: a thread that answers fsync, and with -o sync or dirsync whatever changes something. A commit takes
 * milliseconds, and with -o sync=peer a round trip; were it done by the workers, two fsyncs would stop all reading and
 * writing. All requests that wait when a commit begins are answered by it. A file of which changes were lost in an
 * earlier commit that failed hears of it now.
 */
#include "fuse/internal.h"

#include <errno.h>
#include <stdlib.h>

#include "util/log.h"
#include "util/util.h"

struct waiting {
	fuse_req_t req;
	uint64_t ino;
	enum { ANSWER_DONE, ANSWER_ENTRY, ANSWER_ATTR, ANSWER_COUNT } answer;
	union {
		struct fuse_entry_param entry;
		struct stat st;
		size_t count_bytes;
	};
};

struct syncer {
	struct front *front;
	pthread_t thread;
	pthread_mutex_t lock; /* protects all below */
	pthread_cond_t changed;
	struct waiting *waiting; /* bounded by the threads that can call something */
	size_t n, cap;
	bool stop;
};

static void answer(struct front *f, const struct waiting *w, int rc)
{
	if (rc) {
		if (w->answer == ANSWER_ENTRY)
			known_drop(f, w->entry.ino, 1);
		fuse_reply_err(w->req, -rc);
	} else if (w->answer == ANSWER_ENTRY) {
		if (fuse_reply_entry(w->req, &w->entry) != 0)
			known_drop(f, w->entry.ino, 1);
	} else if (w->answer == ANSWER_ATTR) {
		/* Perhaps old by now: not to be believed. */
		fuse_reply_attr(w->req, &w->st, 0);
	} else if (w->answer == ANSWER_COUNT) {
		fuse_reply_write(w->req, w->count_bytes);
	} else {
		fuse_reply_err(w->req, 0);
	}
}

static void commit_and_answer(struct syncer *s, struct waiting *list, size_t n)
{
	struct front *f = s->front;
	int rc = f->fsync_hook ? f->fsync_hook(f->hook_ctx) : volume_commit(f->v);

	for (size_t i = 0; i < n; i++) {
		/* Told now, and not again. */
		int lost = list[i].ino ? volume_lost(f->v, list[i].ino) : 0;

		answer(f, &list[i], rc ? rc : lost);
	}
	free(list);
}

static void *syncer_main(void *arg)
{
	struct syncer *s = arg;

	log_thread_name("syncer");
	pthread_mutex_lock(&s->lock);
	while (s->n > 0 || !s->stop) {
		struct waiting *list = s->waiting;
		size_t n = s->n;

		if (n == 0) {
			pthread_cond_wait(&s->changed, &s->lock);
			continue;
		}
		s->waiting = NULL;
		s->n = s->cap = 0;
		pthread_mutex_unlock(&s->lock);
		commit_and_answer(s, list, n);
		pthread_mutex_lock(&s->lock);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

struct syncer *syncer_start(struct front *f)
{
	struct syncer *s = xcalloc(1, sizeof(*s));

	s->front = f;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->changed, NULL);
	if (pthread_create(&s->thread, NULL, syncer_main, s) != 0) {
		free(s);
		return NULL;
	}
	return s;
}

static void add(struct syncer *s, const struct waiting *w)
{
	pthread_mutex_lock(&s->lock);
	if (s->n == s->cap) {
		s->cap = s->cap ? s->cap * 2 : 8;
		s->waiting = xrealloc(s->waiting, s->cap * sizeof(*s->waiting));
	}
	s->waiting[s->n++] = *w;
	pthread_cond_signal(&s->changed);
	pthread_mutex_unlock(&s->lock);
}

void syncer_add(struct syncer *s, fuse_req_t req, uint64_t ino)
{
	add(s, &(struct waiting){ .req = req, .ino = ino });
}

void syncer_add_entry(struct syncer *s, fuse_req_t req, const struct fuse_entry_param *entry)
{
	struct waiting w = { .req = req, .answer = ANSWER_ENTRY, .entry = *entry };

	/* What is told to the kernel meanwhile meets a name that it does not know yet: not to be believed either. */
	w.entry.attr_timeout = w.entry.entry_timeout = 0;
	add(s, &w);
}

void syncer_add_attr(struct syncer *s, fuse_req_t req, const struct stat *st)
{
	add(s, &(struct waiting){ .req = req, .answer = ANSWER_ATTR, .st = *st });
}

void syncer_add_count(struct syncer *s, fuse_req_t req, size_t count_bytes)
{
	add(s, &(struct waiting){ .req = req, .answer = ANSWER_COUNT, .count_bytes = count_bytes });
}

void syncer_stop(struct syncer *s)
{
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	pthread_cond_signal(&s->changed);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	pthread_cond_destroy(&s->changed);
	pthread_mutex_destroy(&s->lock);
	free(s->waiting);
	free(s);
}
