/* SPDX-License-Identifier: MIT */
/*
 * log_sums: that what is read from a database's log is what was written to it. SQLite compares its frames' own sums
 * once, when a database is opened after a crash; after that a page is read from the log, or moved from there into the
 * database, as it comes from the disk. So the sum of each frame's page is remembered here, in memory, from the moment
 * in which it is written (or read and compared by SQLite, frame by frame, while a log is recovered) for as long as
 * anybody in this process has the log open: 16 bytes for each frame of 4120.
 *
 * Used by the VFS of db/page_sums.h. Any thread: the connections of a process share the one of a path.
 */
#ifndef TWINFS_DB_LOG_SUMS_H
#define TWINFS_DB_LOG_SUMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log_sums;

/* Of the log at this path; made if nobody has it open. */
struct log_sums *log_sums_open(const char *path);
void log_sums_close(struct log_sums *s);

/* Around a write: from the first on nobody knows what is there, from the second (if it went well) it is these bytes. */
void log_sums_writes(struct log_sums *s, uint64_t off, size_t len_bytes);
void log_sums_wrote(struct log_sums *s, uint64_t off, const void *bytes, size_t len_bytes);
/* These were read: are they what was written, as far as is known? If not, *page is which page of the database they are.
 * Where others may write meanwhile (who reads by SQLite keeps them from it) a mismatch is to be asked again. */
bool log_sums_match(struct log_sums *s, uint64_t off, const void *bytes, size_t len_bytes, uint32_t *page);
/* Frame `number`, from 1 on: which page it has, and where that is; false: nothing is known of it. */
bool log_sums_frame(struct log_sums *s, uint64_t number, uint32_t *page, uint64_t *off);
/* How many frames anything may be known of. */
uint64_t log_sums_frames(struct log_sums *s);

#endif
