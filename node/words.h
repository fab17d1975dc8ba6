/* SPDX-License-Identifier: MIT */
/* words: what requests say, as JSON values. Each returns a new reference. */
#ifndef TWINFS_NODE_WORDS_H
#define TWINFS_NODE_WORDS_H

#include <jansson.h>
#include <stdint.h>

/* RFC 3339, null for 0. */
json_t *words_time(uint64_t real_ms);
/* Names are bytes; JSON is UTF-8. What is no UTF-8 is shown with U+FFFD for each such byte. */
json_t *words_path(const char *path);

#endif
