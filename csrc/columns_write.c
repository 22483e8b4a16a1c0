/* SPDX-License-Identifier: MIT */
#include "columns_write.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/socket.h>

#include "text.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

_Static_assert(sizeof(struct column_address) == 20, "column_address");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ || __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__, "byte order");

/* Reads a number without its sign: what is behind `width` bytes is 0. */
ALWAYS_INLINE uint64_t load(const uint8_t *place, uint32_t width, int swapped)
{
	uint16_t two;
	uint32_t four;
	uint64_t eight;

	switch (width) {
	case 1:
		return *place;
	case 2:
		memcpy(&two, place, sizeof(two));
		return swapped ? __builtin_bswap16(two) : two;
	case 4:
		memcpy(&four, place, sizeof(four));
		return swapped ? __builtin_bswap32(four) : four;
	default:
		memcpy(&eight, place, sizeof(eight));
		return swapped ? __builtin_bswap64(eight) : eight;
	}
}

ALWAYS_INLINE void store(uint8_t *place, uint64_t number, uint32_t size, int to_network)
{
	int swapped = to_network && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__;
	uint16_t two = (uint16_t)number;
	uint32_t four = (uint32_t)number;

	switch (size) {
	case 1:
		*place = (uint8_t)number;
		break;
	case 2:
		two = swapped ? __builtin_bswap16(two) : two;
		memcpy(place, &two, sizeof(two));
		break;
	case 4:
		four = swapped ? __builtin_bswap32(four) : four;
		memcpy(place, &four, sizeof(four));
		break;
	default:
		number = swapped ? __builtin_bswap64(number) : number;
		memcpy(place, &number, sizeof(number));
	}
}

static const uint8_t *row_of(const struct column *column, uint64_t row)
{
	return column->data + (int64_t)row * column->stride;
}

static uint64_t number_of(const struct column *column, uint64_t row)
{
	return load(row_of(column, row), column->width, column->is_swapped);
}

static int is_wrong(const struct column *column, uint64_t row)
{
	uint64_t number = number_of(column, row);

	if (column->is_signed && number >> (8 * column->width - 1))
		return COLUMN_NUMBER;
	if (number < column->least || number > column->most)
		return COLUMN_NUMBER;
	if (column->has_members && (number > 255 || !(column->members[number / 64] >> number % 64 & 1)))
		return COLUMN_NUMBER;
	return (number ^ column->fixed_value) & column->fixed_mask ? COLUMN_FIXED : 0;
}

/* Whether a number of rows [0, rows) is above `most`: without a way out of the loop, for the compiler to do many at
 * once. A negative one, read without its sign, is above. */
ALWAYS_INLINE int any_above(const struct column *column, uint64_t rows, uint64_t most, uint32_t width)
{
	uint64_t row;
	int found = 0;

	for (row = 0; row < rows; row++)
		found |= load(column->data + row * width, width, 0) > most;
	return found;
}

/* Whether all rows are known to be right, without finding the first that is not. */
static int are_right(const struct column *column, uint64_t rows)
{
	uint64_t largest = UINT64_MAX >> (64 - 8 * column->width), most = column->most;

	if (column->has_members || column->fixed_mask || column->least)
		return 0;
	if (column->is_signed && most > largest >> 1)
		most = largest >> 1;
	if (most >= largest)
		return 1;
	if (column->is_swapped || column->stride != column->width)
		return 0;
	switch (column->width) {
	case 1:
		return !any_above(column, rows, most, 1);
	case 2:
		return !any_above(column, rows, most, 2);
	case 4:
		return !any_above(column, rows, most, 4);
	default:
		return !any_above(column, rows, most, 8);
	}
}

int columns_check_number(const struct column *column, uint64_t rows, struct column_fault *fault)
{
	uint64_t row;

	fault->error = 0;
	if (are_right(column, rows))
		return 0;
	for (row = 0; row < rows; row++) {
		fault->error = is_wrong(column, row);
		if (fault->error) {
			fault->row = row;
			break;
		}
	}
	return fault->error;
}

int columns_check_index(const struct column *index, const struct column *direction, uint64_t rows,
			struct column_fault *fault)
{
	uint64_t row, number;

	for (row = 0; row < rows; row++) {
		number = number_of(index, row);
		if (!number || (number & 7) == (number_of(direction, row) & 7))
			continue;
		fault->row = row;
		return fault->error = COLUMN_INDEX;
	}
	return fault->error = 0;
}

/* --- texts --------------------------------------------------------------------------------------------------- */

