/* SPDX-License-Identifier: MIT */
#include "tests/volume_fixture.h"

#include <sqlite3.h>

static const struct view NOW = { .kind = VIEW_NOW };

static struct view at(uint64_t group)
{
	return (struct view){ .kind = VIEW_AT, .group = group };
}

static struct view peer(uint64_t seen)
{
	return (struct view){ .kind = VIEW_PEER, .group = seen };
}

static int inode_in(uint64_t ino, struct view view, struct inode *out)
{
	int rc;

	volume_lock(fx);
	rc = tree_inode_view(fx, ino, view, out);
	volume_unlock(fx);
	return rc;
}

static int link_in(uint64_t link, struct view view, struct dentry *out)
{
	int rc;

	volume_lock(fx);
	rc = tree_link_view(fx, link, view, out);
	volume_unlock(fx);
	return rc;
}

static void chmod_to(uint64_t ino, uint32_t mode)
{
	struct attr a, set = { .mode = mode };

	ck_assert_int_eq(volume_setattr(fx, ino, SET_MODE, &set, &a), 0);
}

static void expect_bytes(uint64_t ino, struct view view, const char *text)
{
	char buf[64] = "";

	volume_lock(fx);
	ck_assert_int_eq(data_read(fx, ino, view, buf, strlen(text), 0), 0);
	volume_unlock(fx);
	ck_assert_str_eq(buf, text);
}

static uint64_t count_rows(const char *table)
{
	char path[300], sql[100];
	sqlite3 *db;
	sqlite3_stmt *s;
	uint64_t n;

	/* The store is locked while it is open. */
	ck_assert_int_eq(volume_close(fx), 0);
	snprintf(path, sizeof(path), "%s/twinfs.db", fx_dir);
	ck_assert_int_eq(sqlite3_open(path, &db), SQLITE_OK);
	snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s", table);
	ck_assert_int_eq(sqlite3_prepare_v2(db, sql, -1, &s, NULL), SQLITE_OK);
	ck_assert_int_eq(sqlite3_step(s), SQLITE_ROW);
	n = (uint64_t)sqlite3_column_int64(s, 0);
	sqlite3_finalize(s);
	sqlite3_close(db);
	fx_open();
	return n;
}

/* ---- views ---- */

START_TEST(a_view_at_a_group_shows_what_was_then)
{
	struct inode in;
	uint64_t f = fx_file(INO_ROOT, "f"), g1, g2;

	g1 = fx_cut();
	chmod_to(f, 0600);
	g2 = fx_cut();
	chmod_to(f, 0400);
	volume_commit(fx);
	ck_assert_int_eq(inode_in(f, at(g1), &in), 0);
	ck_assert_uint_eq(in.mode & 07777, 0644);
	ck_assert_int_eq(inode_in(f, at(g2), &in), 0);
	ck_assert_uint_eq(in.mode & 07777, 0600);
	ck_assert_int_eq(inode_in(f, NOW, &in), 0);
	ck_assert_uint_eq(in.mode & 07777, 0400);
	ck_assert_int_eq(inode_in(f, at(g1 - 1), &in), -ENOENT);
}
END_TEST

START_TEST(a_version_that_never_left_is_not_kept)
{
	uint64_t f = fx_file(INO_ROOT, "f");

	volume_commit(fx);
	chmod_to(f, 0600);
	volume_commit(fx);
	ck_assert_int_eq(volume_unlink(fx, INO_ROOT, "f"), 0);
	volume_commit(fx);
	/* the root's times were known to the peer from the beginning */
	ck_assert_uint_eq(count_rows("old_inode WHERE ino > 2"), 0);
	ck_assert_uint_eq(count_rows("old_dentry"), 0);
}
END_TEST

START_TEST(an_unpaired_volume_keeps_no_history)
{
	uint64_t f = fx_file(INO_ROOT, "f");

	fx_cut();
	chmod_to(f, 0600);
	fx_cut();
	ck_assert_int_eq(volume_unlink(fx, INO_ROOT, "f"), 0);
	fx_cut();
	ck_assert_uint_eq(count_rows("old_inode"), 0);
	ck_assert_uint_eq(count_rows("old_dentry"), 0);
}
END_TEST

