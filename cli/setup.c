/* SPDX-License-Identifier: MIT */
/* init, invite, join, promote, forget-peer: how a store and a pair come into being, and how a pair ends. */
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/volume.h"
#include "node/pair.h"
#include "node/store.h"
#include "util/util.h"

static int print_node_id(const char *dir, struct err *err)
{
	struct volume *v = NULL;
	struct volume_info info;
	int rc = store_open(dir, &v, err);

	if (rc)
		return rc;
	volume_info(v, &info);
	puts(info.node_id);
	rc = volume_close(v);
	return rc ? err_set(err, rc, "cannot write %s: %s", dir, strerror(-rc)) : 0;
}

int cmd_init(const struct command *c, int argc, char **argv)
{
	const char *dir, *name = NULL, *size = NULL;
	const struct option_def options[] = { { "name", 'n', &name, NULL }, { "size", 's', &size, NULL } };
	char default_name[NODE_NAME_MAX_BYTES + 1];
	struct store_spec spec = { .slot = 1 };
	struct err err = ERR_INIT;
	bool made_dir = false;
	int rc = args_parse(c, argc, argv, options, ARRAY_LEN(options), &dir, 1, 1);

	if (rc >= 0)
		return rc;
	if (size && (parse_size(size, &spec.size_bytes) || spec.size_bytes == 0))
		return usage_error(c, "\"%.100s\" is no size; give bytes, or a number with K, M, G or T", size);
	if (name && store_name_check(name, &err))
		return usage_error(c, "%s", err_text(&err));
	if (!name)
		store_name_default(default_name);
	spec.dir = dir;
	spec.name = name ? name : default_name;
	rc = store_make(&spec, &made_dir, &err);
	if (rc)
		return fail(&err);
	rc = print_node_id(dir, &err);
	if (rc)
		store_unmake(dir, made_dir);
	return rc ? fail(&err) : EXIT_OK;
}

int cmd_invite(const struct command *c, int argc, char **argv)
{
	const char *where, *listen_on = NULL;
	const struct option_def options[] = { { "listen", 'l', &listen_on, NULL } };
	struct err err = ERR_INIT;
	json_t *reply = NULL;
	int rc = args_parse(c, argc, argv, options, ARRAY_LEN(options), &where, 1, 1);

	if (rc >= 0)
		return rc;
	rc = where_ask(where, json_pack("{s:s, s:s*}", "cmd", "invite", "listen", listen_on), &reply, &err);
	if (rc)
		return fail(&err);
	puts(json_string_value(json_object_get(reply, "token")));
	json_decref(reply);
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "On the other machine: twinfs join TOKEN STORE. This store must be mounted then.\n");
	return EXIT_OK;
}

int cmd_join(const struct command *c, int argc, char **argv)
{
	const char *pos[2], *name = NULL;
	const struct option_def options[] = { { "name", 'n', &name, NULL } };
	struct err err = ERR_INIT;
	struct pair_joined joined;
	int rc = args_parse(c, argc, argv, options, ARRAY_LEN(options), pos, 2, 2);

	if (rc >= 0)
		return rc;
	rc = pair_join(pos[0], pos[1], name, &joined, &err);
	if (rc)
		return fail(&err);
	printf("%s: node %s, secondary of %s (%s)%s\n", pos[1], joined.node_name, joined.peer_name, joined.peer_address,
	       joined.already ? ", as before" : "");
	return EXIT_OK;
}

int cmd_address(const struct command *c, int argc, char **argv)
{
	const char *pos[2], *listens, *peer;
	struct err err = ERR_INIT;
	json_t *reply = NULL;
	int rc = args_parse(c, argc, argv, NULL, 0, pos, 1, 2);

	if (rc >= 0)
		return rc;
	rc = where_ask(pos[0], json_pack("{s:s, s:s*}", "cmd", "address", "to", pos[1]), &reply, &err);
	if (rc)
		return fail(&err);
	listens = json_string_value(json_object_get(reply, "listen"));
	peer = json_string_value(json_object_get(reply, "peer"));
	if (peer)
		printf("finds the peer at %s\n", peer);
	else if (listens)
		printf("listens on %s\n", listens);
	else
		puts("has no peer, and listens nowhere");
	json_decref(reply);
	return EXIT_OK;
}

int cmd_promote(const struct command *c, int argc, char **argv)
{
	const char *where, *peer;
	struct err err = ERR_INIT;
	json_t *reply = NULL;
	int rc = args_parse(c, argc, argv, NULL, 0, &where, 1, 1);

	if (rc >= 0)
		return rc;
	rc = where_ask(where, json_pack("{s:s}", "cmd", "promote"), &reply, &err);
	if (rc)
		return fail(&err);
	peer = json_string_value(json_object_get(reply, "peer"));
	if (json_is_true(json_object_get(reply, "in_step")))
		printf("%s is the primary now; both sides were in step\n", where);
	else
		printf("%s is the primary now; when %s comes back it is the secondary, and what it has changed is "
		       "merged\n",
		       where, peer);
	json_decref(reply);
	return EXIT_OK;
}

int cmd_forget_peer(const struct command *c, int argc, char **argv)
{
	const char *where;
	struct err err = ERR_INIT;
	json_t *reply = NULL;
	int rc = args_parse(c, argc, argv, NULL, 0, &where, 1, 1);

	if (rc >= 0)
		return rc;
	rc = where_ask(where, json_pack("{s:s}", "cmd", "forget-peer"), &reply, &err);
	if (rc)
		return fail(&err);
	printf("%s has no peer any more; %s keeps its files, and what it has not sent stays there alone\n", where,
	       json_string_value(json_object_get(reply, "peer")));
	json_decref(reply);
	return EXIT_OK;
}
