/* SPDX-License-Identifier: MIT */
/*
 * suite DIR [WORD]: what Linux promises a program of a filesystem, one row a behaviour (those whose name has WORD in
 * it), each in an empty directory below DIR and in a process of its own. Wants root. TAP on stdout.
 *
 * A row that a plain ext4 passes and twinfs cannot has its reason in the table at the end.
 */
#include "tests/posix/posix.h"

#include <dirent.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>

#define USER 1001
#define GROUP 1002

/* ---- helpers ------------------------------------------------------------------------------------- */

static int put(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);

	WANT(fd >= 0 && write(fd, data, len) == (ssize_t)len);
	return fd;
}

static void put_text(const char *path, const char *text)
{
	close(put(path, text, strlen(text)));
}

static bool has_text(const char *path, const char *text)
{
	char buf[4096];
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof(buf));

	if (fd >= 0)
		close(fd);
	return n == (ssize_t)strlen(text) && memcmp(buf, text, (size_t)n) == 0;
}

static struct stat st_of(const char *path)
{
	struct stat st;

	WANT(lstat(path, &st) == 0);
	return st;
}

/* Both as stat and as statx of the mode alone: caches answer the latter from what they have. */
static unsigned mode_of(const char *path)
{
	struct statx only;

	WANT(statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_MODE, &only) == 0);
	WANT(only.stx_mode == st_of(path).st_mode);
	return only.stx_mode & 07777u;
}

/* A child as an ordinary user; ended with child_ok. */
static pid_t child_begin(bool user)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	WANT(pid >= 0);
	if (pid == 0 && user)
		WANT(setgid(GROUP) == 0 && setuid(USER) == 0);
	return pid;
}

static bool child_ok(pid_t pid)
{
	int status;

	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

#define AS_USER(body)                                                                                                  \
	do {                                                                                                           \
		pid_t as_pid_ = child_begin(true);                                                                     \
		if (as_pid_ == 0) {                                                                                    \
			body;                                                                                          \
			_exit(0);                                                                                      \
		}                                                                                                      \
		WANT(child_ok(as_pid_));                                                                               \
	} while (0)

static long fs_type(void)
{
	struct statfs fs;

	WANT(statfs(".", &fs) == 0);
	return (long)fs.f_type;
}

static bool all_are(const uint8_t *p, size_t n, uint8_t byte)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != byte)
			return false;
	return true;
}

/* ---- bytes --------------------------------------------------------------------------------------- */

static void append_goes_to_the_end(void)
{
	int a = put("f", "one", 3), b = open("f", O_WRONLY | O_APPEND), c = open("f", O_WRONLY | O_APPEND);
	struct iovec iov = { .iov_base = (void *)(uintptr_t)"5", .iov_len = 1 };

	WANT(write(b, "two", 3) == 3 && write(c, "three", 5) == 5 && write(b, "4", 1) == 1);
	WANT(lseek(b, 0, SEEK_CUR) == 12);
	WANT(pwrite(b, "x", 1, 0) == 1); /* Linux: appends as well */
	WANT(pwritev2(a, &iov, 1, 0, RWF_APPEND) == 1);
	WANT(has_text("f", "onetwothree4x5"));
}

static void a_hole_reads_as_zeros(void)
{
	uint8_t buf[8192];
	int fd = put("f", "head", 4);

	WANT(pwrite(fd, "tail", 4, 1 << 20) == 4);
	WANT(pread(fd, buf, sizeof(buf), 4096) == sizeof(buf) && all_are(buf, sizeof(buf), 0));
	WANT(pread(fd, buf, sizeof(buf), (1 << 20) - 10) == 14);
	WANT(all_are(buf, 10, 0) && memcmp(buf + 10, "tail", 4) == 0);
	WANT(pread(fd, buf, 10, 2 << 20) == 0);
	WANT(st_of("f").st_size == (1 << 20) + 4);
}

static void what_was_cut_off_never_comes_back(void)
{
	uint8_t buf[20000];
	int fd = open("f", O_RDWR | O_CREAT, 0600);

	memset(buf, 'x', sizeof(buf));
	WANT(write(fd, buf, sizeof(buf)) == sizeof(buf));
	WANT(ftruncate(fd, 100) == 0 && ftruncate(fd, 15000) == 0);
	WANT(pread(fd, buf, sizeof(buf), 0) == 15000);
	WANT(all_are(buf, 100, 'x') && all_are(buf + 100, 14900, 0));
	WANT(truncate("f", 0) == 0 && pwrite(fd, "y", 1, 5000) == 1);
	WANT(pread(fd, buf, sizeof(buf), 0) == 5001 && all_are(buf, 5000, 0) && buf[5000] == 'y');
}

static void a_mapping_and_reads_are_one(void)
{
	int fd = open("f", O_RDWR | O_CREAT, 0600);
	char buf[4096], *shared, *private;

	WANT(ftruncate(fd, 3 * 4096) == 0);
	shared = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	private = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	WANT(shared != MAP_FAILED && private != MAP_FAILED);
	strcpy(shared + 4096, "by the mapping");
	WANT(pread(fd, buf, 14, 4096) == 14 && memcmp(buf, "by the mapping", 14) == 0);
	WANT(pwrite(fd, "by a write", 10, 0) == 10 && memcmp(shared, "by a write", 10) == 0);
	strcpy(private + 8192, "mine");
	WANT(pread(fd, buf, 4, 8192) == 4 && all_are((uint8_t *)buf, 4, 0));
	WANT(msync(shared, 3 * 4096, MS_SYNC) == 0 && fsync(fd) == 0);
	WANT(munmap(shared, 3 * 4096) == 0);
	close(fd);
	fd = open("f", O_RDONLY);
	WANT(pread(fd, buf, 14, 4096) == 14 && memcmp(buf, "by the mapping", 14) == 0);
}

