/* SPDX-License-Identifier: MIT */
/* Carrying out what the resolver decided, in its order. */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "sync/follow.h"
#include "sync/merge_land.h"
#include "util/util.h"

static const struct rs_save *save_of(struct merger *m, const struct rs_alias *a)
{
	for (size_t i = 0; i < m->n_saves; i++)
		if ((a->is_link ? m->saves[i].link_s : m->saves[i].ino_s) == a->src &&
		    m->saves[i].verdict != RS_CONTENT_KEEP_BOTH)
			return &m->saves[i];
	return NULL;
}

/* Ours stays, as all that the secondary has of the file is in a copy already. The copy's first link; false: not so. */
static bool is_in_copy(struct merger *m, const struct rs_save *s, struct dentry *copy)
{
	const struct norm_inode *n = merge_bytes_record(m, s->ino_s);
	struct lineage base;

	return n && n->saved && n->has_case && merge_stays_as_it_was(n) &&
	       lineage_get(m->v, LINEAGE_BASE, s->ino_s, &base) == 0 && base.kind == 'b' && base.dst != s->ino_p &&
	       base.dst != s->ino_b && tree_first_link(m->v, base.dst, copy) && !merge_dir_is_hidden(m, copy->parent);
}

/* What was an alias of src itself is one of dst now. */
static int note_alias(struct merger *m, const struct rs_alias *a)
{
	enum lineage_class c = a->is_link ? LINEAGE_LINK : LINEAGE_INODE;
	struct lineage lin = {
		.src = a->src, .dst = a->dst, .grp = group_number(m->v), .kind = a->is_link ? 'l' : 'a'
	};
	const struct rs_save *save = save_of(m, a);
	struct dentry copy;
	uint64_t older;
	int rc;

	if (save && is_in_copy(m, save, &copy)) { /* so it lives on as that */
		lin.dst = a->is_link ? copy.link : copy.child;
		merge_bytes_record(m, save->ino_s)->lives_in = copy.child;
	}
	/* The secondary has it by that id, if it has one of its own for it. */
	if (lineage_source(m->v, c, a->src, &older) == 0)
		lin.src = older;
	rc = lineage_put(m->v, &lin);
	/* What it has there is ours; but of a file saved anew it is what landing its bytes says. */
	return rc || a->is_link || save ? rc : merge_note_base(m, lin.src, lin.dst);
}

static int land_names(struct merger *m, struct rs_result *r, struct plan *p, struct made_copy *copies)
{
	int rc = units_make_clones(m, r, p->list, &p->n);

	for (size_t i = 0; rc == 0 && i < r->n_copies; i++)
		rc = merge_make_copy(m, merge_bytes_record(m, r->copies[i].ino), &r->copies[i], &copies[i],
				     &p->list[p->n++]);
	if (rc == 0)
		rc = merge_begin_aside(m, r);
	for (size_t i = 0; rc == 0 && i < r->n_links; i++)
		if (!map_get(&m->aside_link, r->links[i].id, NULL))
			rc = merge_plan_link(m, p, &r->links[i]);
	if (rc == 0 && !merge_ends_are_left(m))
		rc = -EUCLEAN;
	if (rc == 0)
		rc = land_links(m->v, p->list, p->n);
	if (rc == 0)
		rc = merge_put_aside(m, r);
	for (size_t i = 0; rc == 0 && i < p->n_touch; i++)
		rc = merge_touch_link(m, p->touch[i]);
	for (size_t i = 0; rc == 0 && i < r->n_aliases; i++)
		rc = note_alias(m, &r->aliases[i]);
	return rc ? rc : merge_touch_aliases(m);
}

/* Inodes that a fresh alias swallowed have no row here; their records are of no more use. */
static void drop_aliased_records(struct merger *m, const struct rs_result *r)
{
	for (size_t i = 0; i < r->n_aliases; i++) {
		struct norm_inode *n = r->aliases[i].is_link ? NULL : merge_bytes_record(m, r->aliases[i].src);

		if (!n)
			continue;
		n->aliased = true;
		n->fused = !n->saved;
		n->ino = n->bytes_ino = r->aliases[i].dst;
		map_put(&m->ni_by_bytes, n->bytes_ino, (uint64_t)(n - m->ni) + 1);
	}
}

/* Does the secondary say that it could not place something of ours? */
static bool is_skip_report(struct merger *m, const struct norm_link *n)
{
	uint64_t at;

	return n->missing || (n->report && map_get(&m->link_at, n->link, &at) &&
			      !merge_same_pos(&m->links[at - 1].p, &m->links[at - 1].s));
}

static int list_in_flight(void *ctx, uint64_t link, const struct change_row *row)
{
	struct map *list = ctx;

	map_put(list, link, row->child);
	return 0;
}

/*
 * What it could not place may hang together with what is on its way to it just now. Each half alone makes no valid tree
 * there, so both are sent again, together; or the halves would cross the reports of the other half for ever.
 */
static int send_together(struct merger *m)
{
	struct map list = MAP_INIT;
	struct change_row row;
	uint64_t link, child;
	size_t it = 0;
	bool any = false;
	int rc = 0;

	for (size_t i = 0; i < m->n_nl && !any; i++)
		any = is_skip_report(m, &m->nl[i]);
	if (any)
		rc = changes_links(m->v, m->s->begin.seen, GROUP_MAX, list_in_flight, &list);
	while (rc == 0 && map_next(&list, &it, &link, &child)) {
		struct dentry d;
		bool here = tree_link_get(m->v, link, &d) == 0;

		rc = changes_touch_link(m->v, link, here ? d.child : child, false, !here);
		if (rc == 0 && here && changes_get(m->v, d.child, ENT_NEW, &row) == 0)
			rc = changes_touch_whole(m->v, d.child);
	}
	map_release(&list);
	return rc;
}

