/* SPDX-License-Identifier: MIT */
/* The records of a shipment, packed and plain: nobody can tell which but by asking. */
#include "sync/shipment.h"
#include "tests/chance.h"
#include "tests/pair_fixture.h"

#define RECORDS 400u
#define PEER_ID(n) ((UINT64_C(2) << 48) + (n)) /* slot 2 is the peer's */

static void setup(void)
{
	px_step_rows = 50; /* from so many records on it is packed */
	px_meanwhile = NULL;
	px_setup();
}

static struct rec_ship_begin begun = { .from = 3, .to = 4, .seen = 5 };
static uint64_t chances;

static int64_t some_time(void)
{
	return (int64_t)(chance_below(&chances, 4) ? INT64_C(1700000000000000000) + (int64_t)chance(&chances) / 4096
						   : (int64_t)chance(&chances));
}

static uint64_t often(uint64_t usual)
{
	return chance_below(&chances, 4) ? usual : chance(&chances);
}

static void fill_inode(struct rec_inode *r, uint64_t n)
{
	*r = (struct rec_inode){ .ino = PEER_ID(n), .fields = (uint32_t)chance_below(&chances, 32) };
	r->seen_content = often(5);
	r->seen_mode = often(r->seen_content);
	r->seen_owner = often(5);
	r->seen_times = often(5);
	r->mode = (uint32_t)often(S_IFREG | 0644);
	r->uid = (uint32_t)often(1000);
	r->gid = (uint32_t)often(1000);
	r->rdev = (uint32_t)often(0);
	r->size_bytes = chance_below(&chances, 100000);
	r->shrunk_to = often(UINT64_MAX);
	r->mtime_ns = some_time();
	r->ctime_ns = often(1) == 1 ? r->mtime_ns : some_time();
	r->atime_ns = some_time();
	r->target_len = chance_below(&chances, 8) ? 0 : (uint16_t)chance_below(&chances, SYMLINK_MAX_BYTES + 1);
	memset(r->target, 't', r->target_len);
}

static void fill_link(struct rec_link *r, uint64_t n)
{
	*r = (struct rec_link){ .link = PEER_ID(n), .child = PEER_ID(often(n) % 100000 + 2), .seen = often(5) };
	r->parent = chance_below(&chances, 4) ? PEER_ID(200000 + chance_below(&chances, 9)) : 0;
	r->report = chance_below(&chances, 8) == 0;
	r->name_len = (uint8_t)(1 + chance_below(&chances, NAME_MAX_BYTES));
	memset(r->name, 'a' + (int)(n % 26), r->name_len);
}

static uint8_t value[300];

/* Several of an inode, now and then two of one key. */
static void fill_xattr(struct rec_xattr *r, uint64_t n)
{
	*r = (struct rec_xattr){ .ino = PEER_ID(n / 3), .seen = often(5), .removed = chance_below(&chances, 4) == 0 };
	snprintf(r->key, sizeof(r->key), "user.%u", (unsigned)chance_below(&chances, 3));
	if (!r->removed) {
		r->value = value;
		r->value_len = (uint32_t)chance_below(&chances, sizeof(value));
	}
}

static void add(struct shipment *s, struct frame *f)
{
	struct err err = ERR_INIT;

	ck_assert_msg(shipment_add(s, f, &err) == 0, "%s", err_text(&err));
}

/* The same records into two, of which one is packed. */
static void add_some(struct shipment *s[2], unsigned n)
{
	struct frame *f = xmalloc(sizeof(*f));

	for (unsigned i = 0; i < n; i++)
		for (enum frame_type type = FRAME_INODE; type <= FRAME_XATTR; type++)
			for (int k = 0; k < 2; k++) {
				uint64_t now = chances;

				f->type = type;
				if (type == FRAME_INODE)
					fill_inode(&f->inode, 10 + 2 * i);
				else if (type == FRAME_LINK)
					fill_link(&f->link, 10 + 2 * i);
				else
					fill_xattr(&f->xattr, 30 + i);
				add(s[k], f);
				chances = k == 0 ? now : chances;
			}
	free(f);
}

