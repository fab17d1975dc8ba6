/* SPDX-License-Identifier: MIT */
#include "sync/identity.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/dir.h"
#include "util/log.h"
#include "util/util.h"

#define KEY_FILE "node.key"
#define CERT_FILE "node.crt"
/* A P-256 key or its certificate is under 1 KiB as PEM; nothing near this bound is ours. */
#define PEM_MAX_BYTES 16384
/* Nobody looks at the dates, but a certificate must have some. */
#define CERT_LIFE_DAYS 36500

struct identity {
	EVP_PKEY *key;
	X509 *cert;
	char *key_pem, *cert_pem;
	char fingerprint_hex[FINGERPRINT_HEX_BYTES + 1];
};

static const char *ssl_reason(void)
{
	unsigned long code = ERR_peek_last_error();
	const char *text = code ? ERR_reason_error_string(code) : NULL;

	ERR_clear_error();
	return text ? text : "no reason given";
}

int fingerprint_of_cert(X509 *cert, char hex[FINGERPRINT_HEX_BYTES + 1])
{
	uint8_t *der = NULL, sum[SHA256_DIGEST_LENGTH];
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);

	if (len <= 0) {
		ERR_clear_error();
		return -EINVAL;
	}
	SHA256(der, (size_t)len, sum);
	OPENSSL_free(der);
	hex_encode(sum, sizeof(sum), hex);
	return 0;
}

int fingerprint_check(const char *hex)
{
	return hex && strlen(hex) == FINGERPRINT_HEX_BYTES && strspn(hex, "0123456789abcdef") == FINGERPRINT_HEX_BYTES
		       ? 0
		       : -EINVAL;
}

int fingerprint_to_curl_pin(const char *hex, char out[60])
{
	static const char scheme[] = "sha256//";
	uint8_t sum[SHA256_DIGEST_LENGTH];

	if (fingerprint_check(hex) || hex_decode(hex, sum, sizeof(sum)))
		return -EINVAL;
	memcpy(out, scheme, sizeof(scheme));
	EVP_EncodeBlock((uint8_t *)out + sizeof(scheme) - 1, sum, sizeof(sum));
	return 0;
}

/* ---- making ---------------------------------------------------------------------------------------------------------
 */

static X509 *self_sign(EVP_PKEY *key)
{
	X509 *cert = X509_new();
	X509_NAME *name = cert ? X509_get_subject_name(cert) : NULL;
	uint64_t serial = random_u64();

	if (!cert || !X509_set_version(cert, 2) || !ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), serial) ||
	    !X509_gmtime_adj(X509_getm_notBefore(cert), -86400) ||
	    !X509_time_adj_ex(X509_getm_notAfter(cert), CERT_LIFE_DAYS, 0, NULL) || !X509_set_pubkey(cert, key) ||
	    !X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const uint8_t *)"twinfs node", -1, -1, 0) ||
	    !X509_set_issuer_name(cert, name) || !X509_sign(cert, key, EVP_sha256())) {
		X509_free(cert);
		return NULL;
	}
	return cert;
}

/* The PEM text of a key or a certificate (one of them is NULL), malloc'd; NULL on failure. */
static char *to_pem(EVP_PKEY *key, X509 *cert)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *data, *text = NULL;
	long len;
	int ok;

	if (!bio)
		return NULL;
	ok = key ? PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) : PEM_write_bio_X509(bio, cert);
	len = BIO_get_mem_data(bio, &data);
	if (ok && len > 0)
		text = xstrndup(data, (size_t)len);
	BIO_free(bio);
	return text;
}

/* Write a new file whole and durable, or leave none. */
static int write_new(const char *dir, const char *name, mode_t mode, const char *text, struct err *err)
{
	char *path = xasprintf("%s/%s", dir, name);
	size_t len = strlen(text);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	int rc = 0;

	if (fd < 0) {
		rc = err_set(err, -errno,
			     errno == EEXIST ? "%s is there already; the identity of a node is never replaced"
					     : "cannot make %s: %m",
			     path);
		free(path);
		return rc;
	}
	errno = 0;
	if (write(fd, text, len) != (ssize_t)len || fsync(fd)) {
		rc = err_set(err, errno ? -errno : -ENOSPC, "cannot write %s: %m", path);
		unlink(path);
	}
	close(fd);
	free(path);
	return rc;
}

int identity_create(const char *dir, struct err *err)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = key ? self_sign(key) : NULL;
	char *key_pem = cert ? to_pem(key, NULL) : NULL;
	char *cert_pem = cert ? to_pem(NULL, cert) : NULL;
	int rc;

	if (!key_pem || !cert_pem) {
		rc = err_set(err, -EIO, "cannot make a key for this node: OpenSSL: %s", ssl_reason());
		goto out;
	}
	rc = write_new(dir, KEY_FILE, 0600, key_pem, err);
	if (rc)
		goto out;
	rc = write_new(dir, CERT_FILE, 0644, cert_pem, err);
	if (rc) {
		char *path = xasprintf("%s/" KEY_FILE, dir);

		unlink(path);
		free(path);
		goto out;
	}
	rc = dir_sync(dir, err);
out:
	if (key_pem)
		OPENSSL_cleanse(key_pem, strlen(key_pem));
	free(key_pem);
	free(cert_pem);
	X509_free(cert);
	EVP_PKEY_free(key);
	return rc;
}

