/* SPDX-License-Identifier: MIT */
/* Commands of the contract that this version does not have. They say so, after the checks that hold anyway, and change
 * nothing. */
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "util/util.h"

int cmd_later(const struct command *c, int argc, char **argv)
{
	struct err err = ERR_INIT;
	struct where w;

	if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		printf("usage: twinfs %s %s\nnot available in this version\n", c->name, c->args);
		return EXIT_OK;
	}
	if (argc < 2)
		return usage_error(c, "it is: twinfs %s %s", c->name, c->args);
	if (where_find(argv[1], &w, &err))
		return fail(&err);
	where_release(&w);
	err_set(&err, -ENOSYS, "twinfs %s is not available in this version; see twinfs --help for what is", c->name);
	return fail(&err);
}
