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
	struct conflict *conflicts;
	size_t n_conflicts, cap_conflicts;
	uint64_t *asks; /* inodes that the receiver shall send whole */
	size_t n_asks, cap_asks;
	struct rec_lineage *lineages;
	size_t n_lineages, cap_lineages;

	/* Position while pulling: phases in this order. */
	enum {
		PULL_BEGIN,
		PULL_INODES,
		PULL_LINKS,
		PULL_XATTRS,
		PULL_CONFLICTS,
		PULL_ASKS,
		PULL_LINEAGES,
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

/*
 * The lock is held while the rows of the change set are copied, as they are changed with all that is done from then on.
 * The state of each thing they name is looked up afterwards, as of group `to`, some at a time: history keeps it.
 */
struct inode_rows { /* of one inode */
	uint64_t ino;
	struct {
		bool any;
		struct change_row row;
	} what[ENT_ASK + 1];
};
struct link_row {
	uint64_t link;
	struct change_row row;
};
struct xattr_row {
	uint64_t ino;
	char *key;
	struct change_row row;
};
struct range_row {
	uint64_t ino, off, len_bytes, grp;
};

struct gather {
	struct outbox *o;
	struct view view; /* at `to` */
	const struct told *told;
	struct inode_rows *inodes;
	size_t n_inodes, cap_inodes;
	struct link_row *links;
	size_t n_links, cap_links;
	struct xattr_row *xattrs;
	size_t n_xattrs, cap_xattrs;
	struct range_row *ranges; /* sorted: ino, off */
	size_t n_ranges, cap_ranges;
	size_t next_range;
	/* Of the file at hand. */
	uint64_t clip_off;    /* its ranges end here */
	uint64_t there_group; /* bytes changed up to this group may be there; 0: none are */
	bool left_out;        /* some of them were left out */
};

/* ---- under the lock */

static int copy_inode_row(void *ctx, uint64_t ino, enum entity what, const struct change_row *row)
{
	struct gather *g = ctx;

	if (g->n_inodes == 0 || g->inodes[g->n_inodes - 1].ino != ino)
		PUSH(g, inodes) = (struct inode_rows){ .ino = ino };
	g->inodes[g->n_inodes - 1].what[what].any = true;
	g->inodes[g->n_inodes - 1].what[what].row = *row;
	return 0;
}

static int copy_link_row(void *ctx, uint64_t link, const struct change_row *row)
{
	struct gather *g = ctx;

	PUSH(g, links) = (struct link_row){ link, *row };
	return 0;
}

static int copy_xattr_row(void *ctx, uint64_t ino, const char *key, const struct change_row *row)
{
	struct gather *g = ctx;

	PUSH(g, xattrs) = (struct xattr_row){ ino, xstrdup(key), *row };
	return 0;
}

static int copy_range_row(void *ctx, uint64_t ino, uint64_t off, uint64_t len_bytes, uint64_t grp)
{
	struct gather *g = ctx;

	PUSH(g, ranges) = (struct range_row){ ino, off, len_bytes, grp };
	return 0;
}

static int copy_conflict(void *ctx, const struct conflict *c)
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

static int copy_lineage(void *ctx, const struct lineage *l)
{
	struct outbox *o = ctx;

	/* Whoever works in a unit stays where it is: the copy is of what was there before. */
	if ((l->kind == 'a' || l->kind == 'c') && l->grp > o->begin.from && l->grp <= o->begin.to)
		PUSH(o, lineages) = (struct rec_lineage){ .src = l->src, .dst = l->dst, .kind = l->kind };
	return 0;
}

static int copy_rows(struct gather *g)
{
	struct volume *v = g->o->v;
	uint64_t from = g->o->begin.from, to = g->o->begin.to;
	int rc = changes_inodes(v, from, to, copy_inode_row, g);

	if (rc == 0)
		rc = changes_links(v, from, to, copy_link_row, g);
	if (rc == 0)
		rc = changes_xattrs(v, from, to, copy_xattr_row, g);
	if (rc == 0)
		rc = changes_all_ranges(v, from, to, copy_range_row, g);
	if (rc == 0)
		rc = lineage_each(v, LINEAGE_INODE, copy_lineage, g->o);
	return rc ? rc : conflict_changed(v, from, to, copy_conflict, g->o);
}

/* ---- some at a time */

static int any_link(void *ctx, const struct dentry *d)
{
	(void)ctx;
	(void)d;
	return 1;
}

/* The inode as of the cut; -ENOENT also if it had no name then: nothing of it is sent. Its link count is of any time
 * since: what has lost its last name gets none again. */
static int inode_then(struct gather *g, uint64_t ino, struct inode *in)
{
	int rc = tree_inode_view(g->o->v, ino, g->view, in);

	if (rc < 0 || in->nlink > 0 || ino <= INO_HIDDEN)
		return rc;
	rc = tree_links_of_view(g->o->v, ino, g->view, any_link, NULL);
	return rc == 1 ? 0 : rc == 0 ? -ENOENT : rc;
}

/* Which bytes of the file may be left out: those unchanged since the peer staged them. Of a file that was cut since
 * none: what is staged may reach past the cut. */
static void look_there(struct gather *g, const struct inode_rows *rows)
{
	const struct change_row *row = &rows->what[ENT_CONTENT].row;
	uint64_t group;

	g->there_group = 0;
	g->left_out = false;
	if (told_file(g->told, rows->ino, &group) && rows->what[ENT_CONTENT].any && row->shrunk_grp <= group)
		g->there_group = group;
}

static int push_range(void *ctx, uint64_t ino, uint64_t off, uint64_t len_bytes)
{
	struct outbox *o = ctx;

	PUSH(o, ranges) = (struct out_range){ .ino = ino, .off = off, .len_bytes = len_bytes };
	return 0;
}

static void gather_range(struct gather *g, const struct range_row *r)
{
	uint64_t len_bytes;

	if (r->off >= g->clip_off)
		return;
	len_bytes = MIN(r->len_bytes, g->clip_off - r->off);
	if (r->grp > g->there_group)
		push_range(g->o, r->ino, r->off, len_bytes);
	else
		g->left_out |= told_missing(g->told, r->ino, r->off, len_bytes, push_range, g->o);
}

/* The byte ranges of one file. Both lists ascend by inode. */
static void gather_ranges(struct gather *g, const struct inode_rows *rows, const struct inode *in, struct rec_inode *r)
{
	look_there(g, rows);
	g->clip_off = MIN(r->shrunk_to, r->size_bytes);
	while (g->next_range < g->n_ranges && g->ranges[g->next_range].ino < r->ino)
		g->next_range++;
	while (g->next_range < g->n_ranges && g->ranges[g->next_range].ino == r->ino)
		gather_range(g, &g->ranges[g->next_range++]);
	/* The receiver cuts the file first. All behind the cut goes with it: it may have had some of that from an
	 * earlier shipment. */
	if (g->clip_off < r->size_bytes) {
		struct range_row behind = { r->ino, r->shrunk_to, r->size_bytes - r->shrunk_to,
					    g->there_group ? in->cborn : g->o->begin.to };

		g->clip_off = UINT64_MAX;
		gather_range(g, &behind);
	}
	if (g->left_out)
		r->fields |= REC_STAGED;
}

/* What changed of it. One number for all of what is new: the lowest, as some of it may have been changed before. */
static void fill_fields(struct rec_inode *r, const struct inode_rows *rows, uint64_t from)
{
	static const uint32_t fields[] = { [ENT_NEW] = REC_NEW,
					   [ENT_CONTENT] = REC_CONTENT,
					   [ENT_MODE] = REC_MODE,
					   [ENT_OWNER] = REC_OWNER,
					   [ENT_TIMES] = REC_TIMES };
	const struct change_row *content = &rows->what[ENT_CONTENT].row;
	uint64_t low = UINT64_MAX;

	for (int what = ENT_NEW; what <= ENT_TIMES; what++)
		if (rows->what[what].any) {
			r->fields |= fields[what];
			low = MIN(low, rows->what[what].row.seen);
		}
	r->seen_content = content->seen;
	r->seen_mode = rows->what[ENT_MODE].row.seen;
	r->seen_owner = rows->what[ENT_OWNER].row.seen;
	r->seen_times = rows->what[ENT_TIMES].row.seen;
	r->shrunk_to = rows->what[ENT_CONTENT].any && content->shrunk_grp > from ? content->shrunk_to : UINT64_MAX;
	if (r->fields & REC_NEW) {
		r->fields |= REC_CONTENT | REC_MODE | REC_OWNER | REC_TIMES;
		r->seen_content = low;
	}
}

static void push_inode(struct gather *g, const struct inode_rows *rows, const struct inode *in)
{
	struct rec_inode *r = xcalloc(1, sizeof(*r));
	size_t size;

	r->ino = rows->ino;
	fill_fields(r, rows, g->o->begin.from);
	r->mode = in->mode;
	r->uid = in->uid;
	r->gid = in->gid;
	r->rdev = in->rdev;
	r->size_bytes = in->size_bytes;
	r->atime_ns = in->atime_ns;
	r->mtime_ns = in->mtime_ns;
	r->ctime_ns = in->ctime_ns;
	if (r->fields & REC_NEW) {
		r->target_len = in->target_len;
		memcpy(r->target, in->target, in->target_len);
	}
	if (!r->fields) { /* it was only asked for, and is here */
		free(r);
		return;
	}
	if ((r->fields & REC_CONTENT) && S_ISREG(r->mode))
		gather_ranges(g, rows, in, r);
	size = offsetof(struct rec_inode, target) + r->target_len + 1u;
	PUSH(g->o, inodes) = xrealloc(r, size);
}

static int gather_inode(struct gather *g, size_t i)
{
	const struct inode_rows *rows = &g->inodes[i];
	struct inode in;
	int rc = inode_then(g, rows->ino, &in);

	if (rc == -ENOENT && rows->what[ENT_ASK].any) /* it is not here still */
		PUSH(g->o, asks) = rows->ino;
	if (rc == 0)
		push_inode(g, rows, &in);
	return rc == -ENOENT ? 0 : rc;
}

static int gather_link(struct gather *g, size_t i)
{
	const struct change_row *row = &g->links[i].row;
	struct dentry d;
	struct rec_link *r;
	size_t size;
	int rc = tree_link_view(g->o->v, g->links[i].link, g->view, &d);

	if (rc < 0 && rc != -ENOENT)
		return rc;
	if (rc == -ENOENT)
		d.name_len = 0;
	size = offsetof(struct rec_link, name) + d.name_len + 1u;
	r = xcalloc(1, size);
	r->link = g->links[i].link;
	r->child = row->child;
	r->seen = row->seen;
	r->report = row->skipped;
	if (rc == 0) {
		r->child = d.child;
		r->parent = d.parent;
		r->name_len = d.name_len;
		memcpy((char *)r + offsetof(struct rec_link, name), d.name, d.name_len);
	}
	PUSH(g->o, links) = r;
	return 0;
}

static int gather_xattr(struct gather *g, size_t i)
{
	const struct xattr_row *row = &g->xattrs[i];
	uint8_t *value;
	ssize_t n;
	struct rec_xattr *r;
	struct inode in;
	int rc = inode_then(g, row->ino, &in);

	if (rc)
		return rc == -ENOENT ? 0 : rc;
	value = xmalloc(XATTR_VALUE_MAX_BYTES);
	n = tree_xattr_get_view(g->o->v, row->ino, row->key, g->view, value, XATTR_VALUE_MAX_BYTES);
	if (n < 0 && n != -ENODATA) {
		free(value);
		return (int)n;
	}
	r = &PUSH(g->o, xattrs);
	*r = (struct rec_xattr){ .ino = row->ino, .seen = row->row.seen, .removed = n < 0 };
	snprintf(r->key, sizeof(r->key), "%s", row->key);
	if (n < 0) {
		free(value);
		return 0;
	}
	r->value_len = (uint32_t)n;
	r->value = xrealloc(value, (size_t)n + 1);
	return 0;
}

static int in_steps(struct gather *g, size_t n, int (*one)(struct gather *g, size_t i))
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < n;) {
		size_t end = MIN(n, i + volume_step_rows(g->o->v));

		rc = i > 0 ? volume_pause(g->o->v) : 0;
		volume_lock(g->o->v);
		for (; rc == 0 && i < end; i++)
			rc = one(g, i);
		volume_unlock(g->o->v);
	}
	return rc;
}

