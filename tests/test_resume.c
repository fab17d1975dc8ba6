/* SPDX-License-Identifier: MIT */
/*
 * A shipment that breaks off is gone on with: what had arrived of its bytes is not sent again, whatever happened to the
 * files meanwhile. Each test runs twice: side _i sends.
 */
#include "sync/told.h"
#include "tests/pair_fixture.h"

#define FILES 12
#define LARGE_BYTES 40000u
#define SMALL_BYTES 1500u

static uint64_t random_state;

/* Nothing of it can be compressed, and no two blocks are alike. */
static void fill_random(uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		p[i] = (uint8_t)(random_state >> 56);
	}
}

static const char *file_name(unsigned k)
{
	static char name[32];

	snprintf(name, sizeof(name), "f%02u", k);
	return name;
}

static void put_random(int i, const char *path, size_t len, uint64_t off)
{
	uint8_t *p = xmalloc(len);

	fill_random(p, len);
	if (!px_at(i, path))
		px_make(i, path, S_IFREG | 0644);
	px_write(i, path, p, len, off);
	free(p);
}

/* Every third file is large. */
static uint64_t put_files(int i)
{
	uint64_t sum = 0;

	for (unsigned k = 0; k < FILES; k++) {
		size_t len = k % 3 ? SMALL_BYTES : LARGE_BYTES;

		put_random(i, file_name(k), len, 0);
		sum += len;
	}
	return sum;
}

static void keep_all(void)
{
	for (int i = 0; i < 2; i++)
		engine_keep_from(px[i].e, 0);
}

/* The next frame from side i is delivered; how many bytes of files it has. */
static uint64_t deliver_counted(int i)
{
	uint8_t *scratch = xmalloc(DATA_MAX_BYTES);
	struct err err = ERR_INIT;
	uint64_t bytes = 0;
	struct frame f;

	ck_assert_int_gt(frame_decode(px[i].out.data, px[i].out.len_bytes, &f, scratch, &err), 0);
	if (f.type == FRAME_DATA || f.type == FRAME_HOLE || f.type == FRAME_LOST)
		bytes = f.data.len_bytes;
	frame_release(&f);
	free(scratch);
	ck_assert_msg(px_deliver(i, &err) == 0, "side %d refuses: %s", !i, err_text(&err));
	return bytes;
}

/* Talk until nothing is left to say, or side `from` has delivered `frames` frames more; the file bytes it sent. */
static uint64_t talk(int from, unsigned frames)
{
	uint64_t bytes = 0;

	if (!px_is_up)
		px_up();
	for (unsigned idle = 0; idle < 3; idle++) {
		px_now_ms += 50;
		for (int i = 0; i < 2; i++) {
			if (px_talk(i) > 0)
				idle = 0;
			for (; px_next(i); frames -= i == from) {
				uint64_t n;

				if (frames == 0)
					return bytes;
				n = deliver_counted(i);
				bytes += i == from ? n : 0;
			}
		}
	}
	return bytes;
}

START_TEST(what_had_arrived_is_not_sent_again)
{
	uint64_t all, first, second;

	for (unsigned frames = 1; frames < 60; frames += 3) {
		keep_all();
		all = put_files(_i);
		first = talk(_i, frames);
		px_down();
		second = talk(_i, UINT32_MAX);
		ck_assert_msg(first + second == all, "of %llu bytes %llu and %llu were sent, cut after frame %u",
			      (unsigned long long)all, (unsigned long long)first, (unsigned long long)second, frames);
		px_meet();
		px_down();
	}
}
END_TEST

START_TEST(many_cuts_in_a_row_send_nothing_twice)
{
	uint64_t all, sent = 0, now;
	unsigned cuts = 0;

	keep_all();
	all = put_files(_i);
	do {
		ck_assert_uint_lt(++cuts, 100);
		now = talk(_i, 30); /* HELLO and the metadata are 26 of them */
		sent += now;
		px_down();
	} while (sent < all);
	ck_assert_uint_eq(sent, all);
	ck_assert_uint_gt(cuts, 3);
	px_meet();
}
END_TEST

