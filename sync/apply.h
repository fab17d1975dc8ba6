/* SPDX-License-Identifier: MIT */
/*
 * apply: the primary's shipment at the secondary.
 *
 * What this side has changed and the primary cannot have known is left alone: the primary will see it and decide. A
 * link that cannot go where the primary has it because of such a change (its name is taken by a local file, its
 * directory was removed here, a directory to be removed is not empty here, a move would close a loop) is left alone
 * too, and is entered into our own change set as it is here, with `seen` from before this shipment: so the primary
 * learns of it, sees that it conflicts, decides, and sends the outcome.
 */
#ifndef TWINFS_SYNC_APPLY_H
#define TWINFS_SYNC_APPLY_H

#include "sync/shipment.h"

/* Takes the lock; one group. 0, or -errno and nothing was changed. -EBADMSG: the shipment makes no valid tree. */
int apply_shipment(struct volume *v, struct shipment *s, struct err *err);

/* Would the whole shipment make a valid tree of what is here, nothing of ours being in its way? 0 or -EBADMSG. Lock
 * held. */
int apply_check(struct volume *v, struct shipment *s);
/* Which of its links would? fits: one for each, to be freed. Lets others in while a landing is watched. */
int apply_fits(struct volume *v, struct shipment *s, uint8_t **fits);

#endif
