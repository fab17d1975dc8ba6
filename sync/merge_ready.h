/* SPDX-License-Identifier: MIT */
/*
 * merge_ready: what comes of a large part of a shipment, worked out before the group in which it lands; private to
 * merge.c. Gathering what the resolver looks at gives the volume's lock up now and then, and the resolver itself runs
 * without it; so only landing the outcome is done under one hold.
 *
 * Nobody looks at a mixture: what was gathered is compared with what was changed meanwhile before the resolver gets it.
 *
 * Invariant: what is landed is what a merge in that group would come to. What is changed here meanwhile is noted
 * (landing_mark), and merge_ready_stands compares it with all that was looked at: the inodes and links of the
 * resolver's input, the names in the directories of those, units and databases. What meets that makes the outcome void.
 */
#ifndef TWINFS_SYNC_MERGE_READY_H
#define TWINFS_SYNC_MERGE_READY_H

#include "sync/merge_state.h"

struct merge_ready {
	bool is;
	struct shipment *part; /* of this; it has to live as long */
	struct merger m;
	struct rs_result r;
	struct map named;      /* names that anything of the input has, had or gets: by merge_near_key -> 1 */
	struct map moving;     /* directories that are not where both have them -> 1 */
};

/* Without the lock, a landing is watched. 0: it is, or it cannot be done ahead (`is`). -EAGAIN: there is `work` to be
 * done first. -EBUSY: something of it was changed meanwhile, or waits for somebody to let go of it. Else -errno: the
 * landing is to be given up. Whatever it was before goes. */
int merge_ready_make(struct merge_ready *rd, struct volume *v, struct shipment *part, const struct merge_names *names,
		     struct merge_work *work, uint64_t now_ms);
/* Lock held: is it right still? strict: anything that was changed meets it. */
bool merge_ready_stands(const struct merge_ready *rd, const struct shipment *part, bool strict);
void merge_ready_drop(struct merge_ready *rd);

/* merge.c: would it be taken as it is, without looking at three states? Where names of ours are
 * looked at it lets others in while a landing is watched. */
bool merge_is_fast(struct volume *v, struct shipment *s);

#endif
