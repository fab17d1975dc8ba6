/* SPDX-License-Identifier: MIT */
/* Conflicts as people see and settle them. Rows are kept by changes.c. */
#include "core/internal.h"

#include "db/note_rows.h"
#include "util/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void conflict_release(struct conflict *c)
{
	free(c->rule);
	free(c->path);
	free(c->version[0].path);
	free(c->version[1].path);
}

struct list {
	struct conflict *rows;
	size_t n, cap;
};

static char *copy_or_null(const char *text)
{
	return text ? xstrdup(text) : NULL;
}

static int add_row(void *ctx, const struct conflict *c)
{
	struct list *l = ctx;
	struct conflict *row;

	if (l->n == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 16;
		l->rows = xrealloc(l->rows, l->cap * sizeof(*l->rows));
	}
	row = &l->rows[l->n++];
	*row = *c;
	row->rule = xstrdup(c->rule ? c->rule : "");
	row->path = xstrdup(c->path ? c->path : "");
	row->version[0].path = copy_or_null(c->version[0].path);
	row->version[1].path = copy_or_null(c->version[1].path);
	return 0;
}

/* Where the version is now; none if its file is gone. */
static void update_path(struct volume *v, struct conflict_version *version)
{
	if (version->ino == 0)
		return;
	free(version->path);
	version->path = path_of(v, version->ino);
	if (!version->path)
		version->ino = 0;
}

static int load(struct volume *v, struct list *l)
{
	int rc = conflict_rows_all(v->db, add_row, l);

	for (size_t i = 0; !rc && i < l->n; i++) {
		update_path(v, &l->rows[i].version[0]);
		update_path(v, &l->rows[i].version[1]);
	}
	return rc;
}

static void free_list(struct list *l)
{
	for (size_t i = 0; i < l->n; i++)
		conflict_release(&l->rows[i]);
	free(l->rows);
}

int volume_conflicts(struct volume *v, struct conflict **out, size_t *n)
{
	struct list l = { 0 };
	int rc;

	volume_lock(v);
	rc = load(v, &l);
	volume_unlock(v);
	if (rc) {
		free_list(&l);
		return rc;
	}
	*out = l.rows;
	*n = l.n;
	return 0;
}

/* ---- settle ---- */

static bool same_path(const char *a, const char *b)
{
	if (!a || !b)
		return false;
	while (*a == '/')
		a++;
	while (*b == '/')
		b++;
	return strcmp(a, b) == 0;
}

static bool is_about(struct volume *v, const struct conflict *c, const char *path)
{
	char *now;
	bool yes;

	if (same_path(c->path, path) || same_path(c->version[0].path, path) || same_path(c->version[1].path, path))
		return true;
	now = c->ino ? path_of(v, c->ino) : NULL;
	yes = same_path(now, path);
	free(now);
	return yes;
}

struct first {
	struct dentry d;
	uint64_t skip; /* a link that does not count */
};

static int take_first(void *ctx, const struct dentry *d)
{
	struct first *f = ctx;

	if (d->link == f->skip)
		return 0;
	f->d = *d;
	return 1;
}

static bool lowest_link(struct volume *v, uint64_t ino, struct dentry *out)
{
	struct first f = { .skip = 0 };

	if (ino == 0 || tree_links_of(v, ino, take_first, &f) != 1)
		return false;
	*out = f.d;
	return true;
}

static bool is_dir(struct volume *v, uint64_t ino)
{
	struct inode in;

	return tree_inode_get(v, ino, &in) == 0 && S_ISDIR(in.mode);
}

/* Take the file away that holds a version nobody wants: the one name that the merge gave it. Directories stay: they
 * hold other files. */
static int remove_version(struct volume *v, uint64_t ino)
{
	struct dentry d;

	if (!lowest_link(v, ino, &d) || is_dir(v, ino))
		return 0;
	return names_unlink(v, &d);
}

/* The wanted version goes to the path of the conflict, and the others' files go. */
static int keep_version(struct volume *v, const struct conflict *c, uint64_t wanted, uint64_t other, struct err *err)
{
	struct dentry from, over;
	int rc = 0;

	if (wanted == 0)
		return err_set(err, -ENOENT,
			       "%s: that version was not kept; use --keep both to leave the file as it is", c->path);
	if (is_dir(v, wanted) || (other && is_dir(v, other)))
		return err_set(err, -EISDIR,
			       "%s: a directory is one of the versions; rename or remove it, then use --keep both",
			       c->path);
	if (c->ino && c->ino != wanted && lowest_link(v, c->ino, &over) && lowest_link(v, wanted, &from))
		rc = names_replace(v, &from, &over);
	if (!rc && other && other != wanted && other != c->ino)
		rc = remove_version(v, other);
	return rc ? err_set(err, rc, "cannot settle %s: %s", c->path, strerror(-rc)) : 0;
}

/* A merge that is accepted needs its two sources no longer. */
static int dismiss_merge(struct volume *v, const struct conflict *c)
{
	int rc = 0;

	for (int i = 0; !rc && i < 2; i++) {
		struct dentry d;

		if (c->version[i].ino != c->ino && lowest_link(v, c->version[i].ino, &d) && d.parent == INO_HIDDEN)
			rc = remove_version(v, c->version[i].ino);
	}
	return rc;
}

/* Attributes, moves and the like have no second file: there the settling is all there is. */
static bool has_versions(const struct conflict *c)
{
	return strcmp(c->kind, "content") == 0 || strcmp(c->kind, "name") == 0;
}

static int settle(struct volume *v, const struct conflict *c, int keep, struct err *err)
{
	int local = v->info.role == ROLE_SECONDARY ? 1 : 0;
	int rc = group_open(v);

	if (rc)
		return err_set(err, rc, "cannot settle %s: %s", c->path, strerror(-rc));
	if (keep == 2)
		rc = strcmp(c->outcome, "kept-both") != 0 ? dismiss_merge(v, c) : 0;
	else if (has_versions(c))
		rc = keep_version(v, c, c->version[keep == 0 ? local : !local].ino,
				  c->version[keep == 0 ? !local : local].ino, err);
	if (rc)
		return rc;
	group_mark(v);
	v->conflicts_stale = true;
	v->info.conflicts_noted++;
	return conflict_row_resolve(v->db, c->id, v->info.group_open);
}

int volume_conflict_resolve(struct volume *v, const char *path, int keep, struct err *err)
{
	struct list l = { 0 };
	bool found = false;
	int rc;

	if (keep < 0 || keep > 2)
		return err_set(err, -EINVAL, "keep local, peer or both");
	volume_lock(v);
	rc = load(v, &l);
	for (size_t i = 0; !rc && i < l.n; i++) {
		if (l.rows[i].resolved || !is_about(v, &l.rows[i], path))
			continue;
		found = true;
		rc = settle(v, &l.rows[i], keep, err);
		/* What one settled may have moved what the next is about. */
		for (size_t k = i + 1; !rc && k < l.n; k++) {
			update_path(v, &l.rows[k].version[0]);
			update_path(v, &l.rows[k].version[1]);
		}
	}
	volume_unlock(v);
	free_list(&l);
	if (rc)
		return rc;
	return found ? 0 : err_set(err, -ENOENT, "no open conflict at %s (twinfs conflicts lists them)", path);
}
