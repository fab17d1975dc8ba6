/* SPDX-License-Identifier: MIT */
#include "sync/channel.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "sync/dial.h"
#include "sync/listen.h"
#include "sync/record.h"
#include "util/log.h"
#include "util/util.h"

#define RETRY_FIRST_MS 200u
#define RETRY_MAX_MS 5000u
#define RETRY_PERSON_MS 30000u
/* Room is made without telling us, and a try costs what the peer has sent until we refuse: a credit at worst. */
#define RETRY_ROOM_MS 10000u
/* A peer that is paused is there: ask often enough that its resume is felt at once. */
#define RETRY_PAUSED_MS 1000u
/* A connection that lived this long was a good one: start with the short delay again. */
#define GOOD_LIFE_MS 1000u
/* Our dial wins over the peer's for this long; then it may be that ours cannot get through at all. */
#define DIAL_PRECEDENCE_MS 1000u
/* Refused pairings that are answered at full speed; each is forgotten after PAIR_FORGET_MS. */
#define PAIR_REFUSED_MAX 10u
#define PAIR_FORGET_MS 2000u
/* Several pulls of the link; the link keeps it near 1 MiB. */
#define OUT_MAX_BYTES (16u << 20)

struct channel {
	struct channel_options opt;
	struct address dial_to;

	pthread_mutex_t lock;
	/* under lock: orders to the I/O thread */
	bool stop, shut, dial_now;
	char refusal[300];
	char pin_hex[FINGERPRINT_HEX_BYTES + 1]; /* "": unpaired */
	uint64_t drop_id;        /* this connection is to end … */
	uint64_t drop_at_ms;     /* … now or then, for this reason */
	int drop_code;
	char drop_text[ERR_TEXT_MAX_BYTES];
	/* under lock: the connection */
	struct channel_state st;
	struct buf in, out;
	size_t out_at;           /* bytes of `out` already taken */
	uint64_t last_sent_ms, last_heard_ms;

	/* the I/O thread's own */
	pthread_t thread;
	int wake_fd;
	struct listen *listen;
	struct dial *dial;       /* an attempt, or the connection if conn is NULL and st.up */
	struct conn *conn;       /* the connection, if it was accepted */
	uint64_t dial_began_ms, up_since_ms, retry_at_ms;
	unsigned retry_ms;
	unsigned pair_refused;
	uint64_t pair_forget_at_ms;
};

static void wake(struct channel *c)
{
	uint64_t one = 1;
	ssize_t n = write(c->wake_fd, &one, sizeof(one));

	(void)n; /* a full counter wakes as well */
}

static void event(struct channel *c)
{
	c->opt.event(c->opt.event_ctx);
}

/* ---- queues
 * --------------------------------------------------------------------------------------------------------------- */

/* Under lock. */
static void order_drop(struct channel *c, uint64_t id, int code, const char *text, unsigned wait_ms)
{
	uint64_t at_ms = clock_mono_ms() + wait_ms;

	if (!c->st.up || c->st.id != id)
		return;
	if (c->drop_id == id) {
		c->drop_at_ms = MIN(c->drop_at_ms, at_ms);
		return;
	}
	c->drop_id = id;
	c->drop_at_ms = at_ms;
	c->drop_code = code;
	snprintf(c->drop_text, sizeof(c->drop_text), "%s", text);
}

/* Under lock. */
static void append_out(struct channel *c, const uint8_t *data, size_t len_bytes)
{
	if (c->out_at > CHANNEL_LOW_BYTES) {
		buf_consume(&c->out, c->out_at);
		c->out_at = 0;
	}
	if (buf_append(&c->out, data, len_bytes)) {
		order_drop(c, c->st.id, c->out.failed, "out of memory for what is to be sent", 0);
		return;
	}
	c->st.queued_bytes += len_bytes;
}

static size_t on_take(void *ctx, uint8_t *out, size_t cap_bytes)
{
	struct channel *c = ctx;
	size_t before, n;

	pthread_mutex_lock(&c->lock);
	before = c->out.len_bytes - c->out_at;
	n = MIN(before, cap_bytes);
	if (n > 0) {
		memcpy(out, c->out.data + c->out_at, n);
		c->out_at += n;
		c->last_sent_ms = clock_mono_ms();
		c->st.bytes_out += n;
	}
	if (c->out_at == c->out.len_bytes) {
		buf_reset(&c->out);
		c->out_at = 0;
	}
	pthread_mutex_unlock(&c->lock);
	if (n > 0 && (n == before || (before >= CHANNEL_LOW_BYTES && before - n < CHANNEL_LOW_BYTES)))
		event(c);
	return n;
}

