/* SPDX-License-Identifier: MIT */
/*
 * internal: what the files of fuse/ share. Nobody outside fuse/ includes this.
 *
 * Locks, none held while another is taken, nor during a volume call, a reply or a notification: front.lock (life
 * cycle), those of crew, nodes and gate, the notifier's and the syncer's own.
 */
#ifndef TWINFS_FUSE_INTERNAL_H
#define TWINFS_FUSE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include <fuse_lowlevel.h>

#include "fuse/crew.h"
#include "fuse/front.h"
#include "fuse/gate.h"
#include "fuse/nodes.h"
#include "fuse/watchers.h"
#include "util/map.h"

/* All but one may be stuck before others wait; one that never has a turn costs nothing. */
#define FRONT_WORKERS 4u
#define FRONT_WORKERS_MAX 16u
/* Most that one request may write or read; the kernel's own limit for a FUSE request is 256 pages. */
#define FRONT_IO_MAX_BYTES (1024u * 1024u)

struct notifier;
struct syncer;

struct worker {
	struct front *front;
	pthread_t thread;
	struct crew_hand hand;
	struct fuse_buf in;     /* the request */
	char *data;             /* FRONT_IO_MAX_BYTES for read and readdir replies */
	bool init;              /* the request being handled is INIT */
	bool kill_suidgid;      /* the current request asks for it; libfuse 3.14 does not show the flag */
	bool kill_sgid;         /* likewise, of an access ACL being set */
	/* Odd while the current request will hand out names with attributes: what it read may be older than a notice
	 * that finds the inode unknown to the kernel. */
	atomic_uint entry_seq;
};

struct front {
	struct volume *v;
	struct past *past;             /* shown instead of the volume, or NULL */
	struct fuse_session *se;
	char *mountpoint;              /* absolute */
	bool mounted_by_hand;          /* mount(2); else by fusermount3 */
	int (*fsync_hook)(void *ctx);
	void *hook_ctx;
	atomic_bool killpriv_v2;       /* negotiated: we clear suid, sgid and security.capability ourselves */
	atomic_bool setxattr_ext;      /* negotiated: SETXATTR has more fields than libfuse 3.14 knows */
	atomic_int broken;             /* why the session broke, -errno */
	atomic_bool ended;             /* the session is over; nothing reaches the kernel any more */

	bool sync_all;                 /* -o sync: no change is answered before it is durable */
	bool sync_names;               /* with it, and with -o dirsync: nor are names made or taken away */

	struct worker *workers;
	unsigned n_workers;
	struct crew crew;              /* which of them takes the next request */
	struct notifier *notifier;
	struct syncer *syncer;
	bool inotify;                  /* those who watch are told of the peer's changes, by: */
	struct watchers watchers;      /* made and ended by front_run */

	pthread_mutex_t lock;          /* protects the next two */
	pthread_cond_t changed;
	bool stop;
	unsigned workers_left;

	struct nodes nodes;            /* what the kernel knows */
	struct gate gate;              /* every request passes it: no node is moved while one is handled */
};

/* ---- front.c: what the kernel knows; the volume (not a past) gets one reference for each node --------------- */

/* As nodes_add and nodes_drop. */
uint64_t known_add(struct front *f, uint64_t ino, uint64_t as);
void known_drop(struct front *f, uint64_t node, uint64_t n);
/* The worker that runs the calling thread; only inside a handler. */
struct worker *worker_self(void);
/* By a handler, before it waits for the disk or for somebody: the next request is for another worker. */
void worker_waits(struct front *f);

/* ---- mount.c ------------------------------------------------------------------------------------- */

/* As the kernel shows them, behind "fuse.". A past has its own, so that nobody takes it for the mount of the store. */
#define FRONT_SUBTYPE "twinfs"
#define FRONT_SUBTYPE_PAST "twinfs-baseline"