START_TEST(a_link_is_seen_at_its_old_place)
{
	struct dentry d;
	uint64_t dir = fx_mkdir(INO_ROOT, "dir"), link, g;

	fx_file(INO_ROOT, "f");
	link = fx_link_id(INO_ROOT, "f");
	g = fx_cut();
	ck_assert_int_eq(volume_rename(fx, INO_ROOT, "f", dir, "g", 0), 0);
	volume_commit(fx);
	ck_assert_int_eq(link_in(link, at(g), &d), 0);
	ck_assert_uint_eq(d.parent, INO_ROOT);
	ck_assert_str_eq(d.name, "f");
	ck_assert_int_eq(volume_unlink(fx, dir, "g"), 0);
	volume_commit(fx);
	ck_assert_int_eq(link_in(link, NOW, &d), -ENOENT);
	ck_assert_int_eq(link_in(link, at(g), &d), 0);
}
END_TEST

START_TEST(the_peers_view_has_its_own_versions_and_ours_it_saw)
{
	struct inode in;
	uint64_t f = fx_file(INO_ROOT, "f"), g1 = fx_cut();

	/* Ours, unseen by the peer; then the peer's own. */
	chmod_to(f, 0600);
	volume_commit(fx);
	ck_assert_int_eq(inode_in(f, peer(g1), &in), 0);
	ck_assert_uint_eq(in.mode & 07777, 0644);

	ck_assert_int_eq(volume_apply_begin(fx), 0);
	ck_assert_int_eq(tree_inode_get(fx, f, &in), 0);
	in.mode = S_IFREG | 0700;
	in.origin = ORIGIN_PEER;
	ck_assert_int_eq(tree_inode_put(fx, &in), 0);
	ck_assert_int_eq(volume_apply_commit(fx, 1), 0);
	chmod_to(f, 0500);
	volume_commit(fx);
	ck_assert_int_eq(inode_in(f, peer(g1), &in), 0);
	ck_assert_uint_eq(in.mode & 07777, 0700);
}
END_TEST

START_TEST(the_peers_view_takes_the_size_of_the_content_it_knew)
{
	struct inode in;
	uint64_t f = fx_file(INO_ROOT, "f"), g;

	fx_write(f, "hello");
	g = fx_cut();
	fx_write(f, "hello world");
	volume_commit(fx);
	ck_assert_int_eq(volume_apply_begin(fx), 0);
	ck_assert_int_eq(tree_inode_get(fx, f, &in), 0);
	in.mode = S_IFREG | 0700;
	in.origin = ORIGIN_PEER;
	ck_assert_int_eq(tree_inode_put(fx, &in), 0);
	ck_assert_int_eq(volume_apply_commit(fx, 1), 0);
	ck_assert_int_eq(inode_in(f, peer(g), &in), 0);
	ck_assert_uint_eq(in.mode & 07777, 0700);
	ck_assert_uint_eq(in.size_bytes, 5);
}
END_TEST

START_TEST(what_the_peer_saw_deleted_is_not_in_its_view)
{
	struct inode in;
	struct dentry d;
	uint64_t f = fx_file(INO_ROOT, "f"), link = fx_link_id(INO_ROOT, "f"), g1 = fx_cut(), g2;

	ck_assert_int_eq(volume_unlink(fx, INO_ROOT, "f"), 0);
	g2 = fx_cut();
	ck_assert_int_eq(inode_in(f, peer(g1), &in), 0);
	ck_assert_int_eq(link_in(link, peer(g1), &d), 0);
	ck_assert_int_eq(inode_in(f, peer(g2), &in), -ENOENT);
	ck_assert_int_eq(link_in(link, peer(g2), &d), -ENOENT);
}
END_TEST

