/* SPDX-License-Identifier: MIT */
/*
 * Files saved as editors do, a new one put at the name of the old one, on one side or on both while apart: they are one
 * file wherever their changes are in different lines; each in both roles. And what crosses what on its way.
 */
#include "core/policy.h"
#include "tests/pair_fixture.h"
#include "util/acl.h"

static const char text[] = "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\n";

/* text with a line changed: from, to, at its end NULL. The result stays valid until the fourth call after. */
static const char *with(const char *base, const char *from, const char *to)
{
	static char ring[4][4096];
	static unsigned at;
	char *out = ring[at++ % 4];
	const char *where = strstr(base, from);

	ck_assert_ptr_nonnull(where);
	snprintf(out, sizeof(ring[0]), "%.*s%s%s", (int)(where - base), base, to, where + strlen(from));
	return out;
}

/* How the old file goes; each ends with the new text at the name. */
enum how { RENAMED, UNLINKED, BACKUP, LINKED_BACKUP, EXCHANGED, HOWS };

static bool is_backup(enum how how)
{
	return how == BACKUP || how == LINKED_BACKUP;
}

static void save(int i, const char *name, const char *new_text, enum how how)
{
	char backup[64];

	snprintf(backup, sizeof(backup), "%s~", name);
	px_put(i, "tmp#", new_text);
	switch (how) {
	case UNLINKED: px_unlink(i, name); break;
	case BACKUP: px_rename(i, name, backup); break;
	case LINKED_BACKUP: px_link(i, name, backup); break;
	case EXCHANGED:
		ck_assert_int_eq(volume_rename(px[i].v, INO_ROOT, "tmp#", INO_ROOT, name, RENAME_EXCHANGE), 0);
		px_unlink(i, "tmp#");
		return;
	default: break;
	}
	px_rename(i, "tmp#", name);
}

static unsigned n_notes(const char *kind, const char *outcome)
{
	struct conflict *c;
	unsigned found = 0;
	size_t n;

	ck_assert_int_eq(volume_conflicts(px[0].v, &c, &n), 0);
	for (size_t k = 0; k < n; k++) {
		found += (!kind || strcmp(c[k].kind, kind) == 0) && strcmp(c[k].outcome, outcome) == 0;
		conflict_release(&c[k]);
	}
	free(c);
	return found;
}

static void together(const char *name, const char *first)
{
	px_put(0, name, first);
	px_meet();
	px_down();
}

/* How many files the root of side 0 has with this text. */
static unsigned files_with(const char *want)
{
	struct px_list *l = xmalloc(sizeof(*l));
	unsigned n = 0;

	px_list(0, INO_ROOT, l);
	for (size_t k = 0; k < l->n; k++) {
		struct attr a;

		ck_assert_int_eq(volume_getattr(px[0].v, l->e[k].ino, &a), 0);
		n += S_ISREG(a.mode) && strcmp(px_bytes(0, l->e[k].ino, NULL), want) == 0;
	}
	free(l);
	return n;
}

/* ---- one file comes of it */

START_TEST(a_text_saved_on_both_sides_is_merged_however_each_was_saved)
{
	enum how a = (enum how)(_i / HOWS), b = (enum how)(_i % HOWS);
	const char *want = with(with(text, "two", "ALDER"), "eight", "BIRCH");

	together("f.txt", text);
	save(0, "f.txt", with(text, "two", "ALDER"), a);
	save(1, "f.txt", with(text, "eight", "BIRCH"), b);
	px_meet();
	px_expect("f.txt", want);
	ck_assert_uint_eq(px_count(0, ""), is_backup(a) || is_backup(b) ? 2 : 1);
	ck_assert_uint_eq(n_notes("content", "merged"), 1);
	ck_assert_uint_eq(px_count(0, HIDDEN_NAME), 3); /* both whole versions, and the old one */
	ck_assert_uint_eq(n_notes(NULL, "kept-both"), 0);
}
END_TEST

/* The two had become one, were two again for what it wrote then, and it goes on with that by another name. */
START_TEST(what_is_written_to_a_copy_by_another_name_is_in_the_copy_though_the_first_name_is_gone)
{
	const char *theirs = with(with(text, "two", "OTHER"), "eight", "BIRCH");
	char want[256];

	together("f.txt", text);
	save(0, "f.txt", with(text, "two", "ALDER"), RENAMED);
	save(1, "f.txt", with(text, "eight", "BIRCH"), RENAMED);
	px_hello();
	px_send(1);
	px_link(1, "f.txt", "g.txt");
	px_put(1, "f.txt", theirs);
	px_send(1);
	ck_assert_uint_eq(n_notes("content", "kept-both"), 1);
	px_append(1, "g.txt", "more\n");
	px_unlink(1, "f.txt");
	px_send(0);
	px_meet();
	snprintf(want, sizeof(want), "%smore\n", theirs);
	ck_assert_uint_eq(files_with(want), 1);
}
END_TEST

