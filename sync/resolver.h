/* SPDX-License-Identifier: MIT */
/*
 * resolver: three states in, one out. A pure function: no I/O, no clock, no volume; same input (in any order) gives
 * the same result.
 *
 * The input is *sparse*: it holds every link and inode that either side changed, all other links of an inode any of
 * whose links changed, and for context every directory on the way up to the root in any of the three states. What is
 * not in the input is unchanged on both sides and does not matter; or the primary alone changed it, and nothing that
 * the secondary did meets it (merge_near.c). A unit that resolve_units names comes whole.
 * b = base (what both had), p = the primary's, s = the secondary's. An entity that a side did not change has that
 * side's position equal to the base's. An inode whose content both changed comes with all its links. A directory
 * without any link in the input is a root. P and S must be valid trees; B only tells what changed, and may be mixed
 * from several moments.
 *
 * `prefer`: a person said whose state counts (twinfs resume --prefer). Then the result is that side's state, but for
 * what the other changed after the word (`late`), which is merged as ever; what the other side made, or whose bytes it
 * changed, is in `asides`. Then each inode whose content the other side changed comes with all its links. There are no
 * units then, and no saves.
 *
 * Steps 0 to 8 and their reasons are in docs/merging.md. Which bytes survive never depends on the role; names, places
 * and ties do.
 *
 * Laws (tested): merge(B,P,B)=P, merge(B,B,S)=S, merge(B,X,X)=X ids included; swapping roles keeps the set of file
 * contents; the result is a valid tree: one parent per directory, no loops, no orphans, no name twice.
 */
#ifndef TWINFS_SYNC_RESOLVER_H
#define TWINFS_SYNC_RESOLVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "util/conflict_name.h"

struct rs_pos {
	bool present;
	uint64_t parent;
	const char *name; /* not NUL-terminated; owned by whoever made the input or result */
	uint16_t name_len;
};
struct rs_link {
	uint64_t id, child;
	struct rs_pos b, p, s;
	bool unit;                   /* a directory's: by its name on either side the directory is a unit */
	bool late; /* with `prefer`: not discarded */
	/* The same on both sides, by the primary; the secondary had not heard of it when it named things here. */
	bool p_unseen;
	/* New on one side (b is absent), but not to people: the other had deleted it, and hears that it is kept. The
	 * primary's, if each had removed another one of the file. */
	bool returns;
};
struct rs_inode {
	uint64_t ino;
	uint32_t type;               /* S_IFMT bits */
	bool in_b, in_p, in_s;       /* exists in that state (has, or had when last known, a link there) */
	bool p_content, s_content;   /* size, data, a user xattr or (new inode) anything changed since the base */
	bool p_attrs, s_attrs;       /* mode, owner or any xattr changed since the base */
	bool late;                   /* with `prefer`: its content is not discarded */
	uint64_t p_written_ms, s_written_ms; /* mtime on each side: labels conflict names */
};
/* Whose bytes does what stays of it have? Of what neither wrote it is the secondary that put it where it is. */
static inline bool rs_bytes_are_p(const struct rs_inode *n)
{
	return n->in_p && n->p_content && (n->type & S_IFMT) != S_IFDIR;
}
enum rs_field { RS_MODE, RS_OWNER, RS_TIMES, RS_XATTR };
struct rs_attr { /* one field group or xattr key changed on both sides without knowing of each other */
	uint64_t ino;
	enum rs_field field;
	const char *key;             /* RS_XATTR */
	bool equal;                  /* the values are the same */
	bool p_later;                /* RS_TIMES: the primary's mtime is the later one */
	bool late;                   /* with `prefer`: not discarded */
};
enum rs_prefer { RS_PREFER_NONE, RS_PREFER_P, RS_PREFER_S };

enum rs_content {                    /* what became of a file changed on both sides */
	RS_CONTENT_EQUAL, RS_CONTENT_MERGED, RS_CONTENT_KEEP_BOTH,
	RS_CONTENT_PRIMARY, RS_CONTENT_SECONDARY, /* a policy wants that version; the other one is set aside */
};

/*
 * A file that one side or both saved as editors do: a new one put at the name of the old one. What each side has of it
 * is one file in the result, the primary's, if its contents can be merged against the old one.
 */
struct rs_save {
	uint64_t link_b, ino_b; /* the old one; _p and _s: its successor there, or itself */
	uint64_t link_p, ino_p;
	uint64_t link_s, ino_s;
	enum rs_content verdict; /* whoever asks the resolver says; KEEP_BOTH: they stay two files */
};

