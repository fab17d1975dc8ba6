/* SPDX-License-Identifier: MIT */
#include <sqlite3.h>

#include "core/internal.h"
#include "db/note_rows.h"
#include "tests/volume_fixture.h"

static int row_of(uint64_t ino, enum entity what, struct change_row *out)
{
	int rc;

	volume_lock(fx);
	rc = changes_get(fx, ino, what, out);
	volume_unlock(fx);
	return rc;
}

static int row_of_link(uint64_t link, struct change_row *out)
{
	int rc;

	volume_lock(fx);
	rc = changes_get_link(fx, link, out);
	volume_unlock(fx);
	return rc;
}

static void chmod_to(uint64_t ino, uint32_t mode)
{
	struct attr a, set = { .mode = mode };

	ck_assert_int_eq(volume_setattr(fx, ino, SET_MODE, &set, &a), 0);
}

static void set_applied(uint64_t n)
{
	ck_assert_int_eq(volume_apply_begin(fx), 0);
	ck_assert_int_eq(volume_apply_commit(fx, n), 0);
}

/* Acknowledge everything up to n. */
static void forget_upto(uint64_t n)
{
	volume_lock(fx);
	ck_assert_int_eq(changes_purge(fx, n), 0);
	volume_unlock(fx);
	ck_assert_int_eq(volume_commit(fx), 0);
}

START_TEST(a_new_file_is_new_and_absorbs_its_attributes)
{
	struct change_row row;
	uint64_t f = fx_file(INO_ROOT, "f"), link = fx_link_id(INO_ROOT, "f");

	ck_assert_int_eq(row_of(f, ENT_NEW, &row), 0);
	ck_assert_uint_eq(row.grp, 2);
	ck_assert_int_eq(row_of_link(link, &row), 0);
	ck_assert_uint_eq(row.child, f);
	ck_assert_int_eq(row_of(INO_ROOT, ENT_TIMES, &row), 0);
	volume_commit(fx);
	chmod_to(f, 0600);
	ck_assert_int_eq(row_of(f, ENT_MODE, &row), -ENOENT);
	ck_assert_int_eq(row_of(f, ENT_NEW, &row), 0);
	ck_assert_uint_eq(row.grp, 3);
}
END_TEST

START_TEST(an_old_file_has_a_row_for_each_field_group)
{
	struct change_row row;
	struct attr a, set = { .uid = 9 };
	uint64_t f = fx_file(INO_ROOT, "f");

	forget_upto(fx_cut());
	chmod_to(f, 0600);
	ck_assert_int_eq(row_of(f, ENT_MODE, &row), 0);
	ck_assert_int_eq(row_of(f, ENT_OWNER, &row), -ENOENT);
	ck_assert_int_eq(volume_setattr(fx, f, SET_UID | SET_MTIME_NOW, &set, &a), 0);
	ck_assert_int_eq(row_of(f, ENT_OWNER, &row), 0);
	ck_assert_int_eq(row_of(f, ENT_TIMES, &row), 0);
	ck_assert_int_eq(row_of(f, ENT_CONTENT, &row), -ENOENT);
	ck_assert_int_eq(volume_setxattr(fx, f, "user.a", "1", 1, 0), 0);
	volume_lock(fx);
	ck_assert_int_eq(changes_get_xattr(fx, f, "user.a", &row), 0);
	volume_unlock(fx);
}
END_TEST

START_TEST(a_row_keeps_the_lowest_seen_until_it_is_clean)
{
	struct change_row row;
	uint64_t f = fx_file(INO_ROOT, "f");

	forget_upto(fx_cut());
	set_applied(4);
	chmod_to(f, 0600);
	set_applied(9);
	chmod_to(f, 0640);
	ck_assert_int_eq(row_of(f, ENT_MODE, &row), 0);
	ck_assert_uint_eq(row.seen, 4);
	forget_upto(fx_cut());
	chmod_to(f, 0600);
	ck_assert_int_eq(row_of(f, ENT_MODE, &row), 0);
	ck_assert_uint_eq(row.seen, 9);
}
END_TEST

