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
 * Errors: -EIO (also: the image ends before the block), -ENOSPC from the host, logged here once a minute at most.
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

/* Size of a block device, or the length of the file so far. */
uint64_t image_size_bytes(const struct image *im);
bool image_is_device(const struct image *im);
int image_fd(const struct image *im);

/* Any byte range within the blocks. Done in pieces of 128 KiB: the host's page cache remembers the size of the write
 * that filled it and makes later small overwrites pay for the whole piece (measured on ext4: 2 us against 14 us
 * after 1 MiB writes). */
int image_read(struct image *im, uint64_t phys, size_t skip_bytes, void *buf, size_t len_bytes);
int image_write(struct image *im, uint64_t phys, size_t skip_bytes, const void *buf, size_t len_bytes);
/* Returns when all writes that had returned before the call are durable; no I/O if they are already. A failure is
 * final: the host may have dropped what it could not write, so every later call fails too. */
int image_sync(struct image *im);
/* Give the range back to the host; its content is undefined afterwards. Hosts that cannot: silently nothing. */
void image_punch(struct image *im, uint64_t phys, uint64_t len_blocks);

/* Checksum of one block. */
uint64_t block_sum(const void *block);

#endif
