/* SPDX-License-Identifier: MIT */
#include "node/watch.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "node/internal.h"
#include "node/status.h"
#include "util/map.h"
#include "util/util.h"

struct watch {
	struct node *n;
	struct events *events;
	pthread_mutex_t lock; /* protects the rest: what was seen last */
	struct link_status link;
	struct volume_info info;
	struct map conflicts; /* id -> 1, and 2: it is settled, and 4: it waits for a person */
};

struct watch *watch_new(struct node *n)
{
	struct watch *w = xcalloc(1, sizeof(*w));

	w->n = n;
	w->events = events_new();
	pthread_mutex_init(&w->lock, NULL);
	return w;
}

void watch_end(struct watch *w)
{
	events_add(w->events, json_pack("{s:s, s:s}", "event", "unmounted", "text", "it is being unmounted"));
	events_end(w->events);
}

void watch_free(struct watch *w)
{
	if (!w)
		return;
	events_free(w->events);
	map_release(&w->conflicts);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

bool watch_is_followed(struct watch *w)
{
	return events_followed(w->events);
}

/* ---- the link ---- */

static json_t *state_event(const struct link_status *now, const struct link_status *before)
{
	const char *word = link_state_word(now->state), *peer = now->engine.peer_node;
	char text[700];

	snprintf(text, sizeof(text), "%s%s%s%s%s", word, *peer && now->state == LINK_CONNECTED ? " to " : "",
	         now->state == LINK_CONNECTED ? peer : "", *now->why ? ": " : "", now->why);
	return json_pack("{s:s, s:s, s:s*, s:s?, s:s}", "event", "state", "state", word, "before",
	                 before ? link_state_word(before->state) : NULL, "why", *now->why ? now->why : NULL, "text",
	                 text);
}

static void tell_resync(struct watch *w, bool begins)
{
	events_add(w->events,
	           json_pack("{s:s, s:s, s:s}", "event", "resync", "phase", begins ? "begin" : "end", "text",
	                     begins ? "what changed while apart is on its way" : "both sides are in step again"));
}

static void look_at_link(struct watch *w, const struct link_status *now)
{
	const struct link_status *was = &w->link;
	const char *error = *now->why ? now->why : now->last_error;

	if (now->state != was->state || strcmp(now->why, was->why) != 0)
		events_add(w->events, state_event(now, was));
	if (now->state == LINK_RESYNCING && was->state != LINK_RESYNCING)
		tell_resync(w, true);
	if (now->state == LINK_CONNECTED && was->state == LINK_RESYNCING)
		tell_resync(w, false);
	if (now->needs_person && (!was->needs_person || strcmp(now->last_error, was->last_error) != 0))
		events_add(w->events, json_pack("{s:s, s:s}", "event", "error", "text", error));
}

/* Counts begin anew when a link is replaced. */
static uint64_t more(uint64_t now, uint64_t was)
{
	return now >= was ? now - was : now;
}

static void look_at_applied(struct watch *w, const struct engine_status *now, const struct volume_info *info)
{
	const struct engine_status *was = &w->link.engine;
	uint64_t shipments = more(now->applied_shipments, was->applied_shipments);
	uint64_t entries = more(now->applied_entries, was->applied_entries);
	uint64_t bytes = more(now->applied_bytes, was->applied_bytes);
	char text[120];

	if (shipments == 0)
		return;
	snprintf(text, sizeof(text), "%llu change%s of the peer applied, %llu bytes of data",
	         (unsigned long long)entries, entries == 1 ? "" : "s", (unsigned long long)bytes);
	events_add(w->events, json_pack("{s:s, s:I, s:I, s:I, s:I, s:s}", "event", "applied", "shipments",
	                                (json_int_t)shipments, "entries", (json_int_t)entries, "bytes",
	                                (json_int_t)bytes, "group", (json_int_t)info->applied, "text", text));
}

/* ---- the volume ---- */

static void look_at_fault(struct watch *w, const struct volume_info *now)
{
	char *fault = now->read_only && !w->info.read_only ? volume_fault(w->n->volume, NULL) : NULL;

	if (fault)
		events_add(w->events, json_pack("{s:s, s:s}", "event", "error", "text", fault));
	free(fault);
}

static void tell_conflict(struct watch *w, const struct volume_info *info, const struct conflict *c, const char *word)
{
	json_t *event = status_conflict(info, c);
	char *text = xasprintf("%s (%s, %s): %s: %s", word, c->kind, c->outcome, c->now ?: c->path ?: "?",
	                       c->rule ?: "");

	json_object_set_new(event, "event", json_string(word));
	json_object_set_new(event, "text", json_string(text) ?: json_string("a conflict was noted or settled"));
	events_add(w->events, event);
	free(text);
}

/* What has become of a row since it was `was` (0: it was not there); NULL: nothing to tell. */
static const char *conflict_word(const struct conflict *c, uint64_t was, uint64_t is)
{
	if (was == is || (was && c->resolved && (was & 2)))
		return NULL;
	if (was && c->resolved)
		return "resolved";
	return strcmp(c->outcome, "merged") == 0 ? "merged" : "conflict";
}

/* Rows that are not as they were the last time; `tell` them, or only remember. */
static void look_at_conflicts(struct watch *w, const struct volume_info *info, bool tell)
{
	struct conflict *rows = NULL;
	size_t n = 0;

	if (volume_conflicts(w->n->volume, &rows, &n))
		n = 0;
	for (size_t i = 0; i < n; i++) {
		const struct conflict *c = &rows[i];
		uint64_t was = 0, is = 1 | (c->resolved ? 2 : 0) | (conflict_waits(c) ? 4 : 0);
		const char *word;

		map_get(&w->conflicts, c->id, &was);
		word = conflict_word(c, was, is);
		map_put(&w->conflicts, c->id, is);
		if (tell && word)
			tell_conflict(w, info, c, word);
		conflict_release(&rows[i]);
	}
	free(rows);
}

/* ---- looking ---- */

static void look(struct watch *w, bool tell)
{
	struct link_status link;
	struct volume_info info;

	node_link_status(w->n, &link);
	volume_info(w->n->volume, &info);
	if (tell) {
		look_at_link(w, &link);
		look_at_applied(w, &link.engine, &info);
		look_at_fault(w, &info);
	}
	if (!tell || info.conflicts_noted != w->info.conflicts_noted)
		look_at_conflicts(w, &info, tell);
	w->link = link;
	w->info = info;
}

void watch_look(struct watch *w)
{
	if (!watch_is_followed(w))
		return;
	pthread_mutex_lock(&w->lock);
	look(w, true);
	pthread_mutex_unlock(&w->lock);
}

int watch_follow(struct watch *w, struct control_client *client, struct err *err)
{
	json_t *first;

	pthread_mutex_lock(&w->lock);
	look(w, watch_is_followed(w)); /* what was before the first follower came is not told */
	first = state_event(&w->link, NULL);
	pthread_mutex_unlock(&w->lock);
	return events_follow(w->events, client, first, err);
}
