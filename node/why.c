/* SPDX-License-Identifier: MIT */
#include "node/why.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/changes.h"
#include "core/past.h"
#include "node/discarded.h"
#include "node/status.h"
#include "node/words.h"
#include "util/buf.h"
#include "util/util.h"

/* Two paths and a rule; a longer sentence is cut. */
#define TEXT_MAX_BYTES 16384u

struct about {
	struct volume *v;
	const char *path;
	struct volume_info info;
	bool here;
	struct attr now;
	bool around; /* what was said last is not about the path itself */
	struct buf text;
};

/* ---- where it is ---- */

static int find_now(struct volume *v, const char *path, struct attr *out)
{
	char *copy = xstrdup(path), *save = NULL;
	int rc = volume_getattr(v, INO_ROOT, out);

	for (char *part = strtok_r(copy, "/", &save); !rc && part; part = strtok_r(NULL, "/", &save))
		rc = volume_lookup(v, out->ino, part, out);
	free(copy);
	return rc == -ENOTDIR || rc == -ENAMETOOLONG ? -ENOENT : rc;
}

/* ---- the change set ---- */

struct dirt {
	struct volume *v;
	uint64_t ino;
	bool names, content, attributes, xattrs;
};

static int look_at_link(void *ctx, const struct dentry *d)
{
	struct dirt *dirt = ctx;
	struct change_row row;

	dirt->names |= changes_get_link(dirt->v, d->link, &row) == 0;
	return 0;
}

static int look_at_key(void *ctx, const char *key, const void *value, size_t len_bytes)
{
	struct dirt *dirt = ctx;
	struct change_row row;

	(void)value;
	(void)len_bytes;
	dirt->xattrs |= changes_get_xattr(dirt->v, dirt->ino, key, &row) == 0;
	return 0;
}

static bool look_at_entity(struct dirt *d, enum entity what)
{
	struct change_row row;

	return changes_get(d->v, d->ino, what, &row) == 0;
}

/* What of the inode the peer does not have yet. `view`: as of when its links are looked for. */
static int find_dirt(struct volume *v, uint64_t ino, struct view view, struct dirt *d)
{
	int rc;

	*d = (struct dirt){ .v = v, .ino = ino };
	volume_lock(v);
	rc = tree_links_of_view(v, ino, view, look_at_link, d);
	if (!rc)
		rc = tree_xattrs(v, ino, look_at_key, d);
	d->content = look_at_entity(d, ENT_CONTENT) || look_at_entity(d, ENT_NEW);
	d->attributes = look_at_entity(d, ENT_MODE) || look_at_entity(d, ENT_OWNER) || look_at_entity(d, ENT_TIMES);
	volume_unlock(v);
	return rc;
}

/* ---- the conflicts ---- */

static bool same_path(const char *a, const char *b)
{
	return a && strcmp(a + strspn(a, "/"), b + strspn(b, "/")) == 0;
}

/* "/dir/a/b" -> "/a/b"; NULL: it is not below dir. */
static const char *below(const char *path, const char *dir)
{
	size_t len;

	if (!dir)
		return NULL;
	path += strspn(path, "/");
	dir += strspn(dir, "/");
	len = strlen(dir);
	return strncmp(path, dir, len) == 0 && path[len] == '/' ? path + len : NULL;
}

/* What a conflict says of the path: that it is about it; that it is a version of what it is about; and the same of a
 * directory that it is in. */
enum part { PART_NONE, PART_ORIGINAL, PART_COPY };
struct told {
	const struct conflict *c;
	enum part part;
	bool inside;
	bool elsewhere; /* the path is where one side had it, and it is not there */
};

static struct told of_discard(const struct about *a, const struct conflict *c)
{
	struct told t = { .c = c };
	struct attr there;
	char *kept;

	if (same_path(c->now ?: c->path, a->path) || below(a->path, c->now))
		t.part = PART_COPY;
	if (t.part != PART_NONE || !c->now)
		return t;
	kept = xasprintf("%s/%s", c->now, a->path + strspn(a->path, "/"));
	if (find_now(a->v, kept, &there) == 0 && there.ino != c->ino)
		t.part = PART_ORIGINAL;
	free(kept);
	return t;
}

