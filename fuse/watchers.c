/* SPDX-License-Identifier: MIT */
#include "fuse/watchers.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "util/log.h"
#include "util/util.h"

#define TELL_MAX_S 1
/* linux/mount.h and the C library's sys/mount.h cannot both be included. */
#define TREE_CLONE 1u
#define TREE_CLOEXEC ((unsigned)O_CLOEXEC)

/* ---- the process: a copy of one with threads, so only what is safe in a signal handler ------------- */

/* Of what filesystem fd is; attributes as the kernel has them. */
static bool device_of(int fd, const char *path, struct statx *st)
{
	return statx(fd, path, AT_EMPTY_PATH | AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, 0, st) == 0;
}

static int open_root(const char *mountpoint, const struct statx *is)
{
	struct statx st;
	int fd = (int)syscall(SYS_open_tree, AT_FDCWD, mountpoint, TREE_CLONE | TREE_CLOEXEC);

	if (fd < 0)
		fd = open(mountpoint, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0 && (!device_of(fd, "", &st) || st.stx_dev_major != is->stx_dev_major ||
	                st.stx_dev_minor != is->stx_dev_minor)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static void touch(int root, const char *path)
{
	static const struct open_how how = {
		.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS,
	};
	int fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT } };
	struct statx st;

	if (fd < 0)
		return;
	/* The time that it has, so that nothing is changed whoever answers. */
	if (statx(fd, "", AT_EMPTY_PATH, STATX_MTIME, &st) == 0) {
		times[1] = (struct timespec){ .tv_sec = st.stx_mtime.tv_sec, .tv_nsec = st.stx_mtime.tv_nsec };
		utimensat(fd, "", times, AT_EMPTY_PATH);
	}
	close(fd);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

/* The path at hand and those that wait already, but for no longer than the mount may be held. */
static void touch_all(const char *mountpoint, const struct statx *is, char *path)
{
	int root = open_root(mountpoint, is);
	uint64_t until = now_ms() + WATCHERS_HOLD_MS;
	ssize_t n;

	while (root >= 0) {
		touch(root, path);
		if (now_ms() >= until)
			break;
		n = recv(0, path, PATH_MAX - 1, MSG_DONTWAIT);
		if (n <= 0)
			break;
		path[n] = '\0';
	}
	if (root >= 0)
		close(root);
}

_Noreturn static void watchers_main(int fd, const char *mountpoint, const struct statx *is)
{
	static char path[PATH_MAX];
	ssize_t n;

	setsid(); /* a signal for the daemon's process group is not for us */
	prctl(PR_SET_NAME, "twinfs-watchers");
	/* What the daemon has open or stands in must not stay in use because of us. */
	if (fd != 0)
		dup2(fd, 0);
	syscall(SYS_close_range, 1u, ~0u, 0u);
	if (chdir("/") != 0)
		_exit(1);
	while ((n = recv(0, path, PATH_MAX - 1, 0)) > 0) {
		path[n] = '\0';
		touch_all(mountpoint, is, path);
	}
	_exit(0); /* the daemon is gone, or about to be */
}

/* ---- the daemon ---------------------------------------------------------------------------------- */

static pid_t start(int fd, const char *mountpoint, const struct statx *is)
{
	sigset_t all, before;
	pid_t pid;

	/* All stays blocked there: what ends the daemon in an orderly way is no business of it. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = fork();
	if (pid == 0)
		watchers_main(fd, mountpoint, is);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return pid;
}

void watchers_start(struct watchers *w, const char *mountpoint)
{
	const struct timeval limit = { .tv_sec = TELL_MAX_S };
	struct statx is;
	int ends[2], err;

	*w = (struct watchers){ .pid = -1, .fd = -1 };
	/* Nobody answers yet: that is why it must not ask. */
	if (device_of(AT_FDCWD, mountpoint, &is) && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0) {
		w->pid = start(ends[1], mountpoint, &is);
		err = errno;
		close(ends[1]);
		errno = err;
		w->fd = ends[0];
		setsockopt(w->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	}
	if (w->pid < 0)
		log_warn("%s: inotify will not tell of the peer's changes: %s", mountpoint, strerror(errno));
}

void watchers_tell(const struct watchers *w, const char *path)
{
	const char *text = strcmp(path, "/") == 0 ? "." : path + 1;
	size_t len = strlen(text);

	if (w->pid < 0 || len >= PATH_MAX - 1)
		return;
	if (send(w->fd, text, len, MSG_NOSIGNAL) < 0)
		log_debug("fuse", "who watches is not told of %s: %s", path, strerror(errno));
}

bool watchers_ask(const struct watchers *w, pid_t pid)
{
	return w->pid > 0 && w->pid == pid;
}

void watchers_kill(struct watchers *w)
{
	if (w->pid > 0)
		kill(w->pid, SIGKILL);
	if (w->fd >= 0)
		shutdown(w->fd, SHUT_RDWR);
}

void watchers_reap(struct watchers *w)
{
	while (w->pid > 0 && waitpid(w->pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (w->fd >= 0)
		close(w->fd);
	*w = (struct watchers){ .pid = -1, .fd = -1 };
}
