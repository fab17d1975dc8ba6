/* SPDX-License-Identifier: MIT */
#include "node/logger.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "util/log.h"
#include "util/util.h"

/* Enough for days of trouble; two of them are what a full disk can bear. */
#define FILE_MAX_BYTES (1 << 20)
/* A line of util/log is at most this long; a longer one is split. */
#define LINE_BYTES 4096

static struct {
	pthread_t thread;
	char *path, *old_path;
	int pipe_fd, file_fd;
	off_t file_bytes;
} g = { .pipe_fd = -1, .file_fd = -1 };

static int file_open(void)
{
	struct stat st;
	int fd = open(g.path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	g.file_bytes = fstat(fd, &st) == 0 ? st.st_size : 0;
	if (g.file_fd >= 0)
		close(g.file_fd);
	g.file_fd = fd;
	return 0;
}

static void line_out(const char *line, size_t len_bytes)
{
	char when[21];
	int n;

	time_rfc3339(clock_real_ms(), when);
	if (g.file_bytes > FILE_MAX_BYTES && rename(g.path, g.old_path) == 0)
		(void)file_open(); /* failing, lines go on into the old file */
	n = dprintf(g.file_fd, "%s %.*s\n", when, (int)len_bytes, line);
	if (n > 0)
		g.file_bytes += n;
	syslog(strstr(line, "error:") ? LOG_ERR : LOG_INFO, "%.*s", (int)len_bytes, line);
}

static void *logger_main(void *arg)
{
	char buf[LINE_BYTES + 1];
	size_t have = 0;
	ssize_t n;

	(void)arg;
	log_thread_name("logger");
	while ((n = read(g.pipe_fd, buf + have, LINE_BYTES - have)) > 0 || (n < 0 && errno == EINTR)) {
		char *start = buf, *newline;

		have += n > 0 ? (size_t)n : 0;
		while ((newline = memchr(start, '\n', have - (size_t)(start - buf)))) {
			*newline = '\0';
			line_out(start, (size_t)(newline - start));
			start = newline + 1;
		}
		have -= (size_t)(start - buf);
		memmove(buf, start, have);
		if (have == LINE_BYTES) {
			buf[have] = '\0';
			line_out(buf, have);
			have = 0;
		}
	}
	if (have > 0) {
		buf[have] = '\0';
		line_out(buf, have);
	}
	return NULL;
}

/* Only async-signal-safe calls. The handler is reset (SA_RESETHAND), so returning or raising again ends the process as
 * it would have. */
static void last_words(int sig)
{
	char buf[512];
	struct pollfd p = { .fd = g.pipe_fd, .events = POLLIN };
	ssize_t n;

	while (poll(&p, 1, 0) > 0 && (n = read(g.pipe_fd, buf, sizeof(buf))) > 0)
		if (write(g.file_fd, buf, (size_t)n) < 0)
			break;
	raise(sig);
}

static void catch_fatal(void)
{
	static const int fatal[] = { SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL };
	struct sigaction sa = { .sa_handler = last_words, .sa_flags = (int)SA_RESETHAND };

	sigemptyset(&sa.sa_mask);
	for (size_t i = 0; i < ARRAY_LEN(fatal); i++)
		sigaction(fatal[i], &sa, NULL);
}

int logger_start(const char *store, struct err *err)
{
	int fds[2], null_fd, rc;

	g.path = xasprintf("%s/%s", store, LOGGER_FILE);
	g.old_path = xasprintf("%s.1", g.path);
	rc = file_open();
	if (rc)
		return err_set(err, rc, "cannot write %s: %s; check the store's permissions", g.path, strerror(-rc));
	null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null_fd < 0 || pipe2(fds, O_CLOEXEC) < 0)
		return err_set(err, -errno, "cannot start the log: %s", strerror(errno));
	g.pipe_fd = fds[0];
	openlog("twinfs", LOG_PID, LOG_DAEMON);
	rc = pthread_create(&g.thread, NULL, logger_main, NULL);
	if (rc)
		return err_set(err, -rc, "cannot start the log: %s", strerror(rc));
	dup2(null_fd, STDIN_FILENO);
	dup2(null_fd, STDOUT_FILENO);
	dup2(fds[1], STDERR_FILENO);
	close(fds[1]);
	close(null_fd);
	catch_fatal();
	return 0;
}

void logger_stop(void)
{
	int null_fd;

	if (g.pipe_fd < 0)
		return;
	fflush(stderr);
	null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null_fd < 0)
		return;
	dup2(null_fd, STDERR_FILENO); /* was the pipe's only writing end: the thread sees its end */
	close(null_fd);
	pthread_join(g.thread, NULL);
	close(g.pipe_fd);
	close(g.file_fd);
	g.pipe_fd = g.file_fd = -1;
	free(g.path);
	free(g.old_path);
}
