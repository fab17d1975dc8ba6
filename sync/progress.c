/* SPDX-License-Identifier: MIT */
#include "sync/progress.h"

#include "util/util.h"

/* Taking in an entry: 40 to 190 us were measured, by what it is (docs/performance.md). */
#define LAND_ENTRY_US 100u

static int64_t to_seconds(uint64_t ms)
{
	return (int64_t)((ms + 999) / 1000);
}

struct progress progress_of(const struct engine_status *e, uint64_t now_ms)
{
	uint64_t elapsed_ms = now_ms > e->since_ms ? now_ms - e->since_ms : 1;
	uint64_t still_ms = now_ms > e->moved_ms ? now_ms - e->moved_ms : 0;
	uint64_t landing_ms = e->unlanded_entries * LAND_ENTRY_US / 1000;
	struct progress p = { .done_bytes = e->send_done_bytes + e->recv_done_bytes, .eta_s = -1 };

	p.total_bytes = MAX(p.done_bytes, e->send_total_bytes + e->recv_total_bytes);
	p.bytes_per_s = (uint64_t)((double)p.done_bytes / (double)elapsed_ms * 1000.0);
	if (p.done_bytes == p.total_bytes) {
		/* All is across. When it takes longer than most do nobody knows how long it will. */
		if (e->unlanded_entries == 0)
			p.eta_s = 0;
		else if (still_ms <= landing_ms)
			p.eta_s = MAX(to_seconds(landing_ms - still_ms), 1);
	} else if (p.bytes_per_s > 0) {
		p.eta_s = (int64_t)((p.total_bytes - p.done_bytes + p.bytes_per_s - 1) / p.bytes_per_s) +
			  (int64_t)(landing_ms / 1000);
	}
	return p;
}
