/* SPDX-License-Identifier: MIT */
#include "core/listing.h"

#include <stdlib.h>

#include "util/util.h"

int listing_add(void *listing, const struct dentry *d)
{
	struct listing *l = listing;

	l->entries[l->n++] = *d;
	return l->n == LISTING_BATCH;
}

int listing_each(listing_read_fn read, void *from, uint64_t dir, uint64_t after, volume_dirent_fn fn, void *ctx)
{
	struct listing *l = xmalloc(sizeof(*l));
	bool more = true;
	int rc;

	do {
		l->n = 0;
		rc = read(from, dir, after, l);
		for (size_t i = 0; !rc && more && i < l->n; i++) {
			const struct dentry *d = &l->entries[i];

			after = d->link;
			more = fn(ctx, d->name, d->name_len, d->link, &l->attrs[i]);
		}
	} while (!rc && more && l->n > 0);
	free(l);
	return rc;
}
