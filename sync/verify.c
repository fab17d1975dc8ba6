/* SPDX-License-Identifier: MIT */
/* What the engine's thread does of a comparison, and the mailbox between it and who asks. */
#include "sync/verify_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/log.h"
#include "util/util.h"

/* Who asks and is not heard of for so long has gone: what is pinned for it is let go. */
#define IDLE_MS 60000u

struct verify *verify_new(struct volume *v)
{
	struct verify *f = xcalloc(1, sizeof(*f));
	pthread_condattr_t attr;

	f->v = v;
	/* Questions are small, and an answer of VERIFY_MAX_ITEMS is 64 KiB; there is one of each at most. */
	buf_init(&f->out, 256u << 10);
	pthread_mutex_init(&f->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&f->came, &attr);
	pthread_condattr_destroy(&attr);
	return f;
}

void verify_free(struct verify *f)
{
	if (!f)
		return;
	verify_down(f);
	buf_release(&f->out);
	pthread_mutex_destroy(&f->lock);
	pthread_cond_destroy(&f->came);
	free(f);
}

void verify_set_kick(struct verify *f, void (*kick)(void *ctx), void *ctx)
{
	f->kick = kick;
	f->kick_ctx = ctx;
}

static void say(struct verify *f, const struct rec_verify *r)
{
	struct frame *frame = xcalloc(1, sizeof(*frame));

	frame->type = FRAME_VERIFY;
	frame->verify = *r;
	if (frame_encode(&f->out, frame) < 0)
		log_warn("an answer about the two trees did not fit; it is not sent");
	free(frame);
}

/* ---- asking ---- */

bool verify_wants_mark(struct verify *f)
{
	bool wanted;

	pthread_mutex_lock(&f->lock);
	wanted = f->state == ASK_WANTED;
	pthread_mutex_unlock(&f->lock);
	return wanted;
}

/* Lock held; the pin is the caller's to close, without it. */
static struct past *take_pin(struct verify *f)
{
	struct past *pin = f->pin;

	f->pin = NULL;
	return pin;
}

void verify_cut(struct verify *f, uint64_t group, uint64_t seen)
{
	struct past *pin = NULL;

	if (!verify_wants_mark(f) || past_open_sent(f->v, group, &pin) != 0)
		return; /* the next one will do */
	pthread_mutex_lock(&f->lock);
	if (f->state == ASK_WANTED) {
		f->state = ASK_CUT;
		f->group = group;
		f->seen = seen;
		f->pin = pin;
		pin = NULL;
	}
	pthread_mutex_unlock(&f->lock);
	past_close(pin);
}

void verify_sent(struct verify *f)
{
	struct rec_verify mark = { .op = VERIFY_MARK };

	pthread_mutex_lock(&f->lock);
	if (f->state == ASK_CUT) {
		f->state = ASK_MARKED;
		mark.run = f->run;
		mark.a = f->group;
		mark.b = f->seen;
	}
	pthread_mutex_unlock(&f->lock);
	if (mark.run)
		say(f, &mark);
}

void verify_pull(struct verify *f, struct buf *out)
{
	pthread_mutex_lock(&f->lock);
	if (f->asks) {
		say(f, &f->question);
		f->asks = false;
	}
	pthread_mutex_unlock(&f->lock);
	if (f->out.len_bytes && buf_append(out, f->out.data, f->out.len_bytes) == 0)
		buf_reset(&f->out);
}

/* The peer's answer to MARK. */
static struct past *on_moment(struct verify *f, const struct rec_verify *r)
{
	if (f->state != ASK_MARKED)
		return NULL;
	if (r->op == VERIFY_AT) {
		f->state = ASK_AT;
		f->peer_group = r->a;
		return NULL;
	}
	f->state = ASK_BUSY;
	return take_pin(f);
}

static int on_answer(struct verify *f, const struct rec_verify *r, struct err *err)
{
	struct past *pin = NULL;
	int rc = 0;

	pthread_mutex_lock(&f->lock);
	if (r->run != f->run) {
		/* of a run that was given up */
	} else if (r->op == VERIFY_AT || r->op == VERIFY_BUSY) {
		pin = on_moment(f, r);
	} else if (f->answered || f->state != ASK_TAKEN) {
		rc = err_set(err, -EBADMSG, "the peer answers a question about its tree that it was not asked: "
			     "dropping the connection");
	} else {
		f->answer = *r;
		f->answer.items = f->items;
		for (unsigned i = 0; i < r->n; i++)
			f->items[i] = r->items[i];
		f->answered = true;
	}
	pthread_cond_broadcast(&f->came);
	pthread_mutex_unlock(&f->lock);
	past_close(pin);
	return rc;
}

