/* SPDX-License-Identifier: MIT */
/* Two links over loopback, each with a fake engine; between them, where a test wants it, a relay that can be told to
 * misbehave. */
#include "tests/tap.h"

#include "sync/channel.h"
#include "sync/link.h"
#include "sync/token.h"
#include "tests/fake_engine.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/util.h"

#define MIB (UINT64_C(1) << 20)
#define SOON_MS 20000u

static struct identity *ids[3];
static struct volume va, vb;
static struct link *a, *b;
static char a_at[32];

static unsigned free_port(void)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sa);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&sa, len), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
	close(fd);
	return ntohs(sa.sin_port);
}

static void make_identity(struct identity **out)
{
	static const char *const names[] = { "node.key", "node.crt" };
	char dir[] = "/tmp/twinfs-link-XXXXXX";

	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(identity_create(dir, NULL), 0);
	ck_assert_int_eq(identity_load(dir, out, NULL), 0);
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		char *p = xasprintf("%s/%s", dir, names[i]);

		unlink(p);
		free(p);
	}
	rmdir(dir);
}

static void setup(void)
{
	for (size_t i = 0; i < ARRAY_LEN(ids); i++)
		make_identity(&ids[i]);
	snprintf(a_at, sizeof(a_at), "127.0.0.1:%u", free_port());
}

static void teardown(void)
{
	if (b)
		link_stop(b, "test over", 0);
	if (a)
		link_stop(a, "test over", 0);
	for (size_t i = 0; i < ARRAY_LEN(ids); i++)
		identity_free(ids[i]);
}

static const char *pin(int i)
{
	return identity_fingerprint_hex(ids[i]);
}

static void start(struct link **out, struct volume *v, struct link_options opt)
{
	struct err err = ERR_INIT;

	ck_assert_msg(link_start(v, &opt, out, &err) == 0, "%s", err.text);
}

static void start_a(void)
{
	start(&a, &va,
	      (struct link_options){
		      .identity = ids[0], .listen = a_at, .peer_pin_hex = pin(1), .commit_interval_ms = 20 });
}

static void start_b_to(const char *at)
{
	start(&b, &vb,
	      (struct link_options){
		      .identity = ids[1], .dial = at, .peer_pin_hex = pin(0), .commit_interval_ms = 20 });
}

static struct link_status status(struct link *l)
{
	struct link_status st;

	link_status(l, &st);
	return st;
}

#define wait_until(cond)                                                                                        \
	do {                                                                                                    \
		uint64_t until_ms_ = clock_mono_ms() + SOON_MS;                                                 \
		while (!(cond)) {                                                                               \
			ck_assert_msg(clock_mono_ms() < until_ms_, "not in time: " #cond " (a: %s %s; b: %s %s)", \
				      a ? link_state_word(status(a).state) : "", a ? status(a).why : "",       \
				      b ? link_state_word(status(b).state) : "", b ? status(b).why : "");      \
			usleep(2000);                                                                           \
		}                                                                                               \
	} while (0)

static void wait_connected(void)
{
	wait_until(status(a).state == LINK_CONNECTED && status(b).state == LINK_CONNECTED);
}

/* ---- a relay between dialler and listener
 * ------------------------------------------------------------------------------------ */

enum relay_mode { RELAY_PASS, RELAY_FREEZE, RELAY_CLOSE, RELAY_RESET, RELAY_FLIP };

static struct relay {
	pthread_t thread;
	int listener;
	unsigned to_port;
	char at[32];
	_Atomic int mode;
	atomic_bool stop;
	atomic_uint accepted;
} relay;

