/* SPDX-License-Identifier: MIT */
/* What people ask of a store while what the peer sent holds, but is not in place yet. */
#include "core/landing.h"
#include "node/control.h"
#include "node/requests.h"
#include "tests/pair_fixture.h"

/* More than are carried out in one step. */
#define FILES 200

static int side;
static struct control *server;
static unsigned said;

static json_t *answer(void *ctx, struct control_client *client, const json_t *request)
{
	(void)ctx;
	return requests_answer(px[side].v, NULL, NULL, client, request);
}

static void setup(void)
{
	struct err err = ERR_INIT;

	px_step_rows = 1;
	px_by_hand = true;
	px_meanwhile = NULL;
	px_setup();
	side = 0;
	said = 0;
	ck_assert_msg(control_start(px_base, answer, NULL, &server, &err) == 0, "%s", err.text);
}

static void teardown(void)
{
	control_stop(server);
	px_teardown();
}

/* Made, and all but one removed again: that holds at `to`, and nothing of it was carried out. */
static void land_deletions(int to)
{
	char name[32];

	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		px_put(!to, name, name);
	}
	px_meet_landed();
	for (int i = 1; i < FILES; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		px_unlink(!to, name);
	}
	px_send(!to);
	ck_assert(landing_holds(px[to].v));
	side = to;
}

static void on_progress(const char *text)
{
	ck_assert_ptr_nonnull(strstr(text, "what the peer sent"));
	said++;
}

static json_t *ask(json_t *request)
{
	struct err err = ERR_INIT;
	json_t *reply = NULL;

	ck_assert_msg(control_call(px_base, request, 20000, on_progress, &reply, &err) == 0, "%s", err.text);
	json_decref(request);
	return reply;
}

/* It waited for seconds where half a million files had been removed, and was told that the mount did not answer. */
START_TEST(status_waits_for_nothing_that_is_to_be_put_in_place)
{
	json_t *reply, *status;

	land_deletions(_i);
	reply = ask(json_pack("{s:s}", "cmd", "status"));
	ck_assert(landing_holds(px[_i].v));
	ck_assert_uint_eq(said, 0);
	status = json_object_get(reply, "status");
	ck_assert_str_eq(json_string_value(json_object_get(status, "role")), _i ? "secondary" : "primary");
	ck_assert(json_is_object(json_object_get(status, "pending")));
	json_decref(reply);
	px_meet_landed();
}
END_TEST

START_TEST(who_asks_about_the_tree_is_told_what_he_waits_for)
{
	json_t *reply;

	land_deletions(_i % 2);
	reply = ask(_i / 2 ? json_pack("{s:s, s:s}", "cmd", "why", "path", "/f0")
			   : json_pack("{s:s}", "cmd", "conflicts"));
	ck_assert_uint_gt(said, 0);
	ck_assert(!landing_holds(px[side].v));
	if (_i / 2)
		ck_assert_str_eq(json_string_value(json_object_get(reply, "state")), "identical");
	else
		ck_assert_uint_eq(json_array_size(json_object_get(reply, "conflicts")), 0);
	json_decref(reply);
	px_meet_landed();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("asked");
	TCase *c = tcase_create("asked");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_loop_test(c, status_waits_for_nothing_that_is_to_be_put_in_place, 0, 2);
	tcase_add_loop_test(c, who_asks_about_the_tree_is_told_what_he_waits_for, 0, 4);
	suite_add_tcase(s, c);
	return tap_main(s);
}
