/* SPDX-License-Identifier: MIT */
#ifndef XFRM_EXT_TEXT_H
#define XFRM_EXT_TEXT_H

/* Text forms of addresses, prefixes, numbers and protocol names. Texts are a pointer and a length: they need
 * no NUL at the end. */

#include <stddef.h>
#include <stdint.h>

#include "uapi.h"

/* cdef: begin */
enum { TEXT_ADDRESS_SIZE = 52 }; /* an IPv6 address, "/128" and a NUL */

/* Why a text is not what it should be; negative, so that they share a return value with lengths. */
enum text_error {
	TEXT_NOT_PREFIX = -1,    /* not an IP address or prefix */
	TEXT_PREFIX_LENGTH = -2, /* prefix length out of range, or a netmask with holes */
	TEXT_NOT_ADDRESS = -3,
};

/* Reads an address into 16 bytes. Returns its family, or TEXT_NOT_ADDRESS. */
int text_address_pack(uint8_t *out, const char *text, size_t length);

/* Writes the canonical text of the 16 bytes at `wire`, and a NUL. Returns its length. */
int text_address_unpack(char out[TEXT_ADDRESS_SIZE], const uint8_t *wire, uint16_t family);

/* The number of the IP protocol `name` (the IANA name of those in use, or that of /etc/protocols), or -1. */
int text_protocol_number(const char *name, size_t length);

/* The name of an IP protocol, or NULL when it has none here. */
const char *text_protocol_name(uint8_t number);
/* cdef: end */

struct text_prefix {
	xfrm_address_t address;
	uint8_t family; /* AF_INET or AF_INET6 */
	uint8_t length; /* in bits; that of the whole address when the text had no '/' */
	uint8_t has_length;
};

/* How texts of IPv4 addresses may look beyond "a.b.c.d". */
enum text_form {
	TEXT_STRICT,
	TEXT_SHORT, /* "10/8" means 10.0.0.0/8, as `ip` reads it */
};

/* Reads "address", "address/length" or "address/netmask". Returns 0 or an enum text_error. */
int text_to_prefix(const char *text, size_t length, enum text_form form, struct text_prefix *prefix);

/* Reads an address alone. Returns 0 or TEXT_NOT_ADDRESS. */
int text_to_address(const char *text, size_t length, enum text_form form, struct text_prefix *address);

/* Whether bits are set behind the prefix. */
int text_has_host_bits(const xfrm_address_t *address, uint8_t family, uint8_t length);

/* Writes the canonical text (inet_ntop's) and a NUL. A family other than AF_INET6 is written as IPv4 unless
 * more than four bytes are in use. Returns the length. */
int text_from_address(const xfrm_address_t *address, uint16_t family, char out[TEXT_ADDRESS_SIZE]);
int text_from_prefix(const xfrm_address_t *address, uint16_t family, uint8_t length, char out[TEXT_ADDRESS_SIZE]);

/* Reads a decimal or 0x-hexadecimal number up to `most`. Returns 0, or -1 for anything else: octal too, since
 * some tools read a leading 0 as base 8 and some as base 10. */
int text_to_number(const char *text, size_t length, uint64_t most, uint64_t *number);

#endif
