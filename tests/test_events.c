/* SPDX-License-Identifier: MIT */
#include "node/events.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <string.h>

#include "tests/tap.h"
#include "util/util.h"

static struct events *events;

static void setup(void)
{
	events = events_new();
}

static void teardown(void)
{
	events_free(events);
}

static void add(int number)
{
	events_add(events, json_pack("{s:s, s:i, s:s}", "event", "test", "n", number, "text", "x"));
}

/* A follower in a thread of its own. */
struct follower {
	pthread_t thread;
	sem_t began, go; /* after its first event it waits for `go` */
	int last;
	unsigned n;
	json_int_t lost;
	int rc;
	struct err err;
};

static int hear(void *ctx, const json_t *event)
{
	struct follower *f = ctx;
	const char *word = json_string_value(json_object_get(event, "event"));

	ck_assert(json_is_string(json_object_get(event, "time")));
	if (strcmp(word, "first") == 0) {
		sem_post(&f->began);
		sem_wait(&f->go);
	} else if (strcmp(word, "lost") == 0) {
		f->lost += json_integer_value(json_object_get(event, "count"));
	} else {
		int number = (int)json_integer_value(json_object_get(event, "n"));

		ck_assert_int_gt(number, f->last);
		f->last = number;
		f->n++;
	}
	return 0;
}

static void *follow(void *arg)
{
	struct follower *f = arg;
	const struct control_sink sink = { .line = hear, .ctx = f };
	struct control_client *client = control_local(&sink);

	f->rc = events_follow(events, client, json_pack("{s:s}", "event", "first"), &f->err);
	control_local_free(client);
	return NULL;
}

static void begin(struct follower *f)
{
	*f = (struct follower){ .last = -1 };
	sem_init(&f->began, 0, 0);
	sem_init(&f->go, 0, 0);
	ck_assert_int_eq(pthread_create(&f->thread, NULL, follow, f), 0);
	sem_wait(&f->began);
}

START_TEST(followers_get_what_is_added_in_order_and_end_with_it)
{
	struct follower f[2];

	ck_assert(!events_followed(events));
	add(0); /* before anybody was there */
	for (int i = 0; i < 2; i++) {
		begin(&f[i]);
		sem_post(&f[i].go);
	}
	ck_assert(events_followed(events));
	for (int i = 1; i <= 200; i++)
		add(i);
	events_end(events);
	for (int i = 0; i < 2; i++) {
		pthread_join(f[i].thread, NULL);
		ck_assert_uint_eq(f[i].n, 200);
		ck_assert_int_eq(f[i].last, 200);
		ck_assert_int_eq(f[i].lost, 0);
		ck_assert_int_eq(f[i].rc, 0);
	}
	ck_assert(!events_followed(events));
}
END_TEST

START_TEST(a_slow_follower_loses_the_oldest_and_is_told)
{
	struct follower f;

	begin(&f);
	for (int i = 0; i < EVENTS_KEPT + 100; i++)
		add(i);
	sem_post(&f.go);
	events_end(events);
	pthread_join(f.thread, NULL);
	ck_assert_int_eq(f.lost, 100);
	ck_assert_uint_eq(f.n, EVENTS_KEPT);
	ck_assert_int_eq(f.last, EVENTS_KEPT + 99);
}
END_TEST

START_TEST(followers_are_bounded)
{
	struct follower f[EVENTS_FOLLOWERS_MAX], more = { .last = -1 };

	for (size_t i = 0; i < EVENTS_FOLLOWERS_MAX; i++)
		begin(&f[i]);
	follow(&more);
	ck_assert_int_eq(more.rc, -EBUSY);
	for (size_t i = 0; i < EVENTS_FOLLOWERS_MAX; i++)
		sem_post(&f[i].go);
	events_end(events);
	for (size_t i = 0; i < EVENTS_FOLLOWERS_MAX; i++)
		pthread_join(f[i].thread, NULL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("events");
	TCase *tc = tcase_create("events");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, followers_get_what_is_added_in_order_and_end_with_it);
	tcase_add_test(tc, a_slow_follower_loses_the_oldest_and_is_told);
	tcase_add_test(tc, followers_are_bounded);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
