/* SPDX-License-Identifier: MIT */
#include "state.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "message.h"

_Static_assert(sizeof(((struct state *)0)->selector) == sizeof(struct xfrm_selector), "selector");
_Static_assert(sizeof(((struct state *)0)->lifetime) == sizeof(struct xfrm_lifetime_cfg), "lifetime");
_Static_assert(sizeof(((struct state *)0)->current) == sizeof(struct xfrm_lifetime_cur), "current");
_Static_assert(sizeof(((struct spi_request *)0)->state) == sizeof(struct xfrm_usersa_info), "state");

void state_pack(uint8_t *out, const struct state *state)
{
	struct xfrm_usersa_info info;

	memset(&info, 0, sizeof(info));
	memcpy(&info.sel, state->selector, sizeof(info.sel));
	memcpy(&info.id.daddr, state->destination, sizeof(info.id.daddr));
	info.id.spi = htonl(state->spi);
	info.id.proto = state->protocol;
	memcpy(&info.saddr, state->source, sizeof(info.saddr));
	memcpy(&info.lft, state->lifetime, sizeof(info.lft));
	memcpy(&info.curlft, state->current, sizeof(info.curlft));
	info.stats.replay_window = state->replay_window_errors;
	info.stats.replay = state->replay_errors;
	info.stats.integrity_failed = state->integrity_errors;
	info.seq = state->sequence;
	info.reqid = state->reqid;
	info.family = state->family;
	info.mode = state->mode;
	info.replay_window = state->replay_window;
	info.flags = state->flags;
	memcpy(out, &info, sizeof(info));
}

void state_unpack(struct state *state, const uint8_t *data)
{
	struct xfrm_usersa_info info;

	memcpy(&info, data, sizeof(info));
	memcpy(state->selector, &info.sel, sizeof(info.sel));
	memcpy(state->destination, &info.id.daddr, sizeof(info.id.daddr));
	state->spi = ntohl(info.id.spi);
	state->protocol = info.id.proto;
	memcpy(state->source, &info.saddr, sizeof(info.saddr));
	memcpy(state->lifetime, &info.lft, sizeof(info.lft));
	memcpy(state->current, &info.curlft, sizeof(info.curlft));
	state->replay_window_errors = info.stats.replay_window;
	state->replay_errors = info.stats.replay;
	state->integrity_errors = info.stats.integrity_failed;
	state->sequence = info.seq;
	state->reqid = info.reqid;
	state->family = info.family;
	state->mode = info.mode;
	state->replay_window = info.replay_window;
	state->flags = info.flags;
}

void state_id_pack(uint8_t *out, const struct state_id *id)
{
	struct xfrm_usersa_id wire;

	memset(&wire, 0, sizeof(wire));
	memcpy(&wire.daddr, id->destination, sizeof(wire.daddr));
	wire.spi = htonl(id->spi);
	wire.family = id->family;
	wire.proto = id->protocol;
	memcpy(out, &wire, sizeof(wire));
}

void state_id_unpack(struct state_id *id, const uint8_t *data)
{
	struct xfrm_usersa_id wire;

	memcpy(&wire, data, sizeof(wire));
	memcpy(id->destination, &wire.daddr, sizeof(wire.daddr));
	id->spi = ntohl(wire.spi);
	id->family = wire.family;
	id->protocol = wire.proto;
}

void state_flush_pack(uint8_t *out, const struct state_flush *flush)
{
	*out = flush->protocol;
}

void state_flush_unpack(struct state_flush *flush, const uint8_t *data)
{
	flush->protocol = *data;
}

void spi_request_pack(uint8_t *out, const struct spi_request *request)
{
	struct xfrm_userspi_info info;

	memset(&info, 0, sizeof(info));
	memcpy(&info.info, request->state, sizeof(info.info));
	info.min = request->spi_min;
	info.max = request->spi_max;
	memcpy(out, &info, sizeof(info));
}

void spi_request_unpack(struct spi_request *request, const uint8_t *data)
{
	struct xfrm_userspi_info info;

	memcpy(&info, data, sizeof(info));
	memcpy(request->state, &info.info, sizeof(info.info));
	request->spi_min = info.min;
	request->spi_max = info.max;
}

void state_expire_pack(uint8_t *out, const struct state_expire *expire)
{
	struct xfrm_user_expire wire;

	memset(&wire, 0, sizeof(wire));
	memcpy(&wire.state, expire->state, sizeof(wire.state));
	wire.hard = expire->hard;
	memcpy(out, &wire, sizeof(wire));
}

void state_expire_unpack(struct state_expire *expire, const uint8_t *data)
{
	struct xfrm_user_expire wire;

	memcpy(&wire, data, sizeof(wire));
	memcpy(expire->state, &wire.state, sizeof(wire.state));
	expire->hard = wire.hard;
}

/* Writes the DELSA message for one state, which the kernel finds by address, SPI, protocol, family and mark; by both
 * addresses where the protocol has no SPI. */
static int write_delete(uint8_t *out, size_t capacity, const uint8_t *data, size_t length)
{
	size_t position = NLMSG_HDRLEN + sizeof(struct xfrm_usersa_info);
	struct xfrm_usersa_info info;
	struct attribute attribute;
	struct xfrm_usersa_id id;
	struct message message;
	int found;

	if (length < position)
		return -EBADMSG;
	memcpy(&info, data + NLMSG_HDRLEN, sizeof(info));
	memset(&id, 0, sizeof(id));
	id.daddr = info.id.daddr;
	id.spi = info.id.spi;
	id.family = info.family;
	id.proto = info.id.proto;
	message_begin(&message, out, capacity, XFRM_MSG_DELSA, NLM_F_REQUEST | NLM_F_ACK, &id, sizeof(id));
	while ((found = attribute_next(data, length, &position, &attribute)) > 0)
		if (attribute.type == XFRMA_MARK)
			message_put(&message, XFRMA_MARK, attribute.payload, attribute.size);
	if (found < 0)
		return found;
	message_put(&message, XFRMA_SRCADDR, &info.saddr, sizeof(info.saddr));
	return message_end(&message);
}

int64_t state_block_delete(uint8_t *out, size_t capacity, const uint8_t *data, size_t length)
{
	size_t position = 0, used = 0;
	struct nlmsghdr header;
	int size;

	while (position < length) {
		if (length - position < NLMSG_HDRLEN)
			return -EBADMSG;
		memcpy(&header, data + position, sizeof(header));
		if ((header.nlmsg_type != XFRM_MSG_NEWSA && header.nlmsg_type != XFRM_MSG_UPDSA) ||
		    header.nlmsg_len < NLMSG_HDRLEN || header.nlmsg_len > length - position)
			return -EBADMSG;
		size = write_delete(out + used, capacity - used, data + position, header.nlmsg_len);
		if (size < 0)
			return size;
		used += (size_t)size;
		position += NLMSG_ALIGN(header.nlmsg_len);
	}
	return (int64_t)used;
}
