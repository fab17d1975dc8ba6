/* SPDX-License-Identifier: MIT */
/*
 * The simulation. Usage: sim [--seeds N] [--first K] [--seed K --trace] [--keep-going] [--words PERCENT]
 * --words: in wide histories so often a word of a person (resume --prefer) is given when the connection comes up, and
 * each quiet point is followed by a time apart; a seed is another history then.
 * Prints TAP (tests/tap.h about the exit code); a failing seed replays exactly with --seed K --trace.
 * TWINFS_SOAK_HISTORIES: so many instead of the default, or, without that, TWINFS_SOAK_S: as many as fit into so many
 * seconds. CK_TIMEOUT_MULTIPLIER, which slow runs set (valgrind), divides the default number of seeds.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/fsck.h"
#include "core/leftover.h"
#include "db/db.h"
#include "db/meta_rows.h"
#include "sync/prefer.h"
#include "sync/record.h"
#include "sync/roles.h"
#include "tests/sim/sim.h"
#include "util/util.h"

static char base[200];
static unsigned words_percent = 10;

/* Every look at the clock is a microsecond later than the one before. */
static int64_t sim_clock_ns;
static int64_t sim_clock(void)
{
	return sim_clock_ns += 1000;
}

uint64_t rng_next(struct rng *r)
{
	uint64_t z = (r->s += UINT64_C(0x9e3779b97f4a7c15)); /* splitmix64 */

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

uint64_t rng_below(struct rng *r, uint64_t n)
{
	return n ? rng_next(r) % n : 0;
}

bool rng_chance(struct rng *r, unsigned percent)
{
	return rng_below(r, 100) < percent;
}

void sim_digest(struct world *w, const char *text)
{
	for (; w->hash_trace && *text; text++)
		w->digest = (w->digest ^ (uint8_t)*text) * UINT64_C(1099511628211);
}

void sim_trace_line(struct world *w, const char *fmt, ...)
{
	char line[2300];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	sim_digest(w, line);
	if (w->trace)
		fprintf(stderr, "  %s", line);
}

void sim_fail(struct world *w, const char *fmt, ...)
{
	va_list ap;

	if (w->failure[0])
		return; /* the first one counts */
	va_start(ap, fmt);
	vsnprintf(w->failure, sizeof(w->failure), fmt, ap);
	va_end(ap);
	sim_trace(w, "FAIL %s\n", w->failure);
}

/* ---- stores
 * ------------------------------------------------------------------------------------------------------------- */

static void must(int rc, const char *what, const struct err *err)
{
	if (rc < 0) {
		fprintf(stderr, "sim: %s: %s\n", what, err->code ? err->text : strerror(-rc));
		exit(1);
	}
}

/* Every other history: what is acknowledged, removed or cut is left over, but for a row, and dropped now and then. */
static const struct volume_options sim_options[] = {
	{ .fast_unsafe = true, .drop_by_hand = true },
	{ .fast_unsafe = true, .drop_by_hand = true, .at_once_rows = 1 },
};

static void make_template(int side)
{
	char dir[256], id[33];
	struct err err = ERR_INIT;
	struct volume *v;

	snprintf(dir, sizeof(dir), "%s/template%d", base, side);
	snprintf(id, sizeof(id), "%032x", 2 - side);
	if (mkdir(dir, 0700) < 0)
		must(-errno, dir, &err);
	must(volume_format(dir, "00000000-0000-4000-8000-000000000001", side ? "birch" : "alder", (unsigned)side + 1, 0,
			   &err),
	     "format", &err);
	must(volume_open(dir, &sim_options[0], &v, &err), "open", &err);
	must(volume_pair(v, side ? ROLE_SECONDARY : ROLE_PRIMARY, 1, 2 - (unsigned)side, id, side ? "alder" : "birch",
			 &err),
	     "pair", &err);
	must(volume_close(v), "close", &err);
}

static void copy_file(const char *from, const char *to)
{
	char chunk[65536];
	int a = open(from, O_RDONLY | O_CLOEXEC), b = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ssize_t n;

	if (a >= 0 && b >= 0)
		while ((n = read(a, chunk, sizeof(chunk))) > 0)
			if (write(b, chunk, (size_t)n) != n)
				break;
	if (a >= 0)
		close(a);
	if (b >= 0)
		close(b);
}

static void fresh_store(struct side *sd, int side)
{
	static const char *const files[] = { "image", "twinfs.db" };
	char from[300], to[300];

	snprintf(sd->dir, sizeof(sd->dir), "%s/%d", base, side);
	mkdir(sd->dir, 0700);
	snprintf(to, sizeof(to), "%s/twinfs.db-wal", sd->dir);
	unlink(to);
	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		snprintf(from, sizeof(from), "%s/template%d/%s", base, side, files[i]);
		snprintf(to, sizeof(to), "%s/%s", sd->dir, files[i]);
		copy_file(from, to);
	}
}

