/* SPDX-License-Identifier: MIT */
#include "tests/tap.h"

#include "sync/record.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <xxhash.h>

#include "util/util.h"

static uint8_t scratch[DATA_MAX_BYTES];
static uint8_t bytes[DATA_MAX_BYTES];

static struct frame hello(void)
{
	struct frame f = { .type = FRAME_HELLO };

	f.hello = (struct rec_hello){ .version = PROTOCOL_VERSION,
				      .volume_id = "01234567-89ab-cdef-0123-456789abcdef",
				      .node_id = "00112233445566778899aabbccddeeff",
				      .node_name = "left.host-1",
				      .slot = 2,
				      .role = ROLE_SECONDARY,
				      .generation = 3,
				      .committed = 4,
				      .applied = 5,
				      .applied_id = 6,
				      .committed_id = UINT64_MAX,
				      .prefer_id = 7,
				      .prefer_taken = 8,
				      .prefer_keep = ROLE_PRIMARY };
	return f;
}

static struct frame inode(void)
{
	struct frame f = { .type = FRAME_INODE };

	f.inode = (struct rec_inode){ .ino = 9, .fields = REC_NEW, .seen_content = 1, .seen_mode = 2, .seen_owner = 3,
		.seen_times = 4, .mode = S_IFLNK | 0777, .uid = 5, .gid = 6, .rdev = 7, .size_bytes = FILE_MAX_BYTES,
		.shrunk_to = UINT64_MAX, .atime_ns = -1, .mtime_ns = INT64_MIN, .ctime_ns = INT64_MAX, .target_len = 6,
		.target = "../a b" };
	return f;
}

static struct frame link_frame(const char *name)
{
	struct frame f = { .type = FRAME_LINK };

	f.link = (struct rec_link){ .link = 1, .child = 2, .seen = 3, .parent = 4, .name_len = (uint8_t)strlen(name) };
	memcpy(f.link.name, name, strlen(name) + 1);
	return f;
}

static struct frame xattr(void)
{
	struct frame f = { .type = FRAME_XATTR };

	f.xattr = (struct rec_xattr){ .ino = 1, .seen = 2, .key = "user.mime", .value_len = XATTR_VALUE_MAX_BYTES,
		.value = bytes };
	return f;
}

static struct frame data(size_t len_bytes)
{
	struct frame f = { .type = FRAME_DATA };

	f.data = (struct rec_data){
		.ino = 1, .off = FILE_MAX_BYTES - len_bytes, .len_bytes = len_bytes, .data = bytes
	};
	return f;
}

static struct frame conflict(void)
{
	struct frame f = { .type = FRAME_CONFLICT };

	f.conflict.c = (struct conflict){ .id = 1, .kind = "content", .outcome = "kept-both", .ino = 2, .when_ms = 3,
		.resolved = true };
	f.conflict.c.rule = xstrdup("both wrote");
	f.conflict.c.path = xstrdup("/a/b");
	f.conflict.c.version[0].path = xstrdup("/a/b");
	strcpy(f.conflict.c.version[0].node, "left");
	strcpy(f.conflict.c.version[1].node, "right");
	f.conflict.c.version[1].ino = 77;
	f.conflict.c.version[1].written_ms = 78;
	return f;
}

static struct frame simple(enum frame_type type)
{
	struct frame f = { .type = type };

