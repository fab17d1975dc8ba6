/* SPDX-License-Identifier: MIT */
/*
 * verify: do both sides have the same? A comparison of the two trees by digests (core/digest.h), at one group of each,
 * while both go on, and nothing is read from the image. Each question is answered in the engine's thread: what is to be
 * sent waits for that, some ms, but of files of terabytes as long as their checksums take to be gone through.
 *
 * The moment. Who asks pins a group of its own of which a shipment has just been cut, and says so when that is out
 * (MARK). The other has then applied all up to there; if it has changed nothing that the first did not know when it
 * cut, both trees are the same just then, and it pins its own (AT). Else it says BUSY, and does the same the other
 * way round, with its own next shipment; and who asks tries again. So it needs a moment in which one of the two is
 * quiet for the time of a message: where both are written to all the time it is said after MOMENT_MS.
 *
 *   a mark:   none -wanted-> WANTED -a shipment is cut-> CUT -it is out-> MARKED -AT-> the pin is good, -BUSY-> none
 *   asking:   none -begin-> MOMENT -AT, or the other's MARK is answered with AT-> AT -the asker takes the pin-> TAKEN
 *   serving:  none -MARK is answered with AT, or the own one is-> pinned
 *             -END, another, the connection's end, IDLE_MS without a question-> none
 *
 * Then who asks goes through its own ids, a thousand or so at a time, and says one sum of each lot: SAME, or the other
 * lists what it has, and what differs is looked at one by one.
 *
 * Threads: a run belongs to one thread, without locks; it waits there. All else of struct verify is called by the
 * engine's thread. Between them there is a lock, innermost but for the volume's, which is never taken under it.
 */
#ifndef TWINFS_SYNC_VERIFY_H
#define TWINFS_SYNC_VERIFY_H

#include "core/past.h"
#include "sync/record.h"
#include "util/buf.h"

struct verify;

struct verify *verify_new(struct volume *v);
void verify_free(struct verify *f);
/* Called by who asks, when there is something to be pulled. Before the first run. */
void verify_set_kick(struct verify *f, void (*kick)(void *ctx), void *ctx);

/* ---- the engine's thread */

/* A question or an answer. -EBADMSG with a text. */
int verify_receive(struct verify *f, const struct rec_verify *r, uint64_t now_ms, struct err *err);
/* Is a shipment wanted, or a moment in which all is out? */
bool verify_wants_mark(struct verify *f);
/* A shipment was cut: all of ours up to `group`, made knowing the peer's up to `seen`. Then: its last frame is out. */
void verify_cut(struct verify *f, uint64_t group, uint64_t seen);
void verify_sent(struct verify *f);
/* There is nothing to be cut, since our group `sent` was; if that is still so. */
void verify_all_is_out(struct verify *f, uint64_t sent);
/* What is to be sent, whole frames, is appended. */
void verify_pull(struct verify *f, struct buf *out);
void verify_tick(struct verify *f, uint64_t now_ms);
/* The connection is there no more. */
void verify_down(struct verify *f);

/* ---- who asks */

struct verify_result {
	uint64_t group, peer_group; /* the moment; 0: it has not come yet */
	uint64_t inodes, names;     /* looked at here */
	uint64_t total;             /* of both, about */
	uint64_t differences;
	/* Told in words, the first VERIFY_TOLD_MAX: path (malloc'd, or NULL) and what differs. */
	struct verify_told {
		char *path, *what;
	} *told;
	size_t n_told;
};
#define VERIFY_TOLD_MAX 1000u

struct verify_run;

/* id: not 0, and of no other run. -EBUSY: one is under way. */
int verify_begin(struct verify *f, uint64_t id, struct verify_run **out, struct err *err);
/* Some of it, waiting for at most wait_ms; now_ms as of any steady clock. 0: go on; 1: it is done; -errno with a text:
 * it cannot be. `f` is the peer's of now: if that is another than the run was begun with, -ENOTCONN. */
int verify_step(struct verify_run *r, struct verify *f, unsigned wait_ms, uint64_t now_ms, struct err *err);
const struct verify_result *verify_so_far(const struct verify_run *r);
/* f: as above, or NULL if there is none. */
void verify_end(struct verify_run *r, struct verify *f);

#endif
