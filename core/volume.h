/* SPDX-License-Identifier: MIT */
/*
 * volume: one store, open. Inodes, names and data of one side, its groups, its history and its change set.
 *
 * What it is
 *   The store directory holds `image` (block data, copy-on-write, 4 KiB blocks) and `twinfs.db` (SQLite; the only
 *   truth). A *group* is one atomic local commit: the open group is an open SQLite transaction; volume_commit()
 *   makes it durable (fdatasync of the image first, then COMMIT with synchronous=FULL; a small group's bytes are in the
 *   COMMIT instead, core/logged.h). A crash leaves exactly the last committed group.
 *
 * Threads and locks
 *   Every volume_* function may be called from any thread; each takes the volume's one mutex itself. Functions of
 *   core/tree.h, core/data.h, core/changes.h want that mutex held (volume_lock) and an open group where they write.
 *   Order: while the volume's mutex is held nothing else is locked but the front's table of nodes and the notifier's
 *   queue, one after the other, by the one callback below that is called under it.
 *
 * Errors
 *   0 (or a count) or a negative errno, as the system call it serves would give. -EIO for a checksum mismatch (logged
 *   with file and offset).
 *
 * When the host fails
 *   A read that fails is -EIO to its caller and nothing else. A commit that fails (the disk is full, read-only, broken,
 *   gone) rolls the open group back: the volume is what the last durable group left, shows that, and refuses changes
 *   with -ENOSPC, -EROFS or -EIO. What was lost is what no commit had made durable. Whoever had changed something in it
 *   is told: by the commit, or by volume_lost at the next fsync of the file; the kernel by NOTICE_EVERYTHING. Groups
 *   that were not durable were never sent, so the peer has nothing to forget. As soon as the host takes a commit
 *   again, so does the volume: it tries once a second when somebody wants to change something, and in volume_recover.
 *   Only a damaged database, or files that are no longer those that were opened, want unmounting and mounting again.
 *
 * Identities
 *   Inode numbers and link ids are 64 bits, SLOT << 48 | counter; each node of a pair has its own slot, so both
 *   create without asking. Never reused. INO_ROOT and INO_HIDDEN exist in every volume. INO_HIDDEN is the directory
 *   ".twinfs": found by volume_lookup(INO_ROOT, ".twinfs"), never listed; it keeps versions set aside by merges. People
 *   may read and delete there, not create (-EPERM). It has no dentry (its parent is the root by definition).
 */
#ifndef TWINFS_CORE_VOLUME_H
#define TWINFS_CORE_VOLUME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <time.h>

#include "db/rows.h"
#include "util/err.h"

#define INO_ROOT UINT64_C(1)
#define INO_HIDDEN UINT64_C(2)
#define HIDDEN_NAME ".twinfs"
#define ID_SLOT_SHIFT 48
#define ID_SLOT(id) ((unsigned)((id) >> ID_SLOT_SHIFT))

#define BLOCK_BYTES 4096u
#define BLOCK_SHIFT 12
/* NAME_MAX_BYTES and SYMLINK_MAX_BYTES: db/rows.h */
#define XATTR_NAME_MAX_BYTES 255u
#define XATTR_VALUE_MAX_BYTES 65536u
/* 8 EiB - 4 KiB would be the type's; 2^53 keeps all arithmetic of blocks and bytes far from overflow. */
#define FILE_MAX_BYTES (UINT64_C(1) << 53)

struct volume;

/* ---- open and close ------------------------------------------------------------------------------------------- */

struct volume_options {
	bool fast_unsafe;     /* tests only: no fsync anywhere (synchronous=OFF) */
	uint64_t group_max_bytes; /* close the group after so many new bytes; 0 = 64 MiB */
	bool commit_aside;    /* a full group is committed by a thread of the volume's own while others fill it, and
	                         the database's log moved by another */
	unsigned at_once_rows; /* tests only: how many rows are changed in one go; 0 = what is good */
	unsigned log_pages;   /* tests only: move the database's log when it is longer; 0 = what is good */
	bool drop_by_hand;    /* tests only: what is left over is dropped by leftover_step alone */
	/* Tests only: called, without the lock, wherever long work lets others in (tree.h, volume_pause). */
	int (*pause)(void *ctx);
	void *pause_ctx;
};

