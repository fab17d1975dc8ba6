/* SPDX-License-Identifier: MIT */
#include "node/mounts.h"

#include <errno.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/log.h"
#include "util/util.h"

#define FS_TYPE "fuse.twinfs"
#define FS_TYPE_BASELINE "fuse.twinfs-baseline"

/* mountinfo writes space, tab, newline and backslash as \ooo. */
static char *unescaped(const char *s)
{
	char *out = xstrdup(s), *to = out;

	while (*s) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' && s[3] >= '0' &&
		    s[3] <= '7') {
			*to++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
			s += 4;
		} else {
			*to++ = *s++;
		}
	}
	*to = '\0';
	return out;
}

/* "id parent dev root MOUNTPOINT options tags - TYPE SOURCE options"; false if it is of another type. Cuts `line` up.
 */
static bool line_parse(char *line, const char *wanted, struct mount_entry *out)
{
	char *dash = strstr(line, " - "), *save = NULL, *field, *type, *source;

	if (!dash)
		return false;
	*dash = '\0';
	type = strtok_r(dash + 3, " \n", &save);
	source = strtok_r(NULL, " \n", &save);
	if (!type || !source || strcmp(type, wanted) != 0)
		return false;
	field = strtok_r(line, " ", &save);
	for (int i = 0; i < 4 && field; i++)
		field = strtok_r(NULL, " ", &save);
	if (!field)
		return false;
	*out = (struct mount_entry){ .store = unescaped(source), .mountpoint = unescaped(field) };
	return true;
}

static void list_of(const char *type, struct mount_entry **out, size_t *n)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	struct mount_entry entry;
	char *line = NULL;
	size_t cap = 0;

	*out = NULL;
	*n = 0;
	if (!file)
		return;
	while (getline(&line, &cap, file) > 0) {
		if (!line_parse(line, type, &entry))
			continue;
		*out = xrealloc(*out, (*n + 1) * sizeof(**out));
		(*out)[(*n)++] = entry;
	}
	free(line);
	fclose(file);
}

void mounts_list(struct mount_entry **out, size_t *n)
{
	list_of(FS_TYPE, out, n);
}

void mounts_free(struct mount_entry *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(list[i].store);
		free(list[i].mountpoint);
	}
	free(list);
}

/* The last one wins: it is on top. */
static char *find(const char *type, const char *path, bool by_mountpoint)
{
	struct mount_entry *list;
	char *found = NULL;
	size_t n;

	list_of(type, &list, &n);
	for (size_t i = 0; i < n; i++) {
		if (strcmp(by_mountpoint ? list[i].mountpoint : list[i].store, path) != 0)
			continue;
		free(found);
		found = xstrdup(by_mountpoint ? list[i].store : list[i].mountpoint);
	}
	mounts_free(list, n);
	return found;
}

char *mounts_store_at(const char *mountpoint)
{
	return find(FS_TYPE, mountpoint, true);
}

char *mounts_of_store(const char *store)
{
	return find(FS_TYPE, store, false);
}

char *mounts_of_baseline(const char *store)
{
	return find(FS_TYPE_BASELINE, store, false);
}

/* By the helper that may do it for people who are not root. */
static int detach_by_helper(const char *mountpoint)
{
	const char *const argv[] = { "fusermount3", "-u", "-z", "-q", "--", mountpoint, NULL };
	pid_t pid;
	int status;

	if (posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)(uintptr_t)argv, environ) != 0 ||
	    waitpid(pid, &status, 0) < 0)
		return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EPERM;
}

static void detach_dead(const char *type, const char *store)
{
	struct mount_entry *list;
	size_t n;

	list_of(type, &list, &n);
	for (size_t i = n; i-- > 0;) { /* the one on top first */
		if (strcmp(list[i].store, store) != 0)
			continue;
		if (umount2(list[i].mountpoint, MNT_DETACH) == 0 || detach_by_helper(list[i].mountpoint) == 0)
			log_info("%s: detached the mount of a twinfs that has died", list[i].mountpoint);
		else
			log_warn("%s is the mount of a twinfs that has died; detach it: fusermount3 -uz %s",
			         list[i].mountpoint, list[i].mountpoint);
	}
	mounts_free(list, n);
}

void mounts_detach_dead(const char *store)
{
	detach_dead(FS_TYPE, store);
	detach_dead(FS_TYPE_BASELINE, store);
}

char *path_absolute(const char *path)
{
	char *cwd = *path == '/' ? NULL : getcwd(NULL, 0);
	char *all = xasprintf("%s/%s", cwd ? cwd : "", path);
	char *out = xmalloc(strlen(all) + 2), *save = NULL;
	size_t len = 0;

	for (char *part = strtok_r(all, "/", &save); part; part = strtok_r(NULL, "/", &save)) {
		size_t part_len = strlen(part);

		if (strcmp(part, ".") == 0)
			continue;
		if (strcmp(part, "..") == 0) {
			while (len > 0 && out[--len] != '/')
				;
			continue;
		}
		out[len++] = '/';
		memcpy(out + len, part, part_len);
		len += part_len;
	}
	if (len == 0)
		out[len++] = '/';
	out[len] = '\0';
	free(cwd);
	free(all);
	return out;
}

char *path_of_mountpoint(const char *path)
{
	char *abs = path_absolute(path), *slash = strrchr(abs, '/');
	char *parent, *real, *out;

	if (slash == abs)
		return abs;
	parent = xstrndup(abs, (size_t)(slash - abs));
	real = realpath(parent, NULL);
	out = real ? xasprintf("%s%s", strcmp(real, "/") == 0 ? "" : real, slash) : xstrdup(abs);
	free(parent);
	free(real);
	free(abs);
	return out;
}
