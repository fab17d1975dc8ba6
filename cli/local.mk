# SPDX-License-Identifier: MIT
bin_PROGRAMS += twinfs
twinfs_SOURCES = \
	cli/args.c cli/cli.h \
	cli/baseline.c \
	cli/conflicts.c \
	cli/diff.c \
	cli/events.c \
	cli/fsck.c \
	cli/main.c \
	cli/mount.c \
	cli/policy.c \
	cli/scrub.c \
	cli/setup.c \
	cli/status.c \
	cli/steer.c \
	cli/verify.c \
	cli/where.c \
	cli/why.c
twinfs_LDADD = $(NODE_LIBS)

TESTS += tests/test_cli.sh
EXTRA_DIST += tests/test_cli.sh
