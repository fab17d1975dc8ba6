/* SPDX-License-Identifier: MIT */
/*
 * The notifier: two bounded queues of notices, each with a thread that tells them to the kernel.
 *
 * One is for names: telling one takes the directory's lock in the kernel, which a program may hold for long. The other
 * is for inodes: telling one waits for pages at most, that is for reads and writes being served. So who needs to know
 * that an inode was told (notifier_settle) does not wait for anybody's directory.
 *
 * A notice is queued after the change is in the volume, so telling it at any later time is right, and two equal notices
 * that wait are one. What the kernel answers with ENOENT it does not know *yet*, perhaps: a reply with the old
 * attributes may be on its way, and would then be believed for an hour. So such a notice is told again as long as the
 * kernel holds names of the inode.
 *
 * With -o inotify a third queue is for programs that watch (fuse/watchers.h). They are told after the kernel, so that
 * what they look at is new, and nobody waits for that. It is a shorter one: telling takes a request or two.
 */
#include "fuse/internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "util/log.h"
#include "util/util.h"

/* 64k notices are a few MB, and about a tenth of a second of the kernel's time. */
#define QUEUE_LEN 65536u
/* Half a second of work. When they are more, those who watch hear of each directory that the kernel knows. */
#define WATCH_LEN 4096u
/* After so long they are told though the kernel was not: it waits for a directory that a program holds. */
#define WATCH_WAIT_MS 1000u
#define RETRY_FIRST_US 100u
#define RETRY_LAST_US 20000u
#define RETRY_TOTAL_US 1000000u
#define ENTRY_POLL_US 50u
/* A page that is being told of may be waiting for a worker, and all of them for us: nobody waits longer than this. */
#define SETTLE_MAX_MS 50u
/* The last page of a write may be locked until we have answered; if not, telling takes some ten microseconds. */
#define SETTLE_LOCKED_MS 5u

/* Inodes share so many marks of when they were told and read last, and a write is not longer than this on its way. */
#define MARKS 256u
#define CROSSING_MS 1000u

/* linux/fuse.h has it from 6.16 on: all names are looked up again before they are believed. */
#define NOTIFY_INC_EPOCH 8

struct item {
	enum { ITEM_INODE, ITEM_ENTRY, ITEM_DELETE, ITEM_EVERYTHING } kind;
	uint64_t parent, ino;
	unsigned name_len_bytes;
	char name[]; /* NUL-terminated */
};

/* One queue and its thread. */
struct lane {
	struct notifier *notifier;
	pthread_t thread;

	/* The notifier's lock protects all below. */
	bool started;
	struct item *ring[QUEUE_LEN];
	uint64_t head, tail;    /* item i is in ring[i % QUEUE_LEN] */
	uint64_t told;          /* items before this one have been told to the kernel */
	struct item *telling;   /* the item telling_at, while it is being told */
	uint64_t telling_at;
	struct map waiting;     /* hash of an item -> its index + 1 */
};

struct notifier {
	struct front *front;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct lane names, inodes;
	struct lane watch;      /* ITEM_INODE, ITEM_ENTRY: what there is to be seen */
	atomic_bool busy;       /* inodes has something that was not told yet */
	struct {
		_Atomic uint64_t told_ms, read_ms; /* 0: never */
	} marks[MARKS];
	unsigned waiters;       /* threads that wait for `told` to grow */
	bool stop;
};

/* ---- queue; lock held ---------------------------------------------------------------------------- */

static uint64_t item_hash(const struct item *it)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325), words[3] = { (uint64_t)it->kind, it->parent, it->ino };

	for (unsigned i = 0; i < ARRAY_LEN(words); i++)
		h = (h ^ words[i]) * UINT64_C(0x9e3779b97f4a7c15), h ^= h >> 29;
	for (unsigned i = 0; i < it->name_len_bytes; i++)
		h = (h ^ (uint8_t)it->name[i]) * UINT64_C(0x100000001b3);
	return h | 1;
}

static bool item_equal(const struct item *a, const struct item *b)
{
	return a->kind == b->kind && a->parent == b->parent && a->ino == b->ino &&
	       a->name_len_bytes == b->name_len_bytes && memcmp(a->name, b->name, a->name_len_bytes) == 0;
}

