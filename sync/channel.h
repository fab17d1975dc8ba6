/* SPDX-License-Identifier: MIT */
/*
 * channel: the bytes to and from the peer. One I/O thread that listens, dials, accepts, heartbeats and dials again. It
 * knows frames only so far that it makes heartbeats; what travels is the link's business. Separate from the link's
 * thread, so that a long commit there never looks like a dead peer to the other side.
 *
 * At most one connection at a time, with a number. A newer one from the peer replaces the one there is (it has been
 * restarted, or lost the old one without our knowing); if both sides dial at the same moment, the dial of the smaller
 * fingerprint wins.
 *
 *   no connection ──dialled or accepted──► up(id) ──lost, silent 3 s, dropped──► no connection ──0.2 s doubling to 5
 * s──► dial again … (30 s when a person must act)
 *
 * Bounds: out holds what the link put there (it looks at `unsent`), in at most CHANNEL_IN_MAX_BYTES: the peer that
 * sends more than its credit is dropped.
 *
 * Threads: channel_* from any thread. One lock, a leaf: never held while anything blocks or calls back. The event
 * callback comes from the I/O thread without it, must not block, and may call channel_* functions but channel_close.
 */
#ifndef TWINFS_SYNC_CHANNEL_H
#define TWINFS_SYNC_CHANNEL_H

#include <stdbool.h>

#include "sync/address.h"
#include "sync/identity.h"
#include "util/buf.h"

/* How much may be on its way unconfirmed, per direction; half of the HTTP/2 windows. */
#define CREDIT_BYTES (8u << 20)
/* The credit, and generously what goes beside it: heartbeats, credits and one frame of overshoot. */
#define CHANNEL_IN_MAX_BYTES (CREDIT_BYTES + (4u << 20))
#define HEARTBEAT_MS 1000u
#define SILENCE_MS 3000u

struct channel;

struct channel_options {
	const struct identity *identity; /* borrowed */
	const char *listen, *dial;       /* "HOST:PORT" or NULL */
	const char *pin_hex;             /* NULL: unpaired, no stream */
	bool closed;                     /* start as after channel_shut */
	/* as link_pair_fn */
	int (*pair)(void *ctx, const char *body_json, const char *peer_fingerprint_hex, char **reply_json,
		    struct err *err);
	void *pair_ctx;
	/* the state changed, bytes came, or `unsent` fell below CHANNEL_LOW_BYTES or to 0 */
	void (*event)(void *ctx);
	void *event_ctx;
};

/* When less than this is unsent, the link is asked for more. */
#define CHANNEL_LOW_BYTES (512u << 10)

int channel_open(const struct channel_options *opt, struct channel **out, struct err *err);
void channel_close(struct channel *c); /* drops, ends the thread, frees */

/* NULL: unpaired. A connection to another key is dropped. */
void channel_set_pin(struct channel *c, const char *pin_hex);
/* No new connections: no dialling, and the peer is told `reason`. The one there is stays until dropped. */
void channel_shut(struct channel *c, const char *reason);
void channel_reopen(struct channel *c); /* and dial at once */

struct channel_state {
	uint64_t id;            /* of the present or last connection; 0 before the first */
	bool up;
	uint64_t queued_bytes;  /* what was put into this connection, heartbeats included */
	size_t unsent_bytes;    /* of it not yet taken by the transport */
	uint64_t failures;      /* lost connections and failed attempts, ever */
	int code;               /* of the last of them: -errno; -EACCES, -EPERM, -ESTALE, -ENOSPC: a person must act */
	long status;            /* its HTTP status, if the peer answered with a refusal; 503: it is paused */
	char text[ERR_TEXT_MAX_BYTES];
	char address[ADDRESS_MAX_BYTES + 1]; /* of the present or last connection */
	uint64_t last_seen_ms;  /* wall clock, 0 never */
	uint64_t bytes_in, bytes_out; /* of all connections */
};
void channel_state(struct channel *c, struct channel_state *out);

/* Whole frames behind what is queued; dropped silently if connection `id` is no more. */
void channel_send(struct channel *c, uint64_t id, const uint8_t *data, size_t len_bytes);
/* What came on connection `id` since the last call, appended to `into`. */
void channel_receive(struct channel *c, uint64_t id, struct buf *into);
/* End connection `id` in wait_ms at the latest (a goodbye is on its way). However it ends, code and text are what its
 * failure will be; those of an earlier call stay. */
void channel_drop(struct channel *c, uint64_t id, int code, const char *text, unsigned wait_ms);

#endif
