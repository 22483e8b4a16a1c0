/* SPDX-License-Identifier: MIT */
#ifndef XFRM_EXT_INFO_H
#define XFRM_EXT_INFO_H

/* The fixed parts of the messages about the databases as a whole. */

#include <stdint.h>

#include "uapi.h"

/* cdef: begin */
/* NEWSADINFO, GETSADINFO, NEWSPDINFO, GETSPDINFO: flags, ignored by every kernel so far. */
struct info {
	uint32_t flags;
};
void info_pack(uint8_t *out, const struct info *info);
void info_unpack(struct info *info, const uint8_t *data);

/* SETDEFAULT, GETDEFAULT: struct xfrm_userpolicy_default. */
struct policy_defaults {
	uint8_t input, forward, output;
};
void policy_defaults_pack(uint8_t *out, const struct policy_defaults *defaults);
void policy_defaults_unpack(struct policy_defaults *defaults, const uint8_t *data);
/* cdef: end */

#endif
