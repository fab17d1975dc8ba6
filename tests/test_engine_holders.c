/* SPDX-License-Identifier: MIT */
/*
 * All short histories of a file that programs on both sides have open while both change it: words, of which each letter
 * is something that a side does, says or hears. Whatever the order, what a program wrote is in what it has open at the
 * end, with its own side's version and nothing of the other's in its place; nothing that anybody wrote is lost, and
 * both sides are equal.
 *
 * TWINFS_HOLDERS=KIND:PREFIX:LETTERS:LENGTH runs others than those below, KIND 0 a text, 1 data: all words of so many
 * of the letters behind the prefix, each in a process of its own, and tells of those that fail. Without LENGTH: one.
 */
#include <sys/wait.h>

#include "sync/roles.h"
#include "tests/pair_fixture.h"

/* A text is merged by lines, data by ranges. */
static const char text[] = "top\n1\n2\n3\n4\n5\n6\n7\nend\n",
		  data[] = "top\x8f\x01\x9e\x02\n1\n2\n3\n4\n5\n6\n7\nend\n";

struct held {
	uint64_t ino;
	unsigned wrote[32];
	size_t n;
	bool is_gone; /* this side itself removed it, or replaced it */
};

static struct held held[2];
static unsigned n_lines; /* each is like no other, and nobody writes over one */
static unsigned in_flight[2];
static bool all_named;

static void on_notice(void *ctx, const struct notice *list, size_t n)
{
	struct held *h = ctx;

	for (size_t i = 0; i < n; i++)
		if (list[i].kind == NOTICE_MOVED && list[i].ino == h->ino)
			h->ino = list[i].to;
}

static void line_text(unsigned k, char buf[16])
{
	snprintf(buf, 16, "line%u.\n", k);
}

static bool append(int i, uint64_t ino)
{
	char line[16];

	line_text(++n_lines, line);
	return volume_write(px[i].v, ino, line, strlen(line), 0, WRITE_APPEND, NULL) == (ssize_t)strlen(line);
}

static void hold(int i, const char *path)
{
	held[i] = (struct held){ .ino = px_at(i, path) };
	volume_ref(px[i].v, held[i].ino);
	volume_set_notice(px[i].v, on_notice, NULL, &held[i]);
}

static bool holder_writes(int i)
{
	if (held[i].is_gone || held[i].n == ARRAY_LEN(held[i].wrote) || !append(i, held[i].ino))
		return false;
	held[i].wrote[held[i].n++] = n_lines;
	return true;
}

/* ---- what somebody does: false: it cannot be done now ---- */

/* The copy of the secondary's version: the first in order of name. */
static const char *copy(int i)
{
	static char name[NAME_MAX_BYTES + 1];
	struct px_list *l = xmalloc(sizeof(*l));

	name[0] = '\0';
	px_list(i, INO_ROOT, l);
	for (size_t k = 0; k < l->n && !name[0]; k++)
		if (strstr(l->e[k].name, ".conflict-"))
			snprintf(name, sizeof(name), "%s", l->e[k].name);
	free(l);
	return name;
}

static bool append_at(int i, const char *path)
{
	return *path && px_at(i, path) && append(i, px_at(i, path));
}

/* One of the digits. */
static bool change_in(int i, const char *path, char digit, char to)
{
	uint64_t ino = *path ? px_at(i, path) : 0;
	const char *now = ino ? px_bytes(i, ino, NULL) : "", *at = strchr(now, digit);

	if (!at || at[1] != '\n')
		return false;
	px_write(i, path, &to, 1, (uint64_t)(at - now));
	return true;
}

static bool rename_it(int i, const char *from, const char *to)
{
	if (!*from || !px_at(i, from) || px_at(i, to))
		return false;
	px_rename(i, from, to);
	return true;
}

static bool remove_it(int i, const char *path)
{
	if (!*path || !px_at(i, path))
		return false;
	all_named = false;
	held[i].is_gone |= px_at(i, path) == held[i].ino;
	px_unlink(i, path);
	return true;
}

