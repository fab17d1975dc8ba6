/* SPDX-License-Identifier: MIT */
/*
 * roles: who of the pair is the primary, how that changes, and how a volume ceases to be half of a pair
 * (docs/protocol.md). Each function takes the lock, is one group, and durable on return. But for roles_agree no engine
 * may be up.
 */
#ifndef TWINFS_SYNC_ROLES_H
#define TWINFS_SYNC_ROLES_H

#include "core/volume.h"
#include "sync/record.h"

/* No peer any more (volume_unpair). */
int roles_leave(struct volume *v, const char *const *settings, size_t n, struct err *err);

/* This secondary is the primary from now on, of the next generation. -ENOENT, -EEXIST with a text: it is none;
 * -EBUSY: it was the primary before, and the one that took over has not merged yet what it had. */
int roles_take_over(struct volume *v, struct err *err);
int roles_may_take_over(struct volume *v, struct err *err); /* the same question; changes nothing */

/*
 * The peer said HELLO, and its history fits: do the roles? 0: they do. 1: its generation is older: it hears of ours,
 * and comes again. -EAGAIN: ours was older: this volume is the secondary now, and the connection begins anew. -EPERM,
 * -ESTALE: they cannot be.
 */
int roles_agree(struct volume *v, const struct rec_hello *h, struct err *err);

#endif
