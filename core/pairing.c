/* SPDX-License-Identifier: MIT */
/*
 * How a volume becomes half of a pair. Without a peer nothing is recorded; with one the change set holds all that the
 * peer does not have, which at the beginning is everything.
 *
 *   ENTER_NOT --prepare--> ENTER_BEGUN --all is entered--> ENTER_DONE --volume_pair commits--> ENTER_NOT, role set
 *
 * In BEGUN and DONE changes are recorded as those of a pair, so that what was entered stays right; the role is none
 * still, in the store and to everybody. What ends there is forgotten: by fail, or by pair_open after a crash.
 *
 * And how it ceases to be one: in one short group; the rows of all that goes with the peer are dropped bit by bit.
 */
#include "core/internal.h"

#include "core/data.h"
#include "core/leftover.h"
#include "db/change_set.h"
#include "db/note_rows.h"
#include "util/util.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Root and .twinfs exist in every volume, below the first inode that is made in one. */
#define FIRST_OWN_INO (INO_HIDDEN + 1)
/* Inodes or links that are entered under the lock in one go: 3 ms. */
#define ENTER_STEP 256u
/* Rows after which that is committed: some 20 ms, under the lock. */
#define ENTER_COMMIT_ROWS 8192u
/* Between two steps, so that others get the lock, which is not fair. */
#define PAUSE_US 500
#define SETTING_SLOT_BEFORE "slot_before"
#define SETTING_REJOINED "rejoined" /* this secondary was the primary, and stopped being it in this group */
#define SETTING_UNMET "unmet" /* this primary was the secondary, and has not heard of the other since */

static int forget_all(struct volume *v)
{
	int rc = group_open(v);

	if (rc)
		return rc;
	group_keep(v);
	change_set_forget(v->db, v->info.committed);
	v->rows_left = true;
	return 0;
}

int pair_open(struct volume *v)
{
	int any = v->info.role == ROLE_NONE ? change_set_any_after(v->db, 0) : 0;

	return any > 0 ? forget_all(v) : any;
}

/* Lock held. */
static int fail(struct volume *v, int rc, struct err *err)
{
	err_set(err, rc, "cannot pair %s: %s", v->dir, v->fault ? v->fault : strerror(-rc));
	v->entering = ENTER_NOT;
	/* What was entered is in committed groups then; of a volume that failed it is forgotten by pair_open. */
	if (group_commit_locked(v) == 0)
		forget_all(v);
	leftover_start(v);
	return rc;
}

static size_t step_rows(const struct volume *v)
{
	return v->opt.at_once_rows ? v->opt.at_once_rows : ENTER_STEP;
}

static bool is_commit_due(struct volume *v)
{
	return group_rows(v) >= (v->opt.at_once_rows ? v->opt.at_once_rows * 4u : ENTER_COMMIT_ROWS);
}

static void pause_unlocked(struct volume *v, bool commit)
{
	volume_unlock(v);
	if (commit)
		volume_commit(v);
	nanosleep(&(struct timespec){ .tv_nsec = PAUSE_US * 1000L }, NULL);
	volume_lock(v);
}

/* What an attempt before this one has entered would be taken for what this one did; and history that was kept for an
 * earlier peer for what this one has. Lock held, but given away. */
static int drop_earlier(struct volume *v)
{
	int rc = 0;

	while (!rc && (v->rows_left || v->history_left)) {
		rc = group_open(v);
		if (rc)
			break;
		group_keep(v);
		rc = v->rows_left ? changes_drop_forgotten(v, step_rows(v)) : history_trim(v, step_rows(v));
		pause_unlocked(v, is_commit_due(v));
	}
	return rc;
}

/* The highest slot of all nodes that this one was ever in a pair with; 0: there was none. */
static unsigned slot_before(struct volume *v)
{
	char *text = setting_get(v, SETTING_SLOT_BEFORE);
	unsigned long slot = text ? strtoul(text, NULL, 10) : 0;

	free(text);
	return (unsigned)MIN(slot, SLOT_MAX);
}

static bool had_peer(struct volume *v)
{
	return slot_before(v) > 0;
}

unsigned volume_slot_free(struct volume *v)
{
	unsigned slot;

	volume_lock_now(v);
	slot = MAX(v->info.slot, slot_before(v)) + 1;
	volume_unlock(v);
	return slot;
}

bool volume_had_peer(struct volume *v)
{
	bool had;

	volume_lock_now(v);
	had = had_peer(v);
	volume_unlock(v);
	return had;
}

