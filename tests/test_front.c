/* SPDX-License-Identifier: MIT */
/* A real mount, served by a thread of the test's own process. Wants root and /dev/fuse. */
#include "tests/tap.h"

#include "core/data.h"
#include "core/tree.h"
#include "fuse/front.h"
#include "fuse/guard.h"
#include "util/util.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#define VOLUME_ID "6f2c1c1e-0000-4000-8000-000000000001"

static char base[64];    /* of the whole program; removed at its end */
static char store[96], mnt[96];
static struct volume *vol;
static struct front *front;
static pthread_t runner;
static atomic_bool run_ended;
static uint64_t peer_group;

static void *run_thread(void *arg)
{
	int rc = front_run(front);

	(void)arg;
	atomic_store(&run_ended, true);
	return (void *)(intptr_t)rc;
}

static void mount_with(const struct front_options *extra)
{
	struct front_options opt = extra ? *extra : (struct front_options){ 0 };
	struct err err = ERR_INIT;

	opt.mountpoint = mnt;
	opt.fsname = store;
	ck_assert_msg(front_mount(vol, &opt, &front, &err) == 0, "%s", err_text(&err));
	volume_set_notice(vol, front_notice, NULL, front);
	atomic_store(&run_ended, false);
	ck_assert_int_eq(pthread_create(&runner, NULL, run_thread, NULL), 0);
}

static void wait_run(void)
{
	void *rc;

	ck_assert_int_eq(pthread_join(runner, &rc), 0);
	ck_assert_int_eq((int)(intptr_t)rc, 0);
	volume_set_notice(vol, NULL, NULL, NULL);
	front_free(front);
	front = NULL;
}

static void open_volume(void)
{
	struct err err = ERR_INIT;
	const struct volume_options opt = { .fast_unsafe = true };

	snprintf(store, sizeof(store), "%s/store-%d", base, (int)getpid());
	snprintf(mnt, sizeof(mnt), "%s/mnt-%d", base, (int)getpid());
	ck_assert_int_eq(mkdir(store, 0700), 0);
	ck_assert_int_eq(mkdir(mnt, 0755), 0);
	ck_assert_msg(volume_format(store, VOLUME_ID, "here", 1, 0, &err) == 0, "%s", err_text(&err));
	ck_assert_msg(volume_open(store, &opt, &vol, &err) == 0, "%s", err_text(&err));
}

static void close_volume(void)
{
	ck_assert_int_eq(volume_close(vol), 0);
}

static void setup(void)
{
	open_volume();
	mount_with(NULL);
}

static void teardown(void)
{
	front_stop(front);
	wait_run();
	close_volume();
}

/* A path in the mount; a few of them may be in use at once. */
static const char *at(const char *name)
{
	static char ring[8][512];
	static unsigned next;
	char *out = ring[next++ % 8];

	snprintf(out, sizeof(ring[0]), "%s/%s", mnt, name);
	return out;
}

static void put(const char *name, const char *text)
{
	int fd = open(at(name), O_CREAT | O_WRONLY | O_TRUNC, 0644);

	ck_assert_msg(fd >= 0, "%s: %s", name, strerror(errno));
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	ck_assert_int_eq(close(fd), 0);
}

static const char *get(const char *name)
{
	static char text[4096];
	int fd = open(at(name), O_RDONLY);
	ssize_t n;

	ck_assert_msg(fd >= 0, "%s: %s", name, strerror(errno));
	n = read(fd, text, sizeof(text) - 1);
	ck_assert_int_ge(n, 0);
	text[n] = '\0';
	close(fd);
	return text;
}

static struct stat stat_of(const char *name)
{
	struct stat st;

	ck_assert_msg(lstat(at(name), &st) == 0, "%s: %s", name, strerror(errno));
	return st;
}

/* ---- the peer: changes that do not come through the mount ---------------------------------------- */

static void peer_begin(void)
{
	ck_assert_int_eq(volume_apply_begin(vol), 0);
}

static void peer_end(void)
{
	ck_assert_int_eq(volume_apply_commit(vol, ++peer_group), 0);
}

/* Seen by every reader from now on. */
static void peer_told(void)
{
	ck_assert(front_flush_notices(front, 10000));
}

static void peer_touch(uint64_t ino, int64_t mtime_ns)
{
	struct inode in;

	ck_assert_int_eq(tree_inode_get(vol, ino, &in), 0);
	in.mtime_ns = mtime_ns;
	in.origin = ORIGIN_PEER;
	ck_assert_int_eq(tree_inode_put(vol, &in), 0);
}

static void peer_write(uint64_t ino, const char *text, uint64_t off, uint64_t size_bytes)
{
	peer_begin();
	ck_assert_int_eq(data_write(vol, ino, text, strlen(text), off, ORIGIN_PEER), 0);
	ck_assert_int_eq(data_truncate(vol, ino, size_bytes, ORIGIN_PEER), 0);
	peer_touch(ino, NS_PER_S * 1000);
	peer_end();
}

static uint64_t peer_create(const char *name)
{
	struct inode in = {
		.mode = S_IFREG | 0644, .shrunk_to = UINT64_MAX, .origin = ORIGIN_PEER, .corigin = ORIGIN_PEER,
	};

	peer_begin();
	in.ino = id_new(vol);
	in.cborn = group_number(vol);
	ck_assert_int_eq(tree_inode_put(vol, &in), 0);
	ck_assert_int_eq(tree_link_put(vol, id_new(vol), INO_ROOT, name, strlen(name), in.ino, ORIGIN_PEER), 0);
	peer_end();
	return in.ino;
}

static void peer_move(const char *name, const char *newname)
{
	struct dentry d;

	peer_begin();
	ck_assert_int_eq(tree_lookup(vol, INO_ROOT, name, strlen(name), &d), 0);
	if (newname)
		ck_assert_int_eq(tree_link_put(vol, d.link, INO_ROOT, newname, strlen(newname), d.child, ORIGIN_PEER),
		                 0);
	else
		ck_assert_int_eq(tree_link_drop(vol, d.link), 0);
	ck_assert_int_eq(tree_reap(vol, d.child), 0);
	peer_end();
}

/* ---- local use ----------------------------------------------------------------------------------- */

