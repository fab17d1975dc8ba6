/* SPDX-License-Identifier: MIT */
/*
 * The past against snapshots: random work by both sides, acknowledged in random portions. What a past shows must be
 * what the tree was at its group, however long it stays open; and nobody else may notice that it is open.
 */
#include "core/internal.h"
#include "core/past.h"
#include "tests/volume_fixture.h"
#include "util/buf.h"

#define GROUPS_MAX 400
#define OPEN_MAX 6
#define DIRS 6
#define NAMES 8
#define STEPS 400

static char *snapshots[GROUPS_MAX]; /* by group; NULL: not taken */
static uint64_t seed;

static uint64_t chance(uint64_t below)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (seed >> 33) % below;
}

/* ---- a tree as text ---- */

/* One of the two: the present (past NULL) or a past. */
struct source {
	struct past *past;
};

static int s_getattr(struct source *s, uint64_t ino, struct attr *a)
{
	return s->past ? past_getattr(s->past, ino, a) : volume_getattr(fx, ino, a);
}

static ssize_t s_read(struct source *s, uint64_t ino, void *buf, size_t len, uint64_t off)
{
	return s->past ? past_read(s->past, ino, buf, len, off) : volume_read(fx, ino, buf, len, off);
}

struct dump {
	struct source *s;
	struct buf *out;
	uint64_t dirs[64];
	size_t n_dirs;
};

static void dump_bytes(struct dump *d, uint64_t ino, uint64_t size)
{
	static uint8_t bytes[64 << 10];
	ssize_t n = s_read(d->s, ino, bytes, sizeof(bytes), 0);
	uint64_t sum = 7;
	int64_t data;

	ck_assert_int_eq(n, (ssize_t)MIN(size, sizeof(bytes)));
	for (ssize_t i = 0; i < n; i++)
		sum = sum * 31 + bytes[i];
	data = d->s->past ? past_seek(d->s->past, ino, 0, SEEK_DATA) : volume_seek(fx, ino, 0, SEEK_DATA);
	buf_printf(d->out, " %zd bytes %llx from %lld", n, (unsigned long long)sum, (long long)data);
}

static void dump_xattrs(struct dump *d, uint64_t ino)
{
	char keys[4096], value[256];
	ssize_t n = d->s->past ? past_listxattr(d->s->past, ino, keys, sizeof(keys))
	                       : volume_listxattr(fx, ino, keys, sizeof(keys));

	ck_assert_int_ge(n, 0);
	for (const char *key = keys; key < keys + n; key += strlen(key) + 1) {
		ssize_t len = d->s->past ? past_getxattr(d->s->past, ino, key, value, sizeof(value))
		                         : volume_getxattr(fx, ino, key, value, sizeof(value));

		ck_assert_int_ge(len, 0);
		buf_printf(d->out, " %s=%.*s", key, (int)len, value);
	}
}

static bool dump_entry(void *ctx, const char *name, size_t name_len, uint64_t cookie, const struct attr *a)
{
	struct dump *d = ctx;
	struct attr found;

	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return true;
	buf_printf(d->out, "  %llu %.*s = %llu mode %o uid %u size %llu mtime %lld.%09ld", (unsigned long long)cookie,
	           (int)name_len, name, (unsigned long long)a->ino, a->mode, a->uid,
	           (unsigned long long)a->size_bytes, (long long)a->mtime.tv_sec, a->mtime.tv_nsec);
	ck_assert_int_eq(s_getattr(d->s, a->ino, &found), 0);
	ck_assert_uint_eq(found.size_bytes, a->size_bytes);
	if (S_ISREG(a->mode)) {
		buf_printf(d->out, " nlink %u", a->nlink);
		dump_bytes(d, a->ino, a->size_bytes);
	} else {
		ck_assert_uint_lt(d->n_dirs, 64);
		d->dirs[d->n_dirs++] = a->ino;
	}
	dump_xattrs(d, a->ino);
	buf_printf(d->out, "\n");
	return true;
}

