/* SPDX-License-Identifier: MIT */
/*
 * image: the backing image, a sparse file or a block device of blocks of 4 KiB. Block 0 is a header (magic, format
 * version, checksum) and never holds data; so block number 0 can mean "no block".
 *
 * Knows nothing of files: which block belongs to whom is in the database, which block is free in core/freemap.h.
 *
 * Threads: everything but open and close may be called from any thread at any time; no lock is needed. Who reads a
 * block that somebody else may write meanwhile checks what it got against the checksum.
 *
 * Errors: the host's, as host_errno has them (-EIO also when the image ends before the block); logged here once a
 * minute at most.
 *
 * A flush that failed says that some of what was written since the last good one may be lost, not what: the host marks
 * as clean what it could not write, and a second flush would say "done". So image_sync keeps failing until
 * image_recover, and whoever holds written blocks that no good flush has covered must forget them: those were written
 * at another image_losses() than the present one.
 */
#ifndef TWINFS_CORE_IMAGE_H
#define TWINFS_CORE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/err.h"

struct image;

/* Make `path` (or write the header of the block device it names). -EEXIST: a file with data is there already. */
int image_format(const char *path, struct err *err);
/* no_sync: tests only, image_sync does nothing. -EINVAL: not an image; -EPROTONOSUPPORT: newer; -EUCLEAN: damaged
 * header. */
int image_open(const char *path, bool no_sync, struct image **out, struct err *err);
void image_close(struct image *im);
/* Is the whole first block what image_format made, also where nobody looks? 0, -EUCLEAN or -EIO. */
int image_check_header(const struct image *im);

/* Size of a block device, or the length of the file so far. */
uint64_t image_size_bytes(const struct image *im);
bool image_is_device(const struct image *im);
int image_fd(const struct image *im);

/* Any byte range within the blocks. Done in pieces of 128 KiB: the host's page cache remembers the size of the write
 * that filled it and makes later small overwrites pay for the whole piece (measured on ext4: 2 us against 14 us
 * after 1 MiB writes). */
int image_read(struct image *im, uint64_t phys, size_t skip_bytes, void *buf, size_t len_bytes);
int image_write(struct image *im, uint64_t phys, size_t skip_bytes, const void *buf, size_t len_bytes);
/* How many of the bytes, from the first on, could be had from the host's memory. */
size_t image_read_cached(struct image *im, uint64_t phys, void *buf, size_t len_bytes);
/* These blocks will be read soon: have the host begin to read them, without waiting. */
void image_expect(struct image *im, uint64_t phys, uint64_t len_blocks);
/* Returns when all writes that had returned before the call are durable; no I/O if they are already. After a failure
 * every later call fails too, until image_recover. */
int image_sync(struct image *im);
/*
 * Long writes that follow each other fill windows of 4 MiB of the image, which are remembered until they are dropped.
 * due: some are full that the disk was not given yet. begin: give them to it, without waiting, so that a flush finds
 * little left to do. drop: have the host forget those that a flush has covered; the kernel has the bytes once more in
 * the file's own cache.
 */
bool image_stream_due(const struct image *im);
void image_stream_begin(struct image *im);
void image_stream_drop(struct image *im);
/* How often a flush has failed so far. */
uint64_t image_losses(struct image *im);
/* Would image_sync fail without a try? */
bool image_is_failed(const struct image *im);
/* Try whether the host flushes again: 0, and image_sync works again; or the error, and losses counts one more. Whoever
 * calls it has made sure that nothing written before counts as durable. */
int image_recover(struct image *im);
/* Since when (monotonic ms) a write or a flush waits for the host; 0: none does. With several at once it may say a
 * later time. */
uint64_t image_busy_since_ms(const struct image *im);
/* Is the file at the path still the one that is open? */
bool image_is_at(const struct image *im, const char *path);
/* Give the range back to the host; its content is undefined afterwards. Hosts that cannot: silently nothing. */
void image_punch(struct image *im, uint64_t phys, uint64_t len_blocks);

/* The errno (positive) of a failed call on one of the store's files as the error that programs get, negative: what
 * means "full" is -ENOSPC, a host filesystem that is read-only -EROFS, all else -EIO. */
int host_errno(int e);

/* Make the host forget what it has of the blocks in memory, as far as it is on the disk: the next read asks that. */
void image_uncache(struct image *im, uint64_t phys, uint64_t len_blocks);

/* Does the disk still give anything? The header, from the disk. So a block that it will not give is told from a disk
 * that is gone for a while. */
bool image_answers(struct image *im);

/* Checksum of one block. */
uint64_t block_sum(const void *block);

#endif
