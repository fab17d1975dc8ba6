/* SPDX-License-Identifier: MIT */
/* xattr_rows: tables xattr and old_xattr. Thread rule and errors as db.h; -ENOENT where there is no such row. */
#ifndef TWINFS_DB_XATTR_ROWS_H
#define TWINFS_DB_XATTR_ROWS_H

#include "db/db.h"
#include "db/rows.h"

typedef int (*xattr_row_fn)(void *ctx, const char *key, const void *value, size_t len_bytes);

/* Calls fn at most once, with the value (its result is returned); -ENOENT. */
int xattr_row_get(struct db *db, uint64_t ino, const char *key, xattr_row_fn fn, void *ctx);
int xattr_row_life(struct db *db, uint64_t ino, const char *key, uint64_t *born, enum origin *origin);
int xattr_row_put(struct db *db, uint64_t ino, const char *key, const void *value, size_t len_bytes, uint64_t born,
                  enum origin origin);
int xattr_row_delete(struct db *db, uint64_t ino, const char *key);
int xattr_row_archive(struct db *db, uint64_t ino, const char *key, uint64_t died);
/* All of the inode's that were born before `died` and up to `cut` (the peer knows those only), and the peer's own. */
int xattr_rows_archive(struct db *db, uint64_t ino, uint64_t cut, uint64_t died);
int xattr_rows_delete(struct db *db, uint64_t ino);
/* Bytes that listxattr needs for the inode. */
int xattr_rows_list_bytes(struct db *db, uint64_t ino, uint64_t *bytes);
int xattr_rows(struct db *db, uint64_t ino, xattr_row_fn fn, void *ctx); /* in order of key */

/* Views. at: born <= group < died. peer: the latest with born <= seen or of the peer, unless it died by then. */
int xattr_row_at(struct db *db, uint64_t ino, const char *key, uint64_t group, xattr_row_fn fn, void *ctx);
int xattr_row_peer(struct db *db, uint64_t ino, const char *key, uint64_t seen, xattr_row_fn fn, void *ctx);
/* All of the inode's, in order of key, each once. */
int xattr_rows_at(struct db *db, uint64_t ino, uint64_t group, xattr_row_fn fn, void *ctx);
/* Every key the inode ever had within the history kept; value NULL. */
int xattr_rows_ever(struct db *db, uint64_t ino, xattr_row_fn fn, void *ctx);

#endif
