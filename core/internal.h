/* SPDX-License-Identifier: MIT */
/* internal: what the files of core/ share. Nobody outside core/ includes this. */
#ifndef TWINFS_CORE_INTERNAL_H
#define TWINFS_CORE_INTERNAL_H

#include <pthread.h>

#include "core/changes.h"
#include "core/committer.h"
#include "core/damage.h"
#include "core/data.h"
#include "core/hold.h"
#include "core/log_thread.h"
#include "core/past.h"
#include "core/tree.h"
#include "core/volume.h"
#include "db/db.h"
#include "db/landing_rows.h"
#include "db/old_rows.h"
#include "util/acl.h"
#include "util/buf.h"
#include "util/map.h"

#include <stdatomic.h>

struct data_store; /* image + free map + per-group block lists; core/data_store.h */

/* How many group ids are kept below the baseline: enough to recognise a store that was put back from an old copy. */
#define GROUP_IDS_KEPT 1000

/* The cache of touched entities packs an inode number and three bits into 64. */
#define SLOT_MAX 4095u

struct volume {
	pthread_mutex_t lock;      /* protects everything below */
	pthread_mutex_t turn;      /* volume_lock_behind: before lock */
	atomic_uint waiting;       /* for lock, but not behind the others */
	struct hold hold;          /* of lock */
	char *dir;
	struct db *db;
	struct data_store *data;
	struct volume_options opt;
	struct volume_info info;   /* kept current: slot, role, committed, cut, acked, applied, group_open … */
	uint64_t next_id;          /* counter part; stored in meta at commit */
	bool group_wrote;          /* the open group changed something (a commit makes a group only then) */
	uint64_t group_new_bytes;  /* data written in the open group */
	unsigned group_marks;      /* how often group_mark was called in it */
	uint64_t group_rows_before; /* db_changes_in_all when the group was opened */
	bool peer_apply;           /* between volume_apply_begin and commit/abort */
	struct map refs;           /* ino -> kernel lookup count */
	struct move { uint64_t from, to, n; } *moves; /* of holders, since peer_apply began */
	size_t n_moves, cap_moves;
	struct map late_moves;     /* from -> to: as soon as that has a name */
	struct map would_move;     /* from -> to: if the peer takes the last name of `from` away */
	struct map settled;        /* ino -> tree_holders_settled */
	struct map settling;       /* the same, since peer_apply began */
	void (*still_fn)(void *ctx, bool still);
	void *still_ctx;
	bool still;                /* still_fn is owed a false; only the thread that applies looks at it */
	struct notice *notices;    /* collected while peer_apply */
	size_t n_notices, cap_notices;
	volume_notice_fn notice_fn;
	volume_told_fn told_fn;
	void *notice_ctx;
	void (*dirty_fn)(void *);
	void *dirty_ctx;
	/*
	 * Health. Only a WELL volume opens groups.
	 *
	 *   WELL --a commit, a flush or a statement failed; the files are gone--> FAILED --recover--> WELL
	 *   any  --the database is damaged--> DAMAGED, until it is opened again
	 *
	 * On the way to FAILED the open group is rolled back (note_loss), so a volume that is not WELL has none and is
	 * exactly the last durable group. recover() is tried once a second by whoever wants to change something, and by
	 * volume_recover: the files must be those that we opened, a flush of the image must go through, and so must a
	 * commit that says what was durable before.
	 */
	enum { HEALTH_WELL, HEALTH_FAILED, HEALTH_DAMAGED } health;
	char *fault;               /* for people; NULL: WELL */
	int fault_code;            /* -ENOSPC, -EROFS or -EIO: what programs get meanwhile */
	int loss_code;             /* the same of the last loss */
	uint64_t fault_tried_ms;
	uint64_t db_dev, db_ino;   /* of the file that was opened */
	struct map lost;           /* inodes in use with changes in a lost group -> errno that the next fsync returns */
	int lock_fd;
	struct timespec written;   /* when the database had been written before it was opened */
	bool unwritten;            /* nothing was since, and it is being closed */
	uint64_t changes_at_lock;  /* db_changes_in_all when the lock was taken */

