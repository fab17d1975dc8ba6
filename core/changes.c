/* SPDX-License-Identifier: MIT */
/* The change set, and the notes of the engine. */
#include "core/internal.h"

#include "core/frozen.h"
#include "core/leftover.h"
#include "db/change_rows.h"
#include "db/change_set.h"
#include "db/inode_rows.h"
#include "db/note_rows.h"
#include "util/util.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* The cache of touched entities is emptied when it is this full: it saves time, and its memory has to end somewhere (4
 * MiB). */
#define TOUCHED_MAX 131072

static uint64_t touched_key(uint64_t ino, enum entity what)
{
	return ino << 3 | what; /* slots are below 4096, so nothing is shifted out */
}

static bool was_touched(struct volume *v, uint64_t ino, enum entity what)
{
	return map_get(&v->touched, touched_key(ino, what), NULL);
}

static void remember_touched(struct volume *v, uint64_t ino, enum entity what)
{
	if (map_count(&v->touched) >= TOUCHED_MAX)
		map_clear(&v->touched);
	map_put(&v->touched, touched_key(ino, what), 1);
}

void changes_forget_inode_cache(struct volume *v, uint64_t ino)
{
	for (unsigned what = ENT_NEW; what <= ENT_TIMES; what++)
		map_del(&v->touched, touched_key(ino, (enum entity)what));
}

bool changes_recorded(const struct volume *v)
{
	return v->info.role != ROLE_NONE || v->entering != ENTER_NOT;
}

/* Nothing is recorded for a volume without a peer, nor for what no name leads to. */
static bool unrecorded(struct volume *v, uint64_t ino)
{
	return !changes_recorded(v) || volume_is_orphan(v, ino);
}

static int absorbed_by_new(struct volume *v, uint64_t ino)
{
	int rc;

	if (was_touched(v, ino, ENT_NEW))
		return 1;
	/* Only while it has not left: what a shipment has carried is new to the peer no more. */
	rc = change_inode_raise(v->db, ino, ENT_NEW, v->info.cut, v->info.group_open);
	if (rc == 1)
		remember_touched(v, ino, ENT_NEW);
	return rc;
}

int changes_touch(struct volume *v, uint64_t ino, enum entity what)
{
	int rc;

	landing_note_inode(v, ino, 1u << what);
	if (unrecorded(v, ino) || was_touched(v, ino, what))
		return 0;
	group_mark(v);
	if (what == ENT_MODE || what == ENT_OWNER || what == ENT_TIMES) {
		rc = absorbed_by_new(v, ino);
		if (rc != 0)
			return rc < 0 ? rc : 0;
	}
	frozen_keep_inode(v, ino, what);
	rc = change_inode_put(v->db, ino, what, v->info.group_open, v->info.applied, UINT64_MAX);
	if (!rc)
		remember_touched(v, ino, what);
	return rc;
}

int changes_touch_new(struct volume *v, uint64_t ino)
{
	int rc;

	landing_note_inode(v, ino, UINT32_MAX);
	if (!changes_recorded(v))
		return 0;
	group_mark(v);
	rc = change_inode_put_new(v->db, ino, v->info.group_open, v->info.applied);
	if (!rc)
		remember_touched(v, ino, ENT_NEW);
	return rc;
}

int changes_touch_xattr(struct volume *v, uint64_t ino, const char *key)
{
	landing_note_inode(v, ino, UINT32_MAX);
	if (unrecorded(v, ino))
		return 0;
	group_mark(v);
	frozen_keep_xattr(v, ino, key);
	return change_xattr_put(v->db, ino, key, v->info.group_open, v->info.applied);
}

