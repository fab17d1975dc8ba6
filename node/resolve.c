/* SPDX-License-Identifier: MIT */
#include "node/resolve.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "util/util.h"

/* Names and inodes that the settling may touch. */
struct touched {
	struct notice *list;
	size_t n;
};

static void add(struct touched *t, const struct notice *one)
{
	t->list = xrealloc(t->list, (t->n + 1) * sizeof(*t->list));
	t->list[t->n++] = *one;
}

static void add_inode(struct touched *t, uint64_t ino)
{
	if (ino)
		add(t, &(struct notice){ .kind = NOTICE_INODE, .ino = ino });
}

/* The directory entry at a path, if its directory is there. */
static void add_path(struct volume *v, struct touched *t, const char *path)
{
	struct notice entry = { .kind = NOTICE_ENTRY, .parent = INO_ROOT };
	char *copy = xstrdup(path ? path : ""), *save = NULL, *part, *next;
	struct attr attr;

	part = strtok_r(copy, "/", &save);
	while (part && (next = strtok_r(NULL, "/", &save))) {
		if (volume_lookup(v, entry.parent, part, &attr) != 0) {
			part = NULL;
			break;
		}
		entry.parent = attr.ino;
		part = next;
	}
	if (part && strlen(part) <= NAME_MAX_BYTES) {
		entry.name_len_bytes = (unsigned)strlen(part);
		memcpy(entry.name, part, entry.name_len_bytes + 1);
		add(t, &entry);
		add_inode(t, entry.parent);
	}
	free(copy);
}

static bool same_path(const char *a, const char *b)
{
	return a && strcmp(a + strspn(a, "/"), b + strspn(b, "/")) == 0;
}

/* Everything that open conflicts about this path speak of. */
static int gather(struct volume *v, const char *path, struct touched *t)
{
	struct conflict *rows = NULL;
	size_t n = 0;
	int rc = volume_conflicts(v, &rows, &n);

	for (size_t i = 0; i < n; i++) {
		struct conflict *c = &rows[i];
		char *now = c->ino ? volume_path(v, c->ino) : NULL;

		if (!c->resolved && (same_path(c->path, path) || same_path(now, path) ||
		                     same_path(c->version[0].path, path) || same_path(c->version[1].path, path))) {
			add_path(v, t, c->path);
			add_path(v, t, now);
			add_inode(t, c->ino);
			for (int k = 0; k < 2; k++) {
				add_path(v, t, c->version[k].path);
				add_inode(t, c->version[k].ino);
			}
		}
		free(now);
		conflict_release(c);
	}
	free(rows);
	return rc;
}

int resolve_conflict(struct volume *v, const char *path, int keep, volume_notice_fn notice, void *notice_ctx,
                     struct err *err)
{
	struct touched t = { .list = NULL };
	int rc = notice ? gather(v, path, &t) : 0;

	if (!rc)
		rc = volume_conflict_resolve(v, path, keep, err);
	if (!rc && t.n > 0)
		notice(notice_ctx, t.list, t.n);
	if (!rc)
		rc = volume_commit(v);
	free(t.list);
	return rc;
}
