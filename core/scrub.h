/* SPDX-License-Identifier: MIT */
/*
 * scrub: reads every block that a file or its history has, from the disk, and compares it with its checksum. Of an open
 * volume, while it is used. What somebody else has (core/damage.h) is healed; nothing else is mended.
 *
 * What it finds is damage for certain: a block that does not match is looked up and read once more under the volume's
 * lock. What is written or moved while it runs may not be looked at (it was read or written a moment ago).
 *
 * Threads: any one thread, without the volume's lock, which is taken for a millisecond or so at a time, never during a
 * read but the second one of a damaged block. Who wants it to be of low priority gives that to the thread. The host's
 * page cache is emptied of what is read, before (so that the disk is asked) and after.
 */
#ifndef TWINFS_CORE_SCRUB_H
#define TWINFS_CORE_SCRUB_H

#include "core/volume.h"

struct scrub_found {
	char *path;      /* malloc'd, the callee's; NULL: the file has no name any more */
	uint64_t ino, off; /* bytes */
	bool history;    /* of an old version that is kept for the peer */
	bool unreadable; /* the disk gives an error; else other bytes than were written */
	bool healed;     /* and is what was written by now */
};
struct scrub_progress {
	uint64_t done_blocks, total_blocks; /* total: as it is now */
	uint64_t found;  /* damaged */
	uint64_t healed; /* of these */
};
struct scrub_options {
	void (*found)(void *ctx, const struct scrub_found *f);
	/* After each MiB or so; false: stop. */
	bool (*progress)(void *ctx, const struct scrub_progress *p);
	void *ctx;
};

/* 0: everything was looked at; out->found says with what result. -ECANCELED: progress said so. -EUCLEAN: the tables are
 * damaged, see fsck. */
int volume_scrub(struct volume *v, const struct scrub_options *opt, struct scrub_progress *out);

#endif