	pthread_cond_t commit_done; /* a shared commit or a call of dirty_fn ended */
	bool committing;            /* somebody flushes data without the lock and will then commit the open group */
	bool group_is_peers; /* it was opened to apply the peer's changes: nothing of this side is in it */
	struct map group_inodes; /* local changes of the open group are in these; one more than the bound: in any */
	struct buf group_names;  /* made by local changes of the open group: parent, length (a byte), name */
	bool group_kept; /* the open group holds housekeeping that must be stored, but makes no group of its own */
	bool became_open;           /* dirty_fn is owed */
	bool group_told;            /* it was, or will be, of the open group */
	bool tidying;               /* the reaper is at work: what it opens is told to nobody */
	unsigned telling;           /* threads in dirty_fn */
	uint64_t group_opened_ms;   /* wall clock */
	uint64_t saved_acked, saved_applied; /* as when the group was opened, for a rollback */
	enum { ENTER_NOT, ENTER_BEGUN, ENTER_DONE } entering; /* core/pairing.c */
	struct map leftovers;       /* ino -> struct leftover *; table leftover. Nearly always empty */
	struct map ranges_gone;     /* inodes that are no more but have rows in change_extent; `ranges_gone` in meta */
	bool doomed;                /* orphans of the last run wait for being purged */
	uint64_t doomed_at;         /* rows of table orphan up to this one are in `orphans`, or gone */
	bool rows_left;             /* there may be forgotten rows of the change set */
	bool history_left;          /* of history: some that died up to info.acked was not looked at */
	struct old_pos history_at[OLD_TABLES]; /* what died before was, and dropped but for what a pin holds */
	pthread_t reaper;           /* core/leftover.c */
	bool reaper_made, reaper_idle, reaper_stop;
	struct committer committer;
	struct log_thread log_thread;
	struct damage damage;
	struct map orphans;         /* inodes without a link that are still referenced; table orphan. While there are
				       doomed ones, not all: volume_is_orphan */
	struct map orphans_new;     /* those of them that have no row yet: orphans_store */
	struct map touched;         /* ino << 3 | entity: has a change row of the open group already; a bounded cache */
	struct map noticed; /* peer_apply: inodes that need no (other) notice: made in this group, or listed already */
	bool landing;               /* a plan holds: core/landing.h */
	struct landing_pos landing_pos;
	unsigned carry_depth;       /* one inode is carried out because of another */
	uint64_t carry_whole;       /* this one is wanted itself, and is not set aside: core/landing.c */
	struct map carry_reap;      /* inodes that lost a link meanwhile */
	struct map carry_drops;     /* links that go when what is in their directories has gone */
	struct { /* what is changed here while a plan is written */
		bool on;
		bool looking; /* whoever wrote it has the lock */
		int rc; /* of letting others in: it is to be given up */
		unsigned looks;
		uint64_t next_id; /* id_peek when it began */
		struct map inodes, links; /* links: -> child */
		bool marked;
		uint64_t losses; /* of groups, when it was */
		struct map inodes_since, links_since; /* landing_mark; inodes: -> 1 << enum entity, or all */
	} watch;
	struct frozen *frozen;      /* whose rows are being read: core/frozen.h; or NULL */
	uint64_t kept_bytes, kept_counted; /* volume_kept_bytes, and the group as of which it is right; 0: of none */
	unsigned conflicts_put;     /* rows since conflicts_tidy */
	uint64_t room_checked_ms;   /* when the host's free space was looked at; 0 never */
	bool room_short;
	_Atomic uint64_t commit_since_ms; /* the database is committing, under the lock; 0: it is not */

	struct pin { /* groups whose view someone reads: core/past.h; ascending by group */
		uint64_t group;
		unsigned users;
	} pins[PAST_GROUPS_MAX];
	size_t n_pins;
};

/* Is an old version (born, origin) still needed when superseded now? The one place that decides retention. */
bool history_wanted(const struct volume *v, uint64_t born, enum origin origin);
/* Whoever changes anything in the open group says so (sets group_wrote). */
void group_mark(struct volume *v);
/* The same for housekeeping (acks, settings, notes): it is stored with the next commit but makes no group, so that
 * two idle sides do not answer each other's acks with new groups for ever. */
void group_keep(struct volume *v);
/* Rows that the open group has changed. */
uint64_t group_rows(struct volume *v);
/* Commit the open group, if any. Lock held; flushes data under it. -EIO and a fault if it fails. */
int group_commit_locked(struct volume *v);
/* Roll the open group back and take no changes until the host is well again (struct volume, health). code: what failed;
 * why: for people. Returns what programs get: -ENOSPC, -EROFS or -EIO. */