START_TEST(what_is_written_is_read_back)
{
	char *big = malloc(3000000), *back = malloc(3000000);
	int fd;

	for (int i = 0; i < 3000000; i++)
		big[i] = (char)(i * 7 + i / 4096);
	fd = open(at("big"), O_CREAT | O_EXCL | O_RDWR, 0644);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(open(at("big"), O_CREAT | O_EXCL | O_RDWR, 0644), -1);
	ck_assert_int_eq(errno, EEXIST);
	ck_assert_int_eq(write(fd, big, 3000000), 3000000);
	ck_assert_int_eq(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	ck_assert_int_eq(pread(fd, back, 3000000, 0), 3000000);
	ck_assert_int_eq(memcmp(big, back, 3000000), 0);
	ck_assert_int_eq(pread(fd, back, 10, 3000000), 0);
	ck_assert_int_eq(fsync(fd), 0);
	ck_assert_int_eq(fdatasync(fd), 0);
	close(fd);
	put("small", "one");
	fd = open(at("small"), O_WRONLY | O_APPEND);
	ck_assert_int_eq(write(fd, " two", 4), 4);
	ck_assert_int_eq(write(fd, " three", 6), 6);
	close(fd);
	ck_assert_str_eq(get("small"), "one two three");
	put("small", "x"); /* O_TRUNC */
	ck_assert_str_eq(get("small"), "x");
	ck_assert_int_eq(stat_of("small").st_size, 1);
	free(big);
	free(back);
}
END_TEST

START_TEST(names_obey_posix)
{
	struct stat st;
	int fd;

	put("a", "A");
	put("b", "B");
	ck_assert_int_eq(renameat2(AT_FDCWD, at("a"), AT_FDCWD, at("b"), RENAME_NOREPLACE), -1);
	ck_assert_int_eq(errno, EEXIST);
	ck_assert_int_eq(renameat2(AT_FDCWD, at("a"), AT_FDCWD, at("b"), RENAME_EXCHANGE), 0);
	ck_assert_str_eq(get("a"), "B");
	ck_assert_str_eq(get("b"), "A");
	fd = open(at("b"), O_RDWR);
	ck_assert_int_eq(rename(at("a"), at("b")), 0);
	ck_assert_str_eq(get("b"), "B");
	ck_assert_int_eq(access(at("a"), F_OK), -1);
	ck_assert_int_eq(errno, ENOENT);
	/* replaced, but open */
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(st.st_nlink, 0);
	ck_assert_int_eq(pwrite(fd, "still", 5, 0), 5);
	ck_assert_int_eq(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	ck_assert_int_eq(pread(fd, (char[8]){ 0 }, 8, 0), 5);
	close(fd);

	ck_assert_int_eq(link(at("b"), at("hard")), 0);
	ck_assert_int_eq(stat_of("hard").st_nlink, 2);
	ck_assert_int_eq(stat_of("hard").st_ino, stat_of("b").st_ino);
	ck_assert_int_eq(unlink(at("b")), 0);
	ck_assert_int_eq(stat_of("hard").st_nlink, 1);

	ck_assert_int_eq(symlink("hard", at("soft")), 0);
	ck_assert_str_eq(get("soft"), "B");
	ck_assert_int_eq(readlink(at("soft"), (char[16]){ 0 }, 16), 4);

	ck_assert_int_eq(mkdir(at("d"), 0755), 0);
	ck_assert_int_eq(mkdir(at("d/e"), 0755), 0);
	ck_assert_int_eq(stat_of("d").st_nlink, 3);
	ck_assert_int_eq(rmdir(at("d")), -1);
	ck_assert_int_eq(errno, ENOTEMPTY);
	ck_assert_int_eq(rename(at("d"), at("d/e/f")), -1);
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_int_eq(rename(at("d/e"), at("e")), 0);
	ck_assert_int_eq(rmdir(at("d")), 0);
	ck_assert_int_eq(mkfifo(at("fifo"), 0600), 0);
	ck_assert(S_ISFIFO(stat_of("fifo").st_mode));
}
END_TEST

START_TEST(attributes_and_holes_are_kept)
{
	const struct timespec times[2] = { { 100, 5 }, { 200, 7 } };
	struct statvfs vfs;
	int fd;

	put("f", "0123456789");
	ck_assert_int_eq(chmod(at("f"), 0640), 0);
	ck_assert_int_eq(chown(at("f"), 12, 34), 0);
	ck_assert_int_eq(utimensat(AT_FDCWD, at("f"), times, 0), 0);
	ck_assert_int_eq(stat_of("f").st_mode, S_IFREG | 0640);
	ck_assert_int_eq(stat_of("f").st_uid, 12);
	ck_assert_int_eq(stat_of("f").st_gid, 34);
	ck_assert_int_eq(stat_of("f").st_atim.tv_sec, 100);
	ck_assert_int_eq(stat_of("f").st_mtim.tv_sec, 200);
	ck_assert_int_eq(stat_of("f").st_mtim.tv_nsec, 7);
	ck_assert_int_eq(utimensat(AT_FDCWD, at("f"), NULL, 0), 0);
	ck_assert_int_gt(stat_of("f").st_mtim.tv_sec, 1000000);
	ck_assert_int_eq(truncate(at("f"), 4), 0);
	ck_assert_str_eq(get("f"), "0123");

	fd = open(at("sparse"), O_CREAT | O_RDWR, 0644);
	ck_assert_int_eq(pwrite(fd, "tail", 4, 1 << 20), 4);
	ck_assert_int_eq(lseek(fd, 0, SEEK_DATA), 1 << 20);
	ck_assert_int_eq(lseek(fd, 0, SEEK_HOLE), 0);
	ck_assert_int_eq(lseek(fd, 2 << 20, SEEK_DATA), -1);
	ck_assert_int_eq(errno, ENXIO);
	ck_assert_int_lt(stat_of("sparse").st_blocks, 64);
	ck_assert_int_eq(fallocate(fd, 0, 0, 3 << 20), 0);
	ck_assert_int_eq(stat_of("sparse").st_size, 3 << 20);
	ck_assert_int_eq(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1 << 20, 4096), 0);
	ck_assert_int_eq(lseek(fd, 0, SEEK_DATA), -1);
	ck_assert_int_eq(pread(fd, (char[4]){ 0 }, 4, 1 << 20), 4);
	close(fd);
	ck_assert_int_eq(statvfs(mnt, &vfs), 0);
	ck_assert_uint_gt(vfs.f_blocks, 0);
}
END_TEST

START_TEST(a_copy_within_the_mount_keeps_holes_and_what_the_kernel_has_cached_is_forgotten)
{
	char bytes[8192], old[8192];
	int from = open(at("from"), O_CREAT | O_RDWR, 0644), to = open(at("to"), O_CREAT | O_RDWR, 0644);
	off_t in = 0, out = 0;

	memset(bytes, 'b', sizeof(bytes));
	ck_assert_int_eq(pwrite(from, bytes, sizeof(bytes), 8 << 20), sizeof(bytes));
	ck_assert_int_eq(ftruncate(from, 40 << 20), 0);
	memset(old, 'o', sizeof(old));
	ck_assert_int_eq(pwrite(to, old, sizeof(old), 8 << 20), sizeof(old));
	ck_assert_int_eq(pwrite(to, old, sizeof(old), 4096), sizeof(old));
	ck_assert_int_eq(pread(to, old, sizeof(old), 8 << 20), sizeof(old)); /* the kernel has it now */
	while (in < 40 << 20)
		ck_assert_int_gt(copy_file_range(from, &in, to, &out, (size_t)((40 << 20) - in), 0), 0);
	ck_assert_int_eq(out, 40 << 20);
	ck_assert_int_eq(stat_of("to").st_size, 40 << 20);
	ck_assert_int_eq(lseek(to, 0, SEEK_DATA), 8 << 20);
	ck_assert_int_eq(lseek(to, 8 << 20, SEEK_HOLE), (8 << 20) + (off_t)sizeof(bytes));
	ck_assert_int_eq(stat_of("to").st_blocks, stat_of("from").st_blocks);
	ck_assert_int_eq(pread(to, old, sizeof(old), 8 << 20), sizeof(old));
	ck_assert_int_eq(memcmp(old, bytes, sizeof(old)), 0);
	/* Not by blocks, within one file, beyond its end. */
	in = (8 << 20) + 100;
	out = (50 << 20) + 7;
	ck_assert_int_eq(copy_file_range(to, &in, to, &out, 6000, 0), 6000);
	ck_assert_int_eq(pread(to, old, 6000, (50 << 20) + 7), 6000);
	ck_assert_int_eq(memcmp(old, bytes, 6000), 0);
	ck_assert_int_eq(stat_of("to").st_size, (50 << 20) + 6007);
	close(from);
	close(to);
}
END_TEST

/* As user 1000; returns the child's exit code. */
static int as_user(int (*fn)(void))
{
	pid_t pid = fork();
	int status;

	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		_exit(setgid(1000) != 0 || setuid(1000) != 0 ? 99 : fn());
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 98;
}

static int user_writes_suid(void)
{
	int fd = open(at("suid"), O_WRONLY);

	return fd < 0 || write(fd, "x", 1) != 1;
}

static int user_truncates_suid(void)
{
	return truncate(at("suid"), 0) != 0;
}

static int user_makes_readonly_file(void)
{
	int fd = open(at("open/ro"), O_CREAT | O_EXCL | O_WRONLY, 0444);

	return fd < 0 || write(fd, "x", 1) != 1 || fsync(fd) != 0;
}

static int user_is_refused(void)
{
	if (open(at("secret"), O_RDONLY) >= 0 || errno != EACCES)
		return 1;
	return chmod(at("secret"), 0777) == 0 || errno != EPERM;
}

START_TEST(permissions_are_checked_and_suid_falls)
{
	put("suid", "program");
	ck_assert_int_eq(chmod(at("suid"), 06777), 0);
	ck_assert_int_eq(as_user(user_writes_suid), 0);
	ck_assert_int_eq(stat_of("suid").st_mode & 07777, 0777);
	ck_assert_int_eq(chmod(at("suid"), 06777), 0);
	ck_assert_int_eq(as_user(user_truncates_suid), 0);
	ck_assert_int_eq(stat_of("suid").st_mode & 07777, 0777);
	ck_assert_int_eq(chmod(at("suid"), 06777), 0);
	ck_assert_int_eq(chown(at("suid"), 1, 1), 0);
	ck_assert_int_eq(stat_of("suid").st_mode & 07777, 0777);
	ck_assert_int_eq(chmod(at("suid"), 06777), 0);
	put("suid", "root may"); /* CAP_FSETID keeps them on write */
	ck_assert_int_eq(stat_of("suid").st_mode & 07777, 06777);

	put("secret", "s");
	ck_assert_int_eq(chmod(at("secret"), 0600), 0);
	ck_assert_int_eq(as_user(user_is_refused), 0);
	ck_assert_int_eq(mkdir(at("open"), 0777), 0);
	ck_assert_int_eq(chmod(at("open"), 02777), 0);
	ck_assert_int_eq(as_user(user_makes_readonly_file), 0);
	ck_assert_int_eq(stat_of("open/ro").st_uid, 1000);
	ck_assert_int_eq(stat_of("open/ro").st_gid, 0); /* setgid directory */
	ck_assert_int_eq(chown(at("open"), 1, 1), 0);
	ck_assert_int_eq(stat_of("open").st_mode & 07777, 02777); /* a directory keeps it */
}
END_TEST

START_TEST(xattrs_are_kept_and_what_is_no_acl_refused)
{
	char buf[256];

	put("f", "x");
	ck_assert_int_eq(setxattr(at("f"), "user.k", "value", 5, XATTR_CREATE), 0);
	ck_assert_int_eq(setxattr(at("f"), "user.k", "value", 5, XATTR_CREATE), -1);
	ck_assert_int_eq(errno, EEXIST);
	ck_assert_int_eq(getxattr(at("f"), "user.k", NULL, 0), 5);
	ck_assert_int_eq(getxattr(at("f"), "user.k", buf, 2), -1);
	ck_assert_int_eq(errno, ERANGE);
	ck_assert_int_eq(getxattr(at("f"), "user.k", buf, sizeof(buf)), 5);
	ck_assert_int_eq(memcmp(buf, "value", 5), 0);
	ck_assert_int_eq(listxattr(at("f"), buf, sizeof(buf)), 7);
	ck_assert_str_eq(buf, "user.k");
	ck_assert_int_eq(removexattr(at("f"), "user.k"), 0);
	ck_assert_int_eq(getxattr(at("f"), "user.k", buf, sizeof(buf)), -1);
	ck_assert_int_eq(errno, ENODATA);
	ck_assert_int_eq(setxattr(at("f"), "system.posix_acl_access", "\2\0\0\0\1", 5, 0), -1);
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_int_eq(setxattr(at("f"), "system.else", "x", 1, 0), -1);
	ck_assert_int_eq(errno, EOPNOTSUPP);
}
END_TEST

START_TEST(shared_mappings_and_writes_are_one)
{
	int fd = open(at("m"), O_CREAT | O_RDWR, 0644);
	char buf[8] = { 0 }, *map;

	ck_assert_int_eq(ftruncate(fd, 8192), 0);
	map = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(map, MAP_FAILED);
	memcpy(map + 4096, "mapped", 6);
	ck_assert_int_eq(pread(fd, buf, 6, 4096), 6);
	ck_assert_str_eq(buf, "mapped");
	ck_assert_int_eq(pwrite(fd, "write", 5, 0), 5);
	ck_assert_int_eq(memcmp(map, "write", 5), 0);
	ck_assert_int_eq(msync(map, 8192, MS_SYNC), 0);
	ck_assert_int_eq(volume_read(vol, stat_of("m").st_ino, buf, 6, 4096), 6);
	ck_assert_str_eq(buf, "mapped");
	munmap(map, 8192);
	close(fd);
}
END_TEST

static void *delete_odd(void *arg)
{
	char name[32];

	(void)arg;
	for (int i = 1; i < 10000; i += 2) {
		char path[256];

		snprintf(name, sizeof(name), "many/%05d", i);
		snprintf(path, sizeof(path), "%s/%s", mnt, name);
		unlink(path);
	}
	return NULL;
}

/* Whoever is there all the time is listed exactly once. */
START_TEST(a_listing_survives_deletions_in_its_middle)
{
	unsigned char seen[10000] = { 0 };
	pthread_t t;
	struct dirent *d;
	DIR *dir;
	int n = 0;

	ck_assert_int_eq(mkdir(at("many"), 0755), 0);
	for (int i = 0; i < 10000; i++) {
		char name[32];

		snprintf(name, sizeof(name), "many/%05d", i);
		ck_assert_int_eq(mknod(at(name), S_IFREG | 0644, 0), 0);
	}
	dir = opendir(at("many"));
	ck_assert_ptr_nonnull(dir);
	ck_assert_int_eq(pthread_create(&t, NULL, delete_odd, NULL), 0);
	while ((d = readdir(dir)))
		if (d->d_name[0] != '.')
			seen[atoi(d->d_name)]++;
	closedir(dir);
	pthread_join(t, NULL);
	for (int i = 0; i < 10000; i++) {
		ck_assert_int_le(seen[i], 1);
		if (i % 2 == 0)
			ck_assert_msg(seen[i] == 1, "%05d is missing", i);
	}
	dir = opendir(at("many"));
	while ((d = readdir(dir)))
		n += d->d_name[0] != '.';
	closedir(dir);
	ck_assert_int_eq(n, 5000);
}
END_TEST

/* ---- changes of the peer ------------------------------------------------------------------------- */

START_TEST(a_change_of_the_peer_reaches_every_reader)
{
	char buf[64] = { 0 };
	uint64_t ino;
	char *map;
	int fd;

	put("f", "old content");
	ino = stat_of("f").st_ino;
	fd = open(at("f"), O_RDONLY);
	map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	ck_assert_int_eq(memcmp(map, "old content", 11), 0);
	ck_assert_int_eq(pread(fd, buf, sizeof(buf), 0), 11);

	peer_write(ino, "NEW", 0, 11); /* same size */
	peer_told();
	ck_assert_int_eq(pread(fd, buf, sizeof(buf), 0), 11);
	ck_assert_int_eq(memcmp(buf, "NEW content", 11), 0);
	ck_assert_int_eq(memcmp(map, "NEW content", 11), 0);
	ck_assert_int_eq(stat_of("f").st_mtim.tv_sec, 1000);

	peer_write(ino, " and more", 11, 20); /* grown */
	peer_told();
	ck_assert_int_eq(lseek(fd, 0, SEEK_END), 20);
	ck_assert_int_eq(pread(fd, buf, sizeof(buf), 0), 20);
	ck_assert_int_eq(memcmp(buf, "NEW content and more", 20), 0);
	ck_assert_int_eq(memcmp(map, "NEW content and more", 20), 0);

	peer_write(ino, "N", 0, 3); /* shrunk */
	peer_told();
	ck_assert_int_eq(stat_of("f").st_size, 3);
	ck_assert_int_eq(pread(fd, buf, sizeof(buf), 0), 3);
	close(fd);
	munmap(map, 4096);
}
END_TEST

static int count_entries(const char *name)
{
	DIR *dir = opendir(at(name));
	struct dirent *d;
	int n = 0;

	ck_assert_ptr_nonnull(dir);
	while ((d = readdir(dir)))
		n += d->d_name[0] != '.';
	closedir(dir);
	return n;
}

START_TEST(names_of_the_peer_come_and_go)
{
	struct stat st;
	int fd;

	ck_assert_int_eq(access(at("new"), F_OK), -1); /* now a cached negative entry */
	ck_assert_int_eq(count_entries(""), 0);
	ck_assert_int_eq(count_entries(""), 0);
	peer_create("new");
	peer_told();
	ck_assert_int_eq(access(at("new"), F_OK), 0);
	ck_assert_int_eq(count_entries(""), 1);

	peer_move("new", "moved");
	peer_told();
	ck_assert_int_eq(access(at("new"), F_OK), -1);
	ck_assert_int_eq(access(at("moved"), F_OK), 0);
	ck_assert_int_eq(count_entries(""), 1);

	put("moved", "kept while open");
	fd = open(at("moved"), O_RDONLY);
	peer_move("moved", NULL);
	peer_told();
	ck_assert_int_eq(access(at("moved"), F_OK), -1);
	ck_assert_int_eq(errno, ENOENT);
	ck_assert_int_eq(count_entries(""), 0);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(st.st_nlink, 0);
	ck_assert_int_eq(pread(fd, (char[32]){ 0 }, 32, 0), 15);
	close(fd);
}
END_TEST

START_TEST(an_append_goes_to_the_end_that_the_peer_made)
{
	uint64_t ino;
	int fd;

	put("log", "one\n");
	ino = stat_of("log").st_ino;
	fd = open(at("log"), O_WRONLY | O_APPEND);
	/* The kernel is not told, as in the moment before it is. */
	volume_set_notice(vol, NULL, NULL, NULL);
	peer_write(ino, "two\n", 4, 8);
	ck_assert_int_eq(write(fd, "three\n", 6), 6);
	/* Told after the reply, so a moment after write(2) returned. */
	for (int i = 0; i < 1000 && strcmp(get("log"), "one\ntwo\nthree\n") != 0; i++)
		usleep(1000);
	ck_assert_str_eq(get("log"), "one\ntwo\nthree\n");
	ck_assert_int_eq(write(fd, "four\n", 5), 5);
	ck_assert_str_eq(get("log"), "one\ntwo\nthree\nfour\n");
	close(fd);
}
END_TEST

START_TEST(more_notices_than_the_queue_holds_lose_nothing)
{
	enum { N = 100000 };
	struct notice *list = calloc(N, sizeof(*list));
	uint64_t ino;

	put("f", "old");
	put("gone", "x");
	ck_assert_str_eq(get("f"), "old");
	ck_assert_int_eq(access(at("new"), F_OK), -1);
	ino = stat_of("f").st_ino;
	volume_set_notice(vol, NULL, NULL, NULL);
	peer_write(ino, "new", 0, 3);
	peer_create("new");
	peer_move("gone", NULL);
	for (int i = 0; i < N; i++) {
		list[i].kind = NOTICE_ENTRY;
		list[i].parent = INO_ROOT;
		list[i].name_len_bytes = (unsigned)snprintf(list[i].name, sizeof(list[i].name), "name-%d", i);
	}
	front_notice(front, list, N);
	peer_told();
	ck_assert_str_eq(get("f"), "new");
	ck_assert_int_eq(access(at("new"), F_OK), 0);
	ck_assert_int_eq(access(at("gone"), F_OK), -1);
	ck_assert_int_eq(count_entries(""), 2);
	free(list);
}
END_TEST

/* A LOOKUP reply with old attributes that is overtaken by the notice would be believed for an hour. */
enum { RACE_ROUNDS = 3000 };
static atomic_int race_round, race_done;

/* In each round one lookup that the kernel has to ask for, at about the time of the peer's change. */
static void *look_up_once_a_round(void *arg)
{
	const char *path = arg;

	for (int i = 1; i <= RACE_ROUNDS; i++) {
		struct stat st;

		while (atomic_load(&race_round) < i)
			sched_yield();
		lstat(path, &st);
		atomic_store(&race_done, i);
	}
	return NULL;
}

START_TEST(no_stale_answer_stays_when_lookups_and_notices_meet)
{
	const struct notice drop = { .kind = NOTICE_ENTRY, .parent = INO_ROOT, .name = "race", .name_len_bytes = 4 };
	char path[512];
	pthread_t t;
	uint64_t ino;

	put("race", "x");
	ino = stat_of("race").st_ino;
	snprintf(path, sizeof(path), "%s", at("race"));
	ck_assert_int_eq(pthread_create(&t, NULL, look_up_once_a_round, path), 0);
	for (int i = 1; i <= RACE_ROUNDS; i++) {
		front_notice(front, &drop, 1);
		peer_told();
		atomic_store(&race_round, i);
		for (volatile int spin = i % 100 * 1000; spin > 0; spin--)
			;
		peer_begin();
		peer_touch(ino, i * NS_PER_S);
		peer_end();
		while (atomic_load(&race_done) < i)
			sched_yield();
		peer_told();
		ck_assert_int_eq(stat_of("race").st_mtim.tv_sec, i);
	}
	pthread_join(t, NULL);
}
END_TEST

/* A reader who sees the time of a change must see its bytes: make and git believe a file by its time. */
enum { COHERENT_ROUNDS = 2000 };
static atomic_bool peer_stopped;

static void *believe_the_times(void *arg)
{
	int fd = open(arg, O_RDONLY);
	intptr_t stale = 0;

	while (!atomic_load(&peer_stopped)) {
		char text[9] = { 0 };
		struct statx stx;

		if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_FORCE_SYNC, STATX_MTIME, &stx) != 0 ||
		    pread(fd, text, 8, 0) != 8)
			stale += 1000000;
		stale += atoll(text) < stx.stx_mtime.tv_sec;
	}
	close(fd);
	return (void *)stale;
}

