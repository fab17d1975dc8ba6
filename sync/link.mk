# SPDX-License-Identifier: MIT
# Wire: records, identity, token, transports, link.
sync_libsync_a_SOURCES += \
	sync/address.c sync/address.h \
	sync/channel.c sync/channel.h \
	sync/dial.c sync/dial.h \
	sync/identity.c sync/identity.h \
	sync/link.c sync/link.h \
	sync/listen.c sync/listen.h \
	sync/record.c sync/record.h \
	sync/token.c sync/token.h \
	sync/wire.h

check_PROGRAMS += tests/test_record tests/test_identity tests/test_token tests/test_link
TESTS += tests/test_record tests/test_identity tests/test_token tests/test_link
tests_test_record_SOURCES = tests/test_record.c
tests_test_record_LDADD = sync/libsync.a util/libutil.a $(XXHASH_LIBS) $(ZSTD_LIBS) $(UNIT_LIBS)
tests_test_identity_SOURCES = tests/test_identity.c
tests_test_identity_LDADD = sync/libsync.a util/libutil.a $(OPENSSL_LIBS) $(UNIT_LIBS)
tests_test_token_SOURCES = tests/test_token.c
tests_test_token_LDADD = sync/libsync.a util/libutil.a $(OPENSSL_LIBS) $(UNIT_LIBS)
# The fake engine stands in for the engine and the volume: the link must need nothing else of them.
tests_test_link_SOURCES = tests/test_link.c tests/fake_engine.c tests/fake_engine.h
tests_test_link_LDADD = sync/libsync.a util/libutil.a $(CURL_LIBS) $(NGHTTP2_LIBS) $(OPENSSL_LIBS) $(XXHASH_LIBS) $(ZSTD_LIBS) \
	$(UNIT_LIBS)

EXTRA_DIST += tests/fuzz_record.c
