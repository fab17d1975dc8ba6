/* SPDX-License-Identifier: MIT */
/*
 * db: one SQLite database, open for one owner: transactions, cached prepared statements, errors as errno values.
 *
 * Threads
 *   A struct db belongs to one thread at a time (opened with NOMUTEX): core/ calls it under the volume's lock. A mover
 *   (db/mover.h) is another connection, for another thread.
 *
 * Errors
 *   0 (or 1 for a row) or a negative errno: SQLITE_FULL and a quota -ENOSPC, a host that is read-only -EROFS, CORRUPT
 *   and NOTADB -EUCLEAN, as is a page that is not what was written (db/page_sums.h), CONSTRAINT -EEXIST, the rest -EIO.
 *   The first error since the last begin or rollback is *latched* (db_failure): a transaction in which a statement
 *   failed is half done, and db_commit refuses it with that error. Callers need not check each statement's result for
 *   safety's sake, only where they depend on it.
 *   A row that cannot be (db_damaged) is -EUCLEAN and noted apart: who has changed nothing yet merely fails with it.
 *
 * Statements
 *   db_stmt returns a prepared statement for a string literal, reset and without bindings; the cache is keyed by the
 *   literal's address. Bind, step and finish it before asking for the same literal again, unless it is in the middle
 *   of a walk (stepped, not finished): then another instance is given, so walks may nest. Every walk that
 *   is left early must be ended by db_done. Never finalize it.
 *   NULL (out of memory, damaged schema) is latched; bind helpers and db_step accept it.
 */
#ifndef TWINFS_DB_DB_H
#define TWINFS_DB_DB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <sqlite3.h>

#include "db/page_sums.h"
#include "util/err.h"

struct db;

/* With a sum in each page. Below it is SQLite's own that lets no other process in, and keeps the index of the log in
 * memory of this one: connections of one process share it, and there is no file for it in the store. */
#define DB_VFS PAGE_SUMS_VFS

enum {
	DB_CREATE = 1,
	DB_FAST_UNSAFE = 2, /* synchronous=OFF */
	DB_READ_ONLY = 4,   /* nothing is written, not even what the log holds into the database */
};

/* Open `path` with the pragmas of this store. Without DB_CREATE a missing file is -ENOENT. Does not look at the schema.
 */
int db_open(const char *path, unsigned flags, struct db **out, struct err *err);
/*
 * Hold room on the host's disk for transactions to come: a commit that found the disk full would lose its transaction.
 * 16 MiB for the log and as much for the database itself, a share of that on a small disk, set aside behind the ends of
 * both files (which then take that much more of the disk, not of a listing). 0: it is there. -ENOSPC: it is not whole,
 * so begin nothing that could wait. Hosts that cannot set room aside: 0. Cheap while nothing has to be done.
 */
int db_reserve(struct db *db);

/*
 * The log. What was committed is in the log, and is moved from there into the database when the log has grown to
 * DB_LOG_PAGES: by the commit that finds it so, or, if there is a mover (db/mover.h), by that, beside those who go on.
 * Then a commit moves no more than a little rest, so that the log can begin anew, unless the log grows much longer
 * still, or the host's disk has no room for it.
 */
#define DB_LOG_PAGES 4096 /* so that the flush of the database is shared by many commits, and short */
/* pages: 0 for DB_LOG_PAGES; another number in tests. */
void db_log_limit(struct db *db, bool has_mover, unsigned pages);
unsigned db_log_limit_pages(const struct db *db);
unsigned db_log_pages(const struct db *db); /* as the last commit left it; 0: all is moved */
unsigned db_log_left(const struct db *db);  /* not moved yet */
bool db_log_is_long(const struct db *db, unsigned times); /* has it more than so many times the limit? */
/* Of the log these frames are not in the database: (from, upto]. */
struct db_log_part {
	unsigned from, upto;
};
struct db_log_part db_log_to_move(const struct db *db);
/* The mover's word: of a log of so many pages so many are in the database. */
void db_log_was_moved(struct db *db, unsigned pages, unsigned moved);

/* Rolls back an open transaction, checkpoints, closes. NULL is fine. */
void db_close(struct db *db);
/* Tests: as kill -9 would leave it: no commit, no checkpoint. */
void db_abandon(struct db *db);

int db_begin(struct db *db);    /* BEGIN IMMEDIATE */
/* Durable when it returns 0. On error: call db_rollback. */
int db_commit(struct db *db);
void db_rollback(struct db *db);
bool db_in_transaction(struct db *db);
/* The latched error, 0 if none; *text (may be NULL) lives until the next begin or rollback. */
int db_failure(const struct db *db, const char **text);
/* Forget the latched error of a statement that failed outside a transaction. */
void db_failure_clear(struct db *db);

/* The mover met a page in the log that is not what was written to it. */
void db_log_is_damaged(struct db *db, uint32_t page);

