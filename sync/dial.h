/* SPDX-License-Identifier: MIT */
/*
 * dial: one outgoing connection: HTTP/2 over TLS 1.3 by libcurl, one full-duplex POST /v1/stream. One object is one
 * attempt and at most one connection: it is never dialled again (libcurl would reuse a dead connection), make a new
 * one.
 *
 *   dial_open ──► SETUP ──response 200──► UP ──► DOWN            SETUP ──► DOWN when it fails
 *
 * One thread drives it: dial_wait, then dial_step, for ever. Ops' take and give are called from within dial_step and
 * dial_kick. The peer is known by its key alone (pin); whatever else its certificate says is not looked at.
 */
#ifndef TWINFS_SYNC_DIAL_H
#define TWINFS_SYNC_DIAL_H

#include <poll.h>
#include <stdbool.h>

#include "sync/address.h"
#include "sync/identity.h"
#include "sync/wire.h"

struct dial;

/* -EINVAL for an address or pin that is none. Nothing is sent before the first dial_step. */
int dial_open(const struct identity *id, const struct address *to, const char *pin_hex, const struct wire_ops *ops,
	      void *ctx, struct dial **out, struct err *err);
void dial_free(struct dial *d); /* closes at once; NULL is fine */

/* Wait at most timeout_ms for the connection or for one of the extra descriptors (their revents are set). */
void dial_wait(struct dial *d, struct pollfd *extra, size_t n_extra, int timeout_ms);
void dial_step(struct dial *d);
/* There is something to take: call it when that is so, and after the state became UP; costs little when it is known
 * already. */
void dial_kick(struct dial *d);

enum dial_state { DIAL_SETUP, DIAL_UP, DIAL_DOWN };
enum dial_state dial_state(const struct dial *d);

/* Why it is down. code: -errno; -EACCES: one of the two does not know the other's key, and a person must act. status:
 * the HTTP status if the peer answered with another than 200, else 0. The text is valid as long as d. */
int dial_reason(const struct dial *d, long *status, const char **text);

/* One blocking POST of a JSON body to /v1/pair; see link_pair_request. */
int dial_request(const struct identity *id, const struct address *to, const char *pin_hex, const char *body,
		 char **reply, struct err *err);

#endif