static int dial_port(unsigned port)
{
	struct sockaddr_in sa = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
				  .sin_port = htons((uint16_t)port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connect(fd, (struct sockaddr *)&sa, sizeof(sa))) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Copies what is there, whole; false at the end. In FLIP one bit is turned. */
static bool copy(int from, int to)
{
	static char data[65536];
	ssize_t n = recv(from, data, sizeof(data), MSG_DONTWAIT), sent;

	if (n < 0)
		return errno == EAGAIN;
	if (n > 0 && relay.mode == RELAY_FLIP) {
		data[n / 2] ^= 1;
		relay.mode = RELAY_PASS;
	}
	for (ssize_t at = 0; at < n; at += sent) {
		if (relay.mode != RELAY_PASS || relay.stop)
			return true;
		sent = send(to, data + at, (size_t)(n - at), MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent < 0 && errno != EAGAIN)
			return false;
		if (sent < 0) {
			poll(&(struct pollfd){ .fd = to, .events = POLLOUT }, 1, 10);
			sent = 0;
		}
	}
	return n > 0;
}

static void relay_pair(int in, int out)
{
	bool going = true;

	while (going && !relay.stop) {
		struct pollfd fds[2] = { { .fd = in, .events = POLLIN }, { .fd = out, .events = POLLIN } };

		if (relay.mode == RELAY_FREEZE) {
			usleep(1000);
			continue;
		}
		if (relay.mode == RELAY_CLOSE || relay.mode == RELAY_RESET)
			break;
		poll(fds, 2, 10);
		if (fds[0].revents)
			going = copy(in, out);
		if (going && fds[1].revents)
			going = copy(out, in);
	}
	if (relay.mode == RELAY_RESET) {
		struct linger hard = { .l_onoff = 1 };

		setsockopt(in, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
		setsockopt(out, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
	}
	close(in);
	close(out);
	if (relay.mode != RELAY_FREEZE)
		relay.mode = RELAY_PASS;
}

static void *relay_main(void *arg)
{
	(void)arg;
	while (!relay.stop) {
		struct pollfd p = { .fd = relay.listener, .events = POLLIN };
		int in, out;

		if (poll(&p, 1, 10) <= 0)
			continue;
		in = accept4(relay.listener, NULL, NULL, SOCK_CLOEXEC);
		out = dial_port(relay.to_port);
		relay.accepted++;
		if (in < 0 || out < 0) {
			close(in);
			close(out);
			continue;
		}
		relay_pair(in, out);
	}
	return NULL;
}

static void relay_start(void)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(sa);

	relay.to_port = (unsigned)atoi(strchr(a_at, ':') + 1);
	relay.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(relay.listener, (struct sockaddr *)&sa, len), 0);
	ck_assert_int_eq(listen(relay.listener, 8), 0);
	ck_assert_int_eq(getsockname(relay.listener, (struct sockaddr *)&sa, &len), 0);
	snprintf(relay.at, sizeof(relay.at), "127.0.0.1:%u", ntohs(sa.sin_port));
	ck_assert_int_eq(pthread_create(&relay.thread, NULL, relay_main, NULL), 0);
}

static void relay_stop(void)
{
	relay.stop = true;
	pthread_join(relay.thread, NULL);
	close(relay.listener);
}

/* ---- data
 * ----------------------------------------------------------------------------------------------------
 */

static uint64_t soak_bytes(void)
{
	const char *mib = getenv("TWINFS_LINK_SOAK_MIB");

	return mib ? strtoull(mib, NULL, 10) * MIB : 32 * MIB;
}

START_TEST(frames_flow_both_ways_at_once)
{
	struct err err = ERR_INIT;
	uint64_t bytes = soak_bytes(), began_ms;

	start_a();
	start_b_to(a_at);
	wait_connected();
	began_ms = clock_mono_ms();
	fake_write(&va, bytes);
	fake_write(&vb, bytes);
	ck_assert_msg(link_wait_synced(a, 600000, &err) == 0, "%s", err.text);
	ck_assert_msg(link_wait_synced(b, 600000, &err) == 0, "%s", err.text);
	if (getenv("TWINFS_LINK_SOAK_MIB"))
		fprintf(stderr, "# %llu MiB each way in %llu ms\n", (unsigned long long)(bytes / MIB),
			(unsigned long long)(clock_mono_ms() - began_ms));
	ck_assert_uint_eq(va.received, bytes);
	ck_assert_uint_eq(vb.received, bytes);
	ck_assert_uint_eq(va.wrong + vb.wrong, 0);
	ck_assert_uint_eq(va.ups, 1);
	ck_assert_uint_ge(status(a).bytes_in, bytes);
	ck_assert_uint_ge(status(a).bytes_out, bytes);
	ck_assert_str_eq(status(b).peer_address, a_at);
	ck_assert_uint_gt(status(a).peer_last_seen_ms, 0);
}
END_TEST

START_TEST(many_small_writes_arrive_each_soon)
{
	start_a();
	start_b_to(a_at);
	wait_connected();
	for (unsigned i = 1; i <= 200; i++) {
		struct volume *from = i % 2 ? &va : &vb, *to = i % 2 ? &vb : &va;
		uint64_t until_ms = clock_mono_ms() + SOON_MS;

		fake_write(from, 10);
		while (to->received < from->to_send)
			ck_assert_uint_lt(clock_mono_ms(), until_ms);
	}
	ck_assert_uint_eq(va.ups, 1);
}
END_TEST

/* The receiver takes 40 ms a frame of 64 KiB: the sender may be ahead by the credit, but not by more, and both idle
 * meanwhile. */
START_TEST(what_has_no_room_is_waited_for_in_one_state_and_comes_when_there_is_room)
{
	struct err err = ERR_INIT;
	unsigned ups;

	vb.free_bytes = MIB;
	vb.wanted_bytes = 8 * MIB;
	start_a();
	start_b_to(a_at);
	wait_until(status(b).state == LINK_CONNECTED);
	fake_write(&va, 4 * MIB);
	/* On a machine under load the connection may be gone before its goodbye is read. */
	wait_until(status(b).state == LINK_PAUSED &&
		   (status(a).state == LINK_PAUSED || status(a).state == LINK_DISCONNECTED));
	ck_assert_msg(status(b).needs_person && strstr(status(b).why, "no room"), "%s", status(b).why);
	ck_assert_msg(strstr(status(b).action, "by itself"), "%s", status(b).action);
	ck_assert_msg(status(a).state == LINK_DISCONNECTED || strstr(status(a).why, "no room"), "%s", status(a).why);
	ups = vb.ups;
	usleep(2500 * 1000); /* it looks for room five times */
	ck_assert_int_eq(link_wait_synced(b, 50, &err), -ETIMEDOUT);
	ck_assert_msg(strstr(err.text, "no room"), "%s", err.text);
	ck_assert_uint_eq(vb.ups, ups);
	vb.free_bytes = 8 * MIB;
	wait_until(vb.received == 4 * MIB && status(a).state == LINK_CONNECTED && status(b).state == LINK_CONNECTED);
	ck_assert(!status(b).needs_person && !*status(b).why);
	ck_assert_uint_eq(vb.ups, ups + 1);
}
END_TEST

START_TEST(a_person_may_end_the_wait_for_room_and_may_pause_it_too)
{
	struct err err = ERR_INIT;

	vb.wanted_bytes = MIB;
	start_a();
	start_b_to(a_at);
	fake_write(&va, MIB);
	wait_until(status(b).state == LINK_PAUSED && strstr(status(b).why, "no room"));
	link_pause(b, "lunch", 0, &err); /* -ETIMEDOUT if it is still leaving: of course not all is here */
	wait_until(strstr(status(b).why, "lunch") && !status(b).needs_person);
	vb.free_bytes = MIB;
	usleep(1200 * 1000);
	ck_assert_int_eq(status(b).state, LINK_PAUSED); /* room does not end a person's pause */
	link_resume(b);
	wait_until(vb.received == MIB);
}
END_TEST

START_TEST(a_slow_receiver_holds_the_sender_back_without_spinning)
{
	struct rusage before, after;
	uint64_t cpu_ms, ahead = 0;

	va.receive_ms = 40;
	start_a();
	start_b_to(a_at);
	wait_connected();
	fake_write(&vb, 30 * MIB);
	wait_until(vb.sent - va.received > 7 * MIB);
	getrusage(RUSAGE_SELF, &before);
	for (int i = 0; i < 20; i++) {
		ahead = MAX(ahead, vb.sent - va.received);
		usleep(100000);
	}
	getrusage(RUSAGE_SELF, &after);
	cpu_ms = (uint64_t)(after.ru_utime.tv_sec - before.ru_utime.tv_sec) * 1000 +
		 (uint64_t)after.ru_utime.tv_usec / 1000 - (uint64_t)before.ru_utime.tv_usec / 1000;
	ck_assert_uint_lt(ahead, CREDIT_BYTES + 3 * MIB);
	ck_assert_uint_lt(cpu_ms, 1000);
	/* 4 MiB of it take the receiver more than two seconds: heartbeats kept the connection up */
	ck_assert_uint_eq(va.ups, 1);
	ck_assert_int_eq(status(b).state, LINK_CONNECTED);
	va.receive_ms = 0;
	ck_assert_int_eq(link_wait_synced(b, SOON_MS, NULL), 0);
	ck_assert_uint_eq(va.wrong, 0);
}
END_TEST

START_TEST(an_engine_that_is_busy_for_long_is_not_taken_for_dead)
{
	va.receive_ms = 4500;
	start_a();
	start_b_to(a_at);
	wait_connected();
	fake_write(&vb, 10);
	ck_assert_int_eq(link_wait_synced(b, SOON_MS, NULL), 0);
	ck_assert_uint_eq(vb.ups, 1);
	ck_assert_uint_eq(va.ups, 1);
}
END_TEST

START_TEST(an_idle_link_stays_up_and_costs_nothing)
{
	uint64_t out;

	start_a();
	start_b_to(a_at);
	wait_connected();
	ck_assert_int_eq(link_wait_synced(b, SOON_MS, NULL), 0);
	out = status(a).bytes_out + status(b).bytes_out;
	usleep(4000000);
	ck_assert_uint_eq(va.ups, 1);
	ck_assert_int_eq(status(a).state, LINK_CONNECTED);
	/* heartbeats: 9 bytes a second and side */
	ck_assert_uint_le(status(a).bytes_out + status(b).bytes_out - out, 2 * 9 * 5);
	ck_assert_uint_gt(status(a).bytes_out + status(b).bytes_out, out);
}
END_TEST

/* ---- losing the peer
 * ---------------------------------------------------------------------------------------------------- */

static void lose(enum relay_mode mode, uint64_t within_ms)
{
	uint64_t began_ms;

	start_a();
	relay_start();
	start_b_to(relay.at);
	wait_connected();
	fake_write(&vb, 3 * MIB);
	fake_write(&va, 3 * MIB);
	ck_assert_int_eq(link_wait_synced(b, SOON_MS, NULL), 0);
	began_ms = clock_mono_ms();
	relay.mode = mode;
	wait_until(va.downs >= 1 && vb.downs >= 1);
	ck_assert_uint_le(clock_mono_ms() - began_ms, within_ms);
	if (mode == RELAY_FREEZE) {
		ck_assert_int_eq(status(a).state, LINK_DISCONNECTED);
		ck_assert_int_eq(status(b).state, LINK_DISCONNECTED);
		ck_assert_str_ne(status(a).why, "");
		ck_assert_str_ne(status(b).last_error, "");
		fake_write(&va, MIB);
		wait_until(va.commits >= 1); /* apart: groups are closed by the link */
		relay.mode = RELAY_CLOSE;
	} else {
		fake_write(&va, MIB);
	}
	wait_connected();
	ck_assert_int_eq(link_wait_synced(a, SOON_MS, NULL), 0);
	ck_assert_uint_eq(vb.received, 4 * MIB);
	ck_assert_uint_eq(va.wrong + vb.wrong, 0);
	relay_stop();
}

START_TEST(a_peer_that_falls_silent_is_noticed_and_found_again) { lose(RELAY_FREEZE, 6000); }
END_TEST
START_TEST(a_closed_connection_is_noticed_and_made_again) { lose(RELAY_CLOSE, 2000); }
END_TEST
START_TEST(a_reset_connection_is_noticed_and_made_again) { lose(RELAY_RESET, 2000); }
END_TEST

START_TEST(a_flipped_bit_ends_the_connection_and_harms_nothing)
{
	start_a();
	relay_start();
	start_b_to(relay.at);
	wait_connected();
	relay.mode = RELAY_FLIP;
	fake_write(&vb, 8 * MIB);
	wait_until(va.ups >= 2);
	ck_assert_int_eq(link_wait_synced(b, SOON_MS, NULL), 0);
	ck_assert_uint_eq(va.received, 8 * MIB);
	ck_assert_uint_eq(va.wrong, 0);
	relay_stop();
}
END_TEST

START_TEST(a_peer_cut_in_the_middle_of_a_transfer_goes_on_afterwards)
{
	start_a();
	relay_start();
	start_b_to(relay.at);
	wait_connected();
	fake_write(&va, 48 * MIB);
	fake_write(&vb, 48 * MIB);
	for (unsigned cut = 1; cut <= 3; cut++) {
		wait_until(vb.received > cut * 2 * MIB && status(b).state == LINK_CONNECTED);
		relay.mode = cut % 2 ? RELAY_RESET : RELAY_CLOSE;
		wait_until(vb.ups > cut);
	}
	ck_assert_int_eq(link_wait_synced(a, SOON_MS, NULL), 0);
	ck_assert_int_eq(link_wait_synced(b, SOON_MS, NULL), 0);
	ck_assert_uint_eq(va.received, 48 * MIB);
	ck_assert_uint_eq(vb.received, 48 * MIB);
	ck_assert_uint_eq(va.wrong + vb.wrong, 0);
	relay_stop();
}
END_TEST

START_TEST(the_dialler_keeps_trying_until_the_listener_is_there)
{
	start_b_to(a_at);
	wait_until(status(b).state == LINK_DISCONNECTED);
	ck_assert_msg(strstr(status(b).why, "cannot reach") && strstr(status(b).why, a_at), "%s", status(b).why);
	start_a();
	ck_assert_int_eq(status(a).state, LINK_CONNECTING);
	wait_connected();
	ck_assert_str_eq(status(b).why, "");
}
END_TEST

START_TEST(a_peer_that_was_killed_and_comes_back_replaces_its_old_connection)
{
	struct link *old;

	start_a();
	start_b_to(a_at);
	wait_connected();
	old = b;
	start(&b, &vb, (struct link_options){ .identity = ids[1], .dial = a_at, .peer_pin_hex = pin(0) });
	wait_until(va.ups >= 2);
	link_stop(old, "old one", 0);
	wait_connected();
}
END_TEST

START_TEST(two_sides_that_both_dial_end_with_one_connection)
{
	char b_at[32];

	snprintf(b_at, sizeof(b_at), "127.0.0.1:%u", free_port());
	start(&a, &va,
	      (struct link_options){ .identity = ids[0], .listen = a_at, .dial = b_at, .peer_pin_hex = pin(1) });
	start(&b, &vb,
	      (struct link_options){ .identity = ids[1], .listen = b_at, .dial = a_at, .peer_pin_hex = pin(0) });
	wait_connected();
	usleep(1500000);
	wait_connected();
	ck_assert_uint_le(va.ups, 4);
	fake_write(&va, 5 * MIB);
	fake_write(&vb, 5 * MIB);
	ck_assert_int_eq(link_wait_synced(a, SOON_MS, NULL), 0);
	ck_assert_int_eq(link_wait_synced(b, SOON_MS, NULL), 0);
	ck_assert_uint_eq(va.wrong + vb.wrong, 0);
}
END_TEST

/* ---- refusals
 * ----------------------------------------------------------------------------------------------------
 */

START_TEST(a_listener_with_another_key_is_refused_by_the_dialler)
{
	start_a();
	start(&b, &vb, (struct link_options){ .identity = ids[1], .dial = a_at, .peer_pin_hex = pin(2) });
	wait_until(status(b).needs_person);
	ck_assert_int_eq(status(b).state, LINK_DISCONNECTED);
	ck_assert_msg(strstr(status(b).why, "another key"), "%s", status(b).why);
	ck_assert_str_ne(status(b).action, "");
	ck_assert_uint_eq(va.ups + vb.ups, 0);
}
END_TEST

START_TEST(a_dialler_with_another_key_is_refused_by_the_listener)
{
	start_a();
	start(&b, &vb, (struct link_options){ .identity = ids[2], .dial = a_at, .peer_pin_hex = pin(0) });
	wait_until(status(b).needs_person);
	ck_assert_msg(strstr(status(b).why, "not with the one that knocks"), "%s", status(b).why);
	ck_assert_uint_eq(va.ups + vb.ups, 0);
}
END_TEST

START_TEST(an_engine_that_refuses_the_peer_asks_for_a_person_and_tells_the_peer_why)
{
	vb.receive_fails = -EPERM;
	start_a();
	start_b_to(a_at);
	wait_until(status(b).needs_person);
	ck_assert_msg(strstr(status(b).why, "both nodes are primary"), "%s", status(b).why);
	wait_until(strstr(status(a).why, "both nodes are primary"));
	ck_assert_int_eq(status(a).state, LINK_DISCONNECTED);
	/* it is not tried again at once, but when a person says so */
	usleep(1500000);
	ck_assert_uint_eq(vb.ups, 1);
	vb.receive_fails = 0;
	link_resume(b);
	wait_connected();
}
END_TEST

START_TEST(an_engine_that_fails_once_is_tried_again)
{
	vb.receive_fails = -EIO;
	start_a();
	start_b_to(a_at);
	wait_until(vb.ups >= 2);
	ck_assert(!status(b).needs_person);
	vb.receive_fails = 0;
	wait_connected();
}
END_TEST

START_TEST(a_port_in_use_is_said_at_once)
{
	struct link_options opt = { .identity = ids[1], .listen = a_at, .peer_pin_hex = pin(0) };
	struct err err = ERR_INIT;

	start_a();
	ck_assert_int_eq(link_start(&vb, &opt, &b, &err), -EADDRINUSE);
	ck_assert_msg(strstr(err.text, a_at) && strstr(err.text, "has that port"), "%s", err.text);
	b = NULL;
}
END_TEST

START_TEST(strangers_that_only_knock_do_not_keep_the_peer_out)
{
	int fds[40];

	start_a();
	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		fds[i] = dial_port((unsigned)atoi(strchr(a_at, ':') + 1));
		ck_assert_int_ge(fds[i], 0);
		if (i % 2)
			ck_assert_int_eq(send(fds[i], "GET / HTTP/1.1\r\n\r\n", 18, MSG_NOSIGNAL), 18);
	}
	start_b_to(a_at);
	wait_connected();
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		close(fds[i]);
	usleep(100000);
	ck_assert_uint_eq(va.ups, 1);
}
END_TEST

