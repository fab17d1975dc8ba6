/* SPDX-License-Identifier: MIT */
/* fsck: is a store that is not mounted whole? What is checked: core/fsck.h, and node.key and node.crt. */
#include "cli/cli.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/fsck.h"
#include "core/volume.h"
#include "node/mounts.h"
#include "sync/identity.h"
#include "util/util.h"

/* After so many the rest is counted only. */
#define SHOWN_MAX 100u
/* The progress line is for a person's eye. */
#define TELL_EVERY_MS 200u
/* Who has unmounted may still be handing over what is pending, for at most 10 s. */
#define ENDING_MS 15000u
#define ENDING_STEP_MS 50u

struct view {
	uint64_t shown;
	bool tty, line;      /* stderr is a terminal; a progress line stands there */
	const char *phase;
	uint64_t begun_ms, told_ms;
};

static void wipe(struct view *w)
{
	if (w->line)
		fputs("\r\033[K", stderr);
	w->line = false;
}

static void found(void *ctx, const char *text)
{
	struct view *w = ctx;
	char *clean;

	if (w->shown++ >= SHOWN_MAX)
		return;
	wipe(w);
	clean = printable(text);
	puts(clean);
	free(clean);
}

static void progress(void *ctx, const char *phase, uint64_t done, uint64_t total)
{
	struct view *w = ctx;
	uint64_t now_ms = clock_mono_ms(), left_s;
	char left[32];

	if (w->phase != phase) {
		w->phase = phase;
		w->begun_ms = now_ms;
	}
	if (!w->tty || total == 0 || done == 0 || now_ms - w->told_ms < TELL_EVERY_MS)
		return;
	w->told_ms = now_ms;
	left_s = (now_ms - w->begun_ms) * (total > done ? total - done : 0) / done / 1000;
	print_duration(left, left_s);
	fprintf(stderr, "\r\033[K%s: %" PRIu64 " %%, %s left", phase, MIN(done, total) * 100 / total, left);
	w->line = true;
}

/* "fusermount3 -u" returns before the mount's process has ended: as fsck_store, but that is waited for. */
static int check_once_free(const char *store, const struct fsck_options *opt, struct fsck_result *r, struct err *err)
{
	const struct timespec step = { .tv_nsec = ENDING_STEP_MS * 1000000L };
	uint64_t begun_ms = clock_mono_ms();
	bool told = false;
	int rc;

	while ((rc = fsck_store(store, opt, r, err)) == -EBUSY && clock_mono_ms() - begun_ms < ENDING_MS) {
		char *mountpoint = mounts_of_store(store);
		bool mounted = mountpoint != NULL;

		free(mountpoint);
		if (mounted)
			break;
		if (!told && clock_mono_ms() - begun_ms > 1000) {
			fprintf(stderr, "waiting for process %ld, which still has %s open\n",
			        (long)volume_user(store), store);
			told = true;
		}
		err->code = 0;
		nanosleep(&step, NULL);
	}
	return rc;
}

static int verdict(const char *store, const struct fsck_result *r, bool identity_is_well, bool tables_only,
                   struct err *err)
{
	char size[32];

	if (r->findings > 0)
		return err_set(err, -EUCLEAN, "%s is damaged in %" PRIu64 " places; copy what is there, then restore a "
		               "copy of the store or join again to take all from the peer", store, r->findings);
	if (!identity_is_well)
		return err_set(err, -EUCLEAN, "%s: its data is whole, but by what it would prove to the peer who it is "
		               "it is not well: see above", store);
	print_bytes(size, r->blocks << BLOCK_SHIFT);
	printf("%s: whole; %" PRIu64 " inodes, %s\n", store, r->inodes, tables_only ? "data not read" : size);
	return 0;
}

static int check(const char *store, bool tables_only, struct err *err)
{
	struct view w = { .tty = isatty(STDERR_FILENO) };
	const struct fsck_options opt = {
		.tables_only = tables_only, .found = found, .progress = progress, .ctx = &w,
	};
	struct fsck_result r;
	struct err why = ERR_INIT;
	int rc = check_once_free(store, &opt, &r, err);

	wipe(&w);
	if (rc)
		return rc;
	if (w.shown > SHOWN_MAX)
		printf("and %" PRIu64 " more\n", w.shown - SHOWN_MAX);
	if (r.without_page_sums)
		printf("%s: its database was made before pages had checksums: a changed byte in it may go unseen\n",
		       store);
	if (identity_check(store, &why) != 0) {
		char *clean = printable(why.text);

		puts(clean);
		free(clean);
	}
	return verdict(store, &r, why.code == 0, tables_only, err);
}

int cmd_fsck(const struct command *c, int argc, char **argv)
{
	struct err err = ERR_INIT;
	bool tables = false;
	const struct option_def options[] = { { "tables", 0, NULL, &tables } };
	const char *arg;
	struct where w;
	int rc = args_parse(c, argc, argv, options, ARRAY_LEN(options), &arg, 1, 1);

	if (rc >= 0)
		return rc;
	if (where_find(arg, &w, &err))
		return fail(&err);
	rc = w.mountpoint ? err_set(&err, -EBUSY, "%s is mounted at %s; unmount it first", w.store, w.mountpoint)
	                  : check(w.store, tables, &err);
	where_release(&w);
	return rc ? fail(&err) : EXIT_OK;
}
