/* SPDX-License-Identifier: MIT */
/* What a call costs does not grow with the tree. Counted in steps of the database's virtual machine, not in time. */
#include "core/fsck.h"
#include "core/leftover.h"
#include "db/change_set.h"
#include "db/inode_rows.h"
#include "tests/data_fixture.h"

#include <sqlite3.h>
#include <sys/wait.h>

#define SMALL 600u
#define LARGE 5000u

static struct store st;
static uint64_t dir, scattered;

static void teardown(void)
{
	store_remove(&st);
}

static uint64_t make(uint64_t parent, const char *name, uint32_t mode)
{
	const struct cred cred = { .uid = 0 };
	struct attr attr;

	ck_assert_int_eq(volume_create(st.v, parent, name, mode, 0, NULL, &cred, &attr), 0);
	return attr.ino;
}

static void put_block(uint64_t index)
{
	uint8_t block[BLOCK_BYTES] = { 1 };

	ck_assert_int_eq(volume_write(st.v, scattered, block, sizeof(block), index << BLOCK_SHIFT, 0, NULL),
	                 BLOCK_BYTES);
}

/* n files in one directory, and a file of n rows: backwards, so that no block joins the one before it. */
static void fill_alone(unsigned n)
{
	st.v->opt.group_max_bytes = UINT64_C(1) << 40;
	dir = make(INO_ROOT, "dir", S_IFDIR | 0755);
	scattered = make(INO_ROOT, "scattered", S_IFREG | 0644);
	for (unsigned i = n; i-- > 0;) {
		char name[16];

		snprintf(name, sizeof(name), "%u", i);
		make(dir, name, S_IFREG | 0644);
		put_block(i);
	}
	store_cut(&st);
}

static void fill(unsigned n)
{
	store_make(&st, 0);
	store_pair(&st);
	fill_alone(n);
}

/* Steps since the last call. Without those of looking at a small database when it is opened, all of which is read. */
static uint64_t steps(void)
{
	uint64_t sum = 0;

	volume_lock(st.v);
	for (sqlite3_stmt *s = NULL; (s = sqlite3_next_stmt(db_handle(st.v->db), s));)
		if (!strstr(sqlite3_sql(s), "quick_check"))
			sum += (uint64_t)sqlite3_stmt_status(s, SQLITE_STMTSTATUS_VM_STEP, 1);
	volume_unlock(st.v);
	return sum;
}

/* The peer has what was committed. */
static void acknowledge_all(void)
{
	uint64_t upto = store_cut(&st);

	ck_assert_int_eq(volume_apply_begin(st.v), 0);
	ck_assert_int_eq(changes_purge(st.v, upto), 0);
	ck_assert_int_eq(history_purge(st.v, upto), 0);
	ck_assert_int_eq(volume_apply_commit(st.v, 1), 0);
}

static void found(void *ctx, const char *text)
{
	(void)ctx;
	ck_abort_msg("fsck: %s", text);
}

/* Of the store as it would be found now. */
static void crash_and_check(void)
{
	static const struct fsck_options opt = { .found = found };
	struct fsck_result r;
	struct err err = ERR_INIT;

	volume_crash(st.v);
	st.v = NULL;
	ck_assert_msg(fsck_store(st.dir, &opt, &r, &err) == 0, "%s", err_text(&err));
	store_reopen(&st);
}

static void op_lookup(unsigned n)
{
	struct attr attr;
	char name[16];

	snprintf(name, sizeof(name), "%u", n / 2);
	ck_assert_int_eq(volume_lookup(st.v, dir, name, &attr), 0);
}

static void op_create_and_commit(unsigned n)
{
	(void)n;
	make(dir, "one more", S_IFREG | 0644);
	ck_assert_int_eq(volume_commit(st.v), 0);
}

static void op_write_and_commit(unsigned n)
{
	put_block(n / 2);
	ck_assert_int_eq(volume_commit(st.v), 0);
}

static void op_read(unsigned n)
{
	uint8_t block[BLOCK_BYTES];

	ck_assert_int_eq(volume_read(st.v, scattered, block, sizeof(block), (uint64_t)(n - 1) << BLOCK_SHIFT),
	                 BLOCK_BYTES);
}

static void op_statfs(unsigned n)
{
	struct statvfs vfs;

	(void)n;
	ck_assert_int_eq(volume_statfs(st.v, &vfs), 0);
}

static void op_status(unsigned n)
{
	struct volume_info info;

	(void)n;
	volume_info(st.v, &info);
}

/* Of everything that is pending, n rows and more of each kind; most of it is left over. */
static void op_acknowledge(unsigned n)
{
	(void)n;
	acknowledge_all();
}