	switch (type) {
	case FRAME_BYE:
		f.bye = (struct rec_bye){ .planned = 1, .reason = "maintenance" };
		break;
	case FRAME_CREDIT:
		f.credit.received_bytes = UINT64_MAX;
		break;
	case FRAME_SHIP_BEGIN:
		f.begin = (struct rec_ship_begin){ 1, 2, 3, 4, 5, 6, 1 };
		break;
	case FRAME_SHIP_END:
		f.end = (struct rec_ship_end){ 2, 8 };
		break;
	case FRAME_HOLE:
		f.data = (struct rec_data){ .ino = 1, .off = 0, .len_bytes = FILE_MAX_BYTES };
		break;
	case FRAME_LINEAGE:
		f.lineage = (struct rec_lineage){ 1, 2, 'u', 3 };
		break;
	case FRAME_SKIP:
		f.skip = (struct rec_skip){ 1, 1, 0 };
		break;
	case FRAME_STAGED: {
		static const struct staged_range ranges[] = {
			{ 3, 0, 4096 }, { 3, 8192, 1 }, { 4, 5, FILE_MAX_BYTES - 5 }
		};

		f.staged = (struct rec_staged){ 7, 8, ARRAY_LEN(ranges), ranges };
		break;
	}
	case FRAME_VERIFY: {
		static const struct digest_item items[] = { { 1, 0 }, { 7, UINT64_MAX }, { UINT64_MAX, 3 } };

		f.verify = (struct rec_verify){ .op = VERIFY_LISTED, .table = 1, .run = 5, .a = 6, .b = 7, .sum = 8,
						.n = ARRAY_LEN(items), .items = items, .path = "/a" };
		break;
	}
	case FRAME_HEAL: {
		static const uint8_t block[HEAL_BLOCK_BYTES] = { 1, 2, [HEAL_BLOCK_BYTES - 1] = 3 };

		f.heal = (struct rec_heal){ .op = HEAL_BYTES, .ino = 5, .block = 6, .sum = UINT64_MAX, .data = block };
		break;
	}
	default:
		break;
	}
	return f;
}

#define SAMPLES 18
/* One legal frame of each type, and both codings of DATA. */
static size_t samples(struct frame *out)
{
	size_t n = 0;

	out[n++] = hello();
	out[n++] = simple(FRAME_HEARTBEAT);
	out[n++] = simple(FRAME_BYE);
	out[n++] = simple(FRAME_CREDIT);
	out[n++] = simple(FRAME_SHIP_BEGIN);
	out[n++] = simple(FRAME_SHIP_END);
	out[n++] = inode();
	out[n++] = link_frame("caf\xc3\xa9 \x01\xff");
	out[n++] = xattr();
	out[n++] = data(3);
	out[n++] = data(5000);
	out[n++] = simple(FRAME_HOLE);
	out[n++] = conflict();
	out[n++] = simple(FRAME_LINEAGE);
	out[n++] = simple(FRAME_SKIP);
	out[n++] = simple(FRAME_STAGED);
	out[n++] = simple(FRAME_VERIFY);
	out[n++] = simple(FRAME_HEAL);
	ck_assert_uint_le(n, SAMPLES);
	return n;
}

static void encode(struct buf *b, struct frame f)
{
	buf_init(b, 4 * FRAME_MAX_BYTES);
	ck_assert_int_eq(frame_encode(b, &f), 0);
	frame_release(&f);
}

/* The length and the sum made right again after the body was tampered with. */
static void seal(struct buf *b)
{
	uint32_t body = (uint32_t)b->len_bytes - 4;
	uint32_t sum = (uint32_t)XXH3_64bits(b->data + 4, b->len_bytes - 8);

	memcpy(b->data, &body, 4);
	memcpy(b->data + b->len_bytes - 4, &sum, 4);
}

static void refused(struct buf *b, const char *why)
{
	struct err err = ERR_INIT;
	struct frame f;

	ck_assert_int_eq(frame_decode(b->data, b->len_bytes, &f, scratch, &err), -EBADMSG);
	ck_assert_msg(strstr(err.text, why), "\"%s\" does not say \"%s\"", err.text, why);
	buf_release(b);
}

