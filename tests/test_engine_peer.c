/* SPDX-License-Identifier: MIT */
/*
 * The engine and a peer that breaks the rules, a store that was put back from a copy, and connections and processes
 * that end in the middle. Each refusal must name what is wrong, and leave everything as it was.
 */
#include "tests/pair_fixture.h"

#include "sync/record_private.h"

static const char lines[] = "one\ntwo\nthree\nfour\nfive\n";

static void common(void)
{
	px_put(0, "f.txt", lines);
	px_mkdir(0, "d");
	px_put(0, "d/g", "inside\n");
	px_mkdir(1, "d2");
	px_mkdir(1, "d2/sub");
	px_meet();
	px_down();
}

/* ---- a side as it was ---- */

struct picture {
	char *dump;
	struct volume_info info;
};

static struct picture picture_take(int i)
{
	struct picture p = { .dump = px_dump(i) };

	volume_info(px[i].v, &p.info);
	return p;
}

static void picture_check(int i, struct picture *p, const char *what)
{
	struct picture now = picture_take(i);

	ck_assert_msg(strcmp(p->dump, now.dump) == 0, "%s: side %d was\n%snow\n%s", what, i, p->dump, now.dump);
	ck_assert_msg(p->info.committed == now.info.committed && p->info.applied == now.info.applied &&
			      p->info.acked == now.info.acked && p->info.cut == now.info.cut,
		      "%s: side %d has other groups", what, i);
	ck_assert_msg(p->info.pending_entries == now.info.pending_entries &&
			      p->info.history_bytes == now.info.history_bytes &&
			      p->info.used_bytes == now.info.used_bytes && !now.info.read_only,
		      "%s: side %d: pending %llu history %llu used %llu", what, i,
		      (unsigned long long)now.info.pending_entries, (unsigned long long)now.info.history_bytes,
		      (unsigned long long)now.info.used_bytes);
	free(p->dump);
	free(now.dump);
}

/* ---- a peer made by hand ---- */

struct peer {
	int i;  /* the side that it talks to */
	int rc; /* of the first frame that was refused; later ones are not sent */
	struct err err;
	struct rec_hello hello;  /* as the real peer would say it */
	struct volume_info info; /* of side i */
	uint64_t frames, next;
};

static void say_bytes(struct peer *p, const uint8_t *data, size_t len)
{
	if (p->rc == 0)
		p->rc = engine_receive(px[p->i].e, data, len, px_now_ms, &p->err);
}

static void say(struct peer *p, const struct frame *f)
{
	struct buf b;

	buf_init(&b, FRAME_MAX_BYTES);
	ck_assert_int_eq(frame_encode(&b, f), 0);
	say_bytes(p, b.data, b.len_bytes);
	buf_release(&b);
	p->frames++;
}

/* The connection is up at side i; the peer has not said anything. */
static struct peer peer_new(int i)
{
	struct peer p = { .i = i, .err = ERR_INIT };
	struct frame *f = xcalloc(1, sizeof(*f));
	struct buf b;

	buf_init(&b, FRAME_MAX_BYTES);
	engine_up(px[!i].e, px_now_ms);
	ck_assert_int_gt(engine_pull(px[!i].e, &b, 1, &p.err), 0);
	engine_down(px[!i].e);
	ck_assert_int_gt(frame_decode(b.data, b.len_bytes, f, NULL, &p.err), 0);
	ck_assert_uint_eq(f->type, FRAME_HELLO);
	p.hello = f->hello;
	buf_release(&b);
	free(f);
	volume_info(px[i].v, &p.info);
	p.next = (uint64_t)(2 - i) << ID_SLOT_SHIFT | 0x100000;
	engine_up(px[i].e, px_now_ms);
	return p;
}

static void say_hello(struct peer *p)
{
	say(p, &(struct frame){ .type = FRAME_HELLO, .hello = p->hello });
}

static struct rec_ship_begin good_begin(struct peer *p)
{
	return (struct rec_ship_begin){ .from = p->info.applied,
					.to = p->info.applied + 1,
					.to_id = 77,
					.seen = p->info.committed,
					.entries = 4,
					.wants_ack = 1 };
}

static void say_begin(struct peer *p, struct rec_ship_begin b)
{
	say(p, &(struct frame){ .type = FRAME_SHIP_BEGIN, .begin = b });
	p->frames = 0;
}

static void say_end(struct peer *p)
{
	say(p, &(struct frame){ .type = FRAME_SHIP_END, .end = { .to = p->info.applied + 1, .frames = p->frames } });
}

static void say_inode(struct peer *p, uint64_t ino, uint32_t fields, uint32_t mode, uint64_t size)
{
	struct frame *f = xcalloc(1, sizeof(*f));

	f->type = FRAME_INODE;
	f->inode = (struct rec_inode){ .ino = ino,
				       .fields = fields,
				       .mode = mode,
				       .size_bytes = size,
				       .shrunk_to = UINT64_MAX,
				       .seen_content = p->info.committed,
				       .seen_mode = p->info.committed,
				       .seen_owner = p->info.committed,
				       .seen_times = p->info.committed };
	if (S_ISLNK(mode) && (fields & REC_NEW)) {
		f->inode.target_len = 1;
		f->inode.target[0] = 'x';
	}
	say(p, f);
	free(f);
}

