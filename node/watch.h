/* SPDX-License-Identifier: MIT */
/*
 * watch: makes events out of what a running mount says of itself: it looks, and tells what is different from the last
 * look. Nothing is looked at while nobody follows. Threads: any; looks are serialised by a lock of its own, which is
 * held while the link and the volume are asked (never in the link's own thread).
 */
#ifndef TWINFS_NODE_WATCH_H
#define TWINFS_NODE_WATCH_H

#include "node/events.h"

struct node;
struct watch;

struct watch *watch_new(struct node *n);
/* Ends what follows. */
void watch_end(struct watch *w);
void watch_free(struct watch *w); /* NULL is fine; nobody may follow or look any more */

bool watch_is_followed(struct watch *w);
/* Tell followers, if there are any, what has happened since the last look. */
void watch_look(struct watch *w);
/* As events_follow; begins with how it is now. */
int watch_follow(struct watch *w, struct control_client *client, struct err *err);

#endif
