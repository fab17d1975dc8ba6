/* SPDX-License-Identifier: MIT */
#include "core/stage_private.h"
#include "tests/data_fixture.h"

#define FILE_MAX ((size_t)2 << 20)

static struct store st;

static void setup(void)
{
	store_make(&st, 0);
	store_pair(&st);
}

static void teardown(void)
{
	store_remove(&st);
}

static void adopt(struct stage *s, uint64_t src, uint64_t dst)
{
	ck_assert_int_eq(volume_apply_begin(st.v), 0);
	ck_assert_int_eq(stage_adopt(s, src, dst, ORIGIN_PEER), 0);
	ck_assert_int_eq(volume_apply_commit(st.v, 1), 0);
	stage_settle(s, true);
}

static uint64_t used_blocks(void)
{
	volume_lock(st.v);
	uint64_t n = freemap_count_used(st.v->data->map);

	volume_unlock(st.v);
	return n;
}

/* The same bytes put into a stage and into a model with a mark a byte. */
struct staged {
	struct model data, mark;
};

static void put_random(struct stage *s, uint64_t ino, struct staged *m, uint64_t *seed, uint8_t *buf)
{
	size_t off = chance_off(seed, FILE_MAX), len = chance_len(seed, FILE_MAX / 2);
	bool hole = chance_below(seed, 5) == 0;

	if (chance_below(seed, 3) == 0) { /* many small ones in few blocks */
		off = chance_below(seed, 3 * BLOCK_BYTES);
		len = 1 + chance_below(seed, 300);
	}
	if (hole) {
		memset(buf, 0, len);
		ck_assert_int_eq(stage_put_hole(s, ino, off, len), 0);
	} else {
		chance_bytes(seed, buf, len);
		ck_assert_int_eq(stage_put(s, ino, off, buf, len), 0);
	}
	model_write(&m->data, off, buf, len);
	memset(buf, 1, len);
	model_write(&m->mark, off, buf, len);
}

static void overlay_model(struct model *base, const struct staged *m)
{
	if (base->len < m->data.len)
		model_resize(base, m->data.len);
	for (size_t i = 0; i < m->data.len; i++)
		if (m->mark.data[i])
			base->data[i] = m->data.data[i];
}

static int see_range(void *ctx, uint64_t off, uint64_t len)
{
	struct model *mark = ctx;

	ck_assert_uint_le(off + len, mark->len);
	ck_assert(off == 0 || !mark->data[off - 1]); /* coalesced */
	for (uint64_t i = off; i < off + len; i++)
		if (!mark->data[i])
			ck_abort_msg("byte %llu was never staged", (unsigned long long)i);
	memset(mark->data + off, 2, len);
	return 0;
}

static void check_ranges(struct stage *s, uint64_t ino, const struct staged *m)
{
	struct model mark = model_copy(&m->mark);

	ck_assert_int_eq(stage_ranges(s, ino, see_range, &mark), 0);
	for (size_t i = 0; i < mark.len; i++)
		if (mark.data[i] == 1)
			ck_abort_msg("staged byte %zu is in no range", i);
	model_free(&mark);
}

static void check_overlay(struct stage *s, uint64_t ino, const struct model *base, const struct staged *m,
                          uint64_t *seed)
{
	struct model want = model_copy(base);
	uint8_t *buf = xmalloc(FILE_MAX * 2);

	overlay_model(&want, m);
	for (int i = 0; i < 10; i++) {
		size_t off = chance_off(seed, FILE_MAX), len = chance_len(seed, FILE_MAX / 2);

		for (size_t k = 0; k < len; k++)
			buf[k] = off + k < base->len ? base->data[off + k] : 0;
		ck_assert_int_eq(stage_overlay(s, ino, buf, len, off), 0);
		expect_same(&want, buf, off, len, "overlay");
	}
	free(buf);
	model_free(&want);
}

