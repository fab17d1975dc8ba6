/* SPDX-License-Identifier: MIT */
/* Groups: opening, committing, undoing them; what the volume does when that fails. */
#include "core/internal.h"

#include "db/inode_rows.h"
#include "db/meta_rows.h"
#include "util/log.h"
#include "util/util.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>

/* Kept for commits and for the peer's changes when the host's filesystem runs full. */
#define ROOM_RESERVE_BYTES (UINT64_C(16) << 20)
#define ROOM_CHECK_MS 100
void volume_lock(struct volume *v)
{
	pthread_mutex_lock(&v->lock);
}

static void unlock_and_tell(struct volume *v)
{
	void (*fn)(void *) = v->became_open ? v->dirty_fn : NULL;
	void *ctx = v->dirty_ctx;

	v->became_open = false;
	pthread_mutex_unlock(&v->lock);
	if (fn)
		fn(ctx);
}

/* A statement that failed leaves its operation half done: then the group goes, not the rule that groups are whole. */
static void check_database(struct volume *v)
{
	const char *text;

	if (!db_failure(v->db, &text))
		return;
	if (v->info.group_open)
		group_fault(v, text);
	else
		db_failure_clear(v->db);
}

void volume_unlock(struct volume *v)
{
	assert(!v->peer_apply);
	check_database(v);
	unlock_and_tell(v);
}

void volume_leave(struct volume *v)
{
	uint64_t limit = v->opt.group_max_bytes ? v->opt.group_max_bytes : UINT64_C(64) << 20;
	bool full = v->info.group_open && v->group_new_bytes >= limit;

	volume_unlock(v);
	if (full)
		volume_commit(v);
}

void volume_ids(struct volume *v, struct volume_ids *out)
{
	*out = (struct volume_ids){ .committed = v->info.committed, .cut = v->info.cut, .acked = v->info.acked,
	                            .applied = v->info.applied, .slot = v->info.slot, .role = v->info.role };
}

int volume_room(struct volume *v)
{
	struct statvfs st;
	uint64_t now = clock_mono_ms();

	if (v->peer_apply)
		return 0;
	if (v->room_checked_ms == 0 || now - v->room_checked_ms >= ROOM_CHECK_MS) {
		v->room_checked_ms = now;
		v->room_short = statvfs(v->dir, &st) == 0 && (uint64_t)st.f_bavail * st.f_frsize < ROOM_RESERVE_BYTES;
	}
	return v->room_short ? -ENOSPC : 0;
}

bool volume_is_orphan(const struct volume *v, uint64_t ino)
{
	return map_count(&v->orphans) > 0 && map_get(&v->orphans, ino, NULL);
}

/* ---- open ---- */

int group_open(struct volume *v)
{
	int rc;

	if (v->info.group_open)
		return 0;
	if (v->fault)
		return -EROFS;
	rc = db_begin(v->db);
	if (rc) {
		const char *text;

		db_failure(v->db, &text);
		return group_fault(v, text);
	}
	v->info.group_open = v->info.committed + 1;
	v->group_wrote = v->group_kept = false;
	v->group_new_bytes = 0;
	v->group_opened_ms = clock_real_ms();
	v->saved_acked = v->info.acked;
	v->saved_applied = v->info.applied;
	if (!v->peer_apply)
		v->became_open = true;
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
	v->pending_stale = true;
}

void group_keep(struct volume *v)
{
	assert(v->info.group_open);
	v->group_kept = true;
	v->pending_stale = true;
}

/* ---- end ---- */

static void group_ended(struct volume *v)
{
	v->info.group_open = 0;
	v->group_wrote = v->group_kept = false;
	v->group_new_bytes = 0;
	v->became_open = false;
	v->pending_stale = true;
	map_clear(&v->touched);
}

static void add_orphan(void *ctx, uint64_t ino)
{
	map_put(ctx, ino, 1);
}

/* What is in memory only is set back to what the tables say. next_id stays: a gap in the ids does no harm. */
static void group_undo(struct volume *v)
{
	db_rollback(v->db);
	data_store_rolled_back(v);
	v->info.acked = v->saved_acked;
	v->info.applied = v->saved_applied;
	map_clear(&v->orphans);
	orphan_rows(v->db, add_orphan, &v->orphans);
	v->conflicts_stale = true;
	v->trimmed = 0; /* what was freed is back */
	group_ended(v);
}