/* A store's size is a word in it, which a person changes with the store closed. */
static void set_size(struct world *w, int i, uint64_t size_bytes)
{
	char *path = xasprintf("%s/twinfs.db", w->side[i].dir), text[24];
	struct err err = ERR_INIT;
	struct db *db;

	must(db_open(path, 0, &db, &err), "open the database", &err);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)size_bytes);
	must(db_begin(db), "begin", &err);
	must(meta_row_put(db, "size_bytes", text), "size", &err);
	must(db_commit(db), "commit", &err);
	db_close(db);
	free(path);
}

/* The engine of this side is at something that takes long, and lets others in. */
static int work_meanwhile(void *ctx)
{
	struct side *sd = ctx;
	struct world *w = sd->pause.w;
	struct rng rng = w->rng;

	if (w->pausing || w->apart || w->meanwhile == 0 || !rng_chance(&w->rng_pause, 10))
		return 0; /* what is done now is done by a side that has heard of the other */
	w->meanwhile--;
	w->pausing = true;
	w->rng = w->rng_pause; /* so that a history goes on as it would without */
	sim_trace(w, "%c meanwhile:\n", "PS"[sd->pause.side]);
	sim_op(w, sd->pause.side);
	if (rng_chance(&w->rng, 30)) {
		volume_commit(sd->v);
		sim_note_commits(w, sd->pause.side);
	}
	w->rng_pause = w->rng;
	w->rng = rng;
	w->pausing = false;
	return 0;
}

static void open_side(struct world *w, int i)
{
	struct err err = ERR_INIT;
	struct side *sd = &w->side[i];
	struct volume_options opt = sim_options[w->seed / 2 % 2];
	struct volume_info info;
	int rc;

	sd->pause.w = w;
	sd->pause.side = i;
	opt.pause = work_meanwhile;
	opt.pause_ctx = sd;
	rc = volume_open(sd->dir, &opt, &sd->v, &err);

	if (rc < 0) {
		sim_fail(w, "%c: the store does not open: %s", "PS"[i], err_text(&err));
		fprintf(stderr, "sim: seed %llu: %s\n", (unsigned long long)w->seed, w->failure);
		exit(1);
	}
	volume_set_notice(sd->v, sim_moved, NULL, sd);
	sd->e = engine_new(sd->v);
	engine_keep_from(sd->e, 0); /* whatever breaks off is gone on with */
	volume_info(sd->v, &info);
	sd->committed = info.committed;
}

/* ---- the network
 * ------------------------------------------------------------------------------------------------------------ */

/* A person says that the state of one side shall count (sync/prefer.h). */
static int give_word(struct world *w)
{
	int on = (int)rng_below(&w->rng_words, 2), keep = (int)rng_below(&w->rng_words, 2);

	for (int i = 0; i < 2; i++)
		if (prefer_given(w->side[i].v).id)
			return -1; /* words against each other are refused */
	if (prefer_give(w->side[on].v, keep ? ROLE_SECONDARY : ROLE_PRIMARY) < 0)
		return -1; /* no room for it */
	sim_note_commits(w, on);
	sim_trace(w, "%c says: prefer %c\n", "PS"[on], "PS"[keep]);
	w->n_words++;
	return keep;
}

