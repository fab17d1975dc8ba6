# SPDX-License-Identifier: MIT
noinst_LIBRARIES += db/libdb.a
db_libdb_a_SOURCES = \
	db/aside_rows.c db/aside_rows.h \
	db/change_rows.c db/change_rows.h \
	db/change_set.c db/change_set.h \
	db/check.c db/check.h \
	db/db.c db/db.h \
	db/dentry_rows.c db/dentry_rows.h \
	db/extent_rows.c db/extent_rows.h \
	db/inode_rows.c db/inode_rows.h \
	db/landing_rows.c db/landing_rows.h \
	db/leftover_rows.c db/leftover_rows.h \
	db/log_scan.c db/log_scan.h \
	db/log_sums.c db/log_sums.h \
	db/logged_rows.c db/logged_rows.h \
	db/meta_rows.c db/meta_rows.h \
	db/mover.c db/mover.h \
	db/note_rows.c db/note_rows.h \
	db/old_rows.c db/old_rows.h \
	db/page_scan.c db/page_scan.h \
	db/page_sums.c db/page_sums.h \
	db/rows.h \
	db/schema.c db/schema.h \
	db/xattr_rows.c db/xattr_rows.h
