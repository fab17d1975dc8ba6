/* SPDX-License-Identifier: MIT */
#include "tests/tap.h"

#include "util/buf.h"
#include "util/err.h"
#include "util/log.h"
#include "util/map.h"
#include "util/number.h"
#include "util/rows.h"
#include "util/util.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

START_TEST(an_error_carries_code_and_text_and_keeps_errno)
{
	struct err err = ERR_INIT;

	errno = EAGAIN;
	ck_assert_int_eq(err_set(&err, -ENOENT, "no %s", "store"), -ENOENT);
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert_int_eq(err.code, -ENOENT);
	ck_assert_str_eq(err_text(&err), "no store");
	ck_assert_int_eq(err_set(NULL, -EIO, "nobody reads this"), -EIO);
}
END_TEST

START_TEST(a_prefix_stands_before_the_text_or_the_code)
{
	struct err err = ERR_INIT;

	err_set(&err, -ENOENT, "gone");
	ck_assert_int_eq(err_prefix(&err, "store %d", 7), -ENOENT);
	ck_assert_str_eq(err_text(&err), "store 7: gone");
	err = (struct err){ .code = -EACCES };
	ck_assert_str_eq(err_text(&err), strerror(EACCES));
	err_prefix(&err, "open");
	ck_assert_ptr_nonnull(strstr(err_text(&err), strerror(EACCES)));
	ck_assert_int_eq(err_prefix(NULL, "x"), -EIO);
}
END_TEST

