/* SPDX-License-Identifier: MIT */
/*
 * Units: directories that are kept whole. Where both sides changed one, the input is rewritten as if the secondary had
 * copied the unit beside it first and had changed the copy: what it alone has moves to the copy, of what the primary
 * has too the copy gets a clone, and in place is what the primary has. The steps then see no conflict in it.
 */
#include "sync/resolver_work.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "util/util.h"

enum fate {
	FATE_PLAIN,    /* merged like everything */
	FATE_TWO,      /* two whole units: the primary's in place, the secondary's beside it */
	FATE_P_WHOLE,  /* the secondary removed it, the primary changed it: it is there as the primary has it */
	FATE_S_WHOLE,  /* the other way round */
};

struct unit_finder {
	struct rw_work *w;
	/* [RW_P], [RW_S]: the outermost unit that this directory is (in), RW_NONE: none. Of one that this side has not,
	 * the unit of what it has above it: there it is back, if it is. */
	uint32_t *of[3];
	uint8_t *changed;   /* of a unit: bit RW_P, bit RW_S */
	uint8_t *fate;      /* of a unit: enum fate */
	uint32_t *head[3], *next[3]; /* links in a directory in that state */
};

/* ---- which directory is in which unit */

bool rw_is_unit(const struct rw_work *w, uint32_t dir)
{
	const struct rw_node *n = &w->nodes[dir];

	if (w->in->prefer != RS_PREFER_NONE || !n->is_dir)
		return false;
	assert(!n->is_root);
	return w->links[rw_link_of(w, n, 0)].in->unit;
}

/* Of the directories in state `by`, as far up as it is not known yet. */
static void find_units_by(struct unit_finder *f, enum rw_state st, enum rw_state by, uint32_t *path)
{
	struct rw_work *w = f->w;
	uint32_t *of = f->of[st];

	for (uint32_t i = 0; i < w->n_nodes; i++) {
		uint32_t d = i, n = 0, unit;

		if (!w->nodes[i].is_dir || !w->nodes[i].has[by])
			continue;
		while (d != RW_NONE && w->nodes[d].mark == 0) {
			path[n++] = d;
			d = w->links[rw_link_of(w, &w->nodes[d], 0)].parent[by];
		}
		unit = d == RW_NONE ? RW_NONE : of[d]; /* what is above it may not be known by its first link */
		while (n-- > 0) {
			if ((unit == RW_NONE || !RULE(RULE_UNIT_OUTERMOST)) && rw_is_unit(w, path[n]))
				unit = path[n];
			of[path[n]] = unit;
			w->nodes[path[n]].mark = 1;
		}
	}
}

static void find_units(struct unit_finder *f, enum rw_state st)
{
	struct rw_work *w = f->w;
	uint32_t *path = xmalloc(((size_t)w->n_nodes + 1) * sizeof(*path));

	for (uint32_t i = 0; i < w->n_nodes; i++) {
		w->nodes[i].mark = w->nodes[i].is_root;
		f->of[st][i] = RW_NONE;
	}
	find_units_by(f, st, st, path);
	if (RULE(RULE_UNIT_BACK))
		find_units_by(f, st, st == RW_P ? RW_S : RW_P, path);
	free(path);
}

static uint32_t unit_of(const struct unit_finder *f, enum rw_state st, uint32_t dir)
{
	return dir == RW_NONE || !f->w->nodes[dir].has[st] ? RW_NONE : f->of[st][dir];
}

/* What it is in when it is back there. */
static uint32_t unit_back(const struct unit_finder *f, enum rw_state st, uint32_t dir)
{
	return dir == RW_NONE ? RW_NONE : f->of[st][dir];
}

/*
 * ---- which units a side changed: names in it, and contents; also of what only the other side has in it, as what the
 * two did would meet there
 */

static void changed_in(struct unit_finder *f, uint32_t unit, enum rw_state by)
{
	if (unit != RW_NONE)
		f->changed[unit] |= (uint8_t)(1u << by);
}

