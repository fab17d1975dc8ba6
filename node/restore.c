/* SPDX-License-Identifier: MIT */
#include "node/restore.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/words.h"
#include "util/map.h"
#include "util/util.h"

#define PIECE_BYTES (256u << 10)
/* Names tried for what is put aside or being made. */
#define NAMES_MAX 1000u
/* Keys and values of xattrs, as the volume bounds them. */
#define KEYS_MAX_BYTES 65536u

struct work {
	struct volume *v;
	struct past *past;
	struct control_client *client;
	volume_notice_fn notice;
	void *notice_ctx;
	struct map made; /* inode of then -> the one made for it, where more links may follow */
	uint64_t files, bytes, said_ms;
	unsigned restored, unchanged;
	json_t *kept;
	char *buf, *other; /* PIECE_BYTES each */
	struct err *err;
};

/* ---- small parts ---- */

static const char *const dots[] = { ".", ".." };

static bool is_dot(const char *name)
{
	return strcmp(name, dots[0]) == 0 || strcmp(name, dots[1]) == 0;
}

static void tell(struct work *w, int kind, uint64_t parent, const char *name, uint64_t ino)
{
	struct notice n = { .parent = parent, .ino = ino };

	if (!w->notice)
		return;
	n.kind = kind;
	if (name) {
		n.name_len_bytes = (unsigned)strlen(name);
		memcpy(n.name, name, n.name_len_bytes + 1);
	}
	w->notice(w->notice_ctx, &n, 1);
}

/* The kernel may believe otherwise of this name, and of the directory's listing. */
static void tell_name(struct work *w, uint64_t parent, const char *name)
{
	tell(w, NOTICE_ENTRY, parent, name, 0);
	tell(w, NOTICE_INODE, 0, NULL, parent);
}

/* Once in a while: is anybody waiting for this? */
static int keep_going(struct work *w)
{
	uint64_t now_ms = clock_mono_ms();
	char text[100];

	if (now_ms - w->said_ms < 500)
		return 0;
	w->said_ms = now_ms;
	if (control_gone(w->client))
		return err_set(w->err, -EINTR, "interrupted; what had been made so far is removed again");
	snprintf(text, sizeof(text), "%llu files, %llu MiB", (unsigned long long)w->files,
	         (unsigned long long)(w->bytes >> 20));
	control_say(w->client, text);
	return 0;
}

/* ---- is it what it was? ---- */

static int same_bytes(struct work *w, uint64_t was, uint64_t now, uint64_t size, bool *same)
{
	for (uint64_t off = 0; *same && off < size; off += PIECE_BYTES) {
		ssize_t a = past_read(w->past, was, w->buf, PIECE_BYTES, off);
		ssize_t b = a < 0 ? a : volume_read(w->v, now, w->other, PIECE_BYTES, off);

		if (a < 0 || b < 0)
			return (int)MIN(a, b);
		*same = a == b && memcmp(w->buf, w->other, (size_t)a) == 0;
		if (keep_going(w))
			return w->err->code;
	}
	return 0;
}

