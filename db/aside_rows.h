/* SPDX-License-Identifier: MIT */
/* aside_rows: table aside: ranges of blocks of files for which room is set aside; they do not overlap. Meaning in
 * core/aside.h; thread rule and errors as db.h. */
#ifndef TWINFS_DB_ASIDE_ROWS_H
#define TWINFS_DB_ASIDE_ROWS_H

#include "db/db.h"

/* How many blocks of [first, end) are in the rows of ino. end may be UINT64_MAX. */
int aside_rows_count(struct db *db, uint64_t ino, uint64_t first, uint64_t end, uint64_t *blocks);
/* Take [first, end) out of them; *blocks: how many that were. The number of statements does not follow that of rows. */
int aside_rows_cut(struct db *db, uint64_t ino, uint64_t first, uint64_t end, uint64_t *blocks);
/* A row for [first, end), no block of which is in one. */
int aside_row_put(struct db *db, uint64_t ino, uint64_t first, uint64_t end);
/* Each inode with its blocks. fn must not change the table. */
int aside_rows_sums(struct db *db, void (*fn)(void *ctx, uint64_t ino, uint64_t blocks), void *ctx);

#endif
