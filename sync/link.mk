# SPDX-License-Identifier: MIT
# Wire: records, identity, token, transports, link.
sync_libsync_a_SOURCES += \
	sync/address.c sync/address.h \
	sync/identity.c sync/identity.h \
	sync/record.c sync/record.h \
	sync/token.c sync/token.h

check_PROGRAMS += tests/test_record tests/test_identity tests/test_token
TESTS += tests/test_record tests/test_identity tests/test_token
tests_test_record_SOURCES = tests/test_record.c
tests_test_record_LDADD = sync/libsync.a util/libutil.a $(XXHASH_LIBS) $(ZSTD_LIBS) $(UNIT_LIBS)
tests_test_identity_SOURCES = tests/test_identity.c
tests_test_identity_LDADD = sync/libsync.a util/libutil.a $(OPENSSL_LIBS) $(UNIT_LIBS)
tests_test_token_SOURCES = tests/test_token.c
tests_test_token_LDADD = sync/libsync.a util/libutil.a $(OPENSSL_LIBS) $(UNIT_LIBS)
