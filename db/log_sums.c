/* SPDX-License-Identifier: MIT */
#include "db/log_sums.h"

#include "db/page_sums.h"
#include "util/util.h"

#include <endian.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* https://www.sqlite.org/fileformat2.html#the_write_ahead_log */
#define HEAD_BYTES 32
#define FRAME_HEAD_BYTES 24
#define FRAME_BYTES (FRAME_HEAD_BYTES + DB_PAGE_BYTES)

struct known {
	uint64_t sum;
	uint32_t page;
	bool is; /* is the sum known? */
};

struct log_sums {
	struct log_sums *next;
	char *path;
	unsigned users;
	pthread_mutex_t lock; /* protects the rest */
	struct known *frames; /* [0] is frame 1 */
	size_t n;
};

static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static struct log_sums *all; /* of logs that are open: one, but for tests */

struct log_sums *log_sums_open(const char *path)
{
	struct log_sums *s;

	pthread_mutex_lock(&all_lock);
	for (s = all; s && strcmp(s->path, path) != 0; s = s->next)
		;
	if (!s) {
		s = xcalloc(1, sizeof(*s));
		s->path = xstrdup(path);
		pthread_mutex_init(&s->lock, NULL);
		s->next = all;
		all = s;
	}
	s->users++;
	pthread_mutex_unlock(&all_lock);
	return s;
}

void log_sums_close(struct log_sums *s)
{
	struct log_sums **at = &all;

	pthread_mutex_lock(&all_lock);
	s->users--;
	if (s->users > 0)
		s = NULL;
	while (s && *at != s)
		at = &(*at)->next;
	if (s)
		*at = s->next;
	pthread_mutex_unlock(&all_lock);
	if (!s)
		return;
	pthread_mutex_destroy(&s->lock);
	free(s->frames);
	free(s->path);
	free(s);
}

/* Lock held. */
static struct known *frame_of(struct log_sums *s, uint64_t index)
{
	size_t n = s->n;

	if (index >= n) {
		s->n = (size_t)MAX(index + 1, n + n / 2 + 256);
		s->frames = xrealloc(s->frames, s->n * sizeof(*s->frames));
		memset(s->frames + n, 0, (s->n - n) * sizeof(*s->frames));
	}
	return &s->frames[index];
}

/* SQLite writes a frame's head and its page, reads its page, and reads whole frames; anything else is not a frame's. */
static bool is_part(uint64_t off, size_t len_bytes, uint64_t *index, size_t *head_bytes, size_t *page_bytes)
{
	uint64_t at = off - HEAD_BYTES, within = at % FRAME_BYTES;

	if (off < HEAD_BYTES)
		return false;
	*index = at / FRAME_BYTES;
	*head_bytes = within == 0 && len_bytes >= FRAME_HEAD_BYTES ? FRAME_HEAD_BYTES : 0;
	*page_bytes = within + len_bytes == FRAME_BYTES && len_bytes - *head_bytes == DB_PAGE_BYTES ? DB_PAGE_BYTES : 0;
	return *page_bytes > 0 || (within == 0 && len_bytes == FRAME_HEAD_BYTES);
}

void log_sums_writes(struct log_sums *s, uint64_t off, size_t len_bytes)
{
	size_t head, page;
	uint64_t index;

	if (!is_part(off, len_bytes, &index, &head, &page))
		return;
	pthread_mutex_lock(&s->lock);
	frame_of(s, index)->is = false;
	pthread_mutex_unlock(&s->lock);
}

void log_sums_wrote(struct log_sums *s, uint64_t off, const void *bytes, size_t len_bytes)
{
	size_t head, page;
	uint64_t index, sum;
	uint32_t number;

	if (!is_part(off, len_bytes, &index, &head, &page))
		return;
	sum = page ? XXH3_64bits((const uint8_t *)bytes + head, DB_PAGE_BYTES) : 0;
	pthread_mutex_lock(&s->lock);
	struct known *k = frame_of(s, index);

	if (head) {
		memcpy(&number, bytes, sizeof(number));
		k->page = be32toh(number);
	}
	k->is = page > 0;
	k->sum = sum;
	pthread_mutex_unlock(&s->lock);
}

bool log_sums_match(struct log_sums *s, uint64_t off, const void *bytes, size_t len_bytes, uint32_t *page)
{
	size_t head, page_bytes;
	uint64_t index;
	struct known k;

	if (!is_part(off, len_bytes, &index, &head, &page_bytes) || !page_bytes)
		return true;
	pthread_mutex_lock(&s->lock);
	k = *frame_of(s, index);
	pthread_mutex_unlock(&s->lock);
	if (!k.is) { /* SQLite compares whole frames itself, while it recovers a log */
		if (head)
			log_sums_wrote(s, off, bytes, len_bytes);
		return true;
	}
	*page = k.page;
	return XXH3_64bits((const uint8_t *)bytes + head, DB_PAGE_BYTES) == k.sum;
}

bool log_sums_frame(struct log_sums *s, uint64_t number, uint32_t *page, uint64_t *off)
{
	bool is;

	pthread_mutex_lock(&s->lock);
	is = number >= 1 && number <= s->n && s->frames[number - 1].is;
	*page = is ? s->frames[number - 1].page : 0;
	pthread_mutex_unlock(&s->lock);
	*off = HEAD_BYTES + (number - 1) * FRAME_BYTES + FRAME_HEAD_BYTES;
	return is;
}

uint64_t log_sums_frames(struct log_sums *s)
{
	uint64_t n;

	pthread_mutex_lock(&s->lock);
	n = s->n;
	pthread_mutex_unlock(&s->lock);
	return n;
}
