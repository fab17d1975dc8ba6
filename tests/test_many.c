/* SPDX-License-Identifier: MIT */
/* Many conflicts at once: what they want to know of bytes is worked out while others have the volume. */
#include "sync/ahead.h"
#include "tests/pair_fixture.h"

#include <pthread.h>

#define FILES 60u

static unsigned n_kinds, n_texts, n_locked;
static void (*meanwhile)(void);

static void setup_for(unsigned step_rows)
{
	px_step_rows = step_rows; /* from so many records on a shipment is a large one */
	px_by_hand = false;
	px_meanwhile = NULL;
	px_is_up = false;
	n_kinds = n_texts = n_locked = 0;
	meanwhile = NULL;
	px_setup();
}

static void small(void)
{
	setup_for(0);
}

static void large(void)
{
	setup_for(20);
}

/* ---- asked with the lock free ---------------------------------------------------------------------------------- */

static void *look(void *arg)
{
	volume_getattr(px[0].v, INO_ROOT, arg);
	return NULL;
}

/* Somebody else wants something of the primary's volume, and gets it before this goes on. */
static void others_can_look(void)
{
	struct timespec until;
	pthread_t other;
	struct attr a;

	if (!px[0].v) /* of no volume at all */
		return;
	if (volume_is_locked_here()) {
		n_locked++;
		return;
	}
	ck_assert_int_eq(pthread_create(&other, NULL, look, &a), 0);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 60;
	ck_assert_msg(pthread_timedjoin_np(other, NULL, &until) == 0, "the volume is kept from others");
	if (meanwhile)
		meanwhile();
}

enum content_kind __real_content_kind(const char *name, const void *head, size_t head_len);
enum content_kind __wrap_content_kind(const char *name, const void *head, size_t head_len);
enum content_kind __wrap_content_kind(const char *name, const void *head, size_t head_len)
{
	n_kinds++;
	others_can_look();
	return __real_content_kind(name, head, head_len);
}

int __real_merge3_text(const void *base, size_t base_len, const void *ours, size_t ours_len, const void *theirs,
		       size_t theirs_len, struct buf *out);
int __wrap_merge3_text(const void *base, size_t base_len, const void *ours, size_t ours_len, const void *theirs,
		       size_t theirs_len, struct buf *out);
int __wrap_merge3_text(const void *base, size_t base_len, const void *ours, size_t ours_len, const void *theirs,
		       size_t theirs_len, struct buf *out)
{
	n_texts++;
	others_can_look();
	return __real_merge3_text(base, base_len, ours, ours_len, theirs, theirs_len, out);
}

/* ---- what both write ---- */

static const char *name_of(unsigned k, const char *ext)
{
	static char name[64];

	snprintf(name, sizeof(name), "file-%02u%s", k, ext);
	return name;
}

static void write_all(int i, const char *ext, const char *first, const char *last)
{
	char text[200];

	for (unsigned k = 0; k < FILES; k++) {
		snprintf(text, sizeof(text), "%s %u\nsecond\nthird\nfourth\nfifth\n%s %u\n", first, k, last, k);
		px_put(i, name_of(k, ext), text);
	}
}

static void both_change(const char *ext)
{
	write_all(0, ext, "first", "last");
	px_settle();
	px_down();
	write_all(0, ext, "alder", "last");
	write_all(1, ext, "first", "birch");
}

static void all_are_merged(const char *ext)
{
	char text[200];

	for (unsigned k = 0; k < FILES; k++) {
		snprintf(text, sizeof(text), "alder %u\nsecond\nthird\nfourth\nfifth\nbirch %u\n", k, k);
		px_expect(name_of(k, ext), text);
	}
}

START_TEST(many_texts_are_merged_with_the_lock_free_and_each_once)
{
	both_change("");
	px_settle();
	all_are_merged("");
	ck_assert_uint_eq(n_texts, FILES);
	ck_assert_uint_eq(n_kinds, 2 * FILES);
	ck_assert_uint_eq(n_locked, 0);
}
END_TEST

START_TEST(of_a_text_that_its_name_says_to_be_one_libmagic_is_not_asked)
{
	both_change(".txt");
	px_settle();
	all_are_merged(".txt");
	ck_assert_uint_eq(n_texts, FILES);
	ck_assert_uint_eq(n_kinds, 0);
	ck_assert_uint_eq(n_locked, 0);
}
END_TEST