START_TEST(adopted_pieces_in_any_order_equal_plain_writes)
{
	uint64_t seed = (uint64_t)_i + 11, ino = store_file(&st, "f");
	uint8_t *buf = xmalloc(FILE_MAX);
	struct stage *s = stage_new(st.v);
	struct staged m = { 0 }, unused = { 0 };
	struct model base = { 0 };

	st.v->opt.at_once_rows = _i % 2; /* packed, or not */
	for (int i = 0; i < 8; i++) {
		size_t off = chance_off(&seed, FILE_MAX), len = chance_len(&seed, FILE_MAX / 4);

		chance_bytes(&seed, buf, len);
		ck_assert_int_eq(volume_write(st.v, ino, buf, len, off, 0, NULL), (ssize_t)len);
		model_write(&base, off, buf, len);
	}
	uint64_t before = store_cut(&st);
	struct model then = model_copy(&base);

	for (int i = 0; i < 120; i++) {
		put_random(s, 1000, &m, &seed, buf);
		if (i % 4 == 0)
			put_random(s, 1001, &unused, &seed, buf);
	}
	ck_assert_int_eq(stage_sync(s), 0);
	check_ranges(s, 1000, &m);
	check_overlay(s, 1000, &base, &m, &seed);
	adopt(s, 1000, ino);
	overlay_model(&base, &m);
	expect_content(&st, ino, &base);
	expect_view(&st, ino, (struct view){ VIEW_AT, before }, &then);
	stage_free(s);
	store_check_owners(&st);
	volume_crash(st.v);
	store_reopen(&st);
	expect_content(&st, ino, &base);
	store_check_owners(&st);
	model_free(&base);
	model_free(&then);
	model_free(&m.data);
	model_free(&m.mark);
	model_free(&unused.data);
	model_free(&unused.mark);
	free(buf);
}
END_TEST

struct at_peer {
	uint64_t ino;
	struct view view;
};

static int read_at_peer(void *ctx, void *block, uint64_t off)
{
	const struct at_peer *p = ctx;

	return data_read_beyond(st.v, p->ino, p->view, block, BLOCK_BYTES, off);
}

static void adopt_merged(struct stage *s, uint64_t src, struct at_peer *p)
{
	ck_assert_int_eq(volume_apply_begin(st.v), 0);
	ck_assert_int_eq(stage_adopt_merged(s, src, p->ino, read_at_peer, p), 0);
	ck_assert_int_eq(volume_apply_commit(st.v, 1), 0);
	stage_settle(s, true);
}

/* The peer's view, whatever its size is; every block in which it is another than ours is told. */
static void expect_at_peer(const struct at_peer *p, const struct model *theirs, const struct model *ours)
{
	uint8_t *buf = xmalloc(FILE_MAX);

	volume_lock(st.v);
	ck_assert_int_eq(data_read_beyond(st.v, p->ino, p->view, buf, FILE_MAX, 0), 0);
	for (uint64_t off = 0, next; off < FILE_MAX; off = next + BLOCK_BYTES) {
		ck_assert_int_eq(data_differ(st.v, p->ino, p->view, (struct view){ VIEW_NOW, 0 }, off, FILE_MAX,
					     &next), 0);
		ck_assert_uint_ge(next, off);
		for (size_t i = off; i < MIN(next, FILE_MAX); i++)
			if ((i < theirs->len ? theirs->data[i] : 0) != (i < ours->len ? ours->data[i] : 0))
				ck_abort_msg("byte %zu is another and was not told", i);
	}
	volume_unlock(st.v);
	expect_same(theirs, buf, 0, FILE_MAX, "at the peer");
	free(buf);
}

/* Rounds of writes of both, of which neither side hears: we have all, the peer what it had and its own. */
START_TEST(what_the_peer_has_is_known_byte_by_byte_though_both_are_merged_in_one_file)
{
	uint64_t seed = (uint64_t)_i + 5, ino = store_file(&st, "f");
	uint8_t *buf = xmalloc(FILE_MAX);
	struct model ours = { 0 }, theirs;
	struct at_peer peer = { .ino = ino, .view = { .kind = VIEW_PEER } };

	chance_bytes(&seed, buf, FILE_MAX / 2);
	ck_assert_int_eq(volume_write(st.v, ino, buf, FILE_MAX / 2, 0, 0, NULL), (ssize_t)FILE_MAX / 2);
	model_write(&ours, 0, buf, FILE_MAX / 2);
	peer.view.group = store_cut(&st);
	theirs = model_copy(&ours);
	for (int round = 0; round < 3; round++) {
		struct stage *s = stage_new(st.v);
		struct staged m = { 0 };

		for (int i = 0; i < 20; i++) {
			size_t off = chance_below(&seed, 2) ? chance_below(&seed, 3 * BLOCK_BYTES)
							    : chance_off(&seed, FILE_MAX / 2);
			size_t len = chance_len(&seed, i % 5 ? 300 : FILE_MAX / 8);

			chance_bytes(&seed, buf, len);
			ck_assert_int_eq(volume_write(st.v, ino, buf, len, off, 0, NULL), (ssize_t)len);
			model_write(&ours, off, buf, len);
			put_random(s, 1000, &m, &seed, buf);
		}
		adopt_merged(s, 1000, &peer);
		overlay_model(&ours, &m);
		overlay_model(&theirs, &m);
		expect_content(&st, ino, &ours);
		expect_at_peer(&peer, &theirs, &ours);
		stage_free(s);
		store_check_owners(&st);
		model_free(&m.data);
		model_free(&m.mark);
	}
	volume_crash(st.v);
	store_reopen(&st);
	expect_content(&st, ino, &ours);
	expect_at_peer(&peer, &theirs, &ours);
	store_check_owners(&st);
	model_free(&ours);
	model_free(&theirs);
	free(buf);
}
END_TEST

