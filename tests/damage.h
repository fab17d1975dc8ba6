/* SPDX-License-Identifier: MIT */
/*
 * damage: a store as bytes in memory, to be damaged and used again and again, by tests/test_damage.c (tables and
 * chance) and by tests/fuzz_store.c (libFuzzer). Whatever was done to its files, opening and using it must neither
 * crash nor hang, and must refuse with a text or answer every call.
 */
#ifndef TWINFS_TESTS_DAMAGE_H
#define TWINFS_TESTS_DAMAGE_H

#include "core/blocks.h"
#include "core/changes.h"
#include "core/fsck.h"
#include "core/past.h"
#include "core/scrub.h"
#include "util/util.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DAMAGE_FILES 3
static const char *const damage_names[DAMAGE_FILES] = { "image", "twinfs.db", "twinfs.db-wal" };
#define DAMAGE_PLAIN 6 /* files "f0" .. in the root, whose bytes are known from their number */
#define DAMAGE_PLAIN_BYTES (3 * BLOCK_BYTES + 500)

struct damage_store {
	char dir[256];
	struct {
		uint8_t *data;
		size_t len;
	} file[DAMAGE_FILES];
};

/* What is logged (a lot) goes to a file that starts anew with each case: stderr, so that a sanitizer's words are in it
 * too. It is left behind when a case fails. */
static int damage_stderr = STDERR_FILENO;
static char damage_log[300];

static inline void must(bool ok, const char *what)
{
	if (ok)
		return;
	dprintf(damage_stderr, "damage: %s; see %s\n", what, damage_log);
	abort();
}

