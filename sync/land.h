/* SPDX-License-Identifier: MIT */
/*
 * land: putting decided changes into the volume; what secondary (apply.c) and primary (merge.c) share. Nothing here
 * decides anything. All between volume_apply_begin and volume_apply_commit, so the lock is held and a group is open.
 */
#ifndef TWINFS_SYNC_LAND_H
#define TWINFS_SYNC_LAND_H

#include "core/changes.h"
#include "core/data.h"
#include "sync/shipment.h"

/* Where a link shall be; parent 0: gone. name is borrowed. */
struct placement {
	uint64_t link, child, parent;
	const char *name;
	uint16_t name_len;
	enum origin origin;
	uint64_t was; /* set by land_links: what the link led to here, if that is not `child`; 0 otherwise */
};

/* Put all links in their places at once (any permutation, exchange or shift of names works). Children that lost a link
 * are not reaped. */
int land_links(struct volume *v, struct placement *list, size_t n);
/* Reap what has lost its last link by these placements, `was` too; directories are empty by then. */
int land_reap(struct volume *v, const struct placement *list, size_t n);
/* The record as the plan of a landing has it (core/landing.h); all but its fields. */
void land_fill(struct landing_inode *out, const struct rec_inode *r);
/* Create the inode of a REC_NEW record; does nothing if it is there. */
int land_new(struct volume *v, const struct rec_inode *r);
/* Set the field groups REC_MODE, REC_OWNER, REC_TIMES named in `fields`. -EBADMSG if the type differs from what is
 * here. */
int land_attrs(struct volume *v, const struct rec_inode *r, uint64_t ino, uint32_t fields, enum origin origin);
/* The record's content becomes ino's: cut to shrunk_to, staged bytes, size. origin: ORIGIN_PEER when the peer has these
 * bytes in this very inode (then they are a base of its later changes), ORIGIN_LOCAL when it has them under another. */
int land_content(struct volume *v, const struct shipment *s, const struct rec_inode *r, uint64_t ino,
		 enum origin origin);
int land_xattr(struct volume *v, const struct ship_xattr *x, uint64_t ino);
/* The group ends: durable if rc is 0, else as if it had not been, and what was staged is staged still. rc, or why it
 * could not be made durable. */
int land_end(struct volume *v, struct shipment *s, int rc);
/* The peer wants to keep what it has nothing of any more: it gets it as if it were new. */
int land_asks(struct volume *v, const struct shipment *s);
/* Remember the peer's group (number and id) as applied; call right before volume_apply_commit(v, begin->to). */
int land_applied(struct volume *v, const struct rec_ship_begin *begin);
/* The random id of the peer's group that is applied here; 0 if none. Takes the lock itself. */
uint64_t land_applied_id(struct volume *v);

#endif
