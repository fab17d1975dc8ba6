/* SPDX-License-Identifier: MIT */
/*
 * What the files that are "conflicts" share; everybody else has core/volume.h (what people ask for) and core/changes.h
 * (what a merge notes). Lock held, and a group open where something is changed, but for conflict_set_note.
 *
 *   conflicts.c         the list, who is meant, what is kept of it as history
 *   conflict_settle.c   a version, a unit or a value takes its place; a merge is taken apart
 *   conflict_notes.c    what was settled by a rule from the beginning and is wanted the other way
 *   conflict_units.c    where a version is more than a file
 *   conflict_xattrs.c   an xattr with two values
 *   conflict_hand.c     settled by what people do to the files
 */
#ifndef TWINFS_CORE_CONFLICTS_PRIVATE_H
#define TWINFS_CORE_CONFLICTS_PRIVATE_H

#include "core/internal.h"

struct conflict_list {
	struct conflict *rows;
	size_t n, cap;
};

/* A conflict_fn: ctx is a struct conflict_list, which gets a copy. */
int conflict_list_add(void *ctx, const struct conflict *c);
void conflict_list_free(struct conflict_list *l);
/* Where everything is now; nowhere what is gone. */
void conflict_update_paths(struct volume *v, struct conflict *c);
bool conflict_same_path(const char *a, const char *b); /* but for slashes at the beginning */
bool conflict_is_kind(const struct conflict *c, const char *kind);

/* The kernel is told: it is not asked for what is done here. */
void conflict_tell(struct volume *v, int kind, uint64_t ino, const struct dentry *d);
void conflict_tell_name(struct volume *v, const struct dentry *d);
bool conflict_is_aside(struct volume *v, uint64_t ino); /* below .twinfs, kept to look back */
uint32_t conflict_type_of(struct volume *v, uint64_t ino); /* S_IFMT of it; 0: it is none */

/* Keys of an inode that begin with prefix. More than there can be on a file that merges made are left out. */
struct conflict_keys {
	char *key[256];
	size_t n;
	const char *prefix;
};

int conflict_list_key(void *ctx, const char *key, const void *value, size_t len_bytes);
void conflict_free_keys(struct conflict_keys *k);
int conflict_set_key(struct volume *v, uint64_t ino, const char *key, const void *value, ssize_t len); /* -1: removed */

/* It is settled: what was kept of it goes, and its row says so. */
int conflict_finish(struct volume *v, struct conflict *c);
/* keep: 0 local, 1 peer, 2 both. */
int conflict_settle(struct volume *v, struct conflict *c, int keep, struct err *err);
/* The value of version[which] is the file's, the other goes. -ENODATA: it is not kept any more. */
int conflict_keep_xattrs(struct volume *v, const struct conflict *c, int which);
/* Of what has one place, where the two sides' differ: `which` is in it now. */
void conflict_tell_choice(struct conflict *c, int which);
/* The primary's version in place, the secondary's beside it, as if they had never been merged. */
int conflict_take_apart(struct volume *v, struct conflict *c);

bool conflict_is_note(const struct conflict *c);
/* WITHOUT the lock: these are calls as programs make them. 1: there was something to be set. */
int conflict_set_note(struct volume *v, struct conflict *c, int keep, struct err *err);

#endif
