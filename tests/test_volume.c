/* SPDX-License-Identifier: MIT */
#include "tests/store_sql.h"
#include "tests/volume_fixture.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/xattr.h>

/* ---- names ---- */

START_TEST(a_created_file_is_found_with_its_attributes)
{
	struct attr a;

	ck_assert_int_eq(volume_create(fx, INO_ROOT, "f", S_IFREG | 0640, 0, NULL, &fx_cred, &a), 0);
	ck_assert_int_eq(volume_lookup(fx, INO_ROOT, "f", &a), 0);
	ck_assert_uint_eq(a.mode, S_IFREG | 0640);
	ck_assert_uint_eq(a.nlink, 1);
	ck_assert_uint_eq(a.uid, 1000);
	ck_assert_int_eq(volume_create(fx, INO_ROOT, "f", S_IFREG | 0640, 0, NULL, &fx_cred, &a), -EEXIST);
}
END_TEST

START_TEST(names_that_cannot_be_are_refused)
{
	char longest[258];
	struct attr a;

	memset(longest, 'x', sizeof(longest));
	longest[256] = '\0';
	ck_assert_int_eq(volume_create(fx, INO_ROOT, longest, S_IFREG, 0, NULL, &fx_cred, &a), -ENAMETOOLONG);
	ck_assert_int_eq(volume_lookup(fx, INO_ROOT, longest, &a), -ENAMETOOLONG);
	longest[255] = '\0';
	ck_assert_int_eq(volume_create(fx, INO_ROOT, longest, S_IFREG, 0, NULL, &fx_cred, &a), 0);
	ck_assert_int_eq(volume_create(fx, INO_ROOT, "a/b", S_IFREG, 0, NULL, &fx_cred, &a), -EINVAL);
	ck_assert_int_eq(volume_create(fx, INO_ROOT, "..", S_IFDIR, 0, NULL, &fx_cred, &a), -EEXIST);
	ck_assert_int_eq(volume_create(fx, fx_file(INO_ROOT, "f"), "x", S_IFREG, 0, NULL, &fx_cred, &a), -ENOTDIR);
	ck_assert_int_eq(volume_create(fx, 999999, "x", S_IFREG, 0, NULL, &fx_cred, &a), -ENOENT);
}
END_TEST

START_TEST(dot_and_dot_dot_are_found)
{
	uint64_t d = fx_mkdir(INO_ROOT, "d");

	ck_assert_uint_eq(fx_ino(d, "."), d);
	ck_assert_uint_eq(fx_ino(d, ".."), INO_ROOT);
	ck_assert_uint_eq(fx_ino(INO_ROOT, ".."), INO_ROOT);
	ck_assert_uint_eq(fx_ino(INO_HIDDEN, ".."), INO_ROOT);
}
END_TEST

START_TEST(directories_count_their_subdirectories)
{
	uint64_t a = fx_mkdir(INO_ROOT, "a"), b = fx_mkdir(INO_ROOT, "b");

	ck_assert_uint_eq(fx_nlink(INO_ROOT), 4);
	fx_mkdir(a, "x");
	ck_assert_uint_eq(fx_nlink(a), 3);
	ck_assert_int_eq(volume_rename(fx, a, "x", b, "y", 0), 0);
	ck_assert_uint_eq(fx_nlink(a), 2);
	ck_assert_uint_eq(fx_nlink(b), 3);
	ck_assert_int_eq(volume_rmdir(fx, b, "y"), 0);
	ck_assert_uint_eq(fx_nlink(b), 2);
	ck_assert_int_eq(volume_rmdir(fx, INO_ROOT, "b"), 0);
	ck_assert_uint_eq(fx_nlink(INO_ROOT), 3);
}
END_TEST

START_TEST(hard_links_share_an_inode)
{
	uint64_t f = fx_file(INO_ROOT, "f");
	struct attr a;

	ck_assert_int_eq(volume_link(fx, f, INO_ROOT, "g", &a), 0);
	ck_assert_uint_eq(a.nlink, 2);
	ck_assert_int_eq(volume_unlink(fx, INO_ROOT, "f"), 0);
	ck_assert_uint_eq(fx_ino(INO_ROOT, "g"), f);
	ck_assert_uint_eq(fx_nlink(f), 1);
	ck_assert_int_eq(volume_link(fx, fx_mkdir(INO_ROOT, "d"), INO_ROOT, "e", &a), -EPERM);
}
END_TEST

