# SPDX-License-Identifier: MIT
noinst_LIBRARIES += core/libcore.a
core_libcore_a_SOURCES = \
	core/aside.c core/aside.h \
	core/attrs.c \
	core/changes.c core/changes.h \
	core/committer.c core/committer.h \
	core/conflict_hand.c core/conflict_notes.c core/conflict_settle.c core/conflict_units.c \
	core/conflict_xattrs.c core/conflicts.c core/conflicts_private.h \
	core/damage.c core/damage.h \
	core/data.h \
	core/digest.c core/digest.h \
	core/frozen.c core/frozen.h \
	core/fsck.c core/fsck.h \
	core/group.c \
	core/history.c core/hold.c core/hold.h \
	core/holders.c \
	core/internal.h \
	core/listing.c core/listing.h \
	core/log_thread.c core/log_thread.h \
	core/names.c \
	core/pairing.c \
	core/past.c core/past.h \
	core/policy.c core/policy.h \
	core/tree.c core/tree.h \
	core/volume.c core/volume.h \
	core/xattr.c

# What a test of core/ links: it and all below it.
CORE_TEST_LIBS = core/libcore.a db/libdb.a util/libutil.a $(SQLITE_LIBS) $(XXHASH_LIBS) $(UNIT_LIBS)

include core/data.mk

check_PROGRAMS += tests/test_volume tests/test_space tests/test_aside tests/test_tree tests/test_changes \
	tests/test_past tests/test_fsck tests/test_power tests/test_faults
TESTS += tests/test_volume tests/test_space tests/test_aside tests/test_tree tests/test_changes \
	tests/test_past tests/test_fsck tests/test_power tests/test_faults

check_PROGRAMS += tests/test_damage
TESTS += tests/test_damage
tests_test_damage_SOURCES = tests/test_damage.c tests/damage.h tests/store_sql.h
tests_test_damage_LDADD = $(CORE_TEST_LIBS)

check_PROGRAMS += tests/test_flips
TESTS += tests/test_flips
tests_test_flips_SOURCES = tests/test_flips.c tests/chance.h tests/store_sql.h tests/volume_fixture.h
tests_test_flips_LDADD = $(CORE_TEST_LIBS)

check_PROGRAMS += tests/test_frozen
TESTS += tests/test_frozen
tests_test_frozen_SOURCES = tests/test_frozen.c tests/chance.h tests/volume_fixture.h
tests_test_frozen_LDADD = $(CORE_TEST_LIBS)

check_PROGRAMS += tests/test_migration
TESTS += tests/test_migration
tests_test_migration_SOURCES = tests/test_migration.c tests/volume_fixture.h
tests_test_migration_LDADD = $(CORE_TEST_LIBS)

# test_damage by libFuzzer: make fuzz-store FUZZ_SECONDS=600
EXTRA_DIST += tests/fuzz_store.c
.PHONY: fuzz-store
fuzz-store:
	$(MKDIR_P) tests/fuzz-store-corpus
	$(FUZZ_CC) -g -O1 -std=gnu11 $(AM_CPPFLAGS) $(CPPFLAGS) -pthread -fsanitize=fuzzer,address,undefined \
		-o tests/fuzz_store $(addprefix $(top_srcdir)/,tests/fuzz_store.c $(filter %.c, \
		$(core_libcore_a_SOURCES) $(db_libdb_a_SOURCES) $(util_libutil_a_SOURCES))) $(PACKAGE_CFLAGS) $(SQLITE_LIBS) $(XXHASH_LIBS) $(MAGIC_LIBS)
	tests/fuzz_store -max_total_time=$(FUZZ_SECONDS) -max_len=256 -rss_limit_mb=1024 -timeout=20 \
		tests/fuzz-store-corpus
MOSTLYCLEANFILES += tests/fuzz_store

tests_test_volume_SOURCES = tests/test_volume.c tests/store_sql.h tests/volume_fixture.h
tests_test_volume_LDADD = $(CORE_TEST_LIBS)
tests_test_aside_SOURCES = tests/test_aside.c tests/volume_fixture.h
tests_test_aside_LDADD = $(CORE_TEST_LIBS)
tests_test_space_SOURCES = tests/test_space.c tests/volume_fixture.h
tests_test_space_LDADD = $(CORE_TEST_LIBS)
tests_test_tree_SOURCES = tests/test_tree.c tests/volume_fixture.h
tests_test_tree_LDADD = $(CORE_TEST_LIBS)
tests_test_changes_SOURCES = tests/test_changes.c tests/volume_fixture.h
tests_test_changes_LDADD = $(CORE_TEST_LIBS)
tests_test_past_SOURCES = tests/test_past.c tests/volume_fixture.h
tests_test_past_LDADD = $(CORE_TEST_LIBS)
tests_test_fsck_SOURCES = tests/test_fsck.c tests/store_sql.h tests/volume_fixture.h
tests_test_fsck_LDADD = $(CORE_TEST_LIBS)
tests_test_power_SOURCES = tests/test_power.c tests/data_fixture.h tests/disk.c tests/disk.h tests/volume_text.h
tests_test_power_LDADD = $(CORE_TEST_LIBS)
tests_test_power_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=store_free
SOAK_TESTS += tests/soak_power
tests_soak_power_SOURCES = $(tests_test_power_SOURCES)
tests_soak_power_LDADD = $(tests_test_power_LDADD)
tests_soak_power_LDFLAGS = $(tests_test_power_LDFLAGS)
tests_test_faults_SOURCES = tests/test_faults.c tests/data_fixture.h tests/disk.c tests/disk.h tests/volume_text.h
tests_test_faults_LDADD = $(CORE_TEST_LIBS)
SOAK_TESTS += tests/soak_faults
tests_soak_faults_SOURCES = $(tests_test_faults_SOURCES)
tests_soak_faults_LDADD = $(tests_test_faults_LDADD)
include core/merge3.mk
