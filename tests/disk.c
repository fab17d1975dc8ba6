/* SPDX-License-Identifier: MIT */
/* Both names of each call are defined here: open and open64. */
#undef _FILE_OFFSET_BITS
#include "tests/disk.h"

#include <assert.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "util/util.h"

#define SECTOR_BYTES 512u
#define FDS_MAX 1024
#define FILES_MAX 4096
#define NAMES_MAX 16
#define NAME_BYTES 48

enum kind { MAKE, WRITE, PUNCH, RESIZE, SYNC, REMOVE, RENAME, SYNC_DIR };
static const char *const kind_names[] = { "make", "write", "punch", "resize", "sync", "remove", "rename",
	                                  "sync the directory" };

struct event {
	enum kind kind;
	uint32_t file;
	uint64_t off, len; /* RESIZE: len */
	uint8_t *data;     /* WRITE */
	char name[NAME_BYTES], to[NAME_BYTES];
};

struct names {
	struct {
		char name[NAME_BYTES];
		uint32_t file;
	} list[NAMES_MAX];
	size_t n;
};

struct bytes {
	uint8_t *data;
	size_t len, cap;
};

/* Held during each watched call, so that the order of the events is that of what happened to the files. */
static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static char root[256];
static struct event *events;
static size_t n_events, cap_events;
static uint32_t n_files;
static char file_names[FILES_MAX][NAME_BYTES]; /* the last one that each had */
static struct names live; /* as the program sees the directory */
static struct {
	uint32_t file; /* its number and 1 */
	bool is_dir;
} fds[FDS_MAX];

/* What is durable after the first `done` events. */
static struct bytes durable[FILES_MAX];
static struct names durable_names;
static size_t done, *pending; /* events before `done` that are not durable */
static size_t n_pending, cap_pending;
static const char *lie;
static size_t lie_from;

static struct disk_fault fault;
static atomic_bool paused; /* told by the test while the volume's threads are at work */
static uint64_t fault_seen;
static size_t fault_short_done;

/* ---- the C library's own ---- */

#define REAL(ret, name, ...) \
	static ret (*real_##name)(__VA_ARGS__);
REAL(int, open64, const char *, int, ...)
REAL(int, close, int)
REAL(ssize_t, read, int, void *, size_t)
REAL(ssize_t, pread64, int, void *, size_t, off64_t)
REAL(ssize_t, write, int, const void *, size_t)
REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t)
REAL(int, fsync, int)
REAL(int, fdatasync, int)
REAL(int, ftruncate64, int, off64_t)
REAL(int, fallocate64, int, int, off64_t, off64_t)
REAL(int, unlink, const char *)
REAL(int, unlinkat, int, const char *, int)
REAL(int, rename, const char *, const char *)

static void find(void *to, const char *name)
{
	void *p = dlsym(RTLD_NEXT, name);

	if (!p)
		abort();
	memcpy(to, &p, sizeof(p));
}

/* Before anybody's first call, other libraries' constructors included. */
static void find_all(void)
{
	if (real_rename)
		return;
	find(&real_open64, "open64");
	find(&real_close, "close");
	find(&real_read, "read");
	find(&real_pread64, "pread64");
	find(&real_write, "write");
	find(&real_pwrite64, "pwrite64");
	find(&real_fsync, "fsync");
	find(&real_fdatasync, "fdatasync");
	find(&real_ftruncate64, "ftruncate64");
	find(&real_fallocate64, "fallocate64");
	find(&real_unlink, "unlink");
	find(&real_unlinkat, "unlinkat");
	find(&real_rename, "rename");
}

/* ---- names ---- */

/* The file's name in the directory, "" for the directory itself, NULL for what is elsewhere. */
static const char *name_in(const char *path)
{
	size_t n = strlen(root);

	if (!n || strncmp(path, root, n) != 0)
		return NULL;
	return path[n] == '\0' ? path + n : path[n] == '/' ? path + n + 1 : NULL;
}

static size_t name_at(const struct names *names, const char *name)
{
	size_t i = 0;

	while (i < names->n && strcmp(names->list[i].name, name) != 0)
		i++;
	return i;
}

