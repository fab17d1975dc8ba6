# SPDX-License-Identifier: MIT
noinst_LIBRARIES += fuse/libfront.a
fuse_libfront_a_SOURCES = \
	fuse/crew.c fuse/crew.h \
	fuse/former.c fuse/former.h \
	fuse/front.c fuse/front.h fuse/internal.h \
	fuse/gate.c fuse/gate.h \
	fuse/guard.c fuse/guard.h \
	fuse/mount.c \
	fuse/nodes.c fuse/nodes.h \
	fuse/notify.c \
	fuse/ops.c \
	fuse/source.h \
	fuse/syncer.c \
	fuse/watchers.c fuse/watchers.h

check_PROGRAMS += tests/test_crew tests/test_front tests/test_front_moved tests/test_memory tests/test_nodes
TESTS += tests/test_crew tests/test_front tests/test_front_moved tests/test_memory tests/test_nodes
tests_test_front_moved_SOURCES = tests/test_front_moved.c
tests_test_front_moved_LDADD = fuse/libfront.a $(CORE_TEST_LIBS) $(FUSE_LIBS)
tests_test_nodes_SOURCES = tests/test_nodes.c
tests_test_nodes_LDADD = fuse/libfront.a $(CORE_TEST_LIBS) $(FUSE_LIBS)
tests_test_front_SOURCES = tests/test_front.c
tests_test_front_LDADD = fuse/libfront.a $(CORE_TEST_LIBS) $(FUSE_LIBS)
tests_test_memory_SOURCES = tests/test_memory.c
tests_test_memory_LDADD = fuse/libfront.a $(CORE_TEST_LIBS) $(FUSE_LIBS)
tests_test_crew_SOURCES = tests/test_crew.c
tests_test_crew_LDADD = fuse/libfront.a $(CORE_TEST_LIBS) $(FUSE_LIBS)
