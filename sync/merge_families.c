/* SPDX-License-Identifier: MIT */
/*
 * The files of one database are a unit: NAME, which is an SQLite database, with NAME-wal, NAME-shm and NAME-journal
 * beside it. To the resolver such a family is shown as a directory called NAME, which is in place of the files, with
 * the files in it under the rest of their names; what comes out is put back. So all that holds for a unit holds for it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/data.h"
#include "core/landing.h"
#include "sync/merge_state.h"
#include "util/util.h"

/* Ids that stand for a family, for its directory and for the link to that alike; below RS_CLONE, above all others. */
#define FAMILY (UINT64_C(1) << 61)

static const char *const tails[] = { "", "-wal", "-shm", "-journal" };
/* A directory's names are never empty: what is in it is called '=' and the tail. */
static const char *const inner[] = { "=", "=-wal", "=-shm", "=-journal" };

static const char magic[] = "SQLite format 3"; /* with its NUL, as all of them begin */

/* The tail of a name that may be of a family: an index; *stem is the length of the rest. */
static size_t tail_of(const char *name, size_t len, size_t *stem)
{
	for (size_t i = ARRAY_LEN(tails); i-- > 1;) {
		size_t n = strlen(tails[i]);

		if (len > n && memcmp(name + len - n, tails[i], n) == 0) {
			*stem = len - n;
			return i;
		}
	}
	*stem = len;
	return 0;
}

static bool is_tail(const char *name, size_t len)
{
	size_t stem;

	return tail_of(name, len, &stem) != 0;
}

size_t families_stem(const char *name, size_t len)
{
	size_t stem;

	tail_of(name, len, &stem);
	return stem;
}

static bool has_sides(struct volume *v, uint64_t dir, const char *stem, size_t len)
{
	char name[NAME_MAX_BYTES + 16];
	struct dentry d;

	for (size_t i = 1; i < ARRAY_LEN(tails); i++) {
		size_t n = strlen(tails[i]);

		memcpy(name, stem, len);
		memcpy(name + len, tails[i], n);
		if (len + n <= NAME_MAX_BYTES && tree_lookup(v, dir, name, len + n, &d) == 0)
			return true;
	}
	return false;
}

uint64_t merge_name_key(uint64_t dir, const char *name, size_t len)
{
	uint64_t key = UINT64_C(1469598103934665603) ^ dir;

	for (size_t i = 0; i < len; i++)
		key = (key ^ (uint8_t)name[i]) * UINT64_C(1099511628211);
	return key ? key : 1;
}

/* As the src of a note. */
static uint64_t note_key(uint64_t dir, const char *stem, size_t len)
{
	uint64_t key = merge_name_key(dir, stem, len) % ID_LIMIT;

	return key ? key : 1;
}

/* Its pages have 512 bytes at least. */
static bool may_be_database(uint64_t size_bytes)
{
	return size_bytes > 0 && size_bytes % 512 == 0;
}

struct size_link {
	struct volume *v;
	uint64_t size_bytes;
};

static int link_is_of_family(void *ctx, const struct dentry *d)
{
	struct size_link *x = ctx;
	size_t stem;

	return tail_of(d->name, d->name_len, &stem) != 0 ||
	       (may_be_database(x->size_bytes) && has_sides(x->v, d->parent, d->name, d->name_len));
}

static bool inode_is_of_family(struct volume *v, const struct rec_inode *r)
{
	struct size_link x = { .v = v, .size_bytes = r->size_bytes };

	return S_ISREG(r->mode) && tree_links_of(v, r->ino, link_is_of_family, &x) == 1;
}

static bool file_is_of_family(struct volume *v, uint64_t ino)
{
	struct size_link x = { .v = v };
	struct inode *in = xmalloc(sizeof(*in));
	bool yes = tree_inode_get(v, ino, in) == 0 && S_ISREG(in->mode);

	x.size_bytes = yes ? in->size_bytes : 0;
	free(in);
	return yes && tree_links_of(v, ino, link_is_of_family, &x) == 1;
}