START_TEST(new_attributes_never_come_with_old_bytes)
{
	char path[512], text[9] = "00000000";
	pthread_t t;
	uint64_t ino;
	void *stale;

	put("f", text);
	ck_assert_int_eq(utimensat(AT_FDCWD, at("f"), (struct timespec[2]){ { 0, 0 }, { 0, 0 } }, 0), 0);
	ino = stat_of("f").st_ino;
	snprintf(path, sizeof(path), "%s", at("f"));
	atomic_store(&peer_stopped, false);
	ck_assert_int_eq(pthread_create(&t, NULL, believe_the_times, path), 0);
	for (int i = 1; i <= COHERENT_ROUNDS; i++) {
		snprintf(text, sizeof(text), "%08d", i);
		peer_begin();
		ck_assert_int_eq(data_write(vol, ino, text, 8, 0, ORIGIN_PEER), 0);
		peer_touch(ino, i * NS_PER_S);
		peer_end();
	}
	atomic_store(&peer_stopped, true);
	pthread_join(t, &stale);
	ck_assert_msg((intptr_t)stale == 0, "%ld times", (long)(intptr_t)stale);
}
END_TEST

/* A notice that drops a page while a write to it is on its way, and a reader who asks for the page before the write is
 * served: what he was given must not stay. */