static void queue_clear(struct lane *l)
{
	for (; l->head != l->tail; l->head++)
		free(l->ring[l->head % QUEUE_LEN]);
	map_clear(&l->waiting);
}

static struct item *item_new(int kind, uint64_t parent, uint64_t ino, const char *name, unsigned len)
{
	struct item *it = xmalloc(sizeof(*it) + len + 1);

	assert(len <= NAME_MAX_BYTES);
	it->kind = kind;
	it->parent = parent;
	it->ino = ino;
	it->name_len_bytes = len;
	memcpy(it->name, name, len);
	it->name[len] = '\0';
	return it;
}

/* Index + 1 of an equal item that waits in the queue; 0: none. */
static uint64_t queue_find(const struct lane *l, const struct item *it)
{
	uint64_t at;

	if (map_get(&l->waiting, item_hash(it), &at) && item_equal(l->ring[(at - 1) % QUEUE_LEN], it))
		return at;
	return 0;
}

static void queue_append(struct lane *l, struct item *it)
{
	l->ring[l->tail++ % QUEUE_LEN] = it;
	map_put(&l->waiting, item_hash(it), l->tail);
}

/* Both: a name that is gone is found out by its inode (tell_names). */
static void everything(struct notifier *n)
{
	struct lane *lanes[] = { &n->inodes, &n->names };

	for (unsigned i = 0; i < ARRAY_LEN(lanes); i++) {
		queue_clear(lanes[i]);
		queue_append(lanes[i], item_new(ITEM_EVERYTHING, 0, 0, "", 0));
	}
	atomic_store(&n->busy, true);
}

static void watch_put(struct notifier *n, int kind, uint64_t parent, uint64_t ino, const char *name, unsigned len)
{
	struct lane *l = &n->watch;
	struct item *it = item_new(kind, parent, ino, name, len);

	if (l->tail - l->head >= WATCH_LEN) {
		queue_clear(l);
		queue_append(l, item_new(ITEM_EVERYTHING, 0, 0, "", 0));
	}
	if (queue_find(l, it))
		free(it);
	else
		queue_append(l, it);
}

static void queue_put(struct notifier *n, int kind, uint64_t parent, uint64_t ino, const char *name, unsigned len)
{
	struct lane *l = kind == ITEM_INODE ? &n->inodes : &n->names;
	struct item *it = item_new(kind, parent, ino, name, len);

	if (l->tail - l->head == QUEUE_LEN) {
		log_debug("fuse", "notice queue is full: everything the kernel knows is invalidated");
		everything(n);
	}
	if (queue_find(l, it))
		free(it);
	else
		queue_append(l, it);
	atomic_store(&n->busy, true);
}

static struct item *queue_take(struct lane *l)
{
	struct item *it = l->ring[l->head++ % QUEUE_LEN];
	uint64_t hash = item_hash(it), at;

	if (map_get(&l->waiting, hash, &at) && at == l->head)
		map_del(&l->waiting, hash);
	return it;
}

/* ---- telling the kernel; no lock held ------------------------------------------------------------ */

static void pause_us(unsigned us)
{
	nanosleep(&(struct timespec){ .tv_nsec = (long)us * 1000 }, NULL);
}

/* Until every request that may have read an older state before now has counted the names it hands out. */
static void wait_entries(struct front *f)
{
	for (unsigned i = 0; i < f->n_workers; i++) {
		unsigned seq = atomic_load(&f->workers[i].entry_seq);

		while ((seq & 1) && atomic_load(&f->workers[i].entry_seq) == seq && !atomic_load(&f->ended))
			pause_us(ENTRY_POLL_US);
	}
}

/* Does the kernel know ino, or will it after a reply that is on its way? */
static bool is_known(struct front *f, uint64_t ino)
{
	if (nodes_know(&f->nodes, ino))
		return true;
	wait_entries(f);
	return nodes_know(&f->nodes, ino);
}

