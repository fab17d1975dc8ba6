/* SPDX-License-Identifier: MIT */
#include "node/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fuse/guard.h"
#include "node/baseline_mounts.h"
#include "node/logger.h"
#include "node/merge_command.h"
#include "node/mounts.h"
#include "node/pair.h"
#include "node/requests.h"
#include "node/status.h"
#include "node/store.h"
#include "node/watch.h"
#include "sync/identity.h"
#include "sync/prefer.h"
#include "sync/roles.h"
#include "util/log.h"
#include "util/util.h"

#define OPTION_SYNC_PEER "sync=peer"
/* With -o sync=peer an fsync waits this long for the peer while it is connected; a peer that cannot keep up for longer
 * is about to be found dead or is not durable in any useful sense, and the program is told (EIO is what it must
 * understand). */
#define FSYNC_PEER_MS 30000u
#define PORT_RETRY_MS 3000u
/* Slices in which others wait for the link, so that a hung-up client or an unmount ends the waiting. */
#define WAIT_SLICE_MS 250u
/* Of each second so much goes into giving free blocks back to the host. */
#define TIDY_MS 250u
/* A peer that said "paused" may have been resumed a moment ago, and nobody told us yet: its word counts after this. */
#define PEER_PAUSED_MS 10000u

/* What the peer shows when this store has forgotten it. */
#define FORGOTTEN "it has forgotten this peer: twinfs forget-peer here, too; join with a new token and directory"

/* While it does; it comes back at once. */
#define TAKES_OVER "it is becoming the primary"

/* ---- pauses that survive a mount ----------------------------------------------------------------- */

/* The reason of a pause that still holds (malloc'd), or NULL. Clears one that has run out. */
static char *pause_load(struct node *n)
{
	char *reason = volume_setting_get(n->volume, SETTING_PAUSED);
	char *until = volume_setting_get(n->volume, SETTING_PAUSED_UNTIL);
	uint64_t until_ms = until ? strtoull(until, NULL, 10) : 0;

	free(until);
	if (reason && until_ms > 0 && until_ms <= clock_real_ms()) {
		volume_setting_set(n->volume, SETTING_PAUSED, NULL);
		free(reason);
		reason = NULL;
	}
	atomic_store(&n->paused_until_ms, reason ? until_ms : 0);
	return reason;
}

static int pause_store(struct node *n, const char *reason, uint64_t until_ms)
{
	char until[24];
	int rc;

	snprintf(until, sizeof(until), "%" PRIu64, until_ms);
	atomic_store(&n->paused_until_ms, until_ms);
	rc = volume_setting_set(n->volume, SETTING_PAUSED_UNTIL, until_ms ? until : NULL);
	return rc ? rc : volume_setting_set_now(n->volume, SETTING_PAUSED, reason);
}

/* ---- the link -------------------------------------------------------------------------------------- */

static int on_pair(void *ctx, const char *body_json, const char *peer_fingerprint_hex, char **reply_json,
                   struct err *err)
{
	struct node *n = ctx;
	bool paired;
	int rc = pair_accept(n->volume, body_json, peer_fingerprint_hex, reply_json, &paired, err);

	if (!rc && paired) {
		log_info("paired; this store is the primary now");
		/* Not from here: the link's own thread must not wait for link_lock. */
		atomic_store(&n->pin_changed, true);
		node_kick(n);
	}
	return rc;
}

/* Who follows events hears of it at once. */
static void on_link_changed(void *ctx)
{
	node_kick(ctx);
}

/* Start the link as the settings say. link_lock is held for writing, or nobody else is there yet. */
static int link_begin(struct node *n, struct err *err)
{
	struct volume_info info;
	char *listen_on = volume_setting_get(n->volume, "listen");
	char *dial = volume_setting_get(n->volume, "peer.address");
	char *pin = volume_setting_get(n->volume, "peer.pin");
	char *reason = pause_load(n);
	struct link_options opt = {
		.identity = n->identity,
		.listen = listen_on,
		.dial = dial,
		.peer_pin_hex = pin,
		.pair_fn = on_pair,
		.pair_ctx = n,
		.driver = { .run = merge_command_run },
		.start_paused = reason != NULL,
		.pause_reason = reason,
		.changed = on_link_changed,
		.changed_ctx = n,
	};
	int rc;

	volume_info(n->volume, &info);
	if (info.role == ROLE_NONE)
		opt.peer_pin_hex = NULL; /* a pin of a pairing that was not finished */
	rc = link_start(n->volume, &opt, &n->link, err);
	if (rc)
		n->link = NULL;
	free(listen_on);
	free(dial);
	free(pin);
	free(reason);
	return rc;
}

