/* SPDX-License-Identifier: MIT */
/*
 * The link's thread: moves frames between the engine and the channel, commits while apart, and says what state all this is in.
 * The sockets are the channel's (one more thread, see there): however long the engine takes here, the peer hears our heartbeats.
 *
 * mode: what people want.
 *
 *   RUN ──pause──► DRAIN ──settled, or time is up──► LEAVE ──peer closed, or 1 s──► DOWN ──resume──► RUN
 *                    └────────────── no connection ─────────────────────────────────►┘
 *
 * Lock: link.lock, held for moments, never while calling the engine, the volume or the channel's callbacks; the channel's lock may be taken
 * under it. Fields without a word about it are the link thread's own.
 */
#include "sync/link.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sync/channel.h"
#include "sync/dial.h"
#include "sync/record.h"
#include "util/log.h"
#include "util/util.h"

#define COMMIT_INTERVAL_MS 1000u
/* What we keep ready for the channel; more would only age there. */
#define OUT_TARGET_BYTES (1u << 20)
#define PULL_BYTES (256u << 10)
/* Frames are handled in turns of this size, so that answers and credits are not kept waiting behind a full queue. */
#define FEED_TURN_BYTES (1u << 20)
/* Tell the peer what we have taken in each time it is this much. */
#define CREDIT_STEP_BYTES (CREDIT_BYTES / 8)
/* How long we wait for the peer to close after our goodbye. */
#define LEAVE_MS 1000u
/* Waiting for the first connection is called connecting so long, and disconnected after that. */
#define CONNECTING_MS 5000u

enum mode { MODE_RUN, MODE_DRAIN, MODE_LEAVE, MODE_DOWN };

struct link {
	struct volume *v;
	struct engine *engine;
	struct channel *channel;
	unsigned commit_interval_ms;
	bool dials;
	void (*changed_fn)(void *ctx);
	void *changed_ctx;
	pthread_t thread;

	pthread_mutex_t lock;
	pthread_cond_t wake;     /* for the link's thread; monotonic clock */
	pthread_cond_t changed;  /* for those who wait for it */
	/* under lock */
	bool event, dirty, stop, paired;
	bool restart;            /* resumed: forget old failures */
	enum mode mode;
	char pause_reason[256];
	uint64_t drain_until_ms;
	int drain_result;
	unsigned waiters;
	uint64_t asked, answered; /* link_wait_synced: questions, and up to which one `unsettled` answers */
	const char *unsettled;   /* what keeps it from being settled; "" when it is, NULL without a stream */
	struct link_status st;   /* engine and byte counts are filled in when asked for */

	/* the connection as this thread sees it */
	bool up;
	uint64_t id;
	uint64_t taken_bytes, told_bytes, confirmed_bytes;
	struct buf in, out;
	bool closing;            /* goodbye is said: nothing more goes to or comes from the engine */

	/* what happened so far */
	uint64_t failures;       /* of the channel, looked at */
	bool failed, peer_paused, needs_person;
	char last_error[512], peer_reason[300], peer_name[40];
	uint64_t connecting_since_ms;
	uint64_t commit_at_ms;   /* UINT64_MAX: nothing is dirty */
	bool commit_failed;
};

const char *link_state_word(enum link_state s)
{
	static const char *const words[] = { "unpaired", "connecting", "resyncing", "connected", "paused", "disconnected" };

	assert((size_t)s < ARRAY_LEN(words));
	return words[s];
}

/* ---- waking the thread ------------------------------------------------------------------------------------------------------ */

static void on_channel_event(void *ctx)
{
	struct link *l = ctx;

	pthread_mutex_lock(&l->lock);
	l->event = true;
	pthread_cond_signal(&l->wake);
	pthread_mutex_unlock(&l->lock);
}

static void on_dirty(void *ctx)
{
	struct link *l = ctx;

	pthread_mutex_lock(&l->lock);
	l->dirty = l->event = true;
	pthread_cond_signal(&l->wake);
	pthread_mutex_unlock(&l->lock);
}

/* ---- the connection --------------------------------------------------------------------------------------------------------- */

