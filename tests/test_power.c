/* SPDX-License-Identifier: MIT */
/*
 * Power is lost at any moment of a store's life, and the disk keeps of what was not flushed whatever it likes
 * (tests/disk.h). What is found then must be a whole store as of the last group whose commit had returned, or of the
 * one that was being committed; without exception.
 *
 * A run is a seed: some lives of one store, each begun from what a power cut left of the one before, each cut at many
 * points by the side. TWINFS_SEED=N runs that one alone; with TWINFS_SOAK_S it goes on for so long.
 *
 * A run aside commits full groups by the volume's own thread, between any two calls, and moves the database's log by
 * another (core/log_thread.h), between any two writes. Then what is found must be what some calls, the first so many,
 * had made of the store, and all of those whose commit was waited for.
 *
 * A run of small groups writes a block or a few and commits at once, so that most of it is only in the database's log
 * (core/logged.h).
 */
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "core/fsck.h"
#include "core/leftover.h"
#include "tests/data_fixture.h"
#include "tests/disk.h"
#include "tests/volume_text.h"

#define SNAPS_MAX 1024
#define WRITE_MAX_BYTES 300000u
#define FILE_SPAN_BYTES 400000u
#define SMALL_MAX_BYTES 20000u
#define SMALL_SPAN_BYTES 60000u

static struct volume *vol;
static char work[256], cut[256];
static uint64_t seed; /* of what happens; cuts draw from their own */
static uint64_t peer_group;
static bool aside, small;

/* The volume as of a commit (of any call, aside), and where in the disk's events that had returned. */
static struct snap {
	size_t event;
	uint64_t committed;
	bool durable;
	char *text;
} snaps[SNAPS_MAX];
static size_t n_snaps;

/* ---- the run ---- */

static void forget_snaps(void)
{
	while (n_snaps)
		free(snaps[--n_snaps].text);
}

static void note_call(bool durable)
{
	char *text = volume_text(vol);

	ck_assert_uint_lt(n_snaps, SNAPS_MAX);
	snaps[n_snaps++] = (struct snap){ disk_events(), 0, durable, text };
}

/* If all is durable now: this is a state that a cut may find. */
static void note(void)
{
	struct volume_info info;
	char *text;

	if (aside) {
		note_call(false);
		return;
	}
	volume_info(vol, &info);
	volume_lock(vol);
	bool changed = group_waits(vol); /* else only the reaper tidies up, in a time of its own */

	volume_unlock(vol);
	if (changed)
		return;
	text = volume_text(vol);
	if (n_snaps && snaps[n_snaps - 1].committed == info.committed && strcmp(snaps[n_snaps - 1].text, text) == 0) {
		free(text);
		return;
	}
	ck_assert_uint_lt(n_snaps, SNAPS_MAX);
	snaps[n_snaps++] = (struct snap){ disk_events(), info.committed, true, text };
}

static void open_work(void)
{
	static const uint64_t group_limits[] = { 0, 100000, 300000 };
	static const unsigned log_limits[] = { 0, 16, 64 };
	/* In every other life nearly all that goes is left over, and dropped a row at a time. */
	bool slow = chance_below(&seed, 2);
	struct volume_options opt = { .group_max_bytes = group_limits[chance_below(&seed, 3)],
		                      .commit_aside = aside,
		                      .log_pages = log_limits[chance_below(&seed, 3)],
		                      .at_once_rows = slow ? 2 : 0,
		                      .drop_by_hand = slow };
	struct err err = ERR_INIT;

	ck_assert_msg(volume_open(work, &opt, &vol, &err) == 0, "%s", err_text(&err));
}

static uint64_t some_dir(void)
{
	char name[8];
	struct attr a;

	snprintf(name, sizeof(name), "d%zu", chance_below(&seed, 3));
	return chance_below(&seed, 2) && volume_lookup(vol, INO_ROOT, name, &a) == 0 ? a.ino : INO_ROOT;
}

static const char *some_name(char out[8])
{
	snprintf(out, 8, "f%zu", chance_below(&seed, 6));
	return out;
}

/* 0: the directory chosen has no such file. */
static uint64_t some_file(void)
{
	char name[8];
	struct attr a;

	return volume_lookup(vol, some_dir(), some_name(name), &a) == 0 && S_ISREG(a.mode) ? a.ino : 0;
}

