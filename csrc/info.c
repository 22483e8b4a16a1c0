/* SPDX-License-Identifier: MIT */
#include "info.h"

#include <errno.h>
#include <string.h>

#include "message.h"

int spd_info_request(uint8_t *out, size_t capacity)
{
	uint32_t flags = UINT32_MAX; /* ignored by every kernel so far; what ip sends */
	struct message message;

	message_begin(&message, out, capacity, XFRM_MSG_GETSPDINFO, NLM_F_REQUEST, &flags, sizeof(flags));
	return message_end(&message);
}

static void read_counters(struct spd_info *info, const struct attribute *attribute)
{
	struct xfrmu_spdhthresh thresholds;
	struct xfrmu_spdinfo counters;
	struct xfrmu_spdhinfo hash;

	if (attribute->type == XFRMA_SPD_INFO && attribute->size >= sizeof(counters)) {
		memcpy(&counters, attribute->payload, sizeof(counters));
		info->input = counters.incnt;
		info->output = counters.outcnt;
		info->forward = counters.fwdcnt;
		info->socket_input = counters.inscnt;
		info->socket_output = counters.outscnt;
		info->socket_forward = counters.fwdscnt;
	} else if (attribute->type == XFRMA_SPD_HINFO && attribute->size >= sizeof(hash)) {
		memcpy(&hash, attribute->payload, sizeof(hash));
		info->hash_mask = hash.spdhcnt;
		info->hash_limit = hash.spdhmcnt;
	} else if (attribute->type == XFRMA_SPD_IPV4_HTHRESH && attribute->size >= sizeof(thresholds)) {
		memcpy(&thresholds, attribute->payload, sizeof(thresholds));
		info->ipv4_local_bits = thresholds.lbits;
		info->ipv4_remote_bits = thresholds.rbits;
	} else if (attribute->type == XFRMA_SPD_IPV6_HTHRESH && attribute->size >= sizeof(thresholds)) {
		memcpy(&thresholds, attribute->payload, sizeof(thresholds));
		info->ipv6_local_bits = thresholds.lbits;
		info->ipv6_remote_bits = thresholds.rbits;
	}
}

int spd_info_unpack(struct spd_info *info, const uint8_t *data, size_t length)
{
	size_t position = NLMSG_HDRLEN + sizeof(uint32_t);
	struct attribute attribute;
	struct nlmsghdr header;
	int found;

	memset(info, 0, sizeof(*info));
	if (length < position)
		return -EBADMSG;
	memcpy(&header, data, sizeof(header));
	if (header.nlmsg_len < position || header.nlmsg_len > length || header.nlmsg_type != XFRM_MSG_NEWSPDINFO)
		return -EBADMSG;
	while ((found = attribute_next(data, header.nlmsg_len, &position, &attribute)) > 0)
		read_counters(info, &attribute);
	return found;
}
