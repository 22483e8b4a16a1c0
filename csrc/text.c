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

/* Reads a dotted quad, or with TEXT_SHORT its first one to four numbers, up to the end or a '/', and moves *text
 * there. Returns 0, or -1 for what is none. */
static inline int ipv4(const char **text, const char *end, enum text_form form, xfrm_address_t *address)
{
	const char *c = *text;
	int part, number;

	memset(address, 0, sizeof(*address));
	for (part = 0; part < 4; part++) {
		number = small_decimal(&c, end);
		if (number < 0 || number > 255)
			return -1;
		address->bytes[part] = (uint8_t)number;
		if (c == end || *c == '/')
			break;
		if (*c++ != '.')
			return -1;
	}
	*text = c;
	return part == 3 || (form == TEXT_SHORT && part < 3) ? 0 : -1;
}

static int hexadecimal(char c)
{
	unsigned number = digit(c), letter = ((unsigned)(unsigned char)c | 0x20) - 'a';

	return number <= 9 ? (int)number : letter <= 5 ? (int)letter + 10 : -1;
}

/* Reads what inet_pton does, in a third of its time. Returns 0, or -1 for what is no address. */
static int ipv6(const char *text, const char *end, xfrm_address_t *address)
{
	int count = 0, gap = -1, digits, value, next; /* groups before the "::", -1: there is none */
	const char *group;
	xfrm_address_t dotted;

	memset(address, 0, sizeof(*address));
	if (end - text >= 2 && text[0] == ':' && text[1] == ':') {
		gap = 0;
		text += 2;
	}
	while (text < end) {
		if (count == 8)
			return -1;
		group = text;
		for (value = digits = 0; text < end && (next = hexadecimal(*text)) >= 0; text++, digits++)
			value = (value & 0xfff) << 4 | next;
		if (text < end && *text == '.') {
			text = group;
			if (count > 6 || ipv4(&text, end, TEXT_STRICT, &dotted) || text != end)
				return -1;
			memcpy(address->bytes + 2 * count, &dotted, 4);
			count += 2;
			break;
		}
		if (!digits || digits > 4)
			return -1;
		address->bytes[2 * count] = (uint8_t)(value >> 8);
		address->bytes[2 * count++ + 1] = (uint8_t)value;
		if (text == end)
			break;
		if (*text++ != ':' || text == end)
			return -1;
		if (*text == ':') {
			if (gap >= 0)
				return -1;
			gap = count;
			text++;
		}
	}
	if (gap < 0)
		return count == 8 ? 0 : -1;
	if (count == 8)
		return -1; /* "::" stands for one group at least */
	memmove(address->bytes + 16 - 2 * (count - gap), address->bytes + 2 * gap, (size_t)(2 * (count - gap)));
	memset(address->bytes + 2 * gap, 0, (size_t)(2 * (8 - count)));
	return 0;
}

/* As text_to_address, up to the end or a '/', and moves *text there. */
static inline int address_at(const char **text, const char *end, enum text_form form, struct text_prefix *address)
{
	const char *c = *text, *slash;

	address->has_length = 0;
	if (!ipv4(&c, end, form, &address->address)) {
		address->family = AF_INET;
		address->length = 32;
		*text = c;
		return 0;
	}
	slash = memchr(*text, '/', (size_t)(end - *text));
	if (ipv6(*text, slash ? slash : end, &address->address))
		return TEXT_NOT_ADDRESS;
	address->family = AF_INET6;
	address->length = 128;
	*text = slash ? slash : end;
	return 0;
}

int text_to_address(const char *text, size_t length, enum text_form form, struct text_prefix *address)
{
	const char *end = text + length;
	int err = address_at(&text, end, form, address);

	return err ? err : text == end ? 0 : TEXT_NOT_ADDRESS;
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
	const char *cursor, *end = text + length;
	struct text_prefix mask;
	int bits;

	if (address_at(&text, end, form, prefix))
		return TEXT_NOT_PREFIX;
	if (text == end)
		return 0;
	cursor = ++text;
	bits = small_decimal(&cursor, end);
	if (cursor != end) {
		if (text_to_address(text, (size_t)(end - text), TEXT_STRICT, &mask))
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
	const char *end = text + length;
	uint64_t value = 0;
	int next;

	if (length > 2 && text[0] == '0' && (text[1] | 0x20) == 'x') {
		for (text += 2; text < end; text++) {
			next = hexadecimal(*text);
			if (next < 0 || value >> 60)
				return -1;
			value = value << 4 | (unsigned)next;
		}
	} else if (!length || (length > 1 && text[0] == '0')) {
		return -1;
	}
	for (; text < end; text++) {
		if (digit(*text) > 9 || __builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, digit(*text), &value))
			return -1;
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
