/* SPDX-License-Identifier: MIT */
/* Two engines, and a disk that has changed a block on one side: it is healed by the other, or left alone. */
#include "tests/pair_fixture.h"

#include <limits.h>
#include <pthread.h>

#include "core/damage.h"
#include "core/image.h"
#include "core/internal.h"
#include "core/scrub.h"

#define AT 1 /* the block that is damaged */

static void fill_block(uint8_t *block, char c)
{
	memset(block, c, BLOCK_BYTES);
}

static void put_blocks(int i, const char *path, const char *fills)
{
	uint8_t block[BLOCK_BYTES];

	if (!px_at(i, path))
		px_make(i, path, S_IFREG | 0644);
	for (size_t k = 0; fills[k]; k++) {
		fill_block(block, fills[k]);
		px_write(i, path, block, sizeof(block), k * BLOCK_BYTES);
	}
}

static int open_image(int i)
{
	char path[320];
	int fd;

	snprintf(path, sizeof(path), "%s/image", px[i].dir);
	fd = open(path, O_RDWR);
	ck_assert_int_ge(fd, 0);
	return fd;
}

/* Flip a bit of the one block of side i's image that is all c: where it is. */
static struct damaged spoil(int i, const char *path, char c)
{
	struct damaged d = { .ino = px_at(i, path), .block = AT };
	uint8_t block[BLOCK_BYTES], wanted[BLOCK_BYTES];
	int fd = open_image(i);

	fill_block(wanted, c);
	for (off_t at = BLOCK_BYTES; pread(fd, block, sizeof(block), at) == BLOCK_BYTES; at += BLOCK_BYTES) {
		if (memcmp(block, wanted, BLOCK_BYTES) != 0)
			continue;
		ck_assert_uint_eq(d.phys, 0);
		d.phys = (uint64_t)at / BLOCK_BYTES;
		d.sum = block_sum(wanted);
		block[77] ^= 8;
		ck_assert_int_eq(pwrite(fd, block, sizeof(block), at), BLOCK_BYTES);
	}
	ck_assert_uint_ne(d.phys, 0);
	close(fd);
	return d;
}

static ssize_t read_at(int i, const char *path, uint8_t *block)
{
	return volume_read(px[i].v, px_at(i, path), block, BLOCK_BYTES, (uint64_t)AT * BLOCK_BYTES);
}

static void is_there(int i, const char *path, char c)
{
	uint8_t block[BLOCK_BYTES], wanted[BLOCK_BYTES];

	fill_block(wanted, c);
	ck_assert_int_eq(read_at(i, path, block), BLOCK_BYTES);
	ck_assert(memcmp(block, wanted, sizeof(block)) == 0);
}

static void is_refused(int i, const char *path)
{
	uint8_t block[BLOCK_BYTES];

	ck_assert_int_eq(read_at(i, path, block), -EIO);
}

/* What nobody has any more is whole again when all of it is written. */
static void written_anew(int i, const char *path)
{
	put_blocks(i, path, "ABC");
	px_meet();
	is_there(!i, path, 'B');
}

/* "f" is "abc" on both sides; b is damaged on side i, which has noticed that while apart. */
static struct damaged noticed_apart(int i)
{
	struct damaged d;

	put_blocks(0, "f", "abc");
	px_meet();
	px_down();
	d = spoil(i, "f", 'b');
	is_refused(i, "f");
	return d;
}

/* Both are connected, and side i's question is the next frame of it. */
static void asked(int i)
{
	px_hello();
	px_talk(i);
	while (px_next(i) && px_next(i) != FRAME_HEAL)
		ck_assert_int_eq(px_deliver(i, NULL), 0);
	ck_assert_uint_eq(px_next(i), FRAME_HEAL);
}

