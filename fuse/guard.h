/* SPDX-License-Identifier: MIT */
/*
 * guard: a process beside the mount, which aborts the FUSE connection when the daemon is killed.
 *
 * Why: invalidating a name takes the directory's lock in the kernel, and cannot be interrupted. If a program holds
 * that lock while it waits for an answer of ours, and SIGKILL ends the threads that would answer, then the notifier
 * waits for the program, the program for an answer, and the kernel for the notifier before it closes /dev/fuse: the
 * daemon never dies, the program never goes on, and the store stays locked. An abort from outside unties it; where
 * nothing hangs it does what the end of the daemon does anyway.
 *
 * The guard sleeps until the thread that started it is gone. It holds nothing but the connection's abort file, which
 * needs fusectl: mounted (as systemd does), or for root as a mount of its own that nobody else sees. Where there is
 * neither there is no guard.
 */
#ifndef TWINFS_FUSE_GUARD_H
#define TWINFS_FUSE_GUARD_H

#include <stdbool.h>
#include <sys/types.h>

/* The guard's pid, or -1. From the thread that lives as long as the daemon; the mount is there, if not served. */
pid_t guard_start(const char *mountpoint);
void guard_stop(pid_t guard); /* -1: nothing to do */
/* The same from outside, where the guard was killed with its daemon (a whole cgroup was): if that daemon is dying, the
 * connection of its mount is aborted. False: it lives, is gone, or its connection has no abort file. Asks the mount
 * nothing. */
bool guard_untie(const char *mountpoint, pid_t daemon);

#endif
