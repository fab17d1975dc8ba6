/* SPDX-License-Identifier: MIT */
#include "sync/resolver_work.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "util/util.h"

/* ---- the index of names */

static uint64_t name_key(uint32_t dir, const char *name, size_t len)
{
	return XXH3_64bits_withSeed(name, len, dir) | 1; /* 0 is no key of a map */
}

void rw_names_put(struct rw_names *x, uint32_t dir, const char *name, size_t len, uint32_t link)
{
	uint64_t key = name_key(dir, name, len), head = 0;

	if (x->n == x->cap) {
		x->cap = x->cap ? x->cap * 2 : 64;
		x->all = xrealloc(x->all, x->cap * sizeof(*x->all));
	}
	map_get(&x->heads, key, &head);
	x->all[x->n] = (struct rw_name){ .dir = dir, .link = link, .next = (uint32_t)head, .name = name,
		.len = (uint16_t)len };
	map_put(&x->heads, key, ++x->n);
}

static const struct rw_name *names_find(const struct rw_names *x, uint32_t dir, const char *name, size_t len)
{
	uint64_t at = 0;

	map_get(&x->heads, name_key(dir, name, len), &at);
	while (at != 0) {
		const struct rw_name *e = &x->all[at - 1];

		/* Else another name has the same hash; no test knows such two. */
		if (e->dir == dir && e->len == len && memcmp(e->name, name, len) == 0) /* LCOV_EXCL_BR_LINE */
			return e;
		at = e->next;
	}
	return NULL;
}

uint32_t rw_names_get(const struct rw_names *x, uint32_t dir, const char *name, size_t len)
{
	const struct rw_name *e = names_find(x, dir, name, len);

	return e ? e->link : RW_NONE;
}

void rw_names_release(struct rw_names *x)
{
	map_release(&x->heads);
	free(x->all);
}

char *rw_free_name(struct rw_work *w, uint32_t dir, const char *name, size_t len, const struct rs_inode *of,
		   bool of_p, uint16_t *len_out)
{
	const struct rs_ops *ops = &w->in->ops;
	const char *node = of_p ? w->in->node_p : w->in->node_s;
	uint64_t written_ms = of_p ? of->p_written_ms : of->s_written_ms, ino = w->nodes[dir].in->ino;
	struct rs_result *out = w->out;
	char text[256];
	size_t n_bytes;
	unsigned n = 1;

	do
		n_bytes = conflict_name(name, len, node, written_ms, n++, text);
	while (names_find(&w->names[RW_B], dir, text, n_bytes) ||
	       (ops->name_taken && ops->name_taken(ops->ctx, ino, text, n_bytes)));
	if (out->n_own == w->cap_own) {
		w->cap_own = w->cap_own ? w->cap_own * 2 : 16;
		out->own = xrealloc(out->own, w->cap_own * sizeof(*out->own));
	}
	out->own[out->n_own] = xstrndup(text, n_bytes);
	*len_out = (uint16_t)n_bytes;
	rw_names_put(&w->names[RW_B], dir, out->own[out->n_own], n_bytes, RW_NONE);
	return out->own[out->n_own++];
}

/* ---- step 6 */

struct entry { /* a live link in the directory at hand */
	const char *name;
	uint64_t id;
	uint32_t link;
	uint16_t len;
	bool is_p; /* the primary itself shows it here, under this name */
};

static int entry_cmp(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	int c = memcmp(x->name, y->name, MIN(x->len, y->len));

	if (c == 0)
		c = (x->len > y->len) - (x->len < y->len);
	if (c == 0)
		c = y->is_p - x->is_p;
	/* A valid tree has a name once on each side: this decides nothing, but leaves nothing to the input's order. */
	return c ? c : (x->id > y->id) - (x->id < y->id); /* LCOV_EXCL_BR_LINE */
}

static void add_child(struct rw_work *w, uint32_t dir, uint32_t link)
{
	struct rw_node *d = &w->nodes[dir];

	w->links[link].sibling = RW_NONE;
	if (d->first_child == RW_NONE)
		d->first_child = link;
	else
		w->links[d->last_child].sibling = link;
	d->last_child = link;
}

void rw_become(struct rw_work *w, uint64_t src, uint64_t dst, bool is_link)
{
	struct rs_result *out = w->out;

	if (out->n_aliases == w->cap_aliases) {
		w->cap_aliases = w->cap_aliases ? w->cap_aliases * 2 : 16;
		out->aliases = xrealloc(out->aliases, w->cap_aliases * sizeof(*out->aliases));
	}
	out->aliases[out->n_aliases++] = (struct rs_alias){ .src = src, .dst = dst, .is_link = is_link };
}

