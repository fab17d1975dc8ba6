/* SPDX-License-Identifier: MIT */
#include "util/acl.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define HEADER_BYTES 4u
#define ENTRY_BYTES 8u

enum tag { USER_OBJ = 0x01, USER = 0x02, GROUP_OBJ = 0x04, GROUP = 0x08, MASK = 0x10, OTHER = 0x20 };

static uint16_t get_u16(const uint8_t *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
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
