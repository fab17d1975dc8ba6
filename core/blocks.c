/* SPDX-License-Identifier: MIT */
#include "core/blocks.h"

#include "core/aside.h"
#include "util/log.h"
#include "util/util.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Blocks between two that a read wants are read with them, if no more than these: that is cheaper than another request
 * to the disk. And so many spans of a read (of 1 MiB) are put together; a file that lies in more gets more requests. */
#define LACKING_GAP_BLOCKS 16u
#define LACKING_SPANS 16u
/* A long read, which is one of many in a row as a rule, has the host read what lies around a piece, up to the next
 * multiple of these: the blocks that a file got when it was overwritten here and there lie in one region, in no order,
 * and the next reads want the rest of it. One by one each would cost the disk's latency. */
#define AROUND_BLOCKS 16u
#define AROUND_FROM_BYTES ((size_t)128 << 10)
/* A write of no more blocks than these (a page of a database) goes where room became free last. */
#define AGAIN_MAX_BLOCKS 4u

/* ---- views ---- */

/*
 * The peer's view at s, block by block, is what its own writes and ours up to s left there. Painting in the order of
 * time: a version counts if the peer made it or if it was born by s, unless it was gone by s; where the peer ended a
 * version, it left a hole until its own next version. Versions that we ended after s still count: the peer has not
 * seen that.
 */
struct stroke {
	uint64_t when;
	int32_t row;   /* -1: a hole */
	int32_t order; /* among those of one group: what it ended, then what did not outlive it, then what did */
	uint64_t first, end;
};

static int stroke_cmp(const void *a, const void *b)
{
	const struct stroke *x = a, *y = b;

	if (x->when != y->when)
		return x->when < y->when ? -1 : 1;
	return x->order - y->order;
}

static void paint(int32_t *pick, uint64_t first, size_t n, const struct stroke *s)
{
	uint64_t end = MIN(s->end, first + n);

	for (uint64_t b = MAX(s->first, first); b < end; b++)
		pick[b - first] = s->row;
}

static void pick_peer(const struct extent_list *rows, uint64_t s, uint64_t acked, uint64_t first, size_t n,
                      int32_t *pick)
{
	struct stroke *strokes = xmalloc((rows->n * 2 + 1) * sizeof(*strokes));
	size_t count = 0;

	for (size_t i = 0; i < rows->n; i++) {
		const struct extent *e = &rows->rows[i];

		bool brief = e->born == e->died;

		if (e->died && e->died <= acked) /* only a pin holds it; the holes that it left may be filled again */
			continue;
		if ((e->born <= s || e->origin == ORIGIN_PEER) && (!e->died || e->died > s))
			strokes[count++] = (struct stroke){ e->born, (int32_t)i, brief ? 1 : 3, e->off, extent_end(e) };
		if (e->killed_by_peer)
			strokes[count++] = (struct stroke){ e->died, -1, brief ? 2 : 0, e->off, extent_end(e) };
	}
	qsort(strokes, count, sizeof(*strokes), stroke_cmp);
	for (size_t i = 0; i < count; i++)
		paint(pick, first, n, &strokes[i]);
	free(strokes);
}

static void pick_plain(const struct extent_list *rows, struct view view, uint64_t first, size_t n, int32_t *pick)
{
	for (size_t i = 0; i < rows->n; i++) {
		const struct extent *e = &rows->rows[i];

		if (view.kind == VIEW_NOW ? !e->died : (e->born <= view.group && (!e->died || view.group < e->died)))
			paint(pick, first, n, &(struct stroke){ 0, (int32_t)i, 0, e->off, extent_end(e) });
	}
}

int blocks_pick(struct volume *v, uint64_t ino, struct view view, uint64_t first, size_t n, struct extent_list *rows,
                int32_t *pick)
{
	int rc = extent_rows_list(v->db, ino, first, first + n, rows);

	if (!rc)
		leftover_mark(v, ino, rows);
	if (!rc && view.kind != VIEW_NOW)
		rc = extent_rows_list_old(v->db, ino, first, first + n, rows);
	if (rc)
		return rc;
	for (size_t i = 0; i < n; i++)
		pick[i] = -1;
	if (view.kind == VIEW_PEER)
		pick_peer(rows, view.group, v->info.acked, first, n, pick);
	else
		pick_plain(rows, view, first, n, pick);
	return 0;
}

