/* SPDX-License-Identifier: MIT */
/* What people can do with a conflict, from either side, together and apart: base, versions, settling each kind,
 * dismissing and taking apart merges, settling by hand. Whatever a test did, fsck finds both stores whole. */
#include "tests/pair_fixture.h"

#include "util/acl.h"

#include <inttypes.h>

enum { LOCAL, PEER, BOTH };

static struct volume_info info_of(int i)
{
	struct volume_info info;

	volume_info(px[i].v, &info);
	return info;
}

static void expect_rows(unsigned open, unsigned merged)
{
	for (int i = 0; i < 2; i++) {
		ck_assert_uint_eq(info_of(i).conflicts_open, open);
		ck_assert_uint_eq(info_of(i).conflicts_merged, merged);
	}
}

static void nothing_kept(void)
{
	for (int i = 0; i < 2; i++)
		ck_assert_uint_eq(px_count(i, ".twinfs"), 0);
}

/* The newest row of side i of this kind. conflict_release it. */
static struct conflict row_of(int i, const char *kind)
{
	struct conflict *c, out = { .id = 0 };
	size_t n;

	ck_assert_int_eq(volume_conflicts(px[i].v, &c, &n), 0);
	for (size_t k = 0; k < n; k++) {
		bool wanted = strcmp(c[k].kind, kind) == 0;

		conflict_release(wanted ? &out : &c[k]);
		if (wanted)
			out = c[k];
	}
	free(c);
	ck_assert_msg(out.id != 0, "side %d has no conflict of kind %s", i, kind);
	return out;
}

/* The id of the open row whose second version had this: "KEY", whatever the value, or "KEY=value". free() it. */
static char *row_that_says(const char *text)
{
	struct conflict *c;
	char *id = NULL;
	size_t n, len = strlen(text);

	ck_assert_int_eq(volume_conflicts(px[0].v, &c, &n), 0);
	for (size_t k = 0; k < n; k++) {
		const char *value = c[k].version[1].value;

		if (!c[k].resolved && value && strncmp(value, text, len) == 0 && strchr("=,", value[len]) && !id)
			id = xasprintf("%" PRIu64, c[k].id);
		conflict_release(&c[k]);
	}
	free(c);
	ck_assert_msg(id, "no row says %s", text);
	return id;
}

static void resolve(int i, const char *which, int keep)
{
	struct err err = ERR_INIT;
	int rc = volume_conflict_resolve(px[i].v, which, keep, &err);

	ck_assert_msg(rc == 0, "resolve %s: %s", which, err.text);
}

static size_t dismiss(int i, const char *which, uint64_t before_ms)
{
	struct err err = ERR_INIT;
	size_t n;

	ck_assert_msg(volume_conflict_dismiss(px[i].v, which, before_ms, &n, &err) == 0, "%s", err.text);
	return n;
}

static void take_apart(int i, const char *which)
{
	struct err err = ERR_INIT;

	ck_assert_msg(volume_conflict_split(px[i].v, which, &err) == 0, "%s", err.text);
}

static const char *copy_of(const char *prefix)
{
	char full[64];

	snprintf(full, sizeof(full), "%s.conflict-birch-", prefix);
	return px_find(0, "", full);
}

/* Is there a file with this text on both sides? */
static bool text_is_there(const char *text)
{
	struct px_list *l = xmalloc(sizeof(*l));
	unsigned found = 0;

	for (int i = 0; i < 2; i++) {
		px_list(i, INO_ROOT, l);
		for (size_t k = 0; k < l->n; k++)
			if (strcmp(px_bytes(i, l->e[k].ino, NULL), text) == 0) {
				found++;
				break;
			}
	}
	free(l);
	return found == 2;
}

static void common(const char *name, const char *text)
{
	px_put(0, name, text);
	px_meet();
	px_down();
}

/* f: "alder" here, "birch" there, "base" before. */
static void quarrel(void)
{
	common("f", "base\n");
	px_put(0, "f", "alder\n");
	px_put(1, "f", "birch\n");
	px_meet();
	expect_rows(1, 0);
}

/* f.txt: merged by lines. */
#define MERGED "A\n2\n3\n4\n5\nB\n"
static void merge(void)
{
	common("f.txt", "1\n2\n3\n4\n5\n6\n");
	px_put(0, "f.txt", "A\n2\n3\n4\n5\n6\n");
	px_put(1, "f.txt", "1\n2\n3\n4\n5\nB\n");
	px_meet();
	px_expect("f.txt", MERGED);
	expect_rows(0, 1);
}

/* ---- what there is to see ---- */

static void expect_row(const char *kind, const char *ours, const char *theirs, const char *words)
{
	for (int i = 0; i < 2; i++) {
		struct conflict c = row_of(i, kind);

		ck_assert_str_eq(c.version[0].value, ours);
		ck_assert_str_eq(c.version[1].value, theirs);
		ck_assert_msg(strstr(c.rule, words), "'%s', nothing about '%s'", c.rule, words);
		conflict_release(&c);
	}
}

START_TEST(of_a_deletion_against_a_move_the_row_says_where_it_was_moved_to)
{
	common("f", "base\n");
	px_rename(_i, "f", "g");
	px_unlink(!_i, "f");
	px_meet();
	expect_row("delete", _i ? "deleted" : "/g", _i ? "/g" : "deleted", "the move stays");
}
END_TEST

START_TEST(that_each_side_removed_another_of_its_names_is_noted)
{
	common("f", "base\n");
	px_link(0, "f", "g");
	px_meet();
	px_down();
	px_unlink(0, "f");
	px_unlink(1, "g");
	px_meet();
	px_expect("g", "base\n");
	for (int i = 0; i < 2; i++) {
		struct conflict c = row_of(i, "delete");

		ck_assert_str_eq(c.now, "/g");
		conflict_release(&c);
	}
}
END_TEST

START_TEST(of_an_xattr_that_one_side_removed_the_row_says_so)
{
	common("f", "base\n");
	px_setxattr(0, "f", "user.k", "base");
	px_meet();
	px_down();
	px_setxattr(_i, "f", "user.k", "new");
	ck_assert_int_eq(volume_removexattr(px[!_i].v, px_at(!_i, "f"), "user.k"), 0);
	px_meet();
	expect_row("xattr", _i ? "user.k removed" : "user.k=new", _i ? "user.k=new" : "user.k removed",
		   _i ? "the primary's removal stays, the value is in user.twinfs.conflict.k"
		      : "the primary's value stays");
	if (_i) {
		resolve(0, "f", PEER);
		px_meet();
		expect_rows(0, 0);
		ck_assert_str_eq(px_xattr(0, "f", "user.k"), "new");
		expect_row("xattr", "user.k removed", "user.k=new", "; then birch's was taken by hand");
	}
}
END_TEST

