/* SPDX-License-Identifier: MIT */
/* dir: names made, moved and removed in a directory are durable only when the directory itself was flushed. */
#ifndef TWINFS_UTIL_DIR_H
#define TWINFS_UTIL_DIR_H

#include "util/err.h"

/* Returns when all that was done to the names in `path` before is durable. */
int dir_sync(const char *path, struct err *err);
/* The same for the directory that `path` is in. */
int dir_sync_parent(const char *path, struct err *err);

#endif
