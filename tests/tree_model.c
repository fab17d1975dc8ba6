/* SPDX-License-Identifier: MIT */
#include "tests/tree_model.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "util/util.h"

/* ---- the tree */

void tm_init(struct tm_tree *t)
{
	t->n_links = t->n_united = 0;
	t->n_inodes = 1;
	t->inodes[0] = (struct tm_inode){ .ino = TM_ROOT, .type = S_IFDIR };
}

struct tm_inode *tm_inode(const struct tm_tree *t, uint64_t ino)
{
	for (uint32_t i = 0; i < t->n_inodes; i++)
		if (t->inodes[i].ino == ino)
			return (struct tm_inode *)&t->inodes[i];
	return NULL;
}

struct tm_link *tm_link(const struct tm_tree *t, uint64_t id)
{
	for (uint32_t i = 0; i < t->n_links; i++)
		if (t->links[i].id == id)
			return (struct tm_link *)&t->links[i];
	return NULL;
}

static struct tm_link *link_to(const struct tm_tree *t, uint64_t ino)
{
	for (uint32_t i = 0; i < t->n_links; i++)
		if (t->links[i].child == ino)
			return (struct tm_link *)&t->links[i];
	return NULL;
}

struct tm_link *tm_child(const struct tm_tree *t, uint64_t dir, const char *name)
{
	for (uint32_t i = 0; i < t->n_links; i++)
		if (t->links[i].parent == dir && strcmp(t->links[i].name, name) == 0)
			return (struct tm_link *)&t->links[i];
	return NULL;
}

static bool has_children(const struct tm_tree *t, uint64_t dir)
{
	for (uint32_t i = 0; i < t->n_links; i++)
		if (t->links[i].parent == dir)
			return true;
	return false;
}

bool tm_under(const struct tm_tree *t, uint64_t dir, uint64_t ancestor)
{
	while (dir != TM_ROOT && dir != ancestor)
		dir = link_to(t, dir)->parent;
	return dir == ancestor;
}

void tm_add_link(struct tm_tree *t, uint64_t link, uint64_t parent, const char *name, uint64_t child)
{
	struct tm_link *l = &t->links[t->n_links++];

	assert(t->n_links <= TM_LINKS && strlen(name) < TM_NAME);
	*l = (struct tm_link){ .id = link, .parent = parent, .child = child };
	memcpy(l->name, name, strlen(name));
}

static struct tm_inode *add_inode(struct tm_tree *t, struct tm_inode n)
{
	assert(t->n_inodes < TM_INODES);
	t->inodes[t->n_inodes] = n;
	return &t->inodes[t->n_inodes++];
}

void tm_add(struct tm_tree *t, uint64_t ino, uint32_t type, uint64_t link, uint64_t parent, const char *name,
	uint32_t n_tokens)
{
	struct tm_inode *n = add_inode(t, (struct tm_inode){ .ino = ino, .type = type, .n_data = n_tokens });

	for (uint32_t i = 0; i < n_tokens; i++)
		n->data[i] = (uint32_t)ino * 10 + i;
	tm_add_link(t, link, parent, name, ino);
}

void tm_small_base(struct tm_tree *t, unsigned kind)
{
	tm_init(t);
	tm_add(t, 12, S_IFDIR, 12, TM_ROOT, "a", 0);
	tm_add(t, 13, S_IFDIR, 13, TM_ROOT, "b", 0);
	tm_add(t, 14, S_IFREG, 14, TM_ROOT, "f", 2);
	tm_add(t, 15, S_IFREG, 15, 12, "f", 2);
	if (kind >= 1)
		tm_add_link(t, 16, 13, "f", 14);
	if (kind >= 2) {
		tm_add(t, 17, S_IFDIR, 17, 12, "b", 0);
		tm_add(t, 18, S_IFREG, 18, 17, "x", 1);
	}
}

void tm_unit_base(struct tm_tree *t, unsigned kind)
{
	tm_init(t);
	tm_add(t, 12, S_IFDIR, 12, TM_ROOT, "u", 0);
	tm_add(t, 13, S_IFREG, 13, 12, "x", 1);
	tm_add(t, 14, S_IFDIR, 14, 12, "a", 0);
	tm_add(t, 15, S_IFREG, 15, 14, "f", 2);
	tm_add(t, 16, S_IFREG, 16, TM_ROOT, "f", 1);
	if (kind >= 1)
		tm_add_link(t, 17, TM_ROOT, "x", 13);
	if (kind >= 2) {
		tm_add(t, 18, S_IFDIR, 18, TM_ROOT, "b", 0);
		tm_add(t, 19, S_IFREG, 19, 18, "x", 1);
	}
}

static void drop_link(struct tm_tree *t, struct tm_link *l)
{
	*l = t->links[--t->n_links];
}

/* Drop what has no link or no parent any more. */
static void collect(struct tm_tree *t)
{
	bool again = true;

	while (again) {
		again = false;
		for (uint32_t i = 0; i < t->n_inodes; i++)
			if (t->inodes[i].ino != TM_ROOT && !link_to(t, t->inodes[i].ino)) {
				t->inodes[i--] = t->inodes[--t->n_inodes];
				again = true;
			}
		for (uint32_t i = 0; i < t->n_links; i++)
			if (!tm_inode(t, t->links[i].parent)) {
				drop_link(t, &t->links[i--]);
				again = true;
			}
	}
}

/* ---- operations */

static uint32_t fresh(struct tm_side *s)
{
	return s->side * 1000 + ++s->n;
}

static void make(struct tm_side *s, uint32_t type, uint64_t dir, const char *name, uint32_t token)
{
	uint32_t id = fresh(s), n = type == S_IFREG || type == S_IFLNK || type == S_IFCHR;

	tm_add(&s->t, id, type, id, dir, name, n);
	tm_inode(&s->t, id)->data[0] = n == 0 ? 0 : token ? token : id;
}

static void rename_link(struct tm_tree *t, uint64_t id, uint64_t dir, const char *name)
{
	struct tm_link *over = tm_child(t, dir, name), *l;

	if (over)
		drop_link(t, over);
	l = tm_link(t, id);
	l->parent = dir;
	memset(l->name, 0, sizeof(l->name));
	memcpy(l->name, name, strlen(name));
	collect(t);
}

static void exchange(struct tm_link *x, struct tm_link *y)
{
	struct tm_link old = *x;

	x->parent = y->parent;
	memcpy(x->name, y->name, sizeof(x->name));
	y->parent = old.parent;
	memcpy(y->name, old.name, sizeof(y->name));
}

/* A new file where the link was, renamed over it or put there when the old one had gone to its backup's name. */
static void save(struct tm_side *s, const struct tm_op *op)
{
	struct tm_tree *t = &s->t;
	struct tm_link l = *tm_link(t, op->a);
	struct tm_inode old = *tm_inode(t, l.child), *new;

	if (op->kind == TM_LNBACKUP)
		tm_add_link(t, fresh(s), l.parent, op->name, l.child);
	if (op->kind == TM_BACKUP)
		rename_link(t, l.id, l.parent, op->name);
	else
		drop_link(t, tm_link(t, l.id));
	collect(t);
	make(s, S_IFREG, l.parent, l.name, 0);
	if (op->k == 0)
		return;
	new = tm_inode(t, s->side * 1000 + s->n);
	old.ino = new->ino;
	old.data[op->k - 1] = new->data[0];
	*new = old;
}

