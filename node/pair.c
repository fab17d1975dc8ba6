/* SPDX-License-Identifier: MIT */
#include "node/pair.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "node/addresses.h"
#include "node/store.h"
#include "sync/link.h"
#include "sync/roles.h"
#include "sync/token.h"
#include "util/log.h"
#include "util/util.h"

#define FIRST_GENERATION 1
/* What a shipment may name (sync/shipment.c): so often a store can get another peer. */
#define SLOT_LAST 255u

/* ---- invite ------------------------------------------------------------------------------------ */

int pair_invite(struct volume *v, const struct identity *id, const char *listen_on, char **token, struct err *err)
{
	char bind_to[ADDRESS_MAX_BYTES + 1], told[ADDRESS_MAX_BYTES + 1], expires[24];
	struct volume_info info;
	struct invite invite;
	struct token t;
	char *text;
	int rc;

	volume_info(v, &info);
	if (info.role != ROLE_NONE) {
		char *peer = volume_setting_get(v, "peer.name");

		rc = err_set(err, -EEXIST, "%s is paired with %s already; a store has one peer", volume_dir(v),
		             peer ?: "another");
		free(peer);
		return rc;
	}
	if (volume_slot_free(v) > SLOT_LAST)
		return err_set(err, -ENOSPC,
		               "%s has had %u peers, and can have no more: copy its files into a new store",
		               volume_dir(v), SLOT_LAST - 1);
	rc = address_to_listen(listen_on, bind_to, told, err);
	if (!rc)
		rc = token_make(told, identity_fingerprint_hex(id), &t, err);
	if (rc)
		return rc;
	invite_open(&invite, &t);
	text = invite_format(&invite);
	snprintf(expires, sizeof(expires), "%" PRIu64, clock_real_ms() + INVITE_LIFE_MS);
	rc = volume_setting_set(v, "listen", bind_to);
	if (!rc)
		rc = volume_setting_set(v, "invite.expires_ms", expires);
	if (!rc)
		rc = volume_setting_set_now(v, "invite", text);
	free(text);
	if (rc)
		return err_set(err, rc, "cannot write the invitation into %s: %s", volume_dir(v), strerror(-rc));
	*token = token_format(&t);
	return 0;
}

/* ---- the primary's answer ---------------------------------------------------------------------- */

struct pair_request {
	const char *secret, *node_id, *node_name;
	bool probe;
};

/* Strings point into `body`. */
static int request_read(const json_t *body, struct pair_request *out, struct err *err)
{
	out->secret = json_string_value(json_object_get(body, "secret"));
	out->probe = json_is_true(json_object_get(body, "probe"));
	out->node_id = json_string_value(json_object_get(body, "node_id"));
	out->node_name = json_string_value(json_object_get(body, "node_name"));
	if (!out->secret || strlen(out->secret) != SECRET_HEX_BYTES)
		return err_set(err, -EINVAL,
		               "the pairing request has no secret; use the same twinfs version on both sides");
	if (out->probe)
		return 0;
	if (!out->node_id || strlen(out->node_id) != 32 || strspn(out->node_id, "0123456789abcdef") != 32 ||
	    !out->node_name)
		return err_set(err, -EINVAL,
		               "the pairing request names no node; use the same twinfs version on both sides");
	return store_name_check(out->node_name, err);
}

static char *reply_make(struct volume *v, const struct volume_info *info)
{
	json_t *reply = json_pack("{s:s, s:i, s:i, s:i, s:s, s:s}", "volume_id", info->volume_id, "generation",
	                          FIRST_GENERATION, "slot", (int)volume_slot_free(v), "primary_slot", (int)info->slot,
	                          "node_id", info->node_id, "node_name", info->node_name);
	char *text = reply ? json_dumps(reply, JSON_COMPACT) : NULL;

	json_decref(reply);
	return text;
}

/* The same key with the same secret once more: its reply got lost. */
static int accept_again(struct volume *v, const struct pair_request *r, const char *fingerprint, struct err *err)
{
	char *pin = volume_setting_get(v, "peer.pin"), *used = volume_setting_get(v, "invite.used");
	struct invite invite;
	int rc;

	invite_parse(used, &invite);
	rc = pin && strcmp(pin, fingerprint) == 0 && invite_try(&invite, r->secret, NULL) == 0 ? 0 : -EACCES;
	free(pin);
	free(used);
	return rc ? err_set(err, rc, "the token was used already: this volume has its peer") : 0;
}

