/* SPDX-License-Identifier: MIT */
/* What a large shipment costs the side that takes it: bytes of memory for each file, from its first frame until it is
 * landed. SQLite's memory does not count: that has a bound of its own. */
#include "db/db.h"
#include "tests/pair_fixture.h"

#include <malloc.h>
#include <sqlite3.h>

#define DIRS 50u
#define FILES 5000u

static void setup(void)
{
	px_step_rows = 200; /* from so many records on a shipment is a large one */
	px_by_hand = false;
	px_meanwhile = NULL;
	px_setup();
}

/* ---- measuring */

static sqlite3_mem_methods plain;
static size_t in_sqlite, before, most;

static void *counted_malloc(int n)
{
	void *p = plain.xMalloc(n);

	in_sqlite += p ? (size_t)plain.xSize(p) : 0;
	return p;
}

static void counted_free(void *p)
{
	in_sqlite -= (size_t)plain.xSize(p);
	plain.xFree(p);
}

static void *counted_realloc(void *p, int n)
{
	size_t had = (size_t)plain.xSize(p);
	void *q = plain.xRealloc(p, n);

	in_sqlite += q ? (size_t)plain.xSize(q) - had : 0;
	return q;
}

/* It counts itself only if it is told to before it is used, and the product tells it not to. */
static bool count_sqlite(void)
{
	sqlite3_mem_methods counted;

	if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &plain) != SQLITE_OK)
		return false;
	counted = plain;
	counted.xMalloc = counted_malloc;
	counted.xFree = counted_free;
	counted.xRealloc = counted_realloc;
	return sqlite3_config(SQLITE_CONFIG_MALLOC, &counted) == SQLITE_OK;
}

static size_t in_use(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd - in_sqlite;
}

static int look(int i)
{
	(void)i;
	most = MAX(most, in_use());
	return 0;
}

/* What side `from` has goes over: all of it is on its way before the other takes the first frame, so that what is
 * measured is that side alone. */
static void cross(int from)
{
	struct err err = ERR_INIT;
	struct buf *b = &px[from].out;
	size_t at = 0;

	px_say(from);
	before = most = in_use();
	px_meanwhile = look;
	for (unsigned frames = 0; at < b->len_bytes; frames++) {
		enum frame_type type;
		ssize_t len = frame_peek(b->data + at, b->len_bytes - at, &type, &err);

		ck_assert_int_gt(len, 0);
		ck_assert_msg(engine_receive(px[!from].e, b->data + at, (size_t)len, px_now_ms, &err) == 0, "%s",
			      err_text(&err));
		at += (size_t)len;
		if (frames % 64 == 0)
			look(!from);
	}
	px_meanwhile = NULL;
	buf_reset(b);
}

/* ---- what crosses */

static char text[BLOCK_BYTES];

static const char *name_of(unsigned k, const char *word)
{
	static char name[64];

	snprintf(name, sizeof(name), "%s-%06u", word, k);
	return name;
}

static void make_files(int i, size_t len)
{
	uint64_t dir[DIRS];
	struct attr a;

	for (unsigned k = 0; k < DIRS; k++)
		dir[k] = px_make(i, name_of(k, "dir"), S_IFDIR | 0755);
	for (unsigned k = 0; k < FILES; k++) {
		ck_assert_int_eq(volume_create(px[i].v, dir[k % DIRS], name_of(k, "file"), S_IFREG | 0644, 0, NULL,
					       &px_cred, &a), 0);
		if (len > 0)
			ck_assert_int_eq(volume_write(px[i].v, a.ino, text, len, 0, 0, NULL), (int)len);
	}
}

static void each_file(int i, int (*fn)(struct volume *v, uint64_t dir, unsigned k))
{
	for (unsigned k = 0; k < FILES; k++)
		ck_assert_int_eq(fn(px[i].v, px_at(i, name_of(k % DIRS, "dir")), k), 0);
}

static int move_file(struct volume *v, uint64_t dir, unsigned k)
{
	char *old = xstrdup(name_of(k, "file"));
	int rc = volume_rename(v, dir, old, dir, name_of(k, "moved"), 0);

	free(old);
	return rc;
}

static int remove_file(struct volume *v, uint64_t dir, unsigned k)
{
	return volume_unlink(v, dir, name_of(k, "moved"));
}

static void has(int i, const char *dir, const char *name, size_t len)
{
	char *path = xasprintf("%s/%s", dir, name);
	uint64_t ino = px_at(i, path);
	struct attr a;

	ck_assert_msg(ino != 0, "side %d has no %s", i, path);
	ck_assert_int_eq(volume_getattr(px[i].v, ino, &a), 0);
	ck_assert_uint_eq(a.size_bytes, len);
	free(path);
}

static void fits(const char *what, size_t limit_bytes)
{
	size_t each = (most - before) / FILES;

	printf("# %s: %zu bytes a file\n", what, each);
	ck_assert_msg(each <= limit_bytes, "%s: %zu bytes a file, not %zu", what, each, limit_bytes);
}

START_TEST(what_is_made_takes_some_hundred_bytes_of_memory_for_each_file)
{
	size_t len = _i ? BLOCK_BYTES : 40;

	if (in_use() == 0)
		return; /* it is somebody else's malloc: a sanitizer's, or valgrind's */
	px_settle();
	make_files(_i, len);
	cross(_i);
	fits("made", 160);
	has(!_i, "dir-000003", "file-000003", len);
	px_settle();
}
END_TEST

START_TEST(what_is_moved_or_removed_takes_less)
{
	if (in_use() == 0)
		return;
	px_settle();
	make_files(_i, 0);
	px_settle();
	each_file(_i, move_file);
	cross(_i);
	fits("moved", 96);
	has(!_i, "dir-000049", "moved-004999", 0);
	px_settle();
	each_file(_i, remove_file);
	cross(_i);
	fits("removed", 80);
	ck_assert_uint_eq(px_count(!_i, "dir-000000"), 0);
	px_settle();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("large");
	TCase *c = tcase_create("large");

	if (!count_sqlite())
		return 1;
	tcase_add_checked_fixture(c, setup, px_teardown);
	tcase_set_timeout(c, 120);
	tcase_add_loop_test(c, what_is_made_takes_some_hundred_bytes_of_memory_for_each_file, 0, 2);
	tcase_add_loop_test(c, what_is_moved_or_removed_takes_less, 0, 2);
	suite_add_tcase(s, c);
	return tap_main(s);
}
