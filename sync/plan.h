/* SPDX-License-Identifier: MIT */
/*
 * plan: a large shipment of which all is taken, landed bit by bit (core/landing.h), so that nobody has to wait while it
 * is put in place. What secondary (apply.c) and primary (merge.c) share: each judges the shipment itself, knows what of
 * it is not taken, and what else its group does.
 *
 * Judging it and writing it down as a plan gives the lock up now and then, so others change things meanwhile. If they
 * changed what counts, all of it was in vain, and is tried anew a few times; then the shipment is landed at once.
 */
#ifndef TWINFS_SYNC_PLAN_H
#define TWINFS_SYNC_PLAN_H

#include "sync/shipment.h"

struct plan {
	struct volume *v;
	struct shipment *s;
	/* Lock held, landing_breathe between looks. Is all of it taken? 0; -ENOTSUP: no; -errno. */
	int (*judge)(struct plan *p);
	/* Between apply_begin and apply_commit: all that its group does but putting it in place. */
	int (*hold)(struct plan *p);
	/* Of an inode that is here: which of the record's REC_* fields are taken? */
	uint32_t (*fields)(struct volume *v, const struct shipment *s, const struct rec_inode *r);
	/* Is this value taken? */
	bool (*takes)(struct volume *v, const struct shipment *s, const struct ship_xattr *x);
	bool exact;          /* an inode that comes whole loses the xattrs that do not */
	bool alone;          /* names made here meanwhile in directories in which it changes some are in its way too */
	bool with_any;       /* set by judge: whatever is changed here meanwhile is in its way */
	bool written;
	struct map children, parents; /* of its links; children: 1, if one of them is there then */
	struct map contents; /* inodes whose staged bytes are in the plan */
};

/* Without the lock. 1: it is landed. 0: it is to be landed at once. Then, and with -errno, nothing was changed. */
int plan_land(const struct plan *how);

#endif
