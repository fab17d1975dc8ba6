/* SPDX-License-Identifier: MIT */
/* Who asks: step by step, one question at a time. */
#include "sync/verify_private.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "core/tree.h"
#include "util/util.h"

/* So long a moment is waited for in which one of the two is quiet, and so often it is tried. */
#define MOMENT_MS 60000u
#define AGAIN_MS 20u
/* Ids that one sum stands for: some 15 ms of work, of which nobody waits for more than a few. */
#define LOT_IDS 1024u
/* Beyond that progress is not known so well: they are counted in one go. */
#define COUNT_MOST 1000000u

struct found {
	enum digest_table table;
	uint64_t id;
};

struct verify_run {
	struct volume *v;
	uint64_t id;
	struct past *pin;
	uint64_t began_ms, tried_ms;
	enum { AT_MOMENT, AT_LISTS, AT_ITEMS, AT_END } phase;
	bool waiting; /* a question is out */
	enum digest_table table;
	uint64_t after, covered; /* ids up to `after` are compared; those up to `covered` are in `own` */
	struct digest_item own[LOT_IDS];
	size_t n_own;
	struct found found[VERIFY_TOLD_MAX];
	size_t n_found, told;
	struct verify_result result;
};

/* Ids are below 2^60. */
#define LAST_ID (UINT64_MAX >> 1)

int verify_begin(struct verify *f, uint64_t id, struct verify_run **out, struct err *err)
{
	int rc = 0;

	assert(id != 0);
	pthread_mutex_lock(&f->lock);
	if (f->run)
		rc = -EBUSY;
	else
		f->run = id;
	if (rc == 0) {
		f->state = ASK_MOMENT;
		f->again = true;
		f->asks = f->answered = false;
	}
	pthread_mutex_unlock(&f->lock);
	if (rc)
		return err_set(err, rc, "a comparison of %s with its peer is under way already; see twinfs status",
			       volume_dir(f->v));
	*out = xcalloc(1, sizeof(**out));
	**out = (struct verify_run){ .v = f->v, .id = id };
	if (f->kick)
		f->kick(f->kick_ctx);
	return 0;
}

const struct verify_result *verify_so_far(const struct verify_run *r)
{
	return &r->result;
}

static void kick(struct verify *f)
{
	if (f->kick)
		f->kick(f->kick_ctx);
}

void verify_end(struct verify_run *r, struct verify *f)
{
	struct past *pin = NULL;

	if (f) {
		pthread_mutex_lock(&f->lock);
		if (f->run == r->id) {
			pin = f->pin;
			f->pin = NULL;
			f->asks = f->state != ASK_BROKEN; /* it may have pinned something, or be about to */
			f->question = (struct rec_verify){ .op = VERIFY_END, .run = r->id };
			f->ended = r->id;
			f->run = 0;
			f->state = ASK_NONE;
		}
		pthread_mutex_unlock(&f->lock);
		kick(f);
	}
	past_close(pin);
	past_close(r->pin);
	for (size_t i = 0; i < r->result.n_told; i++) {
		free(r->result.told[i].path);
		free(r->result.told[i].what);
	}
	free(r->result.told);
	free(r);
}

static int is_gone(const struct verify_run *r, struct err *err)
{
	return err_set(err, -ENOTCONN, "the connection to the peer ended before all of %s was compared",
		       volume_dir(r->v));
}

static int is_over(struct err *err)
{
	return err_set(err, -EIO, "the peer cannot say what it has, or has waited too long for a question: try again, "
		       "and if it stays so see its log and twinfs fsck there");
}

/* Lock held. Waits until there is something new to look at, or the time is up. */
static void wait_a_moment(struct verify *f, unsigned wait_ms)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += wait_ms / 1000;
	until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_cond_timedwait(&f->came, &f->lock, &until);
}

/* ---- the moment ---- */

/* About as many inodes as names. */
static int count_all(struct verify_run *r, struct err *err)
{
	uint64_t links = 0;
	int rc;

	volume_lock(r->v);
	rc = tree_count_links(r->v, COUNT_MOST, &links);
	volume_unlock(r->v);
	r->result.total = 2 * links;
	return rc ? err_set(err, rc, "the tree of %s cannot be read: %s; see twinfs fsck", volume_dir(r->v),
			    strerror(-rc)) : 0;
}

static int find_moment(struct verify_run *r, struct verify *f, unsigned wait_ms, uint64_t now_ms, struct err *err)
{
	bool again = false;

	if (!r->began_ms)
		r->began_ms = r->tried_ms = now_ms;
	if (now_ms - r->began_ms > MOMENT_MS)
		return err_set(err, -EAGAIN, "both sides of %s were written to all the time, so there was no moment in "
			       "which both had the same; try again when one of them is quiet", volume_dir(r->v));
	pthread_mutex_lock(&f->lock);
	if (f->state == ASK_MOMENT && !f->again && now_ms - r->tried_ms >= AGAIN_MS) {
		f->again = again = true;
		r->tried_ms = now_ms;
	} else if (f->state == ASK_MOMENT) {
		wait_a_moment(f, MIN(wait_ms, AGAIN_MS));
	}
	if (f->state == ASK_AT) {
		f->state = ASK_TAKEN;
		r->pin = f->pin;
		f->pin = NULL;
		r->result.group = past_group(r->pin);
		r->result.peer_group = f->peer_group;
		r->phase = AT_LISTS;
	}
	pthread_mutex_unlock(&f->lock);
	if (again)
		kick(f);
	return r->phase == AT_LISTS ? count_all(r, err) : 0;
}

