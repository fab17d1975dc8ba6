/* SPDX-License-Identifier: MIT */
/* diff: the versions of a conflict beside each other. They are fetched from whoever has the store open into a directory
 * of our own, so that it works mounted or not, and never touches a mount, which could be dead. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/util.h"

/* No diff of more can be read by a person, and it has to lie in the temporary directory. */
#define VERSION_MAX_BYTES (UINT64_C(64) << 20)
/* A file with a NUL in its beginning is not text; as diff(1) and git see it. */
#define HEAD_BYTES 8000u

enum which { BASE, LOCAL, PEER };
static const char *const which_words[] = { "base", "local", "peer" };

struct version {
	bool there, binary;
	char *file, *label; /* file: where its bytes are */
	uint64_t size, got;
	char type[16];
	char *target; /* of a symlink */
	int fd, rc;
};

struct comparison {
	const char *where, *path;
	char dir[64];
	json_t *conflict;
	struct version v[3];
};

/* ---- which conflict ---- */

static json_t *version_of(const json_t *conflict, const char *side)
{
	json_t *v;
	size_t i;

	json_array_foreach(json_object_get(conflict, "versions"), i, v)
		if (strcmp(text_of(v, "side"), side) == 0)
			return v;
	return NULL;
}

static bool has_files(const json_t *conflict)
{
	return *text_of(version_of(conflict, "local"), "path") && *text_of(version_of(conflict, "peer"), "path");
}

/* The newest of which both versions are there; or the newest. */
static json_t *choose(const json_t *list)
{
	json_t *c, *best = NULL;
	size_t i;

	json_array_foreach(list, i, c)
		if (!best || has_files(c) || !has_files(best))
			best = c;
	return best;
}

/* ---- fetch ---- */

static int take_bytes(void *ctx, const void *data, size_t len_bytes)
{
	struct version *v = ctx;
	size_t look = v->got < HEAD_BYTES ? MIN(len_bytes, (size_t)(HEAD_BYTES - v->got)) : 0;

	v->binary |= memchr(data, '\0', look) != NULL;
	v->got += len_bytes;
	for (const char *p = data; len_bytes > 0;) {
		ssize_t n = write(v->fd, p, len_bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len_bytes -= (size_t)n;
	}
	return 0;
}

/* One that is not kept is none. */
static int fetch(struct comparison *x, enum which which, struct err *err)
{
	const char *name = strrchr(x->path, '/') ? strrchr(x->path, '/') + 1 : x->path;
	const json_t *about = which == BASE ? NULL : version_of(x->conflict, which_words[which]);
	struct version *v = &x->v[which];
	const struct control_sink sink = { .data = take_bytes, .ctx = v };
	json_t *reply = NULL;
	int rc;

	v->file = xasprintf("%s/%s-%s", x->dir, which == BASE ? "base" : text_of(about, "node"), name);
	v->label = which == BASE ? xstrdup("before") : xasprintf("%s%s", text_of(about, "node"),
	                                                         which == LOCAL ? " (here)" : "");
	if (!*text_of(which == BASE ? json_object_get(x->conflict, "base") : about, "path"))
		return 0;
	v->fd = open(v->file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (v->fd < 0)
		return err_set(err, -errno, "cannot make %s: %s", v->file, strerror(errno));
	rc = where_stream(x->where,
	                  json_pack("{s:s, s:O, s:s, s:I}", "cmd", "conflict-cat", "id",
	                            json_object_get(x->conflict, "id"), "which", which_words[which], "max_bytes",
	                            (json_int_t)VERSION_MAX_BYTES),
	                  &sink, &reply, err);
	if (close(v->fd) != 0 && !rc)
		rc = err_set(err, -errno, "cannot write %s: %s", v->file, strerror(errno));
	if (!rc) {
		v->there = true;
		v->size = (uint64_t)json_integer_value(json_object_get(reply, "size"));
		snprintf(v->type, sizeof(v->type), "%s", text_of(reply, "type"));
		v->target = xstrdup(text_of(reply, "target"));
	}
	json_decref(reply);
	return rc;
}

/* ---- show ---- */

/* The program's exit code, or -errno. */
static int run(char *const argv[])
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		signal(SIGPIPE, SIG_DFL);
		execvp(argv[0], argv);
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE)
		return 0; /* whoever reads has seen enough */
	return WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
}

static int run_diff(const struct version *a, const struct version *b, struct err *err)
{
	char u[] = "-u", diff[] = "diff", label[] = "--label", end[] = "--";
	char *const argv[] = { diff, u, label, a->label, label, b->label, end, a->file, b->file, NULL };
	int rc = run(argv);

	if (rc == 127)
		return err_set(err, -ENOENT, "diff(1) is not installed; set TWINFS_DIFF to a program that compares "
		                             "files");
	return rc == 0 || rc == 1 ? 0 : err_set(err, -EIO, "diff %s %s failed", a->label, b->label);
}

/* TWINFS_DIFF gets the files, base first if there is one. */
static int run_tool(const struct comparison *x, const char *tool, struct err *err)
{
	char sh[] = "sh", c[] = "-c", *script = xasprintf("%s \"$@\"", tool);
	char *argv[8] = { sh, c, script, sh };
	int n = 4, rc;

	for (int i = BASE; i <= PEER; i++)
		if (x->v[i].there)
			argv[n++] = x->v[i].file;
	rc = run(argv);
	free(script);
	/* As of diff: 1 says that they differ. */
	return rc == 0 || rc == 1 ? 0 : err_set(err, -EIO, "TWINFS_DIFF (%.100s) failed with %d", tool, rc);
}

