# SPDX-License-Identifier: MIT
# One archive; each part of it lists its own files and tests.
noinst_LIBRARIES += sync/libsync.a
sync_libsync_a_SOURCES =

include sync/link.mk
include sync/engine.mk
include sync/resolver.mk
