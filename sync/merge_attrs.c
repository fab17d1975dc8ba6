/* SPDX-License-Identifier: MIT */
/* Modes, owners, times and xattrs as decided. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "sync/merge_land.h"
#include "util/util.h"

enum entity merge_entity_of(uint32_t field)
{
	return field == REC_MODE ? ENT_MODE : field == REC_OWNER ? ENT_OWNER : ENT_TIMES;
}

/* The bytes that its times label are not in place. */
static bool bytes_stay_ours(const struct norm_inode *n)
{
	return n->has_case && n->cc.verdict != RS_CONTENT_EQUAL &&
	       !(n->preferred && n->cc.verdict == RS_CONTENT_SECONDARY);
}

/* It is back with the secondary's mode: so not with the ACL that we gave it before we deleted it. */
static int take_their_acl(struct merger *m, const struct norm_inode *n)
{
	int rc = tree_xattr_put(m->v, n->ino, ACL_ACCESS_KEY, NULL, 0, ORIGIN_LOCAL);

	return rc && rc != -ENODATA ? rc : merge_copy_acl(m, n, n->ino);
}

static char *owner_text(uint32_t uid, uint32_t gid)
{
	return xasprintf("%u:%u", uid, gid);
}

int merge_tell_ours_undone(struct merger *m, const struct inode *ours, uint32_t fields)
{
	uint8_t acl[ACL_MAX_BYTES];
	ssize_t len = tree_xattr_get(m->v, ours->ino, ACL_ACCESS_KEY, acl, sizeof(acl));
	int rc = 0;

	if (fields & REC_MODE)
		rc = merge_note_undone(m, ours->ino, REC_MODE, merge_mode_text(ours->mode, acl, len), NULL);
	if (rc == 0 && (fields & REC_OWNER))
		rc = merge_note_undone(m, ours->ino, REC_OWNER, owner_text(ours->uid, ours->gid), NULL);
	return rc;
}

/* Of these fields, which have we changed since the secondary knew them, and not taken back? */
static uint32_t changed_by_us(struct merger *m, const struct norm_inode *n, const struct inode *ours,
			      uint32_t fields)
{
	struct inode *was = xmalloc(sizeof(*was));
	uint64_t seen = m->s->begin.seen; /* it may have changed them knowing less */

	for (uint32_t f = REC_MODE; f <= REC_OWNER; f <<= 1)
		if (fields & f)
			seen = MIN(seen, rec_seen(n->rec, f));
	if (tree_inode_view(m->v, ours->ino, (struct view){ VIEW_PEER, seen }, was) == 0) {
		fields &= ours->mode != was->mode ? ~0u : ~(uint32_t)REC_MODE;
		fields &= ours->uid != was->uid || ours->gid != was->gid ? ~0u : ~(uint32_t)REC_OWNER;
	}
	free(was);
	return fields;
}

static int tell_theirs_undone(struct merger *m, const struct norm_inode *n, const struct inode *ours, uint32_t fields)
{
	const struct rec_inode *r = n->rec;
	uint8_t acl[2][ACL_MAX_BYTES];
	int rc = 0;

	if ((fields & REC_MODE) && r->mode != ours->mode) {
		ssize_t len = tree_xattr_get(m->v, n->ino, ACL_ACCESS_KEY, acl[0], sizeof(acl[0]));
		char *text = merge_mode_text(ours->mode, acl[0], len);

		len = merge_their_acl(m, n, acl[1]);
		rc = merge_note_undone(m, n->ino, REC_MODE, text, merge_mode_text(r->mode, acl[1], len));
	}
	if (rc == 0 && (fields & REC_OWNER) && (r->uid != ours->uid || r->gid != ours->gid))
		rc = merge_note_undone(m, n->ino, REC_OWNER, owner_text(ours->uid, ours->gid),
				       owner_text(r->uid, r->gid));
	return rc;
}

/* Under a word one of the two goes; a person may want it after all. Before anything of it lands. */
static int tell_undone(struct merger *m, const struct norm_inode *n, uint32_t fields)
{
	struct inode *ours = xmalloc(sizeof(*ours));
	int rc = n->rec->fields & REC_NEW ? -ENOENT : tree_inode_get(m->v, n->ino, ours);

	if (rc == 0 && merge_prefers(m) == RS_PREFER_P)
		rc = tell_theirs_undone(m, n, ours, fields);
	else if (rc == 0)
		rc = merge_tell_ours_undone(m, ours, changed_by_us(m, n, ours, fields));
	free(ours);
	return rc == -ENOENT ? 0 : rc;
}