static void say_link(struct peer *p, uint64_t link, uint64_t child, uint64_t parent, const char *name)
{
	struct frame *f = xcalloc(1, sizeof(*f));

	f->type = FRAME_LINK;
	f->link = (struct rec_link){ .link = link,
				     .child = child,
				     .parent = parent,
				     .seen = p->info.committed,
				     .name_len = parent ? (uint8_t)strlen(name) : 0 };
	snprintf(f->link.name, sizeof(f->link.name), "%s", parent ? name : "");
	say(p, f);
	free(f);
}

static void say_data(struct peer *p, uint64_t ino, uint64_t off, const char *text)
{
	say(p, &(struct frame){
		       .type = FRAME_DATA,
		       .data = { .ino = ino, .off = off, .len_bytes = strlen(text), .data = (const uint8_t *)text } });
}

static void say_xattr(struct peer *p, uint64_t ino)
{
	struct frame *f = xcalloc(1, sizeof(*f));

	f->type = FRAME_XATTR;
	f->xattr = (struct rec_xattr){
		.ino = ino, .seen = p->info.committed, .value_len = 1, .value = (const uint8_t *)"v"
	};
	snprintf(f->xattr.key, sizeof(f->xattr.key), "user.k");
	say(p, f);
	free(f);
}

#define NEW_FILE (REC_NEW | REC_CONTENT | REC_MODE | REC_OWNER | REC_TIMES)

static uint64_t new_id(struct peer *p)
{
	return p->next++;
}

/* A new file with a name, all legal. */
static uint64_t say_file(struct peer *p, uint64_t parent, const char *name)
{
	uint64_t ino = new_id(p);

	say_inode(p, ino, NEW_FILE, S_IFREG | 0644, 3);
	say_link(p, new_id(p), ino, parent, name);
	say_data(p, ino, 0, "abc");
	return ino;
}

static uint64_t say_dir(struct peer *p, uint64_t link, uint64_t parent, const char *name)
{
	uint64_t ino = new_id(p);

	say_inode(p, ino, NEW_FILE & ~(uint32_t)REC_CONTENT, S_IFDIR | 0755, 0);
	say_link(p, link, ino, parent, name);
	return ino;
}

static uint64_t link_of(struct peer *p, const char *path)
{
	const char *name;
	uint64_t dir = px_split(p->i, path, &name);
	struct dentry d;

	volume_lock(px[p->i].v);
	ck_assert_int_eq(tree_lookup(px[p->i].v, dir, name, strlen(name), &d), 0);
	volume_unlock(px[p->i].v);
	return d.link;
}

/* The other side and its engine are well: a new connection brings everything. */
static void works_again(int i)
{
	px_put(i, "later", "here\n");
	px_put(!i, "later2", "there\n");
	px_meet();
	px_expect("later", "here\n");
	px_expect("later2", "there\n");
}

static void expect_refused(struct peer *p, struct picture *before, const char *what, int code, const char *words)
{
	ck_assert_msg(p->rc == code, "side %d, %s: %d (%s), expected %d", p->i, what, p->rc, err_text(&p->err), code);
	ck_assert_msg(p->err.code == code && strstr(p->err.text, words), "side %d, %s: '%s' does not say '%s'", p->i,
		      what, p->err.text, words);
	engine_down(px[p->i].e);
	picture_check(p->i, before, what);
	works_again(p->i);
}

/* ---- HELLO ---- */

static void other_volume(struct peer *p)
{
	p->hello.volume_id[0] = 'a';
	say_hello(p);
}

static void same_role(struct peer *p)
{
	p->hello.role = (uint8_t)p->info.role;
	say_hello(p);
}

static void no_role(struct peer *p)
{
	p->hello.role = ROLE_NONE;
	say_hello(p);
}

static void other_generation(struct peer *p)
{
	/* A secondary of a later one, a primary of an earlier one. */
	p->hello.generation += p->info.role == ROLE_PRIMARY ? 1 : -1;
	say_hello(p);
}

static void later_protocol(struct peer *p)
{
	p->hello.version = PROTOCOL_VERSION + 1;
	say_hello(p);
}

static void my_own_id(struct peer *p)
{
	memcpy(p->hello.node_id, p->info.node_id, sizeof(p->hello.node_id));
	say_hello(p);
}

static void hello_twice(struct peer *p)
{
	say_hello(p);
	ck_assert_int_eq(p->rc, 0);
	say_hello(p);
}

static void shipment_before_hello(struct peer *p)
{
	say_begin(p, good_begin(p));
}

static void inode_before_hello(struct peer *p)
{
	say_inode(p, INO_ROOT, REC_MODE, S_IFDIR | 0700, 0);
}

static void end_before_hello(struct peer *p)
{
	say_end(p);
}

static void has_more_than_there_is(struct peer *p)
{
	p->hello.applied = p->info.committed + 1;
	say_hello(p);
}

static void has_less_than_we_have(struct peer *p)
{
	p->hello.committed = p->info.applied - 1;
	say_hello(p);
}

static void forgot_what_it_acknowledged(struct peer *p)
{
	ck_assert_uint_gt(p->info.acked, 0);
	p->hello.applied = p->info.acked - 1;
	say_hello(p);
}

static void has_another_group_of_that_number(struct peer *p)
{
	p->hello.applied_id ^= 1;
	say_hello(p);
}

static void reseal(struct buf *b)
{
	uint32_t sum = record_sum(b->data + LEN_BYTES, b->len_bytes - LEN_BYTES - SUM_BYTES);

	for (size_t k = 0; k < SUM_BYTES; k++)
		b->data[b->len_bytes - SUM_BYTES + k] = (uint8_t)(sum >> (8 * k));
}