/* 0, or -ENOENT if the kernel does not know one of its nodes. */
static int inval_nodes(struct front *f, uint64_t ino)
{
	size_t n;
	uint64_t *list = nodes_of(&f->nodes, ino, &n);
	int rc = 0;

	/* Always the whole range: attributes alone would leave zeros behind the old end of a file that grew. */
	for (size_t i = 0; i < n && !atomic_load(&f->ended); i++)
		if (fuse_lowlevel_notify_inval_inode(f->se, list[i], 0, 0) == -ENOENT)
			rc = -ENOENT;
	free(list);
	return rc;
}

static void tell_inode(struct front *f, uint64_t ino)
{
	unsigned us = RETRY_FIRST_US, waited_us = 0;

	while (is_known(f, ino)) {
		atomic_store(&f->notifier->marks[ino % MARKS].told_ms, clock_mono_ms());
		if (inval_nodes(f, ino) != -ENOENT || atomic_load(&f->ended))
			return;
		if (waited_us >= RETRY_TOTAL_US) {
			log_debug("fuse", "inode %llx: the kernel holds names of it but does not know it",
			          (unsigned long long)ino);
			return;
		}
		pause_us(us);
		waited_us += us;
		us = MIN(us * 2, RETRY_LAST_US);
	}
}

static void tell_entry(struct front *f, uint64_t parent, const char *name, unsigned len)
{
	uint64_t *dirs;
	size_t n;

	if (!is_known(f, parent))
		return;
	dirs = nodes_of(&f->nodes, parent, &n);
	for (size_t i = 0; i < n; i++)
		fuse_lowlevel_notify_inval_entry(f->se, dirs[i], name, len);
	free(dirs);
}

/* What holders of the child were moved from is not gone for them. */
static void tell_delete(struct front *f, const struct item *it)
{
	uint64_t *dirs, *child;
	size_t n, n_child;

	if (!is_known(f, it->parent))
		return;
	dirs = nodes_of(&f->nodes, it->parent, &n);
	child = nodes_of(&f->nodes, it->ino, &n_child);
	for (size_t i = 0; i < n; i++) {
		int rc = n_child == 0 ? -ENOENT : fuse_lowlevel_notify_delete(f->se, dirs[i], child[0], it->name,
		                                                              it->name_len_bytes);

		if (rc != 0) /* another child has the name in the cache, or a directory still has cached entries */
			fuse_lowlevel_notify_inval_entry(f->se, dirs[i], it->name, it->name_len_bytes);
	}
	free(child);
	free(dirs);
}

struct entry_ctx {
	struct front *front;
	uint64_t dir;
};

