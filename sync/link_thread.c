/* SPDX-License-Identifier: MIT */
#include "sync/link_private.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "util/log.h"
#include "util/util.h"

/* Frames are handled in turns of this size, so that answers and credits are not kept waiting behind a full queue. */
#define FEED_TURN_BYTES (1u << 20)
/* Tell the peer what we have taken in each time it is this much. */
#define CREDIT_STEP_BYTES (CREDIT_BYTES / 8)
/* While there is no room for the peer's changes: look for room so often, */
#define ROOM_LOOK_MS 500u
/* try again so soon if there is something new of ours, as a deletion only makes room when the peer has it, */
#define ROOM_NEWS_MS 10000u
/* and now and then in any case, less and less often: the peer may have less to send by now. */
#define ROOM_TRY_MS 60000u
#define ROOM_TRY_MAX_MS (10u * 60000u)
/* How long we wait for the peer to close after our goodbye. */
#define LEAVE_MS 1000u

/* ---- waking the thread
 * ------------------------------------------------------------------------------------------------------ */

void link_on_event(void *ctx)
{
	struct link *l = ctx;

	pthread_mutex_lock(&l->lock);
	l->event = true;
	pthread_cond_signal(&l->wake);
	pthread_mutex_unlock(&l->lock);
}

void link_on_dirty(void *ctx)
{
	struct link *l = ctx;

	pthread_mutex_lock(&l->lock);
	l->dirty = l->event = true;
	pthread_cond_signal(&l->wake);
	pthread_mutex_unlock(&l->lock);
}

/* ---- the connection
 * --------------------------------------------------------------------------------------------------------- */

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

static void hold(struct link *l, int what, const struct err *err)
{
	l->hold = what;
	snprintf(l->hold_reason, sizeof(l->hold_reason), "%.*s", (int)sizeof(l->hold_reason) - 1, err_text(err));
}

/*
 * What the peer sends has no room here. All of ours is out by now (sync/engine.c); if there was anything, the next
 * connection brings the peer's word on it, which may set free what was held for it. Else only waiting helps.
 */
static bool waits_for_room(struct link *l)
{
	uint64_t now_ms = clock_mono_ms();
	struct volume_info info;
	struct volume_space space;

	volume_info(l->v, &info);
	if (l->room.group != info.committed) {
		l->room = (struct room_wait){ .group = info.committed };
		return false;
	}
	volume_space(l->v, &space);
	/* However it was refused: it takes more than what is free now. */
	l->room.need_bytes = MAX(engine_room_wanted(l->engine), space.free_bytes + (1u << 20));
	l->room.every_ms = MIN(MAX(2 * l->room.every_ms, (uint64_t)ROOM_TRY_MS), (uint64_t)ROOM_TRY_MAX_MS);
	l->room.look_ms = now_ms + ROOM_LOOK_MS;
	l->room.try_ms = now_ms + l->room.every_ms;
	l->room.over = false;
	return true;
}

/* Is it of use to try again? */
static void look_for_room(struct link *l, uint64_t now_ms)
{
	struct volume_info info;
	struct volume_space space;

	if (now_ms < l->room.look_ms)
		return;
	l->room.look_ms = now_ms + ROOM_LOOK_MS;
	volume_space(l->v, &space);
	volume_info(l->v, &info);
	if (info.committed != l->room.group)
		l->room.try_ms = MIN(l->room.try_ms, now_ms + ROOM_NEWS_MS);
	l->room.over = space.free_bytes >= l->room.need_bytes || now_ms >= l->room.try_ms;
}

/* Engine or protocol failed: the peer is told why, and the connection ends. */
static void fault(struct link *l, const struct err *err)
{
	if (err->code == -ECANCELED) { /* no failure: a person is asked first (step_mode) */
		hold(l, HELD_DELETIONS, err);
		return;
	}
	if (err->code == -ENOSPC && !l->closing && waits_for_room(l)) {
		hold(l, HELD_ROOM, err);
		return;
	}
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
	/* What was done while apart is in groups that HELLO counts, so that the peer knows it as that. A failure is
	 * told by the next who commits. */
	volume_commit(l->v);
	engine_up(l->engine, clock_mono_ms());
}

