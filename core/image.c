/* SPDX-License-Identifier: MIT */
#include "core/image.h"

#include "core/volume.h"
#include "util/log.h"
#include "util/util.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define IMAGE_MAGIC "twinfs image\r\n\032\n"
#define IMAGE_VERSION 1u
#define PIECE_BYTES ((size_t)128 << 10)
#define COMPLAIN_EVERY_MS 60000u
/* A stream of writes is handed to the disk in windows of this size, so that a flush finds little left to do. */
#define WINDOW_SHIFT 22
#define WINDOW_BYTES (UINT64_C(1) << WINDOW_SHIFT)
/* Windows that wait for being dropped. Of more than this (1 GiB, 16 groups) some stay cached. */
#define WINDOWS_MAX 256u
#define STREAM_BYTES ((size_t)64 << 10) /* shorter writes belong to no stream */

/* Block 0, numbers little-endian (Linux on big-endian machines: refused by the version, which reads as another one). */
struct header {
	char magic[16];
	uint32_t version, block_bytes;
	uint64_t sum; /* of the bytes before it */
};

struct image {
	int fd;
	bool no_sync, device;
	_Atomic bool no_punch;
	_Atomic uint64_t written; /* counts completed writes */
	_Atomic uint64_t complained_ms;
	pthread_mutex_t sync_lock; /* innermost; protects the next two, held during fdatasync */
	uint64_t synced;           /* value of `written` that is durable */
	int sync_error;
	_Atomic uint64_t busy_since_ms;
	_Atomic uint64_t losses;   /* no lock to read: nobody may wait for an fdatasync to write */
	_Atomic bool failed;       /* sync_error, likewise */
	/* Windows written whole: [dropped, flushed) may be dropped, [begun, filled) were not given to the disk yet.
	 * Window i of these is in windows[i % WINDOWS_MAX]. */
	pthread_mutex_t window_lock; /* innermost; protects all below */
	uint64_t windows[WINDOWS_MAX];
	uint64_t dropped, flushed, begun, filled;
	_Atomic bool due; /* begun < filled; read without the lock */
};

int host_errno(int e)
{
	switch (e) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return -ENOSPC;
	case EROFS:
		return -EROFS;
	default:
		return -EIO;
	}
}

uint64_t block_sum(const void *block)
{
	return XXH3_64bits(block, BLOCK_BYTES);
}

static void header_make(uint8_t block[BLOCK_BYTES])
{
	struct header h = { .version = IMAGE_VERSION, .block_bytes = BLOCK_BYTES };

	memcpy(h.magic, IMAGE_MAGIC, sizeof(h.magic));
	h.sum = XXH3_64bits(&h, offsetof(struct header, sum));
	memset(block, 0, BLOCK_BYTES);
	memcpy(block, &h, sizeof(h));
}

int image_format(const char *path, struct err *err)
{
	uint8_t block[BLOCK_BYTES];
	struct stat st;
	int rc = 0;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || fstat(fd, &st) < 0) {
		rc = -errno;
		err_set(err, rc, "cannot make the image %s: %s", path, strerror(-rc));
		goto out;
	}
	if (S_ISREG(st.st_mode) ? st.st_size > 0 : !S_ISBLK(st.st_mode)) {
		rc = err_set(err, -EEXIST, "%s is in the way of a new image; choose an empty folder", path);
		goto out;
	}
	header_make(block);
	if (pwrite(fd, block, sizeof(block), 0) != (ssize_t)sizeof(block) || fdatasync(fd) < 0) {
		rc = errno ? -errno : -EIO;
		err_set(err, rc, "cannot write the image %s: %s", path, strerror(-rc));
	}
out:
	if (fd >= 0)
		close(fd);
	return rc;
}

static int header_check(int fd, const char *path, struct err *err)
{
	uint8_t block[BLOCK_BYTES];
	struct header h;
	ssize_t n = pread(fd, block, sizeof(block), 0);

	if (n < 0)
		return err_set(err, -EIO, "cannot read the image %s: %s", path, strerror(errno));
	memcpy(&h, block, sizeof(h));
	if (n != (ssize_t)sizeof(block) || memcmp(h.magic, IMAGE_MAGIC, sizeof(h.magic)) != 0)
		return err_set(err, -EINVAL, "%s is not the image of a twinfs store", path);
	if (h.sum != XXH3_64bits(&h, offsetof(struct header, sum)))
		return err_set(err, -EUCLEAN, "the header of the image %s is damaged; restore the store from the peer",
		               path);
	if (h.version > IMAGE_VERSION || h.block_bytes != BLOCK_BYTES)
		return err_set(err, -EPROTONOSUPPORT,
			       "the image %s has format %u, this program knows up to %u; upgrade twinfs", path,
			       h.version, IMAGE_VERSION);
	return 0;
}