static void beyond_the_end_a_mapping_is_sigbus_and_its_bytes_are_lost(void)
{
	int fd = open("f", O_RDWR | O_CREAT, 0600), status;
	char *map, buf[100];
	pid_t pid;

	WANT(ftruncate(fd, 2 * 4096) == 0);
	map = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	WANT(map != MAP_FAILED);
	memset(map, 'a', 2 * 4096);
	WANT(ftruncate(fd, 50) == 0);
	memset(map, 'b', 100); /* 50 bytes of it are behind the end */
	pid = child_begin(false);
	if (pid == 0) {
		signal(SIGBUS, SIG_DFL);
		map[5000] = 'c';
		_exit(0);
	}
	WANT(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
	WANT(msync(map, 4096, MS_SYNC) == 0);
	WANT(ftruncate(fd, 200) == 0 && pread(fd, buf, 100, 0) == 100);
	WANT(all_are((uint8_t *)buf, 50, 'b') && all_are((uint8_t *)buf + 50, 50, 0));
}

static void fallocate_does_what_each_mode_says(void)
{
	uint8_t buf[65536];
	int fd = open("f", O_RDWR | O_CREAT, 0600);

	memset(buf, 'x', sizeof(buf));
	WANT(write(fd, buf, sizeof(buf)) == sizeof(buf));
	WANT(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1000, 10000) == 0);
	WANT(fallocate(fd, FALLOC_FL_ZERO_RANGE, 20000, 100) == 0);
	WANT(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 65000, 100000) == 0);
	WANT(st_of("f").st_size == 65536);
	WANT(pread(fd, buf, sizeof(buf), 0) == sizeof(buf));
	WANT(all_are(buf, 1000, 'x') && all_are(buf + 1000, 10000, 0) && all_are(buf + 11000, 9000, 'x'));
	WANT(all_are(buf + 20000, 100, 0) && all_are(buf + 20100, 44900, 'x') && all_are(buf + 65000, 536, 0));
	WANT(fallocate(fd, FALLOC_FL_KEEP_SIZE, 60000, 100000) == 0 && st_of("f").st_size == 65536);
	WANT(fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 60000, 100000) == 0);
	WANT(st_of("f").st_size == 65536);
	WANT(fallocate(fd, 0, 0, 70000) == 0 && st_of("f").st_size == 70000);
	WANT(fallocate(fd, FALLOC_FL_ZERO_RANGE, 70000, 10000) == 0 && st_of("f").st_size == 80000);
	WANT(posix_fallocate(fd, 80000, 1000) == 0 && st_of("f").st_size == 81000);
	REFUSED(EINVAL, fallocate(fd, 0, 0, 0));
	REFUSED(EINVAL, fallocate(fd, 0, -1, 10));
	REFUSED(EOPNOTSUPP, fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10));
	REFUSED(EBADF, fallocate(open("f", O_RDONLY), 0, 0, 10));
}

static void collapse_and_insert_work_or_are_refused_cleanly(void)
{
	uint8_t buf[5 * 4096];
	int fd = open("f", O_RDWR | O_CREAT, 0600);

	for (int i = 0; i < 4; i++)
		memset(buf + i * 4096, 'a' + i, 4096);
	WANT(write(fd, buf, 4 * 4096) == 4 * 4096);
	if (fallocate(fd, FALLOC_FL_COLLAPSE_RANGE, 4096, 4096) == 0) {
		WANT(pread(fd, buf, sizeof(buf), 0) == 3 * 4096 && buf[4096] == 'c' && buf[8192] == 'd');
	} else {
		WANT(errno == EOPNOTSUPP);
		REFUSED(EOPNOTSUPP, fallocate(fd, FALLOC_FL_INSERT_RANGE, 4096, 4096));
		WANT(st_of("f").st_size == 4 * 4096);
	}
}

static void data_and_holes_are_found(void)
{
	int fd = open("f", O_RDWR | O_CREAT, 0600);

	WANT(pwrite(fd, "x", 1, 1 << 20) == 1 && ftruncate(fd, 4 << 20) == 0);
	WANT(lseek(fd, 0, SEEK_DATA) == 1 << 20 && lseek(fd, 0, SEEK_HOLE) == 0);
	WANT(lseek(fd, 1 << 20, SEEK_DATA) == 1 << 20);
	WANT(lseek(fd, 1 << 20, SEEK_HOLE) == (1 << 20) + 4096);
	REFUSED(ENXIO, lseek(fd, 2 << 20, SEEK_DATA));
	WANT(lseek(fd, (4 << 20) - 1, SEEK_HOLE) == (4 << 20) - 1);
	REFUSED(ENXIO, lseek(fd, 4 << 20, SEEK_HOLE));
	REFUSED(ENXIO, lseek(fd, -5, SEEK_DATA));
	WANT(lseek(fd, 0, SEEK_END) == 4 << 20);
	REFUSED(EINVAL, lseek(fd, -1, SEEK_SET));
}

static void copy_file_range_copies_what_it_says(void)
{
	static uint8_t buf[300000], back[300000];
	uint64_t seed = 7;
	struct stat before;
	off_t in = 1000, out = 5;
	int a, b;

	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)rnd_next(&seed);
	a = put("a", buf, sizeof(buf));
	b = put("b", "", 0);
	WANT(futimens(b, (struct timespec[2]){ { 1, 0 }, { 1, 0 } }) == 0);
	before = st_of("b");
	while (in < 250000) {
		ssize_t n = copy_file_range(a, &in, b, &out, (size_t)(250000 - in), 0);

		WANT(n > 0);
	}
	WANT(in == 250000 && out == 249005 && st_of("b").st_size == 249005);
	WANT(pread(b, back, sizeof(back), 0) == 249005);
	WANT(all_are(back, 5, 0) && memcmp(back + 5, buf + 1000, 249000) == 0);
	WANT(st_of("b").st_mtim.tv_sec > before.st_mtim.tv_sec);
	in = sizeof(buf);
	WANT(copy_file_range(a, &in, b, &out, 10, 0) == 0); /* the end */
	in = 0;
	out = 50;
	REFUSED(EINVAL, copy_file_range(a, &in, a, &out, 100, 0)); /* overlap */
	out = 200000;
	WANT(copy_file_range(a, &in, a, &out, 100, 0) == 100);
	WANT(pread(a, back, 100, 200000) == 100 && memcmp(back, buf, 100) == 0);
	REFUSED(EINVAL, copy_file_range(a, &in, b, &out, 10, 1));
	REFUSED(EBADF, copy_file_range(a, NULL, open("b", O_WRONLY | O_APPEND), NULL, 10, 0));
	REFUSED(EBADF, copy_file_range(a, NULL, open("b", O_RDONLY), NULL, 10, 0));
	WANT(mkdir("d", 0755) == 0);
	REFUSED(EISDIR, copy_file_range(open("d", O_RDONLY), NULL, b, NULL, 10, 0));
}

static void files_may_be_sparse_and_huge(void)
{
	const off_t far = (off_t)7 << 40;
	char buf[10];
	int fd = open("f", O_RDWR | O_CREAT, 0600);

	WANT(pwrite(fd, "far", 3, far) == 3 && st_of("f").st_size == far + 3);
	WANT(st_of("f").st_blocks <= 64);
	WANT(pread(fd, buf, 10, far - 1) == 4 && memcmp(buf, "\0far", 4) == 0);
	WANT(ftruncate(fd, far / 2) == 0 && ftruncate(fd, far) == 0 && pread(fd, buf, 10, far - 5) == 5);
	WANT(all_are((uint8_t *)buf, 5, 0));
}

