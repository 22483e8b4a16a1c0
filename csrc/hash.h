/* SPDX-License-Identifier: MIT */
#ifndef XFRM_EXT_HASH_H
#define XFRM_EXT_HASH_H

/* Hashes for tables that only remember: who makes them collide gains nothing but their slowness. */

#include <stdint.h>
#include <string.h>

/* Takes in eight bytes more. */
static inline uint64_t hash_more(uint64_t hash, const void *bytes)
{
	uint64_t word;

	memcpy(&word, bytes, sizeof(word));
	hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
	return hash ^ hash >> 29;
}

#endif
