/* SPDX-License-Identifier: MIT */
#include "util/dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/util.h"

int dir_sync(const char *path, struct err *err)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = fd >= 0 && fsync(fd) == 0 ? 0 : -errno;

	if (fd >= 0)
		close(fd);
	return rc ? err_set(err, rc, "cannot flush the directory %s: %s", path, strerror(-rc)) : 0;
}

int dir_sync_parent(const char *path, struct err *err)
{
	size_t len = strlen(path);
	char *parent;
	int rc;

	while (len > 1 && path[len - 1] == '/')
		len--;
	while (len > 0 && path[len - 1] != '/')
		len--;
	while (len > 1 && path[len - 1] == '/')
		len--;
	parent = len ? xstrndup(path, len) : xstrdup(".");
	rc = dir_sync(parent, err);
	free(parent);
	return rc;
}
