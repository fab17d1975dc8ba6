/* SPDX-License-Identifier: MIT */
/* What a program has open in a real mount follows its bytes when the peer's changes give its file to another one. Wants
 * root and /dev/fuse. */
#include "tests/tap.h"

#include "core/data.h"
#include "core/tree.h"
#include "fuse/front.h"
#include "util/util.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static char base[64], store[96], mnt[96];
static struct volume *vol;
static struct front *front;
static pthread_t runner;
static uint64_t peer_group;

static void *run_thread(void *arg)
{
	(void)arg;
	return (void *)(intptr_t)front_run(front);
}

static void setup(void)
{
	const struct volume_options opt = { .fast_unsafe = true };
	const struct front_options front_opt = { .mountpoint = mnt, .fsname = store };
	struct err err = ERR_INIT;

	snprintf(store, sizeof(store), "%s/store-%d", base, (int)getpid());
	snprintf(mnt, sizeof(mnt), "%s/mnt-%d", base, (int)getpid());
	ck_assert(mkdir(store, 0700) == 0 && mkdir(mnt, 0755) == 0);
	ck_assert_msg(volume_format(store, "6f2c1c1e-0000-4000-8000-000000000001", "here", 1, 0, &err) == 0, "%s",
	              err_text(&err));
	ck_assert_msg(volume_open(store, &opt, &vol, &err) == 0, "%s", err_text(&err));
	ck_assert_msg(front_mount(vol, &front_opt, &front, &err) == 0, "%s", err_text(&err));
	volume_set_notice(vol, front_notice, NULL, front);
	volume_set_still(vol, front_still, front);
	ck_assert_int_eq(pthread_create(&runner, NULL, run_thread, NULL), 0);
}

