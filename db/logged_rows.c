/* SPDX-License-Identifier: MIT */
#include "db/logged_rows.h"

#include <assert.h>
#include <string.h>

int logged_row_put(struct db *db, uint64_t slot, const uint8_t bytes[LOGGED_ROW_BYTES])
{
	sqlite3_stmt *s = db_stmt(db, "INSERT OR REPLACE INTO logged(slot, bytes) VALUES(?, ?)");

	assert(slot < LOGGED_SLOTS);
	DB_BIND_INTS(s, 1, slot);
	db_bind_blob(s, 2, bytes, LOGGED_ROW_BYTES);
	return db_run(db, s);
}

int logged_row_get(struct db *db, uint64_t slot, uint8_t bytes[LOGGED_ROW_BYTES])
{
	sqlite3_stmt *s = db_stmt(db, "SELECT bytes FROM logged WHERE slot = ?");

	DB_BIND_INTS(s, 1, slot);
	int rc = db_step(db, s);

	if (rc <= 0)
		return rc;
	const void *found = sqlite3_column_blob(s, 0);

	if (sqlite3_column_type(s, 0) == SQLITE_BLOB && sqlite3_column_bytes(s, 0) == (int)LOGGED_ROW_BYTES)
		memcpy(bytes, found, LOGGED_ROW_BYTES);
	else
		rc = db_damaged(db, "impossible row of logged in slot %llu", (unsigned long long)slot);
	db_done(s);
	return rc;
}
