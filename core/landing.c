/* SPDX-License-Identifier: MIT */
/* Who looks: what the plan has is carried out, of one inode or of the next few. How it is written: landing_write.c. */
#include "core/landing.h"

#include "core/blocks.h"
#include "core/data_private.h"
#include "core/internal.h"
#include "db/inode_rows.h"
#include "db/landing_rows.h"
#include "util/log.h"
#include "util/util.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Inodes that are carried out under one hold of the lock: a few milliseconds, and a commit. */
#define STEP_INODES 64u
/* No path has more names. */
#define DEPTH_MAX 4096u

static int carry(struct volume *v, uint64_t ino);

/* ---- links ---- */

/* A name of another link's: it gives it up. More to be placed: the worklist. */
struct waiting {
	struct landing_link *list;
	size_t n, cap;
};

static void wait_for_place(struct waiting *w, const struct landing_link *l)
{
	if (w->n == w->cap) {
		w->cap = w->cap ? 2 * w->cap : 4;
		w->list = xrealloc(w->list, w->cap * sizeof(*w->list));
	}
	w->list[w->n++] = *l;
}

/* What our change set said of it is answered by this (the primary), or is to be told anew (the secondary). */
static int link_is_taken(struct volume *v, uint64_t link)
{
	return v->info.role == ROLE_PRIMARY ? changes_drop_link(v, link)
					    : changes_skipped_taken(v, link, v->info.applied);
}

/*
 * A directory that goes, and in which something of the plan is left, perhaps very much. Nobody is to wait for all of
 * that because he wants its name: it goes to a place where nobody looks, and from there when it is empty. Who lists
 * .twinfs has it carried out first, as by its row it is in there. True: it is there, by *rc.
 */
static bool set_aside(struct volume *v, struct landing_link *l, int *rc)
{
	uint64_t child;
	uint32_t mode;

	if (l->parent || l->child == v->carry_whole || inode_row_mode(v->db, l->child, &mode) || !S_ISDIR(mode) ||
	    landing_link_from(v->db, l->child, &child))
		return false;
	l->name_len = (uint8_t)snprintf(l->name, sizeof(l->name), "landing-%llx", (unsigned long long)l->link);
	*rc = tree_link_put(v, l->link, INO_HIDDEN, l->name, l->name_len, l->child, ORIGIN_LOCAL);
	if (*rc == -EEXIST)
		return false;
	l->from_parent = INO_HIDDEN;
	l->turn = 2;
	*rc = *rc ? *rc : landing_link_put(v->db, l);
	return true;
}

static int give_up_name(struct volume *v, const struct landing_link *l, struct waiting *w)
{
	struct landing_link other;
	struct dentry d;
	int rc = tree_lookup(v, l->parent, l->name, l->name_len, &d);

	if (rc)
		return rc == -ENOENT ? 0 : rc;
	if (map_get(&v->carry_drops, d.link, NULL))
		return tree_link_detach(v, d.link);
	rc = landing_link_get(v->db, d.link, &other);
	if (rc)
		return rc != -ENOENT ? rc
				     : db_damaged(v->db, "a landing puts link %llu where another one stays",
						  (unsigned long long)l->link);
	if (!other.parent)
		return set_aside(v, &other, &rc) ? rc : carry(v, other.child);
	rc = landing_link_drop(v->db, other.link);
	if (!rc)
		rc = link_is_taken(v, other.link);
	if (!rc)
		rc = tree_link_detach(v, other.link);
	wait_for_place(w, &other);
	return rc;
}

/* What has to come first may want the place that the link has now. */
static int leave_place(struct volume *v, const struct landing_link *l)
{
	int rc = tree_link_detach(v, l->link);

	return rc == -ENOENT ? 0 : rc;
}

