/* SPDX-License-Identifier: MIT */
#include "sync/outbox.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/changes.h"
#include "core/data.h"
#include "util/util.h"

struct out_range {
	uint64_t ino, off, len_bytes;
};

struct outbox {
	struct volume *v;
	struct rec_ship_begin begin;
	struct rec_inode **inodes; /* each malloc'd, cut off behind its target */
	size_t n_inodes, cap_inodes;
	struct rec_link **links;
	size_t n_links, cap_links;
	struct rec_xattr *xattrs; /* value malloc'd */
	size_t n_xattrs, cap_xattrs;
	struct out_range *ranges; /* ascending by ino, off; inodes before their data, so ranges go last */
	size_t n_ranges, cap_ranges;
	uint64_t clip_off; /* while gathering: ranges of the inode at hand end here */
	const struct told *told; /* while gathering, or NULL */
	uint64_t there_group;    /* of the inode at hand: bytes changed up to this group may be there; 0: none are */
	bool left_out;           /* some of them were left out */
	struct conflict *conflicts;
	size_t n_conflicts, cap_conflicts;
	uint64_t *asks; /* inodes that the receiver shall send whole */
	size_t n_asks, cap_asks;

	/* Position while pulling: phases in this order. */
	enum {
		PULL_BEGIN,
		PULL_INODES,
		PULL_LINKS,
		PULL_XATTRS,
		PULL_CONFLICTS,
		PULL_ASKS,
		PULL_RANGES,
		PULL_END,
		PULL_DONE
	} phase;
	size_t at;
	uint64_t range_done; /* bytes of ranges[at] that are out */
	uint64_t frames, sent_bytes;
	uint8_t *chunk; /* DATA_MAX_BYTES */
};

