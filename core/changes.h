/* SPDX-License-Identifier: MIT */
/*
 * changes: the per-side change set: what this side changed and the peer has not acknowledged. Lock held, as
 * core/tree.h.
 *
 * An *entity* is: one field group of an inode (ENT_*), one xattr key, one link. Each has a row (grp, seen):
 *   grp   the group in which it was changed last
 *   seen  the LOWEST group of the peer that was applied here when the entity was changed, since it was last clean
 *         (a row that exists keeps its seen; a new row takes `applied`).
 * Byte ranges belong to ENT_CONTENT of their inode: change_extent(ino, off, len, grp), in bytes, not overlapping,
 * neighbours of one group merged; `shrunk_to` (lowest size since the row became dirty) is in the ENT_CONTENT row. While
 * the volume is not paired (role none) every function here is a no-op.
 *
 * Local filesystem calls record through these in the same group. An inode with ENT_NEW that was not cut yet (the peer
 * has never been sent it) absorbs MODE, OWNER and TIMES touches: only ENT_NEW's grp is raised. Deleting a link whose
 * row is `fresh` (made here since the last cut, never cut) removes the row instead; when an inode is reaped all its
 * inode, xattr and extent rows go, but for ENT_ASK: the peer may have it by a name that nobody has here.
 */
#ifndef TWINFS_CORE_CHANGES_H
#define TWINFS_CORE_CHANGES_H

#include "core/tree.h"

/* enum entity, struct change_row, struct lineage: db/rows.h */

int changes_touch(struct volume *v, uint64_t ino, enum entity what);
int changes_touch_new(struct volume *v, uint64_t ino); /* ENT_NEW of an inode that was just made */
int changes_touch_xattr(struct volume *v, uint64_t ino, const char *key);
/* child: the link's child; created: the link did not exist before this change; dropped: it is going away now. */
int changes_touch_link(struct volume *v, uint64_t link, uint64_t child, bool created, bool dropped);
/* Tell the link as it is here, because the peer's version of it could not be put in place: no change of ours, and no
 * reason to leave a later version of the peer's alone (row.skipped). */
int changes_touch_skipped(struct volume *v, uint64_t link, uint64_t child, bool gone);
/* The peer's version of the link, of its group `upto`, is about to be put in place. If it was told that an earlier one
 * was skipped it is told of this too; a row that never left is dropped. */
int changes_skipped_taken(struct volume *v, uint64_t link, uint64_t upto);
/* A byte range was written (or punched); touches ENT_CONTENT too. */
int changes_touch_range(struct volume *v, uint64_t ino, uint64_t off, uint64_t len_bytes);
/* The size was lowered to size_bytes (ranges beyond are cut off); touches ENT_CONTENT. Growing by truncate:
 * changes_touch(CONTENT). */
int changes_touch_shrink(struct volume *v, uint64_t ino, uint64_t size_bytes);
/* Ask the peer to enter this inode, which is not here, whole into its own change set (ENT_ASK). That is good until the
 * peer has heard it, though the inode may have come by another name, or have come and gone. */
int changes_ask(struct volume *v, uint64_t ino);
/* Everything of the inode anew, as for a peer that does not have it: ENT_NEW, all xattrs, whole content. */
int changes_touch_whole(struct volume *v, uint64_t ino);

/* The same of what the peer's groups up to `upto`, which are just being applied, have made of it: what was clean until
 * now has seen them. */
int changes_touch_taken(struct volume *v, uint64_t ino, uint64_t upto);

/* -ENOENT: clean. */
int changes_get(struct volume *v, uint64_t ino, enum entity what, struct change_row *out);
/* All at once: 1 << ENT_* of each that has a row. */
unsigned changes_of_inode(struct volume *v, uint64_t ino, struct change_row rows[ENT_ASK + 1]);
int changes_get_xattr(struct volume *v, uint64_t ino, const char *key, struct change_row *out);
int changes_get_link(struct volume *v, uint64_t link, struct change_row *out);
/* Forget one row (the peer's version replaced it). Missing is fine. CONTENT drops the ranges too. */
int changes_drop(struct volume *v, uint64_t ino, enum entity what);
int changes_drop_xattr(struct volume *v, uint64_t ino, const char *key);
int changes_drop_link(struct volume *v, uint64_t link);
/* Rows with after < grp <= upto, in order of (ino, what), (ino, key), link, (ino, off). fn: 0 goes on. fn must not
 * change the tables. */
typedef int (*changes_inode_fn)(void *ctx, uint64_t ino, enum entity what, const struct change_row *row);
int changes_inodes(struct volume *v, uint64_t after, uint64_t upto, changes_inode_fn fn, void *ctx);
typedef int (*changes_xattr_fn)(void *ctx, uint64_t ino, const char *key, const struct change_row *row);
int changes_xattrs(struct volume *v, uint64_t after, uint64_t upto, changes_xattr_fn fn, void *ctx);
typedef int (*changes_link_fn)(void *ctx, uint64_t link, const struct change_row *row);
int changes_links(struct volume *v, uint64_t after, uint64_t upto, changes_link_fn fn, void *ctx);
/* All with grp > after, in no order, each with where the link is now but for its child; NULL: it is gone. */
typedef int (*changes_link_now_fn)(void *ctx, uint64_t link, const struct change_row *row, const struct dentry *now);
int changes_links_now(struct volume *v, uint64_t after, changes_link_now_fn fn, void *ctx);
/* The next so many behind that link; *link: the last of them. */
int changes_links_now_behind(struct volume *v, uint64_t *link, size_t max_rows, changes_link_now_fn fn, void *ctx);
typedef int (*changes_range_fn)(void *ctx, uint64_t ino, uint64_t off, uint64_t len_bytes, uint64_t grp);
int changes_ranges(struct volume *v, uint64_t ino, uint64_t after, uint64_t upto, changes_range_fn fn, void *ctx);

