/* SPDX-License-Identifier: MIT */
/*
 * old_rows: superseded versions (tables old_inode, old_dentry, old_xattr, old_extent) that are to be dropped, a few at
 * a time, in the order of the groups in which they ended. Which ones are needed is not decided here. Thread rule and
 * errors as db.h.
 */
#ifndef TWINFS_DB_OLD_ROWS_H
#define TWINFS_DB_OLD_ROWS_H

#include "db/db.h"
#include "db/rows.h"

#define OLD_TABLES 4u

/* What ended up to here was looked at, in one table; from { 0 } on. `died`, then the rest of the table's key. */
struct old_pos {
	uint64_t died, id, off, born;
	char key[256];
};

struct old_drop {
	uint64_t upto; /* what ended in groups up to this one */
	bool (*held)(void *ctx, uint64_t born, uint64_t died); /* is needed, and stays */
	void (*freed)(void *ctx, uint64_t phys, uint64_t len); /* blocks that have no row now */
	void *ctx;
};

/* Look at max_rows more, and drop those that are not held. 1: perhaps there are more, 0: none, or negative. */
int old_rows_drop(struct db *db, const struct old_drop *what, size_t max_rows, struct old_pos pos[OLD_TABLES]);
/* Is there anything that ended up to `upto`? 1, 0 or negative. */
int old_rows_any(struct db *db, uint64_t upto);

#endif
