/* SPDX-License-Identifier: MIT */
/*
 * tree_model: a filesystem small enough to try everything with. Inodes, links by id, contents as a row of tokens (each
 * token is written once and never again, so that a lost one is seen). Builds the resolver's input from three trees,
 * carries out its result, and checks the laws. Everything is by value in fixed arrays; one thread.
 */
#ifndef TWINFS_TESTS_TREE_MODEL_H
#define TWINFS_TESTS_TREE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sync/resolver.h"

#define TM_INODES 96
#define TM_LINKS 96
#define TM_TOKENS 12
#define TM_NAME 64
#define TM_ROOT 1
#define TM_OPS 2048

enum tm_attr { TM_A_MODE, TM_A_OWNER, TM_A_TIMES, TM_A_XATTR, TM_A_XATTR2, TM_ATTRS };

struct tm_inode {
	uint64_t ino;
	uint32_t type;
	uint32_t attr[TM_ATTRS], kept[TM_ATTRS]; /* tokens too, 0: none; kept: an xattr's other value */
	uint32_t n_data, data[TM_TOKENS];
};
struct tm_link {
	uint64_t id, parent, child;
	char name[TM_NAME];
};
struct tm_tree {
	struct tm_inode inodes[TM_INODES];
	struct tm_link links[TM_LINKS];
	uint32_t n_inodes, n_links;
	uint64_t united[TM_INODES]; /* of a merge's result: files of the base whose saves became one */
	uint32_t n_united;
};
struct tm_side { /* a tree and who works on it: new ids and tokens bear the side's number (1 or 2) */
	struct tm_tree t;
	uint32_t side, n;
};

enum tm_kind {
	TM_CREATE, TM_MKDIR, TM_SYMLINK, TM_UNLINK, TM_RMTREE, TM_SAVE, TM_RENAME, TM_EXCHANGE, TM_WRITE, TM_APPEND,
		TM_TRUNC, TM_LINK,
	TM_CHMOD, TM_XATTR, TM_BACKUP, TM_LNBACKUP, TM_CHOWN, TM_TOUCH, TM_XATTR2, TM_FIFO, TM_SOCKET, TM_DEVICE,
		TM_PUT,
};
struct tm_op {
	enum tm_kind kind;
	uint64_t a, b;        /* inode or link, and directory or link, as the kind wants */
	uint32_t k;           /* which token; CREATE, DEVICE: not 0: the content is this token. PUT: the first token
				 becomes this one. SAVE, BACKUP, LNBACKUP: not 0: the old content with token k - 1
				 changed */
	char name[TM_NAME];
};

void tm_init(struct tm_tree *t);
void tm_add(struct tm_tree *t, uint64_t ino, uint32_t type, uint64_t link, uint64_t parent, const char *name,
	uint32_t n_tokens);
/* Three bases to try everything on. Kind 0 is a/, b/, f, a/f; 1 has b/f too, a link to f; 2 has a/b/ and a/b/x too. */
void tm_small_base(struct tm_tree *t, unsigned kind);
/* The same with a unit, u, in it (kind 0 to 2; 2 has a directory beside it). */
void tm_unit_base(struct tm_tree *t, unsigned kind);
void tm_add_link(struct tm_tree *t, uint64_t link, uint64_t parent, const char *name, uint64_t child);
struct tm_inode *tm_inode(const struct tm_tree *t, uint64_t ino);
struct tm_link *tm_link(const struct tm_tree *t, uint64_t id);
struct tm_link *tm_child(const struct tm_tree *t, uint64_t dir, const char *name);
bool tm_under(const struct tm_tree *t, uint64_t dir, uint64_t ancestor);
void tm_apply(struct tm_side *s, const struct tm_op *op);
/* Every operation possible in this state; names are taken from "a", "b", "f", "x". */
uint32_t tm_ops(const struct tm_tree *t, struct tm_op ops[TM_OPS]);
bool tm_equal(const struct tm_tree *a, const struct tm_tree *b);

struct tm_merge_opts {
	bool whole;       /* give the resolver the whole trees instead of what changed */
	uint32_t shuffle; /* not 0: the order of the input */
	const char *node_p, *node_s;
};
/* Resolve and carry out. notes may be NULL: "kind/outcome ..." in order. 0, or what the resolver said. */
int tm_merge(const struct tm_tree *b, const struct tm_tree *p, const struct tm_tree *s,
	const struct tm_merge_opts *opts,
	     struct tm_tree *m, char *notes, size_t notes_size);

/*
 * One side is preferred: NULL, or which law is broken. kept's tree must be the result, and all that `other` made or
 * changed be there or aside; nothing is noted. at_word: what the other side had when the word was given; what it
 * changed later is merged, and then the tree must be valid and nothing be lost. asides (may be NULL): by path, sorted:
 * "path" the link goes aside, "path=" a copy of it.
 */
const char *tm_prefer_broken(const struct tm_tree *b, const struct tm_tree *kept, const struct tm_tree *at_word,
	const struct tm_tree *other, bool kept_is_p, unsigned shuffle, char *asides, size_t size);

/* NULL: fine; else what is wrong. */
const char *tm_invalid(const struct tm_tree *t);
const char *tm_loss(const struct tm_tree *b, const struct tm_tree *p, const struct tm_tree *s, const struct tm_tree *m);
const char *tm_wrong_deletion(const struct tm_tree *b, const struct tm_tree *p, const struct tm_tree *s,
	const struct tm_tree *m);
/* NULL, or which law a merge of these three breaks. shuffle 0: only valid tree, nothing lost, nothing wrongly deleted;
 * else, with it as seed, also: order, unchanged surroundings and roles do not matter, and the result is stable. */
const char *tm_law_broken(const struct tm_tree *b, const struct tm_tree *p, const struct tm_tree *s, unsigned shuffle);
/* A unit that is neither as the primary nor as the secondary has a directory? */
const char *tm_mixed(const struct tm_tree *p, const struct tm_tree *s, const struct tm_tree *m);
bool tm_same_contents(const struct tm_tree *a, const struct tm_tree *b);
/* What differs from the base in this directory, by path: "-path" gone, "path=contents{attributes}" new or different.
 * Sorted. */
void tm_diff(const struct tm_tree *base, const struct tm_tree *t, uint64_t dir, char *out, size_t size);

#endif
