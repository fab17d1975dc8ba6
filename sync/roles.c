/* SPDX-License-Identifier: MIT */
#include "sync/roles.h"

#include <assert.h>

#include "util/util.h"

/* A caller's and ours. */
#define SETTINGS_MAX 32u

int roles_leave(struct volume *v, const char *const *settings, size_t n, struct err *err)
{
	static const char *const own[] = { "applied_id", "prefer", "prefer_now", "prefer_taken" };
	const char *all[SETTINGS_MAX];
	size_t n_all = 0;

	assert(n + ARRAY_LEN(own) <= SETTINGS_MAX);
	for (size_t i = 0; i < n; i++)
		all[n_all++] = settings[i];
	for (size_t i = 0; i < ARRAY_LEN(own); i++)
		all[n_all++] = own[i];
	return volume_unpair(v, all, n_all, err);
}
