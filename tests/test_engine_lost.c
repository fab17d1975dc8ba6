/* SPDX-License-Identifier: MIT */
/*
 * Two engines, and a disk that has lost a block: of a file, or of the old version that a merge is made on top of. Both
 * sides end equal, nothing waits for ever, nobody reads wrong bytes, and all else goes on.
 */
#include "tests/pair_fixture.h"
#include "core/policy.h"
#include "tests/disk.h"

/* ---- files of blocks that can be told apart on the image ---- */

/* Printable fills make a text, others data of no known format. */
static void make_block(uint8_t *block, uint8_t fill)
{
	memset(block, fill, BLOCK_BYTES);
	for (size_t k = 63; k < BLOCK_BYTES; k += 64)
		block[k] = fill < 128 ? '\n' : 0;
}

/* Flip a bit of every block of side i's image that has this fill. */
static void lose_block(int i, uint8_t fill)
{
	uint8_t block[BLOCK_BYTES], wanted[BLOCK_BYTES], bad = fill ^ 8;
	char path[320];
	bool any = false;
	int fd;

	make_block(wanted, fill);
	snprintf(path, sizeof(path), "%s/image", px[i].dir);
	fd = open(path, O_RDWR);
	for (off_t at = BLOCK_BYTES; pread(fd, block, sizeof(block), at) == BLOCK_BYTES; at += BLOCK_BYTES) {
		if (memcmp(block, wanted, BLOCK_BYTES) != 0)
			continue;
		ck_assert_int_eq(pwrite(fd, &bad, 1, at + 77), 1);
		any = true;
	}
	ck_assert(any);
	close(fd);
}

static void put_block(int i, const char *path, size_t at, uint8_t fill)
{
	uint8_t block[BLOCK_BYTES];

	make_block(block, fill);
	px_write(i, path, block, sizeof(block), at * BLOCK_BYTES);
}

static void put_blocks(int i, const char *path, const char *fills)
{
	px_make(i, path, S_IFREG | 0644);
	for (size_t k = 0; fills[k]; k++)
		put_block(i, path, k, (uint8_t)fills[k]);
}

/* fills as put_blocks; '!': cannot be read. */
static void expect_blocks(const char *path, const char *fills)
{
	uint8_t block[BLOCK_BYTES], wanted[BLOCK_BYTES];

	for (int i = 0; i < 2; i++)
		for (size_t k = 0; fills[k]; k++) {
			ssize_t n = volume_read(px[i].v, px_at(i, path), block, sizeof(block), k * BLOCK_BYTES);

			ck_assert_msg(n == (fills[k] == '!' ? -EIO : (int)BLOCK_BYTES), "side %d, block %zu: %zd", i,
			              k, n);
			make_block(wanted, (uint8_t)fills[k]);
			ck_assert(n < 0 || memcmp(block, wanted, sizeof(block)) == 0);
		}
}

START_TEST(bytes_that_a_disk_has_lost_are_lost_on_both_sides_and_all_else_goes_on)
{
	put_blocks(_i, "f", "abcde");
	px_put(_i, "z", "behind it\n");
	ck_assert_int_eq(volume_commit(px[_i].v), 0);
	lose_block(_i, 'c');
	px_settle();
	px_expect("z", "behind it\n");
	expect_blocks("f", "ab!de");
	px_write(!_i, "f", "1", 1, 0); /* of a block that is whole */
	put_blocks(_i, "g", "x");
	px_settle();
	expect_blocks("g", "x");
	/* All of the block anew, on the side that never had it. */
	put_block(!_i, "f", 2, 'C');
	put_block(!_i, "f", 0, 'a');
	px_meet();
	expect_blocks("f", "abCde");
}
END_TEST

START_TEST(a_part_of_a_block_that_is_damaged_here_does_not_seal_it)
{
	put_blocks(_i, "f", "klm");
	px_meet();
	lose_block(!_i, 'l');
	px_write(_i, "f", "some bytes", 10, BLOCK_BYTES + 100);
	px_put(_i, "z", "behind it\n");
	px_settle();
	px_expect("z", "behind it\n");
	/* Nobody reads what the disk made of it. */
	ck_assert_int_eq(volume_read(px[!_i].v, px_at(!_i, "f"), &(char[10]){ 0 }, 10, BLOCK_BYTES + 100), -EIO);
	put_block(_i, "f", 1, 'L');
	px_meet();
	expect_blocks("f", "kLm");
}
END_TEST

