/* SPDX-License-Identifier: MIT */
/* The secondary's records as they read here: what each of its ids means, and where its bytes go. */
#include <errno.h>
#include <stdlib.h>

#include "sync/merge_state.h"
#include "util/log.h"
#include "util/util.h"

/* What it did in a unit before it heard of the copy is about that. A report is about where it has the link now. */
static void as_it_meant(struct merger *m, struct norm_link *n)
{
	uint64_t seen = n->report ? m->s->begin.seen : n->raw_seen;
	struct rs_pos pos = { .present = true, .parent = merge_their_inode(m, n->raw_parent, seen, NULL),
			      .name = n->name, .name_len = n->name_len };

	n->child = n->report ? merge_alias(m, n->raw_child, NULL) : merge_their_inode(m, n->raw_child, seen, NULL);
	if (n->raw_parent == 0)
		return;
	n->family = families_their_name(m, &pos, seen);
	n->parent = pos.parent;
	n->name = pos.name;
	n->name_len = pos.name_len;
}

/* Of its bytes, if it changed them: the rest goes where they go. */
static uint64_t lowest_seen(const struct rec_inode *r)
{
	uint64_t seen = UINT64_MAX;

	if (r->fields & (REC_CONTENT | REC_NEW))
		return rec_seen(r, REC_CONTENT);
	for (uint32_t f = REC_MODE; f <= REC_TIMES; f <<= 1)
		if (r->fields & f)
			seen = MIN(seen, rec_seen(r, f));
	return seen;
}

/*
 * It has heard of the copy of the unit and that we removed the link, and keeps that for bytes that it had not sent
 * then: those are in the copy, where it has the file by another name. So it is not put into ours.
 */
static bool is_kept_for_copy(struct merger *m, const struct ship_link *l)
{
	const struct rec_inode *r = l->report && l->parent ? shipment_inode(m->s, l->child) : NULL;
	struct lineage link, ino = { .kind = 0 };
	struct dentry d;
	struct inode in;

	if (!r || !(r->fields & REC_CONTENT) || lineage_get(m->v, LINEAGE_LINK, l->link, &link) < 0 ||
	    link.kind != 'n' || tree_link_get(m->v, l->link, &d) != -ENOENT)
		return false;
	merge_their_inode(m, l->child, lowest_seen(r), &ino);
	return ino.kind == 'u' && lowest_seen(r) < ino.since && tree_inode_get(m->v, ino.dst, &in) == 0 &&
	       in.nlink > 0;
}

void merge_normalize_links(struct merger *m)
{
	struct shipment *s = m->s;

	m->nl = xcalloc(s->n_links + 1, sizeof(*m->nl));
	for (size_t i = 0; i < s->n_links; i++) {
		const struct ship_link *l = &s->links[i];
		struct norm_link *n = &m->nl[m->n_nl++];
		/* It may have had the link elsewhere before it heard of a copy. But what it removes it removes as it
		 * knows it now. */
		uint64_t src, seen = l->parent ? l->seen : units_known_since(m, l->seen);
		struct lineage lin;
		struct dentry d;

		merge_breathe(m);
		*n = (struct norm_link){ .link = l->link,
					 .seen = l->seen,
					 .raw_seen = l->seen,
					 .report = l->report,
					 .name = l->name,
					 .name_len = l->name_len,
					 .raw_parent = l->parent,
					 .raw_child = l->child };
		as_it_meant(m, n);
		n->lacks = (l->report && merge_link_in_copy(m, l->link, s->begin.seen, &lin)) ||
			   is_kept_for_copy(m, l);
		if (merge_link_alias(m, l->link, &lin) ||
		    (!l->report && merge_link_in_copy(m, l->link, seen, &lin))) {
			n->alias_of = l->link;
			n->link = lin.dst;
			n->in_copy = lin.kind == 'n';
			n->seen = MAX(n->seen, lin.grp);
		} else if (n->child != n->raw_child && tree_link_get(m->v, l->link, &d) == 0 &&
			   d.child == n->raw_child) {
			n->child = n->raw_child; /* the link is ours again, so it is our file that it led to */
		}
		if (n->link == l->link && l->parent == 0 && l->report)
			n->missing = lineage_source(m->v, LINEAGE_LINK, l->link, &src) == 0;
	}
	/* A record under the link's own id comes first; one under an alias of it then says nothing more. */
	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; i < m->n_nl; i++)
			if ((m->nl[i].alias_of != 0) == (pass == 1) && !m->nl[i].missing &&
			    !map_get(&m->nl_by_link, m->nl[i].link, NULL))
				map_put(&m->nl_by_link, m->nl[i].link, i + 1);
}

static int is_dropped(void *ctx, const struct dentry *d)
{
	const struct merger *m = ctx;
	const struct ship_link *l = shipment_link(m->s, d->link);

	return l && l->parent == 0;
}

/*
 * May what the secondary wrote on to its own version go to the copy that was made of it? Yes if it does not know of the
 * copy; and if it does, as long as it says nothing of the copy itself: what it has is an older version of that.
 * *compare: it knows of it, and since this went there last the copy was changed, by us or by the secondary: what that
 * changed is to be found by comparing.
 */
