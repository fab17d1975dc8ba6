# SPDX-License-Identifier: MIT
# make bench: bench/local measures beside a plain directory and bindfs, bench/resync what it costs to come back
# together, then the programs in BENCHES run, one after the other. BENCH_FLAGS goes to bench/local, RESYNC_FLAGS to
# bench/resync. bench/big, a million files on real mounts, takes minutes and is run by hand.
EXTRA_PROGRAMS += bench/work bench/probe
bench_work_SOURCES = bench/work.c
bench_probe_SOURCES = bench/probe.c
bench_probe_LDADD = core/libcore.a db/libdb.a util/libutil.a $(SQLITE_LIBS) $(XXHASH_LIBS)
EXTRA_DIST += bench/local bench/resync bench/big

.PHONY: bench bench-resync
bench-resync: all bench/probe
	TWINFS=$(abs_top_builddir)/twinfs TWINFS_BENCH_PROBE=$(abs_top_builddir)/bench/probe \
		$(srcdir)/bench/resync $(RESYNC_FLAGS)
bench: all bench/work $(BENCHES) bench-resync
	TWINFS=$(abs_top_builddir)/twinfs TWINFS_BENCH_WORK=$(abs_top_builddir)/bench/work \
		$(srcdir)/bench/local $(BENCH_FLAGS)
	@for b in $(BENCHES); do echo "# $$b"; ./$$b || exit 1; done

BENCHES += bench/scale
bench_scale_SOURCES = bench/scale.c
bench_scale_LDADD = core/libcore.a db/libdb.a util/libutil.a $(SQLITE_LIBS) $(XXHASH_LIBS)
