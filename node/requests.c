/* SPDX-License-Identifier: MIT */
#include "node/requests.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/landing.h"
#include "core/policy.h"
#include "node/addresses.h"
#include "node/baseline.h"
#include "node/baseline_mounts.h"
#include "node/discarded.h"
#include "node/internal.h"
#include "node/pair.h"
#include "node/restore.h"
#include "node/status.h"
#include "node/store.h"
#include "node/watch.h"
#include "node/versions.h"
#include "node/why.h"
#include "sync/roles.h"
#include "util/util.h"

/* A mount answers what needs no waiting within this, or is not well. */
#define ANSWER_MS 15000
/* A store that is locked but does not answer is being mounted, unmounted or asked by another command. */
#define BUSY_RETRY_MS 15000
#define BUSY_STEP_MS 50
/* How often who waits hears what for. */
#define SAY_MS 500
/* A flush that takes longer is no longer a slow disk. */
#define STALLED_MS 3000

struct request_ctx {
	struct volume *v;
	const char *mountpoint;
	struct node *node;
	struct control_client *client;
	const json_t *request;
	char *path; /* that it is about, any bytes; or NULL */
};

static const char *word(const struct request_ctx *x, const char *key)
{
	return json_string_value(json_object_get(x->request, key));
}

static uint64_t amount(const struct request_ctx *x, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(x->request, key));

	return n > 0 ? (uint64_t)n : 0;
}

static int answer_status(struct request_ctx *x, json_t *reply, struct err *err)
{
	struct link_status link;
	json_t *status;

	(void)err;
	if (x->node)
		node_link_status(x->node, &link);
	status = status_object(x->v, x->mountpoint, x->node ? &link : NULL);
	if (x->node) {
		json_object_set_new(json_object_get(status, "baseline"), "mounts",
		                    baseline_mounts_list(x->node->baselines));
		json_object_set_new(status, "scrub", scrub_object(x->v, &x->node->scrub));
		json_object_set_new(status, "verify", verify_object(x->v, &x->node->verify));
	}
	json_object_set_new(reply, "status", status);
	return 0;
}

static bool say_scrub(void *ctx, const char *text)
{
	struct control_client *client = ctx;

	control_say(client, text);
	return !control_gone(client);
}

static int answer_scrub(struct request_ctx *x, json_t *reply, struct err *err)
{
	return scrub_run(x->v, x->node ? &x->node->scrub : NULL, say_scrub, x->client, reply, err);
}

static int answer_verify(struct request_ctx *x, json_t *reply, struct err *err)
{
	return verify_ask(x->node, x->client, reply, err);
}

static int answer_conflicts(struct request_ctx *x, json_t *reply, struct err *err)
{
	json_t *list = status_conflicts(x->v, x->path, err);

	if (!list)
		return err->code;
	json_object_set_new(reply, "conflicts", list);
	return 0;
}

static int answer_resolve(struct request_ctx *x, json_t *reply, struct err *err)
{
	static const char *const keeps[] = { "local", "peer", "both" };
	const char *path = x->path, *keep = word(x, "keep");

	(void)reply;
	for (int i = 0; path && keep && i < (int)ARRAY_LEN(keeps); i++) {
		int rc = strcmp(keep, keeps[i]) == 0 ? discarded_settle(x->v, path, i, x->node ? front_notice : NULL,
		                                                        x->node ? x->node->front : NULL, err)
		                                     : 1;

		if (rc <= 0)
			return rc;
		if (strcmp(keep, keeps[i]) == 0)
			return volume_conflict_resolve(x->v, path, i, err) ?: volume_commit(x->v);
	}
	return err_set(err, -EINVAL, "resolve needs a path and one of local, peer, both to keep");
}