/* ---- questions ---- */

static void ask(struct verify_run *r, struct verify *f, const struct rec_verify *question)
{
	pthread_mutex_lock(&f->lock);
	f->question = *question;
	f->question.run = r->id;
	f->asks = f->state == ASK_TAKEN; /* on another connection nobody knows of it */
	f->answered = false;
	pthread_mutex_unlock(&f->lock);
	r->waiting = true;
	kick(f);
}

/* 1: *answer is there (its items are f's, good until the next question), 0: not yet. */
static int answer(struct verify_run *r, struct verify *f, unsigned wait_ms, struct rec_verify *out)
{
	bool came;

	pthread_mutex_lock(&f->lock);
	if (!f->answered && f->state == ASK_TAKEN)
		wait_a_moment(f, wait_ms);
	came = f->answered;
	if (came)
		*out = f->answer;
	pthread_mutex_unlock(&f->lock);
	if (came)
		r->waiting = false;
	return came;
}

/* ---- lots of ids ---- */

static void note(struct verify_run *r, uint64_t id)
{
	r->result.differences++;
	if (r->n_found < VERIFY_TOLD_MAX)
		r->found[r->n_found++] = (struct found){ r->table, id };
}

/* Of an inode that one side alone has, a link differs too: that is what people see. */
static void compare(struct verify_run *r, const struct digest_item *theirs, size_t n, uint64_t upto)
{
	size_t i = 0, j = 0;

	while ((i < r->n_own && r->own[i].id <= upto) || (j < n && theirs[j].id <= upto)) {
		bool ours_first = i < r->n_own && r->own[i].id <= upto && (j >= n || r->own[i].id < theirs[j].id);
		bool theirs_first = !ours_first && (i >= r->n_own || r->own[i].id > theirs[j].id);

		if (!ours_first && !theirs_first && r->own[i].sum != theirs[j].sum)
			note(r, r->own[i].id);
		else if ((ours_first || theirs_first) && r->table == DIGEST_LINKS)
			note(r, ours_first ? r->own[i].id : theirs[j].id);
		i += !theirs_first;
		j += !ours_first;
	}
}

static void count(struct verify_run *r, uint64_t upto)
{
	size_t n = 0;

	while (n < r->n_own && r->own[n].id <= upto)
		n++;
	if (r->table == DIGEST_INODES)
		r->result.inodes += n;
	else
		r->result.names += n;
}

static int ask_list(struct verify_run *r, struct verify *f)
{
	struct rec_verify *q = xcalloc(1, sizeof(*q));
	int rc = digest_list(r->pin, r->table, r->after, LAST_ID, r->own, LOT_IDS, &r->n_own, &r->covered);

	*q = (struct rec_verify){ .op = VERIFY_LIST, .table = (uint8_t)r->table, .a = r->after, .b = r->covered,
				  .sum = digest_sum(r->own, r->n_own) };
	if (rc == 0)
		ask(r, f, q);
	free(q);
	return rc;
}

static int compare_lists(struct verify_run *r, struct verify *f, unsigned wait_ms, struct rec_verify *a,
			 struct err *err)
{
	uint64_t upto;
	int rc = 0;

	if (!r->waiting)
		rc = ask_list(r, f);
	if (rc)
		return err_set(err, rc, "the tree of %s cannot be read: %s; see twinfs fsck", volume_dir(r->v),
			       strerror(-rc));
	if (!answer(r, f, wait_ms, a))
		return 0;
	if (a->op != VERIFY_SAME && a->op != VERIFY_LISTED)
		return is_over(err);
	upto = a->op == VERIFY_SAME ? r->covered : MIN(a->b, r->covered);
	if (upto <= r->after)
		return err_set(err, -EBADMSG, "the peer's answer about its tree says nothing");
	if (a->op == VERIFY_LISTED)
		compare(r, a->items, a->n, upto);
	count(r, upto);
	r->after = upto;
	if (upto == LAST_ID) {
		r->after = 0;
		r->phase = r->table == DIGEST_LINKS ? AT_ITEMS : r->phase;
		r->table = DIGEST_LINKS;
	}
	return 0;
}

/* ---- what differs, in words ---- */

