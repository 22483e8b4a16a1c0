/* SPDX-License-Identifier: MIT */
#include "columns_read.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

#include "message.h"
#include "text.h"

/* Messages are read some at a time: first where their parts are, then column by column, each in a loop that copies
 * a constant number of bytes. So many that their bytes stay in the nearest cache. */
enum { SOME = 32, SLOTS = 16, TYPES = 64, NO_SLOT = 0xff, LARGEST_BITMAP = 512 };

/* Where the parts of some messages are. */
struct parts {
	const uint8_t *fixed[SOME];
	const uint8_t *payloads[SLOTS][SOME]; /* of the wanted attributes; `missing` where there is none */
};

/* An attribute that columns need. */
struct slot {
	uint16_t payload;
	uint8_t several;
};

struct plan {
	size_t fixed_size;
	uint16_t types[2]; /* of messages */
	uint8_t slots;
	uint8_t slot_of[TYPES];
	struct slot wanted[SLOTS];
};

/* What stands for an attribute that is missing: an attribute header without payload, then zeros. */
struct missing {
	struct nlattr header;
	uint8_t payload[sizeof(struct xfrm_user_tmpl)];
};
static const struct missing MISSING = {.header = {.nla_len = NLA_HDRLEN}};
_Static_assert(offsetof(struct missing, payload) == NLA_HDRLEN, "the payload is behind the header");

/* --- the plan ------------------------------------------------------------------------------------------ */

static int want(struct plan *plan, uint16_t type, uint16_t payload, uint8_t several)
{
	struct slot slot = {payload, several};

	if (!type || type >= TYPES || !payload || payload > sizeof(MISSING.payload) ||
	    (several && (payload & (payload - 1))))
		return -EINVAL;
	if (plan->slot_of[type] == NO_SLOT) {
		if (plan->slots == SLOTS)
			return -EINVAL;
		plan->wanted[plan->slots] = slot;
		plan->slot_of[type] = plan->slots++;
		return 0;
	}
	slot = plan->wanted[plan->slot_of[type]];
	return slot.payload == payload && slot.several == several ? 0 : -EINVAL;
}

static int want_output_mark(struct plan *plan)
{
	int err = want(plan, XFRMA_SET_MARK, 4, 0);

	return err ? err : want(plan, XFRMA_SET_MARK_MASK, 4, 0);
}

/* The size of a form's elements; 0: the column says it. */
static uint8_t form_size(uint8_t form)
{
	switch (form) {
	case COLUMN_PLAIN:
	case COLUMN_NETWORK:
		return 0;
	case COLUMN_COUNT:
	case COLUMN_TEMPLATE_FAMILY:
		return 2;
	}
	return 4;
}

static int check_size(const struct column_out *column)
{
	uint8_t size = column->size;

	if (form_size(column->form))
		return size == form_size(column->form) ? 0 : -EINVAL;
	if (column->form == COLUMN_NETWORK)
		return size == 2 || size == 4 ? 0 : -EINVAL;
	return size == 1 || size == 2 || size == 4 || size == 8 || size == 16 ? 0 : -EINVAL;
}

static int add_column(struct plan *plan, const struct column_out *column, int policies)
{
	size_t room = column->attribute ? column->payload : plan->fixed_size;
	size_t size = column->form == COLUMN_MARK ? sizeof(struct xfrm_mark) : column->size;

	if (check_size(column) || (column->form >= COLUMN_TEMPLATE_FAMILY && column->attribute))
		return -EINVAL;
	switch (column->form) {
	case COLUMN_TEMPLATE_FAMILY:
		return policies ? want(plan, XFRMA_TMPL, sizeof(struct xfrm_user_tmpl), 1) : -EINVAL;
	case COLUMN_REPLAY_WINDOW:
		return policies ? -EINVAL
				: want(plan, XFRMA_REPLAY_ESN_VAL, sizeof(struct xfrm_replay_state_esn), 0);
	case COLUMN_OUTPUT_MARK:
	case COLUMN_OUTPUT_MARK_MASK:
		return policies ? -EINVAL : want_output_mark(plan);
	case COLUMN_COUNT:
		if (!column->attribute)
			return -EINVAL;
		break;
	case COLUMN_PLAIN:
	case COLUMN_NETWORK:
	case COLUMN_MARK:
		if (column->offset > room || size > room - column->offset)
			return -EINVAL;
		break;
	default:
		return -EINVAL;
	}
	return column->attribute ? want(plan, column->attribute, column->payload, column->several) : 0;
}

static int make_plan(struct plan *plan, const struct columns_reader *reader)
{
	int policies = reader->of == COLUMNS_OF_POLICIES, err;
	uint32_t number;

	if (reader->count > COLUMNS_MOST || reader->rows > reader->capacity)
		return -EINVAL;
	plan->slots = 0;
	memset(plan->slot_of, NO_SLOT, sizeof(plan->slot_of));
	plan->fixed_size = policies ? sizeof(struct xfrm_userpolicy_info) : sizeof(struct xfrm_usersa_info);
	plan->types[0] = policies ? XFRM_MSG_NEWPOLICY : XFRM_MSG_NEWSA;
	plan->types[1] = policies ? XFRM_MSG_UPDPOLICY : XFRM_MSG_UPDSA;
	for (number = 0; number < reader->count; number++) {
		err = add_column(plan, &reader->columns[number], policies);
		if (err)
			return err;
	}
	return 0;
}