static int answer_dismiss(struct request_ctx *x, json_t *reply, struct err *err)
{
	bool all = json_is_true(json_object_get(x->request, "all"));
	const char *path = x->path;
	size_t n = 0, more = 0;
	int rc;

	if (all == !!path)
		return err_set(err, -EINVAL, "dismiss needs a path, or all");
	rc = discarded_dismiss(x->v, path, amount(x, "before_ms"), &n, x->node ? front_notice : NULL,
	                       x->node ? x->node->front : NULL, err);
	if (!rc && (all || n == 0))
		rc = volume_conflict_dismiss(x->v, path, amount(x, "before_ms"), &more, err) ?: volume_commit(x->v);
	json_object_set_new(reply, "dismissed", json_integer((json_int_t)(n + more)));
	return rc;
}

static int answer_split(struct request_ctx *x, json_t *reply, struct err *err)
{
	const char *path = x->path;

	(void)reply;
	if (!path)
		return err_set(err, -EINVAL, "split needs a path");
	return volume_conflict_split(x->v, path, err) ?: volume_commit(x->v);
}

static int answer_version(struct request_ctx *x, json_t *reply, struct err *err)
{
	const char *which = word(x, "which");

	if (!which)
		return err_set(err, -EINVAL, "of a conflict's files, say which: base, local or peer");
	return version_cat(x->v, amount(x, "id"), which, amount(x, "max_bytes"), x->client, reply, err);
}

static int answer_policies(struct request_ctx *x, json_t *reply, struct err *err)
{
	struct policy *list = NULL;
	json_t *all = json_array();
	size_t n = 0;
	int rc = volume_policies(x->v, &list, &n);

	(void)err;
	for (size_t i = 0; i < n; i++) {
		json_t *p = json_pack("{s:s, s:s}", "pattern", list[i].pattern, "policy", list[i].text);

		/* Only a setfattr could have made one that is not UTF-8. */
		if (p && list[i].kind == POLICY_COMMAND)
			json_object_set_new(p, "runs_here", json_boolean(list[i].local_command));
		if (p)
			json_array_append_new(all, p);
	}
	free(list);
	json_object_set_new(reply, "policies", all);
	return rc;
}

static int answer_policy_set(struct request_ctx *x, json_t *reply, struct err *err)
{
	const char *pattern = word(x, "pattern"), *policy = word(x, "policy");
	struct volume_info info;
	int rc;

	if (!pattern)
		return err_set(err, -EINVAL, "a policy needs a pattern");
	rc = volume_policy_set(x->v, pattern, policy, err);
	volume_info(x->v, &info);
	if (!rc && policy && policy_command(policy) && info.role == ROLE_SECONDARY)
		json_object_set_new(reply, "set_on_primary_too", json_true());
	return rc;
}

static int answer_invite(struct request_ctx *x, json_t *reply, struct err *err)
{
	struct identity *id = NULL;
	char *token = NULL;
	int rc = identity_load(volume_dir(x->v), &id, err);

	if (!rc)
		rc = pair_invite(x->v, id, word(x, "listen"), &token, err);
	if (!rc && x->node) {
		rc = node_relisten(x->node, err);
		if (rc) { /* or the next mount would fail for the same reason */
			volume_setting_set(x->v, "listen", NULL);
			volume_setting_set_now(x->v, "invite", NULL);
		}
	}
	if (!rc)
		json_object_set_new(reply, "token", json_string(token));
	free(token);
	identity_free(id);
	return rc;
}

/* An address that is no good leaves the one before: here it shows at once whether this side can listen there. */
static int move_to(struct request_ctx *x, const char *text, struct err *err)
{
	struct addresses before, now;
	int rc;

	addresses_get(x->v, &before);
	rc = addresses_moved(x->v, text, &now, err);
	if (!rc)
		rc = addresses_put(x->v, &now, err);
	if (!rc && x->node) {
		rc = node_relisten(x->node, err);
		if (rc && addresses_put(x->v, &before, NULL) == 0)
			node_relisten(x->node, NULL);
	}
	addresses_release(&before);
	addresses_release(&now);
	return rc;
}

