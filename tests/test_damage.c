/* SPDX-License-Identifier: MIT */
/* A store of which any file was damaged in any way: it is refused, or answers; it never crashes, hangs or lies. */
#include "tests/damage.h"
#include "tests/store_sql.h"
#include "tests/tap.h"


static struct damage_store st;

static void setup(void)
{
	damage_begin(&st);
}

static void teardown(void)
{
	damage_end(&st);
}

START_TEST(an_undamaged_store_is_used_whole)
{
	damage_restore(&st);
	ck_assert_int_eq(damage_use(&st, true), 0);
}
END_TEST

/* ---- whole files ---- */

enum how { GONE, EMPTY, CUT, ZEROS, NOISE, DIRECTORY, N_HOW };

static void spoil(int file, enum how how)
{
	char *path = damage_path(&st, damage_names[file]);
	size_t len = st.file[file].len;

	switch (how) {
	case GONE: ck_assert_int_eq(unlink(path), 0); break;
	case EMPTY: ck_assert_int_eq(truncate(path, 0), 0); break;
	case CUT: ck_assert_int_eq(truncate(path, (off_t)(len / 2 + 100)), 0); break;
	case ZEROS:
		for (size_t at = 0; at < len; at += BLOCK_BYTES)
			damage_zero(&st, file, at, BLOCK_BYTES);
		break;
	case NOISE:
		for (size_t at = 0; at < len; at += 97)
			damage_poke(&st, file, at, (uint8_t)(at * 13));
		break;
	case DIRECTORY:
		ck_assert_int_eq(unlink(path), 0);
		ck_assert_int_eq(mkdir(path, 0700), 0);
		break;
	case N_HOW: break;
	}
	free(path);
}

/* Image and database are needed. The log is what the last commits are in: without it the store is as it was before, or
 * no store yet; SQLite takes what is whole of it. */
START_TEST(a_spoilt_file_is_refused_or_its_loss_is_survived)
{
	int file = _i / N_HOW, rc;

	damage_restore(&st);
	spoil(file, (enum how)(_i % N_HOW));
	rc = damage_use(&st, file != 1);
	if (file == 0 || (file == 1 && _i % N_HOW != CUT)) /* the log may have the pages that were cut off */
		ck_assert_int_lt(rc, 0);
}
END_TEST

START_TEST(a_lock_that_is_a_directory_is_refused)
{
	char *path = damage_path(&st, "lock");

	damage_restore(&st);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	ck_assert_int_eq(damage_use(&st, true), -EISDIR);
	free(path);
}
END_TEST

START_TEST(a_database_that_is_a_pipe_does_not_make_anyone_wait)
{
	char *path = damage_path(&st, "twinfs.db");

	damage_restore(&st);
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	ck_assert_int_eq(damage_use(&st, true), -EUCLEAN);
	free(path);
}
END_TEST

/* ---- chance ---- */

