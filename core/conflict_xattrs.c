/* SPDX-License-Identifier: MIT */
/* An xattr that got two values: in which key the secondary's is kept, and what becomes of both. */
#include "core/conflicts_private.h"

#include "util/util.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define PREFIX_LEN (sizeof(CONFLICT_XATTR) - 1)
#define HASH_LEN 17u /* "~" and 16 digits */
/* So many values of one key are found again; who has more looks at the keys. */
#define FOUND_MAX 256u

/* "trusted.k" is kept under its whole name, so "user.trusted.k" is not kept under that without its "user.". */
static bool has_namespace(const char *name)
{
	return strncmp(name, "trusted.", 8) == 0 || strncmp(name, "security.", 9) == 0 ||
	       strncmp(name, "system.", 7) == 0;
}

static const char *without_user(const char *key)
{
	return strncmp(key, "user.", 5) == 0 ? key + 5 : key;
}

void conflict_key(const char *key, unsigned n, char out[XATTR_NAME_MAX_BYTES + 1])
{
	const char *bare = without_user(key);
	size_t len = strlen(bare);

	if (n == 1 && PREFIX_LEN + len <= XATTR_NAME_MAX_BYTES && !(bare != key && has_namespace(bare))) {
		snprintf(out, XATTR_NAME_MAX_BYTES + 1, CONFLICT_XATTR "%s", bare);
		return;
	}
	len = MIN(len, XATTR_NAME_MAX_BYTES - PREFIX_LEN - HASH_LEN);
	while (len > 0 && ((unsigned char)bare[len] & 0xc0) == 0x80) /* not within a character */
		len--;
	snprintf(out, XATTR_NAME_MAX_BYTES + 1, CONFLICT_XATTR "%.*s~%016llx", (int)len, bare,
		 (unsigned long long)XXH3_64bits_withSeed(key, strlen(key), n));
}

int conflict_key_for(struct volume *v, uint64_t ino, const char *key, const void *value, size_t len_bytes,
		     char out[XATTR_NAME_MAX_BYTES + 1])
{
	uint8_t *now = xmalloc(XATTR_VALUE_MAX_BYTES);
	ssize_t len;

	for (unsigned n = 1;; n++) {
		conflict_key(key, n, out);
		len = tree_xattr_get(v, ino, out, now, XATTR_VALUE_MAX_BYTES);
		if (len < 0 || ((size_t)len == len_bytes && memcmp(now, value, len_bytes) == 0))
			break;
	}
	free(now);
	return len >= 0 || len == -ENODATA ? 0 : (int)len;
}

/* Does the rule of a conflict name this key, alone or before what was done since? */
static bool rule_names(const char *rule, const char *key)
{
	const char *at = strstr(rule, key), *end = at ? at + strlen(key) : NULL;

	return at && (!*end || strncmp(end, "; then ", 7) == 0);
}

/* What the conflict is about, and where the other value is kept; false: its words do not say. */
static bool keys_of(const struct conflict *c, char key[XATTR_NAME_MAX_BYTES + 1], char kept[XATTR_NAME_MAX_BYTES + 1])
{
	const char *text = c->version[1].value; /* "KEY=value" or "KEY, N bytes" */
	size_t len = text ? strlen(text) : 0;

	if (!strstr(c->rule, CONFLICT_XATTR))
		return false;
	for (size_t i = 1; i < len && i <= XATTR_NAME_MAX_BYTES; i++) {
		if (text[i] != '=' && text[i] != ',')
			continue;
		snprintf(key, XATTR_NAME_MAX_BYTES + 1, "%.*s", (int)i, text);
		for (unsigned n = 1; n <= FOUND_MAX; n++) {
			conflict_key(key, n, kept);
			if (rule_names(c->rule, kept))
				return true;
		}
	}
	return false;
}

/* The key that this is the other value of, where the conflict does not say: as a version of this program kept it that
 * knew no cut names. */
static void key_of(struct volume *v, uint64_t ino, const char *kept, char *out, size_t cap)
{
	const char *name = kept + PREFIX_LEN;

	snprintf(out, cap, "user.%s", name);
	if (has_namespace(name) && tree_xattr_get(v, ino, out, NULL, 0) < 0)
		snprintf(out, cap, "%s", name);
}

/* Of two values which == 1, the one that is kept, becomes the key's; then it is kept no more. */
static int settle_key(struct volume *v, uint64_t ino, const char *key, const char *kept, int which)
{
	uint8_t *value = xmalloc(XATTR_VALUE_MAX_BYTES);
	ssize_t len = tree_xattr_get(v, ino, kept, value, XATTR_VALUE_MAX_BYTES);
	int rc = len < 0 ? (int)len : 0;

	if (!rc && which == 1)
		rc = conflict_set_key(v, ino, key, value, len);
	if (!rc)
		rc = conflict_set_key(v, ino, kept, NULL, -1);
	free(value);
	return rc;
}

int conflict_keep_xattrs(struct volume *v, const struct conflict *c, int which)
{
	char key[XATTR_NAME_MAX_BYTES + 1], kept[XATTR_NAME_MAX_BYTES + 1];
	struct conflict_keys k = { .prefix = CONFLICT_XATTR };
	int rc;

	if (keys_of(c, key, kept)) {
		rc = settle_key(v, c->ino, key, kept, which);
		if (rc == -ENODATA && which == 0) /* a person took it away: so it is */
			rc = 0;
	} else {
		rc = tree_xattrs(v, c->ino, conflict_list_key, &k);
		for (size_t i = 0; !rc && i < k.n; i++) {
			key_of(v, c->ino, k.key[i], key, sizeof(key));
			rc = settle_key(v, c->ino, key, k.key[i], which);
		}
		conflict_free_keys(&k);
	}
	conflict_tell(v, NOTICE_INODE, c->ino, NULL);
	return rc;
}
