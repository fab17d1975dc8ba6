/* SPDX-License-Identifier: MIT */
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/mounts.h"
#include "node/requests.h"
#include "node/store.h"
#include "util/util.h"

static bool find_mountpoint(const char *arg, struct where *out)
{
	char *tries[2] = { path_absolute(arg), path_of_mountpoint(arg) };

	for (size_t i = 0; i < ARRAY_LEN(tries) && !out->store; i++) {
		out->store = mounts_store_at(tries[i]);
		if (out->store)
			out->mountpoint = xstrdup(tries[i]);
	}
	free(tries[0]);
	free(tries[1]);
	return out->store != NULL;
}

int where_find(const char *arg, struct where *out, struct err *err)
{
	char *real;

	*out = (struct where){ .store = NULL };
	if (find_mountpoint(arg, out))
		return 0;
	real = realpath(arg, NULL);
	if (!real)
		return err_set(err, -errno, "cannot use %s: %s; give a twinfs store or its mountpoint", arg,
		               strerror(errno));
	if (!store_is(real)) {
		bool closed = store_is_closed(real);

		free(real);
		if (closed)
			return err_set(err, -EACCES, "this user may not look into %s; a store is for its owner", arg);
		return err_set(err, -EINVAL, "%s is neither a twinfs store nor the mountpoint of one that is mounted",
		               arg);
	}
	out->store = real;
	out->mountpoint = mounts_of_store(real);
	return 0;
}

void where_release(struct where *w)
{
	free(w->store);
	free(w->mountpoint);
}

/* What is being waited for, on one line that is written over; for people only. */
static void progress_line(const char *text)
{
	char *clean = printable(text);

	fprintf(stderr, "\r\033[K%.150s", clean);
	free(clean);
}

int where_stream(const char *arg, json_t *request, const struct control_sink *sink, json_t **reply, struct err *err)
{
	bool quiet = !isatty(STDERR_FILENO);
	struct where w;
	int rc = request ? where_find(arg, &w, err)
	                 : err_set(err, -EINVAL, "an argument is not UTF-8 text; write it otherwise");

	if (!rc) {
		rc = requests_stream(w.store, w.mountpoint, request, quiet ? NULL : progress_line, sink, reply, err);
		if (!quiet)
			fputs("\r\033[K", stderr);
		where_release(&w);
	}
	json_decref(request);
	return rc;
}

int where_ask(const char *arg, json_t *request, json_t **reply, struct err *err)
{
	return where_stream(arg, request, NULL, reply, err);
}

/* What is no UTF-8 goes as {"hex": its bytes} (node/requests.c). */
static json_t *bytes_value(const char *path)
{
	json_t *value = json_string(path);
	size_t len = strlen(path);
	char *hex;

	if (value)
		return value;
	hex = xmalloc(2 * len + 1);
	hex_encode(path, len, hex);
	value = json_pack("{s:s}", "hex", hex);
	free(hex);
	return value;
}

json_t *where_request(const char *cmd, const char *path)
{
	return json_pack("{s:s, s:o}", "cmd", cmd, "path", bytes_value(path));
}

char *where_path(const char *where, const char *path)
{
	struct where w = { .store = NULL };
	size_t len = 0;
	char *out;

	if (where_find(where, &w, NULL) == 0 && w.mountpoint)
		len = strlen(w.mountpoint);
	if (len > 0 && strncmp(path, w.mountpoint, len) == 0 && (path[len] == '/' || path[len] == '\0'))
		path += len;
	out = xasprintf("%s%s", *path == '/' ? "" : "/", path);
	where_release(&w);
	return out;
}
