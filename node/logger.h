/* SPDX-License-Identifier: MIT */
/*
 * logger: where the lines of a mount in the background go. Whatever is written to stderr (log lines, what libraries
 * say, a failed assertion) ends in STORE/twinfs.log with the time before it, and in syslog.
 *
 * stderr becomes a pipe; one thread empties it. When the process dies of a signal, what is still in the pipe is
 * written out first. The file is bounded: above 1 MiB it becomes twinfs.log.1, replacing the older one.
 */
#ifndef TWINFS_NODE_LOGGER_H
#define TWINFS_NODE_LOGGER_H

#include "util/err.h"

#define LOGGER_FILE "twinfs.log"

/* Once in a process's life; until it ends. After this stderr is no terminal any more. */
int logger_start(const char *store, struct err *err);
/* Wait until all that was written to stderr so far is in the file, and stop; stderr goes nowhere afterwards. */
void logger_stop(void);

#endif
