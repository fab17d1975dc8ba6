/* SPDX-License-Identifier: MIT */
/* Who lands: what changes meanwhile is noted, the plan is written down bit by bit, and then it holds. */
#include "core/landing.h"

#include "core/blocks.h"
#include "core/internal.h"
#include "core/stage_private.h"
#include "db/inode_rows.h"
#include "db/landing_rows.h"
#include "util/util.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* Of a plan that is being written so many rows are committed at once: with more of them others wait for the log. */
#define COMMIT_ROWS 8192u
/* Changes that are noted while a plan is written; after more of them it is better landed at once. */
#define WATCH_MAX 65536u

size_t landing_least(const struct volume *v)
{
	return v->opt.at_once_rows ? v->opt.at_once_rows : LANDING_LEAST;
}

int landing_watch(struct volume *v)
{
	landing_unwatch(v);
	if (v->landing)
		return v->fault_code;
	v->watch.on = v->watch.looking = true;
	v->watch.next_id = id_peek(v);
	return 0;
}

void landing_look_away(struct volume *v)
{
	v->watch.looking = false;
}

void landing_rest(struct volume *v, bool rests)
{
	v->watch.on = !rests;
}

void landing_unwatch(struct volume *v)
{
	v->watch.on = v->watch.looking = false;
	v->watch.looks = 0;
	v->watch.rc = 0;
	v->watch.marked = false;
	map_release(&v->watch.inodes);
	map_release(&v->watch.links);
	map_release(&v->watch.inodes_since);
	map_release(&v->watch.links_since);
}

void landing_look_again(struct volume *v)
{
	assert(v->watch.on);
	v->watch.looking = true;
}

void landing_mark(struct volume *v)
{
	v->watch.marked = true;
	v->watch.losses = v->info.losses;
	map_release(&v->watch.inodes_since);
	map_release(&v->watch.links_since);
}

bool landing_marked(struct volume *v, const struct map **inodes, const struct map **links)
{
	*inodes = &v->watch.inodes_since;
	*links = &v->watch.links_since;
	return v->watch.marked && v->watch.losses == v->info.losses && map_count(*inodes) < WATCH_MAX &&
	       map_count(*links) < WATCH_MAX;
}

bool landing_watched(struct volume *v, const struct map **inodes, const struct map **links)
{
	assert(v->watch.on);
	*inodes = &v->watch.inodes;
	*links = &v->watch.links;
	return map_count(*inodes) < WATCH_MAX && map_count(*links) < WATCH_MAX;
}

void landing_note_inode(struct volume *v, uint64_t ino, uint32_t what)
{
	uint64_t before = 0;

	if (v->watch.on && map_count(&v->watch.inodes) < WATCH_MAX)
		map_put(&v->watch.inodes, ino, 1);
	if (!v->watch.on || !v->watch.marked || map_count(&v->watch.inodes_since) >= WATCH_MAX)
		return;
	map_get(&v->watch.inodes_since, ino, &before);
	map_put(&v->watch.inodes_since, ino, before | what);
}

void landing_note_link(struct volume *v, uint64_t link, uint64_t child)
{
	if (v->watch.on && map_count(&v->watch.links) < WATCH_MAX)
		map_put(&v->watch.links, link, child);
	if (v->watch.on && v->watch.marked && map_count(&v->watch.links_since) < WATCH_MAX)
		map_put(&v->watch.links_since, link, child);
}

int landing_given_up(struct volume *v)
{
	return v->watch.rc;
}

static bool is_much(struct volume *v)
{
	return v->info.group_open && group_rows(v) >= (v->opt.at_once_rows ? 8 * v->opt.at_once_rows : COMMIT_ROWS);
}

int landing_pause(struct volume *v)
{
	bool looking = v->watch.looking, much = is_much(v);
	int rc;

	v->watch.looking = false;
	volume_leave(v);
	rc = volume_pause(v);
	if (!rc && much)
		rc = volume_commit(v);
	volume_lock_now(v);
	v->watch.looking = looking;
	v->watch.rc = v->watch.rc ? v->watch.rc : rc;
	return v->watch.rc;
}

