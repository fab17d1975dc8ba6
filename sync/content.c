/* SPDX-License-Identifier: MIT */
/* A case, opened: which of what is here is the base, and how much of it is known. */
#include "sync/content_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "util/util.h"

static void begin(struct content_case *c, struct volume *v, const struct shipment *s, const struct rec_inode *rec,
		  uint64_t ino, uint64_t seen)
{
	*c = (struct content_case){ .v = v, .s = s, .rec = rec, .ino = ino, .seen = seen, .name = "" };
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

bool content_is_its_own(const struct content_case *c)
{
	return c->rec->ino == c->ino && c->base_ino == c->ino;
}

/* A note says where the bytes are that the secondary had: they are kept there, or were in the file itself. */
static void base_from_note(struct content_case *c, const struct lineage *note)
{
	if (note->kind == 's') {
		c->base = merged_view(c->v, note, &c->mixed);
		c->base_ino = c->mixed ? c->base_ino : note->src;
		c->since = c->mixed || !content_is_its_own(c) ? 0 : note->since;
		return;
	}
	c->base = (struct view){ .kind = VIEW_AT, .group = note->grp };
	c->base_ino = note->dst;
	c->since = content_is_its_own(c) ? note->grp + 1 : 0;
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

bool content_same_file(struct volume *v, const struct shipment *s, uint64_t ino_p, const struct rec_inode *rec)
{
	struct inode *in = xmalloc(sizeof(*in));
	struct content_case c;
	bool same = tree_inode_get(v, ino_p, in) == 0 && in->mode == rec->mode && in->uid == rec->uid &&
		    in->gid == rec->gid && in->rdev == rec->rdev;

	if (same && S_ISLNK(in->mode))
		same = in->target_len == rec->target_len && memcmp(in->target, rec->target, rec->target_len) == 0;
	if (same && S_ISREG(in->mode))
		same = content_open(&c, v, s, rec, ino_p, 0, NULL, "") == 0 && content_same(&c) == 1;
	free(in);
	return same;
}