static int have_parent(struct volume *v, const struct landing_link *l)
{
	uint32_t mode;
	int rc = inode_row_mode(v->db, l->parent, &mode);

	if (rc == -ENOENT || (!rc && volume_is_orphan(v, l->parent))) { /* the plan makes it, or makes it again */
		rc = leave_place(v, l);
		if (!rc)
			rc = carry(v, l->parent);
		if (!rc)
			rc = inode_row_mode(v->db, l->parent, &mode);
	}
	if (rc == -ENOENT || (!rc && !S_ISDIR(mode)))
		return db_damaged(v->db, "a landing puts names into %llu, which is no directory",
				  (unsigned long long)l->parent);
	return rc;
}

static int put(struct volume *v, const struct landing_link *l)
{
	return tree_link_put(v, l->link, l->parent, l->name, l->name_len, l->child, ORIGIN_PEER);
}

static int place_one(struct volume *v, const struct landing_link *l, struct waiting *w)
{
	int rc = have_parent(v, l);

	if (!rc)
		rc = put(v, l);
	if (rc != -EEXIST)
		return rc;
	rc = leave_place(v, l);
	if (!rc)
		rc = give_up_name(v, l, w);
	return rc ? rc : put(v, l);
}

/* The link goes to its place, and whichever has to leave it to theirs. */
static int place(struct volume *v, const struct landing_link *l)
{
	struct waiting w = { NULL, 0, 0 };
	struct landing_link next;
	int rc = place_one(v, l, &w);

	while (!rc && w.n > 0) {
		next = w.list[--w.n];
		rc = place_one(v, &next, &w);
	}
	free(w.list);
	return rc;
}

/* It loses a link. A directory: when nothing of the plan is left in it; what goes elsewhere may want its name there. */
static int drop(struct volume *v, const struct landing_link *l)
{
	uint64_t child;
	int rc, more;

	map_put(&v->carry_drops, l->link, 1);
	do {
		more = landing_link_from(v->db, l->child, &child);
		rc = more ? 0 : carry(v, child);
	} while (!rc && !more);
	map_del(&v->carry_drops, l->link);
	if (rc || more != -ENOENT)
		return rc ? rc : more;
	rc = tree_link_drop(v, l->link);
	return rc == -ENOENT ? 0 : rc; /* it is gone already */
}

/* aside: it goes, but not yet (set_aside). */
static int carry_links(struct volume *v, uint64_t ino, bool *dropped, bool *aside)
{
	struct landing_link *l = xmalloc(sizeof(*l));
	int rc = 0, more;

	while (!rc && !*aside && (more = landing_link_of(v->db, ino, l)) != -ENOENT) {
		*aside = !more && set_aside(v, l, &rc);
		if (more || *aside) {
			rc = more ? more : rc;
			break;
		}
		log_debug("landing", "link %#llx -> %#llx in %#llx as %s", (unsigned long long)l->link,
			  (unsigned long long)l->child, (unsigned long long)l->parent, l->name);
		rc = landing_link_drop(v->db, l->link);
		if (!rc)
			rc = link_is_taken(v, l->link);
		if (!rc)
			rc = l->parent ? place(v, l) : drop(v, l);
		*dropped |= !l->parent;
	}
	free(l);
	return rc;
}

/* ---- inodes ---- */

int landing_make(struct volume *v, const struct landing_inode *p)
{
	struct inode *in = xmalloc(sizeof(*in));
	int rc = tree_inode_get(v, p->ino, in);

	if (rc == -ENOENT) {
		*in = (struct inode){ .ino = p->ino,
			              .shrunk_to = UINT64_MAX,
			              .mode = p->mode,
			              .uid = p->uid,
			              .gid = p->gid,
			              .rdev = p->rdev,
			              .nlink = S_ISDIR(p->mode) ? 2 : 0,
			              .atime_ns = p->atime_ns,
			              .mtime_ns = p->mtime_ns,
			              .ctime_ns = p->ctime_ns,
			              .origin = ORIGIN_PEER,
			              .corigin = ORIGIN_PEER,
			              .cborn = group_number(v) };
		if (S_ISLNK(p->mode)) {
			in->size_bytes = in->target_len = p->target_len;
			memcpy(in->target, p->target, p->target_len);
		}
		rc = tree_inode_put(v, in);
	} else if (rc == 0 && (in->mode & S_IFMT) != (p->mode & S_IFMT)) {
		rc = -EBADMSG;
	}
	free(in);
	return rc;
}

