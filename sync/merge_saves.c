/* SPDX-License-Identifier: MIT */
/*
 * Files saved as editors do, by a new file put at the name of the old one: what both sides made of the old one is
 * merged as if they had written to it (step 0 of docs/merging.md). resolve_saves finds them; here it is decided about
 * their bytes, as of any other file, and about their attributes, by value: a new file has them all anew.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "sync/merge_land.h"
#include "util/log.h"
#include "util/util.h"

static const struct view now = { .kind = VIEW_NOW };

static bool is_one(const struct rs_save *s)
{
	return s->verdict != RS_CONTENT_KEEP_BOTH;
}

/* ---- the bytes */

/* Of the old file: where the secondary calls it something else, it says so when it takes it away or changes it. */
static struct content_had what_it_had(struct merger *m, const struct rs_save *s, const struct norm_inode *n)
{
	const struct norm_link *link = merge_record_of_link(m, s->link_b);
	struct content_had had = { .src = s->ino_b, .ino = s->ino_b, .seen = m->s->begin.seen };

	if (s->ino_s == s->ino_b && n) {
		had.src = n->rec->ino;
		if (n->rec->fields & (REC_CONTENT | REC_NEW))
			had.seen = rec_seen(n->rec, REC_CONTENT);
	} else if (link) {
		had.src = link->raw_child;
		had.seen = link->raw_seen;
	}
	return had;
}

/* Does the secondary have bytes that it did not have in the old file? */
static bool has_bytes(const struct norm_inode *n)
{
	return n && (n->rec->fields & (REC_CONTENT | REC_NEW)) && S_ISREG(n->rec->mode);
}

/* The old file was in conflict already: its other version is in a copy, and the two go on apart. */
static bool is_apart(struct merger *m, const struct norm_inode *n, const struct content_had *had)
{
	struct lineage lin;

	if (n && n->redirected_bytes)
		return true;
	return lineage_get(m->v, LINEAGE_INODE, had->src, &lin) == 0 && lin.kind == 'c' && lin.grp > had->seen;
}

static void drop_case(struct norm_inode *n)
{
	n->open_case = n->has_case = n->saved = false;
}

/* Both files stay: what was found out about them is kept, for the person. */
static void add_apart(struct merger *m, const struct rs_save *s, struct norm_inode *n)
{
	struct save_apart *a;

	m->saves_apart = merge_grow(m->saves_apart, m->n_saves_apart, &m->cap_saves_apart, sizeof(*m->saves_apart));
	a = &m->saves_apart[m->n_saves_apart++];
	*a = (struct save_apart){ .ino_b = s->ino_b, .ino_p = s->ino_p, .ino_s = s->ino_s, .of = *n };
	a->of.bytes_ino = s->ino_p;
	a->of.has_case = true;
	map_put(&m->save_apart_at, s->ino_b, m->n_saves_apart);
	map_put(&m->save_apart_at, s->ino_p, m->n_saves_apart);
}

static int decide_bytes(struct merger *m, struct rs_save *s, struct norm_inode *n, const struct content_had *had)
{
	int rc;

	s->verdict = is_apart(m, n, had) ? RS_CONTENT_KEEP_BOTH : RS_CONTENT_EQUAL;
	if (!is_one(s) || !has_bytes(n))
		return 0;
	drop_case(n);
	n->open_case = true;
	rc = content_open_save(&n->cc, m->v, m->s, n->rec, s->ino_p, had);
	if (rc == 0)
		rc = merge_decide(m, n);
	if (rc < 0)
		return rc;
	s->verdict = n->cc.verdict;
	if (!is_one(s)) {
		add_apart(m, s, n);
		drop_case(n);
	}
	return 0;
}

/* ---- attributes */

static struct save_set *add_set(struct merger *m, uint64_t ino)
{
	m->save_sets = merge_grow(m->save_sets, m->n_save_sets, &m->cap_save_sets, sizeof(*m->save_sets));
	m->save_sets[m->n_save_sets] = (struct save_set){ .ino = ino };
	return &m->save_sets[m->n_save_sets++];
}

static void decide_field(struct merger *m, const struct rs_save *s, const struct norm_inode *n, uint32_t field,
			 bool ours, bool theirs, bool equal)
{
	struct save_set *set;

	if (theirs && ours) {
		merge_add_attr(m, (struct rs_attr){ .ino = s->ino_p, .field = field == REC_MODE ? RS_MODE : RS_OWNER,
						    .equal = equal },
			       (struct attr_case){ .norm = (size_t)(n - m->ni), .field = field });
	} else if (theirs) {
		set = add_set(m, s->ino_p);
		set->rec = n->rec;
		set->fields = field;
	}
}