static uint32_t links_in(const struct rw_work *w, const struct rw_node *n, enum rw_state st)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < n->n_links; i++)
		count += w->links[w->by_child[n->first_link + i]].parent[st] != RW_NONE;
	return count;
}

bool rw_can_become(struct rw_work *w, uint32_t p_node, uint32_t s_node)
{
	const struct rw_node *p = &w->nodes[p_node], *s = &w->nodes[s_node];
	const struct rs_ops *ops = &w->in->ops;

	if (p->in->type != s->in->type || s->in->ino >= RS_CLONE)
		return false;
	/* Each side is a valid tree, so one of the two names is the primary's, and that one comes first. */
	assert(p->has[RW_P] && s->has[RW_S]);
	if (p->has[RW_B] || s->has[RW_B] || p->has[RW_S] || s->has[RW_P])
		return false;
	if (p->is_dir && RULE(RULE_UNITS) && (rw_is_unit(w, p_node) || rw_is_unit(w, s_node)))
		return rw_same_unit(w, p_node, s_node);
	if (p->is_dir)
		return RULE(RULE_SAME_DIR);
	return RULE(RULE_SAME_FILE) && links_in(w, p, RW_P) == 1 && links_in(w, s, RW_S) == 1 && ops->same_file &&
	       ops->same_file(ops->ctx, p->in->ino, s->in->ino);
}

static void fuse_links(struct rw_work *w, const struct entry *keep, const struct entry *lose)
{
	struct rw_link *kl = &w->links[keep->link], *ll = &w->links[lose->link];
	struct rw_node *k = &w->nodes[kl->child], *l = &w->nodes[ll->child];

	rw_become(w, l->in->ino, k->in->ino, false);
	rw_become(w, ll->in->id, kl->in->id, true);
	ll->at = RW_DEAD;
	l->n_live--;
	l->alias = kl->child;
	/* What is inside moves over; the names in the directory kept are looked at later, as it is not queued yet. */
	if (l->first_child != RW_NONE) {
		if (k->first_child == RW_NONE)
			k->first_child = l->first_child;
		else
			w->links[k->last_child].sibling = l->first_child;
		k->last_child = l->last_child;
		l->first_child = RW_NONE;
	}
}

/* Each gave one file this name, by a link that the other does not have. */
static bool is_same_link(const struct rw_link *keep, const struct rw_link *lose)
{
	const struct rs_link *k = keep->in, *l = lose->in;

	return RULE(RULE_SAME_LINK) && keep->child == lose->child && !k->s.present && !l->p.present;
}

static void settle_clash(struct rw_work *w, uint32_t dir, const struct entry *keep, const struct entry *lose)
{
	struct rw_link *kl = &w->links[keep->link], *ll = &w->links[lose->link];
	const struct rs_inode *loser = w->nodes[ll->child].in;
	const char *rule = NULL;
	uint32_t original;

	if (rw_can_become(w, kl->child, ll->child)) {
		fuse_links(w, keep, lose);
		return;
	}
	if (is_same_link(kl, ll)) {
		rw_become(w, ll->in->id, kl->in->id, true);
		ll->at = RW_DEAD;
		w->nodes[ll->child].n_live--;
		return;
	}
	if (!RULE(RULE_ONE_NAME))
		return;
	ll->new_name = rw_free_name(w, dir, lose->name, lose->len, loser, rs_bytes_are_p(loser), &ll->new_len);
	original = rw_unit_original(w, lose->link, &rule);
	if (original != RW_NONE) {
		rw_note(w, "content", "kept-both", rule, original, ll->child, kl->child == original ? keep->link :
			RW_NONE);
		return;
	}
	if (rw_is_unit(w, kl->child) && rw_is_unit(w, ll->child))
		rule = "both sides made this unit: the primary's keeps the name, the other is whole beside it";
	rw_note(w, "name", "kept-both", rule ? rule :
		"both sides gave this name to different things: the primary's keeps it, the other is beside it",
		kl->child, ll->child, lose->link);
}

/* ---- names that differ, but not to people */

struct folded {
	char *key;
	size_t len;
	uint32_t link;
	bool is_p;
};

static int folded_cmp(const void *a, const void *b)
{
	const struct folded *x = a, *y = b;
	int c = memcmp(x->key, y->key, MIN(x->len, y->len));

	if (c == 0)
		c = (x->len > y->len) - (x->len < y->len);
	return c ? c : (x->link > y->link) - (x->link < y->link);
}

static bool same_name(const struct entry *a, const struct entry *b)
{
	return a->len == b->len && memcmp(a->name, b->name, a->len) == 0;
}

