/* SPDX-License-Identifier: MIT */
/*
 * What is staged, noted in STORE/staged, for a run that comes after this one was killed: for a run of whole blocks its
 * place in the image and its checksums, for a part of a block its bytes.
 *
 * The file is believed nothing. A record counts if its sum is right; a block counts if nobody owns it and its bytes
 * have its checksum. So the file may be old, cut off, or of a stage whose blocks were given back long ago. It only ever
 * grows, and what it says later of a place replaces what it said before; of two marks of a file the lower one counts.
 */
#include "core/stage_private.h"

#include "util/buf.h"
#include "util/log.h"
#include "util/util.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define SAVED_MAGIC UINT64_C(0x3165676174737774) /* "twstage1" */
/* One call notes what some MiB of data brought: with nothing but small pieces about as much. */
#define SAVE_MAX_BYTES ((size_t)64 << 20)
/* Checksums of a run (RUN_MAX_BLOCKS), or the bytes of a part. */
#define PAYLOAD_MAX_BYTES 8192u

struct head {
	uint64_t magic, base;
};

enum { SAVED_RUN = 1, SAVED_PART = 2 };
struct saved {
	uint64_t sum; /* of all that follows, payload too */
	uint64_t kind, ino, group, id;
	uint64_t off, len, phys; /* blocks; of a part bytes */
};

static size_t payload_bytes(const struct saved *r)
{
	if (r->kind == SAVED_PART)
		return r->len <= BLOCK_BYTES ? (size_t)r->len : SIZE_MAX;
	if (r->kind != SAVED_RUN)
		return SIZE_MAX;
	if (!r->phys)
		return 0;
	return r->len <= PAYLOAD_MAX_BYTES / sizeof(uint64_t) ? (size_t)r->len * sizeof(uint64_t) : SIZE_MAX;
}

static char *path_of_saved(struct volume *v)
{
	return xasprintf("%s/staged", v->dir);
}

/* ---- noting ---- */

static void put(struct buf *b, struct saved r, const void *payload)
{
	size_t start = b->len_bytes;
	uint64_t sum;

	buf_append(b, &r, sizeof(r));
	if (payload_bytes(&r))
		buf_append(b, payload, payload_bytes(&r));
	if (b->failed)
		return;
	sum = XXH3_64bits(b->data + start + sizeof(sum), b->len_bytes - start - sizeof(sum));
	memcpy(b->data + start, &sum, sizeof(sum));
}

static void put_runs(struct buf *b, struct stage_file *f)
{
	for (size_t i = f->n_runs; i > 0 && f->runs[i - 1].off + f->runs[i - 1].len > f->saved_blocks; i--) {
		const struct stage_run *r = &f->runs[i - 1];
		uint64_t skip = r->off < f->saved_blocks ? f->saved_blocks - r->off : 0;

		put(b, (struct saved){ .kind = SAVED_RUN, .ino = f->ino, .group = f->mark_group, .id = f->mark_id,
				       .off = r->off + skip, .len = r->len - skip,
				       .phys = r->phys ? r->phys + skip : 0 },
		    r->phys ? r->sums + skip : NULL);
	}
	if (f->n_runs)
		f->saved_blocks = MAX(f->saved_blocks, f->runs[f->n_runs - 1].off + f->runs[f->n_runs - 1].len);
}

static int put_parts(struct buf *b, struct stage *s, struct stage_file *f)
{
	uint8_t bytes[BLOCK_BYTES];
	int rc = 0;

	for (size_t i = f->n_parts; !rc && i > 0 && f->parts[i - 1].off >= f->saved_bytes; i--) {
		const struct stage_part *p = &f->parts[i - 1];

		rc = stage_part_read(s, p, bytes);
		if (!rc)
			put(b, (struct saved){ .kind = SAVED_PART, .ino = f->ino, .group = f->mark_group,
					       .id = f->mark_id, .off = p->off, .len = p->len }, bytes);
	}
	if (f->n_parts)
		f->saved_bytes = MAX(f->saved_bytes, f->parts[f->n_parts - 1].off + f->parts[f->n_parts - 1].len);
	return rc;
}

/* The file, at its end; emptied if it is of another base. */
static int begin(struct stage *s, uint64_t base)
{
	const struct head head = { SAVED_MAGIC, base };
	char *path = path_of_saved(s->v);
	struct head there = { 0 };
	int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_APPEND, 0600);

	free(path);
	if (fd < 0)
		return -errno;
	s->save_fd = fd;
	if (pread(fd, &there, sizeof(there), 0) == (ssize_t)sizeof(there) && there.magic == head.magic &&
	    there.base == base)
		return 0;
	if (ftruncate(fd, 0) != 0)
		return -errno;
	return write(fd, &head, sizeof(head)) == (ssize_t)sizeof(head) ? 0 : -EIO;
}

static int save_all(struct stage *s, struct buf *b)
{
	struct stage_room room;
	uint64_t ino, value;
	size_t it = 0;
	int rc = 0;

	while (!rc && map_next(&s->files, &it, &ino, &value)) {
		struct stage_file *f = (struct stage_file *)(uintptr_t)value;

		put_runs(b, f);
		rc = put_parts(b, s, f);
	}
	for (size_t i = s->packed.n_saved; !rc && i < s->packed.rows.n; i++)
		if (stage_packed_at(s, i, &room)) {
			put_runs(b, &room.file);
			rc = put_parts(b, s, &room.file);
		}
	if (!rc)
		s->packed.n_saved = s->packed.rows.n;
	return rc ? rc : b->failed;
}

