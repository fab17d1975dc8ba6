/* SPDX-License-Identifier: MIT */
#include "db/db.h"

#include "util/log.h"
#include "util/map.h"
#include "util/util.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* What a mover has left of it, a commit moves itself if it is no more than this share of the limit. The log begins anew
 * only when all of it was moved before a transaction begins: where one commit follows the other a mover never gets to
 * the end. */
#define LOG_REST_SHARE 16u
/* So many times too long a commit lets it become, if the mover does not keep up. */
#define LOG_MOST 4
/* A page of the database in the log: with its header of 24 bytes. */
#define WAL_FRAME_BYTES UINT64_C(4120)
/* A log that was longer is cut to this when it begins anew: journal_size_limit below. */
#define WAL_KEPT_BYTES (UINT64_C(64) << 20)
/* Room that is set aside in each of the two files; of a disk smaller than 32 times that, a share. */
#define RESERVE_BYTES (UINT64_C(16) << 20)
#define RESERVE_SHARE 64u
/* It is set aside in steps of this, so that not every commit asks the host. */
#define RESERVE_STEP_BYTES (UINT64_C(4) << 20)

/*
 * A flush of a log that grows is a commit of the host's journal as well, and takes longer than one that writes where
 * something was written before. So a log that has less than AHEAD left is made longer with zeros, which SQLite takes
 * for its end, until it is as long as it gets. Only by small commits: for a large one it would be but more to write.
 */
#define LOG_AHEAD_BYTES (64 * WAL_FRAME_BYTES)
#define LOG_STEP_BYTES (UINT64_C(1) << 20)
#define LOG_SMALL_PAGES 64
#define LOG_AHEAD_UPTO_PAGES (2 * DB_LOG_PAGES) /* it gets longer than that one while a mover is at it */

/* Nothing that is stored here is longer (xattrs and settings 64 KiB, a conflict's texts some more); a damaged length
 * must not make us allocate gigabytes. */
#define VALUE_MAX_BYTES (4 << 20)

struct cached {
	sqlite3_stmt *stmt;
	struct cached *next; /* more instances of the same literal, for nested walks */
};

struct db {
	sqlite3 *sqlite;
	struct map cache; /* address of literal -> struct cached */
	int failure;
	char failure_text[256], damage_text[256];
	int wal_pages, moved_pages; /* in the log, and of these in the database already */
	bool begins_anew;   /* the log, with the next commit: all of it was moved before the transaction began */
	unsigned log_limit_pages;
	bool has_mover;
	bool room_short;    /* db_reserve could not hold all */
	uint64_t log_bytes; /* the log was made so long at least */
	bool fast_unsafe;
	char *path;
	/* Set aside up to here; -1: not open. The database's own is closed after SQLite has closed it: closing it
	 * earlier would end SQLite's locks. */
	struct reserve {
		int fd;
		uint64_t upto_bytes;
		bool cannot; /* the host knows no such thing */
	} wal, main;
	void *scratch;
	size_t scratch_len_bytes;
	struct db_numbers numbers, numbers_before; /* before the transaction */
};