int landing_set(struct volume *v, const struct landing_inode *p, uint64_t ino, uint32_t fields, enum origin origin)
{
	struct inode *in;
	int rc;

	if (!(fields & (LAND_MODE | LAND_OWNER | LAND_TIMES)))
		return 0;
	in = xmalloc(sizeof(*in));
	rc = tree_inode_get(v, ino, in);
	if (rc == 0 && (in->mode & S_IFMT) != (p->mode & S_IFMT))
		rc = -EBADMSG;
	if (rc == 0) {
		if (fields & LAND_MODE)
			in->mode = p->mode;
		if (fields & LAND_OWNER) {
			in->uid = p->uid;
			in->gid = p->gid;
		}
		if (fields & LAND_TIMES) {
			in->atime_ns = p->atime_ns;
			in->mtime_ns = p->mtime_ns;
		}
		in->ctime_ns = MAX(in->ctime_ns, p->ctime_ns);
		in->origin = origin;
		rc = tree_inode_put(v, in);
	}
	free(in);
	return rc;
}

static int carry_runs(struct volume *v, uint64_t ino)
{
	struct landing_run r;
	int rc;

	while ((rc = landing_run_get(v->db, ino, &r)) == 0) {
		struct block_run run = { r.phys, r.len };

		rc = landing_run_drop(v->db, ino, r.off);
		if (!rc && r.phys)
			rc = blocks_adopt(v, ino, r.off, r.len, &run, r.sums, ORIGIN_PEER);
		else if (!rc)
			rc = blocks_drop(v, ino, r.off, r.off + r.len, ORIGIN_PEER);
		if (rc)
			return rc;
	}
	return rc == -ENOENT ? 0 : rc;
}

static int carry_content(struct volume *v, const struct landing_inode *p)
{
	struct lineage note = { .src = p->ino, .dst = p->ino, .grp = group_number(v), .kind = 'b' };
	struct inode *in = xmalloc(sizeof(*in));
	int rc = tree_inode_get(v, p->ino, in);

	/* The block that the cut goes through is among those that come. */
	if (!rc && p->shrunk_to < in->size_bytes)
		rc = blocks_drop_tail(v, p->ino, p->shrunk_to >> BLOCK_SHIFT, ORIGIN_PEER);
	if (!rc)
		rc = carry_runs(v, p->ino);
	if (!rc) {
		if (p->size_bytes > MIN(in->size_bytes, p->shrunk_to))
			rc = leftover_settle(v, p->ino);
		in->size_bytes = p->size_bytes;
		data_touch_inode(v, in, p->size_bytes, ORIGIN_PEER);
	}
	if (!rc)
		rc = tree_inode_put(v, in);
	/* What the secondary sends next goes on top of this, however much we change meanwhile (sync/merge.c). */
	if (!rc && v->info.role == ROLE_PRIMARY)
		rc = lineage_put(v, &note);
	free(in);
	return rc;
}

/* The primary knows by the peer's record that its own change of that was seen. */
static int forget_seen(struct volume *v, const struct landing_inode *p)
{
	static const struct {
		uint32_t field;
		enum entity what;
	} map[] = { { LAND_CONTENT, ENT_CONTENT }, { LAND_MODE, ENT_MODE }, { LAND_OWNER, ENT_OWNER },
		    { LAND_TIMES, ENT_TIMES } };
	struct change_row rows[ENT_ASK + 1];
	unsigned changed = v->info.role == ROLE_PRIMARY ? changes_of_inode(v, p->ino, rows) : 0;
	int rc = 0;

	for (size_t i = 0; !rc && i < ARRAY_LEN(map); i++)
		if ((p->fields & map[i].field) && (changed & 1u << map[i].what))
			rc = changes_drop(v, p->ino, map[i].what);
	return rc;
}

/* ---- xattrs ---- */