int landing_breathe(struct volume *v)
{
	if (!v->watch.on || v->watch.rc || ++v->watch.looks % volume_step_rows(v) != 0)
		return v->watch.rc;
	return landing_pause(v);
}

/* A plan is housekeeping, and makes no group of its own. */
static int open_to_write(struct volume *v)
{
	int rc = landing_open_quietly(v);

	if (!rc)
		group_keep(v);
	return rc;
}

int landing_begin(struct volume *v)
{
	int rc = open_to_write(v);

	assert(!v->landing);
	return rc ? rc : landing_rows_clear(v->db);
}

void landing_give_up(struct volume *v)
{
	if (!v->landing)
		landing_begin(v);
}

bool landing_is_new(struct volume *v, uint64_t ino)
{
	return ID_SLOT(ino) == v->info.slot && ino >= v->watch.next_id;
}

int landing_put_inode(struct volume *v, const struct landing_inode *in)
{
	int rc = open_to_write(v);

	return rc ? rc : landing_inode_put(v->db, in);
}

int landing_put_link(struct volume *v, struct landing_link *l, uint32_t mode)
{
	struct dentry d = { .parent = 0 };
	int rc = open_to_write(v);

	if (!rc)
		rc = tree_link_get(v, l->link, &d);
	if (rc && rc != -ENOENT)
		return rc;
	l->from_parent = rc ? 0 : d.parent;
	l->turn = !S_ISDIR(mode) ? 1 : l->parent ? 0 : 2;
	return landing_link_put(v->db, l);
}

int landing_put_xattr(struct volume *v, uint64_t ino, const char *key, const void *value, size_t len_bytes)
{
	int rc = open_to_write(v);

	return rc ? rc : landing_xattr_put(v->db, ino, key, value, len_bytes);
}

static int put_runs(struct volume *v, uint64_t ino, uint64_t off, uint64_t len, uint64_t phys, const uint64_t *sums)
{
	int rc = 0;

	for (uint64_t at = 0; !rc && at < len;) {
		struct landing_run r = { .off = off + at, .phys = phys ? phys + at : 0 };

		r.len = phys ? MIN(len - at, EXTENT_MAX_BLOCKS) : len - at;
		if (phys)
			memcpy(r.sums, sums + at, (size_t)r.len * sizeof(*sums));
		rc = landing_run_put(v->db, ino, &r);
		at += r.len;
	}
	return rc;
}

/* A block of which parts are staged, or which the cut goes through: what is here up to the cut, then the parts. */
static int put_block(struct volume *v, struct stage *s, const struct landing_inode *in, uint64_t block,
		     const struct stage_part *parts, size_t n)
{
	uint64_t start = block << BLOCK_SHIFT, sum;
	uint8_t data[BLOCK_BYTES] = { 0 };
	struct block_run run;
	int rc = 0;

	if (!(in->fields & LAND_NEW) && start < in->shrunk_to) {
		rc = blocks_read_one(v, in->ino, (struct view){ VIEW_NOW, 0 }, block, data);
		if (in->shrunk_to - start < BLOCK_BYTES)
			memset(data + (in->shrunk_to - start), 0, BLOCK_BYTES - (size_t)(in->shrunk_to - start));
	}
	for (size_t i = 0; !rc && i < n; i++)
		rc = stage_part_read(s, &parts[i], data + (parts[i].off - start));
	if (!rc)
		rc = stage_keep_block(s, data, &run);
	sum = block_sum(data);
	return rc == -EIO ? -ENOTSUP : rc ? rc : put_runs(v, in->ino, block, 1, run.phys, &sum);
}