START_TEST(a_fresh_link_dropped_leaves_no_row)
{
	struct change_row row;
	uint64_t f = fx_file(INO_ROOT, "f"), link = fx_link_id(INO_ROOT, "f");

	fx_write(f, "x");
	ck_assert_int_eq(volume_setxattr(fx, f, "user.a", "1", 1, 0), 0);
	volume_commit(fx);
	ck_assert_int_eq(volume_unlink(fx, INO_ROOT, "f"), 0);
	ck_assert_int_eq(row_of_link(link, &row), -ENOENT);
	ck_assert_int_eq(row_of(f, ENT_NEW, &row), -ENOENT);
	ck_assert_int_eq(row_of(f, ENT_CONTENT, &row), -ENOENT);
	volume_lock(fx);
	ck_assert_int_eq(changes_get_xattr(fx, f, "user.a", &row), -ENOENT);
	volume_unlock(fx);
}
END_TEST

START_TEST(a_link_that_was_cut_is_dropped_with_a_row)
{
	struct change_row row;
	uint64_t f = fx_file(INO_ROOT, "f"), link = fx_link_id(INO_ROOT, "f"), g = fx_cut();

	ck_assert_int_eq(volume_unlink(fx, INO_ROOT, "f"), 0);
	ck_assert_int_eq(row_of_link(link, &row), 0);
	ck_assert_uint_eq(row.grp, g + 1);
	ck_assert_uint_eq(row.child, f);
	ck_assert_int_eq(row_of(f, ENT_NEW, &row), -ENOENT);
}
END_TEST

/* The peer's version of the link is taken after all. */
static void take(uint64_t link)
{
	ck_assert_int_eq(volume_apply_begin(fx), 0);
	ck_assert_int_eq(changes_skipped_taken(fx, link, 1), 0);
	ck_assert_int_eq(volume_apply_commit(fx, 1), 0);
}

/* _i: what is skipped a second time before the first taking was cut is no other case. */
START_TEST(what_was_told_as_skipped_is_told_until_it_was_taken_for_good)
{
	struct change_row row;
	uint64_t f = fx_file(INO_ROOT, "f"), link = fx_link_id(INO_ROOT, "f");

	forget_upto(fx_cut());
	for (int again = 0; again <= _i; again++) {
		ck_assert_int_eq(volume_apply_begin(fx), 0);
		ck_assert_int_eq(changes_touch_skipped(fx, link, f, false), 0);
		ck_assert_int_eq(volume_apply_commit(fx, 1), 0);
		if (!again)
			fx_cut();
	}
	take(link);
	ck_assert_int_eq(row_of_link(link, &row), 0);
	ck_assert(row.skipped);
	take(link);
	ck_assert_int_eq(row_of_link(link, &row), 0);
	forget_upto(fx_cut());
	ck_assert_int_eq(row_of_link(link, &row), -ENOENT);
}
END_TEST

START_TEST(what_was_skipped_and_taken_before_it_was_told_is_not_told)
{
	struct change_row row;
	uint64_t f = fx_file(INO_ROOT, "f"), link = fx_link_id(INO_ROOT, "f");

	forget_upto(fx_cut());
	ck_assert_int_eq(volume_apply_begin(fx), 0);
	ck_assert_int_eq(changes_touch_skipped(fx, link, f, false), 0);
	ck_assert_int_eq(volume_apply_commit(fx, 1), 0);
	take(link);
	ck_assert_int_eq(row_of_link(link, &row), -ENOENT);
}
END_TEST

START_TEST(writes_to_an_unlinked_file_are_nobody_elses_business)
{
	struct change_row row;
	uint64_t f = fx_file(INO_ROOT, "f");

	fx_cut();
	volume_ref(fx, f);
	ck_assert_int_eq(volume_unlink(fx, INO_ROOT, "f"), 0);
	fx_write(f, "hello");
	chmod_to(f, 0600);
	ck_assert_int_eq(row_of(f, ENT_CONTENT, &row), -ENOENT);
	ck_assert_int_eq(row_of(f, ENT_NEW, &row), -ENOENT);
	ck_assert_int_eq(row_of(f, ENT_MODE, &row), -ENOENT);
}
END_TEST

/* ---- ranges ---- */

struct ranges {
	char text[256];
};

