/* SPDX-License-Identifier: MIT */
/*
 * why: what happened to a path, in a sentence: what the last reconciliation did to it (by the conflict rows that speak
 * of it), and how it stands between the two sides (by the change set and the baseline). Reads only. Any thread, with
 * nothing locked.
 */
#ifndef TWINFS_NODE_WHY_H
#define TWINFS_NODE_WHY_H

#include <jansson.h>

#include "core/volume.h"

/*
 * Into `reply`:
 *	path     as it was asked
 *	state    identical  here, and the peer has it as it is
 *	         pending    here, and the peer does not have the last changes yet (those in "changed")
 *	         moved      not here; what the baseline has there is at "now"
 *	         deleted    not here; the baseline has it
 *	         unknown    not here, and nothing is known of it
 *	         alone      here, but this store has no peer
 *	changed  of pending: an array of names, content, attributes, xattrs
 *	now      of moved: a path
 *	last     the newest conflict that speaks of the path, as in "conflicts", and "role": original or copy; or null
 *	text     all that for people
 */
int why_path(struct volume *v, const char *path, json_t *reply, struct err *err);

#endif
