/* SPDX-License-Identifier: MIT */
/*
 * The resolver is given those of our links that may matter to what the secondary did (sync/merge_near.c). Is what comes
 * of it what comes of all that we changed? Compared in each merge of each history, before anything lands.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sync/merge_state.h"
#include "tests/sim/sim.h"
#include "util/util.h"

static char difference[400];
static uint64_t n_compared, n_left_out;
static bool by_file;
static struct rng refusals; /* s 0: nothing is refused */
static uint64_t n_refused[4];
static uint64_t decided_for; /* the shipment by its end */
static unsigned refuse_until;

void sim_near_begin(void)
{
	difference[0] = '\0';
	by_file = false;
}

void sim_refuse(uint64_t seed)
{
	refusals.s = seed;
	decided_for = UINT64_MAX;
}

void sim_refused_counts(uint64_t counts[4])
{
	memcpy(counts, n_refused, sizeof(n_refused));
}

/* Each shipment is refused until a way of taking it is come to that is drawn for it; the last one never. */
bool merge_test_refuses(const struct merger *m)
{
	unsigned way = m->names->names_stay ? 3 : m->names->no_units ? 2 : m->names->no_copies ? 1 : 0;

	/* An empty one discards what the primary has, and there is one way for that. */
	if (!refusals.s || m->s->begin.from == m->s->begin.to)
		return false;
	if (way == 0 || decided_for != m->s->begin.to) {
		decided_for = m->s->begin.to;
		refuse_until = rng_chance(&refusals, 70) ? 0 : (unsigned)rng_below(&refusals, 4);
	}
	if (way >= refuse_until) {
		n_refused[way]++;
		return false;
	}
	return true;
}

bool sim_near_by_file(void)
{
	return by_file;
}

const char *sim_near_difference(void)
{
	return difference[0] ? difference : NULL;
}

void sim_near_counts(uint64_t *compared, uint64_t *left_out)
{
	*compared = n_compared;
	*left_out = n_left_out;
}

static void differs(const char *what, uint64_t near, uint64_t all)
{
	if (!difference[0])
		snprintf(difference, sizeof(difference), "%s: %#llx, and if all of ours is looked at %#llx", what,
			 (unsigned long long)near, (unsigned long long)all);
}

static void same(const char *what, uint64_t near, uint64_t all)
{
	if (near != all)
		differs(what, near, all);
}

static bool stays(const struct merger *m, const struct rs_link_out *out)
{
	for (size_t i = 0; i < m->n_links; i++)
		if (m->links[i].id == out->id)
			return merge_same_pos(&m->links[i].p, &out->pos) && m->links[i].child == out->child;
	return false;
}

/* Both are in order of ids. */
static void compare_links(const struct merger *m_all, const struct rs_result *near, const struct rs_result *all)
{
	size_t k = 0;

	for (size_t i = 0; i < all->n_links; i++) {
		const struct rs_link_out *a = &all->links[i], *n = k < near->n_links ? &near->links[k] : NULL;

		if (!n || n->id != a->id) {
			n_left_out++;
			if (!stays(m_all, a))
				differs("a link that is left out, and does not stay", a->id, a->pos.parent);
			continue;
		}
		k++;
		if (!merge_same_pos(&n->pos, &a->pos))
			differs("the place of a link", n->id, a->pos.parent);
		/* Of what is nowhere the child is of interest to nobody. */
		if (n->pos.present && n->child != a->child)
			differs("what a link leads to", n->child, a->child);
	}
	same("links", near->n_links, k);
}