/* ---- pause
 * ----------------------------------------------------------------------------------------------------
 */

START_TEST(a_pause_drains_and_tells_the_peer_and_resume_goes_on)
{
	struct err err = ERR_INIT;

	start_a();
	start_b_to(a_at);
	wait_connected();
	fake_write(&va, 5 * MIB);
	ck_assert_msg(link_pause(a, "new disk", 10000, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(vb.received, 5 * MIB);
	ck_assert_int_eq(status(a).state, LINK_PAUSED);
	ck_assert_str_eq(status(a).why, "paused here: new disk");
	wait_until(status(b).state == LINK_PAUSED);
	ck_assert_str_eq(status(b).why, "paused by peer: new disk");
	ck_assert_str_eq(status(b).action, "settle that on peer: twinfs status there says how");
	ck_assert_int_eq(link_wait_synced(a, 1000, &err), -ECONNABORTED);
	ck_assert_int_eq(link_wait_synced(b, 1000, &err), -ECONNABORTED);
	usleep(1200000); /* the other side knocks meanwhile, and is told the same again */
	ck_assert_int_eq(status(b).state, LINK_PAUSED);
	ck_assert_uint_eq(va.ups, 1);
	fake_write(&va, MIB);
	wait_until(va.commits >= 1);
	link_resume(a);
	wait_connected();
	ck_assert_int_eq(link_wait_synced(a, SOON_MS, NULL), 0);
	ck_assert_uint_eq(vb.received, 6 * MIB);
}
END_TEST

START_TEST(a_pause_by_the_dialler_is_known_to_the_listener)
{
	start_a();
	start_b_to(a_at);
	wait_connected();
	ck_assert_int_eq(link_pause(b, "", 10000, NULL), 0);
	wait_until(status(a).state == LINK_PAUSED);
	ck_assert_int_eq(link_resume(b), 0);
	wait_connected();
}
END_TEST

START_TEST(a_pause_that_cannot_drain_says_so_and_is_down_all_the_same)
{
	struct err err = ERR_INIT;

	va.never_settles = true;
	start_a();
	start_b_to(a_at);
	wait_connected();
	ck_assert_int_eq(link_wait_synced(a, 300, &err), -ETIMEDOUT);
	ck_assert_msg(strstr(err.text, "acknowledgement by the fake peer"), "%s", err.text);
	ck_assert_int_eq(link_pause(a, "now", 300, &err), -ETIMEDOUT);
	ck_assert_msg(strstr(err.text, "resumed"), "%s", err.text);
	ck_assert_int_eq(status(a).state, LINK_PAUSED);
	wait_until(status(b).state == LINK_PAUSED);
}
END_TEST

START_TEST(a_pause_without_a_connection_says_so)
{
	struct err err = ERR_INIT;

	start_b_to(a_at);
	ck_assert_int_eq(link_pause(b, "now", 5000, &err), -ENOTCONN);
	ck_assert_int_eq(status(b).state, LINK_PAUSED);
	ck_assert_int_eq(link_pause(b, "again", 5000, &err), 0);
}
END_TEST

START_TEST(a_link_that_starts_paused_connects_when_resumed)
{
	start(&a, &va,
	      (struct link_options){ .identity = ids[0],
				     .listen = a_at,
				     .peer_pin_hex = pin(1),
				     .start_paused = true,
				     .pause_reason = "since yesterday" });
	start_b_to(a_at);
	wait_until(status(b).state == LINK_PAUSED);
	ck_assert_str_eq(status(b).why, "paused by the peer: since yesterday");
	ck_assert_str_eq(status(a).why, "paused here: since yesterday");
	link_resume(a);
	link_resume(b);
	wait_connected();
}
END_TEST

START_TEST(stopping_is_a_planned_goodbye)
{
	start_a();
	start_b_to(a_at);
	wait_connected();
	fake_write(&va, MIB);
	link_stop(a, "unmounted", 10000);
	a = NULL;
	ck_assert_uint_eq(vb.received, MIB);
	wait_until(status(b).state == LINK_PAUSED);
	ck_assert_str_eq(status(b).why, "paused by peer: unmounted");
	ck_assert_str_eq(status(b).action, "mount it on peer; it goes on by itself then");
	start_a();
	wait_connected();
}
END_TEST

START_TEST(waiting_for_an_absent_peer_ends_in_time_and_says_for_what)
{
	struct err err = ERR_INIT;

	start_b_to(a_at);
	ck_assert_int_eq(link_wait_synced(b, 300, &err), -ETIMEDOUT);
	ck_assert_msg(strstr(err.text, "cannot reach"), "%s", err.text);
}
END_TEST

/* ---- pairing
 * ----------------------------------------------------------------------------------------------------
 */

static struct invite open_invite;
static char paired_with[FINGERPRINT_HEX_BYTES + 1];

/* The body of this test is the secret alone. */
static int pair(void *ctx, const char *body, const char *fingerprint_hex, char **reply, struct err *err)
{
	int rc = invite_try(&open_invite, body, err);

	(void)ctx;
	if (rc)
		return rc;
	invite_close(&open_invite);
	strcpy(paired_with, fingerprint_hex);
	link_set_peer(a, fingerprint_hex);
	*reply = xstrdup("{\"slot\":2}");
	return 0;
}

static void start_unpaired(struct token *t)
{
	ck_assert_int_eq(token_make(a_at, pin(0), t, NULL), 0);
	invite_open(&open_invite, t);
	start(&a, &va,
	      (struct link_options){ .identity = ids[0], .listen = a_at, .pair_fn = pair, .commit_interval_ms = 20 });
	ck_assert_int_eq(status(a).state, LINK_UNPAIRED);
}

START_TEST(a_token_pairs_once_and_then_the_link_comes_up)
{
	struct err err = ERR_INIT;
	struct token t;
	char *reply = NULL;

	start_unpaired(&t);
	fake_write(&va, 1);
	wait_until(va.commits >= 1);
	ck_assert_msg(link_pair_request(ids[1], t.address, t.fingerprint_hex, t.secret_hex, &reply, &err) == 0, "%s",
		      err.text);
	ck_assert_str_eq(reply, "{\"slot\":2}\n");
	free(reply);
	ck_assert_str_eq(paired_with, pin(1));
	/* Where it is and that it was there is known before it connects. */
	ck_assert_msg(strncmp(status(a).peer_address, "127.0.0.1:", 10) == 0, "\"%s\"", status(a).peer_address);
	ck_assert_uint_gt(status(a).peer_last_seen_ms, 0);
	ck_assert_int_eq(link_pair_request(ids[2], t.address, t.fingerprint_hex, t.secret_hex, &reply, &err), -EACCES);
	ck_assert_msg(strstr(err.text, "the token was used"), "%s", err.text);
	start_b_to(a_at);
	wait_connected();
}
END_TEST

START_TEST(a_wrong_secret_is_refused_and_noise_is_slowed_down)
{
	struct err err = ERR_INIT;
	struct token t;
	char *reply = NULL;
	int rc = 0;

	start_unpaired(&t);
	ck_assert_int_eq(link_pair_request(ids[1], t.address, t.fingerprint_hex, "00", &reply, &err), -EACCES);
	ck_assert_msg(strstr(err.text, "not the one given out"), "%s", err.text);
	for (int i = 0; i < 12 && rc != -EPROTO; i++)
		rc = link_pair_request(ids[1], t.address, t.fingerprint_hex, "00", &reply, &err);
	ck_assert_msg(strstr(err.text, "too many refused"), "%s", err.text);
	ck_assert_str_eq(paired_with, "");
}
END_TEST

START_TEST(a_token_for_another_node_is_noticed_before_the_secret_is_sent)
{
	struct err err = ERR_INIT;
	struct token t;
	char *reply = NULL;

	start_unpaired(&t);
	ck_assert_int_eq(link_pair_request(ids[1], t.address, pin(2), t.secret_hex, &reply, &err), -EACCES);
	ck_assert_msg(strstr(err.text, "not the node that made the token"), "%s", err.text);
	ck_assert_uint_eq(open_invite.tries_left, INVITE_TRIES);
}
END_TEST

START_TEST(pairing_with_nobody_there_says_where_it_tried)
{
	struct err err = ERR_INIT;
	char *reply = NULL;

	ck_assert_int_eq(link_pair_request(ids[1], a_at, pin(0), "{}", &reply, &err), -ECONNREFUSED);
	ck_assert_msg(strstr(err.text, a_at), "%s", err.text);
}
END_TEST

START_TEST(a_request_that_is_too_long_is_refused)
{
	struct err err = ERR_INIT;
	struct token t;
	char *reply = NULL, *body = xmalloc(100001);

	memset(body, 'x', 100000);
	body[100000] = '\0';
	start_unpaired(&t);
	ck_assert_int_lt(link_pair_request(ids[1], t.address, t.fingerprint_hex, body, &reply, &err), 0);
	ck_assert_msg(strstr(err.text, "too long"), "%s", err.text);
	ck_assert_uint_eq(open_invite.tries_left, INVITE_TRIES);
	free(body);
}
END_TEST

START_TEST(an_unpaired_node_has_no_stream_for_anybody)
{
	struct token t;

	start_unpaired(&t);
	start_b_to(a_at);
	wait_until(status(b).needs_person);
	ck_assert_msg(strstr(status(b).why, "not paired"), "%s", status(b).why);
}
END_TEST

static uint64_t cpu_ms(void)
{
	struct rusage use;

	getrusage(RUSAGE_SELF, &use);
	return (uint64_t)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1000 +
	       (uint64_t)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1000;
}

START_TEST(a_connection_without_a_descriptor_for_it_waits_and_costs_nothing)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct rlimit all, none;
	int fd, next;
	uint64_t before_ms;

	start_a();
	sa.sin_port = htons((uint16_t)atoi(strchr(a_at, ':') + 1));
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	next = dup(fd);
	close(next);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &all), 0);
	none = all;
	none.rlim_cur = (rlim_t)next;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	before_ms = cpu_ms();
	usleep(600000);
	ck_assert_uint_lt(cpu_ms() - before_ms, 60);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &all), 0);
	start_b_to(a_at);
	wait_connected();
	close(fd);
}
END_TEST

