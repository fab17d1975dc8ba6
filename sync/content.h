/* SPDX-License-Identifier: MIT */
/*
 * content: one file whose bytes both sides changed. Composes the secondary's whole version (base as it knew it, cut,
 * and its shipped bytes on top), decides by the policy or the kind of file, and carries the decision out. Between
 * volume_apply_begin and _commit.
 *
 * The base is what the secondary had before: VIEW_PEER at the record's `seen`, or what a lineage note of class BASE
 * says. Of a file saved anew (a new one at the name of the old one) it is what the secondary had in the old one.
 *
 * The invariant: of what the secondary sends, until it has heard of the outcome, either
 *   - base_ino in the view `base`, of which base_size bytes count, is what it had before, byte by byte. Of a file that
 *     both have by one id the peer's view as of group since - 1 is that, whatever was merged into it: what lands there
 *     as the peer's is just what the peer has, and ours is another version, over it. So it is as long as the peer has
 *     acknowledged no later group, as history forgets what the view needs;
 *   - or it is known not to be (`mixed`, `no_base`), and then nothing is compared with it.
 * A byte of ours that passes for the secondary's is lost when it writes over it; one of its own that passes for ours is
 * a conflict when it does.
 */
#ifndef TWINFS_SYNC_CONTENT_H
#define TWINFS_SYNC_CONTENT_H

#include "core/changes.h"
#include "core/policy.h"
#include "sync/ahead.h"
#include "sync/driver.h"
#include "sync/resolver.h"
#include "sync/shipment.h"

struct content_case {
	struct volume *v;
	const struct shipment *s;
	const struct rec_inode *rec; /* the secondary's record (content) */
	uint64_t ino;                /* the inode here: rec->ino, or what it lives on in */
	uint64_t seen;               /* effective: what the secondary knew of us */
	struct view base;            /* with base_ino: where the base's bytes are */
	uint64_t base_ino;
	uint64_t base_size;
	bool mixed;        /* the base holds bytes of ours too that the secondary has not: what it has is not known. It
			    * is good for what is put on top of it, but nothing is compared with it */
	uint64_t since;    /* 1 + the group as of which the peer's view of the file is what the secondary has; 0: none
			    * is known */
	bool no_base;      /* what the secondary had is not known any more: nothing can be measured against it */
	/* The version was written as a whole: what it changed is found by comparing it with the base, and nothing of
	 * the base is below theirs. */
	bool ours_whole, theirs_whole;
	bool one_sided;    /* EQUAL, as one of the two is the base: theirs if it was `taken`, else ours */
	bool taken;
	uint64_t ours_size, theirs_size;
	const char *name; /* for the kind of file; borrowed */
	const char *path; /* for what a command is told; borrowed, NULL: unknown */
	struct policy policy;
	struct driver_jobs *jobs; /* where commands are asked for and found done; NULL: none can be run */
	struct ahead *ahead;      /* where kinds and merged texts are; what is not yet is noted there, and then the
				   * verdict is no more than a guess */
	enum rs_content verdict;
	const char *rule;     /* how it was decided, in a few words: static, or the driver job's */
	const struct buf *merged; /* a merged text, whole; ahead's */
	bool merged_whole;    /* `merged` is the result; else both sides' ranges are */
	uint64_t merged_size; /* of a merge by ranges */
	uint64_t their_cut;   /* with it: what they cut off from here on counts; UINT64_MAX: nothing, or ours does */
	bool append;          /* their tail goes behind ours */
	const char *merged_file; /* what a command made of it; the driver job's */
	bool had_base;      /* both sides had the file before */
	bool ours_is_base;  /* EQUAL: ours counts as changed, but is not: theirs is the outcome */
	bool apart; /* an earlier version of theirs went to a copy already: this one does too, nothing is mixed */
	bool apart_here; /* the same of ours, at a primary that the old one tells that it had decided so */
};

/* redirect: the lineage note by which rec->ino lives on in `ino`, or NULL. Nothing of it has to be released. */
int content_open(struct content_case *c, struct volume *v, const struct shipment *s, const struct rec_inode *rec,
		 uint64_t ino, uint64_t seen, const struct lineage *redirect, const char *name);
/* What the secondary had of a file before it saved it, or we did: `src` by its own id, `ino` here, as of `seen`. */
struct content_had {
	uint64_t src, ino, seen;
};
/* rec is the secondary's version of a file saved anew, by itself or here; `ino` what it becomes one with. */
int content_open_save(struct content_case *c, struct volume *v, const struct shipment *s, const struct rec_inode *rec,
		      uint64_t ino, const struct content_had *had);
/* Bytes of the secondary's version; zeros beyond its end. */
int content_theirs(const struct content_case *c, void *buf, size_t len_bytes, uint64_t off);
/* Fills verdict, rule and what carrying out needs. Changes nothing. */
int content_decide(struct content_case *c);
/* Carry out MERGED in place (recorded as a change of ours, so that the secondary gets it). */
int content_land_merged(struct content_case *c);
/* Can what both had before be read? */
bool content_has_base(const struct content_case *c);
/* Write what both had before into the new, empty file `copy`. */
int content_land_base(struct content_case *c, uint64_t copy);
/* Write the secondary's whole version into the new, empty file `copy`. */
int content_land_copy(struct content_case *c, uint64_t copy);
/* The secondary's version, which `copy` holds already, takes the place (recorded as a change of ours). */
int content_land_theirs(struct content_case *c, uint64_t copy);
/* Ours was the base (`taken`): theirs takes the place (recorded as a change of ours). */
int content_take_theirs(struct content_case *c);
/* Our version stays; the secondary, which kept its own, must get all of it that differs: enter that into the change
 * set. */
int content_send_back(struct content_case *c);
/* Give a file the bytes and size that another (or it itself) has (had): what is the same already is not written. */
int content_copy(struct volume *v, uint64_t from, struct view view, uint64_t size_bytes, uint64_t to,
		 enum origin origin);
/* Is our version what the secondary's is? For who need not decide more. 1 yes, 0 no, -errno. */
int content_same(const struct content_case *c);
/* Where the bytes are that the secondary has in `ino` as of our group `seen`: size_bytes of them, whatever the view
 * says about the size. -ENOENT: it has none. */
int content_known(struct volume *v, uint64_t ino, uint64_t seen, uint64_t *from, struct view *view,
		  uint64_t *size_bytes);
/* The row of a file in a view. -ENOENT also if it is about to go, and blocks of it may have gone: the secondary has
 * acknowledged that it is another one. */
int content_view(struct volume *v, uint64_t ino, struct view view, struct inode *in);
/* 1: a file holds these bytes and no others, 0, -errno. */
int content_is(struct volume *v, uint64_t ino, uint64_t from, struct view view, uint64_t size_bytes);
/* Take back what we changed in `ino` since `seen`: it has the bytes that the secondary has (and gets again). */
int content_take_back(struct volume *v, uint64_t ino, uint64_t seen);

/* Are two inodes the same file: type, mode, owner, and bytes (the secondary's record new, ours new)? */
bool content_same_file(struct volume *v, const struct shipment *s, uint64_t ino_p, const struct rec_inode *rec);

#endif
