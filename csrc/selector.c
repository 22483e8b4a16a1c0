/* SPDX-License-Identifier: MIT */
#include "selector.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>

_Static_assert(SELECTOR_SIZE == sizeof(struct xfrm_selector), "SELECTOR_SIZE");

int selector_set_prefixes(struct xfrm_selector *selector, const struct text_prefix *source,
			  const struct text_prefix *destination, int family)
{
	if (family < 0)
		family = source ? source->family : destination ? destination->family : AF_INET;
	/* AF_UNSPEC, seen in states, goes with any address: their bytes are all that there is. */
	if (source && family != AF_UNSPEC && source->family != family)
		return SELECTOR_SOURCE_FAMILY;
	if (destination && family != AF_UNSPEC && destination->family != family)
		return SELECTOR_DESTINATION_FAMILY;
	selector->family = (uint16_t)family;
	if (source) {
		selector->saddr = source->address;
		selector->prefixlen_s = source->length;
	}
	if (destination) {
		selector->daddr = destination->address;
		selector->prefixlen_d = destination->length;
	}
	return 0;
}

static int host_bits(const struct text_prefix *prefix)
{
	return text_has_host_bits(&prefix->address, prefix->family, prefix->length);
}

int selector_pack(struct selector_view *view, const char *source, size_t source_length, const char *destination,
		       size_t destination_length, int family, int strict)
{
	struct text_prefix from, to;
	struct xfrm_selector selector;
	int err;

	memset(&selector, 0, sizeof(selector));
	if (source_length) {
		err = text_to_prefix(source, source_length, TEXT_STRICT, &from);
		if (err)
			return SELECTOR_SOURCE + err;
		if (strict && host_bits(&from))
			return SELECTOR_SOURCE_HOST_BITS;
	}
	if (destination_length) {
		err = text_to_prefix(destination, destination_length, TEXT_STRICT, &to);
		if (err)
			return SELECTOR_DESTINATION + err;
		if (strict && host_bits(&to))
			return SELECTOR_DESTINATION_HOST_BITS;
	}
	err = selector_set_prefixes(&selector, source_length ? &from : NULL, destination_length ? &to : NULL, family);
	if (err)
		return err;
	selector.dport = htons(view->destination_port);
	selector.dport_mask = htons(view->destination_port_mask);
	selector.sport = htons(view->source_port);
	selector.sport_mask = htons(view->source_port_mask);
	selector.proto = view->protocol;
	selector.ifindex = view->interface;
	selector.user = view->user;
	memcpy(view->wire, &selector, sizeof(selector));
	return 0;
}

void selector_numbers(struct selector_view *view, uint16_t source_port, uint16_t source_port_mask,
		      uint16_t destination_port, uint16_t destination_port_mask, uint8_t protocol, int32_t interface,
		      uint32_t user)
{
	view->source_port = source_port;
	view->source_port_mask = source_port_mask;
	view->destination_port = destination_port;
	view->destination_port_mask = destination_port_mask;
	view->protocol = protocol;
	view->interface = interface;
	view->user = user;
}

void selector_unpack(struct selector_view *view, const uint8_t *wire)
{
	struct xfrm_selector selector;

	memcpy(&selector, wire, sizeof(selector));
	memcpy(view->wire, wire, sizeof(selector));
	text_from_prefix(&selector.saddr, selector.family, selector.prefixlen_s, view->source);
	text_from_prefix(&selector.daddr, selector.family, selector.prefixlen_d, view->destination);
	view->family = selector.family;
	view->source_port = ntohs(selector.sport);
	view->source_port_mask = ntohs(selector.sport_mask);
	view->destination_port = ntohs(selector.dport);
	view->destination_port_mask = ntohs(selector.dport_mask);
	view->protocol = selector.proto;
	view->interface = selector.ifindex;
	view->user = selector.user;
}
