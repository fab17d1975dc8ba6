/* SPDX-License-Identifier: MIT */
#include "sync/content.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/changes.h"
#include "core/data.h"
#include "core/merge3.h"
#include "util/log.h"
#include "util/util.h"

/* Pieces in which versions are compared and copied: large enough for the image, small enough to be nothing beside its
 * cache. */
#define PIECE_BYTES (1u << 20)

static const struct view view_now = { .kind = VIEW_NOW };

/* Of a version written as a whole a span counts as changed (see whole_span): looking for it must end. */
#define COMPARE_MAX_BYTES (64u << 20)

/* What is kept of blocks that history forgets (see keep_below) is written with the lock held. */
#define KEEP_BELOW_MAX_BYTES (64u << 20)

/* A number, a date, an id: of a value that is given anew few bytes may differ, but all of it was written. */
#define VALUE_BYTES 16

static void begin(struct content_case *c, struct volume *v, const struct shipment *s, const struct rec_inode *rec,
		  uint64_t ino, uint64_t seen)
{
	*c = (struct content_case){ .v = v, .s = s, .rec = rec, .ino = ino, .seen = seen, .name = "" };
	buf_init(&c->merged, 3 * (size_t)MERGE3_MAX_BYTES);
	c->base = (struct view){ .kind = VIEW_PEER, .group = seen };
	c->base_ino = ino;
	c->theirs_size = rec->size_bytes;
	c->theirs_whole = (rec->fields & REC_NEW) != 0;
	c->since = rec->ino == ino ? seen + 1 : 0;
}

/* Can the peer's view as of this group be had? It has no versions that ended before what the peer has acknowledged. */
static bool reaches(struct volume *v, uint64_t group)
{
	struct volume_ids ids;

	volume_ids(v, &ids);
	return ids.acked <= group;
}

/* What a note of merged ranges says: the peer's view of the file, or (mixed) what both sides' ranges made of it. */
static struct view merged_view(struct volume *v, const struct lineage *note, bool *mixed)
{
	*mixed = note->since == 0 || !reaches(v, note->since - 1);
	return *mixed ? (struct view){ .kind = VIEW_AT, .group = note->grp }
		      : (struct view){ .kind = VIEW_PEER, .group = note->since - 1 };
}

/* The peer's view is that of a file which the secondary has by this id itself. */
static bool is_its_own(const struct content_case *c)
{
	return c->rec->ino == c->ino && c->base_ino == c->ino;
}

/* A note says where the bytes are that the secondary had: they are kept there, or were in the file itself. */
static void base_from_note(struct content_case *c, const struct lineage *note)
{
	if (note->kind == 's') {
		c->base = merged_view(c->v, note, &c->mixed);
		c->base_ino = c->mixed ? c->base_ino : note->src;
		c->since = c->mixed || !is_its_own(c) ? 0 : note->since;
		return;
	}
	c->base = (struct view){ .kind = VIEW_AT, .group = note->grp };
	c->base_ino = note->dst;
	c->since = is_its_own(c) ? note->grp + 1 : 0;
}

int content_view(struct volume *v, uint64_t ino, struct view view, struct inode *in)
{
	struct inode *now;
	int rc = tree_inode_view(v, ino, view, in);

	if (rc < 0 || view.kind != VIEW_AT || reaches(v, view.group))
		return rc;
	now = xmalloc(sizeof(*now));
	rc = tree_inode_get(v, ino, now);
	if (rc == 0 && now->born > view.group)
		rc = -ENOENT;
	free(now);
	return rc;
}

/*
 * History goes by acknowledgements alone. Who was the primary until just now may have acknowledged what was written
 * here after the version that it says it knew: what it changed since it tells with all of its ranges, and theirs too,
 * as it had decided about both. So what it acknowledged will do.
 */
static int base_view(struct content_case *c, struct inode *in)
{
	struct volume_ids ids;
	struct view acked = { .kind = VIEW_AT };
	int rc = content_view(c->v, c->base_ino, c->base, in);

	if (rc != -ENOENT || c->base.kind != VIEW_PEER || c->theirs_whole)
		return rc;
	volume_ids(c->v, &ids);
	acked.group = ids.acked;
	rc = tree_inode_view(c->v, c->base_ino, acked, in);
	if (rc == 0) {
		c->base = acked;
		c->since = 0;
	}
	return rc;
}

static int sizes(struct content_case *c, const struct lineage *note)
{
	struct inode in;
	int rc = base_view(c, &in);

	if (rc < 0 && rc != -ENOENT)
		return rc;
	c->no_base |= rc == -ENOENT && (c->base_ino != c->ino || note || c->theirs_whole);
	c->had_base = rc == 0;
	c->base_size = rc == 0 ? in.size_bytes : 0;
	if (note && note->kind == 's')
		c->base_size = note->dst;
	c->ours_whole |= c->base_ino != c->ino;
	c->no_base |= c->mixed && (c->ours_whole || c->theirs_whole);
	rc = tree_inode_get(c->v, c->ino, &in);
	if (rc == 0)
		c->ours_size = in.size_bytes;
	return rc == -ENOENT ? 0 : rc;
}

/*
 * What lives on as another one: its bytes are kept somewhere, or it was a file here once that the secondary has seen.
 * If not, the other one itself will do as long as that has what the secondary has.
 */
static void base_of_redirected(struct content_case *c, const struct lineage *redirect, const struct lineage *note)
{
	struct lineage known = *redirect;
	struct inode in;

	known.grp = lineage_known(redirect);
	c->base_ino = c->rec->ino;
	c->since = 0;
	if (redirect->kind == 'u') { /* it is a file here still, and what is here by that id the secondary knew then */
		c->base.group = rec_seen(c->rec, REC_CONTENT);
		if (tree_inode_view(c->v, c->rec->ino, c->base, &in) == 0)
			return;
		base_from_note(c, &known);
		return;
	}
	if (redirect->kind == 'a' && tree_inode_view(c->v, c->rec->ino, c->base, &in) == 0)
		return;
	if (redirect->kind == 'a' && note->kind == 'b' && note->grp != 0 && note->dst == redirect->dst) {
		base_from_note(c, note); /* the alias may have been kept up since: that gave it nothing of ours */
		return;
	}
	c->no_base = redirect->kind == 'a';
	base_from_note(c, &known);
}

int content_open(struct content_case *c, struct volume *v, const struct shipment *s, const struct rec_inode *rec,
		 uint64_t ino, uint64_t seen, const struct lineage *redirect, const char *name)
{
	struct lineage lin, note = { .kind = 'b' };

	begin(c, v, s, rec, ino, seen);
	c->name = name;
	c->apart = !redirect && lineage_get(v, LINEAGE_INODE, ino, &lin) == 0 && lin.kind == 'c' && lin.grp > seen;
	c->apart_here = map_get(&s->copied, ino, NULL);
	if (lineage_get(v, LINEAGE_BASE, rec->ino, &note) == 0 && note.grp > rec_seen(rec, REC_CONTENT)) {
		base_from_note(c, &note);
		if (c->apart && c->mixed) /* what it sent last went into the copy, and was merged there */
			c->base_ino = lin.dst;
		return sizes(c, &note);
	}
	if (redirect)
		base_of_redirected(c, redirect, &note);
	return sizes(c, NULL);
}

