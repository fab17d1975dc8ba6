/* SPDX-License-Identifier: MIT */
#include "fuse/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/log.h"

/* linux/mount.h and the C library's sys/mount.h cannot both be included. */
#define OPEN_CLOEXEC 1u
#define CONFIG_CREATE 6u
#define WAKE SIGUSR1

/* The control filesystem of FUSE as a directory of our own: in containers nobody mounts /sys/fs/fuse/connections. */
static int own_fusectl(void)
{
	int fs = (int)syscall(SYS_fsopen, "fusectl", OPEN_CLOEXEC), dir = -1;

	if (fs >= 0 && syscall(SYS_fsconfig, fs, CONFIG_CREATE, NULL, NULL, 0) == 0)
		dir = (int)syscall(SYS_fsmount, fs, OPEN_CLOEXEC, 0);
	if (fs >= 0)
		close(fs);
	return dir;
}

static int open_abort(const char *mountpoint)
{
	struct statx st;
	char path[80];
	int fd, dir;

	/* Without asking the filesystem: nobody answers yet. */
	if (statx(AT_FDCWD, mountpoint, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, 0, &st) != 0)
		return -1;
	snprintf(path, sizeof(path), "/sys/fs/fuse/connections/%u/abort", st.stx_dev_minor);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	dir = own_fusectl();
	if (dir < 0)
		return -1;
	snprintf(path, sizeof(path), "%u/abort", st.stx_dev_minor);
	fd = openat(dir, path, O_WRONLY | O_CLOEXEC);
	close(dir);
	return fd;
}

/* In a copy of a process with threads: only what is safe in a signal handler. */
_Noreturn static void guard_main(int fd, pid_t daemon, const sigset_t *wake)
{
	int got;

	setsid(); /* or who kills the daemon's process group kills us with it, when we are needed most */
	prctl(PR_SET_NAME, "twinfs-guard");
	prctl(PR_SET_PDEATHSIG, WAKE);
	/* What the daemon has open or stands in must not stay in use because of us. */
	if (fd != 0)
		dup2(fd, 0);
	syscall(SYS_close_range, 1u, ~0u, 0u);
	if (chdir("/") != 0)
		_exit(1);
	while (getppid() == daemon && sigwait(wake, &got) != 0)
		;
	if (write(0, "1", 1) != 1)
		_exit(1);
	_exit(0);
}

pid_t guard_start(const char *mountpoint)
{
	sigset_t all, before, wake;
	pid_t daemon = getpid(), pid;
	int fd = open_abort(mountpoint);

	if (fd < 0) {
		log_debug("fuse", "no guard for %s: its connection has no abort file here (%s)", mountpoint,
		          strerror(errno));
		return -1;
	}
	sigfillset(&all);
	sigemptyset(&wake);
	sigaddset(&wake, WAKE);
	/* All stays blocked in the guard: what ends the daemon in an orderly way is no business of it. */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = fork();
	if (pid == 0)
		guard_main(fd, daemon, &wake);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	close(fd);
	if (pid < 0)
		log_warn("no guard for %s: %s", mountpoint, strerror(errno));
	return pid;
}

/* Its first thread has ended, as that of a daemon never does alone; others of it have not, or somebody would have
 * reaped it. */
static bool is_dying(pid_t pid)
{
	char path[40], text[512], *end;
	bool dying = false;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	if (fgets(text, sizeof(text), file) && (end = strrchr(text, ')'))) /* "PID (NAME) STATE" */
		dying = strncmp(end, ") Z", 3) == 0;
	fclose(file);
	return dying;
}

bool guard_untie(const char *mountpoint, pid_t daemon)
{
	bool done;
	int fd;

	if (!is_dying(daemon))
		return false;
	fd = open_abort(mountpoint);
	if (fd < 0)
		return false;
	done = write(fd, "1", 1) == 1;
	close(fd);
	if (done)
		log_info("%s: was the mount of pid %d, which was killed and could not end: it can now", mountpoint,
		         (int)daemon);
	return done;
}

void guard_stop(pid_t guard)
{
	if (guard < 0)
		return;
	kill(guard, SIGKILL);
	while (waitpid(guard, NULL, 0) < 0 && errno == EINTR)
		;
}
