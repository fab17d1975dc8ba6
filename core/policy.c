/* SPDX-License-Identifier: MIT */
#include "core/policy.h"

#include "core/internal.h"
#include "core/tree.h"
#include "util/util.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The local setting that allows the command of a pattern here: its value is the command. */
#define COMMAND_SETTING "policy_command."
#define COMMAND_WORD "command"

static const struct {
	const char *word;
	enum policy_kind kind;
} words[] = {
	{ "keep-both", POLICY_KEEP_BOTH }, { "extents", POLICY_EXTENTS }, { "text", POLICY_TEXT },
	{ "append", POLICY_APPEND },       { "newest", POLICY_NEWEST },   { "primary", POLICY_PRIMARY },
	{ "unit", POLICY_UNIT },
};

const char *policy_command(const char *text)
{
	size_t n = strlen(COMMAND_WORD);

	if (strncmp(text, COMMAND_WORD, n) != 0 || text[n] != ' ')
		return NULL;
	text += n;
	text += strspn(text, " ");
	return *text ? text : NULL;
}

int policy_parse(const char *text, enum policy_kind *kind, struct err *err)
{
	for (size_t i = 0; i < ARRAY_LEN(words); i++) {
		if (strcmp(text, words[i].word) != 0)
			continue;
		*kind = words[i].kind;
		return 0;
	}
	if (policy_command(text) && strlen(text) <= POLICY_TEXT_MAX_BYTES) {
		*kind = POLICY_COMMAND;
		return 0;
	}
	return err_set(err, -EINVAL,
	               "\"%.100s\" is no policy; there are keep-both, extents, text, append, newest, primary, unit, "
	               "and \"command CMD\" (up to %u bytes)",
	               text, POLICY_TEXT_MAX_BYTES);
}

bool policy_matches(const char *pattern, const char *path)
{
	size_t len = strlen(pattern);
	const char *slash = strrchr(path, '/');

	if (!strchr(pattern, '/'))
		return fnmatch(pattern, slash ? slash + 1 : path, 0) == 0;
	path += strspn(path, "/");
	pattern += strspn(pattern, "/");
	if (len > 0 && pattern[0] && pattern[strlen(pattern) - 1] == '/') {
		char below[POLICY_PATTERN_MAX_BYTES + 2];

		if ((size_t)snprintf(below, sizeof(below), "%s*", pattern) >= sizeof(below))
			return false;
		return fnmatch(below, path, 0) == 0;
	}
	return fnmatch(pattern, path, 0) == 0;
}

/* ---- what is set ---- */

struct walk {
	struct policy *list;
	size_t n, cap;
};

static int add_policy(void *ctx, const char *key, const void *value, size_t len_bytes)
{
	struct walk *w = ctx;
	size_t prefix = strlen(POLICY_XATTR_PREFIX);
	struct policy p = { .kind = POLICY_NONE };

	if (strncmp(key, POLICY_XATTR_PREFIX, prefix) != 0 || strlen(key + prefix) > POLICY_PATTERN_MAX_BYTES ||
	    len_bytes > POLICY_TEXT_MAX_BYTES)
		return 0;
	memcpy(p.text, value, len_bytes);
	if (strlen(p.text) != len_bytes || policy_parse(p.text, &p.kind, NULL) != 0)
		return 0;
	text_copy(p.pattern, sizeof(p.pattern), key + prefix);
	if (w->n == w->cap) {
		w->cap = w->cap ? w->cap * 2 : 8;
		w->list = xrealloc(w->list, w->cap * sizeof(*w->list));
	}
	w->list[w->n++] = p;
	return 0;
}

static char *command_setting(const char *pattern)
{
	return xasprintf(COMMAND_SETTING "%s", pattern);
}

static void look_up_command(struct volume *v, struct policy *p)
{
	char *key = command_setting(p->pattern), *allowed = setting_get(v, key);

	p->local_command = allowed && strcmp(allowed, policy_command(p->text)) == 0;
	free(allowed);
	free(key);
}

/* Longer patterns first. */
static int by_weight(const void *a, const void *b)
{
	const struct policy *x = a, *y = b;
	size_t m = strlen(x->pattern), n = strlen(y->pattern);

	return m != n ? (m > n ? -1 : 1) : strcmp(x->pattern, y->pattern);
}

static int by_pattern(const void *a, const void *b)
{
	return strcmp(((const struct policy *)a)->pattern, ((const struct policy *)b)->pattern);
}

