/* SPDX-License-Identifier: MIT */
/*
 * tree: inodes, links and xattrs as rows, with history; the primitives on which both the filesystem calls (volume.c)
 * and the peer's changes (sync/) stand.
 *
 * Rules
 *   The caller holds the volume's lock (volume_lock). Functions that change something want an open group
 *   (group_open, which is idempotent), and keep these invariants by themselves:
 *   - A version that is superseded or deleted is archived into old_* with died = the open group if someone may still
 *     need it: the pair is formed, and (born <= cut or origin == ORIGIN_PEER), and died > acked. A version born in the
 * open group is changed in place. With an inode that is purged and kept goes all that it had of xattrs.
 *   - born = the open group's number whenever a row is written; origin says who authored that version.
 *   - inode.nlink follows the dentries (directories: 2 + subdirectories).
 *   - An inode without links and without lookup count is purged (rows archived, blocks to history or free) at the end
 * of the operation (tree_reap), unless the caller links it again before.
 *   - nlink, and ctime when a link, a name or an xattr of the inode changes, are updated in place: they make no version
 * and no change row (each side's own). A directory's mtime is versioned and recorded (ENT_TIMES).
 *   - They do not touch the change set: changes_* does, and the callers decide (local writes do, the peer's do not).
 *   - Peer-side callers get notices for free: tree_* and data_* add them to the volume's list while `v->peer_apply` is
 * set (between volume_apply_begin and _commit).
 */
#ifndef TWINFS_CORE_TREE_H
#define TWINFS_CORE_TREE_H

#include "core/volume.h"

/* volume_lock waits until the peer's last changes are all in place (core/landing.h), which may take seconds after large
 * ones. volume_lock_now does not: its caller looks at nothing but counters and settings, or asks for what it looks at
 * by landing_need_*. */
void volume_lock(struct volume *v);
void volume_lock_now(struct volume *v);
/* For assertions: has this thread the lock of a volume? */
bool volume_is_locked_here(void);
void volume_unlock(struct volume *v);

/* What would take long under the lock is done so many rows at a time. Between two of them: volume_pause, without the
 * lock. The mutex is not fair: whoever waits gets it while the caller sleeps. An error: a test wants the work given
 * up, as if the program had been killed. */
size_t volume_step_rows(const struct volume *v);
int volume_pause(struct volume *v);

/* The counters, for a caller that holds the lock (volume_info would take it). */
struct volume_ids {
	uint64_t committed, cut, acked, applied;
	unsigned slot;
	enum role role;
};
void volume_ids(struct volume *v, struct volume_ids *out);

/* Open a group if none is open. Lock held. -EROFS when the volume is faulted. */
int group_open(struct volume *v);
uint64_t group_number(struct volume *v); /* of the open group; 0 if none */
/* Is a group open in which something was changed, by somebody else than the thread that drops what is left over? */
bool group_waits(struct volume *v);

/*
 * Apply the peer's changes as one group of its own: takes the lock, commits the open group, opens a new one, sets
 * peer_apply. commit: stores `applied` in the same transaction (meta), commits, unlocks, then hands the notices out.
 * abort: rolls everything back (also in-memory state and block allocations of the group) and unlocks. n_applied: the
 * peer's group number now applied. If nothing was changed (no write since begin) commit only remembers `applied` for
 * the next commit, making no group.
 */
int volume_apply_begin(struct volume *v);
int volume_apply_commit(struct volume *v, uint64_t n_applied);
void volume_apply_abort(struct volume *v);

/*
 * Holders: who has an inode in hand by a lookup count, as a program that has the file open. While the peer's changes
 * are applied they can be moved: whoever holds `from` holds `to` from the commit on (an abort undoes it), as if their
 * file had been renamed to where `to` is and another one put in its place. Nothing if nobody holds `from`, either of
 * the two is not there, `to` has no name, or their types differ. Wants volume_hold_still before volume_apply_begin; the
 * commit or the abort ends that.
 */
int tree_holders_move(struct volume *v, uint64_t from, uint64_t to);
void volume_hold_still(struct volume *v);
/* Has `to` a name here, and the peer's bytes? If some of ours are unsent they may go to a copy of it, and with them who
 * holds it. */
bool tree_holders_may_come(struct volume *v, uint64_t to);
/* The same move when they may come, which they may not yet: whoever applies the peer's changes calls arrive, when those
 * who held `to` before have left it. In memory only, as holders are; it ends with the move's commit, or when nobody
 * holds `from` any more. */
