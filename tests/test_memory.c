/* SPDX-License-Identifier: MIT */
/*
 * What a mounted store takes of memory when all of its tree was asked for: its caches, which have an end, and a few
 * bytes for each inode that the kernel holds. The database is larger than its cache. Wants root and /dev/fuse.
 */
#include "tests/tap.h"

#include "core/volume.h"
#include "fuse/front.h"
#include "util/util.h"

#include <dirent.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define VOLUME_ID "6f2c1c1e-0000-4000-8000-000000000002"
#define FILES 160000u
#define PER_DIR 1000u
#define COMMIT_EVERY 20000u

/* SQLite's cache as db.c sets it, and a tenth for its own bookkeeping. */
#define DB_CACHE_KIB (64u * 1024u * 11u / 10u)
/* The counts of the volume and of the mount: two maps, of 16 bytes a slot and half full at worst, and what they were
 * before they grew. */
#define INODE_BYTES (2u * (32u + 16u))
/* st_blocks of so many inodes (1 MiB), threads' arenas and stacks. */
#define REST_KIB (8u * 1024u)
#define BOUND_KIB (DB_CACHE_KIB + FILES * INODE_BYTES / 1024u + REST_KIB)

static char base[64], store[96], mnt[96];
static struct volume *vol;
static struct front *front;

static uint64_t make(uint64_t parent, const char *name, uint32_t mode)
{
	const struct cred cred = { .uid = 0 };
	struct attr attr;

	ck_assert_int_eq(volume_create(vol, parent, name, mode, 0, NULL, &cred, &attr), 0);
	return attr.ino;
}

static void open_volume(void)
{
	const struct volume_options opt = { .fast_unsafe = true };
	struct err err = ERR_INIT;

	ck_assert_msg(volume_open(store, &opt, &vol, &err) == 0, "%s", err_text(&err));
}

/* Names as long as they may be, so that few files make a large database. */
static void fill(void)
{
	char name[NAME_MAX_BYTES + 1];
	uint64_t dir = 0;
	struct stat st;

	for (unsigned i = 0; i < FILES; i++) {
		if (i % PER_DIR == 0) {
			snprintf(name, sizeof(name), "dir-%u", i / PER_DIR);
			dir = make(INO_ROOT, name, S_IFDIR | 0755);
		}
		snprintf(name, sizeof(name), "%0*u", NAME_MAX_BYTES, i);
		make(dir, name, S_IFREG | 0644);
		if (i % COMMIT_EVERY == 0)
			ck_assert_int_eq(volume_commit(vol), 0);
	}
	ck_assert_int_eq(volume_close(vol), 0);
	snprintf(name, sizeof(name), "%s/twinfs.db", store);
	ck_assert_int_eq(stat(name, &st), 0);
	ck_assert_int_gt(st.st_size >> 10, DB_CACHE_KIB); /* or this would show nothing */
}

static unsigned long rss_kib(void)
{
	unsigned long total, resident;
	FILE *f = fopen("/proc/self/statm", "re");

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fscanf(f, "%lu %lu", &total, &resident), 2);
	fclose(f);
	return resident * (unsigned long)sysconf(_SC_PAGESIZE) / 1024;
}

/* Of a directory in the mount; the number of files in it and below. In a process of its own. */
static unsigned walk(const char *path)
{
	DIR *dir = opendir(path);
	unsigned files = 0;
	struct dirent *d;
	struct stat st;

	while (dir && (d = readdir(dir))) {
		char *sub = xasprintf("%s/%s", path, d->d_name);

		if (d->d_name[0] != '.' && lstat(sub, &st) == 0)
			files += S_ISDIR(st.st_mode) ? walk(sub) : 1;
		free(sub);
	}
	if (dir)
		closedir(dir);
	return files;
}

static void walk_all(void)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(walk(mnt) != FILES);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void *run_thread(void *arg)
{
	return (void *)(intptr_t)front_run(arg);
}

START_TEST(memory_is_bounded_by_caches_not_by_the_tree)
{
	const struct front_options opt = { .mountpoint = mnt, .fsname = store };
	unsigned long before, walked, again;
	struct err err = ERR_INIT;
	pthread_t runner;

	ck_assert_msg(volume_format(store, VOLUME_ID, "here", 1, 0, &err) == 0, "%s", err_text(&err));
	open_volume();
	fill();
	malloc_trim(0);
	open_volume();
	before = rss_kib();
	ck_assert_msg(front_mount(vol, &opt, &front, &err) == 0, "%s", err_text(&err));
	ck_assert_int_eq(pthread_create(&runner, NULL, run_thread, front), 0);
	walk_all();
	walked = rss_kib();
	walk_all();
	again = rss_kib();
	front_stop(front);
	ck_assert_int_eq(pthread_join(runner, NULL), 0);
	front_free(front);
	ck_assert_int_eq(volume_close(vol), 0);
	printf("# %lu KiB, walked %lu, again %lu; bound %u more\n", before, walked, again, BOUND_KIB);
	ck_assert_uint_le(walked, before + BOUND_KIB);
	ck_assert_uint_le(again, before + BOUND_KIB);
}
END_TEST

/* What else counts memory, or takes some for each byte, is in the way. */
static bool others_count(void)
{
	const char *preload = getenv("LD_PRELOAD");
	bool sanitized = false;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	sanitized = true;
#endif
	return sanitized || (preload && strstr(preload, "vgpreload"));
}

int main(void)
{
	Suite *s = suite_create("memory");
	TCase *tc = tcase_create("memory");
	char command[96];
	int rc;

	if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) != 0 || others_count()) {
		printf("1..0 # SKIP wants root, /dev/fuse and memory that nobody else looks after\n");
		return 0;
	}
	snprintf(base, sizeof(base), "/tmp/twinfs-memory.XXXXXX");
	if (!mkdtemp(base))
		return 1;
	snprintf(store, sizeof(store), "%s/store", base);
	snprintf(mnt, sizeof(mnt), "%s/mnt", base);
	if (mkdir(store, 0700) != 0 || mkdir(mnt, 0755) != 0)
		return 1;
	tcase_set_timeout(tc, 180);
	tcase_add_test(tc, memory_is_bounded_by_caches_not_by_the_tree);
	suite_add_tcase(s, tc);
	rc = tap_main(s);
	umount2(mnt, MNT_FORCE | MNT_DETACH);
	snprintf(command, sizeof(command), "rm -rf '%s'", base);
	return system(command) == 0 ? rc : 1;
}
