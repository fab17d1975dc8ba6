/* SPDX-License-Identifier: MIT */
#include "core/committer.h"

#include "core/data_store.h"
#include "core/internal.h"
#include "util/log.h"

void committer_init(struct committer *c)
{
	pthread_cond_init(&c->changed, NULL);
}

void committer_release(struct committer *c)
{
	pthread_cond_destroy(&c->changed);
}

static void *committer_main(void *arg)
{
	struct volume *v = arg;
	struct committer *c = &v->committer;

	log_thread_name("committer");
	pthread_mutex_lock(&v->lock);
	while (!c->stop) {
		if (!c->asked) {
			pthread_cond_wait(&c->changed, &v->lock);
			continue;
		}
		c->asked = false;
		bool full = group_is_full(v, 1);

		pthread_mutex_unlock(&v->lock);
		image_stream_begin(v->data->image);
		if (full)
			volume_commit(v); /* whoever loses by its failure is told (volume.h) */
		log_thread_wait(v);
		pthread_mutex_lock(&v->lock);
	}
	pthread_mutex_unlock(&v->lock);
	return NULL;
}

bool committer_ask(struct volume *v)
{
	struct committer *c = &v->committer;

	if (!v->opt.commit_aside || c->stop)
		return false;
	if (!c->made)
		c->made = pthread_create(&c->thread, NULL, committer_main, v) == 0;
	if (c->made && !c->asked) {
		c->asked = true;
		pthread_cond_signal(&c->changed);
	}
	return c->made;
}

void committer_stop(struct volume *v)
{
	struct committer *c = &v->committer;

	pthread_mutex_lock(&v->lock);
	c->stop = true;
	pthread_cond_signal(&c->changed);
	bool made = c->made;

	pthread_mutex_unlock(&v->lock);
	if (made)
		pthread_join(c->thread, NULL);
	c->made = false;
}