static void op_drop_some(unsigned n)
{
	(void)n;
	leftover_step(st.v);
}

static void op_unlink(unsigned n)
{
	char name[16];

	snprintf(name, sizeof(name), "%u", n / 3);
	ck_assert_int_eq(volume_unlink(st.v, dir, name), 0);
}

static const struct {
	const char *name;
	void (*run)(unsigned n);
} op[] = {
	{ "lookup", op_lookup },
	{ "create and commit", op_create_and_commit },
	{ "write and commit", op_write_and_commit },
	{ "read", op_read },
	{ "statfs", op_statfs },
	{ "unlink", op_unlink },
	{ "status", op_status },
	{ "acknowledge all", op_acknowledge },
	{ "drop some of what was acknowledged", op_drop_some },
	{ "status, some of it dropped", op_status },
};

static void cost(unsigned n, uint64_t out[ARRAY_LEN(op)])
{
	fill(n);
	st.v->opt.drop_by_hand = true;
	st.v->opt.at_once_rows = 20;
	for (size_t i = 0; i < ARRAY_LEN(op); i++) {
		steps();
		op[i].run(n);
		out[i] = steps();
	}
}

START_TEST(what_a_call_costs_does_not_grow_with_the_tree)
{
	uint64_t small[ARRAY_LEN(op)], large[ARRAY_LEN(op)];

	cost(SMALL, small);
	teardown();
	st = (struct store){ .v = NULL };
	cost(LARGE, large);
	for (size_t i = 0; i < ARRAY_LEN(op); i++)
		ck_assert_msg(large[i] <= small[i] + small[i] / 4 + 20, "%s: %llu steps instead of %llu", op[i].name,
		              (unsigned long long)large[i], (unsigned long long)small[i]);
}
END_TEST

START_TEST(a_read_in_a_scattered_file_does_not_step_over_its_neighbours)
{
	fill(LARGE);
	op_read(LARGE / 2);
	steps();
	op_read(LARGE / 2);
	ck_assert_uint_lt(steps(), 100);
}
END_TEST

/* A truncation drops a bounded part; the rest goes by itself, and a crash does not bring it back. */
START_TEST(a_long_truncation_is_left_over_and_survives_a_crash)
{
	struct attr in = { .size_bytes = 0 }, out;
	uint8_t block[BLOCK_BYTES];

	st.at_once_rows = 100;
	fill(LARGE);
	st.v->opt.at_once_rows = 100;
	steps();
	ck_assert_int_eq(volume_setattr(st.v, scattered, SET_SIZE, &in, &out), 0);
	ck_assert_uint_eq(out.blocks_512, 0);
	ck_assert_int_eq(volume_commit(st.v), 0);
	volume_crash(st.v);
	store_reopen(&st);
	store_settle(&st);
	ck_assert_int_eq(volume_getattr(st.v, scattered, &out), 0);
	ck_assert_uint_eq(out.size_bytes, 0);
	put_block(LARGE); /* it grows: what was there reads as zeros */
	for (unsigned i = 0; i < LARGE; i++) {
		ck_assert_int_eq(volume_read(st.v, scattered, block, sizeof(block), (uint64_t)i << BLOCK_SHIFT),
		                 BLOCK_BYTES);
		ck_assert_uint_eq(block[0], 0);
	}
	store_check_owners(&st);
}
END_TEST

START_TEST(a_removed_file_is_dropped_bit_by_bit)
{
	fill(LARGE);
	st.v->opt.at_once_rows = 100;
	ck_assert_int_eq(volume_unlink(st.v, INO_ROOT, "scattered"), 0);
	volume_lock(st.v);
	ck_assert_uint_eq(map_count(&st.v->leftovers), 1);
	volume_unlock(st.v);
	store_check_owners(&st);
	volume_lock(st.v);
	/* the peer has seen it, so its bytes are history now */
	ck_assert_uint_eq(st.v->data->old_blocks, LARGE);
	volume_unlock(st.v);
}
END_TEST

static int count_link(void *ctx, const struct dentry *d)
{
	(void)d;
	++*(unsigned *)ctx;
	return 0;
}

/* All n files are unlinked while somebody has them open. The number of one in the middle. */
static uint64_t unlink_while_open(unsigned n)
{
	uint64_t middle = 0;

	for (unsigned i = 0; i < n; i++) {
		struct attr attr;
		char name[16];

		snprintf(name, sizeof(name), "%u", i);
		ck_assert_int_eq(volume_lookup(st.v, dir, name, &attr), 0);
		volume_ref(st.v, attr.ino);
		ck_assert_int_eq(volume_unlink(st.v, dir, name), 0);
		middle = i == n / 2 ? attr.ino : middle;
	}
	ck_assert_int_eq(volume_commit(st.v), 0);
	return middle;
}

