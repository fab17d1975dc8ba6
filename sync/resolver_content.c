/* SPDX-License-Identifier: MIT */
/* Steps 7 and 8: what is in the files, and their attributes; the tree is settled by then. */
#include "sync/resolver_work.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "util/acl.h"
#include "util/util.h"

/* ---- step 7: contents */

const char *rw_live_name(const struct rw_link *l, size_t *len)
{
	*len = l->new_name ? l->new_len : rw_pos(l, l->at)->name_len;
	return l->new_name ? l->new_name : rw_pos(l, l->at)->name;
}

uint32_t rw_live_parent(const struct rw_work *w, const struct rw_link *l)
{
	uint32_t d = l->parent[l->at];

	return w->nodes[d].alias == RW_NONE ? d : w->nodes[d].alias;
}

static uint32_t lowest_live_link(const struct rw_work *w, const struct rw_node *n)
{
	uint32_t i = 0;

	while (w->links[rw_link_of(w, n, i)].at == RW_DEAD)
		i++;
	return rw_link_of(w, n, i);
}

static void copy_beside(struct rw_work *w, uint32_t node)
{
	const struct rw_node *n = &w->nodes[node];
	const struct rw_link *l = &w->links[lowest_live_link(w, n)];
	struct rs_result *out = w->out;
	struct rs_copy *c;
	uint32_t dir = rw_live_parent(w, l);
	const char *name;
	size_t len;

	if (out->n_copies == w->cap_copies) {
		w->cap_copies = w->cap_copies ? w->cap_copies * 2 : 16;
		out->copies = xrealloc(out->copies, w->cap_copies * sizeof(*out->copies));
	}
	c = &out->copies[out->n_copies++];
	c->ino = n->in->ino;
	c->parent = w->nodes[dir].in->ino;
	name = rw_live_name(l, &len);
	c->name = rw_free_name(w, dir, name, len, n->in, false, &c->name_len);
}

/* The mover has the file no more at this link, and the writer has it there still. */
static bool left_to_writer(const struct rw_link *l, enum rw_state mover, enum rw_state writer)
{
	const struct rs_pos *b = &l->in->b, *at = rw_pos(l, mover);

	if (!b->present || !rw_same_place(b, rw_pos(l, writer)) || rw_same_place(b, at))
		return false;
	return l->at == (at->present ? mover : RW_DEAD);
}

/* `mv doc doc~` or `ln doc doc~`, a new doc, and the other side wrote to the old doc: not what it looks like by name,
 * so it is noted. */
static void note_write_that_follows(struct rw_work *w, uint32_t node, enum rw_state mover)
{
	const struct rw_node *n = &w->nodes[node];
	enum rw_state writer = mover == RW_P ? RW_S : RW_P;

	if (!n->has[RW_P] || !n->has[RW_S] || !(writer == RW_P ? n->in->p_content : n->in->s_content) ||
	    !RULE(RULE_WRITE_FOLLOWS))
		return;
	for (uint32_t i = 0; i < n->n_links; i++) {
		uint32_t at = rw_link_of(w, n, i), taker;
		const struct rw_link *l = &w->links[at];

		if (!left_to_writer(l, mover, writer))
			continue;
		taker = rw_names_get(&w->names[mover], l->parent[RW_B], l->in->b.name, l->in->b.name_len);
		if (taker == RW_NONE || w->nodes[w->links[taker].child].has[RW_B])
			continue;
		rw_note(w, "move", "merged",
			"one side kept the file under another name and gave its name to a new one, the other wrote to "
			"it: the write is under the other name", node, w->links[taker].child, at);
		return;
	}
}

/* What is to be made of two versions, by the caller's word. */
static void settle_content(struct rw_work *w, uint32_t i, enum rs_content c)
{
	if (c == RS_CONTENT_MERGED) {
		rw_note(w, "content", "merged", "changed on both sides: the changes were merged", i, RW_NONE, RW_NONE);
	} else if (c == RS_CONTENT_PRIMARY || c == RS_CONTENT_SECONDARY) {
		rw_note(w, "content", c == RS_CONTENT_PRIMARY ? "primary" : "secondary",
			"changed on both sides: the policy names the version, the other is set aside", i, RW_NONE,
			RW_NONE);
	} else if (c == RS_CONTENT_KEEP_BOTH) {
		copy_beside(w, i);
		rw_note(w, "content", "kept-both",
			"changed on both sides: the primary's version keeps the place, the other is beside it", i,
			RW_NONE, RW_NONE);
	}
}