static int by_ino_and_off(const void *a, const void *b)
{
	const struct range_row *x = a, *y = b;

	if (x->ino != y->ino)
		return x->ino < y->ino ? -1 : 1;
	return x->off < y->off ? -1 : x->off > y->off;
}

static int look_up(struct gather *g)
{
	int rc;

	if (g->n_ranges > 0)
		qsort(g->ranges, g->n_ranges, sizeof(*g->ranges), by_ino_and_off);
	rc = in_steps(g, g->n_inodes, gather_inode);
	if (rc == 0)
		rc = in_steps(g, g->n_links, gather_link);
	return rc ? rc : in_steps(g, g->n_xattrs, gather_xattr);
}

static void gather_release(struct gather *g)
{
	for (size_t i = 0; i < g->n_xattrs; i++)
		free(g->xattrs[i].key);
	free(g->inodes);
	free(g->links);
	free(g->xattrs);
	free(g->ranges);
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
	}
	o->n_ranges = keep;
}

/* How much of a range counts: a file of terabytes may have few bytes. *looks: so many looks since others had a turn. */
static int count_range(struct outbox *o, const struct out_range *r, size_t *looks)
{
	struct view view = { .kind = VIEW_AT, .group = o->begin.to };
	uint64_t len;
	int rc = 0;

	if (r->len_bytes <= REC_HOLE_COUNTS_BYTES) { /* whatever it has */
		o->begin.data_bytes += r->len_bytes;
		return 0;
	}
	for (uint64_t done = 0; rc == 0 && done < r->len_bytes; done += len) {
		bool hole = false;

		if (++*looks % volume_step_rows(o->v) == 0)
			rc = volume_pause(o->v);
		if (rc < 0)
			break;
		volume_lock(o->v);
		rc = data_run(o->v, r->ino, view, r->off + done, r->len_bytes - done, &hole, &len);
		volume_unlock(o->v);
		o->begin.data_bytes += rec_counted(hole, len);
	}
	return rc;
}

