# SPDX-License-Identifier: MIT
# The test scaffold. Each folder's unit tests are listed in that folder's own local.mk.

check_LIBRARIES += tests/libtap.a
tests_libtap_a_SOURCES = tests/tap.c tests/tap.h

# Every program in TESTS prints TAP, so that each test is a line of its own in the summary.
TAP_DRIVER = env AM_TAP_AWK='$(AWK)' $(SHELL) $(top_srcdir)/build-aux/tap-driver.sh
TEST_EXTENSIONS = .sh
LOG_DRIVER = $(TAP_DRIVER)
SH_LOG_DRIVER = $(TAP_DRIVER)
# TWINFS_TAP_HARNESS: see tests/tap.h
AM_TESTS_ENVIRONMENT = TWINFS_TAP_HARNESS=1; export TWINFS_TAP_HARNESS; \
	top_srcdir='$(abs_top_srcdir)'; export top_srcdir;
