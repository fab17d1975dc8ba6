/* SPDX-License-Identifier: MIT */
#include "fuse/former.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuse/internal.h"
#include "util/util.h"

#define LOG_SUFFIX "-wal"
/* Behind the path of what is no more there by that name, as the kernel knows. */
#define GONE " (deleted)"

/* The kernel's fs/fuse/inode.c: the node in two halves, and its generation. */
#define HANDLE_BYTES 12u

/* 0: it cannot be told. */
static uint64_t node_of(int fds, const char *fd)
{
	union {
		struct file_handle head;
		uint8_t room[sizeof(struct file_handle) + HANDLE_BYTES];
	} h = { .head = { .handle_bytes = HANDLE_BYTES } };
	uint32_t half[2];
	int mount;

	if (name_to_handle_at(fds, fd, &h.head, &mount, AT_SYMLINK_FOLLOW) != 0 || h.head.handle_bytes != HANDLE_BYTES)
		return 0;
	memcpy(half, h.head.f_handle, sizeof(half));
	return (uint64_t)half[0] << 32 | half[1];
}

/* Was it opened by that path? */
static bool is_path(int fds, const char *fd, const char *path)
{
	char link[PATH_MAX + sizeof(GONE)];
	ssize_t n = readlinkat(fds, fd, link, sizeof(link) - 1);
	size_t len = strlen(path);

	if (n < 0 || (size_t)n < len || memcmp(link, path, len) != 0)
		return false;
	link[n] = '\0';
	return link[len] == '\0' || strcmp(link + len, GONE) == 0;
}

static bool has_another_open(struct front *f, pid_t pid, const char *path, uint64_t ino)
{
	char name[64];
	struct dirent *e;
	bool another = false;
	DIR *d;

	snprintf(name, sizeof(name), "/proc/%ld/fd", (long)pid);
	d = opendir(name);
	while (d && !another && (e = readdir(d))) {
		uint64_t node = is_path(dirfd(d), e->d_name, path) ? node_of(dirfd(d), e->d_name) : 0;

		another = node != 0 && nodes_inode(&f->nodes, node) != ino;
	}
	if (d)
		closedir(d);
	return another;
}

bool former_log(struct front *f, pid_t pid, uint64_t parent, const char *name)
{
	size_t len = strlen(name), suffix = strlen(LOG_SUFFIX);
	char base[NAME_MAX_BYTES + 1], *dir, *path;
	struct attr a;
	bool former;

	if (pid <= 0 || len <= suffix || len > NAME_MAX_BYTES || strcmp(name + len - suffix, LOG_SUFFIX) != 0)
		return false;
	snprintf(base, sizeof(base), "%.*s", (int)(len - suffix), name);
	if (volume_lookup(f->v, parent, base, &a) < 0 || !(dir = volume_path(f->v, parent)))
		return false;
	path = xasprintf("%s%s/%s", f->mountpoint, strcmp(dir, "/") == 0 ? "" : dir, base);
	former = has_another_open(f, pid, path, a.ino);
	free(path);
	free(dir);
	return former;
}
