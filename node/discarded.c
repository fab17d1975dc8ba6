/* SPDX-License-Identifier: MIT */
#include "node/discarded.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "util/conflict_name.h"
#include "util/util.h"

#define PREFIX "discarded-"
/* Names tried for what is put aside. */
#define NAMES_MAX 1000u

enum { KEEP_BOTH = 2, KEEP_NONE = 3 };

struct work {
	struct volume *v;
	volume_notice_fn notice;
	void *notice_ctx;
	char node[33];  /* whose it was */
	bool beside;    /* what is in the way stays there */
	struct err *err;
};

/* ---- small parts ---- */

/* The kernel may believe otherwise of this name, and of the directory's listing. */
static void tell(struct work *w, uint64_t parent, const char *name)
{
	struct notice n = { .kind = NOTICE_ENTRY, .parent = parent };

	if (!w->notice)
		return;
	n.name_len_bytes = (unsigned)strlen(name);
	memcpy(n.name, name, n.name_len_bytes + 1);
	w->notice(w->notice_ctx, &n, 1);
	n = (struct notice){ .kind = NOTICE_INODE, .ino = parent };
	w->notice(w->notice_ctx, &n, 1);
}

struct names {
	char **list;
	size_t n;
};

static void names_add(struct names *l, const char *name, size_t name_len)
{
	l->list = xrealloc(l->list, (l->n + 1) * sizeof(*l->list));
	l->list[l->n++] = xstrndup(name, name_len);
}

static bool add_entry(void *ctx, const char *name, size_t name_len, uint64_t cookie, const struct attr *a)
{
	(void)a;
	if (cookie > 2) /* not "." and ".." */
		names_add(ctx, name, name_len);
	return true;
}

static void names_release(struct names *l)
{
	for (size_t i = 0; i < l->n; i++)
		free(l->list[i]);
	free(l->list);
}

static int move(struct work *w, uint64_t from_dir, const char *from, uint64_t to_dir, const char *to)
{
	int rc = volume_rename(w->v, from_dir, from, to_dir, to, RENAME_NOREPLACE);

	tell(w, from_dir, from);
	tell(w, to_dir, to);
	return rc;
}

/* ---- dismiss ---- */

static int remove_all(struct work *w, uint64_t parent, const char *name)
{
	struct names l = { .n = 0 };
	struct attr a;
	int rc = volume_lookup(w->v, parent, name, &a);

	if (rc == 0 && S_ISDIR(a.mode)) {
		rc = volume_readdir(w->v, a.ino, 0, add_entry, &l);
		for (size_t i = 0; rc == 0 && i < l.n; i++)
			rc = remove_all(w, a.ino, l.list[i]);
		if (rc == 0)
			rc = volume_rmdir(w->v, parent, name);
	} else if (rc == 0) {
		rc = volume_unlink(w->v, parent, name);
	}
	names_release(&l);
	tell(w, parent, name);
	return rc;
}

/* ---- put back ---- */

static int out_of_the_way(struct work *w, uint64_t dir, const char *name)
{
	char beside[NAME_MAX_BYTES + 1];
	int rc = -EEXIST;

	for (unsigned i = 1; rc == -EEXIST && i <= NAMES_MAX; i++) {
		char tail[40];
		int n = i > 1 ? snprintf(tail, sizeof(tail), ".before-restore-%u", i)
		              : snprintf(tail, sizeof(tail), ".before-restore");
		int room = (int)NAME_MAX_BYTES - n;

		while (room < (int)strlen(name) && ((unsigned char)name[room] & 0xc0) == 0x80)
			room--; /* not within a character */
		snprintf(beside, sizeof(beside), "%.*s%s", room, name, tail);
		rc = move(w, dir, name, dir, beside);
	}
	return rc;
}

/* As a version of a conflict is. */
static int put_beside(struct work *w, uint64_t from, const char *name, const struct attr *a, uint64_t to)
{
	uint64_t written_ms = (uint64_t)a->mtime.tv_sec * 1000;
	char beside[NAME_MAX_BYTES + 1];
	int rc = -EEXIST;

	for (unsigned i = 1; rc == -EEXIST && i <= NAMES_MAX; i++) {
		conflict_name(name, strlen(name), w->node, written_ms, i, beside);
		rc = move(w, from, name, to, beside);
	}
	return rc;
}