static void commit(void)
{
	ck_assert_int_eq(volume_commit(vol), 0);
	if (aside)
		note_call(true);
	else
		note();
}

static void write_some(uint64_t ino)
{
	static uint8_t bytes[WRITE_MAX_BYTES];
	size_t len = chance_len(&seed, small ? SMALL_MAX_BYTES : sizeof(bytes));
	size_t off = chance_off(&seed, small ? SMALL_SPAN_BYTES : FILE_SPAN_BYTES);

	chance_bytes(&seed, bytes, len);
	if (ino)
		ck_assert_int_eq(volume_write(vol, ino, bytes, len, off, 0, NULL), (ssize_t)len);
}

static void name_op(void)
{
	static const struct cred cred = { .uid = 1, .gid = 2 };
	uint64_t dir = some_dir(), other = some_dir(), ino = some_file();
	char name[8], name2[8], sub[8];
	struct attr a;

	some_name(name);
	some_name(name2);
	snprintf(sub, sizeof(sub), "d%zu", chance_below(&seed, 3));
	switch (chance_below(&seed, 10)) {
	case 0: case 1: case 2:
		if (volume_create(vol, dir, name, S_IFREG | 0644, 0, NULL, &cred, &a) == 0) {
			if (aside)
				note();
			write_some(a.ino);
		}
		break;
	case 3:
		volume_create(vol, INO_ROOT, sub, S_IFDIR | 0755, 0, NULL, &cred, &a);
		break;
	case 4:
		volume_rename(vol, dir, name, other, name2, 0);
		break;
	case 5:
		if (ino)
			volume_link(vol, ino, dir, name, &a);
		break;
	case 6:
		if (volume_lookup(vol, dir, name, &a) == 0 && chance_below(&seed, 2))
			volume_ref(vol, a.ino); /* in use: it stays until the next open */
		volume_unlink(vol, dir, name);
		break;
	case 7:
		volume_rmdir(vol, INO_ROOT, sub);
		break;
	case 8:
		volume_rename(vol, dir, name, other, name2, RENAME_EXCHANGE);
		break;
	default:
		volume_create(vol, dir, name, S_IFLNK | 0777, 0, "where it points", &cred, &a);
	}
}

static void file_op(uint64_t ino)
{
	struct attr a = { .size_bytes = chance_off(&seed, FILE_SPAN_BYTES),
		          .mode = 0600 + (uint32_t)chance_below(&seed, 64) };
	char key[16], value[600];

	snprintf(key, sizeof(key), "user.k%zu", chance_below(&seed, 3));
	chance_bytes(&seed, (uint8_t *)value, sizeof(value));
	switch (chance_below(&seed, 6)) {
	case 0:
		volume_setattr(vol, ino, SET_SIZE, &a, &a);
		break;
	case 1:
		volume_setattr(vol, ino, SET_MODE, &a, &a);
		break;
	case 2:
		volume_setxattr(vol, ino, key, value, chance_below(&seed, sizeof(value)), 0);
		break;
	case 3:
		volume_removexattr(vol, ino, key);
		break;
	case 4:
		volume_fallocate(vol, ino, FALLOC_FL_ZERO_RANGE | (chance_below(&seed, 2) ? FALLOC_FL_KEEP_SIZE : 0),
		                 chance_off(&seed, FILE_SPAN_BYTES), 1 + chance_below(&seed, WRITE_MAX_BYTES));
		break;
	default:
		/* a hole, or room for one; size kept */
		volume_fallocate(vol, ino, chance_below(&seed, 3) ? 3 : 1, chance_off(&seed, FILE_SPAN_BYTES),
		                 1 + chance_below(&seed, WRITE_MAX_BYTES));
	}
}

/* How far the file goes on in the same way from off: up to the next hole or the next data. */
static uint64_t run_end(uint64_t ino, uint64_t off, uint64_t end)
{
	int64_t hole = volume_seek(vol, ino, off, SEEK_HOLE), data = volume_seek(vol, ino, off, SEEK_DATA);
	int64_t at = data == (int64_t)off ? hole : data; /* -ENXIO: a hole to the end */

	return at < 0 ? end : MIN((uint64_t)at, end);
}