START_TEST(the_peer_cuts_a_file_in_a_block_that_is_damaged_here)
{
	struct attr a = { .size_bytes = BLOCK_BYTES + 100 };

	put_blocks(_i, "f", "klm");
	px_meet();
	lose_block(!_i, 'l');
	px_set(_i, "f", SET_SIZE, a);
	px_put(_i, "z", "behind it\n");
	px_settle();
	px_expect("z", "behind it\n");
	ck_assert_uint_eq(px_stat(!_i, "f").size_bytes, BLOCK_BYTES + 100);
	put_block(_i, "f", 1, 'L');
	px_meet();
	expect_blocks("f", "kL");
}
END_TEST

/* ---- a disk that is gone for a while ---- */

/* Let them talk until one gives up: what it says. */
static int talk_until_refused(struct err *err)
{
	int rc = 0;

	px_up();
	for (unsigned round = 0; round < 100 && rc == 0; round++) {
		px_now_ms += 50;
		for (int i = 0; i < 2 && rc == 0; i++) {
			ssize_t n = 1;

			rc = engine_tick(px[i].e, px_now_ms, err);
			while (rc == 0 && n > 0)
				n = engine_pull(px[i].e, &px[i].out, 4096, err);
			rc = n < 0 ? (int)n : rc;
			while (rc == 0 && px_next(i))
				rc = px_deliver(i, err);
		}
	}
	px_down();
	return rc;
}

/* Side i's store is on a disk that can fail. */
static void put_on_a_disk(int i)
{
	disk_watch(px[i].dir);
	engine_free(px[i].e);
	ck_assert_int_eq(volume_close(px[i].v), 0);
	px_open(i);
}

static void disk_goes(void)
{
	disk_fail(&(struct disk_fault){ .calls = DISK_READ, .file = "image", .nth = 1, .error = EIO });
}

START_TEST(what_cannot_be_read_as_the_disk_is_gone_for_a_while_is_not_lost)
{
	struct err err = ERR_INIT;

	put_on_a_disk(_i);
	put_blocks(_i, "f", "abc");
	px_put(!_i, "g", "from the other side\n");
	ck_assert_int_eq(volume_commit(px[_i].v), 0);
	disk_goes();
	ck_assert_int_eq(talk_until_refused(&err), -EIO);
	ck_assert_msg(strstr(err.text, "cannot read"), "%s", err.text);
	disk_fail(NULL);
	px_meet();
	expect_blocks("f", "abc");
	disk_unwatch();
}
END_TEST

START_TEST(a_merge_while_the_disk_is_gone_waits_until_it_is_back)
{
	struct err err = ERR_INIT;

	put_on_a_disk(0);
	put_blocks(0, "f.txt", "abcd");
	px_meet();
	px_down();
	put_block(1, "f.txt", 3, 'D');
	px_write(1, "f.txt", "a part", 6, 100); /* of a block that the primary has */
	put_block(0, "f.txt", 1, 'B');
	disk_goes();
	ck_assert_int_eq(talk_until_refused(&err), -EIO);
	disk_fail(NULL);
	px_meet();
	ck_assert_str_eq(px_find(0, "", "f.txt.conflict"), "");
	put_block(0, "f.txt", 0, 'a');
	px_meet();
	expect_blocks("f.txt", "aBcD");
	disk_unwatch();
}
END_TEST

/* ---- merges on top of a version that is damaged ---- */

#define BASE_BLOCKS 4u

typedef void (*change_fn)(int i, const char *name, uint8_t mark);

struct merge_case {
	const char *what, *name;
	bool data;          /* else a text */
	const char *policy; /* NULL: none */
	change_fn ours, theirs;
};

static void write_1(int i, const char *name, uint8_t mark)
{
	put_block(i, name, 1, mark);
}

static void write_1_and_3(int i, const char *name, uint8_t mark)
{
	put_block(i, name, 1, mark);
	put_block(i, name, 3, mark);
}

static void append(int i, const char *name, uint8_t mark)
{
	put_block(i, name, BASE_BLOCKS, mark);
}

static void append_odd(int i, const char *name, uint8_t mark)
{
	char text[101];

	memset(text, mark, sizeof(text));
	text[sizeof(text) - 1] = '\n';
	px_write(i, name, text, sizeof(text), BASE_BLOCKS * BLOCK_BYTES);
}

static void cut_in_2(int i, const char *name, uint8_t mark)
{
	struct attr a = { .size_bytes = 2 * BLOCK_BYTES + 1000 };

	(void)mark;
	px_set(i, name, SET_SIZE, a);
}

static void punch_in_2(int i, const char *name, uint8_t mark)
{
	(void)mark;
	ck_assert_int_eq(volume_fallocate(px[i].v, px_at(i, name), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					  2 * BLOCK_BYTES, BLOCK_BYTES + 2048), 0);
}

