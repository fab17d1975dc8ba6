/* SPDX-License-Identifier: MIT */
#include "node/merge_command.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "util/util.h"

#define POLL_MS 5
#define PATH_VARIABLE "TWINFS_PATH="

extern char **environ;

/* Ours, with the path in it; malloc'd array, the first string too. */
static char **environment(const char *path)
{
	size_t n = 0, at = 1;
	char **env;

	while (environ[n])
		n++;
	env = xmalloc((n + 2) * sizeof(*env));
	env[0] = xasprintf(PATH_VARIABLE "%s", path);
	for (size_t i = 0; i < n; i++)
		if (strncmp(environ[i], PATH_VARIABLE, strlen(PATH_VARIABLE)) != 0)
			env[at++] = environ[i];
	env[at] = NULL;
	return env;
}

static int set_up(posix_spawn_file_actions_t *files, posix_spawnattr_t *attr, const char *dir)
{
	sigset_t none, usual;
	int e;

	sigemptyset(&none);
	sigfillset(&usual);
	e = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	if (!e)
		e = posix_spawnattr_setsigmask(attr, &none);
	if (!e)
		e = posix_spawnattr_setsigdefault(attr, &usual);
	if (!e)
		e = posix_spawn_file_actions_addchdir_np(files, dir);
	if (!e)
		e = posix_spawn_file_actions_addopen(files, 0, "/dev/null", O_RDONLY, 0);
	if (!e)
		e = posix_spawn_file_actions_addopen(files, 1, "merged", O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (!e)
		e = posix_spawn_file_actions_addopen(files, 2, "/dev/null", O_WRONLY, 0);
	return -e;
}

static int start(const char *command, const char *dir, const char *path, pid_t *pid)
{
	/* The limit (in blocks of 512 bytes) keeps a runaway program from filling the disk. */
	char *script = xasprintf("ulimit -f %llu; %s \"$@\"", (unsigned long long)DRIVER_FILE_MAX_BYTES / 512, command);
	char *argv[] = { (char *)(uintptr_t)"sh",   (char *)(uintptr_t)"-c",   script,
		         (char *)(uintptr_t)"sh",   (char *)(uintptr_t)"base", (char *)(uintptr_t)"ours",
		         (char *)(uintptr_t)"theirs", NULL };
	char **env = environment(path);
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	int rc;

	posix_spawn_file_actions_init(&files);
	posix_spawnattr_init(&attr);
	rc = set_up(&files, &attr, dir);
	if (!rc)
		rc = -posix_spawn(pid, "/bin/sh", &files, &attr, argv, env);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
	free(env[0]);
	free(env);
	free(script);
	return rc;
}

int merge_command_run(void *ctx, const char *command, const char *dir, const char *path, struct err *err)
{
	const struct timespec step = { .tv_nsec = POLL_MS * 1000000L };
	uint64_t until_ms = clock_mono_ms() + MERGE_COMMAND_LIMIT_MS;
	pid_t pid, got;
	int status = 0, rc = start(command, dir, path, &pid);

	(void)ctx;
	if (rc)
		return err_set(err, rc, "it cannot be started: %s", strerror(-rc));
	while ((got = waitpid(pid, &status, WNOHANG)) == 0 && clock_mono_ms() < until_ms)
		nanosleep(&step, NULL);
	/* What it left running goes with it. */
	kill(-pid, SIGKILL);
	if (got == 0) {
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
		return err_set(err, -ETIMEDOUT, "it took longer than %u s", MERGE_COMMAND_LIMIT_MS / 1000);
	}
	if (got < 0)
		return err_set(err, -ECHILD, "it was lost");
	if (WIFSIGNALED(status))
		return err_set(err, -ECANCELED, "it died of signal %d", WTERMSIG(status));
	if (WEXITSTATUS(status) != 0)
		return err_set(err, -ECANCELED, "it exited with %d", WEXITSTATUS(status));
	return 0;
}
