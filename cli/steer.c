/* SPDX-License-Identifier: MIT */
/* wait, pause, resume: what steers the link of a running mount; resize. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

#include "util/util.h"

int cmd_wait(const struct command *c, int argc, char **argv)
{
	const char *where, *timeout = NULL;
	bool synced = false;
	const struct option_def options[] = { { "timeout", 't', &timeout, NULL }, { "synced", 0, NULL, &synced } };
	struct err err = ERR_INIT;
	uint64_t timeout_ms = 0;
	json_t *reply = NULL;
	int rc = args_parse(c, argc, argv, options, ARRAY_LEN(options), &where, 1, 1);

	if (rc >= 0)
		return rc;
	if (timeout && parse_duration(timeout, &timeout_ms))
		return usage_error(c, "\"%.100s\" is no number of seconds", timeout);
	if (timeout && timeout_ms == 0)
		timeout_ms = 1; /* 0 asks whether it is so now; for the mount 0 is forever */
	rc = where_ask(where, json_pack("{s:s, s:I}", "cmd", "wait", "timeout_ms", (json_int_t)timeout_ms), &reply,
	               &err);
	json_decref(reply);
	return rc ? fail(&err) : EXIT_OK;
}

int cmd_pause(const struct command *c, int argc, char **argv)
{
	const char *where, *how_long = NULL, *reason = NULL;
	const struct option_def options[] = { { "for", 0, &how_long, NULL }, { "reason", 'r', &reason, NULL } };
	struct err err = ERR_INIT;
	uint64_t for_ms = 0;
	json_t *reply = NULL;
	int rc = args_parse(c, argc, argv, options, ARRAY_LEN(options), &where, 1, 1);

	if (rc >= 0)
		return rc;
	if (how_long && (parse_duration(how_long, &for_ms) || for_ms == 0))
		return usage_error(c, "\"%.100s\" is no duration; give seconds, or a number with s, m, h or d",
		                   how_long);
	rc = where_ask(where,
	               json_pack("{s:s, s:I, s:s*}", "cmd", "pause", "for_ms", (json_int_t)for_ms, "reason", reason),
	               &reply, &err);
	if (rc)
		return fail(&err);
	puts(json_is_true(json_object_get(reply, "drained")) ? "paused; both sides are in step" :
	     "paused; what is pending is kept and goes to the peer after twinfs resume");
	json_decref(reply);
	return EXIT_OK;
}

int cmd_resume(const struct command *c, int argc, char **argv)
{
	const char *where, *prefer = NULL;
	bool deletes = false;
	const struct option_def options[] = {
		{ "prefer", 0, &prefer, NULL },
		{ "confirm-deletes", 0, NULL, &deletes },
	};
	struct err err = ERR_INIT;
	json_t *reply = NULL;
	int rc = args_parse(c, argc, argv, options, ARRAY_LEN(options), &where, 1, 1);

	if (rc >= 0)
		return rc;
	if (prefer && strcmp(prefer, "local") != 0 && strcmp(prefer, "peer") != 0)
		return usage_error(c, "--prefer wants local or peer, not \"%.100s\"", prefer);
	rc = where_ask(where,
	               json_pack("{s:s, s:b, s:s*}", "cmd", "resume", "confirm_deletes", deletes, "prefer", prefer),
	               &reply, &err);
	if (rc)
		return fail(&err);
	json_decref(reply);
	if (prefer)
		printf("resumed; when both meet, what %s changed meanwhile is discarded, and kept in .twinfs (twinfs "
		       "conflicts)\n",
		       strcmp(prefer, "local") == 0 ? "the peer" : "this side");
	else
		puts("resumed; see twinfs status");
	return EXIT_OK;
}

int cmd_resize(const struct command *c, int argc, char **argv)
{
	const char *pos[2];
	struct err err = ERR_INIT;
	uint64_t size_bytes = 0;
	json_t *reply = NULL;
	char size[32], used[32];
	int rc = args_parse(c, argc, argv, NULL, 0, pos, 2, 2);

	if (rc >= 0)
		return rc;
	if (strcmp(pos[1], "none") != 0 && (parse_size(pos[1], &size_bytes) || size_bytes > INT64_MAX))
		return usage_error(c, "\"%.100s\" is no size; give bytes, a number with K, M, G or T, or none", pos[1]);
	rc = where_ask(pos[0], json_pack("{s:s, s:I}", "cmd", "resize", "size_bytes", (json_int_t)size_bytes), &reply,
	               &err);
	if (rc)
		return fail(&err);
	print_bytes(size, (uint64_t)json_integer_value(json_object_get(reply, "size")));
	print_bytes(used, (uint64_t)json_integer_value(json_object_get(reply, "used")));
	printf("%s: %s, %s used\n", pos[0], size_bytes ? size : "no limit but the disk's", used);
	json_decref(reply);
	return EXIT_OK;
}