static void name_put(struct names *names, const char *name, uint32_t file)
{
	size_t i = name_at(names, name);

	if (i == names->n) {
		if (names->n == NAMES_MAX)
			abort();
		text_copy(names->list[names->n++].name, NAME_BYTES, name);
	}
	names->list[i].file = file;
}

static void name_drop(struct names *names, const char *name)
{
	size_t i = name_at(names, name);

	if (i < names->n)
		names->list[i] = names->list[--names->n];
}

static void name_apply(struct names *names, const struct event *e)
{
	if (e->kind == REMOVE || e->kind == RENAME)
		name_drop(names, e->name);
	if (e->kind == MAKE)
		name_put(names, e->name, e->file);
	if (e->kind == RENAME)
		name_put(names, e->to, e->file);
}

static uint32_t file_new(const char *name)
{
	if (n_files == FILES_MAX)
		abort();
	text_copy(file_names[n_files], NAME_BYTES, name);
	return n_files++;
}

static const char *file_name(uint32_t file)
{
	return file < n_files ? file_names[file] : "/";
}

static bool ends_with(const char *name, const char *end)
{
	size_t n = strlen(name), k = strlen(end);

	return n >= k && strcmp(name + n - k, end) == 0;
}

/* ---- recording ---- */

static struct event *add(enum kind kind, uint32_t file)
{
	if (n_events == cap_events) {
		cap_events = cap_events ? cap_events * 2 : 1024;
		events = xrealloc(events, cap_events * sizeof(*events));
	}
	events[n_events] = (struct event){ .kind = kind, .file = file };
	return &events[n_events++];
}

static void add_name(enum kind kind, uint32_t file, const char *name, const char *to)
{
	struct event *e = add(kind, file);

	text_copy(e->name, sizeof(e->name), name);
	text_copy(e->to, sizeof(e->to), to);
	name_apply(&live, e);
}

static void add_write(uint32_t file, const void *buf, uint64_t len, uint64_t off)
{
	struct event *e = add(WRITE, file);

	e->off = off;
	e->len = len;
	e->data = xmalloc(len);
	memcpy(e->data, buf, len);
}

static void bytes_resize(struct bytes *b, size_t len)
{
	if (len > b->cap) {
		b->cap = MAX(len, b->cap * 2);
		b->data = xrealloc(b->data, b->cap);
	}
	if (len > b->len)
		memset(b->data + b->len, 0, len - b->len);
	b->len = len;
}

static void load(const char *name)
{
	char *path = xasprintf("%s/%s", root, name);
	int fd = real_open64(path, O_RDONLY | O_CLOEXEC);
	struct bytes *b = &durable[n_files];
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		abort();
	bytes_resize(b, (size_t)st.st_size);
	if (real_pread64(fd, b->data, b->len, 0) != (ssize_t)b->len)
		abort();
	real_close(fd);
	free(path);
	name_put(&live, name, file_new(name));
}

void disk_watch(const char *dir)
{
	struct dirent *entry;
	DIR *d;

	disk_unwatch();
	find_all();
	d = opendir(dir);
	if (!d)
		abort();
	snprintf(root, sizeof(root), "%s", dir);
	while ((entry = readdir(d)))
		if (entry->d_name[0] != '.')
			load(entry->d_name);
	closedir(d);
	durable_names = live;
}

void disk_unwatch(void)
{
	for (size_t i = 0; i < n_events; i++)
		free(events[i].data);
	for (uint32_t i = 0; i < n_files; i++)
		free(durable[i].data);
	memset(durable, 0, sizeof(durable));
	memset(fds, 0, sizeof(fds));
	n_events = done = n_pending = 0;
	n_files = 0;
	live.n = durable_names.n = 0;
	root[0] = '\0';
	disk_lies(NULL, 0);
	disk_fail(NULL);
}

size_t disk_events(void)
{
	pthread_mutex_lock(&lock);
	size_t n = n_events;

	pthread_mutex_unlock(&lock);
	return n;
}

bool disk_event_is_sync(size_t n)
{
	return events[n].kind == SYNC || events[n].kind == SYNC_DIR;
}

