/* SPDX-License-Identifier: MIT */
/* The resolver asked: what it wants to know is answered, what it says is carried out, and if it finds no valid tree
 * it is asked again, believing less. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/landing.h"
#include "sync/merge_land.h"
#include "sync/name_fold.h"
#include "util/log.h"
#include "util/util.h"

/* By the resolver, between two pauses. */
#define ANSWERS_AT_ONCE 64u

/* The resolver asks. While it runs without the lock each answer takes it, and the next one lets others have it. */
static void answer_begin(struct merger *m)
{
	if (!m->unlocked)
		return;
	volume_lock_now(m->v);
	landing_look_again(m->v);
}

static void answer_end(struct merger *m)
{
	if (!m->unlocked)
		return;
	if (++m->asked % MIN(ANSWERS_AT_ONCE, volume_step_rows(m->v)) == 0)
		landing_pause(m->v);
	landing_look_away(m->v);
	volume_unlock(m->v);
}

static bool op_same_file(void *ctx, uint64_t ino_p, uint64_t ino_s)
{
	struct merger *m = ctx;
	const struct rec_inode *r = shipment_inode(m->s, ino_s);
	bool same;

	answer_begin(m);
	same = r && (r->fields & REC_NEW) && content_same_file(m->v, m->s, ino_p, r);
	answer_end(m);
	return same;
}

static bool op_name_taken(void *ctx, uint64_t parent, const char *name, size_t name_len)
{
	struct merger *m = ctx;
	struct dentry d;
	bool taken;

	if (parent == INO_ROOT && name_len == strlen(HIDDEN_NAME) && memcmp(name, HIDDEN_NAME, name_len) == 0)
		return true;
	answer_begin(m);
	taken = (m->s->is_part && landing_gives_name(m->v, parent, name, name_len)) ||
		(tree_lookup(m->v, parent, name, name_len, &d) == 0 && !map_get(&m->link_at, d.link, NULL));
	answer_end(m);
	return taken;
}

int merge_decide(struct merger *m, struct norm_inode *n)
{
	struct dentry d = { .name = "" };
	char *path = merge_path(m->v, n->cc.ino);
	int rc;

	tree_first_link(m->v, n->cc.ino, &d);
	n->cc.name = d.name;
	n->cc.path = path;
	n->cc.jobs = m->names->driver.run ? &m->work->jobs : NULL;
	n->cc.ahead = &m->work->ahead;
	rc = policy_find(m->v, path, &n->cc.policy);
	if (rc == 0)
		rc = content_decide(&n->cc);
	n->cc.name = "";
	n->cc.path = NULL;
	free(path);
	n->has_case = rc == 0;
	log_debug("merge", "content of %#llx seen %llu: %d, verdict %d: %s (sizes %llu | %llu %llu)",
		  (unsigned long long)n->cc.ino, (unsigned long long)n->cc.seen, rc, n->cc.verdict,
		  n->cc.rule ? n->cc.rule : "", (unsigned long long)n->cc.base_size,
		  (unsigned long long)n->cc.ours_size, (unsigned long long)n->cc.theirs_size);
	return rc;
}

int merge_open_case(struct merger *m, struct norm_inode *n)
{
	int rc;

	n->open_case = true;
	rc = content_open(&n->cc, m->v, m->s, n->rec, n->bytes_ino, n->seen_bytes,
			  n->aliased || n->redirected_bytes ? &n->lin : NULL, "");
	n->cc.ours_whole |= n->compare;
	return rc ? rc : merge_decide(m, n);
}

static bool op_equal(void *ctx, uint64_t ino)
{
	struct merger *m = ctx;
	struct norm_inode *n = merge_bytes_record(m, ino);
	struct content_case c;
	bool equal;

	if (!n || !(n->rec->fields & REC_CONTENT) || !S_ISREG(n->rec->mode))
		return false;
	answer_begin(m);
	equal = content_open(&c, m->v, m->s, n->rec, n->bytes_ino, n->seen_bytes,
			     n->aliased || n->redirected_bytes ? &n->lin : NULL, "") == 0 &&
		content_same(&c) == 1;
	answer_end(m);
	return equal;
}

static enum rs_content op_content(void *ctx, uint64_t ino)
{
	struct merger *m = ctx;
	struct norm_inode *n = merge_bytes_record(m, ino);