int image_check_header(const struct image *im)
{
	uint8_t block[BLOCK_BYTES], made[BLOCK_BYTES];
	ssize_t n = pread(im->fd, block, sizeof(block), 0);

	header_make(made);
	if (n < 0)
		return -EIO;
	return n == (ssize_t)sizeof(block) && memcmp(block, made, sizeof(block)) == 0 ? 0 : -EUCLEAN;
}

int image_open(const char *path, bool no_sync, struct image **out, struct err *err)
{
	struct stat st;
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) < 0) {
		int rc = -errno;

		if (fd >= 0)
			close(fd);
		return err_set(err, rc, "cannot open the image %s: %s", path, strerror(-rc));
	}
	int rc = header_check(fd, path, err);

	if (rc) {
		close(fd);
		return rc;
	}
	struct image *im = xcalloc(1, sizeof(*im));

	im->fd = fd;
	im->no_sync = no_sync;
	im->device = S_ISBLK(st.st_mode);
	pthread_mutex_init(&im->sync_lock, NULL);
	pthread_mutex_init(&im->window_lock, NULL);
	*out = im;
	return 0;
}

void image_close(struct image *im)
{
	if (!im)
		return;
	close(im->fd);
	pthread_mutex_destroy(&im->sync_lock);
	pthread_mutex_destroy(&im->window_lock);
	free(im);
}

uint64_t image_size_bytes(const struct image *im)
{
	off_t end = lseek(im->fd, 0, SEEK_END);

	return end < 0 ? 0 : (uint64_t)end;
}

bool image_is_device(const struct image *im)
{
	return im->device;
}

int image_fd(const struct image *im)
{
	return im->fd;
}

static int complain(struct image *im, const char *what, uint64_t offset, int code)
{
	uint64_t now = clock_mono_ms() + COMPLAIN_EVERY_MS, before = atomic_load(&im->complained_ms);

	if (now - before >= COMPLAIN_EVERY_MS && atomic_compare_exchange_strong(&im->complained_ms, &before, now))
		log_error("image: %s at byte %llu: %s", what, (unsigned long long)offset,
		          code == -ENOSPC ? "the host's disk is full" : strerror(-code));
	return code;
}

