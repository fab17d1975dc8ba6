/* SPDX-License-Identifier: MIT */
#include "sync/follow.h"

#include <sys/stat.h>

#include "core/changes.h"
#include "util/log.h"
#include "util/map.h"

/* Does this side have bytes of its own in the file that the peer has not answered yet? What it tells whole because it
 * keeps a name is as the peer has it (changes_touch_taken). */
static bool has_unsent(struct volume *v, const struct shipment *s, uint64_t ino)
{
	struct change_row rows[ENT_ASK + 1];
	unsigned changed = changes_of_inode(v, ino, rows);

	return ((changed & 1u << ENT_CONTENT) && rows[ENT_CONTENT].seen < s->begin.to) ||
	       ((changed & 1u << ENT_NEW) && rows[ENT_NEW].seen < s->begin.to);
}

static bool is_gone(struct volume *v, uint64_t ino)
{
	struct inode in;

	return tree_inode_get(v, ino, &in) == 0 && in.nlink == 0;
}

/*
 * Is what became something else no more here by its old id? Two that became one: its link is gone, which waits for
 * unsent bytes. A copy: its bytes are the primary's now, or it is gone; unsent ones follow the others, and the answer
 * to them tells this again. In a unit's copy: they may be the same in both. That is told again when a copy is made of
 * the copy, and who has the primary's by then is not meant.
 */
static bool has_left(struct volume *v, const struct shipment *s, const struct rec_lineage *l)
{
	const struct rec_inode *r = shipment_inode(s, l->src);

	if (l->kind == 'a')
		return is_gone(v, l->src);
	if (l->kind == 'u' && tree_holders_settled(v, l->src, l->since))
		return false;
	return (l->kind == 'u' || is_gone(v, l->src) || (r && (r->fields & REC_CONTENT))) && !has_unsent(v, s, l->src);
}

/* Everybody waits while holders move, and what the kernel has in its caches counts as held: so it is about a
 * quarter of a second at most. */
#define OF_UNITS_MAX 5000u

bool follow_concerns(struct volume *v, const struct shipment *s, const struct rec_lineage *l)
{
	struct inode in;

	if (!tree_is_held(v, l->src))
		return false;
	return l->kind != 'u' ||
	       (s->n_of_units <= OF_UNITS_MAX && tree_inode_get(v, l->src, &in) == 0 && S_ISREG(in.mode));
}

void follow_before_purge(struct volume *v, const struct shipment *s)
{
	struct change_row row;
	struct volume_ids ids;

	volume_ids(v, &ids);
	if (!changes_any_after(v, ids.acked))
		tree_holders_forget_settled(v);
	/* Of more nobody moves. */
	for (size_t i = 0; i < s->n_lineages && s->n_of_units <= OF_UNITS_MAX; i++) {
		const struct rec_lineage *l = &s->lineages[i];

		if (l->kind == 'u' && changes_get(v, l->src, ENT_CONTENT, &row) == 0 && row.seen >= l->since)
			tree_holders_settle(v, l->src, l->since);
	}
}

/* The last name, perhaps, of what was told before to have become something else, and was kept then for what was done
 * to it here. */
static bool takes_from_holders(struct volume *v, const struct ship_link *l)
{
	return !l->parent && !l->report && tree_holders_move_to(v, l->child) != 0;
}

static int move_holders(struct volume *v, const struct rec_lineage *l)
{
	int rc = tree_holders_move(v, l->src, l->dst);

	if (l->kind == 'u')
		tree_holders_settle(v, l->src, l->since);
	return rc;
}

/* How many links are to be looked at for that. */
static size_t n_taken_from(struct volume *v, const struct shipment *s)
{
	return tree_holders_would_any(v) ? s->n_links : 0;
}

int follow_shipment(struct volume *v, const struct shipment *s)
{
	struct map sources = MAP_INIT;
	struct ship_link room;
	int rc = 0;

	for (size_t i = 0; i < s->n_lineages; i++)
		map_put(&sources, s->lineages[i].src, 1);
	/* First those who make room: who comes to an inode is not meant when its holders leave. */
	for (int pass = 0; pass < 2; pass++)
		for (size_t i = 0; rc == 0 && i < s->n_lineages; i++) {
			const struct rec_lineage *l = &s->lineages[i];
			bool left;

			if (map_get(&sources, l->dst, NULL) != (pass == 1) || !follow_concerns(v, s, l))
				continue;
			left = has_left(v, s, l);
			log_debug("apply", "%#llx is %#llx now: who has it open %s", (unsigned long long)l->src,
				  (unsigned long long)l->dst, left ? "follows" : "waits");
			if (left && l->kind != 'a' && !tree_holders_may_come(v, l->dst))
				tree_holders_wait(v, l->src, l->dst);
			else if (left)
				rc = move_holders(v, l);
			else if (l->kind == 'a')
				tree_holders_would_move(v, l->src, l->dst);
		}
	for (size_t i = 0; rc == 0 && i < n_taken_from(v, s); i++) {
		const struct ship_link *l = shipment_link_at(s, i, &room);

		if (takes_from_holders(v, l) && is_gone(v, l->child))
			rc = tree_holders_move(v, l->child, tree_holders_move_to(v, l->child));
	}
	map_release(&sources);
	return rc ? rc : tree_holders_arrive(v); /* those of earlier shipments, too */
}

bool follow_any(struct volume *v, const struct shipment *s)
{
	bool any = tree_holders_waiting(v);
	struct ship_link room;

	for (size_t i = 0; i < n_taken_from(v, s) && !any; i++)
		any = takes_from_holders(v, shipment_link_at(s, i, &room));
	for (size_t i = 0; i < s->n_lineages && !any; i++)
		any = follow_concerns(v, s, &s->lineages[i]);
	return any;
}

int follow_hold_still(struct volume *v, const struct shipment *s, bool *still)
{
	bool moves;
	int rc;

	volume_lock(v);
	moves = follow_any(v, s);
	volume_unlock(v);
	rc = moves ? volume_commit(v) : 0;
	if (rc == 0 && moves)
		volume_hold_still(v);
	if (still)
		*still = moves;
	return rc;
}