static void find_changes(struct unit_finder *f, enum rw_state by)
{
	const struct rw_work *w = f->w;

	for (uint32_t i = 0; i < w->n_links; i++) {
		const struct rw_link *l = &w->links[i];
		const struct rw_node *n = &w->nodes[l->child];
		bool moved = !rw_same_place(&l->in->b, rw_pos(l, by));
		bool written = !n->is_dir && (by == RW_P ? n->in->p_content : n->in->s_content);

		for (enum rw_state st = RW_P; st <= RW_S; st++) {
			if (written) { /* the other may have the directory in a unit, and not the file */
				changed_in(f, unit_of(f, st, l->parent[st]), by);
				changed_in(f, unit_back(f, st, l->parent[by]), by);
			}
			if (!moved)
				continue;
			/* The directory that it was in may be gone with it, on one side. */
			changed_in(f, unit_back(f, st, l->parent[by]), by);
			changed_in(f, unit_back(f, st, l->parent[RW_B]), by);
			changed_in(f, unit_of(f, st, l->parent[st]), by);
		}
		/* Who moved what the other removed meant to keep what is in it. */
		if (moved && l->parent[by] != RW_NONE && l->parent[by == RW_P ? RW_S : RW_P] == RW_NONE &&
		    rw_is_unit(w, l->child))
			changed_in(f, l->child, by);
	}
}

/* ---- are they the same on both sides? */

static void list_links(struct unit_finder *f, enum rw_state st)
{
	const struct rw_work *w = f->w;

	for (uint32_t i = 0; i < w->n_nodes; i++)
		f->head[st][i] = RW_NONE;
	for (uint32_t i = 0; i < w->n_links; i++) {
		uint32_t d = w->links[i].parent[st];

		if (d == RW_NONE)
			continue;
		f->next[st][i] = f->head[st][d];
		f->head[st][d] = i;
	}
}

static bool same_entry(struct rw_work *w, const struct rw_link *p, const struct rw_link *s)
{
	const struct rw_node *a = &w->nodes[p->child], *b = &w->nodes[s->child];
	const struct rs_ops *ops = &w->in->ops;

	if (a->is_dir && p->child == s->child)
		return true; /* what is in it is compared by itself */
	if (a->is_dir && b->is_dir) /* if both are new, that goes for the one that they become too */
		return !a->has[RW_B] && !b->has[RW_B] && !a->has[RW_S] && !b->has[RW_P];
	if (p->child != s->child)
		return !a->is_dir && !b->is_dir && rw_can_become(w, p->child, s->child);
	if (p != s)
		return false; /* two names, which will not become one */
	if (!a->in->p_content && !a->in->s_content)
		return true;
	return a->in->p_content && a->in->s_content && (a->in->type & S_IFMT) == S_IFREG && ops->equal &&
	       ops->equal(ops->ctx, a->in->ino);
}

/* The same names, and behind them the same: then there is nothing to keep apart. */
static bool same_trees(struct unit_finder *f, uint32_t p, uint32_t s)
{
	struct rw_work *w = f->w;
	size_t n = 0, cap = 64;
	uint32_t(*stack)[2] = xmalloc(cap * sizeof(*stack));
	bool same = true;

	stack[n][0] = p;
	stack[n++][1] = s;
	while (n > 0 && same) {
		uint32_t dp = stack[--n][0], ds = stack[n][1], count = 0;

		for (uint32_t i = f->head[RW_S][ds]; i != RW_NONE; i = f->next[RW_S][i])
			count++;
		for (uint32_t i = f->head[RW_P][dp]; i != RW_NONE && same; i = f->next[RW_P][i]) {
			const struct rw_link *l = &w->links[i];
			uint32_t k = rw_names_get(&w->names[RW_S], ds, l->in->p.name, l->in->p.name_len);

			same = k != RW_NONE && same_entry(w, l, &w->links[k]);
			count--; /* names are unique: there is one of theirs for each of ours */
			if (!same || !w->nodes[l->child].is_dir)
				continue;
			if (n == cap)
				stack = xrealloc(stack, (cap *= 2) * sizeof(*stack));
			stack[n][0] = l->child;
			stack[n++][1] = w->links[k].child;
		}
		same = same && count == 0;
	}
	free(stack);
	return same;
}