static int answer_address(struct request_ctx *x, json_t *reply, struct err *err)
{
	const char *to = word(x, "to");
	struct addresses a;
	int rc = to ? move_to(x, to, err) : 0;

	if (rc)
		return rc;
	addresses_get(x->v, &a);
	json_object_set_new(reply, "listen", a.listen ? json_string(a.listen) : json_null());
	json_object_set_new(reply, "peer", a.peer ? json_string(a.peer) : json_null());
	addresses_release(&a);
	return 0;
}

static int answer_promote(struct request_ctx *x, json_t *reply, struct err *err)
{
	char *peer = volume_setting_get(x->v, "peer.name");
	bool in_step = false;
	int rc = x->node ? node_promote(x->node, &in_step, err) : roles_take_over(x->v, err);

	if (!rc) {
		json_object_set_new(reply, "peer", json_string(peer ?: "?"));
		json_object_set_new(reply, "in_step", json_boolean(in_step));
	}
	free(peer);
	return rc;
}

static int answer_forget_peer(struct request_ctx *x, json_t *reply, struct err *err)
{
	char *peer = NULL;
	int rc = x->node ? node_forget_peer(x->node, &peer, err) : pair_forget(x->v, &peer, err);

	if (!rc)
		json_object_set_new(reply, "peer", json_string(peer));
	free(peer);
	return rc;
}

static int answer_wait(struct request_ctx *x, json_t *reply, struct err *err)
{
	(void)reply;
	return node_wait_synced(x->node, x->client, (unsigned)MIN(amount(x, "timeout_ms"), UINT64_C(0x7fffffff)), err);
}

static int answer_pause(struct request_ctx *x, json_t *reply, struct err *err)
{
	const char *reason = word(x, "reason");
	uint64_t for_ms = amount(x, "for_ms");
	bool drained = false;
	int rc = node_pause(x->node, reason && *reason ? reason : "paused by hand",
	                    for_ms ? clock_real_ms() + MIN(for_ms, UINT64_C(1) << 40) : 0, &drained, err);

	if (!rc)
		json_object_set_new(reply, "drained", json_boolean(drained));
	return rc;
}

static int answer_resume(struct request_ctx *x, json_t *reply, struct err *err)
{
	(void)reply;
	return node_resume(x->node, json_is_true(json_object_get(x->request, "confirm_deletes")),
	                   word(x, "prefer"), err);
}

static int answer_why(struct request_ctx *x, json_t *reply, struct err *err)
{
	const char *path = x->path;

	return path ? why_path(x->v, path, reply, err) : err_set(err, -EINVAL, "why needs a path");
}

static int answer_events(struct request_ctx *x, json_t *reply, struct err *err)
{
	(void)reply;
	return watch_follow(x->node->watch, x->client, err);
}

/* ---- the baseline ---- */

static const char *path_or_root(const struct request_ctx *x)
{
	const char *path = x->path;

	return path && *path ? path : "/";
}

static int answer_baseline_ls(struct request_ctx *x, json_t *reply, struct err *err)
{
	bool recursive = json_is_true(json_object_get(x->request, "recursive"));

	return baseline_ls(x->v, path_or_root(x), recursive, x->client, reply, err);
}

static int answer_baseline_cat(struct request_ctx *x, json_t *reply, struct err *err)
{
	return baseline_cat(x->v, path_or_root(x), x->client, reply, err);
}

static int answer_baseline_restore(struct request_ctx *x, json_t *reply, struct err *err)
{
	struct past *past;
	struct attr a;
	int rc = control_hold(x->client, err);

	if (!rc)
		rc = baseline_find(x->v, path_or_root(x), &past, &a, err);
	if (rc)
		return rc;
	rc = restore_path(x->v, past, path_or_root(x), x->client, x->node ? front_notice : NULL,
	                  x->node ? x->node->front : NULL, reply, err);
	past_close(past);
	return rc;
}

