/* SPDX-License-Identifier: MIT */
/*
 * landing_rows: the plan of a landing (core/landing.h): what is still to be done to which inode, link, xattr and bytes.
 * Rows are looked up by the inode that they are about, links also by the name and by the directories that they concern.
 * Thread rule and errors as db.h; -ENOENT where there is no such row.
 */
#ifndef TWINFS_DB_LANDING_ROWS_H
#define TWINFS_DB_LANDING_ROWS_H

#include "db/db.h"
#include "db/extent_rows.h"
#include "db/rows.h"

int landing_inode_put(struct db *db, const struct landing_inode *in);
int landing_inode_get(struct db *db, uint64_t ino, struct landing_inode *out);
int landing_inode_drop(struct db *db, uint64_t ino);

int landing_link_put(struct db *db, const struct landing_link *l);
int landing_link_get(struct db *db, uint64_t link, struct landing_link *out);
int landing_link_drop(struct db *db, uint64_t link);
/* Some link of the child. */
int landing_link_of(struct db *db, uint64_t child, struct landing_link *out);
/* The link that shall have this name. */
int landing_link_named(struct db *db, uint64_t parent, const char *name, size_t name_len, uint64_t *child);
/* The child of some link that is in the directory now and shall not stay as it is there; of some link that shall be in
 * it. */
int landing_link_from(struct db *db, uint64_t parent, uint64_t *child);
int landing_link_into(struct db *db, uint64_t parent, uint64_t *child);

/* value NULL: removed. */
int landing_xattr_put(struct db *db, uint64_t ino, const char *key, const void *value, size_t len_bytes);
/* The first of ino behind the key ("" for the first). out->key and value are malloc'd; value NULL: removed. */
struct landing_xattr {
	char *key;
	uint8_t *value;
	size_t len_bytes;
};
int landing_xattr_next(struct db *db, uint64_t ino, const char *after, struct landing_xattr *out);
int landing_xattr_has(struct db *db, uint64_t ino, const char *key, bool *has);
int landing_xattrs_drop(struct db *db, uint64_t ino);

/* Blocks [off, off + len) of the file; phys 0: a hole, of any length; sums: one a block, none for a hole. */
struct landing_run {
	uint64_t off, len, phys;
	uint64_t sums[EXTENT_MAX_BLOCKS];
};
int landing_run_put(struct db *db, uint64_t ino, const struct landing_run *r);
/* The first of ino. */
int landing_run_get(struct db *db, uint64_t ino, struct landing_run *out);
int landing_run_drop(struct db *db, uint64_t ino, uint64_t off);
/* All that have blocks. fn: 0 goes on. */
typedef int (*landing_run_fn)(void *ctx, uint64_t ino, const struct landing_run *r);
int landing_runs_each(struct db *db, landing_run_fn fn, void *ctx);
/* Does the plan hold (key "landing" of meta)? */
bool landing_rows_hold(struct db *db);
int landing_rows_set_hold(struct db *db, bool holds);

/* Does the plan say anything of the inode? */
int landing_rows_about(struct db *db, uint64_t ino, bool *any);
/*
 * The next inode of the plan: those of links of turn 0, of turn 1 and of turn 2, then what has no links. Of turn 2 the
 * highest links come first: what is in a directory was made after it, as a rule. *pos begins with zeros. What is done
 * leaves the plan, so each call goes on behind the one before.
 */
struct landing_pos {
	unsigned turn;
	uint64_t link;
};
int landing_rows_next(struct db *db, struct landing_pos *pos, uint64_t *ino);
/* The whole plan goes. */
int landing_rows_clear(struct db *db);

#endif
