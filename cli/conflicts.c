/* SPDX-License-Identifier: MIT */
/* conflicts: list them, settle them, dismiss what was kept of merges, take merges apart. */
#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/util.h"

static const char *outcome_words(const char *outcome)
{
	static const struct {
		const char *outcome, *words;
	} table[] = {
		{ "kept-both", "both versions kept" },
		{ "merged", "merged" },
		{ "primary", "the primary's stands" },
		{ "secondary", "the secondary's stands" },
		{ "restored", "brought back" },
	};

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (strcmp(table[i].outcome, outcome) == 0)
			return table[i].words;
	return outcome;
}

/* ---- list ---- */

/* In the order in which they are listed: what somebody has to do something about is next to where it says how. */
enum state { SETTLED, DISCARDED, RECOVERABLE, WAITING, STATES };

static bool is_discard(const json_t *c)
{
	return strncmp(text_of(c, "path"), "/.twinfs/discarded-", strlen("/.twinfs/discarded-")) == 0;
}

static enum state state_of(const json_t *c)
{
	if (json_is_true(json_object_get(c, "resolved")))
		return SETTLED;
	if (is_discard(c))
		return DISCARDED;
	return strcmp(text_of(c, "outcome"), "kept-both") == 0 ? WAITING : RECOVERABLE;
}

static void print_file(const char *who, const char *what, const char *written)
{
	char *name = printable(who), *clean = printable(what);

	printf("    %-20s %s%s%s\n", name, clean, *written ? "  written " : "", written);
	free(name);
	free(clean);
}

static void print_version(const json_t *v, enum state state)
{
	const char *path = text_of(v, "path"), *value = text_of(v, "value");
	char *who = xasprintf("%s%s", text_of(v, "node"), strcmp(text_of(v, "side"), "local") == 0 ? " (here)" : "");

	if (*value)
		print_file(who, value, "");
	else if (*path)
		print_file(who, path, state == DISCARDED ? "" : text_of(v, "written"));
	else if (state != SETTLED)
		print_file(who, state == DISCARDED ? "in place" : "(not kept)", "");
	free(who);
}

static void print_conflict(const json_t *c)
{
	static const char *const marks[STATES] = {
		[SETTLED] = "",
		[DISCARDED] = "   (can still be had)",
		[RECOVERABLE] = "   (both versions can still be had)",
		[WAITING] = "   <- waiting for you",
	};
	enum state state = state_of(c);
	char *path = printable(text_of(c, "path")), *rule = printable(text_of(c, "rule"));
	const char *base = text_of(json_object_get(c, "base"), "path");
	size_t i;
	json_t *v;

	printf("%s%s\n", path, marks[state]);
	printf("    %s, %s: %s", text_of(c, "when"), text_of(c, "kind"), outcome_words(text_of(c, "outcome")));
	printf(*rule ? " (%s)" : "", rule);
	puts(state == SETTLED && strcmp(text_of(c, "outcome"), "kept-both") == 0 ? "; settled" : "");
	json_array_foreach(json_object_get(c, "versions"), i, v)
		print_version(v, state);
	if (*base)
		print_file("before", base, "");
	free(path);
	free(rule);
}

static void print_what_to_do(const char *where, const size_t n[])
{
	if (n[DISCARDED] > 0)
		printf("\n%zu discarded by resume --prefer; to put some of it back, or to drop it (PATH: in that "
		       "directory)\n"
		       "  twinfs conflicts %s --resolve PATH --keep local|peer|both\n"
		       "  twinfs conflicts %s --dismiss PATH|all\n",
		       n[DISCARDED], where, where);
	if (n[RECOVERABLE] > 0)
		printf("\n%zu merged, and nothing has to be done; to drop what is kept, or to undo a merge\n"
		       "  twinfs conflicts %s --dismiss PATH|all\n"
		       "  twinfs conflicts %s --split PATH\n",
		       n[RECOVERABLE], where, where);
	if (n[WAITING] > 0)
		printf("\n%zu waiting for you: compare the versions, then say which to keep\n"
		       "  twinfs conflicts %s --diff PATH\n"
		       "  twinfs conflicts %s --resolve PATH --keep local|peer|both\n",
		       n[WAITING], where, where);
}

