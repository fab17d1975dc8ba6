/* SPDX-License-Identifier: MIT */
/*
 * The last way to take a shipment (sync/merge_unplaced.c): each other one is made to fail here, when all of it has
 * landed, as if it had come to no valid tree. The pair goes on, both sides are the same, and nothing is lost.
 */
#include "sync/merge_state.h"
#include "tests/pair_fixture.h"

static bool refuses;    /* each way but the last */
static unsigned n_last; /* shipments that were taken the last way */

void merge_test_resolved(const struct merger *m, const struct rs_result *r)
{
	(void)m;
	(void)r;
}

bool merge_test_refuses(const struct merger *m)
{
	n_last += m->names->names_stay;
	return refuses && !m->names->names_stay;
}

static void together(void)
{
	refuses = false;
	n_last = 0;
	px_put(0, "f", "base");
	px_put(0, "g", "old");
	px_mkdir(0, "d");
	px_put(0, "d/h", "h");
	px_meet();
	refuses = true;
}

static bool is_unplaced_dir(const char *name)
{
	return strncmp(name, "unplaced.conflict-birch-", 24) == 0;
}

/* Both sides have this under a number and this name where what has no place is; NULL: whatever it is. */
static void is_unplaced(const char *name, const char *want)
{
	struct px_list *dirs = xmalloc(2 * sizeof(*dirs)), *l = dirs + 1;
	unsigned found = 0;

	px_list(0, INO_ROOT, dirs);
	for (size_t d = 0; d < dirs->n; d++) {
		if (!is_unplaced_dir(dirs->e[d].name))
			continue;
		px_list(0, dirs->e[d].ino, l);
		for (size_t k = 0; k < l->n; k++) {
			char *path = xasprintf("%s/%s", dirs->e[d].name, l->e[k].name);

			if (strcmp(strchr(l->e[k].name, '-') + 1, name) == 0) {
				found++;
				if (want)
					px_expect(path, want);
			}
			free(path);
		}
	}
	ck_assert_msg(found == 1, "%s is there %u times", name, found);
	free(dirs);
}

/* Files with this text below the directory of side i. */
static unsigned files_with(int i, uint64_t dir, const char *want)
{
	struct px_list *l = xmalloc(sizeof(*l));
	unsigned n = 0;

	px_list(i, dir, l);
	for (size_t k = 0; k < l->n; k++) {
		struct attr a;

		ck_assert_int_eq(volume_getattr(px[i].v, l->e[k].ino, &a), 0);
		n += S_ISDIR(a.mode) ? files_with(i, a.ino, want)
				     : strcmp(px_bytes(i, a.ino, NULL), want) == 0;
	}
	free(l);
	return n;
}

static unsigned notes(void)
{
	struct conflict *c;
	size_t n, found = 0;

	ck_assert_int_eq(volume_conflicts(px[1].v, &c, &n), 0);
	for (size_t i = 0; i < n; i++) {
		found += c[i].rule && strstr(c[i].rule, "make no valid tree") != NULL;
		conflict_release(&c[i]);
	}
	free(c);
	return (unsigned)found;
}

START_TEST(names_stay_and_what_only_the_secondary_has_is_in_a_directory_of_its_own)
{
	together();
	px_put(0, "p", "alder");
	px_put(1, "new", "birch");
	px_mkdir(1, "n");
	px_put(1, "n/x", "inside");
	px_rename(1, "g", "n/g");
	px_unlink(1, "d/h");
	px_rmdir(1, "d");
	px_append(1, "f", " and more");
	px_meet();
	px_expect("p", "alder");
	px_expect("f", "base and more");
	px_expect("g", "old");
	px_expect("d/h", "h");
	is_unplaced("new", "birch");
	is_unplaced("n", NULL);
	is_unplaced("x", "inside");
	ck_assert_uint_eq(px_count(0, ""), 5);
	ck_assert_uint_eq(n_last, 1);
	ck_assert_uint_eq(notes(), 1);
}
END_TEST

/* It has not heard of that yet, or of nothing of ours at all. */
START_TEST(what_the_secondary_goes_on_with_is_about_what_has_no_place)
{
	together();
	px_put(0, "p", "alder");
	px_put(1, "new", "birch");
	px_mkdir(1, "n");
	px_put(1, "n/x", "inside");
	if (!px_is_up)
		px_up();
	px_send(1);
	refuses = _i % 2;
	px_append(1, "new", " goes on");
	px_append(1, "n/x", " goes on");
	px_put(1, "n/y", "another");
	px_rename(1, "n/x", "n/z");
	if (_i >= 2)
		px_put(0, "q", "alder");
	px_meet();
	is_unplaced("new", "birch goes on");
	ck_assert_uint_eq(files_with(0, INO_ROOT, "inside goes on"), 1);
	ck_assert_uint_eq(files_with(0, INO_ROOT, "another"), 1);
}
END_TEST

START_TEST(bytes_are_merged_as_ever_and_what_we_removed_is_kept_if_it_was_written_to)
{
	together();
	px_put(0, "f", "alder");
	px_put(1, "f", "birch");
	px_unlink(0, "g");
	px_append(1, "g", " and new");
	px_put(0, "d/h", "ours");
	px_unlink(1, "d/h");
	px_rmdir(1, "d");
	px_meet();
	px_expect("f", "alder");
	px_expect(px_find(0, "", "f.conflict-birch-"), "birch");
	px_expect("d/h", "ours");
	is_unplaced("g", "old and new");
}
END_TEST

START_TEST(what_has_no_place_can_be_put_into_one)
{
	char *from;

	together();
	px_put(0, "p", "alder");
	px_put(1, "new", "birch");
	px_meet();
	refuses = false;
	from = xasprintf("%s/1-new", px_find(1, "", "unplaced.conflict-birch-"));
	px_rename(1, from, "new");
	free(from);
	px_rmdir(1, px_find(1, "", "unplaced.conflict-birch-"));
	px_meet();
	px_expect("new", "birch");
	ck_assert_uint_eq(px_count(0, ""), 5);
}
END_TEST

/* More than once, in both orders of what is said and heard; each ends. */
START_TEST(a_pair_in_which_all_is_refused_goes_on)
{
	together();
	for (unsigned n = 0; n < 6; n++) {
		char name[16];

		px_down();
		for (int i = 0; i < 2; i++) {
			snprintf(name, sizeof(name), "%c%u", i ? 's' : 'p', n);
			px_put(i, name, name);
			px_put(i, "same", name);
		}
		px_meet();
	}
	ck_assert_uint_ge(n_last, 6);
	px_expect("p5", "p5");
	px_expect("same", "p5");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("unplaced");
	TCase *tc = tcase_create("last way");

	tcase_add_checked_fixture(tc, px_setup, px_teardown);
	tcase_add_test(tc, names_stay_and_what_only_the_secondary_has_is_in_a_directory_of_its_own);
	tcase_add_loop_test(tc, what_the_secondary_goes_on_with_is_about_what_has_no_place, 0, 4);
	tcase_add_test(tc, bytes_are_merged_as_ever_and_what_we_removed_is_kept_if_it_was_written_to);
	tcase_add_test(tc, what_has_no_place_can_be_put_into_one);
	tcase_add_test(tc, a_pair_in_which_all_is_refused_goes_on);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
