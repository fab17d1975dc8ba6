/* SPDX-License-Identifier: MIT */
/*
 * A connection's life:
 *
 *   TLS ──handshake──► REQUEST ──POST /v1/stream, allowed──► STREAM ──error, end──► (closed)
 *                         │
 *                         └──anything else──► ANSWER ──reply sent──► LINGER ──client closed, or time──► (closed)
 *
 * LINGER: closing at once with bytes unread would send a reset, which may destroy our answer on its way.
 */
#include "sync/listen.h"

#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "util/buf.h"
#include "util/log.h"
#include "util/util.h"

/* One TLS write takes several HTTP/2 frames; larger brings nothing (spikes). */
#define GATHER_BYTES (64u << 10)
/* Per step and connection, so that one client cannot keep the thread from the others. */
#define READ_STEP_BYTES (1u << 20)
#define LINGER_MS 1000u
#define BACKLOG 16

enum conn_state { CONN_TLS, CONN_REQUEST, CONN_STREAM, CONN_ANSWER, CONN_LINGER };
enum request { REQUEST_NONE, REQUEST_STREAM, REQUEST_PAIR, REQUEST_OTHER };

struct conn {
	struct listen *listen;
	int fd;
	enum conn_state state;
	bool doomed;             /* to be freed at the end of the step */
	bool more;               /* bytes may sit in OpenSSL, where poll does not see them */
	bool want_write;         /* OpenSSL waits until the socket takes more */
	bool deferred;           /* nghttp2 waits until listen_kick */
	uint64_t deadline_ms;    /* not for STREAM */
	size_t poll_index;       /* into the last poll's array; SIZE_MAX: not in it */
	SSL *ssl;
	nghttp2_session *h2;
	int32_t stream_id;       /* 0 before the request */
	enum request request;
	bool is_post;
	struct buf body, reply, pending; /* pending: from nghttp2, not yet taken by OpenSSL */
	size_t reply_sent;
	int code;
	char why[256];
	char fingerprint_hex[FINGERPRINT_HEX_BYTES + 1];
	char address[ADDRESS_MAX_BYTES + 1];
};

#define ACCEPT_PAUSE_MS 1000u

struct listen {
	SSL_CTX *tls;
	nghttp2_session_callbacks *callbacks;
	struct listen_ops ops;
	void *ctx;
	int fds[LISTEN_SOCKETS_MAX];
	size_t n_fds;
	struct conn *conns[LISTEN_CONNS_MAX];
	size_t n_conns;
	uint64_t accept_after_ms; /* nobody is accepted before: there was no descriptor for the last one */
};

static const char *ssl_reason(void)
{
	unsigned long code = ERR_peek_last_error();
	const char *text = code ? ERR_reason_error_string(code) : NULL;

	return text ? text : "no reason given";
}

/* The connection ends here; the first reason stays. */
static void fail(struct conn *c, int code, const char *why)
{
	if (c->doomed)
		return;
	c->doomed = true;
	c->code = code;
	snprintf(c->why, sizeof(c->why), "%s", why);
}

/* ---- HTTP/2
 * ------------------------------------------------------------------------------------------------------------- */

static ssize_t read_stream(nghttp2_session *h2, int32_t id, uint8_t *out, size_t cap, uint32_t *flags,
			   nghttp2_data_source *src, void *ctx)
{
	struct conn *c = ctx;
	size_t n = c->listen->ops.wire.take(c->listen->ctx, out, cap);

	(void)h2, (void)id, (void)flags, (void)src;
	c->deferred = n == 0;
	return n ? (ssize_t)n : NGHTTP2_ERR_DEFERRED;
}