static const char *read_decimal(const char *text, const char *end, uint32_t *number)
{
	uint32_t value, next;

	if (text == end || (value = (uint32_t)(uint8_t)*text - '0') > 9)
		return NULL;
	text++;
	if (text != end && (next = (uint32_t)(uint8_t)*text - '0') <= 9) {
		if (!value)
			return NULL;
		value = value * 10 + next;
		text++;
		if (text != end && (next = (uint32_t)(uint8_t)*text - '0') <= 9) {
			value = value * 10 + next;
			text++;
		}
	}
	*number = value;
	return text;
}

/* Reads what most texts are: an IPv4 address, or a prefix of a length and without host bits. Returns what stands
 * behind it; NULL for all else, good or bad, which text.c reads. */
static const char *read_usual(const char *text, const char *end, int is_prefix, struct column_address *out)
{
	uint32_t address = 0, number, length = 32;
	int part;

	for (part = 0; part < 4; part++) {
		if (part && (text == end || *text++ != '.'))
			return NULL;
		text = read_decimal(text, end, &number);
		if (!text || number > 255)
			return NULL;
		address = address << 8 | number;
	}
	if (is_prefix && text != end && *text == '/') {
		text = read_decimal(text + 1, end, &length);
		if (!text || length > 32 || (length < 32 && address & UINT32_MAX >> length))
			return NULL;
	}
	address = htonl(address);
	memset(out, 0, sizeof(*out));
	memcpy(out->address, &address, sizeof(address));
	out->family = AF_INET;
	out->length = (uint8_t)length;
	return text;
}

/* The text of one of Arrow's views: 12 bytes at most stand behind its length, more in a buffer, of which it has the
 * number and the place. Returns NULL where it points at nothing. */
static const char *text_of_view(const struct column_texts *texts, const uint8_t *view, size_t *length)
{
	uint64_t number, begin;

	*length = load(view, 4, 0);
	if (*length <= 12)
		return (const char *)view + 4;
	number = load(view + 8, 4, 0);
	begin = load(view + 12, 4, 0);
	if (number >= texts->buffer_count || begin > texts->buffer_sizes[number] ||
	    *length > texts->buffer_sizes[number] - begin)
		return NULL;
	return (const char *)texts->buffers[number] + begin;
}

/* Finds the text of a row, from *position on where they are lines; one of 4-byte characters is copied to `copy`.
 * Returns NULL where there is none. */
static const char *text_of(const struct column_texts *texts, uint64_t row, size_t *position, char copy[TEXT_ADDRESS_SIZE],
			   size_t *length)
{
	const char *data = (const char *)texts->data, *end;
	const uint8_t *place;
	uint64_t begin, next, character;
	size_t used, i;

	if (texts->offsets) {
		place = texts->offsets + row * texts->offset_width;
		begin = load(place, texts->offset_width, 0);
		next = load(place + texts->offset_width, texts->offset_width, 0);
		if (begin > next || next > texts->size)
			return NULL;
		*length = next - begin;
		return data + begin;
	}
	if (texts->views)
		return text_of_view(texts, texts->views + row * 16, length);
	if (!texts->width) {
		if (*position > texts->size)
			return NULL;
		begin = *position;
		end = memchr(data + begin, '\n', texts->size - begin);
		*length = end ? (size_t)(end - data) - begin : texts->size - begin;
		*position = begin + *length + 1;
		return data + begin;
	}
	data += row * texts->width;
	used = texts->width / texts->unit;
	if (texts->unit == 1) {
		while (used && !data[used - 1])
			used--;
		*length = used;
		return data;
	}
	for (i = 0; i < used; i++) {
		character = load((const uint8_t *)data + i * 4, 4, texts->is_swapped);
		if (!character)
			break;
		if (i == TEXT_ADDRESS_SIZE || character > 127) {
			*length = 0; /* no address */
			return copy;
		}
		copy[i] = (char)character;
	}
	*length = i;
	return copy;
}

/* Reads any text. Returns 0, COLUMN_HOST_BITS or an enum text_error. */
static int read_text(struct column_address *out, const char *text, size_t length, int is_prefix)
{
	struct text_prefix prefix;
	int err;

	if (is_prefix)
		err = text_to_prefix(text, length, TEXT_STRICT, &prefix);
	else
		err = text_to_address(text, length, TEXT_STRICT, &prefix);
	if (err)
		return err;
	if (is_prefix && text_has_host_bits(&prefix.address, prefix.family, prefix.length))
		return COLUMN_HOST_BITS;
	memset(out, 0, sizeof(*out));
	memcpy(out->address, &prefix.address, sizeof(out->address));
	out->family = prefix.family;
	out->length = prefix.length;
	return 0;
}