int stage_save(struct stage *s, uint64_t base)
{
	struct buf b;
	int rc = s->save_failed ? -EIO : 0;

	buf_init(&b, SAVE_MAX_BYTES);
	if (!rc && s->save_fd < 0)
		rc = begin(s, base);
	if (!rc)
		rc = save_all(s, &b);
	if (!rc && b.len_bytes && write(s->save_fd, b.data, b.len_bytes) != (ssize_t)b.len_bytes)
		rc = -EIO;
	buf_release(&b);
	if (rc && !s->save_failed) {
		s->save_failed = true;
		log_info("what arrives of the peer's changes is not noted in %s: %s; if this program is killed it will "
			 "be sent again", s->v->dir, strerror(-rc));
	}
	return rc;
}

void stage_forget(struct volume *v)
{
	char *path = path_of_saved(v);

	unlink(path);
	free(path);
}

/* ---- reading back ---- */

static bool block_is(struct stage *s, uint64_t phys, uint64_t sum)
{
	struct block_ref ref = { phys, sum };
	uint8_t data[BLOCK_BYTES];
	struct block_run run = { phys, 1 };
	bool good;

	volume_lock_now(s->v);
	good = freemap_take(s->v->data->map, phys, 1);
	volume_unlock(s->v);
	if (!good)
		return false;
	if (blocks_fetch(s->v->data->image, &ref, 0, data, sizeof(data), NULL) == 0)
		return true;
	volume_lock_now(s->v);
	store_release(s->v, &run, 1);
	volume_unlock(s->v);
	return false;
}

static void load_run(struct stage *s, struct stage_file *f, const struct saved *r, const uint64_t *sums)
{
	if (!r->phys) {
		stage_put_run(s, f, (struct stage_run){ r->off, r->len, 0, NULL });
		return;
	}
	for (uint64_t i = 0; i < r->len; i++) {
		struct stage_run one = { r->off + i, 1, r->phys + i, NULL };

		if (!block_is(s, one.phys, sums[i]))
			continue;
		one.sums = xmalloc(sizeof(*one.sums));
		*one.sums = sums[i];
		stage_put_run(s, f, one);
	}
}

static bool is_possible(struct stage *s, const struct saved *r)
{
	uint64_t end_blocks = freemap_end(s->v->data->map), file_blocks = FILE_MAX_BYTES >> BLOCK_SHIFT;

	if (r->ino == 0 || r->len == 0)
		return false;
	if (r->kind == SAVED_PART)
		return r->off <= FILE_MAX_BYTES - BLOCK_BYTES &&
		       r->off / BLOCK_BYTES == (r->off + r->len - 1) / BLOCK_BYTES;
	return r->off <= file_blocks && r->len <= file_blocks - r->off &&
	       (!r->phys || (r->phys < end_blocks && r->len <= end_blocks - r->phys));
}

static int load_one(struct stage *s, const struct saved *r, const uint8_t *payload)
{
	struct stage_file *f = stage_file_of(s, r->ino, false);
	int rc = 0;

	if (!f) {
		stage_mark(s, r->group, r->id);
		f = stage_file_of(s, r->ino, true);
	} else if (r->group < f->mark_group) {
		f->mark_group = r->group;
		f->mark_id = r->id;
	}
	if (r->kind == SAVED_RUN)
		load_run(s, f, r, (const uint64_t *)(const void *)payload);
	else
		rc = stage_put(s, r->ino, r->off, payload, (size_t)r->len);
	return rc;
}

/* Up to the first record that is not whole: the file ends there from now on. */
static int load_all(struct stage *s, FILE *in)
{
	struct {
		struct saved r;
		uint64_t payload[PAYLOAD_MAX_BYTES / sizeof(uint64_t)];
	} *b = xmalloc(sizeof(*b));
	long good = ftell(in);
	int rc = 0;

	while (rc == 0 && fread(&b->r, sizeof(b->r), 1, in) == 1) {
		size_t n = payload_bytes(&b->r);

		if (n == SIZE_MAX || (n && fread(b->payload, n, 1, in) != 1) ||
		    XXH3_64bits((uint8_t *)b + sizeof(b->r.sum), sizeof(b->r) - sizeof(b->r.sum) + n) != b->r.sum ||
		    !is_possible(s, &b->r))
			break;
		good = ftell(in);
		rc = load_one(s, &b->r, (const uint8_t *)b->payload);
	}
	free(b);
	return rc ? rc : ftruncate(fileno(in), good) == 0 ? 0 : -errno;
}

struct stage *stage_load(struct volume *v, uint64_t base)
{
	char *path = path_of_saved(v);
	FILE *in = fopen(path, "r+e");
	struct stage *s = NULL;
	struct head head;

	free(path);
	if (!in)
		return NULL;
	if (fread(&head, sizeof(head), 1, in) == 1 && head.magic == SAVED_MAGIC && head.base == base) {
		s = stage_new(v);
		if (load_all(s, in) < 0 || map_count(&s->files) + s->packed.rows.n == 0) {
			stage_free(s);
			s = NULL;
		}
	}
	fclose(in);
	if (!s)
		stage_forget(v);
	return s;
}