START_TEST(the_sender_may_die_meanwhile)
{
	uint64_t all, first;

	keep_all();
	all = put_files(_i);
	first = talk(_i, 34);
	ck_assert_uint_gt(first, 0);
	px_crash(_i);
	ck_assert_uint_eq(talk(_i, UINT32_MAX), all - first);
	px_meet();
}
END_TEST

START_TEST(the_receiver_may_die_meanwhile)
{
	uint64_t all, first;

	keep_all();
	all = put_files(_i);
	first = talk(_i, 34);
	ck_assert_uint_gt(first, 0);
	px_crash(!_i);
	keep_all();
	ck_assert_uint_eq(talk(_i, UINT32_MAX), all - first);
	px_meet();
}
END_TEST

START_TEST(both_may_die_again_and_again)
{
	uint64_t all, sent = 0;
	unsigned cuts = 0;

	all = put_files(_i);
	ck_assert_int_eq(volume_commit(px[_i].v), 0);
	do {
		ck_assert_uint_lt(++cuts, 100);
		keep_all();
		sent += talk(_i, 30);
		px_crash(0);
		px_crash(1);
	} while (sent < all);
	ck_assert_uint_eq(sent, all);
	ck_assert_uint_gt(cuts, 3);
	px_meet();
}
END_TEST

static void damage_notes(int i, unsigned how)
{
	char path[320];
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s/staged", px[i].dir);
	fd = open(path, O_RDWR);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fstat(fd, &st), 0);
	if (how % 3 == 0) {
		ck_assert_int_eq(ftruncate(fd, st.st_size * (how % 7) / 7), 0);
	} else {
		uint8_t byte;
		off_t at = (off_t)(random_state >> 20) % st.st_size;

		ck_assert_int_eq(pread(fd, &byte, 1, at), 1);
		byte ^= (uint8_t)(1u << how % 8);
		ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
	}
	close(fd);
}

/* What was noted is cut off, damaged, or of blocks that others have by now. */
START_TEST(notes_that_are_not_true_bring_no_wrong_bytes)
{
	for (unsigned how = 0; how < 24; how++) {
		uint8_t fill;

		keep_all();
		put_files(_i);
		talk(_i, 33 + how % 6);
		px_crash(!_i);
		keep_all();
		fill_random(&fill, 1);
		if (how % 4 != 1)
			damage_notes(!_i, how);
		if (how % 4 != 2)
			put_random(!_i, "other", 60000, 0);
		if (how % 8 == 3) {
			ck_assert_int_eq(volume_commit(px[!_i].v), 0);
			px_unlink(!_i, "other");
		}
		px_meet();
		for (unsigned k = 0; k < FILES; k++)
			px_unlink(_i, file_name(k));
		px_meet();
		px_down();
	}
}
END_TEST

START_TEST(when_all_has_arrived_nothing_is_noted_any_more)
{
	char path[320];

	keep_all();
	put_files(_i);
	talk(_i, 34);
	snprintf(path, sizeof(path), "%s/staged", px[!_i].dir);
	ck_assert_int_eq(access(path, F_OK), 0);
	px_meet();
	ck_assert_int_ne(access(path, F_OK), 0);
}
END_TEST

START_TEST(a_little_is_not_kept_and_nothing_is_lost)
{
	uint64_t all = put_files(_i), first = talk(_i, 34);

	ck_assert_uint_gt(first, 0);
	px_down();
	ck_assert_uint_eq(talk(_i, UINT32_MAX), all); /* below KEEP_LEAST_BYTES */
	px_meet();
}
END_TEST

/* ---- what the peer says it has ---- */

/* "off+len off+len " of the pieces that are missing. */
static int write_piece(void *ctx, uint64_t ino, uint64_t off, uint64_t len_bytes)
{
	(void)ino;
	return buf_printf(ctx, "%llu+%llu ", (unsigned long long)off, (unsigned long long)len_bytes);
}

static void expect_missing(const struct told *t, uint64_t ino, uint64_t off, uint64_t len, bool any, const char *pieces)
{
	struct buf b;

	buf_init(&b, 1000);
	ck_assert_int_eq(told_missing(t, ino, off, len, write_piece, &b), any);
	ck_assert_int_eq(buf_append(&b, "", 1), 0);
	ck_assert_str_eq((char *)b.data, pieces);
	buf_release(&b);
}

