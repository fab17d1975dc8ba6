/* SPDX-License-Identifier: MIT */
/*
 * source: what a front shows: the volume as it is, or its past (core/past.h). Reading only; whatever changes something
 * goes to the volume, and the table of operations of a past has none of that.
 */
#ifndef TWINFS_FUSE_SOURCE_H
#define TWINFS_FUSE_SOURCE_H

#include "core/past.h"
#include "fuse/internal.h"

static inline int source_getattr(struct front *f, uint64_t ino, struct attr *out)
{
	return f->past ? past_getattr(f->past, ino, out) : volume_getattr(f->v, ino, out);
}

static inline int source_lookup(struct front *f, uint64_t parent, const char *name, struct attr *out)
{
	return f->past ? past_lookup(f->past, parent, name, out) : volume_lookup(f->v, parent, name, out);
}

static inline int source_readdir(struct front *f, uint64_t dir, uint64_t after, volume_dirent_fn fn, void *ctx)
{
	return f->past ? past_readdir(f->past, dir, after, fn, ctx) : volume_readdir(f->v, dir, after, fn, ctx);
}

static inline ssize_t source_readlink(struct front *f, uint64_t ino, char *buf, size_t cap_bytes)
{
	return f->past ? past_readlink(f->past, ino, buf, cap_bytes) : volume_readlink(f->v, ino, buf, cap_bytes);
}

static inline ssize_t source_read(struct front *f, uint64_t ino, void *buf, size_t len_bytes, uint64_t off)
{
	return f->past ? past_read(f->past, ino, buf, len_bytes, off) : volume_read(f->v, ino, buf, len_bytes, off);
}

static inline int64_t source_seek(struct front *f, uint64_t ino, uint64_t off, int whence)
{
	return f->past ? past_seek(f->past, ino, off, whence) : volume_seek(f->v, ino, off, whence);
}

static inline ssize_t source_getxattr(struct front *f, uint64_t ino, const char *key, void *buf, size_t cap_bytes)
{
	return f->past ? past_getxattr(f->past, ino, key, buf, cap_bytes)
	               : volume_getxattr(f->v, ino, key, buf, cap_bytes);
}

static inline ssize_t source_listxattr(struct front *f, uint64_t ino, char *buf, size_t cap_bytes)
{
	return f->past ? past_listxattr(f->past, ino, buf, cap_bytes) : volume_listxattr(f->v, ino, buf, cap_bytes);
}

#endif