START_TEST(a_conflict_has_its_base_and_both_versions_as_files)
{
	quarrel();
	for (int i = 0; i < 2; i++) {
		struct conflict c = row_of(i, "content");
		struct attr a;

		ck_assert_str_eq(c.now, "/f");
		ck_assert_ptr_nonnull(c.base_path);
		ck_assert_msg(strncmp(c.base_path, "/.twinfs/", 9) == 0, "%s", c.base_path);
		ck_assert_str_eq(px_bytes(i, px_at(i, c.base_path + 1), NULL), "base\n");
		ck_assert_int_eq(volume_getattr(px[i].v, c.base, &a), 0);
		ck_assert_uint_eq(a.mode & 0222, 0);
		ck_assert_str_eq(px_bytes(i, px_at(i, c.version[0].path + 1), NULL), "alder\n");
		ck_assert_str_eq(px_bytes(i, px_at(i, c.version[1].path + 1), NULL), "birch\n");
		ck_assert_int_eq(conflict_side(&(struct volume_info){ .node_name = "birch" }, &c), 1);
		conflict_release(&c);
	}
}
END_TEST

START_TEST(a_merge_has_three_files_that_are_not_listed_in_the_root)
{
	merge();
	ck_assert_uint_eq(px_count(0, ""), 1);
	for (int i = 0; i < 2; i++) {
		struct conflict c = row_of(i, "content");

		ck_assert_str_eq(px_bytes(i, px_at(i, c.base_path + 1), NULL), "1\n2\n3\n4\n5\n6\n");
		ck_assert_str_eq(px_bytes(i, px_at(i, c.version[0].path + 1), NULL), "A\n2\n3\n4\n5\n6\n");
		ck_assert_str_eq(px_bytes(i, px_at(i, c.version[1].path + 1), NULL), "1\n2\n3\n4\n5\nB\n");
		ck_assert_ptr_nonnull(strstr(c.version[1].path, "-birch-f.txt"));
		ck_assert_uint_eq(px_count(i, ".twinfs"), 3);
		conflict_release(&c);
	}
}
END_TEST

START_TEST(two_new_files_of_one_name_have_no_base)
{
	px_up();
	px_meet();
	px_down();
	px_put(0, "n", "alder\n");
	px_put(1, "n", "birch\n");
	px_meet();
	expect_rows(1, 0);
	nothing_kept();
}
END_TEST

START_TEST(no_base_is_kept_of_a_large_file)
{
	static const uint64_t size = (UINT64_C(8) << 20) + 1;

	px_make(0, "f", S_IFREG | 0644);
	px_set(0, "f", SET_SIZE, (struct attr){ .size_bytes = size });
	px_write(0, "f", "%PDF-1.4\n", 9, 0);
	px_meet();
	px_down();
	px_write(0, "f", "alder", 5, 5000);
	px_write(1, "f", "birch", 5, 5000);
	px_settle();
	expect_rows(1, 0);
	nothing_kept();
}
END_TEST

/* ---- settling ---- */

static const char *chosen(int who, int keep)
{
	return (who == 0) == (keep == LOCAL) ? "alder\n" : "birch\n";
}

START_TEST(settling_from_either_side_is_done_on_both)
{
	int who = _i % 2, keep = _i / 2;
	char copy[300];

	quarrel();
	snprintf(copy, sizeof(copy), "%s", copy_of("f"));
	/* by the path of the copy, of the original, or by the id */
	if (keep == PEER) {
		resolve(who, copy, keep);
	} else if (keep == LOCAL) {
		resolve(who, "/f", keep);
	} else {
		struct conflict c = row_of(who, "content");
		char id[24];

		snprintf(id, sizeof(id), "%llu", (unsigned long long)c.id);
		resolve(who, id, keep);
		conflict_release(&c);
	}
	resolve(who, "f", keep); /* once more is no error */
	px_meet();
	expect_rows(0, 0);
	nothing_kept();
	px_expect("f", keep == BOTH ? "alder\n" : chosen(who, keep));
	ck_assert_uint_eq(px_count(0, ""), keep == BOTH ? 2 : 1);
}
END_TEST

START_TEST(mode_owner_and_xattrs_stay_with_the_name)
{
	common("f", "base\n");
	px_set(0, "f", SET_MODE, (struct attr){ .mode = 0640 });
	px_setxattr(0, "f", "user.tag", "kept");
	px_put(0, "f", "alder\n");
	px_put(1, "f", "birch\n");
	px_meet();
	resolve(_i, "f", _i == 0 ? PEER : LOCAL);
	px_meet();
	px_expect("f", "birch\n");
	ck_assert_uint_eq(px_stat(1, "f").mode & 07777, 0640);
	ck_assert_str_eq(px_xattr(1, "f", "user.tag"), "kept");
}
END_TEST

START_TEST(settled_differently_while_apart_what_each_side_wanted_is_there)
{
	int keep[2] = { _i % 3, _i / 3 };

	quarrel();
	px_down();
	for (int i = 0; i < 2; i++)
		resolve(i, "f", keep[i]);
	px_meet();
	for (int i = 0; i < 2; i++) {
		struct conflict c = row_of(i, "content");

		ck_assert(c.resolved);
		conflict_release(&c);
	}
	nothing_kept();
	if (keep[0] == BOTH || keep[0] == LOCAL || keep[1] == BOTH || keep[1] == PEER)
		ck_assert_msg(text_is_there("alder\n"), "alder's is lost");
	else
		ck_assert_msg(!text_is_there("alder\n"), "alder's is back");
	if (keep[0] == BOTH || keep[0] == PEER || keep[1] == BOTH || keep[1] == LOCAL)
		ck_assert_msg(text_is_there("birch\n"), "birch's is lost");
	else
		ck_assert_msg(!text_is_there("birch\n"), "birch's is back");
	ck_assert_uint_ne(px_at(0, "f"), 0);
}
END_TEST

/* The secondary chose a version that the primary cut meanwhile: what it writes next is on top of the whole of it. */
START_TEST(what_is_written_to_a_chosen_version_before_the_others_change_is_heard_is_the_same_on_both_sides)
{
	struct err err = ERR_INIT;

	quarrel();
	px_down();
	resolve(1, "f", PEER);
	px_set(0, "f", SET_SIZE, (struct attr){ .size_bytes = 2 });
	px_up();
	for (int i = 0; i < 2; i++)
		px_talk(i);
	for (int i = 0; i < 2; i++) /* HELLO */
		ck_assert_int_eq(px_deliver(i, &err), 0);
	px_say(0);
	px_send(1);
	px_append(1, "f", "later\n");
	px_say(1);
	px_hear(0);
	px_meet();
	ck_assert(text_is_there("alder\nlater\n"));
}
END_TEST

