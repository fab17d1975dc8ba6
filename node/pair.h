/* SPDX-License-Identifier: MIT */
/*
 * pair: how two stores become a pair. The primary invites, the other joins with the token.
 *
 *	join                                        primary (mounted)
 *	{"secret", "probe": true}            ──►    the secret is right and still good: nothing is used up
 *	                                     ◄──    {"volume_id", "generation", "slot", "node_id", "node_name"}
 *	makes the store, with all that can fail here
 *	{"secret", "node_id", "node_name"}   ──►    becomes primary of the pair, the invitation is used up
 *	                                     ◄──    the same reply
 *	becomes secondary of the pair
 *
 * The second request may be repeated by the same key: so a reply that got lost does not leave half a pair.
 *
 * Settings of the store: "listen", "invite", "invite.expires_ms", "invite.used" (primary), "peer.address" (secondary),
 * "peer.pin", "peer.name", "peer.node_id" (both). Any thread; the volume does the locking.
 */
#ifndef TWINFS_NODE_PAIR_H
#define TWINFS_NODE_PAIR_H

#include <jansson.h>

#include "core/volume.h"
#include "sync/identity.h"

#define INVITE_LIFE_MS (UINT64_C(24) * 3600 * 1000)

/* A new invitation; an older open one is void. listen_on: HOST:PORT to listen on and to be found at, NULL for the
 * default. *token is malloc'd. -EEXIST if the store is paired. */
int pair_invite(struct volume *v, const struct identity *id, const char *listen_on, char **token, struct err *err);

/* The primary's side of a pairing request; *reply is malloc'd JSON. *paired: the store has become half of a pair just
 * now. */
int pair_accept(struct volume *v, const char *body_json, const char *peer_fingerprint_hex, char **reply, bool *paired,
                struct err *err);

struct pair_joined {
	char volume_id[37], node_name[33], peer_name[33], peer_address[300];
	bool already; /* the store was half of this pair before */
};
/* The secondary's side, whole. name NULL: the default. When it fails, `store` is as it was before, but for one case: if
 * the reply to the second request got lost, the new store stays, so that the same command can be given again. */
int pair_join(const char *token_text, const char *store, const char *name, struct pair_joined *out, struct err *err);

/* The store is unpaired again (sync/roles.h); there is no link. *peer: who was the peer, malloc'd. */
int pair_forget(struct volume *v, char **peer, struct err *err);

#endif
