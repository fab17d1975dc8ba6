/* SPDX-License-Identifier: MIT */
/*
 * freemap: which blocks of the image are in use: a bitmap in memory, derived from the database at mount, never stored.
 * Pure bookkeeping: no I/O, no idea of groups (core/data_store.c keeps these). Owned and locked by the data store.
 *
 * Allocation is next-fit over what lies below `end` (one past the highest block ever in use), else growth of `end` up
 * to the bound. 1 bit a block and 3 bytes per zone of 4096 blocks: 32 MiB of memory per TiB of image.
 *
 * limit and bound: at most limit blocks are in use (block 0 counts), and all of them lie below bound. They differ when
 * a store was made smaller while blocks beyond its new end were in use: these stay where they are, in an image that is
 * sparse anyway.
 *
 * A zone is *stale* while it may have free blocks that the host still keeps for us; freemap_stale finds them.
 */
#ifndef TWINFS_CORE_FREEMAP_H
#define TWINFS_CORE_FREEMAP_H

#include <stdbool.h>
#include <stdint.h>

struct freemap;

/* limit_blocks: blocks 0..limit-1 exist, block 0 being in use from the start. */
struct freemap *freemap_new(uint64_t limit_blocks);
void freemap_delete(struct freemap *f);
/* limit may be below what is in use: then there is just no more. bound is kept above what is in use. */
void freemap_set_limit(struct freemap *f, uint64_t limit_blocks, uint64_t bound_blocks);
/* At mount, behind the last claim: all below end_blocks that is free is stale (who knows what a crash left there). */
void freemap_suspect(struct freemap *f, uint64_t end_blocks);

/* At mount: this run is owned. -EUCLEAN: part of it is owned already, or lies beyond the limit. */
int freemap_claim(struct freemap *f, uint64_t phys, uint64_t len);

/*
 * Take up to `want` contiguous blocks (at least 1): *phys; returns how many, 0 when none is left. Runs shorter than
 * want are given when no long one is at hand and growing is not possible. goal: where the file's blocks before this
 * one end; taken if free (0: no goal). window: leave so many blocks in all for the same writer to go on in, when the
 * goal is not to be had (0: none): two files appended to in turns get runs all the same.
 */
uint64_t freemap_alloc(struct freemap *f, uint64_t want, uint64_t goal, uint64_t window, uint64_t *phys);
/* The run must be in use (asserted). Its zones are stale now. */
void freemap_release(struct freemap *f, uint64_t phys, uint64_t len);
/*
 * Take a free run of least..most blocks out of the stale zones, each of which is looked through once; shorter runs are
 * left for a time when they are asked for, too (least 1). False: no zone has such runs any more. *len 0: none was found
 * so far, but not all was looked through (the caller holds a lock). Give the run back with freemap_put_back, which
 * makes nothing stale.
 */
bool freemap_stale(struct freemap *f, uint64_t least, uint64_t most, uint64_t *phys, uint64_t *len);
void freemap_put_back(struct freemap *f, uint64_t phys, uint64_t len);
/* The same for what the database said: false, and nothing is done, if part of it is not in use. */
bool freemap_give(struct freemap *f, uint64_t phys, uint64_t len);
/* Take exactly this run if all of it is free. */
bool freemap_take(struct freemap *f, uint64_t phys, uint64_t len);

bool freemap_used(const struct freemap *f, uint64_t phys);
uint64_t freemap_count_used(const struct freemap *f); /* without block 0 */
uint64_t freemap_count_free(const struct freemap *f); /* up to the limit; 0 beyond it */
uint64_t freemap_end(const struct freemap *f);

#endif
