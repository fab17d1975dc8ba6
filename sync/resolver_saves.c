/* SPDX-License-Identifier: MIT */
/* Step 0: files that were saved as editors do, by putting a new one at the name of the old one. */
#include "sync/resolver_work.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "util/util.h"

/* What a side has at the name that the old link had in the base; RW_NONE: nothing. */
static uint32_t at_old_name(const struct rw_work *w, const struct rw_link *old, enum rw_state side)
{
	return rw_names_get(&w->names[side], old->parent[RW_B], old->in->b.name, old->in->b.name_len);
}

static bool is_file(const struct rw_node *n)
{
	return (n->in->type & S_IFMT) == S_IFREG;
}

/* A new file that the side has by this one name; not one that both had before and that is only told anew. */
static bool is_successor(const struct rw_work *w, uint32_t link, enum rw_state side)
{
	const struct rw_node *n;

	if (link == RW_NONE || w->links[link].in->b.present ||
	    (w->links[link].in->returns && RULE(RULE_NO_SAVE_RETURNS)))
		return false;
	n = &w->nodes[w->links[link].child];
	return is_file(n) && n->n_links == 1 && !n->has[RW_B] && !n->has[side == RW_P ? RW_S : RW_P];
}

/* Does the side do more with the file than to have it? */
static bool was_used(const struct rw_link *old, const struct rw_node *n, enum rw_state side)
{
	bool p = side == RW_P;

	return !rw_same_place(&old->in->b, rw_pos(old, side)) || (p ? n->in->p_content : n->in->s_content) ||
	       (p ? n->in->p_attrs : n->in->s_attrs);
}

/*
 * The saver has something else at the old name and nothing of the old file; the other side still has that, by this one
 * link, and used it.
 */
static bool is_kept_by(const struct rw_work *w, const struct rw_link *old, enum rw_state keeper)
{
	const struct rw_node *n = &w->nodes[old->child];
	enum rw_state saver = keeper == RW_P ? RW_S : RW_P;

	if (!RULE(RULE_SAVE_FOLLOWS) && !rw_same_place(&old->in->b, rw_pos(old, keeper)))
		return false;
	return rw_pos(old, keeper)->present && !n->has[saver] && n->n_links == 1 && was_used(old, n, keeper);
}

/* The base may be of several moments, and then have a name twice: who is taken is marked. */
static bool find_save(struct rw_work *w, uint32_t i, struct rs_save *out)
{
	const struct rw_link *old = &w->links[i];
	uint32_t p, s;
	bool p_saved, s_saved;

	if (!old->in->b.present || !is_file(&w->nodes[old->child]))
		return false;
	p = at_old_name(w, old, RW_P);
	s = at_old_name(w, old, RW_S);
	p_saved = is_successor(w, p, RW_P);
	s_saved = is_successor(w, s, RW_S);
	if (p_saved && !s_saved && is_kept_by(w, old, RW_S))
		s = i;
	else if (s_saved && !p_saved && is_kept_by(w, old, RW_P))
		p = i;
	else if (!p_saved || !s_saved)
		return false;
	if (w->nodes[w->links[p].child].mark || w->nodes[w->links[s].child].mark)
		return false;
	w->nodes[w->links[p].child].mark = w->nodes[w->links[s].child].mark = 1;
	*out = (struct rs_save){ .link_b = old->in->id, .ino_b = w->nodes[old->child].in->ino,
		.link_p = w->links[p].in->id, .ino_p = w->nodes[w->links[p].child].in->ino,
		.link_s = w->links[s].in->id, .ino_s = w->nodes[w->links[s].child].in->ino,
		.verdict = RS_CONTENT_KEEP_BOTH };
	return true;
}

int resolve_saves(struct rs_input *in, struct rs_save **out, size_t *n)
{
	struct rw_work w;
	int rc = rw_load(&w, in, NULL);
	size_t cap = 0;

	*out = NULL;
	*n = 0;
	for (uint32_t i = 0; rc == 0 && in->prefer == RS_PREFER_NONE && RULE(RULE_SAVES) && i < w.n_links; i++) {
		if (*n == cap) {
			cap = cap ? 2 * cap : 16;
			*out = xrealloc(*out, cap * sizeof(**out));
		}
		*n += find_save(&w, i, &(*out)[*n]);
	}
	rw_release(&w);
	return rc;
}

/* ---- two become one */

/* The primary's link and inode stand for both, as if the secondary had changed them where they were. */
static void unite(struct rw_work *w, const struct rs_save *save, struct rs_link own[2], struct rs_inode *inode)
{
	uint32_t pi = rw_link_by_id(w, save->link_p), si = rw_link_by_id(w, save->link_s);
	uint32_t bi = rw_link_by_id(w, save->link_b);
	struct rw_link *p = &w->links[pi], *s = &w->links[si];
	const struct rw_link *b = &w->links[bi];
	struct rw_node *np = &w->nodes[p->child], *ns = &w->nodes[s->child];
	uint32_t base_parent = b->parent[RW_B];

	own[0] = *p->in;
	own[0].b = b->in->b;
	own[0].s = s->in->s;
	own[1] = (struct rs_link){ .id = s->in->id, .child = s->in->child };
	*inode = *np->in;
	inode->in_b = inode->in_p = inode->in_s = inode->p_content = inode->s_content = true;
	inode->s_written_ms = ns->in->s_written_ms;
	p->parent[RW_S] = s->parent[RW_S];
	p->parent[RW_B] = base_parent;
	s->parent[RW_B] = s->parent[RW_P] = s->parent[RW_S] = RW_NONE;
	p->in = &own[0];
	s->in = &own[1];
	np->in = inode;
	np->has[RW_B] = np->has[RW_P] = np->has[RW_S] = true;
	np->save = save;
	ns->has[RW_B] = ns->has[RW_P] = ns->has[RW_S] = false;
	ns->alias = p->child;
	rw_names_put(&w->names[RW_S], p->parent[RW_S], p->in->s.name, p->in->s.name_len, pi);
	rw_become(w, ns->in->ino, np->in->ino, false);
	rw_become(w, s->in->id, p->in->id, true);
}

void rw_unite_saves(struct rw_work *w)
{
	size_t n = w->in->n_saves;

	assert(n == 0 || w->in->prefer == RS_PREFER_NONE);
	w->own_links = xcalloc(2 * n + 1, sizeof(*w->own_links));
	w->own_inodes = xcalloc(n + 1, sizeof(*w->own_inodes));
	for (size_t i = 0; i < n; i++)
		if (w->in->saves[i].verdict != RS_CONTENT_KEEP_BOTH)
			unite(w, &w->in->saves[i], &w->own_links[2 * i], &w->own_inodes[i]);
}