/* As an editor does, with all that was there and a line more. */
static bool save_it(int i, const char *path)
{
	char all[4096], line[16];

	if (!*path || !px_at(i, path))
		return false;
	line_text(++n_lines, line);
	snprintf(all, sizeof(all), "%s%s", px_bytes(i, px_at(i, path), NULL), line);
	px_put(i, "tmp#", all);
	held[i].is_gone |= px_at(i, path) == held[i].ino;
	px_rename(i, "tmp#", path);
	return true;
}

static bool says(int i)
{
	size_t n = 0;

	if (!px_is_up || in_flight[i] == 2)
		return false;
	for (int look = 0; look < 2 && n == 0; look++) {
		px_now_ms += 50;
		n = px_talk(i);
	}
	in_flight[i] += n > 0;
	return n > 0;
}

static bool is_heard(int i)
{
	if (!px_is_up || in_flight[i] == 0)
		return false;
	in_flight[i]--;
	px_hear(i);
	return true;
}

static bool take_over(int i)
{
	struct volume_info info;
	struct err err = ERR_INIT;

	volume_info(px[i].v, &info);
	if (info.role != ROLE_SECONDARY)
		return false;
	px_down();
	in_flight[0] = in_flight[1] = 0;
	ck_assert_int_eq(volume_commit(px[i].v), 0);
	if (roles_take_over(px[i].v, &err) != 0)
		return false;
	px_up();
	px_talk(0);
	px_talk(1);
	ck_assert_int_eq(px_deliver(!i, &err), 0);
	ck_assert_int_eq(px_deliver(i, &err), -EAGAIN);
	px_down();
	return true;
}

static bool come_up(void)
{
	if (!px_is_up)
		px_hello();
	return true;
}

static bool go_down(void)
{
	if (!px_is_up)
		return false;
	px_down();
	in_flight[0] = in_flight[1] = 0;
	return true;
}

static bool act(char letter)
{
	switch (letter) {
	case 'w': return holder_writes(1);
	case 'W': return holder_writes(0);
	case 's': return says(1);
	case 'h': return is_heard(1);
	case 'S': return says(0);
	case 'H': return is_heard(0);
	case 'a': return append_at(1, "f");
	case 'A': return append_at(0, "f");
	case 'b': return change_in(1, "f", '1', 'b');
	case 'B': return change_in(0, "f", '3', 'B');
	case 'k': return append_at(1, copy(1));
	case 'K': return append_at(0, copy(0));
	case 'c': return change_in(1, copy(1), '5', 'c');
	case 'C': return change_in(0, copy(0), '7', 'C');
	case 'm': return rename_it(1, "f", "m");
	case 'M': return rename_it(0, "f", "M");
	case 'n': return rename_it(1, copy(1), "n");
	case 'N': return rename_it(0, copy(0), "N");
	case 'd': return remove_it(1, "f");
	case 'D': return remove_it(0, "f");
	case 'e': return remove_it(1, copy(1));
	case 'E': return remove_it(0, copy(0));
	case 'v': return save_it(1, "f");
	case 'V': return save_it(0, "f");
	case 'r': return take_over(1) && come_up();
	case 'R': return take_over(0) && come_up();
	case 'x': return go_down() && come_up();
	}
	ck_abort_msg("no such letter: %c", letter);
	return false;
}

/* Before the word both had the file, and each has changed the same bytes of it. */
enum begin { TEXT, DATA };

/* ---- what must be so at the end ---- */

static bool is_in(int i, uint64_t ino, const char *line)
{
	size_t len;
	const char *now = px_bytes(i, ino, &len);

	return memmem(now, len, line, strlen(line)) != NULL;
}

/* Nothing that anybody wrote has zeros in it. */
static bool is_whole(int i, uint64_t dir)
{
	struct px_list *l = xmalloc(sizeof(*l));
	bool whole = true;
	size_t len;

	px_list(i, dir, l);
	for (size_t k = 0; k < l->n && whole; k++) {
		struct attr a;

		ck_assert_int_eq(volume_getattr(px[i].v, l->e[k].ino, &a), 0);
		whole = !S_ISREG(a.mode) || strlen(px_bytes(i, l->e[k].ino, &len)) == len;
	}
	free(l);
	return whole;
}

