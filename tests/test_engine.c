/* SPDX-License-Identifier: MIT */
/*
 * What two people see of each other through two engines. Most tests run twice: side _i does it, or has the first say.
 * What the peer must not do and what breaks off is in test_engine_peer.c, what disks lose in test_engine_lost.c.
 */
#include "tests/pair_fixture.h"
#include "util/acl.h"

/* ---- what one side does arrives
 * --------------------------------------------------------------------------------------- */

static const char lines[] = "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\nten\n";

/* A file, a directory with a file in it, the same on both sides. */
static void common(void)
{
	px_put(0, "f.txt", lines);
	px_mkdir(0, "d");
	px_put(0, "d/g", "inside\n");
	px_meet();
}

START_TEST(a_new_file_has_the_same_inode_number_on_the_other_side)
{
	uint64_t ino = px_put(_i, "f", "hello\n");

	px_meet();
	px_expect("f", "hello\n");
	ck_assert_uint_eq(px_at(!_i, "f"), ino);
	ck_assert_uint_eq(ID_SLOT(ino), (unsigned)_i + 1);
}
END_TEST

START_TEST(what_was_copied_within_a_side_crosses_with_its_holes)
{
	enum { SPAN = 24 * BLOCK_BYTES };
	static uint8_t model[2][2 * SPAN], buf[2 * SPAN];
	uint64_t seed = 7, ino[2], size[2] = { SPAN, SPAN };
	struct attr a = { .size_bytes = SPAN };

	memset(model, 0, sizeof(model));
	for (int f = 0; f < 2; f++) {
		ino[f] = px_make(_i, f ? "g" : "f", S_IFREG | 0644);
		ck_assert_int_eq(volume_setattr(px[_i].v, ino[f], SET_SIZE, &a, NULL), 0);
		for (uint64_t at = 0; at < SPAN; at += 5 * BLOCK_BYTES - 300) { /* data and holes, not by blocks */
			memset(model[f] + at, 'a' + f, 2 * BLOCK_BYTES);
			ck_assert_int_eq(volume_write(px[_i].v, ino[f], model[f] + at, 2 * BLOCK_BYTES, at, 0, NULL),
					 2 * BLOCK_BYTES);
			size[f] = MAX(size[f], at + 2 * BLOCK_BYTES);
		}
	}
	px_meet();
	for (int round = 0; round < 40; round++) {
		int from = round % 2;
		uint64_t off = (seed = seed * 6364136223846793005u + 1) >> 48, to = (seed >> 24) % SPAN;
		uint64_t len = (seed >> 8) % (6 * BLOCK_BYTES);

		off %= size[from];
		len = MIN(MIN(len, size[from] - off), 2 * (uint64_t)SPAN - to);
		ck_assert_int_eq(volume_copy(px[_i].v, ino[from], off, ino[!from], to, len), (ssize_t)len);
		memcpy(model[!from] + to, model[from] + off, len);
		size[!from] = MAX(size[!from], len ? to + len : 0);
		if (round % 10 == 9)
			px_meet();
	}
	for (int i = 0; i < 2; i++)
		for (int f = 0; f < 2; f++) {
			ck_assert_int_eq(volume_read(px[i].v, ino[f], buf, sizeof(buf), 0), (ssize_t)size[f]);
			ck_assert_int_eq(memcmp(buf, model[f], size[f]), 0);
		}
	ck_assert_int_eq(volume_copy(px[_i].v, ino[0], size[0], ino[1], 0, 10), 0); /* at its end */
	ck_assert_int_eq(volume_copy(px[_i].v, INO_ROOT, 0, ino[1], 0, 10), -EISDIR);
	ck_assert_int_eq(volume_copy(px[_i].v, ino[0], 0, INO_ROOT, 0, 10), -EISDIR);
	/* One hole of half a terabyte costs nothing, whole. */
	a.size_bytes = UINT64_C(1) << 39;
	ck_assert_int_eq(volume_setattr(px[_i].v, ino[0], SET_SIZE, &a, NULL), 0);
	ck_assert_int_eq(volume_copy(px[_i].v, ino[0], 4 * SPAN, ino[1], 4 * SPAN, a.size_bytes),
			 (ssize_t)a.size_bytes - 4 * SPAN);
	px_meet();
}
END_TEST

START_TEST(what_was_there_before_pairing_is_sent_too)
{
	struct err err = ERR_INIT;
	struct volume_info info[2];

	/* As init does it on one side only: there is a tree before there is a peer. */
	for (int i = 0; i < 2; i++) {
		engine_free(px[i].e);
		px[i].e = NULL;
		ck_assert_int_eq(volume_close(px[i].v), 0);
		px[i].v = NULL;
		px_shell("rm -rf '%s'/* '%s'/.[a-z]*", px[i].dir, px[i].dir);
		ck_assert_int_eq(volume_format(px[i].dir, "00000000-0000-4000-8000-000000000001", i ? "birch" : "alder",
					       (unsigned)i + 1, 0, &err),
				 0);
		px_open(i);
		volume_info(px[i].v, &info[i]);
	}
	px_mkdir(0, "d");
	px_put(0, "d/f", "old\n");
	px_link(0, "d/f", "hard");
	px_setxattr(0, "d/f", "user.k", "v");
	ck_assert_int_eq(volume_commit(px[0].v), 0);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(volume_pair(px[i].v, i ? ROLE_SECONDARY : ROLE_PRIMARY, 1, 2 - (unsigned)i,
					     info[!i].node_id, i ? "alder" : "birch", &err),
				 0);
	px_meet();
	px_expect("d/f", "old\n");
	ck_assert_uint_eq(px_at(1, "hard"), px_at(1, "d/f"));
	ck_assert_str_eq(px_xattr(1, "hard", "user.k"), "v");
}
END_TEST

START_TEST(renames_and_removals_cross)
{
	uint64_t ino;

	common();
	px_put(0, "victim", "x");
	px_put(0, "over", "y");
	px_mkdir(0, "empty");
	px_meet();
	ino = px_at(_i, "f.txt");
	px_rename(_i, "f.txt", "d/moved");
	px_rename(_i, "over", "victim");
	px_rmdir(_i, "empty");
	px_unlink(_i, "d/g");
	px_rename(_i, "d", "e");
	px_meet();
	px_expect("e/moved", lines);
	px_expect("victim", "y");
	ck_assert_uint_eq(px_at(!_i, "e/moved"), ino);
	px_gone("f.txt");
	px_gone("empty");
	px_gone("over");
	px_gone("d");
	px_gone("e/g");
	ck_assert_uint_eq(px_count(!_i, "e"), 1);
}
END_TEST

START_TEST(two_names_exchanged_are_exchanged_on_the_other_side)
{
	uint64_t f, g;

	common();
	f = px_at(_i, "f.txt");
	g = px_at(_i, "d/g");
	ck_assert_int_eq(volume_rename(px[_i].v, INO_ROOT, "f.txt", px_at(_i, "d"), "g", RENAME_EXCHANGE), 0);
	px_meet();
	ck_assert_uint_eq(px_at(!_i, "d/g"), f);
	ck_assert_uint_eq(px_at(!_i, "f.txt"), g);
}
END_TEST

