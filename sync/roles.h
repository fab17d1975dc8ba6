/* SPDX-License-Identifier: MIT */
/*
 * roles: how a volume ceases to be half of a pair. Each function takes the lock, is one group, and durable on return.
 */
#ifndef TWINFS_SYNC_ROLES_H
#define TWINFS_SYNC_ROLES_H

#include "core/volume.h"

/* No peer any more (volume_unpair). No engine may be up. */
int roles_leave(struct volume *v, const char *const *settings, size_t n, struct err *err);

#endif