static int put_back(struct work *w, uint64_t from, const char *name, uint64_t to)
{
	struct names l = { .n = 0 };
	struct attr a, there;
	int rc = volume_lookup(w->v, from, name, &a), there_rc = volume_lookup(w->v, to, name, &there);

	if (rc == 0 && there_rc == 0 && S_ISDIR(a.mode) && S_ISDIR(there.mode)) {
		rc = volume_readdir(w->v, a.ino, 0, add_entry, &l);
		for (size_t i = 0; rc == 0 && i < l.n; i++)
			rc = put_back(w, a.ino, l.list[i], there.ino);
		if (rc == 0)
			rc = volume_rmdir(w->v, from, name);
		tell(w, from, name);
		names_release(&l);
		return rc;
	}
	if (rc == 0 && there_rc == 0 && w->beside)
		return put_beside(w, from, name, &a, to);
	if (rc == 0 && there_rc == 0)
		rc = out_of_the_way(w, to, name);
	return rc ? rc : move(w, from, name, to, name);
}

/* The directory in the tree, made again as it was if it is not there. */
static int step_down(struct work *w, const struct attr *was, uint64_t *dir, const char *name)
{
	const struct cred cred = { .uid = was->uid, .gid = was->gid };
	struct attr a;
	int rc = volume_lookup(w->v, *dir, name, &a);

	if (rc == -ENOENT) {
		rc = volume_create(w->v, *dir, name, was->mode, 0, NULL, &cred, &a);
		tell(w, *dir, name);
	} else if (rc == 0 && !S_ISDIR(a.mode)) {
		rc = err_set(w->err, -ENOTDIR, "%s was a directory and is none now; move it away first", name);
	}
	*dir = a.ino;
	return rc;
}

/* ---- which one ---- */

struct place { /* what is meant: `name` in `parent`; the directories above it, from .twinfs on */
	struct {
		uint64_t ino;
		char name[NAME_MAX_BYTES + 1];
	} above[512];
	size_t depth; /* 1: the whole directory */
	uint64_t target; /* where it goes back to */
	char name[NAME_MAX_BYTES + 1];
};

/* 1: no such place. */
static int find(struct work *w, const char *path, bool back, struct place *p)
{
	char *copy = xstrdup(path), *save = NULL, *part = strtok_r(copy, "/", &save), *next;
	uint64_t at = INO_HIDDEN;
	struct attr a;
	int rc = part && strcmp(part, HIDDEN_NAME) == 0 ? 0 : 1;

	part = rc ? NULL : strtok_r(NULL, "/", &save);
	if (rc == 0 && (!part || strncmp(part, PREFIX, strlen(PREFIX)) != 0))
		rc = 1;
	p->target = INO_ROOT;
	p->depth = 0;
	for (; rc == 0; part = next) {
		if (p->depth == ARRAY_LEN(p->above))
			rc = -ENAMETOOLONG;
		else
			rc = strcmp(part, ".") == 0 || strcmp(part, "..") == 0 ? -EINVAL
			                                                       : volume_lookup(w->v, at, part, &a);
		if (rc)
			break;
		p->above[p->depth].ino = at;
		snprintf(p->above[p->depth++].name, sizeof(p->name), "%s", part);
		snprintf(p->name, sizeof(p->name), "%s", part);
		next = strtok_r(NULL, "/", &save);
		if (!next)
			break;
		if (back && p->depth > 1)
			rc = step_down(w, &a, &p->target, part);
		at = a.ino;
	}
	free(copy);
	return rc;
}

bool discarded_holds(const struct conflict *c)
{
	static const char prefix[] = "/" HIDDEN_NAME "/" PREFIX;

	return strncmp(c->path, prefix, sizeof(prefix) - 1) == 0;
}

/* Where the row's directory is; NULL: it is about something else, settled, or somebody has moved it away. */
static const char *path_of_row(const struct conflict *c)
{
	bool here = discarded_holds(c) && !c->resolved && c->now;

	return here && strncmp(c->now, "/" HIDDEN_NAME "/", sizeof("/" HIDDEN_NAME "/") - 1) == 0 ? c->now : NULL;
}

/* The row that speaks of this directory: is what is in it of this side? 1: none does that is not settled. */
static int find_row(struct work *w, uint64_t top, bool *local)
{
	struct conflict *rows = NULL;
	struct volume_info info;
	size_t n = 0;
	int rc = volume_conflicts(w->v, &rows, &n), found = 1;

	for (size_t i = 0; i < n; i++) {
		if (rows[i].ino == top && path_of_row(&rows[i])) {
			int side = rows[i].version[1].ino == top;

			volume_info(w->v, &info);
			*local = conflict_side(&info, &rows[i]) == side;
			snprintf(w->node, sizeof(w->node), "%s", rows[i].version[side].node);
			found = 0;
		}
		conflict_release(&rows[i]);
	}
	free(rows);
	return rc ? rc : found;
}

