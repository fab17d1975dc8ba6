/* SPDX-License-Identifier: MIT */
/*
 * identity: the key pair by which the peer knows this node: `node.key` (EC P-256, PKCS 8 PEM, mode 0600) and `node.crt`
 * (a self-signed certificate around the public key, which TLS wants) in the store.
 *
 * The fingerprint is the SHA-256 of the public key (SubjectPublicKeyInfo, DER). Peers pin it and nothing else: names,
 * dates and issuers in certificates mean nothing here.
 *
 * Immutable once loaded: any thread may use it. The key is in memory in the clear, and wiped by identity_free.
 */
#ifndef TWINFS_SYNC_IDENTITY_H
#define TWINFS_SYNC_IDENTITY_H

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "util/err.h"

#define FINGERPRINT_HEX_BYTES 64u

struct identity;

/* Make both files in the directory `dir`, durably. -EEXIST if one of them is there: an identity is never replaced. */
int identity_create(const char *dir, struct err *err);
/* Of a store that is unmade. Missing files are fine. */
void identity_remove(const char *dir);
/* -ENOENT: missing; -EUCLEAN: damaged, or key and certificate do not belong together; -EACCES: not readable. */
int identity_load(const char *dir, struct identity **out, struct err *err);
void identity_free(struct identity *id);
/* For fsck: what identity_load refuses, and what it has no time for: -EUCLEAN also where the two halves of the key or
 * the certificate and its signature do not belong together, -EPERM where others can read the key. */
int identity_check(const char *dir, struct err *err);

/* 64 lower-case hex digits; valid as long as id. */
const char *identity_fingerprint_hex(const struct identity *id);
/* PEM texts and OpenSSL objects, borrowed. */
const char *identity_key_pem(const struct identity *id);
const char *identity_cert_pem(const struct identity *id);
EVP_PKEY *identity_key(const struct identity *id);
X509 *identity_cert(const struct identity *id);

/* The fingerprint of a certificate's key. -EINVAL if it has none that can be read. */
int fingerprint_of_cert(X509 *cert, char hex[FINGERPRINT_HEX_BYTES + 1]);
/* libcurl's form of a pin, "sha256//BASE64" (at most 60 bytes with its NUL). -EINVAL if hex is no fingerprint. */
int fingerprint_to_curl_pin(const char *hex, char out[60]);
/* 64 lower-case hex digits? */
int fingerprint_check(const char *hex);

#endif
