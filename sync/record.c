/* SPDX-License-Identifier: MIT */
#include "sync/record.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>
#include <zstd.h>

#include "util/log.h"
#include "util/util.h"

#define LEN_BYTES 4u
#define SUM_BYTES 4u
/* type and sum: what even an empty frame holds behind its length */
#define BODY_MIN_BYTES (1u + SUM_BYTES)
/* Texts of a conflict, for people: three paths of this length and a rule still fit into one frame. */
#define RULE_MAX_BYTES 4095u
#define PATH_MAX_BYTES 65535u
/* Below this zstd's own header and the time are not worth it. */
#define COMPRESS_MIN_BYTES 256u

enum coding { CODING_PLAIN = 0, CODING_ZSTD = 1 };

static const struct {
	enum frame_type type;
	const char *word;
} words[] = {
	{ FRAME_HELLO, "HELLO" }, { FRAME_HEARTBEAT, "HEARTBEAT" }, { FRAME_BYE, "BYE" }, { FRAME_CREDIT, "CREDIT" },
	{ FRAME_SHIP_BEGIN, "SHIP_BEGIN" }, { FRAME_SHIP_END, "SHIP_END" }, { FRAME_INODE, "INODE" }, { FRAME_LINK, "LINK" },
	{ FRAME_XATTR, "XATTR" }, { FRAME_DATA, "DATA" }, { FRAME_HOLE, "HOLE" }, { FRAME_CONFLICT, "CONFLICT" },
	{ FRAME_LINEAGE, "LINEAGE" }, { FRAME_SKIP, "SKIP" },
};

const char *frame_type_word(enum frame_type type)
{
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (words[i].type == type)
			return words[i].word;
	return NULL;
}

/* ---- what is legal: one judge for what we send and what we are sent; NULL or what is wrong ------------------- */

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
	if (h->version > PROTOCOL_VERSION)
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
	return NULL;
}

static const char *judge_inode(const struct rec_inode *r)
{
	const uint32_t all = REC_NEW | REC_CONTENT | REC_MODE | REC_OWNER | REC_TIMES;
	const uint32_t type = r->mode & S_IFMT;
	bool link_target = (r->fields & REC_NEW) && type == S_IFLNK;

	if (r->ino == 0)
		return "inode number is 0";
	if (r->fields == 0 || (r->fields & ~all))
		return "fields are unknown";
	if (type != S_IFREG && type != S_IFDIR && type != S_IFLNK && type != S_IFIFO && type != S_IFSOCK && type != S_IFCHR &&
	    type != S_IFBLK)
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
	if (r->link == 0)
		return "link id is 0";
	if (r->child == 0)
		return "child is 0";
	if (r->parent == 0 && r->name_len == 0)
		return NULL;
	return judge_name(r->name, r->name_len);
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

static const char *judge(const struct frame *f)
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
		return judge_range(&f->data, FILE_MAX_BYTES);
	case FRAME_CONFLICT:
		return judge_conflict(&f->conflict.c);
	case FRAME_LINEAGE:
		if (f->lineage.src == 0 || f->lineage.dst == 0)
			return "id is 0";
		return f->lineage.kind && strchr("lacb", f->lineage.kind) ? NULL : "kind is unknown";
	case FRAME_SKIP:
		if (f->skip.id == 0)
			return "id is 0";
		return f->skip.is_link > 1 || f->skip.unknown > 1 ? "a flag is neither 0 nor 1" : NULL;
	}
	return "type is unknown";
}

/* ---- encoding --------------------------------------------------------------------------------------------------- */

static void put_le(struct buf *b, uint64_t v, size_t n_bytes)
{
	uint8_t raw[8];

	for (size_t i = 0; i < n_bytes; i++)
		raw[i] = (uint8_t)(v >> (8 * i));
	buf_append(b, raw, n_bytes);
}

static void put_u8(struct buf *b, uint8_t v) { put_le(b, v, 1); }
static void put_u16(struct buf *b, uint16_t v) { put_le(b, v, 2); }
static void put_u32(struct buf *b, uint32_t v) { put_le(b, v, 4); }
static void put_u64(struct buf *b, uint64_t v) { put_le(b, v, 8); }

