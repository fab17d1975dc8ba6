/* SPDX-License-Identifier: MIT */
/*
 * disk: the host's disk under a test program, for one directory (a store). It records what the program does to the
 * directory's files, tells what the disk may hold if power is lost at any moment of that, and lets calls fail.
 *
 * How
 *   A program that links tests/disk.o calls *its* open, pwrite, fdatasync, ftruncate, fallocate, unlink, rename … in
 *   place of the C library's, and so does SQLite in the same process: nothing that a store writes can go around it, and
 *   the product knows nothing of it. Files outside the directory, and all before disk_watch, go straight through. What
 *   is watched is not flushed for real: disk_power_cut decides what had been. It sets no room aside (fallocate but for
 *   holes: EOPNOTSUPP).
 *
 * What a power cut may leave (disk_power_cut)
 *   All that a file's last fdatasync or fsync covered. Of what was done to a file since: any part, write by write and
 *   torn at sectors of 512 bytes (so also any order), a write that was under way as rubbish, with or without the growth
 *   of the file. Names made, moved or removed since the directory's last fsync: each may have happened or not. A write
 *   never harms bytes beside it (SQLite assumes as much). Of a hole that was punched each block may be gone or not.
 *
 * Faults
 *	disk_fail(&(struct disk_fault){ .calls = DISK_WRITE, .file = "image", .nth = 3, .error = ENOSPC });
 *   The third write of `image` after this call fails with ENOSPC, and all later ones (times: how many do, 0: for ever).
 *   short_bytes: the call takes so many bytes and succeeds, the next one fails. disk_fail(NULL): the disk is well
 *   again. disk_calls says how many calls there were, so that a test can fail each of them in turn.
 *
 * One watched directory, without folders in it, opened, made and cut by one thread; others may read, write and flush.
 */
#ifndef TWINFS_TESTS_DISK_H
#define TWINFS_TESTS_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* From here on all in `dir` (an absolute path without links) is recorded; what is in there now is durable. */
void disk_watch(const char *dir);
/* Stop, and forget what was recorded. */
void disk_unwatch(void);

/* ---- power cuts ---- */

/* So far: each moment between two of these is one at which power may be lost. */
size_t disk_events(void);
/* Is event n one that makes something durable? */
bool disk_event_is_sync(size_t n);
/* For a failing test: what event n was. */
void disk_event_text(size_t n, char *out, size_t cap_bytes);

/* Make `dir` (existing; its files go) what the disk may hold when power is lost after the first n events. The same
 * seed, the same outcome. Cheap if n does not fall from call to call. */
void disk_power_cut(size_t n, uint64_t seed, const char *dir);

/* Remove all files in `dir`, unseen. */
void disk_clear(const char *dir);

/* A disk that lies, to show that a rule is needed: flushes of files whose name ends so (NULL: none; "/": of the
 * directory) do nothing, from that event on. Before the first disk_power_cut. */
void disk_lies(const char *file, size_t from);

/* ---- faults ---- */

enum { DISK_READ = 1, DISK_WRITE = 2, DISK_SYNC = 4, DISK_OPEN = 8, DISK_SIZE = 16 /* ftruncate */, DISK_NAME = 32 };
struct disk_fault {
	unsigned calls;     /* of these kinds */
	const char *file;   /* whose name ends so; NULL: any; lives as long as the fault */
	uint64_t nth;       /* 1: the next one */
	uint64_t times;
	int error;
	size_t short_bytes; /* of DISK_WRITE */
};
void disk_fail(const struct disk_fault *fault);
/* Between disk_pause(true) and disk_pause(false) nothing fails, and calls do not count. */
void disk_pause(bool paused);
/* Calls that the fault looked at so far, failed or not. */
uint64_t disk_calls(void);

#endif
