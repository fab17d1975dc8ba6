/* SPDX-License-Identifier: MIT */
/*
 * The notifier: a bounded queue of notices and the one thread that tells them to the kernel.
 *
 * A notice is queued after the change is in the volume, so telling it at any later time is right, and two equal notices
 * that wait are one. What the kernel answers with ENOENT it does not know *yet*, perhaps: a reply with the old
 * attributes may be on its way, and would then be believed for an hour. So such a notice is told again as long as the
 * kernel holds names of the inode.
 */
#include "fuse/internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "util/log.h"
#include "util/util.h"

/* 64k notices are a few MB, and about a tenth of a second of the kernel's time. */
#define QUEUE_LEN 65536u
#define RETRY_FIRST_US 100u
#define RETRY_LAST_US 20000u
#define RETRY_TOTAL_US 1000000u
#define ENTRY_POLL_US 50u

/* linux/fuse.h has it from 6.16 on: all names are looked up again before they are believed. */
#define NOTIFY_INC_EPOCH 8

struct item {
	enum { ITEM_INODE, ITEM_ENTRY, ITEM_DELETE, ITEM_EVERYTHING } kind;
	uint64_t parent, ino;
	unsigned name_len_bytes;
	char name[]; /* NUL-terminated */
};

struct notifier {
	struct front *front;
	pthread_t thread;
	bool started;

	pthread_mutex_t lock;   /* protects all below */
	pthread_cond_t changed;
	struct item *ring[QUEUE_LEN];
	uint64_t head, tail;    /* item i is in ring[i % QUEUE_LEN] */
	uint64_t told;          /* items before this one have been told to the kernel */
	struct map waiting;     /* hash of an item -> its index + 1 */
	unsigned flushers;      /* threads in notifier_flush */
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

static void queue_clear(struct notifier *n)
{
	for (; n->head != n->tail; n->head++)
		free(n->ring[n->head % QUEUE_LEN]);
	map_clear(&n->waiting);
}

static void queue_put(struct notifier *n, int kind, uint64_t parent, uint64_t ino, const char *name, unsigned len)
{
	struct item *it = xmalloc(sizeof(*it) + len + 1);
	uint64_t hash, at;

	assert(len <= NAME_MAX_BYTES);
	it->kind = kind;
	it->parent = parent;
	it->ino = ino;
	it->name_len_bytes = len;
	memcpy(it->name, name, len);
	it->name[len] = '\0';
	hash = item_hash(it);
	if (map_get(&n->waiting, hash, &at) && item_equal(n->ring[(at - 1) % QUEUE_LEN], it)) {
		free(it);
		return;
	}
	if (n->tail - n->head == QUEUE_LEN) {
		log_debug("fuse", "notice queue is full: everything the kernel knows is invalidated");
		queue_clear(n);
		it->kind = ITEM_EVERYTHING;
		hash = item_hash(it);
	}
	n->ring[n->tail++ % QUEUE_LEN] = it;
	map_put(&n->waiting, hash, n->tail);
}

static struct item *queue_take(struct notifier *n)
{
	struct item *it = n->ring[n->head++ % QUEUE_LEN];
	uint64_t hash = item_hash(it), at;