/* The same after the end of another link; the lock is held for writing. */
static int link_begin_anew(struct node *n, struct err *err)
{
	/* Without a listener rather than without a link: the mount must go on. */
	struct link_options opt = { .identity = n->identity, .changed = on_link_changed, .changed_ctx = n };
	int rc = link_begin(n, err);

	if (rc && link_start(n->volume, &opt, &n->link, NULL))
		n->link = NULL;
	return rc;
}

int node_relisten(struct node *n, struct err *err)
{
	int rc;

	pthread_rwlock_wrlock(&n->link_lock);
	if (!n->link) {
		rc = err_set(err, -ESHUTDOWN, "%s is being unmounted", n->mountpoint);
	} else {
		link_stop(n->link, "", 0);
		rc = link_begin_anew(n, err);
	}
	pthread_rwlock_unlock(&n->link_lock);
	return rc;
}

int node_promote(struct node *n, bool *in_step, struct err *err)
{
	struct err again = ERR_INIT;
	int rc = roles_may_take_over(n->volume, err);

	*in_step = false;
	if (rc)
		return rc;
	pthread_rwlock_rdlock(&n->link_lock);
	if (n->link)
		*in_step = link_pause(n->link, TAKES_OVER, DRAIN_MS, NULL) == 0;
	pthread_rwlock_unlock(&n->link_lock);
	pthread_rwlock_wrlock(&n->link_lock);
	if (!n->link) {
		rc = err_set(err, -ESHUTDOWN, "%s is being unmounted", n->mountpoint);
	} else {
		link_stop(n->link, TAKES_OVER, 0);
		rc = roles_take_over(n->volume, err);
		if (link_begin_anew(n, &again))
			log_warn("%s", err_text(&again));
	}
	pthread_rwlock_unlock(&n->link_lock);
	return rc;
}

int node_forget_peer(struct node *n, char **peer, struct err *err)
{
	struct err again = ERR_INIT;
	int rc;

	pthread_rwlock_wrlock(&n->link_lock);
	if (!n->link) {
		rc = err_set(err, -ESHUTDOWN, "%s is being unmounted", n->mountpoint);
	} else {
		/* What was pending goes nowhere: nothing to drain. */
		link_stop(n->link, FORGOTTEN, 0);
		rc = pair_forget(n->volume, peer, err);
		atomic_store(&n->pin_changed, false);
		if (link_begin_anew(n, &again))
			log_warn("%s", err_text(&again));
	}
	pthread_rwlock_unlock(&n->link_lock);
	return rc;
}

void node_link_status(struct node *n, struct link_status *out)
{
	memset(out, 0, sizeof(*out));
	pthread_rwlock_rdlock(&n->link_lock);
	if (n->link) {
		link_status(n->link, out);
	} else {
		out->state = LINK_DISCONNECTED;
		snprintf(out->why, sizeof(out->why), "being unmounted");
	}
	pthread_rwlock_unlock(&n->link_lock);
}

/* One slice of waiting for both sides to be in step. -ETIMEDOUT: go on if you like. */
static int wait_slice(struct node *n, unsigned slice_ms, struct err *err)
{
	int rc;

	pthread_rwlock_rdlock(&n->link_lock);
	rc = n->link ? link_wait_synced(n->link, slice_ms, err) : err_set(err, -ESHUTDOWN, "it is being unmounted");
	pthread_rwlock_unlock(&n->link_lock);
	if (rc && err && !err->code)
		err_set(err, rc, "%s", strerror(-rc));
	return rc;
}

/* What is being waited for, for the person at the other end. */
static void say_waiting(struct node *n, struct control_client *client)
{
	struct link_status link;
	struct volume_info info;
	char text[700];

	node_link_status(n, &link);
	volume_info(n->volume, &info);
	snprintf(text, sizeof(text), "%s%s%s; %" PRIu64 " changes not yet at the peer", link_state_word(link.state),
	         *link.why ? ": " : "", link.why, info.pending_entries);
	control_say(client, text);
}

