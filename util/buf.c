/* SPDX-License-Identifier: MIT */
#include "util/buf.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAP_BYTES 256

void buf_init(struct buf *b, size_t max_bytes)
{
	*b = (struct buf){ .max_bytes = max_bytes };
}

void buf_release(struct buf *b)
{
	free(b->data);
	buf_init(b, b->max_bytes);
}

void buf_reset(struct buf *b)
{
	b->len_bytes = 0;
	b->failed = 0;
}

/* Make room for len_bytes more behind what is there. */
static int reserve(struct buf *b, size_t len_bytes)
{
	size_t need, cap;
	uint8_t *data;

	if (b->failed)
		return b->failed;
	if (len_bytes > b->max_bytes - b->len_bytes)
		return b->failed = -EMSGSIZE;
	need = b->len_bytes + len_bytes;
	if (need <= b->cap_bytes && b->data)
		return 0;
	cap = b->cap_bytes > b->max_bytes / 2 ? b->max_bytes : b->cap_bytes * 2;
	if (cap < FIRST_CAP_BYTES)
		cap = FIRST_CAP_BYTES;
	if (cap < need)
		cap = need;
	data = realloc(b->data, cap);
	if (!data)
		return b->failed = -ENOMEM;
	b->data = data;
	b->cap_bytes = cap;
	return 0;
}

void *buf_extend(struct buf *b, size_t len_bytes)
{
	uint8_t *room;

	if (reserve(b, len_bytes))
		return NULL;
	room = b->data + b->len_bytes;
	b->len_bytes += len_bytes;
	return room;
}

int buf_append(struct buf *b, const void *data, size_t len_bytes)
{
	void *room = buf_extend(b, len_bytes);

	if (!room)
		return b->failed;
	if (len_bytes > 0)
		memcpy(room, data, len_bytes);
	return 0;
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap, again;
	int len;

	va_start(ap, fmt);
	va_copy(again, ap);
	len = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	assert(len >= 0);
	/* vsnprintf wants room for its NUL too; that byte is spare capacity and does not count against the bound. */
	if (!reserve(b, (size_t)len)) {
		if (b->cap_bytes - b->len_bytes == (size_t)len) {
			uint8_t *data = realloc(b->data, b->cap_bytes + 1);

			if (data) {
				b->data = data;
				b->cap_bytes++;
			} else {
				b->failed = -ENOMEM;
			}
		}
		if (!b->failed) {
			vsnprintf((char *)b->data + b->len_bytes, (size_t)len + 1, fmt, again);
			b->len_bytes += (size_t)len;
		}
	}
	va_end(again);
	return b->failed;
}

void buf_consume(struct buf *b, size_t n_bytes)
{
	assert(n_bytes <= b->len_bytes);
	b->len_bytes -= n_bytes;
	if (b->len_bytes > 0)
		memmove(b->data, b->data + n_bytes, b->len_bytes);
}