START_TEST(every_frame_comes_back_as_it_was)
{
	struct frame in[SAMPLES], f;
	size_t n = samples(in);
	struct err err = ERR_INIT;

	for (size_t i = 0; i < n; i++) {
		struct buf b, again;
		ssize_t got;

		buf_init(&b, FRAME_MAX_BYTES);
		ck_assert_int_eq(frame_encode(&b, &in[i]), 0);
		got = frame_decode(b.data, b.len_bytes, &f, scratch, &err);
		ck_assert_msg(got == (ssize_t)b.len_bytes, "type %d: %zd %s", in[i].type, got, err.text);
		ck_assert_int_eq(f.type, in[i].type);
		/* encoding says everything that there is to a frame, so equal encodings mean equal frames */
		buf_init(&again, FRAME_MAX_BYTES);
		ck_assert_int_eq(frame_encode(&again, &f), 0);
		ck_assert_uint_eq(again.len_bytes, b.len_bytes);
		ck_assert_mem_eq(again.data, b.data, b.len_bytes);
		frame_release(&f);
		frame_release(&in[i]);
		buf_release(&b);
		buf_release(&again);
	}
}
END_TEST

START_TEST(fields_come_back_by_name)
{
	struct buf b;
	struct frame f;

	encode(&b, inode());
	ck_assert_int_gt(frame_decode(b.data, b.len_bytes, &f, scratch, NULL), 0);
	ck_assert_uint_eq(f.inode.size_bytes, FILE_MAX_BYTES);
	ck_assert_int_eq(f.inode.mtime_ns, INT64_MIN);
	ck_assert_uint_eq(f.inode.rdev, 7);
	ck_assert_str_eq(f.inode.target, "../a b");
	buf_release(&b);

	encode(&b, conflict());
	ck_assert_int_gt(frame_decode(b.data, b.len_bytes, &f, scratch, NULL), 0);
	ck_assert_str_eq(f.conflict.c.rule, "both wrote");
	ck_assert_str_eq(f.conflict.c.version[1].node, "right");
	ck_assert_ptr_null(f.conflict.c.version[1].path);
	ck_assert_uint_eq(f.conflict.c.version[1].written_ms, 78);
	ck_assert(f.conflict.c.resolved);
	frame_release(&f);
	buf_release(&b);
}
END_TEST

START_TEST(data_is_compressed_only_where_that_pays)
{
	struct frame f;
	struct buf b;

	encode(&b, data(DATA_MAX_BYTES));
	ck_assert_uint_lt(b.len_bytes, DATA_MAX_BYTES / 100);
	ck_assert_int_gt(frame_decode(b.data, b.len_bytes, &f, scratch, NULL), 0);
	ck_assert_ptr_eq(f.data.data, scratch);
	ck_assert_mem_eq(f.data.data, bytes, DATA_MAX_BYTES);
	buf_release(&b);

	random_bytes(bytes, sizeof(bytes));
	encode(&b, data(DATA_MAX_BYTES));
	ck_assert_uint_le(b.len_bytes, FRAME_MAX_BYTES);
	ck_assert_int_gt(frame_decode(b.data, b.len_bytes, &f, scratch, NULL), 0);
	ck_assert_ptr_ne(f.data.data, scratch);
	ck_assert_mem_eq(f.data.data, bytes, DATA_MAX_BYTES);
	buf_release(&b);
}
END_TEST

START_TEST(a_frame_cut_anywhere_is_incomplete_and_never_an_overrun)
{
	struct frame in[SAMPLES], f;
	size_t n = samples(in);

	for (size_t i = 0; i < n; i++) {
		struct buf b;

		encode(&b, in[i]);
		for (size_t len = 0; len < b.len_bytes; len++) {
			uint8_t *exact = malloc(len ? len : 1); /* so that a sanitizer sees the first byte beyond */
			ssize_t got;

			memcpy(exact, b.data, len);
			got = frame_decode(exact, len, &f, scratch, NULL);
			ck_assert_msg(got == 0, "type %d cut at %zu: %zd", f.type, len, got);
			free(exact);
		}
		buf_release(&b);
	}
}
END_TEST

