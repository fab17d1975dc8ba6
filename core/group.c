/* SPDX-License-Identifier: MIT */
/* Groups: opening, committing, undoing them; what the volume does when that fails. */
#include "core/internal.h"

#include "core/data_store.h"
#include "core/frozen.h"
#include "core/landing.h"
#include "core/leftover.h"
#include "db/inode_rows.h"
#include "db/meta_rows.h"
#include "util/log.h"
#include "util/util.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>

/* Kept for commits and for the peer's changes when the host's filesystem runs full. */
#define ROOM_RESERVE_BYTES (UINT64_C(16) << 20)
#define ROOM_RESERVE_SHARE 32u /* of a small one */
#define ROOM_CHECK_MS 100
/* A volume that has failed tries so often whether the host is well again. */
#define RECOVER_EVERY_MS 1000
/* While the host's disk is short a group must fit into the room that db_reserve holds: each mark is a few pages. */
#define SHORT_GROUP_MARKS 500u
/* Files of one group that are remembered by name and inode for the case that it is lost; a group that touches more is
 * taken to have touched all that is in use. 2 MiB of memory. */
#define GROUP_INODES_MAX 65536u
/* And of names that it made, some 100,000: those that do not fit may be taken for existing by an old kernel (before
 * 6.16, fuse/notify.c) until it asks again. */
#define GROUP_NAMES_MAX_BYTES ((size_t)4 << 20)
/* A group is closed at so many changed rows: the database's log gets a page of 4 KiB for each row at worst, and is only
 * emptied between groups. */
#define GROUP_MAX_ROWS 100000u
#define GROUP_MAX_BYTES (UINT64_C(64) << 20)
/* While the committer flushes one group's worth another may gather: with that a stream never waits for a disk that is
 * as fast as it, and one that is faster waits for the disk. More would only be more to lose in a crash. */
#define GROUP_OVERFULL 2u
/* Flushes before a commit takes the lock. Each covers what was written during the one before it, so they get shorter
 * unless who writes is as fast as the disk; what the last one leaves is flushed under the lock. */
#define FLUSHES_AHEAD 3u
#define FLUSH_SHORT_MS 2u
/* Ids of old groups go so many at a time: they are on a page of their own, which would be part of every commit. */
#define GROUP_IDS_FORGOTTEN 64u

/* About a millisecond, even of work that takes ten statements a row. */
#define STEP_ROWS 256u
#define STEP_PAUSE_US 100
/* Who takes the lock again and again lets those who wait for it go first, but not for ever. */
#define STEP_PAUSES_MAX 20u

static int recover(struct volume *v, bool now);

/* No thread has two volumes' at once. */
static _Thread_local bool locked_here;

bool volume_is_locked_here(void)
{
	return locked_here;
}

static void lock_for(struct volume *v, const void *by, bool behind)
{
	uint64_t asked_us = hold_asked(&v->hold);

	if (pthread_mutex_trylock(&v->lock) != 0) {
		atomic_fetch_add(&v->waiting, !behind);
		pthread_mutex_lock(&v->lock);
		atomic_fetch_sub(&v->waiting, !behind);
	}
	locked_here = true;
	hold_begin(&v->hold, by, asked_us);
	db_damage_clear(v->db);
	v->changes_at_lock = db_changes_in_all(v->db);
}

void volume_lock_now(struct volume *v)
{
	lock_for(v, __builtin_return_address(0), false);
}

/* A mutex goes to whoever asks when it is free, not to who has waited longest. */
static void let_others_go_first(struct volume *v)
{
	for (unsigned i = 0; i < STEP_PAUSES_MAX && atomic_load(&v->waiting) > 0; i++)
		nanosleep(&(struct timespec){ .tv_nsec = STEP_PAUSE_US * 1000L }, NULL);
}

static void lock_behind(struct volume *v, const void *by)
{
	pthread_mutex_lock(&v->turn);
	let_others_go_first(v);
	lock_for(v, by, true);
	pthread_mutex_unlock(&v->turn);
}

void volume_lock_behind(struct volume *v)
{
	lock_behind(v, __builtin_return_address(0));
}

void volume_lock(struct volume *v)
{
	const void *by = __builtin_return_address(0);

	lock_for(v, by, false);
	while (v->landing && v->health == HEALTH_WELL) {
		volume_unlock(v);
		landing_step(v);
		volume_pause(v);
		lock_behind(v, by);
	}
}

