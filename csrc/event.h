/* SPDX-License-Identifier: MIT */
#ifndef XFRM_EXT_EVENT_H
#define XFRM_EXT_EVENT_H

/* The messages by which the kernel tells what happened. Of their fixed parts: plain fields in host order <-> the
 * kernel's structures; those functions write or read all of the structure, whose size body_size tells. Of many at
 * once: what a listener has heard, as the policies and states that it tells of. */

#include <stddef.h>
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

/* What an event is told as. */
enum event_form {
	EVENT_OTHER,          /* the message as it came */
	EVENT_POLICY,         /* NEWPOLICY, UPDPOLICY, DELPOLICY: the canonical NEWPOLICY message (policy.h) */
	EVENT_STATE,          /* NEWSA, UPDSA, DELSA: the NEWSA message */
	EVENT_STATE_EXPIRED,  /* the same, and `hard` */
	EVENT_POLICY_EXPIRED,
	EVENT_OVERRUN,        /* LISTEN_OVERRUN (listen.h) */
	EVENT_BROKEN,         /* LISTEN_BROKEN */
};

struct event_view {
	uint32_t sequence, port; /* of its header */
	int32_t nsid;
	uint32_t start, end;     /* where it stands: of EVENT_OTHER in `data`, of the others in `out` */
	uint16_t type;           /* of the message */
	uint8_t form;            /* enum event_form */
	uint8_t hard;
};

/* Reads records of listen.h, back to back, into events[0 .. most). Messages with lengths that do not fit, and what has
 * no room in `out`, are EVENT_OTHER; four times `length` and 1024 is room enough. Keys may be in `out`. Returns how
 * many, -EBADMSG for records that are none, or -EMSGSIZE for more than `most`. */
int event_block_read(struct event_view *events, uint32_t most, uint8_t *out, size_t capacity, const uint8_t *data,
		     size_t length);
/* cdef: end */

#endif