static void on_give(void *ctx, const uint8_t *data, size_t len_bytes)
{
	struct channel *c = ctx;
	bool was_empty;

	pthread_mutex_lock(&c->lock);
	was_empty = c->in.len_bytes == 0;
	if (buf_append(&c->in, data, len_bytes))
		order_drop(c, c->st.id, -EPROTO, "the peer sent more than it may", 0);
	c->last_heard_ms = clock_mono_ms();
	c->st.last_seen_ms = clock_real_ms();
	c->st.bytes_in += len_bytes;
	pthread_mutex_unlock(&c->lock);
	if (was_empty)
		event(c);
}

void channel_send(struct channel *c, uint64_t id, const uint8_t *data, size_t len_bytes)
{
	bool ok;

	pthread_mutex_lock(&c->lock);
	ok = c->st.up && c->st.id == id;
	if (ok)
		append_out(c, data, len_bytes);
	pthread_mutex_unlock(&c->lock);
	if (ok)
		wake(c);
}

void channel_receive(struct channel *c, uint64_t id, struct buf *into)
{
	pthread_mutex_lock(&c->lock);
	if (c->st.up && c->st.id == id && c->in.len_bytes > 0) {
		buf_append(into, c->in.data, c->in.len_bytes);
		if (c->in.cap_bytes > CREDIT_BYTES / 8) {
			buf_release(&c->in); /* an idle link holds no megabytes */
			buf_init(&c->in, CHANNEL_IN_MAX_BYTES);
		}
		buf_reset(&c->in);
	}
	pthread_mutex_unlock(&c->lock);
}

/* ---- the connection (I/O thread)
 * ------------------------------------------------------------------------------------------- */

static void went_up(struct channel *c, const char *address)
{
	pthread_mutex_lock(&c->lock);
	c->st.id++;
	c->st.up = true;
	c->st.queued_bytes = 0;
	snprintf(c->st.address, sizeof(c->st.address), "%s", address);
	buf_reset(&c->in);
	buf_reset(&c->out);
	c->out_at = 0;
	c->up_since_ms = c->last_sent_ms = c->last_heard_ms = clock_mono_ms();
	c->st.last_seen_ms = clock_real_ms();
	pthread_mutex_unlock(&c->lock);
	log_debug("link", "connection %llu with %s is up", (unsigned long long)c->st.id, address);
	event(c);
}

/* From +0 to +25 %, so that two sides that failed together do not go on doing so. */
static unsigned jitter(unsigned ms)
{
	return ms + (unsigned)(random_u64() % (ms / 4 + 1));
}

static void schedule_retry(struct channel *c, int code, long status)
{
	bool person = code == -EACCES || code == -EPERM || code == -ESTALE;
	unsigned wait_ms = person ? RETRY_PERSON_MS : code == -ENOSPC ? RETRY_ROOM_MS : c->retry_ms;
	uint64_t now_ms = clock_mono_ms();

	if (c->up_since_ms && now_ms - c->up_since_ms >= GOOD_LIFE_MS)
		c->retry_ms = RETRY_FIRST_MS;
	c->up_since_ms = 0;
	c->retry_at_ms = now_ms + jitter(wait_ms);
	c->retry_ms = MIN(2 * c->retry_ms, status == 503 ? RETRY_PAUSED_MS : RETRY_MAX_MS);
}

/* The connection or the attempt is over: nothing of it is left when this returns. */
static void went_down(struct channel *c, int code, long status, const char *text)
{
	char copy[ERR_TEXT_MAX_BYTES];

	snprintf(copy, sizeof(copy), "%s", text); /* text may belong to what is freed now */
	if (c->conn)
		listen_drop(c->conn);
	c->conn = NULL;
	dial_free(c->dial);
	c->dial = NULL;
	pthread_mutex_lock(&c->lock);
	if (c->st.up && c->drop_id == c->st.id) {
		code = c->drop_code;
		text_copy(copy, sizeof(copy), c->drop_text);
	}
	c->drop_id = 0;
	c->st.up = false;
	c->st.failures++;
	c->st.code = code;
	c->st.status = status;
	text_copy(c->st.text, sizeof(c->st.text), copy);
	pthread_mutex_unlock(&c->lock);
	schedule_retry(c, code, status);
	log_debug("link", "no connection: %s", copy);
	event(c);
}