START_TEST(what_is_missing_is_what_is_not_there)
{
	/* Out of order, and two that overlap, as no honest peer says. */
	static const struct staged_range ranges[] = { { 9, 300, 100 }, { 8, 0, 50 }, { 9, 100, 100 }, { 9, 150, 100 } };
	struct rec_staged r = { .n = ARRAY_LEN(ranges), .ranges = ranges };
	struct err err = ERR_INIT;
	struct volume_info info;
	uint64_t group = 0;
	struct told *t;

	px_put(_i, "f", "text");
	ck_assert_int_eq(volume_commit(px[_i].v), 0);
	volume_info(px[_i].v, &info);
	r.group = info.committed;
	volume_lock(px[_i].v);
	ck_assert_int_eq(group_id(px[_i].v, r.group, &r.id), 0);
	volume_unlock(px[_i].v);
	t = told_new(px[_i].v, info.committed - 1, r.n);
	ck_assert(!told_all(t));
	ck_assert_int_eq(told_add(t, &r, &err), 0);
	ck_assert(told_all(t));
	ck_assert(told_file(t, 9, &group));
	ck_assert_uint_eq(group, r.group);
	ck_assert(!told_file(t, 7, &group) && !told_file(t, 10, &group));
	expect_missing(t, 8, 0, 50, true, "");
	expect_missing(t, 8, 50, 10, false, "50+10 ");
	expect_missing(t, 9, 0, 500, true, "0+100 250+50 400+100 ");
	expect_missing(t, 9, 250, 50, false, "250+50 ");
	expect_missing(t, 10, 0, 5, false, "0+5 ");
	told_free(t);
}
END_TEST

START_TEST(what_is_there_as_of_a_group_that_is_none_of_ours_does_not_count)
{
	static const struct staged_range range = { 9, 0, 100 };
	struct err err = ERR_INIT;
	struct volume_info info;
	uint64_t id, group;

	px_put(_i, "f", "text");
	ck_assert_int_eq(volume_commit(px[_i].v), 0);
	volume_info(px[_i].v, &info);
	volume_lock(px[_i].v);
	ck_assert_int_eq(group_id(px[_i].v, info.committed, &id), 0);
	volume_unlock(px[_i].v);
	const struct {
		uint64_t from, group, id;
		bool counts;
	} rows[] = {
		{ info.committed - 1, info.committed, id, true },
		{ info.committed - 1, info.committed, id ^ 1, false }, /* another store's, or made anew */
		{ info.committed - 1, info.committed + 1, id, false }, /* not yet */
		{ info.committed, info.committed, id, false },         /* applied long ago */
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct told *t = told_new(px[_i].v, rows[i].from, 1);
		const struct rec_staged r = { rows[i].group, rows[i].id, 1, &range };

		ck_assert_int_eq(told_add(t, &r, &err), 0);
		ck_assert(told_all(t));
		ck_assert_int_eq(told_file(t, 9, &group), rows[i].counts);
		ck_assert_int_eq(told_add(t, &r, &err), -EBADMSG); /* more than was said */
		told_free(t);
	}
}
END_TEST

/* ---- progress ---- */

struct progress {
	uint64_t done[2], total[2]; /* sent, received */
};

/* Neither number ever falls; done stays below total. */
static void look_at(int i, struct progress *p)
{
	struct engine_status s;
	struct progress now;

	engine_status(px[i].e, &s);
	now = (struct progress){ { s.send_done_bytes, s.recv_done_bytes }, { s.send_total_bytes, s.recv_total_bytes } };
	for (int k = 0; k < 2; k++) {
		ck_assert_uint_ge(now.done[k], p->done[k]);
		ck_assert_uint_ge(now.total[k], p->total[k]);
		ck_assert_uint_le(now.done[k], now.total[k]);
	}
	*p = now;
}

