/* SPDX-License-Identifier: MIT */
#include "node/scrub.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "node/last.h"
#include "node/words.h"
#include "util/log.h"
#include "util/util.h"

/* What is listed; a disk that dies has millions. */
#define LIST_MAX 100u
#define SAY_EVERY_MS 1000u
/* Beside a mount: work for so long, then rest for as long. */
#define WORK_MS 20u

/* ---- progress ---- */

struct pace {
	uint64_t done_bytes, total_bytes, rate; /* bytes a second, 0: not known yet */
	json_int_t eta_s;                       /* -1: not known */
};

static void pace_of(const struct scrub_progress *p, uint64_t started_ms, struct pace *out)
{
	uint64_t elapsed_ms = MAX(clock_mono_ms() - started_ms, UINT64_C(1));

	out->done_bytes = p->done_blocks * BLOCK_BYTES;
	out->total_bytes = p->total_blocks * BLOCK_BYTES;
	out->rate = (uint64_t)((double)out->done_bytes / (double)elapsed_ms * 1000.0);
	out->eta_s = out->rate ? (json_int_t)((out->total_bytes - out->done_bytes) / out->rate) : -1;
}

json_t *scrub_object(struct volume *v, struct scrub_state *state)
{
	json_t *o = last_object(v, "scrub");

	if (!state)
		return o;
	pthread_mutex_lock(&state->lock);
	if (state->running) {
		struct pace pace;

		pace_of(&state->progress, state->started_ms, &pace);
		json_object_set_new(o, "bytes_done", json_integer((json_int_t)pace.done_bytes));
		json_object_set_new(o, "bytes_total", json_integer((json_int_t)pace.total_bytes));
		json_object_set_new(o, "bytes_per_s", json_integer((json_int_t)pace.rate));
		json_object_set_new(o, "eta_s", json_integer(pace.eta_s));
	}
	pthread_mutex_unlock(&state->lock);
	return o;
}

/* ---- one run ---- */

struct run {
	struct scrub_state *state; /* NULL: not mounted */
	uint64_t started_ms, said_ms, rested_ms;
	bool (*say)(void *ctx, const char *text);
	void *ctx;
	json_t *list;
};

static bool say_progress(struct run *r, const struct scrub_progress *p)
{
	struct pace pace;
	char text[160], left[48] = "";

	pace_of(p, r->started_ms, &pace);
	if (pace.eta_s >= 0)
		snprintf(left, sizeof(left), ", %" PRIu64 ":%02" PRIu64 " min left", (uint64_t)pace.eta_s / 60,
		         (uint64_t)pace.eta_s % 60);
	snprintf(text, sizeof(text), "%" PRIu64 " of %" PRIu64 " MiB read, %" PRIu64 " MiB/s%s; %" PRIu64 " damaged",
	         pace.done_bytes >> 20, pace.total_bytes >> 20, pace.rate >> 20, left, p->found - p->healed);
	return r->say(r->ctx, text);
}

static bool on_progress(void *ctx, const struct scrub_progress *p)
{
	struct run *r = ctx;
	uint64_t now_ms = clock_mono_ms();

	if (r->state) {
		pthread_mutex_lock(&r->state->lock);
		r->state->progress = *p;
		pthread_mutex_unlock(&r->state->lock);
		if (now_ms - r->rested_ms >= WORK_MS) {
			uint64_t rest_ms = MIN(now_ms - r->rested_ms, UINT64_C(500));

			nanosleep(&(struct timespec){ .tv_nsec = (long)rest_ms * 1000000L }, NULL);
			r->rested_ms = now_ms = clock_mono_ms();
		}
	}
	if (now_ms - r->said_ms < SAY_EVERY_MS)
		return true;
	r->said_ms = now_ms;
	return say_progress(r, p);
}

static void on_found(void *ctx, const struct scrub_found *f)
{
	struct run *r = ctx;

	if (r->state) /* else the person who asked sees it */
		log_error("scrub: %s (inode %" PRIu64 "): %sthe block at byte %" PRIu64 " %s%s",
		          f->path ? f->path : "(no name)", f->ino, f->history ? "in an old version, " : "", f->off,
		          f->unreadable ? "cannot be read from the disk" : "does not match its checksum",
		          f->healed ? "; it is healed" : "");
	if (json_array_size(r->list) < LIST_MAX)
		json_array_append_new(r->list, json_pack("{s:o, s:I, s:I, s:b, s:b, s:b}", "path",
		                                         f->path ? words_path(f->path) : json_null(), "inode",
		                                         (json_int_t)f->ino, "offset", (json_int_t)f->off, "history",
		                                         f->history, "unreadable", f->unreadable, "healed",
		                                         f->healed));
	free(f->path);
}

/* The disk serves this thread when nobody else wants it (where its scheduler knows such classes). */
static void idle_class(bool on)
{
	enum { WHO_PROCESS = 1, CLASS_NONE = 0, CLASS_IDLE = 3, CLASS_SHIFT = 13 };

	syscall(SYS_ioprio_set, WHO_PROCESS, 0, (on ? CLASS_IDLE : CLASS_NONE) << CLASS_SHIFT);
}

static int state_begin(struct scrub_state *state, uint64_t now_ms)
{
	bool was;

	if (!state)
		return 0;
	pthread_mutex_lock(&state->lock);
	was = state->running;
	if (!was) {
		state->running = true;
		state->started_ms = now_ms;
		state->progress = (struct scrub_progress){ 0 };
	}
	pthread_mutex_unlock(&state->lock);
	return was ? -EBUSY : 0;
}

static void state_end(struct scrub_state *state)
{
	if (!state)
		return;
	pthread_mutex_lock(&state->lock);
	state->running = false;
	pthread_mutex_unlock(&state->lock);
}

int scrub_run(struct volume *v, struct scrub_state *state, bool (*say)(void *ctx, const char *text), void *ctx,
              json_t *reply, struct err *err)
{
	uint64_t now_ms = clock_mono_ms();
	struct run r = { state, now_ms, now_ms, now_ms, say, ctx, json_array() };
	const struct scrub_options opt = { .found = on_found, .progress = on_progress, .ctx = &r };
	struct scrub_progress p = { 0 };
	int rc = state_begin(state, now_ms);

	if (rc) {
		json_decref(r.list);
		return err_set(err, rc, "a scrub of %s is running already; see twinfs status", volume_dir(v));
	}
	if (state)
		idle_class(true);
	rc = volume_scrub(v, &opt, &p);
	if (state)
		idle_class(false);
	state_end(state);
	if (!rc) {
		last_put(v, "scrub", p.found - p.healed);
	} else if (rc == -ECANCELED) {
		err_set(err, rc, "the scrub of %s was stopped before its end", volume_dir(v));
	} else {
		err_set(err, rc, "the scrub of %s cannot go on: %s; see twinfs fsck", volume_dir(v), strerror(-rc));
	}
	json_object_set_new(reply, "blocks", json_integer((json_int_t)p.done_blocks));
	json_object_set_new(reply, "found", json_integer((json_int_t)p.found));
	json_object_set_new(reply, "healed", json_integer((json_int_t)p.healed));
	json_object_set_new(reply, "list", r.list);
	return rc;
}
