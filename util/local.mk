# SPDX-License-Identifier: MIT
noinst_LIBRARIES += util/libutil.a
util_libutil_a_SOURCES = \
	util/acl.c util/acl.h \
	util/buf.c util/buf.h \
	util/conflict_name.c util/conflict_name.h \
	util/dir.c util/dir.h \
	util/err.c util/err.h \
	util/log.c util/log.h \
	util/map.c util/map.h \
	util/number.h \
	util/rows.c util/rows.h \
	util/util.c util/util.h

check_PROGRAMS += tests/test_acl tests/test_util
TESTS += tests/test_acl tests/test_util
tests_test_acl_SOURCES = tests/test_acl.c
tests_test_acl_LDADD = util/libutil.a $(UNIT_LIBS)
tests_test_util_SOURCES = tests/test_util.c
tests_test_util_LDADD = util/libutil.a $(UNIT_LIBS)
