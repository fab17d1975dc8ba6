/* SPDX-License-Identifier: MIT */
#include "sync/engine.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/changes.h"
#include "sync/apply.h"
#include "sync/deletions.h"
#include "sync/heal.h"
#include "sync/kept.h"
#include "sync/land.h"
#include "sync/merge.h"
#include "sync/outbox.h"
#include "sync/prefer.h"
#include "sync/record.h"
#include "sync/roles.h"
#include "sync/shipment.h"
#include "sync/told.h"
#include "util/log.h"
#include "util/util.h"

/* From idle, wait this long after the first change: the rest of one save (write, rename) usually follows at once. */
#define LINGER_MS 2
/* Between shipments under load: each costs a commit on both sides. */
#define BATCH_MS 20
/* Shipments on the way and not acknowledged: one in transit, one being applied. More would only commit more often. */
#define SHIPMENTS_AHEAD 2
/* Less than this of a shipment that breaks off is not worth keeping. */
#define KEEP_LEAST_BYTES (UINT64_C(1) << 20)
/* Of a shipment so much larger, what has arrived is noted each time it is so much more. */
#define SAVE_EVERY 4u

enum { SHIP_WANTS_ACK = 1, SHIP_PROBE = 2, SHIP_PROBE_REPLY = 4 }; /* rec_ship_begin.wants_ack */

struct engine {
	struct volume *v;
	struct merge_names names;
	uint64_t peer_committed;

	/* The rest belongs to the driving thread; `lock` guards only `shown`. */
	int phase;                         /* ENGINE_* */
	struct buf control;                /* HELLO and BYE, ready to be pulled */
	struct outbox *outbox;             /* being sent, or NULL */
	struct shipment *inbox;            /* arriving, or NULL */
	struct verify *verify;             /* answers, and asks, about the two trees */
	struct heal *heal;                 /* the same, about damaged blocks */
	struct kept *kept;                 /* of one that broke off, or NULL */
	bool looked_for_kept;              /* of an earlier run of the program */
	bool telling;                      /* the peer is being told of it */
	struct told *told;                 /* what the peer keeps; until our first shipment is cut; or NULL */
	uint64_t keep_least_bytes;
	uint64_t sent;                     /* our groups up to here were cut for this connection */
	uint64_t unacked[SHIPMENTS_AHEAD]; /* `to` of shipments that ask for an acknowledgement and have none yet */
	unsigned n_unacked;
	uint64_t last_to; /* of the last shipment with records or after an apply: what we want acknowledged */
	uint64_t told_word; /* id of the word that our HELLO told (prefer.h), until the primary has taken it; 0: none */
	/* What the secondary did is discarded: nothing of ours crosses that, or it would keep things. */
	bool hold_for_word;
	bool peer_is_behind; /* its HELLO was of an older generation (roles.h): it is waited for */
	bool deletions_confirmed;
	bool ack_owed, probe_wanted, probe_out, probe_reply_owed, hurry;
	uint64_t dirty_since_ms, last_cut_ms; /* dirty_since_ms 0: nothing known to be pending */
	uint64_t backlog_to, backlog_peer_to; /* resyncing until these are through */
	uint64_t since_ms, moved_ms;
	uint64_t out_unlanded; /* entries of shipments that were sent and not acknowledged */
	uint64_t probes_answered;
	uint64_t out_before, in_before; /* progress of the shipments of this connection that are through */
	uint64_t applied_shipments, applied_entries, applied_bytes; /* as shown */
	uint64_t room_wanted_bytes;
	struct err refusal; /* code set: the shipment that arrives has no room here and is dropped as it comes */
	uint8_t *scratch; /* for decompressed DATA */

	pthread_mutex_t lock;
	struct engine_status shown;
};

struct engine *engine_new(struct volume *v)
{
	struct engine *e = xcalloc(1, sizeof(*e));

	e->v = v;
	e->scratch = xmalloc(DATA_MAX_BYTES);
	e->verify = verify_new(v);
	e->heal = heal_new(v);
	e->keep_least_bytes = KEEP_LEAST_BYTES;
	/* HELLO and BYE are a few hundred bytes; the bound is there for a bug, not for them. */
	buf_init(&e->control, 64u << 10);
	pthread_mutex_init(&e->lock, NULL);
	return e;
}

void engine_set_driver(struct engine *e, const struct driver *driver)
{
	e->names.driver = *driver;
}

