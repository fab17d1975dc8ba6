/* SPDX-License-Identifier: MIT */
#include "sync/driver.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/log.h"
#include "util/util.h"

struct driver_job {
	uint64_t ino, born;
	enum { JOB_WANTED, JOB_MERGED, JOB_FAILED } state;
	char *command, *path, *dir, *result;
	char why[128];
};

static const char *const files[] = { [DRIVER_BASE] = "base", [DRIVER_OURS] = "ours", [DRIVER_THEIRS] = "theirs" };
#define RESULT_FILE "merged"

struct driver_job *driver_job_find(const struct driver_jobs *jobs, uint64_t ino, uint64_t born)
{
	for (size_t i = 0; i < jobs->n; i++)
		if (jobs->list[i]->ino == ino && jobs->list[i]->born == born && jobs->list[i]->state != JOB_WANTED)
			return jobs->list[i];
	return NULL;
}

static char *job_file(const struct driver_job *job, const char *name)
{
	return xasprintf("%s/%s", job->dir, name);
}

static void job_free(struct driver_job *job)
{
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		char *file = job_file(job, files[i]);

		unlink(file);
		free(file);
	}
	unlink(job->result);
	if (rmdir(job->dir) != 0)
		log_warn("cannot remove %s: %s", job->dir, strerror(errno));
	free(job->command);
	free(job->path);
	free(job->dir);
	free(job->result);
	free(job);
}

/* Empty files, so that a command always finds three. */
static int make_files(struct driver_job *job)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < ARRAY_LEN(files); i++)
		rc = driver_job_write(job, (enum driver_file)i, "", 0, 0);
	return rc;
}

struct driver_job *driver_job_new(struct driver_jobs *jobs, uint64_t ino, uint64_t born, const char *command,
				  const char *path)
{
	const char *tmp = getenv("TMPDIR");
	struct driver_job *job;
	char *dir;

	if (jobs->n == DRIVER_JOBS_MAX || jobs->rounds == DRIVER_ROUNDS_MAX)
		return NULL;
	dir = xasprintf("%s/twinfs-merge.XXXXXX", tmp && *tmp == '/' ? tmp : "/tmp");
	if (!mkdtemp(dir)) { /* 0700 */
		log_warn("no place for the files of a merge command: %s: %s", dir, strerror(errno));
		free(dir);
		return NULL;
	}
	job = xcalloc(1, sizeof(*job));
	job->ino = ino;
	job->born = born;
	job->command = xstrdup(command);
	job->path = xstrdup(path ? path : "");
	job->dir = dir;
	job->result = job_file(job, RESULT_FILE);
	if (make_files(job) != 0)
		driver_job_fail(job, "policy command: its files could not be made");
	return jobs->list[jobs->n++] = job;
}

int driver_job_write(struct driver_job *job, enum driver_file which, const void *data, size_t len_bytes, uint64_t off)
{
	char *file = job_file(job, files[which]);
	int fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600), rc = fd < 0 ? -errno : 0;
	const uint8_t *p = data;

	while (rc == 0 && len_bytes > 0) {
		ssize_t n = pwrite(fd, p, len_bytes, (off_t)off);

		if (n < 0) {
			rc = errno == EINTR ? 0 : -errno;
			continue;
		}
		p += n;
		off += (uint64_t)n;
		len_bytes -= (size_t)n;
	}
	if (fd >= 0)
		close(fd);
	free(file);
	return rc;
}

void driver_job_fail(struct driver_job *job, const char *why)
{
	job->state = JOB_FAILED;
	snprintf(job->why, sizeof(job->why), "%s", why);
}

const char *driver_job_why(const struct driver_job *job)
{
	return job->why;
}

const char *driver_job_result(const struct driver_job *job)
{
	return job->state == JOB_MERGED ? job->result : NULL;
}

ssize_t driver_read(const char *file, void *buf, size_t len_bytes, uint64_t off)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t n;

	if (fd < 0)
		return -errno;
	do
		n = pread(fd, buf, len_bytes, (off_t)off);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		n = -errno;
	close(fd);
	return n;
}

bool driver_jobs_waiting(const struct driver_jobs *jobs)
{
	for (size_t i = 0; i < jobs->n; i++)
		if (jobs->list[i]->state == JOB_WANTED)
			return true;
	return false;
}

static void job_run(const struct driver *driver, struct driver_job *job)
{
	struct err err = ERR_INIT;
	struct stat st;
	int rc = driver->run(driver->ctx, job->command, job->dir, job->path, &err);

	if (rc == 0 && (lstat(job->result, &st) != 0 || !S_ISREG(st.st_mode)))
		rc = err_set(&err, -ENOENT, "it left no output");
	if (rc == 0 && (uint64_t)st.st_size > DRIVER_FILE_MAX_BYTES)
		rc = err_set(&err, -EFBIG, "its output is too large");
	if (rc == 0) {
		job->state = JOB_MERGED;
		snprintf(job->why, sizeof(job->why), "policy command: merged by it");
		return;
	}
	log_warn("%s: the merge command \"%s\" failed: %s; both versions are kept", job->path, job->command,
	         err_text(&err));
	job->state = JOB_FAILED;
	snprintf(job->why, sizeof(job->why), "policy command failed: %.90s", err_text(&err));
}

void driver_jobs_run(struct driver_jobs *jobs)
{
	assert(jobs->driver->run);
	for (size_t i = 0; i < jobs->n; i++)
		if (jobs->list[i]->state == JOB_WANTED)
			job_run(jobs->driver, jobs->list[i]);
	jobs->rounds++;
}

void driver_jobs_release(struct driver_jobs *jobs)
{
	for (size_t i = 0; i < jobs->n; i++)
		job_free(jobs->list[i]);
	jobs->n = 0;
}