/* The peer wants to connect while we dial it: whose connection stays? */
static bool our_dial_wins(const struct channel *c)
{
	if (!c->dial || strcmp(identity_fingerprint_hex(c->opt.identity), c->pin_hex) > 0)
		return false;
	return dial_state(c->dial) == DIAL_UP || clock_mono_ms() - c->dial_began_ms < DIAL_PRECEDENCE_MS;
}

static int on_stream(void *ctx, struct conn *conn, const char *fingerprint_hex, const char *address, struct err *err)
{
	struct channel *c = ctx;
	int status = 200;

	/* Read by who knocks. */
	pthread_mutex_lock(&c->lock);
	if (!c->pin_hex[0]) {
		err_set(err, -EACCES,
			"the node there is not paired, or has forgotten its peer: twinfs forget-peer here, too; join "
			"with a new token and a new directory");
		status = 403;
	} else if (strcmp(c->pin_hex, fingerprint_hex)) {
		err_set(err, -EACCES,
			"the node there is paired, but not with the one that knocks; join it again with a new token");
		status = 403;
	} else if (c->shut) {
		err_set(err, -EAGAIN, "%s", c->refusal);
		status = 503;
	} else if (our_dial_wins(c)) {
		err_set(err, -EBUSY, "the nodes are connected the other way round already");
		status = 409;
	}
	pthread_mutex_unlock(&c->lock);
	if (status != 200)
		return status;
	if (c->conn || (c->dial && dial_state(c->dial) == DIAL_UP)) {
		went_down(c, -ECONNRESET, 0, "the peer connected anew");
	} else {
		dial_free(c->dial);
		c->dial = NULL;
	}
	c->conn = conn;
	went_up(c, address);
	return 200;
}

static void on_closed(void *ctx, struct conn *conn, int code, const char *why)
{
	struct channel *c = ctx;
	char text[512];

	if (c->conn != conn)
		return;
	c->conn = NULL;
	snprintf(text, sizeof(text), "the connection from %s was lost (%s)", c->st.address, why);
	went_down(c, code, 0, text);
}

static int on_pair(void *ctx, const char *body, const char *fingerprint_hex, const char *address, char **reply,
                   struct err *err)
{
	struct channel *c = ctx;
	uint64_t now_ms = clock_mono_ms();
	int rc;

	while (c->pair_refused > 0 && now_ms >= c->pair_forget_at_ms) {
		c->pair_refused--;
		c->pair_forget_at_ms += PAIR_FORGET_MS;
	}
	if (!c->opt.pair)
		return err_set(err, -EPERM, "this node does not take part in pairing");
	if (c->pair_refused >= PAIR_REFUSED_MAX)
		return err_set(err, -EAGAIN, "too many refused attempts; wait some seconds");
	rc = c->opt.pair(c->opt.pair_ctx, body, fingerprint_hex, reply, err);
	assert(rc <= 0);
	if (rc) {
		log_warn("a pairing request was refused: %s", err_text(err));
		if (c->pair_refused++ == 0)
			c->pair_forget_at_ms = now_ms + PAIR_FORGET_MS;
		return rc;
	}
	/* Until it connects that is all we know of where it is. */
	pthread_mutex_lock(&c->lock);
	if (!c->st.up)
		snprintf(c->st.address, sizeof(c->st.address), "%s", address);
	c->st.last_seen_ms = clock_real_ms();
	pthread_mutex_unlock(&c->lock);
	return 0;
}

/* ---- the I/O thread
 * --------------------------------------------------------------------------------------------------------- */

static void on_dialled(void *ctx)
{
	struct channel *c = ctx;
	char address[ADDRESS_MAX_BYTES + 1];

	address_format(&c->dial_to, address);
	went_up(c, address);
}

static const struct wire_ops dial_ops = { .up = on_dialled, .take = on_take, .give = on_give };

