/* SPDX-License-Identifier: MIT */
#include "sync/resolver_work.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "util/util.h"

#ifdef RESOLVER_TEST
enum rw_rule resolver_test_without;
#endif

/* ---- small helpers */

const struct rs_pos *rw_pos(const struct rw_link *l, enum rw_state st)
{
	assert(st != RW_DEAD);
	return st == RW_B ? &l->in->b : st == RW_P ? &l->in->p : &l->in->s;
}

bool rw_same_place(const struct rs_pos *a, const struct rs_pos *b)
{
	if (a->present != b->present)
		return false;
	if (!a->present)
		return true;
	return a->parent == b->parent && a->name_len == b->name_len && memcmp(a->name, b->name, a->name_len) == 0;
}

void rw_note(struct rw_work *w, const char *kind, const char *outcome, const char *rule, uint32_t node, uint32_t other,
	     uint32_t link)
{
	struct rs_result *out = w->out;

	if (out->n_notes == w->cap_notes) {
		w->cap_notes = w->cap_notes ? w->cap_notes * 2 : 16;
		out->notes = xrealloc(out->notes, w->cap_notes * sizeof(*out->notes));
	}
	out->notes[out->n_notes++] = (struct rs_note){ .kind = kind, .outcome = outcome, .rule = rule,
		.ino = w->nodes[node].in->ino,
		.other_ino = other == RW_NONE ? 0 : w->nodes[other].in->ino,
		.link = link == RW_NONE ? 0 : w->links[link].in->id };
}

uint32_t rw_node_of(const struct rw_work *w, uint64_t ino)
{
	uint64_t at = 0;

	return ino != 0 && map_get(&w->node_by_ino, ino, &at) ? (uint32_t)(at - 1) : RW_NONE;
}

uint32_t rw_link_of(const struct rw_work *w, const struct rw_node *n, uint32_t i)
{
	return w->by_child[n->first_link + i];
}

uint32_t rw_link_by_id(const struct rw_work *w, uint64_t id)
{
	uint32_t low = 0, high = w->n_links;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (w->links[mid].in->id < id)
			low = mid + 1;
		else
			high = mid;
	}
	assert(low < w->n_links && w->links[low].in->id == id);
	return low;
}

/* The one link of a directory that is no root. */
static struct rw_link *dir_link(const struct rw_work *w, uint32_t dir)
{
	return &w->links[rw_link_of(w, &w->nodes[dir], 0)];
}

void rw_set_live(struct rw_work *w, uint32_t link, enum rw_state st)
{
	struct rw_link *l = &w->links[link];

	if (l->at == RW_DEAD)
		w->nodes[l->child].n_live++;
	l->at = st;
}

/* ---- the input, indexed and checked */

