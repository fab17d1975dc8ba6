/* SPDX-License-Identifier: MIT */
/*
 * change_set: the tables of db/change_rows.h as a whole: entering everything, forgetting what is acknowledged, totals.
 * None of it may take long, however many rows there are. Thread rule and errors as db.h.
 *
 * What is forgotten
 *   An acknowledgement may be of millions of rows. So it writes one number, `forgotten` of db_numbers: every row of a
 *   group up to it counts as gone for change_rows.h and for all that is here, at once and after a crash; and so does
 *   the mark of a conflict (its grp). change_set_drop takes such rows out bit by bit.
 *
 * What is counted
 *   links, inodes, xattrs and range_bytes of db_numbers are those of the rows in the tables, forgotten ones included.
 */
#ifndef TWINFS_DB_CHANGE_SET_H
#define TWINFS_DB_CHANGE_SET_H

#include "db/db.h"
#include "db/rows.h"

int change_set_any_after(struct db *db, uint64_t after);  /* 1, 0 or negative */

/* Groups up to `upto`, all of them committed, are acknowledged. */
void change_set_forget(struct db *db, uint64_t upto);
int change_set_any_forgotten(struct db *db); /* is there a row to be dropped? 1, 0 or negative */
/* Drop max_rows of them: 1: perhaps there are more, 0: none, or negative. */
int change_set_drop(struct db *db, size_t max_rows);

/*
 * Enter the whole tree as changed in grp, seen 0; some more of it with each call, until 0 is returned (1: there is
 * more). From { 0 } on. What is changed meanwhile must be recorded by the caller. Not the attributes of the inodes
 * below first_own: change_set_enter_attrs does that. max_rows: inodes or links; three rows for each at most, and one
 * for each xattr.
 */
struct enter_pos {
	uint64_t ino, link;
	bool peer_before; /* there was another peer: what it wrote counts as written here, as this one lacks it */
};
int change_set_enter(struct db *db, uint64_t grp, uint64_t first_own, size_t max_rows, struct enter_pos *pos);
int change_set_enter_attrs(struct db *db, uint64_t grp, uint64_t end); /* of the inodes below end */

/* Rows of groups up to `upto` count as changed in grp, which is open, however they did; what they had seen stays. */
int change_set_raise(struct db *db, uint64_t upto, uint64_t grp);
/* Links that are here only said to be where they are (skipped) count as put there. */
int change_set_own_reports(struct db *db);

struct change_totals {
	uint64_t entries; /* links or inodes, whichever is more (a new file is one of each), and xattrs; 0 only if there
			     is no row */
	uint64_t range_bytes, oldest_grp; /* oldest_grp 0: no row */
};
/* Costs nothing. While forgotten rows wait for being dropped the sums are too high by them, but for zero. */
int change_set_totals(struct db *db, struct change_totals *out);

#endif
