/* SPDX-License-Identifier: MIT */
/*
 * pair_fixture: two paired stores in a temporary directory, an engine on each, and a network that is two buffers. The
 * test decides what is delivered when; time is a number. Side 0 is the primary "alder", side 1 the secondary "birch".
 */
#ifndef TWINFS_TESTS_PAIR_FIXTURE_H
#define TWINFS_TESTS_PAIR_FIXTURE_H

#include "core/changes.h"
#include "core/fsck.h"
#include "core/tree.h"
#include "core/digest.h"
#include "core/volume.h"
#include "sync/engine.h"
#include "sync/record.h"
#include "tests/tap.h"
#include "util/buf.h"
#include "util/util.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct node {
	char dir[300];
	struct volume *v;
	struct engine *e;
	struct buf out; /* frames on their way to the other side */
};

static char px_base[256];
static struct node px[2];
static uint64_t px_now_ms;
static bool px_is_up;
static const struct cred px_cred = { 1000, 1000, 0 };
/* Done by side i while its engine is at something long and lets others in, after so many rows each time (0: as many as
 * is good). An error ends what the engine is at. */
static int (*px_meanwhile)(int i);
static unsigned px_step_rows;
static bool px_by_hand; /* what is left over is dropped, and a landing carried out, when somebody wants it only */

/* ---- stores ---------------------------------------------------------------------------------------------------------
 */

static inline void __attribute__((format(printf, 1, 2))) px_shell(const char *fmt, ...)
{
	char command[2048];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	ck_assert_msg(system(command) == 0, "%s", command);
}

static inline int px_pause(void *ctx)
{
	const struct node *n = ctx;

	return px_meanwhile ? px_meanwhile((int)(n - px)) : 0;
}

static inline void px_open(int i)
{
	const struct volume_options opt = {
		.fast_unsafe = true, .at_once_rows = px_step_rows, .drop_by_hand = px_by_hand, .pause = px_pause,
		.pause_ctx = &px[i]
	};
	struct err err = ERR_INIT;
	int rc = volume_open(px[i].dir, &opt, &px[i].v, &err);

	ck_assert_msg(rc == 0, "open: %s", err_text(&err));
	px[i].e = engine_new(px[i].v);
}

static inline void px_setup(void)
{
	static const char *const names[] = { "alder", "birch" };
	struct err err = ERR_INIT;
	struct volume_info info[2];
	const char *tmp = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";

	snprintf(px_base, sizeof(px_base), "%s/twinfs-test-XXXXXX", tmp);
	ck_assert_ptr_nonnull(mkdtemp(px_base));
	px_now_ms = 1000000;
	for (int i = 0; i < 2; i++) {
		snprintf(px[i].dir, sizeof(px[i].dir), "%s/%s", px_base, names[i]);
		ck_assert_int_eq(mkdir(px[i].dir, 0700), 0);
		ck_assert_msg(volume_format(px[i].dir, "00000000-0000-4000-8000-000000000001", names[i],
					    (unsigned)i + 1, 0, &err) == 0,
			      "format: %s", err.text);
		px_open(i);
		volume_info(px[i].v, &info[i]);
		buf_init(&px[i].out, 64u << 20);
	}
	for (int i = 0; i < 2; i++)
		ck_assert_msg(volume_pair(px[i].v, i ? ROLE_SECONDARY : ROLE_PRIMARY, 1, 2 - (unsigned)i,
					  info[!i].node_id, names[!i], &err) == 0,
			      "pair: %s", err.text);
}

static inline void px_damage(void *ctx, const char *text)
{
	(void)ctx;
	ck_abort_msg("fsck: %s", text);
}

/* Whatever a test did, both stores keep every rule of a store. */
static inline void px_teardown(void)
{
	static const struct fsck_options fsck = { .found = px_damage };

	for (int i = 0; i < 2; i++) {
		struct fsck_result whole;
		struct err err = ERR_INIT;

		engine_free(px[i].e);
		if (px[i].v)
			ck_assert_int_eq(volume_close(px[i].v), 0);
		buf_release(&px[i].out);
		ck_assert_msg(!px[i].v || fsck_store(px[i].dir, &fsck, &whole, &err) == 0, "fsck: %s", err.text);
	}
	px_shell("rm -rf '%s'", px_base);
}

/* ---- the network ----------------------------------------------------------------------------------------------------
 */

static inline void px_up(void)
{
	ck_assert(!px_is_up);
	px_is_up = true;
	for (int i = 0; i < 2; i++)
		engine_up(px[i].e, px_now_ms);
}

