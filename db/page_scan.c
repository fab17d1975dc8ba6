/* SPDX-License-Identifier: MIT */
#include "db/page_scan.h"

#include "db/log_scan.h"
#include "db/page_sums.h"
#include "util/util.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of a database whose first page tells nothing so many pages are asked whether they have sums. */
#define ASKED_PAGES 64u
#define TELL_PAGES 1024u
/* In the first page: https://www.sqlite.org/fileformat2.html */
#define PAGES_AT 28
#define FIRST_TRUNK_AT 32
/* In a trunk of the list of free pages: the next trunk, how many leaves, the leaves. */
#define LEAVES_AT 8
#define LEAVES_MAX ((DB_PAGE_BYTES - LEAVES_AT) / 4)

struct pages {
	const struct page_scan_options *opt;
	int fd, log_fd;
	struct log_scan log;
	uint32_t file_pages, pages; /* whole ones in the file; in the database */
	uint8_t *is_free;           /* a bit for each page; NULL: nobody has looked */
	bool has_sums;
};

static void found(struct pages *p, bool log, const char *what, const char *unit, uint64_t number)
{
	char where[40];

	snprintf(where, sizeof(where), "%s %" PRIu64, unit, number);
	p->opt->found(p->opt->ctx, log, where, what);
}

static bool is_in_log(struct pages *p, uint32_t number)
{
	return map_get(&p->log.newest, number, NULL);
}

/* As SQLite will read it. 0 or -errno; what is not there is zeros. */
static int read_page(struct pages *p, uint32_t number, uint8_t *page)
{
	uint64_t frame;
	ssize_t n;

	if (map_get(&p->log.newest, number, &frame))
		return log_scan_read(p->log_fd, frame, page);
	do
		n = pread(p->fd, page, DB_PAGE_BYTES, (off_t)(number - 1) * DB_PAGE_BYTES);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	memset(page + n, 0, (size_t)(DB_PAGE_BYTES - n));
	return 0;
}

static uint32_t word_at(const uint8_t *page, size_t at)
{
	uint32_t n;

	memcpy(&n, page + at, sizeof(n));
	return be32toh(n);
}

/* ---- free pages ---- */

static bool mark_free(struct pages *p, uint32_t number)
{
	if (number < 1 || number > p->pages || p->is_free[number / 8] & 1u << number % 8)
		return false;
	p->is_free[number / 8] |= (uint8_t)(1u << number % 8);
	return true;
}

/* As far as the list goes: it may be damaged itself. */
static void look_for_free(struct pages *p)
{
	uint8_t page[DB_PAGE_BYTES];
	uint32_t trunk;

	p->is_free = xcalloc(1, (size_t)p->pages / 8 + 1);
	trunk = read_page(p, 1, page) == 0 ? word_at(page, FIRST_TRUNK_AT) : 0;
	while (mark_free(p, trunk) && read_page(p, trunk, page) == 0) {
		uint32_t leaves = MIN(word_at(page, 4), LEAVES_MAX);

		for (uint32_t i = 0; i < leaves; i++)
			mark_free(p, word_at(page, LEAVES_AT + 4 * (size_t)i));
		trunk = word_at(page, 0);
	}
}

static bool is_free(struct pages *p, uint32_t number)
{
	if (!p->is_free)
		look_for_free(p);
	return p->is_free[number / 8] & 1u << number % 8;
}

/* ---- all pages ---- */

static int scan_pages(struct pages *p)
{
	uint8_t page[DB_PAGE_BYTES];
	int rc;

	for (uint32_t n = 1; n <= MIN(p->pages, p->file_pages); n++) {
		if (n % TELL_PAGES == 0 && p->opt->progress)
			p->opt->progress(p->opt->ctx, n, p->pages);
		if (n == DB_LOCK_PAGE || is_in_log(p, n)) /* a frame was compared when the log was read */
			continue;
		rc = read_page(p, n, page);
		if (rc == -EIO)
			found(p, false, "the disk cannot read it", "page", n);
		else if (rc)
			return rc;
		else if (p->has_sums && !page_sum_is_right(page, n))
			found(p, false, is_free(p, n) ? "not what was written; it is free, and nothing is lost with it"
			                              : "not what was written", "page", n);
	}
	return 0;
}

/* Pages that the file should have, and neither has nor finds in the log. */
static void look_at_end(struct pages *p)
{
	uint32_t missing = 0, first = 0;
	char what[80];

	for (uint32_t n = p->pages; n > p->file_pages; n--)
		if (n != DB_LOCK_PAGE && !is_in_log(p, n)) {
			first = n;
			missing++;
		}
	snprintf(what, sizeof(what), "missing: the file was cut, %u of its %u pages are gone", (unsigned)missing,
	         (unsigned)p->pages);
	if (missing)
		found(p, false, what, "page", first);
}

/* Does any of the first pages carry a sum? None does by accident. */
static bool any_has_sum(struct pages *p)
{
	uint8_t page[DB_PAGE_BYTES];

	for (uint32_t n = 2; n <= MIN(p->file_pages, ASKED_PAGES); n++)
		if (!is_in_log(p, n) && read_page(p, n, page) == 0 && page_sum_is_right(page, n))
			return true;
	return false;
}

static int look_at_first(struct pages *p)
{
	uint8_t page[DB_PAGE_BYTES];
	int rc = read_page(p, 1, page);

	p->has_sums = rc == 0 && (page_sums_first_page_has(page) || any_has_sum(p));
	p->pages = p->log.pages ? p->log.pages : p->file_pages;
	/* A damaged one may say anything. */
	if (rc == 0 && !p->log.pages && (!p->has_sums || page_sum_is_right(page, 1)))
		p->pages = word_at(page, PAGES_AT);
	return rc;
}

static int open_to_read(const char *path, int *fd)
{
	*fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	return *fd < 0 ? -errno : 0;
}

static int open_files(struct pages *p, const char *path)
{
	char *log = xasprintf("%s-wal", path);
	struct stat st;
	int rc = open_to_read(path, &p->fd), rc_log = open_to_read(log, &p->log_fd);

	free(log);
	if (!rc && rc_log && rc_log != -ENOENT)
		rc = rc_log;
	if (!rc && fstat(p->fd, &st) < 0)
		rc = -errno;
	if (!rc)
		p->file_pages = (uint32_t)MIN((uint64_t)st.st_size / DB_PAGE_BYTES, UINT32_MAX - 1);
	return rc;
}

int page_scan(const char *path, const struct page_scan_options *opt, bool *has_sums)
{
	struct pages p = { .opt = opt, .fd = -1, .log_fd = -1 };
	int rc = open_files(&p, path);

	if (!rc)
		rc = log_scan(p.log_fd, p.fd, &p.log);
	if (!rc && p.log.lost_commits > 0) {
		char what[120];

		snprintf(what, sizeof(what),
		         "not what was written: what was committed from there on, %" PRIu64 " times at least, is lost",
		         p.log.lost_commits);
		if (p.log.bad_frame)
			found(&p, true, what, "frame", p.log.bad_frame);
		else
			opt->found(opt->ctx, true, "its head", what);
	}
	if (!rc)
		rc = look_at_first(&p);
	if (!rc)
		rc = scan_pages(&p);
	if (!rc)
		look_at_end(&p);
	*has_sums = p.has_sums;
	log_scan_release(&p.log);
	free(p.is_free);
	if (p.fd >= 0)
		close(p.fd);
	if (p.log_fd >= 0)
		close(p.log_fd);
	return rc;
}