static void expect_inode(const struct rec_inode *a, const struct rec_inode *b)
{
	const size_t numbers = offsetof(struct rec_inode, seen_content);

	ck_assert_uint_eq(a->ino, b->ino);
	ck_assert_uint_eq(a->fields, b->fields);
	ck_assert_mem_eq((const char *)a + numbers, (const char *)b + numbers,
			 offsetof(struct rec_inode, target_len) - numbers);
	ck_assert_uint_eq(a->target_len, b->target_len);
	ck_assert_str_eq(a->target, b->target);
}

static void expect_xattr(const struct ship_xattr *a, const struct ship_xattr *b)
{
	ck_assert_uint_eq(a->ino, b->ino);
	ck_assert_uint_eq(a->seen, b->seen);
	ck_assert_str_eq(a->key, b->key);
	ck_assert(!a->value == !b->value);
	ck_assert_uint_eq(a->value_len, b->value_len);
	if (a->value)
		ck_assert_mem_eq(a->value, b->value, a->value_len);
}

static void expect_links(const struct shipment *a, const struct shipment *b)
{
	struct ship_link room_a, room_b;
	size_t at;

	ck_assert_uint_eq(a->n_links, b->n_links);
	for (size_t i = a->n_links; i > 0; i--) {
		const struct ship_link *x = shipment_link_at(a, i - 1, &room_a);
		const struct ship_link *y = shipment_link_at(b, i - 1, &room_b);

		ck_assert_uint_eq(x->link, y->link);
		ck_assert_uint_eq(x->child, y->child);
		ck_assert_uint_eq(x->seen, y->seen);
		ck_assert_uint_eq(x->parent, y->parent);
		ck_assert_uint_eq(x->name_len, y->name_len);
		ck_assert(x->report == y->report);
		ck_assert_str_eq(x->name, y->name);
		ck_assert(shipment_find_link(a, x->link, &at));
		ck_assert_uint_eq(at, i - 1);
		ck_assert(!shipment_find_link(a, x->link + 1, NULL));
	}
}

static void expect_same(const struct shipment *a, const struct shipment *b)
{
	struct rec_inode *room_a = xmalloc(sizeof(*room_a)), *room_b = xmalloc(sizeof(*room_b));
	struct ship_xattr xattr_room_a, xattr_room_b;

	ck_assert_uint_eq(a->n_inodes, b->n_inodes);
	ck_assert_uint_eq(a->n_xattrs, b->n_xattrs);
	expect_links(a, b);
	for (size_t i = 0; i < a->n_inodes; i++) {
		const struct rec_inode *r = shipment_inode_at(a, i, room_a);

		expect_inode(r, shipment_inode_at(b, i, room_b));
		expect_inode(r, shipment_look(b, r->ino, room_b));
		ck_assert_ptr_null(shipment_look(a, r->ino + 1, room_b));
	}
	for (size_t i = 0; i < a->n_xattrs; i++) {
		const struct ship_xattr *xattr = shipment_xattr_at(a, i, &xattr_room_a);
		size_t x = 0, y = 0;

		expect_xattr(xattr, shipment_xattr_at(b, i, &xattr_room_b));
		do {
			x = shipment_xattr_before(a, xattr->ino, x);
			y = shipment_xattr_before(b, xattr->ino, y);
			ck_assert_uint_eq(x, y);
		} while (x);
	}
	ck_assert_uint_eq(shipment_xattr_before(a, PEER_ID(99999), 0), 0);
	ck_assert_uint_eq(shipment_xattr_before(a, PEER_ID(1), 0), 0);
	free(room_a);
	free(room_b);
}