int group_fault(struct volume *v, const char *why)
{
	if (!v->fault) {
		v->fault = xasprintf(
			"%s; changes since the last commit are lost; mount again when the cause is removed", why);
		v->info.read_only = true;
		log_error("%s: read-only now: %s", v->dir, v->fault);
	}
	if (v->info.group_open)
		group_undo(v);
	db_failure_clear(v->db);
	return -EIO;
}

static int store_group(struct volume *v, uint64_t n)
{
	struct store_state state = { n, v->next_id, v->info.acked, v->info.applied };
	int rc = state_row_put(v->db, &state);

	if (!rc && v->group_wrote)
		rc = group_row_put(v->db, n, random_u64(), clock_real_ms());
	/* A pair forgets group ids with its baseline; without a peer nobody asks. */
	if (!rc && v->group_wrote && v->info.role == ROLE_NONE && n > GROUP_IDS_KEPT)
		rc = group_row_forget(v->db, n - GROUP_IDS_KEPT);
	if (!rc)
		rc = data_store_sync(v);
	return rc ? rc : db_commit(v->db);
}

int group_commit_locked(struct volume *v)
{
	uint64_t n = v->group_wrote ? v->info.group_open : v->info.committed;
	int rc;

	if (!v->info.group_open)
		return v->fault ? -EIO : 0;
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
		rc = group_fault(v, why);
		free(why);
		return rc;
	}
	v->info.committed = n;
	group_ended(v);
	data_store_committed(v);
	return 0;
}

int volume_commit(struct volume *v)
{
	uint64_t n;
	int rc;

	volume_lock(v);
	n = v->info.group_open;
	while (n && v->info.group_open == n) {
		if (v->committing) {
			pthread_cond_wait(&v->commit_done, &v->lock);
			continue;
		}
		v->committing = true;
		unlock_and_tell(v);
		data_store_sync(v); /* an error comes again, or is remembered, below */
		volume_lock(v);
		v->committing = false;
		if (v->info.group_open == n)
			group_commit_locked(v);
		pthread_cond_broadcast(&v->commit_done);
	}
	rc = v->fault ? -EIO : 0;
	volume_unlock(v);
	return rc;
}

/* ---- the peer's changes ---- */

int volume_apply_begin(struct volume *v)
{
	int rc = volume_commit(v);

	if (rc)
		return rc;
	volume_lock(v);
	rc = group_commit_locked(v); /* whatever slipped in since */
	v->peer_apply = true;
	if (!rc)
		rc = group_open(v);
	if (rc) {
		v->peer_apply = false;
		volume_unlock(v);
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
	struct notice *notices;
	volume_notice_fn fn = v->notice_fn;
	void *ctx = v->notice_ctx;
	size_t n;
	int rc;

	assert(v->peer_apply);
	/* A link left detached would be a name lost. Only the order of a caller's own calls can cause it, never the
	 * peer. */
	assert(tree_is_empty_dir(v, 0) || db_failure(v->db, NULL));
	v->info.applied = MAX(v->info.applied, n_applied);
	apply_ended(v);
	rc = group_commit_locked(v);
	notices = v->notices;
	n = v->n_notices;
	v->notices = NULL;
	v->n_notices = v->cap_notices = 0;
	unlock_and_tell(v);
	if (!rc && fn && n > 0)
		fn(ctx, notices, n);
	free(notices);
	return rc;
}

void volume_apply_abort(struct volume *v)
{
	assert(v->peer_apply);
	apply_ended(v);
	v->n_notices = 0;
	if (v->info.group_open)
		group_undo(v);
	unlock_and_tell(v);
}

/* ---- notices ---- */

static struct notice *notice_add(struct volume *v)
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

void notice_entry(struct volume *v, uint64_t parent, const char *name, size_t name_len)
{
	notice_name(v, NOTICE_ENTRY, parent, 0, name, name_len);
}

void notice_delete(struct volume *v, uint64_t parent, uint64_t child, const char *name, size_t name_len)
{
	notice_name(v, NOTICE_DELETE, parent, child, name, name_len);
}
