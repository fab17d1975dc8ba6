/* SPDX-License-Identifier: MIT */
#include "sync/merge_ready.h"

#include <errno.h>

#include "core/landing.h"
#include "util/log.h"

static int stop_at_note(void *ctx, const struct lineage *l)
{
	(void)ctx;
	(void)l;
	return 1;
}

/* Notes are changed by gathering them, and a word or a settled conflict by the shipment itself. */
static bool can_be(struct volume *v, struct shipment *part)
{
	struct prefer word;

	return part->n_conflicts == 0 && shipment_records(part) >= landing_least(v) && !prefer_in_force(v, &word) &&
	       !prefer_taken_back(v) && lineage_each(v, LINEAGE_LINK, stop_at_note, NULL) == 0 &&
	       lineage_each(v, LINEAGE_INODE, stop_at_note, NULL) == 0 &&
	       lineage_each(v, LINEAGE_NAME, stop_at_note, NULL) == 0;
}

static void list_name(struct merge_ready *rd, const struct rs_pos *at)
{
	if (at->present)
		map_put(&rd->named, merge_near_key(at->parent, at->name, at->name_len), 1);
}

static void list_names(struct merge_ready *rd)
{
	const struct merger *m = &rd->m;

	for (size_t i = 0; i < m->n_links; i++) {
		const struct rs_link *l = &m->links[i];

		list_name(rd, &l->b);
		list_name(rd, &l->p);
		list_name(rd, &l->s);
		if (!l->p.present || !merge_same_pos(&l->b, &l->p) || !merge_same_pos(&l->s, &l->p))
			map_put(&rd->moving, l->child ? l->child : INO_ROOT, 1);
	}
	for (size_t i = 0; i < rd->r.n_links; i++)
		list_name(rd, &rd->r.links[i].pos);
	for (size_t i = 0; i < rd->r.n_copies; i++)
		map_put(&rd->named, merge_near_key(rd->r.copies[i].parent, rd->r.copies[i].name,
						   rd->r.copies[i].name_len), 1);
}

int merge_ready_make(struct merge_ready *rd, struct volume *v, struct shipment *part, const struct merge_names *names,
		     struct merge_work *work, uint64_t now_ms)
{
	int rc = 0;

	merge_ready_drop(rd);
	volume_lock(v);
	landing_look_again(v);
	landing_mark(v);
	if (can_be(v, part) && !merge_is_fast(v, part)) {
		rd->part = part;
		rd->m = (struct merger){ .v = v, .s = part, .names = names, .work = work, .now_ms = now_ms,
					 .low = merge_lowest_seen(part), .ahead = true };
		rc = merge_work_out(&rd->m, &rd->r);
		rd->is = rc == 0;
	}
	if (rd->is)
		landing_pause(v); /* now those who waited meanwhile, then the group */
	if (landing_given_up(v))
		rc = landing_given_up(v);
	else if (rc != -EAGAIN && rc != -EBUSY)
		rc = 0; /* whatever it was, it will come again */
	landing_look_away(v);
	volume_unlock(v);
	if (rd->is && rc == 0)
		list_names(rd);
	else
		merge_ready_drop(rd);
	return rc;
}

int merge_is_one_state(struct merger *m)
{
	const struct map *inodes, *links;
	uint64_t key, child;
	size_t it = 0;
	bool met = m->ahead && !landing_marked(m->v, &inodes, &links);

	while (m->ahead && !met && map_next(links, &it, &key, &child))
		met = !child || map_get(&m->link_at, key, NULL) || map_get(&m->inode_at, child, NULL);
	return met ? -EBUSY : 0;
}

/* A directory that both have where it is may have got names that nobody looked at, and so other times. */
static bool inode_meets(const struct merge_ready *rd, uint64_t ino, uint64_t what)
{
	const struct merger *m = &rd->m;

	if (ino == INO_HIDDEN)
		return true; /* policies; what merges kept */
	if (!map_get(&m->inode_at, ino, NULL) && !map_get(&m->ni_by_ino, ino, NULL))
		return false;
	return what != 1u << ENT_TIMES || !map_get(&m->parents, ino, NULL) || map_get(&rd->moving, ino, NULL) ||
	       map_get(&m->ni_by_ino, ino, NULL);
}

static bool link_meets(const struct merge_ready *rd, uint64_t link, uint64_t child)
{
	const struct merger *m = &rd->m;
	struct dentry d;

	if (map_get(&m->link_at, link, NULL) || !child || map_get(&m->inode_at, child, NULL))
		return true;
	if (tree_link_get(m->v, link, &d) < 0 || !map_get(&m->inode_at, d.parent, NULL))
		return false;
	return map_get(&rd->moving, d.parent, NULL) || families_stem(d.name, d.name_len) != d.name_len ||
	       map_get(&rd->named, merge_near_key(d.parent, d.name, d.name_len), NULL) ||
	       map_get(&m->given, merge_near_key(d.parent, d.name, d.name_len), NULL);
}

bool merge_ready_stands(const struct merge_ready *rd, const struct shipment *part, bool strict)
{
	const struct map *inodes, *links;
	uint64_t key, value;
	size_t it = 0;
	bool stands = rd->is && part == rd->part && landing_marked(rd->m.v, &inodes, &links);

	if (stands && (strict || rd->m.all_of_ours))
		stands = map_count(inodes) + map_count(links) == 0;
	while (stands && map_next(inodes, &it, &key, &value))
		stands = !inode_meets(rd, key, value);
	for (it = 0; stands && map_next(links, &it, &key, &value);)
		stands = !link_meets(rd, key, value);
	if (rd->is)
		log_debug("merge", "what was worked out ahead %s", stands ? "stands" : "was met by a change");
	return stands;
}

void merge_ready_drop(struct merge_ready *rd)
{
	if (rd->part) {
		resolve_release(&rd->r);
		merge_release(&rd->m);
	}
	map_release(&rd->named);
	map_release(&rd->moving);
	*rd = (struct merge_ready){ .is = false };
}