/* Directories above what went that are empty now go too; with the last the conflict is settled. */
static int tidy(struct work *w, struct place *p)
{
	char *whole = xasprintf("/" HIDDEN_NAME "/%s", p->above[0].name);
	struct attr a;
	int rc = 0;

	for (size_t i = p->depth; rc == 0 && i-- > 0;) {
		if (volume_lookup(w->v, p->above[i].ino, p->above[i].name, &a))
			continue;
		rc = S_ISDIR(a.mode) ? volume_rmdir(w->v, p->above[i].ino, p->above[i].name) : -ENOTEMPTY;
		tell(w, p->above[i].ino, p->above[i].name);
	}
	if (rc == 0)
		rc = volume_conflict_resolve(w->v, whole, 2, w->err);
	free(whole);
	return rc == -ENOTEMPTY ? 0 : rc;
}

static int settle_whole(struct work *w, uint64_t top, bool back)
{
	struct names l = { .n = 0 };
	int rc = volume_readdir(w->v, top, 0, add_entry, &l);

	for (size_t i = 0; rc == 0 && i < l.n; i++)
		rc = back ? put_back(w, top, l.list[i], INO_ROOT) : remove_all(w, top, l.list[i]);
	names_release(&l);
	return rc;
}

static int settle(struct work *w, const char *path, int keep)
{
	struct place *p = xmalloc(sizeof(*p));
	struct attr top, a;
	int rc = find(w, path, false, p);
	bool back, local = false;

	if (rc == 0)
		rc = volume_lookup(w->v, INO_HIDDEN, p->above[0].name, &top);
	if (rc == 0)
		rc = find_row(w, top.ino, &local);
	w->beside = keep == KEEP_BOTH;
	back = keep != KEEP_NONE && (w->beside || (keep == 0) == local);
	if (rc == 0 && back)
		rc = find(w, path, true, p);
	if (rc == 0 && p->depth == 1)
		rc = settle_whole(w, top.ino, back);
	else if (rc == 0)
		rc = volume_lookup(w->v, p->above[p->depth - 1].ino, p->name, &a);
	if (rc == 0 && p->depth > 1)
		rc = back ? put_back(w, p->above[p->depth - 1].ino, p->name, p->target)
		          : remove_all(w, p->above[p->depth - 1].ino, p->name);
	if (rc == 0)
		rc = tidy(w, p);
	if (rc == 0)
		rc = volume_commit(w->v);
	free(p);
	return rc >= 0 || w->err->code ? rc : err_set(w->err, rc, "cannot settle %s: %s", path, strerror(-rc));
}

/* The paths of the rows that `which` means (NULL: all) and that are older than before_ms (0: any). */
static int list_rows(struct volume *v, const char *which, uint64_t before_ms, struct names *l)
{
	struct conflict *rows = NULL;
	size_t n = 0;
	int rc = volume_conflicts_about(v, which, &rows, &n);

	for (size_t i = 0; i < n; i++) {
		const char *path = path_of_row(&rows[i]);

		if (path && (!before_ms || rows[i].when_ms < before_ms))
			names_add(l, path, strlen(path));
		conflict_release(&rows[i]);
	}
	free(rows);
	return rc;
}

int discarded_settle(struct volume *v, const char *which, int keep, volume_notice_fn notice, void *notice_ctx,
                     struct err *err)
{
	struct work w = { .v = v, .notice = notice, .notice_ctx = notice_ctx, .err = err };
	struct names by_id = { .n = 0 };
	int rc = list_rows(v, which, 0, &by_id);

	if (rc == 0)
		rc = settle(&w, by_id.n > 0 ? by_id.list[0] : which, keep);
	names_release(&by_id);
	return rc;
}

int discarded_dismiss(struct volume *v, const char *which, uint64_t before_ms, size_t *n, volume_notice_fn notice,
                      void *notice_ctx, struct err *err)
{
	struct work w = { .v = v, .notice = notice, .notice_ctx = notice_ctx, .err = err };
	struct names whole = { .n = 0 };
	int rc = list_rows(v, which, before_ms, &whole);

	*n = 0;
	for (size_t i = 0; rc == 0 && i < whole.n; i++) {
		rc = settle(&w, whole.list[i], KEEP_NONE);
		*n += rc == 0;
	}
	if (rc == 0 && which && *n == 0 && !before_ms) { /* one thing in it */
		rc = settle(&w, which, KEEP_NONE);
		*n += rc == 0;
	}
	names_release(&whole);
	return MIN(rc, 0);
}
