/* SPDX-License-Identifier: MIT */
/*
 * split: of a large shipment the part that has to be looked at as a whole and landed at once, as it meets something of
 * ours. The rest is carried out by a plan (plan.h). Usually the part is small, however large the shipment is.
 *
 * Whoever judges adds what meets something; the rest follows from that. With an inode go all records that are about it,
 * of its attributes, its bytes and its links, and what these links lead to here. With a link go
 *   - those that want or leave the same name, or one that people take for the same, or of the same database;
 *   - directories that the shipment makes, moves or removes, and that are above it in any of the states.
 * So nothing of the part hangs on the rest. The rest may hang on the part: things are put into directories of it. Such
 * a directory may become one with ours; then all that is in it goes with it.
 *
 * A directory that goes is emptied by the rest. With `ends` it is judged with the part and yet is removed by the plan,
 * if it is removed at all (shipment.planned_ends).
 *
 * Lock held, a landing is watched (core/landing.h); open and, unless it is late, close let others in.
 */
#ifndef TWINFS_SYNC_SPLIT_H
#define TWINFS_SYNC_SPLIT_H

#include "sync/shipment.h"

/* Entries of a hash table: i (of a link as the shipment has it) or n_links + i (as it is here), + 1. What an entry is
 * of is read from there. 8 bytes for each. */
struct split_chains {
	uint32_t *first, *next, mask;
};

struct split {
	struct volume *v;
	struct shipment *s;
	bool ends;
	bool late;             /* what is added from now on is in the plan already */
	bool moves_dirs;       /* it moves directories that are here */
	int rc;                /* the first error; -EAGAIN: late, and not to be mended */
	struct rows here;      /* struct split_here of each link of the shipment */
	struct split_chains by_child, by_key, in_dir;
	struct map in;         /* inodes of the part; 2: with all that is put into it */
	struct map above;      /* directories that were looked at from below */
	uint64_t *queue, *late_inodes;
	size_t n_queue, cap_queue, n_late, cap_late;
};

/* A link of the shipment as it is here, all 0: it is not. is_dir: and it leads to a directory; so it was when the plan
 * was written. key: of the name that it has. */
struct split_here {
	uint64_t child, parent, key;
	bool is_dir;
};

int split_open(struct split *sp, struct volume *v, struct shipment *s, bool ends);
void split_release(struct split *sp);

void split_here(const struct split *sp, size_t i, struct split_here *out);
/* Index + 1 of the last of its links that gives the inode a place; 0: none does. */
size_t split_place_of(const struct split *sp, uint64_t ino);

/* Does the shipment put something into it? */
bool split_fills(const struct split *sp, uint64_t dir);
/* If it says something of it, it is of the part; whole: with all that is put into it. */
void split_add(struct split *sp, uint64_t ino, bool whole);
void split_add_link(struct split *sp, size_t i);
void split_add_new_dir(struct split *sp, uint64_t ino); /* whole, if the shipment makes it, as a directory */
/* Somebody here has, gave or took this name. */
void split_add_name(struct split *sp, uint64_t dir, const char *name, size_t name_len);
/* Somebody here put something into it. */
void split_add_above(struct split *sp, uint64_t dir);
/* All that follows. split->rc. */
int split_close(struct split *sp);

bool split_has(const struct split *sp, uint64_t ino);
bool split_has_link(const struct split *sp, size_t i);
/* The link is of the part, and the plan ends it. */
bool split_ends_link(const struct split *sp, size_t i);
/* Records of the part. */
size_t split_count(const struct split *sp);
/* The part as a shipment, plain, which borrows names, keys and values from the whole one. */
struct shipment *split_part(const struct split *sp);
void split_part_free(struct shipment *part);

#endif