/* Make the files of an empty store in the existing empty directory `dir` (image, twinfs.db), durably: whatever ends
 * the process or the machine meanwhile leaves the whole store or an unfinished one, and so does a failure (but -EEXIST,
 * when something is in the way: that leaves what was there). volume_id: 36 characters uuid. node_name 1..32 of
 * [A-Za-z0-9._-]. size_bytes 0 = no limit but the host's. slot 1 for init, the peer's word for join. */
int volume_format(const char *dir, const char *volume_id, const char *node_name, unsigned slot, uint64_t size_bytes,
                  struct err *err);
/* The beginning of volume_format, for who puts files of its own beside the store's before that: from here on, until
 * volume_format has returned, the directory is volume_unfinished. Removes what an earlier attempt left of a volume. */
int volume_format_begin(const char *dir, struct err *err);
/* Does `dir` hold what a making that was cut short has left, and no store? volume_format then begins anew. */
bool volume_unfinished(const char *dir);
/* Take a store away that was just made, or what is left of one. begin: from here on there is no store, and the
 * directory is volume_unfinished until volume_unmake has removed all that is a volume's. */
int volume_unmake_begin(const char *dir);
void volume_unmake(const char *dir);

/* Open; takes an exclusive lock on the store (-EBUSY: "STORE is already mounted or in use by pid N"). Refuses what is
 * not a twinfs store (-EINVAL), is newer than this program (-EPROTONOSUPPORT) or damaged (-EUCLEAN). Purges orphans of
 * the last run. */
int volume_open(const char *dir, const struct volume_options *opt, struct volume **out, struct err *err);
/* Who took the store's lock last, as it said itself; 0: nobody did. */
pid_t volume_user(const char *dir);

/* Commits the open group and closes. Always frees; returns the commit's result. */
int volume_close(struct volume *v);

/* Tests only: as kill -9: the open group is rolled back, nothing more is written. */
void volume_crash(struct volume *v);

/* ---- what the volume is ---------------------------------------------------------------------------------------- */

enum role { ROLE_NONE = 0, ROLE_PRIMARY = 1, ROLE_SECONDARY = 2 };

struct volume_info {
	char volume_id[37], node_name[33];
	char node_id[33];                  /* 16 random bytes as hex, made by volume_format */
	unsigned slot;
	enum role role;
	uint64_t generation;
	uint64_t committed;                /* last durable group; 0 before the first */
	uint64_t group_open;               /* number of the open group, 0 if none is open */
	uint64_t cut;                      /* groups up to here may have left this machine */
	uint64_t acked; /* the peer has applied our groups up to here (in-stream acks): the baseline */
	uint64_t applied;                  /* we have applied the peer's groups up to here */
	uint64_t pending_entries, pending_bytes,
		pending_oldest_ms;         /* unacknowledged change set; wall-clock ms of oldest, 0 = none. Too high
	                                      for moments after a large acknowledgement, never when it is 0 */
	uint64_t history_bytes;            /* image bytes held only for the baseline */
	uint64_t used_bytes, size_bytes;
	uint64_t conflicts_open, conflicts_merged;
	uint64_t conflicts_noted;          /* grows with each that is noted or settled; from 0 at the opening */
	bool read_only;                    /* the host failed; volume_fault() tells why */
	uint64_t losses, loss_last_ms;     /* groups of this side that could not be made durable, since the volume was
	                                      opened; wall-clock ms of the last, 0 = none */
	uint64_t commits_lost;             /* at least, when it was opened: its log was damaged (db/log_scan.h) */
};
void volume_info(struct volume *v, struct volume_info *out);
/* Of used_bytes: what merges and discarded sides keep under .twinfs, about; counted up to some 100,000 names. */
uint64_t volume_kept_bytes(struct volume *v);
const char *volume_dir(struct volume *v);

/* Small settings kept in the store (peer's address and pin, listen address, pause state …). Value text < 64 KiB.
 * get: malloc'd or NULL if unset. set(NULL) removes. Durable at the next commit; set_now commits. */
char *volume_setting_get(struct volume *v, const char *key);
int volume_setting_set(struct volume *v, const char *key, const char *value);
int volume_setting_set_now(struct volume *v, const char *key, const char *value);