/* Fields that only the secondary changed. */
static int land_free_attrs(struct merger *m, size_t i)
{
	struct norm_inode *n = &m->ni[i];
	uint32_t fields = n->rec->fields & (REC_MODE | REC_OWNER | REC_TIMES);
	bool bytes_are_ours = bytes_stay_ours(n);

	fields &= ~n->in_conflict;
	if (merge_stays_ours(m, n->ino)) {
		int rc = m->prefer ? tell_undone(m, n, fields) : 0;

		for (uint32_t f = REC_MODE; rc == 0 && f <= REC_TIMES; f <<= 1)
			if (fields & f)
				rc = changes_touch(m->v, n->ino, merge_entity_of(f));
		return rc;
	}
	if ((fields & REC_TIMES) && (n->redirected_bytes || bytes_are_ours)) {
		int rc = changes_touch(m->v, n->ino,
				       ENT_TIMES); /* theirs label bytes that went elsewhere: it gets ours */

		if (rc < 0)
			return rc;
		fields &= ~(uint32_t)REC_TIMES;
	}
	if (n->saved || (n->aliased && (n->rec->fields & REC_NEW)))
		return 0;
	if (n->revived && (fields & REC_MODE)) {
		int rc = take_their_acl(m, n);

		if (rc < 0)
			return rc;
	}
	if (n->aliased)
		for (uint32_t f = REC_MODE; f <= REC_TIMES; f <<= 1)
			if (fields & f) {
				int rc = changes_touch(m->v, n->ino, merge_entity_of(f));

				if (rc < 0)
					return rc;
			}
	return n->aliased ? land_attrs(m->v, n->rec, n->ino, fields, ORIGIN_LOCAL)
			  : take_inode(m->v, m->s, n->rec, n->ino, fields);
}

static int land_attr_case(struct merger *m, const struct rs_attr_out *o)
{
	const struct attr_case *ac = &m->attr_cases[o->input];
	struct norm_inode *n = &m->ni[ac->norm];
	bool take_p = o->take_p;
	int rc = 0;

	if (n->redirected_bytes || (bytes_stay_ours(n) && ac->field == REC_TIMES))
		take_p = take_p || ac->field == REC_TIMES;
	if (m->prefer && take_p == (merge_prefers(m) == RS_PREFER_P))
		rc = tell_undone(m, n, ac->field);
	if (rc == 0 && !take_p)
		rc = land_attrs(m->v, n->rec, n->ino, ac->field, ORIGIN_LOCAL);
	if (rc == 0 && ac->field == REC_MODE) /* it took no ACL of ours while its mode was unsettled */
		rc = changes_touch_xattr(m->v, n->ino, ACL_ACCESS_KEY);
	return rc ? rc : changes_touch(m->v, n->ino, merge_entity_of(ac->field));
}

static int land_xattr_case(struct merger *m, const struct rs_attr_out *o)
{
	const struct ship_xattr *x = &m->s->xattrs[m->attr_cases[o->input].norm];
	uint64_t ino = m->attrs[o->input].ino;
	char key[XATTR_NAME_MAX_BYTES + 1];
	int rc = changes_touch_xattr(m->v, ino, x->key);

	if (rc == 0 && !o->take_p)
		return land_xattr(m->v, x, ino);
	if (rc < 0 || !o->keep_other || !x->value)
		return rc;
	/* What an earlier conflict of it kept may still wait. */
	rc = conflict_key_for(m->v, ino, x->key, x->value, x->value_len, key);
	if (rc == 0)
		rc = tree_xattr_put(m->v, ino, key, x->value, x->value_len, ORIGIN_LOCAL);
	return rc ? rc : changes_touch_xattr(m->v, ino, key);
}

bool merge_sent_whole(struct merger *m, uint64_t ino)
{
	struct change_row row;

	return changes_get(m->v, ino, ENT_NEW, &row) == 0 && row.grp > m->s->begin.seen;
}

/* The access ACL of something new that became one with ours: the mode is ours, so is the ACL. */
static bool is_ours_with_mode(struct merger *m, const struct ship_xattr *x)
{
	const struct rec_inode *r = shipment_inode(m->s, x->ino);

	return strcmp(x->key, ACL_ACCESS_KEY) == 0 && r && (r->fields & REC_NEW);
}

/* Mode and ACL may have come from two sides: by what each changed since different bases (of a save, of what was removed
 * and is back). Then the mode is set as by chmod, so what it denies is denied. */
