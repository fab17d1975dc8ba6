/* SPDX-License-Identifier: MIT */
#include "util/acl.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/util.h"

#define HEADER_BYTES 4u
#define ENTRY_BYTES 8u

enum tag { USER_OBJ = 0x01, USER = 0x02, GROUP_OBJ = 0x04, GROUP = 0x08, MASK = 0x10, OTHER = 0x20 };

static uint16_t get_u16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t get_u32(const uint8_t *p)
{
	return get_u16(p) | (uint32_t)get_u16(p + 2) << 16;
}

static void put_u16(uint8_t *p, uint16_t n)
{
	p[0] = (uint8_t)n;
	p[1] = (uint8_t)(n >> 8);
}

static void put_u32(uint8_t *p, uint32_t n)
{
	put_u16(p, (uint16_t)n);
	put_u16(p + 2, (uint16_t)(n >> 16));
}

static size_t count(size_t len_bytes)
{
	return (len_bytes - HEADER_BYTES) / ENTRY_BYTES;
}

static const uint8_t *entry(const void *value, size_t i)
{
	return (const uint8_t *)value + HEADER_BYTES + i * ENTRY_BYTES;
}

static unsigned tag_of(const void *value, size_t i)
{
	return get_u16(entry(value, i));
}

static unsigned perm_of(const void *value, size_t i)
{
	return get_u16(entry(value, i) + 2);
}

static void perm_set(void *value, size_t i, unsigned perm)
{
	((uint8_t *)value)[HEADER_BYTES + i * ENTRY_BYTES + 2] = (uint8_t)perm;
}

bool acl_is_key(const char *key)
{
	return strcmp(key, ACL_ACCESS_KEY) == 0 || strcmp(key, ACL_DEFAULT_KEY) == 0;
}

/* May an entry `tag` follow one of `before` (0: none)? The order is fixed; users and groups repeat. */
static bool may_follow(unsigned before, unsigned tag)
{
	switch (tag) {
	case USER_OBJ:
		return before == 0;
	case USER:
		return before == USER_OBJ || before == USER;
	case GROUP_OBJ:
		return before == USER_OBJ || before == USER;
	case GROUP:
		return before == GROUP_OBJ || before == GROUP;
	case MASK:
		return before == GROUP_OBJ || before == GROUP;
	case OTHER:
		return before == GROUP_OBJ || before == GROUP || before == MASK;
	default:
		return false;
	}
}

int acl_check(const void *value, size_t len_bytes)
{
	unsigned before = 0, seen = 0;

	if (len_bytes > ACL_MAX_BYTES)
		return -E2BIG;
	if (len_bytes < HEADER_BYTES || (len_bytes - HEADER_BYTES) % ENTRY_BYTES != 0)
		return -EINVAL;
	if (memcmp(value, "\2\0\0\0", HEADER_BYTES) != 0)
		return -EOPNOTSUPP;
	for (size_t i = 0; i < count(len_bytes); i++) {
		unsigned tag = tag_of(value, i);

		if (!may_follow(before, tag) || perm_of(value, i) > 7)
			return -EINVAL;
		before = tag;
		seen |= tag;
	}
	if (before != OTHER || ((seen & (USER | GROUP)) && !(seen & MASK)))
		return -EINVAL;
	return 0;
}

/* Which bits of the mode an entry stands for, as a shift; -1: none. With a mask the group's entry stands for none. */
static int shift_of(unsigned tag, bool has_mask)
{
	switch (tag) {
	case USER_OBJ:
		return 6;
	case MASK:
		return 3;
	case GROUP_OBJ:
		return has_mask ? -1 : 3;
	case OTHER:
		return 0;
	default:
		return -1;
	}
}

static bool has_mask(const void *value, size_t len_bytes)
{
	for (size_t i = 0; i < count(len_bytes); i++)
		if (tag_of(value, i) == MASK)
			return true;
	return false;
}

uint32_t acl_mode(const void *value, size_t len_bytes, uint32_t mode)
{
	bool mask = has_mask(value, len_bytes);

	assert(acl_check(value, len_bytes) == 0);
	for (size_t i = 0; i < count(len_bytes); i++) {
		int shift = shift_of(tag_of(value, i), mask);

		if (shift >= 0)
			mode = (mode & ~(UINT32_C(7) << shift)) | (uint32_t)perm_of(value, i) << shift;
	}
	return mode;
}

