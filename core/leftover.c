/* SPDX-License-Identifier: MIT */
#include "core/leftover.h"

#include "core/blocks.h"
#include "core/frozen.h"
#include "core/internal.h"
#include "core/landing.h"
#include "db/change_rows.h"
#include "db/change_set.h"
#include "db/inode_rows.h"
#include "db/leftover_rows.h"
#include "db/meta_rows.h"
#include "util/log.h"
#include "util/util.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

/* How long one step may hold the lock: rows at 5 us, inodes at 50 us. */
#define STEP_ROWS 256u
#define STEP_INODES 25u
/* A group in which nothing but this is done is committed after so many rows: their pages are written under the lock. */
#define COMMIT_ROWS 8192u
/* Between two steps, so that others get the lock, which is not fair. */
#define PAUSE_US 500

/* Files whose ranges are left over are listed in one row of meta. Beyond so many the next one is done at once. */
#define RANGES_GONE_KEY "ranges_gone"
#define RANGES_GONE_MAX 256u

static struct leftover *find(struct volume *v, uint64_t ino)
{
	uint64_t value = 0;

	if (map_count(&v->leftovers) == 0 || !map_get(&v->leftovers, ino, &value))
		return NULL;
	return (struct leftover *)(uintptr_t)value;
}

static void add(struct volume *v, const struct leftover *l)
{
	struct leftover *copy = xmalloc(sizeof(*copy));

	*copy = *l;
	map_put(&v->leftovers, l->ino, (uint64_t)(uintptr_t)copy);
}

static void forget_all(struct volume *v)
{
	uint64_t ino, value;
	size_t it = 0;

	while (map_next(&v->leftovers, &it, &ino, &value))
		free((struct leftover *)(uintptr_t)value);
	map_clear(&v->leftovers);
}

static void load_one(void *ctx, const struct leftover *l)
{
	add(ctx, l);
}

/* " INO INO ... ", in decimals: fsck looks a number up in it. */
static int load_ranges_gone(struct volume *v)
{
	char *text = meta_row_get(v->db, RANGES_GONE_KEY), *at = text, *end;

	map_clear(&v->ranges_gone);
	for (; at; at = end) {
		uint64_t ino = strtoull(at, &end, 10);

		if (end == at)
			break;
		if (ino <= INO_HIDDEN || ino >= ID_LIMIT || map_count(&v->ranges_gone) == RANGES_GONE_MAX) {
			free(text);
			return db_damaged(v->db, "an impossible list of files whose ranges are gone");
		}
		map_put(&v->ranges_gone, ino, 1);
	}
	free(text);
	return 0;
}

static int store_ranges_gone(struct volume *v)
{
	uint64_t ino, value;
	size_t it = 0;
	struct buf text;
	int rc;

	if (map_count(&v->ranges_gone) == 0)
		return meta_row_put(v->db, RANGES_GONE_KEY, NULL);
	buf_init(&text, 32 * RANGES_GONE_MAX);
	buf_printf(&text, " ");
	while (map_next(&v->ranges_gone, &it, &ino, &value))
		buf_printf(&text, "%llu ", (unsigned long long)ino);
	rc = buf_append(&text, "", 1);
	if (!rc)
		rc = meta_row_put(v->db, RANGES_GONE_KEY, (char *)text.data);
	buf_release(&text);
	return rc;
}

int leftover_load(struct volume *v)
{
	int rc = load_ranges_gone(v);

	forget_all(v);
	return rc ? rc : leftover_rows(v->db, load_one, v);
}

int leftover_look(struct volume *v)
{
	int rows = change_set_any_forgotten(v->db), history = old_rows_any(v->db, history_needless(v));

	v->rows_left = rows > 0;
	v->history_left = history > 0;
	return rows < 0 ? rows : MIN(history, 0);
}

int leftover_put(struct volume *v, const struct leftover *l)
{
	assert(!find(v, l->ino));
	int rc = leftover_row_put(v->db, l);

	if (rc)
		return rc;
	add(v, l);
	map_del(&v->data->inode_blocks, l->ino); /* to be counted again, up to the floor */
	leftover_start(v);
	return 0;
}

size_t leftover_at_once(const struct volume *v)
{
	return v->opt.at_once_rows ? v->opt.at_once_rows : DROP_AT_ONCE_ROWS;
}

/* Drop some rows. Stores where it stopped, or forgets the leftover. */
static int step(struct volume *v, struct leftover *l, size_t max_rows)
{
	int rc = blocks_drop_leftover(v, l, max_rows);

	if (rc)
		return rc;
	group_keep(v);
	if (l->floor != LEFTOVER_NONE)
		return leftover_row_put(v->db, l);
	rc = leftover_row_drop(v->db, l->ino);
	map_del(&v->leftovers, l->ino);
	free(l);
	return rc;
}

static int drop_ranges(struct volume *v, uint64_t ino, size_t max_rows)
{
	int rc;

	frozen_keep_ranges(v, ino, 0, FILE_MAX_BYTES, max_rows);
	rc = change_ranges_drop(v->db, ino, max_rows);
	if (rc == 1)
		return 0;
	map_del(&v->ranges_gone, ino);
	return rc ? rc : store_ranges_gone(v);
}

int leftover_ranges_put(struct volume *v, uint64_t ino)
{
	if (map_count(&v->ranges_gone) == RANGES_GONE_MAX) {
		frozen_keep_ranges(v, ino, 0, FILE_MAX_BYTES, SIZE_MAX);
		return MIN(change_ranges_drop(v->db, ino, SIZE_MAX), 0);
	}
	map_put(&v->ranges_gone, ino, 1);
	leftover_start(v);
	return store_ranges_gone(v);
}

