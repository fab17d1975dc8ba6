/* SPDX-License-Identifier: MIT */
#include "sync/ahead.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/tree.h"
#include "util/util.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

/* One question, until it is worked out with its bytes. */
struct ahead_answer {
	XXH128_hash_t key;
	enum { ABOUT_KIND, ABOUT_TEXT } what;
	char *name;         /* of ABOUT_KIND */
	uint8_t *bytes;
	size_t len_bytes[3]; /* of ABOUT_KIND the first */
	int rc;             /* of merge3_text */
	enum content_kind kind;
	struct buf merged;
};

/* Of all that the answer follows from. */
static XXH128_hash_t key_of(struct ahead *a, const struct ahead_answer *q, const void *bytes, size_t n_bytes)
{
	XXH3_state_t *s = XXH3_createState();
	XXH128_hash_t key;
	uint32_t what = q->what;

	if (!s)
		abort(); /* as xmalloc */
	if (!a->seed) /* nobody shall be able to prepare two texts that pass for each other */
		random_bytes(&a->seed, sizeof(a->seed));
	XXH3_128bits_reset_withSeed(s, a->seed);
	XXH3_128bits_update(s, &what, sizeof(what));
	XXH3_128bits_update(s, q->len_bytes, sizeof(q->len_bytes));
	if (q->name)
		XXH3_128bits_update(s, q->name, strlen(q->name) + 1);
	XXH3_128bits_update(s, bytes, n_bytes);
	key = XXH3_128bits_digest(s);
	XXH3_freeState(s);
	key.low64 |= key.low64 == 0; /* a map's key */
	return key;
}

static void work_out(struct ahead_answer *q, const uint8_t *bytes)
{
	const size_t *n = q->len_bytes;

	buf_init(&q->merged, 3 * (size_t)MERGE3_MAX_BYTES);
	if (q->what == ABOUT_KIND)
		q->kind = content_kind(q->name, bytes, n[0]);
	else
		q->rc = merge3_text(bytes, n[0], bytes + n[0], n[1], bytes + n[0] + n[1], n[2], &q->merged);
	if (q->merged.failed)
		q->rc = -ENOMEM;
}

static void answer_free(struct ahead_answer *q)
{
	free(q->name);
	free(q->bytes);
	buf_release(&q->merged);
	free(q);
}

static void append(struct ahead *a, struct ahead_answer *q)
{
	if (a->n == a->cap) {
		a->cap = a->cap ? 2 * a->cap : 64;
		a->list = xrealloc(a->list, a->cap * sizeof(*a->list));
	}
	a->list[a->n++] = q;
	map_put(&a->at, q->key.low64, a->n);
}

/* The answer, or NULL: it was noted, if there was room. Takes q, whose bytes these are. */
static const struct ahead_answer *ask(struct ahead *a, struct ahead_answer *q, const void *bytes, size_t n_bytes)
{
	uint64_t i;

	q->key = key_of(a, q, bytes, n_bytes);
	if (map_get(&a->at, q->key.low64, &i) && a->list[i - 1]->key.high64 == q->key.high64) {
		answer_free(q);
		return i <= a->n_done ? a->list[i - 1] : NULL;
	}
	if (a->at_once || a->rounds == AHEAD_ROUNDS_MAX) {
		work_out(q, bytes);
		append(a, q);
		a->n_done = a->n;
		return q;
	}
	if (a->noted_bytes + n_bytes > AHEAD_NOTED_MAX_BYTES) {
		a->more = true;
		answer_free(q);
		return NULL;
	}
	q->bytes = xmalloc(n_bytes + 1);
	memcpy(q->bytes, bytes, n_bytes);
	a->noted_bytes += n_bytes;
	append(a, q);
	return NULL;
}

int ahead_kind(struct ahead *a, const char *name, const void *head, size_t len_bytes, enum content_kind *kind)
{
	struct ahead_answer *q;
	const struct ahead_answer *is;

	if (content_kind_shows(name, head, len_bytes, kind))
		return 0;
	q = xcalloc(1, sizeof(*q));
	q->what = ABOUT_KIND;
	q->name = xstrdup(name);
	q->len_bytes[0] = len_bytes;
	is = ask(a, q, head, len_bytes);
	if (is)
		*kind = is->kind;
	return is ? 0 : AHEAD_NOT_YET;
}

int ahead_text(struct ahead *a, const void *texts, const size_t len_bytes[3], const struct buf **merged)
{
	struct ahead_answer *q = xcalloc(1, sizeof(*q));
	const struct ahead_answer *is;

	q->what = ABOUT_TEXT;
	memcpy(q->len_bytes, len_bytes, sizeof(q->len_bytes));
	is = ask(a, q, texts, len_bytes[0] + len_bytes[1] + len_bytes[2]);
	if (!is)
		return AHEAD_NOT_YET;
	*merged = &is->merged;
	return is->rc;
}

bool ahead_waits(const struct ahead *a)
{
	return a->more || a->n > a->n_done;
}

void ahead_run(struct ahead *a)
{
	assert(!volume_is_locked_here());
	for (; a->n_done < a->n; a->n_done++) {
		struct ahead_answer *q = a->list[a->n_done];

		work_out(q, q->bytes);
		free(q->bytes);
		q->bytes = NULL;
	}
	a->noted_bytes = 0;
	a->more = false;
	a->rounds++;
}

void ahead_release(struct ahead *a)
{
	for (size_t i = 0; i < a->n; i++)
		answer_free(a->list[i]);
	free(a->list);
	map_release(&a->at);
	*a = (struct ahead){ .n = 0 };
}
