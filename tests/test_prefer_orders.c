/* SPDX-License-Identifier: MIT */
/*
 * Every short history around a person's word (twinfs resume --prefer): each side does one thing, the word is given,
 * and the secondary (the primary) does another one before it has heard what became of the first, at each moment at
 * which that may be; or a second word follows. Whatever the order: both end with the same, and no line that somebody
 * wrote is gone but for who had it in a file that he removed or wrote over. Where nobody but the preferred side did
 * anything after the word, its tree is what both have, but for attributes after a second one (docs/merging.md).
 *
 * A run takes a part of them, the same each time. TWINFS_ORDERS_FIRST, _COUNT, _STRIDE: those instead, each as a test.
 */
#include "sync/prefer.h"
#include "tests/chance.h"
#include "tests/pair_fixture.h"

/* ---- what is written, and whether that may be gone */

#define LINES_MAX 64u

static struct {
	unsigned n;
	bool over[LINES_MAX];
	const char *at; /* the directory in which all of it happens: "", or ".git/" */
	char told[1024];
} h;

static const char *path_of(const char *name)
{
	static char ring[4][80];
	static unsigned n;

	snprintf(ring[n % 4], sizeof(ring[0]), "%s%s", h.at, name);
	return ring[n++ % 4];
}

static void tell(const char *what)
{
	snprintf(h.told + strlen(h.told), sizeof(h.told) - strlen(h.told), " %s", what);
}

static const char *line_of(unsigned k)
{
	static char ring[4][16];
	static unsigned n;

	snprintf(ring[n % 4], sizeof(ring[0]), "line%u.\n", k);
	return ring[n++ % 4];
}

static const char *new_line(void)
{
	ck_assert_uint_lt(h.n + 1, LINES_MAX);
	return line_of(++h.n);
}

/* Who does away with the file has what is in it before him. */
static void is_over(int i, uint64_t ino)
{
	const char *text = px_bytes(i, ino, NULL);

	for (unsigned k = 1; k <= h.n; k++)
		h.over[k] |= strstr(text, line_of(k)) != NULL;
}

static uint64_t at(int i, const char *name)
{
	return px_at(i, path_of(name));
}

static bool has_file(int i, const char *name)
{
	uint64_t ino = at(i, name);
	struct attr a;

	return ino && volume_getattr(px[i].v, ino, &a) == 0 && S_ISREG(a.mode);
}

static bool has_dir(int i, const char *name)
{
	return at(i, name) && !has_file(i, name);
}

/* ---- things that one does */

/* The parent of a name is there, and nothing at the name itself. */
static bool is_free(int i, const char *name)
{
	const char *slash = strrchr(name, '/');
	char dir[80];

	snprintf(dir, sizeof(dir), "%.*s", slash ? (int)(slash - name) : 0, name);
	return !at(i, name) && (!slash || has_dir(i, dir));
}

static bool append(int i, const char *name)
{
	if (!has_file(i, name))
		return false;
	px_append(i, path_of(name), new_line());
	return true;
}

static bool move(int i, const char *from, const char *to)
{
	if (!at(i, from) || !is_free(i, to))
		return false;
	px_rename(i, path_of(from), path_of(to));
	return true;
}

static bool link_to(int i, const char *old, const char *new)
{
	if (!has_file(i, old) || !is_free(i, new))
		return false;
	px_link(i, path_of(old), path_of(new));
	return true;
}

static bool drop(int i, const char *name)
{
	if (!has_file(i, name))
		return false;
	if (px_stat(i, path_of(name)).nlink == 1)
		is_over(i, at(i, name));
	px_unlink(i, path_of(name));
	return true;
}

static bool make(int i, const char *name)
{
	if (!is_free(i, name))
		return false;
	px_put(i, path_of(name), new_line());
	return true;
}

static bool make_dir(int i, const char *name)
{
	if (!is_free(i, name))
		return false;
	px_mkdir(i, path_of(name));
	return true;
}