static void beyond_the_largest_size_is_efbig(void)
{
	int fd = open("f", O_RDWR | O_CREAT, 0600);

	REFUSED(EFBIG, pwrite(fd, "x", 1, INT64_MAX - 1));
	REFUSED(EFBIG, ftruncate(fd, INT64_MAX));
	REFUSED(EFBIG, fallocate(fd, 0, INT64_MAX - 10, 10));
	REFUSED(EINVAL, pwrite(fd, "x", 1, -1));
	REFUSED(EINVAL, ftruncate(fd, -1));
	WANT(st_of("f").st_size == 0);
}

static void the_limit_of_a_process_is_kept(void)
{
	const struct rlimit limit = { 10000, 10000 };
	char buf[8192] = "x";
	int fd = open("f", O_RDWR | O_CREAT, 0600);

	signal(SIGXFSZ, SIG_IGN);
	WANT(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	WANT(write(fd, buf, 8192) == 8192 && write(fd, buf, 8192) == 1808);
	REFUSED(EFBIG, write(fd, buf, 1));
	REFUSED(EFBIG, ftruncate(fd, 10001));
	REFUSED(EFBIG, fallocate(fd, 0, 0, 10001));
	WANT(st_of("f").st_size == 10000);
}

static void direct_io_reads_and_writes_the_same_bytes(void)
{
	int fd = open("f", O_RDWR | O_CREAT | O_DIRECT, 0600), plain = open("f", O_RDWR);
	char *buf = aligned_alloc(4096, 65536), small[100];
	ssize_t n;

	WANT(fd >= 0 && buf);
	memset(buf, 'd', 65536);
	WANT(write(fd, buf, 65536) == 65536);
	WANT(pread(plain, small, 100, 65000) == 100 && all_are((uint8_t *)small, 100, 'd'));
	WANT(pwrite(plain, "plain", 5, 4096) == 5);
	WANT(pread(fd, buf, 4096, 4096) == 4096 && memcmp(buf, "plaind", 6) == 0);
	n = pwrite(fd, "odd", 3, 10); /* ext4 wants it aligned */
	WANT(n == 3 || (n == -1 && errno == EINVAL));
	WANT(pread(plain, small, 4, 10) == 4 && memcmp(small, n == 3 ? "oddd" : "dddd", 4) == 0);
	WANT(ftruncate(plain, 65536 - 100) == 0);
	WANT(pread(fd, buf, 8192, 61440) == 4096 - 100);
}

static void splice_and_sendfile_move_bytes(void)
{
	int a = put("a", "0123456789", 10), b = put("b", "", 0), pipes[2];
	off_t off = 2;

	WANT(sendfile(b, a, &off, 5) == 5 && off == 7 && has_text("b", "23456"));
	WANT(pipe(pipes) == 0);
	off = 0;
	WANT(splice(a, &off, pipes[1], NULL, 4, 0) == 4);
	off = 5;
	WANT(splice(pipes[0], NULL, b, &off, 4, 0) == 4 && has_text("b", "234560123"));
}

static void all_ways_to_sync_work(void)
{
	int fd = put("f", "x", 1), dir = open(".", O_RDONLY);

	WANT(fsync(fd) == 0 && fdatasync(fd) == 0 && fsync(dir) == 0 && fdatasync(dir) == 0 && syncfs(fd) == 0);
	WANT(sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE) == 0);
	WANT(fsync(open("f", O_RDONLY)) == 0);
	fd = open("f", O_WRONLY | O_SYNC | O_DSYNC);
	WANT(write(fd, "y", 1) == 1 && has_text("f", "y"));
}

/* ---- unlinked, renamed, replaced ----------------------------------------------------------------- */

static void an_unlinked_file_lives_while_it_is_open(void)
{
	int fd = put("f", "abc", 3);
	struct stat st;
	char buf[10], path[64];

	WANT(unlink("f") == 0 && fstat(fd, &st) == 0 && st.st_nlink == 0);
	WANT(pwrite(fd, "def", 3, 3) == 3 && ftruncate(fd, 5) == 0 && fchmod(fd, 0600) == 0);
	WANT(fsetxattr(fd, "user.k", "v", 1, 0) == 0 && fgetxattr(fd, "user.k", buf, 10) == 1);
	WANT(pread(fd, buf, 10, 0) == 5 && memcmp(buf, "abcde", 5) == 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	REFUSED(ENOENT, linkat(AT_FDCWD, path, AT_FDCWD, "again", AT_SYMLINK_FOLLOW));
	WANT(fsync(fd) == 0);
}

static void a_replaced_file_lives_while_it_is_open(void)
{
	int old = put("f", "old", 3);
	struct stat st;
	char buf[10];

	put_text("g", "new");
	WANT(rename("g", "f") == 0 && has_text("f", "new"));
	WANT(fstat(old, &st) == 0 && st.st_nlink == 0 && pread(old, buf, 10, 0) == 3 && memcmp(buf, "old", 3) == 0);
}

static void a_removed_working_directory_is_empty_for_ever(void)
{
	char buf[4096];

	WANT(mkdir("d", 0755) == 0 && chdir("d") == 0 && rmdir("../d") == 0);
	REFUSED(ENOENT, open("f", O_CREAT | O_WRONLY, 0600));
	REFUSED(ENOENT, mkdir("e", 0700));
	WANT(getcwd(buf, sizeof(buf)) == NULL && errno == ENOENT);
	WANT(opendir(".") != NULL && readdir(opendir(".")) == NULL);
}

static void rename_flags_are_kept_or_refused(void)
{
	put_text("a", "A");
	put_text("b", "B");
	REFUSED(EEXIST, renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE));
	WANT(renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_EXCHANGE) == 0 && has_text("a", "B") && has_text("b", "A"));
	REFUSED(ENOENT, renameat2(AT_FDCWD, "a", AT_FDCWD, "none", RENAME_EXCHANGE));
	REFUSED(EINVAL, renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_EXCHANGE | RENAME_NOREPLACE));
	if (renameat2(AT_FDCWD, "a", AT_FDCWD, "c", RENAME_WHITEOUT) == 0)
		WANT(S_ISCHR(st_of("a").st_mode) && st_of("a").st_rdev == 0 && has_text("c", "B"));
	else
		WANT(errno == EINVAL && has_text("a", "B"));
}

static void o_tmpfile_works_or_is_refused_cleanly(void)
{
	int fd = open(".", O_TMPFILE | O_RDWR, 0640);
	char path[64];

	if (fd < 0) {
		WANT(errno == EOPNOTSUPP);
		return;
	}
	WANT(write(fd, "tmp", 3) == 3);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	WANT(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW) == 0 && has_text("named", "tmp"));
	WANT(st_of("named").st_nlink == 1);
}

