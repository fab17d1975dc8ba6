/* SPDX-License-Identifier: MIT */
/*
 * resolver_work: what the resolver's files share while one resolve() runs. Everything is an index into arrays sorted by
 * id, so that each step is linear in the input (names: n log n) and none depends on the order in which the input came.
 * resolver.c owns it and has steps 1 to 5; resolver_saves.c step 0; resolver_names.c step 6; resolver_content.c steps 7
 * and 8; resolver_prefer.c what is different when a person said whose state counts.
 * One thread; freed before resolve returns.
 */
#ifndef TWINFS_SYNC_RESOLVER_WORK_H
#define TWINFS_SYNC_RESOLVER_WORK_H

#include "sync/resolver.h"
#include "util/map.h"

#define RW_NONE UINT32_MAX

enum rw_state { RW_B, RW_P, RW_S, RW_DEAD };

struct rw_node { /* an inode */
	const struct rs_inode *in;
	uint32_t first_link, n_links; /* into rw_work.by_child */
	uint32_t n_live;              /* links of it that are in the result */
	bool has[3];                  /* it is in the tree of that state */
	bool is_dir, is_root;
	bool inside_moved;            /* step 3 */
	uint32_t alias;               /* the node that this one became, RW_NONE: itself */
	uint32_t first_child, last_child; /* live links in it, in step 6 */
	const struct rs_save *save;   /* step 0: it is what the sides' versions became */
	uint32_t mark;                /* of walks */
};

struct rw_link {
	const struct rs_link *in;
	uint32_t child;
	uint32_t parent[3];  /* RW_NONE where the link is not in that state */
	enum rw_state at;    /* the result has it where this state has it */
	uint32_t sibling;    /* next link in the same directory of the result */
	char *new_name;      /* a conflict name, or NULL */
	uint16_t new_len;
};

struct rw_name { /* a name in use in a directory */
	uint32_t dir, link, next;
	const char *name;
	uint16_t len;
};
struct rw_names {
	struct map heads; /* hash of (dir, name) to index + 1 of the last one put in; the others by `next` */
	struct rw_name *all;
	uint32_t n, cap;
};

/* The input as it is merged when there are units to be kept whole. */
struct rw_units {
	struct rs_input in;
	struct rs_clone *clones;
	uint64_t *clone_link_of; /* by the number in a clone link's id - 1 */
	size_t n_clones, n_clone_links;
	uint64_t *kept; /* ascending */
	size_t n_kept;
	struct rw_unit {
		uint64_t ino, link;
		uint64_t copy; /* the clone link that leads to the secondary's; 0: one of the two is nowhere */
		char name[16]; /* of that until step 6 */
		uint16_t name_len;
	} *roots;
	uint32_t n_roots;
	struct rw_beside { /* a file by itself */
		uint64_t copy, link;
		struct rs_pos at; /* where the secondary has the original */
		char name[16];
	} *beside;
	uint32_t n_beside;
};
struct unit_finder;

struct rw_work {
	struct rs_input *in;
	struct rs_result *out;
	struct rw_node *nodes; /* ascending by ino */
	uint32_t n_nodes;
	struct rw_link *links; /* ascending by id */
	uint32_t n_links;
	uint32_t *by_child;    /* link indices, by (child, id) */
	struct map node_by_ino; /* index + 1 */
	struct rw_names names[3]; /* RW_P, RW_S: in that state; RW_B: in the result */
	struct rs_link *own_links;   /* step 0: what it says of links and inodes instead of the input */
	struct rs_inode *own_inodes;
	size_t cap_notes, cap_aliases, cap_copies, cap_asides, cap_own;
	struct rw_units *units;     /* NULL: none */
	struct unit_finder *finder; /* made when first needed */
};

/* The test program leaves one rule out, to show that the tests see it when one is missing. */
enum rw_rule {
	RULE_NONE, /* none is left out */
	RULE_MOVE_STAYS, RULE_BOTH_UNLINKED, RULE_CHANGED_COMES_BACK, RULE_MOVED_DIR_WHOLE, RULE_PARENTS, RULE_LOOPS,
	RULE_ONE_NAME, RULE_SAME_DIR, RULE_SAME_FILE, RULE_SAME_LINK, RULE_ALIKE, RULE_CONTENT, RULE_ATTR,
	RULE_WRITE_FOLLOWS, RULE_SAVES, RULE_SAVE_FOLLOWS, RULE_NO_SAVE_RETURNS, RULE_RETURN_NOTED,
	RULE_UNITS, RULE_UNIT_WHOLE, RULE_UNIT_SAME, RULE_UNIT_OUTERMOST, RULE_UNIT_BESIDE, RULE_UNIT_BACK,
	RULE_UNIT_APART, RULE_UNIT_NAMES, RULE_UNIT_UNTOUCHED, RULE_UNIT_MADE, RULE_NOT_INTO_UNIT,
	RULE_PREFER_LINK, RULE_PREFER_GONE, RULE_PREFER_ATTR, RULE_ASIDE_LINK, RULE_ASIDE_COPY, RULE_LATE,
};
#ifdef RESOLVER_TEST
extern enum rw_rule resolver_test_without;
#define RULE(r) (resolver_test_without != (r))
#else
#define RULE(r) true
#endif