static void all_new(int i, const char *name, uint8_t mark)
{
	for (size_t k = 0; k < BASE_BLOCKS; k++)
		put_block(i, name, k, mark);
}

static void remove_it(int i, const char *name, uint8_t mark)
{
	(void)mark;
	px_unlink(i, name);
}

static void replace_it(int i, const char *name, uint8_t mark)
{
	put_blocks(i, "new", "n");
	put_block(i, "new", 1, mark);
	px_rename(i, "new", name);
}

static const struct merge_case merge_cases[] = {
	{ "text, different lines", "f.txt", false, NULL, write_1, append },
	{ "text, the same lines", "f.txt", false, NULL, write_1, write_1_and_3 },
	{ "text, all of it", "f.txt", false, NULL, write_1, all_new },
	{ "text, removed here", "f.txt", false, NULL, remove_it, write_1_and_3 },
	{ "text, removed there", "f.txt", false, NULL, write_1_and_3, remove_it },
	{ "text, replaced here", "f.txt", false, NULL, replace_it, write_1_and_3 },
	{ "text, replaced there", "f.txt", false, NULL, write_1_and_3, replace_it },
	{ "data, different bytes", "f", true, NULL, write_1, append },
	{ "data, the same bytes", "f", true, NULL, write_1_and_3, write_1 },
	{ "data, cut there", "f", true, NULL, write_1, cut_in_2 },
	{ "data, cut here", "f", true, NULL, cut_in_2, write_1 },
	{ "data, cut where it was written", "f", true, NULL, append, cut_in_2 },
	{ "data, a hole there", "f", true, NULL, write_1, punch_in_2 },
	{ "data, a hole here", "f", true, NULL, punch_in_2, write_1 },
	{ "data, removed here", "f", true, NULL, remove_it, append },
	{ "a log", "f.log", false, NULL, append_odd, append },
	{ "a log, added to in another way", "f.log", false, NULL, append, append_odd },
	{ "policy keep-both", "f", true, "keep-both", write_1, append },
	{ "policy primary", "f", true, "primary", write_1_and_3, write_1 },
	{ "policy newest", "f", true, "newest", write_1_and_3, write_1 },
	{ "policy append", "f", true, "append", append_odd, append },
	{ "policy extents", "f.txt", false, "extents", write_1, append },
	{ "policy text", "f", true, "text", write_1, append },
};

/* The same names, sizes and bytes on both sides. A block that one side cannot read, the other may. */
static void same_but_for_the_lost(const char *what, uint64_t dir)
{
	struct px_list *l[2] = { xmalloc(sizeof(*l[0])), xmalloc(sizeof(*l[1])) };
	uint8_t block[2][BLOCK_BYTES];

	px_list(0, dir, l[0]);
	px_list(1, dir, l[1]);
	ck_assert_msg(l[0]->n == l[1]->n, "%s: %zu names, and %zu", what, l[0]->n, l[1]->n);
	for (size_t k = 0; k < l[0]->n; k++) {
		uint64_t ino = l[0]->e[k].ino;
		struct attr a[2];

		ck_assert_msg(strcmp(l[0]->e[k].name, l[1]->e[k].name) == 0 && ino == l[1]->e[k].ino, "%s: %s, and %s",
			      what, l[0]->e[k].name, l[1]->e[k].name);
		ck_assert_int_eq(volume_getattr(px[0].v, ino, &a[0]), 0);
		ck_assert_int_eq(volume_getattr(px[1].v, ino, &a[1]), 0);
		ck_assert_msg(a[0].size_bytes == a[1].size_bytes, "%s: sizes of %s", what, l[0]->e[k].name);
		for (uint64_t off = 0; S_ISREG(a[0].mode) && off < a[0].size_bytes; off += BLOCK_BYTES) {
			ssize_t n = volume_read(px[0].v, ino, block[0], BLOCK_BYTES, off);
			ssize_t m = volume_read(px[1].v, ino, block[1], BLOCK_BYTES, off);

			ck_assert_msg(n == -EIO || m == -EIO || (n == m && memcmp(block[0], block[1], (size_t)n) == 0),
				      "%s: %s differs at %llu", what, l[0]->e[k].name, (unsigned long long)off);
		}
	}
	free(l[0]);
	free(l[1]);
}