void tm_apply(struct tm_side *s, const struct tm_op *op)
{
	struct tm_tree *t = &s->t;
	struct tm_inode *n = tm_inode(t, op->a);

	switch (op->kind) {
	case TM_CREATE:
		make(s, S_IFREG, op->a, op->name, op->k);
		break;
	case TM_MKDIR:
		make(s, S_IFDIR, op->a, op->name, 0);
		break;
	case TM_SYMLINK:
		make(s, S_IFLNK, op->a, op->name, op->k);
		break;
	case TM_FIFO:
		make(s, S_IFIFO, op->a, op->name, 0);
		break;
	case TM_SOCKET:
		make(s, S_IFSOCK, op->a, op->name, 0);
		break;
	case TM_DEVICE:
		make(s, S_IFCHR, op->a, op->name, op->k);
		break;
	case TM_UNLINK:
	case TM_RMTREE:
		drop_link(t, tm_link(t, op->a));
		collect(t);
		break;
	case TM_SAVE:
	case TM_BACKUP:
	case TM_LNBACKUP:
		save(s, op);
		break;
	case TM_RENAME:
		rename_link(t, op->a, op->b, op->name);
		break;
	case TM_EXCHANGE:
		exchange(tm_link(t, op->a), tm_link(t, op->b));
		break;
	case TM_WRITE:
		n->data[op->k] = fresh(s);
		break;
	case TM_APPEND:
		assert(n->n_data < TM_TOKENS);
		n->data[n->n_data++] = fresh(s);
		break;
	case TM_TRUNC:
		n->n_data = op->k;
		break;
	case TM_LINK:
		tm_add_link(t, fresh(s), op->b, op->name, op->a);
		break;
	case TM_PUT:
		n->data[0] = op->k;
		break;
	case TM_CHMOD:
		n->attr[TM_A_MODE] = fresh(s);
		break;
	case TM_CHOWN:
		n->attr[TM_A_OWNER] = fresh(s);
		break;
	case TM_TOUCH:
		n->attr[TM_A_TIMES] = fresh(s);
		break;
	case TM_XATTR:
		n->attr[TM_A_XATTR] = fresh(s);
		break;
	case TM_XATTR2:
		n->attr[TM_A_XATTR2] = fresh(s);
		break;
	}
}

static const char *const names[] = { "a", "b", "f", "x" };

struct op_list {
	struct tm_op *ops;
	uint32_t n;
};

static void push(struct op_list *o, enum tm_kind kind, uint64_t a, uint64_t b, uint32_t k, const char *name)
{
	struct tm_op *op = &o->ops[o->n++];

	assert(o->n <= TM_OPS);
	memset(op, 0, sizeof(*op));
	op->kind = kind;
	op->a = a;
	op->b = b;
	op->k = k;
	memcpy(op->name, name, strlen(name));
}

static void push_renames(const struct tm_tree *t, const struct tm_link *l, bool is_dir, struct op_list *o)
{
	for (uint32_t d = 0; d < t->n_inodes; d++) {
		uint64_t dir = t->inodes[d].ino;

		if (t->inodes[d].type != S_IFDIR || (is_dir && tm_under(t, dir, l->child)))
			continue;
		for (size_t k = 0; k < ARRAY_LEN(names); k++) {
			const struct tm_link *over = tm_child(t, dir, names[k]);

			if (over && (over->child == l->child || (tm_inode(t, over->child)->type == S_IFDIR) != is_dir ||
				     (is_dir && has_children(t, over->child))))
				continue;
			push(o, TM_RENAME, l->id, dir, 0, names[k]);
		}
	}
}

static void push_saves(const struct tm_tree *t, const struct tm_link *l, struct op_list *o)
{
	const struct tm_inode *n = tm_inode(t, l->child);

	push(o, TM_SAVE, l->id, 0, 0, "");
	if (n->type != S_IFREG)
		return;
	for (uint32_t k = 1; k <= n->n_data; k++)
		push(o, TM_SAVE, l->id, 0, k, "");
	if (n->n_data > 0 && strcmp(l->name, "x") != 0 && !tm_child(t, l->parent, "x")) {
		push(o, TM_BACKUP, l->id, 0, 1, "x");
		push(o, TM_LNBACKUP, l->id, 0, n->n_data, "x");
	}
}

static void push_link_ops(const struct tm_tree *t, const struct tm_link *l, struct op_list *o)
{
	bool is_dir = tm_inode(t, l->child)->type == S_IFDIR;

	push(o, is_dir ? TM_RMTREE : TM_UNLINK, l->id, 0, 0, "");
	if (!is_dir)
		push_saves(t, l, o);
	push_renames(t, l, is_dir, o);
	for (const struct tm_link *m = t->links; m < l; m++)
		if (m->child != l->child && !tm_under(t, m->parent, l->child) && !tm_under(t, l->parent, m->child))
			push(o, TM_EXCHANGE, l->id, m->id, 0, "");
}

static void push_inode_ops(const struct tm_tree *t, const struct tm_inode *n, struct op_list *o)
{
	if (n->ino != TM_ROOT)
		push(o, TM_CHMOD, n->ino, 0, 0, "");
	for (size_t k = 0; n->type == S_IFDIR && k < ARRAY_LEN(names); k++) {
		if (tm_child(t, n->ino, names[k]))
			continue;
		push(o, TM_CREATE, n->ino, 0, 0, names[k]);
		push(o, TM_CREATE, n->ino, 0, 7, names[k]);
		push(o, TM_MKDIR, n->ino, 0, 0, names[k]);
		push(o, TM_SYMLINK, n->ino, 0, 9, names[k]);
		for (uint32_t i = 0; i < t->n_inodes; i++)
			if (t->inodes[i].type != S_IFDIR)
				push(o, TM_LINK, t->inodes[i].ino, n->ino, 0, names[k]);
	}
	if (n->type == S_IFDIR && n->ino != TM_ROOT)
		push(o, TM_XATTR, n->ino, 0, 0, "");
	if (n->type != S_IFREG)
		return;
	for (uint32_t k = 0; k < n->n_data; k++)
		push(o, TM_WRITE, n->ino, 0, k, "");
	if (n->n_data < TM_TOKENS)
		push(o, TM_APPEND, n->ino, 0, 0, "");
	if (n->n_data > 0)
		push(o, TM_TRUNC, n->ino, 0, n->n_data - 1, "");
	push(o, TM_XATTR, n->ino, 0, 0, "");
}

uint32_t tm_ops(const struct tm_tree *t, struct tm_op ops[TM_OPS])
{
	struct op_list o = { .ops = ops };

	for (uint32_t i = 0; i < t->n_links; i++)
		push_link_ops(t, &t->links[i], &o);
	for (uint32_t i = 0; i < t->n_inodes; i++)
		push_inode_ops(t, &t->inodes[i], &o);
	return o.n;
}

/* ---- the resolver's input */

struct input {
	struct rs_input in;
	struct rs_link links[3 * TM_LINKS];
	struct rs_inode inodes[3 * TM_INODES];
	struct rs_attr attrs[3 * TM_ATTRS * TM_INODES];
	size_t n_attrs;
	struct rs_save *saves;
	size_t n_saves;
	bool wanted[3 * TM_INODES];
	const struct tm_tree *b, *p, *s;
	/* what the content operation found */
	struct tm_inode merged[TM_INODES];
	uint32_t n_merged;
};

static bool same_data(const struct tm_inode *a, const struct tm_inode *b)
{
	return a->n_data == b->n_data && memcmp(a->data, b->data, a->n_data * sizeof(a->data[0])) == 0;
}

static struct rs_pos pos_in(const struct tm_tree *t, uint64_t id)
{
	const struct tm_link *l = tm_link(t, id);

	if (!l)
		return (struct rs_pos){ .present = false };
	return (struct rs_pos){ .present = true, .parent = l->parent, .name = l->name,
		.name_len = (uint16_t)strlen(l->name) };
}

