/* SPDX-License-Identifier: MIT */
#ifndef XFRM_EXT_POLICY_ROWS_H
#define XFRM_EXT_POLICY_ROWS_H

/* A block of policies for a program that makes an object of each: what is told apart are a policy's own values and
 * those that it shares with others, which are made once. */

#include <stddef.h>
#include <stdint.h>

#include "policy.h"

/* cdef: begin */
/* The kinds of policies that a dump has shown so far: policies of one kind differ in prefixes, priority, index and
 * use, in nothing else. */
struct policy_kinds {
	/* set by the caller, who owns the memory, and zeroes `count`, `size` and the table at first */
	uint8_t *messages;        /* one of each kind; room for those of a whole block */
	size_t capacity;
	uint32_t *ends;           /* where each ends */
	uint32_t most;            /* room for as many; at least for those of a whole block */
	uint32_t *table;          /* zeroed at first */
	uint32_t table_size;      /* numbers in it: a power of two, at least 2 * most */
	/* kept by policy_rows_decode */
	uint32_t count;
	size_t size;
};

struct policy_rows {
	/* set by the caller, who owns the memory */
	struct policy_kinds *known;
	uint8_t *messages;        /* room for them, as policy_block_convert's POLICY_CANONICAL needs it */
	size_t capacity;
	uint32_t most;            /* room for as many in each of the arrays */
	char *texts;              /* room for most * 2 * TEXT_ADDRESS_SIZE; NULL: not wanted */
	uint32_t *ends;           /* where each message ends */
	uint32_t *priorities, *indices;
	uint32_t *kinds;          /* the number of each policy's kind */
	uint32_t *new_kinds;      /* the first message of each kind that is new, in the order of their numbers */
	uint32_t *uses;           /* messages in a row with the same struct xfrm_lifetime_cur have one number */
	uint32_t *use_firsts;     /* by that number: the first message */
	/* set by policy_rows_decode */
	uint32_t count, new_count, use_count;
	int restarted;            /* there was no room for more kinds: their numbers begin at 0 again */
	size_t text_size;         /* bytes at `texts`: of each, source and destination, with a newline behind each */
};

/* Takes a block of NEWPOLICY messages apart. `rows` is a struct policy_rows: this is what rtnl_dump calls. Returns 0,
 * -EBADMSG, or -EMSGSIZE or -EINVAL when there is too little room. */
int policy_rows_decode(void *rows, const uint8_t *data, size_t length);
/* cdef: end */

#endif