static uint64_t steps_of_opening_with_orphans(unsigned n)
{
	uint64_t taken;

	st = (struct store){ .drop_by_hand = true };
	store_make(&st, 0);
	dir = make(INO_ROOT, "dir", S_IFDIR | 0755);
	for (unsigned i = 0; i < n; i++) {
		char name[16];

		snprintf(name, sizeof(name), "%u", i);
		make(dir, name, S_IFREG | 0644);
	}
	unlink_while_open(n);
	volume_crash(st.v);
	store_reopen(&st);
	taken = steps();
	store_remove(&st);
	st.v = NULL;
	return taken;
}

START_TEST(opening_reads_no_orphans_when_there_are_many)
{
	uint64_t some = steps_of_opening_with_orphans(2 * SMALL), many = steps_of_opening_with_orphans(LARGE);

	ck_assert_msg(many <= some, "%llu steps with %u, %llu with %u", (unsigned long long)some, 2 * SMALL,
	              (unsigned long long)many, LARGE);
}
END_TEST

/* Undone: what was reaped in a group that was lost is reaped again. */
START_TEST(what_waits_to_be_reaped_is_an_orphan_all_the_same)
{
	uint64_t middle, left;
	struct inode in;

	st = (struct store){ .drop_by_hand = true };
	fill(LARGE);
	middle = unlink_while_open(LARGE);
	volume_crash(st.v);
	store_reopen(&st);
	ck_assert_int_eq(volume_apply_begin(st.v), 0);
	ck_assert_uint_eq(map_count(&st.v->orphans), 0); /* none was read */
	ck_assert_int_eq(tree_inode_get(st.v, middle, &in), -ENOENT);
	ck_assert_int_eq(tree_inode_get(st.v, dir, &in), 0);
	volume_apply_abort(st.v);
	for (unsigned i = 0; i < 3; i++)
		ck_assert(leftover_step(st.v));
	volume_lock(st.v);
	ck_assert_int_eq(group_open(st.v), 0);
	ck_assert_int_eq(group_fault(st.v, -EIO, "a test"), -EIO);
	volume_unlock(st.v);
	ck_assert_int_eq(volume_recover(st.v), 0);
	store_settle(&st);
	ck_assert_uint_eq(map_count(&st.v->orphans), 0);
	volume_lock(st.v);
	ck_assert_int_eq(orphan_rows_some(st.v->db, ORPHANS_FROM_FIRST, &left, 1), 0);
	volume_unlock(st.v);
	crash_and_check();
}
END_TEST

START_TEST(many_orphans_of_the_last_run_do_not_hold_up_opening)
{
	unsigned left = 0;

	fill(LARGE);
	unlink_while_open(LARGE);
	volume_crash(st.v);
	store_reopen(&st);
	store_settle(&st);
	volume_lock(st.v);
	ck_assert_uint_eq(map_count(&st.v->orphans), 0);
	ck_assert_int_eq(tree_children(st.v, dir, count_link, &left), 0);
	ck_assert_uint_eq(left, 0);
	volume_unlock(st.v);
}
END_TEST

/* ---- what is acknowledged ---- */

/* From now on nothing is dropped but by leftover_step. */
static void leave_all_over(void)
{
	st.at_once_rows = 1;
	st.drop_by_hand = true;
	st.v->opt.at_once_rows = 1;
	st.v->opt.drop_by_hand = true;
}

static int count_inode(void *ctx, uint64_t ino, enum entity what, const struct change_row *row)
{
	(void)ino;
	(void)what;
	(void)row;
	++*(unsigned *)ctx;
	return 0;
}

static int count_changed_link(void *ctx, uint64_t link, const struct change_row *row)
{
	(void)link;
	(void)row;
	++*(unsigned *)ctx;
	return 0;
}

static int count_range(void *ctx, uint64_t ino, uint64_t off, uint64_t len_bytes, uint64_t grp)
{
	(void)ino;
	(void)off;
	(void)len_bytes;
	(void)grp;
	++*(unsigned *)ctx;
	return 0;
}

/* Rows of the change set that somebody sees. */
static unsigned count_changes(void)
{
	unsigned n = 0;

	volume_lock(st.v);
	ck_assert_int_eq(changes_inodes(st.v, 0, GROUP_MAX, count_inode, &n), 0);
	ck_assert_int_eq(changes_links(st.v, 0, GROUP_MAX, count_changed_link, &n), 0);
	ck_assert_int_eq(changes_ranges(st.v, scattered, 0, GROUP_MAX, count_range, &n), 0);
	volume_unlock(st.v);
	return n;
}

