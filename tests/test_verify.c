/* SPDX-License-Identifier: MIT */
/* Two engines compare their trees: what is found the same, what is not, and when there is no moment for it. */
#include "tests/pair_fixture.h"

#include "core/data.h"
#include "sync/verify.h"

static struct verify_run *begin(int i, uint64_t id)
{
	struct verify_run *r = NULL;
	struct err err = ERR_INIT;

	ck_assert_msg(verify_begin(engine_verify(px[i].e), id, &r, &err) == 0, "%s", err_text(&err));
	return r;
}

/* Side i goes on asking, and both talk, until it is done. Between its steps `meanwhile` happens. */
static int go_on(int i, struct verify_run *r, void (*meanwhile)(void), struct err *err)
{
	int rc;

	for (unsigned n = 0; n < 5000; n++) {
		rc = verify_step(r, engine_verify(px[i].e), 0, px_now_ms, err);
		if (rc)
			return rc;
		if (meanwhile)
			meanwhile();
		px_round();
	}
	ck_abort_msg("it does not come to an end");
}

static void is_same(int i)
{
	struct verify_run *r = begin(i, 7);
	struct err err = ERR_INIT;
	int rc = go_on(i, r, NULL, &err);

	ck_assert_msg(rc == 1, "%s", err_text(&err));
	ck_assert_msg(verify_so_far(r)->differences == 0, "%s %s", verify_so_far(r)->told[0].path,
		      verify_so_far(r)->told[0].what);
	ck_assert_uint_gt(verify_so_far(r)->inodes, 0);
	verify_end(r, engine_verify(px[i].e));
	px_settle();
}

static void common(void)
{
	char name[24];

	px_put(0, "f.txt", "one\ntwo\n");
	px_mkdir(0, "d");
	px_put(0, "d/g", "g\n");
	px_link(0, "d/g", "d/second");
	px_setxattr(0, "f.txt", "user.k", "v");
	px_make(0, "sparse", S_IFREG | 0644);
	px_write(0, "sparse", "end", 3, 10000000);
	for (int k = 0; k < 1500; k++) { /* more than one lot */
		if (k % 200 == 0) {
			snprintf(name, sizeof(name), "d%d", k / 200);
			px_mkdir(0, name);
		}
		snprintf(name, sizeof(name), "d%d/n%04d", k / 200, k);
		px_make(0, name, S_IFREG | 0644);
	}
	px_meet_landed();
}

START_TEST(equal_trees_are_the_same_whoever_asks)
{
	common();
	is_same(_i);
	px_put(!_i, "late", "x"); /* while nobody asks */
	px_put(_i, "later", "x");
	is_same(_i);
}
END_TEST

static int writer;

static void write_on(void)
{
	static unsigned n;
	char text[24];

	snprintf(text, sizeof(text), "%u", n++);
	px_put(writer, "f.txt", text);
	if (n % 3 == 0)
		px_put(writer, "d0/n0007", text);
}

/* All that is compared is as of one moment: the other side, or who asks, writes between any two questions. */
START_TEST(what_is_written_meanwhile_is_no_difference)
{
	struct verify_run *r;
	struct err err = ERR_INIT;

	common();
	writer = _i % 2;
	r = begin(_i / 2, 9);
	ck_assert_msg(go_on(_i / 2, r, write_on, &err) == 1, "%s", err_text(&err));
	ck_assert_msg(verify_so_far(r)->differences == 0, "%s %s", verify_so_far(r)->told[0].path,
		      verify_so_far(r)->told[0].what);
	verify_end(r, engine_verify(px[_i / 2].e));
	px_meet();
}
END_TEST

/* Behind the engine's back: as a fault of the program or of the disk would. */
static void spoil(int i, int how)
{
	struct volume *v = px[i].v;
	uint64_t ino = px_at(i, "f.txt");
	struct inode in;
	struct dentry d;

	volume_lock(v);
	ck_assert_int_eq(group_open(v), 0);
	ck_assert_int_eq(tree_inode_get(v, ino, &in), 0);
	in.origin = ORIGIN_PEER;
	switch (how) {
	case 0:
		in.mode = (in.mode & S_IFMT) | 0600;
		ck_assert_int_eq(tree_inode_put(v, &in), 0);
		break;
	case 1:
		in.uid = 77;
		ck_assert_int_eq(tree_inode_put(v, &in), 0);
		break;
	case 2: ck_assert_int_eq(data_write(v, ino, "ONE", 3, 0, ORIGIN_PEER), 0); break;
	case 3: ck_assert_int_eq(data_truncate(v, ino, 3, ORIGIN_PEER), 0); break;
	case 4: ck_assert_int_eq(tree_xattr_put(v, ino, "user.k", "w", 1, ORIGIN_PEER), 0); break;
	case 5:
		ck_assert(tree_first_link(v, ino, &d));
		ck_assert_int_eq(tree_link_put(v, d.link, INO_ROOT, "renamed", 7, ino, ORIGIN_PEER), 0);
		break;
	case 6:
		ck_assert_int_eq(tree_link_put(v, id_new(v), INO_ROOT, "another", 7, ino, ORIGIN_PEER), 0);
		break;
	case 7:
		in.mtime_ns += 1;
		ck_assert_int_eq(tree_inode_put(v, &in), 0);
		break;
	default: ck_abort();
	}
	volume_unlock(v);
	ck_assert_int_eq(volume_commit(v), 0);
}

