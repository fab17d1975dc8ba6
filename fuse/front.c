/* SPDX-License-Identifier: MIT */
#include "fuse/guard.h"
#include "fuse/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "util/log.h"
#include "util/util.h"

#define STOP_GRACE_MS 1000u
#define STOP_RETRY_MS 20u
#define TOLD_MAX_MS 500u
/* No request is held up by another for longer than twice this. */
#define WATCH_US 1000u
/* A write of so much takes longer than it takes to wake somebody. */
#define LONG_WRITE_BYTES (128u * 1024u)

/* Set while a worker handles a request. */
static _Thread_local struct worker *self;
/* An INIT that offers these is being answered: libfuse 3.14 cannot say yes to them by itself. */
#define PATCHED_FLAGS (FUSE_HANDLE_KILLPRIV_V2 | FUSE_SETXATTR_EXT)
static _Thread_local uint32_t patch_init;

struct worker *worker_self(void)
{
	return self;
}

void worker_waits(struct front *f)
{
	if (self)
		crew_pass(&f->crew, &self->hand);
}

/* ---- what the kernel knows ----------------------------------------------------------------------- */

uint64_t known_add(struct front *f, uint64_t ino, uint64_t as)
{
	bool first;
	uint64_t node = nodes_add(&f->nodes, ino, as, &first);

	/* Without a lock of ours: a forget of an earlier count may overtake this, but counts add up all the same. */
	if (first && !f->past)
		volume_ref(f->v, ino);
	return node;
}

void known_drop(struct front *f, uint64_t node, uint64_t n)
{
	uint64_t ino = nodes_drop(&f->nodes, node, n);

	if (ino && !f->past)
		volume_unref(f->v, ino, 1);
}

/* The kernel sends no forgets when a mount goes. */
static void known_forget_all(struct front *f)
{
	size_t n;
	uint64_t *list = nodes_list(&f->nodes, &n);

	for (size_t i = 1; i < n && !f->past; i++) /* the first is the root */
		volume_unref(f->v, list[i], 1);
	free(list);
	nodes_release(&f->nodes);
	nodes_init(&f->nodes);
}

/* ---- requests ------------------------------------------------------------------------------------ */

static ssize_t io_read(int fd, void *buf, size_t len, void *userdata)
{
	(void)userdata;
	return read(fd, buf, len);
}

static ssize_t io_writev(int fd, struct iovec *iov, int count, void *userdata)
{
	ssize_t n;

	(void)userdata;
	if (patch_init && count >= 2 && iov[1].iov_len >= offsetof(struct fuse_init_out, max_background))
		((struct fuse_init_out *)iov[1].iov_base)->flags |= patch_init;
	n = writev(fd, iov, count);
	/* What a notification may well meet (a name that is no longer a directory's, one that is busy), and the end of
	 * a mount. libfuse would complain on stderr of everything but ENOENT. */
	if (n < 0 && (errno == ENOTDIR || errno == ENOTEMPTY || errno == EBUSY || errno == ENODEV))
		errno = ENOENT;
	return n;
}

/* An extended SETXATTR as libfuse 3.14 knows it: without the flags, which are noted. */
static void shorten_setxattr(struct worker *w)
{
	struct fuse_in_header *h = w->in.mem;
	struct fuse_setxattr_in *body = (struct fuse_setxattr_in *)(h + 1);
	size_t cut = sizeof(*body) - FUSE_COMPAT_SETXATTR_IN_SIZE;
	char *from = (char *)(body + 1);

	if (!atomic_load(&w->front->setxattr_ext) || w->in.size < sizeof(*h) + sizeof(*body))
		return;
	w->kill_sgid = body->setxattr_flags & FUSE_SETXATTR_ACL_KILL_SGID;
	memmove(from - cut, from, w->in.size - sizeof(*h) - sizeof(*body));
	w->in.size -= cut;
	h->len -= (uint32_t)cut;
}

