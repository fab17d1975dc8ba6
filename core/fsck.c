/* SPDX-License-Identifier: MIT */
#include "core/fsck.h"

#include "core/freemap.h"
#include "core/image.h"
#include "core/logged.h"
#include "core/volume.h"
#include "db/check.h"
#include "db/dentry_rows.h"
#include "db/extent_rows.h"
#include "db/landing_rows.h"
#include "db/meta_rows.h"
#include "db/page_scan.h"
#include "db/schema.h"
#include "util/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* Progress is told after so many blocks: 16 MiB. */
#define TELL_BLOCKS 4096u
/* A name longer than this is shown by its end: a message is a line. */
#define PATH_SHOWN_BYTES 1000u

struct fsck {
	const char *dir;
	const struct fsck_options *opt;
	struct fsck_result *out;
	int lock_fd;
	struct db *db;
	struct image *image;
	struct freemap *owned;
	uint64_t image_blocks, total_blocks, told_blocks;
	uint8_t *buf; /* the blocks of one row */
	struct map logged; /* what the next open will write to the image: core/logged.h */
};

/* ---- findings ---- */

static int take_dentry(void *ctx, const struct dentry *d)
{
	*(struct dentry *)ctx = *d;
	return 1;
}

/* Put "/NAME" before what is there; false when there is no room. */
static bool prepend(char *buf, size_t *at, const struct dentry *d)
{
	if (*at < (size_t)d->name_len + 1)
		return false;
	*at -= d->name_len;
	memcpy(buf + *at, d->name, d->name_len);
	buf[--*at] = '/';
	return true;
}

/* "/a/b" as far as the tables tell it; malloc'd. Bounded, as the tables may hold a loop. */
static char *path_text(struct fsck *f, uint64_t ino)
{
	char buf[PATH_SHOWN_BYTES + 1];
	size_t at = PATH_SHOWN_BYTES;
	struct dentry d;

	buf[at] = '\0';
	while (ino > INO_HIDDEN && dentry_rows_of_child(f->db, ino, take_dentry, &d) == 1 && prepend(buf, &at, &d))
		ino = d.parent;
	db_failure_clear(f->db);
	if (ino == INO_ROOT)
		return xstrdup(buf[at] ? buf + at : "/");
	if (ino == INO_HIDDEN)
		return xasprintf("/" HIDDEN_NAME "%s", buf + at);
	return buf[at] ? xasprintf("...%s", buf + at) : NULL;
}

static void found(struct fsck *f, uint64_t ino, const char *where, const char *what)
{
	char *path = ino ? path_text(f, ino) : NULL, *text;

	if (path)
		text = xasprintf("%s (inode %llu): %s: %s", path, (unsigned long long)ino, where, what);
	else if (ino)
		text = xasprintf("inode %llu: %s: %s", (unsigned long long)ino, where, what);
	else
		text = xasprintf("%s: %s", where, what);
	f->out->findings++;
	f->opt->found(f->opt->ctx, text);
	free(text);
	free(path);
}

static void tell(struct fsck *f, const char *phase, uint64_t done, uint64_t total)
{
	if (f->opt->progress)
		f->opt->progress(f->opt->ctx, phase, done, total);
}

/* ---- pages ---- */

static void page_found(void *ctx, bool log, const char *where, const char *what)
{
	char *file = xasprintf("%s, %s", log ? "twinfs.db-wal" : "twinfs.db", where);

	found(ctx, 0, file, what);
	free(file);
}

static void page_progress(void *ctx, uint64_t done, uint64_t all)
{
	tell(ctx, "pages", done, all);
}

/* As the store lies there, before SQLite looks at it. */
static int check_pages(struct fsck *f, const char *path, struct err *err)
{
	const struct page_scan_options opt = { .found = page_found, .progress = page_progress, .ctx = f };
	bool has_sums = true;
	int rc = page_scan(path, &opt, &has_sums);

	f->out->without_page_sums = !has_sums;
	return rc ? err_set(err, rc, "cannot read %s and its log: %s", path, strerror(-rc)) : 0;
}

/* ---- tables ---- */

static int table_finding(void *ctx, const struct db_finding *d)
{
	char *where = xasprintf("%s, %s", d->table, d->row), *what = xasprintf("not so: %s", d->rule);

	found(ctx, d->ino, where, what);
	free(where);
	free(what);
	return 0;
}

static int table_step(void *ctx, size_t done)
{
	tell(ctx, "tables", done, db_check_steps());
	return 0;
}

/* ---- blocks ---- */

static bool is_missing(struct fsck *f, const struct extent *e)
{
	return !logged_has_beyond(&f->logged, e->phys, e->len, f->image_blocks);
}

