/* SPDX-License-Identifier: MIT */
/*
 * requests: what can be asked of a store, mounted or not. The same code answers over the control socket and, for a
 * store that is not mounted, in the command itself.
 *
 * Requests and the keys of their replies besides "ok":
 *	status     status: the object of `twinfs status --json`
 *	conflicts  about (a path or an id; may be missing); reply: conflicts, the array of `twinfs conflicts --json`
 *	resolve    path (or an id, here and below), keep (local peer both)
 *	dismiss    path or all (true), before_ms (may be missing); reply: dismissed, how many
 *	split      path
 *	conflict-cat      id, which (base local peer), max_bytes; pieces and keys: versions.h
 *	invite     listen (may be missing); reply: token
 *	wait       timeout_ms (0: forever); only mounted
 *	pause      reason, for_ms (both may be missing); reply: drained; only mounted
 *	resume     confirm_deletes, prefer (local peer; both may be missing); only mounted
 *	why        path; keys: why.h
 *	events     pieces: events.h; until the client is gone or the store unmounted; only mounted
 *	baseline-ls       path, recursive; pieces and keys: baseline.h
 *	baseline-cat      path; pieces: baseline.h
 *	baseline-restore  path; keys: restore.h
 *	baseline-mount    mountpoint, options (may be missing); reply: group; only mounted
 */
#ifndef TWINFS_NODE_REQUESTS_H
#define TWINFS_NODE_REQUESTS_H

#include <jansson.h>

#include "node/control.h"

struct node;
struct volume;

/* node NULL: not mounted. mountpoint NULL: none. A new reference, as control_fn. */
json_t *requests_answer(struct volume *v, const char *mountpoint, struct node *node, struct control_client *client,
                        const json_t *request);

/* Ask the store's mount, or open the store if it has none. 0 with *reply, or -errno with a text. `dir` is the store's
 * absolute path, mountpoint where the kernel says it is mounted or NULL. -ENOTCONN: the request needs a mount. */
int requests_ask(const char *dir, const char *mountpoint, const json_t *request, void (*progress)(const char *text),
                 json_t **reply, struct err *err);
/* The same for requests with pieces (control.h); sink may be NULL. */
int requests_stream(const char *dir, const char *mountpoint, const json_t *request, void (*progress)(const char *text),
                    const struct control_sink *sink, json_t **reply, struct err *err);

#endif