static inline void px_down(void)
{
	px_is_up = false;
	for (int i = 0; i < 2; i++) {
		engine_down(px[i].e);
		buf_reset(&px[i].out);
	}
}

/* kill -9 of one side: the connection goes with it. */
static inline void px_crash(int i)
{
	px_down();
	engine_free(px[i].e);
	volume_crash(px[i].v);
	px_open(i);
}

/* Let one side say what it has to say. */
static inline size_t px_talk(int i)
{
	struct err err = ERR_INIT;
	ssize_t n, sum = 0;

	ck_assert_msg(engine_tick(px[i].e, px_now_ms, &err) == 0, "tick: %s", err.text);
	while ((n = engine_pull(px[i].e, &px[i].out, 4096, &err)) > 0)
		sum += n;
	ck_assert_msg(n == 0, "pull: %s", err.text);
	return (size_t)sum;
}

/* Type of the next frame from side i; 0 if none is on the way. */
static inline unsigned px_next(int i)
{
	enum frame_type type;

	return frame_peek(px[i].out.data, px[i].out.len_bytes, &type, NULL) > 0 ? type : 0;
}

/* One frame from side i to the other; what the receiver said to it. */
static inline int px_deliver(int i, struct err *err)
{
	enum frame_type type;
	ssize_t len = frame_peek(px[i].out.data, px[i].out.len_bytes, &type, err);
	int rc;

	ck_assert_int_gt(len, 0);
	rc = engine_receive(px[!i].e, px[i].out.data, (size_t)len, px_now_ms, err);
	buf_consume(&px[i].out, (size_t)len);
	return rc;
}

/* Both have said HELLO, and nothing else is on its way. */
static inline void px_hello(void)
{
	struct err err = ERR_INIT;

	px_up();
	for (int i = 0; i < 2; i++)
		px_talk(i);
	for (int i = 0; i < 2; i++)
		while (px_next(i))
			ck_assert_msg(px_deliver(i, &err) == 0, "%s", err_text(&err));
}

/* Side i cuts a shipment of all it has; it is on its way from now on. */
static inline void px_say(int i)
{
	size_t n = 0;

	/* The first look only notices that there is something. */
	for (int look = 0; look < 2 && n == 0; look++) {
		px_now_ms += 50;
		n = px_talk(i);
	}
	ck_assert_uint_gt(n, 0);
}

/* The next shipment from side i arrives. */
static inline void px_hear(int i)
{
	struct err err = ERR_INIT;
	unsigned type;

	do {
		type = px_next(i);
		ck_assert_msg(type != 0, "nothing is on its way from side %d", i);
		ck_assert_msg(px_deliver(i, &err) == 0, "side %d refuses: %s", !i, err_text(&err));
	} while (type != FRAME_SHIP_END);
}

static inline void px_send(int i)
{
	px_say(i);
	px_hear(i);
}

static inline bool px_round(void)
{
	struct err err = ERR_INIT;
	bool any = false;

	px_now_ms += 50;
	for (int i = 0; i < 2; i++) {
		any |= px_talk(i) > 0;
		while (px_next(i)) {
			ck_assert_msg(px_deliver(i, &err) == 0, "side %d refuses: %s", !i, err_text(&err));
			any = true;
		}
	}
	return any;
}

/* ---- looking --------------------------------------------------------------------------------------------------------
 */

struct px_list {
	struct {
		char name[NAME_MAX_BYTES + 1];
		uint64_t ino;
	} e[256];
	size_t n;
};

static inline bool px_list_add(void *ctx, const char *name, size_t len, uint64_t cookie, const struct attr *attr)
{
	struct px_list *l = ctx;

	(void)cookie;
	if (strncmp(name, ".", len) == 0 || strncmp(name, "..", len) == 0)
		return true;
	ck_assert_uint_lt(l->n, ARRAY_LEN(l->e));
	memcpy(l->e[l->n].name, name, len);
	l->e[l->n].name[len] = '\0';
	l->e[l->n++].ino = attr->ino;
	return true;
}

static inline int px_by_name(const void *a, const void *b)
{
	return strcmp(a, b); /* the name comes first */
}

static inline void px_list(int i, uint64_t dir, struct px_list *l)
{
	l->n = 0;
	ck_assert_int_eq(volume_readdir(px[i].v, dir, 0, px_list_add, l), 0);
	qsort(l->e, l->n, sizeof(l->e[0]), px_by_name);
}

/* The content of a small file. The last four results stay valid. */
static inline const char *px_bytes(int i, uint64_t ino, size_t *len)
{
	static char ring[4][65536];
	static unsigned at;
	char *p = ring[at++ % 4];
	ssize_t n = volume_read(px[i].v, ino, p, sizeof(ring[0]) - 1, 0);

	ck_assert_msg(n >= 0, "read %#llx: %zd", (unsigned long long)ino, n);
	p[n] = '\0';
	if (len)
		*len = (size_t)n;
	return p;
}