static ssize_t read_reply(nghttp2_session *h2, int32_t id, uint8_t *out, size_t cap, uint32_t *flags,
			  nghttp2_data_source *src, void *ctx)
{
	struct conn *c = ctx;
	size_t n = MIN(cap, c->reply.len_bytes - c->reply_sent);

	(void)h2, (void)id, (void)src;
	memcpy(out, c->reply.data + c->reply_sent, n);
	c->reply_sent += n;
	if (c->reply_sent == c->reply.len_bytes)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

#define HEADER(k, v)                                                                                             \
	{                                                                                                        \
		(uint8_t *)(uintptr_t)(k), (uint8_t *)(uintptr_t)(v), strlen(k), strlen(v), NGHTTP2_NV_FLAG_NONE \
	}

static void answer(struct conn *c, int status, const char *type, const char *text)
{
	char number[12];
	nghttp2_data_provider provider = { .read_callback = read_reply };

	snprintf(number, sizeof(number), "%d", status);
	nghttp2_nv head[] = { HEADER(":status", number), HEADER("content-type", type) };

	buf_reset(&c->reply);
	buf_printf(&c->reply, "%s\n", text);
	c->state = CONN_ANSWER;
	if (c->reply.failed || nghttp2_submit_response(c->h2, c->stream_id, head, ARRAY_LEN(head), &provider))
		fail(c, -EPROTO, "cannot answer");
}

static void refuse(struct conn *c, int status, const char *text)
{
	log_debug("listen", "%s: refused with %d: %s", c->address, status, text);
	answer(c, status, "text/plain", text);
}

static void start_stream(struct conn *c)
{
	nghttp2_data_provider provider = { .read_callback = read_stream };
	nghttp2_nv head[] = { HEADER(":status", "200"), HEADER("content-type", "application/octet-stream") };
	unsigned timeout_ms = WIRE_USER_TIMEOUT_MS;
	struct err err = ERR_INIT;
	int status = c->listen->ops.stream(c->listen->ctx, c, c->fingerprint_hex, c->address, &err);

	if (status != 200) {
		refuse(c, status, err_text(&err));
		return;
	}
	c->state = CONN_STREAM;
	setsockopt(c->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
	if (nghttp2_submit_response(c->h2, c->stream_id, head, ARRAY_LEN(head), &provider))
		fail(c, -EPROTO, "cannot answer");
}

static void do_pair(struct conn *c)
{
	struct err err = ERR_INIT;
	char *reply = NULL;
	int rc;

	buf_append(&c->body, "", 1);
	if (c->body.failed || memchr(c->body.data, '\0', c->body.len_bytes - 1)) {
		refuse(c, 400, "the request is not JSON, or too long");
		return;
	}
	rc = c->listen->ops.pair(c->listen->ctx, (const char *)c->body.data, c->fingerprint_hex, c->address, &reply,
				 &err);
	if (rc)
		refuse(c,
		       rc == -EACCES || rc == -ESTALE || rc == -EPERM ? 403
		       : rc == -EBUSY                                 ? 409
		       : rc == -EAGAIN                                ? 429
								      : 400,
		       err_text(&err));
	else
		answer(c, 200, "application/json", reply);
	free(reply);
}

static int on_begin_headers(nghttp2_session *h2, const nghttp2_frame *frame, void *ctx)
{
	struct conn *c = ctx;

	(void)h2;
	if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	if (c->stream_id)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* one request a connection */
	c->stream_id = frame->hd.stream_id;
	return 0;
}

static bool is(const uint8_t *p, size_t len, const char *text)
{
	return len == strlen(text) && !memcmp(p, text, len);
}

static int on_header(nghttp2_session *h2, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
		     const uint8_t *value, size_t value_len, uint8_t flags, void *ctx)
{
	struct conn *c = ctx;

	(void)h2, (void)flags;
	if (frame->hd.stream_id != c->stream_id || c->state != CONN_REQUEST)
		return 0;
	if (is(name, name_len, ":method"))
		c->is_post = is(value, value_len, "POST");
	else if (is(name, name_len, ":path"))
		c->request = is(value, value_len, "/v1/stream") ? REQUEST_STREAM :
			     is(value, value_len, "/v1/pair") ? REQUEST_PAIR : REQUEST_OTHER;
	return 0;
}

static int on_frame(nghttp2_session *h2, const nghttp2_frame *frame, void *ctx)
{
	struct conn *c = ctx;
	bool last = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

	(void)h2;
	if (frame->hd.stream_id != c->stream_id ||
	    (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA))
		return 0;
	if (c->state == CONN_STREAM && last)
		fail(c, -ECONNRESET, "the peer closed the connection");
	if (c->state != CONN_REQUEST)
		return 0;
	if (c->request == REQUEST_OTHER || c->request == REQUEST_NONE)
		refuse(c, 404, "there is nothing here");
	else if (!c->is_post)
		refuse(c, 405, "only POST is understood here");
	else if (c->request == REQUEST_STREAM)
		start_stream(c);
	else if (c->body.failed)
		refuse(c, 413, "the request is too long");
	else if (last)
		do_pair(c);
	return 0;
}

static int on_data(nghttp2_session *h2, uint8_t flags, int32_t id, const uint8_t *data, size_t len, void *ctx)
{
	struct conn *c = ctx;

	(void)h2, (void)flags;
	if (id != c->stream_id)
		return 0;
	if (c->state == CONN_STREAM && !c->doomed)
		c->listen->ops.wire.give(c->listen->ctx, data, len);
	else if (c->state == CONN_REQUEST)
		buf_append(&c->body, data, len); /* a failed one is answered when the frame is complete */
	return 0;
}

static int on_stream_close(nghttp2_session *h2, int32_t id, uint32_t code, void *ctx)
{
	struct conn *c = ctx;

	if (id != c->stream_id)
		return 0;
	if (c->state == CONN_STREAM)
		fail(c, -ECONNRESET, "the peer closed the stream");
	else
		nghttp2_session_terminate_session(h2, code);
	return 0;
}

static int h2_start(struct conn *c)
{
	static const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1 },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WIRE_WINDOW_BYTES },
	};

	if (nghttp2_session_server_new(&c->h2, c->listen->callbacks, c))
		return -ENOMEM;
	/* both: the setting is for each stream, the window of the connection is a separate thing */
	if (nghttp2_submit_settings(c->h2, NGHTTP2_FLAG_NONE, settings, ARRAY_LEN(settings)) ||
	    nghttp2_session_set_local_window_size(c->h2, NGHTTP2_FLAG_NONE, 0, WIRE_WINDOW_BYTES))
		return -EPROTO;
	return 0;
}

