/* SPDX-License-Identifier: MIT */
#include "sync/dial.h"

#include <assert.h>
#include <curl/curl.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "util/buf.h"
#include "util/util.h"

/* libcurl's largest receive buffer in 7.88; fewer, larger calls. */
#define TRANSFER_BYTES (512L << 10)
#define REQUEST_TIMEOUT_MS 30000L
#define EXTRA_MAX 32u

struct dial {
	CURLM *multi;
	CURL *easy;
	struct curl_slist *headers;
	const struct wire_ops *ops;
	void *ctx;
	enum dial_state state;
	bool paused;              /* libcurl waits until it is kicked */
	long status;
	int code;
	uint64_t setup_until_ms;
	struct buf refusal;       /* body of an answer other than 200 */
	char address[ADDRESS_MAX_BYTES + 1];
	char curl_error[CURL_ERROR_SIZE];
	char text[ERR_TEXT_MAX_BYTES];
};

static void curl_start(void)
{
	CURLcode rc = curl_global_init(CURL_GLOBAL_DEFAULT);

	assert(rc == CURLE_OK);
	(void)rc;
}

/* Once a process, before the first handle. */
static void curl_started(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, curl_start);
}

/* ---- what both kinds of request share
 * ---------------------------------------------------------------------------------- */

static int on_socket(void *ctx, curl_socket_t fd, curlsocktype purpose)
{
	unsigned timeout_ms = WIRE_USER_TIMEOUT_MS;

	(void)ctx, (void)purpose;
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
	return CURL_SOCKOPT_OK;
}

static void set_blob(CURL *e, CURLoption option, const char *pem)
{
	struct curl_blob blob = { .data = (void *)(uintptr_t)pem, .len = strlen(pem), .flags = CURL_BLOB_COPY };

	curl_easy_setopt(e, option, &blob);
}

static int set_common(CURL *e, const struct identity *id, const struct address *to, const char *pin_hex,
		      const char *path, struct err *err)
{
	char at[ADDRESS_MAX_BYTES + 1], pin[60];
	char *url;

	if (fingerprint_to_curl_pin(pin_hex, pin))
		return err_set(err, -EINVAL, "\"%.80s\" is not a fingerprint", pin_hex);
	address_format(to, at);
	url = xasprintf("https://%s%s", at, path);
	curl_easy_setopt(e, CURLOPT_URL, url);
	free(url);
	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e, CURLOPT_PROXY, ""); /* not what the environment says: peers speak to each other directly */
	curl_easy_setopt(e, CURLOPT_POST, 1L);
	curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_3);
	curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 0L); /* the pin below decides, and is enforced without these */
	curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 0L);
	curl_easy_setopt(e, CURLOPT_PINNEDPUBLICKEY, pin);
	curl_easy_setopt(e, CURLOPT_SSL_SESSIONID_CACHE, 0L);
	set_blob(e, CURLOPT_SSLCERT_BLOB, identity_cert_pem(id));
	set_blob(e, CURLOPT_SSLKEY_BLOB, identity_key_pem(id));
	curl_easy_setopt(e, CURLOPT_SSLCERTTYPE, "PEM");
	curl_easy_setopt(e, CURLOPT_SSLKEYTYPE, "PEM");
	curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)WIRE_SETUP_TIMEOUT_MS);
	curl_easy_setopt(e, CURLOPT_SOCKOPTFUNCTION, on_socket);
	return 0;
}

/* What went wrong, in the terms of the person who reads status. */
static int explain(CURLcode rc, const char *at, const char *detail, bool paired, char *text, size_t cap)
{
	if (!*detail)
		detail = curl_easy_strerror(rc);
	switch (rc) {
	case CURLE_COULDNT_RESOLVE_HOST:
		snprintf(text, cap, "the name in %s is not known (%s); check the address", at, detail);
		return -EHOSTUNREACH;
	case CURLE_COULDNT_CONNECT:
		snprintf(text, cap,
			 "cannot reach %s (%s); is the peer mounted, the port open? %s", at, detail,
			 paired ? "if it has moved: twinfs address"
				: "if it has moved: twinfs invite there gives a new token");
		return -ECONNREFUSED;
	case CURLE_OPERATION_TIMEDOUT:
		snprintf(text, cap, "%s does not answer (%s); is the peer up, and the port open?", at, detail);
		return -ETIMEDOUT;
	case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
		snprintf(text, cap,
			 "who answers at %s has another key than the paired peer; wrong address, or the peer's store "
			 "was "
			 "replaced: then forget-peer, and join with a new directory",
			 at);
		return -EACCES;
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_PEER_FAILED_VERIFICATION:
		snprintf(text, cap, "no secure connection to %s (%s); is that a twinfs port?", at, detail);
		return -EPROTO;
	default:
		snprintf(text, cap, "the connection to %s was lost (%s)", at, detail);
		return -ECONNRESET;
	}
}

static size_t collect(char *data, size_t size, size_t n, void *ctx)
{
	struct buf *b = ctx;

	return buf_append(b, data, size * n) ? 0 : size * n;
}

