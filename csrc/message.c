/* SPDX-License-Identifier: MIT */
#include "message.h"

void message_begin(struct message *message, void *buffer, size_t capacity, uint16_t type, uint16_t flags,
		   const void *payload, size_t size)
{
	struct nlmsghdr header = {.nlmsg_type = type, .nlmsg_flags = flags};

	message->data = buffer;
	message->capacity = capacity;
	message->length = NLMSG_HDRLEN + NLMSG_ALIGN(size);
	message->error = message->length > capacity ? -EMSGSIZE : 0;
	if (message->error)
		return;
	memcpy(message->data, &header, sizeof(header));
	if (size)
		memcpy(message->data + NLMSG_HDRLEN, payload, size);
	memset(message->data + NLMSG_HDRLEN + size, 0, NLMSG_ALIGN(size) - size);
}

uint8_t *message_reserve(struct message *message, uint16_t type, size_t size)
{
	struct nlattr header = {.nla_len = (uint16_t)(NLA_HDRLEN + size), .nla_type = type};
	size_t total = NLA_ALIGN(NLA_HDRLEN + size);
	uint8_t *place;

	if (message->error || size > UINT16_MAX - NLA_HDRLEN || total > message->capacity - message->length) {
		message->error = -EMSGSIZE;
		return NULL;
	}
	place = message->data + message->length;
	memcpy(place, &header, sizeof(header));
	memset(place + NLA_HDRLEN + size, 0, total - NLA_HDRLEN - size);
	message->length += total;
	return place + NLA_HDRLEN;
}

void message_put(struct message *message, uint16_t type, const void *payload, size_t size)
{
	uint8_t *place = message_reserve(message, type, size);

	if (place && size)
		memcpy(place, payload, size);
}

int message_end(struct message *message)
{
	uint32_t length = (uint32_t)message->length;

	if (message->error)
		return message->error;
	memcpy(message->data + offsetof(struct nlmsghdr, nlmsg_len), &length, sizeof(length));
	return (int)length;
}
