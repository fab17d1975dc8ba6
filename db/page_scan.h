/* SPDX-License-Identifier: MIT */
/*
 * page_scan: is every page of a closed database what was written? Also those that no query reads: free ones, and those
 * that SQLite would only meet by way of another damaged one. Reads the files itself, without SQLite; a page that the
 * log has is taken from there, as SQLite will (what the database has in its place may be a torn write of the power cut
 * that left the log). What the log itself has lost: db/log_scan.h.
 *
 * Memory: the pages that the log has, and a bit for each page. One thread; the files must be open by nobody else.
 */
#ifndef TWINFS_DB_PAGE_SCAN_H
#define TWINFS_DB_PAGE_SCAN_H

#include <stdbool.h>
#include <stdint.h>

struct page_scan_options {
	/* where: "page 7"; log: of the log, else of the database. Texts live for the call alone. */
	void (*found)(void *ctx, bool log, const char *where, const char *what);
	void (*progress)(void *ctx, uint64_t done_pages, uint64_t all_pages);
	void *ctx;
};

/* *has_sums: false of a database that was made before there were sums: then its pages were not compared. 0 or -errno
 * (the files cannot be read). */
int page_scan(const char *path, const struct page_scan_options *opt, bool *has_sums);

#endif