static inline void px_dump_file(int i, uint64_t ino, const struct attr *a, struct buf *to)
{
	char list[1024], value[512], target[SYMLINK_MAX_BYTES + 1];
	uint64_t hash = UINT64_C(1469598103934665603);
	ssize_t n;

	if (S_ISREG(a->mode)) {
		size_t len;
		const char *p = px_bytes(i, ino, &len);

		for (size_t k = 0; k < len; k++)
			hash = (hash ^ (uint8_t)p[k]) * UINT64_C(1099511628211);
		buf_printf(to, " size %llu #%016llx '%.40s'", (unsigned long long)a->size_bytes,
			   (unsigned long long)hash, p);
	}
	if (S_ISLNK(a->mode)) {
		n = volume_readlink(px[i].v, ino, target, sizeof(target));
		buf_printf(to, " -> %.*s", (int)n, target);
	}
	n = volume_listxattr(px[i].v, ino, list, sizeof(list));
	for (char *key = list; n > 0 && key < list + n; key += strlen(key) + 1) {
		ssize_t len = volume_getxattr(px[i].v, ino, key, value, sizeof(value));

		buf_printf(to, " %s=", key);
		for (ssize_t k = 0; k < len; k++)
			buf_printf(to, value[k] > ' ' && value[k] < 127 ? "%c" : "\\%03o", value[k] & 0xff);
	}
	buf_printf(to, "\n");
}

static inline void px_dump_dir(int i, uint64_t dir, const char *path, struct buf *to)
{
	struct px_list *l = xmalloc(sizeof(*l));

	ck_assert_uint_lt(strlen(path), 500);
	px_list(i, dir, l);
	for (size_t k = 0; k < l->n; k++) {
		char *sub = xasprintf("%s/%s", path, l->e[k].name);
		struct attr a;

		ck_assert_int_eq(volume_getattr(px[i].v, l->e[k].ino, &a), 0);
		buf_printf(to, "%s ino %#llx mode %o own %u:%u rdev %u nlink %u mtime %lld.%09ld", sub,
			   (unsigned long long)a.ino, a.mode, a.uid, a.gid, a.rdev, a.nlink, (long long)a.mtime.tv_sec,
			   a.mtime.tv_nsec);
		px_dump_file(i, a.ino, &a, to);
		if (S_ISDIR(a.mode))
			px_dump_dir(i, a.ino, sub, to);
		free(sub);
	}
	free(l);
}

/* Is the line in a file of this directory, or below? */
static inline bool px_is_below(int i, uint64_t dir, const char *line)
{
	struct px_list *list = xmalloc(sizeof(*list));
	bool found = false;

	px_list(i, dir, list);
	for (size_t k = 0; k < list->n && !found; k++) {
		struct attr a;

		ck_assert_int_eq(volume_getattr(px[i].v, list->e[k].ino, &a), 0);
		found = S_ISDIR(a.mode) ? px_is_below(i, a.ino, line)
					: S_ISREG(a.mode) && strstr(px_bytes(i, a.ino, NULL), line);
	}
	free(list);
	return found;
}

/* Everything people can see of a side, as text; free it. */
static inline char *px_dump(int i)
{
	struct conflict *c;
	struct buf to;
	struct attr a;
	size_t n;

	buf_init(&to, 4u << 20);
	ck_assert_int_eq(volume_getattr(px[i].v, INO_ROOT, &a), 0);
	buf_printf(&to, "/ mode %o own %u:%u nlink %u", a.mode, a.uid, a.gid, a.nlink);
	px_dump_file(i, INO_ROOT, &a, &to);
	px_dump_dir(i, INO_ROOT, "", &to);
	px_dump_dir(i, INO_HIDDEN, "/" HIDDEN_NAME, &to);
	ck_assert_int_eq(volume_conflicts(px[i].v, &c, &n), 0);
	for (size_t k = 0; k < n; k++) {
		buf_printf(&to, "conflict %#llx %s %s ino %#llx '%s'%s", (unsigned long long)c[k].id, c[k].kind,
			   c[k].outcome, (unsigned long long)c[k].ino, c[k].path, c[k].resolved ? " resolved" : "");
		for (int s = 0; s < 2; s++)
			buf_printf(&to, " %s:%s ino %#llx", c[k].version[s].node,
				   c[k].version[s].path ? c[k].version[s].path : "-",
				   (unsigned long long)c[k].version[s].ino);
		buf_printf(&to, "\n");
		conflict_release(&c[k]);
	}
	free(c);
	ck_assert_int_eq(buf_append(&to, "", 1), 0);
	return (char *)to.data;
}