bool acl_is_minimal(const void *value, size_t len_bytes)
{
	return count(len_bytes) == 3 && !has_mask(value, len_bytes);
}

void acl_set_mode(void *value, size_t len_bytes, uint32_t mode)
{
	bool mask = has_mask(value, len_bytes);

	assert(acl_check(value, len_bytes) == 0);
	for (size_t i = 0; i < count(len_bytes); i++) {
		int shift = shift_of(tag_of(value, i), mask);

		if (shift >= 0)
			perm_set(value, i, mode >> shift & 7);
	}
}

uint32_t acl_inherit(void *value, size_t len_bytes, uint32_t mode)
{
	uint32_t kept = mode & ~UINT32_C(0777);

	kept |= acl_mode(value, len_bytes, 0) & mode & 0777;
	acl_set_mode(value, len_bytes, kept);
	return kept;
}

/* ---- as text ---- */

static const struct {
	enum tag tag;
	const char *word; /* up to the permissions, or to the id */
	bool has_id;
} words[] = {
	{ USER_OBJ, "user::", false }, { USER, "user:", true },   { GROUP_OBJ, "group::", false },
	{ GROUP, "group:", true },     { MASK, "mask::", false }, { OTHER, "other::", false },
};

static const char default_word[] = "default:";

/* An entry with everything: "default:group:4294967295:rwx," */
#define ENTRY_TEXT_BYTES 32u

char *acl_text(const void *value, size_t len_bytes, bool is_default)
{
	size_t n = count(len_bytes), cap = n * ENTRY_TEXT_BYTES + 1, at = 0;
	char *text = xmalloc(cap);

	assert(acl_check(value, len_bytes) == 0);
	for (size_t i = 0; i < n; i++) {
		unsigned perm = perm_of(value, i);
		char id[16] = "";
		size_t w = 0;

		while (words[w].tag != tag_of(value, i))
			w++;
		if (words[w].has_id)
			snprintf(id, sizeof(id), "%u:", (unsigned)get_u32(entry(value, i) + 4));
		at += (size_t)snprintf(text + at, cap - at, "%s%s%s%s%c%c%c", i ? "," : "",
		                       is_default ? default_word : "", words[w].word, id, perm & 4 ? 'r' : '-',
		                       perm & 2 ? 'w' : '-', perm & 1 ? 'x' : '-');
	}
	return text;
}

/* One entry, which ends at a comma or the end; *text moves on. */
static bool parse_entry(const char **text, uint8_t out[ENTRY_BYTES])
{
	unsigned long id = UINT32_MAX;
	const char *p = *text;
	unsigned perm = 0;
	size_t w = 0;

	/* "user::" before "user:" */
	while (w < ARRAY_LEN(words) && strncmp(p, words[w].word, strlen(words[w].word)) != 0)
		w++;
	if (w == ARRAY_LEN(words))
		return false;
	p += strlen(words[w].word);
	if (words[w].has_id) {
		char *end;

		if (*p < '0' || *p > '9')
			return false;
		errno = 0;
		id = strtoul(p, &end, 10);
		if (errno || id >= UINT32_MAX || *end != ':')
			return false;
		p = end + 1;
	}
	for (int i = 0; i < 3; i++, p++) {
		if (*p != '-' && *p != "rwx"[i])
			return false;
		perm = perm << 1 | (*p != '-');
	}
	if (*p && *p != ',')
		return false;
	*text = p;
	put_u16(out, (uint16_t)words[w].tag);
	put_u16(out + 2, (uint16_t)perm);
	put_u32(out + 4, (uint32_t)id);
	return true;
}

int acl_parse(const char *text, uint8_t out[ACL_MAX_BYTES], size_t *len_bytes, bool *is_default)
{
	size_t skip = strlen(default_word), len = HEADER_BYTES;

	*is_default = strncmp(text, default_word, skip) == 0;
	memcpy(out, "\2\0\0\0", HEADER_BYTES);
	for (;;) {
		if (*is_default && strncmp(text, default_word, skip) != 0)
			return -EINVAL;
		text += *is_default ? skip : 0;
		if (len + ENTRY_BYTES > ACL_MAX_BYTES || !parse_entry(&text, out + len))
			return -EINVAL;
		len += ENTRY_BYTES;
		if (!*text)
			break;
		text++;
	}
	*len_bytes = len;
	return acl_check(out, len) ? -EINVAL : 0;
}