START_TEST(unlink_and_rmdir_refuse_the_other_kind)
{
	uint64_t d = fx_mkdir(INO_ROOT, "d");

	fx_file(INO_ROOT, "f");
	ck_assert_int_eq(volume_unlink(fx, INO_ROOT, "d"), -EISDIR);
	ck_assert_int_eq(volume_rmdir(fx, INO_ROOT, "f"), -ENOTDIR);
	fx_file(d, "x");
	ck_assert_int_eq(volume_rmdir(fx, INO_ROOT, "d"), -ENOTEMPTY);
	ck_assert_int_eq(volume_unlink(fx, INO_ROOT, "none"), -ENOENT);
	ck_assert_uint_eq(fx_ino(INO_ROOT, "d"), d);
}
END_TEST

START_TEST(a_setgid_directory_hands_its_group_down)
{
	struct attr a, set = { .mode = S_IFDIR | 02775, .gid = 77 };
	uint64_t d = fx_mkdir(INO_ROOT, "d");

	ck_assert_int_eq(volume_setattr(fx, d, SET_MODE | SET_GID, &set, &a), 0);
	fx_mkdir(d, "sub");
	ck_assert_int_eq(volume_lookup(fx, d, "sub", &a), 0);
	ck_assert_uint_eq(a.gid, 77);
	ck_assert_uint_eq(a.mode & S_ISGID, S_ISGID);
	fx_file(d, "f");
	ck_assert_int_eq(volume_lookup(fx, d, "f", &a), 0);
	ck_assert_uint_eq(a.gid, 77);
	ck_assert_uint_eq(a.mode & S_ISGID, 0);
}
END_TEST

START_TEST(symlinks_keep_their_target)
{
	char buf[SYMLINK_MAX_BYTES];
	uint64_t l = fx_make(INO_ROOT, "l", S_IFLNK | 0777);

	ck_assert_int_eq(volume_readlink(fx, l, buf, sizeof(buf)), 6);
	ck_assert_mem_eq(buf, "target", 6);
	ck_assert_int_eq(volume_readlink(fx, INO_ROOT, buf, sizeof(buf)), -EINVAL);
}
END_TEST

/* ---- rename ---- */

START_TEST(rename_keeps_the_link_id_and_the_inode)
{
	uint64_t d = fx_mkdir(INO_ROOT, "d"), f = fx_file(INO_ROOT, "f"), link = fx_link_id(INO_ROOT, "f");

	ck_assert_int_eq(volume_rename(fx, INO_ROOT, "f", d, "g", 0), 0);
	ck_assert_uint_eq(fx_ino(d, "g"), f);
	ck_assert_uint_eq(fx_link_id(d, "g"), link);
	ck_assert_uint_eq(fx_ino(INO_ROOT, "f"), 0);
}
END_TEST

START_TEST(rename_over_a_file_frees_its_blocks)
{
	char block[8192];
	struct volume_info before, after;
	uint64_t a = fx_file(INO_ROOT, "a"), b = fx_file(INO_ROOT, "b");

	memset(block, 'x', sizeof(block));
	ck_assert_int_eq(volume_write(fx, a, block, sizeof(block), 0, 0, NULL), sizeof(block));
	volume_commit(fx);
	volume_info(fx, &before);
	ck_assert_int_eq(volume_rename(fx, INO_ROOT, "b", INO_ROOT, "a", 0), 0);
	volume_commit(fx);
	volume_info(fx, &after);
	ck_assert_uint_eq(before.used_bytes - after.used_bytes, sizeof(block));
	ck_assert_uint_eq(fx_ino(INO_ROOT, "a"), b);
	ck_assert_uint_eq(fx_nlink(a), 0);
}
END_TEST