/* Over a name that is there. */
static bool move_over(int i, const char *from, const char *to)
{
	if (!has_file(i, from) || !has_file(i, to) || at(i, from) == at(i, to))
		return false;
	if (px_stat(i, path_of(to)).nlink == 1)
		is_over(i, at(i, to));
	px_rename(i, path_of(from), path_of(to));
	return true;
}

static bool save(int i, const char *name, const char *backup)
{
	char text[1024];

	if (!has_file(i, name) || (backup && !is_free(i, backup)))
		return false;
	snprintf(text, sizeof(text), "%s%s", px_bytes(i, at(i, name), NULL), new_line());
	if (backup)
		px_link(i, path_of(name), path_of(backup));
	px_put(i, path_of("tmp#"), text);
	px_rename(i, path_of("tmp#"), path_of(name));
	return true;
}

static bool write_anew(int i, const char *name)
{
	if (!has_file(i, name))
		return false;
	is_over(i, at(i, name));
	px_put(i, path_of(name), new_line());
	return true;
}

static bool exchange(int i, const char *a, const char *b)
{
	const char *na, *nb;
	uint64_t da, db;

	if (!has_file(i, a) || !has_file(i, b))
		return false;
	da = px_split(i, path_of(a), &na);
	db = px_split(i, path_of(b), &nb);
	return volume_rename(px[i].v, da, na, db, nb, RENAME_EXCHANGE) == 0;
}

static bool drop_dir(int i, const char *name)
{
	struct px_list *list;
	bool done = has_dir(i, name);
	char sub[80];

	if (!done)
		return false;
	list = xmalloc(sizeof(*list));
	px_list(i, at(i, name), list);
	for (size_t k = 0; k < list->n; k++) {
		snprintf(sub, sizeof(sub), "%s/%.60s", name, list->e[k].name);
		done = done && (has_dir(i, sub) ? drop_dir(i, sub) : drop(i, sub));
	}
	free(list);
	if (done)
		px_rmdir(i, path_of(name));
	return done;
}

static bool set_attrs(int i, const char *name)
{
	if (!has_file(i, name))
		return false;
	px_set(i, path_of(name), SET_MODE, (struct attr){ .mode = i ? 0600 : 0640 });
	px_setxattr(i, path_of(name), "user.k", i ? "birch" : "alder");
	return true;
}

enum {
	NOTHING, APPEND_F, APPEND_G, MOVE_F, MOVE_F_DOWN, LINK_F, LINK_F_DOWN, DROP_F, DROP_F2, DROP_X, MOVE_D, DROP_D,
	MAKE_N, SAVE_F, SAVE_X, SAVE_X_BACKUP, LINK_X, LINK_X_DOWN, X_OVER_F, MOVE_X_DOWN, WRITE_X, EXCHANGE, LINK_G,
	MOVE_X_N, ATTRS_X, MOVE_G, F_OVER_G, MAKE_IN_D, D_INTO_N, /* of what may be there by then: */
	DROP_H, APPEND_H, DROP_L, APPEND_L, APPEND_NY, DROP_NY, MOVE_NY, MAKE_IN_N, DROP_N, THINGS
};
static const char *const words[THINGS] = {
	"nothing", "write-f", "write-g", "mv-f-h", "mv-f-d/f", "ln-f-l", "ln-f-d/l", "rm-f", "rm-f2", "rm-x", "mv-d-n",
	"rm-r-d", "mk-n/y", "save-f", "save-x", "save-x-x~", "ln-x-l", "ln-x-d/l", "mv-x-f", "mv-x-d/x", "put-x",
	"xchg-f-d/g", "ln-d/g-l", "mv-x-n/y", "attr-x", "mv-d/g-h", "mv-f-d/g", "mk-d/y", "mv-d-n/d",
	"rm-h", "write-h", "rm-l", "write-l", "write-n/y", "rm-n/y", "mv-n/y-h", "mk-n/z", "rm-r-n"
};

