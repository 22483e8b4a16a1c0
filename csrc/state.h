/* SPDX-License-Identifier: MIT */
#ifndef XFRM_EXT_STATE_H
#define XFRM_EXT_STATE_H

/* The fixed parts of the messages about states: plain fields in host order <-> the kernel's structures. The
 * functions write or read all of the structure, whose size body_size tells. */

#include <stddef.h>
#include <stdint.h>

#include "uapi.h"

/* cdef: begin */
/* NEWSA, UPDSA: struct xfrm_usersa_info. */
struct state {
	uint8_t selector[56]; /* struct xfrm_selector */
	uint8_t destination[16];
	uint32_t spi;
	uint8_t protocol;
	uint8_t source[16];
	uint8_t lifetime[64]; /* struct xfrm_lifetime_cfg */
	uint8_t current[32];  /* struct xfrm_lifetime_cur */
	uint32_t replay_window_errors, replay_errors, integrity_errors;
	uint32_t sequence, reqid;
	uint16_t family;
	uint8_t mode, replay_window, flags;
};
void state_pack(uint8_t *out, const struct state *state);
void state_unpack(struct state *state, const uint8_t *data);

/* GETSA, DELSA: struct xfrm_usersa_id. */
struct state_id {
	uint8_t destination[16];
	uint32_t spi;
	uint16_t family;
	uint8_t protocol;
};
void state_id_pack(uint8_t *out, const struct state_id *id);
void state_id_unpack(struct state_id *id, const uint8_t *data);

/* FLUSHSA: struct xfrm_usersa_flush. */
struct state_flush {
	uint8_t protocol;
};
void state_flush_pack(uint8_t *out, const struct state_flush *flush);
void state_flush_unpack(struct state_flush *flush, const uint8_t *data);

/* ALLOCSPI: struct xfrm_userspi_info. */
struct spi_request {
	uint8_t state[224]; /* struct xfrm_usersa_info */
	uint32_t spi_min, spi_max;
};
void spi_request_pack(uint8_t *out, const struct spi_request *request);
void spi_request_unpack(struct spi_request *request, const uint8_t *data);

/* EXPIRE: struct xfrm_user_expire. */
struct state_expire {
	uint8_t state[224]; /* struct xfrm_usersa_info */
	uint8_t hard;
};
void state_expire_pack(uint8_t *out, const struct state_expire *expire);
void state_expire_unpack(struct state_expire *expire, const uint8_t *data);

/* Writes the DELSA messages for a block of NEWSA or UPDSA messages, back to back. Returns their length, -EBADMSG or
 * -EMSGSIZE; none is longer than the message that it is made from. */
int64_t state_block_delete(uint8_t *out, size_t capacity, const uint8_t *data, size_t length);

/* Checks that a block is NEWSA and UPDSA messages, back to back, whose lengths and attributes' lengths fit. Returns
 * how many, or -EBADMSG. */
int state_block_check(const uint8_t *data, size_t length);

/* What exporters want to know of a state; what its message does not tell is 0. */
struct state_counters {
	uint8_t source[16], destination[16];
	uint32_t spi, reqid;
	uint32_t mark_value, mark_mask, if_id;
	uint16_t family;
	uint8_t protocol, mode, direction;
	uint64_t bytes, packets, add_time, use_time, last_used;
	uint32_t replay_window, replay, integrity_failed;
};

/* Reads a block of NEWSA messages, back to back, into counters[0 .. most). Keys are not looked at. Returns how
 * many, -EBADMSG or -EMSGSIZE. */
int state_block_counters(struct state_counters *counters, uint32_t most, const uint8_t *data, size_t length);
/* cdef: end */

/* struct xfrm_usersa_id, which many messages begin with, of fields in host order; `destination` has 16 bytes. */
struct xfrm_usersa_id usersa_id(const uint8_t *destination, uint32_t spi, uint16_t family, uint8_t protocol);

#endif
