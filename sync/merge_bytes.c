/* SPDX-License-Identifier: MIT */
/* Where the bytes of the secondary go: into the file, a copy, or versions set aside; and what its next ones go on top
 * of. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/landing.h"
#include "sync/merge_land.h"
#include "util/util.h"

/* ---- copies
 * ------------------------------------------------------------------------------------------------------------- */

/* The secondary's access ACL of a file, as its mode is: the bytes, 0: it has none. From when it had set the mode on it
 * took no ACL of ours. */
ssize_t merge_their_acl(struct merger *m, const struct norm_inode *n, uint8_t acl[ACL_MAX_BYTES])
{
	const struct ship_xattr *x = shipment_xattr(m->s, n->rec->ino, ACL_ACCESS_KEY);
	const bool own = (n->rec->fields & (REC_MODE | REC_NEW)) == REC_MODE;
	const struct view seen = { .kind = VIEW_PEER,
				   .group = own ? rec_seen(n->rec, REC_MODE) : m->s->begin.seen };
	ssize_t len;

	if (x) {
		len = (ssize_t)x->value_len; /* 0: removed */
		memcpy(acl, x->value ? (const void *)x->value : "", x->value_len);
	} else {
		len = tree_xattr_get_view(m->v, n->ino, ACL_ACCESS_KEY, seen, acl, ACL_MAX_BYTES);
	}
	if (len > 0)
		acl_set_mode(acl, (size_t)len, n->rec->mode);
	return len == -ENODATA ? 0 : len;
}

/* For the copy of its version: without it the mode's group bits, which are the ACL's mask, would let the group do what
 * the ACL denied it. */
int merge_copy_acl(struct merger *m, const struct norm_inode *n, uint64_t to)
{
	uint8_t acl[ACL_MAX_BYTES];
	ssize_t len = merge_their_acl(m, n, acl);

	return len <= 0 ? (int)len : tree_xattr_put(m->v, to, ACL_ACCESS_KEY, acl, (size_t)len, ORIGIN_LOCAL);
}

/* Of what the record says. (There may be two of one file: the secondary has what is an alias here, and ours.) */
int merge_make_copy(struct merger *m, struct norm_inode *n, const struct rs_copy *c, struct made_copy *made,
		     struct placement *place)
{
	struct inode *in = xcalloc(1, sizeof(*in));
	int rc = n ? tree_inode_get(m->v, c->ino, in) : -EUCLEAN;

	if (rc == 0) {
		*made = (struct made_copy){ .of = c->ino, .ino = id_new(m->v), .link = id_new(m->v) };
		in->ino = made->ino;
		in->nlink = 0;
		in->size_bytes = 0;
		in->mode = n->rec->mode;
		in->uid = n->rec->uid;
		in->gid = n->rec->gid;
		in->atime_ns = n->rec->atime_ns;
		in->mtime_ns = n->rec->mtime_ns;
		in->origin = in->corigin = ORIGIN_LOCAL;
		in->cborn = group_number(m->v);
		rc = tree_inode_put(m->v, in);
	}
	if (rc == 0)
		rc = merge_copy_acl(m, n, made->ino);
	if (rc == 0)
		rc = content_land_copy(&n->cc, made->ino);
	*place = (struct placement){ .link = made->link,
				     .child = made->ino,
				     .parent = c->parent,
				     .name = c->name,
				     .name_len = c->name_len,
				     .origin = ORIGIN_LOCAL };
	free(in);
	return rc;
}

int merge_note_base(struct merger *m, uint64_t src, uint64_t dst)
{
	return lineage_put(m->v,
			   &(struct lineage){ .src = src, .dst = dst, .grp = group_number(m->v), .kind = 'b' });
}

struct own_link {
	struct volume *v;
	uint64_t src;
};

static int find_own_link(void *ctx, const struct dentry *d)
{
	struct own_link *l = ctx;

	return lineage_source(l->v, LINEAGE_LINK, d->link, &l->src) == 0;
}