/* Look at what libfuse 3.14 does not pass on. */
static void peek(struct worker *w)
{
	const struct fuse_in_header *h = w->in.mem;
	const void *body = h + 1;

	w->init = w->kill_suidgid = w->kill_sgid = false;
	patch_init = 0;
	if (w->in.size < sizeof(*h))
		return;
	w->init = h->opcode == FUSE_INIT;
	if (h->opcode == FUSE_WRITE && w->in.size >= sizeof(*h) + sizeof(struct fuse_write_in)) {
		w->kill_suidgid = ((const struct fuse_write_in *)body)->write_flags & FUSE_WRITE_KILL_SUIDGID;
	} else if (h->opcode == FUSE_SETATTR && w->in.size >= sizeof(*h) + sizeof(struct fuse_setattr_in)) {
		w->kill_suidgid = ((const struct fuse_setattr_in *)body)->valid & FATTR_KILL_SUIDGID;
	} else if (h->opcode == FUSE_INIT && w->in.size >= sizeof(*h) + offsetof(struct fuse_init_in, flags2)) {
		patch_init = ((const struct fuse_init_in *)body)->flags & PATCHED_FLAGS;
		atomic_store(&w->front->killpriv_v2, patch_init & FUSE_HANDLE_KILLPRIV_V2);
		atomic_store(&w->front->setxattr_ext, patch_init & FUSE_SETXATTR_EXT);
	} else if (h->opcode == FUSE_SETXATTR) {
		shorten_setxattr(w);
	}
}

/* Does the request wait for the disk, or take as long as that? Others are seen to by the crew when they do. */
static bool takes_long(const struct worker *w)
{
	const struct fuse_in_header *h = w->in.mem;

	if (w->in.size < sizeof(*h))
		return false;
	return h->opcode == FUSE_READ || h->opcode == FUSE_COPY_FILE_RANGE || h->opcode == FUSE_FALLOCATE ||
	       (h->opcode == FUSE_WRITE && w->in.size >= LONG_WRITE_BYTES);
}

/* By whose turn it is; true: it still is. */
static bool serve_one(struct worker *w)
{
	struct front *f = w->front;
	int n, old;

	crew_ask(&f->crew, fuse_session_fd(f->se));
	/* Only a worker that waits for a request can be cancelled (end_busy). */
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &old);
	n = fuse_session_receive_buf(f->se, &w->in);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	if (n == -EINTR || n == -EAGAIN)
		return true;
	if (n < 0) {
		log_error("%s: reading requests: %s; unmounting", f->mountpoint, strerror(-n));
		atomic_store(&f->broken, n);
		front_stop(f);
	}
	if (n <= 0) {
		crew_end(&f->crew);
		return false;
	}
	crew_took(&f->crew, &w->hand);
	if (takes_long(w))
		worker_waits(f);
	peek(w);
	gate_enter(&f->gate);
	fuse_session_process_buf(f->se, &w->in);
	gate_leave(&f->gate);
	if (w->init) /* the reply to it sets what is read ahead, too */
		mount_read_ahead(f->mountpoint);
	return crew_done(&f->crew, &w->hand);
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;
	struct front *f = w->front;
	int old;

	log_thread_name("fuse");
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
	self = w;
	while (crew_join(&f->crew)) {
		while (!fuse_session_exited(f->se) && serve_one(w))
			;
		if (fuse_session_exited(f->se))
			crew_end(&f->crew);
	}
	fuse_session_exit(f->se);
	pthread_mutex_lock(&f->lock);
	f->workers_left--;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
	return NULL;
}

/* ---- life ---------------------------------------------------------------------------------------- */

static void log_libfuse(enum fuse_log_level level, const char *fmt, va_list ap)
{
	char text[512];

	vsnprintf(text, sizeof(text), fmt, ap);
	text[strcspn(text, "\n")] = '\0';
	if (level <= FUSE_LOG_ERR)
		log_error("%s", text);
	else
		log_info("%s", text);
}

/* fsname for a comma list, where a comma or backslash in it wants a backslash. */
static char *session_options(const char *fsname, const struct mount_options *mo)
{
	char *escaped = xmalloc(2 * strlen(fsname) + 1), *to = escaped, *text;

	for (const char *p = fsname; *p; p++) {
		if (*p == ',' || *p == '\\')
			*to++ = '\\';
		*to++ = *p;
	}
	*to = '\0';
	text = xasprintf("-ofsname=%s,subtype=%s,default_permissions%s", escaped, mo->subtype, mo->text);
	free(escaped);
	return text;
}

static int session_new(struct front *f, const char *options, struct err *err)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	int rc = 0;

	fuse_set_log_func(log_libfuse);
	fuse_opt_add_arg(&args, "twinfs");
	if (options)
		fuse_opt_add_arg(&args, options);
	f->se = fuse_session_new(&args, f->past ? &front_past_ops : &front_ops, sizeof(front_ops), f);
	fuse_opt_free_args(&args);
	if (!f->se)
		rc = err_set(err, -EINVAL, "libfuse refuses to make a session; see the log above");
	return rc;
}

static int session_mount(struct front *f, const struct front_options *opt, const struct mount_options *mo,
                         struct err *err)
{
	static const struct fuse_custom_io io = { .writev = io_writev, .read = io_read };
	char *options = session_options(opt->fsname, mo);
	int rc, fd;