/* The first line of a refusal, printable. */
static void first_line(const struct buf *b, char out[256])
{
	size_t n = 0;

	for (; n < b->len_bytes && n < 255 && b->data[n] != '\n'; n++)
		out[n] = b->data[n] < 0x20 || b->data[n] == 0x7f ? ' ' : (char)b->data[n];
	out[n] = '\0';
}

/* ---- the stream
 * --------------------------------------------------------------------------------------------------------- */

static void go_down(struct dial *d, int code)
{
	d->state = DIAL_DOWN;
	d->code = code;
}

static size_t on_read(char *out, size_t size, size_t n, void *ctx)
{
	struct dial *d = ctx;
	size_t len = d->state == DIAL_UP ? d->ops->take(d->ctx, (uint8_t *)out, size * n) : 0;

	d->paused = len == 0;
	return len ? len : CURL_READFUNC_PAUSE;
}

static size_t on_write(char *data, size_t size, size_t n, void *ctx)
{
	struct dial *d = ctx;

	if (d->state == DIAL_UP)
		d->ops->give(d->ctx, (const uint8_t *)data, size * n);
	else if (d->refusal.len_bytes + size * n <= WIRE_BODY_MAX_BYTES)
		buf_append(&d->refusal, data, size * n);
	return size * n;
}

/* The end of the response's head: the peer has taken the stream, or not. */
static size_t on_header(char *data, size_t size, size_t n, void *ctx)
{
	struct dial *d = ctx;

	if (size * n == 2 && !memcmp(data, "\r\n", 2) && d->state == DIAL_SETUP) {
		curl_easy_getinfo(d->easy, CURLINFO_RESPONSE_CODE, &d->status);
		if (d->status == 200) {
			d->state = DIAL_UP;
			d->ops->up(d->ctx);
		}
	}
	return size * n;
}

static void set_stream(struct dial *d)
{
	CURL *e = d->easy;

	d->headers = curl_slist_append(NULL, "Expect:");
	d->headers = curl_slist_append(d->headers, "Content-Type: application/octet-stream");
	curl_easy_setopt(e, CURLOPT_HTTPHEADER, d->headers);
	curl_easy_setopt(e, CURLOPT_READFUNCTION, on_read);
	curl_easy_setopt(e, CURLOPT_READDATA, d);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_write);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, d);
	curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(e, CURLOPT_HEADERDATA, d);
	curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, TRANSFER_BYTES);
	curl_easy_setopt(e, CURLOPT_BUFFERSIZE, TRANSFER_BYTES);
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, d->curl_error);
	curl_easy_setopt(e, CURLOPT_FRESH_CONNECT, 1L);
}

int dial_open(const struct identity *id, const struct address *to, const char *pin_hex, const struct wire_ops *ops,
	      void *ctx, struct dial **out, struct err *err)
{
	struct dial *d;
	int rc;

	curl_started();
	d = xcalloc(1, sizeof(*d));
	d->ops = ops;
	d->ctx = ctx;
	buf_init(&d->refusal, WIRE_BODY_MAX_BYTES);
	address_format(to, d->address);
	d->setup_until_ms = clock_mono_ms() + WIRE_SETUP_TIMEOUT_MS;
	d->multi = curl_multi_init();
	d->easy = curl_easy_init();
	if (!d->multi || !d->easy) {
		dial_free(d);
		return err_set(err, -ENOMEM, "libcurl does not start: out of memory");
	}
	rc = set_common(d->easy, id, to, pin_hex, "/v1/stream", err);
	if (rc) {
		dial_free(d);
		return rc;
	}
	set_stream(d);
	curl_multi_add_handle(d->multi, d->easy);
	*out = d;
	return 0;
}

void dial_free(struct dial *d)
{
	if (!d)
		return;
	d->state = DIAL_DOWN; /* libcurl may still call back from here */
	if (d->multi && d->easy)
		curl_multi_remove_handle(d->multi, d->easy);
	curl_easy_cleanup(d->easy);
	curl_multi_cleanup(d->multi);
	curl_slist_free_all(d->headers);
	buf_release(&d->refusal);
	free(d);
}

void dial_wait(struct dial *d, struct pollfd *extra, size_t n_extra, int timeout_ms)
{
	struct curl_waitfd fds[EXTRA_MAX];

	assert(n_extra <= EXTRA_MAX);
	for (size_t i = 0; i < n_extra; i++)
		fds[i] = (struct curl_waitfd){ .fd = extra[i].fd,
			.events = (short)((extra[i].events & POLLIN ? CURL_WAIT_POLLIN : 0) |
					  (extra[i].events & POLLOUT ? CURL_WAIT_POLLOUT : 0)) };
	curl_multi_poll(d->multi, fds, (unsigned)n_extra, timeout_ms, NULL);
	for (size_t i = 0; i < n_extra; i++)
		extra[i].revents = (short)((fds[i].revents & CURL_WAIT_POLLIN ? POLLIN : 0) |
					   (fds[i].revents & CURL_WAIT_POLLOUT ? POLLOUT : 0));
}