static void net_up(struct world *w)
{
	if (w->wide && !w->roles && !w->pure && rng_chance(&w->rng_words, words_percent))
		give_word(w);
	w->pure = false;
	sim_trace(w, "-- link up\n");
	w->up = true;
	for (int i = 0; i < 2; i++)
		engine_up(w->side[i].e, w->now_ms);
}

static void net_down(struct world *w)
{
	if (!w->up)
		return;
	sim_trace(w, "-- link down\n");
	w->up = false;
	w->n_cuts++;
	for (int i = 0; i < 2; i++) {
		engine_down(w->side[i].e);
		buf_reset(&w->side[i].to_peer.bytes);
	}
}

void sim_note_commits(struct world *w, int i)
{
	struct volume_info info;

	volume_info(w->side[i].v, &info);
	if (info.committed != w->side[i].committed) {
		w->side[i].committed = info.committed;
		ledger_commit(w, i);
	}
}

/* A small store has no room for what the peer sent: nothing was changed, the connection goes, and the next one may find
 * room. */
static bool was_full(struct world *w, int i, int rc)
{
	if (rc != -ENOSPC || !(w->small & (1u << i)))
		return false;
	sim_trace(w, "%c has no room for that\n", "PS"[i]);
	w->n_full++;
	net_down(w);
	return true;
}

static bool net_send(struct world *w, int i)
{
	struct side *sd = &w->side[i];
	struct err err = ERR_INIT;
	int rc = engine_tick(sd->e, w->now_ms, &err);
	ssize_t n;

	sim_note_commits(w, i);
	if (was_full(w, i, rc))
		return false;
	if (rc < 0) {
		sim_fail(w, "%c: tick: %s", "PS"[i], err_text(&err));
		return false;
	}
	n = engine_pull(sd->e, &sd->to_peer.bytes, 1 + rng_below(&w->rng, 4000), &err);
	if (n < 0)
		sim_fail(w, "%c: pull: %s", "PS"[i], err_text(&err));
	return n > 0;
}

/* One frame from i to its peer. */
static bool net_deliver(struct world *w, int i)
{
	struct buf *q = &w->side[i].to_peer.bytes;
	struct err err = ERR_INIT;
	uint32_t len;
	int rc;

	if (q->len_bytes < 4)
		return false;
	memcpy(&len, q->data, 4);
	len += 4;
	if (q->len_bytes < len)
		return false;
	w->n_frames++;
	rc = engine_receive(w->side[!i].e, q->data, len, w->now_ms, &err);
	if (rc == -EAGAIN && w->roles) {
		sim_trace(w, "-- %c is the secondary now\n", "PS"[!i]);
		sim_note_commits(w, !i);
		net_down(w);
		return true;
	}
	for (uint32_t k = 0; k < len && q->data[4] >= 32; k++) /* records; the heads have random group ids in them */
		w->digest = (w->digest ^ q->data[k]) * UINT64_C(1099511628211);
	buf_consume(q, len);
	sim_note_commits(w, !i);
	if (sim_near_difference())
		sim_fail(w, "merged with what may matter of ours: %s", sim_near_difference());
	if (was_full(w, !i, rc))
		return false;
	if (rc < 0)
		sim_fail(w, "%c: receive: %s", "PS"[!i], err_text(&err));
	return true;
}

static void crash(struct world *w, int i)
{
	sim_trace(w, "-- %c crashes\n", "PS"[i]);
	sim_note_commits(w, i);
	net_down(w);
	w->n_crashes++;
	engine_free(w->side[i].e);
	volume_crash(w->side[i].v);
	w->side[i].n_refs = 0;
	ledger_crash(w, i);
	open_side(w, i);
}