static void expect_nothing_pending(void)
{
	struct volume_info info;

	volume_info(st.v, &info);
	ck_assert_uint_eq(info.pending_entries, 0);
	ck_assert_uint_eq(info.pending_bytes, 0);
	ck_assert_uint_eq(info.pending_oldest_ms, 0);
	ck_assert_uint_eq(count_changes(), 0);
}

START_TEST(what_is_acknowledged_is_gone_at_once_and_dropped_later)
{
	struct db_numbers none = { .forgotten = 0 };

	fill(SMALL);
	leave_all_over();
	ck_assert_uint_gt(count_changes(), 2 * SMALL);
	acknowledge_all();
	expect_nothing_pending();
	for (unsigned i = 0; leftover_step(st.v); i++) {
		expect_nothing_pending();
		if (i < 4) { /* and a crash changes nothing of that */
			crash_and_check();
			expect_nothing_pending();
		}
	}
	crash_and_check();
	expect_nothing_pending();
	none.forgotten = db_numbers(st.v->db)->forgotten;
	ck_assert_mem_eq(db_numbers(st.v->db), &none, sizeof(none));
	volume_lock(st.v);
	ck_assert(!leftover_any(st.v));
	volume_unlock(st.v);
}
END_TEST

START_TEST(a_change_over_an_acknowledged_one_is_a_new_one)
{
	struct attr a = { .size_bytes = BLOCK_BYTES, .mode = 0600 };
	struct change_row row;
	struct volume_info info;
	unsigned before;

	fill(SMALL);
	leave_all_over();
	ck_assert_int_eq(volume_setxattr(st.v, scattered, "user.k", "v", 1, 0), 0);
	ck_assert_int_eq(volume_setattr(st.v, scattered, SET_SIZE, &a, &a), 0);
	acknowledge_all(); /* knows the peer's group 1 now */
	volume_lock(st.v);
	ck_assert_int_eq(changes_get(st.v, scattered, ENT_CONTENT, &row), -ENOENT);
	ck_assert_int_eq(changes_get_xattr(st.v, scattered, "user.k", &row), -ENOENT);
	volume_unlock(st.v);

	ck_assert_int_eq(volume_setxattr(st.v, scattered, "user.k", "w", 1, 0), 0);
	put_block(0);
	before = count_changes();
	ck_assert_int_eq(volume_rename(st.v, INO_ROOT, "scattered", INO_ROOT, "moved", 0), 0);
	ck_assert_int_eq(volume_commit(st.v), 0);
	volume_info(st.v, &info);
	ck_assert_uint_gt(info.pending_entries, 0);
	ck_assert_uint_eq(count_changes(), before + 2); /* the link, and the root's times */
	crash_and_check();
	while (leftover_step(st.v))
		;
	volume_lock(st.v);
	ck_assert_int_eq(changes_get(st.v, scattered, ENT_CONTENT, &row), 0);
	ck_assert_uint_eq(row.seen, 1);
	ck_assert_uint_eq(row.grp, info.committed);
	ck_assert_uint_eq(row.shrunk_to, UINT64_MAX); /* the peer has cut it too */
	ck_assert_int_eq(changes_get_xattr(st.v, scattered, "user.k", &row), 0);
	ck_assert_uint_eq(row.seen, 1);
	volume_unlock(st.v);
	ck_assert_uint_eq(count_changes(), before + 2);
	volume_info(st.v, &info);
	ck_assert_uint_eq(info.pending_bytes, BLOCK_BYTES);
	crash_and_check();
}
END_TEST

START_TEST(history_is_dropped_bit_by_bit)
{
	uint64_t old;

	fill(SMALL);
	acknowledge_all();
	leave_all_over();
	for (unsigned i = 0; i < SMALL; i++)
		put_block(i);
	store_cut(&st);
	acknowledge_all();
	volume_lock(st.v);
	old = st.v->data->old_blocks;
	volume_unlock(st.v);
	ck_assert_uint_gt(old, SMALL / 2);
	crash_and_check();
	while (leftover_step(st.v))
		;
	volume_lock(st.v);
	ck_assert_uint_eq(st.v->data->old_blocks, 0);
	volume_unlock(st.v);
	store_check_owners(&st);
	crash_and_check();
}
END_TEST

static uint64_t range_rows(uint64_t ino)
{
	uint64_t n = 0;

	volume_lock(st.v);
	ck_assert_int_ge(DB_GET(st.v->db, "SELECT count(*) FROM change_extent WHERE ino = ?1", &n, ino), 0);
	volume_unlock(st.v);
	return n;
}

