/* SPDX-License-Identifier: MIT */
#include "sync/ship_rows.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "util/util.h"

/* Numbers that say little beside another one are told as how far they are from that; those that differ come first. */
enum inode_number {
	I_INO, I_MTIME, I_CTIME, I_ATIME, I_SIZE, I_SEEN, I_MODE, I_FIELDS, I_SEEN_MODE, I_SEEN_OWNER, I_SEEN_TIMES,
	I_UID, I_GID, I_RDEV, I_SHRUNK_TO, I_NUMBERS
};
enum link_number { L_LINK, L_CHILD, L_PARENT, L_SEEN, L_REPORT, L_NUMBERS };
enum xattr_number { X_INO, X_SEEN, X_VALUE, X_KEY_BYTES, X_NUMBERS };

_Static_assert((int)I_NUMBERS <= (int)ROWS_MAX_NUMBERS, "a row has room for them");

void ship_rows_init(struct ship_rows *p)
{
	*p = (struct ship_rows){ .inodes = { .n_numbers = I_NUMBERS },
				 .links = { .n_numbers = L_NUMBERS },
				 .xattrs = { .n_numbers = X_NUMBERS } };
}

void ship_rows_release(struct ship_rows *p)
{
	rows_release(&p->inodes);
	rows_release(&p->links);
	rows_release(&p->xattrs);
}

bool ship_rows_takes_inode(const struct ship_rows *p, uint64_t ino)
{
	return ino > p->last_ino;
}

bool ship_rows_takes_link(const struct ship_rows *p, uint64_t link)
{
	return link > p->last_link;
}

bool ship_rows_takes_xattr(const struct ship_rows *p, uint64_t ino)
{
	return ino >= p->last_xattr_ino;
}

/* ---- inodes ---- */

void ship_rows_add_inode(struct ship_rows *p, const struct rec_inode *r)
{
	const uint64_t mtime = (uint64_t)r->mtime_ns;
	const uint64_t n[I_NUMBERS] = {
		[I_INO] = r->ino,
		[I_MTIME] = mtime,
		[I_CTIME] = (uint64_t)r->ctime_ns - mtime,
		[I_ATIME] = (uint64_t)r->atime_ns - mtime,
		[I_SIZE] = r->size_bytes,
		[I_SEEN] = r->seen_content,
		[I_MODE] = r->mode,
		[I_FIELDS] = r->fields,
		[I_SEEN_MODE] = r->seen_mode - r->seen_content,
		[I_SEEN_OWNER] = r->seen_owner - r->seen_content,
		[I_SEEN_TIMES] = r->seen_times - r->seen_content,
		[I_UID] = r->uid,
		[I_GID] = r->gid,
		[I_RDEV] = r->rdev,
		[I_SHRUNK_TO] = r->shrunk_to,
	};

	assert(ship_rows_takes_inode(p, r->ino));
	p->last_ino = r->ino;
	rows_add(&p->inodes, n, r->target, r->target_len);
}

void ship_rows_inode(const struct ship_rows *p, size_t i, struct rec_inode *out)
{
	uint64_t n[I_NUMBERS];
	size_t len;
	const uint8_t *target = rows_get(&p->inodes, i, n, &len);

	out->ino = n[I_INO];
	out->fields = (uint32_t)n[I_FIELDS];
	out->seen_content = n[I_SEEN];
	out->seen_mode = n[I_SEEN_MODE] + n[I_SEEN];
	out->seen_owner = n[I_SEEN_OWNER] + n[I_SEEN];
	out->seen_times = n[I_SEEN_TIMES] + n[I_SEEN];
	out->mode = (uint32_t)n[I_MODE];
	out->uid = (uint32_t)n[I_UID];
	out->gid = (uint32_t)n[I_GID];
	out->rdev = (uint32_t)n[I_RDEV];
	out->size_bytes = n[I_SIZE];
	out->shrunk_to = n[I_SHRUNK_TO];
	out->mtime_ns = (int64_t)n[I_MTIME];
	out->ctime_ns = (int64_t)(n[I_CTIME] + n[I_MTIME]);
	out->atime_ns = (int64_t)(n[I_ATIME] + n[I_MTIME]);
	out->target_len = (uint16_t)len;
	memcpy(out->target, target, len);
	out->target[len] = '\0';
}