/* ---- the finder */

static void finder_open(struct unit_finder *f, struct rw_work *w)
{
	size_t nodes = (size_t)w->n_nodes + 1, links = (size_t)w->n_links + 1;

	*f = (struct unit_finder){ .w = w, .changed = xcalloc(nodes, 1), .fate = xcalloc(nodes, 1) };
	for (enum rw_state st = RW_P; st <= RW_S; st++) {
		f->of[st] = xmalloc(nodes * sizeof(uint32_t));
		f->head[st] = xmalloc(nodes * sizeof(uint32_t));
		f->next[st] = xmalloc(links * sizeof(uint32_t));
		find_units(f, st);
		list_links(f, st);
	}
	find_changes(f, RW_P);
	find_changes(f, RW_S);
}

static void finder_close(struct unit_finder *f)
{
	for (enum rw_state st = RW_P; st <= RW_S; st++) {
		free(f->of[st]);
		free(f->head[st]);
		free(f->next[st]);
	}
	free(f->changed);
	free(f->fate);
}

static enum fate fate_of(struct unit_finder *f, uint32_t u)
{
	const struct rw_node *n = &f->w->nodes[u];
	bool by_p = (f->changed[u] & (1u << RW_P)) != 0, by_s = (f->changed[u] & (1u << RW_S)) != 0;
	bool in_p = n->has[RW_P] && f->of[RW_P][u] == u, in_s = n->has[RW_S] && f->of[RW_S][u] == u;

	assert(rw_is_unit(f->w, u)); /* nothing else is changed */
	if (!RULE(RULE_UNITS))
		return FATE_PLAIN;
	if (in_p && in_s && by_p && by_s)
		return same_trees(f, u, u) && RULE(RULE_UNIT_SAME) ? FATE_PLAIN : FATE_TWO;
	if (!RULE(RULE_UNIT_WHOLE))
		return FATE_PLAIN;
	/* In another unit there: each has it whole where it has it. */
	if (in_p && by_p && by_s && unit_of(f, RW_S, u) != RW_NONE)
		return FATE_P_WHOLE;
	if (in_s && by_s && by_p && unit_of(f, RW_P, u) != RW_NONE)
		return FATE_S_WHOLE;
	/* Removed by the other side, or made by this one of what the other changed meanwhile. */
	if (in_p && by_p && !n->has[RW_S] && (n->has[RW_B] || (by_s && RULE(RULE_UNIT_MADE))))
		return FATE_P_WHOLE;
	if (in_s && by_s && !n->has[RW_P] && (n->has[RW_B] || (by_p && RULE(RULE_UNIT_MADE))))
		return FATE_S_WHOLE;
	return FATE_PLAIN;
}

static bool has_units(const struct rs_input *in)
{
	for (size_t i = 0; i < in->n_links && in->prefer == RS_PREFER_NONE; i++)
		if (in->links[i].unit)
			return true;
	return false;
}

/* Both changed it, or one did and the other removed it. What only who removed it changed is in nobody's way. */
static bool is_of_both(const struct unit_finder *f, uint32_t u)
{
	const struct rw_node *n = &f->w->nodes[u];
	bool by_p = (f->changed[u] & (1u << RW_P)) != 0, by_s = (f->changed[u] & (1u << RW_S)) != 0;

	if (!RULE(RULE_UNIT_UNTOUCHED))
		return by_p || by_s;
	return (by_p && by_s) || (n->has[RW_B] && ((by_p && !n->has[RW_S]) || (by_s && !n->has[RW_P])));
}

size_t rw_units_of_both(struct rw_work *w, uint64_t **units)
{
	struct unit_finder f;
	size_t n = 0;

	finder_open(&f, w);
	*units = xmalloc(((size_t)w->n_nodes + 1) * sizeof(**units));
	for (uint32_t u = 0; u < w->n_nodes; u++)
		if (is_of_both(&f, u))
			(*units)[n++] = w->nodes[u].in->ino;
	finder_close(&f);
	return n;
}

/* ---- rewriting the input */