START_TEST(a_text_saved_on_one_side_and_written_in_place_on_the_other_is_merged)
{
	int saver = _i % 2;
	enum how how = _i / 2 == 0 ? RENAMED : _i / 2 == 1 ? UNLINKED : EXCHANGED;

	together("f.txt", text);
	save(saver, "f.txt", with(text, "two", "saved"), how);
	px_append(!saver, "f.txt", "ten\n");
	px_meet();
	px_expect("f.txt", with(with(text, "two", "saved"), "nine\n", "nine\nten\n"));
	ck_assert_uint_eq(px_count(0, ""), 1);
	ck_assert_uint_eq(n_notes("content", "merged"), 1);
}
END_TEST

START_TEST(lines_that_both_changed_are_two_files)
{
	int saver = _i % 2;

	together("f.txt", text);
	save(saver, "f.txt", with(text, "two", "saved"), RENAMED);
	if (_i < 2)
		save(!saver, "f.txt", with(text, "two", "other"), RENAMED);
	else
		px_put(!saver, "f.txt", with(text, "two", "other"));
	px_meet();
	ck_assert_uint_eq(px_count(0, ""), 2);
	px_expect("f.txt", with(text, "two", saver == 0 ? "saved" : "other"));
	ck_assert_uint_eq(files_with(with(text, "two", "other")) + files_with(with(text, "two", "saved")), 2);
	ck_assert_uint_eq(n_notes("name", "kept-both"), 1);
}
END_TEST

START_TEST(of_two_that_were_saved_apart_a_person_reads_why_and_sees_what_both_had)
{
	int saver = _i % 2;
	struct err err = ERR_INIT;
	struct conflict *c;
	size_t n;

	together("f.txt", text);
	save(saver, "f.txt", with(text, "two", "saved"), RENAMED);
	if (_i < 2)
		save(!saver, "f.txt", with(text, "two", "other"), RENAMED);
	else
		px_put(!saver, "f.txt", with(text, "two", "other"));
	px_meet();
	for (int side = 0; side < 2; side++) {
		ck_assert_int_eq(volume_conflicts(px[side].v, &c, &n), 0);
		ck_assert_uint_eq(n, 1); /* that the old one came back is no news of its own */
		ck_assert_str_eq(c->rule, "the same lines were changed on both sides");
		ck_assert_str_eq(px_bytes(side, c->base, NULL), text);
		conflict_release(c);
		free(c);
	}
	ck_assert_msg(volume_conflict_resolve(px[0].v, "f.txt", 1, &err) == 0, "%s", err.text);
	px_meet();
	px_expect("f.txt", with(text, "two", saver == 1 ? "saved" : "other"));
	ck_assert_uint_eq(px_count(1, ""), 1);
	ck_assert_uint_eq(px_count(1, HIDDEN_NAME), 0);
}
END_TEST

START_TEST(of_several_saves_the_last_counts)
{
	together("f.txt", text);
	for (int k = 0; k < 3; k++) {
		save(0, "f.txt", with(text, "two", k == 2 ? "ALDER" : "draft"), k == 1 ? UNLINKED : RENAMED);
		save(1, "f.txt", with(text, "eight", k == 2 ? "BIRCH" : "draft"), RENAMED);
	}
	px_meet();
	px_expect("f.txt", with(with(text, "two", "ALDER"), "eight", "BIRCH"));
	ck_assert_uint_eq(px_count(0, ""), 1);
}
END_TEST

START_TEST(a_file_renamed_on_the_other_side_has_what_was_saved)
{
	int saver = _i % 2;
	bool written = _i / 2;

	together("f.txt", text);
	save(saver, "f.txt", with(text, "two", "saved"), RENAMED);
	px_rename(!saver, "f.txt", "g.txt");
	if (written)
		px_append(!saver, "g.txt", "ten\n");
	px_meet();
	px_gone("f.txt");
	px_expect("g.txt", with(with(text, "two", "saved"), "nine\n", written ? "nine\nten\n" : "nine\n"));
	ck_assert_uint_eq(px_count(0, ""), 1);
}
END_TEST

START_TEST(a_file_deleted_on_the_other_side_stays_as_saved)
{
	together("f.txt", text);
	save(_i, "f.txt", with(text, "two", "saved"), RENAMED);
	px_unlink(!_i, "f.txt");
	px_meet();
	px_expect("f.txt", with(text, "two", "saved"));
	ck_assert_uint_eq(px_count(0, ""), 1);
}
END_TEST

