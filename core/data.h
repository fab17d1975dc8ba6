/* SPDX-License-Identifier: MIT */
/*
 * data: the bytes of files, as extents on the image. Rules as core/tree.h (lock held, open group to write). A block
 * that a committed group can see is never overwritten: a write to a block born in the open group goes in place,
 * otherwise to new blocks. Freed blocks are reused only after the commit that dropped them. Holes have no extent and
 * read as zeros. Bytes past the end of file within the last block are zero in the image (so that growing needs no
 * clean-up).
 */
#ifndef TWINFS_CORE_DATA_H
#define TWINFS_CORE_DATA_H

#include "core/tree.h"
#include "util/map.h"

/* Reads exactly len_bytes; zeros in holes and beyond the view's end of file. -EIO on checksum mismatch. Does I/O
 * under the lock. */
int data_read(struct volume *v, uint64_t ino, struct view view, void *buf, size_t len_bytes, uint64_t off);
/* The same, whatever the view says about the size: beyond it what the view's blocks have there. For who knows the size
 * of the peer's version, which the view has not where we cut or grew the file in the very group in which it came. */
int data_read_beyond(struct volume *v, uint64_t ino, struct view view, void *buf, size_t len_bytes, uint64_t off);
/* Writes and grows the inode's size if needed (row updated: size, cborn, corigin; times are the caller's). */
int data_write(struct volume *v, uint64_t ino, const void *buf, size_t len_bytes, uint64_t off, enum origin origin);
/* Does the disk give anything at all? If not, what cannot be read is not lost yet. */
bool data_disk_answers(struct volume *v);
/* These bytes are lost: each block that they touch becomes one that nobody can read (-EIO) until all of it is written
 * anew. Grows the file as data_write does. While the peer's changes are applied, a damaged block that one of them wants
 * to change a part of is lost in this way; otherwise it is -EIO to whoever wants that. */
int data_lose(struct volume *v, uint64_t ino, uint64_t off, uint64_t len_bytes, enum origin origin);
/* Sets the size; what is cut off goes to history; the tail of the last block is zeroed. */
int data_truncate(struct volume *v, uint64_t ino, uint64_t size_bytes, enum origin origin);
/* Make a range a hole (whole blocks dropped, edges zeroed). Size unchanged. */
int data_punch(struct volume *v, uint64_t ino, uint64_t off, uint64_t len_bytes, enum origin origin);
/* First data (or hole) at or after off in the view: offset, or -ENXIO when there is none before the end of file
 * (hole: the end counts). */
int64_t data_seek(struct volume *v, uint64_t ino, struct view view, uint64_t off, bool hole);
/* The first offset >= off that may have bytes in the view, whatever the file's size: all before it is zeros.
 * UINT64_MAX: there is none. Lock held. */
int data_next(struct volume *v, uint64_t ino, struct view view, uint64_t off, uint64_t *next);
/* The next block at or after off, but before end, that two views do not take from the same place (its bytes are not
 * looked at): *next is where it begins, or end. Lock held. */
int data_differ(struct volume *v, uint64_t ino, struct view a, struct view b, uint64_t off, uint64_t end,
                uint64_t *next);
/* How far the view goes on in the same way from off, at most len_bytes: *run_bytes > 0 of data or of *hole. It may stop
 * short of a change (one look at the map: the cost does not follow the size of the file). Beyond the end of file all is
 * hole. len_bytes > 0. */
int data_run(struct volume *v, uint64_t ino, struct view view, uint64_t off, uint64_t len_bytes, bool *hole,
             uint64_t *run_bytes);

/* How many bytes may still be written. */
uint64_t data_room(struct volume *v);

/*
 * Staging: bytes of a shipment are put on the image while it arrives, without a group and outside the lock's long
 * holds, and become part of files in one step later. A `stage` belongs to one thread. Staged blocks are free again
 * after a crash.
 */
struct stage;
struct stage *stage_new(struct volume *v);
/* Any order, any size; later pieces win where they overlap. off and len as in the file. Takes the lock itself,
 * briefly: call WITHOUT it. hole: the range is a hole (buf NULL). -ENOSPC, -EIO. */