static void unlock_and_tell(struct volume *v)
{
	void (*fn)(void *) = v->became_open ? v->dirty_fn : NULL;
	void *ctx = v->dirty_ctx;

	v->became_open = false;
	/* Before anybody can read the new state (volume.h). */
	if (v->notice_fn && v->n_notices > 0)
		v->notice_fn(v->notice_ctx, v->notices, v->n_notices);
	free(v->notices);
	v->notices = NULL;
	v->n_notices = v->cap_notices = 0;
	v->telling += fn != NULL;
	hold_end(&v->hold);
	locked_here = false;
	pthread_mutex_unlock(&v->lock);
	if (fn) {
		fn(ctx);
		pthread_mutex_lock(&v->lock);
		v->telling--;
		pthread_cond_broadcast(&v->commit_done);
		pthread_mutex_unlock(&v->lock);
	}
}

size_t volume_step_rows(const struct volume *v)
{
	return v->opt.at_once_rows ? v->opt.at_once_rows : STEP_ROWS;
}

int volume_pause(struct volume *v)
{
	if (v->opt.pause)
		return v->opt.pause(v->opt.pause_ctx);
	log_thread_wait(v);
	nanosleep(&(struct timespec){ .tv_nsec = STEP_PAUSE_US * 1000L }, NULL);
	let_others_go_first(v);
	return 0;
}

uint64_t group_rows(struct volume *v)
{
	return db_changes_in_all(v->db) - v->group_rows_before;
}

/* A statement that failed leaves its operation half done: then the group goes, not the rule that groups are whole. */
static void check_database(struct volume *v)
{
	const char *text;

	int rc = db_failure(v->db, &text);

	if (rc && v->info.group_open)
		group_fault(v, rc, text);
	else if (rc)
		db_failure_clear(v->db);
	/* So does an operation that met an impossible row when it had changed something already. One that had not has
	 * failed, and that is all. */
	text = db_damage(v->db);
	if (text && v->info.group_open && db_changes_in_all(v->db) != v->changes_at_lock)
		group_fault(v, -EUCLEAN, text);
}

void volume_unlock(struct volume *v)
{
	assert(!v->peer_apply);
	check_database(v);
	unlock_and_tell(v);
}

/* On a disk that is short a group is overfull at once: the room that is held has to last. */
bool group_is_full(struct volume *v, unsigned times)
{
	uint64_t limit = v->opt.group_max_bytes ? v->opt.group_max_bytes : GROUP_MAX_BYTES;

	return v->info.group_open && (v->group_new_bytes / times >= limit || group_rows(v) / times >= GROUP_MAX_ROWS ||
	                              (v->room_short && v->group_marks >= SHORT_GROUP_MARKS));
}

void volume_leave(struct volume *v)
{
	bool full = group_is_full(v, 1), due = image_stream_due(v->data->image);
	bool aside = (full || due) && committer_ask(v);

	if (aside)
		full = group_is_full(v, GROUP_OVERFULL);
	volume_unlock(v);
	if (due && !aside)
		image_stream_begin(v->data->image);
	if (full) {
		volume_commit(v);
		log_thread_wait(v);
	}
}

void volume_ids(struct volume *v, struct volume_ids *out)
{
	*out = (struct volume_ids){ .committed = v->info.committed, .cut = v->info.cut, .acked = v->info.acked,
	                            .applied = v->info.applied, .slot = v->info.slot, .role = v->info.role };
}

static bool host_is_short(const char *dir)
{
	struct statvfs st;

	if (statvfs(dir, &st) != 0)
		return false;
	uint64_t all = (uint64_t)st.f_blocks * st.f_frsize, avail = (uint64_t)st.f_bavail * st.f_frsize;

	return avail < MIN(ROOM_RESERVE_BYTES, all / ROOM_RESERVE_SHARE);
}

int volume_room(struct volume *v)
{
	uint64_t now = clock_mono_ms();

	if (v->peer_apply)
		return 0;
	if (v->room_checked_ms == 0 || now - v->room_checked_ms >= ROOM_CHECK_MS) {
		v->room_checked_ms = now;
		v->room_short = db_reserve(v->db) != 0 || host_is_short(v->dir);
	}
	return v->room_short ? -ENOSPC : 0;
}

bool volume_is_orphan(struct volume *v, uint64_t ino)
{
	if (map_count(&v->orphans) > 0 && map_get(&v->orphans, ino, NULL))
		return true;
	return v->doomed && ino > v->doomed_at && orphan_row_is(v->db, ino) == 1;
}

/* ---- open ---- */