static bool paused_here(struct node *n)
{
	char *reason = volume_setting_get(n->volume, SETTING_PAUSED);

	free(reason);
	return reason != NULL;
}

int node_wait_synced(struct node *n, struct control_client *client, unsigned timeout_ms, struct err *err)
{
	const struct timespec slice = { .tv_nsec = WAIT_SLICE_MS * 1000000L };
	uint64_t now_ms = clock_mono_ms(), end_ms = timeout_ms ? now_ms + timeout_ms : UINT64_MAX,
		 say_ms = now_ms + 1000;
	uint64_t paused_end_ms = MIN(end_ms, now_ms + PEER_PAUSED_MS);
	struct volume_info info;
	int rc;

	volume_info(n->volume, &info);
	if (info.role == ROLE_NONE)
		return err_set(err, -EINVAL, "%s has no peer to be in step with; see twinfs invite", n->mountpoint);
	rc = volume_commit(n->volume);
	if (rc)
		return err_set(err, rc, "cannot commit what is pending: %s", strerror(-rc));
	while (1) {
		*err = (struct err)ERR_INIT;
		rc = wait_slice(n, (unsigned)MIN((uint64_t)WAIT_SLICE_MS, end_ms - now_ms), err);
		now_ms = clock_mono_ms();
		if (rc == -ECONNABORTED && now_ms < paused_end_ms && !paused_here(n))
			nanosleep(&slice, NULL);
		else if (rc != -ETIMEDOUT || now_ms >= end_ms)
			break;
		if (atomic_load(&n->leaving) || control_gone(client))
			return err_set(err, -EINTR, "%s is being unmounted", n->mountpoint);
		if (now_ms >= say_ms) {
			say_waiting(n, client);
			say_ms = now_ms + 1000;
		}
	}
	if (rc == -ETIMEDOUT)
		err_prefix(err, "%s is not in step after %g s", n->mountpoint, timeout_ms / 1000.0);
	else if (rc)
		err_prefix(err, "%s cannot get in step", n->mountpoint);
	return rc;
}

int node_pause(struct node *n, const char *reason, uint64_t until_ms, bool *drained, struct err *err)
{
	struct volume_info info;
	int rc;

	volume_info(n->volume, &info);
	if (info.role == ROLE_NONE)
		return err_set(err, -EINVAL, "%s has no peer: there is nothing to pause", n->mountpoint);
	rc = pause_store(n, reason, until_ms);
	if (rc)
		return err_set(err, rc, "cannot write the pause into the store: %s", strerror(-rc));
	pthread_rwlock_rdlock(&n->link_lock);
	rc = n->link ? link_pause(n->link, reason, DRAIN_MS, NULL) : -ESHUTDOWN;
	pthread_rwlock_unlock(&n->link_lock);
	node_kick(n);
	*drained = rc == 0;
	if (rc == 0 || rc == -ETIMEDOUT || rc == -ENOTCONN)
		return 0; /* paused in any case; what is not through goes later */
	return err_set(err, rc, "cannot pause %s: %s", n->mountpoint, strerror(-rc));
}

/* The word is told when a connection begins: so there must be none, and none may begin before it is written down. */
static int go_apart(struct node *n, struct err *err)
{
	struct link_status link;
	int rc;

	node_link_status(n, &link);
	if (link.state == LINK_CONNECTED || link.state == LINK_RESYNCING)
		return err_set(err, -EISCONN,
			       "%s is connected: nothing is left to be decided as a whole; --prefer is for sides that "
			       "were apart, when they come together",
			       n->mountpoint);
	pthread_rwlock_rdlock(&n->link_lock);
	rc = n->link ? link_pause(n->link, "about to be resumed", 0, NULL) : -ESHUTDOWN;
	pthread_rwlock_unlock(&n->link_lock);
	if (rc == 0 && link.state == LINK_PAUSED)
		return 0;
	if (rc == 0 || rc == -ETIMEDOUT) /* it was up at the last moment */
		return err_set(err, -EISCONN, "%s has just connected: see twinfs status", n->mountpoint);
	return rc == -ENOTCONN ? 0 : err_set(err, rc, "cannot pause %s: %s", n->mountpoint, strerror(-rc));
}