void disk_event_text(size_t n, char *out, size_t cap_bytes)
{
	const struct event *e = &events[n];

	snprintf(out, cap_bytes, "%s %s%s%s at %llu, %llu bytes", kind_names[e->kind],
	         *e->name ? e->name : file_name(e->file), *e->to ? " to " : "", e->to, (unsigned long long)e->off,
	         (unsigned long long)e->len);
}

void disk_lies(const char *file, size_t from)
{
	lie = file;
	lie_from = from;
}

/* ---- faults ---- */

void disk_fail(const struct disk_fault *f)
{
	pthread_mutex_lock(&lock);
	fault = f ? *f : (struct disk_fault){ 0 };
	fault_seen = 0;
	fault_short_done = 0;
	pthread_mutex_unlock(&lock);
}

void disk_pause(bool now)
{
	paused = now;
}

uint64_t disk_calls(void)
{
	return fault_seen;
}

/* Shall this call fail? Sets errno then. */
static bool fails(unsigned call, const char *name)
{
	if (paused || !(fault.calls & call) || (fault.file && !ends_with(name, fault.file)))
		return false;
	fault_seen++;
	if (!fault.nth || fault_seen < fault.nth || (fault.times && fault_seen >= fault.nth + fault.times))
		return false;
	errno = fault.error;
	return true;
}

/* How much of a write is taken: all of it, a part, or (negative) none. */
static ssize_t write_len(uint32_t file, size_t len)
{
	if (!fails(DISK_WRITE, file_name(file)))
		return (ssize_t)len;
	if (fault.short_bytes && fault.short_bytes < len && !fault_short_done) {
		fault_short_done = fault.short_bytes;
		return (ssize_t)fault.short_bytes;
	}
	return -1;
}

/* ---- the calls ---- */

static bool watched(int fd, uint32_t *file)
{
	if (!root[0] || fd < 0 || fd >= FDS_MAX || (!fds[fd].file && !fds[fd].is_dir))
		return false;
	*file = fds[fd].file - 1;
	return true;
}

static int open_watched(const char *path, int flags, mode_t mode)
{
	const char *name;
	size_t at;
	bool is_new;
	int fd;

	name = name_in(path);
	at = name ? name_at(&live, name) : 0;
	is_new = name && *name && at == live.n;
	if (name && *name && fails(is_new ? DISK_NAME | DISK_OPEN : DISK_OPEN, name))
		return -1;
	fd = real_open64(path, flags, mode);
	if (fd < 0 || !name || fd >= FDS_MAX)
		return fd;
	if (*name == '\0') {
		fds[fd].is_dir = true;
		return fd;
	}
	if (is_new) {
		add_name(MAKE, file_new(name), name, "");
		at = name_at(&live, name);
	}
	fds[fd].file = live.list[at].file + 1;
	if (flags & O_TRUNC && !is_new)
		add(RESIZE, live.list[at].file);
	return fd;
}

static int do_open(const char *path, int flags, mode_t mode)
{
	find_all();
	pthread_mutex_lock(&lock);
	int fd = open_watched(path, flags, mode);

	pthread_mutex_unlock(&lock);
	return fd;
}

static mode_t mode_arg(int flags, va_list ap)
{
	return flags & (O_CREAT | __O_TMPFILE) ? va_arg(ap, mode_t) : 0;
}

int open64(const char *path, int flags, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = mode_arg(flags, ap);
	va_end(ap);
	return do_open(path, flags, mode);
}

int open(const char *path, int flags, ...)
{
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = mode_arg(flags, ap);
	va_end(ap);
	return do_open(path, flags, mode);
}

int close(int fd)
{
	find_all();
	pthread_mutex_lock(&lock);
	if (fd >= 0 && fd < FDS_MAX)
		memset(&fds[fd], 0, sizeof(fds[fd]));
	int rc = real_close(fd);

	pthread_mutex_unlock(&lock);
	return rc;
}

static bool read_fails(int fd)
{
	uint32_t file;

	find_all();
	pthread_mutex_lock(&lock);
	bool yes = watched(fd, &file) && fails(DISK_READ, file_name(file));

	pthread_mutex_unlock(&lock);
	return yes;
}