static void *read_on_and_on(void *arg)
{
	int fd = open(arg, O_RDONLY);
	char text[200];

	while (!atomic_load(&peer_stopped))
		if (pread(fd, text, sizeof(text), 0) < 0)
			break;
	close(fd);
	return NULL;
}

enum { CROSSING_ROUNDS = 1500, CROSSING_WRITES = 40 };

/* One change of the same page in each round. */
static void *change_once_a_round(void *arg)
{
	uint64_t ino = *(uint64_t *)arg;

	for (int i = 1; i <= CROSSING_ROUNDS; i++) {
		while (atomic_load(&race_round) < i)
			sched_yield();
		peer_begin();
		ck_assert_int_eq(data_write(vol, ino, "peer", 4, 4000, ORIGIN_PEER), 0);
		peer_end();
		atomic_store(&race_done, i);
	}
	return NULL;
}

START_TEST(own_writes_stay_in_a_page_that_the_peer_changes)
{
	char path[512], text[9], page[CROSSING_WRITES * 8];
	pthread_t reader, changer;
	uint64_t ino;
	int fd, lost = 0;

	put("f", "00000000");
	fd = open(at("f"), O_RDWR);
	ck_assert_int_eq(ftruncate(fd, 4096), 0);
	ino = stat_of("f").st_ino;
	snprintf(path, sizeof(path), "%s", at("f"));
	atomic_store(&peer_stopped, false);
	ck_assert_int_eq(pthread_create(&reader, NULL, read_on_and_on, path), 0);
	ck_assert_int_eq(pthread_create(&changer, NULL, change_once_a_round, &ino), 0);
	for (int i = 1; i <= CROSSING_ROUNDS; i++) {
		snprintf(text, sizeof(text), "%08d", i);
		atomic_store(&race_round, i);
		for (int k = 0; k < CROSSING_WRITES; k++)
			ck_assert_int_eq(pwrite(fd, text, 8, k * 8), 8);
		while (atomic_load(&race_done) < i)
			sched_yield();
		peer_told();
		ck_assert_int_eq(pread(fd, page, sizeof(page), 0), (ssize_t)sizeof(page));
		for (int k = 0; k < CROSSING_WRITES; k++)
			lost += memcmp(page + k * 8, text, 8) != 0;
	}
	atomic_store(&peer_stopped, true);
	pthread_join(reader, NULL);
	pthread_join(changer, NULL);
	close(fd);
	ck_assert_msg(lost == 0, "%d times", lost);
}
END_TEST

