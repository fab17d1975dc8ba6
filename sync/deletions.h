/* SPDX-License-Identifier: MIT */
/*
 * deletions: the guard against a reconciliation that empties a side. A disk that was lost and came back empty, or a
 * script that ran in the wrong place, looks just like somebody who deleted everything; so what was done while apart and
 * would delete more than half of what is here, and more than a hundred names, waits for a person's word.
 * What both sides made alike is one afterwards: that it loses this side's name deletes nothing.
 */
#ifndef TWINFS_SYNC_DELETIONS_H
#define TWINFS_SYNC_DELETIONS_H

#include "sync/shipment.h"

#define DELETIONS_MANY 100u

/* 0, or -ECANCELED with a text: the shipment takes away more than DELETIONS_MANY names and more than half of all. Takes
 * the volume's lock; costs what the shipment costs, whatever the size of the tree. */
int deletions_check(struct volume *v, const struct shipment *s, const char *peer, struct err *err);

#endif
