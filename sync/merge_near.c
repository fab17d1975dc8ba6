/* SPDX-License-Identifier: MIT */
/*
 * Of the names that only we changed: which go into the resolver's input? There may be a hundred thousand that the
 * secondary has not heard of, when a few changes of its come; and what comes of those depends on few of them.
 *
 * The invariant: what is left out, each rule of the resolver leaves where we have it, and whatever a rule looks at
 * because of something that the secondary did is in the input. The first holds as the secondary has it where it had it
 * (s is b), and as its file has no link in the input (each file comes with all its links) and no bytes of the
 * secondary's. For the second, rule by rule, what is looked at and why it is there:
 *   0 saves       who has the old file's old name, on either side: who has a name here that something of the input has
 *                 in any of the three states is in the input; what the secondary has there it told.
 *   1 links       the link by itself.
 *   2 last links  all links of the file, and whose bytes changed: those of a file come together, those that are gone
 *                 too.
 *   3 moved dirs  what is in a directory that one side moved and the other removed, all the way down. Removed by the
 *                 secondary: what it removed in it, it told. Removed by us: all that we removed in it comes back, which
 *                 is found from no name that we have; so all goes in (below).
 *   4 parents     all directories above, in each state: merge_close_upwards. That something of ours is in a directory
 *                 that the secondary removed: what is in that and we changed is in the input.
 *   5 loops       upwards, likewise; and on each loop is a move of the secondary's.
 *   6 names       who has this name here: as for 0, also in a directory of the secondary's that may become one with
 *                 ours (here_as), and so may those in it. Names that are the same to people: one is of the secondary's
 *                 and in its records, ours are found by a key. Whether a name for a copy is taken the tree is asked,
 *                 too (op_name_taken).
 *   7 contents    the file, its links; who took the name that it left: as for 0.
 *   8 attributes  the file by itself.
 *   units         all that is in one that both changed, and above. A unit that the secondary changed something in is
 *                 above what it told of, or is what it told of, as it keeps it where we removed it. Then all goes
 *                 in; so it does while there are copies of units that it has not heard of.
 *   databases     what is beside a file that the secondary changed, moved or removed, and what was beside it: by name
 *                 (families_gather, merge_near_beside).
 *   a word        all goes in, as all that we did may be discarded.
 * The simulation compares each merge with that of all that we changed (tests/sim/near.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/landing.h"
#include "sync/merge_state.h"
#include "sync/name_fold.h"
#include "util/util.h"

/* Two others may have one key: then more goes in than has to. */
uint64_t merge_near_key(uint64_t dir, const char *name, size_t len_bytes)
{
	size_t len;
	char *folded = name_fold(name, len_bytes, &len);
	uint64_t key = merge_name_key(dir, folded, len);

	free(folded);
	return key;
}

/* ---- directories of the secondary's that may become one with ours */

static void list_new_dirs(struct merger *m)
{
	for (size_t i = 0; i < m->n_nl; i++) {
		const struct norm_link *n = &m->nl[i];
		const struct rec_inode *r = n->parent ? shipment_inode(m->s, n->raw_child) : NULL;
		struct inode in;

		/* What is here may be told anew. */
		if (r && (r->fields & REC_NEW) && S_ISDIR(r->mode) && tree_inode_get(m->v, n->child, &in) == -ENOENT)
			map_put(&m->new_dir, n->child, i + 1);
	}
}

/* Where what the secondary has in `dir` would be here: in the directory that we have at its place, if it is new. 0: we
 * have none there. */
static uint64_t here_as(struct merger *m, uint64_t dir)
{
	uint64_t path[64], at = dir, n = 0, i, known;
	struct dentry d;

	while (map_get(&m->new_dir, at, &i) && !map_get(&m->fused_dir, at, NULL)) {
		if (n == ARRAY_LEN(path)) {
			m->all_of_ours = true; /* nobody has new directories so deep */
			return 0;
		}
		path[n++] = at;
		map_put(&m->fused_dir, at, 0); /* it may claim to be in itself */
		at = m->nl[i - 1].parent;
	}
	known = at;
	map_get(&m->fused_dir, at, &known);
	while (n-- > 0) {
		map_get(&m->new_dir, path[n], &i);
		known = known && tree_lookup(m->v, known, m->nl[i - 1].name, m->nl[i - 1].name_len, &d) == 0 ? d.child
													    : 0;
		map_put(&m->fused_dir, path[n], known);
	}
	return known;
}