/* Each in a row of its own. */
static void change_ranges_of_scattered(unsigned n)
{
	leave_all_over();
	st.at_once_rows = 10;
	st.v->opt.at_once_rows = 10;
	for (unsigned i = 0; i < n; i++)
		put_block(SMALL + 2 * i + 1);
}

static void remove_scattered(bool held)
{
	if (held)
		volume_ref(st.v, scattered);
	ck_assert_int_eq(volume_unlink(st.v, INO_ROOT, "scattered"), 0);
	ck_assert_uint_gt(range_rows(scattered), SMALL - 100);
	if (held)
		volume_unref(st.v, scattered, 1);
}

START_TEST(changed_ranges_of_a_removed_file_are_dropped_bit_by_bit)
{
	unsigned seen = 0;

	fill(10);
	acknowledge_all();
	change_ranges_of_scattered(SMALL);
	remove_scattered(_i);
	ck_assert_int_eq(volume_commit(st.v), 0);
	volume_lock(st.v);
	ck_assert_int_eq(changes_ranges(st.v, scattered, 0, GROUP_MAX, count_range, &seen), 0);
	volume_unlock(st.v);
	ck_assert_uint_eq(seen, 0); /* nobody sees them */

	leftover_step(st.v);
	crash_and_check();
	ck_assert_uint_gt(range_rows(scattered), 0);
	while (leftover_step(st.v))
		;
	ck_assert_uint_eq(range_rows(scattered), 0);
	crash_and_check();
	ck_assert(!leftover_ranges_gone(st.v, scattered));
	ck_assert(!leftover_any(st.v));
}
END_TEST

START_TEST(changed_ranges_that_are_gone_are_not_those_of_the_file_made_again)
{
	struct volume_info info;
	struct view then;

	fill(10);
	change_ranges_of_scattered(SMALL);
	store_cut(&st);
	remove_scattered(false);
	volume_lock(st.v);
	ck_assert_int_eq(tree_inode_last(st.v, scattered, &then), 0);
	ck_assert_int_eq(group_open(st.v), 0);
	ck_assert_int_eq(tree_inode_revive(st.v, scattered, then), 0);
	ck_assert_int_eq(tree_link_put(st.v, id_new(st.v), INO_ROOT, "again", 5, scattered, ORIGIN_LOCAL), 0);
	volume_unlock(st.v);
	ck_assert_uint_eq(range_rows(scattered), 0);
	put_block(0);
	ck_assert_uint_eq(range_rows(scattered), 1);
	ck_assert_int_eq(volume_commit(st.v), 0);
	while (leftover_step(st.v))
		;
	ck_assert_uint_eq(range_rows(scattered), 1);
	volume_info(st.v, &info);
	ck_assert_uint_eq(info.pending_bytes, BLOCK_BYTES);
	crash_and_check();
}
END_TEST

/* A group that is lost takes its deletions with it, and what they left over. */
START_TEST(a_removal_that_is_undone_leaves_the_ranges)
{
	fill(10);
	change_ranges_of_scattered(SMALL);
	ck_assert_int_eq(volume_commit(st.v), 0);
	remove_scattered(false);
	volume_lock(st.v);
	ck_assert(leftover_ranges_gone(st.v, scattered));
	group_fault(st.v, -EIO, "tested");
	ck_assert(!leftover_ranges_gone(st.v, scattered));
	volume_unlock(st.v);
	ck_assert_uint_ge(range_rows(scattered), SMALL);
	crash_and_check();
}
END_TEST

START_TEST(dropping_is_nobody_s_business)
{
	struct volume_info before, after;

	fill(SMALL);
	leave_all_over();
	acknowledge_all();
	volume_info(st.v, &before);
	ck_assert(leftover_step(st.v));
	volume_lock(st.v);
	ck_assert_uint_ne(group_number(st.v), 0);
	ck_assert(!group_waits(st.v));
	volume_unlock(st.v);
	while (leftover_step(st.v))
		;
	volume_info(st.v, &after);
	ck_assert_uint_eq(after.group_open, 0);
	ck_assert_uint_eq(after.committed, before.committed);
	make(INO_ROOT, "mine", S_IFREG | 0644);
	volume_lock(st.v);
	ck_assert(group_waits(st.v));
	volume_unlock(st.v);
}
END_TEST

/* ---- becoming a pair ---- */

static struct err pair_err = ERR_INIT;

static void pair_now(void)
{
	ck_assert_msg(volume_pair(st.v, ROLE_PRIMARY, 1, 2, "00112233445566778899aabbccddeeff", "b", &pair_err) == 0,
	              "%s", err_text(&pair_err));
}