/* Reads the usual text of a line without looking for its end first. Returns whether it was one. */
static int read_line(struct column_address *out, const struct column_texts *texts, size_t *position)
{
	const char *data = (const char *)texts->data, *end = data + texts->size, *behind;

	if (*position >= texts->size)
		return 0;
	behind = read_usual(data + *position, end, texts->is_prefix, out);
	if (!behind || (behind != end && *behind != '\n'))
		return 0;
	*position = (size_t)(behind - data) + 1;
	return 1;
}

int columns_read_texts(struct column_address *out, uint64_t rows, const struct column_texts *texts,
		       struct column_fault *fault)
{
	int are_lines = !texts->offsets && !texts->views && !texts->width, err = 0;
	char copy[TEXT_ADDRESS_SIZE];
	size_t position = 0, length;
	const char *text;
	uint64_t row;

	fault->has_ipv4 = fault->has_ipv6 = 0;
	for (row = 0; row < rows; row++, out++) {
		if (!are_lines || !read_line(out, texts, &position)) {
			text = text_of(texts, row, &position, copy, &length);
			if (!text)
				err = COLUMN_ROWS;
			else if (are_lines || read_usual(text, text + length, texts->is_prefix, out) != text + length)
				err = read_text(out, text, length, texts->is_prefix);
			if (err)
				break;
		}
		fault->has_ipv4 |= out->family == AF_INET;
		fault->has_ipv6 |= out->family == AF_INET6;
	}
	fault->row = row;
	return fault->error = err;
}

/* --- addresses ----------------------------------------------------------------------------------------------- */

/* Reads the address of a row. `family`: that of 16 bytes. Returns 0 or COLUMN_REST. */
static int address_of(struct column_address *out, const struct column *column, int is_read, uint64_t row,
		      uint8_t family)
{
	const uint8_t *place = row_of(column, row);
	xfrm_address_t whole;
	uint32_t number;

	if (is_read) {
		memcpy(out, place, sizeof(*out));
		return 0;
	}
	memset(out, 0, sizeof(*out));
	out->family = family;
	if (column->is_number) {
		number = htonl((uint32_t)load(place, column->width, column->is_swapped));
		memcpy(out->address, &number, sizeof(number));
		out->family = AF_INET;
	} else if (column->width == 4) {
		memcpy(out->address, place, 4);
		out->family = AF_INET;
	} else {
		memcpy(&whole, place, sizeof(whole));
		if (family == AF_INET && (whole.a6[1] | whole.a6[2] | whole.a6[3]))
			return COLUMN_REST;
		memcpy(out->address, &whole, sizeof(whole));
	}
	out->length = out->family == AF_INET6 ? 128 : 32;
	return 0;
}

/* Sets the length, if there is a column of it, and checks the prefix, once its family is known. Others have been
 * checked as they were read, or are whole addresses. */
static int set_length(struct column_address *address, const struct column *lengths, uint64_t row)
{
	xfrm_address_t bytes;
	uint64_t length;

	if (!lengths)
		return 0;
	length = number_of(lengths, row);
	if (length > (address->family == AF_INET6 ? 128 : 32))
		return COLUMN_LENGTH;
	address->length = (uint8_t)length;
	memcpy(&bytes, address->address, sizeof(bytes));
	return text_has_host_bits(&bytes, address->family, address->length) ? COLUMN_HOST_BITS : 0;
}

/* Whether an IPv4 address of a row has bits behind its length, or that is too long: as any_above. */
ALWAYS_INLINE int any_bits_behind(const struct column *column, const struct column *lengths, uint64_t rows, int in_network)
{
	uint64_t row, length;
	uint32_t address;
	int found = 0;

	for (row = 0; row < rows; row++) {
		address = (uint32_t)load(row_of(column, row), 4, 0);
		length = *row_of(lengths, row);
		found |= length > 32;
		found |= ((in_network ? ntohl(address) : address) & (uint32_t)((uint64_t)UINT32_MAX >> (length & 63))) != 0;
	}
	return found;
}

/* Whether all rows of a side are known to be right, and IPv4, without finding the first that is not. */
static int are_right_ipv4(const struct column *column, int is_read, const struct column *lengths, uint64_t rows)
{
	if (is_read ? column->stride || column->data[offsetof(struct column_address, family)] != AF_INET
		    : column->width != 4 || column->is_swapped)
		return 0;
	if (!lengths)
		return 1;
	if (lengths->width != 1)
		return 0;
	return column->is_number ? !any_bits_behind(column, lengths, rows, 0) : !any_bits_behind(column, lengths, rows, 1);
}