static char *dump(struct past *past)
{
	struct source s = { past };
	struct buf out;
	struct dump d = { .s = &s, .out = &out, .dirs = { INO_ROOT }, .n_dirs = 1 };

	buf_init(&out, 1 << 20);
	for (size_t i = 0; i < d.n_dirs; i++) {
		uint64_t dir = d.dirs[i];

		buf_printf(&out, "%llu:\n", (unsigned long long)dir);
		if (past)
			ck_assert_int_eq(past_readdir(past, dir, 0, dump_entry, &d), 0);
		else
			ck_assert_int_eq(volume_readdir(fx, dir, 0, dump_entry, &d), 0);
	}
	ck_assert_int_eq(buf_append(&out, "", 1), 0);
	return (char *)out.data;
}

/* ---- what the engine sees ---- */

struct peer_dump {
	struct buf *out;
	struct view view;
};

static int peer_entry(void *ctx, const struct dentry *d)
{
	struct peer_dump *p = ctx;
	static uint8_t bytes[64 << 10];
	struct inode in;
	uint64_t sum = 7;
	int rc = tree_inode_view(fx, d->child, p->view, &in);

	buf_printf(p->out, "  %llx %s = %llx: %d", (unsigned long long)d->link, d->name, (unsigned long long)d->child,
	           rc);
	if (rc == 0 && S_ISREG(in.mode)) {
		ck_assert_int_eq(data_read(fx, d->child, p->view, bytes, sizeof(bytes), 0), 0);
		for (size_t i = 0; i < sizeof(bytes); i++)
			sum = sum * 31 + bytes[i];
		buf_printf(p->out, " size %llu sum %llx", (unsigned long long)in.size_bytes, (unsigned long long)sum);
	}
	buf_printf(p->out, "\n");
	return 0;
}

/* All that the engine may ask at this moment, of every inode that was ever there. */
static void dump_for_engine(struct buf *out, const uint64_t *ever, size_t n_ever)
{
	struct volume_ids ids;
	struct view last;

	volume_lock(fx);
	volume_ids(fx, &ids);
	for (uint64_t g = ids.acked; g <= ids.committed; g += MAX(1, (ids.committed - ids.acked) / 2)) {
		for (int kind = VIEW_AT; kind <= VIEW_PEER; kind++) {
			struct peer_dump p = { out, { kind, g } };

			buf_printf(out, "kind %d at %llu\n", kind, (unsigned long long)g);
			for (size_t i = 0; i < n_ever; i++) {
				ck_assert_int_eq(tree_children_view(fx, ever[i], p.view, peer_entry, &p), 0);
				ck_assert_int_eq(tree_links_of_view(fx, ever[i], p.view, peer_entry, &p), 0);
			}
		}
	}
	for (size_t i = 0; i < n_ever; i++)
		if (ever[i] > INO_HIDDEN && tree_inode_get(fx, ever[i], &(struct inode){ 0 }) == -ENOENT)
			buf_printf(out, "%llx last %d\n", (unsigned long long)ever[i],
			           tree_inode_last(fx, ever[i], &last));
	volume_unlock(fx);
	ck_assert_int_eq(out->failed, 0);
}

/* ---- random work ---- */

struct world {
	uint64_t ever[2 * STEPS + 8];
	size_t n_ever;
	uint64_t peer_id, peer_group;
	struct past *open[OPEN_MAX];
};

static uint64_t any_dir(void)
{
	struct attr a;
	char name[8];

	snprintf(name, sizeof(name), "d%u", (unsigned)chance(DIRS));
	return chance(3) && volume_lookup(fx, INO_ROOT, name, &a) == 0 && S_ISDIR(a.mode) ? a.ino : INO_ROOT;
}

static const char *any_name(void)
{
	static char name[2][8];
	static int i;

	i = !i;
	snprintf(name[i], sizeof(name[i]), "f%u", (unsigned)chance(NAMES));
	return name[i];
}

