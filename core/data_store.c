/* SPDX-License-Identifier: MIT */
#include "core/data_store.h"

#include "core/aside.h"
#include "core/leftover.h"
#include "db/extent_rows.h"
#include "db/meta_rows.h"
#include "util/log.h"
#include "util/util.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Blocks kept back for the peer's changes: 1 % of the store, at most 16 MiB. */
#define RESERVE_MAX_BLOCKS 4096u
/* Room that ordinary writes leave on the host's disk for the database, without which no group can be committed: its log
 * (16 MiB, at times 64, and what one group adds) and what a checkpoint moves from there. Of a small disk, a share. */
#define HOST_RESERVE_BYTES (UINT64_C(64) << 20)
#define HOST_RESERVE_SHARE 8u
/* Blocks handed out before the host's free space is looked at again (3 us): 1 MiB. */
#define HOST_LOOK_BLOCKS 256u
/* Entries of the st_blocks cache; 1 MiB of memory. It is emptied when full. */
#define INODE_BLOCKS_MAX 32768u
/* One punch (75 us and more) holds its blocks back from being allocated: a small share of what is free at most. */
#define PUNCH_SHARE 16u
/* Blocks that were freed a moment ago are likely to be used again; they go back to the host after this. So long nothing
 * must have become free. Of runs shorter than 64 KiB a file that is overwritten here and there leaves thousands a
 * second, most of which are used again or grow long; each costs as much as a long one, and who reads and flushes at the
 * time pays for it too. These wait until all is quiet. */
#define PUNCH_AFTER_MS 2000u
#define PUNCH_SHORT_AFTER_MS 20000u
#define PUNCH_SHORT_BLOCKS 16u
/* So many blocks a group takes where others were (store_alloc_again). One that takes more is no longer an fsync or two,
 * and writes faster to one place than to many. */
#define RECENT_BLOCKS_MAX 32u
/* A write that finds the host full has so many runs given back before it fails: a second at worst. */
#define RECLAIM_RUNS 8192u

int data_store_format(const char *dir, struct err *err)
{
	char *path = xasprintf("%s/image", dir);
	int rc = image_format(path, err);

	free(path);
	return rc;
}

struct claim {
	struct freemap *map;
	uint64_t image_blocks, total;
	const struct map *logged;
};

static int claim_run(void *ctx, uint64_t phys, uint64_t len)
{
	struct claim *c = ctx;

	c->total += len;
	return logged_has_beyond(c->logged, phys, len, c->image_blocks) ? freemap_claim(c->map, phys, len) : -EUCLEAN;
}

static int claim_planned(void *ctx, uint64_t ino, const struct landing_run *r)
{
	(void)ino;
	return claim_run(ctx, r->phys, r->len);
}

static int rebuild(struct volume *v, struct err *err)
{
	struct data_store *d = v->data;
	struct claim c = { .map = d->map,
		           .image_blocks = image_size_bytes(d->image) >> BLOCK_SHIFT,
		           .logged = &d->logged.live };
	int rc = extent_rows_each_run(v->db, false, claim_run, &c);

	if (!rc && landing_rows_hold(v->db))
		rc = landing_runs_each(v->db, claim_planned, &c);
	c.total = 0;
	if (!rc)
		rc = extent_rows_each_run(v->db, true, claim_run, &c);
	if (rc == -EUCLEAN)
		return err_set(err, rc, "the store %s is damaged: blocks of the image are missing or have two owners; "
		               "restore it from the peer", v->dir);
	if (rc)
		return err_set(err, rc, "cannot read the extents of the store %s", v->dir);
	d->old_blocks = d->old_blocks_committed = c.total;
	return 0;
}

