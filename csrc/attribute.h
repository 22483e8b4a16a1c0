/* SPDX-License-Identifier: MIT */
#ifndef XFRM_EXT_ATTRIBUTE_H
#define XFRM_EXT_ATTRIBUTE_H

/* Every attribute of every XFRM message: plain numbers in host order <-> its bytes. */

#include <stddef.h>
#include <stdint.h>

#include "message.h"
#include "uapi.h"

/* cdef: begin */
enum { ITEM_NUMBERS = 6 };

/* One attribute. `data` and `name` are not owned; what each type has is said in xfrm_ext/wire/__init__.py. */
struct item {
	uint64_t numbers[ITEM_NUMBERS]; /* host order */
	const uint8_t *data;            /* a key, a bitmap, a label, addresses, structures; of a raw item: the payload */
	const char *name;               /* of an algorithm, without NUL */
	uint32_t data_size;
	uint16_t name_size;
	uint16_t type;                  /* of a raw item: with the flag bits that it came with */
	uint8_t raw;                    /* an unknown type, or a payload of an unexpected size */
	uint8_t count;                  /* numbers in use */
};
/* cdef: end */

/* Whose attribute types a message has. */
enum attribute_space { SPACE_XFRM, SPACE_SAD_INFO, SPACE_SPD_INFO };

/* Appends an item. Sets message->error: -EMSGSIZE when it does not fit, -EINVAL for data or a name of a size that
 * its type does not have. */
void attribute_pack(struct message *message, enum attribute_space space, const struct item *item);

/* Reads an attribute; the item points into it. What is not as expected becomes a raw item. */
void attribute_unpack(struct item *item, enum attribute_space space, const struct attribute *attribute);

#endif
