/* SPDX-License-Identifier: MIT */
/* inode_rows: tables inode, old_inode and orphan. Thread rule and errors as db.h; -ENOENT where there is no such row.
 */
#ifndef TWINFS_DB_INODE_ROWS_H
#define TWINFS_DB_INODE_ROWS_H

#include "db/db.h"
#include "db/rows.h"

int inode_row_get(struct db *db, uint64_t ino, struct inode *out);
int inode_row_insert(struct db *db, const struct inode *in);
/* All columns but nlink. 1: done, 0: no such row. `only_born`: only if the row was born in that group (0: always). */
int inode_row_update(struct db *db, const struct inode *in, uint64_t only_born);
/* mtime and ctime, if the row is a local version born in group `born`: 1 done, 0 not. */
int inode_row_touch(struct db *db, uint64_t ino, uint64_t born, int64_t time_ns);
int inode_row_set_ctime(struct db *db, uint64_t ino, int64_t ctime_ns); /* in place, no version */
int inode_row_add_nlink(struct db *db, uint64_t ino, int delta);       /* in place, no version */
int inode_row_relink(struct db *db, uint64_t ino, int delta, int64_t ctime_ns); /* both */
int inode_row_delete(struct db *db, uint64_t ino);
/* Sizes of the files below a directory; of more than 100,000 names, which take a tenth of a second, of some. */
int inode_rows_bytes_below(struct db *db, uint64_t dir, uint64_t *bytes);
/* The version's birth: what decides whether it must be archived. */
int inode_row_life(struct db *db, uint64_t ino, uint64_t *born, enum origin *origin);
/* The versions of these inodes are all written here. */
int inode_rows_own(struct db *db, uint64_t from, uint64_t end);
int inode_row_mode(struct db *db, uint64_t ino, uint32_t *mode);
int inode_row_archive(struct db *db, uint64_t ino, uint64_t died);

/* Views; see core/tree.h. */
int inode_row_at(struct db *db, uint64_t ino, uint64_t group, struct inode *out);
int inode_row_died(struct db *db, uint64_t ino, uint64_t *grp); /* of the newest old version; -ENOENT: none */
int inode_row_peer(struct db *db, uint64_t ino, uint64_t seen, struct inode *out);

/* Inodes above `after` of which there is a row, or an old version: at most max of them, ascending. How many, or
 * negative. */
int inode_rows_ids(struct db *db, uint64_t after, uint64_t *list, size_t max);

int orphan_row_put(struct db *db, uint64_t ino);
int orphan_row_drop(struct db *db, uint64_t ino);
/* fn must not change the table. */
int orphan_rows(struct db *db, void (*fn)(void *ctx, uint64_t ino), void *ctx);
/* The next rows after that of inode `after`, at most max, ascending. How many, or negative. */
#define ORPHANS_FROM_FIRST (UINT64_C(1) << 63) /* the least integer of the database */
int orphan_rows_some(struct db *db, uint64_t after, uint64_t *list, size_t max);
/* 1: it has a row, 0: not. */
int orphan_row_is(struct db *db, uint64_t ino);

#endif
