/* SPDX-License-Identifier: MIT */
/* ops: what a person and their programs do to one side, chosen at random, and the ledger of what must not be lost. */
#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/sim/sim.h"
#include "util/acl.h"
#include "util/util.h"

#ifndef RENAME_EXCHANGE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE 2
#endif

static const char *const plain_names[] = { "a", "b", "c", "d", "f.txt", "g.txt", "h.bin", "i.bin", "j.log" };
static const char *const unit_names[] = { ".git", "b", ".git", "d", "f.txt", "g.txt", "h.bin", "i.bin", "j.log" };
static_assert(ARRAY_LEN(plain_names) == ARRAY_LEN(unit_names), "drawn from alike");

/* A directory's name, or a unit's, those of two texts and of what is no text. */
static const size_t brief_names[] = { 0, 4, 5, 6 };

static const char *some_name(struct world *w)
{
	if (w->brief)
		return (w->units ? unit_names : plain_names)[brief_names[rng_below(&w->rng, ARRAY_LEN(brief_names))]];
	return (w->units ? unit_names : plain_names)[rng_below(&w->rng, ARRAY_LEN(plain_names))];
}

/* ---- tokens
 * ------------------------------------------------------------------------------------------------------------- */

static uint64_t token_new(struct world *w, int side, bool text, uint8_t out[TOKEN_BYTES])
{
	struct ledger *l = &w->ledger;
	struct side *sd = &w->side[side];
	uint64_t t = ++l->n;
	char s[TOKEN_BYTES + 1];
	struct volume_info info;

	if (t >= l->cap) {
		l->cap = l->cap ? l->cap * 2 : 1024;
		l->state = xrealloc(l->state, l->cap);
	}
	volume_info(sd->v, &info);
	l->state[t] = (uint8_t)(TOKEN_LIVE | (side ? TOKEN_BY_S : 0) |
				(w->apart && info.applied == sd->apart_at ? TOKEN_APART : 0));
	snprintf(s, sizeof(s), "T%010llx;", (unsigned long long)t);
	memcpy(out, s, 12);
	memcpy(out + 12, text ? "abc\n" : "\x00\x01\xfe\xff", 4);
	if (sd->n_undo == sd->cap_undo) {
		sd->cap_undo = sd->cap_undo ? sd->cap_undo * 2 : 64;
		sd->undo = xrealloc(sd->undo, sd->cap_undo * sizeof(*sd->undo));
	}
	sd->undo[sd->n_undo++] = (struct undo){ .token = t, .written = true };
	return t;
}

uint64_t token_at(const uint8_t *p, size_t n)
{
	char digits[11];

	if (n < TOKEN_TEXT || p[0] != 'T' || p[11] != ';')
		return 0;
	memcpy(digits, p + 1, 10);
	digits[10] = '\0';
	if (strspn(digits, "0123456789abcdef") != 10)
		return 0;
	return strtoull(digits, NULL, 16);
}

static void token_over(struct world *w, int side, uint64_t t)
{
	struct side *sd = &w->side[side];

	if (t == 0 || t > w->ledger.n || (w->ledger.state[t] & (TOKEN_OVER << side)))
		return;
	w->ledger.state[t] |= (uint8_t)(TOKEN_OVER << side);
	if (sd->n_undo == sd->cap_undo) {
		sd->cap_undo = sd->cap_undo ? sd->cap_undo * 2 : 64;
		sd->undo = xrealloc(sd->undo, sd->cap_undo * sizeof(*sd->undo));
	}
	sd->undo[sd->n_undo++] = (struct undo){ .token = t, .written = false };
}

void ledger_commit(struct world *w, int side)
{
	w->side[side].n_undo = 0;
}

/* What was noted from `mark` to `end` did not happen. */
static void ledger_undo_some(struct world *w, int side, size_t mark, size_t end)
{
	struct side *sd = &w->side[side];

	if (end == mark)
		return;
	for (size_t i = end; i-- > mark;)
		if (sd->undo[i].written)
			w->ledger.state[sd->undo[i].token] = TOKEN_FREE;
		else
			w->ledger.state[sd->undo[i].token] &= (uint8_t) ~(TOKEN_OVER << side);
	memmove(sd->undo + mark, sd->undo + end, (sd->n_undo - end) * sizeof(*sd->undo));
	sd->n_undo -= end - mark;
}

/* What was noted since `mark` did not happen: the store was full, or the call failed. */
static void ledger_undo(struct world *w, int side, size_t mark)
{
	if (w->side[side].n_undo > mark)
		ledger_undo_some(w, side, mark, w->side[side].n_undo);
}

void ledger_crash(struct world *w, int side)
{
	ledger_undo(w, side, 0);
}

static bool is_full(struct world *w, int side, int64_t rc)
{
	if (rc != -ENOSPC || !(w->small & (1u << side)))
		return false;
	w->n_full++;
	sim_trace(w, "%c is full\n", "PS"[side]);
	return true;
}

