/* SPDX-License-Identifier: MIT */
/*
 * logged_rows: table logged, some slots of a fixed length that are written over and over: a row that keeps its length
 * costs its own pages and no others. What is in a slot: core/logged.h. Thread rule and errors as db.h.
 */
#ifndef TWINFS_DB_LOGGED_ROWS_H
#define TWINFS_DB_LOGGED_ROWS_H

#include "db/db.h"

#define LOGGED_SLOTS 128u
#define LOGGED_ROW_BYTES 4120u

int logged_row_put(struct db *db, uint64_t slot, const uint8_t bytes[LOGGED_ROW_BYTES]); /* inserts or replaces */
/* 1, 0: there is none. A row that cannot be is db_damaged. */
int logged_row_get(struct db *db, uint64_t slot, uint8_t bytes[LOGGED_ROW_BYTES]);

#endif