static bool on(int i, unsigned what)
{
	switch (what) {
	case NOTHING: return true;
	case APPEND_F: return append(i, "f");
	case APPEND_G: return append(i, "d/g");
	case MOVE_F: return move(i, "f", "h");
	case MOVE_F_DOWN: return move(i, "f", "d/f");
	case LINK_F: return link_to(i, "f", "l");
	case LINK_F_DOWN: return link_to(i, "f", "d/l");
	case DROP_F: return drop(i, "f");
	case DROP_F2: return drop(i, "f2");
	case DROP_X: return drop(i, "x");
	case MOVE_D: return move(i, "d", "n");
	case DROP_D: return drop_dir(i, "d");
	case MAKE_N: return make_dir(i, "n") && make(i, "n/y");
	case SAVE_F: return save(i, "f", NULL);
	case SAVE_X: return save(i, "x", NULL);
	case SAVE_X_BACKUP: return save(i, "x", "x~");
	case LINK_X: return link_to(i, "x", "l");
	case LINK_X_DOWN: return link_to(i, "x", "d/l");
	case X_OVER_F: return move_over(i, "x", "f");
	case MOVE_X_DOWN: return move(i, "x", "d/x");
	case WRITE_X: return write_anew(i, "x");
	case EXCHANGE: return exchange(i, "f", "d/g");
	case LINK_G: return link_to(i, "d/g", "l");
	case MOVE_X_N: return at(i, "x") && make_dir(i, "n") && move(i, "x", "n/y");
	case ATTRS_X: return set_attrs(i, "x");
	case MOVE_G: return move(i, "d/g", "h");
	case F_OVER_G: return move_over(i, "f", "d/g");
	case MAKE_IN_D: return make(i, "d/y");
	case D_INTO_N: return has_dir(i, "d") && make_dir(i, "n") && move(i, "d", "n/d");
	case DROP_H: return drop(i, "h");
	case APPEND_H: return append(i, "h");
	case DROP_L: return drop(i, "l") || drop(i, "d/l");
	case APPEND_L: return append(i, "l") || append(i, "d/l");
	case APPEND_NY: return append(i, "n/y");
	case DROP_NY: return drop(i, "n/y");
	case MOVE_NY: return move(i, "n/y", "h");
	case MAKE_IN_N: return make(i, "n/z");
	case DROP_N: return drop_dir(i, "n");
	default: ck_abort();
	}
	return false;
}

static bool does(int i, unsigned what)
{
	bool done = on(i, what);

	if (what != NOTHING) {
		snprintf(h.told + strlen(h.told), sizeof(h.told) - strlen(h.told), " %c:%s%s", "PS"[i], words[what],
			 done ? "" : "(no)");
		ck_assert_int_eq(volume_commit(px[i].v), 0);
	}
	return done;
}

/* ---- talk */

/* HELLO both ways: the primary has taken the word. */
static void shake_hands(void)
{
	struct err err = ERR_INIT;

	px_up();
	for (int i = 0; i < 2; i++)
		ck_assert_int_gt(engine_pull(px[i].e, &px[i].out, 1, &err), 0);
	for (int i = 0; i < 2; i++)
		ck_assert_msg(px_deliver(i, &err) == 0, "%s:%s", err_text(&err), h.told);
	tell("|up|");
}

static void says(int i)
{
	px_now_ms += 50;
	px_talk(i);
	px_now_ms += 50;
	px_talk(i);
	tell(i ? "S>" : "P>");
}

/* All that is on its way from side i. */
static void is_heard(int i)
{
	struct err err = ERR_INIT;

	while (px_next(i))
		ck_assert_msg(px_deliver(i, &err) == 0, "%s:%s", err_text(&err), h.told);
	tell(i ? ">P" : ">S");
}

static void word(int keep, int on)
{
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(volume_commit(px[i].v), 0);
	ck_assert_int_eq(prefer_give(px[on].v, keep ? ROLE_SECONDARY : ROLE_PRIMARY), 0);
	tell(keep ? "prefer-S" : "prefer-P");
}

/* ---- a history */