/* ---- resolver.c */
const struct rs_pos *rw_pos(const struct rw_link *l, enum rw_state st);
bool rw_same_place(const struct rs_pos *a, const struct rs_pos *b);
uint32_t rw_node_of(const struct rw_work *w, uint64_t ino); /* RW_NONE: not in the input */
uint32_t rw_link_of(const struct rw_work *w, const struct rw_node *n, uint32_t i);
uint32_t rw_link_by_id(const struct rw_work *w, uint64_t id); /* which is in the input */
void rw_set_live(struct rw_work *w, uint32_t link, enum rw_state st);
/* kind, outcome and rule are static; other and link may be RW_NONE. */
void rw_note(struct rw_work *w, const char *kind, const char *outcome, const char *rule, uint32_t node, uint32_t other,
	     uint32_t link);

int rw_load(struct rw_work *w, struct rs_input *in, struct rs_result *out); /* -EUCLEAN; rw_release in any case */
void rw_release(struct rw_work *w);

/* ---- resolver_saves.c */
void rw_unite_saves(struct rw_work *w); /* step 0 */

/* ---- resolver_names.c */
/* src, of the secondary, lives on as dst. */
void rw_become(struct rw_work *w, uint64_t src, uint64_t dst, bool is_link);
void rw_names_put(struct rw_names *x, uint32_t dir, const char *name, size_t len, uint32_t link);
/* The link that holds the name there, RW_NONE if none does. */
uint32_t rw_names_get(const struct rw_names *x, uint32_t dir, const char *name, size_t len);
void rw_names_release(struct rw_names *x);
/* A name that is free in the result's directory `dir`, taken from now on; the result owns the memory. It says that the
 * primary wrote the bytes (of_p), or that the secondary did. */
char *rw_free_name(struct rw_work *w, uint32_t dir, const char *name, size_t len, const struct rs_inode *of,
		   bool of_p, uint16_t *len_out);
void rw_resolve_names(struct rw_work *w); /* step 6 */
/* Two links with one name: may the inode of the secondary become that of the primary? */
bool rw_can_become(struct rw_work *w, uint32_t p, uint32_t s);

/* ---- resolver_content.c */
void rw_merge_contents(struct rw_work *w); /* step 7 */
void rw_merge_attrs(struct rw_work *w);    /* step 8 */
/* Name and directory that a live link has in the result. */
const char *rw_live_name(const struct rw_link *l, size_t *len);
uint32_t rw_live_parent(const struct rw_work *w, const struct rw_link *l);

/* ---- resolver_units.c */
/* NULL: no unit was changed on both sides; else merge `in` of it. Free it after the merge. */
struct rw_units *rw_units_split(struct rw_work *w);
void rw_units_free(struct rw_units *u);
/* Inodes, ascending: units that both sides changed, by what is in the input. */
size_t rw_units_of_both(struct rw_work *w, uint64_t **units);
/* Before step 6: the copies go where the originals have come to be. */
void rw_units_place(struct rw_work *w);
/* The original that the copy, led to by this link, is of; RW_NONE: it is no copy of a unit or of what was in one. */
uint32_t rw_unit_original(const struct rw_work *w, uint32_t link, const char **rule);
bool rw_is_unit(const struct rw_work *w, uint32_t node);
/* Does the side have a name of it in a unit? */
bool rw_in_unit(const struct rw_work *w, uint32_t node, enum rw_state st);
/* Two directories, one of each side: is in both the same? */
bool rw_same_unit(struct rw_work *w, uint32_t p, uint32_t s);
bool rw_is_kept(const struct rw_work *w, uint64_t ino);
void rw_unit_finder_free(struct unit_finder *f);
/* ---- resolver_prefer.c */
static inline bool rw_prefers(const struct rw_work *w, bool late)
{
	return w->in->prefer != RS_PREFER_NONE && !(late && RULE(RULE_LATE));
}
/* No link of it is left because the preferred side has none: what the other side changed in it brings it not back. */
bool rw_is_discarded(const struct rw_work *w, const struct rw_node *n);
void rw_prefer_link(struct rw_work *w, uint32_t link);   /* instead of step 1 */
void rw_put_aside(struct rw_work *w);                    /* after step 5: what is in no tree any more */
void rw_prefer_content(struct rw_work *w, uint32_t node); /* instead of step 7 */

#endif