int changes_touch_link(struct volume *v, uint64_t link, uint64_t child, bool created, bool dropped)
{
	int rc;

	landing_note_link(v, link, child);
	if (!changes_recorded(v))
		return 0;
	group_mark(v);
	frozen_keep_link(v, link);
	if (dropped && v->entering != ENTER_NOT) /* no link has left this machine yet */
		return change_link_drop(v->db, link);
	if (dropped) {
		rc = change_link_drop_fresh(v->db, link, v->info.cut);
		if (rc != 0)
			return rc < 0 ? rc : 0;
	}
	rc = change_link_put(v->db, link, child, v->info.group_open, v->info.applied, created ? v->info.group_open : 0);
	/* What the peer did to bytes that were changed here was never taken: whoever deletes the file here did not see
	 * it. */
	return rc || !dropped ? rc : change_link_blind(v->db, link, child);
}

int changes_touch_skipped(struct volume *v, uint64_t link, uint64_t child, bool gone)
{
	struct change_row row;
	bool any = changes_get_link(v, link, &row) == 0;
	bool own = any && !row.skipped, told = any && (row.told || row.grp <= v->info.cut);
	int rc = changes_touch_link(v, link, child, false, gone);

	return rc || own ? rc : change_link_mark_skipped(v->db, link, told);
}

int changes_skipped_taken(struct volume *v, uint64_t link, uint64_t upto)
{
	struct change_row row;
	int rc = changes_get_link(v, link, &row);

	if (rc)
		return rc == -ENOENT ? 0 : rc;
	if (row.grp > v->info.cut && !row.told)
		return changes_drop_link(v, link);
	group_mark(v);
	frozen_keep_link(v, link);
	return change_link_taken(v->db, link, v->info.group_open, upto);
}

int changes_touch_range(struct volume *v, uint64_t ino, uint64_t off, uint64_t len_bytes)
{
	int rc;

	landing_note_inode(v, ino, UINT32_MAX);
	if (unrecorded(v, ino))
		return 0;
	rc = changes_touch(v, ino, ENT_CONTENT);
	frozen_keep_ranges(v, ino, off, off + len_bytes, SIZE_MAX);
	return rc ? rc : change_range_put(v->db, ino, off, len_bytes, v->info.group_open);
}

int changes_touch_shrink(struct volume *v, uint64_t ino, uint64_t size_bytes)
{
	int rc;

	landing_note_inode(v, ino, UINT32_MAX);
	if (unrecorded(v, ino))
		return 0;
	group_mark(v);
	frozen_keep_inode(v, ino, ENT_CONTENT);
	frozen_keep_ranges(v, ino, size_bytes, FILE_MAX_BYTES, SIZE_MAX);
	rc = change_inode_put(v->db, ino, ENT_CONTENT, v->info.group_open, v->info.applied, size_bytes);
	if (!rc)
		remember_touched(v, ino, ENT_CONTENT);
	return rc ? rc : change_range_cut(v->db, ino, size_bytes);
}

int changes_ask(struct volume *v, uint64_t ino)
{
	if (!changes_recorded(v))
		return 0;
	group_mark(v);
	frozen_keep_inode(v, ino, ENT_ASK);
	return change_inode_put(v->db, ino, ENT_ASK, v->info.group_open, v->info.applied, UINT64_MAX);
}

struct whole {
	struct volume *v;
	uint64_t ino;
};

static int touch_key(void *ctx, const char *key, const void *value, size_t len_bytes)
{
	struct whole *c = ctx;

	(void)value;
	(void)len_bytes;
	return changes_touch_xattr(c->v, c->ino, key);
}

int changes_touch_whole(struct volume *v, uint64_t ino)
{
	struct whole c = { v, ino };
	struct inode in;
	int rc;

	if (unrecorded(v, ino))
		return 0;
	rc = inode_row_get(v->db, ino, &in);
	if (!rc)
		rc = changes_touch(v, ino, ENT_NEW);
	if (!rc)
		rc = tree_xattrs(v, ino, touch_key, &c);
	if (rc || !S_ISREG(in.mode))
		return rc;
	/* That bytes were changed is told again even if none are left: whoever did it had seen less than he has now. */
	return in.size_bytes > 0 ? changes_touch_range(v, ino, 0, in.size_bytes) : changes_touch(v, ino, ENT_CONTENT);
}