static void give_room(struct world *w, int i)
{
	if (!(w->small & (1u << i)))
		return;
	sim_trace(w, "-- %c gets room\n", "PS"[i]);
	net_down(w);
	engine_free(w->side[i].e);
	w->side[i].n_refs = 0;
	if (volume_close(w->side[i].v) < 0)
		sim_fail(w, "%c: close failed", "PS"[i]);
	ledger_commit(w, i);
	set_size(w, i, 0);
	w->small &= ~(1u << i);
	open_side(w, i);
}

/* The secondary takes over, as it is and whatever is on its way, and the other may not hear of it for long. */
static void take_over(struct world *w)
{
	struct volume_info info;
	struct err err = ERR_INIT;

	for (int i = 0; i < 2; i++) {
		volume_info(w->side[i].v, &info);
		if (info.role != ROLE_SECONDARY || volume_rejoins(w->side[i].v))
			continue;
		net_down(w);
		sim_trace(w, "-- %c takes over\n", "PS"[i]);
		w->n_roles++;
		engine_free(w->side[i].e);
		volume_commit(w->side[i].v);
		if (roles_take_over(w->side[i].v, &err) < 0)
			sim_fail(w, "%c cannot take over: %s", "PS"[i], err_text(&err));
		w->side[i].e = engine_new(w->side[i].v);
		engine_keep_from(w->side[i].e, 0);
		sim_note_commits(w, i);
		return;
	}
}

/* After a time apart in which nothing crossed: the tree that both must end with, or NULL. */
static char *prefer_all(struct world *w)
{
	int keep;

	if (w->up || !w->pure || w->small || !rng_chance(&w->rng_words, 60))
		return NULL;
	for (int i = 0; i < 2; i++) {
		volume_commit(w->side[i].v);
		sim_note_commits(w, i);
	}
	keep = give_word(w);
	return keep < 0 ? NULL : inspect_tree(w, keep);
}

/* Run until nobody has anything to say. */
static bool quiet(struct world *w)
{
	unsigned idle = 0, rounds = 0, tries = w->up || !w->small;
	char *want = w->wide && !w->roles ? prefer_all(w) : NULL;
	uint64_t before[4], after[4];

	sim_refused_counts(before);
	w->pausing = want != NULL; /* nothing is to come in between */
	while (idle < 3 && !w->failure[0]) {
		bool any = false;

		/* With a full store there is no end to it; the next try finds room. */
		if (!w->up && tries++) {
			give_room(w, 0);
			give_room(w, 1);
		}
		if (!w->up)
			net_up(w);

		w->now_ms += 50;
		bool cross = w->seed % 2;
		for (int i = 0; i < 2; i++) {
			any |= net_send(w, i);
			while (!cross && net_deliver(w, i))
				any = true;
		}
		for (int i = 0; cross && i < 2; i++) {
			while (net_deliver(w, i))
				any = true;
		}
		idle = any ? 0 : idle + 1;
		if (++rounds > 5000)
			sim_fail(w, "traffic does not stop");
	}
	for (int i = 0; i < 2; i++)
		if (!w->failure[0] && !engine_settled(w->side[i].e))
			sim_fail(w, "%c is not settled though nothing moves: %s", "PS"[i],
				 engine_unsettled(w->side[i].e));
	sim_refused_counts(after);
	/* What makes no valid tree is taken without a word: docs/merging.md */
	if (want && after[3] == before[3] && !w->failure[0]) {
		char *got = inspect_tree(w, 0);

		size_t same = 0, line = 0; /* up to the first line that differs */

		for (; got[same] && got[same] == want[same]; same++)
			if (got[same] == '\n')
				line = same + 1;
		if (got[same] || want[same])
			sim_fail(w, "not the tree of the side that was preferred\n  has    %.*s\n  wanted %.*s",
				 (int)strcspn(got + line, "\n"), got + line, (int)strcspn(want + line, "\n"),
				 want + line);
		free(got);
	}
	free(want);
	w->pausing = false;
	if (w->failure[0] || !inspect_quiet(w))
		return false;
	if (w->wide && !w->small && rng_chance(&w->rng_words, MAX(words_percent, 30))) {
		net_down(w);
		w->pure = true;
	}
	return true;
}

