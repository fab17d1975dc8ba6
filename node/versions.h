/* SPDX-License-Identifier: MIT */
/*
 * versions: the files of a conflict, for whoever wants to compare them: mounted or not, wherever they are now. Reads
 * only. Any thread, with nothing locked.
 */
#ifndef TWINFS_NODE_VERSIONS_H
#define TWINFS_NODE_VERSIONS_H

#include <jansson.h>

#include "core/volume.h"
#include "node/control.h"

/* which: base, local or peer. The pieces are its first max_bytes bytes; keys: type (file, directory, symlink, other),
 * size, target (of a symlink). -ENOENT: there is no such conflict, or it has no such file (any more). */
int version_cat(struct volume *v, uint64_t id, const char *which, uint64_t max_bytes, struct control_client *client,
                json_t *reply, struct err *err);

#endif