int merge_let_acl_agree(struct merger *m, uint64_t ino)
{
	struct inode *in = xmalloc(sizeof(*in));
	uint8_t acl[ACL_MAX_BYTES];
	int rc = tree_inode_get(m->v, ino, in);
	uint32_t mode = in->mode;
	ssize_t len;

	free(in);
	if (rc < 0 || S_ISLNK(mode))
		return rc == -ENOENT ? 0 : rc;
	len = tree_xattr_get(m->v, ino, ACL_ACCESS_KEY, acl, sizeof(acl));
	if (len <= 0)
		return len == -ENODATA ? 0 : (int)len;
	if (acl_check(acl, (size_t)len) != 0 || acl_mode(acl, (size_t)len, mode) == mode)
		return 0;
	acl_set_mode(acl, (size_t)len, mode);
	rc = tree_xattr_put(m->v, ino, ACL_ACCESS_KEY, acl, (size_t)len, ORIGIN_LOCAL);
	return rc ? rc : changes_touch_xattr(m->v, ino, ACL_ACCESS_KEY);
}

int merge_let_acls_agree(struct merger *m)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < m->n_ni; i++)
		rc = merge_let_acl_agree(m, m->ni[i].ino);
	for (size_t i = 0; rc == 0 && i < m->n_saves; i++)
		rc = merge_let_acl_agree(m, m->saves[i].ino_p);
	for (size_t i = 0; rc == 0 && i < m->s->n_xattrs; i++)
		if (strcmp(m->s->xattrs[i].key, ACL_ACCESS_KEY) == 0)
			rc = merge_let_acl_agree(m, m->s->xattrs[i].ino);
	return rc;
}

/*
 * Of what the secondary has only in the copy of a unit, as far as names go, the resolver says nothing: it may be in
 * that by what an earlier merge made, or be left where we have it as that into which the secondary put it goes to the
 * copy that is made now. Ours stays, and it gets that.
 */
static int resend_undecided(struct merger *m, const struct rs_result *r)
{
	uint8_t *said = xcalloc(m->n_attrs + 1, 1);
	struct inode in;
	int rc = 0;

	for (size_t i = 0; i < r->n_attrs; i++)
		said[r->attrs[i].input] = 1;
	for (size_t i = 0; rc == 0 && i < m->n_attrs; i++) {
		const struct attr_case *ac = &m->attr_cases[i];
		uint64_t ino = m->attrs[i].ino;

		if (said[i] || tree_inode_get(m->v, ino, &in) < 0 || in.nlink == 0)
			continue;
		rc = ac->is_xattr ? changes_touch_xattr(m->v, ino, m->s->xattrs[ac->norm].key)
				  : changes_touch(m->v, ino, merge_entity_of(ac->field));
	}
	free(said);
	return rc;
}

int merge_land_attributes(struct merger *m, const struct rs_result *r)
{
	struct inode in;
	int rc = resend_undecided(m, r);

	for (size_t i = 0; rc == 0 && i < m->n_ni; i++)
		if (!m->ni[i].beside && !units_kept(m, m->ni[i].ino) &&
		    tree_inode_get(m->v, m->ni[i].ino, &in) == 0)
			rc = land_free_attrs(m, i);
	for (size_t i = 0; rc == 0 && i < m->s->n_xattrs; i++) {
		const struct ship_xattr *x = &m->s->xattrs[i];
		struct lineage lin = { .kind = 0 };
		uint64_t ino = merge_their_inode(m, x->ino, x->seen, &lin);
		bool alias = ino != x->ino;

		/* It has it on its own of that id as well, and gets ours there. */
		if (lin.kind == 'u' && tree_inode_get(m->v, x->ino, &in) == 0)
			rc = changes_touch_xattr(m->v, x->ino, x->key);
		/* Of what the copy of a unit has instead the resolver says nothing. */
		if (rc < 0 || tree_inode_get(m->v, ino, &in) < 0 || (m->xattr_in_conflict[i] && !units_kept(m, ino)))
			continue;
		if (merge_stays_ours(m, ino)) {
			rc = changes_touch_xattr(m->v, ino, x->key);
			continue;
		}
		if (!units_kept(m, ino) && (!alias || !is_ours_with_mode(m, x)))
			rc = land_xattr(m->v, x, ino);
		if (rc == 0)
			rc = alias || units_kept(m, ino) || merge_sent_whole(m, ino)
				     ? changes_touch_xattr(m->v, ino, x->key)
				     : changes_drop_xattr(m->v, ino, x->key);
	}
	for (size_t i = 0; rc == 0 && i < r->n_attrs; i++) {
		if (tree_inode_get(m->v, m->attrs[r->attrs[i].input].ino, &in) < 0)
			continue;
		rc = m->attr_cases[r->attrs[i].input].is_xattr ? land_xattr_case(m, &r->attrs[i])
							       : land_attr_case(m, &r->attrs[i]);
	}
	return rc;
}