int content_open_save(struct content_case *c, struct volume *v, const struct shipment *s, const struct rec_inode *rec,
		      uint64_t ino, const struct content_had *had)
{
	struct lineage note;

	begin(c, v, s, rec, ino, had->seen);
	c->base_ino = had->ino;
	c->since = 0;
	if (lineage_get(v, LINEAGE_BASE, had->src, &note) < 0 || note.grp <= had->seen)
		return sizes(c, NULL);
	base_from_note(c, &note);
	return sizes(c, &note);
}

void content_close(struct content_case *c)
{
	buf_release(&c->merged);
}

/* Where the base's bytes end in the secondary's version: what it cut off once is gone even if the file grew again. */
static uint64_t base_end(const struct content_case *c)
{
	return c->theirs_whole ? 0 : MIN(MIN(c->base_size, c->rec->shrunk_to), c->theirs_size);
}

static int read_base(const struct content_case *c, void *buf, size_t len, uint64_t off, uint64_t end)
{
	size_t n = off >= end ? 0 : (size_t)MIN(len, end - off);

	memset((char *)buf + n, 0, len - n);
	return n ? data_read_beyond(c->v, c->base_ino, c->base, buf, n, off) : 0;
}

static int overlay(const struct content_case *c, void *buf, size_t len, uint64_t off)
{
	return c->s->stage ? stage_overlay(c->s->stage, c->rec->ino, buf, len, off) : 0;
}

/* At most a block. If its base cannot be read, that does no harm as long as the secondary wrote all of it: what it sent
 * then comes out the same over whatever is below. */
static int theirs_in_block(const struct content_case *c, uint8_t *buf, size_t len, uint64_t off)
{
	uint8_t other[BLOCK_BYTES];
	int rc = read_base(c, buf, len, off, base_end(c));

	if (rc != -EIO)
		return rc ? rc : overlay(c, buf, len, off);
	memset(buf, 0, len);
	memset(other, 0xff, len);
	rc = overlay(c, buf, len, off);
	if (rc == 0)
		rc = overlay(c, other, len, off);
	return rc == 0 && memcmp(buf, other, len) != 0 ? -EIO : rc;
}

int content_theirs(const struct content_case *c, void *buf, size_t len_bytes, uint64_t off)
{
	int rc = read_base(c, buf, len_bytes, off, base_end(c));

	if (rc != -EIO)
		return rc ? rc : overlay(c, buf, len_bytes, off);
	rc = 0;
	for (size_t done = 0, n; rc == 0 && done < len_bytes; done += n) {
		n = MIN(len_bytes - done, BLOCK_BYTES - (off + done) % BLOCK_BYTES);
		rc = theirs_in_block(c, (uint8_t *)buf + done, n, off + done);
	}
	return rc;
}

/* Which versions a loop is about. */
enum { OF_BASE = 1, OF_OURS = 2, OF_THEIRS = 4 };

static int next_theirs(const struct content_case *c, uint64_t off, uint64_t *next)
{
	int rc = 0;

	*next = UINT64_MAX;
	if (off < base_end(c))
		rc = data_next(c->v, c->base_ino, c->base, off, next);
	if (rc == 0 && c->s->stage)
		*next = MIN(*next, stage_next(c->s->stage, c->rec->ino, off));
	return rc;
}

/* The next piece, at or behind *off, below end, in which one of the versions may have bytes: all between is zeros in
 * all of them. A file may be terabytes of nothing. 1: there is one, of *n bytes. */
static int next_piece(const struct content_case *c, unsigned which, uint64_t *off, uint64_t end, size_t *n)
{
	uint64_t base = UINT64_MAX, ours = UINT64_MAX, theirs = UINT64_MAX;
	int rc = 0;

	if (*off < end && (which & OF_BASE) && *off < c->base_size)
		rc = data_next(c->v, c->base_ino, c->base, *off, &base);
	if (rc == 0 && *off < end && (which & OF_OURS))
		rc = data_next(c->v, c->ino, view_now, *off, &ours);
	if (rc == 0 && *off < end && (which & OF_THEIRS))
		rc = next_theirs(c, *off, &theirs);
	if (rc < 0)
		return rc;
	*off = MIN(end, MIN(base, MIN(ours, theirs)));
	*n = (size_t)MIN(PIECE_BYTES, end - *off);
	return *n > 0;
}

/* 1 equal, 0 not (or not to be known), -errno. */
static int same_bytes(const struct content_case *c)
{
	uint8_t *a, *b;
	size_t n;
	int rc = 1, more = 0;

	if (c->ours_size != c->theirs_size)
		return 0;
	a = xmalloc(2 * (size_t)PIECE_BYTES);
	b = a + PIECE_BYTES;
	for (uint64_t off = 0; rc == 1 && (more = next_piece(c, OF_OURS | OF_THEIRS, &off, c->ours_size, &n)) > 0;
	     off += n) {
		rc = data_read(c->v, c->ino, view_now, a, n, off);
		if (rc == 0)
			rc = content_theirs(c, b, n, off);
		if (rc == 0)
			rc = memcmp(a, b, n) == 0;
	}
	free(a);
	rc = rc == 1 && more < 0 ? more : rc;
	return rc == -EIO ? 0 : rc;
}

int content_same(const struct content_case *c)
{
	return same_bytes(c);
}

/* ---- text ----------------------------------------------------------------------------------------------------------
 */

/* What needs the base's bytes cannot be done without. */
static bool base_is_unknown(struct content_case *c)
{
	c->verdict = RS_CONTENT_KEEP_BOTH;
	c->rule = "what both sides had before is not known any more";
	return c->no_base || c->mixed;
}

static int decide_text(struct content_case *c)
{
	uint64_t nb = c->base_size, no = c->ours_size, nt = c->theirs_size;
	uint8_t *mem;
	int rc;

	if (base_is_unknown(c))
		return 0;
	c->rule = "the same lines were changed on both sides";
	if (MAX(MAX(nb, no), nt) > MERGE3_MAX_BYTES) {
		c->rule = "both sides changed a text too large to merge by lines";
		return 0;
	}
	mem = xmalloc(nb + no + nt + 1);
	rc = read_base(c, mem, nb, 0, nb);
	if (rc == 0)
		rc = data_read(c->v, c->ino, view_now, mem + nb, no, 0);
	if (rc == 0)
		rc = content_theirs(c, mem + nb + no, nt, 0);
	if (rc == 0) {
		int m = merge3_text(mem, nb, mem + nb, no, mem + nb + no, nt, &c->merged);

		if (m == 0 && !c->merged.failed) {
			c->verdict = RS_CONTENT_MERGED;
			c->merged_whole = true;
			c->rule = "text: different lines were changed, both changes are in it";
		}
	}
	free(mem);
	return rc;
}

/* ---- ranges ---------------------------------------------------------------------------------------------------------
 */

