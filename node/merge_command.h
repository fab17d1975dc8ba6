/* SPDX-License-Identifier: MIT */
/*
 * merge_command: runs the program that a policy "command CMD" names. /bin/sh runs CMD in the directory of the files,
 * with three more arguments: base, ours, theirs; what it writes to stdout is the merge if it exits with 0. The path of
 * the file in the volume is in TWINFS_PATH. It runs as whoever mounted, without our descriptors, in a process group of
 * its own that is killed when the time is up.
 */
#ifndef TWINFS_NODE_MERGE_COMMAND_H
#define TWINFS_NODE_MERGE_COMMAND_H

#include "sync/driver.h"

/* While it runs the link neither ships nor commits (heartbeats go on). */
#define MERGE_COMMAND_LIMIT_MS 10000u

/* A driver's run (ctx is not used). */
int merge_command_run(void *ctx, const char *command, const char *dir, const char *path, struct err *err);

#endif