/* Within a page, and beyond what the page had of the file when it was cached. */
START_TEST(own_writes_are_read_back_at_once_from_a_page_that_the_peer_changes)
{
	char path[512], text[9], back[9] = "";
	pthread_t reader, changer;
	uint64_t ino;
	int fd, stale = 0;

	put("f", "00000000");
	fd = open(at("f"), O_RDWR);
	ck_assert_int_eq(ftruncate(fd, 4096), 0);
	ino = stat_of("f").st_ino;
	snprintf(path, sizeof(path), "%s", at("f"));
	atomic_store(&peer_stopped, false);
	ck_assert_int_eq(pthread_create(&reader, NULL, read_on_and_on, path), 0);
	ck_assert_int_eq(pthread_create(&changer, NULL, change_once_a_round, &ino), 0);
	for (int i = 1; i <= CROSSING_ROUNDS; i++) {
		atomic_store(&race_round, i);
		for (int k = 0; k < CROSSING_WRITES; k++) {
			snprintf(text, sizeof(text), "%08d", i * CROSSING_WRITES + k);
			ck_assert_int_eq(pwrite(fd, text, 8, k * 8), 8);
			ck_assert_int_eq(pread(fd, back, 8, k * 8), 8);
			stale += strcmp(text, back) != 0;
		}
		while (atomic_load(&race_done) < i)
			sched_yield();
	}
	atomic_store(&peer_stopped, true);
	pthread_join(reader, NULL);
	pthread_join(changer, NULL);
	close(fd);
	/* The wait for the kernel has a bound, which a machine that does other things may exceed now and then. */
	ck_assert_msg(stale <= CROSSING_ROUNDS * CROSSING_WRITES / 10000, "%d times", stale);
}
END_TEST

/* ---- life and death of a mount ------------------------------------------------------------------- */

static int fail_sync(void *ctx)
{
	return -atomic_load((atomic_int *)ctx);
}

START_TEST(the_fsync_hook_answers_fsync)
{
	atomic_int code = EDQUOT;
	const struct front_options opt = { .fsync_hook = fail_sync, .hook_ctx = &code };
	int fd;

	mount_with(&opt);
	fd = open(at("f"), O_CREAT | O_WRONLY, 0644);
	ck_assert_int_eq(fsync(fd), -1);
	ck_assert_int_eq(errno, EDQUOT);
	atomic_store(&code, 0);
	ck_assert_int_eq(fsync(fd), 0);
	close(fd);
	teardown();
}
END_TEST

START_TEST(a_read_only_mount_refuses_writes)
{
	const struct front_options opt = { .options = "ro,noexec,x-systemd.automount,nofail" };

	mount_with(&opt);
	ck_assert_int_eq(mkdir(at("d"), 0755), -1);
	ck_assert_int_eq(errno, EROFS);
	teardown();
}
END_TEST