int db_errno(int sqlite_rc)
{
	if (sqlite_rc == SQLITE_IOERR_DATA) /* db/page_sums.h; as nobody else says that */
		return -EUCLEAN;
	switch (sqlite_rc & 0xff) {
	case SQLITE_OK:
	case SQLITE_ROW:
	case SQLITE_DONE:
		return 0;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_TOOBIG: /* see VALUE_MAX_BYTES */
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

static int last_errno(sqlite3_file *f)
{
	int e = 0;

	if (f && f->pMethods && f->pMethods->xFileControl(f, SQLITE_FCNTL_LAST_ERRNO, &e) != SQLITE_OK)
		e = 0;
	return e;
}

/* What SQLite calls an I/O error has its reason in the errno of the log, where commits fail, or of the file. */
static int host_cause(struct db *db, int sqlite_rc)
{
	int primary = sqlite_rc & 0xff, e;
	sqlite3_file *log = NULL, *file = NULL;

	if (primary == SQLITE_READONLY)
		return -EROFS;
	if ((primary != SQLITE_IOERR && primary != SQLITE_CANTOPEN) || sqlite_rc == SQLITE_IOERR_DATA)
		return db_errno(sqlite_rc);
	sqlite3_file_control(db->sqlite, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log);
	sqlite3_file_control(db->sqlite, "main", SQLITE_FCNTL_FILE_POINTER, &file);
	e = last_errno(log);
	if (!e)
		e = last_errno(file);
	if (!e)
		e = sqlite3_system_errno(db->sqlite);
	return e == ENOSPC || e == EDQUOT || e == EFBIG ? -ENOSPC : e == EROFS ? -EROFS : db_errno(sqlite_rc);
}

static void scratch_forget(struct db *db)
{
	if (db->scratch)
		memset(db->scratch, 0, db->scratch_len_bytes);
}

void *db_scratch(struct db *db, size_t len_bytes)
{
	if (!db->scratch) {
		db->scratch = xcalloc(1, len_bytes);
		db->scratch_len_bytes = len_bytes;
	}
	assert(db->scratch_len_bytes == len_bytes);
	return db->scratch;
}

static int latch(struct db *db, int sqlite_rc, const char *what)
{
	int rc = host_cause(db, sqlite_rc);

	scratch_forget(db); /* SQLite may have undone the transaction by itself */
	if (db->failure == 0) {
		db->failure = rc;
		if (sqlite_rc == SQLITE_IOERR_DATA)
			snprintf(db->failure_text, sizeof(db->failure_text),
			         "database: page %u is not what was written (%s)",
			         (unsigned)page_sums_damaged(db->sqlite), what);
		else
			snprintf(db->failure_text, sizeof(db->failure_text), "database: %s (%s)",
			         sqlite3_errmsg(db->sqlite), what);
		if (sqlite_rc != SQLITE_IOERR_DATA) /* logged, with the file's name, where it was read */
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
	struct db *db = ctx;

	if (pages < db->wal_pages || db->begins_anew)
		db->moved_pages = 0;
	if (pages < db->wal_pages) { /* it begins anew, and may have been cut */
		db->wal.upto_bytes = MIN(db->wal.upto_bytes, WAL_KEPT_BYTES);
		db->log_bytes = MIN(db->log_bytes, WAL_KEPT_BYTES);
	}
	db->wal_pages = pages;
	return SQLITE_OK;
}

/* What the first page says, also if that is in the log; an empty database gets room for sums. */
static int settle_page_sums(struct db *db)
{
	int reserved = -1;
	uint64_t pages = 0;
	int rc = DB_GET(db, "PRAGMA page_count", &pages, 0);

	if (rc < 0)
		return rc;
	sqlite3_file_control(db->sqlite, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved);
	if (pages > 0) {
		page_sums_set(db->sqlite, reserved == PAGE_SUM_BYTES);
		return 0;
	}
	reserved = PAGE_SUM_BYTES;
	sqlite3_file_control(db->sqlite, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved);
	return 0;
}

/* page_size and room for sums must come before the first write. */
static int set_pragmas(struct db *db, unsigned flags)
{
	int rc = db_exec(db, "PRAGMA page_size = 4096; PRAGMA cell_size_check = ON;"
	                     "PRAGMA temp_store = MEMORY; PRAGMA cache_size = -65536; PRAGMA foreign_keys = OFF;");

	if (!rc)
		rc = settle_page_sums(db);
	if (!rc)
		rc = db_exec(db, "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0;"
		                 "PRAGMA journal_size_limit = 67108864;");
	if (!rc)
		rc = db_exec(db, flags & DB_FAST_UNSAFE ? "PRAGMA synchronous = OFF" : "PRAGMA synchronous = FULL");
	if (!rc)
		sqlite3_wal_hook(db->sqlite, on_wal_commit, db);
	return rc;
}

/* As set_pragmas, of a database that is in WAL mode already. */
static int set_read_only(struct db *db)
{
	sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	int rc = db_exec(db, "PRAGMA temp_store = MEMORY; PRAGMA cache_size = -65536;"
	                     "PRAGMA wal_autocheckpoint = 0; PRAGMA query_only = ON;");

	return rc ? rc : settle_page_sums(db);
}

static void no_memory_count(void)
{
	sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
}

/* SQLite's count of its memory takes a lock for each allocation, and nobody reads it. Refused, harmlessly, if a library
 * has started SQLite before us. */
static int configure_once(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, no_memory_count);
	return page_sums_register();
}

int db_open(const char *path, unsigned flags, struct db **out, struct err *err)
{
	int rc = configure_once();
	struct db *db = xcalloc(1, sizeof(*db));

	db->path = xstrdup(path);
	db->wal.fd = db->main.fd = -1;
	db->fast_unsafe = flags & DB_FAST_UNSAFE;
	db->log_limit_pages = DB_LOG_PAGES;
	db->wal.cannot = db->main.cannot = db->fast_unsafe;
	int open_flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (flags & DB_CREATE ? SQLITE_OPEN_CREATE : 0);

	if (rc == SQLITE_OK)
		rc = sqlite3_open_v2(path, &db->sqlite, open_flags, DB_VFS);
	if (rc != SQLITE_OK) {
		rc = (rc & 0xff) == SQLITE_CANTOPEN ? -ENOENT : db_errno(rc);
		err_set(err, rc, "cannot open the database %s: %s", path, sqlite3_errmsg(db->sqlite));
		db_close(db);
		return rc;
	}
	sqlite3_extended_result_codes(db->sqlite, 1);
	sqlite3_limit(db->sqlite, SQLITE_LIMIT_LENGTH, VALUE_MAX_BYTES);
	/* What a damaged page could make of the schema does nothing: no views or triggers with functions. */
	sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_DEFENSIVE, 1, (int *)NULL);
	sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, (int *)NULL);
	sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, (int *)NULL);
	sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_ENABLE_VIEW, 0, (int *)NULL);
	rc = flags & DB_READ_ONLY ? set_read_only(db) : set_pragmas(db, flags);
	if (rc) {
		err_set(err, rc, "cannot use the database %s: %s", path, db->failure_text);
		db_close(db);
		return rc;
	}
	*out = db;
	return 0;
}

