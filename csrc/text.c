/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "text.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>

static unsigned digit(char c)
{
	return (unsigned)(unsigned char)c - '0';
}

/* Reads a decimal of up to three digits without leading zeros at *text. Returns the number, or -1. */
static inline int small_decimal(const char **text, const char *end)
{
	const char *c = *text;
	unsigned number, next;

	if (c == end || (number = digit(*c)) > 9)
		return -1;
	*text = ++c;
	if (c == end || (next = digit(*c)) > 9)
		return (int)number;
	if (!number)
		return -1;
	number = number * 10 + next;
	*text = ++c;
	if (c == end || (next = digit(*c)) > 9)
		return (int)number;
	number = number * 10 + next;
	*text = ++c;
	return c == end || digit(*c) > 9 ? (int)number : -1;
}

/* Reads a dotted quad, or with TEXT_SHORT its first one to four numbers. Returns how many bits were given,
 * or -1. */
static int ipv4(const char *text, size_t length, enum text_form form, xfrm_address_t *address)
{
	const char *end = text + length;
	int part, number;

	memset(address, 0, sizeof(*address));
	for (part = 0; part < 4; part++) {
		number = small_decimal(&text, end);
		if (number < 0 || number > 255)
			return -1;
		address->bytes[part] = (uint8_t)number;
		if (text == end)
			break;
		if (*text++ != '.')
			return -1;
	}
	return text == end && (part == 3 || (form == TEXT_SHORT && part < 3 && text[-1] != '.')) ? (part + 1) * 8 : -1;
}

int text_to_address(const char *text, size_t length, enum text_form form, struct text_prefix *address)
{
	char copy[INET6_ADDRSTRLEN];

	address->has_length = 0;
	if (ipv4(text, length, form, &address->address) > 0) {
		address->family = AF_INET;
		address->length = 32;
		return 0;
	}
	if (length >= sizeof(copy) || !length || memchr(text, 0, length))
		return TEXT_NOT_ADDRESS;
	memcpy(copy, text, length);
	copy[length] = 0;
	if (inet_pton(AF_INET6, copy, &address->address) != 1)
		return TEXT_NOT_ADDRESS;
	address->family = AF_INET6;
	address->length = 128;
	return 0;
}

/* The length of a netmask without holes, or -1. */
static int netmask_length(const xfrm_address_t *mask, int bits)
{
	int length = 0, bit;

	while (length < bits && mask->bytes[length / 8] & (0x80 >> length % 8))
		length++;
	for (bit = length; bit < bits; bit++)
		if (mask->bytes[bit / 8] & (0x80 >> bit % 8))
			return -1;
	return length;
}

int text_to_prefix(const char *text, size_t length, enum text_form form, struct text_prefix *prefix)
{
	const char *slash = memchr(text, '/', length), *cursor, *end = text + length;
	struct text_prefix mask;
	int bits;

	if (text_to_address(text, slash ? (size_t)(slash - text) : length, form, prefix) < 0)
		return TEXT_NOT_PREFIX;
	if (!slash)
		return 0;
	cursor = slash + 1;
	bits = small_decimal(&cursor, end);
	if (cursor != end) {
		if (text_to_address(slash + 1, (size_t)(end - slash - 1), TEXT_STRICT, &mask) < 0)
			return TEXT_NOT_PREFIX;
		if (mask.family != prefix->family)
			return TEXT_PREFIX_LENGTH;
		bits = netmask_length(&mask.address, prefix->length);
	}
	if (bits < 0 || bits > prefix->length)
		return TEXT_PREFIX_LENGTH;
	prefix->length = (uint8_t)bits;
	prefix->has_length = 1;
	return 0;
}

int text_has_host_bits(const xfrm_address_t *address, uint8_t family, uint8_t length)
{
	int bytes = family == AF_INET6 ? 16 : 4, i = length / 8;

	if (i < bytes && length % 8 && address->bytes[i++] & (0xff >> length % 8))
		return 1;
	for (; i < bytes; i++)
		if (address->bytes[i])
			return 1;
	return 0;
}

static char *put_decimal(char *out, unsigned number)
{
	if (number >= 100)
		*out++ = (char)('0' + number / 100);
	if (number >= 10)
		*out++ = (char)('0' + number / 10 % 10);
	*out++ = (char)('0' + number % 10);
	return out;
}

static char *put_ipv4(char *out, const uint8_t *bytes)
{
	int part;

	for (part = 0; part < 4; part++) {
		out = put_decimal(out, bytes[part]);
		*out++ = '.';
	}
	return out - 1;
}

static char *put_hexadecimal(char *out, unsigned number)
{
	static const char digits[] = "0123456789abcdef";

	if (number >= 0x1000)
		*out++ = digits[number >> 12];
	if (number >= 0x100)
		*out++ = digits[number >> 8 & 15];
	if (number >= 0x10)
		*out++ = digits[number >> 4 & 15];
	*out++ = digits[number & 15];
	return out;
}

