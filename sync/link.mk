# SPDX-License-Identifier: MIT
# Wire: records, identity, token, transports, link.
sync_libsync_a_SOURCES += \
	sync/address.c sync/address.h \
	sync/channel.c sync/channel.h \
	sync/dial.c sync/dial.h \
	sync/identity.c sync/identity.h \
	sync/link.c sync/link.h sync/link_private.h sync/link_thread.c \
	sync/listen.c sync/listen.h \
	sync/record.c sync/record.h sync/record_decode.c sync/record_encode.c sync/record_private.h \
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

# Needs clang; FUZZ_SECONDS=3600 for a long run. The corpus stays in the build folder.
FUZZ_CC = clang
FUZZ_SECONDS = 60
.PHONY: fuzz
fuzz:
	$(MKDIR_P) tests/fuzz-corpus
	$(FUZZ_CC) -g -O1 -std=gnu11 $(AM_CPPFLAGS) $(CPPFLAGS) -pthread -fsanitize=fuzzer,address,undefined -o tests/fuzz_record \
		$(addprefix $(top_srcdir)/,tests/fuzz_record.c sync/record.c sync/record_decode.c sync/record_encode.c \
			util/buf.c util/err.c util/log.c util/util.c) \
		$(XXHASH_LIBS) $(ZSTD_LIBS)
	tests/fuzz_record -max_total_time=$(FUZZ_SECONDS) -max_len=8192 tests/fuzz-corpus
MOSTLYCLEANFILES += tests/fuzz_record