START_TEST(xattrs_have_views_too)
{
	char buf[8];
	uint64_t f = fx_file(INO_ROOT, "f"), g1, g2;

	ck_assert_int_eq(volume_setxattr(fx, f, "user.a", "1", 1, 0), 0);
	g1 = fx_cut();
	ck_assert_int_eq(volume_setxattr(fx, f, "user.a", "22", 2, 0), 0);
	g2 = fx_cut();
	ck_assert_int_eq(volume_removexattr(fx, f, "user.a"), 0);
	volume_commit(fx);
	volume_lock(fx);
	ck_assert_int_eq(tree_xattr_get_view(fx, f, "user.a", at(g1), buf, sizeof(buf)), 1);
	ck_assert_int_eq(tree_xattr_get_view(fx, f, "user.a", peer(g2), buf, sizeof(buf)), 2);
	ck_assert_int_eq(tree_xattr_get_view(fx, f, "user.a", NOW, buf, sizeof(buf)), -ENODATA);
	volume_unlock(fx);
}
END_TEST

static int count_links(void *ctx, const struct dentry *d)
{
	(void)d;
	++*(int *)ctx;
	return 0;
}

START_TEST(links_are_walked_in_a_view)
{
	struct attr a;
	uint64_t d = fx_mkdir(INO_ROOT, "d"), f = fx_file(d, "f"), g;
	int now = 0, then = 0, children = 0;

	ck_assert_int_eq(volume_link(fx, f, INO_ROOT, "g", &a), 0);
	g = fx_cut();
	ck_assert_int_eq(volume_unlink(fx, d, "f"), 0);
	volume_commit(fx);
	volume_lock(fx);
	ck_assert_int_eq(tree_links_of(fx, f, count_links, &now), 0);
	ck_assert_int_eq(tree_links_of_view(fx, f, at(g), count_links, &then), 0);
	ck_assert_int_eq(tree_children_view(fx, d, peer(g), count_links, &children), 0);
	volume_unlock(fx);
	ck_assert_int_eq(now, 1);
	ck_assert_int_eq(then, 2);
	ck_assert_int_eq(children, 1);
}
END_TEST

/* ---- coming back, and going for good ---- */

START_TEST(revive_brings_back_a_deleted_file_with_its_bytes)
{
	struct inode in;
	char buf[8];
	uint64_t f = fx_file(INO_ROOT, "f"), link = fx_link_id(INO_ROOT, "f"), g;

	fx_write(f, "hello");
	ck_assert_int_eq(volume_setxattr(fx, f, "user.a", "1", 1, 0), 0);
	g = fx_cut();
	ck_assert_int_eq(volume_unlink(fx, INO_ROOT, "f"), 0);
	volume_commit(fx);
	ck_assert_int_eq(volume_apply_begin(fx), 0);
	ck_assert_int_eq(tree_inode_revive(fx, 12345, peer(g)), -ENOENT);
	ck_assert_int_eq(tree_inode_revive(fx, f, peer(g)), 0);
	ck_assert_int_eq(tree_inode_revive(fx, f, peer(g)), -EEXIST);
	ck_assert_int_eq(tree_inode_get(fx, f, &in), 0);
	ck_assert_uint_eq(in.nlink, 0);
	ck_assert_int_eq(tree_link_put(fx, link, INO_ROOT, "f", 1, f, ORIGIN_PEER), 0);
	ck_assert_int_eq(volume_apply_commit(fx, 1), 0);
	fx_reopen_after_crash();
	fx_expect(f, "hello");
	ck_assert_uint_eq(fx_nlink(f), 1);
	ck_assert_int_eq(volume_getxattr(fx, f, "user.a", buf, sizeof(buf)), 1);
}
END_TEST

