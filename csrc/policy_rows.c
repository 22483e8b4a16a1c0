/* SPDX-License-Identifier: MIT */
#include "policy_rows.h"

#include <errno.h>
#include <linux/netlink.h>
#include <string.h>

#include "hash.h"
#include "text.h"
#include "uapi.h"

enum { INFO = NLMSG_HDRLEN, BEHIND = INFO + sizeof(struct xfrm_userpolicy_info) };

#define AT(field) (INFO + offsetof(struct xfrm_userpolicy_info, field))

/* The pieces of a message, up to its attributes, in which policies of one kind agree. */
static const struct {
	uint16_t start, size;
} common[] = {
	{AT(sel.dport), AT(sel.prefixlen_d) - AT(sel.dport)},
	{AT(sel.proto), AT(curlft) - AT(sel.proto)},
	{AT(dir), BEHIND - AT(dir)},
};

enum { PIECES = sizeof(common) / sizeof(common[0]), NEW = UINT32_MAX };

enum { CONVERTED = 512, TYPE = offsetof(struct nlmsghdr, nlmsg_type) };

static uint64_t hash_bytes(uint64_t value, const uint8_t *data, size_t size)
{
	uint64_t last = 0;

	for (; size >= sizeof(last); data += sizeof(last), size -= sizeof(last))
		value = hash_more(value, data);
	if (!size)
		return value;
	memcpy(&last, data, size);
	return hash_more(value, &last);
}

static uint64_t hash(const uint8_t *message, size_t size)
{
	uint64_t value = size;
	unsigned i;

	for (i = 0; i < PIECES; i++)
		value = hash_bytes(value, message + common[i].start, common[i].size);
	return hash_bytes(value, message + BEHIND, size - BEHIND);
}

static int same_kind(const uint8_t *one, size_t one_size, const uint8_t *other, size_t other_size)
{
	unsigned i;

	if (one_size != other_size || memcmp(one + BEHIND, other + BEHIND, one_size - BEHIND))
		return 0;
	for (i = 0; i < PIECES; i++)
		if (memcmp(one + common[i].start, other + common[i].start, common[i].size))
			return 0;
	return 1;
}

static void forget_kinds(struct policy_kinds *known)
{
	known->count = 0;
	known->size = 0;
	memset(known->table, 0, known->table_size * sizeof(known->table[0]));
}

/* The number of a message's kind, which is noted if it is new: there is room for it. The table holds numbers, plus
 * 1. */
static uint32_t kind_of(struct policy_kinds *known, const uint8_t *message, size_t size)
{
	uint32_t mask = known->table_size - 1, place = (uint32_t)(hash(message, size) >> 32) & mask, kind;
	size_t start;

	for (; known->table[place]; place = (place + 1) & mask) {
		kind = known->table[place] - 1;
		start = kind ? known->ends[kind - 1] : 0;
		if (same_kind(message, size, known->messages + start, known->ends[kind] - start))
			return kind;
	}
	memcpy(known->messages + known->size, message, size);
	known->size += size;
	known->ends[known->count] = (uint32_t)known->size;
	known->table[place] = ++known->count;
	return known->count - 1;
}

/* Copies the fields in which policies of one kind differ. */
static void copy_own(uint8_t *message, const uint8_t *from)
{
	static const struct {
		uint16_t start, end;
	} own[] = {
		{AT(sel), AT(sel.dport)},
		{AT(sel.prefixlen_d), AT(sel.proto)},
		{AT(curlft), AT(dir)},
	};
	unsigned i;

	for (i = 0; i < sizeof(own) / sizeof(own[0]); i++)
		memcpy(message + own[i].start, from + own[i].start, (size_t)(own[i].end - own[i].start));
}

/* A message of a block that was converted: where it came from, and what became of it. */
struct converted {
	uint32_t row, position, length, start, size; /* length 0: none */
};

/* Converts a block as policy_block_convert does, but takes a message of the kind of one before for a copy of what became
 * of that, with its own fields: then `kinds` is the row of that one, otherwise NEW. Returns the number of messages, or
 * an error. */