/* What a crash may have kept from the image goes there now. */
static int restore_logged(struct volume *v, struct err *err)
{
	struct data_store *d = v->data;
	int rc = map_count(&d->logged.live) > 0 ? logged_restore(v) : 0;

	if (!rc && map_count(&d->logged.live) > 0)
		rc = image_sync(d->image);
	if (rc)
		return err_set(err, rc, "the store %s cannot bring its image up to date: %s%s", v->dir, strerror(-rc),
		               rc == -ENOSPC ? "; it needs less than a MiB of room on its disk" : "");
	logged_are_flushed(v);
	return 0;
}

static int load_logged(struct volume *v, struct err *err)
{
	struct store_state state;
	int rc = state_row_get(v->db, &state);

	if (!rc)
		rc = logged_load(v->db, state.flushed, state.committed, &v->data->logged.live);
	return rc ? err_set(err, rc, "cannot read the database of the store %s", v->dir) : 0;
}

/* Blocks that there may be with this limit in bytes (0: none), block 0 included. */
static uint64_t limit_of(struct data_store *d, uint64_t size_bytes)
{
	uint64_t limit = EXTENT_BLOCK_LIMIT;

	if (size_bytes)
		limit = MIN(limit, (size_bytes >> BLOCK_SHIFT) + 1);
	if (image_is_device(d->image))
		limit = MIN(limit, image_size_bytes(d->image) >> BLOCK_SHIFT);
	return limit;
}

/* Blocks of a device are where they are; a file may have some beyond its limit since that was lowered. */
static uint64_t bound_of(struct data_store *d)
{
	uint64_t end = MAX(image_size_bytes(d->image) >> BLOCK_SHIFT, logged_end_blocks(&d->logged.live));

	return image_is_device(d->image) ? 0 : MIN(end, EXTENT_BLOCK_LIMIT);
}

static uint64_t reserve_of(uint64_t limit)
{
	return limit == EXTENT_BLOCK_LIMIT ? 0 : MIN(limit / 100, RESERVE_MAX_BLOCKS);
}

int data_store_limit(struct volume *v, uint64_t size_bytes, uint64_t *least_bytes)
{
	struct data_store *d = v->data;
	uint64_t limit = limit_of(d, size_bytes);

	uint64_t used = freemap_count_used(d->map) + d->aside_blocks;

	*least_bytes = used << BLOCK_SHIFT;
	if (size_bytes && limit < used + 1)
		return -ENOSPC;
	if (image_is_device(d->image) && size_bytes > (limit << BLOCK_SHIFT)) {
		*least_bytes = (limit - 1) << BLOCK_SHIFT;
		return -ERANGE;
	}
	freemap_set_limit(d->map, limit, bound_of(d));
	d->reserve_blocks = reserve_of(limit);
	return 0;
}

int data_store_open(struct volume *v, struct err *err)
{
	struct data_store *d = xcalloc(1, sizeof(*d));
	char *path = xasprintf("%s/image", v->dir);
	int rc = image_open(path, v->opt.fast_unsafe, &d->image, err);

	free(path);
	v->data = d;
	if (rc)
		goto fail;
	uint64_t limit = limit_of(d, v->info.size_bytes);

	d->reserve_blocks = reserve_of(limit);
	d->map = freemap_new(limit);
	rc = load_logged(v, err);
	freemap_set_limit(d->map, limit, bound_of(d));
	if (!rc)
		rc = rebuild(v, err);
	if (!rc && aside_load(v) != 0)
		rc = err_set(err, -EUCLEAN, "cannot read the database of the store %s", v->dir);
	if (!rc)
		rc = restore_logged(v, err);
	if (!rc && !image_is_device(d->image))
		freemap_suspect(d->map, image_size_bytes(d->image) >> BLOCK_SHIFT);
	if (!rc)
		return 0;
fail:
	data_store_close(v);
	return rc;
}

void data_store_close(struct volume *v)
{
	struct data_store *d = v->data;

	if (!d)
		return;
	image_close(d->image);
	freemap_delete(d->map);
	map_release(&d->inode_blocks);
	map_release(&d->aside);
	logged_release(&d->logged);
	free(d->moves);
	free(d);
	v->data = NULL;
}

/* ---- room ---- */