static void teardown(void)
{
	void *rc;

	front_stop(front);
	ck_assert_int_eq(pthread_join(runner, &rc), 0);
	ck_assert_int_eq((int)(intptr_t)rc, 0);
	volume_set_notice(vol, NULL, NULL, NULL);
	volume_set_still(vol, NULL, NULL);
	front_free(front);
	ck_assert_int_eq(volume_close(vol), 0);
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

static int put(const char *name, const char *text)
{
	int fd = open(at(name), O_CREAT | O_RDWR | O_TRUNC, 0644);

	ck_assert_msg(fd >= 0, "%s: %s", name, strerror(errno));
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	return fd;
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

static const char *get_fd(int fd)
{
	static char text[4096];
	ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

	ck_assert_int_ge(n, 0);
	text[n] = '\0';
	return text;
}

static ino_t ino_of(const char *name)
{
	struct stat st;

	ck_assert_msg(lstat(at(name), &st) == 0, "%s: %s", name, strerror(errno));
	return st.st_ino;
}

static ino_t ino_of_fd(int fd)
{
	struct stat st;

	ck_assert_int_eq(fstat(fd, &st), 0);
	return st.st_ino;
}

/* ---- the peer; between begin and end, while the mount does not answer ----------------------------- */

static void peer_begin(void)
{
	volume_hold_still(vol);
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

static uint64_t peer_make(uint64_t dir, const char *name, uint32_t mode)
{
	struct inode in = {
		.mode = mode, .shrunk_to = UINT64_MAX, .origin = ORIGIN_PEER, .corigin = ORIGIN_PEER,
		.ino = id_new(vol), .cborn = group_number(vol),
	};

	ck_assert_int_eq(tree_inode_put(vol, &in), 0);
	ck_assert_int_eq(tree_link_put(vol, id_new(vol), dir, name, strlen(name), in.ino, ORIGIN_PEER), 0);
	return in.ino;
}

static void peer_write(uint64_t ino, const char *text)
{
	ck_assert_int_eq(data_truncate(vol, ino, 0, ORIGIN_PEER), 0);
	ck_assert_int_eq(data_write(vol, ino, text, strlen(text), 0, ORIGIN_PEER), 0);
}

/* What is in a file goes to a new one, and the peer's text is in its place. */
static uint64_t peer_copies(uint64_t ino, const char *copy, const char *text)
{
	uint64_t to = peer_make(INO_ROOT, copy, S_IFREG | 0644);
	struct inode in;
	char *had;

	ck_assert_int_eq(tree_inode_get(vol, ino, &in), 0);
	had = xcalloc(1, in.size_bytes + 1);
	ck_assert_int_eq(data_read(vol, ino, (struct view){ .kind = VIEW_NOW }, had, in.size_bytes, 0), 0);
	peer_write(to, had);
	peer_write(ino, text);
	free(had);
	return to;
}

/* The conflict of a file that a program has open. */
static void conflict(const char *name, const char *copy, const char *text)
{
	uint64_t ino = ino_of(name);

	peer_begin();
	ck_assert_int_eq(tree_holders_move(vol, ino, peer_copies(ino, copy, text)), 0);
	peer_end();
	peer_told();
}

/* ---- files ---------------------------------------------------------------------------------------- */

START_TEST(who_has_a_file_open_writes_on_where_its_bytes_are)
{
	int fd = put("f", "mine"), log, again;

	log = open(at("f"), O_WRONLY | O_APPEND);
	ck_assert_int_eq(flock(fd, LOCK_EX), 0);
	conflict("f", "copy", "theirs!");
	ck_assert_str_eq(get("f"), "theirs!");
	ck_assert_str_eq(get("copy"), "mine");
	ck_assert_uint_eq(ino_of_fd(fd), ino_of("copy"));
	ck_assert_uint_ne(ino_of_fd(fd), ino_of("f"));
	ck_assert_int_eq(pwrite(fd, "M", 1, 0), 1);
	ck_assert_int_eq(write(log, " and more", 9), 9);
	ck_assert_str_eq(get("copy"), "Mine and more");
	ck_assert_str_eq(get("f"), "theirs!");
	ck_assert_str_eq(get_fd(fd), "Mine and more");
	ck_assert(fsync(fd) == 0 && ftruncate(fd, 4) == 0 && fchmod(fd, 0600) == 0);
	ck_assert_str_eq(get("copy"), "Mine");
	/* A lock is on what is open, and nobody has the other file locked. */
	again = open(at("copy"), O_RDWR);
	ck_assert(flock(again, LOCK_EX | LOCK_NB) == -1 && errno == EWOULDBLOCK);
	close(again);
	again = open(at("f"), O_RDWR);
	ck_assert_int_eq(flock(again, LOCK_EX | LOCK_NB), 0);
	ck_assert_int_eq(pwrite(again, "THEIRS", 6, 0), 6);
	ck_assert_str_eq(get("f"), "THEIRS!");
	ck_assert_str_eq(get("copy"), "Mine");
	close(again);
	close(log);
	close(fd);
	ck_assert_str_eq(get("f"), "THEIRS!");
	ck_assert_str_eq(get("copy"), "Mine");
}
END_TEST

START_TEST(a_mapping_writes_on_where_its_bytes_are)
{
	int fd = put("f", "mine");
	char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	ck_assert(map != MAP_FAILED);
	map[0] = 'M';
	ck_assert_int_eq(msync(map, 4096, MS_SYNC), 0);
	conflict("f", "copy", "theirs");
	ck_assert_int_eq(memcmp(map, "Mine", 4), 0);
	map[1] = 'I';
	ck_assert_int_eq(msync(map, 4096, MS_SYNC), 0);
	ck_assert_str_eq(get("copy"), "MIne");
	ck_assert_str_eq(get("f"), "theirs");
	ck_assert_int_eq(munmap(map, 4096), 0);
	close(fd);
}
END_TEST

/* Written to the page, and not yet to us, when the peer's change comes. */
START_TEST(a_page_that_is_dirty_meanwhile_goes_where_its_bytes_are)
{
	int fd = put("f", "mine");
	char *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	ck_assert(map != MAP_FAILED);
	map[0] = 'M';
	conflict("f", "copy", "theirs");
	ck_assert_int_eq(msync(map, 4096, MS_SYNC), 0);
	ck_assert_str_eq(get("copy"), "Mine");
	ck_assert_str_eq(get("f"), "theirs");
	ck_assert_int_eq(munmap(map, 4096), 0);
	close(fd);
}
END_TEST

START_TEST(two_who_meet_in_one_file_see_each_others_writes)
{
	int mine = put("f", "mine"), other;
	uint64_t copy, ino = ino_of_fd(mine);
	struct stat st;

	peer_begin();
	copy = peer_copies(ino, "copy", "theirs");
	peer_end();
	peer_told();
	other = open(at("copy"), O_RDWR);
	ck_assert_str_eq(get_fd(other), "mine");
	peer_begin();
	ck_assert_int_eq(tree_holders_move(vol, ino, copy), 0);
	peer_end();
	peer_told();
	for (int i = 0; i < 50; i++) {
		char text[16];
		int by = i % 2 ? mine : other;

		snprintf(text, sizeof(text), "%06d", i);
		ck_assert_int_eq(pwrite(by, text, 6, 0), 6);
		peer_told();
		ck_assert_str_eq(get_fd(mine), text);
		ck_assert_str_eq(get_fd(other), text);
		ck_assert_str_eq(get("copy"), text);
	}
	ck_assert_int_eq(ftruncate(other, 2), 0);
	peer_told();
	ck_assert_str_eq(get_fd(mine), "00");
	ck_assert_int_eq(unlink(at("copy")), 0);
	peer_told();
	ck_assert(fstat(mine, &st) == 0 && st.st_nlink == 0);
	ck_assert(fstat(other, &st) == 0 && st.st_nlink == 0);
	close(mine);
	close(other);
}
END_TEST

START_TEST(it_follows_as_often_as_it_must)
{
	int fd[20];
	char name[20][16], text[32];

	close(put("f", "0"));
	for (int i = 0; i < 20; i++) {
		fd[i] = open(at("f"), O_RDWR);
		snprintf(name[i], sizeof(name[i]), "copy%d", i);
		snprintf(text, sizeof(text), "%d", i + 1);
		conflict("f", name[i], text);
	}
	/* And one of them once more. */
	conflict("copy3", "copy3.again", "theirs");
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(pwrite(fd[i], "mine", 4, 0), 4);
	ck_assert_str_eq(get("f"), "20");
	ck_assert_str_eq(get("copy3"), "theirs");
	ck_assert_str_eq(get("copy3.again"), "mine");
	for (int i = 0; i < 20; i++) {
		if (i != 3)
			ck_assert_str_eq(get(name[i]), "mine");
		close(fd[i]);
	}
	for (int i = 0; i < 20; i++)
		if (i != 3)
			ck_assert_str_eq(get(name[i]), "mine");
	ck_assert_str_eq(get("f"), "20");
}
END_TEST

/* Two files that become one: the holder of what goes has what stays. */
START_TEST(who_has_open_what_became_one_with_another_file_has_that)
{
	int fd = put("f", "same"), gone = put("g", "gone");
	uint64_t to, ino_gone = ino_of_fd(gone);
	struct dentry d;

	ck_assert_int_eq(unlink(at("g")), 0); /* nothing follows what has no name */
	peer_begin();
	ck_assert_int_eq(tree_lookup(vol, INO_ROOT, "f", 1, &d), 0);
	ck_assert_int_eq(tree_link_drop(vol, d.link), 0);
	to = peer_make(INO_ROOT, "f", S_IFREG | 0644);
	peer_write(to, "same");
	ck_assert_int_eq(tree_holders_move(vol, d.child, to), 0);
	ck_assert_int_eq(tree_holders_move(vol, ino_gone, to), 0);
	ck_assert_int_eq(tree_reap(vol, d.child), 0);
	peer_end();
	peer_told();
	ck_assert_uint_eq(ino_of_fd(fd), to);
	ck_assert_int_eq(pwrite(fd, "S", 1, 0), 1);
	ck_assert_int_eq(pwrite(gone, "G", 1, 0), 1);
	ck_assert_str_eq(get("f"), "Same");
	ck_assert_str_eq(get_fd(gone), "Gone");
	close(fd);
	close(gone);
}
END_TEST

START_TEST(what_was_undone_moves_nobody)
{
	int fd = put("f", "mine");
	uint64_t ino = ino_of("f");

	peer_begin();
	ck_assert_int_eq(tree_holders_move(vol, ino, peer_copies(ino, "copy", "theirs")), 0);
	volume_apply_abort(vol);
	peer_told();
	ck_assert_int_eq(pwrite(fd, "M", 1, 0), 1);
	ck_assert_str_eq(get("f"), "Mine");
	ck_assert_int_eq(access(at("copy"), F_OK), -1);
	ck_assert_uint_eq(ino_of_fd(fd), ino);
	ck_assert_int_eq(unlink(at("f")), 0);
	close(fd);
}
END_TEST

/* ---- directories ---------------------------------------------------------------------------------- */

START_TEST(who_works_in_a_directory_that_became_one_with_another_works_on)
{
	struct dentry d, in;
	uint64_t to;
	int dir, fd;
	char cwd[512];

	ck_assert_int_eq(mkdir(at("d"), 0755), 0);
	close(put("d/mine", "mine"));
	dir = open(at("d"), O_RDONLY | O_DIRECTORY);
	ck_assert_int_eq(fchdir(dir), 0);
	peer_begin();
	ck_assert_int_eq(tree_lookup(vol, INO_ROOT, "d", 1, &d), 0);
	ck_assert_int_eq(tree_lookup(vol, d.child, "mine", 4, &in), 0);
	ck_assert_int_eq(tree_link_detach(vol, d.link), 0);
	to = peer_make(INO_ROOT, "d", S_IFDIR | 0755);
	peer_write(peer_make(to, "theirs", S_IFREG | 0644), "theirs");
	ck_assert_int_eq(tree_link_put(vol, in.link, to, "mine", 4, in.child, ORIGIN_PEER), 0);
	ck_assert_int_eq(tree_link_drop(vol, d.link), 0);
	ck_assert_int_eq(tree_holders_move(vol, d.child, to), 0);
	ck_assert_int_eq(tree_reap(vol, d.child), 0);
	peer_end();
	peer_told();
	ck_assert_int_eq(access("theirs", F_OK), 0);
	ck_assert_int_eq(access("mine", F_OK), 0);
	fd = open("new", O_CREAT | O_EXCL | O_WRONLY, 0644);
	ck_assert_msg(fd >= 0, "%s", strerror(errno));
	close(fd);
	ck_assert_int_eq(mkdirat(dir, "sub", 0755), 0);
	ck_assert_int_eq(rename("mine", "sub/mine"), 0);
	ck_assert_str_eq(get("d/sub/mine"), "mine");
	ck_assert_int_eq(access(at("d/new"), F_OK), 0);
	ck_assert_ptr_nonnull(getcwd(cwd, sizeof(cwd)));
	ck_assert_str_eq(cwd, at("d"));
	ck_assert_int_eq(chdir("/"), 0);
	close(dir);
}
END_TEST

/* ---- handles of NFS ------------------------------------------------------------------------------- */

struct handle {
	struct file_handle h;
	unsigned char bytes[MAX_HANDLE_SZ];
};

static struct handle handle_of(const char *name)
{
	struct handle h = { .h = { .handle_bytes = MAX_HANDLE_SZ } };
	int mount;

	ck_assert_int_eq(name_to_handle_at(AT_FDCWD, at(name), &h.h, &mount, 0), 0);
	return h;
}

static const char *get_handle(struct handle *h)
{
	static char text[4096];
	int dir = open(mnt, O_RDONLY | O_DIRECTORY), fd = open_by_handle_at(dir, &h->h, O_RDONLY);

	ck_assert_msg(fd >= 0, "%s", strerror(errno));
	snprintf(text, sizeof(text), "%s", get_fd(fd));
	close(fd);
	close(dir);
	return text;
}

static void drop_caches(void)
{
	int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);

	ck_assert(fd < 0 || write(fd, "2", 1) == 1); /* in a container that may not be allowed */
	close(fd);
}

START_TEST(a_file_handle_is_never_stale_while_its_file_is_there)
{
	int fd = put("f", "mine");
	struct handle before = handle_of("f"), after;

	conflict("f", "copy", "theirs");
	ck_assert_str_eq(get_handle(&before), "mine"); /* what is open under that number */
	ck_assert_str_eq(get("f"), "theirs");
	after = handle_of("f");
	drop_caches();
	ck_assert_str_eq(get_handle(&after), "theirs");
	close(fd);
	drop_caches();
	ck_assert_str_eq(get_handle(&after), "theirs");
	get_handle(&before); /* one of the two, as the kernel may know it still */
	ck_assert_str_eq(get("copy"), "mine");
	ck_assert_str_eq(get("f"), "theirs");
}
END_TEST

/* ---- no write slips between ----------------------------------------------------------------------- */

static atomic_int writes_to;
static atomic_bool enough;

static void *writes_on(void *arg)
{
	static char failed[] = "a write failed";
	char text[8];

	(void)arg;
	for (unsigned i = 0; !atomic_load(&enough); i++) {
		snprintf(text, sizeof(text), "%06u", i % 1000000);
		if (pwrite(atomic_load(&writes_to), text, 6, 0) != 6)
			return failed;
	}
	return NULL;
}

START_TEST(no_write_meant_for_the_copy_is_in_the_file)
{
	pthread_t writer;
	void *failed;
	int fd[40];
	char name[40][16], copy[40][16];

	for (int i = 0; i < 40; i++) {
		snprintf(name[i], sizeof(name[i]), "f%d", i);
		snprintf(copy[i], sizeof(copy[i]), "copy%d", i);
		fd[i] = put(name[i], "000000");
	}
	atomic_store(&writes_to, fd[0]);
	ck_assert_int_eq(pthread_create(&writer, NULL, writes_on, NULL), 0);
	for (int i = 0; i < 40; i++) {
		atomic_store(&writes_to, fd[i]);
		conflict(name[i], copy[i], "theirs");
		ck_assert_str_eq(get(name[i]), "theirs");
	}
	atomic_store(&enough, true);
	ck_assert_int_eq(pthread_join(writer, &failed), 0);
	ck_assert_msg(!failed, "%s", (char *)failed);
	for (int i = 0; i < 40; i++) {
		ck_assert_str_eq(get(name[i]), "theirs");
		ck_assert_int_eq(strspn(get(copy[i]), "0123456789"), 6);
		close(fd[i]);
	}
}
END_TEST

static void clean_up(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf --one-file-system '%s'", base);
	if (system(command) != 0)
		fprintf(stderr, "%s is left\n", base);
}

int main(void)
{
	const TTest *const tests[] = {
		who_has_a_file_open_writes_on_where_its_bytes_are,
		a_mapping_writes_on_where_its_bytes_are,
		a_page_that_is_dirty_meanwhile_goes_where_its_bytes_are,
		two_who_meet_in_one_file_see_each_others_writes,
		it_follows_as_often_as_it_must,
		who_has_open_what_became_one_with_another_file_has_that,
		what_was_undone_moves_nobody,
		who_works_in_a_directory_that_became_one_with_another_works_on,
		a_file_handle_is_never_stale_while_its_file_is_there,
		no_write_meant_for_the_copy_is_in_the_file,
	};
	Suite *s = suite_create("front, moved");
	TCase *tc = tcase_create("moved");
	int rc;

	if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) != 0) {
		printf("1..0 # SKIP mounting wants root and /dev/fuse\n");
		return 0;
	}
	snprintf(base, sizeof(base), "/tmp/twinfs-moved.XXXXXX");
	if (!mkdtemp(base) || chmod(base, 0755) != 0)
		return 1;
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 60);
	for (size_t i = 0; i < ARRAY_LEN(tests); i++)
		tcase_add_test(tc, tests[i]);
	suite_add_tcase(s, tc);
	rc = tap_main(s);
	clean_up();
	return rc;
}
