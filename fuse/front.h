/* SPDX-License-Identifier: MIT */
/*
 * front: a volume mounted through libfuse3's low-level API. Kernel requests become volume calls; the volume's notices
 * become kernel invalidations.
 *
 * Caches: the kernel keeps names, attributes, data and listings for an hour unless told otherwise; every change that
 * did not come through this mount must be told with front_notice(). The page cache is write-through. Threads:
 * front_run() blocks in a loop with `threads` workers until the filesystem is unmounted (by anyone) or front_stop().
 * One of them serves as long as no request takes long (fuse/crew.h); one that does holds others up for 2 ms at most,
 * while there is a worker left. An idle mount uses no CPU. Locks of files are the kernel's alone: who waits for one can
 * be killed, and keeps no worker. fsync is done by a thread of its own, which answers all that wait with one commit.
 * front_notice() may be called from any thread at any time, under the volume's lock too: it copies the notices into
 * bounded queues that two threads empty, never from inside a request handler and never under a lock. When one is full,
 * the notices are folded into "invalidate everything the kernel knows" rather than lost. No reply carries attributes
 * that are newer than the pages in the kernel's cache. Threads are made by front_run() alone, so that a process may
 * fork between front_mount() and front_run(). Errors: volume errors (-errno) go to the kernel as they are.
 */
#ifndef TWINFS_FUSE_FRONT_H
#define TWINFS_FUSE_FRONT_H

#include "core/past.h"
#include "core/volume.h"

struct front;

struct front_options {
	const char *mountpoint;
	/* Show this past of the volume, read-only, instead of the volume. It must stay open as long as the front is. No
	 * notices are wanted then, and fsync has nothing to do. NULL: the volume. */
	struct past *past;
	const char *fsname;      /* shown in /proc/mounts; the store's path */
	const char *options;     /* comma list as given with -o, or NULL: ro, allow_other, noexec … known ones only */
	unsigned threads;        /* 0 = 4 */
	/* Instead of volume_commit for fsync when not NULL (for -o sync=peer). Must end soon after front_stop. */
	int (*fsync_hook)(void *ctx);
	void *hook_ctx;
};

/* Checks the mountpoint (exists, directory, empty, not in use; a stale "Transport endpoint is not connected" mount of
 * our own is detached first) and mounts. After it returns 0 requests queue up until front_run(). */
int front_mount(struct volume *v, const struct front_options *opt, struct front **out, struct err *err);
/* Serve until unmounted. 0, or -errno when the session broke. The mount is gone when it returns: nothing more can be
 * written through it, and the lookup counts it held in the volume are given back. */
int front_run(struct front *f);
/* Make front_run unmount and return soon: open files get a second to be closed, then the mount is detached from under
 * them. Async-signal-unsafe; any thread but a worker's. May be called before front_run. */
void front_stop(struct front *f);
void front_notice(void *front, const struct notice *list, size_t n); /* a volume_notice_fn */
/* For volume_set_still: requests wait while what they are about may change under them. */
void front_still(void *front, bool still);
/* A volume_told_fn: waits until what was queued has been told, but only as long as that ordinarily takes: a program
 * that holds a directory in the kernel, perhaps while it waits for the peer, must not keep us from answering it. */
void front_told(void *front);
/* Wait until every notice queued before the call has reached the kernel (at most timeout_ms). False: it has not. Never
 * call it from a request handler or under the volume's lock. */
bool front_flush_notices(struct front *f, unsigned timeout_ms);
/* What "mount -o remount,WORDS" does: the mount's flags with these words applied, at the kernel alone. Any process. */
int front_remount(const char *mountpoint, const char *options, struct err *err);
/* Absolute path of the mountpoint; lives as long as f. */
const char *front_mountpoint(const struct front *f);
/* Unmounts if still mounted, frees. Not while front_run runs, nor while others may call front_notice. The volume must
 * still be open. */
void front_free(struct front *f);

#endif
