/* SPDX-License-Identifier: MIT */
/* inspect: the invariants at a quiet point: both trees equal, valid, and everything in them that must be. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tests/sim/sim.h"
#include "util/acl.h"
#include "util/buf.h"
#include "util/util.h"

struct walker {
	struct world *w;
	int side;
	struct buf text;   /* a canonical description of the tree */
	struct map links;  /* ino -> names seen */
	struct map tokens; /* token -> 1 */
	struct map units;  /* hash of a unit's path -> who wrote in it while apart: 1 P, 2 S */
	uint64_t dir;
	struct {
		char *name;
		uint64_t ino;
	} * entries;
	size_t n, cap;
	const char *path;
};

static bool keep_entry(void *ctx, const char *name, size_t name_len, uint64_t cookie, const struct attr *attr)
{
	struct walker *k = ctx;

	(void)cookie;
	if ((name_len == 1 && name[0] == '.') || (name_len == 2 && memcmp(name, "..", 2) == 0))
		return true;
	if (k->n == k->cap) {
		k->cap = k->cap ? k->cap * 2 : 32;
		k->entries = xrealloc(k->entries, k->cap * sizeof(*k->entries));
	}
	k->entries[k->n].name = xstrndup(name, name_len);
	k->entries[k->n++].ino = attr->ino;
	return true;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* In a unit, and in a copy of one, is what one side wrote while neither knew of the other, never what both did. But of
 * a file that one put there and the other wrote to where it was there are two, side by side: docs/merging.md. */
static void check_unit(struct walker *k, const char *path, uint64_t token)
{
	struct world *w = k->w;
	const char *unit = strstr(path, "/.git"), *end;
	uint64_t at = UINT64_C(1469598103934665603), by = w->ledger.state[token] & TOKEN_BY_S ? 2 : 1, before = 0;

	if (!unit || !w->apart || sim_near_by_file() || !(w->ledger.state[token] & TOKEN_APART) ||
	    !(end = strchr(unit + 1, '/')) || strstr(end, ".conflict-"))
		return;
	for (const char *p = path; p < end; p++)
		at = (at ^ (uint8_t)*p) * UINT64_C(1099511628211);
	map_get(&k->units, at | 1, &before);
	map_put(&k->units, at | 1, before | by);
	if ((before | by) == 3)
		sim_fail(w, "%c: %s: in this unit is what both sides wrote while apart", "PS"[k->side], path);
}

static void describe_content(struct walker *k, const char *path, const struct attr *a)
{
	uint8_t *p = xmalloc(a->size_bytes + 1);
	uint64_t hash = UINT64_C(1469598103934665603);
	ssize_t n = volume_read(k->w->side[k->side].v, a->ino, p, a->size_bytes, 0);

	if (n != (ssize_t)a->size_bytes) {
		sim_fail(k->w, "%c: %s: reading %llu bytes gave %zd", "PS"[k->side], path,
			 (unsigned long long)a -> size_bytes, n);
		n = 0;
	}
	for (ssize_t i = 0; i < n; i++) {
		uint64_t t = token_at(p + i, (size_t)(n - i));

		hash = (hash ^ p[i]) * UINT64_C(1099511628211);
		if (!t)
			continue;
		map_put(&k->tokens, t, 1);
		check_unit(k, path, t);
		if (t > k->w->ledger.n || !(k->w->ledger.state[t] & TOKEN_LIVE))
			sim_fail(k->w, "%c: %s holds T%llx, which nobody wrote", "PS"[k->side], path,
				 (unsigned long long)t);
		buf_printf(&k->text, " T%llx@%zd", (unsigned long long)t, i);
	}
	buf_printf(&k->text, " #%016llx", (unsigned long long)hash);
	free(p);
}

/* It is one, and the mode says the same. */
static void check_acl(struct walker *k, const char *path, const char *key, const uint8_t *acl, size_t len,
		      uint32_t mode)
{
	if (acl_check(acl, len) != 0)
		sim_fail(k->w, "%c: %s: %s is no ACL", "PS"[k->side], path, key);
	else if (strcmp(key, ACL_ACCESS_KEY) == 0 && (acl_mode(acl, len, mode) != mode || acl_is_minimal(acl, len)))
		sim_fail(k->w, "%c: %s: the mode is %o, and the ACL says %o", "PS"[k->side], path, mode,
			 acl_mode(acl, len, mode));
}

static void describe_xattrs(struct walker *k, const char *path, uint64_t ino, uint32_t mode)
{
	char list[1024];
	uint8_t value[ACL_MAX_BYTES];
	ssize_t n = volume_listxattr(k->w->side[k->side].v, ino, list, sizeof(list));

	for (char *key = list; n > 0 && key < list + n; key += strlen(key) + 1) {
		ssize_t len = volume_getxattr(k->w->side[k->side].v, ino, key, value, sizeof(value));

		if (len < 0)
			sim_fail(k->w, "%c: %s: %s is listed and cannot be read", "PS"[k->side], path, key);
		if (len >= 0 && acl_is_key(key))
			check_acl(k, path, key, value, (size_t)len, mode);
		buf_printf(&k->text, " %s=", key);
		for (ssize_t i = 0; i < len; i++)
			buf_printf(&k->text, value[i] > ' ' && value[i] < 127 ? "%c" : "\\%03o", value[i]);
	}
}

static void describe(struct walker *k, const char *path, const char *name, uint64_t ino, unsigned depth);
static void done(struct walker *k);

static void walk_dir(struct walker *k, const char *path, uint64_t dir, unsigned depth, uint32_t nlink)
{
	struct walker sub = *k;
	uint32_t dirs = 0;

	sub.entries = NULL;
	sub.n = sub.cap = 0;
	volume_readdir(k->w->side[k->side].v, dir, 0, keep_entry, &sub);
	if (sub.n)
		qsort(sub.entries, sub.n, sizeof(*sub.entries), by_name);
	for (size_t i = 0; i < sub.n; i++) {
		struct attr a;

		if (volume_getattr(k->w->side[k->side].v, sub.entries[i].ino, &a) == 0 && S_ISDIR(a.mode))
			dirs++;
		describe(k, path, sub.entries[i].name, sub.entries[i].ino, depth + 1);
		free(sub.entries[i].name);
	}
	free(sub.entries);
	if (nlink != 2 + dirs)
		sim_fail(k->w, "%c: directory %s has link count %u and %u subdirectories", "PS"[k->side], path, nlink,
			 dirs);
}

static void describe(struct walker *k, const char *dirpath, const char *name, uint64_t ino, unsigned depth)
{
	struct volume *v = k->w->side[k->side].v;
	char *path = xasprintf("%s/%s", dirpath, name);
	struct attr a, looked;
	uint64_t seen = 0;

	if (depth > 100) {
		sim_fail(k->w, "%c: a loop at %s", "PS"[k->side], path);
	} else if (volume_getattr(v, ino, &a) < 0) {
		sim_fail(k->w, "%c: %s leads to no inode", "PS"[k->side], path);
	} else {
		buf_printf(&k->text, "%s ino %llx mode %o uid %u gid %u size %llu nlink %u mtime %lld.%09ld", path,
			   (unsigned long long)ino, a.mode, a.uid, a.gid,
			   S_ISDIR(a.mode) ? 0ull : (unsigned long long)a.size_bytes, a.nlink,
			   (long long)a.mtime.tv_sec, a.mtime.tv_nsec);
		map_get(&k->links, ino, &seen);
		map_put(&k->links, ino, seen + 1);
		if (S_ISREG(a.mode))
			describe_content(k, path, &a);
		if (S_ISLNK(a.mode)) {
			char target[SYMLINK_MAX_BYTES];
			ssize_t n = volume_readlink(v, ino, target, sizeof(target));

			buf_printf(&k->text, " -> %.*s", n > 0 ? (int)n : 0, target);
		}
		describe_xattrs(k, path, ino, a.mode);
		buf_printf(&k->text, "\n");
		if (S_ISDIR(a.mode))
			walk_dir(k, path, ino, depth, a.nlink);
		else if (seen && S_ISDIR(a.mode))
			sim_fail(k->w, "%c: directory %s has two places", "PS"[k->side], path);
	}
	if (volume_lookup(v, INO_ROOT, "..", &looked) < 0)
		sim_fail(k->w, "%c: lookup of .. fails", "PS"[k->side]);
	free(path);
}

static void check_nlinks(struct walker *k)
{
	size_t it = 0;
	uint64_t ino, names;

	while (map_next(&k->links, &it, &ino, &names)) {
		struct attr a;

		if (volume_getattr(k->w->side[k->side].v, ino, &a) == 0 && !S_ISDIR(a.mode) && a.nlink != names)
			sim_fail(k->w, "%c: inode %#llx has link count %u and %llu names", "PS"[k->side],
				 (unsigned long long)ino, a.nlink, (unsigned long long)names);
	}
}

static void describe_conflicts(struct walker *k)
{
	struct conflict *c;
	size_t n;

	if (volume_conflicts(k->w->side[k->side].v, &c, &n) != 0) {
		sim_fail(k->w, "%c: the conflicts cannot be read", "PS"[k->side]);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		buf_printf(&k->text, "conflict %llx %s %s %s: %s, base %s,", (unsigned long long)c[i].id, c[i].kind,
			   c[i].outcome, c[i].resolved ? "resolved" : "open", c[i].now ?: "-", c[i].base_path ?: "-");
		for (int s = 0; s < 2; s++)
			buf_printf(&k->text, " %s %s %s", c[i].version[s].node, c[i].version[s].path ?: "-",
				   c[i].version[s].value ?: "-");
		buf_printf(&k->text, "\n");
		conflict_release(&c[i]);
	}
	free(c);
}

char *inspect_tree(struct world *w, int side)
{
	struct walker k = { .w = w, .side = side };
	char *text;
	struct attr a;

	buf_init(&k.text, 64u << 20);
	volume_getattr(w->side[side].v, INO_ROOT, &a);
	walk_dir(&k, "", INO_ROOT, 0, a.nlink);
	buf_append(&k.text, "", 1);
	text = xstrdup((char *)k.text.data);
	done(&k);
	return text;
}

static void walk(struct walker *k, struct world *w, int side)
{
	struct attr a;

	memset(k, 0, sizeof(*k));
	k->w = w;
	k->side = side;
	buf_init(&k->text, 64u << 20);
	if (volume_getattr(w->side[side].v, INO_ROOT, &a) < 0)
		sim_fail(w, "%c: no root", "PS"[side]);
	else
		walk_dir(k, "", INO_ROOT, 0, a.nlink);
	if (volume_getattr(w->side[side].v, INO_HIDDEN, &a) == 0)
		walk_dir(k, "/" HIDDEN_NAME, INO_HIDDEN, 0, a.nlink);
	check_nlinks(k);
	describe_conflicts(k);
	buf_append(&k->text, "", 1);
}

static void done(struct walker *k)
{
	buf_release(&k->text);
	map_release(&k->links);
	map_release(&k->tokens);
	map_release(&k->units);
}

static void compare(struct world *w, struct walker *a, struct walker *b)
{
	const char *x = (const char *)a->text.data, *y = (const char *)b->text.data;

	while (*x && *x == *y) {
		const char *nx = strchr(x, '\n'), *ny = strchr(y, '\n');

		if (!nx || !ny || nx - x != ny - y || memcmp(x, y, (size_t)(nx - x)) != 0)
			break;
		x = nx + 1;
		y = ny + 1;
	}
	if (*x || *y)
		sim_fail(w, "the trees differ\n  P: %.*s\n  S: %.*s", (int)strcspn(x, "\n"), x, (int)strcspn(y, "\n"),
			 y);
}

static void check_lost(struct world *w, struct walker *k)
{
	for (uint64_t t = 1; t <= w->ledger.n; t++)
		if ((w->ledger.state[t] & ~(TOKEN_BY_S | TOKEN_APART | TOKEN_COPIED)) ==
			    TOKEN_LIVE /* and no more */ &&
		    !map_get(&k->tokens, t, NULL)) {
			sim_fail(w, "%c: T%llx was written, nobody overwrote it, and it is gone", "PS"[k->side],
				 (unsigned long long)t);
			return;
		}
}

/* Has a directory its place, and is all there that was written through it, and that nobody overwrote? A word of a
 * person sets versions aside. */
static void check_held(struct world *w, int side, const struct held *h)
{
	struct volume *v = w->side[side].v;
	struct map there = MAP_INIT;
	struct attr a;
	uint8_t *p;

	if (w->n_words > 0 || volume_getattr(v, h->ino, &a) < 0)
		return;
	if (S_ISDIR(a.mode) && a.nlink == 0 && !w->dirs_removed)
		sim_fail(w, "%c: nobody removed a directory, and the one held as %#llx has no place", "PS"[side],
			 (unsigned long long)h->ino);
	if (h->n_wrote == 0)
		return;
	p = xmalloc(a.size_bytes + 1);
	if (volume_read(v, h->ino, p, a.size_bytes, 0) != (ssize_t)a.size_bytes)
		sim_fail(w, "%c: what is held as %#llx cannot be read", "PS"[side], (unsigned long long)h->ino);
	else
		for (uint64_t i = 0; i < a.size_bytes; i++) {
			uint64_t t = token_at(p + i, a.size_bytes - i);

			if (t)
				map_put(&there, t, 1);
		}
	for (size_t i = 0; i < h->n_wrote; i++)
		for (uint64_t t = h->wrote[i].token; t < h->wrote[i].token + h->wrote[i].n; t++)
			if ((w->ledger.state[t] & ~(TOKEN_BY_S | TOKEN_APART)) == TOKEN_LIVE &&
			    !map_get(&there, t, NULL))
				sim_fail(w, "%c: T%llx was written to what is held as %#llx, and is not there",
					 "PS"[side], (unsigned long long)t, (unsigned long long)h->ino);
	map_release(&there);
	free(p);
}

bool inspect_quiet(struct world *w)
{
	struct walker p, s;

	walk(&p, w, 0);
	walk(&s, w, 1);
	if (w->trace)
		fprintf(stderr, "--- P\n%s--- S\n%s", (char *)p.text.data, (char *)s.text.data);
	compare(w, &p, &s);
	sim_digest(w, (char *)p.text.data);
	check_lost(w, &p);
	for (int i = 0; i < 2; i++)
		for (size_t k = 0; k < w->side[i].n_refs; k++)
			check_held(w, i, &w->side[i].refs[k]);
	done(&p);
	done(&s);
	for (int i = 0; i < 2; i++) {
		struct volume_info info;

		volume_info(w->side[i].v, &info);
		if (info.pending_entries)
			sim_fail(w, "%c: %llu entries are still pending at a quiet point", "PS"[i],
				 (unsigned long long)info.pending_entries);
	}
	return !w->failure[0];
}
