/* SPDX-License-Identifier: MIT */
/*
 * damage: blocks of the image that were found damaged, and what becomes of them: somebody may have the bytes that their
 * checksum is of (the peer; core does not know who). Private to core/ but for what whoever helps calls.
 *
 *   none -met-> WANTED -taken-> ASKED -mended, or it is damaged no more-> MENDED -told-> none
 *                 ^                |'--not to be had-> REFUSED -met-> WANTED
 *                 '-nobody helps---'
 *
 * At most DAMAGE_MAX are remembered, in memory only: what is met again is noted again. A block that is lost for certain
 * (data_lose) is not: no bytes have its checksum.
 *
 * Mending writes the bytes in the block's own place. No row changes, so it is in no group; a crash leaves the block
 * damaged, or mended. A row has the block under the volume's lock, or nothing is written: it may have been freed since,
 * and be another file's.
 *
 * Threads: any. The lock here comes behind the volume's; what is kicked may take its own behind that.
 */
#ifndef TWINFS_CORE_DAMAGE_H
#define TWINFS_CORE_DAMAGE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct volume;

#define DAMAGE_MAX 256u
/* Who meets a damaged block waits so long for its bytes; of those who read files so many at once: the others, and all
 * while nobody helps, get their error at once. */
#define DAMAGE_WAIT_MS 2000u
#define DAMAGE_READERS 2u

struct damaged {
	uint64_t ino, block; /* of the file */
	uint64_t phys, sum;
};

struct damage {
	pthread_mutex_t lock;
	pthread_cond_t settled; /* monotonic clock */
	bool helped, still;
	unsigned requests; /* that wait */
	void (*kick)(void *ctx);
	void *kick_ctx;
	size_t next; /* where a place is looked for first */
	struct damage_item {
		enum { DAMAGE_NONE, DAMAGE_WANTED, DAMAGE_ASKED, DAMAGE_MENDED, DAMAGE_REFUSED } state;
		struct damaged d;
	} items[DAMAGE_MAX];
};

void damage_init(struct damage *d);
void damage_destroy(struct damage *d);

/* ---- who finds it */

/* The block does not match. With or without the volume's lock. */
void damage_met(struct volume *v, const struct damaged *d);
/*
 * Without the volume's lock: wait for what was met in these blocks of the file. 1: none of them is damaged now, which
 * is said once: who meets something there after that meets what nobody mends. 0: some is, and cannot be had (now:
 * nobody helps, or nobody who is kicked). -ETIMEDOUT. is_request: so many of these at most wait, and none while
 * requests are held still (volume_hold_still waits for them, and holds up who helps): 0 at once.
 */
int damage_wait(struct volume *v, uint64_t ino, uint64_t first, uint64_t end, bool is_request, unsigned wait_ms);
void damage_hold_still(struct volume *v, bool still);

/* ---- who helps; all without the volume's lock */

/* Called when something is wanted, and under locks: it must not call back. NULL: no more, and none is in it. */
void damage_set_kick(struct volume *v, void (*kick)(void *ctx), void *ctx);
/* Somebody helps now, or does no more: then what it was asked for is wanted again. */
void damage_helped(struct volume *v, bool helped);
/* Up to max blocks that are wanted; each must be answered by damage_mend or damage_refused. */
size_t damage_take(struct volume *v, struct damaged *out, size_t max);
/* These are its bytes. 0: it is damaged no more (also if it is somebody else's by now, which is left alone). -EBADMSG:
 * they are not, and nothing was written. -EIO and the like: the disk does not take them. */
int damage_mend(struct volume *v, const struct damaged *d, const void *bytes);
void damage_refused(struct volume *v, const struct damaged *d);
/* For somebody else's: bytes of that sum that this block of the file has here, or had. -ENOENT: no such. */
int damage_lend(struct volume *v, uint64_t ino, uint64_t block, uint64_t sum, void *bytes);

#endif
