/* SPDX-License-Identifier: MIT */
/*
 * merge3_diff: what changed between two rows of lines, as Myers' "An O(ND) Difference Algorithm" finds it, in linear
 * space. Among equally short answers it takes the one that git takes, so that a merge here is clean only where people
 * are used to one. Pure; private to merge3.
 */
#ifndef TWINFS_CORE_MERGE3_DIFF_H
#define TWINFS_CORE_MERGE3_DIFF_H

#include <stddef.h>
#include <stdint.h>

/* Steps of comparison for one merge: about a second. */
#define DIFF_MAX_WORK (UINT64_C(1) << 28)

struct diff_file {
	uint32_t n;      /* lines */
	uint32_t *cls;   /* what each line is: equal lines have equal numbers */
	uint32_t *count; /* of each class: how many such lines there are */
};
struct diff_change { /* n_base lines from `base` on became n_side lines from `side` on */
	uint32_t base, n_base, side, n_side;
};
struct diff_changes {
	struct diff_change *c; /* ascending; the caller frees it */
	size_t n;
};

/* 0, -EFBIG (too many differences: `work` is used up, or one stretch is too different), -ENOMEM. */
int diff_lines(const struct diff_file *base, const struct diff_file *side, uint64_t *work, struct diff_changes *out);

#endif