#define PUSH(o, what)                                                                        \
	(*((o)->what = grow((o)->what, (o)->n_##what, &(o)->cap_##what, sizeof(*(o)->what)), \
	   &(o)->what[(o)->n_##what++]))

static void *grow(void *array, size_t n, size_t *cap, size_t size_bytes)
{
	if (n < *cap)
		return array;
	*cap = *cap ? *cap * 2 : 16;
	return xrealloc(array, *cap * size_bytes);
}

/* ---- the cut -------------------------------------------------------------------------------------------------------
 */

struct gather {
	struct outbox *o;
	struct rec_inode cur; /* the inode whose field groups are being collected; cur.ino 0: none */
	struct inode ino;
	bool skip; /* cur has no link any more: nothing of it is sent */
	uint64_t seen_low; /* of the field groups collected */
};

static void gather_flush(struct gather *g)
{
	struct rec_inode *r = &g->cur;
	size_t size;

	if (!r->ino || g->skip || !r->fields)
		return;
	r->mode = g->ino.mode;
	r->uid = g->ino.uid;
	r->gid = g->ino.gid;
	r->rdev = g->ino.rdev;
	r->size_bytes = g->ino.size_bytes;
	r->atime_ns = g->ino.atime_ns;
	r->mtime_ns = g->ino.mtime_ns;
	r->ctime_ns = g->ino.ctime_ns;
	if (r->fields & REC_NEW) {
		r->fields |= REC_CONTENT | REC_MODE | REC_OWNER | REC_TIMES;
		/* One number for all of it: the lowest, as some of it may have been changed before. */
		r->seen_content = g->seen_low;
		r->target_len = g->ino.target_len;
		memcpy(r->target, g->ino.target, g->ino.target_len);
	}
	r->target[r->target_len] = '\0';
	size = offsetof(struct rec_inode, target) + r->target_len + 1;
	PUSH(g->o, inodes) = memcpy(xmalloc(size), r, size);
}

static int gather_inode(void *ctx, uint64_t ino, enum entity what, const struct change_row *row)
{
	struct gather *g = ctx;
	struct rec_inode *r = &g->cur;

	if (r->ino != ino) {
		int rc;

		gather_flush(g);
		r->ino = ino;
		r->fields = 0;
		r->target_len = 0;
		r->shrunk_to = UINT64_MAX;
		g->seen_low = UINT64_MAX;
		r->seen_content = r->seen_mode = r->seen_owner = r->seen_times = 0;
		rc = tree_inode_get(g->o->v, ino, &g->ino);
		if (rc < 0 && rc != -ENOENT)
			return rc;
		g->skip = rc == -ENOENT || (g->ino.nlink == 0 && ino > INO_HIDDEN);
	}
	if (what == ENT_ASK) {
		if (g->skip) /* it is not here still */
			PUSH(g->o, asks) = ino;
		return 0;
	}
	g->seen_low = MIN(g->seen_low, row->seen);
	switch (what) {
	case ENT_NEW: r->fields |= REC_NEW; break;
	case ENT_CONTENT:
		r->fields |= REC_CONTENT;
		r->seen_content = row->seen;
		if (row->shrunk_grp > g->o->begin.from)
			r->shrunk_to = row->shrunk_to;
		break;
	case ENT_MODE:
		r->fields |= REC_MODE;
		r->seen_mode = row->seen;
		break;
	case ENT_OWNER:
		r->fields |= REC_OWNER;
		r->seen_owner = row->seen;
		break;
	case ENT_TIMES:
		r->fields |= REC_TIMES;
		r->seen_times = row->seen;
		break;
	case ENT_ASK: break;
	}
	return 0;
}

static int gather_link(void *ctx, uint64_t link, const struct change_row *row)
{
	struct outbox *o = ctx;
	struct dentry d;
	struct rec_link *r;
	size_t size;
	int rc = tree_link_get(o->v, link, &d);

	if (rc < 0 && rc != -ENOENT)
		return rc;
	if (rc == -ENOENT)
		d.name_len = 0;
	size = offsetof(struct rec_link, name) + d.name_len + 1u;
	r = xcalloc(1, size);
	r->link = link;
	r->child = row->child;
	r->seen = row->seen;
	r->report = row->skipped;
	if (rc == 0) {
		r->child = d.child;
		r->parent = d.parent;
		r->name_len = d.name_len;
		memcpy((char *)r + offsetof(struct rec_link, name), d.name, d.name_len);
	}
	PUSH(o, links) = r;
	return 0;
}

static int gather_xattr(void *ctx, uint64_t ino, const char *key, const struct change_row *row)
{
	struct outbox *o = ctx;
	struct rec_xattr *r;
	uint8_t *value;
	ssize_t n;
	struct inode in;
	int rc = tree_inode_get(o->v, ino, &in);

	if (rc == -ENOENT || (rc == 0 && in.nlink == 0 && ino > INO_HIDDEN))
		return 0;
	if (rc < 0)
		return rc;
	value = xmalloc(XATTR_VALUE_MAX_BYTES);
	n = tree_xattr_get(o->v, ino, key, value, XATTR_VALUE_MAX_BYTES);
	if (n < 0 && n != -ENODATA) {
		free(value);
		return (int)n;
	}
	r = &PUSH(o, xattrs);
	*r = (struct rec_xattr){ .ino = ino, .seen = row->seen, .removed = n < 0 };
	snprintf(r->key, sizeof(r->key), "%s", key);
	if (n < 0) {
		free(value);
		return 0;
	}
	r->value_len = (uint32_t)n;
	r->value = xrealloc(value, (size_t)n + 1);
	return 0;
}

static int push_range(void *ctx, uint64_t ino, uint64_t off, uint64_t len_bytes)
{
	struct outbox *o = ctx;

	PUSH(o, ranges) = (struct out_range){ .ino = ino, .off = off, .len_bytes = len_bytes };
	return 0;
}

static int gather_range(void *ctx, uint64_t ino, uint64_t off, uint64_t len_bytes, uint64_t grp)
{
	struct outbox *o = ctx;

	if (off >= o->clip_off)
		return 0;
	len_bytes = MIN(len_bytes, o->clip_off - off);
	if (grp > o->there_group)
		return push_range(o, ino, off, len_bytes);
	o->left_out |= told_missing(o->told, ino, off, len_bytes, push_range, o);
	return 0;
}

/* Which bytes of the file may be left out: those unchanged since the peer staged them. Of a file that was cut since
 * none: what is staged may reach past the cut. *changed: the group in which any byte of it changed last. */
static int look_there(struct outbox *o, const struct rec_inode *r, uint64_t *changed)
{
	struct change_row row;
	struct inode *in;
	uint64_t group;
	int rc;

	o->there_group = 0;
	o->left_out = false;
	*changed = o->begin.to;
	if (!told_file(o->told, r->ino, &group))
		return 0;
	rc = changes_get(o->v, r->ino, ENT_CONTENT, &row);
	if (rc < 0 || row.shrunk_grp > group)
		return rc == -ENOENT ? 0 : rc;
	in = xmalloc(sizeof(*in));
	rc = tree_inode_get(o->v, r->ino, in);
	*changed = in->cborn;
	o->there_group = group;
	free(in);
	return rc;
}

/* The byte ranges of one file. */
static int gather_ranges(struct outbox *o, struct rec_inode *r)
{
	uint64_t changed;
	int rc = look_there(o, r, &changed);

	o->clip_off = MIN(r->shrunk_to, r->size_bytes);
	if (rc == 0)
		rc = changes_ranges(o->v, r->ino, o->begin.from, o->begin.to, gather_range, o);
	/* The receiver cuts the file first. All behind the cut goes with it: it may have had some of that from an
	 * earlier shipment. */
	if (rc == 0 && o->clip_off < r->size_bytes) {
		o->clip_off = UINT64_MAX;
		rc = gather_range(o, r->ino, r->shrunk_to, r->size_bytes - r->shrunk_to, changed);
	}
	if (o->left_out)
		r->fields |= REC_STAGED;
	return rc;
}

static int gather_conflict(void *ctx, const struct conflict *c)
{
	struct outbox *o = ctx;
	struct conflict copy = *c;

	copy.rule = xstrdup(c->rule ? c->rule : "");
	copy.path = xstrdup(c->path ? c->path : "");
	for (int i = 0; i < 2; i++) {
		copy.version[i].path = c->version[i].path ? xstrdup(c->version[i].path) : NULL;
		copy.version[i].value = c->version[i].value ? xstrdup(c->version[i].value) : NULL;
	}
	PUSH(o, conflicts) = copy;
	return 0;
}

static int gather_all(struct outbox *o)
{
	struct gather *g = xcalloc(1, sizeof(*g));
	uint64_t from = o->begin.from, to = o->begin.to;
	int rc;

	g->o = o;
	rc = changes_inodes(o->v, from, to, gather_inode, g);
	gather_flush(g);
	free(g);
	if (rc == 0)
		rc = changes_links(o->v, from, to, gather_link, o);
	if (rc == 0)
		rc = changes_xattrs(o->v, from, to, gather_xattr, o);
	if (rc == 0)
		rc = conflict_changed(o->v, from, to, gather_conflict, o);
	/* Ranges only of the inodes that are sent with content; both lists ascend by inode. */
	for (size_t i = 0; rc == 0 && i < o->n_inodes; i++) {
		if ((o->inodes[i]->fields & REC_CONTENT) && S_ISREG(o->inodes[i]->mode))
			rc = gather_ranges(o, o->inodes[i]);
	}
	return rc;
}

/* Ranges may reach past the size (cut off later in the same group): clip them, so that no record can. */
static void clip_ranges(struct outbox *o)
{
	size_t keep = 0, i_ino = 0;

	for (size_t i = 0; i < o->n_ranges; i++) {
		struct out_range r = o->ranges[i];

		while (o->inodes[i_ino]->ino != r.ino)
			i_ino++;
		if (r.off >= o->inodes[i_ino]->size_bytes)
			continue;
		r.len_bytes = MIN(r.len_bytes, o->inodes[i_ino]->size_bytes - r.off);
		o->ranges[keep++] = r;
		o->begin.data_bytes += r.len_bytes;
	}
	o->n_ranges = keep;
}

int outbox_cut(struct volume *v, uint64_t from, const struct told *told, struct outbox **out, struct err *err)
{
	struct outbox *o = xcalloc(1, sizeof(*o));
	struct volume_ids ids;
	int rc = volume_apply_begin(v); /* commits the open group, then holds the lock */

	*out = NULL;
	o->v = v;
	o->told = told;
	if (rc < 0) {
		outbox_free(o);
		return err_set(err, rc, "cannot commit %s: %s", volume_dir(v), strerror(-rc));
	}
	volume_ids(v, &ids);
	o->begin = (struct rec_ship_begin){ .from = from, .to = ids.committed, .seen = ids.applied };
	history_cut(v, o->begin.to);
	rc = group_id(v, o->begin.to, &o->begin.to_id);
	if (rc == 0 && o->begin.to > from)
		rc = gather_all(o);
	if (rc < 0)
		volume_apply_abort(v);
	else
		rc = volume_apply_commit(v, ids.applied); /* nothing was changed: makes no group */
	if (rc < 0) {
		outbox_free(o);
		return err_set(err, rc, "cannot read the change set of %s: %s", volume_dir(v), strerror(-rc));
	}
	o->told = NULL;
	clip_ranges(o);
	o->begin.entries = o->n_inodes + o->n_links + o->n_xattrs + o->n_asks;
	*out = o;
	return 0;
}

void outbox_free(struct outbox *o)
{
	if (!o)
		return;
	for (size_t i = 0; i < o->n_inodes; i++)
		free(o->inodes[i]);
	for (size_t i = 0; i < o->n_links; i++)
		free(o->links[i]);
	for (size_t i = 0; i < o->n_xattrs; i++)
		free((void *)(uintptr_t)o->xattrs[i].value);
	for (size_t i = 0; i < o->n_conflicts; i++)
		conflict_release(&o->conflicts[i]);
	free(o->inodes);
	free(o->links);
	free(o->xattrs);
	free(o->ranges);
	free(o->conflicts);
	free(o->asks);
	free(o->chunk);
	free(o);
}

const struct rec_ship_begin *outbox_begin(const struct outbox *o)
{
	return &o->begin;
}

void outbox_set_flags(struct outbox *o, uint8_t flags)
{
	o->begin.wants_ack = flags;
}

bool outbox_is_empty(const struct outbox *o)
{
	return o->n_inodes + o->n_links + o->n_xattrs + o->n_conflicts + o->n_asks == 0;
}

uint64_t outbox_sent_bytes(const struct outbox *o)
{
	return o->sent_bytes;
}

uint64_t outbox_sent_entries(const struct outbox *o)
{
	const size_t before[] = { [PULL_BEGIN] = 0,
				  [PULL_INODES] = 0,
				  [PULL_LINKS] = o->n_inodes,
				  [PULL_XATTRS] = o->n_inodes + o->n_links,
				  [PULL_CONFLICTS] = o->n_inodes + o->n_links + o->n_xattrs,
				  [PULL_ASKS] = o->n_inodes + o->n_links + o->n_xattrs };
	bool counted = o->phase >= PULL_INODES && o->phase <= PULL_ASKS && o->phase != PULL_CONFLICTS;

	return o->phase > PULL_ASKS ? o->begin.entries : before[o->phase] + (counted ? o->at : 0);
}

/* ---- pulling -------------------------------------------------------------------------------------------------------
 */

static int emit(struct outbox *o, struct buf *to, const struct frame *f)
{
	o->frames++;
	return frame_encode(to, f);
}

/* A block of [off, off + len) cannot be read. What comes before it goes out as it is, to be followed by what is lost:
 * fewer *len bytes of the chunk, or none and *len bytes of the lost block. Lock held. */
static int part_readable(struct outbox *o, uint64_t ino, struct view view, uint64_t off, uint64_t *len, bool *lost)
{
	uint64_t done = 0, piece = 0;
	int rc = 0;

	while (rc == 0 && done < *len) {
		piece = MIN(*len - done, BLOCK_BYTES - (off + done) % BLOCK_BYTES);
		rc = data_read(o->v, ino, view, o->chunk + done, piece, off + done);
		if (rc == 0)
			done += piece;
	}
	*lost = done == 0;
	*len = done ? done : piece;
	return rc == -EIO && (done || data_disk_answers(o->v)) ? 0 : rc;
}

/* The next piece of ranges[at]: a DATA, HOLE or LOST record, at most DATA_MAX_BYTES of data. What this disk has lost is
 * told as such: the peer must get neither wrong bytes nor nothing at all, and all else must go on. But not while the
 * disk gives nothing at all: then it is gone, for a while perhaps, and this is tried again later. */
static int pull_range(struct outbox *o, struct buf *to, struct err *err)
{
	struct out_range *r = &o->ranges[o->at];
	struct view view = { .kind = VIEW_AT, .group = o->begin.to };
	uint64_t off = r->off + o->range_done, left = r->len_bytes - o->range_done, len = left;
	struct frame f = { .type = FRAME_DATA };
	bool hole = false, lost = false;
	int rc;

	volume_lock(o->v);
	rc = data_run(o->v, r->ino, view, off, left, &hole, &len);
	if (rc == 0 && hole) {
		f.type = FRAME_HOLE;
	} else if (rc == 0) {
		len = MIN(len, DATA_MAX_BYTES);
		rc = data_read(o->v, r->ino, view, o->chunk, len, off);
		if (rc == -EIO)
			rc = part_readable(o, r->ino, view, off, &len, &lost);
		if (lost)
			f.type = FRAME_LOST;
	}
	volume_unlock(o->v);
	if (rc < 0)
		return err_set(err, rc, "cannot read inode %#llx at %llu to send it: %s; run `twinfs scrub`",
			       (unsigned long long)r->ino, (unsigned long long)off, strerror(-rc));
	f.data = (struct rec_data){
		.ino = r->ino, .off = off, .len_bytes = len, .data = f.type == FRAME_DATA ? o->chunk : NULL
	};
	o->range_done += len;
	o->sent_bytes += len;
	if (o->range_done == r->len_bytes) {
		o->at++;
		o->range_done = 0;
	}
	return emit(o, to, &f);
}

static int pull_one(struct outbox *o, struct buf *to, struct err *err)
{
	const size_t counts[] = { [PULL_INODES] = o->n_inodes,
				  [PULL_LINKS] = o->n_links,
				  [PULL_XATTRS] = o->n_xattrs,
				  [PULL_CONFLICTS] = o->n_conflicts,
				  [PULL_ASKS] = o->n_asks,
				  [PULL_RANGES] = o->n_ranges };
	struct frame f;

	if (o->phase >= PULL_INODES && o->phase <= PULL_RANGES && o->at == counts[o->phase]) {
		o->phase++;
		o->at = 0;
		return 0;
	}
	switch (o->phase) {
	case PULL_BEGIN:
		f = (struct frame){ .type = FRAME_SHIP_BEGIN, .begin = o->begin };
		o->phase = PULL_INODES;
		return frame_encode(to, &f);
	case PULL_INODES:
		f.type = FRAME_INODE;
		memcpy(&f.inode, o->inodes[o->at],
		       offsetof(struct rec_inode, target) + o->inodes[o->at]->target_len + 1);
		o->at++;
		return emit(o, to, &f);
	case PULL_LINKS:
		f.type = FRAME_LINK;
		memcpy(&f.link, o->links[o->at], offsetof(struct rec_link, name) + o->links[o->at]->name_len + 1);
		o->at++;
		return emit(o, to, &f);
	case PULL_XATTRS:
		f.type = FRAME_XATTR;
		f.xattr = o->xattrs[o->at++];
		return emit(o, to, &f);
	case PULL_CONFLICTS:
		f.type = FRAME_CONFLICT;
		f.conflict.c = o->conflicts[o->at++];
		return emit(o, to, &f);
	case PULL_ASKS:
		f.type = FRAME_SKIP;
		f.skip = (struct rec_skip){ .id = o->asks[o->at++], .unknown = 1 };
		return emit(o, to, &f);
	case PULL_RANGES: return pull_range(o, to, err);
	case PULL_END:
		f = (struct frame){ .type = FRAME_SHIP_END, .end = { .to = o->begin.to, .frames = o->frames } };
		o->phase = PULL_DONE;
		return frame_encode(to, &f);
	case PULL_DONE: break;
	}
	return 0;
}

int outbox_pull(struct outbox *o, struct buf *to, size_t want_bytes, struct err *err)
{
	size_t start = to->len_bytes;

	if (!o->chunk)
		o->chunk = xmalloc(DATA_MAX_BYTES);
	while (o->phase != PULL_DONE && to->len_bytes - start < want_bytes) {
		int rc = pull_one(o, to, err);

		if (rc < 0)
			return rc;
	}
	return o->phase == PULL_DONE;
}
