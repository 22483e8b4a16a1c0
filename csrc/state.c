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

struct xfrm_usersa_id usersa_id(const uint8_t *destination, uint32_t spi, uint16_t family, uint8_t protocol)
{
	struct xfrm_usersa_id wire;

	memset(&wire, 0, sizeof(wire));
	memcpy(&wire.daddr, destination, sizeof(wire.daddr));
	wire.spi = htonl(spi);
	wire.family = family;
	wire.proto = protocol;
	return wire;
}

void state_id_pack(uint8_t *out, const struct state_id *id)
{
	struct xfrm_usersa_id wire = usersa_id(id->destination, id->spi, id->family, id->protocol);

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

/* The state message at *position of a block, which is advanced. Returns its length, 0 at the end, or -EBADMSG. */
static int64_t next_state(const uint8_t *data, size_t length, size_t *position)
{
	struct nlmsghdr header;
	size_t left = *position < length ? length - *position : 0;

	if (!left)
		return 0;
	if (left < NLMSG_HDRLEN)
		return -EBADMSG;
	memcpy(&header, data + *position, sizeof(header));
	if ((header.nlmsg_type != XFRM_MSG_NEWSA && header.nlmsg_type != XFRM_MSG_UPDSA) || header.nlmsg_len > left ||
	    header.nlmsg_len < NLMSG_HDRLEN + sizeof(struct xfrm_usersa_info))
		return -EBADMSG;
	*position += NLMSG_ALIGN(header.nlmsg_len);
	return header.nlmsg_len;
}

int64_t state_block_delete(uint8_t *out, size_t capacity, const uint8_t *data, size_t length)
{
	size_t position = 0, start = 0, used = 0;
	int64_t size;
	int written;

	while ((size = next_state(data, length, &position)) > 0) {
		written = write_delete(out + used, capacity - used, data + start, (size_t)size);
		if (written < 0)
			return written;
		used += (size_t)written;
		start = position;
	}
	return size < 0 ? size : (int64_t)used;
}

int state_block_check(const uint8_t *data, size_t length)
{
	size_t position = 0, start = 0, place;
	struct attribute attribute;
	int64_t size;
	int count = 0, found;

	while ((size = next_state(data, length, &position)) > 0) {
		place = NLMSG_HDRLEN + sizeof(struct xfrm_usersa_info);
		while ((found = attribute_next(data + start, (size_t)size, &place, &attribute)) > 0)
			;
		if (found < 0)
			return found;
		start = position;
		count++;
	}
	return size < 0 ? (int)size : count;
}

static void read_number(void *number, size_t size, const struct attribute *attribute)
{
	if (attribute->size == size)
		memcpy(number, attribute->payload, size);
}

static int read_counters(struct state_counters *counters, const uint8_t *data, size_t length)
{
	size_t position = NLMSG_HDRLEN + sizeof(struct xfrm_usersa_info);
	struct xfrm_usersa_info info;
	struct attribute attribute;
	struct xfrm_mark mark = {0, 0};
	int found;

	memset(counters, 0, sizeof(*counters));
	memcpy(&info, data + NLMSG_HDRLEN, sizeof(info));
	memcpy(counters->source, &info.saddr, sizeof(counters->source));
	memcpy(counters->destination, &info.id.daddr, sizeof(counters->destination));
	counters->spi = ntohl(info.id.spi);
	counters->reqid = info.reqid;
	counters->family = info.family;
	counters->protocol = info.id.proto;
	counters->mode = info.mode;
	counters->bytes = info.curlft.bytes;
	counters->packets = info.curlft.packets;
	counters->add_time = info.curlft.add_time;
	counters->use_time = info.curlft.use_time;
	counters->replay_window = info.stats.replay_window;
	counters->replay = info.stats.replay;
	counters->integrity_failed = info.stats.integrity_failed;
	while ((found = attribute_next(data, length, &position, &attribute)) > 0) {
		if (attribute.type == XFRMA_MARK)
			read_number(&mark, sizeof(mark), &attribute);
		else if (attribute.type == XFRMA_IF_ID)
			read_number(&counters->if_id, sizeof(counters->if_id), &attribute);
		else if (attribute.type == XFRMA_SA_DIR)
			read_number(&counters->direction, sizeof(counters->direction), &attribute);
		else if (attribute.type == XFRMA_LASTUSED)
			read_number(&counters->last_used, sizeof(counters->last_used), &attribute);
	}
	counters->mark_value = mark.v;
	counters->mark_mask = mark.m;
	return found;
}

int state_block_counters(struct state_counters *counters, uint32_t most, const uint8_t *data, size_t length)
{
	size_t position = 0, start = 0;
	uint32_t count = 0;
	int64_t size;
	int err;

	while ((size = next_state(data, length, &position)) > 0) {
		if (count == most)
			return -EMSGSIZE;
		err = read_counters(&counters[count++], data + start, (size_t)size);
		if (err)
			return err;
		start = position;
	}
	return size < 0 ? (int)size : (int)count;
}
