/* SPDX-License-Identifier: MIT */
/*
 * fsck: is a closed store whole? Checks each page of the database against its checksum, used or free, and that the log
 * lost no commit (db/page_scan.h, db/log_scan.h), every rule that the tables keep (db/check.h), that each block of the
 * image has one owner (a file, or history) and lies within the image, and each block against its checksum. No block can
 * leak: what is free is what nobody owns, and is found anew at each mount.
 *
 * It changes nothing: the database is opened without writing (its log stays as it is), the image is only read, and what
 * the last mount left to tidy up (files without a name) is left to the next one.
 *
 * Memory: a bit for each block of the image, SQLite's cache (64 MiB), the set of directories. Takes the store's lock,
 * so that nobody mounts it meanwhile. One thread.
 */
#ifndef TWINFS_CORE_FSCK_H
#define TWINFS_CORE_FSCK_H

#include <stdbool.h>
#include <stdint.h>

#include "util/err.h"

struct fsck_options {
	bool tables_only; /* without the image: quick, and says nothing about the bytes */
	/* One line about what is broken; lives for the call alone. */
	void (*found)(void *ctx, const char *text);
	/* Now and then. phase is static; done of total in units of the phase. May be NULL. */
	void (*progress)(void *ctx, const char *phase, uint64_t done, uint64_t total);
	void *ctx;
};
struct fsck_result {
	uint64_t findings;
	uint64_t inodes, blocks; /* looked at */
	bool without_page_sums;  /* the database was made before there were any: its pages were not compared */
};

/* 0: looked at everything; whether it is whole is in out->findings. -errno with a text: it cannot be checked (no store,
 * mounted, of another version, not readable). */
int fsck_store(const char *dir, const struct fsck_options *opt, struct fsck_result *out, struct err *err);

#endif