static bool mount_shown(void)
{
	char *line = NULL, *want = xasprintf("%s %s fuse.twinfs ", store, mnt);
	FILE *file = fopen("/proc/self/mounts", "r");
	bool found = false;
	size_t cap = 0;

	while (getline(&line, &cap, file) > 0)
		found = found || strncmp(line, want, strlen(want)) == 0;
	fclose(file);
	free(line);
	free(want);
	return found;
}

START_TEST(umount_ends_the_run)
{
	mount_with(NULL);
	ck_assert(mount_shown());
	ck_assert_int_eq(umount2(mnt, 0), 0);
	wait_run();
	ck_assert(!mount_shown());
	close_volume();
}
END_TEST

START_TEST(a_lazy_umount_serves_open_files_until_they_are_closed)
{
	struct volume_info info;
	int fd;

	mount_with(NULL);
	fd = open(at("f"), O_CREAT | O_RDWR, 0644);
	ck_assert_int_eq(umount2(mnt, 0), -1);
	ck_assert_int_eq(errno, EBUSY);
	ck_assert_int_eq(umount2(mnt, MNT_DETACH), 0);
	ck_assert_int_eq(write(fd, "late", 4), 4);
	ck_assert(!atomic_load(&run_ended));
	close(fd);
	wait_run();
	volume_info(vol, &info);
	close_volume();
}
END_TEST

START_TEST(stop_takes_a_busy_mount_away_and_frees_what_was_unlinked)
{
	struct attr a;
	uint64_t ino;
	int fd;

	mount_with(NULL);
	fd = open(at("f"), O_CREAT | O_RDWR, 0644);
	ck_assert_int_eq(write(fd, "text", 4), 4);
	ino = stat_of("f").st_ino;
	ck_assert_int_eq(unlink(at("f")), 0);
	ck_assert_int_eq(volume_getattr(vol, ino, &a), 0);
	front_stop(front);
	wait_run();
	ck_assert(!mount_shown());
	ck_assert_int_eq(pwrite(fd, "late", 4, 0), -1);
	close(fd);
	ck_assert_int_eq(volume_getattr(vol, ino, &a), -ENOENT);
	close_volume();
}
END_TEST

START_TEST(stop_flushes_dirty_pages_of_a_mapping_in_use)
{
	char buf[8] = { 0 }, *map;
	uint64_t ino;
	int fd;

	mount_with(NULL);
	fd = open(at("m"), O_CREAT | O_RDWR, 0644);
	ck_assert_int_eq(ftruncate(fd, 4096), 0);
	ino = stat_of("m").st_ino;
	map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(map, MAP_FAILED);
	memcpy(map, "dirty", 5);
	front_stop(front);
	wait_run();
	ck_assert_int_eq(volume_read(vol, ino, buf, 5, 0), 5);
	ck_assert_str_eq(buf, "dirty");
	close_volume();
}
END_TEST

START_TEST(a_mount_that_never_ran_goes_with_its_front)
{
	const struct front_options opt = { .mountpoint = mnt, .fsname = store };
	struct err err = ERR_INIT;

	ck_assert_msg(front_mount(vol, &opt, &front, &err) == 0, "%s", err_text(&err));
	ck_assert(mount_shown());
	front_free(front);
	ck_assert(!mount_shown());
	close_volume();
}
END_TEST

