/* SPDX-License-Identifier: MIT */
#ifndef XFRM_EXT_POLICY_H
#define XFRM_EXT_POLICY_H

/* The policy messages: NEWPOLICY, UPDPOLICY, GETPOLICY, DELPOLICY, FLUSHPOLICY. */

#include <stddef.h>
#include <stdint.h>

#include "selector.h"
#include "template.h"
#include "uapi.h"

/* cdef: begin */
enum { LIFETIME_CONFIG_SIZE = 64, LIFETIME_CURRENT_SIZE = 32 };

/* Which of the optional attributes there are. */
enum policy_has {
	POLICY_HAS_TYPE = 1,
	POLICY_HAS_MARK = 2,
	POLICY_HAS_IF_ID = 4,
	POLICY_HAS_SECURITY_CONTEXT = 8,
	POLICY_HAS_OFFLOAD = 16,
};

/* The optional attributes that tell policies apart (type, mark, if_id, security context), and the rest. */
struct policy_options {
	uint32_t has; /* enum policy_has */
	uint32_t mark_value, mark_mask;
	uint32_t if_id;
	int32_t offload_interface;
	uint16_t context_size;  /* bytes at `context`, the NUL included if it is sent */
	uint8_t type;
	uint8_t context_algorithm, context_doi;
	uint8_t offload_flags;
	const uint8_t *context; /* not owned */
	const uint8_t *attributes; /* encoded attributes, 4-byte aligned, to be appended as they are; not owned */
	size_t attributes_size;
};

/* A policy message taken apart. Pointers point into that message, and are NULL for what its type lacks. */
struct policy_view {
	const uint8_t *selector;   /* SELECTOR_SIZE bytes */
	struct policy_options options;
	const uint8_t *lifetime;   /* LIFETIME_CONFIG_SIZE bytes */
	const uint8_t *current;    /* LIFETIME_CURRENT_SIZE bytes */
	const uint8_t *templates;  /* template_count * TEMPLATE_SIZE bytes */
	uint32_t template_count;
	uint32_t unknown;          /* attributes that are not in `options` or `templates`, to be walked with
				    * policy_unknown_next */
	uint32_t priority, index;
	uint16_t message_type;
	uint8_t direction, action, flags, share;
};

/* Direction, action, flags and share in one number: each argument of a call from Python costs. */
enum { POLICY_ACTION_SHIFT = 8, POLICY_FLAGS_SHIFT = 16, POLICY_SHARE_SHIFT = 24 };

/* Writes a NEWPOLICY or UPDPOLICY message, seq and port 0, flags NLM_F_REQUEST | NLM_F_ACK.
 * `current` and `options` may be NULL. Returns its length, or -EMSGSIZE when it does not fit. */
int policy_pack(uint8_t *out, size_t capacity, uint16_t message_type, const uint8_t *selector,
		const uint8_t *lifetime, const uint8_t *current, const uint8_t *templates, uint32_t template_count,
		uint32_t priority, uint32_t index, uint32_t codes, const struct policy_options *options);

/* Writes a GETPOLICY or DELPOLICY message: the policy with `selector`, or, when not 0, with `index`. */
int policy_id_pack(uint8_t *out, size_t capacity, uint16_t message_type, const uint8_t *selector, uint32_t index,
		   uint8_t direction, const struct policy_options *options);

/* GETPOLICY, DELPOLICY, MIGRATE: struct xfrm_userpolicy_id, in host order. */
struct policy_id {
	uint8_t selector[SELECTOR_SIZE];
	uint32_t index;
	uint8_t direction;
};
void policy_id_write(uint8_t *out, const struct policy_id *id);
void policy_id_read(struct policy_id *id, const uint8_t *data);

/* Writes a FLUSHPOLICY message for one policy type; -1: the kernel's default, main. */
int policy_flush_pack(uint8_t *out, size_t capacity, int policy_type);

/* Takes a NEWPOLICY, UPDPOLICY, GETPOLICY, DELPOLICY or FLUSHPOLICY message apart. Returns 0, or -EBADMSG when
 * it is another one or a length does not fit. Attributes of an unexpected size, and an offload to a negative
 * interface index, count as unknown; of two of a kind the last wins, as in the kernel. */
int policy_unpack(struct policy_view *view, const uint8_t *data, size_t length);

/* The next attribute that policy_unpack counted as unknown, behind *position (0 at first); its type with flags.
 * Returns 1 and sets type, payload and size; 0 at the end. */
int policy_unknown_next(const uint8_t *data, size_t length, size_t *position, uint16_t *type, const uint8_t **payload,
			size_t *size);

/* What policy_block_convert makes of each message. */
enum { POLICY_KEY_SIZE = 80 };
enum policy_form {
	POLICY_CANONICAL,        /* NEWPOLICY as policy_pack would have made it: never longer than it was */
	POLICY_DELETE,           /* the DELPOLICY of the same policy, by selector */
	POLICY_DELETE_BY_INDEX,  /* the same by index; by selector where the message has none */
	POLICY_KEYS,             /* POLICY_KEY_SIZE bytes: selector, direction, type, mark, if_id, hash of the
				  * security context. The kernel keeps policies with different keys apart, and
				  * refuses a second one with the same. */
};

/* Converts a block of NEWPOLICY or UPDPOLICY messages, back to back, and writes where each result ends in
 * `out` to ends[0 .. most). A canonical form with unknown attributes needs the message's length of spare room.
 * Returns how many, -EBADMSG or -EMSGSIZE. */
int policy_block_convert(uint8_t *out, size_t capacity, const uint8_t *data, size_t length, enum policy_form form,
			 uint32_t *ends, uint32_t most);

/* Which policies of a block of NEWPOLICY or UPDPOLICY messages the kernel finds in a tree and not by hash, those with
 * a security context left out: it does not look at that in a DELPOLICY by index. Of each, in arrays of `most`: what
 * the kernel tells trees apart by (from the first byte: uint16_t family, uint8_t type, uint8_t direction, uint32_t
 * if_id), number in the block, index, and key (POLICY_KEYS, POLICY_KEY_SIZE bytes). `limits` are the hash thresholds
 * as policies meet them: for IPv4 and then IPv6, for each direction, prefix lengths of destination and source.
 * Returns how many, -EBADMSG or -EMSGSIZE. */
enum { POLICY_LIMITS_SIZE = 12 };
int policy_block_in_trees(uint64_t *trees, uint32_t *numbers, uint32_t *indices, uint8_t *keys, uint32_t most,
			  const uint8_t *data, size_t length, const uint8_t *limits);

/* Sets the index of each policy of a block of NEWPOLICY or UPDPOLICY messages to indices[0 .. count). Returns 0, or
 * -EBADMSG when the block is not `count` of them. */
int policy_block_set_indices(uint8_t *data, size_t length, const uint32_t *indices, uint32_t count);

/* Sets the type of each message in a block. Returns 0 or -EBADMSG. */
int policy_block_retype(uint8_t *data, size_t length, uint16_t message_type);
/* cdef: end */

#endif