START_TEST(rename_follows_posix_on_kinds)
{
	uint64_t d = fx_mkdir(INO_ROOT, "d"), e = fx_mkdir(INO_ROOT, "e");

	fx_file(INO_ROOT, "f");
	ck_assert_int_eq(volume_rename(fx, INO_ROOT, "f", INO_ROOT, "d", 0), -EISDIR);
	ck_assert_int_eq(volume_rename(fx, INO_ROOT, "d", INO_ROOT, "f", 0), -ENOTDIR);
	fx_file(e, "x");
	ck_assert_int_eq(volume_rename(fx, INO_ROOT, "d", INO_ROOT, "e", 0), -ENOTEMPTY);
	ck_assert_int_eq(volume_unlink(fx, e, "x"), 0);
	ck_assert_int_eq(volume_rename(fx, INO_ROOT, "d", INO_ROOT, "e", 0), 0);
	ck_assert_uint_eq(fx_ino(INO_ROOT, "e"), d);
	ck_assert_uint_eq(fx_nlink(INO_ROOT), 3);
	ck_assert_int_eq(volume_rename(fx, INO_ROOT, "none", INO_ROOT, "x", 0), -ENOENT);
}
END_TEST

START_TEST(rename_into_oneself_is_refused)
{
	uint64_t a = fx_mkdir(INO_ROOT, "a"), b = fx_mkdir(a, "b"), c = fx_mkdir(b, "c");

	ck_assert_int_eq(volume_rename(fx, INO_ROOT, "a", c, "x", 0), -EINVAL);
	ck_assert_int_eq(volume_rename(fx, INO_ROOT, "a", a, "x", 0), -EINVAL);
	fx_mkdir(c, "d");
	ck_assert_int_eq(volume_rename(fx, INO_ROOT, "a", c, "d", RENAME_EXCHANGE), -EINVAL);
	ck_assert_int_eq(volume_rename(fx, c, "d", INO_ROOT, "a", RENAME_EXCHANGE), -EINVAL);
	ck_assert_uint_eq(fx_ino(b, "c"), c);
}
END_TEST

START_TEST(exchange_swaps_places_and_counts)
{
	uint64_t a = fx_mkdir(INO_ROOT, "a"), f = fx_file(INO_ROOT, "f"), s = fx_mkdir(a, "s");

	ck_assert_int_eq(volume_rename(fx, INO_ROOT, "f", a, "s", RENAME_EXCHANGE), 0);
	ck_assert_uint_eq(fx_ino(INO_ROOT, "f"), s);
	ck_assert_uint_eq(fx_ino(a, "s"), f);
	ck_assert_uint_eq(fx_nlink(a), 2);
	ck_assert_uint_eq(fx_nlink(INO_ROOT), 4);
	ck_assert_uint_eq(fx_ino(s, ".."), INO_ROOT);
	ck_assert_int_eq(volume_rename(fx, INO_ROOT, "f", a, "none", RENAME_EXCHANGE), -ENOENT);
}
END_TEST

START_TEST(noreplace_keeps_what_is_there)
{
	uint64_t f;

	fx_file(INO_ROOT, "e");
	f = fx_file(INO_ROOT, "f");
	ck_assert_int_eq(volume_rename(fx, INO_ROOT, "e", INO_ROOT, "f", RENAME_NOREPLACE), -EEXIST);
	ck_assert_uint_eq(fx_ino(INO_ROOT, "f"), f);
	ck_assert_int_eq(volume_rename(fx, INO_ROOT, "e", INO_ROOT, "g", RENAME_NOREPLACE), 0);
	ck_assert_int_eq(volume_rename(fx, INO_ROOT, "g", INO_ROOT, "h", RENAME_WHITEOUT), -EINVAL);
}
END_TEST

START_TEST(rename_of_two_names_of_one_file_does_nothing)
{
	uint64_t f = fx_file(INO_ROOT, "f");
	struct attr a;

	ck_assert_int_eq(volume_link(fx, f, INO_ROOT, "g", &a), 0);
	ck_assert_int_eq(volume_rename(fx, INO_ROOT, "f", INO_ROOT, "g", 0), 0);
	ck_assert_uint_eq(fx_nlink(f), 2);
	ck_assert_uint_eq(fx_ino(INO_ROOT, "f"), f);
}
END_TEST

/* ---- the hidden directory ---- */

static bool note_hidden(void *ctx, const char *name, size_t len, uint64_t cookie, const struct attr *attr)
{
	(void)cookie;
	(void)attr;
	if (len == strlen(HIDDEN_NAME) && memcmp(name, HIDDEN_NAME, len) == 0)
		*(bool *)ctx = true;
	return true;
}