struct rewriter {
	struct unit_finder *f;
	struct rw_work *w;
	struct rw_units *u;
	uint32_t *clone_of; /* by node: index + 1 of its clone */
	uint8_t *split;     /* by node: a directory that both have, and the secondary's is a clone */
	uint8_t *apart;     /* by node: a directory that one side has for itself elsewhere, or it alone */
	uint8_t *kept;      /* by node: it is as the primary has it */
	size_t cap_links, cap_inodes, cap_clones, cap_clone_links;
};

static enum fate fate_at(const struct rewriter *r, enum rw_state st, uint32_t dir)
{
	uint32_t u = unit_of(r->f, st, dir);

	return u == RW_NONE ? FATE_PLAIN : r->f->fate[u];
}

static bool is_split(const struct rewriter *r, uint32_t dir)
{
	return dir != RW_NONE && r->split[dir];
}

/* The directory is in such a unit of the other side, or would be back there, and `st` has it elsewhere. */
static bool is_elsewhere(const struct rewriter *r, enum rw_state st, uint32_t dir)
{
	uint32_t there = unit_back(r->f, st == RW_P ? RW_S : RW_P, dir);

	return dir != RW_NONE && r->w->nodes[dir].is_dir && r->w->nodes[dir].has[st] && there != RW_NONE &&
	       r->f->fate[there] != FATE_PLAIN && fate_at(r, st, dir) == FATE_PLAIN;
}

/* The highest directory above it that is elsewhere too. */
static uint32_t top_elsewhere(const struct rewriter *r, enum rw_state st, uint32_t dir)
{
	for (;;) {
		const struct rw_node *n = &r->w->nodes[dir];
		uint32_t up;

		assert(!n->is_root); /* which is in no unit */
		up = r->w->links[rw_link_of(r->w, n, 0)].parent[st];
		if (!is_elsewhere(r, st, up))
			return dir;
		dir = up;
	}
}

/* What a side has elsewhere is its own there if it moved it or changed something in it; else it goes with the other. */
static void split_elsewhere(struct rewriter *r, enum rw_state st)
{
	const struct rw_work *w = r->w;

	for (uint32_t i = 0; i < w->n_links; i++) {
		const struct rw_link *l = &w->links[i];
		const struct rs_inode *n = w->nodes[l->child].in;
		const uint32_t in[] = { l->child, l->parent[st], l->parent[RW_B] };
		bool moved = !rw_same_place(&l->in->b, rw_pos(l, st));
		bool written = st == RW_P ? n->p_content : n->s_content;

		/* in[0] is elsewhere if it is a directory: then it was given a user xattr. */
		for (size_t k = 0; k < ARRAY_LEN(in); k++)
			if (is_elsewhere(r, st, in[k]) && (moved || (k < 2 && written)) && RULE(RULE_UNIT_APART))
				r->apart[top_elsewhere(r, st, in[k])] = 1;
	}
	for (uint32_t i = 0; i < w->n_nodes; i++)
		if (is_elsewhere(r, st, i)) {
			r->apart[i] = r->apart[top_elsewhere(r, st, i)];
			r->split[i] = r->apart[i] && w->nodes[i].has[RW_P] && w->nodes[i].has[RW_S];
		}
}

static void find_split(struct rewriter *r)
{
	for (uint32_t i = 0; i < r->w->n_nodes; i++)
		r->split[i] = r->w->nodes[i].is_dir && fate_at(r, RW_P, i) != FATE_PLAIN &&
			fate_at(r, RW_S, i) != FATE_PLAIN;
	split_elsewhere(r, RW_P);
	split_elsewhere(r, RW_S);
}

static struct rs_link *add_link(struct rewriter *r, struct rs_link l)
{
	struct rs_input *in = &r->u->in;

	if (in->n_links == r->cap_links) {
		r->cap_links = r->cap_links ? r->cap_links * 2 : 64;
		in->links = xrealloc(in->links, r->cap_links * sizeof(*in->links));
	}
	in->links[in->n_links] = l;
	return &in->links[in->n_links++];
}