static void patched_hello(struct peer *p, size_t at, uint8_t value, bool seal)
{
	struct buf b;

	buf_init(&b, FRAME_MAX_BYTES);
	ck_assert_int_eq(frame_encode(&b, &(struct frame){ .type = FRAME_HELLO, .hello = p->hello }), 0);
	b.data[at] = value;
	if (seal)
		reseal(&b);
	say_bytes(p, b.data, b.len_bytes);
	buf_release(&b);
}

static void damaged_hello(struct peer *p)
{
	patched_hello(p, LEN_BYTES + 20, '!', false);
}

static void hello_of_version_0(struct peer *p)
{
	patched_hello(p, LEN_BYTES + 1, 0, true);
}

static void unknown_frame(struct peer *p)
{
	patched_hello(p, LEN_BYTES, 99, true);
}

static void half_a_frame(struct peer *p)
{
	struct buf b;

	buf_init(&b, FRAME_MAX_BYTES);
	ck_assert_int_eq(frame_encode(&b, &(struct frame){ .type = FRAME_HELLO, .hello = p->hello }), 0);
	say_bytes(p, b.data, b.len_bytes - 1);
	buf_release(&b);
}

static void say_staged(struct peer *p, uint16_t n)
{
	static const struct staged_range ranges[2] = { { 3, 0, 1 }, { 3, 1, 1 } };

	say(p, &(struct frame){ .type = FRAME_STAGED, .staged = { .group = 1, .id = 2, .n = n, .ranges = ranges } });
}

static void staged_before_hello(struct peer *p)
{
	say_staged(p, 1);
}

static void staged_unasked(struct peer *p)
{
	say_hello(p);
	say_staged(p, 1);
}

static void more_staged_than_said(struct peer *p)
{
	p->hello.staged = 1;
	say_hello(p);
	say_staged(p, 2);
}

static void more_staged_than_can_be(struct peer *p)
{
	p->hello.staged = UINT32_MAX;
	say_hello(p);
}

struct refusal {
	const char *what;
	void (*act)(struct peer *p);
	int code;
	const char *words;
};

static const struct refusal hellos[] = {
	{ "another volume", other_volume, -EPERM, "another volume" },
	{ "the same role", same_role, -EPERM, "one must be primary" },
	{ "no role", no_role, -EPERM, "one must be primary" },
	{ "another generation", other_generation, -ESTALE, "generation" },
	{ "a later protocol", later_protocol, -EPERM, "protocol" },
	{ "our own node id", my_own_id, -EPERM, "copy of this very store" },
	{ "HELLO twice", hello_twice, -EBADMSG, "HELLO twice" },
	{ "a shipment before HELLO", shipment_before_hello, -EBADMSG, "before HELLO" },
	{ "an inode before HELLO", inode_before_hello, -EBADMSG, "before HELLO" },
	{ "an end before HELLO", end_before_hello, -EBADMSG, "before HELLO" },
	{ "more than there is", has_more_than_there_is, -ESTALE, "older" },
	{ "less than we have", has_less_than_we_have, -ESTALE, "older" },
	{ "less than was acknowledged", forgot_what_it_acknowledged, -ESTALE, "forgotten" },
	{ "a group of another id", has_another_group_of_that_number, -ESTALE, "written on" },
	{ "a wrong sum", damaged_hello, -EBADMSG, "sum" },
	{ "version 0", hello_of_version_0, -EBADMSG, "version" },
	{ "an unknown frame", unknown_frame, -EBADMSG, "unknown type" },
	{ "half a frame", half_a_frame, -EBADMSG, "cut short" },
	{ "what is staged before HELLO", staged_before_hello, -EBADMSG, "before HELLO" },
	{ "what is staged, unasked", staged_unasked, -EBADMSG, "unasked" },
	{ "more staged than it said", more_staged_than_said, -EBADMSG, "more staged" },
	{ "more staged than can be", more_staged_than_can_be, -EBADMSG, "ranges staged" },
};

static void run(const struct refusal *r, int i)
{
	struct picture before;
	struct peer p;

	px_setup();
	common();
	before = picture_take(i);
	p = peer_new(i);
	r->act(&p);
	expect_refused(&p, &before, r->what, r->code, r->words);
	px_down();
	px_teardown();
}

START_TEST(a_wrong_hello_is_refused)
{
	run(&hellos[_i / 2], _i % 2);
}
END_TEST

/* ---- shipments ---- */

static void open_shipment(struct peer *p)
{
	say_hello(p);
	say_begin(p, good_begin(p));
	ck_assert_msg(p->rc == 0, "%s", p->err.text);
}

static void record_outside(struct peer *p)
{
	say_hello(p);
	say_inode(p, INO_ROOT, REC_MODE, S_IFDIR | 0700, 0);
}

static void end_outside(struct peer *p)
{
	say_hello(p);
	say_end(p);
}

static void from_a_later_group(struct peer *p)
{
	struct rec_ship_begin b = good_begin(p);

	say_hello(p);
	b.from++;
	b.to++;
	say_begin(p, b);
}

static void from_an_earlier_group(struct peer *p)
{
	struct rec_ship_begin b = good_begin(p);

	say_hello(p);
	b.from--;
	say_begin(p, b);
}

static void saw_the_future(struct peer *p)
{
	struct rec_ship_begin b = good_begin(p);

	say_hello(p);
	b.seen = p->info.committed + 1;
	say_begin(p, b);
}

static void saw_less_than_before(struct peer *p)
{
	struct rec_ship_begin b = good_begin(p);

	say_hello(p);
	b.seen = p->info.acked - 1;
	say_begin(p, b);
}