START_TEST(forgetting_the_peer_ends_the_connection)
{
	start_a();
	start_b_to(a_at);
	wait_connected();
	link_set_peer(a, NULL);
	wait_until(status(a).state == LINK_UNPAIRED && vb.downs >= 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("link");
	TCase *tc = tcase_create("link");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, frames_flow_both_ways_at_once);
	tcase_add_test(tc, many_small_writes_arrive_each_soon);
	tcase_add_test(tc, what_has_no_room_is_waited_for_in_one_state_and_comes_when_there_is_room);
	tcase_add_test(tc, a_person_may_end_the_wait_for_room_and_may_pause_it_too);
	tcase_add_test(tc, a_slow_receiver_holds_the_sender_back_without_spinning);
	tcase_add_test(tc, an_engine_that_is_busy_for_long_is_not_taken_for_dead);
	tcase_add_test(tc, an_idle_link_stays_up_and_costs_nothing);
	tcase_add_test(tc, a_peer_that_falls_silent_is_noticed_and_found_again);
	tcase_add_test(tc, a_closed_connection_is_noticed_and_made_again);
	tcase_add_test(tc, a_reset_connection_is_noticed_and_made_again);
	tcase_add_test(tc, a_flipped_bit_ends_the_connection_and_harms_nothing);
	tcase_add_test(tc, a_peer_cut_in_the_middle_of_a_transfer_goes_on_afterwards);
	tcase_add_test(tc, the_dialler_keeps_trying_until_the_listener_is_there);
	tcase_add_test(tc, a_peer_that_was_killed_and_comes_back_replaces_its_old_connection);
	tcase_add_test(tc, two_sides_that_both_dial_end_with_one_connection);
	tcase_add_test(tc, a_listener_with_another_key_is_refused_by_the_dialler);
	tcase_add_test(tc, a_dialler_with_another_key_is_refused_by_the_listener);
	tcase_add_test(tc, an_engine_that_refuses_the_peer_asks_for_a_person_and_tells_the_peer_why);
	tcase_add_test(tc, an_engine_that_fails_once_is_tried_again);
	tcase_add_test(tc, a_port_in_use_is_said_at_once);
	tcase_add_test(tc, strangers_that_only_knock_do_not_keep_the_peer_out);
	tcase_add_test(tc, a_pause_drains_and_tells_the_peer_and_resume_goes_on);
	tcase_add_test(tc, a_pause_by_the_dialler_is_known_to_the_listener);
	tcase_add_test(tc, a_pause_that_cannot_drain_says_so_and_is_down_all_the_same);
	tcase_add_test(tc, a_pause_without_a_connection_says_so);
	tcase_add_test(tc, a_link_that_starts_paused_connects_when_resumed);
	tcase_add_test(tc, stopping_is_a_planned_goodbye);
	tcase_add_test(tc, waiting_for_an_absent_peer_ends_in_time_and_says_for_what);
	tcase_add_test(tc, a_token_pairs_once_and_then_the_link_comes_up);
	tcase_add_test(tc, a_wrong_secret_is_refused_and_noise_is_slowed_down);
	tcase_add_test(tc, a_token_for_another_node_is_noticed_before_the_secret_is_sent);
	tcase_add_test(tc, pairing_with_nobody_there_says_where_it_tried);
	tcase_add_test(tc, a_request_that_is_too_long_is_refused);
	tcase_add_test(tc, an_unpaired_node_has_no_stream_for_anybody);
	tcase_add_test(tc, forgetting_the_peer_ends_the_connection);
	tcase_add_test(tc, a_connection_without_a_descriptor_for_it_waits_and_costs_nothing);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
