/* SPDX-License-Identifier: MIT */
#include "sync/outbox.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/changes.h"
#include "core/data.h"
#include "sync/cut_rows.h"
#include "util/util.h"

enum phase {
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
};

/*
 * The rows of the change set are frozen at the cut, and copied, as they are changed with all that is done from then on
 * (cut_rows.h). The state of each thing they name is looked up when it is sent, as of group `to`, some at a time:
 * history keeps it.
 */
struct outbox {
	struct volume *v;
	struct rec_ship_begin begin;
	struct view view;  /* at `to` */
	struct told *told; /* or NULL */
	struct cut_rows rows;
	struct cut_at at;        /* in the list that is being pulled */
	struct cut_at at_ranges; /* PULL_INODES: in the rows of ranges */
	bool empty;
	bool primary;
	uint64_t *asks; /* inodes that the receiver shall send whole; found with the inodes */
	size_t n_asks, cap_asks;
	struct packed ranges; /* what is sent of the files; found with the inodes */

	/* Position while pulling: phases in this order. */
	enum phase phase;
	size_t n_pulled; /* of a list that is an array */
	struct cut_range range; /* PULL_INODES: the next of the rows; PULL_RANGES: the one that is being sent */
	bool any_range;
	uint64_t range_done; /* bytes of it that are out */
	uint64_t frames, sent_bytes, sent_entries;
	uint8_t *chunk; /* DATA_MAX_BYTES */

	/* Of the file at hand. */
	uint64_t clip_off;    /* its ranges end here */
	uint64_t there_group; /* bytes changed up to this group may be there; 0: none are */
	bool left_out;        /* some of them were left out */
};

static void push_ask(struct outbox *o, uint64_t ino)
{
	if (o->n_asks == o->cap_asks) {
		o->cap_asks = o->cap_asks ? o->cap_asks * 2 : 16;
		o->asks = xrealloc(o->asks, o->cap_asks * sizeof(*o->asks));
	}
	o->asks[o->n_asks++] = ino;
}

/* ---- what the rows name */

static int any_link(void *ctx, const struct dentry *d)
{
	(void)ctx;
	(void)d;
	return 1;
}

/* The inode as of the cut; -ENOENT also if it had no name then: nothing of it is sent. Its link count is of any time
 * since: what has lost its last name gets none again. */
static int inode_then(struct outbox *o, uint64_t ino, struct inode *in)
{
	int rc = tree_inode_view(o->v, ino, o->view, in);

	if (rc < 0 || in->nlink > 0 || ino <= INO_HIDDEN)
		return rc;
	rc = tree_links_of_view(o->v, ino, o->view, any_link, NULL);
	return rc == 1 ? 0 : rc == 0 ? -ENOENT : rc;
}

/* Which bytes of the file may be left out: those unchanged since the peer staged them. Of a file that was cut since
 * none: what is staged may reach past the cut. */
static void look_there(struct outbox *o, const struct cut_inode *rows)
{
	uint64_t group;

	o->there_group = 0;
	o->left_out = false;
	if (told_file(o->told, rows->ino, &group) && rows->which & 1u << ENT_CONTENT &&
	    rows->row[ENT_CONTENT].shrunk_grp <= group)
		o->there_group = group;
}

static int push_range(void *ctx, uint64_t ino, uint64_t off, uint64_t len_bytes)
{
	struct outbox *o = ctx;

	cut_put_range(&o->ranges, &(struct cut_range){ .ino = ino, .off = off, .len_bytes = len_bytes });
	return 0;
}

/* Ranges may reach past the size (cut off later in the same group): none that is sent does. */
static void gather_range(struct outbox *o, const struct cut_range *r)
{
	uint64_t len_bytes;

	if (r->off >= o->clip_off)
		return;
	len_bytes = MIN(r->len_bytes, o->clip_off - r->off);
	if (r->grp > o->there_group)
		push_range(o, r->ino, r->off, len_bytes);
	else
		o->left_out |= told_missing(o->told, r->ino, r->off, len_bytes, push_range, o);
}

static void next_row_range(struct outbox *o)
{
	o->any_range = cut_next_range(&o->rows.ranges, &o->at_ranges, &o->range);
}

/* What no range says, between two or behind the last one, of a file from `off` on. */
static void gather_between(struct outbox *o, uint64_t off, uint64_t end, const struct inode *in)
{
	if (off < end)
		gather_range(o, &(struct cut_range){ in->ino, off, end - off,
						     o->there_group ? in->cborn : o->begin.to });
}

