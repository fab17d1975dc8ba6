/* SPDX-License-Identifier: MIT */
/*
 * fsck: is a store that is not mounted whole? Opening it checks the database and that no block of the image is missing
 * or owned twice; the walk below reads every name, attribute and byte, which verifies every block's checksum. Repairs
 * nothing.
 */
#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/volume.h"
#include "node/store.h"
#include "util/map.h"
#include "util/util.h"

#define READ_BYTES (1u << 20)
/* After so many the rest is counted only. */
#define SHOWN_MAX 20

struct check {
	struct volume *v;
	struct map seen;        /* inodes looked at: one with many links once */
	uint64_t *dirs;         /* directories still to be read */
	size_t n_dirs, cap_dirs;
	uint64_t files, bytes, bad;
	char *buf;
};

static void complain(struct check *c, uint64_t ino, const char *what)
{
	char *path = volume_path(c->v, ino), *clean = printable(path ? path : "(no name)");

	if (c->bad++ < SHOWN_MAX)
		printf("%s: %s\n", clean, what);
	free(path);
	free(clean);
}

static void check_bytes(struct check *c, const struct attr *a)
{
	uint64_t off = 0;

	while (off < a->size_bytes) {
		/* Holes need no reading, and may be petabytes. */
		int64_t data = volume_seek(c->v, a->ino, off, SEEK_DATA);
		ssize_t n;

		if (data == -ENXIO)
			break;
		n = data < 0 ? (ssize_t)data : volume_read(c->v, a->ino, c->buf, READ_BYTES, (uint64_t)data);
		if (n <= 0) {
			complain(c, a->ino, n == -EIO ? "the bytes are not what was written" : strerror((int)-n));
			break;
		}
		off = (uint64_t)data + (uint64_t)n;
		c->bytes += (uint64_t)n;
	}
}

static bool check_entry(void *ctx, const char *name, size_t name_len, uint64_t cookie, const struct attr *a)
{
	struct check *c = ctx;

	(void)cookie;
	if ((name_len == 1 && *name == '.') || (name_len == 2 && memcmp(name, "..", 2) == 0))
		return true;
	if (map_get(&c->seen, a->ino, NULL)) {
		if (S_ISDIR(a->mode))
			complain(c, a->ino, "the directory has two names");
		return true;
	}
	map_put(&c->seen, a->ino, 1);
	c->files++;
	if (S_ISREG(a->mode)) {
		check_bytes(c, a);
	} else if (S_ISLNK(a->mode) && volume_readlink(c->v, a->ino, c->buf, SYMLINK_MAX_BYTES) <= 0) {
		complain(c, a->ino, "the link's target cannot be read");
	} else if (S_ISDIR(a->mode)) {
		if (c->n_dirs == c->cap_dirs) {
			c->cap_dirs = c->cap_dirs ? 2 * c->cap_dirs : 64;
			c->dirs = xrealloc(c->dirs, c->cap_dirs * sizeof(*c->dirs));
		}
		c->dirs[c->n_dirs++] = a->ino;
	}
	return true;
}

static void walk(struct check *c)
{
	c->dirs = xmalloc(64 * sizeof(*c->dirs));
	c->cap_dirs = 64;
	c->dirs[c->n_dirs++] = INO_ROOT;
	c->dirs[c->n_dirs++] = INO_HIDDEN;
	while (c->n_dirs > 0) {
		uint64_t dir = c->dirs[--c->n_dirs];
		int rc = volume_readdir(c->v, dir, 0, check_entry, c);

		if (rc < 0)
			complain(c, dir, "the directory cannot be read");
	}
}

static int check_store(const char *store, struct err *err)
{
	struct check c = { .buf = xmalloc(READ_BYTES) };
	char size[32];
	int rc = store_open(store, &c.v, err);

	if (!rc) {
		walk(&c);
		rc = volume_close(c.v);
		if (rc)
			err_set(err, rc, "cannot close %s: %s", store, strerror(-rc));
	}
	if (!rc && c.bad > 0)
		rc = err_set(err, -EUCLEAN, "%s is damaged in %" PRIu64 " places; take what is there from the peer, "
		             "or restore a copy", store, c.bad);
	if (!rc) {
		print_bytes(size, c.bytes);
		printf("%s: whole; %" PRIu64 " files, %s read\n", store, c.files, size);
	}
	map_release(&c.seen);
	free(c.dirs);
	free(c.buf);
	return rc;
}

int cmd_fsck(const struct command *c, int argc, char **argv)
{
	struct err err = ERR_INIT;
	const char *arg;
	struct where w;
	int rc = args_parse(c, argc, argv, NULL, 0, &arg, 1, 1);

	if (rc >= 0)
		return rc;
	if (where_find(arg, &w, &err))
		return fail(&err);
	rc = w.mountpoint ? err_set(&err, -EBUSY, "%s is mounted at %s; unmount it first", w.store, w.mountpoint)
	                  : check_store(w.store, &err);
	where_release(&w);
	return rc ? fail(&err) : EXIT_OK;
}