START_TEST(a_payload_cut_anywhere_is_refused)
{
	struct frame in[SAMPLES], f;
	size_t n = samples(in);

	for (size_t i = 0; i < n; i++) {
		struct buf b;

		encode(&b, in[i]);
		while (b.len_bytes > 9) {
			b.len_bytes--;
			seal(&b);
			ck_assert_int_eq(frame_decode(b.data, b.len_bytes, &f, scratch, NULL), -EBADMSG);
		}
		buf_release(&b);
	}
}
END_TEST

START_TEST(every_flipped_bit_is_refused_or_incomplete)
{
	struct frame in[SAMPLES], f;
	size_t n = samples(in);

	for (size_t i = 0; i < n; i++) {
		struct buf b;

		encode(&b, in[i]);
		for (size_t bit = 0; bit < MIN(b.len_bytes, 2000) * 8; bit++) {
			ssize_t got;

			b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
			got = frame_decode(b.data, b.len_bytes, &f, scratch, NULL);
			ck_assert_msg(got == -EBADMSG || got == 0, "type %d bit %zu: %zd", f.type, bit, got);
			b.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
		}
		buf_release(&b);
	}
}
END_TEST

/* ---- a table of frames that are wrong in one field: bytes at `at` of the payload replaced --------------------- */

static const struct tamper {
	const char *name;
	enum frame_type type;
	size_t at;
	uint64_t value;
	unsigned value_bytes;
	const char *why;
} tampers[] = {
	{ "hello of version 0", FRAME_HELLO, 0, 0, 4, "version is 0" },
	{ "volume id too long", FRAME_HELLO, 4, 37, 2, "too long" },
	{ "volume id with a slash", FRAME_HELLO, 6, '/', 1, "not a uuid" },
	{ "volume id with a NUL", FRAME_HELLO, 6, 0, 1, "NUL" },
	{ "node id with a blank", FRAME_HELLO, 44, ' ', 1, "node id" },
	{ "node name with a slash", FRAME_HELLO, 78, '/', 1, "node name" },
	{ "node name with an escape", FRAME_HELLO, 78, 27, 1, "node name" },
	{ "slot 0", FRAME_HELLO, 89, 0, 2, "slot" },
	{ "unknown role", FRAME_HELLO, 91, 3, 1, "role" },
	{ "an unknown side preferred", FRAME_HELLO, 152, 3, 1, "preferred" },
	{ "a word for neither side", FRAME_HELLO, 152, 0, 1, "preferred" },
	{ "planned 2", FRAME_BYE, 0, 2, 1, "planned" },
	{ "reason longer than the frame", FRAME_BYE, 1, 200, 2, "too short" },
	{ "reason longer than its bound", FRAME_BYE, 1, 300, 2, "too long" },
	{ "reason with an escape", FRAME_BYE, 3, 27, 1, "control" },
	{ "groups run backwards", FRAME_SHIP_BEGIN, 0, 3, 8, "backwards" },
	{ "unknown flags", FRAME_SHIP_BEGIN, 48, 8, 1, "flags are unknown" },
	{ "inode 0", FRAME_INODE, 0, 0, 8, "inode number is 0" },
	{ "no fields", FRAME_INODE, 8, 0, 4, "fields" },
	{ "unknown fields", FRAME_INODE, 8, 64, 4, "fields are unknown" },
	{ "staged bytes of what has none", FRAME_INODE, 8, REC_STAGED, 4, "go together" },
	{ "mode without a type", FRAME_INODE, 44, 0777, 4, "no file type" },
	{ "mode with an impossible type", FRAME_INODE, 44, 0170777, 4, "no file type" },
	{ "mode with unknown bits", FRAME_INODE, 44, S_IFLNK | 0x10000, 4, "unknown bits" },
	{ "size beyond the largest", FRAME_INODE, 60, FILE_MAX_BYTES + 1, 8, "size is out" },
	{ "shrunk beyond the largest", FRAME_INODE, 68, FILE_MAX_BYTES + 1, 8, "shrunk" },
	{ "target longer than the frame", FRAME_INODE, 100, 4000, 2, "too short" },
	{ "target longer than its bound", FRAME_INODE, 100, 4096, 2, "too long" },
	{ "target of a file that is no symlink", FRAME_INODE, 44, S_IFREG | 0644, 4, "symlink target" },
	{ "target with a NUL", FRAME_INODE, 103, 0, 1, "NUL" },
	{ "link 0", FRAME_LINK, 0, 0, 8, "link id" },
	{ "child 0", FRAME_LINK, 8, 0, 8, "child" },
	{ "name too long for the frame", FRAME_LINK, 32, 255, 1, "too short" },
	{ "name with a slash", FRAME_LINK, 34, '/', 1, "slash" },
	{ "name with a NUL", FRAME_LINK, 34, 0, 1, "NUL" },
	{ "xattr of inode 0", FRAME_XATTR, 0, 0, 8, "inode number" },
	{ "removed 2", FRAME_XATTR, 16, 2, 1, "removed" },
	{ "removed with a value", FRAME_XATTR, 16, 1, 1, "value" },
	{ "key too long", FRAME_XATTR, 17, 256, 2, "too long" },
	{ "key with a NUL", FRAME_XATTR, 20, 0, 1, "NUL" },
	{ "value longer than the frame", FRAME_XATTR, 28, UINT32_MAX, 4, "too short" },
	{ "data of inode 0", FRAME_DATA, 0, 0, 8, "inode number" },
	{ "data beyond the largest file", FRAME_DATA, 8, FILE_MAX_BYTES - 2, 8, "largest file" },
	{ "data whose end overflows", FRAME_DATA, 8, UINT64_MAX - 1, 8, "largest file" },
	{ "data of 4 GiB", FRAME_DATA, 16, UINT32_MAX, 4, "out of range" },
	{ "data with another length", FRAME_DATA, 16, 4, 4, "match" },
	{ "data said to be compressed", FRAME_DATA, 20, 1, 1, "decompress" },
	{ "data in an unknown coding", FRAME_DATA, 20, 2, 1, "coding" },
	{ "hole of no bytes", FRAME_HOLE, 16, 0, 8, "out of range" },
	{ "hole whose end overflows", FRAME_HOLE, 16, UINT64_MAX, 8, "out of range" },
	{ "hole beyond the largest file", FRAME_HOLE, 8, 1, 8, "largest file" },
	{ "conflict 0", FRAME_CONFLICT, 0, 0, 8, "id is 0" },
	{ "unknown kind", FRAME_CONFLICT, 10, 'X', 1, "kind" },
	{ "kind too long", FRAME_CONFLICT, 8, 12, 2, "too long" },
	{ "unknown outcome", FRAME_CONFLICT, 19, 'X', 1, "outcome" },
	{ "rule too long", FRAME_CONFLICT, 28, 4096, 2, "too long" },
	{ "path longer than the frame", FRAME_CONFLICT, 40, 65535, 2, "too short" },
	{ "resolved 2", FRAME_CONFLICT, 62, 2, 1, "resolved" },
	{ "conflict node with a slash", FRAME_CONFLICT, 65, '/', 1, "node name" },
	{ "lineage from 0", FRAME_LINEAGE, 0, 0, 8, "id is 0" },
	{ "lineage to 0", FRAME_LINEAGE, 8, 0, 8, "id is 0" },
	{ "lineage of kind NUL", FRAME_LINEAGE, 16, 0, 1, "kind" },
	{ "lineage of kind z", FRAME_LINEAGE, 16, 'z', 1, "kind" },
	{ "lineage of another kind since some group", FRAME_LINEAGE, 16, 'c', 1, "since" },
	{ "skip of 0", FRAME_SKIP, 0, 0, 8, "id is 0" },
	{ "skip with a flag of 2", FRAME_SKIP, 8, 2, 1, "flag" },
	{ "fewer staged ranges than the frame has", FRAME_STAGED, 16, 2, 2, "behind" },
	{ "more staged ranges than the frame has", FRAME_STAGED, 16, 4, 2, "too short" },
	{ "more staged ranges than a frame can have", FRAME_STAGED, 16, STAGED_MAX_RANGES + 1, 2, "count" },
	{ "a question that is none", FRAME_VERIFY, 0, 5, 1, "question" },
	{ "a table that is none", FRAME_VERIFY, 1, DIGEST_TABLES, 1, "table" },
	{ "a comparison without a number", FRAME_VERIFY, 2, 0, 8, "number" },
	{ "fewer items than the frame has", FRAME_VERIFY, 38, 2, 2, "behind" },
	{ "more items than the frame has", FRAME_VERIFY, 38, 4, 2, "too short" },
	{ "more items than a frame can have", FRAME_VERIFY, 38, VERIFY_MAX_ITEMS + 1, 2, "count" },
	{ "items in no order", FRAME_VERIFY, 40, 9, 8, "ascend" },
	{ "a word about damage that is none", FRAME_HEAL, 0, HEAL_NONE + 1, 1, "behind" },
	{ "damage of no file", FRAME_HEAL, 1, 0, 8, "id is 0" },
	{ "damage behind all files", FRAME_HEAL, 9, UINT64_MAX, 8, "block" },
	{ "a question that brings bytes", FRAME_HEAL, 0, HEAL_ASK, 1, "behind" },
	{ "staged bytes of inode 0", FRAME_STAGED, 18, 0, 8, "inode number" },
	{ "a staged range of no bytes", FRAME_STAGED, 34, 0, 8, "out of range" },
	{ "a staged range beyond the largest file", FRAME_STAGED, 74, 6, 8, "largest file" },
};