/* ---- names --------------------------------------------------------------------------------------- */

static void names_may_have_any_byte(void)
{
	char name[256], longer[257];
	struct dirent *d;
	DIR *dir;
	int n = 0;

	for (int i = 0, byte = 1; i < 255; i++, byte++)
		name[i] = (char)(byte == '/' ? ++byte : byte);
	name[254] = '\n';
	name[255] = '\0';
	put_text(name, "x");
	dir = opendir(".");
	while ((d = readdir(dir)))
		if (strcmp(d->d_name, name) == 0)
			n++;
	WANT(n == 1 && has_text(name, "x"));
	memset(longer, 'n', 256);
	longer[256] = '\0';
	REFUSED(ENAMETOOLONG, open(longer, O_CREAT | O_WRONLY, 0600));
	REFUSED(ENAMETOOLONG, mkdir(longer, 0700));
	REFUSED(ENAMETOOLONG, symlink("x", longer));
	REFUSED(ENAMETOOLONG, rename(name, longer));
	REFUSED(ENOENT, open("", O_RDONLY));
}

static void the_longest_path_works_and_a_longer_one_is_refused(void)
{
	char path[PATH_MAX + 10] = "";
	size_t len = 0;

	while (len < PATH_MAX - 202) {
		memset(path + len, 'd', 200);
		path[len + 200] = '\0';
		WANT(mkdir(path, 0755) == 0);
		path[len + 200] = '/';
		len += 201;
	}
	memset(path + len, 'f', PATH_MAX - 1 - len);
	path[PATH_MAX - 1] = '\0';
	put_text(path, "deep");
	WANT(has_text(path, "deep"));
	strcpy(path + PATH_MAX - 1, "f");
	REFUSED(ENAMETOOLONG, open(path, O_RDONLY));
}

static void symlinks_keep_up_to_4095_bytes(void)
{
	char target[4097], back[5000];

	memset(target, '\xfe', 4095);
	target[4095] = '\0';
	WANT(symlink(target, "l") == 0 && readlink("l", back, sizeof(back)) == 4095 && memcmp(target, back, 4095) == 0);
	WANT(st_of("l").st_size == 4095 && readlink("l", back, 10) == 10);
	strcpy(target + 4095, "x");
	REFUSED(ENAMETOOLONG, symlink(target, "m"));
	REFUSED(ENOENT, symlink("", "m"));
	REFUSED(EINVAL, readlink(".", back, 10));
	WANT(symlink("loop", "loop") == 0);
	REFUSED(ELOOP, open("loop", O_RDONLY));
	REFUSED(ELOOP, open("l", O_RDONLY | O_NOFOLLOW));
}

static void hard_links_are_counted(void)
{
	char name[32];

	put_text("f", "x");
	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "l%d", i);
		WANT(link("f", name) == 0);
	}
	WANT(st_of("f").st_nlink == 301 && st_of("l299").st_ino == st_of("f").st_ino);
	for (int i = 0; i < 299; i++) {
		snprintf(name, sizeof(name), "l%d", i);
		WANT(unlink(name) == 0);
	}
	WANT(unlink("f") == 0 && st_of("l299").st_nlink == 1);
	WANT(symlink("nowhere", "s") == 0 && link("s", "s2") == 0 && S_ISLNK(st_of("s2").st_mode));
	REFUSED(ENOENT, linkat(AT_FDCWD, "s", AT_FDCWD, "s3", AT_SYMLINK_FOLLOW));
	WANT(mkdir("d", 0755) == 0);
	REFUSED(EPERM, link("d", "d2"));
	WANT(mkdir("d/e", 0755) == 0 && st_of("d").st_nlink == 3);
}

static void a_listing_shows_what_stays_exactly_once(void)
{
	enum { N = 20000 };
	static uint8_t seen[N];
	struct dirent *d;
	char name[32];
	DIR *dir;
	int k = 0;

	WANT(mkdir("d", 0755) == 0 && chdir("d") == 0);
	for (int i = 0; i < N; i++) {
		snprintf(name, sizeof(name), "stay%05d", i);
		WANT(mknod(name, S_IFREG | 0600, 0) == 0);
	}
	dir = opendir(".");
	while ((d = readdir(dir))) {
		if (strncmp(d->d_name, "stay", 4) == 0)
			seen[atoi(d->d_name + 4)]++;
		if (++k % 10 == 0) {
			snprintf(name, sizeof(name), "new%d", k);
			WANT(mknod(name, S_IFREG | 0600, 0) == 0);
			if (k % 20 == 0) {
				WANT(unlink(name) == 0);
			} else {
				char other[40];

				snprintf(other, sizeof(other), "renamed%d", k);
				WANT(rename(name, other) == 0);
			}
		}
		WANT(k < 3 * N);
	}
	for (int i = 0; i < N; i++)
		WANT(seen[i] == 1);
}

static void a_listing_is_found_again_at_its_places(void)
{
	struct dirent *d;
	char name[32], after[300];
	long place = 0;
	DIR *dir;
	int n = 0;

	for (int i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		WANT(mknod(name, S_IFREG | 0600, 0) == 0);
	}
	dir = opendir(".");
	for (int i = 0; i < 250; i++)
		WANT(readdir(dir));
	place = telldir(dir);
	d = readdir(dir);
	snprintf(after, sizeof(after), "%s", d->d_name);
	while (readdir(dir))
		;
	for (int i = 0; i < 500; i++) { /* what is there must not move when others go */
		snprintf(name, sizeof(name), "f%d", i);
		if (strcmp(name, after) != 0 && i % 3 == 0)
			WANT(unlink(name) == 0);
	}
	seekdir(dir, place);
	d = readdir(dir);
	WANT(d && strcmp(d->d_name, after) == 0);
	rewinddir(dir);
	while (readdir(dir))
		n++;
	WANT(n >= 332 && n <= 336);
}

static void everything_can_be_deleted_while_it_is_listed(void)
{
	struct dirent *d;
	char name[32];
	DIR *dir;

	for (int i = 0; i < 3000; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		WANT(mknod(name, S_IFREG | 0600, 0) == 0);
	}
	dir = opendir(".");
	while ((d = readdir(dir)))
		if (d->d_name[0] != '.')
			WANT(unlink(d->d_name) == 0);
	dir = opendir(".");
	WANT(readdir(dir) && readdir(dir) && !readdir(dir));
}

