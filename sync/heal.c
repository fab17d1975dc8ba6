/* SPDX-License-Identifier: MIT */
#include "sync/heal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/damage.h"
#include "util/log.h"
#include "util/util.h"

#define FRAME_MOST_BYTES (HEAL_BLOCK_BYTES + 64u)

struct heal {
	struct volume *v;
	struct damaged asked[HEAL_AHEAD]; /* and not answered yet */
	size_t n_asked;
	struct buf out;                   /* answers */
	unsigned n_out;
};

struct heal *heal_new(struct volume *v)
{
	struct heal *h = xcalloc(1, sizeof(*h));

	h->v = v;
	buf_init(&h->out, (size_t)HEAL_AHEAD * FRAME_MOST_BYTES);
	return h;
}

void heal_free(struct heal *h)
{
	if (!h)
		return;
	buf_release(&h->out);
	free(h);
}

void heal_up(struct heal *h)
{
	damage_helped(h->v, true);
}

void heal_down(struct heal *h)
{
	h->n_asked = 0;
	h->n_out = 0;
	buf_reset(&h->out);
	damage_helped(h->v, false);
}

static int answer(struct heal *h, const struct rec_heal *r, struct err *err)
{
	uint8_t bytes[HEAL_BLOCK_BYTES];
	struct frame f = { .type = FRAME_HEAL, .heal = *r };

	if (h->n_out == HEAL_AHEAD)
		return err_set(err, -EBADMSG,
			       "the peer asks for more damaged blocks before it has its answers: "
			       "dropping the connection");
	f.heal.data = bytes;
	f.heal.op = damage_lend(h->v, r->ino, r->block, r->sum, bytes) == 0 ? HEAL_BYTES : HEAL_NONE;
	if (frame_encode(&h->out, &f) == 0)
		h->n_out++;
	return 0;
}

static int on_answer(struct heal *h, const struct rec_heal *r, struct err *err)
{
	struct damaged d;
	size_t i = 0;
	int rc;

	while (i < h->n_asked && (h->asked[i].ino != r->ino || h->asked[i].block != r->block ||
	                          h->asked[i].sum != r->sum))
		i++;
	if (i == h->n_asked)
		return err_set(err, -EBADMSG,
			       "the peer answers for a damaged block that it was not asked for: "
			       "dropping the connection");
	d = h->asked[i];
	h->asked[i] = h->asked[--h->n_asked];
	if (r->op == HEAL_NONE) {
		damage_refused(h->v, &d);
		return 0;
	}
	rc = damage_mend(h->v, &d, r->data);
	if (rc == -EBADMSG)
		return err_set(err, rc,
			       "the peer sent other bytes than it was asked for in place of a damaged block: "
			       "dropping the connection");
	if (rc)
		log_error("a damaged block of inode %llu cannot be healed: %s", (unsigned long long)d.ino,
			  strerror(-rc));
	return 0;
}

int heal_receive(struct heal *h, const struct rec_heal *r, struct err *err)
{
	return r->op == HEAL_ASK ? answer(h, r, err) : on_answer(h, r, err);
}

void heal_pull(struct heal *h, struct buf *out)
{
	size_t n = damage_take(h->v, h->asked + h->n_asked, HEAL_AHEAD - h->n_asked);

	for (; n > 0; n--) {
		const struct damaged *d = &h->asked[h->n_asked++];

		frame_encode(out, &(struct frame){ .type = FRAME_HEAL, .heal = { .op = HEAL_ASK, .ino = d->ino,
							.block = d->block, .sum = d->sum } });
	}
	if (h->out.len_bytes && buf_append(out, h->out.data, h->out.len_bytes) == 0) {
		buf_reset(&h->out);
		h->n_out = 0;
	}
}