static bool copy_is_open(struct merger *m, const struct lineage *lin, bool *compare)
{
	struct view seen = { .kind = VIEW_AT, .group = m->s->begin.seen };
	const struct rec_inode *r = shipment_inode(m->s, lin->dst);
	struct lineage base;
	struct inode in;
	uint64_t cborn;

	if (tree_inode_get(m->v, lin->dst, &in) < 0 || in.nlink == 0)
		return false;
	cborn = in.cborn;
	if (tree_inode_view(m->v, lin->dst, seen, &in) == -ENOENT)
		return true;
	if (lineage_get(m->v, LINEAGE_BASE, lin->src, &base) < 0 || base.grp < lin->grp ||
	    (r && (r->fields & (REC_CONTENT | REC_NEW))) || tree_links_of(m->v, lin->dst, is_dropped, m) != 0)
		return false;
	*compare = cborn > base.grp;
	return true;
}

/* The secondary's state is preferred: its version is not the copy's any more, but the file's again. */
static bool is_its_own_again(const struct merger *m, const struct lineage *copy)
{
	return merge_prefers(m) == RS_PREFER_S && copy->grp <= m->prefer->ours_upto;
}

/* The secondary has heard of the copy and has written to the file in that as well: then it is two files. */
static bool is_written_itself(struct merger *m, const struct lineage *lin)
{
	const struct rec_inode *r = shipment_inode(m->s, lin->dst);
	struct inode in;

	return m->s->begin.seen >= lin->since && tree_inode_get(m->v, lin->dst, &in) == 0 && in.nlink > 0 &&
	       ((r && (r->fields & (REC_CONTENT | REC_NEW))) ||
		(in.corigin == ORIGIN_PEER && in.cborn > lineage_known(lin)));
}

/*
 * By the notes all that it said did not fit: it goes on in the copy of a unit by the copy's ids as well. Then each id
 * means what it says, but for bytes that it wrote knowing less than the note says: of the unit as it was then there is
 * nothing any more but what is in the copy. So they are a file beside that.
 */
static bool goes_beside_copy(struct merger *m, const struct rec_inode *r, struct lineage *lin)
{
	struct inode in;

	return m->names->no_copies && !m->names->no_units && !m->prefer && (r->fields & REC_CONTENT) &&
	       !(r->fields & REC_NEW) && lineage_get(m->v, LINEAGE_INODE, r->ino, lin) == 0 && lin->kind == 'u' &&
	       lowest_seen(r) < lin->since && tree_inode_get(m->v, lin->dst, &in) == 0 && in.nlink > 0;
}

void merge_normalize_inodes(struct merger *m)
{
	struct shipment *s = m->s;

	m->ni = xcalloc(s->n_inodes + 1, sizeof(*m->ni));
	for (size_t i = 0; i < s->n_inodes; i++) {
		struct norm_inode *n = &m->ni[m->n_ni++];
		const struct rec_inode *r = s->inodes[i];
		struct lineage lin = { 0 };

		merge_breathe(m);
		n->rec = r;
		bool beside = goes_beside_copy(m, r, &lin);

		n->ino = n->bytes_ino = beside ? lin.dst : merge_their_inode(m, r->ino, lowest_seen(r), &lin);
		n->seen_bytes = rec_seen(r, REC_CONTENT);
		if (n->ino != r->ino) {
			n->aliased = true;
			n->in_copy = lin.kind == 'u';
			n->by_name = n->in_copy && lowest_seen(r) >= lin.since;
			n->lin = lin;
			/* Sent whole: what it had seen by then is no word about the bytes that it is one with here. */
			n->seen_bytes = n->in_copy ? MAX(n->seen_bytes, lineage_known(&lin))
						   : MAX(r->fields & REC_NEW ? 0 : n->seen_bytes,
							 merge_equal_since(m, r->ino, lin.dst));
		} else if ((r->fields & REC_CONTENT) && lineage_get(m->v, LINEAGE_INODE, r->ino, &lin) == 0 &&
			   lin.kind == 'c' && n->seen_bytes < lin.grp && !is_its_own_again(m, &lin)) {
			if (copy_is_open(m, &lin, &n->compare)) {
				n->redirected_bytes = true;
				n->lin = lin;
				n->bytes_ino = lin.dst;
				n->seen_bytes = lineage_known(&lin);
			}
		}
		n->beside = beside || (n->in_copy && is_written_itself(m, &lin));
		if (n->ino != r->ino)
			log_debug("merge", "inode %#llx: it is %#llx here%s, as of %llu", (unsigned long long)r->ino,
				  (unsigned long long)n->ino, n->beside ? ", beside" : "", (unsigned long long)lin.grp);
		if (n->beside)
			continue;
		if (!map_get(&m->ni_by_ino, n->ino, NULL))
			map_put(&m->ni_by_ino, n->ino, i + 1);
		/* Of two that are one here the one that is told by our id comes first. */
		if (!map_get(&m->ni_by_bytes, n->bytes_ino, NULL) || n->bytes_ino == r->ino)
			map_put(&m->ni_by_bytes, n->bytes_ino, i + 1);
	}
}

struct norm_link *merge_record_of_link(struct merger *m, uint64_t link)
{
	uint64_t i;

	return map_get(&m->nl_by_link, link, &i) ? &m->nl[i - 1] : NULL;
}

struct norm_inode *merge_record_of_inode(struct merger *m, uint64_t ino)
{
	uint64_t i;

	return map_get(&m->ni_by_ino, ino, &i) ? &m->ni[i - 1] : NULL;
}

struct norm_inode *merge_bytes_record(struct merger *m, uint64_t ino)
{
	uint64_t at;

	return ino && map_get(&m->ni_by_bytes, ino, &at) ? &m->ni[at - 1] : NULL;
}