/*
 * What the secondary has there by an id of its own is the copy from now on: what it does to that, it does to the copy.
 * (Of a file that it knows by the same id as we do, only bytes that it wrote without knowing of the copy go there.)
 */
static int alias_copy(struct merger *m, const struct made_copy *c, struct lineage *lin)
{
	struct own_link own = { .v = m->v };
	struct lineage link = { .dst = c->link, .grp = lin->grp, .kind = 'l' };

	lin->kind = 'a';
	if (tree_links_of(m->v, c->of, find_own_link, &own) != 1)
		return 0;
	link.src = own.src;
	return lineage_put(m->v, &link);
}

int merge_record_copy(struct merger *m, const struct norm_inode *n, const struct made_copy *c)
{
	struct lineage lin = { .src = n->rec->ino, .dst = c->ino, .grp = group_number(m->v), .kind = 'c' };
	int rc = changes_touch_whole(m->v, c->ino);

	if (rc == 0)
		rc = changes_touch_link(m->v, c->link, c->ino, true, false);
	if (n->in_copy)
		lin = (struct lineage){ lin.src, lin.dst, lin.grp, 'u', .since = n->lin.since };
	else if (rc == 0 && n->aliased)
		rc = alias_copy(m, c, &lin);
	if (rc == 0)
		rc = lineage_put(m->v, &lin);
	return rc ? rc : merge_note_base(m, lin.src, lin.dst);
}

/* ---- contents and attributes
 * ---------------------------------------------------------------------------------------------- */

/* The bytes of a record whose file the secondary calls by another id than we do: it has them elsewhere, so all goes
 * back as ours. */
static int land_redirected(struct merger *m, struct norm_inode *n)
{
	struct content_case c;
	int rc = content_open(&c, m->v, m->s, n->rec, n->bytes_ino, n->seen_bytes, &n->lin, "");
	struct inode *in = xmalloc(sizeof(*in));

	if (rc == 0)
		rc = content_send_back(&c);
	if (rc == 0 && n->rec->shrunk_to != UINT64_MAX)
		rc = changes_touch_shrink(m->v, n->bytes_ino, n->rec->shrunk_to);
	if (rc == 0)
		rc = land_content(m->v, m->s, n->rec, n->bytes_ino, ORIGIN_LOCAL);
	if (rc == 0)
		rc = changes_touch_range(m->v, n->bytes_ino, 0, n->rec->size_bytes);
	if (rc == 0)
		rc = tree_inode_get(m->v, n->bytes_ino, in);
	if (rc == 0) {
		in->mtime_ns = n->rec->mtime_ns;
		in->origin = ORIGIN_LOCAL;
		rc = tree_inode_put(m->v, in);
	}
	if (rc == 0)
		rc = changes_touch(m->v, n->bytes_ino, ENT_TIMES);
	free(in);
	return rc;
}

/*
 * What a conflict keeps under .twinfs for looking back (the base; versions whose bytes are all in the merged file)
 * takes room here and is sent to the secondary. So it is only kept of files up to KEEP_FILE_MAX_BYTES, which texts
 * have, up to KEEP_SHIPMENT_MAX_BYTES for all that one shipment brings, and while a file takes no more than a sixteenth
 * of the room that is left.
 */
#define KEEP_FILE_MAX_BYTES (UINT64_C(8) << 20)
#define KEEP_SHIPMENT_MAX_BYTES (UINT64_C(256) << 20)

static bool worth_keeping(struct merger *m, uint64_t size_bytes)
{
	if (size_bytes > KEEP_FILE_MAX_BYTES || m->kept_bytes + size_bytes > KEEP_SHIPMENT_MAX_BYTES ||
	    size_bytes > data_room(m->v) / 16)
		return false;
	m->kept_bytes += size_bytes;
	return true;
}

enum aside { ASIDE_OURS, ASIDE_THEIRS, ASIDE_BASE };