START_TEST(the_hidden_directory_is_found_not_listed_not_filled)
{
	struct attr a;
	bool listed = false;

	ck_assert_uint_eq(fx_ino(INO_ROOT, HIDDEN_NAME), INO_HIDDEN);
	ck_assert_int_eq(volume_readdir(fx, INO_ROOT, 0, note_hidden, &listed), 0);
	ck_assert(!listed);
	fx_file(INO_ROOT, "f");
	ck_assert_int_eq(volume_create(fx, INO_HIDDEN, "x", S_IFREG, 0, NULL, &fx_cred, &a), -EPERM);
	ck_assert_int_eq(volume_rename(fx, INO_ROOT, "f", INO_HIDDEN, "f", 0), -EPERM);
	ck_assert_int_eq(volume_create(fx, INO_ROOT, HIDDEN_NAME, S_IFDIR, 0, NULL, &fx_cred, &a), -EEXIST);
	ck_assert_int_eq(volume_rename(fx, INO_ROOT, HIDDEN_NAME, INO_ROOT, "y", 0), -EBUSY);
	ck_assert_int_eq(volume_rename(fx, INO_ROOT, "f", INO_ROOT, HIDDEN_NAME, 0), -EBUSY);
	ck_assert_int_eq(volume_rmdir(fx, INO_ROOT, HIDDEN_NAME), -EBUSY);
}
END_TEST

START_TEST(a_version_set_aside_can_be_moved_out_and_deleted)
{
	uint64_t f = fx_file(INO_ROOT, "f");
	char *path;

	volume_lock(fx);
	ck_assert_int_eq(group_open(fx), 0);
	ck_assert_int_eq(tree_link_put(fx, id_new(fx), INO_HIDDEN, "kept", 4, f, ORIGIN_LOCAL), 0);
	ck_assert_int_eq(tree_link_put(fx, id_new(fx), INO_HIDDEN, "also", 4, f, ORIGIN_LOCAL), 0);
	volume_unlock(fx);
	ck_assert_int_eq(volume_unlink(fx, INO_ROOT, "f"), 0);
	ck_assert_int_eq(volume_rename(fx, INO_HIDDEN, "kept", INO_ROOT, "back", 0), 0);
	ck_assert_int_eq(volume_unlink(fx, INO_HIDDEN, "also"), 0);
	path = volume_path(fx, f);
	ck_assert_str_eq(path, "/back");
	free(path);
}
END_TEST

/* ---- readdir ---- */

struct listing {
	char names[300][16];
	uint64_t cookies[300];
	size_t n, stop_at;
};

static bool list_entry(void *ctx, const char *name, size_t len, uint64_t cookie, const struct attr *attr)
{
	struct listing *l = ctx;

	ck_assert_uint_ne(attr->ino, 0);
	snprintf(l->names[l->n], sizeof(l->names[0]), "%.*s", (int)len, name);
	l->cookies[l->n++] = cookie;
	return l->n != l->stop_at;
}

START_TEST(readdir_goes_on_at_its_cookie_and_gives_each_name_once)
{
	struct listing l = { .stop_at = 100 };
	char name[16];

	for (int i = 0; i < 250; i++) {
		snprintf(name, sizeof(name), "%d", i);
		fx_file(INO_ROOT, name);
	}
	ck_assert_int_eq(volume_readdir(fx, INO_ROOT, 0, list_entry, &l), 0);
	ck_assert_uint_eq(l.n, 100);
	ck_assert_str_eq(l.names[0], ".");
	ck_assert_str_eq(l.names[1], "..");
	l.stop_at = 0;
	ck_assert_int_eq(volume_readdir(fx, INO_ROOT, l.cookies[99], list_entry, &l), 0);
	ck_assert_uint_eq(l.n, 252);
	ck_assert_str_eq(l.names[251], "249");
}
END_TEST

/* ---- attributes and xattrs ---- */

START_TEST(setattr_sets_what_it_is_told_to)
{
	struct attr a, set = { .mode = 0600, .uid = 5, .gid = 6, .mtime = { 1234567890, 5 }, .atime = { -3, 7 } };
	uint64_t f = fx_file(INO_ROOT, "f");

	ck_assert_int_eq(volume_setattr(fx, f, SET_MODE | SET_UID | SET_GID | SET_MTIME | SET_ATIME, &set, &a), 0);
	ck_assert_uint_eq(a.mode, S_IFREG | 0600);
	ck_assert_uint_eq(a.uid, 5);
	ck_assert_uint_eq(a.gid, 6);
	ck_assert_int_eq(a.mtime.tv_sec, 1234567890);
	ck_assert_int_eq(a.mtime.tv_nsec, 5);
	ck_assert_int_eq(a.atime.tv_sec, -3);
	ck_assert_int_eq(a.atime.tv_nsec, 7);
}
END_TEST

