/* SPDX-License-Identifier: MIT */
/*
 * volume_text: all that a program can see of a volume, as lines: each name with its inode's attributes, extended
 * attributes and a sum of its bytes; so that two states can be compared, and a difference read. For small volumes; what
 * is too large aborts the test.
 */
#ifndef TWINFS_TESTS_VOLUME_TEXT_H
#define TWINFS_TESTS_VOLUME_TEXT_H

#include "core/volume.h"
#include "tests/tap.h"
#include "util/buf.h"
#include "util/util.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define VT_MAX_BYTES ((size_t)1 << 20)
#define VT_FILE_MAX_BYTES ((size_t)1 << 20)
#define VT_DIR_MAX 64

struct vt_listing {
	struct {
		char name[24];
		struct attr attr;
	} list[VT_DIR_MAX];
	size_t n;
};

static inline bool vt_entry(void *ctx, const char *name, size_t len, uint64_t cookie, const struct attr *attr)
{
	struct vt_listing *l = ctx;

	(void)cookie;
	if (len <= 2 && name[0] == '.')
		return true;
	ck_assert_uint_lt(l->n, VT_DIR_MAX);
	snprintf(l->list[l->n].name, sizeof(l->list->name), "%.*s", (int)len, name);
	l->list[l->n++].attr = *attr;
	return true;
}

static inline int64_t vt_ns(struct timespec t)
{
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline void vt_bytes(struct volume *v, const struct attr *a, struct buf *out)
{
	static uint8_t bytes[VT_FILE_MAX_BYTES + 1];
	ssize_t n;

	ck_assert_uint_lt(a->size_bytes, sizeof(bytes));
	n = volume_read(v, a->ino, bytes, sizeof(bytes), 0);
	if (n < 0)
		buf_printf(out, " unreadable %zd", n);
	else
		buf_printf(out, " %016llx", (unsigned long long)XXH3_64bits(bytes, (size_t)n));
}

static inline void vt_xattrs(struct volume *v, uint64_t ino, struct buf *out)
{
	char keys[1024], value[4096];
	ssize_t n = volume_listxattr(v, ino, keys, sizeof(keys));

	for (ssize_t at = 0; at < n; at += (ssize_t)strlen(keys + at) + 1) {
		ssize_t len = volume_getxattr(v, ino, keys + at, value, sizeof(value));

		buf_printf(out, " %s=%016llx", keys + at,
			   (unsigned long long)(len < 0 ? 0 : XXH3_64bits(value, (size_t)len)));
	}
}

static inline void vt_dir(struct volume *v, uint64_t dir, const char *path, struct buf *out)
{
	struct vt_listing *l = xcalloc(1, sizeof(*l));

	ck_assert_int_eq(volume_readdir(v, dir, 0, vt_entry, l), 0);
	for (size_t i = 0; i < l->n; i++) {
		const struct attr *a = &l->list[i].attr;
		char *below = xasprintf("%s/%s", path, l->list[i].name), target[SYMLINK_MAX_BYTES];

		buf_printf(out, "%s %llu %o %u %u:%u %llu m%lld c%lld", below, (unsigned long long)a->ino, a->mode,
			   a->nlink, a->uid, a->gid, (unsigned long long)a->size_bytes, (long long)vt_ns(a->mtime),
			   (long long)vt_ns(a->ctime));
		if (S_ISREG(a->mode))
			vt_bytes(v, a, out);
		if (S_ISLNK(a->mode))
			buf_printf(out, " %.*s", (int)volume_readlink(v, a->ino, target, sizeof(target)), target);
		vt_xattrs(v, a->ino, out);
		buf_append(out, "\n", 1);
		if (S_ISDIR(a->mode))
			vt_dir(v, a->ino, below, out);
		free(below);
	}
	free(l);
}

/* malloc'd */
static inline char *volume_text(struct volume *v)
{
	struct volume_info info;
	struct buf out;
	char *setting = volume_setting_get(v, "word");

	volume_info(v, &info);
	buf_init(&out, VT_MAX_BYTES);
	buf_printf(&out, "role %d acked %llu applied %llu word %s\n", info.role, (unsigned long long)info.acked,
	           (unsigned long long)info.applied, setting ? setting : "-");
	vt_dir(v, INO_ROOT, "", &out);
	vt_dir(v, INO_HIDDEN, "/.twinfs", &out);
	buf_append(&out, "", 1);
	ck_assert_int_eq(out.failed, 0);
	free(setting);
	return (char *)out.data;
}

#endif