/* All tokens of a file from an offset on are about to go, by someone who sees them. */
static void over_from(struct world *w, int side, uint64_t ino, uint64_t off, uint64_t len)
{
	struct attr a;
	uint64_t before, end;
	uint8_t *p;

	if (volume_getattr(w->side[side].v, ino, &a) < 0 || off >= a.size_bytes)
		return;
	len = MIN(len, a.size_bytes - off);
	/* Tokens may begin anywhere: those that only reach in are spoilt too. */
	before = MIN(off, TOKEN_TEXT - 1);
	off -= before;
	end = before + len;
	len = MIN(end + TOKEN_TEXT - 1, a.size_bytes - off);
	p = xmalloc(len + 1);
	if (volume_read(w->side[side].v, ino, p, len, off) == (ssize_t)len)
		for (uint64_t i = 0; i < end && i + TOKEN_TEXT <= len; i++)
			token_over(w, side, token_at(p + i, len - i));
	free(p);
}

/* Written while a call of the same side let others in, which was about to take the file's last name: gone with it, by
 * that side. */
static void over_late(struct world *w, int side, uint64_t ino)
{
	struct attr a;

	if (volume_getattr(w->side[side].v, ino, &a) == 0 && a.nlink > 0)
		return;
	for (size_t i = 0; i < w->n_late; i++)
		for (uint64_t k = 0; w->late[i].ino == ino && k < w->late[i].n; k++)
			token_over(w, side, w->late[i].token + k);
}

/* ---- picking
 * ----------------------------------------------------------------------------------------------------------------- */

struct listing {
	struct {
		uint64_t parent, ino;
		uint32_t mode;
		char name[NAME_MAX_BYTES + 1];
	} e[64];
	size_t n;
	uint64_t dirs[32];
	size_t n_dirs;
	uint64_t dir; /* being listed */
};

static bool list_entry(void *ctx, const char *name, size_t name_len, uint64_t cookie, const struct attr *attr)
{
	struct listing *l = ctx;

	(void)cookie;
	if ((name_len == 1 && name[0] == '.') || (name_len == 2 && memcmp(name, "..", 2) == 0))
		return true;
	if (l->n == ARRAY_LEN(l->e))
		return false;
	l->e[l->n].parent = l->dir;
	l->e[l->n].ino = attr->ino;
	l->e[l->n].mode = attr->mode;
	memcpy(l->e[l->n].name, name, name_len);
	l->e[l->n++].name[name_len] = '\0';
	if (S_ISDIR(attr->mode) && l->n_dirs < ARRAY_LEN(l->dirs))
		l->dirs[l->n_dirs++] = attr->ino;
	return true;
}

static void list_tree(struct volume *v, struct listing *l)
{
	l->n = 0;
	l->n_dirs = 1;
	l->dirs[0] = INO_ROOT;
	for (size_t i = 0; i < l->n_dirs; i++) {
		l->dir = l->dirs[i];
		volume_readdir(v, l->dir, 0, list_entry, l);
	}
}

static bool ends(const char *name, const char *tail)
{
	return strstr(name, tail) != NULL;
}

/* ---- operations
 * ---------------------------------------------------------------------------------------------------------------- */

/* Where room is short a write may close the group before it and be in the next: then only what was noted before `mark`
 * is durable. Returns where the mark is now. */
static size_t commit_before(struct world *w, int side, size_t mark)
{
	struct side *sd = &w->side[side];
	struct volume_info info;

	volume_info(sd->v, &info);
	if (info.committed == sd->committed || !info.group_open)
		return mark;
	sd->committed = info.committed;
	sd->n_undo -= mark;
	memmove(sd->undo, sd->undo + mark, sd->n_undo * sizeof(*sd->undo));
	return 0;
}

/* n new tokens at off, or at the end. */
static void write_tokens(struct world *w, int side, uint64_t ino, const char *name, uint64_t off, size_t n, bool append)
{
	struct volume *v = w->side[side].v;
	uint8_t data[64 * TOKEN_BYTES];
	size_t mark;
	ssize_t rc;

	sim_note_commits(w, side);
	mark = w->side[side].n_undo;
	if (!append)
		over_from(w, side, ino, off, n * TOKEN_BYTES);
	for (size_t i = 0; i < n; i++)
		token_new(w, side, !ends(name, ".bin"), data + i * TOKEN_BYTES);
	if (w->pausing && w->n_late < ARRAY_LEN(w->late))
		w->late[w->n_late++] = (struct late){ ino, w->ledger.n - n + 1, n };
	rc = volume_write(v, ino, data, n * TOKEN_BYTES, off, append ? WRITE_APPEND : 0, NULL);
	mark = commit_before(w, side, mark);
	if (rc < 0 && is_full(w, side, rc))
		ledger_undo(w, side, mark);
	else if (rc != (ssize_t)(n * TOKEN_BYTES))
		sim_fail(w, "write to inode %#llx failed", (unsigned long long)ino);
	sim_trace(w, "%c write %s ino %#llx at %llu%s n %zu: T%llx..\n", "PS"[side], name, (unsigned long long)ino,
		  (unsigned long long)off, append ? " (append)" : "", n, (unsigned long long)(w->ledger.n - n + 1));
}

