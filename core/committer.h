/* SPDX-License-Identifier: MIT */
/*
 * committer: the thread that commits groups which have grown large, and hands streams of data to the disk, so that
 * whoever writes need not wait for either. Private to core/.
 *
 * It does what volume_commit does, no more: who fills the group goes on meanwhile, in the same group until the commit
 * takes the lock, and then in the next. So nothing about what a crash leaves depends on it. What bounds the group then
 * is that who has made it twice as large as it should be commits it himself, or waits for the commit under way.
 *
 * Started when it is needed first (a process may fork after volume_open), and only if volume_options.commit_aside.
 */
#ifndef TWINFS_CORE_COMMITTER_H
#define TWINFS_CORE_COMMITTER_H

#include <pthread.h>
#include <stdbool.h>

struct volume;

/* The volume's lock protects it. */
struct committer {
	pthread_t thread;
	pthread_cond_t changed;
	bool made, asked, stop;
};

void committer_init(struct committer *c);
/* Lock held: have the open group committed if it is full, and what streams have filled be written. False: there is no
 * such thread, so the caller does it. */
bool committer_ask(struct volume *v);
/* Without the lock: end the thread. The open group stays open. */
void committer_stop(struct volume *v);
void committer_release(struct committer *c);

#endif
