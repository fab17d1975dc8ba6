/* SPDX-License-Identifier: MIT */
#include "core/damage.h"

#include "core/blocks.h"
#include "util/log.h"
#include "util/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void damage_init(struct damage *d)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&d->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&d->settled, &attr);
	pthread_condattr_destroy(&attr);
}

void damage_destroy(struct damage *d)
{
	pthread_mutex_destroy(&d->lock);
	pthread_cond_destroy(&d->settled);
}

/* ---- what is known; under its lock ---- */

static bool is_open(const struct damage_item *i)
{
	return i->state == DAMAGE_WANTED || i->state == DAMAGE_ASKED;
}

static struct damage_item *find(struct damage *m, const struct damaged *d)
{
	for (size_t i = 0; i < DAMAGE_MAX; i++) {
		struct damage_item *item = &m->items[i];

		if (item->state != DAMAGE_NONE && item->d.ino == d->ino && item->d.block == d->block &&
		    item->d.phys == d->phys && item->d.sum == d->sum)
			return item;
	}
	return NULL;
}

/* The place that was taken longest ago of those that nothing is asked for in; NULL: there is none. */
static struct damage_item *place(struct damage *m)
{
	for (size_t k = 0; k < DAMAGE_MAX; k++) {
		size_t i = (m->next + k) % DAMAGE_MAX;

		if (is_open(&m->items[i]))
			continue;
		m->next = i + 1;
		return &m->items[i];
	}
	return NULL;
}

void damage_met(struct volume *v, const struct damaged *d)
{
	struct damage *m = &v->damage;
	struct damage_item *item;

	if (d->sum == block_sum_lost())
		return;
	pthread_mutex_lock(&m->lock);
	item = find(m, d) ?: place(m);
	if (item && !is_open(item)) {
		*item = (struct damage_item){ DAMAGE_WANTED, *d };
		if (m->kick && m->helped)
			m->kick(m->kick_ctx);
	}
	pthread_mutex_unlock(&m->lock);
}

/* Of the items in the range: is one still open, was one refused, is there one at all? */
static bool range_is_open(const struct damage *m, uint64_t ino, uint64_t first, uint64_t end, bool *any, bool *refused)
{
	bool open = false;

	*any = *refused = false;
	for (size_t i = 0; i < DAMAGE_MAX; i++) {
		const struct damage_item *item = &m->items[i];

		if (item->state == DAMAGE_NONE || item->d.ino != ino || item->d.block < first || item->d.block >= end)
			continue;
		*any = true;
		open |= is_open(item);
		*refused |= item->state == DAMAGE_REFUSED;
	}
	return open;
}

static void forget_mended(struct damage *m, uint64_t ino, uint64_t first, uint64_t end)
{
	for (size_t i = 0; i < DAMAGE_MAX; i++) {
		struct damage_item *item = &m->items[i];

		if (item->state == DAMAGE_MENDED && item->d.ino == ino && item->d.block >= first && item->d.block < end)
			item->state = DAMAGE_NONE;
	}
}

int damage_wait(struct volume *v, uint64_t ino, uint64_t first, uint64_t end, bool is_request, unsigned wait_ms)
{
	struct damage *m = &v->damage;
	uint64_t until_ms = clock_mono_ms() + wait_ms;
	const struct timespec until = { .tv_sec = (time_t)(until_ms / 1000),
		                        .tv_nsec = (long)(until_ms % 1000) * 1000000L };
	bool any, refused, open, waited = false;
	int rc = 0;

	pthread_mutex_lock(&m->lock);
	if (is_request && m->requests >= DAMAGE_READERS) {
		pthread_mutex_unlock(&m->lock);
		return 0;
	}
	m->requests += is_request;
	while ((open = range_is_open(m, ino, first, end, &any, &refused)) && m->helped && m->kick &&
	       !(is_request && m->still) && rc == 0) {
		waited = true;
		rc = -pthread_cond_timedwait(&m->settled, &m->lock, &until);
	}
	m->requests -= is_request;
	if (!open) {
		rc = (any || waited) && !refused; /* another who waited for it may have been told first */
		forget_mended(m, ino, first, end);
	}
	pthread_mutex_unlock(&m->lock);
	return rc;
}

void damage_hold_still(struct volume *v, bool still)
{
	pthread_mutex_lock(&v->damage.lock);
	v->damage.still = still;
	pthread_cond_broadcast(&v->damage.settled);
	pthread_mutex_unlock(&v->damage.lock);
}

static void settle(struct volume *v, const struct damaged *d, bool mended)
{
	struct damage *m = &v->damage;
	struct damage_item *item;

	pthread_mutex_lock(&m->lock);
	item = find(m, d);
	if (item)
		item->state = mended ? DAMAGE_MENDED : DAMAGE_REFUSED;
	pthread_cond_broadcast(&m->settled);
	pthread_mutex_unlock(&m->lock);
}

