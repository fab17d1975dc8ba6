/* SPDX-License-Identifier: MIT */
/* How long a backlog will take, in each of its phases. */
#include "sync/progress.h"

#include "tests/tap.h"

#define MIB (UINT64_C(1) << 20)

static const struct {
	const char *what;
	uint64_t send_done, send_total, recv_done, recv_total, entries, moved_ms, now_ms;
	int64_t eta_s;
} rows[] = {
	/* since_ms is 1000 in all of them */
	{ "nothing has crossed yet", 0, 100 * MIB, 0, 0, 0, 1000, 3000, -1 },
	{ "half in ten seconds", 50 * MIB, 100 * MIB, 0, 0, 0, 11000, 11000, 10 },
	{ "both directions count", 25 * MIB, 100 * MIB, 25 * MIB, 100 * MIB, 0, 11000, 11000, 30 },
	{ "and a million files have to be taken in then", 50 * MIB, 100 * MIB, 0, 0, 1000000, 11000, 11000, 110 },
	{ "all is across: they are being taken in", 0, 0, 100 * MIB, 100 * MIB, 1000000, 21000, 21000, 100 },
	{ "for half of the time", 0, 0, 100 * MIB, 100 * MIB, 1000000, 21000, 71000, 50 },
	{ "in a moment is not now", 0, 0, MIB, MIB, 10, 21000, 21001, 1 },
	{ "it takes longer than it should", 0, 0, 100 * MIB, 100 * MIB, 1000000, 21000, 131000, -1 },
	{ "nothing is on its way", 100 * MIB, 100 * MIB, 0, 0, 0, 21000, 22000, 0 },
	{ "the clock has not moved", 100 * MIB, 100 * MIB, 0, 0, 0, 1000, 1000, 0 },
};

START_TEST(the_time_left_counts_what_has_to_cross_and_what_has_to_be_taken_in)
{
	struct engine_status e = { .send_done_bytes = rows[_i].send_done, .send_total_bytes = rows[_i].send_total,
		                   .recv_done_bytes = rows[_i].recv_done, .recv_total_bytes = rows[_i].recv_total,
		                   .since_ms = 1000, .moved_ms = rows[_i].moved_ms,
		                   .unlanded_entries = rows[_i].entries };
	struct progress p = progress_of(&e, rows[_i].now_ms);

	ck_assert_msg(p.eta_s == rows[_i].eta_s, "%s: %lld s", rows[_i].what, (long long)p.eta_s);
	ck_assert_uint_eq(p.done_bytes, rows[_i].send_done + rows[_i].recv_done);
}
END_TEST

START_TEST(never_more_is_done_than_there_is)
{
	struct engine_status e = { .send_done_bytes = 3 * MIB, .send_total_bytes = 2 * MIB, .since_ms = 1000 };
	struct progress p = progress_of(&e, 2000);

	ck_assert_uint_eq(p.total_bytes, 3 * MIB);
	ck_assert_uint_eq(p.bytes_per_s, 3 * MIB);
	ck_assert_int_eq(p.eta_s, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("progress");
	TCase *tc = tcase_create("progress");

	tcase_add_loop_test(tc, the_time_left_counts_what_has_to_cross_and_what_has_to_be_taken_in, 0,
	                    sizeof(rows) / sizeof(rows[0]));
	tcase_add_test(tc, never_more_is_done_than_there_is);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