START_TEST(mode_owner_and_times_cross)
{
	struct attr a = { .mode = 04750, .uid = 12, .gid = 34, .mtime = { 1234567890, 987654321 }, .atime = { 42, 7 } };

	common();
	px_set(_i, "f.txt", SET_MODE, a);
	px_set(_i, "d/g", SET_UID | SET_GID, a);
	px_set(_i, "d", SET_MTIME | SET_ATIME, a);
	px_meet();
	ck_assert_uint_eq(px_stat(!_i, "f.txt").mode, S_IFREG | 04750);
	ck_assert_uint_eq(px_stat(!_i, "d/g").uid, 12);
	ck_assert_uint_eq(px_stat(!_i, "d/g").gid, 34);
	ck_assert_int_eq(px_stat(!_i, "d").mtime.tv_sec, 1234567890);
	ck_assert_int_eq(px_stat(!_i, "d").mtime.tv_nsec, 987654321);
	ck_assert_int_eq(px_stat(!_i, "d").atime.tv_sec, 42);
}
END_TEST

START_TEST(extended_attributes_cross_and_are_removed)
{
	common();
	px_setxattr(_i, "f.txt", "user.a", "1");
	px_setxattr(_i, "d", "user.b", "");
	px_meet();
	ck_assert_str_eq(px_xattr(!_i, "f.txt", "user.a"), "1");
	ck_assert_str_eq(px_xattr(!_i, "d", "user.b"), "");
	px_setxattr(!_i, "f.txt", "user.a", "2");
	ck_assert_int_eq(volume_removexattr(px[!_i].v, px_at(!_i, "d"), "user.b"), 0);
	px_meet();
	ck_assert_str_eq(px_xattr(_i, "f.txt", "user.a"), "2");
	ck_assert_ptr_null(px_xattr(_i, "d", "user.b"));
}
END_TEST

START_TEST(symlinks_fifos_and_devices_cross)
{
	char target[64];
	struct attr a;

	px_make(_i, "link", S_IFLNK | 0777);
	px_make(_i, "fifo", S_IFIFO | 0600);
	px_make(_i, "sock", S_IFSOCK | 0600);
	ck_assert_int_eq(volume_create(px[_i].v, INO_ROOT, "null", S_IFCHR | 0666, 0x103, NULL, &px_cred, &a), 0);
	px_meet();
	ck_assert_int_eq(volume_readlink(px[!_i].v, px_at(!_i, "link"), target, sizeof(target)), 6);
	ck_assert_mem_eq(target, "target", 6);
	ck_assert_uint_eq(px_stat(!_i, "fifo").mode, S_IFIFO | 0600);
	ck_assert_uint_eq(px_stat(!_i, "sock").mode, S_IFSOCK | 0600);
	ck_assert_uint_eq(px_stat(!_i, "null").mode, S_IFCHR | 0666);
	ck_assert_uint_eq(px_stat(!_i, "null").rdev, 0x103);
}
END_TEST

START_TEST(a_hard_link_crosses_as_one_file_with_two_names)
{
	common();
	px_link(_i, "f.txt", "d/again");
	px_meet();
	ck_assert_uint_eq(px_at(!_i, "f.txt"), px_at(!_i, "d/again"));
	ck_assert_uint_eq(px_stat(!_i, "f.txt").nlink, 2);
	px_unlink(!_i, "f.txt");
	px_meet();
	px_expect("d/again", lines);
	ck_assert_uint_eq(px_stat(_i, "d/again").nlink, 1);
}
END_TEST

/* 40 KiB in which each byte is known by its place and nothing looks like text. */
static void put_data(int i, const char *path)
{
	uint8_t *p = xmalloc(40960);
	uint32_t x = 1;

	for (size_t k = 0; k < 40960; k++) {
		x = x * 1664525 + 1013904223;
		p[k] = (uint8_t)(x >> 24);
	}
	memcpy(p, "\x00\x01\xfe\xff", 4);
	px_make(i, path, S_IFREG | 0644);
	px_write(i, path, p, 40960, 0);
	free(p);
}

START_TEST(truncating_growing_and_punching_cross)
{
	struct attr a = { .size_bytes = 10000 };
	const char *p;
	size_t len;

	put_data(_i, "cut.bin");
	put_data(_i, "hole.bin");
	px_meet();
	px_set(_i, "cut.bin", SET_SIZE, a);
	a.size_bytes = 20000;
	px_set(_i, "cut.bin", SET_SIZE, a);
	ck_assert_int_eq(volume_fallocate(px[_i].v, px_at(_i, "hole.bin"), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					  4000, 20000),
			 0);
	px_meet();
	p = px_bytes(!_i, px_at(!_i, "cut.bin"), &len);
	ck_assert_uint_eq(len, 20000);
	ck_assert_uint_eq((uint8_t)p[2], 0xfe);
	for (size_t k = 10000; k < len; k++)
		ck_assert_int_eq(p[k], 0);
	p = px_bytes(!_i, px_at(!_i, "hole.bin"), &len);
	ck_assert_uint_eq(len, 40960);
	for (size_t k = 4000; k < 24000; k++)
		ck_assert_int_eq(p[k], 0);
	ck_assert_int_ge(volume_seek(px[!_i].v, px_at(!_i, "hole.bin"), 4096, SEEK_DATA), 20480);
}
END_TEST

START_TEST(a_cut_that_is_written_over_again_shows_nothing_old)
{
	struct attr a = { .size_bytes = 0 };
	const char *p;
	size_t len;

	put_data(_i, "x.bin");
	px_meet();
	px_set(_i, "x.bin", SET_SIZE, a);
	px_write(_i, "x.bin", "new", 3, 30000);
	px_meet();
	p = px_bytes(!_i, px_at(!_i, "x.bin"), &len);
	ck_assert_uint_eq(len, 30003);
	for (size_t k = 0; k < 30000; k++)
		ck_assert_int_eq(p[k], 0);
	ck_assert_mem_eq(p + 30000, "new", 3);
}
END_TEST

START_TEST(a_file_made_and_deleted_between_two_shipments_is_never_seen)
{
	common();
	px_down();
	px_put(_i, "gone", "x");
	px_unlink(_i, "gone");
	px_mkdir(_i, "dir");
	px_put(_i, "dir/f", "x");
	px_unlink(_i, "dir/f");
	px_rmdir(_i, "dir");
	px_meet();
	px_gone("gone");
	px_gone("dir");
}
END_TEST

START_TEST(a_file_unlinked_while_it_is_open_is_gone_on_the_other_side_only)
{
	uint64_t ino;
	char buf[16];

	common();
	ino = px_at(!_i, "d/g");
	volume_ref(px[!_i].v, ino);
	px_unlink(_i, "d/g");
	px_meet();
	px_gone("d/g");
	ck_assert_int_eq(volume_read(px[!_i].v, ino, buf, sizeof(buf), 0), 7);
	volume_unref(px[!_i].v, ino, 1);
	px_append(!_i, "f.txt", "so that there is something to acknowledge\n");
	px_meet();
	ck_assert_int_lt(volume_read(px[!_i].v, ino, buf, sizeof(buf), 0), 0);
}
END_TEST

