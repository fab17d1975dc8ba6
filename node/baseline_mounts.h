/* SPDX-License-Identifier: MIT */
/*
 * baseline_mounts: read-only mounts of the frozen baseline, served by the process that has the store open, beside its
 * own mount. Each has a front and a thread of its own and pins the baseline as it was when it was mounted, until it is
 * unmounted (by fusermount3 -u, or with the process).
 *
 * Threads: any; a lock of its own protects the list, nothing is called while it is held but front_stop.
 */
#ifndef TWINFS_NODE_BASELINE_MOUNTS_H
#define TWINFS_NODE_BASELINE_MOUNTS_H

#include <jansson.h>

#include "core/volume.h"

/* A point in time for a backup, and another that is begun before the first is through, and one to look around in. */
#define BASELINE_MOUNTS_MAX 4

struct baseline_mounts;

struct baseline_mounts *baseline_mounts_new(struct volume *v);
/* Mounted when it returns 0. options as of -o, or NULL. -EBUSY: BASELINE_MOUNTS_MAX are mounted; -ESHUTDOWN: after
 * baseline_mounts_stop. *group: of what is shown. */
int baseline_mounts_add(struct baseline_mounts *b, const char *mountpoint, const char *options, uint64_t *group,
                        struct err *err);
/* [{"mountpoint", "group", "since"}]; a new reference. */
json_t *baseline_mounts_list(struct baseline_mounts *b);
/* Unmount them all and wait; open files in them get a second. */
void baseline_mounts_stop(struct baseline_mounts *b);
/* After baseline_mounts_stop, when no other thread can call. NULL is fine. */
void baseline_mounts_free(struct baseline_mounts *b);

#endif