/* ---- many small files, as of a large shipment */

#define SMALL 300u
#define SMALL_BYTES (3 * BLOCK_BYTES)

struct small {
	struct staged m;
	uint64_t ino;
};

/* from: it begins there or later. */
static void put_small(struct stage *s, struct small *f, size_t from, uint64_t *seed)
{
	size_t off = from + chance_below(seed, SMALL_BYTES - from), len = 1 + chance_below(seed, SMALL_BYTES - off);
	uint8_t buf[SMALL_BYTES];

	if (chance_below(seed, 3) == 0)
		off = from, len = SMALL_BYTES - from;
	chance_bytes(seed, buf, len);
	if (chance_below(seed, 4) == 0) {
		memset(buf, 0, len);
		ck_assert_int_eq(stage_put_hole(s, f->ino, off, len), 0);
	} else {
		ck_assert_int_eq(stage_put(s, f->ino, off, buf, len), 0);
	}
	model_write(&f->m.data, off, buf, len);
	memset(buf, 1, len);
	model_write(&f->m.mark, off, buf, len);
}

static int count_file(void *ctx, uint64_t ino, uint64_t group, uint64_t id)
{
	unsigned *n = ctx;

	ck_assert_uint_ge(ino, 1000);
	ck_assert_uint_eq(group, 7);
	ck_assert_uint_eq(id, 77);
	++*n;
	return 0;
}

static void expect_overlay(struct stage *s, struct small *f)
{
	uint8_t buf[SMALL_BYTES] = { 0 };
	struct model want = { 0 };

	overlay_model(&want, &f->m);
	ck_assert_int_eq(stage_overlay(s, f->ino, buf, sizeof(buf), 0), 0);
	ck_assert_mem_eq(buf, want.data, want.len);
	model_free(&want);
}

static void expect_small(struct stage *s, struct small *f, unsigned n)
{
	unsigned files = 0;

	ck_assert_int_eq(stage_files(s, count_file, &files), 0);
	ck_assert_uint_eq(files, n);
	for (unsigned i = 0; i < SMALL; i++)
		if (f[i].ino) {
			check_ranges(s, f[i].ino, &f[i].m);
			expect_overlay(s, &f[i]);
		}
}

