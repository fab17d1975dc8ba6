/* SPDX-License-Identifier: MIT */
#include "sync/shipment.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/landing.h"
#include "sync/kept.h"
#include "util/log.h"
#include "util/util.h"

struct shipment *shipment_new(struct volume *v, const struct rec_ship_begin *begin, struct kept *kept)
{
	struct shipment *s = xcalloc(1, sizeof(*s));

	s->v = v;
	s->begin = *begin;
	s->kept = kept;
	volume_lock_now(v);
	s->own_next = id_peek(v);
	volume_unlock(v);
	s->own_slot = ID_SLOT(s->own_next);
	ship_rows_init(&s->rows);
	return s;
}

/* The arrays and maps of the plain form; n_ counts stay. */
static void drop_plain(struct shipment *s)
{
	for (size_t i = 0; i < s->n_inodes; i++)
		free(s->inodes[i]);
	for (size_t i = 0; i < s->n_links; i++)
		free(s->links[i].name);
	for (size_t i = 0; i < s->n_xattrs; i++) {
		free(s->xattrs[i].key);
		free(s->xattrs[i].value);
	}
	free(s->inodes);
	free(s->links);
	free(s->xattrs);
	s->inodes = NULL;
	s->links = NULL;
	s->xattrs = NULL;
	s->cap_inodes = s->cap_links = s->cap_xattrs = 0;
	map_release(&s->by_ino);
	map_release(&s->by_link);
	map_release(&s->xattr_by_ino);
}

void shipment_free(struct shipment *s)
{
	if (!s)
		return;
	if (!s->packed)
		drop_plain(s);
	ship_rows_release(&s->rows);
	for (size_t i = 0; i < s->n_conflicts; i++)
		conflict_release(&s->conflicts[i]);
	free(s->conflicts);
	free(s->asks);
	free(s->lineages);
	map_release(&s->copied);
	if (s->stage)
		stage_free(s->stage);
	free(s);
}

/* Room for one more element. */
static void *grow(void *array, size_t n, size_t *cap, size_t size_bytes)
{
	if (n < *cap)
		return array;
	*cap = *cap ? *cap * 2 : 16;
	return xrealloc(array, *cap * size_bytes);
}

/* Slots are given out by the primary, counting up from 1. An id of our own slot must be one that we have handed out. 1
 * and 2 are everybody's. */
static bool id_legal(const struct shipment *s, uint64_t id)
{
	unsigned slot = ID_SLOT(id);

	if (slot == 0)
		return id == INO_ROOT || id == INO_HIDDEN;
	return slot <= SLOT_MAX && (slot != s->own_slot || id < s->own_next);
}

static int bad(struct err *err, const char *what, uint64_t id)
{
	return err_set(err, -EBADMSG,
		       "the peer sent %s (id %#llx): refused; check that both nodes run the same version", what,
		       (unsigned long long)id);
}

static struct stage *stage_of(struct shipment *s)
{
	if (!s->stage) {
		s->stage = stage_new(s->v);
		stage_mark(s->stage, s->begin.to, s->begin.to_id);
	}
	return s->stage;
}

static int ends_at(void *ctx, uint64_t off, uint64_t len_bytes)
{
	*(uint64_t *)ctx = off + len_bytes;
	return 0;
}

