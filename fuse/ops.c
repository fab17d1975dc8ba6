/* SPDX-License-Identifier: MIT */
/*
 * The handlers: one kernel request, one volume call, one reply.
 *
 * open, opendir and flush are ENOSYS and create is missing, all on purpose: the kernel then opens files without asking
 * (8 times faster), keeps caches over opens, and makes files with MKNOD. An unlinked file that is open lives by its
 * lookup count.
 */
#include "fuse/former.h"
#include "fuse/internal.h"
#include "fuse/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "util/util.h"

/* Names, attributes and negative entries are believed until we say otherwise. */
#define CACHE_SECONDS 3600.0
/* The kernel takes attributes in replies to SETATTR and LINK even if they were invalidated while the reply was on its
 * way; so those are believed for a moment only. */
#define UNSURE_SECONDS 1.0

static struct front *front_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}

/* Within a request the same always. */
static uint64_t inode_of(fuse_req_t req, fuse_ino_t node)
{
	return nodes_inode(&front_of(req)->nodes, node);
}

/* The inode was changed through one of its nodes: what the kernel cached of the others is old now. */
static void tell_others(struct front *f, uint64_t ino)
{
	if (ino && nodes_shared(&f->nodes, ino))
		notifier_push_inode(f->notifier, ino);
}

static void entries_begin(void)
{
	atomic_fetch_add(&worker_self()->entry_seq, 1);
}

static void entries_end(void)
{
	atomic_fetch_add(&worker_self()->entry_seq, 1);
}

static struct stat stat_of(const struct attr *a)
{
	return (struct stat){
		.st_ino = a->ino,
		.st_mode = a->mode,
		.st_nlink = a->nlink,
		.st_uid = a->uid,
		.st_gid = a->gid,
		.st_rdev = a->rdev,
		.st_size = (off_t)a->size_bytes,
		.st_blksize = BLOCK_BYTES,
		.st_blocks = (blkcnt_t)a->blocks_512,
		.st_atim = a->atime,
		.st_mtim = a->mtime,
		.st_ctim = a->ctime,
	};
}

static struct fuse_entry_param entry_of(const struct attr *a, uint64_t node, double attr_seconds)
{
	return (struct fuse_entry_param){
		.ino = node,
		.attr = stat_of(a),
		.attr_timeout = attr_seconds,
		.entry_timeout = CACHE_SECONDS,
	};
}

/* rc 0: hand out *a, counted before the reply can reach the kernel. as: by this node, if not 0. */
static void reply_entry(fuse_req_t req, int rc, const struct attr *a, uint64_t as, double attr_seconds)
{
	struct front *f = front_of(req);
	struct fuse_entry_param e;

	if (rc != 0) {
		fuse_reply_err(req, -rc);
		return;
	}
	e = entry_of(a, known_add(f, a->ino, as), attr_seconds);
	if (fuse_reply_entry(req, &e) != 0)
		known_drop(f, e.ino, 1);
}

/* ---- answers to what changed something: with -o sync or dirsync when it is durable ------------------ */

/* rc 0: as reply_entry does, of a name that was just made. */
static void reply_made(fuse_req_t req, int rc, const struct attr *a, uint64_t as, double attr_seconds)
{
	struct front *f = front_of(req);
	struct fuse_entry_param e;

	if (rc != 0 || !f->sync_names) {
		reply_entry(req, rc, a, as, attr_seconds);
		return;
	}
	e = entry_of(a, known_add(f, a->ino, as), attr_seconds);
	syncer_add_entry(f->syncer, req, &e);
}

