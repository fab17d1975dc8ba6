/* SPDX-License-Identifier: MIT */
/* dentry_rows: tables dentry and old_dentry. Thread rule and errors as db.h; -ENOENT where there is no such row. */
#ifndef TWINFS_DB_DENTRY_ROWS_H
#define TWINFS_DB_DENTRY_ROWS_H

#include "db/db.h"
#include "db/rows.h"

typedef int (*dentry_row_fn)(void *ctx,
			     const struct dentry *d); /* another value than 0 ends the walk and is returned */
typedef int (*link_id_fn)(void *ctx, uint64_t link); /* so does this one */

int dentry_row_get(struct db *db, uint64_t link, struct dentry *out);
int dentry_row_find(struct db *db, uint64_t parent, const char *name, size_t name_len, struct dentry *out);
int dentry_row_insert(struct db *db, const struct dentry *d);
/* Everything but the child, which a link keeps. parent_changed: leaves the parent's index alone if not. */
int dentry_row_move(struct db *db, const struct dentry *d, bool parent_changed);
int dentry_row_delete(struct db *db, uint64_t link);
int dentry_row_archive(struct db *db, uint64_t link, uint64_t died);
/* In order of link id, with link > after. */
int dentry_rows_of_child(struct db *db, uint64_t child, dentry_row_fn fn, void *ctx);
int dentry_rows_of_parent(struct db *db, uint64_t parent, uint64_t after, dentry_row_fn fn, void *ctx);
/* The parent in the lowest link to child; -ENOENT. */
int dentry_row_parent(struct db *db, uint64_t child, uint64_t *parent);
bool dentry_rows_any(struct db *db, uint64_t parent);
/* How many there are, counted up to `most`. */
int dentry_rows_count(struct db *db, uint64_t most, uint64_t *n);
/* The id of each, in no order. */
int dentry_rows_each(struct db *db, link_id_fn fn, void *ctx);

/* Views; see core/tree.h. */
int dentry_row_at(struct db *db, uint64_t link, uint64_t group, struct dentry *out);
int dentry_row_peer(struct db *db, uint64_t link, uint64_t seen, struct dentry *out);
/* Links above `after` of which there is a row, or an old version: at most max of them, ascending. How many, or
 * negative. */
int dentry_rows_ids(struct db *db, uint64_t after, uint64_t *list, size_t max);
int dentry_row_find_at(struct db *db, uint64_t parent, const char *name, size_t name_len, uint64_t group,
		       struct dentry *out);
/* In order of link id, with link > after. */
int dentry_rows_of_parent_at(struct db *db, uint64_t parent, uint64_t group, uint64_t after, dentry_row_fn fn,
			     void *ctx);
/* Did a link of the child go, or move, in a later group? */
int dentry_rows_ended_after(struct db *db, uint64_t child, uint64_t group, bool *any);
/* Links that went from the directory, or got another name in it, in a later group: as they were. In no order; one may
 * come more than once. */
int dentry_rows_left(struct db *db, uint64_t parent, uint64_t group, dentry_row_fn fn, void *ctx);
int dentry_rows_of_child_at(struct db *db, uint64_t child, uint64_t group, dentry_row_fn fn, void *ctx);
/* Every link id that was ever (within the history kept) a link to child, or an entry of parent; ascending. */
int dentry_rows_ever_child(struct db *db, uint64_t child, link_id_fn fn, void *ctx);
int dentry_rows_ever_parent(struct db *db, uint64_t parent, link_id_fn fn, void *ctx);

#endif
