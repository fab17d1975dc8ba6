/* SPDX-License-Identifier: MIT */
#include "core/digest.h"

#include "core/blocks.h"
#include "db/dentry_rows.h"
#include "db/inode_rows.h"
#include "db/xattr_rows.h"
#include "util/util.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

/* Some ms of work under the lock. */
#define STEP_ROWS 64u
/* A path has less than PATH_MAX bytes. */
#define DEPTH_MAX 2048u

static struct view view_of(const struct past *p)
{
	return (struct view){ .kind = VIEW_AT, .group = past_group(p) };
}

/* Of a few numbers; the same on machines of any byte order. */
static uint64_t number_hash(const uint64_t *numbers, size_t n)
{
	uint64_t le[DIGEST_FIELDS + 1];

	assert(n <= ARRAY_LEN(le));
	for (size_t i = 0; i < n; i++)
		le[i] = htole64(numbers[i]);
	return XXH3_64bits(le, n * sizeof(*le));
}

static uint64_t text_hash(const void *text, size_t len_bytes)
{
	return XXH3_64bits(text, len_bytes);
}

/* ---- one inode ---- */

static int add_xattr(void *ctx, const char *key, const void *value, size_t len_bytes)
{
	uint64_t *hash = ctx, parts[3] = { *hash, text_hash(key, strlen(key)), text_hash(value, len_bytes) };

	*hash = number_hash(parts, ARRAY_LEN(parts));
	return 0;
}

static int add_blocks(struct past *p, uint64_t ino, uint64_t first, size_t n, uint64_t *hash)
{
	static const uint8_t zeros[BLOCK_BYTES];
	struct block_ref refs[STEP_BLOCKS + 1];
	uint64_t of_zeros = block_sum(zeros);
	int rc = blocks_map(past_volume(p), ino, view_of(p), first, n, refs);

	for (size_t i = 0; rc == 0 && i < n; i++) {
		uint64_t parts[3] = { *hash, first + i, refs[i].sum };

		if (refs[i].phys && refs[i].sum != of_zeros) /* what is a hole on one side may be zeros on the other */
			*hash = number_hash(parts, ARRAY_LEN(parts));
	}
	return rc;
}

/* The lock is given up in between: the pin holds what the view needs. */
static int hash_bytes(struct past *p, uint64_t ino, uint64_t size_bytes, uint64_t *hash)
{
	struct volume *v = past_volume(p);
	uint64_t end = (size_bytes + BLOCK_BYTES - 1) >> BLOCK_SHIFT, next;
	int rc = 0;

	*hash = 0;
	for (uint64_t at = 0; rc == 0 && at < end;) {
		size_t n = (size_t)MIN(end - at, (uint64_t)STEP_BLOCKS);

		rc = add_blocks(p, ino, at, n, hash);
		at += n;
		if (at >= end)
			break;
		volume_unlock(v);
		volume_lock(v);
		if (rc == 0)
			rc = data_next(v, ino, view_of(p), at << BLOCK_SHIFT, &next);
		if (rc == 0)
			at = MAX(at, next >> BLOCK_SHIFT);
	}
	return rc;
}

static int any_link(void *ctx, const struct dentry *d)
{
	(void)ctx;
	(void)d;
	return 1;
}

static int inode_digest(struct past *p, uint64_t ino, struct digest *out)
{
	struct volume *v = past_volume(p);
	struct inode *in = xmalloc(sizeof(*in));
	int rc = tree_inode_view(v, ino, view_of(p), in);

	if (rc == 0 && ino > INO_HIDDEN) {
		rc = tree_links_of_view(v, ino, view_of(p), any_link, NULL);
		rc = rc == 0 ? -ENOENT : MIN(rc, 0);
	}
	if (rc == 0) {
		out->field[DIGEST_MODE] = in->mode;
		out->field[DIGEST_UID] = in->uid;
		out->field[DIGEST_GID] = in->gid;
		out->field[DIGEST_RDEV] = in->rdev;
		out->field[DIGEST_MTIME] = ino == INO_HIDDEN ? 0 : (uint64_t)in->mtime_ns;
		out->field[DIGEST_SIZE] = S_ISREG(in->mode) ? in->size_bytes : 0;
		out->field[DIGEST_TARGET] = S_ISLNK(in->mode) ? text_hash(in->target, in->target_len) : 0;
		rc = xattr_rows_at(v->db, ino, past_group(p), add_xattr, &out->field[DIGEST_XATTRS]);
	}
	if (rc == 0 && S_ISREG(in->mode))
		rc = hash_bytes(p, ino, in->size_bytes, &out->field[DIGEST_BYTES]);
	free(in);
	return rc;
}