/* A file that was saved anew on both sides: its case is another one, its base another file. */
START_TEST(so_is_what_was_saved_anew)
{
	both_change("");
	for (int i = 0; i < 2; i++) {
		px_put(i, "new", i ? "first 0\nsecond\nthird\nfourth\nfifth\nBIRCH\n"
				   : "ALDER\nsecond\nthird\nfourth\nfifth\nlast 0\n");
		px_rename(i, "new", name_of(0, ""));
	}
	px_settle();
	px_expect(name_of(0, ""), "ALDER\nsecond\nthird\nfourth\nfifth\nBIRCH\n");
	ck_assert_uint_eq(n_texts, FILES);
	ck_assert_uint_eq(n_locked, 0);
}
END_TEST

/* ---- who keeps writing ---- */

static unsigned n_written;

static void write_again(void)
{
	char text[64];

	snprintf(text, sizeof(text), "written %u\nsecond\nthird\nfourth\nfifth\nlast 3\n", ++n_written);
	px_put(0, name_of(3, ".txt"), text);
}

START_TEST(who_keeps_writing_to_what_is_merged_is_not_waited_for_without_end)
{
	char text[64];

	n_written = 0;
	both_change(".txt");
	meanwhile = write_again;
	px_settle();
	meanwhile = NULL;
	px_settle();
	ck_assert_uint_gt(n_written, 0);
	ck_assert_uint_le(n_locked, 1); /* the one file, at last */
	snprintf(text, sizeof(text), "written %u\n", n_written);
	ck_assert_msg(px_is_below(0, INO_ROOT, text), "what was written last is lost");
	ck_assert_msg(px_is_below(0, INO_ROOT, "birch 3\n"), "what the secondary wrote is lost");
}
END_TEST

/* ---- the bound ---- */

START_TEST(what_is_more_than_a_round_may_note_is_noted_in_the_next)
{
	enum { N = 5, LEN = 6 << 20 };
	size_t len[3] = { LEN, LEN, LEN };
	uint8_t *texts = xmalloc(3 * (size_t)LEN);
	struct ahead a = { .n = 0 };
	const struct buf *merged;

	memset(texts, 'x', 3 * (size_t)LEN);
	for (unsigned round = 0; round < 3; round++) {
		unsigned known = 0;

		for (unsigned k = 0; k < N; k++) {
			texts[0] = texts[LEN] = texts[2 * LEN] = (uint8_t)('0' + k);
			if (ahead_text(&a, texts, len, &merged) == 0) {
				known++;
				ck_assert_uint_eq(merged->len_bytes, LEN);
				ck_assert_uint_eq(merged->data[0], '0' + k);
			}
		}
		ck_assert_uint_le(a.noted_bytes, AHEAD_NOTED_MAX_BYTES);
		ck_assert_uint_eq(known, round == 0 ? 0 : round == 1 ? 3 : N);
		ck_assert_int_eq(ahead_waits(&a), round < 2);
		if (round < 2)
			ahead_run(&a);
	}
	ahead_release(&a);
	free(texts);
}
END_TEST

static TCase *cases(const char *name, void (*setup)(void))
{
	TCase *c = tcase_create(name);

	tcase_add_checked_fixture(c, setup, px_teardown);
	tcase_set_timeout(c, 120);
	tcase_add_test(c, many_texts_are_merged_with_the_lock_free_and_each_once);
	tcase_add_test(c, of_a_text_that_its_name_says_to_be_one_libmagic_is_not_asked);
	tcase_add_test(c, so_is_what_was_saved_anew);
	tcase_add_test(c, who_keeps_writing_to_what_is_merged_is_not_waited_for_without_end);
	return c;
}

int main(void)
{
	Suite *s = suite_create("many");
	TCase *c = tcase_create("bound");

	tcase_add_test(c, what_is_more_than_a_round_may_note_is_noted_in_the_next);
	suite_add_tcase(s, c);
	suite_add_tcase(s, cases("at once", small));
	suite_add_tcase(s, cases("bit by bit", large));
	return tap_main(s);
}