START_TEST(what_was_kept_as_a_backup_gets_what_was_written_to_it)
{
	int saver = _i % 2;

	together("f.txt", text);
	save(saver, "f.txt", with(text, "two", "saved"), _i / 2 ? LINKED_BACKUP : BACKUP);
	px_append(!saver, "f.txt", "ten\n");
	px_meet();
	px_expect("f.txt", with(with(text, "two", "saved"), "nine\n", "nine\nten\n"));
	px_expect("f.txt~", with(text, "nine\n", "nine\nten\n"));
	ck_assert_uint_eq(n_notes("move", "merged"), 1);
	ck_assert_uint_eq(n_notes("content", "merged"), 1);
	/* It goes on as one file, from either side; and can be taken apart. */
	px_down();
	px_write(_i % 2, "f.txt", "ONE", 3, 0);
	px_append(!(_i % 2), "f.txt", "eleven\n");
	px_meet();
	px_expect("f.txt", with(with(with(text, "one", "ONE"), "two", "saved"), "nine\n", "nine\nten\neleven\n"));
}
END_TEST

START_TEST(a_backup_that_was_written_to_is_taken_apart_from_what_was_saved)
{
	int saver = _i % 2;
	struct err err = ERR_INIT;

	together("f.txt", text);
	save(saver, "f.txt", with(text, "two", "saved"), BACKUP);
	px_append(!saver, "f.txt", "ten\n");
	px_meet();
	ck_assert_msg(volume_conflict_split(px[_i / 2].v, "f.txt", &err) == 0, "%s", err.text);
	px_meet();
	ck_assert_uint_eq(files_with(with(text, "two", "saved")), 1);
	ck_assert_uint_eq(files_with(with(text, "nine\n", "nine\nten\n")), 2);
	ck_assert_uint_eq(px_count(0, ""), 3);
}
END_TEST

/* Lines that both changed are in one file each. */
START_TEST(a_backup_that_was_written_to_where_it_was_saved_stays_apart)
{
	int saver = _i % 2;

	together("f.txt", text);
	save(saver, "f.txt", with(text, "two", "saved"), _i / 2 ? LINKED_BACKUP : BACKUP);
	px_write(!saver, "f.txt", "TWO", 3, 4);
	px_meet();
	px_expect("f.txt", with(text, "two", "saved"));
	px_expect("f.txt~", with(text, "two", "TWO"));
	ck_assert_uint_eq(px_count(0, ""), 2);
	ck_assert_uint_eq(n_notes("content", "merged"), 0);
}
END_TEST

START_TEST(a_file_with_another_name_lives_on_there)
{
	together("f.txt", text);
	px_link(0, "f.txt", "other");
	px_meet();
	px_down();
	save(0, "f.txt", with(text, "two", "ALDER"), RENAMED);
	save(1, "f.txt", with(text, "eight", "BIRCH"), RENAMED);
	px_meet();
	px_expect("f.txt", with(with(text, "two", "ALDER"), "eight", "BIRCH"));
	px_expect("other", text);
	ck_assert_uint_eq(px_count(0, ""), 2);
}
END_TEST

/* ---- kinds of files, and policies */

START_TEST(a_log_saved_on_one_side_and_appended_on_the_other_has_both)
{
	together("f.log", text);
	save(_i, "f.log", with(text, "nine\n", "nine\nsaved\n"), RENAMED);
	px_append(!_i, "f.log", "appended\n");
	px_meet();
	px_expect("f.log", with(text, "nine\n", _i == 0 ? "nine\nsaved\nappended\n" : "nine\nappended\nsaved\n"));
	ck_assert_uint_eq(px_count(0, ""), 1);
}
END_TEST

static char data[3][8200]; /* base, side 0's, side 1's */

static void save_data(int i, size_t len)
{
	px_make(i, "tmp#", S_IFREG | 0644);
	px_write(i, "tmp#", data[i + 1], len, 0);
	px_rename(i, "tmp#", "f.bin");
}

static void data_together(void)
{
	for (size_t k = 0; k < sizeof(data[0]); k++)
		data[0][k] = data[1][k] = data[2][k] = (char)(k * 7 % 251);
	px_make(0, "f.bin", S_IFREG | 0644);
	px_write(0, "f.bin", data[0], 8192, 0);
	px_meet();
	px_down();
}

static void expect_data(const char *want, size_t len)
{
	for (int i = 0; i < 2; i++) {
		size_t got;
		const char *p = px_bytes(i, px_at(i, "f.bin"), &got);

		ck_assert_uint_eq(got, len);
		ck_assert_mem_eq(p, want, len);
	}
}

START_TEST(data_saved_with_changes_in_different_places_has_both)
{
	data_together();
	memcpy(data[1] + 100, "\1ALDER\2", 7);
	memcpy(data[2] + 6000, "\1BIRCH\2", 7);
	if (_i != 1)
		save_data(0, 8192);
	else
		px_write(0, "f.bin", data[1] + 100, 7, 100);
	if (_i != 2)
		save_data(1, 8192);
	else
		px_write(1, "f.bin", data[2] + 6000, 7, 6000);
	px_meet();
	memcpy(data[0] + 100, "\1ALDER\2", 7);
	memcpy(data[0] + 6000, "\1BIRCH\2", 7);
	expect_data(data[0], 8192);
	ck_assert_uint_eq(px_count(0, ""), 1);
	ck_assert_uint_eq(n_notes("content", "merged"), 1);
}
END_TEST