static bool same_pos(const struct rs_pos *a, const struct rs_pos *b)
{
	return a->present == b->present && (!a->present || (a->parent == b->parent && strcmp(a->name, b->name) == 0));
}

static bool same_xattrs(const struct tm_inode *a, const struct tm_inode *b)
{
	return a->attr[TM_A_XATTR] == b->attr[TM_A_XATTR] && a->attr[TM_A_XATTR2] == b->attr[TM_A_XATTR2];
}

static bool same_owner_and_mode(const struct tm_inode *a, const struct tm_inode *b)
{
	return a->attr[TM_A_MODE] == b->attr[TM_A_MODE] && a->attr[TM_A_OWNER] == b->attr[TM_A_OWNER];
}

static bool changed_content(const struct tm_inode *b, const struct tm_inode *x)
{
	return x && (!b || !same_data(b, x) || !same_xattrs(b, x));
}

static bool changed_attrs(const struct tm_inode *b, const struct tm_inode *x)
{
	return x && b && (!same_owner_and_mode(b, x) || !same_xattrs(b, x));
}

static bool changed_any(const struct tm_inode *b, const struct tm_inode *x)
{
	return changed_content(b, x) || (x && memcmp(b->attr, x->attr, sizeof(b->attr)) != 0);
}

/* What both sides changed of the attributes. */
static void add_attrs(struct input *x, const struct tm_inode *b, const struct tm_inode *p, const struct tm_inode *s)
{
	static const enum rs_field fields[TM_ATTRS] = { RS_MODE, RS_OWNER, RS_TIMES, RS_XATTR, RS_XATTR };
	static const char *const keys[TM_ATTRS] = { [TM_A_XATTR] = "user.k", [TM_A_XATTR2] = "user.l" };

	for (uint32_t i = 0; i < TM_ATTRS; i++) {
		uint32_t vp = p->attr[i], vs = s->attr[i];

		if (vp == b->attr[i] || vs == b->attr[i] || (keys[i] && (!vp || !vs)))
			continue;
		x->attrs[x->n_attrs++] = (struct rs_attr){ .ino = p->ino, .field = fields[i], .key = keys[i],
			.equal = vp == vs, .p_later = vp > vs };
	}
}

static struct rs_inode *find_inode(struct input *x, uint64_t ino)
{
	for (size_t i = 0; i < x->in.n_inodes; i++)
		if (x->inodes[i].ino == ino)
			return &x->inodes[i];
	return NULL;
}

static void want(struct input *x, uint64_t ino)
{
	x->wanted[find_inode(x, ino) - x->inodes] = true;
}

static bool is_wanted(struct input *x, uint64_t ino)
{
	return x->wanted[find_inode(x, ino) - x->inodes];
}

static void add_inodes(struct input *x, const struct tm_tree *t)
{
	static const struct tm_inode none;

	for (uint32_t i = 0; i < t->n_inodes; i++) {
		const struct tm_inode *n = &t->inodes[i], *b = tm_inode(x->b, n->ino), *p = tm_inode(x->p, n->ino),
				      *s = tm_inode(x->s, n->ino);
		struct rs_inode *r = &x->inodes[x->in.n_inodes];

		if (find_inode(x, n->ino))
			continue;
		*r = (struct rs_inode){ .ino = n->ino, .type = n->type, .in_b = b, .in_p = p, .in_s = s,
			.p_content = changed_content(b, p), .s_content = changed_content(b, s),
			.p_attrs = changed_attrs(b, p), .s_attrs = changed_attrs(b, s) };
		x->wanted[x->in.n_inodes++] = changed_any(b, p) || changed_any(b, s) || n->ino == TM_ROOT;
		if (p && s)
			add_attrs(x, b ? b : &none, p, s);
	}
}

/* Directories whose name begins so are units. */
static bool is_unit_name(const struct rs_pos *at)
{
	return at->present && at->name[0] == 'u';
}

static void add_links(struct input *x, const struct tm_tree *t)
{
	for (uint32_t i = 0; i < t->n_links; i++) {
		struct rs_link l = { .id = t->links[i].id, .child = t->links[i].child };
		bool known = false;

		for (size_t k = 0; k < x->in.n_links; k++)
			known |= x->links[k].id == l.id;
		if (known)
			continue;
		l.b = pos_in(x->b, l.id);
		l.p = pos_in(x->p, l.id);
		l.s = pos_in(x->s, l.id);
		l.unit = tm_inode(t, l.child)->type == S_IFDIR && (is_unit_name(&l.p) || is_unit_name(&l.s));
		x->links[x->in.n_links++] = l;
		if (!same_pos(&l.b, &l.p) || !same_pos(&l.b, &l.s))
			want(x, l.child);
	}
}

/* Leave only what the contract asks for: what changed, all links of such inodes, and the directories above. */
static void close_upwards(struct input *x)
{
	bool again = true;

	while (again) {
		again = false;
		for (size_t i = 0; i < x->in.n_links; i++) {
			const struct rs_link *l = &x->links[i];
			const struct rs_pos *at[] = { &l->b, &l->p, &l->s };

			for (size_t k = 0; k < 3 && is_wanted(x, l->child); k++)
				if (at[k]->present && !is_wanted(x, at[k]->parent)) {
					want(x, at[k]->parent);
					again = true;
				}
		}
	}
}

static void only_wanted(struct input *x)
{
	size_t n = 0;

	for (size_t i = 0; i < x->in.n_links; i++)
		if (is_wanted(x, x->links[i].child))
			x->links[n++] = x->links[i];
	x->in.n_links = n;
	n = 0;
	for (size_t i = 0; i < x->in.n_inodes; i++)
		if (x->wanted[i])
			x->inodes[n++] = x->inodes[i];
	x->in.n_inodes = n;
}

/* All that is in the directory in any of the states. */
static void want_inside(struct input *x, uint64_t dir)
{
	const struct tm_tree *t[] = { x->b, x->p, x->s };

	for (size_t k = 0; k < ARRAY_LEN(t); k++)
		for (uint32_t i = 0; i < t[k]->n_links; i++) {
			const struct tm_link *l = &t[k]->links[i];

			if (tm_inode(t[k], dir) && l->child != dir && tm_under(t[k], l->parent, dir))
				want(x, l->child);
		}
}

static void make_sparse(struct input *x)
{
	static struct input few;
	uint64_t *units;
	size_t n;

	close_upwards(x);
	few = *x;
	few.in.links = few.links;
	few.in.inodes = few.inodes;
	only_wanted(&few);
	n = resolve_units(&few.in, &units);
	for (size_t i = 0; i < n; i++)
		want_inside(x, units[i]);
	free(units);
	close_upwards(x);
	only_wanted(x);
}

static void shuffle(void *base, size_t n, size_t size, unsigned *seed)
{
	char *a = base, tmp[256];

	assert(size <= sizeof(tmp));
	for (size_t i = n; i > 1; i--) {
		size_t k = (size_t)rand_r(seed) % i;

		memcpy(tmp, a + (i - 1) * size, size);
		memcpy(a + (i - 1) * size, a + k * size, size);
		memcpy(a + k * size, tmp, size);
	}
}

/* ---- its operations */

static bool op_same_file(void *ctx, uint64_t ino_p, uint64_t ino_s)
{
	const struct input *x = ctx;
	const struct tm_inode *p = tm_inode(x->p, ino_p), *s = tm_inode(x->s, ino_s);

	return p->type == s->type && same_owner_and_mode(p, s) && same_xattrs(p, s) && same_data(p, s);
}

