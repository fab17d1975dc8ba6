/* SPDX-License-Identifier: MIT */
/*
 * data_fixture: a store in a folder of its own, files with a plain model in memory beside them, and the check that
 * every block of the image has exactly one owner. For the tests of core's data side; all of it aborts the test on
 * failure.
 */
#ifndef TWINFS_TESTS_DATA_FIXTURE_H
#define TWINFS_TESTS_DATA_FIXTURE_H

#include "core/blocks.h"
#include "tests/chance.h"
#include "tests/tap.h"
#include "util/util.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define VOLUME_ID "00000000-0000-4000-8000-000000000001"

struct store {
	char dir[256];
	unsigned at_once_rows;
	bool drop_by_hand;
	struct volume *v;
};

static inline void store_reopen(struct store *s)
{
	struct volume_options opt = { .fast_unsafe = true, .at_once_rows = s->at_once_rows,
		                      .drop_by_hand = s->drop_by_hand };
	struct err err = ERR_INIT;

	ck_assert_msg(volume_open(s->dir, &opt, &s->v, &err) == 0, "%s", err_text(&err));
}

static inline void store_make(struct store *s, uint64_t size_bytes)
{
	const char *base = getenv("TMPDIR");
	struct err err = ERR_INIT;

	if (!base)
		base = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";
	snprintf(s->dir, sizeof(s->dir), "%s/twinfs-data-XXXXXX", base);
	ck_assert_ptr_nonnull(mkdtemp(s->dir));
	ck_assert_msg(volume_format(s->dir, VOLUME_ID, "a", 1, size_bytes, &err) == 0, "%s", err_text(&err));
	store_reopen(s);
}

static inline void store_remove(struct store *s)
{
	char command[300];

	if (s->v)
		ck_assert_int_eq(volume_close(s->v), 0);
	snprintf(command, sizeof(command), "rm -rf '%s'", s->dir);
	ck_assert_int_eq(system(command), 0);
}

static inline void store_pair(struct store *s)
{
	struct err err = ERR_INIT;

	ck_assert_msg(volume_pair(s->v, ROLE_PRIMARY, 1, 2, "00112233445566778899aabbccddeeff", "b", &err) == 0, "%s",
	              err_text(&err));
}

static inline uint64_t store_file(struct store *s, const char *name)
{
	struct cred cred = { 0, 0, 0 };
	struct attr attr;

	ck_assert_int_eq(volume_create(s->v, INO_ROOT, name, S_IFREG | 0644, 0, NULL, &cred, &attr), 0);
	return attr.ino;
}

/* Commits; from now on what this group has may have been sent. The group's number. */
static inline uint64_t store_cut(struct store *s)
{
	struct volume_ids ids;

	ck_assert_int_eq(volume_commit(s->v), 0);
	volume_lock(s->v);
	volume_ids(s->v, &ids);
	history_cut(s->v, ids.committed);
	volume_unlock(s->v);
	return ids.committed;
}

/* Nothing is left over of what went, and all is committed. */
static inline void store_settle(struct store *s)
{
	volume_settle(s->v);
	ck_assert_int_eq(volume_commit(s->v), 0);
}

struct owner_check {
	struct freemap *seen;
	uint64_t blocks, free_yet_owned;
	const struct freemap *real;
};

static inline int owner_check_run(void *ctx, uint64_t phys, uint64_t len)
{
	struct owner_check *c = ctx;

	ck_assert_int_eq(freemap_claim(c->seen, phys, len), 0);
	c->blocks += len;
	for (uint64_t b = phys; b < phys + len; b++)
		c->free_yet_owned += !freemap_used(c->real, b);
	return 0;
}