static int link_cmp(const void *a, const void *b)
{
	const struct rs_link *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

static int node_cmp(const void *a, const void *b)
{
	const struct rw_node *x = a, *y = b;

	return (x->in->ino > y->in->ino) - (x->in->ino < y->in->ino);
}

static int load_nodes(struct rw_work *w)
{
	w->n_nodes = (uint32_t)w->in->n_inodes;
	w->nodes = xcalloc((size_t)w->n_nodes + 1, sizeof(*w->nodes));
	for (uint32_t i = 0; i < w->n_nodes; i++)
		w->nodes[i].in = &w->in->inodes[i];
	qsort(w->nodes, w->n_nodes, sizeof(*w->nodes), node_cmp); /* never NULL */
	for (uint32_t i = 0; i < w->n_nodes; i++) {
		struct rw_node *n = &w->nodes[i];

		if (n->in->ino == 0 || (i > 0 && n[-1].in->ino == n->in->ino))
			return -EUCLEAN;
		n->is_dir = (n->in->type & S_IFMT) == S_IFDIR;
		n->alias = n->first_child = n->last_child = RW_NONE;
		map_put(&w->node_by_ino, n->in->ino, (uint64_t)i + 1);
	}
	return 0;
}

static int load_place(struct rw_work *w, struct rw_link *l, enum rw_state st)
{
	const struct rs_pos *at = rw_pos(l, st);

	l->parent[st] = RW_NONE;
	if (!at->present)
		return 0;
	l->parent[st] = rw_node_of(w, at->parent);
	if (l->parent[st] == RW_NONE || !w->nodes[l->parent[st]].is_dir || at->name_len == 0 || at->name_len > 255)
		return -EUCLEAN;
	w->nodes[l->child].has[st] = true;
	return 0;
}

static int load_links(struct rw_work *w)
{
	if (w->in->n_links > 0)
		qsort(w->in->links, w->in->n_links, sizeof(*w->in->links), link_cmp);
	w->n_links = (uint32_t)w->in->n_links;
	w->links = xcalloc((size_t)w->n_links + 1, sizeof(*w->links));
	w->by_child = xcalloc((size_t)w->n_links + 1, sizeof(*w->by_child));
	for (uint32_t i = 0; i < w->n_links; i++) {
		struct rw_link *l = &w->links[i];

		l->in = &w->in->links[i];
		l->at = RW_DEAD;
		l->sibling = RW_NONE;
		l->child = rw_node_of(w, l->in->child);
		if (l->in->id == 0 || (i > 0 && l->in->id == l[-1].in->id) || l->child == RW_NONE)
			return -EUCLEAN;
		for (enum rw_state st = RW_B; st <= RW_S; st++)
			if (load_place(w, l, st) < 0)
				return -EUCLEAN;
		w->nodes[l->child].n_links++;
	}
	return 0;
}

/* Counting sort of the links by child; then what each inode is in each state. */
static int load_children(struct rw_work *w)
{
	uint32_t at = 0;

	for (uint32_t i = 0; i < w->n_nodes; i++) {
		w->nodes[i].first_link = at;
		at += w->nodes[i].n_links;
		w->nodes[i].n_links = 0;
	}
	for (uint32_t i = 0; i < w->n_links; i++) {
		struct rw_node *n = &w->nodes[w->links[i].child];

		w->by_child[n->first_link + n->n_links++] = i;
	}
	for (uint32_t i = 0; i < w->n_nodes; i++) {
		struct rw_node *n = &w->nodes[i];
		bool placed = n->has[RW_B] || n->has[RW_P] || n->has[RW_S];

		n->is_root = n->is_dir && n->n_links == 0;
		if (n->is_root)
			n->has[RW_B] = n->has[RW_P] = n->has[RW_S] = true;
		n->has[RW_B] |= n->in->in_b;
		if (n->n_links == 0 && !n->is_dir) { /* its links are the same everywhere */
			n->has[RW_P] = n->in->in_p;
			n->has[RW_S] = n->in->in_s;
		}
		if (n->is_dir && n->n_links > 1)
			return -EUCLEAN; /* a directory has one link, whose id never changes */
		if (n->in->ino == w->in->root && !n->is_root)
			return -EUCLEAN;
		if (!n->is_dir && !placed && n->in->in_p && n->in->in_s && n->in->p_content && n->in->s_content)
			return -EUCLEAN; /* nowhere to put the other version */
	}
	return 0;
}

/* Parents are there, no name twice, no loops: what the later steps rely on. */
static int check_tree(struct rw_work *w, enum rw_state st)
{
	uint32_t walk = 0;

	for (uint32_t i = 0; i < w->n_links; i++) {
		const struct rw_link *l = &w->links[i];
		const struct rs_pos *at = rw_pos(l, st);

		if (!at->present)
			continue;
		if (!w->nodes[l->parent[st]].has[st])
			return -EUCLEAN;
		if (rw_names_get(&w->names[st], l->parent[st], at->name, at->name_len) != RW_NONE)
			return -EUCLEAN;
		rw_names_put(&w->names[st], l->parent[st], at->name, at->name_len, i);
	}
	for (uint32_t i = 0; i < w->n_nodes; i++)
		w->nodes[i].mark = 0;
	for (uint32_t i = 0; i < w->n_nodes; i++) {
		uint32_t d = i;

		if (!w->nodes[i].is_dir || !w->nodes[i].has[st])
			continue;
		walk++;
		while (!w->nodes[d].is_root && w->nodes[d].mark == 0) {
			w->nodes[d].mark = walk;
			d = dir_link(w, d)->parent[st];
			assert(d != RW_NONE); /* it is in that state, and so are the parents, see above */
		}
		if (w->nodes[d].mark == walk)
			return -EUCLEAN;
	}
	return 0;
}

int rw_load(struct rw_work *w, struct rs_input *in, struct rs_result *out)
{
	*w = (struct rw_work){ .in = in, .out = out };
	if (w->in->n_links >= UINT32_MAX / 2 || w->in->n_inodes >= UINT32_MAX / 2)
		return -EUCLEAN;
	if (load_nodes(w) < 0 || load_links(w) < 0 || load_children(w) < 0)
		return -EUCLEAN;
	if (check_tree(w, RW_P) < 0 || check_tree(w, RW_S) < 0)
		return -EUCLEAN;
	return 0;
}

static const char each_removed[] = "each side removed another one of its last links: the primary's come back";

/* ---- step 1: links */

/* Once for a file, whatever names it has. */
static void note_return(struct rw_work *w, uint32_t i)
{
	const struct rw_link *l = &w->links[i];
	const struct rw_node *n = &w->nodes[l->child];

	for (uint32_t k = 0; rw_link_of(w, n, k) < i; k++)
		if (w->links[rw_link_of(w, n, k)].in->returns)
			return;
	if (l->in->returns && RULE(RULE_RETURN_NOTED))
		rw_note(w, "delete", "restored",
			n->is_dir ? "the directory was deleted on one side, but something in it lives: it comes back"
			: l->in->p.present
				? each_removed
				: "deleted on one side, changed or moved on the other: the changed file comes back",
			l->child, RW_NONE, i);
}

static void merge_link(struct rw_work *w, uint32_t i)
{
	struct rw_link *l = &w->links[i];
	const struct rs_pos *b = &l->in->b, *p = &l->in->p, *s = &l->in->s;

	if (rw_prefers(w, l->in->late) && RULE(RULE_PREFER_LINK)) {
		rw_prefer_link(w, i);
	} else if (rw_same_place(p, s)) {
		if (p->present)
			rw_set_live(w, i, RW_P);
	} else if (p->present && s->present) {
		rw_set_live(w, i, b->present && rw_same_place(p, b) ? RW_S : RW_P);
		if (!b->present || (!rw_same_place(p, b) && !rw_same_place(s, b)))
			rw_note(w, "move", "primary",
				"moved on both sides to different places: the primary's place stays", l->child,
				RW_NONE, i);
	} else {
		enum rw_state st = p->present ? RW_P : RW_S;

		if (!b->present) {
			note_return(w, i);
			rw_set_live(w, i, st);
		} else if (!rw_same_place(rw_pos(l, st), b) && RULE(RULE_MOVE_STAYS)) {
			rw_set_live(w, i, st);
			rw_note(w, "delete", "restored", "moved on one side, deleted on the other: the move stays",
				l->child,
				RW_NONE, i);
		}
	}
}

/* ---- step 2: files that lost their last link */

static void links_come_back(struct rw_work *w, uint32_t node, enum rw_state st)
{
	const struct rw_node *n = &w->nodes[node];

	for (uint32_t i = 0; i < n->n_links; i++)
		if (w->links[rw_link_of(w, n, i)].parent[st] != RW_NONE)
			rw_set_live(w, rw_link_of(w, n, i), st);
}

static void revive_file(struct rw_work *w, uint32_t i)
{
	const struct rw_node *n = &w->nodes[i];

	if (n->is_dir || n->n_live > 0 || n->n_links == 0 || rw_is_discarded(w, n))
		return;
	if (n->has[RW_P] && n->has[RW_S]) {
		if (!RULE(RULE_BOTH_UNLINKED))
			return;
		/* Not into a unit, which would not be as either side has it. */
		links_come_back(w, i, rw_in_unit(w, i, RW_P) && !rw_in_unit(w, i, RW_S) && RULE(RULE_NOT_INTO_UNIT) ?
				RW_S : RW_P);
		rw_note(w, "delete", "restored", each_removed, i, RW_NONE, rw_link_of(w, n, 0));
	} else if ((n->has[RW_P] && n->in->p_content) || (n->has[RW_S] && n->in->s_content)) {
		if (!RULE(RULE_CHANGED_COMES_BACK))
			return;
		links_come_back(w, i, n->has[RW_P] ? RW_P : RW_S);
		rw_note(w, "delete", "restored",
			"deleted on one side, changed on the other: the changed file comes back", i,
			RW_NONE, rw_link_of(w, n, 0));
	}
}

/* ---- step 3: a directory moved by `mover` and deleted by the other side is whole again */

static bool moved_and_deleted(const struct rw_work *w, uint32_t dir, enum rw_state mover)
{
	const struct rw_node *n = &w->nodes[dir];
	const struct rw_link *l;

	if (!n->has[RW_B] || n->has[mover == RW_P ? RW_S : RW_P])
		return false;
	l = dir_link(w, dir);
	return l->at == mover && !rw_same_place(&l->in->b, rw_pos(l, mover));
}

/* Sets inside_moved of every directory that the mover has in such a directory, or that is one. */
static void mark_moved(struct rw_work *w, enum rw_state mover)
{
	uint32_t *path = xmalloc(((size_t)w->n_nodes + 1) * sizeof(*path));

	for (uint32_t i = 0; i < w->n_nodes; i++) {
		w->nodes[i].mark = w->nodes[i].is_root;
		w->nodes[i].inside_moved = false;
	}
	for (uint32_t i = 0; i < w->n_nodes; i++) {
		uint32_t d = i, n = 0;
		bool inside;

		if (!w->nodes[i].is_dir || !w->nodes[i].has[mover])
			continue;
		while (w->nodes[d].mark == 0) {
			path[n++] = d;
			d = dir_link(w, d)->parent[mover];
		}
		inside = w->nodes[d].inside_moved;
		while (n-- > 0) {
			inside = inside || moved_and_deleted(w, path[n], mover);
			w->nodes[path[n]].inside_moved = inside;
			w->nodes[path[n]].mark = 1;
		}
	}
	free(path);
}

static void keep_moved_whole(struct rw_work *w, enum rw_state mover)
{
	enum rw_state deleter = mover == RW_P ? RW_S : RW_P;

	if (!RULE(RULE_MOVED_DIR_WHOLE))
		return;
	mark_moved(w, mover);
	for (uint32_t i = 0; i < w->n_nodes; i++) {
		const struct rw_node *n = &w->nodes[i];
		bool inside = false;

		if (n->has[deleter] || !n->has[mover])
			continue;
		for (uint32_t k = 0; k < n->n_links && !inside; k++) {
			uint32_t parent = w->links[rw_link_of(w, n, k)].parent[mover];

			inside = parent != RW_NONE && w->nodes[parent].inside_moved;
		}
		for (uint32_t k = 0; k < n->n_links && inside; k++) {
			uint32_t l = rw_link_of(w, n, k);

			if (w->links[l].at == RW_DEAD && w->links[l].parent[mover] != RW_NONE)
				rw_set_live(w, l, mover);
		}
	}
}

/* ---- step 4: parents of what lives */

static void parents_come_back(struct rw_work *w, uint32_t link)
{
	uint32_t d = w->links[link].parent[w->links[link].at];

	if (!RULE(RULE_PARENTS))
		return;
	while (!w->nodes[d].is_root && w->nodes[d].n_live == 0) {
		enum rw_state st = w->nodes[d].has[RW_P] ? RW_P : RW_S;
		uint32_t l = rw_link_of(w, &w->nodes[d], 0);

		assert(w->nodes[d].has[st]);
		rw_set_live(w, l, st);
		rw_note(w, "delete", "restored",
			"the directory was deleted on one side, but something in it lives: it comes back", d, RW_NONE,
			l);
		d = w->links[l].parent[st];
	}
}

/* ---- step 5: loops */

/* `d` is on a loop of the wanted tree: put one of the secondary's moves on it back. */
static void break_loop(struct rw_work *w, uint32_t d)
{
	uint32_t at = d, worst = RW_NONE;

	do {
		uint32_t l = rw_link_of(w, &w->nodes[at], 0);
		const struct rw_link *k = &w->links[l];

		if (k->parent[RW_P] != RW_NONE && !rw_same_place(rw_pos(k, k->at), &k->in->p))
			worst = MIN(worst, l);
		at = k->parent[k->at];
	} while (at != d);
	/* Links that are where P has them make no loop, neither do those that only S has: one of S's moves is on it. */
	assert(worst != RW_NONE);
	rw_set_live(w, worst, RW_P);
	rw_note(w, "move", "primary",
		"the two sides' moves put directories inside each other: this one stays where the primary has it",
		w->links[worst].child, RW_NONE, worst);
	parents_come_back(w, worst);
}

/*
 * Each walk goes up until it meets a root or a directory known to lead to one; a directory known to do so is on no
 * loop, and breaking a loop changes only directories on it.
 */
static void break_loops(struct rw_work *w)
{
	const uint32_t good = UINT32_MAX;
	uint32_t walk = 0;

	if (!RULE(RULE_LOOPS))
		return;
	for (uint32_t i = 0; i < w->n_nodes; i++)
		w->nodes[i].mark = w->nodes[i].is_root ? good : 0;
	for (uint32_t i = 0; i < w->n_nodes; i++) {
		uint32_t d;

		if (!w->nodes[i].is_dir || (w->nodes[i].n_live == 0 && !w->nodes[i].is_root))
			continue;
		do {
			walk++;
			for (d = i; w->nodes[d].mark != good && w->nodes[d].mark != walk && w->nodes[d].n_live > 0;) {
				const struct rw_link *l = dir_link(w, d);

				w->nodes[d].mark = walk;
				d = l->parent[l->at];
			}
			if (w->nodes[d].mark == walk)
				break_loop(w, d);
		} while (w->nodes[d].mark == walk);
		for (d = i; w->nodes[d].mark != good && w->nodes[d].n_live > 0;) {
			const struct rw_link *l = dir_link(w, d);

			w->nodes[d].mark = good;
			d = l->parent[l->at];
		}
	}
}

/* ---- the whole */

static int alias_cmp(const void *a, const void *b)
{
	const struct rs_alias *x = a, *y = b;

	return x->is_link != y->is_link ? x->is_link - y->is_link : (x->src > y->src) - (x->src < y->src);
}

static struct rs_pos live_pos(const struct rw_work *w, const struct rw_link *l)
{
	struct rs_pos pos = { .present = l->at != RW_DEAD };
	size_t len;

	if (!pos.present)
		return pos;
	pos.parent = w->nodes[rw_live_parent(w, l)].in->ino;
	pos.name = rw_live_name(l, &len);
	pos.name_len = (uint16_t)len;
	return pos;
}

static void put_out(struct rw_work *w)
{
	struct rs_result *out = w->out;

	out->links = xcalloc((size_t)w->n_links + 1, sizeof(*out->links));
	if (w->units)
		out->clone_links = xcalloc(w->units->n_clone_links + 1, sizeof(*out->clone_links));
	for (uint32_t i = 0; i < w->n_links; i++) {
		const struct rw_link *l = &w->links[i];
		const struct rw_node *child = &w->nodes[l->child];
		struct rs_link_out *o = &out->links[i];
		struct rs_pos pos = live_pos(w, l);

		if (l->in->id >= RS_CLONE) { /* these come last */
			out->clone_links[out->n_clone_links++] =
				(struct rs_clone_link){ .child = child->in->ino, .pos = pos,
					.of = w->units->clone_link_of[(l->in->id & ~RS_CLONE) - 1] };
			continue;
		}
		out->n_links++;
		o->id = l->in->id;
		o->child = child->alias == RW_NONE ? child->in->ino : w->nodes[child->alias].in->ino;
		o->pos = pos;
	}
	if (w->units) {
		out->clones = w->units->clones;
		out->n_clones = w->units->n_clones;
		out->kept = w->units->kept;
		out->n_kept = w->units->n_kept;
		w->units->clones = NULL;
		w->units->kept = NULL;
	}
	if (out->n_aliases > 0)
		qsort(out->aliases, out->n_aliases, sizeof(*out->aliases), alias_cmp);
}

void rw_release(struct rw_work *w)
{
	for (enum rw_state st = RW_B; st <= RW_S; st++)
		rw_names_release(&w->names[st]);
	map_release(&w->node_by_ino);
	free(w->own_links);
	free(w->own_inodes);
	rw_unit_finder_free(w->finder);
	free(w->by_child);
	free(w->links);
	free(w->nodes);
}

/* The input indexed; and if a unit is to be kept whole, what is merged instead of it. */
static int prepare(struct rw_work *w, struct rs_input *in, struct rs_result *out)
{
	int rc;

	memset(out, 0, sizeof(*out));
	rc = rw_load(w, in, out);
	if (rc == 0 && in->n_links > 0 && in->links[in->n_links - 1].id >= RS_CLONE)
		rc = -EUCLEAN;
	if (rc == 0) {
		struct rw_units *units = rw_units_split(w);

		if (!units)
			return 0;
		rw_release(w);
		rc = rw_load(w, &units->in, out);
		w->units = units;
		if (rc < 0) { /* both moved directories into and out of it that hold each other: as if it were none */
			rw_release(w);
			rw_units_free(units);
			rc = rw_load(w, in, out);
			out->by_file = rc == 0;
		}
	}
	if (rc < 0)
		rw_release(w);
	return rc;
}

size_t resolve_units(struct rs_input *in, uint64_t **units)
{
	struct rw_work w;
	size_t n = 0;

	*units = NULL;
	if (rw_load(&w, in, NULL) == 0)
		n = rw_units_of_both(&w, units);
	rw_release(&w);
	return n;
}

int resolve(struct rs_input *in, struct rs_result *out)
{
	struct rw_work w;
	int rc = prepare(&w, in, out);

	if (rc < 0)
		return rc;
	rw_unite_saves(&w);
	for (uint32_t i = 0; i < w.n_links; i++)
		merge_link(&w, i);
	for (uint32_t i = 0; i < w.n_nodes; i++)
		revive_file(&w, i);
	keep_moved_whole(&w, RW_S);
	keep_moved_whole(&w, RW_P);
	for (uint32_t i = 0; i < w.n_links; i++)
		if (w.links[i].at != RW_DEAD)
			parents_come_back(&w, i);
	break_loops(&w);
	rw_units_place(&w);
	rw_put_aside(&w);
	rw_resolve_names(&w);
	rw_merge_contents(&w);
	rw_merge_attrs(&w);
	put_out(&w);
	rw_release(&w);
	rw_units_free(w.units);
	return 0;
}

void resolve_release(struct rs_result *r)
{
	for (size_t i = 0; i < r->n_own; i++)
		free(r->own[i]);
	free(r->own);
	free(r->links);
	free(r->copies);
	free(r->clones);
	free(r->clone_links);
	free(r->kept);
	free(r->asides);
	free(r->aliases);
	free(r->attrs);
	free(r->notes);
	memset(r, 0, sizeof(*r));
}
