/* SPDX-License-Identifier: MIT */
/* What a person may want to know of a merge: the conflicts, with both versions. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sync/merge_land.h"
#include "util/util.h"

/* Of what a word discards so many removals and moves, and so many modes and owners, are told one by one: they stay in
 * the list for a month, and who discards more than that looks at the tree. */
#define DISCARDED_NOTES_MAX 1000u

static void fill_version(struct merger *m, struct conflict_version *ver, const char *node, uint64_t ino,
			 uint64_t written_ms)
{
	snprintf(ver->node, sizeof(ver->node), "%s", node);
	ver->ino = ino;
	ver->path = ino ? merge_path(m->v, ino) : NULL;
	ver->written_ms = written_ms;
}

static int is_other_key(void *ctx, const char *key, const void *value, size_t len_bytes)
{
	(void)ctx;
	(void)value;
	(void)len_bytes;
	return strncmp(key, CONFLICT_XATTR, strlen(CONFLICT_XATTR)) == 0;
}

static char *place_text(struct merger *m, const struct rs_pos *p)
{
	char *dir = p->present ? merge_path(m->v, p->parent) : NULL, *path;

	if (!dir)
		return xstrdup("deleted");
	path = xasprintf("%s/%.*s", dir[1] ? dir : "", (int)p->name_len, p->name);
	free(dir);
	return path;
}

char *merge_mode_text(uint32_t mode, const uint8_t *acl, ssize_t len)
{
	char *list = len > 0 && acl_check(acl, (size_t)len) == 0 ? acl_text(acl, (size_t)len, false) : NULL, *text;

	text = list ? xasprintf("%04o %s", mode & 07777, list) : xasprintf("%04o", mode & 07777);
	free(list);
	return text;
}

/* Can all of it be shown in a line? Values of programs are often no text. */
static bool is_short_text(const uint8_t *value, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (value[i] < 0x20 || value[i] > 0x7e)
			return false;
	return len <= 200;
}

/* len < 0: there is none. */
static char *xattr_text(const char *key, const uint8_t *value, ssize_t len)
{
	bool is_default = strcmp(key, ACL_DEFAULT_KEY) == 0;

	if (acl_is_key(key))
		return len > 0 && acl_check(value, (size_t)len) == 0 ? acl_text(value, (size_t)len, is_default)
								      : xstrdup(is_default ? "default:none" : "none");
	if (len < 0)
		return xasprintf("%s removed", key);
	if (is_short_text(value, (size_t)len))
		return xasprintf("%s=%.*s", key, (int)len, (const char *)value);
	return xasprintf("%s, %zd bytes", key, len);
}

/* What became of the secondary's value, which is in place beside ours. */
static char *xattr_rule(struct merger *m, uint64_t ino, const struct ship_xattr *x, bool removed_here)
{
	char kept[XATTR_NAME_MAX_BYTES + 1];

	if (!x->value)
		return xstrdup("an xattr was set on one side and removed on the other: the primary's value stays");
	if (conflict_key_for(m->v, ino, x->key, x->value, x->value_len, kept) < 0)
		conflict_key(x->key, 1, kept);
	return xasprintf(removed_here ? "an xattr was removed on one side and set on the other: the primary's removal "
					"stays, the value is in %s"
				      : "an xattr got two values: the primary's stays, the other is in %s", kept);
}

static void fill_attribute(struct merger *m, const struct rs_note *n, struct conflict *c)
{
	const struct attr_case *ac = &m->attr_cases[n->attr];
	struct inode *in = xcalloc(1, sizeof(*in));
	uint8_t *value = xmalloc(XATTR_VALUE_MAX_BYTES), acl[ACL_MAX_BYTES];
	struct conflict_version *p = &c->version[0], *s = &c->version[1];
	bool here = tree_inode_get(m->v, n->ino, in) == 0;
	ssize_t len;

	if (here && ac->is_xattr) {
		const struct ship_xattr *x = &m->s->xattrs[ac->norm];

		len = tree_xattr_get(m->v, n->ino, x->key, value, XATTR_VALUE_MAX_BYTES);
		p->value = xattr_text(x->key, value, len);
		s->value = xattr_text(x->key, x->value, x->value ? (ssize_t)x->value_len : -1);
		if (!acl_is_key(x->key)) {
			free(c->rule);
			c->rule = xattr_rule(m, n->ino, x, len < 0);
		}
	} else if (here && ac->field == REC_MODE) {
		const struct norm_inode *theirs = &m->ni[ac->norm];

		len = tree_xattr_get(m->v, n->ino, ACL_ACCESS_KEY, acl, sizeof(acl));
		p->value = merge_mode_text(in->mode, acl, len);
		len = merge_their_acl(m, theirs, acl);
		s->value = merge_mode_text(theirs->rec->mode, acl, len);
	} else if (here && ac->field == REC_OWNER) {
		const struct rec_inode *r = m->ni[ac->norm].rec;

		p->value = xasprintf("%u:%u", in->uid, in->gid);
		s->value = xasprintf("%u:%u", r->uid, r->gid);
	}
	free(value);
	free(in);
}

