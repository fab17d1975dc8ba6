/* SPDX-License-Identifier: MIT */
/* What is read of a frozen change set is what it was, whatever is done between two rows of it. */
#include "core/frozen.h"

#include "core/internal.h"
#include "core/leftover.h"
#include "db/change_rows.h"
#include "tests/chance.h"
#include "tests/volume_fixture.h"
#include "util/buf.h"

#define FILES 24u
/* So many more that their table is read in its order, not by groups (db/change_rows.c). */
#define CROWD 1100u

static uint64_t seed;
static uint64_t files[FILES];
static struct buf said;

static void setup(void)
{
	fx_setup_primary();
	fx->opt.at_once_rows = 1;
	fx->opt.drop_by_hand = true;
}

/* ---- a change set, as text */

static int say_inode(void *ctx, uint64_t ino, enum entity what, const struct change_row *row)
{
	return buf_printf(ctx, "inode %llu %d: %llu %llu, shrunk %llu %llu\n", (unsigned long long)ino, what,
	                  (unsigned long long)row->grp, (unsigned long long)row->seen,
	                  (unsigned long long)row->shrunk_to, (unsigned long long)row->shrunk_grp);
}

static int say_link(void *ctx, uint64_t link, const struct change_row *row)
{
	return buf_printf(ctx, "link %llu: %llu %llu to %llu%s\n", (unsigned long long)link,
	                  (unsigned long long)row->grp, (unsigned long long)row->seen, (unsigned long long)row->child,
	                  row->skipped ? " skipped" : "");
}

static int say_xattr(void *ctx, uint64_t ino, const char *key, const struct change_row *row)
{
	return buf_printf(ctx, "xattr %llu %s: %llu %llu\n", (unsigned long long)ino, key,
	                  (unsigned long long)row->grp, (unsigned long long)row->seen);
}

/* Pieces that touch, of one group, are one: in how many it is read is nobody's matter. */
static struct { uint64_t ino, off, end, grp; } piece;

static void say_piece(void)
{
	if (piece.end)
		buf_printf(&said, "range %llu: %llu to %llu: %llu\n", (unsigned long long)piece.ino,
		           (unsigned long long)piece.off, (unsigned long long)piece.end,
		           (unsigned long long)piece.grp);
	piece.end = 0;
}

static int say_range(void *ctx, uint64_t ino, uint64_t off, uint64_t len_bytes, uint64_t grp)
{
	(void)ctx;
	if (piece.end && piece.ino == ino)
		ck_assert_uint_ge(off, piece.end);
	if (!piece.end || piece.ino != ino || piece.end != off || piece.grp != grp) {
		say_piece();
		piece.off = off;
	}
	piece.ino = ino;
	piece.end = off + len_bytes;
	piece.grp = grp;
	return 0;
}

static unsigned n_conflicts, n_settled;

static int see_conflict(void *ctx, const struct conflict *c)
{
	(void)ctx;
	n_conflicts++;
	n_settled += c->resolved;
	return 0;
}

static int say_lineage(void *ctx, const struct lineage *l)
{
	say_piece();
	return buf_printf(ctx, "note %c %llu: %llu\n", l->kind, (unsigned long long)l->src,
	                  (unsigned long long)l->dst);
}

static const struct frozen_reader reader = { say_inode,    say_link,    say_xattr, say_range,
	                                     see_conflict, say_lineage, &said };

static char *text(void)
{
	char *out;

	say_piece();
	ck_assert_int_eq(buf_append(&said, "", 1), 0);
	out = xstrdup((char *)said.data);
	buf_reset(&said);
	return out;
}

static bool is_gone(uint64_t ino)
{
	return leftover_ranges_gone(fx, ino);
}

static int say_range_of_now(void *ctx, uint64_t ino, uint64_t off, uint64_t len_bytes, uint64_t grp)
{
	return is_gone(ino) ? 0 : say_range(ctx, ino, off, len_bytes, grp);
}

/* What the tables say; lock held. */
static char *tables(uint64_t from, uint64_t to)
{
	const struct change_place first = { .key = "" };

	ck_assert_int_eq(changes_inodes(fx, from, to, say_inode, &said), 0);
	ck_assert_int_eq(changes_links(fx, from, to, say_link, &said), 0);
	ck_assert_int_eq(changes_xattrs(fx, from, to, say_xattr, &said), 0);
	ck_assert_int_eq(change_ranges_behind(fx->db, &first, to, SIZE_MAX >> 1, say_range_of_now, &said), 0);
	say_piece();
	ck_assert_int_eq(lineage_each(fx, LINEAGE_INODE, say_lineage, &said), 0);
	return text();
}

/* ---- what is done */

static const char *name_of(unsigned i)
{
	static char name[2][16];
	static unsigned at;

	snprintf(name[++at % 2], sizeof(name[0]), "f%u", i);
	return name[at % 2];
}

static void ok(int64_t rc)
{
	ck_assert_msg(rc >= 0 || rc == -ENOENT || rc == -EEXIST || rc == -ENODATA, "%lld", (long long)rc);
}

