/* SPDX-License-Identifier: MIT */
/*
 * driver: the commands that policies name, for one shipment. A command gets three files and makes a fourth; it runs
 * without any lock of the volume, so the merge that wants it is given up before anything lands, and done again with the
 * answer.
 *
 * A job is one file in one state of ours (inode and the group in which its bytes were born): if ours changed meanwhile,
 * the answer is of no use and a new job is made, for DRIVER_ROUNDS_MAX rounds at most; then both versions are kept, as
 * with every failure.
 *
 *      WANTED ──driver_jobs_run──► MERGED
 *                     └──────────► FAILED (why says what)
 *
 * The files lie in a directory of their own, for this user only, and go with the job. Who runs the command is handed in
 * (node/merge_command.h): sync/ makes no processes. Threads: the engine's.
 */
#ifndef TWINFS_SYNC_DRIVER_H
#define TWINFS_SYNC_DRIVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "util/err.h"

/* Larger versions are kept both: writing them out and in again would hold the link up for long. */
#define DRIVER_FILE_MAX_BYTES (UINT64_C(64) << 20)
/* Commands for one shipment, and rounds of them: with a program's time limit they bound how long a merge takes. */
#define DRIVER_JOBS_MAX 16u
#define DRIVER_ROUNDS_MAX 3u

struct driver {
	/* Run the command on the files base, ours and theirs in dir; its output goes to the file merged there. path is
	 * the file's in the volume. 0, or -errno with a text for people. Takes a bounded time. */
	int (*run)(void *ctx, const char *command, const char *dir, const char *path, struct err *err);
	void *ctx;
};

enum driver_file { DRIVER_BASE, DRIVER_OURS, DRIVER_THEIRS };

struct driver_job;
struct driver_jobs {
	const struct driver *driver;
	struct driver_job *list[DRIVER_JOBS_MAX];
	size_t n;
	unsigned rounds;
};

/* The job for this state of the file that is done, or NULL. */
struct driver_job *driver_job_find(const struct driver_jobs *jobs, uint64_t ino, uint64_t born);
/* A new one, with empty files; NULL: there are too many, or no place for its files. */
struct driver_job *driver_job_new(struct driver_jobs *jobs, uint64_t ino, uint64_t born, const char *command,
				  const char *path);
int driver_job_write(struct driver_job *job, enum driver_file which, const void *data, size_t len_bytes, uint64_t off);
void driver_job_fail(struct driver_job *job, const char *why);
/* How it ended, for people; lives as long as the job. */
const char *driver_job_why(const struct driver_job *job);
/* The merged file's path (lives as long as the job), NULL if the command failed. */
const char *driver_job_result(const struct driver_job *job);
/* Up to len bytes of a result; 0 at its end, -errno. */
ssize_t driver_read(const char *file, void *buf, size_t len_bytes, uint64_t off);

/* Is there a job that has not run? */
bool driver_jobs_waiting(const struct driver_jobs *jobs);
/* Run all that wait. Without the volume's lock. */
void driver_jobs_run(struct driver_jobs *jobs);
void driver_jobs_release(struct driver_jobs *jobs);

#endif
