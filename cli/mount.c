/* SPDX-License-Identifier: MIT */
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "node/control.h"
#include "node/mounts.h"
#include "node/node.h"
#include "node/store.h"
#include "util/util.h"

/* What the child says when it is mounted or has failed: "ok\n" or "error TEXT\n". 0, or -errno with a text. */
static int ready_wait(int fd, pid_t child, struct err *err)
{
	char text[ERR_TEXT_MAX_BYTES + 16], *newline;
	size_t len = 0;
	ssize_t n;
	int status;

	while (len < sizeof(text) - 1 &&
	       ((n = read(fd, text + len, sizeof(text) - 1 - len)) > 0 || (n < 0 && errno == EINTR)))
		len += n > 0 ? (size_t)n : 0;
	text[len] = '\0';
	newline = strchr(text, '\n');
	if (newline)
		*newline = '\0';
	if (newline && strcmp(text, "ok") == 0)
		return 0;
	waitpid(child, &status, 0); /* it cleans up what it began; then a next try finds nothing in its way */
	if (newline && strncmp(text, "error ", 6) == 0)
		return err_set(err, -EIO, "%s", text + 6);
	return err_set(err, -EIO, "the mount ended before it was ready; run it with -f to see why");
}

static int mount_in_background(struct node_options *opt, struct err *err)
{
	int fds[2], rc;
	pid_t child;

	if (pipe(fds) < 0)
		return err_set(err, -errno, "cannot make a pipe: %s", strerror(errno));
	fflush(NULL);
	child = fork();
	if (child < 0)
		return err_set(err, -errno, "cannot start a process: %s", strerror(errno));
	if (child == 0) {
		setsid();
		if (chdir("/") < 0)
			_exit(EXIT_FAILED);
		opt->ready_fd = dup2(fds[1], 3);
		close_range(4, ~0U, 0); /* what the shell or a script had open is not ours to keep */
		_exit(node_run(opt, err) ? EXIT_FAILED : EXIT_OK);
	}
	close(fds[1]);
	rc = ready_wait(fds[0], child, err);
	close(fds[0]);
	return rc;
}

static bool has_word(const char *options, const char *word)
{
	size_t len = strlen(word);

	for (const char *p = options; p && *p; p += strcspn(p, ",") + (p[strcspn(p, ",")] == ','))
		if (strncmp(p, word, len) == 0 && (p[len] == ',' || p[len] == '\0'))
			return true;
	return false;
}

/* The options without that word; malloc'd, NULL if nothing is left. */
static char *without_word(const char *options, const char *word)
{
	char *copy = xstrdup(options), *save = NULL, *out = NULL;

	for (char *one = strtok_r(copy, ",", &save); one; one = strtok_r(NULL, ",", &save)) {
		char *longer;

		if (strcmp(one, word) == 0)
			continue;
		longer = out ? xasprintf("%s,%s", out, one) : xstrdup(one);
		free(out);
		out = longer;
	}
	free(copy);
	return out;
}

/* Who has the store open serves its baseline beside it. -ENOTCONN without a text: nobody has. */
static int mount_beside(const struct node_options *opt, struct err *err)
{
	json_t *request = json_pack("{s:s, s:s, s:s*}", "cmd", "baseline-mount", "mountpoint", opt->mountpoint,
	                            "options", opt->mount_options);
	json_t *reply = NULL;
	int rc = request ? control_call(opt->store, request, 0, NULL, &reply, err)
	                 : err_set(err, -EINVAL, "the path %s is not UTF-8; choose another mountpoint",
	                           opt->mountpoint);

	json_decref(request);
	json_decref(reply);
	return rc;
}

static int mount_baseline(struct node_options *opt, struct err *err)
{
	char *options = without_word(opt->mount_options, "baseline");
	bool foreground = !opt->background;
	int rc;

	opt->mount_options = options;
	opt->baseline = true;
	rc = mount_beside(opt, err);
	if (rc == 0 && foreground)
		fprintf(stderr, "twinfs: the mount of %s serves %s; -f has no effect\n", opt->store, opt->mountpoint);
	if (rc == -ENOTCONN && !err->code)
		rc = foreground ? node_run(opt, err) : mount_in_background(opt, err);
	free(options);
	return rc;
}

int cmd_mount(const struct command *c, int argc, char **argv)
{
	const char *pos[2], *options = NULL;
	bool foreground = false;
	const struct option_def defs[] = { { "options", 'o', &options, NULL },
		                           { "foreground", 'f', NULL, &foreground } };
	struct node_options opt = { .ready_fd = -1 };
	struct err err = ERR_INIT;
	char *store, *mountpoint;
	int rc = args_parse(c, argc, argv, defs, ARRAY_LEN(defs), pos, 2, 2);

	if (rc >= 0)
		return rc;
	if (has_word(options, "remount")) {
		mountpoint = path_of_mountpoint(pos[1]);
		rc = node_remount(mountpoint, options, &err);
		free(mountpoint);
		return rc ? fail(&err) : EXIT_OK;
	}
	store = realpath(pos[0], NULL);
	if (!store) {
		err_set(&err, -errno, "cannot use the store %s: %s; make one with twinfs init or twinfs join", pos[0],
		        strerror(errno));
		return fail(&err);
	}
	if (!store_is(store)) {
		if (store_is_closed(store))
			err_set(&err, -EACCES, "this user may not look into %s; mount a store as its owner", store);
		else
			err_set(&err, -EINVAL, "%s is not a twinfs store; make one with twinfs init or twinfs join",
			        store);
		free(store);
		return fail(&err);
	}
	mountpoint = path_of_mountpoint(pos[1]);
	opt.store = store;
	opt.mountpoint = mountpoint;
	opt.mount_options = options;
	opt.background = !foreground;
	if (has_word(options, "baseline"))
		rc = mount_baseline(&opt, &err);
	else
		rc = foreground ? node_run(&opt, &err) : mount_in_background(&opt, &err);
	free(store);
	free(mountpoint);
	return rc ? fail(&err) : EXIT_OK;
}