struct stray {
	struct volume *v;
	uint64_t ino;
	char *key; /* the first */
	int rc;
};

static int is_stray(void *ctx, const char *key, const void *value, size_t len_bytes)
{
	struct stray *s = ctx;
	struct change_row row;
	bool comes;

	(void)value;
	(void)len_bytes;
	s->rc = landing_xattr_has(s->v->db, s->ino, key, &comes);
	if (s->rc || (!comes && changes_get_xattr(s->v, s->ino, key, &row) < 0)) {
		s->key = xstrdup(key);
		return 1;
	}
	return 0;
}

/* An inode that came whole has just the attributes that came with it. */
static int drop_strays(struct volume *v, uint64_t ino)
{
	int rc = 0;

	while (!rc) {
		struct stray s = { .v = v, .ino = ino };

		rc = tree_xattrs(v, ino, is_stray, &s);
		rc = rc < 0 ? rc : s.rc;
		if (!s.key)
			break;
		if (!rc)
			rc = tree_xattr_put(v, ino, s.key, NULL, 0, ORIGIN_PEER);
		free(s.key);
	}
	return rc;
}

static int carry_xattrs(struct volume *v, uint64_t ino)
{
	struct landing_xattr x;
	char *after = xstrdup("");
	int rc;

	while ((rc = landing_xattr_next(v->db, ino, after, &x)) == 0) {
		free(after);
		after = x.key;
		rc = tree_xattr_put(v, ino, x.key, x.value, x.len_bytes, ORIGIN_PEER);
		rc = rc == -ENODATA ? 0 : rc;
		if (!rc && v->info.role == ROLE_PRIMARY)
			rc = changes_drop_xattr(v, ino, x.key);
		free(x.value);
		if (rc)
			break;
	}
	free(after);
	return rc != -ENOENT ? rc : landing_xattrs_drop(v->db, ino);
}

/* ---- all of an inode ---- */

static int carry_rest(struct volume *v, const struct landing_inode *p)
{
	int rc = landing_inode_drop(v->db, p->ino);

	if (!rc && (p->fields & LAND_CONTENT) && S_ISREG(p->mode))
		rc = carry_content(v, p);
	if (!rc)
		rc = landing_set(v, p, p->ino, p->fields, ORIGIN_PEER);
	if (!rc)
		rc = forget_seen(v, p);
	return !rc && (p->fields & LAND_EXACT) ? drop_strays(v, p->ino) : rc;
}

static int carry_all(struct volume *v, struct landing_inode *p, uint64_t ino)
{
	bool has, dropped = false, aside = false;
	int rc = landing_inode_get(v->db, ino, p);

	has = rc == 0;
	log_debug("landing", "inode %#llx: %#x", (unsigned long long)ino, has ? p->fields : 0);
	rc = rc == -ENOENT ? 0 : rc;
	if (has && (p->fields & LAND_NEW))
		rc = landing_make(v, p);
	if (!rc)
		rc = carry_links(v, ino, &dropped, &aside);
	if (aside)
		return rc;
	if (dropped)
		map_put(&v->carry_reap, ino, 1);
	/* Its own name may have been in the way: then all of it was carried out by now. */
	if (!rc && has) {
		rc = landing_inode_get(v->db, ino, p);
		has = rc == 0;
		rc = rc == -ENOENT ? 0 : rc;
	}
	if (!rc && has)
		rc = carry_rest(v, p);
	return rc ? rc : carry_xattrs(v, ino);
}

/* What has lost its last link; directories are empty by now. */
static int reap_all(struct volume *v)
{
	uint64_t ino, value;
	size_t it = 0;
	int rc = 0;

	if (map_count(&v->carry_reap) == 0)
		return 0; /* it may have room for very many */
	while (!rc && map_next(&v->carry_reap, &it, &ino, &value))
		rc = tree_reap(v, ino);
	map_clear(&v->carry_reap);
	return rc;
}