/* Of "1000" and "1009" one byte differs, and yet it is one value: what the other side wrote over a part of it is not
 * put together with the rest. What is farther away, or was added at the end, is. */
START_TEST(a_value_saved_anew_is_not_mixed_with_what_was_written_over_a_part_of_it)
{
	static const struct {
		uint64_t off;
		unsigned files;
	} writes[] = { { 106, 2 }, { 92, 2 }, { 113, 2 }, { 87, 2 }, { 86, 1 }, { 121, 1 }, { 8192, 1 } };
	int saver = _i % 2;
	uint64_t off = writes[_i / 2].off;

	data_together();
	data[saver + 1][105] ^= 1;
	memset(data[!saver + 1] + off, 0xfe, off == 8192 ? 1 : 4);
	save_data(saver, 8192);
	px_write(!saver, "f.bin", data[!saver + 1] + off, off == 8192 ? 1 : 4, off);
	px_meet();
	ck_assert_uint_eq(px_count(0, ""), writes[_i / 2].files);
	if (writes[_i / 2].files == 2) {
		expect_data(data[1], 8192);
		ck_assert_uint_eq(n_notes("name", "kept-both"), 1);
		return;
	}
	data[!saver + 1][105] ^= 1;
	expect_data(data[!saver + 1], off == 8192 ? 8193 : 8192);
}
END_TEST

/* What one side shifted is all changed, however much of it is equal by chance. */
START_TEST(data_shifted_on_one_side_is_not_mixed_with_a_change_behind_it)
{
	data_together();
	memmove(data[1] + 1, data[1], 8192);
	memcpy(data[2] + 6000, "\1BIRCH\2", 7);
	save_data(0, 8193);
	save_data(1, 8192);
	px_meet();
	expect_data(data[1], 8193);
	ck_assert_uint_eq(px_count(0, ""), 2);
}
END_TEST

/* What was added to the end of the old one does not go behind the end of a shorter one, with zeros between them. */
START_TEST(data_saved_shorter_is_not_mixed_with_what_was_added_at_the_end)
{
	int saver = _i % 2;

	data_together();
	memset(data[!saver + 1] + 8192, 0xfe, 4);
	save_data(saver, 8000);
	if (_i < 2)
		px_write(!saver, "f.bin", data[!saver + 1] + 8192, 4, 8192);
	else
		save_data(!saver, 8196);
	px_meet();
	expect_data(data[1], saver == 0 ? 8000 : 8196);
	ck_assert_uint_eq(px_count(0, ""), 2);
}
END_TEST

START_TEST(what_has_parts_that_depend_on_each_other_stays_two_files)
{
	static char zip[2][200] = { "PK\3\4", "PK\3\4" };

	px_make(0, "f.zip", S_IFREG | 0644);
	px_write(0, "f.zip", zip[0], sizeof(zip[0]), 0);
	px_meet();
	px_down();
	for (int i = 0; i < 2; i++) {
		zip[i][100 + 50 * i] = 'x';
		px_make(i, "tmp#", S_IFREG | 0644);
		px_write(i, "tmp#", zip[i], sizeof(zip[i]), 0);
		px_rename(i, "tmp#", "f.zip");
	}
	px_meet();
	ck_assert_uint_eq(px_count(0, ""), 2);
}
END_TEST

START_TEST(a_policy_decides_about_saves_as_about_any_other_change)
{
	struct err err = ERR_INIT;

	together("f.txt", text);
	ck_assert_int_eq(volume_policy_set(px[0].v, "*.txt", _i ? "primary" : "keep-both", &err), 0);
	px_meet();
	px_down();
	save(0, "f.txt", with(text, "two", "ALDER"), RENAMED);
	save(1, "f.txt", with(text, "eight", "BIRCH"), RENAMED);
	px_meet();
	px_expect("f.txt", with(text, "two", "ALDER"));
	ck_assert_uint_eq(px_count(0, ""), _i ? 1 : 2);
	ck_assert_uint_eq(n_notes("content", "primary"), _i ? 1 : 0);
}
END_TEST

START_TEST(a_save_that_changed_nothing_gives_way_whatever_the_file_is)
{
	data_together();
	memcpy(data[1] + 1, "ELF", 3);
	data[1][0] = 0x7f;
	if (_i % 2) {
		memcpy(data[2], data[1], sizeof(data[2]));
		memcpy(data[1], data[0], sizeof(data[1]));
	}
	save_data(0, 8192);
	save_data(1, 8192);
	px_meet();
	expect_data(data[1 + _i % 2], 8192);
	ck_assert_uint_eq(px_count(0, ""), 1);
	ck_assert_uint_eq(n_notes(NULL, "kept-both") + n_notes(NULL, "merged"), 0);
}
END_TEST

