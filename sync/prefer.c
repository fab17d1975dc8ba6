/* SPDX-License-Identifier: MIT */
#include "sync/prefer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/changes.h"
#include "util/util.h"

#define SETTING_WORD "prefer"        /* ID:ROLE, given here */
#define SETTING_NOW "prefer_now"     /* the word in force: ID:ROLE:UPTO:OURS_UPTO:TOP:NOTE:WHEN:PENDING */
#define SETTING_BACK "prefer_back"   /* group in which all was taken back, at the primary */
#define SETTING_TAKEN "prefer_taken" /* ID of the secondary's last word that was taken here */

static struct prefer_word parse_word(const char *text)
{
	struct prefer_word w = { .id = 0 };
	unsigned role = 0;

	if (!text || sscanf(text, "%" SCNx64 ":%u", &w.id, &role) != 2 ||
	    (role != ROLE_PRIMARY && role != ROLE_SECONDARY))
		return (struct prefer_word){ .id = 0 };
	w.keep = (enum role)role;
	return w;
}

static struct prefer_word given(struct volume *v)
{
	char *text = setting_get(v, SETTING_WORD);
	struct prefer_word w = parse_word(text);

	free(text);
	return w;
}

static uint64_t taken(struct volume *v)
{
	char *text = setting_get(v, SETTING_TAKEN);
	uint64_t id = text ? strtoull(text, NULL, 16) : 0;

	free(text);
	return id;
}

static char *path_of_top(struct volume *v, uint64_t top)
{
	struct dentry d = { .name = "" };

	tree_first_link(v, top, &d);
	return xasprintf("/" HIDDEN_NAME "/%s", d.name);
}

int prefer_give(struct volume *v, enum role keep)
{
	char text[40];

	snprintf(text, sizeof(text), "%" PRIx64 ":%u", random_u64(), (unsigned)keep);
	return volume_setting_set_now(v, SETTING_WORD, keep == ROLE_NONE ? NULL : text);
}

struct prefer_word prefer_given(struct volume *v)
{
	struct prefer_word w;

	volume_lock_now(v);
	w = given(v);
	volume_unlock(v);
	return w;
}

struct prefer_word prefer_said(struct volume *v, bool *in_force)
{
	struct prefer_word w;
	struct prefer now;

	volume_lock_now(v);
	w = given(v);
	*in_force = w.id == 0 && prefer_in_force(v, &now);
	volume_unlock(v);
	return *in_force ? now.word : w;
}

bool prefer_in_force(struct volume *v, struct prefer *out)
{
	char *text = setting_get(v, SETTING_NOW);
	struct prefer p = { .word = parse_word(text) };
	unsigned role;
	bool yes = p.word.id != 0 && sscanf(text, "%*x:%u:%" SCNu64 ":%" SCNu64 ":%" SCNx64 ":%" SCNx64 ":%" SCNu64
					    ":%u", &role, &p.upto, &p.ours_upto, &p.top, &p.note, &p.when_ms,
					    &p.pending) == 7;

	free(text);
	*out = p;
	return yes;
}

int prefer_put(struct volume *v, const struct prefer *p)
{
	char text[200];

	if (!p)
		return setting_put(v, SETTING_NOW, NULL);
	snprintf(text, sizeof(text), "%" PRIx64 ":%u:%" PRIu64 ":%" PRIu64 ":%" PRIx64 ":%" PRIx64 ":%" PRIu64 ":%u",
		 p->word.id, (unsigned)p->word.keep, p->upto, p->ours_upto, p->top, p->note, p->when_ms, p->pending);
	return setting_put(v, SETTING_NOW, text);
}

uint64_t prefer_taken_back(struct volume *v)
{
	char *text = setting_get(v, SETTING_BACK);
	uint64_t group = text ? strtoull(text, NULL, 10) : 0;

	free(text);
	return group;
}

int prefer_put_taken_back(struct volume *v, uint64_t group)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, group);
	return setting_put(v, SETTING_BACK, group ? text : NULL);
}

int prefer_note(struct volume *v, const struct prefer *p, const char *self, const char *peer)
{
	bool ours = p->word.keep == ROLE_PRIMARY; /* ours stays */
	struct conflict c = { .id = p->note, .when_ms = p->when_ms, .ino = p->top, .resolved = p->top == 0 };
	struct conflict_version *gone = &c.version[ours ? 1 : 0];
	int rc;

	snprintf(c.kind, sizeof(c.kind), "content");
	snprintf(c.outcome, sizeof(c.outcome), ours ? "primary" : "secondary");
	c.rule = xasprintf("resumed with --prefer: what %s had changed was discarded%s", ours ? peer : self,
			   p->top ? " and is kept here" : ", there was nothing to keep of it");
	c.path = p->top ? path_of_top(v, p->top) : xstrdup("/");
	snprintf(c.version[0].node, sizeof(c.version[0].node), "%s", self);
	snprintf(c.version[1].node, sizeof(c.version[1].node), "%s", peer);
	c.version[0].written_ms = c.version[1].written_ms = p->when_ms;
	gone->ino = p->top;
	gone->path = p->top ? xstrdup(c.path) : NULL;
	rc = conflict_put(v, &c);
	conflict_release(&c);
	return rc;
}

void prefer_tell(struct volume *v, struct rec_hello *h)
{
	struct prefer_word w;

	volume_lock(v);
	w = given(v);
	h->prefer_id = w.id;
	h->prefer_keep = (uint8_t)w.keep;
	h->prefer_taken = taken(v);
	volume_unlock(v);
}

int prefer_agree(struct volume *v, const struct rec_hello *h, struct prefer_word *word, struct err *err)
{
	struct prefer_word mine, theirs = { .id = h->prefer_id, .keep = (enum role)h->prefer_keep };
	bool over = false;
	struct volume_ids ids;

	volume_lock(v);
	mine = given(v);
	volume_ids(v, &ids);
	if (ids.role == ROLE_PRIMARY && theirs.id == taken(v))
		theirs.id = 0;
	over = ids.role == ROLE_SECONDARY && mine.id && mine.id == h->prefer_taken;
	volume_unlock(v);
	if (over) {
		prefer_give(v, ROLE_NONE); /* if that fails it is told, and known as taken, once more */
		mine.id = 0;
	}
	if (mine.id && theirs.id && mine.keep != theirs.keep)
		return err_set(err, -EPERM,
			       "both sides were resumed with --prefer, and each word is against the other: say "
			       "twinfs resume again on one of them, with the same side or without --prefer");
	*word = theirs.id ? theirs : mine;
	return 0;
}

int prefer_take(struct volume *v, const struct rec_hello *h, const struct prefer_word *word, struct prefer *out)
{
	char text[24];
	int rc;

	*out = (struct prefer){ .word = *word, .upto = h->committed, .ours_upto = group_number(v),
				.note = id_new(v), .when_ms = clock_real_ms() };
	rc = setting_put(v, SETTING_WORD, NULL);
	if (rc == 0 && h->prefer_id) {
		snprintf(text, sizeof(text), "%" PRIx64, h->prefer_id);
		rc = setting_put(v, SETTING_TAKEN, text);
	}
	return rc ? rc : prefer_put(v, out);
}
