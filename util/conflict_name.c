/* SPDX-License-Identifier: MIT */
#include "util/conflict_name.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "util/util.h"

#define NAME_BYTES 255
/* A longer "extension" is rather a sentence with a dot in it; keeping it would leave no room for the name. */
#define EXT_BYTES 64
#define NODE_BYTES 64

static bool digits(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (s[i] < '0' || s[i] > '9')
			return false;
	return n > 0;
}

/* Is s the "-YYYYMMDD-HHMMSS[-n][.EXT]" that ends a conflict name? Sets where EXT (with its dot) begins. */
static bool is_stamp(const char *s, size_t n, size_t *ext_at)
{
	size_t i = 16;

	if (n < 16 || s[0] != '-' || !digits(s + 1, 8) || s[9] != '-' || !digits(s + 10, 6))
		return false;
	if (i < n && s[i] == '-') {
		size_t from = ++i;

		while (i < n && s[i] >= '0' && s[i] <= '9')
			i++;
		if (i == from)
			return false;
	}
	*ext_at = i;
	return i == n || (s[i] == '.' && memchr(s + i + 1, '.', n - i - 1) == NULL);
}

/* Split into a stem and ".EXT"; an older conflict suffix belongs to neither. */
static void split_name(const char *name, size_t len, size_t *stem, size_t *ext_at)
{
	static const char tag[] = ".conflict-";
	const size_t tag_len = sizeof(tag) - 1;

	for (size_t at = len; at-- > 1;) {
		if (len - at < tag_len || memcmp(name + at, tag, tag_len) != 0)
			continue;
		for (size_t i = at + tag_len + 1; i < len; i++) {
			if (!is_stamp(name + i, len - i, ext_at))
				continue;
			*ext_at += i;
			*stem = at;
			return;
		}
	}
	*stem = *ext_at = len;
	for (size_t i = len; i-- > 1;) {
		if (name[i] != '.')
			continue;
		if (i + 1 < len && len - i <= EXT_BYTES)
			*stem = *ext_at = i;
		return;
	}
}

static void stamp_of(uint64_t written_ms, char out[24])
{
	time_t t = (time_t)MIN(written_ms / 1000, UINT64_C(253402300799)); /* the year 9999 */
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(out, 24, "%Y%m%d-%H%M%S", &tm);
}

size_t conflict_name(const char *name, size_t name_len, const char *node, uint64_t written_ms, unsigned n,
		     char out[256])
{
	char suffix[NODE_BYTES + EXT_BYTES + 64], stamp[24];
	size_t stem, ext_at, suffix_len, node_len = node ? strnlen(node, NODE_BYTES) : 0, room;

	assert(name_len > 0 && name_len <= NAME_BYTES);
	split_name(name, name_len, &stem, &ext_at);
	if (name_len - ext_at > EXT_BYTES)
		ext_at = name_len;
	stamp_of(written_ms, stamp);
	suffix_len = (size_t)snprintf(suffix, sizeof(suffix), ".conflict-%.*s-%s", node_len ? (int)node_len : 4,
				      node_len ? node : "peer", stamp);
	if (n > 1)
		suffix_len += (size_t)snprintf(suffix + suffix_len, sizeof(suffix) - suffix_len, "-%u", n);
	for (size_t i = 0; i < suffix_len; i++)
		if (suffix[i] == '/')
			suffix[i] = '_';
	memcpy(suffix + suffix_len, name + ext_at, name_len - ext_at);
	suffix_len += name_len - ext_at;
	room = NAME_BYTES - suffix_len;
	assert(room > 3); /* node and extension are bounded above */
	if (stem > room) {
		/* At most three continuation bytes belong to a character; more are no UTF-8, and cut anywhere. */
		stem = room;
		for (int back = 0; back < 3 && ((unsigned char)name[stem] & 0xc0) == 0x80; back++)
			stem--;
	}
	memcpy(out, name, stem);
	memcpy(out + stem, suffix, suffix_len);
	out[stem + suffix_len] = '\0';
	return stem + suffix_len;
}

size_t conflict_original(const char *name, size_t name_len, char out[256])
{
	size_t stem, ext_at, len = 0;

	assert(name_len <= NAME_BYTES);
	if (name_len > 0) {
		split_name(name, name_len, &stem, &ext_at);
		memcpy(out, name, stem);
		memmove(out + stem, name + ext_at, name_len - ext_at);
		len = stem + name_len - ext_at;
	}
	out[len] = '\0';
	return len;
}