int image_read(struct image *im, uint64_t phys, size_t skip_bytes, void *buf, size_t len_bytes)
{
	uint64_t at = (phys << BLOCK_SHIFT) + skip_bytes;
	uint8_t *p = buf;

	assert(phys);
	while (len_bytes) {
		ssize_t n = pread(im->fd, p, MIN(len_bytes, PIECE_BYTES), (off_t)at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return complain(im, n ? "read fails" : "read past the end of the image", at, -EIO);
		p += n;
		at += (uint64_t)n;
		len_bytes -= (size_t)n;
	}
	return 0;
}

size_t image_read_cached(struct image *im, uint64_t phys, void *buf, size_t len_bytes)
{
	struct iovec part = { buf, len_bytes };
	ssize_t n = preadv2(im->fd, &part, 1, (off_t)(phys << BLOCK_SHIFT), RWF_NOWAIT);

	assert(phys);
	return n > 0 ? (size_t)n : 0;
}

void image_expect(struct image *im, uint64_t phys, uint64_t len_blocks)
{
	posix_fadvise(im->fd, (off_t)(phys << BLOCK_SHIFT), (off_t)(len_blocks << BLOCK_SHIFT), POSIX_FADV_WILLNEED);
}

static void busy(struct image *im)
{
	uint64_t none = 0;

	atomic_compare_exchange_strong(&im->busy_since_ms, &none, clock_mono_ms());
}

static void idle(struct image *im)
{
	atomic_store(&im->busy_since_ms, 0);
}

uint64_t image_busy_since_ms(const struct image *im)
{
	return atomic_load(&im->busy_since_ms);
}

/* A write went on beyond the end of this window. */
static void window_full(struct image *im, uint64_t window)
{
	if (im->no_sync)
		return;
	pthread_mutex_lock(&im->window_lock);
	if (im->filled - im->dropped < WINDOWS_MAX) {
		im->windows[im->filled++ % WINDOWS_MAX] = window;
		atomic_store(&im->due, true);
	}
	pthread_mutex_unlock(&im->window_lock);
}

bool image_stream_due(const struct image *im)
{
	return atomic_load(&im->due);
}

/* Take the next window of [*at, end), if there is one. */
static bool window_next(struct image *im, uint64_t *at, const uint64_t *end, uint64_t *window)
{
	pthread_mutex_lock(&im->window_lock);
	bool is = *at < *end;

	if (is)
		*window = im->windows[(*at)++ % WINDOWS_MAX];
	atomic_store(&im->due, im->begun < im->filled);
	pthread_mutex_unlock(&im->window_lock);
	return is;
}

/* No error matters here: the flush reports it. */
void image_stream_begin(struct image *im)
{
	uint64_t window;

	while (window_next(im, &im->begun, &im->filled, &window))
		sync_file_range(im->fd, (off_t)(window << WINDOW_SHIFT), (off_t)WINDOW_BYTES, SYNC_FILE_RANGE_WRITE);
}

void image_stream_drop(struct image *im)
{
	uint64_t window;

	while (window_next(im, &im->dropped, &im->flushed, &window))
		posix_fadvise(im->fd, (off_t)(window << WINDOW_SHIFT), (off_t)WINDOW_BYTES, POSIX_FADV_DONTNEED);
}

static uint64_t windows_filled(struct image *im)
{
	pthread_mutex_lock(&im->window_lock);
	uint64_t n = im->filled;

	pthread_mutex_unlock(&im->window_lock);
	return n;
}

static void windows_flushed(struct image *im, uint64_t upto)
{
	pthread_mutex_lock(&im->window_lock);
	im->flushed = MAX(im->flushed, upto);
	im->begun = MAX(im->begun, upto);
	atomic_store(&im->due, im->begun < im->filled);
	pthread_mutex_unlock(&im->window_lock);
}

int image_write(struct image *im, uint64_t phys, size_t skip_bytes, const void *buf, size_t len_bytes)
{
	uint64_t at = (phys << BLOCK_SHIFT) + skip_bytes;
	const size_t whole_bytes = len_bytes;
	const uint8_t *p = buf;

	assert(phys);
	while (len_bytes) {
		busy(im);
		ssize_t n = pwrite(im->fd, p, MIN(len_bytes, PIECE_BYTES), (off_t)at);

		idle(im);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return complain(im, "write fails", at, n ? host_errno(errno) : -EIO);
		p += n;
		at += (uint64_t)n;
		len_bytes -= (size_t)n;
	}
	atomic_fetch_add(&im->written, 1);
	if (whole_bytes >= STREAM_BYTES && at >> WINDOW_SHIFT != (at - whole_bytes) >> WINDOW_SHIFT)
		window_full(im, (at - whole_bytes) >> WINDOW_SHIFT);
	return 0;
}

int image_sync(struct image *im)
{
	pthread_mutex_lock(&im->sync_lock);
	uint64_t written = atomic_load(&im->written), filled = windows_filled(im);

	if (!im->sync_error && im->synced != written) {
		busy(im);
		int rc = im->no_sync ? 0 : fdatasync(im->fd), e = errno;

		idle(im);
		if (rc < 0) {
			im->sync_error = complain(im, "flush fails", 0, host_errno(e));
			atomic_fetch_add(&im->losses, 1);
			atomic_store(&im->failed, true);
		} else {
			im->synced = written;
			windows_flushed(im, filled);
		}
	}
	int rc = im->sync_error;

	pthread_mutex_unlock(&im->sync_lock);
	return rc;
}

uint64_t image_losses(struct image *im)
{
	return atomic_load(&im->losses);
}

bool image_is_failed(const struct image *im)
{
	return atomic_load(&im->failed);
}

int image_recover(struct image *im)
{
	pthread_mutex_lock(&im->sync_lock);
	uint64_t written = atomic_load(&im->written);

	im->sync_error = 0;
	if (!im->no_sync && fdatasync(im->fd) < 0) {
		im->sync_error = host_errno(errno);
		atomic_fetch_add(&im->losses, 1);
	} else {
		im->synced = written;
	}
	int rc = im->sync_error;

	atomic_store(&im->failed, rc != 0);
	pthread_mutex_unlock(&im->sync_lock);
	return rc;
}

bool image_is_at(const struct image *im, const char *path)
{
	struct stat here, there;

	return fstat(im->fd, &here) == 0 && stat(path, &there) == 0 && here.st_dev == there.st_dev &&
	       here.st_ino == there.st_ino && here.st_rdev == there.st_rdev;
}

void image_punch(struct image *im, uint64_t phys, uint64_t len_blocks)
{
	assert(phys);
	if (atomic_load(&im->no_punch))
		return;
	int rc = fallocate(im->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(phys << BLOCK_SHIFT),
	                   (off_t)(len_blocks << BLOCK_SHIFT));

	if (rc < 0 && (errno == EOPNOTSUPP || errno == ENOSYS || errno == ENODEV))
		atomic_store(&im->no_punch, true);
}

bool image_answers(struct image *im)
{
	uint8_t block[BLOCK_BYTES];

	image_uncache(im, 0, 1);
	return pread(im->fd, block, sizeof(block), 0) == (ssize_t)sizeof(block) &&
	       memcmp(block, IMAGE_MAGIC, strlen(IMAGE_MAGIC)) == 0;
}

void image_uncache(struct image *im, uint64_t phys, uint64_t len_blocks)
{
	posix_fadvise(im->fd, (off_t)(phys << BLOCK_SHIFT), (off_t)(len_blocks << BLOCK_SHIFT), POSIX_FADV_DONTNEED);
}