/* Token by token; a token that one side cut off while the other wrote it is a conflict, as is a gap. */
static bool merge_data(const struct tm_inode *b, const struct tm_inode *p, const struct tm_inode *s,
	struct tm_inode *out)
{
	uint32_t n = MAX(MAX(b->n_data, p->n_data), s->n_data), r[TM_TOKENS];

	for (uint32_t k = 0; k < n; k++) {
		uint32_t vb = k < b->n_data ? b->data[k] : 0, vp = k < p->n_data ? p->data[k] : 0,
			 vs = k < s->n_data ? s->data[k] : 0;

		if (vp != vs && vp != vb && vs != vb)
			return false;
		r[k] = vp == vb ? vs : vp;
	}
	while (n > 0 && r[n - 1] == 0)
		n--;
	for (uint32_t k = 0; k < n; k++)
		if (r[k] == 0)
			return false;
	out->n_data = n;
	memcpy(out->data, r, n * sizeof(r[0]));
	return true;
}

static enum rs_content op_content(void *ctx, uint64_t ino)
{
	struct input *x = ctx;
	const struct tm_inode *b = tm_inode(x->b, ino), *p = tm_inode(x->p, ino), *s = tm_inode(x->s, ino);
	struct tm_inode *m = &x->merged[x->n_merged];

	if (x->in.prefer && !find_inode(x, ino)->late)
		return same_data(p, s) && same_xattrs(p, s) ? RS_CONTENT_EQUAL : RS_CONTENT_KEEP_BOTH;

	if (!b)
		b = p;
	*m = *p;
	if (same_data(p, s))
		return RS_CONTENT_EQUAL;
	if (!merge_data(b, p, s, m))
		return RS_CONTENT_KEEP_BOTH;
	x->n_merged++;
	return same_data(p, b) || same_data(s, b) ? RS_CONTENT_EQUAL : RS_CONTENT_MERGED;
}

/* What becomes of a save, and which of its attributes both sides changed. */
static void decide_save(struct input *x, struct rs_save *save)
{
	const struct tm_inode *b = tm_inode(x->b, save->ino_b), *p = tm_inode(x->p, save->ino_p),
			      *s = tm_inode(x->s, save->ino_s);
	struct tm_inode *m = &x->merged[x->n_merged];

	*m = *p;
	save->verdict = RS_CONTENT_KEEP_BOTH;
	if (!merge_data(b, p, s, m))
		return;
	x->n_merged++;
	save->verdict = same_data(p, s) || same_data(p, b) || same_data(s, b) ? RS_CONTENT_EQUAL : RS_CONTENT_MERGED;
	add_attrs(x, b, p, s);
}

static const struct rs_save *save_of(const struct input *x, uint64_t ino_p)
{
	for (size_t i = 0; i < x->n_saves; i++)
		if (x->saves[i].ino_p == ino_p && x->saves[i].verdict != RS_CONTENT_KEEP_BOTH)
			return &x->saves[i];
	return NULL;
}

static bool op_equal(void *ctx, uint64_t ino)
{
	const struct input *x = ctx;

	return same_data(tm_inode(x->p, ino), tm_inode(x->s, ino));
}

static bool op_name_taken(void *ctx, uint64_t parent, const char *name, size_t name_len)
{
	const struct input *x = ctx;
	char text[256];
	const struct tm_link *l;

	snprintf(text, sizeof(text), "%.*s", (int)name_len, name);
	l = tm_child(x->p, parent, text);
	for (size_t i = 0; l && i < x->in.n_links; i++)
		if (x->in.links[i].id == l->id)
			return false;
	return l != NULL;
}

/* Case alone; what Unicode has to it is another test's (name_fold). */
static char *op_fold(const char *name, size_t name_len, size_t *out_len)
{
	char *folded = xstrndup(name, name_len);

	for (size_t i = 0; i < name_len; i++)
		folded[i] = (char)tolower((unsigned char)folded[i]);
	*out_len = name_len;
	return folded;
}

/* ---- carrying out */

static void put_link(struct tm_tree *m, uint64_t id, uint64_t parent, const char *name, size_t len, uint64_t child)
{
	char text[256];

	snprintf(text, sizeof(text), "%.*s", (int)len, name);
	tm_add_link(m, id, parent, text, child);
}

/* The number that a clone gets. */
static uint64_t made(uint64_t ino)
{
	return ino >= RS_CLONE ? 6000 + (ino & ~RS_CLONE) : ino;
}

static void carry_links(const struct input *x, const struct rs_result *r, struct tm_tree *m)
{
	for (size_t i = 0; i < r->n_links; i++) {
		const struct rs_link_out *l = &r->links[i];

		if (l->pos.present)
			put_link(m, l->id, made(l->pos.parent), l->pos.name, l->pos.name_len, l->child);
	}
	for (uint32_t i = 0; i < x->p->n_links; i++) {
		const struct tm_link *l = &x->p->links[i];
		bool listed = false;

		for (size_t k = 0; k < r->n_links && !listed; k++)
			listed = r->links[k].id == l->id;
		if (!listed)
			put_link(m, l->id, l->parent, l->name, strlen(l->name), l->child);
	}
}

/* Of both sides' versions and the file that they took the place of. */
static void carry_save(struct input *x, struct tm_tree *m, const struct rs_save *save)
{
	const struct tm_inode *b = tm_inode(x->b, save->ino_b), *p = tm_inode(x->p, save->ino_p),
			      *s = tm_inode(x->s, save->ino_s);
	struct tm_inode *n = add_inode(m, *p);

	for (uint32_t i = 0; i < TM_ATTRS; i++)
		if (p->attr[i] == b->attr[i] || (p->attr[i] == 0 && s->attr[i] != b->attr[i]))
			n->attr[i] = s->attr[i];
	for (uint32_t i = 0; i < x->n_merged; i++)
		if (x->merged[i].ino == p->ino) {
			n->n_data = x->merged[i].n_data;
			memcpy(n->data, x->merged[i].data, sizeof(n->data));
		}
	m->united[m->n_united++] = save->ino_b;
}

static void carry_inode(struct input *x, struct tm_tree *m, uint64_t ino)
{
	const struct tm_inode *b = tm_inode(x->b, ino), *p = tm_inode(x->p, ino), *s = tm_inode(x->s, ino);
	struct tm_inode *n;

	if (tm_inode(m, ino) || (!p && !s))
		return;
	if (save_of(x, ino)) {
		carry_save(x, m, save_of(x, ino));
		return;
	}
	n = add_inode(m, p ? *p : *s);
	if (!p || !s || !b)
		return;
	for (uint32_t i = 0; i < TM_ATTRS; i++)
		if (p->attr[i] == b->attr[i])
			n->attr[i] = s->attr[i];
	if (same_data(p, b)) {
		n->n_data = s->n_data;
		memcpy(n->data, s->data, sizeof(n->data));
	}
	for (uint32_t i = 0; i < x->n_merged; i++)
		if (x->merged[i].ino == ino) {
			n->n_data = x->merged[i].n_data;
			memcpy(n->data, x->merged[i].data, sizeof(n->data));
		}
}

static void carry_copies(struct input *x, const struct rs_result *r, struct tm_tree *m)
{
	for (size_t i = 0; i < r->n_copies; i++) {
		const struct rs_copy *c = &r->copies[i];
		struct tm_inode n = *tm_inode(x->s, c->ino);

		n.ino = 5000 + i;
		add_inode(m, n);
		put_link(m, 5000 + i, made(c->parent), c->name, c->name_len, n.ino);
	}
}