static bool is(const struct conflict *c, const char *kind, const char *outcome)
{
	return strcmp(c->kind, kind) == 0 && (!outcome || strcmp(c->outcome, outcome) == 0);
}

/* A person's word undid what one side had done to a name or an attribute, and nobody has wanted it otherwise since. */
static bool is_undone(const struct conflict *c)
{
	static const char prefix[] = "resumed with --prefer: ";

	return (is(c, "move", NULL) || is(c, "delete", NULL) || is(c, "attribute", NULL)) &&
	       strncmp(c->rule, prefix, sizeof(prefix) - 1) == 0 &&
	       !strstr(c->rule, " by hand");
}

static bool is_unit(const struct about *a, const struct conflict *c)
{
	struct attr dir;

	return strcmp(c->kind, "content") == 0 && volume_getattr(a->v, c->ino, &dir) == 0 && S_ISDIR(dir.mode);
}

static struct told tell_of(const struct about *a, const struct conflict *c)
{
	struct told t = { .c = c, .part = PART_COPY };

	if (discarded_holds(c))
		return of_discard(a, c);
	for (int i = 0; i < 2; i++) {
		const struct conflict_version *ver = &c->version[i];

		if (ver->ino == c->ino || !ver->path)
			continue;
		if (same_path(ver->path, a->path) || (a->here && ver->ino == a->now.ino))
			return t;
		t.inside = below(a->path, ver->path) && is_unit(a, c);
		if (t.inside)
			return t;
	}
	if (same_path(c->base_path, a->path))
		return t;
	t.part = PART_ORIGINAL;
	if (same_path(c->path, a->path) || (a->here && c->ino && c->ino == a->now.ino))
		return t;
	/* A mode or an owner is the directory's alone. */
	t.inside = below(a->path, c->now) && (is_unit(a, c) || (is_undone(c) && !is(c, "attribute", NULL)));
	t.elsewhere = !a->here && c->now && (same_path(c->version[0].value, a->path) ||
					     same_path(c->version[1].value, a->path));
	return t.inside || t.elsewhere ? t : (struct told){ .part = PART_NONE };
}

/* Of what one reconciliation did, that comes first which somebody has to do something about. */
static unsigned weight(const struct told *t)
{
	bool file = strcmp(t->c->kind, "content") == 0 || strcmp(t->c->kind, "name") == 0;

	return (t->inside ? 0 : 8) + (conflict_waits(t->c) ? 4 : 0) + (file ? 2 : 0) + (t->c->resolved ? 0 : 1);
}

static bool comes_first(const struct told *t, const struct told *other)
{
	if (!other->c || t->c->when_ms != other->c->when_ms)
		return !other->c || t->c->when_ms > other->c->when_ms;
	return weight(t) >= weight(other);
}

/* Two files of one name, of which both were made of one that both had, and that is kept (up to 8 MiB): a person changed
 * it. */
static bool is_saved_twice(const struct conflict *c)
{
	return is(c, "name", "kept-both") && c->base_path;
}

/* The version that is not in place, or NULL. */
static const struct conflict_version *put_elsewhere(const struct conflict *c)
{
	for (int i = 1; i >= 0; i--)
		if (*c->version[i].node && c->version[i].ino != c->ino)
			return &c->version[i];
	return NULL;
}

static void tell_versions(struct about *a, const struct conflict *c)
{
	const struct conflict_version *p = &c->version[0], *s = &c->version[1];

	if (p->path && s->path && p->ino != c->ino && s->ino != c->ino)
		buf_printf(&a->text, "; the whole versions are %s (%s) and %s (%s)", p->path, p->node, s->path,
		           s->node);
	else if (p->path && p->ino != c->ino)
		buf_printf(&a->text, "; %s's whole version is %s", p->node, p->path);
	else if (s->path && s->ino != c->ino)
		buf_printf(&a->text, "; %s's whole version is %s", s->node, s->path);
}

static void tell_values(struct about *a, const struct conflict *c)
{
	bool any = false;

	for (int i = 0; i < 2; i++) {
		if (c->version[i].value)
			buf_printf(&a->text, "%s%s had %s", any ? ", " : "; ", c->version[i].node, c->version[i].value);
		any |= c->version[i].value != NULL;
	}
}

