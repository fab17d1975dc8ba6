/* SPDX-License-Identifier: MIT */
/*
 * digest: short sums of what both sides of a pair are promised to have alike, at one group of each (core/past.h): of
 * each inode its type, mode, owner, device, time of change of its bytes, size, target, xattrs and bytes (by the
 * checksums of its blocks, which are not read: that is a scrub); of each link its place, name and file. Ids are the
 * same on both sides, so both are in order of them, and no tree is walked. Not in it is what each side has for
 * itself: access times, changes of attributes (ctime), how holes lie among zeros; and what has no name any more.
 *
 * The lock is taken for a few inodes at a time. Threads: as core/past.h.
 */
#ifndef TWINFS_CORE_DIGEST_H
#define TWINFS_CORE_DIGEST_H

#include "core/past.h"

enum digest_table { DIGEST_INODES, DIGEST_LINKS };
#define DIGEST_TABLES 2u

enum { /* fields of an inode, and of a link */
	DIGEST_MODE, DIGEST_UID, DIGEST_GID, DIGEST_RDEV, DIGEST_MTIME, DIGEST_SIZE, DIGEST_TARGET, DIGEST_XATTRS,
	DIGEST_BYTES,
	DIGEST_PARENT = 0, DIGEST_CHILD, DIGEST_NAME,
};
#define DIGEST_FIELDS 9u

struct digest {
	uint64_t id;
	uint64_t field[DIGEST_FIELDS]; /* numbers as they are; of texts, xattrs and bytes a hash */
};
struct digest_item {
	uint64_t id, sum;
};

/* Of one. -ENOENT: the view does not have it. */
int digest_of(struct past *p, enum digest_table table, uint64_t id, struct digest *out);
/* Those in (after, last], ascending, at most max of them. *n of them; *covered: how far that is all, `last` in the end.
 */
int digest_list(struct past *p, enum digest_table table, uint64_t after, uint64_t last, struct digest_item *out,
		size_t max, size_t *n, uint64_t *covered);
/* One sum for all of them. */
uint64_t digest_sum(const struct digest_item *list, size_t n);
/* "/a/b" of an inode's lowest link, or of a link, as the view has it; malloc'd, NULL: it has none. */
char *digest_path(struct past *p, enum digest_table table, uint64_t id);

#endif