static void send_frame(struct link *l, const struct frame *f)
{
	struct buf b;

	buf_init(&b, FRAME_MAX_BYTES);
	if (!frame_encode(&b, f))
		channel_send(l->channel, l->id, b.data, b.len_bytes);
	buf_release(&b);
}

/* Say goodbye; the connection ends when the peer has closed it, or a little later. */
static void start_closing(struct link *l, bool planned, const char *reason, int code, const char *text)
{
	struct frame f = { .type = FRAME_BYE };

	if (l->closing)
		return;
	f.bye.planned = planned;
	snprintf(f.bye.reason, sizeof(f.bye.reason), "%s", reason);
	send_frame(l, &f);
	l->closing = true;
	channel_drop(l->channel, l->id, code, text, LEAVE_MS);
}

/* Engine or protocol failed: the peer is told why, and the connection ends. */
static void fault(struct link *l, const struct err *err)
{
	if (!l->closing)
		log_warn("link: %s", err_text(err));
	start_closing(l, false, err_text(err), err->code, err_text(err));
}

static void came_up(struct link *l, const struct channel_state *s)
{
	l->up = true;
	l->id = s->id;
	l->taken_bytes = l->told_bytes = l->confirmed_bytes = 0;
	l->closing = false;
	buf_reset(&l->in);
	engine_up(l->engine, clock_mono_ms());
}

static void went_down(struct link *l)
{
	l->up = l->closing = false;
	engine_down(l->engine);
	buf_release(&l->in);
	buf_release(&l->out);
	l->commit_at_ms = clock_mono_ms() + l->commit_interval_ms; /* a group may be open, of which only the engine knew */
}

static void note_failure(struct link *l, const struct channel_state *s)
{
	l->failures = s->failures;
	l->failed = true;
	if (s->status == 503) { /* the peer is there, but paused */
		l->peer_paused = true;
		snprintf(l->peer_reason, sizeof(l->peer_reason), "%.*s", (int)sizeof(l->peer_reason) - 1, s->text);
		return;
	}
	l->needs_person = s->code == -EACCES || s->code == -EPERM || s->code == -ESTALE;
	if (l->needs_person)
		l->peer_paused = false;
	snprintf(l->last_error, sizeof(l->last_error), "%.*s", (int)sizeof(l->last_error) - 1, s->text);
}

/* Bring what this thread knows of the connection up to date. */
static void follow(struct link *l, const struct channel_state *s)
{
	if (l->up && (!s->up || s->id != l->id))
		went_down(l);
	if (s->failures != l->failures)
		note_failure(l, s);
	if (s->up && !l->up)
		came_up(l, s);
}

/* ---- frames in -------------------------------------------------------------------------------------------------------------- */

static int on_credit(struct link *l, const struct frame *f, struct err *err)
{
	struct channel_state s;

	channel_state(l->channel, &s);
	if (f->credit.received_bytes < l->confirmed_bytes || (s.id == l->id && f->credit.received_bytes > s.queued_bytes))
		return err_set(err, -EBADMSG, "the peer confirms bytes that it was never sent");
	l->confirmed_bytes = f->credit.received_bytes;
	return 0;
}

static void on_bye(struct link *l, const struct frame *f)
{
	char text[400];

	l->peer_paused = f->bye.planned;
	snprintf(l->peer_reason, sizeof(l->peer_reason), "%s", f->bye.reason);
	snprintf(text, sizeof(text), f->bye.planned ? "the peer paused the link: %s" : "the peer gave up the connection: %s",
		 f->bye.reason);
	l->closing = true; /* what else comes or would go is of no interest now */
	channel_drop(l->channel, l->id, -ECONNRESET, text, 0);
}

static int handle(struct link *l, enum frame_type type, const uint8_t *data, size_t len, struct err *err)
{
	struct frame f;
	int rc;

	if (type == FRAME_HEARTBEAT || type == FRAME_CREDIT || type == FRAME_BYE) {
		if (frame_decode(data, len, &f, NULL, err) < 0)
			return err->code;
		if (type == FRAME_HEARTBEAT)
			return 0;
		if (type == FRAME_CREDIT)
			return on_credit(l, &f, err);
	}
	rc = engine_receive(l->engine, data, len, clock_mono_ms(), err);
	if (!rc && type == FRAME_BYE)
		on_bye(l, &f);
	return rc;
}

