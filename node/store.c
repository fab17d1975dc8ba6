/* SPDX-License-Identifier: MIT */
#include "node/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "sync/identity.h"
#include "util/dir.h"
#include "util/util.h"

#define DB_FILE "twinfs.db"
#define LEGAL "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"

bool store_is(const char *dir)
{
	char *path = xasprintf("%s/%s", dir, DB_FILE);
	bool is = access(path, F_OK) == 0;

	free(path);
	return is;
}

bool store_is_closed(const char *dir)
{
	return access(dir, X_OK) != 0 && errno == EACCES;
}

static bool dots(const char *name)
{
	return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* 0, or -ENOTEMPTY … */
static int check_empty(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int rc = 0;

	if (!dir)
		return -errno;
	while ((entry = readdir(dir)))
		if (!dots(entry->d_name))
			rc = -ENOTEMPTY;
	closedir(dir);
	return rc;
}

static int dir_prepare(const char *path, bool *made, struct err *err)
{
	int rc;

	*made = mkdir(path, 0700) == 0;
	if (*made)
		return 0;
	if (errno != EEXIST)
		return err_set(err, -errno, "cannot make the directory %s: %s%s", path, strerror(errno),
		               errno == ENOENT ? "; make its parent first" : "");
	if (store_is(path))
		return err_set(err, -EEXIST, "%s is already a twinfs store; nothing was changed", path);
	if (volume_unfinished(path)) /* an init or join that was cut short */
		store_unmake(path, false);
	rc = check_empty(path);
	if (rc == -ENOTEMPTY)
		return err_set(err, rc, "%s is neither empty nor a twinfs store; give an empty or a new directory",
		               path);
	if (rc)
		return err_set(err, rc, "cannot use %s as a store: %s", path, strerror(-rc));
	return 0;
}

/* Random, version 4. */
static void uuid_make(char out[37])
{
	uint8_t r[16];
	char hex[33];

	random_bytes(r, sizeof(r));
	r[6] = (uint8_t)(0x40 | (r[6] & 0x0f));
	r[8] = (uint8_t)(0x80 | (r[8] & 0x3f));
	hex_encode(r, sizeof(r), hex);
	snprintf(out, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
}

int store_make(const struct store_spec *spec, bool *made_dir, struct err *err)
{
	char uuid[37];
	int rc = dir_prepare(spec->dir, made_dir, err);

	if (rc)
		return rc;
	uuid_make(uuid);
	rc = volume_format_begin(spec->dir, err);
	if (rc) { /* somebody else is at it, or nothing can be made here */
		if (*made_dir)
			rmdir(spec->dir);
		return rc;
	}
	rc = identity_create(spec->dir, err);
	if (!rc) /* last, because it is what makes a store of the directory */
		rc = volume_format(spec->dir, spec->volume_id ? spec->volume_id : uuid, spec->name, spec->slot,
		                   spec->size_bytes, err);
	if (!rc && *made_dir)
		rc = dir_sync_parent(spec->dir, err);
	if (rc)
		store_unmake(spec->dir, *made_dir);
	return rc;
}

void store_unmake(const char *path, bool made_dir)
{
	volume_unmake_begin(path);
	identity_remove(path);
	volume_unmake(path);
	if (made_dir)
		rmdir(path);
}

int store_open(const char *dir, struct volume **out, struct err *err)
{
	static const struct volume_options options = { .commit_aside = true };
	int rc = volume_open(dir, &options, out, err);

	if (rc && err && !strstr(err->text, dir))
		err_prefix(err, "%s", dir);
	return rc;
}

int store_name_check(const char *name, struct err *err)
{
	size_t len = strlen(name);

	if (len >= 1 && len <= NODE_NAME_MAX_BYTES && strspn(name, LEGAL) == len)
		return 0;
	return err_set(err, -EINVAL, "\"%.100s\" cannot be a node's name; use 1 to %d letters, digits, '.', '_' or '-'",
	               name, NODE_NAME_MAX_BYTES);
}

void store_name_default(char out[NODE_NAME_MAX_BYTES + 1])
{
	char host[256] = "";
	size_t len = 0;

	gethostname(host, sizeof(host) - 1);
	for (const char *p = host; *p && *p != '.' && len < NODE_NAME_MAX_BYTES; p++)
		if (strchr(LEGAL, *p))
			out[len++] = *p;
	out[len] = '\0';
	if (len == 0)
		snprintf(out, NODE_NAME_MAX_BYTES + 1, "node");
}
