/* SPDX-License-Identifier: MIT */
/*
 * log: lines for the person who runs the mount. stderr while in the foreground, syslog in the background.
 * Every line carries the level, the thread's name and the text; errno is preserved. Any thread, any time.
 * TWINFS_DEBUG=area,area in the environment turns on log_debug() for these areas ("all" for every one).
 */
#ifndef TWINFS_UTIL_LOG_H
#define TWINFS_UTIL_LOG_H

#include <stdbool.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool log_debug_on(const char *area);
void log_to_syslog(bool on);
/* Name the calling thread (at most 15 bytes, as the kernel's). */
void log_thread_name(const char *name);

#define log_error(...) log_line(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(area, ...)                                       \
	do {                                                       \
		if (log_debug_on(area))                            \
			log_line(LOG_LEVEL_DEBUG, area ": " __VA_ARGS__); \
	} while (0)

#endif