static uint32_t attr_at(const struct rs_attr *a)
{
	switch (a->field) {
	case RS_MODE: return TM_A_MODE;
	case RS_OWNER: return TM_A_OWNER;
	case RS_TIMES: return TM_A_TIMES;
	default: return strcmp(a->key, "user.k") == 0 ? TM_A_XATTR : TM_A_XATTR2;
	}
}

static void carry_attrs(struct input *x, const struct rs_result *r, struct tm_tree *m)
{
	for (size_t i = 0; i < r->n_attrs; i++) {
		const struct rs_attr *a = &x->attrs[r->attrs[i].input];
		const struct rs_save *save = save_of(x, a->ino);
		const struct tm_inode *s = tm_inode(x->s, save ? save->ino_s : a->ino);
		struct tm_inode *n = tm_inode(m, a->ino);
		uint32_t at = attr_at(a);

		if (!n)
			continue;
		if (r->attrs[i].keep_other)
			n->kept[at] = s->attr[at];
		n->attr[at] = r->attrs[i].take_p ? tm_inode(x->p, a->ino)->attr[at] : s->attr[at];
	}
}

/* Before carry_inode, which would take them for what nobody has. */
static void carry_clones(struct input *x, const struct rs_result *r, struct tm_tree *m)
{
	for (size_t i = 0; i < r->n_clones; i++) {
		struct tm_inode n = *tm_inode(x->s, r->clones[i].of);

		n.ino = made(r->clones[i].id);
		add_inode(m, n);
	}
	for (size_t i = 0; i < r->n_clone_links; i++) {
		const struct rs_clone_link *l = &r->clone_links[i];

		if (l->pos.present)
			put_link(m, 7000 + i, made(l->pos.parent), l->pos.name, l->pos.name_len, made(l->child));
	}
}

static void carry_out(struct input *x, const struct rs_result *r, struct tm_tree *m)
{
	tm_init(m);
	carry_links(x, r, m);
	carry_clones(x, r, m);
	for (size_t i = 0; i < r->n_kept; i++)
		if (tm_inode(x->p, r->kept[i]) && !tm_inode(m, r->kept[i]))
			add_inode(m, *tm_inode(x->p, r->kept[i]));
	for (uint32_t i = 0; i < m->n_links; i++)
		carry_inode(x, m, m->links[i].child);
	carry_copies(x, r, m);
	carry_attrs(x, r, m);
}

static void write_notes(const struct rs_result *r, char *notes, size_t size)
{
	size_t at = 0;

	notes[0] = '\0';
	for (size_t i = 0; i < r->n_notes && at < size; i++)
		at += (size_t)snprintf(notes + at, size - at, "%s%s/%s", i ? " " : "", r->notes[i].kind,
			r->notes[i].outcome);
}

static void prepare(struct input *x, const struct tm_tree *b, const struct tm_tree *p, const struct tm_tree *s,
	const struct tm_merge_opts *opts, enum rs_prefer prefer)
{
	unsigned seed = opts->shuffle;

	x->in = (struct rs_input){ .root = TM_ROOT, .node_p = opts->node_p, .node_s = opts->node_s, .prefer = prefer };
	x->b = b;
	x->p = p;
	x->s = s;
	x->n_attrs = x->n_merged = 0;
	add_inodes(x, b);
	add_inodes(x, p);
	add_inodes(x, s);
	add_links(x, b);
	add_links(x, p);
	add_links(x, s);
	if (!opts->whole)
		make_sparse(x);
	if (seed) {
		shuffle(x->links, x->in.n_links, sizeof(x->links[0]), &seed);
		shuffle(x->inodes, x->in.n_inodes, sizeof(x->inodes[0]), &seed);
		shuffle(x->attrs, x->n_attrs, sizeof(x->attrs[0]), &seed);
	}
	x->in.links = x->links;
	x->in.inodes = x->inodes;
	x->in.attrs = x->attrs;
	x->in.n_attrs = x->n_attrs;
	x->in.ops = (struct rs_ops){ .ctx = x, .same_file = op_same_file, .content = op_content, .equal = op_equal,
		.name_taken = op_name_taken, .fold = op_fold };
}

int tm_merge(const struct tm_tree *b, const struct tm_tree *p, const struct tm_tree *s,
	const struct tm_merge_opts *opts,
	     struct tm_tree *m, char *notes, size_t notes_size)
{
	static struct input x;
	struct rs_result r;
	uint64_t *units;
	size_t n_units;
	int rc;

	prepare(&x, b, p, s, opts, RS_PREFER_NONE);
	n_units = resolve_units(&x.in, &units);
	free(units);
	rc = resolve_saves(&x.in, &x.saves, &x.n_saves);
	if (n_units > 0)
		x.n_saves = 0; /* as the merge does: docs/merging.md */
	for (size_t i = 0; rc == 0 && i < x.n_saves; i++)
		decide_save(&x, &x.saves[i]);
	x.in.saves = x.saves;
	x.in.n_saves = x.n_saves;
	x.in.n_attrs = x.n_attrs;
	if (rc == 0)
		rc = resolve(&x.in, &r);
	if (rc < 0) {
		free(x.saves);
		return rc;
	}
	carry_out(&x, &r, m);
	free(x.saves);
	if (notes)
		write_notes(&r, notes, notes_size);
	resolve_release(&r);
	return 0;
}

/* ---- laws */

const char *tm_invalid(const struct tm_tree *t)
{
	for (uint32_t i = 0; i < t->n_links; i++) {
		const struct tm_link *l = &t->links[i];
		const struct tm_inode *d = tm_inode(t, l->parent);

		if (!d || d->type != S_IFDIR)
			return "a link's parent is gone";
		if (!tm_inode(t, l->child))
			return "a link's child is gone";
		for (uint32_t k = i + 1; k < t->n_links; k++) {
			if (t->links[k].parent == l->parent && strcmp(t->links[k].name, l->name) == 0)
				return "a name twice in one directory";
			if (t->links[k].id == l->id)
				return "a link twice";
			if (t->links[k].child == l->child && tm_inode(t, l->child)->type == S_IFDIR)
				return "a directory with two places";
		}
	}
	for (uint32_t i = 0; i < t->n_inodes; i++) {
		uint64_t d = t->inodes[i].ino;

		for (uint32_t depth = 0; d != TM_ROOT; depth++) {
			const struct tm_link *l = link_to(t, d);

			if (!l)
				return "an inode without a link";
			if (depth > t->n_inodes)
				return "a loop";
			d = l->parent;
		}
	}
	return NULL;
}

static bool has_token(const struct tm_tree *t, uint32_t token)
{
	for (uint32_t i = 0; i < t->n_inodes; i++) {
		for (uint32_t k = TM_A_XATTR; k < TM_ATTRS; k++)
			if (t->inodes[i].attr[k] == token || t->inodes[i].kept[k] == token)
				return true;
		for (uint32_t k = 0; k < t->inodes[i].n_data; k++)
			if (t->inodes[i].data[k] == token)
				return true;
	}
	return false;
}

static bool has_at(const struct tm_tree *t, uint64_t ino, uint32_t k, uint32_t token)
{
	const struct tm_inode *n = tm_inode(t, ino);

	return n && k < n->n_data && n->data[k] == token;
}

static bool lost_new(const struct tm_tree *b, const struct tm_tree *x, const struct tm_tree *m)
{
	for (uint32_t i = 0; i < x->n_inodes; i++) {
		const struct tm_inode *n = &x->inodes[i];
		bool gone = n->type == S_IFDIR && !tm_inode(m, n->ino); /* a directory's do not bring it back */

		for (uint32_t k = TM_A_XATTR; k < TM_ATTRS && !gone; k++)
			if (n->attr[k] && !has_token(b, n->attr[k]) && !has_token(m, n->attr[k]))
				return true;
		for (uint32_t k = 0; k < n->n_data; k++)
			if (!has_token(b, n->data[k]) && !has_token(m, n->data[k]))
				return true;
	}
	return false;
}

