/* SPDX-License-Identifier: MIT */
/*
 * leftover: blocks of a file that was removed or cut short, too many to be dropped in one go. Private to core/.
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
 * The same thread reaps the inodes that were unlinked but open when the store was last closed or died, when there are
 * many.
 *
 * The volume's lock is held by the caller, except for leftover_stop.
 */
#ifndef TWINFS_CORE_LEFTOVER_H
#define TWINFS_CORE_LEFTOVER_H

#include <stddef.h>
#include <stdint.h>

#include "db/rows.h"
#include "util/map.h"

struct volume;
struct extent_list;

/* (Again) what the table says: after opening the store and after a rollback. */
int leftover_load(struct volume *v);
/* Open group. ino has none yet. */
int leftover_put(struct volume *v, const struct leftover *l);
/* Open group. Drop all that is left over of ino, if anything. */
int leftover_settle(struct volume *v, uint64_t ino);
/* The first block that is left over of ino. */
#define LEFTOVER_NONE (UINT64_MAX >> 1) /* the largest integer of the database */
uint64_t leftover_floor(struct volume *v, uint64_t ino);
/* Current rows of ino that are left over: give them the group in which they ended. */
void leftover_mark(struct volume *v, uint64_t ino, struct extent_list *rows);
/* Reap these inodes without a link (keys) by and by. Takes the map. */
void leftover_doom(struct volume *v, struct map *inodes);
/* Start the thread if there is work for it. */
void leftover_start(struct volume *v);
/* End the thread; what is left over stays so. Without the lock. */
void leftover_stop(struct volume *v);
/* Free the memory. */
void leftover_release(struct volume *v);

#endif