static void add_inode(struct rewriter *r, struct rs_inode n)
{
	struct rs_input *in = &r->u->in;

	if (in->n_inodes == r->cap_inodes) {
		r->cap_inodes = r->cap_inodes ? r->cap_inodes * 2 : 64;
		in->inodes = xrealloc(in->inodes, r->cap_inodes * sizeof(*in->inodes));
	}
	in->inodes[in->n_inodes++] = n;
}

static uint64_t clone(struct rewriter *r, uint32_t node)
{
	struct rw_units *u = r->u;

	if (!r->clone_of[node]) {
		if (u->n_clones == r->cap_clones) {
			r->cap_clones = r->cap_clones ? r->cap_clones * 2 : 64;
			u->clones = xrealloc(u->clones, r->cap_clones * sizeof(*u->clones));
		}
		u->clones[u->n_clones] = (struct rs_clone){ .id = RS_CLONE | (u->n_clones + 1),
			.of = r->w->nodes[node].in->ino };
		r->clone_of[node] = (uint32_t)++u->n_clones;
	}
	return u->clones[r->clone_of[node] - 1].id;
}

/* A new link to a clone, which the secondary has as `of`. */
static uint64_t clone_link_id(struct rewriter *r, uint64_t of)
{
	struct rw_units *u = r->u;

	if (u->n_clone_links == r->cap_clone_links) {
		r->cap_clone_links = r->cap_clone_links ? r->cap_clone_links * 2 : 64;
		u->clone_link_of = xrealloc(u->clone_link_of, r->cap_clone_links * sizeof(*u->clone_link_of));
	}
	u->clone_link_of[u->n_clone_links++] = of;
	return RS_CLONE | u->n_clone_links;
}

static void add_clone_link(struct rewriter *r, const struct rw_link *l)
{
	struct rs_pos at = l->in->s;

	if (is_split(r, l->parent[RW_S]))
		at.parent = clone(r, l->parent[RW_S]);
	add_link(r, (struct rs_link){ .id = clone_link_id(r, l->in->id), .child = clone(r, l->child), .s = at });
}

/* The link that leads to a unit. */
static void rewrite_root(struct rewriter *r, const struct rw_link *l)
{
	struct rw_units *u = r->u;
	enum fate fate = r->f->fate[l->child];
	uint32_t dir = l->parent[RW_S];
	struct rs_pos s = l->in->s;
	struct rs_link *new;
	const struct rw_node *n = &r->w->nodes[l->child];

	if (fate != FATE_TWO && n->has[RW_P] && n->has[RW_S]) {
		new = add_link(r, *l->in);
		if (is_split(r, l->child)) {
			new->b = new->s = (struct rs_pos){ .present = false };
			add_clone_link(r, l);
		}
		return;
	}
	if (s.present && is_split(r, dir))
		s.parent = clone(r, dir);
	new = add_link(r, *l->in);
	new->s = s;
	u->roots = xrealloc(u->roots, (u->n_roots + 1) * sizeof(*u->roots));
	u->roots[u->n_roots] = (struct rw_unit){ .ino = n->in->ino, .link = l->in->id };
	if (fate != FATE_TWO) {
		new->b = (struct rs_pos){ .present = false };
	} else {
		struct rw_unit *root = &u->roots[u->n_roots];
		struct rs_link *copy;

		/* Where it goes is known when the original has its place; until then its name is no file's. */
		root->name_len = (uint16_t)snprintf(root->name, sizeof(root->name), "/%u", u->n_roots);
		root->copy = clone_link_id(r, l->in->id);
		copy = add_link(r, (struct rs_link){ .id = root->copy, .child = clone(r, l->child), .s = s });
		copy->s.name_len = root->name_len; /* the name itself is set when roots[] moves no more */
	}
	u->n_roots++;
}

/* Does the side have this in a unit that it keeps whole, or in a directory of its own elsewhere? */
static bool is_owned(const struct rewriter *r, const struct rw_link *l, enum rw_state st)
{
	const struct rw_node *n = &r->w->nodes[l->child];

	if (fate_at(r, st, l->parent[st]) != FATE_PLAIN)
		return true;
	if (l->parent[st] == RW_NONE || !r->apart[l->parent[st]])
		return false;
	/* A directory that both have, and have moved into and out of such a one, has one place like any other. */
	return !n->is_dir || is_split(r, l->child) || !n->has[st == RW_P ? RW_S : RW_P];
}

