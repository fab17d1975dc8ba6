/* SPDX-License-Identifier: MIT */
/*
 * ship_rows: the records of a large shipment, packed (util/rows.h): some 40 bytes for a new file, where the same as
 * structs with maps to find them take 500. Each list ascends by the id of what it is about, as whoever sends them goes
 * through tables; so they are found without a map.
 *
 * What is read is a copy, but for names, keys and values: these are in the rows. One thread.
 */
#ifndef TWINFS_SYNC_SHIP_ROWS_H
#define TWINFS_SYNC_SHIP_ROWS_H

#include "sync/record.h"
#include "util/rows.h"

struct ship_link {
	uint64_t link, child, seen, parent; /* parent 0: gone */
	uint16_t name_len;
	bool report; /* rec_link.report */
	char *name;
};
struct ship_xattr {
	uint64_t ino, seen;
	char *key;
	uint8_t *value; /* NULL: removed */
	uint32_t value_len;
	size_t next; /* index + 1 of another one of the same inode, 0: none. Not of packed ones */
};

struct ship_rows {
	struct rows inodes, links, xattrs;
	uint64_t last_ino, last_link, last_xattr_ino; /* 0: none yet */
};

void ship_rows_init(struct ship_rows *p);
void ship_rows_release(struct ship_rows *p);

/* Does it come behind all that are there? Xattrs of one inode are in the order in which they came. */
bool ship_rows_takes_inode(const struct ship_rows *p, uint64_t ino);
bool ship_rows_takes_link(const struct ship_rows *p, uint64_t link);
bool ship_rows_takes_xattr(const struct ship_rows *p, uint64_t ino);
/* They must (asserted). */
void ship_rows_add_inode(struct ship_rows *p, const struct rec_inode *r);
void ship_rows_add_link(struct ship_rows *p, const struct ship_link *l);
void ship_rows_add_xattr(struct ship_rows *p, const struct ship_xattr *x);

/* The i-th of each. */
void ship_rows_inode(const struct ship_rows *p, size_t i, struct rec_inode *out);
void ship_rows_link(const struct ship_rows *p, size_t i, struct ship_link *out);
void ship_rows_xattr(const struct ship_rows *p, size_t i, struct ship_xattr *out);
/* Which one is it? */
bool ship_rows_find_inode(const struct ship_rows *p, uint64_t ino, size_t *i);
bool ship_rows_find_link(const struct ship_rows *p, uint64_t link, size_t *i);
/* How many of them are of inodes up to this one? */
size_t ship_rows_xattrs_upto(const struct ship_rows *p, uint64_t ino);

#endif
