/* SPDX-License-Identifier: MIT */
/*
 * acl: a POSIX access control list as the bytes of its xattr (little endian: version 2, then entries of tag, permission
 * and id). Pure functions on memory; no volume, no locks. The kernel does the enforcing; what the filesystem owes is
 * that an access ACL and the mode never say two things:
 *   - owner and others of the mode are those entries of the ACL; the mode's group bits are its mask (where it has none,
 *     its group entry);
 *   - an ACL that says no more than the mode is not stored.
 * acl_check() may be given anything, from anyone. The others want a value that it has accepted.
 */
#ifndef TWINFS_UTIL_ACL_H
#define TWINFS_UTIL_ACL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ACL_ACCESS_KEY "system.posix_acl_access"
#define ACL_DEFAULT_KEY "system.posix_acl_default"
/* The kernel reads an ACL into one page and refuses to set a bigger one. */
#define ACL_MAX_BYTES 4096u

bool acl_is_key(const char *key);

/* 0, or -EINVAL, -EOPNOTSUPP (another version) or -E2BIG as the kernel would answer. */
int acl_check(const void *value, size_t len_bytes);
/* The mode with the permissions of this access ACL; the other bits stay. */
uint32_t acl_mode(const void *value, size_t len_bytes, uint32_t mode);
/* Does it say no more than a mode can? */
bool acl_is_minimal(const void *value, size_t len_bytes);
/* chmod of what has this access ACL. */
void acl_set_mode(void *value, size_t len_bytes, uint32_t mode);
/* As getfacl -cn writes it, entries with commas between: "user::rw-,user:1000:r--,...", of a default ACL each with
 * "default:" in front. malloc'd. */
char *acl_text(const void *value, size_t len_bytes, bool is_default);
/* The same back: 0, or -EINVAL. */
int acl_parse(const char *text, uint8_t out[ACL_MAX_BYTES], size_t *len_bytes, bool *is_default);
/* Turns a directory's default ACL into the access ACL of what is made in it with `mode`; returns the mode it gets. */
uint32_t acl_inherit(void *value, size_t len_bytes, uint32_t mode);

#endif