/* What twinfs verify compares, of all there is. */
static inline uint64_t px_digest(int i, enum digest_table table, struct digest_item *list, size_t *n)
{
	struct volume_info info;
	struct past *p = NULL;
	uint64_t covered;

	volume_info(px[i].v, &info);
	ck_assert_int_eq(past_open_known(px[i].v, info.applied, info.committed, &p), 0);
	ck_assert_int_eq(digest_list(p, table, 0, UINT64_MAX >> 1, list, 4096, n, &covered), 0);
	past_close(p);
	return digest_sum(list, *n);
}

static inline void px_digests_are_equal(void)
{
	struct digest_item *list = xcalloc(2 * 4096, sizeof(*list));
	size_t n[2];

	for (enum digest_table t = DIGEST_INODES; t <= DIGEST_LINKS; t++) {
		uint64_t a = px_digest(0, t, list, &n[0]), b = px_digest(1, t, list + 4096, &n[1]);

		for (size_t k = 0; a != b && k < MIN(n[0], n[1]); k++)
			ck_assert_msg(list[k].id == list[4096 + k].id && list[k].sum == list[4096 + k].sum,
				      "table %d: %#llx and %#llx differ", (int)t, (unsigned long long)list[k].id,
				      (unsigned long long)list[4096 + k].id);
		ck_assert_msg(a == b, "table %d: %zu and %zu entries", (int)t, n[0], n[1]);
	}
	free(list);
}

/* Both sides are the same, and nothing is kept for the other any more. */
static inline void px_same(void)
{
	px_digests_are_equal();
	char *a = px_dump(0), *b = px_dump(1);

	ck_assert_msg(strcmp(a, b) == 0, "the sides differ\n--- alder\n%s--- birch\n%s", a, b);
	free(a);
	free(b);
	for (int i = 0; i < 2; i++) {
		struct volume_info info;

		volume_info(px[i].v, &info);
		ck_assert_msg(info.pending_entries == 0, "side %d: %llu entries pending", i,
			      (unsigned long long)info.pending_entries);
		ck_assert_msg(info.history_bytes == 0, "side %d: %llu bytes of history", i,
			      (unsigned long long)info.history_bytes);
	}
}

/* Let them talk until nobody has anything to say. */
static inline void px_settle(void)
{
	unsigned rounds = 0;

	if (!px_is_up)
		px_up();
	for (unsigned idle = 0; idle < 3; idle = px_round() ? 0 : idle + 1)
		ck_assert_msg(++rounds < 500, "the traffic does not stop");
	for (int i = 0; i < 2; i++)
		ck_assert_msg(engine_settled(px[i].e), "side %d is not settled: %s", i, engine_unsettled(px[i].e));
}

/* The same, and compare. */
static inline void px_meet(void)
{
	px_settle();
	px_same();
}

/* And nothing is left to be put in place or dropped bit by bit. */
static inline void px_meet_landed(void)
{
	px_settle();
	for (int i = 0; i < 2; i++)
		volume_settle(px[i].v);
	px_same();
}

/* ---- doing ----------------------------------------------------------------------------------------------------------
 */

/* The inode at "a/b/c"; 0: there is none. */
static inline uint64_t px_at(int i, const char *path)
{
	uint64_t ino = INO_ROOT;
	char name[NAME_MAX_BYTES + 1];

	while (*path) {
		size_t n = strcspn(path, "/");
		struct attr a;

		snprintf(name, sizeof(name), "%.*s", (int)n, path);
		if (volume_lookup(px[i].v, ino, name, &a) < 0)
			return 0;
		ino = a.ino;
		path += n + (path[n] == '/');
	}
	return ino;
}

/* The directory of a path, and its last name. */
static inline uint64_t px_split(int i, const char *path, const char **name)
{
	const char *slash = strrchr(path, '/');
	char dir[512];
	uint64_t ino;

	*name = slash ? slash + 1 : path;
	snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - path) : 0, path);
	ino = px_at(i, dir);
	ck_assert_msg(ino != 0, "side %d has no %s", i, dir);
	return ino;
}

static inline uint64_t px_make(int i, const char *path, uint32_t mode)
{
	const char *name;
	uint64_t dir = px_split(i, path, &name);
	struct attr a;
	int rc = volume_create(px[i].v, dir, name, mode, 0, S_ISLNK(mode) ? "target" : NULL, &px_cred, &a);

	ck_assert_msg(rc == 0, "create %s: %d", path, rc);
	return a.ino;
}