START_TEST(a_field_out_of_bounds_is_refused)
{
	const struct tamper *t = &tampers[_i];
	struct frame in[SAMPLES];
	size_t n = samples(in);
	struct buf b = { 0 };

	for (size_t i = 0; i < n; i++) {
		if (in[i].type == t->type && !b.data)
			encode(&b, in[i]);
		else
			frame_release(&in[i]);
	}
	ck_assert_msg(b.data != NULL, "%s", t->name);
	ck_assert_uint_le(5 + t->at + t->value_bytes + 4, b.len_bytes);
	memcpy(b.data + 5 + t->at, &t->value, t->value_bytes);
	seal(&b);
	refused(&b, t->why);
}
END_TEST

START_TEST(dot_and_dotdot_and_empty_are_no_names)
{
	static const struct {
		const char *was;
		const char *becomes;
		const char *why;
	} rows[] = { { "a", ".", "name is ." }, { "ab", "..", "name is ." } };
	struct buf b;

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		encode(&b, link_frame(rows[i].was));
		memcpy(b.data + 5 + 33, rows[i].becomes, strlen(rows[i].becomes));
		seal(&b);
		refused(&b, rows[i].why);
	}
	encode(&b, link_frame("a"));
	b.data[5 + 32] = 0;
	b.len_bytes--;
	seal(&b);
	refused(&b, "empty");
	encode(&b, link_frame("..."));
	buf_release(&b);
}
END_TEST

