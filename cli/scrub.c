/* SPDX-License-Identifier: MIT */
/* scrub: every block of a store against its checksum, mounted or not. */
#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* After so many the rest is counted only. */
#define SHOWN_MAX 20

static void print_one(const json_t *f)
{
	const char *path = json_string_value(json_object_get(f, "path"));
	char *clean = printable(path ? path : "(a file without a name)");

	printf("%s: byte %" JSON_INTEGER_FORMAT "%s: %s%s\n", clean, json_integer_value(json_object_get(f, "offset")),
	       json_is_true(json_object_get(f, "history")) ? " of an old version" : "",
	       json_is_true(json_object_get(f, "unreadable")) ? "cannot be read from the disk"
	                                                      : "is not what was written",
	       json_is_true(json_object_get(f, "healed")) ? "; healed from the peer" : "");
	free(clean);
}

static int print_result(const char *arg, const json_t *reply)
{
	const json_t *list = json_object_get(reply, "list");
	uint64_t found = (uint64_t)json_integer_value(json_object_get(reply, "found"));
	uint64_t healed = (uint64_t)json_integer_value(json_object_get(reply, "healed"));
	uint64_t bytes = (uint64_t)json_integer_value(json_object_get(reply, "blocks")) * 4096;
	struct err err = ERR_INIT;
	char size[32];

	for (size_t i = 0; i < json_array_size(list) && i < SHOWN_MAX; i++)
		print_one(json_array_get(list, i));
	if (found > SHOWN_MAX)
		printf("and %" PRIu64 " more; the log has them\n", found - SHOWN_MAX);
	print_bytes(size, bytes);
	if (found == 0) {
		printf("%s: every block is what was written; %s read\n", arg, size);
		return EXIT_OK;
	}
	if (found == healed) {
		printf("%s: every block is what was written, now that %" PRIu64 " of them (4 KiB each) are healed from "
		       "the peer; %s read\n", arg, healed, size);
		return EXIT_OK;
	}
	err_set(&err, -EUCLEAN,
	        "%s: %" PRIu64 " of the blocks (4 KiB each, %s in all) are damaged, and the peer was not there or did "
	        "not have them; write what is there anew, from a copy, or delete it", arg, found - healed, size);
	return fail(&err);
}

int cmd_scrub(const struct command *c, int argc, char **argv)
{
	struct err err = ERR_INIT;
	json_t *reply = NULL;
	const char *where;
	int rc = args_parse(c, argc, argv, NULL, 0, &where, 1, 1);

	if (rc >= 0)
		return rc;
	if (where_ask(where, json_pack("{s:s}", "cmd", "scrub"), &reply, &err))
		return fail(&err);
	rc = print_result(where, reply);
	json_decref(reply);
	return rc;
}