/* ---- TLS
 * ---------------------------------------------------------------------------------------------------------------- */

/* false: nothing more to do at present (want_write says for what it waits) or the connection failed. */
static bool ssl_went_on(struct conn *c, int rc)
{
	int error;

	if (rc > 0)
		return true;
	error = SSL_get_error(c->ssl, rc);
	if (error == SSL_ERROR_WANT_READ)
		return false;
	if (error == SSL_ERROR_WANT_WRITE) {
		c->want_write = true;
		return false;
	}
	if (error == SSL_ERROR_ZERO_RETURN)
		fail(c, -ECONNRESET, "the peer closed the connection");
	else if (error == SSL_ERROR_SYSCALL)
		fail(c, errno ? -errno : -ECONNRESET, errno ? strerror(errno) : "the peer closed the connection");
	else
		fail(c, -ECONNRESET, ssl_reason());
	return false;
}

static void handshake(struct conn *c)
{
	const unsigned char *protocol = NULL;
	unsigned len = 0;
	X509 *cert;

	ERR_clear_error();
	errno = 0;
	if (!ssl_went_on(c, SSL_do_handshake(c->ssl)))
		return;
	SSL_get0_alpn_selected(c->ssl, &protocol, &len);
	cert = SSL_get_peer_certificate(c->ssl);
	if (!cert || fingerprint_of_cert(cert, c->fingerprint_hex) || !is(protocol, len, "h2"))
		fail(c, -EPROTO, "no certificate, or no HTTP/2");
	X509_free(cert);
	if (c->doomed)
		return;
	c->state = CONN_REQUEST;
	if (h2_start(c))
		fail(c, -ENOMEM, "out of memory");
}