static void op_write(struct world *w, int side, uint64_t ino, const char *name)
{
	struct volume *v = w->side[side].v;
	size_t n = 1 + rng_below(&w->rng, rng_chance(&w->rng, 20) ? 64 : 3);
	struct attr a;
	uint64_t slot, slots;

	if (volume_getattr(v, ino, &a) < 0)
		return;
	slots = a.size_bytes / TOKEN_BYTES;
	slot = rng_chance(&w->rng, 40) ? slots : rng_below(&w->rng, slots + 1);
	if (ends(name, ".bin") && rng_chance(&w->rng, 10))
		slot += rng_below(&w->rng, 600);
	slot = MIN(slot, SLOTS_MAX);
	write_tokens(w, side, ino, name, slot * TOKEN_BYTES, n, false);
}

/* Anywhere, across the ends of blocks and of other tokens; or at the end, as a log is written. */
static void op_write_odd(struct world *w, int side, uint64_t ino, const char *name)
{
	size_t n = 1 + rng_below(&w->rng, 6);
	struct attr a;

	if (volume_getattr(w->side[side].v, ino, &a) < 0 || a.size_bytes > SLOTS_MAX * TOKEN_BYTES)
		return;
	if (rng_chance(&w->rng, 40))
		write_tokens(w, side, ino, name, 0, n, true);
	else
		write_tokens(w, side, ino, name, rng_below(&w->rng, a.size_bytes + 40), n, false);
}

/* Somebody removed it while the volume let others in. */
static bool dir_is_gone(struct world *w, int side, uint64_t dir)
{
	struct attr a;

	return volume_getattr(w->side[side].v, dir, &a) < 0 || a.nlink == 0;
}

static void op_create(struct world *w, int side, uint64_t parent, const char *name, uint32_t type)
{
	struct cred cred = { .uid = 1000, .gid = 1000 };
	struct attr a;
	int rc = volume_create(w->side[side].v, parent, name, type | (S_ISDIR(type) ? 0755 : 0644), 0,
			       S_ISLNK(type) ? "target" : NULL, &cred, &a);

	sim_trace(w, "%c create %#llx/%s type %o: %d ino %#llx\n", "PS"[side], (unsigned long long)parent, name, type,
		  rc, rc ? 0ull : (unsigned long long)a.ino);
	if (rc == 0 && S_ISREG(type) && rng_chance(&w->rng, 80))
		op_write(w, side, a.ino, name);
	else if (rc < 0 && rc != -EEXIST && !(rc == -ENOENT && dir_is_gone(w, side, parent)) && !is_full(w, side, rc))
		sim_fail(w, "create %s: %s", name, strerror(-rc));
}

/* Gone from this side by someone who saw it, if this was its last name. */
static void over_if_last(struct world *w, int side, uint64_t ino)
{
	struct attr a;

	if (volume_getattr(w->side[side].v, ino, &a) == 0 && S_ISREG(a.mode) && a.nlink == 1)
		over_from(w, side, ino, 0, UINT64_MAX);
}

static bool in_unit(struct volume *v, uint64_t dir)
{
	char *path = volume_path(v, dir);
	bool yes = path && strstr(path, "/.git");

	free(path);
	return yes;
}

static bool is_unit_name(const char *name)
{
	return strncmp(name, ".git", 4) == 0;
}

static bool holds_unit(struct volume *v, uint64_t dir)
{
	struct listing *l = xmalloc(sizeof(*l));
	bool yes = false;

	l->n = 0;
	l->n_dirs = 1;
	l->dirs[0] = dir;
	for (size_t i = 0; i < l->n_dirs; i++) {
		l->dir = l->dirs[i];
		volume_readdir(v, l->dir, 0, list_entry, l);
	}
	for (size_t i = 0; i < l->n && !yes; i++)
		yes = S_ISDIR(l->e[i].mode) && is_unit_name(l->e[i].name);
	free(l);
	return yes;
}

/* A unit moved into another one, or a directory with one in it that becomes one, is merged as names are:
 * docs/merging.md says so. */
static bool nests_units(struct volume *v, uint64_t ino, uint32_t mode, const char *was, uint64_t to, const char *name)
{
	if (!S_ISDIR(mode))
		return false;
	return in_unit(v, to) || (is_unit_name(name) && !is_unit_name(was) && holds_unit(v, ino));
}

static void op_rename(struct world *w, int side, uint64_t p1, const char *n1, uint64_t p2, const char *n2,
		      unsigned flags)
{
	struct volume *v = w->side[side].v;
	struct attr src, dst;
	bool over = volume_lookup(v, p2, n2, &dst) == 0;
	int rc = volume_lookup(v, p1, n1, &src);
	size_t mark = w->side[side].n_undo, end;

	if (rc < 0 || (over && src.ino == dst.ino))
		return;
	if (w->units && (nests_units(v, src.ino, src.mode, n1, p2, n2) ||
			 (over && nests_units(v, dst.ino, dst.mode, n2, p1, n1))))
		return;
	if (over && flags == 0)
		over_if_last(w, side, dst.ino);
	w->dirs_removed |= over && S_ISDIR(dst.mode);
	end = w->side[side].n_undo;
	rc = volume_rename(v, p1, n1, p2, n2, flags);
	sim_trace(w, "%c rename %#llx/%s -> %#llx/%s flags %u: %d\n", "PS"[side], (unsigned long long)p1, n1,
		  (unsigned long long)p2, n2, flags, rc);
	/* It may have let others in, who wrote, or even committed. */
	if (rc < 0 && w->side[side].n_undo >= end)
		ledger_undo_some(w, side, mark, end);
	if (rc == 0 && over && flags == 0)
		over_late(w, side, dst.ino);
}

