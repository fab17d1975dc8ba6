/* SPDX-License-Identifier: MIT */
/*
 * store_sql: SQL on the database of a closed store. Any SQLite reads it; what writes to it must put the pages' sums in,
 * or all that is found afterwards is wrong sums (db/page_sums.h).
 */
#ifndef TWINFS_TESTS_STORE_SQL_H
#define TWINFS_TESTS_STORE_SQL_H

#include <sqlite3.h>

#include "db/page_sums.h"

/* As sqlite3_open, of a file that is there. */
static inline int store_sql_open(const char *path, sqlite3 **out)
{
	int rc = page_sums_register();

	return rc ? rc : sqlite3_open_v2(path, out, SQLITE_OPEN_READWRITE, PAGE_SUMS_VFS);
}

#endif