	f->mounted_by_hand = geteuid() == 0;
	rc = session_new(f, f->mounted_by_hand ? NULL : options, err);
	free(options);
	if (rc != 0)
		return rc;
	if (f->mounted_by_hand) {
		fd = mount_by_hand(f->mountpoint, opt->fsname, mo, err);
		if (fd < 0)
			return fd;
	} else {
		if (access("/dev/fuse", R_OK | W_OK) != 0)
			return err_set(err, -errno, "/dev/fuse may not be opened (%s); run as root or allow this user",
			               strerror(errno));
		if (fuse_session_mount(f->se, f->mountpoint) != 0)
			return err_set(err, -EPERM, "fusermount3 did not mount %s%s; its reason is in the log above",
			               f->mountpoint,
			               mo->allow_other ? " (allow_other wants user_allow_other in /etc/fuse.conf)"
			                               : "");
		fd = fuse_session_fd(f->se);
	}
	rc = fuse_session_custom_io(f->se, &io, fd);
	if (rc == 0)
		return 0;
	mount_end(f->mountpoint, true);
	if (f->mounted_by_hand)
		close(fd);
	return err_set(err, rc, "libfuse refuses custom I/O");
}

int front_mount(struct volume *v, const struct front_options *opt, struct front **out, struct err *err)
{
	struct mount_options mo;
	struct front *f = xcalloc(1, sizeof(*f));
	int rc;

	f->v = v;
	f->watchers.pid = f->watchers.fd = -1;
	f->past = opt->past;
	f->fsync_hook = opt->fsync_hook;
	f->hook_ctx = opt->hook_ctx;
	f->n_workers = opt->threads ? MIN(opt->threads, FRONT_WORKERS_MAX) : FRONT_WORKERS;
	nodes_init(&f->nodes);
	gate_init(&f->gate);
	crew_init(&f->crew, WATCH_US);
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->changed, NULL);
	f->notifier = notifier_new(f);
	rc = mount_options_parse(opt->options, opt->past != NULL, &mo, err);
	f->sync_all = mo.flags & MS_SYNCHRONOUS;
	f->sync_names = mo.flags & (MS_SYNCHRONOUS | MS_DIRSYNC);
	f->inotify = mo.inotify && !opt->past;
	if (rc == 0)
		rc = mountpoint_check(opt->mountpoint, &f->mountpoint, err);
	if (rc == 0)
		rc = session_mount(f, opt, &mo, err);
	if (rc != 0) {
		if (f->se)
			fuse_session_destroy(f->se);
		f->se = NULL;
		front_free(f);
		return rc;
	}
	*out = f;
	return 0;
}

static int workers_start(struct front *f)
{
	f->workers = xcalloc(f->n_workers, sizeof(*f->workers));
	for (unsigned i = 0; i < f->n_workers; i++) {
		f->workers[i].front = f;
		f->workers[i].data = xmalloc(FRONT_IO_MAX_BYTES);
	}
	for (unsigned i = 0; i < f->n_workers; i++) {
		int rc;

		pthread_mutex_lock(&f->lock);
		rc = pthread_create(&f->workers[i].thread, NULL, worker_main, &f->workers[i]);
		if (rc == 0)
			f->workers_left++;
		pthread_mutex_unlock(&f->lock);
		if (rc != 0 && i == 0)
			return -rc;
		if (rc != 0) { /* fewer are slower, not wrong */
			log_warn("%s: only %u of %u threads: %s", f->mountpoint, i, f->n_workers, strerror(rc));
			f->n_workers = i;
		}
	}
	return 0;
}

static void sleep_ms(unsigned ms)
{
	nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 }, NULL);
}

/* Have all workers seen the end of the connection? */
static bool workers_gone(struct front *f, unsigned timeout_ms)
{
	uint64_t until = clock_mono_ms() + timeout_ms;
	bool gone;

	do {
		pthread_mutex_lock(&f->lock);
		gone = f->workers_left == 0;
		pthread_mutex_unlock(&f->lock);
		if (!gone)
			sleep_ms(STOP_RETRY_MS);
	} while (!gone && clock_mono_ms() < until);
	return gone;
}

/*
 * Unmount because of front_stop. Dirty pages of mappings go out first, while workers serve. Who still has files open
 * then loses them: the mount is detached, the notifier (which may wait for a request) ends, then the workers, and
 * closing /dev/fuse in front_free aborts what is left.
 */