/* What the secondary knew when it changed the mode or the owner, or made the file with them. */
static uint64_t attrs_seen(const struct rs_save *s, const struct rec_inode *r, const struct content_had *had)
{
	uint64_t seen = had->seen;

	if (s->ino_s != s->ino_b || (r->fields & REC_NEW))
		return seen;
	if (r->fields & REC_MODE)
		seen = MIN(seen, rec_seen(r, REC_MODE));
	return r->fields & REC_OWNER ? MIN(seen, rec_seen(r, REC_OWNER)) : seen;
}

static int decide_fields(struct merger *m, const struct rs_save *s, const struct norm_inode *n,
			 const struct content_had *had)
{
	struct view seen = { .kind = VIEW_PEER, .group = attrs_seen(s, n->rec, had) };
	struct inode *base = xmalloc(2 * sizeof(*base)), *in = base + 1;
	const struct rec_inode *r = n->rec;
	int rc = tree_inode_get(m->v, s->ino_p, in);

	if (rc == 0)
		rc = tree_inode_view(m->v, had->ino, seen, base);
	if (rc == 0) {
		decide_field(m, s, n, REC_MODE, in->mode != base->mode, r->mode != base->mode, r->mode == in->mode);
		decide_field(m, s, n, REC_OWNER, in->uid != base->uid || in->gid != base->gid,
			     r->uid != base->uid || r->gid != base->gid, r->uid == in->uid && r->gid == in->gid);
	}
	free(base);
	return rc == -ENOENT ? 0 : rc; /* nothing to measure them against: ours stay */
}

/* ---- xattrs */

struct value {
	uint8_t *at; /* NULL: none */
	size_t len;
};

static bool same_value(const struct value *a, const struct value *b)
{
	return !a->at == !b->at && (!a->at || (a->len == b->len && memcmp(a->at, b->at, a->len) == 0));
}

/* at: XATTR_VALUE_MAX_BYTES of room. */
static int load_value(struct merger *m, uint64_t ino, const char *key, struct view view, struct value *out)
{
	ssize_t n = view.kind == VIEW_NOW ? tree_xattr_get(m->v, ino, key, out->at, XATTR_VALUE_MAX_BYTES)
					  : tree_xattr_get_view(m->v, ino, key, view, out->at, XATTR_VALUE_MAX_BYTES);

	if (n == -ENODATA || n == -ENOENT)
		out->at = NULL;
	out->len = n > 0 ? (size_t)n : 0;
	return n < 0 && n != -ENODATA && n != -ENOENT ? (int)n : 0;
}

static void set_value(struct merger *m, const struct rs_save *s, const char *key, const struct ship_xattr *x)
{
	struct save_set *set = add_set(m, s->ino_p);

	set->key = merge_keep(m, xstrdup(key));
	if (x && x->value) {
		set->value = x->value; /* the shipment outlives the merge */
		set->value_len = x->value_len;
	}
}

/* A value that the secondary sent. One that the other side dropped by saving stays if it was changed. */
static int decide_value(struct merger *m, const struct rs_save *s, size_t i, const struct content_had *had)
{
	const struct ship_xattr *x = &m->s->xattrs[i];
	struct view seen = { .kind = VIEW_PEER, .group = had->seen };
	uint8_t *mem = xmalloc(2 * (size_t)XATTR_VALUE_MAX_BYTES);
	struct value theirs = { x->value, x->value_len }, base = { mem, 0 }, ours = { mem + XATTR_VALUE_MAX_BYTES, 0 };
	int rc = load_value(m, had->ino, x->key, seen, &base);

	if (rc == 0)
		rc = load_value(m, s->ino_p, x->key, now, &ours);
	if (rc == 0 && !same_value(&theirs, &base) && !same_value(&theirs, &ours)) {
		if (same_value(&ours, &base) || !ours.at)
			set_value(m, s, x->key, x);
		else if (theirs.at)
			merge_add_attr(m, (struct rs_attr){ .ino = s->ino_p, .field = RS_XATTR, .key = x->key },
				       (struct attr_case){ .norm = i, .is_xattr = true });
	}
	m->xattr_in_conflict[i] = 1; /* looked at */
	free(mem);
	return rc;
}

struct keys {
	char **at;
	size_t n, cap;
};

static int list_key(void *ctx, const char *key, const void *value, size_t len_bytes)
{
	struct keys *k = ctx;

	(void)value;
	(void)len_bytes;
	k->at = merge_grow(k->at, k->n, &k->cap, sizeof(*k->at));
	k->at[k->n++] = xstrdup(key);
	return 0;
}