/* u16 length and bytes; NULL as "". */
static void put_text(struct buf *b, const char *s, size_t max_bytes)
{
	size_t len = s ? strnlen(s, max_bytes) : 0;

	put_u16(b, (uint16_t)len);
	buf_append(b, s, len);
}

static void put_hello(struct buf *b, const struct rec_hello *h)
{
	put_u32(b, h->version);
	put_text(b, h->volume_id, 36);
	put_text(b, h->node_id, 32);
	put_text(b, h->node_name, 32);
	put_u16(b, h->slot);
	put_u8(b, h->role);
	put_u64(b, h->generation);
	put_u64(b, h->committed);
	put_u64(b, h->applied);
	put_u64(b, h->applied_id);
	put_u64(b, h->committed_id);
}

static void put_begin(struct buf *b, const struct rec_ship_begin *r)
{
	put_u64(b, r->from);
	put_u64(b, r->to);
	put_u64(b, r->to_id);
	put_u64(b, r->seen);
	put_u64(b, r->entries);
	put_u64(b, r->data_bytes);
	put_u8(b, r->wants_ack);
}

static void put_inode(struct buf *b, const struct rec_inode *r)
{
	put_u64(b, r->ino);
	put_u32(b, r->fields);
	put_u64(b, r->seen_content);
	put_u64(b, r->seen_mode);
	put_u64(b, r->seen_owner);
	put_u64(b, r->seen_times);
	put_u32(b, r->mode);
	put_u32(b, r->uid);
	put_u32(b, r->gid);
	put_u32(b, r->rdev);
	put_u64(b, r->size_bytes);
	put_u64(b, r->shrunk_to);
	put_u64(b, (uint64_t)r->atime_ns);
	put_u64(b, (uint64_t)r->mtime_ns);
	put_u64(b, (uint64_t)r->ctime_ns);
	put_u16(b, r->target_len);
	buf_append(b, r->target, r->target_len);
}

static void put_link(struct buf *b, const struct rec_link *r)
{
	put_u64(b, r->link);
	put_u64(b, r->child);
	put_u64(b, r->seen);
	put_u64(b, r->parent);
	put_u8(b, r->name_len);
	buf_append(b, r->name, r->name_len);
}

static void put_xattr(struct buf *b, const struct rec_xattr *r)
{
	put_u64(b, r->ino);
	put_u64(b, r->seen);
	put_u8(b, r->removed);
	put_text(b, r->key, XATTR_NAME_MAX_BYTES);
	put_u32(b, r->value_len);
	buf_append(b, r->value, r->value_len);
}

static pthread_key_t compressor_key;

static void compressor_free(void *p) { ZSTD_freeCCtx(p); }

static void compressor_key_make(void)
{
	int rc = pthread_key_create(&compressor_key, compressor_free);

	assert(rc == 0);
	(void)rc;
}

/* One per thread: making it anew costs more than to compress a small record. NULL: do without. */
static ZSTD_CCtx *compressor(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	ZSTD_CCtx *c;

	pthread_once(&once, compressor_key_make);
	c = pthread_getspecific(compressor_key);
	if (!c) {
		c = ZSTD_createCCtx();
		if (c && pthread_setspecific(compressor_key, c)) {
			ZSTD_freeCCtx(c);
			c = NULL;
		}
	}
	return c;
}

/* Appends the bytes compressed if that saves at least an eighth; false: nothing was appended. */
static bool put_compressed(struct buf *b, const struct rec_data *r)
{
	const size_t room = r->len_bytes - r->len_bytes / 8;
	size_t start = b->len_bytes, n;
	ZSTD_CCtx *c;
	void *to;

	if (r->len_bytes < COMPRESS_MIN_BYTES)
		return false;
	c = compressor();
	to = c ? buf_extend(b, 1 + room) : NULL;
	if (!to)
		return false;
	*(uint8_t *)to = CODING_ZSTD;
	n = ZSTD_compressCCtx(c, (uint8_t *)to + 1, room, r->data, r->len_bytes, 1);
	b->len_bytes = ZSTD_isError(n) ? start : start + 1 + n; /* the one error to expect: it did not fit */
	return !ZSTD_isError(n);
}

