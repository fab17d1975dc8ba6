/* SPDX-License-Identifier: MIT */
/* The volume as a whole: format, open, close, settings, pair, what it says of itself. */
#include "core/internal.h"
#include "core/landing.h"

#include "core/leftover.h"
#include "core/logged.h"
#include "db/change_set.h"
#include "db/inode_rows.h"
#include "db/log_scan.h"
#include "db/meta_rows.h"
#include "db/note_rows.h"
#include "db/schema.h"
#include "util/dir.h"
#include "util/log.h"
#include "util/util.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* With less room than one request may bring, a store is called full; a small one with less than a share. */
#define FULL_BYTES (UINT64_C(1) << 20)
#define FULL_SHARE 64u
#define SETTING_PREFIX "setting."
#define SETTING_MAX_BYTES 65535u
/* Ids never run out (core/tree.c): a counter near its end was damaged. */
#define NEXT_ID_LIMIT ((UINT64_C(1) << ID_SLOT_SHIFT) - (UINT64_C(1) << 40))

static char *store_path(const char *dir, const char *name)
{
	return xasprintf("%s/%s", dir, name);
}

/* ---- format ---- */

static bool name_ok(const char *name)
{
	size_t n = strlen(name);

	for (const char *p = name; *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr("._-", *p))
			return false;
	return n >= 1 && n <= 32;
}

static int put_dir(struct db *db, uint64_t ino, uint32_t mode)
{
	struct inode in = { .ino = ino, .mode = S_IFDIR | mode, .uid = getuid(), .gid = getgid() };
	int rc;

	in.atime_ns = in.mtime_ns = in.ctime_ns = clock_real_ns();
	rc = inode_row_insert(db, &in);
	return rc ? rc : inode_row_add_nlink(db, ino, 2);
}

static int put_number(struct db *db, const char *key, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	return meta_row_put(db, key, text);
}

static int fill_tables(struct db *db, const char *volume_id, const char *node_name, unsigned slot, uint64_t size_bytes)
{
	struct store_state state = { .next_id = 1 };
	char node_id[33];
	uint8_t id[16];
	int rc = schema_create(db);

	random_bytes(id, sizeof(id));
	hex_encode(id, sizeof(id), node_id);
	if (!rc)
		rc = meta_row_put(db, "volume_id", volume_id);
	if (!rc)
		rc = meta_row_put(db, "node_name", node_name);
	if (!rc)
		rc = meta_row_put(db, "node_id", node_id);
	if (!rc)
		rc = put_number(db, "slot", slot);
	if (!rc)
		rc = put_number(db, "size_bytes", size_bytes);
	if (!rc)
		rc = put_dir(db, INO_ROOT, 0755);
	if (!rc)
		rc = put_dir(db, INO_HIDDEN, 0755);
	return rc ? rc : state_row_put(db, &state);
}

/*
 * A store comes into being with one rename: of the database, which is made under this name. It is there before any
 * other file, so that where it is and twinfs.db is not, the rest is what a making that was cut short left.
 */
#define UNFINISHED_DB "twinfs.db.new"

static bool is_there(const char *dir, const char *name)
{
	char *path = store_path(dir, name);
	bool is = access(path, F_OK) == 0;

	free(path);
	return is;
}

bool volume_unfinished(const char *dir)
{
	return is_there(dir, UNFINISHED_DB) && !is_there(dir, "twinfs.db");
}

static void remove_file(const char *dir, const char *name)
{
	char *path = store_path(dir, name);

	unlink(path);
	free(path);
}

int volume_unmake_begin(const char *dir)
{
	char *from = store_path(dir, "twinfs.db"), *to = store_path(dir, UNFINISHED_DB);
	int rc = rename(from, to) == 0 || errno == ENOENT ? 0 : -errno;

	free(from);
	free(to);
	return rc ? rc : dir_sync(dir, NULL);
}

