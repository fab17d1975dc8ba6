# SPDX-License-Identifier: MIT
# The engine: shipments in and out, apply, merge. The simulation (tests/sim) is its test.
sync_libsync_a_SOURCES += \
	sync/ahead.c sync/ahead.h \
	sync/apply.c sync/apply.h \
	sync/content.c sync/content.h sync/content_copy.c sync/content_decide.c sync/content_land.c \
	sync/content_private.h sync/content_ranges.c sync/content_read.c \
	sync/cut_rows.c sync/cut_rows.h \
	sync/deletions.c sync/deletions.h \
	sync/driver.c sync/driver.h \
	sync/engine.c sync/engine.h \
	sync/kept.c sync/kept.h \
	sync/land.c sync/land.h \
	sync/merge.c sync/merge.h \
	sync/merge_apart.c sync/merge_attrs.c sync/merge_bytes.c sync/merge_families.c sync/merge_gather.c \
	sync/merge_glance.c \
	sync/merge_inodes.c sync/merge_land.c sync/merge_land.h sync/merge_lineage.c sync/merge_links.c \
	sync/merge_near.c sync/merge_notes.c sync/merge_prefer.c sync/merge_ready.c sync/merge_ready.h \
	sync/merge_records.c sync/merge_resolve.c \
	sync/merge_saves.c sync/merge_state.h sync/merge_units.c sync/merge_unplaced.c \
	sync/name_fold.c sync/name_fold.h \
	sync/outbox.c sync/outbox.h \
	sync/heal.c sync/heal.h \
	sync/verify.c sync/verify.h sync/verify_private.h sync/verify_run.c \
	sync/plan.c sync/plan.h \
	sync/prefer.c sync/prefer.h \
	sync/follow.c sync/follow.h \
	sync/roles.c sync/roles.h \
	sync/progress.c sync/progress.h \
	sync/ship_rows.c sync/ship_rows.h \
	sync/shipment.c sync/shipment.h \
	sync/split.c sync/split.h \
	sync/told.c sync/told.h

# Two engines on two stores in one process, no sockets.
ENGINE_TEST_LIBS = sync/libsync.a core/libcore.a db/libdb.a util/libutil.a $(SQLITE_LIBS) $(XXHASH_LIBS) $(ZSTD_LIBS) \
	$(MAGIC_LIBS) $(UTF8PROC_LIBS)
