/* SPDX-License-Identifier: MIT */
#include "node/control.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "node/mounts.h"
#include "tests/tap.h"
#include "util/util.h"

static char *dir;
static struct control *server;
static sem_t waiting; /* posted when a "block" request is under way */

#define PIECES 5
#define BIG_BYTES 300000u

/* Lines and bytes in turn, with what could be taken for a reply among the bytes. */
static json_t *send_pieces(struct control_client *client)
{
	char *data = xmalloc(BIG_BYTES);
	int rc = 0;

	memset(data, '\n', BIG_BYTES);
	memcpy(data, "{\"ok\":true}", 11);
	for (int i = 0; !rc && i < PIECES; i++) {
		json_t *line = json_pack("{s:i}", "piece", i);

		rc = control_send(client, line);
		json_decref(line);
		control_say(client, "on its way");
		if (!rc)
			rc = control_send_data(client, data, i == 1 ? 1 : BIG_BYTES);
	}
	free(data);
	return rc ? control_error(&(struct err){ .code = rc, .text = "refused" }) : control_ok();
}

/* Without an end: until the client or the server has enough. */
static json_t *flood(struct control_client *client)
{
	static const char data[4096];
	struct err err = ERR_INIT;
	int rc = control_hold(client, &err);

	if (rc)
		return control_error(&err);
	sem_post(&waiting);
	while (rc == 0)
		rc = control_send_data(client, data, sizeof(data));
	sem_post(&waiting);
	err_set(&err, rc, "over");
	return control_error(&err);
}

/* A service with one request of each kind. */
static json_t *answer(void *ctx, struct control_client *client, const json_t *request)
{
	const char *cmd = json_string_value(json_object_get(request, "cmd"));
	const struct timespec step = { .tv_nsec = 1000000 };
	struct err err = ERR_INIT;
	json_t *reply;

	(void)ctx;
	if (cmd && strcmp(cmd, "echo") == 0) {
		reply = control_ok();
		json_object_set(reply, "echo", json_object_get(request, "value"));
		return reply;
	}
	if (cmd && strcmp(cmd, "block") == 0) {
		control_say(client, "blocking");
		sem_post(&waiting);
		while (!control_gone(client))
			nanosleep(&step, NULL);
		sem_post(&waiting);
		err_set(&err, -EINTR, "stopped");
		return control_error(&err);
	}
	if (cmd && strcmp(cmd, "pieces") == 0)
		return send_pieces(client);
	if (cmd && strcmp(cmd, "flood") == 0)
		return flood(client);
	err_set(&err, -ENOSYS, "no such request");
	return control_error(&err);
}