	if (m->prefer && !merge_input_inode(m, ino)->late)
		return merge_prefer_content(m, ino);
	if (!n || !(n->rec->fields & REC_CONTENT) || !S_ISREG(n->rec->mode))
		return RS_CONTENT_EQUAL;
	n->asked = true;
	if (!n->has_case) {
		int rc;

		answer_begin(m);
		rc = merge_open_case(m, n);
		answer_end(m);

		if (rc < 0) {
			m->failed = m->failed ? m->failed : rc;
			return RS_CONTENT_KEEP_BOTH;
		}
	}
	return n->cc.verdict;
}

static void show_pos(const char *which, const struct rs_pos *p)
{
	if (p->present)
		log_debug("merge", "    %s: in %#llx as %.*s", which, (unsigned long long)p->parent, (int)p->name_len,
			  p->name);
}

static void show_input(const struct merger *m)
{
	for (size_t i = 0; i < m->n_links && log_debug_on("merge"); i++) {
		log_debug("merge", "link %#llx -> %#llx", (unsigned long long)m->links[i].id,
			  (unsigned long long)m->links[i].child);
		show_pos("b", &m->links[i].b);
		show_pos("p", &m->links[i].p);
		show_pos("s", &m->links[i].s);
	}
}

/*
 * What we believe the secondary to have made no valid tree together with what it says: it had skipped or taken
 * something that we do not know of yet. Then only its own words count: of all it does not mention it is taken to have
 * what we have, and gets that again. moves_too: nor are its moves believed (they would close a loop): names stay where
 * they are here, no content depends on that.
 */
static int believe_records_only(struct merger *m, bool moves_too)
{
	int rc = 0;

	for (size_t i = 0; i < m->n_links; i++) {
		struct rs_link *l = &m->links[i];
		uint64_t at;

		map_put(&m->link_at, l->id, i + 1);
		if (!l->p.present || (map_get(&m->nl_by_link, l->id, &at) && (!moves_too || !l->s.present)))
			continue;
		/* What holds nothing and is new to it breaks no tree: it would be in its copy of a unit. */
		if (l->b.present || l->s.present || map_get(&m->parents, l->child, NULL))
			l->b = l->s = l->p;
		if (rc == 0 && (moves_too || map_get(&m->p_changed, l->id, NULL)))
			rc = changes_touch_link(m->v, l->id, l->child, false, false);
	}
	merge_index(m);
	merge_presence(m);
	return rc;
}

void merge_lock_off(struct merger *m)
{
	if (!m->ahead)
		return;
	landing_look_away(m->v);
	volume_unlock(m->v);
	m->unlocked = true;
}

void merge_lock_on(struct merger *m)
{
	if (!m->ahead)
		return;
	m->unlocked = false;
	volume_lock_now(m->v);
	landing_look_again(m->v);
}

static int run(struct merger *m, struct rs_input *in, struct rs_result *r)
{
	int rc;

	merge_lock_off(m);
	rc = resolve(in, r);
	merge_lock_on(m);
	return rc;
}

int merge_resolve(struct merger *m, struct rs_result *r)
{
	struct rs_input in = { .node_p = m->names->self,
			       .node_s = m->names->peer,
			       .root = INO_ROOT,
			       .prefer = merge_prefers(m),
			       .ops = { .ctx = m,
					.same_file = op_same_file,
					.content = op_content,
					.equal = op_equal,
					.name_taken = op_name_taken,
					.fold = name_fold } };
	int rc = merge_is_one_state(m);
	bool own = rc == 0 && families_show(m, &in); /* none if a side is preferred: no units are loaded */
	uint64_t *units;
	size_t n_units;

	if (rc < 0)
		return rc;
	merge_lock_off(m);
	n_units = resolve_units(&in, &units);
	merge_lock_on(m);
	free(units);
	/* While there are units to be kept whole nothing is merged because it was saved: it may be in one. */
	m->in_units = own || n_units > 0;
	if (m->in_units) {
		m->n_saves = in.n_saves = 0;
		in.saves = NULL;
		in.attrs = m->attrs;
		in.n_attrs = m->n_attrs;
		rc = 0;
	} else {
		rc = merge_saves_find(m, &in);
	}
	rc = rc ? rc : run(m, &in, r);

	if (rc == 0 && own) {
		rc = families_put_back(m, &in, r);
		if (rc < 0)
			resolve_release(r);
	}
	if (own) {
		free(in.links);
		free(in.inodes);
	}
	return rc;
}