START_TEST(a_deleted_file_that_is_still_open_comes_back_like_any_other)
{
	struct inode in;
	struct view last;
	uint64_t f = fx_file(INO_ROOT, "f"), link = fx_link_id(INO_ROOT, "f"), g;

	fx_write(f, "hello");
	g = fx_cut();
	volume_ref(fx, f);
	ck_assert_int_eq(volume_unlink(fx, INO_ROOT, "f"), 0);
	volume_commit(fx);
	fx_write(f, "HELLO"); /* by who has it open: nothing to the peer */
	ck_assert_int_eq(volume_apply_begin(fx), 0);
	ck_assert_int_eq(tree_inode_get(fx, f, &in), -ENOENT);
	ck_assert_int_eq(tree_inode_last(fx, f, &last), 0);
	ck_assert_int_eq(tree_inode_revive(fx, f, peer(g)), 0);
	ck_assert_int_eq(tree_inode_get(fx, f, &in), 0);
	ck_assert_int_eq(tree_link_put(fx, link, INO_ROOT, "f", 1, f, ORIGIN_PEER), 0);
	ck_assert_int_eq(volume_apply_commit(fx, 1), 0);
	fx_expect(f, "hello");
	volume_unref(fx, f, 1);
	fx_expect(f, "hello");
	ck_assert_uint_eq(fx_nlink(f), 1);
}
END_TEST

START_TEST(the_baseline_keeps_bytes_until_it_is_acknowledged)
{
	struct volume_info info;
	uint64_t f = fx_file(INO_ROOT, "f"), g1, g2;

	fx_write(f, "hello");
	g1 = fx_cut();
	ck_assert_int_eq(volume_unlink(fx, INO_ROOT, "f"), 0);
	g2 = fx_cut();
	expect_bytes(f, at(g1), "hello");
	volume_info(fx, &info);
	ck_assert_uint_eq(info.history_bytes, 4096);

	volume_lock(fx);
	ck_assert_int_eq(history_purge(fx, g2), 0);
	volume_unlock(fx);
	volume_commit(fx);
	volume_info(fx, &info);
	ck_assert_uint_eq(info.acked, g2);
	ck_assert_uint_eq(info.committed, g2); /* an ack makes no group of its own */
	ck_assert_uint_eq(info.history_bytes, 0);
	ck_assert_uint_eq(info.used_bytes, 0);
	ck_assert_uint_eq(count_rows("old_inode"), 0);
	ck_assert_uint_eq(count_rows("old_dentry"), 0);
	volume_info(fx, &info);
	ck_assert_uint_eq(info.acked, g2);
}
END_TEST

START_TEST(a_purge_spares_what_died_later)
{
	struct inode in;
	uint64_t f = fx_file(INO_ROOT, "f"), g1 = fx_cut(), g2;

	chmod_to(f, 0600);
	g2 = fx_cut();
	chmod_to(f, 0400);
	volume_commit(fx);
	volume_lock(fx);
	ck_assert_int_eq(history_purge(fx, g2), 0);
	volume_unlock(fx);
	ck_assert_int_eq(inode_in(f, at(g1), &in), -ENOENT);
	ck_assert_int_eq(inode_in(f, at(g2), &in), 0);
	ck_assert_uint_eq(in.mode & 07777, 0600);
}
END_TEST

/* ---- the peer's changes ---- */

START_TEST(apply_abort_undoes_everything)
{
	struct volume_info info;
	struct inode in;
	uint64_t f = fx_file(INO_ROOT, "f"), g, link = fx_link_id(INO_ROOT, "f");

	fx_write(f, "hello");
	g = fx_cut();
	volume_ref(fx, f);
	ck_assert_int_eq(volume_apply_begin(fx), 0);
	ck_assert_int_eq(data_write(fx, f, "HELLO", 5, 0, ORIGIN_PEER), 0);
	ck_assert_int_eq(tree_link_drop(fx, link), 0);
	ck_assert_int_eq(tree_reap(fx, f), 0);
	ck_assert_int_eq(history_purge(fx, g), 0);
	ck_assert_int_eq(setting_put(fx, "k", "v"), 0);
	volume_apply_abort(fx);
	fx_expect(f, "hello");
	ck_assert_uint_eq(fx_ino(INO_ROOT, "f"), f);
	ck_assert_ptr_null(volume_setting_get(fx, "k"));
	volume_info(fx, &info);
	ck_assert_uint_eq(info.acked, 0);
	ck_assert_uint_eq(info.used_bytes, 4096);
	/* not taken for an orphan any more */
	volume_unref(fx, f, 1);
	ck_assert_int_eq(inode_in(f, NOW, &in), 0);
}
END_TEST

