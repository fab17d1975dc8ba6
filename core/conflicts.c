/* SPDX-License-Identifier: MIT */
/* Conflicts as a list people look at and ask things of. How one is settled: conflict_settle.c, conflict_notes.c. */
#include "core/conflicts_private.h"

#include "db/note_rows.h"
#include "util/util.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void conflict_release(struct conflict *c)
{
	free(c->rule);
	free(c->path);
	free(c->now);
	free(c->base_path);
	for (int i = 0; i < 2; i++) {
		free(c->version[i].path);
		free(c->version[i].value);
	}
}

/* ---- the list ---- */

static char *copy_or_null(const char *text)
{
	return text ? xstrdup(text) : NULL;
}

int conflict_list_add(void *ctx, const struct conflict *c)
{
	struct conflict_list *l = ctx;
	struct conflict *row;

	if (l->n == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 16;
		l->rows = xrealloc(l->rows, l->cap * sizeof(*l->rows));
	}
	row = &l->rows[l->n++];
	*row = *c;
	row->rule = xstrdup(c->rule ? c->rule : "");
	row->path = xstrdup(c->path ? c->path : "");
	row->now = row->base_path = NULL;
	for (int i = 0; i < 2; i++) {
		row->version[i].path = copy_or_null(c->version[i].path);
		row->version[i].value = copy_or_null(c->version[i].value);
	}
	return 0;
}

void conflict_list_free(struct conflict_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		conflict_release(&l->rows[i]);
	free(l->rows);
}

static void set_path(struct volume *v, uint64_t ino, char **path)
{
	free(*path);
	*path = ino ? path_of(v, ino) : NULL;
}

/* Where everything is now; nowhere what is gone. */
void conflict_update_paths(struct volume *v, struct conflict *c)
{
	set_path(v, c->ino, &c->now);
	set_path(v, c->base, &c->base_path);
	for (int i = 0; i < 2; i++) {
		set_path(v, c->version[i].ino, &c->version[i].path);
		if (!c->version[i].path)
			c->version[i].ino = 0;
	}
}

/* Rows whose paths are looked up while the lock is held: a list may have 100,000. */
#define SLICE_ROWS 128u

static int list_load(struct volume *v, struct conflict_list *l, bool in_slices)
{
	int rc = conflict_rows_all(v->db, conflict_list_add, l);

	for (size_t i = 0; !rc && i < l->n; i++) {
		if (in_slices && i % SLICE_ROWS == SLICE_ROWS - 1) {
			volume_unlock(v);
			volume_lock(v);
		}
		conflict_update_paths(v, &l->rows[i]);
	}
	return rc;
}

/* What is at this path; 0: nothing. */
static uint64_t ino_at(struct volume *v, const char *path)
{
	struct dentry d = { .child = INO_ROOT };

	for (path += strspn(path, "/"); *path; path += strspn(path, "/")) {
		size_t len = strcspn(path, "/");

		if (d.child == INO_ROOT && len == sizeof(HIDDEN_NAME) - 1 && strncmp(path, HIDDEN_NAME, len) == 0)
			d.child = INO_HIDDEN; /* no name of it is in the tree */
		else if (len > NAME_MAX_BYTES || tree_lookup(v, d.child, path, len, &d) < 0)
			return 0;
		path += len;
	}
	return d.child;
}

struct search {
	struct conflict_list *l;
	const char *which;
	uint64_t ino;
};

/* Whoever has a path now is found by what is at it, so that not all of the list's have to be looked up. */
static int add_if_maybe_about(void *ctx, const struct conflict *c)
{
	const struct search *s = ctx;
	bool here = s->ino && (c->ino == s->ino || c->base == s->ino || c->version[0].ino == s->ino ||
			       c->version[1].ino == s->ino);

	return here || conflict_is_about(c, s->which) ? conflict_list_add(s->l, c) : 0;
}

/* All that `which` may be about: with conflict_is_about it is known. */
static int list_load_about(struct volume *v, const char *which, struct conflict_list *l)
{
	struct search s = { l, which, ino_at(v, which) };
	int rc = conflict_rows_all(v->db, add_if_maybe_about, &s);

	for (size_t i = 0; !rc && i < l->n; i++)
		conflict_update_paths(v, &l->rows[i]);
	return rc;
}

bool conflicts_any(struct volume *v)
{
	const struct db_numbers *n = db_numbers(v->db);

	return n->kept_both + n->merged > 0;
}

int conflict_open_of(struct volume *v, uint64_t ino, conflict_fn fn, void *ctx)
{
	return conflict_rows_open_of(v->db, ino, fn, ctx);
}

