/* SPDX-License-Identifier: MIT */
/*
 * sim: two volumes and two engines in one process. One seed decides every operation, delay, cut, crash and restart.
 *
 * Content is made of tokens: each write puts down bytes that nobody ever wrote before. The ledger knows which tokens
 * were written and which were overwritten or deleted by someone who saw them; at each quiet point every other token
 * must be in both trees.
 */
#ifndef TWINFS_TESTS_SIM_H
#define TWINFS_TESTS_SIM_H

#include "core/volume.h"
#include "sync/engine.h"
#include "util/map.h"

#define TOKEN_BYTES 16u /* "T%010x;" and 4 bytes that keep data from looking like text, or a newline */
#define SLOTS_MAX 1200u /* of one file: a little over four blocks */

/* Seeds from here on have operations of every kind; those below are the histories that many rules were found with. */
#define WIDE_FROM UINT64_C(1000000)
/* Seeds from here on have units in them: directories called .git. */
#define UNITS_FROM UINT64_C(2000000)
/* Seeds from here on are wide ones in which the roles change; so they do in some of those with units. */
#define ROLES_FROM UINT64_C(3000000)
/* Seeds from here on are of the first three kinds by turns, and the primary refuses merges at random, as if they had
 * come to no valid tree: so it takes what comes in all the ways that there are. */
#define REFUSED_FROM UINT64_C(4000000)
/* Seeds from here on are short histories of few names, of all kinds by turns: what takes few steps is met often. */
#define BRIEF_FROM UINT64_C(5000000)
/* Enough for a few files of one block, and soon full of what a cut piles up. */
#define SMALL_BYTES (3u * BLOCK_BYTES)

#define TOKEN_TEXT 12u /* what of it is looked for */

struct rng {
	uint64_t s;
};
uint64_t rng_next(struct rng *r);
uint64_t rng_below(struct rng *r, uint64_t n);
bool rng_chance(struct rng *r, unsigned percent);

/* Bits: written; overwritten or deleted by side 0, by side 1 (each takes back only its own when it crashes); by the
 * secondary; apart, by a side that had heard nothing of the other since; copied to another file by an editor, so that
 * it need not be where it was written. */
enum token_state {
	TOKEN_FREE = 0, TOKEN_LIVE = 1, TOKEN_OVER = 2, TOKEN_BY_S = 8, TOKEN_APART = 16, TOKEN_COPIED = 32
};
struct ledger {
	uint8_t *state; /* by token number */
	uint64_t n, cap;
};

struct undo { /* since the last commit of a side: what a crash takes back */
	uint64_t token;
	bool written; /* else: marked over */
};

struct frame_queue {
	struct buf bytes; /* whole frames, back to back */
};

struct side {
	char dir[256];
	struct volume *v;
	struct engine *e;
	struct frame_queue to_peer;
	struct undo *undo;
	size_t n_undo, cap_undo;
	uint64_t committed, apart_at; /* the latter: applied when they were parted */
	struct held { /* as a program has a file open: it follows the file's bytes */
		uint64_t ino;
		struct {
			uint64_t token, n;
		} wrote[16]; /* through it */
		size_t n_wrote;
	} refs[64];
	size_t n_refs;
	struct {
		struct world *w;
		int side;
	} pause; /* for volume_options.pause */
};

struct world {
	uint64_t seed, now_ms;
	bool wide;          /* seeds from WIDE_FROM on: all kinds of operations, at any byte */
	bool texts;         /* mostly a few texts, saved as editors do */
	bool units;         /* seeds from UNITS_FROM on */
	bool brief;         /* seeds from BRIEF_FROM on */
	bool apart;         /* since then neither may have heard of the other, as of side[].apart_at */
	unsigned small;     /* bit i: side i has a store of SMALL_BYTES, until it is given room */
	struct rng rng, rng_words; /* rng_words: of what came later than the first million seeds */
	struct rng rng_pause;      /* of what is done while an engine lets others in */
	bool pausing;
	struct late {
		uint64_t ino, token, n;
	} late[20]; /* what was written by those */
	size_t n_late;
	unsigned meanwhile; /* operations that may still come in between: each makes more to be sent */
	struct rng rng_held;       /* of what is done by programs that have a file open */
	struct rng rng_acls;
	bool acls;          /* a share of the wide ones: ACLs are set, changed and taken away too */
	bool pure;          /* nothing has crossed since both were the same */
	bool roles;         /* seeds from ROLES_FROM on, and a share of those with units */
	struct rng rng_roles;
	uint64_t n_words, n_roles;
	struct side side[2];
	struct ledger ledger;
	bool up, trace, hash_trace, ever_apart;
	bool dirs_removed;  /* by somebody, ever */
	uint64_t n_ops, n_cuts, n_crashes, n_frames, n_full;
	uint64_t digest; /* of the frames, and with hash_trace of all that is traced: the same seed gives the same */
	char failure[2048];
};

#define sim_trace(w, ...)                              \
	do {                                           \
		if ((w)->trace || (w)->hash_trace)     \
			sim_trace_line(w, __VA_ARGS__); \
	} while (0)
void sim_trace_line(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Of the digest too: what a side has. */
void sim_digest(struct world *w, const char *text);

/* Side i may have closed a group by itself: what it wrote until now is durable. */
void sim_note_commits(struct world *w, int i);
void sim_fail(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ops.c */
void sim_op(struct world *w, int side);
void sim_plain_op(struct world *w, int side); /* writes to one file, makes or removes one */
void sim_ref(struct world *w, int side);
void sim_moved(void *side, const struct notice *list, size_t n); /* a volume_notice_fn */
void ledger_commit(struct world *w, int side); /* what the side did is durable */
void ledger_crash(struct world *w, int side);
/* Is there a token at p (n bytes left)? Its number, or 0. */
uint64_t token_at(const uint8_t *p, size_t n);

/* inspect.c: all return false after sim_fail */
bool inspect_quiet(struct world *w);
/* The tree that people see, as text; free it. */
char *inspect_tree(struct world *w, int side);

/* near.c: how a merge of this history differs from one that looks at all that the primary changed; NULL: none does. */
void sim_near_begin(void);
const char *sim_near_difference(void);
/* A unit could not be kept whole in this history, as both moved directories that hold each other: docs/merging.md */
bool sim_near_by_file(void);
/* From now on merges are refused at random, though they come to a valid tree; 0: they are not. */
void sim_refuse(uint64_t seed);
void sim_refused_counts(uint64_t counts[4]); /* of all histories: taken the first way, the second … */
/* Of all histories. */
void sim_near_counts(uint64_t *compared, uint64_t *left_out);

#endif