/* ---- both sides did something
 * ------------------------------------------------------------------------------------------ */

/* The connection is cut; both work on. */
static void apart(void)
{
	common();
	px_down();
}

static size_t open_conflicts(int i)
{
	struct volume_info info;

	volume_info(px[i].v, &info);
	return info.conflicts_open;
}

/* The only conflict row that is not settled; both sides have it. */
static struct conflict the_conflict(int i)
{
	struct conflict *c, out = { 0 };
	size_t n, found = 0;

	ck_assert_int_eq(volume_conflicts(px[i].v, &c, &n), 0);
	for (size_t k = 0; k < n; k++)
		if (c[k].resolved || found++)
			conflict_release(&c[k]);
		else
			out = c[k];
	free(c);
	ck_assert_msg(found == 1, "%zu conflicts", found);
	return out;
}

static void no_conflicts(void)
{
	for (int i = 0; i < 2; i++)
		ck_assert_uint_eq(open_conflicts(i), 0);
}

START_TEST(edits_of_different_files_are_both_there_without_a_note)
{
	apart();
	px_put(0, "f.txt", "from alder\n");
	px_put(1, "d/g", "from birch\n");
	px_put(0, "p", "p\n");
	px_put(1, "s", "s\n");
	px_meet();
	px_expect("f.txt", "from alder\n");
	px_expect("d/g", "from birch\n");
	px_expect("p", "p\n");
	px_expect("s", "s\n");
	no_conflicts();
	ck_assert_uint_eq(px_count(0, ""), 4);
}
END_TEST

START_TEST(text_edited_in_different_lines_has_both_edits)
{
	apart();
	px_put(_i, "f.txt", "one\nTWO\nthree\nfour\nfive\nsix\nseven\neight\nnine\nten\n");
	px_put(!_i, "f.txt", "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nNINE\nten\neleven\n");
	px_meet();
	px_expect("f.txt", "one\nTWO\nthree\nfour\nfive\nsix\nseven\neight\nNINE\nten\neleven\n");
	ck_assert_uint_eq(px_count(0, ""), 2);
}
END_TEST

START_TEST(text_edited_in_the_same_line_is_kept_twice_and_the_note_names_both)
{
	struct conflict c;
	const char *copy;
	char path[300];

	apart();
	px_put(0, "f.txt", "one\nALDER\nthree\n");
	px_put(1, "f.txt", "one\nBIRCH\nthree\n");
	px_meet();
	px_expect("f.txt", "one\nALDER\nthree\n");
	copy = px_find(0, "", "f.conflict-birch-");
	ck_assert_msg(*copy && strcmp(copy + strlen(copy) - 4, ".txt") == 0, "copy is '%s'", copy);
	px_expect(copy, "one\nBIRCH\nthree\n");
	for (int i = 0; i < 2; i++) {
		c = the_conflict(i);
		ck_assert_str_eq(c.kind, "content");
		ck_assert_str_eq(c.outcome, "kept-both");
		ck_assert_str_eq(c.path, "/f.txt");
		ck_assert_str_eq(c.version[0].node, "alder");
		ck_assert_str_eq(c.version[0].path, "/f.txt");
		ck_assert_str_eq(c.version[1].node, "birch");
		snprintf(path, sizeof(path), "/%s", px_find(i, "", "f.conflict-"));
		ck_assert_str_eq(c.version[1].path, path);
		ck_assert_uint_eq(c.version[1].ino, px_at(i, path + 1));
		conflict_release(&c);
	}
}
END_TEST

START_TEST(a_log_that_both_appended_to_has_both_ends)
{
	px_put(0, "x.log", "start\n");
	px_meet();
	px_down();
	px_append(0, "x.log", "alder 1\nalder 2\n");
	px_append(1, "x.log", "birch 1\n");
	px_meet();
	px_expect("x.log", "start\nalder 1\nalder 2\nbirch 1\n");
	ck_assert_uint_eq(px_count(0, ""), 1);
}
END_TEST

START_TEST(data_changed_in_different_bytes_has_both_changes)
{
	const char *p;
	size_t len;

	put_data(0, "x.bin");
	px_meet();
	px_down();
	px_write(_i, "x.bin", "\x01\x02\x03\x04", 4, 100);
	px_write(!_i, "x.bin", "\x05\x06\x07\x08", 4, 200); /* the same block */
	px_write(!_i, "x.bin", "\x09\x0a\x0b\x0c", 4, 40960);
	px_meet();
	p = px_bytes(0, px_at(0, "x.bin"), &len);
	ck_assert_uint_eq(len, 40964);
	ck_assert_mem_eq(p + 100, "\x01\x02\x03\x04", 4);
	ck_assert_mem_eq(p + 200, "\x05\x06\x07\x08", 4);
	ck_assert_mem_eq(p + 40960, "\x09\x0a\x0b\x0c", 4);
	ck_assert_uint_eq(px_count(0, ""), 1);
}
END_TEST

START_TEST(data_changed_in_the_same_bytes_is_kept_twice_and_never_mixed)
{
	const char *p;

	put_data(0, "x.bin");
	px_meet();
	px_down();
	px_write(0, "x.bin", "\x01\x01\x01\x01", 4, 100);
	px_write(0, "x.bin", "\x01\x01\x01\x01", 4, 9000);
	px_write(1, "x.bin", "\x02\x02\x02\x02", 4, 102);
	px_write(1, "x.bin", "\x02\x02\x02\x02", 4, 20000);
	px_meet();
	p = px_bytes(1, px_at(1, "x.bin"), NULL);
	ck_assert_mem_eq(p + 100, "\x01\x01\x01\x01", 4);
	ck_assert_mem_eq(p + 9000, "\x01\x01\x01\x01", 4);
	ck_assert_mem_ne(p + 20000, "\x02\x02\x02\x02", 4);
	p = px_bytes(0, px_at(0, px_find(0, "", "x.conflict-birch")), NULL);
	ck_assert_mem_eq(p + 102, "\x02\x02\x02\x02", 4);
	ck_assert_mem_eq(p + 20000, "\x02\x02\x02\x02", 4);
	ck_assert_mem_ne(p + 9000, "\x01\x01\x01\x01", 4);
}
END_TEST