int columns_check_addresses(const struct column_pair *pair, uint64_t rows, struct column_fault *fault)
{
	struct column_address source, destination;
	uint8_t family, given;
	uint64_t row;
	int err = 0;

	fault->has_ipv4 = fault->has_ipv6 = 0;
	if (rows && !pair->family && !pair->source_out && !pair->destination_out &&
	    are_right_ipv4(pair->source, pair->source_is_read, pair->source_length, rows) &&
	    are_right_ipv4(pair->destination, pair->destination_is_read, pair->destination_length, rows)) {
		fault->has_ipv4 = 1;
		return fault->error = 0;
	}
	for (row = 0; row < rows; row++) {
		given = pair->family ? (uint8_t)number_of(pair->family, row) : AF_UNSPEC;
		family = given ? given : AF_INET6;
		err = address_of(&source, pair->source, pair->source_is_read, row, family);
		if (!err) {
			err = address_of(&destination, pair->destination, pair->destination_is_read, row, family);
			err -= !!err;
		}
		if (err)
			break;
		family = given ? given : source.family ? source.family : destination.family;
		if (!family)
			family = (uint8_t)pair->other_family;
		source.family = source.family ? source.family : family;
		destination.family = destination.family ? destination.family : family;
		if (source.family != family)
			err = COLUMN_FAMILY;
		else if (destination.family != family)
			err = COLUMN_FAMILY - 1;
		if (err)
			break;
		err = set_length(&source, pair->source_length, row);
		if (!err) {
			err = set_length(&destination, pair->destination_length, row);
			err -= !!err;
		}
		if (err)
			break;
		fault->has_ipv4 |= family == AF_INET;
		fault->has_ipv6 |= family == AF_INET6;
		if (pair->source_out)
			pair->source_out[row] = source;
		if (pair->destination_out)
			pair->destination_out[row] = destination;
	}
	fault->row = row;
	return fault->error = err;
}

/* --- messages ------------------------------------------------------------------------------------------------ */

/* The rows of a piece of a block: few enough to stay in the nearest cache while column after column is written. */
enum { PIECE = 32 };

struct piece {
	uint8_t *out;
	uint64_t first;
	uint32_t count, length;
};

ALWAYS_INLINE void put_numbers(const struct piece *piece, const struct column *column, uint32_t width, int swapped,
			       uint32_t size, int to_network)
{
	const uint8_t *place = row_of(column, piece->first);
	uint8_t *out = piece->out + column->offset;
	uint32_t i;

	for (i = 0; i < piece->count; i++, place += column->stride, out += piece->length)
		store(out, load(place, width, swapped), size, to_network);
}

static void put_changed(const struct piece *piece, const struct column *column)
{
	uint8_t *message = piece->out;
	uint64_t number;
	uint32_t i;

	for (i = 0; i < piece->count; i++, message += piece->length) {
		number = number_of(column, piece->first + i);
		if (column->is_port_mask)
			number = number ? 0xffff : 0;
		if (column->mask_offset)
			number &= load(message + column->mask_offset, 4, 0);
		store(message + column->offset, number, column->size, column->to_network);
	}
}

ALWAYS_INLINE void put_bytes(const struct piece *piece, const struct column *column, uint32_t width)
{
	const uint8_t *place = row_of(column, piece->first);
	uint8_t *out = piece->out + column->offset;
	uint32_t i;

	for (i = 0; i < piece->count; i++, place += column->stride, out += piece->length)
		memcpy(out, place, width);
}

static void put_column(const struct piece *piece, const struct column *column)
{
	uint32_t width = column->width, size = column->size;
	int network = column->to_network;

	if (!column->is_number && width == 4)
		put_bytes(piece, column, 4);
	else if (!column->is_number && width == 16)
		put_bytes(piece, column, 16);
	else if (!column->is_number)
		put_bytes(piece, column, width);
	else if (column->is_port_mask || column->mask_offset)
		put_changed(piece, column);
	else if (width == 4 && size == 4 && !column->is_swapped && network)
		put_numbers(piece, column, 4, 0, 4, 1);
	else if (width == 4 && size == 4 && !column->is_swapped)
		put_numbers(piece, column, 4, 0, 4, 0);
	else if (width == 1 && size == 1)
		put_numbers(piece, column, 1, 0, 1, 0);
	else
		put_numbers(piece, column, width, column->is_swapped, size, network);
}

void columns_pack(uint8_t *out, uint64_t first, uint32_t count, const uint8_t *model, uint32_t length,
		  const struct column *columns, uint32_t column_count)
{
	struct piece piece = {.out = out, .first = first, .length = length};
	uint32_t i;

	while (count) {
		piece.count = count < PIECE ? count : PIECE;
		for (i = 0; i < piece.count; i++)
			memcpy(piece.out + (size_t)i * length, model, length);
		for (i = 0; i < column_count; i++)
			put_column(&piece, &columns[i]);
		piece.out += (size_t)piece.count * length;
		piece.first += piece.count;
		count -= piece.count;
	}
}