/* As an editor saves: a new file with the old lines, one changed, renamed over. */
static void op_save(struct world *w, int side, uint64_t parent, uint64_t ino, const char *name)
{
	struct volume *v = w->side[side].v;
	struct cred cred = { .uid = 1000, .gid = 1000 };
	struct attr a, old;
	uint8_t *data;
	size_t n, mark;
	ssize_t rc;

	if (volume_getattr(v, ino, &old) < 0 || old.nlink != 1 ||
	    volume_create(v, parent, ".save~", S_IFREG | 0644, 0, NULL, &cred, &a) < 0)
		return;
	sim_note_commits(w, side); /* the empty file may be there for good */
	mark = w->side[side].n_undo;
	n = MIN(old.size_bytes, SLOTS_MAX * TOKEN_BYTES) / TOKEN_BYTES * TOKEN_BYTES;
	over_from(w, side, ino, 0, UINT64_MAX); /* the old file; what it still holds is written anew below */
	data = xcalloc(1, n + TOKEN_BYTES);
	for (size_t i = 0; i <= n / TOKEN_BYTES; i++)
		token_new(w, side, !ends(name, ".bin"), data + i * TOKEN_BYTES);
	rc = volume_write(v, a.ino, data, n + TOKEN_BYTES, 0, 0, NULL);
	mark = commit_before(w, side, mark);
	free(data);
	if (rc < 0 && is_full(w, side, rc)) { /* the editor gives up */
		ledger_undo(w, side, mark);
		volume_unlink(v, parent, ".save~");
		return;
	}
	sim_trace(w, "%c save %#llx/%s ino %#llx -> %#llx T%llx..\n", "PS"[side], (unsigned long long)parent, name,
		  (unsigned long long)ino, (unsigned long long)a.ino,
		  (unsigned long long)(w->ledger.n - n / TOKEN_BYTES));
	if (volume_rename(v, parent, ".save~", parent, name, 0) < 0)
		sim_fail(w, "rename over %s failed", name);
	over_late(w, side, ino);
}

/* The start of some line. */
static size_t line_start(struct world *w, const uint8_t *data, size_t n)
{
	size_t at = rng_below(&w->rng, n + 1);

	while (at > 0 && data[at - 1] != '\n')
		at--;
	return at;
}

/* How the old file goes: under another name, by a second link, removed first, or with the rename over it. */
static int make_way(struct world *w, int side, uint64_t parent, uint64_t ino, const char *name, const char *backup)
{
	struct volume *v = w->side[side].v;
	uint64_t how = rng_below(&w->rng, 10);
	struct attr a;

	if (how == 0)
		return volume_rename(v, parent, name, parent, backup, RENAME_NOREPLACE);
	if (how == 1)
		return volume_link(v, ino, parent, backup, &a);
	return how == 2 ? volume_unlink(v, parent, name) : 0;
}

/* As an editor saves a text: all of it to a new file, with one line changed or added, put in the place of the old. */
static void op_edit(struct world *w, int side, uint64_t parent, uint64_t ino, const char *name)
{
	struct volume *v = w->side[side].v;
	struct cred cred = { .uid = 1000, .gid = 1000 };
	size_t mark, at, cut;
	struct attr a, old;
	uint8_t *data;
	ssize_t n, rc = 0;

	if (volume_getattr(v, ino, &old) < 0 || old.nlink != 1 || old.size_bytes > SLOTS_MAX * TOKEN_BYTES ||
	    volume_create(v, parent, ".edit~", S_IFREG | old.mode, 0, NULL, &cred, &a) < 0)
		return;
	sim_note_commits(w, side); /* the empty file may be there for good */
	mark = w->side[side].n_undo;
	data = xmalloc(old.size_bytes + TOKEN_BYTES);
	n = volume_read(v, ino, data, old.size_bytes, 0);
	for (ssize_t i = 0; i < n; i++) {
		uint64_t t = token_at(data + i, (size_t)(n - i));

		if (t && t <= w->ledger.n)
			w->ledger.state[t] |= TOKEN_COPIED;
	}
	if (n >= 0) {
		at = line_start(w, data, (size_t)n);
		cut = rng_chance(&w->rng, 60) && at + TOKEN_BYTES <= (size_t)n ? TOKEN_BYTES : 0;
		over_from(w, side, ino, at, cut);
		memmove(data + at + TOKEN_BYTES, data + at + cut, (size_t)n - at - cut);
		token_new(w, side, true, data + at);
		rc = volume_write(v, a.ino, data, (size_t)n - cut + TOKEN_BYTES, 0, 0, NULL);
		mark = commit_before(w, side, mark);
	}
	free(data);
	if (n < 0 || rc < 0) { /* it gives up */
		if (!is_full(w, side, n < 0 ? n : rc))
			sim_fail(w, "saving %s failed", name);
		ledger_undo(w, side, mark);
		volume_unlink(v, parent, ".edit~");
		return;
	}
	rc = make_way(w, side, parent, ino, name, "f.txt~");
	if (volume_rename(v, parent, ".edit~", parent, name, 0) < 0)
		sim_fail(w, "rename over %s failed", name);
	over_late(w, side, ino);
	sim_trace(w, "%c edit %#llx/%s ino %#llx -> %#llx at %zu cut %zu T%llx (%zd)\n", "PS"[side],
		  (unsigned long long)parent, name, (unsigned long long)ino, (unsigned long long)a.ino, at, cut,
		  (unsigned long long)w->ledger.n, rc);
}

