/* SPDX-License-Identifier: MIT */
/* data_private: what file.c and stage.c need of data.c beyond its contract. Rules as core/data.h. */
#ifndef TWINFS_CORE_DATA_PRIVATE_H
#define TWINFS_CORE_DATA_PRIVATE_H

#include "core/blocks.h"

/* As data_write, on an inode that the caller has read and will put: `in` is changed (size, cborn, corigin), not
 * stored. */
int data_write_inode(struct volume *v, struct inode *in, const void *buf, size_t len_bytes, uint64_t off,
                     enum origin origin);
int data_punch_inode(struct volume *v, struct inode *in, uint64_t off, uint64_t len_bytes, enum origin origin);
/* The content of `in` changes now, its end being at end_bytes at least. */
void data_touch_inode(struct volume *v, struct inode *in, uint64_t end_bytes, enum origin origin);
/* Zero what the block that holds size_bytes has beyond it. */
int data_zero_tail(struct volume *v, uint64_t ino, uint64_t size_bytes, enum origin origin);

#endif
