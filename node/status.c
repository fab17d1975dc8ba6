/* SPDX-License-Identifier: MIT */
#include "node/status.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "node/words.h"
#include "node/last.h"
#include "node/scrub.h"
#include "node/verify.h"
#include "node/seen.h"
#include "sync/prefer.h"
#include "sync/progress.h"
#include "util/util.h"

static json_t *text_or_null(const char *text)
{
	return text && *text ? json_string(text) : json_null();
}

static json_t *number(uint64_t n)
{
	return json_integer((json_int_t)MIN(n, (uint64_t)INT64_MAX));
}

static const char *role_word(enum role role)
{
	return role == ROLE_PRIMARY ? "primary" : role == ROLE_SECONDARY ? "secondary" : "none";
}

/* What is said about the state; texts are borrowed or in buf. */
struct condition {
	const char *state;
	char why[1200], action[1200], error[1200]; /* error: needs a person */
	uint64_t since_ms;
};

/* Behind what is there already. */
static void __attribute__((format(printf, 3, 4))) append(char *text, size_t cap_bytes, const char *fmt, ...)
{
	size_t len = strlen(text);
	va_list ap;

	if (len > 0)
		len += (size_t)snprintf(text + len, cap_bytes - len, "; ");
	if (len >= cap_bytes)
		return;
	va_start(ap, fmt);
	vsnprintf(text + len, cap_bytes - len, fmt, ap);
	va_end(ap);
}

/* When the store was written last: it was unmounted (or died) a little later. */
static uint64_t last_written_ms(const char *dir)
{
	static const char *const files[] = { "twinfs.db", "image" };
	uint64_t last_ms = 0;

	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		char *path = xasprintf("%s/%s", dir, files[i]);
		struct stat st;

		if (stat(path, &st) == 0)
			last_ms = MAX(last_ms, (uint64_t)st.st_mtim.tv_sec * 1000);
		free(path);
	}
	return last_ms;
}

static void condition_unmounted(struct volume *v, const char *mountpoint, struct condition *c)
{
	const char *dir = volume_dir(v);

	c->state = "unmounted";
	c->since_ms = last_written_ms(dir);
	if (mountpoint) {
		snprintf(c->why, sizeof(c->why), "the program behind %s has died", mountpoint);
		snprintf(c->action, sizeof(c->action), "twinfs mount %s %s", dir, mountpoint);
		snprintf(c->error, sizeof(c->error), "%s", c->why);
	} else {
		snprintf(c->why, sizeof(c->why), "not mounted");
		snprintf(c->action, sizeof(c->action), "twinfs mount %s MOUNTPOINT", dir);
	}
}

/* A pause that ends by itself says when. */
static void condition_until(struct volume *v, struct condition *c)
{
	char *until = volume_setting_get(v, SETTING_PAUSED_UNTIL), when[21];

	if (until && *until) {
		time_rfc3339(strtoull(until, NULL, 10), when);
		append(c->action, sizeof(c->action), "it resumes by itself at %s", when);
	}
	free(until);
}

static void condition_mounted(struct volume *v, const struct link_status *link, struct condition *c)
{
	c->state = link_state_word(link->state);
	c->since_ms = link->since_ms;
	snprintf(c->why, sizeof(c->why), "%s", link->why);
	snprintf(c->action, sizeof(c->action), "%s", link->action);
	if (link->state == LINK_PAUSED)
		condition_until(v, c);
	if (link->needs_person)
		snprintf(c->error, sizeof(c->error), "%s", *link->why ? link->why : link->last_error);
	if (link->state == LINK_UNPAIRED && !*c->why) {
		char *invite = volume_setting_get(v, "invite");

		if (invite && *invite) {
			snprintf(c->why, sizeof(c->why), "an invitation is open; the other side has not used it yet");
			snprintf(c->action, sizeof(c->action), "on the other machine: twinfs join TOKEN STORE");
		} else {
			snprintf(c->why, sizeof(c->why), "this store has no peer yet");
			snprintf(c->action, sizeof(c->action), "twinfs invite %s", volume_dir(v));
		}
		free(invite);
	}
}