struct verify *engine_verify(struct engine *e)
{
	return e->verify;
}

void engine_confirm_deletions(struct engine *e)
{
	e->deletions_confirmed = true;
}

void engine_keep_from(struct engine *e, uint64_t least_bytes)
{
	e->keep_least_bytes = least_bytes;
}

static void drop_kept(struct engine *e)
{
	kept_free(e->kept);
	e->kept = NULL;
	e->telling = false;
	stage_forget(e->v);
}

void engine_make_room(struct engine *e)
{
	struct volume_space space;

	if (!e->kept || e->phase != ENGINE_DOWN)
		return;
	volume_space(e->v, &space);
	if (space.full)
		drop_kept(e);
}

void engine_free(struct engine *e)
{
	if (!e)
		return;
	engine_down(e);
	kept_free(e->kept); /* what is noted stays, for the next run */
	verify_free(e->verify);
	heal_free(e->heal);
	buf_release(&e->control);
	pthread_mutex_destroy(&e->lock);
	free(e->scratch);
	free(e);
}

/* ---- what is pending
 * ------------------------------------------------------------------------------------------------- */

struct pending {
	struct volume_ids ids;
	bool group_open, unsent, unacked;
};

static void look(struct engine *e, struct pending *p)
{
	volume_lock_now(e->v);
	volume_ids(e->v, &p->ids);
	p->group_open = group_waits(e->v);
	p->unsent = changes_any_after(e->v, e->sent);
	p->unacked = p->unsent || changes_any_after(e->v, 0);
	volume_unlock(e->v);
}

static const char *unsettled(struct engine *e, const struct pending *p)
{
	if (e->phase != ENGINE_STREAM)
		return "there is no connection to the peer";
	if (e->outbox)
		return "changes of this side are on their way";
	if (e->inbox)
		return "changes of the peer are arriving";
	if (p->group_open)
		return "changes of this side are not committed yet";
	if (p->unacked)
		return "the peer has not confirmed all changes of this side yet";
	if (e->ack_owed || e->probe_reply_owed)
		return "the peer waits for a confirmation";
	/* Else the baseline here would be older than what both have. */
	if (e->last_to > p->ids.acked)
		return "the peer has not confirmed what came of its changes here yet";
	if (e->probe_wanted || e->probe_out)
		return "the peer has not answered whether it has more";
	return "";
}

static bool settled(struct engine *e, const struct pending *p)
{
	return !*unsettled(e, p);
}

static uint64_t whole(const struct rec_ship_begin *b)
{
	return b->data_bytes + b->entries * ENGINE_ENTRY_BYTES;
}

/* Lock of `shown` held. */
static void show_progress_locked(struct engine *e)
{
	struct engine_status *s = &e->shown;

	s->send_done_bytes = s->send_total_bytes = e->out_before;
	s->recv_done_bytes = s->recv_total_bytes = e->in_before;
	s->unlanded_entries = e->out_unlanded + (e->outbox ? outbox_begin(e->outbox)->entries : 0) +
			      (e->inbox ? e->inbox->begin.entries : 0);
	s->moved_ms = e->moved_ms;
	if (e->outbox) {
		uint64_t entries = outbox_sent_entries(e->outbox);

		s->send_total_bytes += whole(outbox_begin(e->outbox));
		/* The holes of what is told as a whole were not counted. */
		s->send_done_bytes = MIN(s->send_total_bytes, s->send_done_bytes + outbox_sent_bytes(e->outbox) +
								      entries * ENGINE_ENTRY_BYTES);
	}
	if (e->inbox) {
		uint64_t entries = shipment_records(e->inbox) + e->inbox->n_asks;

		s->recv_total_bytes += whole(&e->inbox->begin);
		/* The peer may send more than it said. */
		s->recv_done_bytes = MIN(s->recv_total_bytes, s->recv_done_bytes + e->inbox->arrived_bytes +
								      entries * ENGINE_ENTRY_BYTES);
	}
}

static void show_progress(struct engine *e)
{
	pthread_mutex_lock(&e->lock);
	show_progress_locked(e);
	pthread_mutex_unlock(&e->lock);
}