/* What each side had where that is not a file of its own: for whoever wants the other one after all. */
static void fill_values(struct merger *m, const struct rs_note *n, struct conflict *c)
{
	const struct rs_inode *node = merge_input_inode(m, n->ino);
	uint64_t at;

	if (strcmp(n->kind, "attribute") == 0 || strcmp(n->kind, "xattr") == 0) {
		fill_attribute(m, n, c);
	} else if ((strcmp(n->kind, "move") == 0 || strcmp(n->kind, "delete") == 0) && n->link &&
		   n->other_ino == 0 && map_get(&m->link_at, n->link, &at)) {
		const struct rs_link *l = &m->links[at - 1];
		bool deletion = strcmp(n->kind, "delete") == 0, whole = node && node->in_p && node->in_s;

		for (int i = 0; i < 2; i++) {
			const struct rs_pos *p = i ? &l->s : &l->p;

			if (deletion && whole)
				continue; /* each removed another name of it: neither had deleted the file */
			/* Who has it where it was has changed it. */
			c->version[i].value = deletion && p->present && merge_same_pos(&l->b, p) ? xstrdup("changed")
											    : place_text(m, p);
		}
	}
}

/* The mode's note, which comes first, speaks of the access ACL too. */
static bool is_told_with_mode(struct merger *m, const struct rs_note *notes, size_t i)
{
	const struct rs_attr *a;

	if (strcmp(notes[i].kind, "attribute") != 0)
		return false;
	a = &m->attrs[notes[i].attr];
	if (a->field != RS_XATTR || strcmp(a->key, ACL_ACCESS_KEY) != 0)
		return false;
	while (i-- > 0 && notes[i].ino == a->ino)
		if (strcmp(notes[i].kind, "attribute") == 0 && m->attrs[notes[i].attr].field == RS_MODE)
			return true;
	return false;
}

/* rec: of a note about content, or a save, the record that it is about. */
int merge_put_note(struct merger *m, const struct rs_note *n, const struct norm_inode *rec,
		    const struct made_copy *copies, size_t n_copies)
{
	const struct rs_inode *in = merge_input_inode(m, n->ino), *other = merge_input_inode(m, n->other_ino);
	bool content = strcmp(n->kind, "content") == 0;
	struct conflict c = { .id = rec && rec->note_id ? rec->note_id : id_new(m->v),
			      .ino = n->ino, .when_ms = m->now_ms, .base = rec ? rec->kept_base : 0 };
	uint64_t theirs = n->other_ino, ours = n->ino;
	bool aside = rec && rec->kept_theirs;
	struct inode kept;
	int rc;

	for (size_t i = 0; i < n_copies && content; i++)
		if (copies[i].of == n->ino)
			theirs = copies[i].ino;
	snprintf(c.kind, sizeof(c.kind), "%s", n->kind);
	snprintf(c.outcome, sizeof(c.outcome), "%s", n->outcome);
	c.rule = xstrdup(rec && rec->has_case && rec->cc.rule ? rec->cc.rule : n->rule);
	c.path = merge_path(m->v, n->ino);
	if (aside) {
		ours = rec->kept_ours ? rec->kept_ours : n->ino;
		theirs = rec->kept_theirs;
	}
	/* What leaves nothing to choose from is settled. */
	c.resolved = strcmp(n->outcome, "kept-both") != 0 && !aside &&
		     !(strcmp(n->kind, "xattr") == 0 && tree_xattrs(m->v, n->ino, is_other_key, NULL) == 1);
	fill_version(m, &c.version[0], m->names->self, ours,
		     rec && rec->follows && tree_inode_get(m->v, ours, &kept) == 0 /* the input's is the new file */
			     ? (uint64_t)(kept.mtime_ns / 1000000)
		     : in ? in->p_written_ms
			  : m->now_ms);
	fill_version(m, &c.version[1], m->names->peer, theirs,
		     other ? (rs_bytes_are_p(other) ? other->p_written_ms : other->s_written_ms)
		     : rec ? (uint64_t)(rec->rec->mtime_ns / 1000000) /* of a save, the input's is ours */
		     : in  ? in->s_written_ms
			   : m->now_ms);
	fill_values(m, n, &c);
	rc = conflict_put(m->v, &c);
	conflict_release(&c);
	return rc;
}

int merge_put_notes(struct merger *m, const struct rs_result *r, const struct made_copy *copies)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < r->n_notes; i++) {
		const struct rs_note *n = &r->notes[i];
		const struct norm_inode *rec = strcmp(n->kind, "content") == 0 ? merge_bytes_record(m, n->ino)
									: merge_saves_told(m, n);

		rc = is_told_with_mode(m, r->notes, i) ? 0 : merge_put_note(m, n, rec, copies, r->n_copies);
	}
	return rc;
}

/* ---- under a word: what is undone and leaves nothing else */

static const struct rs_pos *side_of(const struct rs_link *l, bool primary)
{
	return primary ? &l->p : &l->s;
}