static void step(struct world *w)
{
	int i = (int)rng_below(&w->rng, 2);
	uint64_t kind = rng_below(&w->rng, 100);

	w->now_ms += rng_below(&w->rng, 15);
	if (w->roles && rng_chance(&w->rng_roles, 3))
		take_over(w);
	if (rng_chance(&w->rng, 25))
		sim_ref(w, i);
	for (unsigned n = kind % 4; n > 0 && leftover_step(w->side[i].v); n--)
		;
	if (kind < 45) {
		sim_op(w, i);
	} else if (kind < 50) {
		sim_trace(w, "%c commit\n", "PS"[i]);
		volume_commit(w->side[i].v);
		sim_note_commits(w, i);
	} else if (kind < 94) {
		if (w->up && rng_chance(&w->rng, 50))
			net_send(w, i);
		else if (w->up)
			for (uint64_t n = rng_below(&w->rng, 12); n > 0 && net_deliver(w, i); n--)
				;
	} else if (kind < 97) {
		if (w->up)
			net_down(w);
		else
			net_up(w);
	} else if (kind < 98) {
		crash(w, i);
	} else if (!w->up && kind < 100) {
		net_up(w);
	}
}

/* What they wrote apart before is no matter any more. */
static void together(struct world *w)
{
	w->apart = false;
	for (uint64_t t = 1; t <= w->ledger.n; t++)
		w->ledger.state[t] &= (uint8_t)~TOKEN_APART;
}

static int secondary_of(struct world *w)
{
	struct volume_info info;

	volume_info(w->side[1].v, &info);
	return info.role == ROLE_SECONDARY; /* of two primaries one is about to be it, whichever */
}

/*
 * The connection is up again, and the secondary goes on: at first it hears nothing, and the primary judges by what it
 * has said so far; then what the primary says trickles in, and what the secondary does to what it sees of that may
 * belong to both.
 */
static void secondary_goes_on(struct world *w)
{
	unsigned n = (unsigned)rng_below(&w->rng, 60), deaf = (unsigned)rng_below(&w->rng, 60);
	int s = secondary_of(w);

	net_up(w);
	for (unsigned i = 0; i < 2; i++) /* both say HELLO, and hear it */
		net_send(w, (int)i);
	for (unsigned i = 0; i < 2 && w->up; i++)
		net_deliver(w, (int)i);
	while (n-- > 0 && w->up && !w->failure[0]) {
		w->now_ms += rng_below(&w->rng, 30);
		net_send(w, rng_chance(&w->rng, 70) ? s : !s);
		for (uint64_t k = rng_below(&w->rng, 20); k > 0 && w->up && net_deliver(w, s); k--)
			;
		if (deaf > 0 && --deaf == 0)
			together(w);
		if (deaf == 0)
			for (uint64_t k = rng_below(&w->rng, 8); k > 0 && w->up && net_deliver(w, !s); k--)
				;
		if (rng_chance(&w->rng, 25) && w->up)
			sim_plain_op(w, s);
		if (rng_chance(&w->rng, 4) && w->up)
			sim_plain_op(w, !s);
	}
}

/* Both work for a while, and neither hears of it, nor that the other took over. */
static void apart(struct world *w, unsigned n_ops)
{
	struct volume_info info;

	quiet(w);
	net_down(w);
	together(w);
	w->apart = true;
	for (int i = 0; i < 2; i++) {
		volume_info(w->side[i].v, &info);
		w->side[i].apart_at = info.applied;
	}
	for (unsigned n = 0; n < n_ops && !w->failure[0]; n++) {
		if (w->roles && rng_chance(&w->rng_roles, 6))
			take_over(w);
		sim_op(w, (int)rng_below(&w->rng, 2));
		if (rng_chance(&w->rng, 10)) {
			int i = (int)rng_below(&w->rng, 2);

			volume_commit(w->side[i].v);
			sim_note_commits(w, i);
		}
	}
}

