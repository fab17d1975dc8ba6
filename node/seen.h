/* SPDX-License-Identifier: MIT */
/*
 * seen: when the peer was heard of last, and at which address; kept in the store (setting "peer.seen"), so that status
 * knows it after another mount, too, and without one. Written when the peer joins, when a connection comes and when it
 * goes, and now and then between, as the process may be killed.
 */
#ifndef TWINFS_NODE_SEEN_H
#define TWINFS_NODE_SEEN_H

#include "core/volume.h"
#include "sync/link.h"

#define SETTING_SEEN "peer.seen"

/* What was written last by this process. */
struct seen {
	uint64_t ms;
	bool up;
};

/* Look at the link; write if there is reason to, in whatever group comes next. One thread at a time. */
void seen_look(struct volume *v, const struct link_status *link, struct seen *last);
/* 0: never. *address: malloc'd, or NULL. */
uint64_t seen_get(struct volume *v, char **address);

#endif