int blocks_map(struct volume *v, uint64_t ino, struct view view, uint64_t first, size_t n, struct block_ref *refs)
{
	struct extent_list rows = EXTENT_LIST_INIT;
	int32_t pick[STEP_BLOCKS + 1];

	assert(n <= ARRAY_LEN(pick));
	int rc = blocks_pick(v, ino, view, first, n, &rows, pick);

	for (size_t i = 0; !rc && i < n; i++) {
		const struct extent *e = pick[i] < 0 ? NULL : &rows.rows[pick[i]];
		uint64_t at = e ? first + i - e->off : 0;

		refs[i] = e ? (struct block_ref){ e->phys + at, e->sums[at] } : (struct block_ref){ 0, 0 };
	}
	extent_list_release(&rows);
	return rc;
}

/* ---- reading ---- */

/* Bytes of one read that lie in one go on the image, or in a hole. */
struct part {
	size_t block, n;      /* of the blocks that are read */
	size_t skip, len;     /* bytes; not whole blocks only where n is 1 */
	uint8_t *to;
};

static struct part part_at(const struct block_ref *refs, size_t block, size_t skip, uint8_t *to, size_t len)
{
	struct part p = { .block = block, .n = 1, .skip = skip, .len = MIN(len, BLOCK_BYTES - skip), .to = to };

	if (p.len < BLOCK_BYTES)
		return p;
	while (p.n < len >> BLOCK_SHIFT && (refs[block].phys ? refs[block + p.n].phys == refs[block].phys + p.n
	                                                     : refs[block + p.n].phys == 0))
		p.n++;
	p.len = p.n << BLOCK_SHIFT;
	return p;
}

/* Spans of the image that a read lacks, put together where little lies between them. */
struct lacking {
	struct block_run spans[LACKING_SPANS];
	size_t n;
};

static void lacking_add(struct lacking *l, struct image *im, uint64_t phys, uint64_t end)
{
	for (size_t i = 0; i < l->n; i++) {
		struct block_run *s = &l->spans[i];

		if (phys >= s->phys && phys <= s->phys + s->len + LACKING_GAP_BLOCKS) {
			s->len = MAX(s->phys + s->len, end) - s->phys;
			return;
		}
	}
	if (l->n < LACKING_SPANS)
		l->spans[l->n++] = (struct block_run){ phys, end - phys };
	else
		image_expect(im, phys, end - phys);
}

/*
 * What the host has in memory is read; all else it is asked to read at once, before anybody waits for the first of it:
 * the blocks of a file that was overwritten here and there are all over the image, and one after the other each would
 * cost the disk's latency. whole[i] of the i-th part: it is there.
 */
static void fetch_cached(struct image *im, const struct block_ref *refs, size_t skip, uint8_t *buf, size_t len,
                         bool *whole)
{
	const uint64_t around = len >= AROUND_FROM_BYTES ? AROUND_BLOCKS : 1;
	struct lacking l = { .n = 0 };
	size_t block = skip >> BLOCK_SHIFT;

	skip &= BLOCK_BYTES - 1;
	for (size_t i = 0; len; i++) {
		struct part p = part_at(refs, block, skip, buf, len);
		uint64_t phys = refs[block].phys;

		whole[i] = phys && p.len >= BLOCK_BYTES && image_read_cached(im, phys, p.to, p.len) == p.len;
		if (phys && !whole[i])
			lacking_add(&l, im, phys - phys % around, (phys + p.n + around - 1) / around * around);
		block += p.n;
		buf += p.len;
		len -= p.len;
		skip = 0;
	}
	for (size_t i = 0; i < l.n; i++)
		image_expect(im, l.spans[i].phys, l.spans[i].len);
}

