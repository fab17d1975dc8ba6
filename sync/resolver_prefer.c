/* SPDX-License-Identifier: MIT */
/* A person said whose state counts: that side's tree stays, and what the other side had goes aside. */
#include "sync/resolver_work.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "util/util.h"

static enum rw_state kept(const struct rw_work *w)
{
	return w->in->prefer == RS_PREFER_P ? RW_P : RW_S;
}

static enum rw_state discarded(const struct rw_work *w)
{
	return w->in->prefer == RS_PREFER_P ? RW_S : RW_P;
}

bool rw_is_discarded(const struct rw_work *w, const struct rw_node *n)
{
	return rw_prefers(w, n->in->late) && !n->has[kept(w)] && RULE(RULE_PREFER_GONE);
}

void rw_prefer_link(struct rw_work *w, uint32_t link)
{
	if (w->links[link].parent[kept(w)] != RW_NONE)
		rw_set_live(w, link, kept(w));
}

/* Has the discarded side made it, or changed its bytes? */
static bool is_worth_keeping(const struct rw_work *w, const struct rw_node *n)
{
	assert(n->has[discarded(w)]);
	return !n->has[RW_B] || (w->in->prefer == RS_PREFER_P ? n->in->s_content : n->in->p_content);
}

/* The lowest link that the discarded side has of it; RW_NONE: none. */
static uint32_t its_link(const struct rw_work *w, const struct rw_node *n)
{
	for (uint32_t i = 0; i < n->n_links; i++)
		if (w->links[rw_link_of(w, n, i)].parent[discarded(w)] != RW_NONE)
			return rw_link_of(w, n, i);
	return RW_NONE;
}

static void add(struct rw_work *w, const struct rw_node *n, uint32_t link, bool link_goes)
{
	const struct rw_link *l = &w->links[link];
	const struct rs_pos *at = rw_pos(l, discarded(w));
	struct rs_result *out = w->out;

	if (out->n_asides == w->cap_asides) {
		w->cap_asides = w->cap_asides ? w->cap_asides * 2 : 16;
		out->asides = xrealloc(out->asides, w->cap_asides * sizeof(*out->asides));
	}
	out->asides[out->n_asides++] = (struct rs_aside){ .ino = n->in->ino,
		.link = link_goes ? l->in->id : 0,
		.parent = at->parent,
		.name = at->name,
		.name_len = at->name_len };
}

void rw_put_aside(struct rw_work *w)
{
	for (uint32_t i = 0; i < w->n_nodes && w->in->prefer != RS_PREFER_NONE; i++) {
		const struct rw_node *n = &w->nodes[i];
		uint32_t link = n->is_root || n->n_live > 0 ? RW_NONE : its_link(w, n);

		if (link != RW_NONE && is_worth_keeping(w, n) && RULE(RULE_ASIDE_LINK))
			add(w, n, link, true);
	}
}

void rw_prefer_content(struct rw_work *w, uint32_t node)
{
	const struct rw_node *n = &w->nodes[node];
	uint32_t link = its_link(w, n);

	if (link == RW_NONE || !n->has[kept(w)] || !is_worth_keeping(w, n))
		return;
	assert(w->in->ops.content);
	if (w->in->ops.content(w->in->ops.ctx, n->in->ino) != RS_CONTENT_EQUAL && RULE(RULE_ASIDE_COPY))
		add(w, n, link, false);
}