int volume_conflicts_about(struct volume *v, const char *about, struct conflict **out, size_t *n)
{
	struct conflict_list l = { 0 };
	size_t kept = 0;
	int rc;

	volume_lock(v);
	rc = about ? list_load_about(v, about, &l) : list_load(v, &l, true);
	volume_unlock(v);
	if (rc) {
		conflict_list_free(&l);
		return rc;
	}
	for (size_t i = 0; i < l.n; i++)
		if (!about || conflict_is_about(&l.rows[i], about))
			l.rows[kept++] = l.rows[i];
		else
			conflict_release(&l.rows[i]);
	*out = l.rows;
	*n = kept;
	return 0;
}

int volume_conflicts(struct volume *v, struct conflict **out, size_t *n)
{
	return volume_conflicts_about(v, NULL, out, n);
}

bool conflict_same_path(const char *a, const char *b)
{
	return a && b && strcmp(a + strspn(a, "/"), b + strspn(b, "/")) == 0;
}

bool conflict_is_about(const struct conflict *c, const char *which)
{
	char id[24];

	snprintf(id, sizeof(id), "%" PRIu64, c->id);
	return conflict_same_path(c->path, which) || conflict_same_path(c->now, which) ||
	       conflict_same_path(c->version[0].path, which) || conflict_same_path(c->version[1].path, which) ||
	       conflict_same_path(c->base_path, which) || conflict_same_path(id, which);
}

bool conflict_waits(const struct conflict *c)
{
	return !c->resolved && strcmp(c->outcome, "kept-both") == 0;
}

int conflict_side(const struct volume_info *info, const struct conflict *c)
{
	for (int i = 0; i < 2; i++)
		if (strcmp(c->version[i].node, info->node_name) == 0 &&
		    strcmp(c->version[!i].node, info->node_name) != 0)
			return i;
	return info->role == ROLE_SECONDARY ? 1 : 0;
}

bool conflict_is_kind(const struct conflict *c, const char *kind)
{
	return strcmp(c->kind, kind) == 0;
}

uint64_t conflict_kept_version(struct volume *v, uint64_t ino, uint64_t after)
{
	struct conflict_list l = { 0 };
	uint64_t kept = 0, grp;
	bool resolved;

	if (conflict_rows_open_of(v->db, ino, conflict_list_add, &l) == 0)
		for (size_t i = 0; i < l.n; i++) { /* the newest */
			const struct conflict *c = &l.rows[i];

			if (c->ino == ino && conflict_is_kind(c, "content") &&
			    conflict_is_aside(v, c->version[1].ino) &&
			    conflict_row_state(v->db, c->id, &grp, &resolved) == 0 && grp > after)
				kept = c->version[1].ino;
		}
	conflict_list_free(&l);
	return kept;
}

/* ---- what people ask for ---- */

static int none_at(const char *which, struct err *err)
{
	return err_set(err, -ENOENT, "no conflict of %s is known (twinfs conflicts lists them)", which);
}

/* What one reconciliation noted of this file besides its versions, in the list. */
static int set_notes(struct volume *v, struct conflict_list *l, const char *which, int keep, bool *done,
                     struct err *err)
{
	uint64_t last_ms = 0;
	int rc = 0;

	for (size_t i = 0; i < l->n; i++)
		if (conflict_is_about(&l->rows[i], which) && (!*done || !l->rows[i].resolved))
			last_ms = MAX(last_ms, l->rows[i].when_ms);
	for (size_t i = 0; rc >= 0 && i < l->n; i++) {
		struct conflict *c = &l->rows[i];

		if (!conflict_is_note(c) || !conflict_is_about(c, which) || c->when_ms != last_ms)
			continue;
		rc = conflict_set_note(v, c, keep, err);
		*done |= rc == 1;
	}
	return MIN(rc, 0);
}