START_TEST(truncate_sets_size_and_times_and_refuses_nonsense)
{
	struct attr a, set = { .size_bytes = 2 };
	uint64_t f = fx_file(INO_ROOT, "f"), d = fx_mkdir(INO_ROOT, "d");

	fx_write(f, "hello");
	ck_assert_int_eq(volume_setattr(fx, f, SET_SIZE, &set, &a), 0);
	ck_assert_uint_eq(a.size_bytes, 2);
	fx_expect(f, "he");
	ck_assert_int_eq(volume_setattr(fx, d, SET_SIZE, &set, &a), -EISDIR);
	set.size_bytes = FILE_MAX_BYTES + 1;
	ck_assert_int_eq(volume_setattr(fx, f, SET_SIZE, &set, &a), -EFBIG);
}
END_TEST

START_TEST(kill_suidgid_clears_the_bits_and_the_capability)
{
	struct attr a, set = { .mode = 06755, .uid = 7 };
	uint64_t f = fx_file(INO_ROOT, "f");

	ck_assert_int_eq(volume_setattr(fx, f, SET_MODE, &set, &a), 0);
	ck_assert_int_eq(volume_setxattr(fx, f, "security.capability", "c", 1, 0), 0);
	ck_assert_int_eq(volume_setattr(fx, f, SET_UID | SET_KILL_SUIDGID, &set, &a), 0);
	ck_assert_uint_eq(a.mode, S_IFREG | 0755);
	ck_assert_int_eq(volume_getxattr(fx, f, "security.capability", NULL, 0), -ENODATA);
}
END_TEST

START_TEST(xattrs_follow_setxattr_2)
{
	char buf[64];
	uint64_t f = fx_file(INO_ROOT, "f");

	ck_assert_int_eq(volume_setxattr(fx, f, "user.a", "1234", 4, XATTR_REPLACE), -ENODATA);
	ck_assert_int_eq(volume_setxattr(fx, f, "user.a", "1234", 4, XATTR_CREATE), 0);
	ck_assert_int_eq(volume_setxattr(fx, f, "user.a", "12", 2, XATTR_CREATE), -EEXIST);
	ck_assert_int_eq(volume_getxattr(fx, f, "user.a", NULL, 0), 4);
	ck_assert_int_eq(volume_getxattr(fx, f, "user.a", buf, 3), -ERANGE);
	ck_assert_int_eq(volume_getxattr(fx, f, "user.a", buf, sizeof(buf)), 4);
	ck_assert_mem_eq(buf, "1234", 4);
	ck_assert_int_eq(volume_setxattr(fx, f, "user.b", NULL, 0, 0), 0);
	ck_assert_int_eq(volume_getxattr(fx, f, "user.b", buf, sizeof(buf)), 0);
	ck_assert_int_eq(volume_listxattr(fx, f, buf, sizeof(buf)), 14);
	ck_assert_mem_eq(buf, "user.a\0user.b", 14);
	ck_assert_int_eq(volume_listxattr(fx, f, buf, 5), -ERANGE);
	ck_assert_int_eq(volume_removexattr(fx, f, "user.a"), 0);
	ck_assert_int_eq(volume_removexattr(fx, f, "user.a"), -ENODATA);
	ck_assert_int_eq(volume_setxattr(fx, f, "user.c", buf, XATTR_VALUE_MAX_BYTES + 1, 0), -E2BIG);
}
END_TEST

/* ---- unlinked but open ---- */

START_TEST(an_unlinked_file_lives_while_it_is_referenced)
{
	uint64_t f = fx_file(INO_ROOT, "f");
	struct attr a;

	fx_write(f, "hello");
	volume_ref(fx, f);
	volume_ref(fx, f);
	ck_assert_int_eq(volume_unlink(fx, INO_ROOT, "f"), 0);
	volume_unref(fx, f, 1);
	ck_assert_int_eq(volume_getattr(fx, f, &a), 0);
	ck_assert_uint_eq(a.nlink, 0);
	fx_write(f, "HELLO");
	fx_expect(f, "HELLO");
	ck_assert_int_eq(volume_link(fx, f, INO_ROOT, "g", &a), -ENOENT);
	volume_unref(fx, f, 1);
	ck_assert_int_eq(volume_getattr(fx, f, &a), -ENOENT);
}
END_TEST