static int same_xattrs(struct work *w, uint64_t was, uint64_t now, bool *same)
{
	char *keys = xmalloc(KEYS_MAX_BYTES), *keys_now = xmalloc(KEYS_MAX_BYTES);
	ssize_t n = past_listxattr(w->past, was, keys, KEYS_MAX_BYTES);
	ssize_t n_now = n < 0 ? n : volume_listxattr(w->v, now, keys_now, KEYS_MAX_BYTES);

	*same = n >= 0 && n == n_now && memcmp(keys, keys_now, (size_t)n) == 0;
	for (const char *key = keys; *same && key < keys + n; key += strlen(key) + 1) {
		ssize_t a = past_getxattr(w->past, was, key, w->buf, PIECE_BYTES);
		ssize_t b = volume_getxattr(w->v, now, key, w->other, PIECE_BYTES);

		*same = a >= 0 && a == b && memcmp(w->buf, w->other, (size_t)a) == 0;
	}
	free(keys);
	free(keys_now);
	return n < 0 ? (int)n : 0;
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

static int same_one(struct work *w, const struct attr *was, const struct attr *now, bool *same)
{
	int rc = 0;

	*same = was->mode == now->mode && was->uid == now->uid && was->gid == now->gid && was->rdev == now->rdev &&
	        (S_ISDIR(was->mode) || (was->size_bytes == now->size_bytes && same_time(&was->mtime, &now->mtime)));
	if (*same)
		rc = same_xattrs(w, was->ino, now->ino, same);
	if (!rc && *same && S_ISREG(was->mode))
		rc = same_bytes(w, was->ino, now->ino, was->size_bytes, same);
	if (!rc && *same && S_ISLNK(was->mode)) {
		ssize_t a = past_readlink(w->past, was->ino, w->buf, PIECE_BYTES);
		ssize_t b = volume_readlink(w->v, now->ino, w->other, PIECE_BYTES);

		*same = a >= 0 && a == b && memcmp(w->buf, w->other, (size_t)a) == 0;
	}
	return rc;
}

/* A directory and what became of it, or what is made of it. */
struct pair {
	uint64_t was, now;
};

struct pairs {
	struct work *w;
	struct pair *list;
	size_t n, at; /* at: whose entries are looked at */
	uint64_t entries;
	bool same;
	int rc;
};

static void pairs_add(struct pairs *p, uint64_t was, uint64_t now)
{
	p->list = xrealloc(p->list, (p->n + 1) * sizeof(*p->list));
	p->list[p->n++] = (struct pair){ was, now };
}

static bool compare_entry(void *ctx, const char *name, size_t name_len, uint64_t cookie, const struct attr *was)
{
	struct pairs *p = ctx;
	struct attr now;

	(void)name_len;
	(void)cookie;
	if (is_dot(name))
		return true;
	p->entries++;
	p->same = volume_lookup(p->w->v, p->list[p->at].now, name, &now) == 0;
	if (p->same)
		p->rc = same_one(p->w, was, &now, &p->same);
	if (!p->rc && p->same && S_ISDIR(was->mode))
		pairs_add(p, was->ino, now.ino);
	return !p->rc && p->same;
}

static bool count_entry(void *ctx, const char *name, size_t name_len, uint64_t cookie, const struct attr *now)
{
	struct pairs *p = ctx;

	(void)name_len;
	(void)cookie;
	(void)now;
	if (!is_dot(name))
		p->entries--;
	return true;
}

static int same_tree(struct work *w, const struct attr *was, const struct attr *now, bool *same)
{
	struct pairs p = { .w = w };

	p.rc = same_one(w, was, now, &p.same);
	if (p.same && S_ISDIR(was->mode))
		pairs_add(&p, was->ino, now->ino);
	for (; !p.rc && p.same && p.at < p.n; p.at++) {
		int rc = past_readdir(w->past, p.list[p.at].was, 0, compare_entry, &p);

		if (!rc && !p.rc && p.same)
			rc = volume_readdir(w->v, p.list[p.at].now, 0, count_entry, &p);
		p.rc = rc ? rc : p.rc;
		p.same = p.same && p.entries == 0;
	}
	*same = p.same;
	free(p.list);
	return p.rc;
}

/* ---- making it again ---- */

static int copy_bytes(struct work *w, uint64_t was, uint64_t now, uint64_t size)
{
	uint64_t off = 0;

	while (off < size) {
		int64_t data = past_seek(w->past, was, off, SEEK_DATA); /* holes stay holes */
		ssize_t n;

		if (data == -ENXIO)
			break;
		n = data < 0 ? (ssize_t)data : past_read(w->past, was, w->buf, PIECE_BYTES, (uint64_t)data);
		if (n > 0)
			n = volume_write(w->v, now, w->buf, (size_t)n, (uint64_t)data, 0, NULL);
		if (n <= 0)
			return (int)n;
		off = (uint64_t)data + (uint64_t)n;
		w->bytes += (uint64_t)n;
		if (keep_going(w))
			return w->err->code;
	}
	return volume_setattr(w->v, now, SET_SIZE, &(struct attr){ .size_bytes = size }, &(struct attr){ .ino = 0 });
}

static int copy_xattrs(struct work *w, uint64_t was, uint64_t now)
{
	char *keys = xmalloc(KEYS_MAX_BYTES);
	ssize_t n = volume_listxattr(w->v, now, keys, KEYS_MAX_BYTES);
	int rc = n < 0 ? (int)n : 0;

	/* What a new file inherits it may not have had. */
	for (const char *key = keys; !rc && key < keys + n; key += strlen(key) + 1)
		rc = volume_removexattr(w->v, now, key);
	n = rc ? rc : past_listxattr(w->past, was, keys, KEYS_MAX_BYTES);
	rc = n < 0 ? (int)n : 0;
	for (const char *key = keys; !rc && key < keys + n; key += strlen(key) + 1) {
		ssize_t len = past_getxattr(w->past, was, key, w->buf, PIECE_BYTES);

		rc = len < 0 ? (int)len : volume_setxattr(w->v, now, key, w->buf, (size_t)len, 0);
	}
	free(keys);
	return rc;
}

/* Mode, owner and times; last, as making what is inside changes a directory's. */
static int copy_attrs(struct work *w, const struct attr *was, uint64_t now)
{
	struct attr set = *was, out;
	unsigned what = SET_UID | SET_GID | SET_ATIME | SET_MTIME | (S_ISLNK(was->mode) ? 0 : SET_MODE);

	return volume_setattr(w->v, now, what, &set, &out);
}

static int make_one(struct work *w, uint64_t parent, const char *name, const struct attr *was, struct attr *now)
{
	const struct cred cred = { .uid = was->uid, .gid = was->gid };
	char target[SYMLINK_MAX_BYTES + 1];
	ssize_t n = 0;
	uint64_t linked;
	int rc;

	if (!S_ISDIR(was->mode) && map_get(&w->made, was->ino, &linked))
		return volume_link(w->v, linked, parent, name, now);
	if (S_ISLNK(was->mode))
		n = past_readlink(w->past, was->ino, target, SYMLINK_MAX_BYTES);
	if (n < 0)
		return (int)n;
	target[n] = '\0';
	rc = volume_create(w->v, parent, name, was->mode, was->rdev, S_ISLNK(was->mode) ? target : NULL, &cred, now);
	if (rc)
		return rc;
	if (S_ISREG(was->mode))
		rc = copy_bytes(w, was->ino, now->ino, was->size_bytes);
	if (!rc)
		rc = copy_xattrs(w, was->ino, now->ino);
	if (!rc && !S_ISDIR(was->mode))
		rc = copy_attrs(w, was, now->ino);
	if (!rc && !S_ISDIR(was->mode) && was->nlink > 1)
		map_put(&w->made, was->ino, now->ino);
	w->files++;
	return rc ? rc : keep_going(w) ? w->err->code : 0;
}

static bool make_entry(void *ctx, const char *name, size_t name_len, uint64_t cookie, const struct attr *was)
{
	struct pairs *p = ctx;
	struct attr now;

	(void)name_len;
	(void)cookie;
	if (is_dot(name))
		return true;
	p->rc = make_one(p->w, p->list[p->at].now, name, was, &now);
	if (!p->rc && S_ISDIR(was->mode))
		pairs_add(p, was->ino, now.ino);
	return p->rc == 0;
}

static int make_tree(struct work *w, uint64_t parent, const char *name, const struct attr *was)
{
	struct pairs p = { .w = w };
	struct attr now;

	p.rc = make_one(w, parent, name, was, &now);
	if (!p.rc && S_ISDIR(was->mode))
		pairs_add(&p, was->ino, now.ino);
	for (; !p.rc && p.at < p.n; p.at++) {
		int rc = past_readdir(w->past, p.list[p.at].was, 0, make_entry, &p);

		p.rc = rc ? rc : p.rc;
	}
	for (size_t i = p.n; !p.rc && i-- > 0;) { /* what is inside first */
		struct attr dir;

		p.rc = past_getattr(w->past, p.list[i].was, &dir);
		if (!p.rc)
			p.rc = copy_attrs(w, &dir, p.list[i].now);
	}
	free(p.list);
	return p.rc;
}

/* ---- taking away what was begun ---- */

struct doomed {
	struct work *w;
	struct doomed_dir {
		uint64_t parent, ino;
		char name[NAME_MAX_BYTES + 1];
	} *dirs;
	size_t n, at;
	char name[NAME_MAX_BYTES + 1]; /* one to be removed; "" none */
};

static void doom(struct doomed *d, uint64_t parent, uint64_t ino, const char *name)
{
	d->dirs = xrealloc(d->dirs, (d->n + 1) * sizeof(*d->dirs));
	d->dirs[d->n] = (struct doomed_dir){ .parent = parent, .ino = ino };
	snprintf(d->dirs[d->n++].name, sizeof(d->name), "%s", name);
}

static bool find_doomed(void *ctx, const char *name, size_t name_len, uint64_t cookie, const struct attr *a)
{
	struct doomed *d = ctx;

	(void)name_len;
	(void)cookie;
	if (is_dot(name))
		return true;
	if (S_ISDIR(a->mode))
		doom(d, d->dirs[d->at].ino, a->ino, name);
	else
		volume_unlink(d->w->v, d->dirs[d->at].ino, name);
	return true;
}

/* As far as it can be done: what is left has a name that says what it is. */
static void remove_tree(struct work *w, uint64_t parent, const char *name)
{
	struct doomed d = { .w = w };
	struct attr a;

	if (volume_lookup(w->v, parent, name, &a))
		return;
	if (!S_ISDIR(a.mode)) {
		volume_unlink(w->v, parent, name);
		return;
	}
	doom(&d, parent, a.ino, name);
	for (; d.at < d.n; d.at++)
		volume_readdir(w->v, d.dirs[d.at].ino, 0, find_doomed, &d);
	while (d.n-- > 0)
		volume_rmdir(w->v, d.dirs[d.n].parent, d.dirs[d.n].name);
	free(d.dirs);
}

/* ---- its place ---- */

/* A name beside `name` that is free: "NAME.WORD", "NAME.WORD-2" ...; NAME is cut if it would be too long. */
static int name_beside(struct work *w, uint64_t parent, const char *name, const char *word,
                       char out[NAME_MAX_BYTES + 1])
{
	struct attr a;

	for (unsigned i = 1; i <= NAMES_MAX; i++) {
		char tail[40];
		int n = i > 1 ? snprintf(tail, sizeof(tail), ".%s-%u", word, i)
		              : snprintf(tail, sizeof(tail), ".%s", word);
		int room = (int)NAME_MAX_BYTES - n, rc;

		while (room > 0 && room < (int)strlen(name) && ((unsigned char)name[room] & 0xc0) == 0x80)
			room--; /* not within a character */
		snprintf(out, NAME_MAX_BYTES + 1, "%.*s%s", room, name, tail);
		rc = volume_lookup(w->v, parent, out, &a);
		if (rc == -ENOENT)
			return 0;
		if (rc)
			return rc;
	}
	return -EEXIST;
}

static void remember_kept(struct work *w, uint64_t parent, const char *name)
{
	char *dir = volume_path(w->v, parent);
	char *path = xasprintf("%s/%s", dir && dir[1] ? dir : "", name);

	json_array_append_new(w->kept, words_path(path));
	free(path);
	free(dir);
}

/* What was made takes the name; what has the name goes aside. */
static int put_in_place(struct work *w, uint64_t parent, const char *name, const char *made, const struct attr *now)
{
	char aside[NAME_MAX_BYTES + 1];
	int rc;

	if (!now) {
		rc = volume_rename(w->v, parent, made, parent, name, RENAME_NOREPLACE);
		tell_name(w, parent, name);
		return rc;
	}
	rc = name_beside(w, parent, name, "before-restore", aside);
	if (!rc)
		rc = volume_rename(w->v, parent, made, parent, name, RENAME_EXCHANGE);
	if (rc)
		return rc;
	/* From here on both are there whatever happens. */
	rc = volume_rename(w->v, parent, made, parent, aside, RENAME_NOREPLACE);
	tell_name(w, parent, name);
	tell_name(w, parent, rc ? made : aside);
	tell(w, NOTICE_INODE, 0, NULL, now->ino);
	remember_kept(w, parent, rc ? made : aside);
	return 0;
}

/* `was` under this name, whatever is there now. */
static int restore_one(struct work *w, uint64_t parent, const char *name, const struct attr *was)
{
	char made[NAME_MAX_BYTES + 1];
	struct attr now;
	bool same = false;
	int rc = volume_lookup(w->v, parent, name, &now);
	bool there = rc == 0;

	if (there)
		rc = same_tree(w, was, &now, &same);
	if (rc && rc != -ENOENT)
		return rc;
	if (same) {
		w->unchanged++;
		return 0;
	}
	rc = name_beside(w, parent, name, "restoring", made);
	if (rc)
		return rc;
	rc = make_tree(w, parent, made, was);
	if (!rc)
		rc = put_in_place(w, parent, name, made, there ? &now : NULL);
	if (rc)
		remove_tree(w, parent, made);
	tell_name(w, parent, made);
	w->restored += rc == 0;
	return rc;
}

struct top {
	struct work *w;
	int rc;
};

static bool restore_entry(void *ctx, const char *name, size_t name_len, uint64_t cookie, const struct attr *was)
{
	struct top *t = ctx;

	(void)name_len;
	(void)cookie;
	if (!is_dot(name))
		t->rc = restore_one(t->w, INO_ROOT, name, was);
	return t->rc == 0;
}

static int restore_all(struct work *w)
{
	struct top t = { .w = w };
	int rc = past_readdir(w->past, INO_ROOT, 0, restore_entry, &t);

	return rc ? rc : t.rc;
}

/* One directory on the way: as it is now, or made again as it was. */
static int step_down(struct work *w, uint64_t *now, uint64_t *was, const char *name)
{
	struct attr a, dir;
	int rc = past_lookup(w->past, *was, name, &dir);

	if (rc)
		return rc;
	rc = volume_lookup(w->v, *now, name, &a);
	if (rc == -ENOENT) {
		rc = make_one(w, *now, name, &dir, &a);
		if (!rc)
			rc = copy_attrs(w, &dir, a.ino);
		tell_name(w, *now, name);
	} else if (!rc && !S_ISDIR(a.mode)) {
		rc = err_set(w->err, -ENOTDIR, "%s was a directory and is none now; move it away first", name);
	}
	*now = a.ino;
	*was = dir.ino;
	return rc;
}

static int restore_at(struct work *w, const char *path)
{
	char *copy = xstrdup(path), *save = NULL, *part = strtok_r(copy, "/", &save), *next;
	uint64_t now = INO_ROOT, was = INO_ROOT;
	struct attr a;
	int rc = past_find(w->past, path, &a);

	if (!rc && strcmp(part ? part : "", HIDDEN_NAME) == 0)
		rc = err_set(w->err, -EPERM, "what merges have set aside is not restored; copy it out with cat");
	if (!rc && part && is_dot(part))
		rc = -EINVAL;
	while (!rc && part && (next = strtok_r(NULL, "/", &save))) {
		rc = is_dot(next) ? -EINVAL : step_down(w, &now, &was, part);
		part = next;
	}
	if (!rc)
		rc = part ? restore_one(w, now, part, &a) : restore_all(w);
	free(copy);
	return rc;
}

int restore_path(struct volume *v, struct past *past, const char *path, struct control_client *client,
                 volume_notice_fn notice, void *notice_ctx, json_t *reply, struct err *err)
{
	struct work w = { .v = v, .past = past, .client = client, .notice = notice, .notice_ctx = notice_ctx,
		          .kept = json_array(), .err = err, .said_ms = clock_mono_ms() };
	int rc;

	w.buf = xmalloc(PIECE_BYTES);
	w.other = xmalloc(PIECE_BYTES);
	rc = restore_at(&w, path);
	if (!rc)
		rc = volume_commit(v);
	if (rc == -ENOENT)
		err_set(err, rc, "the baseline has no %s", path);
	else if (rc && !err->code)
		err_set(err, rc, "cannot restore %s: %s", path, strerror(-rc));
	json_object_set_new(reply, "restored", json_integer(w.restored));
	json_object_set_new(reply, "unchanged", json_integer(w.unchanged));
	json_object_set_new(reply, "files", json_integer((json_int_t)w.files));
	json_object_set_new(reply, "bytes", json_integer((json_int_t)w.bytes));
	json_object_set_new(reply, "kept", w.kept);
	map_release(&w.made);
	free(w.buf);
	free(w.other);
	return rc;
}
