/* SPDX-License-Identifier: MIT */
#ifndef XFRM_EXT_BODY_H
#define XFRM_EXT_BODY_H

/* Whole XFRM messages: a fixed part, whose structure the message's type says, and attributes. What the fixed parts
 * hold is the business of state.c, policy.c, event.c, migrate.c and info.c. */

#include <stddef.h>
#include <stdint.h>

#include "attribute.h"

/* cdef: begin */
/* The size of the fixed part of messages of a type, or -1 for a type that is not known. With NLM_F_DUMP in the
 * flags of a GETSA or GETPOLICY there is none. */
int body_size(uint16_t message_type, uint16_t flags);

/* Writes a message, seq and port 0. Returns its length; -EMSGSIZE when it does not fit; -EINVAL for an item whose
 * numbers or data are not of the sizes that its type has. */
int body_pack(uint8_t *out, size_t capacity, uint16_t message_type, uint16_t flags, const uint8_t *fixed,
	      size_t fixed_size, const struct item *items, uint32_t count);

/* Checks the header of the message at `data` and its fixed part. Returns where the attributes begin (more than
 * `length` when there are none behind an odd fixed part), or -EBADMSG. */
int body_begin(const uint8_t *data, size_t length);

/* Reads the attribute at *position (at first: what body_begin returned). Paddings are left out; the item points
 * into `data`. Returns 1 and advances, 0 at the end, -EBADMSG when a length does not fit. */
int body_next(const uint8_t *data, size_t length, size_t *position, struct item *item);
/* cdef: end */

#endif