START_TEST(a_link_that_is_gone_needs_no_name)
{
	struct frame f = { .type = FRAME_LINK, .link = { .link = 1, .child = 2 } };
	struct buf b;

	encode(&b, f);
	ck_assert_int_eq(frame_decode(b.data, b.len_bytes, &f, scratch, NULL), (ssize_t)b.len_bytes);
	ck_assert_uint_eq(f.link.parent, 0);
	ck_assert_str_eq(f.link.name, "");
	buf_release(&b);
}
END_TEST

START_TEST(wrong_lengths_types_and_sums_are_refused)
{
	struct buf b;

	encode(&b, simple(FRAME_HEARTBEAT));
	memset(b.data, 0xff, 4);
	refused(&b, "bytes");
	encode(&b, simple(FRAME_HEARTBEAT));
	memcpy(b.data, &(uint32_t){ 4 }, 4);
	refused(&b, "bytes");
	encode(&b, simple(FRAME_HEARTBEAT));
	memcpy(b.data, &(uint32_t){ FRAME_MAX_BYTES - 3 }, 4);
	refused(&b, "bytes");
	encode(&b, simple(FRAME_HEARTBEAT));
	b.data[4] = 99;
	seal(&b);
	refused(&b, "unknown type 99");
	encode(&b, simple(FRAME_SKIP));
	b.data[b.len_bytes - 1] ^= 1;
	refused(&b, "sum is wrong");
	encode(&b, simple(FRAME_SKIP));
	buf_append(&b, "x", 1);
	seal(&b);
	refused(&b, "behind the last field");
}
END_TEST