/* Each side keeps its own; one of them is heard before the other has said anything, as the link brings it. */
START_TEST(chosen_by_both_for_itself_the_primarys_is_in_place_whoever_is_heard_first)
{
	int first = _i % 2;
	struct err err = ERR_INIT;

	quarrel();
	px_down();
	for (int i = 0; i < 2; i++)
		resolve(i, "f", LOCAL);
	if (_i / 2) {
		ck_assert_int_eq(volume_commit(px[1].v), 0);
		px_crash(1);
	}
	px_up();
	for (int i = 0; i < 2; i++)
		px_talk(i);
	for (int i = 0; i < 2; i++) /* HELLO */
		ck_assert_int_eq(px_deliver(i, &err), 0);
	px_now_ms += 50;
	px_talk(first);
	while (px_next(first))
		ck_assert_msg(px_deliver(first, &err) == 0, "%s", err.text);
	px_meet();
	ck_assert_msg(text_is_there("birch\n"), "birch's is lost");
	ck_assert_msg(text_is_there("alder\n"), "alder's is lost");
	px_expect("f", "alder\n");
}
END_TEST

START_TEST(a_version_chosen_here_and_edited_there_has_the_edit_and_no_new_conflict)
{
	int who = _i;

	quarrel();
	px_down();
	resolve(who, "f", who == 0 ? LOCAL : PEER); /* alder's, which is in place on both sides */
	px_put(!who, "f", "alder, and more\n");
	px_meet();
	px_expect("f", "alder, and more\n");
	expect_rows(0, 0);
	ck_assert_uint_eq(px_count(0, ""), 1);
	nothing_kept();
}
END_TEST

START_TEST(a_crash_before_the_commit_leaves_the_conflict_and_after_it_leaves_it_settled)
{
	int who = _i % 2;
	bool committed = _i / 2;

	quarrel();
	px_down();
	ck_assert_int_eq(volume_commit(px[who].v), 0);
	resolve(who, "f", PEER);
	if (committed)
		ck_assert_int_eq(volume_commit(px[who].v), 0);
	px_crash(who);
	px_meet();
	expect_rows(committed ? 0 : 1, 0);
	ck_assert_uint_eq(px_count(0, ""), committed ? 1 : 2);
	if (committed)
		nothing_kept();
}
END_TEST

/* ---- names, attributes, places, deletions ---- */

START_TEST(a_name_given_twice_is_settled_for_one_of_the_two)
{
	int who = _i % 2, keep = _i / 2;

	px_up();
	px_meet();
	px_down();
	px_put(0, "n", "alder\n");
	px_put(1, "n", "birch\n");
	px_meet();
	resolve(who, "n", keep);
	px_meet();
	expect_rows(0, 0);
	px_expect("n", keep == BOTH ? "alder\n" : chosen(who, keep));
	ck_assert_uint_eq(px_count(1, ""), keep == BOTH ? 2 : 1);
}
END_TEST

/* A file of n on one side, a directory (with a file in it, or empty) on the other; `dir_on` has the directory. */
static void file_and_directory(int dir_on, bool empty)
{
	px_up();
	px_meet();
	px_down();
	px_put(!dir_on, "n", "file\n");
	px_mkdir(dir_on, "n");
	if (!empty)
		px_put(dir_on, "n/in", "in\n");
	px_meet();
	expect_rows(1, 0);
}

START_TEST(of_a_file_and_a_directory_either_gets_the_name_and_nothing_that_is_in_the_other_is_lost)
{
	int who = _i & 1, dir_on = _i >> 1 & 1, keep = _i >> 2 & 1 ? LOCAL : PEER;
	bool empty = _i >> 3, wants_dir = (who == dir_on) == (keep == LOCAL);

	file_and_directory(dir_on, empty);
	resolve(who, "n", keep);
	px_meet();
	expect_rows(0, 0);
	if (wants_dir) {
		ck_assert(S_ISDIR(px_stat(0, "n").mode));
		ck_assert_uint_eq(px_count(1, ""), 1); /* the file is gone, as a version that nobody wants */
		if (!empty)
			px_expect("n/in", "in\n");
		return;
	}
	px_expect("n", "file\n");
	if (empty) {
		ck_assert_uint_eq(px_count(1, ""), 1);
	} else { /* what is in a directory is more than a version: it stays beside */
		char in[300];

		ck_assert_uint_eq(px_count(1, ""), 2);
		snprintf(in, sizeof(in), "%s/in", px_find(0, "", "n.conflict-"));
		px_expect(in, "in\n");
	}
}
END_TEST

START_TEST(a_file_and_a_directory_settled_differently_while_apart_are_both_there)
{
	int dir_on = _i % 2, keep[2] = { _i / 2 % 3, _i / 6 };

	file_and_directory(dir_on, false);
	px_down();
	for (int i = 0; i < 2; i++)
		resolve(i, "n", keep[i]);
	px_meet(); /* where each wants its own at the name there is a new conflict */
	/* Nobody said that the directory shall go; the file goes if nobody wants it. */
	ck_assert_uint_eq(px_count(0, ""), keep[dir_on] == LOCAL && keep[!dir_on] == PEER ? 1 : 2);
	ck_assert_uint_ne(px_at(0, "n"), 0);
}
END_TEST

START_TEST(a_directory_does_not_go_into_itself)
{
	struct err err = ERR_INIT;
	char path[300];

	px_up();
	px_meet();
	px_down();
	px_put(0, "n", "alder\n");
	px_mkdir(1, "n");
	px_meet();
	snprintf(path, sizeof(path), "%s/file", px_find(0, "", "n.conflict-"));
	px_rename(0, "n", path);
	px_meet();
	ck_assert_int_eq(volume_conflict_resolve(px[_i].v, "n", _i == 0 ? PEER : LOCAL, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.text, "inside"));
	expect_rows(1, 0);
}
END_TEST

/* ---- symbolic links ---- */

static void put_symlink(int i, const char *path, const char *target)
{
	const char *name;
	uint64_t dir = px_split(i, path, &name);
	struct attr a;

	ck_assert_int_eq(volume_create(px[i].v, dir, name, S_IFLNK | 0777, 0, target, &px_cred, &a), 0);
}

