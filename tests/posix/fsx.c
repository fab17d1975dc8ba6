/* SPDX-License-Identifier: MIT */
/*
 * fsx FILE SEED OPERATIONS: random operations on one file, each also on a model in memory, and what is read compared
 * with it. All ways to the bytes are mixed: descriptors, appends, a shared mapping, direct I/O, holes, copies. The same
 * seed does the same. On a difference it says the operation and the offset, and ends with 1.
 */
#include "tests/posix/posix.h"

#include <linux/falloc.h>
#include <sys/mman.h>

#define MAX_BYTES (512u << 10)
#define IO_MAX_BYTES (96u << 10)
#define PAGE_BYTES 4096u

struct fsx {
	const char *path;
	int fd, append_fd, direct_fd; /* direct_fd -1: the filesystem has none */
	uint64_t rnd;
	size_t size;
	uint8_t model[MAX_BYTES];
	uint8_t io[MAX_BYTES] __attribute__((aligned(PAGE_BYTES)));
	const char *what; /* the operation at hand */
	unsigned long n;
};

static void differ(const struct fsx *x, size_t at, int got, int want)
{
	printf("# operation %lu (%s), size %zu: at offset %zu there is %d instead of %d\n", x->n, x->what, x->size, at,
	       got, want);
	fflush(NULL);
	_exit(1);
}

static void compare(const struct fsx *x, const uint8_t *got, size_t off, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (got[i] != x->model[off + i])
			differ(x, off + i, got[i], x->model[off + i]);
}

static void open_all(struct fsx *x)
{
	x->fd = open(x->path, O_RDWR | O_CREAT, 0644);
	x->append_fd = open(x->path, O_WRONLY | O_APPEND);
	x->direct_fd = open(x->path, O_RDWR | O_DIRECT);
	WANT(x->fd >= 0 && x->append_fd >= 0);
}

static void close_all(struct fsx *x)
{
	WANT(close(x->fd) == 0 && close(x->append_fd) == 0);
	if (x->direct_fd >= 0)
		WANT(close(x->direct_fd) == 0);
}

static void fill(struct fsx *x, size_t len)
{
	for (size_t i = 0; i < len; i++)
		x->io[i] = (uint8_t)(rnd_next(&x->rnd) >> 13);
}

/* The model's bytes [off, off+len) were written; what lies between the old end and off is zero. */
static void model_write(struct fsx *x, const uint8_t *data, size_t off, size_t len)
{
	if (off > x->size)
		memset(x->model + x->size, 0, off - x->size);
	memmove(x->model + off, data, len);
	if (off + len > x->size)
		x->size = off + len;
}

static void do_write(struct fsx *x, size_t off, size_t len)
{
	fill(x, len);
	WANT(pwrite(x->fd, x->io, len, (off_t)off) == (ssize_t)len);
	model_write(x, x->io, off, len);
}

static void do_append(struct fsx *x, size_t off, size_t len)
{
	(void)off;
	if (x->size + len > MAX_BYTES)
		return;
	fill(x, len);
	WANT(write(x->append_fd, x->io, len) == (ssize_t)len);
	model_write(x, x->io, x->size, len);
}

static void do_read(struct fsx *x, size_t off, size_t len)
{
	ssize_t want = off >= x->size ? 0 : (ssize_t)(off + len > x->size ? x->size - off : len);

	WANT(pread(x->fd, x->io, len, (off_t)off) == want);
	compare(x, x->io, off, (size_t)want);
}

static void do_direct(struct fsx *x, size_t off, size_t len)
{
	off -= off % PAGE_BYTES;
	len = len / PAGE_BYTES * PAGE_BYTES;
	if (x->direct_fd < 0 || len == 0 || off + len > MAX_BYTES)
		return;
	if (rnd_below(&x->rnd, 2)) {
		fill(x, len);
		WANT(pwrite(x->direct_fd, x->io, len, (off_t)off) == (ssize_t)len);
		model_write(x, x->io, off, len);
	} else if (off < x->size) {
		ssize_t n = pread(x->direct_fd, x->io, len, (off_t)off);

		WANT(n == (ssize_t)(off + len > x->size ? x->size - off : len));
		compare(x, x->io, off, (size_t)n);
	}
}

static void do_truncate(struct fsx *x, size_t off, size_t len)
{
	(void)len;
	if (rnd_below(&x->rnd, 2))
		WANT(truncate(x->path, (off_t)off) == 0);
	else
		WANT(ftruncate(x->fd, (off_t)off) == 0);
	if (off > x->size)
		memset(x->model + x->size, 0, off - x->size);
	x->size = off;
}

/* Within the file, as a mapping cannot grow it. */
static void do_map(struct fsx *x, size_t off, size_t len)
{
	size_t start = off - off % PAGE_BYTES;
	uint8_t *map;

	if (off >= x->size)
		return;
	len = off + len > x->size ? x->size - off : len;
	map = mmap(NULL, off - start + len, PROT_READ | PROT_WRITE, MAP_SHARED, x->fd, (off_t)start);
	WANT(map != MAP_FAILED);
	compare(x, map + (off - start), off, len);
	if (rnd_below(&x->rnd, 2)) {
		fill(x, len);
		memcpy(map + (off - start), x->io, len);
		model_write(x, x->io, off, len);
		if (rnd_below(&x->rnd, 2))
			WANT(msync(map, off - start + len, MS_SYNC) == 0);
	}
	WANT(munmap(map, off - start + len) == 0);
}