/* The row's blocks become its own; those that cannot are found. */
static void claim(struct fsck *f, uint64_t ino, const struct extent *e, const char *table)
{
	char where[64], what[96];
	uint64_t clash = 0;

	snprintf(where, sizeof(where), "%s, block %llu", table, (unsigned long long)e->off);
	if (is_missing(f, e)) {
		snprintf(what, sizeof(what), "its block %llu is beyond the image's end", (unsigned long long)e->phys);
		found(f, ino, where, what);
		return;
	}
	if (freemap_claim(f->owned, e->phys, e->len) == 0)
		return;
	for (uint64_t b = e->phys; b < e->phys + e->len; b++)
		if (freemap_used(f->owned, b))
			clash = clash ? clash : b;
		else
			freemap_claim(f->owned, b, 1);
	snprintf(what, sizeof(what), "block %llu of the image has another owner too", (unsigned long long)clash);
	found(f, ino, where, what);
}

static int read_row(struct fsck *f, const struct extent *e)
{
	uint64_t slot;
	int rc = 0;

	if (map_count(&f->logged) == 0)
		return image_read(f->image, e->phys, 0, f->buf, (size_t)e->len << BLOCK_SHIFT);
	for (uint32_t i = 0; !rc && i < e->len; i++) {
		uint8_t *block = f->buf + ((size_t)i << BLOCK_SHIFT);

		rc = map_get(&f->logged, e->phys + i, &slot) ? logged_read(f->db, slot - 1, block)
		                                             : image_read(f->image, e->phys + i, 0, block, BLOCK_BYTES);
	}
	return rc;
}

static void verify(struct fsck *f, uint64_t ino, const struct extent *e, const char *table)
{
	uint64_t bad = 0, first = 0;
	char where[64], what[128];
	int rc;

	if (is_missing(f, e))
		return; /* said already */
	rc = read_row(f, e);
	for (uint32_t i = 0; !rc && i < e->len; i++) {
		if (block_sum(f->buf + ((size_t)i << BLOCK_SHIFT)) == e->sums[i])
			continue;
		first = bad ? first : e->off + i;
		bad++;
	}
	if (!rc && !bad)
		return;
	snprintf(where, sizeof(where), "%s, block %llu", table, (unsigned long long)e->off);
	if (rc)
		snprintf(what, sizeof(what), "cannot be read: %s", strerror(-rc));
	else
		snprintf(what, sizeof(what), "%llu of %u blocks are not what was written, from byte %llu on",
		         (unsigned long long)bad, e->len, (unsigned long long)(first << BLOCK_SHIFT));
	found(f, ino, where, what);
}

static int check_extent(void *ctx, uint64_t ino, const struct extent *e, bool old)
{
	struct fsck *f = ctx;
	const char *table = old ? "old_extent" : "extent";

	claim(f, ino, e, table);
	verify(f, ino, e, table);
	f->out->blocks += e->len;
	if (f->out->blocks - f->told_blocks >= TELL_BLOCKS) {
		f->told_blocks = f->out->blocks;
		tell(f, "blocks", f->out->blocks, f->total_blocks);
	}
	return 0;
}

/* Of a plan that was not carried out to the end: the next opening goes on with it. */
static int check_planned(void *ctx, uint64_t ino, const struct landing_run *r)
{
	struct extent e = { .off = r->off, .len = (uint32_t)r->len, .phys = r->phys };

	memcpy(e.sums, r->sums, (size_t)r->len * sizeof(e.sums[0]));
	claim(ctx, ino, &e, "landing_extent");
	verify(ctx, ino, &e, "landing_extent");
	return 0;
}

static void look_at_logged(struct fsck *f)
{
	struct store_state state;
	uint64_t bad = logged_damage(f->db);
	char where[32];

	snprintf(where, sizeof(where), "logged, slot %llu", (unsigned long long)bad);
	if (bad < LOGGED_SLOTS)
		found(f, 0, where, "not what was written");
	if (state_row_get(f->db, &state) == 0)
		logged_load(f->db, state.flushed, state.committed, &f->logged);
	db_failure_clear(f->db);
}

static int check_blocks(struct fsck *f)
{
	int rc;

	look_at_logged(f);
	f->image_blocks = MIN(image_size_bytes(f->image) >> BLOCK_SHIFT, EXTENT_BLOCK_LIMIT);
	f->owned = freemap_new(EXTENT_BLOCK_LIMIT);
	f->buf = xmalloc((size_t)EXTENT_MAX_BLOCKS << BLOCK_SHIFT);
	f->total_blocks = extent_rows_total_blocks(f->db);
	rc = extent_rows_each(f->db, false, check_extent, f);
	if (!rc)
		rc = extent_rows_each(f->db, true, check_extent, f);
	if (!rc && landing_rows_hold(f->db))
		rc = landing_runs_each(f->db, check_planned, f);
	if (rc < 0) {
		found(f, 0, "extents", "cannot be read to the end");
		db_failure_clear(f->db);
	}
	tell(f, "blocks", f->out->blocks, f->total_blocks);
	return 0;
}