/*
 * The byte ranges of one file. Both lists ascend by inode. What the primary tells as a whole the secondary may have
 * otherwise, and longer: it gets the holes, too. Of what the secondary tells only what it wrote counts as written.
 */
static void gather_ranges(struct outbox *o, const struct cut_inode *rows, const struct inode *in, struct rec_inode *r)
{
	bool whole = o->primary && (r->fields & REC_NEW);
	uint64_t end = 0;

	look_there(o, rows);
	o->clip_off = MIN(r->shrunk_to, r->size_bytes);
	while (o->any_range && o->range.ino < r->ino)
		next_row_range(o);
	for (; o->any_range && o->range.ino == r->ino; next_row_range(o)) {
		if (whole)
			gather_between(o, end, o->range.off, in);
		gather_range(o, &o->range);
		end = o->range.off + o->range.len_bytes;
	}
	if (whole)
		gather_between(o, end, o->clip_off, in);
	/* The receiver cuts the file first. All behind the cut goes with it: it may have had some of that from an
	 * earlier shipment. */
	if (o->clip_off < r->size_bytes) {
		struct cut_range behind = { r->ino, r->shrunk_to, r->size_bytes - r->shrunk_to,
					    o->there_group ? in->cborn : o->begin.to };

		o->clip_off = r->size_bytes;
		gather_range(o, &behind);
	}
	if (o->left_out)
		r->fields |= REC_STAGED;
}

static uint64_t seen_of(const struct cut_inode *rows, enum entity what, uint64_t otherwise)
{
	return rows->which & 1u << what ? rows->row[what].seen : otherwise;
}

/* What changed of it. Of what is new bytes and attributes may have been changed before, and those tell nothing about
 * each other: bytes that are told to be older than they are would be taken to be those of a copy. */
static void fill_fields(struct rec_inode *r, const struct cut_inode *rows, uint64_t from)
{
	static const uint32_t fields[] = { [ENT_NEW] = REC_NEW,
					   [ENT_CONTENT] = REC_CONTENT,
					   [ENT_MODE] = REC_MODE,
					   [ENT_OWNER] = REC_OWNER,
					   [ENT_TIMES] = REC_TIMES };
	const struct change_row *content = &rows->row[ENT_CONTENT];
	uint64_t whole = seen_of(rows, ENT_NEW, 0);

	for (int what = ENT_NEW; what <= ENT_TIMES; what++)
		if (rows->which & 1u << what)
			r->fields |= fields[what];
	r->seen_content = seen_of(rows, ENT_CONTENT, whole);
	r->seen_mode = seen_of(rows, ENT_MODE, whole);
	r->seen_owner = seen_of(rows, ENT_OWNER, whole);
	r->seen_times = seen_of(rows, ENT_TIMES, whole);
	r->shrunk_to = content->shrunk_grp > from ? content->shrunk_to : UINT64_MAX;
	if (r->fields & REC_NEW) {
		r->fields |= REC_CONTENT | REC_MODE | REC_OWNER | REC_TIMES;
		r->seen_content = MIN(r->seen_content, whole);
	}
}

static void fill_inode(struct rec_inode *r, const struct cut_inode *rows, const struct inode *in, uint64_t from)
{
	memset(r, 0, offsetof(struct rec_inode, target));
	r->ino = rows->ino;
	fill_fields(r, rows, from);
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
	r->target[r->target_len] = '\0';
}

/* ---- what there is in all */

/* Does something come of the next row? 1 or 0; 2: there is no more. */
static int any_of_inode(struct outbox *o, struct cut_at *at)
{
	struct cut_inode rows;
	struct inode in;
	int rc;

	if (!cut_next_inode(&o->rows, at, &rows))
		return 2;
	rc = inode_then(o, rows.ino, &in);
	return rc == -ENOENT ? (rows.which & 1u << ENT_ASK) != 0 : rc ? rc : 1;
}

static int any_of_xattr(struct outbox *o, struct cut_at *at)
{
	struct cut_xattr row;
	struct inode in;
	int rc;

	if (!cut_next_xattr(&o->rows, at, &row))
		return 2;
	rc = inode_then(o, row.ino, &in);
	return rc == -ENOENT ? 0 : rc ? rc : 1;
}