int changes_touch_taken(struct volume *v, uint64_t ino, uint64_t upto)
{
	uint64_t applied = v->info.applied;
	int rc;

	v->info.applied = MAX(applied, upto);
	rc = changes_touch_whole(v, ino);
	v->info.applied = applied;
	return rc;
}

int changes_get(struct volume *v, uint64_t ino, enum entity what, struct change_row *out)
{
	return change_inode_get(v->db, ino, what, out);
}

unsigned changes_of_inode(struct volume *v, uint64_t ino, struct change_row rows[ENT_ASK + 1])
{
	unsigned which;

	/* A failure is the database's, and seen at the unlock. */
	return change_inode_rows(v->db, ino, rows, &which) < 0 ? 0 : which;
}

int changes_get_xattr(struct volume *v, uint64_t ino, const char *key, struct change_row *out)
{
	return change_xattr_get(v->db, ino, key, out);
}

int changes_get_link(struct volume *v, uint64_t link, struct change_row *out)
{
	return change_link_get(v->db, link, out);
}

/* Housekeeping wants a transaction, but makes no group. */
static int keep(struct volume *v)
{
	int rc = group_open(v);

	if (!rc)
		group_keep(v);
	return rc;
}

int changes_drop(struct volume *v, uint64_t ino, enum entity what)
{
	int rc = keep(v);

	if (rc)
		return rc;
	map_del(&v->touched, touched_key(ino, what));
	frozen_keep_inode(v, ino, what);
	if (what == ENT_CONTENT)
		frozen_keep_ranges(v, ino, 0, FILE_MAX_BYTES, SIZE_MAX);
	rc = change_inode_drop(v->db, ino, what);
	return !rc && what == ENT_CONTENT ? change_range_drop(v->db, ino) : rc;
}

int changes_drop_xattr(struct volume *v, uint64_t ino, const char *key)
{
	int rc = keep(v);

	frozen_keep_xattr(v, ino, key);
	return rc ? rc : change_xattr_drop(v->db, ino, key);
}

int changes_drop_link(struct volume *v, uint64_t link)
{
	int rc = keep(v);

	frozen_keep_link(v, link);
	return rc ? rc : change_link_drop(v->db, link);
}

int changes_inodes(struct volume *v, uint64_t after, uint64_t upto, changes_inode_fn fn, void *ctx)
{
	return change_inodes(v->db, after, upto, fn, ctx);
}

int changes_xattrs(struct volume *v, uint64_t after, uint64_t upto, changes_xattr_fn fn, void *ctx)
{
	return change_xattrs(v->db, after, upto, fn, ctx);
}

int changes_links(struct volume *v, uint64_t after, uint64_t upto, changes_link_fn fn, void *ctx)
{
	return change_links(v->db, after, upto, fn, ctx);
}

int changes_links_now(struct volume *v, uint64_t after, changes_link_now_fn fn, void *ctx)
{
	return change_links_now(v->db, after, fn, ctx);
}

int changes_links_now_behind(struct volume *v, uint64_t *link, size_t max_rows, changes_link_now_fn fn, void *ctx)
{
	return change_links_now_behind(v->db, link, max_rows, fn, ctx);
}

int changes_ranges(struct volume *v, uint64_t ino, uint64_t after, uint64_t upto, changes_range_fn fn, void *ctx)
{
	return leftover_ranges_gone(v, ino) ? 0 : change_ranges(v->db, ino, after, upto, fn, ctx);
}

int changes_purge(struct volume *v, uint64_t upto)
{
	int rc;

	assert(!v->frozen);
	rc = keep(v);
	if (rc)
		return rc;
	change_set_forget(v->db, MIN(upto, v->info.committed));
	rc = changes_drop_forgotten(v, leftover_at_once(v));
	leftover_start(v);
	return rc;
}