/* It gives such a name; or it moves or removes such a file: a database alone, perhaps, and leaves what is beside it. */
static bool record_is_of_family(struct volume *v, const struct ship_link *l)
{
	struct dentry d;

	return (l->parent && is_tail(l->name, l->name_len)) ||
	       (tree_link_get(v, l->link, &d) == 0 && file_is_of_family(v, d.child));
}

bool families_touched(struct volume *v, const struct shipment *s)
{
	for (size_t i = 0; i < s->n_links; i++)
		if (record_is_of_family(v, &s->links[i]))
			return true;
	for (size_t i = 0; i < s->n_inodes; i++)
		if (inode_is_of_family(v, s->inodes[i]))
			return true;
	for (size_t i = 0; i < s->n_xattrs; i++)
		if (file_is_of_family(v, s->xattrs[i].ino))
			return true;
	return false;
}

int families_list(struct volume *v, const struct shipment *s, struct map *inodes)
{
	struct rec_inode *inode_room = xmalloc(sizeof(*inode_room));
	struct ship_link link_room;
	struct ship_xattr xattr_room;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < s->n_links; i++) {
		const struct ship_link *l = shipment_link_at(s, i, &link_room);

		if (record_is_of_family(v, l))
			map_put(inodes, l->child, 1);
		rc = landing_breathe(v);
	}
	for (size_t i = 0; rc == 0 && i < s->n_inodes; i++) {
		const struct rec_inode *r = shipment_inode_at(s, i, inode_room);

		if (inode_is_of_family(v, r))
			map_put(inodes, r->ino, 1);
		rc = landing_breathe(v);
	}
	for (size_t i = 0; rc == 0 && i < s->n_xattrs; i++) {
		uint64_t ino = shipment_xattr_at(s, i, &xattr_room)->ino;

		if (file_is_of_family(v, ino))
			map_put(inodes, ino, 1);
		rc = landing_breathe(v);
	}
	free(inode_room);
	return rc;
}

/* ---- which families both changed -----------------------------------------------------------------------------------
 */

static bool ours_is_database(struct merger *m, uint64_t ino)
{
	char head[sizeof(magic)] = "";
	const struct view now = { .kind = VIEW_NOW };
	struct inode *in = xmalloc(sizeof(*in));
	bool yes = tree_inode_get(m->v, ino, in) == 0 && S_ISREG(in->mode) && in->size_bytes >= sizeof(head) &&
		   data_read(m->v, ino, now, head, sizeof(head), 0) == 0 && memcmp(head, magic, sizeof(magic)) == 0;

	free(in);
	return yes;
}

static bool theirs_is_database(struct merger *m, uint64_t ino)
{
	char head[sizeof(magic)] = "";
	struct content_case c;
	uint64_t at;
	bool yes = false;

	if (!map_get(&m->ni_by_ino, ino, &at) || !(m->ni[at - 1].rec->fields & REC_CONTENT) ||
	    !S_ISREG(m->ni[at - 1].rec->mode))
		return false;
	if (content_open(&c, m->v, m->s, m->ni[at - 1].rec, ino, m->ni[at - 1].seen_bytes, NULL, "") == 0)
		yes = c.theirs_size >= sizeof(head) && content_theirs(&c, head, sizeof(head), 0) == 0 &&
		      memcmp(head, magic, sizeof(magic)) == 0;
	return yes;
}

struct family {
	uint64_t dir;
	const char *stem; /* in the input's names */
	uint16_t len;
	bool by_p, by_s, database, side; /* changed by; the main file is one; there is more than that file */
	bool in[3];                      /* base, primary, secondary: there is something of it */
};

static bool changed_bytes(struct merger *m, uint64_t ino, bool ours)
{
	uint64_t at;
	const struct rs_inode *n = map_get(&m->inode_at, ino, &at) ? &m->inodes[at - 1] : NULL;

	return n && (ours ? n->p_content : n->s_content);
}

