/* SPDX-License-Identifier: MIT */
/*
 * heal: what is damaged here (core/damage.h) is asked of the peer, and what is damaged there is answered. A block is
 * named by its file, its place there, and its checksum: whoever has bytes of that sum for it, now or in history, has
 * the bytes. Who gets them looks at the sum itself before it writes them.
 *
 * HEAL_AHEAD questions at most are on their way, and each has one answer, on the same connection.
 *
 * Threads: the engine's alone. What is read and flushed for a frame takes the disk's time for a block.
 */
#ifndef TWINFS_SYNC_HEAL_H
#define TWINFS_SYNC_HEAL_H

#include "core/volume.h"
#include "sync/record.h"
#include "util/buf.h"

#define HEAL_AHEAD 16u

struct heal;

struct heal *heal_new(struct volume *v);
void heal_free(struct heal *h);
/* The peer said HELLO; and the connection is there no more. */
void heal_up(struct heal *h);
void heal_down(struct heal *h);
/* A question or an answer. -EBADMSG with a text. */
int heal_receive(struct heal *h, const struct rec_heal *r, struct err *err);
/* What is to be sent, whole frames, is appended. */
void heal_pull(struct heal *h, struct buf *out);

#endif