static void say(struct buf *to, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(struct buf *to, const char *fmt, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	buf_printf(to, "%s%s", to->len_bytes ? "; " : "", text);
}

static void say_time(struct buf *to, uint64_t ours, uint64_t theirs)
{
	int64_t a = (int64_t)ours, b = (int64_t)theirs;

	say(to, "written at %" PRId64 ".%09" PRId64 " here, %" PRId64 ".%09" PRId64 " at the peer", a / 1000000000,
	    a % 1000000000, b / 1000000000, b % 1000000000);
}

static void inode_words(const uint64_t *ours, const uint64_t *theirs, struct buf *to)
{
	bool type = (ours[DIGEST_MODE] ^ theirs[DIGEST_MODE]) & S_IFMT;

	if (type)
		say(to, "is of another type at the peer");
	else if (ours[DIGEST_MODE] != theirs[DIGEST_MODE])
		say(to, "mode %04" PRIo64 " here, %04" PRIo64 " at the peer", ours[DIGEST_MODE] & 07777,
		    theirs[DIGEST_MODE] & 07777);
	if (ours[DIGEST_UID] != theirs[DIGEST_UID] || ours[DIGEST_GID] != theirs[DIGEST_GID])
		say(to, "owner %" PRIu64 ":%" PRIu64 " here, %" PRIu64 ":%" PRIu64 " at the peer", ours[DIGEST_UID],
		    ours[DIGEST_GID], theirs[DIGEST_UID], theirs[DIGEST_GID]);
	if (ours[DIGEST_SIZE] != theirs[DIGEST_SIZE])
		say(to, "%" PRIu64 " bytes here, %" PRIu64 " at the peer", ours[DIGEST_SIZE], theirs[DIGEST_SIZE]);
	else if (ours[DIGEST_BYTES] != theirs[DIGEST_BYTES])
		say(to, "bytes differ");
	if (ours[DIGEST_TARGET] != theirs[DIGEST_TARGET])
		say(to, "leads elsewhere");
	if (ours[DIGEST_XATTRS] != theirs[DIGEST_XATTRS])
		say(to, "xattrs differ");
	if (ours[DIGEST_RDEV] != theirs[DIGEST_RDEV])
		say(to, "is another device");
	if (ours[DIGEST_MTIME] != theirs[DIGEST_MTIME])
		say_time(to, ours[DIGEST_MTIME], theirs[DIGEST_MTIME]);
}

static void link_words(const uint64_t *ours, const uint64_t *theirs, const char *their_path, struct buf *to)
{
	if (ours[DIGEST_PARENT] != theirs[DIGEST_PARENT] || ours[DIGEST_NAME] != theirs[DIGEST_NAME])
		say(to, "is %s at the peer", *their_path ? their_path : "elsewhere");
	if (ours[DIGEST_CHILD] != theirs[DIGEST_CHILD])
		say(to, "is another file at the peer");
}

static void tell(struct verify_run *r, const struct found *d, const struct rec_verify *a)
{
	struct verify_result *res = &r->result;
	uint64_t theirs[DIGEST_FIELDS] = { 0 };
	struct digest ours;
	bool here = digest_of(r->pin, d->table, d->id, &ours) == 0, there = a->op == VERIFY_ITEM_IS;
	struct buf what;

	buf_init(&what, 16u << 10);
	for (unsigned i = 0; there && i < a->n && i < DIGEST_FIELDS; i++)
		theirs[i] = a->items[i].sum;
	if (here && !there)
		say(&what, "is here alone");
	else if (there && !here)
		say(&what, "is at the peer alone");
	else if (d->table == DIGEST_INODES)
		inode_words(ours.field, theirs, &what);
	else
		link_words(ours.field, theirs, a->path, &what);
	buf_append(&what, "", 1);
	res->told = xrealloc(res->told, (res->n_told + 1) * sizeof(*res->told));
	res->told[res->n_told++] = (struct verify_told){
		.path = here ? digest_path(r->pin, d->table, d->id) : *a->path ? xstrdup(a->path) : NULL,
		.what = xstrdup((const char *)what.data),
	};
	buf_release(&what);
}

static int look_at_items(struct verify_run *r, struct verify *f, unsigned wait_ms, struct rec_verify *a,
			 struct err *err)
{
	const struct found *d = &r->found[r->told];

	if (r->told == r->n_found) {
		r->phase = AT_END;
		return 0;
	}
	if (!r->waiting) {
		*a = (struct rec_verify){ .op = VERIFY_ITEM, .table = (uint8_t)d->table, .a = d->id };
		ask(r, f, a);
	}
	if (!answer(r, f, wait_ms, a))
		return 0;
	if (a->op != VERIFY_ITEM_IS && a->op != VERIFY_GONE)
		return is_over(err);
	tell(r, d, a);
	r->told++;
	return 0;
}

int verify_step(struct verify_run *r, struct verify *f, unsigned wait_ms, uint64_t now_ms, struct err *err)
{
	struct rec_verify *a;
	bool gone;
	int rc = 0;

	pthread_mutex_lock(&f->lock);
	gone = f->run != r->id || f->state == ASK_BROKEN;
	pthread_mutex_unlock(&f->lock);
	if (gone)
		return is_gone(r, err);
	a = xmalloc(sizeof(*a));
	switch (r->phase) {
	case AT_MOMENT: rc = find_moment(r, f, wait_ms, now_ms, err); break;
	case AT_LISTS: rc = compare_lists(r, f, wait_ms, a, err); break;
	case AT_ITEMS: rc = look_at_items(r, f, wait_ms, a, err); break;
	case AT_END: rc = 1; break;
	}
	free(a);
	return rc;
}