START_TEST(what_the_primary_added_at_the_end_outlives_two_shipments_made_without_knowing)
{
	struct err err = ERR_INIT;

	put_data(0, "x.bin");
	px_meet();
	px_down();
	px_write(0, "x.bin", "\x01\x02\x03\x04", 4, 50000);
	px_write(1, "x.bin", "\x05\x06\x07\x08", 4, 100);
	px_up();
	for (int i = 0; i < 2; i++) {
		px_talk(i);
		ck_assert_int_eq(px_deliver(i, &err), 0);
	}
	for (int n = 0; n < 2; n++) {
		px_now_ms += 50;
		px_talk(1);
		ck_assert_uint_eq(px_next(1), FRAME_SHIP_BEGIN);
		while (px_next(1))
			ck_assert_msg(px_deliver(1, &err) == 0, "%s", err.text);
		px_write(1, "x.bin", "\x09\x0a\x0b\x0c", 4, 200);
	}
	px_meet();
	ck_assert_uint_eq(px_stat(1, "x.bin").size_bytes, 50004);
	ck_assert_mem_eq(px_bytes(1, px_at(1, "x.bin"), NULL) + 50000, "\x01\x02\x03\x04", 4);
}
END_TEST

START_TEST(a_database_edited_on_both_sides_is_kept_twice_though_the_bytes_differ)
{
	char head[100] = "SQLite format 3\0\x10\x00\x01\x01\x00\x40\x20\x20";

	put_data(0, "x.db");
	px_write(0, "x.db", head, sizeof(head), 0);
	px_meet();
	px_down();
	px_write(0, "x.db", "P", 1, 5000);
	px_write(1, "x.db", "S", 1, 30000);
	px_meet();
	ck_assert_int_eq(px_bytes(1, px_at(1, "x.db"), NULL)[5000], 'P');
	ck_assert_int_ne(px_bytes(1, px_at(1, "x.db"), NULL)[30000], 'S');
	ck_assert_int_eq(px_bytes(0, px_at(0, px_find(0, "", "x.conflict-birch")), NULL)[30000], 'S');
	ck_assert_uint_eq(open_conflicts(1), 1);
}
END_TEST

START_TEST(equal_edits_are_no_conflict)
{
	apart();
	px_put(0, "f.txt", "the same\n");
	px_put(1, "f.txt", "the same\n");
	px_meet();
	px_expect("f.txt", "the same\n");
	ck_assert_uint_eq(px_count(0, ""), 2);
	no_conflicts();
}
END_TEST

START_TEST(two_new_directories_of_one_name_become_one)
{
	px_mkdir(0, "n");
	px_put(0, "n/p", "p\n");
	px_mkdir(0, "n/deep");
	px_put(0, "n/deep/p", "p\n");
	px_mkdir(1, "n");
	px_put(1, "n/s", "s\n");
	px_mkdir(1, "n/deep");
	px_put(1, "n/deep/s", "s\n");
	px_meet();
	ck_assert_uint_eq(px_count(0, ""), 1);
	px_expect("n/p", "p\n");
	px_expect("n/s", "s\n");
	px_expect("n/deep/p", "p\n");
	px_expect("n/deep/s", "s\n");
	no_conflicts();
	/* And it goes on being one. */
	px_put(_i, "n/deep/later", "l\n");
	px_unlink(!_i, "n/s");
	px_meet();
	px_expect("n/deep/later", "l\n");
	px_gone("n/s");
}
END_TEST

START_TEST(two_new_equal_files_become_one)
{
	px_put(0, "n.txt", "same\n");
	px_put(1, "n.txt", "same\n");
	px_meet();
	px_expect("n.txt", "same\n");
	ck_assert_uint_eq(px_count(0, ""), 1);
	no_conflicts();
	px_append(_i, "n.txt", "more\n");
	px_meet();
	px_expect("n.txt", "same\nmore\n");
}
END_TEST

START_TEST(two_new_differing_files_of_one_name_are_both_there)
{
	px_put(0, "n.txt", "alder\n");
	px_put(1, "n.txt", "birch\n");
	px_meet();
	px_expect("n.txt", "alder\n");
	px_expect(px_find(0, "", "n.conflict-birch-"), "birch\n");
	ck_assert_uint_eq(px_count(0, ""), 2);
	ck_assert_uint_eq(open_conflicts(0), 1);
}
END_TEST

START_TEST(a_file_and_a_directory_of_one_name_are_both_there)
{
	px_put(_i, "n", "file\n");
	px_mkdir(!_i, "n");
	px_put(!_i, "n/in", "in\n");
	px_meet();
	ck_assert_uint_eq(px_count(0, ""), 2);
	ck_assert_uint_eq(px_stat(1, "n").mode & S_IFMT, _i == 0 ? S_IFREG : S_IFDIR);
	if (_i == 0)
		px_expect("n", "file\n");
	else
		px_expect("n/in", "in\n");
}
END_TEST

START_TEST(what_one_deleted_and_the_other_changed_comes_back_changed)
{
	apart();
	px_unlink(_i, "f.txt");
	px_put(!_i, "f.txt", "changed\n");
	px_meet();
	px_expect("f.txt", "changed\n");
}
END_TEST

START_TEST(what_one_deleted_and_the_other_only_chmodded_stays_deleted)
{
	apart();
	px_unlink(_i, "f.txt");
	px_set(!_i, "f.txt", SET_MODE, (struct attr){ .mode = 0600 });
	px_meet();
	px_gone("f.txt");
}
END_TEST

START_TEST(what_both_deleted_is_gone_without_a_note)
{
	apart();
	px_unlink(0, "f.txt");
	px_unlink(1, "f.txt");
	px_meet();
	px_gone("f.txt");
	no_conflicts();
}
END_TEST

START_TEST(renamed_to_two_places_it_is_where_the_primary_put_it)
{
	uint64_t ino;

	apart();
	ino = px_at(0, "f.txt");
	px_rename(0, "f.txt", "alder.txt");
	px_rename(1, "f.txt", "d/birch.txt");
	px_meet();
	ck_assert_uint_eq(px_at(1, "alder.txt"), ino);
	px_gone("d/birch.txt");
	px_gone("f.txt");
}
END_TEST

START_TEST(renamed_here_and_changed_there_is_both)
{
	apart();
	px_rename(_i, "f.txt", "d/new.txt");
	px_put(!_i, "f.txt", "changed\n");
	px_meet();
	px_expect("d/new.txt", "changed\n");
	px_gone("f.txt");
	ck_assert_uint_eq(px_count(0, ""), 1);
}
END_TEST

START_TEST(renamed_here_and_deleted_there_stays_renamed)
{
	apart();
	px_rename(_i, "f.txt", "kept.txt");
	px_unlink(!_i, "f.txt");
	px_meet();
	px_expect("kept.txt", lines);
	px_gone("f.txt");
}
END_TEST

START_TEST(a_directory_removed_here_comes_back_for_a_file_made_in_it_there)
{
	apart();
	px_unlink(_i, "d/g");
	px_rmdir(_i, "d");
	px_put(!_i, "d/new", "new\n");
	px_meet();
	px_expect("d/new", "new\n");
	px_gone("d/g");
}
END_TEST

START_TEST(directories_moved_into_each_other_make_no_loop)
{
	px_mkdir(0, "a");
	px_mkdir(0, "b");
	px_put(0, "a/1", "1\n");
	px_put(0, "b/2", "2\n");
	px_meet();
	px_down();
	px_rename(0, "a", "b/a");
	px_rename(1, "b", "a/b");
	px_meet();
	px_expect("b/a/1", "1\n");
	px_expect("b/2", "2\n");
	ck_assert_uint_eq(px_count(1, ""), 1);
}
END_TEST

