/* SPDX-License-Identifier: MIT */
/*
 * policy: what is to be done with a file that both sides changed, by pattern.
 *
 * Where they are kept: each policy is an xattr of .twinfs, user.twinfs.policy.PATTERN = POLICY. So a policy is an
 * ordinary change: it replicates, has history, and is merged by itself if both sides set it (the primary's stays, the
 * other one is noted). There is no table of policies and nothing else that could disagree.
 *
 * Which one counts: a pattern without a '/' is matched against the file's name, one with a '/' against its path from
 * the root ("/photos/x.raw"; the leading '/' may be left out); * and ? also match '/'; one that ends in '/' means all
 * that is below. Of several that match the longest pattern counts, of equally long ones the first by bytes: so the
 * order in which they were set does not matter.
 *
 * Units: a policy "unit" names directories of which all that is in them belongs together (docs/merging.md); ".git" is
 * one without being set, until that very pattern gets another policy.
 *
 * Commands: a policy "command CMD" travels like every other, but a machine runs CMD only if it was set on that very
 * machine too (kept as a local setting). A peer can at worst be refused; it must not choose what runs here.
 *
 * Threads: volume_* take the volume's lock, policy_find wants it held, the rest is pure.
 */
#ifndef TWINFS_CORE_POLICY_H
#define TWINFS_CORE_POLICY_H

#include <stdbool.h>
#include <stddef.h>

#include "core/volume.h"

#define POLICY_XATTR_PREFIX "user.twinfs.policy."
#define POLICY_PATTERN_MAX_BYTES (XATTR_NAME_MAX_BYTES - (sizeof(POLICY_XATTR_PREFIX) - 1))
/* A command line that is longer is a program that should be in a file. */
#define POLICY_TEXT_MAX_BYTES 1023u

enum policy_kind {
	POLICY_NONE,      /* no pattern matches: by the kind of file (docs/merging.md) */
	POLICY_KEEP_BOTH, /* never merge */
	POLICY_EXTENTS,   /* changes of different bytes are both taken */
	POLICY_TEXT,      /* by lines */
	POLICY_APPEND,    /* both only added at the end: the primary's, then the secondary's */
	POLICY_NEWEST,    /* the version with the later mtime; the other one is set aside */
	POLICY_PRIMARY,   /* the primary's version; the other one is set aside */
	POLICY_COMMAND,   /* a program merges */
	POLICY_UNIT,      /* a directory: kept whole. Says nothing about a file */
};

struct policy {
	enum policy_kind kind;
	char pattern[POLICY_PATTERN_MAX_BYTES + 1];
	char text[POLICY_TEXT_MAX_BYTES + 1]; /* as it was set: "text", "command CMD" */
	bool local_command;                   /* COMMAND: set on this machine too, so it may run here */
};

/* The kind that a text means; -EINVAL with the words there are. */
int policy_parse(const char *text, enum policy_kind *kind, struct err *err);
/* CMD of "command CMD"; NULL for every other text. */
const char *policy_command(const char *text);
/* path: from the root, with a leading '/'. */
bool policy_matches(const char *pattern, const char *path);

/* What counts for the file at `path`; kind POLICY_NONE if nothing does. Texts that no version of ours would have set
 * (someone used setfattr) do not count. 0 or -errno of the store. */
int policy_find(struct volume *v, const char *path, struct policy *out);

/* The patterns of units, to be asked many times. Lock held while it is made; free it with policy_units_free. */
struct policy_units;
int policy_units_load(struct volume *v, struct policy_units **out);
/* Is the directory at `path` (with a leading '/') a unit? */
bool policy_is_unit(const struct policy_units *u, const char *path);
bool policy_units_want_path(const struct policy_units *u); /* false: the last name of the path suffices */
void policy_units_free(struct policy_units *u);

/* All, by pattern; malloc'd. */
int volume_policies(struct volume *v, struct policy **out, size_t *n);
/* An ordinary change, durable when it returns. text NULL: unset (-ENOENT if it is not set). */
int volume_policy_set(struct volume *v, const char *pattern, const char *text, struct err *err);

#endif