static int answer_baseline_mount(struct request_ctx *x, json_t *reply, struct err *err)
{
	const char *mountpoint = word(x, "mountpoint");
	uint64_t group = 0;
	int rc;

	if (!mountpoint || *mountpoint != '/')
		return err_set(err, -EINVAL, "where to mount it must be an absolute path");
	rc = baseline_mounts_add(x->node->baselines, mountpoint, word(x, "options"), &group, err);
	if (!rc)
		json_object_set_new(reply, "group", json_integer((json_int_t)group));
	return rc;
}

static int answer_resize(struct request_ctx *x, json_t *reply, struct err *err)
{
	struct volume_space space;
	int rc = volume_resize(x->v, amount(x, "size_bytes"), err);

	if (rc)
		return rc;
	volume_space(x->v, &space);
	json_object_set_new(reply, "size", json_integer((json_int_t)space.size_bytes));
	json_object_set_new(reply, "used", json_integer((json_int_t)space.used_bytes));
	return 0;
}

/* looks: at the tree, or at what was changed in it: so it waits until what the peer sent last is in place. */
static const struct {
	const char *cmd;
	int (*fn)(struct request_ctx *x, json_t *reply, struct err *err);
	bool needs_mount, waits, looks;
} table[] = {
	{ "status", answer_status, false, false, false },
	{ "conflicts", answer_conflicts, false, false, true },
	{ "resolve", answer_resolve, false, false, true },
	{ "dismiss", answer_dismiss, false, false, true },
	{ "split", answer_split, false, false, true },
	{ "conflict-cat", answer_version, false, true, true },
	{ "policies", answer_policies, false, false, true },
	{ "policy_set", answer_policy_set, false, false, true },
	{ "invite", answer_invite, false, true, false }, /* may have to stop a link first */
	{ "address", answer_address, false, true, false },
	{ "promote", answer_promote, false, true, true },
	{ "forget-peer", answer_forget_peer, false, true, true }, /* the same */
	{ "wait", answer_wait, true, true, false },
	{ "pause", answer_pause, true, true, false },
	{ "resume", answer_resume, true, false, false },
	{ "why", answer_why, false, false, true },
	{ "events", answer_events, true, true, false },
	{ "scrub", answer_scrub, false, true, true },
	{ "verify", answer_verify, true, true, true },
	{ "baseline-ls", answer_baseline_ls, false, true, true },
	{ "baseline-cat", answer_baseline_cat, false, true, true },
	{ "baseline-restore", answer_baseline_restore, false, true, true },
	{ "baseline-mount", answer_baseline_mount, true, true, true },
	{ "resize", answer_resize, false, false, false },
};

/* -1: no such request */
static int table_find(const json_t *request)
{
	const char *cmd = json_string_value(json_object_get(request, "cmd"));

	for (int i = 0; cmd && i < (int)ARRAY_LEN(table); i++)
		if (strcmp(cmd, table[i].cmd) == 0)
			return i;
	return -1;
}

/* A path that is no UTF-8 comes as {"hex": its bytes}. malloc'd; NULL: there is none, or it is none. */
static char *path_in(const json_t *request)
{
	const json_t *path = json_object_get(request, "path");
	const char *text = json_string_value(path), *hex = json_string_value(json_object_get(path, "hex"));
	size_t n = hex ? strlen(hex) / 2 : 0;
	char *out;

	if (text || !hex)
		return text ? xstrdup(text) : NULL;
	out = xcalloc(n + 1, 1);
	if (hex_decode(hex, out, n) || strlen(out) != n) {
		free(out);
		return NULL;
	}
	return out;
}

/* Others go on meanwhile, and who asked is told what he waits for: after half a million deletions it may take a
 * minute. */
static void let_it_land(const struct request_ctx *x)
{
	bool more = landing_holds(x->v);
	uint64_t say_ms = 0;

	while (more && !control_gone(x->client)) {
		more = landing_step(x->v);
		if (more && clock_mono_ms() >= say_ms) {
			control_say(x->client, "waiting until what the peer sent is in place");
			say_ms = clock_mono_ms() + SAY_MS;
		}
	}
}