static void maybe_dial(struct channel *c, uint64_t now_ms)
{
	char pin[FINGERPRINT_HEX_BYTES + 1];
	struct err err = ERR_INIT;
	bool may;

	pthread_mutex_lock(&c->lock);
	if (c->dial_now) {
		c->dial_now = false;
		c->retry_at_ms = 0;
		c->retry_ms = RETRY_FIRST_MS;
	}
	may = c->opt.dial && c->pin_hex[0] && !c->shut && !c->st.up && !c->dial && now_ms >= c->retry_at_ms;
	text_copy(pin, sizeof(pin), c->pin_hex);
	pthread_mutex_unlock(&c->lock);
	if (!may)
		return;
	c->dial_began_ms = now_ms;
	if (dial_open(c->opt.identity, &c->dial_to, pin, &dial_ops, c, &c->dial, &err))
		went_down(c, err.code, 0, err.text);
	else
		dial_step(c->dial);
}

static void step_dial(struct channel *c)
{
	const char *text;
	long status;
	int code;

	dial_step(c->dial);
	if (dial_state(c->dial) == DIAL_DOWN) {
		code = dial_reason(c->dial, &status, &text);
		went_down(c, code, status, text);
	}
}

/* What the other threads have ordered. False: the end. */
static bool obey(struct channel *c)
{
	bool stop, drop, abandon;

	pthread_mutex_lock(&c->lock);
	stop = c->stop;
	drop = c->st.up && c->drop_id == c->st.id && clock_mono_ms() >= c->drop_at_ms;
	abandon = !c->st.up && c->dial && (c->shut || !c->pin_hex[0]);
	pthread_mutex_unlock(&c->lock);
	if (drop)
		went_down(c, -ECONNABORTED, 0, ""); /* code and text are the order's */
	if (abandon) {
		dial_free(c->dial);
		c->dial = NULL;
	}
	return !stop;
}

/* Heartbeats out, silence noticed. Called after the sockets were read: so a pause of this thread is not taken for the
 * peer's. */
static void keep_alive(struct channel *c, uint64_t now_ms)
{
	bool dead, kick;
	char text[128];

	pthread_mutex_lock(&c->lock);
	dead = c->st.up && now_ms - c->last_heard_ms >= SILENCE_MS;
	if (c->st.up && !dead && c->out.len_bytes == 0 && now_ms - c->last_sent_ms >= HEARTBEAT_MS) {
		struct buf b;

		buf_init(&b, 64);
		frame_encode(&b, &(struct frame){ .type = FRAME_HEARTBEAT });
		append_out(c, b.data, b.len_bytes);
		buf_release(&b);
		c->last_sent_ms = now_ms;
	}
	kick = c->st.up && !dead && c->out.len_bytes > 0;
	pthread_mutex_unlock(&c->lock);
	if (dead) {
		snprintf(text, sizeof(text), "nothing was heard from the peer for %u s", SILENCE_MS / 1000);
		went_down(c, -ETIMEDOUT, 0, text);
	}
	if (kick && c->conn)
		listen_kick(c->conn);
	else if (kick && c->dial)
		dial_kick(c->dial);
}

static int wait_ms(struct channel *c, uint64_t now_ms)
{
	uint64_t at = now_ms + 10 * HEARTBEAT_MS;

	if (c->listen)
		at = MIN(at, listen_deadline(c->listen));
	pthread_mutex_lock(&c->lock);
	if (c->st.up)
		at = MIN(at, MIN(c->last_sent_ms + HEARTBEAT_MS, c->last_heard_ms + SILENCE_MS));
	if (c->st.up && c->drop_id == c->st.id)
		at = MIN(at, c->drop_at_ms);
	if (!c->st.up && c->dial)
		at = MIN(at, now_ms + 100); /* its own deadline is looked at in dial_step */
	else if (!c->st.up && c->opt.dial && c->pin_hex[0] && !c->shut)
		at = MIN(at, c->retry_at_ms);
	pthread_mutex_unlock(&c->lock);
	return at > now_ms ? (int)(at - now_ms) : 0;
}

static void wait_and_step(struct channel *c)
{
	struct pollfd fds[LISTEN_FDS_MAX + 1];
	size_t n = c->listen ? listen_poll(c->listen, fds) : 0;
	int timeout_ms = wait_ms(c, clock_mono_ms());
	uint64_t count;

	fds[n] = (struct pollfd){ .fd = c->wake_fd, .events = POLLIN };
	if (c->dial)
		dial_wait(c->dial, fds, n + 1, timeout_ms);
	else
		poll(fds, n + 1, timeout_ms);
	if (fds[n].revents && read(c->wake_fd, &count, sizeof(count)) < 0)
		log_debug("link", "spurious wake-up");
	if (c->dial)
		step_dial(c);
	if (c->listen)
		listen_step(c->listen, fds, n);
}

