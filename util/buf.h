/* SPDX-License-Identifier: MIT */
/*
 * buf: a growing byte buffer with a bound. Appending past `max_bytes` fails with -EMSGSIZE and makes the buffer
 * "failed": every later append fails too, so that a sequence of appends needs one check at its end.
 * The owner is whoever declared it. One thread at a time.
 */
#ifndef TWINFS_UTIL_BUF_H
#define TWINFS_UTIL_BUF_H

#include <stddef.h>
#include <stdint.h>

struct buf {
	uint8_t *data;
	size_t len_bytes, cap_bytes, max_bytes;
	int failed; /* 0, -EMSGSIZE or -ENOMEM */
};

void buf_init(struct buf *b, size_t max_bytes);
void buf_release(struct buf *b);
void buf_reset(struct buf *b); /* empty, keep the memory, clear `failed` */
int buf_append(struct buf *b, const void *data, size_t len_bytes);
/* Room for len_bytes more at the end, uninitialised, already counted; NULL when failed. */
void *buf_extend(struct buf *b, size_t len_bytes);
int buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Drop the first n bytes. */
void buf_consume(struct buf *b, size_t n_bytes);

#endif