static void too_many_entries(struct peer *p)
{
	struct rec_ship_begin b = good_begin(p);

	say_hello(p);
	b.entries = UINT64_MAX;
	say_begin(p, b);
}

static void shipment_in_shipment(struct peer *p)
{
	open_shipment(p);
	say_begin(p, good_begin(p));
}

static void hello_in_shipment(struct peer *p)
{
	open_shipment(p);
	say_hello(p);
}

static void end_of_another_group(struct peer *p)
{
	open_shipment(p);
	say_file(p, INO_ROOT, "new");
	p->info.applied++;
	say_end(p);
}

static void end_with_another_count(struct peer *p)
{
	open_shipment(p);
	say_file(p, INO_ROOT, "new");
	p->frames++;
	say_end(p);
}

static void inode_twice(struct peer *p)
{
	open_shipment(p);
	say_inode(p, px_at(p->i, "f.txt"), REC_MODE, S_IFREG | 0600, 0);
	say_inode(p, px_at(p->i, "f.txt"), REC_MODE, S_IFREG | 0600, 0);
}

static void link_twice(struct peer *p)
{
	open_shipment(p);
	say_link(p, link_of(p, "f.txt"), px_at(p->i, "f.txt"), INO_ROOT, "a");
	say_link(p, link_of(p, "f.txt"), px_at(p->i, "f.txt"), INO_ROOT, "b");
}

static void slot_too_high(struct peer *p)
{
	open_shipment(p);
	say_inode(p, UINT64_C(256) << ID_SLOT_SHIFT | 1, NEW_FILE, S_IFREG | 0600, 0);
}

static void slot_none(struct peer *p)
{
	open_shipment(p);
	say_inode(p, 7, NEW_FILE, S_IFREG | 0600, 0);
}

static uint64_t not_given_out(struct peer *p)
{
	uint64_t id;

	volume_lock(px[p->i].v);
	id = id_peek(px[p->i].v);
	volume_unlock(px[p->i].v);
	return id;
}

static void inode_of_mine(struct peer *p)
{
	open_shipment(p);
	say_inode(p, not_given_out(p), NEW_FILE, S_IFREG | 0600, 0);
}

static void link_of_mine(struct peer *p)
{
	open_shipment(p);
	say_link(p, not_given_out(p), px_at(p->i, "f.txt"), INO_ROOT, "a");
}

static void child_of_mine(struct peer *p)
{
	open_shipment(p);
	say_link(p, new_id(p), not_given_out(p), INO_ROOT, "a");
}

static void parent_of_mine(struct peer *p)
{
	open_shipment(p);
	say_link(p, new_id(p), px_at(p->i, "f.txt"), not_given_out(p), "a");
}

static void root_as_new(struct peer *p)
{
	open_shipment(p);
	say_inode(p, INO_ROOT, NEW_FILE, S_IFDIR | 0700, 0);
}

static void link_to_root(struct peer *p)
{
	open_shipment(p);
	say_link(p, new_id(p), INO_ROOT, px_at(p->i, "d"), "up");
}

static void link_is_reserved(struct peer *p)
{
	open_shipment(p);
	say_link(p, INO_HIDDEN, px_at(p->i, "f.txt"), INO_ROOT, "a");
}

static void dir_in_itself(struct peer *p)
{
	open_shipment(p);
	say_link(p, link_of(p, "d"), px_at(p->i, "d"), px_at(p->i, "d"), "d");
}

static void data_without_inode(struct peer *p)
{
	open_shipment(p);
	say_data(p, px_at(p->i, "f.txt"), 0, "x");
}

static void data_without_content(struct peer *p)
{
	open_shipment(p);
	say_inode(p, px_at(p->i, "f.txt"), REC_MODE, S_IFREG | 0600, 100);
	say_data(p, px_at(p->i, "f.txt"), 0, "x");
}

static void data_past_the_end(struct peer *p)
{
	open_shipment(p);
	say_inode(p, px_at(p->i, "f.txt"), REC_CONTENT, S_IFREG | 0600, 10);
	say_data(p, px_at(p->i, "f.txt"), 9, "xy");
}

static void hole_past_the_end(struct peer *p)
{
	open_shipment(p);
	say_inode(p, px_at(p->i, "f.txt"), REC_CONTENT, S_IFREG | 0600, 10);
	say(p,
	    &(struct frame){ .type = FRAME_HOLE, .data = { .ino = px_at(p->i, "f.txt"), .off = 0, .len_bytes = 11 } });
}

static void data_of_the_root(struct peer *p)
{
	open_shipment(p);
	say_data(p, INO_ROOT, 0, "x");
}

static void xattr_of_mine(struct peer *p)
{
	open_shipment(p);
	say_xattr(p, not_given_out(p));
}

static void staged_here_but_is_not(struct peer *p)
{
	open_shipment(p);
	say_inode(p, new_id(p), NEW_FILE | REC_STAGED, S_IFREG | 0644, 5);
}

