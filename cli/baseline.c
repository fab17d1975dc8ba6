/* SPDX-License-Identifier: MIT */
/* baseline: ls, cat and restore of the tree as both sides last had it. */
#include "cli/cli.h"

#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "util/util.h"

/* ---- ls ---- */

/* A line for people, and the name it is sorted by. */
struct row {
	char *name, *line;
};

struct listing {
	bool json, recursive, any;
	char *dir; /* whose rows are collected; NULL: none yet */
	struct row *rows;
	size_t n, cap;
};

static char type_letter(const char *type)
{
	static const char *const types[] = { "file", "dir", "symlink", "fifo", "socket", "char", "block" };

	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		if (strcmp(types[i], type) == 0)
			return "-dlpscb"[i];
	return '?';
}

/* "-rwxr-xr-x" */
static void mode_words(const json_t *e, char out[11])
{
	unsigned long mode = strtoul(text_of(e, "mode"), NULL, 8);

	out[0] = type_letter(text_of(e, "type"));
	for (int i = 0; i < 9; i++)
		out[1 + i] = mode & (0400u >> i) ? "rwx"[i % 3] : '-';
	if (mode & 04000)
		out[3] = mode & 0100 ? 's' : 'S';
	if (mode & 02000)
		out[6] = mode & 010 ? 's' : 'S';
	if (mode & 01000)
		out[9] = mode & 1 ? 't' : 'T';
	out[10] = '\0';
}

static void owner_words(const json_t *e, char out[80])
{
	uid_t uid = (uid_t)number_of(e, "uid");
	gid_t gid = (gid_t)number_of(e, "gid");
	const struct passwd *pw = getpwuid(uid);
	const struct group *gr = getgrgid(gid);
	char user[36], group[36];

	snprintf(user, sizeof(user), pw ? "%.35s" : "%.0s%u", pw ? pw->pw_name : "", (unsigned)uid);
	snprintf(group, sizeof(group), gr ? "%.35s" : "%.0s%u", gr ? gr->gr_name : "", (unsigned)gid);
	snprintf(out, 80, "%-8s %-8s", user, group);
}

static char *row_words(const json_t *e)
{
	char mode[11], owner[80], size[32], when[32] = "?";
	char *name = printable(text_of(e, "name")), *target = printable(text_of(e, "target")), *line;
	time_t t = (time_t)parse_rfc3339(text_of(e, "mtime"));
	uint64_t rdev = number_of(e, "rdev");
	struct tm tm;

	mode_words(e, mode);
	owner_words(e, owner);
	if (json_object_get(e, "rdev"))
		snprintf(size, sizeof(size), "%u, %u", major((dev_t)rdev), minor((dev_t)rdev));
	else
		snprintf(size, sizeof(size), "%" PRIu64, number_of(e, "size"));
	if (localtime_r(&t, &tm))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M", &tm);
	line = xasprintf("%s %2" PRIu64 " %s %10s %s %s%s%s", mode, number_of(e, "links"), owner, size,
	                 when, name, *target ? " -> " : "", target);
	free(name);
	free(target);
	return line;
}

static int row_cmp(const void *a, const void *b)
{
	return strcmp(((const struct row *)a)->name, ((const struct row *)b)->name);
}

/* Print and forget what was collected. */
static void rows_flush(struct listing *l)
{
	if (l->dir && l->recursive) {
		char *dir = printable(l->dir);

		printf("%s%s:\n", l->any ? "\n" : "", dir);
		free(dir);
	}
	l->any |= l->dir != NULL;
	if (l->n > 1)
		qsort(l->rows, l->n, sizeof(*l->rows), row_cmp);
	for (size_t i = 0; i < l->n; i++) {
		puts(l->rows[i].line);
		free(l->rows[i].name);
		free(l->rows[i].line);
	}
	l->n = 0;
}

/* One entry of the array. */
static void print_one(struct listing *l, const json_t *e)
{
	json_t *copy = json_copy((json_t *)(uintptr_t)e);
	char *path = l->dir ? xasprintf("%s/%s", strcmp(l->dir, "/") == 0 ? "" : l->dir, text_of(e, "name"))
	                    : xstrdup(text_of(e, "name"));

	json_object_set_new(copy, "path", json_string(path));
	fputs(l->any ? ",\n  " : "[\n  ", stdout);
	json_dumpf(copy, stdout, 0);
	l->any = true;
	json_decref(copy);
	free(path);
}