/* Nobody needs to care for a group in which the volume only tidies up, and which it commits itself, but for who comes
 * later and changes something in it. */
static void tell_open(struct volume *v)
{
	if (v->peer_apply || v->tidying || v->group_told)
		return;
	v->became_open = v->group_told = true;
}

bool group_waits(struct volume *v)
{
	return v->info.group_open && v->group_told;
}

int group_open(struct volume *v)
{
	int rc;

	if (v->info.group_open) {
		tell_open(v);
		return 0;
	}
	rc = recover(v, false);
	if (rc)
		return rc;
	rc = db_begin(v->db);
	if (rc) {
		const char *text;

		db_failure(v->db, &text);
		return group_fault(v, rc, text);
	}
	v->info.group_open = v->info.committed + 1;
	v->group_wrote = v->group_kept = false;
	v->group_new_bytes = 0;
	v->group_marks = 0;
	v->group_rows_before = db_changes_in_all(v->db);
	v->group_opened_ms = clock_real_ms();
	v->saved_acked = v->info.acked;
	v->saved_applied = v->info.applied;
	v->group_is_peers = v->peer_apply;
	tell_open(v);
	return 0;
}

uint64_t group_number(struct volume *v)
{
	return v->info.group_open;
}

void group_mark(struct volume *v)
{
	assert(v->info.group_open);
	v->group_wrote = true;
	v->group_marks++;
}

void group_keep(struct volume *v)
{
	assert(v->info.group_open);
	v->group_kept = true;
}

/* ---- end ---- */

static void group_ended(struct volume *v)
{
	v->info.group_open = 0;
	v->group_wrote = v->group_kept = false;
	v->group_new_bytes = 0;
	v->became_open = v->group_told = false;
	map_clear(&v->touched);
	map_clear(&v->group_inodes);
	buf_reset(&v->group_names);
	assert(!db_in_transaction(v->db));
}

static void add_orphan(void *ctx, uint64_t ino)
{
	map_put(ctx, ino, 1);
}

/* What is in memory only is set back to what the tables say. next_id stays: a gap in the ids does no harm. */
static void group_undo(struct volume *v)
{
	db_rollback(v->db);
	frozen_spoil(v);
	data_store_rolled_back(v);
	v->info.acked = v->saved_acked;
	v->info.applied = v->saved_applied;
	map_clear(&v->orphans);
	map_clear(&v->orphans_new);
	if (v->doomed)
		leftover_doom(v); /* from the beginning: some may be back */
	else
		orphan_rows(v->db, add_orphan, &v->orphans);
	leftover_load(v);
	landing_load(v);
	history_again(v); /* what was freed is back */
	v->rows_left = true; /* perhaps */
	group_ended(v);
}

void group_touch(struct volume *v, uint64_t ino)
{
	if (!v->peer_apply && map_count(&v->group_inodes) <= GROUP_INODES_MAX)
		map_put(&v->group_inodes, ino, 1);
}

void group_name(struct volume *v, uint64_t parent, const char *name, size_t name_len)
{
	uint8_t entry[sizeof(parent) + 1 + NAME_MAX_BYTES];

	if (v->peer_apply || v->group_names.len_bytes + sizeof(entry) > GROUP_NAMES_MAX_BYTES)
		return;
	assert(name_len <= NAME_MAX_BYTES);
	memcpy(entry, &parent, sizeof(parent));
	entry[sizeof(parent)] = (uint8_t)name_len;
	memcpy(entry + sizeof(parent) + 1, name, name_len);
	buf_append(&v->group_names, entry, sizeof(parent) + 1 + name_len);
}

/* ---- what is lost ---- */

/* Names that the group made are about to be none. */
static void unname(struct volume *v)
{
	const struct buf *b = &v->group_names;
	size_t at = 0;

	while (at < b->len_bytes) {
		struct notice *n = notice_add(v);
		uint8_t len = b->data[at + sizeof(n->parent)];

		*n = (struct notice){ .kind = NOTICE_ENTRY, .name_len_bytes = len };
		memcpy(&n->parent, b->data + at, sizeof(n->parent));
		memcpy(n->name, b->data + at + sizeof(n->parent) + 1, len);
		at += sizeof(n->parent) + 1 + len;
	}
}

/* Before the rollback: the kernel must forget what it knows of the group, and the next fsync of each file in it must
 * fail. */