static int link_digest(struct past *p, uint64_t link, struct digest *out)
{
	struct volume *v = past_volume(p);
	struct inode *in = xmalloc(sizeof(*in));
	struct dentry d;
	int rc = tree_link_view(v, link, view_of(p), &d);

	if (rc == 0) {
		out->field[DIGEST_PARENT] = d.parent;
		out->field[DIGEST_NAME] = text_hash(d.name, d.name_len);
		rc = tree_inode_view(v, d.child, view_of(p), in);
		out->field[DIGEST_CHILD] = rc == 0 ? d.child : 0; /* it leads nowhere, in a damaged tree */
		rc = rc == -ENOENT ? 0 : rc;
	}
	free(in);
	return rc;
}

static int locked_digest(struct past *p, enum digest_table table, uint64_t id, struct digest *out)
{
	*out = (struct digest){ .id = id };
	return table == DIGEST_INODES ? inode_digest(p, id, out) : link_digest(p, id, out);
}

int digest_of(struct past *p, enum digest_table table, uint64_t id, struct digest *out)
{
	int rc;

	volume_lock(past_volume(p));
	rc = locked_digest(p, table, id, out);
	volume_unlock(past_volume(p));
	return rc;
}

/* ---- many ---- */

/* At most STEP_ROWS ids. 1: there may be more behind *covered. */
static int list_step(struct past *p, enum digest_table table, uint64_t after, uint64_t last, struct digest_item *out,
		     size_t max, size_t *n, uint64_t *covered)
{
	struct volume *v = past_volume(p);
	uint64_t ids[STEP_ROWS];
	size_t most = MIN(max, (size_t)STEP_ROWS);
	struct digest d;
	int rc, found;

	found = table == DIGEST_INODES ? inode_rows_ids(v->db, after, ids, most)
				       : dentry_rows_ids(v->db, after, ids, most);
	rc = MIN(found, 0);
	for (int i = 0; rc == 0 && i < found; i++) {
		if (ids[i] > last) {
			*covered = last;
			return 0;
		}
		rc = locked_digest(p, table, ids[i], &d);
		if (rc == 0)
			out[(*n)++] = (struct digest_item){ ids[i], number_hash(d.field, DIGEST_FIELDS) };
		rc = rc == -ENOENT ? 0 : rc;
		*covered = ids[i];
	}
	if (rc == 0 && (size_t)found < most)
		*covered = last;
	return rc ? rc : *covered < last;
}

int digest_list(struct past *p, enum digest_table table, uint64_t after, uint64_t last, struct digest_item *out,
		size_t max, size_t *n, uint64_t *covered)
{
	int rc = 1;

	*n = 0;
	*covered = after;
	while (rc == 1 && *n < max) {
		volume_lock(past_volume(p));
		rc = list_step(p, table, *covered, last, out, max - *n, n, covered);
		volume_unlock(past_volume(p));
	}
	return MIN(rc, 0);
}

uint64_t digest_sum(const struct digest_item *list, size_t n)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum = number_hash((const uint64_t[]){ sum, list[i].id, list[i].sum }, 3);
	return sum;
}

/* ---- for people ---- */

static int take_link(void *ctx, const struct dentry *d)
{
	*(struct dentry *)ctx = *d;
	return 1;
}

char *digest_path(struct past *p, enum digest_table table, uint64_t id)
{
	struct volume *v = past_volume(p);
	struct dentry d = { .parent = 0 };
	char *path = xstrdup(""), *longer;
	bool found = id == INO_ROOT && table == DIGEST_INODES;
	uint64_t at = id;

	if (id == INO_HIDDEN && table == DIGEST_INODES) { /* no link leads there; it has the policies */
		free(path);
		return xstrdup("/" HIDDEN_NAME);
	}
	volume_lock(v);
	for (unsigned depth = 0; !found && depth < DEPTH_MAX; depth++) {
		if (depth == 0 && table == DIGEST_LINKS)
			found = tree_link_view(v, id, view_of(p), &d) != 0;
		else
			found = tree_links_of_view(v, at, view_of(p), take_link, &d) != 1;
		if (found) { /* no such link: no path, but for what is below .twinfs */
			free(path);
			path = NULL;
			break;
		}
		longer = xasprintf("/%s%s", d.name, path);
		free(path);
		path = longer;
		at = d.parent;
		found = at == INO_ROOT;
		if (at == INO_HIDDEN) {
			longer = xasprintf("/" HIDDEN_NAME "%s", path);
			free(path);
			path = longer;
			found = true;
		}
	}
	volume_unlock(v);
	if (path && !*path) {
		free(path);
		return xstrdup("/");
	}
	return path;
}
