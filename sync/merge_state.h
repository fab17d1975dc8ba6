/* SPDX-License-Identifier: MIT */
/*
 * merge_state: the three-way path of merge.c, private to it. Reads the secondary's records as they read here
 * (merge_records.c), gathers the resolver's input from them and the volume (merge_gather.c) and asks it
 * (merge_resolve.c); what it decided is carried out by what merge_land.h lists. The lock is held throughout, but where
 * it is done ahead (merge_ready.h): then whatever was read may be otherwise after merge_breathe.
 */
#ifndef TWINFS_SYNC_MERGE_STATE_H
#define TWINFS_SYNC_MERGE_STATE_H

#include "sync/content.h"
#include "sync/land.h"
#include "sync/merge.h"
#include "sync/prefer.h"
#include "sync/resolver.h"

/* A link record of the secondary as it reads here, after lineage. */
struct norm_link {
	uint64_t link, child, parent, seen;
	uint64_t raw_seen;
	uint64_t raw_parent, raw_child; /* as the secondary calls them */
	uint64_t alias_of;              /* the id in the shipment if it is another, else 0 */
	const char *name;
	uint16_t name_len;
	bool report;  /* the secondary has not changed it: it tells where it has it, as ours could not be placed */
	bool in_copy; /* alias_of is a link of ours too, and what it did to it is about the copy of the unit */
	bool lacks;   /* it is taken to have our link as it is, for what it did in a copy, and gets it */
	uint64_t family; /* the name is beside another one here: src of the note that says so, or 0 */
	bool missing; /* the secondary lacks our link, but has an alias of it: send it again, decide nothing */
};
/* An inode record likewise. target == rec->ino unless redirected. */
struct norm_inode {
	const struct rec_inode *rec;
	uint64_t ino;           /* attributes go here */
	uint64_t bytes_ino;     /* content and times go here */
	uint64_t seen_bytes;    /* effective for bytes_ino */
	struct lineage lin;     /* of the redirection, if any */
	bool redirected_bytes;  /* kind 'c': the bytes belong to the conflict copy */
	bool compare;           /* what the copy has got since is found by comparing: it may be the secondary's own */
	bool aliased;           /* kind 'a' */
	bool in_copy;           /* aliased, but rec->ino is ours too: what it did to it is about the copy of the unit */
	bool by_name;           /* in_copy, but for a name alone that it has it by */
	bool beside;            /* in_copy, but that has bytes of its own: its are a file beside it */
	bool fused;             /* that, since just now, as it was equal to ours */
	bool saved;             /* it is what the secondary has of a file that was saved anew (merge_saves.c) */
	uint64_t lives_in;      /* saved, and all of it is in this copy already, which is what it has; or 0 */
	bool follows;           /* its case is about the old file, a backup now, that the other side wrote to */
	bool asked;             /* the resolver asked for the verdict, and carries it out as far as names go */
	struct content_case cc; /* when both changed the bytes */
	uint64_t kept_ours, kept_theirs; /* whole versions set aside by a merge, 0: none */
	uint64_t kept_base;              /* what both had before, likewise */
	uint64_t note_id;                /* of the conflict that they are of */
	bool has_case, open_case;
	bool preferred;         /* the verdict is a person's word */
	bool is_aside;          /* its bytes are where what is discarded goes */
	bool made_again;        /* deleted here, and now made of what the secondary sent */
	bool revived;           /* deleted here, and back as it was last, but for what the secondary changed */
	uint32_t in_conflict; /* REC_MODE | REC_OWNER | REC_TIMES that both changed */
};

struct attr_case {   /* parallel to input.attrs */
	size_t norm; /* index of the inode record, or of the xattr when is_xattr */
	bool is_xattr;
	uint32_t field;
};

/* An alias that the secondary turned out to have apart: made anew of the bytes that it has there (base.dst as of
 * base.grp) and the attributes that the two share. */
struct apart {
	struct lineage base;
	uint64_t attrs_of;
	uint64_t name_of_ours; /* the link by which that stays, if it had no name but of the other; 0: none */
};

/* A name of what had swallowed another: it leads to that again; or it is for ours, which had that name alone. */
enum given_back { GIVEN_ITS_OWN = 1, GIVEN_OURS };