START_TEST(an_apply_is_a_group_of_its_own_and_stores_what_was_applied)
{
	struct volume_info info;
	struct inode in = { .ino = UINT64_C(2) << ID_SLOT_SHIFT | 1, .mode = S_IFDIR | 0755, .origin = ORIGIN_PEER };

	fx_file(INO_ROOT, "mine");
	ck_assert_int_eq(volume_apply_begin(fx), 0);
	ck_assert_int_eq(tree_inode_put(fx, &in), 0);
	ck_assert_int_eq(tree_link_put(fx, in.ino + 1, INO_ROOT, "theirs", 6, in.ino, ORIGIN_PEER), 0);
	ck_assert_int_eq(volume_apply_commit(fx, 7), 0);
	volume_info(fx, &info);
	ck_assert_uint_eq(info.applied, 7);
	ck_assert_uint_eq(info.committed, 3); /* the pair, mine, theirs */
	fx_reopen_after_crash();
	volume_info(fx, &info);
	ck_assert_uint_eq(info.applied, 7);
	ck_assert_uint_eq(fx_nlink(in.ino), 2);
	ck_assert_uint_eq(fx_nlink(INO_ROOT), 3);
}
END_TEST

START_TEST(an_apply_of_nothing_makes_no_group)
{
	struct volume_info info;
	uint64_t before;

	volume_info(fx, &info);
	before = info.committed;
	ck_assert_int_eq(volume_apply_begin(fx), 0);
	ck_assert_int_eq(volume_apply_commit(fx, 3), 0);
	volume_info(fx, &info);
	ck_assert_uint_eq(info.committed, before);
	ck_assert_uint_eq(info.applied, 3);
}
END_TEST

START_TEST(detached_links_can_change_places)
{
	uint64_t a = fx_mkdir(INO_ROOT, "a"), b = fx_mkdir(INO_ROOT, "b"), s = fx_mkdir(a, "s");
	uint64_t la = fx_link_id(INO_ROOT, "a"), lb = fx_link_id(INO_ROOT, "b"), ls = fx_link_id(a, "s");

	ck_assert_int_eq(volume_apply_begin(fx), 0);
	ck_assert_int_eq(tree_link_detach(fx, la), 0);
	ck_assert_int_eq(tree_link_detach(fx, lb), 0);
	ck_assert_int_eq(tree_link_detach(fx, ls), 0);
	ck_assert_int_eq(tree_link_put(fx, la, INO_ROOT, "b", 1, a, ORIGIN_PEER), 0);
	ck_assert_int_eq(tree_link_put(fx, lb, INO_ROOT, "a", 1, b, ORIGIN_PEER), 0);
	ck_assert_int_eq(tree_link_put(fx, ls, b, "s", 1, s, ORIGIN_PEER), 0);
	ck_assert_int_eq(volume_apply_commit(fx, 1), 0);
	ck_assert_uint_eq(fx_ino(INO_ROOT, "a"), b);
	ck_assert_uint_eq(fx_ino(INO_ROOT, "b"), a);
	ck_assert_uint_eq(fx_ino(b, "s"), s);
	ck_assert_uint_eq(fx_nlink(a), 2);
	ck_assert_uint_eq(fx_nlink(b), 3);
	ck_assert_uint_eq(fx_nlink(INO_ROOT), 4);
}
END_TEST

START_TEST(a_name_that_is_taken_is_refused)
{
	uint64_t f = fx_file(INO_ROOT, "f"), g = fx_file(INO_ROOT, "g"), lg = fx_link_id(INO_ROOT, "g");

	volume_lock(fx);
	ck_assert_int_eq(group_open(fx), 0);
	ck_assert_int_eq(tree_link_put(fx, lg, INO_ROOT, "f", 1, g, ORIGIN_LOCAL), -EEXIST);
	ck_assert_int_eq(tree_link_put(fx, lg, INO_ROOT, "h", 1, f, ORIGIN_LOCAL), -EINVAL);
	ck_assert_int_eq(tree_link_put(fx, id_new(fx), INO_ROOT, HIDDEN_NAME, strlen(HIDDEN_NAME), f, ORIGIN_LOCAL),
			 -EEXIST);
	volume_unlock(fx);
}
END_TEST