struct range {
	uint64_t off, end;
};
struct range_list {
	struct range *r;
	size_t n, cap;
};

static void range_add(struct range_list *l, uint64_t off, uint64_t end)
{
	if (off >= end)
		return;
	if (l->n == l->cap) {
		l->cap = l->cap ? l->cap * 2 : 64;
		l->r = xrealloc(l->r, l->cap * sizeof(*l->r));
	}
	l->r[l->n++] = (struct range){ off, end };
}

static int add_ours(void *ctx, uint64_t ino, uint64_t off, uint64_t len_bytes, uint64_t grp)
{
	(void)ino;
	(void)grp;
	range_add(ctx, off, off + len_bytes);
	return 0;
}

static int add_theirs(void *ctx, uint64_t off, uint64_t len_bytes)
{
	range_add(ctx, off, off + len_bytes);
	return 0;
}

static int by_off(const void *a, const void *b)
{
	const struct range *x = a, *y = b;

	return x->off < y->off ? -1 : x->off > y->off;
}

/* fn is called with each piece that is in both and the range of a that it is of, ascending, until it returns true: so
 * does this then. */
typedef bool (*overlap_fn)(void *ctx, const struct range *of_a, uint64_t off, uint64_t end);
static bool overlap(struct range_list *a, struct range_list *b, overlap_fn fn, void *ctx)
{
	size_t i = 0, j = 0;

	if (a->n == 0 || b->n == 0)
		return false;
	qsort(a->r, a->n, sizeof(*a->r), by_off);
	qsort(b->r, b->n, sizeof(*b->r), by_off);
	while (i < a->n && j < b->n) {
		uint64_t off = MAX(a->r[i].off, b->r[j].off), end = MIN(a->r[i].end, b->r[j].end);

		if (off < end && (!fn || fn(ctx, &a->r[i], off, end)))
			return true;
		if (a->r[i].end < b->r[j].end)
			i++;
		else
			j++;
	}
	return false;
}

static int read_version(const struct content_case *c, enum driver_file which, void *buf, size_t len, uint64_t off)
{
	if (which == DRIVER_BASE)
		return read_base(c, buf, len, off, c->base_size);
	if (which == DRIVER_OURS)
		return data_read(c->v, c->ino, view_now, buf, len, off);
	return content_theirs(c, buf, len, off);
}

/*
 * What a version that was written as a whole changed: from the first to the last byte that differs from the base; to
 * the end, if the size differs. One span and not each byte: what is equal between may be so by chance, where all was
 * shifted.
 */
static int whole_span(const struct content_case *c, enum driver_file which, struct range *out)
{
	uint64_t size = which == DRIVER_OURS ? c->ours_size : c->theirs_size, common = MIN(size, c->base_size);
	uint8_t *a = xmalloc(2 * (size_t)PIECE_BYTES), *b = a + PIECE_BYTES;
	unsigned both = OF_BASE | (which == DRIVER_OURS ? OF_OURS : OF_THEIRS);
	int rc = 0, more = 0;
	size_t n;

	*out = (struct range){ .off = common, .end = common };
	for (uint64_t off = 0; rc == 0 && (more = next_piece(c, both, &off, common, &n)) > 0; off += n) {
		rc = read_version(c, DRIVER_BASE, a, n, off);
		if (rc == 0)
			rc = read_version(c, which, b, n, off);
		for (size_t i = 0; rc == 0 && i < n; i++)
			if (a[i] != b[i]) {
				out->off = MIN(out->off, off + i);
				out->end = off + i + 1;
			}
	}
	rc = MIN(rc, more);
	if (size != c->base_size)
		out->end = MAX(size, c->base_size);
	if (out->off > out->end)
		out->off = out->end;
	free(a);
	return rc;
}

static int add_span(const struct content_case *c, enum driver_file which, struct range_list *l)
{
	struct range r;
	int rc = whole_span(c, which, &r);

	if (rc == 0)
		range_add(l, r.off, r.end);
	return rc;
}

static int their_ranges(const struct content_case *c, struct range_list *l)
{
	if (c->theirs_whole)
		return add_span(c, DRIVER_THEIRS, l);
	return c->s->stage ? stage_ranges(c->s->stage, c->rec->ino, add_theirs, l) : 0;
}

static int our_ranges(const struct content_case *c, struct range_list *l, uint64_t *shrunk_to)
{
	struct change_row row;
	int rc = changes_get(c->v, c->ino, ENT_CONTENT, &row);

	*shrunk_to = rc == 0 ? row.shrunk_to : UINT64_MAX;
	/* Of a file that was deleted here after it was cut, and that came back, no row tells of the cut. */
	if (c->ours_size < c->base_size)
		*shrunk_to = MIN(*shrunk_to, c->ours_size);
	return changes_ranges(c->v, c->ino, c->seen, GROUP_MAX, add_ours, l);
}

/* Sizes: one side's if the other kept it; the primary's if both cut; else what either side's bytes need. */
static uint64_t merged_size(const struct content_case *c)
{
	if (c->ours_size == c->base_size)
		return c->theirs_size;
	if (c->theirs_size == c->base_size)
		return c->ours_size;
	if (c->ours_size < c->base_size && c->theirs_size < c->base_size)
		return c->ours_size;
	return MAX(c->ours_size, c->theirs_size);
}

/* Not if one side cut the file and the other made it longer, or went on after a cut of its own: neither size is right
 * with the bytes of both. */
static bool sizes_go_together(const struct content_case *c, uint64_t our_cut, uint64_t their_cut)
{
	bool we_cut = our_cut < c->base_size, they_cut = their_cut < c->base_size;

	if (we_cut && they_cut)
		return c->ours_size == our_cut && c->theirs_size == their_cut;
	return (!we_cut || c->theirs_size <= c->base_size) && (!they_cut || c->ours_size <= c->base_size);
}

/* For what overlaps a span counts with the values that it may begin and end in: they are one side's or the other's,
 * not of some bytes of each. What was behind the base's end or is added there was no part of one. */
static void widen_span(const struct content_case *c, struct range_list *l)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->r[i].off < c->base_size) {
			l->r[i].off -= MIN(l->r[i].off, VALUE_BYTES - 1);
			l->r[i].end = MAX(l->r[i].end, MIN(l->r[i].end + VALUE_BYTES - 1, c->base_size));
		}
}

struct looking {
	const struct content_case *c;
	uint64_t left; /* bytes that may still be compared */
};

/*
 * Are the bytes of ours in the piece others than the base's? If not, they are no change of ours: the secondary made
 * them itself, and they count as ours as it gets them back from a merge of ranges (content_send_back). With the rest of
 * a value that the piece is a part of: of what we wrote some bytes may be what they were.
 */
