/* SPDX-License-Identifier: MIT */
#include "node/words.h"

#include <stdlib.h>
#include <string.h>

#include "util/util.h"

json_t *words_time(uint64_t real_ms)
{
	char text[21];

	if (real_ms == 0)
		return json_null();
	time_rfc3339(real_ms, text);
	return json_string(text);
}

json_t *words_path(const char *path)
{
	json_t *s = json_string(path);
	const unsigned char *p = (const unsigned char *)path;
	char *text, *to;

	if (s)
		return s;
	text = to = xmalloc(3 * strlen(path) + 1);
	while (*p) {
		size_t len = *p < 0x80 ? 1 : *p >= 0xf0 ? 4 : *p >= 0xe0 ? 3 : *p >= 0xc0 ? 2 : 0;
		json_t *one = len && strnlen((const char *)p, len) == len ? json_stringn((const char *)p, len) : NULL;

		if (one) {
			memcpy(to, p, len);
			to += len;
			p += len;
		} else {
			memcpy(to, "\xef\xbf\xbd", 3);
			to += 3;
			p++;
		}
		json_decref(one);
	}
	*to = '\0';
	s = json_string(text);
	free(text);
	return s;
}