struct seen_notices {
	unsigned entries, inodes, deletes, told;
};

static void count_notices(void *ctx, const struct notice *list, size_t n)
{
	struct seen_notices *c = ctx;

	for (size_t i = 0; i < n; i++) {
		c->entries += list[i].kind == NOTICE_ENTRY;
		c->inodes += list[i].kind == NOTICE_INODE;
		c->deletes += list[i].kind == NOTICE_DELETE;
	}
}

static void count_told(void *ctx)
{
	struct seen_notices *c = ctx;

	c->told += c->inodes > 0;
	volume_commit(fx); /* must be callable: no lock is held */
}

START_TEST(notices_tell_what_the_kernel_may_have_cached)
{
	struct seen_notices seen = { 0 };
	uint64_t f = fx_file(INO_ROOT, "f");

	fx_file(INO_ROOT, "g");
	volume_set_notice(fx, count_notices, count_told, &seen);
	ck_assert_int_eq(volume_apply_begin(fx), 0);
	ck_assert_int_eq(data_write(fx, f, "HELLO", 5, 0, ORIGIN_PEER), 0);
	ck_assert_int_eq(tree_link_put(fx, id_new(fx), INO_ROOT, "h", 1, f, ORIGIN_PEER), 0);
	ck_assert_int_eq(volume_apply_commit(fx, 1), 0);
	ck_assert_uint_eq(seen.entries, 1);
	ck_assert_uint_eq(seen.told, 1); /* after its notices */
	ck_assert_uint_eq(seen.inodes, 2); /* the file once, and the root for its listing */
	ck_assert_int_eq(volume_unlink(fx, INO_ROOT, "g"), 0);
	ck_assert_uint_eq(seen.deletes, 0); /* our own changes need none */
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tree");
	TCase *tc = tcase_create("paired"), *alone = tcase_create("alone");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(alone, fx_setup, fx_teardown);
	tcase_add_test(alone, an_unpaired_volume_keeps_no_history);
	tcase_add_checked_fixture(tc, fx_setup_primary, fx_teardown);
	tcase_add_test(tc, a_view_at_a_group_shows_what_was_then);
	tcase_add_test(tc, a_version_that_never_left_is_not_kept);
	tcase_add_test(tc, a_link_is_seen_at_its_old_place);
	tcase_add_test(tc, the_peers_view_has_its_own_versions_and_ours_it_saw);
	tcase_add_test(tc, the_peers_view_takes_the_size_of_the_content_it_knew);
	tcase_add_test(tc, what_the_peer_saw_deleted_is_not_in_its_view);
	tcase_add_test(tc, xattrs_have_views_too);
	tcase_add_test(tc, links_are_walked_in_a_view);
	tcase_add_test(tc, revive_brings_back_a_deleted_file_with_its_bytes);
	tcase_add_test(tc, a_deleted_file_that_is_still_open_comes_back_like_any_other);
	tcase_add_test(tc, the_baseline_keeps_bytes_until_it_is_acknowledged);
	tcase_add_test(tc, a_purge_spares_what_died_later);
	tcase_add_test(tc, apply_abort_undoes_everything);
	tcase_add_test(tc, an_apply_is_a_group_of_its_own_and_stores_what_was_applied);
	tcase_add_test(tc, an_apply_of_nothing_makes_no_group);
	tcase_add_test(tc, detached_links_can_change_places);
	tcase_add_test(tc, a_name_that_is_taken_is_refused);
	tcase_add_test(tc, notices_tell_what_the_kernel_may_have_cached);
	suite_add_tcase(s, tc);
	suite_add_tcase(s, alone);
	return tap_main(s);
}
