/* SPDX-License-Identifier: MIT */
#include "node/verify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "node/internal.h"
#include "node/last.h"
#include "node/words.h"
#include "util/log.h"
#include "util/util.h"

#define SAY_EVERY_MS 1000u
/* The peer's name of it may be any bytes. */
#define NO_TEXT "has another name at the peer, which is no UTF-8"
/* So long at most is waited for an answer before it is looked whether anybody still wants it. */
#define SLICE_MS 200u

static json_int_t eta_s(uint64_t done, uint64_t total, uint64_t started_ms)
{
	uint64_t elapsed_ms = clock_mono_ms() - started_ms;

	return done ? (json_int_t)((double)(total > done ? total - done : 0) * (double)elapsed_ms / (double)done / 1000)
		    : -1;
}

json_t *verify_object(struct volume *v, struct verify_state *state)
{
	json_t *o = last_object(v, "verify");

	if (!state)
		return o;
	pthread_mutex_lock(&state->lock);
	if (state->running) {
		json_object_set_new(o, "done", json_integer((json_int_t)state->done));
		json_object_set_new(o, "total", json_integer((json_int_t)state->total));
		json_object_set_new(o, "eta_s", json_integer(eta_s(state->done, state->total, state->started_ms)));
	}
	pthread_mutex_unlock(&state->lock);
	return o;
}

/* ---- one run ---- */

static void show(struct node *n, const struct verify_result *res)
{
	pthread_mutex_lock(&n->verify.lock);
	n->verify.done = res->inodes + res->names;
	n->verify.total = MAX(res->total, n->verify.done);
	pthread_mutex_unlock(&n->verify.lock);
}

static void say_progress(struct node *n, struct control_client *client, const struct verify_result *res)
{
	char text[200], left[48] = "";
	json_int_t eta;

	if (res->group == 0) {
		control_say(client, "waiting for a moment in which both sides have the same");
		return;
	}
	pthread_mutex_lock(&n->verify.lock);
	eta = eta_s(n->verify.done, n->verify.total, n->verify.started_ms);
	if (eta >= 0)
		snprintf(left, sizeof(left), ", %" JSON_INTEGER_FORMAT ":%02" JSON_INTEGER_FORMAT " min left", eta / 60,
			 eta % 60);
	snprintf(text, sizeof(text), "%" PRIu64 " of %" PRIu64 " inodes and names compared%s; %" PRIu64 " differences",
		 n->verify.done, n->verify.total, left, res->differences);
	pthread_mutex_unlock(&n->verify.lock);
	control_say(client, text);
}

static int is_refused(struct node *n, struct err *err)
{
	struct volume_info info;
	struct link_status link;

	volume_info(n->volume, &info);
	if (info.role == ROLE_NONE)
		return err_set(err, -EINVAL, "%s has no peer to be compared with; see twinfs invite", n->mountpoint);
	node_link_status(n, &link);
	if (link.engine.phase != ENGINE_STREAM)
		return err_set(err, -ENOTCONN, "%s cannot be compared with its peer: it is %s%s%s; %s", n->mountpoint,
			       link_state_word(link.state), *link.why ? ": " : "", link.why,
			       *link.action ? link.action : "try again when twinfs status says that it is connected");
	return 0;
}

/* With the link as it is now; another one than the run was begun with says so itself. */
static int step(struct node *n, struct verify_run **r, struct err *err)
{
	int rc;

	pthread_rwlock_rdlock(&n->link_lock);
	if (!n->link)
		rc = err_set(err, -ESHUTDOWN, "%s is being unmounted", n->mountpoint);
	else if (!*r)
		rc = verify_begin(link_verify(n->link), (uint64_t)clock_real_ns(), r, err);
	else
		rc = verify_step(*r, link_verify(n->link), SLICE_MS, clock_mono_ms(), err);
	pthread_rwlock_unlock(&n->link_lock);
	return rc;
}

static void end(struct node *n, struct verify_run *r)
{
	pthread_rwlock_rdlock(&n->link_lock);
	verify_end(r, n->link ? link_verify(n->link) : NULL);
	pthread_rwlock_unlock(&n->link_lock);
}

static void fill(json_t *reply, const struct verify_result *res)
{
	json_t *list = json_array();

	for (size_t i = 0; i < res->n_told; i++)
		json_array_append_new(list, json_pack("{s:o, s:o}", "path",
						      res->told[i].path ? words_path(res->told[i].path) : json_null(),
						      "what", json_string(res->told[i].what) ?: json_string(NO_TEXT)));
	json_object_set_new(reply, "group", json_integer((json_int_t)res->group));
	json_object_set_new(reply, "peer_group", json_integer((json_int_t)res->peer_group));
	json_object_set_new(reply, "inodes", json_integer((json_int_t)res->inodes));
	json_object_set_new(reply, "names", json_integer((json_int_t)res->names));
	json_object_set_new(reply, "differences", json_integer((json_int_t)res->differences));
	json_object_set_new(reply, "list", list);
}

static void keep(struct node *n, const struct verify_result *res)
{
	for (size_t i = 0; i < res->n_told; i++)
		log_error("verify: %s: %s", res->told[i].path ? res->told[i].path : "(no name)", res->told[i].what);
	last_put(n->volume, "verify", res->differences);
}

static void set_running(struct node *n, bool running)
{
	pthread_mutex_lock(&n->verify.lock);
	n->verify.running = running;
	n->verify.started_ms = clock_mono_ms();
	n->verify.done = n->verify.total = 0;
	pthread_mutex_unlock(&n->verify.lock);
}

int verify_ask(struct node *n, struct control_client *client, json_t *reply, struct err *err)
{
	struct verify_run *r = NULL;
	uint64_t said_ms = clock_mono_ms();
	int rc = is_refused(n, err);

	if (rc == 0)
		rc = step(n, &r, err);
	if (rc)
		return rc;
	set_running(n, true);
	while ((rc = step(n, &r, err)) == 0) {
		if (atomic_load(&n->leaving) || control_gone(client)) {
			rc = err_set(err, -EINTR, "%s is being unmounted", n->mountpoint);
			break;
		}
		show(n, verify_so_far(r));
		if (clock_mono_ms() - said_ms < SAY_EVERY_MS)
			continue;
		said_ms = clock_mono_ms();
		say_progress(n, client, verify_so_far(r));
	}
	set_running(n, false);
	if (rc == 1) {
		keep(n, verify_so_far(r));
		fill(reply, verify_so_far(r));
	}
	end(n, r);
	return MIN(rc, 0);
}