START_TEST(a_word_about_damage_that_is_none_and_brings_no_bytes_is_refused)
{
	struct frame f = simple(FRAME_HEAL);
	struct buf b;

	f.heal.op = HEAL_ASK;
	encode(&b, f);
	b.data[5] = HEAL_NONE + 1;
	seal(&b);
	refused(&b, "question is unknown");
}
END_TEST

START_TEST(a_bomb_of_compressed_zeros_does_not_pass_its_stated_length)
{
	struct buf b;

	encode(&b, data(DATA_MAX_BYTES));
	memcpy(b.data + 5 + 16, &(uint32_t){ 1000 }, 4);
	seal(&b);
	refused(&b, "decompress");
}
END_TEST

START_TEST(a_hello_of_a_later_version_says_its_version)
{
	struct frame f;
	struct buf b;

	encode(&b, hello());
	memcpy(b.data + 5, &(uint32_t){ PROTOCOL_VERSION + 1 }, 4);
	b.len_bytes -= 20;
	seal(&b);
	ck_assert_int_eq(frame_decode(b.data, b.len_bytes, &f, scratch, NULL), (ssize_t)b.len_bytes);
	ck_assert_uint_eq(f.hello.version, PROTOCOL_VERSION + 1);
	ck_assert_str_eq(f.hello.volume_id, "");
	buf_release(&b);
}
END_TEST

START_TEST(a_reason_is_made_printable_and_long_texts_are_cut)
{
	struct frame f = { .type = FRAME_BYE };
	struct buf b;

	strcpy(f.bye.reason, "two\nlines\x1b[0m");
	encode(&b, f);
	ck_assert_int_gt(frame_decode(b.data, b.len_bytes, &f, scratch, NULL), 0);
	ck_assert_str_eq(f.bye.reason, "two lines [0m");
	buf_release(&b);

	f = conflict();
	for (int i = 0; i < 2; i++) {
		free(f.conflict.c.version[i].path);
		f.conflict.c.version[i].path = xmalloc(100001);
		memset(f.conflict.c.version[i].path, 'p', 100000);
		f.conflict.c.version[i].path[100000] = '\0';
	}
	encode(&b, f);
	ck_assert_uint_le(b.len_bytes, FRAME_MAX_BYTES);
	ck_assert_int_gt(frame_decode(b.data, b.len_bytes, &f, scratch, NULL), 0);
	ck_assert_uint_eq(strlen(f.conflict.c.version[1].path), 65535);
	frame_release(&f);
	buf_release(&b);
}
END_TEST

START_TEST(a_full_buffer_is_left_as_it_was)
{
	struct frame f = data(5);
	struct buf b;

	buf_init(&b, 30);
	f.type = FRAME_DATA;
	ck_assert_int_eq(frame_encode(&b, &(struct frame){ .type = FRAME_HEARTBEAT }), 0);
	ck_assert_int_eq(frame_encode(&b, &f), -EMSGSIZE);
	ck_assert_uint_eq(b.len_bytes, 9);
	buf_release(&b);
}
END_TEST

