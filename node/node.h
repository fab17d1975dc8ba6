/* SPDX-License-Identifier: MIT */
/*
 * node: one mounted store; where everything is wired: volume + link (engine, transport) + front (FUSE) + control socket.
 * The only place that knows both fuse/ and sync/.
 *
 * Threads: main (front_run), link thread, notifier, control thread. Shutdown order: front ends (unmounted) -> link_stop drains and says goodbye ->
 * control socket gone -> volume_close. `fusermount3 -u` therefore is a planned link-down: the peer is told.
 */
#ifndef TWINFS_NODE_NODE_H
#define TWINFS_NODE_NODE_H

#include "core/volume.h"

struct node_options {
	const char *store, *mountpoint;
	const char *mount_options;   /* -o text or NULL */
	int ready_fd;                /* written when mounted: "ok\n" or "error TEXT\n"; -1 none */
};
/* Open, mount, serve until unmounted or a signal (SIGINT, SIGTERM: unmount), drain, close. 0 or -errno with a text. */
int node_run(const struct node_options *opt, struct err *err);

#endif
