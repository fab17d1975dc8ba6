/* SPDX-License-Identifier: MIT */
#include "sync/deletions.h"

#include <errno.h>
#include <string.h>

#include "core/tree.h"

int deletions_check(struct volume *v, const struct shipment *s, const char *peer, struct err *err)
{
	size_t gone = 0;
	uint64_t all = 0;
	int rc = 0;

	volume_lock(v);
	for (size_t i = 0; i < s->n_links; i++) {
		struct dentry d;

		/* A report says that it has no room for a link, not that somebody removed it. */
		gone += s->links[i].parent == 0 && !s->links[i].report && tree_link_get(v, s->links[i].link, &d) == 0;
	}
	if (gone > DELETIONS_MANY)
		rc = tree_count_links(v, 2 * gone, &all);
	volume_unlock(v);
	if (rc < 0)
		return err_set(err, rc, "cannot count the names of %s: %s", volume_dir(v), strerror(-rc));
	if (gone <= DELETIONS_MANY || all >= 2 * gone)
		return 0;
	return err_set(err, -ECANCELED,
	               "while apart %s deleted %zu of the %llu files and folders; that is held back until somebody "
	               "confirms it",
	               peer, gone, (unsigned long long)all);
}
