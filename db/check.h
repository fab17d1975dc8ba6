/* SPDX-License-Identifier: MIT */
/*
 * check: the rules that the tables of a whole store keep, as queries: each finds the rows that break one. What a rule
 * means is in its text; which tables there are is in schema.c. Rules about the image's blocks are in core/fsck.c.
 *
 * Reads only. Costs a pass over each table for each of its rules; memory for the set of directories and of SQLite's own
 * sorting. Thread rule and errors as db.h.
 */
#ifndef TWINFS_DB_CHECK_H
#define TWINFS_DB_CHECK_H

#include "db/db.h"

struct db_finding {
	const char *table, *rule; /* the rule that is broken, as a sentence about the row */
	uint64_t ino;             /* the inode it is about; 0: none */
	const char *row;          /* which row: "link 5, parent 1" */
};
/* Lives for the call alone. Another value than 0 ends the check and is returned. */
typedef int (*db_finding_fn)(void *ctx, const struct db_finding *f);

/* How many steps db_check takes, and what it is told after each (may be NULL): for a progress line. */
size_t db_check_steps(void);
typedef int (*db_step_fn)(void *ctx, size_t done);

/* 0, what a callback returned, or -errno. A query that the damage makes impossible is itself a finding. */
int db_check(struct db *db, db_finding_fn fn, db_step_fn step, void *ctx);

#endif
