/* SPDX-License-Identifier: MIT */
#ifndef XFRM_EXT_MEMORY_H
#define XFRM_EXT_MEMORY_H

/* Memory for what may hold keys. */

#include <stddef.h>

/* cdef: begin */
/* Zeroed memory that memory_free wipes. NULL when there is none. */
void *memory_allocate(size_t size);

/* Wipes and frees what memory_allocate returned; NULL is allowed. */
void memory_free(void *memory);
/* cdef: end */

#endif