/* The store itself cannot go on: that comes before all that is said of the link. */
static void condition_fault(struct volume *v, const char *fault, int code, struct condition *c)
{
	const char *dir = volume_dir(v);

	snprintf(c->why, sizeof(c->why), "the store takes no changes: %s", fault);
	if (code == -ENOSPC)
		snprintf(c->action, sizeof(c->action), "make room on the disk under %s; it goes on by itself", dir);
	else if (code == -EROFS)
		snprintf(c->action, sizeof(c->action),
			 "make the filesystem under %s writable; it goes on by itself; where that needs it to be "
			 "unmounted or checked first, unmount here before and mount again after", dir);
	else if (code == -EUCLEAN)
		snprintf(c->action, sizeof(c->action), "unmount, then twinfs fsck %s", dir);
	else
		snprintf(c->action, sizeof(c->action),
			 "look at the disk under %s; it goes on by itself when that works again; if the store is now "
			 "elsewhere or on a new device: unmount and mount again", dir);
	snprintf(c->error, sizeof(c->error), "%s", c->why);
}

/* What is on that page cannot be had, the rest can. */
static void condition_damage(struct volume *v, struct condition *c)
{
	uint32_t page = volume_damaged_page(v);

	if (page == 0)
		return;
	snprintf(c->why, sizeof(c->why),
	         "the database is damaged: its page %u is not what was written, and what it had cannot be read",
	         (unsigned)page);
	snprintf(c->action, sizeof(c->action), "unmount, then twinfs fsck %s", volume_dir(v));
	snprintf(c->error, sizeof(c->error), "%s", c->why);
}

/* Warned of below a twentieth, or a gigabyte of a large store. */
#define LOW_SHARE 20u
#define LOW_MAX_BYTES (UINT64_C(1) << 30)

static bool is_low(const struct volume_space *s)
{
	return s->full || s->avail_bytes < MIN(s->total_bytes / LOW_SHARE, LOW_MAX_BYTES);
}

static void condition_space(struct volume *v, const struct volume_space *s, struct condition *c)
{
	char text[sizeof(c->why) / 2] = "";
	const char *dir = volume_dir(v), *where = s->host_is_less ? "the disk under it" : "the store";
	bool held = s->history_bytes > s->used_bytes / 10;

	if (!is_low(s))
		return;
	if (held)
		snprintf(text, sizeof(text), "; %" PRIu64 " MiB are held for the peer until it is back in step",
			 s->history_bytes >> 20);
	if (s->full)
		snprintf(c->error, sizeof(c->error), "no room: %s is full, writes are refused%s", where, text);
	append(c->why, sizeof(c->why), s->full ? "no room: %s is full, writes are refused%s" : "%s is nearly full%s",
	       where, text);
	/* Deleting what the peer knows of only makes more of what is held. */
	if (held)
		append(c->action, sizeof(c->action),
		       s->host_is_less ? "let the peer get back in step, which frees what is held, or make room on the "
		                         "disk under %s; deleted files take room until then"
		                       : "let the peer get back in step, which frees what is held, or twinfs resize %s "
		                         "SIZE; deleted files take room until then", dir);
	else
		append(c->action, sizeof(c->action),
		       s->host_is_less ? "make room on the disk under %s, or delete files"
		                       : "delete files, or twinfs resize %s SIZE", dir);
}

static void condition_find(struct volume *v, const char *mountpoint, const struct link_status *link,
                           const struct volume_info *info, struct condition *c)
{
	struct volume_space space;
	int code;
	char *fault = volume_fault(v, &code);
	uint64_t found = last_found(v, "scrub");

	if (link)
		condition_mounted(v, link, c);
	else
		condition_unmounted(v, mountpoint, c);
	volume_space(v, &space);
	if (fault)
		condition_fault(v, fault, code, c);
	else if (link)
		condition_space(v, &space, c);
	if (!fault)
		condition_damage(v, c);
	if (!*c->error && found > 0) {
		snprintf(c->error, sizeof(c->error), "the last scrub found %llu damaged block%s",
		         (unsigned long long)found, found == 1 ? "" : "s");
		if (!*c->action)
			snprintf(c->action, sizeof(c->action),
			         "write the damaged files anew or delete them, then twinfs scrub %s",
			         mountpoint ? mountpoint : volume_dir(v));
	}
	found = last_found(v, "verify");
	if (!*c->error && found > 0 && info->role != ROLE_NONE) {
		snprintf(c->error, sizeof(c->error), "the last verify found %llu difference%s between both sides",
		         (unsigned long long)found, found == 1 ? "" : "s");
		if (!*c->action)
			snprintf(c->action, sizeof(c->action),
			         "twinfs verify %s lists them; write anew what is right, on the side that has it",
			         mountpoint ? mountpoint : volume_dir(v));
	}
	if (!*c->action && info->conflicts_open > 0)
		snprintf(c->action, sizeof(c->action), "look at the conflicts: twinfs conflicts %s",
		         mountpoint ? mountpoint : volume_dir(v));
	if (c->since_ms == 0)
		c->since_ms = clock_real_ms();
	free(fault);
}

