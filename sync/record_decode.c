/* SPDX-License-Identifier: MIT */
#include "sync/record_private.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "util/util.h"

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
	if (h->version != PROTOCOL_VERSION) {
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
	h->staged = get_u32(c);
	h->prefer_id = get_u64(c);
	h->prefer_taken = get_u64(c);
	h->prefer_keep = get_u8(c);
}

static void get_staged(struct cursor *c, struct rec_staged *r, uint8_t *scratch)
{
	struct staged_range *ranges = (struct staged_range *)(void *)scratch;

	_Static_assert(STAGED_MAX_RANGES * sizeof(*ranges) <= DATA_MAX_BYTES, "scratch holds a frame of ranges");
	r->group = get_u64(c);
	r->id = get_u64(c);
	r->n = get_u16(c);
	if (!c->bad && r->n > STAGED_MAX_RANGES)
		c->bad = "count is out of range";
	for (unsigned i = 0; !c->bad && i < r->n; i++) {
		ranges[i].ino = get_u64(c);
		ranges[i].off = get_u64(c);
		ranges[i].len_bytes = get_u64(c);
	}
	r->ranges = ranges;
}

static void get_verify(struct cursor *c, struct rec_verify *r, uint8_t *scratch)
{
	struct digest_item *items = (struct digest_item *)(void *)scratch;

	_Static_assert(VERIFY_MAX_ITEMS * sizeof(*items) <= DATA_MAX_BYTES, "scratch holds a frame of items");
	r->op = get_u8(c);
	r->table = get_u8(c);
	r->run = get_u64(c);
	r->a = get_u64(c);
	r->b = get_u64(c);
	r->sum = get_u64(c);
	get_text(c, r->path, sizeof(r->path));
	r->n = get_u16(c);
	if (!c->bad && r->n > VERIFY_MAX_ITEMS)
		c->bad = "count is out of range";
	for (unsigned i = 0; !c->bad && i < r->n; i++) {
		items[i].id = get_u64(c);
		items[i].sum = get_u64(c);
	}
	r->items = items;
}

static void get_heal(struct cursor *c, struct rec_heal *r)
{
	r->op = get_u8(c);
	r->ino = get_u64(c);
	r->block = get_u64(c);
	r->sum = get_u64(c);
	r->data = r->op == HEAL_BYTES ? take(c, HEAL_BLOCK_BYTES) : NULL;
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
	r->report = get_u8(c);
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
		r->version[i].value = get_text_dup(c, VALUE_MAX_BYTES, true);
	}
	r->base = get_u64(c);
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
	case FRAME_LOST:
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
		f->lineage.since = get_u64(c);
		break;
	case FRAME_SKIP:
		f->skip.id = get_u64(c);
		f->skip.is_link = get_u8(c);
		f->skip.unknown = get_u8(c);
		break;
	case FRAME_STAGED:
		get_staged(c, &f->staged, scratch);
		break;
	case FRAME_VERIFY:
		get_verify(c, &f->verify, scratch);
		break;
	case FRAME_HEAL:
		get_heal(c, &f->heal);
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
		return err_set(err, -EBADMSG,
			       "the peer sent a frame of %u bytes, which none can have; the stream is damaged", body);
	if (len < LEN_BYTES + 1)
		return 0;
	*type = (enum frame_type)data[LEN_BYTES];
	if (!frame_type_word(*type))
		return err_set(err, -EBADMSG, "the peer sent a frame of unknown type %u; is its program newer?",
			       data[LEN_BYTES]);
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
	if (load_u32(c.end) != record_sum(data + LEN_BYTES, (size_t)n - LEN_BYTES - SUM_BYTES))
		return err_set(err, -EBADMSG, "frame %s from the peer: the sum is wrong", frame_type_word(f->type));
	get_payload(&c, f, scratch);
	bad = c.bad ? c.bad : record_judge(f);
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
	free(c->version[0].value);
	free(c->version[1].value);
	memset(c, 0, sizeof(*c));
}