/* Is what the secondary has in its unit to be had by it alone: has the primary nothing of it, or not touched it? */
static bool is_free(const struct rewriter *r, const struct rw_link *l)
{
	const struct rw_node *n = &r->w->nodes[l->child];

	if (!n->has[RW_P])
		return true;
	for (uint32_t i = 0; i < n->n_links; i++) {
		const struct rw_link *k = &r->w->links[rw_link_of(r->w, n, i)];
		bool moved = k->in->p.present && !rw_same_place(&k->in->p, &k->in->b);

		/* All its names in the unit lead to the same. */
		if (is_owned(r, k, RW_P) || (moved && is_owned(r, k, RW_S)))
			return false;
	}
	return n->is_dir ? !is_split(r, l->child) : !n->in->p_content;
}

/* Of what the primary has in a unit too: what the secondary has is in its own unit, its own elsewhere, or moved. */
static bool leads_to_clone(const struct rewriter *r, const struct rw_link *l)
{
	bool by_s = is_owned(r, l, RW_S);

	return l->in->s.present && (by_s || is_owned(r, l, RW_P)) && !is_free(r, l) &&
	       (by_s || is_split(r, l->child) || !rw_same_place(&l->in->s, &l->in->b));
}

/* A name outside of units that the secondary gave to a file of one: it means its own version. */
static bool names_clone(const struct rewriter *r, const struct rw_link *l)
{
	const struct rw_node *n = &r->w->nodes[l->child];

	if (n->is_dir || !l->in->s.present || l->in->p.present || l->in->b.present || !RULE(RULE_UNIT_NAMES))
		return false;
	for (uint32_t i = 0; i < n->n_links; i++)
		if (leads_to_clone(r, &r->w->links[rw_link_of(r->w, n, i)]))
			return true;
	return false;
}

static void rewrite_link(struct rewriter *r, const struct rw_link *l)
{
	bool by_p = is_owned(r, l, RW_P), by_s = is_owned(r, l, RW_S);
	struct rs_link *new;

	if (r->w->nodes[l->child].is_dir && r->f->fate[l->child] != FATE_PLAIN) {
		rewrite_root(r, l);
		return;
	}
	new = add_link(r, *l->in);
	if (by_p)
		r->kept[l->child] = 1;
	if (!by_p && !by_s && names_clone(r, l)) {
		new->s = (struct rs_pos){ .present = false };
		add_clone_link(r, l);
		return;
	}
	if (!by_p && !by_s) {
		/* Untouched by the secondary, in a directory that the primary took into its unit. Or a directory that
		 * the secondary moved into its own copy of that one. */
		if (is_split(r, l->parent[RW_S]))
			new->s.parent = clone(r, l->parent[RW_S]);
		else if (is_elsewhere(r, RW_S, l->parent[RW_S]))
			new->b = new->s = (struct rs_pos){ .present = false };
		return;
	}
	if (l->in->s.present && is_free(r, l)) {
		if (!new->p.present)
			new->b.present = false;
		if (is_split(r, l->parent[RW_S]))
			new->s.parent = clone(r, l->parent[RW_S]);
		return;
	}
	new->b = new->s = (struct rs_pos){ .present = false };
	if (!l->in->s.present)
		return;
	if (leads_to_clone(r, l)) {
		add_clone_link(r, l);
		/* It stands for the primary's name in a directory that goes with the secondary's unit. */
		if (!by_p && is_elsewhere(r, RW_P, l->parent[RW_P]))
			new->p.present = false;
	}
}

/*
 * The secondary wrote to a file of the primary's unit that it has under other names only: its version goes beside the
 * first of them.
 */