/* A copy goes run by run, and a group may end after each: each is a state that a cut may find. */
static void copy_op(void)
{
	uint64_t from = some_file(), to = some_file(), at = chance_off(&seed, FILE_SPAN_BYTES), off_to;
	uint64_t len = 1 + chance_below(&seed, WRITE_MAX_BYTES);
	struct attr a;

	off_to = from == to ? at + len + chance_below(&seed, BLOCK_BYTES) : chance_off(&seed, FILE_SPAN_BYTES);
	if (!from || !to || volume_getattr(vol, from, &a) != 0)
		return;
	for (uint64_t end = MIN(at + len, a.size_bytes); at < end;) {
		uint64_t n = run_end(from, at, end) - at;

		ck_assert_int_eq(volume_copy(vol, from, at, to, off_to, n), (ssize_t)n);
		note();
		at += n;
		off_to += n;
	}
}

/* Bytes of the peer's, staged before there is a group for them. */
static void peer_op(void)
{
	static uint8_t bytes[WRITE_MAX_BYTES];
	uint64_t ino = some_file();
	struct stage *s;

	if (!ino)
		return;
	s = stage_new(vol);
	for (int i = 0; i < 3; i++) {
		size_t len = chance_len(&seed, sizeof(bytes));

		chance_bytes(&seed, bytes, len);
		ck_assert_int_eq(stage_put(s, ino, chance_off(&seed, FILE_SPAN_BYTES), bytes, len), 0);
	}
	if (chance_below(&seed, 2))
		ck_assert_int_eq(stage_sync(s), 0);
	if (chance_below(&seed, 4)) {
		commit();
		ck_assert_int_eq(volume_apply_begin(vol), 0);
		ck_assert_int_eq(stage_adopt(s, ino, ino, ORIGIN_PEER), 0);
		ck_assert_int_eq(volume_apply_commit(vol, ++peer_group), 0);
		stage_settle(s, true);
		note();
	}
	stage_free(s);
}

/* The peer has seen our groups up to some point: change rows and history go, and their blocks are free again. */
static void ack_op(void)
{
	struct volume_info info;

	commit();
	volume_info(vol, &info);
	volume_lock(vol);
	history_cut(vol, info.committed);
	if (chance_below(&seed, 2)) {
		uint64_t upto = info.committed - chance_below(&seed, 4);

		if (upto <= info.committed && group_open(vol) == 0) {
			ck_assert_int_eq(changes_purge(vol, upto), 0);
			ck_assert_int_eq(history_purge(vol, upto), 0);
		}
	}
	volume_unlock(vol);
}

static void checkpoint_op(void)
{
	int rc;

	commit();
	volume_lock(vol);
	while ((rc = db_exec(vol->db, "PRAGMA wal_checkpoint(PASSIVE)")) == -EBUSY)
		usleep(1000); /* the log's own thread is at it, without the lock */
	ck_assert_int_eq(rc, 0);
	volume_unlock(vol);
}

/* Free blocks go back to the disk, in the middle of a group too. */
static void tidy_op(void)
{
	vol->data->freed_ms = 0; /* long ago */
	volume_tidy(vol, 1000);
}

static void drop_op(void)
{
	for (size_t n = chance_below(&seed, 6); n > 0 && leftover_step(vol); n--)
		note();
}

static void any_op(void)
{
	char word[24];
	size_t what = chance_below(&seed, 44);
	uint64_t ino = some_file();

	if (small && chance_below(&seed, 3)) {
		write_some(ino);
		commit();
	} else if (what < 12)
		name_op();
	else if (what < 22)
		write_some(ino);
	else if (what < 27 && ino)
		file_op(ino);
	else if (what < 32)
		commit();
	else if (aside && what < 39)
		write_some(ino);
	else if (what < 34)
		peer_op();
	else if (what < 36)
		ack_op();
	else if (what == 36)
		checkpoint_op();
	else if (what == 40)
		drop_op();
	else if (what > 40)
		copy_op();
	else if (what == 37) {
		snprintf(word, sizeof(word), "%llu", (unsigned long long)chance(&seed));
		ck_assert_int_eq(volume_setting_set_now(vol, "word", word), 0);
	} else if (what == 38 && chance_below(&seed, 4) == 0) {
		commit();
		ck_assert_int_eq(volume_close(vol), 0);
		open_work();
	} else if (what == 39) {
		tidy_op();
	}
	note();
}

static void pair_work(void)
{
	struct err err = ERR_INIT;

	if (chance_below(&seed, 4) == 0)
		return;
	for (size_t n = chance_below(&seed, 30); n > 0; n--) { /* something to be entered */
		name_op();
		note(); /* it may have filled a group */
	}
	commit();
	ck_assert_int_eq(volume_pair(vol, ROLE_PRIMARY, 1, 2, "00112233445566778899aabbccddeeff", "b", &err), 0);
	note();
}

