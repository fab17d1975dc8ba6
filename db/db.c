/* SPDX-License-Identifier: MIT */
#include "db/db.h"

#include "util/log.h"
#include "util/map.h"
#include "util/util.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Long enough that a checkpoint's fdatasync of the database is shared by many commits; short enough to take well under
 * 100 ms. */
#define CHECKPOINT_PAGES 4096

struct cached {
	sqlite3_stmt *stmt;
	struct cached *next; /* more instances of the same literal, for nested walks */
};

struct db {
	sqlite3 *sqlite;
	struct map cache; /* address of literal -> struct cached */
	int failure;
	char failure_text[256];
	int wal_pages;
};

int db_errno(int sqlite_rc)
{
	switch (sqlite_rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return 0;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return -EUCLEAN;
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_CONSTRAINT:
		return -EEXIST;
	case SQLITE_READONLY:
	case SQLITE_PERM:
	case SQLITE_AUTH:
		return -EACCES;
	default:
		return -EIO;
	}
}

static int latch(struct db *db, int sqlite_rc, const char *what)
{
	int rc = db_errno(sqlite_rc);

	if (db->failure == 0) {
		db->failure = rc;
		snprintf(db->failure_text, sizeof(db->failure_text), "database: %s (%s)", sqlite3_errmsg(db->sqlite),
			 what);
		log_error("%s", db->failure_text);
	}
	return rc;
}