static void show(struct engine *e, const struct pending *p)
{
	if (p->ids.acked >= e->sent)
		e->out_unlanded = 0;
	pthread_mutex_lock(&e->lock);
	e->shown.phase = e->phase;
	e->shown.settled = settled(e, p);
	e->shown.resyncing = e->phase == ENGINE_STREAM &&
			     (p->ids.acked < e->backlog_to || p->ids.applied < e->backlog_peer_to);
	e->shown.shipped = e->sent;
	e->shown.peer_committed = e->peer_committed;
	e->shown.sending = e->outbox && !outbox_is_empty(e->outbox);
	e->shown.receiving = e->inbox && !shipment_is_empty(e->inbox);
	show_progress_locked(e);
	e->shown.since_ms = e->since_ms;
	e->shown.applied_shipments = e->applied_shipments;
	e->shown.applied_entries = e->applied_entries;
	e->shown.applied_bytes = e->applied_bytes;
	snprintf(e->shown.peer_node, sizeof(e->shown.peer_node), "%s", e->names.peer);
	pthread_mutex_unlock(&e->lock);
}

static void look_and_show(struct engine *e)
{
	struct pending p;

	look(e, &p);
	show(e, &p);
}

void engine_status(struct engine *e, struct engine_status *out)
{
	pthread_mutex_lock(&e->lock);
	*out = e->shown;
	pthread_mutex_unlock(&e->lock);
}

/* ---- up and down
 * -------------------------------------------------------------------------------------------------------- */

static void send_hello(struct engine *e)
{
	struct frame f = { .type = FRAME_HELLO };
	struct volume_info info;

	volume_info(e->v, &info);
	f.hello = (struct rec_hello){ .version = PROTOCOL_VERSION,
				      .slot = (uint16_t)info.slot,
				      .role = (uint8_t)info.role,
				      .generation = info.generation,
				      .committed = info.committed,
				      .applied = info.applied,
				      .applied_id = land_applied_id(e->v) };
	if (!e->looked_for_kept)
		e->kept = kept_load(e->v, info.applied);
	e->looked_for_kept = true;
	if (e->kept && kept_from(e->kept) != info.applied)
		drop_kept(e);
	f.hello.staged = e->kept ? kept_tell_begin(e->kept) : 0;
	e->telling = f.hello.staged > 0;
	snprintf(f.hello.volume_id, sizeof(f.hello.volume_id), "%s", info.volume_id);
	snprintf(f.hello.node_id, sizeof(f.hello.node_id), "%s", info.node_id);
	snprintf(f.hello.node_name, sizeof(f.hello.node_name), "%s", info.node_name);
	prefer_tell(e->v, &f.hello);
	e->told_word = f.hello.prefer_id;
	snprintf(e->names.self, sizeof(e->names.self), "%s", info.node_name);
	volume_lock(e->v);
	if (group_id(e->v, info.committed, &f.hello.committed_id) < 0)
		f.hello.committed_id = 0;
	volume_unlock(e->v);
	frame_encode(&e->control, &f);
}

void engine_up(struct engine *e, uint64_t now_ms)
{
	assert(e->phase == ENGINE_DOWN);
	e->phase = ENGINE_HELLO;
	e->since_ms = e->moved_ms = now_ms;
	e->last_cut_ms = 0;
	e->out_before = e->in_before = e->out_unlanded = 0;
	pthread_mutex_lock(&e->lock);
	memset(&e->shown, 0, sizeof(e->shown));
	pthread_mutex_unlock(&e->lock);
	send_hello(e);
	look_and_show(e);
}

void engine_down(struct engine *e)
{
	e->phase = ENGINE_DOWN;
	buf_reset(&e->control);
	outbox_free(e->outbox);
	e->outbox = NULL;
	e->telling = false;
	told_free(e->told);
	e->told = NULL;
	if (e->inbox)
		e->kept = kept_new(e->inbox, e->kept, e->keep_least_bytes);
	shipment_free(e->inbox);
	e->inbox = NULL;
	verify_down(e->verify);
	heal_down(e->heal);
	e->n_unacked = 0;
	e->ack_owed = e->probe_out = e->probe_reply_owed = e->hold_for_word = e->peer_is_behind = false;
	e->dirty_since_ms = 0;
	e->refusal = (struct err)ERR_INIT;
	look_and_show(e);
}

/* ---- HELLO
 * ----------------------------------------------------------------------------------------------------------------- */