static void local_step(struct world *w)
{
	uint64_t dir = any_dir(), other = any_dir(), ino;
	const char *name = any_name(), *newname = any_name();
	struct attr a = { .size_bytes = chance(40000), .mode = 0600 + chance(64), .uid = chance(9) };
	char text[12000];

	memset(text, 'a' + (int)chance(26), sizeof(text));
	ino = fx_ino(dir, name);
	switch (chance(12)) {
	case 0:
		snprintf(text, 8, "d%u", (unsigned)chance(DIRS));
		if (volume_create(fx, INO_ROOT, text, S_IFDIR | 0755, 0, NULL, &fx_cred, &a) == 0)
			w->ever[w->n_ever++] = a.ino;
		break;
	case 1:
		volume_unlink(fx, dir, name);
		break;
	case 2:
		snprintf(text, 8, "d%u", (unsigned)chance(DIRS));
		volume_rmdir(fx, INO_ROOT, text);
		break;
	case 3:
		volume_rename(fx, dir, name, other, newname, 0);
		break;
	case 4:
		if (ino)
			volume_link(fx, ino, other, newname, &a);
		break;
	case 5:
		if (ino)
			volume_setattr(fx, ino, 1u << chance(4), &a, &a); /* mode, uid, gid or size */
		break;
	case 6:
		if (ino)
			volume_setxattr(fx, ino, newname, text, 1 + chance(20), 0);
		break;
	case 7:
		if (ino)
			volume_removexattr(fx, ino, newname);
		break;
	case 8:
		if (ino)
			volume_fallocate(fx, ino, 3, chance(20000), 1 + chance(20000)); /* a hole */
		break;
	default:
		if (!ino && volume_create(fx, dir, name, S_IFREG | 0644, 0, NULL, &fx_cred, &a) == 0)
			w->ever[w->n_ever++] = ino = a.ino;
		if (ino)
			volume_write(fx, ino, text, 1 + chance(sizeof(text)), chance(30000), 0, NULL);
	}
}

static void peer_new(struct world *w, uint64_t dir, const char *name)
{
	struct inode in = { .ino = UINT64_C(2) << ID_SLOT_SHIFT | ++w->peer_id, .mode = S_IFREG | 0644,
		            .shrunk_to = UINT64_MAX, .origin = ORIGIN_PEER, .corigin = ORIGIN_PEER };

	in.cborn = group_number(fx);
	w->ever[w->n_ever++] = in.ino;
	ck_assert_int_eq(tree_inode_put(fx, &in), 0);
	ck_assert_int_eq(data_write(fx, in.ino, "theirs", 6, chance(9000), ORIGIN_PEER), 0);
	ck_assert_int_eq(tree_link_put(fx, in.ino + (UINT64_C(1) << 40), dir, name, strlen(name), in.ino, ORIGIN_PEER),
	                 0);
}

/* As a group of the peer's that fits. */
static void peer_step(struct world *w)
{
	uint64_t dir = any_dir();
	const char *name = any_name();
	struct dentry d;
	struct view view;
	uint64_t lost = w->n_ever ? w->ever[chance(w->n_ever)] : 0;

	ck_assert_int_eq(volume_apply_begin(fx), 0);
	if (tree_lookup(fx, dir, name, strlen(name), &d) == -ENOENT) {
		/* sometimes one that was deleted comes back */
		if (chance(3) && lost > INO_HIDDEN && tree_inode_get(fx, lost, &(struct inode){ 0 }) == -ENOENT &&
		    tree_inode_last(fx, lost, &view) == 0 && tree_inode_revive(fx, lost, view) == 0) {
			struct inode in;

			ck_assert_int_eq(tree_inode_get(fx, lost, &in), 0);
			ck_assert_int_eq(tree_link_put(fx, id_new(fx), S_ISDIR(in.mode) ? INO_ROOT : dir,
			                               S_ISDIR(in.mode) ? "back" : name,
			                               S_ISDIR(in.mode) ? 4 : strlen(name), lost, ORIGIN_PEER), 0);
			if (S_ISDIR(in.mode)) { /* one name for all, so it goes again at once */
				ck_assert_int_eq(tree_lookup(fx, INO_ROOT, "back", 4, &d), 0);
				ck_assert_int_eq(tree_link_drop(fx, d.link), 0);
				ck_assert_int_eq(tree_reap(fx, lost), 0);
			}
		} else {
			peer_new(w, dir, name);
		}
	} else if (chance(2)) {
		ck_assert_int_eq(data_write(fx, d.child, "THEIRS", 6, chance(30000), ORIGIN_PEER), 0);
	} else if (chance(2)) {
		ck_assert_int_eq(data_truncate(fx, d.child, chance(20000), ORIGIN_PEER), 0);
	} else {
		ck_assert_int_eq(tree_link_drop(fx, d.link), 0);
		ck_assert_int_eq(tree_reap(fx, d.child), 0);
	}
	ck_assert_int_eq(volume_apply_commit(fx, ++w->peer_group), 0);
}

