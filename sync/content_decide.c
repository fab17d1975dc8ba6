/* SPDX-License-Identifier: MIT */
/* What becomes of a file that both sides changed: by its policy, or else by its kind. Nothing is changed here. */
#include "sync/content_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/data.h"
#include "core/merge3.h"
#include "util/log.h"
#include "util/util.h"

/* Of a version written as a whole a span counts as changed (see content_whole_span): looking for it must end. */
#define COMPARE_MAX_BYTES (64u << 20)

/* A number, a date, an id: of a value that is given anew few bytes may differ, but all of it was written. */
#define VALUE_BYTES 16

/* ---- text ---- */

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
	rc = content_read_base(c, mem, nb, 0, nb);
	if (rc == 0)
		rc = data_read(c->v, c->ino, view_now, mem + nb, no, 0);
	if (rc == 0)
		rc = content_theirs(c, mem + nb + no, nt, 0);
	if (rc == 0 && ahead_text(c->ahead, mem, (size_t[]){ nb, no, nt }, &c->merged) == 0) {
		c->verdict = RS_CONTENT_MERGED;
		c->merged_whole = true;
		c->rule = "text: different lines were changed, both changes are in it";
	}
	free(mem);
	return rc;
}

/* ---- ranges ---- */

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
		      content_read_base(c, b, n, off, c->base_size) != 0 || memcmp(a, b, n) != 0;
	}
	free(a);
	return own;
}

/* Did we change something of what they did? */
static bool meets_ours(const struct content_case *c, struct range_list *ours, struct range_list *theirs)
{
	struct looking l = { .c = c, .left = COMPARE_MAX_BYTES };

	return content_overlap(ours, theirs, c->ours_whole || c->theirs_whole ? NULL : is_our_own, &l);
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
	rc = c->ours_whole ? content_add_span(c, DRIVER_OURS, &ours) : content_our_ranges(c, &ours, &shrunk);
	if (rc == 0)
		rc = content_their_ranges(c, &theirs);
	if (c->ours_whole || c->theirs_whole)
		widen_span(c, c->ours_whole ? &ours : &theirs); /* one of the two suffices */
	/* What one side wrote behind the place where the other cut the file has lost what it stood on. A version that
	 * was written as a whole, and is shorter, is cut. */
	if (c->ours_whole)
		shrunk = c->ours_size;
	if (c->theirs_whole)
		their_cut = c->theirs_size;
	if (shrunk < c->base_size)
		content_range_add(&cut_o, shrunk, UINT64_MAX);
	if (their_cut < c->base_size)
		content_range_add(&cut_t, their_cut, UINT64_MAX);
	c->rule = "the same bytes were changed on both sides";
	if (rc == 0 && !meets_ours(c, &ours, &theirs) && !meets_ours(c, &ours, &cut_t) &&
	    !content_overlap(&cut_o, &theirs, NULL, NULL) && sizes_go_together(c, shrunk, their_cut)) {
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

/* ---- by the policy, or the kind of file ---- */

/* Both only added at the end: ours, then theirs. */
static bool only_appended(const struct content_case *c)
{
	struct range_list ours = { 0 }, theirs = { 0 };
	uint64_t shrunk = UINT64_MAX;
	bool yes = c->ours_size >= c->base_size && c->theirs_size >= c->base_size &&
		   (c->theirs_whole || c->rec->shrunk_to >= c->base_size);

	yes = yes && (c->ours_whole ? content_add_span(c, DRIVER_OURS, &ours)
				    : content_our_ranges(c, &ours, &shrunk)) == 0;
	yes = yes && shrunk >= c->base_size && content_their_ranges(c, &theirs) == 0;
	for (size_t i = 0; i < ours.n; i++)
		yes = yes && ours.r[i].off >= c->base_size;
	for (size_t i = 0; i < theirs.n; i++)
		yes = yes && theirs.r[i].off >= c->base_size;
	free(ours.r);
	free(theirs.r);
	return yes;
}

/* AHEAD_NOT_YET: then *kind is a guess. */
static int file_kind(const struct content_case *c, enum content_kind *kind)
{
	size_t n = (size_t)MIN(c->ours_size, 64u << 10), m = (size_t)MIN(c->theirs_size, 64u << 10);
	uint8_t *ours = xmalloc(n + m + 1), *theirs = ours + n;
	enum content_kind other;
	int rc = data_read(c->v, c->ino, view_now, ours, n, 0), asked;

	*kind = CONTENT_STRUCTURED;
	if (rc == 0)
		rc = content_theirs(c, theirs, m, 0);
	if (rc == 0) {
		rc = ahead_kind(c->ahead, c->name, ours, n, kind);
		asked = ahead_kind(c->ahead, c->name, theirs, m, &other);
		rc = rc ? rc : asked;
		if (rc == AHEAD_NOT_YET) /* if it is text, that is asked for in the same round */
			*kind = memchr(ours, '\0', n + m) ? CONTENT_STRUCTURED : CONTENT_TEXT;
		else if (n == 0)
			*kind = other;
		else if (m != 0 && other != *kind)
			*kind = CONTENT_STRUCTURED; /* it became something else: its bytes are not to be mixed */
	}
	free(ours);
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

		rc = content_read_version(c, which, piece, n, off);
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

/* ---- the whole decision ---- */

/* 1: our bytes are those that both had; 0: not. */
static int same_as_base(const struct content_case *c)
{
	uint8_t *a = xmalloc(2 * (size_t)PIECE_BYTES), *b = a + PIECE_BYTES;
	int rc = 1, more = 0;
	size_t n;

	for (uint64_t off = 0; rc == 1 && (more = content_next_piece(c, OF_BASE | OF_OURS, &off, c->base_size, &n)) > 0;
	     off += n) {
		rc = data_read(c->v, c->ino, view_now, a, n, off);
		if (rc == 0)
			rc = content_read_base(c, b, n, off, c->base_size);
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
	int rc = content_our_ranges(c, &ours, &shrunk);

	if (rc == 0 && c->s->stage)
		rc = stage_ranges(c->s->stage, c->rec->ino, content_add_theirs, &theirs);
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
		rc = content_whole_span(c, DRIVER_THEIRS, &r);
		c->one_sided = rc == 0 && r.off == r.end;
	}
	if (rc == 0 && !c->one_sided && c->ours_size == c->base_size) {
		rc = content_whole_span(c, DRIVER_OURS, &r);
		c->one_sided = c->taken = rc == 0 && r.off == r.end;
	}
	return rc ? rc : c->one_sided;
}

static int decide_all(struct content_case *c)
{
	enum content_kind kind;
	int rc = content_same(c);

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
	if (rc < 0 && rc != AHEAD_NOT_YET)
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