static void op_attr(struct world *w, int side, uint64_t ino)
{
	struct volume *v = w->side[side].v;
	struct attr a = { .mode = 0600 + (uint32_t)rng_below(&w->rng, 64),
			  .uid = (uint32_t)rng_below(&w->rng, 5),
			  .mtime = { .tv_sec = 1700000000 + (int64_t)rng_below(&w->rng, 1000000) } };
	struct attr out, cur;
	unsigned which;
	char value[32];
	static const char *const keys[] = { "user.k1", "user.k2", "user.k3" };
	const char *key = keys[rng_below(&w->rng, 3)];

	if (volume_getattr(v, ino, &cur) < 0)
		return;
	which = (unsigned)rng_below(&w->rng, 5);
	switch (which) {
	case 0: volume_setattr(v, ino, SET_MODE, &a, &out); break;
	case 1: volume_setattr(v, ino, SET_UID, &a, &out); break;
	case 2: volume_setattr(v, ino, SET_MTIME, &a, &out); break;
	case 3:
		if (!S_ISLNK(cur.mode))
			volume_setxattr(
				v, ino, key, value,
				(size_t)snprintf(value, sizeof(value), "v%llu", (unsigned long long)rng_next(&w->rng)),
				0);
		break;
	default: volume_removexattr(v, ino, key); break;
	}
	sim_trace(w, "%c attr ino %#llx %s %s\n", "PS"[side], (unsigned long long)ino,
		  (const char *[]){ "mode", "owner", "mtime", "set", "remove" }[which], which > 2 ? key : "");
}

/* An ACL as setfacl makes it: of owner, group and others, mostly with users and a group besides, and then a mask. */
static size_t some_acl(struct world *w, uint8_t acl[64])
{
	static const uint8_t tags[] = { 1, 2, 2, 4, 8, 16, 32 };
	bool more = rng_chance(&w->rng_acls, 85), second = rng_chance(&w->rng_acls, 40);
	size_t n = 4;

	memcpy(acl, "\x02\0\0\0", 4);
	for (size_t i = 0; i < ARRAY_LEN(tags); i++) {
		uint32_t named = tags[i] == 2 || tags[i] == 8, id = named ? (uint32_t)(5 + i) : UINT32_MAX;

		if ((named || tags[i] == 16) && (!more || (i == 2 && !second)))
			continue;
		acl[n] = tags[i];
		acl[n + 1] = acl[n + 3] = 0;
		acl[n + 2] = (uint8_t)rng_below(&w->rng_acls, 8);
		id = htole32(id);
		memcpy(acl + n + 4, &id, 4);
		n += 8;
	}
	return n;
}

/* setfacl, setfacl -d, setfacl -b, and chmod, which changes the ACL too. */
static bool op_acl(struct world *w, int side, struct listing *l)
{
	struct volume *v = w->side[side].v;
	struct attr a = { .mode = 0600 + (uint32_t)rng_below(&w->rng_acls, 64) }, out;
	uint64_t ino, kind = rng_below(&w->rng_acls, 100);
	size_t i = rng_below(&w->rng_acls, l->n);
	const char *key = ACL_ACCESS_KEY;
	uint8_t acl[64];
	int rc;

	if (l->n == 0 || S_ISLNK(l->e[i].mode))
		return false;
	ino = l->e[i].ino;
	if (S_ISDIR(l->e[i].mode) && rng_chance(&w->rng_acls, 50))
		key = ACL_DEFAULT_KEY;
	if (kind < 60)
		rc = volume_setxattr(v, ino, key, acl, some_acl(w, acl), 0);
	else if (kind < 80)
		rc = volume_removexattr(v, ino, key);
	else
		rc = volume_setattr(v, ino, SET_MODE, &a, &out);
	sim_trace(w, "%c acl ino %#llx %s %s: %d\n", "PS"[side], (unsigned long long)ino, key,
		  kind < 60 ? "set" : kind < 80 ? "remove" : "chmod", rc);
	if (rc < 0 && rc != -ENODATA && !is_full(w, side, rc))
		sim_fail(w, "ACL of inode %#llx: %s", (unsigned long long)ino, strerror(-rc));
	return true;
}

static void op_truncate(struct world *w, int side, uint64_t ino)
{
	size_t mark = w->side[side].n_undo;
	struct attr a, out;

	if (volume_getattr(w->side[side].v, ino, &a) < 0)
		return;
	a.size_bytes = rng_below(&w->rng, a.size_bytes / TOKEN_BYTES + 2) * TOKEN_BYTES;
	if (w->wide && rng_chance(&w->rng, 40))
		a.size_bytes += rng_below(&w->rng, TOKEN_BYTES);
	over_from(w, side, ino, a.size_bytes, UINT64_MAX);
	if (volume_setattr(w->side[side].v, ino, SET_SIZE, &a, &out) < 0)
		ledger_undo(w, side, mark);
	sim_trace(w, "%c truncate ino %#llx to %llu\n", "PS"[side], (unsigned long long)ino,
		  (unsigned long long)a.size_bytes);
}