/* --- where the parts of messages are -------------------------------------------------------------------- */

static int is_esn(const struct attribute *attribute)
{
	struct xfrm_replay_state_esn state;
	size_t bitmap;

	if (attribute->size < sizeof(state))
		return 0;
	memcpy(&state, attribute->payload, sizeof(state));
	bitmap = attribute->size - sizeof(state);
	return !bitmap || (bitmap <= LARGEST_BITMAP && bitmap == (uint64_t)state.bmp_len * 4);
}

/* Whether an attribute is of a size that its type has: any other one is kept as bytes by the objects, and is
 * missing here. */
static int fits(const struct slot *slot, const struct attribute *attribute)
{
	if (attribute->type == XFRMA_REPLAY_ESN_VAL)
		return is_esn(attribute);
	if (slot->several)
		return attribute->size && !(attribute->size & (slot->payload - 1));
	return attribute->size == slot->payload;
}

/* Finds the parts of the message at `data`, as number `place` of some. Returns 0 or -EBADMSG. */
static int find_parts(const struct plan *plan, struct parts *parts, size_t place, const uint8_t *data, size_t length)
{
	size_t position = NLMSG_HDRLEN + plan->fixed_size;
	struct attribute attribute;
	uint8_t slot;
	int found;

	if (length < position)
		return -EBADMSG;
	parts->fixed[place] = data + NLMSG_HDRLEN;
	if (!plan->slots)
		return 0;
	for (slot = 0; slot < plan->slots; slot++)
		parts->payloads[slot][place] = MISSING.payload;
	while ((found = attribute_next(data, length, &position, &attribute)) > 0) {
		slot = attribute.type < TYPES ? plan->slot_of[attribute.type] : NO_SLOT;
		if (slot != NO_SLOT && fits(&plan->wanted[slot], &attribute))
			parts->payloads[slot][place] = attribute.payload;
	}
	return found;
}

/* Finds the parts of the messages behind *position, at most `most`. Returns how many, or -EBADMSG. */
static int find_some(const struct plan *plan, struct parts *parts, size_t most, const uint8_t *data, size_t length,
		     size_t *position)
{
	struct nlmsghdr header;
	size_t place;
	int err;

	for (place = 0; place < most && *position < length; place++) {
		if (length - *position < sizeof(header))
			return -EBADMSG;
		memcpy(&header, data + *position, sizeof(header));
		if (header.nlmsg_len > length - *position ||
		    (header.nlmsg_type != plan->types[0] && header.nlmsg_type != plan->types[1]))
			return -EBADMSG;
		err = find_parts(plan, parts, place, data + *position, header.nlmsg_len);
		if (err)
			return err;
		*position += NLMSG_ALIGN((size_t)header.nlmsg_len);
	}
	return (int)place;
}

/* --- columns ------------------------------------------------------------------------------------------- */

struct sixteen {
	uint64_t halves[2];
};

#define AS_IT_IS(value) (value)

/* Copies elements of one type from their places. The caller's array is aligned, messages need not be. */
#define COPY(type, convert) \
	do { \
		type *out = (type *)(void *)column->data + row; \
		const size_t offset = column->offset; \
		_Pragma("GCC unroll 8") \
		for (size_t place = 0; place < count; place++) { \
			type value; \
			memcpy(&value, bases[place] + offset, sizeof(value)); \
			out[place] = convert(value); \
		} \
	} while (0)

static void fill_plain(const struct column_out *column, const uint8_t *const *bases, size_t count, uint64_t row)
{
	switch (column->size) {
	case 1:
		COPY(uint8_t, AS_IT_IS);
		break;
	case 2:
		COPY(uint16_t, AS_IT_IS);
		break;
	case 4:
		COPY(uint32_t, AS_IT_IS);
		break;
	case 8:
		COPY(uint64_t, AS_IT_IS);
		break;
	default:
		COPY(struct sixteen, AS_IT_IS);
	}
}

static void fill_network(const struct column_out *column, const uint8_t *const *bases, size_t count, uint64_t row)
{
	if (column->size == 2)
		COPY(uint16_t, ntohs);
	else
		COPY(uint32_t, ntohl);
}

static void fill_mark(const struct column_out *column, const uint8_t *const *bases, size_t count, uint64_t row)
{
	uint32_t *out = (uint32_t *)(void *)column->data + row;
	struct xfrm_mark mark;
	size_t place;

	for (place = 0; place < count; place++) {
		memcpy(&mark, bases[place] + column->offset, sizeof(mark));
		out[place] = mark.v & mark.m;
	}
}

static uint32_t number_at(const uint8_t *place)
{
	uint32_t number;

	memcpy(&number, place, sizeof(number));
	return number;
}