static void look_at(struct merger *m, struct family *f, const struct rs_link *l, const struct rs_pos *at, int which)
{
	size_t stem, tail = tail_of(at->name, at->name_len, &stem);

	f->in[which] = true;
	f->side |= tail != 0;
	f->by_p |= !merge_same_pos(&l->b, &l->p) || changed_bytes(m, l->child, true);
	f->by_s |= !merge_same_pos(&l->b, &l->s) || changed_bytes(m, l->child, false);
	if (tail == 0 && !f->database)
		f->database = (which == 1 && ours_is_database(m, l->child)) ||
			      (which == 2 && theirs_is_database(m, l->child));
}

struct families {
	struct family *f;
	size_t n, cap;
	struct map at; /* merge_name_key -> index + 1; of two with one key the second is no family */
};

static struct family *family_at(struct families *all, const struct rs_pos *at, bool make)
{
	size_t stem;
	uint64_t key, i;

	if (!at->present)
		return NULL;
	tail_of(at->name, at->name_len, &stem);
	key = merge_name_key(at->parent, at->name, stem);
	if (map_get(&all->at, key, &i)) {
		struct family *f = &all->f[i - 1];

		return f->dir == at->parent && f->len == stem && memcmp(f->stem, at->name, stem) == 0 ? f : NULL;
	}
	if (!make)
		return NULL;
	if (all->n == all->cap) {
		all->cap = all->cap ? all->cap * 2 : 64;
		all->f = xrealloc(all->f, all->cap * sizeof(*all->f));
	}
	all->f[all->n] = (struct family){ .dir = at->parent, .stem = at->name, .len = (uint16_t)stem };
	map_put(&all->at, key, ++all->n);
	return &all->f[all->n - 1];
}

/* All files of the family that are here. seen: what the secondary knew when it changed something of it. */
static int add_family(struct merger *m, uint64_t dir, const char *stem, size_t len, uint64_t seen)
{
	char name[NAME_MAX_BYTES + 16];
	uint64_t before;
	int rc = 0;

	memcpy(name, stem, len);
	for (size_t i = 0; rc == 0 && i < ARRAY_LEN(tails); i++) {
		size_t n = strlen(tails[i]);
		struct dentry d;

		memcpy(name + len, tails[i], n);
		if (len + n > NAME_MAX_BYTES || tree_lookup(m->v, dir, name, len + n, &d) < 0)
			continue;
		rc = merge_add_link(m, d.link);
		if (!map_get(&m->member, d.child, &before) || seen + 1 < before)
			map_put(&m->member, d.child, seen + 1);
	}
	return rc;
}

/*
 * The main file may be a database, as it is here, and the secondary moved or removed it or set something on it: what we
 * have beside it may be new to it, or written to.
 */
static bool used_main(struct merger *m, const struct rs_link *l)
{
	struct inode *in;
	bool yes = !merge_same_pos(&l->b, &l->s) || map_get(&m->ni_by_ino, l->child, NULL) ||
		   map_get(&m->s->xattr_by_ino, l->child, NULL);

	if (!yes || !l->p.present)
		return false;
	in = xmalloc(sizeof(*in));
	yes = tree_inode_get(m->v, l->child, in) == 0 && S_ISREG(in->mode) && may_be_database(in->size_bytes);
	free(in);
	return yes;
}

int families_gather(struct merger *m)
{
	size_t n_links = m->n_links; /* those that are added here need no look */
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < n_links; i++) {
		const struct rs_link *l = &m->links[i];
		struct rs_pos pos[] = { l->p, l->s, l->b }; /* as what they are in may move */
		uint64_t child = l->child, at, seen = m->s->begin.seen;
		bool main = false;

		rc = merge_breathe(m);
		if (child == 0 || map_get(&m->parents, child, NULL))
			continue;
		if (map_get(&m->nl_by_link, l->id, &at))
			seen = m->nl[at - 1].seen;
		if (map_get(&m->ni_by_ino, child, &at) && (m->ni[at - 1].rec->fields & REC_CONTENT)) {
			seen = MIN(seen, m->ni[at - 1].seen_bytes);
			main = may_be_database(m->ni[at - 1].rec->size_bytes);
		}
		main = main || used_main(m, l);
		for (size_t k = 0; rc == 0 && k < ARRAY_LEN(pos); k++) {
			uint64_t known;
			size_t stem;

			if (pos[k].present && families_copy_at(m, pos[k].parent, pos[k].name, pos[k].name_len, &known))
				seen = MAX(seen, known);

			if (!pos[k].present || (tail_of(pos[k].name, pos[k].name_len, &stem) == 0 && !main))
				continue;
			rc = merge_near_beside(m, &pos[k]);
			if (rc == 0 && k < 2)
				rc = add_family(m, pos[k].parent, pos[k].name, stem,
						units_known_since(m, seen));
		}
	}
	return rc;
}