static void merge_content(struct rw_work *w, uint32_t i)
{
	const struct rw_node *n = &w->nodes[i];
	const struct rs_ops *ops = &w->in->ops;

	if ((n->in->type & S_IFMT) != S_IFREG || n->n_live == 0)
		return;
	if (rw_prefers(w, n->in->late)) {
		rw_prefer_content(w, i);
		return;
	}
	if (n->save) {
		settle_content(w, i, n->save->verdict);
		return;
	}
	note_write_that_follows(w, i, RW_P);
	note_write_that_follows(w, i, RW_S);
	if (!n->has[RW_P] || !n->has[RW_S] || !n->in->p_content || !n->in->s_content || !RULE(RULE_CONTENT))
		return;
	assert(ops->content);
	settle_content(w, i, ops->content(ops->ctx, n->in->ino));
}

void rw_merge_contents(struct rw_work *w)
{
	for (uint32_t i = 0; i < w->n_nodes; i++)
		merge_content(w, i);
}

/* ---- step 8: attributes */

static int attr_cmp(const void *a, const void *b, void *ctx)
{
	const struct rs_attr *attrs = ctx, *x = &attrs[*(const size_t *)a], *y = &attrs[*(const size_t *)b];

	if (x->ino != y->ino)
		return x->ino < y->ino ? -1 : 1;
	if (x->field != y->field)
		return x->field < y->field ? -1 : 1;
	return x->field == RS_XATTR ? strcmp(x->key, y->key) : 0;
}

static void merge_attr(struct rw_work *w, size_t input)
{
	const struct rs_attr *a = &w->in->attrs[input];
	uint32_t node = rw_node_of(w, a->ino);
	const struct rw_node *n;
	struct rs_attr_out *o;
	const char *rule;

	if (node == RW_NONE)
		return;
	n = &w->nodes[node];
	/* What both have is in the result. */
	if (n->alias != RW_NONE || !n->has[RW_P] || !n->has[RW_S])
		return;
	o = &w->out->attrs[w->out->n_attrs++];
	*o = (struct rs_attr_out){ .input = input, .take_p = true };
	if (a->equal || !RULE(RULE_ATTR) || rw_is_kept(w, a->ino))
		return;
	if (rw_prefers(w, a->late) && RULE(RULE_PREFER_ATTR)) {
		o->take_p = w->in->prefer == RS_PREFER_P;
		return;
	}
	if (a->field == RS_TIMES) {
		o->take_p = a->p_later;
		return;
	}
	o->note = true;
	o->keep_other = a->field == RS_XATTR && !acl_is_key(a->key);
	if (o->keep_other)
		rule = "an xattr got two values: the primary's stays, the other is in user.twinfs.conflict.KEY";
	else if (a->field == RS_XATTR)
		rule = strcmp(a->key, ACL_DEFAULT_KEY) == 0
			       ? "the default ACL was changed on both sides: the primary's stays"
			       : "the ACL was changed on both sides: the primary's stays";
	else if (a->field == RS_MODE)
		rule = "the mode was changed on both sides: the primary's stays";
	else
		rule = "the owner was changed on both sides: the primary's stays";
	rw_note(w, o->keep_other ? "xattr" : "attribute", "primary", rule, node, RW_NONE, RW_NONE);
	w->out->notes[w->out->n_notes - 1].attr = input;
}

void rw_merge_attrs(struct rw_work *w)
{
	size_t n = w->in->n_attrs, *order;

	if (n == 0)
		return;
	order = xmalloc(n * sizeof(*order));
	w->out->attrs = xmalloc(n * sizeof(*w->out->attrs));
	for (size_t i = 0; i < n; i++)
		order[i] = i;
	qsort_r(order, n, sizeof(*order), attr_cmp, (void *)(uintptr_t)w->in->attrs);
	for (size_t i = 0; i < n; i++)
		merge_attr(w, order[i]);
	free(order);
}