/* ---- after a cut ---- */

static char wrong[8192]; /* what, or empty */

static void found(void *ctx, const char *text)
{
	(void)ctx;
	if (!*wrong)
		snprintf(wrong, sizeof(wrong), "fsck: %s", text);
}

static void fsck(void)
{
	static const struct fsck_options opt = { .found = found };
	struct fsck_result r;
	struct err err = ERR_INIT;

	if (!*wrong && fsck_store(cut, &opt, &r, &err) != 0)
		snprintf(wrong, sizeof(wrong), "fsck cannot look: %s", err_text(&err));
}

/* Which states a cut after n events may find: [*first, *last]. */
static void may_find(size_t n, size_t *first, size_t *last)
{
	*first = *last = 0;
	for (size_t i = 0; i < n_snaps && snaps[i].event <= n; i++) {
		if (snaps[i].durable)
			*first = i;
		*last = MIN(i + 1, n_snaps - 1); /* the call, or the commit, that was under way */
	}
}

/* Becoming half of a pair makes groups that change nothing that can be seen. */
static bool is_pairing(size_t i, uint64_t committed)
{
	return i + 1 < n_snaps && strncmp(snaps[i].text, "role 0", 6) == 0 &&
	       strncmp(snaps[i + 1].text, "role 0", 6) != 0 && committed > snaps[i].committed &&
	       committed <= snaps[i + 1].committed; /* opening may make one more */
}

static void expect_state(struct volume *v, size_t n)
{
	struct volume_info info;
	char *text = volume_text(v);
	size_t first, last;

	volume_info(v, &info);
	may_find(n, &first, &last);
	for (size_t i = first; i <= last; i++)
		if (strcmp(text, snaps[i].text) == 0 &&
		    (aside || info.committed == snaps[i].committed || info.committed == snaps[i].committed + 1 ||
		     is_pairing(i, info.committed))) {
			free(text);
			return;
		}
	snprintf(wrong, sizeof(wrong), "group %llu is\n%.3000s\nnot group %llu:\n%.3000s",
	         (unsigned long long)info.committed, text, (unsigned long long)snaps[first].committed,
	         snaps[first].text);
	free(text);
}

/* A store that was found goes on as if nothing had been. */
static void go_on(struct volume *v)
{
	static const struct cred cred = { .uid = 0 };
	static const char text[] = "after the cut";
	struct attr a;

	if (volume_create(v, INO_ROOT, "after", S_IFREG | 0600, 0, NULL, &cred, &a) != 0 ||
	    volume_write(v, a.ino, text, sizeof(text), 5, 0, NULL) != (ssize_t)sizeof(text) || volume_commit(v) != 0)
		snprintf(wrong, sizeof(wrong), "nothing can be written");
}

/* Cut after n events. may_lack: a store need not be there yet, but then it can be made. */
static void try_cut(size_t n, uint64_t cut_seed, bool may_lack)
{
	struct err err = ERR_INIT;
	struct volume *v;
	int rc;

	disk_power_cut(n, cut_seed, cut);
	rc = volume_open(cut, NULL, &v, &err);
	if (rc && may_lack) {
		rc = volume_format(cut, VOLUME_ID, "a", 1, 0, &err);
		if (rc)
			snprintf(wrong, sizeof(wrong), "no store, and none can be made: %s", err_text(&err));
		else
			fsck();
		return;
	}
	if (rc) {
		snprintf(wrong, sizeof(wrong), "it does not open: %s", err_text(&err));
		return;
	}
	expect_state(v, n);
	if (!*wrong && cut_seed % 8 == 0)
		go_on(v);
	volume_crash(v);
	if (cut_seed % 2 == 0)
		fsck();
}

static size_t pick_cut(uint64_t *cut_seed, size_t first, size_t end)
{
	size_t n = first + chance_below(cut_seed, end - first + 1);

	if (chance_below(cut_seed, 3)) /* just before a flush, or just after one */
		while (n < end && n > first && !disk_event_is_sync(n) && !disk_event_is_sync(n - 1))
			n--;
	return n;
}

static int by_number(const void *a, const void *b)
{
	size_t x = *(const size_t *)a, y = *(const size_t *)b;

	return x < y ? -1 : x > y;
}

