/* SPDX-License-Identifier: MIT */
#include "sync/roles.h"

#include <assert.h>
#include <errno.h>

#include "util/log.h"
#include "util/util.h"

/* A caller's and ours. */
#define SETTINGS_MAX 32u

int roles_leave(struct volume *v, const char *const *settings, size_t n, struct err *err)
{
	static const char *const own[] = { "applied_id", "prefer", "prefer_now", "prefer_back", "prefer_taken" };
	const char *all[SETTINGS_MAX];
	size_t n_all = 0;

	assert(n + ARRAY_LEN(own) <= SETTINGS_MAX);
	for (size_t i = 0; i < n; i++)
		all[n_all++] = settings[i];
	for (size_t i = 0; i < ARRAY_LEN(own); i++)
		all[n_all++] = own[i];
	return volume_unpair(v, all, n_all, err);
}

int roles_may_take_over(struct volume *v, struct err *err)
{
	struct volume_info info;

	volume_info(v, &info);
	if (info.role == ROLE_NONE)
		return err_set(err, -ENOENT, "%s has no peer", volume_dir(v));
	if (info.role == ROLE_PRIMARY)
		return err_set(err, -EEXIST, "%s is the primary already", volume_dir(v));
	return !volume_rejoins(v)
	               ? 0
	               : err_set(err, -EBUSY,
	                         "%s was the primary until just now, and the new one has not merged all of it yet: "
	                         "wait (twinfs wait), then try again; if it never comes back, twinfs forget-peer",
	                         volume_dir(v));
}

int roles_take_over(struct volume *v, struct err *err)
{
	struct volume_info info;
	int rc = roles_may_take_over(v, err);

	volume_info(v, &info);
	return rc ? rc : volume_become(v, ROLE_PRIMARY, info.generation + 1, 0, err);
}

static int refuse(const struct rec_hello *h, const struct volume_info *info, struct err *err)
{
	return err_set(err, -ESTALE,
	               "node %s is of generation %llu of the pair, this store of %llu, and its role does not go with "
	               "that: join with a new token and a new directory",
	               h->node_name, (unsigned long long)h->generation, (unsigned long long)info->generation);
}

static int yield(struct volume *v, const struct rec_hello *h, struct err *err)
{
	int rc = volume_become(v, ROLE_SECONDARY, h->generation, h->applied, err);

	if (rc)
		return rc;
	log_info("node %s is the primary now; this store goes on as the secondary", h->node_name);
	return err_set(err, -EAGAIN, "node %s has become the primary: this store goes on as the secondary",
	               h->node_name);
}

int roles_agree(struct volume *v, const struct rec_hello *h, struct err *err)
{
	struct volume_info info;
	int rc;

	volume_info(v, &info);
	if (h->generation > info.generation)
		return h->role == ROLE_PRIMARY ? yield(v, h, err) : refuse(h, &info, err);
	if (h->generation < info.generation)
		return info.role == ROLE_PRIMARY ? 1 : refuse(h, &info, err);
	if (h->role == ROLE_NONE || h->role == info.role)
		return err_set(err, -EPERM, "node %s has the same role as this one: one must be primary, one secondary",
		               h->node_name);
	rc = info.role == ROLE_PRIMARY ? volume_met(v, h->applied) : 0;
	return rc ? err_set(err, rc, "cannot write %s", volume_dir(v)) : 0;
}
