/* SPDX-License-Identifier: MIT */
/*
 * shipment: the peer's shipment while it arrives and is applied: its records in memory, its bytes staged on the image.
 * Owned by the engine; one thread. Bounded by SHIPMENT_MAX_ENTRIES; more is refused, not cut.
 *
 * A small one is plain: arrays of structs, and maps to find them by id, some 500 bytes for a new file. From
 * landing_least records on it is packed (ship_rows.h), which takes a tenth of that, and stays so while it is landed bit
 * by bit (plan.h). What is landed at once, be it a small one, a part of a large one (split.h) or, rarely, all of that
 * (shipment_unpack), is plain: the resolver holds on to records. So whoever is called for both goes through the
 * functions shipment_..._at and shipment_find_...; all else may use the arrays.
 */
#ifndef TWINFS_SYNC_SHIPMENT_H
#define TWINFS_SYNC_SHIPMENT_H

#include <string.h>

#include "core/data.h"
#include "sync/ship_rows.h"
#include "util/map.h"

/* A pair has two nodes; each replaced node takes a new slot. */
#define SLOT_MAX 255u
/* About 800 MB here: more changed names than any workstation folder has. */
#define SHIPMENT_MAX_ENTRIES UINT64_C(20000000)

struct kept;

struct shipment {
	struct rec_ship_begin begin;
	uint64_t frames, data_bytes;
	uint64_t arrived_bytes; /* of begin.data_bytes */
	bool packed;      /* records are in `rows`, and the arrays and maps of the plain form are empty; n_ counts */
	bool stays_plain; /* they come in another order than rows need, or were unpacked */
	struct ship_rows rows;
	struct rec_inode **inodes; /* each malloc'd, cut off behind its target */
	size_t n_inodes, cap_inodes;
	struct ship_link *links;
	size_t n_links, cap_links;
	struct ship_xattr *xattrs;
	size_t n_xattrs, cap_xattrs;
	struct conflict *conflicts;
	size_t n_conflicts, cap_conflicts;
	uint64_t *asks; /* inodes that the peer wants whole: FRAME_SKIP */
	size_t n_asks, cap_asks;
	struct rec_lineage *lineages; /* of kinds 'a', 'c' and 'u' */
	size_t n_lineages, cap_lineages, n_of_units;
	struct map copied;          /* src of those of kind 'c' -> 1 */
	struct map by_ino, by_link; /* id -> index + 1 */
	struct map xattr_by_ino;    /* ino -> index + 1 of its last xattr record, chained by `next` */
	struct stage *stage;        /* made with the first data */
	uint64_t save_every_bytes, saved_bytes; /* what is staged is noted so often; 0: never */
	struct kept *kept; /* of an earlier shipment, for REC_STAGED; borrowed, may be NULL */
	struct volume *v;
	bool is_part;              /* of a larger one, the rest of which a plan carries out (split.h) */
	struct map planned_ends;   /* of a part: links of directories, which the plan removes if they go; 2: decided */
	unsigned own_slot; /* our id space: [own_slot << 48, own_next) is handed out */
	uint64_t own_next;
};

/* kept (may be NULL): what an earlier shipment left; must live until this one is whole. */
struct shipment *shipment_new(struct volume *v, const struct rec_ship_begin *begin, struct kept *kept);
void shipment_free(struct shipment *s);
/* Take in one record frame. -EBADMSG for a record that breaks a rule (inode outside its spaces, twice the same, …),
 * -ENOSPC, -EIO from staging. */
int shipment_add(struct shipment *s, struct frame *f, struct err *err);
/* The plain form of all records, for whoever lands them at once. */
void shipment_unpack(struct shipment *s);

/* Of either form: the i-th record, and which one is about this id. room: where it is put if it is packed; names, keys
 * and values live as long as the shipment, if nothing more is added to it. */
const struct rec_inode *shipment_inode_at(const struct shipment *s, size_t i, struct rec_inode *room);
const struct ship_link *shipment_link_at(const struct shipment *s, size_t i, struct ship_link *room);
const struct ship_xattr *shipment_xattr_at(const struct shipment *s, size_t i, struct ship_xattr *room);
bool shipment_find_inode(const struct shipment *s, uint64_t ino, size_t *i);
bool shipment_find_link(const struct shipment *s, uint64_t link, size_t *i);
/* As good as bytes to merges; others, an ACL say, are attributes, as the mode. */
static inline bool xattr_is_of_users(const char *key)
{
	return strncmp(key, "user.", 5) == 0;
}
/* Index + 1 of the inode's last xattr record (at 0), or of the one before (at: what was returned); 0: no more. */
size_t shipment_xattr_before(const struct shipment *s, uint64_t ino, size_t at);
/* The inode's record; NULL: none. */
const struct rec_inode *shipment_look(const struct shipment *s, uint64_t ino, struct rec_inode *room);
static inline size_t shipment_records(const struct shipment *s)
{
	return s->n_inodes + s->n_links + s->n_xattrs;
}

/* Of the plain form (asserted). */
struct rec_inode *shipment_inode(const struct shipment *s, uint64_t ino); /* NULL: none */
struct ship_link *shipment_link(const struct shipment *s, uint64_t link);
static inline bool shipment_is_empty(const struct shipment *s)
{
	return shipment_records(s) + s->n_conflicts + s->n_asks == 0;
}
/* The inode's record for this key, or for any key (NULL) that begins with "user."; NULL: none. */
struct ship_xattr *shipment_xattr(const struct shipment *s, uint64_t ino, const char *key);
uint64_t rec_seen(const struct rec_inode *r, uint32_t field); /* of one REC_* field; REC_NEW's for all when it is new */

#endif
