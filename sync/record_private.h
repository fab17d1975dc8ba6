/* SPDX-License-Identifier: MIT */
/* record_private: what the three parts of the codec share: record.c (what is legal), record_encode.c, record_decode.c.
 */
#ifndef TWINFS_SYNC_RECORD_PRIVATE_H
#define TWINFS_SYNC_RECORD_PRIVATE_H

#include "sync/record.h"

#define LEN_BYTES 4u
#define SUM_BYTES 4u
/* type and sum: what even an empty frame holds behind its length */
#define BODY_MIN_BYTES (1u + SUM_BYTES)
/* Texts of a conflict, for people: three paths, two values and a rule of these lengths still fit into one frame. */
#define RULE_MAX_BYTES 4095u
#define VALUE_MAX_BYTES 16383u
#define PATH_MAX_BYTES 65535u

enum coding { CODING_PLAIN = 0, CODING_ZSTD = 1 };

/* One judge for what we send and what we are sent: NULL, or what is wrong. */
const char *record_judge(const struct frame *f);
/* The sum of type and payload. */
uint32_t record_sum(const uint8_t *body, size_t len_bytes);

#endif