/* Of a save: what the secondary changed and the primary did not, or what both dropped; for rs_save.ino_p. */
struct save_set {
	uint64_t ino;
	const struct rec_inode *rec; /* `fields` of it; NULL: an xattr */
	uint32_t fields;
	char *key;                   /* from the arena, as the value */
	const void *value;           /* NULL: removed */
	uint32_t value_len;
};

/* A save whose bytes do not go together, so both files stay: `of` says why, and holds the base for looking back. */
struct save_apart {
	uint64_t ino_b, ino_p, ino_s;
	bool told; /* as a clash of their names */
	struct norm_inode of;
};

/* What is done with the lock free, and the merge then done again. For one shipment. */
struct merge_work {
	struct driver_jobs jobs;
	struct ahead ahead;
};

struct merger {
	struct volume *v;
	struct shipment *s;
	const struct merge_names *names;
	struct merge_work *work;
	uint64_t now_ms;
	bool ahead;            /* worked out before the group: others are let in now and then (merge_ready.h) */
	bool unlocked;         /* by the resolver, who has not the lock */
	unsigned asked;        /* how often by that */
	struct prefer *prefer; /* a person's word under which this is merged, or NULL */
	uint64_t back;         /* prefer_taken_back, if this is under no word */
	uint64_t low;          /* merge_lowest_seen: it goes through all records */
	struct map hidden_dir; /* directory -> 1: not below .twinfs, 2: below */
	struct map hidden;     /* inode with a link below .twinfs: 1; with another one: 2; or both */
	struct map aside_dir;  /* directory of the discarded side -> where what was in it goes */
	struct map aside_link; /* link that goes aside: 1; 2: it should, but it is asked for */
	struct map dir_link;   /* inode -> index + 1 of a link that the discarded side has of it */

	struct norm_link *nl;
	size_t n_nl;
	struct map nl_by_link; /* link -> index + 1 */
	struct norm_inode *ni;
	size_t n_ni;
	struct map ni_by_ino;   /* attribute inode -> index + 1 */
	struct map ni_by_bytes; /* content inode -> index + 1 */
	struct map of_family; /* key of the name of a database's copy -> src of its note */
	struct family_copy { /* made just now */
		uint64_t key; /* of what it is of */
		struct rs_pos at;
	} *family_copies;
	size_t n_family_copies;
	struct map copy_of_dir;  /* directory -> 1 + the copy that it is (in) */
	struct map noted; /* of what a copy was made just now */
	bool by_copies; /* what is said of a unit here is about the copy of it */
	struct map said_itself;  /* what is in copies, and the secondary has moved or removed there -> 1 */
	struct map own_bytes; /* where what it wrote to its own was put -> the group of ours as of which it has that */
	struct map of_inode, of_link; /* what is in copies of units -> what the secondary means by when it means that */
	struct map gone_link;   /* inode dead here -> a link of it that our change set says is gone (chained through
				   gone_next) */
	struct map gone_grp;       /* such an inode -> the last group in which we removed a link of it */
	struct map gone_next;

	/* merge_near.c: which of the links that only we changed go into the resolver's input */
	bool near, all_of_ours;   /* those that may matter; all */
	struct map new_dir;       /* the secondary's new directories -> index + 1 in nl */
	struct map fused_dir;     /* of these: ours that it may become one with, 0: none */
	struct map given;         /* names that it gave: a hash that is the same for those that people take for it */
	struct map given_in;      /* directory -> lowest `seen` of a name that it gave there, + 1 */
	struct alike {
		uint64_t link;
		bool heard;       /* the secondary has heard of it by now */
	} *alike;
	size_t n_alike, cap_alike;
	struct map left_dir;      /* directories in which was looked for what was beside a database -> 1 */
	struct map left_by_key;
	struct left_link {
		uint64_t link, next;
	} *left;
	size_t n_left, cap_left;

	struct apart *apart;
	size_t n_apart, cap_apart;
	uint64_t *links_apart; /* the secondary's own by which two are two again */
	size_t n_links_apart, cap_links_apart;
	struct map given_back; /* link -> enum given_back */
	struct map its_own; /* under a word: files of the secondary's that had become one with ours -> 1 */

	struct rs_link *links;
	size_t n_links, cap_links;
	struct map link_at; /* link -> index + 1 */
	struct rs_inode *inodes;
	size_t n_inodes, cap_inodes;
	struct map inode_at;
	struct map bytes_seen; /* inode -> lowest `seen` of the records of its links */
	struct map parents;   /* inodes that are a parent somewhere */
	struct map p_changed; /* link -> 1: changed by us, unknown to the secondary */

