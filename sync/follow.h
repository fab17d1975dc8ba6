/* SPDX-License-Identifier: MIT */
/*
 * follow: who has a file open here follows what the peer says became of it (LINEAGE): to the copy of this side's
 * version, if the name has the peer's; to the peer's file or directory, if the two became one. Of the secondary, and of
 * a primary that the old one tells what it had decided.
 */
#ifndef TWINFS_SYNC_FOLLOW_H
#define TWINFS_SYNC_FOLLOW_H

#include "sync/shipment.h"

/* Without the lock, before volume_apply_begin, which ends it if it fails, as do apply_commit and apply_abort. If the
 * shipment moves holders (*still, unless NULL) no request of theirs is on its way from now on. What takes long is done
 * while they still are: the last landing, and the open group. */
int follow_hold_still(struct volume *v, const struct shipment *s, bool *still);
/* Lock held: does somebody hold what this is about, and could follow? Not who works in a directory of a unit, nor if a
 * unit's copy is very large. */
bool follow_concerns(struct volume *v, const struct shipment *s, const struct rec_lineage *l);
/* Lock held: are there any whom it could move? */
bool follow_any(struct volume *v, const struct shipment *s);
/* Between apply_begin and apply_commit, before the rows that the shipment acknowledges are forgotten: notes of which
 * files of a unit the holders stay, as what this side wrote to them went into the primary's. */
void follow_before_purge(struct volume *v, const struct shipment *s);
/* Between apply_begin and apply_commit, when all is in its place but what has lost its last link is not reaped yet. */
int follow_shipment(struct volume *v, const struct shipment *s);

#endif
