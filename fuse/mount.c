/* SPDX-License-Identifier: MIT */
#include "fuse/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "util/log.h"
#include "util/util.h"

#define FS_TYPE "fuse." FRONT_SUBTYPE
#define FS_TYPE_PAST "fuse." FRONT_SUBTYPE_PAST
#define WORD_MAX_BYTES 64
#define PROBE_MS 500

extern char **environ;

/* Flags that mount(2) knows; `clear` takes the flag away. */
static const struct {
	const char *word;
	unsigned long flag;
	bool clear;
} flag_words[] = {
	{ "ro", MS_RDONLY, false },         { "rw", MS_RDONLY, true },
	{ "nosuid", MS_NOSUID, false },     { "suid", MS_NOSUID, true },
	{ "nodev", MS_NODEV, false },       { "dev", MS_NODEV, true },
	{ "noexec", MS_NOEXEC, false },     { "exec", MS_NOEXEC, true },
	{ "sync", MS_SYNCHRONOUS, false },  { "async", MS_SYNCHRONOUS, true },
	{ "dirsync", MS_DIRSYNC, false },   { "noatime", MS_NOATIME, false },
};

/* Words that others act on (mount(8), systemd, fstab), or that change nothing here. */
static const char *const ignored_words[] = {
	"defaults", "auto", "noauto", "user", "users", "nouser", "owner", "group", "_netdev", "nofail",
	"default_permissions", "atime",
	"relatime", "norelatime", "strictatime", "nostrictatime", "diratime", "nodiratime",
	"lazytime", "nolazytime", "iversion", "noiversion", "acl", "user_xattr", "silent", "loud", "remount",
};

/* Likewise, with a value; those of FUSE come back with a remount, as mount(8) reads them from the mount. */
static const char *const ignored_prefixes[] = { "x-", "X-", "comment=", "user_id=", "group_id=", "max_read=", "user=" };

static bool word_apply(const char *word, struct mount_options *out)
{
	for (size_t i = 0; i < ARRAY_LEN(flag_words); i++) {
		if (strcmp(word, flag_words[i].word) != 0)
			continue;
		if (flag_words[i].clear)
			out->flags &= ~flag_words[i].flag;
		else
			out->flags |= flag_words[i].flag;
		return true;
	}
	for (size_t i = 0; i < ARRAY_LEN(ignored_words); i++)
		if (strcmp(word, ignored_words[i]) == 0)
			return true;
	if (strcmp(word, "allow_other") == 0)
		return out->allow_other = true;
	if (strcmp(word, "inotify") == 0)
		return out->inotify = true;
	for (size_t i = 0; i < ARRAY_LEN(ignored_prefixes); i++)
		if (strncmp(word, ignored_prefixes[i], strlen(ignored_prefixes[i])) == 0)
			return true;
	return false;
}

/* The flags as fusermount3 wants them. */
static void options_text(struct mount_options *out)
{
	size_t at = 0;

	out->text[0] = '\0';
	for (size_t i = 0; i < ARRAY_LEN(flag_words); i++) {
		int n;

		if (flag_words[i].clear || !(out->flags & flag_words[i].flag))
			continue;
		n = snprintf(out->text + at, sizeof(out->text) - at, ",%s", flag_words[i].word);
		at += (size_t)n; /* all words together are far below the size of text */
	}
	if (out->allow_other)
		snprintf(out->text + at, sizeof(out->text) - at, ",allow_other");
}

static int words_apply(const char *options, struct mount_options *out, struct err *err)
{
	while (options && *options) {
		size_t len = strcspn(options, ",");
		char word[WORD_MAX_BYTES];

		if (len < sizeof(word)) {
			memcpy(word, options, len);
			word[len] = '\0';
		}
		if (len > 0 && (len >= sizeof(word) || !word_apply(word, out)))
			return err_set(
				err, -EINVAL,
				"unknown mount option \"%.*s\"; known are ro, allow_other, inotify, nosuid, nodev, "
				"noexec, sync, dirsync and their opposites",
				(int)MIN(len, (size_t)200), options);
		options += len + (options[len] == ',');
	}
	return 0;
}

int mount_options_parse(const char *options, bool past, struct mount_options *out, struct err *err)
{
	int rc;

	*out = (struct mount_options){ .subtype = past ? FRONT_SUBTYPE_PAST : FRONT_SUBTYPE,
	                               .flags = MS_NOSUID | MS_NODEV | MS_NOATIME,
	                               .allow_other = geteuid() == 0 };
	rc = words_apply(options, out, err);
	if (past)
		out->flags |= MS_RDONLY;
	if (rc == 0)
		options_text(out);
	return rc;
}

/* The flags of a mount as they are. */
static unsigned long flags_now(const struct statvfs *st)
{
	static const struct {
		unsigned long statvfs, mount;
	} bits[] = { { ST_RDONLY, MS_RDONLY },   { ST_NOSUID, MS_NOSUID },          { ST_NODEV, MS_NODEV },
		     { ST_NOEXEC, MS_NOEXEC },   { ST_SYNCHRONOUS, MS_SYNCHRONOUS }, { ST_NOATIME, MS_NOATIME },
		     { ST_RELATIME, MS_RELATIME } };
	unsigned long flags = 0;

	for (size_t i = 0; i < ARRAY_LEN(bits); i++)
		if (st->f_flag & bits[i].statvfs)
			flags |= bits[i].mount;
	return flags;
}