/* ---- the input with families as directories, and the result put back ----------------------------------------------
 */

static struct rs_pos inside(struct families *all, const struct rs_pos *at)
{
	struct family *f = family_at(all, at, false);
	struct rs_pos pos = *at;
	size_t stem, tail;

	if (!f || !f->database)
		return pos;
	tail = tail_of(at->name, at->name_len, &stem);
	pos.parent = FAMILY | (uint64_t)(f - all->f + 1);
	pos.name = inner[tail];
	pos.name_len = (uint16_t)strlen(inner[tail]);
	return pos;
}

static void find_families(struct merger *m, struct families *all)
{
	for (size_t i = 0; i < m->n_links; i++) {
		const struct rs_link *l = &m->links[i];
		const struct rs_pos *at[] = { &l->b, &l->p, &l->s };

		if (map_get(&m->parents, l->child ? l->child : 1, NULL))
			continue;
		for (int k = 0; k < 3; k++) {
			struct family *f = family_at(all, at[k], true);

			if (f)
				look_at(m, f, l, at[k], k);
		}
	}
	for (size_t i = 0; i < all->n; i++)
		all->f[i].database = all->f[i].database && all->f[i].side && all->f[i].by_p && all->f[i].by_s;
}

static bool has_side_names(const struct merger *m)
{
	size_t stem;

	for (size_t i = 0; i < m->n_links; i++) {
		const struct rs_link *l = &m->links[i];

		if ((l->p.present && tail_of(l->p.name, l->p.name_len, &stem) != 0) ||
		    (l->s.present && tail_of(l->s.name, l->s.name_len, &stem) != 0))
			return true;
	}
	return false;
}

bool families_show(struct merger *m, struct rs_input *in)
{
	struct families all = { 0 };
	size_t shown = 0;

	in->links = m->links;
	in->n_links = m->n_links;
	in->inodes = m->inodes;
	in->n_inodes = m->n_inodes;
	if (!m->units || !has_side_names(m))
		return false;
	find_families(m, &all);
	for (size_t i = 0; i < all.n; i++)
		shown += all.f[i].database;
	if (shown > 0) {
		in->links = xmalloc((m->n_links + shown) * sizeof(*in->links));
		in->inodes = xmalloc((m->n_inodes + shown) * sizeof(*in->inodes));
		memcpy(in->inodes, m->inodes, m->n_inodes * sizeof(*in->inodes));
	}
	for (size_t i = 0; shown > 0 && i < m->n_links; i++) {
		in->links[i] = m->links[i];
		if (map_get(&m->parents, m->links[i].child ? m->links[i].child : 1, NULL))
			continue;
		in->links[i].b = inside(&all, &m->links[i].b);
		in->links[i].p = inside(&all, &m->links[i].p);
		in->links[i].s = inside(&all, &m->links[i].s);
	}
	for (size_t i = 0; i < all.n; i++) {
		const struct family *f = &all.f[i];
		struct rs_pos at = { .present = true, .parent = f->dir, .name = f->stem, .name_len = f->len };

		if (!f->database)
			continue;
		in->links[in->n_links++] = (struct rs_link){ .id = FAMILY | (i + 1), .child = FAMILY | (i + 1),
			.unit = true };
		if (f->in[0])
			in->links[in->n_links - 1].b = at;
		if (f->in[1])
			in->links[in->n_links - 1].p = at;
		if (f->in[2])
			in->links[in->n_links - 1].s = at;
		in->inodes[in->n_inodes++] = (struct rs_inode){ .ino = FAMILY | (i + 1), .type = S_IFDIR,
			.in_b = f->in[0], .in_p = f->in[1], .in_s = f->in[2] };
	}
	free(all.f);
	map_release(&all.at);
	return shown > 0;
}