static bool tell_listed(void *ctx, const char *name, size_t len, uint64_t cookie, const struct attr *attr)
{
	const struct entry_ctx *c = ctx;

	(void)cookie;
	(void)attr;
	if (strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
		tell_entry(c->front, c->dir, name, (unsigned)len);
	return !atomic_load(&c->front->ended);
}

/* Kernels before 6.16: names that exist now are looked up again; names that are gone are found out by their inode. */
static void tell_names(struct front *f, uint64_t ino)
{
	struct entry_ctx c = { .front = f, .dir = ino };
	struct attr attr;

	if (volume_getattr(f->v, ino, &attr) == 0 && S_ISDIR(attr.mode))
		volume_readdir(f->v, ino, 0, tell_listed, &c);
}

static void tell_all_names(struct front *f)
{
	struct {
		uint32_t len_bytes;
		int32_t code;
		uint64_t unique;
	} msg = { .len_bytes = sizeof(msg), .code = NOTIFY_INC_EPOCH };
	uint64_t *list;
	size_t count;

	if (write(fuse_session_fd(f->se), &msg, sizeof(msg)) == (ssize_t)sizeof(msg))
		return;
	wait_entries(f);
	list = nodes_list(&f->nodes, &count);
	for (size_t i = 0; i < count && !atomic_load(&f->ended); i++)
		tell_names(f, list[i]);
	free(list);
}

static void tell_all_inodes(struct front *f)
{
	uint64_t *list;
	size_t count;

	wait_entries(f);
	list = nodes_list(&f->nodes, &count);
	for (size_t i = 0; i < count && !atomic_load(&f->ended); i++)
		tell_inode(f, list[i]);
	free(list);
}

static void tell(struct front *f, const struct item *it, bool names)
{
	switch (it->kind) {
	case ITEM_INODE:
		tell_inode(f, it->ino);
		break;
	case ITEM_ENTRY:
		tell_entry(f, it->parent, it->name, it->name_len_bytes);
		break;
	case ITEM_DELETE:
		tell_delete(f, it);
		break;
	case ITEM_EVERYTHING:
		if (names)
			tell_all_names(f);
		else
			tell_all_inodes(f);
		break;
	}
}

static void *lane_main(void *arg)
{
	struct lane *l = arg;
	struct notifier *n = l->notifier;

	log_thread_name(l == &n->names ? "notifier" : "invalidator");
	pthread_mutex_lock(&n->lock);
	while (!n->stop) {
		if (l->head == l->tail) {
			if (l == &n->inodes)
				atomic_store(&n->busy, false);
			pthread_cond_wait(&n->changed, &n->lock);
			continue;
		}
		l->telling_at = l->head;
		l->telling = queue_take(l);
		pthread_mutex_unlock(&n->lock);
		tell(n->front, l->telling, l == &n->names);
		pthread_mutex_lock(&n->lock);
		free(l->telling);
		l->telling = NULL;
		l->told = l->telling_at + 1;
		if (n->waiters > 0)
			pthread_cond_broadcast(&n->changed);
	}
	pthread_mutex_unlock(&n->lock);
	return NULL;
}

/* ---- those who watch; no lock held --------------------------------------------------------------- */

static bool wait_told(struct notifier *n, const struct lane *l, uint64_t target, const struct timespec *until);
static struct timespec in_ms(unsigned ms);

static void watch_path(struct front *f, uint64_t ino)
{
	char *path = volume_path(f->v, ino);

	if (path)
		watchers_tell(&f->watchers, path);
	free(path);
}

/* A new name, or one that leads elsewhere now; of one that is gone its directory is told. */
static void watch_entry(struct front *f, const struct item *it)
{
	char *dir = nodes_know(&f->nodes, it->parent) ? volume_path(f->v, it->parent) : NULL, *path;
	struct attr a;

	if (!dir)
		return;
	path = xasprintf("%s/%s", strcmp(dir, "/") == 0 ? "" : dir, it->name);
	if (volume_lookup(f->v, it->parent, it->name, &a) == 0)
		watchers_tell(&f->watchers, path);
	free(path);
	free(dir);
}

static void watch_all(struct front *f)
{
	size_t count;
	uint64_t *list = nodes_list(&f->nodes, &count);
	struct attr a;

	for (size_t i = 0; i < count && !atomic_load(&f->ended); i++)
		if (volume_getattr(f->v, list[i], &a) == 0 && S_ISDIR(a.mode))
			watch_path(f, list[i]);
	free(list);
}

/* What somebody watches the kernel knows, and so it does the directory that he watches. */
static bool may_be_watched(struct front *f, uint64_t ino)
{
	uint64_t dir;

	if (nodes_know(&f->nodes, ino))
		return true;
	dir = volume_parent(f->v, ino);
	return dir && nodes_know(&f->nodes, dir);
}

static void watch_tell(struct front *f, const struct item *it)
{
	switch (it->kind) {
	case ITEM_INODE:
		if (may_be_watched(f, it->ino))
			watch_path(f, it->ino);
		break;
	case ITEM_ENTRY:
		watch_entry(f, it);
		break;
	case ITEM_EVERYTHING:
		watch_all(f);
		break;
	case ITEM_DELETE: /* never in this queue */
		break;
	}
}

static void *watch_main(void *arg)
{
	struct notifier *n = arg;
	struct lane *l = &n->watch;

	log_thread_name("watchers");
	pthread_mutex_lock(&n->lock);
	while (!n->stop) {
		if (l->head == l->tail) {
			pthread_cond_wait(&n->changed, &n->lock);
			continue;
		}
		const struct timespec until = in_ms(WATCH_WAIT_MS);
		struct item *it = queue_take(l);

		(void)(wait_told(n, &n->inodes, n->inodes.tail, &until) &&
		       wait_told(n, &n->names, n->names.tail, &until));
		pthread_mutex_unlock(&n->lock);
		watch_tell(n->front, it);
		free(it);
		pthread_mutex_lock(&n->lock);
	}
	pthread_mutex_unlock(&n->lock);
	return NULL;
}

/* ---- for the rest of fuse/ ----------------------------------------------------------------------- */

struct notifier *notifier_new(struct front *f)
{
	struct notifier *n = xcalloc(1, sizeof(*n));

	n->front = f;
	n->names.notifier = n->inodes.notifier = n->watch.notifier = n;
	pthread_mutex_init(&n->lock, NULL);
	cond_init_mono(&n->changed);
	return n;
}

static int lane_start(struct lane *l)
{
	struct notifier *n = l->notifier;
	bool watch = l == &n->watch;
	int rc;

	pthread_mutex_lock(&n->lock);
	rc = pthread_create(&l->thread, NULL, watch ? watch_main : lane_main, watch ? (void *)n : l);
	l->started = rc == 0;
	pthread_mutex_unlock(&n->lock);
	return -rc;
}

int notifier_start(struct notifier *n)
{
	int rc = lane_start(&n->names);

	if (!rc)
		rc = lane_start(&n->inodes);
	return rc || !n->front->inotify ? rc : lane_start(&n->watch);
}

bool notifier_runs(struct notifier *n)
{
	bool yes;

	pthread_mutex_lock(&n->lock);
	yes = n->inodes.started && !n->stop;
	pthread_mutex_unlock(&n->lock);
	return yes;
}

/* Lock held. What those who watch see of it. */
static void push_watch(struct notifier *n, const struct notice *x)
{
	if (x->kind == NOTICE_EVERYTHING)
		watch_put(n, ITEM_EVERYTHING, 0, 0, "", 0);
	if (x->kind == NOTICE_ENTRY)
		watch_put(n, ITEM_ENTRY, x->parent, 0, x->name, x->name_len_bytes);
	if (x->kind == NOTICE_ENTRY || x->kind == NOTICE_DELETE)
		watch_put(n, ITEM_INODE, 0, x->parent, "", 0);
	if (x->kind == NOTICE_INODE)
		watch_put(n, ITEM_INODE, 0, x->ino, "", 0);
}

void notifier_push(struct notifier *n, const struct notice *list, size_t count)
{
	pthread_mutex_lock(&n->lock);
	for (size_t i = 0; i < count && !n->stop; i++) {
		const struct notice *x = &list[i];

		if (n->front->inotify) /* also before its thread runs */
			push_watch(n, x);
		if (x->kind == NOTICE_EVERYTHING) {
			everything(n);
			continue;
		}
		if (x->kind == NOTICE_MOVED) { /* what they hold is another one now */
			queue_put(n, ITEM_INODE, 0, x->to, "", 0);
			continue;
		}
		if (x->kind == NOTICE_ENTRY)
			queue_put(n, ITEM_ENTRY, x->parent, 0, x->name, x->name_len_bytes);
		else if (x->kind == NOTICE_DELETE)
			queue_put(n, ITEM_DELETE, x->parent, x->ino, x->name, x->name_len_bytes);
		if (x->kind != NOTICE_INODE) /* the cached listing */
			queue_put(n, ITEM_INODE, 0, x->parent, "", 0);
		if (x->kind != NOTICE_ENTRY)
			queue_put(n, ITEM_INODE, 0, x->ino, "", 0);
	}
	pthread_cond_broadcast(&n->changed);
	pthread_mutex_unlock(&n->lock);
}

void notifier_push_inode(struct notifier *n, uint64_t ino)
{
	pthread_mutex_lock(&n->lock);
	if (!n->stop)
		queue_put(n, ITEM_INODE, 0, ino, "", 0);
	pthread_cond_broadcast(&n->changed);
	pthread_mutex_unlock(&n->lock);
}

static struct timespec in_ms(unsigned ms)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += (long)(ms % 1000) * 1000000;
	if (t.tv_nsec >= NS_PER_S) {
		t.tv_nsec -= NS_PER_S;
		t.tv_sec++;
	}
	return t;
}