/*
 * Become half of a pair: records role, generation and slot of the peer; from now on changes are recorded. Everything
 * that exists is entered into the change set (the first shipment is the whole tree). -EEXIST if paired already.
 * Commits. What it is told about the peer is kept as the settings peer_slot, peer_node_id and peer_name.
 *
 * To enter a million files takes seconds. volume_pair_prepare does that bit by bit, in groups of its own, while others
 * go on; what they change meanwhile is recorded too. Only volume_pair makes the volume one of a pair: it ends the open
 * group, and with it what the caller has set in it. After a crash before that the volume has no peer, and what was
 * entered is dropped bit by bit (core/leftover.h). Who does not prepare, waits in volume_pair. -EBUSY: another thread
 * prepares.
 */
int volume_pair_prepare(struct volume *v, struct err *err);
int volume_pair(struct volume *v, enum role role, uint64_t generation, unsigned peer_slot, const char *peer_node_id,
                const char *peer_name, struct err *err);

/*
 * Back to a volume without a peer, in one group; these settings of the caller's go in it, too. The tree and its
 * conflicts stay as they are. What is pending for the peer, what is known of it, and history go: bit by bit, afterwards
 * (core/leftover.h). Another pair can begin at once. -ENOENT: there is no peer; -EBUSY: somebody reads the baseline.
 */
int volume_unpair(struct volume *v, const char *const *settings, size_t n, struct err *err);
/* Was it half of a pair before? Then ids of others are in its tree, and the next peer needs a slot that none of them
 * had. */
bool volume_had_peer(struct volume *v);
unsigned volume_slot_free(struct volume *v);

/*
 * The other role, in one group (docs/protocol.md); nothing of the peer may be on its way. The secondary becomes
 * primary, or the primary secondary: then everything that is not acknowledged is to be sent (again), though the peer
 * has applied our groups up to `seen`. A word about whose state shall count (resume --prefer) is void.
 */
int volume_become(struct volume *v, enum role role, uint64_t generation, uint64_t seen, struct err *err);
/* A secondary that was the primary: has the other not acknowledged yet what it was sent once more? */
bool volume_rejoins(struct volume *v);
/* A primary that was the secondary hears for the first time what the other has of it: that is not to be judged again,
 * as it was by the other. Does nothing else. */
int volume_met(struct volume *v, uint64_t seen);

/* ---- callbacks; called from the thread that caused them, without the volume's lock but where said ---------------- */

/* What the kernel may have cached wrongly after the peer's changes landed. Entry: parent + name; inode: attributes and
 * data; everything: whatever it knows. Moved: whoever had ino in hand has `to` from now on, lookup counts and all
 * (tree_holders_move). */
struct notice {
	enum { NOTICE_ENTRY, NOTICE_INODE, NOTICE_DELETE, NOTICE_MOVED, NOTICE_EVERYTHING } kind;
	uint64_t parent, ino; /* ENTRY: parent,name. INODE: ino. DELETE: parent, ino (child), name */
	uint64_t to;          /* MOVED */
	char name[NAME_MAX_BYTES + 1];
	unsigned name_len_bytes;
};
/* The one callback under the lock, so that nobody reads the new state before its notices are queued: it queues them and
 * does nothing else. */
typedef void (*volume_notice_fn)(void *ctx, const struct notice *list, size_t n);
/* Without the lock, after the notices of an apply: may wait (bounded) until the kernel has been told, so that what is
 * acknowledged to the peer can also be seen here. */
typedef void (*volume_told_fn)(void *ctx);
void volume_set_notice(struct volume *v, volume_notice_fn fn, volume_told_fn told, void *ctx);
/* Without the lock, around an apply that may move holders. true: no call that a holder makes is on its way when this
 * returns, and none begins until false. So none is meant for the inode that it had and reaches the one it has then. */
void volume_set_still(struct volume *v, void (*fn)(void *ctx, bool still), void *ctx);
/* Called once when a group becomes open (something is dirty that was not), also from a thread of the volume's own. What
 * was set before is called no more when this returns; so no lock that it takes may be held. */
