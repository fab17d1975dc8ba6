/* SPDX-License-Identifier: MIT */
/*
 * landing: a large set of the peer's changes becomes true in a moment, and is carried out bit by bit.
 *
 * To put a hundred thousand changed entries in place takes seconds, and nobody should wait for the volume so long; nor
 * should anybody ever see a part of them. So they are first written down as a *plan* (db/landing_rows.h): for each
 * inode, link and xattr what it shall be. That is done in steps, between which others go on; nobody looks at it. Then
 * one short group says that the plan holds (landing_hold). From then on everybody sees its outcome: whoever looks at an
 * inode, a name or a directory first carries out what the plan has for just that (landing_need_*), and the reaper
 * (core/leftover.h) carries out the rest, a few inodes at a time. What is carried out leaves the plan in the same
 * group, so a crash goes on where it was.
 *
 *   none --landing_begin, _put_*--> written --landing_hold--> holds --all is carried out--> none
 *                                     '-----landing_give_up, or the next opening----> none
 *
 * Rules
 *   - Between writing and holding nothing may change that the plan was judged by. All that is changed here goes through
 *     changes_touch*: from landing_watch on that is noted, and whoever wrote the plan compares.
 *   - What is carried out is committed before the lock is given up: no group holds it and a local change made after it.
 *     Else the peer's version of something, a base of merges, could be written over in the very group in which it came.
 *   - Whoever does not ask for each thing it looks at takes the lock with volume_lock, which waits until no plan holds.
 *     That is everybody but the filesystem's own calls. So nothing is cut, merged, pinned or counted meanwhile, and
 *     nobody can tell that the groups in which the plan is carried out are later than that in which it began to hold.
 *   - The bytes of a plan are blocks of the image that are complete and durable when it begins to hold. Carrying out
 *     takes no room: it cannot be refused.
 *   - An inode is carried out with all its links. A name that is another link's is given up by that one, which is
 *     carried out too; a directory in which something is put comes first, one that goes after what is in it. So that
 *     nobody waits for all of that, a directory whose name another one gets is in .twinfs until it is empty.
 *
 * The volume's lock is held by the caller, but where said.
 */
#ifndef TWINFS_CORE_LANDING_H
#define TWINFS_CORE_LANDING_H

#include "core/data.h"
#include "core/tree.h"

/* ---- who looks ---- */

/* Carry out what the plan has for it. 0, or -errno: then it must not be looked at. Cheap while no plan holds. May end
 * the open group: before anything is changed in it. */
int landing_need_inode(struct volume *v, uint64_t ino);
/* Of several, with one commit. */
int landing_need_inodes(struct volume *v, const uint64_t *inodes, size_t n);
/* The name, the directory that it is in, and what it leads to. */
int landing_need_name(struct volume *v, uint64_t parent, const char *name);
/* Is nothing of the plan left in the directory? */
bool landing_dir_is_ready(struct volume *v, uint64_t dir);
/* Takes the lock (volume_lock_now), when all entries of the directory are carried out; that is done in steps. The lock
 * is held when it returns, whatever it returns. */
int landing_lock_dir(struct volume *v, uint64_t dir);
/* Likewise, when landing_need_inode is done; in steps where it is a directory that goes, after what is in it. */
int landing_lock_inode(struct volume *v, uint64_t ino);

/* Without the lock: a few inodes of the plan. Is there more of it, in a volume that can? */
bool landing_step(struct volume *v);
/* Without the lock: does a plan hold that volume_lock would wait for? */
bool landing_holds(struct volume *v);
/* Does a plan hold? Look again, after a rollback. landing_open, when the store is opened, drops one that was never
 * finished too. */
void landing_load(struct volume *v);
int landing_open(struct volume *v);

/* ---- who lands ---- */

/* Fewer entries than these are landed at once: they take less than others notice. */
#define LANDING_LEAST 1000u
size_t landing_least(const struct volume *v);

/* The caller begins to judge and to write a plan; it gives the lock up by landing_breathe and landing_pause only, until
 * it has called landing_look_away. What is changed here is noted from now on, until landing_unwatch. -errno: the last
 * plan cannot be carried out just now. */
int landing_watch(struct volume *v);
void landing_look_away(struct volume *v);
void landing_unwatch(struct volume *v);
/* As after landing_watch, until landing_look_away: it looks once more. */
void landing_look_again(struct volume *v);
/* Of what is noted from now on there is a second list, for who works something out ahead: inodes -> 1 << enum entity
 * of what of them, or more; links -> what they lead to. False: too much, or a group was lost; or nothing was
 * marked. */
void landing_mark(struct volume *v);
bool landing_marked(struct volume *v, const struct map **inodes, const struct map **links);
/* Nothing is noted while it rests: what the caller's own group changes. */
void landing_rest(struct volume *v, bool rests);
/* What was changed since: entities of inodes and xattrs by inode; links, and what they lead to. False: too much to be
 * noted. */
bool landing_watched(struct volume *v, const struct map **inodes, const struct map **links);

/* Between two of many looks: now and then gives the lock up for others. While nobody watches it does nothing. -errno,
 * from then on always: the work is to be given up. */
int landing_breathe(struct volume *v);
/* Gives it up now, also where a group is open in which something was written down. Of that so much at most is committed
 * at once that nobody waits for it. */
int landing_pause(struct volume *v);
/* What those two returned last, 0 while others were let in well. */
int landing_given_up(struct volume *v);

/* One inode of the peer's, at once; open group. make: nothing if it is there. set: those of LAND_MODE, _OWNER and
 * _TIMES that are in `fields`. -EBADMSG: it is there as something of another type. */
int landing_make(struct volume *v, const struct landing_inode *p);
int landing_set(struct volume *v, const struct landing_inode *p, uint64_t ino, uint32_t fields, enum origin origin);

/* Write a plan down; watch on. Each opens a group if none is open, in which nobody is told of anything. begin: what was
 * written before goes. */
int landing_begin(struct volume *v);
int landing_put_inode(struct volume *v, const struct landing_inode *in);
/* from_parent and turn are set here. mode: of the child. */
int landing_put_link(struct volume *v, struct landing_link *l, uint32_t mode);
int landing_put_xattr(struct volume *v, uint64_t ino, const char *key, const void *value, size_t len_bytes);
/*
 * All that is staged for in->ino, on top of what is here, of size_here_bytes (0: it is not here). The stage keeps its
 * blocks until it is told that they were taken (stage_taken), after the group in which the plan begins to hold is
 * durable. -ENOTSUP: it must be landed at once (a block that it wants a part of is damaged, or it stages bytes beyond
 * its end). May write to the image: stage_sync comes after it.
 */
int landing_put_content(struct volume *v, struct stage *s, const struct landing_inode *in, uint64_t size_here_bytes);
/* Was it made here since the watch began? */
bool landing_is_new(struct volume *v, uint64_t ino);
/* Does the plan give somebody this name? */
bool landing_gives_name(struct volume *v, uint64_t parent, const char *name, size_t name_len);
/* What is written of the inode, of its links and its bytes, or of the link alone, goes again: something else becomes of
 * it. Group open. but_end: a directory that goes goes still. blocks: those that its bytes have are added as keys. */
int landing_leave_out(struct volume *v, uint64_t ino, bool but_end, struct map *blocks);
int landing_leave_link(struct volume *v, uint64_t link);
/* What was written is dropped, now or by the next landing_begin. */
void landing_give_up(struct volume *v);
/* Between volume_apply_begin and _commit, at the end: the plan holds when that is durable. */
int landing_hold(struct volume *v);

#endif