static uint16_t small_number_at(const uint8_t *place)
{
	uint16_t number;

	memcpy(&number, place, sizeof(number));
	return number;
}

static int is_missing(const uint8_t *payload)
{
	return payload == MISSING.payload;
}

/* The wanted payload of a message. */
static const uint8_t *payload_of(const struct plan *plan, const struct parts *parts, uint16_t type, size_t place)
{
	return parts->payloads[plan->slot_of[type]][place];
}

static uint32_t output_mark_mask(const struct plan *plan, const struct parts *parts, size_t place)
{
	const uint8_t *mask = payload_of(plan, parts, XFRMA_SET_MARK_MASK, place);

	if (is_missing(payload_of(plan, parts, XFRMA_SET_MARK, place)))
		return 0;
	return is_missing(mask) ? UINT32_MAX : number_at(mask);
}

/* One element of a column that is more than bytes in one place. */
static uint32_t element(const struct plan *plan, const struct parts *parts, const struct column_out *column,
			const uint8_t *base, size_t place)
{
	const uint8_t *payload;

	switch (column->form) {
	case COLUMN_COUNT: /* the attribute's header is in front of its payload */
		return (uint32_t)(small_number_at(base - NLA_HDRLEN) - NLA_HDRLEN) / column->payload;
	case COLUMN_TEMPLATE_FAMILY:
		payload = payload_of(plan, parts, XFRMA_TMPL, place);
		if (is_missing(payload) || small_number_at(payload + offsetof(struct xfrm_user_tmpl, family)))
			return small_number_at(payload + offsetof(struct xfrm_user_tmpl, family));
		return small_number_at(parts->fixed[place] + offsetof(struct xfrm_selector, family));
	case COLUMN_REPLAY_WINDOW:
		payload = payload_of(plan, parts, XFRMA_REPLAY_ESN_VAL, place);
		if (is_missing(payload))
			return parts->fixed[place][offsetof(struct xfrm_usersa_info, replay_window)];
		return number_at(payload + offsetof(struct xfrm_replay_state_esn, replay_window));
	case COLUMN_OUTPUT_MARK:
		return number_at(payload_of(plan, parts, XFRMA_SET_MARK, place)) &
		       output_mark_mask(plan, parts, place);
	case COLUMN_OUTPUT_MARK_MASK:
		return output_mark_mask(plan, parts, place);
	}
	return 0;
}

static void fill(const struct plan *plan, const struct parts *parts, const struct column_out *column, size_t count,
		 uint64_t row)
{
	const uint8_t *const *bases = parts->fixed;
	size_t place;

	if (column->attribute)
		bases = parts->payloads[plan->slot_of[column->attribute]];
	if (column->form == COLUMN_PLAIN)
		fill_plain(column, bases, count, row);
	else if (column->form == COLUMN_NETWORK)
		fill_network(column, bases, count, row);
	else if (column->form == COLUMN_MARK)
		fill_mark(column, bases, count, row);
	else if (column->size == sizeof(uint16_t))
		for (place = 0; place < count; place++)
			((uint16_t *)(void *)column->data)[row + place] =
				(uint16_t)element(plan, parts, column, bases[place], place);
	else
		for (place = 0; place < count; place++)
			((uint32_t *)(void *)column->data)[row + place] =
				element(plan, parts, column, bases[place], place);
}

int64_t columns_read(struct columns_reader *reader, const uint8_t *data, size_t length)
{
	size_t position = 0, most;
	struct parts parts;
	struct plan plan;
	uint32_t number;
	int count = make_plan(&plan, reader);

	if (count < 0)
		return count;
	while (position < length && reader->rows < reader->capacity) {
		most = reader->capacity - reader->rows < SOME ? (size_t)(reader->capacity - reader->rows) : SOME;
		count = find_some(&plan, &parts, most, data, length, &position);
		if (count < 0)
			return count;
		for (number = 0; number < reader->count; number++)
			fill(&plan, &parts, &reader->columns[number], (size_t)count, reader->rows);
		reader->rows += (uint64_t)count;
	}
	return position < length ? (int64_t)position : (int64_t)length;
}

int columns_decode(void *reader, const uint8_t *data, size_t length)
{
	int64_t done = columns_read(reader, data, length);

	if (done < 0)
		return (int)done;
	return (uint64_t)done < length ? -EMSGSIZE : 0;
}

/* --- texts --------------------------------------------------------------------------------------------- */

size_t columns_text(char *out, const uint8_t *addresses, const uint16_t *families, const uint8_t *prefix_lengths,
		    size_t rows)
{
	char *end = out;
	size_t row;

	for (row = 0; row < rows; row++) {
		xfrm_address_t address;

		memcpy(&address, addresses + row * sizeof(address), sizeof(address));
		if (prefix_lengths)
			end += text_from_prefix(&address, families[row], prefix_lengths[row], end);
		else
			end += text_from_address(&address, families[row], end);
		*end++ = '\n'; /* in place of the NUL */
	}
	return rows ? (size_t)(end - out) - 1 : 0;
}