/* The peer leaves out what is staged here from an earlier shipment. */
static int take_kept(struct shipment *s, const struct rec_inode *r, struct err *err)
{
	uint64_t end = 0;
	int rc = s->kept ? kept_give(s->kept, stage_of(s), r->ino) : -ENOENT;

	if (rc == -ENOENT)
		return bad(err, "a file of which it believes bytes to be here", r->ino);
	if (rc < 0)
		return err_set(err, rc, "cannot read what was staged of the peer's changes in %s: %s; it will be sent "
			       "again", volume_dir(s->v), strerror(-rc));
	/* Blocks, where the bytes need not fill the last one. */
	stage_ranges(s->stage, r->ino, ends_at, &end);
	return end > (r->size_bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES
		       ? bad(err, "a file that is shorter than what it said of it before", r->ino) : 0;
}

/* ---- both forms ---- */

static void plain_inode(struct shipment *s, const struct rec_inode *r)
{
	size_t size = offsetof(struct rec_inode, target) + r->target_len + 1;
	struct rec_inode *copy = xmalloc(size);

	memcpy(copy, r, size);
	((char *)copy)[size - 1] = '\0';
	s->inodes = grow(s->inodes, s->n_inodes, &s->cap_inodes, sizeof(*s->inodes));
	s->inodes[s->n_inodes++] = copy;
	map_put(&s->by_ino, r->ino, s->n_inodes);
}

static void plain_link(struct shipment *s, const struct ship_link *l)
{
	s->links = grow(s->links, s->n_links, &s->cap_links, sizeof(*s->links));
	s->links[s->n_links] = *l;
	s->links[s->n_links++].name = xstrndup(l->name, l->name_len);
	map_put(&s->by_link, l->link, s->n_links);
}

static void plain_xattr(struct shipment *s, const struct ship_xattr *x)
{
	struct ship_xattr *to;
	uint64_t before;

	s->xattrs = grow(s->xattrs, s->n_xattrs, &s->cap_xattrs, sizeof(*s->xattrs));
	to = &s->xattrs[s->n_xattrs++];
	*to = *x;
	to->key = xstrdup(x->key);
	to->next = map_get(&s->xattr_by_ino, x->ino, &before) ? (size_t)before : 0;
	map_put(&s->xattr_by_ino, x->ino, s->n_xattrs);
	if (x->value) {
		to->value = xmalloc(x->value_len + 1);
		memcpy(to->value, x->value, x->value_len);
	}
}

void shipment_unpack(struct shipment *s)
{
	struct rec_inode *r = s->packed ? xmalloc(sizeof(*r)) : NULL;
	size_t n_inodes = s->n_inodes, n_links = s->n_links, n_xattrs = s->n_xattrs;
	struct ship_link l;
	struct ship_xattr x;

	if (!s->packed)
		return;
	s->packed = false;
	s->stays_plain = true;
	s->n_inodes = s->n_links = s->n_xattrs = 0;
	for (size_t i = 0; i < n_inodes; i++) {
		ship_rows_inode(&s->rows, i, r);
		plain_inode(s, r);
	}
	for (size_t i = 0; i < n_links; i++) {
		ship_rows_link(&s->rows, i, &l);
		plain_link(s, &l);
	}
	for (size_t i = 0; i < n_xattrs; i++) {
		ship_rows_xattr(&s->rows, i, &x);
		plain_xattr(s, &x);
	}
	ship_rows_release(&s->rows);
	free(r);
}

/* False: they do not ascend. */
static bool copy_to_rows(struct shipment *s)
{
	struct ship_rows *p = &s->rows;
	bool ascend = true;

	for (size_t i = 0; i < s->n_inodes && (ascend = ship_rows_takes_inode(p, s->inodes[i]->ino)); i++)
		ship_rows_add_inode(p, s->inodes[i]);
	for (size_t i = 0; ascend && i < s->n_links && (ascend = ship_rows_takes_link(p, s->links[i].link)); i++)
		ship_rows_add_link(p, &s->links[i]);
	for (size_t i = 0; ascend && i < s->n_xattrs && (ascend = ship_rows_takes_xattr(p, s->xattrs[i].ino)); i++)
		ship_rows_add_xattr(p, &s->xattrs[i]);
	return ascend;
}

/* It has become a large one. */
static void pack(struct shipment *s)
{
	if (s->packed || s->stays_plain || shipment_records(s) < landing_least(s->v))
		return;
	s->packed = copy_to_rows(s);
	s->stays_plain = !s->packed;
	if (s->packed)
		drop_plain(s);
	else
		ship_rows_release(&s->rows);
}

static int add_inode(struct shipment *s, struct rec_inode *r, struct err *err)
{
	bool staged = r->fields & REC_STAGED;

	if (!id_legal(s, r->ino))
		return bad(err, "an inode outside its space", r->ino);
	if ((r->fields & REC_NEW) && r->ino <= INO_HIDDEN)
		return bad(err, "a reserved inode as new", r->ino);
	if (shipment_find_inode(s, r->ino, NULL))
		return bad(err, "an inode twice in one shipment", r->ino);
	r->fields &= ~(uint32_t)REC_STAGED;
	if (s->packed && !ship_rows_takes_inode(&s->rows, r->ino))
		shipment_unpack(s);
	if (s->packed) {
		ship_rows_add_inode(&s->rows, r);
		s->n_inodes++;
	} else {
		plain_inode(s, r);
	}
	pack(s);
	return staged ? take_kept(s, r, err) : 0;
}

static int add_link(struct shipment *s, struct rec_link *r, struct err *err)
{
	struct ship_link l = { .link = r->link,
			       .child = r->child,
			       .seen = r->seen,
			       .parent = r->parent,
			       .report = r->report != 0,
			       .name_len = r->parent ? r->name_len : 0,
			       .name = r->name };

	if (!id_legal(s, r->link) || r->link <= INO_HIDDEN)
		return bad(err, "a link outside its space", r->link);
	if (!id_legal(s, r->child) || r->child <= INO_HIDDEN)
		return bad(err, "a link to an inode outside its space", r->child);
	if (r->parent && !id_legal(s, r->parent))
		return bad(err, "a link in a directory outside its space", r->parent);
	if (r->parent == r->child)
		return bad(err, "a directory inside itself", r->child);
	if (shipment_find_link(s, r->link, NULL))
		return bad(err, "a link twice in one shipment", r->link);
	r->name[l.name_len] = '\0';
	if (s->packed && !ship_rows_takes_link(&s->rows, l.link))
		shipment_unpack(s);
	if (s->packed) {
		ship_rows_add_link(&s->rows, &l);
		s->n_links++;
	} else {
		plain_link(s, &l);
	}
	pack(s);
	return 0;
}

static int add_xattr(struct shipment *s, struct rec_xattr *r, struct err *err)
{
	static uint8_t nothing[1];
	struct ship_xattr x = { .ino = r->ino, .seen = r->seen, .key = r->key };

	if (!id_legal(s, r->ino))
		return bad(err, "an attribute of an inode outside its space", r->ino);
	if (!r->removed) {
		x.value = r->value ? (uint8_t *)(uintptr_t)r->value : nothing;
		x.value_len = r->value_len;
	}
	if (s->packed && !ship_rows_takes_xattr(&s->rows, x.ino))
		shipment_unpack(s);
	if (s->packed) {
		ship_rows_add_xattr(&s->rows, &x);
		s->n_xattrs++;
	} else {
		plain_xattr(s, &x);
	}
	pack(s);
	return 0;
}

static int add_bytes(struct shipment *s, const struct rec_data *r, enum frame_type type, struct err *err)
{
	struct rec_inode room;
	const struct rec_inode *of;
	int rc;

	if (!id_legal(s, r->ino) || r->ino <= INO_HIDDEN)
		return bad(err, "data of an inode outside its space", r->ino);
	of = shipment_look(s, r->ino, &room);
	if (!of || !(of->fields & (REC_CONTENT | REC_NEW)))
		return bad(err, "data without its inode", r->ino);
	if (r->off + r->len_bytes > of->size_bytes)
		return bad(err, "data past the end of its file", r->ino);
	rc = type == FRAME_HOLE   ? stage_put_hole(stage_of(s), r->ino, r->off, r->len_bytes)
	     : type == FRAME_LOST ? stage_put_lost(stage_of(s), r->ino, r->off, r->len_bytes)
				  : stage_put(stage_of(s), r->ino, r->off, r->data, r->len_bytes);
	if (type == FRAME_LOST)
		log_error("the peer's disk has lost bytes %llu to %llu of inode %#llx: nobody can read them, here "
		          "neither, until they are written anew", (unsigned long long)r->off,
		          (unsigned long long)(r->off + r->len_bytes), (unsigned long long)r->ino);
	if (rc == 0 && s->save_every_bytes && stage_bytes(s->stage) >= s->saved_bytes + s->save_every_bytes) {
		s->saved_bytes = stage_bytes(s->stage);
		stage_save(s->stage, s->begin.from);
	}
	s->arrived_bytes += rec_counted(type == FRAME_HOLE, r->len_bytes);
	s->data_bytes += type == FRAME_HOLE ? 0 : r->len_bytes;
	if (rc < 0)
		return err_set(err, rc,
			       "cannot store the peer's data in %s: %s; make room there, it will be sent again",
			       volume_dir(s->v), strerror(-rc));
	return 0;
}

static int add_ask(struct shipment *s, const struct rec_skip *r, struct err *err)
{
	if (r->is_link || !r->unknown)
		return 0; /* of a later version; nothing here depends on it */
	if (!id_legal(s, r->id) || r->id <= INO_HIDDEN)
		return bad(err, "a question about an inode outside its space", r->id);
	s->asks = grow(s->asks, s->n_asks, &s->cap_asks, sizeof(*s->asks));
	s->asks[s->n_asks++] = r->id;
	return 0;
}

static int add_lineage(struct shipment *s, const struct rec_lineage *r, struct err *err)
{
	if (r->kind != 'a' && r->kind != 'c' && r->kind != 'u')
		return 0; /* of a later version; nothing here depends on it */
	if (!id_legal(s, r->src) || !id_legal(s, r->dst) || r->src <= INO_HIDDEN || r->dst <= INO_HIDDEN)
		return bad(err, "what became of an inode outside its space", r->src);
	s->lineages = grow(s->lineages, s->n_lineages, &s->cap_lineages, sizeof(*s->lineages));
	s->lineages[s->n_lineages++] = *r;
	s->n_of_units += r->kind == 'u';
	if (r->kind == 'c')
		map_put(&s->copied, r->src, 1);
	return 0;
}

int shipment_add(struct shipment *s, struct frame *f, struct err *err)
{
	if (++s->frames > SHIPMENT_MAX_ENTRIES + s->begin.data_bytes)
		return bad(err, "a shipment without end", s->begin.to);
	switch (f->type) {
	case FRAME_INODE: return add_inode(s, &f->inode, err);
	case FRAME_LINK: return add_link(s, &f->link, err);
	case FRAME_XATTR: return add_xattr(s, &f->xattr, err);
	case FRAME_DATA:
	case FRAME_HOLE:
	case FRAME_LOST: return add_bytes(s, &f->data, f->type, err);
	case FRAME_CONFLICT:
		s->conflicts = grow(s->conflicts, s->n_conflicts, &s->cap_conflicts, sizeof(*s->conflicts));
		s->conflicts[s->n_conflicts++] = f->conflict.c;
		memset(&f->conflict.c, 0, sizeof(f->conflict.c)); /* ownership taken */
		return 0;
	case FRAME_SKIP: return add_ask(s, &f->skip, err);
	case FRAME_LINEAGE: return add_lineage(s, &f->lineage, err);
	case FRAME_HELLO:
	case FRAME_HEARTBEAT:
	case FRAME_BYE:
	case FRAME_CREDIT:
	case FRAME_SHIP_BEGIN:
	case FRAME_STAGED:
	case FRAME_VERIFY:
	case FRAME_HEAL:
	case FRAME_SHIP_END: break;
	}
	return bad(err, "a frame that does not belong into a shipment", f->type);
}

/* ---- looking ---- */

const struct rec_inode *shipment_inode_at(const struct shipment *s, size_t i, struct rec_inode *room)
{
	if (!s->packed)
		return s->inodes[i];
	ship_rows_inode(&s->rows, i, room);
	return room;
}

const struct ship_link *shipment_link_at(const struct shipment *s, size_t i, struct ship_link *room)
{
	if (!s->packed)
		return &s->links[i];
	ship_rows_link(&s->rows, i, room);
	return room;
}

const struct ship_xattr *shipment_xattr_at(const struct shipment *s, size_t i, struct ship_xattr *room)
{
	if (!s->packed)
		return &s->xattrs[i];
	ship_rows_xattr(&s->rows, i, room);
	return room;
}

static bool find(const struct map *m, uint64_t id, size_t *i)
{
	uint64_t at;

	if (!map_get(m, id, &at))
		return false;
	*i = (size_t)at - 1;
	return true;
}

bool shipment_find_inode(const struct shipment *s, uint64_t ino, size_t *i)
{
	size_t room;

	i = i ? i : &room;
	return s->packed ? ship_rows_find_inode(&s->rows, ino, i) : find(&s->by_ino, ino, i);
}

bool shipment_find_link(const struct shipment *s, uint64_t link, size_t *i)
{
	size_t room;

	i = i ? i : &room;
	return s->packed ? ship_rows_find_link(&s->rows, link, i) : find(&s->by_link, link, i);
}

const struct rec_inode *shipment_look(const struct shipment *s, uint64_t ino, struct rec_inode *room)
{
	size_t i;

	return shipment_find_inode(s, ino, &i) ? shipment_inode_at(s, i, room) : NULL;
}

size_t shipment_xattr_before(const struct shipment *s, uint64_t ino, size_t at)
{
	struct ship_xattr x;
	size_t i;

	if (!s->packed && at)
		return s->xattrs[at - 1].next;
	if (!s->packed)
		return find(&s->xattr_by_ino, ino, &i) ? i + 1 : 0;
	i = at ? at - 1 : ship_rows_xattrs_upto(&s->rows, ino);
	if (i == 0)
		return 0;
	ship_rows_xattr(&s->rows, i - 1, &x);
	return x.ino == ino ? i : 0;
}

struct rec_inode *shipment_inode(const struct shipment *s, uint64_t ino)
{
	size_t i;

	assert(!s->packed);
	return find(&s->by_ino, ino, &i) ? s->inodes[i] : NULL;
}

struct ship_link *shipment_link(const struct shipment *s, uint64_t link)
{
	size_t i;

	assert(!s->packed);
	return find(&s->by_link, link, &i) ? &s->links[i] : NULL;
}

struct ship_xattr *shipment_xattr(const struct shipment *s, uint64_t ino, const char *key)
{
	uint64_t i;

	assert(!s->packed);
	if (!map_get(&s->xattr_by_ino, ino, &i))
		return NULL;
	for (; i; i = s->xattrs[i - 1].next)
		if (key ? strcmp(s->xattrs[i - 1].key, key) == 0 : xattr_is_of_users(s->xattrs[i - 1].key))
			return &s->xattrs[i - 1];
	return NULL;
}

uint64_t rec_seen(const struct rec_inode *r, uint32_t field)
{
	switch (field) {
	case REC_MODE: return r->seen_mode;
	case REC_OWNER: return r->seen_owner;
	case REC_TIMES: return r->seen_times;
	default: return r->seen_content;
	}
}