static void put_data(struct buf *b, const struct rec_data *r)
{
	put_u64(b, r->ino);
	put_u64(b, r->off);
	put_u32(b, (uint32_t)r->len_bytes);
	if (put_compressed(b, r))
		return;
	put_u8(b, CODING_PLAIN);
	buf_append(b, r->data, r->len_bytes);
}

static void put_conflict(struct buf *b, const struct conflict *c)
{
	put_u64(b, c->id);
	put_text(b, c->kind, sizeof(c->kind) - 1);
	put_text(b, c->outcome, sizeof(c->outcome) - 1);
	put_text(b, c->rule, RULE_MAX_BYTES);
	put_text(b, c->path, PATH_MAX_BYTES);
	put_u64(b, c->ino);
	put_u64(b, c->when_ms);
	put_u8(b, c->resolved);
	for (int i = 0; i < 2; i++) {
		put_text(b, c->version[i].node, 32);
		put_text(b, c->version[i].path, PATH_MAX_BYTES);
		put_u64(b, c->version[i].ino);
		put_u64(b, c->version[i].written_ms);
	}
}

static void put_bye(struct buf *b, const struct rec_bye *r)
{
	struct rec_bye clean = *r;

	for (char *s = clean.reason; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			*s = ' ';
	put_u8(b, clean.planned);
	put_text(b, clean.reason, sizeof(clean.reason) - 1);
}

static void put_payload(struct buf *b, const struct frame *f)
{
	switch (f->type) {
	case FRAME_HELLO:
		put_hello(b, &f->hello);
		break;
	case FRAME_HEARTBEAT:
		break;
	case FRAME_BYE:
		put_bye(b, &f->bye);
		break;
	case FRAME_CREDIT:
		put_u64(b, f->credit.received_bytes);
		break;
	case FRAME_SHIP_BEGIN:
		put_begin(b, &f->begin);
		break;
	case FRAME_SHIP_END:
		put_u64(b, f->end.to);
		put_u64(b, f->end.frames);
		break;
	case FRAME_INODE:
		put_inode(b, &f->inode);
		break;
	case FRAME_LINK:
		put_link(b, &f->link);
		break;
	case FRAME_XATTR:
		put_xattr(b, &f->xattr);
		break;
	case FRAME_DATA:
		put_data(b, &f->data);
		break;
	case FRAME_HOLE:
		put_u64(b, f->data.ino);
		put_u64(b, f->data.off);
		put_u64(b, f->data.len_bytes);
		break;
	case FRAME_CONFLICT:
		put_conflict(b, &f->conflict.c);
		break;
	case FRAME_LINEAGE:
		put_u64(b, f->lineage.src);
		put_u64(b, f->lineage.dst);
		put_u8(b, (uint8_t)f->lineage.kind);
		break;
	case FRAME_SKIP:
		put_u64(b, f->skip.id);
		put_u8(b, f->skip.is_link);
		put_u8(b, f->skip.unknown);
		break;
	}
}

/* The sum of type and payload. */
static uint32_t sum_of(const uint8_t *body, size_t len_bytes)
{
	return (uint32_t)XXH3_64bits(body, len_bytes);
}

/* Control characters in a reason are ours to blank; everything else must be right. */
static void assert_legal(const struct frame *f)
{
	const char *bad = f->type == FRAME_BYE ? NULL : judge(f);

	if (bad)
		log_error("a frame %s was to be sent in which the %s", frame_type_word(f->type), bad);
	assert(!bad);
}

int frame_encode(struct buf *out, const struct frame *f)
{
	const size_t start = out->len_bytes;
	size_t body;

	assert_legal(f);
	put_u32(out, 0);
	put_u8(out, (uint8_t)f->type);
	put_payload(out, f);
	if (!out->failed) {
		body = out->len_bytes - start - LEN_BYTES;
		put_u32(out, sum_of(out->data + start + LEN_BYTES, body));
	}
	if (out->failed) {
		out->len_bytes = start;
		return out->failed;
	}
	body = out->len_bytes - start - LEN_BYTES;
	assert(body + LEN_BYTES <= FRAME_MAX_BYTES);
	for (size_t i = 0; i < LEN_BYTES; i++)
		out->data[start + i] = (uint8_t)(body >> (8 * i));
	return 0;
}

/* ---- decoding --------------------------------------------------------------------------------------------------- */

/* What is left of a payload. Reading past the end gives zeros and sets `bad`: one check at the end serves all reads. */
struct cursor {
	const uint8_t *at, *end;
	const char *bad;
};

static const uint8_t *take(struct cursor *c, size_t n_bytes)
{
	const uint8_t *p = c->at;

	if (c->bad)
		return NULL;
	if (n_bytes > (size_t)(c->end - c->at)) {
		c->bad = "payload is too short";
		return NULL;
	}
	c->at += n_bytes;
	return p;
}

static uint64_t get_le(struct cursor *c, size_t n_bytes)
{
	const uint8_t *p = take(c, n_bytes);
	uint64_t v = 0;

	for (size_t i = 0; p && i < n_bytes; i++)
		v |= (uint64_t)p[i] << (8 * i);
	return v;
}

static uint8_t get_u8(struct cursor *c) { return (uint8_t)get_le(c, 1); }
static uint16_t get_u16(struct cursor *c) { return (uint16_t)get_le(c, 2); }
static uint32_t get_u32(struct cursor *c) { return (uint32_t)get_le(c, 4); }
static uint64_t get_u64(struct cursor *c) { return get_le(c, 8); }

/* len_bytes raw bytes and a NUL into out[cap_bytes]. */
static void get_bytes(struct cursor *c, char *out, size_t cap_bytes, size_t len_bytes)
{
	const uint8_t *p;

	out[0] = '\0';
	if (!c->bad && len_bytes >= cap_bytes)
		c->bad = "text is too long";
	p = take(c, len_bytes);
	if (!p)
		return;
	memcpy(out, p, len_bytes);
	out[len_bytes] = '\0';
}

/* A text with its length in front, into out[cap_bytes]. */
static void get_text(struct cursor *c, char *out, size_t cap_bytes)
{
	size_t len = get_u16(c);

	get_bytes(c, out, cap_bytes, len);
	if (!c->bad && strlen(out) != len)
		c->bad = "text has a NUL";
}

/* The same, malloc'd; NULL when empty and `maybe`, or bad. */
static char *get_text_dup(struct cursor *c, size_t max_bytes, bool maybe)
{
	size_t len = get_u16(c);
	const uint8_t *p;

	if (!c->bad && len > max_bytes)
		c->bad = "text is too long";
	p = take(c, len);
	if (p && memchr(p, '\0', len))
		c->bad = "text has a NUL";
	if (c->bad || (maybe && len == 0))
		return NULL;
	return xstrndup((const char *)p, len);
}

static void get_hello(struct cursor *c, struct rec_hello *h)
{
	h->version = get_u32(c);
	if (h->version > PROTOCOL_VERSION) {
		c->at = c->end;
		return;
	}
	get_text(c, h->volume_id, sizeof(h->volume_id));
	get_text(c, h->node_id, sizeof(h->node_id));
	get_text(c, h->node_name, sizeof(h->node_name));
	h->slot = get_u16(c);
	h->role = get_u8(c);
	h->generation = get_u64(c);
	h->committed = get_u64(c);
	h->applied = get_u64(c);
	h->applied_id = get_u64(c);
	h->committed_id = get_u64(c);
}

static void get_begin(struct cursor *c, struct rec_ship_begin *r)
{
	r->from = get_u64(c);
	r->to = get_u64(c);
	r->to_id = get_u64(c);
	r->seen = get_u64(c);
	r->entries = get_u64(c);
	r->data_bytes = get_u64(c);
	r->wants_ack = get_u8(c);
}

static void get_inode(struct cursor *c, struct rec_inode *r)
{
	r->ino = get_u64(c);
	r->fields = get_u32(c);
	r->seen_content = get_u64(c);
	r->seen_mode = get_u64(c);
	r->seen_owner = get_u64(c);
	r->seen_times = get_u64(c);
	r->mode = get_u32(c);
	r->uid = get_u32(c);
	r->gid = get_u32(c);
	r->rdev = get_u32(c);
	r->size_bytes = get_u64(c);
	r->shrunk_to = get_u64(c);
	r->atime_ns = (int64_t)get_u64(c);
	r->mtime_ns = (int64_t)get_u64(c);
	r->ctime_ns = (int64_t)get_u64(c);
	r->target_len = get_u16(c);
	get_bytes(c, r->target, sizeof(r->target), r->target_len);
}

static void get_link(struct cursor *c, struct rec_link *r)
{
	r->link = get_u64(c);
	r->child = get_u64(c);
	r->seen = get_u64(c);
	r->parent = get_u64(c);
	r->name_len = get_u8(c);
	get_bytes(c, r->name, sizeof(r->name), r->name_len);
}

static void get_xattr(struct cursor *c, struct rec_xattr *r)
{
	r->ino = get_u64(c);
	r->seen = get_u64(c);
	r->removed = get_u8(c);
	get_text(c, r->key, sizeof(r->key));
	r->value_len = get_u32(c);
	r->value = take(c, r->value_len);
}

static void get_data(struct cursor *c, struct rec_data *r, uint8_t *scratch)
{
	uint8_t coding;
	size_t left, n;

	r->ino = get_u64(c);
	r->off = get_u64(c);
	r->len_bytes = get_u32(c);
	coding = get_u8(c);
	if (c->bad)
		return;
	left = (size_t)(c->end - c->at);
	if (r->len_bytes > DATA_MAX_BYTES) {
		c->bad = "length is out of range";
	} else if (coding == CODING_PLAIN) {
		if (left != r->len_bytes)
			c->bad = "bytes do not match the length";
		r->data = c->at;
	} else if (coding == CODING_ZSTD) {
		n = ZSTD_decompress(scratch, r->len_bytes, c->at, left);
		if (ZSTD_isError(n) || n != r->len_bytes)
			c->bad = "bytes do not decompress";
		r->data = scratch;
	} else {
		c->bad = "coding is unknown";
	}
	c->at = c->end;
}

static void get_conflict(struct cursor *c, struct conflict *r)
{
	uint8_t resolved;

	r->id = get_u64(c);
	get_text(c, r->kind, sizeof(r->kind));
	get_text(c, r->outcome, sizeof(r->outcome));
	r->rule = get_text_dup(c, RULE_MAX_BYTES, false);
	r->path = get_text_dup(c, PATH_MAX_BYTES, false);
	r->ino = get_u64(c);
	r->when_ms = get_u64(c);
	resolved = get_u8(c);
	if (!c->bad && resolved > 1)
		c->bad = "resolved is neither 0 nor 1";
	r->resolved = resolved == 1;
	for (int i = 0; i < 2; i++) {
		get_text(c, r->version[i].node, sizeof(r->version[i].node));
		r->version[i].path = get_text_dup(c, PATH_MAX_BYTES, true);
		r->version[i].ino = get_u64(c);
		r->version[i].written_ms = get_u64(c);
	}
}

static void get_payload(struct cursor *c, struct frame *f, uint8_t *scratch)
{
	switch (f->type) {
	case FRAME_HELLO:
		get_hello(c, &f->hello);
		break;
	case FRAME_HEARTBEAT:
		break;
	case FRAME_BYE:
		f->bye.planned = get_u8(c);
		get_text(c, f->bye.reason, sizeof(f->bye.reason));
		break;
	case FRAME_CREDIT:
		f->credit.received_bytes = get_u64(c);
		break;
	case FRAME_SHIP_BEGIN:
		get_begin(c, &f->begin);
		break;
	case FRAME_SHIP_END:
		f->end.to = get_u64(c);
		f->end.frames = get_u64(c);
		break;
	case FRAME_INODE:
		get_inode(c, &f->inode);
		break;
	case FRAME_LINK:
		get_link(c, &f->link);
		break;
	case FRAME_XATTR:
		get_xattr(c, &f->xattr);
		break;
	case FRAME_DATA:
		get_data(c, &f->data, scratch);
		break;
	case FRAME_HOLE:
		f->data.ino = get_u64(c);
		f->data.off = get_u64(c);
		f->data.len_bytes = get_u64(c);
		break;
	case FRAME_CONFLICT:
		get_conflict(c, &f->conflict.c);
		break;
	case FRAME_LINEAGE:
		f->lineage.src = get_u64(c);
		f->lineage.dst = get_u64(c);
		f->lineage.kind = (char)get_u8(c);
		break;
	case FRAME_SKIP:
		f->skip.id = get_u64(c);
		f->skip.is_link = get_u8(c);
		f->skip.unknown = get_u8(c);
		break;
	}
	if (!c->bad && c->at != c->end)
		c->bad = "bytes behind the last field";
}

static uint32_t load_u32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

ssize_t frame_peek(const uint8_t *data, size_t len, enum frame_type *type, struct err *err)
{
	uint32_t body;

	if (len < LEN_BYTES)
		return 0;
	body = load_u32(data);
	if (body < BODY_MIN_BYTES || body > FRAME_MAX_BYTES - LEN_BYTES)
		return err_set(err, -EBADMSG, "the peer sent a frame of %u bytes, which none can have; the stream is damaged",
			       body);
	if (len < LEN_BYTES + 1)
		return 0;
	*type = (enum frame_type)data[LEN_BYTES];
	if (!frame_type_word(*type))
		return err_set(err, -EBADMSG, "the peer sent a frame of unknown type %u; is its program newer?", data[LEN_BYTES]);
	return len < LEN_BYTES + body ? 0 : (ssize_t)(LEN_BYTES + body);
}

/* Every payload is small but DATA, INODE and CONFLICT; clear only what the type has, a whole struct frame is 4 KiB. */
static void clear(struct frame *f)
{
	if (f->type == FRAME_INODE)
		memset(&f->inode, 0, offsetof(struct rec_inode, target) + 1);
	else if (f->type == FRAME_CONFLICT)
		memset(&f->conflict, 0, sizeof(f->conflict));
	else
		memset(&f->hello, 0, MAX(sizeof(f->xattr), MAX(sizeof(f->link), sizeof(f->bye))));
}

ssize_t frame_decode(const uint8_t *data, size_t len, struct frame *f, uint8_t *scratch, struct err *err)
{
	ssize_t n = frame_peek(data, len, &f->type, err);
	struct cursor c;
	const char *bad;

	if (n <= 0)
		return n;
	c = (struct cursor){ .at = data + LEN_BYTES + 1, .end = data + n - SUM_BYTES };
	clear(f);
	if (load_u32(c.end) != sum_of(data + LEN_BYTES, (size_t)n - LEN_BYTES - SUM_BYTES))
		return err_set(err, -EBADMSG, "frame %s from the peer: the sum is wrong", frame_type_word(f->type));
	get_payload(&c, f, scratch);
	bad = c.bad ? c.bad : judge(f);
	if (bad) {
		frame_release(f);
		return err_set(err, -EBADMSG, "frame %s from the peer: %s", frame_type_word(f->type), bad);
	}
	return n;
}

void frame_release(struct frame *f)
{
	struct conflict *c = &f->conflict.c;

	if (f->type != FRAME_CONFLICT)
		return;
	free(c->rule);
	free(c->path);
	free(c->version[0].path);
	free(c->version[1].path);
	memset(c, 0, sizeof(*c));
}