/* As inet_ntop does, which takes ten times as long: the first of the longest runs of zeros is "::", and what stands
 * for an IPv4 address ends as one. */
static char *put_ipv6(char *out, const uint8_t *bytes)
{
	int zeros = 1, first = 8, run = 0, i; /* a lone zero is written */
	unsigned groups[8];

	for (i = 0; i < 8; i++) {
		groups[i] = (unsigned)bytes[2 * i] << 8 | bytes[2 * i + 1];
		run = groups[i] ? 0 : run + 1;
		if (run > zeros) {
			zeros = run;
			first = i - run + 1;
		}
	}
	for (i = 0; i < 8; i++) {
		if (i == first) {
			*out++ = ':';
			i += zeros - 1;
			if (i == 7)
				*out++ = ':';
			continue;
		}
		if (i)
			*out++ = ':';
		if (i == 6 && !first && (zeros == 6 || (zeros == 5 && groups[5] == 0xffff)))
			return put_ipv4(out, bytes + 12);
		out = put_hexadecimal(out, groups[i]);
	}
	return out;
}

int text_from_address(const xfrm_address_t *address, uint16_t family, char out[TEXT_ADDRESS_SIZE])
{
	int ipv6 = family == AF_INET6 || (family != AF_INET && (address->a6[1] | address->a6[2] | address->a6[3]));
	char *end = ipv6 ? put_ipv6(out, address->bytes) : put_ipv4(out, address->bytes);

	*end = 0;
	return (int)(end - out);
}

int text_from_prefix(const xfrm_address_t *address, uint16_t family, uint8_t length, char out[TEXT_ADDRESS_SIZE])
{
	char *end = out + text_from_address(address, family, out);

	*end++ = '/';
	end = put_decimal(end, length);
	*end = 0;
	return (int)(end - out);
}

int text_to_number(const char *text, size_t length, uint64_t most, uint64_t *number)
{
	uint64_t value = 0;
	unsigned base = 10, next;
	size_t i = 0;

	if (length > 2 && text[0] == '0' && (text[1] | 0x20) == 'x') {
		base = 16;
		i = 2;
	} else if (!length || (length > 1 && text[0] == '0')) {
		return -1;
	}
	for (; i < length; i++) {
		next = digit(text[i]);
		if (next > 9)
			next = base == 16 && (text[i] | 0x20) >= 'a' && (text[i] | 0x20) <= 'f'
				       ? (unsigned)(text[i] | 0x20) - 'a' + 10
				       : base;
		if (next >= base || value > (UINT64_MAX - next) / base)
			return -1;
		value = value * base + next;
	}
	*number = value;
	return value > most ? -1 : 0;
}

static const struct {
	const char *name;
	uint8_t number;
} protocols[] = {
	{"any", 0}, /* ip's word; IPPROTO_IP */
	{"icmp", 1}, {"igmp", 2}, {"ipip", 4}, {"tcp", 6}, {"egp", 8}, {"udp", 17}, {"dccp", 33}, {"ipv6", 41},
	{"rsvp", 46}, {"gre", 47}, {"esp", 50}, {"ah", 51}, {"ipv6-icmp", 58}, {"ospf", 89}, {"pim", 103},
	{"comp", 108}, {"vrrp", 112}, {"l2tp", 115}, {"sctp", 132}, {"mobility-header", 135}, {"udplite", 136},
	{"mpls-in-ip", 137}, {"ethernet", 143},
	/* other names of the same protocols */
	{"ip", 0}, {"ipencap", 4}, {"ipcomp", 108}, {"icmpv6", 58}, {"icmp6", 58}, {"ospfigp", 89},
};

int text_protocol_number(const char *name, size_t length)
{
	struct protoent entry, *found = NULL;
	char copy[64], buffer[1024];
	size_t i;

	if (!length || length >= sizeof(copy) || memchr(name, 0, length))
		return -1;
	memcpy(copy, name, length);
	copy[length] = 0;
	for (i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++)
		if (!strcmp(protocols[i].name, copy))
			return protocols[i].number;
	if (getprotobyname_r(copy, &entry, buffer, sizeof(buffer), &found) || !found ||
	    found->p_proto < 0 || found->p_proto > 255)
		return -1;
	return found->p_proto;
}

const char *text_protocol_name(uint8_t number)
{
	size_t i;

	for (i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++)
		if (protocols[i].number == number)
			return protocols[i].name;
	return NULL;
}

int text_address_pack(uint8_t *out, const char *text, size_t length)
{
	struct text_prefix address;
	int err = text_to_address(text, length, TEXT_STRICT, &address);

	if (err)
		return err;
	memcpy(out, &address.address, sizeof(address.address));
	return address.family;
}

int text_address_unpack(char out[TEXT_ADDRESS_SIZE], const uint8_t *wire, uint16_t family)
{
	xfrm_address_t address;

	memcpy(&address, wire, sizeof(address));
	return text_from_address(&address, family, out);
}