void volume_set_dirty(struct volume *v, void (*fn)(void *ctx), void *ctx);

/* ---- what the filesystem needs ----------------------------------------------------------------------------------- */

struct attr {
	uint64_t ino, size_bytes, blocks_512;
	uint32_t mode, nlink, uid, gid, rdev;
	struct timespec atime, mtime, ctime;
};

struct cred {
	uint32_t uid, gid; /* owner of what is created; a setgid directory's gid is inherited by the volume itself */
	uint32_t umask;    /* taken off the mode, unless the directory has a default ACL: then that says what is left */
};

/* Lookup counts keep an unlinked inode alive (its data goes when the count falls to 0 and no link is left).
 * Each of lookup/create/link that returns 0 and each entry of readdirplus the caller hands out wants volume_ref. */
void volume_ref(struct volume *v, uint64_t ino);
void volume_unref(struct volume *v, uint64_t ino, uint64_t n);

/* name: NUL-terminated, any bytes but '/' and NUL, 1..255 bytes (-ENAMETOOLONG), "." and ".." work for lookup (".." of
 * root is root). */
int volume_lookup(struct volume *v, uint64_t parent, const char *name, struct attr *out);
int volume_getattr(struct volume *v, uint64_t ino, struct attr *out);

enum { /* volume_setattr `set` */
       SET_MODE = 1,
       SET_UID = 2,
       SET_GID = 4,
       SET_SIZE = 8,
       SET_ATIME = 16,
       SET_MTIME = 32,
       SET_CTIME = 64,
       SET_ATIME_NOW = 128,
       SET_MTIME_NOW = 256,
       SET_KILL_SUIDGID =
	       512, /* with SIZE/UID/GID: clear suid, and sgid if group-executable, and security.capability */
       SET_KILL_SGID = 1024, /* with it: sgid in any case, as the caller is not in the group */
};
int volume_setattr(struct volume *v, uint64_t ino, unsigned set, const struct attr *in, struct attr *out);

/* mode carries the type: S_IFREG, S_IFDIR, S_IFLNK (target given), S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK. -EEXIST,
 * -ENOENT, -ENOTDIR, -ENOSPC … */
int volume_create(struct volume *v, uint64_t parent, const char *name, uint32_t mode, uint32_t rdev, const char *target,
                  const struct cred *cred, struct attr *out);
int volume_link(struct volume *v, uint64_t ino, uint64_t parent, const char *name, struct attr *out);
int volume_unlink(struct volume *v, uint64_t parent, const char *name);
int volume_rmdir(struct volume *v, uint64_t parent, const char *name);
/* flags: 0, RENAME_NOREPLACE, RENAME_EXCHANGE. Others are -EINVAL: with whiteouts an overlay could have its upper layer
 * here, and if the lower one is here as well, it loses its files when the kernel drops its caches. POSIX rules; -EINVAL
 * for a loop. Keeps link ids. */
int volume_rename(struct volume *v, uint64_t parent, const char *name, uint64_t newparent, const char *newname,
                  unsigned flags);
/* Bytes of the target into buf (not NUL-terminated), or -EINVAL. buf: SYMLINK_MAX_BYTES. */
ssize_t volume_readlink(struct volume *v, uint64_t ino, char *buf, size_t cap_bytes);

/* Entries of dir with cookie > after (0 = from the start: "." and ".." come first with cookies 1 and 2), in a stable
 * order, until fn returns false. fn is called without the lock (the volume copies a batch first). attr is filled
 * always. */
typedef bool (*volume_dirent_fn)(void *ctx, const char *name, size_t name_len_bytes, uint64_t cookie,
				 const struct attr *attr);
int volume_readdir(struct volume *v, uint64_t dir, uint64_t after, volume_dirent_fn fn, void *ctx);

/* Short only at end of file. The checksum of every block is verified; mismatch: -EIO, if nobody heals it within two
 * seconds (core/damage.h). Image I/O happens outside the lock. */
ssize_t volume_read(struct volume *v, uint64_t ino, void *buf, size_t len_bytes, uint64_t off);
enum { WRITE_APPEND = 1, WRITE_KILL_SUIDGID = 2, WRITE_KILL_SGID = 4 }; /* as SET_KILL_… */
/* All or nothing: len_bytes or an error (-ENOSPC, -EFBIG …). With WRITE_APPEND off is ignored and *at gets where it
 * went (may be NULL). */
