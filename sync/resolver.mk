# SPDX-License-Identifier: MIT
sync_libsync_a_SOURCES += \
	sync/resolver.c sync/resolver.h \
	sync/resolver_content.c sync/resolver_names.c sync/resolver_prefer.c sync/resolver_saves.c sync/resolver_units.c \
	sync/resolver_work.h

# Built from the sources once more, so that a test can leave out a rule.
check_PROGRAMS += tests/test_resolver
TESTS += tests/test_resolver
tests_test_resolver_SOURCES = \
	tests/test_resolver.c tests/resolver_table.h tests/tree_model.c tests/tree_model.h \
	sync/resolver.c sync/resolver_content.c sync/resolver_names.c sync/resolver_prefer.c \
	sync/resolver_saves.c sync/resolver_units.c
tests_test_resolver_CPPFLAGS = $(AM_CPPFLAGS) -DRESOLVER_TEST
tests_test_resolver_LDADD = util/libutil.a $(UNIT_LIBS)

check_PROGRAMS += tests/test_resolver_edges
TESTS += tests/test_resolver_edges
tests_test_resolver_edges_SOURCES = \
	tests/test_resolver_edges.c \
	sync/resolver.c sync/resolver_content.c sync/resolver_names.c sync/resolver_prefer.c \
	sync/resolver_saves.c sync/resolver_units.c
tests_test_resolver_edges_CPPFLAGS = $(tests_test_resolver_CPPFLAGS)
tests_test_resolver_edges_LDADD = $(tests_test_resolver_LDADD)

check_PROGRAMS += tests/exhaust_resolver
TESTS += tests/exhaust_resolver
tests_exhaust_resolver_SOURCES = \
	tests/exhaust_resolver.c tests/tree_model.c tests/tree_model.h \
	sync/resolver.c sync/resolver_content.c sync/resolver_names.c sync/resolver_prefer.c \
	sync/resolver_saves.c sync/resolver_units.c
tests_exhaust_resolver_CPPFLAGS = $(tests_test_resolver_CPPFLAGS)
tests_exhaust_resolver_LDADD = $(tests_test_resolver_LDADD)

check_PROGRAMS += tests/test_resolver_prefer
TESTS += tests/test_resolver_prefer
tests_test_resolver_prefer_SOURCES = \
	tests/test_resolver_prefer.c tests/tree_model.c tests/tree_model.h \
	sync/resolver.c sync/resolver_content.c sync/resolver_names.c sync/resolver_prefer.c \
	sync/resolver_saves.c sync/resolver_units.c
tests_test_resolver_prefer_CPPFLAGS = $(tests_test_resolver_CPPFLAGS)
tests_test_resolver_prefer_LDADD = $(tests_test_resolver_LDADD)

# `make soak`: the same program; TWINFS_SOAK_S makes its random histories run for long.
SOAK_TESTS += tests/soak_resolver
tests_soak_resolver_SOURCES = $(tests_test_resolver_SOURCES)
tests_soak_resolver_CPPFLAGS = $(tests_test_resolver_CPPFLAGS)
tests_soak_resolver_LDADD = $(tests_test_resolver_LDADD)

SOAK_TESTS += tests/exhaust_resolver