int front_remount(const char *mountpoint, const char *options, struct err *err)
{
	struct mount_options mo = { .flags = 0 };
	struct statvfs st;
	int rc;

	if (!mount_is_there(mountpoint))
		return err_set(err, -EINVAL, "%s is no mount of twinfs, so there is nothing to remount", mountpoint);
	if (statvfs(mountpoint, &st) != 0)
		return err_set(err, -errno, "%s: %s", mountpoint, strerror(errno));
	mo.flags = flags_now(&st);
	rc = words_apply(options, &mo, err);
	if (rc != 0)
		return rc;
	if ((mo.flags ^ flags_now(&st)) & MS_SYNCHRONOUS)
		return err_set(err, -EINVAL,
		               "sync cannot be given or taken by a remount; unmount %s and mount it again",
		               mountpoint);
	if (mount("none", mountpoint, NULL, MS_REMOUNT | mo.flags, NULL) == 0)
		return 0;
	if (errno == EBUSY)
		return err_set(err, -EBUSY, "%s cannot become read-only while files in it are open for writing",
		               mountpoint);
	return err_set(err, -errno, "remounting %s is refused: %s%s", mountpoint, strerror(errno),
	               errno == EPERM ? "; only root may do it" : "");
}

/* ---- what is mounted ----------------------------------------------------------------------------- */

/* mountinfo writes space, tab, newline and backslash as \ooo. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && strspn(s + 1, "01234567") >= 3) {
			*to++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 + (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = '\0';
}

/* Type and device number of the mount on top at abs_path; false if nothing is mounted there. */
static bool mounted_type(const char *abs_path, char type[WORD_MAX_BYTES], unsigned *major, unsigned *minor)
{
	FILE *file = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t cap = 0;
	unsigned device[2];
	bool found = false;

	if (!file)
		return false;
	while (getline(&line, &cap, file) > 0) {
		char *dash = strstr(line, " - "), *save = NULL, *field = NULL;

		if (!dash)
			continue;
		*dash = '\0';
		if (sscanf(line, "%*d %*d %u:%u", &device[0], &device[1]) != 2)
			continue;
		field = strtok_r(line, " ", &save);
		for (int i = 0; i < 4 && field; i++)
			field = strtok_r(NULL, " ", &save);
		if (!field)
			continue;
		unescape(field);
		if (strcmp(field, abs_path) != 0)
			continue;
		found = sscanf(dash + 3, "%63s", type) == 1;
		*major = device[0];
		*minor = device[1];
	}
	free(line);
	fclose(file);
	return found;
}

/* The kernel reads ahead 128 KiB of a FUSE file unless told otherwise: one request at a time, too short for a disk. So
 * each worker has one of the largest requests. Only root may tell it; for others reading stays slower. */
#define READ_AHEAD_KIB 2048

void mount_read_ahead(const char *mountpoint)
{
	char type[WORD_MAX_BYTES], path[96];
	unsigned major, minor;
	FILE *file;

	if (!mounted_type(mountpoint, type, &major, &minor))
		return;
	snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", major, minor);
	file = fopen(path, "we");
	if (!file)
		return;
	fprintf(file, "%d\n", READ_AHEAD_KIB);
	fclose(file);
}

bool mount_is_there(const char *mountpoint)
{
	char type[WORD_MAX_BYTES];
	unsigned major, minor;

	return mounted_type(mountpoint, type, &major, &minor) &&
	       (strcmp(type, FS_TYPE) == 0 || strcmp(type, FS_TYPE_PAST) == 0);
}

struct probe {
	bool dead;
	char path[];
};

static void *probe_main(void *ctx)
{
	struct probe *p = ctx;
	struct statfs s;

	p->dead = statfs(p->path, &s) < 0 && (errno == ENOTCONN || errno == ECONNABORTED);
	return NULL;
}

/* A connection that has ended answers at once; one that does not is served, or will be. */
bool mount_is_dead(const char *mountpoint)
{
	size_t len = strlen(mountpoint);
	struct timespec until;
	struct probe *p;
	pthread_t thread;
	bool dead;

	if (!mount_is_there(mountpoint))
		return false;
	p = xmalloc(sizeof(*p) + len + 1);
	p->dead = false;
	memcpy(p->path, mountpoint, len + 1);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += PROBE_MS * 1000000L;
	until.tv_sec += until.tv_nsec / NS_PER_S;
	until.tv_nsec %= NS_PER_S;
	if (pthread_create(&thread, NULL, probe_main, p) != 0) {
		free(p);
		return false;
	}
	if (pthread_timedjoin_np(thread, NULL, &until) != 0) {
		pthread_detach(thread); /* it still has p */
		return false;
	}
	dead = p->dead;
	free(p);
	return dead;
}