static void types_are_in_the_listing(void)
{
	struct dirent *d;
	DIR *dir;
	int n = 0;

	WANT(mknod("f", S_IFREG | 0600, 0) == 0 && mkdir("d", 0700) == 0 && symlink("x", "l") == 0);
	WANT(mkfifo("p", 0600) == 0);
	dir = opendir(".");
	while ((d = readdir(dir))) {
		unsigned char want = d->d_name[0] == 'f' ? DT_REG : d->d_name[0] == 'l' ? DT_LNK
				   : d->d_name[0] == 'p' ? DT_FIFO : DT_DIR;

		WANT(d->d_type == want);
		WANT(strcmp(d->d_name, "..") == 0 || d->d_ino == st_of(d->d_name).st_ino);
		n++;
	}
	WANT(n == 6);
}

static void fifos_sockets_and_devices_work(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX, .sun_path = "sock" };
	int a = socket(AF_UNIX, SOCK_STREAM, 0), b = socket(AF_UNIX, SOCK_STREAM, 0), fd;
	char buf[10];
	pid_t pid;

	WANT(bind(a, (struct sockaddr *)&un, sizeof(un)) == 0 && listen(a, 1) == 0);
	WANT(S_ISSOCK(st_of("sock").st_mode) && connect(b, (struct sockaddr *)&un, sizeof(un)) == 0);
	REFUSED(ENXIO, open("sock", O_RDONLY));
	WANT(mkfifo("fifo", 0600) == 0);
	pid = child_begin(false);
	if (pid == 0) {
		fd = open("fifo", O_WRONLY);
		_exit(write(fd, "through", 7) != 7);
	}
	fd = open("fifo", O_RDONLY);
	WANT(read(fd, buf, 10) == 7 && memcmp(buf, "through", 7) == 0 && child_ok(pid));
	WANT(mknod("null", S_IFCHR | 0666, makedev(1, 3)) == 0 && st_of("null").st_rdev == makedev(1, 3));
	WANT(mknod("blk", S_IFBLK | 0600, makedev(259, 1048575)) == 0 && st_of("blk").st_rdev == makedev(259, 1048575));
	WANT(mknod("white", S_IFCHR, 0) == 0 && S_ISCHR(st_of("white").st_mode));
	WANT(chmod(".", 0777) == 0);
	AS_USER(REFUSED(EPERM, mknod("mine", S_IFCHR | 0666, makedev(1, 3))));
}

/* ---- attributes ---------------------------------------------------------------------------------- */

static const uint8_t capability[20] = { 0, 0, 0, 2, 0, 4, 0, 0 };

/* A setuid, setgid program with a capability that everybody may write to. */
static void make_privileged(void)
{
	put_text("f", "program");
	WANT(chmod("f", 06777) == 0 && setxattr("f", "security.capability", capability, sizeof(capability), 0) == 0);
	WANT(mode_of("f") == 06777);
}

static bool is_unprivileged(void)
{
	char buf[64];

	return mode_of("f") == 0777 && getxattr("f", "security.capability", buf, sizeof(buf)) == -1 && errno == ENODATA;
}

static void privileges_go_when_another_writes(void)
{
	make_privileged();
	AS_USER(WANT(write(open("f", O_WRONLY), "x", 1) == 1));
	WANT(is_unprivileged());
	make_privileged();
	AS_USER(WANT(write(open("f", O_WRONLY | O_APPEND), "x", 1) == 1));
	WANT(is_unprivileged());
}

static void privileges_go_when_another_truncates(void)
{
	make_privileged();
	AS_USER(WANT(truncate("f", 3) == 0));
	WANT(is_unprivileged());
	make_privileged();
	AS_USER(WANT(open("f", O_WRONLY | O_TRUNC) >= 0));
	WANT(is_unprivileged());
}

static void privileges_go_when_another_allocates_or_copies(void)
{
	make_privileged();
	AS_USER(WANT(fallocate(open("f", O_WRONLY), 0, 0, 100) == 0));
	WANT((mode_of("f") & S_ISUID) == 0);
	make_privileged();
	put_text("g", "source");
	AS_USER(WANT(copy_file_range(open("g", O_RDONLY), NULL, open("f", O_WRONLY), NULL, 3, 0) == 3));
	WANT((mode_of("f") & S_ISUID) == 0);
}

/* One without x for the group makes no program; it stays to those who are in the group. */
static void setgid_goes_when_one_outside_of_the_group_writes(void)
{
	put_text("f", "x");
	for (int in_it = 0; in_it < 2; in_it++) {
		unsigned left = in_it ? 02666 : 0666;

		WANT(chown("f", 0, in_it ? GROUP : 0) == 0 && chmod("f", 06666) == 0);
		AS_USER(WANT(write(open("f", O_WRONLY), "x", 1) == 1));
		WANT(mode_of("f") == left && chmod("f", 06666) == 0);
		AS_USER(WANT(truncate("f", 3) == 0));
		WANT(mode_of("f") == left && chmod("f", 06666) == 0);
		AS_USER(WANT(fallocate(open("f", O_WRONLY), 0, 0, 100) == 0));
		WANT(mode_of("f") == left);
	}
}

static void privileges_go_with_the_owner(void)
{
	make_privileged();
	WANT(chown("f", USER, GROUP) == 0 && is_unprivileged());
	WANT(chmod("f", 06755) == 0);
	AS_USER(WANT(chown("f", (uid_t)-1, GROUP) == 0));
	WANT(mode_of("f") == 0755);
	WANT(chmod("f", 02745) == 0 && chown("f", 0, 0) == 0 && mode_of("f") == 02745); /* sgid without x: no program */
}

static void a_mode_without_the_group_loses_setgid(void)
{
	put_text("f", "x");
	WANT(chown("f", USER, 0) == 0);
	AS_USER(WANT(chmod("f", 02755) == 0));
	WANT(mode_of("f") == 0755);
	WANT(chown("f", USER, GROUP) == 0);
	AS_USER(WANT(chmod("f", 02755) == 0));
	WANT(mode_of("f") == 02755);
}

static void a_setgid_directory_gives_its_group(void)
{
	WANT(mkdir("d", 0755) == 0 && chown("d", 0, 4242) == 0 && chmod("d", 02777) == 0);
	AS_USER({
		umask(022);
		put_text("d/f", "x");
		WANT(mkdir("d/e", 0777) == 0 && mknod("d/g", S_IFREG | 02775, 0) == 0 && symlink("x", "d/l") == 0);
	});
	WANT(st_of("d/f").st_gid == 4242 && st_of("d/e").st_gid == 4242 && st_of("d/l").st_gid == 4242);
	WANT(mode_of("d/e") == 02755 && mode_of("d/g") == 0755);
}