static uint32_t n_links_to(const struct tm_tree *t, uint64_t ino)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < t->n_links; i++)
		n += t->links[i].child == ino;
	return n;
}

static bool inode_has(const struct tm_tree *t, uint64_t ino, uint32_t token)
{
	const struct tm_inode *n = tm_inode(t, ino);

	for (uint32_t k = 0; n && k < n->n_data; k++)
		if (n->data[k] == token)
			return true;
	return false;
}

/* In one file, or by one name. */
static bool have_in_one_place(const struct tm_tree *p, const struct tm_tree *s, uint32_t token)
{
	for (uint32_t i = 0; i < p->n_links; i++) {
		const struct tm_link *l = &p->links[i];

		if (!inode_has(p, l->child, token))
			continue;
		if (inode_has(s, l->child, token))
			return true;
		for (uint32_t k = 0; k < s->n_links; k++)
			if (s->links[k].parent == l->parent && strcmp(s->links[k].name, l->name) == 0 &&
			    inode_has(s, s->links[k].child, token))
				return true;
	}
	return false;
}

/* What both still have somewhere, also in a file saved anew. (Of a file with two names one side may have removed what
 * the other left at the one name, and the other way round at the other. So of one that both saved and kept as a backup,
 * if one wrote to the backup.) */
static bool lost_old(const struct tm_tree *b, const struct tm_tree *p, const struct tm_tree *s, const struct tm_tree *m)
{
	for (uint32_t i = 0; i < b->n_inodes; i++)
		for (uint32_t k = 0; k < b->inodes[i].n_data; k++) {
			uint32_t token = b->inodes[i].data[k];

			if (n_links_to(b, b->inodes[i].ino) == 1 && have_in_one_place(p, s, token) &&
			    !has_token(m, token))
				return true;
		}
	return false;
}

const char *tm_loss(const struct tm_tree *b, const struct tm_tree *p, const struct tm_tree *s, const struct tm_tree *m)
{
	if (lost_old(b, p, s, m))
		return "something that both still have is lost";
	if (lost_new(b, p, m))
		return "something the primary wrote is lost";
	if (lost_new(b, s, m))
		return "something the secondary wrote is lost";
	for (uint32_t i = 0; i < b->n_inodes; i++) {
		const struct tm_inode *n = &b->inodes[i];

		for (uint32_t k = 0; k < n->n_data; k++)
			if (has_at(p, n->ino, k, n->data[k]) && has_at(s, n->ino, k, n->data[k]) && !has_token(m,
				n->data[k]))
				return "something that nobody touched is lost";
	}
	return NULL;
}

/* Is this directory of y inside a directory that y moved and x deleted? */
static bool in_moved(const struct tm_tree *b, const struct tm_tree *x, const struct tm_tree *y, uint64_t dir)
{
	while (dir != TM_ROOT) {
		const struct tm_link *l = link_to(y, dir), *old = link_to(b, dir);

		if (old && !tm_inode(x, dir) && (old->parent != l->parent || strcmp(old->name, l->name) != 0))
			return true;
		dir = l->parent;
	}
	return false;
}

/* Must n of y live although x deleted it? */
static bool excused(const struct tm_tree *b, const struct tm_tree *x, const struct tm_tree *y, const struct tm_inode *n)
{
	for (uint32_t i = 0; i < y->n_links; i++) {
		const struct tm_link *l = &y->links[i], *old = tm_link(b, l->id);

		if (l->child != n->ino)
			continue;
		if (!old || old->parent != l->parent || strcmp(old->name, l->name) != 0 || in_moved(b, x, y, l->parent))
			return true;
	}
	return changed_content(tm_inode(b, n->ino), n);
}

static bool was_united(const struct tm_tree *m, uint64_t ino)
{
	for (uint32_t i = 0; i < m->n_united; i++)
		if (m->united[i] == ino)
			return true;
	return false;
}

/* Is a name of it in a unit? */
static bool in_unit(const struct tm_tree *t, uint64_t ino)
{
	for (uint32_t i = 0; i < t->n_links; i++)
		for (uint64_t d = t->links[i].parent; t->links[i].child == ino && d != TM_ROOT;
		     d = link_to(t, d)->parent)
			if (link_to(t, d)->name[0] == 'u')
				return true;
	return false;
}

/* Is a directory of y above it in a unit of x? Then y's is whole where y has it: what it did there is to be found. */
static bool dir_in_unit(const struct tm_tree *x, const struct tm_tree *y, uint64_t ino)
{
	for (uint32_t i = 0; i < y->n_links; i++)
		for (uint64_t d = y->links[i].parent; y->links[i].child == ino && d != TM_ROOT;
		     d = link_to(y, d)->parent)
			if (in_unit(x, d))
				return true;
	return false;
}

static const char *deleted(const struct tm_tree *b, const struct tm_tree *x, const struct tm_tree *y,
	const struct tm_tree *m)
{
	for (uint32_t i = 0; i < b->n_inodes; i++) {
		uint64_t ino = b->inodes[i].ino;
		const struct tm_inode *n = tm_inode(y, ino);

		if (tm_inode(x, ino) || !n || n->type == S_IFDIR || in_unit(b, ino) || in_unit(y, ino) ||
		    dir_in_unit(x, y, ino) || was_united(m, ino))
			continue; /* a unit comes back whole, and what is in it may live on in a clone */
		if (tm_inode(m, ino) && !excused(b, x, y, n))
			return "a deleted file is back though nobody changed it";
		if (!tm_inode(m, ino) && excused(b, x, y, n))
			return "a deleted file is gone though it was changed or moved elsewhere";
	}
	return NULL;
}

const char *tm_wrong_deletion(const struct tm_tree *b, const struct tm_tree *p, const struct tm_tree *s,
	const struct tm_tree *m)
{
	const char *bad = deleted(b, p, s, m);

	return bad ? bad : deleted(b, s, p, m);
}

static int inode_cmp(const void *a, const void *b)
{
	const struct tm_inode *x = a, *y = b;

	return (x->ino > y->ino) - (x->ino < y->ino);
}

static int link_cmp(const void *a, const void *b)
{
	const struct tm_link *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

bool tm_equal(const struct tm_tree *a, const struct tm_tree *b)
{
	static struct tm_tree x, y;

	if (a->n_inodes != b->n_inodes || a->n_links != b->n_links)
		return false;
	x = *a;
	y = *b;
	qsort(x.inodes, x.n_inodes, sizeof(x.inodes[0]), inode_cmp);
	qsort(y.inodes, y.n_inodes, sizeof(y.inodes[0]), inode_cmp);
	qsort(x.links, x.n_links, sizeof(x.links[0]), link_cmp);
	qsort(y.links, y.n_links, sizeof(y.links[0]), link_cmp);
	for (uint32_t i = 0; i < x.n_inodes; i++) {
		const struct tm_inode *p = &x.inodes[i], *q = &y.inodes[i];

		if (p->ino != q->ino || p->type != q->type || memcmp(p->attr, q->attr, sizeof(p->attr)) != 0 ||
		    memcmp(p->kept, q->kept, sizeof(p->kept)) != 0 || !same_data(p, q))
			return false;
	}
	for (uint32_t i = 0; i < x.n_links; i++) {
		const struct tm_link *p = &x.links[i], *q = &y.links[i];

		if (p->id != q->id || p->parent != q->parent || p->child != q->child || strcmp(p->name, q->name) != 0)
			return false;
	}
	return true;
}

static int data_cmp(const void *a, const void *b)
{
	const struct tm_inode *x = a, *y = b;

	if (x->n_data != y->n_data)
		return x->n_data < y->n_data ? -1 : 1;
	return memcmp(x->data, y->data, x->n_data * sizeof(x->data[0]));
}

static uint32_t files_sorted(const struct tm_tree *t, struct tm_inode *out)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < t->n_inodes; i++)
		if (t->inodes[i].type != S_IFDIR)
			out[n++] = t->inodes[i];
	qsort(out, n, sizeof(*out), data_cmp);
	return n;
}

