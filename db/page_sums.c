/* SPDX-License-Identifier: MIT */
#include "db/page_sums.h"

#include "db/log_sums.h"
#include "util/log.h"
#include "util/map.h"
#include "util/util.h"

#include <assert.h>
#include <endian.h>
#include <pthread.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define BELOW_VFS "unix-excl"
/* Where a first page says how many bytes of each are reserved: https://www.sqlite.org/fileformat2.html */
#define RESERVED_AT 20
/* SQLite reads as much of a file before it knows the size of its pages. The first page is compared when the file is
 * opened and whenever it is read whole. */
#define HEADER_BYTES 100
/* A page that is read again and again is told of once, if no more others were met in between. */
#define TOLD_PAGES 16
/* A frame that does not match so often is what the disk has. */
#define FRAME_LOOKS 5

/* ---- the sum ---- */

static uint64_t sum_of(const uint8_t *page, uint32_t number)
{
	return htole64(XXH3_64bits_withSeed(page, DB_PAGE_BYTES - PAGE_SUM_BYTES, number));
}

bool page_sum_is_right(const uint8_t *page, uint32_t number)
{
	uint64_t sum = sum_of(page, number);

	return memcmp(page + DB_PAGE_BYTES - PAGE_SUM_BYTES, &sum, PAGE_SUM_BYTES) == 0;
}

void page_sum_put(uint8_t *page, uint32_t number)
{
	uint64_t sum = sum_of(page, number);

	memcpy(page + DB_PAGE_BYTES - PAGE_SUM_BYTES, &sum, PAGE_SUM_BYTES);
}

bool page_sums_first_page_has(const uint8_t *page)
{
	uint8_t as_it_was[DB_PAGE_BYTES];

	if (page[RESERVED_AT] == PAGE_SUM_BYTES)
		return true;
	memcpy(as_it_was, page, sizeof(as_it_was));
	as_it_was[RESERVED_AT] = PAGE_SUM_BYTES;
	return page_sum_is_right(as_it_was, 1);
}

/* ---- a file ---- */

static sqlite3_vfs *below, ours;

/* Behind the file of the VFS below, whose methods get the same file. */
struct sums {
	sqlite3_io_methods methods; /* those of below, but for a few */
	const sqlite3_io_methods *below;
	const char *path; /* SQLite's; lives as long as the file is open */
	bool on;
	struct log_sums *log; /* of a log; then `on` means nothing */
	uint32_t damaged, told[TOLD_PAGES], n_told;
};

static struct sums *sums_of(sqlite3_file *f)
{
	return (struct sums *)(void *)((char *)f + below->szOsFile);
}

static int damaged(struct sums *s, uint32_t number)
{
	s->damaged = number;
	for (size_t i = 0; i < TOLD_PAGES; i++)
		if (s->told[i] == number)
			return SQLITE_IOERR_DATA;
	s->told[s->n_told++ % TOLD_PAGES] = number;
	log_error("%s: page %u is not what was written; see twinfs fsck", s->path, (unsigned)number);
	return SQLITE_IOERR_DATA;
}

/* ---- the log ---- */

static int log_read(sqlite3_file *f, void *buf, int len, sqlite3_int64 off)
{
	struct sums *s = sums_of(f);
	int rc = s->below->xRead(f, buf, len, off);
	uint32_t page;

	if (rc == SQLITE_OK && !log_sums_match(s->log, (uint64_t)off, buf, (size_t)len, &page))
		return damaged(s, page);
	return rc;
}

static int log_write(sqlite3_file *f, const void *buf, int len, sqlite3_int64 off)
{
	struct sums *s = sums_of(f);
	int rc;

	log_sums_writes(s->log, (uint64_t)off, (size_t)len);
	rc = s->below->xWrite(f, buf, len, off);
	if (rc == SQLITE_OK)
		log_sums_wrote(s->log, (uint64_t)off, buf, (size_t)len);
	return rc;
}

static int log_close(sqlite3_file *f)
{
	struct sums *s = sums_of(f);
	int rc = s->below->xClose(f);

	log_sums_close(s->log);
	return rc;
}

/* ---- the database ---- */

/* A page that the file ends before, or in, was written too. */
static int read_page(sqlite3_file *f, uint8_t *page, uint32_t number)
{
	struct sums *s = sums_of(f);
	int rc = s->below->xRead(f, page, DB_PAGE_BYTES, (sqlite3_int64)(number - 1) * DB_PAGE_BYTES);

	if (rc == SQLITE_IOERR_SHORT_READ || (rc == SQLITE_OK && !page_sum_is_right(page, number)))
		return damaged(s, number);
	return rc;
}

static int sums_read(sqlite3_file *f, void *buf, int len, sqlite3_int64 off)
{
	struct sums *s = sums_of(f);
	uint8_t page[DB_PAGE_BYTES];
	sqlite3_int64 end = off + len;
	int rc = SQLITE_OK;

	if (!s->on || end <= HEADER_BYTES)
		return s->below->xRead(f, buf, len, off);
	if (len == DB_PAGE_BYTES && off % DB_PAGE_BYTES == 0)
		return read_page(f, buf, (uint32_t)(off / DB_PAGE_BYTES) + 1);
	/* A part of a page, or by another size, as a damaged header has it. */
	for (sqlite3_int64 at = off; rc == SQLITE_OK && at < end;) {
		sqlite3_int64 skip = at % DB_PAGE_BYTES, n = MIN(end - at, DB_PAGE_BYTES - skip);

		rc = read_page(f, page, (uint32_t)(at / DB_PAGE_BYTES) + 1);
		memcpy((uint8_t *)buf + (at - off), page + skip, (size_t)n);
		at += n;
	}
	return rc;
}

