/* SPDX-License-Identifier: MIT */
#ifndef XFRM_EXT_EVENT_H
#define XFRM_EXT_EVENT_H

/* The fixed parts of the messages by which the kernel tells what happened: plain fields in host order <-> the
 * kernel's structures. The functions write or read all of the structure, whose size body_size tells. */

#include <stdint.h>

#include "uapi.h"

/* cdef: begin */
/* ACQUIRE: struct xfrm_user_acquire. */
struct acquire {
	uint8_t destination[16];
	uint32_t spi;
	uint8_t protocol;
	uint8_t source[16];
	uint8_t selector[56]; /* struct xfrm_selector */
	uint8_t policy[168];  /* struct xfrm_userpolicy_info */
	uint32_t aalgos, ealgos, calgos;
	uint32_t sequence;
};
void acquire_pack(uint8_t *out, const struct acquire *acquire);
void acquire_unpack(struct acquire *acquire, const uint8_t *data);

/* POLEXPIRE: struct xfrm_user_polexpire. */
struct policy_expire {
	uint8_t policy[168]; /* struct xfrm_userpolicy_info */
	uint8_t hard;
};
void policy_expire_pack(uint8_t *out, const struct policy_expire *expire);
void policy_expire_unpack(struct policy_expire *expire, const uint8_t *data);

/* NEWAE, GETAE: struct xfrm_aevent_id. */
struct async_event {
	uint8_t destination[16];
	uint32_t spi;
	uint16_t family;
	uint8_t protocol;
	uint8_t source[16];
	uint32_t flags, reqid;
};
void async_event_pack(uint8_t *out, const struct async_event *event);
void async_event_unpack(struct async_event *event, const uint8_t *data);

/* REPORT: struct xfrm_user_report. */
struct report {
	uint8_t protocol;
	uint8_t selector[56]; /* struct xfrm_selector */
};
void report_pack(uint8_t *out, const struct report *report);
void report_unpack(struct report *report, const uint8_t *data);

/* MAPPING: struct xfrm_user_mapping. */
struct mapping {
	uint8_t destination[16];
	uint32_t spi;
	uint16_t family;
	uint8_t protocol;
	uint32_t reqid;
	uint8_t old_source[16], new_source[16];
	uint16_t old_port, new_port;
};
void mapping_pack(uint8_t *out, const struct mapping *mapping);
void mapping_unpack(struct mapping *mapping, const uint8_t *data);
/* cdef: end */

#endif