static int check_identity(const struct rec_hello *h, const struct volume_info *info, struct err *err)
{
	if (h->version != PROTOCOL_VERSION)
		return err_set(err, -EPERM,
			       "node %s speaks protocol %u, %s speaks %u: bring both to the same version of twinfs",
			       h->node_name, h->version, info->node_name, PROTOCOL_VERSION);
	if (strcmp(h->volume_id, info->volume_id) != 0)
		return err_set(err, -EPERM,
			       "node %s holds another volume (%s, not %s): join it with a token of this volume",
			       h->node_name, h->volume_id, info->volume_id);
	if (strcmp(h->node_id, info->node_id) == 0)
		return err_set(err, -EPERM, "node %s is a copy of this very store: only one of them may be mounted",
			       h->node_name);
	return 0;
}

/* These words go to the peer, too, where "this store" would be another one; and there is room for 255 bytes. */
#define NEWEST_COPY "put the newest copy back, or let %s join anew: twinfs(1), COPIES"

static int is_old(const char *old, const char *other, uint64_t has, uint64_t told, struct err *err)
{
	return err_set(err, -ESTALE,
		       "the store of %s is older than what %s has of it (group %llu, was %llu), as after restoring a "
		       "copy: " NEWEST_COPY,
		       old, other, (unsigned long long)has, (unsigned long long)told, old);
}

/* What the peer has applied of ours must be a group that we have, under the same random id; or one of us is an old
 * copy. */
static int check_history(struct engine *e, const struct rec_hello *h, const struct volume_info *info, struct err *err)
{
	uint64_t id = 0;
	int rc = 0;

	if (h->applied > info->committed)
		return is_old(info->node_name, h->node_name, info->committed, h->applied, err);
	if (h->committed < info->applied)
		return is_old(h->node_name, info->node_name, h->committed, info->applied, err);
	if (h->applied < info->acked)
		return err_set(err, -ESTALE,
			       "the store of %s has forgotten changes that it had acknowledged (group %llu, then "
			       "%llu), as after restoring a copy: " NEWEST_COPY,
			       h->node_name, (unsigned long long)info->acked, (unsigned long long)h->applied,
			       h->node_name);
	if (h->applied) {
		volume_lock(e->v);
		rc = group_id(e->v, h->applied, &id);
		volume_unlock(e->v);
	}
	if (rc == 0 && h->applied && h->applied_id && id != h->applied_id)
		return err_set(err, -ESTALE,
			       "the store of %s was put back from a copy and written on: its group %llu is not the one "
			       "that %s has: " NEWEST_COPY,
			       info->node_name, (unsigned long long)h->applied, h->node_name,
			       info->node_name);
	return 0;
}

/* At the primary: is what the secondary did after its group `from` under a word, and discarded? */
static bool discards_theirs(struct engine *e, uint64_t from)
{
	struct prefer word;
	bool yes;

	volume_lock(e->v);
	yes = prefer_in_force(e->v, &word) && word.word.keep == ROLE_PRIMARY && from < word.upto;
	volume_unlock(e->v);
	return yes;
}

/* At the primary: must what the secondary did come before anything of ours goes? */
static bool is_to_be_held(struct engine *e, uint64_t from)
{
	struct prefer word;
	bool yes;

	volume_lock(e->v);
	yes = prefer_in_force(e->v, &word) && (word.word.keep == ROLE_PRIMARY || word.pending) && from < word.upto;
	volume_unlock(e->v);
	return yes;
}

