/* SPDX-License-Identifier: MIT */
/* volume_fixture: a store in a temporary directory of its own, and short forms of the calls the tests of core/ make. */
#ifndef TWINFS_TESTS_VOLUME_FIXTURE_H
#define TWINFS_TESTS_VOLUME_FIXTURE_H

#include "core/changes.h"
#include "core/data.h"
#include "core/tree.h"
#include "core/volume.h"
#include "tests/tap.h"
#include "util/util.h"

#include <errno.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char fx_dir[256];
static struct volume *fx;
static const struct cred fx_cred = { 1000, 1000, 0 };

static inline void fx_open(void)
{
	struct err err = ERR_INIT;
	int rc = volume_open(fx_dir, NULL, &fx, &err);

	ck_assert_msg(rc == 0, "open: %s", err.text);
}

static inline void fx_format(void)
{
	struct err err = ERR_INIT;
	const char *tmp = getenv("TMPDIR");
	int rc;

	snprintf(fx_dir, sizeof(fx_dir), "%s/twinfs-test-XXXXXX", tmp ? tmp : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(fx_dir));
	rc = volume_format(fx_dir, "00000000-0000-4000-8000-000000000001", "alpha", 1, 0, &err);
	ck_assert_msg(rc == 0, "format: %s", err.text);
}

static inline void fx_setup(void)
{
	fx_format();
	fx_open();
}

static inline void fx_pair(enum role role)
{
	struct err err = ERR_INIT;

	ck_assert_msg(volume_pair(fx, role, 1, 2, "peer", "beta", &err) == 0, "pair: %s", err.text);
	volume_lock(fx);
	ck_assert_int_eq(changes_purge(fx, UINT64_MAX >> 1), 0);
	volume_unlock(fx);
	ck_assert_int_eq(volume_commit(fx), 0);
}

static inline void fx_setup_primary(void)
{
	fx_setup();
	fx_pair(ROLE_PRIMARY);
}

static inline void fx_teardown(void)
{
	char command[300];

	if (fx)
		volume_close(fx);
	fx = NULL;
	snprintf(command, sizeof(command), "rm -rf '%s'", fx_dir);
	ck_assert_int_eq(system(command), 0);
}

static inline void fx_reopen_after_crash(void)
{
	volume_crash(fx);
	fx_open();
}

static inline void fx_reopen(void)
{
	ck_assert_int_eq(volume_close(fx), 0);
	fx_open();
}

/* Commit, and let the group leave the machine. */
static inline uint64_t fx_cut(void)
{
	struct volume_info info;

	ck_assert_int_eq(volume_commit(fx), 0);
	volume_info(fx, &info);
	volume_lock(fx);
	history_cut(fx, info.committed);
	volume_unlock(fx);
	return info.committed;
}

static inline uint64_t fx_make(uint64_t parent, const char *name, uint32_t mode)
{
	struct attr attr;
	int rc = volume_create(fx, parent, name, mode, 0, S_ISLNK(mode) ? "target" : NULL, &fx_cred, &attr);

	ck_assert_msg(rc == 0, "create %s: %d", name, rc);
	return attr.ino;
}

static inline uint64_t fx_file(uint64_t parent, const char *name)
{
	return fx_make(parent, name, S_IFREG | 0644);
}

static inline uint64_t fx_mkdir(uint64_t parent, const char *name)
{
	return fx_make(parent, name, S_IFDIR | 0755);
}

static inline uint64_t fx_ino(uint64_t parent, const char *name)
{
	struct attr attr;

	return volume_lookup(fx, parent, name, &attr) == 0 ? attr.ino : 0;
}

static inline uint32_t fx_nlink(uint64_t ino)
{
	struct attr attr;

	return volume_getattr(fx, ino, &attr) == 0 ? attr.nlink : 0;
}

static inline uint64_t fx_link_id(uint64_t parent, const char *name)
{
	struct dentry d = { .link = 0 };

	volume_lock(fx);
	if (tree_lookup(fx, parent, name, strlen(name), &d) != 0)
		d.link = 0;
	volume_unlock(fx);
	return d.link;
}

static inline void fx_write(uint64_t ino, const char *text)
{
	ck_assert_int_eq(volume_write(fx, ino, text, strlen(text), 0, 0, NULL), (int)strlen(text));
}

static inline void fx_expect(uint64_t ino, const char *text)
{
	char buf[4096];
	ssize_t n = volume_read(fx, ino, buf, sizeof(buf) - 1, 0);

	ck_assert_int_ge(n, 0);
	buf[n] = '\0';
	ck_assert_str_eq(buf, text);
}

#endif
