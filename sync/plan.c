/* SPDX-License-Identifier: MIT */
#include "sync/plan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/landing.h"
#include "sync/land.h"
#include "sync/merge_state.h"
#include "util/log.h"
#include "util/util.h"

/* How often it is tried before the shipment is landed at once after all. */
#define PLAN_TRIES 3u

/* So many entries of the part are landed at once though they came to it late; the last try takes what there is. */
#define LATE_MAX 2000u

static int plan_begin(struct plan *p)
{
	int rc;

	volume_lock(p->v);
	rc = landing_watch(p->v);
	return rc ? rc : split_open(&p->split, p->v, p->s, p->ends);
}

/* ---- writing ---- */

/* Now and then, between two entries. */
static int breathe(struct plan *p, size_t i)
{
	return (i + 1) % volume_step_rows(p->v) == 0 ? landing_pause(p->v) : 0;
}

static int mode_of(struct plan *p, uint64_t ino, uint32_t *mode)
{
	struct rec_inode room;
	const struct rec_inode *r;
	struct inode in;
	int rc = tree_inode_get(p->v, ino, &in);

	*mode = rc == 0 ? in.mode : 0;
	if (rc != -ENOENT)
		return rc;
	r = shipment_look(p->s, ino, &room);
	if (r && (r->fields & REC_NEW))
		*mode = r->mode;
	return 0;
}

static int write_link(struct plan *p, const struct ship_link *l)
{
	struct landing_link out = { .link = l->link, .child = l->child, .parent = l->parent };
	struct dentry d;
	uint32_t mode;
	int rc = tree_link_get(p->v, l->link, &d);

	if (rc && rc != -ENOENT)
		return rc;
	rc = mode_of(p, l->child, &mode);
	if (rc)
		return rc;
	if (l->parent) {
		out.name_len = (uint8_t)l->name_len;
		memcpy(out.name, l->name, l->name_len);
	}
	return landing_put_link(p->v, &out, mode);
}

/* Is there, or will there be, such an inode? *in: as it is here. */
static int look_at(struct plan *p, uint64_t ino, struct inode *in, bool *here)
{
	struct rec_inode room;
	const struct rec_inode *r;
	int rc = tree_inode_get(p->v, ino, in);

	*here = rc == 0;
	if (rc != -ENOENT)
		return rc;
	r = shipment_look(p->s, ino, &room);
	return r && (r->fields & REC_NEW) && split_place_of(&p->split, ino) ? 0 : -ENOENT;
}

static int write_inode(struct plan *p, const struct rec_inode *r, struct inode *in, struct landing_inode *out)
{
	uint32_t fields = r->fields;
	bool here;
	int rc = look_at(p, r->ino, in, &here);

	if (rc == -ENOENT) /* it came and went; a directory does not without its name being told */
		return S_ISDIR(r->mode) && (r->fields & REC_NEW) ? -ENOTSUP : 0;
	if (rc || (here && (in->mode & S_IFMT) != (r->mode & S_IFMT)))
		return rc ? rc : -ENOTSUP;
	if (here)
		fields = p->fields(p->v, p->s, r) & ~(uint32_t)REC_NEW;
	land_fill(out, r);
	out->fields = fields & (LAND_NEW | LAND_CONTENT | LAND_MODE | LAND_OWNER | LAND_TIMES);
	if (here && p->exact && (r->fields & REC_NEW) && !S_ISLNK(r->mode))
		out->fields |= LAND_EXACT;
	if (!S_ISREG(r->mode))
		out->fields &= ~(uint32_t)LAND_CONTENT;
	if (!out->fields)
		return 0;
	rc = landing_put_inode(p->v, out);
	if (rc || !(out->fields & LAND_CONTENT))
		return rc;
	rc = landing_put_content(p->v, p->s->stage, out, here ? in->size_bytes : 0);
	if (rc != -ENOTSUP)
		return rc;
	p->split.late = true;
	split_add(&p->split, r->ino, false);
	return 0;
}

static int write_xattr(struct plan *p, const struct ship_xattr *x, struct inode *in)
{
	bool here;
	int rc = look_at(p, x->ino, in, &here);

	if (rc)
		return rc == -ENOENT ? 0 : rc;
	if (p->takes && !p->takes(p->v, p->s, x))
		return 0;
	return landing_put_xattr(p->v, x->ino, x->key, x->value, x->value_len);
}