ssize_t read(int fd, void *buf, size_t len)
{
	return read_fails(fd) ? -1 : real_read(fd, buf, len);
}

ssize_t pread64(int fd, void *buf, size_t len, off64_t off)
{
	return read_fails(fd) ? -1 : real_pread64(fd, buf, len, off);
}

ssize_t pread(int fd, void *buf, size_t len, off_t off)
{
	return pread64(fd, buf, len, off);
}

/* With RWF_NOWAIT alone, which may want to wait at any time: where reads fail it always does. */
ssize_t preadv2(int fd, const struct iovec *part, int n, off_t off, int flags)
{
	pthread_mutex_lock(&lock);
	bool waits = n != 1 || flags != RWF_NOWAIT || fault.calls & DISK_READ;

	pthread_mutex_unlock(&lock);
	if (!waits)
		return pread64(fd, part->iov_base, part->iov_len, off);
	errno = EAGAIN;
	return -1;
}

ssize_t pwrite64(int fd, const void *buf, size_t len, off64_t off)
{
	uint32_t file = 0;
	ssize_t n;

	find_all();
	pthread_mutex_lock(&lock);
	bool is = watched(fd, &file);

	n = is ? write_len(file, len) : (ssize_t)len;
	if (n >= 0)
		n = real_pwrite64(fd, buf, (size_t)n, off);
	if (is && n > 0)
		add_write(file, buf, (uint64_t)n, (uint64_t)off);
	pthread_mutex_unlock(&lock);
	return n;
}

ssize_t pwrite(int fd, const void *buf, size_t len, off_t off)
{
	return pwrite64(fd, buf, len, off);
}

ssize_t write(int fd, const void *buf, size_t len)
{
	uint32_t file;
	off_t off;
	ssize_t n;

	find_all();
	pthread_mutex_lock(&lock);
	bool is = watched(fd, &file);

	pthread_mutex_unlock(&lock);
	if (!is)
		return real_write(fd, buf, len);
	off = lseek(fd, 0, SEEK_CUR);
	n = pwrite64(fd, buf, len, off);
	if (n > 0)
		lseek(fd, n, SEEK_CUR);
	return n;
}

static int sync_watched(int fd, int (*real)(int))
{
	uint32_t file;

	if (!watched(fd, &file))
		return real(fd);
	if (fds[fd].is_dir) {
		if (fails(DISK_SYNC, "/"))
			return -1;
		add(SYNC_DIR, UINT32_MAX);
		return 0;
	}
	if (fails(DISK_SYNC, file_name(file)))
		return -1;
	add(SYNC, file);
	return 0;
}

static int do_sync(int fd, int (*real)(int))
{
	pthread_mutex_lock(&lock);
	int rc = sync_watched(fd, real);

	pthread_mutex_unlock(&lock);
	return rc;
}

int fsync(int fd)
{
	find_all();
	return do_sync(fd, real_fsync);
}

int fdatasync(int fd)
{
	find_all();
	return do_sync(fd, real_fdatasync);
}

static int truncate_watched(int fd, off64_t len)
{
	uint32_t file;
	int rc;

	if (!watched(fd, &file))
		return real_ftruncate64(fd, len);
	if (fails(DISK_SIZE, file_name(file)))
		return -1;
	rc = real_ftruncate64(fd, len);
	if (rc == 0)
		add(RESIZE, file)->len = (uint64_t)len;
	return rc;
}

int ftruncate64(int fd, off64_t len)
{
	find_all();
	pthread_mutex_lock(&lock);
	int rc = truncate_watched(fd, len);

	pthread_mutex_unlock(&lock);
	return rc;
}

int ftruncate(int fd, off_t len)
{
	return ftruncate64(fd, len);
}

