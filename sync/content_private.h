/* SPDX-License-Identifier: MIT */
/*
 * content_private: what the parts of content.h share; nobody else may include it. Each part knows those before it:
 *   content.c         opens a case: which of what is here is the base, and how much of it is known;
 *   content_read.c    the bytes of the three versions, and whether two of them are the same;
 *   content_ranges.c  what either side changed, as ranges;
 *   content_decide.c  what becomes of it; changes nothing;
 *   content_copy.c    whole versions into other files;
 *   content_land.c    what was decided, in the file itself and in the change set.
 * Rules as content.h.
 */
#ifndef TWINFS_SYNC_CONTENT_PRIVATE_H
#define TWINFS_SYNC_CONTENT_PRIVATE_H

#include "sync/content.h"

/* Pieces in which versions are compared and copied: large enough for the image, small enough to be nothing beside its
 * cache. */
#define PIECE_BYTES (1u << 20)

static const struct view view_now = { .kind = VIEW_NOW };

/* ---- content.c */
/* The peer's view is that of a file which the secondary has by this id itself. */
bool content_is_its_own(const struct content_case *c);

/* ---- content_read.c */
/* Where the base's bytes end in the secondary's version: what it cut off once is gone even if the file grew again. */
uint64_t content_base_end(const struct content_case *c);
/* Bytes of the base; zeros from `end` on. */
int content_read_base(const struct content_case *c, void *buf, size_t len, uint64_t off, uint64_t end);
/* Of any of the three. */
int content_read_version(const struct content_case *c, enum driver_file which, void *buf, size_t len, uint64_t off);
/* Where, at or behind off, the secondary's version may have bytes; UINT64_MAX: nowhere. */
int content_next_theirs(const struct content_case *c, uint64_t off, uint64_t *next);
/* Which versions a loop is about. */
enum { OF_BASE = 1, OF_OURS = 2, OF_THEIRS = 4 };
/* The next piece, at or behind *off, below end, in which one of the versions may have bytes: all between is zeros in
 * all of them. A file may be terabytes of nothing. 1: there is one, of *n bytes. */
int content_next_piece(const struct content_case *c, unsigned which, uint64_t *off, uint64_t end, size_t *n);

/* ---- content_ranges.c */
struct range {
	uint64_t off, end;
};
/* { 0 } is an empty one; r is the caller's to free. */
struct range_list {
	struct range *r;
	size_t n, cap;
};
void content_range_add(struct range_list *l, uint64_t off, uint64_t end);
/* The same for changes_ranges and stage_ranges; ctx: the list. */
int content_add_ours(void *ctx, uint64_t ino, uint64_t off, uint64_t len_bytes, uint64_t grp);
int content_add_theirs(void *ctx, uint64_t off, uint64_t len_bytes);
/* fn is called with each piece that is in both and the range of a that it is of, ascending, until it returns true: so
 * does this then. NULL: at once. Sorts both. */
typedef bool (*overlap_fn)(void *ctx, const struct range *of_a, uint64_t off, uint64_t end);
bool content_overlap(struct range_list *a, struct range_list *b, overlap_fn fn, void *ctx);
/*
 * What a version that was written as a whole changed: from the first to the last byte that differs from the base; to
 * the end, if the size differs. One span and not each byte: what is equal between may be so by chance, where all was
 * shifted.
 */
int content_whole_span(const struct content_case *c, enum driver_file which, struct range *out);
int content_add_span(const struct content_case *c, enum driver_file which, struct range_list *l);
/* What either side wrote since the base, and from where on we had cut it off; UINT64_MAX: nowhere. */
int content_their_ranges(const struct content_case *c, struct range_list *l);
int content_our_ranges(const struct content_case *c, struct range_list *l, uint64_t *shrunk_to);

/* ---- content_copy.c */
/* Bytes [off, end) of the secondary's version to `at` of the file `to`, which then ends behind them. */
int content_copy_theirs(const struct content_case *c, uint64_t off, uint64_t end, uint64_t to, uint64_t at);

#endif