static void note_loss(struct volume *v, int code)
{
	bool all = map_count(&v->group_inodes) > GROUP_INODES_MAX;
	const struct map *files = all ? &v->refs : &v->group_inodes;
	uint64_t ino, value;
	size_t it = 0;

	unname(v);
	*notice_add(v) = (struct notice){ .kind = NOTICE_EVERYTHING };
	while (map_next(files, &it, &ino, &value))
		if (map_get(&v->refs, ino, NULL))
			map_put(&v->lost, ino, (uint64_t)-code);
	v->info.losses++;
	v->info.loss_last_ms = clock_real_ms();
	v->loss_code = code;
}

static const char *cause_text(int code)
{
	switch (code) {
	case -ENOSPC:
		return "the host's disk is full";
	case -EROFS:
		return "the host's filesystem is read-only";
	case -EUCLEAN:
		return "the database is damaged";
	default:
		return "the host's disk reports errors";
	}
}

/* What of the store's failure a program is told. */
static int program_errno(int code)
{
	return code == -ENOSPC || code == -EROFS ? code : -EIO;
}

static void fail(struct volume *v, int code, const char *why)
{
	if (v->health == HEALTH_WELL || code == -EUCLEAN) {
		free(v->fault);
		v->fault = xasprintf("%s: %s", cause_text(code), why);
		log_error("%s: takes no changes now: %s", v->dir, v->fault);
	}
	v->health = code == -EUCLEAN ? HEALTH_DAMAGED : HEALTH_FAILED;
	v->fault_code = program_errno(code);
	v->info.read_only = true;
	v->fault_tried_ms = clock_mono_ms();
}

int group_fault(struct volume *v, int code, const char *why)
{
	bool ours = v->info.group_open && !v->group_is_peers && (v->group_wrote || v->group_kept);
	uint64_t age_ms = v->info.group_open ? clock_real_ms() - v->group_opened_ms : 0;

	assert(code < 0);
	fail(v, code, why); /* the text may be the database's own, which the rollback clears */
	if (ours)
		note_loss(v, program_errno(code));
	if (v->info.group_open)
		group_undo(v);
	db_failure_clear(v->db);
	if (ours)
		log_error("%s: back at group %llu; changes of the last %llu ms that no fsync had made durable are lost",
			  v->dir, (unsigned long long)v->info.committed, (unsigned long long)age_ms);
	return program_errno(code);
}

/* ---- back to health ---- */

static bool files_are_ours(struct volume *v)
{
	char *db = xasprintf("%s/twinfs.db", v->dir), *image = xasprintf("%s/image", v->dir);
	struct stat st;
	bool ours = stat(db, &st) == 0 && st.st_dev == v->db_dev && st.st_ino == v->db_ino &&
		    image_is_at(v->data->image, image);

	free(db);
	free(image);
	return ours;
}

/*
 * The state as of the last durable group, written and flushed once more. This is more than a probe: a COMMIT that
 * failed may have left its end in the write-ahead log, where a crash would find it and take it for good, after its
 * blocks went to others. The new commit takes its place there.
 */
static int seal(struct volume *v)
{
	struct store_state state = { v->info.committed, v->next_id, v->info.acked, v->info.applied,
		                     v->data->logged.flushed };
	int rc = db_begin(v->db);

	if (!rc)
		rc = state_row_put(v->db, &state);
	if (!rc)
		rc = db_commit(v->db);
	if (rc)
		db_rollback(v->db);
	db_failure_clear(v->db);
	return rc;
}

/* Orphans that were let go in a group that was lost. */
static void reap_unheld(struct volume *v)
{
	struct map all = MAP_INIT;
	uint64_t ino, value;
	size_t it = 0;

	while (map_next(&v->orphans, &it, &ino, &value)) /* which tree_reap changes */
		map_put(&all, ino, 1);
	it = 0;
	while (map_next(&all, &it, &ino, &value))
		if (!map_get(&v->refs, ino, NULL) && group_open(v) == 0)
			tree_reap(v, ino);
	map_release(&all);
}

/* 0: the volume takes changes. Lock held, no group open. */
static int recover(struct volume *v, bool now)
{
	uint64_t now_ms = clock_mono_ms();
	int rc;

	if (v->health == HEALTH_WELL)
		return 0;
	if (v->health == HEALTH_DAMAGED || (!now && now_ms - v->fault_tried_ms < RECOVER_EVERY_MS))
		return v->fault_code;
	assert(!v->info.group_open);
	v->fault_tried_ms = now_ms;
	if (!files_are_ours(v))
		return v->fault_code;
	rc = logged_restore(v);
	if (!rc)
		rc = image_recover(v->data->image);
	if (!rc) {
		logged_are_flushed(v);
		rc = seal(v);
	}
	if (rc) {
		v->fault_code = program_errno(rc);
		return v->fault_code;
	}
	log_info("%s: takes changes again, from group %llu on", v->dir, (unsigned long long)v->info.committed);
	v->health = HEALTH_WELL;
	v->info.read_only = false;
	free(v->fault);
	v->fault = NULL;
	reap_unheld(v);
	leftover_start(v); /* its thread ended with the failure */
	return 0;
}