bool ship_rows_find_inode(const struct ship_rows *p, uint64_t ino, size_t *i)
{
	uint64_t n[I_NUMBERS];

	if (ino > p->last_ino)
		return false;
	*i = rows_find(&p->inodes, ino);
	rows_get(&p->inodes, *i, n, NULL);
	return n[I_INO] == ino;
}

/* ---- links ---- */

void ship_rows_add_link(struct ship_rows *p, const struct ship_link *l)
{
	const uint64_t n[L_NUMBERS] = {
		[L_LINK] = l->link,
		[L_CHILD] = l->child - l->link,
		[L_PARENT] = l->parent,
		[L_SEEN] = l->seen,
		[L_REPORT] = l->report,
	};

	assert(ship_rows_takes_link(p, l->link));
	p->last_link = l->link;
	rows_add(&p->links, n, l->name, (size_t)l->name_len + 1);
}

void ship_rows_link(const struct ship_rows *p, size_t i, struct ship_link *out)
{
	uint64_t n[L_NUMBERS];
	size_t len;
	const uint8_t *name = rows_get(&p->links, i, n, &len);

	*out = (struct ship_link){ .link = n[L_LINK],
				   .child = n[L_CHILD] + n[L_LINK],
				   .seen = n[L_SEEN],
				   .parent = n[L_PARENT],
				   .name_len = (uint16_t)(len - 1),
				   .report = n[L_REPORT] != 0,
				   .name = (char *)(uintptr_t)name };
}

bool ship_rows_find_link(const struct ship_rows *p, uint64_t link, size_t *i)
{
	uint64_t n[L_NUMBERS];

	if (link > p->last_link)
		return false;
	*i = rows_find(&p->links, link);
	rows_get(&p->links, *i, n, NULL);
	return n[L_LINK] == link;
}

/* ---- xattrs: the key, then the value ---- */

void ship_rows_add_xattr(struct ship_rows *p, const struct ship_xattr *x)
{
	const size_t key_bytes = strlen(x->key) + 1, value_bytes = x->value ? x->value_len : 0;
	const uint64_t n[X_NUMBERS] = {
		[X_INO] = x->ino,
		[X_SEEN] = x->seen,
		[X_VALUE] = x->value != NULL,
		[X_KEY_BYTES] = key_bytes,
	};
	uint8_t *both = xmalloc(key_bytes + value_bytes);

	assert(ship_rows_takes_xattr(p, x->ino));
	p->last_xattr_ino = x->ino;
	memcpy(both, x->key, key_bytes);
	if (value_bytes > 0)
		memcpy(both + key_bytes, x->value, value_bytes);
	rows_add(&p->xattrs, n, both, key_bytes + value_bytes);
	free(both);
}

void ship_rows_xattr(const struct ship_rows *p, size_t i, struct ship_xattr *out)
{
	uint64_t n[X_NUMBERS];
	size_t len;
	uint8_t *both = (uint8_t *)(uintptr_t)rows_get(&p->xattrs, i, n, &len);

	*out = (struct ship_xattr){ .ino = n[X_INO],
				    .seen = n[X_SEEN],
				    .key = (char *)both,
				    .value = n[X_VALUE] ? both + n[X_KEY_BYTES] : NULL,
				    .value_len = (uint32_t)(len - n[X_KEY_BYTES]) };
}

size_t ship_rows_xattrs_upto(const struct ship_rows *p, uint64_t ino)
{
	return ino >= p->last_xattr_ino ? p->xattrs.n : rows_find(&p->xattrs, ino + 1);
}