/* Is the invitation good? Counts wrong tries. *text is the invitation as kept; malloc'd. */
static int invite_check(struct volume *v, const struct pair_request *r, char **text, struct err *err)
{
	char *expires = volume_setting_get(v, "invite.expires_ms");
	uint64_t expires_ms = expires ? strtoull(expires, NULL, 10) : 0;
	struct invite invite;
	char *left;
	int rc;

	free(expires);
	*text = volume_setting_get(v, "invite");
	invite_parse(*text, &invite);
	rc = invite_try(&invite, r->secret, err);
	if (rc == -EACCES) {
		left = invite_format(&invite);
		volume_setting_set_now(v, "invite", left);
		free(left);
		log_warn("somebody tried to pair with a wrong token");
	}
	if (!rc && clock_real_ms() > expires_ms)
		rc = err_set(err, -ESTALE, "the token is older than a day; make a new one with twinfs invite");
	return rc;
}

static int become_primary(struct volume *v, const struct pair_request *r, const char *fingerprint, const char *invite,
                          struct err *err)
{
	int rc = volume_pair_prepare(v, err);

	if (rc)
		return rc;
	rc = volume_setting_set(v, "peer.pin", fingerprint);
	if (!rc)
		rc = volume_setting_set(v, "peer.name", r->node_name);
	if (!rc)
		rc = volume_setting_set(v, "peer.node_id", r->node_id);
	if (!rc)
		rc = volume_setting_set(v, "invite.used", invite);
	if (!rc)
		rc = volume_setting_set(v, "invite", NULL);
	if (rc)
		return err_set(err, rc, "the primary cannot write its settings: %s", strerror(-rc));
	return volume_pair(v, ROLE_PRIMARY, FIRST_GENERATION, volume_slot_free(v), r->node_id, r->node_name, err);
}

static int accept_parsed(struct volume *v, const struct volume_info *info, const struct pair_request *r,
                         const char *fingerprint, bool *paired, struct err *err)
{
	char *text = NULL;
	int rc;

	if (info->role != ROLE_NONE)
		return accept_again(v, r, fingerprint, err);
	rc = invite_check(v, r, &text, err);
	if (!rc && !r->probe && strcmp(r->node_name, info->node_name) == 0)
		rc = err_set(err, -EEXIST, "the primary is called %s itself; give another --name", info->node_name);
	if (!rc && !r->probe) {
		rc = become_primary(v, r, fingerprint, text, err);
		*paired = !rc;
	}
	free(text);
	return rc;
}

int pair_accept(struct volume *v, const char *body_json, const char *fingerprint, char **reply, bool *paired,
                struct err *err)
{
	json_t *body = json_loads(body_json, JSON_REJECT_DUPLICATES, NULL);
	struct pair_request r = { .secret = NULL };
	struct volume_info info;
	int rc;

	*paired = false;
	volume_info(v, &info);
	rc = json_is_object(body) ? request_read(body, &r, err)
	                          : err_set(err, -EINVAL, "the pairing request is no JSON object");
	if (!rc)
		rc = accept_parsed(v, &info, &r, fingerprint, paired, err);
	if (!rc) {
		*reply = reply_make(v, &info);
		if (!*reply)
			rc = err_set(err, -ENOMEM, "the primary is out of memory");
	}
	json_decref(body);
	return rc;
}

/* ---- join -------------------------------------------------------------------------------------- */

struct primary { /* what the primary says of itself */
	char volume_id[37], node_id[33], node_name[33];
	unsigned slot, own_slot;
	uint64_t generation;
};

static bool copy_text(const json_t *reply, const char *key, char *out, size_t cap)
{
	const char *text = json_string_value(json_object_get(reply, key));

	return text && *text && snprintf(out, cap, "%s", text) < (int)cap;
}

static int reply_read(const char *text, const char *address, struct primary *out, struct err *err)
{
	json_t *reply = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	json_int_t slot = json_integer_value(json_object_get(reply, "slot"));
	json_int_t own_slot = json_integer_value(json_object_get(reply, "primary_slot"));
	json_int_t generation = json_integer_value(json_object_get(reply, "generation"));
	bool good = copy_text(reply, "volume_id", out->volume_id, sizeof(out->volume_id)) &&
	            copy_text(reply, "node_id", out->node_id, sizeof(out->node_id)) &&
	            copy_text(reply, "node_name", out->node_name, sizeof(out->node_name)) && slot > 1 &&
	            slot <= SLOT_LAST && own_slot > 0 && own_slot < slot && generation > 0 &&
	            strlen(out->volume_id) == 36 && store_name_check(out->node_name, NULL) == 0;

	json_decref(reply);
	out->slot = (unsigned)slot;
	out->own_slot = (unsigned)own_slot;
	out->generation = (uint64_t)generation;
	return good ? 0
	            : err_set(err, -EPROTO,
	                      "the answer from %s makes no sense; use the same twinfs version on both sides", address);
}