static void keep_written(struct rewriter *r, uint32_t node)
{
	const struct rw_node *n = &r->w->nodes[node];

	for (uint32_t i = 0; i < n->n_links; i++) {
		const struct rw_link *l = &r->w->links[rw_link_of(r->w, n, i)];

		if (l->parent[RW_S] == RW_NONE)
			continue;
		/* The name is taken by the original, so it becomes a conflict name; and is no name twice until then. */
		add_clone_link(r, l);
		r->u->beside = xrealloc(r->u->beside, (r->u->n_beside + 1) * sizeof(*r->u->beside));
		r->u->beside[r->u->n_beside++] = (struct rw_beside){ .copy = RS_CLONE | r->u->n_clone_links,
			.link = l->in->id, .at = l->in->s };
		return;
	}
}

static void rewrite_inodes(struct rewriter *r)
{
	const struct rw_work *w = r->w;
	struct rw_units *u = r->u;

	for (uint32_t i = 0; i < w->n_nodes; i++) {
		struct rs_inode n = *w->nodes[i].in;

		r->kept[i] |= r->split[i] || r->clone_of[i];
		if (r->kept[i]) {
			/* (Of a directory that the secondary has there is a clone then.) */
			if (n.s_content && !r->clone_of[i] && RULE(RULE_UNIT_BESIDE))
				keep_written(r, i);
			n.s_content = false;
			u->kept[u->n_kept++] = n.ino;
		}
		add_inode(r, n);
	}
	for (uint32_t i = 0; i < u->n_clones; i++) {
		const struct rs_inode *of = w->nodes[rw_node_of(w, u->clones[i].of)].in;

		add_inode(r, (struct rs_inode){ .ino = u->clones[i].id, .type = of->type, .in_s = true,
			.s_content = true, .s_written_ms = of->s_written_ms });
	}
}

static struct rs_link *link_by_id(struct rs_input *in, uint64_t id)
{
	/* Clone links come last but in order; there are few that are looked for. */
	size_t i = in->n_links - 1;

	while (in->links[i].id != id) {
		assert(i > 0);
		i--;
	}
	return &in->links[i];
}

/* Names for copies until step 6: those of the originals are taken. A '/' is in no name. */
static void name_copies(struct rw_units *u)
{
	for (uint32_t i = 0; i < u->n_roots; i++)
		if (u->roots[i].copy)
			link_by_id(&u->in, u->roots[i].copy)->s.name = u->roots[i].name;
	for (uint32_t i = 0; i < u->n_beside; i++) {
		struct rs_link *l = link_by_id(&u->in, u->beside[i].copy);

		l->s.name_len = (uint16_t)snprintf(u->beside[i].name, sizeof(u->beside[i].name), "//%u", i);
		l->s.name = u->beside[i].name;
	}
}

/* The time in the copy's name: of what the secondary wrote last in it. */
static void date_copies(struct rewriter *r)
{
	const struct rw_work *w = r->w;

	for (uint32_t i = 0; i < w->n_links; i++) {
		uint32_t u = unit_of(r->f, RW_S, w->links[i].parent[RW_S]), c;
		const struct rs_inode *n = w->nodes[w->links[i].child].in;
		struct rs_inode *copy;

		if (u == RW_NONE || !(c = r->clone_of[u]) || !n->s_content)
			continue;
		copy = &r->u->in.inodes[w->n_nodes + c - 1];
		copy->s_written_ms = MAX(copy->s_written_ms, n->s_written_ms);
	}
}

struct rw_units *rw_units_split(struct rw_work *w)
{
	struct unit_finder f;
	struct rewriter r = { .f = &f, .w = w };
	bool any = false;

	if (!has_units(w->in))
		return NULL;
	finder_open(&f, w);
	for (uint32_t u = 0; u < w->n_nodes; u++) {
		f.fate[u] = f.changed[u] ? (uint8_t)fate_of(&f, u) : FATE_PLAIN;
		any |= f.fate[u] != FATE_PLAIN;
	}
	if (any) {
		r.u = xcalloc(1, sizeof(*r.u));
		r.u->in = *w->in;
		r.u->in.links = NULL;
		r.u->in.inodes = NULL;
		r.u->in.n_links = r.u->in.n_inodes = 0;
		r.u->kept = xmalloc(((size_t)w->n_nodes + 1) * sizeof(*r.u->kept));
		r.clone_of = xcalloc((size_t)w->n_nodes + 1, sizeof(*r.clone_of));
		r.kept = xcalloc((size_t)w->n_nodes + 1, 1);
		r.split = xcalloc((size_t)w->n_nodes + 1, 1);
		r.apart = xcalloc((size_t)w->n_nodes + 1, 1);
		find_split(&r);
		for (uint32_t i = 0; i < w->n_links; i++)
			rewrite_link(&r, &w->links[i]);
		rewrite_inodes(&r);
		name_copies(r.u);
		date_copies(&r);
		free(r.clone_of);
		free(r.kept);
		free(r.split);
		free(r.apart);
	}
	finder_close(&f);
	return r.u;
}