	struct policy_units *units;
	struct map member;     /* what is in a unit that both changed -> what the secondary had seen when it did, + 1 */
	struct map too_large;  /* units beyond UNIT_MAX_NAMES */
	struct map kept;       /* rs_result.kept */
	uint64_t *clone_ino;   /* by number of the clone */

	struct rs_attr *attrs;
	struct attr_case *attr_cases;
	uint8_t *xattr_in_conflict; /* by index of the shipment's xattrs */
	size_t n_attrs, cap_attrs;
	int failed; /* what the resolver asked for and could not be told: then nothing lands */
	uint64_t kept_bytes; /* set aside only to be looked back at */
	unsigned n_told_undone; /* by merge_note_undone */
	struct rs_save *saves;
	size_t n_saves;
	struct save_set *save_sets;
	size_t n_save_sets, cap_save_sets;
	struct save_apart *saves_apart;
	size_t n_saves_apart, cap_saves_apart;
	struct map save_apart_at; /* the old file, and the primary's -> index + 1 */
	struct norm_inode *follows; /* of files of ours: what the secondary wrote to the backups of them */
	size_t n_follows, cap_follows;
	uint64_t unplaced_dir; /* merge_unplaced.c; 0: nothing is in it */
	bool in_units; /* what is saved may be in a unit that both changed: then nothing is merged as that */

	void **arena; /* what lives until the end: names */
	size_t n_arena, cap_arena;
};

bool p_changed_inode(struct volume *v, uint64_t ino, enum entity what, uint64_t seen);
bool p_changed_content(struct volume *v, uint64_t ino, uint64_t seen);
uint64_t merge_lowest_seen(const struct shipment *s); /* of all its records */
void merge_warn_by_file(void); /* a unit is not kept whole: the log says so */
/* Did we give the file a name, or move or remove one, in a group after that? */
bool links_changed(struct volume *v, uint64_t ino, uint64_t low);
bool p_changed_xattrs(struct volume *v, uint64_t ino, uint64_t seen); /* set, not removed: removals leave only a row */
int take_inode(struct volume *v, const struct shipment *s, const struct rec_inode *r, uint64_t ino, uint32_t fields);

/* ---- merge_gather.c */
int merge_gather(struct merger *m);
int merge_breathe(struct merger *m); /* between two looks, if it is done ahead */
int merge_is_one_state(struct merger *m); /* of what was gathered ahead: -EBUSY: it was changed meanwhile */
void *merge_grow(void *array, size_t n, size_t *cap, size_t size_bytes);
void *merge_keep(struct merger *m, void *mem); /* frees it in the end */
struct rs_inode *merge_input_inode(struct merger *m, uint64_t ino);
bool merge_same_pos(const struct rs_pos *a, const struct rs_pos *b);
/* "/a/b" of an inode's lowest link, malloc'd; "?" if it has none. */
char *merge_path(struct volume *v, uint64_t ino);
void merge_add_attr(struct merger *m, struct rs_attr attr, struct attr_case which);
/* The last group of ours as of which the secondary's src is just what we have in dst, as which it lives on; 0: none. */
uint64_t merge_equal_since(struct merger *m, uint64_t src, uint64_t dst);
/* Links and inodes by id, after the arrays were sorted. */
void merge_index(struct merger *m);
/* For merge_units.c: links and inodes into the resolver's input, if they are not there; then what is above them. */
int merge_add_link(struct merger *m, uint64_t link);
int merge_add_inode(struct merger *m, uint64_t ino);
int merge_close_upwards(struct merger *m);
struct rs_pos merge_pos(struct merger *m, const struct dentry *d);

/* Where the secondary has a link of which it says nothing: as it said last, or else (*ours, may be NULL) our version
 * that it has seen. 0, -ENOENT: it has none. */
int merge_their_link(struct merger *m, uint64_t link, struct dentry *d, bool *ours);
bool merge_comes_whole(struct merger *m, uint64_t ino);

