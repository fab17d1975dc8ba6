/* SPDX-License-Identifier: MIT */
#include "sync/deletions.h"

#include <errno.h>
#include <string.h>

#include "core/tree.h"

struct count {
	const struct shipment *s;
	struct map lives_on; /* what is the peer's by another id from now on -> 1 */
	uint64_t gone;
};

/* A report says that it has no room for a link, not that somebody removed it. And what both sides had made, and is one
 * now, loses the name of this side's alone. */
static bool takes_away(const struct count *c, const struct ship_link *l)
{
	return l->parent == 0 && !l->report && !map_get(&c->lives_on, l->child, NULL);
}

static int count_gone(void *ctx, uint64_t link)
{
	struct count *c = ctx;
	struct ship_link room;
	size_t i;

	c->gone += shipment_find_link(c->s, link, &i) && takes_away(c, shipment_link_at(c->s, i, &room));
	return 0;
}

/* To look a hundred thousand links up takes ten times as long as to count twice as many: so it is only seen which of
 * those that are here it takes away, and that only if they are few enough. */
int deletions_check(struct volume *v, const struct shipment *s, const char *peer, struct err *err)
{
	struct count c = { .s = s };
	struct ship_link room;
	uint64_t most = 0, all = 0;
	int rc = 0;

	for (size_t i = 0; i < s->n_lineages; i++)
		if (s->lineages[i].kind == 'a')
			map_put(&c.lives_on, s->lineages[i].src, 1);
	for (size_t i = 0; i < s->n_links; i++)
		most += takes_away(&c, shipment_link_at(s, i, &room)); /* some may be gone here, too */
	if (most > DELETIONS_MANY) {
		volume_lock(v);
		rc = tree_count_links(v, 2 * most, &all);
		if (!rc && all < 2 * most)
			rc = tree_each_link(v, count_gone, &c);
		volume_unlock(v);
	}
	map_release(&c.lives_on);
	if (rc < 0)
		return err_set(err, rc, "cannot count the names of %s: %s", volume_dir(v), strerror(-rc));
	if (c.gone <= DELETIONS_MANY || all >= 2 * c.gone)
		return 0;
	return err_set(err, -ECANCELED,
	               "while apart %s deleted %llu of the %llu files and folders; that is held back until somebody "
	               "confirms it",
	               peer, (unsigned long long)c.gone, (unsigned long long)all);
}
