/* SPDX-License-Identifier: MIT */
#include "util/util.h"

#include <ctype.h>
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static void *or_abort(void *p)
{
	if (!p) {
		fputs("twinfs: out of memory\n", stderr);
		abort();
	}
	return p;
}

/* Asking for nothing gives a pointer that can be freed, never NULL. */
void *xmalloc(size_t n_bytes)
{
	return or_abort(malloc(n_bytes ? n_bytes : 1));
}

void *xcalloc(size_t n, size_t size_bytes)
{
	return or_abort(calloc(n ? n : 1, size_bytes ? size_bytes : 1));
}

void *xrealloc(void *p, size_t n_bytes)
{
	return or_abort(realloc(p, n_bytes ? n_bytes : 1));
}

char *xstrdup(const char *s)
{
	return or_abort(strdup(s));
}

char *xstrndup(const char *s, size_t n_bytes)
{
	return or_abort(strndup(s, n_bytes));
}

void text_copy(char *out, size_t cap_bytes, const char *text)
{
	size_t len = strlen(text);

	assert(len < cap_bytes);
	memcpy(out, text, len + 1);
}

char *xasprintf(const char *fmt, ...)
{
	va_list ap;
	char *s = NULL;

	va_start(ap, fmt);
	if (vasprintf(&s, fmt, ap) < 0)
		s = NULL;
	va_end(ap);
	return or_abort(s);
}

void cond_init_mono(pthread_cond_t *c)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(c, &attr);
	pthread_condattr_destroy(&attr);
}

uint64_t clock_mono_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

uint64_t clock_real_ms(void)
{
	return (uint64_t)(clock_real_ns() / 1000000);
}

static int64_t (*test_clock)(void);

void clock_real_test(int64_t (*real_ns)(void))
{
	test_clock = real_ns;
}

int64_t clock_real_ns(void)
{
	struct timespec ts;

	if (test_clock)
		return test_clock();
	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

void time_rfc3339(uint64_t real_ms, char out[21])
{
	/* The last second that fits four digits of year: times come from peers as well. */
	const uint64_t last_s = UINT64_C(253402300799);
	time_t s = (time_t)MIN(real_ms / 1000, last_s);
	struct tm tm;

	gmtime_r(&s, &tm);
	strftime(out, 21, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

void random_bytes(void *out, size_t n_bytes)
{
	uint8_t *p = out;

	while (n_bytes > 0) {
		ssize_t n = getrandom(p, n_bytes, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			fputs("twinfs: the kernel gives no random bytes\n", stderr);
			abort();
		}
		p += n;
		n_bytes -= (size_t)n;
	}
}

uint64_t random_u64(void)
{
	uint64_t v;

	do
		random_bytes(&v, sizeof(v));
	while (v == 0);
	return v;
}

void hex_encode(const void *data, size_t n_bytes, char *out)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *p = data;

	for (size_t i = 0; i < n_bytes; i++) {
		out[2 * i] = digits[p[i] >> 4];
		out[2 * i + 1] = digits[p[i] & 15];
	}
	out[2 * n_bytes] = '\0';
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int hex_decode(const char *text, void *out, size_t n_bytes)
{
	uint8_t *p = out;

	if (strlen(text) != 2 * n_bytes)
		return -EINVAL;
	for (size_t i = 0; i < n_bytes; i++) {
		int hi = hex_digit(text[2 * i]), lo = hex_digit(text[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return -EINVAL;
		p[i] = (uint8_t)(hi << 4 | lo);
	}
	return 0;
}

int parse_size(const char *text, uint64_t *bytes)
{
	static const char units[] = "KMGT";
	unsigned long long n;
	unsigned shift = 0;
	char *end;
	const char *unit;

	if (!isdigit((unsigned char)text[0])) /* strtoull would take blanks and a sign */
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno == ERANGE)
		return -ERANGE;
	if (*end) {
		unit = strchr(units, toupper((unsigned char)*end));
		if (!unit || end[1])
			return -EINVAL;
		shift = 10 * (unsigned)(unit - units + 1);
	}
	if (n > UINT64_MAX >> shift)
		return -ERANGE;
	*bytes = (uint64_t)n << shift;
	return 0;
}