static const struct refusal records[] = {
	{ "a record outside of a shipment", record_outside, -EBADMSG, "outside of a shipment" },
	{ "an end outside of a shipment", end_outside, -EBADMSG, "not the one it began" },
	{ "a shipment from a later group", from_a_later_group, -EBADMSG, "applied here" },
	{ "a shipment from an earlier group", from_an_earlier_group, -EBADMSG, "applied here" },
	{ "seen beyond what is committed", saw_the_future, -EBADMSG, "claims to have seen" },
	{ "seen less than acknowledged", saw_less_than_before, -EBADMSG, "claims to have seen" },
	{ "too many entries", too_many_entries, -EBADMSG, "entries" },
	{ "a shipment inside a shipment", shipment_in_shipment, -EBADMSG, "inside another" },
	{ "HELLO inside a shipment", hello_in_shipment, -EBADMSG, "HELLO twice" },
	{ "the end of another group", end_of_another_group, -EBADMSG, "not the one it began" },
	{ "an end with another count", end_with_another_count, -EBADMSG, "not the one it began" },
	{ "an inode twice", inode_twice, -EBADMSG, "an inode twice" },
	{ "a link twice", link_twice, -EBADMSG, "a link twice" },
	{ "an inode of slot 256", slot_too_high, -EBADMSG, "outside its space" },
	{ "an inode of slot 0", slot_none, -EBADMSG, "outside its space" },
	{ "an inode of ours, not given out", inode_of_mine, -EBADMSG, "outside its space" },
	{ "a link of ours, not given out", link_of_mine, -EBADMSG, "outside its space" },
	{ "a child of ours, not given out", child_of_mine, -EBADMSG, "outside its space" },
	{ "a parent of ours, not given out", parent_of_mine, -EBADMSG, "outside its space" },
	{ "the root as new", root_as_new, -EBADMSG, "reserved inode" },
	{ "a link to the root", link_to_root, -EBADMSG, "outside its space" },
	{ "a reserved link id", link_is_reserved, -EBADMSG, "outside its space" },
	{ "a directory inside itself", dir_in_itself, -EBADMSG, "inside itself" },
	{ "data without its inode", data_without_inode, -EBADMSG, "without its inode" },
	{ "data of an inode without content", data_without_content, -EBADMSG, "without its inode" },
	{ "data past the end", data_past_the_end, -EBADMSG, "past the end" },
	{ "a hole past the end", hole_past_the_end, -EBADMSG, "past the end" },
	{ "data of the root", data_of_the_root, -EBADMSG, "outside its space" },
	{ "an attribute of an inode of ours, not given out", xattr_of_mine, -EBADMSG, "outside its space" },
	{ "a file whose bytes are said to be here", staged_here_but_is_not, -EBADMSG, "believes bytes to be here" },
};

START_TEST(a_record_that_breaks_a_rule_is_refused)
{
	run(&records[_i / 2], _i % 2);
}
END_TEST

/* ---- trees that cannot be: seen at the end of the shipment ---- */

static void parent_is_nowhere(struct peer *p)
{
	open_shipment(p);
	say_file(p, new_id(p), "a");
	say_end(p);
}

static void child_is_nowhere(struct peer *p)
{
	open_shipment(p);
	say_link(p, new_id(p), new_id(p), INO_ROOT, "a");
	say_end(p);
}

static void loop_of_new(struct peer *p)
{
	uint64_t a = new_id(p), b = new_id(p);

	open_shipment(p);
	say_inode(p, a, NEW_FILE & ~(uint32_t)REC_CONTENT, S_IFDIR | 0755, 0);
	say_inode(p, b, NEW_FILE & ~(uint32_t)REC_CONTENT, S_IFDIR | 0755, 0);
	say_link(p, new_id(p), a, b, "a");
	say_link(p, new_id(p), b, a, "b");
	say_end(p);
}

static void loop_of_old(struct peer *p)
{
	open_shipment(p);
	say_link(p, link_of(p, "d2"), px_at(p->i, "d2"), px_at(p->i, "d2/sub"), "d2");
	say_end(p);
}

static void one_name_twice(struct peer *p)
{
	open_shipment(p);
	say_file(p, INO_ROOT, "new");
	say_file(p, INO_ROOT, "new");
	say_end(p);
}

static void name_taken(struct peer *p)
{
	open_shipment(p);
	say_file(p, INO_ROOT, "f.txt");
	say_end(p);
}

static void hidden_name(struct peer *p)
{
	open_shipment(p);
	say_file(p, INO_ROOT, HIDDEN_NAME);
	say_end(p);
}

static void type_changed(struct peer *p)
{
	open_shipment(p);
	say_inode(p, px_at(p->i, "f.txt"), REC_MODE, S_IFDIR | 0700, 0);
	say_end(p);
}

static void type_changed_as_new(struct peer *p)
{
	open_shipment(p);
	say_inode(p, px_at(p->i, "f.txt"), NEW_FILE & ~(uint32_t)REC_CONTENT, S_IFIFO | 0600, 0);
	say_link(p, link_of(p, "f.txt"), px_at(p->i, "f.txt"), INO_ROOT, "f.txt");
	say_end(p);
}

static void content_of_a_directory(struct peer *p)
{
	open_shipment(p);
	say_inode(p, px_at(p->i, "d"), REC_CONTENT, S_IFREG | 0644, 3);
	say_data(p, px_at(p->i, "d"), 0, "abc");
	say_end(p);
}

static void directory_removed_with_a_file_in_it(struct peer *p)
{
	open_shipment(p);
	say_link(p, link_of(p, "d"), px_at(p->i, "d"), 0, "");
	say_end(p);
}

static const struct refusal trees[] = {
	{ "one name for two links", one_name_twice, -EBADMSG, "no valid tree" },
	{ "the hidden directory's name", hidden_name, -EBADMSG, "no valid tree" },
	{ "another type", type_changed, -EBADMSG, "no valid tree" },
	{ "another type, as new", type_changed_as_new, -EBADMSG, "no valid tree" },
	{ "content of a directory", content_of_a_directory, -EBADMSG, "no valid tree" },
};