/* Side `to` gets this. */
static int give(int to, const struct rec_heal *r, struct err *err)
{
	const struct frame f = { .type = FRAME_HEAL, .heal = *r };
	struct buf b;
	int rc;

	buf_init(&b, FRAME_MAX_BYTES);
	ck_assert_int_eq(frame_encode(&b, &f), 0);
	rc = engine_receive(px[to].e, b.data, b.len_bytes, px_now_ms, err);
	buf_release(&b);
	return rc;
}

static struct rec_heal bytes_of(const struct damaged *d, const uint8_t *block)
{
	return (struct rec_heal){ .op = HEAL_BYTES, .ino = d->ino, .block = d->block, .sum = d->sum, .data = block };
}

/* ---- healed ---- */

START_TEST(what_was_found_damaged_while_apart_is_healed_on_the_next_connection)
{
	noticed_apart(_i);
	px_settle();
	px_down(); /* nobody to be asked: it is here */
	is_there(_i, "f", 'b');
	px_meet();
}
END_TEST

/* Whoever waits is answered by the test's own thread, which talks all the time. */
static void told(void *ctx)
{
	(void)ctx;
}

struct reader {
	pthread_t thread;
	int side;
	_Atomic bool done;
	ssize_t n;
	uint8_t block[BLOCK_BYTES];
};

static void *read_main(void *arg)
{
	struct reader *r = arg;

	r->n = read_at(r->side, "f", r->block);
	r->done = true;
	return NULL;
}

START_TEST(who_reads_a_damaged_block_while_connected_gets_what_was_written)
{
	struct reader r = { .side = _i };
	uint8_t wanted[BLOCK_BYTES];

	put_blocks(0, "f", "abc");
	px_meet();
	spoil(_i, "f", 'b');
	damage_set_kick(px[_i].v, told, NULL);
	ck_assert_int_eq(pthread_create(&r.thread, NULL, read_main, &r), 0);
	while (!r.done)
		px_round();
	pthread_join(r.thread, NULL);
	fill_block(wanted, 'b');
	ck_assert_int_eq(r.n, BLOCK_BYTES);
	ck_assert(memcmp(r.block, wanted, sizeof(wanted)) == 0);
	px_meet();
}
END_TEST

/* One block of it was mended, and the next one is lost for certain: that is told at once, and once. */
START_TEST(what_was_mended_is_told_once_and_hides_no_other_damage)
{
	struct damaged d = noticed_apart(_i);

	px_settle();
	px_down();
	ck_assert_int_eq(damage_wait(px[_i].v, d.ino, 0, 3, true, 0), 1);
	ck_assert_int_eq(damage_wait(px[_i].v, d.ino, 0, 3, true, 0), 0);
	px_meet();
}
END_TEST

struct waiter {
	pthread_t thread;
	struct damaged d;
	int side, rc;
};

static void *wait_main(void *arg)
{
	struct waiter *w = arg;

	w->rc = damage_wait(px[w->side].v, w->d.ino, 0, 3, true, UINT_MAX);
	return NULL;
}

/* The gate is closed when nobody is inside. */
static void gate(void *ctx, bool still)
{
	struct waiter *w = ctx;

	if (still)
		pthread_join(w->thread, NULL);
}

START_TEST(who_waits_for_the_peer_holds_up_nobody_who_wants_requests_to_be_still)
{
	struct waiter w = { .d = noticed_apart(_i), .side = _i, .rc = -1 };
	struct volume *v = px[_i].v;

	damage_set_kick(v, told, NULL);
	px_hello(); /* the question is not answered */
	volume_set_still(v, gate, &w);
	ck_assert_int_eq(pthread_create(&w.thread, NULL, wait_main, &w), 0);
	volume_hold_still(v);
	ck_assert_int_eq(w.rc, 0);
	holders_go_on(v);
	volume_set_still(v, NULL, NULL);
	px_down();
	px_meet();
	is_there(_i, "f", 'b');
}
END_TEST