/* Everything is in the change set, whole, and nothing else. */
static void expect_all_entered(void)
{
	static const char *const wrong[] = {
		"SELECT count(*) FROM inode i WHERE ino > 2 AND nlink > 0 AND NOT EXISTS (SELECT 1 FROM change_inode c "
		"WHERE c.ino = i.ino AND c.what = 0 AND c.grp > (SELECT forgotten FROM state))",
		"SELECT count(*) FROM extent e JOIN inode i ON i.ino = e.ino WHERE i.nlink > 0 AND e.off * 4096 < "
		"i.size AND min((e.off + e.len) * 4096, i.size) - e.off * 4096 <> (SELECT ifnull(sum(min(c.off + "
		"c.len, "
		"(e.off + e.len) * 4096, i.size) - max(c.off, e.off * 4096)), 0) FROM change_extent c WHERE c.ino = "
		"e.ino AND c.off < (e.off + e.len) * 4096 AND c.off + c.len > e.off * 4096)",
		"SELECT count(*) FROM dentry d WHERE NOT EXISTS (SELECT 1 FROM change_dentry c WHERE c.link = d.link)",
		"SELECT count(*) FROM change_dentry c WHERE NOT EXISTS (SELECT 1 FROM dentry d WHERE c.link = d.link)",
		"SELECT count(*) FROM xattr x WHERE NOT EXISTS (SELECT 1 FROM change_xattr c WHERE c.ino = x.ino AND "
		"c.key = x.key)",
		"SELECT count(*) FROM change_inode c WHERE NOT EXISTS (SELECT 1 FROM inode i WHERE i.ino = c.ino)",
		"SELECT count(*) <> 3 FROM change_inode WHERE ino = 1 AND what > 1",
	};

	volume_lock(st.v);
	for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
		sqlite3_stmt *s = NULL;

		ck_assert_int_eq(sqlite3_prepare_v2(db_handle(st.v->db), wrong[i], -1, &s, NULL), SQLITE_OK);
		ck_assert_int_eq(sqlite3_step(s), SQLITE_ROW);
		ck_assert_msg(sqlite3_column_int(s, 0) == 0, "%d rows: %s", sqlite3_column_int(s, 0), wrong[i]);
		sqlite3_finalize(s);
	}
	volume_unlock(st.v);
}

/* What others do while the tree is entered: this is called between two steps. */
static uint64_t meddle_seed;
static bool meddling;

static void meddle(void *ctx)
{
	struct attr a = { .size_bytes = chance_below(&meddle_seed, 100) * BLOCK_BYTES };
	char name[16], other[16];

	(void)ctx;
	if (meddling)
		return;
	meddling = true;
	snprintf(name, sizeof(name), "%zu", chance_below(&meddle_seed, SMALL));
	snprintf(other, sizeof(other), "%zu", chance_below(&meddle_seed, SMALL));
	switch (chance_below(&meddle_seed, 7)) {
	case 0: volume_unlink(st.v, dir, name); break;
	case 1: volume_rename(st.v, dir, name, INO_ROOT, other, 0); break;
	case 2: volume_setattr(st.v, scattered, SET_SIZE, &a, &a); break;
	case 3: put_block(chance_below(&meddle_seed, 2 * SMALL)); break;
	case 4: volume_setxattr(st.v, scattered, name, other, strlen(other), 0); break;
	case 5: volume_rename(st.v, INO_ROOT, name, dir, other, 0); break;
	default:
		make(dir, "made", S_IFREG | 0644);
		volume_rename(st.v, dir, "made", INO_ROOT, name, 0);
	}
	meddling = false;
}

START_TEST(what_is_changed_while_a_pair_is_made_is_entered_as_it_is_then)
{
	meddle_seed = (uint64_t)_i + 1;
	store_make(&st, 0);
	fill_alone(SMALL);
	leave_all_over();
	st.at_once_rows = 2;
	st.v->opt.at_once_rows = 2;
	volume_set_dirty(st.v, meddle, NULL);
	pair_now();
	volume_set_dirty(st.v, NULL, NULL);
	ck_assert_int_eq(volume_commit(st.v), 0);
	expect_all_entered();
	crash_and_check();
	expect_all_entered();
}
END_TEST

static unsigned steps_left;

/* The process ends in the middle: in a child, so that nothing of it is tidied up. */
static void die_later(void *ctx)
{
	(void)ctx;
	if (steps_left-- == 0)
		_exit(7);
}