static bool target_is_there(const char *target)
{
	struct px_list *l = xmalloc(sizeof(*l));
	char got[64];
	unsigned found = 0;

	for (int i = 0; i < 2; i++) {
		px_list(i, INO_ROOT, l);
		for (size_t k = 0; k < l->n; k++) {
			ssize_t n = volume_readlink(px[i].v, l->e[k].ino, got, sizeof(got));

			found += n == (ssize_t)strlen(target) && memcmp(got, target, (size_t)n) == 0;
		}
	}
	free(l);
	return found == 2;
}

START_TEST(two_symlinks_settled_differently_while_apart_are_there_if_somebody_wants_them)
{
	int keep[2] = { _i % 3, _i / 3 };

	px_up();
	px_meet();
	px_down();
	put_symlink(0, "n", "alder");
	put_symlink(1, "n", "birch");
	px_meet();
	expect_rows(1, 0);
	px_down();
	for (int i = 0; i < 2; i++)
		resolve(i, "n", keep[i]);
	px_meet(); /* where each wants its own at the name there is a new conflict */
	ck_assert_msg(target_is_there("alder") == (keep[0] != PEER || keep[1] != LOCAL), "alder's");
	ck_assert_msg(target_is_there("birch") == (keep[1] != PEER || keep[0] != LOCAL), "birch's");
	ck_assert_uint_ne(px_at(0, "n"), 0);
}
END_TEST

/* ---- files with several names ---- */

START_TEST(all_names_of_a_file_lead_to_the_version_that_was_chosen)
{
	int who = _i % 2, keep = _i / 2;

	px_up();
	px_put(0, "f", "base\n");
	px_mkdir(0, "d");
	px_link(0, "f", "d/g");
	px_link(0, "f", "h");
	px_meet();
	px_down();
	px_put(0, "h", "alder\n");
	px_put(1, "f", "birch\n");
	px_meet();
	expect_rows(1, 0);
	resolve(who, "f", keep);
	px_meet();
	expect_rows(0, 0);
	nothing_kept();
	px_expect("f", keep == BOTH ? "alder\n" : chosen(who, keep));
	ck_assert_uint_eq(px_at(0, "f"), px_at(0, "d/g"));
	ck_assert_uint_eq(px_at(1, "f"), px_at(1, "h"));
	ck_assert_uint_eq(px_stat(0, "h").nlink, 3);
	ck_assert_uint_eq(px_count(0, ""), keep == BOTH ? 4 : 3);
}
END_TEST

START_TEST(another_name_of_a_file_that_lost_a_name_to_the_other_stays)
{
	int who = _i % 2;

	px_up();
	px_meet();
	px_down();
	px_put(0, "n", "alder\n");
	px_link(0, "n", "own");
	px_put(1, "n", "birch\n");
	px_meet();
	resolve(who, "n", who == 0 ? PEER : LOCAL);
	px_meet();
	expect_rows(0, 0);
	px_expect("n", "birch\n");
	px_expect("own", "alder\n");
	ck_assert_uint_eq(px_count(0, ""), 2);
}
END_TEST

START_TEST(an_attribute_can_be_the_other_sides_after_all)
{
	int who = _i % 2;
	bool owner = _i / 2;
	struct conflict c;

	common("f", "base\n");
	for (int i = 0; i < 2; i++)
		px_set(i, "f", owner ? SET_UID | SET_GID : SET_MODE,
		       (struct attr){ .mode = i ? 0600 : 0640, .uid = 10 + (unsigned)i, .gid = 20 + (unsigned)i });
	px_meet();
	expect_rows(0, 0);
	c = row_of(1, "attribute");
	ck_assert_str_eq(c.version[0].value, owner ? "10:20" : "0640");
	ck_assert_str_eq(c.version[1].value, owner ? "11:21" : "0600");
	conflict_release(&c);
	resolve(who, "f", who == 0 ? PEER : LOCAL);
	px_meet();
	for (int i = 0; i < 2 && owner; i++)
		ck_assert_uint_eq(px_stat(i, "f").uid, 11);
	for (int i = 0; i < 2 && !owner; i++)
		ck_assert_uint_eq(px_stat(i, "f").mode & 07777, 0600);
	resolve(!who, "f", who == 0 ? PEER : LOCAL); /* and back */
	px_meet();
	ck_assert_uint_eq(owner ? px_stat(1, "f").gid : px_stat(1, "f").mode & 07777, owner ? 20 : 0640);
}
END_TEST

/* user 1001 may read, or do all. */
static const char acl_read[] = "user::rw-,user:1001:r--,group::r--,mask::r--,other::---";
static const char acl_all[] = "user::rw-,user:1001:rwx,group::r--,mask::rwx,other::---";

static void set_acl(int i, const char *path, const char *text)
{
	uint8_t acl[ACL_MAX_BYTES];
	bool is_default;
	size_t len;

	ck_assert_int_eq(acl_parse(text, acl, &len, &is_default), 0);
	ck_assert_int_eq(volume_setxattr(px[i].v, px_at(i, path), is_default ? ACL_DEFAULT_KEY : ACL_ACCESS_KEY, acl,
	                                 len, 0), 0);
}

static void expect_acl(const char *path, const char *key, const char *text)
{
	for (int i = 0; i < 2; i++) {
		uint8_t acl[ACL_MAX_BYTES];
		ssize_t len = volume_getxattr(px[i].v, px_at(i, path), key, acl, sizeof(acl));
		char *got = len > 0 ? acl_text(acl, (size_t)len, strcmp(key, ACL_DEFAULT_KEY) == 0) : xstrdup("none");

		ck_assert_str_eq(got, text);
		free(got);
	}
}

START_TEST(an_acl_that_lost_against_a_mode_can_be_had_after_all)
{
	int who = _i % 2, lister = _i / 2; /* whose ACL it is; the other sets a mode */
	const char *first, *second, *acl = "0670 user::rw-,user:1001:rwx,group::r--,mask::rwx,other::---";
	struct conflict c;

	common("f", "base\n");
	px_set(!lister, "f", SET_MODE, (struct attr){ .mode = 0604 });
	set_acl(lister, "f", acl_all);
	px_meet();
	c = row_of(who, "attribute");
	ck_assert_str_eq(c.version[lister].value, acl);
	ck_assert_str_eq(c.version[!lister].value, "0604");
	conflict_release(&c);
	for (int turn = 0; turn < 4; turn++) { /* each there and back, from either side */
		bool listed = (turn + lister) % 2 != 0;

		resolve(who, "f", (listed ? lister : !lister) == who ? LOCAL : PEER);
		px_meet();
		expect_acl("f", ACL_ACCESS_KEY, listed ? acl_all : "none");
		ck_assert_uint_eq(px_stat(!who, "f").mode & 07777, listed ? 0670 : 0604);
		c = row_of(!who, "attribute");
		first = strstr(c.rule, "; then ");
		ck_assert_ptr_nonnull(first);
		second = strstr(first + 1, "; then ");
		ck_assert_ptr_null(second); /* the last word alone */
		ck_assert_str_eq(c.outcome, (listed ? lister : !lister) == 1 ? "secondary" : "primary");
		conflict_release(&c);
	}
}
END_TEST

