/* SPDX-License-Identifier: MIT */
/*
 * discarded: what a resume with --prefer discarded, and keeps in .twinfs/discarded-NODE-DATE (sync/prefer.h): put back
 * where it was, or dismissed. Both are ordinary changes, which replicate; the kernel is told of them here.
 */
#ifndef TWINFS_NODE_DISCARDED_H
#define TWINFS_NODE_DISCARDED_H

#include "core/volume.h"

/*
 * 1: the path (in the volume) is not in such a directory, so this is about something else. 0, or -errno with a text.
 * keep: 0 local, 1 peer, 2 both. The side that was discarded: the file or directory goes back to its path, beside which
 * what is there now is kept as NAME.before-restore; directories are gone through. Otherwise: it is removed. The path of
 * the whole directory is all of it; when nothing is left of it its conflict is settled. Commits.
 */
int discarded_settle(struct volume *v, const char *path, int keep, volume_notice_fn notice, void *notice_ctx,
                     struct err *err);

#endif