	if (map_get(&n->waiting, hash, &at) && at == n->head)
		map_del(&n->waiting, hash);
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
	if (known_has(f, ino))
		return true;
	wait_entries(f);
	return known_has(f, ino);
}

static void tell_inode(struct front *f, uint64_t ino)
{
	unsigned us = RETRY_FIRST_US, waited_us = 0;

	while (is_known(f, ino)) {
		/* Always the whole range: attributes alone would leave zeros behind the old end of a file that grew. */
		int rc = fuse_lowlevel_notify_inval_inode(f->se, ino, 0, 0);

		if (rc != -ENOENT || atomic_load(&f->ended))
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
	if (is_known(f, parent))
		fuse_lowlevel_notify_inval_entry(f->se, parent, name, len);
}

static void tell_delete(struct front *f, const struct item *it)
{
	int rc;

	if (!is_known(f, it->parent))
		return;
	rc = fuse_lowlevel_notify_delete(f->se, it->parent, it->ino, it->name, it->name_len_bytes);
	if (rc != 0) /* another child has the name in the cache, or a directory still has cached entries */
		fuse_lowlevel_notify_inval_entry(f->se, it->parent, it->name, it->name_len_bytes);
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
		fuse_lowlevel_notify_inval_entry(c->front->se, c->dir, name, len);
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

static void tell_everything(struct front *f)
{
	struct {
		uint32_t len_bytes;
		int32_t code;
		uint64_t unique;
	} msg = { .len_bytes = sizeof(msg), .code = NOTIFY_INC_EPOCH };
	bool epoch = write(fuse_session_fd(f->se), &msg, sizeof(msg)) == (ssize_t)sizeof(msg);
	uint64_t *list;
	size_t count;

	wait_entries(f);
	list = known_list(f, &count);
	for (size_t i = 0; i < count && !atomic_load(&f->ended); i++) {
		if (!epoch)
			tell_names(f, list[i]);
		tell_inode(f, list[i]);
	}
	free(list);
}

static void tell(struct front *f, const struct item *it)
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
		tell_everything(f);
		break;
	}
}

static void *notifier_main(void *arg)
{
	struct notifier *n = arg;

	log_thread_name("notifier");
	pthread_mutex_lock(&n->lock);
	while (!n->stop) {
		struct item *it;
		uint64_t at = n->head;

		if (n->head == n->tail) {
			pthread_cond_wait(&n->changed, &n->lock);
			continue;
		}
		it = queue_take(n);
		pthread_mutex_unlock(&n->lock);
		tell(n->front, it);
		free(it);
		pthread_mutex_lock(&n->lock);
		n->told = at + 1;
		if (n->flushers > 0)
			pthread_cond_broadcast(&n->changed);
	}
	pthread_mutex_unlock(&n->lock);
	return NULL;
}

/* ---- for the rest of fuse/ ----------------------------------------------------------------------- */

struct notifier *notifier_new(struct front *f)
{
	struct notifier *n = xcalloc(1, sizeof(*n));
	pthread_condattr_t attr;

	n->front = f;
	pthread_mutex_init(&n->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&n->changed, &attr);
	pthread_condattr_destroy(&attr);
	return n;
}

int notifier_start(struct notifier *n)
{
	int rc = pthread_create(&n->thread, NULL, notifier_main, n);

	n->started = rc == 0;
	return -rc;
}

void notifier_push(struct notifier *n, const struct notice *list, size_t count)
{
	pthread_mutex_lock(&n->lock);
	for (size_t i = 0; i < count && !n->stop; i++) {
		const struct notice *x = &list[i];

		if (x->kind == NOTICE_EVERYTHING) {
			queue_put(n, ITEM_EVERYTHING, 0, 0, "", 0);
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
	const struct notice notice = { .kind = NOTICE_INODE, .ino = ino };

	notifier_push(n, &notice, 1);
}

bool notifier_flush(struct notifier *n, unsigned timeout_ms)
{
	struct timespec until;
	uint64_t target;
	bool done;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += timeout_ms / 1000;
	until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	if (until.tv_nsec >= NS_PER_S) {
		until.tv_nsec -= NS_PER_S;
		until.tv_sec++;
	}
	pthread_mutex_lock(&n->lock);
	target = n->tail;
	n->flushers++;
	while (n->told < target && !n->stop) {
		if (pthread_cond_timedwait(&n->changed, &n->lock, &until) == ETIMEDOUT)
			break;
	}
	n->flushers--;
	done = n->told >= target || n->stop; /* a mount that is gone caches nothing */
	pthread_mutex_unlock(&n->lock);
	return done;
}

void notifier_stop(struct notifier *n)
{
	pthread_mutex_lock(&n->lock);
	n->stop = true;
	pthread_cond_broadcast(&n->changed);
	pthread_mutex_unlock(&n->lock);
	if (n->started)
		pthread_join(n->thread, NULL);
	n->started = false;
}

void notifier_free(struct notifier *n)
{
	queue_clear(n);
	map_release(&n->waiting);
	pthread_cond_destroy(&n->changed);
	pthread_mutex_destroy(&n->lock);
	free(n);
}
