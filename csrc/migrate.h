/* SPDX-License-Identifier: MIT */
#ifndef XFRM_EXT_MIGRATE_H
#define XFRM_EXT_MIGRATE_H

/* Moving states to other addresses: plain fields in host order <-> the kernel's structures. The functions write or
 * read all of the structure. (The fixed part of MIGRATE is that of DELPOLICY: see policy.h.) */

#include <stdint.h>

#include "uapi.h"

/* cdef: begin */
enum { MIGRATION_SIZE = 76 };

/* One element of XFRMA_MIGRATE: struct xfrm_user_migrate. */
struct migration {
	uint8_t old_destination[16], old_source[16], new_destination[16], new_source[16];
	uint8_t protocol, mode;
	uint16_t old_family, new_family;
	uint32_t reqid;
};
void migration_pack(uint8_t *out, const struct migration *migration);
void migration_unpack(struct migration *migration, const uint8_t *data);

/* MIGRATE_STATE: struct xfrm_user_migrate_state. */
struct state_migration {
	uint8_t destination[16];
	uint32_t spi;
	uint16_t family;
	uint8_t protocol;
	uint8_t new_destination[16], new_source[16];
	uint32_t mark_value, mark_mask;
	uint8_t selector[56]; /* struct xfrm_selector */
	uint32_t reqid, flags;
	uint16_t new_family;
};
void state_migration_pack(uint8_t *out, const struct state_migration *migration);
void state_migration_unpack(struct state_migration *migration, const uint8_t *data);
/* cdef: end */

#endif