ssize_t volume_write(struct volume *v, uint64_t ino, const void *buf, size_t len_bytes, uint64_t off, unsigned flags,
                     uint64_t *at);
/* Copy bytes of one file to another place, in it (no overlap) or another one: holes stay holes. Bytes copied, fewer
 * than asked for at the end of `from`, after VOLUME_COPY_MAX_BYTES that are no hole (whoever serves others is back
 * soon), or when it cannot go on: only if nothing was copied that is an error. Not atomic: others may write
 * meanwhile. */
#define VOLUME_COPY_MAX_BYTES (UINT64_C(32) << 20)
ssize_t volume_copy(struct volume *v, uint64_t from, uint64_t off_from, uint64_t to, uint64_t off_to,
                    uint64_t len_bytes);
/* mode as fallocate(2): 0, KEEP_SIZE, PUNCH_HOLE|KEEP_SIZE, ZERO_RANGE[|KEEP_SIZE]; others -EOPNOTSUPP. All but
 * PUNCH_HOLE set room aside for what is a hole then; core/aside.h says what that is good for. -ENOSPC: there is not so
 * much; the file is as it was, but that some of its holes may have room. */
int volume_fallocate(struct volume *v, uint64_t ino, int mode, uint64_t off, uint64_t len_bytes);
/* whence SEEK_DATA or SEEK_HOLE: the offset or -ENXIO. */
int64_t volume_seek(struct volume *v, uint64_t ino, uint64_t off, int whence);

/*
 * Bytes of the value (cap 0: the size only), -ENODATA, -ERANGE. setxattr's flags are XATTR_CREATE, XATTR_REPLACE and
 * the one below. The two keys of ACLs (util/acl.h) are the only ones of system.* (else -EOPNOTSUPP): an access ACL
 * changes the mode as the mode changes it, a default ACL is a directory's (-EACCES) and goes to what is made in it. To
 * remove an ACL that is not there is no error.
 */
enum { SETXATTR_KILL_SGID = 0x100 }; /* with an access ACL: clear sgid too */
ssize_t volume_getxattr(struct volume *v, uint64_t ino, const char *key, void *buf, size_t cap_bytes);
int volume_setxattr(struct volume *v, uint64_t ino, const char *key, const void *value, size_t len_bytes, int flags);
int volume_removexattr(struct volume *v, uint64_t ino, const char *key);
ssize_t volume_listxattr(struct volume *v, uint64_t ino, char *buf, size_t cap_bytes);
int volume_statfs(struct volume *v, struct statvfs *out);

/* Make all that was done before this call durable: closes and commits the open group if there is one. Data is flushed
 * before the lock is taken, so that little is left under it. Several callers share one commit. */
int volume_commit(struct volume *v);

/* Why the volume takes no changes, malloc'd text, or NULL. *code (may be NULL): -ENOSPC, -EROFS, -EIO, or -EUCLEAN when
 * only opening it again can help. */
char *volume_fault(struct volume *v, int *code);
/* A page of the database that was not what was written when it was read since the store was opened (the last one); 0:
 * none. What is on it cannot be had; the rest goes on. */
uint32_t volume_damaged_page(struct volume *v);
/* See whether the store's files are still there, and whether a volume that failed takes changes again: 0, or what they
 * fail with. For calling now and then; also from any thread. */
int volume_recover(struct volume *v);
/* What an fsync of ino must return though the commit went through: -errno once when changes of it were lost since the
 * last one, else 0. */
int volume_lost(struct volume *v, uint64_t ino);
/* How long the host's disk has been waited for by now (0: it is not). Takes no lock. */
uint64_t volume_stalled_ms(struct volume *v);

/* ---- space ------------------------------------------------------------------------------------------------------- */

/* The least that a store may be limited to: below it the reserve and a few files do not fit. */
#define VOLUME_MIN_BYTES (UINT64_C(1) << 20)