static void tell_credit(struct link *l)
{
	struct frame f = { .type = FRAME_CREDIT };

	if (l->taken_bytes - l->told_bytes < CREDIT_STEP_BYTES)
		return;
	f.credit.received_bytes = l->told_bytes = l->taken_bytes;
	send_frame(l, &f);
}

/* One turn of what the peer sent. True: there is more. */
static bool feed(struct link *l, bool *fed)
{
	struct err err = ERR_INIT;
	size_t at = 0;
	bool more = false;

	channel_receive(l->channel, l->id, &l->in);
	if (l->in.failed)
		err_set(&err, -ENOMEM, "out of memory for what the peer sent");
	while (!l->closing && !err.code) {
		enum frame_type type;
		ssize_t n = frame_peek(l->in.data + at, l->in.len_bytes - at, &type, &err);

		if (n <= 0)
			break;
		if (at >= FEED_TURN_BYTES) {
			more = true;
			break;
		}
		handle(l, type, l->in.data + at, (size_t)n, &err);
		at += (size_t)n;
		*fed = true;
	}
	if (err.code)
		fault(l, &err);
	l->taken_bytes += at;
	buf_consume(&l->in, l->closing ? l->in.len_bytes : at);
	if (l->in.len_bytes == 0 && l->in.cap_bytes > FEED_TURN_BYTES)
		buf_release(&l->in); /* an idle link holds no megabytes */
	if (!l->closing)
		tell_credit(l);
	return more;
}

/* ---- frames out ------------------------------------------------------------------------------------------------------------- */

/* How much may be pulled from the engine now. */
static size_t room(struct link *l)
{
	struct channel_state s;
	uint64_t unconfirmed;

	channel_state(l->channel, &s);
	unconfirmed = s.queued_bytes - l->confirmed_bytes;
	if (!s.up || s.id != l->id || unconfirmed >= CREDIT_BYTES || s.unsent_bytes >= OUT_TARGET_BYTES)
		return 0;
	return MIN(MIN(CREDIT_BYTES - unconfirmed, OUT_TARGET_BYTES - s.unsent_bytes), PULL_BYTES);
}

static void pull(struct link *l)
{
	struct err err = ERR_INIT;
	size_t want;

	while (!l->closing && (want = room(l)) > 0) {
		ssize_t n = engine_pull(l->engine, &l->out, want, &err);

		if (n > 0)
			channel_send(l->channel, l->id, l->out.data, l->out.len_bytes);
		buf_reset(&l->out);
		if (n < 0)
			fault(l, &err);
		if (n <= 0)
			return;
	}
}

/* ---- one turn --------------------------------------------------------------------------------------------------------------- */

/* What a turn of the thread starts with: everything others have said since the last one. */
struct orders {
	bool dirty, hurry, judge;
	uint64_t asked;
	enum mode mode;
	uint64_t drain_until_ms;
};

static void commit_if_due(struct link *l, uint64_t now_ms)
{
	int rc;

	if (now_ms < l->commit_at_ms)
		return;
	l->commit_at_ms = UINT64_MAX;
	rc = volume_commit(l->v);
	if (rc && !l->commit_failed)
		log_error("cannot commit: %s", strerror(-rc));
	l->commit_failed = rc != 0;
}

/* Connected: frames in, frames out. True: come back at once. */
static bool exchange(struct link *l, const struct orders *o)
{
	struct err err = ERR_INIT;
	bool fed = false, more = feed(l, &fed);
	uint64_t now_ms = clock_mono_ms();

	if (!l->closing && o->hurry)
		engine_hurry(l->engine);
	if (!l->closing && (fed || o->dirty || o->hurry || now_ms >= engine_deadline(l->engine, now_ms)))
		if (engine_tick(l->engine, now_ms, &err))
			fault(l, &err);
	pull(l);
	return more;
}

/* Under lock. */
static bool is_settled(const struct link *l)
{
	return l->unsettled && !*l->unsettled;
}

