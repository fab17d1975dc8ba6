# SPDX-License-Identifier: MIT
# make bench: bench/local measures beside a plain directory and bindfs, then the programs in BENCHES run, one after the
# other. BENCH_FLAGS goes to bench/local.
EXTRA_PROGRAMS += bench/work
bench_work_SOURCES = bench/work.c
EXTRA_DIST += bench/local

.PHONY: bench
bench: all bench/work $(BENCHES)
	TWINFS=$(abs_top_builddir)/twinfs TWINFS_BENCH_WORK=$(abs_top_builddir)/bench/work \
		$(srcdir)/bench/local $(BENCH_FLAGS)
	@for b in $(BENCHES); do echo "# $$b"; ./$$b || exit 1; done

BENCHES += bench/scale
bench_scale_SOURCES = bench/scale.c
bench_scale_LDADD = core/libcore.a db/libdb.a util/libutil.a $(SQLITE_LIBS) $(XXHASH_LIBS)