/* Another limit of what the store holds, in bytes; 0: none but the host's (or the device's). It holds from now on and
 * is durable when this returns 0. -ENOSPC: more is in use; -ERANGE: a device has no more; -EINVAL: too small; all
 * with the figures in the text. The limit counts blocks that are in use, wherever in the image they are: so nothing
 * has to be moved. */
int volume_resize(struct volume *v, uint64_t size_bytes, struct err *err);
/* Give blocks that have been free for a while back to the host, for about budget_ms. True: there are more. For calling
 * now and then, without haste; each step takes the lock for moments. */
bool volume_tidy(struct volume *v, unsigned budget_ms);

/* Drop now what waits for being dropped (core/leftover.h), so that its space is free; in many steps, none of which
 * holds the lock for long. True: there was something. */
bool volume_settle(struct volume *v);

struct volume_space {
	uint64_t used_bytes, history_bytes;
	uint64_t total_bytes;      /* the limit, or what is used and what the host would give */
	uint64_t free_bytes, avail_bytes; /* avail: without what is kept for commits and the peer's changes */
	uint64_t size_bytes;       /* the limit; 0: none */
	bool host_is_less;         /* the host's disk would be full before the limit is reached */
	bool full;                 /* writes are refused, or about to be */
};
void volume_space(struct volume *v, struct volume_space *out);

/* Path of an inode's lowest link ("/a/b"), for messages; malloc'd; NULL if it has none. */
char *volume_path(struct volume *v, uint64_t ino);
/* The directory which that link is in; 0: it has none. */
uint64_t volume_parent(struct volume *v, uint64_t ino);

/* ---- conflicts: rows that both sides have ------------------------------------------------------------------------ */

/*
 * struct conflict: db/rows.h. A conflict has up to three files: base, what both sides had before (under .twinfs, if it
 * was kept), and a version of each side. Of a file kept in both versions one is in place and the other beside it. A
 * merged one is itself in place, and both versions are under .twinfs; what is there is read-only by its mode,
 * replicates as all files do, and goes when the conflict is settled. A version is bytes: mode, owner and xattrs are
 * merged by themselves, and go with whichever is put in place.
 *
 * Settling is an ordinary change and replicates. So is settling by hand: when a version is removed, or the copy renamed
 * over the original, the conflict is settled (conflict_lost in core/changes.h); one that is renamed is followed.
 * Versions that people chose or kept count as changed: where the other side chose otherwise, apart, both come out.
 *
 * `which` names a conflict: by its path of then or of now, by that of one of its files, or by its id in decimals.
 * -ENOENT: there is none. What the kernel must forget it is told.
 */
void conflict_release(struct conflict *c);
bool conflict_is_about(const struct conflict *c, const char *which);
bool conflict_waits(const struct conflict *c); /* for a person: kept in both versions, and not settled */
/* Index of this side's version. */
int conflict_side(const struct volume_info *info, const struct conflict *c);
/* Those that wait, or of which something is kept, stay. So do settled ones for 30 days, the newest 100,000 of them; of
 * older ones only so many that there are 1,000 in all.
 *
 * All rows in order of id; malloc'd array (conflict_release each, then free). Paths are given as they are now, by
 * inode; `path` alone is that of then. */
int volume_conflicts(struct volume *v, struct conflict **out, size_t *n);
/* Those that conflict_is_about says `about` of, without looking up the paths of all; NULL: all. */
int volume_conflicts_about(struct volume *v, const char *about, struct conflict **out, size_t *n);
/* keep: 0 local, 1 peer, 2 both; seen from this node. Also what was settled by a rule (a mode, an owner, a place, a
 * deletion) is set as that side had it. Once more is no error. */
int volume_conflict_resolve(struct volume *v, const char *which, int keep, struct err *err);
/* A merge is good: what was kept of it goes. which NULL: of all. before_ms: only what was noted before, 0: whenever.
 * *n: how many. -EINVAL: it was not merged, but waits. */
int volume_conflict_dismiss(struct volume *v, const char *which, uint64_t before_ms, size_t *n, struct err *err);
/* Take a merge apart: the primary's version in place, the secondary's beside it under a conflict name; it waits then.
 * What was written to the merged file since is kept beside it as NAME.merged. -ENODATA: its versions are not kept. */
int volume_conflict_split(struct volume *v, const char *which, struct err *err);

#endif