static void tell_discard(struct about *a, const struct told *t, const char *when)
{
	const struct conflict *c = t->c;
	const char *node = c->version[c->version[1].ino == c->ino].node, *dir = c->now ?: c->path;
	const char *rest = below(a->path, dir);

	if (t->part == PART_ORIGINAL)
		buf_printf(&a->text,
			   "what %s had changed of %s%s was discarded at %s, when both were resumed with --prefer, and "
			   "is kept as %s/%s", node, *a->path == '/' ? "" : "/", a->path, when, dir,
			   a->path + strspn(a->path, "/"));
	else
		buf_printf(&a->text, "%s is what %s had of %s; it was discarded at %s, when both were resumed with "
			   "--prefer", a->path, node, rest ?: "all", when);
	if (!c->resolved)
		buf_printf(&a->text, " (twinfs conflicts puts it back, or drops it)");
}

/* Two names that are the same to people; both stay. */
static void tell_alike(struct about *a, const struct conflict *c, const char *when)
{
	const struct conflict_version *p = &c->version[0], *s = &c->version[1];

	buf_printf(&a->text, "%s is %s's and %s is %s's (%s, at %s)", p->path ?: "what is gone by now", p->node,
	           s->path ?: "what is gone by now", s->node, c->rule, when);
}

/* What a row of kind attribute is about, by the value that it tells. */
static const char *attribute_word(const char *value)
{
	unsigned uid, gid;
	int end = 0;

	if (value && sscanf(value, "%u:%u%n", &uid, &gid, &end) == 2 && !value[end])
		return "owner";
	return value && *value >= '0' && *value <= '7' ? "mode" : "ACL";
}

static void tell_undone(struct about *a, const char *path, const struct conflict *c, const char *when)
{
	bool primary = strcmp(c->outcome, "primary") == 0;
	const struct conflict_version *stays = &c->version[!primary], *gone = &c->version[primary];

	if (is(c, "move", NULL))
		buf_printf(&a->text, "%s was moved to %s on %s", path, gone->value ?: "another place", gone->node);
	else if (is(c, "attribute", NULL))
		buf_printf(&a->text, "the %s of %s was set to %s on %s", attribute_word(gone->value), path,
		           gone->value ?: "another", gone->node);
	else
		buf_printf(&a->text, "%s was deleted on %s", path, gone->node);
	buf_printf(&a->text, "; that was discarded at %s, as %s was preferred (resumed with --prefer): it stays", when,
		   stays->node);
}

static void tell_original(struct about *a, const char *path, const struct conflict *c, const char *when)
{
	const struct conflict_version *other = put_elsewhere(c);
	const char *place = other && other->node == c->version[0].node ? c->version[1].node : c->version[0].node;

	if (is_undone(c)) {
		tell_undone(a, path, c, when);
	} else if (is(c, "content", "merged")) {
		buf_printf(&a->text, "%s was changed on both sides; they were merged at %s (%s)", path, when, c->rule);
		tell_versions(a, c);
	} else if (is(c, "content", "kept-both") || is_saved_twice(c)) {
		buf_printf(&a->text, "%s was changed on both sides and both versions were kept at %s (%s): ", path,
		           when, c->rule);
		buf_printf(&a->text, "here is %s's, ", place);
		if (other && other->path)
			buf_printf(&a->text, "%s's is %s", other->node, other->path);
		else
			buf_printf(&a->text, "the other's file is gone by now");
	} else if (is(c, "content", NULL)) {
		buf_printf(&a->text, "%s was changed on both sides; at %s the %s's version was taken (%s)", path,
		           when, c->outcome, c->rule);
		tell_versions(a, c);
	} else if (is(c, "name", NULL)) {
		buf_printf(&a->text, "both sides gave the name %s to different things: here is %s's; the other was ",
		           path, place);
		if (other && other->path)
			buf_printf(&a->text, "renamed to %s at %s, because the name was taken", other->path, when);
		else
			buf_printf(&a->text, "renamed at %s, because the name was taken, and is gone by now", when);
	} else if (is(c, "delete", "restored")) {
		buf_printf(&a->text, "%s came back at %s (%s)", path, when, c->rule);
	} else {
		buf_printf(&a->text, "%s was changed on both sides, which was settled at %s (%s)", path, when, c->rule);
		tell_values(a, c);
	}
}