struct scrubber {
	pthread_t thread;
	int side, rc;
	_Atomic bool done;
	struct scrub_progress p;
	unsigned told_healed;
};

static void on_found(void *ctx, const struct scrub_found *f)
{
	struct scrubber *s = ctx;

	s->told_healed += f->healed;
	free(f->path);
}

static void *scrub_main(void *arg)
{
	struct scrubber *s = arg;
	const struct scrub_options opt = { .found = on_found, .ctx = s };

	s->rc = volume_scrub(px[s->side].v, &opt, &s->p);
	s->done = true;
	return NULL;
}

static void scrub(struct scrubber *s)
{
	damage_set_kick(px[s->side].v, told, NULL);
	ck_assert_int_eq(pthread_create(&s->thread, NULL, scrub_main, s), 0);
	while (!s->done)
		if (px_is_up)
			px_round();
	pthread_join(s->thread, NULL);
	ck_assert_int_eq(s->rc, 0);
}

START_TEST(a_scrub_heals_what_the_peer_has_and_names_the_rest)
{
	struct scrubber first = { .side = _i }, second = { .side = _i };

	put_blocks(0, "f", "abc");
	put_blocks(0, "g", "xyz");
	px_meet();
	spoil(_i, "f", 'b');
	spoil(_i, "g", 'y');
	spoil(!_i, "g", 'y');
	scrub(&first);
	ck_assert_uint_eq(first.p.found, 2);
	ck_assert_uint_eq(first.p.healed, 1);
	ck_assert_uint_eq(first.told_healed, 1);
	px_down();
	is_there(_i, "f", 'b');
	is_refused(_i, "g");
	scrub(&second); /* with nobody to ask */
	ck_assert_uint_eq(second.p.found, 1);
	ck_assert_uint_eq(second.p.healed, 0);
	written_anew(_i, "g");
}
END_TEST

START_TEST(an_old_version_that_is_kept_is_lent_too)
{
	struct damaged d = noticed_apart(_i);
	uint8_t block[BLOCK_BYTES], wanted[BLOCK_BYTES];

	put_blocks(!_i, "f", "ABC");
	ck_assert_int_eq(volume_commit(px[!_i].v), 0);
	ck_assert_int_eq(damage_lend(px[!_i].v, d.ino, d.block, d.sum, block), 0);
	fill_block(wanted, 'b');
	ck_assert(memcmp(block, wanted, sizeof(block)) == 0);
	ck_assert_int_eq(damage_lend(px[!_i].v, d.ino, d.block + 1, d.sum, block), -ENOENT);
	ck_assert_int_eq(damage_lend(px[!_i].v, d.ino + 1, d.block, d.sum, block), -ENOENT);
	px_meet();
	is_there(_i, "f", 'B');
}
END_TEST

/* ---- left alone ---- */

START_TEST(what_the_peer_has_not_got_stays_refused)
{
	noticed_apart(_i);
	spoil(!_i, "f", 'b');
	px_settle();
	px_down();
	is_refused(_i, "f");
	written_anew(_i, "f");
}
END_TEST

START_TEST(other_bytes_than_were_written_are_not_taken)
{
	struct damaged d = noticed_apart(_i);
	uint8_t block[BLOCK_BYTES];
	struct err err = ERR_INIT;
	struct rec_heal r = bytes_of(&d, block);

	fill_block(block, 'z');
	asked(_i);
	ck_assert_int_eq(give(_i, &r, &err), -EBADMSG);
	px_down();
	is_refused(_i, "f");
	px_settle(); /* it asks again, and hears the truth */
	px_down();
	is_there(_i, "f", 'b');
}
END_TEST