static void acknowledge(struct world *w)
{
	struct volume_info info;

	volume_info(fx, &info);
	if (info.committed == info.acked)
		return;
	ck_assert_int_eq(volume_apply_begin(fx), 0);
	ck_assert_int_eq(history_purge(fx, info.acked + 1 + chance(info.committed - info.acked)), 0);
	ck_assert_int_eq(volume_apply_commit(fx, ++w->peer_group), 0);
}

static void snapshot(void)
{
	uint64_t g = fx_cut();

	ck_assert_uint_lt(g, GROUPS_MAX);
	if (!snapshots[g])
		snapshots[g] = dump(NULL);
}

static void expect_snapshot(struct past *p)
{
	char *seen = dump(p), *was = snapshots[past_group(p)];

	if (was)
		ck_assert_msg(strcmp(seen, was) == 0, "the past of group %llu is\n%s\nbut it was\n%s",
		              (unsigned long long)past_group(p), seen, was);
	free(seen);
}

static void past_step(struct world *w, bool pins)
{
	struct past **slot = &w->open[chance(OPEN_MAX)];
	uint64_t open_it = chance(2);

	if (!pins)
		return;
	if (*slot) {
		expect_snapshot(*slot);
		if (open_it) {
			past_close(*slot);
			*slot = NULL;
		}
	} else {
		struct err err = ERR_INIT;
		int rc = past_open(fx, slot, &err);

		ck_assert_msg(rc == 0 || rc == -ENODATA, "%s", err.text);
		if (rc == 0)
			expect_snapshot(*slot);
		else
			*slot = NULL;
	}
}

static uint64_t rows_left(void)
{
	uint64_t n = 0;

	volume_lock(fx);
	ck_assert_int_eq(DB_GET(fx->db,
	                        "SELECT (SELECT count(*) FROM old_inode) + (SELECT count(*) FROM old_dentry)"
	                        " + (SELECT count(*) FROM old_xattr) + (SELECT count(*) FROM old_extent)",
	                        &n, 0), 1);
	volume_unlock(fx);
	return n;
}

/* Runs one history; what the engine saw in it goes to `out`. */
static void run(uint64_t with_seed, bool pins, struct buf *out)
{
	struct world *w = xcalloc(1, sizeof(*w));
	struct volume_info info;

	seed = with_seed;
	w->ever[w->n_ever++] = INO_ROOT;
	for (int i = 0; i < STEPS; i++) {
		switch (chance(10)) {
		case 0:
			snapshot();
			break;
		case 1:
			snapshot();
			acknowledge(w);
			break;
		case 2:
			snapshot();
			peer_step(w);
			break;
		case 3:
			past_step(w, pins);
			break;
		default:
			local_step(w);
		}
		if (i % 25 == 0)
			dump_for_engine(out, w->ever, w->n_ever);
	}
	for (size_t i = 0; i < OPEN_MAX; i++) {
		if (w->open[i])
			expect_snapshot(w->open[i]);
		past_close(w->open[i]);
	}
	fx_cut();
	volume_info(fx, &info);
	ck_assert_int_eq(volume_apply_begin(fx), 0);
	ck_assert_int_eq(history_purge(fx, info.committed), 0);
	ck_assert_int_eq(volume_apply_commit(fx, ++w->peer_group), 0);
	volume_info(fx, &info);
	ck_assert_uint_eq(info.history_bytes, 0);
	ck_assert_uint_eq(rows_left(), 0);
	for (size_t g = 0; g < GROUPS_MAX; g++) {
		free(snapshots[g]);
		snapshots[g] = NULL;
	}
	free(w);
}

