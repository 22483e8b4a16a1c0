/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The size stands in front of what the caller gets. */
union header {
	size_t size;
	max_align_t align;
};

void *memory_allocate(size_t size)
{
	union header *header;

	if (size > SIZE_MAX - sizeof(*header))
		return NULL;
	header = calloc(1, sizeof(*header) + size);
	if (!header)
		return NULL;
	header->size = size;
	return header + 1;
}

void memory_free(void *memory)
{
	union header *header = memory;

	if (!header)
		return;
	header--;
	explicit_bzero(header, sizeof(*header) + header->size);
	free(header);
}
