/* SPDX-License-Identifier: MIT */
#include "cli/cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "node/mounts.h"
#include "node/requests.h"
#include "util/util.h"

#define BAR_COLUMNS 30

/* ---- reading the object -------------------------------------------------------------------------- */

/* NULL: nothing is said of it. */
static const char *said(const json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key));
}

static bool state_is(const json_t *s, const char *state)
{
	return strcmp(said(s, "state") ?: "", state) == 0;
}

static bool is_paired(const json_t *s)
{
	return json_is_object(json_object_get(s, "peer"));
}

static int exit_code(const json_t *s)
{
	if (said(s, "error"))
		return STATUS_ERROR;
	if (number_of(s, "conflicts") > 0)
		return STATUS_CONFLICTS;
	return is_paired(s) && !state_is(s, "connected") ? STATUS_APART : STATUS_WELL;
}

/* ---- for people ------------------------------------------------------------------------------------ */

static void print_line(const char *label, const char *text)
{
	char *clean = text ? printable(text) : NULL;

	if (clean && *clean)
		printf("  %-9s %s\n", label, clean);
	free(clean);
}

static void print_head(const json_t *s)
{
	const char *place = said(s, "mountpoint") ?: said(s, "store");
	const char *peer = said(json_object_get(s, "peer"), "node");
	uint64_t since_s = parse_rfc3339(said(s, "since")), now_s = (uint64_t)time(NULL);
	char *clean = printable(place ?: "?"), age[32], when[32];
	time_t t = (time_t)since_s;
	struct tm tm;

	printf("%s: %s", clean, said(s, "state") ?: "?");
	if (peer && state_is(s, "connected"))
		printf(" to %s", peer);
	else if (peer && (state_is(s, "disconnected") || state_is(s, "connecting") || state_is(s, "resyncing")))
		printf(state_is(s, "disconnected") ? " from %s"
		       : state_is(s, "connecting") ? " to %s"
		                                   : " with %s",
		       peer);
	if (since_s > 0) {
		localtime_r(&t, &tm);
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
		print_duration(age, now_s > since_s ? now_s - since_s : 0);
		printf(" since %s (%s)", when, age);
	}
	putchar('\n');
	free(clean);
}

static void print_pending(const json_t *s)
{
	const json_t *pending = json_object_get(s, "pending");
	uint64_t entries = number_of(pending, "entries"), bytes = number_of(pending, "bytes");
	char size[32], age[32], text[160];

	if (entries == 0 && bytes == 0)
		return;
	/* What has just been written is on its way. */
	if (state_is(s, "connected") && number_of(pending, "oldest_ms") < 2000)
		return;
	print_bytes(size, bytes);
	print_duration(age, number_of(pending, "oldest_ms") / 1000);
	snprintf(text, sizeof(text), "%llu change%s (%s) not yet at the peer, the oldest %s old",
	         (unsigned long long)entries, entries == 1 ? "" : "s", size, age);
	print_line("pending", text);
}

static void print_resync(const json_t *s)
{
	const json_t *r = json_object_get(s, "resync");
	uint64_t done = number_of(r, "bytes_done"), total = number_of(r, "bytes_total");
	json_int_t eta_s = json_integer_value(json_object_get(r, "eta_s"));
	unsigned filled = total > 0 ? (unsigned)((double)done / (double)total * BAR_COLUMNS) : 0;
	char bar[BAR_COLUMNS + 1], of[32], sum[32], rate[32], eta[32] = "?", text[256];

	if (!json_is_object(r))
		return;
	for (unsigned i = 0; i < BAR_COLUMNS; i++)
		bar[i] = i < filled ? '#' : '.';
	bar[BAR_COLUMNS] = '\0';
	print_bytes(of, done);
	print_bytes(sum, total);
	print_bytes(rate, number_of(r, "bytes_per_s"));
	if (eta_s >= 0)
		print_duration(eta, (uint64_t)eta_s);
	if (done == total && eta_s != 0)
		snprintf(text, sizeof(text), "[%s] %s are across and being taken in, %s left", bar, sum, eta);
	else
		snprintf(text, sizeof(text), "[%s] %s of %s (%s), %s/s, %s left", bar, of, sum,
		         said(r, "direction") ?: "?", rate, eta);
	print_line("resync", text);
}

/* While one runs, or when the last one found something. */
static void print_scrub(const json_t *s)
{
	const json_t *scrub = json_object_get(s, "scrub");
	uint64_t found = number_of(scrub, "differences");
	json_int_t eta_s = json_integer_value(json_object_get(scrub, "eta_s"));
	char of[32], sum[32], rate[32], eta[32] = "?", text[200];

	if (json_object_get(scrub, "bytes_total")) {
		print_bytes(of, number_of(scrub, "bytes_done"));
		print_bytes(sum, number_of(scrub, "bytes_total"));
		print_bytes(rate, number_of(scrub, "bytes_per_s"));
		if (eta_s >= 0)
			print_duration(eta, (uint64_t)eta_s);
		snprintf(text, sizeof(text), "running: %s of %s, %s/s, %s left", of, sum, rate, eta);
		print_line("scrub", text);
	}
	if (found > 0) {
		snprintf(text, sizeof(text), "%llu damaged block%s on %s; the log has their places",
		         (unsigned long long)found, found == 1 ? "" : "s", said(scrub, "last") ?: "?");
		print_line("damaged", text);
	}
}