/* sync: what was changed is durable before it is answered; what failed is answered at once. */
static void reply_changed(fuse_req_t req, int rc, bool sync)
{
	if (rc == 0 && sync)
		syncer_add(front_of(req)->syncer, req, 0);
	else
		fuse_reply_err(req, -rc);
}

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
	(void)userdata;
	conn->max_write = FRONT_IO_MAX_BYTES;
	conn->time_gran = 1;
	conn->want |= conn->capable &
	              (FUSE_CAP_ASYNC_READ | FUSE_CAP_EXPORT_SUPPORT | FUSE_CAP_READDIRPLUS |
	               FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_CACHE_SYMLINKS | FUSE_CAP_NO_OPEN_SUPPORT |
	               FUSE_CAP_NO_OPENDIR_SUPPORT | FUSE_CAP_EXPLICIT_INVAL_DATA | FUSE_CAP_POSIX_ACL |
	               FUSE_CAP_DONT_MASK);
	/* READDIRPLUS_AUTO lists with attributes up to the first 200 names of a directory only, unless somebody looks
	 * one up before he has read on: most programs read all first, and then each lookup is a request.
	 * AUTO_INVAL_DATA drops the cache after each own write. Without OPEN, ATOMIC_O_TRUNC would lose truncations.
	 * After an asynchronous direct write (ASYNC_DIO) the kernel leaves in the cache what was read meanwhile. */
	conn->want &= ~(unsigned)(FUSE_CAP_READDIRPLUS_AUTO | FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_ASYNC_DIO |
	                          FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
	                          FUSE_CAP_SPLICE_MOVE |
	                          FUSE_CAP_ATOMIC_O_TRUNC);
}

/* ---- names --------------------------------------------------------------------------------------- */

/* "." of anything, a file too: that is how file handles of NFS find their inode again. */
static int lookup(struct front *f, uint64_t parent, const char *name, struct attr *a)
{
	return strcmp(name, ".") == 0 ? source_getattr(f, parent, a) : source_lookup(f, parent, name, a);
}

static void op_lookup(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	struct front *f = front_of(req);
	uint64_t parent = inode_of(req, dir), as = strcmp(name, ".") == 0 ? dir : 0;
	struct attr a;
	int rc;

	entries_begin();
	rc = lookup(f, parent, name, &a);
	if (rc == 0 && notifier_owes(f->notifier, a.ino)) {
		entries_end();
		notifier_settle(f->notifier, a.ino);
		entries_begin();
		rc = lookup(f, parent, name, &a);
	}
	if (rc == -ENOENT) {
		const struct fuse_entry_param none = { .entry_timeout = CACHE_SECONDS };

		fuse_reply_entry(req, &none);
	} else {
		reply_entry(req, rc, &a, as, CACHE_SECONDS);
	}
	entries_end();
}

static void op_forget(fuse_req_t req, fuse_ino_t node, uint64_t nlookup)
{
	known_drop(front_of(req), node, nlookup);
	fuse_reply_none(req);
}

static void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *list)
{
	for (size_t i = 0; i < count; i++)
		known_drop(front_of(req), list[i].ino, list[i].nlookup);
	fuse_reply_none(req);
}

static void make(fuse_req_t req, fuse_ino_t dir, const char *name, uint32_t mode, dev_t rdev, const char *target)
{
	const struct fuse_ctx *ctx = fuse_req_ctx(req);
	const struct cred cred = { .uid = ctx->uid, .gid = ctx->gid, .umask = ctx->umask };
	struct attr a;
	int rc;

	entries_begin();
	rc = volume_create(front_of(req)->v, inode_of(req, dir), name, mode, (uint32_t)rdev, target, &cred, &a);
	reply_made(req, rc, &a, 0, CACHE_SECONDS);
	entries_end();
}

static void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
	make(req, parent, name, mode & S_IFMT ? mode : mode | S_IFREG, rdev, NULL);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	make(req, parent, name, (mode & ~(mode_t)S_IFMT) | S_IFDIR, 0, NULL);
}

static void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
	make(req, parent, name, S_IFLNK | 0777, 0, target);
}

static void op_link(fuse_req_t req, fuse_ino_t node, fuse_ino_t dir, const char *name)
{
	struct front *f = front_of(req);
	uint64_t ino = inode_of(req, node);
	struct attr a;
	int rc;

	notifier_settle(f->notifier, ino);
	entries_begin();
	rc = volume_link(f->v, ino, inode_of(req, dir), name, &a);
	tell_others(f, ino);
	reply_made(req, rc, &a, node, UNSURE_SECONDS); /* the kernel wants the one that it named */
	entries_end();
}