static int list(const char *where, bool json)
{
	struct err err = ERR_INIT;
	json_t *reply = NULL, *all, *c;
	size_t i, n[STATES] = { 0 };

	if (where_ask(where, json_pack("{s:s}", "cmd", "conflicts"), &reply, &err))
		return fail(&err);
	all = json_object_get(reply, "conflicts");
	if (json) {
		print_json(all);
		json_decref(reply);
		return EXIT_OK;
	}
	for (int state = 0; state < STATES; state++)
		json_array_foreach(all, i, c) {
			if ((int)state_of(c) != state)
				continue;
			print_conflict(c);
			n[state]++;
		}
	if (json_array_size(all) == 0)
		puts("no conflicts");
	print_what_to_do(where, n);
	json_decref(reply);
	return EXIT_OK;
}

/* ---- settle ---- */

/* Takes over the request, which is NULL where the path is no UTF-8. */
static int ask(const char *where, const char *path, json_t *request, json_t **reply)
{
	struct err err = ERR_INIT;
	int rc;

	if (!request)
		rc = err_set(&err, -EINVAL, "the path %s is not UTF-8; give the conflict's id instead", path);
	else
		rc = where_ask(where, request, reply, &err);
	return rc ? fail(&err) : EXIT_OK;
}

static int resolve(const char *where, const char *path, const char *keep)
{
	json_t *reply = NULL, *request;
	char *in_volume = where_path(where, path);
	int rc;

	request = where_request("resolve", in_volume);
	json_object_set_new(request, "keep", json_string(keep));
	rc = ask(where, path, request, &reply);
	if (rc == EXIT_OK)
		printf("%s: resolved, %s\n", in_volume, strcmp(keep, "both") == 0 ? "both stay" : keep);
	free(in_volume);
	json_decref(reply);
	return rc;
}

static int dismiss(const char *where, const char *path, uint64_t older_ms)
{
	uint64_t before_ms = older_ms ? clock_real_ms() - older_ms : 0;
	bool all = strcmp(path, "all") == 0;
	json_t *reply = NULL, *request;
	char *in_volume = where_path(where, path);
	json_int_t n;
	int rc;

	request = all ? json_pack("{s:s, s:b}", "cmd", "dismiss", "all", 1) : where_request("dismiss", in_volume);
	json_object_set_new(request, "before_ms", json_integer((json_int_t)before_ms));
	rc = ask(where, path, request, &reply);
	n = json_integer_value(json_object_get(reply, "dismissed"));
	if (rc == EXIT_OK)
		printf("%s: %" JSON_INTEGER_FORMAT " dismissed%s\n", all ? "all" : in_volume, n,
		       all || n > 0 ? "" : older_ms ? "; it is newer, or settled" : "; nothing is kept of it");
	free(in_volume);
	json_decref(reply);
	return rc;
}

static int split(const char *where, const char *path)
{
	json_t *reply = NULL;
	char *in_volume = where_path(where, path);
	int rc = ask(where, path, where_request("split", in_volume), &reply);

	if (rc == EXIT_OK)
		printf("%s: taken apart; both versions are there, and wait for you to choose\n", in_volume);
	free(in_volume);
	json_decref(reply);
	return rc;
}

int cmd_conflicts(const struct command *c, int argc, char **argv)
{
	const char *where, *path = NULL, *keep = NULL, *gone = NULL, *apart = NULL, *compare = NULL, *older = NULL;
	bool json = false;
	const struct option_def options[] = {
		{ "json", 'j', NULL, &json },       { "resolve", 'r', &path, NULL }, { "keep", 'k', &keep, NULL },
		{ "dismiss", 'd', &gone, NULL },    { "split", 's', &apart, NULL },  { "diff", 'D', &compare, NULL },
		{ "older-than", 0, &older, NULL },
	};
	uint64_t older_ms = 0;
	int rc = args_parse(c, argc, argv, options, ARRAY_LEN(options), &where, 1, 1);

	if (rc >= 0)
		return rc;
	if (!path != !keep)
		return usage_error(c, "--resolve PATH and --keep local|peer|both belong together");
	if (!!path + !!gone + !!apart + !!compare + json > 1)
		return usage_error(c, "--json, --resolve, --dismiss, --split and --diff are one at a time");
	if (older && !gone)
		return usage_error(c, "--older-than DURATION belongs to --dismiss");
	if (older && (parse_duration(older, &older_ms) || older_ms == 0))
		return usage_error(c, "\"%.100s\" is no duration; 12h, 30d", older);
	if (keep && strcmp(keep, "local") != 0 && strcmp(keep, "peer") != 0 && strcmp(keep, "both") != 0)
		return usage_error(c, "--keep takes local, peer or both, not \"%.100s\"", keep);
	if (path)
		return resolve(where, path, keep);
	if (gone)
		return dismiss(where, gone, older_ms);
	if (apart)
		return split(where, apart);
	return compare ? conflict_diff(where, compare) : list(where, json);
}
