/* SPDX-License-Identifier: MIT */
/* verify: has the peer the same? */
#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "util/util.h"

static void print_one(const json_t *d)
{
	char *path = printable(json_string_value(json_object_get(d, "path")) ?: "(a file without a name)");
	char *what = printable(json_string_value(json_object_get(d, "what")) ?: "differs");

	printf("%s: %s\n", path, what);
	free(path);
	free(what);
}

static int print_result(const char *arg, const json_t *reply)
{
	const json_t *list = json_object_get(reply, "list");
	uint64_t differences = number_of(reply, "differences"), told = json_array_size(list);
	uint64_t group = number_of(reply, "group"), peer_group = number_of(reply, "peer_group");
	struct err err = ERR_INIT;

	for (size_t i = 0; i < told; i++)
		print_one(json_array_get(list, i));
	if (differences > told)
		printf("and %" PRIu64 " more\n", differences - told);
	if (differences == 0) {
		printf("%s: both sides have the same; %" PRIu64 " files and directories, %" PRIu64
		       " names, as of group %" PRIu64 " here and %" PRIu64 " at the peer\n",
		       arg, number_of(reply, "inodes"), number_of(reply, "names"), group, peer_group);
		return EXIT_OK;
	}
	fflush(stdout); /* what to do about it comes last, also where both go to one place */
	err_set(&err, -EUCLEAN,
	        "%s: %" PRIu64 " difference%s from the peer, as of group %" PRIu64 " here and %" PRIu64
	        " there; nothing was mended: on the side that has it right put a copy in its place "
	        "(cp -a X X.new && mv X.new X), or change what differs, and compare again",
	        arg, differences, differences == 1 ? "" : "s", group, peer_group);
	return fail(&err);
}

/* A word of the contract that this version does not have. It says so and changes nothing. */
static int refuse_repair(const char *arg)
{
	struct err err = ERR_INIT;
	struct where w;

	if (where_find(arg, &w, &err) == 0) {
		where_release(&w);
		err_set(&err, -ENOSYS, "--repair is not available in this version; twinfs verify %s says what differs: "
		        "on the side that has it right put a copy in its place (cp -a X X.new && mv X.new X)", arg);
	}
	return fail(&err);
}

int cmd_verify(const struct command *c, int argc, char **argv)
{
	struct err err = ERR_INIT;
	json_t *reply = NULL;
	const char *where;
	bool repair = false;
	const struct option_def options[] = { { "repair", 0, NULL, &repair } };
	int rc = args_parse(c, argc, argv, options, ARRAY_LEN(options), &where, 1, 1);

	if (rc >= 0)
		return rc;
	if (repair)
		return refuse_repair(where);
	if (where_ask(where, json_pack("{s:s}", "cmd", "verify"), &reply, &err))
		return fail(&err);
	rc = print_result(where, reply);
	json_decref(reply);
	return rc;
}
