/* SPDX-License-Identifier: MIT */
/* conflict_name: how the copy of a version is called that could not have its file's name. A pure function. */
#ifndef TWINFS_UTIL_CONFLICT_NAME_H
#define TWINFS_UTIL_CONFLICT_NAME_H

#include <stddef.h>
#include <stdint.h>

/* NAME.conflict-NODE-YYYYMMDD-HHMMSS.EXT into out (256 bytes; NUL-terminated), at most 255 bytes: NAME is cut at a
 * UTF-8 character if too long. EXT is what follows the last dot (a leading dot is none, neither is one with more
 * than 63 bytes behind it). A name that is a conflict name already gets its suffix replaced. n > 1 adds "-n" before
 * EXT. UTC. Returns the length. */
size_t conflict_name(const char *name, size_t name_len, const char *node, uint64_t written_ms, unsigned n,
		     char out[256]);
/* The name that a conflict name was made of, NUL-terminated; any other name as it is. Returns the length. */
size_t conflict_original(const char *name, size_t name_len, char out[256]);

#endif