/* Cut at n_cuts points; the state of the last one is what the next life begins with. False: something is wrong. */
static bool try_cuts(uint64_t run, size_t n_cuts, size_t end, size_t made_at)
{
	size_t *at = xcalloc(n_cuts, sizeof(*at));
	uint64_t cut_seed = seed;

	for (size_t i = 0; i < n_cuts; i++)
		at[i] = pick_cut(&cut_seed, 0, end);
	qsort(at, n_cuts, sizeof(*at), by_number);
	for (size_t i = 0; i < n_cuts && !*wrong; i++) {
		char event[128] = "the end";

		try_cut(at[i], chance(&cut_seed), at[i] < made_at);
		if (*wrong && at[i] < disk_events())
			disk_event_text(at[i], event, sizeof(event));
		if (*wrong)
			fprintf(stderr, "seed %llu, cut before event %zu of %zu (%s):\n%s\n", (unsigned long long)run,
			        at[i], end, event, wrong);
	}
	free(at);
	return !*wrong;
}

static void make_dirs(void)
{
	const char *base = getenv("TMPDIR");

	if (!base)
		base = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";
	snprintf(work, sizeof(work), "%s/twinfs-power-XXXXXX", base);
	snprintf(cut, sizeof(cut), "%s/twinfs-power-XXXXXX", base);
	ck_assert(mkdtemp(work) && mkdtemp(cut));
}

static void remove_dirs(void)
{
	disk_clear(work);
	disk_clear(cut);
	ck_assert(rmdir(work) == 0 && rmdir(cut) == 0);
}

/* made_at: the event after which there was a store. */
static void live(unsigned n_ops, bool first, size_t *made_at)
{
	*made_at = 0;
	if (first) {
		struct err err = ERR_INIT;

		ck_assert_msg(volume_format(work, VOLUME_ID, "a", 1, 0, &err) == 0, "%s", err_text(&err));
		*made_at = disk_events();
	}
	open_work();
	note();
	snaps[0].event = 0;
	snaps[0].durable = true;
	if (first)
		pair_work();
	while (n_ops--)
		any_op();
}

/* What the last cut left becomes the store that is worked on. */
static void begin_anew(void)
{
	char other[sizeof(work)];

	memcpy(other, work, sizeof(other));
	disk_power_cut(disk_events(), chance(&seed), cut);
	memcpy(work, cut, sizeof(work));
	memcpy(cut, other, sizeof(cut));
}

static size_t n_punches; /* of all runs */

static void count_punches(size_t end)
{
	for (size_t i = 0; i < end; i++) {
		char event[128];

		disk_event_text(i, event, sizeof(event));
		n_punches += strncmp(event, "punch", 5) == 0;
	}
}

static bool run(uint64_t number, unsigned n_lives, unsigned n_ops, size_t n_cuts, const char *lie)
{
	bool fine = true;

	seed = number;
	peer_group = 0;
	*wrong = '\0';
	make_dirs();
	for (unsigned life = 0; life < n_lives && fine; life++) {
		size_t end, made_at;

		disk_watch(work);
		live(n_ops, life == 0, &made_at);
		end = disk_events();
		count_punches(end);
		disk_lies(lie, lie && *lie == '/' ? 0 : made_at);
		volume_crash(vol);
		vol = NULL;
		fine = try_cuts(number, n_cuts, end, made_at);
		if (fine)
			begin_anew();
		forget_snaps();
		disk_unwatch();
	}
	remove_dirs();
	return fine;
}

/* ---- tests ---- */