static bool is_there(int i, uint64_t dir, const char *line)
{
	struct px_list *l = xmalloc(sizeof(*l));
	bool found = false;

	px_list(i, dir, l);
	for (size_t k = 0; k < l->n && !found; k++)
		found = is_in(i, l->e[k].ino, line);
	free(l);
	return found;
}

static void expect(bool so, const char *word, int i, const char *what, const char *line)
{
	if (!so)
		fprintf(stderr, "# %s: side %d %s %s", word, i, what, line); /* whoever forked does not hear of it */
	ck_assert_msg(so, "%s: side %d %s %s", word, i, what, line);
}

static void check(const char *word)
{
	char line[16];

	for (unsigned k = 1; k <= n_lines && all_named; k++)
		for (int i = 0; i < 2; i++) {
			line_text(k, line);
			expect(is_there(i, INO_ROOT, line) || is_there(i, INO_HIDDEN, line), word, i, "lost", line);
		}
	expect(is_whole(0, INO_ROOT) && is_whole(0, INO_HIDDEN), word, 0, "has zeros in a file", "\n");
	for (int i = 0; i < 2; i++) {
		size_t len;
		const char *now;

		if (held[i].is_gone)
			continue;
		now = px_bytes(i, held[i].ino, &len);
		expect(now[0] == "PS"[i], word, i, "has open another version than its own", "\n");
		expect(strlen(now) == len, word, i, "has zeros in what is open", "\n");
		for (size_t k = 0; k < held[i].n; k++) {
			line_text(held[i].wrote[k], line);
			expect(is_in(i, held[i].ino, line), word, i, "has open what lacks", line);
		}
	}
}

/* ---- stores: made once for all words ---- */

static const char *const names[] = { "alder", "birch" }, *const files[] = { "image", "twinfs.db" };

static void copy_file(const char *from, const char *to)
{
	char *piece = xmalloc(65536);
	FILE *in = fopen(from, "r"), *out = fopen(to, "w");
	size_t n;

	ck_assert(in && out);
	while ((n = fread(piece, 1, 65536, in)) > 0)
		ck_assert_uint_eq(fwrite(piece, 1, n, out), n);
	ck_assert_int_eq(fclose(in) | fclose(out), 0);
	free(piece);
}

/* The files of both stores: put by, or back. */
static void copy_stores(bool back)
{
	char at[2][400];

	for (int i = 0; i < 2; i++)
		for (size_t k = 0; k < ARRAY_LEN(files); k++) {
			snprintf(at[0], sizeof(at[0]), "%s/%s/%s", px_base, names[i], files[k]);
			snprintf(at[1], sizeof(at[1]), "%s/%s.%s", px_base, names[i], files[k]);
			copy_file(at[back], at[!back]);
		}
}

static void close_both(void)
{
	px_is_up = false;
	for (int i = 0; i < 2; i++) {
		engine_free(px[i].e);
		ck_assert_int_eq(volume_close(px[i].v), 0);
		px[i].v = NULL;
		px[i].e = NULL;
		buf_reset(&px[i].out);
	}
}

/* Both have a file. */
static void make_stores(const char *content)
{
	px_setup();
	px_put(0, "f", content);
	px_meet();
	close_both();
	copy_stores(false);
}

static void open_both(void)
{
	char wal[400];

	for (int i = 0; i < 2; i++) {
		snprintf(wal, sizeof(wal), "%s/twinfs.db-wal", px[i].dir);
		unlink(wal);
	}
	copy_stores(true);
	for (int i = 0; i < 2; i++)
		px_open(i);
}


/* The length of what could be done. */
static size_t history(const char *word)
{
	size_t done = 0;

	open_both();
	n_lines = in_flight[0] = in_flight[1] = 0;
	all_named = true;
	held[0] = held[1] = (struct held){ .n = 0 };
	px_write(0, "f", "P", 1, 0);
	px_write(1, "f", "S", 1, 0);
	hold(0, "f");
	hold(1, "f");
	px_hello();
	while (word[done] && act(word[done]))
		done++;
	if (!word[done]) {
		px_settle();
		check(word);
		px_same();
	}
	for (int i = 0; i < 2; i++)
		volume_unref(px[i].v, held[i].ino, 1);
	close_both();
	return done;
}