static bool is_family(uint64_t id)
{
	return id >= FAMILY && id < RS_CLONE;
}

struct unpacker {
	struct rs_result *r;
	struct map place; /* a family's directory, or a clone of one -> the place it got */
	int rc;
};

static void put_back(struct unpacker *u, struct rs_pos *pos)
{
	const struct rs_pos *dir;
	uint64_t at;
	char *name;
	size_t len;

	if (!pos->present || !map_get(&u->place, pos->parent, &at))
		return;
	dir = (const struct rs_pos *)(uintptr_t)at;
	len = dir->name_len + pos->name_len - 1u;
	if (!dir->present || len > NAME_MAX_BYTES) {
		u->rc = -EUCLEAN;
		return;
	}
	name = xmalloc(len + 1);
	memcpy(name, dir->name, dir->name_len);
	memcpy(name + dir->name_len, pos->name + 1, pos->name_len - 1u); /* without the '=' */
	name[len] = '\0';
	u->r->own = xrealloc(u->r->own, (u->r->n_own + 1) * sizeof(*u->r->own));
	u->r->own[u->r->n_own++] = name;
	*pos = (struct rs_pos){ .present = true, .parent = dir->parent, .name = name, .name_len = (uint16_t)len };
}

/* The main file in it, or any. */
static uint64_t file_in(const struct rs_result *r, uint64_t dir)
{
	uint64_t found = 0;

	for (size_t i = 0; i < r->n_links + r->n_clone_links; i++) {
		bool own = i < r->n_links;
		const struct rs_pos *pos = own ? &r->links[i].pos : &r->clone_links[i - r->n_links].pos;

		if (pos->present && pos->parent == dir && (found == 0 || pos->name_len == 1))
			found = own ? r->links[i].child : r->clone_links[i - r->n_links].child;
	}
	return found;
}

/* The family, by the name that the secondary has it by, is at `place` for it. */
static void list_family_copy(struct merger *m, const struct rs_input *in, uint64_t family, const struct rs_pos *place)
{
	for (size_t i = 0; i < in->n_links; i++) {
		const struct rs_pos *at = &in->links[i].s;

		if (in->links[i].id != family || !at->present || !place->present)
			continue;
		m->family_copies = xrealloc(m->family_copies, (m->n_family_copies + 1) * sizeof(*m->family_copies));
		m->family_copies[m->n_family_copies++] =
			(struct family_copy){ note_key(at->parent, at->name, at->name_len), *place };
		return;
	}
}

int families_put_back(struct merger *m, struct rs_input *in, struct rs_result *r)
{
	struct unpacker u = { .r = r };
	struct rs_pos *places = xcalloc(r->n_links + r->n_clone_links + 1, sizeof(*places));
	size_t n = 0, keep = 0;

	for (size_t i = 0; i < r->n_notes; i++) {
		uint64_t *id[] = { &r->notes[i].ino, &r->notes[i].other_ino };

		for (size_t k = 0; k < ARRAY_LEN(id); k++) {
			uint64_t file = *id[k] >= FAMILY ? file_in(r, *id[k]) : 0;
			bool of_family = is_family(*id[k]);

			for (size_t c = 0; c < r->n_clones; c++)
				of_family |= r->clones[c].id == *id[k] && is_family(r->clones[c].of);
			if (of_family)
				*id[k] = file;
		}
		if (is_family(r->notes[i].link))
			r->notes[i].link = 0;
	}
	for (size_t i = 0; i < r->n_links; i++)
		if (is_family(r->links[i].id)) {
			places[n] = r->links[i].pos;
			map_put(&u.place, r->links[i].id, (uint64_t)(uintptr_t)&places[n++]);
		}
	for (size_t c = 0; c < r->n_clones; c++)
		for (size_t i = 0; is_family(r->clones[c].of) && i < r->n_clone_links; i++)
			if (r->clone_links[i].child == r->clones[c].id) {
				places[n] = r->clone_links[i].pos;
				list_family_copy(m, in, r->clones[c].of, &places[n]);
				map_put(&u.place, r->clones[c].id, (uint64_t)(uintptr_t)&places[n++]);
				r->clone_links[i].pos.present = false;
			}
	for (size_t i = 0; i < r->n_links; i++) {
		if (is_family(r->links[i].id))
			continue;
		r->links[keep] = r->links[i];
		put_back(&u, &r->links[keep++].pos);
	}
	r->n_links = keep;
	for (size_t i = 0; i < r->n_clone_links; i++)
		put_back(&u, &r->clone_links[i].pos);
	keep = 0;
	for (size_t i = 0; i < r->n_clones; i++)
		if (!is_family(r->clones[i].of))
			r->clones[keep++] = r->clones[i];
	r->n_clones = keep;
	free(places);
	map_release(&u.place);
	return u.rc;
}

