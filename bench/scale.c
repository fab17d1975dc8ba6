/* SPDX-License-Identifier: MIT */
/*
 * scale: a store with a million files and a hundred gigabytes (sparse), and what its size costs.
 *
 *	scale [FILES [EXTENTS]]      default 1,000,000 of each; the store is made in $TMPDIR and removed
 *
 * Each step prints its time, the longest that another thread had to wait for the volume meanwhile, the process' memory
 * and the length of the database's log. Half of the files lie in one directory, half in directories of 1000.
 */
#include "core/changes.h"
#include "core/volume.h"
#include "util/util.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define VOLUME_ID "00000000-0000-4000-8000-000000000001"
#define PER_DIR 1000u
#define SPARSE_BLOCKS (UINT64_C(100) << (30 - BLOCK_SHIFT))
#define POINTS 1000u

static char dir[512];
static struct volume *v;
static struct volume_options options;
static uint64_t n_files, n_extents, wide_dir, sparse_file;

static void die(const char *what, long rc)
{
	fprintf(stderr, "scale: %s: %s; the store is left in %s\n", what, strerror((int)-rc), dir);
	exit(1);
}

static void must(const char *what, long rc)
{
	if (rc < 0)
		die(what, rc);
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- somebody else who wants the volume */

static struct {
	pthread_t thread;
	_Atomic bool run;
	double longest_s;
} other;

static void *other_main(void *arg)
{
	(void)arg;
	while (atomic_load(&other.run)) {
		struct attr a;
		double start_s = now_s();

		must("getattr", volume_getattr(v, INO_ROOT, &a));
		other.longest_s = MAX(other.longest_s, now_s() - start_s);
		usleep(1000);
	}
	return NULL;
}

static void other_start(void)
{
	other.longest_s = 0;
	atomic_store(&other.run, true);
	if (pthread_create(&other.thread, NULL, other_main, NULL) != 0)
		die("thread", -1);
}

static void other_stop(void)
{
	atomic_store(&other.run, false);
	pthread_join(other.thread, NULL);
}

/* ---- figures */

static unsigned long rss_mib(void)
{
	unsigned long total = 0, resident = 0;
	FILE *f = fopen("/proc/self/statm", "re");

	if (!f || fscanf(f, "%lu %lu", &total, &resident) != 2)
		resident = 0;
	if (f)
		fclose(f);
	return resident * (unsigned long)sysconf(_SC_PAGESIZE) >> 20;
}

static unsigned long file_mib(const char *name)
{
	char path[600];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return stat(path, &st) == 0 ? (unsigned long)(st.st_size >> 20) : 0;
}

static void do_close(void);

static void step(const char *name, void (*fn)(void), uint64_t count)
{
	double start_s = now_s(), took_s;
	bool shared = v != NULL && fn != do_close;

	if (shared)
		other_start();
	fn();
	took_s = now_s() - start_s;
	if (shared)
		other_stop();
	printf("%-34s %9.3f s", name, took_s);
	if (count > 0)
		printf(" %9.2f us each", took_s / (double)count * 1e6);
	else
		printf(" %17s", "");
	printf("  stall %8.1f ms  rss %5lu MiB  db %5lu  wal %5lu MiB\n", shared ? other.longest_s * 1e3 : 0.0,
	       rss_mib(), file_mib("twinfs.db"), file_mib("twinfs.db-wal"));
	fflush(stdout);
}

/* ---- steps */

static void do_commit(void)
{
	must("commit", volume_commit(v));
}

static uint64_t make(uint64_t parent, const char *name, uint32_t mode)
{
	static const struct cred cred = { .uid = 0 };
	struct attr a;

	must(name, volume_create(v, parent, name, mode, 0, NULL, &cred, &a));
	return a.ino;
}

static void fill_dirs(void)
{
	uint64_t parent = 0;
	char name[32];

	for (uint64_t i = 0; i < n_files / 2; i++) {
		if (i % PER_DIR == 0) {
			snprintf(name, sizeof(name), "dir-%llu", (unsigned long long)(i / PER_DIR));
			parent = make(INO_ROOT, name, S_IFDIR | 0755);
		}
		snprintf(name, sizeof(name), "file-%llu.dat", (unsigned long long)i);
		uint64_t ino = make(parent, name, S_IFREG | 0644);

		must("write", volume_write(v, ino, name, sizeof(name), 0, 0, NULL));
		if (i % 20000 == 0)
			do_commit();
	}
	do_commit();
}

static void fill_wide(void)
{
	char name[32];

	wide_dir = make(INO_ROOT, "wide", S_IFDIR | 0755);
	for (uint64_t i = 0; i < n_files / 2; i++) {
		snprintf(name, sizeof(name), "%llx-file.dat", (unsigned long long)(i * UINT64_C(2654435761)));
		make(wide_dir, name, S_IFREG | 0644);
		if (i % 20000 == 0)
			do_commit();
	}
	do_commit();
}

static uint64_t scattered(uint64_t i)
{
	return i * UINT64_C(1000003) * 2 % SPARSE_BLOCKS; /* never two neighbours */
}

static void write_scattered(uint64_t first, uint64_t n)
{
	uint8_t block[BLOCK_BYTES];

	memset(block, 7, sizeof(block));
	for (uint64_t i = first; i < first + n; i++) {
		memcpy(block, &i, sizeof(i));
		must("write", volume_write(v, sparse_file, block, sizeof(block), scattered(i) << BLOCK_SHIFT, 0, NULL));
	}
}

static void fill_sparse(void)
{
	sparse_file = make(INO_ROOT, "sparse", S_IFREG | 0644);
	write_scattered(0, n_extents);
	do_commit();
}

static void do_close(void)
{
	must("close", volume_close(v));
	v = NULL;
}

static void do_open(void)
{
	struct err err = ERR_INIT;
	int rc = volume_open(dir, &options, &v, &err);

	if (rc)
		die(err_text(&err), rc);
}

static void do_info(void)
{
	struct volume_info info;

	volume_info(v, &info);
}

static void some_lookups(void)
{
	char name[32];

	for (uint64_t i = 0; i < POINTS; i++) {
		uint64_t k = i * 104729 % (n_files / 2);
		struct attr a;

		snprintf(name, sizeof(name), "%llx-file.dat", (unsigned long long)(k * UINT64_C(2654435761)));
		must(name, volume_lookup(v, wide_dir, name, &a));
	}
}

static void some_commits(void)
{
	for (uint64_t i = 0; i < 100; i++) {
		write_scattered(i * 7919 % n_extents, 1);
		do_commit();
	}
}

static void some_random_writes(void)
{
	for (uint64_t i = 0; i < POINTS * 10; i++)
		write_scattered(i * 7919 % n_extents, 1);
	do_commit();
}

struct walk {
	uint64_t *dirs, last, n;
	size_t n_dirs, cap;
};

static bool walk_entry(void *ctx, const char *name, size_t len, uint64_t cookie, const struct attr *a)
{
	struct walk *w = ctx;

	w->last = cookie;
	if (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')))
		return true;
	w->n++;
	volume_ref(v, a->ino); /* as the kernel does for a while */
	if (S_ISDIR(a->mode)) {
		if (w->n_dirs == w->cap) {
			w->cap = w->cap ? w->cap * 2 : 64;
			w->dirs = xrealloc(w->dirs, w->cap * sizeof(*w->dirs));
		}
		w->dirs[w->n_dirs++] = a->ino;
	}
	return true;
}

static void walk_all(void)
{
	struct walk w = { .n = 0 };
	uint64_t next = INO_ROOT;

	for (;;) {
		uint64_t before;

		w.last = 0;
		do {
			before = w.last;
			must("readdir", volume_readdir(v, next, before, walk_entry, &w));
		} while (w.last != before);
		if (w.n_dirs == 0)
			break;
		next = w.dirs[--w.n_dirs];
	}
	free(w.dirs);
	if (w.n < n_files)
		die("walk found too few", -ENOENT);
}

static void do_pair(void)
{
	struct err err = ERR_INIT;
	int rc = volume_pair(v, ROLE_PRIMARY, 1, 2, "00112233445566778899aabbccddeeff", "b", &err);

	if (rc)
		die(err_text(&err), rc);
}

static void ack_all(void)
{
	struct volume_ids ids;

	volume_lock(v);
	volume_ids(v, &ids);
	must("purge", changes_purge(v, ids.committed));
	history_cut(v, ids.committed);
	must("history", history_purge(v, ids.committed));
	volume_unlock(v);
	do_commit();
}

static void drop_sparse(void)
{
	struct attr a = { .size_bytes = 0 };

	must("truncate", volume_setattr(v, sparse_file, SET_SIZE, &a, &a));
}

static void empty_wide(void)
{
	char name[32];

	for (uint64_t i = 0; i < n_files / 2; i++) {
		snprintf(name, sizeof(name), "%llx-file.dat", (unsigned long long)(i * UINT64_C(2654435761)));
		must(name, volume_unlink(v, wide_dir, name));
	}
	do_commit();
}

int main(int argc, char **argv)
{
	const char *base = getenv("TMPDIR");
	struct err err = ERR_INIT;
	char command[600];

	mallopt(M_ARENA_MAX, 2);
	n_files = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
	n_extents = argc > 2 ? strtoull(argv[2], NULL, 10) : 1000000;
	snprintf(dir, sizeof(dir), "%s/twinfs-scale-XXXXXX", base ? base : "/var/tmp");
	if (n_files < 2 || n_extents < 1 || n_extents > SPARSE_BLOCKS / 2 || !mkdtemp(dir))
		die("usage: scale [FILES [EXTENTS]]", -EINVAL);
	must("format", volume_format(dir, VOLUME_ID, "a", 1, 0, &err));
	printf("%llu files, %llu extents in a file of %llu GiB\n", (unsigned long long)n_files,
	       (unsigned long long)n_extents, (unsigned long long)(SPARSE_BLOCKS >> (30 - BLOCK_SHIFT)));
	do_open();
	step("make files in directories", fill_dirs, n_files / 2);
	step("make files in one directory", fill_wide, n_files / 2);
	step("write 4 KiB blocks, scattered", fill_sparse, n_extents);
	step("close", do_close, 0);
	step("open", do_open, 0);
	step("status", do_info, 0);
	step("look up in the wide directory", some_lookups, POINTS);
	step("walk all", walk_all, n_files);
	step("write a block and commit", some_commits, 100);
	step("overwrite scattered blocks", some_random_writes, POINTS * 10);
	step("become a pair", do_pair, 0);
	step("status, all pending", do_info, 0);
	step("write a block", some_commits, 100);
	step("status again", do_info, 0);
	step("peer has acknowledged all", ack_all, 0);
	step("overwrite what the peer has", some_random_writes, POINTS * 10);
	step("truncate the scattered file", drop_sparse, 0);
	step("commit that", do_commit, 0);
	step("unlink all of one directory", empty_wide, n_files / 2);
	step("status, much deleted", do_info, 0);
	step("close", do_close, 0);
	step("open, with history", do_open, 0);
	step("peer has acknowledged all", ack_all, 0);
	step("close", do_close, 0);
	snprintf(command, sizeof(command), "rm -rf '%s'", dir);
	return system(command) == 0 ? 0 : 1;
}