int volume_conflict_resolve(struct volume *v, const char *which, int keep, struct err *err)
{
	struct conflict_list l = { 0 };
	bool about = false, open = false, done;
	int rc;

	if (keep < 0 || keep > 2)
		return err_set(err, -EINVAL, "keep local, peer or both");
	volume_lock(v);
	rc = list_load_about(v, which, &l);
	volume_unlock(v);
	for (size_t i = 0; !rc && i < l.n; i++) {
		about |= conflict_is_about(&l.rows[i], which);
		open |= conflict_is_about(&l.rows[i], which) && !l.rows[i].resolved;
	}
	done = open;
	if (!rc && about)
		rc = set_notes(v, &l, which, keep, &done, err);
	volume_lock(v);
	for (size_t i = 0; !rc && i < l.n; i++) {
		/* What one settled may have moved what the next is about. */
		if (l.rows[i].resolved || !conflict_is_about(&l.rows[i], which))
			continue;
		conflict_update_paths(v, &l.rows[i]);
		rc = conflict_settle(v, &l.rows[i], keep, err);
	}
	volume_unlock(v);
	for (size_t i = 0; !rc && !done && i < l.n; i++) /* settled before: said twice is fine */
		done = conflict_is_about(&l.rows[i], which) && !conflict_is_note(&l.rows[i]);
	conflict_list_free(&l);
	if (rc)
		return err->code ? rc : err_set(err, rc, "cannot settle %s: %s", which, strerror(-rc));
	if (!about)
		return none_at(which, err);
	return done ? 0 : err_set(err, -ENOENT, "%s: what that side had is not known any more", which);
}

int volume_conflict_dismiss(struct volume *v, const char *which, uint64_t before_ms, size_t *n, struct err *err)
{
	struct conflict_list l = { 0 };
	bool about = false, waits = false;
	int rc;

	*n = 0;
	volume_lock(v);
	rc = which ? list_load_about(v, which, &l) : list_load(v, &l, false);
	for (size_t i = 0; !rc && i < l.n; i++) {
		struct conflict *c = &l.rows[i];

		if (which && !conflict_is_about(c, which))
			continue;
		about = true;
		waits |= conflict_waits(c);
		if (c->resolved || conflict_waits(c) || (before_ms && c->when_ms >= before_ms))
			continue;
		rc = group_open(v);
		if (!rc)
			rc = conflict_finish(v, c);
		*n += rc == 0;
	}
	volume_unlock(v);
	conflict_list_free(&l);
	if (rc)
		return err_set(err, rc, "cannot dismiss what is kept of merges: %s", strerror(-rc));
	if (which && !about)
		return none_at(which, err);
	if (which && *n == 0 && waits)
		return err_set(err, -EINVAL,
		               "%s was not merged, both versions are kept: settle it with --resolve PATH --keep "
		               "local|peer|both", which);
	return 0;
}

int volume_conflict_split(struct volume *v, const char *which, struct err *err)
{
	struct conflict_list l = { 0 };
	bool about = false, done = false;
	int rc;

	volume_lock(v);
	rc = list_load_about(v, which, &l);
	for (size_t i = l.n; !rc && !done && i-- > 0;) { /* the newest */
		struct conflict *c = &l.rows[i];

		if (!conflict_is_about(c, which))
			continue;
		about = true;
		if (c->resolved || conflict_waits(c) || !conflict_is_kind(c, "content") || !c->version[0].ino ||
		    !c->version[1].ino)
			continue;
		rc = conflict_take_apart(v, c);
		done = rc == 0;
	}
	volume_unlock(v);
	conflict_list_free(&l);
	if (rc)
		return err_set(err, rc, "cannot take %s apart: %s", which, strerror(-rc));
	if (!about)
		return none_at(which, err);
	return done ? 0
	            : err_set(err, -ENODATA, "%s: there is no merge whose two versions are still kept", which);
}

/* ---- what is settled is history ---- */

/* Who asks `why` asks about lately; a few more cost nothing. */
#define SETTLED_OLD_MAX 1000u
#define SETTLED_OLD_MS (UINT64_C(30) * 24 * 60 * 60 * 1000)
/* One reconciliation may note very many (chmod -R on both sides), each with what the other side had, and nowhere else
 * is that kept. But a list of them is read whole into memory, half a kilobyte each. */
#define SETTLED_MAX 100000u

/* Each side for itself: which rows are that old both sides know alike. Some at a time, but more than are added. */
int conflicts_tidy(struct volume *v)
{
	const uint64_t at_once = 4 * CONFLICTS_TIDY_EVERY, before_ms = clock_real_ms() - SETTLED_OLD_MS;
	uint64_t n;
	int rc = conflict_rows_settled(v->db, &n);

	v->conflicts_put = 0;
	if (!rc && n > SETTLED_OLD_MAX)
		rc = conflict_rows_drop(v->db, MIN(n - SETTLED_OLD_MAX, at_once), before_ms);
	if (!rc)
		rc = conflict_rows_settled(v->db, &n);
	if (!rc && n > SETTLED_MAX)
		rc = conflict_rows_drop(v->db, MIN(n - SETTLED_MAX, at_once), UINT64_MAX >> 1);
	return rc;
}