/* ---- copies of databases: what the secondary goes on with beside the database is beside its copy --------------------
 */

static int list_note(void *ctx, const struct lineage *l)
{
	struct merger *m = ctx;
	struct dentry d;

	if (tree_link_get(m->v, l->dst, &d) == 0)
		map_put(&m->of_family, note_key(d.parent, d.name, d.name_len), l->src);
	return 0;
}

int families_load(struct merger *m)
{
	return lineage_each(m->v, LINEAGE_NAME, list_note, m);
}

uint64_t families_copy_at(struct merger *m, uint64_t dir, const char *name, size_t len, uint64_t *seen)
{
	struct lineage lin;
	uint64_t src;
	size_t stem;

	if (map_count(&m->of_family) == 0)
		return 0;
	tail_of(name, len, &stem);
	if (!map_get(&m->of_family, note_key(dir, name, stem), &src) ||
	    lineage_get(m->v, LINEAGE_NAME, src, &lin) < 0)
		return 0;
	if (seen)
		*seen = lin.grp;
	return src;
}

uint64_t families_their_name(struct merger *m, struct rs_pos *pos, uint64_t seen)
{
	struct lineage lin;
	struct dentry d;
	size_t stem, tail;
	uint64_t key;
	char *name;

	if (map_count(&m->of_family) == 0)
		return 0;
	tail = tail_of(pos->name, pos->name_len, &stem);
	key = note_key(pos->parent, pos->name, stem);
	if (lineage_get(m->v, LINEAGE_NAME, key, &lin) < 0 || seen >= lin.since ||
	    tree_link_get(m->v, lin.dst, &d) < 0 || d.name_len + strlen(tails[tail]) > NAME_MAX_BYTES)
		return 0;
	name = merge_keep(m, xasprintf("%.*s%s", (int)d.name_len, d.name, tails[tail]));
	*pos = (struct rs_pos){ .present = true, .parent = d.parent, .name = name, .name_len = (uint16_t)strlen(name) };
	return key;
}

static uint64_t link_at_place(const struct rs_result *r, const struct placement *clones, size_t n,
			      const struct rs_pos *at)
{
	for (size_t i = 0; i < n; i++)
		if (clones[i].parent == at->parent && clones[i].name_len == at->name_len &&
		    memcmp(clones[i].name, at->name, at->name_len) == 0)
			return clones[i].link;
	for (size_t i = 0; i < r->n_links; i++)
		if (merge_same_pos(&r->links[i].pos, at))
			return r->links[i].id;
	return 0;
}

int families_note_copies(struct merger *m, const struct rs_result *r, const struct placement *clones, size_t n)
{
	struct lineage note = { .grp = group_number(m->v), .kind = 'f' }, lin;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < m->n_family_copies; i++) {
		const struct family_copy *c = &m->family_copies[i];

		note.dst = link_at_place(r, clones, n, &c->at);
		if (note.dst == 0)
			continue;
		/* A copy of a copy: what the secondary meant for that one is for this one. */
		if (map_get(&m->of_family, c->key, &note.src) && lineage_get(m->v, LINEAGE_NAME, note.src, &lin) == 0) {
			note.since = lin.since;
			rc = lineage_put(m->v, &note);
		}
		note.src = c->key;
		note.since = note.grp;
		if (rc == 0)
			rc = lineage_put(m->v, &note);
	}
	return rc;
}
