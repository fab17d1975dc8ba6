# SPDX-License-Identifier: MIT
# Wire: records, identity, token, transports, link.
sync_libsync_a_SOURCES += \
	sync/record.c sync/record.h

check_PROGRAMS += tests/test_record
TESTS += tests/test_record
tests_test_record_SOURCES = tests/test_record.c
tests_test_record_LDADD = sync/libsync.a util/libutil.a $(XXHASH_LIBS) $(ZSTD_LIBS) $(UNIT_LIBS)