static void the_sticky_bit_protects(void)
{
	WANT(mkdir("d", 0777) == 0 && chmod("d", 01777) == 0);
	put_text("d/roots", "x");
	AS_USER({
		REFUSED(EPERM, unlink("d/roots"));
		REFUSED(EPERM, rename("d/roots", "d/mine"));
		put_text("d/own", "x");
		REFUSED(EPERM, rename("d/own", "d/roots"));
		WANT(unlink("d/own") == 0);
	});
}

static void times_are_set_by_whom_they_may(void)
{
	const struct timespec exact[2] = { { 1234567890, 123456789 }, { -5, 1 } };
	const struct timespec now[2] = { { 0, UTIME_NOW }, { 0, UTIME_NOW } };
	const struct timespec omit[2] = { { 7, UTIME_OMIT }, { 9, UTIME_OMIT } };
	const struct timespec half[2] = { { 0, UTIME_OMIT }, { 4102444800, 999999999 } };
	struct stat st, later;

	put_text("f", "x");
	WANT(utimensat(AT_FDCWD, "f", exact, 0) == 0);
	st = st_of("f");
	WANT(st.st_atim.tv_sec == 1234567890 && st.st_atim.tv_nsec == 123456789);
	WANT(st.st_mtim.tv_sec == -5 && st.st_mtim.tv_nsec == 1);
	WANT(utimensat(AT_FDCWD, "f", half, 0) == 0);
	later = st_of("f");
	WANT(later.st_atim.tv_nsec == 123456789 && later.st_mtim.tv_sec == 4102444800 &&
	     later.st_mtim.tv_nsec == 999999999);
	WANT(utimensat(AT_FDCWD, "f", omit, 0) == 0 && st_of("f").st_mtim.tv_sec == 4102444800);
	REFUSED(EINVAL, utimensat(AT_FDCWD, "f", (struct timespec[2]){ { 0, 1000000000 }, { 0, 0 } }, 0));
	WANT(chmod("f", 0644) == 0);
	AS_USER({
		REFUSED(EACCES, utimensat(AT_FDCWD, "f", now, 0));
		REFUSED(EPERM, utimensat(AT_FDCWD, "f", exact, 0));
		WANT(utimensat(AT_FDCWD, "f", omit, 0) == 0);
	});
	WANT(chmod("f", 0666) == 0);
	AS_USER({
		REFUSED(EPERM, utimensat(AT_FDCWD, "f", exact, 0));
		REFUSED(EPERM, utimensat(AT_FDCWD, "f", half, 0));
		WANT(utimensat(AT_FDCWD, "f", now, 0) == 0);
	});
	WANT(st_of("f").st_mtim.tv_sec > 1000000000 && st_of("f").st_mtim.tv_sec < 4102444800);
}

