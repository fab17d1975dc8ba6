/* SPDX-License-Identifier: MIT */
/*
 * link: the connection to the peer, kept up. One thread that owns an engine, a transport (dial.h or listen.h) and the
 * clock.
 *
 * Shown states: unpaired, connecting, resyncing, connected, paused (planned, by either side), disconnected (unplanned).
 *
 *   unpaired ──pair──► connecting ──HELLO both ways──► resyncing ──backlog through──► connected
 *   connected/resyncing ──error, silence 3 s──► disconnected ──retry (0.2 s doubling to 5 s)──► connecting … (shown as
 * disconnected while retrying) any ──link_pause / peer's planned BYE──► paused ──link_resume / peer is back──►
 * connecting
 *
 * Link-level frames (HEARTBEAT, CREDIT) are handled here; all others go to the engine. Credit: at most CREDIT_BYTES of
 * unconfirmed bytes per direction, below the HTTP/2 windows (libcurl 7.88 spins on an exhausted window).
 *
 * Threads: functions below may be called from any thread; they post to the link's thread and, where said, wait for it.
 * No volume lock is held by the link's thread while it does network I/O.
 */
#ifndef TWINFS_SYNC_LINK_H
#define TWINFS_SYNC_LINK_H

#include "sync/engine.h"
#include "sync/identity.h"

struct link;

enum link_state { LINK_UNPAIRED, LINK_CONNECTING, LINK_RESYNCING, LINK_CONNECTED, LINK_PAUSED, LINK_DISCONNECTED };
const char *link_state_word(enum link_state s); /* the words of the status contract */

/* A pairing request that carried the right secret; called from the link's thread without locks. Fills the reply's JSON
 * text (malloc'd) or refuses with a text. The link itself has checked nothing but that the body is small. */
typedef int (*link_pair_fn)(void *ctx, const char *body_json, const char *peer_fingerprint_hex, char **reply_json,
			    struct err *err);

struct link_options {
	const struct identity *identity; /* borrowed, must outlive the link */
	const char *listen;              /* "HOST:PORT" or NULL: do not listen */
	const char *dial;                /* "HOST:PORT" of the peer or NULL: do not dial */
	const char *peer_pin_hex;        /* sha256 of the peer's SPKI, NULL while unpaired */
	link_pair_fn pair_fn;            /* NULL: pairing refused */
	void *pair_ctx;
	unsigned commit_interval_ms;     /* while apart: close the open group this often (0 = 1000) */
	struct driver driver;            /* runs the commands of policies (sync/driver.h); run NULL: none */
	bool start_paused;
	const char *pause_reason;
	void (*changed)(void *ctx);      /* state changed; any thread; must not block */
	void *changed_ctx;
};

/* Starts the thread. -EADDRINUSE … with a text when listening fails at once. The volume's dirty callback is taken by
 * the link. */
int link_start(struct volume *v, const struct link_options *opt, struct link **out, struct err *err);
/* After pairing while running (the listening side): the peer's pin is known now. */
void link_set_peer(struct link *l, const char *peer_pin_hex);

/* Planned link-down: drain (ship what is pending, wait for the acks, at most timeout_ms), BYE, then stay down until
 * resumed. 0 when drained, -ETIMEDOUT when gone down without being drained (nothing is lost; the rest goes later),
 * -ENOTCONN if there was no connection. */
int link_pause(struct link *l, const char *reason, unsigned timeout_ms, struct err *err);
int link_resume(struct link *l);
/* The same, and what the peer deleted meanwhile may go here, however much it is (sync/deletions.h). */
int link_resume_deleting(struct link *l);
/* Wait until connected and settled. 0, -ETIMEDOUT with a text saying what is being waited for, -ECONNABORTED when
 * paused. timeout 0: forever. */
int link_wait_synced(struct link *l, unsigned timeout_ms, struct err *err);
/* Planned goodbye like pause (drain up to timeout_ms), then end the thread and free. */
void link_stop(struct link *l, const char *reason, unsigned timeout_ms);

struct link_status {
	enum link_state state;
	char why[512];             /* "" when there is nothing to say: reason, last error, who paused */
	char action[256];          /* what a person should do, "" if nothing */
	uint64_t since_ms;         /* wall clock: when this state began */
	uint64_t peer_last_seen_ms;/* wall clock, 0 never */
	char peer_address[128], last_error[512];
	bool needs_person;         /* disconnected or held until somebody acts */
	struct engine_status engine;
	uint64_t bytes_in, bytes_out;
};
void link_status(struct link *l, struct link_status *out);

/* For comparing both sides (sync/verify.h); it lives as long as the link. */
struct verify *link_verify(struct link *l);

/* One request to a primary's /v1/pair before there is a link (the join command). reply malloc'd. -ECONNREFUSED, -EACCES
 * … with a text. */
int link_pair_request(const struct identity *id, const char *host_port, const char *peer_pin_hex, const char *body_json,
                      char **reply_json, struct err *err);

#endif