/* Both sides gave this name, whatever became of it: who has it and one like it knows of both. */
static bool is_twice(const struct entry *e, size_t n, size_t i)
{
	return (i > 0 && same_name(&e[i], &e[i - 1])) || (i + 1 < n && same_name(&e[i], &e[i + 1]));
}

/* Did one side alone give it its name, or its place here, since the base? */
static bool is_one_sides(const struct rw_link *l)
{
	return l->in->p_unseen ||
	       (!rw_same_place(rw_pos(l, l->at), &l->in->b) && !rw_same_place(&l->in->p, &l->in->s));
}

/*
 * Two names, one of each side, that are the same but for case or for how Unicode writes them: both stay, and it is
 * noted once for each such name. Only what was named since the base is looked at, so the cost follows the changes: a
 * name that was there before was known to whoever gave the new one.
 */
static void note_alike(struct rw_work *w, const struct entry *e, size_t n)
{
	struct folded *f = xmalloc((n + 1) * sizeof(*f));
	size_t n_f = 0, first = 0;

	for (size_t i = 0; i < n; i++) {
		const struct rw_link *l = &w->links[e[i].link];

		if (!is_twice(e, n, i) && is_one_sides(l)) {
			f[n_f].key = w->in->ops.fold(e[i].name, e[i].len, &f[n_f].len);
			f[n_f].is_p = l->at == RW_P;
			f[n_f++].link = e[i].link;
		}
	}
	if (n_f > 1)
		qsort(f, n_f, sizeof(*f), folded_cmp);
	for (size_t i = 1; i <= n_f; i++) {
		uint32_t p = RW_NONE, s = RW_NONE;

		if (i < n_f && f[i].len == f[first].len && memcmp(f[i].key, f[first].key, f[i].len) == 0)
			continue;
		for (size_t k = first; k < i; k++) {
			if (f[k].is_p)
				p = MIN(p, f[k].link);
			else
				s = MIN(s, f[k].link);
		}
		if (p != RW_NONE && s != RW_NONE)
			rw_note(w, "name", "merged",
				"the two sides gave names that differ only in case, or in how Unicode writes them: "
				"both stay", w->links[p].child, w->links[s].child, s);
		first = i;
	}
	for (size_t i = 0; i < n_f; i++)
		free(f[i].key);
	free(f);
}

/* Look at the names in one directory and put the directories in it at the queue's end. */
static void names_in(struct rw_work *w, uint32_t dir, uint32_t *queue, uint32_t *n_queue, struct entry *e)
{
	size_t n = 0, first = 0;

	for (uint32_t i = w->nodes[dir].first_child; i != RW_NONE; i = w->links[i].sibling) {
		const struct rw_link *l = &w->links[i];
		const struct rs_pos *at = rw_pos(l, l->at), *p = &l->in->p;

		e[n++] = (struct entry){ .name = at->name, .len = at->name_len, .id = l->in->id, .link = i,
			.is_p = l->parent[RW_P] == dir && p->name_len == at->name_len &&
				memcmp(p->name, at->name, at->name_len) == 0 };
	}
	if (n > 0)
		qsort(e, n, sizeof(*e), entry_cmp);
	for (size_t i = 0; i < n; i++)
		rw_names_put(&w->names[RW_B], dir, e[i].name, e[i].len, e[i].link);
	for (size_t i = 1; i < n; i++) {
		if (same_name(&e[i], &e[first]))
			settle_clash(w, dir, &e[first], &e[i]);
		else
			first = i;
	}
	if (w->in->ops.fold && w->in->prefer == RS_PREFER_NONE && n > 1 && RULE(RULE_ALIKE))
		note_alike(w, e, n);
	for (size_t i = 0; i < n; i++)
		if (w->links[e[i].link].at != RW_DEAD && w->nodes[w->links[e[i].link].child].is_dir)
			queue[(*n_queue)++] = w->links[e[i].link].child;
}

void rw_resolve_names(struct rw_work *w)
{
	/* Each directory has one live link at most, so each is queued once. */
	uint32_t *queue = xmalloc((w->n_nodes + 1) * sizeof(*queue)), n_queue = 0;
	struct entry *scratch = xmalloc(((size_t)w->n_links + 1) * sizeof(*scratch));

	for (uint32_t i = 0; i < w->n_nodes; i++)
		if (w->nodes[i].is_root)
			queue[n_queue++] = i;
	for (uint32_t i = 0; i < w->n_links; i++)
		if (w->links[i].at != RW_DEAD)
			add_child(w, w->links[i].parent[w->links[i].at], i);
	for (uint32_t i = 0; i < n_queue; i++)
		names_in(w, queue[i], queue, &n_queue, scratch);
	free(scratch);
	free(queue);
}