START_TEST(two_files_renamed_to_one_name_are_both_there)
{
	px_put(0, "x", "x\n");
	px_put(0, "y", "y\n");
	px_meet();
	px_down();
	px_rename(0, "x", "z");
	px_rename(1, "y", "z");
	px_meet();
	px_expect("z", "x\n");
	px_expect(px_find(0, "", "z.conflict-birch"), "y\n");
}
END_TEST

START_TEST(mode_changed_on_both_sides_is_the_primarys)
{
	apart();
	px_set(0, "f.txt", SET_MODE, (struct attr){ .mode = 0600 });
	px_set(1, "f.txt", SET_MODE, (struct attr){ .mode = 0660 });
	px_set(0, "d", SET_UID, (struct attr){ .uid = 7 });
	px_set(1, "d", SET_UID, (struct attr){ .uid = 8 });
	px_meet();
	ck_assert_uint_eq(px_stat(1, "f.txt").mode, S_IFREG | 0600);
	ck_assert_uint_eq(px_stat(1, "d").uid, 7);
}
END_TEST

START_TEST(mode_changed_here_and_owner_there_is_both)
{
	apart();
	px_set(_i, "f.txt", SET_MODE, (struct attr){ .mode = 0600 });
	px_set(!_i, "f.txt", SET_UID, (struct attr){ .uid = 8 });
	px_meet();
	ck_assert_uint_eq(px_stat(0, "f.txt").mode, S_IFREG | 0600);
	ck_assert_uint_eq(px_stat(0, "f.txt").uid, 8);
	no_conflicts();
}
END_TEST

START_TEST(of_two_values_of_an_attribute_the_secondarys_is_kept_beside)
{
	apart();
	px_setxattr(0, "f.txt", "user.k", "alder");
	px_setxattr(1, "f.txt", "user.k", "birch");
	px_setxattr(0, "f.txt", "user.p", "p");
	px_setxattr(1, "f.txt", "user.s", "s");
	px_meet();
	for (int i = 0; i < 2; i++) {
		ck_assert_str_eq(px_xattr(i, "f.txt", "user.k"), "alder");
		ck_assert_str_eq(px_xattr(i, "f.txt", "user.twinfs.conflict.k"), "birch");
		ck_assert_str_eq(px_xattr(i, "f.txt", "user.p"), "p");
		ck_assert_str_eq(px_xattr(i, "f.txt", "user.s"), "s");
	}
}
END_TEST

/* ---- ACLs: one thing with the mode ---- */

/* "rwx" of owner, of user 7, of the group, of the mask and of others, as an octal number of five digits. */
static size_t acl_of(unsigned words, uint8_t out[44])
{
	static const uint8_t form[44] = { 2, 0, 0, 0, 1, 0, 0, 0, 255, 255, 255, 255, 2, 0, 0, 0, 7, 0, 0, 0,
		4, 0, 0, 0, 255, 255, 255, 255, 16, 0, 0, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255 };

	memcpy(out, form, 44);
	for (int i = 0; i < 5; i++)
		out[6 + 8 * i] = words >> (12 - 3 * i) & 7;
	return 44;
}

enum acl_act { ACL_NOTHING, ACL_CHMOD, ACL_CHMOD_OTHER, ACL_SET, ACL_SET_OTHER, ACL_SET_SAME_MODE, ACL_MINIMAL,
	ACL_REMOVE, N_ACL_ACTS };

static void set_acl(int side, uint64_t ino, unsigned words)
{
	uint8_t acl[44];

	ck_assert_int_eq(volume_setxattr(px[side].v, ino, ACL_ACCESS_KEY, acl, acl_of(words, acl), 0), 0);
}

static void acl_act(int side, const char *path, enum acl_act act)
{
	static const uint8_t minimal[28] = { 2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 4, 0, 5, 0, 255, 255, 255, 255,
		32, 0, 0, 0, 255, 255, 255, 255 };
	uint64_t ino = px_at(side, path);

	switch (act) {
	case ACL_CHMOD:
	case ACL_CHMOD_OTHER:
		px_set(side, path, SET_MODE, (struct attr){ .mode = act == ACL_CHMOD ? 0600 : 0715 });
		break;
	case ACL_SET:
		set_acl(side, ino, 067064);
		break;
	case ACL_SET_OTHER:
		set_acl(side, ino, 074521);
		break;
	case ACL_SET_SAME_MODE: /* the mode stays 0644 */
		set_acl(side, ino, 067044);
		break;
	case ACL_MINIMAL:
		ck_assert_int_eq(volume_setxattr(px[side].v, ino, ACL_ACCESS_KEY, minimal, sizeof(minimal), 0), 0);
		break;
	case ACL_REMOVE:
		ck_assert_int_eq(volume_removexattr(px[side].v, ino, ACL_ACCESS_KEY), 0);
		break;
	default:
		break;
	}
}

static void mode_and_acl_agree(int side, const char *path)
{
	uint8_t acl[ACL_MAX_BYTES];
	uint32_t mode = px_stat(side, path).mode;
	ssize_t n = volume_getxattr(px[side].v, px_at(side, path), ACL_ACCESS_KEY, acl, sizeof(acl));

	if (n == -ENODATA)
		return;
	ck_assert_int_gt(n, 0);
	ck_assert_int_eq(acl_check(acl, (size_t)n), 0);
	ck_assert_msg(acl_mode(acl, (size_t)n, mode) == mode, "%s: mode %o, but its ACL says %o", path, mode,
		      acl_mode(acl, (size_t)n, mode));
}

/* Every pair of acts on a file without (0) and with (1) an ACL. */
START_TEST(whatever_both_do_to_mode_and_acl_they_agree)
{
	char path[32];

	px_up();
	for (int i = 0; i < N_ACL_ACTS * N_ACL_ACTS; i++) {
		snprintf(path, sizeof(path), "f%02d", i);
		px_make(0, path, S_IFREG | 0644);
		if (_i)
			set_acl(0, px_at(0, path), 067044);
	}
	px_meet();
	px_down();
	for (int i = 0; i < N_ACL_ACTS * N_ACL_ACTS; i++) {
		snprintf(path, sizeof(path), "f%02d", i);
		acl_act(0, path, (enum acl_act)(i / N_ACL_ACTS));
		acl_act(1, path, (enum acl_act)(i % N_ACL_ACTS));
	}
	px_meet();
	for (int i = 0; i < N_ACL_ACTS * N_ACL_ACTS; i++) {
		snprintf(path, sizeof(path), "f%02d", i);
		mode_and_acl_agree(0, path);
		mode_and_acl_agree(1, path);
	}
}
END_TEST