/* What has this name, if that is to be known: its other nodes have to be told when the name goes. */
static uint64_t named(fuse_req_t req, uint64_t parent, const char *name)
{
	struct front *f = front_of(req);
	struct attr a;

	return atomic_load(&f->nodes.any) && volume_lookup(f->v, parent, name, &a) == 0 ? a.ino : 0;
}

static void op_unlink(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	uint64_t parent = inode_of(req, dir), was = named(req, parent, name);
	int rc = former_log(front_of(req), fuse_req_ctx(req)->pid, parent, name)
			 ? -EBUSY
			 : volume_unlink(front_of(req)->v, parent, name);

	tell_others(front_of(req), was);
	reply_changed(req, rc, front_of(req)->sync_names);
}

static void op_rmdir(fuse_req_t req, fuse_ino_t dir, const char *name)
{
	uint64_t parent = inode_of(req, dir), was = named(req, parent, name);
	int rc = volume_rmdir(front_of(req)->v, parent, name);

	tell_others(front_of(req), was);
	reply_changed(req, rc, front_of(req)->sync_names);
}

static void op_rename(fuse_req_t req, fuse_ino_t dir, const char *name, fuse_ino_t newdir, const char *newname,
                      unsigned flags)
{
	uint64_t parent = inode_of(req, dir), newparent = inode_of(req, newdir), was = named(req, newparent, newname);
	int rc = volume_rename(front_of(req)->v, parent, name, newparent, newname, flags);

	tell_others(front_of(req), was);
	reply_changed(req, rc, front_of(req)->sync_names);
}

static void op_readlink(fuse_req_t req, fuse_ino_t node)
{
	char target[SYMLINK_MAX_BYTES + 1];
	ssize_t n = source_readlink(front_of(req), inode_of(req, node), target, SYMLINK_MAX_BYTES);

	if (n < 0) {
		fuse_reply_err(req, (int)-n);
		return;
	}
	target[n] = '\0';
	fuse_reply_readlink(req, target);
}

/* ---- attributes ---------------------------------------------------------------------------------- */

static void op_getattr(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
	struct front *f = front_of(req);
	uint64_t ino = inode_of(req, node);
	struct stat st;
	struct attr a;
	int rc = source_getattr(f, ino, &a);

	(void)fi;
	if (rc != 0) {
		fuse_reply_err(req, -rc);
		return;
	}
	notifier_settle(f->notifier, ino);
	st = stat_of(&a);
	fuse_reply_attr(req, &st, CACHE_SECONDS);
}

/* ---- privileges of a file that somebody changes: suid, sgid ---------------------------------------- */

static bool in_group(fuse_req_t req, gid_t gid)
{
	gid_t own = fuse_req_ctx(req)->gid, *list;
	int n = own == gid ? 0 : fuse_req_getgroups(req, 0, NULL), got;
	bool found = own == gid;

	if (n <= 0) /* not to be found out: no member */
		return found;
	list = xmalloc((size_t)n * sizeof(*list));
	got = fuse_req_getgroups(req, n, list);
	for (int i = 0; i < MIN(n, got); i++)
		found |= list[i] == gid;
	free(list);
	return found;
}

struct privileges {
	bool any;     /* a change by a stranger takes something away from the mode */
	bool no_sgid; /* and so does it of one that makes no program: the caller is not in the group */
};

static struct privileges privileges_of(fuse_req_t req, uint64_t ino)
{
	struct privileges p = { 0 };
	struct attr a;

	if (volume_getattr(front_of(req)->v, ino, &a) == 0 && S_ISREG(a.mode)) {
		p.any = a.mode & (S_ISUID | S_ISGID);
		p.no_sgid = (a.mode & S_ISGID) && !(a.mode & S_IXGRP) && !in_group(req, a.gid);
	}
	return p;
}