static int enter_all(struct volume *v)
{
	struct enter_pos pos = { .peer_before = had_peer(v) };
	uint64_t losses = v->info.losses;
	int rc = 1;

	while (rc == 1) {
		rc = group_open(v);
		if (rc)
			break;
		group_mark(v);
		rc = change_set_enter(v->db, v->info.group_open, FIRST_OWN_INO, step_rows(v), &pos);
		if (rc == 1)
			pause_unlocked(v, is_commit_due(v));
		/* A group that was lost took with it what was entered in it. */
		if (v->info.losses != losses)
			rc = v->loss_code;
	}
	return rc;
}

static int prepare(struct volume *v, struct err *err)
{
	int rc;

	if (v->info.role != ROLE_NONE)
		return err_set(err, -EEXIST, "%s is half of a pair already", v->dir);
	if (v->entering == ENTER_BEGUN)
		return err_set(err, -EBUSY, "%s is becoming half of a pair already; try again in a moment", v->dir);
	if (v->entering == ENTER_DONE)
		return 0;
	v->entering = ENTER_BEGUN;
	rc = drop_earlier(v);
	if (!rc)
		rc = enter_all(v);
	if (rc)
		return fail(v, rc, err);
	v->entering = ENTER_DONE;
	return 0;
}

int volume_pair_prepare(struct volume *v, struct err *err)
{
	int rc;

	volume_lock(v);
	rc = prepare(v, err);
	volume_unlock(v);
	return rc;
}

static int put_role(struct volume *v, enum role role, uint64_t generation)
{
	int rc = meta_put_number(v, "role", role);

	if (!rc)
		rc = meta_put_number(v, "generation", generation);
	v->info.role = role;
	v->info.generation = generation;
	return rc;
}

static int enter_pair(struct volume *v, enum role role, uint64_t generation, unsigned peer_slot,
                      const char *peer_node_id, const char *peer_name)
{
	char slot[12];
	int rc = group_open(v);

	if (rc)
		return rc;
	group_mark(v);
	snprintf(slot, sizeof(slot), "%u", peer_slot);
	rc = setting_put(v, "peer_slot", slot);
	if (!rc)
		rc = setting_put(v, "peer_node_id", peer_node_id);
	if (!rc)
		rc = setting_put(v, "peer_name", peer_name);
	if (!rc && role == ROLE_PRIMARY)
		rc = change_set_enter_attrs(v->db, v->info.group_open, FIRST_OWN_INO);
	return rc ? rc : put_role(v, role, generation);
}

int volume_pair(struct volume *v, enum role role, uint64_t generation, unsigned peer_slot, const char *peer_node_id,
                const char *peer_name, struct err *err)
{
	struct volume_info before;
	int rc;

	assert(role == ROLE_PRIMARY || role == ROLE_SECONDARY);
	volume_lock(v);
	before = v->info;
	if (v->info.role == ROLE_NONE && (peer_slot < 1 || peer_slot > SLOT_MAX || peer_slot == v->info.slot))
		rc = err_set(err, -EINVAL, "the peer's slot %u cannot be (ours is %u)", peer_slot, v->info.slot);
	else
		rc = prepare(v, err);
	if (!rc) {
		rc = enter_pair(v, role, generation, peer_slot, peer_node_id, peer_name);
		if (!rc)
			rc = group_commit_locked(v);
		if (rc) {
			v->info.role = before.role;
			v->info.generation = before.generation;
			fail(v, rc, err);
		}
		v->entering = ENTER_NOT;
	}
	volume_unlock(v);
	return rc;
}

/* ---- back to unpaired ---- */

/* Ids of the peer's slot are in our tree: nobody else may make more of them. */
static int keep_slot(struct volume *v)
{
	char *text = setting_get(v, "peer_slot"), slot[12];
	unsigned long peer = text ? strtoul(text, NULL, 10) : 0;

	free(text);
	snprintf(slot, sizeof(slot), "%lu", MAX(MAX(peer, (unsigned long)v->info.slot), slot_before(v)));
	return setting_put(v, SETTING_SLOT_BEFORE, slot);
}

static int leave_pair(struct volume *v, const char *const *settings, size_t n)
{
	static const char *const own[] = { "peer_slot", "peer_node_id", "peer_name", SETTING_UNMET, SETTING_REJOINED };
	int rc = group_open(v);

	if (rc)
		return rc;
	group_mark(v);
	rc = keep_slot(v);
	for (size_t i = 0; !rc && i < ARRAY_LEN(own); i++)
		rc = setting_put(v, own[i], NULL);
	for (size_t i = 0; !rc && i < n; i++)
		rc = setting_put(v, settings[i], NULL);
	if (!rc)
		rc = lineage_row_purge(v->db, GROUP_LIMIT);
	if (!rc)
		rc = peer_link_row_purge(v->db, GROUP_LIMIT);
	if (rc)
		return rc;
	change_set_forget(v->db, v->info.committed);
	v->rows_left = true;
	v->info.acked = v->info.applied = 0;
	return put_role(v, ROLE_NONE, 0);
}

