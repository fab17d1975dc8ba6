/* SPDX-License-Identifier: MIT */
/*
 * wire: what a transport (dial.h, listen.h) and the link say to each other. A transport moves bytes of one stream in
 * both directions at once and knows nothing of frames. Everything here happens in the thread that drives the transports
 * (the link's I/O thread).
 */
#ifndef TWINFS_SYNC_WIRE_H
#define TWINFS_SYNC_WIRE_H

#include <stddef.h>
#include <stdint.h>

/* Each side's HTTP/2 windows; the link's credit stays well below (an exhausted window makes libcurl 7.88 spin). */
#define WIRE_WINDOW_BYTES (16 << 20)
/* Unsent data that nobody acknowledges for this long ends a connection; the second line behind the link's heartbeats.
 */
#define WIRE_USER_TIMEOUT_MS 3000u
/* A connection that has not become a stream by then is given up. */
#define WIRE_SETUP_TIMEOUT_MS 5000u
/* Bodies of /v1/pair, in both directions, and of refusals. */
#define WIRE_BODY_MAX_BYTES 16384u

struct wire_ops {
	/* dial only: the stream stands; before the first take and give. (An accepted one stands when listen_ops.stream
	 * says so.) */
	void (*up)(void *ctx);
	/* Up to cap bytes that are to be sent now; 0: none at present (the transport stops asking until it is kicked).
	 */
	size_t (*take)(void *ctx, uint8_t *out, size_t cap_bytes);
	/* Bytes that came; all of them are taken. */
	void (*give)(void *ctx, const uint8_t *data, size_t len_bytes);
};

#endif