static void both(uint64_t with_seed)
{
	struct buf seen[2];

	for (int pins = 0; pins < 2; pins++) {
		buf_init(&seen[pins], 64 << 20);
		fx_setup_primary();
		run(with_seed, pins, &seen[pins]);
		fx_teardown();
	}
	ck_assert_uint_eq(seen[0].len_bytes, seen[1].len_bytes);
	ck_assert_msg(memcmp(seen[0].data, seen[1].data, seen[0].len_bytes) == 0,
	              "seed %llu: the engine sees something else while a past is open", (unsigned long long)with_seed);
	buf_release(&seen[0]);
	buf_release(&seen[1]);
}

START_TEST(a_past_is_the_tree_at_its_group_and_the_engine_does_not_notice)
{
	both((uint64_t)_i * 77 + 5);
}
END_TEST

/* ---- by hand ---- */

static void ack_all(void)
{
	uint64_t g = fx_cut();

	ck_assert_int_eq(volume_apply_begin(fx), 0);
	ck_assert_int_eq(history_purge(fx, g), 0);
	ck_assert_int_eq(volume_apply_commit(fx, 1), 0);
}

static uint64_t history_bytes(void)
{
	struct volume_info info;

	volume_info(fx, &info);
	return info.history_bytes;
}

START_TEST(a_past_holds_what_is_overwritten_and_gives_it_back)
{
	struct past *p;
	struct err err = ERR_INIT;
	struct attr a;
	char text[16];
	uint64_t f = fx_file(INO_ROOT, "f"), other = fx_file(INO_ROOT, "other");

	fx_write(f, "one");
	fx_write(other, "other");
	ack_all();
	ck_assert_int_eq(past_open(fx, &p, &err), 0);
	for (int i = 0; i < 5; i++) {
		fx_write(f, "two");
		ack_all();
		ck_assert_uint_eq(history_bytes(), BLOCK_BYTES); /* "one", and none of the versions in between */
	}
	ck_assert_int_eq(volume_unlink(fx, INO_ROOT, "other"), 0);
	ack_all();
	ck_assert_uint_eq(history_bytes(), 2 * BLOCK_BYTES);
	ck_assert_int_eq(past_find(p, "//other", &a), 0);
	ck_assert_int_eq(past_read(p, other, text, sizeof(text), 0), 5);
	ck_assert_mem_eq(text, "other", 5);
	ck_assert_int_eq(past_read(p, f, text, sizeof(text), 0), 3);
	ck_assert_mem_eq(text, "one", 3);
	past_close(p);
	ck_assert_uint_eq(history_bytes(), 0);
}
END_TEST

START_TEST(what_a_pin_held_when_the_program_died_is_freed_at_the_next_opening)
{
	struct past *p;
	struct err err = ERR_INIT;
	uint64_t f = fx_file(INO_ROOT, "f");

	fx_write(f, "one");
	ack_all();
	ck_assert_int_eq(past_open(fx, &p, &err), 0);
	fx_write(f, "two");
	ack_all();
	fx_reopen_after_crash();
	free(p);
	volume_settle(fx);
	ck_assert_uint_eq(history_bytes(), 0);
	ck_assert_uint_eq(rows_left(), 0);
}
END_TEST

START_TEST(what_an_aborted_apply_had_freed_is_freed_by_the_next)
{
	uint64_t f = fx_file(INO_ROOT, "f"), g;

	fx_write(f, "one");
	fx_cut();
	fx_write(f, "two");
	g = fx_cut();
	ck_assert_uint_eq(history_bytes(), BLOCK_BYTES);
	ck_assert_int_eq(volume_apply_begin(fx), 0);
	ck_assert_int_eq(history_purge(fx, g), 0);
	volume_apply_abort(fx);
	ck_assert_uint_eq(history_bytes(), BLOCK_BYTES);
	ack_all();
	ck_assert_uint_eq(history_bytes(), 0);
	ck_assert_uint_eq(rows_left(), 0);
}
END_TEST