START_TEST(another_type_in_its_place_is_no_save)
{
	together("f.txt", text);
	save(0, "f.txt", with(text, "two", "ALDER"), RENAMED);
	px_unlink(1, "f.txt");
	px_make(1, "f.txt", _i ? S_IFLNK | 0777 : S_IFDIR | 0755);
	px_meet();
	ck_assert_uint_eq(px_count(0, ""), 2);
	px_expect("f.txt", with(text, "two", "ALDER"));
}
END_TEST

/* ---- attributes */

START_TEST(attributes_are_measured_against_the_old_file_s)
{
	int saver = _i % 2;

	together("f.txt", text);
	px_setxattr(0, "f.txt", "user.old", "base");
	px_setxattr(0, "f.txt", "user.kept", "base");
	px_meet();
	px_down();
	save(saver, "f.txt", with(text, "two", "saved"), RENAMED);
	px_setxattr(saver, "f.txt", "user.kept", "base");
	px_setxattr(saver, "f.txt", "user.saver", "1");
	px_set(!saver, "f.txt", SET_MODE, (struct attr){ .mode = 0600 });
	px_setxattr(!saver, "f.txt", "user.kept", "changed");
	px_setxattr(!saver, "f.txt", "user.other", "2");
	if (_i / 2)
		px_append(!saver, "f.txt", "ten\n");
	px_meet();
	ck_assert_uint_eq(px_count(0, ""), 1);
	for (int i = 0; i < 2; i++) {
		ck_assert_uint_eq(px_stat(i, "f.txt").mode & 07777, 0600);
		ck_assert_ptr_null(px_xattr(i, "f.txt", "user.old")); /* the saver did not take it along */
		ck_assert_str_eq(px_xattr(i, "f.txt", "user.kept"), "changed");
		ck_assert_str_eq(px_xattr(i, "f.txt", "user.saver"), "1");
		ck_assert_str_eq(px_xattr(i, "f.txt", "user.other"), "2");
	}
}
END_TEST

/* Read and write for the owner, user 7, the group, the mask; nothing for others. */
static const uint8_t acl_of_saver[44] = { 2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 6, 0, 7, 0, 0, 0,
	4, 0, 6, 0, 255, 255, 255, 255, 16, 0, 6, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255 };

START_TEST(the_mode_of_one_side_and_the_acl_of_the_other_s_save_agree)
{
	int saver = _i % 2;
	uint8_t acl[ACL_MAX_BYTES];

	together("f.txt", text);
	save(saver, "f.txt", with(text, "two", "saved"), RENAMED);
	ck_assert_int_eq(volume_setxattr(px[saver].v, px_at(saver, "f.txt"), ACL_ACCESS_KEY, acl_of_saver,
		sizeof(acl_of_saver), 0), 0);
	px_set(!saver, "f.txt", SET_MODE, (struct attr){ .mode = 0600 });
	if (_i / 2)
		px_append(!saver, "f.txt", "ten\n");
	px_meet();
	for (int i = 0; i < 2; i++) {
		uint32_t mode = px_stat(i, "f.txt").mode;
		ssize_t n = volume_getxattr(px[i].v, px_at(i, "f.txt"), ACL_ACCESS_KEY, acl, sizeof(acl));

		ck_assert_msg(n == -ENODATA || (n > 0 && acl_mode(acl, (size_t)n, mode) == mode), "mode %o, ACL %zd",
			      mode, n);
	}
}
END_TEST

START_TEST(of_two_values_both_are_there)
{
	together("f.txt", text);
	save(0, "f.txt", with(text, "two", "ALDER"), RENAMED);
	px_setxattr(0, "f.txt", "user.k", "alder");
	px_set(0, "f.txt", SET_MODE, (struct attr){ .mode = 0600 });
	save(1, "f.txt", with(text, "eight", "BIRCH"), RENAMED);
	px_setxattr(1, "f.txt", "user.k", "birch");
	px_set(1, "f.txt", SET_MODE, (struct attr){ .mode = 0640 });
	px_meet();
	for (int i = 0; i < 2; i++) {
		ck_assert_str_eq(px_xattr(i, "f.txt", "user.k"), "alder");
		ck_assert_str_eq(px_xattr(i, "f.txt", "user.twinfs.conflict.k"), "birch");
		ck_assert_uint_eq(px_stat(i, "f.txt").mode & 07777, 0600);
	}
	ck_assert_uint_eq(n_notes("xattr", "primary"), 1);
	ck_assert_uint_eq(n_notes("attribute", "primary"), 1);
}
END_TEST

/* ---- what crosses on its way */