static uint64_t next(uint64_t *seed)
{
	*seed += UINT64_C(0x9e3779b97f4a7c15);
	uint64_t z = *seed;

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* TWINFS_SEED starts elsewhere, TWINFS_SOAK_S goes on for so long. The log of a case that fails has its seed. */
static void by_chance(int file, unsigned rounds, bool known)
{
	const char *from = getenv("TWINFS_SEED"), *soak = getenv("TWINFS_SOAK_S");
	uint64_t seed = from ? strtoull(from, NULL, 10) : 1, stop_ms = 0;

	if (soak)
		stop_ms = clock_mono_ms() + strtoull(soak, NULL, 10) * 1000;
	for (unsigned i = 0; i < rounds || clock_mono_ms() < stop_ms; i++) {
		uint64_t s = seed + i;

		damage_restore(&st);
		for (uint64_t k = 1 + next(&s) % 4; k > 0; k--) {
			size_t at = next(&s) % st.file[file].len;

			if (next(&s) % 8)
				damage_poke(&st, file, at, (uint8_t)(st.file[file].data[at] ^ (1u << next(&s) % 8)));
			else
				damage_zero(&st, file, at, next(&s) % BLOCK_BYTES);
		}
		dprintf(STDERR_FILENO, "TWINFS_SEED=%llu\n", (unsigned long long)(seed + i));
		damage_use(&st, known);
	}
}

START_TEST(flipped_bits_of_the_image_are_errors_and_never_wrong_data) { by_chance(0, 30, true); }
END_TEST
START_TEST(flipped_bits_of_the_database_do_not_crash) { by_chance(1, 80, false); }
END_TEST
START_TEST(flipped_bits_of_the_log_do_not_crash) { by_chance(2, 60, true); }
END_TEST

/* ---- every column of every table ---- */

static const char *const values[] = {
	"NULL", "-1", "0", "1", "9223372036854775807", "-9223372036854775808", "4294967296", "1152921504606846976",
	"1.5", "'text'", "''", "x''", "x'2f'", "x'610062'", "zeroblob(300)", "zeroblob(70000)", "'10x'",
};

static char (*columns)[2][64];
static size_t n_columns;

/* Checkpoints, so that the file alone is the database. */
static sqlite3 *database(void)
{
	char *path = damage_path(&st, "twinfs.db");
	sqlite3 *db;

	ck_assert_int_eq(store_sql_open(path, &db), SQLITE_OK);
	free(path);
	return db;
}

static void list_columns(sqlite3 *db)
{
	sqlite3_stmt *s;

	columns = xcalloc(256, sizeof(*columns));
	int rc = sqlite3_prepare_v2(db, "SELECT m.name, p.name FROM sqlite_schema m, pragma_table_info(m.name) p"
	                                " WHERE m.type = 'table'", -1, &s, NULL);

	ck_assert_int_eq(rc, SQLITE_OK);
	while (sqlite3_step(s) == SQLITE_ROW && n_columns < 256) {
		for (int i = 0; i < 2; i++)
			snprintf(columns[n_columns][i], 64, "%s", (const char *)sqlite3_column_text(s, i));
		n_columns++;
	}
	sqlite3_finalize(s);
}

/* In one row, or in all for which the constraints allow it. */
static void put_value(size_t column, size_t value, bool all)
{
	const char *table = columns[column][0], *name = columns[column][1];
	char *one = xasprintf(" WHERE %s IN (SELECT %s FROM %s ORDER BY 1 DESC LIMIT 1)", name, name, table);
	char *sql = xasprintf("UPDATE OR IGNORE %s SET %s = %s%s", table, name, values[value], all ? "" : one);

	damage_restore(&st);
	dprintf(STDERR_FILENO, "%s\n", sql);
	sqlite3 *db = database();

	sqlite3_exec(db, sql, NULL, NULL, NULL); /* a column may be constrained in a way that forbids all of it */
	bool changed = sqlite3_total_changes(db) > 0;

	sqlite3_close(db);
	if (changed)
		damage_use(&st, false);
	free(sql);
	free(one);
}

/* A sample of some thousand; a soak takes all of them. */
START_TEST(an_impossible_value_anywhere_is_refused_or_answered)
{
	damage_restore(&st);
	sqlite3 *db = database();
	size_t step = getenv("TWINFS_SOAK_S") ? 1 : 29; /* no divisor of the number of values */

	list_columns(db);
	sqlite3_close(db);
	ck_assert_uint_gt(n_columns, 100);
	for (size_t i = 0; i < n_columns * ARRAY_LEN(values); i += step)
		put_value(i / ARRAY_LEN(values), i % ARRAY_LEN(values), i % 2);
	free(columns);
}
END_TEST

/* ---- what only goes wrong together ---- */

static const char *const together[] = {
	"UPDATE inode SET nlink = 0 WHERE mode & 61440 = 16384; INSERT OR IGNORE INTO orphan SELECT ino FROM inode",
	"DELETE FROM inode WHERE ino > 2", "DELETE FROM dentry", "DELETE FROM extent", "DELETE FROM groups",
	"DELETE FROM state", "DELETE FROM meta", "DELETE FROM inode",
	"INSERT INTO orphan VALUES(0)", "INSERT INTO orphan VALUES(-1)",
	"INSERT OR IGNORE INTO orphan SELECT ino FROM inode",
	"UPDATE dentry SET parent = child WHERE name = x'64'",
	"UPDATE dentry SET parent = (SELECT child FROM dentry WHERE name = x'737562') WHERE name = x'64'",
	"UPDATE OR IGNORE dentry SET child = (SELECT child FROM dentry WHERE name = x'64')",
	"UPDATE dentry SET child = 1 WHERE name = x'6631'",
	"UPDATE dentry SET parent = 0, name = x'612f62' WHERE name = x'6631'",
	"UPDATE extent SET len = 2, sums = zeroblob(16)", "UPDATE extent SET origin = 3",
	"UPDATE old_extent SET died = 0",
	"UPDATE OR IGNORE extent SET off = 9223372036854775807",
	"UPDATE OR IGNORE old_extent SET off = 9223372036854775807",
	"UPDATE OR IGNORE extent SET off = off - 1", "UPDATE old_extent SET origin = 9",
	"INSERT INTO old_extent SELECT ino, off, len, phys, born, origin, sums, 9 FROM extent",
	"UPDATE change_extent SET len = 9223372036854775807", "UPDATE OR IGNORE change_extent SET off = -5, len = 3",
	"UPDATE inode SET mode = 16877 WHERE mode & 61440 = 32768", "UPDATE inode SET mode = 33188",
	"UPDATE inode SET size = 9007199254740992", "UPDATE state SET next_id = 1",
	"UPDATE state SET next_id = 281474976710655", "UPDATE state SET committed = 9223372036854775807",
	"UPDATE meta SET value = '4294967296' WHERE key = 'role'",
	"UPDATE meta SET value = '5' WHERE key = 'size_bytes'",
	"DROP TABLE old_xattr", "DROP INDEX dentry_name", "ALTER TABLE extent RENAME COLUMN sums TO summs",
	"CREATE TRIGGER t AFTER INSERT ON dentry BEGIN DELETE FROM inode; END",
	"CREATE VIEW v AS SELECT * FROM inode",
	"PRAGMA user_version = 77", "PRAGMA application_id = 5",
};

START_TEST(rows_that_contradict_each_other_are_refused_or_answered)
{
	damage_restore(&st);
	sqlite3 *db = database();

	ck_assert_msg(sqlite3_exec(db, together[_i], NULL, NULL, NULL) == SQLITE_OK, "%s: %s", together[_i],
	              sqlite3_errmsg(db));
	sqlite3_close(db);
	damage_use(&st, false);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("damage");
	TCase *tc = tcase_create("damage");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, getenv("TWINFS_SOAK_S") ? 0 : 60);
	tcase_add_test(tc, an_undamaged_store_is_used_whole);
	tcase_add_loop_test(tc, a_spoilt_file_is_refused_or_its_loss_is_survived, 0, DAMAGE_FILES * N_HOW);
	tcase_add_test(tc, a_lock_that_is_a_directory_is_refused);
	tcase_add_test(tc, a_database_that_is_a_pipe_does_not_make_anyone_wait);
	tcase_add_test(tc, flipped_bits_of_the_image_are_errors_and_never_wrong_data);
	tcase_add_test(tc, flipped_bits_of_the_database_do_not_crash);
	tcase_add_test(tc, flipped_bits_of_the_log_do_not_crash);
	tcase_add_test(tc, an_impossible_value_anywhere_is_refused_or_answered);
	tcase_add_loop_test(tc, rows_that_contradict_each_other_are_refused_or_answered, 0, (int)ARRAY_LEN(together));
	suite_add_tcase(s, tc);
	return tap_main(s);
}