static void read_some(struct conn *c)
{
	uint8_t data[GATHER_BYTES / 4];
	size_t total = 0;

	c->more = false;
	while (!c->doomed && c->state != CONN_TLS) {
		int n;

		if (total >= READ_STEP_BYTES) {
			c->more = true;
			return;
		}
		ERR_clear_error();
		errno = 0;
		n = SSL_read(c->ssl, data, sizeof(data));
		if (!ssl_went_on(c, n))
			return;
		total += (size_t)n;
		if (c->state != CONN_LINGER && nghttp2_session_mem_recv(c->h2, data, (size_t)n) < 0)
			fail(c, -EPROTO, "the client does not speak HTTP/2");
	}
}

/* Fill `pending` from nghttp2. */
static void gather(struct conn *c)
{
	while (!c->doomed && c->pending.len_bytes < GATHER_BYTES) {
		const uint8_t *data;
		ssize_t n = nghttp2_session_mem_send(c->h2, &data);

		if (n == 0)
			return;
		if (n < 0 || buf_append(&c->pending, data, (size_t)n)) {
			fail(c, -EPROTO, "HTTP/2 cannot go on");
			return;
		}
	}
}

static void write_some(struct conn *c)
{
	c->want_write = false;
	while (!c->doomed && c->h2 && c->state != CONN_LINGER) {
		int n;

		gather(c);
		if (c->doomed || c->pending.len_bytes == 0)
			break;
		ERR_clear_error();
		errno = 0;
		n = SSL_write(c->ssl, c->pending.data, (int)c->pending.len_bytes);
		if (!ssl_went_on(c, n))
			return;
		buf_consume(&c->pending, (size_t)n);
	}
	if (!c->doomed && c->state == CONN_ANSWER && c->reply_sent == c->reply.len_bytes &&
	    !nghttp2_session_want_write(c->h2)) {
		c->state = CONN_LINGER;
		c->deadline_ms = clock_mono_ms() + LINGER_MS;
		SSL_shutdown(c->ssl);
		shutdown(c->fd, SHUT_WR);
	}
}

/* ---- connections
 * --------------------------------------------------------------------------------------------------------- */

static void conn_free(struct conn *c)
{
	if (c->h2)
		nghttp2_session_del(c->h2);
	ERR_clear_error();
	if (c->state == CONN_STREAM || c->state == CONN_ANSWER)
		SSL_shutdown(c->ssl);
	SSL_free(c->ssl);
	ERR_clear_error();
	close(c->fd);
	buf_release(&c->body);
	buf_release(&c->reply);
	buf_release(&c->pending);
	free(c);
}

static void describe(const struct sockaddr *sa, socklen_t len, char out[ADDRESS_MAX_BYTES + 1])
{
	struct address a;

	if (getnameinfo(sa, len, a.host, sizeof(a.host), a.port, sizeof(a.port), NI_NUMERICHOST | NI_NUMERICSERV))
		text_copy(out, ADDRESS_MAX_BYTES + 1, "unknown");
	else
		address_format(&a, out);
}

/* Room for one more: the oldest stranger goes; the stream never does. */
static bool make_room(struct listen *l)
{
	if (l->n_conns < LISTEN_CONNS_MAX)
		return true;
	for (size_t i = 0; i < l->n_conns; i++) {
		struct conn *c = l->conns[i];

		if (c->state == CONN_STREAM)
			continue;
		conn_free(c);
		memmove(&l->conns[i], &l->conns[i + 1], (l->n_conns - i - 1) * sizeof(c));
		l->n_conns--;
		return true;
	}
	return false;
}

static void accept_one(struct listen *l, int listener)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	int one = 1, fd = accept4(listener, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	struct conn *c;

	if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
		/* It goes on waiting, and poll would say so at once, for ever. */
		l->accept_after_ms = clock_mono_ms() + ACCEPT_PAUSE_MS;
		log_warn("cannot accept a connection: %s", strerror(errno));
	}
	if (fd < 0)
		return;
	if (!make_room(l)) {
		close(fd);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	c = xcalloc(1, sizeof(*c));
	c->listen = l;
	c->fd = fd;
	c->poll_index = SIZE_MAX;
	c->deadline_ms = clock_mono_ms() + WIRE_SETUP_TIMEOUT_MS;
	c->ssl = SSL_new(l->tls);
	buf_init(&c->body, WIRE_BODY_MAX_BYTES);
	buf_init(&c->reply, 2 * WIRE_BODY_MAX_BYTES);
	buf_init(&c->pending, 4 * GATHER_BYTES);
	describe((struct sockaddr *)&sa, len, c->address);
	if (!c->ssl || !SSL_set_fd(c->ssl, fd)) {
		conn_free(c);
		return;
	}
	SSL_set_accept_state(c->ssl);
	l->conns[l->n_conns++] = c;
}