/* ---- merge_records.c: the secondary's records as they read here */
void merge_normalize_links(struct merger *m);
void merge_normalize_inodes(struct merger *m);
/* That of a link or inode of ours, NULL: it tells nothing of it. */
struct norm_link *merge_record_of_link(struct merger *m, uint64_t link);
struct norm_inode *merge_record_of_inode(struct merger *m, uint64_t ino);
struct norm_inode *merge_bytes_record(struct merger *m, uint64_t ino); /* whose content goes there */

/* ---- merge_apart.c: what had become one here, and is two again */
/* Before the lineage is loaded: those of which the secondary turned out to have both. */
int merge_take_all_apart(struct merger *m);
/* The same under a word: the secondary's file is itself. The links that were aliases of ours, for the caller to free
 * whatever is returned. */
int merge_give_back_its_own(struct merger *m, struct lineage **links, size_t *n_links);
/* What the link (ours is d) leads to. If that had swallowed one of the secondary's, and they are two again: what it
 * leads to there. */
uint64_t merge_child_apart(struct merger *m, const struct norm_link *rec, const struct dentry *d);
/* The secondary need not have said now by which names it has its own. We have told it that they are gone: so to us they
 * are as good as new. */
int merge_add_links_apart(struct merger *m);
/*
 * Two are two again by one name of the secondary's own. It may have given it others, which were names of ours here:
 * those lead to its own again, too.
 */
int merge_add_names_apart(struct merger *m);

/* ---- merge_near.c, if names matter at all: */
uint64_t merge_near_key(uint64_t dir, const char *name, size_t len); /* the same for names that people take for one */
int merge_near_begin(struct merger *m); /* when records were normalized; finds what is gone here, too */
int merge_near_add(struct merger *m);   /* when the links that they tell of are in the input */
int merge_near_of_link(struct merger *m, size_t i); /* of each that is in the input: what meets it */
int merge_near_beside(struct merger *m, const struct rs_pos *at); /* of each file that may be of a database */
int merge_near_add_all(struct merger *m); /* after all: a unit is in the input */
/* We changed names in the directory that are not in the input; also if we removed it, and it is back. */
bool merge_near_holds_ours(struct merger *m, const struct rs_link *l);
void merge_near_release(struct merger *m);

/* ---- merge_lineage.c: before normalizing; then what an id of the secondary's means here. lin may be NULL. */
int merge_lineage_load(struct merger *m);
/* An inode that was fused into another one lives on there; two steps at most happen (an alias of an alias is recorded
 * as one). */
uint64_t merge_alias(struct merger *m, uint64_t ino, struct lineage *lin);
bool merge_link_alias(struct merger *m, uint64_t link, struct lineage *lin);
/* After normalizing. -EUCLEAN: it speaks of a unit by the ids of the first, meaning the copy, and of a copy by the
 * copy's own: it has heard of that one and goes on in both. Then each id means what it says. */
int merge_copies_meant(struct merger *m);
void merge_keep_in_copies(struct merger *m); /* when the links are gathered */
/* The same of what it said, or had, when it knew our groups up to `seen`: it may be about the copy of a unit. */
uint64_t merge_their_inode(struct merger *m, uint64_t ino, uint64_t seen, struct lineage *lin);
bool merge_link_in_copy(struct merger *m, uint64_t link, uint64_t seen, struct lineage *lin);
/* The other way round: the link is in a copy, and the secondary has it as lin->src. */
bool merge_link_of_copy(struct merger *m, uint64_t link, uint64_t seen, struct lineage *lin);
/* The link of a copy is here where it said earlier that it moved its own, and it has not heard what came of that. */
bool merge_is_where_told(struct merger *m, const struct rs_link *l);
struct rs_pos merge_their_pos(struct merger *m, const struct dentry *d, uint64_t seen);
/* The last group of ours that the secondary counts as knowing of an inode in its copy of a unit, but for its bytes;
 * 0: it is in none. */
uint64_t merge_copy_seen(struct merger *m, uint64_t ino);
/* The same of whatever copy the link is in, or was, and the secondary removed it from there. */
uint64_t merge_known_in_copy(struct merger *m, uint64_t link, const struct rs_pos *pos);
bool merge_in_copy(struct merger *m, uint64_t dir);
/* The secondary has, or had, a link of this id in the copy as well as the one of ours. */
bool merge_has_copy(struct merger *m, uint64_t link);
/* p_changed_content, but that a file was only sent again does not count. */
bool merge_changed_content(struct merger *m, uint64_t ino, uint64_t seen);
/* The last group of ours that the secondary had seen when it changed something: of a unit all is as it knew it when it
 * changed it first, though it may have taken more of ours since. */
