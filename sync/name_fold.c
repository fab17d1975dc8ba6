/* SPDX-License-Identifier: MIT */
#include "sync/name_fold.h"

#include <string.h>
#include <utf8proc.h>

#include "util/util.h"

char *name_fold(const char *name, size_t len_bytes, size_t *out_bytes)
{
	utf8proc_uint8_t *folded = NULL;
	utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)name, (utf8proc_ssize_t)len_bytes, &folded,
					  UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_CASEFOLD);

	if (n < 0) {
		*out_bytes = len_bytes;
		return xstrndup(name, len_bytes);
	}
	*out_bytes = (size_t)n;
	return (char *)folded;
}