START_TEST(a_removed_directory_that_is_held_takes_no_names)
{
	uint64_t d = fx_mkdir(INO_ROOT, "d");
	struct attr a;

	volume_ref(fx, d);
	fx_file(INO_ROOT, "f");
	ck_assert_int_eq(volume_rmdir(fx, INO_ROOT, "d"), 0);
	ck_assert_int_eq(volume_create(fx, d, "x", S_IFREG, 0, NULL, &fx_cred, &a), -ENOENT);
	ck_assert_int_eq(volume_rename(fx, INO_ROOT, "f", d, "x", 0), -ENOENT);
}
END_TEST

START_TEST(orphans_of_a_crash_are_purged_at_open)
{
	uint64_t f = fx_file(INO_ROOT, "f");
	struct volume_info info;
	struct attr a;

	fx_write(f, "hello");
	volume_ref(fx, f);
	ck_assert_int_eq(volume_unlink(fx, INO_ROOT, "f"), 0);
	ck_assert_int_eq(volume_commit(fx), 0);
	volume_info(fx, &info);
	ck_assert_uint_eq(info.used_bytes, 4096);
	fx_reopen_after_crash();
	ck_assert_int_eq(volume_getattr(fx, f, &a), -ENOENT);
	volume_info(fx, &info);
	ck_assert_uint_eq(info.used_bytes, 0);
}
END_TEST

/* ---- groups ---- */

START_TEST(a_crash_leaves_exactly_the_last_committed_group)
{
	uint64_t f = fx_file(INO_ROOT, "f");

	fx_write(f, "one");
	ck_assert_int_eq(volume_commit(fx), 0);
	fx_write(f, "two");
	fx_file(INO_ROOT, "g");
	ck_assert_int_eq(volume_unlink(fx, INO_ROOT, "f"), 0);
	fx_reopen_after_crash();
	ck_assert_uint_eq(fx_ino(INO_ROOT, "f"), f);
	ck_assert_uint_eq(fx_ino(INO_ROOT, "g"), 0);
	fx_expect(f, "one");
}
END_TEST

START_TEST(groups_are_numbered_one_by_one_and_only_for_changes)
{
	struct volume_info info;
	struct attr a;
	uint64_t id1, id2;

	volume_info(fx, &info);
	ck_assert_uint_eq(info.committed, 0);
	fx_file(INO_ROOT, "f");
	ck_assert_int_eq(volume_commit(fx), 0);
	ck_assert_int_eq(volume_commit(fx), 0);
	ck_assert_int_eq(volume_create(fx, INO_ROOT, "f", S_IFREG, 0, NULL, &fx_cred, &a), -EEXIST);
	ck_assert_int_eq(volume_setting_set_now(fx, "k", "v"), 0);
	volume_info(fx, &info);
	ck_assert_uint_eq(info.committed, 1);
	fx_file(INO_ROOT, "g");
	ck_assert_int_eq(volume_commit(fx), 0);
	fx_reopen();
	volume_info(fx, &info);
	ck_assert_uint_eq(info.committed, 2);
	ck_assert_uint_eq(info.cut, 2);
	volume_lock(fx);
	ck_assert_int_eq(group_id(fx, 1, &id1), 0);
	ck_assert_int_eq(group_id(fx, 2, &id2), 0);
	ck_assert_int_eq(group_id(fx, 3, &id2), -ENOENT);
	volume_unlock(fx);
	ck_assert_uint_ne(id1, id2);
}
END_TEST

START_TEST(ids_are_unique_after_reopening)
{
	uint64_t a = fx_file(INO_ROOT, "a"), b;

	ck_assert_uint_eq(ID_SLOT(a), 1);
	fx_reopen();
	b = fx_file(INO_ROOT, "b");
	ck_assert_uint_gt(b, a);
	ck_assert_int_eq(volume_unlink(fx, INO_ROOT, "b"), 0);
	volume_commit(fx);
	fx_reopen_after_crash();
	ck_assert_uint_gt(fx_file(INO_ROOT, "c"), b);
}
END_TEST