static inline void px_write(int i, const char *path, const void *data, size_t len, uint64_t off)
{
	ck_assert_int_eq(volume_write(px[i].v, px_at(i, path), data, len, off, 0, NULL), (int)len);
}

/* The file has this text and no more. */
static inline uint64_t px_put(int i, const char *path, const char *text)
{
	struct attr a = { .size_bytes = 0 };
	uint64_t ino = px_at(i, path);

	if (!ino)
		ino = px_make(i, path, S_IFREG | 0644);
	ck_assert_int_eq(volume_setattr(px[i].v, ino, SET_SIZE, &a, NULL), 0);
	px_write(i, path, text, strlen(text), 0);
	return ino;
}

static inline void px_append(int i, const char *path, const char *text)
{
	ck_assert_int_eq(volume_write(px[i].v, px_at(i, path), text, strlen(text), 0, WRITE_APPEND, NULL),
			 (int)strlen(text));
}

static inline void px_mkdir(int i, const char *path)
{
	px_make(i, path, S_IFDIR | 0755);
}

static inline void px_unlink(int i, const char *path)
{
	const char *name;
	uint64_t dir = px_split(i, path, &name);

	ck_assert_int_eq(volume_unlink(px[i].v, dir, name), 0);
}

static inline void px_rmdir(int i, const char *path)
{
	const char *name;
	uint64_t dir = px_split(i, path, &name);

	ck_assert_int_eq(volume_rmdir(px[i].v, dir, name), 0);
}

static inline void px_rename(int i, const char *from, const char *to)
{
	const char *a, *b;
	uint64_t d1 = px_split(i, from, &a), d2 = px_split(i, to, &b);

	ck_assert_int_eq(volume_rename(px[i].v, d1, a, d2, b, 0), 0);
}

static inline void px_link(int i, const char *old, const char *new)
{
	const char *name;
	uint64_t dir = px_split(i, new, &name);
	struct attr a;

	ck_assert_int_eq(volume_link(px[i].v, px_at(i, old), dir, name, &a), 0);
}

static inline struct attr px_stat(int i, const char *path)
{
	struct attr a = { 0 };

	ck_assert_msg(volume_getattr(px[i].v, px_at(i, path), &a) == 0, "side %d has no %s", i, path);
	return a;
}

static inline void px_set(int i, const char *path, unsigned set, struct attr a)
{
	ck_assert_int_eq(volume_setattr(px[i].v, px_at(i, path), set, &a, NULL), 0);
}

static inline void px_setxattr(int i, const char *path, const char *key, const char *value)
{
	ck_assert_int_eq(volume_setxattr(px[i].v, px_at(i, path), key, value, strlen(value), 0), 0);
}

static inline const char *px_xattr(int i, const char *path, const char *key)
{
	static char value[2][256];
	char *p = value[i];
	ssize_t n = volume_getxattr(px[i].v, px_at(i, path), key, p, sizeof(value[0]) - 1);

	p[MAX(n, 0)] = '\0';
	return n < 0 ? NULL : p;
}

/* Both sides have this text there. */
static inline void px_expect(const char *path, const char *text)
{
	for (int i = 0; i < 2; i++) {
		uint64_t ino = px_at(i, path);

		ck_assert_msg(ino != 0, "side %d has no %s", i, path);
		ck_assert_msg(strcmp(px_bytes(i, ino, NULL), text) == 0, "side %d: %s is '%s', not '%s'", i, path,
			      px_bytes(i, ino, NULL), text);
	}
}

static inline void px_gone(const char *path)
{
	for (int i = 0; i < 2; i++)
		ck_assert_msg(px_at(i, path) == 0, "side %d still has %s", i, path);
}

/* The one entry of a directory whose name begins so; "" if there is none. */
static inline const char *px_find(int i, const char *dir, const char *prefix)
{
	static char name[NAME_MAX_BYTES + 1];
	struct px_list *l = xmalloc(sizeof(*l));

	name[0] = '\0';
	px_list(i, px_at(i, dir), l);
	for (size_t k = 0; k < l->n; k++)
		if (strncmp(l->e[k].name, prefix, strlen(prefix)) == 0) {
			ck_assert_msg(!name[0], "%s and %s", name, l->e[k].name);
			snprintf(name, sizeof(name), "%s", l->e[k].name);
		}
	free(l);
	return name;
}

static inline size_t px_count(int i, const char *dir)
{
	struct px_list *l = xmalloc(sizeof(*l));
	size_t n;

	px_list(i, px_at(i, dir), l);
	n = l->n;
	free(l);
	return n;
}

#endif
