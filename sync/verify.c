/* SPDX-License-Identifier: MIT */
/* What the engine's thread does of a comparison, and the mailbox between it and who asks. */
#include "sync/verify_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/log.h"
#include "util/util.h"

/* Who asks and is not heard of for so long has gone: what is pinned for it is let go. A question takes that long only
 * behind a very slow link, or of very large files; who ends says so, and a connection that ends is noticed. */
#define IDLE_MS 900000u
/* Questions are small, and of the longest answer (64 KiB) there is one: who asks on behind it does not wait for it. */
#define OUT_MOST_BYTES (VERIFY_MAX_ITEMS * sizeof(struct digest_item))

struct verify *verify_new(struct volume *v)
{
	struct verify *f = xcalloc(1, sizeof(*f));
	pthread_condattr_t attr;

	f->v = v;
	buf_init(&f->out, 4 * OUT_MOST_BYTES);
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

/* ---- marks; the engine's thread alone ---- */

static void drop_mark(struct mark *m)
{
	past_close(m->pin);
	*m = (struct mark){ .run = 0 };
}

/* Does who asks want one, and none is on its way? */
static void take_wish(struct verify *f)
{
	pthread_mutex_lock(&f->lock);
	if (f->state == ASK_MOMENT && f->again && f->mine.run == 0) {
		f->mine = (struct mark){ .run = f->run, .state = MARK_WANTED };
		f->again = false;
	}
	pthread_mutex_unlock(&f->lock);
}

static bool is_wanted(const struct mark *m)
{
	return m->run && m->state == MARK_WANTED;
}

bool verify_wants_mark(struct verify *f)
{
	take_wish(f);
	return is_wanted(&f->mine) || is_wanted(&f->offered);
}

static void cut_mark(struct verify *f, struct mark *m, uint64_t group, uint64_t seen)
{
	if (!is_wanted(m) || past_open_sent(f->v, group, &m->pin) != 0)
		return; /* the next one will do */
	m->state = MARK_CUT;
	m->group = group;
	m->seen = seen;
}

void verify_cut(struct verify *f, uint64_t group, uint64_t seen)
{
	take_wish(f);
	cut_mark(f, &f->mine, group, seen);
	cut_mark(f, &f->offered, group, seen);
}

static void say_mark(struct verify *f, struct mark *m)
{
	if (!m->run || m->state != MARK_CUT)
		return;
	m->state = MARK_MARKED;
	say(f, &(struct rec_verify){ .op = VERIFY_MARK, .run = m->run, .a = m->group, .b = m->seen });
}

void verify_sent(struct verify *f)
{
	say_mark(f, &f->mine);
	say_mark(f, &f->offered);
}

static void mark_now(struct verify *f, struct mark *m, uint64_t sent)
{
	struct volume_info info;

	if (!is_wanted(m))
		return;
	volume_info(f->v, &info);
	if (past_open_known(f->v, info.applied, sent, &m->pin) != 0)
		return; /* then something will be cut */
	m->state = MARK_CUT;
	m->group = sent; /* what the pinned one holds besides is nothing that the peer gets */
	m->seen = info.applied;
	say_mark(f, m);
}

void verify_all_is_out(struct verify *f, uint64_t sent)
{
	mark_now(f, &f->mine, sent);
	mark_now(f, &f->offered, sent);
}

/* ---- asking ---- */

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

/* Who asks gets the pin, if it still waits for one. */
static void give_pin(struct verify *f, uint64_t run, struct past **pin, uint64_t peer_group)
{
	pthread_mutex_lock(&f->lock);
	if (f->run == run && f->state == ASK_MOMENT) {
		f->state = ASK_AT;
		f->pin = *pin;
		*pin = NULL;
		f->peer_group = peer_group;
		pthread_cond_broadcast(&f->came);
	}
	pthread_mutex_unlock(&f->lock);
}

static void serve(struct verify *f, uint64_t run, struct past **pin)
{
	past_close(f->served);
	f->served = *pin;
	f->served_run = *pin ? run : 0;
	*pin = NULL;
}

/* The peer's answer to a mark of ours. */
static void on_moment(struct verify *f, const struct rec_verify *r, uint64_t now_ms)
{
	struct mark *m = r->run == f->mine.run ? &f->mine : &f->offered;

	if (r->run != m->run || m->state != MARK_MARKED)
		return; /* of a run that was given up */
	if (r->op == VERIFY_AT && m == &f->mine)
		give_pin(f, r->run, &m->pin, r->a);
	else if (r->op == VERIFY_AT)
		serve(f, r->run, &m->pin);
	f->served_at_ms = now_ms;
	drop_mark(m);
}

static int on_answer(struct verify *f, const struct rec_verify *r, struct err *err)
{
	int rc = 0;

	pthread_mutex_lock(&f->lock);
	if (r->run != f->run || f->state == ASK_BROKEN) {
		/* of a run that was given up */
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
	return rc;
}

/* ---- answering; the engine's thread alone ---- */

static void serve_no_more(struct verify *f)
{
	struct past *none = NULL;

	serve(f, 0, &none);
	drop_mark(&f->offered);
}

/* A mark of the peer's: for its run, or offered for ours. */
static void answer_mark(struct verify *f, const struct rec_verify *r, struct rec_verify *a)
{
	struct past *pin = NULL;
	bool ours;
	int rc = past_open_known(f->v, r->a, r->b, &pin);

	if (rc && rc != -EAGAIN && f->offered.run != r->run) /* it asks again and again */
		log_warn("the peer wants to compare both sides; that cannot be just now: %s", strerror(-rc));
	a->op = rc ? VERIFY_BUSY : VERIFY_AT;
	a->a = pin ? past_group(pin) : 0;
	pthread_mutex_lock(&f->lock);
	ours = r->run == f->run || r->run == f->ended;
	pthread_mutex_unlock(&f->lock);
	if (ours && pin) {
		give_pin(f, r->run, &pin, r->a);
		a->op = pin ? VERIFY_BUSY : VERIFY_AT; /* it has one already, or wants none any more */
	} else if (pin) {
		drop_mark(&f->offered);
		serve(f, r->run, &pin);
	} else if (!ours && f->offered.run != r->run) {
		drop_mark(&f->offered);
		f->offered = (struct mark){ .run = r->run, .state = MARK_WANTED };
	}
	past_close(pin);
}

static void answer_list(struct verify *f, const struct rec_verify *r, struct rec_verify *a)
{
	enum digest_table table = (enum digest_table)r->table;
	size_t n;
	int rc = digest_list(f->served, table, r->a, r->b, f->own, VERIFY_MAX_ITEMS, &n, &a->b);

	a->op = rc ? VERIFY_OVER : a->b == r->b && digest_sum(f->own, n) == r->sum ? VERIFY_SAME : VERIFY_LISTED;
	if (a->op != VERIFY_LISTED)
		return;
	a->n = (uint16_t)n;
	a->items = f->own;
}

static void answer_item(struct verify *f, const struct rec_verify *r, struct rec_verify *a)
{
	enum digest_table table = (enum digest_table)r->table;
	struct digest d;
	int rc = digest_of(f->served, table, r->a, &d);
	char *path;

	a->op = rc == -ENOENT ? VERIFY_GONE : rc ? VERIFY_OVER : VERIFY_ITEM_IS;
	if (rc)
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

	*a = (struct rec_verify){ .op = VERIFY_OVER, .table = r->table, .run = r->run, .a = r->a, .b = r->b };
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
	if (r->op == VERIFY_AT || r->op == VERIFY_BUSY) {
		on_moment(f, r, now_ms);
		return 0;
	}
	if (r->op >= VERIFY_AT)
		return on_answer(f, r, err);
	if (r->op == VERIFY_END) {
		if (r->run == f->served_run || r->run == f->offered.run)
			serve_no_more(f);
		return 0;
	}
	if (f->out.len_bytes > OUT_MOST_BYTES)
		return err_set(err, -EBADMSG,
			       "the peer asks about the tree again before it has its answers: dropping the connection");
	answer(f, r, now_ms);
	return 0;
}

void verify_tick(struct verify *f, uint64_t now_ms)
{
	if ((f->served || f->offered.run) && now_ms - f->served_at_ms > IDLE_MS)
		serve_no_more(f);
}

void verify_down(struct verify *f)
{
	struct past *pin;

	serve_no_more(f);
	drop_mark(&f->mine);
	buf_reset(&f->out);
	pthread_mutex_lock(&f->lock);
	pin = f->pin;
	f->pin = NULL;
	f->asks = f->answered = f->again = false;
	if (f->state != ASK_NONE)
		f->state = ASK_BROKEN;
	pthread_cond_broadcast(&f->came);
	pthread_mutex_unlock(&f->lock);
	past_close(pin);
}