START_TEST(an_answer_that_was_not_asked_for_ends_the_connection)
{
	struct damaged d = noticed_apart(_i);
	uint8_t block[BLOCK_BYTES];
	struct err err = ERR_INIT;
	struct rec_heal r = bytes_of(&d, block);

	fill_block(block, 'b');
	asked(_i);
	r.block++;
	ck_assert_int_eq(give(_i, &r, &err), -EBADMSG);
	px_down();
	is_refused(_i, "f");
	px_hello(); /* what was asked on the one before is not answered here */
	r.block--;
	err = (struct err)ERR_INIT;
	ck_assert_int_eq(give(!_i, &r, &err), -EBADMSG);
	px_down();
	px_meet();
	is_there(_i, "f", 'b');
}
END_TEST

START_TEST(more_questions_than_allowed_end_the_connection)
{
	const struct rec_heal r = { .op = HEAL_ASK, .ino = 1, .block = 0, .sum = 5 };
	struct err err = ERR_INIT;
	unsigned n = 0;

	px_hello();
	while (give(_i, &r, &err) == 0)
		ck_assert_uint_lt(++n, 100);
	ck_assert_int_eq(err.code, -EBADMSG);
	ck_assert_uint_ge(n, 16);
	px_down();
}
END_TEST

START_TEST(a_block_that_is_somebody_elses_by_now_is_not_touched)
{
	struct damaged d = noticed_apart(_i);
	uint8_t block[BLOCK_BYTES], theirs[BLOCK_BYTES];
	struct err err = ERR_INIT;
	struct rec_heal r = bytes_of(&d, block);
	struct volume_info info;
	int fd;

	px_hello();
	put_blocks(_i, "f", "ABC");
	px_settle();
	volume_info(px[_i].v, &info);
	ck_assert_uint_eq(info.history_bytes, 0); /* so the place is free, and what is there now is another's */
	fd = open_image(_i);
	fill_block(theirs, 'T');
	ck_assert_int_eq(pwrite(fd, theirs, BLOCK_BYTES, (off_t)d.phys * BLOCK_BYTES), BLOCK_BYTES);
	fill_block(block, 'b');
	ck_assert_int_eq(damage_mend(px[_i].v, &d, block), 0); /* nothing of it is damaged any more */
	ck_assert_int_eq(pread(fd, block, BLOCK_BYTES, (off_t)d.phys * BLOCK_BYTES), BLOCK_BYTES);
	ck_assert(memcmp(block, theirs, BLOCK_BYTES) == 0);
	close(fd);
	ck_assert_int_eq(give(_i, &r, &err), -EBADMSG); /* unasked by now */
	px_down();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("heal");
	TCase *tc = tcase_create("heal");

	tcase_add_checked_fixture(tc, px_setup, px_teardown);
	tcase_set_timeout(tc, 30);
	suite_add_tcase(s, tc);
	tcase_add_loop_test(tc, what_was_found_damaged_while_apart_is_healed_on_the_next_connection, 0, 2);
	tcase_add_loop_test(tc, who_reads_a_damaged_block_while_connected_gets_what_was_written, 0, 2);
	tcase_add_loop_test(tc, what_was_mended_is_told_once_and_hides_no_other_damage, 0, 2);
	tcase_add_loop_test(tc, who_waits_for_the_peer_holds_up_nobody_who_wants_requests_to_be_still, 0, 2);
	tcase_add_loop_test(tc, a_scrub_heals_what_the_peer_has_and_names_the_rest, 0, 2);
	tcase_add_loop_test(tc, an_old_version_that_is_kept_is_lent_too, 0, 2);
	tcase_add_loop_test(tc, what_the_peer_has_not_got_stays_refused, 0, 2);
	tcase_add_loop_test(tc, other_bytes_than_were_written_are_not_taken, 0, 2);
	tcase_add_loop_test(tc, an_answer_that_was_not_asked_for_ends_the_connection, 0, 2);
	tcase_add_loop_test(tc, more_questions_than_allowed_end_the_connection, 0, 2);
	tcase_add_loop_test(tc, a_block_that_is_somebody_elses_by_now_is_not_touched, 0, 2);
	return tap_main(s);
}