static int add_range(void *ctx, uint64_t ino, uint64_t off, uint64_t len_bytes, uint64_t grp)
{
	struct ranges *r = ctx;
	size_t n = strlen(r->text);

	(void)ino;
	snprintf(r->text + n, sizeof(r->text) - n, "%u-%u@%u ", (unsigned)off, (unsigned)(off + len_bytes),
		 (unsigned)grp);
	return 0;
}

static void expect_ranges(uint64_t ino, uint64_t after, const char *text)
{
	struct ranges r = { "" };

	volume_lock(fx);
	ck_assert_int_eq(changes_ranges(fx, ino, after, UINT64_MAX >> 1, add_range, &r), 0);
	volume_unlock(fx);
	ck_assert_str_eq(r.text, text);
}

static void touch_range(uint64_t ino, uint64_t off, uint64_t end)
{
	volume_lock(fx);
	ck_assert_int_eq(group_open(fx), 0);
	ck_assert_int_eq(changes_touch_range(fx, ino, off, end - off), 0);
	volume_unlock(fx);
}

START_TEST(ranges_of_one_group_merge)
{
	uint64_t f = fx_file(INO_ROOT, "f");

	touch_range(f, 10, 20);
	touch_range(f, 30, 40);
	touch_range(f, 20, 25);
	expect_ranges(f, 0, "10-25@2 30-40@2 ");
	touch_range(f, 24, 31);
	expect_ranges(f, 0, "10-40@2 ");
	touch_range(f, 12, 13);
	expect_ranges(f, 0, "10-40@2 ");
	touch_range(f, 0, 100);
	expect_ranges(f, 0, "0-100@2 ");
}
END_TEST

START_TEST(ranges_of_a_later_group_replace_what_they_cover)
{
	uint64_t f = fx_file(INO_ROOT, "f");

	touch_range(f, 0, 100);
	volume_commit(fx);
	touch_range(f, 40, 60);
	expect_ranges(f, 0, "0-40@2 40-60@3 60-100@2 ");
	expect_ranges(f, 2, "40-60@3 ");
	touch_range(f, 90, 120);
	touch_range(f, 60, 61);
	expect_ranges(f, 0, "0-40@2 40-61@3 61-90@2 90-120@3 ");
	volume_commit(fx);
	touch_range(f, 30, 95);
	expect_ranges(f, 0, "0-30@2 30-95@4 95-120@3 ");
}
END_TEST

START_TEST(random_ranges_match_a_map_of_bytes)
{
	enum { SIZE = 200 };
	uint8_t model[SIZE] = { 0 };
	uint64_t f = fx_file(INO_ROOT, "f");
	unsigned seed = 12345;

	for (unsigned round = 0; round < 400; round++) {
		struct ranges want = { "" };
		struct volume_info info;
		unsigned off, len;

		seed = seed * 1103515245u + 12345u;
		off = (seed >> 8) % (SIZE - 1);
		len = 1 + (seed >> 20) % 12;
		len = MIN(len, SIZE - off);
		touch_range(f, off, off + len);
		volume_info(fx, &info);
		memset(model + off, (int)info.group_open, len);
		if (round % 7 == 6)
			volume_commit(fx);
		if (round % 50 == 49) { /* only a few ranges, to fit the text */
			touch_range(f, 20, SIZE);
			volume_info(fx, &info);
			memset(model + 20, (int)info.group_open, SIZE - 20);
			for (unsigned i = 0, k; i < SIZE; i = k) {
				for (k = i; k < SIZE && model[k] == model[i];)
					k++;
				if (model[i])
					add_range(&want, f, i, k - i, model[i]);
			}
			expect_ranges(f, 0, want.text);
		}
	}
}
END_TEST

