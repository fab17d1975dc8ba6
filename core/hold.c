/* SPDX-License-Identifier: MIT */
#include "core/hold.h"

#include "util/log.h"

#include <time.h>

extern const char __executable_start[];

static uint64_t clock_us(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

void hold_init(struct hold *h)
{
	*h = (struct hold){ .told = log_debug_on("holds") };
}

uint64_t hold_asked(const struct hold *h)
{
	return h->told ? clock_us(CLOCK_MONOTONIC) : 0;
}

static size_t offset(const void *by)
{
	return (size_t)((const char *)by - __executable_start);
}

void hold_begin(struct hold *h, const void *by, uint64_t asked_us)
{
	if (!h->told)
		return;
	h->by = by;
	h->commit_us = 0;
	h->since_us = clock_us(CLOCK_MONOTONIC);
	h->waited_us = asked_us ? h->since_us - asked_us : 0;
	h->cpu_us = clock_us(CLOCK_THREAD_CPUTIME_ID);
}

void hold_end(const struct hold *h)
{
	if (!h->told)
		return;
	uint64_t took_us = clock_us(CLOCK_MONOTONIC) - h->since_us;

	if (took_us >= HOLD_TOLD_MS * 1000u)
		log_debug("holds", "the lock was held for %.1f ms, %.1f of CPU time, %.1f in commits, by +0x%zx",
			  (double)took_us / 1e3, (double)(clock_us(CLOCK_THREAD_CPUTIME_ID) - h->cpu_us) / 1e3,
			  (double)h->commit_us / 1e3, offset(h->by));
	if (h->waited_us >= HOLD_WAITED_MS * 1000u)
		log_debug("holds", "the lock was waited for for %.1f ms, by +0x%zx", (double)h->waited_us / 1e3,
			  offset(h->by));
}

uint64_t hold_commit_begin(const struct hold *h)
{
	return h->told ? clock_us(CLOCK_MONOTONIC) : 0;
}

void hold_commit_end(struct hold *h, uint64_t begun_us)
{
	if (h->told)
		h->commit_us += clock_us(CLOCK_MONOTONIC) - begun_us;
}
