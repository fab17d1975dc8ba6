/* SPDX-License-Identifier: MIT */
/*
 * log_thread: the thread that moves the database's log into the database (db/mover.h), so that nobody has to do that
 * under the volume's lock, with the flush of the database in it. Private to core/.
 *
 * A commit that leaves a log of DB_LOG_PAGES asks for it. What is committed meanwhile stays in the log; it is moved in
 * further, shorter passes, and the little that is left in the end by a commit, so that the log begins anew. Who makes
 * the log grow faster than it can be moved waits for the thread (log_thread_wait), without the lock; and if the log has
 * grown four times as long all the same, a commit moves it.
 *
 * Nothing about what a crash leaves depends on it. Started when it is needed first, and only if
 * volume_options.commit_aside; without it commits do all of that.
 */
#ifndef TWINFS_CORE_LOG_THREAD_H
#define TWINFS_CORE_LOG_THREAD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct db_mover;
struct volume;

/* The volume's lock protects it, but where said. */
struct log_thread {
	pthread_t thread;
	pthread_cond_t changed;
	struct db_mover *mover; /* the thread's own */
	bool made, asked, busy, stop;
	atomic_bool behind;     /* the log is so long that who fills it waits */
};

void log_thread_init(struct log_thread *t);
void log_thread_release(struct log_thread *t);
/* Lock held, after a commit: have the log moved if it is long. */
void log_thread_ask(struct volume *v);
/* Without the lock: who fills the log lets the thread catch up, for a second at most. Cheap while it has. */
void log_thread_wait(struct volume *v);
/* Without the lock: end the thread. */
void log_thread_stop(struct volume *v);

#endif
