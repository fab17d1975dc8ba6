/* SPDX-License-Identifier: MIT */
#include "sync/link_private.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/damage.h"
#include "sync/dial.h"
#include "util/log.h"
#include "util/util.h"

#define COMMIT_INTERVAL_MS 1000u

const char *link_state_word(enum link_state s)
{
	static const char *const words[] = { "unpaired",  "connecting", "resyncing",
					     "connected", "paused",     "disconnected" };

	assert((size_t)s < ARRAY_LEN(words));
	return words[s];
}

/* ---- the state that people see
 * ------------------------------------------------------------------------------------------------ */

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
		if (l->mode != MODE_RUN && l->held == HELD_ROOM) {
			snprintf(st->why, sizeof(st->why), "%s", l->pause_reason);
			snprintf(st->action, sizeof(st->action),
				 "make room here: on the disk, by deleting files, or with twinfs resize; it goes on by "
				 "itself then");
		} else if (l->mode != MODE_RUN && l->held) {
			snprintf(st->why, sizeof(st->why), "%s", l->pause_reason);
			snprintf(st->action, sizeof(st->action),
				 "if that is meant: twinfs resume --confirm-deletes here; if not, bring it back there");
		} else if (l->mode != MODE_RUN) {
			snprintf(st->why, sizeof(st->why), "paused here%s%s", l->pause_reason[0] ? ": " : "",
				 l->pause_reason);
			snprintf(st->action, sizeof(st->action), "twinfs resume, when the reason is gone");
		} else {
			snprintf(st->why, sizeof(st->why), "paused by %s%s%s", peer, l->peer_reason[0] ? ": " : "",
				 l->peer_reason);
			snprintf(st->action, sizeof(st->action),
				 strcmp(l->peer_reason, "unmounted") == 0
					 ? "mount it on %s; it goes on by itself then"
					 : "settle that on %s: twinfs status there says how", peer);
		}
		break;
	case LINK_DISCONNECTED:
		if (l->up && !l->closing)
			snprintf(st->why, sizeof(st->why), "%s is reached; waiting for its hello", peer);
		else if (l->last_error[0])
			snprintf(st->why, sizeof(st->why), "%s", l->last_error);
		else
			snprintf(st->why, sizeof(st->why), l->dials ? "%s does not answer" : "%s has not connected yet",
				 peer);
		if (l->needs_person && l->no_room)
			snprintf(st->action, sizeof(st->action),
				 "make room here: on the disk, by deleting files, or with twinfs resize; tried again "
				 "by itself");
		else if (l->needs_person)
			snprintf(st->action, sizeof(st->action),
				 "settle what is said above; until then it is tried again every 30 s");
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

bool link_derive(struct link *l, const struct engine_status *es, uint64_t now_ms)
{
	struct link_status *st = &l->st;
	enum link_state before = st->state;
	bool changed;

	st->state = state_of(l, es, now_ms);
	st->needs_person = (st->state == LINK_DISCONNECTED && l->needs_person) ||
			   (st->state == LINK_PAUSED && l->mode != MODE_RUN && l->held);
	snprintf(st->last_error, sizeof(st->last_error), "%s", l->last_error);
	changed = st->state != before;
	if (changed)
		st->since_ms = clock_real_ms();
	say_why(l, st);
	return changed;
}

void link_announce(const struct link *l, const struct link_status *st)
{
	log_info("link: %s%s%s", link_state_word(st->state), st->why[0] ? ": " : "", st->why);
	if (l->changed_fn)
		l->changed_fn(l->changed_ctx);
}

bool link_is_settled(const struct link *l)
{
	return l->unsettled && !*l->unsettled;
}

/* ---- from other threads
 * --------------------------------------------------------------------------------------------------------- */

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

/* Under lock: have the thread take a turn. */
static void prod(struct link *l)
{
	l->event = true;
	pthread_cond_signal(&l->wake);
}

