/* SPDX-License-Identifier: MIT */
/*
 * name_fold: names that people, and systems other than this one, take for the same: equal but for case, or for how
 * Unicode writes them (é as one character or as two). On this filesystem they are different names, as on ext4.
 */
#ifndef TWINFS_SYNC_NAME_FOLD_H
#define TWINFS_SYNC_NAME_FOLD_H

#include <stddef.h>

/* The name with case folded and characters taken apart (NFD); malloc'd, not NUL-terminated. Bytes that are no UTF-8
 * stay as they are, all of them. */
char *name_fold(const char *name, size_t len_bytes, size_t *out_bytes);

#endif