START_TEST(of_two_acls_the_other_can_be_had_after_all)
{
	int who = _i % 2;
	bool is_default = _i / 2;
	const char *key = is_default ? ACL_DEFAULT_KEY : ACL_ACCESS_KEY, *words[2];
	struct conflict c;

	px_mkdir(0, "d");
	common("f", "base\n");
	words[0] = is_default ? "default:user::rwx,default:group::r-x,default:other::---" : acl_read;
	words[1] = is_default ? "default:user::rwx,default:group::---,default:other::---"
	                      : "user::rw-,user:1002:r--,group::r--,mask::r--,other::---";
	for (int i = 0; i < 2; i++)
		set_acl(i, is_default ? "d" : "f", words[i]);
	px_meet();
	expect_acl(is_default ? "d" : "f", key, words[0]);
	c = row_of(who, "attribute");
	for (int i = 0; i < 2; i++)
		ck_assert_str_eq(c.version[i].value, words[i]);
	conflict_release(&c);
	resolve(who, is_default ? "d" : "f", who ? LOCAL : PEER);
	px_meet();
	expect_acl(is_default ? "d" : "f", key, words[1]);
	resolve(!who, is_default ? "d" : "f", who ? LOCAL : PEER);
	px_meet();
	expect_acl(is_default ? "d" : "f", key, words[0]);
}
END_TEST

START_TEST(an_acl_that_one_side_removed_and_the_other_changed_can_go_after_all)
{
	int who = _i % 2, remover = _i / 2;

	common("f", "base\n");
	set_acl(0, "f", acl_read);
	px_up();
	px_meet();
	px_down();
	ck_assert_int_eq(volume_removexattr(px[remover].v, px_at(remover, "f"), ACL_ACCESS_KEY), 0);
	set_acl(!remover, "f", "user::rw-,user:1002:r--,group::r--,mask::r--,other::---");
	px_meet();
	resolve(who, "f", remover == who ? LOCAL : PEER);
	px_meet();
	expect_acl("f", ACL_ACCESS_KEY, "none");
}
END_TEST

START_TEST(both_values_of_an_xattr_are_told)
{
	struct conflict c;
	char bytes[300];

	common("f", "base\n");
	memset(bytes, 'x', sizeof(bytes) - 1);
	bytes[sizeof(bytes) - 1] = '\0';
	px_setxattr(0, "f", "user.tag", "alder's");
	px_setxattr(1, "f", "user.tag", _i ? bytes : "birch's");
	px_meet();
	c = row_of(_i, "xattr");
	ck_assert_str_eq(c.version[0].value, "user.tag=alder's");
	ck_assert_str_eq(c.version[1].value, _i ? "user.tag, 299 bytes" : "user.tag=birch's");
	conflict_release(&c);
}
END_TEST

START_TEST(a_place_can_be_the_other_sides_after_all)
{
	struct err err = ERR_INIT;
	int who = _i;

	px_mkdir(0, "d");
	common("f", "base\n");
	px_rename(0, "f", "here");
	px_rename(1, "f", "d/there");
	px_meet();
	px_expect("here", "base\n");
	resolve(who, "here", who == 0 ? PEER : LOCAL);
	resolve(who, "here", who == 0 ? PEER : LOCAL);
	px_meet();
	px_expect("d/there", "base\n");
	px_gone("here");
	/* A place that is taken by now is refused. */
	px_put(who, "here", "other\n");
	ck_assert_int_eq(volume_conflict_resolve(px[who].v, "d/there", who == 0 ? LOCAL : PEER, &err), -EEXIST);
	px_meet();
}
END_TEST

START_TEST(what_came_back_can_be_deleted_after_all)
{
	int deleter = _i % 2, who = _i / 2;

	common("f", "base\n");
	px_unlink(deleter, "f");
	px_put(!deleter, "f", "changed\n");
	px_meet();
	px_expect("f", "changed\n");
	resolve(who, "f", who == deleter ? PEER : LOCAL);
	px_meet();
	px_expect("f", "changed\n");
	resolve(who, "f", who == deleter ? LOCAL : PEER);
	px_meet();
	px_gone("f");
}
END_TEST

START_TEST(an_xattr_with_two_values_is_settled_for_one_of_them)
{
	int who = _i % 2, keep = _i / 2;
	const char *want = (who == 0) == (keep == LOCAL) ? "alder" : "birch";

	common("f", "base\n");
	px_setxattr(0, "f", "user.k", "alder");
	px_setxattr(1, "f", "user.k", "birch");
	px_meet();
	expect_rows(0, 1);
	if (keep > BOTH) { /* by hand */
		ck_assert_int_eq(volume_removexattr(px[who].v, px_at(who, "f"), "user.twinfs.conflict.k"), 0);
		want = "alder";
	} else {
		resolve(who, "f", keep);
	}
	px_meet();
	expect_rows(0, 0);
	for (int i = 0; i < 2; i++) {
		ck_assert_str_eq(px_xattr(i, "f", "user.k"), keep == BOTH ? "alder" : want);
		if (keep == BOTH)
			ck_assert_str_eq(px_xattr(i, "f", "user.twinfs.conflict.k"), "birch");
		else
			ck_assert_ptr_null(px_xattr(i, "f", "user.twinfs.conflict.k"));
	}
}
END_TEST

/* Each in a key of its own, and each is settled by itself, by the id of its row. */
START_TEST(values_of_xattrs_with_long_and_like_names_are_all_kept_and_settled_one_by_one)
{
	char longest[256] = "", like[256] = "";
	const char *keys[] = { longest, like, "trusted.k", "user.trusted.k", "user.k" };

	memset(longest, 'x', 255);
	memcpy(longest, "user.", 5);
	memcpy(like, longest, 255);
	like[254] = 'y';
	common("f", "base\n");
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		px_setxattr(0, "f", keys[i], "alder");
		px_setxattr(1, "f", keys[i], keys[i]);
	}
	px_meet();
	expect_rows(0, ARRAY_LEN(keys));
	for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
		char *id = row_that_says(keys[i]);

		resolve(_i, id, _i ? LOCAL : PEER);
		free(id);
		px_meet();
		expect_rows(0, ARRAY_LEN(keys) - 1 - i);
		for (size_t k = 0; k < ARRAY_LEN(keys); k++)
			ck_assert_str_eq(px_xattr(!_i, "f", keys[k]), k <= i ? keys[k] : "alder");
	}
}
END_TEST