check_PROGRAMS += tests/test_engine tests/test_engine_open tests/test_engine_peer tests/test_engine_rules tests/sim/sim
TESTS += tests/test_engine tests/test_engine_open tests/test_engine_peer tests/test_engine_rules tests/sim/sim
tests_test_engine_SOURCES = tests/test_engine.c tests/pair_fixture.h
tests_test_engine_LDADD = $(ENGINE_TEST_LIBS) $(UNIT_LIBS)
tests_test_engine_peer_SOURCES = tests/test_engine_peer.c tests/pair_fixture.h
tests_test_engine_peer_LDADD = $(ENGINE_TEST_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/test_heal
TESTS += tests/test_heal
tests_test_heal_SOURCES = tests/test_heal.c tests/pair_fixture.h
tests_test_heal_LDADD = $(ENGINE_TEST_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/test_verify
TESTS += tests/test_verify
tests_test_verify_SOURCES = tests/test_verify.c tests/pair_fixture.h
tests_test_verify_LDADD = $(ENGINE_TEST_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/test_engine_sparse
TESTS += tests/test_engine_sparse
tests_test_engine_sparse_SOURCES = tests/test_engine_sparse.c tests/pair_fixture.h tests/sparse_model.h tests/chance.h
tests_test_engine_sparse_LDADD = $(ENGINE_TEST_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/test_engine_lost
TESTS += tests/test_engine_lost
tests_test_engine_lost_SOURCES = tests/test_engine_lost.c tests/pair_fixture.h tests/disk.c tests/disk.h
tests_test_engine_lost_LDADD = $(ENGINE_TEST_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/test_engine_saves
TESTS += tests/test_engine_saves
tests_test_engine_saves_SOURCES = tests/test_engine_saves.c tests/pair_fixture.h
tests_test_engine_saves_LDADD = $(ENGINE_TEST_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/test_engine_holders
TESTS += tests/test_engine_holders
tests_test_engine_holders_SOURCES = tests/test_engine_holders.c tests/pair_fixture.h
tests_test_engine_holders_LDADD = $(ENGINE_TEST_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/test_engine_crossing
TESTS += tests/test_engine_crossing
tests_test_engine_crossing_SOURCES = tests/test_engine_crossing.c tests/pair_fixture.h tests/chance.h
tests_test_engine_crossing_LDADD = $(ENGINE_TEST_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/test_cut
TESTS += tests/test_cut
tests_test_cut_SOURCES = tests/test_cut.c tests/pair_fixture.h
tests_test_cut_LDADD = $(ENGINE_TEST_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/test_landing
TESTS += tests/test_landing
tests_test_landing_SOURCES = tests/test_landing.c tests/pair_fixture.h
tests_test_landing_LDADD = $(ENGINE_TEST_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/test_large
TESTS += tests/test_large
tests_test_large_SOURCES = tests/test_large.c tests/pair_fixture.h
tests_test_large_LDADD = $(ENGINE_TEST_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/test_many
TESTS += tests/test_many
tests_test_many_SOURCES = tests/test_many.c tests/pair_fixture.h
tests_test_many_LDADD = $(ENGINE_TEST_LIBS) $(UNIT_LIBS)
tests_test_many_LDFLAGS = -Wl,--wrap=content_kind,--wrap=merge3_text
check_PROGRAMS += tests/test_shipment
TESTS += tests/test_shipment
tests_test_shipment_SOURCES = tests/test_shipment.c tests/chance.h tests/pair_fixture.h
tests_test_shipment_LDADD = $(ENGINE_TEST_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/test_split
TESTS += tests/test_split
tests_test_split_SOURCES = tests/test_split.c tests/pair_fixture.h
tests_test_split_LDADD = $(ENGINE_TEST_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/test_progress
TESTS += tests/test_progress
tests_test_progress_SOURCES = tests/test_progress.c
tests_test_progress_LDADD = sync/libsync.a util/libutil.a $(UNIT_LIBS)
check_PROGRAMS += tests/test_policy
TESTS += tests/test_policy
tests_test_policy_SOURCES = tests/test_policy.c tests/pair_fixture.h
tests_test_policy_LDADD = $(ENGINE_TEST_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/test_ranges
TESTS += tests/test_ranges
tests_test_ranges_SOURCES = tests/test_ranges.c tests/pair_fixture.h
tests_test_ranges_LDADD = $(ENGINE_TEST_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/test_conflicts
TESTS += tests/test_conflicts
tests_test_conflicts_SOURCES = tests/test_conflicts.c tests/pair_fixture.h
tests_test_conflicts_LDADD = $(ENGINE_TEST_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/test_roles
TESTS += tests/test_roles
tests_test_roles_SOURCES = tests/test_roles.c tests/pair_fixture.h
tests_test_roles_LDADD = $(ENGINE_TEST_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/test_prefer
TESTS += tests/test_prefer
tests_test_prefer_SOURCES = tests/test_prefer.c tests/pair_fixture.h
tests_test_prefer_LDADD = $(ENGINE_TEST_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/test_prefer_orders
TESTS += tests/test_prefer_orders
tests_test_prefer_orders_SOURCES = tests/test_prefer_orders.c tests/pair_fixture.h tests/chance.h
tests_test_prefer_orders_LDADD = $(ENGINE_TEST_LIBS) $(UNIT_LIBS)

check_PROGRAMS += tests/test_prefer_twice
TESTS += tests/test_prefer_twice
tests_test_prefer_twice_SOURCES = tests/test_prefer_twice.c tests/pair_fixture.h
tests_test_prefer_twice_LDADD = $(ENGINE_TEST_LIBS) $(UNIT_LIBS)
tests_test_engine_open_SOURCES = tests/test_engine_open.c tests/pair_fixture.h
tests_test_engine_open_LDADD = $(ENGINE_TEST_LIBS) $(UNIT_LIBS)
tests_test_engine_rules_SOURCES = tests/test_engine_rules.c tests/pair_fixture.h
tests_test_engine_rules_LDADD = $(ENGINE_TEST_LIBS) $(UNIT_LIBS)
tests_test_engine_rules_LDFLAGS = $(AM_LDFLAGS) -Wl,--wrap=tree_links_of
# It has a merge of its own, which refuses what it is told to.
check_PROGRAMS += tests/test_unplaced
TESTS += tests/test_unplaced
tests_test_unplaced_SOURCES = tests/test_unplaced.c tests/pair_fixture.h sync/merge_resolve.c
tests_test_unplaced_CPPFLAGS = $(AM_CPPFLAGS) -DMERGE_TEST
tests_test_unplaced_LDADD = $(ENGINE_TEST_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/test_cut_rows
TESTS += tests/test_cut_rows
tests_test_cut_rows_SOURCES = tests/test_cut_rows.c tests/volume_fixture.h
tests_test_cut_rows_LDADD = $(ENGINE_TEST_LIBS) $(UNIT_LIBS)
check_PROGRAMS += tests/test_resume
TESTS += tests/test_resume
tests_test_resume_SOURCES = tests/test_resume.c tests/pair_fixture.h
tests_test_resume_LDADD = $(ENGINE_TEST_LIBS) $(UNIT_LIBS)

# 2,100 random histories; a failing one is named by its seed. `make soak`: as many as TWINFS_SOAK_S seconds hold.
# It has a merge of its own, which compares (tests/sim/near.c).
tests_sim_sim_SOURCES = tests/sim/inspect.c tests/sim/main.c tests/sim/near.c tests/sim/ops.c tests/sim/sim.h \
	sync/merge_resolve.c
tests_sim_sim_CPPFLAGS = $(AM_CPPFLAGS) -DMERGE_TEST
tests_sim_sim_LDADD = $(ENGINE_TEST_LIBS)
SOAK_TESTS += tests/sim/soak
tests_sim_soak_SOURCES = $(tests_sim_sim_SOURCES)
tests_sim_soak_CPPFLAGS = $(tests_sim_sim_CPPFLAGS)
tests_sim_soak_LDADD = $(tests_sim_sim_LDADD)

check_PROGRAMS += tests/test_units
TESTS += tests/test_units
tests_test_units_SOURCES = tests/test_units.c tests/pair_fixture.h
tests_test_units_LDADD = $(ENGINE_TEST_LIBS) $(UNIT_LIBS)
