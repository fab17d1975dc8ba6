/* SPDX-License-Identifier: MIT */
/* leftover_rows: table leftover. Meaning in core/leftover.h; thread rule and errors as db.h. */
#ifndef TWINFS_DB_LEFTOVER_ROWS_H
#define TWINFS_DB_LEFTOVER_ROWS_H

#include "db/db.h"
#include "db/rows.h"

int leftover_row_put(struct db *db, const struct leftover *l); /* inserts or replaces */
int leftover_row_drop(struct db *db, uint64_t ino);
/* fn must not change the table. */
int leftover_rows(struct db *db, void (*fn)(void *ctx, const struct leftover *l), void *ctx);

#endif