/* Lock held. False: it is not until then. A mount that is gone caches nothing. */
static bool wait_told(struct notifier *n, const struct lane *l, uint64_t target, const struct timespec *until)
{
	n->waiters++;
	while (l->told < target && !n->stop)
		if (pthread_cond_timedwait(&n->changed, &n->lock, until) == ETIMEDOUT)
			break;
	n->waiters--;
	return l->told >= target || n->stop;
}

bool notifier_flush(struct notifier *n, unsigned timeout_ms)
{
	const struct timespec until = in_ms(timeout_ms);
	uint64_t names, inodes;
	bool done;

	pthread_mutex_lock(&n->lock);
	names = n->names.tail;
	inodes = n->inodes.tail;
	done = wait_told(n, &n->inodes, inodes, &until) && wait_told(n, &n->names, names, &until);
	pthread_mutex_unlock(&n->lock);
	return done;
}

/* Lock held. Items up to here must be told before the kernel has heard all about ino; 0: it has. */
static uint64_t owed(const struct lane *l, uint64_t ino)
{
	const struct item inode = { .kind = ITEM_INODE, .ino = ino }, all = { .kind = ITEM_EVERYTHING };
	uint64_t at = MAX(queue_find(l, &inode), queue_find(l, &all));

	if (!at && l->telling && (l->telling->kind == ITEM_EVERYTHING || l->telling->ino == ino))
		at = l->telling_at + 1;
	return at;
}