/* What the secondary's new file does not have any more, and ours has as it was. */
static int drop_values(struct merger *m, const struct rs_save *s, const struct rec_inode *r,
		       const struct content_had *had)
{
	struct view seen = { .kind = VIEW_PEER, .group = had->seen };
	uint8_t *mem = xmalloc(2 * (size_t)XATTR_VALUE_MAX_BYTES);
	struct keys keys = { .n = 0 };
	int rc = tree_xattrs(m->v, s->ino_p, list_key, &keys);

	for (size_t i = 0; i < keys.n; i++) {
		struct value base = { mem, 0 }, ours = { mem + XATTR_VALUE_MAX_BYTES, 0 };

		if (rc == 0 && !shipment_xattr(m->s, r->ino, keys.at[i])) {
			rc = load_value(m, had->ino, keys.at[i], seen, &base);
			if (rc == 0)
				rc = load_value(m, s->ino_p, keys.at[i], now, &ours);
			if (rc == 0 && base.at && same_value(&ours, &base))
				set_value(m, s, keys.at[i], NULL);
		}
		free(keys.at[i]);
	}
	free(keys.at);
	free(mem);
	return rc;
}

static int decide_xattrs(struct merger *m, const struct rs_save *s, const struct norm_inode *n,
			 const struct content_had *had)
{
	uint64_t src = n ? n->rec->ino : s->ino_s, i;
	int rc = 0;

	if (!map_get(&m->s->xattr_by_ino, src, &i))
		i = 0;
	for (; rc == 0 && i; i = m->s->xattrs[i - 1].next)
		rc = decide_value(m, s, (size_t)i - 1, had);
	return rc == 0 && n && (n->rec->fields & REC_NEW) ? drop_values(m, s, n->rec, had) : rc;
}

/* ---- all of it */

static int decide_save(struct merger *m, struct rs_save *s)
{
	struct norm_inode *n = merge_record_of_inode(m, s->ino_s);
	struct content_had had = what_it_had(m, s, n);
	int rc = decide_bytes(m, s, n, &had);

	if (rc < 0)
		return rc;
	log_debug("merge", "saved anew: %#llx, ours %#llx, theirs %#llx: verdict %d", (unsigned long long)s->ino_b,
		  (unsigned long long)s->ino_p, (unsigned long long)s->ino_s, s->verdict);
	if (!is_one(s))
		return 0;
	if (n) {
		n->saved = true;
		rc = decide_fields(m, s, n, &had);
	}
	return rc ? rc : decide_xattrs(m, s, n, &had);
}

/* ---- a backup that the other side wrote to */

/*
 * One side kept the old file as a backup, and the other wrote to it: the write is in the backup. If it goes together
 * with what was saved, it is in that too, as whoever wrote it means the name. Of `n` are the bytes that the secondary
 * has of it, there or in the new file; `ours` is what we have.
 */
static int decide_follow(struct merger *m, struct norm_inode *n, const struct rs_save *s, uint64_t ours)
{
	struct content_had had = what_it_had(m, s, n);
	int rc;

	if (is_apart(m, n, &had))
		return 0;
	n->open_case = true;
	rc = content_open_save(&n->cc, m->v, m->s, n->rec, ours, &had);
	if (rc == 0)
		rc = merge_decide(m, n);
	/* As a whole: ranges are for two histories of one file. */
	n->follows = rc == 0 && n->cc.verdict == RS_CONTENT_MERGED && (n->cc.merged_whole || n->cc.merged_file);
	if (!n->follows)
		drop_case(n);
	return rc;
}

static bool is_plain(const struct norm_inode *n)
{
	return has_bytes(n) && !n->has_case && !n->aliased && !n->redirected_bytes && !n->saved && !n->beside;
}

static int follow(struct merger *m, const struct rs_note *note)
{
	struct norm_inode *old = merge_bytes_record(m, note->ino), *new = merge_bytes_record(m, note->other_ino), *n;
	struct rs_save s = { .link_b = note->link, .ino_b = note->ino, .ino_p = note->ino, .ino_s = note->other_ino };
	int rc;

	if (!new && old && is_plain(old)) {
		m->follows = merge_grow(m->follows, m->n_follows, &m->cap_follows, sizeof(*m->follows));
		n = &m->follows[m->n_follows];
		*n = *old;
		n->ino = n->bytes_ino = s.ino_p = note->other_ino;
		s.ino_s = note->ino;
		rc = decide_follow(m, n, &s, s.ino_p);
		m->n_follows += n->follows;
		return rc;
	}
	return new && is_plain(new) && (new->rec->fields & REC_NEW) && !has_bytes(old) ?
	       decide_follow(m, new, &s, s.ino_p) : 0;
}