static int run_fusermount(const char *mountpoint, bool lazy)
{
	char *const argv[] = { (char *)(uintptr_t)"fusermount3", (char *)(uintptr_t)"-u",
		               (char *)(uintptr_t)(lazy ? "-qz" : "-q"), (char *)(uintptr_t)"--",
		               (char *)(uintptr_t)mountpoint, NULL };
	pid_t pid;
	int status;

	if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ) != 0)
		return -ENOSYS;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EBUSY;
}

int mount_end(const char *mountpoint, bool lazy)
{
	if (umount2(mountpoint, UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0)
		return 0;
	if (errno != EPERM)
		return -errno;
	return run_fusermount(mountpoint, lazy);
}

/* realpath that does not touch the last component, which may be a dead mount. */
static char *parent_realpath(const char *path)
{
	char *copy = xstrdup(path), *slash, *parent, *result = NULL;
	size_t len = strlen(copy);

	while (len > 1 && copy[len - 1] == '/')
		copy[--len] = '\0';
	slash = strrchr(copy, '/');
	if (slash)
		*slash = '\0';
	parent = realpath(!slash ? "." : slash == copy ? "/" : copy, NULL);
	if (parent)
		result = xasprintf("%s/%s", strcmp(parent, "/") == 0 ? "" : parent, slash ? slash + 1 : copy);
	free(parent);
	free(copy);
	return result;
}

static int is_empty(const char *path, struct err *err)
{
	DIR *dir = opendir(path);
	struct dirent *d;
	int rc = 0;

	if (!dir)
		return err_set(err, -errno, "%s cannot be read: %s", path, strerror(errno));
	while (rc == 0 && (d = readdir(dir)))
		if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0)
			rc = err_set(err, -ENOTEMPTY,
			             "%s is not empty: a mount would hide what is in it; choose an empty folder", path);
	closedir(dir);
	return rc;
}

/* A mount of ours whose process died: nobody can use it, so nobody loses by its going. */
static int detach_stale(const char *path, struct err *err)
{
	char *abs_path = parent_realpath(path);
	int rc = 0;

	if (!abs_path || !mount_is_there(abs_path))
		rc = err_set(err, -ENOTCONN, "%s is a dead mount, but not one of twinfs; unmount it first", path);
	else if ((rc = mount_end(abs_path, true)) != 0)
		err_set(err, rc, "%s is a dead mount of twinfs and cannot be detached (%s); run: fusermount3 -u -z %s",
		        path, strerror(-rc), path);
	else
		log_info("%s: detached a dead mount of twinfs", abs_path);
	free(abs_path);
	return rc;
}

int mountpoint_check(const char *path, char **abs_path, struct err *err)
{
	char type[WORD_MAX_BYTES];
	unsigned major, minor;
	struct stat st;
	int rc;

	/* More than one dead mount may be stacked there; the bound is only against a loop. */
	for (int i = 0; stat(path, &st) != 0; i++) {
		if (errno == ENOTCONN && i < 16) {
			rc = detach_stale(path, err);
			if (rc != 0)
				return rc;
			continue;
		}
		if (errno == ENOENT)
			return err_set(err, -ENOENT, "mountpoint %s does not exist; make it with mkdir", path);
		return err_set(err, -errno, "mountpoint %s: %s", path, strerror(errno));
	}
	if (!S_ISDIR(st.st_mode))
		return err_set(err, -ENOTDIR, "mountpoint %s is not a directory", path);
	*abs_path = realpath(path, NULL);
	if (!*abs_path)
		return err_set(err, -errno, "mountpoint %s: %s", path, strerror(errno));
	if (mounted_type(*abs_path, type, &major, &minor))
		rc = err_set(err, -EBUSY, "%s is already a mountpoint (%s); unmount it or choose another folder",
		             *abs_path, type);
	else
		rc = is_empty(*abs_path, err);
	if (rc != 0) {
		free(*abs_path);
		*abs_path = NULL;
	}
	return rc;
}

/* ---- mount --------------------------------------------------------------------------------------- */

int mount_by_hand(const char *mountpoint, const char *fsname, const struct mount_options *opt, struct err *err)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC), rc;
	char data[160], type[WORD_MAX_BYTES];

	if (fd < 0 && (errno == EACCES || errno == EPERM))
		return err_set(err, -errno, "/dev/fuse may not be opened (%s); run as root or allow this user",
		               strerror(errno));
	if (fd < 0)
		return err_set(err, -errno,
		               "/dev/fuse is not there (%s); load the fuse module, or give the container the device",
		               strerror(errno));
	snprintf(data, sizeof(data), "fd=%d,rootmode=40000,user_id=%u,group_id=%u,default_permissions%s", fd, getuid(),
	         getgid(), opt->allow_other ? ",allow_other" : "");
	snprintf(type, sizeof(type), "fuse.%s", opt->subtype);
	if (mount(fsname, mountpoint, type, opt->flags, data) == 0)
		return fd;
	rc = err_set(err, -errno, "mounting at %s is refused: %s%s", mountpoint, strerror(errno),
	             errno == EPERM ? "; this root may not mount (a container without CAP_SYS_ADMIN?)" : "");
	close(fd);
	return rc;
}