/* What is asked only so that the kernel tells of it (fuse/watchers.h) is not done. */
static void say_attr(fuse_req_t req, uint64_t ino)
{
	struct front *f = front_of(req);
	struct stat st;
	struct attr a;
	int rc = volume_getattr(f->v, ino, &a);

	if (rc != 0) {
		fuse_reply_err(req, -rc);
		return;
	}
	notifier_settle(f->notifier, ino);
	st = stat_of(&a);
	fuse_reply_attr(req, &st, UNSURE_SECONDS);
}

static void op_setattr(fuse_req_t req, fuse_ino_t node, struct stat *st, int to_set, struct fuse_file_info *fi)
{
	static const struct {
		int fuse;
		unsigned volume;
	} bits[] = {
		{ FUSE_SET_ATTR_MODE, SET_MODE },   { FUSE_SET_ATTR_UID, SET_UID },
		{ FUSE_SET_ATTR_GID, SET_GID },     { FUSE_SET_ATTR_SIZE, SET_SIZE },
		{ FUSE_SET_ATTR_ATIME, SET_ATIME }, { FUSE_SET_ATTR_MTIME, SET_MTIME },
		{ FUSE_SET_ATTR_CTIME, SET_CTIME }, { FUSE_SET_ATTR_ATIME_NOW, SET_ATIME_NOW },
		{ FUSE_SET_ATTR_MTIME_NOW, SET_MTIME_NOW },
	};
	struct front *f = front_of(req);
	struct attr a = {
		.size_bytes = (uint64_t)st->st_size, .mode = st->st_mode, .uid = st->st_uid, .gid = st->st_gid,
		.atime = st->st_atim, .mtime = st->st_mtim, .ctime = st->st_ctim,
	};
	uint64_t ino = inode_of(req, node);
	unsigned set = 0;
	int rc;

	(void)fi;
	if (watchers_ask(&f->watchers, fuse_req_ctx(req)->pid)) {
		say_attr(req, ino);
		return;
	}
	for (size_t i = 0; i < ARRAY_LEN(bits); i++)
		if (to_set & bits[i].fuse)
			set |= bits[i].volume;
	/* ATIME_NOW comes together with ATIME. */
	if (set & SET_ATIME_NOW)
		set &= ~(unsigned)SET_ATIME;
	if (set & SET_MTIME_NOW)
		set &= ~(unsigned)SET_MTIME;
	/* chown clears them whoever calls; truncate only if the kernel says so. */
	if (worker_self()->kill_suidgid || ((set & (SET_UID | SET_GID)) && atomic_load(&f->killpriv_v2)))
		set |= SET_KILL_SUIDGID;
	if (worker_self()->kill_suidgid && (set & SET_SIZE) && privileges_of(req, ino).no_sgid)
		set |= SET_KILL_SGID;
	rc = volume_setattr(f->v, ino, set, &a, &a);
	if (rc != 0) {
		fuse_reply_err(req, -rc);
		return;
	}
	tell_others(f, ino);
	notifier_settle(f->notifier, ino);
	*st = stat_of(&a);
	if (f->sync_all)
		syncer_add_attr(f->syncer, req, st);
	else
		fuse_reply_attr(req, st, UNSURE_SECONDS);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs st;
	int rc = volume_statfs(front_of(req)->v, &st);

	(void)ino;
	if (rc != 0)
		fuse_reply_err(req, -rc);
	else
		fuse_reply_statfs(req, &st);
}

/* ---- data ---------------------------------------------------------------------------------------- */

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void)ino;
	(void)fi;
	fuse_reply_err(req, ENOSYS);
}

static void op_read(fuse_req_t req, fuse_ino_t node, size_t size, off_t off, struct fuse_file_info *fi)
{
	struct front *f = front_of(req);
	uint64_t ino = inode_of(req, node);
	char *data = worker_self()->data;
	ssize_t n;

	(void)fi;
	notifier_reading(f->notifier, ino);
	n = source_read(f, ino, data, MIN(size, (size_t)FRONT_IO_MAX_BYTES), (uint64_t)off);
	if (n < 0)
		fuse_reply_err(req, (int)-n);
	else
		fuse_reply_buf(req, data, (size_t)n);
}