START_TEST(a_shrink_cuts_ranges_and_remembers_the_lowest_size)
{
	struct change_row row;
	struct attr a, set = { .size_bytes = 50 };
	char block[100] = "";
	uint64_t f = fx_file(INO_ROOT, "f");

	ck_assert_int_eq(volume_write(fx, f, block, sizeof(block), 0, 0, NULL), sizeof(block));
	forget_upto(fx_cut());
	ck_assert_int_eq(volume_write(fx, f, block, 60, 30, 0, NULL), 60);
	ck_assert_int_eq(row_of(f, ENT_CONTENT, &row), 0);
	ck_assert_uint_eq(row.shrunk_to, UINT64_MAX);
	ck_assert_int_eq(volume_setattr(fx, f, SET_SIZE, &set, &a), 0);
	expect_ranges(f, 0, "30-50@3 ");
	set.size_bytes = 200;
	ck_assert_int_eq(volume_setattr(fx, f, SET_SIZE, &set, &a), 0);
	set.size_bytes = 70;
	ck_assert_int_eq(volume_setattr(fx, f, SET_SIZE, &set, &a), 0);
	ck_assert_int_eq(row_of(f, ENT_CONTENT, &row), 0);
	ck_assert_uint_eq(row.shrunk_to, 50);
}
END_TEST

/* ---- the set as a whole ---- */

START_TEST(a_purge_spares_what_changed_later)
{
	struct change_row row;
	struct volume_info info;
	uint64_t f = fx_file(INO_ROOT, "f"), g1, g2;

	fx_write(f, "one");
	g1 = fx_cut();
	fx_write(f, "t");
	g2 = fx_cut();
	forget_upto(g1);
	ck_assert_int_eq(row_of(f, ENT_CONTENT, &row), 0);
	ck_assert_uint_eq(row.grp, g2);
	expect_ranges(f, 0, "0-1@3 ");
	volume_info(fx, &info);
	ck_assert_uint_eq(info.pending_bytes, 1);
	volume_lock(fx);
	ck_assert(changes_any_after(fx, g1));
	ck_assert(!changes_any_after(fx, g2));
	volume_unlock(fx);
	forget_upto(g2);
	volume_info(fx, &info);
	ck_assert_uint_eq(info.pending_entries, 0);
	ck_assert_uint_eq(info.pending_bytes, 0);
	ck_assert_uint_eq(info.pending_oldest_ms, 0);
}
END_TEST

START_TEST(a_row_touched_again_after_a_drop_is_there_again)
{
	struct change_row row;
	uint64_t f = fx_file(INO_ROOT, "f");

	forget_upto(fx_cut());
	fx_write(f, "one");
	volume_lock(fx);
	ck_assert_int_eq(changes_drop(fx, f, ENT_CONTENT), 0);
	volume_unlock(fx);
	expect_ranges(f, 0, "");
	fx_write(f, "two");
	ck_assert_int_eq(row_of(f, ENT_CONTENT, &row), 0);
	expect_ranges(f, 0, "0-3@3 ");
}
END_TEST

START_TEST(pairing_enters_everything_that_exists)
{
	struct change_row row;
	struct err err = ERR_INIT;
	struct volume_info info;
	uint64_t d = fx_mkdir(INO_ROOT, "d"), f = fx_file(d, "f");

	fx_write(f, "hello");
	ck_assert_int_eq(volume_setxattr(fx, f, "user.a", "1", 1, 0), 0);
	volume_commit(fx);
	ck_assert_int_eq(row_of(f, ENT_NEW, &row), -ENOENT);
	ck_assert_int_eq(volume_pair(fx, ROLE_PRIMARY, 1, 2, "id", "beta", &err), 0);
	ck_assert_int_eq(volume_pair(fx, ROLE_PRIMARY, 1, 2, "id", "beta", &err), -EEXIST);
	fx_reopen_after_crash();
	volume_info(fx, &info);
	ck_assert_int_eq(info.role, ROLE_PRIMARY);
	ck_assert_int_eq(row_of(f, ENT_NEW, &row), 0);
	ck_assert_uint_eq(row.seen, 0);
	ck_assert_uint_eq(row.grp, info.committed);
	ck_assert_int_eq(row_of(d, ENT_NEW, &row), 0);
	ck_assert_int_eq(row_of(d, ENT_CONTENT, &row), -ENOENT);
	ck_assert_int_eq(row_of(INO_ROOT, ENT_NEW, &row), -ENOENT);
	ck_assert_int_eq(row_of(INO_ROOT, ENT_MODE, &row), 0);
	ck_assert_int_eq(row_of_link(fx_link_id(d, "f"), &row), 0);
	expect_ranges(f, 0, "0-5@2 ");
}
END_TEST

