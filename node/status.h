/* SPDX-License-Identifier: MIT */
/*
 * status: what `twinfs status --json` prints for one store, with every key of the contract (twinfs(1)). One builder for
 * the running mount and for a store that is not mounted. Any thread; pure but for reading the volume.
 */
#ifndef TWINFS_NODE_STATUS_H
#define TWINFS_NODE_STATUS_H

#include <jansson.h>

#include "core/volume.h"
#include "sync/link.h"

/* Settings in which a pause is kept across mounts: the reason (never empty), and wall-clock ms at which it ends, if it
 * does. */
#define SETTING_PAUSED "paused"
#define SETTING_PAUSED_UNTIL "paused.until_ms"

/* mountpoint may be NULL. link NULL: the store is not mounted. A new reference. */
json_t *status_object(struct volume *v, const char *mountpoint, const struct link_status *link);

/* An object of `twinfs conflicts --json`, and the array. */
json_t *status_conflict(const struct volume_info *info, const struct conflict *c);
/* about: a path or an id, or NULL: all. */
json_t *status_conflicts(struct volume *v, const char *about, struct err *err);

#endif