static int plan_write(struct plan *p)
{
	struct shipment *s = p->s;
	struct landing_inode *out = xmalloc(sizeof(*out));
	struct rec_inode *room = xmalloc(sizeof(*room));
	struct inode *in = xmalloc(sizeof(*in));
	struct ship_link l;
	struct ship_xattr x;
	int rc = landing_begin(p->v);

	p->written = true;
	for (size_t i = 0; !rc && i < s->n_links; i++) {
		if (!split_has_link(&p->split, i) || split_ends_link(&p->split, i))
			rc = write_link(p, shipment_link_at(s, i, &l));
		rc = rc ? rc : breathe(p, i);
	}
	for (size_t i = 0; !rc && i < s->n_inodes; i++) {
		const struct rec_inode *r = shipment_inode_at(s, i, room);

		if (!split_has(&p->split, r->ino))
			rc = write_inode(p, r, in, out);
		rc = rc ? rc : breathe(p, i);
	}
	for (size_t i = 0; !rc && i < s->n_xattrs; i++) {
		const struct ship_xattr *at = shipment_xattr_at(s, i, &x);

		if (!split_has(&p->split, at->ino))
			rc = write_xattr(p, at, in);
		rc = rc ? rc : breathe(p, i);
	}
	free(in);
	free(room);
	free(out);
	return rc;
}

/* ---- what was changed meanwhile ---- */

/* A name was made, moved or removed here. -EAGAIN: it may not fit together any more. */
static int meet_link(struct plan *p, uint64_t link, uint64_t child)
{
	struct split *sp = &p->split;
	struct inode in;
	struct dentry d;
	size_t i;

	if (shipment_find_link(p->s, link, &i))
		split_add_link(sp, i);
	split_add(sp, child, false);
	if (tree_link_get(p->v, link, &d) < 0) {
		if (split_fills(sp, child))
			split_add(sp, child, true);
		return 0;
	}
	/* A directory that was moved may close a loop with another one; one that is new cannot. */
	if (sp->moves_dirs &&
	    (tree_inode_get(p->v, child, &in) < 0 || (S_ISDIR(in.mode) && !landing_is_new(p->v, child))))
		return -EAGAIN;
	split_add_name(sp, d.parent, d.name, d.name_len);
	split_add_above(sp, d.parent);
	return 0;
}

/* A directory of which something else than what was expected may become is no place to hang others on. */
static int late_fits(struct plan *p)
{
	const struct split *sp = &p->split;
	struct inode in;

	if (!p->last && sp->n_late > 0 && split_count(sp) > p->n_judged + LATE_MAX)
		return -EAGAIN;
	for (size_t i = 0; sp->moves_dirs && i < sp->n_late; i++)
		if (split_place_of(sp, sp->late_inodes[i]) &&
		    tree_inode_get(p->v, sp->late_inodes[i], &in) == 0 && S_ISDIR(in.mode))
			return -EAGAIN;
	return 0;
}

/* What meets what was changed here since it was judged leaves the plan. */
static int meet(struct plan *p)
{
	struct split *sp = &p->split;
	const struct map *inodes, *links;
	uint64_t key, value;
	size_t it = 0;
	int rc = landing_watched(p->v, &inodes, &links) ? 0 : -EAGAIN;

	sp->late = true;
	map_clear(&sp->above);
	while (rc == 0 && map_next(links, &it, &key, &value))
		rc = meet_link(p, key, value);
	for (it = 0; rc == 0 && map_next(inodes, &it, &key, &value);)
		split_add(sp, key, false);
	if (rc == 0 && p->meet)
		p->meet(p, inodes, links);
	if (rc == 0)
		rc = split_close(sp);
	if (rc == 0)
		rc = late_fits(p);
	for (size_t i = 0; rc == 0 && i < sp->n_late; i++) {
		if (p->s->stage)
			stage_plan(p->s->stage, sp->late_inodes[i], false);
		rc = landing_leave_out(p->v, sp->late_inodes[i], p->ends, &p->left);
	}
	log_debug("plan", "changed meanwhile: %zu inodes, %zu links; %zu of the shipment's leave it: %d",
		  map_count(inodes), map_count(links), sp->n_late, rc);
	return rc;
}

/* ---- the end ---- */