START_TEST(the_secondary_does_not_claim_the_roots_attributes)
{
	struct change_row row;
	struct err err = ERR_INIT;

	fx_file(INO_ROOT, "f");
	volume_commit(fx);
	ck_assert_int_eq(volume_pair(fx, ROLE_SECONDARY, 1, 2, "id", "beta", &err), 0);
	ck_assert_int_eq(row_of(INO_ROOT, ENT_MODE, &row), -ENOENT);
	ck_assert_int_eq(row_of(fx_ino(INO_ROOT, "f"), ENT_NEW, &row), 0);
}
END_TEST

START_TEST(lineage_is_kept_by_kind_and_purged_by_group)
{
	struct lineage l = { .src = 10, .dst = 20, .grp = 1, .kind = 'c' };
	struct lineage alias = { .src = 10, .dst = 30, .grp = 5, .kind = 'l' }, out;

	volume_lock(fx);
	ck_assert_int_eq(lineage_put(fx, &l), 0);
	ck_assert_int_eq(lineage_put(fx, &alias), 0);
	ck_assert_int_eq(lineage_get(fx, LINEAGE_INODE, 10, &out), 0);
	ck_assert_uint_eq(out.dst, 20);
	ck_assert_int_eq(lineage_get(fx, LINEAGE_LINK, 10, &out), 0);
	ck_assert_int_eq(out.kind, 'l');
	ck_assert_int_eq(lineage_purge(fx, 1), 0);
	ck_assert_int_eq(lineage_get(fx, LINEAGE_INODE, 10, &out), -ENOENT);
	ck_assert_int_eq(lineage_get(fx, LINEAGE_LINK, 10, &out), 0);
	volume_unlock(fx);
}
END_TEST

/* Of all statements of this database so far. */
static int database_steps(void)
{
	int n = 0;

	for (sqlite3_stmt *s = NULL; (s = sqlite3_next_stmt(db_handle(fx->db), s));)
		n += sqlite3_stmt_status(s, SQLITE_STMTSTATUS_VM_STEP, 0);
	return n;
}

/* Two sides that had unpacked one archive did not come together: it was a walk through all of them for each. */
START_TEST(what_lives_on_as_another_is_found_among_many_as_among_few)
{
	uint64_t src;
	int before;

	volume_lock(fx);
	for (uint64_t i = 1; i <= 2000; i++)
		for (int link = 0; link < 2; link++) {
			struct lineage l = { .src = i, .dst = 10000 + i, .grp = 1, .kind = link ? 'l' : 'a' };

			ck_assert_int_eq(lineage_put(fx, &l), 0);
		}
	ck_assert_int_eq(lineage_source(fx, LINEAGE_LINK, 10001, &src), 0); /* it is prepared by now */
	before = database_steps();
	ck_assert_int_eq(lineage_source(fx, LINEAGE_LINK, 11500, &src), 0);
	ck_assert_uint_eq(src, 1500);
	ck_assert_int_eq(lineage_source(fx, LINEAGE_INODE, 99, &src), -ENOENT);
	ck_assert_int_lt(database_steps() - before, 200);
	volume_unlock(fx);
}
END_TEST

/* ---- conflicts ---- */

static char rule[] = "keep-both", path_f[] = "/f", path_copy[] = "/f (conflict)";

/* /f holds the primary's version, the copy beside it the secondary's. */
static void make_conflict(uint64_t ours, uint64_t theirs)
{
	struct conflict c = { .kind = "content", .outcome = "kept-both", .rule = rule, .path = path_f, .ino = ours,
	                      .when_ms = 1 };

	c.version[0] = (struct conflict_version){ .node = "alpha", .path = path_f, .ino = ours };
	c.version[1] = (struct conflict_version){ .node = "beta", .path = path_copy, .ino = theirs };
	volume_lock(fx);
	ck_assert_int_eq(conflict_put(fx, &c), 0);
	volume_unlock(fx);
}

static int count_conflict(void *ctx, const struct conflict *c)
{
	ck_assert_str_eq(c->path, "/f");
	*(unsigned *)ctx += c->resolved ? 100 : 1;
	return 0;
}