START_TEST(a_value_that_waits_is_not_overwritten_by_the_next_one)
{
	char *id;

	common("f", "base\n");
	for (int i = 0; i < 3; i++) {
		px_setxattr(0, "f", "user.k", i == 0 ? "alder" : i == 1 ? "ash" : "aspen");
		px_setxattr(1, "f", "user.k", i == 0 ? "birch" : i == 1 ? "beech" : "box");
		px_meet();
		expect_rows(0, (uint64_t)i + 1);
		px_down();
	}
	px_up();
	id = row_that_says("user.k=birch");
	resolve(_i, id, _i ? LOCAL : PEER);
	free(id);
	px_meet();
	expect_rows(0, 2);
	ck_assert_str_eq(px_xattr(0, "f", "user.k"), "birch");
	id = row_that_says("user.k=beech");
	resolve(_i, id, _i ? LOCAL : PEER);
	free(id);
	px_meet();
	expect_rows(0, 1);
	ck_assert_str_eq(px_xattr(1, "f", "user.k"), "beech");
}
END_TEST

/* By what was noted, by what is there now, by a version, by what was there before. */
START_TEST(a_conflict_is_found_by_each_of_its_paths)
{
	struct conflict c;
	const char *which;

	quarrel();
	px_mkdir(0, "d");
	px_rename(0, "f", "d/g");
	px_meet();
	c = row_of(_i % 2, "content");
	which = (const char *[]){ c.path, c.now, c.version[1].path, c.base_path }[_i / 2];
	ck_assert_ptr_nonnull(which);
	ck_assert_str_eq(c.path, "/f");
	ck_assert_str_eq(c.now, "/d/g");
	resolve(_i % 2, which, LOCAL);
	conflict_release(&c);
	px_meet();
	expect_rows(0, 0);
}
END_TEST

/* ---- merges ---- */

START_TEST(a_merge_that_is_dismissed_keeps_nothing)
{
	struct err err = ERR_INIT;
	size_t n;

	merge();
	ck_assert_uint_eq(dismiss(_i, "f.txt", 1), 0); /* it is younger than that */
	ck_assert_uint_eq(dismiss(_i, _i ? NULL : "f.txt", 0), 1);
	px_meet();
	px_expect("f.txt", MERGED);
	expect_rows(0, 0);
	nothing_kept();
	ck_assert_uint_eq(dismiss(!_i, "f.txt", 0), 0);
	ck_assert_int_eq(volume_conflict_split(px[_i].v, "f.txt", &err), -ENODATA);
	ck_assert_int_eq(volume_conflict_dismiss(px[_i].v, "none", 0, &n, &err), -ENOENT);
}
END_TEST

START_TEST(what_waits_for_a_person_is_not_dismissed)
{
	struct err err = ERR_INIT;
	size_t n;

	quarrel();
	ck_assert_uint_eq(dismiss(_i, NULL, 0), 0);
	ck_assert_int_eq(volume_conflict_dismiss(px[_i].v, "f", 0, &n, &err), -EINVAL);
	px_meet();
	expect_rows(1, 0);
}
END_TEST

START_TEST(a_merge_is_taken_apart_into_both_whole_versions)
{
	char copy[300];

	merge();
	px_set(0, "f.txt", SET_MODE, (struct attr){ .mode = 0604 });
	px_setxattr(0, "f.txt", "user.tag", "x");
	px_meet();
	take_apart(_i, "f.txt");
	px_meet();
	px_expect("f.txt", "A\n2\n3\n4\n5\n6\n");
	snprintf(copy, sizeof(copy), "%s", copy_of("f"));
	ck_assert_ptr_nonnull(strstr(copy, ".txt"));
	px_expect(copy, "1\n2\n3\n4\n5\nB\n");
	ck_assert_uint_eq(px_count(0, ""), 2);
	ck_assert_uint_eq(px_stat(1, "f.txt").mode & 07777, 0604);
	ck_assert_uint_eq(px_stat(1, copy).mode & 07777, 0604);
	ck_assert_str_eq(px_xattr(1, "f.txt", "user.tag"), "x");
	/* It waits like any other, with its base. */
	expect_rows(1, 0);
	ck_assert_uint_eq(px_count(1, ".twinfs"), 1);
	resolve(!_i, "f.txt", _i == 0 ? LOCAL : PEER);
	px_meet();
	px_expect("f.txt", "1\n2\n3\n4\n5\nB\n");
	expect_rows(0, 0);
	nothing_kept();
}
END_TEST

START_TEST(what_was_written_after_the_merge_is_beside_what_is_taken_apart)
{
	merge();
	px_append(_i, "f.txt", "later\n");
	px_meet();
	take_apart(!_i, "f.txt");
	px_meet();
	px_expect("f.txt", "A\n2\n3\n4\n5\n6\n");
	px_expect("f.txt.merged", MERGED "later\n");
	ck_assert_uint_eq(px_count(0, ""), 3);
}
END_TEST

START_TEST(saved_anew_on_both_sides_and_taken_apart_there_are_two_versions_alone)
{
	common("f.txt", "1\n2\n3\n4\n5\n6\n");
	for (int i = 0; i < 2; i++) {
		usleep(2000); /* none is as old as the other */
		px_put(i, "new", i ? "1\n2\n3\n4\n5\nB\n" : "A\n2\n3\n4\n5\n6\n");
		px_rename(i, "new", "f.txt");
	}
	px_meet();
	px_expect("f.txt", MERGED);
	take_apart(_i, "f.txt");
	px_meet();
	px_expect("f.txt", "A\n2\n3\n4\n5\n6\n");
	px_expect(copy_of("f"), "1\n2\n3\n4\n5\nB\n");
	ck_assert_uint_eq(px_count(0, ""), 2);
}
END_TEST

START_TEST(data_merged_by_ranges_can_be_taken_apart_too)
{
	char data[3][8192];

	for (int k = 0; k < 3; k++) {
		uint32_t x = 1;

		for (size_t n = 0; n < sizeof(data[k]); n++)
			data[k][n] = (char)(x = x * 1664525 + 1013904223, x >> 24);
		memcpy(data[k], "\x00\x01\xfe\xff", 4);
	}
	px_make(0, "d", S_IFREG | 0644);
	px_write(0, "d", data[2], sizeof(data[2]), 0);
	px_meet();
	px_down();
	memset(data[0] + 100, 1, 100);
	memset(data[1] + 5000, 2, 100);
	px_write(0, "d", data[0] + 100, 100, 100);
	px_write(1, "d", data[1] + 5000, 100, 5000);
	px_meet();
	expect_rows(0, 1);
	take_apart(_i, "d");
	px_meet();
	expect_rows(1, 0);
	for (int i = 0; i < 2; i++) {
		ck_assert_mem_eq(px_bytes(i, px_at(i, "d"), NULL), data[0], sizeof(data[0]));
		ck_assert_mem_eq(px_bytes(i, px_at(i, copy_of("d")), NULL), data[1], sizeof(data[1]));
	}
}
END_TEST