static int fallocate_watched(int fd, int mode, off64_t off, off64_t len)
{
	uint32_t file;
	int rc;

	if (watched(fd, &file) && fails(DISK_SIZE, file_name(file)))
		return -1;
	if (watched(fd, &file) && !(mode & FALLOC_FL_PUNCH_HOLE)) {
		errno = EOPNOTSUPP;
		return -1;
	}
	rc = real_fallocate64(fd, mode, off, len);
	if (rc == 0 && watched(fd, &file)) {
		struct event *e = add(PUNCH, file);

		e->off = (uint64_t)off;
		e->len = (uint64_t)len;
	}
	return rc;
}

int fallocate64(int fd, int mode, off64_t off, off64_t len)
{
	find_all();
	pthread_mutex_lock(&lock);
	int rc = fallocate_watched(fd, mode, off, len);

	pthread_mutex_unlock(&lock);
	return rc;
}

int fallocate(int fd, int mode, off_t off, off_t len)
{
	return fallocate64(fd, mode, off, len);
}

static int removed(const char *name, int rc)
{
	size_t at = name_at(&live, name);

	if (rc == 0 && at < live.n)
		add_name(REMOVE, live.list[at].file, name, "");
	return rc;
}

int unlink(const char *path)
{
	const char *name;

	find_all();
	name = name_in(path);
	if (!name)
		return real_unlink(path);
	return fails(DISK_NAME, name) ? -1 : removed(name, real_unlink(path));
}

/* opendir opens behind our back */
static bool is_root(int fd)
{
	char link[32], path[256];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = root[0] ? readlink(link, path, sizeof(path)) : -1;
	return n > 0 && (size_t)n == strlen(root) && memcmp(path, root, (size_t)n) == 0;
}

int unlinkat(int fd, const char *name, int flags)
{
	find_all();
	if (!is_root(fd))
		return real_unlinkat(fd, name, flags);
	return fails(DISK_NAME, name) ? -1 : removed(name, real_unlinkat(fd, name, flags));
}

int rename(const char *from, const char *to)
{
	const char *name, *new_name;
	int rc;

	find_all();
	name = name_in(from);
	new_name = name_in(to);
	if (!name || !new_name)
		return real_rename(from, to);
	if (fails(DISK_NAME, name))
		return -1;
	rc = real_rename(from, to);
	if (rc == 0) {
		uint32_t file = live.list[name_at(&live, name)].file;

		add_name(RENAME, file, name, new_name);
		text_copy(file_names[file], NAME_BYTES, new_name);
	}
	return rc;
}

/* ---- the disk ---- */

static bool is_name(const struct event *e)
{
	return e->kind == MAKE || e->kind == REMOVE || e->kind == RENAME;
}

static void apply_to_bytes(struct bytes *b, const struct event *e)
{
	if (e->kind == RESIZE) {
		bytes_resize(b, e->len);
	} else if (e->kind == PUNCH) {
		if (e->off < b->len)
			memset(b->data + e->off, 0, MIN(e->len, b->len - e->off));
	} else {
		bytes_resize(b, MAX(b->len, e->off + e->len));
		memcpy(b->data + e->off, e->data, e->len);
	}
}

/* What the flush covers becomes durable. */
static void flush(const struct event *s)
{
	size_t kept = 0;

	for (size_t i = 0; i < n_pending; i++) {
		const struct event *e = &events[pending[i]];

		if (s->kind == SYNC_DIR && is_name(e))
			name_apply(&durable_names, e);
		else if (s->kind == SYNC && !is_name(e) && e->file == s->file)
			apply_to_bytes(&durable[e->file], e);
		else
			pending[kept++] = pending[i];
	}
	n_pending = kept;
}

static bool lied(const struct event *s)
{
	return lie && done >= lie_from && ends_with(s->kind == SYNC_DIR ? "/" : file_name(s->file), lie);
}

static void advance(size_t n)
{
	if (n < done)
		abort();
	for (; done < n; done++) {
		if (disk_event_is_sync(done)) {
			if (!lied(&events[done]))
				flush(&events[done]);
			continue;
		}
		if (n_pending == cap_pending) {
			cap_pending = cap_pending ? cap_pending * 2 : 256;
			pending = xrealloc(pending, cap_pending * sizeof(*pending));
		}
		pending[n_pending++] = done;
	}
}

