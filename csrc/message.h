/* SPDX-License-Identifier: MIT */
#ifndef XFRM_EXT_MESSAGE_H
#define XFRM_EXT_MESSAGE_H

/* Bounds-checked building and walking of netlink messages and their attributes. Nothing here allocates. */

#include <errno.h>
#include <linux/netlink.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A message under construction in the caller's buffer. The first failure sticks: check `error` at the end. */
struct message {
	uint8_t *data; /* caller's, 4-byte aligned or not: written with memcpy only */
	size_t capacity;
	size_t length; /* bytes so far, a multiple of 4 */
	int error;     /* 0 or -EMSGSIZE */
};

/* Starts a message: header (seq and port 0) and `size` bytes of fixed payload, copied from `payload`. */
void message_begin(struct message *message, void *buffer, size_t capacity, uint16_t type, uint16_t flags,
		   const void *payload, size_t size);

/* Appends an attribute header, and zeroed padding behind room for `size` bytes of payload.
 * Returns where the payload goes, or NULL when it does not fit. */
uint8_t *message_reserve(struct message *message, uint16_t type, size_t size);

/* Appends an attribute with a copy of `payload`. */
void message_put(struct message *message, uint16_t type, const void *payload, size_t size);

/* Writes the final length into the header. Returns the message's length, or -EMSGSIZE. */
int message_end(struct message *message);

/* One attribute found by attribute_next. `payload` points into the message. */
struct attribute {
	uint16_t type; /* without NLA_F_NESTED and NLA_F_NET_BYTEORDER */
	uint16_t raw_type; /* with them */
	uint16_t size; /* of the payload */
	const uint8_t *payload;
};

/* Walks attributes in data[*position .. length). Returns 1 and advances, 0 at the end (up to 3 stray bytes
 * are padding), -EBADMSG when an attribute's length does not fit. Here, since it is called for each attribute of
 * each policy of a dump. */
static inline int attribute_next(const uint8_t *data, size_t length, size_t *position, struct attribute *attribute)
{
	struct nlattr header;
	size_t left;

	if (*position >= length || length - *position < sizeof(header))
		return 0;
	left = length - *position;
	memcpy(&header, data + *position, sizeof(header));
	if (header.nla_len < sizeof(header) || header.nla_len > left)
		return -EBADMSG;
	attribute->raw_type = header.nla_type;
	attribute->type = header.nla_type & NLA_TYPE_MASK;
	attribute->size = (uint16_t)(header.nla_len - NLA_HDRLEN);
	attribute->payload = data + *position + NLA_HDRLEN;
	*position += NLA_ALIGN(header.nla_len);
	return 1;
}

#endif