START_TEST(each_difference_is_told_by_path_on_either_side)
{
	static const struct {
		const char *path[2], *what[2]; /* asked on the side that was spoiled, and on the other */
	} cases[] = {
		{ { "/f.txt", "/f.txt" }, { "mode 0600 here, 0644 at the peer", "mode 0644 here, 0600 at the peer" } },
		{ { "/f.txt", "/f.txt" }, { "owner 77:", "at the peer" } },
		{ { "/f.txt", "/f.txt" }, { "bytes differ", "bytes differ" } },
		{ { "/f.txt", "/f.txt" }, { "3 bytes here, 8 at the peer", "8 bytes here, 3 at the peer" } },
		{ { "/f.txt", "/f.txt" }, { "xattrs differ", "xattrs differ" } },
		{ { "/renamed", "/f.txt" }, { "is /f.txt at the peer", "is /renamed at the peer" } },
		{ { "/another", "/another" }, { "is here alone", "is at the peer alone" } },
		{ { "/f.txt", "/f.txt" }, { "written at", "written at" } },
	};
	int spoiled = _i % 2, asks = _i / 2 % 2, how = _i / 4, other = asks != spoiled;
	const struct verify_result *res;
	struct err err = ERR_INIT;
	struct verify_run *r;

	common();
	spoil(spoiled, how);
	r = begin(asks, 11);
	ck_assert_msg(go_on(asks, r, NULL, &err) == 1, "%s", err_text(&err));
	res = verify_so_far(r);
	ck_assert_uint_eq(res->differences, 1);
	ck_assert_uint_eq(res->n_told, 1);
	ck_assert_str_eq(res->told[0].path, cases[how].path[other]);
	ck_assert_msg(strstr(res->told[0].what, cases[how].what[other]) != NULL, "%s", res->told[0].what);
	verify_end(r, engine_verify(px[asks].e));
}
END_TEST

static void write_on_both(void)
{
	writer = 0;
	write_on();
	writer = 1;
	write_on();
	px_now_ms += 500; /* it does not take a minute of real time */
}

START_TEST(who_writes_all_the_time_on_both_sides_is_told_so)
{
	struct err err = ERR_INIT;
	struct verify_run *r;

	common();
	r = begin(_i, 13);
	ck_assert_int_eq(go_on(_i, r, write_on_both, &err), -EAGAIN);
	ck_assert_ptr_nonnull(strstr(err_text(&err), "all the time"));
	verify_end(r, engine_verify(px[_i].e));
	px_meet();
	is_same(_i);
}
END_TEST

/* When: before the moment, or in the middle. */
START_TEST(the_connections_end_is_its_end_and_leaves_nothing_behind)
{
	struct err err = ERR_INIT;
	struct verify_run *r, *second = NULL;

	common();
	r = begin(_i % 2, 15);
	ck_assert_int_eq(verify_begin(engine_verify(px[_i % 2].e), 16, &second, &err), -EBUSY);
	err = (struct err)ERR_INIT;
	for (int n = 0; n < (_i / 2 ? 6 : 0); n++) {
		ck_assert_int_eq(verify_step(r, engine_verify(px[_i % 2].e), 0, px_now_ms, &err), 0);
		px_round();
	}
	px_down();
	ck_assert_int_eq(verify_step(r, engine_verify(px[_i % 2].e), 0, px_now_ms, &err), -ENOTCONN);
	verify_end(r, engine_verify(px[_i % 2].e));
	px_put(0, "f.txt", "after\n");
	px_meet(); /* history is gone on both sides: no pin is left */
	is_same(_i % 2);
}
END_TEST

/* Whenever it is: before the moment (odd: while the other side is written to), when it has come, in the middle. */
START_TEST(who_ends_early_leaves_nothing_pinned)
{
	struct err err = ERR_INIT;
	struct verify_run *r;

	common();
	r = begin(0, 19);
	for (int n = 0; n < _i / 2; n++) {
		writer = 1;
		if (_i % 2)
			write_on();
		ck_assert_int_eq(verify_step(r, engine_verify(px[0].e), 0, px_now_ms, &err), 0);
		px_round();
	}
	verify_end(r, engine_verify(px[0].e));
	px_put(0, "f.txt", "after\n");
	px_put(1, "d0/n0007", "after\n");
	px_meet(); /* history is gone on both sides */
	is_same(1);
	px_same();
}
END_TEST

/* Of who asked and went without a word nothing stays pinned. */
START_TEST(what_is_pinned_for_who_is_gone_is_let_go)
{
	struct err err = ERR_INIT;
	struct verify_run *r;

	common();
	r = begin(0, 17);
	for (int n = 0; n < 6; n++) {
		ck_assert_int_eq(verify_step(r, engine_verify(px[0].e), 0, px_now_ms, &err), 0);
		px_round();
	}
	px_put(1, "f.txt", "after\n");
	px_settle();
	px_now_ms += 1000000;
	px_settle();
	verify_end(r, NULL);
	px_settle();
	px_same();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("verify");
	TCase *tc = tcase_create("verify");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, px_setup, px_teardown);
	tcase_add_loop_test(tc, equal_trees_are_the_same_whoever_asks, 0, 2);
	tcase_add_loop_test(tc, what_is_written_meanwhile_is_no_difference, 0, 4);
	tcase_add_loop_test(tc, each_difference_is_told_by_path_on_either_side, 0, 32);
	tcase_add_loop_test(tc, who_writes_all_the_time_on_both_sides_is_told_so, 0, 2);
	tcase_add_loop_test(tc, the_connections_end_is_its_end_and_leaves_nothing_behind, 0, 4);
	tcase_add_loop_test(tc, who_ends_early_leaves_nothing_pinned, 0, 14);
	tcase_add_test(tc, what_is_pinned_for_who_is_gone_is_let_go);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