/* "ID-NODE-NAME", and "ID.base-NAME"; of a long NAME the end, which says what it is. malloc'd. */
static char *aside_name(struct merger *m, struct norm_inode *n, enum aside what)
{
	const char *node = what == ASIDE_THEIRS ? m->names->peer : m->names->self, *name;
	struct dentry d = { .name = "" };

	tree_first_link(m->v, n->bytes_ino, &d);
	name = d.name + (d.name_len > 180 ? d.name_len - 180 : 0);
	while (((unsigned char)*name & 0xc0) == 0x80)
		name++; /* not within a character */
	if (what == ASIDE_BASE)
		return xasprintf("%llu.base-%s", (unsigned long long)n->note_id, name);
	return xasprintf("%llu-%s-%s", (unsigned long long)n->note_id, node, name);
}

static int fill_aside(struct merger *m, struct norm_inode *n, enum aside what, uint64_t ino)
{
	struct view now = { .kind = VIEW_NOW };

	switch (what) {
	case ASIDE_OURS: return content_copy(m->v, n->cc.ino, now, n->cc.ours_size, ino, ORIGIN_LOCAL);
	case ASIDE_THEIRS: return content_land_copy(&n->cc, ino);
	case ASIDE_BASE: return content_land_base(&n->cc, ino);
	}
	return -EINVAL;
}

static int64_t base_mtime_ns(struct merger *m, struct norm_inode *n)
{
	struct inode *in = xmalloc(sizeof(*in));
	int64_t ns = tree_inode_view(m->v, n->cc.base_ino, n->cc.base, in) == 0 ? in->mtime_ns : 0;

	free(in);
	return ns;
}

/* A version, whole, under .twinfs, not to be written to: until it is dismissed, and theirs as the base of what the
 * secondary sends next. */
static int set_aside(struct merger *m, struct norm_inode *n, enum aside what, uint64_t *ino)
{
	struct inode *in = xmalloc(sizeof(*in));
	struct placement place = { .link = id_new(m->v), .parent = INO_HIDDEN, .origin = ORIGIN_LOCAL };
	char *name;
	int rc = tree_inode_get(m->v, n->cc.ino, in);

	n->note_id = n->note_id ? n->note_id : id_new(m->v);
	*ino = place.child = in->ino = id_new(m->v);
	name = aside_name(m, n, what);
	place.name = name;
	place.name_len = (uint16_t)strlen(name);
	in->nlink = 0;
	in->size_bytes = 0;
	in->mode &= ~(uint32_t)0222;
	in->origin = in->corigin = ORIGIN_LOCAL;
	in->cborn = group_number(m->v);
	if (what == ASIDE_THEIRS)
		in->mtime_ns = n->rec->mtime_ns;
	else if (what == ASIDE_BASE)
		in->mtime_ns = base_mtime_ns(m, n);
	if (rc == 0)
		rc = tree_inode_put(m->v, in);
	if (rc == 0)
		rc = fill_aside(m, n, what, *ino);
	if (rc == 0)
		rc = land_links(m->v, &place, 1);
	if (rc == 0)
		rc = changes_touch_whole(m->v, *ino);
	if (rc == 0)
		rc = changes_touch_link(m->v, place.link, *ino, true, false);
	free(name);
	free(in);
	return rc;
}

int merge_keep_base(struct merger *m, struct norm_inode *n)
{
	if (!n->cc.had_base || !content_has_base(&n->cc) || !worth_keeping(m, n->cc.base_size))
		return 0;
	return set_aside(m, n, ASIDE_BASE, &n->kept_base);
}