static void statx_says_only_what_is_known(void)
{
	struct statx x;

	put_text("f", "x");
	WANT(statx(AT_FDCWD, "f", AT_STATX_FORCE_SYNC, STATX_ALL, &x) == 0);
	WANT((x.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS && x.stx_size == 1 && x.stx_blksize >= 512);
	if (x.stx_mask & STATX_BTIME)
		WANT(x.stx_btime.tv_sec > 1000000000);
}

static void a_read_moves_the_access_time(void)
{
	const struct timespec old[2] = { { 1000, 0 }, { 2000, 0 } };
	char buf[10];
	int fd = put("f", "x", 1);

	WANT(futimens(fd, old) == 0 && pread(fd, buf, 1, 0) == 1 && st_of("f").st_atim.tv_sec > 2000);
}

static void xattrs_follow_their_man_pages(void)
{
	char name[300], list[1000], buf[100];

	put_text("f", "x");
	WANT(setxattr("f", "user.a", "1234", 4, 0) == 0);
	WANT(getxattr("f", "user.a", NULL, 0) == 4);
	REFUSED(ERANGE, getxattr("f", "user.a", buf, 3));
	REFUSED(EEXIST, setxattr("f", "user.a", "", 0, XATTR_CREATE));
	REFUSED(ENODATA, setxattr("f", "user.b", "", 0, XATTR_REPLACE));
	REFUSED(ENODATA, getxattr("f", "user.b", buf, sizeof(buf)));
	REFUSED(ENODATA, removexattr("f", "user.b"));
	WANT(listxattr("f", NULL, 0) == 7 && listxattr("f", list, sizeof(list)) == 7);
	REFUSED(ERANGE, listxattr("f", list, 6));
	memset(name, 'n', sizeof(name));
	memcpy(name, "user.", 5);
	name[255] = '\0';
	WANT(setxattr("f", name, "v", 1, 0) == 0 && getxattr("f", name, buf, 10) == 1);
	name[255] = 'n';
	name[256] = '\0';
	REFUSED(ERANGE, setxattr("f", name, "v", 1, 0));
	REFUSED(EINVAL, setxattr("f", "user.", "v", 1, 0));
	REFUSED(EOPNOTSUPP, setxattr("f", "nospace", "v", 1, 0));
	REFUSED(EOPNOTSUPP, setxattr("f", "system.nothing", "v", 1, 0));
	REFUSED(EOPNOTSUPP, getxattr("f", "system.nothing", buf, 1));
	WANT(symlink("f", "l") == 0 && mkfifo("p", 0600) == 0);
	REFUSED(EPERM, lsetxattr("l", "user.a", "v", 1, 0));
	REFUSED(EPERM, setxattr("p", "user.a", "v", 1, 0));
	WANT(lsetxattr("l", "trusted.a", "v", 1, 0) == 0 && setxattr("p", "trusted.a", "v", 1, 0) == 0);
	WANT(setxattr("f", "trusted.secret", "v", 1, 0) == 0 && chmod("f", 0666) == 0);
	AS_USER({
		WANT(listxattr("f", list, sizeof(list)) == 7 + 256);
		REFUSED(ENODATA, getxattr("f", "trusted.secret", buf, 10));
		REFUSED(EPERM, setxattr("f", "trusted.x", "v", 1, 0));
		REFUSED(EPERM, setxattr("f", "security.x", "v", 1, 0));
		WANT(setxattr("f", "user.u", "v", 1, 0) == 0);
	});
}

static void an_xattr_of_64_kib_is_kept(void)
{
	static char value[65537], back[65536];

	memset(value, 'v', sizeof(value));
	put_text("f", "x");
	if (setxattr("f", "user.big", value, 65536, 0) != 0) { /* the kernel lets 64 KiB pass; not all can store it */
		WANT(errno == ENOSPC && fs_type() != FUSE_SUPER_MAGIC);
		return;
	}
	WANT(getxattr("f", "user.big", back, sizeof(back)) == 65536 && memcmp(value, back, 65536) == 0);
	REFUSED(E2BIG, setxattr("f", "user.big", value, 65537, 0));
}

/* ---- handles, locks, events, ioctls -------------------------------------------------------------- */

struct handle {
	struct file_handle h;
	unsigned char bytes[MAX_HANDLE_SZ];
};

static int by_handle(const struct handle *h, int flags)
{
	return open_by_handle_at(open(".", O_RDONLY), (struct file_handle *)(uintptr_t)&h->h, flags);
}

static struct handle handle_of(const char *path)
{
	struct handle h = { .h = { .handle_bytes = MAX_HANDLE_SZ } };
	int mount;

	WANT(name_to_handle_at(AT_FDCWD, path, &h.h, &mount, 0) == 0);
	return h;
}

static void handles_find_their_file_again_or_are_stale(void)
{
	struct handle f, d;
	char buf[10];
	int fd;

	put_text("f", "handle");
	WANT(mkdir("d", 0755) == 0 && mkdir("d/e", 0755) == 0);
	f = handle_of("f");
	d = handle_of("d/e");
	WANT(syncfs(open(".", O_RDONLY)) == 0);
	fd = open("/proc/sys/vm/drop_caches", O_WRONLY);
	WANT(fd < 0 || write(fd, "2", 1) == 1); /* in a container that may not be allowed */
	WANT(rename("f", "g") == 0);
	fd = by_handle(&f, O_RDONLY);
	WANT(fd >= 0 && read(fd, buf, 10) == 6 && memcmp(buf, "handle", 6) == 0);
	close(fd);
	fd = by_handle(&d, O_RDONLY | O_DIRECTORY);
	WANT(fd >= 0 && openat(fd, "..", O_RDONLY) >= 0);
	close(fd);
	WANT(unlink("g") == 0);
	REFUSED(ESTALE, by_handle(&f, O_RDONLY));
}

static void on_alarm(int sig)
{
	(void)sig;
}

static void a_wait_for_a_lock_ends_with_a_signal(void)
{
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int a = put("f", "x", 1), b = open("f", O_RDWR), ready[2];
	pid_t pid;
	char c;

	WANT(pipe(ready) == 0 && flock(a, LOCK_EX) == 0);
	REFUSED(EWOULDBLOCK, flock(b, LOCK_EX | LOCK_NB));
	WANT(fcntl(a, F_OFD_SETLK, &whole) == 0);
	REFUSED(EAGAIN, fcntl(b, F_OFD_SETLK, &whole));
	WANT(sigaction(SIGALRM, &(struct sigaction){ .sa_handler = on_alarm }, NULL) == 0);
	WANT(setitimer(ITIMER_REAL, &(struct itimerval){ { 0, 50000 }, { 0, 50000 } }, NULL) == 0);
	REFUSED(EINTR, flock(b, LOCK_EX));
	REFUSED(EINTR, fcntl(b, F_OFD_SETLKW, &whole));
	WANT(setitimer(ITIMER_REAL, &(struct itimerval){ { 0, 0 }, { 0, 0 } }, NULL) == 0);
	pid = child_begin(false);
	if (pid == 0) {
		whole.l_pid = 0;
		WANT(write(ready[1], "r", 1) == 1);
		_exit(fcntl(open("f", O_RDWR), F_SETLKW, &whole) != 0);
	}
	WANT(read(ready[0], &c, 1) == 1 && kill(pid, SIGKILL) == 0);
	WANT(waitpid(pid, NULL, 0) == pid); /* it died though it waited */
}

static void record_locks_are_the_processes_own(void)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 10 };
	int fd = put("f", "x", 1);
	pid_t pid;

	WANT(fcntl(fd, F_SETLK, &l) == 0);
	pid = child_begin(false);
	if (pid == 0) {
		struct flock mine = l;

		REFUSED(EAGAIN, fcntl(fd, F_SETLK, &mine));
		mine.l_start = 20;
		WANT(fcntl(fd, F_SETLK, &mine) == 0);
		mine = l;
		WANT(fcntl(fd, F_GETLK, &mine) == 0 && mine.l_type == F_WRLCK && mine.l_pid == getppid());
		_exit(0);
	}
	WANT(child_ok(pid));
	close(open("f", O_RDONLY)); /* POSIX: closing any descriptor gives up all */
	pid = child_begin(false);
	if (pid == 0)
		_exit(fcntl(fd, F_SETLK, &l) != 0);
	WANT(child_ok(pid));
}

static void inotify_tells_of_local_changes(void)
{
	char buf[4096];
	int fd = inotify_init1(IN_NONBLOCK);
	uint32_t got = 0;
	ssize_t n;

	WANT(inotify_add_watch(fd, ".", IN_ALL_EVENTS) >= 0);
	put_text("f", "x");
	WANT(chmod("f", 0600) == 0 && rename("f", "g") == 0 && unlink("g") == 0);
	n = read(fd, buf, sizeof(buf));
	for (ssize_t at = 0; at < n; at += (ssize_t)sizeof(struct inotify_event)) {
		struct inotify_event e;

		memcpy(&e, buf + at, sizeof(e));
		got |= e.mask;
		at += e.len;
	}
	WANT((got & (IN_CREATE | IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE)) ==
	     (IN_CREATE | IN_MODIFY | IN_CLOSE_WRITE | IN_ATTRIB | IN_MOVED_FROM | IN_MOVED_TO | IN_DELETE));
}

static bool works_or_has_none(int rc)
{
	return rc == 0 || errno == ENOTTY || errno == EOPNOTSUPP;
}

static void ioctls_work_or_are_refused_cleanly(void)
{
	int fd = put("f", "x", 1), dir = open(".", O_RDONLY), flags = 0, other = put("g", "", 0);

	WANT(works_or_has_none(ioctl(fd, FS_IOC_GETFLAGS, &flags)));
	WANT(works_or_has_none(ioctl(dir, FS_IOC_GETFLAGS, &flags)));
	flags = FS_NOATIME_FL;
	WANT(works_or_has_none(ioctl(fd, FS_IOC_SETFLAGS, &flags)));
	WANT(works_or_has_none(ioctl(other, FICLONE, fd)));
	REFUSED(ENOTTY, ioctl(fd, 0x12345678, NULL));
	REFUSED(ENOTTY, ioctl(dir, 0x12345678, NULL));
	WANT(has_text("f", "x"));
}