START_TEST(a_version_that_a_policy_chose_is_taken_apart_from_the_other)
{
	struct err err = ERR_INIT;
	int winner = _i;

	ck_assert_int_eq(volume_setxattr(px[0].v, INO_HIDDEN, "user.twinfs.policy.*", "newest", 6, 0), 0);
	common("f", "base\n");
	px_put(0, "f", "alder\n");
	px_put(1, "f", "birch\n");
	px_set(winner, "f", SET_MTIME, (struct attr){ .mtime = { .tv_sec = 2000 } });
	px_set(!winner, "f", SET_MTIME, (struct attr){ .mtime = { .tv_sec = 1000 } });
	px_meet();
	px_expect("f", winner ? "birch\n" : "alder\n");
	expect_rows(0, 1);
	ck_assert_msg(volume_conflict_split(px[!winner].v, "f", &err) == 0, "%s", err.text);
	px_meet();
	px_expect("f", "alder\n");
	px_expect(copy_of("f"), "birch\n");
	expect_rows(1, 0);
	ck_assert_uint_eq(px_count(0, ""), 2);
}
END_TEST

START_TEST(taken_apart_on_both_sides_or_dismissed_on_one_of_them_is_whole)
{
	merge();
	px_down();
	take_apart(_i % 2, "f.txt");
	if (_i / 2)
		take_apart(!(_i % 2), "f.txt");
	else
		dismiss(!(_i % 2), "f.txt", 0);
	px_meet();
	px_expect("f.txt", "A\n2\n3\n4\n5\n6\n");
	px_expect(copy_of("f"), "1\n2\n3\n4\n5\nB\n");
}
END_TEST

/* ---- by hand ---- */

START_TEST(removing_the_copy_settles_it)
{
	quarrel();
	px_unlink(_i, copy_of("f"));
	px_meet();
	expect_rows(0, 0);
	nothing_kept();
	px_expect("f", "alder\n");
}
END_TEST

START_TEST(renaming_the_copy_over_the_original_settles_it)
{
	quarrel();
	px_rename(_i, copy_of("f"), "f");
	px_meet();
	expect_rows(0, 0);
	nothing_kept();
	px_expect("f", "birch\n");
}
END_TEST

START_TEST(removing_the_original_settles_it)
{
	quarrel();
	px_unlink(_i, "f");
	px_meet();
	expect_rows(0, 0);
	nothing_kept();
	px_expect(copy_of("f"), "birch\n");
}
END_TEST

START_TEST(a_file_that_is_renamed_or_saved_anew_is_followed)
{
	int who = _i;
	char copy[300];

	quarrel();
	snprintf(copy, sizeof(copy), "%s", copy_of("f"));
	px_put(who, "tmp", "alder, edited\n");
	px_rename(who, "tmp", "f");
	px_meet();
	px_put(!who, "tmp", "birch, edited\n");
	px_rename(!who, "tmp", copy);
	px_meet();
	/* as vim does: the old one goes away under another name */
	px_rename(who, "f", "f~");
	px_put(who, "f", "alder, edited twice\n");
	px_unlink(who, "f~");
	px_meet();
	px_rename(!who, copy, "mine");
	px_meet();
	expect_rows(1, 0);
	for (int i = 0; i < 2; i++) {
		struct conflict c = row_of(i, "content");

		ck_assert_str_eq(c.version[0].path, "/f");
		ck_assert_str_eq(c.version[1].path, "/mine");
		conflict_release(&c);
	}
	resolve(who, "mine", who == 0 ? PEER : LOCAL);
	px_meet();
	px_expect("f", "birch, edited\n");
	ck_assert_uint_eq(px_count(0, ""), 1);
	expect_rows(0, 0);
	nothing_kept();
}
END_TEST

START_TEST(saved_anew_on_both_sides_while_apart_both_sides_agree)
{
	quarrel();
	px_down();
	for (int i = 0; i < 2; i++) {
		px_put(i, "tmp", i ? "birch again\n" : "alder again\n");
		px_rename(i, "tmp", "f");
	}
	px_meet();
	ck_assert(text_is_there("alder again\n") && text_is_there("birch again\n"));
}
END_TEST

/* One side settles it, and on the other the row follows a file saved anew: both changed the row. */
START_TEST(settled_on_one_side_while_the_other_saves_it_anew_it_is_settled)
{
	quarrel();
	px_down();
	resolve(_i, "f", BOTH);
	px_put(!_i, "f.tmp", "anew\n");
	px_rename(!_i, "f.tmp", "f");
	px_meet();
	expect_rows(0, 0);
	ck_assert_msg(text_is_there("anew\n"), "what was saved is lost");
	ck_assert_msg(text_is_there("birch\n"), "what was to stay is lost");
}
END_TEST

START_TEST(removing_a_merged_file_or_what_is_kept_of_it_settles_it)
{
	merge();
	if (_i / 2) {
		struct conflict c = row_of(0, "content");

		px_unlink(_i % 2, c.version[1].path + 1);
		conflict_release(&c);
	} else {
		px_unlink(_i % 2, "f.txt");
	}
	px_meet();
	expect_rows(0, 0);
	nothing_kept();
}
END_TEST

/* What side i has to say is heard, but not answered. */
static void only_from(int i)
{
	struct err err = ERR_INIT;

	px_up();
	for (int k = 0; k < 2; k++) {
		px_talk(k);
		ck_assert_int_eq(px_deliver(k, &err), 0); /* hello */
	}
	px_now_ms += 50;
	px_talk(i);
	while (px_next(i))
		ck_assert_msg(px_deliver(i, &err) == 0, "%s", err.text);
	px_down();
}

/* The primary has decided about f, and is cut off before it can say so. */
static void quarrel_half(void)
{
	px_put(0, "f", "alder\n");
	px_put(1, "f", "birch\n");
	only_from(1);
	ck_assert_uint_eq(info_of(0).conflicts_open, 1);
}

