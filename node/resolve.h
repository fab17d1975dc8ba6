/* SPDX-License-Identifier: MIT */
/*
 * resolve: settling a conflict on a mounted volume. The volume makes an ordinary change of it, which replicates; but it
 * does not come through the mount, so the kernel is told here what it may have cached wrongly.
 */
#ifndef TWINFS_NODE_RESOLVE_H
#define TWINFS_NODE_RESOLVE_H

#include "core/volume.h"

/* As volume_conflict_resolve, and commits. notice NULL: not mounted. */
int resolve_conflict(struct volume *v, const char *path, int keep, volume_notice_fn notice, void *notice_ctx,
                     struct err *err);

#endif