static int on_hello(struct engine *e, const struct rec_hello *h, uint64_t now_ms, struct err *err)
{
	struct volume_info info;
	struct prefer_word word;
	int rc;

	if (e->phase != ENGINE_HELLO)
		return err_set(err, -EBADMSG, "the peer said HELLO twice: dropping the connection");
	volume_info(e->v, &info);
	rc = check_identity(h, &info, err);
	if (rc == 0)
		rc = check_history(e, h, &info, err);
	if (rc == 0 && h->staged > KEPT_MAX_RANGES)
		rc = err_set(err, -EBADMSG, "the peer says it has %u ranges staged: dropping the connection",
			     h->staged);
	if (rc == 0)
		rc = roles_agree(e->v, h, err);
	if (rc == -EAGAIN)
		drop_kept(e); /* it was for another role */
	e->peer_is_behind = rc == 1;
	if (rc == 1)
		return 0;
	if (rc == 0)
		rc = prefer_agree(e->v, h, &word, err);
	if (rc < 0)
		return rc;
	snprintf(e->names.peer, sizeof(e->names.peer), "%s", h->node_name);
	if (word.id && info.role == ROLE_PRIMARY) {
		rc = merge_prefer(e->v, h, &word, &e->names, clock_real_ms(), err);
		if (rc < 0)
			return rc;
		volume_info(e->v, &info);
	}
	e->told = h->staged ? told_new(e->v, h->applied, h->staged) : NULL;
	/* Whoever has something of ours acknowledges it first of all, so this ends. */
	e->hold_for_word = info.role == ROLE_PRIMARY && h->applied > 0 && is_to_be_held(e, info.applied);
	e->phase = ENGINE_STREAM;
	heal_up(e->heal);
	e->peer_committed = h->committed;
	e->sent = h->applied;
	e->last_to = info.committed > info.acked ? info.committed : 0;
	e->ack_owed = info.applied > 0;
	e->backlog_to = info.pending_entries ? info.committed : 0;
	e->backlog_peer_to = h->committed;
	e->since_ms = e->moved_ms = now_ms;
	e->dirty_since_ms = now_ms;
	return 0;
}

/* ---- receiving
 * ------------------------------------------------------------------------------------------------------------- */

static void acknowledged(struct engine *e, uint64_t upto)
{
	unsigned keep = 0;

	for (unsigned i = 0; i < e->n_unacked; i++)
		if (e->unacked[i] > upto)
			e->unacked[keep++] = e->unacked[i];
	e->n_unacked = keep;
}

/*
 * No room for the peer's shipment. Dropping the connection at once would keep us full for ever: what we deleted is held
 * until the peer has it. So our own changes go out first (engine_tick ends it then); what arrives is not looked at.
 */
static int refuse(struct engine *e, uint64_t bytes, struct err *err)
{
	e->room_wanted_bytes = bytes;
	shipment_free(e->inbox);
	e->inbox = NULL;
	drop_kept(e);
	e->refusal = *err;
	*err = (struct err)ERR_INIT;
	return 0;
}

/* Known before the first byte is stored: better than after hours. */
static int check_room(struct engine *e, const struct rec_ship_begin *b, struct err *err)
{
	struct volume_space space;
	struct volume_ids ids;

	volume_space(e->v, &space);
	if (b->data_bytes > space.free_bytes) {
		/* The primary needs its history for this very shipment; the secondary can let go what was seen. */
		volume_lock_now(e->v);
		volume_ids(e->v, &ids);
		if (ids.role == ROLE_SECONDARY)
			history_purge(e->v, b->seen); /* a failure is latched and seen at the unlock */
		volume_unlock(e->v);
		volume_settle(e->v);
		volume_commit(e->v);
		volume_space(e->v, &space);
	}
	if (b->data_bytes <= space.free_bytes)
		return 0;
	return err_set(err, -ENOSPC,
		       "no room for the peer's changes: they bring %llu MiB, %llu MiB are left in %s; nothing of them "
		       "was taken",
		       (unsigned long long)(b->data_bytes >> 20), (unsigned long long)(space.free_bytes >> 20),
		       volume_dir(e->v));
}

static int on_ship_begin(struct engine *e, const struct rec_ship_begin *b, struct err *err)
{
	struct pending p;

	look(e, &p);
	if (e->inbox || e->refusal.code)
		return err_set(err, -EBADMSG, "the peer began a shipment inside another: dropping the connection");
	if (b->from != p.ids.applied || b->to < b->from)
		return err_set(err, -EBADMSG,
			       "the peer shipped groups %llu to %llu, but %llu is what is applied here: dropping the "
			       "connection",
			       (unsigned long long)b->from, (unsigned long long)b->to,
			       (unsigned long long)p.ids.applied);
	if (b->seen > p.ids.committed || b->seen < p.ids.acked)
		return err_set(err, -EBADMSG,
			       "the peer claims to have seen group %llu of %llu here (%llu acknowledged): dropping the "
			       "connection",
			       (unsigned long long)b->seen, (unsigned long long)p.ids.committed,
			       (unsigned long long)p.ids.acked);
	if (b->entries > SHIPMENT_MAX_ENTRIES)
		return err_set(err, -EBADMSG, "the peer announces %llu entries in one shipment: refused",
			       (unsigned long long)b->entries);
	if (e->kept && kept_from(e->kept) != b->from)
		drop_kept(e);
	/* The primary takes a word before it says anything else. */
	if (e->told_word && p.ids.role == ROLE_SECONDARY) {
		if (prefer_given(e->v).id == e->told_word)
			prefer_give(e->v, ROLE_NONE); /* if that fails it is told again, and known as taken */
		e->told_word = 0;
	}
	if (check_room(e, b, err))
		return refuse(e, b->data_bytes + (e->kept ? kept_bytes(e->kept) : 0), err);
	e->inbox = shipment_new(e->v, b, e->kept);
	if (b->data_bytes >= SAVE_EVERY * e->keep_least_bytes)
		e->inbox->save_every_bytes = MAX(SAVE_EVERY * e->keep_least_bytes, 1);
	return 0;
}

