/* SPDX-License-Identifier: MIT */
#include "sync/record_private.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "util/acl.h"
#include "util/util.h"

static const struct {
	enum frame_type type;
	const char *word;
} words[] = {
	{ FRAME_HELLO, "HELLO" },
	{ FRAME_HEARTBEAT, "HEARTBEAT" },
	{ FRAME_BYE, "BYE" },
	{ FRAME_CREDIT, "CREDIT" },
	{ FRAME_SHIP_BEGIN, "SHIP_BEGIN" },
	{ FRAME_SHIP_END, "SHIP_END" },
	{ FRAME_INODE, "INODE" },
	{ FRAME_LINK, "LINK" },
	{ FRAME_XATTR, "XATTR" },
	{ FRAME_DATA, "DATA" },
	{ FRAME_HOLE, "HOLE" },
	{ FRAME_LOST, "LOST" },
	{ FRAME_CONFLICT, "CONFLICT" },
	{ FRAME_LINEAGE, "LINEAGE" },
	{ FRAME_SKIP, "SKIP" },
	{ FRAME_STAGED, "STAGED" },
	{ FRAME_VERIFY, "VERIFY" },
	{ FRAME_HEAL, "HEAL" },
};

const char *frame_type_word(enum frame_type type)
{
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (words[i].type == type)
			return words[i].word;
	return NULL;
}

uint32_t record_sum(const uint8_t *body, size_t len_bytes)
{
	return (uint32_t)XXH3_64bits(body, len_bytes);
}

/* ---- what is legal ---------------------------------------------------------------------------------------------- */