static void tell_copy(struct about *a, const char *path, const struct conflict *c, const char *when)
{
	const struct conflict_version *me = put_elsewhere(c);

	for (int i = 0; i < 2; i++)
		if (same_path(c->version[i].path, path) || (a->here && c->version[i].ino == a->now.ino))
			me = &c->version[i];
	if (same_path(c->base_path, path))
		buf_printf(&a->text, "%s is what both sides had of %s before both changed it (%s, at %s)", path,
		           c->path, c->rule, when);
	else if (is(c, "name", NULL) && !is_saved_twice(c))
		buf_printf(&a->text, "%s is %s's; it was renamed at %s, because the name %s was taken", path,
		           me ? me->node : "?", when, c->path);
	else
		buf_printf(&a->text, "%s is the version that %s had of %s, which both sides changed (%s, at %s)", path,
		           me ? me->node : "?", c->path, c->rule, when);
}

/* The directory of the row that the path is in. */
static const char *dir_around(const struct about *a, const struct told *t)
{
	for (int i = 0; i < 2 && t->part == PART_COPY; i++)
		if (below(a->path, t->c->version[i].path))
			return t->c->version[i].path;
	return t->c->now;
}

static void tell(struct about *a, const struct told *t)
{
	const char *path = t->inside ? dir_around(a, t) : t->elsewhere ? t->c->now : a->path;
	char when[21];

	time_rfc3339(t->c->when_ms, when);
	if (t->inside)
		buf_printf(&a->text, "%s is in %s%s; ", a->path, path,
			   is_undone(t->c) ? "" : ", which is kept as a whole");
	if (discarded_holds(t->c))
		tell_discard(a, t, when);
	else if (is(t->c, "name", "merged"))
		tell_alike(a, t->c, when);
	else if (t->part == PART_COPY)
		tell_copy(a, path, t->c, when);
	else
		tell_original(a, path, t->c, when);
	if (conflict_waits(t->c))
		buf_printf(&a->text, "; it waits for you (twinfs conflicts)");
	else if (is(t->c, t->c->kind, "kept-both"))
		buf_printf(&a->text, "; that is settled");
}

/* What else the same reconciliation did to it, and what waits from before. */
static void tell_more(struct about *a, const struct told *all, size_t n, const struct told *first)
{
	bool waits = false;

	for (size_t i = 0; i < n; i++) {
		const struct conflict *c = all[i].c;

		if (all[i].part == PART_NONE || all[i].inside || c == first->c)
			continue;
		if (c->when_ms == first->c->when_ms && all[i].part == PART_ORIGINAL && !discarded_holds(c)) {
			buf_printf(&a->text, "; also, %s", c->rule);
			tell_values(a, c);
		} else {
			waits |= conflict_waits(c);
		}
	}
	if (waits)
		buf_printf(&a->text, "; an earlier conflict of it waits for you too");
}

static int tell_last(struct about *a, json_t *reply)
{
	struct told first = { .c = NULL }, *all;
	struct conflict *rows = NULL;
	size_t n = 0;
	int rc = volume_conflicts(a->v, &rows, &n);

	all = xcalloc(n + 1, sizeof(*all));
	for (size_t i = 0; i < n; i++) { /* in the order in which they were noted */
		all[i] = tell_of(a, &rows[i]);
		if (all[i].part != PART_NONE && comes_first(&all[i], &first))
			first = all[i];
	}
	json_object_set_new(reply, "last", first.c ? status_conflict(&a->info, first.c) : json_null());
	if (first.c) {
		json_object_set_new(json_object_get(reply, "last"), "role",
		                    json_string(first.part == PART_COPY ? "copy" : "original"));
		tell(a, &first);
		tell_more(a, all, n, &first);
	}
	a->around = first.inside || first.elsewhere || (first.c && discarded_holds(first.c));
	for (size_t i = 0; i < n; i++)
		conflict_release(&rows[i]);
	free(rows);
	free(all);
	return rc;
}

/* ---- how it stands ---- */