static int on_ship_end(struct engine *e, const struct rec_ship_end *end, uint64_t now_ms, struct err *err)
{
	struct shipment *s = e->inbox;
	struct volume_ids ids;
	uint64_t before;
	bool discards;
	int rc;

	if (!s || end->to != s->begin.to || end->frames != s->frames)
		return err_set(err, -EBADMSG,
			       "the peer ended a shipment that is not the one it began: dropping the connection");
	volume_lock_now(e->v);
	volume_ids(e->v, &ids);
	volume_unlock(e->v);
	before = ids.acked;
	e->hold_for_word = false;
	discards = discards_theirs(e, s->begin.from);
	/* Deletions that are discarded delete nothing. */
	rc = s->begin.from < e->backlog_peer_to && !e->deletions_confirmed && !discards
		     ? deletions_check(e->v, s, e->names.peer, err)
		     : 0;
	if (rc == -ECANCELED)
		return rc; /* a person will be asked; what is staged is kept (engine_down) */
	if (rc == 0)
		rc = ids.role == ROLE_PRIMARY ? merge_shipment(e->v, s, &e->names, clock_real_ms(), err)
					      : apply_shipment(e->v, s, err);
	if (rc == 0) {
		e->in_before += whole(&s->begin);
		if (s->begin.to >= e->backlog_peer_to)
			e->deletions_confirmed = false;
		volume_lock_now(e->v);
		volume_ids(e->v, &ids);
		volume_unlock(e->v);
		acknowledged(e, s->begin.seen);
		e->peer_committed = MAX(e->peer_committed, s->begin.to);
		if (!shipment_is_empty(s) || (s->begin.wants_ack & SHIP_WANTS_ACK))
			e->ack_owed = true;
		if (!shipment_is_empty(s)) {
			e->applied_shipments++;
			e->applied_entries += shipment_records(s);
			e->applied_bytes += s->data_bytes;
		}
		if (!shipment_is_empty(s))
			e->last_to = ids.committed; /* what this group superseded is kept until it is acknowledged */
		if (s->begin.wants_ack & SHIP_PROBE)
			e->probe_reply_owed = true;
		if (s->begin.wants_ack & SHIP_PROBE_REPLY) {
			e->probe_out = false;
			e->probes_answered++;
		}
		if (!e->dirty_since_ms)
			e->dirty_since_ms = now_ms;
		log_debug("engine", "%s: applied (%llu, %llu] seen %llu: %zu inodes %zu links; acked %llu -> %llu",
			  e->names.self, (unsigned long long)s->begin.from, (unsigned long long)s->begin.to,
			  (unsigned long long)s->begin.seen, s->n_inodes, s->n_links, (unsigned long long)before,
			  (unsigned long long)ids.acked);
	}
	drop_kept(e);
	shipment_free(s);
	e->inbox = NULL;
	return rc;
}

/* What it keeps of our shipment that broke off: before we cut the next one. */
static int on_staged(struct engine *e, const struct rec_staged *r, struct err *err)
{
	if (!e->told)
		return err_set(err, -EBADMSG, "the peer says what it has staged, unasked: dropping the connection");
	return told_add(e->told, r, err);
}

static int on_bye(struct engine *e, const struct rec_bye *b)
{
	pthread_mutex_lock(&e->lock);
	e->shown.peer_bye = true;
	e->shown.peer_bye_planned = b->planned;
	snprintf(e->shown.peer_bye_reason, sizeof(e->shown.peer_bye_reason), "%s", b->reason);
	pthread_mutex_unlock(&e->lock);
	return 0;
}