static uint64_t env_number(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

START_TEST(whatever_a_power_cut_leaves_is_a_whole_store_of_a_committed_group)
{
	uint64_t one = env_number("TWINFS_SEED", 0), end_ms = clock_mono_ms() + 1000 * env_number("TWINFS_SOAK_S", 0);

	for (uint64_t i = one ? one : 1; i <= (one ? one : 4); i++)
		ck_assert(run(i, 3, 100, 60, NULL));
	ck_assert_uint_gt(n_punches, 0);
	for (uint64_t i = 1000 + one; clock_mono_ms() < end_ms; i++)
		ck_assert(run(i, 4, 150, 200, NULL));
}
END_TEST

START_TEST(so_it_is_when_full_groups_are_committed_aside)
{
	aside = true;
	for (uint64_t i = 1; i <= 3; i++)
		ck_assert(run(i, 2, 100, 60, NULL));
}
END_TEST

/* Long enough for the slots to be used up now and then. */
START_TEST(so_it_is_when_small_groups_only_flush_the_log)
{
	small = true;
	for (uint64_t i = 1; i <= 2; i++)
		ck_assert(run(i, 2, 250, 60, NULL));
}
END_TEST

static bool reuse_at_once, punch_at_once;

void __real_store_free(struct volume *v, uint64_t phys, uint64_t len);
void __wrap_store_free(struct volume *v, uint64_t phys, uint64_t len);

/* Linked with --wrap: what frees a block calls this. */
void __wrap_store_free(struct volume *v, uint64_t phys, uint64_t len)
{
	if (punch_at_once)
		image_punch(v->data->image, phys, len);
	if (reuse_at_once)
		store_release(v, &(struct block_run){ phys, len }, 1);
	else
		__real_store_free(v, phys, len);
}

/* In a process of its own: a broken store may well end in an assertion. */
static bool is_noticed(const char *lie)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		int null = open("/dev/null", O_WRONLY);

		dup2(null, 1);
		dup2(null, 1);
		dup2(null, 2);
		for (uint64_t i = 1; i <= 6; i++)
			if (!run(i, 2, 100, 80, lie))
				_exit(1);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) == 1 : WTERMSIG(status) == SIGABRT;
}

START_TEST(a_commit_that_did_not_flush_the_image_is_noticed)
{
	ck_assert(is_noticed("image"));
}
END_TEST

START_TEST(a_commit_aside_that_did_not_flush_the_image_is_noticed)
{
	aside = true;
	ck_assert(is_noticed("image"));
}
END_TEST

START_TEST(slots_that_are_used_again_before_the_image_was_flushed_are_noticed)
{
	small = true;
	ck_assert(is_noticed("image"));
}
END_TEST

START_TEST(a_commit_that_did_not_flush_the_log_is_noticed)
{
	ck_assert(is_noticed("-wal"));
}
END_TEST

START_TEST(a_checkpoint_that_did_not_flush_the_database_is_noticed)
{
	ck_assert(is_noticed("twinfs.db"));
}
END_TEST

START_TEST(a_checkpoint_aside_that_did_not_flush_the_database_is_noticed)
{
	aside = true;
	ck_assert(is_noticed("twinfs.db"));
}
END_TEST

START_TEST(names_that_are_not_flushed_are_noticed)
{
	ck_assert(is_noticed("/"));
}
END_TEST

START_TEST(a_block_that_is_used_again_before_the_commit_is_noticed)
{
	reuse_at_once = true;
	ck_assert(is_noticed(NULL));
}
END_TEST

START_TEST(a_block_that_is_given_back_before_the_commit_is_noticed)
{
	punch_at_once = true;
	ck_assert(is_noticed(NULL));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("power");
	TCase *tc = tcase_create("power");
	TCase *lies = tcase_create("lies");

	tcase_set_timeout(tc, 120 + (double)env_number("TWINFS_SOAK_S", 0));
	tcase_set_timeout(lies, 120);
	tcase_add_test(tc, whatever_a_power_cut_leaves_is_a_whole_store_of_a_committed_group);
	tcase_add_test(tc, so_it_is_when_full_groups_are_committed_aside);
	tcase_add_test(tc, so_it_is_when_small_groups_only_flush_the_log);
	tcase_add_test(lies, a_commit_that_did_not_flush_the_image_is_noticed);
	tcase_add_test(lies, a_commit_aside_that_did_not_flush_the_image_is_noticed);
	tcase_add_test(lies, slots_that_are_used_again_before_the_image_was_flushed_are_noticed);
	tcase_add_test(lies, a_commit_that_did_not_flush_the_log_is_noticed);
	tcase_add_test(lies, a_checkpoint_that_did_not_flush_the_database_is_noticed);
	tcase_add_test(lies, a_checkpoint_aside_that_did_not_flush_the_database_is_noticed);
	tcase_add_test(lies, names_that_are_not_flushed_are_noticed);
	tcase_add_test(lies, a_block_that_is_used_again_before_the_commit_is_noticed);
	tcase_add_test(lies, a_block_that_is_given_back_before_the_commit_is_noticed);
	suite_add_tcase(s, tc);
	suite_add_tcase(s, lies);
	return tap_main(s);
}
