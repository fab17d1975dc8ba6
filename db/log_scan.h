/* SPDX-License-Identifier: MIT */
/*
 * log_scan: what SQLite will find in a database's log (twinfs.db-wal), read without SQLite, which says nothing of it:
 * it takes the frames from the first on whose sums follow each other, up to the last that ends a commit, and ignores
 * the rest. So a byte that changed in the log makes commits vanish that were durable. Here that is seen, where it can
 * be told from what a power cut leaves:
 *
 * Behind the first frame that does not follow, a run of frames of this log that follow each other and end two commits
 * or more. Each transaction begins when the one before is flushed, and with it all before that; so of what was not yet
 * flushed there is one commit at most, and one that failed is overwritten by the next. (Of a single commit, or none,
 * behind the break nobody can say whether it had been durable.)
 *
 * And where the log's own head is damaged: frames that follow each other, of which the database has not all. A head is
 * written anew only when all is in the database.
 *
 * Format: https://www.sqlite.org/fileformat2.html#the_write_ahead_log. Files that are open by nobody else; reads only.
 */
#ifndef TWINFS_DB_LOG_SCAN_H
#define TWINFS_DB_LOG_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "util/map.h"

struct log_scan {
	struct map newest;   /* page -> number of the frame, from 1 on, that has it as of the last commit */
	uint32_t pages;      /* in the database as of then; 0: the log has no commit */
	uint64_t bad_frame;  /* commits were lost with this one (0: the log's head); only if lost_commits > 0 */
	uint64_t lost_commits; /* so many at least */
};

/* fd -1: there is no log. db_fd: the database. 0 or -errno. log_scan_release in any case. */
int log_scan(int fd, int db_fd, struct log_scan *out);
void log_scan_release(struct log_scan *s);
/* As log_scan, of the database at `path` and its log: how many commits were lost; bad_frame as above. 0 or -errno. */
int log_scan_lost(const char *path, uint64_t *lost_commits, uint64_t *bad_frame);
/* The page that a frame holds; DB_PAGE_BYTES. 0 or -errno. */
int log_scan_read(int fd, uint64_t frame, uint8_t *page);

#endif