int volume_unpair(struct volume *v, const char *const *settings, size_t n, struct err *err)
{
	struct volume_info before;
	int rc;

	volume_lock(v);
	assert(!v->frozen);
	before = v->info;
	if (v->info.role == ROLE_NONE)
		rc = err_set(err, -ENOENT, "%s has no peer", v->dir);
	else if (v->n_pins > 0)
		rc = err_set(err, -EBUSY,
		             "the baseline of %s is mounted or being read, and goes with the peer: unmount it first",
		             v->dir);
	else if ((rc = group_commit_locked(v)) == 0 && (rc = leave_pair(v, settings, n)) == 0)
		rc = group_commit_locked(v);
	if (rc && !err->code) { /* the database's failure: the group is undone by the commit, or at the unlock */
		v->info.role = before.role;
		v->info.generation = before.generation;
		err_set(err, rc, "cannot write %s: %s", v->dir, v->fault ? v->fault : strerror(-rc));
	} else if (!rc) {
		history_again(v); /* all of it goes */
		stage_forget(v);
		leftover_start(v);
	}
	volume_unlock(v);
	return rc;
}

/* ---- the roles change ---- */

static int become(struct volume *v, enum role role, uint64_t generation, uint64_t seen)
{
	static const char *const words[] = { "prefer", "prefer_now", "prefer_back", "prefer_taken" };
	char group[24];
	int rc = group_open(v);

	if (rc)
		return rc;
	group_mark(v);
	for (size_t i = 0; !rc && i < ARRAY_LEN(words); i++)
		rc = setting_put(v, words[i], NULL);
	if (!rc && role == ROLE_PRIMARY)
		rc = change_set_own_reports(v->db);
	if (!rc && role == ROLE_SECONDARY)
		rc = change_set_raise(v->db, seen, v->info.group_open);
	if (!rc)
		rc = role == ROLE_SECONDARY ? lineage_row_raise(v->db, seen, v->info.group_open)
		                            : lineage_row_purge(v->db, GROUP_LIMIT);
	if (!rc)
		rc = peer_link_row_purge(v->db, GROUP_LIMIT);
	if (!rc)
		rc = setting_put(v, SETTING_UNMET, role == ROLE_PRIMARY ? "1" : NULL);
	snprintf(group, sizeof(group), "%llu", (unsigned long long)v->info.group_open);
	if (!rc)
		rc = setting_put(v, SETTING_REJOINED, role == ROLE_PRIMARY ? NULL : group);
	return rc ? rc : put_role(v, role, generation);
}

int volume_become(struct volume *v, enum role role, uint64_t generation, uint64_t seen, struct err *err)
{
	struct volume_info before;
	int rc;

	assert(role != ROLE_NONE && !v->frozen);
	volume_lock(v); /* a plan that holds is the old role's, and carried out by now */
	before = v->info;
	assert(before.role != ROLE_NONE && generation > before.generation);
	rc = group_commit_locked(v);
	if (!rc)
		rc = become(v, role, generation, seen);
	if (!rc)
		rc = group_commit_locked(v);
	if (rc) {
		v->info.role = before.role;
		v->info.generation = before.generation;
		err_set(err, rc, "cannot write %s: %s", v->dir, v->fault ? v->fault : strerror(-rc));
	} else {
		stage_forget(v);
	}
	volume_unlock(v);
	return rc;
}

bool volume_rejoins(struct volume *v)
{
	char *group;
	bool yes;

	volume_lock_now(v);
	group = setting_get(v, SETTING_REJOINED);
	yes = group && v->info.acked < strtoull(group, NULL, 10);
	free(group);
	volume_unlock(v);
	return yes;
}

int volume_met(struct volume *v, uint64_t seen)
{
	char *unmet;
	int rc = 0;

	volume_lock(v);
	unmet = setting_get(v, SETTING_UNMET);
	if (unmet) {
		rc = changes_purge(v, seen);
		if (!rc)
			rc = setting_put(v, SETTING_UNMET, NULL);
		if (!rc)
			rc = group_commit_locked(v);
	}
	free(unmet);
	volume_unlock(v);
	return rc;
}
