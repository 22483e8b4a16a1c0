/* SPDX-License-Identifier: MIT */
#include "body.h"

#include <errno.h>
#include <string.h>

static const int16_t SIZES[] = {
	[XFRM_MSG_NEWSA - XFRM_MSG_NEWSA] = sizeof(struct xfrm_usersa_info),
	[XFRM_MSG_DELSA - XFRM_MSG_NEWSA] = sizeof(struct xfrm_usersa_id),
	[XFRM_MSG_GETSA - XFRM_MSG_NEWSA] = sizeof(struct xfrm_usersa_id),
	[XFRM_MSG_NEWPOLICY - XFRM_MSG_NEWSA] = sizeof(struct xfrm_userpolicy_info),
	[XFRM_MSG_DELPOLICY - XFRM_MSG_NEWSA] = sizeof(struct xfrm_userpolicy_id),
	[XFRM_MSG_GETPOLICY - XFRM_MSG_NEWSA] = sizeof(struct xfrm_userpolicy_id),
	[XFRM_MSG_ALLOCSPI - XFRM_MSG_NEWSA] = sizeof(struct xfrm_userspi_info),
	[XFRM_MSG_ACQUIRE - XFRM_MSG_NEWSA] = sizeof(struct xfrm_user_acquire),
	[XFRM_MSG_EXPIRE - XFRM_MSG_NEWSA] = sizeof(struct xfrm_user_expire),
	[XFRM_MSG_UPDPOLICY - XFRM_MSG_NEWSA] = sizeof(struct xfrm_userpolicy_info),
	[XFRM_MSG_UPDSA - XFRM_MSG_NEWSA] = sizeof(struct xfrm_usersa_info),
	[XFRM_MSG_POLEXPIRE - XFRM_MSG_NEWSA] = sizeof(struct xfrm_user_polexpire),
	[XFRM_MSG_FLUSHSA - XFRM_MSG_NEWSA] = sizeof(struct xfrm_usersa_flush),
	[XFRM_MSG_FLUSHPOLICY - XFRM_MSG_NEWSA] = 0,
	[XFRM_MSG_NEWAE - XFRM_MSG_NEWSA] = sizeof(struct xfrm_aevent_id),
	[XFRM_MSG_GETAE - XFRM_MSG_NEWSA] = sizeof(struct xfrm_aevent_id),
	[XFRM_MSG_REPORT - XFRM_MSG_NEWSA] = sizeof(struct xfrm_user_report),
	[XFRM_MSG_MIGRATE - XFRM_MSG_NEWSA] = sizeof(struct xfrm_userpolicy_id),
	[XFRM_MSG_NEWSADINFO - XFRM_MSG_NEWSA] = sizeof(uint32_t),
	[XFRM_MSG_GETSADINFO - XFRM_MSG_NEWSA] = sizeof(uint32_t),
	[XFRM_MSG_NEWSPDINFO - XFRM_MSG_NEWSA] = sizeof(uint32_t),
	[XFRM_MSG_GETSPDINFO - XFRM_MSG_NEWSA] = sizeof(uint32_t),
	[XFRM_MSG_MAPPING - XFRM_MSG_NEWSA] = sizeof(struct xfrm_user_mapping),
	[XFRM_MSG_SETDEFAULT - XFRM_MSG_NEWSA] = sizeof(struct xfrm_userpolicy_default),
	[XFRM_MSG_GETDEFAULT - XFRM_MSG_NEWSA] = sizeof(struct xfrm_userpolicy_default),
	[XFRM_MSG_MIGRATE_STATE - XFRM_MSG_NEWSA] = sizeof(struct xfrm_user_migrate_state),
};

int body_size(uint16_t message_type, uint16_t flags)
{
	if (message_type < XFRM_MSG_NEWSA || message_type > XFRM_MSG_MIGRATE_STATE)
		return -1;
	if ((message_type == XFRM_MSG_GETSA || message_type == XFRM_MSG_GETPOLICY) &&
	    (flags & NLM_F_DUMP) == NLM_F_DUMP)
		return 0;
	return SIZES[message_type - XFRM_MSG_NEWSA];
}

static enum attribute_space space_of(uint16_t message_type)
{
	switch (message_type) {
	case XFRM_MSG_NEWSADINFO:
	case XFRM_MSG_GETSADINFO:
		return SPACE_SAD_INFO;
	case XFRM_MSG_NEWSPDINFO:
	case XFRM_MSG_GETSPDINFO:
		return SPACE_SPD_INFO;
	}
	return SPACE_XFRM;
}

int body_pack(uint8_t *out, size_t capacity, uint16_t message_type, uint16_t flags, const uint8_t *fixed,
	      size_t fixed_size, const struct item *items, uint32_t count)
{
	struct message message;
	uint32_t i;

	message_begin(&message, out, capacity, message_type, flags, fixed, fixed_size);
	for (i = 0; i < count; i++)
		attribute_pack(&message, space_of(message_type), &items[i]);
	return message_end(&message);
}

int body_begin(const uint8_t *data, size_t length)
{
	struct nlmsghdr header;
	int size;

	if (length < NLMSG_HDRLEN)
		return -EBADMSG;
	memcpy(&header, data, sizeof(header));
	size = body_size(header.nlmsg_type, header.nlmsg_flags);
	if (size < 0 || header.nlmsg_len > length || header.nlmsg_len < (uint32_t)(NLMSG_HDRLEN + size))
		return -EBADMSG;
	return NLMSG_HDRLEN + (int)NLMSG_ALIGN((unsigned)size);
}

int body_next(const uint8_t *data, size_t length, size_t *position, struct item *item)
{
	struct attribute attribute;
	struct nlmsghdr header;
	int found;

	if (length < NLMSG_HDRLEN)
		return -EBADMSG;
	memcpy(&header, data, sizeof(header));
	if (header.nlmsg_len > length)
		return -EBADMSG;
	while ((found = attribute_next(data, header.nlmsg_len, position, &attribute)) > 0) {
		if (space_of(header.nlmsg_type) == SPACE_XFRM && attribute.type == XFRMA_PAD)
			continue;
		attribute_unpack(item, space_of(header.nlmsg_type), &attribute);
		return 1;
	}
	return found;
}