/* ---- who helps ---- */

void damage_set_kick(struct volume *v, void (*kick)(void *ctx), void *ctx)
{
	pthread_mutex_lock(&v->damage.lock);
	v->damage.kick = kick;
	v->damage.kick_ctx = ctx;
	pthread_mutex_unlock(&v->damage.lock);
}

void damage_helped(struct volume *v, bool helped)
{
	struct damage *m = &v->damage;

	pthread_mutex_lock(&m->lock);
	m->helped = helped;
	for (size_t i = 0; !helped && i < DAMAGE_MAX; i++)
		if (m->items[i].state == DAMAGE_ASKED)
			m->items[i].state = DAMAGE_WANTED;
	pthread_cond_broadcast(&m->settled);
	pthread_mutex_unlock(&m->lock);
}

size_t damage_take(struct volume *v, struct damaged *out, size_t max)
{
	struct damage *m = &v->damage;
	size_t n = 0;

	pthread_mutex_lock(&m->lock);
	for (size_t i = 0; i < DAMAGE_MAX && n < max; i++)
		if (m->items[i].state == DAMAGE_WANTED) {
			m->items[i].state = DAMAGE_ASKED;
			out[n++] = m->items[i].d;
		}
	pthread_mutex_unlock(&m->lock);
	return n;
}

void damage_refused(struct volume *v, const struct damaged *d)
{
	settle(v, d, false);
}

/* ---- bytes ---- */

/* Does a row, or an old one, have bytes of this sum for the block; and, phys not 0, in this very place? 1 and *at. Lock
 * held. */
static int row_of(struct volume *v, uint64_t ino, uint64_t block, uint64_t sum, uint64_t phys, uint64_t *at)
{
	struct extent_list rows = EXTENT_LIST_INIT;
	int rc = extent_rows_list(v->db, ino, block, block + 1, &rows);

	if (!rc)
		rc = extent_rows_list_old(v->db, ino, block, block + 1, &rows);
	for (size_t k = 0; rc == 0 && k < rows.n; k++) {
		const struct extent *e = &rows.rows[k];
		uint64_t skip = block - e->off;

		if (e->sums[skip] != sum || (phys && e->phys + skip != phys))
			continue;
		*at = e->phys + skip;
		rc = 1;
	}
	extent_list_release(&rows);
	return rc;
}

/* As it is on the disk: 1: damaged, and still the file's; 0: it is not; -errno: the tables cannot be read. Lock
 * held. */
static int is_damaged(struct volume *v, const struct damaged *d)
{
	const struct block_ref ref = { d->phys, d->sum };
	uint8_t block[BLOCK_BYTES];
	uint64_t at;
	int rc = row_of(v, d->ino, d->block, d->sum, d->phys, &at);

	return rc <= 0 ? rc : blocks_fetch(v->data->image, &ref, 0, block, BLOCK_BYTES, NULL) != 0;
}

static int mend(struct volume *v, const struct damaged *d, const void *bytes)
{
	struct image *im = v->data->image;
	int rc;

	image_uncache(im, d->phys, 1);
	volume_lock(v);
	rc = is_damaged(v, d);
	if (rc == 1)
		rc = image_write(im, d->phys, 0, bytes, BLOCK_BYTES) ?: 1;
	volume_unlock(v);
	if (rc != 1)
		return rc;
	rc = image_sync(im);
	if (rc)
		return rc;
	/* What the disk took is not what it gives, if it is about to die. */
	image_uncache(im, d->phys, 1);
	volume_lock(v);
	rc = is_damaged(v, d);
	if (rc == 0) {
		char *path = path_of(v, d->ino);

		log_warn("%s (inode %llu): the damaged block at byte %llu was healed: the peer had its bytes",
			 path ? path : "(no name)", (unsigned long long)d->ino,
			 (unsigned long long)(d->block << BLOCK_SHIFT));
		free(path);
	}
	volume_unlock(v);
	return rc == 1 ? -EIO : rc;
}

int damage_mend(struct volume *v, const struct damaged *d, const void *bytes)
{
	int rc = block_sum(bytes) == d->sum ? mend(v, d, bytes) : -EBADMSG;

	settle(v, d, rc == 0);
	return rc;
}

int damage_lend(struct volume *v, uint64_t ino, uint64_t block, uint64_t sum, void *bytes)
{
	struct block_ref ref = { 0, sum };
	int rc;

	if (block >= EXTENT_BLOCK_LIMIT || sum == block_sum_lost())
		return -ENOENT;
	volume_lock(v);
	rc = row_of(v, ino, block, sum, 0, &ref.phys);
	volume_unlock(v);
	if (rc == 1) /* without the lock: what was reused meanwhile does not match */
		rc = blocks_fetch(v->data->image, &ref, 0, bytes, BLOCK_BYTES, NULL) ? 0 : 1;
	return rc == 1 ? 0 : -ENOENT;
}
