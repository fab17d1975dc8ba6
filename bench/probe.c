/* SPDX-License-Identifier: MIT */
/*
 * probe: what bench/resync needs beside the shell.
 *
 *	probe fill STORE FILES     make FILES files of a block in directories of 1000 in a store that is not mounted
 *	probe watch DIR            work in DIR like somebody at a desk until standard input ends: names that are not
 *	                           there are looked up, small files are made, written and removed, one operation
 *	                           after the other with a millisecond between. Each line that is read is answered
 *	                           with "OPERATIONS LONGEST_MS KIND" of the time since the last one.
 */
#include "core/volume.h"
#include "util/util.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PER_DIR 1000u

static void die(const char *what, long rc)
{
	fprintf(stderr, "probe: %s: %s\n", what, strerror((int)-rc));
	exit(1);
}

static void must(const char *what, long rc)
{
	if (rc < 0)
		die(what, rc);
}

/* ---- fill ---- */

static void fill(const char *store, uint64_t n_files)
{
	const struct cred cred = { .uid = 0, .gid = 0, .umask = 022 };
	struct volume_options opt = { .fast_unsafe = true };
	uint8_t block[BLOCK_BYTES];
	struct attr dir = { .ino = INO_ROOT }, file;
	struct err err = ERR_INIT;
	struct volume *v;
	char name[32];

	if (volume_open(store, &opt, &v, &err) < 0) {
		fprintf(stderr, "probe: %s\n", err.text);
		exit(1);
	}
	memset(block, 0x5a, sizeof(block));
	for (uint64_t i = 0; i < n_files; i++) {
		if (i % PER_DIR == 0) {
			snprintf(name, sizeof(name), "d%llu", (unsigned long long)(i / PER_DIR));
			must("mkdir", volume_create(v, INO_ROOT, name, S_IFDIR | 0755, 0, NULL, &cred, &dir));
		}
		memcpy(block, &i, sizeof(i));
		snprintf(name, sizeof(name), "f%llu", (unsigned long long)(i % PER_DIR));
		must("create", volume_create(v, dir.ino, name, S_IFREG | 0644, 0, NULL, &cred, &file));
		must("write", volume_write(v, file.ino, block, sizeof(block), 0, 0, NULL));
	}
	must("close", volume_close(v));
}

/* ---- watch ---- */

static struct {
	unsigned long n;
	double longest_ms;
	const char *kind;
} seen;

static double now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void note(const char *kind, double start_ms)
{
	double took_ms = now_ms() - start_ms;

	seen.n++;
	if (took_ms > seen.longest_ms) {
		seen.longest_ms = took_ms;
		seen.kind = kind;
	}
}

/* A name is used once, so that the kernel knows nothing of it. */
static void one_round(unsigned long i)
{
	char name[40], none[40];
	double start_ms = now_ms();
	struct stat st;
	int fd;

	snprintf(none, sizeof(none), "none%lu", i);
	snprintf(name, sizeof(name), "probe%lu", i);
	if (stat(none, &st) == 0 || errno != ENOENT)
		die(none, -EEXIST);
	note("stat", start_ms);
	start_ms = now_ms();
	fd = open(name, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
	if (fd < 0)
		die(name, -errno);
	note("create", start_ms);
	start_ms = now_ms();
	if (write(fd, name, sizeof(name)) != (ssize_t)sizeof(name) || close(fd) != 0)
		die(name, -errno);
	note("write", start_ms);
	start_ms = now_ms();
	if (unlink(name) != 0)
		die(name, -errno);
	note("unlink", start_ms);
}

static void watch(const char *dir)
{
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
	char c;

	if (chdir(dir) != 0)
		die(dir, -errno);
	seen.kind = "none";
	for (unsigned long i = 0;; i++) {
		one_round(i);
		if (poll(&in, 1, 1) <= 0)
			continue;
		if (read(STDIN_FILENO, &c, 1) <= 0)
			return;
		if (c != '\n')
			continue;
		printf("%lu %.1f %s\n", seen.n, seen.longest_ms, seen.kind);
		fflush(stdout);
		seen.n = 0;
		seen.longest_ms = 0;
		seen.kind = "none";
	}
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "fill") == 0) {
		fill(argv[2], strtoull(argv[3], NULL, 10));
	} else if (argc == 3 && strcmp(argv[1], "watch") == 0) {
		watch(argv[2]);
	} else {
		fputs("usage: probe fill STORE FILES | probe watch DIR\n", stderr);
		return 2;
	}
	return 0;
}
