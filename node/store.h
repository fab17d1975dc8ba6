/* SPDX-License-Identifier: MIT */
/*
 * store: making a store's directory, all or nothing. What was there before is never touched; what was made here goes
 * again when a later step fails.
 */
#ifndef TWINFS_NODE_STORE_H
#define TWINFS_NODE_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/volume.h"
#include "util/err.h"

#define NODE_NAME_MAX_BYTES 32

struct store_spec {
	const char *dir;
	const char *volume_id; /* NULL: a new one */
	const char *name;      /* legal: store_name_check */
	unsigned slot;
	uint64_t size_bytes;   /* 0: as much as the host has */
};

/* Does the directory hold a store (whatever its state)? */
bool store_is(const char *dir);
/* May this user not look into the directory? Then store_is says no of a store as well. */
bool store_is_closed(const char *dir);
/* The directory, its files and the node's identity. -EEXIST: a store already; -ENOTEMPTY: something else is in there.
 */
int store_make(const struct store_spec *spec, bool *made_dir, struct err *err);
/* Undo store_make. */
void store_unmake(const char *dir, bool made_dir);

/* volume_open, with the store's path in the text of every error. */
int store_open(const char *dir, struct volume **out, struct err *err);

int store_name_check(const char *name, struct err *err);
/* A legal name out of the host's. */
void store_name_default(char out[NODE_NAME_MAX_BYTES + 1]);

#endif
