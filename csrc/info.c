/* SPDX-License-Identifier: MIT */
#include "info.h"

#include <string.h>

void info_pack(uint8_t *out, const struct info *info)
{
	memcpy(out, &info->flags, sizeof(info->flags));
}

void info_unpack(struct info *info, const uint8_t *data)
{
	memcpy(&info->flags, data, sizeof(info->flags));
}

void policy_defaults_pack(uint8_t *out, const struct policy_defaults *defaults)
{
	struct xfrm_userpolicy_default wire = {defaults->input, defaults->forward, defaults->output};

	memcpy(out, &wire, sizeof(wire));
}

void policy_defaults_unpack(struct policy_defaults *defaults, const uint8_t *data)
{
	struct xfrm_userpolicy_default wire;

	memcpy(&wire, data, sizeof(wire));
	defaults->input = wire.in;
	defaults->forward = wire.fwd;
	defaults->output = wire.out;
}