/* What one side deleted, after any act on it, comes back with the other's act. */
START_TEST(what_comes_back_has_a_mode_and_an_acl_that_agree)
{
	int who = _i % 2;
	bool had_acl = _i / 2;
	char dir[32], file[32], in[40];
	struct err err = ERR_INIT;

	px_up();
	for (int i = 0; i < N_ACL_ACTS * N_ACL_ACTS; i++) {
		snprintf(dir, sizeof(dir), "d%02d", i);
		snprintf(file, sizeof(file), "f%02d", i);
		px_make(0, dir, S_IFDIR | 0755);
		px_put(0, file, "base\n");
		if (had_acl)
			set_acl(0, px_at(0, dir), 067055);
		if (had_acl)
			set_acl(0, px_at(0, file), 067044);
		snprintf(file, sizeof(file), "stays%02d", i); /* or more than half would be deleted */
		px_make(0, file, S_IFREG | 0644);
	}
	px_meet();
	px_down();
	for (int i = 0; i < N_ACL_ACTS * N_ACL_ACTS; i++) {
		snprintf(dir, sizeof(dir), "d%02d", i);
		snprintf(file, sizeof(file), "f%02d", i);
		acl_act(who, dir, (enum acl_act)(i / N_ACL_ACTS));
		acl_act(who, file, (enum acl_act)(i / N_ACL_ACTS));
	}
	px_up(); /* it is on its way, so that history has it */
	for (int i = 0; i < 2; i++)
		px_talk(i);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(px_deliver(i, &err), 0);
	px_say(who);
	px_down();
	for (int i = 0; i < N_ACL_ACTS * N_ACL_ACTS; i++) {
		snprintf(dir, sizeof(dir), "d%02d", i);
		snprintf(file, sizeof(file), "f%02d", i);
		snprintf(in, sizeof(in), "%s/in", dir);
		px_rmdir(who, dir);
		px_unlink(who, file);
		acl_act(!who, dir, (enum acl_act)(i % N_ACL_ACTS));
		acl_act(!who, file, (enum acl_act)(i % N_ACL_ACTS));
		px_make(!who, in, S_IFREG | 0644);
		px_put(!who, file, "changed\n");
	}
	px_meet();
	for (int i = 0; i < N_ACL_ACTS * N_ACL_ACTS; i++) {
		snprintf(dir, sizeof(dir), "d%02d", i);
		snprintf(file, sizeof(file), "f%02d", i);
		for (int side = 0; side < 2; side++) {
			mode_and_acl_agree(side, dir);
			mode_and_acl_agree(side, file);
		}
	}
}
END_TEST

START_TEST(an_acl_of_the_primary_beats_the_secondarys_mode)
{
	apart();
	set_acl(0, px_at(0, "f.txt"), 067044);
	px_set(1, "f.txt", SET_MODE, (struct attr){ .mode = 0600 });
	px_meet();
	ck_assert_uint_eq(px_stat(1, "f.txt").mode, S_IFREG | 0644);
	ck_assert_int_eq(volume_getxattr(px[1].v, px_at(1, "f.txt"), ACL_ACCESS_KEY, NULL, 0), 44);
}
END_TEST

START_TEST(new_directories_that_become_one_have_one_mode_and_acl)
{
	apart();
	px_make(0, "n", S_IFDIR | 0755);
	px_make(1, "n", S_IFDIR | 0755);
	set_acl(_i, px_at(_i, "n"), 067044);
	px_meet();
	mode_and_acl_agree(0, "n");
	mode_and_acl_agree(1, "n");
}
END_TEST

/* The group may do nothing to it, though the mode's group bits (the mask) are rw. */
START_TEST(a_conflict_copy_has_the_acl_of_its_version)
{
	const char *copy;

	px_up();
	px_put(0, "s", "base\n");
	if (_i)
		set_acl(0, px_at(0, "s"), 066060);
	px_meet();
	px_down();
	px_put(0, "s", "alder\n");
	px_put(1, "s", "birch\n");
	if (!_i)
		set_acl(1, px_at(1, "s"), 066060);
	px_meet();
	copy = px_find(0, "", "s.conflict-birch");
	ck_assert_ptr_nonnull(copy);
	ck_assert_int_eq(volume_getxattr(px[0].v, px_at(0, copy), ACL_ACCESS_KEY, NULL, 0), 44);
	mode_and_acl_agree(0, copy);
}
END_TEST

START_TEST(each_removed_another_name_of_a_file_and_it_is_not_lost)
{
	common();
	px_link(0, "f.txt", "second");
	px_meet();
	px_down();
	px_unlink(0, "f.txt");
	px_unlink(1, "second");
	px_meet();
	px_expect("second", lines); /* the primary's */
	px_gone("f.txt");
}
END_TEST

START_TEST(each_removed_another_name_while_the_others_removal_was_on_its_way)
{
	struct err err = ERR_INIT;

	common();
	px_link(0, "f.txt", "second");
	px_meet();
	px_unlink(_i, "f.txt");
	px_now_ms += 50;
	px_talk(_i);
	px_unlink(!_i, "second");
	while (px_next(_i))
		ck_assert_msg(px_deliver(_i, &err) == 0, "%s", err.text);
	px_meet();
	px_expect(px_at(0, "f.txt") ? "f.txt" : "second", lines);
}
END_TEST

/* ---- settling
 * ----------------------------------------------------------------------------------------------------------- */

static void quarrel(void)
{
	apart();
	px_put(0, "f.txt", "alder\n");
	px_put(1, "f.txt", "birch\n");
	px_meet();
	ck_assert_uint_eq(open_conflicts(0), 1);
	ck_assert_uint_eq(open_conflicts(1), 1);
}

START_TEST(a_conflict_settled_on_one_side_is_settled_on_the_other)
{
	struct err err = ERR_INIT;

	quarrel();
	ck_assert_msg(volume_conflict_resolve(px[_i].v, "/f.txt", 2, &err) == 0, "%s", err.text);
	px_meet();
	no_conflicts();
	px_expect("f.txt", "alder\n");
	ck_assert_uint_eq(px_count(0, ""), 3);
}
END_TEST

START_TEST(the_version_that_was_chosen_is_in_place_and_the_other_gone_on_both_sides)
{
	struct err err = ERR_INIT;

	quarrel();
	ck_assert_msg(volume_conflict_resolve(px[_i].v, "/f.txt", 0, &err) == 0, "%s", err.text);
	px_meet();
	no_conflicts();
	px_expect("f.txt", _i ? "birch\n" : "alder\n");
	ck_assert_uint_eq(px_count(0, ""), 2);
}
END_TEST

START_TEST(settled_differently_on_both_sides_the_two_are_one_again)
{
	struct err err = ERR_INIT;

	quarrel();
	px_down();
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(volume_conflict_resolve(px[i].v, "/f.txt", 0, &err), 0);
	px_meet();
}
END_TEST

