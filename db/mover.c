/* SPDX-License-Identifier: MIT */
#include "db/mover.h"

#include "util/util.h"

#include <assert.h>
#include <stdlib.h>

struct db_mover {
	sqlite3 *sqlite;
};

int db_mover_open(struct db *db, struct db_mover **out)
{
	struct db_mover *m = xcalloc(1, sizeof(*m));
	int rc = sqlite3_open_v2(sqlite3_db_filename(db_handle(db), "main"), &m->sqlite,
				 SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, DB_VFS);

	/* It closes before the other one does, and is not to hold that up by a checkpoint. */
	if (rc == SQLITE_OK)
		rc = sqlite3_db_config(m->sqlite, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
	/* The cache is not used. Without a look at the database the connection does not know that there is a log. */
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(m->sqlite,
				  "PRAGMA cache_size = 10; PRAGMA wal_autocheckpoint = 0; PRAGMA schema_version;", NULL,
				  NULL, NULL);
	if (rc == SQLITE_OK) {
		sqlite3_extended_result_codes(m->sqlite, 1);
		page_sums_set(m->sqlite, db_has_page_sums(db));
	}
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(m->sqlite,
				  db_is_fast_unsafe(db) ? "PRAGMA synchronous = OFF" : "PRAGMA synchronous = FULL",
				  NULL, NULL, NULL);
	if (rc != SQLITE_OK) {
		db_mover_close(m);
		return db_errno(rc);
	}
	*out = m;
	return 0;
}

int db_mover_run(struct db_mover *m, struct db_log_part part, unsigned *pages, unsigned *moved)
{
	int log = 0, done = 0, rc = SQLITE_IOERR_DATA;

	if (page_sums_log_is_well(m->sqlite, part.from, part.upto))
		rc = sqlite3_wal_checkpoint_v2(m->sqlite, NULL, SQLITE_CHECKPOINT_PASSIVE, &log, &done);
	*pages = rc == SQLITE_OK ? (unsigned)MAX(log, 0) : 0;
	*moved = rc == SQLITE_OK ? (unsigned)MAX(done, 0) : 0;
	return db_errno(rc);
}

uint32_t db_mover_damaged(struct db_mover *m)
{
	return page_sums_damaged(m->sqlite);
}

void db_mover_close(struct db_mover *m)
{
	if (!m)
		return;
	int rc = sqlite3_close(m->sqlite);

	assert(rc == SQLITE_OK);
	(void)rc;
	free(m);
}