/* What the secondary did to its own is in the copy, and of ours, which it left alone, it gets what differs. */
static int resend_unit_file(struct merger *m, struct norm_inode *n)
{
	uint32_t fields = n->rec->fields & REC_NEW ? UINT32_MAX : n->rec->fields;
	struct inode in;
	int rc = 0;

	if (tree_inode_get(m->v, n->rec->ino, &in) < 0)
		return 0;
	if ((fields & REC_CONTENT) && S_ISREG(n->rec->mode))
		rc = merge_resend_original(m, n);
	for (uint32_t f = REC_MODE; rc == 0 && f <= REC_TIMES; f <<= 1)
		if (fields & f)
			rc = changes_touch(m->v, n->rec->ino, merge_entity_of(f));
	return rc;
}

static int is_not_looked_at(void *ctx, const struct dentry *d)
{
	const struct merger *m = ctx;

	return !map_get(&m->link_at, d->link, NULL);
}

/* Its bytes are in the copy of a unit, where we have put another file in its place, say. */
static bool has_no_name(struct merger *m, const struct norm_inode *n, const struct map *named)
{
	return n->in_copy && !map_get(named, n->bytes_ino, NULL) &&
	       tree_links_of(m->v, n->bytes_ino, is_not_looked_at, m) == 0;
}

/*
 * Nothing that the secondary wrote may be left out because of what its ids are taken to mean: of a file that stays as
 * it is here there has to be a clone, and what goes to another has to have a name in the end. If not, the ids mean what
 * they say.
 */
static int all_has_a_place(struct merger *m, const struct rs_result *r)
{
	struct map cloned = MAP_INIT, named = MAP_INIT;
	int rc = 0;

	if (map_count(&m->of_inode) == 0)
		return 0;
	for (size_t i = 0; i < r->n_clones; i++)
		map_put(&cloned, r->clones[i].of, 1);
	for (size_t i = 0; i < r->n_links; i++)
		if (r->links[i].pos.present)
			map_put(&named, r->links[i].child, 1);
	for (size_t i = 0; rc == 0 && i < m->n_ni; i++) {
		const struct norm_inode *n = &m->ni[i];

		if ((n->rec->fields & REC_CONTENT) && !n->beside && !n->redirected_bytes &&
		    !map_get(&cloned, n->ino, NULL) && (units_kept(m, n->ino) || has_no_name(m, n, &named)))
			rc = -EUCLEAN;
	}
	map_release(&named);
	map_release(&cloned);
	return rc;
}

static int land_record(struct merger *m, struct norm_inode *n)
{
	struct inode in;
	int rc = n->in_copy ? resend_unit_file(m, n) : 0; /* while the staged ranges are there to be asked for */

	if (rc < 0)
		return rc;
	if (n->beside)
		return merge_land_beside(m, n);
	if (units_kept(m, n->ino) && !n->redirected_bytes)
		return units_send_back(m, n);
	if (units_kept(m, n->ino)) /* its bytes are in a copy of the file */
		rc = units_send_back_attrs(m, n);
	if (rc < 0)
		return rc;
	if (tree_inode_get(m->v, n->bytes_ino, &in) == 0)
		return merge_land_bytes(m, n);
	return n->in_copy && (n->rec->fields & REC_CONTENT) ? -EUCLEAN : 0;
}

int merge_land(struct merger *m, struct rs_result *r)
{
	struct plan p = { .list = xcalloc(r->n_links + r->n_copies + r->n_clone_links + 1, sizeof(*p.list)),
			  .touch = xcalloc(r->n_links + 1, sizeof(*p.touch)) };
	struct made_copy *copies = xcalloc(r->n_copies + 1, sizeof(*copies));
	int rc = all_has_a_place(m, r);

	if (rc == 0)
		rc = merge_saves_follow(m, r);
	if (rc == 0)
		rc = merge_saves_tell(m, r);
	if (rc == 0)
		rc = land_names(m, r, &p, copies);
	drop_aliased_records(m, r);
	for (size_t i = 0; rc == 0 && i < m->n_follows; i++) /* before that lands in the backups */
		rc = merge_land_bytes(m, &m->follows[i]);
	/* What it calls by an id of its own comes last: what it has by ours may be the same file here. */
	for (size_t i = 0; rc == 0 && i < 2 * m->n_ni; i++) {
		struct norm_inode *n = &m->ni[i % m->n_ni];

		if ((n->aliased || n->redirected_bytes) != (i >= m->n_ni))
			continue;
		rc = land_record(m, n);
	}
	for (size_t i = 0; rc == 0 && i < r->n_copies; i++)
		rc = merge_record_copy(m, merge_bytes_record(m, copies[i].of), &copies[i]);
	if (rc == 0)
		rc = merge_land_attributes(m, r);
	if (rc == 0)
		rc = merge_saves_land(m);
	if (rc == 0 && merge_prefers(m) == RS_PREFER_S)
		rc = merge_take_back(m);
	if (rc == 0)
		rc = merge_let_acls_agree(m);
	for (size_t i = 0; rc == 0 && i < m->n_ni; i++)
		if (m->ni[i].made_again)
			rc = changes_touch_whole(m->v, m->ni[i].ino);
	if (rc == 0)
		rc = merge_send_what_it_lacks(m, r);
	if (rc == 0)
		rc = send_together(m);
	if (rc == 0)
		rc = merge_put_notes(m, r, copies);
	if (rc == 0 && m->prefer)
		rc = merge_note_discarded(m, r);
	if (rc == 0)
		rc = follow_shipment(m->v, m->s);
	if (rc == 0)
		rc = land_reap(m->v, p.list, p.n);
	free(p.list);
	free(p.touch);
	free(copies);
	return rc;
}
