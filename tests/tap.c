/* SPDX-License-Identifier: MIT */
#include "tests/tap.h"

#include <stdio.h>
#include <stdlib.h>

int tap_main(Suite *s)
{
	SRunner *sr = srunner_create(s);
	int failed;

	/* Line by line, so that what a forked test prints cannot repeat lines that are still in our buffer. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	srunner_set_tap(sr, "-");
	srunner_run_all(sr, CK_SILENT);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed > 0 && getenv("TWINFS_TAP_HARNESS") == NULL;
}