/* What was made of the part that was is looked at still: it stays until the end. */
static void make_part(struct plan *p)
{
	uint64_t link, how;
	size_t it = 0;

	if (!p->part || p->part_late != p->split.n_late) {
		if (p->n_parts == p->cap_parts) {
			p->cap_parts = p->cap_parts ? 2 * p->cap_parts : 4;
			p->parts = xrealloc(p->parts, p->cap_parts * sizeof(*p->parts));
		}
		p->part = p->parts[p->n_parts++] = split_part(&p->split);
		p->part_late = p->split.n_late;
	}
	while (map_next(&p->part->planned_ends, &it, &link, &how))
		map_put(&p->part->planned_ends, link, 1); /* a try that was taken back may have said more */
}

static void plan_end(struct plan *p, bool held)
{
	volume_lock_now(p->v);
	landing_unwatch(p->v);
	if (!held && p->written)
		landing_give_up(p->v);
	volume_unlock(p->v);
	if (p->done)
		p->done(p);
	for (size_t i = 0; i < p->n_parts; i++)
		split_part_free(p->parts[i]);
	free(p->parts);
	if (held && p->s->stage)
		stage_taken(p->s->stage, &p->left);
	if (p->s->stage)
		stage_give_up_plan(p->s->stage);
	split_release(&p->split);
	map_release(&p->left);
}

static int plan_write_down(struct plan *p)
{
	struct ship_link l;
	struct split_here here;
	int rc = plan_begin(p);

	if (rc == 0)
		rc = p->judge(p);
	/* What leads to something else from now on goes, and comes anew. */
	for (size_t i = 0; rc == 0 && i < p->s->n_links; i++) {
		split_here(&p->split, i, &here);
		if (here.child && here.child != shipment_link_at(p->s, i, &l)->child)
			split_add_link(&p->split, i);
	}
	if (rc == 0)
		rc = split_close(&p->split);
	if (rc == 0 || rc == -ENOTSUP)
		rc = landing_given_up(p->v) ? landing_given_up(p->v) : rc;
	p->n_judged = split_count(&p->split);
	if (rc == 0)
		rc = plan_write(p);
	landing_look_away(p->v);
	volume_unlock(p->v);
	log_debug("plan", "%zu of %zu entries are landed at once", split_count(&p->split), shipment_records(p->s));
	return rc;
}

/* The group in which it begins to hold. */
static int plan_hold(struct plan *p)
{
	int rc;

	make_part(p);
	rc = p->prepare ? p->prepare(p) : 0;
	if (rc == 0)
		rc = volume_apply_begin(p->v);
	if (rc)
		return rc;
	rc = meet(p);
	landing_rest(p->v, true);
	if (rc == 0) {
		make_part(p);
		rc = p->hold(p, p->part);
	}
	landing_rest(p->v, false);
	if (rc == 0) {
		landing_unwatch(p->v);
		rc = landing_hold(p->v);
	}
	return land_end(p->v, p->s, rc);
}

static int land_once(struct plan *p)
{
	struct shipment *s = p->s;
	int rc = plan_write_down(p);

	if (rc == 0 && s->stage)
		rc = stage_sync(s->stage);
	while (rc == 0 && (rc = plan_hold(p)) == -EINPROGRESS)
		rc = 0, p->split.rc = 0;
	plan_end(p, rc == 0);
	return rc;
}

/* 1, or why it is not landed bit by bit. */
static int try_to_land(const struct plan *how)
{
	const struct shipment *s = how->s;
	int rc = -EAGAIN;

	if (shipment_records(s) < landing_least(how->v) || s->begin.to == s->begin.from)
		return 0;
	for (unsigned i = 0; rc == -EAGAIN && i < PLAN_TRIES; i++) {
		struct plan p = *how;

		p.last = i + 1 == PLAN_TRIES;
		rc = land_once(&p);
		log_debug("plan", "try %u of %zu inodes, %zu links: %d", i, s->n_inodes, s->n_links, rc);
	}
	/* No room for what is written twice: at once there may be. */
	return rc == 0 ? 1 : rc == -EAGAIN || rc == -ENOTSUP || rc == -ENOSPC ? 0 : rc;
}

int plan_land(const struct plan *how)
{
	int rc = try_to_land(how);

	if (rc == 0)
		shipment_unpack(how->s);
	return rc;
}