/* The same of a comparison with the peer. */
static void print_verify(const json_t *s)
{
	const json_t *verify = json_object_get(s, "verify");
	uint64_t found = number_of(verify, "differences");
	json_int_t eta_s = json_integer_value(json_object_get(verify, "eta_s"));
	char eta[32] = "?", text[200];

	if (json_object_get(verify, "total")) {
		if (eta_s >= 0)
			print_duration(eta, (uint64_t)eta_s);
		snprintf(text, sizeof(text), "running: %llu of %llu inodes and names compared, %s left",
		         (unsigned long long)number_of(verify, "done"), (unsigned long long)number_of(verify, "total"),
		         eta);
		print_line("verify", text);
	}
	if (found > 0) {
		snprintf(text, sizeof(text), "%llu difference%s from the peer on %s; the log has their paths",
		         (unsigned long long)found, found == 1 ? "" : "s", said(verify, "last") ?: "?");
		print_line("differs", text);
	}
}

/* What was given with resume --prefer and is not done yet. */
static void print_prefer(const json_t *s)
{
	const json_t *prefer = json_object_get(s, "prefer");
	bool local = strcmp(said(prefer, "keep") ?: "", "local") == 0;
	const char *peer = said(json_object_get(s, "peer"), "node") ?: "the peer", *where = said(s, "mountpoint");
	char *text;

	if (!json_is_object(prefer))
		return;
	if (json_is_true(json_object_get(prefer, "in_force")))
		text = xasprintf("the tree of %s is taken now; what %s changed goes to .twinfs",
				 local ? "this side" : peer, local ? peer : "this side");
	else
		text = xasprintf("when both meet, the tree of %s is taken, and what %s changed goes to .twinfs "
				 "(twinfs resume %s takes that back)", local ? "this side" : peer,
				 local ? peer : "this side", where ?: "WHERE");
	print_line("prefer", text);
	free(text);
}

static void print_conflicts(const json_t *s)
{
	uint64_t open = number_of(s, "conflicts"), merged = number_of(s, "merged");
	char text[96];

	if (open > 0) {
		snprintf(text, sizeof(text), "%llu waiting for you", (unsigned long long)open);
		print_line("conflicts", text);
	}
	if (merged > 0) {
		snprintf(text, sizeof(text), "%llu; what is not in place is still kept", (unsigned long long)merged);
		print_line("merged", text);
	}
}

/* Mounted, it holds what is overwritten or deleted. */
static void print_baseline(const json_t *s)
{
	const json_t *baseline = json_object_get(s, "baseline"), *m;
	char held[32], text[1200];
	size_t i;

	print_bytes(held, number_of(baseline, "bytes"));
	json_array_foreach(json_object_get(baseline, "mounts"), i, m) {
		snprintf(text, sizeof(text), "mounted at %.1000s since %s; %s are held for the past",
		         said(m, "mountpoint") ?: "?", said(m, "since") ?: "?", held);
		print_line("baseline", text);
	}
}

/* Only when there is little left. */
static void print_space(const json_t *s)
{
	const json_t *space = json_object_get(s, "space");
	uint64_t used = number_of(space, "used"), size = number_of(space, "size");
	char of[32], sum[32], left[32], text[128];

	if (size == 0 || (!json_is_true(json_object_get(space, "low")) && used < size / 10 * 9))
		return;
	print_bytes(of, used);
	print_bytes(sum, size);
	print_bytes(left, number_of(space, "available"));
	snprintf(text, sizeof(text), "%s of %s used, %s left", of, sum, left);
	print_line("space", text);
}

/* Old versions: while apart they grow, and take room that deleting does not give back. */
static void print_held(const json_t *s)
{
	const json_t *space = json_object_get(s, "space");
	uint64_t held = number_of(json_object_get(s, "baseline"), "bytes");
	char size[32], text[128];

	if (held == 0 || (state_is(s, "connected") && !json_is_true(json_object_get(space, "low"))))
		return;
	print_bytes(size, held);
	snprintf(text, sizeof(text), "%s of old versions are kept for the peer, until it is back in step", size);
	print_line("baseline", text);
}

static void print_losses(const json_t *s)
{
	const json_t *losses = json_object_get(s, "losses");
	uint64_t n = number_of(losses, "groups"), commits = number_of(losses, "commits");
	char text[160];

	if (commits > 0) {
		snprintf(text, sizeof(text),
		         "the log was damaged when the store was opened: its last commits, %llu at least, are lost",
		         (unsigned long long)commits);
		print_line("lost", text);
	}
	if (n == 0)
		return;
	snprintf(text, sizeof(text), "%llu time%s the disk failed, last %s; what was not fsynced then is lost",
		 (unsigned long long)n, n == 1 ? "" : "s", said(losses, "last") ?: "?");
	print_line("lost", text);
}

