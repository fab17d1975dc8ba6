/* SPDX-License-Identifier: MIT */
#include "node/control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "node/words.h"
#include "util/buf.h"
#include "util/log.h"
#include "util/util.h"

/* A request is a command with a path or a reason in it. */
#define REQUEST_MAX_BYTES (64u << 10)
/* The list of conflicts is the longest reply: some 100,000 of them. */
#define REPLY_MAX_BYTES (64u << 20)
/* People and scripts; more wait in the listen queue. */
#define CLIENTS_MAX 32
/* Who connects and says nothing, or does not read, is dropped after this. */
#define SOCKET_TIMEOUT_S 10
#define HOLDERS_MAX (CLIENTS_MAX / 2)
/* How soon a request that waits for a slow client finds out that the server stops. */
#define SEND_SLICE_MS 250

struct control_client {
	struct control *c;        /* NULL: control_local */
	const struct control_sink *sink; /* of control_local */
	pthread_t thread;
	int fd;
	atomic_bool done;
	bool used, holds;
};

struct control {
	control_fn fn;
	void *ctx;
	char *store;
	int listen_fd, wake_fd;
	atomic_bool stopping;
	atomic_uint holders;
	pthread_t thread;
	struct control_client clients[CLIENTS_MAX]; /* the accepting thread's; `done` is set by the client's thread */
};