static bool is_our_own(void *ctx, const struct range *of_ours, uint64_t off, uint64_t end)
{
	struct looking *l = ctx;
	const struct content_case *c = l->c;
	uint8_t *a, *b;
	bool own;

	off -= MIN(off - of_ours->off, VALUE_BYTES - 1);
	end += MIN(of_ours->end - end, VALUE_BYTES - 1);
	own = c->mixed || end > MIN(c->base_size, c->ours_size) || end - off > l->left;
	if (own)
		return true;
	l->left -= end - off;
	a = xmalloc(2 * (size_t)PIECE_BYTES);
	b = a + PIECE_BYTES;
	for (size_t n; !own && off < end; off += n) {
		n = (size_t)MIN(PIECE_BYTES, end - off);
		own = data_read(c->v, c->ino, view_now, a, n, off) != 0 ||
		      read_base(c, b, n, off, c->base_size) != 0 || memcmp(a, b, n) != 0;
	}
	free(a);
	return own;
}

/* Did we change something of what they did? */
static bool meets_ours(const struct content_case *c, struct range_list *ours, struct range_list *theirs)
{
	struct looking l = { .c = c, .left = COMPARE_MAX_BYTES };

	return overlap(ours, theirs, c->ours_whole || c->theirs_whole ? NULL : is_our_own, &l);
}

static int decide_ranges(struct content_case *c)
{
	struct range_list ours = { 0 }, theirs = { 0 }, cut_o = { 0 }, cut_t = { 0 };
	uint64_t shrunk = UINT64_MAX, their_cut = c->rec->shrunk_to;
	int rc;

	c->verdict = RS_CONTENT_KEEP_BOTH;
	c->rule = "both sides wrote a file anew that is too large to compare";
	if ((c->ours_whole || c->theirs_whole) &&
	    MAX(MAX(c->base_size, c->ours_size), c->theirs_size) > COMPARE_MAX_BYTES)
		return 0;
	rc = c->ours_whole ? add_span(c, DRIVER_OURS, &ours) : our_ranges(c, &ours, &shrunk);
	if (rc == 0)
		rc = their_ranges(c, &theirs);
	if (c->ours_whole || c->theirs_whole)
		widen_span(c, c->ours_whole ? &ours : &theirs); /* one of the two suffices */
	/* What one side wrote behind the place where the other cut the file has lost what it stood on. A version that
	 * was written as a whole, and is shorter, is cut. */
	if (c->ours_whole)
		shrunk = c->ours_size;
	if (c->theirs_whole)
		their_cut = c->theirs_size;
	if (shrunk < c->base_size)
		range_add(&cut_o, shrunk, UINT64_MAX);
	if (their_cut < c->base_size)
		range_add(&cut_t, their_cut, UINT64_MAX);
	c->rule = "the same bytes were changed on both sides";
	if (rc == 0 && !meets_ours(c, &ours, &theirs) && !meets_ours(c, &ours, &cut_t) &&
	    !overlap(&cut_o, &theirs, NULL, NULL) && sizes_go_together(c, shrunk, their_cut)) {
		c->verdict = RS_CONTENT_MERGED;
		c->rule = "data: different bytes were changed, both changes are in it";
		c->merged_size = merged_size(c);
		c->their_cut = shrunk < c->base_size ? UINT64_MAX : their_cut;
	}
	free(ours.r);
	free(theirs.r);
	free(cut_o.r);
	free(cut_t.r);
	return rc;
}

/* Both only added at the end: ours, then theirs. */
static bool only_appended(const struct content_case *c)
{
	struct range_list ours = { 0 }, theirs = { 0 };
	uint64_t shrunk = UINT64_MAX;
	bool yes = c->ours_size >= c->base_size && c->theirs_size >= c->base_size &&
		   (c->theirs_whole || c->rec->shrunk_to >= c->base_size);

	yes = yes && (c->ours_whole ? add_span(c, DRIVER_OURS, &ours) : our_ranges(c, &ours, &shrunk)) == 0;
	yes = yes && shrunk >= c->base_size && their_ranges(c, &theirs) == 0;
	for (size_t i = 0; i < ours.n; i++)
		yes = yes && ours.r[i].off >= c->base_size;
	for (size_t i = 0; i < theirs.n; i++)
		yes = yes && theirs.r[i].off >= c->base_size;
	free(ours.r);
	free(theirs.r);
	return yes;
}

static int file_kind(const struct content_case *c, enum content_kind *kind)
{
	size_t n = (size_t)MIN(c->ours_size, 64u << 10), m = (size_t)MIN(c->theirs_size, 64u << 10);
	uint8_t *head = xmalloc(MAX(n, m) + 1);
	enum content_kind other;
	int rc = data_read(c->v, c->ino, view_now, head, n, 0);

	*kind = CONTENT_STRUCTURED;
	if (rc == 0) {
		*kind = content_kind(c->name, head, n);
		rc = content_theirs(c, head, m, 0);
	}
	if (rc == 0) {
		other = content_kind(c->name, head, m);
		if (n == 0)
			*kind = other;
		else if (m != 0 && other != *kind)
			*kind = CONTENT_STRUCTURED; /* it became something else: its bytes are not to be mixed */
	}
	free(head);
	return rc;
}

static int decide_append(struct content_case *c)
{
	c->verdict = RS_CONTENT_KEEP_BOTH;
	c->rule = "policy append: a side did more than add to the end";
	if (only_appended(c)) {
		c->verdict = RS_CONTENT_MERGED;
		c->append = true;
		c->rule = "policy append: both additions are in it";
	}
	return 0;
}

static int decide_newest(struct content_case *c)
{
	struct inode *in = xmalloc(sizeof(*in));
	int rc = tree_inode_get(c->v, c->ino, in);
	bool ours = rc == 0 && in->mtime_ns >= c->rec->mtime_ns;

	free(in);
	c->verdict = ours ? RS_CONTENT_PRIMARY : RS_CONTENT_SECONDARY;
	c->rule = "policy newest: the version written last is in place, the other is set aside";
	return rc;
}

/* One of the three versions for a command, as a file. */
static int put_out(struct content_case *c, struct driver_job *job, enum driver_file which, uint64_t size_bytes)
{
	uint8_t *piece = xmalloc(PIECE_BYTES);
	int rc = 0;

	for (uint64_t off = 0; rc == 0 && off < size_bytes; off += PIECE_BYTES) {
		size_t n = (size_t)MIN(PIECE_BYTES, size_bytes - off);

		rc = read_version(c, which, piece, n, off);
		if (rc == 0)
			rc = driver_job_write(job, which, piece, n, off);
	}
	free(piece);
	return rc;
}

/* A command has seen exactly these versions already, or it is asked for and the merge is done again after it. */
static int decide_command(struct content_case *c)
{
	struct inode *in = xmalloc(sizeof(*in));
	struct driver_job *job;
	int rc = tree_inode_get(c->v, c->ino, in);
	uint64_t born = in->cborn;

	free(in);
	if (base_is_unknown(c))
		return rc;
	c->rule = "policy command: the command was not set on this machine";
	if (rc < 0 || !c->jobs || !c->policy.local_command)
		return rc;
	c->rule = "policy command: the file is too large for a command";
	if (MAX(MAX(c->base_size, c->ours_size), c->theirs_size) > DRIVER_FILE_MAX_BYTES)
		return 0;
	job = driver_job_find(c->jobs, c->ino, born);
	if (job) {
		c->rule = driver_job_why(job);
		c->merged_file = driver_job_result(job);
		if (c->merged_file)
			c->verdict = RS_CONTENT_MERGED;
		return 0;
	}
	c->rule = "policy command: the file kept changing while the command ran, or there are too many";
	job = driver_job_new(c->jobs, c->ino, born, policy_command(c->policy.text), c->path);
	if (!job)
		return 0;
	rc = put_out(c, job, DRIVER_BASE, c->base_size);
	if (rc == 0)
		rc = put_out(c, job, DRIVER_OURS, c->ours_size);
	if (rc == 0)
		rc = put_out(c, job, DRIVER_THEIRS, c->theirs_size);
	if (rc < 0)
		driver_job_fail(job, "policy command: the versions could not be written out");
	return 0;
}