static void zero_model(struct fsx *x, size_t off, size_t len)
{
	if (off < x->size)
		memset(x->model + off, 0, off + len > x->size ? x->size - off : len);
}

static void do_punch(struct fsx *x, size_t off, size_t len)
{
	WANT(fallocate(x->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len) == 0);
	zero_model(x, off, len);
}

static void do_zero(struct fsx *x, size_t off, size_t len)
{
	bool keep = rnd_below(&x->rnd, 2);

	WANT(fallocate(x->fd, FALLOC_FL_ZERO_RANGE | (keep ? FALLOC_FL_KEEP_SIZE : 0), (off_t)off, (off_t)len) == 0);
	zero_model(x, off, len);
	if (!keep && off + len > x->size) {
		memset(x->model + x->size, 0, off + len - x->size);
		x->size = off + len;
	}
}

static void do_allocate(struct fsx *x, size_t off, size_t len)
{
	WANT(fallocate(x->fd, 0, (off_t)off, (off_t)len) == 0);
	if (off + len > x->size) {
		memset(x->model + x->size, 0, off + len - x->size);
		x->size = off + len;
	}
}

static void do_copy(struct fsx *x, size_t off, size_t len)
{
	off_t in = (off_t)rnd_below(&x->rnd, x->size + 1), out = (off_t)off;
	ssize_t n;

	if ((size_t)in + len > x->size)
		len = x->size - (size_t)in;
	if (len == 0 || off + len > MAX_BYTES || ((size_t)in < off + len && off < (size_t)in + len))
		return;
	n = copy_file_range(x->fd, &in, x->fd, &out, len, 0);
	WANT(n > 0 && (size_t)n <= len);
	memcpy(x->io, x->model + (in - n), (size_t)n);
	model_write(x, x->io, off, (size_t)n);
}

static void do_sync(struct fsx *x, size_t off, size_t len)
{
	(void)off;
	WANT((len % 2 ? fsync(x->fd) : fdatasync(x->append_fd)) == 0);
}

static void do_reopen(struct fsx *x, size_t off, size_t len)
{
	(void)off;
	if (len % 2) /* the next reads come from the filesystem */
		posix_fadvise(x->fd, 0, 0, POSIX_FADV_DONTNEED);
	close_all(x);
	open_all(x);
}

static const struct {
	const char *name;
	void (*fn)(struct fsx *x, size_t off, size_t len);
	unsigned weight;
} operations[] = {
	{ "write", do_write, 20 },   { "append", do_append, 8 },     { "read", do_read, 20 },
	{ "direct", do_direct, 12 }, { "truncate", do_truncate, 8 }, { "map", do_map, 20 },
	{ "punch", do_punch, 6 },    { "zero", do_zero, 6 },         { "allocate", do_allocate, 4 },
	{ "copy", do_copy, 6 },      { "sync", do_sync, 1 },         { "reopen", do_reopen, 3 },
};

static void step(struct fsx *x)
{
	size_t off = rnd_below(&x->rnd, MAX_BYTES), len = 1 + rnd_below(&x->rnd, IO_MAX_BYTES);
	unsigned total = 0, pick;
	struct stat st;
	size_t k = 0;

	if (rnd_below(&x->rnd, 3) == 0) /* small ones meet in one block more often */
		len = 1 + len % 300;
	if (rnd_below(&x->rnd, 2) && x->size)
		off = rnd_below(&x->rnd, x->size);
	if (rnd_below(&x->rnd, 8) == 0) /* the very beginning is a case of its own */
		off = 0;
	if (rnd_below(&x->rnd, 3) == 0) { /* and so are whole blocks */
		off -= off % PAGE_BYTES;
		len = (len + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
	}
	if (off + len > MAX_BYTES)
		len = MAX_BYTES - off;
	for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
		total += operations[i].weight;
	for (pick = (unsigned)rnd_below(&x->rnd, total); pick >= operations[k].weight; k++)
		pick -= operations[k].weight;
	x->what = operations[k].name;
	operations[k].fn(x, off, len);
	WANT(fstat(x->fd, &st) == 0);
	if ((size_t)st.st_size != x->size)
		differ(x, x->size, (int)st.st_size, (int)x->size);
}

int main(int argc, char **argv)
{
	struct fsx *x = aligned_alloc(PAGE_BYTES, (sizeof(*x) + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES);
	unsigned long n;

	if (argc != 4) {
		fprintf(stderr, "usage: fsx FILE SEED OPERATIONS\n");
		return 2;
	}
	WANT(x);
	memset(x, 0, sizeof(*x));
	x->path = argv[1];
	x->rnd = strtoull(argv[2], NULL, 0);
	n = strtoul(argv[3], NULL, 0);
	(void)!unlink(x->path);
	open_all(x);
	for (x->n = 1; x->n <= n; x->n++)
		step(x);
	x->what = "the whole at the end";
	WANT(pread(x->fd, x->io, MAX_BYTES, 0) == (ssize_t)x->size);
	compare(x, x->io, 0, x->size);
	close_all(x);
	free(x);
	printf("ok 1 - %lu operations, seed %s\n1..1\n", n, argv[2]);
	return 0;
}
