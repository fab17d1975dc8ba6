/* SPDX-License-Identifier: MIT */
/* store_sql STORE STATEMENT: for end-to-end tests. Fails if the statement does, or changes no row. */
#include "tests/store_sql.h"

#include <stdio.h>

int main(int argc, char **argv)
{
	char path[4096];
	sqlite3 *db = NULL;
	int rc = 1;

	if (argc != 3) {
		fprintf(stderr, "usage: store_sql STORE STATEMENT\n");
		return 2;
	}
	snprintf(path, sizeof(path), "%s/twinfs.db", argv[1]);
	if (store_sql_open(path, &db) != SQLITE_OK || sqlite3_exec(db, argv[2], NULL, NULL, NULL) != SQLITE_OK)
		fprintf(stderr, "store_sql: %s: %s\n", path, sqlite3_errmsg(db));
	else if (sqlite3_total_changes(db) == 0 && sqlite3_strlike("PRAGMA%", argv[2], 0) != 0)
		fprintf(stderr, "store_sql: %s: no row is changed by: %s\n", path, argv[2]);
	else
		rc = 0;
	return sqlite3_close(db) == SQLITE_OK ? rc : 1;
}