/* ---- one walk over all that we changed */

static void add_given(struct merger *m, uint64_t dir, const struct norm_link *n)
{
	uint64_t since = dir == n->parent ? n->raw_seen + 1 : UINT64_MAX, lowest;

	if (!dir)
		return;
	map_put(&m->given, merge_near_key(dir, n->name, n->name_len), 1);
	if (!map_get(&m->given_in, dir, &lowest) || since < lowest)
		map_put(&m->given_in, dir, since);
}

/* A link of ours that is gone, of the file or directory row->child. */
static void list_gone(struct merger *m, uint64_t link, const struct change_row *row)
{
	struct lineage lin;
	uint64_t before;

	if (!row->child || merge_link_alias(m, link, &lin))
		return;
	if (map_get(&m->gone_link, row->child, &before))
		map_put(&m->gone_next, link, before);
	map_put(&m->gone_link, row->child, link);
	if (!map_get(&m->gone_grp, row->child, &before) || before < row->grp)
		map_put(&m->gone_grp, row->child, row->grp);
}

/* `since`: a name of the secondary's in its directory was given knowing our groups before this one. */
static bool is_unseen(struct merger *m, const struct dentry *d, uint64_t since)
{
	return d->origin == ORIGIN_LOCAL && d->born >= since && !merge_record_of_link(m, d->link);
}

static int look_at_ours(void *ctx, uint64_t link, const struct change_row *row, const struct dentry *now)
{
	struct merger *m = ctx;
	bool heard = row->grp <= m->s->begin.seen;
	uint64_t since;

	if (!now) {
		list_gone(m, link, row);
		return 0;
	}
	if (m->all_of_ours || !map_get(&m->given_in, now->parent, &since) || (heard && !is_unseen(m, now, since)) ||
	    !map_get(&m->given, merge_near_key(now->parent, now->name, now->name_len), NULL))
		return 0;
	m->alike = merge_grow(m->alike, m->n_alike, &m->cap_alike, sizeof(*m->alike));
	m->alike[m->n_alike++] = (struct alike){ .link = link, .heard = heard };
	return 0;
}

/* What is changed between two steps is looked at by who asks whether what is worked out ahead still stands. */
static int look_in_steps(struct merger *m)
{
	size_t rows = volume_step_rows(m->v);
	uint64_t link = 0, before;
	int rc;

	do {
		before = link;
		rc = changes_links_now_behind(m->v, &link, rows, look_at_ours, m);
		if (rc == 0 && link != before)
			rc = landing_pause(m->v);
	} while (rc == 0 && link != before);
	return rc;
}

int merge_near_begin(struct merger *m)
{
	/* A copy that it has not heard of, of a unit or a database; also where no id is taken to be about one. */
	m->all_of_ours = m->all_of_ours || m->prefer || (m->names->no_copies && !m->names->no_units) ||
			 map_count(&m->of_inode) > 0 || map_count(&m->of_link) > 0 || map_count(&m->of_family) > 0;
	list_new_dirs(m);
	for (size_t i = 0; i < m->n_nl && !m->all_of_ours; i++)
		if (m->nl[i].parent && !m->nl[i].report) {
			add_given(m, here_as(m, m->nl[i].parent), &m->nl[i]);
			merge_breathe(m);
		}
	return m->ahead ? look_in_steps(m) : changes_links_now(m->v, 0, look_at_ours, m);
}

/* ---- all of it */

static int add_our_link(void *ctx, uint64_t link, const struct change_row *row)
{
	(void)row;
	return merge_add_link(ctx, link);
}