static const char *state_here(struct about *a, json_t *reply)
{
	json_t *changed;
	struct dirt d;

	if (a->info.role == ROLE_NONE)
		return "alone";
	if (find_dirt(a->v, a->now.ino, (struct view){ .kind = VIEW_NOW }, &d))
		return "unknown";
	if (!d.names && !d.content && !d.attributes && !d.xattrs)
		return "identical";
	changed = json_array();
	if (d.names)
		json_array_append_new(changed, json_string("names"));
	if (d.content)
		json_array_append_new(changed, json_string("content"));
	if (d.attributes)
		json_array_append_new(changed, json_string("attributes"));
	if (d.xattrs)
		json_array_append_new(changed, json_string("xattrs"));
	json_object_set_new(reply, "changed", changed);
	return "pending";
}

/* *unsent: the peer does not know yet that it went. */
static const char *state_gone(struct about *a, json_t *reply, bool *unsent)
{
	struct past *past = NULL;
	struct attr was, now;
	const char *state = "unknown";
	struct dirt d;

	if (past_open(a->v, &past, NULL))
		return state;
	if (past_find(past, a->path, &was) == 0) {
		bool lives = volume_getattr(a->v, was.ino, &now) == 0;
		char *path = lives ? volume_path(a->v, was.ino) : NULL;

		state = path ? "moved" : "deleted";
		if (path)
			json_object_set_new(reply, "now", words_path(path));
		free(path);
		if (find_dirt(a->v, was.ino, (struct view){ .kind = VIEW_AT, .group = past_group(past) }, &d) == 0)
			*unsent = d.names;
	}
	past_close(past);
	return state;
}

static void tell_state(struct about *a, const char *state, bool unsent, json_t *reply)
{
	bool more = a->text.len_bytes > 0;
	const char *here = more && !a->around ? "It" : a->path;
	const char *nothing = more ? "" : "; no conflict of it is known";
	json_t *changed = json_object_get(reply, "changed"), *one;
	size_t i;

	if (more)
		buf_printf(&a->text, ". ");
	if (strcmp(state, "identical") == 0) {
		buf_printf(&a->text, "%s is the same on both sides%s", here, nothing);
	} else if (strcmp(state, "alone") == 0) {
		buf_printf(&a->text, "%s is on this side alone: the store has no peer", here);
	} else if (strcmp(state, "pending") == 0) {
		buf_printf(&a->text, "%s was changed here (", here);
		json_array_foreach(changed, i, one)
			buf_printf(&a->text, "%s%s", i ? ", " : "", json_string_value(one));
		buf_printf(&a->text, "), which the peer has not confirmed yet%s", nothing);
	} else if (strcmp(state, "moved") == 0) {
		buf_printf(&a->text, "%s was moved to %s%s", here, json_string_value(json_object_get(reply, "now")),
		           unsent ? ", which the peer has not confirmed yet" : "");
	} else if (strcmp(state, "deleted") == 0) {
		buf_printf(&a->text, "%s was deleted%s; the baseline has it (twinfs baseline)", here,
		           unsent ? " here, which the peer has not confirmed yet" : " on the other side or by a merge");
	} else {
		buf_printf(&a->text, more ? "%s is not here any more" : "%s is not here, and nothing is known of it",
		           here);
	}
}

int why_path(struct volume *v, const char *path, json_t *reply, struct err *err)
{
	struct about a = { .v = v, .path = path };
	const char *state;
	bool unsent = false;
	int rc;

	volume_info(v, &a.info);
	rc = find_now(v, path, &a.now);
	a.here = rc == 0;
	if (rc && rc != -ENOENT)
		return err_set(err, rc, "cannot look at %s: %s", path, strerror(-rc));
	buf_init(&a.text, TEXT_MAX_BYTES);
	rc = tell_last(&a, reply);
	if (!rc) {
		state = a.here ? state_here(&a, reply) : state_gone(&a, reply, &unsent);
		json_object_set_new(reply, "path", words_path(path));
		json_object_set_new(reply, "state", json_string(state));
		tell_state(&a, state, unsent, reply);
		buf_append(&a.text, "", 1);
		json_object_set_new(reply, "text", a.text.failed ? json_null() : words_path((char *)a.text.data));
	}
	buf_release(&a.text);
	return rc ? err_set(err, rc, "cannot read the conflicts of %s: %s", volume_dir(v), strerror(-rc)) : 0;
}