static int sums_write(sqlite3_file *f, const void *buf, int len, sqlite3_int64 off)
{
	struct sums *s = sums_of(f);
	uint8_t page[DB_PAGE_BYTES];

	if (len != DB_PAGE_BYTES || off % DB_PAGE_BYTES != 0) { /* a database of another size of pages has none */
		assert(!s->on);
		return s->below->xWrite(f, buf, len, off);
	}
	if (off == 0) /* the first page is the first that is written, and knows */
		s->on = ((const uint8_t *)buf)[RESERVED_AT] == PAGE_SUM_BYTES;
	if (!s->on)
		return s->below->xWrite(f, buf, len, off);
	memcpy(page, buf, DB_PAGE_BYTES - PAGE_SUM_BYTES);
	page_sum_put(page, (uint32_t)(off / DB_PAGE_BYTES) + 1);
	return s->below->xWrite(f, page, len, off);
}

static int sums_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *f, int flags, int *out_flags)
{
	struct sums *s = sums_of(f);
	uint8_t page[DB_PAGE_BYTES];
	int rc = below->xOpen(below, path, f, flags, out_flags);

	(void)vfs;
	if (rc != SQLITE_OK || !(flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL)))
		return rc;
	*s = (struct sums){ .methods = *f->pMethods, .below = f->pMethods, .path = path };
	/* Without xFetch, which would hand out pages that nobody has compared. */
	s->methods.iVersion = MIN(s->methods.iVersion, 2);
	f->pMethods = &s->methods;
	if (flags & SQLITE_OPEN_WAL) {
		s->log = log_sums_open(path);
		s->methods.xRead = log_read;
		s->methods.xWrite = log_write;
		s->methods.xClose = log_close;
		return SQLITE_OK;
	}
	s->methods.xRead = sums_read;
	s->methods.xWrite = sums_write;
	s->on = s->below->xRead(f, page, sizeof(page), 0) == SQLITE_OK && page_sums_first_page_has(page);
	return SQLITE_OK;
}

/* ---- the VFS ---- */

static int registered;

static void register_once(void)
{
	below = sqlite3_vfs_find(BELOW_VFS);
	if (!below) {
		registered = SQLITE_ERROR;
		return;
	}
	/* All but opening a file is done by its functions, which ask nothing of the VFS that they are given. */
	ours = *below;
	ours.pNext = NULL;
	ours.zName = PAGE_SUMS_VFS;
	ours.szOsFile = below->szOsFile + (int)sizeof(struct sums);
	ours.xOpen = sums_open;
	assert(below->szOsFile % (int)_Alignof(struct sums) == 0);
	registered = sqlite3_vfs_register(&ours, 0);
}

int page_sums_register(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, register_once);
	return registered;
}

/* ---- of a connection ---- */

static struct sums *sums_in(sqlite3 *sqlite)
{
	sqlite3_file *f = NULL;

	sqlite3_file_control(sqlite, "main", SQLITE_FCNTL_FILE_POINTER, &f);
	return f && f->pMethods && f->pMethods->xRead == sums_read ? sums_of(f) : NULL;
}

void page_sums_set(sqlite3 *sqlite, bool on)
{
	struct sums *s = sums_in(sqlite);

	assert(s);
	s->on = on;
}

bool page_sums_are_on(sqlite3 *sqlite)
{
	struct sums *s = sums_in(sqlite);

	return s && s->on;
}

/* NULL: it has none yet. */
static sqlite3_file *log_in(sqlite3 *sqlite)
{
	sqlite3_file *f = NULL;

	sqlite3_file_control(sqlite, "main", SQLITE_FCNTL_JOURNAL_POINTER, &f);
	return f && f->pMethods && f->pMethods->xRead == log_read ? f : NULL;
}

uint32_t page_sums_damaged(sqlite3 *sqlite)
{
	struct sums *s = sums_in(sqlite);
	sqlite3_file *log = log_in(sqlite);

	return s && s->damaged ? s->damaged : log ? sums_of(log)->damaged : 0;
}

void page_sums_note_damaged(sqlite3 *sqlite, uint32_t page)
{
	struct sums *s = sums_in(sqlite);

	if (s && !s->damaged)
		s->damaged = page;
}

/* Others may write meanwhile: what does not match then does at the next look. */
static bool frame_is_well(sqlite3_file *f, uint64_t off)
{
	struct sums *s = sums_of(f);
	uint8_t bytes[DB_PAGE_BYTES];
	uint32_t page = 0;

	for (int i = 0; i < FRAME_LOOKS; i++)
		if (s->below->xRead(f, bytes, sizeof(bytes), (sqlite3_int64)off) != SQLITE_OK ||
		    log_sums_match(s->log, off, bytes, sizeof(bytes), &page))
			return true; /* an error of the disk comes again when it is moved */
	damaged(s, page);
	return false;
}

bool page_sums_log_is_well(sqlite3 *sqlite, unsigned from, unsigned upto)
{
	sqlite3_file *f = log_in(sqlite);
	struct map seen = MAP_INIT; /* pages that a later frame has too */
	bool well = true;
	uint32_t page;
	uint64_t off;

	for (uint64_t n = f ? MIN(upto, log_sums_frames(sums_of(f)->log)) : 0; well && n > from; n--)
		if (log_sums_frame(sums_of(f)->log, n, &page, &off) && page && !map_get(&seen, page, NULL)) {
			map_put(&seen, page, 1);
			well = frame_is_well(f, off);
		}
	map_release(&seen);
	return well;
}