static int fetch_part(struct image *im, const struct block_ref *refs, const struct part *p, bool is_read, size_t *bad)
{
	const struct block_ref *ref = &refs[p->block];
	uint8_t block[BLOCK_BYTES], *to = p->len < BLOCK_BYTES ? block : p->to;
	int rc = 0;

	*bad = p->block;
	if (ref->phys == 0) {
		memset(p->to, 0, p->len);
		return 0;
	}
	if (!is_read)
		rc = image_read(im, ref->phys, 0, to, p->n << BLOCK_SHIFT);
	for (size_t i = 0; !rc && i < p->n; i++)
		if (block_sum(to + (i << BLOCK_SHIFT)) != ref[i].sum) {
			*bad += i;
			rc = -EBADMSG;
		}
	if (!rc && to == block)
		memcpy(p->to, block + p->skip, p->len);
	return rc;
}

int blocks_fetch(struct image *im, const struct block_ref *refs, size_t skip_bytes, void *buf, size_t len_bytes,
                 size_t *bad)
{
	size_t block = skip_bytes >> BLOCK_SHIFT, skip = skip_bytes & (BLOCK_BYTES - 1);
	bool whole[STEP_BLOCKS + 1] = { false };
	uint8_t *p = buf;
	size_t dummy;
	int rc = 0;

	if (len_bytes > BLOCK_BYTES)
		fetch_cached(im, refs, skip_bytes, buf, len_bytes, whole);
	for (size_t i = 0; !rc && len_bytes; i++) {
		struct part part = part_at(refs, block, skip, p, len_bytes);

		rc = fetch_part(im, refs, &part, whole[i], bad ? bad : &dummy);
		block += part.n;
		p += part.len;
		len_bytes -= part.len;
		skip = 0;
	}
	return rc;
}

int blocks_complain(struct volume *v, uint64_t ino, uint64_t block, const struct block_ref *ref, int code)
{
	char *path = path_of(v, ino);

	log_error("%s (inode %llu): the block at byte %llu %s; it is refused", path ? path : "(no name)",
	          (unsigned long long)ino, (unsigned long long)(block << BLOCK_SHIFT),
	          code == -EBADMSG ? "does not match its checksum" : "cannot be read from the disk");
	free(path);
	damage_met(v, &(struct damaged){ ino, block, ref->phys, ref->sum });
	return -EIO;
}

int blocks_read_one(struct volume *v, uint64_t ino, struct view view, uint64_t block, void *buf)
{
	struct block_ref ref;
	int rc = blocks_map(v, ino, view, block, 1, &ref);

	if (rc)
		return rc;
	rc = blocks_fetch(v->data->image, &ref, 0, buf, BLOCK_BYTES, NULL);
	return rc ? blocks_complain(v, ino, block, &ref, rc) : 0;
}

/* ---- replacing ---- */

/* Versions of this very group that an earlier change of the same group put aside: the newer one takes their place. */
static int forget_same_group(struct volume *v, uint64_t ino, const struct extent *e)
{
	struct extent_list rows = EXTENT_LIST_INIT;
	int rc = extent_rows_list_old(v->db, ino, e->off, extent_end(e), &rows);

	for (size_t i = 0; !rc && i < rows.n; i++) {
		struct extent *o = &rows.rows[i], part;
		uint64_t first = MAX(o->off, e->off), end = MIN(extent_end(o), extent_end(e));

		if (o->born != e->born || o->died != e->born)
			continue;
		rc = extent_rows_del_old(v->db, ino, o);
		store_free(v, o->phys + (first - o->off), end - first);
		store_count_old(v, -(int64_t)(end - first));
		if (!rc && o->off < first) {
			part = *o;
			extent_clip(&part, o->off, first);
			rc = extent_rows_put_old(v->db, ino, &part);
		}
		if (!rc && extent_end(o) > end) {
			part = *o;
			extent_clip(&part, end, extent_end(o));
			rc = extent_rows_put_old(v->db, ino, &part);
		}
	}
	extent_list_release(&rows);
	return rc;
}

/* Who ended a version, and in which group. */
struct death {
	enum origin by;
	uint64_t group;
	bool leftover; /* then: the file's blocks are counted without it */
};