static void damage(void *ctx, const char *text)
{
	sim_fail(ctx, "fsck: %s", text);
}

/* A closed store keeps every rule of one. */
static void check_store(struct world *w, int i)
{
	const struct fsck_options opt = { .found = damage, .ctx = w };
	struct fsck_result r;
	struct err err = ERR_INIT;

	if (fsck_store(w->side[i].dir, &opt, &r, &err) < 0)
		sim_fail(w, "%c: fsck: %s", "PS"[i], err_text(&err));
}

/* What kind of history its number makes it. */
static void choose_kind(struct world *w)
{
	uint64_t seed = w->seed;
	bool refused = seed >= REFUSED_FROM && seed < BRIEF_FROM;

	w->brief = seed >= BRIEF_FROM;
	w->roles = w->brief ? seed % 8 == 7 : seed >= ROLES_FROM && !refused;
	w->wide = (seed >= WIDE_FROM && seed < UNITS_FROM) || w->roles || (refused && seed % 3 == 1) ||
		  (w->brief && seed % 4 == 1);
	w->units = refused ? seed % 3 == 2 : w->brief ? seed % 4 == 2 : seed >= UNITS_FROM && !w->roles;
	sim_refuse(refused ? seed * UINT64_C(0xd6e8feb86659fd93) + 1 : 0);
}

/* How many steps a part of it takes. */
static unsigned some_steps(struct world *w)
{
	return w->brief ? 4 + (unsigned)rng_below(&w->rng, 26) : 5 + (unsigned)rng_below(&w->rng, 120);
}

static bool history(struct world *w, uint64_t seed)
{
	unsigned phases;

	w->seed = seed;
	choose_kind(w);
	w->rng_roles.s = seed * UINT64_C(0xa0761d6478bd642f) + 9;
	w->roles |= w->units && rng_chance(&w->rng_roles, 20);
	w->rng.s = seed * UINT64_C(0x2545f4914f6cdd1d) + 1;
	w->rng_words.s = seed * UINT64_C(0x9e3779b97f4a7c15) + 7;
	w->rng_pause.s = seed * UINT64_C(0xd6e8feb86659fd93) + 3;
	w->rng_held.s = seed * UINT64_C(0x94d049bb133111eb) + 5;
	w->rng_acls.s = seed * UINT64_C(0xbf58476d1ce4e5b9) + 3;
	w->acls = w->wide && rng_chance(&w->rng_acls, 30);
	w->now_ms = 1000000;
	sim_clock_ns = INT64_C(1800000000000000000);
	if (w->wide && !w->roles && rng_chance(&w->rng, 30))
		w->small = 1 + (unsigned)rng_below(&w->rng, 3);
	w->texts = w->wide && !w->small && rng_chance(&w->rng, 30);
	for (int i = 0; i < 2; i++) {
		fresh_store(&w->side[i], i);
		if (w->small & (1u << i))
			set_size(w, i, SMALL_BYTES);
		buf_init(&w->side[i].to_peer.bytes, 256u << 20);
		open_side(w, i);
	}
	phases = 1 + (unsigned)rng_below(&w->rng, w->brief ? 2 : 3);
	for (unsigned p = 0; p < phases && !w->failure[0]; p++) {
		unsigned steps;

		/* start together with something to quarrel about */
		for (unsigned n = (unsigned)rng_below(&w->rng, w->brief ? 5 : 10); p == 0 && n > 0; n--)
			sim_op(w, (int)rng_below(&w->rng, 2));
		if (p == 0 && !w->small && rng_chance(&w->rng, 80))
			quiet(w);
		steps = some_steps(w);
		if (w->units && rng_chance(&w->rng, 70))
			apart(w, steps / 3);
		if (w->apart && rng_chance(&w->rng, 60))
			secondary_goes_on(w);
		else if (!w->apart)
			for (unsigned s = 0; s < steps && !w->failure[0]; s++)
				step(w);
		for (int i = 0; i < 2 && rng_chance(&w->rng, 50); i++)
			for (; w->side[i].n_refs; )
				volume_unref(w->side[i].v, w->side[i].refs[--w->side[i].n_refs].ino, 1);
		sim_trace(w, "-- quiet\n");
		if (!w->failure[0])
			quiet(w);
		together(w);
	}
	for (int i = 0; i < 2; i++) {
		engine_free(w->side[i].e);
		if (volume_close(w->side[i].v) < 0)
			sim_fail(w, "%c: close failed", "PS"[i]);
		buf_release(&w->side[i].to_peer.bytes);
		free(w->side[i].undo);
	}
	/* Opening rebuilds the free map and refuses a block with two owners. */
	for (int i = 0; i < 2 && !w->failure[0] && rng_chance(&w->rng, 10); i++) {
		open_side(w, i);
		engine_free(w->side[i].e);
		volume_close(w->side[i].v);
		check_store(w, i);
	}
	free(w->ledger.state);
	return !w->failure[0];
}

