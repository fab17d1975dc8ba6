/* SPDX-License-Identifier: MIT */
/* stage_private: what stage.c and stage_saved.c share. */
#ifndef TWINFS_CORE_STAGE_PRIVATE_H
#define TWINFS_CORE_STAGE_PRIVATE_H

#include "core/data_private.h"

struct stage_run {
	uint64_t off, len, phys; /* blocks; phys 0: a hole of any length */
	uint64_t *sums;
};

struct stage_part {
	uint64_t off;  /* bytes, in the file */
	uint32_t len;  /* within one block */
	uint64_t addr; /* in the log */
	uint64_t sum;
};

struct stage_file {
	uint64_t ino, end_bytes;
	uint64_t mark_group, mark_id; /* stage_mark when it was made */
	struct stage_run *runs;    /* ascending, not overlapping */
	size_t n_runs, cap_runs;
	struct stage_part *parts;  /* likewise, none in a block of a run */
	size_t n_parts, cap_parts;
	uint64_t saved_blocks, saved_bytes; /* runs below this block, parts below this byte are saved */
};

struct stage {
	struct volume *v;
	struct map files;          /* ino -> struct stage_file * */
	uint64_t bytes;
	uint64_t mark_group, mark_id;
	struct map adopted;        /* ino -> struct stage_file *, until stage_settle */
	uint64_t *kept;            /* blocks of stage_keep_block */
	size_t n_kept, cap_kept;
	int save_fd;               /* stage_saved.c; -1: not begun */
	bool save_failed;          /* and is not tried again */
	uint64_t losses;           /* image_losses at the beginning: after one more nothing staged is to be trusted */
	uint64_t *log;             /* image block of each log block that was written out */
	size_t n_log, cap_log;
	uint8_t *tail;             /* the log's last bytes, from n_log blocks on */
	size_t tail_len;
};

struct stage_file *stage_file_of(struct stage *s, uint64_t ino, bool create);
/* Lock held: a block of these bytes on the image, which the stage holds until stage_taken or stage_free. -ENOSPC,
 * -EIO. */
int stage_keep_block(struct stage *s, const uint8_t *data, struct block_run *run);
int stage_part_read(struct stage *s, const struct stage_part *p, uint8_t *buf);
/* Held blocks that are written become what is staged there; takes over r.sums. phys 0: a hole. */
void stage_put_run(struct stage *s, struct stage_file *f, struct stage_run r);

#endif
