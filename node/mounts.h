/* SPDX-License-Identifier: MIT */
/*
 * mounts: which twinfs mounts this machine has, as the kernel tells it (/proc/self/mountinfo: type fuse.twinfs, source
 * is the store). There is no other registry, so none can be wrong. Nothing here touches a mount: a dead one can hang
 * whoever does.
 */
#ifndef TWINFS_NODE_MOUNTS_H
#define TWINFS_NODE_MOUNTS_H

#include <stddef.h>

struct mount_entry {
	char *store, *mountpoint; /* absolute paths */
};

/* Every twinfs mount, in the order they were made. *out is malloc'd: mounts_free. */
void mounts_list(struct mount_entry **out, size_t *n);
void mounts_free(struct mount_entry *list, size_t n);
/* Store of the mount on top at this absolute path; malloc'd, NULL if there is none. And the other way round. */
char *mounts_store_at(const char *mountpoint);
char *mounts_of_store(const char *store);
/* Where a baseline of the store is mounted: these have a type of their own and are in no list above. */
char *mounts_of_baseline(const char *store);

/* Detach every mount of this store, and of its baseline. For whoever holds the store's lock: then nobody can be behind
 * them. Errors are logged. */
void mounts_detach_dead(const char *store);

/* Absolute, without ".", ".." and doubled slashes, by text alone; malloc'd. */
char *path_absolute(const char *path);
/* Absolute with the symbolic links of everything but the last part resolved; by text where that fails. malloc'd. */
char *path_of_mountpoint(const char *path);

#endif
