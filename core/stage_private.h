/* SPDX-License-Identifier: MIT */
/* stage_private: what stage.c, stage_adopt.c, stage_packed.c, stage_saved.c and landing_write.c share. */
#ifndef TWINFS_CORE_STAGE_PRIVATE_H
#define TWINFS_CORE_STAGE_PRIVATE_H

#include "core/data_private.h"
#include "util/rows.h"

#define IN_BLOCK(off) ((size_t)((off) & (BLOCK_BYTES - 1)))

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
	bool planned;              /* it is in a plan that does not hold yet */
};

/*
 * Of a large shipment the small files of which all has come, packed: 20 bytes for one of one block, where a stage_file
 * and what belongs to it take 300. Ascending by inode. A file that is wanted as a stage_file again, as more comes of it
 * or it is adopted, leaves its row (stage_file_of).
 */
struct stage_packed {
	struct rows rows;
	uint8_t *state;            /* of each row: 0 or */
#define STAGE_ROW_LEFT 1u          /* it holds nothing any more */
#define STAGE_ROW_PLANNED 2u       /* as stage_file.planned */
	size_t cap_state, n_saved; /* so many of the first are saved altogether */
	uint64_t last_ino;
};
/* A file with more pieces or blocks is not packed. */
#define STAGE_PACK_PIECES 4u
#define STAGE_PACK_BLOCKS 64u

/* Room for a packed file to be looked at; what it points to is in it as well. */
struct stage_room {
	struct stage_file file;
	struct stage_run runs[STAGE_PACK_PIECES];
	struct stage_part parts[STAGE_PACK_PIECES];
	uint64_t sums[STAGE_PACK_BLOCKS];
};

struct stage {
	struct volume *v;
	struct map files;          /* ino -> struct stage_file * */
	struct stage_packed packed;
	uint64_t current;          /* the file that something came of last */
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

/* The file, to be changed. */
struct stage_file *stage_file_of(struct stage *s, uint64_t ino, bool create);
/* To be looked at only, as long as nothing is changed in the stage; room: where it is if it is packed. NULL: none. */
const struct stage_file *stage_look(struct stage *s, uint64_t ino, struct stage_room *room);
void stage_file_free(struct stage_file *f);
/* All of the file has come; pack it, if that can be. */
void stage_pack(struct stage *s, uint64_t ino);
/* Its row, if it has one that holds something. */
bool stage_packed_find(const struct stage *s, uint64_t ino, size_t *i);
/* The i-th row, NULL: it holds nothing. */
const struct stage_file *stage_packed_at(const struct stage *s, size_t i, struct stage_room *room);
/* The i-th row's file as a stage_file of its own; the row holds nothing then. */
struct stage_file *stage_unpack(struct stage *s, size_t i);
/* Lock held: a block of these bytes on the image, which the stage holds until stage_taken or stage_free. -ENOSPC,
 * -EIO. */
int stage_keep_block(struct stage *s, const uint8_t *data, struct block_run *run);
int stage_part_read(struct stage *s, const struct stage_part *p, uint8_t *buf);
/* Held blocks that are written become what is staged there; takes over r.sums. phys 0: a hole. */
void stage_put_run(struct stage *s, struct stage_file *f, struct stage_run r);

#endif
