/* SPDX-License-Identifier: MIT */
/*
 * hold: who keeps a volume's lock for how long. Private to core/.
 *
 * With TWINFS_DEBUG=holds each hold of HOLD_TOLD_MS and more has a line: how long it took, how much of it was CPU time,
 * how much a commit; and where the lock was taken, as an offset for addr2line(1). What is neither is
 * a thread that waited for a CPU, or for the disk elsewhere. So has each wait of HOLD_WAITED_MS and more. Without it: a
 * branch.
 */
#ifndef TWINFS_CORE_HOLD_H
#define TWINFS_CORE_HOLD_H

#include <stdbool.h>
#include <stdint.h>

#define HOLD_TOLD_MS 5u
#define HOLD_WAITED_MS 20u

struct hold {
	bool told;
	const void *by;
	uint64_t waited_us, since_us, cpu_us, commit_us;
};

void hold_init(struct hold *h);
/* Before the lock is asked for. */
uint64_t hold_asked(const struct hold *h);
/* It was taken by the caller of the function whose return address this is. asked_us: as hold_asked said, or 0. */
void hold_begin(struct hold *h, const void *by, uint64_t asked_us);
/* It is about to be given up. */
void hold_end(const struct hold *h);
/* Around what counts as the commit: end gets what begin returned. */
uint64_t hold_commit_begin(const struct hold *h);
void hold_commit_end(struct hold *h, uint64_t begun_us);

#endif