/* ---- opening ---- */

static int lock_store(struct fsck *f, struct err *err)
{
	char *path = xasprintf("%s/lock", f->dir);
	int rc = 0;

	f->lock_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (f->lock_fd < 0 && errno != ENOENT)
		rc = err_set(err, -errno, "cannot open %s: %s", path, strerror(errno));
	else if (f->lock_fd >= 0 && flock(f->lock_fd, LOCK_EX | LOCK_NB) != 0)
		rc = err_set(err, -EBUSY, "%s is mounted or in use; unmount it first", f->dir);
	free(path);
	return rc;
}

static int open_tables(struct fsck *f, const char *path, struct err *err)
{
	uint64_t version = 0;
	int rc = db_open(path, DB_READ_ONLY, &f->db, err);

	if (!rc && DB_GET(f->db, "PRAGMA user_version", &version, 0) != 1)
		rc = err_set(err, -EUCLEAN, "the database of %s cannot be read; restore it from a copy, or join again",
		             f->dir);
	if (!rc && version != SCHEMA_VERSION)
		rc = err_set(err, -EPROTONOSUPPORT,
		             "%s has the format %u; mount it once, which brings it to format %u, then check it", f->dir,
		             (unsigned)version, SCHEMA_VERSION);
	return rc;
}

/* 0 with f->db NULL: what is wrong with it was found, and it cannot be opened. */
static int open_database(struct fsck *f, struct err *err)
{
	char *path = xasprintf("%s/twinfs.db", f->dir);
	struct err why = ERR_INIT;
	int rc = schema_probe(path, &why);

	if (rc == 0)
		rc = check_pages(f, path, &why);
	else if (rc == -EUCLEAN)
		check_pages(f, path, &(struct err)ERR_INIT);
	if (rc == 0)
		rc = open_tables(f, path, &why);
	free(path);
	if (rc == -EUCLEAN && f->out->findings > 0) {
		db_close(f->db);
		f->db = NULL;
		found(f, 0, "twinfs.db", why.text);
		return 0;
	}
	return rc ? err_set(err, rc, "%s", why.text) : 0;
}

static int open_image(struct fsck *f, struct err *err)
{
	char *path = xasprintf("%s/image", f->dir);
	struct err why = ERR_INIT;
	int rc = image_open(path, true, &f->image, &why);

	if (rc == -EACCES || rc == -EPERM)
		err_set(err, rc, "%s", why.text);
	else if (rc) /* missing, or not an image: that is what is wrong with the store */
		found(f, 0, "image", why.text);
	else if (image_check_header(f->image) != 0)
		found(f, 0, "image, block 0", "not what was written; nothing is lost with it");
	free(path);
	return rc == -EACCES || rc == -EPERM ? rc : 0;
}

/* SQLite makes an empty log beside a database that it only reads. What was not there before is not there after. */
static void drop_log(const char *path)
{
	struct stat st;

	if (stat(path, &st) == 0 && st.st_size == 0)
		unlink(path);
}

int fsck_store(const char *dir, const struct fsck_options *opt, struct fsck_result *out, struct err *err)
{
	struct fsck f = { .dir = dir, .opt = opt, .out = out, .lock_fd = -1 };
	char *log = xasprintf("%s/twinfs.db-wal", dir);
	bool had_log = access(log, F_OK) == 0;
	int rc;

	*out = (struct fsck_result){ 0 };
	rc = lock_store(&f, err);
	if (!rc)
		rc = open_database(&f, err);
	if (!rc && f.db)
		rc = db_check(f.db, table_finding, table_step, &f);
	if (!rc && f.db && !opt->tables_only)
		rc = open_image(&f, err);
	if (!rc && f.image)
		rc = check_blocks(&f);
	if (!rc && f.db && DB_GET(f.db, "SELECT count(*) FROM inode", &out->inodes, 0) < 0)
		db_failure_clear(f.db);
	if (f.owned)
		freemap_delete(f.owned);
	free(f.buf);
	map_release(&f.logged);
	image_close(f.image);
	db_close(f.db);
	if (f.lock_fd >= 0 && !had_log)
		drop_log(log);
	free(log);
	if (f.lock_fd >= 0)
		close(f.lock_fd);
	return rc;
}
