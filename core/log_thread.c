/* SPDX-License-Identifier: MIT */
#include "core/log_thread.h"

#include "core/internal.h"
#include "db/mover.h"
#include "util/log.h"
#include "util/util.h"

#include <errno.h>
#include <string.h>
#include <time.h>

/* Each covers what was committed during the one before, so they get shorter, unless who commits is as fast. */
#define PASSES_MAX 4u
/* It ends when so small a share is left as a commit moves itself, and some more come until then. */
#define LEFT_SHARE 64u
/* So many times too long, and who fills the log waits. */
#define BEHIND 2u
#define WAIT_MAX_S 1

void log_thread_init(struct log_thread *t)
{
	cond_init_mono(&t->changed);
}

void log_thread_release(struct log_thread *t)
{
	pthread_cond_destroy(&t->changed);
}

/* It would only grow, and none of it ever be moved. Lock held. */
static void damaged(struct volume *v)
{
	db_log_is_damaged(v->db, db_mover_damaged(v->log_thread.mover));
	pthread_mutex_unlock(&v->lock);
	volume_lock_now(v); /* as those take it that have something to tell: what is lost with the open group */
	group_fault(v, -EUCLEAN, "its log is not what was written to it");
	volume_unlock(v);
	pthread_mutex_lock(&v->lock);
}

/* Lock held, but while it moves. */
static void move_log(struct volume *v)
{
	struct log_thread *t = &v->log_thread;
	unsigned enough = db_log_limit_pages(v->db) / LEFT_SHARE, pages, moved;

	for (unsigned i = 0; i < PASSES_MAX && !t->stop && db_log_left(v->db) > enough; i++) {
		struct db_log_part part = db_log_to_move(v->db);

		pthread_mutex_unlock(&v->lock);
		int rc = db_mover_run(t->mover, part, &pages, &moved);

		pthread_mutex_lock(&v->lock);
		if (rc == -EUCLEAN) {
			damaged(v);
			return;
		}
		if (rc) { /* the next commit asks again; what is wrong with the host it finds itself */
			log_debug("db", "%s: the log was not moved: %s", v->dir, strerror(-rc));
			return;
		}
		db_log_was_moved(v->db, pages, moved);
	}
}

static void *log_thread_main(void *arg)
{
	struct volume *v = arg;
	struct log_thread *t = &v->log_thread;

	log_thread_name("log");
	pthread_mutex_lock(&v->lock);
	while (!t->stop) {
		if (!t->asked) {
			pthread_cond_wait(&t->changed, &v->lock);
			continue;
		}
		t->asked = false;
		t->busy = true;
		move_log(v);
		t->busy = false;
		atomic_store(&t->behind, false);
		pthread_cond_broadcast(&t->changed);
	}
	pthread_mutex_unlock(&v->lock);
	return NULL;
}

static bool start(struct volume *v)
{
	struct log_thread *t = &v->log_thread;
	int rc = db_mover_open(v->db, &t->mover);

	if (!rc)
		rc = -pthread_create(&t->thread, NULL, log_thread_main, v);
	if (rc) {
		log_warn("%s: no thread for the database's log: %s; commits move it", v->dir, strerror(-rc));
		db_mover_close(t->mover);
		t->mover = NULL;
		t->stop = true;
		db_log_limit(v->db, false, v->opt.log_pages);
		return false;
	}
	t->made = true;
	return true;
}

void log_thread_ask(struct volume *v)
{
	struct log_thread *t = &v->log_thread;

	if (!db_log_is_long(v->db, 1) || !v->opt.commit_aside || t->stop || (!t->made && !start(v)))
		return;
	atomic_store(&t->behind, db_log_is_long(v->db, BEHIND));
	t->asked = true;
	pthread_cond_broadcast(&t->changed);
}

void log_thread_wait(struct volume *v)
{
	struct log_thread *t = &v->log_thread;
	struct timespec until;

	if (!atomic_load(&t->behind))
		return;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += WAIT_MAX_S;
	pthread_mutex_lock(&v->lock);
	while (atomic_load(&t->behind) && (t->asked || t->busy) && !t->stop)
		if (pthread_cond_timedwait(&t->changed, &v->lock, &until) == ETIMEDOUT)
			break;
	pthread_mutex_unlock(&v->lock);
}

void log_thread_stop(struct volume *v)
{
	struct log_thread *t = &v->log_thread;

	pthread_mutex_lock(&v->lock);
	t->stop = true;
	pthread_cond_broadcast(&t->changed);
	bool made = t->made;

	pthread_mutex_unlock(&v->lock);
	if (made)
		pthread_join(t->thread, NULL);
	t->made = false;
	if (v->db)
		db_log_limit(v->db, false, v->opt.log_pages);
	db_mover_close(t->mover);
	t->mover = NULL;
}
