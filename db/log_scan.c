/* SPDX-License-Identifier: MIT */
#include "db/log_scan.h"

#include "db/page_sums.h"
#include "util/util.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HEAD_BYTES 32
#define FRAME_HEAD_BYTES 24
#define FRAME_BYTES (FRAME_HEAD_BYTES + DB_PAGE_BYTES)
/* Its last bit says which order the words have that are summed. */
#define MAGIC 0x377f0682u
/* So many commits behind a break are no power cut's. */
#define TELLING_COMMITS 2u

struct sum {
	uint32_t a, b;
};

struct frame {
	uint8_t bytes[FRAME_BYTES];
	uint32_t page, commit_pages; /* 0: it ends no commit */
	uint64_t salt;
	struct sum sum;
};

struct scan {
	int fd;
	bool big_endian;
	struct sum before;  /* as the frame before says */
	struct frame frame;
	struct map pending; /* of the transaction that has not ended yet */
};

static uint32_t be32_at(const uint8_t *p)
{
	uint32_t n;

	memcpy(&n, p, sizeof(n));
	return be32toh(n);
}

static uint64_t be64_at(const uint8_t *p)
{
	return (uint64_t)be32_at(p) << 32 | be32_at(p + 4);
}

static struct sum sum_at(const uint8_t *p)
{
	return (struct sum){ be32_at(p), be32_at(p + 4) };
}

/* len_bytes: a multiple of 8. */
static struct sum sum_on(struct sum s, bool big_endian, const uint8_t *p, size_t len_bytes)
{
	for (size_t i = 0; i < len_bytes; i += 8) {
		uint32_t w[2];

		memcpy(w, p + i, sizeof(w));
		s.a += (big_endian ? be32toh(w[0]) : le32toh(w[0])) + s.b;
		s.b += (big_endian ? be32toh(w[1]) : le32toh(w[1])) + s.a;
	}
	return s;
}

static bool same_sum(struct sum a, struct sum b)
{
	return a.a == b.a && a.b == b.b;
}

/* 1, 0 at the file's end (or what is no whole frame), or -errno. */
static int read_at(int fd, void *buf, size_t len_bytes, uint64_t off)
{
	ssize_t n;

	do
		n = pread(fd, buf, len_bytes, (off_t)off);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : (size_t)n == len_bytes;
}

static uint64_t frame_at(uint64_t number)
{
	return HEAD_BYTES + (number - 1) * FRAME_BYTES;
}

static int read_frame(struct scan *s, uint64_t number)
{
	struct frame *f = &s->frame;
	int rc = read_at(s->fd, f->bytes, FRAME_BYTES, frame_at(number));

	if (rc == 1) {
		f->page = be32_at(f->bytes);
		f->commit_pages = be32_at(f->bytes + 4);
		f->salt = be64_at(f->bytes + 8);
		f->sum = sum_at(f->bytes + 16);
	}
	return rc;
}

/* Is the frame what was written after the one before? The next one is compared with this. */
static bool follows(struct scan *s, uint64_t salt)
{
	const struct frame *f = &s->frame;
	struct sum sum = s->before;
	bool is = f->salt == salt && f->page != 0;

	if (is) {
		sum = sum_on(sum, s->big_endian, f->bytes, 8);
		sum = sum_on(sum, s->big_endian, f->bytes + FRAME_HEAD_BYTES, DB_PAGE_BYTES);
		is = same_sum(sum, f->sum);
	}
	s->before = f->sum;
	return is;
}

static void settle(struct scan *s, struct log_scan *out)
{
	uint64_t page, frame;
	size_t it = 0;

	while (map_next(&s->pending, &it, &page, &frame))
		map_put(&out->newest, page, frame);
	map_clear(&s->pending);
	out->pages = s->frame.commit_pages;
}