json_t *requests_answer(struct volume *v, const char *mountpoint, struct node *node, struct control_client *client,
                        const json_t *request)
{
	struct request_ctx x = {
		.v = v, .mountpoint = mountpoint, .node = node, .client = client, .request = request,
		.path = path_in(request),
	};
	struct err err = ERR_INIT;
	int i = table_find(request), rc;
	uint64_t stalled_ms = volume_stalled_ms(v);
	json_t *reply = control_ok();

	if (stalled_ms > STALLED_MS) { /* the volume's lock may be held all that time */
		rc = err_set(&err, -ETIMEDOUT,
			     "the disk under %s has not answered a flush for %u s; look at that disk, all changes wait",
			     volume_dir(v), (unsigned)(stalled_ms / 1000));
	} else if (i < 0) {
		rc = err_set(
			&err, -ENOSYS,
			"the mount of %s does not know this request; it runs another version of twinfs: mount it anew",
			volume_dir(v));
	} else if (!x.path && json_object_get(request, "path")) {
		rc = err_set(&err, -EINVAL, "the path of the request is none");
	} else if (table[i].needs_mount && !node) {
		rc = err_set(&err, -ENOTCONN, "%s is not mounted; mount it first (twinfs mount)", volume_dir(v));
	} else {
		if (table[i].looks)
			let_it_land(&x);
		rc = table[i].fn(&x, reply, &err);
		if (rc && !err.code)
			err_set(&err, rc, "%s of %s failed: %s", table[i].cmd, volume_dir(v), strerror(-rc));
	}
	free(x.path);
	if (!rc)
		return reply;
	json_decref(reply);
	return control_error(&err);
}

static int answer_unmounted(const char *dir, const char *mountpoint, const json_t *request,
                            const struct control_sink *sink, json_t **reply, struct err *err)
{
	struct control_client *client;
	struct volume *v = NULL;
	json_t *line;
	int rc = store_open(dir, &v, err);

	if (rc)
		return rc;
	client = sink ? control_local(sink) : NULL;
	line = requests_answer(v, mountpoint, NULL, client, request);
	control_local_free(client);
	rc = volume_close(v);
	if (rc) {
		json_decref(line);
		return err_set(err, rc, "cannot write %s: %s", dir, strerror(-rc));
	}
	if (!json_is_true(json_object_get(line, "ok"))) {
		rc = err_set(err, (int)json_integer_value(json_object_get(line, "code")), "%s",
		             json_string_value(json_object_get(line, "error")));
		json_decref(line);
		return rc;
	}
	*reply = line;
	return 0;
}

int requests_stream(const char *dir, const char *mountpoint, const json_t *request, void (*progress)(const char *text),
                    const struct control_sink *sink, json_t **reply, struct err *err)
{
	const struct timespec step = { .tv_nsec = BUSY_STEP_MS * 1000000L };
	uint64_t give_up_ms = clock_mono_ms() + BUSY_RETRY_MS;
	int i = table_find(request), rc;

	while (1) {
		rc = control_stream(dir, request, i >= 0 && table[i].waits ? 0 : ANSWER_MS, progress, sink, reply,
		                    err);
		if (rc != -ENOTCONN || err->code)
			return rc;
		if (i >= 0 && table[i].needs_mount)
			return err_set(err, -ENOTCONN, "%s is not mounted; mount it first (twinfs mount)", dir);
		rc = answer_unmounted(dir, mountpoint, request, sink, reply, err);
		if (rc != -EBUSY || clock_mono_ms() > give_up_ms)
			return rc;
		err->code = 0;
		nanosleep(&step, NULL);
	}
}

int requests_ask(const char *dir, const char *mountpoint, const json_t *request, void (*progress)(const char *text),
                 json_t **reply, struct err *err)
{
	return requests_stream(dir, mountpoint, request, progress, NULL, reply, err);
}