START_TEST(an_error_may_quote_itself_and_is_cut_when_long)
{
	struct err err = ERR_INIT;
	char longer[2 * ERR_TEXT_MAX_BYTES];

	err_set(&err, -EIO, "inner");
	err_set(&err, -EIO, "outer (%s)", err.text);
	ck_assert_str_eq(err.text, "outer (inner)");
	memset(longer, 'x', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	err_set(&err, -EIO, "%s", longer);
	ck_assert_uint_eq(strlen(err.text), ERR_TEXT_MAX_BYTES - 1);
	err_prefix(&err, "%s", longer);
	ck_assert_uint_eq(strlen(err.text), ERR_TEXT_MAX_BYTES - 1);
}
END_TEST

START_TEST(a_log_line_is_one_line_and_keeps_errno)
{
	char text[512];
	int fds[2], saved = dup(STDERR_FILENO);
	ssize_t n;

	ck_assert_int_eq(pipe(fds), 0);
	dup2(fds[1], STDERR_FILENO);
	errno = EDOM;
	log_thread_name("a-name-that-is-too-long");
	log_warn("file %s", "two\nlines");
	ck_assert_int_eq(errno, EDOM);
	dup2(saved, STDERR_FILENO);
	n = read(fds[0], text, sizeof(text) - 1);
	ck_assert_int_gt(n, 0);
	text[n] = '\0';
	ck_assert_str_eq(text, "twinfs: warning: [a-name-that-is-] file two lines\n");
	close(fds[0]);
	close(fds[1]);
	close(saved);
}
END_TEST

START_TEST(debug_areas_are_named_in_the_environment)
{
	unsetenv("TWINFS_DEBUG");
	ck_assert(!log_debug_on("link"));
	setenv("TWINFS_DEBUG", "fuse,link", 1);
	ck_assert(log_debug_on("link"));
	ck_assert(log_debug_on("fuse"));
	ck_assert(!log_debug_on("lin"));
	ck_assert(!log_debug_on("linked"));
	setenv("TWINFS_DEBUG", "all", 1);
	ck_assert(log_debug_on("link"));
}
END_TEST

START_TEST(a_buffer_grows_to_its_bound_and_then_stays_failed)
{
	struct buf b;

	buf_init(&b, 1000);
	for (int i = 0; i < 100; i++)
		ck_assert_int_eq(buf_append(&b, "0123456789", 10), 0);
	ck_assert_uint_eq(b.len_bytes, 1000);
	ck_assert_int_eq(memcmp(b.data + 990, "0123456789", 10), 0);
	ck_assert_int_eq(buf_append(&b, "x", 1), -EMSGSIZE);
	ck_assert_int_eq(buf_append(&b, "", 0), -EMSGSIZE);
	ck_assert_ptr_null(buf_extend(&b, 0));
	buf_reset(&b);
	ck_assert_int_eq(buf_append(&b, "x", 1), 0);
	ck_assert_uint_eq(b.len_bytes, 1);
	ck_assert_int_eq(buf_append(&b, NULL, SIZE_MAX) ? b.failed : 0, -EMSGSIZE);
	buf_release(&b);
}
END_TEST

START_TEST(a_buffer_prints_up_to_its_very_last_byte)
{
	struct buf b;

	buf_init(&b, 5);
	ck_assert_int_eq(buf_printf(&b, "%d-%s", 12, "ab"), 0);
	ck_assert_uint_eq(b.len_bytes, 5);
	ck_assert_int_eq(memcmp(b.data, "12-ab", 5), 0);
	ck_assert_int_eq(buf_printf(&b, "c"), -EMSGSIZE);
	buf_release(&b);

	buf_init(&b, 4096);
	for (int i = 0; i < 256; i++) /* meets the end of the first allocation exactly */
		ck_assert_int_eq(buf_printf(&b, "%c", 'a' + i % 26), 0);
	ck_assert_int_eq(buf_printf(&b, "%s", "tail"), 0);
	ck_assert_int_eq(memcmp(b.data + 256, "tail", 4), 0);
	buf_release(&b);
}
END_TEST

START_TEST(consumed_bytes_are_gone_from_the_front)
{
	struct buf b;

	buf_init(&b, 100);
	buf_append(&b, "abcdef", 6);
	buf_consume(&b, 2);
	ck_assert_uint_eq(b.len_bytes, 4);
	ck_assert_int_eq(memcmp(b.data, "cdef", 4), 0);
	buf_consume(&b, 4);
	ck_assert_uint_eq(b.len_bytes, 0);
	buf_release(&b);
}
END_TEST

/* Against a plain array: keys are few, so that probe runs are long and deletions move entries back over the end. */
START_TEST(a_map_agrees_with_an_array_over_random_steps)
{
	enum { KEYS = 200 };
	uint64_t want[KEYS + 1] = { 0 }, seed = 1, v;
	struct map m = MAP_INIT;
	size_t count = 0;

	for (int step = 0; step < 100000; step++) {
		uint64_t key, value;

		seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
		key = 1 + (seed >> 33) % KEYS;
		value = (seed >> 20) | 1;
		if (seed >> 63) {
			count += want[key] == 0;
			map_put(&m, key, value);
			want[key] = value;
		} else {
			ck_assert(map_del(&m, key) == (want[key] != 0));
			count -= want[key] != 0;
			want[key] = 0;
		}
		ck_assert_uint_eq(map_count(&m), count);
		key = 1 + (seed >> 40) % KEYS;
		ck_assert(map_get(&m, key, &v) == (want[key] != 0));
		if (want[key])
			ck_assert_uint_eq(v, want[key]);
	}
	map_release(&m);
}
END_TEST

START_TEST(iterating_a_map_meets_each_entry_once)
{
	struct map m = MAP_INIT;
	uint64_t key, value, sum = 0;
	size_t it = 0, n = 0;

	ck_assert(!map_next(&m, &it, &key, &value));
	for (uint64_t i = 1; i <= 1000; i++)
		map_put(&m, i << 40, i);
	it = 0;
	while (map_next(&m, &it, &key, &value)) {
		ck_assert_uint_eq(key, value << 40);
		sum += value;
		n++;
	}
	ck_assert_uint_eq(n, 1000);
	ck_assert_uint_eq(sum, 500500);
	map_clear(&m);
	ck_assert(!map_get(&m, UINT64_C(1) << 40, NULL));
	ck_assert_uint_eq(map_count(&m), 0);
	map_release(&m);
}
END_TEST

START_TEST(a_number_takes_the_bytes_it_needs)
{
	uint8_t to[NUMBER_MAX_BYTES];
	const uint8_t *at;

	for (unsigned bit = 0; bit < 64; bit++)
		for (int by = -1; by <= 1; by++) {
			uint64_t n = (UINT64_C(1) << bit) + (uint64_t)(int64_t)by;
			size_t len = number_put(to, n);

			at = to;
			ck_assert_uint_eq(number_get(&at), n);
			ck_assert_uint_eq((size_t)(at - to), len);
			ck_assert_uint_eq(number_from(number_near(n, 1000), 1000), n);
			ck_assert_uint_eq(number_from(number_near(1000, n), n), 1000);
		}
	ck_assert_uint_eq(number_put(to, number_near(936, 1000)), 1);
}
END_TEST

#define ROWS 1000u
struct want {
	uint64_t n[3];
	uint8_t bytes[200];
	size_t len;
};

static void expect_row(const struct rows *r, size_t i, const struct want *w)
{
	uint64_t n[3];
	size_t len;
	const uint8_t *bytes = rows_get(r, i, n, &len);

	ck_assert_mem_eq(n, w->n, sizeof(n));
	ck_assert_uint_eq(len, w->len);
	ck_assert_mem_eq(bytes, w->bytes, len);
}

START_TEST(rows_are_what_was_added_in_any_order_of_looks)
{
	struct rows r = { .n_numbers = 3 };
	struct want *w = xcalloc(ROWS, sizeof(*w));
	uint64_t seed = (uint64_t)_i + 1, id = 0;

	for (unsigned i = 0; i < ROWS; i++) {
		id += 2 * (1 + (seed = seed * 6364136223846793005u + 1) % 5);
		w[i].n[0] = id;
		w[i].n[1] = seed >> (seed % 64);
		w[i].n[2] = 7;
		w[i].len = (seed >> 20) % sizeof(w[i].bytes);
		memset(w[i].bytes, (int)i, sizeof(w[i].bytes));
		rows_add(&r, w[i].n, w[i].bytes, w[i].len);
		expect_row(&r, i, &w[i]);
		expect_row(&r, (size_t)(seed >> 33) % (i + 1), &w[(seed >> 33) % (i + 1)]);
	}
	ck_assert_uint_eq(r.n, ROWS);
	for (unsigned i = 0; i < ROWS; i++) {
		expect_row(&r, i, &w[i]);
		ck_assert_uint_eq(rows_find(&r, w[i].n[0]), i);
		ck_assert_uint_eq(rows_find(&r, w[i].n[0] - 1), i);
		ck_assert_uint_eq(rows_find(&r, w[i].n[0] + 1), i + 1);
	}
	ck_assert_uint_eq(rows_find(&r, UINT64_MAX), ROWS);
	rows_release(&r);
	ck_assert_uint_eq(rows_find(&r, 1), 0);
	rows_add(&r, w[5].n, w[5].bytes, w[5].len);
	expect_row(&r, 0, &w[5]);
	rows_release(&r);
	free(w);
}
END_TEST

START_TEST(times_print_as_rfc3339_and_never_overflow)
{
	char out[21];

	time_rfc3339(0, out);
	ck_assert_str_eq(out, "1970-01-01T00:00:00Z");
	time_rfc3339(UINT64_C(1769862896999), out);
	ck_assert_str_eq(out, "2026-01-31T12:34:56Z");
	time_rfc3339(UINT64_MAX, out);
	ck_assert_str_eq(out, "9999-12-31T23:59:59Z");
}
END_TEST

START_TEST(hex_round_trips_and_refuses_what_is_not_hex)
{
	uint8_t in[] = { 0x00, 0x7f, 0xff, 0xa5 }, back[4];
	char text[9];

	hex_encode(in, sizeof(in), text);
	ck_assert_str_eq(text, "007fffa5");
	ck_assert_int_eq(hex_decode("007FffA5", back, 4), 0);
	ck_assert_int_eq(memcmp(in, back, 4), 0);
	ck_assert_int_eq(hex_decode("007fffa", back, 4), -EINVAL);
	ck_assert_int_eq(hex_decode("007fffa50", back, 4), -EINVAL);
	ck_assert_int_eq(hex_decode("007fffg5", back, 4), -EINVAL);
}
END_TEST

static const struct {
	const char *text;
	int result;
	uint64_t bytes;
} sizes[] = {
	{ "0", 0, 0 },
	{ "4096", 0, 4096 },
	{ "512M", 0, UINT64_C(512) << 20 },
	{ "10g", 0, UINT64_C(10) << 30 },
	{ "3K", 0, 3072 },
	{ "18446744073709551615", 0, UINT64_MAX },
	{ "16777215T", 0, UINT64_C(16777215) << 40 },
	{ "16777216T", -ERANGE, 0 },
	{ "18446744073709551616", -ERANGE, 0 },
	{ "", -EINVAL, 0 },
	{ " 1", -EINVAL, 0 },
	{ "-1", -EINVAL, 0 },
	{ "+1", -EINVAL, 0 },
	{ "G", -EINVAL, 0 },
	{ "1X", -EINVAL, 0 },
	{ "1GB", -EINVAL, 0 },
	{ "1.5G", -EINVAL, 0 },
};

START_TEST(sizes_parse_with_units_and_bounds)
{
	uint64_t bytes = 0;

	ck_assert_msg(parse_size(sizes[_i].text, &bytes) == sizes[_i].result, "\"%s\"", sizes[_i].text);
	if (sizes[_i].result == 0)
		ck_assert_uint_eq(bytes, sizes[_i].bytes);
}
END_TEST

START_TEST(clocks_and_random_numbers_move)
{
	uint64_t before = clock_mono_ms();

	ck_assert_uint_ne(random_u64(), random_u64());
	ck_assert_uint_ge(clock_mono_ms(), before);
	ck_assert_uint_gt(clock_real_ms(), UINT64_C(1600000000000));
	ck_assert_uint_le((uint64_t)clock_real_ns() / 1000000 - clock_real_ms(), 1000);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("util");
	TCase *tc = tcase_create("util");

	tcase_add_test(tc, an_error_carries_code_and_text_and_keeps_errno);
	tcase_add_test(tc, a_prefix_stands_before_the_text_or_the_code);
	tcase_add_test(tc, an_error_may_quote_itself_and_is_cut_when_long);
	tcase_add_test(tc, a_log_line_is_one_line_and_keeps_errno);
	tcase_add_test(tc, debug_areas_are_named_in_the_environment);
	tcase_add_test(tc, a_buffer_grows_to_its_bound_and_then_stays_failed);
	tcase_add_test(tc, a_buffer_prints_up_to_its_very_last_byte);
	tcase_add_test(tc, consumed_bytes_are_gone_from_the_front);
	tcase_add_test(tc, a_map_agrees_with_an_array_over_random_steps);
	tcase_add_test(tc, iterating_a_map_meets_each_entry_once);
	tcase_add_test(tc, a_number_takes_the_bytes_it_needs);
	tcase_add_loop_test(tc, rows_are_what_was_added_in_any_order_of_looks, 0, 4);
	tcase_add_test(tc, times_print_as_rfc3339_and_never_overflow);
	tcase_add_test(tc, hex_round_trips_and_refuses_what_is_not_hex);
	tcase_add_loop_test(tc, sizes_parse_with_units_and_bounds, 0, (int)ARRAY_LEN(sizes));
	tcase_add_test(tc, clocks_and_random_numbers_move);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
