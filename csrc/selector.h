/* SPDX-License-Identifier: MIT */
#ifndef XFRM_EXT_SELECTOR_H
#define XFRM_EXT_SELECTOR_H

/* struct xfrm_selector <-> texts and numbers in host order. */

#include <stdint.h>

#include "text.h"
#include "uapi.h"

/* cdef: begin */
enum { SELECTOR_SIZE = 56 };

/* A selector in both forms. */
struct selector_view {
	uint8_t wire[SELECTOR_SIZE];        /* struct xfrm_selector */
	char source[TEXT_ADDRESS_SIZE];      /* canonical prefixes */
	char destination[TEXT_ADDRESS_SIZE];
	uint16_t source_port, source_port_mask, destination_port, destination_port_mask; /* host order */
	uint16_t family;
	uint8_t protocol;
	int32_t interface;
	uint32_t user;
};

enum selector_error {
	SELECTOR_SOURCE = -16,      /* plus an enum text_error: what is wrong with the text */
	SELECTOR_DESTINATION = -32,
	SELECTOR_SOURCE_HOST_BITS = -48,
	SELECTOR_DESTINATION_HOST_BITS = -49,
	SELECTOR_SOURCE_FAMILY = -50,      /* the prefix is not of `family` */
	SELECTOR_DESTINATION_FAMILY = -51, /* nor of the other prefix's */
};

/* Fills `wire` of `view` from two texts and the view's ports, protocol, interface and user.
 * A text of length 0 is "any". `family` -1: that of the prefixes, AF_INET when both are any.
 * `strict` refuses host bits, which the kernel would keep and compare. Returns 0 or an enum selector_error,
 * alone or, for a bad text, added to an enum text_error. */
int selector_pack(struct selector_view *view, const char *source, size_t source_length, const char *destination,
		       size_t destination_length, int family, int strict);

/* Sets the numbers of a view, in host order: one call from Python instead of seven stores. */
void selector_numbers(struct selector_view *view, uint16_t source_port, uint16_t source_port_mask,
		      uint16_t destination_port, uint16_t destination_port_mask, uint8_t protocol, int32_t interface,
		      uint32_t user);

/* Fills `view` from the SELECTOR_SIZE bytes at `wire`. */
void selector_unpack(struct selector_view *view, const uint8_t *wire);
/* cdef: end */

/* Checks two parsed prefixes (NULL: any) against each other and writes addresses, lengths and family.
 * Returns 0, SELECTOR_SOURCE_FAMILY or SELECTOR_DESTINATION_FAMILY. */
int selector_set_prefixes(struct xfrm_selector *selector, const struct text_prefix *source,
			  const struct text_prefix *destination, int family);

#endif