/* Two others may have one key: then a sentence less is said. */
static uint64_t key_of(const struct rs_pos *at)
{
	return merge_name_key(at->parent, at->name, at->name_len);
}

/* Where the discarded side had it: what it had made and is in .twinfs by now counts as where it was. */
static char *place_there(struct merger *m, const struct rs_pos *at)
{
	static const char aside[] = "/" HIDDEN_NAME "/discarded-";
	char *path = place_text(m, at), *rest = NULL;

	if (strncmp(path, aside, sizeof(aside) - 1) == 0 && (rest = strchr(path + sizeof(aside) - 1, '/')))
		memmove(path, rest, strlen(rest) + 1);
	return path;
}

static int put_discarded(struct merger *m, const struct rs_link *l, bool ours_stays)
{
	const struct rs_inode *n = merge_input_inode(m, l->child);
	bool moved = side_of(l, !ours_stays)->present, whole = moved || (ours_stays ? !n->in_s : !n->in_p);
	struct conflict c = { .id = id_new(m->v), .when_ms = m->prefer->when_ms, .resolved = true,
			      .ino = whole ? l->child : 0 };
	int rc;

	snprintf(c.kind, sizeof(c.kind), moved ? "move" : "delete");
	snprintf(c.outcome, sizeof(c.outcome), ours_stays ? "primary" : "secondary");
	c.rule = xasprintf("resumed with --prefer: %s had %s", ours_stays ? m->names->peer : m->names->self,
			   moved	? "moved it"
			   : whole ? "deleted it"
				   : "removed this name of it");
	c.path = place_text(m, side_of(l, ours_stays));
	for (int i = 0; i < 2; i++) {
		fill_version(m, &c.version[i], i ? m->names->peer : m->names->self, 0, c.when_ms);
		if (whole)
			c.version[i].value = place_there(m, side_of(l, i == 0));
	}
	c.version[ours_stays ? 0 : 1].ino = c.ino;
	rc = conflict_put(m->v, &c);
	conflict_release(&c);
	return rc;
}

int merge_note_undone(struct merger *m, uint64_t ino, uint32_t field, char *ours, char *theirs)
{
	bool ours_stays = merge_prefers(m) == RS_PREFER_P;
	struct conflict c = { .id = id_new(m->v), .when_ms = m->prefer->when_ms, .resolved = true, .ino = ino,
			      .kind = "attribute" };
	int rc = 0;

	snprintf(c.outcome, sizeof(c.outcome), ours_stays ? "primary" : "secondary");
	for (int i = 0; i < 2; i++)
		fill_version(m, &c.version[i], i ? m->names->peer : m->names->self, 0, c.when_ms);
	c.version[0].value = ours;
	c.version[1].value = theirs;
	if (m->n_told_undone < DISCARDED_NOTES_MAX) {
		c.rule = xasprintf("resumed with --prefer: %s had changed the %s",
				   ours_stays ? m->names->peer : m->names->self, field == REC_MODE ? "mode" : "owner");
		c.path = merge_path(m->v, ino);
		rc = conflict_put(m->v, &c);
		m->n_told_undone++;
	}
	conflict_release(&c);
	return rc;
}

/* Something else took its name there, or it went with the directory that it was in: that says enough. */
static bool goes_without_saying(struct merger *m, const struct rs_link *l, bool ours_stays, const struct map *taken)
{
	const struct rs_pos *was = side_of(l, ours_stays);
	const struct rs_inode *dir = merge_input_inode(m, was->parent);

	return !side_of(l, !ours_stays)->present &&
	       ((dir && !(ours_stays ? dir->in_s : dir->in_p)) || map_get(taken, key_of(was), NULL));
}

int merge_note_discarded(struct merger *m, const struct rs_result *r)
{
	bool ours_stays = merge_prefers(m) == RS_PREFER_P;
	struct map taken = MAP_INIT;
	unsigned left = DISCARDED_NOTES_MAX;
	int rc = 0;

	for (size_t i = 0; i < m->n_links; i++)
		if (side_of(&m->links[i], !ours_stays)->present)
			map_put(&taken, key_of(side_of(&m->links[i], !ours_stays)), 1);
	for (size_t i = 0; rc == 0 && left > 0 && i < r->n_links; i++) {
		const struct rs_pos *stays, *gone;
		const struct rs_link *l;
		uint64_t at;

		if (!map_get(&m->link_at, r->links[i].id, &at))
			continue;
		l = &m->links[at - 1];
		stays = side_of(l, ours_stays);
		gone = side_of(l, !ours_stays);
		if (l->late || !l->b.present || !stays->present || merge_same_pos(gone, &l->b) ||
		    merge_same_pos(gone, stays) || !merge_same_pos(&r->links[i].pos, stays) ||
		    !merge_input_inode(m, l->child) || goes_without_saying(m, l, ours_stays, &taken))
			continue;
		rc = put_discarded(m, l, ours_stays);
		left--;
	}
	map_release(&taken);
	return rc;
}
