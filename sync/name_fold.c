/* SPDX-License-Identifier: MIT */
#include "sync/name_fold.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "util/util.h"

/* Most names are ASCII, of which only the capital letters change. */
static char *fold_ascii(const char *name, size_t len_bytes)
{
	char *folded = xmalloc(len_bytes + 1);

	for (size_t i = 0; i < len_bytes; i++) {
		if ((unsigned char)name[i] >= 0x80) {
			free(folded);
			return NULL;
		}
		folded[i] = name[i] >= 'A' && name[i] <= 'Z' ? (char)(name[i] - 'A' + 'a') : name[i];
	}
	folded[len_bytes] = '\0';
	return folded;
}

char *name_fold(const char *name, size_t len_bytes, size_t *out_bytes)
{
	utf8proc_uint8_t *folded = NULL;
	char *ascii = fold_ascii(name, len_bytes);
	utf8proc_ssize_t n;

	if (ascii) {
		*out_bytes = len_bytes;
		return ascii;
	}
	n = utf8proc_map((const utf8proc_uint8_t *)name, (utf8proc_ssize_t)len_bytes, &folded,
			 UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_CASEFOLD);

	if (n < 0) {
		*out_bytes = len_bytes;
		return xstrndup(name, len_bytes);
	}
	*out_bytes = (size_t)n;
	return (char *)folded;
}
