/* SPDX-License-Identifier: MIT */
/*
 * addresses: where the two sides of a pair find each other. One listens, the other dials; which of them is the primary
 * does not matter. Both are settings of the store, "listen" and "peer.address", and count from the next link_start on.
 * Any thread; the volume does the locking.
 */
#ifndef TWINFS_NODE_ADDRESSES_H
#define TWINFS_NODE_ADDRESSES_H

#include "core/volume.h"
#include "sync/address.h"

/* What to bind to, and by which address others find this machine. listen_on is HOST:PORT; NULL, or without HOST, is
 * every address of the machine, whose first global one is told then. -EINVAL with a text. */
int address_to_listen(const char *listen_on, char bind_to[ADDRESS_MAX_BYTES + 1], char told[ADDRESS_MAX_BYTES + 1],
                      struct err *err);

/* The settings of a store, each malloc'd or NULL. One that has a peer's address dials, and is not looked for where it
 * may have listened before. */
struct addresses {
	char *listen, *peer;
};
void addresses_get(struct volume *v, struct addresses *out);
void addresses_release(struct addresses *a);
/* Put one of them in the place of what there was: durable when it returns. */
int addresses_put(struct volume *v, const struct addresses *a, struct err *err);

/* This machine, or the peer, has moved to `text`: what addresses_put gets then. -ENOTCONN if the store neither listens
 * nor dials, -EINVAL; each with a text. */
int addresses_moved(struct volume *v, const char *text, struct addresses *out, struct err *err);

#endif
