# SPDX-License-Identifier: MIT
# The test scaffold. Each folder's unit tests are listed in that folder's own local.mk.

check_LIBRARIES += tests/libtap.a
tests_libtap_a_SOURCES = tests/tap.c tests/tap.h

TESTS += tests/lint.sh
EXTRA_DIST += \
	.ci/run \
	build-aux/deps.sh \
	tests/coverage.sh \
	tests/lint.sh \
	tests/e2e/address.sh \
	tests/e2e/baseline.sh \
	tests/e2e/why.sh \
	tests/e2e/basic.sh \
	tests/e2e/conflicts.sh \
	tests/e2e/crash.sh \
	tests/e2e/crashmodel.py \
	tests/e2e/deletions.sh \
	tests/e2e/fs.sh \
	tests/e2e/lib.sh \
	tests/e2e/names.sh \
	tests/e2e/open.sh \
	tests/e2e/policy.sh \
	tests/e2e/prefer.sh \
	tests/e2e/programs.py \
	tests/e2e/programs.sh \
	tests/e2e/refusals.sh \
	tests/e2e/resync.sh \
	tests/e2e/run \
	tests/outside \
	tests/e2e/saves.sh \
	tests/e2e/space.sh \
	tests/e2e/scrub.sh \
	tests/e2e/storm.py \
	tests/e2e/storm.sh \
	tests/e2e/treedump.py \
	tests/e2e/units.sh \
	tests/e2e/users.py \
	tests/e2e/users.sh \
	tests/e2e/verify.sh \
	tests/e2e/watch.py

# What Linux promises of a filesystem; run on mounts by tests/e2e/posix.sh, or by hand on any directory.
check_PROGRAMS += tests/posix/fsx tests/posix/stress tests/posix/suite
tests_posix_fsx_SOURCES = tests/posix/fsx.c tests/posix/posix.h
tests_posix_stress_SOURCES = tests/posix/stress.c tests/posix/posix.h
tests_posix_stress_LDFLAGS = -pthread
tests_posix_suite_SOURCES = tests/posix/suite.c tests/posix/posix.h
EXTRA_DIST += tests/e2e/posix.sh tests/posix/acl_answers.sh

# For tests/e2e.
check_PROGRAMS += tests/store_sql
tests_store_sql_SOURCES = tests/store_sql.c tests/store_sql.h
tests_store_sql_LDADD = db/libdb.a util/libutil.a $(SQLITE_LIBS)

# Every program in TESTS prints TAP, so that each test is a line of its own in the summary.
TAP_DRIVER = env AM_TAP_AWK='$(AWK)' $(SHELL) $(top_srcdir)/build-aux/tap-driver.sh
TEST_EXTENSIONS = .sh
LOG_DRIVER = $(TAP_DRIVER)
SH_LOG_DRIVER = $(TAP_DRIVER)
# TWINFS_TAP_HARNESS: see tests/tap.h
AM_TESTS_ENVIRONMENT = TWINFS_TAP_HARNESS=1; export TWINFS_TAP_HARNESS; \
	top_srcdir='$(abs_top_srcdir)'; export top_srcdir;

.PHONY: check-valgrind check-asan check-tsan check-coverage check-e2e lint soak

# The unit tests under valgrind; a forked test's errors become that test's exit code.
check-valgrind:
	@test -n '$(VALGRIND)' || { echo 'valgrind is missing; install it and run configure again' >&2; exit 1; }
	CK_TIMEOUT_MULTIPLIER=20 $(MAKE) check LOG_COMPILER='$(VALGRIND)' \
		LOG_FLAGS='-q --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite'

# The unit tests with a sanitizer, in a build of their own below this one.
check-asan:
	@$(MKDIR_P) sub-asan
	cd sub-asan && $(abs_top_srcdir)/configure --quiet --enable-sanitizers=address,undefined && \
		CK_TIMEOUT_MULTIPLIER=5 $(MAKE) check
check-tsan:
	@$(MKDIR_P) sub-tsan
	cd sub-tsan && $(abs_top_srcdir)/configure --quiet --enable-sanitizers=thread && \
		CK_TIMEOUT_MULTIPLIER=10 $(MAKE) check
# Which branches of the resolver its tests take, by gcov, in a build of its own as well. Fails if there are others. (What
# an optimizer makes of them has other branches than what is written.)
COVERED_TESTS = tests/test_resolver tests/test_resolver_edges tests/test_resolver_prefer
check-coverage:
	@$(MKDIR_P) sub-coverage
	cd sub-coverage && $(abs_top_srcdir)/configure --quiet --enable-coverage CFLAGS='-g -O0' && \
		$(MAKE) check check_PROGRAMS='$(COVERED_TESTS)' TESTS='$(COVERED_TESTS)'
	$(abs_top_srcdir)/tests/coverage.sh sub-coverage
distclean-local:
	rm -rf sub-asan sub-tsan sub-coverage

# The real thing: two mounts, two network namespaces. Needs root and /dev/fuse.
check-e2e: all tests/store_sql
	TWINFS=$(abs_top_builddir)/twinfs $(abs_top_srcdir)/tests/e2e/run

# Long runs: SOAK_S seconds each, SOAK_HISTORIES of the simulation, and an hour in all of random work on two real mounts with
# the link flapping and daemons dying.
SOAK_S = 600
SOAK_HISTORIES = 100000
SOAK_STORM_S = 1800
soak: all $(SOAK_TESTS)
	@for t in $(SOAK_TESTS); do echo "# $$t"; \
		TWINFS_SOAK_S=$(SOAK_S) TWINFS_SOAK_HISTORIES=$(SOAK_HISTORIES) ./$$t || exit 1; done
	E2E_CRASH_S=$(SOAK_S) TWINFS=$(abs_top_builddir)/twinfs $(abs_top_srcdir)/tests/e2e/run '*_a_killed_*'
	E2E_STORM_S=$(SOAK_STORM_S) TWINFS=$(abs_top_builddir)/twinfs $(abs_top_srcdir)/tests/e2e/run 'random_work_*'

# Our own rules, and what the analysers say where they are installed.
CPPCHECK_FLAGS = --quiet --std=c11 --enable=warning,portability,performance --inline-suppr --error-exitcode=1 \
	--suppress=missingIncludeSystem --suppress=*:*.h
LINT_DIRS = util db core fuse sync node cli
lint:
	top_srcdir='$(abs_top_srcdir)' $(SHELL) $(srcdir)/tests/lint.sh
	@if test -n '$(CPPCHECK)'; then cd $(srcdir) && \
		$(CPPCHECK) $(CPPCHECK_FLAGS) -I. $(LINT_DIRS); else echo 'no cppcheck'; fi
	@if test -n '$(CLANG_TIDY)'; then cd $(srcdir) && \
		$(CLANG_TIDY) --quiet $$(find $(LINT_DIRS) -name '*.c') -- -std=gnu11 $(AM_CPPFLAGS) -I. $(PACKAGE_CFLAGS); \
		else echo 'no clang-tidy'; fi
