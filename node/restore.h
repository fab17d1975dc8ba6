/* SPDX-License-Identifier: MIT */
/*
 * restore: something out of the past becomes present again: a file, or a directory with all below it, with bytes,
 * mode, owner, times, xattrs and the hard links within it. It is made as if by a program that works on the volume, so
 * it replicates like any other change.
 *
 * What is at the path now is not lost: if it differs, it is kept beside it as NAME.before-restore (-2, -3 ... if that
 * is taken). If nothing differs, nothing is changed. The new tree is made beside the path under another name
 * (NAME.restoring) and then put in its place in one step; when something fails, it is removed again. Directories above
 * the path that are gone are made again, as they were. Of "/" each entry is restored by itself, and what is new there
 * stays.
 *
 * Any thread, with nothing locked. The restored bytes are copies: they take their room until the peer has acknowledged.
 */
#ifndef TWINFS_NODE_RESTORE_H
#define TWINFS_NODE_RESTORE_H

#include "core/past.h"
#include "node/control.h"

/* What has become of it is put into `reply`: restored, unchanged (counts of what was asked for), files, bytes, kept
 * (the paths of what was put aside). notice NULL: not mounted. Commits. -EINTR: the client has gone. */
int restore_path(struct volume *v, struct past *past, const char *path, struct control_client *client,
                 volume_notice_fn notice, void *notice_ctx, json_t *reply, struct err *err);

#endif
