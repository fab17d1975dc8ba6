/* SPDX-License-Identifier: MIT */
/* Every inode that a name is about to lead to is there: new, revived, apart again from what it was an alias of. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "sync/merge_land.h"
#include "util/util.h"

/* A directory of which not even history is left: made anew, so that what is in it has a place. */
static int make_dir(struct merger *m, uint64_t ino)
{
	struct inode *in = xcalloc(1, sizeof(*in));
	int rc;

	in->ino = ino;
	in->mode = S_IFDIR | 0755;
	in->shrunk_to = UINT64_MAX;
	in->nlink = 2;
	in->atime_ns = in->mtime_ns = in->ctime_ns = (int64_t)m->now_ms * 1000000;
	rc = tree_inode_put(m->v, in);
	free(in);
	return rc ? rc : changes_touch_whole(m->v, ino);
}

/* Whoever gets the mode of `from` gets its access ACL too. */
int merge_take_acl(struct volume *v, uint64_t from, struct view view, uint64_t to, enum origin origin)
{
	uint8_t acl[ACL_MAX_BYTES];
	ssize_t len = tree_xattr_get_view(v, from, ACL_ACCESS_KEY, view, acl, sizeof(acl));
	int rc;

	if (len <= 0)
		return len == -ENODATA ? 0 : (int)len;
	rc = tree_xattr_put(v, to, ACL_ACCESS_KEY, acl, (size_t)len, origin);
	return rc ? rc : changes_touch_xattr(v, to, ACL_ACCESS_KEY);
}

struct xattr_copy {
	struct xattr_copy *next;
	char *key;
	size_t len;
	char value[];
};

static int collect_xattr(void *ctx, const char *key, const void *value, size_t len_bytes)
{
	struct xattr_copy **head = ctx, *x;

	if (strcmp(key, ACL_ACCESS_KEY) == 0)
		return 0; /* it goes with the mode */
	x = xmalloc(sizeof(*x) + len_bytes + 1);
	x->next = *head;
	x->key = xstrdup(key);
	x->len = len_bytes;
	memcpy(x->value, value, len_bytes);
	*head = x;
	return 0;
}

int merge_copy_xattrs(struct merger *m, uint64_t from, uint64_t to)
{
	struct xattr_copy *list = NULL;
	int rc = tree_xattrs(m->v, from, collect_xattr, &list);

	while (list) {
		struct xattr_copy *x = list;

		list = x->next;
		if (rc == 0)
			rc = tree_xattr_put(m->v, to, x->key, x->value, x->len, ORIGIN_LOCAL);
		free(x->key);
		free(x);
	}
	return rc;
}

/*
 * What an alias had swallowed, as one of its own again: with the bytes that it has there, and the attributes that the
 * two share. The secondary gets it whole.
 */
static int make_apart(struct merger *m, const struct apart *a)
{
	const struct lineage *l = &a->base;
	struct view then = { .kind = VIEW_AT, .group = l->grp };
	struct inode *in = xmalloc(sizeof(*in));
	uint64_t size, at;
	int rc = tree_inode_view(m->v, l->dst, then, in);

	if (rc == -ENOENT)
		rc = tree_inode_get(m->v, l->dst, in);
	if (rc < 0) {
		free(in);
		return rc;
	}
	size = S_ISREG(in->mode) ? in->size_bytes : 0;
	in->ino = l->src;
	in->nlink = S_ISDIR(in->mode) ? 2 : 0;
	if (size)
		in->size_bytes = 0;
	in->origin = in->corigin = ORIGIN_PEER;
	in->cborn = group_number(m->v);
	rc = tree_inode_put(m->v, in);
	free(in);
	if (rc == 0 && size)
		rc = content_copy(m->v, l->dst, then, size, l->src, ORIGIN_PEER);
	if (rc == 0)
		rc = merge_copy_xattrs(m, a->attrs_of, l->src);
	if (rc == 0)
		rc = merge_take_acl(m->v, a->attrs_of, then, l->src, ORIGIN_PEER);
	if (rc == 0 && map_get(&m->ni_by_ino, l->src, &at))
		m->ni[at - 1].made_again = true; /* its bytes are not all here yet */
	return rc ? rc : changes_touch_whole(m->v, l->src);
}

static const struct apart *find_made_apart(struct merger *m, uint64_t ino)
{
	for (size_t i = 0; i < m->n_apart; i++)
		if (m->apart[i].base.src == ino)
			return &m->apart[i];
	return NULL;
}

/* The secondary changed the bytes of a file as it knew it: that is what its changes go on top of. */
static int revive_bytes(struct merger *m, const struct norm_inode *n)
{
	struct content_case c;
	int rc = content_open(&c, m->v, m->s, n->rec, n->ino, n->seen_bytes, NULL, "");

	if (rc == 0 && S_ISREG(n->rec->mode))
		rc = content_copy(m->v, c.base_ino, c.base, c.theirs_whole ? 0 : c.base_size, n->ino, ORIGIN_LOCAL);
	return rc;
}

/*
 * Bring back what we deleted, as it was last here. If the secondary changed its bytes, as it knew them. It gets the
 * whole, so that both are the same whatever it has.
 */
static int revive(struct merger *m, uint64_t ino)
{
	struct norm_inode *n = NULL;
	struct view last;
	uint64_t at;
	int rc = tree_inode_last(m->v, ino, &last);

	if (rc == 0)
		rc = tree_inode_revive(m->v, ino, last);
	if (rc < 0)
		return rc;
	if (map_get(&m->ni_by_ino, ino, &at)) {
		m->ni[at - 1].revived = true;
		if ((m->ni[at - 1].rec->fields & REC_CONTENT) && !m->ni[at - 1].redirected_bytes)
			n = &m->ni[at - 1];
	}
	if (!n) {
		rc = units_as_theirs(m, ino);
		return rc ? rc : changes_touch_whole(m->v, ino);
	}
	n->made_again = true; /* its bytes are not all here yet */
	return revive_bytes(m, n);
}

/* It comes whole. If we had it and deleted it, what we sent of it before may still be on its way. */
static int make_again(struct merger *m, const struct rec_inode *r)
{
	struct view last;
	uint64_t at;
	int rc = tree_inode_last(m->v, r->ino, &last);

	if (rc == 0 && map_get(&m->ni_by_ino, r->ino, &at))
		m->ni[at - 1].made_again = true;
	return rc == 0 || rc == -ENOENT ? land_new(m->v, r) : rc;
}

/* Before links are placed, every child must be there. -ENOENT: not even history has it. */
int merge_ensure_inode(struct merger *m, uint64_t ino)
{
	const struct rec_inode *r = shipment_inode(m->s, ino);
	const struct rs_inode *n = merge_input_inode(m, ino);
	struct inode *in = xmalloc(sizeof(*in));
	int rc = tree_inode_get(m->v, ino, in);

	free(in);
	if (rc != -ENOENT)
		return rc;
	if (r && (r->fields & REC_NEW))
		return make_again(m, r);
	if (map_get(&m->its_own, ino, NULL))
		return -ENOENT;
	if (find_made_apart(m, ino))
		return make_apart(m, find_made_apart(m, ino));
	rc = revive(m, ino);
	if (rc == -ENOENT && n && S_ISDIR(n->type))
		rc = make_dir(m, ino);
	return rc;
}
