/* SPDX-License-Identifier: MIT */
/*
 * past: the tree as it was at one group, to be read while the volume goes on: mostly the baseline (info.acked).
 *
 * What it shows is VIEW_AT(group) of core/tree.h; of the baseline that is the newest state of this side that the peer
 * has confirmed to have. It is a whole tree: no operation is seen half.
 *
 * The pin
 *   While a past is open its group is pinned: what the view needs is kept although the peer acknowledges later groups.
 *   A version that lived for born <= g < died is freed when died <= acked and no pinned g lies in that life. So a pin
 *   holds what is overwritten or deleted after it was made, and nothing else; info.history_bytes counts it. It is in
 *   memory only: what it held when the program died is freed when the store is opened again.
 *   To the sync engine nothing changes. A version that only a pin holds died at or before `acked`, and everything the
 *   engine asks about (VIEW_AT and VIEW_PEER at groups >= acked, tree_inode_last) passes such versions by; where that
 *   does not follow from the view itself, the code says so (blocks_pick, tree_inode_last).
 *   Blocks that the view maps are neither overwritten nor reused while it is open: they are read without the lock.
 *
 * Threads: any number, as core/volume.h; a past_close ends all use of it. Close it before volume_close.
 * Errors: as core/volume.h. -ENOENT for what the view does not have.
 */
#ifndef TWINFS_CORE_PAST_H
#define TWINFS_CORE_PAST_H

#include "core/volume.h"

struct past;

/* Pin the baseline. -ENODATA (with a text): there is none, as this store has no peer, or the peer has never confirmed
 * anything. -EMFILE: PAST_GROUPS_MAX different groups are pinned already. */
#define PAST_GROUPS_MAX 16u /* each makes freeing history one step longer; people have a mount or two, and a restore */
int past_open(struct volume *v, struct past **out, struct err *err);
/* Pin a group that a shipment was just cut at (history_cut). -ENODATA: the peer has acknowledged a later one, or there
 * is no such group. */
int past_open_sent(struct volume *v, uint64_t group, struct past **out);
/*
 * Pin what is now, if the peer's groups up to `applied` are applied and nothing that was changed here is of a group
 * after `known`. So if the peer knew those when it made that one, its tree at `applied` is this one. -EAGAIN: it is not
 * so, just now.
 */
int past_open_known(struct volume *v, uint64_t applied, uint64_t known, struct past **out);
/* Frees what nobody else needs any more. NULL is fine. */
void past_close(struct past *p);

uint64_t past_group(const struct past *p);
struct volume *past_volume(const struct past *p);
/* Wall clock of that group's commit, ms; 0 if it is not known. */
uint64_t past_time_ms(struct past *p);

/* As their volume_* namesakes. A directory's nlink is 1 (which says that subdirectories are not counted), blocks_512
 * follows the size alone. ".twinfs" in the root is found, not listed. */
int past_getattr(struct past *p, uint64_t ino, struct attr *out);
int past_lookup(struct past *p, uint64_t parent, const char *name, struct attr *out);
int past_readdir(struct past *p, uint64_t dir, uint64_t after, volume_dirent_fn fn, void *ctx);
ssize_t past_readlink(struct past *p, uint64_t ino, char *buf, size_t cap_bytes);
ssize_t past_read(struct past *p, uint64_t ino, void *buf, size_t len_bytes, uint64_t off);
int64_t past_seek(struct past *p, uint64_t ino, uint64_t off, int whence);
ssize_t past_getxattr(struct past *p, uint64_t ino, const char *key, void *buf, size_t cap_bytes);
ssize_t past_listxattr(struct past *p, uint64_t ino, char *buf, size_t cap_bytes);

/* "/a/b" (the first slash may be missing, empty parts are skipped); symbolic links are not followed. */
int past_find(struct past *p, const char *path, struct attr *out);

#endif