/* Under lock. The next step of a pause. */
static void step_mode(struct link *l, const struct orders *o, bool settled, uint64_t now_ms)
{
	if (l->mode != o->mode || l->mode == MODE_RUN || l->mode == MODE_DOWN)
		return;
	if (!l->up) {
		if (l->mode == MODE_DRAIN)
			l->drain_result = -ENOTCONN;
		l->mode = MODE_DOWN;
		pthread_cond_broadcast(&l->changed);
		return;
	}
	if (l->mode == MODE_DRAIN && (settled || now_ms >= l->drain_until_ms)) {
		l->drain_result = settled ? 0 : -ETIMEDOUT;
		l->mode = MODE_LEAVE;
		start_closing(l, true, l->pause_reason, -ECONNABORTED, "paused here");
	}
}

/* ---- the state that people see ------------------------------------------------------------------------------------------------ */

static enum link_state state_of(const struct link *l, const struct engine_status *es, uint64_t now_ms)
{
	if (!l->paired)
		return LINK_UNPAIRED;
	if (l->mode != MODE_RUN)
		return LINK_PAUSED;
	if (l->up && !l->closing && es->phase == ENGINE_STREAM)
		return es->resyncing ? LINK_RESYNCING : LINK_CONNECTED;
	if (l->peer_paused)
		return LINK_PAUSED;
	if (l->failed || now_ms - l->connecting_since_ms >= CONNECTING_MS)
		return LINK_DISCONNECTED;
	return LINK_CONNECTING;
}

static void say_why(const struct link *l, struct link_status *st)
{
	const char *peer = l->peer_name[0] ? l->peer_name : "the peer";

	st->why[0] = st->action[0] = '\0';
	switch (st->state) {
	case LINK_PAUSED:
		if (l->mode != MODE_RUN) {
			snprintf(st->why, sizeof(st->why), "paused here%s%s", l->pause_reason[0] ? ": " : "", l->pause_reason);
			snprintf(st->action, sizeof(st->action), "twinfs resume, when the reason is gone");
		} else {
			snprintf(st->why, sizeof(st->why), "paused by %s%s%s", peer, l->peer_reason[0] ? ": " : "", l->peer_reason);
		}
		break;
	case LINK_DISCONNECTED:
		if (l->up && !l->closing)
			snprintf(st->why, sizeof(st->why), "%s is reached; waiting for its hello", peer);
		else if (l->last_error[0])
			snprintf(st->why, sizeof(st->why), "%s", l->last_error);
		else
			snprintf(st->why, sizeof(st->why), l->dials ? "%s does not answer" : "%s has not connected yet", peer);
		if (l->needs_person)
			snprintf(st->action, sizeof(st->action), "settle what is said above; until then it is tried again every 30 s");
		break;
	case LINK_CONNECTING:
		if (!l->dials)
			snprintf(st->why, sizeof(st->why), "waiting for %s to connect", peer);
		break;
	case LINK_UNPAIRED:
		snprintf(st->action, sizeof(st->action), "twinfs invite here, and twinfs join on the other machine");
		break;
	default:
		break;
	}
}

/* Under lock. True: tell whoever listens. */
static bool derive(struct link *l, const struct engine_status *es, uint64_t now_ms)
{
	struct link_status *st = &l->st;
	enum link_state before = st->state;
	bool changed;

	st->state = state_of(l, es, now_ms);
	st->needs_person = st->state == LINK_DISCONNECTED && l->needs_person;
	snprintf(st->last_error, sizeof(st->last_error), "%s", l->last_error);
	changed = st->state != before;
	if (changed)
		st->since_ms = clock_real_ms();
	say_why(l, st);
	return changed;
}

static void note_stream(struct link *l, const struct engine_status *es)
{
	if (!l->up || l->closing || es->phase != ENGINE_STREAM)
		return;
	l->failed = l->peer_paused = l->needs_person = false;
	snprintf(l->peer_name, sizeof(l->peer_name), "%s", es->peer_node);
}

static void announce(const struct link *l, const struct link_status *st)
{
	log_info("link: %s%s%s", link_state_word(st->state), st->why[0] ? ": " : "", st->why);
	if (l->changed_fn)
		l->changed_fn(l->changed_ctx);
}

