/* SPDX-License-Identifier: MIT */
#include "tests/fake_engine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/damage.h"
#include "sync/record.h"
#include "util/util.h"

#define PIECE_BYTES (64u << 10)

struct engine {
	struct volume *v;
	_Atomic int phase;
	bool hello_due, peer_told, bye, bye_planned;
	uint64_t to_ack, told_ack;
	char bye_reason[256];
};

void volume_set_dirty(struct volume *v, void (*fn)(void *ctx), void *ctx)
{
	v->dirty = fn;
	v->dirty_ctx = ctx;
}

void volume_info(struct volume *v, struct volume_info *out)
{
	(void)v;
	memset(out, 0, sizeof(*out));
}

void volume_space(struct volume *v, struct volume_space *out)
{
	*out = (struct volume_space){ .free_bytes = v->free_bytes };
}

uint64_t engine_room_wanted(const struct engine *e)
{
	return e->v->wanted_bytes;
}

int volume_commit(struct volume *v)
{
	v->commits++;
	return 0;
}

void fake_write(struct volume *v, uint64_t bytes)
{
	v->to_send += bytes;
	v->dirty(v->dirty_ctx);
}

struct engine *engine_new(struct volume *v)
{
	struct engine *e = xcalloc(1, sizeof(*e));

	e->v = v;
	return e;
}

void engine_set_driver(struct engine *e, const struct driver *driver)
{
	(void)e;
	(void)driver;
}

void engine_confirm_deletions(struct engine *e)
{
	(void)e;
}

void engine_make_room(struct engine *e)
{
	(void)e;
}

/* Nobody compares anything here. */
struct verify *engine_verify(struct engine *e)
{
	(void)e;
	return NULL;
}

void verify_set_kick(struct verify *f, void (*kick)(void *ctx), void *ctx)
{
	(void)f;
	(void)kick;
	(void)ctx;
}

/* Nothing is damaged here. */
void damage_set_kick(struct volume *v, void (*kick)(void *ctx), void *ctx)
{
	(void)v;
	(void)kick;
	(void)ctx;
}

void engine_free(struct engine *e)
{
	free(e);
}

void engine_up(struct engine *e, uint64_t now_ms)
{
	(void)now_ms;
	e->phase = ENGINE_HELLO;
	e->hello_due = true;
	e->bye = e->peer_told = false;
	e->v->ups++;
	e->v->sent = e->v->acked_by_peer; /* what was on its way is lost */
	e->to_ack = e->v->received;
	e->told_ack = UINT64_MAX;
}

void engine_down(struct engine *e)
{
	e->phase = ENGINE_DOWN;
	e->v->downs++;
}

static uint8_t pattern(uint64_t piece)
{
	return (uint8_t)(piece * 131 + 7);
}

static void take_data(struct engine *e, const struct rec_data *d)
{
	if (e->v->receive_ms)
		usleep(e->v->receive_ms * 1000);
	if (d->off != e->v->received || d->data[0] != pattern(d->off / PIECE_BYTES) ||
	    d->data[d->len_bytes - 1] != d->data[0])
		e->v->wrong++;
	e->v->received = d->off + d->len_bytes;
	e->to_ack = e->v->received;
}

int engine_receive(struct engine *e, const uint8_t *frame, size_t len_bytes, uint64_t now_ms, struct err *err)
{
	static _Thread_local uint8_t scratch[DATA_MAX_BYTES];
	struct frame f;

	(void)now_ms;
	if (frame_decode(frame, len_bytes, &f, scratch, err) != (ssize_t)len_bytes)
		return err->code;
	if (f.type == FRAME_HELLO && e->v->receive_fails)
		return err_set(err, e->v->receive_fails, "both nodes are primary; demote one");
	if (f.type == FRAME_HELLO) {
		e->phase = ENGINE_STREAM;
	} else if (f.type == FRAME_DATA && e->v->free_bytes < e->v->wanted_bytes) {
		return err_set(err, -ENOSPC, "no room for the peer's changes");
	} else if (f.type == FRAME_DATA) {
		take_data(e, &f.data);
	} else if (f.type == FRAME_SKIP) {
		e->v->acked_by_peer = f.skip.id - 1;
		e->v->sent = MAX(e->v->sent, e->v->acked_by_peer);
		e->peer_told = true;
	} else if (f.type == FRAME_BYE) {
		e->bye = true;
		e->bye_planned = f.bye.planned;
		strcpy(e->bye_reason, f.bye.reason);
	}
	return 0;
}

static void put(struct buf *out, const struct frame *f)
{
	if (frame_encode(out, f))
		abort();
}

static void put_data(struct engine *e, struct buf *out)
{
	uint8_t bytes[PIECE_BYTES];
	uint64_t at = e->v->sent;
	struct frame f = { .type = FRAME_DATA };

	/* not compressible but cheap: what counts is that the first and last byte tell the piece */
	memset(bytes, 0, 64);
	for (size_t i = 0; i < sizeof(bytes); i += 4)
		memcpy(bytes + i, &(uint32_t){ (uint32_t)(i * 2654435761u) ^ (uint32_t)(at * 40503u) }, 4);
	f.data = (struct rec_data){
		.ino = 1, .off = at, .len_bytes = MIN(e->v->to_send - at, sizeof(bytes)), .data = bytes
	};
	bytes[0] = bytes[f.data.len_bytes - 1] = pattern(at / PIECE_BYTES);
	put(out, &f);
	e->v->sent = at + f.data.len_bytes;
}

ssize_t engine_pull(struct engine *e, struct buf *out, size_t want_bytes, struct err *err)
{
	size_t start = out->len_bytes;

	(void)err;
	if (e->hello_due) {
		struct frame f = { .type = FRAME_HELLO };

		f.hello = (struct rec_hello){ .version = PROTOCOL_VERSION,
					      .volume_id = "01234567-89ab-cdef-0123-456789abcdef",
					      .node_id = "00112233445566778899aabbccddeeff",
					      .node_name = "peer",
					      .slot = 1,
					      .role = ROLE_PRIMARY };
		put(out, &f);
		e->hello_due = false;
	}
	if (e->phase == ENGINE_STREAM && e->told_ack != e->to_ack) {
		put(out, &(struct frame){ .type = FRAME_SKIP, .skip = { .id = e->to_ack + 1 } });
		e->told_ack = e->to_ack;
	}
	while (e->peer_told && e->v->sent < e->v->to_send && out->len_bytes - start < want_bytes)
		put_data(e, out);
	return (ssize_t)(out->len_bytes - start);
}

int engine_tick(struct engine *e, uint64_t now_ms, struct err *err)
{
	(void)e, (void)now_ms, (void)err;
	return 0;
}

uint64_t engine_deadline(struct engine *e, uint64_t now_ms)
{
	(void)e, (void)now_ms;
	return UINT64_MAX;
}

void engine_bye(struct engine *e, bool planned, const char *reason)
{
	(void)e, (void)planned, (void)reason;
}

bool engine_settled(struct engine *e)
{
	return !e->v->never_settles && e->phase == ENGINE_STREAM && e->v->acked_by_peer == e->v->to_send;
}

const char *engine_unsettled(struct engine *e)
{
	return engine_settled(e) ? "" : "acknowledgement by the fake peer";
}

void engine_hurry(struct engine *e)
{
	e->v->hurries++;
}

void engine_status(struct engine *e, struct engine_status *out)
{
	memset(out, 0, sizeof(*out));
	out->phase = (unsigned)e->phase;
	strcpy(out->peer_node, "peer");
}