START_TEST(the_secondary_removes_a_file_of_which_the_conflict_is_still_on_its_way)
{
	common("f", "base\n");
	quarrel_half();
	px_unlink(1, "f");
	px_meet();
	ck_assert(text_is_there("alder\n"));
}
END_TEST

/* It sends the file whole then, as the primary had taken a name of it away; but those bytes are the primary's own. */
START_TEST(the_copy_keeps_its_bytes_when_the_secondary_moved_a_name_that_the_primary_took_away)
{
	px_put(0, "f", "base\n");
	px_link(0, "f", "b");
	px_meet();
	px_down();
	quarrel_half();
	px_unlink(0, "b");
	px_rename(1, "b", "c");
	only_from(0);
	px_meet();
	px_expect(copy_of("f"), "birch\n");
	px_expect("f", "alder\n");
	px_expect("c", "alder\n");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("conflicts");
	TCase *tc = tcase_create("conflicts");

	tcase_set_timeout(tc, 60);
	tcase_add_checked_fixture(tc, px_setup, px_teardown);
	tcase_add_test(tc, a_conflict_has_its_base_and_both_versions_as_files);
	tcase_add_test(tc, a_merge_has_three_files_that_are_not_listed_in_the_root);
	tcase_add_test(tc, two_new_files_of_one_name_have_no_base);
	tcase_add_test(tc, no_base_is_kept_of_a_large_file);
	tcase_add_loop_test(tc, settling_from_either_side_is_done_on_both, 0, 6);
	tcase_add_loop_test(tc, mode_owner_and_xattrs_stay_with_the_name, 0, 2);
	tcase_add_loop_test(tc, settled_differently_while_apart_what_each_side_wanted_is_there, 0, 9);
	tcase_add_test(tc,
	               what_is_written_to_a_chosen_version_before_the_others_change_is_heard_is_the_same_on_both_sides);
	tcase_add_loop_test(tc, chosen_by_both_for_itself_the_primarys_is_in_place_whoever_is_heard_first, 0, 4);
	tcase_add_loop_test(tc, a_version_chosen_here_and_edited_there_has_the_edit_and_no_new_conflict, 0, 2);
	tcase_add_loop_test(tc, a_crash_before_the_commit_leaves_the_conflict_and_after_it_leaves_it_settled, 0, 4);
	tcase_add_loop_test(tc, a_name_given_twice_is_settled_for_one_of_the_two, 0, 6);
	tcase_add_loop_test(tc,
		of_a_file_and_a_directory_either_gets_the_name_and_nothing_that_is_in_the_other_is_lost, 0, 16);
	tcase_add_loop_test(tc, a_file_and_a_directory_settled_differently_while_apart_are_both_there, 0, 18);
	tcase_add_loop_test(tc, a_directory_does_not_go_into_itself, 0, 2);
	tcase_add_loop_test(tc, two_symlinks_settled_differently_while_apart_are_there_if_somebody_wants_them, 0, 9);
	tcase_add_loop_test(tc, all_names_of_a_file_lead_to_the_version_that_was_chosen, 0, 6);
	tcase_add_loop_test(tc, another_name_of_a_file_that_lost_a_name_to_the_other_stays, 0, 2);
	tcase_add_loop_test(tc, an_attribute_can_be_the_other_sides_after_all, 0, 4);
	tcase_add_loop_test(tc, an_acl_that_lost_against_a_mode_can_be_had_after_all, 0, 4);
	tcase_add_loop_test(tc, of_two_acls_the_other_can_be_had_after_all, 0, 4);
	tcase_add_loop_test(tc, an_acl_that_one_side_removed_and_the_other_changed_can_go_after_all, 0, 4);
	tcase_add_loop_test(tc, both_values_of_an_xattr_are_told, 0, 2);
	tcase_add_loop_test(tc, a_place_can_be_the_other_sides_after_all, 0, 2);
	tcase_add_loop_test(tc, what_came_back_can_be_deleted_after_all, 0, 4);
	tcase_add_loop_test(tc, an_xattr_with_two_values_is_settled_for_one_of_them, 0, 8);
	tcase_add_loop_test(tc, values_of_xattrs_with_long_and_like_names_are_all_kept_and_settled_one_by_one, 0, 2);
	tcase_add_loop_test(tc, a_conflict_is_found_by_each_of_its_paths, 0, 8);
	tcase_add_loop_test(tc, a_value_that_waits_is_not_overwritten_by_the_next_one, 0, 2);
	tcase_add_loop_test(tc, a_merge_that_is_dismissed_keeps_nothing, 0, 2);
	tcase_add_loop_test(tc, what_waits_for_a_person_is_not_dismissed, 0, 2);
	tcase_add_loop_test(tc, of_a_deletion_against_a_move_the_row_says_where_it_was_moved_to, 0, 2);
	tcase_add_test(tc, that_each_side_removed_another_of_its_names_is_noted);
	tcase_add_loop_test(tc, of_an_xattr_that_one_side_removed_the_row_says_so, 0, 2);
	tcase_add_loop_test(tc, a_merge_is_taken_apart_into_both_whole_versions, 0, 2);
	tcase_add_loop_test(tc, what_was_written_after_the_merge_is_beside_what_is_taken_apart, 0, 2);
	tcase_add_loop_test(tc, saved_anew_on_both_sides_and_taken_apart_there_are_two_versions_alone, 0, 2);
	tcase_add_loop_test(tc, data_merged_by_ranges_can_be_taken_apart_too, 0, 2);
	tcase_add_loop_test(tc, a_version_that_a_policy_chose_is_taken_apart_from_the_other, 0, 2);
	tcase_add_loop_test(tc, taken_apart_on_both_sides_or_dismissed_on_one_of_them_is_whole, 0, 4);
	tcase_add_loop_test(tc, removing_the_copy_settles_it, 0, 2);
	tcase_add_loop_test(tc, renaming_the_copy_over_the_original_settles_it, 0, 2);
	tcase_add_loop_test(tc, removing_the_original_settles_it, 0, 2);
	tcase_add_loop_test(tc, a_file_that_is_renamed_or_saved_anew_is_followed, 0, 2);
	tcase_add_test(tc, saved_anew_on_both_sides_while_apart_both_sides_agree);
	tcase_add_loop_test(tc, settled_on_one_side_while_the_other_saves_it_anew_it_is_settled, 0, 2);
	tcase_add_loop_test(tc, removing_a_merged_file_or_what_is_kept_of_it_settles_it, 0, 4);
	tcase_add_test(tc, the_secondary_removes_a_file_of_which_the_conflict_is_still_on_its_way);
	tcase_add_test(tc, the_copy_keeps_its_bytes_when_the_secondary_moved_a_name_that_the_primary_took_away);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
