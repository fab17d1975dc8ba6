/* SPDX-License-Identifier: MIT */
/*
 * former: does a program mean by a name what had it before? Who has a database open goes on in the copy that became of
 * it (NOTICE_MOVED), or keeps what a merge gave another name; and by the old name there is the peer's now. But SQLite
 * calls the log by the name that the database had when it was opened, and removes it when it closes: that would be the
 * peer's log, with all that was not carried over from it yet.
 */
#ifndef TWINFS_FUSE_FORMER_H
#define TWINFS_FUSE_FORMER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct front;

/* Is `name` in the directory the log of a database (NAME-wal) of which process pid has another one open than what is
 * there by that name now? Whoever put that there: also if it was replaced on this side alone, where other filesystems
 * would let the log go. False also if it cannot be seen: the process is in another PID namespace, or of another user,
 * or came by another path (a bind mount). Asks /proc alone, and sends nothing to this mount. In a handler, without
 * locks. */
bool former_log(struct front *f, pid_t pid, uint64_t parent, const char *name);

#endif