/* Not in the middle of a connection: what was told stays told. */
static int give_word(struct node *n, const char *keep, struct err *err)
{
	struct volume_info info;
	bool local = keep && strcmp(keep, "local") == 0;
	int rc;

	volume_info(n->volume, &info);
	if ((keep && !*keep) || (!keep && prefer_given(n->volume).id == 0))
		return 0;
	if (keep && !local && strcmp(keep, "peer") != 0)
		return err_set(err, -EINVAL, "prefer local or peer, not \"%.20s\"", keep);
	if (keep && info.role == ROLE_NONE)
		return err_set(err, -EINVAL, "%s has no peer: there is nothing to prefer", n->mountpoint);
	rc = prefer_give(n->volume, !keep	     ? ROLE_NONE
				    : local	     ? info.role
				    : info.role == ROLE_PRIMARY ? ROLE_SECONDARY
								: ROLE_PRIMARY);
	return rc ? err_set(err, rc, "cannot write into the store: %s", strerror(-rc)) : 0;
}

int node_resume(struct node *n, bool deleting, const char *keep, struct err *err)
{
	int rc = keep && *keep ? go_apart(n, err) : 0, word;

	if (rc && rc != -EISCONN)
		return rc;
	word = rc ? rc : give_word(n, keep, err);
	rc = pause_store(n, NULL, 0);
	if (rc)
		return err_set(err, rc, "cannot write into the store: %s", strerror(-rc));
	pthread_rwlock_rdlock(&n->link_lock);
	rc = !n->link ? -ESHUTDOWN : deleting ? link_resume_deleting(n->link) : link_resume(n->link);
	pthread_rwlock_unlock(&n->link_lock);
	if (rc)
		return err_set(err, rc, "cannot resume %s: %s", n->mountpoint, strerror(-rc));
	return word;
}

/* fsync with -o sync=peer: durable here, and there as well while the peer is connected. */
static int fsync_to_peer(void *ctx)
{
	struct node *n = ctx;
	uint64_t end_ms = clock_mono_ms() + FSYNC_PEER_MS, mine;
	struct link_status link;
	struct volume_info info;
	struct err err;
	int rc = volume_commit(n->volume);

	if (rc)
		return rc;
	volume_info(n->volume, &info);
	mine = info.committed;
	while (1) {
		volume_info(n->volume, &info);
		node_link_status(n, &link);
		if (info.acked >= mine || atomic_load(&n->leaving) ||
		    (link.state != LINK_CONNECTED && link.state != LINK_RESYNCING))
			return 0;
		if (clock_mono_ms() >= end_ms)
			return -EIO;
		err = (struct err)ERR_INIT;
		if (wait_slice(n, WAIT_SLICE_MS, &err) == 0)
			return 0;
	}
}

/* ---- the keeper ------------------------------------------------------------------------------------ */

static void keeper_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGHUP);
	sigaddset(set, SIGUSR1); /* node_kick */
}

void node_kick(struct node *n)
{
	pthread_kill(n->keeper, SIGUSR1);
}

/* What has come due. */
static void keeper_work(struct node *n)
{
	uint64_t until_ms = atomic_load(&n->paused_until_ms);
	struct link_status link;

	node_link_status(n, &link);
	seen_look(n->volume, &link, &n->seen);
	volume_recover(n->volume); /* what it says, it has logged */
	volume_tidy(n->volume, TIDY_MS);
	if (atomic_exchange(&n->pin_changed, false)) {
		char *pin = volume_setting_get(n->volume, "peer.pin");

		pthread_rwlock_rdlock(&n->link_lock);
		if (n->link && pin)
			link_set_peer(n->link, pin);
		pthread_rwlock_unlock(&n->link_lock);
		free(pin);
	}
	if (until_ms > 0 && until_ms <= clock_real_ms()) {
		struct err err = ERR_INIT;

		log_info("the pause is over");
		if (node_resume(n, false, "", &err))
			log_warn("%s", err_text(&err));
	}
}