/* What was read is impossible, so the file was damaged: logs it, notes it, returns -EUCLEAN. */
int db_damaged(struct db *db, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* What db_damaged said since db_damage_clear, or NULL. */
const char *db_damage(const struct db *db);
void db_damage_clear(struct db *db);

sqlite3_stmt *db_stmt(struct db *db, const char *sql_literal);
/* 1: a row is there. 0: done. Negative: failed. In the latter two cases the statement is finished (reset). */
int db_step(struct db *db, sqlite3_stmt *s);
/* Step a statement that yields no rows (rows are ignored), and finish it. */
int db_run(struct db *db, sqlite3_stmt *s);
void db_done(sqlite3_stmt *s);
/* Rows changed by the last INSERT, UPDATE or DELETE. */
uint64_t db_changes(struct db *db);
/* Rows changed since the database was opened. */
uint64_t db_changes_in_all(struct db *db);
/* Several statements without parameters, not cached. */
int db_exec(struct db *db, const char *sql);
sqlite3 *db_handle(struct db *db);
bool db_is_fast_unsafe(const struct db *db);
/* False of a database that was made before there were sums. */
bool db_has_page_sums(const struct db *db);
/* What its disk has left; UINT64_MAX: not known. */
uint64_t db_host_free(const struct db *db);
/* Write each page of such a one anew, with its sum, in one transaction (VACUUM): takes as much room again on its disk,
 * for the log, and where the host has its temporary files. No transaction and no mover open. -errno: it is as it was.
 */
int db_add_page_sums(struct db *db);
/* Memory of this length for copies of rows, zeroed when it is first asked for, when a transaction is rolled back and
 * when a statement fails. For one file of db/ (inode_rows.c); it lives as long as the database is open. */
void *db_scratch(struct db *db, size_t len_bytes);

/*
 * Numbers that follow rows, so that nobody has to count them: whoever changes such rows within a transaction changes
 * them too. state_row_get loads them, state_row_put stores them with each commit, and a rollback brings back what they
 * were. fsck compares them with the rows (db/check.c).
 */
struct db_numbers {
	uint64_t links, inodes, xattrs, range_bytes; /* of the change set: rows, inodes with a row, rows, sum of len */
	uint64_t forgotten;                          /* db/change_rows.h */
	uint64_t kept_both, merged;                  /* unresolved rows of table conflict: of that outcome, of others */
};
struct db_numbers *db_numbers(struct db *db);
/* n more of what *number counts. A damaged store may count too few: it ends at 0 then. */
void db_count(uint64_t *number, int64_t n);

/* Binding. Integers are stored signed; keep values below 2^63 where their order matters. */
void db_bind_ints(sqlite3_stmt *s, int first, size_t n, const uint64_t *values);
#define DB_BIND_INTS(s, first, ...)                                                        \
	db_bind_ints((s), (first), sizeof((const uint64_t[]){ __VA_ARGS__ }) / sizeof(uint64_t), \
	             (const uint64_t[]){ __VA_ARGS__ })
/* The memory must live until the statement is finished. NULL binds NULL (an empty blob needs a non-NULL pointer). */
void db_bind_blob(sqlite3_stmt *s, int index, const void *data, size_t len_bytes);
void db_bind_text(sqlite3_stmt *s, int index, const char *text);

static inline uint64_t db_col_u64(sqlite3_stmt *s, int col)
{
	return (uint64_t)sqlite3_column_int64(s, col);
}

/* Are the n columns from `first` on all integers? SQLite stores whatever type it finds in a damaged row. */
bool db_cols_int(sqlite3_stmt *s, int first, int n);
static inline bool db_col_within(sqlite3_stmt *s, int col, uint64_t most)
{
	return db_col_u64(s, col) <= most;
}

/* Whole statements whose parameters are all integers (at least one; give a 0 to a statement that has none: it is
 * ignored). */
int db_run_ints(struct db *db, const char *sql_literal, size_t n, const uint64_t *values);
#define DB_RUN(db, sql, ...)                                                              \
	db_run_ints((db), (sql), sizeof((const uint64_t[]){ __VA_ARGS__ }) / sizeof(uint64_t), \
	            (const uint64_t[]){ __VA_ARGS__ })
/* First column of the first row: 1 and *out, 0 if there is no row (or it is NULL), or negative. */
int db_get_ints(struct db *db, const char *sql_literal, uint64_t *out, size_t n, const uint64_t *values);
#define DB_GET(db, sql, out, ...)                                                                \
	db_get_ints((db), (sql), (out), sizeof((const uint64_t[]){ __VA_ARGS__ }) / sizeof(uint64_t), \
	            (const uint64_t[]){ __VA_ARGS__ })

/* First column of each row, at most max of them. How many, or negative. Finishes the statement. */
int db_list_u64(struct db *db, sqlite3_stmt *s, uint64_t *list, size_t max);

int db_errno(int sqlite_rc);

#endif
