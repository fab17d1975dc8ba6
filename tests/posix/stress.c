/* SPDX-License-Identifier: MIT */
/*
 * stress DIR SEED OPERATIONS THREADS: names being made, linked, renamed, exchanged and removed by several threads in
 * one directory. Each thread has names of its own and knows what they are, so that every answer and every listing can
 * be checked while the others are at work. The same seed does the same in each thread.
 */
#include "tests/posix/posix.h"

#include <dirent.h>
#include <pthread.h>

#define NAMES 24
#define THREADS_MAX 16

enum kind { NONE, FILE_, DIR_, LINK_ };

struct name {
	enum kind kind;
	unsigned file; /* FILE_: which one; several names may have one */
	unsigned mode;
};

struct worker {
	const char *dir;
	unsigned me;
	unsigned long n;
	uint64_t rnd;
	unsigned files; /* made so far: the number of a file is its content */
	struct name names[NAMES];
	pthread_t thread;
};

static void path_of(const struct worker *w, unsigned i, char out[512])
{
	snprintf(out, 512, "%s/t%u-%u", w->dir, w->me, i);
}

static unsigned links_of(const struct worker *w, unsigned file)
{
	unsigned n = 0;

	for (unsigned i = 0; i < NAMES; i++)
		n += w->names[i].kind == FILE_ && w->names[i].file == file;
	return n;
}

static void check(const struct worker *w, unsigned i)
{
	const struct name *name = &w->names[i];
	char path[512], buf[64];
	unsigned file = 0;
	struct stat st;
	ssize_t n;
	int fd;

	path_of(w, i, path);
	if (name->kind == NONE) {
		REFUSED(ENOENT, lstat(path, &st));
		return;
	}
	WANT(lstat(path, &st) == 0);
	WANT((name->kind == FILE_) == !!S_ISREG(st.st_mode) && (name->kind == DIR_) == !!S_ISDIR(st.st_mode));
	if (name->kind != FILE_)
		return;
	WANT(st.st_nlink == links_of(w, name->file) && (st.st_mode & 0777) == name->mode);
	fd = open(path, O_RDONLY);
	WANT(fd >= 0);
	n = read(fd, buf, sizeof(buf) - 1);
	WANT(n > 0);
	buf[n] = '\0';
	WANT(sscanf(buf, "%u", &file) == 1 && file == name->file);
	close(fd);
}

static void check_listing(const struct worker *w)
{
	unsigned seen[NAMES] = { 0 }, me, i;
	DIR *dir = opendir(w->dir);
	struct dirent *d;

	WANT(dir);
	while ((d = readdir(dir)))
		if (sscanf(d->d_name, "t%u-%u", &me, &i) == 2 && me == w->me && i < NAMES)
			seen[i]++;
	closedir(dir);
	for (i = 0; i < NAMES; i++)
		WANT(seen[i] == (w->names[i].kind != NONE));
}

static void create(struct worker *w, unsigned i, const char *path)
{
	struct name *name = &w->names[i];
	char text[32];
	int fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0644), len;

	if (name->kind != NONE) {
		WANT(fd == -1 && errno == EEXIST);
		return;
	}
	WANT(fd >= 0);
	len = snprintf(text, sizeof(text), "%u", ++w->files);
	WANT(write(fd, text, (size_t)len) == len && close(fd) == 0);
	*name = (struct name){ .kind = FILE_, .file = w->files, .mode = 0644 };
}

static void make_other(struct worker *w, unsigned i, const char *path)
{
	struct name *name = &w->names[i];
	bool dir = rnd_below(&w->rnd, 2);
	int rc = dir ? mkdir(path, 0755) : symlink("nowhere", path);

	WANT(rc == (name->kind == NONE ? 0 : -1));
	if (rc == 0)
		*name = (struct name){ .kind = dir ? DIR_ : LINK_ };
}

