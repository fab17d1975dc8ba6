/* SPDX-License-Identifier: MIT */
#include "fuse/gate.h"

#include <assert.h>

void gate_init(struct gate *g)
{
	atomic_init(&g->inside, 0);
	atomic_init(&g->closed, false);
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->changed, NULL);
}

void gate_release(struct gate *g)
{
	pthread_cond_destroy(&g->changed);
	pthread_mutex_destroy(&g->lock);
}

/* Each side first says what it does and then looks at the other (all in one order): so one of the two sees it. */
void gate_enter(struct gate *g)
{
	for (;;) {
		atomic_fetch_add(&g->inside, 1);
		if (!atomic_load(&g->closed))
			return;
		gate_leave(g);
		pthread_mutex_lock(&g->lock);
		while (atomic_load(&g->closed))
			pthread_cond_wait(&g->changed, &g->lock);
		pthread_mutex_unlock(&g->lock);
	}
}

void gate_leave(struct gate *g)
{
	atomic_fetch_sub(&g->inside, 1);
	if (!atomic_load(&g->closed))
		return;
	pthread_mutex_lock(&g->lock);
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
}

void gate_close(struct gate *g)
{
	pthread_mutex_lock(&g->lock);
	assert(!atomic_load(&g->closed));
	atomic_store(&g->closed, true);
	while (atomic_load(&g->inside) > 0)
		pthread_cond_wait(&g->changed, &g->lock);
	pthread_mutex_unlock(&g->lock);
}

void gate_open(struct gate *g)
{
	pthread_mutex_lock(&g->lock);
	atomic_store(&g->closed, false);
	pthread_cond_broadcast(&g->changed);
	pthread_mutex_unlock(&g->lock);
}