bool leftover_ranges_gone(const struct volume *v, uint64_t ino)
{
	return map_count(&v->ranges_gone) > 0 && map_get(&v->ranges_gone, ino, NULL);
}

int leftover_ranges_settle(struct volume *v, uint64_t ino)
{
	return leftover_ranges_gone(v, ino) ? drop_ranges(v, ino, SIZE_MAX) : 0;
}

int leftover_settle(struct volume *v, uint64_t ino)
{
	struct leftover *l = find(v, ino);

	return l ? step(v, l, SIZE_MAX) : 0;
}

uint64_t leftover_floor(struct volume *v, uint64_t ino)
{
	const struct leftover *l = find(v, ino);

	return l ? l->floor : LEFTOVER_NONE;
}

void leftover_mark(struct volume *v, uint64_t ino, struct extent_list *rows)
{
	const struct leftover *l = find(v, ino);

	for (size_t i = 0; l && i < rows->n; i++)
		if (rows->rows[i].off >= l->floor) {
			rows->rows[i].died = l->group;
			rows->rows[i].killed_by_peer = l->by == ORIGIN_PEER;
		}
}

void leftover_doom(struct volume *v)
{
	v->doomed = true;
	v->doomed_at = 0;
	leftover_start(v);
}

/* ---- the thread ---- */

bool leftover_any(struct volume *v)
{
	return !v->fault && (v->landing || map_count(&v->leftovers) > 0 || map_count(&v->ranges_gone) > 0 ||
	                     v->doomed || v->rows_left || v->history_left);
}

static int reap_some(struct volume *v)
{
	uint64_t list[STEP_INODES];
	int n = orphan_rows_some(v->db, v->doomed_at, list, STEP_INODES), rc = 0;

	for (int i = 0; i < n; i++)
		map_put(&v->orphans, list[i], 1);
	if (n > 0)
		v->doomed_at = list[n - 1];
	v->doomed = n == (int)STEP_INODES;
	for (int i = 0; !rc && i < n; i++) /* what somebody got hold of by its handle stays */
		rc = tree_reap(v, list[i]);
	return MIN(n, rc);
}

static void some_work(struct volume *v)
{
	uint64_t ino, value;
	size_t it = 0, it_ranges = 0;

	/* A failure is the database's, and seen at the unlock. */
	if (group_open(v))
		return;
	group_keep(v);
	if (map_next(&v->leftovers, &it, &ino, &value))
		step(v, (struct leftover *)(uintptr_t)value, STEP_ROWS);
	else if (map_next(&v->ranges_gone, &it_ranges, &ino, &value))
		drop_ranges(v, ino, STEP_ROWS);
	else if (v->doomed)
		reap_some(v);
	else if (v->rows_left)
		changes_drop_forgotten(v, STEP_ROWS);
	else
		history_trim(v, STEP_ROWS);
}

/* What others did in a group they commit when they want. */
static bool is_alone(struct volume *v)
{
	return v->info.group_open && !group_waits(v);
}

static void commit_alone(struct volume *v)
{
	volume_lock_now(v);
	if (is_alone(v))
		group_commit_locked(v); /* a failure is the volume's, and remembered there */
	volume_unlock(v);
}

bool leftover_step(struct volume *v)
{
	bool more, commit;

	volume_lock_behind(v);
	if (v->landing && !v->fault) {
		volume_unlock(v);
		landing_step(v);
		volume_lock_now(v);
		more = leftover_any(v);
		volume_unlock(v);
		return more;
	}
	v->tidying = true;
	if (leftover_any(v))
		some_work(v);
	v->tidying = false;
	more = leftover_any(v);
	commit = is_alone(v) && (!more || group_rows(v) >= COMMIT_ROWS);
	volume_leave(v);
	if (commit)
		commit_alone(v);
	return more;
}

static void *reaper_main(void *arg)
{
	struct volume *v = arg;

	log_thread_name("reaper");
	volume_lock_now(v);
	while (!v->reaper_stop && leftover_any(v)) {
		volume_unlock(v);
		leftover_step(v);
		log_thread_wait(v);
		nanosleep(&(struct timespec){ .tv_nsec = PAUSE_US * 1000L }, NULL);
		volume_lock_now(v);
	}
	v->reaper_idle = true;
	volume_unlock(v);
	return NULL;
}

bool volume_settle(struct volume *v)
{
	bool any;

	volume_lock_now(v);
	any = leftover_any(v);
	volume_unlock(v);
	while (any && leftover_step(v))
		;
	return any;
}

void leftover_start(struct volume *v)
{
	if (v->reaper_stop || v->opt.drop_by_hand || !leftover_any(v) || (v->reaper_made && !v->reaper_idle))
		return;
	if (v->reaper_made) /* it holds no lock and has nothing to do but to return */
		pthread_join(v->reaper, NULL);
	v->reaper_idle = false;
	v->reaper_made = pthread_create(&v->reaper, NULL, reaper_main, v) == 0;
	if (!v->reaper_made) /* the next one tries again, and so does the next mount */
		log_warn("%s: no thread to drop what was removed; its space comes back later", v->dir);
}

void leftover_stop(struct volume *v)
{
	pthread_mutex_lock(&v->lock);
	v->reaper_stop = true;
	bool made = v->reaper_made;

	pthread_mutex_unlock(&v->lock);
	if (made)
		pthread_join(v->reaper, NULL);
	v->reaper_made = false;
}

void leftover_release(struct volume *v)
{
	forget_all(v);
	map_release(&v->leftovers);
	map_release(&v->ranges_gone);
}