/* The secondary goes on before it hears of the merge: it writes on, saves again, renames or deletes. */
START_TEST(what_the_secondary_does_before_it_hears_of_the_merge_is_merged_too)
{
	const char *theirs = with(text, "eight", "BIRCH");

	together("f.txt", text);
	save(0, "f.txt", with(text, "two", "ALDER"), RENAMED);
	px_put(0, "held.txt", "held");
	if (_i % 2)
		save(1, "f.txt", theirs, RENAMED);
	else
		px_put(1, "f.txt", theirs);
	px_hello();
	if (_i / 2 != 2)
		px_say(0); /* on its way from before the merge */
	px_send(1);
	switch (_i / 2) {
	case 0: px_append(1, "f.txt", "ten\n"); break;
	case 1: save(1, "f.txt", with(theirs, "nine\n", "nine\nten\n"), RENAMED); break;
	case 2: px_rename(1, "f.txt", "g.txt"); break;
	}
	if (_i >= 6) { /* both go on */
		px_put(0, "f.txt", with(with(text, "two", "ALDER"), "eight", "BIRCH"));
		px_write(0, "f.txt", "ONE", 3, 0);
		px_append(1, "f.txt", "ten\n");
	}
	px_send(1);
	px_meet();
	ck_assert_uint_eq(px_count(0, ""), 2);
	px_expect(_i / 2 == 2 ? "g.txt" : "f.txt",
		  _i / 2 == 2 ? with(with(text, "two", "ALDER"), "eight", "BIRCH")
		  : _i >= 6   ? with(with(with(with(text, "one", "ONE"), "two", "ALDER"), "eight", "BIRCH"), "nine\n",
				     "nine\nten\n")
			      : with(with(with(text, "two", "ALDER"), "eight", "BIRCH"), "nine\n", "nine\nten\n"));
}
END_TEST

/* The writer, and then the saver, goes on before it hears of the merge. */
START_TEST(what_is_written_to_a_backup_on_and_on_is_in_what_was_saved)
{
	int saver = _i % 2;
	const char *saved = with(text, "two", "saved");

	together("f.txt", text);
	save(saver, "f.txt", saved, BACKUP);
	px_append(!saver, "f.txt", "ten\n");
	px_hello();
	px_send(1);
	if (_i / 2)
		px_write(1, "f.txt", "SIX", 3, saver ? 26 : 24);
	else
		px_append(1, "f.txt", "eleven\n");
	px_send(1);
	px_meet();
	if (_i / 2)
		ck_assert_uint_eq(files_with(with(with(with(text, "six", "SIX"), "two", "saved"), "nine\n",
						  "nine\nten\n")), 1);
	else if (saver == 0)
		px_expect("f.txt", with(saved, "nine\n", "nine\nten\neleven\n"));
	else /* both appended to what the other had not seen: an overlap */
		ck_assert_uint_eq(files_with(with(saved, "nine\n", "nine\neleven\n")), 1);
}
END_TEST

/* Whoever speaks first. */
START_TEST(who_hears_of_the_other_s_save_first_does_not_matter)
{
	together("f.txt", text);
	if (_i & 1)
		px_append(0, "f.txt", "ten\n");
	else
		save(0, "f.txt", with(text, "nine\n", "nine\nten\n"), RENAMED);
	if (_i & 2)
		px_write(1, "f.txt", "ONE", 3, 0);
	else
		save(1, "f.txt", with(text, "one", "ONE"), RENAMED);
	px_hello();
	px_send(_i < 4);
	px_send(_i >= 4);
	px_meet();
	ck_assert_uint_eq(px_count(0, ""), 1);
	px_expect("f.txt", with(with(text, "one", "ONE"), "nine\n", "nine\nten\n"));
}
END_TEST

START_TEST(the_primary_saves_again_before_the_secondary_hears_of_the_merge)
{
	together("f.txt", text);
	save(0, "f.txt", with(text, "two", "ALDER"), RENAMED);
	if (_i)
		save(1, "f.txt", with(text, "eight", "BIRCH"), RENAMED);
	else
		px_put(1, "f.txt", with(text, "eight", "BIRCH"));
	px_hello();
	px_send(1);
	save(0, "f.txt", with(with(with(text, "two", "ALDER"), "eight", "BIRCH"), "one", "ONE"), RENAMED);
	px_append(1, "f.txt", "ten\n");
	px_send(1);
	px_meet();
	ck_assert_uint_eq(px_count(0, ""), 1);
	px_expect("f.txt", with(with(with(with(text, "one", "ONE"), "two", "ALDER"), "eight", "BIRCH"), "nine\n",
				"nine\nten\n"));
}
END_TEST