/* With nothing staged: once a group is closed, rows and free map agree. */
static inline void store_check_owners(struct store *s)
{
	struct owner_check c = { freemap_new(EXTENT_BLOCK_LIMIT), 0, 0, s->v->data->map };

	store_settle(s);
	volume_lock(s->v);
	ck_assert_int_eq(extent_rows_each_run(s->v->db, false, owner_check_run, &c), 0);
	uint64_t current = c.blocks;

	ck_assert_int_eq(extent_rows_each_run(s->v->db, true, owner_check_run, &c), 0);
	ck_assert_uint_eq(c.free_yet_owned, 0);
	ck_assert_uint_eq(c.blocks, freemap_count_used(s->v->data->map));
	ck_assert_uint_eq(c.blocks - current, s->v->data->old_blocks);
	volume_unlock(s->v);
	freemap_delete(c.seen);
}

/* ---- a file in memory ---- */

struct model {
	uint8_t *data;
	size_t len, cap;
};

static inline void model_resize(struct model *m, size_t len)
{
	if (len > m->cap) {
		m->cap = len * 2;
		m->data = xrealloc(m->data, m->cap);
	}
	if (len > m->len)
		memset(m->data + m->len, 0, len - m->len);
	m->len = len;
}

static inline void model_write(struct model *m, size_t off, const void *buf, size_t len)
{
	if (len == 0)
		return;
	if (off + len > m->len)
		model_resize(m, off + len);
	memcpy(m->data + off, buf, len);
}

static inline void model_zero(struct model *m, size_t off, size_t len)
{
	if (off < m->len)
		memset(m->data + off, 0, MIN(len, m->len - off));
}

static inline struct model model_copy(const struct model *m)
{
	struct model copy = { xmalloc(m->len + 1), m->len, m->len + 1 };

	if (m->len)
		memcpy(copy.data, m->data, m->len);
	return copy;
}

static inline void model_free(struct model *m)
{
	free(m->data);
	*m = (struct model){ NULL, 0, 0 };
}

static inline void expect_same(const struct model *m, const uint8_t *got, size_t off, size_t len, const char *what)
{
	for (size_t i = 0; i < len; i++) {
		uint8_t want = off + i < m->len ? m->data[off + i] : 0;

		if (got[i] != want)
			ck_abort_msg("%s: byte %zu of %zu is %u, not %u", what, off + i, m->len, got[i], want);
	}
}

static inline void expect_content(struct store *s, uint64_t ino, const struct model *m)
{
	uint8_t *buf = xmalloc(m->len + 4096);
	struct attr attr;

	ck_assert_int_eq(volume_getattr(s->v, ino, &attr), 0);
	ck_assert_uint_eq(attr.size_bytes, m->len);
	ck_assert_int_eq(volume_read(s->v, ino, buf, m->len + 4096, 0), (ssize_t)m->len);
	expect_same(m, buf, 0, m->len, "now");
	free(buf);
}

static inline void expect_view(struct store *s, uint64_t ino, struct view view, const struct model *m)
{
	uint8_t *buf = xmalloc(m->len + 4096);
	struct inode in;

	volume_lock(s->v);
	int rc = tree_inode_view(s->v, ino, view, &in);

	ck_assert_int_eq(rc, 0);
	if (view.kind == VIEW_AT)
		ck_assert_uint_eq(in.size_bytes, m->len);
	ck_assert_int_eq(data_read(s->v, ino, view, buf, m->len + 4096, 0), 0);
	volume_unlock(s->v);
	if (view.kind == VIEW_AT)
		expect_same(m, buf, 0, m->len + 4096, "at a group");
	else
		expect_same(m, buf, 0, m->len, "peer");
	free(buf);
}

/* ---- chance ---- */

/* A length from one byte to max, short ones often, now and then whole blocks. */
static inline size_t chance_len(uint64_t *seed, size_t max)
{
	size_t len = 1 + chance_below(seed, (size_t)1 << (3 + chance_below(seed, 20)));

	if (chance_below(seed, 3) == 0)
		len = (len + BLOCK_BYTES - 1) & ~(size_t)(BLOCK_BYTES - 1);
	return MIN(len, max);
}

static inline size_t chance_off(uint64_t *seed, size_t max)
{
	size_t off = chance_below(seed, 8) ? chance_below(seed, max) : 0; /* the very beginning is a case of its own */

	return chance_below(seed, 2) ? off : off & ~(size_t)(BLOCK_BYTES - 1);
}

#endif
