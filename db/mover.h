/* SPDX-License-Identifier: MIT */
/*
 * mover: moves what is committed from the log into the database (a checkpoint), while others read, write and commit.
 *
 * A connection of its own to a database that is open (db.h) in the same process: one thread uses that, another this.
 * Nobody waits for anybody: SQLite moves what was committed when it began, and leaves the log as it is. The next
 * transaction that begins when all of the log is moved begins it anew.
 *
 * What a power cut leaves is the same as if a commit had done it: the log is durable before the first page of it is
 * written to the database, the database before the log begins anew. A move that fails, or is cut short, is begun again.
 */
#ifndef TWINFS_DB_MOVER_H
#define TWINFS_DB_MOVER_H

#include "db/db.h"

struct db_mover;

/* To the database of `db`; db_log_limit is the caller's. -errno: there is none, and db goes without. */
int db_mover_open(struct db *db, struct db_mover **out);
/* Move all there is (part: as db_log_to_move said). Of *pages in the log *moved are in the database then. -errno: not
 * all that could be moved was; -EUCLEAN: nothing was, as db_mover_damaged, a page, is not what was written to the log.
 */
int db_mover_run(struct db_mover *m, struct db_log_part part, unsigned *pages, unsigned *moved);
uint32_t db_mover_damaged(struct db_mover *m);
/* Before db_close. NULL is fine. */
void db_mover_close(struct db_mover *m);

#endif