/* sun_path has room for 107 bytes, a store's path may be longer: go through the directory's descriptor. */
static int socket_address(int dir_fd, struct sockaddr_un *addr)
{
	*addr = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(addr->sun_path, sizeof(addr->sun_path), "/proc/self/fd/%d/%s", dir_fd, CONTROL_SOCKET);
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

/* ---- lines ------------------------------------------------------------------------------------- */

static int send_all(int fd, const char *data, size_t len_bytes)
{
	while (len_bytes > 0) {
		ssize_t n = send(fd, data, len_bytes, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -errno;
		data += n;
		len_bytes -= (size_t)n;
	}
	return 0;
}

static int send_json(int fd, const json_t *value)
{
	char *text = json_dumps(value, JSON_COMPACT);
	int rc;

	if (!text)
		return -ENOMEM;
	rc = send_all(fd, text, strlen(text));
	if (!rc)
		rc = send_all(fd, "\n", 1);
	free(text);
	return rc;
}

/* Take the first line off `in`, reading as needed. NULL with *rc: -EPIPE at the end, -EAGAIN after the socket's
 * timeout, -EMSGSIZE, -EBADMSG. */
static json_t *receive_json(int fd, struct buf *in, int *rc)
{
	char *newline;
	size_t searched = 0;
	json_t *value;

	while (!(newline = in->len_bytes > searched ? memchr(in->data + searched, '\n', in->len_bytes - searched)
	                                            : NULL)) {
		char piece[16384];
		ssize_t n = recv(fd, piece, sizeof(piece), 0);

		searched = in->len_bytes;
		if (n < 0 && errno == EINTR)
			continue;
		*rc = n < 0 ? -errno : n == 0 ? -EPIPE : buf_append(in, piece, (size_t)n);
		if (*rc)
			return NULL;
	}
	searched = (size_t)(newline - (char *)in->data);
	value = json_loadb((const char *)in->data, searched, JSON_REJECT_DUPLICATES, NULL);
	buf_consume(in, searched + 1);
	*rc = value ? 0 : -EBADMSG;
	return value;
}

json_t *control_error(const struct err *err)
{
	return json_pack("{s:b, s:i, s:o}", "ok", 0, "code", err->code, "error", words_path(err_text(err)));
}

json_t *control_ok(void)
{
	return json_pack("{s:b}", "ok", 1);
}

/* ---- server ------------------------------------------------------------------------------------ */

bool control_gone(struct control_client *client)
{
	struct pollfd p;

	if (!client || !client->c)
		return false;
	if (atomic_load(&client->c->stopping))
		return true;
	p = (struct pollfd){ .fd = client->fd, .events = POLLRDHUP };
	return poll(&p, 1, 0) > 0 && (p.revents & (POLLRDHUP | POLLHUP | POLLERR));
}

void control_say(struct control_client *client, const char *text)
{
	json_t *line = client && client->c ? json_pack("{s:s}", "progress", text) : NULL;

	if (line)
		(void)send_json(client->fd, line); /* who does not listen is found out by control_gone */
	json_decref(line);
}

int control_hold(struct control_client *client, struct err *err)
{
	if (!client || !client->c || client->holds)
		return 0;
	if (atomic_fetch_add(&client->c->holders, 1) >= HOLDERS_MAX) {
		atomic_fetch_sub(&client->c->holders, 1);
		return err_set(err, -EBUSY, "%d long requests are under way already; let one of them end first",
		               HOLDERS_MAX);
	}
	client->holds = true;
	return 0;
}

/* As send_all, but for as long as the client takes. */
static int send_patiently(struct control_client *client, const char *data, size_t len_bytes)
{
	while (len_bytes > 0) {
		struct pollfd p = { .fd = client->fd, .events = POLLOUT };
		ssize_t n;

		if (control_gone(client))
			return -EPIPE;
		if (poll(&p, 1, SEND_SLICE_MS) <= 0)
			continue;
		n = send(client->fd, data, len_bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			return -EPIPE;
		data += n;
		len_bytes -= (size_t)n;
	}
	return 0;
}

int control_send(struct control_client *client, const json_t *line)
{
	char *text;
	int rc;

	if (!client)
		return 0;
	if (!client->c)
		return client->sink->line ? client->sink->line(client->sink->ctx, line) : 0;
	text = json_dumps(line, JSON_COMPACT);
	if (!text)
		return -ENOMEM;
	rc = send_patiently(client, text, strlen(text));
	free(text);
	return rc ? rc : send_patiently(client, "\n", 1);
}

int control_send_data(struct control_client *client, const void *data, size_t len_bytes)
{
	char head[48];
	int n = snprintf(head, sizeof(head), "{\"data\":%zu}\n", len_bytes), rc;

	if (!client)
		return 0;
	if (!client->c)
		return client->sink->data ? client->sink->data(client->sink->ctx, data, len_bytes) : 0;
	rc = send_patiently(client, head, (size_t)n);
	return rc ? rc : send_patiently(client, data, len_bytes);
}

struct control_client *control_local(const struct control_sink *sink)
{
	struct control_client *client = xcalloc(1, sizeof(*client));

	client->sink = sink;
	client->fd = -1;
	return client;
}

void control_local_free(struct control_client *client)
{
	free(client);
}

static void *client_main(void *arg)
{
	struct control_client *client = arg;
	struct err err = ERR_INIT;
	json_t *request, *reply;
	struct buf in;
	int rc = 0;

	log_thread_name("control-client");
	buf_init(&in, REQUEST_MAX_BYTES);
	request = receive_json(client->fd, &in, &rc);
	buf_release(&in);
	if (request && json_is_object(request)) {
		reply = client->c->fn(client->c->ctx, client, request);
	} else {
		err_set(&err, rc ? rc : -EBADMSG, "the request is not one line with one JSON object of at most %u KiB",
		        REQUEST_MAX_BYTES >> 10);
		reply = control_error(&err);
	}
	if (reply)
		(void)send_json(client->fd, reply);
	json_decref(request);
	json_decref(reply);
	if (client->holds)
		atomic_fetch_sub(&client->c->holders, 1);
	client->holds = false;
	shutdown(client->fd, SHUT_RDWR);
	atomic_store(&client->done, true);
	return NULL;
}

static void client_reap(struct control_client *client)
{
	pthread_join(client->thread, NULL);
	close(client->fd);
	client->used = false;
}

static struct control_client *client_slot(struct control *c)
{
	struct control_client *free_slot = NULL;

	for (size_t i = 0; i < CLIENTS_MAX; i++) {
		if (c->clients[i].used && atomic_load(&c->clients[i].done))
			client_reap(&c->clients[i]);
		if (!c->clients[i].used)
			free_slot = &c->clients[i];
	}
	return free_slot;
}

static void client_start(struct control *c, struct control_client *client)
{
	const struct timeval limit = { .tv_sec = SOCKET_TIMEOUT_S };
	int fd = accept4(c->listen_fd, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	client->c = c;
	client->fd = fd;
	atomic_store(&client->done, false);
	if (pthread_create(&client->thread, NULL, client_main, client) != 0)
		close(fd);
	else
		client->used = true;
}

static void *control_main(void *arg)
{
	struct control *c = arg;

	log_thread_name("control");
	while (!atomic_load(&c->stopping)) {
		struct control_client *slot = client_slot(c);
		struct pollfd p[2] = {
			{ .fd = c->wake_fd, .events = POLLIN },
			{ .fd = slot ? c->listen_fd : -1, .events = POLLIN },
		};

		/* All slots taken: look again soon, one may be done by then. */
		if (poll(p, 2, slot ? -1 : 100) > 0 && slot && (p[1].revents & POLLIN))
			client_start(c, slot);
	}
	for (size_t i = 0; i < CLIENTS_MAX; i++) {
		if (!c->clients[i].used)
			continue;
		shutdown(c->clients[i].fd, SHUT_RD); /* ends a read; a reply still goes out */
		client_reap(&c->clients[i]);
	}
	return NULL;
}

static int listen_on(struct control *c, struct err *err)
{
	struct sockaddr_un addr;
	mode_t mask;
	int rc, dir_fd = open(c->store, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (dir_fd < 0)
		return err_set(err, -errno, "cannot open %s: %s", c->store, strerror(errno));
	c->listen_fd = socket_address(dir_fd, &addr);
	unlinkat(dir_fd, CONTROL_SOCKET, 0);
	mask = umask(0177);
	rc = c->listen_fd < 0 || bind(c->listen_fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	     listen(c->listen_fd, CLIENTS_MAX) < 0 ? -errno : 0;
	umask(mask);
	close(dir_fd);
	if (rc)
		return err_set(err, rc, "cannot make %s/%s: %s; check the store's permissions", c->store,
		               CONTROL_SOCKET, strerror(-rc));
	return 0;
}

int control_start(const char *store, control_fn fn, void *ctx, struct control **out, struct err *err)
{
	struct control *c = xcalloc(1, sizeof(*c));
	int rc;

	c->fn = fn;
	c->ctx = ctx;
	c->store = xstrdup(store);
	c->listen_fd = -1;
	c->wake_fd = eventfd(0, EFD_CLOEXEC);
	rc = c->wake_fd < 0 ? err_set(err, -errno, "cannot make an eventfd: %s", strerror(errno)) : listen_on(c, err);
	if (!rc) {
		rc = -pthread_create(&c->thread, NULL, control_main, c);
		if (rc)
			err_set(err, rc, "cannot start the control thread: %s", strerror(-rc));
	}
	if (rc) {
		if (c->listen_fd >= 0)
			close(c->listen_fd);
		if (c->wake_fd >= 0)
			close(c->wake_fd);
		free(c->store);
		free(c);
		return rc;
	}
	*out = c;
	return 0;
}

void control_stop(struct control *c)
{
	const uint64_t one = 1;
	char *path;

	if (!c)
		return;
	path = xasprintf("%s/%s", c->store, CONTROL_SOCKET);
	atomic_store(&c->stopping, true);
	unlink(path); /* before the last client is served: who comes now sees a store that is not mounted */
	if (write(c->wake_fd, &one, sizeof(one)) < 0)
		log_warn("cannot wake the control thread: %s", strerror(errno));
	pthread_join(c->thread, NULL);
	close(c->listen_fd);
	close(c->wake_fd);
	free(path);
	free(c->store);
	free(c);
}

/* ---- client ------------------------------------------------------------------------------------ */

static int dial(const char *store, unsigned timeout_ms, struct err *err)
{
	const struct timeval limit = { .tv_sec = timeout_ms / 1000, .tv_usec = (timeout_ms % 1000) * 1000 };
	int dir_fd = open(store, O_PATH | O_DIRECTORY | O_CLOEXEC), fd, rc;
	struct sockaddr_un addr;

	if (dir_fd < 0)
		return err_set(err, -errno, "cannot open %s: %s", store, strerror(errno));
	fd = socket_address(dir_fd, &addr);
	rc = fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0 ? -errno : 0;
	close(dir_fd);
	if (!rc) {
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
		return fd;
	}
	if (fd >= 0)
		close(fd);
	if (rc == -ENOENT || rc == -ECONNREFUSED)
		return -ENOTCONN;
	return err_set(err, rc, "cannot talk to the mount of %s: %s%s", store, strerror(-rc),
	               rc == -EACCES ? "; try as the user who mounted it" : "");
}

static int reply_code(const json_t *reply)
{
	json_int_t code = json_integer_value(json_object_get(reply, "code"));

	return code < 0 && code > -4096 ? (int)code : -EIO;
}

/* Hand out the n bytes that follow in `in` and on the socket. */
static int receive_data(int fd, struct buf *in, uint64_t n, const struct control_sink *sink, bool *refused)
{
	int rc = 0;

	while (!rc && n > 0) {
		char piece[65536];
		const void *data = in->data;
		size_t len = (size_t)MIN(n, in->len_bytes);

		if (len == 0) {
			ssize_t got = recv(fd, piece, (size_t)MIN(n, sizeof(piece)), 0);

			if (got < 0 && errno == EINTR)
				continue;
			if (got <= 0)
				return got < 0 ? -errno : -EPIPE;
			data = piece;
			len = (size_t)got;
		}
		if (sink && sink->data)
			*refused = (rc = sink->data(sink->ctx, data, len)) != 0;
		if (data == in->data)
			buf_consume(in, len);
		n -= len;
	}
	return rc;
}

/* What is no reply. 1: it is the reply. */
static int receive_piece(int fd, struct buf *in, const json_t *line, void (*progress)(const char *text),
                         const struct control_sink *sink, bool *refused)
{
	const char *text = json_string_value(json_object_get(line, "progress"));
	json_int_t len = json_integer_value(json_object_get(line, "data"));
	int rc = 0;

	if (json_object_get(line, "ok"))
		return 1;
	if (text && progress)
		progress(text);
	else if (len > 0)
		rc = receive_data(fd, in, (uint64_t)len, sink, refused);
	else if (!text && sink && sink->line)
		*refused = (rc = sink->line(sink->ctx, line)) != 0;
	return rc;
}

int control_stream(const char *store, const json_t *request, unsigned timeout_ms, void (*progress)(const char *text),
                   const struct control_sink *sink, json_t **reply, struct err *err)
{
	int fd = dial(store, timeout_ms, err), rc;
	json_t *line = NULL;
	bool refused = false;
	struct buf in;

	if (fd < 0)
		return fd;
	buf_init(&in, REPLY_MAX_BYTES);
	rc = send_json(fd, request);
	if (rc == -EPIPE || rc == -ECONNRESET)
		rc = 0; /* who wants to hear no more of it has said why */
	while (!rc && (line = receive_json(fd, &in, &rc)) &&
	       (rc = receive_piece(fd, &in, line, progress, sink, &refused)) == 0) {
		json_decref(line);
		line = NULL;
	}
	if (rc == 1)
		rc = 0;
	if (refused)
		err_set(err, rc, "what the mount of %s sent could not be taken: %s", store, strerror(-rc));
	else if (rc == -EAGAIN)
		err_set(err, -ETIMEDOUT, "the mount of %s does not answer; look into %s/twinfs.log", store, store);
	else if (rc)
		err_set(err, rc, "the mount of %s ended before it answered; try again", store);
	else if (!json_is_true(json_object_get(line, "ok")))
		rc = err_set(err, reply_code(line), "%s",
		             json_string_value(json_object_get(line, "error")) ?: "it failed");
	buf_release(&in);
	close(fd);
	if (rc)
		json_decref(line);
	else
		*reply = line;
	return rc;
}

int control_call(const char *store, const json_t *request, unsigned timeout_ms, void (*progress)(const char *text),
                 json_t **reply, struct err *err)
{
	return control_stream(store, request, timeout_ms, progress, NULL, reply, err);
}
