/* SPDX-License-Identifier: MIT */
/* util: small things used everywhere. All reentrant. */
#ifndef TWINFS_UTIL_UTIL_H
#define TWINFS_UTIL_UTIL_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

#define NS_PER_S INT64_C(1000000000)

/* Allocation of small things: aborts with a message when memory is out (these machines overcommit; there is no
 * sensible way to go on). Buffers whose size a peer or a user chooses use malloc and report -ENOMEM. */
void *xmalloc(size_t n_bytes);
void *xcalloc(size_t n, size_t size_bytes);
void *xrealloc(void *p, size_t n_bytes);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n_bytes);
/* Copy a text that is known to fit (asserted) into a fixed array of cap_bytes. */
void text_copy(char *out, size_t cap_bytes, const char *text);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A condition whose timed waits go by the same clock as clock_mono_ms, which nobody sets. */
void cond_init_mono(pthread_cond_t *c);
uint64_t clock_mono_ms(void);
uint64_t clock_real_ms(void);
int64_t clock_real_ns(void);
/* Tests only, before any thread is started: take the wall clock from here, so that a seed decides it too. NULL: the
 * real one. */
void clock_real_test(int64_t (*real_ns)(void));
/* "2026-01-31T12:34:56Z" into out (at least 21 bytes). */
void time_rfc3339(uint64_t real_ms, char out[21]);

void random_bytes(void *out, size_t n_bytes); /* from the kernel; aborts if it has none */
uint64_t random_u64(void);                    /* never 0 */
void hex_encode(const void *data, size_t n_bytes, char *out); /* out: 2n+1 */
int hex_decode(const char *text, void *out, size_t n_bytes);  /* exactly 2n digits, else -EINVAL */
/* "10G", "512M", "4096": bytes; -EINVAL, -ERANGE. */
int parse_size(const char *text, uint64_t *bytes);

#endif