static void *io_main(void *arg)
{
	struct channel *c = arg;

	log_thread_name("link-io");
	while (obey(c)) {
		maybe_dial(c, clock_mono_ms());
		wait_and_step(c);
		keep_alive(c, clock_mono_ms());
	}
	dial_free(c->dial);
	c->dial = NULL;
	listen_close(c->listen);
	c->listen = NULL;
	return NULL;
}

/* ---- from other threads
 * ------------------------------------------------------------------------------------------------------ */

static int start_thread(struct channel *c, struct err *err)
{
	sigset_t all, before;
	int rc;

	/* signals are the main thread's; and SIGPIPE from a closed socket must end nothing */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&c->thread, NULL, io_main, c);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc ? err_set(err, -rc, "cannot start a thread: %s", strerror(rc)) : 0;
}

int channel_open(const struct channel_options *opt, struct channel **out, struct err *err)
{
	static const struct listen_ops ops = {
		.wire = { .take = on_take, .give = on_give }, .stream = on_stream, .pair = on_pair, .closed = on_closed
	};
	struct channel *c = xcalloc(1, sizeof(*c));
	struct address at;
	int rc = 0;

	c->opt = *opt;
	c->shut = opt->closed;
	text_copy(c->refusal, sizeof(c->refusal), "no reason given");
	c->retry_ms = RETRY_FIRST_MS;
	snprintf(c->pin_hex, sizeof(c->pin_hex), "%s", opt->pin_hex ? opt->pin_hex : "");
	pthread_mutex_init(&c->lock, NULL);
	buf_init(&c->in, CHANNEL_IN_MAX_BYTES);
	buf_init(&c->out, OUT_MAX_BYTES);
	c->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (c->wake_fd < 0)
		rc = err_set(err, -errno, "eventfd: %m");
	if (!rc && opt->dial)
		rc = address_parse(opt->dial, &c->dial_to, err);
	if (!rc && opt->listen)
		rc = address_parse(opt->listen, &at, err);
	if (!rc && opt->listen)
		rc = listen_open(opt->identity, &at, &ops, c, &c->listen, err);
	if (!rc)
		rc = start_thread(c, err);
	if (rc) {
		listen_close(c->listen);
		if (c->wake_fd >= 0)
			close(c->wake_fd);
		pthread_mutex_destroy(&c->lock);
		free(c);
		return rc;
	}
	*out = c;
	return 0;
}

void channel_close(struct channel *c)
{
	pthread_mutex_lock(&c->lock);
	c->stop = true;
	pthread_mutex_unlock(&c->lock);
	wake(c);
	pthread_join(c->thread, NULL);
	close(c->wake_fd);
	buf_release(&c->in);
	buf_release(&c->out);
	pthread_mutex_destroy(&c->lock);
	free(c);
}

void channel_set_pin(struct channel *c, const char *pin_hex)
{
	pthread_mutex_lock(&c->lock);
	if (!pin_hex || strcmp(pin_hex, c->pin_hex))
		order_drop(c, c->st.id, -ECONNABORTED, "this node is not paired with that peer any more", 0);
	snprintf(c->pin_hex, sizeof(c->pin_hex), "%s", pin_hex ? pin_hex : "");
	c->dial_now = true;
	pthread_mutex_unlock(&c->lock);
	wake(c);
}

void channel_shut(struct channel *c, const char *reason)
{
	pthread_mutex_lock(&c->lock);
	c->shut = true;
	snprintf(c->refusal, sizeof(c->refusal), "%s", reason && *reason ? reason : "no reason given");
	pthread_mutex_unlock(&c->lock);
	wake(c);
}

void channel_reopen(struct channel *c)
{
	pthread_mutex_lock(&c->lock);
	c->shut = false;
	c->dial_now = true;
	pthread_mutex_unlock(&c->lock);
	wake(c);
}

void channel_state(struct channel *c, struct channel_state *out)
{
	pthread_mutex_lock(&c->lock);
	*out = c->st;
	out->unsent_bytes = c->out.len_bytes - c->out_at;
	pthread_mutex_unlock(&c->lock);
}

void channel_drop(struct channel *c, uint64_t id, int code, const char *text, unsigned wait_ms)
{
	pthread_mutex_lock(&c->lock);
	order_drop(c, id, code, text, wait_ms);
	pthread_mutex_unlock(&c->lock);
	wake(c);
}
