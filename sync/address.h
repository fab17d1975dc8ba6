/* SPDX-License-Identifier: MIT */
/*
 * address: "HOST:PORT" as people write it. HOST is a name, an IPv4 address, or an IPv6 address in brackets; PORT
 * is 1..65535. Pure; any thread.
 */
#ifndef TWINFS_SYNC_ADDRESS_H
#define TWINFS_SYNC_ADDRESS_H

#include <stddef.h>

#include "util/err.h"

/* A DNS name has at most 253 bytes. */
#define ADDRESS_HOST_MAX_BYTES 253u
#define ADDRESS_MAX_BYTES (ADDRESS_HOST_MAX_BYTES + 8u)
#define ADDRESS_PORT_DEFAULT "7440"

struct address {
	char host[ADDRESS_HOST_MAX_BYTES + 1]; /* without brackets */
	char port[6];
};

/* -EINVAL with a text. The port may be left out: ADDRESS_PORT_DEFAULT. */
int address_parse(const char *text, struct address *out, struct err *err);
/* "HOST:PORT", brackets where they are needed. */
void address_format(const struct address *a, char out[ADDRESS_MAX_BYTES + 1]);

#endif
