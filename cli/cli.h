/* SPDX-License-Identifier: MIT */
/*
 * cli: what the files of the twinfs command share. One process, one thread (a mount forks before it makes any), one
 * command.
 *
 * A command prints its result on stdout. When it fails it prints one line on stderr, "twinfs: what failed, on what,
 * what to do", and nothing else there. Exit codes: 0 success, 1 failure, 2 wrong usage; status has its own (STATUS_*).
 */
#ifndef TWINFS_CLI_CLI_H
#define TWINFS_CLI_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "node/control.h"
#include "util/err.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };
enum { STATUS_WELL = 0, STATUS_APART = 1, STATUS_CONFLICTS = 3, STATUS_ERROR = 4 };

struct command {
	const char *name, *args; /* as in the synopsis */
	const char *summary;     /* one line */
	const char *help;        /* more lines, or NULL */
	int (*run)(const struct command *c, int argc, char **argv); /* argv[0] is the command's name */
};

/* ---- messages; both return the exit code */

int fail(const struct err *err);
int usage_error(const struct command *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- arguments */

/* An option as getopt_long's, with where its value goes. */
struct option_def {
	const char *name;
	char letter;            /* 0: none */
	const char **value;     /* takes a value; or NULL */
	bool *flag;             /* takes none; or NULL */
};
/* Options into their places, the other arguments into pos (NULL where not given). Returns -1, or the exit code: --help
 * was printed (0), or wrong usage (2). Between min and max positional arguments. An option that is given twice: the
 * last one counts, but values of "options" are joined with commas (malloc'd; never freed: a command runs once). */
int args_parse(const struct command *c, int argc, char **argv, const struct option_def *options, size_t n_options,
               const char **pos, int min, int max);
/* "90", "90s", "10m", "2h", "1d", also with a fraction: milliseconds; -EINVAL. */
int parse_duration(const char *text, uint64_t *ms);

/* ---- which store */

struct where {
	char *store;      /* absolute */
	char *mountpoint; /* or NULL */
};
/* WHERE is a store or the mountpoint of one. Does not touch a mount, which could be dead. -errno with a text. */
int where_find(const char *arg, struct where *out, struct err *err);
void where_release(struct where *w);
/* Ask the store that `arg` names; takes over `request`. 0 and *reply (a new reference), or -errno with a text. */
int where_ask(const char *arg, json_t *request, json_t **reply, struct err *err);

/* The same for a request with pieces (node/control.h). */
int where_stream(const char *arg, json_t *request, const struct control_sink *sink, json_t **reply, struct err *err);
/* A request about a path, whatever bytes that has. */
json_t *where_request(const char *cmd, const char *path);
/* People give the path they see, below the mountpoint; the volume knows "/a/b". malloc'd. */
char *where_path(const char *where, const char *path);

/* ---- words for people */

void print_bytes(char out[32], uint64_t n);      /* "1.5 GiB" */
void print_duration(char out[32], uint64_t s);   /* "4 min" */
uint64_t parse_rfc3339(const char *text);        /* seconds since the epoch; 0 if it is none */
/* A member of an answer that is text; "" if it is not there. The answer's. */
const char *text_of(const json_t *o, const char *key);
/* A member of an answer that counts something; 0 if it is not there, or negative. */
uint64_t number_of(const json_t *o, const char *key);
/* Text from a peer or a name: control characters become '?', so that they cannot play with the terminal. malloc'd. */
char *printable(const char *text);

/* For programs: indented, on stdout. */
void print_json(const json_t *value);

/* The versions of a conflict (its path or id) compared, on stdout; the exit code. diff.c */
int conflict_diff(const char *where, const char *path);

/* ---- commands, by file */

int cmd_init(const struct command *c, int argc, char **argv);       /* setup.c */
int cmd_invite(const struct command *c, int argc, char **argv);
int cmd_join(const struct command *c, int argc, char **argv);
int cmd_address(const struct command *c, int argc, char **argv);
int cmd_promote(const struct command *c, int argc, char **argv);
int cmd_forget_peer(const struct command *c, int argc, char **argv);
int cmd_mount(const struct command *c, int argc, char **argv);      /* mount.c */
int cmd_status(const struct command *c, int argc, char **argv);     /* status.c */
int cmd_wait(const struct command *c, int argc, char **argv);       /* steer.c */
int cmd_pause(const struct command *c, int argc, char **argv);
int cmd_resume(const struct command *c, int argc, char **argv);
int cmd_resize(const struct command *c, int argc, char **argv);
int cmd_conflicts(const struct command *c, int argc, char **argv);  /* conflicts.c */
int cmd_baseline(const struct command *c, int argc, char **argv);   /* baseline.c */
int cmd_policy(const struct command *c, int argc, char **argv);     /* policy.c */
int cmd_events(const struct command *c, int argc, char **argv);     /* events.c */
int cmd_scrub(const struct command *c, int argc, char **argv);      /* scrub.c */
int cmd_fsck(const struct command *c, int argc, char **argv);       /* fsck.c */
int cmd_why(const struct command *c, int argc, char **argv);        /* why.c */
int cmd_verify(const struct command *c, int argc, char **argv);     /* verify.c */

#endif