static void compare_rest(const struct rs_result *near, const struct rs_result *all)
{
	same("copies", near->n_copies, all->n_copies);
	for (size_t i = 0; i < near->n_copies && i < all->n_copies; i++)
		if (near->copies[i].ino != all->copies[i].ino || near->copies[i].parent != all->copies[i].parent ||
		    near->copies[i].name_len != all->copies[i].name_len ||
		    memcmp(near->copies[i].name, all->copies[i].name, near->copies[i].name_len) != 0)
			differs("a copy", near->copies[i].ino, all->copies[i].ino);
	same("aliases", near->n_aliases, all->n_aliases);
	for (size_t i = 0; i < near->n_aliases && i < all->n_aliases; i++)
		if (near->aliases[i].src != all->aliases[i].src || near->aliases[i].dst != all->aliases[i].dst)
			differs("an alias", near->aliases[i].src, all->aliases[i].src);
	same("clones", near->n_clones, all->n_clones);
	for (size_t i = 0; i < near->n_clones && i < all->n_clones; i++)
		same("a clone", near->clones[i].of, all->clones[i].of);
	same("links of clones", near->n_clone_links, all->n_clone_links);
	for (size_t i = 0; i < near->n_clone_links && i < all->n_clone_links; i++)
		if (near->clone_links[i].of != all->clone_links[i].of ||
		    !merge_same_pos(&near->clone_links[i].pos, &all->clone_links[i].pos))
			differs("a link of a clone", near->clone_links[i].of, all->clone_links[i].of);
	same("what stays ours", near->n_kept, all->n_kept);
	for (size_t i = 0; i < near->n_kept && i < all->n_kept; i++)
		same("what stays ours", near->kept[i], all->kept[i]);
}

static int note_cmp(const void *a, const void *b)
{
	const struct rs_note *x = a, *y = b;

	if (x->ino != y->ino)
		return x->ino < y->ino ? -1 : 1;
	if (x->link != y->link)
		return x->link < y->link ? -1 : 1;
	return strcmp(x->rule, y->rule);
}

static struct rs_note *sorted_notes(const struct rs_result *r)
{
	struct rs_note *notes = calloc(r->n_notes + 1, sizeof(*notes));

	if (!notes)
		abort();
	if (r->n_notes > 0)
		memcpy(notes, r->notes, r->n_notes * sizeof(*notes));
	qsort(notes, r->n_notes, sizeof(*notes), note_cmp);
	return notes;
}

static void compare_notes(const struct rs_result *near, const struct rs_result *all)
{
	struct rs_note *n = sorted_notes(near), *a = sorted_notes(all);

	same("notes", near->n_notes, all->n_notes);
	for (size_t i = 0; i < near->n_notes && i < all->n_notes; i++)
		if (note_cmp(&n[i], &a[i]) != 0 || n[i].other_ino != a[i].other_ino ||
		    strcmp(n[i].outcome, a[i].outcome) != 0)
			differs("a note", n[i].ino, a[i].ino);
	same("attributes", near->n_attrs, all->n_attrs);
	for (size_t i = 0; i < near->n_attrs && i < all->n_attrs; i++)
		same("an attribute", near->attrs[i].take_p, all->attrs[i].take_p);
	free(n);
	free(a);
}

void merge_test_resolved(const struct merger *m, const struct rs_result *r)
{
	struct merger all = { .v = m->v, .s = m->s, .names = m->names, .work = m->work, .now_ms = m->now_ms,
			      .prefer = m->prefer, .back = m->back, .low = m->low, .all_of_ours = true };
	struct rs_result of_all = { 0 };

	by_file |= r->by_file || m->names->no_units;
	if (m->all_of_ours || m->names->names_stay || difference[0] || merge_work_waits(m->work))
		return;
	/* The notes of what is taken apart are gone by now. */
	all.apart = xmalloc((m->n_apart + 1) * sizeof(*all.apart));
	if (m->n_apart)
		memcpy(all.apart, m->apart, m->n_apart * sizeof(*all.apart));
	all.n_apart = all.cap_apart = m->n_apart;
	all.links_apart = xmalloc((m->n_links_apart + 1) * sizeof(*all.links_apart));
	if (m->n_links_apart)
		memcpy(all.links_apart, m->links_apart, m->n_links_apart * sizeof(*all.links_apart));
	all.n_links_apart = all.cap_links_apart = m->n_links_apart;
	if (merge_gather(&all) == 0 && merge_resolve(&all, &of_all) == 0) {
		n_compared++;
		compare_links(&all, r, &of_all);
		compare_rest(r, &of_all);
		compare_notes(r, &of_all);
	}
	resolve_release(&of_all);
	merge_release(&all);
}