START_TEST(a_conflict_is_listed_with_the_paths_of_now)
{
	struct conflict *list;
	struct volume_info info;
	uint64_t a = fx_file(INO_ROOT, "f"), b = fx_file(INO_ROOT, "f (conflict)");
	unsigned changed = 0;
	size_t n;

	make_conflict(a, b);
	ck_assert_int_eq(volume_rename(fx, INO_ROOT, "f (conflict)", INO_ROOT, "mine", 0), 0);
	ck_assert_int_eq(volume_conflicts(fx, &list, &n), 0);
	ck_assert_uint_eq(n, 1);
	ck_assert_str_eq(list[0].version[1].path, "/mine");
	ck_assert_str_eq(list[0].version[0].node, "alpha");
	conflict_release(&list[0]);
	free(list);
	volume_info(fx, &info);
	ck_assert_uint_eq(info.conflicts_open, 1);
	volume_lock(fx);
	ck_assert_int_eq(conflict_rows(fx->db, 0, info.group_open, count_conflict, &changed), 0);
	volume_unlock(fx);
	ck_assert_uint_eq(changed, 1);
}
END_TEST

/* n settled rows, noted at this time and later. */
static void make_settled(unsigned n, uint64_t when_ms)
{
	struct conflict c = { .kind = "attribute", .outcome = "primary", .rule = rule, .path = path_f,
	                      .resolved = true };

	volume_lock(fx);
	ck_assert_int_eq(group_open(fx), 0);
	for (unsigned i = 0; i < n; i++) {
		c.id = 0;
		c.when_ms = when_ms + i;
		ck_assert_int_eq(conflict_put(fx, &c), 0);
	}
	volume_unlock(fx);
}

static size_t rows_noted_until(uint64_t ms, size_t *open)
{
	struct conflict *list;
	size_t n, found = 0;

	*open = 0;
	ck_assert_int_eq(volume_conflicts(fx, &list, &n), 0);
	for (size_t i = 0; i < n; i++) {
		found += list[i].resolved && list[i].when_ms <= ms;
		*open += !list[i].resolved;
		conflict_release(&list[i]);
	}
	free(list);
	return found;
}

START_TEST(settled_conflicts_are_kept_for_a_month_and_a_thousand_for_longer)
{
	const uint64_t old_ms = 5, now_ms = clock_real_ms();
	uint64_t a = fx_file(INO_ROOT, "f"), b = fx_file(INO_ROOT, "f (conflict)");
	size_t open;

	make_conflict(a, b); /* older than all of them, but it waits */
	make_settled(2500, old_ms);
	ck_assert_uint_eq(rows_noted_until(UINT64_MAX, &open), 2500); /* the peer does not have them yet */
	forget_upto(fx_cut());
	make_settled(1001, old_ms + 2500); /* within these they are cut to a thousand */
	ck_assert_uint_eq(rows_noted_until(old_ms + 1499, &open), 0);
	ck_assert_uint_eq(rows_noted_until(old_ms + 2499, &open), 1000);
	ck_assert_uint_eq(open, 1);
	forget_upto(fx_cut());
	make_settled(1001, now_ms);
	ck_assert_uint_eq(rows_noted_until(now_ms - 1, &open), 1000);
	forget_upto(fx_cut());
	make_settled(1001, now_ms + 2000); /* what is of today stays, the rest of the past goes */
	ck_assert_uint_eq(rows_noted_until(now_ms - 1, &open), 0);
	ck_assert_uint_eq(rows_noted_until(UINT64_MAX, &open), 2002);
	ck_assert_uint_eq(open, 1);
}
END_TEST