static void op_punch(struct world *w, int side, uint64_t ino)
{
	static const int modes[] = { FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, FALLOC_FL_ZERO_RANGE,
				     FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE };
	size_t mark = w->side[side].n_undo;
	int mode = modes[w->wide ? rng_below(&w->rng, 3) : 0], rc;
	struct attr a;
	uint64_t off, len;

	if (volume_getattr(w->side[side].v, ino, &a) < 0 || a.size_bytes < TOKEN_BYTES)
		return;
	off = rng_below(&w->rng, a.size_bytes / TOKEN_BYTES) * TOKEN_BYTES;
	len = (1 + rng_below(&w->rng, 300)) * TOKEN_BYTES;
	if (w->wide && rng_chance(&w->rng, 50))
		off = rng_below(&w->rng, a.size_bytes), len -= rng_below(&w->rng, TOKEN_BYTES);
	else if (w->wide && rng_chance(&w->rng, 20)) /* the first block, whole */
		off = 0, len = BLOCK_BYTES;
	over_from(w, side, ino, off, len);
	rc = volume_fallocate(w->side[side].v, ino, mode, off, len);
	if (rc < 0)
		ledger_undo(w, side, mark);
	sim_trace(w, "%c punch ino %#llx %llu+%llu mode %d: %d\n", "PS"[side], (unsigned long long)ino,
		  (unsigned long long)off, (unsigned long long)len, mode, rc);
}

/* Space asked for ahead: the file grows, or only its blocks. */
static void op_allocate(struct world *w, int side, uint64_t ino)
{
	int mode = rng_chance(&w->rng, 50) ? 0 : FALLOC_FL_KEEP_SIZE, rc;
	struct attr a;

	if (volume_getattr(w->side[side].v, ino, &a) < 0 || a.size_bytes > SLOTS_MAX * TOKEN_BYTES)
		return;
	rc = volume_fallocate(w->side[side].v, ino, mode, rng_below(&w->rng, a.size_bytes + 1),
			      1 + rng_below(&w->rng, 3000));
	sim_trace(w, "%c allocate ino %#llx mode %d: %d\n", "PS"[side], (unsigned long long)ino, mode, rc);
	if (rc < 0 && rc != -EOPNOTSUPP && !is_full(w, side, rc))
		sim_fail(w, "allocate for inode %#llx: %s", (unsigned long long)ino, strerror(-rc));
}

static void op_remove(struct world *w, int side, uint64_t parent, const char *name, uint64_t ino, uint32_t mode)
{
	unsigned before = w->meanwhile;
	int rc;

	if (!S_ISDIR(mode))
		over_if_last(w, side, ino);
	w->dirs_removed |= S_ISDIR(mode);
	rc = S_ISDIR(mode) ? volume_rmdir(w->side[side].v, parent, name) : volume_unlink(w->side[side].v, parent, name);
	sim_trace(w, "%c remove %#llx/%s ino %#llx: %d\n", "PS"[side], (unsigned long long)parent, name,
		  (unsigned long long)ino, rc);
	if (rc == 0 && !S_ISDIR(mode))
		over_late(w, side, ino);
	if (rc == -ENOENT && w->meanwhile < before)
		return; /* it waited for a landing, and somebody else was faster */
	if (rc < 0 && rc != -ENOTEMPTY && !is_full(w, side, rc))
		sim_fail(w, "remove %s: %s", name, strerror(-rc));
}

static void op_link(struct world *w, int side, uint64_t ino, uint64_t dir, const char *name)
{
	struct attr a;
	int rc = volume_link(w->side[side].v, ino, dir, name, &a);

	sim_trace(w, "%c link ino %#llx as %#llx/%s: %d\n", "PS"[side], (unsigned long long)ino,
		  (unsigned long long)dir, name, rc);
	if (rc < 0 && rc != -EEXIST && !is_full(w, side, rc))
		sim_fail(w, "link %s: %s", name, strerror(-rc));
}

/* rm -r: bottom up. */
static void op_rmtree(struct world *w, int side, uint64_t parent, const char *name, uint64_t ino)
{
	struct listing *l = xmalloc(sizeof(*l));

	l->n = 0;
	l->n_dirs = 0;
	l->dir = ino;
	volume_readdir(w->side[side].v, ino, 0, list_entry, l);
	for (size_t i = 0; i < l->n; i++) {
		if (S_ISDIR(l->e[i].mode))
			op_rmtree(w, side, ino, l->e[i].name, l->e[i].ino);
		else
			op_remove(w, side, ino, l->e[i].name, l->e[i].ino, l->e[i].mode);
	}
	op_remove(w, side, parent, name, ino, S_IFDIR);
	free(l);
}

/* ln -sfn: a new one, renamed over the old. */
static void op_relink(struct world *w, int side, uint64_t parent, const char *name)
{
	struct volume *v = w->side[side].v;
	struct cred cred = { .uid = 1000, .gid = 1000 };
	char target[32];
	struct attr a;

	snprintf(target, sizeof(target), "t%llu", (unsigned long long)rng_below(&w->rng, 3));
	if (volume_create(v, parent, ".ln~", S_IFLNK | 0777, 0, target, &cred, &a) < 0)
		return;
	sim_trace(w, "%c relink %#llx/%s -> %s ino %#llx\n", "PS"[side], (unsigned long long)parent, name, target,
		  (unsigned long long)a.ino);
	if (volume_rename(v, parent, ".ln~", parent, name, 0) < 0)
		volume_unlink(v, parent, ".ln~");
}

