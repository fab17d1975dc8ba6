/* SPDX-License-Identifier: MIT */
/*
 * change_rows: the change set's tables change_inode, change_xattr, change_dentry, change_extent, row by row. Rules in
 * core/changes.h; thread rule and errors as db.h; -ENOENT where there is no such row. A put of a row that exists raises
 * grp, keeps seen.
 *
 * Rows of groups up to `forgotten` of db_numbers count as gone in all that is here: they are acknowledged, and wait for
 * being dropped (db/change_set.h). A put over one of them makes a new row (new seen). Likewise of a file's cut:
 * shrunk_to holds while shrunk_grp > forgotten.
 */
#ifndef TWINFS_DB_CHANGE_ROWS_H
#define TWINFS_DB_CHANGE_ROWS_H

#include "db/db.h"
#include "db/rows.h"

/* shrunk_to UINT64_MAX: not shrunk; the lower one stays. */
int change_inode_put(struct db *db, uint64_t ino, enum entity what, uint64_t grp, uint64_t seen, uint64_t shrunk_to);
/* ENT_NEW of an inode that has no row. */
int change_inode_put_new(struct db *db, uint64_t ino, uint64_t grp, uint64_t seen);
/* Raise grp of a row that exists with grp > after: 1, or 0 if there is none. */
int change_inode_raise(struct db *db, uint64_t ino, enum entity what, uint64_t after, uint64_t grp);
int change_inode_get(struct db *db, uint64_t ino, enum entity what, struct change_row *out);
/* All that the inode has: *which gets 1 << what of each. */
int change_inode_rows(struct db *db, uint64_t ino, struct change_row rows[ENT_ASK + 1], unsigned *which);
int change_inode_drop(struct db *db, uint64_t ino, enum entity what);

int change_xattr_put(struct db *db, uint64_t ino, const char *key, uint64_t grp, uint64_t seen);
int change_xattr_get(struct db *db, uint64_t ino, const char *key, struct change_row *out);
int change_xattr_drop(struct db *db, uint64_t ino, const char *key);

/* fresh: group if the link is made now, else 0; kept if the row exists. */
int change_link_put(struct db *db, uint64_t link, uint64_t child, uint64_t grp, uint64_t seen, uint64_t fresh);
/* A link to a file with changed content goes: its seen is lowered to theirs. */
int change_link_blind(struct db *db, uint64_t link, uint64_t child);
/* Until it is put again; told: the peer has been told, or is being told, of an earlier one. */
int change_link_mark_skipped(struct db *db, uint64_t link, bool told);
/* Of a row marked so, which the peer was told of: new numbers. */
int change_link_taken(struct db *db, uint64_t link, uint64_t grp, uint64_t seen);
int change_link_get(struct db *db, uint64_t link, struct change_row *out);
int change_link_drop(struct db *db, uint64_t link);
/* Drop the row if its fresh > cut: 1 dropped, 0 not. */
int change_link_drop_fresh(struct db *db, uint64_t link, uint64_t cut);

/* Enter [off, off + len) for grp; splits, merges and replaces what is there. */
int change_range_put(struct db *db, uint64_t ino, uint64_t off, uint64_t len_bytes, uint64_t grp);
int change_range_cut(struct db *db, uint64_t ino, uint64_t size_bytes); /* nothing from size on */
int change_range_drop(struct db *db, uint64_t ino);                    /* all of the inode */

/* Inode, xattr and extent rows; of the latter so many at most. 1: there are more, for change_ranges_drop. That the peer
 * is asked for the inode stays. */
int change_rows_forget_inode(struct db *db, uint64_t ino, size_t max_ranges);
/* So many at most of what the inode has. 1: there may be more, 0: there are none. */
int change_ranges_drop(struct db *db, uint64_t ino, size_t max_rows);
/* after < grp <= upto; another value than 0 from fn ends the walk and is returned. */
typedef int (*change_inode_fn)(void *ctx, uint64_t ino, enum entity what, const struct change_row *row);
typedef int (*change_xattr_fn)(void *ctx, uint64_t ino, const char *key, const struct change_row *row);
typedef int (*change_link_fn)(void *ctx, uint64_t link, const struct change_row *row);
typedef int (*change_range_fn)(void *ctx, uint64_t ino, uint64_t off, uint64_t len_bytes, uint64_t grp);
int change_inodes(struct db *db, uint64_t after, uint64_t upto, change_inode_fn fn, void *ctx);
int change_xattrs(struct db *db, uint64_t after, uint64_t upto, change_xattr_fn fn, void *ctx);
int change_links(struct db *db, uint64_t after, uint64_t upto, change_link_fn fn, void *ctx);
int change_links_any(struct db *db, uint64_t after, bool *any);
/* All with grp > after, in no order, each with where the link is now but for its child; NULL: it is gone. */
typedef int (*change_link_now_fn)(void *ctx, uint64_t link, const struct change_row *row, const struct dentry *now);
int change_links_now(struct db *db, uint64_t after, change_link_now_fn fn, void *ctx);
/* The next so many behind that link; *link: the last of them. */
int change_links_now_behind(struct db *db, uint64_t *link, size_t max_rows, change_link_now_fn fn, void *ctx);
int change_ranges(struct db *db, uint64_t ino, uint64_t after, uint64_t upto, change_range_fn fn, void *ctx);
int change_xattrs_of(struct db *db, uint64_t ino, change_xattr_fn fn, void *ctx);
/* Those that have bytes of [off, end), the first max_rows of them. */
int change_ranges_over(struct db *db, uint64_t ino, uint64_t off, uint64_t end, size_t max_rows, change_range_fn fn,
                       void *ctx);

/*
 * Bit by bit: the first max_rows rows behind a place. In the order of their key, of whatever group, those that are
 * forgotten too; or by_group: those of groups up to `upto` in the order of group and key. change_rows_many tells which
 * is cheaper. The place {0} is before all.
 */
struct change_place {
	bool by_group;
	uint64_t grp, id, sub; /* id: inode or link; sub: of an inode's `what`, of a range's offset */
	const char *key;       /* of an xattr */
};
int change_inodes_behind(struct db *db, const struct change_place *place, uint64_t upto, size_t max_rows,
                         change_inode_fn fn, void *ctx);
int change_xattrs_behind(struct db *db, const struct change_place *place, uint64_t upto, size_t max_rows,
                         change_xattr_fn fn, void *ctx);
int change_links_behind(struct db *db, const struct change_place *place, uint64_t upto, size_t max_rows,
                        change_link_fn fn, void *ctx);
int change_ranges_behind(struct db *db, const struct change_place *place, uint64_t upto, size_t max_rows,
                         change_range_fn fn, void *ctx);
enum change_table { CHANGE_INODES, CHANGE_LINKS, CHANGE_XATTRS, CHANGE_RANGES };
/* Are so many rows in groups (after, upto], compared to one of `share` of the table, that the whole table had better be
 * read? */
bool change_rows_many(struct db *db, enum change_table t, uint64_t after, uint64_t upto, unsigned share);

#endif
