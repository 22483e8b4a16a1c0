/* SPDX-License-Identifier: MIT */
#include "event.h"

#include <arpa/inet.h>
#include <string.h>

#include "state.h"

_Static_assert(sizeof(((struct acquire *)0)->policy) == sizeof(struct xfrm_userpolicy_info), "policy");
_Static_assert(sizeof(((struct acquire *)0)->selector) == sizeof(struct xfrm_selector), "selector");

void acquire_pack(uint8_t *out, const struct acquire *acquire)
{
	struct xfrm_user_acquire wire;

	memset(&wire, 0, sizeof(wire));
	memcpy(&wire.id.daddr, acquire->destination, sizeof(wire.id.daddr));
	wire.id.spi = htonl(acquire->spi);
	wire.id.proto = acquire->protocol;
	memcpy(&wire.saddr, acquire->source, sizeof(wire.saddr));
	memcpy(&wire.sel, acquire->selector, sizeof(wire.sel));
	memcpy(&wire.policy, acquire->policy, sizeof(wire.policy));
	wire.aalgos = acquire->aalgos;
	wire.ealgos = acquire->ealgos;
	wire.calgos = acquire->calgos;
	wire.seq = acquire->sequence;
	memcpy(out, &wire, sizeof(wire));
}

void acquire_unpack(struct acquire *acquire, const uint8_t *data)
{
	struct xfrm_user_acquire wire;

	memcpy(&wire, data, sizeof(wire));
	memcpy(acquire->destination, &wire.id.daddr, sizeof(wire.id.daddr));
	acquire->spi = ntohl(wire.id.spi);
	acquire->protocol = wire.id.proto;
	memcpy(acquire->source, &wire.saddr, sizeof(wire.saddr));
	memcpy(acquire->selector, &wire.sel, sizeof(wire.sel));
	memcpy(acquire->policy, &wire.policy, sizeof(wire.policy));
	acquire->aalgos = wire.aalgos;
	acquire->ealgos = wire.ealgos;
	acquire->calgos = wire.calgos;
	acquire->sequence = wire.seq;
}

void policy_expire_pack(uint8_t *out, const struct policy_expire *expire)
{
	struct xfrm_user_polexpire wire;

	memset(&wire, 0, sizeof(wire));
	memcpy(&wire.pol, expire->policy, sizeof(wire.pol));
	wire.hard = expire->hard;
	memcpy(out, &wire, sizeof(wire));
}

void policy_expire_unpack(struct policy_expire *expire, const uint8_t *data)
{
	struct xfrm_user_polexpire wire;

	memcpy(&wire, data, sizeof(wire));
	memcpy(expire->policy, &wire.pol, sizeof(wire.pol));
	expire->hard = wire.hard;
}

void async_event_pack(uint8_t *out, const struct async_event *event)
{
	struct xfrm_aevent_id wire;

	memset(&wire, 0, sizeof(wire));
	wire.sa_id = usersa_id(event->destination, event->spi, event->family, event->protocol);
	memcpy(&wire.saddr, event->source, sizeof(wire.saddr));
	wire.flags = event->flags;
	wire.reqid = event->reqid;
	memcpy(out, &wire, sizeof(wire));
}

void async_event_unpack(struct async_event *event, const uint8_t *data)
{
	struct xfrm_aevent_id wire;

	memcpy(&wire, data, sizeof(wire));
	memcpy(event->destination, &wire.sa_id.daddr, sizeof(wire.sa_id.daddr));
	event->spi = ntohl(wire.sa_id.spi);
	event->family = wire.sa_id.family;
	event->protocol = wire.sa_id.proto;
	memcpy(event->source, &wire.saddr, sizeof(wire.saddr));
	event->flags = wire.flags;
	event->reqid = wire.reqid;
}

void report_pack(uint8_t *out, const struct report *report)
{
	struct xfrm_user_report wire;

	memset(&wire, 0, sizeof(wire));
	wire.proto = report->protocol;
	memcpy(&wire.sel, report->selector, sizeof(wire.sel));
	memcpy(out, &wire, sizeof(wire));
}

void report_unpack(struct report *report, const uint8_t *data)
{
	struct xfrm_user_report wire;

	memcpy(&wire, data, sizeof(wire));
	report->protocol = wire.proto;
	memcpy(report->selector, &wire.sel, sizeof(wire.sel));
}

void mapping_pack(uint8_t *out, const struct mapping *mapping)
{
	struct xfrm_user_mapping wire;

	memset(&wire, 0, sizeof(wire));
	wire.id = usersa_id(mapping->destination, mapping->spi, mapping->family, mapping->protocol);
	wire.reqid = mapping->reqid;
	memcpy(&wire.old_saddr, mapping->old_source, sizeof(wire.old_saddr));
	memcpy(&wire.new_saddr, mapping->new_source, sizeof(wire.new_saddr));
	wire.old_sport = htons(mapping->old_port);
	wire.new_sport = htons(mapping->new_port);
	memcpy(out, &wire, sizeof(wire));
}

void mapping_unpack(struct mapping *mapping, const uint8_t *data)
{
	struct xfrm_user_mapping wire;

	memcpy(&wire, data, sizeof(wire));
	memcpy(mapping->destination, &wire.id.daddr, sizeof(wire.id.daddr));
	mapping->spi = ntohl(wire.id.spi);
	mapping->family = wire.id.family;
	mapping->protocol = wire.id.proto;
	mapping->reqid = wire.reqid;
	memcpy(mapping->old_source, &wire.old_saddr, sizeof(wire.old_saddr));
	memcpy(mapping->new_source, &wire.new_saddr, sizeof(wire.new_saddr));
	mapping->old_port = ntohs(wire.old_sport);
	mapping->new_port = ntohs(wire.new_sport);
}