/* Side _i sends all that is to be sent, frame by frame. */
static void watch_transfer(int i, uint64_t bytes, uint64_t entries)
{
	struct progress p[2] = { { .total = { 0 } } };
	unsigned below = 0;

	px_up();
	for (unsigned idle = 0; idle < 3; idle++) {
		px_now_ms += 50;
		for (int k = 0; k < 2; k++) {
			struct err err = ERR_INIT;

			ck_assert_int_eq(engine_tick(px[k].e, px_now_ms, &err), 0);
			while (engine_pull(px[k].e, &px[k].out, 1, &err) > 0) {
				idle = 0;
				for (; px_next(k); below += p[!i].done[1] > 0 && p[!i].done[1] < p[!i].total[1]) {
					deliver_counted(k);
					look_at(k, &p[k]);
					look_at(!k, &p[!k]);
				}
			}
		}
	}
	ck_assert_uint_gt(below, FILES / 2); /* it was seen on its way */
	for (int k = 0; k < 2; k++) {
		ck_assert_uint_eq(p[k].done[0], p[k].total[0]);
		ck_assert_uint_eq(p[k].done[1], p[k].total[1]);
	}
	ck_assert_uint_eq(p[i].done[0], p[!i].done[1]);
	ck_assert_uint_eq(p[!i].done[1], bytes + entries * ENGINE_ENTRY_BYTES);
}

START_TEST(progress_never_goes_back_and_ends_at_the_total)
{
	uint64_t bytes;

	px_meet();
	px_down();
	bytes = put_files(_i);
	px_set(_i, file_name(1), SET_SIZE, (struct attr){ .size_bytes = 1000000 }); /* nearly all of it a hole */
	px_setxattr(_i, file_name(2), "user.k", "v");
	volume_commit(px[_i].v);
	watch_transfer(_i, bytes, 2 * FILES + 2); /* the root's time, an xattr */
	px_meet();
}
END_TEST

START_TEST(progress_after_a_cut_is_of_what_is_left)
{
	uint64_t all, first;

	px_meet();
	px_down();
	keep_all();
	all = put_files(_i);
	first = talk(_i, 34);
	ck_assert_uint_gt(first, 0);
	px_down();
	watch_transfer(_i, all - first, 2 * FILES + 1);
	px_meet();
}
END_TEST

START_TEST(renames_alone_have_a_progress_too)
{
	put_files(_i);
	px_meet();
	px_down();
	for (unsigned k = 0; k < FILES; k++) {
		char to[40];

		snprintf(to, sizeof(to), "moved-%s", file_name(k));
		px_rename(_i, file_name(k), to);
	}
	watch_transfer(_i, 0, FILES + 1);
	px_meet();
}
END_TEST

/* ---- what may happen to a file between two attempts; f00, f03, … are large */

static void nothing(int i, unsigned k)
{
	(void)i;
	(void)k;
}

static void written_over(int i, unsigned k)
{
	put_random(i, file_name(k), 700, 500);
}

static void written_over_whole(int i, unsigned k)
{
	put_random(i, file_name(k), LARGE_BYTES, 0);
}

static void appended(int i, unsigned k)
{
	put_random(i, file_name(k), 9000, px_stat(i, file_name(k)).size_bytes);
}

static void set_size(int i, unsigned k, uint64_t size)
{
	px_set(i, file_name(k), SET_SIZE, (struct attr){ .size_bytes = size });
}

static void cut_short(int i, unsigned k)
{
	set_size(i, k, 600);
}

static void cut_and_grown(int i, unsigned k)
{
	set_size(i, k, 600);
	set_size(i, k, LARGE_BYTES);
}

static void made_anew(int i, unsigned k)
{
	set_size(i, k, 0);
	put_random(i, file_name(k), 6000, 0);
}

static void grown(int i, unsigned k)
{
	set_size(i, k, LARGE_BYTES + 10000);
}

static void punched(int i, unsigned k)
{
	volume_fallocate(px[i].v, px_at(i, file_name(k)), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 300, 9000);
}

static void removed(int i, unsigned k)
{
	px_unlink(i, file_name(k));
}

static void removed_and_made(int i, unsigned k)
{
	px_unlink(i, file_name(k));
	put_random(i, file_name(k), 3000, 0);
}

static void attributes_changed(int i, unsigned k)
{
	px_set(i, file_name(k), SET_MODE, (struct attr){ .mode = S_IFREG | 0600 });
}

static void written_there(int i, unsigned k)
{
	if (px_at(!i, file_name(k)))
		put_random(!i, file_name(k), 1000, 200);
}

static void written_on_both(int i, unsigned k)
{
	written_there(i, k);
	put_random(i, file_name(k), 1000, 900);
}