void tree_holders_wait(struct volume *v, uint64_t from, uint64_t to);
/* Who holds `from` is to hold `to` when the peer takes the last name of that away (0: of whom that is not said). Not
 * when this side does: then they hold what is deleted. In memory only, and it ends as a wait does. */
void tree_holders_would_move(struct volume *v, uint64_t from, uint64_t to);
uint64_t tree_holders_move_to(struct volume *v, uint64_t from);
bool tree_holders_would_any(struct volume *v);
/* Of what was done to `ino` knowing less than the peer's group `since` the peer told what became of it, and nothing of
 * that is unsent: who holds `ino` from now on holds the peer's, and is not meant when it is told again. In memory
 * only; when all changes of this side are acknowledged it is told no more. */
void tree_holders_settle(struct volume *v, uint64_t ino, uint64_t since);
bool tree_holders_settled(struct volume *v, uint64_t ino, uint64_t since);
void tree_holders_forget_settled(struct volume *v);
bool tree_holders_waiting(struct volume *v); /* is there one? lock held */
int tree_holders_each_waiting(struct volume *v, int (*fn)(void *ctx, uint64_t from, uint64_t to), void *ctx);
int tree_holders_arrive(struct volume *v);
bool tree_is_held(struct volume *v, uint64_t ino); /* lock held */
/* As volume_setting_set, for a caller that holds the lock (between apply_begin and apply_commit): same transaction. */
int setting_put(struct volume *v, const char *key, const char *value);
char *setting_get(struct volume *v, const char *key); /* malloc'd, NULL if unset */

/* enum origin, struct inode, struct dentry: db/rows.h */

/*
 * A *view* picks one version of each thing out of current and old rows:
 *   VIEW_NOW         the current one
 *   at group g       born <= g < died. What a shipment cut at g must send.
 *   peer's view at s the latest version with born <= s or origin == ORIGIN_PEER: what the peer had when it had seen our
 * groups up to s and nothing later, plus what it sent us itself. The base of a three-way merge.
 */
/* No group has a higher number. */
#define GROUP_MAX ((uint64_t)INT64_MAX)
struct view {
	enum { VIEW_NOW, VIEW_AT, VIEW_PEER } kind;
	uint64_t group;
};

uint64_t id_new(struct volume *v); /* for inodes and links alike */
uint64_t id_peek(struct volume *v); /* what id_new would return next: all ids of our slot below it were handed out */

/* -ENOENT. While the peer's changes are applied, or judged to be landed later, an orphan (unlinked here, still open) is
 * as good as gone. */
int tree_inode_get(struct volume *v, uint64_t ino, struct inode *out);
/* Insert or replace; archives the old version. born is set by it; origin from in; cborn/corigin are taken from `in` as
 * they are (whoever changes size or data sets cborn = group_number). nlink of `in` is ignored: a new row starts with 0,
 * tree_link_put and tree_link_drop count (a directory has 0 while it has no link, then 2 + subdirectories). */
int tree_inode_put(struct volume *v, const struct inode *in);

int tree_lookup(struct volume *v, uint64_t parent, const char *name, size_t name_len, struct dentry *out); /* -ENOENT */
int tree_link_get(struct volume *v, uint64_t link, struct dentry *out);          /* -ENOENT */
/* Insert a link, or move it (same child). Adjusts nlink of child and of both parents. -EEXIST if the name is taken by
 * another link. */
int tree_link_put(struct volume *v, uint64_t link, uint64_t parent, const char *name, size_t name_len, uint64_t child,
                  enum origin origin);
/* Take a link away. The child stays until tree_reap. */
int tree_link_drop(struct volume *v, uint64_t link);
/* Two steps for permuting many links at once: detach leaves the row but frees its name (internally: a unique
 * placeholder name in parent 0) and does not touch nlink; the later put or drop of the same link finishes it. */
int tree_link_detach(struct volume *v, uint64_t link);

