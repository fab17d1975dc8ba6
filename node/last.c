/* SPDX-License-Identifier: MIT */
#include "node/last.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/volume.h"
#include "node/words.h"
#include "util/log.h"
#include "util/util.h"

static uint64_t get(struct volume *v, const char *what, const char *key)
{
	char name[40], *text;
	uint64_t n;

	snprintf(name, sizeof(name), "%s.%s", what, key);
	text = volume_setting_get(v, name);
	n = text ? strtoull(text, NULL, 10) : 0;
	free(text);
	return n;
}

static int put(struct volume *v, const char *what, const char *key, uint64_t n)
{
	char name[40], text[24];

	snprintf(name, sizeof(name), "%s.%s", what, key);
	snprintf(text, sizeof(text), "%" PRIu64, n);
	return volume_setting_set(v, name, text);
}

uint64_t last_found(struct volume *v, const char *what)
{
	return get(v, what, "found");
}

void last_put(struct volume *v, const char *what, uint64_t found)
{
	if (put(v, what, "found", found) != 0 || put(v, what, "last_ms", clock_real_ms()) != 0 ||
	    volume_commit(v) != 0)
		log_warn("the result of the %s could not be stored", what);
}

json_t *last_object(struct volume *v, const char *what)
{
	uint64_t last_ms = get(v, what, "last_ms");
	json_t *o = json_pack("{s:n, s:n}", "last", "differences");

	if (last_ms) {
		json_object_set_new(o, "last", words_time(last_ms));
		json_object_set_new(o, "differences", json_integer((json_int_t)last_found(v, what)));
	}
	return o;
}
