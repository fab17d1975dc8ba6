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

struct split {
	struct volume *v;
	struct shipment *s;
	bool ends;
	bool late;             /* what is added from now on is in the plan already */
	bool moves_dirs;       /* it moves directories that are here */
	int rc;                /* the first error; -EAGAIN: late, and not to be mended */
	uint64_t *child, *parent; /* as each link of the shipment is here; 0: it is not */
	bool *is_dir;          /* and it leads to a directory: so it was when the plan was written */
	uint64_t *key;         /* two for each link: of the name that it wants, and that it has; 0: none */
	uint64_t *next_of_child, *next_of_key, *next_in;
	struct map by_child, by_key, in_dir; /* what chains begin with */
	struct map in;         /* inodes of the part; 2: with all that is put into it */
	struct map above;      /* directories that were looked at from below */
	uint64_t *queue, *late_inodes;
	size_t n_queue, cap_queue, n_late, cap_late;
};

int split_open(struct split *sp, struct volume *v, struct shipment *s, bool ends);
void split_release(struct split *sp);

/* Does the shipment put something into it? */
bool split_fills(const struct split *sp, uint64_t dir);
/* If it says something of it, it is of the part; whole: with all that is put into it. */
void split_add(struct split *sp, uint64_t ino, bool whole);
void split_add_link(struct split *sp, const struct ship_link *l);
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
/* The part as a shipment, which borrows all from the whole one. */
struct shipment *split_part(const struct split *sp);
void split_part_free(struct shipment *part);

#endif