void identity_remove(const char *dir)
{
	static const char *const names[] = { KEY_FILE, CERT_FILE };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		char *path = xasprintf("%s/%s", dir, names[i]);

		unlink(path);
		free(path);
	}
}

/* ---- loading --------------------------------------------------------------------------------------------------------
 */

static int read_pem(const char *path, bool is_secret, char **out, struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text = NULL;
	struct stat st;
	ssize_t n;
	int rc = 0;

	if (fd < 0)
		return err_set(
			err, -errno,
			errno == ENOENT
				? "%s is missing; without it this store has no identity: restore it from a copy, or "
				  "make a new store and join again"
				: "cannot open %s: %m",
			path);
	text = xmalloc(PEM_MAX_BYTES + 1);
	n = read(fd, text, PEM_MAX_BYTES);
	if (n < 0)
		rc = err_set(err, -errno, "cannot read %s: %m", path);
	else if (is_secret && !fstat(fd, &st) && (st.st_mode & 077))
		log_warn("%s can be read by other users of this machine; chmod 600 it", path);
	close(fd);
	if (rc) {
		free(text);
		return rc;
	}
	text[n] = '\0';
	*out = text;
	return 0;
}

/* No passphrase: without this OpenSSL would ask on the terminal. */
static int no_passphrase(char *buf, int size, int rwflag, void *ctx)
{
	(void)buf, (void)size, (void)rwflag, (void)ctx;
	return -1;
}

static int parse_key(struct identity *id, const char *path, struct err *err)
{
	BIO *bio = BIO_new_mem_buf(id->key_pem, -1);

	id->key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
	BIO_free(bio);
	return id->key ? 0 : err_set(err, -EUCLEAN, "%s is damaged (%s); restore it from a copy", path, ssl_reason());
}

static int parse_cert(struct identity *id, const char *path, struct err *err)
{
	BIO *bio = BIO_new_mem_buf(id->cert_pem, -1);

	id->cert = bio ? PEM_read_bio_X509(bio, NULL, no_passphrase, NULL) : NULL;
	BIO_free(bio);
	return id->cert ? 0 : err_set(err, -EUCLEAN, "%s is damaged (%s); restore it from a copy", path, ssl_reason());
}

int identity_load(const char *dir, struct identity **out, struct err *err)
{
	char *key_path = xasprintf("%s/" KEY_FILE, dir), *cert_path = xasprintf("%s/" CERT_FILE, dir);
	struct identity *id = xcalloc(1, sizeof(*id));
	int rc;

	ERR_clear_error();
	rc = read_pem(key_path, true, &id->key_pem, err);
	if (!rc)
		rc = read_pem(cert_path, false, &id->cert_pem, err);
	if (!rc)
		rc = parse_key(id, key_path, err);
	if (!rc)
		rc = parse_cert(id, cert_path, err);
	if (!rc && X509_check_private_key(id->cert, id->key) != 1) {
		rc = err_set(err, -EUCLEAN, "%s does not belong to %s; restore both from one copy", cert_path,
			     key_path);
		ERR_clear_error();
	}
	if (!rc && fingerprint_of_cert(id->cert, id->fingerprint_hex))
		rc = err_set(err, -EUCLEAN, "%s is damaged (no public key); restore it from a copy", cert_path);
	free(key_path);
	free(cert_path);
	if (rc) {
		identity_free(id);
		return rc;
	}
	*out = id;
	return 0;
}

static bool key_is_a_pair(EVP_PKEY *key)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
	bool is = ctx && EVP_PKEY_check(ctx) == 1;

	EVP_PKEY_CTX_free(ctx);
	return is;
}

int identity_check(const char *dir, struct err *err)
{
	struct identity *id = NULL;
	struct stat st = { .st_mode = 0 };
	char *key_path = xasprintf("%s/" KEY_FILE, dir);
	int rc = identity_load(dir, &id, err);

	if (!rc && !key_is_a_pair(id->key))
		rc = err_set(err, -EUCLEAN, "%s is damaged (its halves do not belong together); restore it from a copy",
		             key_path);
	else if (!rc && X509_verify(id->cert, id->key) != 1)
		rc = err_set(err, -EUCLEAN, "%s/" CERT_FILE " is damaged (%s); restore it from a copy", dir,
		             ssl_reason());
	else if (!rc && !stat(key_path, &st) && (st.st_mode & 077))
		rc = err_set(err, -EPERM, "%s can be read by other users of this machine (mode %04o); chmod 600 it",
		             key_path, (unsigned)st.st_mode & 07777);
	ERR_clear_error();
	identity_free(id);
	free(key_path);
	return rc;
}

void identity_free(struct identity *id)
{
	if (!id)
		return;
	if (id->key_pem)
		OPENSSL_cleanse(id->key_pem, strlen(id->key_pem));
	free(id->key_pem);
	free(id->cert_pem);
	EVP_PKEY_free(id->key);
	X509_free(id->cert);
	free(id);
}

const char *identity_fingerprint_hex(const struct identity *id) { return id->fingerprint_hex; }
const char *identity_key_pem(const struct identity *id) { return id->key_pem; }
const char *identity_cert_pem(const struct identity *id) { return id->cert_pem; }
EVP_PKEY *identity_key(const struct identity *id) { return id->key; }
X509 *identity_cert(const struct identity *id) { return id->cert; }