static void *commit_some(void *ctx)
{
	char name[16];

	for (int i = 0; i < 20; i++) {
		struct attr a;

		snprintf(name, sizeof(name), "%s%d", (const char *)ctx, i);
		if (volume_create(fx, INO_ROOT, name, S_IFREG, 0, NULL, &fx_cred, &a) != 0 || volume_commit(fx) != 0)
			return ctx;
	}
	return NULL;
}

START_TEST(commits_of_several_threads_lose_nothing)
{
	static char prefix[4][2] = { "a", "b", "c", "d" };
	pthread_t t[4];
	char name[16];

	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&t[i], NULL, commit_some, prefix[i]), 0);
	for (int i = 0; i < 4; i++) {
		void *failed;

		pthread_join(t[i], &failed);
		ck_assert_ptr_null(failed);
	}
	fx_reopen_after_crash();
	for (int i = 0; i < 80; i++) {
		snprintf(name, sizeof(name), "%s%d", prefix[i / 20], i % 20);
		ck_assert_uint_ne(fx_ino(INO_ROOT, name), 0);
	}
}
END_TEST

static void count_call(void *ctx)
{
	++*(int *)ctx;
}

START_TEST(the_dirty_callback_comes_once_a_group)
{
	int calls = 0;

	volume_set_dirty(fx, count_call, &calls);
	fx_file(INO_ROOT, "a");
	fx_file(INO_ROOT, "b");
	ck_assert_int_eq(calls, 1);
	volume_commit(fx);
	ck_assert_int_eq(calls, 1);
	fx_file(INO_ROOT, "c");
	ck_assert_int_eq(calls, 2);
}
END_TEST

START_TEST(settings_are_kept_and_removed)
{
	char *value;

	ck_assert_ptr_null(volume_setting_get(fx, "peer"));
	ck_assert_int_eq(volume_setting_set_now(fx, "peer", "host:1"), 0);
	fx_reopen_after_crash();
	value = volume_setting_get(fx, "peer");
	ck_assert_str_eq(value, "host:1");
	free(value);
	ck_assert_int_eq(volume_setting_set(fx, "peer", NULL), 0);
	ck_assert_ptr_null(volume_setting_get(fx, "peer"));
}
END_TEST

/* ---- stores that are refused ---- */

START_TEST(a_store_is_opened_once_at_a_time)
{
	struct volume *second;
	struct err err = ERR_INIT;

	ck_assert_int_eq(volume_open(fx_dir, NULL, &second, &err), -EBUSY);
	ck_assert_ptr_nonnull(strstr(err.text, "in use by pid"));
}
END_TEST

static void store_file(char out[300])
{
	snprintf(out, 300, "%s/twinfs.db", fx_dir);
}

static int open_result(struct err *err)
{
	struct volume *v = NULL;
	int rc = volume_open(fx_dir, NULL, &v, err);

	if (rc == 0)
		volume_close(v);
	return rc;
}