static void show_records(const struct merger *m)
{
	const struct shipment *s = m->s;

	log_debug("merge", "shipment (%llu, %llu] seen %llu: %zu inodes, %zu links", (unsigned long long)s->begin.from,
		  (unsigned long long)s->begin.to, (unsigned long long)s->begin.seen, s->n_inodes, s->n_links);
	for (size_t i = 0; i < s->n_links && log_debug_on("merge"); i++)
		log_debug("merge", "record: link %llx child %llx in %llx as %s seen %llu",
			  (unsigned long long)s->links[i].link, (unsigned long long)s->links[i].child,
			  (unsigned long long)s->links[i].parent, s->links[i].name,
			  (unsigned long long)s->links[i].seen);
	for (size_t i = 0; i < s->n_inodes && log_debug_on("merge"); i++)
		log_debug("merge", "record: inode %llx fields %#x seen %llu size %llu cut to %lld",
			  (unsigned long long)s->inodes[i]->ino, s->inodes[i]->fields,
			  (unsigned long long)rec_seen(s->inodes[i], REC_CONTENT),
			  (unsigned long long)s->inodes[i]->size_bytes, (long long)s->inodes[i]->shrunk_to);
}

static void show_result(const struct merger *m, const struct rs_result *r, int rc)
{
	if (rc < 0)
		show_input(m);
	log_debug("merge", "resolve of %zu links, %zu inodes: %d", m->n_links, m->n_inodes, rc);
	for (size_t i = 0; rc == 0 && i < r->n_links && log_debug_on("merge"); i++)
		log_debug("merge", "link %llx -> child %llx in %llx as %.*s", (unsigned long long)r->links[i].id,
			  (unsigned long long)r->links[i].child, (unsigned long long)r->links[i].pos.parent,
			  (int)r->links[i].pos.name_len, r->links[i].pos.name ? r->links[i].pos.name : "");
}

int merge_work_out(struct merger *m, struct rs_result *r)
{
	bool in_parts = m->s->is_part || m->names->names_stay;
	int rc = merge_gather(m);

	show_records(m);
	if (rc == 0 && m->names->names_stay)
		rc = merge_unplaced(m);
	if (rc < 0)
		return rc;
	rc = merge_resolve(m, r);
#ifdef MERGE_TEST
	if (rc == 0 && !m->ahead)
		merge_test_resolved(m, r);
#endif
	for (int moves_too = 0; rc == -EUCLEAN && moves_too < 2 && !in_parts; moves_too++) {
		log_debug("merge", "no valid tree: the secondary's records alone count%s",
			  moves_too ? ", and none of its moves" : "");
		rc = believe_records_only(m, moves_too);
		if (rc == 0)
			rc = merge_resolve(m, r);
	}
	show_result(m, r, rc);
	if (rc == 0)
		rc = m->failed;
	if (merge_work_waits(m->work) && (rc == 0 || rc == -EUCLEAN)) /* as it may be no tree for what was guessed */
		rc = -EAGAIN;
	if (rc == 0)
		merge_index(m); /* the resolver sorted our arrays: things are found in them again */
	return rc;
}

int merge_carry_out(struct merger *m, struct rs_result *r)
{
	int rc;

#ifdef MERGE_TEST
	if (m->ahead) /* with what is here now */
		merge_test_resolved(m, r);
#endif
	units_name(m, r);
	rc = merge_land(m, r);
	if (rc == 0 && m->names->names_stay)
		rc = merge_note_unplaced(m);
#ifdef MERGE_TEST
	if (rc == 0 && merge_test_refuses(m))
		rc = -EUCLEAN;
#endif
	if (rc == 0 && r->by_file)
		merge_warn_by_file();
	log_debug("merge", "landing it: %d", rc);
	if (rc < 0)
		show_input(m);
	return merge_work_waits(m->work) ? -EAGAIN : rc; /* asked for while it was landed */
}

int merge_three_way(struct volume *v, struct shipment *s, const struct merge_names *names, struct merge_work *work,
		    uint64_t now_ms, struct prefer *prefer)
{
	struct merger m = { .v = v, .s = s, .names = names, .work = work, .now_ms = now_ms, .prefer = prefer,
			    .back = prefer ? 0 : prefer_taken_back(v), .low = merge_lowest_seen(s) };
	struct rs_result r = { 0 };
	int rc = merge_work_out(&m, &r);

	if (rc == 0)
		rc = merge_carry_out(&m, &r);
	resolve_release(&r);
	merge_release(&m);
	return rc;
}