static int take_line(void *ctx, const json_t *line)
{
	struct listing *l = ctx;
	const char *dir = json_string_value(json_object_get(line, "dir"));

	if (dir) {
		if (!l->json && (l->dir || l->n))
			rows_flush(l);
		free(l->dir);
		l->dir = xstrdup(dir);
	} else if (l->json) {
		print_one(l, line);
	} else {
		if (l->n == l->cap) {
			l->cap = l->cap ? l->cap * 2 : 64;
			l->rows = xrealloc(l->rows, l->cap * sizeof(*l->rows));
		}
		l->rows[l->n++] = (struct row){ xstrdup(text_of(line, "name")), row_words(line) };
	}
	return ferror(stdout) ? -EPIPE : 0;
}

static int list(const char *where, const char *path, bool recursive, bool json)
{
	struct listing l = { .json = json, .recursive = recursive };
	const struct control_sink sink = { .line = take_line, .ctx = &l };
	struct err err = ERR_INIT;
	json_t *reply = NULL;
	json_t *request = where_request("baseline-ls", path);
	int rc;

	json_object_set_new(request, "recursive", json_boolean(recursive));
	rc = where_stream(where, request, &sink, &reply, &err);
	if (!json)
		rows_flush(&l);
	else if (!rc)
		puts(l.any ? "\n]" : "[]");
	free(l.dir);
	free(l.rows);
	json_decref(reply);
	return rc ? fail(&err) : EXIT_OK;
}

/* ---- cat, restore ---- */

static int take_data(void *ctx, const void *data, size_t len_bytes)
{
	(void)ctx;
	return fwrite(data, 1, len_bytes, stdout) == len_bytes ? 0 : -errno;
}

static int cat(const char *where, const char *path)
{
	const struct control_sink sink = { .data = take_data };
	struct err err = ERR_INIT;
	json_t *reply = NULL;
	int rc = where_stream(where, where_request("baseline-cat", path), &sink, &reply, &err);

	json_decref(reply);
	if (!rc && fflush(stdout) != 0)
		rc = err_set(&err, -errno, "cannot write: %s", strerror(errno));
	return rc ? fail(&err) : EXIT_OK;
}

static int restore(const char *where, const char *path, bool json)
{
	struct err err = ERR_INIT;
	json_t *reply = NULL, *kept;
	char size[32];
	size_t i;
	int rc = where_ask(where, where_request("baseline-restore", path), &reply, &err);

	if (rc)
		return fail(&err);
	if (json) {
		json_object_del(reply, "ok");
		print_json(reply);
	} else if (number_of(reply, "restored") == 0) {
		printf("%s: nothing to do, it is as it was\n", path);
	} else {
		print_bytes(size, number_of(reply, "bytes"));
		printf("%s: restored, %" PRIu64 " %s, %s\n", path, number_of(reply, "files"),
		       number_of(reply, "files") == 1 ? "entry" : "entries", size);
		json_array_foreach(json_object_get(reply, "kept"), i, kept) {
			char *clean = printable(json_string_value(kept) ?: "");

			printf("what was there is kept: %s\n", clean);
			free(clean);
		}
	}
	json_decref(reply);
	return EXIT_OK;
}

int cmd_baseline(const struct command *c, int argc, char **argv)
{
	const char *pos[3];
	bool json = false, recursive = false;
	const struct option_def options[] = { { "json", 'j', NULL, &json }, { "recursive", 'R', NULL, &recursive } };
	char *path;
	int rc = args_parse(c, argc, argv, options, ARRAY_LEN(options), pos, 2, 3);

	if (rc >= 0)
		return rc;
	if (!pos[2] && strcmp(pos[1], "ls") != 0)
		return usage_error(c, "%.20s of what? Give a path (/ is all of the volume)", pos[1]);
	path = where_path(pos[0], pos[2] ? pos[2] : "/");
	if (strcmp(pos[1], "ls") == 0)
		rc = list(pos[0], path, recursive, json);
	else if (strcmp(pos[1], "cat") == 0)
		rc = cat(pos[0], path);
	else if (strcmp(pos[1], "restore") == 0)
		rc = restore(pos[0], path, json);
	else
		rc = usage_error(c, "\"%.100s\" is none of ls, cat, restore", pos[1]);
	free(path);
	return rc;
}
