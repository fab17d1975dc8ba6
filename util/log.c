/* SPDX-License-Identifier: MIT */
#include "util/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>

/* Longer lines are cut: room for an error text with two paths and what stands around it. */
#define LINE_MAX_BYTES 2048
#define THREAD_NAME_BYTES 16 /* the kernel's TASK_COMM_LEN */

static atomic_bool g_syslog;
static _Thread_local char t_name[THREAD_NAME_BYTES];

static const struct {
	const char *word;
	int priority;
} levels[] = {
	[LOG_LEVEL_ERROR] = { "error", LOG_ERR },
	[LOG_LEVEL_WARN] = { "warning", LOG_WARNING },
	[LOG_LEVEL_INFO] = { "info", LOG_INFO },
	[LOG_LEVEL_DEBUG] = { "debug", LOG_DEBUG },
};

/* One line stays one line, whatever names from a peer or a user are in it. */
static void blank_controls(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			*s = ' ';
}

void log_line(enum log_level level, const char *fmt, ...)
{
	int saved_errno = errno;
	char text[LINE_MAX_BYTES];
	const char *thread = t_name[0] ? t_name : "main";
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	blank_controls(text);
	if (atomic_load(&g_syslog))
		syslog(levels[level].priority, "%s: [%s] %s", levels[level].word, thread, text);
	else
		fprintf(stderr, "twinfs: %s: [%s] %s\n", levels[level].word, thread, text);
	errno = saved_errno;
}

bool log_debug_on(const char *area)
{
	const char *p = getenv("TWINFS_DEBUG");
	size_t area_len = strlen(area);

	while (p && *p) {
		size_t len = strcspn(p, ",");

		if ((len == 3 && !strncmp(p, "all", 3)) || (len == area_len && !strncmp(p, area, len)))
			return true;
		p += len;
		p += *p == ',';
	}
	return false;
}

void log_to_syslog(bool on)
{
	if (on)
		openlog("twinfs", LOG_PID, LOG_DAEMON);
	atomic_store(&g_syslog, on);
}

void log_thread_name(const char *name)
{
	snprintf(t_name, sizeof(t_name), "%s", name);
	pthread_setname_np(pthread_self(), t_name);
}
