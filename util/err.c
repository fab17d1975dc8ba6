/* SPDX-License-Identifier: MIT */
#include "util/err.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *err, int code, const char *fmt, ...)
{
	int saved_errno = errno;
	char text[ERR_TEXT_MAX_BYTES];
	va_list ap;

	assert(code < 0);
	if (err) {
		/* Through a local: an argument may be err->text itself. */
		va_start(ap, fmt);
		vsnprintf(text, sizeof(text), fmt, ap);
		va_end(ap);
		memcpy(err->text, text, sizeof(text));
		err->code = code;
	}
	errno = saved_errno;
	return code;
}

int err_prefix(struct err *err, const char *fmt, ...)
{
	int saved_errno = errno;
	char text[2 * ERR_TEXT_MAX_BYTES + 2]; /* holds both in full: cut once, at the end */
	size_t len;
	va_list ap;

	if (!err)
		return -EIO;
	assert(err->code < 0);
	va_start(ap, fmt);
	vsnprintf(text, ERR_TEXT_MAX_BYTES, fmt, ap);
	va_end(ap);
	len = strlen(text);
	snprintf(text + len, sizeof(text) - len, ": %s", err_text(err));
	text[ERR_TEXT_MAX_BYTES - 1] = '\0';
	memcpy(err->text, text, ERR_TEXT_MAX_BYTES);
	errno = saved_errno;
	return err->code;
}

const char *err_text(const struct err *err)
{
	if (!err)
		return "unknown error";
	return err->text[0] ? err->text : strerror(-err->code);
}
