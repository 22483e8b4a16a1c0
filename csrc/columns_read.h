/* SPDX-License-Identifier: MIT */
#ifndef XFRM_EXT_COLUMNS_READ_H
#define XFRM_EXT_COLUMNS_READ_H

/* Columns out: one field of many messages -> one array. Knows where bytes stand, not what they mean: the places of
 * the fields are the caller's. */

#include <stddef.h>
#include <stdint.h>

#include "uapi.h"

/* cdef: begin */
/* What becomes of the bytes at a column's place. */
enum column_form {
	COLUMN_PLAIN,            /* copied */
	COLUMN_NETWORK,          /* 2 or 4 bytes in network order, which become the machine's */
	COLUMN_MARK,             /* 4 bytes: value and mask of struct xfrm_mark, the bits outside the mask dropped */
	COLUMN_COUNT,            /* 2 bytes: how many structures of `payload` bytes the attribute has */
	COLUMN_TEMPLATE_FAMILY,  /* 2 bytes: of the first template; that of the selector when it says none */
	COLUMN_REPLAY_WINDOW,    /* 4 bytes: that of XFRMA_REPLAY_ESN_VAL, else that of struct xfrm_usersa_info */
	COLUMN_OUTPUT_MARK,      /* 4 bytes: XFRMA_SET_MARK without the bits outside the mask */
	COLUMN_OUTPUT_MARK_MASK, /* 4 bytes: XFRMA_SET_MARK_MASK, all ones when there is only XFRMA_SET_MARK */
};

/* One column: where in a message its bytes are, and where they go. */
struct column_out {
	uint8_t *data;      /* the caller's: `size` bytes for each row, aligned to 8 */
	uint16_t attribute; /* 0: the place is in the fixed part, behind struct nlmsghdr */
	uint16_t payload;   /* size of the attribute's payload: of any other size, it counts as missing */
	uint16_t offset;    /* in the fixed part or the payload */
	uint8_t size;       /* 1, 2, 4, 8 or 16 */
	uint8_t several;    /* the payload may be several structures of that size, a power of 2: the place is in
			     * the first */
	uint8_t form;       /* enum column_form; from COLUMN_TEMPLATE_FAMILY on only `data` and `size` count, and
			     * `attribute` is 0 */
};

enum columns_of { COLUMNS_OF_POLICIES, COLUMNS_OF_STATES };
enum { COLUMNS_MOST = 64 };

/* Columns being filled. */
struct columns_reader {
	const struct column_out *columns; /* not owned */
	uint32_t count;                   /* at most COLUMNS_MOST */
	uint32_t of;                      /* enum columns_of */
	uint64_t rows;                    /* filled so far */
	uint64_t capacity;                /* rows that there is room for */
};

/* Appends a row for each message in data[0 .. length): NEWPOLICY and UPDPOLICY, or NEWSA and UPDSA. A column whose
 * attribute a message does not have gets 0; of two attributes of a kind the last counts. Attributes are looked at
 * only when a column needs one, and only the payloads of those that one needs: never keys.
 *
 * Returns how many bytes were read, fewer than `length` when there is no room for more rows (then call again, with
 * the rest and larger columns). -EBADMSG: a message is of another kind, or a length does not fit; the rows before
 * it may or may not have been appended. -EINVAL: a column is of no size or place that messages have. */
int64_t columns_read(struct columns_reader *reader, const uint8_t *data, size_t length);

/* The same for a struct rtnl_dump, whose `argument` is the reader: -EMSGSIZE when there is not room for all. Returns 0
 * or -errno. */
int columns_decode(void *reader, const uint8_t *data, size_t length);

/* Writes the texts of `rows` addresses of 16 bytes each, with "\n" between them: prefixes, when `prefix_lengths` is
 * not NULL. `out` needs room for TEXT_ADDRESS_SIZE bytes for each. Returns how many bytes were written. */
size_t columns_text(char *out, const uint8_t *addresses, const uint16_t *families, const uint8_t *prefix_lengths,
		    size_t rows);
/* cdef: end */

#endif