/* Forget all rows with grp <= upto: acknowledged. Of committed groups only. They are gone at once, for everybody and
 * after a crash; a part of them is dropped here, the rest is left over (core/leftover.h). */
int changes_purge(struct volume *v, uint64_t upto);
bool changes_any_after(struct volume *v, uint64_t after); /* is there a row with grp > after? cheap */
bool changes_any_link_after(struct volume *v, uint64_t after); /* the same of a link */

/* ---- notes of the engine, kept in the same transactions ------------------------------------------------------------
 */

/* Primary: where the secondary has a link, as it said last, until it has seen what we made of that. */
int peer_link_put(struct volume *v, const struct peer_link *p);
int peer_link_drop(struct volume *v, uint64_t link);
int peer_link_get(struct volume *v, uint64_t link, struct peer_link *out); /* -ENOENT */
/* Of what has the secondary a name that is none here, as far as it is noted? fn: 0 goes on; any number of times. */
int peer_links_gone(struct volume *v, int (*fn)(void *ctx, uint64_t child), void *ctx);

/* Primary: what became of the secondary's entities: struct lineage. */
int lineage_put(struct volume *v, const struct lineage *l);             /* replaces (class of kind, src) */
int lineage_get(struct volume *v, enum lineage_class c, uint64_t src, struct lineage *out); /* -ENOENT */
typedef int (*lineage_fn)(void *ctx, const struct lineage *l);
int lineage_each(struct volume *v, enum lineage_class c, lineage_fn fn, void *ctx); /* fn must not change the notes */
int lineage_drop(struct volume *v, enum lineage_class c, uint64_t src);
/* The id by which the secondary calls dst, if dst swallowed one of its own as an alias; -ENOENT. */
int lineage_source(struct volume *v, enum lineage_class c, uint64_t dst, uint64_t *src);
int lineage_purge(struct volume *v, uint64_t upto);  /* grp <= upto; peer_link notes too */

/* Where an xattr got two values the secondary's is in a key that begins so. */
#define CONFLICT_XATTR "user.twinfs.conflict."
/* The n-th name (from 1) for such a value of key: KEY without "user." after that. Where this has no room, or says
 * another key, and all further ones: cut, with a hash of key and n. */
void conflict_key(const char *key, unsigned n, char out[XATTR_NAME_MAX_BYTES + 1]);
/* The first of them that holds no other value. */
int conflict_key_for(struct volume *v, uint64_t ino, const char *key, const void *value, size_t len_bytes,
                     char out[XATTR_NAME_MAX_BYTES + 1]);

/* A conflict row, inserted or replaced, as a change of ours (tracked by grp). id 0: it gets one. */
int conflict_put(struct volume *v, const struct conflict *c);
/* The peer's, which had seen our groups up to `seen`. Settled by one side it is settled; in all else the primary's word
 * counts. */
int conflict_take(struct volume *v, const struct conflict *c, uint64_t seen);
/* The last name of ino is gone: what waits for a person about it follows the file that has its name now, or is settled,
 * and what was kept for it is dropped. was: that name; NULL: unknown. */
int conflict_lost(struct volume *v, uint64_t ino, const struct dentry *was);
/* What a note of kind attribute says that a side had: version[].value. */
struct noted_attribute {
	enum { NOTED_OWNER, NOTED_MODE, NOTED_ACL } what;
	uint32_t uid, gid, mode;
	const char *acl; /* text, part of the value; with a mode the access ACL that went with it, NULL: none did */
};
struct noted_attribute conflict_noted(const char *value);
/* Of those that were noted in groups after < grp <= upto: attributes, xattrs and the times of what was merged are as
 * the secondary had them, after all, if `wanted` says so; it is not asked about others. The rows tell it. */
int conflicts_give_way(struct volume *v, uint64_t after, uint64_t upto,
                       bool (*wanted)(void *ctx, const struct conflict *c), void *ctx);
/* The file with the secondary's whole version of ino, if it was merged in a group after `after` and that is kept; 0. */
uint64_t conflict_kept_version(struct volume *v, uint64_t ino, uint64_t after);
/* Is there one that waits for a person, or of which something is kept? */
bool conflicts_any(struct volume *v);
typedef int (*conflict_fn)(void *ctx, const struct conflict *c);
/* Those of them that are about ino, or have it as a version. fn: 0 goes on; it must change nothing. */
int conflict_open_of(struct volume *v, uint64_t ino, conflict_fn fn, void *ctx);

#endif