/* The secondary's shipment is at the primary, which has decided; the outcome is not on its way yet. */
static void quarrel_half(void)
{
	struct err err = ERR_INIT;

	apart();
	px_put(0, "f.txt", "alder\n");
	px_put(1, "f.txt", "birch\n");
	px_up();
	for (int i = 0; i < 2; i++) {
		px_talk(i);
		ck_assert_uint_eq(px_next(i), FRAME_HELLO);
		ck_assert_int_eq(px_deliver(i, &err), 0);
	}
	px_now_ms += 50;
	px_talk(1);
	ck_assert_uint_eq(px_next(1), FRAME_SHIP_BEGIN);
	while (px_next(1))
		ck_assert_msg(px_deliver(1, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(open_conflicts(0), 1);
	ck_assert_uint_eq(open_conflicts(1), 0);
}

START_TEST(what_the_secondary_ships_on_before_it_hears_of_the_conflict_is_in_its_copy)
{
	quarrel_half();
	px_append(1, "f.txt", "more\n");
	px_now_ms += 50;
	px_talk(1);
	px_meet();
	px_expect("f.txt", "alder\n");
	px_expect(px_find(0, "", "f.conflict-birch"), "birch\nmore\n");
}
END_TEST

START_TEST(what_the_secondary_wrote_on_when_it_hears_of_the_conflict_is_kept_too)
{
	struct px_list l;
	unsigned whole = 0;

	quarrel_half();
	px_append(1, "f.txt", "more\n");
	px_meet(); /* the outcome comes first */
	px_expect("f.txt", "alder\n");
	px_list(0, INO_ROOT, &l);
	for (size_t k = 0; k < l.n; k++)
		whole += strncmp(l.e[k].name, "f.conflict-birch", 16) == 0 &&
			 strcmp(px_bytes(0, l.e[k].ino, NULL), "birch\nmore\n") == 0;
	ck_assert_uint_eq(whole, 1);
}
END_TEST

START_TEST(when_all_is_settled_nobody_sends_anything_for_an_hour)
{
	quarrel();
	for (unsigned s = 0; s < 3600; s++) {
		px_now_ms += 1000;
		for (int i = 0; i < 2; i++) {
			ck_assert_uint_eq(engine_deadline(px[i].e, px_now_ms), UINT64_MAX);
			ck_assert_uint_eq(px_talk(i), 0);
		}
	}
}
END_TEST

START_TEST(hurry_on_an_idle_pair_asks_the_peer_once_and_ends)
{
	common();
	engine_hurry(px[_i].e);
	ck_assert_str_ne(engine_unsettled(px[_i].e), "");
	px_meet();
	ck_assert_uint_eq(engine_deadline(px[_i].e, px_now_ms), UINT64_MAX);
}
END_TEST

START_TEST(a_goodbye_is_shown_with_its_reason)
{
	struct engine_status st;

	common();
	engine_bye(px[_i].e, true, "unmounted");
	px_round();
	engine_status(px[!_i].e, &st);
	ck_assert(st.peer_bye && st.peer_bye_planned);
	ck_assert_str_eq(st.peer_bye_reason, "unmounted");
}
END_TEST

START_TEST(what_fits_into_no_single_frame_arrives_whole)
{
	size_t size = 3u << 20;
	uint8_t *data = xmalloc(size), *back = xmalloc(size);
	uint32_t x = 7;

	for (size_t k = 0; k < size; k++) {
		x = x * 1664525 + 1013904223;
		data[k] = (uint8_t)(x >> 24);
	}
	px_make(_i, "big.bin", S_IFREG | 0644);
	px_write(_i, "big.bin", data, size, 12345);
	if (!px_is_up)
		px_up();
	while (px_round())
		;
	ck_assert_int_eq(volume_read(px[!_i].v, px_at(!_i, "big.bin"), back, size, 12345), (int)size);
	ck_assert_mem_eq(back, data, size);
	free(data);
	free(back);
}
END_TEST

static TCase *group(Suite *s, const char *name)
{
	TCase *tc = tcase_create(name);

	tcase_add_checked_fixture(tc, px_setup, px_teardown);
	tcase_set_timeout(tc, 30);
	suite_add_tcase(s, tc);
	return tc;
}

/* In either role. */
#define BOTH(tc, test) tcase_add_loop_test(tc, test, 0, 2)

static void add_crossing(TCase *tc)
{
	BOTH(tc, a_new_file_has_the_same_inode_number_on_the_other_side);
	BOTH(tc, what_was_copied_within_a_side_crosses_with_its_holes);
	tcase_add_test(tc, what_was_there_before_pairing_is_sent_too);
	BOTH(tc, renames_and_removals_cross);
	BOTH(tc, two_names_exchanged_are_exchanged_on_the_other_side);
	BOTH(tc, mode_owner_and_times_cross);
	BOTH(tc, extended_attributes_cross_and_are_removed);
	BOTH(tc, symlinks_fifos_and_devices_cross);
	BOTH(tc, a_hard_link_crosses_as_one_file_with_two_names);
	BOTH(tc, truncating_growing_and_punching_cross);
	BOTH(tc, a_cut_that_is_written_over_again_shows_nothing_old);
	BOTH(tc, a_file_made_and_deleted_between_two_shipments_is_never_seen);
	BOTH(tc, a_file_unlinked_while_it_is_open_is_gone_on_the_other_side_only);
	BOTH(tc, what_fits_into_no_single_frame_arrives_whole);
}

static void add_contents(TCase *tc)
{
	tcase_add_test(tc, edits_of_different_files_are_both_there_without_a_note);
	BOTH(tc, text_edited_in_different_lines_has_both_edits);
	tcase_add_test(tc, text_edited_in_the_same_line_is_kept_twice_and_the_note_names_both);
	tcase_add_test(tc, a_log_that_both_appended_to_has_both_ends);
	BOTH(tc, data_changed_in_different_bytes_has_both_changes);
	tcase_add_test(tc, data_changed_in_the_same_bytes_is_kept_twice_and_never_mixed);
	tcase_add_test(tc, a_database_edited_on_both_sides_is_kept_twice_though_the_bytes_differ);
	tcase_add_test(tc, what_the_primary_added_at_the_end_outlives_two_shipments_made_without_knowing);
	tcase_add_test(tc, equal_edits_are_no_conflict);
	tcase_add_test(tc, what_the_secondary_ships_on_before_it_hears_of_the_conflict_is_in_its_copy);
	tcase_add_test(tc, what_the_secondary_wrote_on_when_it_hears_of_the_conflict_is_kept_too);
}

static void add_names(TCase *tc)
{
	BOTH(tc, two_new_directories_of_one_name_become_one);
	BOTH(tc, two_new_equal_files_become_one);
	tcase_add_test(tc, two_new_differing_files_of_one_name_are_both_there);
	BOTH(tc, a_file_and_a_directory_of_one_name_are_both_there);
	BOTH(tc, what_one_deleted_and_the_other_changed_comes_back_changed);
	BOTH(tc, what_one_deleted_and_the_other_only_chmodded_stays_deleted);
	tcase_add_test(tc, what_both_deleted_is_gone_without_a_note);
	tcase_add_test(tc, renamed_to_two_places_it_is_where_the_primary_put_it);
	BOTH(tc, renamed_here_and_changed_there_is_both);
	BOTH(tc, renamed_here_and_deleted_there_stays_renamed);
	BOTH(tc, a_directory_removed_here_comes_back_for_a_file_made_in_it_there);
	tcase_add_test(tc, directories_moved_into_each_other_make_no_loop);
	tcase_add_test(tc, two_files_renamed_to_one_name_are_both_there);
	tcase_add_test(tc, each_removed_another_name_of_a_file_and_it_is_not_lost);
	tcase_add_loop_test(tc, whatever_both_do_to_mode_and_acl_they_agree, 0, 2);
	tcase_add_loop_test(tc, what_comes_back_has_a_mode_and_an_acl_that_agree, 0, 4);
	tcase_add_test(tc, an_acl_of_the_primary_beats_the_secondarys_mode);
	tcase_add_loop_test(tc, new_directories_that_become_one_have_one_mode_and_acl, 0, 2);
	tcase_add_loop_test(tc, a_conflict_copy_has_the_acl_of_its_version, 0, 2);
	BOTH(tc, each_removed_another_name_while_the_others_removal_was_on_its_way);
}

static void add_attributes(TCase *tc)
{
	tcase_add_test(tc, mode_changed_on_both_sides_is_the_primarys);
	BOTH(tc, mode_changed_here_and_owner_there_is_both);
	tcase_add_test(tc, of_two_values_of_an_attribute_the_secondarys_is_kept_beside);
}

static void add_settling(TCase *tc)
{
	BOTH(tc, a_conflict_settled_on_one_side_is_settled_on_the_other);
	BOTH(tc, the_version_that_was_chosen_is_in_place_and_the_other_gone_on_both_sides);
	tcase_add_test(tc, settled_differently_on_both_sides_the_two_are_one_again);
	tcase_add_test(tc, when_all_is_settled_nobody_sends_anything_for_an_hour);
	BOTH(tc, hurry_on_an_idle_pair_asks_the_peer_once_and_ends);
	BOTH(tc, a_goodbye_is_shown_with_its_reason);
}

/* ---- the deletion guard ---- */

#define CROWD 110

static void crowd(int n, int begun)
{
	char name[16];

	for (int k = begun; k < n; k++) {
		snprintf(name, sizeof(name), "f%d", k);
		px_put(0, name, "x");
	}
	px_meet();
	px_down();
}

static void delete_crowd(int i, int from, int n)
{
	char name[16];

	for (int k = from; k < n; k++) {
		snprintf(name, sizeof(name), "f%d", k);
		px_unlink(i, name);
	}
	ck_assert_int_eq(volume_commit(px[i].v), 0); /* as the link does before it says hello */
}

/* Drive both until one refuses; its error. */
static int until_refused(struct err *err)
{
	px_up();
	for (int turn = 0; turn < 100; turn++)
		for (int i = 0; i < 2; i++) {
			px_now_ms += 50;
			px_talk(i);
			while (px_next(i))
				if (px_deliver(i, err) < 0)
					return err->code;
		}
	return 0;
}

START_TEST(more_than_half_deleted_while_apart_is_held_until_it_is_confirmed)
{
	struct err err = ERR_INIT;

	crowd(CROWD, 0);
	delete_crowd(_i, 0, CROWD - 1);
	px_put(!_i, "new", "made meanwhile\n");
	ck_assert_int_eq(until_refused(&err), -ECANCELED);
	ck_assert_msg(strstr(err.text, _i ? "birch deleted 109" : "alder deleted 109") != NULL, "%s", err.text);
	ck_assert_uint_ge(px_count(!_i, ""), CROWD);
	px_down();
	engine_confirm_deletions(px[!_i].e);
	px_meet();
	ck_assert_uint_eq(px_count(0, ""), 2);
	px_expect("new", "made meanwhile\n");
}
END_TEST

START_TEST(a_confirmation_is_for_one_reconciliation)
{
	struct err err = ERR_INIT;

	crowd(CROWD, 0);
	engine_confirm_deletions(px[!_i].e);
	px_put(_i, "other", "x");
	px_meet();
	px_down();
	delete_crowd(_i, 0, CROWD);
	ck_assert_int_eq(until_refused(&err), -ECANCELED);
}
END_TEST

START_TEST(half_of_all_or_a_hundred_names_are_not_held)
{
	crowd(CROWD, 0);
	delete_crowd(_i, 0, 55); /* half of them */
	px_meet();
	crowd(100, 0); /* what is gone is made again, and 110 are there */
	delete_crowd(_i, 0, 55);
	px_meet();
	crowd(100, 0);
	ck_assert_uint_eq(px_count(0, ""), CROWD);
	delete_crowd(_i, 10, CROWD); /* a hundred: most of them, but few */
	px_meet();
	ck_assert_uint_eq(px_count(0, ""), 10);
}
END_TEST

START_TEST(what_both_sides_deleted_is_taken_from_nobody)
{
	crowd(CROWD, 0);
	delete_crowd(_i, 0, CROWD - 1); /* most of what the other side has left, but few of it are there */
	delete_crowd(!_i, 0, 20);
	px_meet();
	ck_assert_uint_eq(px_count(0, ""), 1);
}
END_TEST

/* Each side's names give way to the other's, or to one that both have: nobody deleted anything. */
START_TEST(what_both_sides_made_alike_is_deleted_by_nobody)
{
	char name[16];

	px_put(0, "f", "both\n");
	px_meet();
	px_down();
	for (int i = 0; i < 2; i++) {
		px_mkdir(i, "d");
		for (int k = 0; k < 150; k++) {
			snprintf(name, sizeof(name), "d/%d", k);
			px_put(i, name, name);
		}
		ck_assert_int_eq(volume_commit(px[i].v), 0);
	}
	px_meet();
	ck_assert_uint_eq(px_count(0, "d"), 150);
	ck_assert_uint_eq(px_count(1, "d"), 150);
}
END_TEST

START_TEST(what_is_deleted_while_connected_is_not_held)
{
	crowd(CROWD, 0);
	px_meet();
	delete_crowd(_i, 0, CROWD);
	px_meet();
	ck_assert_uint_eq(px_count(!_i, ""), 0);
}
END_TEST

static void add_deletions(TCase *tc)
{
	BOTH(tc, more_than_half_deleted_while_apart_is_held_until_it_is_confirmed);
	tcase_add_test(tc, what_both_sides_made_alike_is_deleted_by_nobody);
	BOTH(tc, a_confirmation_is_for_one_reconciliation);
	BOTH(tc, what_both_sides_deleted_is_taken_from_nobody);
	BOTH(tc, half_of_all_or_a_hundred_names_are_not_held);
	BOTH(tc, what_is_deleted_while_connected_is_not_held);
}

int main(void)
{
	Suite *s = suite_create("engine");

	add_crossing(group(s, "crossing"));
	add_contents(group(s, "contents"));
	add_names(group(s, "names"));
	add_attributes(group(s, "attributes"));
	add_settling(group(s, "settling"));
	add_deletions(group(s, "deletions"));
	return tap_main(s);
}
