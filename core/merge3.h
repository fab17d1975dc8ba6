/* SPDX-License-Identifier: MIT */
/*
 * merge3: contents. Three-way line merge (diff3) and what a file's bytes are. Pure, reentrant, bounded: a text merge
 * is tried only up to MERGE3_MAX_BYTES a side (memory is about 40 times that in the worst case of one-byte lines).
 */
#ifndef TWINFS_CORE_MERGE3_H
#define TWINFS_CORE_MERGE3_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/buf.h"

#define MERGE3_MAX_BYTES (8u << 20)

/* 0: merged cleanly, result appended to out. 1: the sides overlap or touch (adjacent changed lines count as
 * overlap, as git does), out unchanged. -EFBIG: too large or too many differences (bounded work); treat as
 * overlap. */
int merge3_text(const void *base, size_t base_len, const void *ours, size_t ours_len, const void *theirs,
		size_t theirs_len, struct buf *out);

enum content_kind { CONTENT_TEXT, CONTENT_LOG, CONTENT_DATA, CONTENT_STRUCTURED };
/* Asks libmagic about the first bytes (at most 256 KiB are looked at), unless they and the name show what they are.
 * text/xx: TEXT (LOG if the name ends in .log); application/octet-stream and empty: DATA (but a *.log is LOG);
 * everything else STRUCTURED. JSON, XML, scripts and the like that libmagic reports as application/… but are
 * line-oriented text (application/json, …/javascript, …/x-ndjson, image/svg+xml …) are TEXT. */
enum content_kind content_kind(const char *name, const void *head, size_t head_len);
/* The same without libmagic, which takes a millisecond, where the name and the bytes leave no doubt: nothing at all,
 * and text in a file whose name says so. False: somebody has to ask. */
bool content_kind_shows(const char *name, const void *head, size_t head_len, enum content_kind *kind);

#endif