/* ---- the thread --------------------------------------------------------------------------------------------------------------- */

/* Under lock. */
static struct orders take_orders(struct link *l)
{
	struct orders o = { .dirty = l->dirty, .asked = l->asked, .mode = l->mode,
		.drain_until_ms = l->drain_until_ms };
	bool draining = l->mode == MODE_DRAIN;

	o.judge = l->waiters > 0 || draining;
	o.hurry = o.judge && (l->dirty || l->answered != l->asked);
	if (l->restart) {
		l->restart = false;
		l->failed = l->peer_paused = l->needs_person = false;
		l->connecting_since_ms = clock_mono_ms();
	}
	l->event = l->dirty = false;
	return o;
}

/* Under lock: sleep until something happens or is due. */
static void rest(struct link *l, uint64_t until_ms)
{
	struct timespec ts = { .tv_sec = (time_t)(until_ms / 1000), .tv_nsec = (long)(until_ms % 1000) * 1000000 };

	while (!l->event && !l->stop) {
		if (until_ms == UINT64_MAX)
			pthread_cond_wait(&l->wake, &l->lock);
		else if (pthread_cond_timedwait(&l->wake, &l->lock, &ts) == ETIMEDOUT)
			return;
	}
}

static uint64_t next_due(struct link *l, const struct orders *o, const struct engine_status *es, uint64_t now_ms)
{
	uint64_t at = l->commit_at_ms;

	if (l->up && !l->closing)
		at = MIN(at, engine_deadline(l->engine, now_ms));
	if (o->mode == MODE_DRAIN)
		at = MIN(at, o->drain_until_ms);
	if (!(l->up && es->phase == ENGINE_STREAM) && now_ms < l->connecting_since_ms + CONNECTING_MS)
		at = MIN(at, l->connecting_since_ms + CONNECTING_MS);
	return at;
}

/* One turn without the lock. Returns true if there is more to do at once. */
static bool turn(struct link *l, const struct orders *o, struct engine_status *es, const char **unsettled)
{
	struct channel_state s;
	uint64_t now_ms = clock_mono_ms();
	bool more = false;

	channel_state(l->channel, &s);
	follow(l, &s);
	if (o->dirty)
		l->commit_at_ms = MIN(l->commit_at_ms, now_ms + l->commit_interval_ms);
	if (l->up)
		more = exchange(l, o);
	engine_status(l->engine, es);
	if (l->up && es->phase == ENGINE_STREAM)
		l->commit_at_ms = UINT64_MAX; /* the engine closes groups */
	else
		commit_if_due(l, now_ms);
	note_stream(l, es);
	*unsettled = NULL;
	if (o->judge && l->up && !l->closing && es->phase == ENGINE_STREAM)
		*unsettled = more ? "taking in what the peer has sent" : engine_unsettled(l->engine);
	return more;
}

static void *link_main(void *arg)
{
	struct link *l = arg;

	log_thread_name("link");
	pthread_mutex_lock(&l->lock);
	while (!l->stop) {
		struct orders o = take_orders(l);
		struct engine_status es;
		struct link_status shown;
		const char *unsettled;
		bool more, tell;
		uint64_t due_ms;

		pthread_mutex_unlock(&l->lock);
		more = turn(l, &o, &es, &unsettled);
		due_ms = next_due(l, &o, &es, clock_mono_ms());

		pthread_mutex_lock(&l->lock);
		l->unsettled = unsettled;
		l->answered = o.asked;
		if (o.judge)
			pthread_cond_broadcast(&l->changed);
		step_mode(l, &o, is_settled(l), clock_mono_ms());
		tell = derive(l, &es, clock_mono_ms());
		if (tell) {
			shown = l->st;
			pthread_cond_broadcast(&l->changed);
			pthread_mutex_unlock(&l->lock);
			announce(l, &shown);
			pthread_mutex_lock(&l->lock);
		} else if (!more && l->mode == o.mode) {
			rest(l, due_ms);
		}
	}
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

/* ---- from other threads --------------------------------------------------------------------------------------------------------- */

static void cond_init(pthread_cond_t *c)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(c, &attr);
	pthread_condattr_destroy(&attr);
}

