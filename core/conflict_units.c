/* SPDX-License-Identifier: MIT */
/* Settling where a version is more than a file: a unit is a directory with all that is in it, and with a database goes
 * what is beside it (docs/merging.md). */
#include "core/internal.h"

#include "core/policy.h"
#include "util/util.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool is_dir(struct volume *v, uint64_t ino)
{
	struct inode in;

	return tree_inode_get(v, ino, &in) == 0 && S_ISDIR(in.mode);
}

struct entries {
	struct dentry *d;
	size_t n, cap;
};

static int list_entry(void *ctx, const struct dentry *d)
{
	struct entries *e = ctx;

	if (e->n == e->cap) {
		e->cap = e->cap ? e->cap * 2 : 16;
		e->d = xrealloc(e->d, e->cap * sizeof(*e->d));
	}
	e->d[e->n++] = *d;
	return 0;
}

/* As deep as the directories are, which is less than PATH_MAX / 2. */
int conflict_empty_dir(struct volume *v, uint64_t dir)
{
	struct entries e = { .n = 0 };
	int rc = tree_children(v, dir, list_entry, &e);

	for (size_t i = 0; !rc && i < e.n; i++) {
		if (is_dir(v, e.d[i].child))
			rc = conflict_empty_dir(v, e.d[i].child);
		if (!rc)
			rc = names_unlink(v, &e.d[i]);
	}
	free(e.d);
	return rc;
}

bool conflict_is_about_unit(struct volume *v, const struct conflict *c)
{
	struct policy_units *u = NULL;
	char *path = NULL;
	bool yes = strcmp(c->kind, "content") == 0;

	if (!c->version[0].ino || !c->version[1].ino || !is_dir(v, c->version[0].ino) || !is_dir(v, c->version[1].ino))
		return false;
	if (!yes && policy_units_load(v, &u) == 0) {
		path = path_of(v, c->ino);
		yes = path && policy_is_unit(u, path);
	}
	free(path);
	policy_units_free(u);
	return yes;
}

/* ---- databases ---- */

static bool is_database(struct volume *v, uint64_t ino)
{
	static const char magic[] = "SQLite format 3";
	const struct view now = { .kind = VIEW_NOW };
	char head[sizeof(magic)] = "";
	struct inode in;

	return tree_inode_get(v, ino, &in) == 0 && S_ISREG(in.mode) && in.size_bytes >= sizeof(head) &&
	       data_read(v, ino, now, head, sizeof(head), 0) == 0 && memcmp(head, magic, sizeof(magic)) == 0;
}

/* The name of the file beside it; false: it is too long. */
static bool name_beside(const struct dentry *main, const char *tail, struct dentry *out)
{
	size_t n = strlen(tail);

	if (main->name_len + n > NAME_MAX_BYTES)
		return false;
	*out = (struct dentry){ .parent = main->parent, .name_len = (uint8_t)(main->name_len + n) };
	memcpy(out->name, main->name, main->name_len);
	memcpy(out->name + main->name_len, tail, n + 1);
	return true;
}

static bool file_beside(struct volume *v, const struct dentry *main, const char *tail, struct dentry *out)
{
	struct dentry at;

	return name_beside(main, tail, &at) && tree_lookup(v, at.parent, at.name, at.name_len, out) == 0 &&
	       !is_dir(v, out->child);
}

int conflict_move_beside(struct volume *v, const struct dentry *from, const struct dentry *to)
{
	static const char *const tails[] = { "-wal", "-shm", "-journal" };
	int rc = 0;

	if (!is_database(v, to->child) || (from && !is_database(v, from->child)))
		return 0;
	for (size_t i = 0; !rc && i < ARRAY_LEN(tails); i++) {
		struct dentry old, new, at;

		if (file_beside(v, to, tails[i], &old))
			rc = names_unlink(v, &old);
		if (!rc && from && name_beside(to, tails[i], &at) && file_beside(v, from, tails[i], &new))
			rc = names_move(v, &new, at.parent, at.name, at.name_len);
	}
	return rc;
}
