/* SPDX-License-Identifier: MIT */
/*
 * control: the socket STORE/control.sock (0600) over which commands talk to a running mount.
 *
 * Protocol: the client sends one JSON object in one line, {"cmd": WORD, ...}. The server answers with any number of
 * pieces and one reply. A piece is a line {"progress": TEXT}, a line {"data": N} and N bytes, or another line that has
 * no "ok". The reply is one line {"ok": true, ...} or {"ok": false, "code": -ERRNO, "error": TEXT}, and
 * hangs up.
 *
 * Server threads: one accepts; each client has a short-lived thread of its own, so that status is answered while
 * others wait. The socket's owner holds the store's lock: a socket file that is there at the start is a dead one and
 * replaced.
 */
#ifndef TWINFS_NODE_CONTROL_H
#define TWINFS_NODE_CONTROL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "util/err.h"

#define CONTROL_SOCKET "control.sock"

struct control;
struct control_client; /* one request under way; NULL wherever it is passed: asked without a socket */

/* Answer one request: a new reference. Called in the client's thread, several at once. */
typedef json_t *(*control_fn)(void *ctx, struct control_client *client, const json_t *request);

int control_start(const char *store, control_fn fn, void *ctx, struct control **out, struct err *err);
/* Requests that wait end (control_gone); the socket is removed; frees. */
void control_stop(struct control *c);

/* For requests that take long: has the client hung up, or is the server stopping? */
bool control_gone(struct control_client *client);
/* Tell the client what is being waited for. */
void control_say(struct control_client *client, const char *text);

/*
 * Pieces. They wait for a slow client as long as it is there; -EPIPE when it is gone, or when the server stops. A
 * request that sends some asks first (control_hold): only half of the clients may take as long as they like, so that
 * status is answered whatever the others do. -EBUSY with a text.
 */
int control_hold(struct control_client *client, struct err *err);
int control_send(struct control_client *client, const json_t *line);
int control_send_data(struct control_client *client, const void *data, size_t len_bytes);

/* Who takes pieces. Another value than 0 ends the request with it. NULL functions: not wanted. */
struct control_sink {
	int (*line)(void *ctx, const json_t *line);
	int (*data)(void *ctx, const void *data, size_t len_bytes);
	void *ctx;
};
/* A client without a socket: its pieces go to the sink at once. The sink is borrowed. */
struct control_client *control_local(const struct control_sink *sink);
void control_local_free(struct control_client *client);

/* Replies. The error's text and code; and an empty success to which keys can be added. */
json_t *control_error(const struct err *err);
json_t *control_ok(void);

/* Client: ask the mount of this store. 0: *reply is the last line, "ok" true (a new reference). -ENOTCONN, without a
 * text: nobody is there. Other errors: what the server answered, or what went wrong. timeout_ms is for each line, 0: as
 * long as it takes. progress may be NULL. */
int control_call(const char *store, const json_t *request, unsigned timeout_ms, void (*progress)(const char *text),
                 json_t **reply, struct err *err);
/* The same for a request with pieces; sink may be NULL. */
int control_stream(const char *store, const json_t *request, unsigned timeout_ms, void (*progress)(const char *text),
                   const struct control_sink *sink, json_t **reply, struct err *err);

#endif