/* A person settles a conflict, having seen all of its files: what goes is not missed. */
static void op_settle(struct world *w, int side)
{
	struct volume *v = w->side[side].v;
	struct conflict *c;
	struct err err = ERR_INIT;
	uint64_t how = rng_below(&w->rng, 6), at;
	char id[24];
	size_t n, gone;
	int rc;

	if (volume_conflicts(v, &c, &n) != 0)
		return;
	at = rng_below(&w->rng, n);
	for (size_t i = 0; i < n; i++) {
		if (i == at) {
			snprintf(id, sizeof(id), "%llu", (unsigned long long)c[i].id);
			over_from(w, side, c[i].ino, 0, UINT64_MAX);
			over_from(w, side, c[i].base, 0, UINT64_MAX);
			for (int k = 0; k < 2; k++) {
				struct attr a;

				over_from(w, side, c[i].version[k].ino, 0, UINT64_MAX);
				/* One that is not kept goes. */
				w->dirs_removed |= volume_getattr(v, c[i].version[k].ino, &a) == 0 && S_ISDIR(a.mode);
			}
		}
		conflict_release(&c[i]);
	}
	free(c);
	if (n == 0)
		return;
	rc = how < 3    ? volume_conflict_resolve(v, id, (int)how, &err)
	     : how == 3 ? volume_conflict_dismiss(v, id, 0, &gone, &err)
			: volume_conflict_split(v, id, &err);
	sim_trace(w, "%c settle %s, %llu: %d %s\n", "PS"[side], id, (unsigned long long)how, rc, err.text);
	is_full(w, side, rc);
}

static bool op_wide(struct world *w, int side, struct listing *l, size_t i)
{
	uint64_t ino = l->e[i].ino, kind = rng_below(&w->rng, 100);
	bool reg = S_ISREG(l->e[i].mode);

	if (kind < 20 && reg)
		op_write_odd(w, side, ino, l->e[i].name);
	else if (kind < 23 && reg)
		op_allocate(w, side, ino);
	else if (kind < 40 && S_ISLNK(l->e[i].mode))
		op_relink(w, side, l->e[i].parent, l->e[i].name);
	else if (kind < 26)
		op_attr(w, side, INO_ROOT);
	else if (kind < 32 && !S_ISDIR(l->e[i].mode))
		op_link(w, side, ino, l->dirs[rng_below(&w->rng, l->n_dirs)],
			some_name(w));
	else if (kind >= 36 && kind < 39)
		op_settle(w, side);
	else if (kind >= 85 && reg && ends(l->e[i].name, ".txt"))
		op_edit(w, side, l->e[i].parent, ino, l->e[i].name);
	else if (kind < 36)
		op_rename(w, side, l->e[i].parent, l->e[i].name, l->e[rng_below(&w->rng, l->n)].parent,
			  l->e[rng_below(&w->rng, l->n)].name, rng_chance(&w->rng, 50) ? RENAME_EXCHANGE : 0);
	else
		return false;
	return true;
}

static void op_on_entry(struct world *w, int side, struct listing *l, size_t i, uint64_t kind)
{
	uint64_t dir = l->dirs[rng_below(&w->rng, l->n_dirs)], ino = l->e[i].ino, parent = l->e[i].parent;
	const char *name = some_name(w), *own = l->e[i].name;
	bool reg = S_ISREG(l->e[i].mode), isdir = S_ISDIR(l->e[i].mode);

	if (kind < 30 && reg)
		op_write(w, side, ino, own);
	else if (kind < 38 && reg)
		op_truncate(w, side, ino);
	else if (kind < 41 && reg)
		op_punch(w, side, ino);
	else if (kind < 48 && reg && !ends(own, ".save"))
		op_save(w, side, parent, ino, own);
	else if (kind < 62)
		op_rename(w, side, parent, own, dir, name, 0);
	else if (kind < 66)
		op_rename(w, side, parent, own, dir, name, RENAME_EXCHANGE);
	else if (kind < 68)
		op_rename(w, side, parent, own, dir, name, RENAME_NOREPLACE);
	else if (kind < 74 && !isdir)
		op_link(w, side, ino, dir, name);
	else if (kind < 74)
		op_rmtree(w, side, parent, own, ino);
	else if (kind < 86)
		op_remove(w, side, parent, own, ino, l->e[i].mode);
	else
		op_attr(w, side, ino);
}

void sim_ref(struct world *w, int side)
{
	struct side *sd = &w->side[side];
	struct listing *l;

	if (sd->n_refs == 64 || (sd->n_refs && rng_chance(&w->rng, 40))) {
		size_t i = rng_below(&w->rng, sd->n_refs);
		sim_trace(w, "%c unref ino %#llx\n", "PS"[side], (unsigned long long)sd->refs[i].ino);
		volume_unref(sd->v, sd->refs[i].ino, 1);
		sd->refs[i] = sd->refs[--sd->n_refs];
		return;
	}
	l = xmalloc(sizeof(*l));
	list_tree(sd->v, l);
	if (l->n) {
		uint64_t ino = l->e[rng_below(&w->rng, l->n)].ino;
		sim_trace(w, "%c ref ino %#llx\n", "PS"[side], (unsigned long long)ino);
		volume_ref(sd->v, ino);
		sd->refs[sd->n_refs++] = (struct held){ .ino = ino };
	}
	free(l);
}

