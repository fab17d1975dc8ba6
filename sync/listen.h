/* SPDX-License-Identifier: MIT */
/*
 * listen: the server: HTTP/2 over TLS 1.3 (nghttp2, OpenSSL). Takes connections with any client certificate, and then
 * lets the link decide by its fingerprint: POST /v1/stream becomes the stream, POST /v1/pair is one request with a
 * small body, anything else is refused with a one-line body. One request a connection; a connection that is not a
 * stream lives a few seconds at most.
 *
 * One thread drives it: listen_poll, poll(2), listen_step, for ever. All callbacks come from within listen_step and
 * listen_kick; from within them listen_drop may be called for any connection (it takes effect at the next step),
 * nothing else.
 */
#ifndef TWINFS_SYNC_LISTEN_H
#define TWINFS_SYNC_LISTEN_H

#include <poll.h>
#include <stdbool.h>

#include "sync/address.h"
#include "sync/identity.h"
#include "sync/wire.h"

/* What one name may resolve to (IPv4 and IPv6, more makes no sense), and how many strangers may knock at once. */
#define LISTEN_SOCKETS_MAX 4u
#define LISTEN_CONNS_MAX 16u
#define LISTEN_FDS_MAX (LISTEN_SOCKETS_MAX + LISTEN_CONNS_MAX)

struct listen;
struct conn; /* one accepted connection; valid until its `closed` callback or listen_close */

struct listen_ops {
	struct wire_ops wire; /* of the stream */
	/* May this client have the stream? 200: conn is the stream from now on; else the status of the refusal, and
	 * why. */
	int (*stream)(void *ctx, struct conn *conn, const char *fingerprint_hex, const char *address, struct err *err);
	/* A pairing request. 0 and a malloc'd JSON text, or -errno with a text for the client. */
	int (*pair)(void *ctx, const char *body, const char *fingerprint_hex, const char *address, char **reply,
	            struct err *err);
	/* The stream's connection is gone; not called after listen_drop. */
	void (*closed)(void *ctx, struct conn *conn, int code, const char *why);
};

/* -EADDRINUSE, -EADDRNOTAVAIL, -EACCES …, -EHOSTUNREACH for a name that is unknown. The ops are copied. */
int listen_open(const struct identity *id, const struct address *at, const struct listen_ops *ops, void *ctx,
		struct listen **out, struct err *err);
void listen_close(struct listen *l); /* drops everything; no callbacks; NULL is fine */

/* Fill fds (LISTEN_FDS_MAX) and return their number; hand the same array to the next listen_step. */
size_t listen_poll(struct listen *l, struct pollfd *fds);
void listen_step(struct listen *l, const struct pollfd *fds, size_t n);
/* When a step is wanted even if no descriptor is ready (mono ms); UINT64_MAX: never. */
uint64_t listen_deadline(const struct listen *l);

/* The stream has something to take again. */
void listen_kick(struct conn *c);
/* Close without a callback. */
void listen_drop(struct conn *c);

#endif
