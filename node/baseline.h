/* SPDX-License-Identifier: MIT */
/*
 * baseline: requests about the tree as both sides last had it (core/past.h): listing it and reading a file of it. Each
 * pins the baseline for as long as it runs. Memory does not follow the size of what is asked for.
 *
 * Any thread, with nothing locked.
 */
#ifndef TWINFS_NODE_BASELINE_H
#define TWINFS_NODE_BASELINE_H

#include "core/past.h"
#include "node/control.h"

/* Pieces: for each directory {"dir": PATH}, then a line {"name", "type", "mode", "links", "uid", "gid", "size",
 * "mtime", "target" (of a symbolic link), "rdev" (of a device)} for each of its entries, in no order that means
 * something. Of anything else than a directory there is one such line, with its path as the name. */
int baseline_ls(struct volume *v, const char *path, bool recursive, struct control_client *client, json_t *reply,
                struct err *err);
/* Pieces: the bytes of a regular file, verified. */
int baseline_cat(struct volume *v, const char *path, struct control_client *client, json_t *reply, struct err *err);

/* Pin the baseline and find the path in it; *past is NULL on error. */
int baseline_find(struct volume *v, const char *path, struct past **past, struct attr *a, struct err *err);

#endif