/* The kernel asks again for time and size of what was written, not for its mode: it would go on running the program as
 * another user. Before the reply. Attributes alone: this waits for no page. */
static void forget_mode(struct front *f, fuse_ino_t node)
{
	fuse_lowlevel_notify_inval_inode(f->se, node, -1, 0);
}

static void op_write(fuse_req_t req, fuse_ino_t node, const char *buf, size_t size, off_t off,
                     struct fuse_file_info *fi)
{
	struct front *f = front_of(req);
	uint64_t at = (uint64_t)off, ino = inode_of(req, node);
	unsigned flags = 0;
	ssize_t n;
	struct privileges had = { 0 };
	bool crossed;

	/* The kernel's end of file may be older than ours. A page of a mapping (writepage) goes where it is. */
	if ((fi->flags & O_APPEND) && !fi->writepage)
		flags |= WRITE_APPEND;
	if (worker_self()->kill_suidgid) {
		had = privileges_of(req, ino);
		flags |= WRITE_KILL_SUIDGID | (had.no_sgid ? WRITE_KILL_SGID : 0);
	}
	n = volume_write(f->v, ino, buf, size, (uint64_t)off, flags, &at);
	if (n < 0) {
		fuse_reply_err(req, (int)-n);
		return;
	}
	if (had.any)
		forget_mode(f, node);
	crossed = notifier_crossed(f->notifier, ino) || nodes_shared(&f->nodes, ino);
	if (crossed) { /* before the writer goes on, who may read it back */
		notifier_push_inode(f->notifier, ino);
		notifier_settle_write(f->notifier, ino, (off + (off_t)size) % BLOCK_BYTES != 0);
	}
	fuse_reply_write(req, (size_t)n);
	if ((flags & WRITE_APPEND) && at != (uint64_t)off) /* the kernel cached the bytes in the wrong place */
		notifier_push_inode(f->notifier, ino);
}

static void op_fsync(fuse_req_t req, fuse_ino_t node, int datasync, struct fuse_file_info *fi)
{
	(void)datasync;
	(void)fi;
	syncer_add(front_of(req)->syncer, req, inode_of(req, node));
}

/* The kernel leaves clearing suid and sgid to us (KILLPRIV_V2) but does not say here whether to. */
static int kill_privileges(fuse_req_t req, fuse_ino_t node)
{
	const struct attr none = { 0 };
	struct front *f = front_of(req);
	uint64_t ino = inode_of(req, node);

	if (fuse_req_ctx(req)->uid == 0 || !atomic_load(&f->killpriv_v2))
		return 0;
	struct privileges had = privileges_of(req, ino);
	int rc = volume_setattr(f->v, ino, SET_KILL_SUIDGID | (had.no_sgid ? SET_KILL_SGID : 0), &none, NULL);

	if (!rc && had.any)
		forget_mode(f, node);
	return rc;
}

static int fallocate_as(fuse_req_t req, fuse_ino_t node, int mode, uint64_t off, uint64_t len_bytes)
{
	uint64_t ino = inode_of(req, node);
	int rc = kill_privileges(req, node);

	if (!rc)
		rc = volume_fallocate(front_of(req)->v, ino, mode, off, len_bytes);
	tell_others(front_of(req), ino);
	return rc;
}

static void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len, struct fuse_file_info *fi)
{
	(void)fi;
	if (off < 0 || len <= 0)
		fuse_reply_err(req, EINVAL);
	else
		reply_changed(req, fallocate_as(req, ino, mode, (uint64_t)off, (uint64_t)len),
		              front_of(req)->sync_all);
}

/* The kernel has flushed its pages of both ranges and forgets those of the target after our answer. Without this it
 * would read and write itself, holes as zeros. */
