/* SPDX-License-Identifier: MIT */
/*
 * progress: how long until a backlog is through, by what crossed so far. What has crossed is not there yet: the
 * receiver takes a shipment in as one group when all of it is there, and that is counted too. Pure; now_ms is of the
 * clock that drives the engine.
 */
#ifndef TWINFS_SYNC_PROGRESS_H
#define TWINFS_SYNC_PROGRESS_H

#include "sync/engine.h"

struct progress {
	uint64_t done_bytes, total_bytes, bytes_per_s;
	int64_t eta_s; /* -1: it cannot be told */
};
struct progress progress_of(const struct engine_status *e, uint64_t now_ms);

#endif
