/* SPDX-License-Identifier: MIT */
/*
 * nodes: the numbers by which the kernel knows inodes, with its lookup counts.
 *
 * A node's number is that of its inode, unless holders were moved (NOTICE_MOVED in core/volume.h). Then the node that a
 * program has open leads to another inode, and the inode it led to before is handed out under another number: its own
 * with a count from 1 on in the bits above ID_LIMIT, so that a number that the kernel has forgotten (and an NFS client
 * has not) still says which inode was meant. Only nodes that are not as by default take room beside their count.
 *
 * One inode has several nodes if those who were moved to it meet others who knew it already. The kernel caches each by
 * itself: whoever changes the inode has the others told (nodes_shared).
 *
 * Threads: a lock of its own, under which nothing else is taken. The root is known always and never counted; neither it
 * nor .twinfs is ever moved.
 */
#ifndef TWINFS_FUSE_NODES_H
#define TWINFS_FUSE_NODES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/map.h"

struct nodes {
	pthread_mutex_t lock; /* protects the rest */
	struct map counts;    /* node -> lookup count in the kernel */
	struct map leads;     /* node -> inode, if that is not the one in its number */
	struct map first;     /* inode -> its node to hand out, and others by `next`; of most only its own number leads
	                         to it, and none is here */
	struct map next;
	uint64_t spare;       /* the last number given out when one inode had all of its own in use */
	atomic_bool any;      /* leads or first has something */
};

void nodes_init(struct nodes *n);
void nodes_release(struct nodes *n);

/* The inode that a node leads to. */
uint64_t nodes_inode(struct nodes *n, uint64_t node);
/* Hand out a node of ino: `as`, which leads to it, or (0) the one that others get. *first: the kernel did not know
 * it. */
uint64_t nodes_add(struct nodes *n, uint64_t ino, uint64_t as, bool *first);
/* The kernel counts so many less. The inode, if it has forgotten the node; else 0. */
uint64_t nodes_drop(struct nodes *n, uint64_t node, uint64_t count);
bool nodes_know(struct nodes *n, uint64_t ino);
/* Has it more nodes than one? */
bool nodes_shared(struct nodes *n, uint64_t ino);
/* All nodes of ino that the kernel knows, the one that is handed out first; malloc'd. */
uint64_t *nodes_of(struct nodes *n, uint64_t ino, size_t *count);
/* The inodes of all nodes, malloc'd; an inode of several nodes is there for each. With the root. */
uint64_t *nodes_list(struct nodes *n, size_t *count);
/* What leads to `from` leads to `to` from now on. */
void nodes_move(struct nodes *n, uint64_t from, uint64_t to);

#endif