/*
 * Names that we gave before the secondary gave others in the same directories, which had not heard of ours then. It has
 * by now, so they are in no conflict; but two may be the same to people, and that is to be noted.
 */
static int add_heard(struct merger *m, uint64_t link)
{
	uint64_t at;
	int rc = merge_add_link(m, link);

	if (rc == 0 && map_get(&m->link_at, link, &at))
		m->links[at - 1].p_unseen = true;
	return rc;
}

static int add_unseen(void *ctx, uint64_t link, const struct change_row *row)
{
	struct merger *m = ctx;
	struct dentry d;
	uint64_t since;

	(void)row;
	if (tree_link_get(m->v, link, &d) < 0 || !map_get(&m->given_in, d.parent, &since) || !is_unseen(m, &d, since))
		return 0;
	return add_heard(m, link);
}

int merge_near_add_all(struct merger *m)
{
	int rc = changes_links(m->v, m->s->begin.seen, GROUP_MAX, add_our_link, m);

	m->all_of_ours = true;
	map_clear(&m->given_in);
	for (size_t i = 0; rc == 0 && i < m->n_nl; i++) {
		const struct norm_link *n = &m->nl[i];
		uint64_t since;

		if (n->parent && !n->report && n->raw_seen < m->s->begin.seen &&
		    (!map_get(&m->given_in, n->parent, &since) || n->raw_seen + 1 < since))
			map_put(&m->given_in, n->parent, n->raw_seen + 1);
	}
	if (rc == 0 && map_count(&m->given_in) > 0)
		rc = changes_links(m->v, 0, m->s->begin.seen, add_unseen, m);
	return rc;
}

int merge_near_add(struct merger *m)
{
	int rc = 0;

	if (m->all_of_ours)
		return merge_near_add_all(m);
	for (size_t i = 0; rc == 0 && i < m->n_alike; i++) {
		rc = m->alike[i].heard ? add_heard(m, m->alike[i].link) : merge_add_link(m, m->alike[i].link);
		if (rc == 0)
			rc = merge_breathe(m);
	}
	m->near = true;
	return rc;
}

/* ---- what meets a link of the input */

static int add_if_ours(struct merger *m, uint64_t link)
{
	struct change_row row;
	int rc = changes_get_link(m->v, link, &row);

	if (rc == 0 && row.grp > m->s->begin.seen)
		return merge_add_link(m, link);
	return rc == -ENOENT ? 0 : rc;
}

/* Who has this name here? */
static int add_of_name(struct merger *m, const struct rs_pos *at)
{
	uint64_t dir = at->present ? here_as(m, at->parent) : 0;
	struct dentry d;
	int rc = dir ? tree_lookup(m->v, dir, at->name, at->name_len, &d) : -ENOENT;

	return rc == 0 ? add_if_ours(m, d.link) : rc == -ENOENT ? 0 : rc;
}

/* What was one with another here, and is two again, may be here in no state of ours. */
static bool may_be_dir(struct merger *m, uint64_t ino)
{
	const struct norm_inode *rec = merge_record_of_inode(m, ino);
	struct inode *in = xmalloc(sizeof(*in));
	struct view last;
	int rc = tree_inode_get(m->v, ino, in), known;

	if (rc == -ENOENT && rec) {
		in->mode = rec->rec->mode;
		rc = 0;
	} else if (rc == -ENOENT && (known = tree_inode_last(m->v, ino, &last)) == 0) {
		rc = tree_inode_view(m->v, ino, last, in);
	} else if (rc == -ENOENT && known == -EBUSY) {
		m->failed = known; /* it is not to be known ahead */
	}
	rc = rc < 0 || S_ISDIR(in->mode);
	free(in);
	return rc;
}

struct ids {
	uint64_t *id;
	size_t n, cap;
};

static int list_link(void *ctx, const struct dentry *d)
{
	struct ids *l = ctx;

	l->id = merge_grow(l->id, l->n, &l->cap, sizeof(*l->id));
	l->id[l->n++] = d->link;
	return 0;
}