/* 1: the policy has decided. */
static int decide_by_policy(struct content_case *c)
{
	int rc = 0;

	switch (c->policy.kind) {
	case POLICY_NONE:
	case POLICY_UNIT:
		return 0;
	case POLICY_KEEP_BOTH:
		c->rule = "policy keep-both: both sides changed it";
		break;
	case POLICY_EXTENTS:
		rc = decide_ranges(c);
		break;
	case POLICY_TEXT:
		rc = decide_text(c);
		break;
	case POLICY_APPEND:
		rc = decide_append(c);
		break;
	case POLICY_NEWEST:
		rc = decide_newest(c);
		break;
	case POLICY_PRIMARY:
		c->verdict = RS_CONTENT_PRIMARY;
		c->rule = "policy primary: the primary's version is in place, the other is set aside";
		break;
	case POLICY_COMMAND:
		rc = decide_command(c);
		break;
	}
	return rc < 0 ? rc : 1;
}

/* 1: our bytes are those that both had; 0: not. */
static int same_as_base(const struct content_case *c)
{
	uint8_t *a = xmalloc(2 * (size_t)PIECE_BYTES), *b = a + PIECE_BYTES;
	int rc = 1, more = 0;
	size_t n;

	for (uint64_t off = 0; rc == 1 && (more = next_piece(c, OF_BASE | OF_OURS, &off, c->base_size, &n)) > 0;
	     off += n) {
		rc = data_read(c->v, c->ino, view_now, a, n, off);
		if (rc == 0)
			rc = read_base(c, b, n, off, c->base_size);
		if (rc == 0)
			rc = memcmp(a, b, n) == 0;
	}
	free(a);
	return rc == 1 && more < 0 ? more : rc;
}

/* A version that somebody wanted to stay as it is (core/volume.h, settling conflicts) has no changes, but counts as
 * changed: 1 ours, 2 theirs, 0 neither. */
static int only_claimed(const struct content_case *c)
{
	struct range_list ours = { 0 }, theirs = { 0 };
	uint64_t shrunk;
	int rc = our_ranges(c, &ours, &shrunk);

	if (rc == 0 && c->s->stage)
		rc = stage_ranges(c->s->stage, c->rec->ino, add_theirs, &theirs);
	if (rc == 0 && theirs.n == 0 && c->rec->shrunk_to >= c->base_size && c->theirs_size == c->base_size)
		rc = 2;
	else if (rc == 0 && !c->mixed && ours.n == 0 && shrunk >= c->base_size && c->ours_size == c->base_size)
		rc = same_as_base(c);
	free(ours.r);
	free(theirs.r);
	return rc;
}

/* 1: a version that was written as a whole is the base's, byte by byte: only the other one counts. */
static int decide_one_sided(struct content_case *c)
{
	struct range r;
	int rc = 0;

	if (!c->ours_whole && !c->theirs_whole)
		return 0;
	c->verdict = RS_CONTENT_EQUAL;
	if (c->theirs_size == c->base_size) {
		rc = whole_span(c, DRIVER_THEIRS, &r);
		c->one_sided = rc == 0 && r.off == r.end;
	}
	if (rc == 0 && !c->one_sided && c->ours_size == c->base_size) {
		rc = whole_span(c, DRIVER_OURS, &r);
		c->one_sided = c->taken = rc == 0 && r.off == r.end;
	}
	return rc ? rc : c->one_sided;
}

static int decide_all(struct content_case *c)
{
	enum content_kind kind;
	int rc = same_bytes(c);

	if (rc < 0)
		return rc;
	c->verdict = RS_CONTENT_EQUAL;
	if (rc == 1)
		return 0;
	rc = c->had_base && !c->apart && !c->apart_here && !c->ours_whole && !c->theirs_whole ? only_claimed(c) : 0;
	c->ours_is_base = rc == 1;
	c->one_sided = rc == 2;
	if (rc != 0)
		return MIN(rc, 0);
	c->verdict = RS_CONTENT_KEEP_BOTH;
	c->rule = "both sides went on changing a file that was in conflict";
	if (c->apart || c->apart_here)
		return 0;
	base_is_unknown(c);
	if (c->no_base && c->policy.kind != POLICY_NEWEST && c->policy.kind != POLICY_PRIMARY)
		return 0;
	rc = c->no_base ? 0 : decide_one_sided(c);
	if (rc != 0)
		return rc < 0 ? rc : 0;
	c->verdict = RS_CONTENT_KEEP_BOTH;
	rc = decide_by_policy(c);
	if (rc != 0)
		return rc < 0 ? rc : 0;
	rc = file_kind(c, &kind);
	if (rc < 0)
		return rc;
	c->verdict = RS_CONTENT_KEEP_BOTH;
	switch (kind) {
	case CONTENT_LOG:
		if (only_appended(c)) {
			c->verdict = RS_CONTENT_MERGED;
			c->append = true;
			c->rule = "log: both sides added to the end, both additions are in it";
			return 0;
		}
		return decide_text(c);
	case CONTENT_TEXT: return decide_text(c);
	case CONTENT_DATA: return decide_ranges(c);
	case CONTENT_STRUCTURED: c->rule = "both sides changed a file whose parts depend on each other"; return 0;
	}
	return 0;
}

int content_decide(struct content_case *c)
{
	int rc = decide_all(c);

	if (rc != -EIO)
		return rc;
	/* It will not get better by trying again: what can be read of both is kept, nothing is mixed. */
	c->verdict = RS_CONTENT_KEEP_BOTH;
	c->rule = "a version cannot be read in full, as the disk here has lost a part of it";
	log_error("%s: both sides changed it, and the versions cannot be merged, as the disk here has lost a part of "
		  "one; both are kept", c->path ? c->path : "a file");
	return 0;
}

/* ---- copying a version
 * --------------------------------------------------------------------------------------------------- */

struct copying {
	struct volume *v;
	int (*read)(const void *ctx, void *buf, size_t len_bytes, uint64_t off);
	int (*next)(const void *ctx, uint64_t off, uint64_t *next); /* where it may have bytes again */
	const void *ctx;
	uint64_t to;
	enum origin origin;
	uint64_t lost_bytes;
};