START_TEST(a_pair_that_was_half_made_at_a_crash_is_none_and_can_be_made_anew)
{
	struct volume_info info;
	int status;
	pid_t pid;

	store_make(&st, 0);
	fill_alone(SMALL);
	leave_all_over();
	st.v->opt.at_once_rows = 2;
	steps_left = (unsigned)_i * 3;
	volume_set_dirty(st.v, die_later, NULL);
	pid = fork();
	if (pid == 0) {
		pair_now();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	volume_set_dirty(st.v, NULL, NULL);
	crash_and_check(); /* what the child left, not what this process knows */
	volume_info(st.v, &info);
	ck_assert_int_eq(info.role, ROLE_NONE);
	ck_assert_uint_eq(info.pending_entries, 0);
	ck_assert_int_eq(volume_unlink(st.v, INO_ROOT, "scattered"), 0);
	ck_assert_int_eq(volume_commit(st.v), 0);
	for (int i = 0; i < _i; i++)
		leftover_step(st.v);
	crash_and_check();
	pair_now();
	expect_all_entered();
	crash_and_check();
	volume_info(st.v, &info);
	ck_assert_int_eq(info.role, ROLE_PRIMARY);
	ck_assert_uint_ge(info.pending_entries, SMALL);
}
END_TEST

START_TEST(what_was_prepared_is_of_no_use_without_the_pair)
{
	struct volume_info info;

	store_make(&st, 0);
	fill_alone(SMALL);
	leave_all_over();
	ck_assert_int_eq(volume_pair_prepare(st.v, &pair_err), 0);
	ck_assert_int_eq(volume_pair_prepare(st.v, &pair_err), 0); /* it is done */
	ck_assert_int_eq(volume_setting_set(st.v, "word", "of the pair"), 0);
	volume_info(st.v, &info);
	ck_assert_int_eq(info.role, ROLE_NONE);
	ck_assert_uint_eq(info.pending_entries, 0);
	put_block(5);
	crash_and_check();
	ck_assert_ptr_null(volume_setting_get(st.v, "word"));
	volume_settle(st.v);
	ck_assert_int_eq(volume_commit(st.v), 0);
	ck_assert_uint_eq(db_numbers(st.v->db)->links + db_numbers(st.v->db)->inodes, 0);
	crash_and_check();
}
END_TEST

/* Rows that say that the peer wrote them, in all tables. */
static uint64_t of_the_peer(void)
{
	uint64_t n = 0;

	volume_lock(st.v);
	ck_assert_int_ge(DB_GET(st.v->db,
	                        "SELECT (SELECT count(*) FROM inode WHERE origin = 1 OR corigin = 1)"
	                        " + (SELECT count(*) FROM dentry WHERE origin = 1)"
	                        " + (SELECT count(*) FROM xattr WHERE origin = 1)"
	                        " + (SELECT count(*) FROM extent WHERE origin = 1)",
	                        &n, 0),
	                 0);
	volume_unlock(st.v);
	return n;
}

/* The peer's hand in everything that a row can be of. */
static void let_the_peer_change(void)
{
	struct inode in;
	struct dentry d;

	ck_assert_int_eq(volume_apply_begin(st.v), 0);
	ck_assert_int_eq(tree_inode_get(st.v, scattered, &in), 0);
	in.mode ^= 0111;
	in.origin = ORIGIN_PEER;
	ck_assert_int_eq(tree_inode_put(st.v, &in), 0);
	ck_assert_int_eq(tree_xattr_put(st.v, scattered, "user.peer", "x", 1, ORIGIN_PEER), 0);
	ck_assert_int_eq(data_write(st.v, scattered, "peer", 4, 0, ORIGIN_PEER), 0);
	ck_assert_int_eq(tree_lookup(st.v, INO_ROOT, "dir", 3, &d), 0);
	ck_assert_int_eq(tree_link_put(st.v, d.link, INO_ROOT, "of the peer", 11, d.child, ORIGIN_PEER), 0);
	ck_assert_int_eq(volume_apply_commit(st.v, 2), 0);
	ck_assert_uint_ge(of_the_peer(), 4);
}

START_TEST(a_pair_that_ended_leaves_the_tree_and_another_begins)
{
	static const char *const settings[] = { "word", "none" };
	struct volume_info info, before;
	char *word;

	fill(SMALL);
	leave_all_over();
	acknowledge_all();
	let_the_peer_change();
	for (unsigned i = 0; i < SMALL; i++)
		put_block(i);
	store_cut(&st);
	put_block(0); /* and in the open group */
	ck_assert_int_eq(volume_setting_set(st.v, "word", "of the pair"), 0);
	ck_assert_int_eq(volume_setting_set(st.v, "other", "of nobody"), 0);
	volume_info(st.v, &before);
	ck_assert_uint_gt(before.acked, 0);
	ck_assert_uint_gt(before.history_bytes, 0);
	steps();
	ck_assert_int_eq(volume_unpair(st.v, settings, ARRAY_LEN(settings), &pair_err), 0);
	ck_assert_uint_le(steps(), 3000); /* whatever there was */
	ck_assert_int_eq(volume_unpair(st.v, settings, ARRAY_LEN(settings), &pair_err), -ENOENT);
	for (int i = 0; i < _i; i++)
		leftover_step(st.v);
	crash_and_check();
	volume_info(st.v, &info);
	ck_assert_int_eq(info.role, ROLE_NONE);
	ck_assert_uint_eq(info.pending_entries + info.acked + info.applied + info.generation, 0);
	ck_assert(volume_had_peer(st.v));
	ck_assert_uint_eq(volume_slot_free(st.v), 3);
	ck_assert_ptr_null(volume_setting_get(st.v, "word"));
	word = volume_setting_get(st.v, "other");
	ck_assert_str_eq(word, "of nobody");
	free(word);
	if (_i == 2) {
		volume_settle(st.v);
		volume_info(st.v, &info);
		ck_assert_uint_eq(info.history_bytes, 0);
		ck_assert_uint_eq(db_numbers(st.v->db)->links + db_numbers(st.v->db)->inodes, 0);
	}

	ck_assert_int_eq(volume_pair(st.v, ROLE_PRIMARY, 1, 3, "ff112233445566778899aabbccddeeff", "c", &pair_err), 0);
	expect_all_entered();
	ck_assert_uint_eq(of_the_peer(), 0);
	crash_and_check();
	volume_info(st.v, &info);
	ck_assert_int_eq(info.role, ROLE_PRIMARY);
	ck_assert_uint_ge(info.pending_entries, SMALL);
	ck_assert_uint_eq(info.acked + info.applied, 0);
	ck_assert_uint_eq(info.history_bytes, 0);
}
END_TEST

START_TEST(a_step_of_making_a_pair_does_not_grow_with_the_tree)
{
	uint64_t most[2];

	for (int i = 0; i < 2; i++) {
		struct enter_pos pos = { 0 };
		int rc = 1;

		store_make(&st, 0);
		fill_alone(i ? LARGE : SMALL);
		most[i] = 0;
		steps();
		while (rc == 1) {
			volume_lock(st.v);
			ck_assert_int_eq(group_open(st.v), 0);
			rc = change_set_enter(st.v->db, group_number(st.v), 3, 20, &pos);
			volume_unlock(st.v);
			most[i] = MAX(most[i], steps());
		}
		ck_assert_int_eq(rc, 0);
		volume_crash(st.v);
		st.v = NULL;
		teardown();
		st = (struct store){ .v = NULL };
	}
	store_make(&st, 0);
	ck_assert_msg(most[1] <= most[0] * 2, "%llu steps instead of %llu", (unsigned long long)most[1],
	              (unsigned long long)most[0]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("scale");
	TCase *tc = tcase_create("scale");

	tcase_add_checked_fixture(tc, NULL, teardown);
	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, what_a_call_costs_does_not_grow_with_the_tree);
	tcase_add_test(tc, a_read_in_a_scattered_file_does_not_step_over_its_neighbours);
	tcase_add_test(tc, a_long_truncation_is_left_over_and_survives_a_crash);
	tcase_add_test(tc, a_removed_file_is_dropped_bit_by_bit);
	tcase_add_test(tc, opening_reads_no_orphans_when_there_are_many);
	tcase_add_test(tc, what_waits_to_be_reaped_is_an_orphan_all_the_same);
	tcase_add_test(tc, many_orphans_of_the_last_run_do_not_hold_up_opening);
	tcase_add_test(tc, what_is_acknowledged_is_gone_at_once_and_dropped_later);
	tcase_add_test(tc, a_change_over_an_acknowledged_one_is_a_new_one);
	tcase_add_test(tc, history_is_dropped_bit_by_bit);
	tcase_add_loop_test(tc, changed_ranges_of_a_removed_file_are_dropped_bit_by_bit, 0, 2);
	tcase_add_test(tc, changed_ranges_that_are_gone_are_not_those_of_the_file_made_again);
	tcase_add_test(tc, a_removal_that_is_undone_leaves_the_ranges);
	tcase_add_test(tc, dropping_is_nobody_s_business);
	tcase_add_loop_test(tc, what_is_changed_while_a_pair_is_made_is_entered_as_it_is_then, 0, 20);
	tcase_add_loop_test(tc, a_pair_that_was_half_made_at_a_crash_is_none_and_can_be_made_anew, 0, 8);
	tcase_add_test(tc, what_was_prepared_is_of_no_use_without_the_pair);
	tcase_add_loop_test(tc, a_pair_that_ended_leaves_the_tree_and_another_begins, 0, 4);
	tcase_add_test(tc, a_step_of_making_a_pair_does_not_grow_with_the_tree);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
