/* SPDX-License-Identifier: MIT */
#ifndef XFRM_EXT_TEMPLATE_H
#define XFRM_EXT_TEMPLATE_H

/* struct xfrm_user_tmpl <-> texts and numbers in host order. */

#include <stdint.h>

#include "text.h"
#include "uapi.h"

/* cdef: begin */
enum { TEMPLATE_SIZE = 64 };

struct template_view {
	char source[TEXT_ADDRESS_SIZE];      /* canonical addresses */
	char destination[TEXT_ADDRESS_SIZE];
	uint32_t spi; /* host order */
	uint32_t reqid;
	uint32_t aalgos, ealgos, calgos;
	uint16_t family;
	uint8_t protocol, mode, share, optional;
};

enum template_error {
	TEMPLATE_SOURCE = -16,
	TEMPLATE_DESTINATION = -17,
	TEMPLATE_SOURCE_FAMILY = -18,
	TEMPLATE_DESTINATION_FAMILY = -19,
};

/* Protocol, mode, optional and share in one number: each argument of a call from Python costs. */
enum { TEMPLATE_MODE_SHIFT = 8, TEMPLATE_OPTIONAL_SHIFT = 16, TEMPLATE_SHARE_SHIFT = 24 };

/* Writes TEMPLATE_SIZE bytes at `wire` from two texts (length 0: any) and numbers in host order; all algorithms
 * are allowed. `family` -1: that of the texts, AF_UNSPEC when both are any.
 * Returns 0 or an enum template_error. */
int template_pack(uint8_t *wire, const char *source, size_t source_length, const char *destination,
		  size_t destination_length, int family, uint32_t spi, uint32_t reqid, uint32_t codes);

/* Sets the masks of allowed algorithms in the TEMPLATE_SIZE bytes at `wire`. */
void template_set_masks(uint8_t *wire, uint32_t aalgos, uint32_t ealgos, uint32_t calgos);

/* Fills `view` from the TEMPLATE_SIZE bytes at `wire`. */
void template_unpack(struct template_view *view, const uint8_t *wire);
/* cdef: end */

/* Writes two parsed addresses (NULL: any) and the family. Returns 0 or TEMPLATE_*_FAMILY. */
int template_set_addresses(struct xfrm_user_tmpl *tmpl, const struct text_prefix *source,
			   const struct text_prefix *destination, int family);

/* Zeroes the padding of the `count` templates at `wire`, and gives each that has no family that of the packet it
 * sees: the one that the template before it makes, or the selector's. */
void template_normalise(uint8_t *wire, uint32_t count, uint16_t selector_family);

#endif