int group_fault(struct volume *v, int code, const char *why);
/* A local change of the open group is in ino. */
void group_touch(struct volume *v, uint64_t ino);
/* It makes this name. */
void group_name(struct volume *v, uint64_t parent, const char *name, size_t name_len);
/* volume_lock_now, of who does long work in steps that could as well come later: after those who wait for the lock, for
 * some milliseconds, and one of them at a time. */
void volume_lock_behind(struct volume *v);
/* volume_unlock, then a commit if the group is full: now, or soon by the committer (core/committer.h). Local calls that
 * change something end with it. */
void volume_leave(struct volume *v);
/* Lock held: has the open group grown beyond so many times opt.group_max_bytes or many rows, or beyond what room is
 * held for on a disk that is full? */
bool group_is_full(struct volume *v, unsigned times);
/* -ENOSPC when the host is nearly out of space (the reserve is for commits and for the peer's changes). 0 while
 * peer_apply. */
int volume_room(struct volume *v);
bool volume_is_orphan(struct volume *v, uint64_t ino);
/* holders.c; lock held. The moves hold and are told, or are undone. */
void holders_end(struct volume *v, bool done);
void holders_stay(struct volume *v, uint64_t ino); /* this side took a name of it away */
void holders_go_on(struct volume *v); /* without the lock: ends volume_hold_still */
struct notice *notice_add(struct volume *v);
/* After opening: what was entered for a pair that never came to be is forgotten. Lock held. */
int pair_open(struct volume *v);
/* A number into table meta. */
int meta_put_number(struct volume *v, const char *key, uint64_t value);
/* Are changes recorded? Of a pair, and of a volume that is becoming half of one. */
bool changes_recorded(const struct volume *v);

/* landing.c: a group in which nothing is done that anybody has to be told of. */
int landing_open_quietly(struct volume *v);
/* landing_write.c: a local change of this is made. */
void landing_note_inode(struct volume *v, uint64_t ino, uint32_t what); /* 1 << enum entity; or more */
void landing_note_link(struct volume *v, uint64_t link, uint64_t child);

/* tree.c and names.c, for local calls. */
/* As tree_inode_put, of an inode known to be new. */
int tree_inode_insert(struct volume *v, const struct inode *in);
/* A new inode and its name: an id that was never used, in a directory that has no such name. What comes between the two
 * calls must not fail but with the database: the inode counts its link from the beginning. */
int tree_inode_insert_linked(struct volume *v, const struct inode *in);
int tree_link_first(struct volume *v, uint64_t link, uint64_t parent, const char *name, uint64_t child, bool dir);
/* As tree_link_put, of an id that was never used and a name known to be free, for a file that has others. */
int tree_link_more(struct volume *v, uint64_t link, uint64_t parent, const char *name, uint64_t child, int64_t now_ns);
/* As tree_link_drop, of a row just read that is not detached; ctime follows if anybody can still see it. */
int tree_link_drop_row(struct volume *v, const struct dentry *d, int64_t now_ns);
/* Orphans of the open group get their rows when it is committed: most are gone by then. */
int orphans_store(struct volume *v);
int tree_touch_dir(struct volume *v, uint64_t dir,
		   int64_t now_ns); /* mtime and ctime of a directory, recorded as a local change */
int tree_set_ctime(struct volume *v, uint64_t ino, int64_t now_ns); /* in place, not recorded */
void attr_fill(struct volume *v, const struct inode *in, struct attr *out);
int attr_get(struct volume *v, uint64_t ino, struct attr *out); /* lock held */
/* One more link of ino, recorded, to a name that is free; ctime follows. Lock held, group open. */
int names_add(struct volume *v, uint64_t parent, const char *name, uint64_t ino, int64_t now_ns);
/* Something waits for a person about this inode, which a change of it may settle, and with it other files: so they are
 * to be as they shall be. True: the lock was given up until then, look again. */
bool names_wait(struct volume *v, uint64_t ino);
int names_unlink(struct volume *v,
		 const struct dentry *d); /* lock held, group open: a checked, recorded removal of a link */
int names_replace(struct volume *v, const struct dentry *from,
		  const struct dentry *over);  /* rename `from` to the place of `over` */