/* Of data merged by ranges both sides' bytes are in place; the versions are for taking it apart. */
static int land_merged(struct merger *m, struct norm_inode *n)
{
	struct lineage lin = { .src = n->rec->ino,
			       .grp = group_number(m->v),
			       .kind = 's',
			       .dst = n->cc.theirs_size };
	bool needed = n->cc.merged_whole || n->cc.append || n->cc.merged_file || n->cc.ours_whole ||
		      n->cc.theirs_whole;
	int rc = 0;

	if (needed || worth_keeping(m, n->cc.ours_size + n->cc.theirs_size)) {
		rc = set_aside(m, n, ASIDE_OURS, &n->kept_ours);
		if (rc == 0)
			rc = set_aside(m, n, ASIDE_THEIRS, &n->kept_theirs);
	}
	if (needed) {
		lin.kind = 'b';
		lin.dst = n->kept_theirs;
	}
	if (n->cc.ino != n->bytes_ino) { /* it follows: of that one the peer's view says nothing */
		n->cc.ino = n->bytes_ino;
		n->cc.since = 0;
	}
	if (rc == 0)
		rc = content_land_merged(&n->cc);
	if (!needed)
		lin.since = n->cc.since;
	return rc ? rc : lineage_put(m->v, &lin);
}

/* The policy named the version: the other is set aside, and the secondary's is the base of what it sends next. */
static int land_chosen(struct merger *m, struct norm_inode *n)
{
	struct lineage lin = { .src = n->rec->ino, .grp = group_number(m->v), .kind = 'b' };
	bool theirs = n->cc.verdict == RS_CONTENT_SECONDARY;
	int rc = theirs ? set_aside(m, n, ASIDE_OURS, &n->kept_ours) : 0;

	if (rc == 0)
		rc = set_aside(m, n, ASIDE_THEIRS, &n->kept_theirs);
	lin.dst = n->kept_theirs;
	if (rc == 0)
		rc = theirs ? content_land_theirs(&n->cc, n->kept_theirs) : content_send_back(&n->cc);
	return rc ? rc : lineage_put(m->v, &lin);
}

bool merge_stays_as_it_was(const struct norm_inode *n)
{
	return n->cc.verdict == RS_CONTENT_EQUAL && n->cc.one_sided && !n->cc.taken;
}

/* Both have the same bytes, but the secondary left alone what is on its way to it: it gets them once more. */
int merge_land_equal(struct merger *m, struct norm_inode *n)
{
	int rc = n->cc.taken ? content_take_theirs(&n->cc) : content_send_back(&n->cc);

	if (rc < 0)
		return rc;
	return merge_stays_as_it_was(n) ? merge_renew_base(m, n->rec->ino)
					: merge_note_base(m, n->rec->ino, n->bytes_ino);
}

/* What content_decide said, in bytes_ino. */
static int land_case(struct merger *m, struct norm_inode *n)
{
	int rc = n->cc.verdict != RS_CONTENT_EQUAL ? merge_keep_base(m, n) : 0;

	if (rc < 0)
		return rc;
	switch (n->cc.verdict) {
	case RS_CONTENT_EQUAL: return merge_land_equal(m, n);
	case RS_CONTENT_MERGED: return land_merged(m, n);
	case RS_CONTENT_PRIMARY:
	case RS_CONTENT_SECONDARY: return land_chosen(m, n);
	case RS_CONTENT_KEEP_BOTH: return content_send_back(&n->cc); /* theirs went to a copy */
	}
	return 0;
}

/* The resolver was not asked about this one, so it has no note of it. copy: of the secondary's version; NULL: none. */
static int note_case(struct merger *m, const struct norm_inode *n, const struct made_copy *copy)
{
	struct rs_note note = { .kind = "content", .outcome = "merged", .rule = n->cc.rule, .ino = n->bytes_ino };

	if (n->cc.verdict == RS_CONTENT_PRIMARY)
		note.outcome = "primary";
	else if (n->cc.verdict == RS_CONTENT_SECONDARY)
		note.outcome = "secondary";
	else if (n->cc.verdict == RS_CONTENT_KEEP_BOTH)
		note.outcome = "kept-both";
	return n->cc.verdict == RS_CONTENT_EQUAL ? 0 : merge_put_note(m, &note, n, copy, copy != NULL);
}

/* What else the secondary has of this file, by our id, has landed already. */
static bool is_second(struct merger *m, const struct norm_inode *n)
{
	const struct norm_inode *first = merge_bytes_record(m, n->bytes_ino);

	return first && first != n && (first->rec->fields & REC_CONTENT);
}