static bool all_of(const char *s, const char *extra)
{
	for (; *s; s++) {
		bool alnum = (*s >= '0' && *s <= '9') || (*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z');

		if (!alnum && !strchr(extra, *s))
			return false;
	}
	return true;
}

static bool node_name_ok(const char *s)
{
	return *s && all_of(s, "._-");
}

static bool one_of(const char *s, const char *const *list)
{
	for (; *list; list++)
		if (!strcmp(s, *list))
			return true;
	return false;
}

static bool text_ok(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return false;
	return true;
}

static const char *judge_hello(const struct rec_hello *h)
{
	if (h->version == 0)
		return "version is 0";
	if (h->version != PROTOCOL_VERSION)
		return NULL; /* its other fields are not known here */
	if (strlen(h->volume_id) != 36 || !all_of(h->volume_id, "-"))
		return "volume id is not a uuid";
	if (strlen(h->node_id) != 32 || !all_of(h->node_id, ""))
		return "node id is not 32 hex digits";
	if (!node_name_ok(h->node_name))
		return "node name has bytes that are not allowed";
	if (h->slot == 0)
		return "slot is 0";
	if (h->role > ROLE_SECONDARY)
		return "role is unknown";
	if (h->prefer_keep > ROLE_SECONDARY || (h->prefer_id != 0) != (h->prefer_keep != ROLE_NONE))
		return "the side to be preferred is unknown";
	return NULL;
}

static const char *judge_inode(const struct rec_inode *r)
{
	const uint32_t all = REC_NEW | REC_CONTENT | REC_MODE | REC_OWNER | REC_TIMES | REC_STAGED;
	const uint32_t type = r->mode & S_IFMT;
	bool link_target = (r->fields & REC_NEW) && type == S_IFLNK;

	if (r->ino == 0)
		return "inode number is 0";
	if (r->fields == 0 || (r->fields & ~all))
		return "fields are unknown";
	if ((r->fields & REC_STAGED) && (!(r->fields & REC_CONTENT) || type != S_IFREG))
		return "fields do not go together";
	if (type != S_IFREG && type != S_IFDIR && type != S_IFLNK && type != S_IFIFO && type != S_IFSOCK &&
	    type != S_IFCHR && type != S_IFBLK)
		return "mode has no file type";
	if (r->mode & ~(uint32_t)(S_IFMT | 07777))
		return "mode has unknown bits";
	if (r->size_bytes > FILE_MAX_BYTES)
		return "size is out of range";
	if (r->shrunk_to > FILE_MAX_BYTES && r->shrunk_to != UINT64_MAX)
		return "shrunk size is out of range";
	if (r->target_len > SYMLINK_MAX_BYTES || (r->target_len > 0) != link_target)
		return "symlink target has a wrong length";
	if (strnlen(r->target, r->target_len) != r->target_len)
		return "symlink target has a NUL";
	return NULL;
}

static const char *judge_name(const char *name, size_t len)
{
	if (len == 0)
		return "name is empty";
	if (memchr(name, '\0', len))
		return "name has a NUL";
	if (memchr(name, '/', len))
		return "name has a slash";
	if ((len == 1 && name[0] == '.') || (len == 2 && name[0] == '.' && name[1] == '.'))
		return "name is . or ..";
	return NULL;
}

static const char *judge_link(const struct rec_link *r)
{
	const char *why;

	if (r->link == 0)
		return "link id is 0";
	if (r->child == 0)
		return "child is 0";
	why = r->parent == 0 && r->name_len == 0 ? NULL : judge_name(r->name, r->name_len);
	if (!why && r->report > 1)
		return "a flag is neither 0 nor 1";
	return why;
}

static const char *judge_xattr(const struct rec_xattr *r)
{
	if (r->ino == 0)
		return "inode number is 0";
	if (!r->key[0])
		return "key is empty";
	if (r->removed > 1)
		return "removed is neither 0 nor 1";
	if (r->value_len > XATTR_VALUE_MAX_BYTES || (r->removed && r->value_len > 0))
		return "value has a wrong length";
	if (acl_is_key(r->key) && !r->removed && acl_check(r->value, r->value_len) != 0)
		return "value is no valid ACL";
	return NULL;
}

static const char *judge_range(const struct rec_data *r, uint64_t max_bytes)
{
	if (r->ino == 0)
		return "inode number is 0";
	if (r->len_bytes == 0 || r->len_bytes > max_bytes)
		return "length is out of range";
	if (r->off > FILE_MAX_BYTES || r->len_bytes > FILE_MAX_BYTES - r->off)
		return "range goes beyond the largest file";
	return NULL;
}

static const char *judge_staged(const struct rec_staged *r)
{
	const char *bad = r->n == 0 || r->n > STAGED_MAX_RANGES ? "count is out of range" : NULL;

	for (unsigned i = 0; !bad && i < r->n; i++)
		bad = judge_range(&(struct rec_data){ .ino = r->ranges[i].ino, .off = r->ranges[i].off,
						      .len_bytes = r->ranges[i].len_bytes }, FILE_MAX_BYTES);
	return bad;
}

static const char *judge_verify(const struct rec_verify *r)
{
	bool known = (r->op >= VERIFY_MARK && r->op <= VERIFY_END) || (r->op >= VERIFY_AT && r->op <= VERIFY_OVER);

	if (!known)
		return "question is unknown";
	if (r->table >= DIGEST_TABLES)
		return "table is unknown";
	if (r->run == 0)
		return "number of the comparison is 0";
	if (r->n > VERIFY_MAX_ITEMS)
		return "count is out of range";
	for (unsigned i = 1; r->op == VERIFY_LISTED && i < r->n; i++)
		if (r->items[i].id <= r->items[i - 1].id)
			return "ids do not ascend";
	return r->op == VERIFY_LIST && r->a > r->b ? "ids run backwards" : NULL;
}

static const char *judge_heal(const struct rec_heal *r)
{
	if (r->op != HEAL_ASK && r->op != HEAL_BYTES && r->op != HEAL_NONE)
		return "question is unknown";
	if (r->ino == 0)
		return "id is 0";
	return r->block > FILE_MAX_BYTES / HEAL_BLOCK_BYTES ? "block is out of range" : NULL;
}

static const char *judge_conflict(const struct conflict *c)
{
	static const char *const kinds[] = { "content", "name", "move", "delete", "attribute", "xattr", NULL };
	static const char *const outcomes[] = { "kept-both", "merged", "primary", "secondary", "restored", NULL };

	if (c->id == 0)
		return "id is 0";
	if (!one_of(c->kind, kinds))
		return "kind is unknown";
	if (!one_of(c->outcome, outcomes))
		return "outcome is unknown";
	for (int i = 0; i < 2; i++)
		if (c->version[i].node[0] && !node_name_ok(c->version[i].node))
			return "node name has bytes that are not allowed";
	return NULL;
}

const char *record_judge(const struct frame *f)
{
	switch (f->type) {
	case FRAME_HELLO:
		return judge_hello(&f->hello);
	case FRAME_HEARTBEAT:
	case FRAME_CREDIT:
		return NULL;
	case FRAME_BYE:
		if (f->bye.planned > 1)
			return "planned is neither 0 nor 1";
		return text_ok(f->bye.reason) ? NULL : "reason has control characters";
	case FRAME_SHIP_BEGIN:
		if (f->begin.from > f->begin.to)
			return "groups run backwards";
		return f->begin.wants_ack & ~SHIP_FLAGS_ALL ? "flags are unknown" : NULL;
	case FRAME_SHIP_END:
		return NULL;
	case FRAME_INODE:
		return judge_inode(&f->inode);
	case FRAME_LINK:
		return judge_link(&f->link);
	case FRAME_XATTR:
		return judge_xattr(&f->xattr);
	case FRAME_DATA:
		return judge_range(&f->data, DATA_MAX_BYTES);
	case FRAME_HOLE:
	case FRAME_LOST:
		return judge_range(&f->data, FILE_MAX_BYTES);
	case FRAME_CONFLICT:
		return judge_conflict(&f->conflict.c);
	case FRAME_LINEAGE:
		if (f->lineage.src == 0 || f->lineage.dst == 0)
			return "id is 0";
		if (!f->lineage.kind || !strchr("lacbu", f->lineage.kind))
			return "kind is unknown";
		return f->lineage.kind == 'u' || f->lineage.since == 0 ? NULL : "since is of another kind";
	case FRAME_SKIP:
		if (f->skip.id == 0)
			return "id is 0";
		return f->skip.is_link > 1 || f->skip.unknown > 1 ? "a flag is neither 0 nor 1" : NULL;
	case FRAME_STAGED:
		return judge_staged(&f->staged);
	case FRAME_VERIFY:
		return judge_verify(&f->verify);
	case FRAME_HEAL:
		return judge_heal(&f->heal);
	}
	return "type is unknown";
}
