/* SPDX-License-Identifier: MIT */
#include "template.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>

enum { /* where the structure has padding */
	PROTO_END = offsetof(struct xfrm_user_tmpl, id.proto) + 1,
	FAMILY_END = offsetof(struct xfrm_user_tmpl, family) + 2,
	OPTIONAL_END = offsetof(struct xfrm_user_tmpl, optional) + 1,
};
_Static_assert(TEMPLATE_SIZE == sizeof(struct xfrm_user_tmpl), "TEMPLATE_SIZE");

int template_set_addresses(struct xfrm_user_tmpl *tmpl, const struct text_prefix *source,
			   const struct text_prefix *destination, int family)
{
	if (family < 0)
		family = source ? source->family : destination ? destination->family : AF_UNSPEC;
	if (source && source->family != family)
		return TEMPLATE_SOURCE_FAMILY;
	if (destination && destination->family != family)
		return TEMPLATE_DESTINATION_FAMILY;
	tmpl->family = (uint16_t)family;
	if (source)
		tmpl->saddr = source->address;
	if (destination)
		tmpl->id.daddr = destination->address;
	return 0;
}

void template_normalise(uint8_t *wire, uint32_t count, uint16_t selector_family)
{
	uint16_t family, before = selector_family;

	for (; count--; wire += TEMPLATE_SIZE, before = family) {
		memset(wire + PROTO_END, 0, 3);
		memset(wire + FAMILY_END, 0, 2);
		wire[OPTIONAL_END] = 0;
		memcpy(&family, wire + offsetof(struct xfrm_user_tmpl, family), sizeof(family));
		if (family != AF_UNSPEC)
			continue;
		family = before;
		memcpy(wire + offsetof(struct xfrm_user_tmpl, family), &family, sizeof(family));
	}
}

int template_pack(uint8_t *wire, const char *source, size_t source_length, const char *destination,
		  size_t destination_length, int family, uint32_t spi, uint32_t reqid, uint32_t codes)
{
	struct text_prefix from, to;
	struct xfrm_user_tmpl tmpl;
	int err;

	memset(&tmpl, 0, sizeof(tmpl));
	if (source_length && text_to_address(source, source_length, TEXT_STRICT, &from))
		return TEMPLATE_SOURCE;
	if (destination_length && text_to_address(destination, destination_length, TEXT_STRICT, &to))
		return TEMPLATE_DESTINATION;
	err = template_set_addresses(&tmpl, source_length ? &from : NULL, destination_length ? &to : NULL, family);
	if (err)
		return err;
	tmpl.id.spi = htonl(spi);
	tmpl.id.proto = (uint8_t)codes;
	tmpl.reqid = reqid;
	tmpl.mode = (uint8_t)(codes >> TEMPLATE_MODE_SHIFT);
	tmpl.optional = (uint8_t)(codes >> TEMPLATE_OPTIONAL_SHIFT);
	tmpl.share = (uint8_t)(codes >> TEMPLATE_SHARE_SHIFT);
	tmpl.aalgos = tmpl.ealgos = tmpl.calgos = UINT32_MAX;
	memcpy(wire, &tmpl, sizeof(tmpl));
	return 0;
}

void template_set_masks(uint8_t *wire, uint32_t aalgos, uint32_t ealgos, uint32_t calgos)
{
	memcpy(wire + offsetof(struct xfrm_user_tmpl, aalgos), &aalgos, sizeof(aalgos));
	memcpy(wire + offsetof(struct xfrm_user_tmpl, ealgos), &ealgos, sizeof(ealgos));
	memcpy(wire + offsetof(struct xfrm_user_tmpl, calgos), &calgos, sizeof(calgos));
}

void template_unpack(struct template_view *view, const uint8_t *wire)
{
	struct xfrm_user_tmpl tmpl;

	memcpy(&tmpl, wire, sizeof(tmpl));
	text_from_address(&tmpl.saddr, tmpl.family, view->source);
	text_from_address(&tmpl.id.daddr, tmpl.family, view->destination);
	view->family = tmpl.family;
	view->spi = ntohl(tmpl.id.spi);
	view->reqid = tmpl.reqid;
	view->aalgos = tmpl.aalgos;
	view->ealgos = tmpl.ealgos;
	view->calgos = tmpl.calgos;
	view->protocol = tmpl.id.proto;
	view->mode = tmpl.mode;
	view->share = tmpl.share;
	view->optional = tmpl.optional;
}