static void op_copy_file_range(fuse_req_t req, fuse_ino_t from, off_t off_from, struct fuse_file_info *fi_from,
                               fuse_ino_t to, off_t off_to, struct fuse_file_info *fi_to, size_t len, int flags)
{
	ssize_t n = kill_privileges(req, to);

	(void)fi_from;
	(void)fi_to;
	if (off_from < 0 || off_to < 0 || flags != 0)
		n = -EINVAL;
	if (n == 0)
		n = volume_copy(front_of(req)->v, inode_of(req, from), (uint64_t)off_from, inode_of(req, to),
		                (uint64_t)off_to, MIN(len, (size_t)1 << 31)); /* the answer has 32 bits */
	tell_others(front_of(req), inode_of(req, to));
	if (n < 0)
		fuse_reply_err(req, (int)-n);
	else if (front_of(req)->sync_all)
		syncer_add_count(front_of(req)->syncer, req, (size_t)n);
	else
		fuse_reply_write(req, (size_t)n);
}

static void op_lseek(fuse_req_t req, fuse_ino_t node, off_t off, int whence, struct fuse_file_info *fi)
{
	int64_t at;

	(void)fi;
	if (whence != SEEK_DATA && whence != SEEK_HOLE) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	at = off < 0 ? -ENXIO : source_seek(front_of(req), inode_of(req, node), (uint64_t)off, whence);
	if (at < 0)
		fuse_reply_err(req, (int)-at);
	else
		fuse_reply_lseek(req, at);
}

/* ---- listings ------------------------------------------------------------------------------------ */

struct listing {
	fuse_req_t req;
	char *out;
	size_t cap_bytes, len_bytes;
	bool plus, patient;
	uint64_t owed;     /* the inode before which the listing stopped: the notifier owes it */
	uint64_t *counted; /* nodes handed out, to be taken back if the reply fails */
	size_t n_counted;
};

static bool list_entry(void *ctx, const char *name, size_t name_len, uint64_t cookie, const struct attr *a)
{
	struct listing *l = ctx;
	struct fuse_entry_param e = entry_of(a, 0, CACHE_SECONDS);
	bool dot = strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
	size_t left = l->cap_bytes - l->len_bytes, need;

	(void)name_len;
	if (l->plus && l->patient && !dot && notifier_owes(front_of(l->req)->notifier, a->ino)) {
		l->owed = a->ino;
		return false;
	}
	if (l->plus && !dot) /* the kernel does not count these */
		e.ino = known_add(front_of(l->req), a->ino, 0);
	if (l->plus)
		need = fuse_add_direntry_plus(l->req, l->out + l->len_bytes, left, name, &e, (off_t)cookie);
	else
		need = fuse_add_direntry(l->req, l->out + l->len_bytes, left, name, &e.attr, (off_t)cookie);
	if (need > left) {
		if (e.ino)
			known_drop(front_of(l->req), e.ino, 1);
		return false;
	}
	l->len_bytes += need;
	if (e.ino)
		l->counted[l->n_counted++] = e.ino;
	return true;
}

static void list_dir(fuse_req_t req, fuse_ino_t node, size_t size, off_t off, bool plus)
{
	struct listing l = { .req = req, .out = worker_self()->data, .plus = plus, .patient = true };
	struct front *f = front_of(req);
	uint64_t ino = inode_of(req, node);
	int rc;

	l.cap_bytes = MIN(size, (size_t)FRONT_IO_MAX_BYTES);
	if (plus) /* an entry of a listing with attributes takes 152 bytes and its name */
		l.counted = xmalloc((l.cap_bytes / 152 + 1) * sizeof(*l.counted));
	entries_begin();
	rc = source_readdir(f, ino, (uint64_t)off, list_entry, &l);
	if (l.owed && l.len_bytes == 0) { /* else the kernel comes again for the rest */
		entries_end();
		notifier_settle(f->notifier, l.owed);
		l.patient = false;
		entries_begin();
		rc = source_readdir(f, ino, (uint64_t)off, list_entry, &l);
	}
	if (rc < 0 && l.len_bytes == 0)
		rc = fuse_reply_err(req, -rc);
	else
		rc = fuse_reply_buf(req, l.out, l.len_bytes);
	for (size_t i = 0; rc != 0 && i < l.n_counted; i++)
		known_drop(f, l.counted[i], 1);
	entries_end();
	free(l.counted);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)fi;
	list_dir(req, ino, size, off, false);
}

