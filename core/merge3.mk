# SPDX-License-Identifier: MIT
core_libcore_a_SOURCES += \
	core/content_kind.c \
	core/merge3.c core/merge3.h \
	core/merge3_diff.c core/merge3_diff.h

check_PROGRAMS += tests/test_merge3
TESTS += tests/test_merge3
tests_test_merge3_SOURCES = tests/test_merge3.c
tests_test_merge3_LDADD = core/libcore.a util/libutil.a $(MAGIC_LIBS) $(UNIT_LIBS)