static void end_busy(struct front *f)
{
	int fd = open(f->mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;
	uint64_t until = clock_mono_ms() + STOP_GRACE_MS;

	if (fd >= 0) {
		if (syncfs(fd) != 0)
			log_warn("%s: flushing before unmount: %s", f->mountpoint, strerror(errno));
		close(fd);
	}
	while ((rc = mount_end(f->mountpoint, false)) == -EBUSY && clock_mono_ms() < until)
		sleep_ms(STOP_RETRY_MS);
	if (rc == -EBUSY)
		mount_end(f->mountpoint, true);
	/* Unmounted here, it may live on in another mount namespace, or by open files of a detached mount. */
	if (workers_gone(f, rc == 0 ? STOP_GRACE_MS : 0))
		return;
	log_warn("%s is still in use somewhere; open files in it fail from now on", f->mountpoint);
	atomic_store(&f->ended, true);
	watchers_kill(&f->watchers);
	notifier_stop(f->notifier);
	crew_end(&f->crew);
	for (unsigned i = 0; i < f->n_workers; i++)
		pthread_cancel(f->workers[i].thread);
}

static void wait_for_end(struct front *f)
{
	bool stop;

	pthread_mutex_lock(&f->lock);
	while (!f->stop && f->workers_left > 0)
		pthread_cond_wait(&f->changed, &f->lock);
	stop = f->stop && f->workers_left > 0;
	pthread_mutex_unlock(&f->lock);
	if (stop)
		end_busy(f);
	for (unsigned i = 0; i < f->n_workers; i++)
		pthread_join(f->workers[i].thread, NULL);
}

static void workers_free(struct front *f)
{
	for (unsigned i = 0; i < f->n_workers; i++) {
		free(f->workers[i].in.mem);
		free(f->workers[i].data);
	}
	free(f->workers);
	f->workers = NULL;
}

/* Somebody aborted the connection under /sys/fs/fuse: the dead mount is still there. One that lives is another's: a
 * mountpoint that was unmounted is free for the next store before we are at our end. */
static void detach_leftover(struct front *f)
{
	if (mount_is_dead(f->mountpoint))
		mount_end(f->mountpoint, true);
}

int front_run(struct front *f)
{
	pid_t guard = guard_start(f->mountpoint);
	int rc;

	f->syncer = syncer_start(f);
	if (!f->syncer) {
		guard_stop(guard);
		return -EAGAIN;
	}
	if (f->inotify)
		watchers_start(&f->watchers, f->mountpoint);
	rc = workers_start(f);
	if (rc == 0)
		rc = notifier_start(f->notifier);
	if (rc != 0 && f->workers)
		front_stop(f);
	if (f->workers)
		wait_for_end(f);
	atomic_store(&f->ended, true);
	watchers_kill(&f->watchers);
	notifier_stop(f->notifier);
	syncer_stop(f->syncer);
	detach_leftover(f);
	guard_stop(guard);
	known_forget_all(f);
	workers_free(f);
	return rc != 0 ? rc : atomic_load(&f->broken);
}

void front_stop(struct front *f)
{
	pthread_mutex_lock(&f->lock);
	f->stop = true;
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->lock);
}

void front_notice(void *front, const struct notice *list, size_t n)
{
	struct front *f = front;

	for (size_t i = 0; i < n; i++)
		if (list[i].kind == NOTICE_MOVED)
			nodes_move(&f->nodes, list[i].ino, list[i].to);
	notifier_push(f->notifier, list, n);
}

void front_still(void *front, bool still)
{
	struct front *f = front;

	if (still)
		gate_close(&f->gate);
	else
		gate_open(&f->gate);
}

void front_told(void *front)
{
	struct front *f = front;

	if (notifier_runs(f->notifier) && !notifier_flush(f->notifier, TOLD_MAX_MS))
		log_debug("fuse", "the kernel takes long to hear of the peer's changes");
}

bool front_flush_notices(struct front *f, unsigned timeout_ms)
{
	return notifier_flush(f->notifier, timeout_ms);
}

const char *front_mountpoint(const struct front *f)
{
	return f->mountpoint;
}

void front_free(struct front *f)
{
	if (!f)
		return;
	if (f->se) {
		if (!atomic_load(&f->ended) && mount_is_there(f->mountpoint)) /* front_run was never called: ours */
			mount_end(f->mountpoint, true);
		if (!f->mounted_by_hand)
			fuse_session_unmount(f->se); /* closes /dev/fuse; finds that it is unmounted */
		fuse_session_destroy(f->se);
	}
	watchers_reap(&f->watchers);
	notifier_free(f->notifier);
	known_forget_all(f);
	pthread_cond_destroy(&f->changed);
	nodes_release(&f->nodes);
	gate_release(&f->gate);
	crew_release(&f->crew);
	pthread_mutex_destroy(&f->lock);
	free(f->mountpoint);
	free(f);
}