static int start_thread(struct link *l, struct err *err)
{
	sigset_t all, before;
	int rc;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&l->thread, NULL, link_main, l);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return rc ? err_set(err, -rc, "cannot start a thread: %s", strerror(rc)) : 0;
}

static void link_free(struct link *l)
{
	engine_free(l->engine);
	buf_release(&l->in);
	buf_release(&l->out);
	pthread_cond_destroy(&l->wake);
	pthread_cond_destroy(&l->changed);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

int link_start(struct volume *v, const struct link_options *opt, struct link **out, struct err *err)
{
	struct link *l = xcalloc(1, sizeof(*l));
	struct channel_options co = { .identity = opt->identity, .listen = opt->listen, .dial = opt->dial, .pin_hex = opt->peer_pin_hex,
		.closed = opt->start_paused, .pair = opt->pair_fn, .pair_ctx = opt->pair_ctx, .event = on_channel_event, .event_ctx = l };
	int rc;

	l->v = v;
	l->commit_interval_ms = opt->commit_interval_ms ? opt->commit_interval_ms : COMMIT_INTERVAL_MS;
	l->dials = opt->dial != NULL;
	l->changed_fn = opt->changed;
	l->changed_ctx = opt->changed_ctx;
	l->paired = opt->peer_pin_hex != NULL;
	l->mode = opt->start_paused ? MODE_DOWN : MODE_RUN;
	snprintf(l->pause_reason, sizeof(l->pause_reason), "%s", opt->pause_reason ? opt->pause_reason : "");
	l->connecting_since_ms = clock_mono_ms();
	l->commit_at_ms = UINT64_MAX;
	l->st.since_ms = clock_real_ms();
	l->st.state = !l->paired ? LINK_UNPAIRED : opt->start_paused ? LINK_PAUSED : LINK_CONNECTING;
	say_why(l, &l->st);
	buf_init(&l->in, CHANNEL_IN_MAX_BYTES + FRAME_MAX_BYTES);
	buf_init(&l->out, PULL_BYTES + 4 * FRAME_MAX_BYTES);
	pthread_mutex_init(&l->lock, NULL);
	cond_init(&l->wake);
	cond_init(&l->changed);
	l->engine = engine_new(v);
	rc = channel_open(&co, &l->channel, err);
	if (rc) {
		link_free(l);
		return rc;
	}
	if (opt->start_paused)
		channel_shut(l->channel, l->pause_reason);
	volume_set_dirty(v, on_dirty, l);
	rc = start_thread(l, err);
	if (rc) {
		volume_set_dirty(v, NULL, NULL);
		channel_close(l->channel);
		link_free(l);
		return rc;
	}
	*out = l;
	return 0;
}

/* Under lock: have the thread take a turn. */
static void prod(struct link *l)
{
	l->event = true;
	pthread_cond_signal(&l->wake);
}

void link_set_peer(struct link *l, const char *peer_pin_hex)
{
	pthread_mutex_lock(&l->lock);
	l->paired = peer_pin_hex != NULL;
	l->restart = true;
	channel_set_pin(l->channel, peer_pin_hex);
	prod(l);
	pthread_mutex_unlock(&l->lock);
}

int link_pause(struct link *l, const char *reason, unsigned timeout_ms, struct err *err)
{
	int rc;

	pthread_mutex_lock(&l->lock);
	snprintf(l->pause_reason, sizeof(l->pause_reason), "%s", reason ? reason : "");
	channel_shut(l->channel, l->pause_reason);
	if (l->mode == MODE_DOWN) {
		prod(l);
		pthread_mutex_unlock(&l->lock);
		return 0;
	}
	if (l->mode == MODE_RUN) {
		l->mode = MODE_DRAIN;
		l->drain_until_ms = clock_mono_ms() + timeout_ms;
		l->asked++;
		prod(l);
	}
	pthread_cond_broadcast(&l->changed); /* for link_wait_synced */
	while (l->mode == MODE_DRAIN || l->mode == MODE_LEAVE)
		pthread_cond_wait(&l->changed, &l->lock);
	rc = l->drain_result;
	pthread_mutex_unlock(&l->lock);
	if (rc == -ETIMEDOUT)
		return err_set(err, rc, "paused, but not everything reached the peer in %u ms; the rest goes when the link is resumed", timeout_ms);
	if (rc)
		return err_set(err, rc, "paused; there was no connection, so what the peer lacks goes when the link is resumed");
	return 0;
}

int link_resume(struct link *l)
{
	pthread_mutex_lock(&l->lock);
	while (l->mode == MODE_DRAIN || l->mode == MODE_LEAVE)
		pthread_cond_wait(&l->changed, &l->lock);
	l->mode = MODE_RUN;
	l->restart = true;
	l->pause_reason[0] = '\0';
	channel_reopen(l->channel);
	prod(l);
	pthread_mutex_unlock(&l->lock);
	return 0;
}

/* Under lock. */
static int not_synced(struct link *l, struct err *err)
{
	struct link_status *st = &l->st;

	if (st->state == LINK_CONNECTED || st->state == LINK_RESYNCING)
		return err_set(err, -ETIMEDOUT, "not synced in time: %s, waiting for: %s", link_state_word(st->state),
			       l->unsettled && *l->unsettled ? l->unsettled : "changes on their way");
	return err_set(err, -ETIMEDOUT, "not synced in time: %s%s%s", link_state_word(st->state), st->why[0] ? ": " : "", st->why);
}

int link_wait_synced(struct link *l, unsigned timeout_ms, struct err *err)
{
	uint64_t until_ms = clock_mono_ms() + timeout_ms, asked;
	struct timespec ts = { .tv_sec = (time_t)(until_ms / 1000), .tv_nsec = (long)(until_ms % 1000) * 1000000 };
	int rc = 0, waited = 0;

	pthread_mutex_lock(&l->lock);
	asked = ++l->asked;
	l->waiters++;
	prod(l);
	for (;;) {
		bool answered = l->answered >= asked;

		if (l->mode != MODE_RUN || (answered && l->st.state == LINK_PAUSED)) {
			rc = err_set(err, -ECONNABORTED, "the link is paused: resume it first (%s)", l->st.why);
			break;
		}
		if (answered && l->st.state == LINK_UNPAIRED) {
			rc = err_set(err, -ECONNABORTED, "there is no peer yet: invite one first");
			break;
		}
		if (answered && is_settled(l))
			break;
		if (waited == ETIMEDOUT) {
			rc = not_synced(l, err);
			break;
		}
		if (timeout_ms == 0)
			pthread_cond_wait(&l->changed, &l->lock);
		else
			waited = pthread_cond_timedwait(&l->changed, &l->lock, &ts);
	}
	l->waiters--;
	pthread_mutex_unlock(&l->lock);
	return rc;
}

void link_stop(struct link *l, const char *reason, unsigned timeout_ms)
{
	struct err err = ERR_INIT;

	if (link_pause(l, reason, timeout_ms, &err))
		log_info("link: %s", err_text(&err));
	volume_set_dirty(l->v, NULL, NULL);
	pthread_mutex_lock(&l->lock);
	l->stop = true;
	pthread_cond_signal(&l->wake);
	pthread_mutex_unlock(&l->lock);
	pthread_join(l->thread, NULL);
	channel_close(l->channel);
	link_free(l);
}

void link_status(struct link *l, struct link_status *out)
{
	struct channel_state s;

	channel_state(l->channel, &s);
	pthread_mutex_lock(&l->lock);
	*out = l->st;
	pthread_mutex_unlock(&l->lock);
	snprintf(out->peer_address, sizeof(out->peer_address), "%.127s", s.address);
	out->peer_last_seen_ms = s.last_seen_ms;
	out->bytes_in = s.bytes_in;
	out->bytes_out = s.bytes_out;
	engine_status(l->engine, &out->engine);
}

int link_pair_request(const struct identity *id, const char *host_port, const char *peer_pin_hex, const char *body_json,
                      char **reply_json, struct err *err)
{
	struct address to;
	int rc = address_parse(host_port, &to, err);

	return rc ? rc : dial_request(id, &to, peer_pin_hex, body_json, reply_json, err);
}