/* e left the current table: to history, or its blocks to the free ones. */
static int supersede(struct volume *v, uint64_t ino, struct extent *e, struct death death)
{
	/* what the peer sent us is a base for merges, even when we write over it in the group in which it came */
	bool in_group = e->born == death.group && !(e->origin == ORIGIN_PEER && death.by == ORIGIN_LOCAL);
	int rc = 0;

	/* what was left over may be acknowledged by now; what a pin may hold goes with the pin */
	bool needless = death.group <= v->info.acked && v->n_pins == 0;

	if (in_group || needless || !history_wanted(v, e->born, e->origin)) {
		store_free(v, e->phys, e->len);
		return 0;
	}
	if (e->born == death.group)
		rc = forget_same_group(v, ino, e);
	e->died = death.group;
	e->killed_by_peer = death.by == ORIGIN_PEER;
	store_count_old(v, e->len);
	return rc ? rc : extent_rows_put_old(v->db, ino, e);
}

/* Take [first, end) out of the row. keep_row: leave a row that starts at first to be replaced by the caller's own. */
static int cut_row(struct volume *v, uint64_t ino, const struct extent *e, uint64_t first, uint64_t end,
                   struct death death, bool keep_row)
{
	struct extent part = *e;
	uint64_t lo = MAX(e->off, first), hi = MIN(extent_end(e), end);
	int rc = 0;

	if (lo >= hi)
		return 0;
	extent_clip(&part, lo, hi);
	if (!death.leftover)
		store_count_inode(v, ino, -(int64_t)(hi - lo));
	rc = supersede(v, ino, &part, death);
	if (!rc && lo > e->off) {
		part = *e;
		extent_clip(&part, e->off, lo);
		rc = extent_rows_put(v->db, ino, &part);
	} else if (!rc && !(keep_row && lo == first)) {
		rc = extent_rows_del(v->db, ino, e->off);
	}
	if (!rc && hi < extent_end(e)) {
		part = *e;
		extent_clip(&part, hi, extent_end(e));
		rc = extent_rows_put(v->db, ino, &part);
	}
	return rc;
}

static bool follows(const struct extent *e, uint64_t off, uint64_t phys)
{
	return e->len < EXTENT_MAX_BLOCKS && extent_end(e) == off && e->phys + e->len == phys;
}

/* Rows for the runs, starting with `row` (len 0: none) that may be extended. */
static int put_runs(struct volume *v, uint64_t ino, struct extent *row, uint64_t first, const struct block_run *runs,
                    size_t n_runs, const uint64_t *sums, enum origin origin)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < n_runs; i++) {
		uint64_t phys = runs[i].phys, left = runs[i].len;

		store_count_inode(v, ino, (int64_t)left);
		while (!rc && left) {
			if (!row->len || !follows(row, first, phys)) {
				if (row->len)
					rc = extent_rows_put(v->db, ino, row);
				row->off = first;
				row->phys = phys;
				row->born = group_number(v);
				row->died = 0;
				row->origin = origin;
				row->killed_by_peer = false;
				row->len = 0;
			}
			uint64_t n = MIN(left, EXTENT_MAX_BLOCKS - row->len);

			memcpy(row->sums + row->len, sums, n * sizeof(*sums));
			row->len += (uint32_t)n;
			sums += n;
			first += n;
			phys += n;
			left -= n;
		}
	}
	return rc ? rc : extent_rows_put(v->db, ino, row);
}

static int put_in_place(struct volume *v, uint64_t ino, uint64_t first, uint64_t n, const struct block_run *runs,
                        size_t n_runs, const uint64_t *sums, enum origin origin, const struct extent_list *rows)
{
	struct extent_list own = EXTENT_LIST_INIT;
	struct extent row;
	int rc = 0;

	assert(n && n_runs && group_number(v));
	rc = leftover_settle(v, ino);
	if (!rc)
		rc = aside_drop(v, ino, first, first + n);
	group_mark(v);
	if (!rc && !rows) {
		rc = extent_rows_list(v->db, ino, first ? first - 1 : 0, first + n, &own);
		rows = &own;
	}
	row.len = 0;
	for (size_t i = 0; !rc && i < rows->n; i++) {
		const struct extent *e = &rows->rows[i];

		if (follows(e, first, runs[0].phys) && e->born == group_number(v) && e->origin == origin)
			row = *e;
	}
	bool merges = row.len > 0;

	for (size_t i = 0; !rc && i < rows->n; i++)
		rc = cut_row(v, ino, &rows->rows[i], first, first + n, (struct death){ origin, group_number(v), false },
		             !merges);
	if (!rc)
		rc = put_runs(v, ino, &row, first, runs, n_runs, sums, origin);
	extent_list_release(&own);
	return rc;
}