/* The same seed gives the same history: what was done, each frame and what was there at each quiet point. Or no failure
 * could be looked into. */
static void check_replay(struct world *w)
{
	struct world *again = xcalloc(1, sizeof(*again));

	again->hash_trace = true;
	history(again, w->seed);
	if (again->digest != w->digest || again->n_ops != w->n_ops || again->n_frames != w->n_frames)
		sim_fail(w, "a second run of the same seed went another way");
	free(again);
}

static void clean_up(void)
{
	char *cmd = xasprintf("rm -rf '%s'", base);

	if (system(cmd) != 0)
		fprintf(stderr, "sim: cannot remove %s\n", base);
	free(cmd);
}

/* A sanitizer makes a history some five times as long. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SEEDS_DEFAULT 420u
#else
#define SEEDS_DEFAULT 2100u
#endif

#define REPLAY_EVERY 20
#define PROGRESS_EVERY 1000 /* of which a line tells */

static uint64_t number_from_env(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);
	uint64_t n = text ? strtoull(text, NULL, 10) : 0;

	return n ? n : otherwise;
}

/* They failed once, and nothing smaller was found that did: the first of every run. */
static const uint64_t failed_once[] = { 3775, 735199, 741011, 748397, 1001425, 1400819, 2700726,
					2360035, 2800530, 2802746, 2803344, 2809327, 2903406, 3213426, 5920754 };

/* Unless a range was asked for: those, and by turns of the first two kinds, and of twenty one with units, one with new
 * roles, two short ones; of forty one is with refusals. */
