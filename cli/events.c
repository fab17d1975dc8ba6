/* SPDX-License-Identifier: MIT */
/* events: follow a mount until it is unmounted, or until interrupted. */
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "util/util.h"

static int print_event(void *ctx, const json_t *event)
{
	const bool *json = ctx;

	if (*json) {
		json_dumpf(event, stdout, JSON_COMPACT);
	} else {
		char *text = printable(json_string_value(json_object_get(event, "text")) ?: "?"), when[32] = "?";
		time_t t = (time_t)parse_rfc3339(json_string_value(json_object_get(event, "time")));
		struct tm tm;

		if (localtime_r(&t, &tm))
			strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
		printf("%s  %s", when, text);
		free(text);
	}
	putchar('\n');
	return fflush(stdout) == 0 ? 0 : -EPIPE;
}

int cmd_events(const struct command *c, int argc, char **argv)
{
	const char *where;
	bool json = false;
	const struct option_def options[] = { { "json", 'j', NULL, &json } };
	const struct control_sink sink = { .line = print_event, .ctx = &json };
	struct err err = ERR_INIT;
	json_t *reply = NULL;
	int rc = args_parse(c, argc, argv, options, ARRAY_LEN(options), &where, 1, 1);

	if (rc >= 0)
		return rc;
	rc = where_stream(where, json_pack("{s:s}", "cmd", "events"), &sink, &reply, &err);
	json_decref(reply);
	/* Who reads us has enough: that is how a pipe to head ends. */
	return rc == 0 || rc == -EPIPE ? EXIT_OK : fail(&err);
}