static json_t *peer_object(struct volume *v, const struct volume_info *info, const struct link_status *link)
{
	char *name = volume_setting_get(v, "peer.name"), *address = volume_setting_get(v, "peer.address");
	char *seen_at;
	uint64_t seen_ms = seen_get(v, &seen_at);
	json_t *peer = NULL;

	if (info->role != ROLE_NONE) {
		const char *at = link && *link->peer_address ? link->peer_address : address ?: seen_at;

		peer = json_pack("{s:s, s:o, s:o, s:o}", "node", name && *name ? name : "?", "address",
		                 text_or_null(at), "last_seen",
		                 words_time(MAX(link ? link->peer_last_seen_ms : 0, seen_ms)), "last_error",
		                 text_or_null(link ? link->last_error : NULL));
	}
	free(seen_at);
	free(name);
	free(address);
	return peer ? peer : json_null();
}

static bool is_up(const struct link_status *link)
{
	return link && (link->state == LINK_CONNECTED || link->state == LINK_RESYNCING);
}

static json_t *groups_object(const struct volume_info *info, const struct link_status *link)
{
	uint64_t shipped = is_up(link) ? link->engine.shipped : info->cut;

	if (info->role == ROLE_NONE)
		shipped = 0;
	return json_pack("{s:o, s:o, s:o, s:o}", "committed", number(info->committed), "shipped",
	                 number(MAX(shipped, info->acked)), "acked", number(info->acked), "peer_applied",
	                 number(info->applied));
}

static json_t *pending_object(const struct volume_info *info)
{
	uint64_t now_ms = clock_real_ms(), oldest_ms = info->pending_oldest_ms;

	return json_pack("{s:o, s:o, s:o}", "bytes", number(info->pending_bytes), "entries",
	                 number(info->pending_entries), "oldest_ms",
	                 number(oldest_ms > 0 && oldest_ms < now_ms ? now_ms - oldest_ms : 0));
}

/* The baseline stands still while the peer is away: since the oldest change it does not have, or since it went. */
static json_t *baseline_object(const struct volume_info *info, const struct link_status *link)
{
	uint64_t since_ms = 0;

	if (info->role != ROLE_NONE && !is_up(link)) {
		since_ms = link ? link->since_ms : 0;
		if (info->pending_oldest_ms > 0 && (since_ms == 0 || info->pending_oldest_ms < since_ms))
			since_ms = info->pending_oldest_ms;
	}
	return json_pack("{s:o, s:o, s:o}", "group", number(info->acked), "frozen_since", words_time(since_ms),
	                 "bytes", number(info->history_bytes));
}

static json_t *resync_object(const struct link_status *link)
{
	const struct engine_status *e = link ? &link->engine : NULL;
	struct progress p;

	if (!e || link->state != LINK_RESYNCING)
		return json_null();
	p = progress_of(e, clock_mono_ms());
	return json_pack("{s:s, s:o, s:o, s:I, s:o}", "direction",
	                 e->sending == e->receiving ? "both"
	                 : e->sending               ? "send"
	                                            : "receive",
	                 "bytes_done", number(p.done_bytes), "bytes_total", number(p.total_bytes), "eta_s",
	                 (json_int_t)p.eta_s, "bytes_per_s", number(p.bytes_per_s));
}

/* A resume --prefer that waits until both meet, or is being carried out. */
static json_t *prefer_object(struct volume *v, const struct volume_info *info)
{
	bool in_force;
	struct prefer_word w = prefer_said(v, &in_force);

	if (w.id == 0)
		return json_null();
	return json_pack("{s:s, s:b}", "keep", w.keep == info->role ? "local" : "peer", "in_force", in_force);
}