static bool is_type(const struct version *v, const char *type)
{
	return strcmp(v->type, type) == 0;
}

static void say_version(const struct version *v, const char *path)
{
	char *at = printable(path), *target = printable(v->target), size[32];

	print_bytes(size, v->size);
	printf("    %-20s %s", v->label, at);
	if (is_type(v, "symlink"))
		printf(" -> %s\n", target);
	else
		printf(", %s\n", is_type(v, "file")        ? size
		                 : is_type(v, "directory") ? "a directory"
		                                           : "a special file");
	free(at);
	free(target);
}

static void say_versions(const struct comparison *x, const char *why)
{
	char *path = printable(x->path);

	printf("%s: %s; the versions are\n", path, why);
	for (int i = BASE; i <= PEER; i++)
		if (x->v[i].there)
			say_version(&x->v[i], text_of(i == BASE ? json_object_get(x->conflict, "base")
			                                        : version_of(x->conflict, which_words[i]), "path"));
	free(path);
}

/* Directories, and what is too large to be fetched, are compared where they can be seen. */
static void say_where(const struct comparison *x)
{
	char *local = printable(text_of(version_of(x->conflict, "local"), "path"));
	char *peer = printable(text_of(version_of(x->conflict, "peer"), "path"));
	struct err err = ERR_INIT;
	struct where w;

	if (where_find(x->where, &w, &err) == 0) {
		if (w.mountpoint)
			printf("compare them with\n  diff -r '%s%s' '%s%s'\n", w.mountpoint, local, w.mountpoint, peer);
		where_release(&w);
	}
	free(local);
	free(peer);
}

static int show(const struct comparison *x, struct err *err)
{
	const char *tool = getenv("TWINFS_DIFF");
	bool files = true, binary = false, large = false;
	int rc;

	for (int i = BASE; i <= PEER; i++) {
		files &= !x->v[i].there || is_type(&x->v[i], "file");
		binary |= x->v[i].binary;
		large |= x->v[i].size > VERSION_MAX_BYTES;
	}
	if (!files || large) {
		say_versions(x, files ? "too large to be compared" : "not all of them are files");
		if (strcmp(x->v[LOCAL].type, x->v[PEER].type) == 0 && !is_type(&x->v[LOCAL], "symlink"))
			say_where(x);
		return 0;
	}
	if (tool && *tool)
		return run_tool(x, tool, err);
	if (binary) {
		say_versions(x, "binary");
		return 0;
	}
	if (!x->v[BASE].there)
		return run_diff(&x->v[LOCAL], &x->v[PEER], err);
	rc = run_diff(&x->v[BASE], &x->v[LOCAL], err);
	return rc ? rc : run_diff(&x->v[BASE], &x->v[PEER], err);
}

/* What has no files: a mode, an owner, a place. */
static void say_values(const struct comparison *x)
{
	char *path = printable(x->path);
	bool any = false;

	for (int i = LOCAL; i <= PEER; i++) {
		const json_t *v = version_of(x->conflict, which_words[i]);
		char *value = printable(text_of(v, "value"));

		if (*value)
			printf("%s: %s: %s\n", path, text_of(v, "node"), value);
		any |= *value != '\0';
		free(value);
	}
	if (!any)
		printf("%s: there are not two versions (any more)\n", path);
	free(path);
}

static int compare(struct comparison *x, struct err *err)
{
	const char *tmp = getenv("TMPDIR");
	int rc = 0;

	if (!has_files(x->conflict)) {
		say_values(x);
		return 0;
	}
	if (snprintf(x->dir, sizeof(x->dir), "%s/twinfs-diff.XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp") < 0 ||
	    !mkdtemp(x->dir))
		return err_set(err, -errno, "cannot make a directory in %s: %s", tmp ? tmp : "/tmp", strerror(errno));
	for (int i = BASE; !rc && i <= PEER; i++)
		rc = fetch(x, (enum which)i, err);
	if (!rc)
		rc = show(x, err);
	for (int i = BASE; i <= PEER; i++) {
		if (x->v[i].file)
			unlink(x->v[i].file);
		free(x->v[i].file);
		free(x->v[i].label);
		free(x->v[i].target);
	}
	rmdir(x->dir);
	return rc;
}

int conflict_diff(const char *where, const char *path)
{
	struct comparison x = { .where = where };
	struct err err = ERR_INIT;
	json_t *reply = NULL;
	char *in_volume = where_path(where, path);
	int rc = where_ask(where, where_request("conflicts", in_volume), &reply, &err);

	if (!rc) {
		x.conflict = choose(json_object_get(reply, "conflicts"));
		x.path = text_of(x.conflict, "path");
		rc = x.conflict ? compare(&x, &err)
		                : err_set(&err, -ENOENT, "no conflict of %s is known (twinfs conflicts lists them)",
		                          in_volume);
	}
	free(in_volume);
	json_decref(reply);
	return rc ? fail(&err) : EXIT_OK;
}
