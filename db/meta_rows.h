/* SPDX-License-Identifier: MIT */
/* meta_rows: tables meta (words that seldom change), state (the counters each commit writes), groups. Thread rule,
 * errors: db.h. */
#ifndef TWINFS_DB_META_ROWS_H
#define TWINFS_DB_META_ROWS_H

#include "db/db.h"

struct store_state {
	uint64_t committed, next_id, acked, applied;
	uint64_t flushed; /* core/logged.h */
};
/* Both with the numbers of db_numbers, which are columns of the same row. */
int state_row_get(struct db *db, struct store_state *out); /* -ENOENT */
int state_row_put(struct db *db, const struct store_state *in);

/* malloc'd text (NUL-terminated) or NULL if unset or not to be read (latched). */
char *meta_row_get(struct db *db, const char *key);
int meta_row_put(struct db *db, const char *key, const char *value); /* NULL removes */

int group_row_put(struct db *db, uint64_t n, uint64_t id, uint64_t at_ms);
int group_row_id(struct db *db, uint64_t n, uint64_t *id); /* -ENOENT */
int group_row_time(struct db *db, uint64_t n, uint64_t *at_ms); /* of the first group >= n; -ENOENT */
/* Some of them, the oldest first. 1: perhaps there are more, 0: none, or negative. */
int group_row_forget(struct db *db, uint64_t below, size_t max_rows);

#endif