/* Somebody wants to ask the peer something. */
static void on_question(void *ctx)
{
	struct link *l = ctx;

	pthread_mutex_lock(&l->lock);
	prod(l);
	pthread_mutex_unlock(&l->lock);
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
	struct channel_options co = { .identity = opt->identity,
				      .listen = opt->listen,
				      .dial = opt->dial,
				      .pin_hex = opt->peer_pin_hex,
				      .closed = opt->start_paused,
				      .pair = opt->pair_fn,
				      .pair_ctx = opt->pair_ctx,
				      .event = link_on_event,
				      .event_ctx = l };
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
	cond_init_mono(&l->wake);
	cond_init_mono(&l->changed);
	l->engine = engine_new(v);
	verify_set_kick(engine_verify(l->engine), on_question, l);
	engine_set_driver(l->engine, &opt->driver);
	rc = channel_open(&co, &l->channel, err);
	if (rc) {
		link_free(l);
		return rc;
	}
	if (opt->start_paused)
		channel_shut(l->channel, l->pause_reason);
	volume_set_dirty(v, link_on_dirty, l);
	damage_set_kick(v, on_question, l);
	rc = start_thread(l, err);
	if (rc) {
		damage_set_kick(v, NULL, NULL);
		volume_set_dirty(v, NULL, NULL);
		channel_close(l->channel);
		link_free(l);
		return rc;
	}
	*out = l;
	return 0;
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
	l->held = HELD_NOT;
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
		return err_set(
			err, rc,
			"paused, but not everything reached the peer in %u ms; the rest goes when the link is resumed",
			timeout_ms);
	if (rc)
		return err_set(err, rc,
			       "paused; there was no connection, so what the peer lacks goes when the link is resumed");
	return 0;
}

static int resume(struct link *l, bool deleting)
{
	pthread_mutex_lock(&l->lock);
	while (l->mode == MODE_DRAIN || l->mode == MODE_LEAVE)
		pthread_cond_wait(&l->changed, &l->lock);
	l->mode = MODE_RUN;
	l->restart = true;
	l->held = HELD_NOT;
	l->confirm_deletions = deleting;
	l->pause_reason[0] = '\0';
	channel_reopen(l->channel);
	prod(l);
	pthread_mutex_unlock(&l->lock);
	return 0;
}

int link_resume(struct link *l)
{
	return resume(l, false);
}

int link_resume_deleting(struct link *l)
{
	return resume(l, true);
}

/* Under lock. */
static int not_synced(struct link *l, struct err *err)
{
	struct link_status *st = &l->st;

	if (st->state == LINK_CONNECTED || st->state == LINK_RESYNCING)
		return err_set(err, -ETIMEDOUT, "%s, waiting for: %s", link_state_word(st->state),
			       l->unsettled && *l->unsettled ? l->unsettled : "changes on their way");
	return err_set(err, -ETIMEDOUT, "%s%s%s", link_state_word(st->state),
		       st->why[0] ? ": " : "", st->why);
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

		bool for_room = l->mode != MODE_RUN && l->held == HELD_ROOM; /* ends by itself */

		if ((l->mode != MODE_RUN || (answered && l->st.state == LINK_PAUSED)) && !for_room) {
			rc = err_set(err, -ECONNABORTED, "the link is paused: resume it first (%s)", l->st.why);
			break;
		}
		if (answered && l->st.state == LINK_UNPAIRED) {
			rc = err_set(err, -ECONNABORTED, "there is no peer yet: invite one first");
			break;
		}
		if (answered && link_is_settled(l))
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
	damage_set_kick(l->v, NULL, NULL);
	volume_set_dirty(l->v, NULL, NULL);
	pthread_mutex_lock(&l->lock);
	l->stop = true;
	pthread_cond_signal(&l->wake);
	pthread_mutex_unlock(&l->lock);
	pthread_join(l->thread, NULL);
	channel_close(l->channel);
	link_free(l);
}

struct verify *link_verify(struct link *l)
{
	return engine_verify(l->engine);
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