struct rs_ops { /* pure as well: they read the three states the caller holds */
	void *ctx;
	/* Two new inodes, one on each side: same type, attributes (mode, owner) and bytes / target / device, and each
	 * with one link only. */
	bool (*same_file)(void *ctx, uint64_t ino_p, uint64_t ino_s);
	/* Contents of one inode that both changed: called once for each, in ascending order of ino. With `prefer` also
	 * of one that only the other side changed; then all that counts is whether it is EQUAL. */
	enum rs_content (*content)(void *ctx, uint64_t ino);
	/* Has a file whose bytes both changed the same bytes on both sides? Any number of times, in any order. */
	bool (*equal)(void *ctx, uint64_t ino);
	/* Is this name in use in the directory (in the primary's state) by a link that is not part of the input? */
	bool (*name_taken)(void *ctx, uint64_t parent, const char *name, size_t name_len);
	/* What the name and all that people take for the same have in common; malloc'd. NULL: nobody asks. */
	char *(*fold)(const char *name, size_t name_len, size_t *out_len);
};

struct rs_input {
	struct rs_link *links;       /* sorted by the resolver; otherwise not changed */
	size_t n_links;
	struct rs_inode *inodes;
	size_t n_inodes;
	const struct rs_attr *attrs; /* of a save under ino_p */
	size_t n_attrs;
	const struct rs_save *saves; /* what resolve_saves found, with verdicts; none: then none is merged */
	size_t n_saves;
	const char *node_p, *node_s; /* node names, for conflict names */
	uint64_t root;
	enum rs_prefer prefer;
	struct rs_ops ops;
};

struct rs_link_out {
	uint64_t id, child;          /* child after aliases */
	struct rs_pos pos;           /* pos.present false: no such link */
};
struct rs_copy { /* keep both: a new file with the secondary's whole version of ino */
	uint64_t ino, parent;
	char *name;
	uint16_t name_len;
};
/*
 * The secondary's whole version of a unit is made of what only it has, which moves there, and of clones of what the
 * primary has too: new inodes with the secondary's version of `of`. `id` (RS_CLONE and a number) stands for the clone
 * in this result, wherever an inode is named.
 */
#define RS_CLONE (UINT64_C(1) << 62)
struct rs_clone { uint64_t id, of; };
struct rs_clone_link { uint64_t child, of; struct rs_pos pos; }; /* of: the link that the secondary has it by */
struct rs_aside { /* with `prefer`: what the other side had, to be kept outside of the tree */
	uint64_t ino;
	uint64_t link;               /* this link of it goes there; 0: the inode is in the result, a copy goes there */
	uint64_t parent;             /* where the other side had it: in its tree, or in what goes aside too */
	const char *name;
	uint16_t name_len;
};
struct rs_alias { uint64_t src, dst; bool is_link; };
struct rs_attr_out {
	size_t input;
	bool take_p, note;
	bool keep_other;             /* xattr: s's value to user.twinfs.conflict.KEY */
};
struct rs_note {
	const char *kind, *outcome;  /* words of the conflicts contract */
	const char *rule;            /* a short sentence, static */
	uint64_t ino;                /* the file in place */
	uint64_t other_ino;          /* the other file when there are two (name clash),
		else 0; a copy: rs_copy of ino */
	uint64_t link;               /* the link it is about, 0 if none */
	size_t attr;                 /* of kind attribute and xattr: index in the input */
};
struct rs_result {
	struct rs_link_out *links;   /* one for each input link, ascending by id */
	size_t n_links;
	struct rs_copy *copies;      size_t n_copies;
	struct rs_clone *clones;     size_t n_clones;       /* ascending by `of` */
	struct rs_clone_link *clone_links; size_t n_clone_links;
	uint64_t *kept;              size_t n_kept; /* ascending: what the secondary did to these inodes is in a clone,
		or undone: nothing of it is to be taken here */
	struct rs_aside *asides;     size_t n_asides;
	struct rs_alias *aliases;    size_t n_aliases;
	struct rs_attr_out *attrs;   size_t n_attrs;
	struct rs_note *notes;       size_t n_notes;
	char **own;                  size_t n_own; /* the names made here, which links and copies point to */
	bool by_file; /* a unit that both changed could not be kept whole: it was merged file by file */
};

/* Step 0, before resolve: the saves in the input, in ascending order of link_b; free *out. -EUCLEAN as resolve. */
int resolve_saves(struct rs_input *in, struct rs_save **out, size_t *n);
/* -EUCLEAN with no result if the input itself is no valid state (a directory with two places, say). */
int resolve(struct rs_input *in, struct rs_result *out);
void resolve_release(struct rs_result *r);
/* The units (inodes of their directories, ascending; free it) that both sides changed: of these the input must hold
 * all that is in them in any of the three states, not only what changed. */
size_t resolve_units(struct rs_input *in, uint64_t **units);

#endif