static void sql_on_store(const char *sql)
{
	char path[300];
	sqlite3 *db;

	store_file(path);
	ck_assert_int_eq(store_sql_open(path, &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

START_TEST(a_newer_store_is_refused)
{
	struct err err = ERR_INIT;

	volume_close(fx);
	fx = NULL;
	sql_on_store("PRAGMA user_version = 99");
	ck_assert_int_eq(open_result(&err), -EPROTONOSUPPORT);
	ck_assert_ptr_nonnull(strstr(err.text, "99"));
}
END_TEST

START_TEST(a_foreign_database_and_an_empty_folder_are_refused_untouched)
{
	struct err err = ERR_INIT;
	char path[300];

	volume_close(fx);
	fx = NULL;
	sql_on_store("PRAGMA application_id = 1");
	ck_assert_int_eq(open_result(&err), -EINVAL);
	store_file(path);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(open_result(&err), -EINVAL);
	ck_assert_int_ne(access(path, F_OK), 0);
}
END_TEST

START_TEST(a_damaged_database_is_refused)
{
	struct err err = ERR_INIT;
	char path[300], junk[4096];
	int fd;

	for (int i = 0; i < 500; i++) {
		snprintf(junk, sizeof(junk), "%d", i);
		fx_file(INO_ROOT, junk);
	}
	volume_close(fx);
	fx = NULL;
	store_file(path);
	memset(junk, 0xa5, sizeof(junk));
	fd = open(path, O_RDWR);
	for (off_t at = 4096; at < 4096 * 30; at += 4096)
		ck_assert_int_eq(pwrite(fd, junk, sizeof(junk), at), sizeof(junk));
	close(fd);
	ck_assert_int_eq(open_result(&err), -EUCLEAN);
	fd = open(path, O_RDWR);
	ck_assert_int_eq(pwrite(fd, junk, sizeof(junk), 0), sizeof(junk));
	close(fd);
	ck_assert_int_eq(open_result(&err), -EUCLEAN);
}
END_TEST

START_TEST(format_refuses_a_folder_with_a_store_and_bad_words)
{
	struct err err = ERR_INIT;
	const char *id = "00000000-0000-4000-8000-000000000001";

	ck_assert_int_eq(volume_format(fx_dir, id, "a", 1, 0, &err), -EEXIST);
	ck_assert_int_eq(volume_format("/", "short", "a", 1, 0, &err), -EINVAL);
	ck_assert_int_eq(volume_format("/", id, "a b", 1, 0, &err), -EINVAL);
	ck_assert_int_eq(volume_format("/", id, "a", 0, 0, &err), -EINVAL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("volume");
	TCase *tc = tcase_create("volume");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, fx_setup, fx_teardown);
	tcase_add_test(tc, a_created_file_is_found_with_its_attributes);
	tcase_add_test(tc, names_that_cannot_be_are_refused);
	tcase_add_test(tc, dot_and_dot_dot_are_found);
	tcase_add_test(tc, directories_count_their_subdirectories);
	tcase_add_test(tc, hard_links_share_an_inode);
	tcase_add_test(tc, unlink_and_rmdir_refuse_the_other_kind);
	tcase_add_test(tc, a_setgid_directory_hands_its_group_down);
	tcase_add_test(tc, symlinks_keep_their_target);
	tcase_add_test(tc, rename_keeps_the_link_id_and_the_inode);
	tcase_add_test(tc, rename_over_a_file_frees_its_blocks);
	tcase_add_test(tc, rename_follows_posix_on_kinds);
	tcase_add_test(tc, rename_into_oneself_is_refused);
	tcase_add_test(tc, exchange_swaps_places_and_counts);
	tcase_add_test(tc, noreplace_keeps_what_is_there);
	tcase_add_test(tc, rename_of_two_names_of_one_file_does_nothing);
	tcase_add_test(tc, the_hidden_directory_is_found_not_listed_not_filled);
	tcase_add_test(tc, a_version_set_aside_can_be_moved_out_and_deleted);
	tcase_add_test(tc, readdir_goes_on_at_its_cookie_and_gives_each_name_once);
	tcase_add_test(tc, setattr_sets_what_it_is_told_to);
	tcase_add_test(tc, truncate_sets_size_and_times_and_refuses_nonsense);
	tcase_add_test(tc, kill_suidgid_clears_the_bits_and_the_capability);
	tcase_add_test(tc, xattrs_follow_setxattr_2);
	tcase_add_test(tc, an_unlinked_file_lives_while_it_is_referenced);
	tcase_add_test(tc, a_removed_directory_that_is_held_takes_no_names);
	tcase_add_test(tc, orphans_of_a_crash_are_purged_at_open);
	tcase_add_test(tc, a_crash_leaves_exactly_the_last_committed_group);
	tcase_add_test(tc, groups_are_numbered_one_by_one_and_only_for_changes);
	tcase_add_test(tc, ids_are_unique_after_reopening);
	tcase_add_test(tc, commits_of_several_threads_lose_nothing);
	tcase_add_test(tc, the_dirty_callback_comes_once_a_group);
	tcase_add_test(tc, settings_are_kept_and_removed);
	tcase_add_test(tc, a_store_is_opened_once_at_a_time);
	tcase_add_test(tc, a_newer_store_is_refused);
	tcase_add_test(tc, a_foreign_database_and_an_empty_folder_are_refused_untouched);
	tcase_add_test(tc, a_damaged_database_is_refused);
	tcase_add_test(tc, format_refuses_a_folder_with_a_store_and_bad_words);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