/* What the file has already is not written: that spares blocks, and leaves holes where there are zeros. */
static int copy_readable(struct copying *c, const uint8_t *piece, uint8_t *have, size_t n, uint64_t at)
{
	int rc = data_read(c->v, c->to, view_now, have, n, at);

	if (rc == 0 && memcmp(piece, have, n) == 0)
		return 0;
	return rc == 0 || rc == -EIO ? data_write(c->v, c->to, piece, n, at, c->origin) : rc;
}

/* What cannot be read of a version is lost in its copy too: a merge that waited for it would wait for ever. */
static int copy_in_blocks(struct copying *c, uint8_t *piece, uint8_t *have, size_t len, uint64_t off, uint64_t at)
{
	int rc = 0;

	for (size_t done = 0, n; rc == 0 && done < len; done += n) {
		n = MIN(len - done, BLOCK_BYTES - (off + done) % BLOCK_BYTES);
		rc = c->read(c->ctx, piece, n, off + done);
		if (rc == 0) {
			rc = copy_readable(c, piece, have, n, at + done);
		} else if (rc == -EIO) {
			c->lost_bytes += n;
			rc = data_lose(c->v, c->to, at + done, n, c->origin);
		}
	}
	return rc;
}

/* How far neither the version from off on nor the file from `at` on has any bytes. */
static int hole_in_both(struct copying *c, uint64_t off, uint64_t at, uint64_t *len_bytes)
{
	uint64_t from = 0, to = 0;
	int rc = c->next(c->ctx, off, &from);

	if (rc == 0)
		rc = data_next(c->v, c->to, view_now, at, &to);
	*len_bytes = rc == 0 ? MIN(from - off, to - at) : 0;
	return rc;
}

/* Bytes [off, end) of the version to `at` of the file, which then ends behind them. */
static int copy_version(struct copying *c, uint64_t off, uint64_t end, uint64_t at)
{
	uint8_t *piece = xmalloc(2 * (size_t)PIECE_BYTES), *have = piece + PIECE_BYTES;
	int rc = 0;

	while (rc == 0 && off < end) {
		uint64_t hole = 0;

		rc = hole_in_both(c, off, at, &hole);
		hole = MIN(hole, end - off);
		off += hole;
		at += hole;
		if (rc < 0 || off == end)
			break;
		size_t n = (size_t)MIN(PIECE_BYTES, end - off);

		rc = c->read(c->ctx, piece, n, off);
		if (rc == 0)
			rc = copy_readable(c, piece, have, n, at);
		else if (rc == -EIO)
			rc = copy_in_blocks(c, piece, have, n, off, at);
		off += n;
		at += n;
	}
	free(piece);
	if (rc == 0 && c->lost_bytes)
		log_error("inode %#llx is made of a version of which the disk here has lost %llu bytes: nobody can "
			  "read them there until they are written anew", (unsigned long long)c->to,
			  (unsigned long long)c->lost_bytes);
	return rc ? rc : data_truncate(c->v, c->to, at, c->origin);
}

static int read_theirs(const void *ctx, void *buf, size_t len_bytes, uint64_t off)
{
	return content_theirs(ctx, buf, len_bytes, off);
}

static int next_of_theirs(const void *ctx, uint64_t off, uint64_t *next)
{
	return next_theirs(ctx, off, next);
}

struct viewed {
	struct volume *v;
	uint64_t ino;
	struct view view;
};

static int read_viewed(const void *ctx, void *buf, size_t len_bytes, uint64_t off)
{
	const struct viewed *w = ctx;

	return data_read_beyond(w->v, w->ino, w->view, buf, len_bytes, off);
}

static int next_viewed(const void *ctx, uint64_t off, uint64_t *next)
{
	const struct viewed *w = ctx;

	return data_next(w->v, w->ino, w->view, off, next);
}

static struct copying copy_of_theirs(const struct content_case *c, uint64_t to)
{
	return (struct copying){
		.v = c->v, .read = read_theirs, .next = next_of_theirs, .ctx = c, .to = to, .origin = ORIGIN_LOCAL
	};
}

int content_land_copy(struct content_case *c, uint64_t copy)
{
	struct copying job = copy_of_theirs(c, copy);

	return copy_version(&job, 0, c->theirs_size, 0);
}

int content_copy(struct volume *v, uint64_t from, struct view view, uint64_t size_bytes, uint64_t to,
		 enum origin origin)
{
	const struct viewed w = { v, from, view };
	struct copying job = {
		.v = v, .read = read_viewed, .next = next_viewed, .ctx = &w, .to = to, .origin = origin
	};

	return copy_version(&job, 0, size_bytes, 0);
}

/* ---- carrying out
 * ---------------------------------------------------------------------------------------------------- */

static int touch_again(void *ctx, uint64_t off, uint64_t len_bytes)
{
	struct content_case *c = ctx;

	return changes_touch_range(c->v, c->ino, off, len_bytes);
}

/* Everything of it was written anew: the secondary gets all of it. */
static int touch_all(struct content_case *c, uint64_t size_bytes)
{
	int rc = changes_touch_shrink(c->v, c->ino, 0);

	return rc || size_bytes == 0 ? rc : changes_touch_range(c->v, c->ino, 0, size_bytes);
}

/* We told the secondary all of it anew; how long it was then is not known any more. */
static bool is_told_anew(const struct content_case *c)
{
	struct change_row row;

	return changes_get(c->v, c->ino, ENT_NEW, &row) == 0 && row.grp > c->seen;
}

int content_send_back(struct content_case *c)
{
	struct range_list ours = { 0 };
	uint64_t shrunk, low = c->rec->shrunk_to;
	int rc = our_ranges(c, &ours, &shrunk);

	if (rc == 0)
		rc = changes_touch(c->v, c->ino, ENT_CONTENT);
	if (rc == 0 && shrunk != UINT64_MAX)
		rc = changes_touch_shrink(c->v, c->ino, shrunk);
	for (size_t i = 0; rc == 0 && i < ours.n; i++)
		rc = changes_touch_range(c->v, c->ino, ours.r[i].off, ours.r[i].end - ours.r[i].off);
	if (rc == 0 && c->s->stage)
		rc = stage_ranges(c->s->stage, c->rec->ino, touch_again, c);
	/* What the secondary cut off is still in ours, and the other way round. */
	low = MIN(low, c->theirs_size);
	if (rc == 0 && low < c->ours_size)
		rc = changes_touch_range(c->v, c->ino, low, c->ours_size - low);
	if (rc == 0 && is_told_anew(c))
		rc = touch_all(c, c->ours_size);
	free(ours.r);
	return rc;
}

static int touch_times(struct content_case *c)
{
	struct inode *in = xmalloc(sizeof(*in));
	int rc = tree_inode_get(c->v, c->ino, in);

	if (rc == 0) {
		in->mtime_ns = MAX(in->mtime_ns, c->rec->mtime_ns);
		in->ctime_ns = MAX(in->ctime_ns, c->rec->ctime_ns);
		in->origin = ORIGIN_LOCAL;
		rc = tree_inode_put(c->v, in);
	}
	free(in);
	return rc ? rc : changes_touch(c->v, c->ino, ENT_TIMES);
}