/* fn returns 0 to go on; another value ends the walk and is returned. fn must not change the tree. */
typedef int (*tree_dentry_fn)(void *ctx, const struct dentry *d);
int tree_links_of(struct volume *v, uint64_t ino, tree_dentry_fn fn, void *ctx);   /* in order of link id */
bool tree_first_link(struct volume *v, uint64_t ino, struct dentry *d); /* of lowest id; false: none, or an error */
int tree_children(struct volume *v, uint64_t dir, tree_dentry_fn fn, void *ctx);   /* in order of link id */
bool tree_is_empty_dir(struct volume *v, uint64_t dir);
/* How many links the tree has, counted up to `most`. */
int tree_count_links(struct volume *v, uint64_t most, uint64_t *n);
/* Each of them, in no order. A value other than 0 ends the walk and is returned. */
int tree_each_link(struct volume *v, int (*fn)(void *ctx, uint64_t link), void *ctx);
/* The directory's parent; root's is root; 0 if it has no link. */
uint64_t tree_parent_of_dir(struct volume *v, uint64_t dir);
/* Purge ino if it has no link and no lookup count (a directory that is not empty: damage, -EUCLEAN). Drops its rows of
 * the change set too. */
int tree_reap(struct volume *v, uint64_t ino);
/* If ino is an orphan: purge it though someone holds it, as it is about to be made again from history or from the peer
 * (those who hold it then have the new one). tree_inode_put (of the peer's), tree_inode_last and tree_inode_revive do
 * so themselves. */
int tree_orphan_end(struct volume *v, uint64_t ino);

ssize_t tree_xattr_get(struct volume *v, uint64_t ino, const char *key, void *buf,
		       size_t cap_bytes); /* -ENODATA, -ERANGE */
/* The same in a view; -ENODATA where the view has no such key. */
ssize_t tree_xattr_get_view(struct volume *v, uint64_t ino, const char *key, struct view view, void *buf,
			    size_t cap_bytes);
/* value NULL removes (-ENODATA if absent). */
int tree_xattr_put(struct volume *v, uint64_t ino, const char *key, const void *value, size_t len_bytes,
		   enum origin origin);
typedef int (*tree_xattr_fn)(void *ctx, const char *key, const void *value, size_t len_bytes);
int tree_xattrs(struct volume *v, uint64_t ino, tree_xattr_fn fn, void *ctx);
/* Keys that it has, or had as far as history goes; no values. */
int tree_xattrs_ever(struct volume *v, uint64_t ino, tree_xattr_fn fn, void *ctx);

/* ---- the past -----------------------------------------------------------------------------------------------------
 */
/* -ENOENT: no such version (never was, not born yet, or already dropped from history). For VIEW_PEER size_bytes comes
 * from the latest version whose *content* qualifies (cborn <= s or corigin == peer). */
int tree_inode_view(struct volume *v, uint64_t ino, struct view view, struct inode *out);
int tree_link_view(struct volume *v, uint64_t link, struct view view, struct dentry *out);
/* Links as the view has them: of a child; of a directory. In order of link id; only those within the history kept. */
int tree_links_of_view(struct volume *v, uint64_t ino, struct view view, tree_dentry_fn fn, void *ctx);
int tree_children_view(struct volume *v, uint64_t dir, struct view view, tree_dentry_fn fn, void *ctx);
/* Did a link of ino that history is kept of go, or move, in a group after this one? */
bool tree_link_ended_after(struct volume *v, uint64_t ino, uint64_t group);
/* Links that history is kept of and that went from the directory, or got another name in it, in a group after this one:
 * as they were. In no order; one may come more than once. */
int tree_left_dir(struct volume *v, uint64_t dir, uint64_t group, tree_dentry_fn fn, void *ctx);
/* The view in which a purged inode was last seen alive; -ENOENT: history has nothing of it. -EBUSY: somebody holds it
 * still, and while a landing is judged nothing is purged. */
int tree_inode_last(struct volume *v, uint64_t ino, struct view *view);
/* Bring a purged inode back to the current tables from the view: row (nlink 0), xattrs and extents (old extents move
 * back, no data is copied). -EEXIST if it is alive, -ENOENT if the view has no such inode. The caller links it before
 * tree_reap could see it. */
int tree_inode_revive(struct volume *v, uint64_t ino, struct view view);

/* Drop history that nobody needs once the peer has applied our groups up to `acked`; frees blocks. Sets info.acked.
 * What a pin holds (core/past.h) stays until that is gone. A part is dropped at once, the rest is left over
 * (core/leftover.h): nobody sees what died up to acked. */
int history_purge(struct volume *v, uint64_t acked);
/* Groups up to n may leave this machine from now on (sets info.cut). */
void history_cut(struct volume *v, uint64_t n);

/* Random id of a committed group, kept from `acked` and 1000 groups back; -ENOENT. id 0 stands for group 0. */
int group_id(struct volume *v, uint64_t n, uint64_t *id);

#endif
