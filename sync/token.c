/* SPDX-License-Identifier: MIT */
#include "sync/token.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/util.h"

#define PREFIX "twinfs1_"
#define PREFIX_ANY "twinfs"
#define PIN_BYTES 32u
#define SUM_BYTES 4u
#define RAW_MIN_BYTES (PIN_BYTES + SECRET_BYTES + 1 + SUM_BYTES)
#define RAW_MAX_BYTES (PIN_BYTES + SECRET_BYTES + ADDRESS_MAX_BYTES + SUM_BYTES)
#define BLANKS " \t\r\n"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static void base64url_encode(const uint8_t *in, size_t n, char *out)
{
	for (size_t i = 0; i < n; i += 3) {
		size_t left = MIN(n - i, 3u);
		uint32_t v = (uint32_t)in[i] << 16 | (left > 1 ? (uint32_t)in[i + 1] << 8 : 0) |
			     (left > 2 ? in[i + 2] : 0);

		for (size_t k = 0; k <= left; k++)
			*out++ = digits[v >> (18 - 6 * k) & 63];
	}
	*out = '\0';
}

/* Bytes decoded, or 0 when a character or the length is wrong. out has room for n * 3 / 4. */
static size_t base64url_decode(const char *in, size_t n, uint8_t *out)
{
	size_t len = 0;
	uint32_t v = 0;

	if (n % 4 == 1)
		return 0;
	for (size_t i = 0; i < n; i++) {
		const char *p = in[i] ? strchr(digits, in[i]) : NULL;

		if (!p)
			return 0;
		v = v << 6 | (uint32_t)(p - digits);
		if (i % 4 > 0)
			out[len++] = (uint8_t)(v >> (6 - 2 * (i % 4)));
	}
	/* the bits that fill up the last character are 0, so that there is one text for each token */
	if ((n % 4 == 2 && v & 15) || (n % 4 == 3 && v & 3))
		return 0;
	return len;
}

static void checksum(const uint8_t *raw, size_t n, uint8_t out[SUM_BYTES])
{
	uint8_t sum[SHA256_DIGEST_LENGTH];

	SHA256(raw, n, sum);
	memcpy(out, sum, SUM_BYTES);
}

int token_make(const char *host_port, const char *fingerprint_hex, struct token *out, struct err *err)
{
	uint8_t secret[SECRET_BYTES];
	struct address a;
	int rc = address_parse(host_port, &a, err);

	if (rc)
		return rc;
	if (fingerprint_check(fingerprint_hex))
		return err_set(err, -EINVAL, "\"%.80s\" is not a fingerprint", fingerprint_hex);
	address_format(&a, out->address);
	text_copy(out->fingerprint_hex, sizeof(out->fingerprint_hex), fingerprint_hex);
	random_bytes(secret, sizeof(secret));
	hex_encode(secret, sizeof(secret), out->secret_hex);
	return 0;
}

char *token_format(const struct token *t)
{
	uint8_t raw[RAW_MAX_BYTES];
	size_t len = strlen(t->address), at = PIN_BYTES + SECRET_BYTES;
	char *text;

	hex_decode(t->fingerprint_hex, raw, PIN_BYTES);
	hex_decode(t->secret_hex, raw + PIN_BYTES, SECRET_BYTES);
	memcpy(raw + at, t->address, len);
	checksum(raw, at + len, raw + at + len);
	text = xmalloc(sizeof(PREFIX) + (at + len + SUM_BYTES) * 4 / 3 + 4);
	text_copy(text, sizeof(PREFIX), PREFIX);
	base64url_encode(raw, at + len + SUM_BYTES, text + strlen(PREFIX));
	return text;
}

int token_parse(const char *text, struct token *out, struct err *err)
{
	uint8_t raw[RAW_MAX_BYTES + 3], sum[SUM_BYTES];
	struct address a;
	size_t len, n;

	text += strspn(text, BLANKS);
	len = strcspn(text, BLANKS);
	if (text[len + strspn(text + len, BLANKS)])
		goto garbled;
	if (strncmp(text, PREFIX, strlen(PREFIX))) {
		size_t p = strlen(PREFIX_ANY);

		if (!strncmp(text, PREFIX_ANY, p) && text[p] >= '2' && text[p] <= '9')
			return err_set(err, -EPROTONOSUPPORT,
				       "the token was made by a newer twinfs; install that version here too");
		goto garbled;
	}
	text += strlen(PREFIX);
	len -= strlen(PREFIX);
	if (len > sizeof(raw) * 4 / 3)
		goto garbled;
	n = base64url_decode(text, len, raw);
	if (n < RAW_MIN_BYTES || n > RAW_MAX_BYTES)
		goto garbled;
	n -= SUM_BYTES;
	checksum(raw, n, sum);
	if (memcmp(sum, raw + n, SUM_BYTES))
		goto garbled;
	hex_encode(raw, PIN_BYTES, out->fingerprint_hex);
	hex_encode(raw + PIN_BYTES, SECRET_BYTES, out->secret_hex);
	n -= PIN_BYTES + SECRET_BYTES;
	memcpy(out->address, raw + PIN_BYTES + SECRET_BYTES, n);
	out->address[n] = '\0';
	if (strlen(out->address) == n && !address_parse(out->address, &a, NULL))
		return 0;
garbled:
	return err_set(err, -EINVAL,
		       "the token is garbled: copy the whole line that twinfs invite printed, or make a new one");
}

/* ---- invite
 * ----------------------------------------------------------------------------------------------------------- */

static void hash_secret(const char *secret_hex, char out[65])
{
	uint8_t sum[SHA256_DIGEST_LENGTH];

	SHA256((const uint8_t *)secret_hex, strlen(secret_hex), sum);
	hex_encode(sum, sizeof(sum), out);
}

void invite_open(struct invite *i, const struct token *t)
{
	hash_secret(t->secret_hex, i->secret_sha256_hex);
	i->tries_left = INVITE_TRIES;
}

void invite_close(struct invite *i)
{
	memset(i, 0, sizeof(*i));
}

int invite_try(struct invite *i, const char *secret_hex, struct err *err)
{
	char sum[65];

	if (!i->secret_sha256_hex[0])
		return err_set(err, -ESTALE,
			       "no invitation is open here: the token was used or withdrawn; make a new one with "
			       "twinfs invite");
	hash_secret(secret_hex, sum);
	if (!CRYPTO_memcmp(sum, i->secret_sha256_hex, sizeof(sum)))
		return 0;
	if (i->tries_left > 1) {
		i->tries_left--;
		return err_set(
			err, -EACCES,
			"the token is not the one given out last; use that one, or make a new one with twinfs invite");
	}
	invite_close(i);
	return err_set(err, -EACCES,
		       "too many wrong tokens: the invitation is closed; make a new one with twinfs invite");
}

char *invite_format(const struct invite *i)
{
	return i->secret_sha256_hex[0] ? xasprintf("%s %u", i->secret_sha256_hex, i->tries_left) : xstrdup("");
}

void invite_parse(const char *text, struct invite *out)
{
	char sum[65];
	unsigned tries;

	invite_close(out);
	if (!text || sscanf(text, "%64[0-9a-f] %u", sum, &tries) != 2 || strlen(sum) != 64 || tries == 0 ||
	    tries > INVITE_TRIES)
		return;
	text_copy(out->secret_sha256_hex, sizeof(out->secret_sha256_hex), sum);
	out->tries_left = tries;
}