START_TEST(keeping_the_local_version_removes_the_copy)
{
	struct err err = ERR_INIT;
	struct volume_info info;
	uint64_t a = fx_file(INO_ROOT, "f"), b = fx_file(INO_ROOT, "f (conflict)");
	unsigned changed = 0;

	make_conflict(a, b);
	fx_cut();
	ck_assert_int_eq(volume_conflict_resolve(fx, "f", 0, &err), 0);
	ck_assert_uint_eq(fx_ino(INO_ROOT, "f"), a);
	ck_assert_uint_eq(fx_ino(INO_ROOT, "f (conflict)"), 0);
	volume_info(fx, &info);
	ck_assert_uint_eq(info.conflicts_open, 0);
	volume_lock(fx);
	ck_assert_int_eq(conflict_rows(fx->db, info.committed, info.group_open, count_conflict, &changed), 0);
	volume_unlock(fx);
	ck_assert_uint_eq(changed, 100);
	ck_assert_int_eq(volume_conflict_resolve(fx, "/f", 0, &err), 0); /* once more is no error */
	ck_assert_int_eq(volume_conflict_resolve(fx, "/g", 0, &err), -ENOENT);
}
END_TEST

START_TEST(keeping_the_peers_version_puts_it_at_the_path)
{
	struct err err = ERR_INIT;
	uint64_t a = fx_file(INO_ROOT, "f"), b = fx_file(INO_ROOT, "f (conflict)");

	make_conflict(a, b);
	ck_assert_int_eq(volume_conflict_resolve(fx, "/f (conflict)", 1, &err), 0);
	ck_assert_uint_eq(fx_ino(INO_ROOT, "f"), b);
	ck_assert_uint_eq(fx_ino(INO_ROOT, "f (conflict)"), 0);
	ck_assert_uint_eq(fx_nlink(a), 0);
}
END_TEST

START_TEST(keeping_both_changes_no_file)
{
	struct err err = ERR_INIT;
	uint64_t a = fx_file(INO_ROOT, "f"), b = fx_file(INO_ROOT, "f (conflict)");

	make_conflict(a, b);
	ck_assert_int_eq(volume_conflict_resolve(fx, "/f", 2, &err), 0);
	ck_assert_uint_eq(fx_ino(INO_ROOT, "f"), a);
	ck_assert_uint_eq(fx_ino(INO_ROOT, "f (conflict)"), b);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("changes");
	TCase *tc = tcase_create("paired"), *alone = tcase_create("alone");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(alone, fx_setup, fx_teardown);
	tcase_add_test(alone, pairing_enters_everything_that_exists);
	tcase_add_test(alone, the_secondary_does_not_claim_the_roots_attributes);
	tcase_add_checked_fixture(tc, fx_setup_primary, fx_teardown);
	tcase_add_test(tc, a_new_file_is_new_and_absorbs_its_attributes);
	tcase_add_test(tc, an_old_file_has_a_row_for_each_field_group);
	tcase_add_test(tc, a_row_keeps_the_lowest_seen_until_it_is_clean);
	tcase_add_test(tc, a_fresh_link_dropped_leaves_no_row);
	tcase_add_test(tc, a_link_that_was_cut_is_dropped_with_a_row);
	tcase_add_loop_test(tc, what_was_told_as_skipped_is_told_until_it_was_taken_for_good, 0, 2);
	tcase_add_test(tc, what_was_skipped_and_taken_before_it_was_told_is_not_told);
	tcase_add_test(tc, writes_to_an_unlinked_file_are_nobody_elses_business);
	tcase_add_test(tc, ranges_of_one_group_merge);
	tcase_add_test(tc, ranges_of_a_later_group_replace_what_they_cover);
	tcase_add_test(tc, random_ranges_match_a_map_of_bytes);
	tcase_add_test(tc, a_shrink_cuts_ranges_and_remembers_the_lowest_size);
	tcase_add_test(tc, a_purge_spares_what_changed_later);
	tcase_add_test(tc, a_row_touched_again_after_a_drop_is_there_again);
	tcase_add_test(tc, lineage_is_kept_by_kind_and_purged_by_group);
	tcase_add_test(tc, what_lives_on_as_another_is_found_among_many_as_among_few);
	tcase_add_test(tc, a_conflict_is_listed_with_the_paths_of_now);
	tcase_add_test(tc, settled_conflicts_are_kept_for_a_month_and_a_thousand_for_longer);
	tcase_add_test(tc, keeping_the_local_version_removes_the_copy);
	tcase_add_test(tc, keeping_the_peers_version_puts_it_at_the_path);
	tcase_add_test(tc, keeping_both_changes_no_file);
	suite_add_tcase(s, tc);
	suite_add_tcase(s, alone);
	return tap_main(s);
}