static void print_people(const json_t *s)
{
	const json_t *peer = json_object_get(s, "peer");

	print_head(s);
	print_line("why", said(s, "why"));
	print_line("do", said(s, "action"));
	print_resync(s);
	print_pending(s);
	print_scrub(s);
	print_verify(s);
	print_prefer(s);
	print_conflicts(s);
	print_baseline(s);
	print_space(s);
	print_held(s);
	print_losses(s);
	if (!state_is(s, "connected") && !state_is(s, "paused") && said(peer, "last_error") &&
	    strcmp(said(peer, "last_error"), said(s, "why") ?: "") != 0)
		print_line("last", said(peer, "last_error"));
}

/* ---- the command ----------------------------------------------------------------------------------- */

/* The store of a mount cannot be asked: its folder was moved or removed, or the mount hangs. Of a folder that is gone
 * say so. */
static void explain(const struct where *w, struct err *err)
{
	if (w->mountpoint && access(w->store, F_OK) < 0 && (errno == ENOENT || errno == ENOTDIR))
		err_set(err, -ENOENT,
			"the store %s of the mount %s is gone, and nothing can be made durable: bring that folder "
			"back, and it goes on by itself; or unmount (fusermount3 -u %s)",
			w->store, w->mountpoint, w->mountpoint);
}

/* An object a mount, also where nothing is known of it but that. */
static json_t *unknown_object(const struct where *w, const struct err *err)
{
	return json_pack("{s:s, s:s, s:n, s:n, s:n, s:s, s:s, s:n, s:n, s:s, s:n}", "store", w->store, "mountpoint",
			 w->mountpoint, "volume", "node", "role", "state", "disconnected", "why", err_text(err),
			 "since", "action", "error", err_text(err), "peer");
}

/* Ask each; what cannot be asked is reported on stderr and makes the exit code 4. */
static int gather(const struct where *list, size_t n, json_t *out, bool json)
{
	int worst = STATUS_WELL;

	for (size_t i = 0; i < n; i++) {
		json_t *request = json_pack("{s:s}", "cmd", "status"), *reply = NULL, *status;
		struct err err = ERR_INIT;

		if (requests_ask(list[i].store, list[i].mountpoint, request, NULL, &reply, &err)) {
			explain(&list[i], &err);
			if (json && list[i].mountpoint)
				json_array_append_new(out, unknown_object(&list[i], &err));
			fail(&err);
			worst = STATUS_ERROR;
		} else {
			status = json_object_get(reply, "status");
			worst = MAX(worst, exit_code(status));
			json_array_append(out, status);
		}
		json_decref(request);
		json_decref(reply);
	}
	return worst;
}

/* Every mount, a store once; of stacked mounts of one store the one on top. */
static size_t all_mounts(struct where **out)
{
	struct mount_entry *list;
	size_t n, kept = 0;

	mounts_list(&list, &n);
	*out = xcalloc(n + 1, sizeof(**out));
	for (size_t i = 0; i < n; i++) {
		bool again = false;

		for (size_t k = i + 1; k < n; k++)
			again |= strcmp(list[i].store, list[k].store) == 0;
		if (again)
			continue;
		(*out)[kept].store = xstrdup(list[i].store);
		(*out)[kept++].mountpoint = xstrdup(list[i].mountpoint);
	}
	mounts_free(list, n);
	return kept;
}

static int show(const char *arg, bool json, bool watch)
{
	struct err err = ERR_INIT;
	struct where *list;
	json_t *all = json_array();
	size_t n = 1, i;
	json_t *s;
	int code;

	if (arg) {
		list = xcalloc(1, sizeof(*list));
		if (where_find(arg, list, &err)) {
			json_decref(all);
			free(list);
			fail(&err);
			return STATUS_ERROR;
		}
	} else {
		n = all_mounts(&list);
	}
	code = gather(list, n, all, json);
	if (watch && !json && isatty(STDOUT_FILENO))
		fputs("\033[H\033[J", stdout);
	if (json) {
		json_dumpf(all, stdout, watch ? JSON_COMPACT : JSON_INDENT(2));
		putchar('\n');
	} else {
		json_array_foreach(all, i, s)
			print_people(s);
		if (n == 0)
			puts("no twinfs is mounted here");
	}
	json_decref(all);
	for (i = 0; i < n; i++)
		where_release(&list[i]);
	free(list);
	return code;
}

int cmd_status(const struct command *c, int argc, char **argv)
{
	const char *where;
	bool json = false, watch = false;
	const struct option_def options[] = { { "json", 'j', NULL, &json }, { "watch", 'w', NULL, &watch } };
	const struct timespec second = { .tv_sec = 1 };
	int rc = args_parse(c, argc, argv, options, ARRAY_LEN(options), &where, 0, 1);

	if (rc >= 0)
		return rc;
	while (1) {
		rc = show(where, json, watch);
		if (fflush(stdout) != 0 || !watch)
			return rc;
		nanosleep(&second, NULL);
	}
}