int stage_put(struct stage *s, uint64_t ino, uint64_t off, const void *buf, size_t len_bytes);
int stage_put_hole(struct stage *s, uint64_t ino, uint64_t off, uint64_t len_bytes);
/* The peer's disk has lost these bytes: each block that they touch becomes one that nobody can read. */
int stage_put_lost(struct stage *s, uint64_t ino, uint64_t off, uint64_t len_bytes);
/* fdatasync of what was staged (call without the lock, before apply_begin), so that the apply's commit has little
 * left to flush. After a flush that failed, this one or another, nothing that is staged can be had any more: -EIO. */
int stage_sync(struct stage *s);
/* Lock held, group open: make everything staged for src_ino part of dst_ino (usually the same). Whole blocks are
 * adopted without copying, edges are merged. Grows the size if needed. May be called once for an ino in a group. 0 if
 * nothing is staged for it. What would be merged with a damaged block of dst_ino is lost with it: that block stays
 * unreadable. */
int stage_adopt(struct stage *s, uint64_t src_ino, uint64_t dst_ino, enum origin origin);
/*
 * The same of the peer's bytes, where the file has some of ours that the peer does not know. A block that is changed in
 * part gets two versions then: the peer's, of what `below` gives for it and the staged bytes, and at once, over it,
 * ours, of what the file has there and the staged bytes. So the peer's view (tree.h) is what the peer has, and no mix.
 * below: 0, or -EIO: it is not to be had, and nobody can read the peer's version of the block.
 */
typedef int (*stage_below_fn)(void *ctx, void *block, uint64_t off);
int stage_adopt_merged(struct stage *s, uint64_t src_ino, uint64_t dst_ino, stage_below_fn below, void *ctx);
/* The group in which it was adopted is durable; or not, and nothing of it happened: then all of it is staged still. */
void stage_settle(struct stage *s, bool landed);
/* Read staged bytes over a base already in buf: overlays the pieces of ino that fall into [off, off+len). Lock held. */
int stage_overlay(struct stage *s, uint64_t ino, void *buf, size_t len_bytes, uint64_t off);
/* The first offset >= off where something other than a hole is staged for ino; UINT64_MAX: there is none. Lock held. */
uint64_t stage_next(struct stage *s, uint64_t ino, uint64_t off);
typedef int (*stage_range_fn)(void *ctx, uint64_t off, uint64_t len_bytes);
int stage_ranges(struct stage *s, uint64_t ino, stage_range_fn fn, void *ctx); /* coalesced, ascending */
uint64_t stage_bytes(const struct stage *s);
/* A mark for each file of which something is staged from here on for the first time; what it means is the caller's. */
void stage_mark(struct stage *s, uint64_t group, uint64_t id);
/* Move what `from` has of the file into `to`, which has nothing of it, with its mark. Without the lock. -ENOENT: it has
 * nothing. After another error what it had is gone. */
int stage_take(struct stage *to, struct stage *from, uint64_t ino);
/* Each file with its mark, in no particular order. fn: 0 goes on; it must change nothing here. */
typedef int (*stage_file_fn)(void *ctx, uint64_t ino, uint64_t group, uint64_t id);
int stage_files(struct stage *s, stage_file_fn fn, void *ctx);
/* Is what is staged for it in the plan that is being written? landing_put_content says so itself. */
void stage_plan(struct stage *s, uint64_t ino, bool planned);
/* The plan holds: the blocks of files that are in it are its own now, and these files have nothing staged any more.
 * but: blocks of stage_keep_block that it has not any more; stage_drop_kept is for them. */
void stage_taken(struct stage *s, const struct map *but);
/* Without the lock: blocks that were written for a plan alone are free. */
void stage_drop_kept(struct stage *s);
/* Without the lock: the plan is given up; nothing is in it, and what was written for it alone is dropped. */
void stage_give_up_plan(struct stage *s);
/* Frees what was not adopted. Call without the lock. */
void stage_free(struct stage *s);

/*
 * So that a later run can go on with it: note in a file of the store's directory what was staged since the last call.
 * All that has the same `base` (the caller's; below 2^63) is noted together; another one forgets what was. Nothing is
 * flushed: the process may be killed; what a power cut leaves is looked at again. An error has no consequence but that
 * it is not noted.
 */
int stage_save(struct stage *s, uint64_t base);
/* What was noted for this base and is still there, each block verified against its checksum; NULL: nothing. */
struct stage *stage_load(struct volume *v, uint64_t base);
void stage_forget(struct volume *v);

#endif