static void take_away(struct worker *w, unsigned i, const char *path)
{
	struct name *name = &w->names[i];

	if (name->kind == NONE)
		REFUSED(ENOENT, unlink(path));
	else if (name->kind == DIR_)
		WANT(rmdir(path) == 0);
	else
		WANT(unlink(path) == 0);
	name->kind = NONE;
}

static void add_link(struct worker *w, unsigned i, unsigned k, const char *path, const char *other)
{
	if (w->names[i].kind == FILE_ && w->names[k].kind == NONE) {
		WANT(link(path, other) == 0);
		w->names[k] = w->names[i];
	} else if (w->names[i].kind == FILE_) {
		REFUSED(EEXIST, link(path, other));
	}
}

static void move(struct worker *w, unsigned i, unsigned k, const char *path, const char *other)
{
	struct name *from = &w->names[i], *to = &w->names[k], held;

	if (rnd_below(&w->rnd, 4) == 0 && from->kind != NONE && to->kind != NONE) {
		WANT(renameat2(AT_FDCWD, path, AT_FDCWD, other, RENAME_EXCHANGE) == 0);
		held = *from;
		*from = *to;
		*to = held;
	} else if (from->kind == NONE) {
		REFUSED(ENOENT, rename(path, other));
	} else if (to->kind != NONE && (from->kind == DIR_) != (to->kind == DIR_)) {
		REFUSED(from->kind == DIR_ ? ENOTDIR : EISDIR, rename(path, other));
	} else {
		WANT(rename(path, other) == 0);
		if (i != k && !(from->kind == FILE_ && to->kind == FILE_ && from->file == to->file)) {
			*to = *from; /* of two names of one file nothing is done */
			from->kind = NONE;
		}
	}
}

static void change_mode(struct worker *w, unsigned i, const char *path)
{
	unsigned mode = 0400 | (unsigned)rnd_below(&w->rnd, 0400);

	if (w->names[i].kind != FILE_)
		return;
	WANT(chmod(path, mode) == 0);
	for (unsigned k = 0; k < NAMES; k++)
		if (w->names[k].kind == FILE_ && w->names[k].file == w->names[i].file)
			w->names[k].mode = mode;
}

static void *worker_main(void *arg)
{
	struct worker *w = arg;

	for (unsigned long n = 0; n < w->n; n++) {
		unsigned i = (unsigned)rnd_below(&w->rnd, NAMES), k = (unsigned)rnd_below(&w->rnd, NAMES);
		char path[512], other[512];

		path_of(w, i, path);
		path_of(w, k, other);
		switch (rnd_below(&w->rnd, 8)) {
		case 0: create(w, i, path); break;
		case 1: make_other(w, i, path); break;
		case 2: take_away(w, i, path); break;
		case 3: add_link(w, i, k, path, other); break;
		case 4:
		case 5: move(w, i, k, path, other); break;
		case 6: change_mode(w, i, path); break;
		default: check_listing(w); break;
		}
		check(w, i);
		check(w, k);
	}
	check_listing(w);
	return NULL;
}

int main(int argc, char **argv)
{
	static struct worker workers[THREADS_MAX];
	unsigned n;

	if (argc != 5 || (n = (unsigned)strtoul(argv[4], NULL, 0)) == 0 || n > THREADS_MAX) {
		fprintf(stderr, "usage: stress DIR SEED OPERATIONS THREADS (1 to %d), in an empty directory\n",
		        THREADS_MAX);
		return 2;
	}
	for (unsigned i = 0; i < n; i++) {
		workers[i] = (struct worker){ .dir = argv[1], .me = i, .n = strtoul(argv[3], NULL, 0),
			.rnd = strtoull(argv[2], NULL, 0) * THREADS_MAX + i };
		WANT(pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]) == 0);
	}
	for (unsigned i = 0; i < n; i++)
		WANT(pthread_join(workers[i].thread, NULL) == 0);
	printf("ok 1 - %u threads, %s operations each, seed %s\n1..1\n", n, argv[3], argv[2]);
	return 0;
}
