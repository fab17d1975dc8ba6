/* SPDX-License-Identifier: MIT */
/*
 * plan: a large shipment, landed bit by bit (core/landing.h), so that nobody has to wait while it is put in place. What
 * secondary (apply.c) and primary (merge.c) share: each judges the shipment itself, knows what of it meets something of
 * its own, and how that is landed at once, in the group in which the plan of the rest begins to hold (split.h).
 *
 * Judging it and writing it down as a plan gives the lock up now and then, so others change things meanwhile. What
 * meets that is moved to the part that is landed at once. If that cannot be, or it is too much, all of it was in vain,
 * and is tried anew a few times; then the shipment is landed at once as a whole.
 */
#ifndef TWINFS_SYNC_PLAN_H
#define TWINFS_SYNC_PLAN_H

#include "sync/split.h"

struct plan {
	struct volume *v;
	struct shipment *s;
	void *ctx; /* the judge's */
	/* Lock held, landing_breathe between looks. Adds to the split what meets something. 0; -ENOTSUP: the shipment
	 * is to be landed at once; -errno. */
	int (*judge)(struct plan *p);
	/* What was changed here since (landing_watched) may meet more than inodes, links and names of the shipment:
	 * adds that to the split. NULL: it does not. */
	void (*meet)(struct plan *p, const struct map *inodes, const struct map *links);
	/* Without the lock, before the group in which the plan begins to hold, when `part` is what is to be landed at
	 * once as far as is known. NULL: nothing. */
	int (*prepare)(struct plan *p);
	/* Without the lock, at the end of each try: what it made of the parts goes. NULL: nothing. */
	void (*done)(struct plan *p);
	/* Between apply_begin and apply_commit: all that its group does but putting the rest in place. -EINPROGRESS:
	 * once more, after `prepare`; -EAGAIN: judge anew. */
	int (*hold)(struct plan *p, struct shipment *part);
	/* Of an inode that is here: which of the record's REC_* fields are taken? */
	uint32_t (*fields)(struct volume *v, const struct shipment *s, const struct rec_inode *r);
	/* Is this value taken? */
	bool (*takes)(struct volume *v, const struct shipment *s, const struct ship_xattr *x);
	bool exact;          /* an inode that comes whole loses the xattrs that do not */
	bool ends;           /* split_open */
	bool written, last;
	struct split split;
	size_t n_judged;         /* entries of the part when all was judged, */
	struct shipment *part;   /* and the part as it is by now; of before: parts */
	struct shipment **parts;
	size_t n_parts, cap_parts, part_late;
	struct map left;     /* blocks that are in it no more */
};

/* Without the lock. 1: it is landed. 0: it is to be landed at once, and plain for that. Then, and with -errno, nothing
 * was changed. */
int plan_land(const struct plan *how);

#endif