uint64_t merge_unit_seen(const struct merger *m, uint64_t ino);
/* Where, in which view, the bytes that the secondary has of an inode are to be found if it does not send them. */
uint64_t merge_their_version(struct merger *m, uint64_t ino, struct view *view);
/* What it did landed in its copy: that is what it has, and the notes are good for longer. dir: in a copy. */
int merge_extend_copy(struct merger *m, uint64_t dir);
int merge_extend_copy_of(struct merger *m, uint64_t ino);
/* What the secondary calls by that id it has by that still: the alias, or note of a copy, is good until it has seen
 * this. Of the bytes there it knows no more by that. */
int merge_renew_note(struct merger *m, enum lineage_class c, uint64_t src);
/* 'u' or 'n': dst was made as the clone of `of`. */
int merge_note_copy(struct merger *m, char kind, uint64_t of, uint64_t dst);

static inline enum rs_prefer merge_prefers(const struct merger *m)
{
	return !m->prefer ? RS_PREFER_NONE : m->prefer->word.keep == ROLE_PRIMARY ? RS_PREFER_P : RS_PREFER_S;
}
/* With a word, or when one was taken: all links of it, on both sides, are below .twinfs. */
bool merge_dir_is_hidden(struct merger *m, uint64_t dir); /* .twinfs, or below it */
bool merge_is_hidden(struct merger *m, uint64_t ino);
/* The secondary's record is about something of ours that stays as it is here, by a person's word. */
bool merge_stays_ours(struct merger *m, uint64_t ino);
/* The three below: merge_prefer.c. Did the other side change the bytes? As rs_ops.content. */
enum rs_content merge_prefer_content(struct merger *m, uint64_t ino);
/* Before links land: what the resolver wants aside leaves the tree; after that it gets its place. */
int merge_begin_aside(struct merger *m, const struct rs_result *r);
int merge_put_aside(struct merger *m, const struct rs_result *r);
/* A record's bytes of a file that stays ours. */
int merge_keep_ours(struct merger *m, struct norm_inode *n);
/* Its version takes the place of ours. */
int merge_take_theirs(struct merger *m, struct norm_inode *n);
/* After all else: what we changed, and the secondary does not mention, is as the secondary has it. */
int merge_take_back(struct merger *m);

/* A new directory of ours with the attributes of `like`, under this name or, if that is taken, one like it. */
int merge_make_dir_like(struct merger *m, uint64_t like, uint64_t parent, const char *name, size_t len, uint64_t *ino);

/* ---- merge_unplaced.c: nothing that the secondary says of names is believed */
int merge_unplaced(struct merger *m);      /* what was gathered, before it is resolved */
int merge_note_unplaced(struct merger *m); /* when all has landed */

/* Of a name in a directory, for a map: never 0, and two may have the same. Notes in the store are made of it. */
uint64_t merge_name_key(uint64_t dir, const char *name, size_t len);

/* Which inodes have a link in which state; after the links were gathered or changed. */
void merge_presence(struct merger *m);

/* ---- merge_saves.c */
/* Finds files saved anew, decides about their bytes and attributes; for the resolver's input. Changes nothing. */
int merge_saves_find(struct merger *m, struct rs_input *in);
/* When names are settled and nothing has landed: what one side wrote to a backup goes into what the other saved. */
int merge_saves_follow(struct merger *m, const struct rs_result *r);
/*
 * Likewise: two files stay, as what both saved does not go together. To the resolver that is a name that both gave; a
 * person reads why, and gets what both had before, too. That the old one came back, as the one that wrote to it has it
 * still, goes without saying: such notes leave the result.
 */