/* ---- answering; the engine's thread alone ---- */

static void serve_no_more(struct verify *f)
{
	past_close(f->served);
	f->served = NULL;
	f->served_run = 0;
}

static void answer_mark(struct verify *f, const struct rec_verify *r, struct rec_verify *a)
{
	int rc;

	serve_no_more(f);
	rc = past_open_known(f->v, r->a, r->b, &f->served);
	if (rc && rc != -EAGAIN)
		log_warn("the peer wants to compare both sides; that cannot be just now: %s", strerror(-rc));
	a->op = rc ? VERIFY_BUSY : VERIFY_AT;
	if (rc)
		return;
	f->served_run = r->run;
	a->a = past_group(f->served);
}

static void answer_list(struct verify *f, const struct rec_verify *r, struct rec_verify *a)
{
	enum digest_table table = (enum digest_table)r->table;
	size_t n;
	int rc = digest_list(f->served, table, r->a, r->b, f->own, VERIFY_MAX_ITEMS, &n, &a->b);

	a->op = rc ? VERIFY_GONE : a->b == r->b && digest_sum(f->own, n) == r->sum ? VERIFY_SAME : VERIFY_LISTED;
	if (a->op != VERIFY_LISTED)
		return;
	a->n = (uint16_t)n;
	a->items = f->own;
}

static void answer_item(struct verify *f, const struct rec_verify *r, struct rec_verify *a)
{
	enum digest_table table = (enum digest_table)r->table;
	struct digest d;
	char *path;

	a->op = digest_of(f->served, table, r->a, &d) ? VERIFY_GONE : VERIFY_ITEM_IS;
	if (a->op == VERIFY_GONE)
		return;
	path = digest_path(f->served, table, r->a);
	snprintf(a->path, sizeof(a->path), "%s", path ? path : "");
	free(path);
	for (unsigned i = 0; i < DIGEST_FIELDS; i++)
		f->own[i] = (struct digest_item){ i, d.field[i] };
	a->n = DIGEST_FIELDS;
	a->items = f->own;
}

static void answer(struct verify *f, const struct rec_verify *r, uint64_t now_ms)
{
	struct rec_verify *a = xcalloc(1, sizeof(*a));

	*a = (struct rec_verify){ .op = VERIFY_GONE, .table = r->table, .run = r->run, .a = r->a, .b = r->b };
	if (r->op == VERIFY_MARK)
		answer_mark(f, r, a);
	else if (f->served && r->run == f->served_run && r->op == VERIFY_LIST)
		answer_list(f, r, a);
	else if (f->served && r->run == f->served_run && r->op == VERIFY_ITEM)
		answer_item(f, r, a);
	f->served_at_ms = now_ms;
	say(f, a);
	free(a);
}

int verify_receive(struct verify *f, const struct rec_verify *r, uint64_t now_ms, struct err *err)
{
	if (r->op >= VERIFY_AT)
		return on_answer(f, r, err);
	if (f->out.len_bytes > VERIFY_MAX_ITEMS * sizeof(struct digest_item))
		return err_set(err, -EBADMSG,
			       "the peer asks about the tree again before it has its answers: dropping the connection");
	if (r->op != VERIFY_END)
		answer(f, r, now_ms);
	else if (r->run == f->served_run)
		serve_no_more(f);
	return 0;
}

void verify_tick(struct verify *f, uint64_t now_ms)
{
	if (f->served && now_ms - f->served_at_ms > IDLE_MS)
		serve_no_more(f);
}

void verify_down(struct verify *f)
{
	struct past *pin;

	serve_no_more(f);
	buf_reset(&f->out);
	pthread_mutex_lock(&f->lock);
	pin = take_pin(f);
	f->asks = f->answered = false;
	if (f->state != ASK_NONE)
		f->state = ASK_BROKEN;
	pthread_cond_broadcast(&f->came);
	pthread_mutex_unlock(&f->lock);
	past_close(pin);
}