static void begin(struct shipment *s[2])
{
	chances = 1;
	for (int k = 0; k < 2; k++)
		s[k] = shipment_new(px[0].v, &begun, NULL);
	s[1]->stays_plain = true;
}

START_TEST(records_are_the_same_packed_plain_and_unpacked)
{
	struct shipment *s[2] = { NULL };

	begin(s);
	chances = (uint64_t)_i + 1;
	for (size_t k = 0; k < sizeof(value); k++)
		value[k] = (uint8_t)k;
	add_some(s, RECORDS);
	ck_assert(s[0]->packed && !s[1]->packed);
	expect_same(s[0], s[1]);
	expect_same(s[1], s[0]);
	shipment_unpack(s[0]);
	ck_assert(!s[0]->packed);
	for (size_t i = 0; i < s[0]->n_xattrs; i++)
		ck_assert_uint_eq(s[0]->xattrs[i].next, s[1]->xattrs[i].next);
	expect_same(s[0], s[1]);
	shipment_free(s[0]);
	shipment_free(s[1]);
}
END_TEST

/* What comes out of order makes it plain, be it before it would be packed or after. */
START_TEST(records_in_any_order_are_taken_too)
{
	struct shipment *s[2] = { NULL };
	struct frame *f = xmalloc(sizeof(*f));
	unsigned before = _i % 2 ? 5 : 100;

	begin(s);
	add_some(s, before);
	ck_assert(s[0]->packed == (before == 100));
	for (int k = 0; k < 2; k++) {
		chances = 9;
		f->type = _i / 2 == 0 ? FRAME_INODE : _i / 2 == 1 ? FRAME_LINK : FRAME_XATTR;
		if (f->type == FRAME_INODE)
			fill_inode(&f->inode, 6);
		else if (f->type == FRAME_LINK)
			fill_link(&f->link, 6);
		else
			fill_xattr(&f->xattr, 6);
		add(s[k], f);
	}
	if (before == 100)
		ck_assert(!s[0]->packed);
	expect_same(s[0], s[1]);
	while (s[0]->n_inodes < RECORDS) { /* nor is it packed later */
		f->type = FRAME_INODE;
		fill_inode(&f->inode, 1000 + 2 * s[0]->n_inodes);
		for (int k = 0; k < 2; k++)
			add(s[k], f);
	}
	ck_assert(!s[0]->packed);
	expect_same(s[0], s[1]);
	shipment_free(s[0]);
	shipment_free(s[1]);
	free(f);
}
END_TEST

START_TEST(a_record_that_comes_twice_is_refused_in_a_packed_one_too)
{
	struct shipment *s[2] = { NULL };
	struct frame *f = xmalloc(sizeof(*f));
	struct err err = ERR_INIT;

	begin(s);
	add_some(s, 100);
	for (int k = 0; k < 2; k++)
		for (uint64_t n = 10; n <= 208; n += 198) {
			f->type = _i ? FRAME_LINK : FRAME_INODE;
			if (_i)
				fill_link(&f->link, n);
			else
				fill_inode(&f->inode, n);
			ck_assert_int_eq(shipment_add(s[k], f, &err), -EBADMSG);
			ck_assert_ptr_nonnull(strstr(err_text(&err), "twice"));
		}
	ck_assert(s[0]->packed);
	expect_same(s[0], s[1]);
	shipment_free(s[0]);
	shipment_free(s[1]);
	free(f);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("shipment");
	TCase *c = tcase_create("shipment");

	tcase_add_checked_fixture(c, setup, px_teardown);
	tcase_add_loop_test(c, records_are_the_same_packed_plain_and_unpacked, 0, 6);
	tcase_add_loop_test(c, records_in_any_order_are_taken_too, 0, 6);
	tcase_add_loop_test(c, a_record_that_comes_twice_is_refused_in_a_packed_one_too, 0, 2);
	suite_add_tcase(s, c);
	return tap_main(s);
}