static void conn_step(struct conn *c, const struct pollfd *fds, size_t n, uint64_t now_ms)
{
	short ready = c->poll_index < n ? fds[c->poll_index].revents : 0;

	if (c->doomed)
		return;
	if (ready & POLLOUT)
		c->want_write = false;
	if (c->state == CONN_TLS && ready)
		handshake(c);
	if (c->state != CONN_TLS && (ready || c->more))
		read_some(c);
	if (!c->doomed && c->h2 && !c->want_write)
		write_some(c);
	if (!c->doomed && c->state != CONN_STREAM && now_ms >= c->deadline_ms)
		fail(c, -ETIMEDOUT, "the client took too long");
}

/* Free what is doomed, and tell the link when that is the stream. */
static void reap(struct listen *l)
{
	size_t kept = 0;

	for (size_t i = 0; i < l->n_conns; i++) {
		struct conn *c = l->conns[i];

		if (!c->doomed) {
			l->conns[kept++] = c;
			continue;
		}
		if (c->state == CONN_STREAM && c->code)
			l->ops.closed(l->ctx, c, c->code, c->why);
		else
			log_debug("listen", "%s: closed: %s", c->address, c->why);
		conn_free(c);
	}
	l->n_conns = kept;
}

void listen_step(struct listen *l, const struct pollfd *fds, size_t n)
{
	uint64_t now_ms = clock_mono_ms();

	for (size_t i = 0; i < l->n_conns; i++)
		conn_step(l->conns[i], fds, n, now_ms);
	reap(l);
	for (size_t i = 0; i < l->n_fds && i < n; i++)
		if (fds[i].revents)
			accept_one(l, l->fds[i]);
}

size_t listen_poll(struct listen *l, struct pollfd *fds)
{
	size_t n = 0;

	bool accepting = clock_mono_ms() >= l->accept_after_ms;

	for (size_t i = 0; i < l->n_fds; i++)
		fds[n++] = (struct pollfd){ .fd = l->fds[i], .events = accepting ? POLLIN : 0 };
	for (size_t i = 0; i < l->n_conns; i++) {
		struct conn *c = l->conns[i];

		c->poll_index = n;
		fds[n++] = (struct pollfd){ .fd = c->fd, .events = (short)(POLLIN | (c->want_write ? POLLOUT : 0)) };
	}
	return n;
}

uint64_t listen_deadline(const struct listen *l)
{
	uint64_t at = clock_mono_ms() < l->accept_after_ms ? l->accept_after_ms : UINT64_MAX;

	for (size_t i = 0; i < l->n_conns; i++) {
		const struct conn *c = l->conns[i];

		if (c->more || c->doomed)
			return 0;
		if (c->state != CONN_STREAM)
			at = MIN(at, c->deadline_ms);
	}
	return at;
}

void listen_kick(struct conn *c)
{
	if (c->doomed || c->state != CONN_STREAM || !c->deferred)
		return;
	c->deferred = false;
	nghttp2_session_resume_data(c->h2, c->stream_id);
	if (!c->want_write)
		write_some(c);
}

void listen_drop(struct conn *c)
{
	c->doomed = true;
	c->code = 0; /* no callback */
}

/* ---- opening
 * ------------------------------------------------------------------------------------------------------------- */

static int take_any_cert(X509_STORE_CTX *store, void *ctx)
{
	(void)store, (void)ctx;
	return 1; /* TLS proves that the client has the key; whose key it is, is decided by fingerprint */
}

