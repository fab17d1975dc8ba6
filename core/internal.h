/* SPDX-License-Identifier: MIT */
/* internal: what the files of core/ share. Nobody outside core/ includes this. */
#ifndef TWINFS_CORE_INTERNAL_H
#define TWINFS_CORE_INTERNAL_H

#include <pthread.h>

#include "core/changes.h"
#include "core/data.h"
#include "core/tree.h"
#include "core/volume.h"
#include "db/db.h"
#include "util/map.h"

struct data_store; /* image + free map + per-group block lists; core/data_store.h */

struct volume {
	pthread_mutex_t lock;      /* protects everything below */
	char *dir;
	struct db *db;
	struct data_store *data;
	struct volume_options opt;
	struct volume_info info;   /* kept current: slot, role, committed, cut, acked, applied, group_open … */
	uint64_t next_id;          /* counter part; stored in meta at commit */
	bool group_wrote;          /* the open group changed something (a commit makes a group only then) */
	uint64_t group_new_bytes;  /* data written in the open group */
	bool peer_apply;           /* between volume_apply_begin and commit/abort */
	struct map refs;           /* ino -> kernel lookup count */
	struct notice *notices;    /* collected while peer_apply */
	size_t n_notices, cap_notices;
	volume_notice_fn notice_fn;
	void *notice_ctx;
	void (*dirty_fn)(void *);
	void *dirty_ctx;
	char *fault;
	int lock_fd;
};

/* Is an old version (born, origin) still needed when superseded now? The one place that decides retention. */
bool history_wanted(const struct volume *v, uint64_t born, enum origin origin);
/* Whoever changes anything in the open group says so (sets group_wrote). */
void group_mark(struct volume *v);
void notice_inode(struct volume *v, uint64_t ino); /* no-ops unless peer_apply */
void notice_entry(struct volume *v, uint64_t parent, const char *name, size_t name_len);

/* Called by volume.c on the data store (core/data_store.c); lock held except where said. */
int data_store_format(const char *dir, struct err *err);
int data_store_open(struct volume *v, struct err *err); /* opens the image, rebuilds the free map from extent + old_extent */
void data_store_close(struct volume *v);
int data_store_sync(struct volume *v);      /* fdatasync of the image if anything was written since; may be called WITHOUT the lock as well */
void data_store_committed(struct volume *v);    /* the group is durable: blocks it freed may be reused */
void data_store_rolled_back(struct volume *v);  /* the group is undone: its new blocks are free, its frees are void */
int data_reap(struct volume *v, uint64_t ino);  /* all extents of ino to history or free */
int data_revive(struct volume *v, uint64_t ino, struct view view);
int data_history_purge(struct volume *v, uint64_t acked); /* old_extent rows with died <= acked: delete, free blocks */
void data_usage(struct volume *v, uint64_t *used_bytes, uint64_t *history_bytes, uint64_t *avail_bytes);
uint64_t data_blocks_512(struct volume *v, uint64_t ino); /* for stat; cheap */

#endif
