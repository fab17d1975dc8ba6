/* SPDX-License-Identifier: MIT */
/*
 * logged: blocks that are durable in the database's log before they are durable on the image.
 *
 * An fsync of a few blocks would cost two flushes, of the image and then of the log. So the blocks of a small group are
 * written to the image as all are, and put into table logged too, within the group's own transaction: the one flush of
 * the log makes rows and bytes durable together. The image is flushed when the slots are used up, or with a group that
 * is too large for that, or when the store is closed; from then on, by the number `flushed` that is committed with the
 * rest, what is in the slots counts no more.
 *
 *   bytes on the image      rows of the group        what an open does
 *   not flushed             in the log, with bytes   writes the bytes to the image once more, and flushes it
 *   flushed, group <= flushed                        nothing
 *
 * A slot (LOGGED_ROW_BYTES): checksum of the rest, group, image block, its bytes. Slots with a group above `flushed`
 * are the first so many, in the order of time. Of two with the same block the later one counts, and none if no row of
 * any file has the block any more: it may be somebody else's soon.
 *
 * While the volume is open the image is read and written as if none of this were. Only when the host has failed
 * (group.c, recover) may it have dropped what it was given: then they are written again.
 *
 * Wants the volume's lock. Owned by the data store.
 */
#ifndef TWINFS_CORE_LOGGED_H
#define TWINFS_CORE_LOGGED_H

#include "db/logged_rows.h"
#include "util/map.h"

#include <stdbool.h>
#include <stdint.h>

struct volume;

/* A group with more new blocks than these flushes the image: to write 64 KiB twice takes as long as a flush. */
#define LOGGED_GROUP_BLOCKS 16u

struct logged {
	uint64_t flushed;  /* what groups up to here wrote is durable on the image */
	unsigned used;     /* slots with later groups */
	struct map live;   /* image block -> slot + 1: of these, what an open would write */
	struct {
		uint64_t phys, sum;
	} fresh[LOGGED_GROUP_BLOCKS]; /* blocks that the open group wrote and has still */
	unsigned n_fresh;
	bool many;         /* it has, or had, too many */
	unsigned n_put;    /* slots that the commit under way has filled */
	uint64_t flushing; /* `flushed` when the commit under way is durable */
};

/* What the open group does to blocks: they are in its rows now; their bytes are others; no row has them any more. */
void logged_born(struct logged *l, uint64_t phys, uint64_t len, const uint64_t *sums);
void logged_changed(struct logged *l, uint64_t phys, uint64_t len, const uint64_t *sums);
void logged_freed(struct logged *l, uint64_t phys, uint64_t len);

/* It owns blocks that were written before it: its commit flushes the image, and no slot from a former life of such a
 * block counts any more. */
void logged_want_flush(struct logged *l);

/* Can the open group be made durable without a flush of the image? */
bool logged_suffices(struct volume *v);
/* The open group, which becomes group n: see to it that its blocks are durable when its transaction is. Flushes the
 * image, if that has to be. */
int logged_settle(struct volume *v, uint64_t n);
/* It is durable: before the blocks that it freed are free. */
void logged_committed(struct logged *l);
/* No committed row has these blocks any more. */
void logged_gone(struct logged *l, uint64_t phys, uint64_t len);
void logged_rolled_back(struct logged *l);

/* The slots that count, in a store of these numbers: live as above. */
int logged_load(struct db *db, uint64_t flushed, uint64_t committed, struct map *live);
/* The bytes of a block in map live. 0, or -EUCLEAN. */
int logged_read(struct db *db, uint64_t slot, uint8_t *block);
/* One past the last image block in the map. */
uint64_t logged_end_blocks(const struct map *live);
/* Are all of these blocks that an image of so many has not in the map? */
bool logged_has_beyond(const struct map *live, uint64_t phys, uint64_t len, uint64_t image_blocks);
/* The first slot that is not what was written, or LOGGED_SLOTS: for fsck. */
uint64_t logged_damage(struct db *db);

/* Write them to the image. For an open: those alone that have an owner. */
int logged_restore(struct volume *v);
/* Nothing is left that only the slots have: the image was flushed. */
void logged_are_flushed(struct volume *v);
/* When the volume is closed: the last commit leaves all of them on the image. */
void logged_end(struct volume *v);
void logged_release(struct logged *l);

#endif