/* Read back by the next run, taken over by another one, given more, adopted: nobody can tell. */
START_TEST(small_files_of_a_large_shipment_are_packed_and_the_same)
{
	struct small *f = xcalloc(SMALL, sizeof(*f));
	uint64_t seed = (uint64_t)_i + 5, used = used_blocks(), ino = store_file(&st, "f");
	struct stage *s = stage_new(st.v), *other;
	struct model want = { 0 };

	st.v->opt.at_once_rows = 4;
	stage_mark(s, 7, 77);
	for (unsigned i = 0; i < SMALL; i++) {
		f[i].ino = 1000 + 3 * i;
		/* Ascending, as a peer sends it: what is noted is not looked at again. */
		for (uint64_t k = 1 + chance_below(&seed, 3); k > 0 && f[i].m.data.len < SMALL_BYTES; k--) {
			put_small(s, &f[i], f[i].m.data.len, &seed);
			if (chance_below(&seed, 40) == 0)
				ck_assert_int_eq(stage_save(s, 1), 0);
		}
	}
	ck_assert_uint_gt(s->packed.rows.n, SMALL * 3 / 4);
	expect_small(s, f, SMALL);
	ck_assert_int_eq(stage_save(s, 1), 0);
	stage_free(s);
	ck_assert_uint_eq(used_blocks(), used);

	s = stage_load(st.v, 1);
	ck_assert_ptr_nonnull(s);
	ck_assert_uint_gt(s->packed.rows.n, 0);
	expect_small(s, f, SMALL);
	for (unsigned i = 0; i < SMALL / 8; i++)
		put_small(s, &f[chance_below(&seed, SMALL)], 0, &seed);
	expect_small(s, f, SMALL);
	other = stage_new(st.v);
	stage_mark(other, 8, 88);
	for (unsigned i = 0; i < SMALL; i++)
		if (i % 4)
			ck_assert_int_eq(stage_take(other, s, f[i].ino), 0);
	ck_assert_int_eq(stage_take(other, s, f[1].ino), -ENOENT);
	for (unsigned i = 0; i < SMALL; i++)
		if (i % 4 == 0)
			ck_assert_int_eq(stage_take(other, s, f[i].ino), 0);
	stage_free(s);
	expect_small(other, f, SMALL);
	ck_assert_uint_gt(other->packed.rows.n, SMALL / 2);

	stage_plan(other, f[1].ino, true);
	stage_plan(other, f[2].ino, true);
	stage_give_up_plan(other);
	stage_taken(other, &(struct map)MAP_INIT); /* nothing is in the plan */
	expect_small(other, f, SMALL);
	adopt(other, f[5].ino, ino);
	overlay_model(&want, &f[5].m);
	expect_content(&st, ino, &want);
	f[5].ino = 0;
	expect_small(other, f, SMALL - 1);
	stage_free(other);
	store_check_owners(&st);
	for (unsigned i = 0; i < SMALL; i++) {
		model_free(&f[i].m.data);
		model_free(&f[i].m.mark);
	}
	model_free(&want);
	free(f);
}
END_TEST

START_TEST(what_is_not_adopted_is_free_again)
{
	struct stage *s = stage_new(st.v);
	uint8_t *buf = xcalloc(1, FILE_MAX);
	uint64_t before = used_blocks();

	ck_assert_int_eq(stage_put(s, 1000, 100, buf, FILE_MAX), 0);
	for (uint64_t i = 0; i < 1000; i++)
		ck_assert_int_eq(stage_put(s, 1001, i * BLOCK_BYTES, buf, 1000), 0);
	ck_assert_uint_gt(used_blocks(), before);
	ck_assert_uint_gt(stage_bytes(s), FILE_MAX);
	stage_free(s);
	ck_assert_uint_eq(used_blocks(), before);
	free(buf);
}
END_TEST

START_TEST(an_aborted_apply_neither_leaks_nor_frees_twice)
{
	uint64_t ino = store_file(&st, "f"), other = store_file(&st, "g");
	struct stage *s = stage_new(st.v);
	uint8_t *buf = xcalloc(1, FILE_MAX);
	struct model m = { 0 };

	ck_assert_int_eq(volume_write(st.v, ino, "before", 6, 0, 0, NULL), 6);
	model_write(&m, 0, "before", 6);
	store_cut(&st);
	uint64_t before = used_blocks();

	ck_assert_int_eq(stage_put(s, ino, 1, buf, FILE_MAX - 10), 0);
	ck_assert_int_eq(stage_put(s, other, 5000, buf, FILE_MAX / 2), 0);
	ck_assert_int_eq(volume_apply_begin(st.v), 0);
	ck_assert_int_eq(stage_adopt(s, ino, ino, ORIGIN_PEER), 0);
	volume_apply_abort(st.v);
	stage_settle(s, false);
	stage_free(s);
	ck_assert_uint_eq(used_blocks(), before);
	expect_content(&st, ino, &m);
	store_check_owners(&st);
	model_free(&m);
	free(buf);
}
END_TEST

