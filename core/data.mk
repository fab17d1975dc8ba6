# SPDX-License-Identifier: MIT
# The data side of core: image, free map, extents, staging. Included by core/local.mk, after its own sources.
core_libcore_a_SOURCES += \
	core/blocks.c core/blocks.h \
	core/data.c core/data_private.h \
	core/data_history.c \
	core/data_store.c core/data_store.h \
	core/file.c \
	core/freemap.c core/freemap.h \
	core/image.c core/image.h \
	core/landing.c core/landing.h core/landing_write.c \
	core/leftover.c core/leftover.h \
	core/logged.c core/logged.h \
	core/scrub.c core/scrub.h \
	core/stage.c core/stage_adopt.c core/stage_packed.c core/stage_private.h core/stage_saved.c

check_PROGRAMS += tests/test_freemap tests/test_data tests/test_sparse tests/test_scale tests/test_stage
TESTS += tests/test_freemap tests/test_data tests/test_sparse tests/test_scale tests/test_stage
tests_test_scale_SOURCES = tests/test_scale.c tests/data_fixture.h
tests_test_scale_LDADD = $(CORE_TEST_LIBS)
tests_test_freemap_SOURCES = tests/test_freemap.c
tests_test_freemap_LDADD = $(CORE_TEST_LIBS)
tests_test_sparse_SOURCES = tests/test_sparse.c tests/data_fixture.h tests/sparse_model.h tests/chance.h
tests_test_sparse_LDADD = $(CORE_TEST_LIBS)
tests_test_data_SOURCES = tests/test_data.c tests/data_fixture.h tests/chance.h
tests_test_data_LDADD = $(CORE_TEST_LIBS)
tests_test_stage_SOURCES = tests/test_stage.c tests/data_fixture.h
tests_test_stage_LDADD = $(CORE_TEST_LIBS)
check_PROGRAMS += tests/test_log_thread
TESTS += tests/test_log_thread
tests_test_log_thread_SOURCES = tests/test_log_thread.c tests/data_fixture.h tests/disk.c tests/disk.h
tests_test_log_thread_LDADD = $(CORE_TEST_LIBS)

check_PROGRAMS += tests/test_logged
TESTS += tests/test_logged
tests_test_logged_SOURCES = tests/test_logged.c tests/data_fixture.h tests/disk.c tests/disk.h
tests_test_logged_LDADD = $(CORE_TEST_LIBS)
