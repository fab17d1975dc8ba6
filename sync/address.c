/* SPDX-License-Identifier: MIT */
#include "sync/address.h"

#include "util/util.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool host_ok(const char *host, size_t len, bool v6)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_*";

	if (len == 0 || len > ADDRESS_HOST_MAX_BYTES)
		return false;
	for (size_t i = 0; i < len; i++)
		if (!host[i] || !(strchr(letters, host[i]) || (v6 && strchr(":%", host[i]))))
			return false;
	return true;
}

static bool port_ok(const char *port)
{
	size_t len = strlen(port);
	unsigned long n = strtoul(port, NULL, 10);

	return len >= 1 && len <= 5 && strspn(port, "0123456789") == len && n >= 1 && n <= 65535;
}

int address_parse(const char *text, struct address *out, struct err *err)
{
	bool v6 = text[0] == '[';
	const char *host = v6 ? text + 1 : text;
	const char *end = v6 ? strchr(host, ']') : strrchr(host, ':');
	const char *port = ADDRESS_PORT_DEFAULT;
	size_t len;

	if (v6 && !end)
		goto bad;
	len = end ? (size_t)(end - host) : strlen(host);
	if (v6)
		end++;
	if (end && *end == ':')
		port = end + 1;
	else if (end && *end)
		goto bad;
	if (!host_ok(host, len, v6) || !port_ok(port))
		goto bad;
	memcpy(out->host, host, len);
	out->host[len] = '\0';
	text_copy(out->port, sizeof(out->port), port);
	return 0;
bad:
	return err_set(err, -EINVAL,
		       "\"%.300s\" is not an address; write HOST:PORT, and an IPv6 address as [ADDRESS]:PORT", text);
}

void address_format(const struct address *a, char out[ADDRESS_MAX_BYTES + 1])
{
	bool v6 = strchr(a->host, ':') != NULL;

	snprintf(out, ADDRESS_MAX_BYTES + 1, "%s%s%s:%s", v6 ? "[" : "", a->host, v6 ? "]" : "", a->port);
}
