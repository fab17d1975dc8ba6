/* SPDX-License-Identifier: MIT */
/* note_rows: tables peer_link, lineage, conflict. Rules in core/changes.h; thread rule and errors as db.h; -ENOENT: no
 * such row. */
#ifndef TWINFS_DB_NOTE_ROWS_H
#define TWINFS_DB_NOTE_ROWS_H

#include "db/db.h"
#include "db/rows.h"

int peer_link_row_put(struct db *db, const struct peer_link *p);
int peer_link_row_get(struct db *db, uint64_t link, struct peer_link *out);
int peer_link_row_purge(struct db *db, uint64_t upto);
/* The children of those that name a place, of links that are not in the tree; any number of times. fn: 0 goes on. */
int peer_link_rows_gone(struct db *db, int (*fn)(void *ctx, uint64_t child), void *ctx);

int lineage_row_put(struct db *db, const struct lineage *l);
int lineage_row_get(struct db *db, enum lineage_class c, uint64_t src, struct lineage *out);
int lineage_row_source(struct db *db, enum lineage_class c, uint64_t dst, uint64_t *src); /* of an alias; -ENOENT */
typedef int (*lineage_row_fn)(void *ctx, const struct lineage *l);
int lineage_rows(struct db *db, enum lineage_class c, lineage_row_fn fn, void *ctx);
/* In order of src, the first max_rows behind one. */
int lineage_rows_behind(struct db *db, enum lineage_class c, uint64_t src, size_t max_rows, lineage_row_fn fn,
                        void *ctx);
int lineage_row_drop(struct db *db, enum lineage_class c, uint64_t src);
int peer_link_row_drop(struct db *db, uint64_t link);
int lineage_row_purge(struct db *db, uint64_t upto);
/* All go but what the peer is told of (aliases and copies), which it is (again): of groups up to `upto` in grp. */
int lineage_row_raise(struct db *db, uint64_t upto, uint64_t grp);

/* grp 0: not to be sent to the peer. Unresolved rows are counted: kept_both and merged of db_numbers. */
int conflict_row_put(struct db *db, const struct conflict *c, uint64_t grp);
int conflict_row_mark(struct db *db, uint64_t id, bool resolved, uint64_t grp);
int conflict_row_state(struct db *db, uint64_t id, uint64_t *grp, bool *resolved); /* -ENOENT */
/* after < grp <= upto, in order of id. The struct lives for the call of fn alone. */
typedef int (*conflict_row_fn)(void *ctx, const struct conflict *c);
int conflict_rows(struct db *db, uint64_t after, uint64_t upto, conflict_row_fn fn, void *ctx);
/* Of groups up to `upto`, in order of group and id, the first max_rows behind one. */
int conflict_rows_behind(struct db *db, uint64_t grp, uint64_t id, uint64_t upto, size_t max_rows, conflict_row_fn fn,
                         void *ctx);
/* fn is not called if it is not there. */
int conflict_row_get(struct db *db, uint64_t id, conflict_row_fn fn, void *ctx);
int conflict_rows_all(struct db *db, conflict_row_fn fn, void *ctx);
/* How many are settled, and not to be sent to the peer any more; and drop the oldest n of them that were noted before
 * before_ms. */
int conflict_rows_settled(struct db *db, uint64_t *n);
int conflict_rows_drop(struct db *db, uint64_t n, uint64_t before_ms);
/* Those that are not settled and are about `ino`, or have it as a version. */
int conflict_rows_open_of(struct db *db, uint64_t ino, conflict_row_fn fn, void *ctx);

#endif
