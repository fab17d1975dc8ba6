/* SPDX-License-Identifier: MIT */
/*
 * discarded: what a resume with --prefer discarded, and keeps in .twinfs/discarded-NODE-DATE (sync/prefer.h): put back
 * where it was, or dismissed. Both are ordinary changes, which replicate; the kernel is told of them here.
 */
#ifndef TWINFS_NODE_DISCARDED_H
#define TWINFS_NODE_DISCARDED_H

#include "core/volume.h"

/* Is it the row of such a directory? */
bool discarded_holds(const struct conflict *c);

/*
 * `which`: a path in the volume, or the id of the conflict. 1: that is in no such directory, so this is about something
 * else. 0, or -errno with a text. keep: 0 local, 1 peer, 2 both.
 *
 * The side that was discarded: the file or directory goes back to its path, beside which what is there now is kept as
 * NAME.before-restore; directories are gone through. Both: it goes back too, but what is there now stays, and it gets a
 * conflict name beside it. The other side: it is removed. The path of the whole directory is all of it; when nothing is
 * left of it its conflict is settled. Commits.
 */
int discarded_settle(struct volume *v, const char *which, int keep, volume_notice_fn notice, void *notice_ctx,
                     struct err *err);

/* Remove what `which` means (NULL: all that was discarded), if it was before before_ms (0: at any time). *n: how many
 * were removed, 0 if it is about something else. Commits. */
int discarded_dismiss(struct volume *v, const char *which, uint64_t before_ms, size_t *n, volume_notice_fn notice,
                      void *notice_ctx, struct err *err);

#endif