START_TEST(what_an_aborted_apply_adopted_is_staged_still)
{
	uint64_t ino = store_file(&st, "f"), seed = 7;
	struct stage *s = stage_new(st.v);
	uint8_t *buf = xmalloc(FILE_MAX);
	struct model m = { 0 };

	chance_bytes(&seed, buf, FILE_MAX);
	ck_assert_int_eq(stage_put(s, ino, 1, buf, FILE_MAX - 10), 0);
	model_write(&m, 1, buf, FILE_MAX - 10);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(volume_apply_begin(st.v), 0);
		ck_assert_int_eq(stage_adopt(s, ino, ino, ORIGIN_PEER), 0);
		ck_assert_uint_eq(stage_next(s, ino, 0), UINT64_MAX);
		volume_apply_abort(st.v);
		stage_settle(s, false);
		ck_assert_uint_eq(stage_next(s, ino, 0), 1);
	}
	adopt(s, ino, ino);
	stage_free(s);
	expect_content(&st, ino, &m);
	store_check_owners(&st);
	model_free(&m);
	free(buf);
}
END_TEST

START_TEST(pieces_of_a_block_that_complete_it_are_one_run)
{
	uint64_t ino = store_file(&st, "f");
	struct stage *s = stage_new(st.v);
	struct extent_list rows = EXTENT_LIST_INIT;
	uint8_t *buf = xmalloc(FILE_MAX);
	struct model m = { 0 };
	uint64_t seed = 3;

	chance_bytes(&seed, buf, FILE_MAX);
	for (size_t off = 0; off < FILE_MAX; off += 65000)
		ck_assert_int_eq(stage_put(s, ino, off, buf + off, MIN(FILE_MAX - off, 65000)), 0);
	model_write(&m, 0, buf, FILE_MAX);
	adopt(s, ino, ino);
	stage_free(s);
	expect_content(&st, ino, &m);
	volume_lock(st.v);
	ck_assert_int_eq(extent_rows_list(st.v->db, ino, 0, EXTENT_BLOCK_LIMIT, &rows), 0);
	volume_unlock(st.v);
	ck_assert_uint_le(rows.n, FILE_MAX / 65000 * 3);
	extent_list_release(&rows);
	store_check_owners(&st);
	model_free(&m);
	free(buf);
}
END_TEST

START_TEST(a_staged_hole_makes_room)
{
	uint64_t ino = store_file(&st, "f");
	struct stage *s = stage_new(st.v);
	uint8_t *buf = xmalloc(FILE_MAX);
	struct model m = { 0 };

	memset(buf, 8, FILE_MAX);
	ck_assert_int_eq(volume_write(st.v, ino, buf, FILE_MAX, 0, 0, NULL), (ssize_t)FILE_MAX);
	model_write(&m, 0, buf, FILE_MAX);
	ck_assert_int_eq(volume_commit(st.v), 0);
	ck_assert_int_eq(stage_put_hole(s, ino, 1000, FILE_MAX - 2000), 0);
	adopt(s, ino, ino);
	stage_free(s);
	model_zero(&m, 1000, FILE_MAX - 2000);
	expect_content(&st, ino, &m);

	struct attr attr;

	ck_assert_int_eq(volume_getattr(st.v, ino, &attr), 0);
	ck_assert_uint_eq(attr.blocks_512, 16);
	store_check_owners(&st);
	model_free(&m);
	free(buf);
}
END_TEST

START_TEST(ranges_beyond_the_largest_file_are_refused)
{
	struct stage *s = stage_new(st.v);

	ck_assert_int_eq(stage_put(s, 1000, FILE_MAX_BYTES, "x", 1), -EFBIG);
	ck_assert_int_eq(stage_put_hole(s, 1000, 1, UINT64_MAX), -EFBIG);
	ck_assert_int_eq(stage_put(s, 1000, UINT64_MAX, "x", 1), -EFBIG);
	stage_free(s);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("stage");
	TCase *tc = tcase_create("stage");

	tcase_set_timeout(tc, 120);
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, adopted_pieces_in_any_order_equal_plain_writes, 0, 8);
	tcase_add_loop_test(tc, what_the_peer_has_is_known_byte_by_byte_though_both_are_merged_in_one_file, 0, 2);
	tcase_add_loop_test(tc, small_files_of_a_large_shipment_are_packed_and_the_same, 0, 4);
	tcase_add_test(tc, what_is_not_adopted_is_free_again);
	tcase_add_test(tc, an_aborted_apply_neither_leaks_nor_frees_twice);
	tcase_add_test(tc, what_an_aborted_apply_adopted_is_staged_still);
	tcase_add_test(tc, pieces_of_a_block_that_complete_it_are_one_run);
	tcase_add_test(tc, a_staged_hole_makes_room);
	tcase_add_test(tc, ranges_beyond_the_largest_file_are_refused);
	suite_add_tcase(s, tc);
	return tap_main(s);
}