int volume_recover(struct volume *v)
{
	bool ours = files_are_ours(v); /* may hang with the host: not under the lock */
	int rc = 0;

	volume_lock_now(v);
	if (v->health == HEALTH_WELL && !ours) {
		group_commit_locked(v); /* the files are still open, wherever they are */
		if (v->health == HEALTH_WELL)
			fail(v, -EIO, "the store's files are no longer there: moved, deleted or mounted over");
	}
	if (v->health != HEALTH_WELL)
		rc = recover(v, true);
	volume_unlock(v);
	return rc;
}

int volume_lost(struct volume *v, uint64_t ino)
{
	uint64_t code = 0;

	volume_lock_now(v);
	if (map_get(&v->lost, ino, &code))
		map_del(&v->lost, ino);
	volume_unlock(v);
	return -(int)code;
}

/* ---- commit ---- */

static int store_group(struct volume *v, uint64_t n)
{
	int rc = orphans_store(v);

	if (!rc)
		rc = logged_settle(v, n);
	struct store_state state = { n, v->next_id, v->info.acked, v->info.applied, v->data->logged.flushing };

	if (!rc)
		rc = state_row_put(v->db, &state);
	if (!rc && v->group_wrote)
		rc = group_row_put(v->db, n, random_u64(), clock_real_ms());
	/* A pair forgets group ids with its baseline; without a peer nobody asks. */
	if (!rc && v->group_wrote && v->info.role == ROLE_NONE && n > GROUP_IDS_KEPT && n % GROUP_IDS_FORGOTTEN == 0)
		rc = MIN(group_row_forget(v->db, n - GROUP_IDS_KEPT, 2 * GROUP_IDS_FORGOTTEN), 0);
	if (rc)
		return rc;
	atomic_store(&v->commit_since_ms, clock_mono_ms());
	uint64_t begun_us = hold_commit_begin(&v->hold);

	rc = db_commit(v->db);
	hold_commit_end(&v->hold, begun_us);
	atomic_store(&v->commit_since_ms, 0);
	return rc;
}

uint64_t volume_stalled_ms(struct volume *v)
{
	uint64_t now_ms = clock_mono_ms(), db = atomic_load(&v->commit_since_ms);
	uint64_t image = image_busy_since_ms(v->data->image), since = db && (!image || db < image) ? db : image;

	return since && since < now_ms ? now_ms - since : 0;
}

int group_commit_locked(struct volume *v)
{
	uint64_t n = v->group_wrote ? v->info.group_open : v->info.committed;
	int rc;

	if (!v->info.group_open)
		return v->health == HEALTH_WELL ? 0 : v->fault_code;
	if (!db_failure(v->db, NULL) && !v->group_wrote && !v->group_kept) {
		db_rollback(v->db);
		data_store_rolled_back(v);
		group_ended(v);
		return 0;
	}
	rc = store_group(v, n);
	if (rc) {
		const char *text = "";
		char *why;

		db_failure(v->db, &text);
		why = xasprintf("commit failed: %s", text[0] ? text : strerror(-rc));
		rc = group_fault(v, rc, why);
		free(why);
		return rc;
	}
	v->info.committed = n;
	group_ended(v);
	data_store_committed(v);
	log_thread_ask(v);
	return 0;
}

/* Without the lock. An error comes again, or is remembered, in the commit. */
static void flush_ahead(struct volume *v)
{
	uint64_t took_ms = UINT64_MAX, before_ms;

	for (unsigned i = 0; i < FLUSHES_AHEAD; i++) {
		uint64_t start_ms = clock_mono_ms();

		data_store_sync(v); /* nothing, if nothing was written since the last one */
		before_ms = took_ms;
		took_ms = clock_mono_ms() - start_ms;
		if (took_ms < FLUSH_SHORT_MS || took_ms > before_ms / 2)
			break;
	}
}

