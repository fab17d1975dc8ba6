/* SPDX-License-Identifier: MIT */
#include "node/addresses.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util/util.h"

/* ---- this machine ------------------------------------------------------------------------------ */

/* Can others reach this machine by it? Not by an IPv6 address that is good on one cable only. */
static bool is_global(const struct ifaddrs *i, int family)
{
	if (!i->ifa_addr || i->ifa_addr->sa_family != family || (i->ifa_flags & IFF_LOOPBACK) ||
	    !(i->ifa_flags & IFF_UP))
		return false;
	return family == AF_INET ||
	       !IN6_IS_ADDR_LINKLOCAL(&((const struct sockaddr_in6 *)(const void *)i->ifa_addr)->sin6_addr);
}

/* The first global IPv4 address, else the first of IPv6, else the machine's name. */
static void own_host(char out[ADDRESS_HOST_MAX_BYTES + 1])
{
	static const struct {
		int family;
		socklen_t len_bytes;
	} kinds[] = { { AF_INET, sizeof(struct sockaddr_in) }, { AF_INET6, sizeof(struct sockaddr_in6) } };
	struct ifaddrs *list = NULL;
	bool found = false;

	if (getifaddrs(&list))
		list = NULL;
	for (size_t k = 0; k < ARRAY_LEN(kinds) && !found; k++)
		for (struct ifaddrs *i = list; i && !found; i = i->ifa_next)
			found = is_global(i, kinds[k].family) &&
			        !getnameinfo(i->ifa_addr, kinds[k].len_bytes, out, ADDRESS_HOST_MAX_BYTES + 1, NULL, 0,
			                     NI_NUMERICHOST);
	freeifaddrs(list);
	if (!found && gethostname(out, ADDRESS_HOST_MAX_BYTES) != 0)
		snprintf(out, ADDRESS_HOST_MAX_BYTES + 1, "127.0.0.1");
	out[ADDRESS_HOST_MAX_BYTES] = '\0';
}

static bool is_wildcard(const char *host)
{
	return strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0 || strcmp(host, "*") == 0;
}

int address_to_listen(const char *listen_on, char bind_to[ADDRESS_MAX_BYTES + 1], char told[ADDRESS_MAX_BYTES + 1],
                      struct err *err)
{
	char text[ADDRESS_MAX_BYTES + 1];
	struct address a;
	int rc;

	if (!listen_on)
		listen_on = "*:" ADDRESS_PORT_DEFAULT;
	if (snprintf(text, sizeof(text), "%s%s", *listen_on == ':' ? "*" : "", listen_on) >= (int)sizeof(text))
		return err_set(err, -EINVAL, "the address %.60s... is too long; give HOST:PORT", listen_on);
	rc = address_parse(text, &a, err);
	if (rc)
		return rc;
	address_format(&a, bind_to);
	if (is_wildcard(a.host))
		own_host(a.host);
	address_format(&a, told);
	return 0;
}

/* ---- the settings ------------------------------------------------------------------------------ */

void addresses_get(struct volume *v, struct addresses *out)
{
	out->listen = volume_setting_get(v, "listen");
	out->peer = volume_setting_get(v, "peer.address");
}

void addresses_release(struct addresses *a)
{
	free(a->listen);
	free(a->peer);
	*a = (struct addresses){ NULL, NULL };
}

int addresses_put(struct volume *v, const struct addresses *a, struct err *err)
{
	int rc = volume_setting_set(v, "listen", a->listen);

	if (!rc)
		rc = volume_setting_set_now(v, "peer.address", a->peer);
	return rc ? err_set(err, rc, "cannot write the address into %s: %s", volume_dir(v), strerror(-rc)) : 0;
}

/* Where the peer is: one place that can be dialled. */
static int address_to_dial(const char *text, char out[ADDRESS_MAX_BYTES + 1], struct err *err)
{
	struct address a;
	int rc = address_parse(text, &a, err);

	if (rc)
		return rc;
	if (is_wildcard(a.host))
		return err_set(err, -EINVAL, "%s is no place where the peer could be; give its HOST:PORT", text);
	address_format(&a, out);
	return 0;
}

int addresses_moved(struct volume *v, const char *text, struct addresses *out, struct err *err)
{
	char at[ADDRESS_MAX_BYTES + 1], told[ADDRESS_MAX_BYTES + 1];
	struct addresses now;
	int rc;

	*out = (struct addresses){ NULL, NULL };
	addresses_get(v, &now);
	if (!now.listen && !now.peer)
		rc = err_set(err, -ENOTCONN,
		             "%s has neither a peer nor an invitation; see twinfs invite and twinfs join",
		             volume_dir(v));
	else
		rc = now.peer ? address_to_dial(text, at, err) : address_to_listen(text, at, told, err);
	if (!rc)
		*(now.peer ? &out->peer : &out->listen) = xstrdup(at);
	addresses_release(&now);
	return rc;
}
