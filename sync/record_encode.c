/* SPDX-License-Identifier: MIT */
#include "sync/record_private.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>
#include <zstd.h>

#include "util/log.h"
#include "util/util.h"

/* Below this zstd's own header and the time are not worth it. */
#define COMPRESS_MIN_BYTES 256u

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
	put_u32(b, h->staged);
	put_u64(b, h->prefer_id);
	put_u64(b, h->prefer_taken);
	put_u8(b, h->prefer_keep);
}

static void put_verify(struct buf *b, const struct rec_verify *r)
{
	put_u8(b, r->op);
	put_u8(b, r->table);
	put_u64(b, r->run);
	put_u64(b, r->a);
	put_u64(b, r->b);
	put_u64(b, r->sum);
	put_text(b, r->path, VERIFY_PATH_MAX_BYTES);
	put_u16(b, r->n);
	for (unsigned i = 0; i < r->n; i++) {
		put_u64(b, r->items[i].id);
		put_u64(b, r->items[i].sum);
	}
}

static void put_heal(struct buf *b, const struct rec_heal *r)
{
	put_u8(b, r->op);
	put_u64(b, r->ino);
	put_u64(b, r->block);
	put_u64(b, r->sum);
	if (r->op == HEAL_BYTES)
		buf_append(b, r->data, HEAL_BLOCK_BYTES);
}

static void put_staged(struct buf *b, const struct rec_staged *r)
{
	put_u64(b, r->group);
	put_u64(b, r->id);
	put_u16(b, r->n);
	for (unsigned i = 0; i < r->n; i++) {
		put_u64(b, r->ranges[i].ino);
		put_u64(b, r->ranges[i].off);
		put_u64(b, r->ranges[i].len_bytes);
	}
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
	put_u8(b, r->report);
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
		put_text(b, c->version[i].value, VALUE_MAX_BYTES);
	}
	put_u64(b, c->base);
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
	case FRAME_LOST:
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
		put_u64(b, f->lineage.since);
		break;
	case FRAME_SKIP:
		put_u64(b, f->skip.id);
		put_u8(b, f->skip.is_link);
		put_u8(b, f->skip.unknown);
		break;
	case FRAME_STAGED:
		put_staged(b, &f->staged);
		break;
	case FRAME_VERIFY:
		put_verify(b, &f->verify);
		break;
	case FRAME_HEAL:
		put_heal(b, &f->heal);
		break;
	}
}

/* Control characters in a reason are ours to blank; everything else must be right. */
static void assert_legal(const struct frame *f)
{
	const char *bad = f->type == FRAME_BYE ? NULL : record_judge(f);

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
		put_u32(out, record_sum(out->data + start + LEN_BYTES, body));
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