static int add_listed(struct merger *m, struct ids *l, int rc)
{
	for (size_t i = 0; rc == 0 && i < l->n; i++)
		rc = add_if_ours(m, l->id[i]);
	free(l->id);
	return rc;
}

/* Something of ours may be in a directory that it removed; what it knew of that it has removed or moved itself. */
static int add_inside(struct merger *m, uint64_t dir)
{
	struct ids l = { .n = 0 };
	int rc = tree_children(m->v, dir, list_link, &l);

	return add_listed(m, &l, rc);
}

int merge_near_of_link(struct merger *m, size_t i)
{
	const struct rs_link l = m->links[i]; /* the array may move */
	int rc;

	if (!m->near || m->all_of_ours)
		return 0;
	rc = add_of_name(m, &l.b);
	if (rc == 0 && !merge_same_pos(&l.p, &l.b))
		rc = add_of_name(m, &l.p);
	if (rc == 0 && !merge_same_pos(&l.s, &l.b))
		rc = add_of_name(m, &l.s);
	if (rc == 0 && l.b.present && l.p.present && !l.s.present && may_be_dir(m, l.child))
		rc = add_inside(m, l.child);
	if (rc == 0 && l.b.present && !l.p.present && l.s.present && !merge_same_pos(&l.s, &l.b) &&
	    may_be_dir(m, l.child))
		m->all_of_ours = true;
	return rc == 0 && m->all_of_ours ? merge_near_add_all(m) : rc;
}

static int changed_here(void *ctx, const struct dentry *d)
{
	struct merger *m = ctx;
	struct change_row row;

	return changes_get_link(m->v, d->link, &row) == 0 && row.grp > m->s->begin.seen;
}

static int stop_at_link(void *ctx, const struct dentry *d)
{
	(void)ctx;
	(void)d;
	return 1;
}

bool merge_near_holds_ours(struct merger *m, const struct rs_link *l)
{
	uint64_t seen = m->s->begin.seen;

	if (!m->near || m->all_of_ours)
		return false;
	if (!l->p.present)
		return l->s.present && tree_left_dir(m->v, l->child, seen, stop_at_link, NULL) == 1;
	return p_changed_inode(m->v, l->child, ENT_TIMES, seen) &&
	       (tree_left_dir(m->v, l->child, seen, stop_at_link, NULL) == 1 ||
		tree_children(m->v, l->child, changed_here, m) == 1);
}

/* ---- databases */

/* What had such a name in the directory, and has it no more: chained by key. */
static int list_left(void *ctx, const struct dentry *d)
{
	struct merger *m = ctx;
	size_t stem = families_stem(d->name, d->name_len);
	uint64_t key, before = 0;

	if (stem == d->name_len)
		return 0;
	key = merge_near_key(d->parent, d->name, stem);
	map_get(&m->left_by_key, key, &before);
	m->left = merge_grow(m->left, m->n_left, &m->cap_left, sizeof(*m->left));
	m->left[m->n_left++] = (struct left_link){ .link = d->link, .next = before };
	map_put(&m->left_by_key, key, m->n_left);
	return 0;
}

int merge_near_beside(struct merger *m, const struct rs_pos *at)
{
	uint64_t i = 0;
	int rc = 0;

	if (!m->near || m->all_of_ours || !at->present)
		return 0;
	if (!map_get(&m->left_dir, at->parent, NULL)) {
		map_put(&m->left_dir, at->parent, 1);
		rc = tree_left_dir(m->v, at->parent, m->low, list_left, m);
	}
	map_get(&m->left_by_key, merge_near_key(at->parent, at->name, families_stem(at->name, at->name_len)), &i);
	for (; rc == 0 && i; i = m->left[i - 1].next)
		rc = add_if_ours(m, m->left[i - 1].link);
	return rc;
}

void merge_near_release(struct merger *m)
{
	free(m->alike);
	free(m->left);
	map_release(&m->left_dir);
	map_release(&m->left_by_key);
	map_release(&m->new_dir);
	map_release(&m->fused_dir);
	map_release(&m->given);
	map_release(&m->given_in);
}
