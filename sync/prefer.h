/* SPDX-License-Identifier: MIT */
/*
 * prefer: a person's word that one side's state shall count (twinfs resume --prefer): what the other side changed since
 * both last agreed is discarded, that is put aside. The word is given on either side, lies in that store until the next
 * HELLO, and is good for one reconciliation.
 *
 *      given (setting `prefer`, either side) ──HELLO──► in force (setting `prefer_now`, at the primary) ──► done
 *
 * The primary takes the word when HELLO was heard, durably, and never twice (its id is `prefer_taken`, which HELLO
 * tells). In force it is until all that the secondary had done when HELLO was said is merged: at the primary alone, as
 * it is the primary that decides. The secondary forgets its own word when it hears that it was taken, or hears anything
 * else that the primary can only say after that.
 *
 * Functions with "lock held" want the volume's lock, and an open group if they write; the others take it.
 */
#ifndef TWINFS_SYNC_PREFER_H
#define TWINFS_SYNC_PREFER_H

#include "core/tree.h"
#include "sync/record.h"

struct prefer_word {
	uint64_t id;    /* 0: none */
	enum role keep; /* whose state counts */
};

/* Give it, replacing an earlier one; ROLE_NONE takes it back. Durable on return. */
int prefer_give(struct volume *v, enum role keep);
struct prefer_word prefer_given(struct volume *v);

/* What people are told of it here: the word that was given and not taken yet, or, at the primary, the one in force. */
struct prefer_word prefer_said(struct volume *v, bool *in_force);

struct prefer {
	struct prefer_word word;
	uint64_t upto;      /* shipments of the secondary that begin before its group `upto` are under the word */
	uint64_t ours_upto; /* so is what we changed in groups up to here */
	uint64_t top;       /* the directory in .twinfs where things go, 0: there is none yet */
	uint64_t note;      /* the row of `twinfs conflicts` */
	uint64_t when_ms;   /* when it was taken */
	unsigned pending;   /* ours is still to be taken back: with the next shipment, as it was not known enough */
};
/* False: none is in force. Lock held. */
bool prefer_in_force(struct volume *v, struct prefer *out);
int prefer_put(struct volume *v, const struct prefer *p); /* NULL: it is over. Lock held. */

/* What people see of it, put down or again; self, peer: the nodes' names. Lock held, at the primary. */
int prefer_note(struct volume *v, const struct prefer *p, const char *self, const char *peer);

/*
 * The group in which the primary's state was discarded, as long as the secondary may tell what it did before it heard
 * of that: all that was changed here until then is as it had it, and no change of ours to what it did. 0: none. Lock
 * held.
 */
uint64_t prefer_taken_back(struct volume *v);
int prefer_put_taken_back(struct volume *v, uint64_t group); /* 0: it has heard */

/* Fill what HELLO tells of it. */
void prefer_tell(struct volume *v, struct rec_hello *h);
/*
 * The peer's HELLO is here: which word counts? Words that were taken already do not, and the secondary forgets its own
 * then. -EPERM with a text: the two sides' words contradict each other. word->id 0: there is none.
 */
int prefer_agree(struct volume *v, const struct rec_hello *h, struct prefer_word *word, struct err *err);
/* The primary takes the word: in force from now on, with what both sides have done until now. Lock held. */
int prefer_take(struct volume *v, const struct rec_hello *h, const struct prefer_word *word, struct prefer *out);

#endif