/* What the secondary has of it is then in the old file, which is gone here. */
START_TEST(the_primary_saves_what_was_merged_by_ranges_while_the_secondary_writes_on)
{
	data_together();
	px_write(0, "f.bin", "\1ALDER\2", 7, 100);
	px_write(1, "f.bin", "\1BIRCH\2", 7, 6000);
	px_hello();
	px_send(1);
	memcpy(data[1] + 100, "\1ALDER\2", 7);
	memcpy(data[1] + 6000, "\1BIRCH\2", 7);
	memcpy(data[1] + 300, "\1AGAIN\2", 7);
	save_data(0, 8192);
	px_write(1, "f.bin", "\1MORE\2", 6, 7000);
	px_send(1);
	px_meet();
	memcpy(data[1] + 7000, "\1MORE\2", 6);
	expect_data(data[1], 8192);
	ck_assert_uint_eq(px_count(0, ""), 1);
}
END_TEST

START_TEST(the_primary_deletes_the_merged_file_while_the_secondary_writes_on)
{
	together("f.txt", text);
	save(0, "f.txt", with(text, "two", "ALDER"), RENAMED);
	save(1, "f.txt", with(text, "eight", "BIRCH"), RENAMED);
	px_hello();
	px_send(1);
	px_unlink(0, "f.txt");
	px_append(1, "f.txt", "ten\n");
	px_meet();
	px_expect("f.txt", with(with(text, "eight", "BIRCH"), "nine\n", "nine\nten\n"));
}
END_TEST

/* As it was before saves were merged too: what is equal becomes one, and the secondary goes on with its own. */
START_TEST(what_is_written_to_an_equal_file_after_it_became_one_is_not_lost)
{
	together("other", "x");
	px_put(0, "same", "same\n");
	px_put(1, "same", "same\n");
	px_hello();
	px_send(1); /* one */
	if (_i % 2)
		px_unlink(0, "same");
	px_append(1, "same", "more\n");
	if (_i / 2) {
		px_send(0);
		px_send(1);
	}
	px_meet();
	px_expect("same", "same\nmore\n");
}
END_TEST

/*
 * The secondary keeps the old file of a save by a name that the primary has not heard of, and sends it whole for that:
 * what it saw by then is no word about the bytes of the save. Where those are the old file's there is nothing to keep.
 */
START_TEST(an_old_file_that_is_sent_whole_does_not_undo_the_save)
{
	const char *saved = with(text, "two", "saved");

	together("f.txt", text);
	save(0, "f.txt", saved, RENAMED);
	px_rename(1, "f.txt", "g.txt");
	px_hello();
	px_send(1);
	px_link(1, "g.txt", "d.txt");
	if (_i)
		px_append(1, "d.txt", "ten\n");
	px_send(0);
	px_meet();
	ck_assert_uint_ge(files_with(saved) + files_with(with(saved, "nine\n", "nine\nten\n")), 1);
}
END_TEST

START_TEST(an_old_file_that_is_sent_whole_and_equal_to_the_save_is_one_with_it)
{
	together("f.txt", text);
	save(0, "f.txt", text, RENAMED);
	px_rename(1, "f.txt", "g.txt");
	px_hello();
	px_send(1);
	px_link(1, "g.txt", "d.txt");
	px_send(0);
	px_meet();
	px_expect("g.txt", text);
	px_expect("d.txt", text);
	ck_assert_uint_eq(px_count(0, ""), 2);
	ck_assert_uint_eq(n_notes(NULL, "kept-both"), 0);
}
END_TEST

/* Of the one file the secondary's old name of it is told once more: what it has there is nothing newer by that. */
START_TEST(what_the_primary_wrote_to_the_one_file_is_not_undone_by_a_link_to_the_save)
{
	struct attr a = { .uid = 7 };

	px_put(1, "f.txt", "");
	px_hello();
	px_send(1);
	px_say(0);
	px_setxattr(0, "f.txt", "user.k", "v");
	save(1, "f.txt", "one\n", RENAMED);
	px_send(1);
	px_hear(0);
	ck_assert_int_eq(volume_setattr(px[1].v, px_at(1, "f.txt"), SET_UID, &a, &a), 0);
	px_say(1);
	px_say(0);
	px_link(1, "f.txt", "h.txt");
	px_hear(0);
	px_write(0, "f.txt", "two\n", 4, 4);
	px_hear(1);
	px_send(1);
	px_meet();
	ck_assert_uint_ge(files_with("one\ntwo\n"), 1);
}
END_TEST

