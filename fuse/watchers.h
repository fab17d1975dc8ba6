/* SPDX-License-Identifier: MIT */
/*
 * watchers: a process beside the mount, by which inotify(7) tells of what the peer changed (-o inotify).
 *
 * The kernel makes events of what programs do; a filesystem cannot make one. So this process does something that
 * changes nothing: it sets the time of modification of what the peer changed to what it is. The kernel tells who
 * watches that, or its directory, IN_MODIFY, and asks the daemon, which does not do it (watchers_ask).
 *
 * It is a process of its own since one that waits for its own mount cannot be killed: only its end closes /dev/fuse,
 * and only that ends the waiting. It touches nothing outside the mount: it goes by no symbolic link and into no other
 * mount, and where another filesystem covers the mountpoint it does nothing. While it works it holds the mount, as root
 * by a copy that nobody sees, so that unmounting is not refused; that goes before WATCHERS_HOLD_MS are over.
 */
#ifndef TWINFS_FUSE_WATCHERS_H
#define TWINFS_FUSE_WATCHERS_H

#include <stdbool.h>
#include <sys/types.h>

#define WATCHERS_HOLD_MS 20u

struct watchers {
	pid_t pid; /* -1: none */
	int fd;    /* to it, one path a packet */
};

/* The mount is there, if not served. Without it (it is logged why) nothing else is different. */
void watchers_start(struct watchers *w, const char *mountpoint);
/* path: as volume_path says it. Waits for the process, a second at most; then nobody is told. */
void watchers_tell(const struct watchers *w, const char *path);
/* Is it that process which asks us? Any thread. */
bool watchers_ask(const struct watchers *w, pid_t pid);
/* It ends; what it waits for of the mount may keep it until /dev/fuse is closed. watchers_tell returns soon. */
void watchers_kill(struct watchers *w);
/* After watchers_kill, when /dev/fuse is closed and nobody calls watchers_tell. */
void watchers_reap(struct watchers *w);

#endif