int changes_drop_forgotten(struct volume *v, size_t max_rows)
{
	int rc = change_set_drop(v->db, max_rows);

	v->rows_left = rc == 1;
	return MIN(rc, 0);
}

bool changes_any_link_after(struct volume *v, uint64_t after)
{
	bool any;

	return change_links_any(v->db, after, &any) < 0 || any;
}

bool changes_any_after(struct volume *v, uint64_t after)
{
	return change_set_any_after(v->db, after) != 0;
}

/* ---- notes ---- */

int peer_link_put(struct volume *v, const struct peer_link *p)
{
	int rc = keep(v);

	return rc ? rc : peer_link_row_put(v->db, p);
}

int peer_link_get(struct volume *v, uint64_t link, struct peer_link *out)
{
	return peer_link_row_get(v->db, link, out);
}

int peer_links_gone(struct volume *v, int (*fn)(void *ctx, uint64_t child), void *ctx)
{
	return peer_link_rows_gone(v->db, fn, ctx);
}

int lineage_put(struct volume *v, const struct lineage *l)
{
	int rc = keep(v);

	/* It is told with the group that it is of, so there must be one, though nothing else may be in it. */
	if (rc == 0 && l->grp == group_number(v))
		group_mark(v);
	return rc ? rc : lineage_row_put(v->db, l);
}

int lineage_get(struct volume *v, enum lineage_class c, uint64_t src, struct lineage *out)
{
	return lineage_row_get(v->db, c, src, out);
}

int lineage_each(struct volume *v, enum lineage_class c, lineage_fn fn, void *ctx)
{
	return lineage_rows(v->db, c, fn, ctx);
}

int lineage_drop(struct volume *v, enum lineage_class c, uint64_t src)
{
	int rc = keep(v);

	return rc ? rc : lineage_row_drop(v->db, c, src);
}

int peer_link_drop(struct volume *v, uint64_t link)
{
	int rc = keep(v);

	return rc ? rc : peer_link_row_drop(v->db, link);
}

int lineage_source(struct volume *v, enum lineage_class c, uint64_t dst, uint64_t *src)
{
	return lineage_row_source(v->db, c, dst, src);
}

int lineage_purge(struct volume *v, uint64_t upto)
{
	int rc = keep(v);

	if (!rc)
		rc = lineage_row_purge(v->db, upto);
	return rc ? rc : peer_link_row_purge(v->db, upto);
}

static int put_row(struct volume *v, const struct conflict *row, uint64_t grp)
{
	int rc = 0;

	if (grp)
		group_mark(v);
	v->info.conflicts_noted++;
	frozen_keep_conflict(v, row->id);
	if (v->conflicts_put++ >= CONFLICTS_TIDY_EVERY)
		rc = conflicts_tidy(v);
	return rc ? rc : conflict_row_put(v->db, row, grp);
}

int conflict_put(struct volume *v, const struct conflict *c)
{
	struct conflict row = *c;
	int rc = keep(v);

	if (row.id == 0)
		row.id = id_new(v);
	return rc ? rc : put_row(v, &row, v->info.group_open);
}

int conflict_take(struct volume *v, const struct conflict *c, uint64_t seen)
{
	struct conflict row = *c;
	uint64_t pending = 0, grp;
	bool resolved = false, ours;
	int rc = keep(v);

	if (!rc)
		rc = conflict_row_state(v->db, row.id, &pending, &resolved);
	if (rc && rc != -ENOENT)
		return rc;
	ours = v->info.role == ROLE_PRIMARY && pending > seen;
	row.resolved |= resolved;
	grp = ours || row.resolved != c->resolved ? v->info.group_open : 0;
	if (!ours)
		return put_row(v, &row, grp);
	group_mark(v);
	v->info.conflicts_noted++;
	frozen_keep_conflict(v, row.id);
	return conflict_row_mark(v->db, row.id, row.resolved, grp);
}