void notifier_reading(struct notifier *n, uint64_t ino)
{
	uint64_t told_ms = atomic_load(&n->marks[ino % MARKS].told_ms);

	if (told_ms && clock_mono_ms() - told_ms < CROSSING_MS)
		atomic_store(&n->marks[ino % MARKS].read_ms, clock_mono_ms());
}

bool notifier_crossed(struct notifier *n, uint64_t ino)
{
	uint64_t told_ms = atomic_load(&n->marks[ino % MARKS].told_ms);

	return told_ms && clock_mono_ms() - told_ms < CROSSING_MS &&
	       atomic_load(&n->marks[ino % MARKS].read_ms) >= told_ms;
}

bool notifier_owes(struct notifier *n, uint64_t ino)
{
	bool yes;

	if (!atomic_load(&n->busy))
		return false;
	pthread_mutex_lock(&n->lock);
	yes = !n->stop && owed(&n->inodes, ino) > 0;
	pthread_mutex_unlock(&n->lock);
	return yes;
}

static void settle(struct notifier *n, uint64_t ino, unsigned max_ms)
{
	struct timespec until;
	uint64_t target;

	if (!atomic_load(&n->busy))
		return;
	until = in_ms(max_ms);
	pthread_mutex_lock(&n->lock);
	target = owed(&n->inodes, ino);
	pthread_mutex_unlock(&n->lock);
	if (!target)
		return;
	worker_waits(n->front); /* the kernel may want a page read before it takes what it is told */
	pthread_mutex_lock(&n->lock);
	if (!wait_told(n, &n->inodes, target, &until))
		log_debug("fuse", "inode %llx: attributes are newer than the kernel's pages", (unsigned long long)ino);
	pthread_mutex_unlock(&n->lock);
}

void notifier_settle(struct notifier *n, uint64_t ino)
{
	settle(n, ino, SETTLE_MAX_MS);
}

void notifier_settle_write(struct notifier *n, uint64_t ino, bool may_be_locked)
{
	settle(n, ino, may_be_locked ? SETTLE_LOCKED_MS : SETTLE_MAX_MS);
}

static void lane_join(struct lane *l)
{
	if (l->started)
		pthread_join(l->thread, NULL);
	l->started = false;
}

void notifier_stop(struct notifier *n)
{
	pthread_mutex_lock(&n->lock);
	n->stop = true;
	pthread_cond_broadcast(&n->changed);
	pthread_mutex_unlock(&n->lock);
	lane_join(&n->names);
	lane_join(&n->inodes);
	lane_join(&n->watch);
}

void notifier_free(struct notifier *n)
{
	struct lane *lanes[] = { &n->names, &n->inodes, &n->watch };

	for (unsigned i = 0; i < ARRAY_LEN(lanes); i++) {
		queue_clear(lanes[i]);
		map_release(&lanes[i]->waiting);
	}
	pthread_cond_destroy(&n->changed);
	pthread_mutex_destroy(&n->lock);
	free(n);
}