struct order {
	int keep;
	bool unit;
	bool plain; /* there is no first word: both are merged, and the secondary may hear of that, or not */
	unsigned s_before, p_before; /* done before the word */
	unsigned s_after, p_after;   /* and after it */
	unsigned s_when;  /* before it says what it did; before that is heard; before the answer is said; is heard */
	unsigned p_when;  /* before it hears that; after */
	unsigned quiet;   /* who says nothing any more before the second word: 1: the primary, 2: nor the secondary */
	unsigned again;   /* a second word: 0: none, 1: for the same side, 2: for the other; 3, 4: and one more thing */
};

static void names(int i, uint64_t dir, const char *path, struct buf *to)
{
	struct px_list *list = xmalloc(sizeof(*list));

	px_list(i, dir, list);
	for (size_t k = 0; k < list->n; k++) {
		char *sub = xasprintf("%s/%s", path, list->e[k].name);
		struct attr a;

		ck_assert_int_eq(volume_getattr(px[i].v, list->e[k].ino, &a), 0);
		buf_printf(to, "%s ino %#llx %s\n", sub, (unsigned long long)a.ino,
			   S_ISREG(a.mode) ? px_bytes(i, a.ino, NULL) : "");
		if (S_ISDIR(a.mode))
			names(i, a.ino, sub, to);
		free(sub);
	}
	free(list);
}

/* The tree that people see, with all attributes, or names and bytes alone. */
static char *tree(int i, bool attrs)
{
	struct buf to;
	struct attr a;

	buf_init(&to, 4u << 20);
	if (!attrs) {
		names(i, INO_ROOT, "", &to);
		ck_assert_int_eq(buf_append(&to, "", 1), 0);
		return (char *)to.data;
	}
	ck_assert_int_eq(volume_getattr(px[i].v, INO_ROOT, &a), 0);
	buf_printf(&to, "/ mode %o own %u:%u nlink %u mtime %lld", a.mode, a.uid, a.gid, a.nlink,
		   (long long)a.mtime.tv_sec);
	px_dump_file(i, INO_ROOT, &a, &to);
	px_dump_dir(i, INO_ROOT, "", &to);
	ck_assert_int_eq(buf_append(&to, "", 1), 0);
	return (char *)to.data;
}

static void expect_tree(const char *want, bool attrs)
{
	char *got = tree(0, attrs);

	ck_assert_msg(strcmp(got, want) == 0, "not the tree of the side that was preferred:%s\n%s-- wanted\n%s", h.told,
		      got, want);
	free(got);
}

static void nothing_is_lost(void)
{
	for (unsigned k = 1; k <= h.n; k++)
		for (int i = 0; i < 2; i++)
			ck_assert_msg(h.over[k] || px_is_below(i, INO_ROOT, line_of(k)) ||
					      px_is_below(i, INO_HIDDEN, line_of(k)),
				      "side %d lost %s:%s", i, line_of(k), h.told);
}

static void begin(bool unit)
{
	memset(&h, 0, sizeof(h));
	h.at = unit ? ".git/" : "";
	if (unit)
		px_mkdir(0, ".git");
	px_put(0, path_of("f"), new_line());
	px_link(0, path_of("f"), path_of("f2"));
	px_mkdir(0, path_of("d"));
	px_put(0, path_of("d/g"), new_line());
	px_put(0, path_of("x"), new_line());
	px_meet();
	px_down();
	if (unit)
		tell("in a unit:");
}

