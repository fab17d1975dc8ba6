/* SPDX-License-Identifier: MIT */
/*
 * events: what happens to a mount, as it happens, for any number of followers up to EVENTS_FOLLOWERS_MAX.
 *
 * An event is a JSON object with "event" (a word), "time", "text" (for people) and what else there is to say:
 *	state      state, before, why: the link's state has changed; the first line that a follower gets is one as well
 *	resync     phase (begin, end): what changed while apart is on its way; has gone through
 *	applied    shipments, entries, bytes, group: the peer's changes are here (several shipments may be one event)
 *	conflict   the keys of `twinfs conflicts --json`: a conflict was noted, or a merge taken apart
 *	merged     the same keys: what both sides changed was merged
 *	resolved   the same keys: it was settled, a merge was dismissed
 *	error      text: it needs a person
 *	lost       count: the follower was too slow, so many events were dropped
 *	unmounted  the last one
 *
 * They stand in a ring of EVENTS_KEPT; who falls behind further than that loses the oldest. Adding never waits for a
 * follower. Threads: any; the ring has a lock of its own, held only to copy references.
 */
#ifndef TWINFS_NODE_EVENTS_H
#define TWINFS_NODE_EVENTS_H

#include <jansson.h>

#include "node/control.h"

#define EVENTS_KEPT 256
/* Of the 16 long requests that the control socket serves at a time. */
#define EVENTS_FOLLOWERS_MAX 8

struct events;

struct events *events_new(void);
void events_free(struct events *e); /* NULL is fine; nobody may follow any more */
/* Takes over the event, and adds the time. */
void events_add(struct events *e, json_t *event);
/* Is anybody there to be told? */
bool events_followed(struct events *e);
/* Hand out `first` (taken over; may be NULL) and then what is added from now on, until the client is gone or
 * events_end. -EBUSY: too many followers. */
int events_follow(struct events *e, struct control_client *client, json_t *first, struct err *err);
/* Followers get what there is, and end; waits a second for those that read. */
void events_end(struct events *e);

#endif