static int on_frame(struct engine *e, struct frame *f, uint64_t now_ms, struct err *err)
{
	int rc;

	if (f->type == FRAME_HELLO)
		return on_hello(e, &f->hello, now_ms, err);
	if (f->type == FRAME_BYE)
		return on_bye(e, &f->bye);
	if (f->type == FRAME_HEARTBEAT || f->type == FRAME_CREDIT)
		return 0;
	if (e->peer_is_behind)
		return 0; /* what it said in its old role; it begins anew */
	if (e->phase != ENGINE_STREAM)
		return err_set(err, -EBADMSG, "the peer sent data before HELLO: dropping the connection");
	if (f->type == FRAME_STAGED)
		return on_staged(e, &f->staged, err);
	if (f->type == FRAME_VERIFY)
		return verify_receive(e->verify, &f->verify, now_ms, err);
	if (f->type == FRAME_HEAL)
		return heal_receive(e->heal, &f->heal, err);
	if (f->type == FRAME_SHIP_BEGIN)
		return on_ship_begin(e, &f->begin, err);
	if (e->refusal.code && f->type != FRAME_SHIP_END)
		return 0;
	if (e->refusal.code) {
		*err = e->refusal;
		return err->code;
	}
	if (f->type == FRAME_SHIP_END)
		return on_ship_end(e, &f->end, now_ms, err);
	if (!e->inbox)
		return err_set(err, -EBADMSG, "the peer sent a record outside of a shipment: dropping the connection");
	rc = shipment_add(e->inbox, f, err);
	return rc == -ENOSPC ? refuse(e, e->inbox->begin.data_bytes, err) : rc;
}

int engine_receive(struct engine *e, const uint8_t *frame, size_t len_bytes, uint64_t now_ms, struct err *err)
{
	struct frame *f = xmalloc(sizeof(*f));
	ssize_t n;
	int rc;

	if (e->phase == ENGINE_DOWN) {
		free(f);
		return err_set(err, -ENOTCONN, "a frame came without a connection");
	}
	e->moved_ms = now_ms;
	n = frame_decode(frame, len_bytes, f, e->scratch, err);
	if (n < 0) {
		rc = (int)n;
	} else if ((size_t)n != len_bytes) {
		rc = err_set(err, -EBADMSG, "the peer sent a frame cut short: dropping the connection");
	} else {
		bool end = f->type == FRAME_SHIP_END || f->type == FRAME_HELLO || f->type == FRAME_SHIP_BEGIN;

		rc = on_frame(e, f, now_ms, err);
		frame_release(f);
		if (end)
			look_and_show(e);
		else
			show_progress(e);
	}
	free(f);
	return rc;
}

/* ---- sending
 * ---------------------------------------------------------------------------------------------------------------- */

/* Is there anything that a shipment should be cut for? */
static bool wanted(const struct engine *e, const struct pending *p)
{
	return p->group_open || p->unsent || e->ack_owed || e->probe_wanted || e->probe_reply_owed;
}

static int cut(struct engine *e, uint64_t now_ms, struct err *err)
{
	uint8_t flags = 0;
	struct volume_ids ids;
	int rc = outbox_cut(e->v, e->sent, e->told, &e->outbox, err);

	if (rc < 0)
		return rc;
	e->told = NULL; /* the outbox has it */
	volume_lock_now(e->v);
	volume_ids(e->v, &ids);
	volume_unlock(e->v);
	e->sent = outbox_begin(e->outbox)->to;
	if (!outbox_is_empty(e->outbox))
		e->last_to = e->sent;
	if (e->last_to > ids.acked)
		flags |= SHIP_WANTS_ACK;
	if (e->probe_wanted) {
		flags |= SHIP_PROBE;
		e->probe_out = true;
	}
	if (e->probe_reply_owed)
		flags |= SHIP_PROBE_REPLY;
	outbox_set_flags(e->outbox, flags);
	verify_cut(e->verify, e->sent, outbox_begin(e->outbox)->seen);
	if (flags & SHIP_WANTS_ACK) {
		if (e->n_unacked == SHIPMENTS_AHEAD)
			e->n_unacked--; /* an acknowledgement went in spite of the limit; the later number covers the
					   earlier */
		e->unacked[e->n_unacked++] = e->sent;
	}
	e->ack_owed = e->probe_wanted = e->probe_reply_owed = e->hurry = false;
	e->dirty_since_ms = 0;
	e->last_cut_ms = now_ms;
	return 0;
}

