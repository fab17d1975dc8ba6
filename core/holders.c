/* SPDX-License-Identifier: MIT */
/* Who has an inode in hand: lookup counts, and where they go when the peer's changes move a file. */
#include "core/changes.h"
#include "core/internal.h"

#include "db/inode_rows.h"
#include "util/util.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

void volume_ref(struct volume *v, uint64_t ino)
{
	uint64_t n = 0;

	volume_lock_now(v);
	map_get(&v->refs, ino, &n);
	map_put(&v->refs, ino, n + 1);
	volume_unlock(v);
}

void volume_unref(struct volume *v, uint64_t ino, uint64_t n)
{
	uint64_t have = 0;

	volume_lock_now(v);
	if (map_get(&v->refs, ino, &have) && have > n) {
		map_put(&v->refs, ino, have - n);
	} else {
		map_del(&v->refs, ino);
		map_del(&v->lost, ino); /* nobody is left to be told */
		map_del(&v->late_moves, ino);
		map_del(&v->would_move, ino);
		if (volume_is_orphan(v, ino) && group_open(v) == 0)
			tree_reap(v, ino); /* a failure is latched by the database and seen at the unlock */
	}
	volume_unlock(v);
}

bool tree_is_held(struct volume *v, uint64_t ino)
{
	return map_get(&v->refs, ino, NULL);
}

/* ---- moving them ---- */

void volume_set_still(struct volume *v, void (*fn)(void *ctx, bool still), void *ctx)
{
	volume_lock_now(v);
	v->still_fn = fn;
	v->still_ctx = ctx;
	volume_unlock(v);
}

void volume_hold_still(struct volume *v)
{
	void (*fn)(void *ctx, bool still);
	void *ctx;

	volume_lock_now(v);
	fn = v->still_fn;
	ctx = v->still_ctx;
	volume_unlock(v);
	assert(!v->still);
	v->still = fn != NULL;
	if (!fn)
		return;
	damage_hold_still(v, true); /* those who wait for the peer do so inside */
	fn(ctx, true);
}

void holders_go_on(struct volume *v)
{
	if (!v->still)
		return;
	v->still = false;
	damage_hold_still(v, false);
	v->still_fn(v->still_ctx, false);
}

static void change_count(struct volume *v, uint64_t ino, uint64_t more, uint64_t less)
{
	uint64_t n = 0;

	map_get(&v->refs, ino, &n);
	n += more - less;
	if (n > 0)
		map_put(&v->refs, ino, n);
	else
		map_del(&v->refs, ino);
}

static int tell_name(void *ctx, const struct dentry *d)
{
	notice_entry(ctx, d->parent, d->name, d->name_len);
	return 0;
}

int tree_holders_move(struct volume *v, uint64_t from, uint64_t to)
{
	struct inode *in = xmalloc(2 * sizeof(*in));
	uint64_t n;
	int rc;

	assert(v->peer_apply);
	rc = from == to || !map_get(&v->refs, from, &n) ? -ENOENT : tree_inode_get(v, from, &in[0]);
	if (!rc)
		rc = tree_inode_get(v, to, &in[1]);
	if (!rc && (in[1].nlink == 0 || ((in[0].mode ^ in[1].mode) & S_IFMT)))
		rc = -ENOENT;
	free(in);
	if (rc)
		return rc == -ENOENT ? 0 : rc;
	if (v->n_moves == v->cap_moves) {
		v->cap_moves = v->cap_moves ? v->cap_moves * 2 : 16;
		v->moves = xrealloc(v->moves, v->cap_moves * sizeof(*v->moves));
	}
	v->moves[v->n_moves++] = (struct move){ from, to, n };
	change_count(v, from, 0, n);
	change_count(v, to, n, 0);
	/* Under its names the kernel must find another one than those who hold it have. */
	return tree_links_of(v, from, tell_name, v);
}

void tree_holders_wait(struct volume *v, uint64_t from, uint64_t to)
{
	if (map_get(&v->refs, from, NULL))
		map_put(&v->late_moves, from, to);
}

void tree_holders_would_move(struct volume *v, uint64_t from, uint64_t to)
{
	if (map_get(&v->refs, from, NULL))
		map_put(&v->would_move, from, to);
}

uint64_t tree_holders_move_to(struct volume *v, uint64_t from)
{
	uint64_t to = 0;

	map_get(&v->would_move, from, &to);
	return to;
}

bool tree_holders_would_any(struct volume *v)
{
	return map_count(&v->would_move) > 0;
}

void tree_holders_settle(struct volume *v, uint64_t ino, uint64_t since)
{
	if (!tree_holders_settled(v, ino, since))
		map_put(&v->settling, ino, since);
}

bool tree_holders_settled(struct volume *v, uint64_t ino, uint64_t since)
{
	uint64_t upto;

	return (map_get(&v->settled, ino, &upto) && upto >= since) ||
	       (map_get(&v->settling, ino, &upto) && upto >= since);
}

void tree_holders_forget_settled(struct volume *v)
{
	map_clear(&v->settled);
}

void holders_stay(struct volume *v, uint64_t ino)
{
	struct dentry d;

	if (map_get(&v->would_move, ino, NULL) && !tree_first_link(v, ino, &d))
		map_del(&v->would_move, ino);
}

bool tree_holders_waiting(struct volume *v)
{
	return map_count(&v->late_moves) > 0;
}

int tree_holders_each_waiting(struct volume *v, int (*fn)(void *ctx, uint64_t from, uint64_t to), void *ctx)
{
	uint64_t from, to;
	size_t it = 0;
	int rc = 0;

	while (rc == 0 && map_next(&v->late_moves, &it, &from, &to))
		rc = fn(ctx, from, to);
	return rc;
}

bool tree_holders_may_come(struct volume *v, uint64_t to)
{
	struct inode *in = xmalloc(sizeof(*in));
	struct change_row rows[ENT_ASK + 1];
	bool here = tree_inode_get(v, to, in) == 0 && in->nlink > 0;

	free(in);
	return here && !(changes_of_inode(v, to, rows) & (1u << ENT_CONTENT | 1u << ENT_NEW));
}

int tree_holders_arrive(struct volume *v)
{
	uint64_t from, to;
	size_t it = 0;
	int rc = 0;

	while (rc == 0 && map_next(&v->late_moves, &it, &from, &to))
		if (tree_holders_may_come(v, to))
			rc = tree_holders_move(v, from, to);
	return rc;
}

void holders_end(struct volume *v, bool done)
{
	uint64_t ino, since;
	size_t it = 0;

	while (done && map_next(&v->settling, &it, &ino, &since))
		map_put(&v->settled, ino, since);
	map_clear(&v->settling);
	for (size_t i = v->n_moves; i-- > 0 && !done;) {
		change_count(v, v->moves[i].to, 0, v->moves[i].n);
		change_count(v, v->moves[i].from, v->moves[i].n, 0);
	}
	for (size_t i = 0; i < v->n_moves && done; i++) {
		const struct move *m = &v->moves[i];
		uint64_t code;

		map_del(&v->late_moves, m->from);
		map_del(&v->would_move, m->from);
		if (map_get(&v->lost, m->from, &code)) {
			map_del(&v->lost, m->from);
			map_put(&v->lost, m->to, code);
		}
		*notice_add(v) = (struct notice){ .kind = NOTICE_MOVED, .ino = m->from, .to = m->to };
	}
	v->n_moves = 0;
}