static void write_some(uint64_t ino)
{
	static const uint8_t bytes[3 * BLOCK_BYTES] = { 1 };

	ok(volume_write(fx, ino, bytes, 1 + chance_below(&seed, sizeof(bytes)), chance_below(&seed, 20) * 1000, 0,
	                NULL));
}

static void do_something(void)
{
	unsigned i = (unsigned)chance_below(&seed, FILES), other = (unsigned)chance_below(&seed, FILES);
	struct attr a, in = { .mode = (uint32_t)chance_below(&seed, 512), .size_bytes = chance_below(&seed, 20000) };
	const char *key = chance_below(&seed, 2) ? "user.a" : "user.b";

	files[i] = fx_ino(INO_ROOT, name_of(i));
	switch (chance_below(&seed, 14)) {
	case 0:
	case 1:
		if (!files[i])
			files[i] = fx_file(INO_ROOT, name_of(i));
		write_some(files[i]);
		break;
	case 2:
	case 3:
	case 4: write_some(files[i]); break;
	case 5: ok(volume_setattr(fx, files[i], SET_SIZE, &in, &a)); break;
	case 6: ok(volume_setattr(fx, files[i], SET_MODE, &in, &a)); break;
	case 7: ok(volume_unlink(fx, INO_ROOT, name_of(i))); break;
	case 8: ok(volume_rename(fx, INO_ROOT, name_of(i), INO_ROOT, name_of(other), 0)); break;
	case 9: ok(volume_rename(fx, INO_ROOT, name_of(i), INO_ROOT, name_of(other), RENAME_EXCHANGE)); break;
	case 10: ok(volume_link(fx, files[i], INO_ROOT, name_of(other), &a)); break;
	case 11: ok(volume_setxattr(fx, files[i], key, "v", 1, 0)); break;
	case 12: ok(volume_removexattr(fx, files[i], key)); break;
	default:
		leftover_step(fx);
		ck_assert_int_eq(volume_commit(fx), 0);
		break;
	}
}

static void make_crowd(unsigned n)
{
	static const uint8_t bytes[100] = { 1 };

	for (unsigned i = 0; i < n; i++) {
		char name[16];
		uint64_t ino;

		snprintf(name, sizeof(name), "c%u", i);
		ino = fx_file(INO_ROOT, name);
		ok(volume_write(fx, ino, bytes, sizeof(bytes), 0, 0, NULL));
		ok(volume_setxattr(fx, ino, "user.crowd", "v", 1, 0));
	}
}

static void note(uint64_t src)
{
	struct lineage l = { .src = src, .dst = src + 1, .kind = 'a' };
	struct conflict c = { .kind = "content", .outcome = "kept-both", .id = src };

	volume_lock(fx);
	ck_assert_int_eq(group_open(fx), 0);
	l.grp = group_number(fx);
	ck_assert_int_eq(lineage_put(fx, &l), 0);
	ck_assert_int_eq(conflict_put(fx, &c), 0);
	volume_unlock(fx);
}

static void settle(uint64_t id)
{
	struct conflict c = { .kind = "content", .outcome = "kept-both", .id = id, .resolved = true };

	volume_lock(fx);
	ck_assert_int_eq(group_open(fx), 0);
	ck_assert_int_eq(conflict_put(fx, &c), 0);
	volume_unlock(fx);
}

/* ---- reading it */

static struct frozen *freeze(uint64_t from, char **then)
{
	struct frozen *f;
	uint64_t to = fx_cut();

	volume_lock(fx);
	if (then)
		*then = tables(from, to);
	f = frozen_begin(fx, from, to, &reader);
	volume_unlock(fx);
	return f;
}

static int read_one(struct frozen *f)
{
	int rc;

	volume_lock(fx);
	rc = frozen_read(f);
	volume_unlock(fx);
	return rc;
}

static void end(struct frozen *f)
{
	volume_lock(fx);
	frozen_end(f);
	volume_unlock(fx);
}

static void say_same(const char *then)
{
	char *now = text();
	size_t same = 0;

	while (now[same] && now[same] == then[same])
		same++;
	while (same > 0 && now[same - 1] != '\n')
		same--;
	ck_assert_msg(strcmp(now, then) == 0, "it was\n%.400s\nand is read as\n%.400s", then + same, now + same);
	free(now);
}

/* Now and then something is done between two rows, or much; what it was is read. Then it is frozen anew, with what was
 * done meanwhile. */