START_TEST(peek_tells_length_and_type_without_the_payload)
{
	enum frame_type type;
	struct buf b;

	encode(&b, simple(FRAME_SKIP));
	ck_assert_int_eq(frame_peek(b.data, b.len_bytes, &type, NULL), (ssize_t)b.len_bytes);
	ck_assert_int_eq(type, FRAME_SKIP);
	ck_assert_int_eq(frame_peek(b.data, b.len_bytes - 1, &type, NULL), 0);
	buf_release(&b);
}
END_TEST

/* Random bytes, and random damage to legal frames with the sum made right: each is refused or decodes to something
 * legal. */
START_TEST(random_bytes_never_crash_the_decoder)
{
	struct frame in[SAMPLES], f;
	struct buf b[SAMPLES], again;
	size_t n = samples(in), accepted = 0;
	uint64_t seed = 1;

	memset(bytes, 'z', sizeof(bytes));
	for (size_t i = 0; i < n; i++)
		encode(&b[i], in[i]);
	buf_init(&again, FRAME_MAX_BYTES);
	for (int step = 0; step < 1000000; step++) {
		struct buf *one = &b[(size_t)step % n];
		size_t len = MIN(one->len_bytes, 400);
		uint8_t copy[400];
		uint32_t sum, body = (uint32_t)len - 4;

		memcpy(copy, one->data, len);
		for (int k = 0; k < 1 + step % 3; k++) {
			seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
			copy[(seed >> 33) % len] = (uint8_t)(seed >> 20);
		}
		if (step % 7) {
			memcpy(copy, &body, 4);
			sum = (uint32_t)XXH3_64bits(copy + 4, len - 8);
			memcpy(copy + len - 4, &sum, 4);
		}
		if (frame_decode(copy, len, &f, scratch, NULL) <= 0)
			continue;
		accepted++;
		if (f.type != FRAME_HELLO || f.hello.version == PROTOCOL_VERSION)
			ck_assert_int_eq(frame_encode(&again, &f), 0);
		frame_release(&f);
		buf_reset(&again);
	}
	ck_assert_uint_gt(accepted, 1000);
	for (size_t i = 0; i < n; i++)
		buf_release(&b[i]);
	buf_release(&again);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("record");
	TCase *tc = tcase_create("record");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, every_frame_comes_back_as_it_was);
	tcase_add_test(tc, fields_come_back_by_name);
	tcase_add_test(tc, data_is_compressed_only_where_that_pays);
	tcase_add_test(tc, a_frame_cut_anywhere_is_incomplete_and_never_an_overrun);
	tcase_add_test(tc, a_payload_cut_anywhere_is_refused);
	tcase_add_test(tc, every_flipped_bit_is_refused_or_incomplete);
	tcase_add_loop_test(tc, a_field_out_of_bounds_is_refused, 0, (int)ARRAY_LEN(tampers));
	tcase_add_test(tc, dot_and_dotdot_and_empty_are_no_names);
	tcase_add_test(tc, a_link_that_is_gone_needs_no_name);
	tcase_add_test(tc, wrong_lengths_types_and_sums_are_refused);
	tcase_add_test(tc, a_word_about_damage_that_is_none_and_brings_no_bytes_is_refused);
	tcase_add_test(tc, a_bomb_of_compressed_zeros_does_not_pass_its_stated_length);
	tcase_add_test(tc, a_hello_of_a_later_version_says_its_version);
	tcase_add_test(tc, a_reason_is_made_printable_and_long_texts_are_cut);
	tcase_add_test(tc, a_full_buffer_is_left_as_it_was);
	tcase_add_test(tc, peek_tells_length_and_type_without_the_payload);
	tcase_add_test(tc, random_bytes_never_crash_the_decoder);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