static void *keeper_main(void *arg)
{
	struct node *n = arg;
	sigset_t set;

	log_thread_name("keeper");
	keeper_signals(&set);
	while (!atomic_load(&n->leaving)) {
		/* The end of a pause is wall-clock time, which can jump: look every second. Followers of events want
		 * to know sooner. */
		const struct timespec second = { .tv_sec = 1 }, moment = { .tv_nsec = 250000000 };
		int sig = sigtimedwait(&set, NULL, watch_is_followed(n->watch) ? &moment : &second);

		keeper_work(n);
		watch_look(n->watch);
		if (sig > 0 && sig != SIGUSR1) {
			log_info("%s: unmounting %s", strsignal(sig), n->mountpoint);
			front_stop(n->front);
			/* Once is enough: front_stop and the drain are bounded. A second signal must not end us half
			 * way. */
			while (!atomic_load(&n->leaving))
				sigtimedwait(&set, NULL, &second);
		}
	}
	return NULL;
}

/* ---- life ------------------------------------------------------------------------------------------ */

static json_t *on_request(void *ctx, struct control_client *client, const json_t *request)
{
	struct node *n = ctx;

	/* With the baseline alone the store counts as not mounted. */
	return n->past ? requests_answer(n->volume, NULL, NULL, client, request)
	               : requests_answer(n->volume, n->mountpoint, n, client, request);
}

/* Take "sync=peer" out of the options; malloc'd. */
static char *own_options(const char *options, bool *sync_peer)
{
	char *copy = xstrdup(options ? options : ""), *save = NULL;
	size_t cap = strlen(copy) + 1, len = 0;
	char *out = xcalloc(1, cap);

	*sync_peer = false;
	for (char *one = strtok_r(copy, ",", &save); one; one = strtok_r(NULL, ",", &save)) {
		if (strcmp(one, OPTION_SYNC_PEER) == 0)
			*sync_peer = true;
		else
			len += (size_t)snprintf(out + len, cap - len, "%s%s", len ? "," : "", one);
	}
	free(copy);
	return out;
}

int node_remount(const char *mountpoint, const char *options, struct err *err)
{
	bool sync_peer;
	char *rest = own_options(options, &sync_peer);
	int rc = front_remount(mountpoint, rest, err);

	free(rest);
	return rc;
}

static int mount_begin(struct node *n, const struct node_options *opt, struct err *err)
{
	bool sync_peer;
	char *options = own_options(opt->mount_options, &sync_peer);
	struct front_options front = {
		.mountpoint = opt->mountpoint, .fsname = opt->store, .options = *options ? options : NULL,
		.fsync_hook = sync_peer ? fsync_to_peer : NULL, .hook_ctx = n,
	};
	int rc = opt->baseline ? past_open(n->volume, &n->past, err) : 0;

	front.past = n->past;
	if (!rc) {
		mounts_detach_dead(opt->store);
		rc = front_mount(n->volume, &front, &n->front, err);
	}
	free(options);
	if (rc)
		return rc;
	if (!n->past) {
		volume_set_notice(n->volume, front_notice, front_told, n->front);
		volume_set_still(n->volume, front_still, n->front);
	}
	rc = pthread_create(&n->keeper, NULL, keeper_main, n);
	return rc ? err_set(err, -rc, "cannot start a thread: %s", strerror(rc)) : 0;
}

static void ready(int fd, const char *word, const char *text)
{
	if (fd < 0)
		return;
	dprintf(fd, "%s%s%s\n", word, *text ? " " : "", text);
	close(fd);
}

/* Say goodbye to the peer; status still answers while this drains. last: how the link was then. */
static void leave(struct node *n, struct link_status *last)
{
	struct link *link;

	pthread_rwlock_rdlock(&n->link_lock);
	if (n->link && link_pause(n->link, "unmounted", DRAIN_MS, NULL) == -ETIMEDOUT)
		log_warn("not all was shipped within %u s; the rest goes after the next mount", DRAIN_MS / 1000);
	pthread_rwlock_unlock(&n->link_lock);
	node_link_status(n, last);
	pthread_rwlock_wrlock(&n->link_lock);
	link = n->link;
	n->link = NULL;
	pthread_rwlock_unlock(&n->link_lock);
	if (link)
		link_stop(link, "unmounted", 0);
}

/* Who unmounted another store here a moment ago has its port until it has said goodbye to its peer. */
static int link_begin_soon(struct node *n, struct err *err)
{
	const struct timespec step = { .tv_nsec = 50000000 };
	uint64_t give_up_ms = clock_mono_ms() + PORT_RETRY_MS;
	int rc;

	while ((rc = link_begin(n, err)) == -EADDRINUSE && clock_mono_ms() < give_up_ms) {
		err->code = 0;
		nanosleep(&step, NULL);
	}
	return rc;
}