int blocks_replace(struct volume *v, uint64_t ino, uint64_t first, uint64_t n, const struct block_run *runs,
                   size_t n_runs, const uint64_t *sums, enum origin origin, const struct extent_list *rows)
{
	for (size_t i = 0, at = 0; i < n_runs; at += runs[i++].len)
		store_born(v, runs[i].phys, runs[i].len, sums + at);
	return put_in_place(v, ino, first, n, runs, n_runs, sums, origin, rows);
}

int blocks_adopt(struct volume *v, uint64_t ino, uint64_t first, uint64_t n, const struct block_run *run,
                 const uint64_t *sums, enum origin origin)
{
	return put_in_place(v, ino, first, n, run, 1, sums, origin, NULL);
}

/* [first, end) of an old row: the peer has it no more. */
static int mark_killed(struct volume *v, uint64_t ino, const struct extent *e, uint64_t first, uint64_t end)
{
	const uint64_t edge[] = { e->off, MAX(e->off, first), MIN(extent_end(e), end), extent_end(e) };
	int rc = extent_rows_del_old(v->db, ino, e);

	for (size_t i = 0; !rc && i < 3; i++) {
		struct extent part = *e;

		if (edge[i] == edge[i + 1])
			continue;
		extent_clip(&part, edge[i], edge[i + 1]);
		part.killed_by_peer = i == 1;
		rc = extent_rows_put_old(v->db, ino, &part);
	}
	return rc;
}

/* The peer made a hole. Versions that we had ended already, unknown to it, end for it now; no row of its own says
 * so. */
static int drop_for_peer(struct volume *v, uint64_t ino, uint64_t first, uint64_t end)
{
	int rc;

	while ((rc = extent_rows_next(v->db, ino, first, true, &first)) > 0 && first < end) {
		struct extent_list rows = EXTENT_LIST_INIT;
		uint64_t stop = MIN(end, first + 4096);

		rc = extent_rows_list_old(v->db, ino, first, stop, &rows);
		for (size_t i = 0; i < rows.n && !rc; i++)
			if (!rows.rows[i].killed_by_peer)
				rc = mark_killed(v, ino, &rows.rows[i], first, stop);
		extent_list_release(&rows);
		if (rc)
			return rc;
		first = stop;
	}
	return MIN(rc, 0);
}

/* Make [*first, end) a hole, in windows of `step` blocks, until about max_rows rows are gone. *first: where it
 * stopped; end if it is done. */
static int drop_rows(struct volume *v, uint64_t ino, uint64_t *first, uint64_t end, struct death death, size_t max_rows)
{
	const uint64_t step = MIN(max_rows, 4096); /* a bounded list at a time */
	size_t gone = 0;
	int rc;

	while ((rc = extent_rows_next(v->db, ino, *first, false, first)) > 0 && *first < end && gone < max_rows) {
		struct extent_list rows = EXTENT_LIST_INIT;
		uint64_t stop = *first + MIN(step, end - *first);

		rc = extent_rows_list(v->db, ino, *first, stop, &rows);
		for (size_t i = 0; i < rows.n && !rc; i++)
			rc = cut_row(v, ino, &rows.rows[i], *first, stop, death, false);
		gone += rows.n;
		extent_list_release(&rows);
		if (rc)
			return rc;
		*first = stop;
	}
	if (rc == 0)
		*first = end;
	*first = MIN(*first, end);
	return MIN(rc, 0);
}

int blocks_drop(struct volume *v, uint64_t ino, uint64_t first, uint64_t end, enum origin by)
{
	int rc = leftover_settle(v, ino);

	if (!rc && by == ORIGIN_PEER)
		rc = drop_for_peer(v, ino, first, end);
	if (!rc)
		rc = aside_drop(v, ino, first, end);
	if (rc)
		return rc;
	group_mark(v);
	return drop_rows(v, ino, &first, end, (struct death){ by, group_number(v), false }, SIZE_MAX);
}

