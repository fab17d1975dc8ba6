/* SPDX-License-Identifier: MIT */
#include "sync/land.h"

#include "core/landing.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "util/util.h"

static bool same_place(const struct dentry *d, const struct placement *p)
{
	return p->parent == d->parent && p->name_len == d->name_len && memcmp(p->name, d->name, d->name_len) == 0;
}

/* Put the link in its place if that can be done at once. A name that is another link's just now is given up by that
 * one, which is to go elsewhere: then ours waits, and gives up its own name meanwhile. */
static int move_link(struct volume *v, const struct placement *p, bool here, bool *waits)
{
	int rc = tree_link_put(v, p->link, p->parent, p->name, p->name_len, p->child, p->origin);

	*waits = rc == -EEXIST;
	return !*waits ? rc : here ? tree_link_detach(v, p->link) : 0;
}

/* A link that shall lead to another file goes and comes anew. */
static int land_link(struct volume *v, struct placement *p, bool *waits)
{
	struct dentry d;
	int rc = tree_link_get(v, p->link, &d);
	bool here = rc == 0;

	*waits = false;
	if (rc < 0 && rc != -ENOENT)
		return rc;
	p->was = here && d.child != p->child ? d.child : 0;
	if (here && (p->was || !p->parent)) {
		rc = tree_link_drop(v, p->link);
		here = false;
		if (rc < 0)
			return rc;
	}
	if (!p->parent || (here && same_place(&d, p)))
		return 0;
	return move_link(v, p, here, waits);
}

int land_links(struct volume *v, struct placement *list, size_t n)
{
	size_t *waiting = xmalloc((n + 1) * sizeof(*waiting)), n_waiting = 0;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < n; i++) {
		bool waits;

		rc = land_link(v, &list[i], &waits);
		if (waits)
			waiting[n_waiting++] = i;
	}
	for (size_t i = 0; rc == 0 && i < n_waiting; i++) {
		const struct placement *p = &list[waiting[i]];

		rc = tree_link_put(v, p->link, p->parent, p->name, p->name_len, p->child, p->origin);
	}
	free(waiting);
	return rc;
}

static int reap(struct volume *v, uint64_t ino, bool primary)
{
	struct inode in;
	int rc = tree_inode_get(v, ino, &in);

	if (rc == -ENOENT)
		return 0;
	/* The peer may claim anything: a directory that goes while something is in it makes no valid tree. */
	if (rc == 0)
		rc = S_ISDIR(in.mode) && !tree_is_empty_dir(v, ino) ? -EBADMSG : tree_reap(v, ino);
	/* The secondary may have removed it without knowing of the conflict. */
	if (rc == 0 && primary)
		rc = conflict_lost(v, ino, NULL);
	return rc == -ENOENT ? 0 : rc;
}

int land_reap(struct volume *v, const struct placement *list, size_t n)
{
	struct volume_ids ids;
	int rc = 0;

	volume_ids(v, &ids);
	for (size_t i = 0; rc == 0 && i < n; i++) {
		if (!list[i].parent)
			rc = reap(v, list[i].child, ids.role == ROLE_PRIMARY);
		if (rc == 0 && list[i].was)
			rc = reap(v, list[i].was, ids.role == ROLE_PRIMARY);
	}
	return rc;
}

_Static_assert((int)LAND_NEW == (int)REC_NEW && (int)LAND_CONTENT == (int)REC_CONTENT &&
		       (int)LAND_MODE == (int)REC_MODE && (int)LAND_OWNER == (int)REC_OWNER &&
		       (int)LAND_TIMES == (int)REC_TIMES,
	       "a record's fields are a landing's");

void land_fill(struct landing_inode *out, const struct rec_inode *r)
{
	*out = (struct landing_inode){ .ino = r->ino,
				       .mode = r->mode,
				       .uid = r->uid,
				       .gid = r->gid,
				       .rdev = r->rdev,
				       .size_bytes = r->size_bytes,
				       .shrunk_to = MIN(r->shrunk_to, r->size_bytes),
				       .atime_ns = r->atime_ns,
				       .mtime_ns = r->mtime_ns,
				       .ctime_ns = r->ctime_ns,
				       .target_len = r->target_len };
	memcpy(out->target, r->target, r->target_len);
}

int land_new(struct volume *v, const struct rec_inode *r)
{
	struct landing_inode p;

	land_fill(&p, r);
	return landing_make(v, &p);
}

int land_attrs(struct volume *v, const struct rec_inode *r, uint64_t ino, uint32_t fields, enum origin origin)
{
	struct landing_inode p;

	land_fill(&p, r);
	return landing_set(v, &p, ino, fields, origin);
}

int land_content(struct volume *v, const struct shipment *s, const struct rec_inode *r, uint64_t ino,
		 enum origin origin)
{
	struct inode *in;
	uint64_t size;
	int rc;

	if (!S_ISREG(r->mode))
		return 0;
	in = xmalloc(sizeof(*in));
	rc = tree_inode_get(v, ino, in);
	size = in->size_bytes;
	if (rc == 0 && !S_ISREG(in->mode))
		rc = -EBADMSG;
	free(in);
	if (rc == 0 && r->shrunk_to < size)
		rc = data_truncate(v, ino, r->shrunk_to, origin);
	if (rc == 0 && s->stage)
		rc = stage_adopt(s->stage, r->ino, ino, origin);
	if (rc == 0)
		rc = data_truncate(v, ino, r->size_bytes, origin);
	return rc;
}

int land_xattr(struct volume *v, const struct ship_xattr *x, uint64_t ino)
{
	int rc = tree_xattr_put(v, ino, x->key, x->value, x->value_len, ORIGIN_PEER);

	return rc == -ENODATA ? 0 : rc;
}

int land_end(struct volume *v, struct shipment *s, int rc)
{
	if (rc == 0)
		rc = volume_apply_commit(v, s->begin.to);
	else
		volume_apply_abort(v);
	if (s->stage)
		stage_settle(s->stage, rc == 0);
	return rc;
}

struct links {
	uint64_t *link; /* as many as the file has */
	size_t n, cap;
};

static int list_link(void *ctx, const struct dentry *d)
{
	struct links *l = ctx;

	if (l->n == l->cap) {
		l->cap = l->cap ? 2 * l->cap : 16;
		l->link = xrealloc(l->link, l->cap * sizeof(*l->link));
	}
	l->link[l->n++] = d->link;
	return 0;
}

int land_asks(struct volume *v, const struct shipment *s)
{
	struct links l = { .n = 0 };
	struct inode in;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < s->n_asks; i++) {
		uint64_t ino = s->asks[i];

		if (tree_inode_get(v, ino, &in) < 0)
			continue;
		l.n = 0;
		tree_links_of(v, ino, list_link, &l);
		for (size_t k = 0; rc == 0 && k < l.n; k++)
			rc = changes_touch_link(v, l.link[k], ino, false, false);
		if (rc == 0)
			rc = changes_touch_taken(v, ino, s->begin.to);
	}
	free(l.link);
	return rc;
}

int land_applied(struct volume *v, const struct rec_ship_begin *begin)
{
	char text[40];

	snprintf(text, sizeof(text), "%" PRIu64 ":%016" PRIx64, begin->to, begin->to_id);
	return setting_put(v, "applied_id", text);
}

uint64_t land_applied_id(struct volume *v)
{
	char *text = volume_setting_get(v, "applied_id");
	char *colon = text ? strchr(text, ':') : NULL;
	uint64_t id = colon ? strtoull(colon + 1, NULL, 16) : 0;

	free(text);
	return id;
}