/* False: nobody could do that. */
static bool in_this_order(const struct order *o)
{
	char *want = NULL;
	bool can, s_late = o->s_after != NOTHING && o->s_when > 0, p_late = o->p_after != NOTHING;

	begin(o->unit);
	can = does(1, o->s_before) && does(0, o->p_before);
	if (!o->plain)
		word(o->keep, o->s_after % 2);
	shake_hands();
	can = can && (o->s_when != 0 || does(1, o->s_after)) && (o->p_when != 0 || does(0, o->p_after));
	if (!o->again || o->quiet < 2)
		says(1);
	can = can && (o->s_when != 1 || does(1, o->s_after));
	is_heard(1);
	can = can && (o->s_when != 2 || does(1, o->s_after)) && (o->p_when != 1 || does(0, o->p_after));
	if (!o->again || o->quiet < 1)
		says(0);
	can = can && (o->s_when != 3 || does(1, o->s_after));
	if (o->again && o->s_when != 3)
		is_heard(0);
	if (!can)
		return false;
	if (o->again) {
		int keep = o->again % 2 ? o->keep : !o->keep;

		px_down();
		tell("|down|");
		if (o->again > 2 && !does(keep, APPEND_G))
			return false;
		word(keep, o->s_when % 2);
		/* What the first word did to attributes leaves nothing that could come back. */
		want = tree(keep, false);
	} else if (o->keep ? !p_late : !s_late) {
		want = tree(o->keep, true);
	}
	px_settle();
	ck_assert_msg(px[0].e && px[1].e, "%s", h.told);
	px_same();
	nothing_is_lost();
	if (want)
		expect_tree(want, !o->again);
	free(want);
	return true;
}

/* The first ones: one thing before, one after, at each moment. Then any of what there may be, mixed. */
#define BEFORE D_INTO_N  /* so many things can be done first */
#define FIRST_ORDERS ((uint64_t)BEFORE * THINGS * 4 * 2)

static struct order order_of(uint64_t n)
{
	struct order o = { 0 };
	uint64_t seed = n;

	if (n < FIRST_ORDERS) {
		o.s_before = 1 + (unsigned)(n % BEFORE);
		o.s_after = (unsigned)(n / BEFORE % THINGS);
		o.s_when = (unsigned)(n / BEFORE / THINGS % 4);
		o.keep = n >= FIRST_ORDERS / 2;
		return o;
	}
	o.keep = (int)chance_below(&seed, 2);
	o.unit = chance_below(&seed, 3) == 0;
	o.s_before = (unsigned)chance_below(&seed, BEFORE + 1);
	o.p_before = (unsigned)chance_below(&seed, BEFORE + 1);
	o.s_after = chance_below(&seed, 4) ? (unsigned)chance_below(&seed, THINGS) : NOTHING;
	o.p_after = chance_below(&seed, 3) ? NOTHING : (unsigned)chance_below(&seed, THINGS);
	o.s_when = (unsigned)chance_below(&seed, 4);
	o.p_when = (unsigned)chance_below(&seed, 2);
	o.again = chance_below(&seed, 2) ? 0 : 1 + (unsigned)chance_below(&seed, 4);
	o.quiet = (unsigned)chance_below(&seed, 3);
	o.plain = o.again && chance_below(&seed, 2);
	return o;
}

static void run(uint64_t n)
{
	struct order o = order_of(n);
	bool whole;

	px_setup();
	whole = in_this_order(&o);
	if (whole)
		px_is_up = false;
	else
		px_down();
	px_teardown();
}

static uint64_t number(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text ? strtoull(text, NULL, 10) : otherwise;
}

static uint64_t first, stride;

START_TEST(one_order)
{
	run(first + (uint64_t)_i * stride);
}
END_TEST

#define TESTS 8
#define A_TEST 25

START_TEST(nothing_is_lost_and_the_preferred_side_s_tree_is_what_both_have)
{
	for (uint64_t k = 0; k < A_TEST; k++)
		run((uint64_t)_i * 2 * FIRST_ORDERS / TESTS + k * 61);
}
END_TEST

int main(void)
{
	uint64_t count = number("TWINFS_ORDERS_COUNT", 0);
	Suite *s = suite_create("prefer orders");
	TCase *tc = tcase_create("orders");

	first = number("TWINFS_ORDERS_FIRST", 0);
	stride = number("TWINFS_ORDERS_STRIDE", 1);
	tcase_set_timeout(tc, 300);
	if (count)
		tcase_add_loop_test(tc, one_order, 0, (int)count);
	else
		tcase_add_loop_test(tc, nothing_is_lost_and_the_preferred_side_s_tree_is_what_both_have, 0, TESTS);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