static int scan_frames(struct scan *s, uint64_t salt, struct log_scan *out)
{
	uint64_t run = 0, broken = 0, n;
	int rc;

	for (n = 1; (rc = read_frame(s, n)) == 1; n++) {
		bool is = follows(s, salt);

		if (!broken && is) {
			map_put(&s->pending, s->frame.page, n);
			if (s->frame.commit_pages)
				settle(s, out);
			continue;
		}
		broken = broken ? broken : n;
		run = is ? run + (s->frame.commit_pages != 0) : 0;
		out->lost_commits = MAX(out->lost_commits, run);
	}
	if (out->lost_commits < TELLING_COMMITS)
		out->lost_commits = 0;
	out->bad_frame = broken;
	return rc;
}

/* Has the database what the frame holds? In the sum a page of the log has what its place held before. */
static int is_moved(struct scan *s, int db_fd, uint64_t page, uint64_t number)
{
	uint8_t there[DB_PAGE_BYTES];
	int rc = read_frame(s, number);

	if (rc == 1)
		rc = read_at(db_fd, there, sizeof(there), (page - 1) * DB_PAGE_BYTES);
	return rc == 1 ? memcmp(there, s->frame.bytes + FRAME_HEAD_BYTES, sizeof(there) - PAGE_SUM_BYTES) == 0 : rc;
}

/* SQLite ignores such a log. From its second frame on it is known what follows what. */
static int scan_headless(struct scan *s, int db_fd, struct log_scan *out)
{
	struct log_scan had = { .pages = 0 };
	int rc = read_frame(s, 1);
	uint64_t salt = s->frame.salt, page, frame, commits = 0, n;
	size_t it = 0;

	s->before = s->frame.sum;
	for (n = 2; rc == 1 && (rc = read_frame(s, n)) == 1 && follows(s, salt); n++) {
		map_put(&s->pending, s->frame.page, n);
		if (s->frame.commit_pages) {
			settle(s, &had);
			commits++;
		}
	}
	while (rc >= 0 && out->lost_commits == 0 && map_next(&had.newest, &it, &page, &frame)) {
		rc = page <= had.pages ? is_moved(s, db_fd, page, frame) : 1;
		out->lost_commits = rc == 0 ? commits : 0;
	}
	map_release(&had.newest);
	return MIN(rc, 0);
}

int log_scan(int fd, int db_fd, struct log_scan *out)
{
	struct scan *s;
	uint8_t head[HEAD_BYTES];
	uint32_t magic;
	int rc;

	*out = (struct log_scan){ .pages = 0 };
	rc = fd < 0 ? 0 : read_at(fd, head, sizeof(head), 0);
	if (rc <= 0)
		return rc;
	s = xcalloc(1, sizeof(*s));
	s->fd = fd;
	magic = be32_at(head);
	s->big_endian = magic & 1;
	s->before = sum_at(head + 24);
	if ((magic & ~1u) == MAGIC && be32_at(head + 8) == DB_PAGE_BYTES &&
	    same_sum(sum_on((struct sum){ 0, 0 }, s->big_endian, head, 24), s->before)) {
		rc = scan_frames(s, be64_at(head + 16), out);
	} else {
		s->big_endian = __BYTE_ORDER == __BIG_ENDIAN; /* SQLite takes the machine's */
		rc = scan_headless(s, db_fd, out);
	}
	map_release(&s->pending);
	free(s);
	return rc;
}

void log_scan_release(struct log_scan *s)
{
	map_release(&s->newest);
}

int log_scan_lost(const char *path, uint64_t *lost_commits, uint64_t *bad_frame)
{
	char *log = xasprintf("%s-wal", path);
	int fd = open(log, O_RDONLY | O_NONBLOCK | O_CLOEXEC), db_fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	struct log_scan s;
	int rc = log_scan(fd, db_fd, &s);

	*lost_commits = s.lost_commits;
	*bad_frame = s.bad_frame;
	log_scan_release(&s);
	if (fd >= 0)
		close(fd);
	if (db_fd >= 0)
		close(db_fd);
	free(log);
	return rc;
}

int log_scan_read(int fd, uint64_t frame, uint8_t *page)
{
	int rc = read_at(fd, page, DB_PAGE_BYTES, frame_at(frame) + FRAME_HEAD_BYTES);

	return rc == 1 ? 0 : rc ? rc : -EIO;
}
