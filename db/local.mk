# SPDX-License-Identifier: MIT
noinst_LIBRARIES += db/libdb.a
db_libdb_a_SOURCES = \
	db/db.c db/db.h \
	db/schema.c db/schema.h
