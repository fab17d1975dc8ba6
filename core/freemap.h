/* SPDX-License-Identifier: MIT */
/*
 * freemap: which blocks of the image are in use: a bitmap in memory, derived from the database at mount, never stored.
 * Pure bookkeeping: no I/O, no idea of groups (core/data_store.c keeps these). Owned and locked by the data store.
 *
 * Allocation is next-fit over what lies below `end` (one past the highest block ever in use), else growth of `end` up
 * to the limit. 1 bit a block and 2 bytes per 4096 blocks of counts: 32 MiB of memory per TiB of image.
 */
#ifndef TWINFS_CORE_FREEMAP_H
#define TWINFS_CORE_FREEMAP_H

#include <stdbool.h>
#include <stdint.h>

struct freemap;

/* limit_blocks: blocks 0..limit-1 exist, block 0 being in use from the start. */
struct freemap *freemap_new(uint64_t limit_blocks);
void freemap_delete(struct freemap *f);

/* At mount: this run is owned. -EUCLEAN: part of it is owned already, or lies beyond the limit. */
int freemap_claim(struct freemap *f, uint64_t phys, uint64_t len);

/*
 * Take up to `want` contiguous blocks (at least 1): *phys; returns how many, 0 when none is left. Runs shorter than
 * want are given when no long one is at hand and growing is not possible. goal: where the file's blocks before this
 * one end; taken if free (0: no goal). window: leave so many blocks in all for the same writer to go on in, when the
 * goal is not to be had (0: none): two files appended to in turns get runs all the same.
 */
uint64_t freemap_alloc(struct freemap *f, uint64_t want, uint64_t goal, uint64_t window, uint64_t *phys);
/* The run must be in use (asserted). */
void freemap_release(struct freemap *f, uint64_t phys, uint64_t len);
/* Take exactly this run if all of it is free. */
bool freemap_take(struct freemap *f, uint64_t phys, uint64_t len);

/* End of the free run that phys is in: phys itself if it is in use; not beyond `end`. */
uint64_t freemap_free_until(const struct freemap *f, uint64_t phys);

bool freemap_used(const struct freemap *f, uint64_t phys);
uint64_t freemap_count_used(const struct freemap *f); /* without block 0 */
uint64_t freemap_count_free(const struct freemap *f); /* up to the limit */
uint64_t freemap_end(const struct freemap *f);

#endif