/* Both kept the old file at one name, by links of their own. The secondary has not seen what is written to it. */
START_TEST(a_backup_that_the_secondary_replaces_keeps_what_the_primary_wrote)
{
	together("f.txt", text);
	save(0, "f.txt", with(text, "two", "ALDER"), BACKUP);
	save(1, "f.txt", with(text, "eight", "BIRCH"), LINKED_BACKUP);
	px_write(0, "f.txt~", "ONE", 3, 0);
	px_hello();
	px_say(1);
	save(1, "f.txt~", "another\n", RENAMED);
	px_hear(1);
	px_send(0);
	px_meet();
	ck_assert_uint_eq(files_with(with(text, "one", "ONE")), 1);
	ck_assert_uint_eq(files_with("another\n"), 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("engine saves");
	TCase *one = tcase_create("one file"), *kinds = tcase_create("kinds"), *attrs = tcase_create("attributes"),
	      *cross = tcase_create("crossing");

	tcase_add_checked_fixture(one, px_setup, px_teardown);
	tcase_set_timeout(one, 60);
	tcase_add_loop_test(one, a_text_saved_on_both_sides_is_merged_however_each_was_saved, 0, HOWS * HOWS);
	tcase_add_test(one, what_is_written_to_a_copy_by_another_name_is_in_the_copy_though_the_first_name_is_gone);
	tcase_add_loop_test(one, a_text_saved_on_one_side_and_written_in_place_on_the_other_is_merged, 0, 6);
	tcase_add_loop_test(one, lines_that_both_changed_are_two_files, 0, 4);
	tcase_add_loop_test(one, of_two_that_were_saved_apart_a_person_reads_why_and_sees_what_both_had, 0, 4);
	tcase_add_test(one, of_several_saves_the_last_counts);
	tcase_add_loop_test(one, a_file_renamed_on_the_other_side_has_what_was_saved, 0, 4);
	tcase_add_loop_test(one, a_file_deleted_on_the_other_side_stays_as_saved, 0, 2);
	tcase_add_loop_test(one, what_was_kept_as_a_backup_gets_what_was_written_to_it, 0, 4);
	tcase_add_loop_test(one, a_backup_that_was_written_to_is_taken_apart_from_what_was_saved, 0, 4);
	tcase_add_loop_test(one, a_backup_that_was_written_to_where_it_was_saved_stays_apart, 0, 4);
	tcase_add_test(one, a_file_with_another_name_lives_on_there);
	suite_add_tcase(s, one);
	tcase_add_checked_fixture(kinds, px_setup, px_teardown);
	tcase_add_loop_test(kinds, a_log_saved_on_one_side_and_appended_on_the_other_has_both, 0, 2);
	tcase_add_loop_test(kinds, data_saved_with_changes_in_different_places_has_both, 0, 3);
	tcase_add_loop_test(kinds, a_value_saved_anew_is_not_mixed_with_what_was_written_over_a_part_of_it, 0, 14);
	tcase_add_loop_test(kinds, data_saved_shorter_is_not_mixed_with_what_was_added_at_the_end, 0, 4);
	tcase_add_test(kinds, data_shifted_on_one_side_is_not_mixed_with_a_change_behind_it);
	tcase_add_test(kinds, what_has_parts_that_depend_on_each_other_stays_two_files);
	tcase_add_loop_test(kinds, a_policy_decides_about_saves_as_about_any_other_change, 0, 2);
	tcase_add_loop_test(kinds, a_save_that_changed_nothing_gives_way_whatever_the_file_is, 0, 2);
	tcase_add_loop_test(kinds, another_type_in_its_place_is_no_save, 0, 2);
	suite_add_tcase(s, kinds);
	tcase_add_checked_fixture(attrs, px_setup, px_teardown);
	tcase_add_loop_test(attrs, attributes_are_measured_against_the_old_file_s, 0, 4);
	tcase_add_loop_test(attrs, the_mode_of_one_side_and_the_acl_of_the_other_s_save_agree, 0, 4);
	tcase_add_test(attrs, of_two_values_both_are_there);
	suite_add_tcase(s, attrs);
	tcase_add_checked_fixture(cross, px_setup, px_teardown);
	tcase_add_loop_test(cross, what_the_secondary_does_before_it_hears_of_the_merge_is_merged_too, 0, 8);
	tcase_add_loop_test(cross, what_is_written_to_a_backup_on_and_on_is_in_what_was_saved, 0, 4);
	tcase_add_loop_test(cross, who_hears_of_the_other_s_save_first_does_not_matter, 0, 8);
	tcase_add_loop_test(cross, the_primary_saves_again_before_the_secondary_hears_of_the_merge, 0, 2);
	tcase_add_test(cross, the_primary_saves_what_was_merged_by_ranges_while_the_secondary_writes_on);
	tcase_add_test(cross, the_primary_deletes_the_merged_file_while_the_secondary_writes_on);
	tcase_add_loop_test(cross, what_is_written_to_an_equal_file_after_it_became_one_is_not_lost, 0, 4);
	tcase_add_loop_test(cross, an_old_file_that_is_sent_whole_does_not_undo_the_save, 0, 2);
	tcase_add_test(cross, what_the_primary_wrote_to_the_one_file_is_not_undone_by_a_link_to_the_save);
	tcase_add_test(cross, a_backup_that_the_secondary_replaces_keeps_what_the_primary_wrote);
	tcase_add_test(cross, an_old_file_that_is_sent_whole_and_equal_to_the_save_is_one_with_it);
	suite_add_tcase(s, cross);
	return tap_main(s);
}