/*
 * Bytes that the host would still give, less the reserve. What is free within the image does not count: most of it
 * has been given back,
 * and the rest too, as soon as the host is short (freed_runs, data_store_reclaim).
 */
static uint64_t host_avail(struct data_store *d, uint64_t *with_reserve)
{
	struct statvfs host;

	*with_reserve = UINT64_MAX >> 1;
	if (image_is_device(d->image) || fstatvfs(image_fd(d->image), &host) < 0)
		return UINT64_MAX >> 1;
	uint64_t avail = *with_reserve = (uint64_t)host.f_bavail * host.f_frsize;
	uint64_t reserve = MIN(HOST_RESERVE_BYTES, (uint64_t)host.f_blocks * host.f_frsize / HOST_RESERVE_SHARE);

	return avail > reserve ? avail - reserve : 0;
}

static uint64_t less(uint64_t from, uint64_t n)
{
	return from > n ? from - n : 0;
}

/* Of `avail` free blocks: who has claims to all that it wants may have any, others leave what there are claims to. */
static bool suffices(const struct data_store *d, uint64_t avail, uint64_t blocks, uint64_t claims)
{
	return avail >= blocks && (blocks <= claims || less(avail, d->aside_blocks) >= blocks - claims);
}

int store_room(struct volume *v, uint64_t blocks, uint64_t claims, enum space space)
{
	struct data_store *d = v->data;
	uint64_t keep = space == SPACE_ORDINARY && !v->peer_apply && blocks > claims ? d->reserve_blocks : 0;
	uint64_t left = freemap_count_free(d->map);

	if (left < keep || !suffices(d, left - keep, blocks, claims))
		return -ENOSPC;
	if (space == SPACE_RESERVE || v->peer_apply || blocks <= d->host_budget_blocks)
		return 0;
	uint64_t all, host = host_avail(d, &all) >> BLOCK_SHIFT;

	d->host_budget_blocks = MIN(less(host, d->aside_blocks) / 16, HOST_LOOK_BLOCKS);
	d->host_short = !suffices(d, host, blocks, claims);
	return d->host_short ? -ENOSPC : 0;
}

static void recent_add(struct data_store *d, uint64_t phys, uint64_t len)
{
	d->recent[d->recent_end++ % STORE_RECENT] = (struct block_run){ phys, len };
	if (d->recent_end - d->recent_first > STORE_RECENT)
		d->recent_first++;
}

/* Up to `want` blocks in one run, of what became free last; 0: none. */
static uint64_t recent_take(struct data_store *d, uint64_t want, uint64_t *phys)
{
	while (d->recent_first < d->recent_end && d->recent_taken < RECENT_BLOCKS_MAX) {
		struct block_run *r = &d->recent[(d->recent_end - 1) % STORE_RECENT];
		uint64_t len = MIN(want, r->len);
		bool taken = freemap_take(d->map, r->phys, len);

		*phys = r->phys;
		r->phys += len;
		r->len -= taken ? len : r->len;
		d->recent_end -= r->len == 0;
		if (taken) {
			d->recent_taken += len;
			return len;
		}
	}
	return 0;
}

static int alloc(struct volume *v, uint64_t n, uint64_t goal, uint64_t window, bool again, enum space space,
                 struct block_run *runs, size_t *n_runs)
{
	struct data_store *d = v->data;
	int rc = space == SPACE_ASKED ? 0 : store_room(v, n, 0, space);

	*n_runs = 0;
	if (rc)
		return rc;
	d->host_budget_blocks -= MIN(n, d->host_budget_blocks);
	while (n) {
		struct block_run *run = &runs[*n_runs];

		run->len = again ? recent_take(d, n, &run->phys) : 0;
		if (!run->len)
			run->len = freemap_alloc(d->map, n, goal, window, &run->phys);
		assert(run->len); /* store_room counted them */
		n -= run->len;
		goal = run->phys + run->len;
		if (*n_runs && run[-1].phys + run[-1].len == run->phys)
			run[-1].len += run->len;
		else
			++*n_runs;
	}
	return 0;
}