static int convert(struct policy_rows *rows, const uint8_t *data, size_t length)
{
	struct converted some[CONVERTED], *before;
	size_t position = 0, used = 0, size;
	struct nlmsghdr header;
	const uint8_t *message;
	uint32_t row = 0;
	int result;

	memset(some, 0, sizeof(some));
	for (; position < length; position += NLMSG_ALIGN(size), row++) {
		message = data + position;
		if (length - position < NLMSG_HDRLEN)
			return -EBADMSG;
		memcpy(&header, message, sizeof(header));
		size = header.nlmsg_len;
		if (size < NLMSG_HDRLEN || size > length - position)
			return -EBADMSG;
		if (row == rows->most)
			return -EMSGSIZE;
		/* By their attributes: the rest is mostly alike. */
		before = &some[size > BEHIND ? hash_bytes(size, message + BEHIND, size - BEHIND) >> 32 & (CONVERTED - 1) : 0];
		if (before->length && !memcmp(data + before->position + TYPE, message + TYPE, sizeof(header.nlmsg_type)) &&
		    same_kind(message, size, data + before->position, before->length)) {
			if (rows->capacity - used < before->size)
				return -EMSGSIZE;
			memcpy(rows->messages + used, rows->messages + before->start, before->size);
			copy_own(rows->messages + used, message);
			rows->kinds[row] = before->row;
			used += before->size;
		} else {
			result = policy_block_convert(rows->messages + used, rows->capacity - used, message, size,
						      POLICY_CANONICAL, rows->ends + row, 1);
			if (result < 0)
				return result;
			rows->kinds[row] = NEW;
			*before = (struct converted){row, (uint32_t)position, (uint32_t)size, (uint32_t)used,
						     rows->ends[row]};
			used += rows->ends[row];
		}
		rows->ends[row] = (uint32_t)used;
	}
	return (int)row;
}

static char *put_prefixes(char *out, const struct xfrm_selector *selector)
{
	out += text_from_prefix(&selector->saddr, selector->family, selector->prefixlen_s, out);
	*out++ = '\n';
	out += text_from_prefix(&selector->daddr, selector->family, selector->prefixlen_d, out);
	*out++ = '\n';
	return out;
}

int policy_rows_decode(void *argument, const uint8_t *data, size_t length)
{
	struct policy_rows *rows = argument;
	struct policy_kinds *known = rows->known;
	struct xfrm_userpolicy_info info;
	struct xfrm_lifetime_cur use;
	char *text = rows->texts;
	const uint8_t *message;
	size_t start = 0, size;
	uint32_t row, before;
	int count;

	if (known->table_size < 2 * (uint64_t)known->most || known->table_size & (known->table_size - 1))
		return -EINVAL;
	count = convert(rows, data, length);
	if (count < 0)
		return count;
	rows->count = (uint32_t)count;
	size = count ? rows->ends[count - 1] : 0;
	rows->restarted = known->most - known->count < rows->count || known->capacity - known->size < size;
	if (rows->restarted)
		forget_kinds(known);
	if (known->most < rows->count || known->capacity < size)
		return -EMSGSIZE;
	memset(&use, 0, sizeof(use));
	rows->new_count = rows->use_count = 0;
	for (row = 0; row < rows->count; row++, start += size) {
		message = rows->messages + start;
		size = rows->ends[row] - start;
		memcpy(&info, message + INFO, sizeof(info));
		rows->priorities[row] = info.priority;
		rows->indices[row] = info.index;
		before = known->count;
		rows->kinds[row] = rows->kinds[row] == NEW ? kind_of(known, message, size) : rows->kinds[rows->kinds[row]];
		if (known->count > before)
			rows->new_kinds[rows->new_count++] = row;
		if (!row || memcmp(&use, &info.curlft, sizeof(use))) {
			use = info.curlft;
			rows->use_firsts[rows->use_count++] = row;
		}
		rows->uses[row] = rows->use_count - 1;
		if (text)
			text = put_prefixes(text, &info.sel);
	}
	rows->text_size = text ? (size_t)(text - rows->texts) : 0;
	return 0;
}