static int land_whole(struct content_case *c)
{
	int rc = data_truncate(c->v, c->ino, 0, ORIGIN_LOCAL);

	if (rc == 0 && c->merged.len_bytes)
		rc = data_write(c->v, c->ino, c->merged.data, c->merged.len_bytes, 0, ORIGIN_LOCAL);
	return rc ? rc : touch_all(c, c->merged.len_bytes);
}

static int land_append(struct content_case *c)
{
	struct copying job = copy_of_theirs(c, c->ino);
	int rc = content_send_back(c);

	if (rc == 0)
		rc = copy_version(&job, c->base_size, c->theirs_size, c->ours_size);
	return rc ? rc : changes_touch_range(c->v, c->ino, c->ours_size, c->theirs_size - c->base_size);
}

/*
 * A block as the secondary has it, and at once, over it, as we have it, if that is another. So the peer's view is what
 * it has, whatever versions there were.
 */
static int put_both(struct content_case *c, const uint8_t *theirs, const uint8_t *ours, uint64_t off, size_t n)
{
	static const uint8_t zeros[BLOCK_BYTES];
	int rc = data_write(c->v, c->ino, theirs, n, off, ORIGIN_PEER);

	if (rc < 0 || memcmp(theirs, ours, n) == 0)
		return rc;
	if (memcmp(ours, zeros, n) == 0) /* it may be a hole, or behind our end */
		return data_punch(c->v, c->ino, off, n, ORIGIN_LOCAL);
	return data_write(c->v, c->ino, ours, n, off, ORIGIN_LOCAL);
}

/* Both versions of what is to be put as both. What cannot be read of one makes the peer's view one that is not exact:
 * false. */
static bool read_both(struct content_case *c, uint8_t *theirs, uint8_t *ours, uint64_t off, size_t n, uint64_t end)
{
	if (read_base(c, theirs, n, off, MIN(end, base_end(c))) == 0 &&
	    data_read(c->v, c->ino, view_now, ours, n, off) == 0)
		return true;
	c->since = 0;
	return false;
}

/* One that history is about to forget. */
static int keep_block(struct content_case *c, uint64_t off)
{
	uint8_t theirs[BLOCK_BYTES], ours[BLOCK_BYTES];

	return read_both(c, theirs, ours, off, BLOCK_BYTES, UINT64_MAX) ? put_both(c, theirs, ours, off, BLOCK_BYTES)
									 : 0;
}

/*
 * The secondary was told of some of what we changed, and has left it alone: history is about to forget what it has in
 * these places, as it acknowledges that with this shipment. It is put into the peer's view anew. All else that we
 * changed is in history until it has heard of the merge. Too much of it, or a block that cannot be read: the view is
 * not exact.
 */
static int keep_below(struct content_case *c)
{
	const uint64_t upto = c->s->begin.seen;
	const struct view had = { VIEW_PEER, c->since - 1 }, then = { VIEW_PEER, upto };
	uint64_t left = MIN(KEEP_BELOW_MAX_BYTES, data_room(c->v) / 16), shrunk;
	struct range_list ours = { 0 };
	int rc;

	assert(c->since == 0 || is_its_own(c));
	if (c->since == 0 || upto < c->since)
		return 0;
	rc = our_ranges(c, &ours, &shrunk);
	range_add(&ours, shrunk, c->base_size);
	for (size_t i = 0; i < ours.n; i++) {
		uint64_t off = ours.r[i].off - ours.r[i].off % BLOCK_BYTES, end = ours.r[i].end;

		while (rc == 0 && c->since && (rc = data_differ(c->v, c->ino, had, then, off, end, &off)) == 0 &&
		       off < end) {
			if (left < BLOCK_BYTES)
				c->since = 0;
			else
				rc = keep_block(c, off);
			left -= MIN(left, BLOCK_BYTES);
			off += BLOCK_BYTES;
		}
	}
	free(ours.r);
	if (c->since)
		c->since = upto + 1;
	return rc;
}

/*
 * The bytes that the secondary cut off. Of the block in which the cut is it has what it had before, and we have ours:
 * two versions, as stage_adopt_merged makes them.
 */
static int land_cut(struct content_case *c, uint64_t cut, uint64_t end, enum origin origin)
{
	uint8_t theirs[BLOCK_BYTES], ours[BLOCK_BYTES];
	uint64_t off = cut - cut % BLOCK_BYTES;
	size_t n = (size_t)MIN(BLOCK_BYTES, end - off), keep = (size_t)(cut - off);

	if (origin == ORIGIN_PEER && keep && read_both(c, theirs, ours, off, n, cut)) {
		int rc;

		memset(ours + keep, 0, n - keep);
		rc = put_both(c, theirs, ours, off, n);
		if (rc < 0)
			return rc;
		cut = MIN(off + BLOCK_BYTES, end);
	}
	return data_punch(c->v, c->ino, cut, end - cut, origin);
}

static int read_below(void *ctx, void *block, uint64_t off)
{
	const struct content_case *c = ctx;

	return read_base(c, block, BLOCK_BYTES, off, base_end(c));
}

static int land_staged(struct content_case *c, enum origin origin)
{
	if (!c->s->stage)
		return 0;
	return origin == ORIGIN_PEER ? stage_adopt_merged(c->s->stage, c->rec->ino, c->ino, read_below, c)
				     : stage_adopt(c->s->stage, c->rec->ino, c->ino, origin);
}

static int land_ranges(struct content_case *c)
{
	/* Authored by the peer: so its later changes find their base here. Not what it has in another file. */
	enum origin origin = c->rec->ino == c->ino ? ORIGIN_PEER : ORIGIN_LOCAL;
	uint64_t cut = c->their_cut, end = MIN(c->base_size, c->ours_size);
	int rc = keep_below(c);

	if (rc == 0)
		rc = content_send_back(c);
	if (rc == 0 && cut < end) {
		rc = land_cut(c, cut, end, origin);
		if (rc == 0)
			rc = changes_touch_range(c->v, c->ino, cut, end - cut);
	}
	if (rc == 0)
		rc = land_staged(c, origin);
	if (rc == 0)
		rc = data_truncate(c->v, c->ino, c->merged_size, ORIGIN_LOCAL);
	if (rc == 0 && c->merged_size < c->ours_size)
		rc = changes_touch_shrink(c->v, c->ino, c->merged_size);
	return rc ? rc : changes_touch(c->v, c->ino, ENT_CONTENT);
}

/* As land_ranges, where the secondary has these bytes in another file. */
static int land_span(struct content_case *c)
{
	struct range_list theirs = { 0 };
	uint8_t *piece = xmalloc(PIECE_BYTES);
	uint64_t cut = c->their_cut, end = MIN(c->base_size, c->ours_size);
	int rc = their_ranges(c, &theirs);
	size_t n;

	if (rc == 0 && cut < end)
		rc = data_punch(c->v, c->ino, cut, end - cut, ORIGIN_LOCAL);
	for (size_t i = 0; rc == 0 && i < theirs.n; i++) {
		uint64_t stop = MIN(theirs.r[i].end, c->theirs_size);

		for (uint64_t off = theirs.r[i].off;
		     rc == 0 && (rc = next_piece(c, OF_OURS | OF_THEIRS, &off, stop, &n)) > 0; off += n) {
			rc = content_theirs(c, piece, n, off);
			if (rc == 0)
				rc = data_write(c->v, c->ino, piece, n, off, ORIGIN_LOCAL);
		}
	}
	if (rc == 0)
		rc = data_truncate(c->v, c->ino, c->merged_size, ORIGIN_LOCAL);
	free(theirs.r);
	free(piece);
	return rc ? rc : touch_all(c, c->merged_size);
}