int merge_saves_tell(struct merger *m, struct rs_result *r);
/* Of such a note about a name; NULL: it is no such. */
const struct norm_inode *merge_saves_told(const struct merger *m, const struct rs_note *note);
/* Attributes, and that the secondary gets what became of them; after bytes and links have landed. */
int merge_saves_land(struct merger *m);
void merge_saves_release(struct merger *m);
void merge_release(struct merger *m);
/* ---- merge_resolve.c */
int merge_resolve(struct merger *m, struct rs_result *r); /* what was gathered; nothing has landed */
/* Ahead, around what needs the volume in its answers alone. */
void merge_lock_off(struct merger *m);
void merge_lock_on(struct merger *m);
#ifdef MERGE_TEST
/* The simulation compares with what comes of an input in which all is that we changed. */
void merge_test_resolved(const struct merger *m, const struct rs_result *r);
/* Is all that has landed to be taken back, as if it had come to no valid tree? */
bool merge_test_refuses(const struct merger *m);
#endif
/* The two halves of merge_three_way. work_out: all is gathered and decided, nothing is changed but notes of what is two
 * again. -EAGAIN: there is `work` to be done first; the group is to be given up. Whatever they return, the caller
 * releases both. */
int merge_work_out(struct merger *m, struct rs_result *r);
int merge_carry_out(struct merger *m, struct rs_result *r);
int merge_three_way(struct volume *v, struct shipment *s, const struct merge_names *names, struct merge_work *work,
		    uint64_t now_ms, struct prefer *prefer);
bool merge_work_waits(const struct merge_work *work);
void merge_work_do(struct merge_work *work); /* without the lock */

/* ---- merge_units.c */

/* Of a unit that both changed everything is in memory, some hundred bytes for each name. A larger one is merged file by
 * file; a warning says so. */
#define UNIT_MAX_NAMES 500000u
/* No path has more names: PATH_MAX is 4096. */
#define PATH_DEPTH_MAX 4096u

/* merge_glance.c: is a directory of this name in that one called like a unit? */
bool units_is_name(const struct policy_units *u, const char *dir_path, const char *name, size_t len);
/* Does the shipment change something in a unit, ours or the secondary's? */
bool units_touched(struct volume *v, const struct shipment *s);
/* Of what, of a large one? Lets others in (landing_breathe). The same below, of families. */
struct split;
int units_list(struct volume *v, const struct split *split, struct map *inodes);
int units_gather(struct merger *m);
/*
 * What the secondary had seen, of a row that says `seen`. The row may be older than what it told us later; but what is
 * in this shipment it did when it had seen all that it told us then, and of what was before there is no history.
 */
uint64_t units_known_since(struct merger *m, uint64_t seen);
void units_fill_inode(struct merger *m, struct rs_inode *n);
/* Real ids instead of those that stand for clones, everywhere in the result. */
void units_name(struct merger *m, struct rs_result *r);
/* Make the clones; their places are added to list[*n...]. */
int units_make_clones(struct merger *m, const struct rs_result *r, struct placement *list, size_t *n);
/* Nothing that the secondary did to this inode is taken here. */
bool units_kept(const struct merger *m, uint64_t ino);
/* It gets ours instead of what it sent; _attrs: of all but the bytes. */
int units_send_back_attrs(struct merger *m, const struct norm_inode *n);
int units_send_back(struct merger *m, const struct norm_inode *n);
int units_as_theirs(struct merger *m, uint64_t ino);
void units_release(struct merger *m);

/* ---- merge_families.c */

/* How long is the name of the database that the file of this name is beside (NAME-wal …), or is? */
size_t families_stem(const char *name, size_t len);
/* Does the shipment change a file that may belong to a database here? */
bool families_touched(struct volume *v, const struct shipment *s);
int families_list(struct volume *v, const struct shipment *s, struct map *inodes);
int families_gather(struct merger *m);
/* The resolver's input: ours, or (true) arrays of its own with the families that both changed as directories. */
bool families_show(struct merger *m, struct rs_input *in);
int families_put_back(struct merger *m, struct rs_input *in, struct rs_result *r);
/* A name that the secondary gave or had knowing our groups up to `seen`: beside a database of which it has the copy it
 * is beside the copy. The src of the note that says so; 0: it is as it says. */
uint64_t families_their_name(struct merger *m, struct rs_pos *pos, uint64_t seen);
int families_load(struct merger *m);
/* The name is of a copy of a database: src of its note, and the last group of ours that counts as known in it (seen may
 * be NULL). 0: it is not. */
uint64_t families_copy_at(struct merger *m, uint64_t dir, const char *name, size_t len, uint64_t *seen);
/* After the clones were made: notes for the copies of databases. */
int families_note_copies(struct merger *m, const struct rs_result *r, const struct placement *clones, size_t n);

#endif