START_TEST(what_is_done_between_two_rows_is_not_in_it)
{
	bool crowd = _i % 4 == 0;

	seed = (uint64_t)_i;
	buf_init(&said, 64u << 20);
	note(7);
	note(77);
	for (unsigned i = 0; i < 60; i++)
		do_something();
	if (crowd)
		make_crowd(CROWD);
	for (unsigned round = 0; round < 3; round++) {
		unsigned often = 1 + (unsigned)chance_below(&seed, 4), in_all = 0;
		struct frozen *f;
		char *then;

		f = freeze(0, &then);
		n_conflicts = n_settled = 0;
		for (int more = 1; more == 1; more = read_one(f)) {
			ck_assert_uint_lt(in_all++, 100000);
			if (chance_below(&seed, crowd ? 20 : often) == 0)
				do_something();
			if (round == 0 && in_all == 1 + chance_below(&seed, 200))
				settle(77);
		}
		end(f);
		say_same(then);
		free(then);
		ck_assert_uint_eq(n_conflicts, 2);
		ck_assert_uint_eq(n_settled, round); /* as many as were settled before the round began */
		settle(round == 0 ? 77 : 7);
		ck_assert_int_eq(volume_commit(fx), 0);
		volume_lock(fx);
		ck_assert_int_eq(changes_purge(fx, 0), 0);
		volume_unlock(fx);
		if (round == 0)
			fx_reopen_after_crash();
		fx->opt.at_once_rows = 1;
		fx->opt.drop_by_hand = true;
		for (unsigned i = 0; i < 20; i++)
			do_something();
	}
	buf_release(&said);
}
END_TEST

/* A file of many ranges goes: they are dropped bit by bit, by others, and are read all the same. */
START_TEST(ranges_that_are_left_over_meanwhile_are_read)
{
	static const uint8_t byte = 1;
	struct frozen *f;
	uint64_t ino, gone;
	char *then;

	buf_init(&said, 64u << 20);
	gone = fx_file(INO_ROOT, "gone before");
	ino = fx_file(INO_ROOT, "scattered");
	for (unsigned i = 0; i < 200; i++) {
		ok(volume_write(fx, ino, &byte, 1, i * 10000, 0, NULL));
		ok(volume_write(fx, gone, &byte, 1, i * 10000, 0, NULL));
	}
	ck_assert_int_eq(volume_unlink(fx, INO_ROOT, "gone before"), 0);
	f = freeze(0, &then);
	for (int i = 0; i < _i; i++)
		ck_assert_int_eq(read_one(f), 1);
	ck_assert_int_eq(volume_unlink(fx, INO_ROOT, "scattered"), 0);
	ck_assert_int_eq(volume_commit(fx), 0);
	ck_assert(leftover_ranges_gone(fx, ino) && leftover_ranges_gone(fx, gone));
	for (int more = 1; more == 1; more = read_one(f))
		leftover_step(fx);
	end(f);
	say_same(then);
	free(then);
	buf_release(&said);
}
END_TEST

START_TEST(a_rollback_ends_the_reading)
{
	struct frozen *f;
	uint64_t ino;

	buf_init(&said, 64u << 20);
	for (unsigned i = 0; i < 10; i++)
		fx_file(INO_ROOT, name_of(i));
	ino = fx_ino(INO_ROOT, name_of(9));
	f = freeze(0, NULL);
	ck_assert_int_eq(read_one(f), 1);
	write_some(ino);
	volume_lock(fx);
	group_fault(fx, -EIO, "the test says so");
	volume_unlock(fx);
	ck_assert_int_eq(read_one(f), -EIO);
	ck_assert_int_eq(read_one(f), -EIO);
	end(f);
	ck_assert_int_eq(volume_recover(fx), 0);
	buf_reset(&said);

	char *then;

	f = freeze(0, &then);
	for (int more = 1; more == 1;)
		more = read_one(f);
	end(f);
	say_same(then);
	free(then);
	buf_release(&said);
}
END_TEST

/* Nobody has to put anything by of what was read. */
START_TEST(memory_is_taken_for_what_is_changed_only)
{
	struct frozen *f;
	struct attr a, in = { .mode = 0600 };
	uint64_t ino;
	char name[16];

	buf_init(&said, 64u << 20);
	make_crowd(CROWD);
	f = freeze(0, NULL);
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(read_one(f), 1);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "c%u", i);
		ino = fx_ino(INO_ROOT, name);
		ok(volume_setattr(fx, ino, SET_MODE, &in, &a)); /* it left with ENT_NEW, which stays */
		ok(volume_setxattr(fx, ino, "user.crowd", "w", 1, 0));
	}
	ck_assert_uint_eq(frozen_put_by(f), 100);
	fx->opt.at_once_rows = 0;
	for (int more = 1; more == 1;)
		more = read_one(f);
	ck_assert_uint_eq(frozen_put_by(f), 0);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "c%u", i);
		write_some(fx_ino(INO_ROOT, name));
	}
	ck_assert_uint_eq(frozen_put_by(f), 0);
	end(f);
	buf_release(&said);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("frozen");
	TCase *tc = tcase_create("frozen");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, fx_teardown);
	tcase_add_loop_test(tc, what_is_done_between_two_rows_is_not_in_it, 0, 32);
	tcase_add_loop_test(tc, ranges_that_are_left_over_meanwhile_are_read, 0, 8);
	tcase_add_test(tc, a_rollback_ends_the_reading);
	tcase_add_test(tc, memory_is_taken_for_what_is_changed_only);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