static json_t *space_object(struct volume *v)
{
	struct volume_space s;

	volume_space(v, &s);
	return json_pack("{s:o, s:o, s:o, s:o, s:o, s:b, s:b}", "used", number(s.used_bytes), "size",
			 number(s.total_bytes), "kept", number(volume_kept_bytes(v)),
			 "available", number(s.avail_bytes), "limit", s.size_bytes ? number(s.size_bytes) : json_null(),
			 "low", is_low(&s), "full", s.full);
}

json_t *status_object(struct volume *v, const char *mountpoint, const struct link_status *link)
{
	struct condition c = { .state = NULL };
	struct volume_info info;
	json_t *o = json_object();

	volume_info(v, &info);
	condition_find(v, mountpoint, link, &info, &c);
	json_object_set_new(o, "store", json_string(volume_dir(v)));
	json_object_set_new(o, "mountpoint", text_or_null(mountpoint));
	json_object_set_new(o, "volume", json_string(info.volume_id));
	json_object_set_new(o, "node", json_string(info.node_name));
	json_object_set_new(o, "node_id", json_string(info.node_id));
	json_object_set_new(o, "role", json_string(role_word(info.role)));
	json_object_set_new(o, "generation", number(info.generation));
	json_object_set_new(o, "state", json_string(c.state));
	json_object_set_new(o, "why", text_or_null(c.why));
	json_object_set_new(o, "since", words_time(c.since_ms));
	json_object_set_new(o, "action", text_or_null(c.action));
	json_object_set_new(o, "error", text_or_null(c.error));
	json_object_set_new(o, "peer", peer_object(v, &info, link));
	json_object_set_new(o, "groups", groups_object(&info, link));
	json_object_set_new(o, "pending", pending_object(&info));
	json_object_set_new(o, "baseline", baseline_object(&info, link));
	json_object_set_new(o, "resync", resync_object(link));
	json_object_set_new(o, "prefer", prefer_object(v, &info));
	json_object_set_new(o, "conflicts", number(info.conflicts_open));
	json_object_set_new(o, "merged", number(info.conflicts_merged));
	json_object_set_new(o, "verify", verify_object(v, NULL));
	json_object_set_new(o, "scrub", scrub_object(v, NULL));
	json_object_set_new(o, "space", space_object(v));
	json_object_set_new(o, "losses", json_pack("{s:o, s:o, s:o}", "groups", number(info.losses), "last",
	                                           words_time(info.loss_last_ms), "commits",
	                                           number(info.commits_lost)));
	return o;
}

/* ---- conflicts --------------------------------------------------------------------------------- */

static json_t *path_or_null(const char *path)
{
	return path ? words_path(path) : json_null();
}

static json_t *versions_array(const struct volume_info *info, const struct conflict *c)
{
	json_t *list = json_array();
	int local = conflict_side(info, c);

	for (int i = 0; i < 2; i++) {
		const struct conflict_version *version = &c->version[i];

		if (!*version->node)
			continue;
		json_array_append_new(list, json_pack("{s:s, s:s, s:o, s:o, s:o}", "node", version->node, "side",
		                                      i == local ? "local" : "peer", "path",
		                                      path_or_null(version->path), "written",
		                                      words_time(version->written_ms), "value",
		                                      path_or_null(version->value)));
	}
	return list;
}

json_t *status_conflict(const struct volume_info *info, const struct conflict *c)
{
	json_t *base = c->base_path ? json_pack("{s:o}", "path", words_path(c->base_path)) : json_null();

	return json_pack("{s:o, s:o, s:s, s:s, s:s, s:o, s:o, s:o, s:b}", "id", number(c->id), "path",
	                 path_or_null(c->now ?: c->path), "kind", c->kind, "outcome", c->outcome, "rule",
	                 c->rule ?: "", "when", words_time(c->when_ms), "versions", versions_array(info, c), "base",
	                 base, "resolved", c->resolved);
}

json_t *status_conflicts(struct volume *v, const char *about, struct err *err)
{
	struct conflict *rows = NULL;
	struct volume_info info;
	size_t n = 0;
	json_t *list;
	int rc = volume_conflicts_about(v, about, &rows, &n);

	if (rc) {
		err_set(err, rc, "cannot read the conflicts of %s: %s", volume_dir(v), strerror(-rc));
		return NULL;
	}
	volume_info(v, &info);
	list = json_array();
	for (size_t i = 0; i < n; i++) {
		json_array_append_new(list, status_conflict(&info, &rows[i]));
		conflict_release(&rows[i]);
	}
	free(rows);
	return list;
}