START_TEST(a_dead_mount_of_ours_is_replaced)
{
	const struct front_options opt = { .mountpoint = mnt, .fsname = store };
	struct front *f;
	struct stat st;
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(front_mount(vol, &opt, &f, NULL) != 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	ck_assert_int_eq(stat(mnt, &st), -1);
	ck_assert_int_eq(errno, ENOTCONN);
	mount_with(NULL);
	put("f", "x");
	teardown();
}
END_TEST

/* ---- killed ---- */

/* A process of which a thread sleeps in the kernel function `where`, within ten seconds. */
static bool sleeps_in(pid_t pid, const char *where)
{
	char cmd[160];

	snprintf(cmd, sizeof(cmd), "cat /proc/%d/task/*/wchan 2>/dev/null | grep -q %s", (int)pid, where);
	for (int i = 0; i < 200; i++) {
		if (system(cmd) == 0)
			return true;
		usleep(50000);
	}
	return false;
}

static bool is_gone(pid_t pid)
{
	for (int i = 0; i < 200; i++) {
		if (waitpid(pid, NULL, WNOHANG) == pid)
			return true;
		usleep(50000);
	}
	return false;
}

static void expect_byte(int fd)
{
	char c;

	ck_assert_int_eq(read(fd, &c, 1), 1);
}

/* Serves a mount; from the second byte on it answers nothing; with the third it tells the kernel of a name. */
static void host_main(int in, int out)
{
	struct notice notice = { .kind = NOTICE_ENTRY, .parent = INO_ROOT, .name = "y", .name_len_bytes = 1 };

	setpgid(0, 0); /* it is killed with all of its group, as by timeout(1) */
	setup();
	ck_assert_int_eq(write(out, "m", 1), 1);
	expect_byte(in);
	volume_lock(vol);
	ck_assert_int_eq(write(out, "l", 1), 1);
	expect_byte(in);
	front_notice(front, &notice, 1);
	for (;;)
		pause();
}

static pid_t ask(bool for_a_name)
{
	char value[8];
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	if (for_a_name)
		_exit(symlink("target", at("x")) != 0);
	_exit(getxattr(mnt, "user.x", value, sizeof(value)) < 0);
}

/* [1]: the guard is killed before it, as when all of a cgroup is. Who mounts again unties it. */
START_TEST(a_killed_daemon_goes_even_while_it_tells_of_a_name_in_a_busy_directory)
{
	bool gone, untied = false, guarded = _i == 0;
	int in[2], out[2];
	pid_t host, asker[3];
	struct stat st;
	char cmd[80];

	if (access("/proc/self/wchan", R_OK) != 0)
		return;
	ck_assert(pipe(in) == 0 && pipe(out) == 0);
	host = fork();
	if (host == 0)
		host_main(in[0], out[1]);
	snprintf(mnt, sizeof(mnt), "%s/mnt-%d", base, (int)host);
	expect_byte(out[0]);
	ck_assert_int_eq(stat(mnt, &st), 0); /* or else the kernel would ask for that first, without a lock */
	ck_assert_int_eq(write(in[1], "l", 1), 1);
	expect_byte(out[0]);
	/* Both workers wait for the volume; what comes next stays in the kernel and locks the directory. */
	for (int i = 0; i < 3; i++) {
		asker[i] = ask(i == 2);
		ck_assert(sleeps_in(asker[i], "request_wait_answer"));
	}
	ck_assert_int_eq(write(in[1], "n", 1), 1);
	ck_assert(sleeps_in(host, "fuse_reverse_inval_entry"));
	snprintf(cmd, sizeof(cmd), "pkill -KILL -P %d -x twinfs-guard", (int)host);
	ck_assert(guarded || system(cmd) == 0);
	ck_assert(!guard_untie(mnt, host)); /* it lives */
	ck_assert_int_eq(kill(-host, SIGKILL), 0);
	for (int i = 0; i < 200 && !guarded && !untied; i++) {
		untied = guard_untie(mnt, host);
		usleep(50000);
	}
	gone = is_gone(host);
	umount2(mnt, MNT_FORCE | MNT_DETACH); /* unties it if all failed */
	for (int i = 0; i < 3; i++)
		ck_assert(is_gone(asker[i]));
	ck_assert(gone);
	ck_assert(untied != guarded);
}
END_TEST

/* ---- -o inotify: who watches hears of the peer's changes ----------------------------------------- */

static void setup_inotify(void)
{
	open_volume();
	mount_with(&(struct front_options){ .options = "inotify" });
}

/* Until there is such an event; others before it are passed over. */
static void expect_event(int fd, uint32_t mask, const char *name)
{
	_Alignas(struct inotify_event) char buf[4096];

	for (ssize_t n; (n = read(fd, buf, sizeof(buf))) > 0;)
		for (char *p = buf; p < buf + n;) {
			const struct inotify_event *e = (const struct inotify_event *)p;

			if ((e->mask & mask) && strcmp(e->len ? e->name : "", name) == 0)
				return;
			p += sizeof(*e) + e->len;
		}
	ck_abort_msg("%s", strerror(errno));
}

static int watch(const char *name)
{
	int fd = inotify_init1(IN_CLOEXEC);

	ck_assert_int_ge(inotify_add_watch(fd, at(name), IN_MODIFY), 0);
	return fd;
}

START_TEST(who_watches_hears_of_the_peers_changes_and_they_stay_the_peers)
{
	struct inode before, after;
	struct volume_info then, now;
	uint64_t ino;
	int dir, file;

	put("f", "old");
	put("gone", "");
	ck_assert_int_eq(symlink("/etc", at("outside")), 0);
	ino = stat_of("f").st_ino;
	dir = watch("");
	file = watch("f");
	ck_assert_int_eq(volume_commit(vol), 0);

	peer_write(ino, "new", 0, 3);
	ck_assert_int_eq(tree_inode_get(vol, ino, &before), 0);
	volume_info(vol, &then);
	expect_event(dir, IN_MODIFY, "f");
	expect_event(file, IN_MODIFY, "");
	ck_assert_str_eq(get("f"), "new");
	ck_assert_int_eq(volume_commit(vol), 0);
	ck_assert_int_eq(tree_inode_get(vol, ino, &after), 0);
	volume_info(vol, &now);
	ck_assert_int_eq(after.mtime_ns, before.mtime_ns);
	ck_assert_int_eq(after.ctime_ns, before.ctime_ns);
	ck_assert_int_eq(after.origin, ORIGIN_PEER);
	ck_assert_uint_eq(now.committed, then.committed);

	peer_create("made");
	expect_event(dir, IN_MODIFY, "made");
	peer_move("made", "moved");
	expect_event(dir, IN_MODIFY, "moved");
	peer_begin();
	peer_touch(stat_of("outside").st_ino, NS_PER_S * 1000);
	peer_end();
	expect_event(dir, IN_MODIFY, "outside");
	peer_move("gone", NULL);
	expect_event(dir, IN_MODIFY, "");
	close(dir);
	close(file);
}
END_TEST

START_TEST(who_watches_hears_of_the_directory_when_too_much_was_changed)
{
	enum { N = 20000 };
	struct notice *list = calloc(N, sizeof(*list));
	int dir;

	ck_assert_int_eq(mkdir(at("d"), 0755), 0);
	dir = watch("d");
	for (int i = 0; i < N; i++) {
		list[i].kind = NOTICE_ENTRY;
		list[i].parent = INO_ROOT;
		list[i].name_len_bytes = (unsigned)snprintf(list[i].name, sizeof(list[i].name), "name-%d", i);
	}
	front_notice(front, list, N);
	expect_event(dir, IN_MODIFY, "");
	close(dir);
	free(list);
}
END_TEST

/* Name, state and parent of a process; false: there is none. */
static bool process(pid_t pid, char name[32], char *state, int *parent)
{
	char path[64];
	FILE *f;
	int n;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return false;
	n = fscanf(f, "%*d (%31[^)]) %c %d", name, state, parent);
	fclose(f);
	return n == 3;
}

static pid_t helper_of(pid_t host)
{
	DIR *dir = opendir("/proc");
	struct dirent *d;
	char name[32], state;
	pid_t found = -1;
	int parent;

	while ((d = readdir(dir)))
		if (atoi(d->d_name) > 0 && process(atoi(d->d_name), name, &state, &parent) && parent == host &&
		    strcmp(name, "twinfs-watchers") == 0)
			found = atoi(d->d_name);
	closedir(dir);
	return found;
}

static bool has_ended(pid_t pid)
{
	char name[32], state;
	int parent;

	return !process(pid, name, &state, &parent) || state == 'Z';
}

/* Answers nothing from the second byte on, and has somebody touched then. */
static void watched_main(int in, int out)
{
	struct notice notice = { .kind = NOTICE_INODE, .ino = INO_ROOT };

	setpgid(0, 0);
	setup_inotify();
	ck_assert_int_eq(write(out, "m", 1), 1);
	expect_byte(in);
	front_still(front, true);
	front_notice(front, &notice, 1);
	for (;;)
		pause();
}

START_TEST(a_killed_daemon_goes_even_while_who_watches_is_told)
{
	int in[2], out[2];
	pid_t host, helper = -1;
	bool gone = false;

	if (access("/proc/self/wchan", R_OK) != 0)
		return;
	ck_assert(pipe(in) == 0 && pipe(out) == 0);
	host = fork();
	if (host == 0)
		watched_main(in[0], out[1]);
	snprintf(mnt, sizeof(mnt), "%s/mnt-%d", base, (int)host);
	expect_byte(out[0]);
	for (int i = 0; i < 200 && helper < 0; i++, usleep(20000)) /* of the thread that runs the mount */
		helper = helper_of(host);
	ck_assert_int_gt(helper, 0);
	ck_assert_int_eq(write(in[1], "s", 1), 1);
	ck_assert(sleeps_in(helper, "request_wait_answer"));
	ck_assert_int_eq(kill(-host, SIGKILL), 0);
	gone = is_gone(host);
	umount2(mnt, MNT_FORCE | MNT_DETACH);
	ck_assert(gone);
	gone = false;
	for (int i = 0; i < 200 && !gone; i++, usleep(20000))
		gone = has_ended(helper);
	ck_assert(gone);
}
END_TEST

START_TEST(stop_ends_a_mount_that_tells_who_watches)
{
	int dir = watch("");

	for (int i = 0; i < 300; i++) {
		char name[16];

		snprintf(name, sizeof(name), "n%d", i);
		peer_create(name);
	}
	expect_event(dir, IN_MODIFY, "n0");
	close(dir); /* it goes on telling, to nobody, while the mount goes */
}
END_TEST

static void expect_refusal(const char *mountpoint, const char *options, int code, const char *words)
{
	const struct front_options opt = { .mountpoint = mountpoint, .fsname = store, .options = options };
	struct err err = ERR_INIT;
	struct front *f = NULL;

	ck_assert_msg(front_mount(vol, &opt, &f, &err) == code, "%s: %d %s", mountpoint, err.code, err.text);
	ck_assert_msg(strstr(err.text, words) != NULL, "%s", err.text);
}

START_TEST(unusable_mountpoints_and_options_are_refused_in_words)
{
	char path[128];
	int fd;

	expect_refusal(mnt, "ro,colour=blue", -EINVAL, "\"colour=blue\"");
	snprintf(path, sizeof(path), "%s/none", store);
	expect_refusal(path, NULL, -ENOENT, "does not exist");
	snprintf(path, sizeof(path), "%s/file", store);
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	expect_refusal(path, NULL, -ENOTDIR, "not a directory");
	expect_refusal(store, NULL, -ENOTEMPTY, "not empty");
	expect_refusal("/proc", NULL, -EBUSY, "already a mountpoint (proc)");
	mount_with(NULL);
	expect_refusal(mnt, NULL, -EBUSY, "already a mountpoint (fuse.twinfs)");
	teardown();
}
END_TEST

/* A failed test leaves its mount behind. */
static void clean_up(void)
{
	DIR *dir = opendir(base);
	struct dirent *d;
	char *cmd;

	while (dir && (d = readdir(dir))) {
		char *path = xasprintf("%s/%s", base, d->d_name);

		if (strncmp(d->d_name, "mnt-", 4) == 0)
			while (umount2(path, MNT_DETACH) == 0)
				;
		free(path);
	}
	if (dir)
		closedir(dir);
	cmd = xasprintf("rm -rf --one-file-system '%s'", base);
	if (system(cmd) != 0)
		fprintf(stderr, "# %s is left\n", base);
	free(cmd);
}

/* ---- who serves ---------------------------------------------------------------------------------- */

static long cpu_ms(const struct rusage *r)
{
	return (r->ru_utime.tv_sec + r->ru_stime.tv_sec) * 1000 + (r->ru_utime.tv_usec + r->ru_stime.tv_usec) / 1000;
}

/* Who asked the kernel on and on, or looked after the others on and on, would do so a thousand times and more. */
START_TEST(an_idle_mount_uses_no_cpu)
{
	struct rusage before, after;

	for (int i = 0; i < 500; i++) {
		put("short-lived", "x");
		ck_assert_int_eq(unlink(at("short-lived")), 0);
	}
	usleep(300000);
	ck_assert_int_eq(getrusage(RUSAGE_SELF, &before), 0);
	sleep(2);
	ck_assert_int_eq(getrusage(RUSAGE_SELF, &after), 0);
	ck_assert_int_le(after.ru_nvcsw - before.ru_nvcsw, 200);
	ck_assert_int_le(cpu_ms(&after) - cpu_ms(&before), 400);
}
END_TEST

/* More of them than there are workers: the file is used meanwhile, and they can be killed. */
START_TEST(who_waits_for_a_lock_keeps_no_worker)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	pid_t waiting[20];
	int fd, status;

	put("locked", "x");
	fd = open(at("locked"), O_RDWR);
	ck_assert_int_eq(fcntl(fd, F_SETLK, &lock), 0);
	for (size_t i = 0; i < ARRAY_LEN(waiting); i++) {
		waiting[i] = fork();
		if (waiting[i] == 0)
			_exit(fcntl(open(at("locked"), O_RDWR), F_SETLKW, &lock) == 0 ? 0 : 1);
	}
	usleep(100000);
	for (int i = 0; i < 100; i++) {
		put("other", "y");
		ck_assert_int_eq(unlink(at("other")), 0);
	}
	for (size_t i = 0; i < ARRAY_LEN(waiting); i++) {
		ck_assert_int_eq(waitpid(waiting[i], &status, WNOHANG), 0);
		ck_assert_int_eq(kill(waiting[i], SIGKILL), 0);
		ck_assert_int_eq(waitpid(waiting[i], &status, 0), waiting[i]);
		ck_assert(WIFSIGNALED(status));
	}
	close(fd);
}
END_TEST

