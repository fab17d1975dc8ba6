/* SPDX-License-Identifier: MIT */
/*
 * merge_land: carrying out what the resolver decided, private to the three-way path (merge_state.h). In this order:
 * every inode that a name leads to is there (merge_inodes.c), names move (merge_links.c), bytes land, in copies too
 * (merge_bytes.c), then attributes (merge_attrs.c) and notes (merge_notes.c). What lands otherwise than the secondary
 * has it enters our change set, so that it gets it.
 *
 * The lock is held throughout. 0 or -errno; -EUCLEAN: the ids cannot mean what they were taken to mean. After an error
 * the caller takes the whole group back.
 */
#ifndef TWINFS_SYNC_MERGE_LAND_H
#define TWINFS_SYNC_MERGE_LAND_H

#include "sync/merge_state.h"
#include "util/acl.h"

/* Where names go, and the links to enter into our change set. */
struct plan {
	struct placement *list;
	size_t n;
	uint64_t *touch;
	size_t n_touch;
};
/* A conflict copy made just now: of `of`. */
struct made_copy {
	uint64_t of, ino, link;
};

int merge_land(struct merger *m, struct rs_result *r);

/* ---- merge_resolve.c */
int merge_decide(struct merger *m, struct norm_inode *n);    /* verdict of an opened case */
int merge_open_case(struct merger *m, struct norm_inode *n); /* and its verdict */

/* ---- merge_inodes.c */
/* Before links are placed, every child must be there. -ENOENT: not even history has it. */
int merge_ensure_inode(struct merger *m, uint64_t ino);
int merge_copy_xattrs(struct merger *m, uint64_t from, uint64_t to);
/* Whoever gets the mode of `from` gets its access ACL too. */
int merge_take_acl(struct volume *v, uint64_t from, struct view view, uint64_t to, enum origin origin);

/* ---- merge_links.c */
int merge_plan_link(struct merger *m, struct plan *p, const struct rs_link_out *out);
/* What the plan of a shipment in parts does to a directory was decided here, too. */
bool merge_ends_are_left(struct merger *m);
int merge_touch_link(struct merger *m, uint64_t link); /* enter it into our change set as it is here */
/* The secondary must be told of its own ids that it will not find here; and of files that it removed and that stay. */
int merge_touch_aliases(struct merger *m);
int merge_send_what_it_lacks(struct merger *m, const struct rs_result *r);
/* It is as the record says there, until it has seen group `until` of ours. */
int merge_remember_theirs(struct merger *m, const struct norm_link *rec, uint64_t until);
/* The link stays as the secondary has it, but its file was forgotten here: it sends both as if they were new. */
int merge_ask_for(struct merger *m, uint64_t link, uint64_t ino, const struct norm_link *rec);
/* As long as the alias: what holds its bytes holds them still, if nobody changed that. */
int merge_renew_base(struct merger *m, uint64_t src);

/* ---- merge_bytes.c */
/* What both had before, under .twinfs (kept_base). Before anything lands in the file. A base that cannot be read any
 * more is none. */
int merge_keep_base(struct merger *m, struct norm_inode *n);
/* Of what the record says, at the place that the resolver chose. record_copy when bytes have landed: what the secondary
 * goes on with is in it. */
int merge_make_copy(struct merger *m, struct norm_inode *n, const struct rs_copy *c, struct made_copy *made,
		    struct placement *place);
int merge_record_copy(struct merger *m, const struct norm_inode *n, const struct made_copy *c);
int merge_land_bytes(struct merger *m, struct norm_inode *n);
int merge_land_beside(struct merger *m, struct norm_inode *n); /* norm_inode.beside */
int merge_land_equal(struct merger *m, struct norm_inode *n);
/* Ours is the outcome, as the secondary's is the base; and that it is still, until it has seen this. */
bool merge_stays_as_it_was(const struct norm_inode *n);
int merge_resend_original(struct merger *m, struct norm_inode *n);
/* What the secondary has in src is, as of now, what dst holds here: its next changes go on top of that. */
int merge_note_base(struct merger *m, uint64_t src, uint64_t dst);
/* The secondary's access ACL of a file, as its mode is: the bytes, 0: it has none. From when it had set the mode on it
 * took no ACL of ours. */
ssize_t merge_their_acl(struct merger *m, const struct norm_inode *n, uint8_t acl[ACL_MAX_BYTES]);
int merge_copy_acl(struct merger *m, const struct norm_inode *n, uint64_t to);

/* ---- merge_attrs.c */
enum entity merge_entity_of(uint32_t field); /* of REC_MODE, REC_OWNER, REC_TIMES */
/* Under a word for the secondary: these of ours (REC_MODE, REC_OWNER) go. Before they do. */
int merge_tell_ours_undone(struct merger *m, const struct inode *ours, uint32_t fields);
int merge_land_attributes(struct merger *m, const struct rs_result *r);
/* Will the secondary get this inode whole? Then what it sent itself goes with it. */
bool merge_sent_whole(struct merger *m, uint64_t ino);
/* Mode and access ACL say the same, of one inode and of all that were landed on. */
int merge_let_acl_agree(struct merger *m, uint64_t ino);
int merge_let_acls_agree(struct merger *m);

/* ---- merge_notes.c */
/* rec: of a note about content, the record that it is about. */
int merge_put_note(struct merger *m, const struct rs_note *n, const struct norm_inode *rec,
		   const struct made_copy *copies, size_t n_copies);
/* All that the resolver says. */
int merge_put_notes(struct merger *m, const struct rs_result *r, const struct made_copy *copies);
/* A mode, and the access ACL that goes with it; len < 1: none. malloc'd. */
char *merge_mode_text(uint32_t mode, const uint8_t *acl, ssize_t len);
/* Under a word: the discarded side had changed a mode or an owner, which is undone; what each side had, in words (freed
 * here). NULL for the secondary if it is preferred: what we had is taken back before it has said what it has. */
int merge_note_undone(struct merger *m, uint64_t ino, uint32_t field, char *ours, char *theirs);
/* Likewise: what it had moved or removed. */
int merge_note_discarded(struct merger *m, const struct rs_result *r);

#endif
