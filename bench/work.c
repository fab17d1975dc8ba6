/* SPDX-License-Identifier: MIT */
/*
 * work: one piece of filesystem work, timed. bench/local runs it on each system in turn.
 *
 *	work NAME DIR [N]      prints the seconds that the measured part took
 *
 * What a piece needs beforehand (a file to read, a tree to walk) is left there by the piece that writes it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)
#define BLOCK ((size_t)4096)

static uint8_t buffer[MIB];

static void die(const char *what)
{
	fprintf(stderr, "work: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* xorshift64*: the same blocks on every system, none of them alike */
static uint64_t next_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return *state * UINT64_C(2685821657736338717);
}

static void fill(uint64_t seed)
{
	uint64_t state = seed + 1;

	for (size_t i = 0; i < sizeof(buffer); i += sizeof(uint64_t)) {
		uint64_t word = next_random(&state);

		memcpy(buffer + i, &word, sizeof(word));
	}
}

static void full_write(int fd, const void *data, size_t len, off_t off)
{
	if (pwrite(fd, data, len, off) != (ssize_t)len)
		die("write");
}

static int open_or_die(const char *name, int flags)
{
	int fd = open(name, flags | O_CLOEXEC, 0644);

	if (fd < 0)
		die(name);
	return fd;
}

/* ---- names: dN.i in a directory of the client's own */

static void names_each(unsigned client, unsigned n, void (*fn)(const char *name))
{
	char name[64];

	for (unsigned i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "names%u/file-%u", client, i);
		fn(name);
	}
}

static void make_one(const char *name)
{
	close(open_or_die(name, O_CREAT | O_EXCL | O_WRONLY));
}

static void stat_one(const char *name)
{
	struct stat st;

	if (stat(name, &st) < 0)
		die(name);
}

static void unlink_one(const char *name)
{
	if (unlink(name) < 0)
		die(name);
}

/* n in all, shared by the clients */
static void by_clients(unsigned clients, unsigned n, void (*fn)(const char *name))
{
	for (unsigned c = 0; c < clients; c++) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (pid == 0) {
			names_each(c, n / clients, fn);
			_exit(0);
		}
	}
	for (unsigned c = 0; c < clients; c++) {
		int status;

		if (wait(&status) < 0 || status != 0)
			exit(1);
	}
}

static void make_dirs(void)
{
	for (unsigned c = 0; c < 2; c++) {
		char name[32];

		snprintf(name, sizeof(name), "names%u", c);
		if (mkdir(name, 0755) < 0 && errno != EEXIST)
			die(name);
	}
}

static void create_1(unsigned n)
{
	by_clients(1, n, make_one);
}

static void create_2(unsigned n)
{
	by_clients(2, n, make_one);
}

static void stat_1(unsigned n)
{
	by_clients(1, n, stat_one);
}

static void stat_2(unsigned n)
{
	by_clients(2, n, stat_one);
}

static void unlink_1(unsigned n)
{
	by_clients(1, n, unlink_one);
}

static void unlink_2(unsigned n)
{
	by_clients(2, n, unlink_one);
}

/* ---- trees */

static void walk_dir(int dir_fd, const char *name)
{
	int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *d;

	if (!dir)
		die(name);
	while ((d = readdir(dir))) {
		struct stat st;

		if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0)
			continue;
		if (fstatat(fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
			die(d->d_name);
		if (S_ISDIR(st.st_mode))
			walk_dir(fd, d->d_name);
	}
	closedir(dir);
}

static void walk(unsigned n)
{
	(void)n;
	walk_dir(AT_FDCWD, "tree");
}

/* ---- bytes of one file; n in MiB */

static void write_stream(unsigned n, bool durable)
{
	int fd = open_or_die("big", O_CREAT | O_TRUNC | O_WRONLY);

	for (unsigned i = 0; i < n; i++) {
		memcpy(buffer, &i, sizeof(i));
		full_write(fd, buffer, MIB, (off_t)(i * MIB));
	}
	if (durable && fsync(fd) < 0)
		die("fsync");
	close(fd);
}

static void seq_write(unsigned n)
{
	write_stream(n, false);
}

static void seq_write_fsync(unsigned n)
{
	write_stream(n, true);
}

static void seq_read(unsigned n)
{
	int fd = open_or_die("big", O_RDONLY);

	for (unsigned i = 0; i < n; i++)
		if (pread(fd, buffer, MIB, (off_t)(i * MIB)) != (ssize_t)MIB)
			die("read");
	close(fd);
}

/* Blocks of a file of 64 MiB and more; n blocks. */
static off_t random_block(uint64_t *state, off_t size)
{
	return (off_t)(next_random(state) % ((uint64_t)size / BLOCK) * BLOCK);
}

static off_t size_of(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || st.st_size < (off_t)BLOCK)
		die("big");
	return st.st_size;
}

static void random_write(unsigned n)
{
	int fd = open_or_die("big", O_WRONLY);
	uint64_t state = 7;
	off_t size = size_of(fd);

	for (unsigned i = 0; i < n; i++)
		full_write(fd, buffer + i % 256 * BLOCK, BLOCK, random_block(&state, size));
	close(fd);
}

static void random_read(unsigned n)
{
	int fd = open_or_die("big", O_RDONLY);
	uint64_t state = 11;
	off_t size = size_of(fd);

	for (unsigned i = 0; i < n; i++)
		if (pread(fd, buffer, BLOCK, random_block(&state, size)) != (ssize_t)BLOCK)
			die("read");
	close(fd);
}

static void small_fsync(unsigned n)
{
	int fd = open_or_die("log", O_CREAT | O_WRONLY);

	for (unsigned i = 0; i < n; i++) {
		full_write(fd, buffer, BLOCK, (off_t)(i * BLOCK));
		if (fsync(fd) < 0)
			die("fsync");
	}
	close(fd);
}

static void replace(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		int fd = open_or_die("new", O_CREAT | O_TRUNC | O_WRONLY);

		full_write(fd, buffer, BLOCK, 0);
		if (fsync(fd) < 0)
			die("fsync");
		close(fd);
		if (rename("new", "current") < 0)
			die("rename");
	}
}

static const struct {
	const char *name;
	void (*run)(unsigned n);
	unsigned n; /* unless told otherwise */
} work[] = {
	{ "create-1", create_1, 10000 },
	{ "create-2", create_2, 10000 },
	{ "stat-1", stat_1, 10000 },
	{ "stat-2", stat_2, 10000 },
	{ "unlink-1", unlink_1, 10000 },
	{ "unlink-2", unlink_2, 10000 },
	{ "walk", walk, 0 },
	{ "seq-write", seq_write, 256 },
	{ "seq-write-fsync", seq_write_fsync, 256 },
	{ "seq-read", seq_read, 256 },
	{ "random-write", random_write, 10000 },
	{ "random-read", random_read, 10000 },
	{ "4k-fsync", small_fsync, 300 },
	{ "replace", replace, 300 },
};

int main(int argc, char **argv)
{
	if (argc < 3 || argc > 4) {
		fprintf(stderr, "usage: work NAME DIR [N]\n");
		return 2;
	}
	if (chdir(argv[2]) < 0)
		die(argv[2]);
	fill(1);
	for (size_t i = 0; i < sizeof(work) / sizeof(work[0]); i++) {
		if (strcmp(work[i].name, argv[1]) != 0)
			continue;
		make_dirs();
		double start_s = now_s();

		work[i].run(argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : work[i].n);
		printf("%.6f\n", now_s() - start_s);
		return 0;
	}
	fprintf(stderr, "work: no piece of work is called %s\n", argv[1]);
	return 2;
}
