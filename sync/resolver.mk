# SPDX-License-Identifier: MIT
sync_libsync_a_SOURCES += \
	sync/resolver.c sync/resolver.h \
	sync/resolver_content.c sync/resolver_names.c sync/resolver_work.h
