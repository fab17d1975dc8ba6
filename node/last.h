/* SPDX-License-Identifier: MIT */
/* last: when the last scrub, or verify, of a store came to its end, and how much it found. Kept in the store. */
#ifndef TWINFS_NODE_LAST_H
#define TWINFS_NODE_LAST_H

#include <jansson.h>
#include <stdint.h>

struct volume;

/* what: "scrub" or "verify". How much the last one found; 0 also if there was none. */
uint64_t last_found(struct volume *v, const char *what);
/* One has just ended. That it could not be stored is logged. */
void last_put(struct volume *v, const char *what, uint64_t found);
/* {"last": RFC 3339 or null, "differences": n or null} */
json_t *last_object(struct volume *v, const char *what);

#endif