struct mount_options {
	const char *subtype;
	unsigned long flags;     /* MS_* */
	bool allow_other;
	bool inotify;            /* ours alone: the kernel does not know it */
	char text[256];          /* the flags as words for fusermount3, each with a comma before it */
};
/* past: of the mount of a past, which is read-only whatever the options say. */
int mount_options_parse(const char *options, bool past, struct mount_options *out, struct err *err);
/* Absolute path of a usable mountpoint (malloc'd), detaching a stale mount of ours. */
int mountpoint_check(const char *path, char **abs_path, struct err *err);
/* A file descriptor of /dev/fuse, mounted; root only. */
int mount_by_hand(const char *mountpoint, const char *fsname, const struct mount_options *opt, struct err *err);
/* Have the kernel read ahead in long pieces, if it lets us. */
void mount_read_ahead(const char *mountpoint);
/* Unmount as whoever mounted may; -EBUSY while in use unless lazy. */
int mount_end(const char *mountpoint, bool lazy);
bool mount_is_there(const char *mountpoint); /* one of our types is on top there */
/* The same, and nobody serves it any more. One that is served is given half a second to say so, and may be busy. */
bool mount_is_dead(const char *mountpoint);

/* ---- ops.c --------------------------------------------------------------------------------------- */

extern const struct fuse_lowlevel_ops front_ops, front_past_ops;

/* ---- syncer.c: what is answered when it is durable ------------------------------------------------ */

struct syncer *syncer_start(struct front *f);
/* Takes the request over: it is answered by the next commit. ino: what was lost of it before is told, too; 0: none. */
void syncer_add(struct syncer *s, fuse_req_t req, uint64_t ino);
/* Likewise, if that succeeds with this entry, which is counted, with these attributes or so many bytes. */
void syncer_add_entry(struct syncer *s, fuse_req_t req, const struct fuse_entry_param *entry);
void syncer_add_attr(struct syncer *s, fuse_req_t req, const struct stat *st);
void syncer_add_count(struct syncer *s, fuse_req_t req, size_t count_bytes);
/* Answers what waits (with one last commit), then ends. */
void syncer_stop(struct syncer *s);

/* ---- notify.c ------------------------------------------------------------------------------------ */

struct notifier *notifier_new(struct front *f);
int notifier_start(struct notifier *n);
bool notifier_runs(struct notifier *n);
void notifier_push(struct notifier *n, const struct notice *list, size_t count);
void notifier_push_inode(struct notifier *n, uint64_t ino);
bool notifier_flush(struct notifier *n, unsigned timeout_ms);
/*
 * Attributes that are newer than the pages in the kernel's cache must not reach it: a program would take the old bytes
 * for what was there at the new time, and make or git believe that for ever. So a handler that read attributes calls
 * this before it hands them out: it waits until what was queued of the inode has been told. Bounded. Not between
 * entries_begin and entries_end, for which the notifier waits.
 */
void notifier_settle(struct notifier *n, uint64_t ino);
/*
 * After a write, before it is answered. A page that is written in part the kernel has unlocked if all of it was cached:
 * then it must be told before the writer reads it back. Else it is locked until our answer, and not believed after it
 * (it is asked for again); as we cannot tell the two apart, the wait is a short one if a page may be locked.
 */
void notifier_settle_write(struct notifier *n, uint64_t ino, bool may_be_locked);
/*
 * A write(2) into a cached page changes the page first and asks us then. If a notice drops the page in between, a
 * reader may ask for it before we have the write, and what he gets stays in the cache: the write would be missing there
 * for ever. So reads and writes say what they are about, the read before it looks at the volume, the write after it
 * changed it; true: the inode is to be told once more. It errs on the side of telling. Until the notifier has done so,
 * a moment later, a page that was written in part may be read without the write.
 */
void notifier_reading(struct notifier *n, uint64_t ino);
bool notifier_crossed(struct notifier *n, uint64_t ino);
bool notifier_owes(struct notifier *n, uint64_t ino); /* would it wait? */
/* Ends after the notice at hand, which may wait for a request: workers must still serve, or the session be aborted. */
void notifier_stop(struct notifier *n);
void notifier_free(struct notifier *n);

#endif
