/* SPDX-License-Identifier: MIT */
/*
 * schema: the tables of twinfs.db and their version. A database of an older version is migrated in one transaction;
 * a newer one and one of another program are refused. Same thread rule as db.h.
 */
#ifndef TWINFS_DB_SCHEMA_H
#define TWINFS_DB_SCHEMA_H

#include "db/db.h"

#define SCHEMA_APPLICATION_ID 0x74776673 /* "twfs" */
#define SCHEMA_VERSION 12

/* Make all tables in an empty database, within the caller's transaction. */
int schema_create(struct db *db);
/* Look at the file's header alone, before SQLite changes anything of a database that is not ours. Errors as
 * schema_check. */
int schema_probe(const char *path, struct err *err);
/* -EINVAL: not a twinfs store; -EPROTONOSUPPORT: newer; -EUCLEAN: damaged. Migrates an older one. No transaction open.
 */
int schema_check(struct db *db, struct err *err);

#endif
