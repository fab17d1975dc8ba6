/* SPDX-License-Identifier: MIT */
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/util.h"

static const char *text_of(const json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key)) ?: "";
}

static const char *outcome_words(const char *outcome)
{
	static const struct {
		const char *outcome, *words;
	} table[] = {
		{ "kept-both", "both versions kept" },
		{ "merged", "merged; both versions can still be had" },
		{ "primary", "the primary's stands" },
		{ "secondary", "the secondary's stands" },
		{ "restored", "brought back: one side changed what the other deleted" },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (strcmp(table[i].outcome, outcome) == 0)
			return table[i].words;
	return outcome;
}

static void print_version(const json_t *v)
{
	char *path = printable(*text_of(v, "path") ? text_of(v, "path") : "(not kept)");
	char *node = printable(text_of(v, "node"));

	printf("    %-12s %s", node, path);
	if (*text_of(v, "written"))
		printf("  written %s", text_of(v, "written"));
	putchar('\n');
	free(path);
	free(node);
}

static void print_conflict(const json_t *c)
{
	bool waiting = !json_is_true(json_object_get(c, "resolved")) && strcmp(text_of(c, "outcome"), "kept-both") == 0;
	char *path = printable(text_of(c, "path")), *rule = printable(text_of(c, "rule"));
	size_t i;
	json_t *v;

	printf("%s%s\n", path, waiting ? "   <- waiting for you" : "");
	printf("    %s, %s: %s", text_of(c, "when"), text_of(c, "kind"), outcome_words(text_of(c, "outcome")));
	printf(*rule ? " (%s)\n" : "\n", rule);
	json_array_foreach(json_object_get(c, "versions"), i, v)
		print_version(v);
	free(path);
	free(rule);
}

static int list(const char *where, bool json)
{
	struct err err = ERR_INIT;
	json_t *reply = NULL, *all, *c;
	size_t i, waiting = 0;

	if (where_ask(where, json_pack("{s:s}", "cmd", "conflicts"), &reply, &err))
		return fail(&err);
	all = json_object_get(reply, "conflicts");
	if (json) {
		json_dumpf(all, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(reply);
		return EXIT_OK;
	}
	json_array_foreach(all, i, c) {
		print_conflict(c);
		waiting += !json_is_true(json_object_get(c, "resolved")) &&
		           strcmp(text_of(c, "outcome"), "kept-both") == 0;
	}
	if (json_array_size(all) == 0)
		puts("no conflicts");
	if (waiting > 0)
		printf("\n%zu waiting for you: look at both versions, then\n  twinfs conflicts %s --resolve PATH "
		       "--keep local|peer|both\n",
		       waiting, where);
	json_decref(reply);
	return EXIT_OK;
}

static int resolve(const char *where, const char *path, const char *keep)
{
	struct err err = ERR_INIT;
	json_t *reply = NULL;
	char *in_volume = where_path(where, path);
	json_t *request = json_pack("{s:s, s:s, s:s}", "cmd", "resolve", "path", in_volume, "keep", keep);
	int rc;

	if (!request)
		rc = err_set(&err, -EINVAL, "the path %s is not UTF-8; rename the file first", path);
	else
		rc = where_ask(where, request, &reply, &err);
	if (!rc)
		printf("%s: resolved, %s\n", in_volume, strcmp(keep, "both") == 0 ? "both stay" : keep);
	free(in_volume);
	json_decref(reply);
	return rc ? fail(&err) : EXIT_OK;
}

int cmd_conflicts(const struct command *c, int argc, char **argv)
{
	const char *where, *path = NULL, *keep = NULL;
	bool json = false;
	const struct option_def options[] = {
		{ "json", 'j', NULL, &json }, { "resolve", 'r', &path, NULL }, { "keep", 'k', &keep, NULL },
	};
	int rc = args_parse(c, argc, argv, options, ARRAY_LEN(options), &where, 1, 1);

	if (rc >= 0)
		return rc;
	if (!path != !keep)
		return usage_error(c, "--resolve PATH and --keep local|peer|both belong together");
	if (!path)
		return list(where, json);
	if (strcmp(keep, "local") != 0 && strcmp(keep, "peer") != 0 && strcmp(keep, "both") != 0)
		return usage_error(c, "--keep takes local, peer or both, not \"%.100s\"", keep);
	return resolve(where, path, keep);
}