bool rw_in_unit(const struct rw_work *w, uint32_t node, enum rw_state st)
{
	const struct rw_node *n = &w->nodes[node];

	for (uint32_t i = 0; i < n->n_links; i++)
		for (uint32_t d = w->links[rw_link_of(w, n, i)].parent[st]; d != RW_NONE && !w->nodes[d].is_root;
		     d = w->links[rw_link_of(w, &w->nodes[d], 0)].parent[st])
			if (rw_is_unit(w, d))
				return true;
	return false;
}

bool rw_same_unit(struct rw_work *w, uint32_t p, uint32_t s)
{
	if (!w->finder) {
		w->finder = xmalloc(sizeof(*w->finder));
		finder_open(w->finder, w);
	}
	return same_trees(w->finder, p, s);
}

void rw_unit_finder_free(struct unit_finder *f)
{
	if (f)
		finder_close(f);
	free(f);
}

bool rw_is_kept(const struct rw_work *w, uint64_t ino)
{
	size_t low = 0, high = w->units ? w->units->n_kept : 0, n = high;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (w->units->kept[mid] < ino)
			low = mid + 1;
		else
			high = mid;
	}
	return low < n && w->units->kept[low] == ino;
}

/* ---- the copies, when the originals have their places */

static void place(struct rw_work *w, uint64_t copy, struct rs_pos at)
{
	uint32_t c = rw_link_by_id(w, copy);
	struct rs_link *in = &w->units->in.links[c]; /* sorted as the links are */

	assert(w->links[c].in == in);
	in->s = at;
	w->links[c].parent[RW_S] = rw_node_of(w, at.parent);
}

void rw_units_place(struct rw_work *w)
{
	struct rw_units *u = w->units;

	for (uint32_t i = 0; u && i < u->n_roots; i++) {
		const struct rw_unit *r = &u->roots[i];

		if (r->copy) {
			const struct rw_link *l = &w->links[rw_link_by_id(w, r->link)];

			place(w, r->copy, *rw_pos(l, l->at));
		} else if (w->nodes[rw_node_of(w, r->ino)].has[RW_B]) {
			rw_note(w, "delete", "restored",
				"a unit was deleted on one side and changed on the other: it comes back whole",
				rw_node_of(w, r->ino), RW_NONE, rw_link_by_id(w, r->link));
		}
	}
	for (uint32_t i = 0; u && i < u->n_beside; i++)
		place(w, u->beside[i].copy, u->beside[i].at);
}

uint32_t rw_unit_original(const struct rw_work *w, uint32_t link, const char **rule)
{
	const struct rw_units *u = w->units;
	uint64_t id = w->links[link].in->id;

	for (uint32_t i = 0; u && id >= RS_CLONE && i < u->n_roots; i++)
		if (u->roots[i].copy == id) {
			*rule = "both sides changed this unit: the primary's is in place, the other is whole beside it";
			return rw_node_of(w, u->roots[i].ino);
		}
	for (uint32_t i = 0; u && id >= RS_CLONE && i < u->n_beside; i++)
		if (u->beside[i].copy == id) {
			*rule = "changed on one side, in a unit that is kept as the other side has it: both are kept";
			return w->links[rw_link_by_id(w, u->beside[i].link)].child;
		}
	return RW_NONE;
}

void rw_units_free(struct rw_units *u)
{
	if (!u)
		return;
	free(u->in.links);
	free(u->in.inodes);
	free(u->clones);
	free(u->clone_link_of);
	free(u->kept);
	free(u->roots);
	free(u->beside);
	free(u);
}