int blocks_drop_tail(struct volume *v, uint64_t ino, uint64_t first, enum origin by)
{
	struct death death = { by, group_number(v), false };
	int rc = leftover_settle(v, ino);

	if (!rc && by == ORIGIN_PEER)
		rc = drop_for_peer(v, ino, first, UINT64_MAX);
	if (!rc)
		rc = aside_drop(v, ino, first, UINT64_MAX);
	if (rc)
		return rc;
	group_mark(v);
	rc = drop_rows(v, ino, &first, LEFTOVER_NONE, death,
	               v->opt.at_once_rows ? v->opt.at_once_rows : DROP_AT_ONCE_ROWS);
	if (rc || first == LEFTOVER_NONE)
		return rc;
	return leftover_put(v, &(struct leftover){ .ino = ino, .floor = first, .group = death.group, .by = by });
}

int blocks_drop_leftover(struct volume *v, struct leftover *l, size_t max_rows)
{
	return drop_rows(v, l->ino, &l->floor, LEFTOVER_NONE, (struct death){ l->by, l->group, true }, max_rows);
}

/* ---- writing whole blocks ---- */

/* Row of the list that the open group may overwrite at `block`, or NULL. */
static struct extent *own_row(struct volume *v, const struct extent_list *rows, uint64_t block, enum origin origin)
{
	for (size_t i = 0; i < rows->n; i++) {
		struct extent *e = &rows->rows[i];

		if (block >= e->off && block < extent_end(e))
			return e->born == group_number(v) && e->origin == origin ? e : NULL;
	}
	return NULL;
}

/* Part of a write: [first, first + n) of the file, in place in `own`, or to new blocks. */
struct segment {
	uint64_t first;
	size_t n;
	struct extent *own;
	struct block_run *runs;
	size_t n_runs;
};

static size_t make_segments(struct volume *v, const struct extent_list *rows, uint64_t first, size_t n,
                            enum origin origin, struct segment *segs)
{
	size_t count = 0;

	for (size_t i = 0; i < n; i++) {
		struct extent *own = own_row(v, rows, first + i, origin);

		if (count && segs[count - 1].own == own)
			segs[count - 1].n++;
		else
			segs[count++] = (struct segment){ .first = first + i, .n = 1, .own = own };
	}
	return count;
}

/* The image block after the one that holds first - 1, 0 if that is a hole. */
static uint64_t goal_of(const struct extent_list *rows, uint64_t first)
{
	for (size_t i = 0; i < rows->n; i++) {
		const struct extent *e = &rows->rows[i];

		if (first > e->off && first <= extent_end(e))
			return e->phys + (first - e->off);
	}
	return 0;
}

static int write_runs(struct image *im, const struct block_run *runs, size_t n_runs, const uint8_t *data)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < n_runs; i++) {
		rc = image_write(im, runs[i].phys, 0, data, runs[i].len << BLOCK_SHIFT);
		data += runs[i].len << BLOCK_SHIFT;
	}
	return rc;
}

/* Is what is on the image for the segment what it was before the write? */
static bool intact(struct volume *v, const struct segment *s)
{
	uint64_t at = s->first - s->own->off;
	uint8_t block[BLOCK_BYTES];

	for (size_t i = 0; i < s->n; i++)
		if (image_read(v->data->image, s->own->phys + at + i, 0, block, BLOCK_BYTES) != 0 ||
		    block_sum(block) != s->own->sums[at + i])
			return false;
	return true;
}

static int write_in_place(struct volume *v, uint64_t ino, const struct segment *s, const uint8_t *data,
                          const uint64_t *sums)
{
	uint64_t at = s->first - s->own->off;
	int rc = image_write(v->data->image, s->own->phys + at, 0, data, s->n << BLOCK_SHIFT);

	if (rc)
		return rc;
	memcpy(s->own->sums + at, sums, s->n * sizeof(*sums));
	store_changed(v, s->own->phys + at, s->n, sums);
	return extent_rows_put(v->db, ino, s->own);
}