/* Nearly always the first row will do. */
static int look_for_any(struct outbox *o, int (*one)(struct outbox *o, struct cut_at *at))
{
	struct cut_at at = { 0 };
	int rc = 0;

	while (o->empty && rc == 0) {
		volume_lock(o->v);
		for (size_t i = 0; rc == 0 && i < volume_step_rows(o->v); i++)
			rc = one(o, &at);
		volume_unlock(o->v);
		o->empty = rc != 1;
		if (rc == 0)
			rc = volume_pause(o->v);
	}
	return MIN(rc, 0);
}

static int look_whether_empty(struct outbox *o)
{
	int rc;

	o->empty = o->rows.links.n == 0 && o->rows.n_conflicts == 0;
	rc = o->rows.inodes.n > 0 ? look_for_any(o, any_of_inode) : 0;
	return rc || o->rows.xattrs.n == 0 ? rc : look_for_any(o, any_of_xattr);
}

/* How much of a range counts: a file of terabytes may have few bytes. *looks: so many looks since others had a turn. */
static int count_range(struct outbox *o, const struct cut_range *r, size_t *looks)
{
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
		rc = data_run(o->v, r->ino, o->view, r->off + done, r->len_bytes - done, &hole, &len);
		volume_unlock(o->v);
		if (rc == 0)
			o->begin.data_bytes += rec_counted(hole, len);
	}
	return rc == -ENOENT ? 0 : rc; /* it had no name any more */
}

/* By the rows alone; what comes of them may be somewhat less. */
static int count(struct outbox *o)
{
	struct packed missing = { .n = 0 };
	struct cut_at at = { 0 }, at_missing = { 0 };
	struct cut_range r;
	uint64_t group;
	size_t looks = 0;
	int rc = 0;

	o->begin.entries = o->rows.inodes.n + o->rows.links.n + o->rows.xattrs.n;
	while (rc == 0 && cut_next_range(&o->rows.ranges, &at, &r)) {
		if (told_file(o->told, r.ino, &group) && r.grp <= group)
			told_missing(o->told, r.ino, r.off, r.len_bytes, push_range, o);
		else
			rc = count_range(o, &r, &looks);
	}
	missing = o->ranges;
	o->ranges = (struct packed){ .n = 0 };
	while (rc == 0 && cut_next_range(&missing, &at_missing, &r))
		rc = count_range(o, &r, &looks);
	free(missing.data);
	return rc;
}

static int fail_reading(struct volume *v, int rc, struct err *err)
{
	return err_set(err, rc, "cannot read the change set of %s: %s", volume_dir(v), strerror(-rc));
}

/* Commit, take the numbers, and freeze the change set's rows. */
static int begin_cut(struct outbox *o, uint64_t from, struct err *err)
{
	struct volume_ids ids;
	int rc = volume_apply_begin(o->v); /* commits the open group, then holds the lock */

	if (rc < 0)
		return err_set(err, rc, "cannot commit %s: %s", volume_dir(o->v), strerror(-rc));
	volume_ids(o->v, &ids);
	o->primary = ids.role == ROLE_PRIMARY;
	o->begin = (struct rec_ship_begin){ .from = from, .to = ids.committed, .seen = ids.applied };
	o->view = (struct view){ .kind = VIEW_AT, .group = o->begin.to };
	history_cut(o->v, o->begin.to);
	rc = group_id(o->v, o->begin.to, &o->begin.to_id);
	if (rc == 0 && o->begin.to > from)
		rc = cut_rows_begin(o->v, from, o->begin.to, &o->rows);
	if (rc < 0)
		volume_apply_abort(o->v);
	else
		rc = volume_apply_commit(o->v, ids.applied); /* nothing was changed: makes no group */
	return rc < 0 ? fail_reading(o->v, rc, err) : 0;
}

int outbox_cut(struct volume *v, uint64_t from, struct told *told, struct outbox **out, struct err *err)
{
	struct outbox *o = xcalloc(1, sizeof(*o));
	int rc;

	*out = NULL;
	o->v = v;
	o->told = told;
	rc = begin_cut(o, from, err);
	if (rc == 0) {
		rc = cut_rows_rest(&o->rows);
		if (rc == 0)
			rc = look_whether_empty(o);
		if (rc == 0)
			rc = count(o);
		if (rc < 0)
			fail_reading(v, rc, err);
	}
	if (rc < 0) {
		o->told = NULL;
		outbox_free(o);
		return rc;
	}
	*out = o;
	return 0;
}