bool tm_same_contents(const struct tm_tree *a, const struct tm_tree *b)
{
	static struct tm_inode x[TM_INODES], y[TM_INODES];
	uint32_t n = files_sorted(a, x);

	if (files_sorted(b, y) != n)
		return false;
	for (uint32_t i = 0; i < n; i++)
		if (!same_data(&x[i], &y[i]))
			return false;
	return true;
}

/* ---- for people */

struct lines {
	char *line[256];
	size_t n;
};

static void token_text(uint32_t t, char out[16])
{
	if (t < 1000)
		snprintf(out, 16, "%u", t);
	else
		snprintf(out, 16, "%c%u", t < 2000 ? 'x' : 'y', t % 100); /* of a side's second hundred too */
}

static const char *start_of(uint32_t type)
{
	switch (type) {
	case S_IFDIR: return "/";
	case S_IFLNK: return "->";
	case S_IFIFO: return "=fifo";
	case S_IFSOCK: return "=socket";
	case S_IFCHR: return "=device";
	default: return "=";
	}
}

/* With attributes it ends in {mode,owner,times,xattr,other xattr}, those that there are: "m:x1", and for an xattr
 * "k:x1/y1", the other value that is kept. */
static char *contents(const struct tm_inode *n, bool attrs)
{
	char *s = xstrdup(start_of(n->type)), *more, token[16], kept[16];
	bool any = false;

	for (uint32_t i = 0; i < n->n_data; i++) {
		token_text(n->data[i], token);
		more = xasprintf("%s%s%s", s, i ? "." : "", token);
		free(s);
		s = more;
	}
	for (uint32_t i = 0; i < TM_ATTRS && attrs; i++) {
		if (!n->attr[i])
			continue;
		token_text(n->attr[i], token);
		token_text(n->kept[i], kept);
		more = xasprintf("%s%c%c:%s%s%s", s, any ? ',' : '{', "motkl"[i], token, n->kept[i] ? "/" : "",
			n->kept[i] ? kept : "");
		free(s);
		s = more;
		any = true;
	}
	more = xasprintf("%s%s", s, any ? "}" : "");
	free(s);
	return more;
}

/* path=contents of everything in it; a conflict name's suffix is shown as ~NODE. */
static void list(const struct tm_tree *t, uint64_t dir, const char *prefix, bool attrs, struct lines *out)
{
	for (uint32_t i = 0; i < t->n_links; i++) {
		const struct tm_link *l = &t->links[i];
		const struct tm_inode *n = tm_inode(t, l->child);
		char *tail, *path = xasprintf("%s%s", prefix, l->name), *what;
		char *tag = strstr(path + strlen(prefix), ".conflict-");

		if (l->parent != dir) {
			free(path);
			continue;
		}
		if (tag) {
			tail = tag + strlen(".conflict-x-19700101-000000");
			tag[0] = '~';
			tag[1] = tag[strlen(".conflict-")];
			memmove(tag + 2, tail, strlen(tail) + 1);
		}
		what = contents(n, attrs);
		out->line[out->n++] = xasprintf("%s%s", path, what);
		free(what);
		if (n->type == S_IFDIR) {
			what = xasprintf("%s/", path);
			list(t, n->ino, what, attrs, out);
			free(what);
		}
		free(path);
	}
}