/* ---- room for commits ---- */

static void reserve_close(struct reserve *r)
{
	if (r->fd >= 0)
		close(r->fd);
	r->fd = -1;
	r->upto_bytes = 0;
}

/* Room for want_bytes in the file at path that has used_bytes in use. */
static int reserve_hold(struct reserve *r, const char *path, uint64_t used_bytes, uint64_t want_bytes)
{
	uint64_t upto = used_bytes + want_bytes;

	if (r->cannot || r->upto_bytes >= upto)
		return 0;
	if (r->fd < 0)
		r->fd = open(path, O_WRONLY | O_CLOEXEC);
	if (r->fd < 0)
		return errno == ENOENT ? 0 : -errno; /* no log yet: nothing was ever written */
	/* In one go with a step more, or else exactly. */
	if (fallocate(r->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)(upto + RESERVE_STEP_BYTES)) == 0) {
		r->upto_bytes = upto + RESERVE_STEP_BYTES;
		return 0;
	}
	if (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL) {
		r->cannot = true;
		return 0;
	}
	if (fallocate(r->fd, FALLOC_FL_KEEP_SIZE, 0, (off_t)upto) < 0)
		return -ENOSPC;
	r->upto_bytes = upto;
	return 0;
}

int db_reserve(struct db *db)
{
	char *wal = xasprintf("%s-wal", db->path);
	uint64_t want = RESERVE_BYTES;
	struct statvfs host;
	struct stat st;
	int rc;

	if (statvfs(db->path, &host) == 0)
		want = MIN(want, (uint64_t)host.f_blocks * host.f_frsize / RESERVE_SHARE);
	rc = reserve_hold(&db->wal, wal, (uint64_t)db_log_pages(db) * WAL_FRAME_BYTES, want);
	if (rc == 0 && stat(db->path, &st) == 0)
		rc = reserve_hold(&db->main, db->path, (uint64_t)st.st_size, want);
	free(wal);
	db->room_short = rc != 0;
	return rc ? -ENOSPC : 0;
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

struct db_log_part db_log_to_move(const struct db *db)
{
	/* 0: nobody has committed yet; what was found at the opening */
	return (struct db_log_part){ (unsigned)db->moved_pages, db->wal_pages ? (unsigned)db->wal_pages : UINT_MAX };
}

static bool log_is_well(struct db *db)
{
	struct db_log_part part = db_log_to_move(db);

	return page_sums_log_is_well(db->sqlite, part.from, part.upto);
}

void db_log_is_damaged(struct db *db, uint32_t page)
{
	page_sums_note_damaged(db->sqlite, page);
}

/* SQLite moves the log when the last connection closes. A damaged one stays as it is. */
static void look_at_log_before_close(struct db *db)
{
	int stays = 0;

	sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, -1, &stays);
	if (!stays && !log_is_well(db))
		sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
}

