/* SPDX-License-Identifier: MIT */
/*
 * merge: the secondary's shipment at the primary. Here, and only here, conflicts are resolved: each exactly once,
 * inside the transaction that applies the shipment; the outcome goes back as changes of ours.
 *
 * Conflict: we changed the entity in a group later than the record's `seen`. If nothing of the shipment conflicts and
 * it keeps clear of the names that we changed and the secondary does not know of, it is taken as it is (fast-forward).
 * Otherwise the three states are gathered (what both changed, and the directories above), resolve() decides about names
 * and attributes, content_decide() about bytes. What comes to no valid tree is tried again, believing less each time;
 * the last way always does (merge_unplaced.c), so that the pair does not stand still.
 */
#ifndef TWINFS_SYNC_MERGE_H
#define TWINFS_SYNC_MERGE_H

#include "sync/driver.h"
#include "sync/prefer.h"
#include "sync/shipment.h"

struct merge_names {
	char self[33], peer[33]; /* node names, for conflict names and rows */
	/* No lineage of units; merge file by file; names stay (merge_unplaced.c): set by merge_shipment alone. */
	bool no_copies, no_units, names_stay;
	struct driver driver;    /* runs the commands of policies; fn NULL: none can be run */
};

/* The secondary said HELLO, and a person's word counts (prefer.h): it is in force from now on. If ours is what is
 * discarded, that is done here. Takes the lock; one group. 0, or -errno and nothing was changed. */
int merge_prefer(struct volume *v, const struct rec_hello *h, const struct prefer_word *word,
		 const struct merge_names *names, uint64_t now_ms, struct err *err);

/* Takes the lock; one group. 0, or -errno and nothing was changed. If a policy wants a command run, the first try is
 * given up before anything lands, the command runs without the lock, and the merge is done again. */
int merge_shipment(struct volume *v, struct shipment *s, const struct merge_names *names, uint64_t now_ms,
		   struct err *err);

#endif
