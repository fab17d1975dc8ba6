/* SPDX-License-Identifier: MIT */
/* policy: what becomes of files that both sides changed, by pattern. */
#include "cli/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/util.h"

static void print_policies(const json_t *all)
{
	size_t i;
	json_t *p;

	json_array_foreach(all, i, p) {
		char *pattern = printable(json_string_value(json_object_get(p, "pattern")));
		char *policy = printable(json_string_value(json_object_get(p, "policy")));
		bool idle = json_is_false(json_object_get(p, "runs_here"));

		printf("%-24s %s%s\n", pattern, policy, idle ? "   (set elsewhere: does not run on this machine)" : "");
		free(pattern);
		free(policy);
	}
	if (json_array_size(all) == 0)
		puts("no policies: files are merged by their kind (text by lines, data by ranges, else both are kept)");
}

static int list(const char *where, bool json)
{
	struct err err = ERR_INIT;
	json_t *reply = NULL, *all;

	if (where_ask(where, json_pack("{s:s}", "cmd", "policies"), &reply, &err))
		return fail(&err);
	all = json_object_get(reply, "policies");
	if (json) {
		print_json(all);
	} else {
		print_policies(all);
	}
	json_decref(reply);
	return EXIT_OK;
}

static int change(const char *where, const char *pattern, const char *policy)
{
	struct err err = ERR_INIT;
	json_t *reply = NULL;
	json_t *request = json_pack("{s:s, s:s, s:s*}", "cmd", "policy_set", "pattern", pattern, "policy", policy);
	int rc;

	if (!request)
		rc = err_set(&err, -1, "the pattern or the policy is not UTF-8");
	else
		rc = where_ask(where, request, &reply, &err);
	if (!rc && policy)
		printf("%s: %s\n", pattern, policy);
	else if (!rc)
		printf("%s: unset\n", pattern);
	if (!rc && json_is_true(json_object_get(reply, "set_on_primary_too")))
		puts("commands run on the primary, and only if they were set there: give this command there as well");
	json_decref(reply);
	return rc ? fail(&err) : EXIT_OK;
}

int cmd_policy(const struct command *c, int argc, char **argv)
{
	const char *pos[4];
	bool json = false;
	const struct option_def options[] = { { "json", 'j', NULL, &json } };
	int rc = args_parse(c, argc, argv, options, ARRAY_LEN(options), pos, 1, 4);

	if (rc >= 0)
		return rc;
	if (!pos[1])
		return list(pos[0], json);
	if (strcmp(pos[1], "set") == 0 && pos[3])
		return change(pos[0], pos[2], pos[3]);
	if (strcmp(pos[1], "unset") == 0 && pos[2] && !pos[3])
		return change(pos[0], pos[2], NULL);
	return usage_error(c, "it is: twinfs %s %s", c->name, c->args);
}