/* libcurl says that the request is over. */
static void finished(struct dial *d, CURLcode rc)
{
	char line[256];

	if (d->status && d->status != 200) {
		first_line(&d->refusal, line);
		snprintf(d->text, sizeof(d->text), "%s",
			 *line ? line : "the peer refused the connection without a reason");
		go_down(d, d->status == 403 ? -EACCES : -EPROTO);
	} else if (rc == CURLE_OK) {
		snprintf(d->text, sizeof(d->text), "the peer at %s closed the connection", d->address);
		go_down(d, -ECONNRESET);
	} else {
		go_down(d, explain(rc, d->address, d->curl_error, true, d->text, sizeof(d->text)));
	}
}

void dial_step(struct dial *d)
{
	int running, left;
	CURLMsg *m;
	CURLMcode rc;

	if (d->state == DIAL_DOWN)
		return;
	rc = curl_multi_perform(d->multi, &running);
	if (rc != CURLM_OK) {
		snprintf(d->text, sizeof(d->text), "libcurl: %s", curl_multi_strerror(rc));
		go_down(d, -EIO);
		return;
	}
	while ((m = curl_multi_info_read(d->multi, &left)))
		if (m->msg == CURLMSG_DONE)
			finished(d, m->data.result);
	/* a refusal is one line; libcurl might go on waiting for our body */
	if (d->state == DIAL_SETUP && d->refusal.len_bytes && d->refusal.data[d->refusal.len_bytes - 1] == '\n')
		finished(d, CURLE_OK);
	if (d->state == DIAL_SETUP && clock_mono_ms() >= d->setup_until_ms)
		go_down(d, explain(CURLE_OPERATION_TIMEDOUT, d->address, "", true, d->text, sizeof(d->text)));
}

void dial_kick(struct dial *d)
{
	if (d->state != DIAL_UP || !d->paused)
		return;
	d->paused = false;
	curl_easy_pause(d->easy, CURLPAUSE_CONT);
}

enum dial_state dial_state(const struct dial *d) { return d->state; }

int dial_reason(const struct dial *d, long *status, const char **text)
{
	*status = d->status == 200 ? 0 : d->status;
	*text = d->text;
	return d->code;
}

/* ---- one request
 * --------------------------------------------------------------------------------------------------------- */

static int request_result(CURLcode rc, long status, const char *at, const char *detail, struct buf *body, char **reply,
                          struct err *err)
{
	char text[ERR_TEXT_MAX_BYTES], line[256];
	int code;

	if (rc == CURLE_SSL_PINNEDPUBKEYNOTMATCH)
		return err_set(err, -EACCES, "who answers at %s is not the node that made the token; check the address",
			       at);
	if (rc != CURLE_OK) {
		code = explain(rc, at, detail, false, text, sizeof(text));
		return err_set(err, code, "%s", text);
	}
	if (status == 200) {
		*reply = xstrndup((const char *)body->data, body->len_bytes);
		return 0;
	}
	first_line(body, line);
	return err_set(err, status == 403 ? -EACCES : -EPROTO, "%s refused: %s", at, *line ? line : "no reason given");
}

/* libcurl writes to sockets that may be closed; the signal for that must not end the program. */
static CURLcode perform_without_sigpipe(CURL *e)
{
	sigset_t pipe_set, before, pending;
	CURLcode rc;

	sigemptyset(&pipe_set);
	sigaddset(&pipe_set, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &pipe_set, &before);
	rc = curl_easy_perform(e);
	sigpending(&pending);
	if (sigismember(&pending, SIGPIPE) && !sigismember(&before, SIGPIPE))
		sigtimedwait(&pipe_set, NULL, &(struct timespec){ 0 });
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc;
}

int dial_request(const struct identity *id, const struct address *to, const char *pin_hex, const char *body,
		 char **reply, struct err *err)
{
	char at[ADDRESS_MAX_BYTES + 1], detail[CURL_ERROR_SIZE] = "";
	struct curl_slist *headers = NULL;
	struct buf answer;
	long status = 0;
	CURL *e;
	int rc;

	curl_started();
	e = curl_easy_init();
	if (!e)
		return err_set(err, -ENOMEM, "libcurl does not start: out of memory");
	buf_init(&answer, WIRE_BODY_MAX_BYTES);
	address_format(to, at);
	rc = set_common(e, id, to, pin_hex, "/v1/pair", err);
	if (!rc) {
		headers = curl_slist_append(NULL, "Expect:");
		headers = curl_slist_append(headers, "Content-Type: application/json");
		curl_easy_setopt(e, CURLOPT_HTTPHEADER, headers);
		curl_easy_setopt(e, CURLOPT_POSTFIELDS, body);
		curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, REQUEST_TIMEOUT_MS);
		curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, collect);
		curl_easy_setopt(e, CURLOPT_WRITEDATA, &answer);
		curl_easy_setopt(e, CURLOPT_ERRORBUFFER, detail);
		CURLcode done = perform_without_sigpipe(e);

		curl_easy_getinfo(e, CURLINFO_RESPONSE_CODE, &status);
		rc = request_result(done, status, at, detail, &answer, reply, err);
	}
	curl_slist_free_all(headers);
	curl_easy_cleanup(e);
	buf_release(&answer);
	return rc;
}