static int count_ranges(struct outbox *o)
{
	size_t looks = 0;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < o->n_ranges; i++)
		rc = count_range(o, &o->ranges[i], &looks);
	return rc;
}

static int fail_reading(struct volume *v, int rc, struct err *err)
{
	return err_set(err, rc, "cannot read the change set of %s: %s", volume_dir(v), strerror(-rc));
}

/* Commit, take the numbers, and copy the change set's rows. */
static int begin_cut(struct gather *g, uint64_t from, struct err *err)
{
	struct outbox *o = g->o;
	struct volume_ids ids;
	int rc = volume_apply_begin(o->v); /* commits the open group, then holds the lock */

	if (rc < 0)
		return err_set(err, rc, "cannot commit %s: %s", volume_dir(o->v), strerror(-rc));
	volume_ids(o->v, &ids);
	o->begin = (struct rec_ship_begin){ .from = from, .to = ids.committed, .seen = ids.applied };
	g->view = (struct view){ .kind = VIEW_AT, .group = o->begin.to };
	history_cut(o->v, o->begin.to);
	rc = group_id(o->v, o->begin.to, &o->begin.to_id);
	if (rc == 0 && o->begin.to > from)
		rc = copy_rows(g);
	if (rc < 0)
		volume_apply_abort(o->v);
	else
		rc = volume_apply_commit(o->v, ids.applied); /* nothing was changed: makes no group */
	return rc < 0 ? fail_reading(o->v, rc, err) : 0;
}

int outbox_cut(struct volume *v, uint64_t from, const struct told *told, struct outbox **out, struct err *err)
{
	struct outbox *o = xcalloc(1, sizeof(*o));
	struct gather g = { .o = o, .told = told };
	int rc;

	*out = NULL;
	o->v = v;
	rc = begin_cut(&g, from, err);
	if (rc == 0) {
		rc = look_up(&g);
		if (rc == 0) {
			clip_ranges(o);
			rc = count_ranges(o);
		}
		if (rc < 0)
			fail_reading(v, rc, err);
	}
	gather_release(&g);
	if (rc < 0) {
		outbox_free(o);
		return rc;
	}
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
	free(o->lineages);
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
	o->sent_bytes += rec_counted(hole, len);
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
				  [PULL_LINEAGES] = o->n_lineages,
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
	case PULL_LINEAGES:
		f.type = FRAME_LINEAGE;
		f.lineage = o->lineages[o->at++];
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