static inline void damage_quiet(const char *dir)
{
	int fd;

	snprintf(damage_log, sizeof(damage_log), "%s.log", dir);
	fd = open(damage_log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	damage_stderr = dup(STDERR_FILENO);
	must(fd >= 0 && damage_stderr >= 0 && dup2(fd, STDERR_FILENO) >= 0, damage_log);
	close(fd);
}

static inline uint8_t damage_byte(unsigned file, size_t at)
{
	return (uint8_t)((at * 31 + file * 7 + at / BLOCK_BYTES) | 1);
}

static inline char *damage_path(const struct damage_store *d, const char *name)
{
	return xasprintf("%s/%s", d->dir, name);
}

/* ---- the template ---- */

static inline uint64_t damage_make(struct volume *v, uint64_t parent, const char *name, uint32_t mode)
{
	struct cred cred = { .uid = 0 };
	struct attr a;

	must(volume_create(v, parent, name, mode, 0, S_ISLNK(mode) ? "target" : NULL, &cred, &a) == 0, "create");
	return a.ino;
}

static inline void damage_fill(struct volume *v)
{
	uint8_t *buf = xmalloc(DAMAGE_PLAIN_BYTES);
	uint64_t dir = damage_make(v, INO_ROOT, "d", S_IFDIR | 0755), sub = damage_make(v, dir, "sub", S_IFDIR | 0755);
	uint64_t last = 0;
	struct attr a;

	for (unsigned i = 0; i < DAMAGE_PLAIN; i++) {
		char name[8];

		for (size_t k = 0; k < DAMAGE_PLAIN_BYTES; k++)
			buf[k] = damage_byte(i, k);
		snprintf(name, sizeof(name), "f%u", i);
		last = damage_make(v, INO_ROOT, name, S_IFREG | 0644);
		must(volume_write(v, last, buf, DAMAGE_PLAIN_BYTES, 0, 0, NULL) > 0, "write");
	}
	must(volume_link(v, last, sub, "hard", &a) == 0, "link");
	damage_make(v, sub, "soft", S_IFLNK | 0777);
	must(volume_setxattr(v, last, "user.k", "value", 5, 0) == 0, "setxattr");
	must(volume_setxattr(v, dir, "user.long", buf, 6000, 0) == 0, "setxattr");
	free(buf);
}

static inline void damage_history(struct volume *v)
{
	char rule[] = "r", path[] = "/f0";
	struct conflict c = { .kind = "content", .outcome = "merged", .rule = rule, .path = path, .ino = 3 };
	struct volume_ids ids;
	struct attr a;

	must(volume_commit(v) == 0, "commit");
	volume_lock(v);
	volume_ids(v, &ids);
	history_cut(v, ids.committed);
	volume_unlock(v);
	must(volume_lookup(v, INO_ROOT, "d", &a) == 0, "lookup");
	uint64_t file = damage_make(v, a.ino, "g", S_IFREG | 0644);

	for (int i = 0; i < 40; i++)
		must(volume_write(v, file, "some bytes", 10, (uint64_t)(i * 7 % 40) * 9000, 0, NULL) == 10, "write");
	must(volume_removexattr(v, a.ino, "user.long") == 0, "removexattr");
	must(volume_rename(v, a.ino, "g", INO_ROOT, "g", 0) == 0, "rename");
	must(volume_lookup(v, INO_ROOT, "f1", &a) == 0, "lookup");
	must(volume_setattr(v, a.ino, SET_MODE, &(struct attr){ .mode = 0600 }, NULL) == 0, "setattr");
	volume_lock(v);
	must(group_open(v) == 0 && conflict_put(v, &c) == 0, "conflict");
	must(lineage_put(v, &(struct lineage){ .src = a.ino, .dst = a.ino, .grp = 1, .kind = 'b' }) == 0, "lineage");
	volume_unlock(v);
	must(volume_commit(v) == 0, "commit");
	/* an orphan */
	uint64_t gone = damage_make(v, INO_ROOT, "gone", S_IFREG | 0644);

	volume_ref(v, gone);
	must(volume_write(v, gone, "x", 1, 0, 0, NULL) == 1 && volume_unlink(v, INO_ROOT, "gone") == 0, "orphan");
	must(volume_commit(v) == 0, "commit");
}

static inline void damage_load(struct damage_store *d)
{
	for (int i = 0; i < DAMAGE_FILES; i++) {
		char *path = damage_path(d, damage_names[i]);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		struct stat st;

		must(fd >= 0 && fstat(fd, &st) == 0, path);
		d->file[i].len = (size_t)st.st_size;
		d->file[i].data = xmalloc(d->file[i].len + 1);
		must(read(fd, d->file[i].data, d->file[i].len) == st.st_size, path);
		close(fd);
		free(path);
	}
}

/* A paired store with history, changes, notes and an orphan, that was killed: most of it is in the log still. */
static inline void damage_begin(struct damage_store *d)
{
	const char *base = getenv("TMPDIR");
	struct volume_options opt = { .fast_unsafe = true };
	struct volume *v;
	struct err err = ERR_INIT;

	if (!base)
		base = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";
	snprintf(d->dir, sizeof(d->dir), "%s/twinfs-damage-XXXXXX", base);
	must(mkdtemp(d->dir) != NULL, "mkdtemp");
	damage_quiet(d->dir);
	must(volume_format(d->dir, "00000000-0000-4000-8000-000000000001", "a", 1, 0, &err) == 0, err_text(&err));
	must(volume_open(d->dir, &opt, &v, &err) == 0, err_text(&err));
	must(volume_pair(v, ROLE_PRIMARY, 1, 2, "00112233445566778899aabbccddeeff", "b", &err) == 0, err_text(&err));
	damage_fill(v);
	damage_history(v);
	volume_crash(v);
	damage_load(d);
}

static inline void damage_end(struct damage_store *d)
{
	char *command = xasprintf("rm -rf '%s'", d->dir);

	must(system(command) == 0, command);
	free(command);
	unlink(damage_log);
	dup2(damage_stderr, STDERR_FILENO);
	close(damage_stderr);
	for (int i = 0; i < DAMAGE_FILES; i++)
		free(d->file[i].data);
}

/* The files as they were, in an empty folder. */
static inline void damage_restore(const struct damage_store *d)
{
	static const char *const all[] = { "image", "twinfs.db", "twinfs.db-wal", "twinfs.db-shm", "lock" };

	must(ftruncate(STDERR_FILENO, 0) == 0, damage_log);
	for (size_t i = 0; i < ARRAY_LEN(all); i++) {
		char *path = damage_path(d, all[i]);

		if (unlink(path) != 0)
			rmdir(path);
		free(path);
	}
	for (int i = 0; i < DAMAGE_FILES; i++) {
		char *path = damage_path(d, damage_names[i]);
		int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

		must(fd >= 0 && write(fd, d->file[i].data, d->file[i].len) == (ssize_t)d->file[i].len, path);
		close(fd);
		free(path);
	}
}

/* Overwrite one byte. */
static inline void damage_poke(const struct damage_store *d, int file, size_t at, uint8_t byte)
{
	char *path = damage_path(d, damage_names[file]);
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	must(fd >= 0 && pwrite(fd, &byte, 1, (off_t)(at % d->file[file].len)) == 1, path);
	close(fd);
	free(path);
}

static inline void damage_zero(const struct damage_store *d, int file, size_t at, size_t len)
{
	static const uint8_t zeros[BLOCK_BYTES];
	char *path = damage_path(d, damage_names[file]);
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	at %= d->file[file].len;
	len = MIN(MIN(len, sizeof(zeros)), d->file[file].len - at);
	must(fd >= 0 && pwrite(fd, zeros, len, (off_t)at) == (ssize_t)len, path);
	close(fd);
	free(path);
}

static inline void damage_cut(const struct damage_store *d, int file, size_t len)
{
	char *path = damage_path(d, damage_names[file]);

	must(truncate(path, (off_t)(len % d->file[file].len)) == 0, path);
	free(path);
}

/* ---- use ---- */

/* What can be met in a walk is bounded, or a damaged tree could keep us for ever. */
#define DAMAGE_SEEN_MAX 200

struct damage_walk {
	struct volume *v;
	struct {
		uint64_t ino, parent;
		uint32_t mode;
		char name[NAME_MAX_BYTES + 1];
	} seen[DAMAGE_SEEN_MAX];
	size_t n;
	uint64_t in;
};

static inline bool damage_entry(void *ctx, const char *name, size_t len, uint64_t cookie, const struct attr *a)
{
	struct damage_walk *w = ctx;

	if (cookie <= 2)
		return true;
	if (w->n == DAMAGE_SEEN_MAX)
		return false;
	w->seen[w->n].ino = a->ino;
	w->seen[w->n].parent = w->in;
	w->seen[w->n].mode = a->mode;
	memcpy(w->seen[w->n].name, name, len);
	w->seen[w->n++].name[len] = '\0';
	return true;
}

static inline void damage_look(struct volume *v, uint64_t ino, uint64_t size_bytes)
{
	char *buf = xmalloc(XATTR_VALUE_MAX_BYTES), list[4096];
	ssize_t n = volume_listxattr(v, ino, list, sizeof(list));

	for (ssize_t at = 0; at < n; at += (ssize_t)strlen(list + at) + 1)
		volume_getxattr(v, ino, list + at, buf, XATTR_VALUE_MAX_BYTES);
	volume_readlink(v, ino, buf, XATTR_VALUE_MAX_BYTES);
	for (uint64_t off = 0, i = 0; off < size_bytes && i < 64; off += 16384, i++)
		volume_read(v, ino, buf, 16384, off);
	volume_seek(v, ino, 0, SEEK_DATA);
	volume_seek(v, ino, 0, SEEK_HOLE);
	free(volume_path(v, ino));
	free(buf);
}

static inline void damage_walk_all(struct damage_walk *w)
{
	struct attr a;

	w->n = 0;
	w->in = INO_ROOT;
	volume_readdir(w->v, INO_ROOT, 0, damage_entry, w);
	w->in = INO_HIDDEN;
	volume_readdir(w->v, INO_HIDDEN, 0, damage_entry, w);
	for (size_t i = 0; i < w->n; i++) {
		volume_lookup(w->v, w->seen[i].parent, w->seen[i].name, &a);
		if (volume_getattr(w->v, w->seen[i].ino, &a) == 0)
			damage_look(w->v, w->seen[i].ino, a.size_bytes);
		if (S_ISDIR(w->seen[i].mode)) {
			w->in = w->seen[i].ino;
			volume_readdir(w->v, w->in, 0, damage_entry, w);
		}
	}
}

static inline void damage_write_all(struct damage_walk *w)
{
	struct cred cred = { .uid = 0 };
	uint8_t *buf = xcalloc(1, 80000);
	struct attr a;
	char name[32];

	for (size_t i = 0; i < w->n && i < 24; i++) {
		uint64_t ino = w->seen[i].ino, parent = w->seen[i].parent;

		snprintf(name, sizeof(name), "new%zu", i);
		switch (i % 8) {
		case 0: volume_write(w->v, ino, buf, 80000, 5000, 0, NULL); break;
		case 1: volume_write(w->v, ino, buf, 9, 1, 0, NULL); break;
		case 2: volume_setattr(w->v, ino, SET_SIZE, &(struct attr){ .size_bytes = 4097 }, &a); break;
		case 3: volume_unlink(w->v, parent, w->seen[i].name); break;
		case 4: volume_rename(w->v, parent, w->seen[i].name, INO_ROOT, name, 0); break;
		case 5: volume_fallocate(w->v, ino, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 100, 9000); break;
		case 6: volume_setxattr(w->v, ino, "user.k", "w", 1, 0); break;
		case 7: volume_rmdir(w->v, parent, w->seen[i].name); break;
		}
		volume_create(w->v, S_ISDIR(w->seen[i].mode) ? ino : parent, name, S_IFREG | 0600, 0, NULL, &cred, &a);
		volume_link(w->v, ino, INO_ROOT, name, &a);
		volume_removexattr(w->v, ino, "user.k");
		if (i % 5 == 4)
			volume_commit(w->v);
	}
	free(buf);
}

static inline int damage_on_inode(void *ctx, uint64_t ino, enum entity what, const struct change_row *row)
{
	struct volume *v = ctx;
	struct inode in;
	uint8_t buf[8192];
	bool hole;
	uint64_t run;

	(void)what;
	tree_inode_get(v, ino, &in);
	for (int kind = VIEW_NOW; kind <= VIEW_PEER; kind++) {
		struct view view = { .group = row->grp };

		view.kind = kind;
		tree_inode_view(v, ino, view, &in);
		data_read(v, ino, view, buf, sizeof(buf), 4000);
		data_run(v, ino, view, 0, 1 << 20, &hole, &run);
	}
	return 0;
}

static inline int damage_on_link(void *ctx, uint64_t link, const struct change_row *row)
{
	struct peer_link theirs;
	struct dentry d;

	(void)row;
	tree_link_get(ctx, link, &d);
	tree_link_view(ctx, link, (struct view){ .kind = VIEW_PEER, .group = 1 }, &d);
	peer_link_get(ctx, link, &theirs);
	return 0;
}

static inline int damage_on_xattr(void *ctx, uint64_t ino, const char *key, const struct change_row *row)
{
	char *buf = xmalloc(XATTR_VALUE_MAX_BYTES);

	(void)row;
	tree_xattr_get(ctx, ino, key, buf, XATTR_VALUE_MAX_BYTES);
	free(buf);
	return 0;
}

static inline int damage_on_range(void *ctx, uint64_t ino, uint64_t off, uint64_t len_bytes, uint64_t grp)
{
	(void)ctx, (void)ino, (void)off, (void)len_bytes, (void)grp;
	return 0;
}

static inline int damage_on_lineage(void *ctx, const struct lineage *l)
{
	(void)ctx, (void)l;
	return 0;
}

/* What the engine asks for, and what it does when the peer's changes come. */
static inline void damage_sync(struct damage_walk *w)
{
	struct volume *v = w->v;
	struct volume_ids ids;
	int rc;

	if (volume_apply_begin(v) != 0)
		return;
	volume_ids(v, &ids);
	changes_inodes(v, 0, GROUP_MAX, damage_on_inode, v);
	changes_links(v, 0, GROUP_MAX, damage_on_link, v);
	changes_xattrs(v, 0, GROUP_MAX, damage_on_xattr, v);
	lineage_each(v, false, damage_on_lineage, v);
	lineage_each(v, true, damage_on_lineage, v);
	for (size_t i = 0; i < w->n && i < 16; i++) {
		changes_ranges(v, w->seen[i].ino, 0, GROUP_MAX, damage_on_range, v);
		changes_touch_whole(v, w->seen[i].ino);
	}
	rc = history_purge(v, ids.committed);
	if (!rc)
		rc = changes_purge(v, ids.committed);
	if (!rc && w->n > 0)
		rc = data_write(v, w->seen[0].ino, "peer", 4, 4094, ORIGIN_PEER);
	if (rc)
		volume_apply_abort(v);
	else
		volume_apply_commit(v, ids.applied);
}

static inline void damage_scrub_found(void *ctx, const struct scrub_found *f)
{
	(void)ctx;
	free(f->path);
}

static inline void damage_found(void *ctx, const char *text)
{
	(void)ctx;
	must(*text, "a finding without a text");
}

static inline void damage_fsck(const struct damage_store *d)
{
	struct fsck_options opt = { .found = damage_found };
	struct fsck_result r;
	struct err err = ERR_INIT;

	if (fsck_store(d->dir, &opt, &r, &err) != 0)
		must(*err.text, "fsck fails without a text");
}

/* 0, or why it was refused at the door. known: what can be read of the plain files must be what was written. */
static inline int damage_use(const struct damage_store *d, bool known)
{
	struct volume_options opt = { .fast_unsafe = true };
	struct scrub_options scrub = { .found = damage_scrub_found };
	struct scrub_progress p;
	struct damage_walk *w = xcalloc(1, sizeof(*w));
	struct err err = ERR_INIT;
	struct volume_info info;
	struct conflict *list;
	struct past *past;
	size_t n;
	int rc;

	damage_fsck(d);
	rc = volume_open(d->dir, &opt, &w->v, &err);
	if (rc) {
		must(*err.text, "refused without a text");
		free(w);
		return rc;
	}
	volume_info(w->v, &info);
	for (unsigned i = 0; known && i < DAMAGE_PLAIN; i++) {
		uint8_t *buf = xmalloc(DAMAGE_PLAIN_BYTES);
		char name[8];
		struct attr a;

		snprintf(name, sizeof(name), "f%u", i);
		if (volume_lookup(w->v, INO_ROOT, name, &a) == 0)
			for (size_t off = 0; off < DAMAGE_PLAIN_BYTES; off += BLOCK_BYTES) {
				ssize_t got = volume_read(w->v, a.ino, buf, BLOCK_BYTES, off);

				for (ssize_t k = 0; k < got; k++)
					must(buf[k] == damage_byte(i, off + (size_t)k), "wrong data");
			}
		free(buf);
	}
	damage_walk_all(w);
	volume_scrub(w->v, &scrub, &p);
	if (volume_conflicts(w->v, &list, &n) == 0) {
		for (size_t i = 0; i < n; i++)
			conflict_release(&list[i]);
		free(list);
	}
	if (past_open(w->v, &past, &err) == 0) {
		struct attr a;

		past_find(past, "/d/sub/hard", &a);
		past_close(past);
	}
	damage_sync(w);
	damage_write_all(w);
	damage_sync(w);
	damage_walk_all(w);
	volume_info(w->v, &info);
	volume_close(w->v);
	damage_fsck(d);
	free(w);
	return 0;
}

#endif