static int serve(struct node *n, const struct node_options *opt, struct err *err)
{
	int rc;

	n->baselines = baseline_mounts_new(n->volume);
	n->watch = watch_new(n);
	rc = mount_begin(n, opt, err);
	if (!rc && !n->past)
		rc = link_begin_soon(n, err);
	if (!rc)
		rc = control_start(opt->store, on_request, n, &n->control, err);
	if (rc) {
		ready(opt->ready_fd, "error", err_text(err));
	} else {
		log_info("%s%s is mounted at %s", n->past ? "the baseline of " : "", opt->store, n->mountpoint);
		ready(opt->ready_fd, "ok", "");
		rc = front_run(n->front);
		if (rc)
			err_set(err, rc, "the mount at %s broke: %s", n->mountpoint, strerror(-rc));
	}
	return rc;
}

/* Undo serve, however far it came. */
static void unserve(struct node *n)
{
	struct link_status last;

	atomic_store(&n->leaving, true); /* ends what waits for the link */
	leave(n, &last);
	if (n->watch)
		watch_end(n->watch);
	control_stop(n->control);
	if (n->baselines)
		baseline_mounts_stop(n->baselines);
	baseline_mounts_free(n->baselines);
	if (n->keeper) {
		node_kick(n);
		pthread_join(n->keeper, NULL);
	}
	seen_look(n->volume, &last, &n->seen);
	watch_free(n->watch);
	volume_set_notice(n->volume, NULL, NULL, NULL);
	volume_set_still(n->volume, NULL, NULL);
	if (n->front)
		front_free(n->front);
	past_close(n->past);
}

static void block_signals(void)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN };
	sigset_t set;

	keeper_signals(&set);
	pthread_sigmask(SIG_BLOCK, &set, NULL); /* every thread made later inherits this */
	sigaction(SIGPIPE, &ignore, NULL);
}

/* Who unmounted a moment ago may still be saying goodbye to its peer, and who was killed may need help to die: wait for
 * that. A store that is mounted is refused at once. */
static int open_store(const char *store, struct volume **out, struct err *err)
{
	const struct timespec step = { .tv_nsec = 50000000 };
	uint64_t give_up_ms = clock_mono_ms() + DRAIN_MS + 5000;
	int rc;

	while ((rc = store_open(store, out, err)) == -EBUSY && clock_mono_ms() < give_up_ms) {
		char *mountpoint = mounts_of_store(store);
		char *baseline = mountpoint ? NULL : mounts_of_baseline(store);
		const char *used = mountpoint ? mountpoint : baseline;
		bool in_use = used && !guard_untie(used, volume_user(store));

		if (baseline && in_use)
			err_set(err, rc,
				"%s is in use: its baseline is mounted at %s; unmount that first (it can be mounted "
				"again beside the store)",
				store, baseline);
		free(mountpoint);
		free(baseline);
		if (in_use)
			break;
		nanosleep(&step, NULL);
	}
	return rc;
}

int node_run(const struct node_options *opt, struct err *err)
{
	struct node n = { .mountpoint = opt->mountpoint, .scrub = SCRUB_STATE_INIT, .verify = VERIFY_STATE_INIT };
	bool logging = false;
	int rc, rc_close;

	block_signals();
	pthread_rwlock_init(&n.link_lock, NULL);
	rc = open_store(opt->store, &n.volume, err);
	if (!rc)
		rc = identity_load(opt->store, &n.identity, err);
	if (!rc && opt->background) {
		rc = logger_start(opt->store,
		                  err); /* not earlier: a directory that is no store of ours is not written to */
		logging = rc == 0;
	}
	if (rc)
		ready(opt->ready_fd, "error", err_text(err));
	else
		rc = serve(&n, opt, err);
	if (n.volume && n.identity)
		unserve(&n);
	identity_free(n.identity);
	if (n.volume) {
		rc_close = volume_close(n.volume);
		if (!rc && rc_close)
			rc = err_set(err, rc_close, "the last commit of %s failed: %s", opt->store,
			             strerror(-rc_close));
	}
	pthread_rwlock_destroy(&n.link_lock);
	if (!rc)
		log_info("%s is unmounted", opt->store);
	else if (logging)
		log_error("%s", err_text(err)); /* in the foreground the caller says it */
	if (logging)
		logger_stop();
	return rc;
}