int content_take_theirs(struct content_case *c)
{
	int rc = data_truncate(c->v, c->ino, 0, ORIGIN_LOCAL);

	if (rc == 0)
		rc = content_land_copy(c, c->ino);
	if (rc == 0)
		rc = touch_all(c, c->theirs_size);
	return rc ? rc : touch_times(c);
}

static int land_file(struct content_case *c)
{
	uint8_t *piece = xmalloc(PIECE_BYTES);
	uint64_t at = 0;
	ssize_t n;
	int rc = data_truncate(c->v, c->ino, 0, ORIGIN_LOCAL);

	while (rc == 0 && (n = driver_read(c->merged_file, piece, PIECE_BYTES, at)) != 0) {
		rc = n < 0 ? (int)n : data_write(c->v, c->ino, piece, (size_t)n, at, ORIGIN_LOCAL);
		at += n > 0 ? (uint64_t)n : 0;
	}
	free(piece);
	return rc ? rc : touch_all(c, at);
}

int content_land_theirs(struct content_case *c, uint64_t copy)
{
	int rc = content_copy(c->v, copy, view_now, c->theirs_size, c->ino, ORIGIN_LOCAL);

	if (rc == 0)
		rc = touch_all(c, c->theirs_size);
	return rc ? rc : touch_times(c);
}

int content_land_merged(struct content_case *c)
{
	int rc;

	if (c->merged_file)
		rc = land_file(c);
	else if (c->merged_whole)
		rc = land_whole(c);
	else if (c->append)
		rc = land_append(c);
	else if (c->ours_whole || c->theirs_whole)
		rc = land_span(c);
	else
		rc = land_ranges(c);
	return rc ? rc : touch_times(c);
}

bool content_has_base(const struct content_case *c)
{
	uint8_t *piece = xmalloc(PIECE_BYTES);
	int rc = c->mixed ? -ENODATA : 0, more = 0;
	size_t n;

	for (uint64_t off = 0; rc == 0 && (more = next_piece(c, OF_BASE, &off, c->base_size, &n)) > 0; off += n)
		rc = read_base(c, piece, n, off, c->base_size);
	free(piece);
	return rc == 0 && more == 0;
}

int content_land_base(struct content_case *c, uint64_t copy)
{
	return content_copy(c->v, c->base_ino, c->base, c->base_size, copy, ORIGIN_LOCAL);
}

int content_known(struct volume *v, uint64_t ino, uint64_t seen, uint64_t *from, struct view *view,
		  uint64_t *size_bytes)
{
	struct lineage base;
	struct inode *in = xmalloc(sizeof(*in));
	bool noted = lineage_get(v, LINEAGE_BASE, ino, &base) == 0 && base.grp > seen, ranges, mixed = false;
	uint64_t kept;
	int rc;

	ranges = noted && base.kind == 's';
	*from = noted && !ranges ? base.dst : ino;
	*view = ranges ? merged_view(v, &base, &mixed)
		       : (struct view){ .kind = noted ? VIEW_AT : VIEW_PEER, .group = noted ? base.grp : seen };
	kept = mixed ? conflict_kept_version(v, ino, base.grp - 1) : 0;
	if (kept && tree_inode_get(v, kept, in) == 0) {
		*from = kept;
		*view = view_now;
		ranges = false;
	}
	rc = content_view(v, *from, *view, in);
	*size_bytes = rc < 0 ? 0 : ranges ? base.dst : in->size_bytes;
	free(in);
	return rc;
}

int content_is(struct volume *v, uint64_t ino, uint64_t from, struct view view, uint64_t size_bytes)
{
	struct inode *in = xmalloc(sizeof(*in));
	uint8_t *a = xmalloc(2 * (size_t)PIECE_BYTES), *b = a + PIECE_BYTES;
	int rc = tree_inode_get(v, ino, in);
	bool same = rc == 0 && in->size_bytes == size_bytes;

	for (uint64_t off = 0; rc == 0 && same && off < size_bytes; off += PIECE_BYTES) {
		uint64_t its = 0, now = 0;

		rc = data_next(v, from, view, off, &its);
		if (rc == 0)
			rc = data_next(v, ino, view_now, off, &now);
		off = MIN(size_bytes, MIN(its, now));
		size_t n = (size_t)MIN(PIECE_BYTES, size_bytes - off);

		if (rc < 0 || n == 0)
			break;
		rc = data_read_beyond(v, from, view, a, n, off);
		if (rc == 0)
			rc = data_read(v, ino, view_now, b, n, off);
		same = rc == 0 && memcmp(a, b, n) == 0;
	}
	free(a);
	free(in);
	return rc ? rc : same;
}

int content_take_back(struct volume *v, uint64_t ino, uint64_t seen)
{
	struct range_list ours = { 0 };
	struct change_row row;
	uint64_t from, size;
	struct view view;
	int rc = content_known(v, ino, seen, &from, &view, &size);

	if (rc < 0)
		return rc == -ENOENT ? 0 : rc;
	if (content_is(v, ino, from, view, size) == 1)
		return 0; /* that was done before: no change of now */
	rc = changes_ranges(v, ino, seen, GROUP_MAX, add_ours, &ours);
	/* What was cut off here is back: a cut that the secondary took already is told by no range. */
	if (changes_get(v, ino, ENT_CONTENT, &row) == 0)
		range_add(&ours, row.shrunk_to, size);
	if (rc == 0)
		rc = content_copy(v, from, view, size, ino, ORIGIN_LOCAL);
	if (rc == 0)
		rc = changes_touch(v, ino, ENT_CONTENT);
	for (size_t i = 0; rc == 0 && i < ours.n; i++)
		rc = changes_touch_range(v, ino, ours.r[i].off, ours.r[i].end - ours.r[i].off);
	free(ours.r);
	return rc;
}

bool content_same_file(struct volume *v, const struct shipment *s, uint64_t ino_p, const struct rec_inode *rec)
{
	struct inode *in = xmalloc(sizeof(*in));
	struct content_case c;
	bool same = tree_inode_get(v, ino_p, in) == 0 && in->mode == rec->mode && in->uid == rec->uid &&
		    in->gid == rec->gid && in->rdev == rec->rdev;

	if (same && S_ISLNK(in->mode))
		same = in->target_len == rec->target_len && memcmp(in->target, rec->target, rec->target_len) == 0;
	if (same && S_ISREG(in->mode)) {
		same = content_open(&c, v, s, rec, ino_p, 0, NULL, "") == 0 && same_bytes(&c) == 1;
		content_close(&c);
	}
	free(in);
	return same;
}