void db_close(struct db *db)
{
	struct stat st;
	int rc;

	if (!db)
		return;
	free_statements(db);
	if (db->sqlite && !sqlite3_get_autocommit(db->sqlite))
		sqlite3_exec(db->sqlite, "ROLLBACK", NULL, NULL, NULL);
	if (db->sqlite)
		look_at_log_before_close(db);
	rc = sqlite3_close(db->sqlite);
	assert(rc == SQLITE_OK);
	(void)rc;
	reserve_close(&db->wal);
	if (db->main.fd >= 0 && fstat(db->main.fd, &st) == 0 && ftruncate(db->main.fd, st.st_size) < 0)
		log_debug("db", "%s: its room is not given back: %s", db->path, strerror(errno));
	reserve_close(&db->main);
	free(db->path);
	free(db->scratch);
	free(db);
}

void db_abandon(struct db *db)
{
	sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
	db_close(db);
}

struct db_numbers *db_numbers(struct db *db)
{
	return &db->numbers;
}

void db_count(uint64_t *number, int64_t n)
{
	*number = n < 0 && (uint64_t)-n > *number ? 0 : *number + (uint64_t)n;
}

int db_begin(struct db *db)
{
	db_failure_clear(db);
	db->numbers_before = db->numbers;
	db->begins_anew = db_log_left(db) == 0;
	return db_run(db, db_stmt(db, "BEGIN IMMEDIATE"));
}

static void log_lengthen(struct db *db, uint64_t used_bytes)
{
	static const uint8_t zeros[65536];
	sqlite3_file *log = NULL;
	sqlite3_int64 size = 0;

	sqlite3_file_control(db->sqlite, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log);
	if (!log || !log->pMethods || log->pMethods->xFileSize(log, &size) != SQLITE_OK)
		return;
	db->log_bytes = (uint64_t)size;
	if (db->log_bytes >= used_bytes + LOG_AHEAD_BYTES) /* it was longer, before it began anew */
		return;
	db->log_bytes += LOG_STEP_BYTES; /* one that fails is not tried again until so much is used */
	for (uint64_t done = 0; done < LOG_STEP_BYTES; done += sizeof(zeros))
		if (log->pMethods->xWrite(log, zeros, sizeof(zeros), size + (sqlite3_int64)done) != SQLITE_OK)
			return;
}

static void look_at_log(struct db *db, int pages_before)
{
	uint64_t used = (uint64_t)db->wal_pages * WAL_FRAME_BYTES;
	int added = db->wal_pages - pages_before;

	if (!db->fast_unsafe && added > 0 && added <= LOG_SMALL_PAGES && db->wal_pages < LOG_AHEAD_UPTO_PAGES &&
	    db->log_bytes < used + LOG_AHEAD_BYTES)
		log_lengthen(db, used);
}

/* All of it but what others still read. The group is durable already: if it fails it is tried again after the next. */
static void log_move(struct db *db)
{
	int pages = 0, moved = 0;

	if (!log_is_well(db))
		return;
	if (sqlite3_wal_checkpoint_v2(db->sqlite, NULL, SQLITE_CHECKPOINT_PASSIVE, &pages, &moved) == SQLITE_OK)
		db_log_was_moved(db, (unsigned)MAX(pages, 0), (unsigned)MAX(moved, 0));
}

bool db_log_is_long(const struct db *db, unsigned times)
{
	return db_log_pages(db) > db->log_limit_pages * times;
}

/* Without a mover whoever commits moves it; and where the log is longer than there is room for. */
static bool is_ours_to_move(const struct db *db)
{
	return db_log_is_long(db, 1) && (!db->has_mover || db_log_is_long(db, db->room_short ? 1 : LOG_MOST) ||
	                                 db_log_left(db) <= db->log_limit_pages / LOG_REST_SHARE);
}

