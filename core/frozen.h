/* SPDX-License-Identifier: MIT */
/*
 * frozen: the change set as it is between two groups, read bit by bit while it goes on changing.
 *
 * A shipment holds every row of groups (after, upto], as it is when upto is the last group. To read the rows of a
 * hundred thousand files takes a tenth of a second and more, and nobody should wait for the volume so long. So they are
 * frozen in a moment; then they are read some thousands at a time, and in between others have the volume. Whoever
 * changes a row that was not read yet, or takes it away, first puts it by as it is, in memory, and the reader gets it
 * from there in its place. As what is changed from then on is of a later group, a row that was put by is among the
 * frozen ones of the table no more: none is read twice, and none is missed.
 *
 *   frozen_begin --> frozen_read (1: there is more) ... --> frozen_end
 *
 * Rules
 *   - Rows are changed or dropped by core/changes.c, core/leftover.c and when an inode is reaped (core/tree.c); each
 *     calls frozen_keep_* before. What only the reader's own thread does needs no such call: acknowledgements, lineage
 *     notes, roles. So it does none of that between begin and end.
 *   - A rollback brings rows back that were put by. Then reading ends with an error: begin anew.
 *   - Nothing of it is stored. After a crash the change set says all.
 *
 * Memory: some 100 bytes for a row that was put by, so for what others change while it is read: that takes about a
 * second for a million files. And for a row that is looked for by its group, as they are few in their table: an eighth
 * of it at most, or 1,024.
 *
 * One at a time in a volume. The volume's lock is held by the caller in all that is here.
 */
#ifndef TWINFS_CORE_FROZEN_H
#define TWINFS_CORE_FROZEN_H

#include "core/changes.h"

/* What they are told to, under the lock: inodes, links, xattrs, ranges, one list after the other, each in the order of
 * core/changes.h; then lineage notes of inodes in order of src. Conflicts come in no order, and also in the middle of
 * other lists, by the thread that is about to change one. 0, or a negative error, which ends the reading. */
struct frozen_reader {
	changes_inode_fn inode;
	changes_link_fn link;
	changes_xattr_fn xattr;
	changes_range_fn range;
	conflict_fn conflict;
	lineage_fn lineage;
	void *ctx;
};

struct frozen;

/* Rows of groups (after, upto]; upto is the last group, is cut (history_cut), and nothing is changed since. */
struct frozen *frozen_begin(struct volume *v, uint64_t after, uint64_t upto, const struct frozen_reader *reader);
/* Some milliseconds of it. 1: there is more; 0: that was all; negative: failed. */
int frozen_read(struct frozen *f);
void frozen_end(struct frozen *f); /* NULL is fine */
size_t frozen_put_by(const struct frozen *f); /* rows that are in memory now */

/* ---- for who changes rows: before it does. Nothing happens while nothing is frozen. */

void frozen_keep_inode(struct volume *v, uint64_t ino, enum entity what);
void frozen_keep_xattr(struct volume *v, uint64_t ino, const char *key);
void frozen_keep_link(struct volume *v, uint64_t link);
/* Of the ranges that have bytes of [off, end), the first max_rows; the bytes in there. */
void frozen_keep_ranges(struct volume *v, uint64_t ino, uint64_t off, uint64_t end, size_t max_rows);
/* All that is said of the inode but that it is asked for; and only the first max_ranges of its ranges. */
void frozen_keep_whole(struct volume *v, uint64_t ino, size_t max_ranges);
void frozen_keep_conflict(struct volume *v, uint64_t id);
/* The open group was rolled back. */
void frozen_spoil(struct volume *v);

#endif
