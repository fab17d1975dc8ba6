/* SPDX-License-Identifier: MIT */
#include "node/baseline.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "node/words.h"
#include "util/util.h"

#define PIECE_BYTES (256u << 10)

int baseline_find(struct volume *v, const char *path, struct past **past, struct attr *a, struct err *err)
{
	char when[21] = "an unknown time";
	uint64_t at_ms;
	int rc;

	*past = NULL;
	rc = past_open(v, past, err);
	if (rc)
		return rc;
	rc = past_find(*past, path, a);
	if (!rc)
		return 0;
	at_ms = past_time_ms(*past);
	if (at_ms)
		time_rfc3339(at_ms, when);
	err_set(err, rc, "%s in the baseline (group %llu, of %s): %s", path, (unsigned long long)past_group(*past),
	        when, strerror(-rc));
	past_close(*past);
	*past = NULL;
	return rc;
}

static void say_which(struct past *past, json_t *reply)
{
	json_object_set_new(reply, "group", json_integer((json_int_t)past_group(past)));
	json_object_set_new(reply, "time", words_time(past_time_ms(past)));
}

/* ---- ls ---- */

static const char *type_word(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG: return "file";
	case S_IFDIR: return "dir";
	case S_IFLNK: return "symlink";
	case S_IFIFO: return "fifo";
	case S_IFSOCK: return "socket";
	case S_IFCHR: return "char";
	default: return "block";
	}
}

struct listing {
	struct past *past;
	struct control_client *client;
	bool recursive;
	struct pending_dir { /* still to be listed */
		uint64_t ino;
		char *path;
	} *dirs;
	size_t n_dirs, cap_dirs;
	const char *path; /* of the directory at hand */
	uint64_t entries;
	int rc;
};

static void add_dir(struct listing *l, uint64_t ino, char *path)
{
	if (l->n_dirs == l->cap_dirs) {
		l->cap_dirs = l->cap_dirs ? l->cap_dirs * 2 : 16;
		l->dirs = xrealloc(l->dirs, l->cap_dirs * sizeof(*l->dirs));
	}
	l->dirs[l->n_dirs++] = (struct pending_dir){ ino, path };
}

static int send_entry(struct listing *l, const char *name, const struct attr *a)
{
	char mode[8], target[SYMLINK_MAX_BYTES + 1];
	json_t *line;
	ssize_t n;
	int rc;

	snprintf(mode, sizeof(mode), "%04o", a->mode & 07777);
	line = json_pack("{s:o, s:s, s:s, s:I, s:I, s:I, s:I, s:o}", "name", words_path(name), "type",
	                 type_word(a->mode), "mode", mode, "links", (json_int_t)a->nlink, "uid", (json_int_t)a->uid,
	                 "gid", (json_int_t)a->gid, "size", (json_int_t)a->size_bytes, "mtime",
	                 words_time((uint64_t)MAX(a->mtime.tv_sec, 1) * 1000));
	if (S_ISLNK(a->mode) && (n = past_readlink(l->past, a->ino, target, SYMLINK_MAX_BYTES)) >= 0) {
		target[n] = '\0';
		json_object_set_new(line, "target", words_path(target));
	}
	if (S_ISCHR(a->mode) || S_ISBLK(a->mode))
		json_object_set_new(line, "rdev", json_integer((json_int_t)a->rdev));
	rc = control_send(l->client, line);
	json_decref(line);
	l->entries++;
	return rc;
}

static bool list_entry(void *ctx, const char *name, size_t name_len, uint64_t cookie, const struct attr *a)
{
	struct listing *l = ctx;

	(void)name_len;
	(void)cookie;
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return true;
	l->rc = send_entry(l, name, a);
	if (l->recursive && S_ISDIR(a->mode))
		add_dir(l, a->ino, xasprintf("%s/%s", strcmp(l->path, "/") == 0 ? "" : l->path, name));
	return l->rc == 0;
}

/* The last found first: what waits is bounded by depth times the widest directory. */
static int list_dirs(struct listing *l)
{
	while (!l->rc && l->n_dirs > 0) {
		struct pending_dir dir = l->dirs[--l->n_dirs];
		json_t *line = json_pack("{s:o}", "dir", words_path(dir.path));
		int rc;

		l->path = dir.path;
		l->rc = control_send(l->client, line);
		json_decref(line);
		rc = l->rc ? 0 : past_readdir(l->past, dir.ino, 0, list_entry, l);
		l->rc = rc ? rc : l->rc;
		free(dir.path);
	}
	for (size_t i = 0; i < l->n_dirs; i++)
		free(l->dirs[i].path);
	free(l->dirs);
	return l->rc;
}

int baseline_ls(struct volume *v, const char *path, bool recursive, struct control_client *client, json_t *reply,
                struct err *err)
{
	struct listing l = { .client = client, .recursive = recursive };
	struct attr a;
	int rc = control_hold(client, err);

	if (!rc)
		rc = baseline_find(v, path, &l.past, &a, err);
	if (rc)
		return rc;
	if (S_ISDIR(a.mode)) {
		add_dir(&l, a.ino, xstrdup(path));
		rc = list_dirs(&l);
	} else {
		rc = send_entry(&l, path, &a);
	}
	say_which(l.past, reply);
	json_object_set_new(reply, "entries", json_integer((json_int_t)l.entries));
	past_close(l.past);
	return rc ? err_set(err, rc, "cannot list %s in the baseline: %s", path, strerror(-rc)) : 0;
}

/* ---- cat ---- */

static int send_bytes(struct past *past, const struct attr *a, struct control_client *client)
{
	char *buf = xmalloc(PIECE_BYTES);
	uint64_t off = 0;
	ssize_t n;
	int rc = 0;

	while (!rc && (n = past_read(past, a->ino, buf, PIECE_BYTES, off)) != 0) {
		rc = n < 0 ? (int)n : control_send_data(client, buf, (size_t)n);
		off += n > 0 ? (uint64_t)n : 0;
	}
	free(buf);
	return rc;
}

int baseline_cat(struct volume *v, const char *path, struct control_client *client, json_t *reply, struct err *err)
{
	struct past *past;
	struct attr a;
	int rc = control_hold(client, err);

	if (!rc)
		rc = baseline_find(v, path, &past, &a, err);
	if (rc)
		return rc;
	if (S_ISREG(a.mode))
		rc = send_bytes(past, &a, client);
	else
		rc = err_set(err, S_ISDIR(a.mode) ? -EISDIR : -EINVAL, "%s in the baseline is no regular file but a %s",
		             path, type_word(a.mode));
	if (rc && !err->code)
		err_set(err, rc, "cannot read %s in the baseline: %s%s", path, strerror(-rc),
		        rc == -EIO ? " (a block does not match its checksum)" : "");
	say_which(past, reply);
	json_object_set_new(reply, "size", json_integer((json_int_t)a.size_bytes));
	past_close(past);
	return rc;
}