static void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
	(void)fi;
	list_dir(req, ino, size, off, true);
}

/* ---- xattrs -------------------------------------------------------------------------------------- */

static void reply_xattr(fuse_req_t req, ssize_t n, const char *buf, size_t size)
{
	if (n < 0)
		fuse_reply_err(req, (int)-n);
	else if (size == 0)
		fuse_reply_xattr(req, (size_t)n);
	else
		fuse_reply_buf(req, buf, (size_t)n);
}

static void op_getxattr(fuse_req_t req, fuse_ino_t node, const char *key, size_t size)
{
	char *data = worker_self()->data;
	ssize_t n = source_getxattr(front_of(req), inode_of(req, node), key, data,
	                            MIN(size, (size_t)FRONT_IO_MAX_BYTES));

	reply_xattr(req, n, data, size);
}

/* Takes the keys of trusted.* out of a list; returns what is left of its length. */
static size_t hide_trusted(char *list, size_t len_bytes)
{
	size_t kept = 0;

	for (size_t at = 0, n; at < len_bytes; at += n) {
		n = strlen(list + at) + 1;
		if (strncmp(list + at, "trusted.", 8) == 0)
			continue;
		memmove(list + kept, list + at, n);
		kept += n;
	}
	return kept;
}

static void op_listxattr(fuse_req_t req, fuse_ino_t node, size_t size)
{
	char *data = worker_self()->data;
	ssize_t n = source_listxattr(front_of(req), inode_of(req, node), data, FRONT_IO_MAX_BYTES);

	if (n > 0 && fuse_req_ctx(req)->uid != 0)
		n = (ssize_t)hide_trusted(data, (size_t)n);
	if (n > 0 && size > 0 && (size_t)n > size)
		n = -ERANGE;
	reply_xattr(req, n, data, size);
}

static void op_setxattr(fuse_req_t req, fuse_ino_t node, const char *key, const char *value, size_t size, int flags)
{
	uint64_t ino = inode_of(req, node);
	int rc;

	if (worker_self()->kill_sgid)
		flags |= SETXATTR_KILL_SGID;
	rc = volume_setxattr(front_of(req)->v, ino, key, value, size, flags);
	tell_others(front_of(req), ino);
	reply_changed(req, rc, front_of(req)->sync_all);
}

static void op_removexattr(fuse_req_t req, fuse_ino_t node, const char *key)
{
	uint64_t ino = inode_of(req, node);
	int rc = volume_removexattr(front_of(req)->v, ino, key);

	tell_others(front_of(req), ino);
	reply_changed(req, rc, front_of(req)->sync_all);
}

const struct fuse_lowlevel_ops front_ops = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.readlink = op_readlink,
	.mknod = op_mknod,
	.mkdir = op_mkdir,
	.unlink = op_unlink,
	.rmdir = op_rmdir,
	.symlink = op_symlink,
	.rename = op_rename,
	.link = op_link,
	.open = op_open,
	.read = op_read,
	.write = op_write,
	.fsync = op_fsync,
	.opendir = op_open,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.fsyncdir = op_fsync,
	.statfs = op_statfs,
	.setxattr = op_setxattr,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
	.removexattr = op_removexattr,
	.fallocate = op_fallocate,
	.copy_file_range = op_copy_file_range,
	.lseek = op_lseek,
};

/* Nothing of a past is ever dirty. */
static void op_fsync_past(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void)ino;
	(void)datasync;
	(void)fi;
	fuse_reply_err(req, 0);
}

/* The mount is read-only, so the kernel asks for nothing else. */
const struct fuse_lowlevel_ops front_past_ops = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.forget_multi = op_forget_multi,
	.getattr = op_getattr,
	.readlink = op_readlink,
	.open = op_open,
	.read = op_read,
	.fsync = op_fsync_past,
	.opendir = op_open,
	.readdir = op_readdir,
	.readdirplus = op_readdirplus,
	.fsyncdir = op_fsync_past,
	.statfs = op_statfs,
	.getxattr = op_getxattr,
	.listxattr = op_listxattr,
	.lseek = op_lseek,
};