int volume_commit(struct volume *v)
{
	uint64_t n, losses;
	int rc = 0;

	volume_lock_now(v);
	n = v->info.group_open;
	losses = v->info.losses;
	while (n && v->info.group_open == n) {
		if (v->committing) {
			pthread_cond_wait(&v->commit_done, &v->lock);
			hold_begin(&v->hold, __builtin_return_address(0), 0);
			continue;
		}
		if (!logged_suffices(v)) {
			v->committing = true;
			unlock_and_tell(v);
			flush_ahead(v);
			volume_lock_now(v);
			v->committing = false;
		}
		if (v->info.group_open == n)
			group_commit_locked(v);
		pthread_cond_broadcast(&v->commit_done);
	}
	if (v->info.losses != losses)
		rc = v->loss_code; /* perhaps not this group; but then one that this caller's changes may be in */
	else if (v->health != HEALTH_WELL)
		rc = v->fault_code;
	volume_unlock(v);
	if (n)
		image_stream_drop(v->data->image);
	return rc;
}

/* ---- the peer's changes ---- */

int volume_apply_begin(struct volume *v)
{
	int rc = volume_commit(v);

	if (rc) {
		holders_go_on(v);
		return rc;
	}
	volume_lock(v);
	rc = v->landing ? v->fault_code : group_commit_locked(v); /* whatever slipped in since */
	v->peer_apply = true;
	if (!rc)
		rc = group_open(v);
	if (rc) {
		v->peer_apply = false;
		volume_unlock(v);
		holders_go_on(v);
	}
	return rc;
}

static void apply_ended(struct volume *v)
{
	v->peer_apply = false;
	map_clear(&v->noticed);
}

int volume_apply_commit(struct volume *v, uint64_t n_applied)
{
	volume_told_fn told = v->told_fn;
	void *ctx = v->notice_ctx;
	bool any = v->n_notices > 0;
	int rc;

	assert(v->peer_apply);
	/* A link left detached would be a name lost. Only the order of a caller's own calls can cause it, never the
	 * peer. */
	assert(tree_is_empty_dir(v, 0) || db_failure(v->db, NULL));
	v->info.applied = MAX(v->info.applied, n_applied);
	apply_ended(v);
	rc = group_commit_locked(v);
	if (rc)
		v->n_notices = 0; /* nothing of it happened */
	holders_end(v, rc == 0);
	unlock_and_tell(v);
	holders_go_on(v);
	if (!rc && told && any)
		told(ctx);
	return rc;
}

void volume_apply_abort(struct volume *v)
{
	assert(v->peer_apply);
	apply_ended(v);
	v->n_notices = 0;
	if (v->info.group_open)
		group_undo(v);
	holders_end(v, false);
	unlock_and_tell(v);
	holders_go_on(v);
}

/* ---- notices ---- */

struct notice *notice_add(struct volume *v)
{
	if (v->n_notices == v->cap_notices) {
		v->cap_notices = v->cap_notices ? v->cap_notices * 2 : 64;
		v->notices = xrealloc(v->notices, v->cap_notices * sizeof(*v->notices));
	}
	return &v->notices[v->n_notices++];
}

void notice_inode(struct volume *v, uint64_t ino)
{
	if (!v->peer_apply || map_get(&v->noticed, ino, NULL))
		return;
	map_put(&v->noticed, ino, 1);
	*notice_add(v) = (struct notice){ .kind = NOTICE_INODE, .ino = ino };
}

static void notice_name(struct volume *v, int kind, uint64_t parent, uint64_t child, const char *name, size_t name_len)
{
	struct notice *n;

	/* The kernel looks names up only in directories it holds a reference to. */
	if (!v->peer_apply || (parent != INO_ROOT && !map_get(&v->refs, parent, NULL)))
		return;
	notice_inode(v, parent); /* cached listings */
	n = notice_add(v);
	n->kind = kind;
	n->parent = parent;
	n->ino = child;
	memcpy(n->name, name, name_len);
	n->name[name_len] = '\0';
	n->name_len_bytes = (unsigned)name_len;
}

void notice_everything(struct volume *v)
{
	*notice_add(v) = (struct notice){ .kind = NOTICE_EVERYTHING };
}

void notice_entry(struct volume *v, uint64_t parent, const char *name, size_t name_len)
{
	notice_name(v, NOTICE_ENTRY, parent, 0, name, name_len);
}

void notice_delete(struct volume *v, uint64_t parent, uint64_t child, const char *name, size_t name_len)
{
	notice_name(v, NOTICE_DELETE, parent, child, name, name_len);
}