unsigned db_log_limit_pages(const struct db *db)
{
	return db->log_limit_pages;
}

unsigned db_log_left(const struct db *db)
{
	return (unsigned)(db->wal_pages - db->moved_pages);
}

unsigned db_log_pages(const struct db *db)
{
	return db_log_left(db) ? (unsigned)db->wal_pages : 0;
}

void db_log_was_moved(struct db *db, unsigned pages, unsigned moved)
{
	if (pages <= (unsigned)db->wal_pages) /* else it has begun anew since */
		db->moved_pages = (int)MIN(moved, pages);
}

void db_log_limit(struct db *db, bool has_mover, unsigned pages)
{
	db->has_mover = has_mover;
	db->log_limit_pages = pages ? pages : DB_LOG_PAGES;
}

int db_commit(struct db *db)
{
	int pages_before = db->begins_anew ? 0 : db->wal_pages;
	int rc = db->failure ? db->failure : db_run(db, db_stmt(db, "COMMIT"));

	if (rc == 0)
		db->numbers_before = db->numbers;
	if (rc == 0)
		look_at_log(db, pages_before);
	if (rc == 0 && is_ours_to_move(db))
		log_move(db);
	return rc;
}

void db_rollback(struct db *db)
{
	if (!sqlite3_get_autocommit(db->sqlite))
		sqlite3_exec(db->sqlite, "ROLLBACK", NULL, NULL, NULL);
	scratch_forget(db);
	db->numbers = db->numbers_before;
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

int db_damaged(struct db *db, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(db->damage_text, sizeof(db->damage_text), fmt, ap);
	va_end(ap);
	log_error("the store's database is damaged: %s; see twinfs fsck", db->damage_text);
	return -EUCLEAN;
}

const char *db_damage(const struct db *db)
{
	return *db->damage_text ? db->damage_text : NULL;
}

void db_damage_clear(struct db *db)
{
	db->damage_text[0] = '\0';
}

bool db_cols_int(sqlite3_stmt *s, int first, int n)
{
	for (int i = first; i < first + n; i++)
		if (sqlite3_column_type(s, i) != SQLITE_INTEGER)
			return false;
	return true;
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
	/* SQLite may have ended the transaction by itself: what is written now would be durable, without the rest. */
	if (db->failure && !sqlite3_stmt_readonly(s)) {
		sqlite3_reset(s);
		return db->failure;
	}
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

uint64_t db_changes_in_all(struct db *db)
{
	return (uint64_t)sqlite3_total_changes64(db->sqlite);
}

sqlite3 *db_handle(struct db *db)
{
	return db->sqlite;
}

bool db_is_fast_unsafe(const struct db *db)
{
	return db->fast_unsafe;
}

bool db_has_page_sums(const struct db *db)
{
	return page_sums_are_on(db->sqlite);
}

uint64_t db_host_free(const struct db *db)
{
	struct statvfs host;

	return statvfs(db->path, &host) == 0 ? (uint64_t)host.f_bavail * host.f_frsize : UINT64_MAX;
}

int db_add_page_sums(struct db *db)
{
	int reserved = PAGE_SUM_BYTES, rc;

	sqlite3_file_control(db->sqlite, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved);
	rc = db_exec(db, "PRAGMA temp_store = FILE; VACUUM; PRAGMA wal_checkpoint(TRUNCATE);");
	sqlite3_exec(db->sqlite, "PRAGMA temp_store = MEMORY", NULL, NULL, NULL);
	if (rc) {
		reserved = 0;
		sqlite3_file_control(db->sqlite, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved);
		sqlite3_exec(db->sqlite, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL); /* its log takes room */
		db_failure_clear(db);
	}
	return rc ? rc : settle_page_sums(db);
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

int db_list_u64(struct db *db, sqlite3_stmt *s, uint64_t *list, size_t max)
{
	size_t n = 0;
	int rc;

	while ((rc = db_step(db, s)) == 1 && n < max)
		list[n++] = db_col_u64(s, 0);
	if (rc == 1)
		db_done(s);
	return rc < 0 ? rc : (int)n;
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