static bool may_cut(const struct engine *e)
{
	if (e->hold_for_word)
		return false;
	return told_all(e->told) && (e->n_unacked < SHIPMENTS_AHEAD || e->ack_owed || e->probe_reply_owed);
}

static uint64_t cut_time(const struct engine *e)
{
	if (e->hurry || e->ack_owed || e->probe_wanted || e->probe_reply_owed)
		return 0;
	if (e->n_unacked == 0)
		return MAX(e->dirty_since_ms + LINGER_MS, e->last_cut_ms + LINGER_MS);
	return e->last_cut_ms + BATCH_MS;
}

int engine_tick(struct engine *e, uint64_t now_ms, struct err *err)
{
	struct pending p;
	int rc = 0;

	if (e->outbox)
		e->moved_ms = now_ms;
	look(e, &p);
	if (e->phase == ENGINE_STREAM && !e->outbox && wanted(e, &p)) {
		if (!e->dirty_since_ms)
			e->dirty_since_ms = now_ms;
		/* An acknowledgement never waits for one, or both sides might wait for each other. */
		if (may_cut(e) && now_ms >= cut_time(e)) {
			rc = cut(e, now_ms, err);
			look(e, &p);
		}
	} else if (!wanted(e, &p)) {
		e->hurry = false;
	}
	verify_tick(e->verify, now_ms);
	if (e->phase == ENGINE_STREAM && !e->outbox && !wanted(e, &p) && verify_wants_mark(e->verify))
		verify_all_is_out(e->verify, e->sent);
	show(e, &p);
	if (!rc && e->refusal.code && !e->outbox && !p.group_open && !p.unsent) {
		*err = e->refusal;
		rc = err->code;
	}
	return rc;
}

uint64_t engine_deadline(struct engine *e, uint64_t now_ms)
{
	struct pending p;

	if (e->phase != ENGINE_STREAM || e->outbox || !may_cut(e))
		return UINT64_MAX;
	look(e, &p);
	if (!wanted(e, &p))
		return UINT64_MAX;
	if (!e->dirty_since_ms)
		e->dirty_since_ms = now_ms;
	return MAX(cut_time(e), now_ms);
}

uint64_t engine_room_wanted(const struct engine *e)
{
	return e->room_wanted_bytes;
}

ssize_t engine_pull(struct engine *e, struct buf *out, size_t want_bytes, struct err *err)
{
	size_t start = out->len_bytes;
	int rc;

	if (e->control.len_bytes) {
		rc = buf_append(out, e->control.data, e->control.len_bytes);
		if (rc < 0)
			return rc;
		buf_reset(&e->control);
	}
	if (e->phase == ENGINE_STREAM && !e->telling) {
		verify_pull(e->verify, out);
		heal_pull(e->heal, out);
	}
	if (e->telling) {
		rc = kept_tell(e->kept, out, want_bytes);
		if (rc < 0)
			return rc;
		e->telling = rc == 0;
	} else if (e->outbox && e->phase == ENGINE_STREAM) {
		rc = outbox_pull(e->outbox, out, want_bytes, err);
		if (rc < 0)
			return rc;
		if (rc == 1) {
			e->out_before += whole(outbox_begin(e->outbox));
			e->out_unlanded += outbox_begin(e->outbox)->entries;
			outbox_free(e->outbox);
			e->outbox = NULL;
			verify_sent(e->verify);
			look_and_show(e);
		} else {
			show_progress(e);
		}
	}
	return (ssize_t)(out->len_bytes - start);
}

void engine_bye(struct engine *e, bool planned, const char *reason)
{
	struct frame f = { .type = FRAME_BYE, .bye = { .planned = planned } };

	if (e->phase == ENGINE_DOWN)
		return;
	snprintf(f.bye.reason, sizeof(f.bye.reason), "%s", reason ? reason : "");
	frame_encode(&e->control, &f);
}

bool engine_settled(struct engine *e)
{
	struct pending p;

	look(e, &p);
	return settled(e, &p);
}

const char *engine_unsettled(struct engine *e)
{
	struct pending p;

	look(e, &p);
	return unsettled(e, &p);
}

void engine_hurry(struct engine *e)
{
	e->hurry = true;
	if (e->phase == ENGINE_STREAM && !e->probe_out)
		e->probe_wanted = true;
}
