/* SPDX-License-Identifier: MIT */
#ifndef XFRM_EXT_COLUMNS_WRITE_H
#define XFRM_EXT_COLUMNS_WRITE_H

/* Columns -> a block of messages: copies of a model message, with one row of the columns written into each. Rows are
 * checked first (columns_check_*), all of them, and then written without another look; memory that changes in between
 * makes other values, and nothing worse. Nothing here allocates, or knows what the messages are. */

#include <stddef.h>
#include <stdint.h>

/* cdef: begin */
/* One column: where its rows are read, what they may be, and where they are written. The caller owns all memory. */
struct column {
	const uint8_t *data;
	int64_t stride;         /* bytes from row to row; 0: the same value in all rows */
	uint32_t width;         /* bytes of a row: 1, 2, 4 or 8 of a number, any number else */
	uint8_t is_number;      /* otherwise bytes, copied as they are */
	uint8_t is_signed;
	uint8_t is_swapped;     /* the number is not in the machine's byte order */
	/* columns_check_number */
	uint8_t has_members;
	uint64_t least, most;   /* of a number */
	uint64_t members[4];    /* with has_members: the numbers that are allowed, one bit each */
	uint64_t fixed_mask;    /* bits of the number that must be those of fixed_value */
	uint64_t fixed_value;
	/* columns_pack */
	uint32_t offset;        /* in the message */
	uint32_t size;          /* of a number there: 1, 2, 4 or 8 bytes */
	uint32_t mask_offset;   /* where the message has 32 bits that a number of 4 bytes is masked with; 0: nowhere */
	uint8_t to_network;     /* in network byte order */
	uint8_t is_port_mask;   /* 0 for 0, 0xffff for other numbers */
};

/* An address or prefix that was read: columns of bytes and numbers can be made of an array of them. */
struct column_address {
	uint8_t address[16];    /* IPv4 in the first four */
	uint8_t family;         /* AF_INET or AF_INET6; AF_UNSPEC, of no row but of a model: any address, goes with both */
	uint8_t length;         /* in bits, that of the whole address if it is not a prefix */
	uint8_t unused[2];
};

/* The first row that is wrong, and which families were seen. */
struct column_fault {
	uint64_t row;
	int error;              /* an enum column_error or enum text_error; 0: none is wrong */
	uint8_t has_ipv4, has_ipv6;
};

enum column_error {
	COLUMN_NUMBER = -64,             /* a number is out of range, or no member */
	COLUMN_FIXED = -65,              /* bits differ that must not */
	COLUMN_INDEX = -66,              /* an index is not of the row's direction */
	COLUMN_ROWS = -67,               /* the text has fewer or more rows */
	/* columns_check_addresses: of the source; of the destination one less */
	COLUMN_FAMILY = -80,             /* not of the row's family */
	COLUMN_LENGTH = -82,             /* longer than the address */
	COLUMN_HOST_BITS = -84,
	COLUMN_REST = -86,               /* an IPv4 address in 16 bytes, of which the last 12 are not 0 */
};

/* Checks the rows of a column of numbers. Returns 0, or the fault's error. */
int columns_check_number(const struct column *column, uint64_t rows, struct column_fault *fault);

/* Checks that index & 7 is the row's direction where the index is not 0. Returns 0, or the fault's error. */
int columns_check_index(const struct column *index, const struct column *direction, uint64_t rows,
			struct column_fault *fault);

/* How the texts of a column lie in memory. */
struct column_texts {
	const uint8_t *data;
	size_t size;            /* bytes at `data` */
	const uint8_t *offsets; /* of the first row; NULL: none */
	uint32_t offset_width;  /* 4 or 8: row i is data[offsets[i] .. offsets[i + 1]) (Arrow) */
	const uint8_t *views;   /* of the first row, 16 bytes each, or NULL: Arrow's, of which short texts are part */
	const uint8_t *const *buffers; /* where the others are */
	const size_t *buffer_sizes;
	uint32_t buffer_count;
	uint32_t width;         /* bytes of a row, filled up with NULs (numpy); 0: lines, each ended by '\n' but the last */
	uint32_t unit;          /* bytes of a character of such a row, 1 or 4 */
	uint8_t is_swapped;     /* such characters are not in the machine's byte order */
	uint8_t is_prefix;      /* prefixes, not addresses alone */
};

/* Reads addresses or prefixes. `out` has room for `rows`. Of prefixes, bits behind the length are refused. Returns 0,
 * or the fault's error (TEXT_..., COLUMN_HOST_BITS, COLUMN_ROWS). */
int columns_read_texts(struct column_address *out, uint64_t rows, const struct column_texts *texts,
		       struct column_fault *fault);

/* The two addresses of each row, what belongs to them, and how they are told. */
struct column_pair {
	const struct column *source, *destination; /* 4 or 16 bytes, or numbers, which are IPv4 */
	/* rows are a struct column_address, of which `source` is a column */
	uint8_t source_is_read, destination_is_read;
	const struct column *source_length, *destination_length; /* NULL: as read, or all of the address */
	const struct column *family;               /* NULL: 16 bytes are IPv6 */
	uint16_t other_family;                     /* of rows of which both addresses are any */
	struct column_address *source_out, *destination_out; /* room for all rows, or NULL */
};

/* Checks the addresses of each row against each other, their lengths and their family; bits behind a length are
 * refused. Returns 0, or the fault's
 * error. Sets which families were seen, and writes what was read where it is asked for. */
int columns_check_addresses(const struct column_pair *pair, uint64_t rows, struct column_fault *fault);

/* Writes the messages of rows [first, first + count), each `length` bytes, back to back to `out`, which has room for
 * them. What the columns name lies within the message. Columns are written in their order. */
void columns_pack(uint8_t *out, uint64_t first, uint32_t count, const uint8_t *model, uint32_t length,
		  const struct column *columns, uint32_t column_count);
/* cdef: end */

#endif