/* Redirected bytes: ours (the copy) may have been changed here too; or just now, by what the secondary wrote to it. */
static int land_bytes_elsewhere(struct merger *m, struct norm_inode *n)
{
	struct lineage lin = {
		.src = n->rec->ino, .dst = n->lives_in ? n->lives_in : n->bytes_ino, .grp = group_number(m->v),
		.kind = n->in_copy ? 'u' : n->aliased ? 'a' : 'c', .since = n->in_copy ? n->lin.since : 0
	};
	bool second = is_second(m, n);
	bool changed = second || n->compare || p_changed_content(m->v, n->bytes_ino, n->seen_bytes);
	struct lineage now;
	int rc;

	if (second && n->open_case && !n->saved) /* it was decided before the other landed */
		n->open_case = n->has_case = n->asked = false;
	rc = changed && !n->has_case ? merge_open_case(m, n) : 0;

	if (rc == 0 && n->has_case && n->preferred && n->cc.verdict == RS_CONTENT_SECONDARY) {
		rc = content_take_theirs(&n->cc); /* a person's word, and no conflict to be noted */
		if (rc == 0)
			rc = merge_note_base(m, n->rec->ino, n->bytes_ino);
	} else if (rc == 0 && (n->has_case || changed) && !n->cc.ours_is_base) {
		if (n->cc.verdict == RS_CONTENT_KEEP_BOTH)
			return n->asked ? land_case(m, n) : -EAGAIN; /* the caller makes a copy of its own */
		rc = land_case(m, n);
		if (rc == 0 && !n->asked && !n->saved)
			rc = note_case(m, n, NULL);
		/* What it has is not what is there now: of what we wrote to that it does not know by this. But it is
		 * told of the copy again, for who has the file open, and what it goes on with is in it. */
		if (lin.kind != 'a' && (merge_stays_as_it_was(n) || n->cc.verdict == RS_CONTENT_MERGED ||
					n->cc.verdict == RS_CONTENT_PRIMARY))
			lin.known = lineage_known(&n->lin);
	} else if (rc == 0) {
		rc = land_redirected(m, n);
		if (rc == 0)
			rc = merge_note_base(m, n->rec->ino, n->bytes_ino);
	}
	/* Just now its unit has got a copy: what it goes on with is in that, and no more in the copy of the file. */
	if (rc == 0 && n->redirected_bytes && lineage_get(m->v, LINEAGE_INODE, lin.src, &now) == 0 && now.kind == 'u')
		return 0;
	return rc ? rc : lineage_put(m->v, &lin);
}

int merge_resend_original(struct merger *m, struct norm_inode *n)
{
	struct content_case c;
	int rc = content_open(&c, m->v, m->s, n->rec, n->rec->ino, rec_seen(n->rec, REC_CONTENT), NULL, "");

	if (rc == 0)
		rc = content_send_back(&c);
	if (rc == 0)
		rc = changes_touch(m->v, n->rec->ino, ENT_TIMES);
	return rc;
}

/* Has the secondary a name of it? */
static bool is_named_there(struct merger *m, const struct norm_inode *n)
{
	for (size_t i = 0; i < m->n_nl; i++)
		if (m->nl[i].parent && (m->nl[i].raw_child == n->rec->ino || m->nl[i].child == n->bytes_ino))
			return true;
	for (size_t i = 0; i < m->n_links; i++)
		if (m->links[i].s.present && (m->links[i].child == n->ino || m->links[i].child == n->bytes_ino))
			return true;
	return false;
}

/*
 * What has no name here has a place for no copy. If the secondary has one the outcome is none that we may have come to;
 * if not, nobody has the file any more: the last name that anybody saw was removed by who wrote to it.
 */
