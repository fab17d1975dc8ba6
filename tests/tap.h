/* SPDX-License-Identifier: MIT */
/*
 * tap: runs a libcheck suite and prints its results as TAP on stdout, one line a test, for automake's TAP driver.
 *
 *	int main(void)
 *	{
 *		Suite *s = suite_create("map");
 *		TCase *tc = tcase_create("map");
 *		tcase_add_test(tc, a_deleted_key_is_gone);
 *		suite_add_tcase(s, tc);
 *		return tap_main(s);
 *	}
 *
 * Each test runs in a child process, so a crash fails that test alone; CK_FORK=no runs all in one process for a
 * debugger. CK_RUN_CASE, CK_RUN_SUITE and CK_TIMEOUT_MULTIPLIER work as in libcheck.
 * Returns main's exit code: 1 if a test failed. With TWINFS_TAP_HARNESS set the result is in the TAP lines alone and
 * the exit code is 0, so that a failure is not counted twice.
 * Link with $(UNIT_LIBS).
 */
#ifndef TWINFS_TESTS_TAP_H
#define TWINFS_TESTS_TAP_H

#include <check.h>

int tap_main(Suite *s);

#endif