START_TEST(a_shipment_that_makes_no_tree_is_refused_whole)
{
	run(&trees[_i / 2], _i % 2);
}
END_TEST

/* It would say so again and again: ours stays, and its file is in a directory of its own. */
START_TEST(a_name_that_is_taken_and_unchanged_here_stays_ours_and_the_peers_file_is_elsewhere)
{
	struct peer p;
	char *path;

	px_setup();
	common();
	p = peer_new(0);
	name_taken(&p);
	ck_assert_msg(p.rc == 0, "%s", p.err.text);
	ck_assert_str_eq(px_bytes(0, px_at(0, "f.txt"), NULL), lines);
	path = xasprintf("%s/1-f.txt", px_find(0, "", "unplaced.conflict-birch-"));
	ck_assert_msg(px_at(0, path) != 0, "there is no %s", path);
	free(path);
	px_down();
	px_teardown();
}
END_TEST

/* The secondary cannot tell these from links that its own changes have overtaken: it leaves them, and tells the
 * primary. */
static const struct refusal unplaceable[] = {
	{ "a parent that is nowhere", parent_is_nowhere, 0, "" },
	{ "a child that is nowhere", child_is_nowhere, 0, "" },
	{ "a loop of new directories", loop_of_new, 0, "" },
	{ "a loop of directories that are here", loop_of_old, 0, "" },
	{ "a name that is taken", name_taken, 0, "" },
	{ "a directory removed with a file in it", directory_removed_with_a_file_in_it, 0, "" },
};

START_TEST(a_link_that_has_no_place_leaves_the_secondarys_tree_as_it_was)
{
	const struct refusal *r = &unplaceable[_i];
	char *before, *after;
	struct peer p;

	px_setup();
	common();
	before = px_dump(1);
	p = peer_new(1);
	r->act(&p);
	ck_assert_msg(p.rc == 0 || p.rc == -EBADMSG, "%s: %s", r->what, p.err.text);
	engine_down(px[1].e);
	after = px_dump(1);
	ck_assert_msg(strcmp(before, after) == 0, "%s: was\n%snow\n%s", r->what, before, after);
	free(before);
	free(after);
	px_teardown();
}
END_TEST

START_TEST(a_legal_shipment_made_by_hand_is_taken)
{
	for (int i = 0; i < 2; i++) {
		struct peer p;
		uint64_t ino;

		px_setup();
		common();
		p = peer_new(i);
		open_shipment(&p);
		ino = say_file(&p, INO_ROOT, "new");
		say_xattr(&p, ino);
		say_file(&p, say_dir(&p, new_id(&p), INO_ROOT, "newdir"), "in");
		say_link(&p, link_of(&p, "d2/sub"), px_at(i, "d2/sub"), INO_ROOT, "sub");
		say_end(&p);
		ck_assert_msg(p.rc == 0, "%s", p.err.text);
		ck_assert_uint_eq(px_at(i, "new"), ino);
		ck_assert_str_eq(px_bytes(i, ino, NULL), "abc");
		ck_assert_str_eq(px_xattr(i, "new", "user.k"), "v");
		ck_assert_uint_ne(px_at(i, "newdir/in"), 0);
		ck_assert_uint_ne(px_at(i, "sub"), 0);
		engine_down(px[i].e);
		px_teardown();
	}
}
END_TEST

/* The peer may know a name as one of another file: it had made it one with its own before it was heard here. */
START_TEST(a_name_goes_with_the_file_that_it_has_here_whatever_the_peer_takes_it_for)
{
	uint64_t ino, other;
	struct peer p;

	px_setup();
	common();
	ino = px_at(_i, "f.txt");
	other = px_at(_i, "d/g");
	p = peer_new(_i);
	open_shipment(&p);
	say_link(&p, link_of(&p, "f.txt"), other, 0, "");
	say_end(&p);
	ck_assert_msg(p.rc == 0, "%s", p.err.text);
	ck_assert_uint_eq(px_at(_i, "f.txt"), 0);
	ck_assert_str_eq(px_bytes(_i, other, NULL), "inside\n");
	volume_lock(px[_i].v);
	ck_assert_int_eq(tree_inode_get(px[_i].v, ino, &(struct inode){ 0 }), -ENOENT);
	volume_unlock(px[_i].v);
	engine_down(px[_i].e);
	px_teardown();
}
END_TEST

START_TEST(an_attribute_of_an_inode_that_is_gone_is_nothing)
{
	struct picture before;
	struct peer p;

	px_setup();
	common();
	before = picture_take(_i);
	p = peer_new(_i);
	open_shipment(&p);
	say_xattr(&p, new_id(&p));
	say_end(&p);
	engine_down(px[_i].e);
	if (p.rc < 0) {
		picture_check(_i, &before, "an attribute of nothing");
		works_again(_i);
	} else {
		char *now = px_dump(_i);

		ck_assert_str_eq(before.dump, now);
		free(now);
		free(before.dump);
	}
	px_down();
	px_teardown();
}
END_TEST

/* ---- stores put back from a copy ---- */

static void store_close(int i)
{
	engine_free(px[i].e);
	px[i].e = NULL;
	ck_assert_int_eq(volume_close(px[i].v), 0);
	px[i].v = NULL;
}

static void store_copy(int i)
{
	store_close(i);
	px_shell("cp -a '%s' '%s.copy'", px[i].dir, px[i].dir);
	px_open(i);
}

static void store_put_back(int i)
{
	store_close(i);
	px_shell("rm -rf '%s' && cp -a '%s.copy' '%s'", px[i].dir, px[i].dir, px[i].dir);
	px_open(i);
}