static int load(struct volume *v, struct walk *w, int (*order)(const void *, const void *))
{
	int rc = tree_xattrs(v, INO_HIDDEN, add_policy, w);

	for (size_t i = 0; !rc && i < w->n; i++)
		if (w->list[i].kind == POLICY_COMMAND)
			look_up_command(v, &w->list[i]);
	if (!rc && w->n > 1)
		qsort(w->list, w->n, sizeof(*w->list), order);
	return rc;
}

int policy_find(struct volume *v, const char *path, struct policy *out)
{
	struct walk w = { 0 };
	int rc = load(v, &w, by_weight);

	*out = (struct policy){ .kind = POLICY_NONE };
	for (size_t i = 0; !rc && i < w.n; i++) {
		if (w.list[i].kind == POLICY_UNIT || !policy_matches(w.list[i].pattern, path))
			continue;
		*out = w.list[i];
		break;
	}
	free(w.list);
	return rc;
}

/* ---- units ---- */

struct policy_units {
	struct policy *list; /* those of kind POLICY_UNIT */
	size_t n;
	bool git, want_path;
};

int policy_units_load(struct volume *v, struct policy_units **out)
{
	struct policy_units *u = xcalloc(1, sizeof(*u));
	struct walk w = { 0 };
	int rc = tree_xattrs(v, INO_HIDDEN, add_policy, &w);

	u->git = true;
	for (size_t i = 0; i < w.n; i++) {
		if (w.list[i].kind != POLICY_UNIT) {
			u->git = u->git && strcmp(w.list[i].pattern, ".git") != 0;
			continue;
		}
		u->want_path |= strchr(w.list[i].pattern, '/') != NULL;
		w.list[u->n++] = w.list[i];
	}
	u->list = w.list;
	if (rc)
		policy_units_free(u);
	else
		*out = u;
	return rc;
}

bool policy_is_unit(const struct policy_units *u, const char *path)
{
	const char *slash = strrchr(path, '/');

	if (u->git && strcmp(slash ? slash + 1 : path, ".git") == 0)
		return true;
	for (size_t i = 0; i < u->n; i++) {
		char pattern[POLICY_PATTERN_MAX_BYTES + 1];
		size_t len = strlen(u->list[i].pattern);

		/* "/photos/lib/" is all that is below of a file's policy: here it is the directory. */
		memcpy(pattern, u->list[i].pattern, len + 1);
		while (len > 1 && pattern[len - 1] == '/')
			pattern[--len] = '\0';
		if (policy_matches(pattern, path))
			return true;
	}
	return false;
}

bool policy_units_want_path(const struct policy_units *u)
{
	return u->want_path;
}

void policy_units_free(struct policy_units *u)
{
	if (u)
		free(u->list);
	free(u);
}

int volume_policies(struct volume *v, struct policy **out, size_t *n)
{
	struct walk w = { 0 };
	int rc;

	volume_lock(v);
	rc = load(v, &w, by_pattern);
	volume_unlock(v);
	if (rc) {
		free(w.list);
		return rc;
	}
	*out = w.list;
	*n = w.n;
	return 0;
}

/* ---- setting ---- */

static int check_pattern(const char *pattern, struct err *err)
{
	size_t len = strlen(pattern);

	if (len == 0 || len > POLICY_PATTERN_MAX_BYTES)
		return err_set(err, -EINVAL, "a pattern has 1 to %zu bytes", POLICY_PATTERN_MAX_BYTES);
	for (const char *p = pattern; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			return err_set(err, -EINVAL, "a pattern has no control characters");
	return 0;
}

/* The command first: a policy that travels but is not allowed here only keeps both versions. */
static int allow_command(struct volume *v, const char *pattern, const char *text)
{
	char *key = command_setting(pattern);
	int rc = volume_setting_set(v, key, text ? policy_command(text) : NULL);

	free(key);
	return rc;
}

int volume_policy_set(struct volume *v, const char *pattern, const char *text, struct err *err)
{
	enum policy_kind kind = POLICY_NONE;
	int rc = check_pattern(pattern, err);
	char *key;

	if (!rc && text)
		rc = policy_parse(text, &kind, err);
	if (rc)
		return rc;
	key = xasprintf(POLICY_XATTR_PREFIX "%s", pattern);
	rc = allow_command(v, pattern, text);
	if (!rc)
		rc = text ? volume_setxattr(v, INO_HIDDEN, key, text, strlen(text), 0)
		          : volume_removexattr(v, INO_HIDDEN, key);
	if (rc == -ENODATA)
		err_set(err, rc = -ENOENT, "no policy is set for \"%s\" (twinfs policy WHERE lists them)", pattern);
	if (!rc)
		rc = volume_commit(v);
	free(key);
	if (rc && err && !err->code)
		err_set(err, rc, "cannot change the policy of \"%s\": %s", pattern, strerror(-rc));
	return rc;
}
