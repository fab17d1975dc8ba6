/* SPDX-License-Identifier: MIT */
/*
 * leftover: what is gone, but too much to be dropped in one go. Private to core/.
 *
 * Blocks of a file that was removed or cut short
 *
 * A file of 100 GB has a million rows in table extent; dropping them takes seconds, and nobody should wait for the
 * volume so long. So the operation ends with the first few rows dropped and a row in table leftover: the rows of ino
 * from block `floor` on belong to nobody since `group`. A thread of the volume's own (started when there is something
 * to do) drops them a few at a time, in whatever group is open then; after a crash it goes on.
 *
 * Rows that wait count as ended in `group`, in every view, and get that group when they go to history: nothing can tell
 * when they were really dropped. Whoever writes to the file or lets it grow settles first, all at once: a file has no
 * rows beyond its end but these.
 *
 * The change set that the peer has acknowledged, and history that it made needless
 *
 * An acknowledgement of a million changes is one number of the database: rows of groups up to it count as gone
 * (db/change_set.h), and so does what died up to info.acked, for whoever looks at history (core/past.h). The thread
 * drops both. Until it has, the sums of what is pending are too high, but never when nothing is; the space of old
 * blocks comes back as they are dropped.
 *
 * Changed ranges of a file that was removed before the peer had them
 *
 * There may be a row for each of its blocks. Those that the operation does not drop itself belong to nobody, and the
 * thread drops them; `ranges_gone` in table meta lists such files. Before one is made again, from history or by the
 * peer, all are dropped at once. The bytes count as pending until they are dropped.
 *
 * Inodes that were unlinked but open when the store was last closed or died
 *
 * They are reaped by the same thread when there are many: it goes through table orphan, and until it is at the end
 * whoever asks for one that it has not come to asks the table (volume_is_orphan). Opening reads none of them.
 *
 * Its group
 *
 * A group that the thread opens concerns nobody (group_waits): nothing is told or sent because of it, it makes no group
 * of its own, and the thread commits it. If somebody
 * else changes something in it, it is theirs.
 *
 * The volume's lock is held by the caller, except for leftover_stop and leftover_step.
 */
#ifndef TWINFS_CORE_LEFTOVER_H
#define TWINFS_CORE_LEFTOVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "db/rows.h"
#include "util/map.h"

struct volume;
struct extent_list;

/* (Again) what the table says: after opening the store and after a rollback. */
int leftover_load(struct volume *v);
/* What is there of the change set and of history to be dropped: after opening the store. */
int leftover_look(struct volume *v);
/* Rows that an operation drops itself before it leaves the rest over. */
size_t leftover_at_once(const struct volume *v);
/* Is there something that the thread drops, or would if the volume took changes? */
bool leftover_any(struct volume *v);
/* What the thread does, once. True: there is more. */
bool leftover_step(struct volume *v);
/* Open group. ino has none yet. */
int leftover_put(struct volume *v, const struct leftover *l);
/* Open group. Drop all that is left over of ino, if anything. */
int leftover_settle(struct volume *v, uint64_t ino);
/* The first block that is left over of ino. */
#define LEFTOVER_NONE (UINT64_MAX >> 1) /* the largest integer of the database */
uint64_t leftover_floor(struct volume *v, uint64_t ino);
/* Current rows of ino that are left over: give them the group in which they ended. */
void leftover_mark(struct volume *v, uint64_t ino, struct extent_list *rows);
/* Open group. The changed ranges of ino, which is no more, are left over. */
int leftover_ranges_put(struct volume *v, uint64_t ino);
/* Open group. Drop what is left over of them, if anything. */
int leftover_ranges_settle(struct volume *v, uint64_t ino);
bool leftover_ranges_gone(const struct volume *v, uint64_t ino);
/* Reap by and by what table orphan lists and nobody holds. */
void leftover_doom(struct volume *v);
/* Start the thread if there is work for it. */
void leftover_start(struct volume *v);
/* End the thread; what is left over stays so. Without the lock. */
void leftover_stop(struct volume *v);
/* Free the memory. */
void leftover_release(struct volume *v);

#endif
