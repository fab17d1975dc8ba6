# SPDX-License-Identifier: MIT
noinst_LIBRARIES += node/libnode.a
node_libnode_a_SOURCES = \
	node/addresses.c node/addresses.h \
	node/baseline.c node/baseline.h \
	node/baseline_mounts.c node/baseline_mounts.h \
	node/control.c node/control.h \
	node/discarded.c node/discarded.h \
	node/events.c node/events.h \
	node/internal.h \
	node/logger.c node/logger.h \
	node/merge_command.c node/merge_command.h \
	node/mounts.c node/mounts.h \
	node/node.c node/node.h \
	node/pair.c node/pair.h \
	node/requests.c node/requests.h \
	node/restore.c node/restore.h \
	node/last.c node/last.h \
	node/scrub.c node/scrub.h \
	node/verify.c node/verify.h \
	node/seen.c node/seen.h \
	node/status.c node/status.h \
	node/store.c node/store.h \
	node/versions.c node/versions.h \
	node/watch.c node/watch.h \
	node/why.c node/why.h \
	node/words.c node/words.h

# Everything that a mount consists of, in the order of its dependencies.
NODE_LIBS = node/libnode.a sync/libsync.a fuse/libfront.a core/libcore.a db/libdb.a util/libutil.a \
	$(FUSE_LIBS) $(CURL_LIBS) $(NGHTTP2_LIBS) $(OPENSSL_LIBS) $(SQLITE_LIBS) $(XXHASH_LIBS) $(ZSTD_LIBS) $(JANSSON_LIBS) \
	$(MAGIC_LIBS) $(UTF8PROC_LIBS)

check_PROGRAMS += tests/test_control tests/test_events tests/test_why
TESTS += tests/test_control tests/test_events tests/test_why
check_PROGRAMS += tests/test_asked tests/test_making
TESTS += tests/test_asked tests/test_making
tests_test_asked_SOURCES = tests/test_asked.c tests/pair_fixture.h
tests_test_asked_LDADD = $(NODE_LIBS) $(UNIT_LIBS)
tests_test_making_SOURCES = tests/test_making.c tests/disk.c tests/disk.h
tests_test_making_LDADD = $(NODE_LIBS) $(UNIT_LIBS)
tests_test_control_SOURCES = tests/test_control.c
tests_test_control_LDADD = node/libnode.a util/libutil.a $(JANSSON_LIBS) $(UNIT_LIBS)
tests_test_events_SOURCES = tests/test_events.c
tests_test_why_SOURCES = tests/test_why.c tests/volume_fixture.h
tests_test_why_LDADD = $(NODE_LIBS) $(UNIT_LIBS)
tests_test_events_LDADD = node/libnode.a util/libutil.a $(JANSSON_LIBS) $(UNIT_LIBS)
