/* SPDX-License-Identifier: MIT */
/* Whose turn it is to take a request: workers that read bytes from a pipe in place of /dev/fuse. */
#include "tests/tap.h"

#include "fuse/crew.h"
#include "util/util.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define WORKERS 4
/* Far beyond what a test takes: what is served with it was not served because somebody watched. */
#define NEVER_US 3600000000u
#define SHORT_US 1000u

static struct crew crew;
static int requests[2];
static pthread_t threads[WORKERS];
static sem_t handled;      /* a request that is not stuck */
static sem_t stuck;        /* one began to be */
static sem_t let_go;       /* one may go on */
static atomic_int readers, together; /* the most that read at the same time */
static atomic_bool had[WORKERS];     /* handled something */

static void wait_for(sem_t *s)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += 60;
	ck_assert_msg(sem_timedwait(s, &t) == 0, "what was to happen did not");
}

/* 'q' is quick, 's' is stuck until let go, 'p' too, but says so. False: the pipe is closed. */
static bool serve(struct crew_hand *h, bool *mine)
{
	char what;
	ssize_t n;
	int now;

	crew_ask(&crew, requests[0]);
	now = atomic_fetch_add(&readers, 1) + 1;
	if (now > atomic_load(&together))
		atomic_store(&together, now);
	n = read(requests[0], &what, 1);
	atomic_fetch_sub(&readers, 1);
	if (n != 1)
		return false;
	crew_took(&crew, h);
	if (what == 'p')
		crew_pass(&crew, h);
	if (what == 'p' || what == 's') {
		sem_post(&stuck);
		sem_wait(&let_go);
	}
	sem_post(&handled);
	*mine = crew_done(&crew, h);
	return true;
}

static void *worker(void *arg)
{
	struct crew_hand hand = { 0 };

	while (crew_join(&crew)) {
		bool mine = true;

		while (mine && serve(&hand, &mine))
			atomic_store((atomic_bool *)arg, true);
		if (mine)
			crew_end(&crew);
	}
	return NULL;
}

static void start(unsigned watch_us)
{
	ck_assert_int_eq(pipe(requests), 0);
	ck_assert_int_eq(sem_init(&handled, 0, 0) + sem_init(&stuck, 0, 0) + sem_init(&let_go, 0, 0), 0);
	crew_init(&crew, watch_us);
	for (int i = 0; i < WORKERS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, worker, &had[i]), 0);
}

static void end(void)
{
	close(requests[1]);
	for (int i = 0; i < WORKERS; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	close(requests[0]);
	crew_release(&crew);
	ck_assert_int_eq(atomic_load(&together), 1);
}

static void ask(char what)
{
	ck_assert_int_eq(write(requests[1], &what, 1), 1);
}

static void ask_and_wait(char what)
{
	ask(what);
	wait_for(&handled);
}

START_TEST(one_serves_what_is_quick)
{
	int n = 0;

	start(NEVER_US);
	for (int i = 0; i < 20000; i++)
		ask_and_wait('q');
	end();
	for (int i = 0; i < WORKERS; i++)
		n += atomic_load(&had[i]);
	ck_assert_int_eq(n, 1);
}
END_TEST

/* All but one may be stuck: others are served, and when they are let go nothing was lost. */
static void stuck_ones_hold_up_nobody(char what, unsigned watch_us)
{
	start(watch_us);
	for (int round = 0; round < 20; round++) {
		for (int i = 1; i < WORKERS; i++) {
			ask(what);
			wait_for(&stuck);
			ask_and_wait('q');
		}
		for (int i = 1; i < WORKERS; i++)
			sem_post(&let_go);
		for (int i = 1; i < WORKERS; i++)
			wait_for(&handled);
	}
	end();
}

START_TEST(who_says_that_it_takes_long_holds_up_nobody)
{
	stuck_ones_hold_up_nobody('p', NEVER_US);
}
END_TEST

START_TEST(who_takes_long_holds_up_nobody)
{
	stuck_ones_hold_up_nobody('s', SHORT_US);
}
END_TEST

/* Then others wait for the first that is let go, which takes the turn up again. */
START_TEST(all_may_be_stuck)
{
	start(SHORT_US);
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < WORKERS; i++) {
			ask(round % 2 ? 's' : 'p');
			wait_for(&stuck);
		}
		ask('q');
		for (int i = 0; i < WORKERS; i++)
			sem_post(&let_go);
		for (int i = 0; i <= WORKERS; i++)
			wait_for(&handled);
	}
	end();
}
END_TEST