static int line_cmp(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool in_lines(const struct lines *x, const char *line, size_t len)
{
	for (size_t i = 0; i < x->n; i++)
		if (strncmp(x->line[i], line, len) == 0 &&
		    (line[len] || x->line[i][len] == '\0' || x->line[i][len] == '{'))
			return true;
	return false;
}

static char *text_of(const struct tm_tree *t, uint64_t dir)
{
	struct lines l = { .n = 0 };
	char *text = xstrdup("");

	list(t, dir, "", false, &l);
	qsort(l.line, l.n, sizeof(l.line[0]), line_cmp);
	for (size_t i = 0; i < l.n; i++) {
		char *longer = xasprintf("%s%s\n", text, l.line[i]);

		free(text);
		free(l.line[i]);
		text = longer;
	}
	return text;
}

static bool has_text(const struct tm_tree *t, const char *want)
{
	bool found = false;

	for (uint32_t i = 0; i < t->n_inodes && !found; i++) {
		char *text = t->inodes[i].type == S_IFDIR ? text_of(t, t->inodes[i].ino) : NULL;

		found = text && strcmp(text, want) == 0;
		free(text);
	}
	return found;
}

const char *tm_mixed(const struct tm_tree *p, const struct tm_tree *s, const struct tm_tree *m)
{
	for (uint32_t i = 0; i < m->n_links; i++) {
		const struct tm_link *l = &m->links[i];
		bool whole;
		char *text;

		if (l->name[0] != 'u' || tm_inode(m, l->child)->type != S_IFDIR || in_unit(m, l->child))
			continue;
		if (in_unit(p, l->child) || in_unit(s, l->child))
			continue; /* one that a side has in another unit is merged as names are: docs/merging.md */
		text = text_of(m, l->child);
		whole = has_text(p, text) || has_text(s, text);
		free(text);
		if (!whole)
			return "a unit is a mix of two";
	}
	return NULL;
}

void tm_diff(const struct tm_tree *base, const struct tm_tree *t, uint64_t dir, char *out, size_t size)
{
	struct lines old = { .n = 0 }, new = { .n = 0 };
	size_t at = 0;

	out[0] = '\0';
	list(base, dir, "", true, &old);
	list(t, dir, "", true, &new);
	qsort(old.line, old.n, sizeof(old.line[0]), line_cmp);
	qsort(new.line, new.n, sizeof(new.line[0]), line_cmp);
	for (size_t i = 0; i < old.n && at < size; i++) {
		size_t path = strcspn(old.line[i], "=>"); /* a directory's line ends in its slash */

		if (old.line[i][path] != '\0')
			path++;
		if (!in_lines(&new, old.line[i], path))
			at += (size_t)snprintf(out + at, size - at, "%s-%.*s", at ? " " : "",
					       (int)(path - (old.line[i][path - 1] == '=')), old.line[i]);
	}
	for (size_t i = 0; i < new.n && at < size; i++)
		if (!in_lines(&old, new.line[i], strlen(new.line[i])))
			at += (size_t)snprintf(out + at, size - at, "%s%s", at ? " " : "", new.line[i]);
	for (size_t i = 0; i < old.n; i++)
		free(old.line[i]);
	for (size_t i = 0; i < new.n; i++)
		free(new.line[i]);
}

const char *tm_law_broken(const struct tm_tree *b, const struct tm_tree *p, const struct tm_tree *s,
	unsigned shuffle)
{
	static struct tm_tree m, again;
	struct tm_merge_opts o = { .node_p = "p", .node_s = "s" };
	const char *bad;

	if (tm_merge(b, p, s, &o, &m, NULL, 0) < 0)
		return "refused";
	bad = tm_invalid(&m);
	if (bad == NULL)
		bad = tm_loss(b, p, s, &m);
	if (bad == NULL)
		bad = tm_wrong_deletion(b, p, s, &m);
	if (bad == NULL)
		bad = tm_mixed(p, s, &m);
	if (bad || shuffle == 0)
		return bad;
	o.shuffle = shuffle;
	if (tm_merge(b, p, s, &o, &again, NULL, 0) < 0 || !tm_equal(&m, &again))
		return "the order of the input matters";
	o.whole = true;
	if (tm_merge(b, p, s, &o, &again, NULL, 0) < 0 || !tm_equal(&m, &again))
		return "what did not change matters";
	if (tm_merge(b, s, p, &o, &again, NULL, 0) < 0 || !tm_same_contents(&m, &again))
		return "which contents survive depends on the roles";
	o.whole = false;
	if (tm_merge(&m, &m, &m, &o, &again, NULL, 0) < 0 || !tm_equal(&m, &again))
		return "the result is not stable";
	return NULL;
}

/* ---- one side is preferred */

static bool goes_aside(const struct rs_result *r, uint64_t ino, bool link)
{
	for (size_t i = 0; i < r->n_asides; i++)
		if (r->asides[i].ino == ino && (r->asides[i].link != 0) == link)
			return true;
	return false;
}

static bool is_alias(const struct rs_result *r, uint64_t ino)
{
	for (size_t i = 0; i < r->n_aliases; i++)
		if (!r->aliases[i].is_link && r->aliases[i].src == ino)
			return true;
	return false;
}

static const char *result_link_wrong(const struct rs_result *r, const struct tm_tree *kept)
{
	for (size_t i = 0; i < r->n_links; i++) {
		const struct rs_pos want = pos_in(kept, r->links[i].id), *got = &r->links[i].pos;

		if (got->present != want.present || (got->present && (got->parent != want.parent ||
			got->name_len != want.name_len || memcmp(got->name, want.name, want.name_len) != 0)))
			return "a link is not where the side has it that is preferred";
	}
	return r->n_notes + r->n_copies + r->n_aliases ? "something was to be decided" : NULL;
}

static const char *aside_wrong(const struct input *x, const struct rs_result *r, const struct tm_tree *other)
{
	for (size_t i = 0; i < r->n_asides; i++) {
		const struct rs_aside *a = &r->asides[i];
		const struct tm_link *l = NULL;

		for (uint32_t k = 0; k < other->n_links; k++)
			if (other->links[k].parent == a->parent && strlen(other->links[k].name) == a->name_len &&
			    memcmp(other->links[k].name, a->name, a->name_len) == 0)
				l = &other->links[k];
		if (!l || l->child != a->ino || (a->link && a->link != l->id))
			return "what goes aside was not there";
	}
	for (size_t i = 0; i < r->n_attrs; i++) {
		const struct rs_attr_out *o = &r->attrs[i];
		const struct rs_attr *a = &x->attrs[o->input];

		if (a->late)
			continue;
		if (o->note || o->keep_other)
			return "an attribute is noted";
		if (!a->equal && o->take_p != (x->in.prefer == RS_PREFER_P))
			return "an attribute is not as the side has it that is preferred";
	}
	return NULL;
}

/* All that the other side made or changed is in the result or aside. */
static const char *other_lost(const struct tm_tree *b, const struct tm_tree *kept, const struct tm_tree *other,
	const struct rs_result *r, const struct tm_tree *m)
{
	for (uint32_t i = 0; i < other->n_inodes; i++) {
		const struct tm_inode *n = &other->inodes[i], *k = tm_inode(kept, n->ino);
		bool same = k && same_data(n, k) && same_xattrs(n, k);

		if (!changed_content(tm_inode(b, n->ino), n) || n->ino == TM_ROOT)
			continue;
		if (!tm_inode(m, n->ino) && !goes_aside(r, n->ino, true) && !is_alias(r, n->ino))
			return "a file that the other side made is lost";
		for (uint32_t i_data = 0; i_data < n->n_data; i_data++)
			if (!has_token(b, n->data[i_data]) && !has_token(m, n->data[i_data]) &&
			    !goes_aside(r, n->ino, false) && !goes_aside(r, n->ino, true))
				return "what the other side wrote is lost";
		if (same && goes_aside(r, n->ino, false))
			return "a version goes aside that is no other";
	}
	return NULL;
}

static void list_asides(const struct rs_result *r, const struct tm_tree *other, char *out, size_t size)
{
	struct lines all = { .n = 0 };
	size_t at = 0;

	for (size_t i = 0; i < r->n_asides; i++) {
		const struct rs_aside *a = &r->asides[i];
		char *path = xasprintf("%.*s%s", a->name_len, a->name, a->link ? "" : "=");

		for (uint64_t d = a->parent; d != TM_ROOT; d = link_to(other, d)->parent) {
			char *longer = xasprintf("%s/%s", link_to(other, d)->name, path);

			free(path);
			path = longer;
		}
		all.line[all.n++] = path;
	}
	qsort(all.line, all.n, sizeof(all.line[0]), line_cmp);
	out[0] = '\0';
	for (size_t i = 0; i < all.n; i++) {
		if (at < size)
			at += (size_t)snprintf(out + at, size - at, "%s%s", at ? " " : "", all.line[i]);
		free(all.line[i]);
	}
}

/* What differs from what the other side had at the word is not under it. */
static bool mark_late(struct input *x, const struct tm_tree *at_word, const struct tm_tree *other)
{
	bool any = false;

	for (size_t i = 0; i < x->in.n_links; i++) {
		struct rs_pos then = pos_in(at_word, x->links[i].id), now = pos_in(other, x->links[i].id);

		x->links[i].late = !same_pos(&then, &now);
		any |= x->links[i].late;
	}
	for (size_t i = 0; i < x->in.n_inodes; i++) {
		uint64_t ino = x->inodes[i].ino;
		const struct tm_inode *then = tm_inode(at_word, ino), *now = tm_inode(other, ino);

		x->inodes[i].late = now && (!then || !same_data(then, now) || !same_xattrs(then, now));
		any |= x->inodes[i].late;
	}
	return any;
}

/* Of units and saves there are none then. */
static bool finds_any(struct input *x)
{
	struct rs_save *saves;
	uint64_t *units;
	size_t n_saves, n_units = resolve_units(&x->in, &units);
	bool any = resolve_saves(&x->in, &saves, &n_saves) < 0 || n_saves + n_units > 0;

	free(units);
	free(saves);
	return any;
}

const char *tm_prefer_broken(const struct tm_tree *b, const struct tm_tree *kept, const struct tm_tree *at_word,
	const struct tm_tree *other, bool kept_is_p, unsigned shuffle, char *asides, size_t size)
{
	const struct tm_merge_opts o = { .node_p = "p", .node_s = "s", .shuffle = shuffle, .whole = shuffle % 3 == 2 };
	static struct input x;
	static struct tm_tree m;
	struct rs_result r;
	const char *bad;
	bool late;

	prepare(&x, b, kept_is_p ? kept : other, kept_is_p ? other : kept, &o,
		kept_is_p ? RS_PREFER_P : RS_PREFER_S);
	late = mark_late(&x, at_word, other);
	if (finds_any(&x))
		return "a unit or a save was found";
	if (resolve(&x.in, &r) < 0)
		return "refused";
	carry_out(&x, &r, &m);
	bad = late ? NULL : result_link_wrong(&r, kept);
	if (bad == NULL)
		bad = tm_invalid(&m);
	if (bad == NULL)
		bad = aside_wrong(&x, &r, other);
	if (bad == NULL)
		bad = other_lost(b, kept, other, &r, &m);
	if (asides)
		list_asides(&r, other, asides, size);
	resolve_release(&r);
	return bad;
}
