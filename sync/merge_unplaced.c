/* SPDX-License-Identifier: MIT */
/*
 * The last way to take a shipment of the secondary's. All others ask what it means, and where that, with what is here,
 * makes no valid tree, they fail: its names contradict what we believe it to have, or what we decided cannot be put in
 * place. Sent again it would fail again, and the pair would stand still for ever. So here nothing that it says of names
 * is believed:
 *
 *   - Each name that we have stays, as if the secondary had it, too. It gets it again, with the file if it says that it
 *     has removed it.
 *   - Of what only it has (it made it, or we removed it and it wrote to it or gave it a name) each name is in one new
 *     directory, unplaced.conflict-NODE-DATE in the root, under a number and the name; directories too, with nothing in
 *     them. So it gets that as a move, and what it goes on with is about these very files.
 *   - Bytes and attributes are merged as ever: that depends on no name.
 *
 * This is a valid tree whatever it said, as ours is one, and there are no names in the new directory but ours. What is
 * lost is where the secondary had put things, and that it removed some; no bytes are.
 *
 * The ways, in turn (merge_shipment): as it is; with its names, each id meaning what the notes say; the records alone,
 * of all it does not mention it has what we have; and without its moves (both in merge_three_way); without the notes
 * of copies; without units; this one. Each is tried if the one before came to no valid tree, and then nothing of that
 * has landed, as its group was taken back. When this one fails too the shipment is refused: by then what is said of
 * names contradicts itself, or it is no names that it fails by, so the store is damaged, or the peer's is.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "sync/merge_land.h"
#include "util/conflict_name.h"
#include "util/log.h"
#include "util/util.h"

/* NUMBER-NAME; of a long NAME the end is cut off, at a character. */
static struct rs_pos numbered(struct merger *m, const struct rs_pos *at, size_t number)
{
	char *name;
	size_t len = at->name_len;

	if (len > NAME_MAX_BYTES - 24)
		for (len = NAME_MAX_BYTES - 24; len > 0 && ((unsigned char)at->name[len] & 0xc0) == 0x80; len--)
			;
	name = merge_keep(m, xasprintf("%zu-%.*s", number, (int)len, at->name));
	return (struct rs_pos){ .present = true, .parent = m->unplaced_dir, .name = name,
				.name_len = (uint16_t)strlen(name) };
}

static int make_dir(struct merger *m)
{
	static const char plain[] = "unplaced";
	char name[NAME_MAX_BYTES + 1];
	size_t len = conflict_name(plain, strlen(plain), m->names->peer, m->now_ms, 1, name);
	int rc = merge_make_dir_like(m, INO_ROOT, INO_ROOT, name, len, &m->unplaced_dir);

	/* Without links in the input it is a root there, in all three states. */
	m->inodes = merge_grow(m->inodes, m->n_inodes, &m->cap_inodes, sizeof(*m->inodes));
	m->inodes[m->n_inodes++] = (struct rs_inode){ .ino = m->unplaced_dir, .type = S_IFDIR };
	return rc;
}

/* Has it a name here? */
static void list_placed(struct merger *m, struct map *placed)
{
	for (size_t i = 0; i < m->n_links; i++)
		if (m->links[i].p.present && m->links[i].child)
			map_put(placed, m->links[i].child, 1);
}

/* We have no such name. Does it count that the secondary has it? */
static bool is_told(struct merger *m, const struct rs_link *l, const struct norm_link *rec, const struct map *placed)
{
	const struct norm_inode *n = merge_record_of_inode(m, l->child);

	if (!l->s.present || !l->child)
		return false;
	if (rec && rec->parent)
		return true;
	return !map_get(placed, l->child, NULL) &&
	       ((n && (n->rec->fields & (REC_CONTENT | REC_NEW))) || merge_bytes_record(m, l->child) ||
		shipment_xattr(m->s, l->child, NULL));
}

/* It has what we have, and gets it again if it may not. */
static int stay(struct merger *m, struct rs_link *l, struct norm_link *rec)
{
	bool as_here = merge_same_pos(&l->s, &l->p) && !map_get(&m->p_changed, l->id, NULL);

	l->b = l->s = l->p;
	if (rec)
		rec->lacks = rec->lacks || rec->parent == 0;
	return rec || as_here ? 0 : changes_touch_link(m->v, l->id, l->child, false, false);
}

/* All that it says of names it says of one moment. If that is no tree by itself it is no word of a twinfs. */
static int says_nothing_twice(struct merger *m)
{
	const size_t hidden_len = strlen(HIDDEN_NAME);
	struct map said = MAP_INIT;
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < m->s->n_links; i++) {
		const struct ship_link *l = &m->s->links[i], *other;
		uint64_t key = merge_name_key(l->parent, l->name, l->name_len), at;

		if (!l->parent)
			continue;
		if (l->parent == INO_ROOT && l->name_len == hidden_len && memcmp(l->name, HIDDEN_NAME, hidden_len) == 0)
			rc = -EBADMSG;
		other = map_get(&said, key, &at) ? &m->s->links[at - 1] : NULL;
		if (other && other->parent == l->parent && other->name_len == l->name_len &&
		    memcmp(other->name, l->name, l->name_len) == 0)
			rc = -EBADMSG;
		map_put(&said, key, i + 1);
	}
	map_release(&said);
	return rc;
}

int merge_unplaced(struct merger *m)
{
	struct map placed = MAP_INIT;
	size_t n = 0;
	int rc = says_nothing_twice(m);

	list_placed(m, &placed);
	for (size_t i = 0; rc == 0 && i < m->n_links; i++) {
		struct rs_link *l = &m->links[i];
		struct norm_link *rec = merge_record_of_link(m, l->id);

		l->unit = l->returns = l->p_unseen = false;
		if (l->p.present) {
			rc = stay(m, l, rec);
			continue;
		}
		l->b = (struct rs_pos){ 0 };
		if (!is_told(m, l, rec, &placed)) {
			l->s = l->b;
			continue;
		}
		if (!m->unplaced_dir)
			rc = make_dir(m);
		if (rc == 0)
			l->s = numbered(m, &l->s, ++n);
	}
	map_release(&placed);
	merge_index(m);
	merge_presence(m);
	if (rc == 0)
		log_warn("the peer's changes of names make no valid tree here: names stay as they are here%s",
			 n ? ", and what only the peer has is in a directory \"unplaced.conflict-...\"" : "");
	return rc;
}

int merge_note_unplaced(struct merger *m)
{
	const struct rs_note note = { .kind = "move", .outcome = "primary", .ino = m->unplaced_dir ? m->unplaced_dir
											     : INO_ROOT,
		.rule = m->unplaced_dir ? "the secondary's names make no valid tree with the primary's, which stay: "
					  "what only the secondary had is in this directory"
					: "the secondary's names make no valid tree with the primary's, which stay" };

	return merge_put_note(m, &note, NULL, NULL, 0);
}
