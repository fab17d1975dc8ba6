/* SPDX-License-Identifier: MIT */
/* why: what happened to a file. */
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "node/mounts.h"
#include "util/util.h"

/* The longest mountpoint that the path is below; malloc'd or NULL. */
static char *mount_above(const char *path)
{
	struct mount_entry *list;
	char *best = NULL;
	size_t n;

	mounts_list(&list, &n);
	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(list[i].mountpoint);

		if (strncmp(path, list[i].mountpoint, len) != 0 || (path[len] != '/' && path[len] != '\0') ||
		    (best && strlen(best) >= len))
			continue;
		free(best);
		best = xstrdup(list[i].mountpoint);
	}
	mounts_free(list, n);
	return best;
}

static int ask(const char *where, const char *path, bool json)
{
	struct err err = ERR_INIT;
	json_t *reply = NULL;
	char *in_volume = where_path(where, path), *clean;
	int rc = where_ask(where, where_request("why", in_volume), &reply, &err);

	free(in_volume);
	if (rc)
		return fail(&err);
	if (json) {
		json_object_del(reply, "ok");
		print_json(reply);
	} else {
		clean = printable(json_string_value(json_object_get(reply, "text")) ?: "?");
		printf("%s.\n", clean);
		free(clean);
	}
	json_decref(reply);
	return EXIT_OK;
}

int cmd_why(const struct command *c, int argc, char **argv)
{
	const char *pos[2];
	bool json = false;
	const struct option_def options[] = { { "json", 'j', NULL, &json } };
	struct err err = ERR_INIT;
	char *tries[2], *where = NULL;
	int rc = args_parse(c, argc, argv, options, ARRAY_LEN(options), pos, 1, 2);

	if (rc >= 0)
		return rc;
	if (pos[1])
		return ask(pos[0], pos[1], json);
	tries[0] = path_absolute(pos[0]);
	tries[1] = path_of_mountpoint(pos[0]);
	for (size_t i = 0; i < ARRAY_LEN(tries) && !where; i++) {
		where = mount_above(tries[i]);
		if (where)
			rc = ask(where, tries[i], json);
	}
	if (!where) {
		err_set(&err, -ENOENT,
		        "%s is not below a mountpoint of twinfs; give the store too: twinfs why STORE PATH", pos[0]);
		rc = fail(&err);
	}
	free(tries[0]);
	free(tries[1]);
	free(where);
	return rc;
}