static int select_h2(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in,
		     unsigned in_len, void *ctx)
{
	(void)ssl, (void)ctx;
	if (SSL_select_next_proto((unsigned char **)(uintptr_t)out, out_len, (const unsigned char *)"\x02h2", 3, in,
				  in_len) == OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_OK;
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int tls_start(struct listen *l, const struct identity *id, struct err *err)
{
	l->tls = SSL_CTX_new(TLS_server_method());
	if (!l->tls || !SSL_CTX_set_min_proto_version(l->tls, TLS1_3_VERSION) ||
	    !SSL_CTX_use_certificate(l->tls, identity_cert(id)) || !SSL_CTX_use_PrivateKey(l->tls, identity_key(id)) ||
	    !SSL_CTX_set_num_tickets(l->tls, 0))
		return err_set(err, -EIO, "cannot start TLS: OpenSSL: %s", ssl_reason());
	SSL_CTX_set_session_cache_mode(l->tls, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_mode(l->tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_verify(l->tls, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
	SSL_CTX_set_cert_verify_callback(l->tls, take_any_cert, NULL);
	SSL_CTX_set_alpn_select_cb(l->tls, select_h2, NULL);
	return 0;
}

static int h2_prepare(struct listen *l, struct err *err)
{
	if (nghttp2_session_callbacks_new(&l->callbacks))
		return err_set(err, -ENOMEM, "cannot start HTTP/2: out of memory");
	nghttp2_session_callbacks_set_on_begin_headers_callback(l->callbacks, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(l->callbacks, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(l->callbacks, on_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(l->callbacks, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(l->callbacks, on_stream_close);
	return 0;
}

/* A listening socket for one of the addresses, or -errno. */
static int bind_one(const struct addrinfo *ai, bool v6_only)
{
	int one = 1, only = v6_only, rc;
	int fd = socket(ai->ai_family, ai->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, ai->ai_protocol);

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (ai->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof(only));
	if (!bind(fd, ai->ai_addr, ai->ai_addrlen) && !listen(fd, BACKLOG))
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}

static int bind_all(struct listen *l, const struct address *at, struct err *err)
{
	struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
	struct addrinfo *list = NULL;
	int rc = getaddrinfo(strcmp(at->host, "*") ? at->host : NULL, at->port, &hints, &list), last = -EADDRNOTAVAIL;
	char text[ADDRESS_MAX_BYTES + 1];

	address_format(at, text);
	if (rc)
		return err_set(err, -EHOSTUNREACH, "cannot listen on %s: %s", text, gai_strerror(rc));
	for (struct addrinfo *ai = list; ai && l->n_fds < LISTEN_SOCKETS_MAX; ai = ai->ai_next) {
		int fd = bind_one(ai, list->ai_next != NULL);

		if (fd >= 0)
			l->fds[l->n_fds++] = fd;
		else if (last == -EADDRNOTAVAIL || fd == -EADDRINUSE)
			last = fd;
	}
	freeaddrinfo(list);
	if (l->n_fds > 0)
		return 0;
	return err_set(err, last, "cannot listen on %s: %s%s", text, strerror(-last),
		       last == -EADDRINUSE ? "; another program or mount has that port" : "");
}

int listen_open(const struct identity *id, const struct address *at, const struct listen_ops *ops, void *ctx,
		struct listen **out, struct err *err)
{
	struct listen *l = xcalloc(1, sizeof(*l));
	int rc;

	l->ops = *ops;
	l->ctx = ctx;
	rc = tls_start(l, id, err);
	if (!rc)
		rc = h2_prepare(l, err);
	if (!rc)
		rc = bind_all(l, at, err);
	if (rc) {
		listen_close(l);
		return rc;
	}
	*out = l;
	return 0;
}

void listen_close(struct listen *l)
{
	if (!l)
		return;
	for (size_t i = 0; i < l->n_conns; i++)
		conn_free(l->conns[i]);
	for (size_t i = 0; i < l->n_fds; i++)
		close(l->fds[i]);
	nghttp2_session_callbacks_del(l->callbacks);
	SSL_CTX_free(l->tls);
	free(l);
}