/* They meet, and whoever refuses drops the connection. What each side said to the other's HELLO. */
static void handshake(int said[2], struct err err[2])
{
	px_up();
	for (int i = 0; i < 2; i++)
		px_talk(i);
	for (int i = 0; i < 2; i++) {
		err[!i] = (struct err)ERR_INIT;
		ck_assert_uint_eq(px_next(i), FRAME_HELLO);
		said[!i] = px_deliver(i, &err[!i]);
	}
	px_down();
}

/* Both sides show these words: they name whose store it is, and fit into a BYE. */
static void blames(int i, const struct err *err)
{
	ck_assert_msg(strstr(err->text, i ? "the store of birch " : "the store of alder "), "%s", err->text);
	ck_assert_ptr_null(strstr(err->text, "this "));
	ck_assert_ptr_nonnull(strstr(err->text, "copy"));
	ck_assert_uint_le(strlen(err->text), 255);
}

START_TEST(an_old_copy_that_lacks_what_it_sent_is_refused_by_both)
{
	int said[2];
	struct err err[2];
	struct picture p[2];

	common();
	store_copy(_i);
	px_put(_i, "f.txt", "after the copy\n");
	px_meet();
	px_down();
	store_put_back(_i);
	for (int i = 0; i < 2; i++)
		p[i] = picture_take(i);
	handshake(said, err);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(said[i], -ESTALE);
		blames(_i, &err[i]);
		picture_check(i, &p[i], "put back");
	}
}
END_TEST

START_TEST(an_old_copy_that_lacks_what_it_received_is_refused)
{
	int said[2];
	struct err err[2];
	struct picture p[2];

	common();
	store_copy(_i);
	px_put(!_i, "f.txt", "after the copy\n");
	px_meet();
	px_down();
	store_put_back(_i);
	for (int i = 0; i < 2; i++)
		p[i] = picture_take(i);
	handshake(said, err);
	ck_assert_int_eq(said[!_i], -ESTALE);
	blames(_i, &err[!_i]);
	for (int i = 0; i < 2; i++)
		picture_check(i, &p[i], "put back");
}
END_TEST

START_TEST(an_old_copy_that_was_written_on_is_refused)
{
	int said[2];
	struct err err[2];
	struct picture p[2];

	common();
	store_copy(_i);
	px_put(_i, "f.txt", "after the copy\n");
	px_meet();
	px_down();
	store_put_back(_i);
	/* More groups than the peer has ever seen: the numbers alone look well. */
	for (int n = 0; n < 20; n++) {
		px_append(_i, "f.txt", "another history\n");
		ck_assert_int_eq(volume_commit(px[_i].v), 0);
	}
	for (int i = 0; i < 2; i++)
		p[i] = picture_take(i);
	handshake(said, err);
	ck_assert_int_eq(said[_i], -ESTALE);
	blames(_i, &err[_i]);
	for (int i = 0; i < 2; i++)
		picture_check(i, &p[i], "written on");
}
END_TEST

START_TEST(the_newest_copy_put_back_is_fine)
{
	common();
	px_put(_i, "f.txt", "before the copy\n");
	px_meet();
	px_down();
	store_copy(_i);
	store_put_back(_i);
	works_again(_i);
}
END_TEST

/* ---- ends in the middle ---- */

enum ending { END_CUT, END_CRASH_PRIMARY, END_CRASH_SECONDARY, END_CRASH_BOTH, N_ENDINGS };

/* Different files, the same file, one log, a removal on each side: an outcome of which nothing may be there twice. */
static void two_histories(void)
{
	px_put(0, "f.txt", "one\nalder\nthree\n");
	px_put(1, "f.txt", "one\nbirch\nthree\n");
	px_append(0, "x.log", "alder\n");
	px_append(1, "x.log", "birch\n");
	px_put(0, "p.txt", "p\n");
	px_put(1, "s.txt", "s\n");
	px_unlink(0, "old.p");
	px_unlink(1, "old.s");
	px_rename(1, "d", "e");
	px_put(0, "d/g", "changed inside\n");
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(volume_commit(px[i].v), 0);
}

static void check_outcome(const char *when)
{
	px_expect("f.txt", "one\nalder\nthree\n");
	ck_assert_msg(*px_find(0, "", "f.conflict-birch"), "%s: no copy", when);
	px_expect(px_find(0, "", "f.conflict-birch"), "one\nbirch\nthree\n");
	px_expect("x.log", "start\nalder\nbirch\n");
	px_expect("p.txt", "p\n");
	px_expect("s.txt", "s\n");
	px_expect("e/g", "changed inside\n");
	px_gone("old.p");
	px_gone("old.s");
	px_gone("d");
	ck_assert_msg(px_count(0, "") == 6, "%s: %zu entries", when, px_count(0, ""));
}

/* Frames are delivered one by one until so many have been; false: the traffic ended before that. */
static bool deliver_frames(unsigned n)
{
	struct err err = ERR_INIT;

	px_up();
	for (unsigned idle = 0; idle < 3; idle++) {
		px_now_ms += 50;
		for (int i = 0; i < 2; i++) {
			px_talk(i);
			while (px_next(i)) {
				if (n-- == 0)
					return true;
				ck_assert_msg(px_deliver(i, &err) == 0, "%s", err.text);
				idle = 0;
			}
		}
	}
	return false;
}

static void end_so(enum ending e)
{
	px_down();
	if (e == END_CRASH_PRIMARY || e == END_CRASH_BOTH)
		px_crash(0);
	if (e == END_CRASH_SECONDARY || e == END_CRASH_BOTH)
		px_crash(1);
}

