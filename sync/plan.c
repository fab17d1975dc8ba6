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

static int plan_begin(struct plan *p)
{
	int rc;

	volume_lock(p->v);
	rc = landing_watch(p->v);
	if (rc)
		return rc;
	for (size_t i = 0; i < p->s->n_links; i++) {
		const struct ship_link *l = &p->s->links[i];

		if (l->parent) {
			map_put(&p->children, l->child, 1);
			map_put(&p->parents, l->parent, 1);
		} else if (!map_get(&p->children, l->child, NULL)) {
			map_put(&p->children, l->child, 0);
		}
	}
	return 0;
}

/* ---- writing ---- */

/* Now and then, between two entries. */
static int breathe(struct plan *p, size_t i)
{
	return (i + 1) % volume_step_rows(p->v) == 0 ? landing_pause(p->v) : 0;
}

static int mode_of(struct plan *p, uint64_t ino, uint32_t *mode)
{
	const struct rec_inode *r = shipment_inode(p->s, ino);
	struct inode in;
	int rc = tree_inode_get(p->v, ino, &in);

	*mode = rc == 0 ? in.mode : 0;
	if (rc != -ENOENT)
		return rc;
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
	if (rc == 0 && d.child != l->child)
		return -ENOTSUP; /* it goes, and comes anew */
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
	const struct rec_inode *r = shipment_inode(p->s, ino);
	uint64_t placed = 0;
	int rc = tree_inode_get(p->v, ino, in);

	*here = rc == 0;
	if (rc != -ENOENT)
		return rc;
	map_get(&p->children, ino, &placed);
	return r && (r->fields & REC_NEW) && placed ? 0 : -ENOENT;
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
	map_put(&p->contents, r->ino, 1);
	return landing_put_content(p->v, p->s->stage, out, here ? in->size_bytes : 0);
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
	struct inode *in = xmalloc(sizeof(*in));
	int rc = landing_begin(p->v);

	p->written = true;
	for (size_t i = 0; !rc && i < s->n_links; i++) {
		rc = write_link(p, &s->links[i]);
		rc = rc ? rc : breathe(p, i);
	}
	for (size_t i = 0; !rc && i < s->n_inodes; i++) {
		rc = write_inode(p, s->inodes[i], in, out);
		rc = rc ? rc : breathe(p, i);
	}
	for (size_t i = 0; !rc && i < s->n_xattrs; i++) {
		rc = write_xattr(p, &s->xattrs[i], in);
		rc = rc ? rc : breathe(p, i);
	}
	free(in);
	free(out);
	return rc;
}

/* ---- does it fit? ---- */

/* A name was made, moved or removed here. */
static bool link_fits(struct plan *p, uint64_t link, uint64_t child)
{
	struct inode in;
	struct dentry d;

	if (shipment_link(p->s, link) || map_get(&p->children, child, NULL) || map_get(&p->parents, child, NULL) ||
	    shipment_inode(p->s, child) || map_get(&p->s->xattr_by_ino, child, NULL))
		return false;
	if (tree_link_get(p->v, link, &d) < 0) /* removed; of a directory, it is neither in a path nor a place of it */
		return true;
	/* A directory that was moved may close a loop; one that is new cannot. */
	if (tree_inode_get(p->v, child, &in) < 0 || (S_ISDIR(in.mode) && !landing_is_new(p->v, child)))
		return false;
	if (p->alone && (map_get(&p->parents, d.parent, NULL) || families_tail(d.name, d.name_len)))
		return false;
	return !landing_gives_name(p->v, d.parent, d.name, d.name_len) && !landing_ends(p->v, d.parent);
}

/* Something else of it was changed here: of a directory that is not taken from the shipment then. */
static bool inode_fits(struct plan *p, uint64_t ino)
{
	const struct rec_inode *r = shipment_inode(p->s, ino);
	uint64_t placed;
	struct inode in;

	if (map_get(&p->children, ino, &placed) || map_get(&p->s->xattr_by_ino, ino, NULL))
		return false;
	if (p->alone && map_get(&p->parents, ino, NULL))
		return false;
	if (!r)
		return true;
	if (p->alone || tree_inode_get(p->v, ino, &in) < 0 || !S_ISDIR(in.mode))
		return false;
	return landing_spare(p->v, ino, r->fields & ~p->fields(p->v, p->s, r)) == 0;
}

static bool plan_fits(struct plan *p)
{
	const struct map *inodes, *links;
	uint64_t key, value;
	size_t it = 0;
	bool fits = landing_watched(p->v, &inodes, &links);

	if (p->with_any && map_count(inodes) + map_count(links) > 0)
		fits = false;
	while (fits && map_next(links, &it, &key, &value))
		fits = link_fits(p, key, value);
	for (it = 0; fits && map_next(inodes, &it, &key, &value);)
		fits = inode_fits(p, key);
	if (!fits)
		log_debug("plan", "changed meanwhile: %zu inodes, %zu links", map_count(inodes), map_count(links));
	return fits;
}

/* ---- the end ---- */

static void plan_end(struct plan *p, bool held)
{
	volume_lock_now(p->v);
	landing_unwatch(p->v);
	if (held && p->s->stage)
		stage_taken(p->s->stage, &p->contents);
	else if (!held && p->written)
		landing_give_up(p->v);
	volume_unlock(p->v);
	if (!held && p->s->stage)
		stage_drop_kept(p->s->stage);
	map_release(&p->children);
	map_release(&p->parents);
	map_release(&p->contents);
}

static int land_once(struct plan *p)
{
	struct shipment *s = p->s;
	int rc = plan_begin(p);

	if (rc == 0)
		rc = p->judge(p);
	if (rc == 0 || rc == -ENOTSUP)
		rc = landing_given_up(p->v) ? landing_given_up(p->v) : rc;
	if (rc == 0)
		rc = plan_write(p);
	landing_look_away(p->v);
	volume_unlock(p->v);
	if (rc == 0 && s->stage)
		rc = stage_sync(s->stage);
	if (rc == 0)
		rc = volume_apply_begin(p->v);
	if (rc == 0) {
		rc = plan_fits(p) ? p->hold(p) : -EAGAIN;
		landing_unwatch(p->v);
		if (rc == 0)
			rc = landing_hold(p->v);
		if (rc == 0)
			rc = volume_apply_commit(p->v, s->begin.to);
		else
			volume_apply_abort(p->v);
	}
	plan_end(p, rc == 0);
	return rc;
}

int plan_land(const struct plan *how)
{
	const struct shipment *s = how->s;
	int rc = -EAGAIN;

	if (s->n_inodes + s->n_links + s->n_xattrs < landing_least(how->v) || s->begin.to == s->begin.from)
		return 0;
	for (unsigned i = 0; rc == -EAGAIN && i < PLAN_TRIES; i++) {
		struct plan p = *how;

		rc = land_once(&p);
		log_debug("plan", "try %u of %zu inodes, %zu links: %d", i, s->n_inodes, s->n_links, rc);
	}
	/* No room for what is written twice: at once there may be. */
	return rc == 0 ? 1 : rc == -EAGAIN || rc == -ENOTSUP || rc == -ENOSPC ? 0 : rc;
}