/* conflict_units.c; lock held, group open. */
int conflict_empty_dir(struct volume *v, uint64_t dir); /* all that is in it goes */
bool conflict_is_about_unit(struct volume *v, const struct conflict *c);
/* The files beside the database `from` go beside the database `to`, and those beside `to` go; from NULL: those alone.
 * Does nothing with other files. */
int conflict_move_beside(struct volume *v, const struct dentry *from, const struct dentry *to);
int names_move(struct volume *v, const struct dentry *d, uint64_t parent, const char *name,
	       size_t name_len);               /* to a name that is free */
char *path_of(struct volume *v, uint64_t ino); /* volume_path, lock held */
/* ACLs (xattr.c); lock held, group open. chmod: the access ACL, if there is one, follows the mode of `in`. */
int xattr_acl_chmod(struct volume *v, const struct inode *in);
/* What `in`, which is about to be made in the directory, inherits: acl gets the access ACL to be stored (*len_bytes 0:
 * none), in->mode what the default ACL or, without one, the umask leaves of it. */
int xattr_acl_inherit(struct volume *v, const struct inode *dir, struct inode *in, uint32_t umask,
		      uint8_t acl[ACL_MAX_BYTES], size_t *len_bytes);
/* Then, when it is made. */
int xattr_acl_give(struct volume *v, const struct inode *dir, const struct inode *in, const uint8_t *acl,
		   size_t len_bytes);
/* By hand: the last name of ino, `was`, is no more; a key of it is no more. conflict_lost: core/changes.h. */
int conflict_key_gone(struct volume *v, uint64_t ino, const char *key);
/* After so many rows the history of settled ones is cut to what is kept of it. Lock held, group open. */
#define CONFLICTS_TIDY_EVERY 1000u
int conflicts_tidy(struct volume *v);
/* Some more of what changes_purge left over; clears rows_left at the end. Lock held, group open. */
int changes_drop_forgotten(struct volume *v, size_t max_rows);
void changes_forget_inode_cache(struct volume *v, uint64_t ino);
void notice_inode(struct volume *v, uint64_t ino); /* no-ops unless peer_apply */
void notice_entry(struct volume *v, uint64_t parent, const char *name, size_t name_len);
void notice_everything(struct volume *v);
void notice_delete(struct volume *v, uint64_t parent, uint64_t child, const char *name, size_t name_len);

/* Called by volume.c on the data store (core/data_store.c); lock held except where said. */
int data_store_format(const char *dir, struct err *err);
int data_store_open(struct volume *v,
		    struct err *err); /* opens the image, rebuilds the free map from extent + old_extent */
void data_store_close(struct volume *v);
int data_store_sync(struct volume *v); /* fdatasync of the image if anything was written since; may be called WITHOUT
					  the lock as well */
void data_store_committed(struct volume *v);    /* the group is durable: blocks it freed may be reused */
void data_store_rolled_back(struct volume *v);  /* the group is undone: its new blocks are free, its frees are void */
/* Another limit (0: none): 0; -ENOSPC: more is in use, *least_bytes; -ERANGE: the device has only *least_bytes. */
int data_store_limit(struct volume *v, uint64_t size_bytes, uint64_t *least_bytes);
int data_reap(struct volume *v, uint64_t ino);  /* all extents of ino to history or free */
int data_revive(struct volume *v, uint64_t ino, struct view view);
void data_old_gone(struct volume *v, uint64_t phys, uint64_t len); /* blocks of a row of old_extent that was deleted */
/* What died in groups up to this is of no use: the peer has acknowledged it, or there is none. */
uint64_t history_needless(const struct volume *v);
/* Look at max_rows more of that, and free what no pin holds. Lock held, group open. Clears history_left at the end. */
int history_trim(struct volume *v, size_t max_rows);
/* From the beginning: something that was passed by may be free now. */
void history_again(struct volume *v);
struct data_usage {
	uint64_t used_bytes, history_bytes;
	uint64_t free_bytes;       /* what could be had in all */
	uint64_t avail_bytes;      /* of that, without what is kept for the peer and for commits */
	bool host_is_less;         /* the host's disk sets the limit */
};
void data_usage(struct volume *v, struct data_usage *out);
uint64_t data_blocks_512(struct volume *v, uint64_t ino); /* for stat; cheap */

#endif
