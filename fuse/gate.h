/* SPDX-License-Identifier: MIT */
/*
 * gate: all requests pass it, and it can be closed: then none is inside, and those that come wait. It is closed for the
 * moment in which what programs have open changes under them (volume_set_still), so it costs a request nothing else
 * than two additions.
 *
 * Nobody inside may wait for who closes it. What requests wait for is the volume's lock, the disk, and for moments the
 * notifier; whoever closes the gate holds none of that. Who reads a damaged block waits for the peer's bytes, which
 * come by who closes the gate; so that ends when it is to be closed (core/damage.h).
 */
#ifndef TWINFS_FUSE_GATE_H
#define TWINFS_FUSE_GATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct gate {
	atomic_uint inside;
	atomic_bool closed;
	pthread_mutex_t lock;
	pthread_cond_t changed; /* it is open, or somebody left while it was closed */
};

void gate_init(struct gate *g);
void gate_release(struct gate *g);
void gate_enter(struct gate *g);
void gate_leave(struct gate *g);
/* One at a time: returns when nobody is inside. */
void gate_close(struct gate *g);
void gate_open(struct gate *g);

#endif