static int put_cut_block(struct volume *v, struct stage *s, const struct landing_inode *in, uint64_t size_here_bytes,
			 const struct stage_file *f)
{
	uint64_t block = in->shrunk_to >> BLOCK_SHIFT;
	struct block_ref ref;
	int rc;

	if ((in->fields & LAND_NEW) || in->shrunk_to % BLOCK_BYTES == 0 || in->shrunk_to >= size_here_bytes)
		return 0;
	for (size_t i = 0; f && i < f->n_runs; i++)
		if (block >= f->runs[i].off && block < f->runs[i].off + f->runs[i].len)
			return 0;
	for (size_t i = 0; f && i < f->n_parts; i++)
		if (f->parts[i].off >> BLOCK_SHIFT == block)
			return 0;
	rc = blocks_map(v, in->ino, (struct view){ VIEW_NOW, 0 }, block, 1, &ref);
	return rc || ref.phys == 0 ? rc : put_block(v, s, in, block, NULL, 0);
}

int landing_put_content(struct volume *v, struct stage *s, const struct landing_inode *in, uint64_t size_here_bytes)
{
	struct stage_room room;
	const struct stage_file *f = s ? stage_look(s, in->ino, &room) : NULL;
	int rc = open_to_write(v);

	if (rc)
		return rc;
	if (f && (f->end_bytes > in->size_bytes || s->losses != image_losses(v->data->image)))
		return -ENOTSUP;
	if (!s && in->shrunk_to < size_here_bytes && in->shrunk_to % BLOCK_BYTES != 0)
		return -ENOTSUP; /* nowhere to keep the block */
	for (size_t i = 0; f && !rc && i < f->n_runs; i++)
		rc = put_runs(v, in->ino, f->runs[i].off, f->runs[i].len, f->runs[i].phys, f->runs[i].sums);
	for (size_t i = 0, n; f && !rc && i < f->n_parts; i += n) {
		uint64_t block = f->parts[i].off >> BLOCK_SHIFT;

		for (n = 1; i + n < f->n_parts && f->parts[i + n].off >> BLOCK_SHIFT == block;)
			n++;
		rc = put_block(v, s, in, block, f->parts + i, n);
	}
	if (!rc && s)
		rc = put_cut_block(v, s, in, size_here_bytes, f);
	if (!rc && f)
		stage_plan(s, in->ino, true);
	return rc;
}

bool landing_gives_name(struct volume *v, uint64_t parent, const char *name, size_t name_len)
{
	uint64_t child;

	return landing_link_named(v->db, parent, name, name_len, &child) == 0;
}

int landing_leave_link(struct volume *v, uint64_t link)
{
	return landing_link_drop(v->db, link);
}

static int leave_links(struct volume *v, uint64_t ino, bool but_end)
{
	struct landing_link l;
	uint32_t mode;
	int rc;

	while ((rc = landing_link_of(v->db, ino, &l)) == 0) {
		if (but_end && !l.parent && inode_row_mode(v->db, ino, &mode) == 0 && S_ISDIR(mode))
			return 0; /* a directory has no other link */
		rc = landing_link_drop(v->db, l.link);
		if (rc)
			return rc;
	}
	return rc == -ENOENT ? 0 : rc;
}

static int leave_runs(struct volume *v, uint64_t ino, struct map *blocks)
{
	struct landing_run r;
	int rc;

	while ((rc = landing_run_get(v->db, ino, &r)) == 0) {
		for (uint64_t i = 0; r.phys && i < r.len; i++)
			map_put(blocks, r.phys + i, 1);
		rc = landing_run_drop(v->db, ino, r.off);
		if (rc)
			return rc;
	}
	return rc == -ENOENT ? 0 : rc;
}

int landing_leave_out(struct volume *v, uint64_t ino, bool but_end, struct map *blocks)
{
	int rc = leave_links(v, ino, but_end);

	if (!rc)
		rc = leave_runs(v, ino, blocks);
	if (!rc)
		rc = landing_inode_drop(v->db, ino);
	return rc ? rc : landing_xattrs_drop(v->db, ino);
}

int landing_hold(struct volume *v)
{
	int rc = landing_rows_set_hold(v->db, true);

	assert(v->peer_apply && !v->landing);
	group_mark(v);
	logged_want_flush(&v->data->logged);
	if (rc)
		return rc;
	notice_everything(v);
	v->landing = true;
	v->landing_pos = (struct landing_pos){ 0 };
	leftover_start(v);
	return 0;
}
