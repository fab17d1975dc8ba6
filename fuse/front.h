/* SPDX-License-Identifier: MIT */
/*
 * front: a volume mounted through libfuse3's low-level API. Kernel requests become volume calls; the volume's notices become
 * kernel invalidations.
 *
 * Threads: front_run() blocks in a loop with `threads` workers until the filesystem is unmounted (by anyone) or front_stop().
 * front_notice() may be called from any thread at any time: it copies the notices into a bounded queue that one notifier thread
 * empties, never from inside a request handler and never under a lock. When the queue is full the oldest notices are
 * folded into "invalidate every inode the kernel knows" rather than lost.
 * Errors: volume errors (-errno) go to the kernel as they are.
 */
#ifndef TWINFS_FUSE_FRONT_H
#define TWINFS_FUSE_FRONT_H

#include "core/volume.h"

struct front;

struct front_options {
	const char *mountpoint;
	const char *fsname;      /* shown in /proc/mounts; the store's path */
	const char *options;     /* comma list as given with -o, or NULL: ro, allow_other, default_permissions, noexec … known ones only */
	unsigned threads;        /* 0 = 2 */
	int (*fsync_hook)(void *ctx); /* instead of volume_commit for fsync when not NULL (for -o sync=peer) */
	void *hook_ctx;
};

/* Checks the mountpoint (exists, directory, empty, not in use; a stale "Transport endpoint is not connected" mount of our own is
 * detached first) and mounts. After it returns 0 requests queue up until front_run(). */
int front_mount(struct volume *v, const struct front_options *opt, struct front **out, struct err *err);
/* Serve until unmounted. 0, or -errno when the session broke. */
int front_run(struct front *f);
/* Make front_run return soon; the mount stays until front_free. Async-signal-unsafe; any thread. */
void front_stop(struct front *f);
void front_notice(void *front, const struct notice *list, size_t n); /* a volume_notice_fn */
/* Wait until every notice queued before the call has reached the kernel (at most timeout_ms). */
bool front_flush_notices(struct front *f, unsigned timeout_ms);
/* Unmounts if still mounted, ends the notifier, frees. */
void front_free(struct front *f);

#endif