static int carry(struct volume *v, uint64_t ino)
{
	struct landing_inode *p = xmalloc(sizeof(*p));
	int rc;

	v->carry_depth++;
	rc = carry_all(v, p, ino);
	v->carry_depth--;
	free(p);
	return rc || v->carry_depth > 0 ? rc : reap_all(v);
}

/* ---- a part of the plan ---- */

int landing_open_quietly(struct volume *v)
{
	int rc;

	v->tidying = true;
	rc = group_open(v);
	v->tidying = false;
	return rc;
}

/* What is carried out is the peer's, as if it were applied. whole: that is not set aside. */
static int begin(struct volume *v, uint64_t whole)
{
	int rc;

	assert(!v->peer_apply);
	rc = landing_open_quietly(v);
	v->peer_apply = rc == 0;
	v->carry_whole = whole;
	return rc;
}

static int end(struct volume *v, int rc)
{
	v->peer_apply = false;
	map_clear(&v->noticed);
	map_clear(&v->carry_reap);
	map_clear(&v->carry_drops);
	/* What is in the plan was judged to fit. If the database refuses it, the group goes, and what is right is known
	 * anew when the volume is well again. */
	if (rc)
		log_debug("landing", "%s: %s", v->dir, strerror(-rc));
	if (rc && v->info.group_open)
		return group_fault(v, rc, "the peer's changes cannot be carried out");
	return rc ? rc : group_commit_locked(v);
}

static int finish(struct volume *v)
{
	int rc = landing_rows_clear(v->db);

	if (!rc)
		rc = landing_rows_set_hold(v->db, false);
	group_keep(v);
	v->landing = false;
	log_debug("landing", "%s: carried out", v->dir);
	return rc;
}

static int carry_one(struct volume *v, uint64_t ino, uint64_t whole)
{
	int rc = begin(v, whole);

	return rc ? rc : end(v, carry(v, ino));
}

int landing_need_inode(struct volume *v, uint64_t ino)
{
	bool any;
	int rc;

	if (!v->landing || v->peer_apply)
		return 0;
	rc = landing_rows_about(v->db, ino, &any);
	return rc || !any ? rc : carry_one(v, ino, ino);
}

int landing_need_inodes(struct volume *v, const uint64_t *inodes, size_t n)
{
	bool any = false;
	int rc = 0;

	for (size_t i = 0; v->landing && !v->peer_apply && !rc && !any && i < n; i++)
		rc = landing_rows_about(v->db, inodes[i], &any);
	if (rc || !any)
		return rc;
	rc = begin(v, 0);
	if (rc)
		return rc;
	for (size_t i = 0; !rc && i < n; i++)
		rc = carry(v, inodes[i]);
	return end(v, rc);
}

int landing_need_name(struct volume *v, uint64_t parent, const char *name)
{
	struct landing_link l;
	struct dentry d;
	uint64_t child;
	int rc = landing_need_inode(v, parent);

	if (rc || !v->landing || v->peer_apply)
		return rc;
	rc = landing_link_named(v->db, parent, name, strlen(name), &child);
	if (!rc)
		rc = carry_one(v, child, 0);
	if (rc && rc != -ENOENT)
		return rc;
	rc = tree_lookup(v, parent, name, strlen(name), &d);
	if (!rc && landing_link_get(v->db, d.link, &l) == 0) {
		rc = carry_one(v, l.child, 0);
		return rc; /* it was another one's name before, and is none now or the one looked for above */
	}
	return rc == -ENOENT ? 0 : rc ? rc : landing_need_inode(v, d.child);
}

/* The next thing that is to be done in the directory; -ENOENT: there is none. */
static int next_in_dir(struct volume *v, uint64_t dir, uint64_t *child)
{
	int rc = landing_link_from(v->db, dir, child);

	return rc == -ENOENT ? landing_link_into(v->db, dir, child) : rc;
}

/* What has to be done first in a directory that goes: *ino, or the first thing below it that leaves nothing behind. */
static int innermost(struct volume *v, uint64_t *ino)
{
	int rc = 0;

	for (unsigned depth = 0; !rc && depth < DEPTH_MAX; depth++)
		rc = landing_link_from(v->db, *ino, ino);
	if (!rc)
		return db_damaged(v->db, "a landing has inode %llu below itself", (unsigned long long)*ino);
	return rc == -ENOENT ? 0 : rc;
}