static void removed_there(int i, unsigned k)
{
	if (px_at(!i, file_name(k)))
		px_unlink(!i, file_name(k));
}

static const struct {
	const char *name;
	void (*fn)(int i, unsigned k);
} meanwhile[] = {
	{ "nothing", nothing }, { "written over", written_over }, { "cut and grown", cut_and_grown },
	{ "written over whole", written_over_whole }, { "appended to", appended }, { "cut short", cut_short },
	{ "made anew", made_anew }, { "grown", grown }, { "punched", punched }, { "removed", removed },
	{ "removed and made", removed_and_made }, { "attributes changed", attributes_changed },
	{ "written there", written_there }, { "written on both sides", written_on_both },
	{ "removed there", removed_there },
};

/* The state before the cut: files that both have, changed here (and one of them cut); new ones. */
static void begin(int i)
{
	for (unsigned k = 0; k < FILES; k += 2)
		put_random(i, file_name(k), LARGE_BYTES, 0);
	px_meet();
	px_down();
	for (unsigned k = 0; k < FILES; k++) {
		if (k % 4 == 0)
			set_size(i, k, 100);
		put_random(i, file_name(k), k % 3 ? SMALL_BYTES : LARGE_BYTES, k % 4 == 2 ? 3000 : 0);
	}
	keep_all();
}

/* Two cuts, and something happens to all files after each: anything, then one of the first three. In every other
 * history the receiver dies instead. */
START_TEST(whatever_happens_to_the_files_meanwhile_both_are_equal)
{
	int i = _i % 2;
	unsigned a = (unsigned)_i / 2 % ARRAY_LEN(meanwhile), b = (unsigned)_i / 2 / ARRAY_LEN(meanwhile);
	static const unsigned frames[] = { 30, 37 };

	random_state = (uint64_t)_i;
	for (size_t n = 0; n < ARRAY_LEN(frames); n++) {
		px_setup();
		begin(i);
		talk(i, frames[n]);
		if (n % 2)
			px_crash(!i);
		else
			px_down();
		keep_all();
		for (unsigned k = 0; k < FILES; k++)
			meanwhile[a].fn(i, k);
		talk(i, frames[n] + 4);
		if (n % 2)
			px_crash(!i);
		else
			px_down();
		keep_all();
		for (unsigned k = 0; k < FILES; k++)
			if (px_at(i, file_name(k)))
				meanwhile[b].fn(i, k);
		px_meet();
		px_down();
		px_teardown();
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("resume");
	TCase *tc = tcase_create("resume");

	tcase_add_checked_fixture(tc, px_setup, px_teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, what_had_arrived_is_not_sent_again, 0, 2);
	tcase_add_loop_test(tc, many_cuts_in_a_row_send_nothing_twice, 0, 2);
	tcase_add_loop_test(tc, the_sender_may_die_meanwhile, 0, 2);
	tcase_add_loop_test(tc, the_receiver_may_die_meanwhile, 0, 2);
	tcase_add_loop_test(tc, both_may_die_again_and_again, 0, 2);
	tcase_add_loop_test(tc, notes_that_are_not_true_bring_no_wrong_bytes, 0, 2);
	tcase_add_loop_test(tc, when_all_has_arrived_nothing_is_noted_any_more, 0, 2);
	tcase_add_loop_test(tc, a_little_is_not_kept_and_nothing_is_lost, 0, 2);
	tcase_add_loop_test(tc, what_is_missing_is_what_is_not_there, 0, 2);
	tcase_add_loop_test(tc, what_is_there_as_of_a_group_that_is_none_of_ours_does_not_count, 0, 2);
	tcase_add_loop_test(tc, progress_never_goes_back_and_ends_at_the_total, 0, 2);
	tcase_add_loop_test(tc, progress_after_a_cut_is_of_what_is_left, 0, 2);
	tcase_add_loop_test(tc, renames_alone_have_a_progress_too, 0, 2);
	suite_add_tcase(s, tc);
	tc = tcase_create("meanwhile");
	tcase_set_timeout(tc, 60);
	tcase_add_loop_test(tc, whatever_happens_to_the_files_meanwhile_both_are_equal, 0,
			    2 * 3 * (int)ARRAY_LEN(meanwhile));
	suite_add_tcase(s, tc);
	return tap_main(s);
}