/* For those segments that need new blocks. */
static int room_for(struct volume *v, uint64_t ino, const struct segment *segs, size_t count, enum space space)
{
	uint64_t n = 0, claims = 0, more;
	int rc = 0;

	for (size_t i = 0; i < count && !rc; i++) {
		if (segs[i].own)
			continue;
		n += segs[i].n;
		rc = aside_count(v, ino, segs[i].first, segs[i].first + segs[i].n, &more);
		claims += more;
	}
	return rc || n == 0 ? rc : store_room(v, n, claims, space);
}

int blocks_write(struct volume *v, uint64_t ino, uint64_t first, size_t n, const uint8_t *data, enum origin origin,
                 enum space space)
{
	struct extent_list rows = EXTENT_LIST_INIT;
	struct segment *segs = xmalloc(n * sizeof(*segs));
	struct block_run *runs = xmalloc(n * sizeof(*runs));
	uint64_t sums[STEP_BLOCKS];
	size_t count = 0, used = 0;
	int rc = leftover_settle(v, ino);

	assert(n && n <= STEP_BLOCKS && group_number(v));
	if (!rc)
		rc = extent_rows_list(v->db, ino, first ? first - 1 : 0, first + n, &rows);
	if (rc)
		goto out;
	group_mark(v);
	for (size_t i = 0; i < n; i++)
		sums[i] = block_sum(data + (i << BLOCK_SHIFT));
	count = make_segments(v, &rows, first, n, origin, segs);
	rc = room_for(v, ino, segs, count, space);
	for (size_t i = 0; i < count && !rc; i++) { /* all that can be refused comes first */
		struct segment *s = &segs[i];
		uint64_t goal = goal_of(&rows, s->first);
		bool appends = goal && !goal_of(&rows, s->first + 1); /* nothing was there */

		if (s->own)
			continue;
		s->runs = runs + used;
		if (appends || s->n > AGAIN_MAX_BLOCKS)
			rc = store_alloc(v, s->n, goal, appends ? APPEND_WINDOW_BLOCKS : 0, SPACE_ASKED, s->runs,
			                 &s->n_runs);
		else
			rc = store_alloc_again(v, s->n, goal, SPACE_ASKED, s->runs, &s->n_runs);
		used += s->n_runs;
		if (!rc)
			rc = write_runs(v->data->image, s->runs, s->n_runs, data + ((s->first - first) << BLOCK_SHIFT));
	}
	bool changed = false; /* something in place that cannot be taken back but with the group */

	for (size_t i = 0; i < count && !rc; i++) { /* its blocks are in the host's cache or on its disk already */
		if (!segs[i].own)
			continue;
		rc = write_in_place(v, ino, &segs[i], data + ((segs[i].first - first) << BLOCK_SHIFT),
				    sums + (segs[i].first - first));
		changed |= !rc || !intact(v, &segs[i]);
	}
	if (rc)
		store_release(v, runs, used);
	if (rc && changed && !db_failure(v->db, NULL))
		rc = group_fault(v, rc, "a write over changes that were not yet durable failed");
	for (size_t i = 0; i < count && !rc; i++)
		if (!segs[i].own)
			rc = blocks_replace(v, ino, segs[i].first, segs[i].n, segs[i].runs, segs[i].n_runs,
			                    sums + (segs[i].first - first), origin, count == 1 ? &rows : NULL);
out:
	extent_list_release(&rows);
	free(segs);
	free(runs);
	return rc;
}

uint64_t block_sum_lost(void)
{
	static const uint8_t zeros[BLOCK_BYTES];

	return ~block_sum(zeros);
}

int blocks_lose(struct volume *v, uint64_t ino, uint64_t block, enum origin origin)
{
	static const uint8_t zeros[BLOCK_BYTES];
	uint64_t sum = block_sum_lost();
	struct block_run run;
	size_t n_runs;
	int rc = image_answers(v->data->image) ? store_alloc(v, 1, 0, 0, SPACE_RESERVE, &run, &n_runs) : -EIO;

	if (rc)
		return rc;
	rc = image_write(v->data->image, run.phys, 0, zeros, BLOCK_BYTES);
	if (rc) {
		store_release(v, &run, 1);
		return rc;
	}
	return blocks_replace(v, ino, block, 1, &run, 1, &sum, origin, NULL);
}