/* Some file in the directory has the bytes that were written. */
static bool somewhere(int i, uint64_t dir, uint8_t mark)
{
	struct px_list *l = xmalloc(sizeof(*l));
	uint8_t block[BLOCK_BYTES];
	bool found = false;

	px_list(i, dir, l);
	for (size_t k = 0; k < l->n; k++) {
		struct attr a;

		ck_assert_int_eq(volume_getattr(px[i].v, l->e[k].ino, &a), 0);
		for (uint64_t off = 0; S_ISREG(a.mode) && off < a.size_bytes; off += BLOCK_BYTES) {
			ssize_t n = volume_read(px[i].v, l->e[k].ino, block, BLOCK_BYTES, off);

			for (ssize_t b = 0; b < n && !found; b++)
				found = block[b] == mark;
		}
	}
	free(l);
	return found;
}

/* It writes nothing, but changes a part of a block: that is refused to a program if the block is damaged. */
static bool needs_what_is_there(change_fn act)
{
	return act == cut_in_2 || act == punch_in_2;
}

static void wrote(int i, const char *what, uint8_t mark, change_fn act)
{
	if (act != remove_it && !needs_what_is_there(act))
		ck_assert_msg(somewhere(i, INO_ROOT, mark) || somewhere(i, INO_HIDDEN, mark),
			      "%s: what was written is not on side %d", what, i);
}

/* Then life goes on: everything can be removed or written anew, and both are equal to the last byte. */
static void clear_away(uint64_t dir)
{
	struct px_list *l = xmalloc(sizeof(*l));

	px_list(1, dir, l);
	for (size_t k = 0; k < l->n; k++)
		ck_assert_int_eq(volume_unlink(px[1].v, dir, l->e[k].name), 0);
	free(l);
}

/* Test number _i: the case, the block that is lost, and on which side. */
START_TEST(a_merge_on_top_of_a_damaged_version_ends)
{
	const struct merge_case *c = &merge_cases[(unsigned)_i / (2 * BASE_BLOCKS)];
	int side = (int)((unsigned)_i / BASE_BLOCKS % 2);
	uint8_t first = c->data ? 0x91 : 'a', ours = first + 16, theirs = first + 17;
	uint8_t lost = (uint8_t)(first + (unsigned)_i % BASE_BLOCKS);
	char *what = xasprintf("%s, block %u of side %d", c->what, (unsigned)_i % BASE_BLOCKS, side);
	struct err err = ERR_INIT;
	bool late;

	px_make(0, c->name, S_IFREG | 0644);
	for (unsigned k = 0; k < BASE_BLOCKS; k++)
		put_block(0, c->name, k, (uint8_t)(first + k));
	if (c->policy)
		ck_assert_int_eq(volume_policy_set(px[0].v, "*", c->policy, &err), 0);
	px_meet();
	px_down();
	late = needs_what_is_there(side ? c->theirs : c->ours);
	if (!late)
		lose_block(side, lost);
	c->ours(0, c->name, ours);
	c->theirs(1, c->name, theirs);
	if (late)
		lose_block(side, lost);
	px_settle();
	same_but_for_the_lost(what, INO_ROOT);
	same_but_for_the_lost(what, INO_HIDDEN);
	for (int i = 0; i < 2; i++) {
		wrote(i, what, ours, c->ours);
		wrote(i, what, theirs, c->theirs);
	}
	/* What the secondary writes on to its version in the meantime finds its way too. */
	px_down();
	if (px_at(1, c->name))
		write_1(1, c->name, theirs + 1);
	px_settle();
	same_but_for_the_lost(what, INO_ROOT);
	clear_away(INO_ROOT);
	clear_away(INO_HIDDEN);
	px_put(0, "z", "behind it\n");
	px_settle();
	px_expect("z", "behind it\n");
	free(what);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("engine-lost");
	TCase *tc = tcase_create("lost");

	tcase_add_checked_fixture(tc, px_setup, px_teardown);
	tcase_set_timeout(tc, 30);
	suite_add_tcase(s, tc);
	tcase_add_loop_test(tc, bytes_that_a_disk_has_lost_are_lost_on_both_sides_and_all_else_goes_on, 0, 2);
	tcase_add_loop_test(tc, a_part_of_a_block_that_is_damaged_here_does_not_seal_it, 0, 2);
	tcase_add_loop_test(tc, what_cannot_be_read_as_the_disk_is_gone_for_a_while_is_not_lost, 0, 2);
	tcase_add_test(tc, a_merge_while_the_disk_is_gone_waits_until_it_is_back);
	tcase_add_loop_test(tc, the_peer_cuts_a_file_in_a_block_that_is_damaged_here, 0, 2);
	tcase_add_loop_test(tc, a_merge_on_top_of_a_damaged_version_ends, 0,
			    (int)(ARRAY_LEN(merge_cases) * 2 * BASE_BLOCKS));
	return tap_main(s);
}
