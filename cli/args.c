/* SPDX-License-Identifier: MIT */
#include "cli/cli.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "util/util.h"

#define OPTIONS_MAX 8
#define HELP_CODE 'h'
/* getopt codes of long options without a letter */
#define CODE_BASE 256

int fail(const struct err *err)
{
	char *text = printable(err_text(err));

	fprintf(stderr, "twinfs: %s\n", text);
	free(text);
	return EXIT_FAILED;
}

int usage_error(const struct command *c, const char *fmt, ...)
{
	char text[512], *clean;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	clean = printable(text);
	fprintf(stderr, "twinfs: %s: %s; see twinfs %s --help\n", c->name, clean, c->name);
	free(clean);
	return EXIT_USAGE;
}

static void print_command_help(const struct command *c)
{
	printf("usage: twinfs %s %s\n%s\n", c->name, c->args, c->summary);
	if (c->help)
		printf("\n%s", c->help);
}

static void option_set(const struct option_def *def, const char *value)
{
	if (def->flag)
		*def->flag = true;
	else if (*def->value && strcmp(def->name, "options") == 0)
		*def->value = xasprintf("%s,%s", *def->value, value);
	else
		*def->value = value;
}

int args_parse(const struct command *c, int argc, char **argv, const struct option_def *options, size_t n_options,
               const char **pos, int min, int max)
{
	struct option table[OPTIONS_MAX + 2] = { { "help", no_argument, NULL, HELP_CODE } };
	char letters[2 * OPTIONS_MAX + 4] = ":h";
	size_t len = 2;
	int code, given = 0;

	for (size_t i = 0; i < n_options; i++) {
		table[i + 1] = (struct option){ options[i].name, options[i].value ? required_argument : no_argument,
		                                NULL, options[i].letter ? options[i].letter : (int)(CODE_BASE + i) };
		if (options[i].letter)
			letters[len++] = options[i].letter;
		if (options[i].letter && options[i].value)
			letters[len++] = ':';
	}
	opterr = 0;
	optind = 1;
	while ((code = getopt_long(argc, argv, letters, table, NULL)) != -1) {
		const struct option_def *def = NULL;

		if (code == HELP_CODE) {
			print_command_help(c);
			return EXIT_OK;
		}
		if (code == ':')
			return usage_error(c, "%.100s needs a value", argv[optind - 1]);
		for (size_t i = 0; i < n_options; i++)
			if (table[i + 1].val == code)
				def = &options[i];
		if (!def && argv[optind - 1][0] == '-')
			return usage_error(c, "there is no option %.100s", argv[optind - 1]);
		if (!def)
			return usage_error(c, "there is no option -%c", optopt);
		option_set(def, optarg);
	}
	for (; optind < argc; optind++) {
		if (given == max)
			return usage_error(c, "\"%.100s\" is one argument too many", argv[optind]);
		if (!*argv[optind])
			return usage_error(c, "an argument is empty");
		pos[given++] = argv[optind];
	}
	if (given < min)
		return usage_error(c, "something is missing: twinfs %s %s", c->name, c->args);
	while (given < max)
		pos[given++] = NULL;
	return -1;
}

int parse_duration(const char *text, uint64_t *ms)
{
	static const struct {
		const char *unit;
		double ms;
	} units[] = { { "", 1e3 }, { "s", 1e3 }, { "m", 60e3 }, { "h", 3600e3 }, { "d", 86400e3 }, { "ms", 1 } };
	char *end;
	double n;

	if (!isdigit((unsigned char)text[0])) /* strtod would take blanks, signs, "inf" */
		return -EINVAL;
	n = strtod(text, &end);
	for (size_t i = 0; i < ARRAY_LEN(units); i++) {
		/* A thousand years: far from where the arithmetic of times could overflow. */
		if (strcmp(end, units[i].unit) != 0 || n * units[i].ms > 365e3 * 86400e3)
			continue;
		*ms = (uint64_t)(n * units[i].ms + 0.5);
		return 0;
	}
	return -EINVAL;
}

/* ---- words for people -------------------------------------------------------------------------- */

void print_bytes(char out[32], uint64_t n)
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double value = (double)n;
	size_t i = 0;

	for (; value >= 1024 && i + 1 < ARRAY_LEN(units); i++)
		value /= 1024;
	snprintf(out, 32, i > 0 && value < 100 ? "%.1f %s" : "%.0f %s", value, units[i]);
}

const char *text_of(const json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key)) ?: "";
}

uint64_t number_of(const json_t *o, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(o, key));

	return n > 0 ? (uint64_t)n : 0;
}

void print_duration(char out[32], uint64_t s)
{
	if (s < 120)
		snprintf(out, 32, "%" PRIu64 " s", s);
	else if (s < 120 * 60)
		snprintf(out, 32, "%" PRIu64 " min", s / 60);
	else if (s < 48 * 3600)
		snprintf(out, 32, "%" PRIu64 " h %" PRIu64 " min", s / 3600, s / 60 % 60);
	else
		snprintf(out, 32, "%" PRIu64 " days", s / 86400);
}

uint64_t parse_rfc3339(const char *text)
{
	struct tm tm = { .tm_sec = 0 };
	char *end = text ? strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm) : NULL;
	time_t t = end && !*end ? timegm(&tm) : 0;

	return t > 0 ? (uint64_t)t : 0;
}

char *printable(const char *text)
{
	char *out = xstrdup(text);

	for (char *p = out; *p; p++)
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	return out;
}

void print_json(const json_t *value)
{
	json_dumpf(value, stdout, JSON_INDENT(2));
	putchar('\n');
}