int db_exec(struct db *db, const char *sql)
{
	int rc = sqlite3_exec(db->sqlite, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? 0 : latch(db, rc, sql);
}

static int on_wal_commit(void *ctx, sqlite3 *sqlite, const char *name, int pages)
{
	(void)sqlite;
	(void)name;
	((struct db *)ctx)->wal_pages = pages;
	return SQLITE_OK;
}

/* page_size must come before the first write, locking_mode before the first access in WAL mode (no shared memory file
 * then). */
static int set_pragmas(struct db *db, unsigned flags)
{
	int rc = db_exec(db, "PRAGMA page_size = 4096; PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL;"
	                     "PRAGMA temp_store = MEMORY; PRAGMA cache_size = -65536; PRAGMA foreign_keys = OFF;"
	                     "PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = 67108864;");

	if (!rc)
		rc = db_exec(db, flags & DB_FAST_UNSAFE ? "PRAGMA synchronous = OFF" : "PRAGMA synchronous = FULL");
	if (!rc)
		sqlite3_wal_hook(db->sqlite, on_wal_commit, db);
	return rc;
}

/* As set_pragmas, of a database that is in WAL mode already. Opened for writing all the same: without that SQLite wants
 * shared memory to read the log. */
static int set_read_only(struct db *db)
{
	sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	return db_exec(db, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -65536;"
	                   "PRAGMA wal_autocheckpoint = 0; PRAGMA query_only = ON;");
}

int db_open(const char *path, unsigned flags, struct db **out, struct err *err)
{
	struct db *db = xcalloc(1, sizeof(*db));
	int open_flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (flags & DB_CREATE ? SQLITE_OPEN_CREATE : 0);
	int rc = sqlite3_open_v2(path, &db->sqlite, open_flags, NULL);

	if (rc != SQLITE_OK) {
		rc = (rc & 0xff) == SQLITE_CANTOPEN ? -ENOENT : db_errno(rc);
		err_set(err, rc, "cannot open the database %s: %s", path, sqlite3_errmsg(db->sqlite));
		db_close(db);
		return rc;
	}
	sqlite3_extended_result_codes(db->sqlite, 1);
	rc = flags & DB_READ_ONLY ? set_read_only(db) : set_pragmas(db, flags);
	if (rc) {
		err_set(err, rc, "cannot use the database %s: %s", path, db->failure_text);
		db_close(db);
		return rc;
	}
	*out = db;
	return 0;
}

static void free_statements(struct db *db)
{
	size_t it = 0;
	uint64_t key, value;

	while (map_next(&db->cache, &it, &key, &value)) {
		struct cached *c = (struct cached *)(uintptr_t)value;

		while (c) {
			struct cached *next = c->next;

			sqlite3_finalize(c->stmt);
			free(c);
			c = next;
		}
	}
	map_release(&db->cache);
}

void db_close(struct db *db)
{
	int rc;

	if (!db)
		return;
	free_statements(db);
	if (db->sqlite && !sqlite3_get_autocommit(db->sqlite))
		sqlite3_exec(db->sqlite, "ROLLBACK", NULL, NULL, NULL);
	rc = sqlite3_close(db->sqlite);
	assert(rc == SQLITE_OK);
	(void)rc;
	free(db);
}

void db_abandon(struct db *db)
{
	sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
	db_close(db);
}

int db_begin(struct db *db)
{
	db_failure_clear(db);
	return db_run(db, db_stmt(db, "BEGIN IMMEDIATE"));
}

int db_commit(struct db *db)
{
	int rc = db->failure ? db->failure : db_run(db, db_stmt(db, "COMMIT"));

	if (rc == 0 && db->wal_pages > CHECKPOINT_PAGES) {
		/* The group is durable already; a checkpoint that fails now is tried again after the next one. */
		if (sqlite3_wal_checkpoint_v2(db->sqlite, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL) == SQLITE_OK)
			db->wal_pages = 0;
	}
	return rc;
}

void db_rollback(struct db *db)
{
	if (!sqlite3_get_autocommit(db->sqlite))
		sqlite3_exec(db->sqlite, "ROLLBACK", NULL, NULL, NULL);
	db_failure_clear(db);
}

bool db_in_transaction(struct db *db)
{
	return !sqlite3_get_autocommit(db->sqlite);
}

int db_failure(const struct db *db, const char **text)
{
	if (text)
		*text = db->failure_text;
	return db->failure;
}

void db_failure_clear(struct db *db)
{
	db->failure = 0;
	db->failure_text[0] = '\0';
}

sqlite3_stmt *db_stmt(struct db *db, const char *sql_literal)
{
	uint64_t key = (uint64_t)(uintptr_t)sql_literal, value = 0;
	struct cached *c;
	int rc;

	map_get(&db->cache, key, &value);
	for (c = (struct cached *)(uintptr_t)value; c; c = c->next)
		if (!sqlite3_stmt_busy(c->stmt))
			break;
	if (c) {
		sqlite3_reset(c->stmt);
		sqlite3_clear_bindings(c->stmt);
		return c->stmt;
	}
	c = xcalloc(1, sizeof(*c));
	rc = sqlite3_prepare_v3(db->sqlite, sql_literal, -1, SQLITE_PREPARE_PERSISTENT, &c->stmt, NULL);
	if (rc != SQLITE_OK) {
		latch(db, rc, sql_literal);
		free(c);
		return NULL;
	}
	c->next = (struct cached *)(uintptr_t)value;
	map_put(&db->cache, key, (uint64_t)(uintptr_t)c);
	return c->stmt;
}

int db_step(struct db *db, sqlite3_stmt *s)
{
	int rc;

	if (!s)
		return db->failure ? db->failure : -EIO;
	rc = sqlite3_step(s);
	if (rc == SQLITE_ROW)
		return 1;
	if (rc != SQLITE_DONE)
		rc = latch(db, rc, sqlite3_sql(s));
	else
		rc = 0;
	sqlite3_reset(s);
	return rc;
}

int db_run(struct db *db, sqlite3_stmt *s)
{
	int rc = db_step(db, s);

	if (rc == 1)
		sqlite3_reset(s);
	return rc < 0 ? rc : 0;
}

void db_done(sqlite3_stmt *s)
{
	sqlite3_reset(s);
}

uint64_t db_changes(struct db *db)
{
	return (uint64_t)sqlite3_changes(db->sqlite);
}

sqlite3 *db_handle(struct db *db)
{
	return db->sqlite;
}

void db_bind_ints(sqlite3_stmt *s, int first, size_t n, const uint64_t *values)
{
	for (size_t i = 0; s && i < n; i++)
		sqlite3_bind_int64(s, first + (int)i, (sqlite3_int64)values[i]);
}

void db_bind_blob(sqlite3_stmt *s, int index, const void *data, size_t len_bytes)
{
	if (s)
		sqlite3_bind_blob64(s, index, data, len_bytes, SQLITE_STATIC);
}

void db_bind_text(sqlite3_stmt *s, int index, const char *text)
{
	if (s)
		sqlite3_bind_text(s, index, text, -1, SQLITE_STATIC);
}

int db_run_ints(struct db *db, const char *sql_literal, size_t n, const uint64_t *values)
{
	sqlite3_stmt *s = db_stmt(db, sql_literal);

	db_bind_ints(s, 1, n, values);
	return db_run(db, s);
}

int db_get_ints(struct db *db, const char *sql_literal, uint64_t *out, size_t n, const uint64_t *values)
{
	sqlite3_stmt *s = db_stmt(db, sql_literal);
	int rc;

	db_bind_ints(s, 1, n, values);
	rc = db_step(db, s);
	if (rc == 1) {
		if (sqlite3_column_type(s, 0) == SQLITE_NULL)
			rc = 0;
		else
			*out = db_col_u64(s, 0);
		db_done(s);
	}
	return rc;
}