void outbox_free(struct outbox *o)
{
	if (!o)
		return;
	cut_rows_release(&o->rows);
	told_free(o->told);
	free(o->ranges.data);
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
	return o->empty;
}

uint64_t outbox_sent_bytes(const struct outbox *o)
{
	return o->sent_bytes;
}

uint64_t outbox_sent_entries(const struct outbox *o)
{
	return o->sent_entries;
}

/* ---- pulling -------------------------------------------------------------------------------------------------------
 */

static int emit(struct outbox *o, struct buf *to, const struct frame *f)
{
	o->frames++;
	return frame_encode(to, f);
}

/* ---- rows: each takes the next one, under the lock. 1, or 0: that was the last */

static int pull_inode(struct outbox *o, struct buf *to)
{
	struct cut_inode rows;
	struct inode in;
	struct frame f;
	int rc;

	if (!cut_next_inode(&o->rows, &o->at, &rows))
		return 0;
	rc = inode_then(o, rows.ino, &in);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	/* Also if it is here by now, of something else that the peer told: a name that only the peer has stands out. */
	if (rows.which & 1u << ENT_ASK)
		push_ask(o, rows.ino);
	if (rc == -ENOENT)
		return 1;
	f.type = FRAME_INODE;
	fill_inode(&f.inode, &rows, &in, o->begin.from);
	if (!f.inode.fields) /* it was only asked for, and is here */
		return 1;
	if ((f.inode.fields & REC_CONTENT) && S_ISREG(f.inode.mode))
		gather_ranges(o, &rows, &in, &f.inode);
	rc = emit(o, to, &f);
	return rc ? rc : 1;
}

static int pull_link(struct outbox *o, struct buf *to)
{
	struct frame f = { .type = FRAME_LINK };
	struct cut_link row;
	struct dentry d;
	int rc;

	if (!cut_next_link(&o->rows, &o->at, &row))
		return 0;
	rc = tree_link_view(o->v, row.link, o->view, &d);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	f.link = (struct rec_link){
		.link = row.link, .child = row.row.child, .seen = row.row.seen, .report = row.row.skipped
	};
	if (rc == 0) {
		f.link.child = d.child;
		f.link.parent = d.parent;
		f.link.name_len = d.name_len;
		memcpy(f.link.name, d.name, d.name_len);
	}
	rc = emit(o, to, &f);
	return rc ? rc : 1;
}

static int pull_xattr(struct outbox *o, struct buf *to)
{
	struct frame f = { .type = FRAME_XATTR };
	struct cut_xattr row;
	struct inode in;
	ssize_t n;
	int rc;

	if (!cut_next_xattr(&o->rows, &o->at, &row))
		return 0;
	rc = inode_then(o, row.ino, &in);
	if (rc)
		return rc == -ENOENT ? 1 : rc;
	n = tree_xattr_get_view(o->v, row.ino, row.key, o->view, o->chunk, XATTR_VALUE_MAX_BYTES);
	if (n < 0 && n != -ENODATA)
		return (int)n;
	f.xattr = (struct rec_xattr){ .ino = row.ino, .seen = row.row.seen, .removed = n < 0 };
	snprintf(f.xattr.key, sizeof(f.xattr.key), "%s", row.key);
	if (n >= 0) {
		f.xattr.value_len = (uint32_t)n;
		f.xattr.value = o->chunk;
	}
	rc = emit(o, to, &f);
	return rc ? rc : 1;
}

/* Some of them, until `to` is so long. */
static int pull_rows(struct outbox *o, struct buf *to, size_t long_enough_bytes, struct err *err)
{
	int (*one)(struct outbox *o, struct buf *to) = o->phase == PULL_INODES  ? pull_inode
						       : o->phase == PULL_LINKS ? pull_link
										: pull_xattr;
	size_t i = 0, most = volume_step_rows(o->v);
	int rc = 1;

	volume_lock(o->v);
	for (; rc == 1 && i < most && to->len_bytes < long_enough_bytes; i++) {
		rc = one(o, to);
		o->sent_entries += rc == 1;
	}
	volume_unlock(o->v);
	if (rc >= 0)
		rc = i == most ? volume_pause(o->v) : 0;
	return rc < 0 ? fail_reading(o->v, rc, err) : 0;
}

/* ---- bytes */

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