static void a_running_program_is_not_written_to(void)
{
	int in = open("/bin/sleep", O_RDONLY), out = open("prog", O_WRONLY | O_CREAT, 0755);
	struct stat st;
	pid_t pid;

	WANT(in >= 0 && fstat(in, &st) == 0);
	while (sendfile(out, in, NULL, (size_t)st.st_size) > 0)
		;
	close(out);
	pid = child_begin(false);
	if (pid == 0) {
		execl("./prog", "prog", "30", NULL);
		_exit(1);
	}
	for (int i = 0; i < 1000; i++) { /* until it has begun */
		char path[64], exe[4096];
		ssize_t n;

		snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
		n = readlink(path, exe, sizeof(exe) - 1);
		if (n >= 4 && memcmp(exe + n - 4, "prog", 4) == 0)
			break;
		usleep(10000);
	}
	REFUSED(ETXTBSY, open("prog", O_WRONLY));
	WANT(unlink("prog") == 0 && kill(pid, SIGKILL) == 0 && waitpid(pid, NULL, 0) == pid);
}

static void files_open_as_they_are_asked_to(void)
{
	char buf[10];
	int fd;

	put_text("f", "abc");
	REFUSED(EEXIST, open("f", O_CREAT | O_EXCL, 0600));
	REFUSED(EISDIR, open(".", O_WRONLY));
	REFUSED(EISDIR, read(open(".", O_RDONLY), buf, 10));
	REFUSED(ENOTDIR, open("f", O_RDONLY | O_DIRECTORY));
	REFUSED(ENOTDIR, open("f/g", O_RDONLY));
	fd = open("f", O_PATH);
	REFUSED(EBADF, read(fd, buf, 1));
	fd = open("f", O_RDONLY);
	REFUSED(EBADF, write(fd, "x", 1));
	fd = open("new", O_RDWR | O_CREAT, 0);
	WANT(write(fd, "y", 1) == 1 && mode_of("new") == 0);
	AS_USER({
		REFUSED(EACCES, open("new", O_RDONLY));
		REFUSED(EACCES, open("f", O_WRONLY));
		REFUSED(EACCES, open("other", O_CREAT | O_WRONLY, 0600));
		REFUSED(EPERM, open("f", O_RDONLY | O_NOATIME));
		REFUSED(EPERM, chmod("f", 0777));
	});
}

static void statfs_tells_limits(void)
{
	struct statfs fs;

	WANT(statfs(".", &fs) == 0 && fs.f_namelen == 255 && fs.f_bsize >= 512 && fs.f_blocks > 0);
	WANT(fs.f_bavail <= fs.f_bfree && fs.f_bfree <= fs.f_blocks);
	WANT(pathconf(".", _PC_NAME_MAX) == 255);
}

/* ---- the table ----------------------------------------------------------------------------------- */

#define ROW(fn) { #fn, fn, NULL }
static const struct row {
	const char *name;
	void (*fn)(void);
	const char *why_not; /* on a FUSE filesystem; NULL: it must pass */
} rows[] = {
	ROW(append_goes_to_the_end),
	ROW(a_hole_reads_as_zeros),
	ROW(what_was_cut_off_never_comes_back),
	ROW(a_mapping_and_reads_are_one),
	ROW(beyond_the_end_a_mapping_is_sigbus_and_its_bytes_are_lost),
	ROW(fallocate_does_what_each_mode_says),
	ROW(collapse_and_insert_work_or_are_refused_cleanly),
	ROW(data_and_holes_are_found),
	ROW(copy_file_range_copies_what_it_says),
	ROW(files_may_be_sparse_and_huge),
	ROW(beyond_the_largest_size_is_efbig),
	ROW(the_limit_of_a_process_is_kept),
	ROW(direct_io_reads_and_writes_the_same_bytes),
	ROW(splice_and_sendfile_move_bytes),
	ROW(all_ways_to_sync_work),
	ROW(an_unlinked_file_lives_while_it_is_open),
	ROW(a_replaced_file_lives_while_it_is_open),
	ROW(a_removed_working_directory_is_empty_for_ever),
	ROW(rename_flags_are_kept_or_refused),
	ROW(o_tmpfile_works_or_is_refused_cleanly),
	ROW(names_may_have_any_byte),
	ROW(the_longest_path_works_and_a_longer_one_is_refused),
	ROW(symlinks_keep_up_to_4095_bytes),
	ROW(hard_links_are_counted),
	ROW(a_listing_shows_what_stays_exactly_once),
	ROW(a_listing_is_found_again_at_its_places),
	ROW(everything_can_be_deleted_while_it_is_listed),
	ROW(types_are_in_the_listing),
	ROW(fifos_sockets_and_devices_work),
	ROW(privileges_go_when_another_writes),
	ROW(privileges_go_when_another_truncates),
	ROW(privileges_go_when_another_allocates_or_copies),
	ROW(setgid_goes_when_one_outside_of_the_group_writes),
	ROW(privileges_go_with_the_owner),
	ROW(a_mode_without_the_group_loses_setgid),
	ROW(a_setgid_directory_gives_its_group),
	ROW(the_sticky_bit_protects),
	ROW(times_are_set_by_whom_they_may),
	ROW(statx_says_only_what_is_known),
	{ "a_read_moves_the_access_time", a_read_moves_the_access_time,
	  "reads come from the kernel's cache, which tells nobody; a read must also cause no traffic to the peer" },
	ROW(xattrs_follow_their_man_pages),
	ROW(an_xattr_of_64_kib_is_kept),
	ROW(handles_find_their_file_again_or_are_stale),
	ROW(a_wait_for_a_lock_ends_with_a_signal),
	ROW(record_locks_are_the_processes_own),
	ROW(inotify_tells_of_local_changes),
	ROW(ioctls_work_or_are_refused_cleanly),
	ROW(a_running_program_is_not_written_to),
	ROW(files_open_as_they_are_asked_to),
	ROW(statfs_tells_limits),
};

static bool run(const struct row *row, const char *dir)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	WANT(pid >= 0);
	if (pid == 0) {
		alarm(120);
		umask(022);
		WANT(chdir(dir) == 0);
		(void)!rmdir(row->name);
		WANT(mkdir(row->name, 0755) == 0 && chdir(row->name) == 0);
		row->fn();
		fflush(NULL);
		_exit(0);
	}
	return child_ok(pid);
}

int main(int argc, char **argv)
{
	struct statfs fs;
	int n = 0, failed = 0;

	if (argc < 2 || geteuid() != 0 || statfs(argv[1], &fs) != 0) {
		fprintf(stderr, "usage: suite DIR [WORD]; as root, in an existing directory\n");
		return 2;
	}
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct row *row = &rows[i];

		if (argc > 2 && !strstr(row->name, argv[2]))
			continue;
		n++;
		if (row->why_not && fs.f_type == FUSE_SUPER_MAGIC) {
			printf("ok %d - %s # SKIP %s\n", n, row->name, row->why_not);
		} else if (run(row, argv[1])) {
			printf("ok %d - %s\n", n, row->name);
		} else {
			failed++;
			printf("not ok %d - %s\n", n, row->name);
		}
	}
	printf("1..%d\n", n);
	return failed > 0;
}