int store_alloc(struct volume *v, uint64_t n, uint64_t goal, uint64_t window, enum space space, struct block_run *runs,
                size_t *n_runs)
{
	return alloc(v, n, goal, window, false, space, runs, n_runs);
}

int store_alloc_again(struct volume *v, uint64_t n, uint64_t goal, enum space space, struct block_run *runs,
                      size_t *n_runs)
{
	return alloc(v, n, goal, 0, true, space, runs, n_runs);
}

void store_release(struct volume *v, const struct block_run *runs, size_t n_runs)
{
	for (size_t i = 0; i < n_runs; i++)
		freemap_release(v->data->map, runs[i].phys, runs[i].len);
}

/* ---- the open group ---- */

static void move_add(struct data_store *d, uint64_t phys, uint64_t len, bool born)
{
	struct group_move *last = d->n_moves ? &d->moves[d->n_moves - 1] : NULL;

	if (last && last->born == born && last->phys + last->len == phys) {
		last->len += len;
		return;
	}
	if (d->n_moves == d->cap_moves) {
		d->cap_moves = d->cap_moves ? d->cap_moves * 2 : 64;
		d->moves = xrealloc(d->moves, d->cap_moves * sizeof(*d->moves));
	}
	d->moves[d->n_moves++] = (struct group_move){ phys, len, born };
}

void store_born(struct volume *v, uint64_t phys, uint64_t len, const uint64_t *sums)
{
	v->group_new_bytes += len << BLOCK_SHIFT;
	move_add(v->data, phys, len, true);
	logged_born(&v->data->logged, phys, len, sums);
}

void store_changed(struct volume *v, uint64_t phys, uint64_t len, const uint64_t *sums)
{
	logged_changed(&v->data->logged, phys, len, sums);
}

void store_free(struct volume *v, uint64_t phys, uint64_t len)
{
	move_add(v->data, phys, len, false);
	logged_freed(&v->data->logged, phys, len);
}

void store_count_old(struct volume *v, int64_t blocks)
{
	v->data->old_blocks += (uint64_t)blocks;
}

void store_count_inode(struct volume *v, uint64_t ino, int64_t blocks)
{
	uint64_t n;

	if (blocks && map_get(&v->data->inode_blocks, ino, &n))
		map_put(&v->data->inode_blocks, ino, n + (uint64_t)blocks);
}

uint64_t data_blocks_512(struct volume *v, uint64_t ino)
{
	struct data_store *d = v->data;
	uint64_t n;

	if (!map_get(&d->inode_blocks, ino, &n)) {
		if (extent_rows_count_blocks(v->db, ino, leftover_floor(v, ino), &n) < 0)
			return 0;
		if (map_count(&d->inode_blocks) >= INODE_BLOCKS_MAX)
			map_clear(&d->inode_blocks);
		map_put(&d->inode_blocks, ino, ++n);
	}
	return (n - 1 + aside_of(v, ino)) * (BLOCK_BYTES / 512);
}

static void moves_forget(struct data_store *d)
{
	d->n_moves = 0;
	d->recent_taken = 0;
	if (d->cap_moves > 65536) { /* one huge deletion should not keep its memory for ever */
		free(d->moves);
		d->moves = NULL;
		d->cap_moves = 0;
	}
}

void data_store_committed(struct volume *v)
{
	struct data_store *d = v->data;

	logged_committed(&d->logged);
	for (size_t i = 0; i < d->n_moves; i++)
		if (!d->moves[i].born) {
			logged_gone(&d->logged, d->moves[i].phys, d->moves[i].len);
			if (freemap_give(d->map, d->moves[i].phys, d->moves[i].len))
				recent_add(d, d->moves[i].phys, d->moves[i].len);
			else
				log_error("%s is damaged: blocks from %llu on were freed twice; see twinfs fsck",
				          v->dir, (unsigned long long)d->moves[i].phys);
			d->freed_ms = clock_mono_ms();
		}
	d->old_blocks_committed = d->old_blocks;
	d->aside_moved = false;
	moves_forget(d);
}

