/* SPDX-License-Identifier: MIT */
/*
 * token: how two nodes meet. `twinfs invite` prints a token; `twinfs join TOKEN` gives it back to the primary as proof.
 *
 * Text: "twinfs1_" and base64url (letters, digits, - and _; no blanks) of: 32 bytes fingerprint of the primary, 16
 * bytes secret, the address as text, 4 bytes checksum (of SHA-256) against typing errors. The digit is the token's
 * version. Whoever has the token can become the peer, once: hand it over as you would a password.
 *
 * invite: what the primary remembers of a token it gave out: a hash of the secret and how many tries are left. Kept by
 * the caller as a text (a setting of the volume). One thread at a time.
 */
#ifndef TWINFS_SYNC_TOKEN_H
#define TWINFS_SYNC_TOKEN_H

#include <stdint.h>

#include "sync/address.h"
#include "sync/identity.h"

#define SECRET_BYTES 16u
#define SECRET_HEX_BYTES (2 * SECRET_BYTES)
/* 128 bits cannot be guessed; the bound is there to make noise visible: after so many wrong ones the invitation is
 * closed. */
#define INVITE_TRIES 20u

struct token {
	char address[ADDRESS_MAX_BYTES + 1];
	char fingerprint_hex[FINGERPRINT_HEX_BYTES + 1];
	char secret_hex[SECRET_HEX_BYTES + 1];
};

/* A token for this address and key, with a new secret. -EINVAL for an address that is none. */
int token_make(const char *host_port, const char *fingerprint_hex, struct token *out, struct err *err);
char *token_format(const struct token *t); /* malloc'd */
/* Blanks around the text are ignored. -EINVAL: garbled; -EPROTONOSUPPORT: made by a newer version. */
int token_parse(const char *text, struct token *out, struct err *err);

struct invite {
	char secret_sha256_hex[65]; /* "" : closed */
	unsigned tries_left;
};
void invite_open(struct invite *i, const struct token *t);
void invite_close(struct invite *i);
/* 0: the secret is right (the caller pairs, then closes and stores the invite). -EACCES: wrong, a try is used up (store
 * the invite). -ESTALE: no invitation is open: it was used or closed. The comparison takes the same time whatever the
 * secret. */
int invite_try(struct invite *i, const char *secret_hex, struct err *err);
char *invite_format(const struct invite *i); /* malloc'd, for a setting */
/* NULL or "" is a closed one; so is text that cannot be understood. */
void invite_parse(const char *text, struct invite *out);

#endif
