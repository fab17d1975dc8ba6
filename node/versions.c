/* SPDX-License-Identifier: MIT */
#include "node/versions.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "node/words.h"
#include "util/util.h"

#define PIECE_BYTES (256u << 10)

static uint64_t pick(const struct volume_info *info, const struct conflict *c, const char *which)
{
	int local = conflict_side(info, c);

	if (strcmp(which, "base") == 0)
		return c->base_path ? c->base : 0;
	return c->version[strcmp(which, "peer") == 0 ? !local : local].ino;
}

/* 0: there is none. */
static int find(struct volume *v, uint64_t id, const char *which, uint64_t *ino)
{
	struct conflict *rows = NULL;
	struct volume_info info;
	size_t n = 0;
	int rc = volume_conflicts(v, &rows, &n);

	*ino = 0;
	volume_info(v, &info);
	for (size_t i = 0; i < n; i++) {
		if (rows[i].id == id)
			*ino = pick(&info, &rows[i], which);
		conflict_release(&rows[i]);
	}
	free(rows);
	return rc;
}

static int send_bytes(struct volume *v, uint64_t ino, uint64_t max_bytes, struct control_client *client)
{
	char *buf = xmalloc(PIECE_BYTES);
	uint64_t off = 0;
	ssize_t n = 1;
	int rc = 0;

	while (!rc && n > 0 && off < max_bytes) {
		n = volume_read(v, ino, buf, (size_t)MIN(max_bytes - off, (uint64_t)PIECE_BYTES), off);
		rc = n < 0 ? (int)n : n > 0 ? control_send_data(client, buf, (size_t)n) : 0;
		off += n > 0 ? (uint64_t)n : 0;
	}
	free(buf);
	return rc;
}

static int send_version(struct volume *v, uint64_t ino, uint64_t max_bytes, struct control_client *client,
                        json_t *reply)
{
	char target[SYMLINK_MAX_BYTES + 1];
	struct attr a;
	int rc = volume_getattr(v, ino, &a);
	const char *type = "other";

	if (rc)
		return rc;
	if (S_ISREG(a.mode)) {
		type = "file";
		rc = send_bytes(v, ino, max_bytes, client);
	} else if (S_ISDIR(a.mode)) {
		type = "directory";
	} else if (S_ISLNK(a.mode)) {
		ssize_t n = volume_readlink(v, ino, target, SYMLINK_MAX_BYTES);

		type = "symlink";
		rc = (int)MIN(n, 0);
		target[MAX(n, 0)] = '\0';
		json_object_set_new(reply, "target", words_path(target));
	}
	json_object_set_new(reply, "type", json_string(type));
	json_object_set_new(reply, "size", json_integer((json_int_t)a.size_bytes));
	return rc;
}

int version_cat(struct volume *v, uint64_t id, const char *which, uint64_t max_bytes, struct control_client *client,
                json_t *reply, struct err *err)
{
	uint64_t ino = 0;
	int rc = control_hold(client, err);

	if (rc)
		return rc;
	rc = find(v, id, which, &ino);
	if (!rc && !ino)
		return err_set(err, -ENOENT, "conflict %llu: its %s version is not kept", (unsigned long long)id,
		               which);
	if (!rc)
		rc = send_version(v, ino, max_bytes, client, reply);
	return rc ? err_set(err, rc, "cannot read the %s version of conflict %llu: %s", which, (unsigned long long)id,
	                    strerror(-rc)) : 0;
}