START_TEST(ended_after_any_frame_nothing_is_lost_and_nothing_is_there_twice)
{
	bool more = true;
	unsigned n;

	for (n = 0; more; n++) {
		char when[64];

		snprintf(when, sizeof(when), "ending %d after %u frames", _i, n);
		px_setup();
		px_put(0, "f.txt", "one\ntwo\nthree\n");
		px_put(0, "x.log", "start\n");
		px_put(0, "old.p", "x");
		px_put(0, "old.s", "x");
		px_mkdir(0, "d");
		px_put(0, "d/g", "inside\n");
		px_meet();
		px_down();
		two_histories();
		more = deliver_frames(n);
		end_so(_i);
		px_meet();
		check_outcome(when);
		px_down();
		px_teardown();
	}
	ck_assert_uint_gt(n, 20); /* else there was nothing to end in the middle of */
}
END_TEST

START_TEST(half_a_shipment_leaves_no_trace)
{
	struct err err = ERR_INIT;
	struct picture before;
	char big[5000];

	common();
	memset(big, 'x', sizeof(big));
	px_make(_i, "big", S_IFREG | 0644);
	px_write(_i, "big", big, sizeof(big), 0);
	ck_assert_int_eq(volume_commit(px[_i].v), 0);
	before = picture_take(!_i);
	px_up();
	for (int i = 0; i < 2; i++) {
		px_talk(i);
		ck_assert_int_eq(px_deliver(i, &err), 0);
	}
	px_now_ms += 50;
	px_talk(_i);
	while (px_next(_i) != FRAME_SHIP_END)
		ck_assert_msg(px_deliver(_i, &err) == 0, "%s", err.text);
	px_down();
	picture_check(!_i, &before, "half a shipment");
	px_meet();
	ck_assert_uint_eq(px_stat(!_i, "big").size_bytes, sizeof(big));
}
END_TEST

START_TEST(a_side_that_crashed_takes_back_only_what_it_had_not_committed)
{
	common();
	px_put(_i, "kept", "k\n");
	ck_assert_int_eq(volume_commit(px[_i].v), 0);
	px_put(_i, "lost", "l\n");
	px_crash(_i);
	px_meet();
	px_expect("kept", "k\n");
	px_gone("lost");
}
END_TEST

START_TEST(what_was_shipped_is_committed_before)
{
	struct err err = ERR_INIT;

	common();
	px_put(_i, "f.txt", "new\n");
	px_up();
	for (int i = 0; i < 2; i++) {
		px_talk(i);
		ck_assert_int_eq(px_deliver(i, &err), 0);
	}
	px_now_ms += 50;
	px_talk(_i);
	ck_assert_uint_eq(px_next(_i), FRAME_SHIP_BEGIN);
	while (px_next(_i))
		ck_assert_int_eq(px_deliver(_i, &err), 0);
	px_crash(_i); /* its acknowledgement is lost, too */
	ck_assert_str_eq(px_bytes(_i, px_at(_i, "f.txt"), NULL), "new\n");
	px_meet();
	px_expect("f.txt", "new\n");
}
END_TEST

static TCase *group(Suite *s, const char *name, bool stores)
{
	TCase *tc = tcase_create(name);

	if (stores)
		tcase_add_checked_fixture(tc, px_setup, px_teardown);
	tcase_set_timeout(tc, 60);
	suite_add_tcase(s, tc);
	return tc;
}

#define BOTH(tc, test) tcase_add_loop_test(tc, test, 0, 2)

int main(void)
{
	Suite *s = suite_create("engine_peer");
	TCase *tc = group(s, "rules", false);

	tcase_add_test(tc, a_legal_shipment_made_by_hand_is_taken);
	tcase_add_loop_test(tc, a_wrong_hello_is_refused, 0, 2 * ARRAY_LEN(hellos));
	tcase_add_loop_test(tc, a_record_that_breaks_a_rule_is_refused, 0, 2 * ARRAY_LEN(records));
	tcase_add_loop_test(tc, a_shipment_that_makes_no_tree_is_refused_whole, 0, 2 * ARRAY_LEN(trees));
	tcase_add_test(tc, a_name_that_is_taken_and_unchanged_here_stays_ours_and_the_peers_file_is_elsewhere);
	tcase_add_loop_test(tc, a_link_that_has_no_place_leaves_the_secondarys_tree_as_it_was, 0,
			    ARRAY_LEN(unplaceable));
	BOTH(tc, a_name_goes_with_the_file_that_it_has_here_whatever_the_peer_takes_it_for);
	BOTH(tc, an_attribute_of_an_inode_that_is_gone_is_nothing);
	tc = group(s, "copies", true);
	BOTH(tc, an_old_copy_that_lacks_what_it_sent_is_refused_by_both);
	BOTH(tc, an_old_copy_that_lacks_what_it_received_is_refused);
	BOTH(tc, an_old_copy_that_was_written_on_is_refused);
	BOTH(tc, the_newest_copy_put_back_is_fine);
	tc = group(s, "endings", false);
	tcase_add_loop_test(tc, ended_after_any_frame_nothing_is_lost_and_nothing_is_there_twice, 0, N_ENDINGS);
	tc = group(s, "crashes", true);
	BOTH(tc, half_a_shipment_leaves_no_trace);
	BOTH(tc, a_side_that_crashed_takes_back_only_what_it_had_not_committed);
	BOTH(tc, what_was_shipped_is_committed_before);
	return tap_main(s);
}