static void went_down(struct link *l)
{
	l->up = l->closing = false;
	engine_down(l->engine);
	buf_release(&l->in);
	buf_release(&l->out);
	l->commit_at_ms = clock_mono_ms() +
			  l->commit_interval_ms; /* a group may be open, of which only the engine knew */
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
	l->no_room = s->code == -ENOSPC;
	l->needs_person = s->code == -EACCES || s->code == -EPERM || s->code == -ESTALE || l->no_room;
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

/* ---- frames in
 * -------------------------------------------------------------------------------------------------------------- */

static int on_credit(struct link *l, const struct frame *f, struct err *err)
{
	struct channel_state s;

	channel_state(l->channel, &s);
	if (f->credit.received_bytes < l->confirmed_bytes ||
	    (s.id == l->id && f->credit.received_bytes > s.queued_bytes))
		return err_set(err, -EBADMSG, "the peer confirms bytes that it was never sent");
	l->confirmed_bytes = f->credit.received_bytes;
	return 0;
}

static void on_bye(struct link *l, const struct frame *f)
{
	char text[400];

	l->peer_paused = f->bye.planned;
	snprintf(l->peer_reason, sizeof(l->peer_reason), "%s", f->bye.reason);
	snprintf(text, sizeof(text),
		 f->bye.planned ? "the peer paused the link: %s" : "the peer gave up the connection; it says: %s",
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
	while (!l->closing && !l->hold && !err.code) {
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

/* ---- frames out
 * ------------------------------------------------------------------------------------------------------------- */

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

/* ---- one turn
 * --------------------------------------------------------------------------------------------------------------- */

/* What a turn of the thread starts with: everything others have said since the last one. */
struct orders {
	bool dirty, hurry, judge;
	uint64_t asked;
	enum mode mode;
	uint64_t drain_until_ms;
	bool confirm_deletions, waits_for_room;
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
	engine_make_room(l->engine);
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

/* Under lock: the engine holds back what the peer sent. A pause of our own making, with nothing to drain. */
static void step_hold(struct link *l)
{
	int what = l->hold;

	l->hold = HELD_NOT;
	if (!l->up || l->closing || (l->mode != MODE_RUN && l->mode != MODE_DRAIN))
		return;
	l->held = what;
	l->drain_result = -ETIMEDOUT;
	l->mode = MODE_LEAVE;
	snprintf(l->pause_reason, sizeof(l->pause_reason), "%s", l->hold_reason);
	channel_shut(l->channel, l->pause_reason);
	start_closing(l, true, l->pause_reason, -ECONNABORTED, ""); /* on purpose: no error */
	pthread_cond_broadcast(&l->changed);
}

/* Under lock. The next step of a pause. */
static void step_mode(struct link *l, const struct orders *o, bool settled, uint64_t now_ms)
{
	if (l->hold) {
		step_hold(l);
		return;
	}
	if (l->mode == MODE_DOWN && l->held == HELD_ROOM && l->room.over) {
		l->held = HELD_NOT;
		l->mode = MODE_RUN;
		l->restart = l->event = true;
		channel_reopen(l->channel);
		return;
	}
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
		start_closing(l, true, l->pause_reason, -ECONNABORTED, "");
	}
}

static void note_stream(struct link *l, const struct engine_status *es)
{
	if (!l->up || l->closing || es->phase != ENGINE_STREAM)
		return;
	l->failed = l->peer_paused = l->needs_person = false;
	snprintf(l->peer_name, sizeof(l->peer_name), "%s", es->peer_node);
}

/* ---- the thread
 * --------------------------------------------------------------------------------------------------------------- */

/* Under lock. */
static struct orders take_orders(struct link *l)
{
	struct orders o = { .dirty = l->dirty, .asked = l->asked, .mode = l->mode,
		.drain_until_ms = l->drain_until_ms, .confirm_deletions = l->confirm_deletions,
		.waits_for_room = l->mode == MODE_DOWN && l->held == HELD_ROOM };
	bool draining = l->mode == MODE_DRAIN;

	o.judge = l->waiters > 0 || draining;
	o.hurry = o.judge && (l->dirty || l->answered != l->asked);
	if (l->restart) {
		l->restart = false;
		l->failed = l->peer_paused = l->needs_person = false;
		l->connecting_since_ms = clock_mono_ms();
	}
	l->event = l->dirty = l->confirm_deletions = false;
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
	if (o->waits_for_room)
		at = MIN(at, l->room.look_ms);
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
	if (o->confirm_deletions)
		engine_confirm_deletions(l->engine);
	if (o->dirty)
		l->commit_at_ms = MIN(l->commit_at_ms, now_ms + l->commit_interval_ms);
	if (l->up)
		more = exchange(l, o);
	if (o->waits_for_room)
		look_for_room(l, now_ms);
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

void *link_main(void *arg)
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
		step_mode(l, &o, link_is_settled(l), clock_mono_ms());
		tell = link_derive(l, &es, clock_mono_ms());
		if (tell) {
			shown = l->st;
			pthread_cond_broadcast(&l->changed);
			pthread_mutex_unlock(&l->lock);
			link_announce(l, &shown);
			pthread_mutex_lock(&l->lock);
		} else if (!more && l->mode == o.mode) {
			rest(l, due_ms);
		}
	}
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