void sim_moved(void *side, const struct notice *list, size_t n)
{
	struct side *sd = side;

	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < sd->n_refs && list[i].kind == NOTICE_MOVED; k++)
			if (sd->refs[k].ino == list[i].ino) {
				sim_trace(sd->pause.w, "%c holder of %#llx has %#llx\n", "PS"[sd->pause.side],
					  (unsigned long long)list[i].ino, (unsigned long long)list[i].to);
				sd->refs[k].ino = list[i].to;
			}
}

/* A program writes on to what it has open, wherever that is by now. */
static bool op_held(struct world *w, int side)
{
	struct side *sd = &w->side[side];
	struct held *h = sd->n_refs ? &sd->refs[rng_below(&w->rng_held, sd->n_refs)] : NULL;
	uint64_t before = w->ledger.n;
	struct attr a;
	char *path;

	if (!h || h->n_wrote == ARRAY_LEN(h->wrote) || volume_getattr(sd->v, h->ino, &a) < 0 || !S_ISREG(a.mode))
		return false;
	path = volume_path(sd->v, h->ino);
	if (!path || strncmp(path, "/" HIDDEN_NAME, strlen("/" HIDDEN_NAME)) == 0) {
		free(path);
		return false;
	}
	sim_trace(w, "%c by what it has open: %s\n", "PS"[side], path);
	op_write(w, side, h->ino, path);
	free(path);
	if (w->ledger.n > before) {
		h->wrote[h->n_wrote].token = before + 1;
		h->wrote[h->n_wrote++].n = w->ledger.n - before;
	}
	return true;
}

/* Some lines to begin with, and then mostly changes here and there. */
static bool op_text(struct world *w, int side, struct listing *l)
{
	size_t from = rng_below(&w->rng, l->n + 1), i = from;
	struct attr a;

	while (i < l->n && (!S_ISREG(l->e[i].mode) || !ends(l->e[i].name, ".txt") || ends(l->e[i].name, "conflict")))
		i++;
	if (i >= l->n)
		return false;
	if (volume_getattr(w->side[side].v, l->e[i].ino, &a) == 0 && a.size_bytes < 24 * TOKEN_BYTES)
		write_tokens(w, side, l->e[i].ino, l->e[i].name, 0, 40, true);
	else if (rng_chance(&w->rng, 70))
		op_edit(w, side, l->e[i].parent, l->e[i].ino, l->e[i].name);
	else
		write_tokens(w, side, l->e[i].ino, l->e[i].name,
			     rng_below(&w->rng, a.size_bytes / TOKEN_BYTES) * TOKEN_BYTES, 1, rng_chance(&w->rng, 30));
	return true;
}

void sim_op(struct world *w, int side)
{
	struct listing *l = xmalloc(sizeof(*l));
	uint64_t kind = rng_below(&w->rng, 130);

	if (!w->pausing) {
		w->meanwhile = MIN(w->meanwhile + 5, 20);
		w->n_late = 0;
	}

	list_tree(w->side[side].v, l);
	w->n_ops++;
	if ((w->wide || w->units) && rng_chance(&w->rng_held, 15) && op_held(w, side))
		;
	else if (w->acls && rng_chance(&w->rng_acls, 20) && op_acl(w, side, l))
		;
	else if (w->texts && rng_chance(&w->rng, 75) && op_text(w, side, l))
		;
	else if (kind < 100 && l->n && w->wide && op_wide(w, side, l, rng_below(&w->rng, l->n)))
		;
	else if (kind < 100 && l->n)
		op_on_entry(w, side, l, rng_below(&w->rng, l->n), kind);
	else
		op_create(w, side, l->dirs[rng_below(&w->rng, l->n_dirs)], some_name(w),
			  kind < 110   ? S_IFDIR
			  : kind < 113 ? S_IFLNK
			  : kind < 114 ? (w->wide && rng_chance(&w->rng, 50) ? S_IFCHR : S_IFIFO)
				       : S_IFREG);
	free(l);
}

void sim_plain_op(struct world *w, int side)
{
	struct listing *l = xmalloc(sizeof(*l));
	uint64_t kind = rng_below(&w->rng, 100);
	size_t i;

	list_tree(w->side[side].v, l);
	w->n_ops++;
	i = rng_below(&w->rng, l->n + 1);
	while (i < l->n && !S_ISREG(l->e[i].mode))
		i++;
	if (i >= l->n || kind < 20)
		op_create(w, side, l->dirs[rng_below(&w->rng, l->n_dirs)], some_name(w),
			  kind < 4 ? S_IFDIR : S_IFREG);
	else if (kind < 75)
		op_write(w, side, l->e[i].ino, l->e[i].name);
	else if (kind < 85)
		op_attr(w, side, l->e[i].ino);
	else
		op_remove(w, side, l->e[i].parent, l->e[i].name, l->e[i].ino, l->e[i].mode);
	free(l);
}
