/* SPDX-License-Identifier: MIT */
/*
 * listing: the entries of a directory, some at a time: the lock is held while a batch is copied, and given up before
 * any of it is told. That keeps each hold short (about 0.5 ms) and shares what it costs.
 */
#ifndef TWINFS_CORE_LISTING_H
#define TWINFS_CORE_LISTING_H

#include "core/volume.h"
#include "db/rows.h"

#define LISTING_BATCH 64u

struct listing {
	struct dentry entries[LISTING_BATCH];
	struct attr attrs[LISTING_BATCH];
	size_t n;
};

/* For a walk of rows: takes one, and ends the walk when the batch is full. */
int listing_add(void *listing, const struct dentry *d);

/* Fills l, which is empty, with what follows the link `after` in dir, in the order of links; takes the lock and gives
 * it up. None: that was all. Errors are negative. */
typedef int (*listing_read_fn)(void *from, uint64_t dir, uint64_t after, struct listing *l);
/* All of it, until fn is false or an error. No lock is held, nor while fn is called. */
int listing_each(listing_read_fn read, void *from, uint64_t dir, uint64_t after, volume_dirent_fn fn, void *ctx);

#endif