static uint64_t rng(uint64_t *seed)
{
	uint64_t z = (*seed += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

static bool likely(uint64_t *seed, unsigned percent)
{
	return rng(seed) % 100 < percent;
}

/* Sector by sector: new, as before, or (of a write that was under way) rubbish. */
static void put_torn(int fd, const struct event *e, uint64_t *seed)
{
	uint8_t sector[SECTOR_BYTES];
	unsigned percent = (unsigned)(rng(seed) % 101);

	for (uint64_t at = e->off; at < e->off + e->len;) {
		uint64_t next = MIN(e->off + e->len, (at / SECTOR_BYTES + 1) * SECTOR_BYTES);

		if (e->kind == PUNCH)
			next = MIN(e->off + e->len, at + 4096);
		if (likely(seed, percent)) {
			if (e->kind == PUNCH) {
				real_fallocate64(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off64_t)at,
				                 (off64_t)(next - at));
			} else if (likely(seed, 3)) {
				for (size_t i = 0; i < sizeof(sector); i++)
					sector[i] = (uint8_t)rng(seed);
				if (real_pwrite64(fd, sector, next - at, (off64_t)at) < 0)
					abort();
			} else if (real_pwrite64(fd, e->data + (at - e->off), next - at, (off64_t)at) < 0) {
				abort();
			}
		}
		at = next;
	}
}

static void put_whole(int fd, const struct event *e)
{
	int rc = 0;

	if (e->kind == RESIZE)
		rc = real_ftruncate64(fd, (off64_t)e->len);
	else if (e->kind == PUNCH)
		rc = real_fallocate64(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off64_t)e->off, (off64_t)e->len);
	else if (real_pwrite64(fd, e->data, e->len, (off64_t)e->off) != (ssize_t)e->len)
		rc = -1;
	if (rc < 0)
		abort();
}

/* How a cut treats what is not durable: in whole, torn, in percent. */
struct luck {
	unsigned whole, torn;
};

static struct luck luck_draw(uint64_t *seed)
{
	static const struct luck table[] = { { 100, 0 }, { 0, 0 }, { 50, 0 }, { 0, 100 }, { 80, 15 }, { 5, 5 },
		                             { 95, 0 } };

	return table[rng(seed) % ARRAY_LEN(table)];
}

static void put_file(const char *path, uint32_t file, uint64_t *seed)
{
	const struct bytes *b = &durable[file];
	struct luck luck = luck_draw(seed);
	int fd = real_open64(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	struct stat st;

	if (fd < 0 || (b->len && real_pwrite64(fd, b->data, b->len, 0) != (ssize_t)b->len))
		abort();
	for (size_t i = 0; i < n_pending; i++) {
		const struct event *e = &events[pending[i]];

		if (is_name(e) || e->file != file)
			continue;
		if (likely(seed, luck.whole))
			put_whole(fd, e);
		else if (e->kind != RESIZE && likely(seed, luck.torn))
			put_torn(fd, e, seed);
	}
	if (fstat(fd, &st) == 0 && (uint64_t)st.st_size > b->len && likely(seed, 20)) {
		uint64_t grown = (uint64_t)st.st_size - b->len;

		if (real_ftruncate64(fd, (off64_t)(b->len + rng(seed) % grown)) < 0) /* the growth, or some of it */
			abort();
	}
	real_close(fd);
}

void disk_clear(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *entry;

	find_all();
	while (d && (entry = readdir(d)))
		if (entry->d_name[0] != '.')
			real_unlinkat(dirfd(d), entry->d_name, 0);
	if (d)
		closedir(d);
}

void disk_power_cut(size_t n, uint64_t seed, const char *dir)
{
	struct names names;
	struct luck luck;

	advance(n);
	names = durable_names;
	luck = luck_draw(&seed);
	for (size_t i = 0; i < n_pending; i++)
		if (is_name(&events[pending[i]]) && likely(&seed, luck.whole))
			name_apply(&names, &events[pending[i]]);
	disk_clear(dir);
	for (size_t i = 0; i < names.n; i++) {
		char *path = xasprintf("%s/%s", dir, names.list[i].name);

		put_file(path, names.list[i].file, &seed);
		free(path);
	}
}
