/* SPDX-License-Identifier: MIT */
/*
 * cut_rows: the change set's rows of one shipment, copied at its cut (the rows themselves change with all that is done
 * from then on), and the notes that go with it. Packed, as a first shipment has three for each file and they are kept
 * until they are sent: 10 bytes a row or so, most numbers being near the one before. Each list ascends by id, ranges by
 * inode and offset. It is read from its beginning by as many cursors as wanted.
 *
 * They are frozen in a moment (core/frozen.h), and copied bit by bit; others have the volume in between.
 *
 * One thread; but until all are copied a conflict that another one is about to change is copied by that, under the
 * volume's lock.
 */
#ifndef TWINFS_SYNC_CUT_ROWS_H
#define TWINFS_SYNC_CUT_ROWS_H

#include "core/frozen.h"
#include "sync/record.h"

struct packed { /* numbers, seven bits a byte */
	uint8_t *data;
	size_t len_bytes, cap_bytes;
	uint64_t last, last_b; /* while it is written: what the next row's are near to */
	size_t n;              /* rows */
};

struct cut_inode {
	uint64_t ino;
	unsigned which; /* 1 << enum entity of each row that it has */
	struct change_row row[ENT_ASK + 1];
};

struct cut_rows {
	struct packed inodes, links, xattrs, ranges;
	struct conflict *conflicts; /* by id */
	size_t n_conflicts, cap_conflicts;
	struct rec_lineage *lineages; /* what the peer is told of: aliases and copies */
	size_t n_lineages, cap_lineages;

	struct volume *v;
	struct frozen *frozen;   /* NULL: all are copied */
	struct cut_inode coming; /* whose rows are being copied; which 0: none */
};

struct cut_at { /* a cursor; {0}: at the beginning */
	size_t at;
	uint64_t last, last_b;
};

struct cut_link {
	uint64_t link;
	struct change_row row;
};
struct cut_xattr {
	uint64_t ino;
	const char *key; /* in the rows */
	struct change_row row;
};
struct cut_range {
	uint64_t ino, off, len_bytes, grp;
};

/* Freeze those of groups (from, to], and copy the first of them. Volume's lock held, as for frozen_begin. Error, here
 * and there: what was copied is to be released. */
int cut_rows_begin(struct volume *v, uint64_t from, uint64_t to, struct cut_rows *out);
int cut_rows_rest(struct cut_rows *r);     /* copy the rest, if any; without the lock */
void cut_rows_release(struct cut_rows *r); /* without the lock */

/* False: there are no more. */
bool cut_next_inode(const struct cut_rows *r, struct cut_at *at, struct cut_inode *out);
bool cut_next_link(const struct cut_rows *r, struct cut_at *at, struct cut_link *out);
bool cut_next_xattr(const struct cut_rows *r, struct cut_at *at, struct cut_xattr *out);
bool cut_next_range(const struct packed *ranges, struct cut_at *at, struct cut_range *out);

/* A list of ranges of one's own. */
void cut_put_range(struct packed *ranges, const struct cut_range *r);

#endif