static int ask(const struct identity *id, const struct token *t, json_t *body, struct primary *out, struct err *err)
{
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL, *reply = NULL;
	int rc;

	json_decref(body);
	if (!text)
		return err_set(err, -ENOMEM, "out of memory");
	rc = link_pair_request(id, t->address, t->fingerprint_hex, text, &reply, err);
	if (!rc)
		rc = reply_read(reply, t->address, out, err);
	free(text);
	free(reply);
	return rc;
}

/* The store's own identity does not exist yet when the primary is asked for the first time; any key will do. */
static int probe(const struct token *t, struct primary *out, struct err *err)
{
	char *tmp = getenv("TMPDIR"), *dir = xasprintf("%s/twinfs-join-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	struct identity *id = NULL;
	int rc;

	if (!mkdtemp(dir)) {
		rc = err_set(err, -errno, "cannot make a directory %s: %s", dir, strerror(errno));
		free(dir);
		return rc;
	}
	rc = identity_create(dir, err);
	if (!rc)
		rc = identity_load(dir, &id, err);
	if (!rc)
		rc = ask(id, t, json_pack("{s:s, s:b}", "secret", t->secret_hex, "probe", 1), out, err);
	identity_free(id);
	store_unmake(dir, true);
	free(dir);
	return rc;
}

static int become_secondary(struct volume *v, const struct token *t, const struct primary *p, struct err *err)
{
	int rc = volume_pair_prepare(v, err);

	if (rc)
		return rc;
	rc = volume_setting_set(v, "peer.address", t->address);
	if (!rc)
		rc = volume_setting_set(v, "peer.pin", t->fingerprint_hex);
	if (!rc)
		rc = volume_setting_set(v, "peer.name", p->node_name);
	if (!rc)
		rc = volume_setting_set(v, "peer.node_id", p->node_id);
	if (rc)
		return err_set(err, rc, "cannot write the settings of %s: %s", volume_dir(v), strerror(-rc));
	return volume_pair(v, ROLE_SECONDARY, p->generation, p->own_slot, p->node_id, p->node_name, err);
}

/* Nobody knows whether the primary got the request. */
static bool reply_lost(int rc)
{
	return rc == -ETIMEDOUT || rc == -ECONNRESET || rc == -EPIPE;
}

/* The second request and what follows; the store is open and unpaired. *keep: from here on the store must stay,
 * whatever fails. */
static int pair_volume(struct volume *v, const struct identity *id, const struct token *t, struct pair_joined *out,
                       bool *keep, struct err *err)
{
	struct volume_info info;
	struct primary p;
	int rc;

	volume_info(v, &info);
	rc = ask(id, t, json_pack("{s:s, s:s, s:s}", "secret", t->secret_hex, "node_id", info.node_id, "node_name",
	                          info.node_name), &p, err);
	if (rc && reply_lost(rc)) {
		*keep = true;
		return err_prefix(err, "cannot tell whether %s has paired, give the same command again", t->address);
	}
	if (rc)
		return rc;
	*keep = true;
	rc = become_secondary(v, t, &p, err);
	snprintf(out->peer_name, sizeof(out->peer_name), "%s", p.node_name);
	snprintf(out->node_name, sizeof(out->node_name), "%s", info.node_name);
	snprintf(out->volume_id, sizeof(out->volume_id), "%s", info.volume_id);
	return rc;
}

/* Open, run pair_volume, close. check_volume: the primary's volume must be this one (it is asked with the store's own
 * key). */
static int pair_store(const char *store, const struct token *t, struct pair_joined *out, bool check_volume, bool *keep,
                      struct err *err)
{
	struct identity *id = NULL;
	struct volume *v = NULL;
	struct volume_info info;
	struct primary p;
	int rc = store_open(store, &v, err), rc_close;

	if (rc)
		return rc;
	volume_info(v, &info);
	rc = identity_load(store, &id, err);
	if (!rc && volume_had_peer(v))
		rc = err_set(err, -EEXIST,
		             "%s was half of a pair before, and what it has is not known to the primary: join with a "
		             "new directory, and copy into that what is missing",
		             store);
	if (!rc && check_volume) {
		rc = ask(id, t, json_pack("{s:s, s:b}", "secret", t->secret_hex, "probe", 1), &p, err);
		if (!rc && strcmp(p.volume_id, info.volume_id) != 0)
			rc = err_set(err, -EEXIST,
			             "%s is the store of another volume; give an empty or a new directory", store);
	}
	if (!rc)
		rc = pair_volume(v, id, t, out, keep, err);
	identity_free(id);
	rc_close = volume_close(v);
	return rc ? rc : rc_close ? err_set(err, rc_close, "cannot write %s: %s", store, strerror(-rc_close)) : 0;
}

/* Is the store half of this very pair? 1 yes, 0 it is unpaired. */
static int check_paired(const char *store, const struct token *t, struct pair_joined *out, struct err *err)
{
	struct volume *v = NULL;
	struct volume_info info;
	char *pin, *peer;
	int rc = store_open(store, &v, err);

	if (rc)
		return rc;
	volume_info(v, &info);
	pin = volume_setting_get(v, "peer.pin");
	peer = volume_setting_get(v, "peer.name");
	if (info.role == ROLE_SECONDARY && pin && strcmp(pin, t->fingerprint_hex) == 0) {
		rc = 1;
		out->already = true;
		snprintf(out->node_name, sizeof(out->node_name), "%s", info.node_name);
		snprintf(out->peer_name, sizeof(out->peer_name), "%s", peer ?: "?");
		snprintf(out->volume_id, sizeof(out->volume_id), "%s", info.volume_id);
	} else if (info.role != ROLE_NONE) {
		rc = err_set(err, -EEXIST, "%s is paired with %s already; give an empty or a new directory", store,
		             peer ?: "another");
	}
	free(pin);
	free(peer);
	volume_close(v);
	return rc;
}

/* Two nodes of one pair need two names; a name that was not asked for can be changed. */
static int choose_name(const char *wanted, const struct primary *p, char out[NODE_NAME_MAX_BYTES + 1], struct err *err)
{
	if (wanted)
		snprintf(out, NODE_NAME_MAX_BYTES + 1, "%s", wanted);
	else
		store_name_default(out);
	if (strcmp(out, p->node_name) != 0)
		return 0;
	if (wanted)
		return err_set(err, -EEXIST, "the primary is called %s itself; give another --name", p->node_name);
	snprintf(out + MIN(strlen(out), (size_t)NODE_NAME_MAX_BYTES - 2), 3, "-2");
	return 0;
}

static int join_new(const struct token *t, const char *store, const char *name, struct pair_joined *out,
                    struct err *err)
{
	char own_name[NODE_NAME_MAX_BYTES + 1];
	bool made_dir = false, keep = false;
	struct primary p;
	int rc = probe(t, &p, err);

	if (!rc)
		rc = choose_name(name, &p, own_name, err);
	if (!rc)
		rc = store_make(
			&(struct store_spec){
				.dir = store, .volume_id = p.volume_id, .name = own_name, .slot = p.slot },
			&made_dir, err);
	if (rc)
		return rc;
	rc = pair_store(store, t, out, false, &keep, err);
	if (rc && !keep)
		store_unmake(store, made_dir);
	return rc;
}

int pair_join(const char *token_text, const char *store, const char *name, struct pair_joined *out, struct err *err)
{
	bool keep = false;
	struct token t;
	int rc = token_parse(token_text, &t, err);

	*out = (struct pair_joined){ .already = false };
	if (!rc && name)
		rc = store_name_check(name, err);
	if (rc)
		return rc;
	snprintf(out->peer_address, sizeof(out->peer_address), "%s", t.address);
	if (!store_is(store))
		return join_new(&t, store, name, out, err);
	rc = check_paired(store, &t, out, err);
	if (rc)
		return rc == 1 ? 0 : rc;
	return pair_store(store, &t, out, true, &keep, err);
}

/* ---- forget ------------------------------------------------------------------------------------ */

int pair_forget(struct volume *v, char **peer, struct err *err)
{
	/* Where we listen stays: the other side is told there that it is not known any more. */
	static const char *const settings[] = { "peer.address", "peer.pin", "peer.name", "peer.node_id", "peer.seen",
		                                "invite", "invite.expires_ms", "invite.used", "paused",
		                                "paused.until_ms" };
	char *name = volume_setting_get(v, "peer.name");
	int rc = roles_leave(v, settings, ARRAY_LEN(settings), err);

	if (!rc)
		*peer = name ?: xstrdup("?");
	else
		free(name);
	return rc;
}