static void next_range(struct outbox *o)
{
	o->any_range = cut_next_range(&o->ranges, &o->at, &o->range);
	o->range_done = 0;
}

/* The next piece of `range`: a DATA, HOLE or LOST record, at most DATA_MAX_BYTES of data. What this disk has lost is
 * told as such: the peer must get neither wrong bytes nor nothing at all, and all else must go on. But not while the
 * disk gives nothing at all: then it is gone, for a while perhaps, and this is tried again later. */
static int pull_range(struct outbox *o, struct buf *to, struct err *err)
{
	const struct cut_range *r = &o->range;
	uint64_t off = r->off + o->range_done, left = r->len_bytes - o->range_done, len = left;
	struct frame f = { .type = FRAME_DATA };
	bool hole = false, lost = false;
	int rc;

	volume_lock(o->v);
	rc = data_run(o->v, r->ino, o->view, off, left, &hole, &len);
	if (rc == 0 && hole) {
		f.type = FRAME_HOLE;
	} else if (rc == 0) {
		len = MIN(len, DATA_MAX_BYTES);
		rc = data_read(o->v, r->ino, o->view, o->chunk, len, off);
		if (rc == -EIO)
			rc = part_readable(o, r->ino, o->view, off, &len, &lost);
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
	if (o->range_done == r->len_bytes)
		next_range(o);
	return emit(o, to, &f);
}

static void next_phase(struct outbox *o)
{
	o->phase++;
	o->at = (struct cut_at){ 0 };
	o->n_pulled = 0;
	if (o->phase == PULL_INODES)
		next_row_range(o);
	else if (o->phase == PULL_RANGES)
		next_range(o);
}

/* Is there nothing (more) for this phase? */
static bool phase_is_over(const struct outbox *o)
{
	switch (o->phase) {
	case PULL_INODES: return o->at.at == o->rows.inodes.len_bytes;
	case PULL_LINKS: return o->at.at == o->rows.links.len_bytes;
	case PULL_XATTRS: return o->at.at == o->rows.xattrs.len_bytes;
	case PULL_CONFLICTS: return o->n_pulled == o->rows.n_conflicts;
	case PULL_ASKS: return o->n_pulled == o->n_asks;
	case PULL_LINEAGES: return o->n_pulled == o->rows.n_lineages;
	case PULL_RANGES: return !o->any_range;
	default: return false;
	}
}

static int pull_some(struct outbox *o, struct buf *to, size_t long_enough_bytes, struct err *err)
{
	struct frame f;

	if (phase_is_over(o)) {
		next_phase(o);
		return 0;
	}
	switch (o->phase) {
	case PULL_BEGIN:
		f = (struct frame){ .type = FRAME_SHIP_BEGIN, .begin = o->begin };
		next_phase(o);
		return frame_encode(to, &f);
	case PULL_INODES:
	case PULL_LINKS:
	case PULL_XATTRS: return pull_rows(o, to, long_enough_bytes, err);
	case PULL_CONFLICTS:
		f.type = FRAME_CONFLICT;
		f.conflict.c = o->rows.conflicts[o->n_pulled++];
		return emit(o, to, &f);
	case PULL_ASKS:
		f.type = FRAME_SKIP;
		f.skip = (struct rec_skip){ .id = o->asks[o->n_pulled++], .unknown = 1 };
		return emit(o, to, &f);
	case PULL_LINEAGES:
		f.type = FRAME_LINEAGE;
		f.lineage = o->rows.lineages[o->n_pulled++];
		return emit(o, to, &f);
	case PULL_RANGES: return pull_range(o, to, err);
	case PULL_END:
		f = (struct frame){ .type = FRAME_SHIP_END, .end = { .to = o->begin.to, .frames = o->frames } };
		next_phase(o);
		return frame_encode(to, &f);
	case PULL_DONE: break;
	}
	return 0;
}

int outbox_pull(struct outbox *o, struct buf *to, size_t want_bytes, struct err *err)
{
	size_t long_enough_bytes = to->len_bytes + MIN(want_bytes, SIZE_MAX - to->len_bytes);

	if (!o->chunk)
		o->chunk = xmalloc(DATA_MAX_BYTES);
	while (o->phase != PULL_DONE && to->len_bytes < long_enough_bytes) {
		int rc = pull_some(o, to, long_enough_bytes, err);

		if (rc < 0)
			return rc;
	}
	return o->phase == PULL_DONE;
}