void data_store_rolled_back(struct volume *v)
{
	struct data_store *d = v->data;

	for (size_t i = 0; i < d->n_moves; i++)
		if (d->moves[i].born)
			freemap_release(d->map, d->moves[i].phys, d->moves[i].len);
	d->old_blocks = d->old_blocks_committed;
	logged_rolled_back(&d->logged);
	map_clear(&d->inode_blocks);
	if (d->aside_moved)
		aside_load(v); /* a database that cannot be read is found by whoever wants something of it */
	moves_forget(d);
}

/* Look for one run of free blocks, hold it so that nobody gets it while the lock is not, and give it back to the host.
 * False: there is none. */
static bool punch_one(struct volume *v, uint64_t least_blocks)
{
	struct data_store *d = v->data;
	struct block_run run;

	if (v->opt.fast_unsafe)
		return false;
	pthread_mutex_lock(&v->lock);
	bool more = freemap_stale(d->map, least_blocks, freemap_count_free(d->map) / PUNCH_SHARE, &run.phys, &run.len);

	pthread_mutex_unlock(&v->lock);
	if (!run.len)
		return more;
	image_punch(d->image, run.phys, run.len);
	pthread_mutex_lock(&v->lock);
	freemap_put_back(d->map, run.phys, run.len);
	pthread_mutex_unlock(&v->lock);
	return true;
}

bool data_store_reclaim(struct volume *v)
{
	struct data_store *d = v->data;
	bool frees = false, is_short;
	unsigned n = volume_settle(v);

	pthread_mutex_lock(&v->lock);
	is_short = d->host_short;
	for (size_t i = 0; i < d->n_moves && !frees; i++)
		frees = !d->moves[i].born;
	pthread_mutex_unlock(&v->lock);
	if (frees) /* blocks that the open group let go are free when it is durable */
		n += volume_commit(v) == 0;
	while (is_short && n < RECLAIM_RUNS && punch_one(v, 1))
		n++;
	return n > 0;
}

bool volume_tidy(struct volume *v, unsigned budget_ms)
{
	uint64_t now_ms = clock_mono_ms(), end_ms = now_ms + budget_ms;

	pthread_mutex_lock(&v->lock);
	uint64_t quiet_ms = v->data->host_short ? UINT64_MAX : now_ms - v->data->freed_ms;

	pthread_mutex_unlock(&v->lock);
	if (quiet_ms < PUNCH_AFTER_MS)
		return false;
	while (clock_mono_ms() < end_ms)
		if (!punch_one(v, quiet_ms < PUNCH_SHORT_AFTER_MS ? PUNCH_SHORT_BLOCKS : 1))
			return false;
	return true;
}

int data_store_sync(struct volume *v)
{
	return image_sync(v->data->image);
}

void data_usage(struct volume *v, struct data_usage *out)
{
	struct data_store *d = v->data;
	uint64_t left = less(freemap_count_free(d->map), d->aside_blocks), keep = MIN(left, d->reserve_blocks);
	uint64_t host_all, host = less(host_avail(d, &host_all), d->aside_blocks << BLOCK_SHIFT);

	host_all = less(host_all, d->aside_blocks << BLOCK_SHIFT);
	*out = (struct data_usage){ .used_bytes = (freemap_count_used(d->map) + d->aside_blocks) << BLOCK_SHIFT,
				    .history_bytes = d->old_blocks << BLOCK_SHIFT };
	out->host_is_less = host < (left - keep) << BLOCK_SHIFT;
	out->free_bytes = MIN(left << BLOCK_SHIFT, host_all);
	out->avail_bytes = MIN((left - keep) << BLOCK_SHIFT, host);
}

uint64_t data_room(struct volume *v)
{
	struct data_usage u;

	data_usage(v, &u);
	return u.avail_bytes;
}