static uint64_t seed_of(uint64_t first, uint64_t i)
{
	uint64_t k;

	if (i < ARRAY_LEN(failed_once))
		return failed_once[i];
	i -= ARRAY_LEN(failed_once);
	k = i - i / 20;
	if (i % 40 == 24)
		return REFUSED_FROM + first + i / 40;
	if (i % 10 == 3)
		return BRIEF_FROM + first + i / 10;
	if (i % 20 == 9)
		return ROLES_FROM + first + i / 20;
	return i % 20 == 19 ? UNITS_FROM + first + i / 20 : first + k / 2 + (k % 2 ? WIDE_FROM : 0);
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "seeds", 1, NULL, 'n' },      { "first", 1, NULL, 'f' },
						 { "seed", 1, NULL, 's' },       { "trace", 0, NULL, 't' },
						 { "keep-going", 0, NULL, 'k' }, { "words", 1, NULL, 'w' },
						 { 0 } };
	const char *tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
	uint64_t first = 1, n = MAX(SEEDS_DEFAULT / number_from_env("CK_TIMEOUT_MULTIPLIER", 1), 1);
	uint64_t failed = 0, done = 0, ops = 0, cuts = 0, crashes = 0, frames = 0, started = clock_mono_ms();
	uint64_t soak_n = number_from_env("TWINFS_SOAK_HISTORIES", 0);
	uint64_t soak_ms = soak_n ? 0 : 1000 * number_from_env("TWINFS_SOAK_S", 0);
	uint64_t full = 0, words = 0, roles = 0, by_file = 0, compared, left_out, taken[4];
	bool trace = false, keep_going = false, in_a_row = false;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'n': n = strtoull(optarg, NULL, 10); break;
		case 'f':
			first = strtoull(optarg, NULL, 10);
			in_a_row = true;
			break;
		case 's':
			in_a_row = true;
			first = strtoull(optarg, NULL, 10);
			n = 1;
			break;
		case 't': trace = true; break;
		case 'k': keep_going = true; break;
		case 'w': words_percent = (unsigned)strtoul(optarg, NULL, 10); break;
		default: return 2;
		}
	}
	if (soak_n)
		n = soak_n;
	else if (soak_ms)
		n = UINT64_MAX - first;
	snprintf(base, sizeof(base), "%s/twinfs-sim-XXXXXX", tmp);
	if (!mkdtemp(base)) {
		perror("sim: mkdtemp");
		return 1;
	}
	atexit(clean_up);
	clock_real_test(sim_clock);
	make_template(0);
	make_template(1);
	for (uint64_t i = 0; i < n && (failed == 0 || keep_going); i++) {
		uint64_t seed = in_a_row ? first + i : seed_of(first, i);
		struct world *w = xcalloc(1, sizeof(*w));

		if (soak_ms && clock_mono_ms() - started >= soak_ms) {
			free(w);
			break;
		}
		done++;
		w->trace = trace;
		w->hash_trace = i % REPLAY_EVERY == 0;
		sim_near_begin();
		if (history(w, seed) && w->hash_trace)
			check_replay(w);
		if (w->failure[0]) {
			printf("# seed %llu: %s\n# replay: sim --seed %llu --trace\n", (unsigned long long)seed,
			       w->failure, (unsigned long long)seed);
			fflush(stdout);
			failed++;
		}
		by_file += sim_near_by_file();
		words += w->n_words;
		roles += w->n_roles;
		ops += w->n_ops;
		cuts += w->n_cuts;
		crashes += w->n_crashes;
		frames += w->n_frames;
		full += w->n_full;
		free(w);
		if (done % PROGRESS_EVERY == 0) {
			printf("# %llu so far, %llu failed\n", (unsigned long long)done, (unsigned long long)failed);
			fflush(stdout);
		}
	}
	started = MAX(clock_mono_ms() - started, 1);
	printf("# %llu histories, %llu operations, %llu cuts, %llu crashes, %llu words, "
	       "%llu changes of roles, %llu times a store was full, %llu frames; %llu histories a minute\n",
	       (unsigned long long)done, (unsigned long long)ops, (unsigned long long)cuts, (unsigned long long)crashes,
	       (unsigned long long)words, (unsigned long long)roles, (unsigned long long)full,
	       (unsigned long long)frames,
	       (unsigned long long)(done * 60000 / started));
	sim_near_counts(&compared, &left_out);
	printf("# %llu merges compared with one that looks at all that was changed; %llu links were left out of them\n"
	       "# in %llu histories a unit could not be kept whole, as both moved directories that hold each other\n",
	       (unsigned long long)compared, (unsigned long long)left_out, (unsigned long long)by_file);
	sim_refused_counts(taken);
	printf("# with refusals: %llu merges, %llu after them without copies, %llu without units, %llu with names as "
	       "they were\n", (unsigned long long)taken[0], (unsigned long long)taken[1], (unsigned long long)taken[2],
	       (unsigned long long)taken[3]);
	printf("%sok 1 - %llu random histories of two volumes keep the promises\n1..1\n", failed ? "not " : "",
	       (unsigned long long)done);
	return failed != 0 && getenv("TWINFS_TAP_HARNESS") == NULL;
}