/* The next word in order of the letters that does not begin as this one does up to and with `at`; false: none. */
static bool next_word(char *word, const char *letters, size_t len, size_t at)
{
	for (at++; at-- > 0;) {
		const char *p = strchr(letters, word[at]);

		if (p[1]) {
			word[at] = p[1];
			memset(word + at + 1, letters[0], len - at - 1);
			return true;
		}
	}
	return false;
}

/* In a process of its own, as what fails ends it. */
static size_t in_a_process(const char *word, unsigned *failed)
{
	int status;
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid == 0)
		_exit(100 + (int)history(word));
	waitpid(pid, &status, 0);
	if (WIFEXITED(status) && WEXITSTATUS(status) >= 100)
		return (size_t)WEXITSTATUS(status) - 100;
	fprintf(stderr, "# failed: %s\n", word);
	++*failed;
	return strlen(word);
}

struct words {
	enum begin begin;
	const char *prefix, *letters;
	size_t len;
};

/* How many could be done: what cannot be begins no other. */
static unsigned all_words(const struct words *w, bool apart)
{
	size_t at = strlen(w->prefix), len = at + w->len, done;
	unsigned n = 0, failed = 0;
	char word[64];

	ck_assert_uint_lt(len, sizeof(word));
	snprintf(word, sizeof(word), "%s", w->prefix);
	memset(word + at, w->len ? w->letters[0] : 0, w->len);
	word[len] = '\0';
	make_stores(w->begin == DATA ? data : text);
	do {
		done = apart ? in_a_process(word, &failed) : history(word);
		ck_assert_msg(done >= at, "%s: letter %zu cannot be done", word, done + 1);
		n += done == len;
	} while (w->len > 0 && next_word(word + at, w->letters, w->len, (done < len ? done : len - 1) - at));
	px_shell("rm -rf '%s'", px_base);
	ck_assert_msg(failed == 0, "%u of %u words failed", failed, n);
	return n;
}

/* Between them they have each kind of what was found with longer ones once. */
static const struct words short_ones[] = {
	{ DATA, "", "wsShHr", 4 },       /* doing, saying and hearing, and the secondary takes over */
	{ DATA, "shSwsHC", "wshSC", 4 }, /* the copy is known, and both go on with it */
	{ TEXT, "shSwH", "wsChk", 2 },
	{ DATA, "shSwH", "wrAvm", 2 },   /* a change of roles when both know */
	{ DATA, "", "vVsh", 3 },         /* saved anew */
	{ DATA, "sh", "wSHDMmVd", 2 },
};

START_TEST(what_a_program_wrote_is_in_what_it_has_open_in_all_orders)
{
	ck_assert_uint_gt(all_words(&short_ones[_i], false), 10);
}
END_TEST

START_TEST(words_that_were_asked_for)
{
	char what[64], none[1] = "", *field[4] = { what, none, none, none }, *next;
	struct words w;

	snprintf(what, sizeof(what), "%s", getenv("TWINFS_HOLDERS"));
	for (size_t i = 1; i < ARRAY_LEN(field) && (next = strchr(field[i - 1], ':')); i++) {
		*next = '\0';
		field[i] = next + 1;
	}
	w = (struct words){ field[0][0] == '1' ? DATA : TEXT, field[1], field[2], (size_t)atoi(field[3]) };
	fprintf(stderr, "# %u words\n", all_words(&w, w.len > 0));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("engine, holders");
	TCase *tc = tcase_create("words");

	tcase_set_timeout(tc, 0);
	if (getenv("TWINFS_HOLDERS"))
		tcase_add_test(tc, words_that_were_asked_for);
	else
		tcase_add_loop_test(tc, what_a_program_wrote_is_in_what_it_has_open_in_all_orders, 0,
				    (int)ARRAY_LEN(short_ones));
	suite_add_tcase(s, tc);
	return tap_main(s);
}
