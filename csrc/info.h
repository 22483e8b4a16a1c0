/* SPDX-License-Identifier: MIT */
#ifndef XFRM_EXT_INFO_H
#define XFRM_EXT_INFO_H

/* GETSPDINFO and its answer, NEWSPDINFO: counters and hash tables of the SPD. */

#include <stddef.h>
#include <stdint.h>

#include "uapi.h"

/* cdef: begin */
struct spd_info {
	uint32_t input, output, forward;                       /* policies, main and sub together */
	uint32_t socket_input, socket_output, socket_forward;  /* policies of sockets */
	uint32_t hash_mask;                                    /* buckets of the hash by index, less 1 */
	uint32_t hash_limit;                                   /* the most buckets that the kernel may make */
	uint8_t ipv4_local_bits, ipv4_remote_bits;             /* hash thresholds */
	uint8_t ipv6_local_bits, ipv6_remote_bits;
};

/* Writes a GETSPDINFO message. Returns its length, or -EMSGSIZE. */
int spd_info_request(uint8_t *out, size_t capacity);

/* Reads a NEWSPDINFO message; what it does not tell is 0. Returns 0 or -EBADMSG. */
int spd_info_unpack(struct spd_info *info, const uint8_t *data, size_t length);
/* cdef: end */

#endif