/* All but what marks the directory. Durably: it must not be found without the mark. */
static int remove_others(const char *dir, struct err *err)
{
	static const char *const names[] = { UNFINISHED_DB "-wal", UNFINISHED_DB "-journal", "twinfs.db-wal",
		                             "twinfs.db-journal", "image", "lock" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		remove_file(dir, names[i]);
	return dir_sync(dir, err);
}

void volume_unmake(const char *dir)
{
	if (volume_unmake_begin(dir) == 0 && volume_unfinished(dir) && remove_others(dir, NULL) == 0)
		remove_file(dir, UNFINISHED_DB);
}

/* Names and small files' attributes are nobody else's business; SQLite gives its other files the same mode. */
int volume_format_begin(const char *dir, struct err *err)
{
	char *path = store_path(dir, UNFINISHED_DB);
	int rc = 0, fd = -1;

	if (is_there(dir, "twinfs.db"))
		rc = err_set(err, -EEXIST, "%s holds a store already", dir);
	else if (volume_unfinished(dir))
		rc = remove_others(dir, err);
	if (!rc) {
		fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
		if (fd < 0)
			rc = err_set(err, -errno, "cannot make %s: %s", path, strerror(errno));
		else
			close(fd);
	}
	free(path);
	return rc ? rc : dir_sync(dir, err);
}

static int make_database(const char *path, const char *volume_id, const char *node_name, unsigned slot,
                         uint64_t size_bytes, struct err *err)
{
	struct db *db = NULL;
	int rc = db_open(path, 0, &db, err);

	if (rc)
		return rc;
	rc = db_begin(db);
	if (!rc)
		rc = fill_tables(db, volume_id, node_name, slot, size_bytes);
	if (!rc)
		rc = db_commit(db);
	if (rc) {
		const char *text = "";

		db_failure(db, &text);
		err_set(err, rc, "cannot make the database %s: %s", path, text);
	}
	db_close(db);
	return rc;
}

/* The database is closed: all of it is in the one file, unless the checkpoint failed. */
static int put_in_place(const char *dir, const char *path, struct err *err)
{
	char *final = store_path(dir, "twinfs.db");
	int rc = 0, fd = open(path, O_RDWR | O_CLOEXEC);

	if (is_there(dir, UNFINISHED_DB "-wal"))
		rc = err_set(err, -EIO, "cannot write the database %s", path);
	else if (fd < 0 || fsync(fd) < 0 || rename(path, final) < 0)
		rc = err_set(err, -errno, "cannot write the database %s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	free(final);
	if (!rc) {
		rc = dir_sync(dir, err);
		if (rc)
			volume_unmake_begin(dir);
	}
	return rc;
}

int volume_format(const char *dir, const char *volume_id, const char *node_name, unsigned slot, uint64_t size_bytes,
                  struct err *err)
{
	char *path;
	int rc;

	if (strlen(volume_id) != 36)
		return err_set(err, -EINVAL, "\"%s\" is not a volume id (a uuid of 36 characters)", volume_id);
	if (!name_ok(node_name))
		return err_set(err, -EINVAL, "\"%s\" is not a node name (1 to 32 of A-Z a-z 0-9 . _ -)", node_name);
	if (size_bytes && size_bytes < VOLUME_MIN_BYTES)
		return err_set(err, -EINVAL, "a size limit of %llu bytes is too small; the least is 1M",
			       (unsigned long long)size_bytes);
	if (slot < 1 || slot > SLOT_MAX)
		return err_set(err, -EINVAL, "slot %u is not between 1 and %u", slot, SLOT_MAX);
	rc = volume_format_begin(dir, err);
	if (rc)
		return rc;
	path = store_path(dir, UNFINISHED_DB);
	rc = data_store_format(dir, err);
	if (rc == -EEXIST) /* somebody's own */
		remove_file(dir, UNFINISHED_DB);
	if (!rc)
		rc = make_database(path, volume_id, node_name, slot, size_bytes, err);
	if (!rc)
		rc = put_in_place(dir, path, err);
	free(path);
	return rc;
}

/* ---- open ---- */

static int take_lock(struct volume *v, struct err *err)
{
	char *path = store_path(v->dir, "lock");
	int e;

	v->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	e = errno;
	free(path);
	if (v->lock_fd < 0)
		return err_set(err, -e, "cannot open %s/lock: %s", v->dir, strerror(e));
	if (flock(v->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	return err_set(err, -EBUSY, "%s is already mounted or in use by pid %ld", v->dir, (long)volume_user(v->dir));
}

pid_t volume_user(const char *dir)
{
	char *path = store_path(dir, "lock"), text[24] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	free(path);
	if (fd < 0 || pread(fd, text, sizeof(text) - 1, 0) < 0)
		text[0] = '\0';
	if (fd >= 0)
		close(fd);
	return (pid_t)strtol(text, NULL, 10);
}

/* The pid only informs; the lock is what counts, so a failure to write it is no reason to stop. Written once the store
 * is known to be good: what is refused stays as it was. */
static void tell_pid(struct volume *v)
{
	char text[24];
	int n = snprintf(text, sizeof(text), "%ld\n", (long)getpid());

	if (ftruncate(v->lock_fd, 0) != 0 || pwrite(v->lock_fd, text, (size_t)n, 0) != n)
		log_warn("cannot write the pid into %s/lock", v->dir);
}

static int read_text(struct volume *v, const char *key, char *out, size_t cap_bytes)
{
	char *text = meta_row_get(v->db, key);
	int rc = text && strlen(text) < cap_bytes ? 0 : -EUCLEAN;

	if (!rc)
		text_copy(out, cap_bytes, text);
	free(text);
	return rc;
}

/* 0 if it is not set. */
static int read_number(struct volume *v, const char *key, uint64_t most, uint64_t *n)
{
	char *text = meta_row_get(v->db, key), *end = NULL;

	*n = text ? strtoull(text, &end, 10) : 0;
	bool sane = (!text || (*text && *end == '\0')) && *n <= most;

	free(text);
	return sane ? 0 : -EUCLEAN;
}

/* Every name of the pair's nodes, ids included, travels as it is. */
static bool identity_sane(const struct volume_info *i)
{
	return strlen(i->volume_id) == 36 && name_ok(i->node_name) && strlen(i->node_id) == 32 &&
	       strspn(i->node_id, "0123456789abcdef") == 32;
}

static int read_numbers(struct volume *v)
{
	struct volume_info *info = &v->info;
	struct store_state state;
	uint64_t slot = 0, role = 0;
	int rc = state_row_get(v->db, &state);

	if (!rc)
		rc = read_number(v, "slot", SLOT_MAX, &slot);
	if (!rc)
		rc = read_number(v, "size_bytes", UINT64_MAX >> 1, &info->size_bytes);
	if (!rc)
		rc = read_number(v, "role", ROLE_SECONDARY, &role);
	if (!rc)
		rc = read_number(v, "generation", UINT64_MAX >> 1, &info->generation);
	if (rc)
		return rc;
	info->slot = (unsigned)slot;
	info->role = (enum role)role;
	info->committed = info->cut = state.committed;
	info->acked = state.acked;
	info->applied = state.applied;
	v->next_id = state.next_id;
	return slot < 1 || state.committed >= GROUP_LIMIT || state.acked > state.committed ||
	                       state.flushed > state.committed ||
	                       state.applied >= GROUP_LIMIT || state.next_id < 1 || state.next_id >= NEXT_ID_LIMIT
	               ? -EUCLEAN
	               : 0;
}

static int read_identity(struct volume *v)
{
	struct volume_info *info = &v->info;
	uint32_t root = 0, hidden = 0;
	int rc = read_numbers(v);

	if (!rc)
		rc = read_text(v, "volume_id", info->volume_id, sizeof(info->volume_id));
	if (!rc)
		rc = read_text(v, "node_name", info->node_name, sizeof(info->node_name));
	if (!rc)
		rc = read_text(v, "node_id", info->node_id, sizeof(info->node_id));
	if (!rc)
		rc = inode_row_mode(v->db, INO_ROOT, &root);
	if (!rc)
		rc = inode_row_mode(v->db, INO_HIDDEN, &hidden);
	/* A link that is nowhere exists only within a transaction. */
	if (!rc && (!identity_sane(info) || !S_ISDIR(root) || !S_ISDIR(hidden) || !tree_is_empty_dir(v, 0)))
		rc = -EUCLEAN;
	return rc;
}

/* More orphans of the last run than these are not waited for. */
#define PURGE_AT_ONCE 1000u

/* What was unlinked but open when the last run ended. Nobody holds it any more. */
static int purge_orphans(struct volume *v)
{
	uint64_t list[PURGE_AT_ONCE + 1];
	int n = orphan_rows_some(v->db, ORPHANS_FROM_FIRST, list, ARRAY_LEN(list)), rc;

	if (n > (int)PURGE_AT_ONCE)
		leftover_doom(v);
	if (n <= 0 || n > (int)PURGE_AT_ONCE)
		return MIN(n, 0);
	for (int i = 0; i < n; i++)
		map_put(&v->orphans, list[i], 1);
	rc = group_open(v);
	for (int i = 0; !rc && i < n; i++)
		rc = tree_reap(v, list[i]);
	if (!rc && map_count(&v->orphans) > 0)
		rc = db_damaged(v->db, "table orphan lists files that have names, or that do not exist");
	return rc ? rc : group_commit_locked(v);
}

/* Opening and closing moves the database's end, so that it looks written. When it was written last is what tells since
 * when a store is not mounted (also of one whose process was killed), and what a backup goes by. */
static void look_at_time(struct volume *v)
{
	char *path = store_path(v->dir, "twinfs.db"), *log = store_path(v->dir, "twinfs.db-wal");
	struct stat st, st_log;

	if (stat(path, &st) == 0)
		v->written = st.st_mtim;
	if (stat(log, &st_log) == 0 && st_log.st_mtim.tv_sec >= v->written.tv_sec)
		v->written = st_log.st_mtim;
	free(path);
	free(log);
}

static void put_time_back(struct volume *v)
{
	const struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, v->written };
	char *path = store_path(v->dir, "twinfs.db");

	(void)utimensat(AT_FDCWD, path, times, 0); /* a folder that is read-only by now shows the later time */
	free(path);
}

static void volume_free(struct volume *v)
{
	if (v->data)
		data_store_close(v);
	db_close(v->db);
	if (v->unwritten)
		put_time_back(v);
	if (v->lock_fd >= 0)
		close(v->lock_fd);
	leftover_release(v);
	map_release(&v->refs);
	free(v->moves);
	map_release(&v->late_moves);
	map_release(&v->would_move);
	map_release(&v->settled);
	map_release(&v->settling);
	map_release(&v->orphans);
	map_release(&v->orphans_new);
	map_release(&v->touched);
	map_release(&v->group_inodes);
	buf_release(&v->group_names);
	map_release(&v->lost);
	map_release(&v->noticed);
	landing_unwatch(v);
	map_release(&v->carry_reap);
	map_release(&v->carry_drops);
	committer_release(&v->committer);
	log_thread_release(&v->log_thread);
	damage_destroy(&v->damage);
	pthread_cond_destroy(&v->commit_done);
	pthread_mutex_destroy(&v->lock);
	pthread_mutex_destroy(&v->turn);
	free(v->notices);
	free(v->fault);
	free(v->dir);
	free(v);
}

/* SQLite will say nothing of it. What is there is a whole state, if one of before; a peer that has more brings it
 * forward. */
static void look_for_lost_commits(struct volume *v, const char *path)
{
	uint64_t frame;

	if (log_scan_lost(path, &v->info.commits_lost, &frame) == 0 && v->info.commits_lost > 0)
		log_error("%s-wal is damaged from frame %llu on: what was committed there, %llu times at least, is "
		          "lost, and the store is as it was before that", path, (unsigned long long)frame,
		          (unsigned long long)v->info.commits_lost);
}

static int open_store(struct volume *v, struct err *err)
{
	char *path = store_path(v->dir, "twinfs.db");
	struct stat st = { .st_ino = 0 };
	int rc;

	rc = access(path, F_OK) == 0 ? schema_probe(path, err)
	                             : err_set(err, -EINVAL, "%s is not a twinfs store (no twinfs.db in it)", v->dir);
	if (!rc)
		rc = take_lock(v, err);
	if (!rc)
		look_at_time(v);
	if (!rc)
		look_for_lost_commits(v, path);
	if (!rc)
		rc = db_open(path, v->opt.fast_unsafe ? DB_FAST_UNSAFE : 0, &v->db, err);
	if (!rc && stat(path, &st) < 0)
		rc = err_set(err, -errno, "cannot look at %s: %s", path, strerror(errno));
	free(path);
	if (!rc)
		rc = schema_check(v->db, err);
	if (rc)
		return rc;
	db_log_limit(v->db, v->opt.commit_aside, v->opt.log_pages);
	rc = read_identity(v);
	if (rc)
		return err_set(err, -EUCLEAN,
			       "the database of %s is damaged; restore it from a copy, or join again to fetch "
			       "everything from the peer",
			       v->dir);
	rc = data_store_open(v, err);
	if (rc)
		return rc;
	v->db_dev = st.st_dev;
	v->db_ino = st.st_ino;
	volume_lock_now(v);
	rc = landing_open(v);
	if (!rc)
		rc = leftover_load(v);
	if (!rc)
		rc = pair_open(v);
	if (!rc)
		rc = leftover_look(v);
	if (!rc)
		rc = purge_orphans(v);
	leftover_start(v);
	volume_unlock(v);
	return rc ? err_set(err, rc, "cannot open %s: %s", v->dir, v->fault ? v->fault : strerror(-rc)) : 0;
}

int volume_open(const char *dir, const struct volume_options *opt, struct volume **out, struct err *err)
{
	struct volume *v = xcalloc(1, sizeof(*v));
	int rc;

	pthread_mutex_init(&v->lock, NULL);
	pthread_mutex_init(&v->turn, NULL);
	hold_init(&v->hold);
	pthread_cond_init(&v->commit_done, NULL);
	damage_init(&v->damage);
	committer_init(&v->committer);
	log_thread_init(&v->log_thread);
	v->dir = xstrdup(dir);
	v->lock_fd = -1;
	buf_init(&v->group_names, SIZE_MAX >> 1); /* bounded where it is filled */
	v->conflicts_put = CONFLICTS_TIDY_EVERY; /* the next one, as nobody has counted */
	if (opt)
		v->opt = *opt;
	rc = open_store(v, err);
	if (rc) {
		leftover_stop(v);
		committer_stop(v);
		log_thread_stop(v);
		volume_free(v);
		return rc;
	}
	tell_pid(v);
	*out = v;
	return 0;
}

int volume_close(struct volume *v)
{
	int rc;

	leftover_stop(v);
	committer_stop(v);
	log_thread_stop(v);
	logged_end(v);
	rc = volume_commit(v);
	v->unwritten = rc == 0 && v->written.tv_sec > 0 && db_changes_in_all(v->db) == 0;
	volume_free(v);
	return rc;
}

void volume_crash(struct volume *v)
{
	leftover_stop(v);
	committer_stop(v);
	log_thread_stop(v);
	db_abandon(v->db);
	v->db = NULL;
	volume_free(v);
}

/* ---- what it says of itself ---- */

static void look_at_pending(struct volume *v)
{
	struct change_totals t;
	struct volume_info *i = &v->info;

	if (i->role == ROLE_NONE || change_set_totals(v->db, &t) != 0)
		t = (struct change_totals){ 0 };
	i->pending_entries = t.entries;
	i->pending_bytes = t.range_bytes;
	i->pending_oldest_ms = 0;
	if (t.oldest_grp > 0 && group_row_time(v->db, t.oldest_grp, &i->pending_oldest_ms) != 0)
		i->pending_oldest_ms = v->info.group_open ? v->group_opened_ms : clock_real_ms();
}

uint64_t volume_kept_bytes(struct volume *v)
{
	uint64_t bytes;

	volume_lock_now(v);
	/* Whoever watches a volume at rest asks for nothing new. */
	if ((v->info.group_open || v->kept_counted != v->info.committed) &&
	    inode_rows_bytes_below(v->db, INO_HIDDEN, &v->kept_bytes) == 0)
		v->kept_counted = v->info.group_open ? 0 : v->info.committed;
	bytes = v->kept_bytes;
	volume_unlock(v);
	return bytes;
}

void volume_info(struct volume *v, struct volume_info *out)
{
	struct data_usage usage;

	volume_lock_now(v);
	look_at_pending(v);
	v->info.conflicts_open = db_numbers(v->db)->kept_both;
	v->info.conflicts_merged = db_numbers(v->db)->merged;
	data_usage(v, &usage);
	v->info.used_bytes = usage.used_bytes;
	v->info.history_bytes = usage.history_bytes;
	*out = v->info;
	volume_unlock(v);
}

const char *volume_dir(struct volume *v)
{
	return v->dir;
}

char *volume_fault(struct volume *v, int *code)
{
	char *text;

	volume_lock_now(v);
	text = v->fault ? xstrdup(v->fault) : NULL;
	if (code)
		*code = v->health == HEALTH_DAMAGED ? -EUCLEAN : v->health == HEALTH_FAILED ? v->fault_code : 0;
	volume_unlock(v);
	return text;
}

uint32_t volume_damaged_page(struct volume *v)
{
	uint32_t page;

	volume_lock_now(v);
	page = page_sums_damaged(db_handle(v->db));
	volume_unlock(v);
	return page;
}

/* ---- space ---- */

static void space_look(struct volume *v, struct volume_space *out)
{
	struct data_usage u;

	data_usage(v, &u);
	*out = (struct volume_space){ .used_bytes = u.used_bytes,
				      .history_bytes = u.history_bytes,
				      .free_bytes = u.free_bytes,
				      .avail_bytes = u.avail_bytes,
				      .size_bytes = v->info.size_bytes,
				      .host_is_less = u.host_is_less };
	out->total_bytes = v->info.size_bytes ? MAX(v->info.size_bytes, u.used_bytes) : u.used_bytes + u.free_bytes;
	if (volume_room(v) != 0)
		out->avail_bytes = 0;
	out->full = out->avail_bytes < MIN(FULL_BYTES, out->total_bytes / FULL_SHARE);
}

void volume_space(struct volume *v, struct volume_space *out)
{
	volume_lock_now(v);
	space_look(v, out);
	volume_unlock(v);
}

int volume_statfs(struct volume *v, struct statvfs *out)
{
	struct volume_space s;

	volume_lock_now(v);
	space_look(v, &s);
	*out = (struct statvfs){ .f_bsize = BLOCK_BYTES, .f_frsize = BLOCK_BYTES, .f_namemax = NAME_MAX_BYTES };
	out->f_blocks = s.total_bytes / BLOCK_BYTES;
	out->f_bfree = MIN(s.free_bytes / BLOCK_BYTES, out->f_blocks);
	out->f_bavail = MIN(s.avail_bytes / BLOCK_BYTES, out->f_bfree);
	/* Inodes are not a resource here; programs that divide by these want something plausible. */
	out->f_files = UINT64_C(1) << 32;
	out->f_ffree = out->f_favail = out->f_files - MIN(v->next_id, UINT64_C(1) << 31);
	if (v->health != HEALTH_WELL)
		out->f_flag |= ST_RDONLY;
	volume_unlock(v);
	return 0;
}

static int refuse_size(uint64_t size_bytes, int rc, uint64_t least_bytes, uint64_t history_bytes, struct err *err)
{
	unsigned long long size = size_bytes, least = least_bytes;

	if (rc == -ERANGE)
		return err_set(err, rc, "the store's device holds %llu bytes, less than %llu; enlarge it first", least,
			       size);
	return err_set(err, rc,
		       "cannot limit the store to %llu bytes: %llu are in use, %llu of them for old versions that the "
		       "peer may need; delete files or take %llu or more",
		       size, least, (unsigned long long)history_bytes, least);
}

int volume_resize(struct volume *v, uint64_t size_bytes, struct err *err)
{
	uint64_t before, least;
	struct data_usage u;
	int rc;

	if (size_bytes && size_bytes < VOLUME_MIN_BYTES)
		return err_set(err, -EINVAL, "a size limit of %llu bytes is too small; the least is 1M",
			       (unsigned long long)size_bytes);
	volume_lock_now(v);
	before = v->info.size_bytes;
	rc = group_commit_locked(v); /* what it freed counts as free */
	if (!rc)
		rc = group_open(v);
	if (rc) {
		err_set(err, rc, "the store takes no changes: %s", v->fault ? v->fault : strerror(-rc));
		goto out;
	}
	data_usage(v, &u);
	rc = data_store_limit(v, size_bytes, &least);
	if (rc) {
		refuse_size(size_bytes, rc, least, u.history_bytes, err);
		goto out;
	}
	group_keep(v);
	meta_put_number(v, "size_bytes", size_bytes); /* a failure is latched, and the commit refused */
	rc = group_commit_locked(v);
	v->room_checked_ms = 0;
	if (rc) {
		data_store_limit(v, before, &least);
		err_set(err, rc, "cannot store the new size: %s", v->fault ? v->fault : strerror(-rc));
		goto out;
	}
	v->info.size_bytes = size_bytes;
out:
	volume_unlock(v);
	return rc;
}

void volume_set_notice(struct volume *v, volume_notice_fn fn, volume_told_fn told, void *ctx)
{
	volume_lock_now(v);
	v->notice_fn = fn;
	v->told_fn = told;
	v->notice_ctx = ctx;
	volume_unlock(v);
}

void volume_set_dirty(struct volume *v, void (*fn)(void *ctx), void *ctx)
{
	volume_lock_now(v);
	v->dirty_fn = fn;
	v->dirty_ctx = ctx;
	while (v->telling > 0) /* whoever goes is called no more when this returns; the reaper may be calling now */
		pthread_cond_wait(&v->commit_done, &v->lock);
	hold_begin(&v->hold, __builtin_return_address(0), 0);
	if (group_waits(v)) /* in a group that was open already */
		v->became_open = true;
	volume_unlock(v);
}

/* ---- settings ---- */

int meta_put_number(struct volume *v, const char *key, uint64_t value)
{
	return put_number(v->db, key, value);
}

char *setting_get(struct volume *v, const char *key)
{
	char *name = xasprintf(SETTING_PREFIX "%s", key), *value = meta_row_get(v->db, name);

	free(name);
	return value;
}

char *volume_setting_get(struct volume *v, const char *key)
{
	char *value;

	volume_lock_now(v);
	value = setting_get(v, key);
	volume_unlock(v);
	return value;
}

int setting_put(struct volume *v, const char *key, const char *value)
{
	char *name;
	int rc;

	if (value && strlen(value) > SETTING_MAX_BYTES)
		return -E2BIG;
	if (!value) { /* what is not set is not taken away: nothing is written for it */
		char *old = setting_get(v, key);

		free(old);
		if (!old)
			return 0;
	}
	rc = group_open(v);
	if (rc)
		return rc;
	name = xasprintf(SETTING_PREFIX "%s", key);
	group_keep(v);
	rc = meta_row_put(v->db, name, value);
	free(name);
	return rc;
}

int volume_setting_set(struct volume *v, const char *key, const char *value)
{
	int rc;

	volume_lock_now(v);
	rc = setting_put(v, key, value);
	volume_unlock(v);
	return rc;
}

int volume_setting_set_now(struct volume *v, const char *key, const char *value)
{
	int rc = volume_setting_set(v, key, value);

	return rc ? rc : volume_commit(v);
}