int main(void)
{
	const TTest *const mounted[] = {
		what_is_written_is_read_back,
		an_idle_mount_uses_no_cpu,
		who_waits_for_a_lock_keeps_no_worker,
		names_obey_posix,
		attributes_and_holes_are_kept,
		a_copy_within_the_mount_keeps_holes_and_what_the_kernel_has_cached_is_forgotten,
		permissions_are_checked_and_suid_falls,
		xattrs_are_kept_and_what_is_no_acl_refused,
		shared_mappings_and_writes_are_one,
		a_listing_survives_deletions_in_its_middle,
		a_change_of_the_peer_reaches_every_reader,
		names_of_the_peer_come_and_go,
		an_append_goes_to_the_end_that_the_peer_made,
		more_notices_than_the_queue_holds_lose_nothing,
		no_stale_answer_stays_when_lookups_and_notices_meet,
		new_attributes_never_come_with_old_bytes,
		own_writes_stay_in_a_page_that_the_peer_changes,
		own_writes_are_read_back_at_once_from_a_page_that_the_peer_changes,
	};
	const TTest *const watched[] = {
		who_watches_hears_of_the_peers_changes_and_they_stay_the_peers,
		who_watches_hears_of_the_directory_when_too_much_was_changed,
		stop_ends_a_mount_that_tells_who_watches,
	};
	const TTest *const life[] = {
		the_fsync_hook_answers_fsync,
		a_read_only_mount_refuses_writes,
		umount_ends_the_run,
		a_lazy_umount_serves_open_files_until_they_are_closed,
		stop_takes_a_busy_mount_away_and_frees_what_was_unlinked,
		stop_flushes_dirty_pages_of_a_mapping_in_use,
		a_mount_that_never_ran_goes_with_its_front,
		a_dead_mount_of_ours_is_replaced,
		a_killed_daemon_goes_even_while_who_watches_is_told,
		unusable_mountpoints_and_options_are_refused_in_words,
	};
	Suite *s = suite_create("front");
	TCase *use = tcase_create("mounted"), *ends = tcase_create("life"), *watches = tcase_create("watched");
	int rc;

	if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) != 0) {
		printf("1..0 # SKIP mounting wants root and /dev/fuse\n");
		return 0;
	}
	snprintf(base, sizeof(base), "/tmp/twinfs-front.XXXXXX");
	if (!mkdtemp(base) || chmod(base, 0755) != 0)
		return 1;
	tcase_add_checked_fixture(use, setup, teardown);
	tcase_add_checked_fixture(watches, setup_inotify, teardown);
	tcase_add_checked_fixture(ends, open_volume, NULL);
	tcase_set_timeout(use, 60);
	tcase_set_timeout(watches, 60);
	tcase_set_timeout(ends, 60);
	for (size_t i = 0; i < ARRAY_LEN(mounted); i++)
		tcase_add_test(use, mounted[i]);
	for (size_t i = 0; i < ARRAY_LEN(watched); i++)
		tcase_add_test(watches, watched[i]);
	for (size_t i = 0; i < ARRAY_LEN(life); i++)
		tcase_add_test(ends, life[i]);
	tcase_add_loop_test(ends, a_killed_daemon_goes_even_while_it_tells_of_a_name_in_a_busy_directory, 0, 2);
	suite_add_tcase(s, use);
	suite_add_tcase(s, watches);
	suite_add_tcase(s, ends);
	rc = tap_main(s);
	clean_up();
	return rc;
}
