/* SPDX-License-Identifier: MIT */
#include "event.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "body.h"
#include "listen.h"
#include "message.h"
#include "policy.h"
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

enum { NOTHING = 0 }; /* XFRMA_UNSPEC: an attribute of no known type */

/* --- many at once -------------------------------------------------------------------------------------- */

/* The payload of the last attribute of a type that has the size it should have; NULL: there is none. */
static const uint8_t *find_structure(const uint8_t *data, size_t length, uint16_t type)
{
	int begin = body_begin(data, length);
	size_t position = (size_t)begin;
	const uint8_t *found = NULL;
	struct item item;

	while (begin > 0 && (begin = body_next(data, length, &position, &item)) > 0)
		if (item.type == type && !item.raw)
			found = item.data;
	return found;
}

/* Writes the message of another type that has a structure of this one, and its attributes but `left_out`. */
static int rebuild(uint8_t *out, size_t capacity, uint16_t type, const uint8_t *fixed, const uint8_t *data,
		   size_t length, uint16_t left_out)
{
	int begin = body_begin(data, length), found;
	size_t position = (size_t)begin;
	struct message message;
	struct item item;

	if (begin < 0)
		return begin;
	message_begin(&message, out, capacity, type, NLM_F_REQUEST | NLM_F_ACK, fixed, (size_t)body_size(type, 0));
	while ((found = body_next(data, length, &position, &item)) > 0)
		if (item.type != left_out || item.raw)
			attribute_pack(&message, SPACE_XFRM, &item);
	return found < 0 ? found : message_end(&message);
}

/* The NEWSA message of NEWSA and UPDSA, as it came but for its header. */
static int copy_state(uint8_t *out, size_t capacity, const uint8_t *data, size_t length)
{
	struct nlmsghdr header;
	size_t padded = NLMSG_ALIGN(length);

	if (state_block_check(data, length) != 1)
		return -EBADMSG;
	if (padded > capacity)
		return -EMSGSIZE;
	memcpy(&header, data, sizeof(header));
	header.nlmsg_type = XFRM_MSG_NEWSA;
	header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	header.nlmsg_seq = header.nlmsg_pid = 0;
	memcpy(out, data, length);
	memcpy(out, &header, sizeof(header));
	memset(out + length, 0, padded - length);
	return (int)padded;
}

static int write_state(uint8_t *out, size_t capacity, const uint8_t *fixed, const uint8_t *data, size_t length)
{
	return fixed ? rebuild(out, capacity, XFRM_MSG_NEWSA, fixed, data, length, XFRMA_SA) : -EBADMSG;
}

/* The canonical message of the policy whose structure stands in another message. */
static int write_policy(uint8_t *out, size_t capacity, const uint8_t *fixed, const uint8_t *data, size_t length)
{
	size_t half = capacity / 2; /* the message first goes to the end of `out` */
	uint32_t end;
	int size;

	if (!fixed)
		return -EBADMSG;
	size = rebuild(out + half, capacity - half, XFRM_MSG_NEWPOLICY, fixed, data, length, XFRMA_POLICY);
	if (size < 0)
		return size;
	size = policy_block_convert(out, half, out + half, (size_t)size, POLICY_CANONICAL, &end, 1);
	return size < 0 ? size : (int)end;
}

/* Writes what an event tells of, and sets its form. Returns the size, or a negative errno: it is EVENT_OTHER. */
static int read_event(struct event_view *event, uint8_t *out, size_t capacity, const uint8_t *data, size_t length)
{
	const uint8_t *body = data + NLMSG_HDRLEN;
	uint32_t end;
	int size;

	switch (event->type) {
	case XFRM_MSG_NEWPOLICY:
	case XFRM_MSG_UPDPOLICY:
		event->form = EVENT_POLICY;
		size = policy_block_convert(out, capacity, data, length, POLICY_CANONICAL, &end, 1);
		return size < 0 ? size : (int)end;
	case XFRM_MSG_DELPOLICY:
		event->form = EVENT_POLICY;
		return write_policy(out, capacity, find_structure(data, length, XFRMA_POLICY), data, length);
	case XFRM_MSG_NEWSA:
	case XFRM_MSG_UPDSA:
		event->form = EVENT_STATE;
		return copy_state(out, capacity, data, length);
	case XFRM_MSG_DELSA:
		event->form = EVENT_STATE;
		return write_state(out, capacity, find_structure(data, length, XFRMA_SA), data, length);
	case XFRM_MSG_EXPIRE:
		event->form = EVENT_STATE_EXPIRED;
		if (length < NLMSG_HDRLEN + sizeof(struct xfrm_user_expire))
			return -EBADMSG;
		event->hard = body[offsetof(struct xfrm_user_expire, hard)];
		return rebuild(out, capacity, XFRM_MSG_NEWSA, body, data, length, NOTHING);
	case XFRM_MSG_POLEXPIRE:
		event->form = EVENT_POLICY_EXPIRED;
		if (length < NLMSG_HDRLEN + sizeof(struct xfrm_user_polexpire))
			return -EBADMSG;
		event->hard = body[offsetof(struct xfrm_user_polexpire, hard)];
		return write_policy(out, capacity, body, data, length);
	}
	return -EOPNOTSUPP;
}

int event_block_read(struct event_view *events, uint32_t most, uint8_t *out, size_t capacity, const uint8_t *data,
		     size_t length)
{
	size_t position = 0, used = 0;
	struct listen_record record;
	struct event_view *event;
	struct nlmsghdr header;
	uint32_t count = 0;
	int size;

	while (position < length) {
		if (length - position < sizeof(record) || length > UINT32_MAX)
			return -EBADMSG;
		memcpy(&record, data + position, sizeof(record));
		position += sizeof(record);
		if (count == most)
			return -EMSGSIZE;
		event = &events[count++];
		memset(event, 0, sizeof(*event));
		event->nsid = record.nsid;
		event->form = record.size == LISTEN_OVERRUN ? EVENT_OVERRUN : EVENT_BROKEN;
		if (record.size == LISTEN_OVERRUN || record.size == LISTEN_BROKEN)
			continue;
		if (record.size < NLMSG_HDRLEN || record.size > length - position)
			return -EBADMSG;
		memcpy(&header, data + position, sizeof(header));
		event->type = header.nlmsg_type;
		event->sequence = header.nlmsg_seq;
		event->port = header.nlmsg_pid;
		size = read_event(event, out + used, capacity - used, data + position, record.size);
		if (size < 0) {
			event->form = EVENT_OTHER;
			event->hard = 0;
			event->start = (uint32_t)position;
			event->end = event->start + record.size;
		} else {
			event->start = (uint32_t)used;
			used += (size_t)size;
			event->end = (uint32_t)used;
		}
		position += NLMSG_ALIGN((size_t)record.size);
	}
	return (int)count;
}
