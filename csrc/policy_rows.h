/* SPDX-License-Identifier: MIT */
#ifndef XFRM_EXT_POLICY_ROWS_H
#define XFRM_EXT_POLICY_ROWS_H

/* A block of policies for a program that makes an object of each: what is told apart are a policy's own values and
 * those that it shares with others, which are made once. */

#include <stddef.h>
#include <stdint.h>

#include "policy.h"

/* cdef: begin */
struct policy_rows {
	/* set by the caller, who owns the memory */
	uint8_t *messages;        /* room for them, as policy_block_convert's POLICY_CANONICAL needs it */
	size_t capacity;
	uint32_t most;            /* room for as many in each of the arrays */
	uint32_t *table;          /* working space */
	uint32_t table_size;      /* numbers in it: a power of two, at least 2 * most */
	char *texts;              /* room for most * 2 * TEXT_ADDRESS_SIZE; NULL: not wanted */
	uint32_t *ends;           /* where each message ends */
	uint32_t *priorities, *indices;
	uint32_t *kinds;          /* policies of one kind differ in prefixes, priority, index and use, in nothing else */
	uint32_t *kind_firsts;    /* by kind: the first message of that kind */
	uint32_t *uses;           /* messages in a row with the same struct xfrm_lifetime_cur have one number */
	uint32_t *use_firsts;     /* by that number: the first message */
	/* set by policy_rows_decode */
	uint32_t count, kind_count, use_count;
	size_t text_size;         /* bytes at `texts`: of each, source and destination, with a newline behind each */
};

/* Takes a block of NEWPOLICY messages apart. `rows` is a struct policy_rows: this is what rtnl_dump calls. Returns 0,
 * -EBADMSG, or -EMSGSIZE or -EINVAL when there is too little room. */
int policy_rows_decode(void *rows, const uint8_t *data, size_t length);
/* cdef: end */

#endif