static int extra_copy(struct merger *m, struct norm_inode *n)
{
	struct dentry d;
	struct made_copy made;
	struct placement place;
	char name[256];
	struct rs_copy c = { .ino = n->bytes_ino };
	unsigned tries = 1;
	int rc;

	if (!tree_first_link(m->v, n->bytes_ino, &d))
		return n->in_copy || is_named_there(m, n) ? -EUCLEAN : 0;
	do {
		c.name_len = (uint16_t)conflict_name(d.name, d.name_len, m->names->peer,
						     (uint64_t)(n->rec->mtime_ns / 1000000), tries++, name);
	} while (tree_lookup(m->v, d.parent, name, c.name_len, &(struct dentry){ 0 }) == 0 ||
		 (m->s->is_part && landing_gives_name(m->v, d.parent, name, c.name_len)));
	c.parent = d.parent;
	c.name = name;
	rc = merge_make_copy(m, n, &c, &made, &place);
	if (rc == 0)
		rc = land_links(m->v, &place, 1);
	if (rc == 0)
		rc = merge_record_copy(m, n, &made);
	return rc ? rc : note_case(m, n, &made);
}

int merge_land_beside(struct merger *m, struct norm_inode *n)
{
	int rc;

	if (!(n->rec->fields & REC_CONTENT) || !S_ISREG(n->rec->mode))
		return 0;
	n->open_case = true;
	rc = content_open(&n->cc, m->v, m->s, n->rec, n->bytes_ino, n->seen_bytes, &n->lin, "");
	n->cc.verdict = RS_CONTENT_KEEP_BOTH;
	n->cc.rule = "it was changed in the unit and in the copy of that";
	return rc ? rc : extra_copy(m, n);
}

/*
 * Both changed the bytes, but by name each has another file (a name in the copy of a unit is not one of ours): the
 * resolver saw no conflict. So no bytes of ours are written over, whatever the names were taken for.
 * keep_what_it_wrote (merge_lineage.c) gives the secondary the name where that is known beforehand. For bytes that both
 * wrote each of the two suffices; that one is also for a file that only the secondary wrote to, and whose name of ours
 * it is taken to have removed: that would go, and its bytes with it. This one is also for all other ways to get here.
 */
static bool is_unasked(struct merger *m, const struct norm_inode *n)
{
	return !n->has_case && !m->prefer && !n->made_again && merge_changed_content(m, n->ino, n->seen_bytes);
}

int merge_land_bytes(struct merger *m, struct norm_inode *n)
{
	int rc;

	if ((!(n->rec->fields & REC_CONTENT) && !(n->saved && n->has_case)) || !S_ISREG(n->rec->mode))
		return 0;
	if (merge_stays_ours(m, n->ino))
		return merge_keep_ours(m, n);
	if (n->fused || (n->saved && !n->has_case))
		return 0; /* equal files that became one; or only ours has bytes of its own */
	if (n->redirected_bytes || n->aliased) {
		/* First, while the staged ranges are still there to be asked for. */
		rc = n->redirected_bytes ? merge_resend_original(m, n) : 0;
		if (rc == 0)
			rc = land_bytes_elsewhere(m, n);
		return rc == -EAGAIN ? extra_copy(m, n) : rc;
	}
	rc = is_unasked(m, n) ? merge_open_case(m, n) : 0;
	if (rc < 0)
		return rc;
	if (!n->has_case || n->cc.ours_is_base) {
		rc = take_inode(m->v, m->s, n->rec, n->ino, REC_CONTENT);
		return rc || !merge_sent_whole(m, n->ino) ? rc : changes_touch_whole(m->v, n->ino);
	}
	if (merge_prefers(m) == RS_PREFER_S && n->cc.verdict == RS_CONTENT_SECONDARY && n->preferred)
		return merge_take_theirs(m, n);
	if (!n->asked && n->cc.verdict == RS_CONTENT_KEEP_BOTH && !n->follows && !n->saved) {
		rc = merge_keep_base(m, n);
		if (rc == 0)
			rc = extra_copy(m, n);
		return rc ? rc : content_send_back(&n->cc);
	}
	rc = land_case(m, n);
	return rc || n->asked || n->saved || n->preferred ? rc : note_case(m, n, NULL);
}