static long cpu_ms(const struct rusage *r)
{
	return (r->ru_utime.tv_sec + r->ru_stime.tv_sec) * 1000 + (r->ru_utime.tv_usec + r->ru_stime.tv_usec) / 1000;
}

/* After any of: nothing; what was quick; what was stuck. One that asked on, or watched on, would do so a thousand times
 * and more in this time. */
START_TEST(who_is_idle_sleeps)
{
	struct rusage before, after;

	start(SHORT_US);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; round == 1 && i < 1000; i++)
			ask_and_wait('q');
		if (round == 2) {
			ask('s');
			wait_for(&stuck);
			ask_and_wait('q');
			sem_post(&let_go);
			wait_for(&handled);
		}
		nanosleep(&(struct timespec){ .tv_nsec = 300000000 }, NULL);
		ck_assert_int_eq(getrusage(RUSAGE_SELF, &before), 0);
		nanosleep(&(struct timespec){ .tv_sec = 1, .tv_nsec = 500000000 }, NULL);
		ck_assert_int_eq(getrusage(RUSAGE_SELF, &after), 0);
		ck_assert_int_le(after.ru_nvcsw - before.ru_nvcsw, 100);
		ck_assert_int_le(cpu_ms(&after) - cpu_ms(&before), 300);
	}
	end();
}
END_TEST

/* Asking in vain again and again gets rare, and ends at once where there is only one CPU. */
static unsigned asked(unsigned sleeps)
{
	unsigned n = 0;

	for (unsigned i = 0; i < sleeps; i++) {
		n += crew.may_ask && crew.sleeps_left == 0;
		crew_ask(&crew, requests[0]);
	}
	return n;
}

START_TEST(nobody_asks_in_vain_for_long)
{
	cpu_set_t one;
	char byte;

	ck_assert_int_eq(pipe(requests), 0);
	crew_init(&crew, SHORT_US);
	crew.may_ask = true; /* wherever this runs */
	ck_assert_uint_le(asked(10000), 7 + 10000 / 128 + 1);
	ask('q');
	while (crew.sleeps_left > 0)
		crew_ask(&crew, requests[0]);
	ck_assert_uint_eq(asked(100), 100); /* it pays again */
	ck_assert_int_eq(read(requests[0], &byte, 1), 1);
	ck_assert_uint_le(asked(127), 7);
	crew_release(&crew);

	CPU_ZERO(&one);
	CPU_SET((unsigned)sched_getcpu(), &one);
	ck_assert_int_eq(sched_setaffinity(0, sizeof(one), &one), 0);
	crew_init(&crew, SHORT_US);
	ck_assert_uint_eq(asked(100), 0);
	crew_release(&crew);
}
END_TEST

START_TEST(the_end_wakes_all)
{
	start(NEVER_US);
	ask_and_wait('q');
	crew_end(&crew); /* all but who reads */
	end();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("crew");
	TCase *tc = tcase_create("crew");

	tcase_set_timeout(tc, 180);
	tcase_add_test(tc, one_serves_what_is_quick);
	tcase_add_test(tc, who_says_that_it_takes_long_holds_up_nobody);
	tcase_add_test(tc, who_takes_long_holds_up_nobody);
	tcase_add_test(tc, all_may_be_stuck);
	tcase_add_test(tc, who_is_idle_sleeps);
	tcase_add_test(tc, nobody_asks_in_vain_for_long);
	tcase_add_test(tc, the_end_wakes_all);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