int merge_saves_follow(struct merger *m, const struct rs_result *r)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < r->n_notes && !m->in_units && !m->prefer; i++)
		if (r->notes[i].other_ino && strcmp(r->notes[i].kind, "move") == 0)
			rc = follow(m, &r->notes[i]);
	return rc;
}

/* ---- what stays two */

static struct save_apart *apart_of(const struct merger *m, uint64_t ino)
{
	uint64_t at;

	return map_get(&m->save_apart_at, ino, &at) ? &m->saves_apart[at - 1] : NULL;
}

static bool is_clash_of(const struct rs_note *note, const struct save_apart *a)
{
	return a && strcmp(note->kind, "name") == 0 && strcmp(note->outcome, "kept-both") == 0 &&
	       note->ino == a->ino_p && note->other_ino == a->ino_s;
}

static bool goes_without_saying(const struct rs_note *note, const struct save_apart *a)
{
	return a && a->told && note->ino == a->ino_b && strcmp(note->kind, "delete") == 0 &&
	       strcmp(note->outcome, "restored") == 0;
}

int merge_saves_tell(struct merger *m, struct rs_result *r)
{
	size_t n = 0;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < r->n_notes; i++) {
		struct save_apart *a = apart_of(m, r->notes[i].ino);

		if (!is_clash_of(&r->notes[i], a))
			continue;
		a->told = true;
		rc = merge_keep_base(m, &a->of);
	}
	for (size_t i = 0; i < r->n_notes; i++)
		if (!goes_without_saying(&r->notes[i], apart_of(m, r->notes[i].ino)))
			r->notes[n++] = r->notes[i];
	r->n_notes = n;
	return rc;
}

const struct norm_inode *merge_saves_told(const struct merger *m, const struct rs_note *note)
{
	const struct save_apart *a = apart_of(m, note->ino);

	return is_clash_of(note, a) ? &a->of : NULL;
}

void merge_saves_release(struct merger *m)
{
	free(m->saves_apart);
	m->saves_apart = NULL;
	m->n_saves_apart = m->cap_saves_apart = 0;
	map_release(&m->save_apart_at);
	free(m->saves);
	free(m->save_sets);
	m->saves = NULL;
	m->save_sets = NULL;
	m->n_saves = m->n_save_sets = m->cap_save_sets = 0;
}

int merge_saves_find(struct merger *m, struct rs_input *in)
{
	int rc;

	/* A second try, with other links. Attributes that the first one noted are of files that stay two: no harm. */
	for (size_t i = 0; i < m->n_ni; i++)
		if (m->ni[i].saved)
			drop_case(&m->ni[i]);
	merge_saves_release(m);
	merge_lock_off(m);
	rc = resolve_saves(in, &m->saves, &m->n_saves);
	merge_index(m); /* it sorts the links */
	merge_lock_on(m);
	if (rc == -EUCLEAN)
		rc = 0; /* resolve will say so */
	for (size_t i = 0; rc == 0 && i < m->n_saves; i++) {
		rc = decide_save(m, &m->saves[i]);
		rc = rc ? rc : merge_breathe(m);
	}
	in->saves = m->saves;
	in->n_saves = m->n_saves;
	in->attrs = m->attrs;
	in->n_attrs = m->n_attrs;
	return rc;
}

static int land_set(struct merger *m, const struct save_set *set)
{
	int rc;

	if (set->rec)
		return land_attrs(m->v, set->rec, set->ino, set->fields, ORIGIN_LOCAL);
	rc = tree_xattr_put(m->v, set->ino, set->key, set->value, set->value_len, ORIGIN_LOCAL);
	if (rc == 0 || rc == -ENODATA)
		rc = changes_touch_xattr(m->v, set->ino, set->key);
	return rc;
}

/* The secondary gets all of it: it has none of it by this id, or something older. */
static int send_save(struct merger *m, const struct rs_save *s)
{
	int rc = changes_touch_whole(m->v, s->ino_p);

	if (rc == 0)
		rc = merge_touch_link(m, s->link_p);
	if (rc == 0)
		rc = merge_touch_link(m, s->link_s);
	return rc ? rc : merge_touch_link(m, s->link_b);
}

int merge_saves_land(struct merger *m)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < m->n_save_sets; i++)
		rc = land_set(m, &m->save_sets[i]);
	for (size_t i = 0; rc == 0 && i < m->n_saves; i++)
		if (is_one(&m->saves[i]))
			rc = send_save(m, &m->saves[i]);
	return rc;
}