static int some_of_dir(struct volume *v, uint64_t dir)
{
	uint64_t child;
	int rc = 0, more = 0;

	for (unsigned i = 0; !rc && !more && i < STEP_INODES; i++) {
		more = next_in_dir(v, dir, &child);
		if (!more && dir == INO_HIDDEN) /* what was set aside, perhaps */
			rc = innermost(v, &child);
		if (!more && !rc)
			rc = carry(v, child);
	}
	return rc ? rc : more == -ENOENT ? 0 : more;
}

bool landing_dir_is_ready(struct volume *v, uint64_t dir)
{
	uint64_t child;

	return !v->landing || next_in_dir(v, dir, &child) == -ENOENT;
}

/* The lock, and 1: it is ready; else, without it, 0: some more was carried out. -errno, with the lock. */
static int lock_then_some(struct volume *v, uint64_t dir, bool (*ready)(struct volume *v, uint64_t dir))
{
	int rc;

	volume_lock_now(v);
	if (ready(v, dir))
		return 1;
	rc = begin(v, 0);
	if (!rc)
		rc = end(v, some_of_dir(v, dir));
	if (rc)
		return rc;
	volume_unlock(v);
	volume_pause(v);
	return 0;
}

int landing_lock_dir(struct volume *v, uint64_t dir)
{
	int rc;

	while (!(rc = lock_then_some(v, dir, landing_dir_is_ready)))
		;
	return rc < 0 ? rc : landing_need_inode(v, dir);
}

/* Is it a directory that goes with what is in it? Then all of that goes first. */
static bool is_no_end(struct volume *v, uint64_t ino)
{
	struct landing_link l;
	uint64_t child;

	return !v->landing || landing_link_of(v->db, ino, &l) != 0 || l.parent ||
	       landing_link_from(v->db, ino, &child) != 0;
}

int landing_lock_inode(struct volume *v, uint64_t ino)
{
	int rc;

	while (!(rc = lock_then_some(v, ino, is_no_end)))
		;
	return rc < 0 ? rc : landing_need_inode(v, ino);
}

static int some_inodes(struct volume *v)
{
	uint64_t ino, first;
	int rc = 0;

	for (unsigned i = 0; !rc && i < STEP_INODES; i++) {
		struct landing_pos before = v->landing_pos;

		rc = landing_rows_next(v->db, &v->landing_pos, &ino);
		if (rc == -ENOENT)
			return finish(v);
		first = ino;
		if (!rc && v->landing_pos.turn == 2)
			rc = innermost(v, &first);
		if (first != ino)
			v->landing_pos = before;
		if (!rc)
			rc = carry(v, first);
	}
	return rc;
}

bool landing_step(struct volume *v)
{
	bool more;

	volume_lock_behind(v);
	if (v->landing && begin(v, 0) == 0)
		end(v, some_inodes(v)); /* a failure is the volume's, and remembered there */
	more = v->landing && v->health == HEALTH_WELL;
	volume_unlock(v);
	return more;
}

bool landing_holds(struct volume *v)
{
	bool holds;

	volume_lock_now(v);
	holds = v->landing && v->health == HEALTH_WELL;
	volume_unlock(v);
	return holds;
}

/* ---- the store is opened, a group is rolled back ---- */

void landing_load(struct volume *v)
{
	v->landing = landing_rows_hold(v->db);
	v->landing_pos = (struct landing_pos){ 0 };
}

int landing_open(struct volume *v)
{
	struct landing_pos pos = { 0 };
	uint64_t ino;
	int rc;

	landing_load(v);
	if (v->landing)
		return 0;
	rc = landing_rows_next(v->db, &pos, &ino);
	if (rc)
		return rc == -ENOENT ? 0 : rc;
	rc = landing_begin(v);
	return rc ? rc : group_commit_locked(v);
}