static void setup(void)
{
	struct err err = ERR_INIT;
	const char *tmp = getenv("TMPDIR");

	dir = xasprintf("%s/control-XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	sem_init(&waiting, 0, 0);
	ck_assert_msg(control_start(dir, answer, NULL, &server, &err) == 0, "%s", err.text);
}

static void teardown(void)
{
	control_stop(server);
	ck_assert_int_eq(rmdir(dir), 0); /* the socket went with the server */
	free(dir);
}

static int call(const char *cmd, const char *value, json_t **reply, struct err *err)
{
	json_t *request = json_pack("{s:s, s:s*}", "cmd", cmd, "value", value);
	int rc = control_call(dir, request, 5000, NULL, reply, err);

	json_decref(request);
	return rc;
}

START_TEST(a_request_gets_its_reply)
{
	struct err err = ERR_INIT;
	json_t *reply = NULL;

	ck_assert_msg(call("echo", "gr\xc3\xbc\xc3\x9f dich\nGott", &reply, &err) == 0, "%s", err.text);
	ck_assert_str_eq(json_string_value(json_object_get(reply, "echo")), "gr\xc3\xbc\xc3\x9f dich\nGott");
	json_decref(reply);
}
END_TEST

START_TEST(a_long_reply_comes_whole)
{
	char *long_text = xmalloc((60 << 10) + 1);
	struct err err = ERR_INIT;
	json_t *reply = NULL;

	memset(long_text, 'x', 60 << 10);
	long_text[60 << 10] = '\0';
	ck_assert_msg(call("echo", long_text, &reply, &err) == 0, "%s", err.text);
	ck_assert_str_eq(json_string_value(json_object_get(reply, "echo")), long_text);
	json_decref(reply);
	free(long_text);
}
END_TEST

START_TEST(a_refusal_carries_code_and_text)
{
	struct err err = ERR_INIT;
	json_t *reply = NULL;

	ck_assert_int_eq(call("dance", NULL, &reply, &err), -ENOSYS);
	ck_assert_str_eq(err.text, "no such request");
	ck_assert_ptr_null(reply);
}
END_TEST

START_TEST(a_store_without_a_mount_is_not_connected)
{
	json_t *request = json_pack("{s:s}", "cmd", "echo"), *reply = NULL;
	struct err err = ERR_INIT;
	char *other = xasprintf("%s/other", dir), *dead = xasprintf("%s/other/" CONTROL_SOCKET, dir);
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd;

	ck_assert_int_eq(mkdir(other, 0700), 0);
	ck_assert_int_eq(control_call(other, request, 1000, NULL, &reply, &err), -ENOTCONN);
	ck_assert_str_eq(err.text, "");
	/* and a socket file that a killed mount left behind counts as none */
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%.100s", dead);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
	ck_assert_int_eq(control_call(other, request, 1000, NULL, &reply, &err), -ENOTCONN);
	unlink(dead);
	rmdir(other);
	json_decref(request);
	free(other);
	free(dead);
}
END_TEST

START_TEST(a_dead_socket_is_replaced_at_the_start)
{
	struct control *second;
	struct err err = ERR_INIT;
	json_t *reply = NULL;

	/* the first server goes on with a socket that has no name any more */
	ck_assert_msg(control_start(dir, answer, NULL, &second, &err) == 0, "%s", err.text);
	ck_assert_msg(call("echo", "x", &reply, &err) == 0, "%s", err.text);
	json_decref(reply);
	control_stop(second);
}
END_TEST

START_TEST(the_socket_is_for_its_owner_only)
{
	char *path = xasprintf("%s/%s", dir, CONTROL_SOCKET);
	struct stat st;

	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	free(path);
}
END_TEST

START_TEST(a_store_with_a_long_path_has_a_socket_too)
{
	char *deep = xasprintf("%s/%0120d", dir, 7);
	json_t *request = json_pack("{s:s, s:s}", "cmd", "echo", "value", "far"), *reply = NULL;
	struct control *other;
	struct err err = ERR_INIT;

	ck_assert_int_eq(mkdir(deep, 0700), 0);
	ck_assert_msg(control_start(deep, answer, NULL, &other, &err) == 0, "%s", err.text);
	ck_assert_msg(control_call(deep, request, 5000, NULL, &reply, &err) == 0, "%s", err.text);
	control_stop(other);
	ck_assert_int_eq(rmdir(deep), 0);
	json_decref(reply);
	json_decref(request);
	free(deep);
}
END_TEST

/* ---- several at once --------------------------------------------------------------------------------- */

static char said[64];

static void hear(const char *text)
{
	snprintf(said, sizeof(said), "%s", text);
}

static void *blocked_call(void *arg)
{
	json_t *request = json_pack("{s:s}", "cmd", "block"), *reply = NULL;

	control_call(dir, request, 0, hear, &reply, arg);
	json_decref(request);
	return NULL;
}

START_TEST(others_are_answered_while_one_waits_and_stopping_ends_the_wait)
{
	struct err blocked = ERR_INIT, err = ERR_INIT;
	json_t *reply = NULL;
	pthread_t thread;

	pthread_create(&thread, NULL, blocked_call, &blocked);
	sem_wait(&waiting);
	ck_assert_msg(call("echo", "meanwhile", &reply, &err) == 0, "%s", err.text);
	json_decref(reply);
	control_stop(server);
	pthread_join(thread, NULL);
	ck_assert_int_eq(blocked.code, -EINTR);
	ck_assert_str_eq(said, "blocking");
	ck_assert_int_eq(control_start(dir, answer, NULL, &server, &err), 0);
}
END_TEST

/* A client that speaks bytes of our choice. Its descriptor. */
static int raw_client(void)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%.80s/%s", dir, CONTROL_SOCKET);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

START_TEST(a_client_that_hangs_up_ends_its_request)
{
	static const char request[] = "{\"cmd\":\"block\"}\n";
	int fd = raw_client();

	ck_assert_int_eq(write(fd, request, strlen(request)), (ssize_t)strlen(request));
	sem_wait(&waiting);
	close(fd);
	sem_wait(&waiting); /* the request has noticed; a hang here fails by the test's time limit */
}
END_TEST

static const char *const bad_requests[] = {
	"\n",
	"[]\n",
	"17\n",
	"{\"cmd\":\"echo\"\n",
	"{\"cmd\":\"echo\",\"cmd\":\"block\"}\n",
	"\xff\xfe\x00\n",
	"{} {}\n",
	"GET / HTTP/1.1\n",
};

START_TEST(a_bad_request_is_refused_in_one_line)
{
	char reply[2048] = "";
	int fd = raw_client();
	size_t len = 0;
	ssize_t n;
	json_t *line;

	ck_assert(write(fd, bad_requests[_i], strlen(bad_requests[_i])) > 0);
	shutdown(fd, SHUT_WR);
	while ((n = read(fd, reply + len, sizeof(reply) - 1 - len)) > 0)
		len += (size_t)n;
	line = json_loads(reply, 0, NULL);
	ck_assert_ptr_nonnull(line);
	ck_assert(json_is_false(json_object_get(line, "ok")));
	ck_assert_int_lt(json_integer_value(json_object_get(line, "code")), 0);
	json_decref(line);
	close(fd);
}
END_TEST

START_TEST(a_request_without_an_end_is_cut_off)
{
	char piece[4096];
	int fd = raw_client();
	size_t sent = 0;
	ssize_t n = 0;

	memset(piece, ' ', sizeof(piece));
	while (sent < (1 << 20) && (n = send(fd, piece, sizeof(piece), MSG_NOSIGNAL)) > 0)
		sent += (size_t)n;
	ck_assert_int_lt(n, 0); /* hung up long before a megabyte */
	close(fd);
}
END_TEST

/* ---- pieces ------------------------------------------------------------------------------------------ */

struct heard {
	unsigned lines;
	uint64_t bytes;
	int give_up_at; /* line */
};

static int hear_line(void *ctx, const json_t *line)
{
	struct heard *h = ctx;

	ck_assert_int_eq(json_integer_value(json_object_get(line, "piece")), h->lines);
	ck_assert_uint_eq(h->bytes, h->lines < 2 ? h->lines * BIG_BYTES : (h->lines - 1) * BIG_BYTES + 1);
	return (int)h->lines++ == h->give_up_at ? -ENOSPC : 0;
}

static int hear_data(void *ctx, const void *data, size_t len_bytes)
{
	(void)data;
	((struct heard *)ctx)->bytes += len_bytes;
	return 0;
}

static int stream(struct heard *h, struct err *err)
{
	const struct control_sink sink = { hear_line, hear_data, h };
	json_t *request = json_pack("{s:s}", "cmd", "pieces"), *reply = NULL;
	int rc = control_stream(dir, request, 5000, NULL, &sink, &reply, err);

	json_decref(request);
	json_decref(reply);
	return rc;
}

START_TEST(pieces_come_whole_and_in_order)
{
	struct heard h = { .give_up_at = -1 };
	struct err err = ERR_INIT;

	ck_assert_msg(stream(&h, &err) == 0, "%s", err.text);
	ck_assert_uint_eq(h.lines, PIECES);
	ck_assert_uint_eq(h.bytes, (PIECES - 1) * BIG_BYTES + 1);
}
END_TEST

START_TEST(who_does_not_want_pieces_ends_the_request)
{
	struct heard h = { .give_up_at = 2 };
	struct err err = ERR_INIT;

	ck_assert_int_eq(stream(&h, &err), -ENOSPC);
	ck_assert_uint_eq(h.lines, 3);
}
END_TEST

START_TEST(pieces_need_no_socket)
{
	struct heard h = { .give_up_at = -1 };
	const struct control_sink sink = { hear_line, hear_data, &h };
	struct control_client *client = control_local(&sink);
	json_t *reply = send_pieces(client);

	ck_assert(json_is_true(json_object_get(reply, "ok")));
	ck_assert_uint_eq(h.lines, PIECES);
	ck_assert(!control_gone(client));
	json_decref(reply);
	control_local_free(client);
}
END_TEST

static int flooded_client(void)
{
	static const char request[] = "{\"cmd\":\"flood\"}\n";
	int fd = raw_client();

	ck_assert_int_eq(write(fd, request, strlen(request)), (ssize_t)strlen(request));
	return fd;
}

START_TEST(a_client_that_does_not_read_is_waited_for_and_keeps_nobody_out)
{
	int fds[17];
	char reply[200] = "";
	struct err err = ERR_INIT;
	json_t *answered = NULL;

	for (int i = 0; i < 16; i++) {
		fds[i] = flooded_client();
		sem_wait(&waiting);
	}
	fds[16] = flooded_client(); /* one too many */
	ck_assert_int_gt(read(fds[16], reply, sizeof(reply) - 1), 0);
	ck_assert_ptr_nonnull(strstr(reply, "long requests are under way"));
	ck_assert_msg(call("echo", "still", &answered, &err) == 0, "%s", err.text);
	json_decref(answered);
	close(fds[0]);
	sem_wait(&waiting); /* it has noticed, and its place is free */
	while (1) {
		fds[0] = flooded_client();
		ck_assert_int_gt(recv(fds[0], reply, 8, MSG_PEEK | MSG_WAITALL), 0);
		if (strncmp(reply, "{\"data\"", 7) == 0)
			break;
		close(fds[0]);
	}
	control_stop(server); /* nor does it keep the server from stopping */
	for (int i = 0; i < 17; i++)
		close(fds[i]);
	ck_assert_int_eq(control_start(dir, answer, NULL, &server, &err), 0);
}
END_TEST

/* ---- paths ------------------------------------------------------------------------------------------- */

static const struct {
	const char *in, *out;
} paths[] = {
	{ "/", "/" },      { "//", "/" },       { "/a//b/./c/", "/a/b/c" }, { "/a/../b", "/b" },
	{ "/../..", "/" }, { "/a/b/..", "/a" }, { "/a/..", "/" },           { "/.hidden/..x", "/.hidden/..x" },
};

START_TEST(paths_are_made_absolute_by_text)
{
	char *out = path_absolute(paths[_i].in);

	ck_assert_str_eq(out, paths[_i].out);
	free(out);
}
END_TEST

START_TEST(a_relative_path_starts_in_the_working_directory)
{
	char *out, *real = realpath(dir, NULL), *want = xasprintf("%s/x", real);

	ck_assert_int_eq(chdir(dir), 0);
	out = path_absolute("y/../x");
	ck_assert_str_eq(out, want);
	ck_assert_int_eq(chdir("/"), 0);
	free(out);
	free(want);
	free(real);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("control");
	TCase *tc = tcase_create("control");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_request_gets_its_reply);
	tcase_add_test(tc, a_long_reply_comes_whole);
	tcase_add_test(tc, a_refusal_carries_code_and_text);
	tcase_add_test(tc, a_store_without_a_mount_is_not_connected);
	tcase_add_test(tc, a_dead_socket_is_replaced_at_the_start);
	tcase_add_test(tc, the_socket_is_for_its_owner_only);
	tcase_add_test(tc, a_store_with_a_long_path_has_a_socket_too);
	tcase_add_test(tc, others_are_answered_while_one_waits_and_stopping_ends_the_wait);
	tcase_add_test(tc, a_client_that_hangs_up_ends_its_request);
	tcase_add_loop_test(tc, a_bad_request_is_refused_in_one_line, 0, (int)ARRAY_LEN(bad_requests));
	tcase_add_test(tc, a_request_without_an_end_is_cut_off);
	tcase_add_test(tc, pieces_come_whole_and_in_order);
	tcase_add_test(tc, who_does_not_want_pieces_ends_the_request);
	tcase_add_test(tc, pieces_need_no_socket);
	tcase_add_test(tc, a_client_that_does_not_read_is_waited_for_and_keeps_nobody_out);
	tcase_add_loop_test(tc, paths_are_made_absolute_by_text, 0, (int)ARRAY_LEN(paths));
	tcase_add_test(tc, a_relative_path_starts_in_the_working_directory);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
