/* SPDX-License-Identifier: MIT */
/*
 * err: the one error idiom of twinfs.
 *
 * A function that can fail returns 0 (or a useful non-negative count) on success and a negative errno value on
 * failure. Where a person will read about the failure the function also takes `struct err *err` as its last
 * parameter and fills it exactly when it returns a negative value: one line that says what failed, on what, and
 * what to do about it. `err` may be NULL when the caller does not want the text.
 *
 * Own mistakes are asserted, never reported this way; what comes from a peer, a disk or a user is always reported
 * this way and never asserted. Only the boundary (fuse/, cli/) turns an error into an errno or an exit code.
 *
 * Threads: a struct err belongs to one thread at a time.
 */
#ifndef TWINFS_UTIL_ERR_H
#define TWINFS_UTIL_ERR_H

/* Long enough for two paths and a sentence; longer texts are cut at the end, never overflow. */
#define ERR_TEXT_MAX_BYTES 1024

struct err {
	int code; /* negative errno, 0 while nothing has failed */
	char text[ERR_TEXT_MAX_BYTES];
};

#define ERR_INIT { .code = 0, .text = "" }

/* Set the text and return `code` (which must be negative). Safe with err == NULL. Does not change errno. */
int err_set(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Put "PREFIX: " before the text that is already there; returns err's code (or -EIO if err is NULL). */
int err_prefix(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The text, or strerror of the code if there is none; never NULL. */
const char *err_text(const struct err *err);

#endif