START_TEST(links_and_attributes_are_those_of_then)
{
	struct past *p;
	struct err err = ERR_INIT;
	uint64_t d = fx_mkdir(INO_ROOT, "d"), f = fx_file(d, "f"), l = fx_make(d, "l", S_IFLNK | 0777);
	struct attr a = { .mode = 0640 };
	char buf[64];

	ck_assert_int_eq(volume_link(fx, f, INO_ROOT, "g", &a), 0);
	ack_all();
	ck_assert_int_eq(past_open(fx, &p, &err), 0);
	ck_assert_int_eq(volume_unlink(fx, d, "l"), 0);
	ck_assert_int_eq(volume_unlink(fx, d, "f"), 0);
	ck_assert_int_eq(volume_rmdir(fx, INO_ROOT, "d"), 0);
	a.mode = 0600;
	ck_assert_int_eq(volume_setattr(fx, f, SET_MODE, &a, &a), 0);
	ack_all();
	ck_assert_int_eq(past_find(p, "/d/f", &a), 0);
	ck_assert_uint_eq(a.ino, f);
	ck_assert_uint_eq(a.nlink, 2);
	ck_assert_uint_eq(a.mode, S_IFREG | 0644);
	ck_assert_int_eq(past_readlink(p, l, buf, sizeof(buf)), 6);
	ck_assert_int_eq(past_lookup(p, d, "..", &a), 0);
	ck_assert_uint_eq(a.ino, INO_ROOT);
	ck_assert_int_eq(past_lookup(p, INO_ROOT, HIDDEN_NAME, &a), 0);
	ck_assert_uint_eq(a.ino, INO_HIDDEN);
	ck_assert_int_eq(past_find(p, "/d/none", &a), -ENOENT);
	ck_assert_int_eq(past_find(p, "/g/none", &a), -ENOTDIR);
	ck_assert_int_eq(past_read(p, d, buf, 1, 0), -EISDIR);
	past_close(p);
}
END_TEST

START_TEST(pins_are_bounded_and_shared_by_group)
{
	struct past *p[PAST_GROUPS_MAX + 1], *more;
	struct err err = ERR_INIT;

	for (size_t i = 0; i < PAST_GROUPS_MAX; i++) {
		fx_file(INO_ROOT, (char[]){ (char)('a' + i), '\0' });
		ack_all();
		ck_assert_int_eq(past_open(fx, &p[i], &err), 0);
	}
	ck_assert_int_eq(past_open(fx, &more, &err), 0); /* of a group that is pinned already */
	fx_file(INO_ROOT, "z");
	ack_all();
	ck_assert_int_eq(past_open(fx, &p[PAST_GROUPS_MAX], &err), -EMFILE);
	past_close(p[3]);
	ck_assert_int_eq(past_open(fx, &p[3], &err), 0);
	for (size_t i = 0; i < PAST_GROUPS_MAX; i++)
		past_close(p[i]);
	past_close(more);
}
END_TEST

START_TEST(without_a_peer_there_is_no_baseline)
{
	struct past *p;
	struct err err = ERR_INIT;

	ck_assert_int_eq(past_open(fx, &p, &err), -ENODATA);
	ck_assert_ptr_nonnull(strstr(err.text, "no peer"));
	fx_pair(ROLE_SECONDARY);
	err = (struct err)ERR_INIT;
	ck_assert_int_eq(past_open(fx, &p, &err), -ENODATA);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("past");
	TCase *alone = tcase_create("alone"), *paired = tcase_create("paired"), *random = tcase_create("random");

	tcase_add_checked_fixture(alone, fx_setup, fx_teardown);
	tcase_add_test(alone, without_a_peer_there_is_no_baseline);
	tcase_add_checked_fixture(paired, fx_setup_primary, fx_teardown);
	tcase_add_test(paired, a_past_holds_what_is_overwritten_and_gives_it_back);
	tcase_add_test(paired, what_a_pin_held_when_the_program_died_is_freed_at_the_next_opening);
	tcase_add_test(paired, what_an_aborted_apply_had_freed_is_freed_by_the_next);
	tcase_add_test(paired, links_and_attributes_are_those_of_then);
	tcase_add_test(paired, pins_are_bounded_and_shared_by_group);
	tcase_set_timeout(random, 120);
	tcase_add_loop_test(random, a_past_is_the_tree_at_its_group_and_the_engine_does_not_notice, 0, 4);
	suite_add_tcase(s, alone);
	suite_add_tcase(s, paired);
	suite_add_tcase(s, random);
	return tap_main(s);
}
