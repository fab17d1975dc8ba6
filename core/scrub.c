/* SPDX-License-Identifier: MIT */
#include "core/scrub.h"

#include "core/blocks.h"
#include "util/util.h"

#include <errno.h>
#include <stdlib.h>

/* Rows taken under one hold of the lock: 2 MiB of data at most, a fraction of a millisecond. */
#define BATCH_ROWS 8u

struct scrub {
	struct volume *v;
	const struct scrub_options *opt;
	struct scrub_progress *p;
	struct extent_pos pos;
	struct extent_at rows[BATCH_ROWS];
	bool is_slow; /* who heals did not answer in time: nothing is waited for any more */
	uint8_t *buf; /* EXTENT_MAX_BLOCKS */
};

/* Is block i of the row what its checksum says? 0, -EBADMSG or -EIO. */
static int check_one(struct scrub *s, const struct extent *e, uint32_t i)
{
	struct block_ref ref = { e->phys + i, e->sums[i] };

	return blocks_fetch(s->v->data->image, &ref, 0, s->buf, BLOCK_BYTES, NULL);
}

/* The row that maps the block in the same way now, if it still does. Lock held. */
static int still_there(struct scrub *s, const struct extent_at *at, uint32_t i, bool *there)
{
	struct extent_list rows = EXTENT_LIST_INIT;
	const struct extent *old = &at->e;
	uint64_t block = old->off + i;
	int rc = old->died ? extent_rows_list_old(s->v->db, at->ino, block, block + 1, &rows)
	                   : extent_rows_list(s->v->db, at->ino, block, block + 1, &rows);

	*there = false;
	for (size_t k = 0; !rc && k < rows.n; k++) {
		const struct extent *e = &rows.rows[k];
		uint64_t skip = block - e->off;

		*there |= e->phys + skip == old->phys + i && e->sums[skip] == old->sums[i];
	}
	extent_list_release(&rows);
	return rc;
}

static bool is_healed(struct scrub *s, uint64_t ino, uint64_t block)
{
	int rc = damage_wait(s->v, ino, block, block + 1, false, s->is_slow ? 0 : DAMAGE_WAIT_MS);

	s->is_slow |= rc == -ETIMEDOUT;
	return rc == 1;
}

/* It did not match without the lock: a write may have been quicker. */
static int suspect(struct scrub *s, const struct extent_at *at, uint32_t i)
{
	struct scrub_found f = { .ino = at->ino, .off = (at->e.off + i) << BLOCK_SHIFT, .history = at->e.died != 0 };
	bool there;
	int bad = 0, rc;

	volume_lock(s->v);
	rc = still_there(s, at, i, &there);
	if (!rc && there)
		bad = check_one(s, &at->e, i);
	if (bad) {
		f.path = path_of(s->v, at->ino);
		damage_met(s->v, &(struct damaged){ at->ino, at->e.off + i, at->e.phys + i, at->e.sums[i] });
	}
	volume_unlock(s->v);
	if (rc || !bad)
		return rc;
	f.unreadable = bad != -EBADMSG;
	f.healed = is_healed(s, at->ino, at->e.off + i);
	s->p->found++;
	s->p->healed += f.healed;
	if (s->opt->found)
		s->opt->found(s->opt->ctx, &f);
	else
		free(f.path);
	return 0;
}

static int check_row(struct scrub *s, const struct extent_at *at)
{
	struct image *im = s->v->data->image;
	struct block_ref refs[EXTENT_MAX_BLOCKS];
	int rc = 0;

	for (uint32_t i = 0; i < at->e.len; i++)
		refs[i] = (struct block_ref){ at->e.phys + i, at->e.sums[i] };
	image_uncache(im, at->e.phys, at->e.len);
	if (blocks_fetch(im, refs, 0, s->buf, (size_t)at->e.len << BLOCK_SHIFT, NULL) != 0)
		for (uint32_t i = 0; !rc && i < at->e.len; i++)
			if (check_one(s, &at->e, i) != 0)
				rc = suspect(s, at, i);
	image_uncache(im, at->e.phys, at->e.len);
	s->p->done_blocks += at->e.len;
	return rc;
}

/* Current rows, or old ones. */
static int check_table(struct scrub *s, bool old)
{
	size_t n;
	int rc;

	s->pos = (struct extent_pos){ 0 };
	do {
		volume_lock(s->v);
		s->p->total_blocks = MAX(s->p->done_blocks, freemap_count_used(s->v->data->map));
		rc = extent_rows_after(s->v->db, old, &s->pos, s->rows, BATCH_ROWS, &n);
		volume_unlock(s->v);
		for (size_t i = 0; !rc && i < n; i++) {
			rc = check_row(s, &s->rows[i]);
			if (!rc && s->opt->progress && !s->opt->progress(s->opt->ctx, s->p))
				rc = -ECANCELED;
		}
	} while (!rc && n > 0);
	return rc;
}

int volume_scrub(struct volume *v, const struct scrub_options *opt, struct scrub_progress *out)
{
	struct scrub *s = xcalloc(1, sizeof(*s));
	int rc;

	*out = (struct scrub_progress){ 0 };
	s->v = v;
	s->opt = opt;
	s->p = out;
	s->buf = xmalloc((size_t)EXTENT_MAX_BLOCKS << BLOCK_SHIFT);
	rc = check_table(s, false);
	if (!rc)
		rc = check_table(s, true);
	free(s->buf);
	free(s);
	return rc;
}
