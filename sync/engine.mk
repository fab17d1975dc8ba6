# SPDX-License-Identifier: MIT
# The engine: shipments in and out, apply, merge. The simulation (tests/sim) is its test.
sync_libsync_a_SOURCES += \
	sync/apply.c sync/apply.h \
	sync/content.c sync/content.h \
	sync/engine.c sync/engine.h \
	sync/land.c sync/land.h \
	sync/merge.c sync/merge.h \
	sync/merge_gather.c sync/merge_land.c sync/merge_state.h \
	sync/outbox.c sync/outbox.h \
	sync/shipment.c sync/shipment.h
