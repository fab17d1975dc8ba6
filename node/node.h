/* SPDX-License-Identifier: MIT */
/*
 * node: one mounted store; where everything is wired: volume + link (engine, transport) + front (FUSE) + control
 * socket. The only place that knows both fuse/ and sync/.
 *
 * Threads: main (front_run), the link's, the front's, the control socket's, and the keeper: it takes the signals and
 * does what has a time (the end of a pause) or cannot be done where it came up (telling the link about its new peer).
 *
 * Shutdown: front ends (unmounted) -> the link drains and says goodbye -> the control socket goes -> volume_close.
 * `fusermount3 -u` and SIGTERM therefore are a planned link-down: the peer is told.
 */
#ifndef TWINFS_NODE_NODE_H
#define TWINFS_NODE_NODE_H

#include <stdbool.h>

#include "core/volume.h"

struct node_options {
	const char *store, *mountpoint; /* absolute */
	const char *mount_options;      /* -o text or NULL; "sync=peer" is the node's own, the rest goes to front */
	bool baseline;                  /* mount the frozen baseline, read-only, and nothing else: no link */
	bool background;                /* log into STORE/twinfs.log and syslog as soon as the store is open */
	int ready_fd;                   /* written when mounted: "ok\n" or "error TEXT\n"; -1 none. Closed. */
};
/* Open, mount, serve until unmounted or a signal (SIGINT, SIGTERM, SIGHUP: unmount), drain, close. 0 or -errno with a
 * text. Call it from the main thread before there are others. */
int node_run(const struct node_options *opt, struct err *err);
/* mount -o remount,OPTIONS, from any process. Words of our own (sync=peer) are passed over: they last as long as the
 * mount. */
int node_remount(const char *mountpoint, const char *options, struct err *err);

#endif
