/* SPDX-License-Identifier: MIT */
#include "node/seen.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "util/util.h"

/* How much of it a process that is killed may take along. */
#define WRITE_AGAIN_MS (10 * 60 * 1000u)

void seen_look(struct volume *v, const struct link_status *link, struct seen *last)
{
	bool up = link->state == LINK_CONNECTED || link->state == LINK_RESYNCING;
	char text[sizeof(link->peer_address) + 24];

	if (link->peer_last_seen_ms <= last->ms)
		return;
	if (last->ms > 0 && up == last->up && (!up || link->peer_last_seen_ms - last->ms < WRITE_AGAIN_MS))
		return;
	snprintf(text, sizeof(text), "%" PRIu64 " %s", link->peer_last_seen_ms, link->peer_address);
	if (volume_setting_set(v, SETTING_SEEN, text)) /* a store that takes no changes just now: the next time */
		return;
	last->ms = link->peer_last_seen_ms;
	last->up = up;
}

uint64_t seen_get(struct volume *v, char **address)
{
	char *text = volume_setting_get(v, SETTING_SEEN), *rest = NULL;
	uint64_t ms = text ? strtoull(text, &rest, 10) : 0;

	*address = rest && rest[0] == ' ' && rest[1] ? xstrdup(rest + 1) : NULL;
	free(text);
	return ms;
}
